/* Unit tests of tools/bench/frame.c. */
#include "test.h"

#include "frame.h"

static cereus_status next(bool ws, const void *data, size_t len, crs_bench_item *item, size_t *used)
{
    uint8_t *copy = test_copy(data, len);
    cereus_status st = crs_bench_next(ws, cereus_slice_of(copy, len), item, used);
    free(copy);
    return st;
}

static void a_packet_waits_for_its_last_byte_on_either_transport(void **state)
{
    static const uint8_t frame[] = {0x82, 6, 4, 0, 0, 2, 'h', 'i'};
    crs_bench_item item;
    size_t used = 0;
    for (size_t len = 0; len < sizeof frame; len++)
        assert_int_equal(next(true, frame, len, &item, &used), CEREUS_E_AGAIN);
    assert_int_equal(next(true, frame, sizeof frame, &item, &used), CEREUS_OK);
    assert_int_equal(used, sizeof frame);
    for (size_t len = 2; len < sizeof frame; len++)
        assert_int_equal(next(false, frame + 2, len - 2, &item, &used), CEREUS_E_AGAIN);
    assert_int_equal(next(false, frame + 2, sizeof frame - 2, &item, &used), CEREUS_OK);
    assert_int_equal(used, sizeof frame - 2);
    assert_int_equal(item.kind, CRS_BENCH_PACKET);
    assert_int_equal(item.packet.type, CRS_PACKET_DATA);
    assert_int_equal(item.packet.body.len, 2);
}

static void what_a_server_may_not_send_is_malformed(void **state)
{
    static const uint8_t bad[][6] = {
        {0x02, 4, 4, 0, 0, 0},    /* not the last fragment */
        {0xc2, 4, 4, 0, 0, 0},    /* a reserved bit */
        {0x82, 0x84, 4, 0, 0, 0}, /* masked */
        {0x81, 4, 4, 0, 0, 0},    /* text */
        {0x82, 4, 4, 0, 0, 1},    /* a packet longer than its frame */
        {0x82, 4, 9, 0, 0, 0},    /* no such packet */
    };
    crs_bench_item item;
    size_t used;
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++)
        assert_int_equal(next(true, bad[i], sizeof bad[i], &item, &used), CEREUS_E_MALFORMED);
    static const uint8_t huge[] = {0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(next(true, huge, sizeof huge, &item, &used), CEREUS_E_TOO_LONG);
}

static void control_frames_are_told_apart(void **state)
{
    crs_bench_item item;
    size_t used;
    assert_int_equal(next(true, "\x89\x01z", 3, &item, &used), CEREUS_OK);
    assert_int_equal(item.kind, CRS_BENCH_PING);
    assert_int_equal(item.ping.len, 1);
    assert_int_equal(next(true, "\x8a\x00", 2, &item, &used), CEREUS_OK);
    assert_int_equal(item.kind, CRS_BENCH_PONG);
    assert_int_equal(next(true, "\x88\x00", 2, &item, &used), CEREUS_OK);
    assert_int_equal(item.kind, CRS_BENCH_CLOSE);
}

static void a_client_frame_is_masked_and_as_long_as_it_says(void **state)
{
    static const size_t lens[] = {0, 121, 122, 65531, 65532, 100000};
    for (size_t i = 0; i < CEREUS_COUNT(lens); i++) {
        uint8_t *body = calloc(1, lens[i] + 1);
        crs_bytes out;
        crs_bytes_init(&out, 1 << 20);
        assert_int_equal(crs_bench_put_packet(true, CRS_PACKET_DATA, cereus_slice_of(body, lens[i]), &out), CEREUS_OK);
        assert_int_equal(out.data[0], 0x82);
        assert_true(out.data[1] & 0x80);
        size_t head_len = lens[i] + 4 < 126 ? 6 : lens[i] + 4 <= 0xffff ? 8 : 14;
        assert_int_equal(out.len, head_len + 4 + lens[i]);
        assert_int_equal(out.data[head_len] ^ out.data[head_len - 4], CRS_PACKET_DATA);
        crs_bytes_fini(&out);
        free(body);
    }
}

static void an_upgrade_is_answered_with_the_key_that_belongs_to_it(void **state)
{
    static const char good[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    size_t used = 0;
    for (size_t len = 0; len < sizeof good - 1; len++) {
        uint8_t *copy = test_copy(good, len);
        assert_int_equal(crs_bench_upgraded(cereus_slice_of(copy, len), &used), CEREUS_E_AGAIN);
        free(copy);
    }
    assert_int_equal(crs_bench_upgraded(cereus_slice_str(good), &used), CEREUS_OK);
    assert_int_equal(used, sizeof good - 1);
    static const char *const bad[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 x\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n\r\n",
        "HTTP/1.1 101 x\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++)
        assert_int_equal(crs_bench_upgraded(cereus_slice_str(bad[i]), &used), CEREUS_E_MALFORMED);
}

TEST_MAIN(cmocka_unit_test(a_packet_waits_for_its_last_byte_on_either_transport),
          cmocka_unit_test(what_a_server_may_not_send_is_malformed), cmocka_unit_test(control_frames_are_told_apart),
          cmocka_unit_test(a_client_frame_is_masked_and_as_long_as_it_says),
          cmocka_unit_test(an_upgrade_is_answered_with_the_key_that_belongs_to_it))
