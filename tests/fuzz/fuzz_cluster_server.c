/* tests/fuzz/fuzz_cluster_server.c: what a server says of itself: what is read has names that can be part of a path, and is told
 * as a text that reads the same. */
#include "fuzz.h"

#include "cluster/servers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    crs_server *server = NULL, *again = NULL;
    uint8_t *copy = fuzz_copy(data, size);
    cereus_status st = crs_server_parse(cereus_slice_of(copy, size), &server);
    free(copy);
    FUZZ_CHECK(st == CEREUS_OK ? server != NULL : server == NULL);
    if (st)
        return 0;
    const cereus_server *a = crs_server_view(server);
    FUZZ_CHECK(a->id[0] && !strchr(a->id, '/') && strlen(a->id) <= CRS_SERVER_NAME_MAX);
    FUZZ_CHECK(a->type[0] && !strchr(a->type, '/'));
    char *text = crs_server_text(a);
    if (text && crs_server_parse(cereus_slice_str(text), &again) == CEREUS_OK) { /* escapes may make it too long */
        const cereus_server *b = crs_server_view(again);
        FUZZ_CHECK(strcmp(a->id, b->id) == 0 && strcmp(a->type, b->type) == 0 && strcmp(a->hostname, b->hostname) == 0);
        FUZZ_CHECK(strcmp(a->metadata, b->metadata) == 0 && a->frontend == b->frontend);
    } else {
        FUZZ_CHECK(!text || strlen(text) >= 64 * 1024);
    }
    crs_free(text);
    crs_server_unref(again);
    crs_server_unref(server);
    return 0;
}
