/* testkit/client.c: players and raw connections.
 *
 * A player is the C client, over a socket or over the memory of manual.h. Its callbacks only note down what was heard, in
 * one list in the order of coming; the calls of the test take from it. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "carrier.h"
#include "kit.h"

enum {
    REQUEST_TIMEOUT_MS = 24 * 3600 * 1000, /* the test's patience is the limit, not the client's */
    READ_CHUNK = 65536,
    SHOWN_BINARY_MAX = 64,
};

#define KINDS(a, b, c) (1u << (a) | 1u << (b) | 1u << (c))
#define SERVERS_OWN    KINDS(CEREUS_TEST_PUSH, CEREUS_TEST_KICK, CEREUS_TEST_CLOSED) /* not an answer */

static const crs_manual_ops *const ops = &cereus_private_manual;

/* ---- for messages ---- */

/** @p data as it may stand in a message: text, or hex when it is none; cut when long. */
static const char *show(cereus_test_app *t, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    size_t n = len < KIT_SHOWN_MAX ? len : KIT_SHOWN_MAX;
    bool text = true;
    for (size_t i = 0; i < n; i++)
        text = text && (bytes[i] >= 0x20 || bytes[i] == '\n' || bytes[i] == '\t') && bytes[i] != 0x7f;
    char *out = kit_keep(t, n * 3 + 64);
    if (text) {
        memcpy(out, data, n);
        if (n < len)
            sprintf(out + n, "... (%zu bytes)", len);
        return out;
    }
    n = n < SHOWN_BINARY_MAX ? n : SHOWN_BINARY_MAX;
    size_t at = (size_t)sprintf(out, "%zu bytes:", len);
    for (size_t i = 0; i < n; i++)
        at += (size_t)sprintf(out + at, " %02x", bytes[i]);
    if (n < len)
        strcpy(out + at, " ...");
    return out;
}

static const char *print(cereus_test_app *t, const char *fmt, ...) CEREUS_PRINTF(2, 3);

static const char *print(cereus_test_app *t, const char *fmt, ...)
{
    char text[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return kit_keep_text(t, text, strlen(text));
}

static const char *describe(const cereus_test_client *c, const cereus_test_event *e)
{
    cereus_test_app *t = c->t;
    switch (e->kind) {
    case CEREUS_TEST_REPLY:
        return print(t, "a reply to \"%s\": %s", e->route, show(t, e->body, e->len));
    case CEREUS_TEST_ERROR:
        return print(t, "an error for \"%s\": code \"%s\", \"%s\"", e->route, e->code, e->msg);
    case CEREUS_TEST_PUSH:
        return print(t, "a push on \"%s\": %s", e->route, show(t, e->body, e->len));
    case CEREUS_TEST_KICK:
        return "a kick";
    case CEREUS_TEST_CLOSED:
        return print(t, "the end of the connection (%s)", *e->msg ? e->msg : "the test hung up");
    }
    return "?";
}

/* ---- what was heard ---- */

static kit_event *make_event(cereus_test_client *c, cereus_test_kind kind, const char *route, cereus_slice body)
{
    kit_event *ev = kit_keep(c->t, sizeof *ev);
    ev->e = (cereus_test_event){.kind = kind,
                                .route = route,
                                .body = kit_keep_text(c->t, body.data, body.len),
                                .len = body.len,
                                .code = "",
                                .msg = ""};
    return ev;
}

static void add_event(cereus_test_client *c, kit_event *ev)
{
    *c->events_tail = ev;
    c->events_tail = &ev->next;
    if (!c->first)
        c->first = ev;
}

static const cereus_slice nothing = {(const uint8_t *)"", 0};

static void on_state(cereus_client *client, cereus_client_state state, const cereus_error *why, void *user)
{
    (void)client;
    cereus_test_client *c = user;
    if (state != CEREUS_CLIENT_CLOSED && state != CEREUS_CLIENT_KICKED)
        return;
    kit_event *ev = make_event(c, CEREUS_TEST_CLOSED, "", nothing);
    ev->e.msg = kit_keep_text(c->t, why->msg, strlen(why->msg));
    add_event(c, ev);
}

static void on_push(cereus_client *client, cereus_slice route, cereus_slice body, void *user)
{
    (void)client;
    cereus_test_client *c = user;
    add_event(c, make_event(c, CEREUS_TEST_PUSH, kit_keep_text(c->t, route.data, route.len), body));
}

static void on_kick(cereus_client *client, void *user)
{
    (void)client;
    cereus_test_client *c = user;
    add_event(c, make_event(c, CEREUS_TEST_KICK, "", nothing));
}

static void on_reply(cereus_client *client, const cereus_client_reply *reply, void *user)
{
    (void)client;
    kit_request *r = user;
    cereus_test_app *t = r->client->t;
    kit_event *ev = make_event(r->client, reply->status == CEREUS_OK ? CEREUS_TEST_REPLY : CEREUS_TEST_ERROR, r->route,
                               reply->body);
    ev->e.request = r->id;
    ev->e.code = kit_keep_text(t, reply->code, strlen(reply->code));
    ev->e.msg = kit_keep_text(t, reply->msg, strlen(reply->msg));
    ev->meta_count = reply->metadata_count;
    ev->meta = kit_keep(t, reply->metadata_count * 2 * sizeof *ev->meta);
    for (size_t i = 0; i < reply->metadata_count; i++) {
        const cereus_client_pair *pair = &reply->metadata[i];
        ev->meta[2 * i] = kit_keep_text(t, pair->key, strlen(pair->key));
        ev->meta[2 * i + 1] = kit_keep_text(t, pair->value, strlen(pair->value));
    }
    r->answer = ev;
    if (reply->status == CEREUS_OK || reply->status == CEREUS_E_FAILED) /* else the client's own words: not heard */
        add_event(r->client, ev);
}

const char *cereus_test_meta(const cereus_test_event *event, const char *key)
{
    const kit_event *ev = (const kit_event *)event;
    for (size_t i = 0; i < ev->meta_count; i++) {
        if (strcmp(ev->meta[2 * i], key) == 0)
            return ev->meta[2 * i + 1];
    }
    return NULL;
}

/** The first event that nobody took whose kind is among @p kinds; NULL: none. */
static kit_event *find(cereus_test_client *c, unsigned kinds)
{
    while (c->first && c->first->taken)
        c->first = c->first->next;
    for (kit_event *ev = c->first; ev; ev = ev->next) {
        if (!ev->taken && (kinds & 1u << ev->e.kind))
            return ev;
    }
    return NULL;
}

/* ---- memory's bytes ---- */

static ssize_t carrier_recv(void *user, void *buf, size_t cap)
{
    cereus_test_client *c = user;
    cereus_slice in = c->lost ? nothing : ops->received(c->conn);
    if (in.len == 0 && !c->lost && !ops->closed(c->conn)) {
        errno = EAGAIN;
        return -1;
    }
    size_t n = in.len < cap ? in.len : cap;
    if (n)
        memcpy(buf, in.data, n);
    ops->take(c->conn, n);
    c->moved = true;
    return (ssize_t)n;
}

static ssize_t carrier_send(void *user, const void *data, size_t len)
{
    cereus_test_client *c = user;
    cereus_status st = c->lost ? CEREUS_E_GONE : ops->send(c->conn, data, len);
    if (st) {
        errno = st == CEREUS_E_GONE ? EPIPE : ENOBUFS;
        return -1;
    }
    c->moved = true;
    return (ssize_t)len;
}

static void carrier_close(void *user)
{
    cereus_test_client *c = user;
    ops->hang_up(c->conn);
    c->conn = NULL;
    c->moved = true;
}

static const crs_client_carrier carrier = {.recv = carrier_recv, .send = carrier_send, .close = carrier_close};

/* ---- raw bytes ---- */

static void add_bytes(cereus_test_client *c, const void *data, size_t len)
{
    if (c->in_len + len > c->in_cap) {
        c->in_cap = (c->in_len + len) * 2;
        c->in = kit_realloc(c->in, c->in_cap);
    }
    memcpy(c->in + c->in_len, data, len);
    c->in_len += len;
    c->moved = true;
}

/** Read what is there. */
static void raw_fill(cereus_test_client *c)
{
    if (c->lost) {
        c->moved = c->moved || !c->in_end;
        c->in_end = true;
    } else if (c->conn) {
        cereus_slice in = ops->received(c->conn);
        if (in.len)
            add_bytes(c, in.data, in.len);
        ops->take(c->conn, in.len);
        c->moved = c->moved || (!c->in_end && ops->closed(c->conn));
        c->in_end = ops->closed(c->conn);
    }
    while (c->fd >= 0 && !c->in_end) {
        uint8_t chunk[READ_CHUNK];
        ssize_t n = recv(c->fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n > 0) {
            add_bytes(c, chunk, (size_t)n);
            continue;
        }
        c->in_end = true;
        shutdown(c->fd, SHUT_RDWR); /* as real clients do: a server that stops waits for that */
    }
}

/* ---- going on ---- */

bool kit_client_step(cereus_test_client *c)
{
    if (c->frozen || (c->t->paused && !c->lost))
        return false;
    c->moved = false;
    if (!c->client) {
        if (c->conn)
            raw_fill(c);
        return c->moved;
    }
    bool due = cereus_client_timeout_ms(c->client) == 0;
    if (c->conn || due)
        cereus_client_step(c->client, POLLIN);
    return c->moved || due;
}

uint64_t kit_client_next_ms(cereus_test_client *c)
{
    bool still = c->frozen || (c->t->paused && !c->lost);
    int left_ms = c->client && !still ? cereus_client_timeout_ms(c->client) : -1;
    return left_ms < 0 ? UINT64_MAX : kit_clock_ms(c->t) + (uint64_t)left_ms;
}

bool kit_clients_poll(cereus_test_app *t, int wake_fd, int timeout_ms)
{
    size_t count = 1, at = 1;
    for (cereus_test_client *c = t->clients; c; c = c->next)
        count++;
    struct pollfd *fds = kit_alloc(count * sizeof *fds);
    fds[0] = (struct pollfd){.fd = wake_fd, .events = POLLIN};
    for (cereus_test_client *c = t->clients; c; c = c->next, at++) {
        fds[at].fd = -1;
        if (c->frozen)
            continue;
        if (c->client) {
            fds[at].fd = cereus_client_fd(c->client);
            fds[at].events = cereus_client_events(c->client);
            int due_ms = cereus_client_timeout_ms(c->client);
            timeout_ms = due_ms >= 0 && due_ms < timeout_ms ? due_ms : timeout_ms;
        } else if (!c->in_end) {
            fds[at].fd = c->fd;
            fds[at].events = POLLIN;
        }
    }
    int n = poll(fds, count, timeout_ms);
    at = 1;
    for (cereus_test_client *c = t->clients; c; c = c->next, at++) {
        short revents = n > 0 ? fds[at].revents : 0;
        if (c->frozen)
            continue;
        if (c->client && (revents || cereus_client_timeout_ms(c->client) == 0))
            cereus_client_step(c->client, revents);
        else if (revents && !c->client)
            raw_fill(c);
    }
    free(fds);
    return n > 0;
}

static uint64_t client_clock(void *user)
{
    return kit_clock_ms(((cereus_test_client *)user)->t);
}

/* ---- connecting ---- */

static cereus_test_client *make_client(cereus_test_where where, cereus_test_app *t, cereus_test_transport transport)
{
    if (!t->running) {
        cereus_test_fail_at(where, "the app is not running: call cereus_test_start() first");
        return NULL;
    }
    cereus_test_client *c = kit_alloc(sizeof *c);
    c->t = t;
    c->transport = transport;
    c->fd = -1;
    c->events_tail = &c->events;
    *t->clients_tail = c;
    t->clients_tail = &c->next;
    return c;
}

static const char *address(cereus_test_client *c)
{
    const char *text = cereus_app_address(c->t->app, c->transport == CEREUS_TEST_WS ? 1 : 0);
    return text ? text : "a backend, which takes no players";
}

static cereus_status reach(cereus_test_client *c, unsigned loop, cereus_error *err)
{
    if (c->t->mode == CEREUS_TEST_SOCKETS)
        return cereus_client_connect(c->client, address(c), err);
    cereus_status st = ops->open(c->t->app, loop, c->transport == CEREUS_TEST_WS, &c->conn);
    return st ? st : crs_client_carry(c->client, &carrier, c, c->transport == CEREUS_TEST_WS);
}

static bool is_settled(void *arg)
{
    cereus_client_state state = cereus_client_current_state(((cereus_test_client *)arg)->client);
    return state != CEREUS_CLIENT_CONNECTING && state != CEREUS_CLIENT_HANDSHAKING;
}

/** Connect, to whatever end. NULL: a test failed already. */
static cereus_test_client *try_connect(cereus_test_where where, cereus_test_app *t,
                                       const cereus_test_client_options *options)
{
    static const cereus_test_client_options defaults;
    options = options ? options : &defaults;
    cereus_test_client *c = make_client(where, t, options->transport);
    if (!c)
        return NULL;
    cereus_client_options opt = {.platform = options->platform,
                                 .client_version = options->client_version,
                                 .user_json = options->user_json,
                                 .compress = options->compress,
                                 .request_timeout_ms = REQUEST_TIMEOUT_MS,
                                 .now_ms = client_clock};
    cereus_client_callbacks on = {.on_state = on_state, .on_push = on_push, .on_kick = on_kick};
    cereus_error err = {0};
    if (cereus_client_new(&opt, &on, c, &c->client, &err) || reach(c, options->loop, &err)) {
        cereus_test_fail_at(where, "a client cannot be made: %s", err.msg);
        return NULL;
    }
    if (!kit_wait(where, t, is_settled, c, 1000)) {
        cereus_test_fail_at(where, "the handshake has not been answered: %s", kit_waited(t));
        return NULL;
    }
    return c;
}

cereus_test_client *cereus_test_connect_with_at(cereus_test_where where, cereus_test_app *t,
                                                const cereus_test_client_options *options)
{
    cereus_test_client *c = try_connect(where, t, options);
    if (c && cereus_client_current_state(c->client) != CEREUS_CLIENT_CONNECTED)
        cereus_test_fail_at(where, "a connection expected, but: %s", cereus_client_why(c->client)->msg);
    return c;
}

cereus_test_client *cereus_test_connect_at(cereus_test_where where, cereus_test_app *t, cereus_test_transport transport)
{
    return cereus_test_connect_with_at(where, t, &(cereus_test_client_options){.transport = transport});
}

const char *cereus_test_connect_fails_at(cereus_test_where where, cereus_test_app *t,
                                         const cereus_test_client_options *options)
{
    cereus_test_client *c = try_connect(where, t, options);
    if (c && cereus_client_current_state(c->client) == CEREUS_CLIENT_CONNECTED)
        cereus_test_fail_at(where, "a refusal expected, but the client is connected");
    return c ? cereus_client_why(c->client)->msg : "";
}

cereus_test_client *cereus_test_dial_at(cereus_test_where where, cereus_test_app *t, cereus_test_transport transport)
{
    cereus_test_client *c = make_client(where, t, transport);
    if (!c)
        return NULL;
    if (t->mode == CEREUS_TEST_MEMORY) {
        cereus_status st = ops->open(t->app, 0, transport == CEREUS_TEST_WS, &c->conn);
        if (st)
            cereus_test_fail_at(where, "a connection cannot be made: %s", cereus_status_text(st));
        return c;
    }
    const char *port = strrchr(address(c), ':');
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(port ? atoi(port + 1) : 0))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        cereus_test_fail_at(where, "cannot connect to %s: %s", address(c), strerror(errno));
    return c;
}

void cereus_test_hang_up(cereus_test_client *c)
{
    c->frozen = false;
    if (c->client) {
        cereus_client_close(c->client);
        return;
    }
    c->in_end = true;
    if (c->conn)
        ops->hang_up(c->conn);
    c->conn = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void cereus_test_freeze(cereus_test_client *c, bool frozen)
{
    c->frozen = frozen;
}

void kit_client_free(cereus_test_client *c)
{
    cereus_test_hang_up(c);
    cereus_client_free(c->client);
    free(c->requests);
    free(c->in);
    free(c);
}

/* ---- requests ---- */

static bool is_player(cereus_test_where where, const cereus_test_client *c)
{
    if (!c->client)
        cereus_test_fail_at(where, "this is a raw connection of cereus_test_dial(): it sends and hears bytes only");
    return c->client;
}

static void cannot_send(cereus_test_where where, const cereus_test_client *c, const char *route, cereus_status st)
{
    cereus_test_fail_at(where, "\"%s\" cannot be sent: %s (the client is %s%s%s)", route, cereus_status_text(st),
                        cereus_client_state_name(cereus_client_current_state(c->client)),
                        cereus_client_why(c->client)->msg[0] ? ": " : "", cereus_client_why(c->client)->msg);
}

uint64_t cereus_test_request_bytes_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                      cereus_slice body)
{
    if (!is_player(where, c))
        return 0;
    kit_request *r = kit_keep(c->t, sizeof *r);
    r->client = c;
    r->route = kit_keep_text(c->t, route, strlen(route));
    cereus_status st = cereus_client_request(c->client, route, body, 0, on_reply, r);
    if (st) {
        cannot_send(where, c, route, st);
        return 0;
    }
    c->requests = kit_realloc(c->requests, (c->request_count + 1) * sizeof *c->requests);
    c->requests[c->request_count++] = r;
    return r->id = c->request_count;
}

uint64_t cereus_test_request_at(cereus_test_where where, cereus_test_client *c, const char *route, const char *body)
{
    return cereus_test_request_bytes_at(where, c, route, cereus_slice_str(body));
}

/** The text of what json_pack() makes; NULL: the test has failed. Kept. */
static const char *pack_text(cereus_test_where where, cereus_test_app *t, const char *fmt, va_list args)
{
    json_error_t why;
    json_t *json = json_vpack_ex(&why, 0, fmt, args);
    char *dumped = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    const char *text = dumped ? kit_keep_text(t, dumped, strlen(dumped)) : NULL;
    free(dumped);
    json_decref(json);
    if (!text)
        cereus_test_fail_at(where, "json_pack(\"%s\"): %s", fmt, why.text);
    return text;
}

uint64_t cereus_test_request_json_at(cereus_test_where where, cereus_test_client *c, const char *route, const char *fmt,
                                     ...)
{
    va_list args;
    va_start(args, fmt);
    const char *body = pack_text(where, c->t, fmt, args);
    va_end(args);
    return body ? cereus_test_request_at(where, c, route, body) : 0;
}

static kit_request *find_request(cereus_test_where where, cereus_test_client *c, uint64_t request)
{
    if (request > 0 && request <= c->request_count)
        return c->requests[request - 1];
    cereus_test_fail_at(where, "this client has sent no request number %" PRIu64, request);
    return NULL;
}

bool cereus_test_answered_at(cereus_test_where where, cereus_test_client *c, uint64_t request)
{
    cereus_test_settle_at(where, c->t);
    const kit_request *r = find_request(where, c, request);
    return r && r->answer;
}

static bool is_answered(void *arg)
{
    return ((kit_request *)arg)->answer != NULL;
}

const cereus_test_event *cereus_test_await_at(cereus_test_where where, cereus_test_client *c, uint64_t request)
{
    kit_request *r = request ? find_request(where, c, request) : NULL;
    if (!r)
        return NULL;
    if (!kit_wait(where, c->t, is_answered, r, 1000)) {
        cereus_test_fail_at(where, "the request on \"%s\" has not been answered: %s", r->route, kit_waited(c->t));
        return NULL;
    }
    r->answer->taken = true;
    return &r->answer->e;
}

/** Wait for a reply, not an error. */
static const cereus_test_event *await_reply(cereus_test_where where, cereus_test_client *c, uint64_t request)
{
    const cereus_test_event *e = cereus_test_await_at(where, c, request);
    if (e && e->kind != CEREUS_TEST_REPLY) {
        cereus_test_fail_at(where, "a reply to \"%s\" expected, but %s came", e->route, describe(c, e));
        return NULL;
    }
    return e;
}

cereus_slice cereus_test_call_bytes_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                       cereus_slice body)
{
    const cereus_test_event *e = await_reply(where, c, cereus_test_request_bytes_at(where, c, route, body));
    return e ? cereus_slice_of(e->body, e->len) : nothing;
}

const char *cereus_test_call_at(cereus_test_where where, cereus_test_client *c, const char *route, const char *body)
{
    return (const char *)cereus_test_call_bytes_at(where, c, route, cereus_slice_str(body)).data;
}

/** The body of @p e as JSON. */
static json_t *parse(cereus_test_where where, cereus_test_client *c, const cereus_test_event *e)
{
    json_error_t why;
    json_t *json = e ? json_loadb(e->body, e->len, JSON_DECODE_ANY, &why) : NULL;
    if (e && !json)
        cereus_test_fail_at(where, "JSON expected, but %s came (%s)", describe(c, e), why.text);
    return json ? kit_keep_json(c->t, json) : NULL;
}

json_t *cereus_test_call_json_at(cereus_test_where where, cereus_test_client *c, const char *route, const char *fmt,
                                 ...)
{
    va_list args;
    va_start(args, fmt);
    const char *body = pack_text(where, c->t, fmt, args);
    va_end(args);
    return body ? parse(where, c, await_reply(where, c, cereus_test_request_at(where, c, route, body))) : NULL;
}

const cereus_test_event *cereus_test_call_fails_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                                   const char *body, const char *code)
{
    const cereus_test_event *e = cereus_test_await_at(where, c, cereus_test_request_at(where, c, route, body));
    if (e && (e->kind != CEREUS_TEST_ERROR || (code && strcmp(code, e->code) != 0)))
        cereus_test_fail_at(where, "an error for \"%s\"%s%s expected, but %s came", route, code ? " with code " : "",
                            code ? code : "", describe(c, e));
    return e;
}

void cereus_test_notify_bytes_at(cereus_test_where where, cereus_test_client *c, const char *route, cereus_slice body)
{
    cereus_status st = is_player(where, c) ? cereus_client_notify(c->client, route, body) : CEREUS_OK;
    if (st)
        cannot_send(where, c, route, st);
}

void cereus_test_notify_at(cereus_test_where where, cereus_test_client *c, const char *route, const char *body)
{
    cereus_test_notify_bytes_at(where, c, route, cereus_slice_str(body));
}

void cereus_test_notify_json_at(cereus_test_where where, cereus_test_client *c, const char *route, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *body = pack_text(where, c->t, fmt, args);
    va_end(args);
    if (body)
        cereus_test_notify_at(where, c, route, body);
}

/* ---- expectations ---- */

typedef struct heard {
    cereus_test_client *c;
    unsigned kinds;
} heard;

static bool has_heard(void *arg)
{
    heard *h = arg;
    return find(h->c, h->kinds) != NULL;
}

/** Wait for the next event of @p kinds; @p what is what the test expects. The end of a connection stays for ever. */
static kit_event *take(cereus_test_where where, cereus_test_client *c, unsigned kinds, const char *what)
{
    if (!is_player(where, c))
        return NULL;
    heard h = {.c = c, .kinds = kinds};
    if (!has_heard(&h) && !kit_wait(where, c->t, has_heard, &h, 1000)) {
        cereus_test_fail_at(where, "%s expected, but nothing came: %s", what, kit_waited(c->t));
        return NULL;
    }
    kit_event *ev = find(c, kinds);
    ev->taken = ev->e.kind != CEREUS_TEST_CLOSED;
    return ev;
}

const cereus_test_event *cereus_test_next_at(cereus_test_where where, cereus_test_client *c)
{
    kit_event *ev = take(where, c, SERVERS_OWN | 1u << CEREUS_TEST_REPLY | 1u << CEREUS_TEST_ERROR, "something");
    return ev ? &ev->e : NULL;
}

const cereus_test_event *cereus_test_poll(cereus_test_client *c)
{
    kit_event *ev = find(c, SERVERS_OWN | 1u << CEREUS_TEST_REPLY | 1u << CEREUS_TEST_ERROR);
    if (!ev)
        return NULL;
    ev->taken = ev->e.kind != CEREUS_TEST_CLOSED;
    return &ev->e;
}

const char *cereus_test_expect_push_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                       const char *body)
{
    const char *what =
        print(c->t, "a push on \"%s\"%s%s", route, body ? ": " : "", body ? show(c->t, body, strlen(body)) : "");
    kit_event *ev = take(where, c, SERVERS_OWN, what);
    if (!ev)
        return "";
    const cereus_test_event *e = &ev->e;
    if (e->kind != CEREUS_TEST_PUSH || strcmp(e->route, route) != 0 ||
        (body && (strlen(body) != e->len || memcmp(body, e->body, e->len) != 0)))
        cereus_test_fail_at(where, "%s expected, but %s came", what, describe(c, e));
    return e->body;
}

/** Compare with what json_pack() makes. */
static void expect_json(cereus_test_where where, const json_t *json, const char *fmt, va_list args)
{
    json_error_t why;
    json_t *want = json_vpack_ex(&why, 0, fmt, args);
    if (!want) {
        cereus_test_fail_at(where, "json_pack(\"%s\"): %s", fmt, why.text);
        return;
    }
    bool equal = json_equal(json, want);
    char wanted[2048] = "", came[2048] = "nothing";
    if (!equal) {
        size_t flags = JSON_SORT_KEYS | JSON_ENCODE_ANY;
        size_t n = json_dumpb(want, wanted, sizeof wanted - 1, flags);
        wanted[n < sizeof wanted ? n : sizeof wanted - 1] = '\0';
        n = json ? json_dumpb(json, came, sizeof came - 1, flags) : strlen(came);
        came[n < sizeof came ? n : sizeof came - 1] = '\0';
    }
    json_decref(want); /* before the fail, which may not return */
    if (!equal)
        cereus_test_fail_at(where, "JSON %s expected, but %s came", wanted, came);
}

void cereus_test_expect_json_at(cereus_test_where where, const json_t *json, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    expect_json(where, json, fmt, args);
    va_end(args);
}

json_t *cereus_test_expect_push_json_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                        const char *fmt, ...)
{
    const char *what = print(c->t, "a push on \"%s\"", route);
    kit_event *ev = take(where, c, SERVERS_OWN, what);
    if (!ev)
        return NULL;
    if (ev->e.kind != CEREUS_TEST_PUSH || strcmp(ev->e.route, route) != 0) {
        cereus_test_fail_at(where, "%s expected, but %s came", what, describe(c, &ev->e));
        return NULL;
    }
    json_t *json = parse(where, c, &ev->e);
    va_list args;
    va_start(args, fmt);
    if (json && fmt)
        expect_json(where, json, fmt, args);
    va_end(args);
    return json;
}

void cereus_test_expect_kick_at(cereus_test_where where, cereus_test_client *c)
{
    kit_event *ev = take(where, c, SERVERS_OWN, "a kick");
    if (ev && ev->e.kind != CEREUS_TEST_KICK)
        cereus_test_fail_at(where, "a kick expected, but %s came", describe(c, &ev->e));
}

static bool raw_is_over(void *arg)
{
    const cereus_test_client *c = arg;
    return c->in_end || c->in_len;
}

const char *cereus_test_expect_closed_at(cereus_test_where where, cereus_test_client *c)
{
    const char *what = "the end of the connection";
    if (c->client) {
        kit_event *ev = take(where, c, SERVERS_OWN, what);
        if (ev && ev->e.kind != CEREUS_TEST_CLOSED)
            cereus_test_fail_at(where, "%s expected, but %s came", what, describe(c, &ev->e));
        return ev ? ev->e.msg : "";
    }
    if (!kit_wait(where, c->t, raw_is_over, c, 1000))
        cereus_test_fail_at(where, "%s expected, but nothing came: %s", what, kit_waited(c->t));
    else if (c->in_len)
        cereus_test_fail_at(where, "%s expected, but bytes came: %s", what, show(c->t, c->in, c->in_len));
    return "";
}

void cereus_test_expect_nothing_at(cereus_test_where where, cereus_test_client *c)
{
    if (c->t->mode != CEREUS_TEST_MEMORY) {
        cereus_test_fail_at(where, "cereus_test_expect_nothing(): with sockets nobody knows what is under way; use "
                                   "CEREUS_TEST_MEMORY");
        return;
    }
    cereus_test_settle_at(where, c->t);
    if (!c->client) {
        if (c->in_len || c->in_end)
            cereus_test_fail_at(where, "nothing expected, but %s came",
                                c->in_len ? show(c->t, c->in, c->in_len) : "the end of the connection");
        return;
    }
    kit_event *ev = find(c, ~0u);
    if (ev)
        cereus_test_fail_at(where, "nothing expected, but %s came", describe(c, &ev->e));
}

/* ---- raw calls ---- */

static bool is_raw(cereus_test_where where, const cereus_test_client *c)
{
    if (c->client)
        cereus_test_fail_at(where, "this is a player: bytes are for connections of cereus_test_dial()");
    return !c->client;
}

typedef struct unsent {
    cereus_test_client *c;
    const uint8_t *data;
    size_t len;
} unsent;

static bool raw_sent(void *arg)
{
    unsent *u = arg;
    while (u->len && u->c->fd >= 0) {
        ssize_t n = send(u->c->fd, u->data, u->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return false;
        if (n < 0)
            return true; /* closed: what is expected next tells */
        u->data += n;
        u->len -= (size_t)n;
    }
    return true;
}

void cereus_test_send_at(cereus_test_where where, cereus_test_client *c, const void *data, size_t len)
{
    if (!is_raw(where, c))
        return;
    if (c->conn) {
        cereus_status st = ops->send(c->conn, data, len);
        if (st && st != CEREUS_E_GONE)
            cereus_test_fail_at(where, "%zu bytes cannot be sent: %s", len, cereus_status_text(st));
        return;
    }
    unsent u = {.c = c, .data = data, .len = len};
    if (!kit_wait(where, c->t, raw_sent, &u, 1))
        cereus_test_fail_at(where, "%zu of %zu bytes cannot be sent, for the server does not read: %s", u.len, len,
                            kit_waited(c->t));
}

typedef struct wanted {
    cereus_test_client *c;
    size_t len;
} wanted;

static bool raw_has(void *arg)
{
    const wanted *w = arg;
    return w->c->in_end || w->c->in_len >= w->len;
}

const uint8_t *cereus_test_read_at(cereus_test_where where, cereus_test_client *c, size_t len)
{
    if (!is_raw(where, c))
        return NULL;
    wanted w = {.c = c, .len = len};
    kit_wait(where, c->t, raw_has, &w, 1000);
    if (c->in_len < len) {
        cereus_test_fail_at(where, "%zu bytes expected, but %zu came%s%s: %s", len, c->in_len, c->in_len ? ": " : "",
                            c->in_len ? show(c->t, c->in, c->in_len) : "",
                            c->in_end ? "the connection has ended" : kit_waited(c->t));
        return NULL;
    }
    const uint8_t *bytes = (const uint8_t *)kit_keep_text(c->t, c->in, len);
    memmove(c->in, c->in + len, c->in_len - len);
    c->in_len -= len;
    return bytes;
}

void cereus_test_expect_bytes_at(cereus_test_where where, cereus_test_client *c, const void *data, size_t len)
{
    const uint8_t *bytes = cereus_test_read_at(where, c, len);
    if (bytes && len && memcmp(bytes, data, len) != 0)
        cereus_test_fail_at(where, "these bytes expected: %s\nbut these came: %s", show(c->t, data, len),
                            show(c->t, bytes, len));
}
