/* tests/unit/serialize/codec.h: decode into and encode from an arena that the whole test program shares, with bodies in
 * exactly sized blocks. */
#ifndef CODEC_H
#define CODEC_H

#include "test.h"

#include "base/arena.h"
#include "serialize/kitchen.pb-c.h"
#include "serialize/kitchen2.pb-c.h"
#include "serialize/serializer.h"

static crs_arena arena = {.max = 64 << 20};
static cereus_error error;
static size_t allocated; /* bytes asked for since the last decode began */

static inline void *arena_alloc(void *allocator, size_t size)
{
    allocated += size;
    return crs_arena_alloc(allocator, size);
}

static inline cereus_status decode(const cereus_serializer *s, const ProtobufCMessageDescriptor *type, const void *body,
                                   size_t len, ProtobufCMessage **ret_msg)
{
    uint8_t *exact = test_copy(body, len);
    allocated = 0;
    memset(&error, 0, sizeof error);
    cereus_status st = s->decode(type, cereus_slice_of(exact, len), arena_alloc, &arena, ret_msg, &error);
    free(exact); /* the message must not need it any longer */
    assert_int_equal(st, error.status);
    return st;
}

/* The message, encoded: text or bytes with a NUL behind them. */
static inline cereus_slice encode(const cereus_serializer *s, const ProtobufCMessage *msg)
{
    crs_bytes out;
    crs_bytes_init(&out, 32 << 20);
    cereus_value v = cereus_message(msg);
    memset(&error, 0, sizeof error);
    cereus_status st = crs_value_encode(s, &v, &out, &error);
    if (st)
        fail_msg("%s", error.msg);
    size_t len = out.len;
    char *copy = crs_arena_strndup(&arena, (const char *)out.data, len);
    crs_bytes_fini(&out);
    return cereus_slice_of(copy, len);
}

static inline cereus_status append_bytes(void *writer, const void *data, size_t len)
{
    return crs_bytes_append(writer, data, len);
}

/* Both ways to encode say the same. */
static inline void assert_ways_agree(const cereus_serializer *s, const ProtobufCMessage *msg)
{
    cereus_slice direct = encode(s, msg);
    crs_bytes out;
    crs_bytes_init(&out, 32 << 20);
    assert_int_equal(s->encode(msg, append_bytes, &out, NULL), CEREUS_OK);
    assert_int_equal(out.len, direct.len);
    if (out.len)
        assert_memory_equal(out.data, direct.data, out.len);
    crs_bytes_fini(&out);
}

static inline int reset_arena(void **state)
{
    crs_arena_reset(&arena);
    return 0;
}

#undef TEST_MAIN
#define TEST(function) cmocka_unit_test_teardown(function, reset_arena)
#define TEST_MAIN(...)                                          \
    int main(void)                                              \
    {                                                           \
        const struct CMUnitTest tests[] = {__VA_ARGS__};        \
        int failed = cmocka_run_group_tests(tests, NULL, NULL); \
        crs_arena_fini(&arena);                                 \
        return failed;                                          \
    }

#endif
