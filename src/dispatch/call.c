/* dispatch/call.c: from a decoded message to its answer.
 *
 * The lane of a session is what keeps its messages in order: while one is being handled (`running`), the next ones wait
 * in the agent's list; a route flagged concurrent passes by. The usual case costs no heap: the lane is free, the home
 * is this loop, so a fiber starts on the bytes in the read buffer and has finished when on_message() returns.
 *
 *    on_message ─ lane busy ──────────────> lane list ──┐
 *        │ no fiber ───────────────────> waiting ──┐    │ when the call before has finished
 *        ├─ home here ─> fiber: decode, before, handler, after, encode ─> respond ─> next in lane
 *        └─ home elsewhere ─> mail ─> fiber there ─> mail back ─> respond ─> next in lane
 */
#include "dispatch/remote.h"

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

#include "base/utf8.h"

enum { JSON_DEPTH_MAX = 64 };

/* ---- encoding results ---- */

static cereus_status write_bytes(void *writer, const void *data, size_t len)
{
    return crs_bytes_append(writer, data, len);
}

/** Replace @p out's content by the error payload. Never fails for good: out of memory leaves it empty. */
static void encode_error(crs_core *core, const cereus_ctx *ctx, cereus_status status, crs_bytes *out)
{
    crs_error_view e = crs_ctx_error_view(ctx, status);
    out->len = 0;
    if (core->serializer->encode_error(e.code, e.msg, e.meta_keys, e.meta_values, e.meta_count, write_bytes, out))
        out->len = 0;
}

static bool is_nothing(const cereus_value *v)
{
    switch (v->shape) {
    case CEREUS_RAW:
        return !v->raw.data;
    case CEREUS_MESSAGE:
        return !v->message;
    case CEREUS_JSON:
        return !v->json;
    case CEREUS_NOTHING:
        break;
    }
    return true;
}

/* ---- decoding arguments ---- */

/** What a look at a JSON text tells before jansson, which recurses per level, reads it. */
typedef struct json_size {
    bool too_deep; /* for a fiber's stack */
    size_t memory; /* about what the value will take: small tokens make large nodes, 16 MiB of "[],[]," a gigabyte */
} json_size;

static json_size measure_json(cereus_slice text)
{
    enum { OBJECT = 240, ARRAY = 128, MEMBER = 96, ELEMENT = 56 };
    json_size size = {.memory = text.len};
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            size.memory += c == '{' ? OBJECT : ARRAY;
            if (++depth > JSON_DEPTH_MAX) {
                size.too_deep = true;
                break;
            }
        } else if (c == ']' || c == '}') {
            depth -= depth > 0;
        } else if (c == ',' || c == ':') {
            size.memory += c == ':' ? MEMBER : ELEMENT;
        }
    }
    return size;
}

json_t *crs_json_parse(cereus_slice text, size_t flags, json_error_t *err)
{
    if (measure_json(text).too_deep) {
        *err = (json_error_t){.text = "nested too deep"};
        return NULL;
    }
    json_t *json = json_loadb((const char *)text.data, text.len, flags | JSON_ALLOW_NUL, err);
    if (!json && json_error_code(err) == json_error_numeric_overflow)
        json = json_loadb((const char *)text.data, text.len, flags | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, err);
    return json;
}

/** As Go reads what jansson refuses: bytes that are no UTF-8 and halves of surrogates are U+FFFD. So is an escaped NUL here,
 * which jansson has in no key. */
static bool mend_json(cereus_slice text, crs_bytes *out)
{
    static const uint8_t mark[] = {0xef, 0xbf, 0xbd};
    const uint8_t *at = text.data, *end = at + text.len;
    cereus_status st = CEREUS_OK;
    while (!st && at < end) {
        uint32_t c = ' ';
        size_t len = crs_utf8_char(cereus_slice_of(at, (size_t)(end - at)));
        if (*at == '\\' && end - at > 1) {
            len = 2;
            if (at[1] == 'u')
                len += crs_utf8_escaped(at + 2, end, &c);
        }
        bool bad = len == 0 || c == 0 || c == 0xfffd;
        st = bad ? crs_bytes_append(out, mark, sizeof mark) : crs_bytes_append(out, at, len);
        at += len ? len : 1;
    }
    return !st;
}

json_t *crs_json_parse_as_go(cereus_slice text, size_t flags, json_error_t *err)
{
    json_t *json = crs_json_parse(text, flags, err);
    if (json || measure_json(text).too_deep)
        return json;
    crs_bytes mended;
    crs_bytes_init(&mended, 3 * text.len);
    if (mend_json(text, &mended))
        json = crs_json_parse(crs_bytes_slice(&mended), flags, err);
    crs_bytes_fini(&mended);
    return json;
}

static cereus_status bad_body(cereus_ctx *ctx, cereus_status status, const char *why)
{
    CRS_COUNT(&ctx->dispatch->loop->counters, bad_bodies);
    if (status == CEREUS_E_NOMEM)
        return crs_ctx_error(ctx, status, "PIT-500", "the request needs more memory than cereus.request.memory");
    const char *text = crs_arena_printf(ctx->arena, "%s", why);
    return crs_ctx_error(ctx, CEREUS_E_MALFORMED, "PIT-400", text ? text : "bad body");
}

/** Member by member: as an initialiser, gcc clears the struct with a string instruction that costs more than the rest. */
static void clear_value(cereus_value *v, cereus_shape shape)
{
    v->shape = shape;
    v->raw.data = NULL;
    v->raw.len = 0;
    v->message = NULL;
    v->json = NULL;
}

static cereus_status decode_argument(cereus_ctx *ctx, const cereus_serializer *serializer, const cereus_method *m,
                                     cereus_slice body, cereus_value *ret_in)
{
    clear_value(ret_in, m->in);
    switch (m->in) {
    case CEREUS_NOTHING:
        break;
    case CEREUS_RAW: {
        uint8_t *copy = crs_arena_alloc(ctx->arena, body.len + 1); /* the read buffer is not kept across a wait */
        if (!copy)
            return bad_body(ctx, CEREUS_E_NOMEM, "");
        if (body.len)
            memcpy(copy, body.data, body.len);
        copy[body.len] = '\0';
        ret_in->raw = cereus_slice_of(copy, body.len);
        break;
    }
    case CEREUS_MESSAGE: {
        cereus_error err; /* 500 bytes: not cleared for every message */
        err.msg[0] = '\0';
        cereus_status st = serializer->decode(m->in_type, body, crs_arena_take, ctx->arena, &ret_in->message, &err);
        if (st)
            return bad_body(ctx, st, err.msg);
        break;
    }
    case CEREUS_JSON: {
        json_error_t jerr;
        json_size size = measure_json(body);
        if (!size.too_deep && size.memory > ctx->arena->max) /* the heap's, but bounded like all of the request */
            return bad_body(ctx, CEREUS_E_NOMEM, "");
        json_t *json = crs_json_parse_as_go(body, JSON_DECODE_ANY, &jerr);
        if (!json) {
            char why[JSON_ERROR_TEXT_LENGTH + 40];
            snprintf(why, sizeof why, "json: %s (offset %d)", jerr.text, jerr.position);
            return bad_body(ctx, CEREUS_E_MALFORMED, why);
        }
        ret_in->json = cereus_ctx_keep(ctx, json);
        if (!ret_in->json)
            return bad_body(ctx, CEREUS_E_NOMEM, "");
        break;
    }
    }
    return CEREUS_OK;
}

/* ---- running ---- */

static cereus_status call_function(cereus_ctx *ctx, const cereus_method *m, const cereus_value *in, cereus_value *out)
{
    bool notify = m->out == CEREUS_NOTHING;
    if (m->raw)
        return m->raw(ctx, in->raw, notify ? NULL : &out->raw);
    if (m->json)
        return m->json(ctx, in->json, notify ? NULL : &out->json);
    return m->fn(ctx, in, out, m->user);
}

static cereus_status prepare_result(cereus_ctx *ctx, const cereus_method *m, cereus_value *out)
{
    clear_value(out, m->out);
    if (m->out != CEREUS_MESSAGE)
        return CEREUS_OK;
    out->message = crs_arena_alloc(ctx->arena, m->out_type->sizeof_message);
    if (!out->message)
        return bad_body(ctx, CEREUS_E_NOMEM, "");
    protobuf_c_message_init(m->out_type, out->message);
    return CEREUS_OK;
}

/** What refuses a call of a server has no code of its own, as Pitaya has it. */
static cereus_status hide_code(cereus_ctx *ctx, cereus_status st)
{
    cereus_slice msg = crs_ctx_error_view(ctx, st).msg;
    crs_ctx_error(ctx, st, "PIT-500", "");
    ctx->error_msg = msg;
    return st;
}

cereus_status crs_run_handler(cereus_ctx *ctx, const crs_registry *r, const cereus_serializer *serializer,
                              const crs_method *method, cereus_slice body, cereus_value *out)
{
    const cereus_method *m = &method->decl;
    cereus_value in;
    clear_value(out, CEREUS_NOTHING);
    CEREUS_TRY(decode_argument(ctx, serializer, m, body, &in));
    CEREUS_TRY(prepare_result(ctx, m, out));
    for (const crs_hook *h = r->before; h; h = h->next) {
        cereus_status refused = h->fn.before(ctx, &in, h->user);
        if (refused)
            return r == &ctx->dispatch->core->remotes ? hide_code(ctx, refused) : refused;
    }
    cereus_status st = call_function(ctx, m, &in, out);
    for (const crs_hook *h = r->after; h; h = h->next)
        st = h->fn.after(ctx, out, st, h->user);
    return st;
}

cereus_status crs_encode_result(cereus_ctx *ctx, const cereus_serializer *serializer, const cereus_value *out,
                                crs_bytes *encoded, cereus_slice *ret_body)
{
    cereus_error err;
    err.status = CEREUS_OK;
    if (is_nothing(out))
        return crs_ctx_error(ctx, CEREUS_E_STATE, "PIT-000", "reply must not be null");
    if (out->shape == CEREUS_RAW) {
        *ret_body = out->raw;
        return CEREUS_OK;
    }
    cereus_status st = crs_value_encode(serializer, out, encoded, &err);
    if (st) {
        const char *text = crs_arena_printf(ctx->arena, "%s", err.status ? err.msg : cereus_status_text(st));
        return crs_ctx_error(ctx, st, st == CEREUS_E_INVALID ? "PIT-000" : "PIT-500", text ? text : "");
    }
    *ret_body = crs_bytes_slice(encoded);
    return CEREUS_OK;
}

/** What came of a message: what the client is to get, and whether that is an error payload. */
typedef struct outcome {
    cereus_slice body; /* in the buffer that was lent, or in the call's memory */
    bool failed;
} outcome;

/** Handle one message. @p encoded is used for what has to be encoded; raw replies are not copied. */
static outcome run_call(cereus_ctx *ctx, const crs_method *method, cereus_slice body, bool answer, crs_bytes *encoded)
{
    crs_core *core = ctx->dispatch->core;
    cereus_value out;
    crs_fiber_set_tag(ctx->fiber, ctx->session->id);
    cereus_status st = crs_run_handler(ctx, &core->registry, core->serializer, method, body, &out);
    if (CRS_UNLIKELY(crs_fiber_flagged(ctx->fiber)))
        crs_log_warn(core->log, "handler that held its loop has ended", CRS_STR("route", ctx->route),
                     CRS_STR("uid", cereus_session_uid(ctx->session)), CRS_UINT("session", ctx->session->id));
    if (CRS_LIKELY(st == CEREUS_OK && out.shape == CEREUS_RAW && out.raw.data))
        return (outcome){.body = out.raw};
    encoded->len = 0; /* only now: others may have used it while the handler waited */
    cereus_slice unused;
    if (st == CEREUS_OK && answer)
        st = crs_encode_result(ctx, core->serializer, &out, encoded, &unused);
    if (out.shape == CEREUS_JSON)
        json_decref(out.json);
    if (st != CEREUS_OK) {
        CRS_COUNT(&ctx->dispatch->loop->counters, handler_failures);
        if (crs_log_enabled(core->log, CEREUS_LOG_DEBUG)) {
            crs_error_view e = crs_ctx_error_view(ctx, st);
            crs_log_debug(core->log, "handler failed", CRS_STR("route", ctx->route), CRS_SLICE("code", e.code),
                          CRS_SLICE("msg", e.msg));
        }
        encode_error(core, ctx, st, encoded);
    }
    return (outcome){.body = crs_bytes_slice(encoded), .failed = st != CEREUS_OK};
}

static crs_input pressure(crs_dispatch *d, crs_agent *agent);

/** Send an answer; one that does not fit a packet is replaced by an error. */
static void respond(crs_dispatch *d, cereus_session_id session, uint64_t id, cereus_slice body, bool error)
{
    crs_agent *agent = crs_session_table_find(crs_frontend_sessions(d->frontend), session);
    cereus_status st = agent ? crs_agent_respond(agent, id, body, error) : CEREUS_E_GONE;
    if (st == CEREUS_E_TOO_LONG) {
        d->encoded.len = 0;
        if (d->core->serializer->encode_error(cereus_slice_str("PIT-500"),
                                              cereus_slice_str("the reply does not fit a packet"), NULL, NULL, 0,
                                              write_bytes, &d->encoded) == CEREUS_OK)
            st = crs_agent_respond(agent, id, crs_bytes_slice(&d->encoded), true);
    }
    if (st == CEREUS_E_GONE)
        CRS_COUNT(&d->loop->counters, replies_dropped);
    if (d->encoded.cap > 4 * CRS_READ_BUFFER_LEN)
        crs_bytes_fini(&d->encoded);
}

/* ---- the lane ---- */

static void free_call(crs_call *call)
{
    crs_bytes_fini(&call->result);
    crs_free(call);
}

static crs_call *lane_pop(crs_agent *agent)
{
    crs_call *newest = agent->lane, *oldest = newest ? newest->next : NULL;
    if (!oldest)
        return NULL;
    if (oldest == newest)
        agent->lane = NULL;
    else
        newest->next = oldest->next;
    agent->lane_count--;
    agent->lane_bytes -= (uint32_t)oldest->body.len;
    return oldest;
}

static void lane_push(crs_agent *agent, crs_call *call)
{
    crs_call *newest = agent->lane;
    call->next = newest ? newest->next : call;
    if (newest)
        newest->next = call;
    agent->lane = call;
    agent->lane_count++;
    agent->lane_bytes += (uint32_t)call->body.len;
}

static void lane_clear(crs_agent *agent)
{
    crs_call *call;
    while ((call = lane_pop(agent)))
        free_call(call);
}

/** Should this client be read at all? */
static crs_input pressure(crs_dispatch *d, crs_agent *agent)
{
    bool full = agent->lane_count + agent->concurrent + agent->forwarding >= d->core->inbox_messages ||
                agent->lane_bytes >= d->core->inbox_bytes;
    if (full)
        CRS_COUNT(&d->loop->counters, inbox_full);
    return full || crs_agent_clogged(agent) ? CRS_INPUT_PAUSE : CRS_INPUT_MORE;
}

static void relieve(crs_dispatch *d, crs_agent *agent)
{
    if (agent->conn && crs_conn_paused(agent->conn) && !crs_agent_clogged(agent) &&
        agent->lane_count + agent->concurrent + agent->forwarding <= d->core->inbox_messages / 2 &&
        agent->lane_bytes <= d->core->inbox_bytes / 2)
        crs_agent_resume(agent);
}

static crs_call *make_call(crs_dispatch *d, const crs_agent *agent, const crs_method *method, const crs_message *msg,
                           bool concurrent, bool travels)
{
    size_t uid_len = travels && agent->uid ? strlen(agent->uid) + 1 : 1;
    char addr[CRS_PEER_TEXT_MAX] = "";
    size_t addr_len = travels ? strlen(crs_peer_text(&agent->peer, addr)) + 1 : 1;
    crs_call *call = crs_malloc(sizeof *call + msg->body.len + uid_len + addr_len);
    if (!call)
        return NULL;
    *call = (crs_call){
        .origin = d,
        .session = agent->id,
        .method = method,
        .id = msg->id,
        .request = msg->type == CRS_MESSAGE_REQUEST,
        .concurrent = concurrent,
        .on_heap = true,
    };
    crs_bytes_init(&call->result, CRS_PACKET_BODY_MAX + 1);
    uint8_t *at = (uint8_t *)(call + 1);
    if (msg->body.len)
        memcpy(at, msg->body.data, msg->body.len);
    call->body = cereus_slice_of(at, msg->body.len);
    call->uid = memcpy(at + msg->body.len, travels && agent->uid ? agent->uid : "", uid_len);
    call->addr = memcpy(at + msg->body.len + uid_len, addr, addr_len);
    return call;
}

static uint32_t home_of(crs_dispatch *d, crs_agent *agent, const crs_method *method, cereus_slice body)
{
    const crs_service *s = method->service;
    switch (s->opt.home) {
    case CEREUS_HOME_SESSION:
        break;
    case CEREUS_HOME_ONE:
        return s->home_loop;
    case CEREUS_HOME_KEY: {
        char addr[CRS_PEER_TEXT_MAX];
        cereus_session handle = {.core = d->core,
                                 .id = agent->id,
                                 .uid = agent->uid ? agent->uid : "",
                                 .addr = crs_peer_text(&agent->peer, addr)};
        uint64_t key = s->opt.key(&handle, method->decl.name, body, s->opt.key_user);
        return crs_core_home_of_key(d->core, key);
    }
    }
    return d->loop->index;
}

static void start_next(crs_dispatch *d, crs_agent *agent);

/** Run the next message of the lane, unless a call holds it. A client that does not take its answers gets no more made:
 * a few bytes that wait can ask for very many. */
static void go_on(crs_dispatch *d, crs_agent *agent)
{
    if (agent->running || !agent->lane)
        return;
    if (crs_agent_clogged(agent))
        crs_conn_tell_drained(agent->conn);
    else
        start_next(d, agent);
}

/** The message that held the lane (or passed by) has been handled. */
static void call_finished(crs_dispatch *d, cereus_session_id session, bool concurrent)
{
    d->in_flight--;
    crs_agent *agent = crs_session_table_find(crs_frontend_sessions(d->frontend), session);
    if (!agent)
        return; /* what waited went with it */
    if (concurrent)
        agent->concurrent--;
    else
        agent->running = false;
    agent->pins++; /* what is sent may find out that the client has gone */
    go_on(d, agent);
    if (agent->state != CRS_AGENT_CLOSED)
        relieve(d, agent);
    crs_agent_unpin(agent);
}

static void note_call(crs_dispatch *d, const crs_method *method, uint64_t began_us)
{
    if (CRS_UNLIKELY(!d->stats))
        return;
    crs_call_stats *s = &d->stats[method->index];
    uint64_t took_us = d->loop->now_us - began_us;
    s->calls++;
    if (CRS_LIKELY(took_us == 0))
        return;
    s->waited++;
    s->total_us += took_us;
    s->max_us = CRS_MAX(s->max_us, took_us);
}

/** A message on its session's loop. What is not on the heap is good until the fiber first waits, so all is taken first.
 */
static void run_local(crs_fiber *fiber, void *arg)
{
    crs_call *call = arg;
    crs_dispatch *d = call->origin;
    crs_call *owned = call->on_heap ? call : NULL;
    const crs_method *method = call->method;
    cereus_session_id session = call->session;
    uint64_t id = call->id;
    bool answer = call->request, concurrent = call->concurrent;
    uint64_t began_us = d->loop->now_us;

    cereus_ctx ctx;
    crs_ctx_init(&ctx, d, fiber, method->route);
    cereus_session handle = {.core = d->core, .id = session, .ctx = &ctx};
    ctx.session = &handle;
    outcome result = run_call(&ctx, method, call->body, answer, &d->encoded);
    if (answer && id)
        respond(d, session, id, result.body, result.failed);
    note_call(d, method, began_us);
    crs_ctx_fini(&ctx);
    if (owned)
        free_call(owned);
    call_finished(d, session, concurrent);
}

/* a call that waited, in its lane or for a fiber, begins */
static void begin_owned(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_call *call = CRS_CONTAINER(mail, crs_call, mail);
    crs_dispatch *d = call->origin;
    if (!crs_session_table_find(crs_frontend_sessions(d->frontend), call->session)) {
        free_call(call); /* the session ended while it waited */
        d->in_flight--;
        return;
    }
    cereus_status st = crs_fiber_start(d->fibers, call->method->route, run_local, call);
    CRS_ASSERT(st == CEREUS_OK); /* there was one free, or this would not run */
}

/* ---- on another loop ---- */

static void come_back(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_call *call = CRS_CONTAINER(mail, crs_call, mail);
    crs_dispatch *d = call->origin;
    if (call->request && call->id)
        respond(d, call->session, call->id, crs_bytes_slice(&call->result), call->failed);
    cereus_session_id session = call->session;
    bool concurrent = call->concurrent;
    free_call(call);
    call_finished(d, session, concurrent);
}

static void run_away(crs_fiber *fiber, void *arg)
{
    crs_call *call = arg;
    crs_dispatch *here = call->here;
    uint64_t began_us = here->loop->now_us;
    cereus_ctx ctx;
    crs_ctx_init(&ctx, here, fiber, call->method->route);
    cereus_session handle = {
        .core = here->core, .id = call->session, .ctx = &ctx, .uid = call->uid, .addr = call->addr};
    ctx.session = &handle;
    outcome result = run_call(&ctx, call->method, call->body, call->request, &call->result);
    call->failed = result.failed;
    if (call->request && result.body.data != call->result.data) { /* a raw reply, in memory that ends with this fiber */
        call->result.len = 0;
        if (crs_bytes_append(&call->result, result.body.data, result.body.len) != CEREUS_OK) {
            cereus_status st = result.body.len > call->result.max ? CEREUS_E_TOO_LONG : CEREUS_E_NOMEM;
            encode_error(here->core, NULL, st, &call->result);
            call->failed = true;
        }
    }
    note_call(here, call->method, began_us);
    crs_ctx_fini(&ctx);
    call->mail.run = come_back;
    crs_loop_post_reserved(call->origin->loop, &call->mail);
}

static void begin_away(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_call *call = CRS_CONTAINER(mail, crs_call, mail);
    cereus_status st = crs_fiber_start(call->here->fibers, call->method->route, run_away, call);
    CRS_ASSERT(st == CEREUS_OK);
}

static void arrive(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_call *call = CRS_CONTAINER(mail, crs_call, mail);
    call->mail.run = begin_away;
    crs_dispatch_when_fiber(call->here, &call->mail);
}

/** Send a call to its home. Refused there (mailbox full), it is answered with an error. */
static void send_away(crs_dispatch *d, crs_call *call, uint32_t home)
{
    call->here = d->core->loops[home];
    call->mail.run = arrive;
    if (crs_loop_post(call->here->loop, &call->mail) == CEREUS_OK)
        return;
    encode_error(d->core, NULL, CEREUS_E_FULL, &call->result);
    call->failed = true;
    call->mail.run = come_back; /* by mail: the next in the lane would be refused within this call, and so on, deep */
    crs_loop_post_reserved(d->loop, &call->mail);
}

/* ---- starting ---- */

static void hold_lane(crs_dispatch *d, crs_agent *agent, bool concurrent)
{
    d->in_flight++;
    if (concurrent)
        agent->concurrent++;
    else
        agent->running = true;
}

static void refuse(crs_dispatch *d, crs_agent *agent, const crs_message *msg);

/** Answer the refused messages at the front of the lane, and return the first that is to be run, or NULL. */
static crs_call *lane_next(crs_dispatch *d, crs_agent *agent)
{
    crs_call *call;
    while ((call = lane_pop(agent)) && !call->method && !call->forward) {
        crs_message msg = {
            .type = call->request ? CRS_MESSAGE_REQUEST : CRS_MESSAGE_NOTIFY, .id = call->id, .route = call->body};
        refuse(d, agent, &msg);
        free_call(call);
    }
    return call;
}

/* ---- to another server ---- */

static void answer_error(crs_dispatch *d, crs_agent *agent, uint64_t id, const char *code, cereus_slice text);

/** A client's message that is to be forwarded: all of it in one block. */
static crs_call *make_forward(crs_dispatch *d, const crs_agent *agent, const crs_message *msg)
{
    crs_call *call = crs_malloc(sizeof *call + msg->body.len + msg->route.len);
    if (!call)
        return NULL;
    *call = (crs_call){
        .origin = d,
        .session = agent->id,
        .id = msg->id,
        .request = msg->type == CRS_MESSAGE_REQUEST,
        .concurrent = d->core->all_concurrent,
        .on_heap = true,
        .forward = true,
    };
    crs_bytes_init(&call->result, CRS_PACKET_BODY_MAX + 1);
    uint8_t *at = (uint8_t *)(call + 1);
    if (msg->body.len)
        memcpy(at, msg->body.data, msg->body.len);
    call->body = cereus_slice_of(at, msg->body.len);
    call->route = cereus_slice_of(memcpy(at + msg->body.len, msg->route.data, msg->route.len), msg->route.len);
    return call;
}

static cereus_slice type_of_route(cereus_slice route)
{
    const uint8_t *dot = memchr(route.data, '.', route.len);
    return cereus_slice_of(route.data, dot ? (size_t)(dot - route.data) : route.len);
}

static void start_forward(crs_dispatch *d, crs_agent *agent, crs_call *call)
{
    hold_lane(d, agent, call->concurrent);
    if (!call->concurrent)
        agent->forwarding++;
    CRS_COUNT(&d->loop->counters, forwarded);
    d->core->cluster->forward(d, agent, call, type_of_route(call->route));
}

void crs_forward_finished(crs_call *call, bool failed, cereus_slice body, const crs_error_view *error)
{
    crs_dispatch *d = call->origin;
    cereus_session_id session = call->session;
    bool concurrent = call->concurrent;
    if (call->request && call->id && !failed) {
        respond(d, session, call->id, body, false);
    } else if (call->request && call->id) {
        d->encoded.len = 0;
        cereus_slice code = error->code.len ? error->code : cereus_slice_str("PIT-000");
        if (d->core->serializer->encode_error(code, error->msg, error->meta_keys, error->meta_values, error->meta_count,
                                              write_bytes, &d->encoded) == CEREUS_OK)
            respond(d, session, call->id, crs_bytes_slice(&d->encoded), true);
    }
    free_call(call);
    crs_agent *agent = crs_session_table_find(crs_frontend_sessions(d->frontend), session);
    if (agent && !concurrent && --agent->forwarding > 0) {
        d->in_flight--;
        relieve(d, agent); /* others are still out: the lane stays held */
    } else {
        call_finished(d, session, concurrent);
    }
}

/** A message for another server type. */
static crs_input on_foreign(crs_dispatch *d, crs_agent *agent, const crs_message *msg)
{
    crs_call *call = make_forward(d, agent, msg);
    if (!call) {
        crs_agent_close(agent, CRS_CLOSE_NO_MEMORY);
        return CRS_INPUT_MORE;
    }
    bool idle = !agent->running && !agent->lane;
    if (d->leaving) {
        free_call(call);
        if (msg->type == CRS_MESSAGE_REQUEST && msg->id)
            answer_error(d, agent, msg->id, "PIT-500", cereus_slice_str(cereus_status_text(CEREUS_E_CANCELLED)));
        return CRS_INPUT_MORE;
    }
    bool follows =
        agent->forwarding && !agent->lane && d->core->cluster->may_follow(d, agent, type_of_route(call->route));
    if (call->concurrent || idle || follows) {
        start_forward(d, agent, call);
    } else {
        lane_push(agent, call);
        go_on(d, agent);
    }
    return agent->state == CRS_AGENT_CLOSED ? CRS_INPUT_MORE : pressure(d, agent);
}

/** Run the oldest message that waits in the lane of @p agent. */
static void start_next(crs_dispatch *d, crs_agent *agent)
{
    crs_call *call = lane_next(d, agent);
    if (!call)
        return;
    if (call->forward) {
        start_forward(d, agent, call);
        return;
    }
    hold_lane(d, agent, false);
    uint32_t home = home_of(d, agent, call->method, call->body);
    if (home != d->loop->index) {
        crs_message msg = {
            .type = call->request ? CRS_MESSAGE_REQUEST : CRS_MESSAGE_NOTIFY, .id = call->id, .body = call->body};
        crs_call *traveller = make_call(d, agent, call->method, &msg, false, true);
        if (traveller) {
            free_call(call);
            send_away(d, traveller, home);
            return;
        }
        encode_error(d->core, NULL, CEREUS_E_NOMEM, &call->result);
        call->failed = true;
        call->mail.run = come_back;
        crs_loop_post_reserved(d->loop, &call->mail);
        return;
    }
    call->mail.run = begin_owned;
    crs_dispatch_when_fiber(d, &call->mail);
}

static void answer_error(crs_dispatch *d, crs_agent *agent, uint64_t id, const char *code, cereus_slice text)
{
    d->encoded.len = 0;
    if (d->core->serializer->encode_error(cereus_slice_str(code), text, NULL, NULL, 0, write_bytes, &d->encoded) ==
        CEREUS_OK)
        respond(d, agent->id, id, crs_bytes_slice(&d->encoded), true);
}

/** Tell a client why its message was not handled; whoever sent a notify is not told. */
static void refuse(crs_dispatch *d, crs_agent *agent, const crs_message *msg)
{
    const crs_registry *r = &d->core->registry;
    bool answer = msg->type == CRS_MESSAGE_REQUEST && msg->id != 0;
    if (crs_registry_find(r, msg->route)) {
        if (answer)
            answer_error(d, agent, msg->id, "PIT-400", cereus_slice_str("tried to request a notify route"));
        return;
    }
    cereus_slice type;
    CRS_COUNT(&d->loop->counters, route_not_found);
    crs_route_fault fault = crs_registry_explain(r, msg->route, &type);
    if (!answer)
        return;
    switch (fault) {
    case CRS_ROUTE_EMPTY_FIELD:
        answer_error(d, agent, msg->id, "PIT-400", cereus_slice_str("route field can not be empty"));
        return;
    case CRS_ROUTE_INVALID:
        answer_error(d, agent, msg->id, "PIT-400", cereus_slice_str("invalid route"));
        return;
    case CRS_ROUTE_FOREIGN: /* a standalone server: nobody else is there (F-12) */
        answer_error(d, agent, msg->id, "PIT-500", cereus_slice_str("no servers available of this type"));
        return;
    case CRS_ROUTE_UNKNOWN:
        break;
    }
    /* always the three-part form; bytes, not a C string, for a route may hold anything */
    uint8_t text[16 + 100 + 1 + CRS_ROUTE_LEN_MAX + 10];
    struct {
        const void *data;
        size_t len;
    } parts[] = {
        {"pitaya/handler: ", 16}, {r->server_type, type.data ? 0 : CRS_MIN(strlen(r->server_type), (size_t)100)},
        {".", type.data ? 0 : 1}, {msg->route.data, CRS_MIN(msg->route.len, (size_t)CRS_ROUTE_LEN_MAX)},
        {" not found", 10},
    };
    size_t len = 0;
    for (size_t i = 0; i < CEREUS_COUNT(parts); i++) {
        memcpy(text + len, parts[i].data, parts[i].len);
        len += parts[i].len;
    }
    answer_error(d, agent, msg->id, "PIT-404", cereus_slice_of(text, len));
}

static crs_input on_message(crs_agent *agent, const crs_message *msg)
{
    crs_dispatch *d = crs_frontend_user(agent->frontend);
    bool request = msg->type == CRS_MESSAGE_REQUEST;
    if (request)
        CRS_COUNT(&d->loop->counters, requests);
    else
        CRS_COUNT(&d->loop->counters, notifies);
    const crs_method *method = crs_registry_find(&d->core->registry, msg->route);
    cereus_slice type;
    if (!method && d->core->cluster && crs_registry_explain(&d->core->registry, msg->route, &type) == CRS_ROUTE_FOREIGN)
        return on_foreign(d, agent, msg);
    bool concurrent = d->core->all_concurrent || (method && (method->decl.flags & CEREUS_CONCURRENT));
    bool refused = !method || (request && method->decl.out == CEREUS_NOTHING);
    bool waits = !concurrent && (agent->running || agent->lane); /* the lane may wait for the client to read */
    if (CRS_UNLIKELY(refused) && !waits) {
        refuse(d, agent, msg);
        return agent->state == CRS_AGENT_CLOSED ? CRS_INPUT_MORE : pressure(d, agent);
    }
    if (waits) { /* refusals too are answered in their turn: the route stands in for the body */
        crs_message waiting = *msg;
        if (refused)
            waiting.body = msg->route;
        crs_call *call = make_call(d, agent, refused ? NULL : method, &waiting, false, false);
        if (!call) {
            crs_agent_close(agent, CRS_CLOSE_NO_MEMORY);
            return CRS_INPUT_MORE;
        }
        lane_push(agent, call);
        go_on(d, agent);
        return agent->state == CRS_AGENT_CLOSED ? CRS_INPUT_MORE : pressure(d, agent);
    }
    uint32_t home = home_of(d, agent, method, msg->body);
    hold_lane(d, agent, concurrent);
    if (home == d->loop->index && !d->waiting && crs_fibers_available(d->fibers)) {
        crs_call call; /* only what run_local() reads is set */
        call.origin = d;
        call.session = agent->id;
        call.method = method;
        call.id = msg->id;
        call.request = request;
        call.concurrent = concurrent;
        call.on_heap = false;
        call.body = msg->body;
        if (crs_fiber_start(d->fibers, method->route, run_local, &call) == CEREUS_OK)
            return agent->state == CRS_AGENT_CLOSED ? CRS_INPUT_MORE : pressure(d, agent);
    }
    crs_call *call = make_call(d, agent, method, msg, concurrent, home != d->loop->index);
    if (!call) {
        d->in_flight--;
        crs_agent_close(agent, CRS_CLOSE_NO_MEMORY);
        return CRS_INPUT_MORE;
    }
    if (home != d->loop->index) {
        send_away(d, call, home);
    } else {
        call->mail.run = begin_owned;
        crs_dispatch_when_fiber(d, &call->mail);
    }
    return agent->state == CRS_AGENT_CLOSED ? CRS_INPUT_MORE : pressure(d, agent);
}

static void on_refused(crs_agent *agent, uint64_t id, const crs_refusal *refusal)
{
    answer_error(crs_frontend_user(agent->frontend), agent, id, refusal->code, cereus_slice_str(refusal->msg));
}

static void on_drained(crs_agent *agent)
{
    crs_dispatch *d = crs_frontend_user(agent->frontend);
    agent->pins++;
    go_on(d, agent);
    if (agent->state != CRS_AGENT_CLOSED)
        relieve(d, agent);
    crs_agent_unpin(agent);
}

/* ---- handshakes and ends ---- */

static cereus_status on_handshake(crs_agent *agent, const crs_handshake *hs)
{
    crs_dispatch *d = crs_frontend_user(agent->frontend);
    crs_core *core = d->core;
    if (!core->validators)
        return CEREUS_OK;
    crs_bytes text;
    crs_bytes_init(&text, CRS_HANDSHAKE_TEXT_MAX);
    cereus_status st = crs_handshake_print(hs, &text);
    json_t *json = NULL;
    json_error_t jerr;
    if (!st && !(json = crs_json_parse(crs_bytes_slice(&text), 0, &jerr)))
        st = CEREUS_E_MALFORMED;
    for (const crs_hook *h = core->validators; !st && h; h = h->next) {
        st = ((cereus_handshake_fn *)h->fn.any)(json, h->user);
        if (st)
            crs_log_debug(core->log, "handshake refused", CRS_STR("validator", h->name ? h->name : ""),
                          CRS_STR("peer", crs_peer_text(&agent->peer, (char[CRS_PEER_TEXT_MAX]){0})));
    }
    json_decref(json);
    crs_bytes_fini(&text);
    return st;
}

typedef struct ending {
    crs_mail mail;
    crs_dispatch *d;
    crs_agent *agent;
} ending;

static void run_close_hooks(crs_fiber *fiber, void *arg)
{
    ending *e = arg;
    crs_dispatch *d = e->d;
    crs_agent *agent = e->agent;
    cereus_ctx ctx;
    crs_ctx_init(&ctx, d, fiber, "session close");
    cereus_session handle = {.core = d->core, .id = agent->id, .ctx = &ctx, .ended = agent};
    ctx.session = &handle;
    for (crs_close_hook *h = agent->closing; h; h = h->next)
        ((cereus_session_close_fn *)h->fn)(&ctx, h->user);
    for (const crs_hook *h = d->core->on_close; h; h = h->next)
        ((cereus_session_close_fn *)h->fn.any)(&ctx, h->user);
    crs_ctx_fini(&ctx);
    crs_agent_free(agent);
    crs_free(e);
    d->closing--;
}

static void begin_close_hooks(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    ending *e = CRS_CONTAINER(mail, ending, mail);
    cereus_status st = crs_fiber_start(e->d->fibers, "session close", run_close_hooks, e);
    CRS_ASSERT(st == CEREUS_OK);
}

static void on_closed(crs_agent *agent, crs_close_reason reason)
{
    CRS_UNUSED(reason);
    crs_dispatch *d = crs_frontend_user(agent->frontend);
    lane_clear(agent);
    if (agent->uid && !agent->binding && d->core->cluster)
        d->core->cluster->user_gone(d, agent->uid);
    if (!agent->closing && !d->core->on_close) {
        crs_agent_free(agent);
        return;
    }
    ending *e = crs_malloc(sizeof *e);
    if (!e) {
        crs_log_error(d->core->log, "close callbacks skipped: out of memory",
                      CRS_STR("peer", crs_peer_text(&agent->peer, (char[CRS_PEER_TEXT_MAX]){0})));
        crs_agent_free(agent);
        return;
    }
    *e = (ending){.mail = {.run = begin_close_hooks}, .d = d, .agent = agent};
    d->closing++;
    crs_dispatch_when_fiber(d, &e->mail);
}

const crs_agent_ops crs_dispatch_agent_ops = {
    .on_message = on_message,
    .on_refused = on_refused,
    .on_handshake = on_handshake,
    .on_closed = on_closed,
    .on_drained = on_drained,
};

/* ---- fibers and tasks ---- */

void crs_dispatch_when_fiber(crs_dispatch *d, crs_mail *mail)
{
    if (!d->waiting && crs_fibers_available(d->fibers)) {
        mail->run(d->loop, mail);
        return;
    }
    CRS_COUNT(&d->loop->counters, fibers_exhausted);
    mail->next = NULL;
    *d->waiting_tail = mail;
    d->waiting_tail = &mail->next;
}

static bool run_waiting(void *user)
{
    crs_dispatch *d = user;
    while (d->waiting && crs_fibers_available(d->fibers)) {
        crs_mail *mail = d->waiting;
        d->waiting = mail->next;
        if (!d->waiting)
            d->waiting_tail = &d->waiting;
        mail->run(d->loop, mail);
    }
    return false; /* those that still wait are run in the turn in which a fiber ends */
}

void crs_dispatch_init(crs_dispatch *d, crs_core *core, crs_loop *loop, crs_fibers *fibers)
{
    *d = (crs_dispatch){.core = core, .loop = loop, .fibers = fibers};
    d->waiting_tail = &d->waiting;
    crs_bytes_init(&d->encoded, CRS_PACKET_BODY_MAX + 1);
    crs_loop_add_hook(loop, run_waiting, d);
}

void crs_dispatch_fini(crs_dispatch *d)
{
    crs_bytes_fini(&d->encoded);
    crs_free(d->stats);
    d->stats = NULL;
}

cereus_status crs_dispatch_keep_stats(crs_dispatch *d)
{
    d->stats = crs_zalloc(CRS_MAX(d->core->registry.method_count, (size_t)1) * sizeof *d->stats);
    return d->stats ? CEREUS_OK : CEREUS_E_NOMEM;
}

typedef struct task {
    crs_mail mail;
    crs_dispatch *d;
    const char *name;
    cereus_task_fn *fn;
    void *user;
} task;

static void run_task(crs_fiber *fiber, void *arg)
{
    task t = *(task *)arg;
    crs_free(arg);
    cereus_ctx ctx;
    crs_ctx_init(&ctx, t.d, fiber, t.name);
    t.fn(&ctx, t.user);
    crs_ctx_fini(&ctx);
}

static void begin_task(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    task *t = CRS_CONTAINER(mail, task, mail);
    cereus_status st = crs_fiber_start(t->d->fibers, t->name, run_task, t);
    CRS_ASSERT(st == CEREUS_OK);
}

static void task_arrives(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    task *t = CRS_CONTAINER(mail, task, mail);
    t->mail.run = begin_task;
    crs_dispatch_when_fiber(t->d, &t->mail);
}

cereus_status crs_dispatch_spawn(crs_dispatch *d, const char *name, cereus_task_fn *fn, void *user)
{
    task *t = crs_malloc(sizeof *t);
    if (!t)
        return CEREUS_E_NOMEM;
    *t = (task){.mail = {.run = task_arrives}, .d = d, .name = name, .fn = fn, .user = user};
    if (crs_loop_post(d->loop, &t->mail) != CEREUS_OK) {
        crs_free(t);
        return CEREUS_E_FULL;
    }
    return CEREUS_OK;
}
