/* tests/unit/ext/test_grpc.c: the channel against peers of a thread: an orderly one that the tests script, and hostile ones.
 * They write HTTP/2 frames by hand, so that nothing of ours is on both ends. */
#include "etcd.h"
#include "real_loop.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "ext/etcd_rpc.pb-c.h"
#include "ext/grpc.h"

/* ---- the peer ---- */

enum { DATA = 0, HEADERS = 1, RST = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, END_STREAM = 1, END_HEADERS = 4, ACK = 1 };

typedef struct frame {
    uint8_t type, flags;
    uint32_t id, len;
    uint8_t body[1 << 16];
} frame;

typedef struct peer peer;
typedef void serve_fn(peer *p);

struct peer {
    int listener, fd;
    uint16_t port;
    char endpoint[32];
    pthread_t thread;
    serve_fn *serve;     /* of one connection */
    int connections;     /* how many are served before it stops listening */
    atomic_int accepted; /* so far */
    atomic_int note;     /* what a test wants to know */
    atomic_bool go;      /* a test lets it go on */
    frame f;
};

static bool put_bytes(peer *p, const void *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(p->fd, (const uint8_t *)data + at, len - at, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static bool get_bytes(peer *p, void *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = recv(p->fd, (uint8_t *)data + at, len - at, 0);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static bool put_frame(peer *p, uint8_t type, uint8_t flags, uint32_t id, const void *body, size_t len)
{
    uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len,       type,       flags,
                       (uint8_t)(id >> 24),  (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    return put_bytes(p, head, 9) && (len == 0 || put_bytes(p, body, len));
}

static bool get_frame(peer *p)
{
    uint8_t head[9];
    if (!get_bytes(p, head, 9))
        return false;
    p->f.len = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
    p->f.type = head[3];
    p->f.flags = head[4];
    p->f.id = (uint32_t)head[5] << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8];
    return p->f.len <= sizeof p->f.body && get_bytes(p, p->f.body, p->f.len);
}

/** The next frame of a kind; pings and settings are answered on the way. */
static bool get_until(peer *p, uint8_t type, uint8_t flags)
{
    while (get_frame(p)) {
        if (p->f.type == type && (p->f.flags & flags) == flags)
            return true;
        if (p->f.type == SETTINGS && !(p->f.flags & ACK) && !put_frame(p, SETTINGS, ACK, 0, NULL, 0))
            return false;
        if (p->f.type == PING && !(p->f.flags & ACK) && !put_frame(p, PING, ACK, 0, p->f.body, 8))
            return false;
    }
    return false;
}

static bool greet(peer *p)
{
    char preface[24];
    return get_bytes(p, preface, 24) && put_frame(p, SETTINGS, 0, 0, NULL, 0);
}

/** HPACK without its tables: fields as literals. */
static size_t field(uint8_t *at, const char *name, const char *value)
{
    size_t name_len = strlen(name), value_len = strlen(value), len = 0;
    assert_true(name_len < 127 && value_len < 127);
    at[len++] = 0;
    at[len++] = (uint8_t)name_len;
    memcpy(at + len, name, name_len);
    len += name_len;
    at[len++] = (uint8_t)value_len;
    memcpy(at + len, value, value_len);
    return len + value_len;
}

static bool put_headers(peer *p, uint32_t id, bool last, const char *const *fields)
{
    uint8_t block[2048];
    size_t len = 0;
    for (; *fields; fields += 2)
        len += field(block + len, fields[0], fields[1]);
    return put_frame(p, HEADERS, END_HEADERS | (last ? END_STREAM : 0), id, block, len);
}

static const char *const fine_head[] = {":status", "200", "content-type", "application/grpc", NULL};
static const char *const fine_end[] = {"grpc-status", "0", NULL};

static bool put_message(peer *p, uint32_t id, const void *data, uint32_t len)
{
    uint8_t body[1024] = {0, 0, 0, (uint8_t)(len >> 8), (uint8_t)len};
    memcpy(body + 5, data, len);
    return put_frame(p, DATA, 0, id, body, 5 + len);
}

static bool answer(peer *p, uint32_t id)
{
    return put_headers(p, id, false, fine_head) && put_message(p, id, "hello", 5) && put_headers(p, id, true, fine_end);
}

/** The next request is there, whole. */
static bool get_request(peer *p)
{
    return get_until(p, DATA, END_STREAM);
}

static void *run_peer(void *arg)
{
    peer *p = arg;
    for (int i = 0; i < p->connections; i++) {
        p->fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
        if (p->fd < 0)
            break;
        int on = 1;
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        atomic_fetch_add(&p->accepted, 1);
        p->serve(p);
        close(p->fd);
    }
    return NULL;
}

static void peer_start(peer *p, serve_fn *serve, int connections)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    memset(p, 0, sizeof *p);
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(p->listener, 16), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)&in, &len), 0);
    p->port = ntohs(in.sin_port);
    snprintf(p->endpoint, sizeof p->endpoint, "127.0.0.1:%u", p->port);
    p->serve = serve;
    p->connections = connections;
    assert_int_equal(pthread_create(&p->thread, NULL, run_peer, p), 0);
}

/* ---- the world ---- */

typedef struct world {
    test_real_loop t;
    peer peer;
    crs_grpc_channel *channel;
    bool ready;
    int losses;
    cereus_error why, err;
} world;

static void on_state(bool ready, const cereus_error *why, void *user)
{
    world *w = user;
    w->ready = ready;
    if (!ready) {
        w->losses++;
        w->why = *why;
    }
}

static void world_open_with(world *w, serve_fn *serve, int connections, crs_grpc_options opt)
{
    memset(w, 0, sizeof *w);
    test_real_loop_open(&w->t);
    peer_start(&w->peer, serve, connections);
    const char *endpoints[] = {w->peer.endpoint};
    opt.name = "tester";
    opt.endpoints = endpoints;
    opt.endpoint_count = 1;
    opt.backoff_min_ms = 5;
    opt.backoff_max_ms = 20;
    opt.on_state = on_state;
    opt.user = w;
    assert_int_equal(crs_grpc_channel_open(w->t.loop, &opt, &w->channel, &w->err), CEREUS_OK);
}

static void world_open(world *w, serve_fn *serve)
{
    world_open_with(w, serve, 1000, (crs_grpc_options){0});
}

static void world_close(world *w)
{
    w->channel = crs_grpc_channel_close(w->channel);
    shutdown(w->peer.listener, SHUT_RDWR);
    pthread_join(w->peer.thread, NULL);
    close(w->peer.listener);
    test_real_loop_close(&w->t);
}

typedef struct reply {
    bool done;
    crs_grpc_result result;
    char text[600], error[500];
    size_t messages;
    crs_grpc_call *call;
} reply;

static void on_done(const crs_grpc_result *result, void *user)
{
    reply *r = user;
    assert_false(r->done);
    r->done = true;
    r->result = *result;
    if (!result->status)
        snprintf(r->text, sizeof r->text, "%.*s", (int)result->reply.len, (const char *)result->reply.data);
    else
        snprintf(r->error, sizeof r->error, "%s", result->err->msg);
}

static void on_message(cereus_slice message, void *user)
{
    reply *r = user;
    r->messages++;
    snprintf(r->text, sizeof r->text, "%.*s", (int)message.len, (const char *)message.data);
}

static CrsEtcd__LeaseRevokeRequest some_request(void)
{
    CrsEtcd__LeaseRevokeRequest request = CRS_ETCD__LEASE_REVOKE_REQUEST__INIT;
    request.id = 7;
    return request;
}

static cereus_status start(world *w, reply *r, uint32_t timeout_ms, bool wait)
{
    CrsEtcd__LeaseRevokeRequest request = some_request();
    crs_grpc_ask ask = {.path = "/test.Test/Call", .request = &request.base, .timeout_ms = timeout_ms, .wait = wait};
    *r = (reply){0};
    return crs_grpc_call_start(w->channel, &ask, on_done, r, &r->call, &w->err);
}

static reply call_for(world *w, uint32_t timeout_ms)
{
    reply r;
    assert_int_equal(start(w, &r, timeout_ms, true), CEREUS_OK);
    TEST_UNTIL(&w->t, r.done);
    return r;
}

static reply call(world *w)
{
    return call_for(w, 30000);
}

static cereus_status open_stream(world *w, reply *r)
{
    crs_grpc_ask ask = {.path = "/test.Test/Stream", .wait = true};
    *r = (reply){0};
    return crs_grpc_stream_open(w->channel, &ask, on_message, on_done, r, &r->call, &w->err);
}

#define COUNTED(w, name) crs_counter_read(&(w)->t.loop->counters, CRS_COUNTER_##name)

/* ---- calls ---- */

static void serve_answers(peer *p)
{
    if (!greet(p))
        return;
    while (get_request(p))
        if (!answer(p, p->f.id))
            return;
}

static void a_call_brings_its_answer(void **state)
{
    world w;
    world_open(&w, serve_answers);
    reply r = call(&w);
    assert_int_equal(r.result.status, CEREUS_OK);
    assert_string_equal(r.text, "hello");
    assert_true(w.ready);
    reply many[50];
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(start(&w, &many[i], 30000, false), CEREUS_OK);
    for (size_t i = 0; i < 50; i++)
        TEST_UNTIL(&w.t, many[i].done);
    for (size_t i = 0; i < 50; i++)
        assert_string_equal(many[i].text, "hello");
    world_close(&w);
}

static void serve_what_it_was_sent(peer *p)
{
    if (!greet(p) || !get_until(p, HEADERS, 0))
        return;
    /* an HPACK decoder is not needed to find what is sent as it is, without Huffman: nothing here; so only counts */
    uint32_t id = p->f.id;
    size_t got = 0;
    while (get_frame(p))
        if (p->f.type == DATA) {
            got += p->f.len;
            if (p->f.flags & END_STREAM)
                break;
        }
    atomic_store(&p->note, (int)got);
    answer(p, id);
    get_until(p, GOAWAY, 0);
    shutdown(p->fd, SHUT_RDWR);
}

static void the_request_is_framed_and_closing_says_goodbye(void **state)
{
    world w;
    world_open(&w, serve_what_it_was_sent);
    reply r = call(&w);
    assert_int_equal(r.result.status, CEREUS_OK);
    assert_int_equal(atomic_load(&w.peer.note), 5 + 2);
    world_close(&w);
}

static void serve_status(peer *p)
{
    static const char *const answers[][10] = {
        {":status", "200", "content-type", "application/grpc", "grpc-status", "5", "grpc-message",
         "no %C3%A4%20such%%zz%0Athing", NULL},
        {":status", "200", "content-type", "application/grpc+proto", "grpc-status", "0", NULL},
        {":status", "200", "content-type", "application/grpc", "grpc-status", "99", NULL},
        {":status", "200", "content-type", "application/grpc", "grpc-status", "x", NULL},
        {":status", "503", "content-type", "text/html", NULL},
        {":status", "404", NULL},
        {":status", "401", NULL},
        {":status", "200", "content-type", "text/html", NULL},
        {":status", "200", "content-type", "application/grpc", NULL},
    };
    if (!greet(p))
        return;
    for (size_t i = 0; get_request(p); i++)
        if (!put_headers(p, p->f.id, true, answers[i % CEREUS_COUNT(answers)]))
            return;
}

static void every_way_to_say_no_becomes_a_status(void **state)
{
    static const struct {
        cereus_status status;
        int code;
        const char *says;
    } expected[] = {
        {CEREUS_E_NOT_FOUND, CRS_GRPC_NOT_FOUND, "no \xc3\xa4 such%%zz thing"},
        {CEREUS_E_IO, CRS_GRPC_INTERNAL, "not whole"},
        {CEREUS_E_IO, 99, "unknown status"},
        {CEREUS_E_FAILED, CRS_GRPC_UNKNOWN, ""},
        {CEREUS_E_UNAVAILABLE, CRS_GRPC_UNAVAILABLE, "HTTP status 503"},
        {CEREUS_E_UNSUPPORTED, CRS_GRPC_UNIMPLEMENTED, "HTTP status 404"},
        {CEREUS_E_INVALID, CRS_GRPC_UNAUTHENTICATED, "HTTP status 401"},
        {CEREUS_E_FAILED, CRS_GRPC_UNKNOWN, "not gRPC"},
        {CEREUS_E_IO, CRS_GRPC_INTERNAL, "without a status"},
    };
    world w;
    world_open(&w, serve_status);
    for (size_t i = 0; i < CEREUS_COUNT(expected); i++) {
        reply r = call(&w);
        assert_int_equal(r.result.status, expected[i].status);
        assert_int_equal(r.result.code, expected[i].code);
        assert_non_null(strstr(r.error, expected[i].says));
        assert_non_null(strstr(r.error, w.peer.endpoint));
    }
    assert_int_equal(w.losses, 0);
    world_close(&w);
}

static void serve_bad_messages(peer *p)
{
    static const char *const zipped[] = {":status", "200", "content-type", "application/grpc", "grpc-encoding",
                                         "gzip",    NULL};
    static const uint8_t bodies[][8] = {
        {1, 0, 0, 0, 1, 'x'},     /* compressed */
        {0, 0, 1, 0, 1, 'x'},     /* over the limit of 64 KiB here */
        {9, 0, 0, 0, 1, 'x'},     /* no such flag */
        {0, 0, 0, 0, 9, 'x'},     /* ends in the middle */
        {0, 0, 0, 0, 0, 0, 0, 0}, /* and a half message behind a whole one */
        {0, 0, 0, 0, 1, 'x'},     /* fine, but for its encoding */
    };
    if (!greet(p))
        return;
    for (size_t i = 0; get_request(p); i++) {
        uint32_t id = p->f.id;
        i %= CEREUS_COUNT(bodies);
        if (!put_headers(p, id, false, i == 5 ? zipped : fine_head) ||
            !put_frame(p, DATA, 0, id, bodies[i], i == 4 ? 8 : 6) || !put_headers(p, id, true, fine_end))
            return;
    }
}

static void messages_that_break_the_rules_end_their_call_only(void **state)
{
    static const int codes[] = {CRS_GRPC_UNIMPLEMENTED, CRS_GRPC_RESOURCE_EXHAUSTED, CRS_GRPC_INTERNAL,
                                CRS_GRPC_INTERNAL,      CRS_GRPC_INTERNAL,           CRS_GRPC_UNIMPLEMENTED};
    world w;
    world_open_with(&w, serve_bad_messages, 1000, (crs_grpc_options){.message_max = 65536});
    for (size_t i = 0; i < CEREUS_COUNT(codes); i++) {
        reply r = call(&w);
        assert_int_equal(r.result.code, codes[i]);
        assert_true(r.result.status != CEREUS_OK);
    }
    assert_int_equal(COUNTED(&w, grpc_messages_too_long), 1);
    assert_int_equal(w.losses, 0);
    world_close(&w);
}

static void serve_resets(peer *p)
{
    static const uint8_t codes[] = {0x8, 0xb, 0xc, 0x1, 0x0};
    if (!greet(p))
        return;
    for (size_t i = 0; get_request(p); i++) {
        uint8_t body[4] = {0, 0, 0, codes[i % CEREUS_COUNT(codes)]};
        if (!put_frame(p, RST, 0, p->f.id, body, 4))
            return;
    }
}

static void resets_become_statuses(void **state)
{
    static const int codes[] = {CRS_GRPC_CANCELLED, CRS_GRPC_RESOURCE_EXHAUSTED, CRS_GRPC_PERMISSION_DENIED,
                                CRS_GRPC_INTERNAL, CRS_GRPC_UNKNOWN};
    world w;
    world_open(&w, serve_resets);
    for (size_t i = 0; i < CEREUS_COUNT(codes); i++)
        assert_int_equal(call(&w).result.code, codes[i]);
    world_close(&w);
}

static void serve_refusals(peer *p)
{
    if (!greet(p))
        return;
    while (get_request(p)) {
        static const uint8_t refused[4] = {0, 0, 0, 7};
        bool refuse = atomic_fetch_add(&p->note, 1) < 2 || atomic_load(&p->go);
        if (refuse ? !put_frame(p, RST, 0, p->f.id, refused, 4) : !answer(p, p->f.id))
            return;
    }
}

static void a_refused_call_is_made_again_a_few_times(void **state)
{
    world w;
    world_open(&w, serve_refusals);
    reply r = call(&w);
    assert_int_equal(r.result.status, CEREUS_OK);
    assert_int_equal(atomic_load(&w.peer.note), 3);
    assert_int_equal(COUNTED(&w, grpc_calls_repeated), 2);
    atomic_store(&w.peer.go, true);
    r = call(&w);
    assert_int_equal(r.result.status, CEREUS_E_UNAVAILABLE);
    assert_true(r.result.unsent);
    assert_int_equal(atomic_load(&w.peer.note), 7);
    world_close(&w);
}

static void serve_goaway(peer *p)
{
    if (!greet(p) || !get_request(p))
        return;
    uint32_t first = p->f.id;
    if (atomic_load(&p->accepted) > 1) { /* the next connection is a good one */
        do
            if (!answer(p, p->f.id))
                return;
        while (get_request(p));
        return;
    }
    if (!get_request(p)) /* the second call, which the goodbye leaves out */
        return;
    uint8_t body[8] = {0, 0, 0, (uint8_t)first};
    if (put_frame(p, GOAWAY, 0, 0, body, 8) && answer(p, first))
        get_until(p, GOAWAY, 0);
}

static void after_a_goodbye_calls_under_way_end_and_the_others_go_elsewhere(void **state)
{
    world w;
    reply a, b, c;
    world_open(&w, serve_goaway);
    assert_int_equal(start(&w, &a, 30000, true), CEREUS_OK);
    assert_int_equal(start(&w, &b, 30000, true), CEREUS_OK);
    TEST_UNTIL(&w.t, a.done && b.done);
    assert_int_equal(a.result.status, CEREUS_OK);
    assert_int_equal(b.result.status, CEREUS_OK); /* on the second connection */
    c = call(&w);
    assert_int_equal(c.result.status, CEREUS_OK);
    assert_int_equal(atomic_load(&w.peer.accepted), 2);
    assert_non_null(strstr(w.why.msg, "GOAWAY"));
    world_close(&w);
}

static void serve_silence(peer *p)
{
    if (!greet(p))
        return;
    while (get_frame(p)) { /* no answers, no acknowledgements */
        if (p->f.type == RST)
            atomic_store(&p->note, p->f.body[3]);
        if (p->f.type == PING)
            atomic_fetch_add(&p->note, 100);
    }
}

static void a_deadline_and_a_cancel_tell_the_peer_to_stop(void **state)
{
    world w;
    world_open_with(&w, serve_silence, 1000, (crs_grpc_options){.keepalive_timeout_ms = 30000});
    TEST_UNTIL(&w.t, w.ready);
    reply r = call_for(&w, 50);
    assert_int_equal(r.result.status, CEREUS_E_TIMEOUT);
    assert_int_equal(r.result.code, CRS_GRPC_DEADLINE_EXCEEDED);
    while (atomic_load(&w.peer.note) % 100 != 8)
        crs_loop_turn(w.t.loop);
    atomic_store(&w.peer.note, 0);
    assert_int_equal(start(&w, &r, 30000, true), CEREUS_OK);
    crs_loop_turn(w.t.loop);
    r.call = crs_grpc_cancel(r.call);
    assert_int_equal(start(&w, &r, 200, true), CEREUS_OK); /* keeps the loop turning until the reset has come through */
    TEST_UNTIL(&w.t, r.done);
    assert_true(atomic_load(&w.peer.note) % 100 == 8);
    world_close(&w);
}

static void a_silent_peer_is_pinged_and_given_up(void **state)
{
    world w;
    world_open_with(&w, serve_silence, 1000, (crs_grpc_options){.keepalive_ms = 100, .keepalive_timeout_ms = 100});
    reply r = call(&w);
    assert_int_equal(r.result.status, CEREUS_E_UNAVAILABLE);
    assert_non_null(strstr(r.error, "ping"));
    assert_false(r.result.unsent);
    assert_int_equal(w.losses, 1);
    world_close(&w);
}

static void serve_no_settings(peer *p)
{
    char byte;
    while (get_bytes(p, &byte, 1))
        ;
}

static void a_peer_that_accepts_but_does_not_speak_is_not_ready(void **state)
{
    world w;
    world_open_with(&w, serve_no_settings, 1000, (crs_grpc_options){.dial_timeout_ms = 100});
    reply r;
    do { /* on a busy machine it may end before the first connection is given up */
        r = call_for(&w, 400);
        assert_int_equal(r.result.status, CEREUS_E_UNAVAILABLE);
        assert_true(r.result.unsent);
    } while (strstr(r.error, "still trying"));
    assert_non_null(strstr(r.error, "no HTTP/2 settings came"));
    assert_int_equal(start(&w, &r, 400, false), CEREUS_E_UNAVAILABLE); /* who does not wait hears at once */
    assert_non_null(strstr(w.err.msg, "no HTTP/2 settings came"));
    assert_false(r.done);
    world_close(&w);
}

static void the_number_of_calls_is_bounded(void **state)
{
    world w;
    reply a, b, c;
    world_open_with(&w, serve_silence, 1000, (crs_grpc_options){.calls_max = 2});
    assert_int_equal(start(&w, &a, 30000, true), CEREUS_OK);
    assert_int_equal(start(&w, &b, 30000, true), CEREUS_OK);
    assert_int_equal(start(&w, &c, 30000, true), CEREUS_E_FULL);
    assert_int_equal(COUNTED(&w, grpc_calls_refused), 1);
    a.call = crs_grpc_cancel(a.call);
    assert_int_equal(start(&w, &c, 30000, true), CEREUS_OK);
    world_close(&w); /* ends b and c */
    assert_true(b.done && c.done && !a.done);
    assert_int_equal(b.result.status, CEREUS_E_CANCELLED);
}

/* ---- streams ---- */

static void serve_stream(peer *p)
{
    if (!greet(p) || !get_until(p, HEADERS, 0))
        return;
    uint32_t id = p->f.id;
    if (!put_headers(p, id, false, fine_head))
        return;
    while (get_until(p, DATA, 0)) { /* each frame is one message here; sent back as it is */
        if (p->f.len && !put_frame(p, DATA, 0, id, p->f.body, p->f.len))
            return;
        if (p->f.flags & END_STREAM) {
            put_headers(p, id, true, fine_end);
            get_until(p, GOAWAY, 0);
            return;
        }
    }
}

static void a_stream_carries_messages_both_ways_until_both_have_ended(void **state)
{
    world w;
    reply r;
    CrsEtcd__LeaseRevokeRequest request = some_request();
    world_open(&w, serve_stream);
    assert_int_equal(open_stream(&w, &r), CEREUS_OK);
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(crs_grpc_stream_send(r.call, &request.base), CEREUS_OK);
        TEST_UNTIL(&w.t, r.messages == i);
        assert_string_equal(r.text, "\x08\x07");
    }
    crs_grpc_stream_finish(r.call);
    assert_int_equal(crs_grpc_stream_send(r.call, &request.base), CEREUS_E_STATE);
    TEST_UNTIL(&w.t, r.done);
    assert_int_equal(r.result.status, CEREUS_OK);
    world_close(&w);
}

static void what_waits_on_a_stream_is_bounded(void **state)
{
    world w;
    reply r;
    static uint8_t zeros[100000];
    CrsEtcd__PutRequest request = CRS_ETCD__PUT_REQUEST__INIT;
    request.value = (ProtobufCBinaryData){.data = zeros, .len = sizeof zeros};
    world_open(&w, serve_silence);
    assert_int_equal(open_stream(&w, &r), CEREUS_OK);
    size_t sent = 0;
    cereus_status st;
    while ((st = crs_grpc_stream_send(r.call, &request.base)) == CEREUS_OK)
        assert_in_range(++sent, 1, CRS_GRPC_STREAM_QUEUE_MAX / sizeof zeros);
    assert_int_equal(st, CEREUS_E_FULL);
    r.call = crs_grpc_cancel(r.call);
    world_close(&w);
    assert_false(r.done);
}

static void serve_ended_stream(peer *p)
{
    static const char *const end[] = {
        ":status", "200", "content-type", "application/grpc", "grpc-status", "14", "grpc-message", "going", NULL};
    if (!greet(p) || !get_until(p, HEADERS, 0))
        return;
    if (put_headers(p, p->f.id, true, end))
        get_until(p, GOAWAY, 0);
}

static void a_stream_that_the_peer_ends_is_over(void **state)
{
    world w;
    reply r;
    world_open(&w, serve_ended_stream);
    assert_int_equal(open_stream(&w, &r), CEREUS_OK);
    TEST_UNTIL(&w.t, r.done); /* without a reset, and though we had not ended our side */
    assert_int_equal(r.result.status, CEREUS_E_UNAVAILABLE);
    assert_true(r.result.from_peer);
    assert_non_null(strstr(r.error, "going"));
    world_close(&w);
}

/* ---- within callbacks ---- */

static world *closing;

static void close_in_done(const crs_grpc_result *result, void *user)
{
    on_done(result, user);
    if (closing->channel) {
        crs_grpc_channel *channel = closing->channel;
        closing->channel = NULL;
        crs_grpc_channel_close(channel);
    }
}

static void close_in_message(cereus_slice message, void *user)
{
    on_message(message, user);
    closing->channel = crs_grpc_channel_close(closing->channel);
}

static void cancel_in_message(cereus_slice message, void *user)
{
    reply *r = user;
    on_message(message, user);
    r->call = crs_grpc_cancel(r->call);
}

static void the_channel_may_be_closed_and_a_call_cancelled_within_a_callback(void **state)
{
    world w;
    reply r, other;
    CrsEtcd__LeaseRevokeRequest request = some_request();
    crs_grpc_ask ask = {.path = "/test.Test/Call", .request = &request.base, .timeout_ms = 30000, .wait = true};
    closing = &w;
    world_open(&w, serve_answers);
    r = other = (reply){0};
    assert_int_equal(crs_grpc_call_start(w.channel, &ask, close_in_done, &r, NULL, &w.err), CEREUS_OK);
    assert_int_equal(crs_grpc_call_start(w.channel, &ask, close_in_done, &other, NULL, &w.err), CEREUS_OK);
    TEST_UNTIL(&w.t, r.done && other.done);
    assert_int_equal(r.result.status, CEREUS_OK);
    world_close(&w);

    crs_grpc_message_fn *const fns[] = {close_in_message, cancel_in_message};
    for (size_t i = 0; i < 2; i++) {
        world_open(&w, serve_stream);
        r = (reply){0};
        assert_int_equal(crs_grpc_stream_open(w.channel, &ask, fns[i], on_done, &r, &r.call, &w.err), CEREUS_OK);
        TEST_UNTIL(&w.t, r.messages == 1);
        assert_int_equal(r.done, i == 0);
        world_close(&w);
    }
}

static void turn_in_done(const crs_grpc_result *result, void *user)
{
    reply *r = user;
    on_done(result, r);
    if (closing->channel)
        crs_grpc_channel_rotate(closing->channel, "of no use");
    if (r->call)
        r->call = crs_grpc_cancel(r->call);
}

static void what_callbacks_do_to_a_channel_that_closes_does_not_keep_it(void **state)
{
    world w;
    reply first, second;
    CrsEtcd__LeaseRevokeRequest request = some_request();
    crs_grpc_ask ask = {.path = "/test.Test/Call", .request = &request.base, .wait = true};
    closing = &w;
    world_open(&w, serve_silence);
    first = second = (reply){0};
    assert_int_equal(crs_grpc_call_start(w.channel, &ask, turn_in_done, &first, NULL, &w.err), CEREUS_OK);
    assert_int_equal(crs_grpc_call_start(w.channel, &ask, on_done, &second, &first.call, &w.err), CEREUS_OK);
    TEST_UNTIL(&w.t, w.ready);
    crs_loop_turn(w.t.loop);
    crs_grpc_channel_close(w.channel);
    w.channel = NULL;
    assert_int_equal(first.result.status, CEREUS_E_CANCELLED);
    assert_false(second.done);
    assert_int_equal(w.losses, 0); /* nothing is called after the end */
    const char *endpoints[] = {w.peer.endpoint};
    crs_grpc_options opt = {
        .name = "tester", .endpoints = endpoints, .endpoint_count = 1, .on_state = on_state, .user = &w};
    w.ready = false;
    assert_int_equal(crs_grpc_channel_open(w.t.loop, &opt, &w.channel, &w.err), CEREUS_OK);
    TEST_UNTIL(&w.t, w.ready);
    reply r = call_for(&w, 50); /* turns the loop, which finds nothing of the first channel */
    assert_int_equal(r.result.status, CEREUS_E_TIMEOUT);
    world_close(&w);
}

/* ---- hostile peers: whatever they send, calls end and the channel tries again ---- */

static void serve_garbage(peer *p)
{
    uint8_t junk[4096];
    unsigned seed = (unsigned)atomic_load(&p->accepted);
    for (size_t i = 0; i < sizeof junk; i++)
        junk[i] = (uint8_t)rand_r(&seed);
    put_bytes(p, junk, sizeof junk);
    char byte;
    while (get_bytes(p, &byte, 1))
        ;
}

static void serve_http1(peer *p)
{
    static const char page[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    put_bytes(p, page, sizeof page - 1);
}

static void serve_oversize_frame(peer *p)
{
    static const uint8_t head[] = {0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1};
    if (greet(p) && get_request(p) && put_headers(p, p->f.id, false, fine_head) && put_bytes(p, head, sizeof head))
        get_until(p, GOAWAY, 0);
}

static void flood(peer *p, uint8_t type, size_t len)
{
    static uint8_t zeros[64];
    if (!greet(p))
        return;
    for (int i = 0; i < 200000; i++)
        if (!put_frame(p, type, 0, 0, zeros, len))
            return;
    get_until(p, GOAWAY, 0);
}

static void serve_settings_flood(peer *p)
{
    flood(p, SETTINGS, 0);
}

static void serve_ping_flood(peer *p)
{
    flood(p, PING, 8);
}

static void serve_many_settings(peer *p)
{
    uint8_t body[6 * 100];
    for (size_t i = 0; i < 100; i++)
        memcpy(body + 6 * i, "\0\x04\0\0\xff\xff", 6);
    if (greet(p) && put_frame(p, SETTINGS, 0, 0, body, sizeof body))
        get_until(p, GOAWAY, 0);
}

static void serve_continuations(peer *p)
{
    uint8_t block[1024];
    size_t len = field(block, ":status", "200");
    if (!greet(p) || !get_request(p) || !put_frame(p, HEADERS, 0, p->f.id, block, len))
        return;
    for (int i = 0; i < 100000; i++) { /* a header that never ends */
        len =
            field(block, "x", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
        if (!put_frame(p, 9, 0, p->f.id, block, len))
            return;
    }
}

static void serve_fat_headers(peer *p)
{
    uint8_t block[16000];
    size_t len = field(block, ":status", "200");
    while (len < sizeof block - 200)
        len += field(block + len, "x",
                     "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
    if (greet(p) && get_request(p) && put_frame(p, HEADERS, 0, p->f.id, block, len) &&
        put_frame(p, 9, END_HEADERS, p->f.id, block + 14, len - 14))
        get_until(p, GOAWAY, 0);
}

static void serve_half_a_message(peer *p)
{
    static const uint8_t half[] = {0, 0, 0, 0, 100, 'x'};
    if (greet(p) && get_request(p) && put_headers(p, p->f.id, false, fine_head))
        put_frame(p, DATA, 0, p->f.id, half, sizeof half);
} /* and hangs up */

static void serve_half_a_frame(peer *p)
{
    static const uint8_t half[] = {0, 0, 50, HEADERS, 4, 0, 0, 0, 1, 0, 7, ':'};
    if (greet(p) && get_request(p))
        put_bytes(p, half, sizeof half);
}

static void serve_wrong_streams(peer *p)
{
    if (greet(p) && get_request(p) && put_headers(p, 2, false, fine_head))
        get_until(p, GOAWAY, 0);
}

static void serve_push(peer *p)
{
    uint8_t body[64] = {0, 0, 0, 2};
    size_t len = 4 + field(body + 4, ":path", "/");
    if (greet(p) && get_request(p) && put_frame(p, 5, END_HEADERS, p->f.id, body, len))
        get_until(p, GOAWAY, 0);
}

static void serve_zero_window(peer *p)
{
    static const uint8_t window[] = {0, 4, 0, 0, 0, 0};
    char preface[24];
    if (get_bytes(p, preface, 24) && put_frame(p, SETTINGS, 0, 0, window, sizeof window))
        get_until(p, RST, 0);
}

static void serve_bad_window(peer *p)
{
    static const uint8_t much[] = {0x7f, 0xff, 0xff, 0xff};
    if (greet(p) && put_frame(p, 8, 0, 0, much, 4))
        get_until(p, GOAWAY, 0);
}

static void serve_goodbyes(peer *p)
{
    static const uint8_t body[8] = {0};
    if (greet(p) && put_frame(p, GOAWAY, 0, 0, body, 8))
        get_until(p, GOAWAY, 0);
}

static void hostile_peers_get_nowhere(void **state)
{
    static const struct {
        serve_fn *serve;
        const char *name;
    } peers[] = {
        {serve_garbage, "garbage"},
        {serve_http1, "HTTP/1.1"},
        {serve_oversize_frame, "oversize frame"},
        {serve_settings_flood, "settings flood"},
        {serve_ping_flood, "ping flood"},
        {serve_many_settings, "many settings"},
        {serve_continuations, "continuations"},
        {serve_fat_headers, "fat headers"},
        {serve_half_a_message, "half a message"},
        {serve_half_a_frame, "half a frame"},
        {serve_wrong_streams, "wrong streams"},
        {serve_push, "push"},
        {serve_zero_window, "no window"},
        {serve_bad_window, "too much window"},
        {serve_goodbyes, "goodbyes"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(peers); i++) {
        world w;
        reply r, s;
        world_open(&w, peers[i].serve);
        TEST_UNTIL(&w.t, atomic_load(&w.peer.accepted) > 0); /* its thread may take a while */
        assert_int_equal(start(&w, &r, 700, true), CEREUS_OK);
        assert_int_equal(open_stream(&w, &s), CEREUS_OK);
        TEST_UNTIL(&w.t, r.done);
        if (r.result.status == CEREUS_OK)
            fail_msg("%s: it was answered", peers[i].name);
        assert_true(r.error[0]);
        world_close(&w);
        assert_true(s.done);
        assert_in_range(atomic_load(&w.peer.accepted), 1, 200); /* it did not come back in a hurry */
    }
}

/* ---- memory ---- */

static void without_memory_calls_fail_and_nothing_is_lost(void **state)
{
    bool opened_all_right = false;
    for (size_t n = 1; !opened_all_right; n++) {
        test_real_loop t;
        test_real_loop_open(&t);
        const char *endpoints[] = {"127.0.0.1:1", "localhost:2"};
        crs_grpc_options opt = {.name = "n", .endpoints = endpoints, .endpoint_count = 2};
        crs_grpc_channel *channel = NULL;
        cereus_error err = {0};
        crs_alloc_fail_at(n);
        cereus_status st = crs_grpc_channel_open(t.loop, &opt, &channel, &err);
        crs_alloc_fail_at(0);
        opened_all_right = st == CEREUS_OK;
        assert_int_equal(st, opened_all_right ? CEREUS_OK : CEREUS_E_NOMEM);
        if (st)
            assert_true(err.msg[0] != '\0');
        crs_grpc_channel_close(channel);
        test_real_loop_close(&t);
    }
    /* a call, with each allocation of it failing once: in start(), in nghttp2, on the way back */
    bool answered = false;
    for (size_t n = 1; !answered; n++) {
        world w;
        reply r;
        world_open(&w, serve_answers);
        TEST_UNTIL(&w.t, w.ready);
        crs_alloc_fail_at(n);
        cereus_status st = start(&w, &r, 5000, true);
        if (st) {
            assert_int_equal(st, CEREUS_E_NOMEM);
        } else {
            for (int turn = 0; turn < 100 && !r.done; turn++)
                crs_loop_turn(w.t.loop);
            crs_alloc_fail_at(0);
            TEST_UNTIL(&w.t, r.done);
        }
        crs_alloc_fail_at(0);
        answered = n > 200 || (!st && r.result.status == CEREUS_OK && n > 60);
        world_close(&w);
    }
    /* connecting, too: it comes to be all the same */
    for (size_t n = 1; n < 60; n++) {
        world w;
        world_open(&w, serve_answers);
        crs_alloc_fail_at(n);
        for (int turn = 0; turn < 100; turn++)
            crs_loop_turn(w.t.loop);
        crs_alloc_fail_at(0);
        TEST_UNTIL(&w.t, w.ready);
        world_close(&w);
    }
}

TEST_MAIN(cmocka_unit_test(a_call_brings_its_answer), cmocka_unit_test(the_request_is_framed_and_closing_says_goodbye),
          cmocka_unit_test(every_way_to_say_no_becomes_a_status),
          cmocka_unit_test(messages_that_break_the_rules_end_their_call_only), cmocka_unit_test(resets_become_statuses),
          cmocka_unit_test(a_refused_call_is_made_again_a_few_times),
          cmocka_unit_test(after_a_goodbye_calls_under_way_end_and_the_others_go_elsewhere),
          cmocka_unit_test(a_deadline_and_a_cancel_tell_the_peer_to_stop),
          cmocka_unit_test(a_silent_peer_is_pinged_and_given_up),
          cmocka_unit_test(a_peer_that_accepts_but_does_not_speak_is_not_ready),
          cmocka_unit_test(the_number_of_calls_is_bounded),
          cmocka_unit_test(a_stream_carries_messages_both_ways_until_both_have_ended),
          cmocka_unit_test(what_waits_on_a_stream_is_bounded), cmocka_unit_test(a_stream_that_the_peer_ends_is_over),
          cmocka_unit_test(the_channel_may_be_closed_and_a_call_cancelled_within_a_callback),
          cmocka_unit_test(what_callbacks_do_to_a_channel_that_closes_does_not_keep_it),
          cmocka_unit_test(hostile_peers_get_nowhere), cmocka_unit_test(without_memory_calls_fail_and_nothing_is_lost))
