/* cluster/served.c: requests of other servers: looked at, put in their lane, run by dispatch, answered. One block holds all of
 * a request: the bytes as they came, and the views of them that handlers see.
 *
 * What cannot be run is answered here, in Pitaya's words (cluster-protocol.md 3 to 6); what is no request at all is dropped and
 * counted.
 */
#include <stdio.h>

#include "base/utf8.h"
#include "cluster/cluster_priv.h"
#include "wire/json_scan.h"

typedef struct served {
    crs_serving serving;
    crs_cluster_loop *l; /* where it came in */
    crs_remote_session session;
    crs_bytes response;
    cereus_slice reply_to;
    struct served *next; /* in the lane */
    struct lane *lane;   /* NULL: in none */
    bool notify;
    bool cereus; /* the caller is one of ours */
    bool hears;  /* it takes pushes ahead of the answer */
    bool lost;   /* there was no memory for an answer */
    uint8_t bytes[];
} served;

/** Of one session of one frontend: what is running, and what waits for it. */
typedef struct lane {
    served *head, *tail; /* those that wait */
    size_t count;
    bool running;
    size_t key_len;
    uint8_t key[];
} lane;

static void begin(served *s);

/* ---- answering ---- */

/** An answer that cannot be sent is an error, and not the empty answer that no bytes at all would be. */
static void encode_response(served *s, const crs_response *res)
{
    s->response.len = 0;
    cereus_status st = crs_response_encode(res, &s->response);
    if (st == CEREUS_E_TOO_LONG || st == CEREUS_E_INVALID) {
        const char *why =
            st == CEREUS_E_INVALID ? "the text of the error is not UTF-8" : "the reply is longer than servers may send";
        crs_response instead = {.failed = true, .extension = res->extension};
        instead.error.code = cereus_slice_str("PIT-500");
        instead.error.msg = cereus_slice_str(why);
        if (st == CEREUS_E_INVALID && crs_utf8_valid(res->error.code))
            instead.error.code = res->error.code;
        st = crs_response_encode(&instead, &s->response);
    }
    s->lost = st; /* out of memory: the caller's deadline ends it */
}

static void encode_failure(served *s, const crs_error_view *e)
{
    crs_response res = {.failed = true, .extension = s->cereus ? CRS_PEER_IS_CEREUS : 0};
    res.error.code = e->code;
    res.error.msg = e->msg;
    res.error.pair_count = CRS_MIN(e->meta_count, (size_t)CRS_ERROR_PAIRS_MAX);
    for (size_t i = 0; i < res.error.pair_count; i++) {
        res.error.keys[i] = e->meta_keys[i];
        res.error.values[i] = e->meta_values[i];
    }
    encode_response(s, &res);
}

/** Thread: the home's. */
static void encode(crs_serving *serving, cereus_ctx *ctx, cereus_status st, cereus_slice body)
{
    served *s = CRS_CONTAINER(serving, served, serving);
    if (st) {
        crs_error_view e = crs_ctx_error_view(ctx, st);
        encode_failure(s, &e);
        return;
    }
    crs_response res = {.data = s->notify ? cereus_slice_str("ack") : body,
                        .extension = s->cereus ? CRS_PEER_IS_CEREUS : 0};
    encode_response(s, &res);
}

static void free_served(served *s)
{
    crs_bytes_fini(&s->response);
    crs_free(s);
}

static void leave_lane(served *s)
{
    lane *ln = s->lane;
    if (!ln)
        return;
    served *next = ln->head;
    if (next) {
        ln->head = next->next;
        if (!ln->head)
            ln->tail = NULL;
        ln->count--;
        begin(next);
        return;
    }
    crs_strmap_del(&s->l->lanes, cereus_slice_of(ln->key, ln->key_len));
    crs_free(ln);
}

/** Thread: where it came in. */
static void done(crs_serving *serving)
{
    served *s = CRS_CONTAINER(serving, served, serving);
    crs_cluster_loop *l = s->l;
    if (s->lost)
        CRS_COUNT(&l->d->loop->counters, rpc_replies_lost);
    else
        crs_rpc_reply(l->link, s->reply_to, crs_bytes_slice(&s->response));
    l->serving--;
    leave_lane(s);
    free_served(s);
}

static void refuse_with(served *s, const crs_error_view *e)
{
    CRS_COUNT(&s->l->d->loop->counters, rpc_refused);
    encode_failure(s, e);
    done(&s->serving);
}

static void refuse(served *s, const char *code, const char *text)
{
    crs_error_view e = {.code = cereus_slice_str(code), .msg = cereus_slice_str(text)};
    refuse_with(s, &e);
}

static void refuse_route(served *s, const char *code, const char *text, cereus_slice route)
{
    cereus_slice key = cereus_slice_str("route");
    crs_error_view e = {.code = cereus_slice_str(code),
                        .msg = cereus_slice_str(text),
                        .meta_keys = &key,
                        .meta_values = &route,
                        .meta_count = 1};
    refuse_with(s, &e);
}

static void begin(served *s)
{
    if (crs_serve(&s->serving) == CEREUS_OK)
        return;
    refuse(s, "PIT-500", "the server is overloaded");
}

/* ---- lanes ---- */

static lane *find_lane(crs_cluster_loop *l, const crs_request *req)
{
    uint8_t key[CRS_SERVER_NAME_MAX + sizeof req->session_id];
    size_t len = CRS_MIN(req->frontend_id.len, (size_t)CRS_SERVER_NAME_MAX);
    if (len)
        memcpy(key, req->frontend_id.data, len);
    memcpy(key + len, &req->session_id, sizeof req->session_id);
    len += sizeof req->session_id;
    lane *ln = crs_strmap_get(&l->lanes, cereus_slice_of(key, len));
    if (ln)
        return ln;
    if (!(ln = crs_zalloc(sizeof *ln + len)))
        return NULL;
    memcpy(ln->key, key, ln->key_len = len);
    if (crs_strmap_put(&l->lanes, cereus_slice_of(key, len), ln, NULL) == CEREUS_OK)
        return ln;
    crs_free(ln);
    return NULL;
}

/** Run @p s behind what its session has here already. */
static void begin_in_order(served *s, const crs_request *req)
{
    crs_cluster_loop *l = s->l;
    lane *ln = find_lane(l, req);
    if (!ln) {
        refuse(s, "PIT-500", "out of memory");
        return;
    }
    if (!ln->running) {
        ln->running = true;
        s->lane = ln;
        begin(s);
        return;
    }
    if (ln->count >= l->cluster->opt.lane_max) {
        refuse(s, "PIT-500", "too many messages of this session wait");
        return;
    }
    s->lane = ln;
    if (ln->tail)
        ln->tail->next = s;
    else
        ln->head = s;
    ln->tail = s;
    ln->count++;
}

/* ---- finding what is called ---- */

/** "service.method" of a route with two or three parts, none of them blank. */
static bool short_route(cereus_slice route, cereus_slice *ret_short)
{
    size_t parts = 1, begin_at = 0;
    bool blank = true;
    for (size_t i = 0; i < route.len; i++) {
        if (route.data[i] == '.') {
            if (blank)
                return false;
            if (parts++ == 1)
                begin_at = i + 1;
            blank = true;
        } else if (route.data[i] > ' ') {
            blank = false;
        }
    }
    if (blank || parts < 2 || parts > 3)
        return false;
    *ret_short = parts == 3 ? cereus_slice_of(route.data + begin_at, route.len - begin_at) : route;
    return true;
}

static bool is_object(cereus_slice json)
{
    crs_json_scan s = {.at = json.data, .end = json.data + json.len};
    if (!crs_json_skip_space(&s) || *s.at != '{')
        return false;
    return crs_json_skip_value(&s, CRS_JSON_DEPTH_MAX, false) && !crs_json_skip_space(&s);
}

static void serve_message(served *s, const crs_request *req, cereus_slice name)
{
    crs_core *core = s->l->d->core;
    const crs_method *method = crs_registry_find(&core->registry, name);
    s->notify = req->msg_type == 1;
    if (!method) {
        char text[100 + 2 * CRS_SERVER_NAME_MAX];
        snprintf(text, sizeof text, "pitaya/handler: %.*s not found",
                 (int)CRS_MIN(req->route.len, (size_t)2 * CRS_SERVER_NAME_MAX), (const char *)req->route.data);
        refuse(s, "PIT-404", text);
        return;
    }
    if (!s->notify && method->decl.out == CEREUS_NOTHING) {
        refuse(s, "PIT-400", "tried to request a notify route");
        return;
    }
    bool null = req->session_data.len == 4 && memcmp(req->session_data.data, "null", 4) == 0;
    if (req->session_data.len && !null && !is_object(req->session_data)) {
        refuse(s, "PIT-500", "the session data are no JSON object");
        return;
    }
    s->serving.method = method;
    s->serving.answer = !s->notify;
    s->serving.session = &s->session;
    s->session.id = req->session_id;
    if (!null)
        s->session.text = req->session_data;
    bool ordered = (req->extension & CRS_PEER_IN_ORDER) && !(method->decl.flags & CEREUS_CONCURRENT);
    if (ordered)
        begin_in_order(s, req);
    else
        begin(s);
}

static void serve_call(served *s, cereus_slice name)
{
    const crs_method *method = crs_registry_find(&s->l->d->core->remotes, name);
    if (!method) {
        refuse_route(s, "PIT-404", "route not found", name);
        return;
    }
    s->serving.method = method;
    s->serving.answer = method->decl.out != CEREUS_NOTHING;
    begin(s);
}

static bool has_nul(cereus_slice text)
{
    return text.len && memchr(text.data, '\0', text.len);
}

static const char *keep_text(uint8_t **at, cereus_slice text)
{
    char *copy = (char *)*at;
    if (text.len)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    *at += text.len + 1;
    return copy;
}

static void on_request(void *user, crs_rpc_link *link, cereus_slice bytes, cereus_slice reply_to)
{
    CRS_UNUSED(link);
    crs_cluster_loop *l = user;
    crs_loop *loop = l->d->loop;
    crs_request req;
    served *s = crs_malloc(sizeof *s + 2 * bytes.len + reply_to.len + 2); /* its texts once more, with their NULs */
    CRS_COUNT(&loop->counters, rpc_served);
    if (!s) {
        CRS_COUNT(&loop->counters, rpc_garbage);
        return;
    }
    uint8_t *at = s->bytes + bytes.len + reply_to.len;
    if (bytes.len)
        memcpy(s->bytes, bytes.data, bytes.len);
    if (crs_request_decode(cereus_slice_of(s->bytes, bytes.len), &req) != CEREUS_OK || !req.has_msg) {
        crs_rpc_garbage(loop, "a request"); /* as by Pitaya: whom should one answer? */
        crs_free(s);
        return;
    }
    if (reply_to.len)
        memcpy(s->bytes + bytes.len, reply_to.data, reply_to.len);
    s->serving = (crs_serving){.origin = l->d,
                               .body = req.body,
                               .metadata = req.metadata,
                               .sent_route = req.route,
                               .encode = encode,
                               .done = done,
                               .deadline_us = UINT64_MAX};
    s->l = l;
    s->session = (crs_remote_session){.uid = keep_text(&at, req.uid), .frontend_id = keep_text(&at, req.frontend_id)};
    crs_bytes_init(&s->response, CRS_PACKET_BODY_MAX + (1 << 20));
    s->reply_to = cereus_slice_of(s->bytes + bytes.len, reply_to.len);
    s->next = NULL;
    s->lane = NULL;
    s->notify = s->lost = false;
    s->cereus = req.extension & CRS_PEER_IS_CEREUS;
    s->hears = s->cereus && (req.extension & CRS_PEER_HEARS) && reply_to.len;
    l->serving++;
    if (s->cereus)
        crs_cluster_learn(l, s->session.frontend_id, req.extension);

    uint64_t timeout_ms;
    cereus_slice name;
    const char *wrong = crs_meta_check(req.metadata, &timeout_ms);
    if (l->refusing)
        refuse(s, "PIT-500", "the server is stopping");
    else if (l->serving > l->cluster->opt.requests_max)
        refuse(s, "PIT-500", "the server is overloaded");
    else if (wrong)
        refuse(s, "PIT-500", wrong);
    else if (has_nul(req.uid) || has_nul(req.frontend_id))
        refuse(s, "PIT-500", "a uid or a server's id has a NUL");
    else if (!short_route(req.route, &name))
        refuse_route(s, "PIT-400", "cannot decode route", req.route);
    else {
        if (timeout_ms != UINT64_MAX && timeout_ms < UINT32_MAX)
            s->serving.deadline_us = loop->now_us + (timeout_ms + CRS_GRACE_MS) * 1000;
        if (req.type == CRS_RPC_SYS)
            serve_message(s, &req, name);
        else if (req.type == CRS_RPC_USER)
            serve_call(s, name);
        else
            refuse_route(s, "PIT-400", "invalid rpc type", req.route);
    }
}

/* ---- what is for the session, ahead of the answer ---- */

typedef struct ahead {
    crs_mail mail;
    served *s; /* its end comes by a later mail from the same loop */
    size_t len;
    uint8_t bytes[];
} ahead;

static void send_from_here(crs_loop *loop, crs_mail *mail)
{
    ahead *a = CRS_CONTAINER(mail, ahead, mail);
    if (crs_rpc_send_ahead(a->s->l->link, a->s->reply_to, cereus_slice_of(a->bytes, a->len)))
        CRS_COUNT(&loop->counters, pushes_lost);
    crs_free(a);
}

bool crs_cluster_hears(const crs_remote_session *session)
{
    return CRS_CONTAINER(session, const served, session)->hears;
}

cereus_status crs_cluster_send_ahead(crs_dispatch *d, crs_remote_session *session, cereus_slice bytes)
{
    served *s = CRS_CONTAINER(session, served, session);
    if (d == s->l->d)
        return crs_rpc_send_ahead(s->l->link, s->reply_to, bytes);
    ahead *a = crs_malloc(sizeof *a + bytes.len);
    if (!a)
        return CEREUS_E_NOMEM;
    *a = (ahead){.mail = {.run = send_from_here}, .s = s, .len = bytes.len};
    memcpy(a->bytes, bytes.data, bytes.len);
    cereus_status st = crs_loop_post(s->l->d->loop, &a->mail);
    if (st)
        crs_free(a);
    return st;
}

/* ---- pushes, kicks and binds of others ---- */

static void on_push(void *user, cereus_slice route, cereus_slice data, const cereus_slice *uids, size_t count)
{
    crs_cluster_push_here(user, route, data, uids, count);
}

static void on_kick(void *user, cereus_slice uid)
{
    crs_cluster_bound_there(user, uid, UINT64_MAX);
}

static void on_bound(void *user, const crs_bind_msg *bind)
{
    crs_cluster_loop *l = user;
    const char *own_id = crs_server_view(l->cluster->self)->id;
    if (!l->cluster->opt.unique || !l->d->core->is_frontend ||
        crs_slice_eq(bind->frontend_id, cereus_slice_str(own_id)))
        return;
    /* of two in the same moment the same one stays, whichever server decides */
    bool yields =
        bind->frontend_id.len > 0 && strncmp(own_id, (const char *)bind->frontend_id.data, bind->frontend_id.len) < 0;
    /* a server of Pitaya does not say when: whatever is here is older */
    crs_cluster_bound_there(l, bind->uid, bind->at_us ? bind->at_us + yields : UINT64_MAX);
}

static const cereus_server *find(void *user, const char *id)
{
    const crs_server *s = crs_servers_by_id(((crs_cluster_loop *)user)->servers, cereus_slice_str(id));
    return s ? crs_server_view(s) : NULL;
}

static bool is_cereus(void *user, const char *server_id)
{
    return crs_cluster_capable(user, server_id);
}

const crs_rpc_events crs_cluster_events = {.on_request = on_request,
                                           .on_push = on_push,
                                           .on_kick = on_kick,
                                           .on_bound = on_bound,
                                           .find = find,
                                           .is_cereus = is_cereus};
