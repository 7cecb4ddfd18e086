/* dispatch/session_api.c: cereus_session_* for handlers on any loop.
 *
 * Everything that touches a session runs on its loop. Called there, it is a plain call; called elsewhere, it is an
 * errand: mail to the session's loop, which answers by mail while the fiber waits. An errand lives on the waiting
 * fiber's stack, so that wait cannot be interrupted; the other loop always answers.
 */
#include <jansson.h>
#include <stdio.h>

#include "base/clock.h"
#include "dispatch/call.h"
#include "dispatch/push.h"
#include "dispatch/remote.h"

enum { UID_LEN_MAX = 255 };

/* ---- errands ---- */

typedef struct errand errand;
/** Runs on the session's loop; @p agent NULL: it has ended. Must not wait. */
typedef cereus_status errand_fn(crs_agent *agent, void *arg);

struct errand {
    crs_mail mail;
    crs_dispatch *from, *to;
    crs_fiber *fiber; /* waits on `from` */
    cereus_session_id session;
    errand_fn *fn;
    void *arg;
    cereus_status status;
};

bool crs_session_is_local(const cereus_session *s)
{
    return s->ended || crs_loop_is_current(s->core->loops[crs_session_id_loop(s->id)]->loop);
}

crs_agent *crs_session_agent(const cereus_session *s)
{
    if (s->ended)
        return s->ended;
    if (!crs_session_is_local(s))
        return NULL;
    crs_dispatch *d = s->core->loops[crs_session_id_loop(s->id)];
    return crs_session_table_find(crs_frontend_sessions(d->frontend), s->id);
}

static void errand_returns(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    errand *e = CRS_CONTAINER(mail, errand, mail);
    crs_fiber_wake(e->fiber, CEREUS_OK);
}

static void errand_arrives(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    errand *e = CRS_CONTAINER(mail, errand, mail);
    e->status = e->fn(crs_session_table_find(crs_frontend_sessions(e->to->frontend), e->session), e->arg);
    e->mail.run = errand_returns;
    crs_loop_post_reserved(e->from->loop, &e->mail);
}

static crs_dispatch *home_of_session(const cereus_session *s)
{
    return s->core->loops[crs_session_id_loop(s->id)];
}

/** Run @p fn where the session lives. */
static cereus_status on_session(cereus_ctx *ctx, const cereus_session *s, errand_fn *fn, void *arg)
{
    if (crs_session_is_local(s))
        return fn(crs_session_agent(s), arg);
    errand e = {.mail = {.run = errand_arrives},
                .from = ctx->dispatch,
                .to = home_of_session(s),
                .fiber = ctx->fiber,
                .session = s->id,
                .fn = fn,
                .arg = arg};
    CEREUS_TRY(crs_loop_post(e.to->loop, &e.mail));
    cereus_status st = crs_fiber_wait_uninterrupted(ctx->fiber);
    return st ? st : e.status;
}

/* ---- handles ---- */

cereus_session_id cereus_session_get_id(const cereus_session *session)
{
    return session->id;
}

bool cereus_session_is_remote(const cereus_session *session)
{
    return session->remote;
}

static cereus_status not_on_backend(cereus_ctx *ctx, const char *text)
{
    return crs_ctx_error(ctx, CEREUS_E_UNSUPPORTED, "PIT-000", text);
}

cereus_session *cereus_session_from_id(cereus_ctx *ctx, cereus_session_id id)
{
    if (crs_session_id_loop(id) >= ctx->dispatch->core->loop_count)
        id = 0; /* no id of ours: generation 0 is never used, so it is a stale one */
    cereus_session *s = crs_arena_zalloc(ctx->arena, sizeof *s);
    if (!s)
        return NULL;
    s->core = ctx->dispatch->core;
    s->id = id;
    s->ctx = ctx;
    return s;
}

cereus_session *cereus_session_from_uid(cereus_ctx *ctx, const char *uid)
{
    cereus_session_id id = crs_uid_find(ctx->dispatch->core->uids, cereus_slice_str(uid));
    return id ? cereus_session_from_id(ctx, id) : NULL;
}

static cereus_status read_identity(crs_agent *agent, void *arg)
{
    cereus_session *copy = arg; /* uid and addr: malloc'ed, taken over by the asker */
    if (!agent)
        return CEREUS_E_GONE;
    copy->uid = crs_strdup(agent->uid ? agent->uid : "");
    copy->addr = crs_strdup(crs_peer_text(&agent->peer, (char[CRS_PEER_TEXT_MAX]){0}));
    return CEREUS_OK;
}

/** @p text in the memory of the ctx; "" for NULL, or without memory. */
static const char *keep_text(cereus_session *s, const char *text)
{
    const char *copy = text ? crs_arena_strndup(s->ctx->arena, text, strlen(text)) : NULL;
    return copy ? copy : "";
}

/** Of a session on another loop, or one that has gone. */
static void learn_identity(cereus_session *s)
{
    cereus_session copy = {0};
    if (!crs_session_is_local(s) && on_session(s->ctx, s, read_identity, &copy) == CEREUS_OK) {
        s->uid = keep_text(s, copy.uid);
        s->addr = keep_text(s, copy.addr);
    }
    crs_free((char *)copy.uid);
    crs_free((char *)copy.addr);
    if (!s->uid)
        s->uid = "";
    if (!s->addr)
        s->addr = "";
}

const char *cereus_session_uid(const cereus_session *session)
{
    if (session->remote)
        return session->remote->uid;
    if (session->uid && session->uid[0])
        return session->uid;
    cereus_session *s = (cereus_session *)session;
    const crs_agent *agent = crs_session_agent(session);
    if (agent && (!s->uid || agent->uid)) /* not asked yet, or bound meanwhile */
        s->uid = keep_text(s, agent->uid);
    else if (!s->uid)
        learn_identity(s);
    return s->uid;
}

const char *cereus_session_remote_addr(const cereus_session *session)
{
    cereus_session *s = (cereus_session *)session;
    const crs_agent *agent = crs_session_agent(session);
    char room[CRS_PEER_TEXT_MAX];
    if (agent && !s->addr)
        s->addr = keep_text(s, crs_peer_text(&agent->peer, room));
    else if (!s->addr)
        learn_identity(s);
    return s->addr;
}

/* ---- bind ---- */

typedef struct bind_request {
    crs_mail mail;
    crs_dispatch *from, *to;
    crs_fiber *waiter; /* on `from` */
    cereus_session_id session;
    const char *uid;
    cereus_status status;
    cereus_ctx *ctx; /* of the caller: gets the error. Only touched on `from` or while the caller waits */
} bind_request;

static cereus_status run_bind_hooks(cereus_ctx *ctx, const crs_hook *h)
{
    for (; h; h = h->next) {
        CEREUS_TRY(((cereus_bind_fn *)h->fn.any)(ctx, h->user));
        if (!ctx->session->remote &&
            !crs_session_agent(ctx->session)) /* it waited; close callbacks have run, none may undo what comes now */
            return CEREUS_E_GONE;
    }
    return CEREUS_OK;
}

/** The whole of a bind, on the session's loop and on a fiber. @p ctx has the session that is bound. */
static cereus_status bind_here(cereus_ctx *ctx, const char *uid)
{
    crs_dispatch *d = ctx->dispatch;
    crs_core *core = d->core;
    crs_agent *agent = crs_session_agent(ctx->session);
    size_t len = strlen(uid);
    if (!agent)
        return crs_ctx_error(ctx, CEREUS_E_GONE, "PIT-499", "broken low-level pipe");
    if (len == 0 || len > UID_LEN_MAX)
        return crs_ctx_error(ctx, CEREUS_E_INVALID, "PIT-000", "illegal uid");
    if (agent->state == CRS_AGENT_CLOSED)
        return crs_ctx_error(ctx, CEREUS_E_GONE, "PIT-499", "broken low-level pipe");
    if (agent->uid || agent->binding)
        return crs_ctx_error(ctx, CEREUS_E_BOUND, "PIT-000", "session is already bound to an uid");
    if (!(agent->uid = crs_strdup(uid)))
        return crs_ctx_error(ctx, CEREUS_E_NOMEM, "PIT-500", "out of memory");
    agent->binding = true;
    ctx->session->uid = NULL;

    cereus_status st = run_bind_hooks(ctx, core->on_bind);
    agent = crs_session_agent(ctx->session); /* the callbacks may have waited */
    if (!agent)
        return crs_ctx_error(ctx, CEREUS_E_GONE, "PIT-499", "broken low-level pipe"); /* closing took the uid along */
    cereus_session_id old = 0;
    bool announced = !st && core->cluster;
    if (announced) {
        st = core->cluster->user_bound(ctx, uid);
        agent = crs_session_agent(ctx->session);
        if (!agent) {
            core->cluster->user_gone(d, uid);
            return crs_ctx_error(ctx, CEREUS_E_GONE, "PIT-499", "broken low-level pipe");
        }
    }
    uint64_t now_us = crs_loop_unix_now_ns(d->loop) / 1000;
    if (!st) {
        if ((st = crs_uid_claim(core->uids, cereus_slice_str(uid), agent->id, now_us, &old)))
            crs_ctx_error(ctx, st, "PIT-500", "out of memory");
    }
    if (!st) {
        CRS_COUNT(&d->loop->counters, binds);
        if (!old && core->cluster) /* else the session that is ended here was the only one */
            core->cluster->user_claimed(d, uid, now_us);
        if (old && old != agent->id)
            crs_session_end(d, old, core->unique ? CRS_CLOSE_KICKED : CRS_CLOSE_REPLACED);
        st = run_bind_hooks(ctx, core->on_after_bind);
        agent = crs_session_agent(ctx->session);
        if (!agent) /* the close has told the cluster */
            return crs_ctx_error(ctx, CEREUS_E_GONE, "PIT-499", "broken low-level pipe");
        if (st)
            crs_uid_release(core->uids, cereus_slice_str(uid), agent->id);
    }
    agent->binding = false;
    if (st && announced)
        core->cluster->user_gone(d, uid);
    if (st) {
        crs_free(agent->uid);
        agent->uid = NULL;
    } else {
        agent->deadline_ms = UINT64_MAX;
    }
    ctx->session->uid = NULL;
    return st;
}

typedef struct close_mail {
    crs_mail mail;
    crs_dispatch *to;
    cereus_session_id session;
    crs_close_reason reason;
} close_mail;

static void close_arrives(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    close_mail *c = CRS_CONTAINER(mail, close_mail, mail);
    crs_agent *agent = crs_session_table_find(crs_frontend_sessions(c->to->frontend), c->session);
    if (agent)
        crs_agent_close(agent, c->reason);
    crs_free(c);
}

void crs_session_end(crs_dispatch *d, cereus_session_id id, crs_close_reason reason)
{
    crs_dispatch *to = d->core->loops[crs_session_id_loop(id)];
    if (to == d) {
        crs_agent *agent = crs_session_table_find(crs_frontend_sessions(d->frontend), id);
        if (agent)
            crs_agent_close(agent, reason);
        return;
    }
    close_mail *c = crs_malloc(sizeof *c);
    if (!c)
        return; /* it stays open; who was bound in its place has the uid all the same */
    *c = (close_mail){.mail = {.run = close_arrives}, .to = to, .session = id, .reason = reason};
    crs_loop_post_reserved(to->loop, &c->mail); /* one per bind or kick */
}

static void bind_returns(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_fiber_wake(CRS_CONTAINER(mail, bind_request, mail)->waiter, CEREUS_OK);
}

static void run_bind(crs_fiber *fiber, void *arg)
{
    bind_request *r = arg;
    cereus_ctx ctx;
    crs_ctx_init(&ctx, r->to, fiber, "session bind");
    cereus_session handle = {.core = r->to->core, .id = r->session, .ctx = &ctx};
    ctx.session = &handle;
    r->status = bind_here(&ctx, r->uid);
    if (r->status)
        crs_ctx_copy_error(r->ctx, &ctx); /* the caller waits: nobody else touches its ctx */
    crs_ctx_fini(&ctx);
    r->mail.run = bind_returns;
    crs_loop_post_reserved(r->from->loop, &r->mail);
}

/** It never waits for a fiber: the caller holds one of another loop, and the fibers of this one may all wait for that. */
static void bind_arrives(crs_loop *loop, crs_mail *mail)
{
    bind_request *r = CRS_CONTAINER(mail, bind_request, mail);
    cereus_status st = crs_fiber_start_reserved(r->to->fibers, "session bind", run_bind, r);
    if (!st)
        return; /* r may be gone already */
    r->status = st;
    CRS_COUNT(&loop->counters, fibers_exhausted);
    r->mail.run = bind_returns;
    crs_loop_post_reserved(r->from->loop, &r->mail);
}

/** A backend's bind: its own callbacks around what the frontend does, as behaviour.md 15.4 has it. */
static cereus_status bind_remote(cereus_ctx *ctx, cereus_session *session, const char *uid)
{
    crs_remote_session *s = session->remote;
    crs_core *core = ctx->dispatch->core;
    size_t len = strlen(uid);
    if (len == 0 || len > UID_LEN_MAX)
        return crs_ctx_error(ctx, CEREUS_E_INVALID, "PIT-000", "illegal uid");
    if (s->uid[0])
        return crs_ctx_error(ctx, CEREUS_E_BOUND, "PIT-000", "session is already bound to an uid");
    const char *copy = crs_arena_strndup(ctx->arena, uid, len);
    if (!copy)
        return crs_ctx_error(ctx, CEREUS_E_NOMEM, "PIT-500", "out of memory");
    cereus_session *was = ctx->session;
    ctx->session = session;
    s->uid = copy;
    cereus_status st = run_bind_hooks(ctx, core->on_bind);
    if (!st)
        st = core->cluster->bind(ctx, s, uid);
    if (!st)
        st = run_bind_hooks(ctx, core->on_after_bind);
    if (st)
        s->uid = "";
    ctx->session = was;
    return st;
}

cereus_status cereus_session_push_to_front(cereus_ctx *ctx, cereus_session *session)
{
    if (!session->remote)
        return not_on_backend(ctx, "frontend session can't push to front");
    crs_bytes text;
    crs_bytes_init(&text, CRS_PACKET_BODY_MAX);
    const json_t *data = crs_remote_data(session->remote);
    cereus_status st = data ? crs_json_text(data, &text) : CEREUS_E_NOMEM;
    if (!st)
        st = ctx->dispatch->core->cluster->push_to_front(ctx, session->remote, crs_bytes_slice(&text));
    crs_bytes_fini(&text);
    return st;
}

cereus_status cereus_session_bind(cereus_ctx *ctx, cereus_session *session, const char *uid)
{
    cereus_status st;
    if (session->remote)
        return bind_remote(ctx, session, uid);
    if (crs_session_is_local(session)) {
        cereus_session *was = ctx->session;
        ctx->session = session; /* the callbacks find the one that is being bound */
        st = bind_here(ctx, uid);
        ctx->session = was;
        return st;
    }
    bind_request r = {.mail = {.run = bind_arrives},
                      .from = ctx->dispatch,
                      .to = home_of_session(session),
                      .waiter = ctx->fiber,
                      .session = session->id,
                      .uid = uid,
                      .ctx = ctx};
    CEREUS_TRY(crs_loop_post(r.to->loop, &r.mail));
    st = crs_fiber_wait_uninterrupted(ctx->fiber);
    if (!st && !(st = r.status))
        session->uid = crs_arena_strndup(ctx->arena, uid, strlen(uid));
    return st;
}

/* ---- push, kick, close ---- */

cereus_status cereus_session_push(cereus_ctx *ctx, cereus_session *session, const char *route, cereus_value value)
{
    crs_dispatch *d = ctx->dispatch;
    cereus_slice body;
    CEREUS_TRY(crs_push_body(ctx, &value, &body));
    if (session->remote)
        return d->core->cluster->push(ctx, session->remote, cereus_slice_str(route), body);
    if (crs_session_is_local(session)) {
        crs_agent *agent = session->ended ? NULL : crs_session_agent(session);
        return agent ? crs_agent_push(agent, cereus_slice_str(route), body)
                     : crs_ctx_error(ctx, CEREUS_E_GONE, "PIT-499", "broken low-level pipe");
    }
    crs_frame frame;
    CEREUS_TRY(crs_frontend_make_push(d->frontend, cereus_slice_str(route), body, &frame));
    cereus_status st = crs_push_send_away(home_of_session(session), &frame, &session->id, 1);
    frame.buf = crs_buf_unref(frame.buf);
    return st;
}

static cereus_status close_agent(crs_agent *agent, void *arg)
{
    if (!agent || agent->state == CRS_AGENT_CLOSED)
        return CEREUS_E_GONE;
    crs_agent_close(agent, *(crs_close_reason *)arg);
    return CEREUS_OK;
}

cereus_status cereus_session_kick(cereus_ctx *ctx, cereus_session *session)
{
    crs_close_reason reason = CRS_CLOSE_KICKED;
    if (session->remote)
        return ctx->dispatch->core->cluster->kick(ctx, session->remote);
    return on_session(ctx, session, close_agent, &reason);
}

cereus_status cereus_session_close(cereus_ctx *ctx, cereus_session *session)
{
    crs_close_reason reason = CRS_CLOSE_CLOSED;
    if (session->remote) /* F-05: Pitaya does nothing here but spoil its count */
        return not_on_backend(ctx, "a backend cannot close a session, kick it");
    return on_session(ctx, session, close_agent, &reason);
}

static cereus_status add_close_hook(crs_agent *agent, void *arg)
{
    if (!agent || agent->state == CRS_AGENT_CLOSED)
        return CEREUS_E_GONE;
    crs_close_hook *hook = crs_malloc(sizeof *hook);
    if (!hook)
        return CEREUS_E_NOMEM;
    *hook = *(crs_close_hook *)arg;
    hook->next = NULL;
    crs_close_hook **last = &agent->closing;
    while (*last)
        last = &(*last)->next;
    *last = hook;
    return CEREUS_OK;
}

cereus_status cereus_session_on_close(cereus_ctx *ctx, cereus_session *session, cereus_session_close_fn *fn, void *user)
{
    crs_close_hook hook = {.fn = (void (*)(void))fn, .user = user};
    if (session->remote)
        return not_on_backend(ctx, "onclose callbacks are not allowed on backend servers");
    return on_session(ctx, session, add_close_hook, &hook);
}

/* ---- data ---- */

/** The session's data, made when it is first needed: Pitaya stores `ipversion` at the handshake. */
static json_t *data_of(crs_agent *agent)
{
    if (!agent->data && !(agent->data = crs_zalloc(sizeof *agent->data)))
        return NULL;
    crs_agent_data *data = agent->data;
    if (!data->json && (data->json = json_object()) && agent->handshake)
        json_object_set_new(data->json, "ipversion", json_string(agent->peer.ipv6 ? "ipv6" : "ipv4"));
    return data->json;
}

static void data_changed(crs_agent *agent)
{
    crs_free(agent->data->text);
    agent->data->text = NULL;
}

cereus_slice crs_session_data_text(crs_agent *agent)
{
    if (!agent->data)
        return cereus_slice_str(!agent->handshake  ? "{}"
                                : agent->peer.ipv6 ? "{\"ipversion\":\"ipv6\"}"
                                                   : "{\"ipversion\":\"ipv4\"}");
    crs_agent_data *data = agent->data;
    if (!data->text) {
        crs_bytes text;
        crs_bytes_init(&text, CRS_PACKET_BODY_MAX);
        if (crs_json_text(data->json, &text) == CEREUS_OK && crs_bytes_append_byte(&text, '\0') == CEREUS_OK)
            data->text = (char *)text.data; /* taken over */
        else
            crs_bytes_fini(&text);
    }
    return cereus_slice_str(data->text ? data->text : "{}");
}

/** Ownership: takes @p object on success. */
static cereus_status set_data(crs_agent *agent, json_t *object)
{
    if (!data_of(agent))
        return CEREUS_E_NOMEM;
    json_decref(agent->data->json);
    agent->data->json = object;
    data_changed(agent);
    return CEREUS_OK;
}

json_t *crs_remote_data(crs_remote_session *s)
{
    json_error_t err;
    if (!s->data && s->text.len)
        s->data = crs_json_parse_as_go(s->text, 0, &err);
    if (!json_is_object(s->data)) { /* null, or nothing */
        json_decref(s->data);
        s->data = json_object();
    }
    return s->data;
}

typedef struct data_access {
    const char *key;
    json_t *value; /* in: given away on success. out: a copy */
} data_access;

static cereus_status set_value(crs_agent *agent, void *arg)
{
    data_access *a = arg;
    if (!agent)
        return CEREUS_E_GONE;
    json_t *data = data_of(agent);
    if (!data)
        return CEREUS_E_NOMEM;
    json_t *value = a->value;
    data_changed(agent);
    a->value = NULL; /* moved, not shared: a value is one loop's at a time */
    return json_object_set_new(data, a->key, value) == 0 ? CEREUS_OK : CEREUS_E_NOMEM;
}

static cereus_status get_value(crs_agent *agent, void *arg)
{
    data_access *a = arg;
    if (!agent)
        return CEREUS_E_GONE;
    a->value = json_deep_copy(a->key ? json_object_get(data_of(agent), a->key) : data_of(agent));
    return CEREUS_OK;
}

static cereus_status remove_value(crs_agent *agent, void *arg)
{
    data_access *a = arg;
    if (!agent)
        return CEREUS_E_GONE;
    if (!data_of(agent))
        return CEREUS_E_NOMEM;
    json_object_del(agent->data->json, a->key);
    data_changed(agent);
    return CEREUS_OK;
}

static cereus_status replace_data(crs_agent *agent, void *arg)
{
    data_access *a = arg;
    if (!agent)
        return CEREUS_E_GONE;
    CEREUS_TRY(set_data(agent, a->value));
    a->value = NULL; /* moved */
    return CEREUS_OK;
}

cereus_status cereus_session_set(cereus_ctx *ctx, cereus_session *session, const char *key, struct json_t *value)
{
    if (!value)
        return CEREUS_E_INVALID;
    /* a copy: the game may go on using what it holds of the value, on its own thread */
    data_access a = {.key = key, .value = json_deep_copy(value)};
    json_decref(value);
    if (session->remote) {
        json_t *data = crs_remote_data(session->remote);
        return data && a.value && json_object_set_new(data, key, a.value) == 0 ? CEREUS_OK : CEREUS_E_NOMEM;
    }
    cereus_status st = a.value ? on_session(ctx, session, set_value, &a) : CEREUS_E_NOMEM;
    json_decref(a.value);
    return st;
}

struct json_t *cereus_session_get(cereus_ctx *ctx, cereus_session *session, const char *key)
{
    data_access a = {.key = key};
    if (session->remote) {
        json_t *data = crs_remote_data(session->remote);
        return cereus_ctx_keep(ctx, json_deep_copy(key ? json_object_get(data, key) : data));
    }
    if (on_session(ctx, session, get_value, &a) != CEREUS_OK)
        return NULL;
    return cereus_ctx_keep(ctx, a.value);
}

const struct json_t *cereus_session_peek(const cereus_session *session, const char *key)
{
    const crs_agent *agent = session->remote ? NULL : crs_session_agent(session);
    const json_t *data = agent && agent->data ? agent->data->json : NULL;
    if (session->remote)
        data = crs_remote_data(session->remote);
    return key ? json_object_get(data, key) : data;
}

struct json_t *cereus_session_data(cereus_ctx *ctx, cereus_session *session)
{
    return cereus_session_get(ctx, session, NULL);
}

int64_t cereus_session_get_int(cereus_ctx *ctx, cereus_session *session, const char *key)
{
    const json_t *v = cereus_session_get(ctx, session, key);
    if (json_is_real(v)) {
        double d = json_real_value(v);
        return d >= -0x1p63 && d < 0x1p63 ? (int64_t)d : 0;
    }
    return json_integer_value(v);
}

double cereus_session_get_double(cereus_ctx *ctx, cereus_session *session, const char *key)
{
    return json_number_value(cereus_session_get(ctx, session, key));
}

const char *cereus_session_get_text(cereus_ctx *ctx, cereus_session *session, const char *key)
{
    const char *text = json_string_value(cereus_session_get(ctx, session, key));
    return text ? text : "";
}

cereus_status cereus_session_remove(cereus_ctx *ctx, cereus_session *session, const char *key)
{
    data_access a = {.key = key};
    if (session->remote) {
        json_object_del(crs_remote_data(session->remote), key);
        return CEREUS_OK;
    }
    return on_session(ctx, session, remove_value, &a);
}

cereus_status cereus_session_set_data(cereus_ctx *ctx, cereus_session *session, struct json_t *object)
{
    data_access a = {.value = json_deep_copy(object)};
    cereus_status st = json_is_object(object) ? CEREUS_OK : CEREUS_E_INVALID;
    json_decref(object);
    if (!st && session->remote && a.value) {
        json_decref(session->remote->data);
        session->remote->data = a.value;
        return CEREUS_OK;
    }
    if (!st)
        st = a.value ? on_session(ctx, session, replace_data, &a) : CEREUS_E_NOMEM;
    json_decref(a.value);
    return st;
}

static cereus_status get_handshake(crs_agent *agent, void *arg)
{
    data_access *a = arg;
    crs_handshake hs;
    if (!agent || !crs_agent_handshake(agent, &hs))
        return CEREUS_E_GONE;
    crs_bytes text;
    crs_bytes_init(&text, CRS_HANDSHAKE_TEXT_MAX);
    cereus_status st = crs_handshake_print(&hs, &text);
    json_error_t err;
    if (!st && !(a->value = crs_json_parse(crs_bytes_slice(&text), 0, &err)))
        st = CEREUS_E_NOMEM; /* it was JSON when the client came */
    crs_bytes_fini(&text);
    return st;
}

struct json_t *cereus_session_handshake(cereus_ctx *ctx, cereus_session *session)
{
    data_access a = {0};
    if (session->remote)
        return NULL;
    if (on_session(ctx, session, get_handshake, &a) != CEREUS_OK)
        return NULL;
    return cereus_ctx_keep(ctx, a.value);
}
