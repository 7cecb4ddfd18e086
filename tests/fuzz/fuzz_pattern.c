/* tests/fuzz/fuzz_pattern.c: a pattern up to the first NUL, behind it a text to try it on. What compiles stays within its
 * bounds, and any text is answered without a step too many. */
#include "fuzz.h"

#include "base/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint32_t scratch[CRS_PATTERN_SCRATCH_MAX / 4 + 1];
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    if (!nul || size > 4096)
        return 0;
    size_t pattern_len = (size_t)(nul - data), text_len = size - pattern_len - 1;
    char *pattern = (char *)fuzz_copy(data, pattern_len + 1);
    uint8_t *text = fuzz_copy(nul + 1, text_len);
    crs_pattern *p = NULL;
    cereus_error err = {.status = CEREUS_OK};
    cereus_status st = crs_pattern_compile(pattern, &p, &err);
    FUZZ_CHECK(st == CEREUS_OK || st == CEREUS_E_INVALID);
    FUZZ_CHECK(err.status == st && (st == CEREUS_OK) == !err.msg[0]);
    if (!st) {
        FUZZ_CHECK(crs_pattern_steps(p, text_len) <= (text_len + 1) * CRS_PATTERN_OPS_MAX);
        bool yes = crs_pattern_matches(p, cereus_slice_of(text, text_len), scratch);
        FUZZ_CHECK(yes == crs_pattern_matches(p, cereus_slice_of(text, text_len), scratch));
    }
    crs_pattern_free(p);
    free(pattern);
    free(text);
    return 0;
}
