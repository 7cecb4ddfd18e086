/* tests/fuzz/fuzz_http_head.c: the request for a WebSocket. An answer, once given, must be the same however much
 * follows. */
#include "fuzz.h"

#include "transport/http_head.h"

enum { HEAD_MAX = 512 }; /* small, so that it is met */

static bool is_inside(cereus_slice part, const uint8_t *in, size_t len)
{
    return !part.data || (part.data >= in && part.len <= len && part.data <= in + len - part.len);
}

static void check_answer(const crs_ws_upgrade *up, const uint8_t *in, size_t len, size_t used)
{
    FUZZ_CHECK(is_inside(up->target, in, len) && is_inside(up->host, in, len) && is_inside(up->origin, in, len));
    if (up->keep_alive)
        FUZZ_CHECK(used >= 4 && used <= HEAD_MAX && used <= len && memcmp(in + used - 4, "\r\n\r\n", 4) == 0);
    else
        FUZZ_CHECK(used == len);
    if (up->answer == CRS_WS_ACCEPT) {
        char out[CRS_WS_ACCEPT_RESPONSE_LEN];
        FUZZ_CHECK(up->keep_alive && up->why[0] == '\0' && memcmp(up->key + 22, "==", 2) == 0);
        crs_ws_accept_response(up->key, out);
    } else {
        char out[CRS_WS_REFUSAL_MAX];
        FUZZ_CHECK(up->why[0] != '\0');
        FUZZ_CHECK(crs_ws_refusal(up->answer, up->keep_alive, 0, out) <= sizeof out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    crs_ws_upgrade first = {0}, up;
    size_t first_used = 0, used;
    bool answered = false;
    size_t step = size > 4 * HEAD_MAX ? size : 1; /* every prefix, unless that would take long */
    for (size_t len = size % step; len <= size; len += step) {
        uint8_t *in = fuzz_copy(data, len);
        cereus_status st = crs_http_head_parse(cereus_slice_of(in, len), HEAD_MAX, &up, &used);
        FUZZ_CHECK(st == CEREUS_OK || (st == CEREUS_E_AGAIN && !answered && len <= HEAD_MAX));
        if (st == CEREUS_OK) {
            check_answer(&up, in, len, used);
            if (answered)
                FUZZ_CHECK(up.answer == first.answer && up.keep_alive == first.keep_alive && up.why == first.why &&
                           (used == first_used || !up.keep_alive));
            first = up;
            first_used = used;
            answered = true;
        }
        free(in);
    }
    return 0;
}
