/* cluster/users.c: users wherever they are: pushes, kicks and binds that leave this server, those that come to it, and what a
 * session of another server is asked to do.
 */
#include "base/utf8.h"
#include "cluster/cluster_priv.h"
#include "dispatch/push.h"

/* ---- ours, for others ---- */

void crs_cluster_push_here(crs_cluster_loop *l, cereus_slice route, cereus_slice data, const cereus_slice *uids,
                           size_t count)
{
    crs_dispatch *d = l->d;
    crs_frame frame;
    if (crs_frontend_make_push(d->frontend, route, data, &frame) != CEREUS_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        cereus_session_id id = crs_uid_find(d->core->uids, uids[i]);
        if (!id)
            continue; /* it has left meanwhile, or is not here */
        crs_dispatch *to = d->core->loops[crs_session_id_loop(id)];
        if (to != d) {
            if (crs_push_send_away(to, &frame, &id, 1) != CEREUS_OK)
                CRS_COUNT(&d->loop->counters, pushes_lost);
            continue;
        }
        crs_agent *agent = crs_session_table_find(crs_frontend_sessions(d->frontend), id);
        if (agent && crs_agent_push_frame(agent, &frame) == CEREUS_E_NOMEM)
            crs_agent_close(agent, CRS_CLOSE_NO_MEMORY);
    }
    crs_buf_unref(frame.buf);
}

/* ---- others', for us ---- */

static size_t push_to_users(cereus_ctx *ctx, const char *type, cereus_slice route, cereus_slice body,
                            const char *const *uids, const bool *want, size_t count, bool *failed)
{
    crs_cluster_loop *l = crs_cluster_here(ctx->dispatch);
    cereus_slice *batch = crs_arena_alloc(ctx->arena, count * sizeof *batch + 1);
    size_t n = 0, wanted = 0;
    for (size_t i = 0; i < count; i++) {
        wanted += want[i];
        if (want[i] && batch && crs_rpc_can_be_user(l->link, uids[i]))
            batch[n++] = cereus_slice_str(uids[i]);
    }
    bool sent = batch && crs_rpc_push(l->link, type, l->servers, route, body, batch, n) == CEREUS_OK;
    for (size_t i = 0; i < count; i++) {
        if (want[i])
            failed[i] = !sent || !crs_rpc_can_be_user(l->link, uids[i]);
    }
    return sent ? wanted - n : wanted;
}

static size_t kick_users(cereus_ctx *ctx, const char *type, const char *const *uids, const bool *want, size_t count,
                         bool *failed)
{
    crs_cluster_loop *l = crs_cluster_here(ctx->dispatch);
    size_t failed_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!want[i])
            continue;
        failed[i] = !crs_rpc_can_be_user(l->link, uids[i]) ||
                    crs_rpc_kick(l->link, type, l->servers, cereus_slice_str(uids[i])) != CEREUS_OK;
        failed_count += failed[i];
    }
    return failed_count;
}

/** Tell the other frontends: who had the uid there before now loses it. */
static void announce(crs_cluster_loop *l, cereus_slice uid, uint64_t at_us)
{
    crs_bind_msg bind = {
        .uid = uid, .frontend_id = cereus_slice_str(crs_server_view(l->cluster->self)->id), .at_us = at_us};
    if (crs_rpc_announce(l->link, l->servers, &bind) != CEREUS_OK) /* never blocks a login: F-14 */
        CRS_COUNT(&l->d->loop->counters, binds_unannounced);
}

static void user_claimed(crs_dispatch *d, const char *uid, uint64_t at_us)
{
    crs_cluster_loop *l = crs_cluster_here(d);
    if (l->cluster->opt.unique)
        announce(l, cereus_slice_str(uid), at_us);
}

void crs_cluster_bound_there(crs_cluster_loop *l, cereus_slice uid, uint64_t before_us)
{
    cereus_session_id
        lost; /* without its uid at once: else a bind here would take it for the one who has it, and tell nobody */
    uint64_t since_us = crs_uid_outbid(l->d->core->uids, uid, before_us, &lost);
    if (lost)
        crs_session_end(l->d, lost, CRS_CLOSE_KICKED);
    else if (since_us) /* the session it took the uid from here may have been all that was told there */
        announce(l, uid, since_us);
}

static cereus_status user_bound(cereus_ctx *ctx, const char *uid)
{
    crs_cluster_loop *l = crs_cluster_here(ctx->dispatch);
    cereus_status st = crs_utf8_valid(cereus_slice_str(uid)) ? crs_rpc_watch(l->link, uid) : CEREUS_E_INVALID;
    if (st == CEREUS_E_INVALID) /* it would be a wildcard, or no subject at all */
        return crs_ctx_error(ctx, st, "PIT-000", "illegal uid");
    if (st)
        return crs_ctx_error(ctx, st, "PIT-500", cereus_status_text(st));
    crs_cluster_settle(l, ctx->fiber); /* a push made by whoever learns of this bind arrives */
    return CEREUS_OK;
}

static void user_gone(crs_dispatch *d, const char *uid)
{
    crs_rpc_unwatch(crs_cluster_here(d)->link, uid);
}

/* ---- a session of another server ---- */

/** NULL: it has left, and the ctx has the error. */
static const cereus_server *frontend_of(cereus_ctx *ctx, const crs_remote_session *s)
{
    const crs_server *frontend =
        crs_servers_by_id(crs_cluster_here(ctx->dispatch)->servers, cereus_slice_str(s->frontend_id));
    if (frontend)
        return crs_server_view(frontend);
    crs_ctx_error(ctx, CEREUS_E_NOT_FOUND, "PIT-000", "can't find any server with the provided ID");
    return NULL;
}

static cereus_status ask_frontend(cereus_ctx *ctx, const crs_remote_session *s, const char *route, cereus_slice in)
{
    if (!frontend_of(ctx, s))
        return CEREUS_E_NOT_FOUND;
    return cereus_rpc_raw(ctx, route, in, NULL, &(cereus_rpc_options){.server_id = s->frontend_id});
}

static cereus_status ask_session(cereus_ctx *ctx, const crs_remote_session *s, const char *route, const char *uid,
                                 cereus_slice data)
{
    crs_bytes arg;
    crs_bytes_init(&arg, CRS_PACKET_BODY_MAX);
    cereus_status st = crs_session_encode(s->id, cereus_slice_str(uid), data, &arg);
    st = st ? crs_ctx_error(ctx, st, "PIT-500", cereus_status_text(st))
            : ask_frontend(ctx, s, route, crs_bytes_slice(&arg));
    crs_bytes_fini(&arg);
    return st;
}

static cereus_status bind_session(cereus_ctx *ctx, crs_remote_session *s, const char *uid)
{
    return ask_session(ctx, s, "sys.bindsession", uid, (cereus_slice){0});
}

static cereus_status push_to_front(cereus_ctx *ctx, crs_remote_session *s, cereus_slice data)
{
    return ask_session(ctx, s, "sys.pushsession", s->uid, data);
}

static cereus_status not_bound(cereus_ctx *ctx)
{
    return crs_ctx_error(ctx, CEREUS_E_NOT_BOUND, "PIT-000", "you have to bind an UID to the session to do that");
}

/** Behind the pushes that were made before, where the frontend is ours. */
static cereus_status kick(cereus_ctx *ctx, crs_remote_session *s)
{
    if (!s->uid[0])
        return not_bound(ctx);
    if (!frontend_of(ctx, s))
        return CEREUS_E_NOT_FOUND;
    bool ahead = crs_cluster_hears(s);
    crs_bytes arg;
    crs_bytes_init(&arg, CRS_PACKET_BODY_MAX);
    cereus_status st = ahead ? crs_mark_encode(CRS_PEER_KICKED, &arg) : CEREUS_OK;
    if (!st)
        st = crs_kick_encode(cereus_slice_str(s->uid), &arg);
    if (!st && ahead)
        st = crs_cluster_send_ahead(ctx->dispatch, s, crs_bytes_slice(&arg));
    if (st)
        crs_ctx_error(ctx, st, "PIT-500", cereus_status_text(st));
    else if (!ahead)
        st = ask_frontend(ctx, s, "sys.kick", crs_bytes_slice(&arg));
    crs_bytes_fini(&arg);
    return st;
}

static cereus_status push_ahead(crs_dispatch *d, crs_remote_session *s, const crs_push_msg *push)
{
    crs_bytes bytes;
    crs_bytes_init(&bytes, CRS_PACKET_BODY_MAX + (1 << 20));
    cereus_status st = crs_mark_encode(CRS_PEER_AHEAD, &bytes);
    if (!st)
        st = crs_push_encode(push, &bytes);
    if (!st)
        st = crs_cluster_send_ahead(d, s, crs_bytes_slice(&bytes));
    crs_bytes_fini(&bytes);
    return st;
}

/** To the user: ahead of the answer where the frontend is ours, so that both arrive in the order made; else by way of the type
 * of its frontend. */
static cereus_status push(cereus_ctx *ctx, crs_remote_session *s, cereus_slice route, cereus_slice body)
{
    crs_cluster_loop *l = crs_cluster_here(ctx->dispatch);
    if (!s->uid[0])
        return not_bound(ctx);
    const cereus_server *frontend = frontend_of(ctx, s);
    if (!frontend)
        return CEREUS_E_NOT_FOUND;
    cereus_slice uid = cereus_slice_str(s->uid);
    cereus_status st;
    if (crs_cluster_hears(s))
        st = push_ahead(l->d, s, &(crs_push_msg){.route = route, .uid = uid, .data = body});
    else
        st = crs_rpc_push(l->link, frontend->type, l->servers, route, body, &uid, 1);
    return st ? crs_ctx_error(ctx, st, "PIT-500", cereus_status_text(st)) : CEREUS_OK;
}

const crs_cluster_ops crs_cluster_dispatch_ops = {
    .may_follow = crs_forward_may_follow,
    .forward = crs_forward_message,
    .user_bound = user_bound,
    .user_claimed = user_claimed,
    .user_gone = user_gone,
    .bind = bind_session,
    .push = push,
    .kick = kick,
    .push_to_front = push_to_front,
    .push_to_users = push_to_users,
    .kick_users = kick_users,
};
