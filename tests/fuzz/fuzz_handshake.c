/* tests/fuzz/fuzz_handshake.c: a client's handshake. What is read must print, and the print must read and print the
 * same. The same bytes also go through the JSON escaper, whose output must be a string that unescapes to them. */
#include "fuzz.h"

#include "base/utf8.h"
#include "wire/handshake.h"
#include "wire/json_scan.h"

enum { SIZE_LIMIT = 64 << 10 };

/* Parse a copy that is gone afterwards; print. False: refused. */
static bool parse_and_print(const uint8_t *data, size_t size, crs_bytes *out)
{
    crs_arena arena;
    crs_arena_init(&arena, 16 * SIZE_LIMIT);
    uint8_t *json = fuzz_copy(data, size);
    crs_handshake hs;
    cereus_status st = crs_handshake_parse(cereus_slice_of(json, size), &arena, &hs);
    FUZZ_CHECK(st == CEREUS_OK || st == CEREUS_E_MALFORMED);
    free(json);
    if (!st)
        FUZZ_CHECK(crs_handshake_print(&hs, out) == CEREUS_OK);
    crs_arena_fini(&arena);
    return st == CEREUS_OK;
}

static void check_escape(const uint8_t *data, size_t size)
{
    crs_bytes out;
    crs_bytes_init(&out, 6 * size + 2);
    FUZZ_CHECK(crs_json_escape(cereus_slice_of(data, size), &out) == CEREUS_OK);
    FUZZ_CHECK(crs_utf8_valid(crs_bytes_slice(&out)));
    crs_json_scan s = {out.data, out.data + out.len};
    cereus_slice raw;
    FUZZ_CHECK(crs_json_skip_string(&s, &raw) && s.at == s.end);
    uint8_t *text = malloc(raw.len ? raw.len : 1);
    FUZZ_CHECK(text);
    size_t len = crs_json_unescape(raw, text);
    if (crs_utf8_valid(cereus_slice_of(data, size)))
        FUZZ_CHECK(len == size && memcmp(text, data, size) == 0);
    free(text);
    crs_bytes_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > SIZE_LIMIT)
        return 0;
    crs_bytes once, twice;
    crs_bytes_init(&once, 64 * SIZE_LIMIT);
    crs_bytes_init(&twice, 64 * SIZE_LIMIT);
    if (parse_and_print(data, size, &once)) {
        FUZZ_CHECK(parse_and_print(once.data, once.len, &twice));
        FUZZ_CHECK(crs_slice_eq(crs_bytes_slice(&once), crs_bytes_slice(&twice)));
    }
    crs_bytes_fini(&once);
    crs_bytes_fini(&twice);
    uint8_t *copy = fuzz_copy(data, size);
    check_escape(copy, size);
    free(copy);
    return 0;
}
