/* session/agent.c: the state machine of one connection. See client-protocol.md 3 to 6, and 22 for what is mended. */
#include "session/agent.h"

#include <jansson.h>

static crs_input on_packet(void *owner, crs_packet_type type, uint8_t *body, size_t len);
static void on_refused(void *owner, crs_packet_type type, uint8_t *body, size_t len, const crs_refusal *refusal);
static void on_blocked(void *owner);
static void on_drained(void *owner);
static void on_end(void *owner, crs_conn_end why);
static void on_timer(crs_timer *timer);

static const crs_conn_ops conn_ops = {
    .on_packet = on_packet,
    .on_refused = on_refused,
    .on_blocked = on_blocked,
    .on_drained = on_drained,
    .on_end = on_end,
};

enum { HANDSHAKE_MEMORY_MAX = 1 << 20 }; /* for parsing one */

struct crs_frontend {
    crs_loop *loop;
    crs_frontend_options opt;
    crs_session_table sessions;
    bool deaf; /* what was received is the last that is heard */
    crs_zlib *zlib;
    crs_arena arena;                     /* for parsing a handshake */
    crs_bytes inflated;                  /* the body of the message being handled */
    crs_bytes deflated;                  /* the body of the message being sent */
    crs_bytes answer_ok, answer_refused; /* handshake answers, built once */
    crs_bytes answer_plain;              /* answer_ok, never compressed */
};

static const char *const reason_texts[] = {
#define X(name, counter, text) text,
#include "session/close_reasons.def"
#undef X
};

const char *crs_close_reason_text(crs_close_reason reason)
{
    return reason_texts[reason];
}

static void count_reason(crs_counters *counters, crs_close_reason reason)
{
    enum { CRS_COUNTER_NONE = CRS_COUNTER_COUNT };
    static const int of[] = {
#define X(name, counter, text) CRS_COUNTER_##counter,
#include "session/close_reasons.def"
#undef X
    };
    if (of[reason] != CRS_COUNTER_NONE)
        crs_count_one(counters, (crs_counter)of[reason]);
}

/* ---- the agents of one loop ---- */

cereus_status crs_frontend_new(crs_loop *loop, const crs_frontend_options *opt, crs_frontend **ret_frontend,
                               cereus_error *err)
{
    crs_frontend *fe = crs_zalloc(sizeof *fe);
    if (!fe)
        return crs_fail(err, CEREUS_E_NOMEM, "frontend: out of memory");
    fe->loop = loop;
    fe->opt = *opt;
    crs_session_table_init(&fe->sessions, loop->index, opt->sessions_max);
    crs_arena_init(&fe->arena, HANDSHAKE_MEMORY_MAX);
    crs_bytes_init(&fe->inflated, opt->inflate_max);
    crs_bytes_init(&fe->deflated, CRS_PACKET_BODY_MAX);
    crs_bytes_init(&fe->answer_ok, CRS_PACKET_BODY_MAX);
    crs_bytes_init(&fe->answer_refused, CRS_PACKET_BODY_MAX);
    crs_bytes_init(&fe->answer_plain, CRS_PACKET_BODY_MAX);
    fe->zlib = crs_zlib_new(opt->compress_level);
    crs_zlib *z = opt->compress ? fe->zlib : NULL;
    cereus_status st = fe->zlib ? CEREUS_OK : CEREUS_E_NOMEM;
    if (!st)
        st = crs_handshake_answer(200, opt->dict, opt->heartbeat_ms, opt->serializer, z, &fe->answer_ok);
    if (!st)
        st = crs_handshake_answer(200, opt->dict, opt->heartbeat_ms, opt->serializer, NULL, &fe->answer_plain);
    if (!st)
        st = crs_handshake_answer(400, opt->dict, opt->heartbeat_ms, opt->serializer, z, &fe->answer_refused);
    if (st) {
        crs_frontend_free(fe);
        return crs_fail(err, st, "handshake answer: %s", cereus_status_text(st));
    }
    *ret_frontend = fe;
    return CEREUS_OK;
}

crs_frontend *crs_frontend_free(crs_frontend *fe)
{
    if (!fe)
        return NULL;
    CRS_ASSERT(atomic_load(&fe->sessions.count) == 0);
    crs_session_table_fini(&fe->sessions);
    fe->zlib = crs_zlib_free(fe->zlib);
    crs_arena_fini(&fe->arena);
    crs_bytes_fini(&fe->inflated);
    crs_bytes_fini(&fe->deflated);
    crs_bytes_fini(&fe->answer_ok);
    crs_bytes_fini(&fe->answer_refused);
    crs_bytes_fini(&fe->answer_plain);
    crs_free(fe);
    return NULL;
}

void *crs_frontend_user(const crs_frontend *fe)
{
    return fe->opt.user;
}

crs_loop *crs_frontend_loop(const crs_frontend *fe)
{
    return fe->loop;
}

const crs_frontend_options *crs_frontend_opt(const crs_frontend *fe)
{
    return &fe->opt;
}

crs_session_table *crs_frontend_sessions(crs_frontend *fe)
{
    return &fe->sessions;
}

void crs_frontend_stop_reading(crs_frontend *fe)
{
    fe->deaf = true;
    for (uint32_t i = 0; i < fe->sessions.used; i++) {
        crs_agent *agent = fe->sessions.slots[i].agent;
        if (agent)
            crs_conn_pause(agent->conn);
    }
}

void crs_frontend_close_all(crs_frontend *fe, crs_close_reason reason)
{
    for (uint32_t i = 0; i < fe->sessions.used; i++) {
        if (fe->sessions.slots[i].agent)
            crs_agent_close(fe->sessions.slots[i].agent, reason);
    }
}

/* ---- life ---- */

/** Set the one timer to what is next: heartbeat, handshake deadline, write timeout. */
static bool arm(crs_agent *agent)
{
    crs_frontend *fe = agent->frontend;
    uint64_t due = CRS_MIN(agent->tick_ms, agent->deadline_ms);
    uint64_t stalled = crs_conn_stalled_ms(agent->conn);
    if (stalled || crs_conn_out_len(agent->conn)) {
        uint64_t write_due =
            fe->loop->now_ms + (fe->opt.write_timeout_ms > stalled ? fe->opt.write_timeout_ms - stalled : 0);
        due = CRS_MIN(due, write_due);
    }
    return crs_loop_timer_start_at(fe->loop, &agent->timer, due) == CEREUS_OK;
}

void crs_frontend_on_open(crs_conn *conn, void *frontend)
{
    crs_frontend *fe = frontend;
    crs_agent *agent = crs_zalloc(sizeof *agent);
    if (!agent || crs_session_table_add(&fe->sessions, agent, &agent->id) != CEREUS_OK) {
        CRS_COUNT(&fe->loop->counters, connections_refused);
        crs_free(agent);
        crs_conn_close(conn, false);
        return;
    }
    agent->frontend = fe;
    agent->conn = conn;
    agent->peer = *crs_conn_peer(conn);
    agent->last_seen_s = (uint32_t)(crs_loop_unix_ms(fe->loop) / 1000);
    agent->tick_ms = fe->loop->now_ms + fe->opt.heartbeat_ms;
    agent->deadline_ms = fe->loop->now_ms + fe->opt.handshake_timeout_ms;
    crs_timer_init(&agent->timer, on_timer);
    crs_conn_set_owner(conn, &conn_ops, agent);
    CRS_COUNT(&fe->loop->counters, sessions_opened);
    if (!arm(agent))
        crs_agent_close(agent, CRS_CLOSE_NO_MEMORY);
}

void crs_agent_free(crs_agent *agent)
{
    CRS_ASSERT(agent->state == CRS_AGENT_CLOSED && !agent->lane);
    if (agent->pins) {
        agent->freeing = true;
        return;
    }
    while (agent->closing) {
        crs_close_hook *next = agent->closing->next;
        crs_free(agent->closing);
        agent->closing = next;
    }
    if (agent->data) {
        json_decref(agent->data->json);
        crs_free(agent->data->text);
    }
    crs_free(agent->data);
    crs_free(agent->uid);
    crs_free(agent->handshake);
    crs_free(agent);
}

void crs_agent_unpin(crs_agent *agent)
{
    if (--agent->pins == 0 && agent->freeing)
        crs_agent_free(agent);
}

/** Everything that ends a session comes through here, once. @p flush NULL conn: the connection has ended already. */
static void finish(crs_agent *agent, crs_close_reason reason)
{
    crs_frontend *fe = agent->frontend;
    agent->state = CRS_AGENT_CLOSED;
    agent->reason = (uint8_t)reason;
    agent->conn = NULL;
    crs_loop_timer_stop(fe->loop, &agent->timer);
    crs_session_table_remove(&fe->sessions, agent->id);
    if (agent->uid)
        crs_uid_release(fe->opt.uids, cereus_slice_str(agent->uid), agent->id);
    count_reason(&fe->loop->counters, reason);
    CRS_COUNT(&fe->loop->counters, sessions_closed);
    crs_log_debug(fe->loop->log, "session closed", CRS_STR("reason", crs_close_reason_text(reason)),
                  CRS_STR("uid", agent->uid ? agent->uid : ""),
                  CRS_STR("peer", crs_peer_text(&agent->peer, (char[CRS_PEER_TEXT_MAX]){0})));
    fe->opt.ops->on_closed(agent, reason);
}

static const uint8_t heartbeat_packet[] = {CRS_PACKET_HEARTBEAT, 0, 0, 0};
static const uint8_t kick_packet[] = {CRS_PACKET_KICK, 0, 0, 0};

static bool send_bytes(crs_agent *agent, const void *data, size_t len)
{
    uint8_t *room = crs_conn_reserve(agent->conn, len);
    if (!room)
        return false;
    memcpy(room, data, len);
    return true;
}

void crs_agent_close(crs_agent *agent, crs_close_reason reason)
{
    if (agent->state == CRS_AGENT_CLOSED)
        return;
    agent->pins++;
    if (reason == CRS_CLOSE_KICKED && send_bytes(agent, kick_packet, sizeof kick_packet))
        CRS_COUNT(&agent->frontend->loop->counters, kicks);
    if (agent->state != CRS_AGENT_CLOSED) { /* sending may have found out that the peer has gone */
        crs_conn *conn = agent->conn;
        bool flush = reason != CRS_CLOSE_WRITE_TIMEOUT && reason != CRS_CLOSE_OUTBOX_FULL;
        crs_conn_close(conn, flush);
        finish(agent, reason);
    }
    crs_agent_unpin(agent);
}

static void on_end(void *owner, crs_conn_end why)
{
    static const crs_close_reason reasons[] = {
        [CRS_END_PEER] = CRS_CLOSE_CLIENT,
        [CRS_END_ERROR] = CRS_CLOSE_NETWORK,
        [CRS_END_MALFORMED] = CRS_CLOSE_MALFORMED_PACKET,
        [CRS_END_TOO_LONG] = CRS_CLOSE_PACKET_TOO_LONG,
        [CRS_END_REFUSED] = CRS_CLOSE_WRAPPER,
    };
    crs_agent *agent = owner;
    if (agent->state != CRS_AGENT_CLOSED)
        finish(agent, reasons[why]);
}

static void on_timer(crs_timer *timer)
{
    crs_agent *agent = CRS_CONTAINER(timer, crs_agent, timer);
    crs_frontend *fe = agent->frontend;
    uint64_t now = fe->loop->now_ms;
    if (crs_conn_stalled_ms(agent->conn) >= fe->opt.write_timeout_ms) {
        crs_agent_close(agent, CRS_CLOSE_WRITE_TIMEOUT);
        return;
    }
    if (agent->deadline_ms <= now) {
        crs_agent_close(agent, agent->opened ? CRS_CLOSE_BIND_TIMEOUT : CRS_CLOSE_HANDSHAKE_TIMEOUT);
        return;
    }
    if (agent->tick_ms <= now) {
        uint64_t unix_ms = crs_loop_unix_ms(fe->loop);
        if (crs_conn_paused(agent->conn)) /* its heartbeats wait in the kernel: it is us who do not listen */
            agent->last_seen_s = (uint32_t)(unix_ms / 1000);
        /* client-protocol.md 5: whole seconds, so that a client which answers every second heartbeat stays. Seen from when
         * the tick was due: when the loop was held up, what came meanwhile has not been read yet */
        uint64_t due_unix_ms = unix_ms - (now - agent->tick_ms);
        if ((due_unix_ms - 2 * fe->opt.heartbeat_ms) / 1000 > agent->last_seen_s) {
            crs_agent_close(agent, CRS_CLOSE_HEARTBEAT_TIMEOUT);
            return;
        }
        do
            agent->tick_ms += fe->opt.heartbeat_ms;
        while (agent->tick_ms <= now);
        agent->pins++;
        if (crs_conn_stalled_ms(agent->conn) == 0 && send_bytes(agent, heartbeat_packet, sizeof heartbeat_packet))
            CRS_COUNT(&fe->loop->counters, heartbeats_sent);
        bool closed = agent->state == CRS_AGENT_CLOSED;
        crs_agent_unpin(agent);
        if (closed)
            return;
    }
    if (!arm(agent))
        crs_agent_close(agent, CRS_CLOSE_NO_MEMORY);
}

static void on_blocked(void *owner)
{
    crs_agent *agent = owner;
    if (!arm(agent))
        crs_agent_close(agent, CRS_CLOSE_NO_MEMORY);
}

static void on_drained(void *owner)
{
    crs_agent *agent = owner;
    agent->frontend->opt.ops->on_drained(agent);
}

/* ---- input ---- */

static void refuse_handshake(crs_agent *agent)
{
    send_bytes(agent, agent->frontend->answer_refused.data, agent->frontend->answer_refused.len);
    crs_agent_close(agent, CRS_CLOSE_HANDSHAKE_REFUSED);
}

/** Four strings and the text of "user" in one block of their size: it stays as long as the session. */
static char *pack_handshake(const crs_handshake *hs)
{
    const char *texts[] = {hs->platform, hs->lib_version, hs->client_build_number, hs->client_version};
    size_t len = hs->user.len + 1;
    for (size_t i = 0; i < CEREUS_COUNT(texts); i++)
        len += strlen(texts[i]) + 1;
    char *block = crs_malloc(len);
    char *at = block;
    for (size_t i = 0; block && i < CEREUS_COUNT(texts); i++)
        at = stpcpy(at, texts[i]) + 1;
    if (block && hs->user.len)
        memcpy(at, hs->user.data, hs->user.len);
    if (block)
        at[hs->user.len] = '\0';
    return block;
}

bool crs_agent_handshake(const crs_agent *agent, crs_handshake *ret_hs)
{
    const char *at = agent->handshake;
    if (!at)
        return false;
    const char *texts[4];
    for (size_t i = 0; i < CEREUS_COUNT(texts); i++) {
        texts[i] = at;
        at += strlen(at) + 1;
    }
    *ret_hs = (crs_handshake){.platform = texts[0],
                              .lib_version = texts[1],
                              .client_build_number = texts[2],
                              .client_version = texts[3],
                              .user = *at ? cereus_slice_str(at) : (cereus_slice){0},
                              .needs = agent->needs};
    return true;
}

static void on_handshake(crs_agent *agent, cereus_slice body)
{
    crs_frontend *fe = agent->frontend;
    crs_handshake hs;
    crs_arena_reset(&fe->arena);
    cereus_status st = crs_handshake_parse(body, &fe->arena, &hs);
    char *packed = NULL;
    if (!st)
        st = fe->opt.ops->on_handshake(agent, &hs);
    if (st || !(packed = pack_handshake(&hs))) {
        refuse_handshake(agent);
        return;
    }
    crs_free(agent->handshake);
    agent->handshake = packed;
    agent->state = CRS_AGENT_HANDSHAKE;
    agent->needs = (uint8_t)hs.needs;
    const crs_bytes *answer = agent->needs & CRS_NEEDS_PLAIN_BODIES ? &fe->answer_plain : &fe->answer_ok;
    if (!send_bytes(agent, answer->data, answer->len))
        crs_agent_close(agent, CRS_CLOSE_NO_MEMORY);
}

static void on_ack(crs_agent *agent)
{
    if (agent->state == CRS_AGENT_START)
        return; /* Q1: opens nothing, so that no one gets past the validators; data that follows closes */
    agent->state = CRS_AGENT_WORKING;
    if (agent->opened)
        return; /* another handshake gives no more time to bind */
    uint64_t bind_timeout_ms = agent->frontend->opt.bind_timeout_ms;
    agent->opened = true;
    agent->deadline_ms = bind_timeout_ms ? agent->frontend->loop->now_ms + bind_timeout_ms : UINT64_MAX;
    if (bind_timeout_ms && !arm(agent))
        crs_agent_close(agent, CRS_CLOSE_NO_MEMORY);
}

static crs_input on_data(crs_agent *agent, cereus_slice data)
{
    crs_frontend *fe = agent->frontend;
    if (agent->state != CRS_AGENT_WORKING) {
        crs_agent_close(agent, CRS_CLOSE_OUT_OF_STATE);
        return CRS_INPUT_MORE;
    }
    crs_message msg;
    cereus_status st = crs_message_decode(data, fe->opt.dict, &msg);
    if (st ||
        (msg.type != CRS_MESSAGE_REQUEST && msg.type != CRS_MESSAGE_NOTIFY)) { /* Q9: only servers say the others */
        crs_agent_close(agent, CRS_CLOSE_MALFORMED_MESSAGE);
        return CRS_INPUT_MORE;
    }
    if (msg.compressed) {
        fe->inflated.len = 0;
        st = crs_zlib_inflate(fe->zlib, msg.body, &fe->inflated);
        msg.body = crs_bytes_slice(&fe->inflated);
    }
    crs_input more = CRS_INPUT_MORE;
    if (st)
        crs_agent_close(agent, CRS_CLOSE_INFLATE);
    else
        more = fe->opt.ops->on_message(agent, &msg);
    if (fe->inflated.cap > CRS_READ_BUFFER_LEN) /* one large body must not stay with the loop */
        crs_bytes_fini(&fe->inflated);
    return more;
}

static crs_input on_packet(void *owner, crs_packet_type type, uint8_t *body, size_t len)
{
    crs_agent *agent = owner;
    crs_input more = CRS_INPUT_MORE;
    agent->pins++;
    agent->last_seen_s = (uint32_t)(crs_loop_unix_ms(agent->frontend->loop) / 1000);
    switch (type) {
    case CRS_PACKET_DATA:
        more = on_data(agent, cereus_slice_of(body, len));
        break;
    case CRS_PACKET_HANDSHAKE:
        on_handshake(agent, cereus_slice_of(body, len));
        break;
    case CRS_PACKET_HANDSHAKE_ACK:
        on_ack(agent);
        break;
    case CRS_PACKET_HEARTBEAT:
    case CRS_PACKET_KICK: /* from a client it means nothing, but it is a sign of life */
        break;
    }
    crs_agent_unpin(agent);
    return more;
}

/** It was not taken, so it is no sign of life and changes no state; only who waits for an answer hears of it. */
static void on_refused(void *owner, crs_packet_type type, uint8_t *body, size_t len, const crs_refusal *refusal)
{
    crs_agent *agent = owner;
    crs_message msg;
    if (type != CRS_PACKET_DATA || agent->state != CRS_AGENT_WORKING ||
        crs_message_decode(cereus_slice_of(body, len), agent->frontend->opt.dict, &msg) != CEREUS_OK ||
        msg.type != CRS_MESSAGE_REQUEST || msg.id == 0)
        return;
    agent->pins++;
    agent->frontend->opt.ops->on_refused(agent, msg.id, refusal);
    crs_agent_unpin(agent);
}

bool crs_agent_clogged(const crs_agent *agent)
{
    return agent->conn && crs_conn_out_len(agent->conn) > agent->frontend->opt.outbox_max / 2;
}

void crs_agent_resume(crs_agent *agent)
{
    if (agent->conn && !agent->frontend->deaf)
        crs_conn_resume(agent->conn);
}

/* ---- output ---- */

/** Deflate @p body if that is worth it; true: *body is the shorter form now. */
static bool deflate_body(crs_frontend *fe, cereus_slice *body)
{
    if (!fe->opt.compress || body->len < fe->opt.compress_min || body->len > CRS_PACKET_BODY_MAX)
        return false;
    fe->deflated.len = 0;
    if (crs_bytes_reserve(&fe->deflated, body->len) != CEREUS_OK)
        return false;
    size_t n = crs_zlib_deflate(fe->zlib, *body, fe->deflated.data, body->len - 1);
    if (n == 0)
        return false;
    *body = cereus_slice_of(fe->deflated.data, n);
    return true;
}

static void shrink_deflated(crs_frontend *fe)
{
    if (fe->deflated.cap > 4 * CRS_READ_BUFFER_LEN)
        crs_bytes_fini(&fe->deflated);
}

/** Where the bytes of one data packet go. */
typedef uint8_t *room_fn(void *target, size_t packet_len);

static cereus_status write_message(crs_frontend *fe, crs_message *msg, unsigned needs, room_fn *room_of, void *target)
{
    uint8_t head[CRS_MESSAGE_HEAD_MAX];
    size_t head_len;
    const crs_route_dict *dict = needs & CRS_NEEDS_ROUTE_TEXT ? NULL : fe->opt.dict;
    msg->compressed = !(needs & CRS_NEEDS_PLAIN_BODIES) && deflate_body(fe, &msg->body);
    CEREUS_TRY(crs_message_head(msg, dict, head, &head_len));
    uint8_t packet_head[CRS_PACKET_HEAD_LEN];
    CEREUS_TRY(crs_packet_head(CRS_PACKET_DATA, head_len + msg->body.len, packet_head));
    uint8_t *room = room_of(target, CRS_PACKET_HEAD_LEN + head_len + msg->body.len);
    if (!room)
        return CEREUS_E_NOMEM;
    memcpy(room, packet_head, CRS_PACKET_HEAD_LEN);
    memcpy(room + CRS_PACKET_HEAD_LEN, head, head_len);
    if (msg->body.len)
        memcpy(room + CRS_PACKET_HEAD_LEN + head_len, msg->body.data, msg->body.len);
    shrink_deflated(fe);
    return CEREUS_OK;
}

static uint8_t *conn_room(void *target, size_t packet_len)
{
    return crs_conn_reserve(target, packet_len);
}

cereus_status crs_agent_respond(crs_agent *agent, uint64_t id, cereus_slice body, bool error)
{
    if (agent->state == CRS_AGENT_CLOSED)
        return CEREUS_E_GONE;
    crs_message msg = {.type = CRS_MESSAGE_RESPONSE, .id = id, .body = body, .error = error};
    agent->pins++;
    cereus_status st = write_message(agent->frontend, &msg, agent->needs, conn_room, agent->conn);
    if (agent->state == CRS_AGENT_CLOSED)
        st = CEREUS_E_GONE;
    else if (st == CEREUS_E_NOMEM) /* a client must not wait for an answer that never comes */
        crs_agent_close(agent, CRS_CLOSE_NO_MEMORY);
    if (st == CEREUS_OK) {
        CRS_COUNT(&agent->frontend->loop->counters, responses);
        if (error)
            CRS_COUNT(&agent->frontend->loop->counters, errors_sent);
    }
    crs_agent_unpin(agent);
    return st;
}

/** May something that nobody asked for be queued? */
static cereus_status check_outbox(crs_agent *agent)
{
    crs_frontend *fe = agent->frontend;
    if (agent->state == CRS_AGENT_CLOSED)
        return CEREUS_E_GONE;
    if (CRS_LIKELY(crs_conn_out_len(agent->conn) <= fe->opt.outbox_max))
        return CEREUS_OK;
    if (fe->opt.outbox_drop) {
        CRS_COUNT(&fe->loop->counters, outbox_full_drops);
        return CEREUS_E_FULL;
    }
    static crs_log_limiter limiter;
    crs_log_limited(fe->loop->log, CEREUS_LOG_WARN, &limiter, "slow client disconnected",
                    CRS_STR("uid", agent->uid ? agent->uid : ""),
                    CRS_STR("peer", crs_peer_text(&agent->peer, (char[CRS_PEER_TEXT_MAX]){0})),
                    CRS_UINT("queued_bytes", crs_conn_out_len(agent->conn)));
    crs_agent_close(agent, CRS_CLOSE_OUTBOX_FULL);
    return CEREUS_E_GONE;
}

cereus_status crs_agent_push(crs_agent *agent, cereus_slice route, cereus_slice body)
{
    CEREUS_TRY(check_outbox(agent));
    crs_message msg = {.type = CRS_MESSAGE_PUSH, .route = route, .body = body};
    agent->pins++;
    cereus_status st = write_message(agent->frontend, &msg, agent->needs, conn_room, agent->conn);
    if (agent->state == CRS_AGENT_CLOSED)
        st = CEREUS_E_GONE;
    if (st == CEREUS_OK)
        CRS_COUNT(&agent->frontend->loop->counters, pushes);
    crs_agent_unpin(agent);
    return st;
}

static uint8_t *frame_room(void *target, size_t packet_len)
{
    uint8_t *room;
    return crs_frame_new(packet_len, target, &room) == CEREUS_OK ? room : NULL;
}

cereus_status crs_frontend_make_push(crs_frontend *fe, cereus_slice route, cereus_slice body, crs_frame *ret_frame)
{
    crs_message msg = {.type = CRS_MESSAGE_PUSH, .route = route, .body = body};
    return write_message(fe, &msg, 0, frame_room, ret_frame);
}

/** A client that cannot read the frame that the others share gets one of its own. */
static cereus_status push_apart(crs_agent *agent, const crs_frame *frame)
{
    crs_frontend *fe = agent->frontend;
    const uint8_t *packet = frame->buf->data + frame->ws_head;
    size_t len = frame->buf->len - frame->ws_head - CRS_PACKET_HEAD_LEN;
    crs_message msg;
    CEREUS_TRY(crs_message_decode(cereus_slice_of(packet + CRS_PACKET_HEAD_LEN, len), fe->opt.dict, &msg));
    crs_bytes body;
    crs_bytes_init(&body, CRS_PACKET_BODY_MAX);
    cereus_status st = CEREUS_OK;
    if (msg.compressed && !(st = crs_zlib_inflate(fe->zlib, msg.body, &body)))
        msg.body = crs_bytes_slice(&body);
    if (!st)
        st = crs_agent_push(agent, msg.route, msg.body);
    crs_bytes_fini(&body);
    return st;
}

cereus_status crs_agent_push_frame(crs_agent *agent, const crs_frame *frame)
{
    if (CRS_UNLIKELY(agent->needs))
        return push_apart(agent, frame);
    CEREUS_TRY(check_outbox(agent));
    agent->pins++;
    cereus_status st = crs_conn_send_frame(agent->conn, frame);
    if (st == CEREUS_OK)
        CRS_COUNT(&agent->frontend->loop->counters, pushes);
    crs_agent_unpin(agent);
    return st;
}
