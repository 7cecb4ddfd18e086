/* tests/conformance/codec/test_handshake_vectors.c: the handshake packets of handshake.json and state.json, without a
 * server: what is sent must parse or not, the answer must be the recorded text, and so must what the method test.hs
 * gives back. */
#include "vectors.h"

#include "wire/handshake.h"
#include "wire/message.h"
#include "wire/packet.h"

static const char *vector_name; /* of the vector at hand */

#define CHECK(cond)                                 \
    do {                                            \
        if (!(cond))                                \
            fail_msg("%s: %s", vector_name, #cond); \
    } while (0)

/* Takes a packet off the front of @p rest. */
static bool next_packet(cereus_slice *rest, crs_packet *pkt)
{
    size_t used;
    if (crs_packet_decode(*rest, CRS_PACKET_BODY_MAX, pkt, &used) != CEREUS_OK)
        return false;
    *rest = cereus_slice_of(rest->data + used, rest->len - used);
    return true;
}

/* The JSON of a handshake answer, inflated where it is a zlib stream. */
static void answer_text(cereus_slice body, crs_zlib *z, crs_bytes *out)
{
    if (body.len > 1 && body.data[0] == 0x78 && body.data[1] == 0x9c)
        CHECK(crs_zlib_inflate(z, body, out) == CEREUS_OK);
    else
        CHECK(crs_bytes_append(out, body.data, body.len) == CEREUS_OK);
}

static void check_answer(const json_t *config, int code, crs_packet theirs)
{
    crs_zlib *z = crs_zlib_new(-1);
    crs_route_dict *dict = crs_route_dict_new();
    const char *route;
    json_t *route_code;
    json_object_foreach(json_object_get(config, "dictionary"), route, route_code)
    {
        CHECK(crs_route_dict_add(dict, cereus_slice_str(route), (uint16_t)json_integer_value(route_code), NULL) ==
              CEREUS_OK);
    }
    crs_bytes wire, our_text, their_text;
    crs_bytes_init(&wire, 1 << 20);
    crs_bytes_init(&our_text, 1 << 20);
    crs_bytes_init(&their_text, 1 << 20);
    bool compression = json_is_true(json_object_get(config, "data_compression"));
    uint64_t heartbeat_ms = (uint64_t)(json_number_value(json_object_get(config, "heartbeat_s")) * 1000 + 0.5);
    CHECK(crs_handshake_answer(code, dict, heartbeat_ms, vector_text(config, "serializer"), compression ? z : NULL,
                               &wire) == CEREUS_OK);
    cereus_slice rest = crs_bytes_slice(&wire);
    crs_packet ours;
    CHECK(next_packet(&rest, &ours) && rest.len == 0);
    CHECK(ours.type == CRS_PACKET_HANDSHAKE && theirs.type == CRS_PACKET_HANDSHAKE);
    answer_text(ours.body, z, &our_text);
    answer_text(theirs.body, z, &their_text);
    CHECK(crs_slice_eq(crs_bytes_slice(&our_text), crs_bytes_slice(&their_text)));
    CHECK((ours.body.data[0] == '{') == (theirs.body.data[0] == '{'));
    crs_bytes_fini(&wire);
    crs_bytes_fini(&our_text);
    crs_bytes_fini(&their_text);
    crs_route_dict_free(dict);
    crs_zlib_free(z);
}

/* @p theirs is the response to test.hs. */
static void check_printed(const crs_handshake *hs, crs_packet theirs)
{
    crs_message msg;
    crs_bytes text;
    crs_bytes_init(&text, 1 << 20);
    CHECK(crs_message_decode(theirs.body, NULL, &msg) == CEREUS_OK);
    CHECK(crs_handshake_print(hs, &text) == CEREUS_OK);
    CHECK(crs_slice_eq(crs_bytes_slice(&text), msg.body));
    crs_bytes_fini(&text);
}

static bool asks_for_handshake(crs_packet pkt)
{
    crs_message msg;
    return pkt.type == CRS_PACKET_DATA && crs_message_decode(pkt.body, NULL, &msg) == CEREUS_OK &&
           crs_slice_eq(msg.route, cereus_slice_str("test.hs"));
}

/* How many handshakes and calls of test.hs were compared. */
static size_t replay(const json_t *vector, const json_t *config)
{
    vector_bytes in = vector_get(vector, "in"), out = vector_get(vector, "out");
    cereus_slice requests = cereus_slice_of(in.data, in.len), answers = cereus_slice_of(out.data, out.len);
    bool validated = json_is_string(json_object_get(config, "handshake_validator"));
    crs_arena arena;
    crs_arena_init(&arena, 1 << 20);
    crs_handshake hs = {0};
    crs_packet request, answer;
    size_t count = 0;
    while (next_packet(&requests, &request)) {
        if (request.type == CRS_PACKET_HANDSHAKE) {
            CHECK(next_packet(&answers, &answer));
            cereus_status st = crs_handshake_parse(request.body, &arena, &hs);
            CHECK(st == CEREUS_OK || st == CEREUS_E_MALFORMED);
            bool refused = st || (validated && strcmp(hs.client_version, "0.0.0") == 0);
            check_answer(config, refused ? 400 : 200, answer);
            count++;
            if (refused)
                break;
        } else if (asks_for_handshake(request) && hs.platform) {
            CHECK(next_packet(&answers, &answer));
            check_printed(&hs, answer);
            count++;
        }
    }
    crs_arena_fini(&arena);
    free(in.data);
    free(out.data);
    return count;
}

static void handshakes_are_read_answered_and_printed_as_recorded(void **state)
{
    static const char *const files[] = {"handshake.json", "state.json"};
    const char *dir = getenv("TEST_VECTORS");
    assert_non_null(dir);
    char path[1000];
    snprintf(path, sizeof path, "%s/client/configs.json", dir);
    json_t *configs = json_load_file(path, 0, NULL);
    assert_non_null(configs);
    size_t count = 0;
    for (size_t f = 0; f < CEREUS_COUNT(files); f++) {
        json_t *file, *vectors = vectors_load(files[f], "vectors", &file), *vector;
        size_t i;
        json_array_foreach(vectors, i, vector)
        {
            vector_name = vector_text(vector, "name");
            const json_t *config = json_object_get(configs, vector_text(vector, "config"));
            CHECK(config != NULL);
            count += replay(vector, config);
        }
        json_decref(file);
    }
    assert_true(count > 60); /* a change of the files must not make this test look at nothing */
    json_decref(configs);
}

TEST_MAIN(cmocka_unit_test(handshakes_are_read_answered_and_printed_as_recorded))
