/* tests/interop/peer: a member of a mixed cluster, a room or a connector, with the handlers and remotes of the Go peers that it
 * stands beside or in place of, the documentation remotes that Pitaya's demos have, and control.h. On the public interface only.
 *
 *     peer --type room|connector --id ID [--frontend --port PORT] [--etcd HOST:PORT] [--nats URL]
 *          [--rpc nats|grpc --grpc-port P] [--prefix pitaya/] [--serializer json|protobuf] [--groups memory|etcd]
 *          [--set KEY=VALUE]... [--meta K=V]...
 *
 * It prints `READY` when it is registered; with --port 0 also `tcp=HOST:PORT`, the port that was free. It ends on SIGTERM
 * with 0. Without etcd and NATS: --set cereus.cluster=local --set cereus.cluster.dir=DIR.
 *
 * Handlers take a JSON object, the "act": uid, uids, route, server, type, group, text, n, ms, data, ctx, raw, repeat, each what
 * it needs, and answer {"ok": bool, "err": text if not, "info": any}. Objects are written with their keys sorted, as Go does.
 */
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "control.h"
#include "member.h"
#include "peer.pb-c.h"

/* -- the act, and answers -- */

typedef struct field {
    const char *name, *type; /* as Go calls it */
} field;

static const field act_fields[] = {{"uid", "string"},  {"uids", "[]string"}, {"route", "string"}, {"server", "string"},
                                   {"type", "string"}, {"group", "string"},  {"text", "string"},  {"n", "int64"},
                                   {"ms", "int"},      {"data", "map"},      {"ctx", "map"},      {"raw", "bool"},
                                   {"repeat", "int"},  {NULL, NULL}};
static const field fail_fields[] = {{"code", "string"}, {"msg", "string"}, {"metadata", "map of texts"}, {NULL, NULL}};

/* The field that a key is for: as in Go, the case does not matter. NULL: none. */
static const field *field_of(const field *fields, const char *key)
{
    while (fields->name && strcasecmp(fields->name, key) != 0)
        fields++;
    return fields->name ? fields : NULL;
}

static bool all_texts_of_map(const json_t *map)
{
    const char *key = NULL;
    json_t *item = NULL;
    json_object_foreach((json_t *)(uintptr_t)map, key, item)
    {
        if (!json_is_string(item) && !json_is_null(item))
            return false;
    }
    return json_is_object(map);
}

static bool all_texts(const json_t *list)
{
    size_t i = 0;
    const json_t *item = NULL;
    json_array_foreach(list, i, item)
    {
        if (!json_is_string(item) && !json_is_null(item))
            return false;
    }
    return json_is_array(list);
}

static bool fits(const json_t *value, const char *type)
{
    switch (type[0]) {
    case 's':
        return json_is_string(value);
    case '[':
        return all_texts(value);
    case 'i':
        return json_is_integer(value);
    case 'm':
        return strcmp(type, "map") == 0 ? json_is_object(value) : all_texts_of_map(value);
    default:
        return json_is_boolean(value);
    }
}

/* null in a list is the empty text. */
static json_t *texts_of(const json_t *list)
{
    json_t *texts = json_array();
    size_t i = 0;
    json_t *item = NULL;
    json_array_foreach(list, i, item)
        json_array_append_new(texts, json_is_string(item) ? json_incref(item) : json_string(""));
    return texts;
}

/* Before each handler: what came, as a Go server decodes it. */
static cereus_status take_act(cereus_ctx *ctx, cereus_value *in, void *user)
{
    const char *key = NULL, *route = strrchr(cereus_ctx_route(ctx), '.');
    bool fails = strcmp(route, ".fail") == 0 || strcmp(route, ".plainfail") == 0;
    json_t *value = NULL;
    if (in->shape != CEREUS_JSON)
        return CEREUS_OK;
    if (!json_is_object(in->json) && !json_is_null(in->json))
        return cereus_fail(ctx, "PIT-400", "json: cannot unmarshal this into Go value of type main.Act");
    json_t *act = cereus_ctx_keep(ctx, json_object());
    if (!act)
        return CEREUS_E_NOMEM;
    json_object_foreach(in->json, key, value)
    {
        const field *f = field_of(fails ? fail_fields : act_fields, key);
        if (!f || json_is_null(value))
            continue;
        if (!fits(value, f->type))
            return cereus_fail(ctx, "PIT-400", "json: cannot unmarshal this into Go struct field Act.%s of type %s",
                               f->name, f->type);
        json_object_set_new(act, f->name, f->type[0] == '[' ? texts_of(value) : json_incref(value));
    }
    in->json = act;
    return CEREUS_OK;
}

static const char *text_of(const json_t *act, const char *key)
{
    const char *text = json_string_value(json_object_get(act, key));
    return text ? text : "";
}

static json_int_t number_of(const json_t *act, const char *key)
{
    return json_integer_value(json_object_get(act, key));
}

/* What goes wrong goes into the answer: a client of the test sees both in one place. info: given, NULL for nothing. */
static cereus_status answer(cereus_ctx *ctx, cereus_status st, json_t *info, json_t **out)
{
    const char *msg = cereus_ctx_error_msg(ctx);
    *out = json_object();
    json_object_set_new(*out, "ok", json_boolean(st == CEREUS_OK));
    if (st)
        json_object_set_new(*out, "err", json_string(msg ? msg : cereus_status_text(st)));
    if (info)
        json_object_set_new(*out, "info", info);
    return CEREUS_OK;
}

/* The form without an argument: whatever the body is, it is not looked at. */
static cereus_status answer_value(cereus_ctx *ctx, cereus_status st, json_t *info, cereus_value *out)
{
    return answer(ctx, st, info, &out->json);
}

static char *sorted_text(cereus_ctx *ctx, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    char *copy = text ? cereus_ctx_strdup(ctx, cereus_slice_str(text)) : NULL;
    free(text);
    return copy ? copy : (char *)(uintptr_t) "";
}

static json_t *sorted_copy(cereus_ctx *ctx, const json_t *value)
{
    return json_loads(sorted_text(ctx, value), JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

static const char **uids_of(cereus_ctx *ctx, const json_t *act, size_t *ret_count)
{
    const json_t *list = json_object_get(act, "uids");
    size_t count = json_array_size(list);
    const char **uids = cereus_ctx_alloc(ctx, (count + 1) * sizeof *uids);
    for (size_t i = 0; uids && i < count; i++) {
        const char *uid = json_string_value(json_array_get(list, i));
        uids[i] = uid ? uid : "";
    }
    *ret_count = uids ? count : 0;
    return uids;
}

static json_t *list_of(const char *const *texts, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(texts[i]));
    return list;
}

/* The uids that were not reached; null when all were. */
static json_t *failed_list(const char *const *uids, size_t count)
{
    return count ? list_of(uids, count) : json_null();
}

/* What an act pushes: its text as it is, or its data. */
static cereus_value payload(cereus_ctx *ctx, const json_t *act)
{
    if (json_is_true(json_object_get(act, "raw")))
        return cereus_text(text_of(act, "text"));
    json_t *data = json_object_get(act, "data");
    return cereus_json(data ? cereus_ctx_keep(ctx, sorted_copy(ctx, data)) : json_null());
}

/* -- handlers: answers and errors -- */

static cereus_status do_echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

/* The whole act, what was not sent as its zero value, in the order of its fields. */
static cereus_status do_jsonecho(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    static const char *const texts[] = {"uid", "uids", "route", "server", "type", "group", "text"};
    *out = json_object();
    for (size_t i = 0; i < CEREUS_COUNT(texts); i++) {
        json_t *value = json_object_get(in, texts[i]);
        json_object_set(*out, texts[i], value ? value : json_null());
        if (!value && strcmp(texts[i], "uids") != 0)
            json_object_set_new(*out, texts[i], json_string(""));
    }
    json_object_set_new(*out, "n", json_integer(number_of(in, "n")));
    json_object_set_new(*out, "ms", json_integer(number_of(in, "ms")));
    for (int i = 0; i < 2; i++) {
        const char *key = i ? "ctx" : "data";
        json_t *value = json_object_get(in, key);
        json_object_set_new(*out, key, value ? sorted_copy(ctx, value) : json_null());
    }
    json_object_set_new(*out, "raw", json_boolean(json_is_true(json_object_get(in, "raw"))));
    json_object_set_new(*out, "repeat", json_integer(number_of(in, "repeat")));
    return CEREUS_OK;
}

static cereus_status do_fail(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    const char *key = NULL;
    json_t *value = NULL;
    cereus_fail(ctx, text_of(in, "code"), "%s", text_of(in, "msg"));
    json_object_foreach(json_object_get(in, "metadata"), key, value)
        cereus_fail_meta(ctx, key, json_string_value(value) ? json_string_value(value) : "");
    return CEREUS_E_FAILED;
}

static cereus_status do_plainfail(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    return cereus_fail(ctx, NULL, "%s", text_of(in, "msg"));
}

static cereus_status do_nothing(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    out->shape = CEREUS_NOTHING;
    return CEREUS_OK;
}

/* C has no panics: these end as Pitaya's do in the eyes of others. */
static cereus_status do_panicstring(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return cereus_fail(ctx, NULL, "boom string");
}

static cereus_status do_panicvalue(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return cereus_fail(ctx, NULL, "rpc call internal error - PanicValue: 42");
}

static cereus_status do_sleep(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    CEREUS_TRY(cereus_sleep(ctx, number_of(in, "ms") > 0 ? (uint64_t)number_of(in, "ms") : 0));
    return answer(ctx, CEREUS_OK, json_integer(number_of(in, "ms")), out);
}

static cereus_status do_note(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    cereus_log_info(ctx, "note: %s", text_of(in, "text"));
    return CEREUS_OK;
}

static cereus_status do_notepanic(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    return cereus_fail(ctx, NULL, "boom note");
}

/* -- handlers: the session -- */

static cereus_status do_who(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    cereus_session *session = cereus_ctx_session(ctx);
    json_t *data = cereus_session_data(ctx, session);
    if (!data)
        return CEREUS_E_GONE;
    json_t *info =
        json_pack("{s:o,s:b,s:I,s:s}", "data", sorted_copy(ctx, data), "frontend", !cereus_session_is_remote(session),
                  "id", (json_int_t)cereus_session_get_id(session), "uid", cereus_session_uid(session));
    return answer_value(ctx, CEREUS_OK, info, out);
}

static cereus_status do_bind(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    return answer(ctx, cereus_session_bind(ctx, cereus_ctx_session(ctx), text_of(in, "uid")), NULL, out);
}

static cereus_status do_binderr(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), text_of(in, "uid")));
    return answer(ctx, CEREUS_OK, NULL, out);
}

static cereus_status push_front_if_away(cereus_ctx *ctx)
{
    cereus_session *session = cereus_ctx_session(ctx);
    return cereus_session_is_remote(session) ? cereus_session_push_to_front(ctx, session) : CEREUS_OK;
}

static cereus_status do_setdata(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    json_t *data = json_object_get(in, "data");
    data = json_is_object(data) ? json_deep_copy(data) : json_object(); /* null is none */
    cereus_status st = cereus_session_set_data(ctx, cereus_ctx_session(ctx), data);
    if (!st)
        st = push_front_if_away(ctx);
    return answer(ctx, st, NULL, out);
}

static cereus_status do_setkeys(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    const char *key = NULL;
    json_t *value = NULL;
    cereus_status st = CEREUS_OK;
    json_object_foreach(json_object_get(in, "data"), key, value)
    {
        if (!st)
            st = cereus_session_set(ctx, cereus_ctx_session(ctx), key, json_deep_copy(value));
    }
    return answer(ctx, st, NULL, out);
}

static cereus_status do_pushfront(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    return answer(ctx, cereus_session_push_to_front(ctx, cereus_ctx_session(ctx)), NULL, out);
}

static cereus_status do_pushme(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    cereus_status st = cereus_session_push(ctx, cereus_ctx_session(ctx), text_of(in, "route"), payload(ctx, in));
    return answer(ctx, st, NULL, out);
}

static cereus_status do_pushusers(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    size_t count = 0, failed_count = 0;
    const char **uids = uids_of(ctx, in, &count), **failed = cereus_ctx_alloc(ctx, (count + 1) * sizeof *failed);
    if (!uids || !failed)
        return CEREUS_E_NOMEM;
    cereus_status st = cereus_push_to_users(ctx, text_of(in, "route"), payload(ctx, in), uids, count,
                                            text_of(in, "type"), failed, &failed_count);
    return answer(ctx, st, failed_list(failed, failed_count), out);
}

static cereus_status do_kickme(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return answer_value(ctx, cereus_session_kick(ctx, cereus_ctx_session(ctx)), NULL, out);
}

static cereus_status do_kickusers(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    size_t count = 0, failed_count = 0;
    const char **uids = uids_of(ctx, in, &count), **failed = cereus_ctx_alloc(ctx, (count + 1) * sizeof *failed);
    if (!uids || !failed)
        return CEREUS_E_NOMEM;
    cereus_status st = cereus_kick_users(ctx, uids, count, text_of(in, "type"), failed, &failed_count);
    return answer(ctx, st, failed_list(failed, failed_count), out);
}

/* -- handlers: calls -- */

/* The user RPC that an act describes, `repeat` times with one context. */
static cereus_status call(cereus_ctx *ctx, const json_t *act, Peer__Say **ret_reply)
{
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(json_object_get(act, "ctx"), key, value)
        CEREUS_TRY(cereus_ctx_propagate(ctx, key, json_deep_copy(value)));
    Peer__Say say = PEER__SAY__INIT;
    say.text = (char *)(uintptr_t)text_of(act, "text");
    say.n = number_of(act, "n");
    const char *server = text_of(act, "server");
    cereus_rpc_options options = {.server_id = *server ? server : NULL};
    json_int_t times = number_of(act, "repeat");
    do {
        ProtobufCMessage *reply = NULL;
        CEREUS_TRY(cereus_rpc(ctx, text_of(act, "route"), &say.base, &peer__say__descriptor, &reply, &options));
        *ret_reply = (Peer__Say *)reply;
    } while (--times > 0);
    return CEREUS_OK;
}

static json_t *heard(const Peer__Say *reply)
{
    return reply ? json_pack("{s:I,s:s}", "n", (json_int_t)reply->n, "text", reply->text) : NULL;
}

static cereus_status do_callrpc(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    Peer__Say *reply = NULL;
    cereus_status st = call(ctx, in, &reply);
    return answer(ctx, st, heard(reply), out);
}

static cereus_status do_failrpc(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    Peer__Say *reply = NULL;
    CEREUS_TRY(call(ctx, in, &reply));
    return answer(ctx, CEREUS_OK, heard(reply), out);
}

static cereus_status do_noterpc(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    Peer__Say *reply = NULL;
    return call(ctx, in, &reply);
}

static cereus_status do_ctxseen(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    const json_t *all = cereus_ctx_propagated_all(ctx);
    return all ? answer_value(ctx, CEREUS_OK, sorted_copy(ctx, all), out) : CEREUS_E_NOMEM;
}

/* -- handlers: groups -- */

typedef cereus_status group_fn(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info);

static cereus_status group_create(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info)
{
    return cereus_group_create(ctx, group);
}

static cereus_status group_createttl(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info)
{
    return cereus_group_create_ttl(ctx, group, (uint64_t)number_of(act, "ms"));
}

static cereus_status group_add(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info)
{
    return cereus_group_add(ctx, group, text_of(act, "uid"));
}

static cereus_status group_remove(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info)
{
    return cereus_group_remove(ctx, group, text_of(act, "uid"));
}

static cereus_status group_removeall(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info)
{
    return cereus_group_remove_all(ctx, group);
}

static cereus_status group_members(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info)
{
    const char *const *uids = NULL;
    size_t count = 0;
    *ret_info = json_null();
    CEREUS_TRY(cereus_group_members(ctx, group, &uids, &count));
    *ret_info = list_of(uids, count);
    return CEREUS_OK;
}

static cereus_status group_contains(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info)
{
    bool is = false;
    cereus_status st = cereus_group_contains(ctx, group, text_of(act, "uid"), &is);
    *ret_info = json_boolean(is);
    return st;
}

static cereus_status group_count(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info)
{
    size_t count = 0;
    cereus_status st = cereus_group_count(ctx, group, &count);
    *ret_info = json_integer((json_int_t)count);
    return st;
}

static cereus_status group_renew(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info)
{
    return cereus_group_renew_ttl(ctx, group);
}

static cereus_status group_delete(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info)
{
    return cereus_group_delete(ctx, group);
}

static cereus_status group_broadcast(cereus_ctx *ctx, const char *group, const json_t *act, json_t **ret_info)
{
    return cereus_group_broadcast(ctx, text_of(act, "type"), group, text_of(act, "route"), payload(ctx, act));
}

static cereus_status do_group(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    static const struct {
        const char *name;
        group_fn *fn;
    } operations[] = {
        {"create", group_create},       {"createttl", group_createttl}, {"add", group_add},
        {"remove", group_remove},       {"removeall", group_removeall}, {"members", group_members},
        {"contains", group_contains},   {"count", group_count},         {"renew", group_renew},
        {"broadcast", group_broadcast}, {"delete", group_delete},
    };
    for (size_t i = 0; i < CEREUS_COUNT(operations); i++) {
        json_t *info = NULL;
        if (strcmp(text_of(in, "text"), operations[i].name) != 0)
            continue;
        cereus_status st = operations[i].fn(ctx, text_of(in, "group"), in, &info);
        return answer(ctx, st, info, out);
    }
    return cereus_fail(ctx, NULL, "no such operation: %s", text_of(in, "text"));
}

/* -- handlers with peer.Say, for clients of either serializer -- */

static void copy_say(const Peer__Say *from, Peer__Say *to)
{
    to->text = from->text;
    to->n = from->n;
    to->blob = from->blob;
}

/* As a remote it is the same. */
static cereus_status do_say(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    copy_say((const Peer__Say *)in->message, (Peer__Say *)out->message);
    ((Peer__Say *)out->message)->n++;
    return CEREUS_OK;
}

static cereus_status do_sayfail(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    const Peer__Say *say = (const Peer__Say *)in->message;
    char n[24], code[32];
    snprintf(n, sizeof n, "%" PRId64, say->n);
    snprintf(code, sizeof code, "PEER-%s", n);
    cereus_fail(ctx, code, "%s", say->text);
    return cereus_fail_meta(ctx, "n", n);
}

static cereus_status do_saypush(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    const Peer__Say *say = (const Peer__Say *)in->message;
    cereus_session *session = cereus_ctx_session(ctx);
    CEREUS_TRY(cereus_session_bind(ctx, session, say->text));
    CEREUS_TRY(cereus_session_push(ctx, session, "onSay", cereus_message(&say->base)));
    copy_say(say, (Peer__Say *)out->message);
    return CEREUS_OK;
}

#define NO_ARGUMENT(route, function)                                                \
    {                                                                               \
        .name = (route), .in = CEREUS_NOTHING, .out = CEREUS_JSON, .fn = (function) \
    }
#define SAY(route, function)                                                                             \
    {                                                                                                    \
        .name = (route), .in = CEREUS_MESSAGE, .in_type = &peer__say__descriptor, .out = CEREUS_MESSAGE, \
        .out_type = &peer__say__descriptor, .fn = (function)                                             \
    }

static const cereus_method handlers[] = {
    CEREUS_RAW_REQUEST("echo", do_echo),
    CEREUS_JSON_REQUEST("jsonecho", do_jsonecho),
    CEREUS_JSON_REQUEST("fail", do_fail),
    CEREUS_JSON_REQUEST("plainfail", do_plainfail),
    NO_ARGUMENT("nothing", do_nothing),
    NO_ARGUMENT("panicstring", do_panicstring),
    NO_ARGUMENT("panicvalue", do_panicvalue),
    /* messages of a Pitaya session overlap: who sleeps does not hold up the others */
    {.name = "sleep", .in = CEREUS_JSON, .out = CEREUS_JSON, .json = do_sleep, .flags = CEREUS_CONCURRENT},
    CEREUS_JSON_NOTIFY("note", do_note),
    CEREUS_JSON_NOTIFY("noterpc", do_noterpc),
    CEREUS_JSON_NOTIFY("notepanic", do_notepanic),
    NO_ARGUMENT("who", do_who),
    CEREUS_JSON_REQUEST("bind", do_bind),
    CEREUS_JSON_REQUEST("binderr", do_binderr),
    CEREUS_JSON_REQUEST("setdata", do_setdata),
    CEREUS_JSON_REQUEST("setkeys", do_setkeys),
    CEREUS_JSON_REQUEST("pushfront", do_pushfront),
    CEREUS_JSON_REQUEST("pushme", do_pushme),
    CEREUS_JSON_REQUEST("pushusers", do_pushusers),
    NO_ARGUMENT("kickme", do_kickme),
    CEREUS_JSON_REQUEST("kickusers", do_kickusers),
    CEREUS_JSON_REQUEST("callrpc", do_callrpc),
    CEREUS_JSON_REQUEST("failrpc", do_failrpc),
    NO_ARGUMENT("ctxseen", do_ctxseen),
    CEREUS_JSON_REQUEST("group", do_group),
    SAY("say", do_say),
    SAY("sayfail", do_sayfail),
    SAY("saypush", do_saypush),
};

/* -- remotes -- */

static cereus_status re_noarg(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    ((Peer__Say *)out->message)->text = (char *)(uintptr_t) "no argument";
    return CEREUS_OK;
}

static cereus_status re_empty(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return CEREUS_OK;
}

static cereus_status re_fail(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    const Peer__Say *say = (const Peer__Say *)in->message;
    cereus_fail(ctx, say->n == 1 ? "PEER-1" : say->n == 3 ? "" : "PEER-0", "remote failed: %s", say->text);
    return say->n == 1 ? cereus_fail_meta(ctx, "why", say->text) : CEREUS_E_FAILED;
}

static cereus_status re_plainfail(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return cereus_fail(ctx, NULL, "plain: %s", ((const Peer__Say *)in->message)->text);
}

static cereus_status re_sleep(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    const Peer__Say *say = (const Peer__Say *)in->message;
    if (say->n > 0)
        CEREUS_TRY(cereus_sleep(ctx, (uint64_t)say->n));
    copy_say(say, (Peer__Say *)out->message);
    return CEREUS_OK;
}

static cereus_status re_ctxseen(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    const json_t *all = cereus_ctx_propagated_all(ctx);
    if (!all)
        return CEREUS_E_NOMEM;
    ((Peer__Say *)out->message)->text = sorted_text(ctx, all);
    return CEREUS_OK;
}

static cereus_status re_hop(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    const Peer__Say *say = (const Peer__Say *)in->message;
    Peer__Say hop = PEER__SAY__INIT;
    ProtobufCMessage *reply = NULL;
    hop.text = (char *)(uintptr_t) "hop";
    hop.n = say->n;
    CEREUS_TRY(cereus_rpc(ctx, say->text, &hop.base, &peer__say__descriptor, &reply, NULL));
    copy_say((Peer__Say *)reply, (Peer__Say *)out->message);
    return CEREUS_OK;
}

static cereus_status re_rich(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    ((Peer__Say *)out->message)->text = ((const Peer__Rich *)in->message)->s;
    return CEREUS_OK;
}

#define REMOTE(route, shape, argument, function)                                      \
    {                                                                                 \
        .name = (route), .in = (shape), .in_type = (argument), .out = CEREUS_MESSAGE, \
        .out_type = &peer__say__descriptor, .fn = (function)                          \
    }

static const cereus_method remotes[] = {
    SAY("say", do_say),
    REMOTE("noarg", CEREUS_NOTHING, NULL, re_noarg),
    SAY("empty", re_empty),
    SAY("nothing", do_nothing),
    SAY("fail", re_fail),
    SAY("plainfail", re_plainfail),
    SAY("panicstring", do_panicstring),
    SAY("panicvalue", do_panicvalue),
    SAY("sleep", re_sleep),
    SAY("ctxseen", re_ctxseen),
    SAY("hop", re_hop),
    REMOTE("rich", CEREUS_MESSAGE, &peer__rich__descriptor, re_rich),
};

/* Operations that a test asks for apart from any request. */
static const control_op controls[] = {
    {"rpc", do_callrpc},
    {"pushusers", do_pushusers},
    {"kickusers", do_kickusers},
    {"group", do_group},
};

/* -- start -- */

static cereus_status prepare(cereus_app *app, cereus_error *err)
{
    const char *name = cereus_app_type(app);
    cereus_service_options options = {.home = CEREUS_HOME_SESSION};
    CEREUS_TRY(cereus_app_register(app, name, handlers, CEREUS_COUNT(handlers), &options, err));
    CEREUS_TRY(cereus_app_before(app, take_act, NULL));
    CEREUS_TRY(cereus_app_register_remote(app, name, remotes, CEREUS_COUNT(remotes), &options, err));
    CEREUS_TRY(cereus_app_register_docs(app, "docshandler", err));
    CEREUS_TRY(cereus_app_register_docs_remote(app, "docs", err));
    return control_register(app, controls, CEREUS_COUNT(controls), err);
}

static bool show_port; /* nobody could know it */

static void up(cereus_app *app)
{
    const char *url = show_port ? cereus_app_address(app, 0) : NULL;
    printf("READY%s%s\n", url ? " tcp=127.0.0.1" : "", url ? strrchr(url, ':') : "");
    fflush(stdout);
}

enum flag { TYPE = 1, ID, FRONTEND, PORT, ETCD, NATS, RPC, GRPC_PORT, PREFIX, SERIALIZER, GROUPS, SET, META };

static const struct option options[] = {
    {"type", required_argument, NULL, TYPE},     {"id", required_argument, NULL, ID},
    {"frontend", no_argument, NULL, FRONTEND},   {"port", required_argument, NULL, PORT},
    {"etcd", required_argument, NULL, ETCD},     {"nats", required_argument, NULL, NATS},
    {"rpc", required_argument, NULL, RPC},       {"grpc-port", required_argument, NULL, GRPC_PORT},
    {"prefix", required_argument, NULL, PREFIX}, {"serializer", required_argument, NULL, SERIALIZER},
    {"groups", required_argument, NULL, GROUPS}, {"set", required_argument, NULL, SET},
    {"meta", required_argument, NULL, META},     {0},
};

/* One of two words? */
static bool one_of(const char *value, const char *first, const char *second)
{
    return !strcmp(value, first) || !strcmp(value, second);
}

static int parse(int argc, char **argv, member_flags *f)
{
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case TYPE:
            f->type = optarg;
            break;
        case ID:
            f->id = optarg;
            break;
        case FRONTEND:
            f->frontend = true;
            break;
        case PORT:
            f->port = optarg;
            break;
        case ETCD:
            f->etcd = optarg;
            break;
        case NATS:
            f->nats = optarg;
            break;
        case RPC:
            if (!one_of(optarg, "nats", "grpc"))
                return member_complain(f, "--rpc is nats or grpc, not", optarg);
            f->grpc = !strcmp(optarg, "grpc");
            break;
        case GRPC_PORT:
            f->grpc_port = optarg;
            break;
        case PREFIX:
            f->prefix = optarg;
            break;
        case SERIALIZER:
            if (!one_of(optarg, "json", "protobuf"))
                return member_complain(f, "--serializer is json or protobuf, not", optarg);
            f->serializer = optarg;
            break;
        case GROUPS:
            if (!one_of(optarg, "memory", "etcd"))
                return member_complain(f, "--groups is memory or etcd, not", optarg);
            f->groups = optarg;
            break;
        case SET:
            f->sets[f->set_count++] = optarg;
            break;
        case META:
            f->metas[f->meta_count++] = optarg;
            break;
        default:
            return EXIT_USAGE; /* getopt has said why */
        }
    }
    if (optind != argc)
        return member_complain(f, "what is this", argv[optind]);
    if (!f->type)
        return member_complain(f, "--type room|connector is missing", "");
    if (f->frontend && !f->port)
        return member_complain(f, "--frontend wants a --port", "");
    return 0;
}

int main(int argc, char **argv)
{
    const char **words = calloc(2 * (size_t)argc, sizeof *words);
    member_flags flags = {.program = "peer", .sets = words, .metas = words + argc};
    int code = words ? parse(argc, argv, &flags) : EXIT_FAILURE;
    show_port = flags.port && !strcmp(flags.port, "0");
    if (!code)
        code = member_run(&flags, prepare, up);
    free(words);
    return code;
}
