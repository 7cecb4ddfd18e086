/* tests/conformance/codec/test_cluster_vectors.c: every message that servers were recorded to say to each other: it is read as
 * what the recording says it is, and written as the same bytes; and nothing that is not quite it, each prefix, each changed
 * byte, is read beyond its end. The values by which servers register in etcd are here too. */
#include "vectors.h"

#include <dirent.h>

#include "cluster/cluster_priv.h"
#include "cluster/protocol.h"

static char where[400]; /* of the message at hand */
static size_t message_count;

#define CHECK(cond)                           \
    do {                                      \
        if (!(cond))                          \
            fail_msg("%s: %s", where, #cond); \
    } while (0)

typedef enum kind { REQUEST, RESPONSE, PUSH, BIND, KICK, KICK_ANSWER, NONE } kind;

static kind kind_of(const char *name)
{
    static const struct {
        const char *name;
        kind kind;
    } kinds[] = {{"protos.Request", REQUEST}, {"protos.Response", RESPONSE}, {"protos.Push", PUSH},
                 {"protos.BindMsg", BIND},    {"protos.KickMsg", KICK},      {"protos.KickAnswer", KICK_ANSWER}};
    for (size_t i = 0; name && i < CEREUS_COUNT(kinds); i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return kinds[i].kind;
    }
    return NONE;
}

/* ---- against what the recording says ---- */

static void check_text(const json_t *object, const char *member, cereus_slice ours)
{
    const json_t *theirs = json_object_get(object, member);
    size_t len = theirs ? json_string_length(theirs) : 0;
    CHECK(ours.len == len && (len == 0 || memcmp(ours.data, json_string_value(theirs), len) == 0));
}

static void check_bytes(const json_t *object, const char *member, cereus_slice ours)
{
    const json_t *theirs = json_object_get(object, member);
    vector_bytes want = vector_hex(theirs ? vector_text(theirs, "hex") : "");
    CHECK(ours.len == want.len && (want.len == 0 || memcmp(ours.data, want.data, want.len) == 0));
    free(want.data);
}

/** "2 MsgResponse" */
static uint64_t enum_value(const json_t *object, const char *member)
{
    return strtoull(vector_text(object, member), NULL, 10);
}

static void check_metadata(const json_t *theirs, cereus_slice ours)
{
    if (!theirs) {
        CHECK(ours.len == 0);
        return;
    }
    if (json_object_get(theirs, "hex")) { /* it was no JSON */
        vector_bytes want = vector_hex(vector_text(theirs, "hex"));
        CHECK(ours.len == want.len && memcmp(ours.data, want.data, want.len) == 0);
        free(want.data);
        return;
    }
    json_t *parsed = json_loadb((const char *)ours.data, ours.len, JSON_DECODE_ANY, NULL);
    CHECK(parsed && json_equal(parsed, theirs));
    json_decref(parsed);
}

static void check_request(const crs_request *req, const json_t *want)
{
    const json_t *session = json_object_get(want, "session"), *msg = json_object_get(want, "msg");
    CHECK(req->type == enum_value(want, "type"));
    CHECK(req->has_session == !!session && req->has_msg == !!msg);
    CHECK(req->session_id == json_integer_value(json_object_get(session, "id")));
    check_text(session, "uid", req->uid);
    check_bytes(session, "data", req->session_data);
    CHECK(req->msg_id == (uint64_t)json_integer_value(json_object_get(msg, "id")));
    check_text(msg, "route", req->route);
    check_bytes(msg, "data", req->body);
    check_text(msg, "reply", req->reply);
    CHECK(req->msg_type == enum_value(msg, "type"));
    check_text(want, "frontendID", req->frontend_id);
    check_metadata(json_object_get(want, "metadata"), req->metadata);
}

static void check_response(const crs_response *res, const json_t *want)
{
    const json_t *error = json_object_get(want, "error"), *meta = json_object_get(error, "metadata");
    check_bytes(want, "data", res->data);
    CHECK(res->failed == !!error);
    if (!error)
        return;
    check_text(error, "code", res->error.code);
    check_text(error, "msg", res->error.msg);
    CHECK(res->error.pair_count == json_object_size(meta));
    for (size_t i = 0; i < res->error.pair_count; i++) {
        char *key = strndup((const char *)res->error.keys[i].data, res->error.keys[i].len);
        check_text(meta, key, res->error.values[i]);
        free(key);
    }
}

/** Read @p in as @p what, compare, write it again into @p out. */
static cereus_status read_and_write(kind what, cereus_slice in, const json_t *want, crs_bytes *out)
{
    crs_request req;
    crs_response res;
    crs_push_msg push;
    crs_bind_msg bind;
    cereus_slice uid;
    switch (what) {
    case REQUEST:
        CEREUS_TRY(crs_request_decode(in, &req));
        if (want)
            check_request(&req, want);
        return crs_request_encode(&req, out);
    case RESPONSE:
        CEREUS_TRY(crs_response_decode(in, &res));
        if (want)
            check_response(&res, want);
        return crs_response_encode(&res, out);
    case PUSH:
        CEREUS_TRY(crs_push_decode(in, &push));
        if (want) {
            check_text(want, "route", push.route);
            check_text(want, "uid", push.uid);
            check_bytes(want, "data", push.data);
        }
        return crs_push_encode(&push, out);
    case BIND:
        CEREUS_TRY(crs_bind_decode(in, &bind));
        if (want) {
            check_text(want, "uid", bind.uid);
            check_text(want, "fid", bind.frontend_id);
        }
        return crs_bind_encode(&bind, out);
    case KICK:
        CEREUS_TRY(crs_kick_decode(in, &uid));
        if (want)
            check_text(want, "userId", uid);
        return crs_kick_encode(uid, out);
    case KICK_ANSWER:
    case NONE:
        break;
    }
    return CEREUS_OK;
}

/** What is almost the message is refused, or is another message; what is read of it can be written and read again. */
static void check_neighbours(kind what, const vector_bytes *wire)
{
    crs_bytes once, twice;
    crs_bytes_init(&once, 1 << 20);
    crs_bytes_init(&twice, 1 << 20);
    for (size_t i = 0; i < 2 * wire->len; i++) {
        size_t len = i < wire->len ? i : wire->len;
        uint8_t *part = test_copy(wire->data, len);
        if (i >= wire->len)
            part[i - wire->len] ^= (uint8_t)(1u << i % 8);
        once.len = twice.len = 0;
        if (read_and_write(what, cereus_slice_of(part, len), NULL, &once) == CEREUS_OK) {
            CHECK(read_and_write(what, crs_bytes_slice(&once), NULL, &twice) == CEREUS_OK);
            CHECK(once.len == twice.len && (once.len == 0 || memcmp(once.data, twice.data, once.len) == 0));
        }
        free(part);
    }
    crs_bytes_fini(&once);
    crs_bytes_fini(&twice);
}

static void check_message(const char *file, const json_t *event, const char *hex_member, const char *message,
                          const json_t *want)
{
    const char *hex = json_string_value(json_object_get(event, hex_member));
    kind what = kind_of(message);
    if (!hex || what == NONE || what == KICK_ANSWER)
        return;
    snprintf(where, sizeof where, "%s, event %d, %s", file, (int)json_integer_value(json_object_get(event, "n")),
             hex_member);
    vector_bytes wire = vector_hex(hex);
    crs_bytes out;
    crs_bytes_init(&out, 1 << 20);
    cereus_status st = read_and_write(what, cereus_slice_of(wire.data, wire.len), want, &out);
    if (json_object_get(want, "undecodable")) {
        CHECK(st == CEREUS_E_MALFORMED);
    } else {
        CHECK(st == CEREUS_OK);
        if (json_object_size(json_object_get(json_object_get(want, "error"), "metadata")) < 2) /* a map has no order */
            CHECK(out.len == wire.len && (wire.len == 0 || memcmp(out.data, wire.data, wire.len) == 0));
        CHECK(out.len == wire.len);
    }
    if (wire.len < 2000)
        check_neighbours(what, &wire);
    message_count++;
    crs_bytes_fini(&out);
    free(wire.data);
}

/** One event of a recording. */
typedef void event_fn(const char *file, const json_t *event);

static void each_event(event_fn *fn, const char *prefix)
{
    char path[1000];
    snprintf(path, sizeof path, "%s/cluster", getenv("TEST_VECTORS"));
    DIR *dir = opendir(path);
    assert_non_null(dir);
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (!strstr(entry->d_name, ".json") || strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        snprintf(path, sizeof path, "%s/cluster/%s", getenv("TEST_VECTORS"), entry->d_name);
        json_error_t error;
        json_t *file = json_load_file(path, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error), *event;
        json_t *exact =
            json_load_file(path, JSON_ALLOW_NUL, &error); /* numbers past 64 bits are only in etcd's requests */
        size_t i;
        assert_non_null(file);
        json_array_foreach(json_object_get(exact ? exact : file, "events"), i, event)
        {
            fn(entry->d_name, event);
        }
        json_decref(file);
        json_decref(exact);
    }
    closedir(dir);
}

static void check_messages(const char *file, const json_t *event)
{
    const char *method = vector_text(event, "method");
    check_message(file, event, "payload_hex", vector_text(event, "message"), json_object_get(event, "decoded"));
    if (strcmp(method, "/protos.Pitaya/Call") == 0)
        check_message(file, event, "request_hex", "protos.Request", json_object_get(event, "request"));
    else if (strcmp(method, "/protos.Pitaya/PushToUser") == 0)
        check_message(file, event, "request_hex", "protos.Push", json_object_get(event, "request"));
    else if (strcmp(method, "/protos.Pitaya/SessionBindRemote") == 0)
        check_message(file, event, "request_hex", "protos.BindMsg", json_object_get(event, "request"));
    else if (strcmp(method, "/protos.Pitaya/KickUser") == 0)
        check_message(file, event, "request_hex", "protos.KickMsg", json_object_get(event, "request"));
    if (strcmp(method, "/protos.Pitaya/KickUser") != 0)
        check_message(file, event, "response_hex", "protos.Response", json_object_get(event, "response"));
}

static void every_recorded_message_is_read_and_written(void **state)
{
    message_count = 0;
    each_event(check_messages, "");
    assert_in_range(message_count, 430, 450);
}

/* ---- the propagated context ---- */

static size_t context_count;

static void check_context(const char *file, const json_t *event)
{
    if (strcmp(vector_text(event, "message"), "protos.Request") != 0)
        return;
    vector_bytes wire = vector_hex(vector_text(event, "payload_hex"));
    crs_request req;
    snprintf(where, sizeof where, "%s", file);
    if (crs_request_decode(cereus_slice_of(wire.data, wire.len), &req) == CEREUS_OK && req.has_msg) {
        static const char *const refused[] = {"none", "bad-json", "array", "null", "number-timeout", "bad-timeout"};
        bool bad = false;
        for (size_t i = 0; i < CEREUS_COUNT(refused); i++) {
            char name[100];
            snprintf(name, sizeof name, "raw-metadata-%s.json", refused[i]);
            bad = bad || strcmp(file, name) == 0;
        }
        bad = bad || strcmp(file, "rpc-bad-timeout.json") == 0;
        uint8_t *exact = test_copy(req.metadata.data, req.metadata.len);
        uint64_t timeout_ms;
        const char *wrong = crs_meta_check(cereus_slice_of(exact, req.metadata.len), &timeout_ms);
        if (bad ? !wrong : !!wrong)
            fail_msg("%s: the context is %s: %s", file, bad ? "taken" : "refused", wrong ? wrong : "");
        json_t *object = json_loadb((const char *)exact, req.metadata.len, 0, NULL);
        const char *timeout = json_string_value(json_object_get(object, "reqTimeout"));
        if (!wrong)
            CHECK(timeout ? timeout_ms < 100000 : timeout_ms == UINT64_MAX);
        if (!wrong && timeout && strcmp(timeout, "5s") == 0)
            CHECK(timeout_ms == 5000);
        json_decref(object);
        free(exact);
        context_count++;
    }
    free(wire.data);
}

static void recorded_contexts_are_taken_or_refused_as_documented(void **state)
{
    context_count = 0;
    each_event(check_context, "");
    assert_in_range(context_count, 160, 180);
}

/* ---- servers ---- */

static size_t server_count;

static void check_server_text(const char *text)
{
    crs_server *server = NULL;
    uint8_t *exact = test_copy(text, strlen(text));
    cereus_status st = crs_server_parse(cereus_slice_of(exact, strlen(text)), &server);
    free(exact);
    CHECK(st == CEREUS_OK);
    char *again = crs_server_text(crs_server_view(server));
    const char *null = strstr(text, "\"metadata\":null"); /* Go's nil map; ours has no such */
    if (null) {
        CHECK(strncmp(again, text, (size_t)(null - text)) == 0);
    } else if (strcmp(again, text) != 0) {
        fail_msg("%s: %s came out as %s", where, text, again);
    }
    crs_free(again);
    crs_server_unref(server);
    server_count++;
}

/** The texts that peers list, and with which they register. */
static void check_servers(const char *file, const json_t *event)
{
    size_t i;
    json_t *text;
    snprintf(where, sizeof where, "%s", file);
    json_array_foreach(json_object_get(event, "servers"), i, text)
    {
        check_server_text(json_string_value(text));
    }
    const char *put = json_string_value(json_object_get(event, "value"));
    if (!put || strcmp(vector_text(event, "op"), "put") != 0 || strncmp(put, "{\"id\"", 5) != 0)
        return;
    crs_server *server = NULL;
    bool foreign = strstr(put, "\"n\":1") || strstr(put, "c/7"); /* a number in the metadata; a slash in the id */
    cereus_status st = crs_server_parse(cereus_slice_str(put), &server);
    CHECK(st == (foreign ? CEREUS_E_MALFORMED : CEREUS_OK));
    crs_server_unref(server);
}

static void servers_are_read_and_written_as_recorded(void **state)
{
    server_count = 0;
    each_event(check_servers, "etcd-");
    assert_in_range(server_count, 20, 1000);
}

TEST_MAIN(cmocka_unit_test(every_recorded_message_is_read_and_written),
          cmocka_unit_test(recorded_contexts_are_taken_or_refused_as_documented),
          cmocka_unit_test(servers_are_read_and_written_as_recorded))
