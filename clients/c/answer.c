/* clients/c/answer.c: see answer.h. JSON by jansson; the three fields of the protobuf error by hand, because
 * descriptors and generated code for that one message would weigh more than the loop below. */
#include "answer.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

static cereus_status parse_dict(json_t *object, crs_route_dict *dict, cereus_error *err)
{
    const char *route;
    json_t *value;
    json_object_foreach(object, route, value)
    {
        json_int_t code = json_is_integer(value) ? json_integer_value(value) : -1;
        if (code < 0 || code > UINT16_MAX)
            return crs_fail(err, CEREUS_E_MALFORMED, "handshake answer: route code out of range");
        cereus_status st = crs_route_dict_add(dict, cereus_slice_str(route), (uint16_t)code, err);
        /* Q13: Pitaya lets a blank route in, which no message can mean */
        if (st != CEREUS_OK && st != CEREUS_E_INVALID)
            return crs_fail_in(err, st == CEREUS_E_NOMEM ? st : CEREUS_E_MALFORMED, "handshake answer");
    }
    return CEREUS_OK;
}

static cereus_status parse_answer(json_t *root, crs_client_answer *answer, cereus_error *err)
{
    json_t *code = json_object_get(root, "code");
    if (!json_is_integer(code))
        return crs_fail(err, CEREUS_E_MALFORMED, "handshake answer without a code");
    if (json_integer_value(code) != 200)
        return crs_fail(err, CEREUS_E_FAILED, "the server refused the handshake, code %lld",
                        (long long)json_integer_value(code));
    json_t *sys = json_object_get(root, "sys");
    if (!json_is_object(sys))
        return crs_fail(err, CEREUS_E_MALFORMED, "handshake answer without sys");

    json_t *heartbeat = json_object_get(sys, "heartbeat");
    if (heartbeat && !json_is_number(heartbeat) && !json_is_null(heartbeat))
        return crs_fail(err, CEREUS_E_MALFORMED, "handshake answer: heartbeat is no number");
    double seconds = json_number_value(heartbeat); /* 0 for none */
    if (seconds > 0)
        answer->heartbeat_ms = (uint64_t)fmax(1, fmin(seconds, 86400) * 1000);

    json_t *serializer = json_object_get(sys, "serializer");
    size_t len = json_string_length(serializer);
    if (len >= sizeof answer->serializer)
        return crs_fail(err, CEREUS_E_MALFORMED, "handshake answer: serializer name too long");
    snprintf(answer->serializer, sizeof answer->serializer, "%s",
             json_is_string(serializer) ? json_string_value(serializer) : "json");

    return parse_dict(json_object_get(sys, "dict"), answer->dict, err);
}

cereus_status crs_client_answer_parse(cereus_slice json, crs_client_answer *ret_answer, cereus_error *err)
{
    json_error_t why;
    json_t *root = json_loadb((const char *)json.data, json.len, 0, &why);
    if (!root)
        return json_error_code(&why) == json_error_out_of_memory
                   ? crs_fail(err, CEREUS_E_NOMEM, "handshake answer")
                   : crs_fail(err, CEREUS_E_MALFORMED, "handshake answer is no JSON: %s", why.text);
    crs_client_answer answer = {.dict = crs_route_dict_new()};
    cereus_status st =
        answer.dict ? parse_answer(root, &answer, err) : crs_fail(err, CEREUS_E_NOMEM, "handshake answer");
    json_decref(root);
    if (st)
        crs_route_dict_free(answer.dict);
    else
        *ret_answer = answer;
    return st;
}

/* -- errors -- */

typedef struct error_parts {
    const char *code, *msg;
    cereus_client_pair *metadata;
    size_t metadata_count;
} error_parts;

static cereus_status keep_text(crs_arena *arena, cereus_slice text, const char **ret_text)
{
    char *copy = crs_arena_strndup(arena, (const char *)text.data, text.len);
    if (!copy)
        return CEREUS_E_NOMEM;
    *ret_text = copy;
    return CEREUS_OK;
}

static cereus_status keep_pair(crs_arena *arena, error_parts *parts, cereus_slice key, cereus_slice value)
{
    if (parts->metadata_count == CRS_CLIENT_METADATA_MAX)
        return CEREUS_OK;
    if (!parts->metadata)
        parts->metadata = crs_arena_zalloc(arena, CRS_CLIENT_METADATA_MAX * sizeof *parts->metadata);
    if (!parts->metadata)
        return CEREUS_E_NOMEM;
    cereus_client_pair *pair = &parts->metadata[parts->metadata_count];
    CEREUS_TRY(keep_text(arena, key, &pair->key));
    CEREUS_TRY(keep_text(arena, value, &pair->value));
    parts->metadata_count++;
    return CEREUS_OK;
}

static cereus_slice string_of(json_t *value)
{
    return json_is_string(value) ? cereus_slice_of(json_string_value(value), json_string_length(value))
                                 : cereus_slice_str("");
}

static cereus_status json_parts(json_t *root, crs_arena *arena, error_parts *parts)
{
    if (!json_is_object(root))
        return CEREUS_E_MALFORMED;
    CEREUS_TRY(keep_text(arena, string_of(json_object_get(root, "code")), &parts->code));
    CEREUS_TRY(keep_text(arena, string_of(json_object_get(root, "msg")), &parts->msg));
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(root, "metadata"), key, value)
    {
        CEREUS_TRY(keep_pair(arena, parts, cereus_slice_str(key), string_of(value)));
    }
    return CEREUS_OK;
}

static cereus_status parse_json_error(cereus_slice payload, crs_arena *arena, error_parts *parts)
{
    json_t *root = json_loadb((const char *)payload.data, payload.len, JSON_ALLOW_NUL, NULL);
    cereus_status st = json_parts(root, arena, parts);
    json_decref(root);
    return st;
}

/* -- protobuf: tags and lengths; https://protobuf.dev/programming-guides/encoding is the format -- */

static bool take_varint(cereus_slice *in, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && in->len; shift += 7) {
        uint8_t byte = *in->data++;
        in->len--;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool take_bytes(cereus_slice *in, uint64_t len, cereus_slice *ret_bytes)
{
    if (len > in->len)
        return false;
    *ret_bytes = cereus_slice_of(in->data, (size_t)len);
    in->data += len;
    in->len -= (size_t)len;
    return true;
}

/* One field from the front of `in`. *ret_bytes is its content when it is length-delimited, else nothing (data NULL). */
static bool take_field(cereus_slice *in, uint64_t *ret_number, cereus_slice *ret_bytes)
{
    uint64_t tag, value;
    cereus_slice skipped;
    if (!take_varint(in, &tag) || tag >> 3 == 0)
        return false;
    *ret_number = tag >> 3;
    *ret_bytes = (cereus_slice){0};
    switch (tag & 7) {
    case 0:
        return take_varint(in, &value);
    case 1:
        return take_bytes(in, 8, &skipped);
    case 2:
        return take_varint(in, &value) && take_bytes(in, value, ret_bytes);
    case 5:
        return take_bytes(in, 4, &skipped);
    default: /* groups have been out of use since before proto3 */
        return false;
    }
}

static cereus_status parse_protobuf_entry(cereus_slice in, crs_arena *arena, error_parts *parts)
{
    cereus_slice key = cereus_slice_str(""), value = cereus_slice_str("");
    while (in.len) {
        uint64_t number;
        cereus_slice bytes;
        if (!take_field(&in, &number, &bytes))
            return CEREUS_E_MALFORMED;
        if (bytes.data && number == 1)
            key = bytes;
        else if (bytes.data && number == 2)
            value = bytes;
    }
    return keep_pair(arena, parts, key, value);
}

static cereus_status parse_protobuf_error(cereus_slice in, crs_arena *arena, error_parts *parts)
{
    while (in.len) {
        uint64_t number;
        cereus_slice bytes;
        if (!take_field(&in, &number, &bytes))
            return CEREUS_E_MALFORMED;
        if (!bytes.data)
            continue;
        if (number == 1)
            CEREUS_TRY(keep_text(arena, bytes, &parts->code));
        else if (number == 2)
            CEREUS_TRY(keep_text(arena, bytes, &parts->msg));
        else if (number == 3)
            CEREUS_TRY(parse_protobuf_entry(bytes, arena, parts));
    }
    return CEREUS_OK;
}

void crs_client_error_parse(cereus_slice payload, const char *serializer, crs_arena *arena, cereus_client_reply *reply)
{
    error_parts parts = {.code = "", .msg = ""};
    cereus_status st = strcmp(serializer, "protobuf") == 0 ? parse_protobuf_error(payload, arena, &parts)
                                                           : parse_json_error(payload, arena, &parts);
    if (st)
        parts = (error_parts){.code = "PIT-000",
                              .msg = st == CEREUS_E_NOMEM ? "the server's error is too long to read"
                                                          : "the server's error is in no format known here"};
    reply->code = parts.code;
    reply->msg = parts.msg;
    reply->metadata = parts.metadata;
    reply->metadata_count = parts.metadata_count;
}
