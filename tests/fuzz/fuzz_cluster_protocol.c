/* tests/fuzz/fuzz_cluster_protocol.c: the messages of servers. The first byte says which; what is read can be written, and that
 * reads and writes the same again. */
#include "fuzz.h"

#include "cluster/protocol.h"

enum { SIZE_LIMIT = 64 << 10 };

static cereus_status read_and_write(unsigned kind, cereus_slice in, crs_bytes *out)
{
    crs_request req;
    crs_response res;
    crs_push_msg push;
    crs_bind_msg bind;
    cereus_slice uid = {0}, data = {0};
    int64_t id = 0;
    switch (kind % 6) {
    case 0:
        CEREUS_TRY(crs_request_decode(in, &req));
        return crs_request_encode(&req, out);
    case 1:
        CEREUS_TRY(crs_response_decode(in, &res));
        FUZZ_CHECK(res.error.pair_count <= CRS_ERROR_PAIRS_MAX);
        return crs_response_encode(&res, out);
    case 2:
        CEREUS_TRY(crs_push_decode(in, &push));
        return crs_push_encode(&push, out);
    case 3:
        CEREUS_TRY(crs_bind_decode(in, &bind));
        return crs_bind_encode(&bind, out);
    case 4:
        CEREUS_TRY(crs_kick_decode(in, &uid));
        return crs_kick_encode(uid, out);
    default:
        CEREUS_TRY(crs_session_decode(in, &id, &uid, &data));
        return crs_session_encode(id, uid, data, out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > SIZE_LIMIT)
        return 0;
    crs_bytes once, twice;
    crs_bytes_init(&once, 2 * SIZE_LIMIT);
    crs_bytes_init(&twice, 2 * SIZE_LIMIT);
    uint8_t *copy = fuzz_copy(data + 1, size - 1);
    cereus_status st = read_and_write(data[0], cereus_slice_of(copy, size - 1), &once);
    free(copy);
    FUZZ_CHECK(st == CEREUS_OK || st == CEREUS_E_MALFORMED);
    if (!st) {
        FUZZ_CHECK(read_and_write(data[0], crs_bytes_slice(&once), &twice) == CEREUS_OK);
        FUZZ_CHECK(crs_slice_eq(crs_bytes_slice(&once), crs_bytes_slice(&twice)));
    }
    crs_bytes_fini(&once);
    crs_bytes_fini(&twice);
    return 0;
}
