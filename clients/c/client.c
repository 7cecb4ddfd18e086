/* clients/c/client.c: the client itself: state machine, timers, requests, buffers.
 *
 * Everything happens inside the public functions, there is no loop and no thread here. What always holds:
 *   - callbacks may call back into the client, so after each of them `epoch` tells whether the connection whose bytes
 * are being worked on is still the current one, and memory is released only when the outermost call returns (`depth`);
 *   - only set_state() changes the state;
 *   - each accepted request is in `requests` until its callback is called, exactly once.
 * Left to others: names and URLs (target), JSON and error payloads (answer), bytes (src/wire). */
#include <cereus/client.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "answer.h"
#include "base/buf.h"
#include "carrier.h"
#include "ext/tls_client.h"
#include "target.h"
#include "transport/ws_frame.h"
#include "upgrade.h"
#include "wire/compress.h"
#include "wire/handshake.h"
#include "wire/message.h"
#include "wire/packet.h"

enum {
    READ_CHUNK = 16 * 1024,
    READS_PER_STEP = 16,     /* then the caller's other fds get their turn */
    BUFFER_KEEP = 64 * 1024, /* a buffer that grew over this is given back when it is empty */
    CONTROL_MAX = 1024,      /* room behind send_max for heartbeats and control frames */
    REQUESTS_CAP_MIN = 16,   /* power of two */
    REQUESTS_MAX_MAX = 65536,
    ANSWER_MAX = 16 * 1024 * 1024, /* inflated handshake answer: 65536 routes of 255 bytes nearly fit */
    ERROR_ARENA_MAX = 1024 * 1024,
    SILENCE_SLACK_MS = 1000, /* protocol.md 5: deadlines are in whole seconds there, never be stricter */
    RANDOM_POOL = 64,
};

#define NEVER UINT64_MAX

typedef struct request {
    uint64_t id; /* 0: free slot */
    uint64_t deadline_ms;
    cereus_client_reply_fn *on_reply;
    void *user;
} request;

struct cereus_client {
    cereus_client_options
        opt; /* set once by new(), defaults filled in; of its strings ca_file and server_name are kept */
    cereus_client_callbacks on;
    void *user;

    cereus_client_state state;
    cereus_error why;
    cereus_client_counters counters;
    unsigned depth;  /* public calls on the stack that may call back */
    bool doomed;     /* free() was called inside a callback */
    uint64_t epoch;  /* counts connections that ended */
    uint64_t now_ms; /* clock, read once per public call */

    crs_client_target target;
    size_t address_index;              /* the one being tried */
    int fd;                            /* -1: none */
    const crs_client_carrier *carrier; /* in place of fd; NULL: none */
    void *carrier_user;
    crs_tls_client *tls_client; /* NULL before the first connection with TLS */
    crs_tls_session *tls;       /* of this connection; NULL: it has none */
    bool dialing;               /* connect(2) is under way */
    bool securing;              /* so is the TLS handshake */
    bool securing_writes;       /* which waits for the socket to take bytes */
    bool upgrading;             /* WebSocket: the answer to the upgrade is awaited */
    char upgrade_key[CRS_WS_KEY_LEN];
    crs_ws_rx ws_rx; /* made new by on_dialed(), not when a connection ends: a callback may look into it then */

    crs_bytes hello; /* our handshake packet, set once by new() */
    crs_bytes rx;    /* received, not yet understood */
    crs_bytes tx;    /* to be sent from tx_sent on */
    size_t tx_sent;
    crs_bytes plain;    /* the body being handled, inflated */
    crs_bytes deflated; /* the body being sent, deflated */
    crs_zlib *zlib;
    crs_arena arena; /* texts of the error being handled */

    crs_route_dict *dict; /* of this connection; NULL before the answer */
    uint64_t heartbeat_ms;
    char serializer[32];

    /* timers: NEVER when they do not run */
    uint64_t connect_at;  /* give up connecting */
    uint64_t dial_at;     /* give up this address */
    uint64_t beat_at;     /* send a heartbeat */
    uint64_t silence_at;  /* the server is gone */
    uint64_t retry_at;    /* connect again */
    uint64_t requests_at; /* no request ends before; may be too early, never too late */
    uint32_t tries;       /* in a row that failed */

    request *requests; /* slot of a request: id & (cap - 1) */
    size_t requests_cap;
    size_t requests_count;
    uint64_t last_id;

    uint32_t random_pool[RANDOM_POOL];
    size_t random_left;
};

/* -- clock and chance -- */

static uint64_t system_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t read_clock(const cereus_client *c)
{
    return c->opt.now_ms ? c->opt.now_ms(c->user) : system_now_ms();
}

static uint32_t next_random(cereus_client *c)
{
    if (c->opt.random)
        return c->opt.random(c->user);
    if (c->random_left == 0) {
        /* 256 bytes or fewer are never cut short (getrandom(2)) */
        ssize_t n = getrandom(c->random_pool, sizeof c->random_pool, 0);
        CRS_ASSERT(n == (ssize_t)sizeof c->random_pool);
        c->random_left = RANDOM_POOL;
    }
    return c->random_pool[--c->random_left];
}

/* -- calls in and out -- */

static void destroy(cereus_client *c)
{
    crs_bytes_fini(&c->hello);
    crs_bytes_fini(&c->rx);
    crs_bytes_fini(&c->tx);
    crs_bytes_fini(&c->plain);
    crs_bytes_fini(&c->deflated);
    crs_zlib_free(c->zlib);
    crs_arena_fini(&c->arena);
    crs_ws_rx_fini(&c->ws_rx);
    crs_route_dict_free(c->dict);
    crs_tls_client_free(c->tls_client);
    crs_free((char *)c->opt.ca_file);
    crs_free((char *)c->opt.server_name);
    crs_free(c->requests);
    crs_free(c);
}

static void enter(cereus_client *c)
{
    c->depth++;
    c->now_ms = read_clock(c);
}

/* Returns false when the client is no more. */
static bool leave(cereus_client *c)
{
    CRS_ASSERT(c->depth > 0);
    if (--c->depth > 0 || !c->doomed)
        return true;
    destroy(c);
    return false;
}

#define BIT(state) (1u << CEREUS_CLIENT_##state)

static void set_state(cereus_client *c, cereus_client_state state, const cereus_error *why)
{
    /* the drawing in client.h: from which states each one may be reached */
    static const unsigned from[] = {
        [CEREUS_CLIENT_CONNECTING] = BIT(IDLE) | BIT(BACKOFF) | BIT(KICKED) | BIT(CLOSED),
        [CEREUS_CLIENT_HANDSHAKING] = BIT(CONNECTING),
        [CEREUS_CLIENT_CONNECTED] = BIT(HANDSHAKING),
        [CEREUS_CLIENT_BACKOFF] = BIT(CONNECTING) | BIT(HANDSHAKING) | BIT(CONNECTED),
        [CEREUS_CLIENT_KICKED] = BIT(HANDSHAKING) | BIT(CONNECTED),
        [CEREUS_CLIENT_CLOSED] = BIT(CONNECTING) | BIT(HANDSHAKING) | BIT(CONNECTED) | BIT(BACKOFF),
    };
    CRS_ASSERT(from[state] & 1u << c->state);
    c->state = state;
    c->why = why ? *why : (cereus_error){0};
    if (c->on.on_state && !c->doomed) {
        cereus_error told = c->why; /* c->why changes if the callback changes the state */
        c->on.on_state(c, state, &told, c->user);
    }
}

/* -- requests -- */

static request *find_request(const cereus_client *c, uint64_t id)
{
    if (id == 0 || c->requests_cap == 0)
        return NULL;
    request *r = &c->requests[id & (c->requests_cap - 1)];
    return r->id == id ? r : NULL;
}

static void release_request(cereus_client *c, request *r)
{
    r->id = 0;
    c->requests_count--;
}

/* Slots are never shared: an id whose slot is taken is skipped. At most half of them are in use, so few are. */
static cereus_status add_request(cereus_client *c, request **ret_request)
{
    if (c->requests_count >= c->opt.requests_max)
        return CEREUS_E_FULL;
    if (c->requests_count * 2 >= c->requests_cap) {
        size_t cap = c->requests_cap ? c->requests_cap * 2 : REQUESTS_CAP_MIN;
        request *bigger = crs_zalloc(cap * sizeof *bigger);
        if (!bigger)
            return CEREUS_E_NOMEM;
        for (size_t i = 0; i < c->requests_cap; i++)
            if (c->requests[i].id) /* distinct under the shorter mask, so distinct under the longer one */
                bigger[c->requests[i].id & (cap - 1)] = c->requests[i];
        crs_free(c->requests);
        c->requests = bigger;
        c->requests_cap = cap;
    }
    request *r;
    do
        r = &c->requests[++c->last_id & (c->requests_cap - 1)];
    while (r->id);
    r->id = c->last_id;
    c->requests_count++;
    *ret_request = r;
    return CEREUS_OK;
}

static void end_request(cereus_client *c, request *r, const cereus_client_reply *reply)
{
    cereus_client_reply_fn *on_reply = r->on_reply;
    void *user = r->user;
    release_request(c, r); /* first: the callback may send the next one into this slot */
    if (on_reply)
        on_reply(c, reply, user);
}

static cereus_client_reply local_error(cereus_status status, const char *code, const char *msg)
{
    return (cereus_client_reply){.status = status, .body = cereus_slice_str(""), .code = code, .msg = msg};
}

static void fail_requests(cereus_client *c, cereus_status status, const char *msg)
{
    c->requests_at = NEVER;
    const cereus_client_reply reply = local_error(status, "PIT-499", msg);
    for (size_t i = 0; i < c->requests_cap; i++)
        if (c->requests[i].id)
            end_request(c, &c->requests[i], &reply);
}

static void check_requests(cereus_client *c)
{
    /* set before callbacks add requests, which lower it again */
    c->requests_at = NEVER;
    const cereus_client_reply reply = local_error(CEREUS_E_TIMEOUT, "PIT-504", "request timeout");
    for (size_t i = 0; i < c->requests_cap; i++) {
        request *r = &c->requests[i]; /* looked up each time: callbacks may make the table grow */
        if (!r->id)
            continue;
        if (r->deadline_ms > c->now_ms) {
            c->requests_at = CRS_MIN(c->requests_at, r->deadline_ms);
            continue;
        }
        c->counters.requests_timed_out++;
        end_request(c, r, &reply);
    }
}

/* -- the end of a connection -- */

static void reset_timers(cereus_client *c)
{
    c->connect_at = c->dial_at = c->beat_at = c->silence_at = c->retry_at = NEVER;
}

static bool has_stream(const cereus_client *c)
{
    return c->fd >= 0 || c->carrier;
}

static void close_fd(cereus_client *c)
{
    c->tls = crs_tls_session_free(c->tls);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    if (c->carrier)
        c->carrier->close(c->carrier_user);
    c->carrier = NULL;
    c->dialing = c->securing = c->upgrading = false;
}

/* Forget the connection. Buffers stay allocated: a callback up the stack may still look at what came through them. */
static void drop_connection(cereus_client *c)
{
    close_fd(c);
    reset_timers(c);
    c->rx.len = 0;
    c->tx.len = c->tx_sent = 0;
    c->dict = crs_route_dict_free(c->dict);
    c->epoch++;
}

static void end_connection(cereus_client *c, cereus_client_state state, cereus_status reply_status,
                           const cereus_error *why)
{
    cereus_error text = *why; /* often c's own */
    drop_connection(c);
    set_state(c, state, &text);
    fail_requests(c, reply_status, text.msg[0] ? text.msg : "the client was closed");
}

/* The server broke the protocol, or refuses us: trying again would end the same way. */
static void refuse(cereus_client *c, const cereus_error *why)
{
    end_connection(c, CEREUS_CLIENT_CLOSED, CEREUS_E_GONE, why);
}

/* The network failed, or the server went away: worth another try, if the user wants that. */
static void lose(cereus_client *c, const cereus_error *why)
{
    if (!c->opt.reconnect || (c->opt.reconnect_tries_max && c->tries >= c->opt.reconnect_tries_max)) {
        end_connection(c, CEREUS_CLIENT_CLOSED, CEREUS_E_GONE, why);
        return;
    }
    /* exponential back-off with full jitter: clients of a restarted server must not return all at once */
    uint64_t cap = c->opt.reconnect_base_ms;
    for (uint32_t i = 0; i < c->tries && cap < c->opt.reconnect_max_ms; i++)
        cap *= 2;
    cap = CRS_MIN(cap, c->opt.reconnect_max_ms);
    c->tries++;
    cereus_error text = *why;
    drop_connection(c);
    c->retry_at = c->now_ms + next_random(c) % (cap + 1);
    set_state(c, CEREUS_CLIENT_BACKOFF, &text);
    fail_requests(c, CEREUS_E_GONE, text.msg);
}

/* -- writing -- */

static size_t tx_waiting(const cereus_client *c)
{
    return c->tx.len - c->tx_sent;
}

/* Queue bytes that belong together, given in parts: as they are, or as one WebSocket frame. `limit`: how much may wait.
 */
static cereus_status queue_frame(cereus_client *c, crs_ws_opcode opcode, const cereus_slice *parts, size_t count,
                                 size_t limit)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += parts[i].len;
    uint8_t head[CRS_WS_HEAD_MAX], mask[4];
    size_t head_len = 0;
    if (c->target.websocket) {
        uint32_t chance = next_random(c);
        memcpy(mask, &chance, sizeof mask);
        head_len = crs_ws_head(opcode, len, mask, head);
    }
    if (head_len + len > limit || tx_waiting(c) > limit - head_len - len)
        return CEREUS_E_FULL;
    if (c->tx_sent > 0 && c->tx_sent >= tx_waiting(c)) { /* moving costs less than was sent since the last time */
        memmove(c->tx.data, c->tx.data + c->tx_sent, tx_waiting(c));
        c->tx.len -= c->tx_sent;
        c->tx_sent = 0;
    }
    CEREUS_TRY(crs_bytes_reserve(&c->tx, head_len + len)); /* so that nothing below fails half-way */
    CEREUS_TRY(crs_bytes_append(&c->tx, head, head_len));
    size_t at = c->tx.len;
    for (size_t i = 0; i < count; i++)
        CEREUS_TRY(crs_bytes_append(&c->tx, parts[i].data, parts[i].len));
    if (c->target.websocket)
        crs_ws_mask(c->tx.data + at, len, mask);
    return CEREUS_OK;
}

/* Queue one packet, its body in two parts. */
static cereus_status queue_packet(cereus_client *c, crs_packet_type type, cereus_slice head, cereus_slice body,
                                  size_t limit)
{
    if (body.len > CRS_PACKET_BODY_MAX - head.len)
        return CEREUS_E_TOO_LONG;
    uint8_t packet_head[CRS_PACKET_HEAD_LEN];
    CEREUS_TRY(crs_packet_head(type, head.len + body.len, packet_head));
    const cereus_slice parts[] = {cereus_slice_of(packet_head, sizeof packet_head), head, body};
    CEREUS_TRY(queue_frame(c, CRS_WS_BINARY, parts, CEREUS_COUNT(parts), limit));
    c->counters.packets_out++;
    return CEREUS_OK;
}

static size_t control_limit(const cereus_client *c)
{
    return c->opt.send_max + CONTROL_MAX;
}

static cereus_status queue_control(cereus_client *c, crs_packet_type type)
{
    const cereus_slice nothing = cereus_slice_str("");
    return queue_packet(c, type, nothing, nothing, control_limit(c));
}

/* -- the stream: a socket, TLS on one, or a carrier -- */

/* As recv(). @p err says more than errno when that is EIO. */
static ssize_t stream_recv(cereus_client *c, void *to, size_t cap, cereus_error *err)
{
    if (c->carrier)
        return c->carrier->recv(c->carrier_user, to, cap);
    return c->tls ? crs_tls_recv(c->tls, to, cap, err) : recv(c->fd, to, cap, 0);
}

static ssize_t stream_send(cereus_client *c, const void *data, size_t len, cereus_error *err)
{
    if (c->carrier)
        return c->carrier->send(c->carrier_user, data, len);
    return c->tls ? crs_tls_send(c->tls, data, len, err) : send(c->fd, data, len, MSG_NOSIGNAL);
}

/* The stream has failed with errno, or with @p err if that is filled. */
static void lose_stream(cereus_client *c, cereus_error *err)
{
    cereus_error why;
    crs_fail(&why, CEREUS_E_GONE, "connection lost: %s", err->status ? err->msg : strerror(errno));
    lose(c, &why);
}

/* Offer what waits to the system. Returns false when the stream has failed: errno and @p err say why. */
static bool send_waiting(cereus_client *c, cereus_error *err)
{
    while (tx_waiting(c)) {
        ssize_t n = stream_send(c, c->tx.data + c->tx_sent, tx_waiting(c), err);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        if (n == 0) { /* TLS: the server has said good-bye */
            errno = EPIPE;
            return false;
        }
        c->tx_sent += (size_t)n;
    }
    return true;
}

static void flush(cereus_client *c)
{
    cereus_error err = {0};
    if (!has_stream(c) || c->dialing || c->securing)
        return;
    if (!send_waiting(c, &err)) {
        lose_stream(c, &err);
        return;
    }
    if (tx_waiting(c) == 0) {
        c->tx.len = c->tx_sent = 0;
        if (c->tx.cap > BUFFER_KEEP)
            crs_bytes_fini(&c->tx);
    }
}

/* -- understanding -- */

static cereus_status inflate_body(cereus_client *c, cereus_slice in, size_t max, cereus_slice *ret_plain)
{
    c->plain.len = 0;
    c->plain.max = max;
    if (c->plain.cap > max)
        crs_bytes_fini(&c->plain);
    CEREUS_TRY(crs_zlib_inflate(c->zlib, in, &c->plain));
    *ret_plain = crs_bytes_slice(&c->plain);
    return CEREUS_OK;
}

static void on_answer(cereus_client *c, cereus_slice body)
{
    cereus_error err;
    if (c->state != CEREUS_CLIENT_HANDSHAKING) {
        crs_fail(&err, CEREUS_E_MALFORMED, "the server answered a handshake that was not made");
        refuse(c, &err);
        return;
    }
    /* protocol.md 3.3: nothing marks a compressed answer, but JSON never begins with zlib's first byte */
    if (body.len && body.data[0] == 0x78) {
        cereus_status st = inflate_body(c, body, ANSWER_MAX, &body);
        if (st) {
            crs_fail(&err, st, "the handshake answer does not inflate");
            refuse(c, &err);
            return;
        }
    }
    crs_client_answer answer = {0};
    if (crs_client_answer_parse(body, &answer, &err)) {
        refuse(c, &err);
        return;
    }
    c->dict = answer.dict;
    c->heartbeat_ms = answer.heartbeat_ms;
    memcpy(c->serializer, answer.serializer, sizeof c->serializer);
    cereus_status st = queue_control(c, CRS_PACKET_HANDSHAKE_ACK);
    if (st) {
        crs_fail(&err, st, "no room for the handshake ack");
        refuse(c, &err);
        return;
    }
    reset_timers(c);
    if (c->heartbeat_ms) {
        c->beat_at = c->now_ms + c->heartbeat_ms;
        c->silence_at = c->now_ms + 2 * c->heartbeat_ms + SILENCE_SLACK_MS;
    }
    c->tries = 0;
    c->counters.connects++;
    set_state(c, CEREUS_CLIENT_CONNECTED, NULL);
}

static void on_push(cereus_client *c, const crs_message *msg, cereus_slice body)
{
    if (!c->on.on_push || c->doomed)
        return;
    char route[CRS_ROUTE_LEN_MAX + 1]; /* a copy: the user gets a NUL behind it */
    CRS_ASSERT(msg->route.len < sizeof route);
    memcpy(route, msg->route.data, msg->route.len);
    route[msg->route.len] = '\0';
    c->on.on_push(c, cereus_slice_of(route, msg->route.len), body, c->user);
}

static void on_response(cereus_client *c, const crs_message *msg, cereus_slice body)
{
    request *r = find_request(c, msg->id);
    if (!r) {
        c->counters.replies_late++;
        return;
    }
    cereus_client_reply reply = {.status = CEREUS_OK, .body = body, .code = "", .msg = ""};
    if (msg->error) {
        reply.status = CEREUS_E_FAILED;
        crs_arena_reset(&c->arena);
        crs_client_error_parse(body, c->serializer, &c->arena, &reply);
    }
    end_request(c, r, &reply);
}

static void on_data(cereus_client *c, cereus_slice in)
{
    crs_message msg;
    cereus_status st = crs_message_decode(in, c->dict, &msg);
    if (st == CEREUS_E_NOT_FOUND && c->state == CEREUS_CLIENT_HANDSHAKING) {
        /* protocol.md 4: pushes go out in every state, also before we know the dictionary they use */
        c->counters.pushes_dropped++;
        return;
    }
    cereus_slice body = {0};
    const char *what = "a message cannot be understood";
    if (st == CEREUS_E_NOT_FOUND) {
        what = "a push has an unknown route code";
    } else if (!st && msg.compressed) {
        st = inflate_body(c, msg.body, c->opt.body_max, &body);
        what = "a body does not inflate";
    } else if (!st && msg.body.len > c->opt.body_max) {
        st = CEREUS_E_TOO_LONG;
        what = "a body is over the limit";
    } else if (!st) {
        body = cereus_slice_of(msg.body.len ? (const void *)msg.body.data : "", msg.body.len);
    }
    if (!st && msg.type != CRS_MESSAGE_RESPONSE && msg.type != CRS_MESSAGE_PUSH) {
        st = CEREUS_E_MALFORMED;
        what = "the server sent a request or notify";
    }
    if (st) {
        cereus_error err;
        crs_fail(&err, st, "%s: %s", what, cereus_status_text(st));
        refuse(c, &err);
        return;
    }
    if (msg.type == CRS_MESSAGE_PUSH)
        on_push(c, &msg, body);
    else
        on_response(c, &msg, body);
    if (c->plain.cap > BUFFER_KEEP)
        crs_bytes_fini(&c->plain);
}

static void on_kick(cereus_client *c)
{
    uint64_t epoch = c->epoch;
    if (c->on.on_kick && !c->doomed)
        c->on.on_kick(c, c->user);
    if (c->epoch != epoch)
        return; /* the callback closed it */
    cereus_error err;
    crs_fail(&err, CEREUS_E_GONE, "kicked by the server");
    end_connection(c, CEREUS_CLIENT_KICKED, CEREUS_E_GONE, &err);
}

static void on_packet(cereus_client *c, const crs_packet *packet)
{
    c->counters.packets_in++;
    switch (packet->type) {
    case CRS_PACKET_HANDSHAKE:
        on_answer(c, packet->body);
        return;
    case CRS_PACKET_HEARTBEAT:
        return; /* any bytes are a sign of life */
    case CRS_PACKET_DATA:
        on_data(c, packet->body);
        return;
    case CRS_PACKET_KICK:
        on_kick(c);
        return;
    case CRS_PACKET_HANDSHAKE_ACK:
        break;
    }
    cereus_error err;
    crs_fail(&err, CEREUS_E_MALFORMED, "the server sent a handshake ack");
    refuse(c, &err);
}

/* Longest packet accepted now. The handshake answer holds the dictionary, which body_max does not speak of. */
static size_t packet_max(const cereus_client *c)
{
    if (c->state == CEREUS_CLIENT_HANDSHAKING)
        return CRS_PACKET_BODY_MAX;
    return CRS_MIN((size_t)CRS_PACKET_BODY_MAX, c->opt.body_max + CRS_MESSAGE_HEAD_MAX);
}

/* Handle the complete packets at the front of `in`. Returns false when the connection is over. */
static bool take_packets(cereus_client *c, cereus_slice in, size_t *ret_used)
{
    uint64_t epoch = c->epoch;
    size_t used = 0;
    for (;;) {
        crs_packet packet;
        size_t n;
        cereus_status st =
            crs_packet_decode(cereus_slice_of(in.data + used, in.len - used), packet_max(c), &packet, &n);
        if (st == CEREUS_E_AGAIN)
            break;
        if (st) {
            cereus_error err;
            crs_fail(&err, st,
                     st == CEREUS_E_TOO_LONG ? "the server sent a packet over the limit"
                                             : "the server sent what is not a packet");
            refuse(c, &err);
            return false;
        }
        used += n;
        on_packet(c, &packet);
        if (c->epoch != epoch)
            return false;
    }
    *ret_used = used;
    return true;
}

/* Returns false when the connection is over. */
static bool on_frame(cereus_client *c, const crs_ws_event *event)
{
    cereus_error err;
    cereus_slice payload = cereus_slice_of(event->payload, event->len);
    cereus_status st;
    size_t used;
    switch (event->type) {
    case CRS_WS_EVENT_MESSAGE:
        if (!take_packets(c, payload, &used))
            return false;
        if (used == payload.len)
            return true;
        /* client-protocol.md 14: packets never cross messages */
        crs_fail(&err, CEREUS_E_MALFORMED, "a WebSocket message ends inside a packet");
        refuse(c, &err);
        return false;
    case CRS_WS_EVENT_PING:
        st = queue_frame(c, CRS_WS_PONG, &payload, 1, control_limit(c));
        CRS_UNUSED(st); /* when full, the peer does not read, so it would not see the pong either */
        return true;
    case CRS_WS_EVENT_PONG:
        return true;
    case CRS_WS_EVENT_CLOSE:
        crs_fail(&err, CEREUS_E_GONE, "the server closed the WebSocket, code %u", event->code);
        lose(c, &err);
        return false;
    case CRS_WS_EVENT_ERROR:
        break;
    }
    crs_fail(&err, CEREUS_E_MALFORMED, "the server broke the WebSocket protocol: %s", event->text);
    refuse(c, &err);
    return false;
}

/* Handle the frames at the front of `in`. Returns false when the connection is over. */
static bool take_frames(cereus_client *c, uint8_t *in, size_t len, size_t *ret_used)
{
    size_t used = 0;
    for (;;) {
        crs_ws_event event;
        size_t n;
        cereus_status st = crs_ws_rx_next(&c->ws_rx, in + used, len - used, &n, &event);
        if (st == CEREUS_E_NOMEM) {
            cereus_error err;
            crs_fail(&err, st, "receive buffer");
            lose(c, &err);
            return false;
        }
        used += n;
        if (st == CEREUS_E_AGAIN)
            break;
        if (!on_frame(c, &event))
            return false;
    }
    crs_ws_rx_release(&c->ws_rx);
    *ret_used = used;
    return true;
}

static bool on_opened(cereus_client *c);

static bool take_upgrade(cereus_client *c, cereus_slice in, size_t *ret_used)
{
    cereus_error err;
    cereus_status st = crs_client_upgrade_answer(in, c->upgrade_key, ret_used, &err);
    if (st == CEREUS_E_AGAIN) {
        *ret_used = 0;
        return true;
    }
    if (st == CEREUS_OK) {
        c->upgrading = false;
        return on_opened(c);
    }
    if (st == CEREUS_E_UNAVAILABLE)
        lose(c, &err);
    else
        refuse(c, &err);
    return false;
}

/* Handle what has been received, as far as it is complete. */
static void on_bytes(cereus_client *c)
{
    crs_bytes *rx = &c->rx;
    size_t used = 0, n = 0;
    if (c->upgrading) {
        if (!take_upgrade(c, crs_bytes_slice(rx), &used))
            return;
        if (c->upgrading)
            return;
    }
    if (c->target.websocket ? !take_frames(c, rx->data + used, rx->len - used, &n)
                            : !take_packets(c, cereus_slice_of(rx->data + used, rx->len - used), &n))
        return;
    used += n;
    memmove(rx->data, rx->data + used, rx->len - used);
    rx->len -= used;
    if (rx->len == 0 && rx->cap > BUFFER_KEEP)
        crs_bytes_fini(rx);
}

static void on_readable(cereus_client *c)
{
    cereus_error err = {0};
    for (int i = 0; i < READS_PER_STEP; i++) {
        cereus_status st = crs_bytes_reserve(&c->rx, READ_CHUNK);
        if (st) {
            crs_fail(&err, st, "receive buffer");
            lose(c, &err);
            return;
        }
        size_t room = c->rx.cap - c->rx.len;
        void *to = c->rx.data + c->rx.len;
        ssize_t n = stream_recv(c, to, room, &err); /* with TLS a record at a time, which always fits */
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n < 0) {
            lose_stream(c, &err);
            return;
        }
        if (n == 0) {
            crs_fail(&err, CEREUS_E_GONE, "the server closed the connection");
            lose(c, &err);
            return;
        }
        c->rx.len += (size_t)n;
        if (c->silence_at != NEVER)
            c->silence_at = c->now_ms + 2 * c->heartbeat_ms + SILENCE_SLACK_MS;
        uint64_t epoch = c->epoch;
        on_bytes(c);
        if (c->epoch != epoch || (!c->tls && (size_t)n < room))
            return;
    }
}

/* -- connecting -- */

/* The stream carries packets from here on. Returns false when the connection is over. */
static bool on_opened(cereus_client *c)
{
    uint64_t epoch = c->epoch;
    const cereus_slice hello = crs_bytes_slice(&c->hello);
    cereus_status st = queue_frame(c, CRS_WS_BINARY, &hello, 1, control_limit(c));
    if (st) {
        cereus_error err;
        crs_fail(&err, st, "no room for the handshake");
        lose(c, &err);
        return false;
    }
    c->counters.packets_out++;
    set_state(c, CEREUS_CLIENT_HANDSHAKING, NULL);
    return c->epoch == epoch;
}

/* The stream is there, and secure if it is to be. */
static void on_stream(cereus_client *c)
{
    if (!c->target.websocket) {
        on_opened(c);
        return;
    }
    crs_ws_rx_fini(&c->ws_rx);
    crs_ws_rx_init(&c->ws_rx, &(crs_ws_rx_options){.client = true});
    uint8_t bytes[16];
    for (size_t i = 0; i < sizeof bytes; i += 4) {
        uint32_t chance = next_random(c);
        memcpy(bytes + i, &chance, 4);
    }
    crs_client_upgrade_key(bytes, c->upgrade_key);
    cereus_status st = crs_client_upgrade_request(c->target.path, c->target.authority, c->upgrade_key, &c->tx);
    if (st) {
        cereus_error err;
        crs_fail(&err, st, "no room for the upgrade request");
        lose(c, &err);
        return;
    }
    c->upgrading = true;
}

static void secure(cereus_client *c)
{
    cereus_error err;
    cereus_status st = crs_tls_handshake(c->tls, &c->securing_writes, &err);
    if (st == CEREUS_E_AGAIN)
        return;
    if (st == CEREUS_OK) {
        c->securing = false;
        on_stream(c);
        return;
    }
    cereus_error why;
    crs_fail(&why, CEREUS_E_GONE, "%s port %u: %s", c->target.host, c->target.port, err.msg);
    if (crs_tls_distrusts(c->tls))
        refuse(c, &why);
    else
        lose(c, &why);
}

static void on_dialed(cereus_client *c)
{
    cereus_error err;
    c->dialing = false;
    c->dial_at = NEVER;
    if (!c->target.tls) {
        on_stream(c);
    } else if (crs_tls_session_new(c->tls_client, c->fd, c->target.host, &c->tls, &err)) {
        lose(c, &err);
    } else {
        c->securing = true;
        secure(c);
    }
}

/* Begin to connect to one address. Returns 0, or an errno when that failed at once. */
static int dial(cereus_client *c, const crs_client_address *address)
{
    c->fd = socket(address->addr.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return errno;
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* only a matter of speed, may fail */
    c->dialing = true;
    if (connect(c->fd, &address->addr.any, address->len) == 0 || errno == EINPROGRESS || errno == EINTR)
        return 0;
    return errno;
}

/* Try the addresses from address_index on, until one is under way. */
static void dial_next(cereus_client *c, int error)
{
    while (c->address_index < c->target.address_count) {
        size_t left = c->target.address_count - c->address_index;
        error = dial(c, &c->target.addresses[c->address_index++]);
        if (error == 0) {
            /* an address that swallows packets must leave time for the others */
            c->dial_at = c->now_ms + (c->connect_at > c->now_ms ? c->connect_at - c->now_ms : 0) / left;
            return;
        }
        close_fd(c);
    }
    cereus_error err;
    crs_fail(&err, CEREUS_E_UNAVAILABLE, "cannot connect to %s port %u: %s", c->target.host, c->target.port,
             strerror(error));
    lose(c, &err);
}

static void on_dial_event(cereus_client *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error) {
        close_fd(c);
        dial_next(c, error);
        return;
    }
    on_dialed(c);
}

static void start_attempt(cereus_client *c)
{
    uint64_t epoch = c->epoch;
    c->retry_at = NEVER;
    set_state(c, CEREUS_CLIENT_CONNECTING, NULL);
    if (c->epoch != epoch || c->state != CEREUS_CLIENT_CONNECTING)
        return; /* the callback closed it */
    c->address_index = 0;
    c->connect_at = c->now_ms + c->opt.connect_timeout_ms;
    dial_next(c, 0);
}

/* -- timers -- */

static uint64_t next_timer(const cereus_client *c)
{
    uint64_t at = CRS_MIN(c->connect_at, c->dial_at);
    at = CRS_MIN(at, CRS_MIN(c->beat_at, c->silence_at));
    return CRS_MIN(at, CRS_MIN(c->retry_at, c->requests_at));
}

static void check_timers(cereus_client *c)
{
    cereus_error err;
    if (c->requests_at <= c->now_ms)
        check_requests(c);
    if (c->retry_at <= c->now_ms) {
        start_attempt(c);
        return;
    }
    if (c->connect_at <= c->now_ms) {
        crs_fail(&err, CEREUS_E_TIMEOUT, "%s port %u did not %s in time", c->target.host, c->target.port,
                 c->dialing     ? "accept the connection"
                 : c->securing  ? "finish the TLS handshake"
                 : c->upgrading ? "answer the WebSocket upgrade"
                                : "answer the handshake");
        lose(c, &err);
        return;
    }
    if (c->dial_at <= c->now_ms) {
        close_fd(c);
        dial_next(c, ETIMEDOUT);
        return;
    }
    if (c->silence_at <= c->now_ms) {
        crs_fail(&err, CEREUS_E_TIMEOUT, "the server has been silent for two heartbeats");
        lose(c, &err);
        return;
    }
    if (c->beat_at <= c->now_ms) {
        c->beat_at = c->now_ms + c->heartbeat_ms;
        /* when even this does not fit, the bytes before it are the sign of life */
        cereus_status st = queue_control(c, CRS_PACKET_HEARTBEAT);
        CRS_UNUSED(st);
    }
}

/* -- public -- */

static cereus_status append_member(crs_bytes *out, const char *name, const char *text)
{
    CEREUS_TRY(crs_bytes_printf(out, "\"%s\":", name));
    return crs_json_escape(cereus_slice_str(text), out);
}

static cereus_status build_hello(const cereus_client_options *opt, crs_bytes *out)
{
    uint8_t head[CRS_PACKET_HEAD_LEN] = {0};
    CEREUS_TRY(crs_bytes_append(out, head, sizeof head)); /* its place */
    CEREUS_TRY(crs_bytes_append_str(out, "{\"sys\":{"));
    CEREUS_TRY(append_member(out, "platform", opt->platform ? opt->platform : "c"));
    CEREUS_TRY(crs_bytes_append_byte(out, ','));
    CEREUS_TRY(append_member(out, "libVersion", opt->lib_version ? opt->lib_version : CEREUS_VERSION));
    CEREUS_TRY(crs_bytes_append_byte(out, ','));
    CEREUS_TRY(append_member(out, "clientBuildNumber", opt->client_build_number ? opt->client_build_number : "1"));
    CEREUS_TRY(crs_bytes_append_byte(out, ','));
    CEREUS_TRY(append_member(out, "clientVersion", opt->client_version ? opt->client_version : "0.1"));
    CEREUS_TRY(crs_bytes_append_byte(out, '}'));
    if (opt->user_json) {
        CEREUS_TRY(crs_bytes_append_str(out, ",\"user\":"));
        CEREUS_TRY(crs_bytes_append_str(out, opt->user_json));
    }
    CEREUS_TRY(crs_bytes_append_byte(out, '}'));
    return crs_packet_head(CRS_PACKET_HANDSHAKE, out->len - sizeof head, out->data);
}

static cereus_status check_options(const cereus_client_options *opt, cereus_error *err)
{
    if (opt->requests_max > REQUESTS_MAX_MAX)
        return crs_fail(err, CEREUS_E_RANGE, "requests_max is at most %d", REQUESTS_MAX_MAX);
    if (opt->send_max > SIZE_MAX / 4 || opt->body_max > SIZE_MAX / 4)
        return crs_fail(err, CEREUS_E_RANGE, "send_max or body_max is too large");
    if (opt->user_json) {
        json_error_t why;
        json_t *user = json_loads(opt->user_json, 0, &why);
        bool is_object = json_is_object(user);
        json_decref(user);
        if (!is_object)
            return crs_fail(err, CEREUS_E_INVALID, "user_json is not a JSON object%s%s", user ? "" : ": ",
                            user ? "" : why.text);
    }
    return CEREUS_OK;
}

static void fill_defaults(cereus_client_options *opt)
{
    opt->connect_timeout_ms = opt->connect_timeout_ms ? opt->connect_timeout_ms : 30000;
    opt->request_timeout_ms = opt->request_timeout_ms ? opt->request_timeout_ms : 5000;
    opt->requests_max = opt->requests_max ? opt->requests_max : 1024;
    opt->send_max = opt->send_max ? opt->send_max : 4 * 1024 * 1024;
    opt->body_max = opt->body_max ? opt->body_max : 16 * 1024 * 1024;
    opt->reconnect_base_ms = opt->reconnect_base_ms ? opt->reconnect_base_ms : 500;
    opt->reconnect_max_ms = opt->reconnect_max_ms ? opt->reconnect_max_ms : 30000;
}

cereus_status cereus_client_new(const cereus_client_options *options, const cereus_client_callbacks *callbacks,
                                void *user, cereus_client **ret_client, cereus_error *err)
{
    static const cereus_client_options defaults;
    if (!options)
        options = &defaults;
    CEREUS_TRY(check_options(options, err));
    cereus_client *c = crs_zalloc(sizeof *c);
    if (!c)
        return crs_fail(err, CEREUS_E_NOMEM, "client");
    c->opt = *options;
    fill_defaults(&c->opt);
    if (callbacks)
        c->on = *callbacks;
    c->user = user;
    c->fd = -1;
    c->requests_at = NEVER;
    reset_timers(c);
    crs_ws_rx_init(&c->ws_rx, NULL);
    crs_bytes_init(&c->hello, CRS_MIN(CRS_PACKET_BODY_MAX, c->opt.send_max));
    crs_bytes_init(&c->rx, CRS_PACKET_HEAD_LEN + (size_t)CRS_PACKET_BODY_MAX + READ_CHUNK);
    crs_bytes_init(&c->tx, 2 * control_limit(c) + CRS_CLIENT_UPGRADE_HEAD_MAX);
    crs_bytes_init(&c->plain, c->opt.body_max);
    crs_bytes_init(&c->deflated, CRS_PACKET_BODY_MAX);
    crs_arena_init(&c->arena, ERROR_ARENA_MAX);

    cereus_status st = build_hello(options, &c->hello);
    c->zlib = st ? NULL : crs_zlib_new(-1);
    c->opt.ca_file = options->ca_file ? crs_strdup(options->ca_file) : NULL;
    c->opt.server_name = options->server_name ? crs_strdup(options->server_name) : NULL;
    if (!st && (!c->zlib || (options->ca_file && !c->opt.ca_file) || (options->server_name && !c->opt.server_name)))
        st = CEREUS_E_NOMEM;
    /* the other texts belong to the caller and are in hello now */
    c->opt.platform = c->opt.lib_version = c->opt.client_build_number = c->opt.client_version = c->opt.user_json = NULL;
    if (st) {
        destroy(c);
        return crs_fail(err, st, "handshake data: %s", cereus_status_text(st));
    }
    *ret_client = c;
    return CEREUS_OK;
}

cereus_client *cereus_client_free(cereus_client *c)
{
    if (!c)
        return NULL;
    CRS_ASSERT(!c->doomed);
    enter(c);
    c->doomed = true;
    drop_connection(c);
    c->state = CEREUS_CLIENT_CLOSED; /* without a word, so not by set_state() */
    fail_requests(c, CEREUS_E_CANCELLED, "the client was freed");
    leave(c);
    return NULL;
}

cereus_status cereus_client_connect(cereus_client *c, const char *url, cereus_error *err)
{
    if (c->doomed || c->state == CEREUS_CLIENT_CONNECTING || c->state == CEREUS_CLIENT_HANDSHAKING ||
        c->state == CEREUS_CLIENT_CONNECTED)
        return crs_fail(err, CEREUS_E_STATE, "the client is %s", cereus_client_state_name(c->state));
    crs_client_target target;
    CEREUS_TRY(crs_client_target_find(url, &target, err));
    const crs_tls_client_options tls = {.ca_file = c->opt.ca_file,
                                        .server_name = c->opt.server_name,
                                        .insecure = c->opt.insecure,
                                        .any_protocol = true};
    if (target.tls && !c->tls_client)
        CEREUS_TRY(crs_tls_client_new(&tls, &c->tls_client, err));
    enter(c);
    c->target = target;
    c->tries = 0;
    start_attempt(c);
    leave(c);
    return CEREUS_OK;
}

cereus_status crs_client_carry(cereus_client *c, const crs_client_carrier *carrier, void *user, bool websocket)
{
    if (c->doomed || has_stream(c) || c->state == CEREUS_CLIENT_CONNECTING)
        return CEREUS_E_STATE;
    enter(c);
    c->target = (crs_client_target){.websocket = websocket, .host = "memory", .authority = "memory", .path = "/"};
    c->tries = 0;
    c->retry_at = NEVER;
    c->connect_at = c->now_ms + c->opt.connect_timeout_ms;
    c->carrier = carrier;
    c->carrier_user = user;
    uint64_t epoch = c->epoch;
    set_state(c, CEREUS_CLIENT_CONNECTING, NULL);
    if (c->epoch == epoch)
        on_dialed(c);
    leave(c);
    return CEREUS_OK;
}

void cereus_client_close(cereus_client *c)
{
    if (c->doomed || c->state == CEREUS_CLIENT_IDLE || c->state == CEREUS_CLIENT_KICKED ||
        c->state == CEREUS_CLIENT_CLOSED)
        return;
    enter(c);
    cereus_error none = {0};
    if (has_stream(c) && !c->dialing && !c->securing) {
        if (c->target.websocket && !c->upgrading) {
            uint8_t text[CRS_WS_CONTROL_MAX];
            size_t len = crs_ws_close_payload(CRS_WS_CODE_NORMAL, cereus_slice_str(""), text);
            cereus_status st = queue_frame(c, CRS_WS_CLOSE, &(cereus_slice){text, len}, 1, control_limit(c));
            CRS_UNUSED(st); /* a courtesy */
        }
        send_waiting(c, &none); /* offered once, as promised; whether it works makes no difference any more */
        if (c->tls)
            crs_tls_shut(c->tls);
        none = (cereus_error){0};
    }
    end_connection(c, CEREUS_CLIENT_CLOSED, CEREUS_E_CANCELLED, &none);
    leave(c);
}

int cereus_client_fd(const cereus_client *c)
{
    return c->fd;
}

short cereus_client_events(const cereus_client *c)
{
    if (c->fd < 0)
        return 0;
    if (c->dialing || (c->securing && c->securing_writes))
        return POLLOUT;
    return !c->securing && tx_waiting(c) ? POLLIN | POLLOUT : POLLIN;
}

int cereus_client_timeout_ms(const cereus_client *c)
{
    uint64_t at = next_timer(c);
    if (at == NEVER)
        return -1;
    uint64_t now = read_clock(c);
    return at <= now ? 0 : (int)CRS_MIN(at - now, (uint64_t)INT32_MAX);
}

void cereus_client_step(cereus_client *c, short revents)
{
    CRS_ASSERT(c->depth == 0); /* not from a callback */
    enter(c);
    if (c->dialing) {
        if (revents)
            on_dial_event(c);
    } else if (c->securing) {
        if (revents)
            secure(c);
    } else if (has_stream(c) && ((revents & ~POLLOUT) || c->silence_at <= c->now_ms)) {
        on_readable(c); /* also before silence counts: after a long pause the answer may be waiting in the socket */
    }
    check_timers(c);
    flush(c);
    leave(c);
}

bool cereus_client_poll(cereus_client *c, int timeout_ms)
{
    struct pollfd p = {.fd = c->fd, .events = cereus_client_events(c)};
    int due_ms = cereus_client_timeout_ms(c);
    if (p.fd < 0 && due_ms < 0)
        return false;
    if (timeout_ms < 0 || (due_ms >= 0 && due_ms < timeout_ms))
        timeout_ms = due_ms;
    /* a negative fd is ignored by poll(); a signal is like a timeout: step, and let the caller look around */
    int n = poll(&p, 1, timeout_ms);
    cereus_client_step(c, n > 0 ? p.revents : 0);
    return true;
}

static cereus_status send_message(cereus_client *c, crs_message *msg)
{
    if (c->opt.compress && msg->body.len > 1) {
        c->deflated.len = 0;
        CEREUS_TRY(crs_bytes_reserve(&c->deflated, msg->body.len - 1));
        size_t n = crs_zlib_deflate(c->zlib, msg->body, c->deflated.data, msg->body.len - 1);
        if (n) {
            msg->body = cereus_slice_of(c->deflated.data, n);
            msg->compressed = true;
        }
    }
    uint8_t head[CRS_MESSAGE_HEAD_MAX];
    size_t head_len;
    CEREUS_TRY(crs_message_head(msg, c->dict, head, &head_len));
    cereus_status st = queue_packet(c, CRS_PACKET_DATA, cereus_slice_of(head, head_len), msg->body, c->opt.send_max);
    if (c->deflated.cap > BUFFER_KEEP)
        crs_bytes_fini(&c->deflated);
    return st;
}

cereus_status cereus_client_request(cereus_client *c, const char *route, cereus_slice body, uint32_t timeout_ms,
                                    cereus_client_reply_fn *on_reply, void *user)
{
    if (c->state != CEREUS_CLIENT_CONNECTED)
        return CEREUS_E_STATE;
    request *r;
    cereus_status st = add_request(c, &r);
    if (st == CEREUS_OK) {
        crs_message msg = {.type = CRS_MESSAGE_REQUEST, .id = r->id, .route = cereus_slice_str(route), .body = body};
        st = send_message(c, &msg);
        if (st)
            release_request(c, r);
    }
    if (st) {
        c->counters.requests_refused += st == CEREUS_E_FULL;
        return st;
    }
    r->deadline_ms = read_clock(c) + (timeout_ms ? timeout_ms : c->opt.request_timeout_ms);
    r->on_reply = on_reply;
    r->user = user;
    c->requests_at = CRS_MIN(c->requests_at, r->deadline_ms);
    return CEREUS_OK;
}

cereus_status cereus_client_notify(cereus_client *c, const char *route, cereus_slice body)
{
    if (c->state != CEREUS_CLIENT_CONNECTED)
        return CEREUS_E_STATE;
    crs_message msg = {.type = CRS_MESSAGE_NOTIFY, .route = cereus_slice_str(route), .body = body};
    cereus_status st = send_message(c, &msg);
    c->counters.requests_refused += st == CEREUS_E_FULL;
    return st;
}

cereus_client_state cereus_client_current_state(const cereus_client *c)
{
    return c->state;
}

const char *cereus_client_state_name(cereus_client_state state)
{
    static const char *const names[] = {
#define STATE_NAME(name, text) [CEREUS_CLIENT_##name] = text,
        CEREUS_CLIENT_STATE_TABLE(STATE_NAME)
#undef STATE_NAME
    };
    return (size_t)state < CEREUS_COUNT(names) ? names[state] : "unknown";
}

const cereus_error *cereus_client_why(const cereus_client *c)
{
    return &c->why;
}

const char *cereus_client_serializer(const cereus_client *c)
{
    return c->serializer;
}

uint64_t cereus_client_heartbeat_ms(const cereus_client *c)
{
    return c->heartbeat_ms;
}

size_t cereus_client_requests_waiting(const cereus_client *c)
{
    return c->requests_count;
}

cereus_client_counters cereus_client_count(const cereus_client *c)
{
    return c->counters;
}
