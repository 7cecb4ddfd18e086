/* cluster/forward.c: clients' messages for other server types. A message is sent from the session's own loop, over that loop's
 * link, and its answer comes back there; nothing waits but a small record.
 *
 * Order: the lane of the session lets one message out at a time, unless the server is one of ours, which runs what is sent to
 * it in a lane of its own (served.c): to such a one the next may follow at once. While messages of a session are out, it
 * stays with the server that has them.
 */
#include <stdio.h>

#include "base/utf8.h"
#include "cluster/cluster_priv.h"
#include "config/value.h"

typedef struct forward {
    crs_rpc_call rpc;
    crs_cluster_loop *l;
    crs_call *call;
    crs_server *to;
    uint64_t timeout_ms;
} forward;

/* ---- failures ---- */

/** An error of ours, by mail: a failure must not make the next message of the lane fail within this call, and so on. */
typedef struct refusal {
    crs_mail mail;
    crs_cluster_loop *l;
    crs_call *call;
    crs_error_view error;
    char text[sizeof((cereus_error *)NULL)->msg];
} refusal;

static void refused(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    refusal *r = CRS_CONTAINER(mail, refusal, mail);
    r->l->forwarding--;
    crs_forward_finished(r->call, true, (cereus_slice){0}, &r->error);
    crs_free(r);
}

static void refuse(crs_cluster_loop *l, crs_call *call, const char *code, const char *text)
{
    refusal *r = crs_malloc(sizeof *r);
    CRS_COUNT(&l->d->loop->counters, forward_failures);
    if (!r) { /* the deepest way, then */
        crs_error_view error = {.code = cereus_slice_str("PIT-500"), .msg = cereus_slice_str("out of memory")};
        l->forwarding--;
        crs_forward_finished(call, true, (cereus_slice){0}, &error);
        return;
    }
    *r = (refusal){.mail = {.run = refused}, .l = l, .call = call};
    snprintf(r->text, sizeof r->text, "%s", text);
    r->error = (crs_error_view){.code = cereus_slice_str(code), .msg = cereus_slice_str(r->text)};
    crs_loop_post_reserved(l->d->loop, &r->mail);
}

/* ---- answers ---- */

static void finish(forward *f, bool failed, cereus_slice body, const crs_error_view *error)
{
    crs_call *call = f->call;
    if (failed)
        CRS_COUNT(&f->l->d->loop->counters, forward_failures);
    f->l->forwarding--;
    crs_forward_finished(call, failed, body, error);
    crs_server_unref(f->to);
    crs_free(f);
}

/** cluster-protocol.md 4.4: clients see it. */
static void finish_timeout(forward *f)
{
    char timeout[CRS_VALUE_TEXT_CAP];
    crs_format_go_duration_ms((int64_t)f->timeout_ms, timeout);
    cereus_slice keys[] = {cereus_slice_str("timeout"), cereus_slice_str("route"), cereus_slice_str("server"),
                           cereus_slice_str("peer.id")};
    cereus_slice values[] = {cereus_slice_str(timeout), f->call->route,
                             cereus_slice_str(crs_server_view(f->l->cluster->self)->id),
                             cereus_slice_str(crs_server_view(f->to)->id)};
    crs_error_view error = {.code = cereus_slice_str("PIT-408"),
                            .msg = cereus_slice_str("rpc client: request timeout"),
                            .meta_keys = keys,
                            .meta_values = values,
                            .meta_count = CEREUS_COUNT(keys)};
    finish(f, true, (cereus_slice){0}, &error);
}

static void finish_error(forward *f, const char *code, const char *text)
{
    crs_error_view error = {.code = cereus_slice_str(code), .msg = cereus_slice_str(text)};
    finish(f, true, (cereus_slice){0}, &error);
}

static void answered(crs_rpc_call *rpc, cereus_status st, cereus_slice bytes, const char *why)
{
    forward *f = CRS_CONTAINER(rpc, forward, rpc);
    if (st == CEREUS_E_TIMEOUT) {
        finish_timeout(f);
        return;
    }
    if (st) { /* CEREUS_E_FAILED: in the words and with the code of the engine's library, as from Pitaya */
        finish_error(f, st == CEREUS_E_FAILED ? "PIT-000" : "PIT-500", why);
        return;
    }
    crs_response res;
    if (crs_response_decode(bytes, &res) != CEREUS_OK) {
        crs_rpc_garbage(f->l->d->loop, "an answer");
        finish_error(f, "PIT-500", "the answer of the server makes no sense");
        return;
    }
    crs_cluster_learn(f->l, crs_server_view(f->to)->id, res.extension);
    if (res.failed) {
        crs_error_view error = {.code = res.error.code,
                                .msg = res.error.msg,
                                .meta_keys = res.error.keys,
                                .meta_values = res.error.values,
                                .meta_count = res.error.pair_count};
        finish(f, true, (cereus_slice){0}, &error);
        return;
    }
    finish(f, false, res.data, NULL);
}

/* ---- which server ---- */

static const crs_cluster_route *route_of(const crs_cluster *c, cereus_slice type)
{
    const crs_cluster_route *r = c->opt.routes;
    while (r && !crs_slice_eq(cereus_slice_str(r->type), type))
        r = r->next;
    return r;
}

/** Ask the game. */
static crs_server *ask_route(crs_cluster_loop *l, const crs_cluster_route *route, crs_agent *agent,
                             const crs_call *call, size_t first, size_t count, cereus_error *err)
{
    const cereus_server **views = crs_malloc(count * sizeof *views);
    if (!views) {
        crs_fail(err, CEREUS_E_NOMEM, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        views[i] = crs_server_view(crs_servers_at(l->servers, first + i));
    char addr[CRS_PEER_TEXT_MAX];
    cereus_session handle = {.core = l->d->core,
                             .id = agent->id,
                             .uid = agent->uid ? agent->uid : "",
                             .addr = crs_peer_text(&agent->peer, addr)};
    size_t pick = count; /* a function that picks nobody is an error, not a crash: F-46 */
    cereus_status st = route->fn(&handle, call->route, call->body, views, count, &pick, route->user, err);
    crs_free(views);
    if (!st && pick >= count)
        st = crs_fail(err, CEREUS_E_INVALID, "the routing function picked no server");
    if (st && !err->status)
        crs_fail(err, st, "%s", cereus_status_text(st));
    return st ? NULL : crs_servers_at(l->servers, first + pick);
}

/** Of the @p count servers from @p first on, the one that has messages of this session. */
static crs_server *current(crs_cluster_loop *l, const crs_agent *agent, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        if (crs_server_hash(crs_servers_at(l->servers, i)) == agent->forward_to)
            return crs_servers_at(l->servers, i);
    }
    return NULL;
}

static crs_server *pick(crs_cluster_loop *l, crs_agent *agent, const crs_call *call, cereus_slice type,
                        cereus_error *err)
{
    size_t count, first = crs_servers_of_type(l->servers, type, &count);
    if (count == 0) {
        crs_fail(err, CEREUS_E_UNAVAILABLE, "no servers available of this type");
        return NULL;
    }
    const crs_cluster_route *route = route_of(l->cluster, type);
    if (route)
        return ask_route(l, route, agent, call, first, count, err);
    crs_server *same = !call->concurrent && agent->forwarding > 1 ? current(l, agent, first, count) : NULL;
    if (same) /* it stays where its others are */
        return same;
    first = crs_servers_open(l->servers, type, &count);
    return crs_servers_at(l->servers, first + crs_loop_random(l->d->loop, count));
}

bool crs_forward_may_follow(crs_dispatch *d, crs_agent *agent, cereus_slice type)
{
    crs_cluster_loop *l = crs_cluster_here(d);
    size_t count, first = crs_servers_of_type(l->servers, type, &count);
    const crs_server *to = crs_rpc_is_moving(l->link) ? NULL : current(l, agent, first, count);
    return to && !route_of(l->cluster, type) && crs_cluster_capable(l, crs_server_view(to)->id);
}

/* ---- sending ---- */

static cereus_status encode(crs_cluster_loop *l, crs_agent *agent, const crs_call *call, uint64_t timeout_ms)
{
    l->out.len = l->meta.len = 0;
    CEREUS_TRY(crs_meta_of_message(l, call->route, timeout_ms, &l->meta));
    const cereus_server *self = crs_server_view(l->cluster->self);
    crs_request req = {
        .type = CRS_RPC_SYS,
        .has_session = true,
        .has_msg = true,
        .session_id = (int64_t)agent->id,
        .uid = cereus_slice_str(agent->uid),
        .session_data = crs_session_data_text(agent),
        .msg_id = call->request ? call->id : 0,
        .route = call->route,
        .body = call->body,
        .msg_type = call->request ? 0 : 1,
        .frontend_id = cereus_slice_str(self->id),
        .metadata = crs_bytes_slice(&l->meta),
        .extension = CRS_PEER_IS_CEREUS | CRS_PEER_HEARS | (call->concurrent ? 0 : CRS_PEER_IN_ORDER),
    };
    return crs_request_encode(&req, &l->out);
}

void crs_forward_message(crs_dispatch *d, crs_agent *agent, crs_call *call, cereus_slice type)
{
    crs_cluster_loop *l = crs_cluster_here(d);
    cereus_error err = {0};
    l->forwarding++;
    if (!crs_utf8_valid(call->route)) {
        refuse(l, call, "PIT-000", "the route is not UTF-8");
        return;
    }
    crs_server *to = pick(l, agent, call, type, &err);
    if (!to) {
        refuse(l, call, "PIT-500", err.msg);
        return;
    }
    uint64_t timeout_ms = l->cluster->opt.request_timeout_ms;
    forward *f = crs_malloc(sizeof *f);
    cereus_status st = f ? encode(l, agent, call, timeout_ms) : CEREUS_E_NOMEM;
    if (!st) {
        f->rpc.done = answered;
        f->l = l;
        f->call = call;
        f->to = crs_server_ref(to);
        f->timeout_ms = timeout_ms;
        st = crs_rpc_send(l->link, crs_server_view(to), crs_bytes_slice(&l->out), timeout_ms, &f->rpc);
        if (st)
            crs_server_unref(to);
    }
    if (l->out.cap > 4 * CRS_READ_BUFFER_LEN)
        crs_bytes_fini(&l->out);
    if (st) {
        crs_free(f);
        if (st == CEREUS_E_TOO_LONG)
            refuse(l, call, "PIT-000", "nats: maximum payload exceeded");
        else
            refuse(l, call, "PIT-500", cereus_status_text(st));
        return;
    }
    if (!call->concurrent)
        agent->forward_to = crs_server_hash(to);
}
