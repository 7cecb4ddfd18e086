#include "control.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer.pb-c.h"

static const control_op *game_ops;
static size_t game_op_count;

/* ---- operations ---- */

static json_t *answer_of(cereus_status st, json_t *info)
{
    json_t *answer = json_object();
    json_object_set_new(answer, "ok", json_boolean(st == CEREUS_OK));
    if (info)
        json_object_set_new(answer, "info", info);
    return answer;
}

/** All servers, as they have registered, in the order of their ids. */
static cereus_status op_servers(cereus_ctx *ctx, const json_t *arguments, json_t **ret_answer)
{
    const cereus_server *const *servers = NULL;
    size_t count = cereus_servers_by_type(ctx, NULL, &servers);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const cereus_server *s = servers[i];
        json_t *metadata = json_loads(s->metadata ? s->metadata : "{}", 0, NULL);
        json_array_append_new(list, json_pack("{s:s,s:s,s:o,s:b,s:s}", "id", s->id, "type", s->type, "metadata",
                                              metadata, "frontend", s->frontend, "hostname", s->hostname));
    }
    *ret_answer = answer_of(CEREUS_OK, list);
    return CEREUS_OK;
}

static cereus_status op_sessions(cereus_ctx *ctx, const json_t *arguments, json_t **ret_answer)
{
    *ret_answer = answer_of(CEREUS_OK, json_integer((json_int_t)cereus_app_session_count(cereus_ctx_app(ctx))));
    return CEREUS_OK;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/** A call with an argument as it is, and its answer as it is. */
static cereus_status op_rpcraw(cereus_ctx *ctx, const json_t *arguments, json_t **ret_answer)
{
    const char *hex = text_of(arguments, "hex"), *server = text_of(arguments, "server");
    size_t len = strlen(hex) / 2;
    uint8_t *bytes = cereus_ctx_alloc(ctx, len + 1);
    for (size_t i = 0; bytes && i < len; i++) {
        char byte[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    cereus_rpc_options options = {.server_id = *server ? server : NULL};
    cereus_slice out = {0};
    cereus_status st =
        bytes ? cereus_rpc_raw(ctx, text_of(arguments, "route"), cereus_slice_of(bytes, len), &out, &options)
              : CEREUS_E_NOMEM;
    char *text = st ? NULL : cereus_ctx_alloc(ctx, 2 * out.len + 1);
    for (size_t i = 0; text && i < out.len; i++)
        snprintf(text + 2 * i, 3, "%02x", out.data[i]);
    *ret_answer = answer_of(st, text ? json_string(out.len ? text : "") : NULL);
    return CEREUS_OK;
}

static const control_op own_ops[] = {{"servers", op_servers}, {"sessions", op_sessions}, {"rpcraw", op_rpcraw}};

static const control_op *find(const control_op *ops, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(ops[i].name, name))
            return &ops[i];
    }
    return NULL;
}

/* ---- the remote ---- */

/** An operation under way; who is last frees it. */
typedef struct job {
    const control_op *op;
    json_t *arguments, *answer;
    atomic_bool done;
    atomic_int refs;
} job;

static void unref(job *j)
{
    if (atomic_fetch_sub(&j->refs, 1) != 1)
        return;
    json_decref(j->arguments);
    json_decref(j->answer);
    free(j);
}

static void run(cereus_ctx *ctx, void *user)
{
    job *j = user;
    cereus_status st = j->op->run(ctx, j->arguments, &j->answer);
    if (st && !j->answer)
        j->answer = answer_of(st, NULL);
    if (!json_is_true(json_object_get(j->answer, "ok"))) {
        const char *msg = cereus_ctx_error_msg(ctx), *code = cereus_ctx_error_code(ctx);
        json_object_set_new(j->answer, "err", json_string(msg ? msg : cereus_status_text(st)));
        json_object_set_new(j->answer, "code", json_string(code ? code : ""));
    }
    atomic_store(&j->done, true);
    unref(j);
}

static cereus_status control(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    json_t *what = json_loads(((const Peer__Say *)in->message)->text, 0, NULL);
    const control_op *op = find(own_ops, CEREUS_COUNT(own_ops), text_of(what, "op"));
    if (!op)
        op = find(game_ops, game_op_count, text_of(what, "op"));
    job *j = op ? calloc(1, sizeof *j) : NULL;
    if (!j) {
        json_decref(what);
        return cereus_fail(ctx, NULL, "no such operation");
    }
    j->op = op;
    j->arguments = json_incref(json_object_get(what, "arguments"));
    json_decref(what);
    atomic_init(&j->refs, 2);
    cereus_status st = cereus_app_spawn(cereus_ctx_app(ctx), NULL, run, j);
    if (st)
        unref(j);
    while (!st && !atomic_load(&j->done))
        st = cereus_sleep(ctx, 1); /* the task has a context of its own, and so no way to wake this one */
    char *text = st ? NULL : json_dumps(j->answer, JSON_COMPACT | JSON_SORT_KEYS);
    ((Peer__Say *)out->message)->text = text ? cereus_ctx_strdup(ctx, cereus_slice_str(text)) : NULL;
    free(text);
    unref(j);
    return st;
}

cereus_status control_register(cereus_app *app, const control_op *ops, size_t count, cereus_error *err)
{
    static const cereus_method methods[] = {{.name = "run",
                                             .in = CEREUS_MESSAGE,
                                             .in_type = &peer__say__descriptor,
                                             .out = CEREUS_MESSAGE,
                                             .out_type = &peer__say__descriptor,
                                             .fn = control}};
    game_ops = ops;
    game_op_count = count;
    return cereus_app_register_remote(app, "control", methods, CEREUS_COUNT(methods),
                                      &(cereus_service_options){.home = CEREUS_HOME_SESSION}, err);
}
