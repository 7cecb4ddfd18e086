/* tests/fuzz/fuzz_json_message.c: JSON bodies into a message with every kind of field. What is read can be written, and
 * what was written reads back as the same; memory stays in proportion to the body. */
#include "fuzz.h"

#include "base/arena.h"
#include "../unit/serialize/kitchen.pb-c.h"
#include "serialize/serializer.h"

static size_t allocated;

static void *take(void *arena, size_t size)
{
    allocated += size;
    return crs_arena_alloc(arena, size);
}

static cereus_status read_body(cereus_slice body, crs_arena *arena, ProtobufCMessage **ret_msg)
{
    cereus_error err = {.status = CEREUS_OK};
    uint8_t *copy = fuzz_copy(body.data, body.len);
    allocated = 0;
    cereus_status st = crs_serializer_json.decode(&kitchen__sink__descriptor, cereus_slice_of(copy, body.len), take,
                                                  arena, ret_msg, &err);
    free(copy);
    FUZZ_CHECK(st == CEREUS_OK || st == CEREUS_E_MALFORMED);
    FUZZ_CHECK(err.status == st && (st == CEREUS_OK || err.msg[0] != '\0'));
    /* the largest struct for three bytes of its text, and what blocks waste */
    FUZZ_CHECK(allocated <= 8192 + body.len * 4 * sizeof(Kitchen__Sink));
    return st;
}

static void write_body(const cereus_serializer *s, ProtobufCMessage *msg, crs_bytes *out)
{
    cereus_value v = cereus_message(msg);
    crs_bytes_init(out, 1 << 24);
    FUZZ_CHECK(crs_value_encode(s, &v, out, NULL) == CEREUS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    crs_arena arena;
    crs_arena_init(&arena, 1 << 26);
    ProtobufCMessage *msg = NULL, *again = NULL;
    if (size <= 1 << 16 && read_body(cereus_slice_of(data, size), &arena, &msg) == CEREUS_OK) {
        crs_bytes first, second;
        write_body(&crs_serializer_json, msg, &first);
        FUZZ_CHECK(read_body(crs_bytes_slice(&first), &arena, &again) == CEREUS_OK);
        write_body(&crs_serializer_json, again, &second);
        FUZZ_CHECK(crs_slice_eq(crs_bytes_slice(&first), crs_bytes_slice(&second)));
        crs_bytes_fini(&second);

        write_body(&crs_serializer_json_camel, msg, &second);
        FUZZ_CHECK(read_body(crs_bytes_slice(&second), &arena, &again) == CEREUS_OK);
        crs_bytes_fini(&second);
        write_body(&crs_serializer_json, again, &second);
        FUZZ_CHECK(crs_slice_eq(crs_bytes_slice(&first), crs_bytes_slice(&second)));
        crs_bytes_fini(&second);

        write_body(&crs_serializer_protobuf, msg, &second); /* whatever JSON says can be said in Protobuf */
        crs_bytes_fini(&second);
        crs_bytes_fini(&first);
    }
    crs_arena_fini(&arena);
    return 0;
}
