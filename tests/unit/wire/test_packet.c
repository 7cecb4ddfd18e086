/* tests/unit/wire/test_packet.c */
#include "test.h"

#include "wire/packet.h"

static cereus_status decode(const void *wire, size_t len, size_t body_max, crs_packet *pkt, size_t *used)
{
    uint8_t *copy = test_copy(wire, len);
    cereus_status st = crs_packet_decode(cereus_slice_of(copy, len), body_max, pkt, used);
    if (!st) {
        assert_ptr_equal(pkt->body.data, copy + 4);
        assert_int_equal(*used, 4 + pkt->body.len);
        assert_true(*used <= len);
    }
    free(copy);
    return st;
}

static void packet_decode_waits_for_the_whole_body(void **state)
{
    static const uint8_t wire[] = {CRS_PACKET_DATA, 0, 0, 2, 'h', 'i', CRS_PACKET_KICK};
    crs_packet pkt;
    size_t used;
    for (size_t len = 0; len < 6; len++)
        assert_int_equal(decode(wire, len, 1024, &pkt, &used), CEREUS_E_AGAIN);
    for (size_t len = 6; len <= sizeof wire; len++) {
        assert_int_equal(decode(wire, len, 1024, &pkt, &used), CEREUS_OK);
        assert_int_equal(pkt.type, CRS_PACKET_DATA);
        assert_int_equal(used, 6);
    }
}

static void packet_decode_refuses_every_other_type_as_soon_as_the_head_is_there(void **state)
{
    crs_packet pkt;
    size_t used;
    for (unsigned type = 0; type < 256; type++) {
        uint8_t wire[] = {(uint8_t)type, 0, 0, 1};
        cereus_status want = type >= 1 && type <= 5 ? CEREUS_E_AGAIN : CEREUS_E_MALFORMED;
        assert_int_equal(decode(wire, 3, 16, &pkt, &used), CEREUS_E_AGAIN);
        assert_int_equal(decode(wire, 4, 16, &pkt, &used), want);
    }
}

static void packet_decode_refuses_a_long_body_from_the_head_alone(void **state)
{
    static const uint8_t wire[] = {CRS_PACKET_DATA, 1, 0, 1};
    crs_packet pkt;
    size_t used;
    assert_int_equal(decode(wire, 4, 0x10001, &pkt, &used), CEREUS_E_AGAIN);
    assert_int_equal(decode(wire, 4, 0x10000, &pkt, &used), CEREUS_E_TOO_LONG);
    assert_int_equal(decode((uint8_t[]){CRS_PACKET_KICK, 0, 0, 0}, 4, 0, &pkt, &used), CEREUS_OK);
}

static void packet_decode_leaves_its_outputs_alone_on_failure(void **state)
{
    crs_packet pkt = {.type = CRS_PACKET_KICK};
    size_t used = 77;
    assert_int_equal(decode("\x09\0\0\0", 4, 16, &pkt, &used), CEREUS_E_MALFORMED);
    assert_int_equal(decode("\x04\0\0\x05hi", 6, 16, &pkt, &used), CEREUS_E_AGAIN);
    assert_int_equal(pkt.type, CRS_PACKET_KICK);
    assert_int_equal(used, 77);
}

static void packet_head_never_wraps_the_length(void **state)
{
    uint8_t *head = test_copy("....", 4);
    assert_int_equal(crs_packet_head(CRS_PACKET_DATA, 0xffffff, head), CEREUS_OK);
    assert_memory_equal(head, "\x04\xff\xff\xff", 4);
    assert_int_equal(crs_packet_head(CRS_PACKET_DATA, 0x1000000, head), CEREUS_E_TOO_LONG);
    assert_int_equal(crs_packet_head(CRS_PACKET_DATA, SIZE_MAX, head), CEREUS_E_TOO_LONG);
    assert_int_equal(crs_packet_head((crs_packet_type)0, 0, head), CEREUS_E_INVALID);
    assert_int_equal(crs_packet_head((crs_packet_type)6, 0, head), CEREUS_E_INVALID);
    assert_int_equal(crs_packet_head((crs_packet_type)-1, 0, head), CEREUS_E_INVALID);
    free(head);
}

static void packet_types_have_names(void **state)
{
    assert_string_equal(crs_packet_type_name(CRS_PACKET_HANDSHAKE), "handshake");
    assert_string_equal(crs_packet_type_name(CRS_PACKET_HANDSHAKE_ACK), "handshake ack");
    assert_string_equal(crs_packet_type_name(CRS_PACKET_HEARTBEAT), "heartbeat");
    assert_string_equal(crs_packet_type_name(CRS_PACKET_DATA), "data");
    assert_string_equal(crs_packet_type_name(CRS_PACKET_KICK), "kick");
    assert_string_equal(crs_packet_type_name((crs_packet_type)0), "unknown");
    assert_string_equal(crs_packet_type_name((crs_packet_type)6), "unknown");
}

TEST_MAIN(cmocka_unit_test(packet_decode_waits_for_the_whole_body),
          cmocka_unit_test(packet_decode_refuses_every_other_type_as_soon_as_the_head_is_there),
          cmocka_unit_test(packet_decode_refuses_a_long_body_from_the_head_alone),
          cmocka_unit_test(packet_decode_leaves_its_outputs_alone_on_failure),
          cmocka_unit_test(packet_head_never_wraps_the_length), cmocka_unit_test(packet_types_have_names))
