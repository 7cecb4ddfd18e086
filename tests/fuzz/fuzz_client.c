/* tests/fuzz/fuzz_client.c: what the C client reads by itself: the first byte picks the answer to the handshake, an error
 * payload of one of the serializers, or the answer to the WebSocket upgrade. */
#include "fuzz.h"

#include "answer.h"
#include "upgrade.h"

static void check_answer(cereus_slice in)
{
    crs_client_answer answer = {0};
    cereus_error err = {0};
    cereus_status st = crs_client_answer_parse(in, &answer, &err);
    FUZZ_CHECK((st == CEREUS_OK) == (answer.dict != NULL));
    FUZZ_CHECK(st == CEREUS_OK || err.status == st);
    FUZZ_CHECK(memchr(answer.serializer, 0, sizeof answer.serializer));
    crs_route_dict_free(answer.dict);
}

static void check_error(cereus_slice in, const char *serializer)
{
    crs_arena arena;
    crs_arena_init(&arena, 1 << 20);
    cereus_client_reply reply = {0};
    crs_client_error_parse(in, serializer, &arena, &reply);
    size_t len = strlen(reply.code) + strlen(reply.msg);
    for (size_t i = 0; i < reply.metadata_count; i++)
        len += strlen(reply.metadata[i].key) + strlen(reply.metadata[i].value);
    FUZZ_CHECK(len <= in.len || strcmp(reply.code, "PIT-000") == 0);
    crs_arena_fini(&arena);
}

static void check_upgrade(cereus_slice in)
{
    size_t used = 0;
    cereus_error err = {0};
    cereus_status st = crs_client_upgrade_answer(in, "dGhlIHNhbXBsZSBub25jZQ==", &used, &err);
    FUZZ_CHECK(st == CEREUS_OK ? used <= in.len : used == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t *copy = fuzz_copy(data + 1, size - 1);
    cereus_slice in = cereus_slice_of(copy, size - 1);
    switch (data[0]) {
    case 'a':
        check_answer(in);
        break;
    case 'j':
        check_error(in, "json");
        break;
    case 'p':
        check_error(in, "protobuf");
        break;
    case 'u':
        check_upgrade(in);
        break;
    }
    free(copy);
    return 0;
}
