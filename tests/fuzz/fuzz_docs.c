/* tests/fuzz/fuzz_docs.c: documentation from a server nobody knows, up to the first NUL, and behind it a line that a person
 * types and a reply. */
#include "fuzz.h"

#include "api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const commands[] = {"connect", "request", "notify", NULL};
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    if (!nul || size > 1 << 16)
        return 0;
    size_t text_len = (size_t)(nul - data), line_len = size - text_len - 1;
    uint8_t *text = fuzz_copy(data, text_len), *line = fuzz_copy(nul + 1, line_len);
    crs_api *api = NULL;
    cereus_error err = {.status = CEREUS_OK};
    cereus_status st = crs_api_new(cereus_slice_of(text, text_len), &api, &err);
    FUZZ_CHECK(err.status == st && (st == CEREUS_OK) == (api != NULL));
    crs_candidates c;
    crs_api_complete(api, commands, cereus_slice_of(line, line_len), &c);
    FUZZ_CHECK(c.start <= line_len);
    crs_candidates_fini(&c);
    if (api) {
        crs_bytes out;
        bool any = false;
        crs_bytes_init(&out, 1 << 22);
        FUZZ_CHECK(crs_api_ask(api, &out, &any) == CEREUS_OK);
        FUZZ_CHECK(any == (out.len > 0));
        (void)crs_api_descriptors_route(api);
        err.status = CEREUS_OK;
        st = crs_api_learn(api, cereus_slice_of(line, line_len), &err);
        FUZZ_CHECK(err.status == st);
        for (size_t i = 0; crs_api_route(api, i); i++) {
            st = crs_api_decode(api, crs_api_route(api, i), CRS_API_REPLY, cereus_slice_of(line, line_len), &out, NULL);
            FUZZ_CHECK(st != CEREUS_E_STATE);
        }
        crs_bytes_fini(&out);
    }
    crs_api_free(api);
    free(text);
    free(line);
    return 0;
}
