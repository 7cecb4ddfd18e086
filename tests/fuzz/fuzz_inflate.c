/* tests/fuzz/fuzz_inflate.c: a compressed body. The first byte picks the longest result that is accepted; what inflates
 * must come back from our own deflate, and must be refused one byte below its length. */
#include "fuzz.h"

#include "wire/compress.h"

static void check_inflated(crs_zlib *z, cereus_slice in, cereus_slice text)
{
    crs_bytes again;
    if (text.len) {
        crs_bytes_init(&again, text.len - 1);
        FUZZ_CHECK(crs_zlib_inflate(z, in, &again) == CEREUS_E_TOO_LONG);
        FUZZ_CHECK(again.len == 0);
        crs_bytes_fini(&again);
    }
    uint8_t *packed = malloc(text.len ? text.len : 1);
    FUZZ_CHECK(packed);
    size_t len = crs_zlib_deflate(z, text, packed, text.len);
    if (len) {
        FUZZ_CHECK(len < text.len);
        uint8_t *exact = fuzz_copy(packed, len);
        crs_bytes_init(&again, text.len);
        FUZZ_CHECK(crs_zlib_inflate(z, cereus_slice_of(exact, len), &again) == CEREUS_OK);
        FUZZ_CHECK(crs_slice_eq(crs_bytes_slice(&again), text));
        crs_bytes_fini(&again);
        free(exact);
    }
    free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static crs_zlib *z; /* lives as long as the process: the states are reused, as in a server */
    if (!z)
        z = crs_zlib_new(-1);
    FUZZ_CHECK(z);
    if (size == 0)
        return 0;
    static const size_t limits[] = {0, 1, 300, 4096, 1 << 18};
    crs_bytes out;
    crs_bytes_init(&out, limits[data[0] % CEREUS_COUNT(limits)]);
    uint8_t *copy = fuzz_copy(data + 1, size - 1);
    cereus_slice in = cereus_slice_of(copy, size - 1);
    cereus_status st = crs_zlib_inflate(z, in, &out);
    FUZZ_CHECK(st == CEREUS_OK || st == CEREUS_E_MALFORMED || st == CEREUS_E_TOO_LONG);
    FUZZ_CHECK(out.len <= out.max && out.cap <= out.max);
    if (st)
        FUZZ_CHECK(out.len == 0);
    else
        check_inflated(z, in, crs_bytes_slice(&out));
    crs_bytes_fini(&out);
    free(copy);
    return 0;
}
