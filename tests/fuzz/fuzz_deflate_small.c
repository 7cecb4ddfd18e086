/* tests/fuzz/fuzz_deflate_small.c: a body, deflated by us, must come back from zlib's inflate. The first byte picks how much
 * room there is. */
#include "fuzz.h"

#include <zlib.h>

#include "wire/deflate_small.h"

static void must_inflate_to(uint8_t *packed, size_t packed_len, const uint8_t *data, size_t len)
{
    uint8_t back[CRS_DEFLATE_SMALL_MAX];
    z_stream s = {.next_in = packed, .avail_in = (uInt)packed_len, .next_out = back, .avail_out = sizeof back};
    FUZZ_CHECK(inflateInit(&s) == Z_OK);
    FUZZ_CHECK(inflate(&s, Z_FINISH) == Z_STREAM_END);
    FUZZ_CHECK(s.avail_in == 0 && s.total_out == len);
    FUZZ_CHECK(memcmp(back, data, len) == 0);
    inflateEnd(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static crs_deflate_small *d; /* lives as long as the process: what it remembers must not show */
    if (!d)
        d = crs_deflate_small_new();
    FUZZ_CHECK(d);
    if (size == 0)
        return 0;
    size_t len = CRS_MIN(size - 1, (size_t)CRS_DEFLATE_SMALL_MAX), cap = data[0] < 128 ? len : len * data[0] / 256;
    uint8_t *in = fuzz_copy(data + 1, len), *out = malloc(cap ? cap : 1);
    FUZZ_CHECK(out);
    size_t n = crs_deflate_small_run(d, cereus_slice_of(in, len), out, cap);
    FUZZ_CHECK(n <= cap && (n == 0 || n < len));
    if (n) {
        uint8_t *exact = fuzz_copy(out, n);
        must_inflate_to(exact, n, in, len);
        /* the same in exactly as much room as it takes, and nothing in less */
        memset(exact, 0, n);
        FUZZ_CHECK(crs_deflate_small_run(d, cereus_slice_of(in, len), exact, n) == n);
        FUZZ_CHECK(memcmp(out, exact, n) == 0);
        FUZZ_CHECK(crs_deflate_small_run(d, cereus_slice_of(in, len), exact, n - 1) == 0);
        free(exact);
    }
    free(in);
    free(out);
    return 0;
}
