/* tests/unit/ext/test_grpc_frame.c */
#include "test.h"

#include "ext/grpc_frame.h"

/* three messages: "abc", "", 300 bytes */
static size_t make_wire(uint8_t *wire)
{
    size_t len = 0;
    crs_grpc_put_head(wire, 3);
    memcpy(wire + 5, "abc", 3);
    len = 8;
    crs_grpc_put_head(wire + len, 0);
    len += 5;
    crs_grpc_put_head(wire + len, 300);
    len += 5;
    for (size_t i = 0; i < 300; i++)
        wire[len++] = (uint8_t)i;
    return len;
}

static void messages_come_out_whole_however_they_come_in(void **state)
{
    uint8_t wire[512];
    size_t len = make_wire(wire);
    for (size_t piece = 1; piece <= len; piece++) {
        crs_grpc_rx rx;
        crs_grpc_rx_init(&rx, 300);
        size_t count = 0;
        for (size_t at = 0; at < len; at += piece) {
            size_t n = CRS_MIN(piece, len - at);
            uint8_t *part = test_copy(wire + at, n);
            cereus_slice in = cereus_slice_of(part, n), msg;
            cereus_status st;
            while ((st = crs_grpc_rx_next(&rx, &in, &msg)) == CEREUS_OK) {
                static const size_t lens[] = {3, 0, 300};
                assert_true(count < 3);
                assert_int_equal(msg.len, lens[count]);
                if (count == 0)
                    assert_memory_equal(msg.data, "abc", 3);
                if (count == 2)
                    assert_memory_equal(msg.data, wire + 18, 300);
                count++;
            }
            assert_int_equal(st, CEREUS_E_AGAIN);
            assert_int_equal(in.len, 0);
            free(part);
        }
        assert_int_equal(count, 3);
        assert_false(crs_grpc_rx_partial(&rx));
        crs_grpc_rx_fini(&rx);
    }
}

static cereus_status feed(const char *bytes, size_t len, size_t max, size_t *ret_cap)
{
    crs_grpc_rx rx;
    crs_grpc_rx_init(&rx, max);
    uint8_t *copy = test_copy(bytes, len);
    cereus_slice in = cereus_slice_of(copy, len), msg;
    cereus_status st = crs_grpc_rx_next(&rx, &in, &msg);
    *ret_cap = rx.body.cap;
    crs_grpc_rx_fini(&rx);
    free(copy);
    return st;
}

static void what_is_refused_is_refused_from_the_head_alone(void **state)
{
    size_t cap;
    assert_int_equal(feed("\0\0\0\1\0", 5, 255, &cap), CEREUS_E_TOO_LONG);
    assert_int_equal(feed("\0\xff\xff\xff\xff", 5, 16 << 20, &cap), CEREUS_E_TOO_LONG);
    assert_int_equal(feed("\1\0\0\0\1x", 6, 255, &cap), CEREUS_E_UNSUPPORTED);
    assert_int_equal(feed("\2\0\0\0\1x", 6, 255, &cap), CEREUS_E_MALFORMED);
    assert_int_equal(cap, 0);
}

static void memory_grows_with_what_came_not_with_what_was_announced(void **state)
{
    size_t cap;
    assert_int_equal(feed("\0\0\x80\0\0x", 6, 16 << 20, &cap), CEREUS_E_AGAIN);
    assert_in_range(cap, 1, 64);
    crs_alloc_fail_at(1);
    assert_int_equal(feed("\0\0\x80\0\0x", 6, 16 << 20, &cap), CEREUS_E_NOMEM);
}

TEST_MAIN(cmocka_unit_test(messages_come_out_whole_however_they_come_in),
          cmocka_unit_test(what_is_refused_is_refused_from_the_head_alone),
          cmocka_unit_test(memory_grows_with_what_came_not_with_what_was_announced))
