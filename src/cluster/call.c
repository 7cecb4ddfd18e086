/* cluster/call.c: calls of game code to remotes on other servers: the fiber waits, the record of the call is on its stack. */
#include <stdio.h>

#include "cluster/cluster_priv.h"
#include "config/value.h"

typedef struct waiting {
    crs_fiber *fiber;
    size_t out; /* calls that have not come back */
} waiting;

typedef struct call {
    crs_rpc_call rpc;
    waiting *w;
    cereus_ctx *ctx;
    cereus_rpc_call *public;
    crs_cluster_loop *l;
    crs_server *to; /* a reference, once it is out */
    const char *peer_id;
    uint64_t timeout_ms;
    /* what came */
    cereus_status status;
    const char *code, *msg;
    cereus_slice reply;
    crs_rpc_error *error; /* in the ctx's memory; NULL: not the remote's */
} call;

/* ---- what came ---- */

static cereus_slice keep(cereus_ctx *ctx, cereus_slice s)
{
    char *copy = crs_arena_strndup(ctx->arena, (const char *)s.data, s.len);
    return cereus_slice_of(copy ? copy : "", copy ? s.len : 0);
}

static void keep_error(call *c, const crs_rpc_error *e)
{
    crs_rpc_error *copy = crs_arena_alloc(c->ctx->arena, sizeof *copy);
    c->status = CEREUS_E_FAILED;
    c->code = "PIT-000";
    c->msg = "out of memory";
    if (!copy)
        return;
    copy->code = keep(c->ctx, e->code.len ? e->code : cereus_slice_str("PIT-000"));
    copy->msg = keep(c->ctx, e->msg);
    copy->pair_count = e->pair_count;
    for (size_t i = 0; i < e->pair_count; i++) {
        copy->keys[i] = keep(c->ctx, e->keys[i]);
        copy->values[i] = keep(c->ctx, e->values[i]);
    }
    c->error = copy;
    c->code = (const char *)copy->code.data;
    c->msg = (const char *)copy->msg.data;
}

static void take_response(call *c, cereus_slice bytes)
{
    crs_response res;
    if (crs_response_decode(bytes, &res) != CEREUS_OK) {
        crs_rpc_garbage(c->l->d->loop, "an answer");
        c->status = CEREUS_E_MALFORMED;
        c->code = "PIT-500";
        c->msg = "the answer of the server makes no sense";
        return;
    }
    crs_cluster_learn(c->l, crs_server_view(c->to)->id, res.extension);
    if (res.failed) {
        keep_error(c, &res.error);
        return;
    }
    uint8_t *copy = crs_arena_alloc(c->ctx->arena, res.data.len + 1);
    if (!copy) {
        c->status = CEREUS_E_NOMEM;
        c->code = "PIT-500";
        c->msg = "the reply needs more memory than cereus.request.memory";
        return;
    }
    if (res.data.len)
        memcpy(copy, res.data.data, res.data.len);
    copy[res.data.len] = '\0';
    c->reply = cereus_slice_of(copy, res.data.len);
    c->status = CEREUS_OK;
}

static void answered(crs_rpc_call *rpc, cereus_status st, cereus_slice bytes, const char *why)
{
    call *c = CRS_CONTAINER(rpc, call, rpc);
    if (st) {
        c->status = st;
        c->code = st == CEREUS_E_TIMEOUT ? "PIT-408" : st == CEREUS_E_FAILED ? "PIT-000" : "PIT-500";
        c->msg = why;
    } else {
        take_response(c, bytes);
    }
    crs_server_unref(c->to);
    if (--c->w->out == 0)
        crs_fiber_wake(c->w->fiber, CEREUS_OK);
}

/* ---- sending ---- */

static cereus_status refuse(call *c, cereus_status st, const char *code, const char *msg)
{
    c->status = st;
    c->code = code;
    c->msg = msg;
    return st;
}

/** Which server gets it; the checks of behaviour.md 13, in that order. */
static cereus_status choose(call *c, cereus_slice route)
{
    crs_cluster_loop *l = c->l;
    const char *server_id = c->public->options.server_id;
    const cereus_server *self = crs_server_view(l->cluster->self);
    size_t parts = 1, type_len = 0;
    bool blank = route.len == 0 || route.data[route.len - 1] == '.';
    for (size_t i = 0; i < route.len; i++) {
        if (route.data[i] != '.')
            continue;
        blank = blank || i == 0 || route.data[i - 1] == '.';
        if (parts++ == 1)
            type_len = i;
    }
    if (blank)
        return refuse(c, CEREUS_E_INVALID, "PIT-000", "route field can not be empty");
    if (parts != 2 && parts != 3)
        return refuse(c, CEREUS_E_INVALID, "PIT-000", "invalid route");
    bool ours = server_id && type_len == 3 && memcmp(route.data, "sys", 3) == 0; /* Pitaya's servers write these so */
    if (parts == 2 && !ours)
        return refuse(
            c, CEREUS_E_INVALID, "PIT-000",
            "no server type chosen for sending RPC, send a full route in the format server.service.component");
    cereus_slice type = cereus_slice_of(route.data, type_len);
    if (server_id ? strcmp(server_id, self->id) == 0 : crs_slice_eq(type, cereus_slice_str(self->type)))
        return refuse(c, CEREUS_E_INVALID, "PIT-000",
                      "you are making a rpc that may be processed locally, either specify a different server type or "
                      "specify a server id");
    if (server_id) {
        c->to = crs_servers_by_id(l->servers, cereus_slice_str(server_id));
        return c->to ? CEREUS_OK : refuse(c, CEREUS_E_NOT_FOUND, "PIT-000", "server not found");
    }
    size_t count, first = crs_servers_open(l->servers, type, &count);
    if (count == 0)
        return refuse(c, CEREUS_E_UNAVAILABLE, "PIT-500", "no servers available of this type");
    c->to = crs_servers_at(l->servers, first + crs_loop_random(l->d->loop, count));
    return CEREUS_OK;
}

static cereus_status send_call(call *c)
{
    crs_cluster_loop *l = c->l;
    cereus_slice route = cereus_slice_str(c->public->route);
    uint64_t left_ms = cereus_ctx_time_left(c->ctx);
    CEREUS_TRY(choose(c, route));
    c->timeout_ms = c->public->options.timeout_ms;
    if (left_ms == 0)
        return refuse(c, CEREUS_E_TIMEOUT, "PIT-408", "rpc client: request timeout");
    if (c->ctx->metadata.len && left_ms != UINT64_MAX && left_ms > CRS_GRACE_MS)
        left_ms -= CRS_GRACE_MS; /* which is not ours to give away */
    l->out.len = l->meta.len = 0;
    cereus_status st = crs_meta_of_call(c->ctx, l, left_ms, &c->timeout_ms, &l->meta);
    const cereus_server *self = crs_server_view(l->cluster->self);
    crs_request req = {
        .type = CRS_RPC_USER,
        .has_msg = true,
        .route = route,
        .body = c->public->in,
        .frontend_id = self->frontend ? cereus_slice_str(self->id) : (cereus_slice){0},
        .metadata = crs_bytes_slice(&l->meta),
        .extension = self->frontend ? CRS_PEER_IS_CEREUS : 0,
    };
    if (!st)
        st = crs_request_encode(&req, &l->out);
    if (st)
        return refuse(c, st, "PIT-500", cereus_status_text(st));
    c->rpc.done = answered;
    const char *id = crs_server_view(c->to)->id;
    c->peer_id = crs_arena_strndup(c->ctx->arena, id, strlen(id));
    if (!c->peer_id)
        return refuse(c, CEREUS_E_NOMEM, "PIT-500", "out of memory");
    crs_server_ref(c->to);
    st = crs_rpc_send(l->link, crs_server_view(c->to), crs_bytes_slice(&l->out), c->timeout_ms, &c->rpc);
    if (l->out.cap > 4 * CRS_READ_BUFFER_LEN)
        crs_bytes_fini(&l->out);
    if (st) {
        crs_server_unref(c->to);
        return st == CEREUS_E_TOO_LONG ? refuse(c, st, "PIT-000", "nats: maximum payload exceeded")
                                       : refuse(c, st, "PIT-500", cereus_status_text(st));
    }
    c->w->out++;
    return CEREUS_OK;
}

/** Make all calls and wait for them. @return CEREUS_OK, also when some failed; CEREUS_E_CANCELLED */
static cereus_status run(cereus_ctx *ctx, call *calls, cereus_rpc_call *publics, size_t count)
{
    waiting w = {.fiber = ctx->fiber};
    crs_cluster_loop *l = crs_cluster_here(ctx->dispatch);
    for (size_t i = 0; i < count; i++) {
        calls[i] = (call){.w = &w, .ctx = ctx, .public = &publics[i], .l = l};
        cereus_status st = send_call(&calls[i]); /* kept in the call */
        CRS_UNUSED(st);
    }
    /* each call has a deadline of its own, and the app's stop ends them with its links: it waits for what is under way */
    return w.out ? crs_fiber_wait_uninterrupted(ctx->fiber) : CEREUS_OK;
}

static cereus_status standalone(cereus_ctx *ctx)
{
    return crs_ctx_error(ctx, CEREUS_E_UNSUPPORTED, "PIT-000", "RPC server is not running");
}

/** Keep the error of @p c in the ctx, with the metadata that Pitaya gives a timeout. */
static cereus_status keep_in_ctx(const call *c)
{
    cereus_ctx *ctx = c->ctx;
    if (c->status == CEREUS_OK)
        return CEREUS_OK;
    if (c->error) {
        cereus_fail_bytes(ctx, c->code, c->error->msg);
        for (size_t i = 0; i < c->error->pair_count; i++)
            cereus_fail_meta(ctx, (const char *)c->error->keys[i].data, (const char *)c->error->values[i].data);
        return CEREUS_E_FAILED;
    }
    cereus_status st = crs_ctx_error(ctx, c->status, c->code, c->msg);
    if (c->status == CEREUS_E_TIMEOUT) {
        char timeout[CRS_VALUE_TEXT_CAP];
        cereus_fail_meta(ctx, "timeout", crs_format_go_duration_ms((int64_t)c->timeout_ms, timeout));
        cereus_fail_meta(ctx, "route", c->public->route);
        cereus_fail_meta(ctx, "server", crs_server_view(c->l->cluster->self)->id);
        cereus_fail_meta(ctx, "peer.id", c->peer_id);
    }
    return st;
}

cereus_status cereus_rpc_raw(cereus_ctx *ctx, const char *route, cereus_slice in, cereus_slice *ret_reply,
                             const cereus_rpc_options *options)
{
    if (!ctx->dispatch->core->cluster)
        return standalone(ctx);
    cereus_rpc_call one = {.route = route, .in = in, .options = options ? *options : (cereus_rpc_options){0}};
    call *c = crs_arena_alloc(ctx->arena, sizeof *c);
    if (!c)
        return crs_ctx_error(ctx, CEREUS_E_NOMEM, "PIT-500", "out of memory");
    CEREUS_TRY(run(ctx, c, &one, 1));
    CEREUS_TRY(keep_in_ctx(c));
    if (ret_reply)
        *ret_reply = c->reply;
    return CEREUS_OK;
}

static cereus_status codec_failed(cereus_ctx *ctx, cereus_status st, const cereus_error *err)
{
    const char *text = crs_arena_printf(ctx->arena, "%s", err->status ? err->msg : cereus_status_text(st));
    return crs_ctx_error(ctx, st, "PIT-000", text ? text : "");
}

cereus_status cereus_rpc(cereus_ctx *ctx, const char *route, const struct ProtobufCMessage *in,
                         const struct ProtobufCMessageDescriptor *reply_type, struct ProtobufCMessage **ret_reply,
                         const cereus_rpc_options *options)
{
    crs_bytes arg;
    cereus_error err = {0};
    crs_bytes_init(&arg, CRS_PACKET_BODY_MAX);
    cereus_value value = cereus_message(in);
    cereus_status st = in ? crs_value_encode(&crs_serializer_protobuf, &value, &arg, &err) : CEREUS_OK;
    cereus_slice reply;
    st = st ? codec_failed(ctx, st, &err) : cereus_rpc_raw(ctx, route, crs_bytes_slice(&arg), &reply, options);
    crs_bytes_fini(&arg);
    if (st || !reply_type)
        return st;
    st = crs_serializer_protobuf.decode(reply_type, reply, crs_arena_take, ctx->arena, ret_reply, &err);
    return st ? codec_failed(ctx, st, &err) : CEREUS_OK;
}

cereus_status cereus_rpc_all(cereus_ctx *ctx, cereus_rpc_call *calls, size_t count)
{
    if (!ctx->dispatch->core->cluster)
        return standalone(ctx);
    call *c = crs_arena_alloc(ctx->arena, count * sizeof *c + 1);
    if (!c)
        return crs_ctx_error(ctx, CEREUS_E_NOMEM, "PIT-500", "out of memory");
    CEREUS_TRY(run(ctx, c, calls, count));
    cereus_status st = CEREUS_OK;
    for (size_t i = 0; i < count; i++) {
        calls[i].status = c[i].status;
        calls[i].reply = c[i].reply;
        calls[i].error_code = c[i].status ? c[i].code : NULL;
        calls[i].error_msg = c[i].status ? c[i].msg : NULL;
        if (c[i].status)
            st = keep_in_ctx(&c[i]);
    }
    return st ? CEREUS_E_FAILED : CEREUS_OK;
}
