/* tests/fuzz/fuzz_proxy_head.c: what a load balancer says about the client. Every part of a head waits, a refusal stays one
 * whatever follows, and a head is taken with exactly the bytes that it had. */
#include "fuzz.h"

#include "transport/proxy_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cereus_status first = CEREUS_E_AGAIN;
    size_t first_used = 0;
    if (size > CRS_PROXY_HEAD_MAX + 8)
        size = CRS_PROXY_HEAD_MAX + 8;
    for (size_t len = 0; len <= size; len++) {
        bool known = false;
        crs_peer peer;
        size_t used = 0;
        uint8_t *in = fuzz_copy(data, len);
        cereus_status st = crs_proxy_head_parse(cereus_slice_of(in, len), &known, &peer, &used);
        free(in);
        FUZZ_CHECK(st == CEREUS_OK || st == CEREUS_E_AGAIN || st == CEREUS_E_MALFORMED);
        if (st == CEREUS_OK) {
            char text[CRS_PEER_TEXT_MAX];
            FUZZ_CHECK(used >= 15 && used <= len && used <= CRS_PROXY_HEAD_MAX);
            if (known)
                crs_peer_text(&peer, text);
        }
        if (first == CEREUS_E_AGAIN) {
            if (st == CEREUS_OK)
                FUZZ_CHECK(used == len); /* not one byte sooner, not one later */
            first = st;
            first_used = used;
        } else {
            FUZZ_CHECK(st == first && used == first_used);
        }
    }
    return 0;
}
