/* tests/fuzz/fuzz_packet.c: a stream of packets. The first byte picks the longest body that is accepted. */
#include "fuzz.h"

#include "wire/packet.h"

static void check_packet(const uint8_t *start, size_t len, size_t body_max, crs_packet pkt, size_t used)
{
    FUZZ_CHECK(used <= len && used == CRS_PACKET_HEAD_LEN + pkt.body.len);
    FUZZ_CHECK(pkt.body.data == start + CRS_PACKET_HEAD_LEN);
    FUZZ_CHECK(pkt.body.len <= body_max);
    FUZZ_CHECK(strcmp(crs_packet_type_name(pkt.type), "unknown") != 0);
    uint8_t head[CRS_PACKET_HEAD_LEN];
    FUZZ_CHECK(crs_packet_head(pkt.type, pkt.body.len, head) == CEREUS_OK);
    FUZZ_CHECK(memcmp(head, start, sizeof head) == 0);

    size_t cuts[] = {0, 3, 4, used - 1}; /* one byte less is not enough, wherever it is missing */
    for (size_t i = 0; i < CEREUS_COUNT(cuts); i++) {
        if (cuts[i] >= used)
            continue;
        uint8_t *part = fuzz_copy(start, cuts[i]);
        size_t untouched = 12345;
        FUZZ_CHECK(crs_packet_decode(cereus_slice_of(part, cuts[i]), body_max, &pkt, &untouched) == CEREUS_E_AGAIN);
        FUZZ_CHECK(untouched == 12345);
        free(part);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    static const size_t limits[] = {0, 1, 16, 1024, 65536, CRS_PACKET_BODY_MAX, SIZE_MAX};
    size_t body_max = limits[data[0] % CEREUS_COUNT(limits)], len = size - 1;
    uint8_t *stream = fuzz_copy(data + 1, len), *at = stream;
    for (;;) {
        crs_packet pkt;
        size_t used;
        cereus_status st = crs_packet_decode(cereus_slice_of(at, len), body_max, &pkt, &used);
        if (st) {
            FUZZ_CHECK(st == CEREUS_E_AGAIN || st == CEREUS_E_MALFORMED || st == CEREUS_E_TOO_LONG);
            FUZZ_CHECK(st == CEREUS_E_AGAIN || len >= CRS_PACKET_HEAD_LEN);
            break;
        }
        check_packet(at, len, body_max, pkt, used);
        at += used;
        len -= used;
    }
    free(stream);
    return 0;
}
