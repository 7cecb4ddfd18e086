/* tests/support/game.c */
#include "game.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "transport/ws_frame.h"
#include "wire/message.h"
#include "wire/packet.h"

/* ---- events between threads ---- */

void gate_pass(gate *g)
{
    pthread_mutex_lock(&g->mu);
    g->count++;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mu);
}

void gate_await(gate *g, size_t count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += GAME_WAIT_S;
    pthread_mutex_lock(&g->mu);
    while (g->count < count && pthread_cond_timedwait(&g->changed, &g->mu, &until) != ETIMEDOUT) {
    }
    size_t have = g->count;
    pthread_mutex_unlock(&g->mu);
    if (have < count)
        fail_msg("waited for %zu passes of a gate, %zu came", count, have);
}

size_t gate_count(gate *g)
{
    pthread_mutex_lock(&g->mu);
    size_t count = g->count;
    pthread_mutex_unlock(&g->mu);
    return count;
}

void gate_reset(gate *g)
{
    pthread_mutex_lock(&g->mu);
    g->count = 0;
    pthread_mutex_unlock(&g->mu);
}

void leash_init(leash *l)
{
    l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(l->fd >= 0);
}

void leash_fini(leash *l)
{
    close(l->fd);
}

cereus_status leash_hold(leash *l, cereus_ctx *ctx)
{
    int fd = dup(l->fd); /* several handlers of one loop may hold: a loop watches each descriptor once */
    CHECK(fd >= 0);
    cereus_status st = cereus_await_fd(ctx, fd, CEREUS_FD_READABLE, 0, NULL);
    close(fd);
    return st;
}

void leash_release(leash *l)
{
    uint64_t one = 1;
    CHECK(write(l->fd, &one, sizeof one) == (ssize_t)sizeof one);
}

/* ---- the server ---- */

static cereus_status where(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return reply_text(
        out, cereus_ctx_printf(ctx, "%llu", (unsigned long long)cereus_session_get_id(cereus_ctx_session(ctx))));
}

static const cereus_method kit_methods[] = {CEREUS_RAW_REQUEST("where", where)};
static const cereus_service_options kit_options = {.home = CEREUS_HOME_SESSION};

game *game_new(unsigned loops)
{
    game *g = calloc(1, sizeof *g);
    assert_non_null(g);
    g->app = cereus_app_new(&(cereus_app_options){.type = "game", .frontend = true});
    g->t = cereus_test_new(g->app, CEREUS_TEST_SOCKETS);
    cereus_app_set_user(g->app, g);
    char text[16];
    snprintf(text, sizeof text, "%u", loops);
    game_set(g, "cereus.loops", text);
    game_set(g, "cereus.log.level", "warn");
    game_set(g, "pitaya.handler.messages.compression", "false");
    GAME_SERVE(g, "kit", kit_methods, &kit_options);
    return g;
}

void game_set(game *g, const char *key, const char *value)
{
    cereus_test_set(g->t, key, value);
}

void game_serve(game *g, const char *service, const cereus_method *methods, size_t method_count,
                const cereus_service_options *options)
{
    cereus_error err = {0};
    if (cereus_app_register(g->app, service, methods, method_count, options, &err))
        fail_msg("%s", err.msg);
}

void game_start(game *g)
{
    cereus_test_start(g->t);
}

void game_stop(game *g)
{
    cereus_test_stop(g->t);
    g->stopped = true;
}

void game_end(game *g)
{
    while (g->clients)
        client_close(g->clients);
    if (!g->stopped)
        game_stop(g);
    cereus_test_end(g->t);
    free(g);
}

void game_await_sessions(game *g, size_t count)
{
    cereus_test_expect_sessions(g->t, count);
}

void game_await_counter(game *g, const char *name, uint64_t least)
{
    cereus_test_expect_counter(g->t, name, least);
}

bool game_logged(game *g, const char *text, const char *other)
{
    char pattern[512], turned[512];
    snprintf(pattern, sizeof pattern, "%s*%s", text, other ? other : "");
    snprintf(turned, sizeof turned, "%s*%s", other ? other : "", text);
    return cereus_test_logged(g->t, pattern) || cereus_test_logged(g->t, turned);
}

/* ---- clients ---- */

typedef struct kept {
    struct kept *next;
    max_align_t data[];
} kept;

struct client {
    client *next;
    game *game;
    int fd;
    bool ws, closed, corked;
    uint8_t *out; /* what was sent while corked */
    size_t out_len, out_cap;
    crs_ws_rx rx;
    uint8_t *in; /* received, not used: raw bytes with TCP, packets with WebSocket */
    size_t in_len, in_cap;
    uint8_t *frames; /* WebSocket: bytes that are not a whole frame yet */
    size_t frames_len, frames_cap;
    uint64_t last_id;
    kept *kept;
    pthread_t listener; /* of client_listen() */
    bool listening;
    uint8_t *heard; /* by that */
    size_t heard_len, heard_cap;
};

void *client_keep(client *c, size_t len)
{
    kept *k = malloc(sizeof *k + len);
    assert_non_null(k);
    k->next = c->kept;
    c->kept = k;
    return k->data;
}

static void append(uint8_t **buf, size_t *buf_len, size_t *cap, const void *data, size_t len)
{
    if (*buf_len + len > *cap) {
        *cap = (*buf_len + len) * 2;
        *buf = realloc(*buf, *cap);
        CHECK(*buf);
    }
    if (len)
        memcpy(*buf + *buf_len, data, len);
    *buf_len += len;
}

static void take(client *c, const uint8_t *data, size_t len);

/** Receive something, or find out that the connection has ended. */
static void fill(client *c)
{
    if (c->listening) {
        pthread_join(c->listener, NULL);
        c->listening = false;
        take(c, c->heard, c->heard_len);
        c->closed = true;
        return;
    }
    uint8_t chunk[65536];
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    int ready = poll(&p, 1, GAME_WAIT_S * 1000);
    if (ready < 0 && errno == EINTR)
        return;
    if (ready == 0)
        fail_msg("a client waited for %d s and heard nothing", GAME_WAIT_S);
    ssize_t n = recv(c->fd, chunk, sizeof chunk, 0);
    if (n <= 0) {
        c->closed = true;
        return;
    }
    take(c, chunk, (size_t)n);
}

static void take(client *c, const uint8_t *data, size_t len)
{
    if (!c->ws) {
        append(&c->in, &c->in_len, &c->in_cap, data, len);
        return;
    }
    append(&c->frames, &c->frames_len, &c->frames_cap, data, len);
    size_t at = 0;
    for (;;) {
        crs_ws_event e;
        size_t used = 0;
        cereus_status st = crs_ws_rx_next(&c->rx, c->frames + at, c->frames_len - at, &used, &e);
        at += used;
        if (st == CEREUS_E_AGAIN)
            break;
        assert_int_equal(st, CEREUS_OK);
        if (e.type == CRS_WS_EVENT_MESSAGE) {
            assert_int_equal(e.opcode, CRS_WS_BINARY);
            append(&c->in, &c->in_len, &c->in_cap, e.payload, e.len);
        } else if (e.type != CRS_WS_EVENT_CLOSE) {
            fail_msg("a WebSocket client got an event of type %d", (int)e.type);
        }
    }
    memmove(c->frames, c->frames + at, c->frames_len - at);
    c->frames_len -= at;
}

void client_send_bytes(client *c, const void *data, size_t len)
{
    if (c->corked) {
        append(&c->out, &c->out_len, &c->out_cap, data, len);
        return;
    }
    for (size_t at = 0; at < len;) {
        ssize_t n = send(c->fd, (const uint8_t *)data + at, len - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return; /* the server has closed: the next read tells */
        at += (size_t)n;
    }
}

void client_cork(client *c)
{
    c->corked = true;
}

void client_uncork(client *c)
{
    c->corked = false;
    client_send_bytes(c, c->out, c->out_len);
    c->out_len = 0;
}

static uint16_t port_of(game *g, game_transport transport)
{
    const char *address = cereus_app_address(g->app, transport == GAME_WS ? 1 : 0);
    assert_non_null(address);
    return (uint16_t)atoi(strrchr(address, ':') + 1);
}

client *client_dial_raw(game *g, game_transport transport)
{
    client *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->game = g;
    c->ws = transport == GAME_WS;
    c->next = g->clients;
    g->clients = c;
    crs_ws_rx_init(&c->rx, &(crs_ws_rx_options){.client = true});
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port_of(g, transport))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        fail_msg("connect: %s", strerror(errno));
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return c;
}

client *client_dial(game *g, game_transport transport)
{
    client *c = client_dial_raw(g, transport);
    if (!c->ws)
        return c;
    static const char upgrade[] = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client_send_bytes(c, upgrade, sizeof upgrade - 1);
    char head[512];
    size_t len = 0;
    while (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0) { /* byte by byte: frames may stand behind it */
        assert_true(len < sizeof head);
        ssize_t n = recv(c->fd, head + len, 1, 0);
        assert_int_equal(n, 1);
        len++;
    }
    assert_memory_equal(head, "HTTP/1.1 101 ", 13);
    return c;
}

client *client_connect(game *g, game_transport transport)
{
    client *c = client_dial(g, transport);
    assert_int_equal(client_handshake(c, "{}"), 200);
    client_ack(c);
    return c;
}

cereus_session_id client_session(client *c)
{
    return strtoull(client_call(c, "kit.where", ""), NULL, 10);
}

unsigned client_loop(client *c)
{
    return crs_session_id_loop(client_session(c));
}

client *client_connect_on(game *g, game_transport transport, unsigned loop)
{
    for (int i = 0; i < 1000; i++) { /* the kernel picks the listening socket, so the loop, by the ports' hash */
        client *c = client_connect(g, transport);
        if (client_loop(c) == loop)
            return c;
        client_close(c);
    }
    fail_msg("no connection came to loop %u", loop);
    return NULL;
}

static void *listen_to_the_end(void *arg)
{
    client *c = arg;
    for (;;) {
        uint8_t chunk[4096];
        ssize_t n = recv(c->fd, chunk, sizeof chunk, 0);
        if (n <= 0)
            break;
        append(&c->heard, &c->heard_len, &c->heard_cap, chunk, (size_t)n);
    }
    shutdown(c->fd, SHUT_RDWR);
    return NULL;
}

void client_listen(client *c)
{
    assert_int_equal(pthread_create(&c->listener, NULL, listen_to_the_end, c), 0);
    c->listening = true;
}

void client_shut(client *c)
{
    shutdown(c->fd, SHUT_RDWR);
}

void client_close(client *c)
{
    for (client **at = &c->game->clients; *at; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    if (c->listening) {
        shutdown(c->fd, SHUT_RDWR);
        pthread_join(c->listener, NULL);
    }
    close(c->fd);
    crs_ws_rx_fini(&c->rx);
    free(c->heard);
    while (c->kept) {
        kept *next = c->kept->next;
        free(c->kept);
        c->kept = next;
    }
    free(c->out);
    free(c->in);
    free(c->frames);
    free(c);
}

void client_send_packet(client *c, int type, const void *body, size_t len)
{
    size_t packet_len = CRS_PACKET_HEAD_LEN + len, at = 0;
    uint8_t *bytes = malloc(CRS_WS_HEAD_MAX + packet_len);
    assert_non_null(bytes);
    static const uint8_t mask[4] = {1, 2, 3, 4};
    if (c->ws)
        at = crs_ws_head(CRS_WS_BINARY, packet_len, mask, bytes);
    uint8_t *packet = bytes + at;
    assert_int_equal(crs_packet_head(type, len, packet), CEREUS_OK);
    if (len)
        memcpy(packet + CRS_PACKET_HEAD_LEN, body, len);
    if (c->ws)
        crs_ws_mask(packet, packet_len, mask);
    client_send_bytes(c, bytes, at + packet_len);
    free(bytes);
}

static void send_message(client *c, crs_message_type type, uint64_t id, const char *route, const void *body, size_t len)
{
    uint8_t *bytes = malloc(CRS_MESSAGE_HEAD_MAX + len);
    assert_non_null(bytes);
    crs_message msg = {.type = type, .id = id, .route = cereus_slice_str(route)};
    size_t head_len;
    assert_int_equal(crs_message_head(&msg, NULL, bytes, &head_len), CEREUS_OK);
    if (len)
        memcpy(bytes + head_len, body, len);
    client_send_packet(c, CRS_PACKET_DATA, bytes, head_len + len);
    free(bytes);
}

uint64_t client_request_bytes(client *c, const char *route, const void *body, size_t len)
{
    send_message(c, CRS_MESSAGE_REQUEST, ++c->last_id, route, body, len);
    return c->last_id;
}

uint64_t client_request(client *c, const char *route, const char *body)
{
    return client_request_bytes(c, route, body, strlen(body));
}

void client_request_id(client *c, uint64_t id, const char *route, const char *body)
{
    send_message(c, CRS_MESSAGE_REQUEST, id, route, body, strlen(body));
}

void client_notify_bytes(client *c, const char *route, const void *body, size_t len)
{
    send_message(c, CRS_MESSAGE_NOTIFY, 0, route, body, len);
}

void client_notify(client *c, const char *route, const char *body)
{
    client_notify_bytes(c, route, body, strlen(body));
}

/** The next packet but heartbeats; false: the connection has ended. Its body is good until the next call. */
static bool next_packet(client *c, crs_packet *pkt)
{
    for (;;) {
        size_t used;
        cereus_status st = crs_packet_decode(cereus_slice_of(c->in, c->in_len), CRS_PACKET_BODY_MAX, pkt, &used);
        if (st == CEREUS_OK) {
            uint8_t *copy = client_keep(c, used + 1);
            memcpy(copy, c->in, used);
            copy[used] = '\0';
            pkt->body.data = copy + CRS_PACKET_HEAD_LEN;
            memmove(c->in, c->in + used, c->in_len - used);
            c->in_len -= used;
            if (pkt->type != CRS_PACKET_HEARTBEAT)
                return true;
            continue;
        }
        assert_int_equal(st, CEREUS_E_AGAIN);
        if (c->closed)
            return false;
        fill(c);
    }
}

void client_send_handshake(client *c, const char *json)
{
    client_send_packet(c, CRS_PACKET_HANDSHAKE, json, strlen(json));
}

int client_handshake(client *c, const char *json)
{
    crs_packet pkt;
    client_send_handshake(c, json);
    assert_true(next_packet(c, &pkt));
    assert_int_equal(pkt.type, CRS_PACKET_HANDSHAKE);
    json_t *answer = json_loadb((const char *)pkt.body.data, pkt.body.len, 0, NULL);
    assert_non_null(answer);
    int code = (int)json_integer_value(json_object_get(answer, "code"));
    json_decref(answer);
    return code;
}

void client_ack(client *c)
{
    client_send_packet(c, CRS_PACKET_HANDSHAKE_ACK, NULL, 0);
}

event client_next(client *c)
{
    crs_packet pkt;
    if (!next_packet(c, &pkt))
        return (event){.kind = EVENT_CLOSED, .body = ""};
    if (pkt.type == CRS_PACKET_KICK)
        return (event){.kind = EVENT_KICK, .body = ""};
    assert_int_equal(pkt.type, CRS_PACKET_DATA);
    crs_message msg;
    assert_int_equal(crs_message_decode(pkt.body, NULL, &msg), CEREUS_OK);
    assert_false(msg.compressed);
    event e = {.id = msg.id, .body = (const char *)msg.body.data, .len = msg.body.len};
    if (msg.type == CRS_MESSAGE_PUSH) {
        e.kind = EVENT_PUSH;
        char *route = client_keep(c, msg.route.len + 1);
        memcpy(route, msg.route.data, msg.route.len);
        route[msg.route.len] = '\0';
        e.route = route;
    } else {
        assert_int_equal(msg.type, CRS_MESSAGE_RESPONSE);
        e.kind = msg.error ? EVENT_ERROR : EVENT_RESPONSE;
    }
    return e;
}

const char *client_error_text(client *c, event e)
{
    json_t *error = json_loadb(e.body, e.len, 0, NULL);
    assert_non_null(error);
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *msg = json_string_value(json_object_get(error, "msg"));
    code = code ? code : "";
    msg = msg ? msg : "";
    char *text = client_keep(c, strlen(code) + strlen(msg) + 2);
    sprintf(text, "%s|%s", code, msg);
    json_decref(error);
    return text;
}

event client_call_bytes(client *c, const char *route, const void *body, size_t len)
{
    uint64_t id = client_request_bytes(c, route, body, len);
    event e = client_next(c);
    if (e.kind != EVENT_RESPONSE || e.id != id)
        fail_msg("%s was answered with event %d of id %llu: %s", route, (int)e.kind, (unsigned long long)e.id, e.body);
    return e;
}

const char *client_call(client *c, const char *route, const char *body)
{
    return client_call_bytes(c, route, body, strlen(body)).body;
}

const char *client_fail(client *c, const char *route, const char *body)
{
    uint64_t id = client_request(c, route, body);
    event e = client_next(c);
    if (e.kind != EVENT_ERROR || e.id != id)
        fail_msg("%s was answered with event %d of id %llu: %s", route, (int)e.kind, (unsigned long long)e.id, e.body);
    return client_error_text(c, e);
}

void client_expect_response(client *c, uint64_t id, const char *body)
{
    event e = client_next(c);
    if (e.kind != EVENT_RESPONSE || e.id != id)
        fail_msg("request %llu was answered with event %d of id %llu: %s", (unsigned long long)id, (int)e.kind,
                 (unsigned long long)e.id, e.body);
    assert_string_equal(e.body, body);
}

void client_expect_push(client *c, const char *route, const char *body)
{
    event e = client_next(c);
    if (e.kind != EVENT_PUSH)
        fail_msg("event %d instead of a push on %s: %s", (int)e.kind, route, e.body);
    assert_string_equal(e.route, route);
    assert_string_equal(e.body, body);
}

void client_expect_kick(client *c)
{
    event e = client_next(c);
    if (e.kind != EVENT_KICK)
        fail_msg("event %d instead of a kick: %s", (int)e.kind, e.body);
}

void client_expect_closed(client *c)
{
    event e = client_next(c);
    if (e.kind != EVENT_CLOSED)
        fail_msg("event %d instead of the end: %s %s", (int)e.kind, e.route ? e.route : "", e.body);
}
