/* tests/fuzz/fuzz_cluster_context.c: the check of a propagated context agrees with a JSON parser: what it takes is an object, and
 * what it says of the caller's patience is what the object says. */
#include "fuzz.h"

#include <jansson.h>

#include "cluster/cluster_priv.h"
#include "config/value.h"

enum { SIZE_LIMIT = 64 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > SIZE_LIMIT)
        return 0;
    uint8_t *copy = fuzz_copy(data, size);
    uint64_t timeout_ms = 1;
    const char *wrong = crs_meta_check(cereus_slice_of(copy, size), &timeout_ms);
    json_error_t err;
    json_t *json = json_loadb((const char *)copy, size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &err);
    /* the check does not look at UTF-8, at numbers' ranges or at escaped halves; all else that it takes is JSON */
    if (!wrong && json) {
        FUZZ_CHECK(json_is_object(json));
        json_t *told = json_object_get(json, "reqTimeout");
        if (timeout_ms == UINT64_MAX) { /* a name written with escapes is not looked for */
            FUZZ_CHECK(!told || memchr(copy, '\\', size));
        } else {
            int64_t ms;
            FUZZ_CHECK(memchr(copy, '\\', size) ||
                       (json_is_string(told) && !crs_parse_duration_ms(json_string_value(told), &ms) &&
                        (uint64_t)ms == timeout_ms));
        }
    }
    json_decref(json);
    free(copy);
    return 0;
}
