/* tests/conformance/codec/test_codec_vectors.c: packet_codec.json and message_codec.json against our codecs. Where
 * Pitaya has a bug (must-fix) or an oddity (may-fix), the vector's compat_expect is what must come out. */
#include "vectors.h"

#include "wire/compress.h"
#include "wire/message.h"
#include "wire/packet.h"

enum { PACKET_VECTORS = 42, MESSAGE_VECTORS = 130 };

static const char *vector_name; /* of the vector at hand */

#define CHECK(cond)                                 \
    do {                                            \
        if (!(cond))                                \
            fail_msg("%s: %s", vector_name, #cond); \
    } while (0)

/* The error that must come out, "" for none. */
static const char *expected_error(const json_t *vector)
{
    const json_t *better = json_object_get(vector, "compat_expect");
    if (json_object_get(better, "error"))
        return vector_text(better, "error");
    return json_object_get(better, "out") ? "" : vector_text(vector, "error");
}

static bool same(vector_bytes want, const uint8_t *data, size_t len)
{
    return want.len == len && memcmp(want.data, data, len) == 0;
}

/* -- packets -- */

static void packet_encode(const json_t *vector, const char *error)
{
    const json_t *in = json_object_get(vector, "in");
    vector_bytes body = vector_get(in, "data"), want = vector_get(vector, "out");
    uint8_t head[CRS_PACKET_HEAD_LEN];
    crs_packet_type type = (crs_packet_type)json_integer_value(json_object_get(in, "type"));
    cereus_status st = crs_packet_head(type, body.len, head);
    if (strcmp(error, "wrong_packet_type") == 0) {
        CHECK(st == CEREUS_E_INVALID);
    } else if (strcmp(error, "packet_too_big") == 0) {
        CHECK(st == CEREUS_E_TOO_LONG);
    } else {
        CHECK(st == CEREUS_OK && *error == '\0');
        CHECK(want.len == sizeof head + body.len);
        CHECK(memcmp(want.data, head, sizeof head) == 0);
        CHECK(memcmp(want.data + sizeof head, body.data, body.len) == 0);
    }
    free(body.data);
    free(want.data);
}

static void packet_decode(const json_t *vector, const char *error)
{
    vector_bytes in = vector_get(vector, "in");
    cereus_slice rest = cereus_slice_of(in.data, in.len);
    const json_t *want = json_object_get(vector, "out");
    crs_packet pkt;
    size_t used, count = 0;
    cereus_status st;
    while ((st = crs_packet_decode(rest, CRS_PACKET_BODY_MAX, &pkt, &used)) == CEREUS_OK) {
        const json_t *one = json_array_get(want, count++);
        if (*error == '\0') { /* of a stream that fails later on, Pitaya does not show what came before */
            vector_bytes data = vector_get(one, "data");
            CHECK(same(data, pkt.body.data, pkt.body.len));
            CHECK((json_int_t)pkt.type == json_integer_value(json_object_get(one, "type")));
            free(data.data);
        }
        rest = cereus_slice_of(rest.data + used, rest.len - used);
    }
    CHECK(st == (*error ? CEREUS_E_MALFORMED : CEREUS_E_AGAIN));
    CHECK(*error || count == json_array_size(want));
    free(in.data);
}

/* Pitaya has a function for the head alone; our decoder shows what it read there by what it refuses. */
static void packet_parse_header(const json_t *vector, const char *error)
{
    vector_bytes in = vector_get(vector, "in");
    cereus_slice head = cereus_slice_of(in.data, in.len);
    crs_packet pkt;
    size_t used;
    if (strcmp(error, "wrong_packet_type") == 0) {
        CHECK(crs_packet_decode(head, CRS_PACKET_BODY_MAX, &pkt, &used) == CEREUS_E_MALFORMED);
    } else if (strcmp(error, "invalid_header") == 0) { /* not four bytes: a stream waits for more */
        CHECK(crs_packet_decode(head, CRS_PACKET_BODY_MAX, &pkt, &used) == CEREUS_E_AGAIN);
    } else {
        const json_t *want = json_object_get(vector, "out");
        size_t len = (size_t)json_integer_value(json_object_get(want, "length"));
        CHECK(crs_packet_decode(head, len, &pkt, &used) == (len ? CEREUS_E_AGAIN : CEREUS_OK));
        CHECK(len == 0 || crs_packet_decode(head, len - 1, &pkt, &used) == CEREUS_E_TOO_LONG);
        CHECK(in.data[0] == json_integer_value(json_object_get(want, "type")));
    }
    free(in.data);
}

static void packets_encode_and_decode_as_recorded(void **state)
{
    json_t *file, *vectors = vectors_load("packet_codec.json", "vectors", &file), *vector;
    size_t i;
    assert_int_equal(json_array_size(vectors), PACKET_VECTORS);
    json_array_foreach(vectors, i, vector)
    {
        vector_name = vector_text(vector, "name");
        const char *direction = vector_text(vector, "direction"), *error = expected_error(vector);
        if (strcmp(direction, "encode") == 0)
            packet_encode(vector, error);
        else if (strcmp(direction, "decode") == 0)
            packet_decode(vector, error);
        else
            packet_parse_header(vector, error);
    }
    json_decref(file);
}

/* -- messages -- */

static crs_route_dict *make_dict(const json_t *vector)
{
    json_t *codes = json_object_get(vector, "dict"), *code;
    if (!codes)
        return NULL;
    crs_route_dict *dict = crs_route_dict_new();
    const char *route;
    json_object_foreach(codes, route, code)
    {
        CHECK(crs_route_dict_add(dict, cereus_slice_str(route), (uint16_t)json_integer_value(code), NULL) == CEREUS_OK);
    }
    return dict;
}

/* Decode and inflate, as the server does. @p body gets the body. */
static cereus_status decode_whole(vector_bytes in, const crs_route_dict *dict, crs_zlib *z, crs_message *msg,
                                  crs_bytes *body, bool *ret_inflate_failed)
{
    *ret_inflate_failed = false;
    CEREUS_TRY(crs_message_decode(cereus_slice_of(in.data, in.len), dict, msg));
    if (!msg->compressed)
        return crs_bytes_append(body, msg->body.data, msg->body.len);
    *ret_inflate_failed = crs_zlib_inflate(z, msg->body, body) != CEREUS_OK;
    return *ret_inflate_failed ? CEREUS_E_MALFORMED : CEREUS_OK;
}

static void message_decode(const json_t *vector, const char *error, const crs_route_dict *dict, crs_zlib *z)
{
    vector_bytes in = vector_get(vector, "in");
    crs_message msg;
    crs_bytes body;
    crs_bytes_init(&body, 1 << 20);
    bool inflate_failed;
    cereus_status st = decode_whole(in, dict, z, &msg, &body, &inflate_failed);
    if (*error) {
        CHECK(st == (strcmp(error, "route_code_unknown") == 0 ? CEREUS_E_NOT_FOUND : CEREUS_E_MALFORMED));
        CHECK(inflate_failed == (strcmp(error, "inflate_error") == 0));
    } else {
        const json_t *want = json_object_get(vector, "out");
        vector_bytes route = vector_get(want, "route"), want_body = vector_get(want, "body");
        CHECK(st == CEREUS_OK);
        CHECK((json_int_t)msg.type == json_integer_value(json_object_get(want, "type")));
        CHECK(msg.id == strtoull(vector_text(want, "id"), NULL, 10));
        CHECK(msg.error == json_is_true(json_object_get(want, "error")));
        CHECK(same(route, msg.route.data ? msg.route.data : (const uint8_t *)"", msg.route.len));
        CHECK(same(want_body, crs_bytes_slice(&body).data, body.len));
        free(route.data);
        free(want_body.data);
    }
    crs_bytes_fini(&body);
    free(in.data);
}

static void check_encoded(const json_t *vector, vector_bytes wire, const crs_route_dict *dict, crs_zlib *z)
{
    const json_t *better = json_object_get(vector, "compat_expect");
    vector_bytes want = vector_get(json_object_get(better, "out") ? better : vector, "out");
    if (strcmp(vector_text(vector, "compare"), "bytes") == 0) {
        CHECK(same(want, wire.data, wire.len));
    } else {
        crs_message ours, theirs;
        crs_bytes our_body, their_body;
        crs_bytes_init(&our_body, 1 << 20);
        crs_bytes_init(&their_body, 1 << 20);
        bool inflate_failed;
        CHECK(decode_whole(wire, dict, z, &ours, &our_body, &inflate_failed) == CEREUS_OK);
        CHECK(decode_whole(want, dict, z, &theirs, &their_body, &inflate_failed) == CEREUS_OK);
        CHECK(ours.type == theirs.type && ours.id == theirs.id && ours.error == theirs.error);
        CHECK(crs_slice_eq(ours.route, theirs.route));
        CHECK(crs_slice_eq(crs_bytes_slice(&our_body), crs_bytes_slice(&their_body)));
        const char *gzip = vector_text(vector, "gzip");
        bool must = strcmp(gzip, "must") == 0 || (*gzip == '\0' && theirs.compressed);
        CHECK(strcmp(gzip, "any") == 0 || ours.compressed == must);
        crs_bytes_fini(&our_body);
        crs_bytes_fini(&their_body);
    }
    free(want.data);
}

static void message_encode(const json_t *vector, const char *error, const crs_route_dict *dict, crs_zlib *z)
{
    const json_t *in = json_object_get(vector, "in");
    vector_bytes route = vector_get(in, "route"), body = vector_get(in, "body");
    uint8_t *packed = malloc(body.len ? body.len : 1);
    size_t packed_len = 0;
    if (json_is_true(json_object_get(in, "data_compression")))
        packed_len = crs_zlib_deflate(z, cereus_slice_of(body.data, body.len), packed, body.len);
    crs_message msg = {
        .type = (crs_message_type)json_integer_value(json_object_get(in, "type")),
        .id = strtoull(vector_text(in, "id"), NULL, 10),
        .route = cereus_slice_of(route.data, route.len),
        .compressed = packed_len > 0,
        .error = json_is_true(json_object_get(in, "error")),
    };
    uint8_t head[CRS_MESSAGE_HEAD_MAX];
    size_t head_len;
    cereus_status st = crs_message_head(&msg, dict, head, &head_len);
    if (strcmp(error, "wrong_message_type") == 0) {
        CHECK(st == CEREUS_E_INVALID);
    } else if (strcmp(error, "route_too_long") == 0) {
        CHECK(st == CEREUS_E_TOO_LONG);
    } else {
        CHECK(st == CEREUS_OK && *error == '\0');
        vector_bytes wire = vector_hex("");
        vector_append(&wire, head, head_len);
        vector_append(&wire, packed_len ? packed : body.data, packed_len ? packed_len : body.len);
        check_encoded(vector, wire, dict, z);
        free(wire.data);
    }
    free(packed);
    free(route.data);
    free(body.data);
}

static void messages_encode_and_decode_as_recorded(void **state)
{
    json_t *file, *vectors = vectors_load("message_codec.json", "vectors", &file), *vector;
    crs_zlib *z = crs_zlib_new(-1);
    size_t i;
    assert_int_equal(json_array_size(vectors), MESSAGE_VECTORS);
    json_array_foreach(vectors, i, vector)
    {
        vector_name = vector_text(vector, "name");
        crs_route_dict *dict = make_dict(vector);
        if (strcmp(vector_text(vector, "direction"), "encode") == 0)
            message_encode(vector, expected_error(vector), dict, z);
        else
            message_decode(vector, expected_error(vector), dict, z);
        crs_route_dict_free(dict);
    }
    crs_zlib_free(z);
    json_decref(file);
}

TEST_MAIN(cmocka_unit_test(packets_encode_and_decode_as_recorded),
          cmocka_unit_test(messages_encode_and_decode_as_recorded))
