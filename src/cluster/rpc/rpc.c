/* cluster/rpc/rpc.c: what all engines have in common: the calls that are out, their deadlines, and the table of engines. */
#include "cluster/rpc/peers.h"

static const crs_rpc_ops *const engines[] = {&crs_rpc_local, &crs_rpc_nats};

const crs_rpc_ops *crs_rpc_engine(const char *name)
{
    for (size_t i = 0; i < CEREUS_COUNT(engines); i++) {
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    }
    return NULL;
}

cereus_status crs_rpc_new(const crs_rpc_ops *ops, const crs_rpc_options *opt, crs_rpc **ret_rpc, cereus_error *err)
{
    crs_rpc *rpc = crs_zalloc(ops->rpc_size);
    if (!rpc)
        return crs_fail(err, CEREUS_E_NOMEM, "rpc: out of memory");
    rpc->ops = ops;
    rpc->opt = *opt;
    cereus_status st = ops->init(rpc, err);
    if (st) {
        crs_rpc_free(rpc);
        return st;
    }
    *ret_rpc = rpc;
    return CEREUS_OK;
}

crs_rpc *crs_rpc_free(crs_rpc *rpc)
{
    if (rpc && rpc->ops->fini)
        rpc->ops->fini(rpc);
    crs_free(rpc);
    return NULL;
}

cereus_status crs_rpc_open(crs_rpc *rpc, crs_loop *loop, const crs_rpc_events *events, void *user,
                           crs_rpc_link **ret_link, cereus_error *err)
{
    crs_rpc_link *link = crs_zalloc(rpc->ops->link_size);
    if (!link)
        return crs_fail(err, CEREUS_E_NOMEM, "rpc: out of memory");
    link->rpc = rpc;
    link->loop = loop;
    link->events = events;
    link->user = user;
    crs_list_init(&link->failed);
    crs_bytes_init(&link->peers, 2 * rpc->opt.request_max);
    cereus_status st = rpc->ops->open(link, err);
    if (st) {
        crs_free(link->slots);
        crs_free(link);
        return st;
    }
    *ret_link = link;
    return CEREUS_OK;
}

cereus_status crs_rpc_serve(crs_rpc_link *link, cereus_error *err)
{
    return link->rpc->ops->serve(link, err);
}

void crs_rpc_link_closed(crs_rpc_link *link)
{
    link->closed = true;
    if (link->telling)
        return; /* tell_failed() frees it */
    crs_bytes_fini(&link->peers);
    crs_free(link->slots);
    crs_free(link);
}

bool crs_rpc_connected(const crs_rpc *rpc)
{
    return rpc->ops->connected(rpc);
}

/* ---- calls that are out ---- */

static void free_slot(crs_rpc_call *call)
{
    crs_rpc_link *link = call->link;
    link->slots[call->slot].call = NULL;
    link->slots[call->slot].next_free = link->free_head;
    link->free_head = 1 + call->slot;
    crs_loop_timer_stop(link->loop, &call->timer);
    crs_list_remove(&call->queue);
}

static void finish(crs_rpc_call *call, cereus_status st, cereus_slice response, const char *why)
{
    free_slot(call);
    call->done(call, st, response, why);
}

static void on_timeout(crs_timer *timer)
{
    crs_rpc_call *call = CRS_CONTAINER(timer, crs_rpc_call, timer);
    CRS_COUNT(&call->link->loop->counters, rpc_timeouts);
    call->link->given_up++;
    finish(call, CEREUS_E_TIMEOUT, (cereus_slice){0}, "rpc client: request timeout");
}

static cereus_status take_slot(crs_rpc_link *link, crs_rpc_call *call)
{
    uint32_t slot;
    if (link->free_head) {
        slot = link->free_head - 1;
        link->free_head = link->slots[slot].next_free;
    } else {
        if (link->used == CRS_RPC_CALLS_MAX)
            return CEREUS_E_FULL;
        if (link->used == link->cap) {
            uint32_t cap = link->cap ? 2 * link->cap : 64;
            void *slots = crs_realloc(link->slots, cap * sizeof *link->slots);
            if (!slots)
                return CEREUS_E_NOMEM;
            link->slots = slots;
            memset(link->slots + link->cap, 0, (cap - link->cap) * sizeof *link->slots);
            link->cap = cap;
        }
        slot = link->used++;
    }
    link->slots[slot].call = call;
    call->slot = slot;
    call->id = (uint64_t)++link->slots[slot].serial << 32 | slot;
    return CEREUS_OK;
}

static cereus_status begin(crs_rpc_link *link, uint64_t timeout_ms, crs_rpc_call *call)
{
    crs_loop_assert_current(link->loop);
    if (link->closing)
        return CEREUS_E_CANCELLED; /* who hears of a failed call may want to make the next */
    call->link = link;
    call->status = CEREUS_OK;
    crs_list_init(&call->queue);
    crs_timer_init(&call->timer, on_timeout);
    CEREUS_TRY(take_slot(link, call));
    cereus_status st = crs_loop_timer_start(link->loop, &call->timer, timeout_ms);
    if (st)
        free_slot(call);
    return st;
}

cereus_status crs_rpc_send(crs_rpc_link *link, const cereus_server *to, cereus_slice request, uint64_t timeout_ms,
                           crs_rpc_call *call)
{
    if (request.len > link->rpc->opt.request_max)
        return CEREUS_E_TOO_LONG;
    CEREUS_TRY(begin(link, timeout_ms, call));
    cereus_status st = link->rpc->ops->send(link, to, request, call);
    if (st)
        free_slot(call);
    else
        CRS_COUNT(&link->loop->counters, rpc_requests);
    return st;
}

bool crs_rpc_settle(crs_rpc_link *link, uint64_t timeout_ms, crs_rpc_call *call)
{
    if (!link->rpc->ops->settle || begin(link, timeout_ms, call) != CEREUS_OK)
        return false;
    if (link->rpc->ops->settle(link, call) == CEREUS_OK)
        return true;
    free_slot(call);
    return false;
}

void crs_rpc_forget(crs_rpc_call *call)
{
    call->link->given_up++;
    free_slot(call);
}

static crs_rpc_call *find_call(const crs_rpc_link *link, uint64_t id)
{
    uint32_t slot = (uint32_t)id;
    crs_rpc_call *call = slot < link->used ? link->slots[slot].call : NULL;
    return call && call->id == id && !call->status ? call : NULL;
}

void crs_rpc_garbage(crs_loop *loop, const char *what)
{
    static crs_log_limiter limiter;
    CRS_COUNT(&loop->counters, rpc_garbage);
    crs_log_limited(loop->log, CEREUS_LOG_WARN, &limiter, "another server sent what makes no sense; it is dropped",
                    CRS_STR("what", what));
}

/** What came ahead of an answer. False: it is the answer. */
static bool take_ahead(crs_rpc_link *link, cereus_slice in)
{
    crs_push_msg push;
    cereus_slice rest, uid;
    bool good;
    if (crs_has_mark(in, CRS_PEER_AHEAD, &rest)) {
        good = crs_push_decode(rest, &push) == CEREUS_OK;
        if (good)
            link->events->on_push(link->user, push.route, push.data, &push.uid, 1);
    } else if (crs_has_mark(in, CRS_PEER_KICKED, &rest)) {
        good = crs_kick_decode(rest, &uid) == CEREUS_OK;
        if (good)
            link->events->on_kick(link->user, uid);
    } else {
        return false;
    }
    if (!good)
        CRS_COUNT(&link->loop->counters, rpc_garbage);
    return true;
}

void crs_rpc_answered(crs_rpc_link *link, uint64_t id, cereus_slice response)
{
    if (take_ahead(link, response)) /* also when nobody waits any more: the user may be there */
        return;
    crs_rpc_call *call = find_call(link, id);
    if (!call) {
        CRS_COUNT(&link->loop->counters, rpc_late_replies);
        return;
    }
    finish(call, CEREUS_OK, response, NULL);
}

/** The mail is the link's and not the calls': a call that is forgotten, or ended with its link, is just not there any more. */
static void tell_failed(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_rpc_link *link = CRS_CONTAINER(mail, crs_rpc_link, tell);
    link->telling = false;
    if (link->closed) {
        crs_rpc_link_closed(link);
        return;
    }
    crs_list now, *at; /* those that fail meanwhile come with the next mail */
    crs_list_init(&now);
    while ((at = crs_list_pop(&link->failed)))
        crs_list_push(&now, at);
    while ((at = crs_list_pop(&now))) {
        crs_rpc_call *call = CRS_CONTAINER(at, crs_rpc_call, queue);
        finish(call, call->status, (cereus_slice){0}, call->why);
    }
}

void crs_rpc_fail(crs_rpc_call *call, cereus_status st, const char *why)
{
    if (call->status)
        return;
    call->status = st;
    call->why = why;
    crs_rpc_link *link = call->link;
    crs_list_remove(&call->queue);
    crs_list_push(&link->failed, &call->queue);
    crs_loop_timer_stop(link->loop, &call->timer);
    if (link->telling)
        return;
    link->telling = true;
    link->tell.run = tell_failed;
    crs_loop_post_reserved(link->loop, &link->tell);
}

void crs_rpc_cancel_all(crs_rpc_link *link)
{
    for (uint32_t i = 0; i < link->used; i++) {
        link->given_up += link->slots[i].call != NULL;
        if (link->slots[i].call)
            finish(link->slots[i].call, CEREUS_E_CANCELLED, (cereus_slice){0}, "the server is stopping");
    }
}

crs_rpc_link *crs_rpc_close(crs_rpc_link *link)
{
    if (!link)
        return NULL;
    link->closing = true;
    crs_rpc_cancel_all(link);
    link->rpc->ops->close(link);
    return NULL;
}

/* ---- through the table ---- */

/** Whoever asked shall not wait for its deadline. */
static cereus_status reply_too_long(crs_rpc_link *link, cereus_slice reply_to)
{
    crs_response res = {.failed = true,
                        .error = {.code = cereus_slice_str("PIT-500"),
                                  .msg = cereus_slice_str("the reply is longer than servers may send")}};
    crs_bytes bytes;
    crs_bytes_init(&bytes, 256);
    cereus_status st = crs_response_encode(&res, &bytes);
    if (!st)
        st = link->rpc->ops->reply(link, reply_to, crs_bytes_slice(&bytes));
    crs_bytes_fini(&bytes);
    return st;
}

void crs_rpc_reply(crs_rpc_link *link, cereus_slice reply_to, cereus_slice response)
{
    cereus_status st = reply_to.len ? link->rpc->ops->reply(link, reply_to, response) : CEREUS_E_INVALID;
    if (st == CEREUS_E_TOO_LONG)
        st = reply_too_long(link, reply_to);
    if (st)
        CRS_COUNT(&link->loop->counters, rpc_replies_lost);
}

cereus_status crs_rpc_send_ahead(crs_rpc_link *link, cereus_slice reply_to, cereus_slice bytes)
{
    return link->rpc->ops->reply(link, reply_to, bytes);
}

cereus_status crs_rpc_push(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice route,
                           cereus_slice data, const cereus_slice *uids, size_t count)
{
    const crs_rpc_ops *ops = link->rpc->ops;
    if (ops->to_peer)
        return crs_peers_push(link, type, servers, route, data, uids, count, ops->to_peer);
    return ops->push(link, type, servers, route, data, uids, count);
}

cereus_status crs_rpc_kick(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice uid)
{
    const crs_rpc_ops *ops = link->rpc->ops;
    return ops->to_peer ? crs_peers_kick(link, type, servers, uid, ops->to_peer) : ops->kick(link, type, servers, uid);
}

cereus_status crs_rpc_announce(crs_rpc_link *link, const crs_servers *servers, const crs_bind_msg *bind)
{
    const crs_rpc_ops *ops = link->rpc->ops;
    return ops->to_peer ? crs_peers_announce(link, servers, bind, ops->to_peer) : ops->announce(link, servers, bind);
}

bool crs_rpc_can_be_user(const crs_rpc_link *link, const char *uid)
{
    return !link->rpc->ops->can_be_user || link->rpc->ops->can_be_user(uid);
}

cereus_status crs_rpc_watch(crs_rpc_link *link, const char *uid)
{
    return link->rpc->ops->watch ? link->rpc->ops->watch(link, uid) : CEREUS_OK;
}

void crs_rpc_unwatch(crs_rpc_link *link, const char *uid)
{
    if (link->rpc->ops->unwatch)
        link->rpc->ops->unwatch(link, uid);
}

void crs_rpc_server_gone(crs_rpc_link *link, const char *server_id)
{
    if (link->rpc->ops->server_gone)
        link->rpc->ops->server_gone(link, server_id);
}

bool crs_rpc_has_callers(const crs_rpc_link *link)
{
    return link->rpc->ops->has_callers && link->rpc->ops->has_callers(link);
}

bool crs_rpc_is_moving(const crs_rpc_link *link)
{
    return link->rpc->ops->is_moving && link->rpc->ops->is_moving(link);
}
