/* clients/c/test/test_client.c: the client against a scripted server that lives in the same thread, on a loopback socket.
 * Both sides are stepped by hand; time and chance are the test's. What happened is kept as text, one event a line. */
#include "test.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cereus/client.h>

#include "base/base.h"
#include "transport/http_head.h"
#include "transport/ws_frame.h"
#include "wire/compress.h"

enum {
    WAIT_MS = 10000, /* for something that has been sent already: reached only by a bug */
};

typedef struct world {
    int listener, peer; /* -1: none */
    uint16_t port;
    bool websocket;
    cereus_client *client;
    uint64_t now_ms;
    uint32_t chance;
    char log[16384];
    size_t log_len;
    void (*in_state)(struct world *w, cereus_client_state state); /* what a test does inside the callbacks */
    void (*in_reply)(struct world *w);
    void (*in_push)(struct world *w);
} world;

/* -- the client's side -- */

CEREUS_PRINTF(2, 3) static void note(world *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(w->log + w->log_len, sizeof w->log - w->log_len, fmt, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof w->log - w->log_len);
    w->log_len += (size_t)n;
}

static void on_state(cereus_client *c, cereus_client_state state, const cereus_error *why, void *user)
{
    world *w = user;
    note(w, "%s%s%s\n", cereus_client_state_name(state), why->status ? ": " : "", why->msg);
    if (w->in_state)
        w->in_state(w, state);
}

static void on_push(cereus_client *c, cereus_slice route, cereus_slice body, void *user)
{
    world *w = user;
    assert_int_equal(route.data[route.len], 0);
    note(w, "push %s %.*s\n", (const char *)route.data, (int)body.len, (const char *)body.data);
    if (w->in_push)
        w->in_push(w);
}

static void on_kick(cereus_client *c, void *user)
{
    note(user, "kick\n");
}

static void on_reply(cereus_client *c, const cereus_client_reply *reply, void *user)
{
    world *w = user;
    if (reply->status == CEREUS_OK)
        note(w, "reply %.*s\n", (int)CRS_MIN(reply->body.len, (size_t)40), (const char *)reply->body.data);
    else
        note(w, "error %s %s %s", cereus_status_name(reply->status) + 9, reply->code, reply->msg);
    for (size_t i = 0; i < reply->metadata_count; i++)
        note(w, " %s=%s", reply->metadata[i].key, reply->metadata[i].value);
    if (reply->status)
        note(w, "\n");
    if (w->in_reply)
        w->in_reply(w);
}

static uint64_t now_ms(void *user)
{
    return ((world *)user)->now_ms;
}

static uint32_t next_chance(void *user)
{
    return ((world *)user)->chance;
}

#define assert_log(w, text)                  \
    do {                                     \
        assert_string_equal((w)->log, text); \
        (w)->log[(w)->log_len = 0] = '\0';   \
    } while (0)

static cereus_client *new_client(world *w, cereus_client_options options)
{
    const cereus_client_callbacks on = {.on_state = on_state, .on_push = on_push, .on_kick = on_kick};
    options.now_ms = now_ms;
    options.random = next_chance;
    cereus_client *c = NULL;
    cereus_error err;
    if (cereus_client_new(&options, &on, w, &c, &err))
        assert_null(c);
    return c;
}

static void world_init(world *w, bool websocket)
{
    *w = (world){.peer = -1, .websocket = websocket, .now_ms = 1000};
    w->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(w->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(w->listener, 8), 0);
    assert_int_equal(getsockname(w->listener, (struct sockaddr *)&a, &len), 0);
    w->port = ntohs(a.sin_port);
}

static void close_peer(world *w)
{
    if (w->peer >= 0)
        close(w->peer);
    w->peer = -1;
}

static void world_fini(world *w)
{
    w->client = cereus_client_free(w->client);
    close_peer(w);
    close(w->listener);
}

/* Wait until the client's fd has something for it, and step. */
static void step(world *w)
{
    struct pollfd p = {.fd = cereus_client_fd(w->client), .events = cereus_client_events(w->client)};
    assert_true(p.fd >= 0);
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    cereus_client_step(w->client, p.revents);
}

/* Let @p ms pass. */
static void pass(world *w, uint64_t ms)
{
    w->now_ms += ms;
    cereus_client_step(w->client, 0);
}

static cereus_status dial(world *w)
{
    char url[64];
    snprintf(url, sizeof url, "%s://127.0.0.1:%u%s", w->websocket ? "ws" : "tcp", w->port, w->websocket ? "/game" : "");
    return cereus_client_connect(w->client, url, NULL);
}

/* -- the server's side -- */

static void peer_accept(world *w)
{
    struct pollfd p = {.fd = w->listener, .events = POLLIN};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    w->peer = accept(w->listener, NULL, NULL);
    assert_true(w->peer >= 0);
}

static void peer_write(world *w, const void *data, size_t len)
{
    assert_int_equal(send(w->peer, data, len, MSG_NOSIGNAL), len);
}

static size_t peer_read_some(world *w, uint8_t *out, size_t cap)
{
    struct pollfd p = {.fd = w->peer, .events = POLLIN};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    ssize_t n = recv(w->peer, out, cap, 0);
    assert_true(n >= 0);
    return (size_t)n;
}

static void peer_read(world *w, void *out, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t n = peer_read_some(w, (uint8_t *)out + at, len - at);
        assert_true(n > 0);
        at += n;
    }
}

/* Send a whole packet, in a frame if that is the game. */
static void peer_send(world *w, uint8_t type, const void *body, size_t len)
{
    uint8_t *packet = test_copy("", 1);
    packet = realloc(packet, 4 + len + CRS_WS_HEAD_MAX);
    assert_non_null(packet);
    size_t head = w->websocket ? crs_ws_head(CRS_WS_BINARY, 4 + len, NULL, packet) : 0;
    packet[head] = type;
    crs_put_u24(packet + head + 1, (uint32_t)len);
    if (len)
        memcpy(packet + head + 4, body, len);
    peer_write(w, packet, head + 4 + len);
    free(packet);
}

#define PEER_SEND(w, type, text) peer_send(w, type, text, sizeof(text) - 1)

/* Read one packet of the client. */
static size_t peer_receive(world *w, uint8_t *ret_type, uint8_t *out, size_t cap)
{
    uint8_t head[4], mask[4] = {0};
    if (w->websocket) {
        uint8_t ws[2], longer[2];
        peer_read(w, ws, 2);
        assert_int_equal(ws[0], 0x80 | CRS_WS_BINARY);
        assert_true(ws[1] & 0x80);
        if ((ws[1] & 0x7f) == 126)
            peer_read(w, longer, 2);
        peer_read(w, mask, 4);
    }
    peer_read(w, head, 4);
    if (w->websocket)
        crs_ws_mask(head, 4, mask);
    size_t len = crs_get_u24(head + 1);
    assert_true(len <= cap);
    peer_read(w, out, len);
    if (w->websocket)
        crs_ws_mask(out, len, mask); /* the packet's head took the mask once round */
    *ret_type = head[0];
    return len;
}

static void peer_expect(world *w, uint8_t type, const void *body, size_t len)
{
    uint8_t got_type, got[4096];
    cereus_client_step(w->client, 0); /* writes */
    size_t got_len = peer_receive(w, &got_type, got, sizeof got);
    assert_int_equal(got_type, type);
    assert_int_equal(got_len, len);
    assert_memory_equal(got, body, len);
}

#define PEER_EXPECT(w, type, text) peer_expect(w, type, text, sizeof(text) - 1)

#define HELLO                                                       \
    "{\"sys\":{\"platform\":\"c\",\"libVersion\":\"" CEREUS_VERSION \
    "\",\"clientBuildNumber\":\"1\",\"clientVersion\":\"0.1\"}}"
#define ANSWER(dict, heartbeat) \
    "{\"code\":200,\"sys\":{\"dict\":" dict ",\"heartbeat\":" heartbeat ",\"serializer\":\"json\"}}"

/* Dial, and for WebSocket upgrade. */
static void open_stream(world *w)
{
    assert_int_equal(dial(w), CEREUS_OK);
    peer_accept(w);
    step(w);
    if (!w->websocket)
        return;
    uint8_t in[1024];
    crs_ws_upgrade upgrade;
    size_t used, len = peer_read_some(w, in, sizeof in);
    assert_int_equal(crs_http_head_parse(cereus_slice_of(in, len), sizeof in, &upgrade, &used), CEREUS_OK);
    assert_int_equal(upgrade.answer, CRS_WS_ACCEPT);
    assert_int_equal(used, len);
    assert_true(crs_slice_eq(upgrade.target, cereus_slice_str("/game")));
    char answer[CRS_WS_ACCEPT_RESPONSE_LEN];
    crs_ws_accept_response(upgrade.key, answer);
    peer_write(w, answer, sizeof answer);
    step(w);
}

static void shake_hands(world *w, const char *answer)
{
    open_stream(w);
    PEER_EXPECT(w, 1, HELLO);
    peer_send(w, 1, answer, strlen(answer));
    step(w);
    PEER_EXPECT(w, 2, "");
    assert_log(w, "connecting\nhandshaking\nconnected\n");
}

static void connected(world *w, bool websocket, cereus_client_options options, const char *answer)
{
    world_init(w, websocket);
    w->client = new_client(w, options);
    shake_hands(w, answer);
}

static cereus_status ask(world *w, const char *route, const char *body)
{
    return cereus_client_request(w->client, route, cereus_slice_str(body), 0, on_reply, w);
}

/* -- the tests -- */

static void client_says_who_it_is_and_takes_what_the_server_says(void **state)
{
    world w;
    world_init(&w, false);
    w.client = new_client(&w, (cereus_client_options){.platform = "mac",
                                                      .lib_version = "1",
                                                      .client_build_number = "\"2\"",
                                                      .client_version = "3",
                                                      .user_json = "{\"age\": 30}"});
    assert_int_equal(cereus_client_current_state(w.client), CEREUS_CLIENT_IDLE);
    assert_int_equal(cereus_client_fd(w.client), -1);
    assert_int_equal(cereus_client_timeout_ms(w.client), -1);
    assert_false(cereus_client_poll(w.client, -1));
    assert_string_equal(cereus_client_serializer(w.client), "");

    assert_int_equal(dial(&w), CEREUS_OK);
    assert_int_equal(cereus_client_events(w.client), POLLOUT);
    assert_int_equal(cereus_client_timeout_ms(w.client), 30000);
    peer_accept(&w);
    step(&w);
    PEER_EXPECT(&w, 1,
                "{\"sys\":{\"platform\":\"mac\",\"libVersion\":\"1\",\"clientBuildNumber\":\"\\\"2\\\"\","
                "\"clientVersion\":\"3\"},\"user\":{\"age\": 30}}");
    assert_int_equal(cereus_client_events(w.client), POLLIN);
    static const char answer[] = "{\"code\":200,\"sys\":{\"heartbeat\":1.5,\"serializer\":\"protobuf\",\"dict\":{}}}";
    PEER_SEND(&w, 1, answer);
    step(&w);
    PEER_EXPECT(&w, 2, "");
    assert_log(&w, "connecting\nhandshaking\nconnected\n");
    assert_string_equal(cereus_client_serializer(w.client), "protobuf");
    assert_int_equal(cereus_client_heartbeat_ms(w.client), 1500);
    assert_int_equal(dial(&w), CEREUS_E_STATE);
    assert_int_equal(cereus_client_count(w.client).connects, 1);
    world_fini(&w);
}

static void client_refuses_options_that_make_no_sense(void **state)
{
    world w = {0};
    assert_null(new_client(&w, (cereus_client_options){.user_json = "[]"}));
    assert_null(new_client(&w, (cereus_client_options){.user_json = "{"}));
    assert_null(new_client(&w, (cereus_client_options){.requests_max = 65537}));
    assert_null(new_client(&w, (cereus_client_options){.send_max = 20}));
}

static void client_exchanges_messages(bool websocket)
{
    world w;
    connected(&w, websocket, (cereus_client_options){0}, ANSWER("{\"room.join\":258,\"onChat\":7}", "30"));
    assert_int_equal(ask(&w, "room.leave", "{}"), CEREUS_OK);
    assert_int_equal(ask(&w, "room.join", "hi"), CEREUS_OK);
    assert_int_equal(cereus_client_events(w.client), POLLIN | POLLOUT);
    assert_int_equal(cereus_client_notify(w.client, "room.say", cereus_slice_str("x")), CEREUS_OK);
    assert_int_equal(cereus_client_notify(w.client, "room.join", (cereus_slice){0}), CEREUS_OK);
    PEER_EXPECT(&w, 4, "\x00\x01\x0aroom.leave{}");
    PEER_EXPECT(&w, 4, "\x01\x02\x01\x02hi");
    PEER_EXPECT(&w, 4, "\x02\x08room.sayx");
    PEER_EXPECT(&w, 4, "\x03\x01\x02");
    assert_int_equal(cereus_client_requests_waiting(w.client), 2);

    PEER_SEND(&w, 4, "\x07\x00\x07 by code");
    PEER_SEND(&w, 4, "\x06\x04textby name");
    PEER_SEND(&w, 4, "\x04\x02second");
    PEER_SEND(&w, 3, "");
    PEER_SEND(&w, 4, "\x04\x01");
    PEER_SEND(&w, 4, "\x04\x01nobody asked");
    while (cereus_client_count(w.client).packets_in < 7)
        step(&w);
    assert_log(&w, "push onChat  by code\npush text by name\nreply second\nreply \n");
    assert_int_equal(cereus_client_requests_waiting(w.client), 0);
    assert_int_equal(cereus_client_count(w.client).replies_late, 1);

    cereus_client_close(w.client);
    assert_log(&w, "closed\n");
    assert_int_equal(cereus_client_fd(w.client), -1);
    assert_int_equal(ask(&w, "a.b", ""), CEREUS_E_STATE);
    assert_int_equal(cereus_client_notify(w.client, "a.b", cereus_slice_str("")), CEREUS_E_STATE);
    world_fini(&w);
}

static void client_exchanges_messages_over_tcp(void **state)
{
    client_exchanges_messages(false);
}

static void client_exchanges_messages_over_websocket(void **state)
{
    client_exchanges_messages(true);
}

/* Fits in out, of course. */
static size_t deflate_text(const char *text, uint8_t *out, size_t cap)
{
    crs_zlib *z = crs_zlib_new(-1);
    size_t n = crs_zlib_deflate(z, cereus_slice_str(text), out, cap);
    assert_true(n > 0);
    crs_zlib_free(z);
    return n;
}

static void client_inflates_what_is_compressed(void **state)
{
    world w;
    world_init(&w, false);
    w.client = new_client(&w, (cereus_client_options){.body_max = 100});
    open_stream(&w);
    PEER_EXPECT(&w, 1, HELLO);
    uint8_t packed[512];
    size_t n =
        deflate_text(ANSWER("{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\":1,\"bbbbbbbbbbbbbbbbbbb\":2}", "30"),
                     packed, sizeof packed);
    peer_send(&w, 1, packed, n);
    step(&w);
    assert_log(&w, "connecting\nhandshaking\nconnected\n");

    memcpy(packed, "\x14\x01", 2);
    n = deflate_text("so so so so so so so so so so so so", packed + 2, sizeof packed - 2);
    assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
    assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
    peer_send(&w, 4, packed, 2 + n);
    step(&w);
    assert_log(&w, "reply so so so so so so so so so so so so\n");

    char bomb[1000] = {0};
    memset(bomb, 'x', sizeof bomb - 1);
    packed[1] = 2;
    n = deflate_text(bomb, packed + 2, sizeof packed - 2);
    peer_send(&w, 4, packed, 2 + n);
    step(&w);
    assert_log(&w, "closed: a body does not inflate: longer than the limit\n"
                   "error GONE PIT-499 a body does not inflate: longer than the limit\n");
    world_fini(&w);
}

static void client_deflates_bodies_when_told_to(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){.compress = true}, ANSWER("{}", "30"));
    static const char text[] = "again and again and again and again and again";
    uint8_t want[128];
    memcpy(want,
           "\x10\x01\x03"
           "a.b",
           6);
    size_t n = deflate_text(text, want + 6, sizeof want - 6);
    assert_int_equal(ask(&w, "a.b", text), CEREUS_OK);
    peer_expect(&w, 4, want, 6 + n);
    assert_int_equal(ask(&w, "a.b", "short"), CEREUS_OK);
    PEER_EXPECT(&w, 4,
                "\x00\x02\x03"
                "a.bshort");
    world_fini(&w);
}

static void client_hands_out_the_server_s_errors(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){0}, ANSWER("{}", "30"));
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
    PEER_SEND(&w, 4, "\x24\x01{\"code\":\"PIT-404\",\"msg\":\"gone\",\"metadata\":{\"k\":\"v\",\"l\":\"\"}}");
    PEER_SEND(&w, 4, "\x24\x02{}");
    PEER_SEND(&w, 4, "\x24\x03");
    while (cereus_client_requests_waiting(w.client))
        step(&w);
    assert_log(&w, "error FAILED PIT-404 gone k=v l=\n"
                   "error FAILED  \n"
                   "error FAILED PIT-000 the server's error is in no format known here\n");
    world_fini(&w);
}

static void client_kicked_does_not_come_back(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){.reconnect = true}, ANSWER("{}", "30"));
    assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
    PEER_SEND(&w, 5, "");
    PEER_SEND(&w, 4, "\x04\x01too late");
    step(&w);
    assert_log(&w, "kick\nkicked: kicked by the server\nerror GONE PIT-499 kicked by the server\n");
    assert_int_equal(cereus_client_timeout_ms(w.client), -1);
    assert_int_equal(cereus_client_why(w.client)->status, CEREUS_E_GONE);
    close_peer(&w);
    shake_hands(&w, ANSWER("{}", "30")); /* but it may, if told to */
    world_fini(&w);
}

static void client_is_told_that_the_server_refuses(void **state)
{
    world w;
    world_init(&w, false);
    w.client = new_client(&w, (cereus_client_options){.reconnect = true});
    open_stream(&w);
    PEER_SEND(&w, 1, "{\"code\":400,\"sys\":{}}");
    step(&w);
    assert_log(&w, "connecting\nhandshaking\nclosed: the server refused the handshake, code 400\n");
    world_fini(&w);
}

static void client_beats_and_listens_for_the_server_s_heart(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){0}, ANSWER("{}", "2"));
    assert_int_equal(cereus_client_timeout_ms(w.client), 2000);
    pass(&w, 1999);
    assert_int_equal(cereus_client_events(w.client), POLLIN);
    pass(&w, 1);
    PEER_EXPECT(&w, 3, "");
    pass(&w, 1000); /* 3 s of silence */
    PEER_SEND(&w, 3, "");
    step(&w);
    pass(&w, 1000);
    PEER_EXPECT(&w, 3, "");
    pass(&w, 2000); /* 3 s of silence */
    PEER_EXPECT(&w, 3, "");
    pass(&w, 1999);
    assert_log(&w, "");
    PEER_SEND(&w, 3, ""); /* is in the socket when the deadline has passed: the client was asleep, not the server */
    pass(&w, 1);
    PEER_EXPECT(&w, 3, "");
    assert_log(&w, "");
    pass(&w, 5000);
    assert_log(&w, "closed: the server has been silent for two heartbeats\n");
    world_fini(&w);
}

static void client_without_heartbeats_keeps_no_timer(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){0}, ANSWER("{}", "0"));
    assert_int_equal(cereus_client_timeout_ms(w.client), -1);
    pass(&w, 1000000);
    assert_log(&w, "");
    world_fini(&w);
}

static void request_without_an_answer_times_out(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){.request_timeout_ms = 300}, ANSWER("{}", "30"));
    assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
    assert_int_equal(cereus_client_request(w.client, "a.b", cereus_slice_str(""), 100, on_reply, &w), CEREUS_OK);
    assert_int_equal(cereus_client_request(w.client, "a.b", cereus_slice_str(""), 200, NULL, NULL), CEREUS_OK);
    assert_int_equal(cereus_client_timeout_ms(w.client), 100);
    pass(&w, 99);
    assert_log(&w, "");
    pass(&w, 1);
    assert_log(&w, "error TIMEOUT PIT-504 request timeout\n");
    assert_int_equal(cereus_client_timeout_ms(w.client), 100);
    pass(&w, 100);
    PEER_SEND(&w, 4, "\x04\x02late");
    step(&w);
    assert_log(&w, "");
    assert_int_equal(cereus_client_count(w.client).replies_late, 1);
    PEER_SEND(&w, 4, "\x04\x01in time");
    step(&w);
    assert_log(&w, "reply in time\n");
    assert_int_equal(cereus_client_count(w.client).requests_timed_out, 2);
    world_fini(&w);
}

static void client_comes_back_after_a_growing_random_wait(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){.reconnect = true, .reconnect_base_ms = 100, .reconnect_max_ms = 150},
              ANSWER("{}", "30"));
    assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
    PEER_EXPECT(&w, 4,
                "\x00\x01\x03"
                "a.b");
    w.chance = 100; /* the whole of the first wait */
    close_peer(&w);
    step(&w);
    assert_log(&w, "backoff: the server closed the connection\nerror GONE PIT-499 the server closed the connection\n");
    assert_int_equal(cereus_client_fd(w.client), -1);
    assert_int_equal(cereus_client_timeout_ms(w.client), 100);
    pass(&w, 99);
    assert_log(&w, "");
    pass(&w, 1);
    peer_accept(&w);
    step(&w);
    PEER_EXPECT(&w, 1, HELLO); /* what it has not read makes the peer's close a reset */
    w.chance = 150;            /* the second could be 200, but for reconnect_max_ms */
    close_peer(&w);
    step(&w);
    assert_log(&w, "connecting\nhandshaking\nbackoff: the server closed the connection\n");
    assert_int_equal(cereus_client_timeout_ms(w.client), 150);
    w.chance = 152; /* one more than the 151 that there are to choose from: begins again */
    pass(&w, 150);
    peer_accept(&w);
    step(&w);
    PEER_EXPECT(&w, 1, HELLO);
    close_peer(&w);
    step(&w);
    assert_int_equal(cereus_client_timeout_ms(w.client), 1);
    assert_log(&w, "connecting\nhandshaking\nbackoff: the server closed the connection\n");
    pass(&w, 1);
    peer_accept(&w);
    step(&w);
    PEER_EXPECT(&w, 1, HELLO);
    PEER_SEND(&w, 1, ANSWER("{}", "30"));
    step(&w);
    PEER_EXPECT(&w, 2, "");
    assert_log(&w, "connecting\nhandshaking\nconnected\n");
    assert_int_equal(cereus_client_count(w.client).connects, 2);
    w.chance = 100; /* success has reset the wait */
    close_peer(&w);
    step(&w);
    assert_int_equal(cereus_client_timeout_ms(w.client), 100);
    cereus_client_close(w.client);
    assert_log(&w, "backoff: the server closed the connection\nclosed\n");
    assert_int_equal(cereus_client_timeout_ms(w.client), -1);
    world_fini(&w);
}

static void client_gives_up_after_the_tries_allowed(void **state)
{
    world w;
    world_init(&w, false);
    w.client = new_client(&w, (cereus_client_options){.reconnect = true, .reconnect_tries_max = 1});
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            assert_int_equal(dial(&w), CEREUS_OK);
        else
            pass(&w, 0);
        peer_accept(&w);
        step(&w);
        PEER_EXPECT(&w, 1, HELLO);
        close_peer(&w);
        step(&w);
    }
    assert_log(&w, "connecting\nhandshaking\nbackoff: the server closed the connection\n"
                   "connecting\nhandshaking\nclosed: the server closed the connection\n");
    world_fini(&w);
}

static void client_is_told_when_nobody_listens(void **state)
{
    world w;
    world_init(&w, false);
    w.client = new_client(&w, (cereus_client_options){0});
    shutdown(w.listener, SHUT_RDWR); /* the port stays ours, but refuses */
    assert_int_equal(dial(&w), CEREUS_OK);
    if (cereus_client_fd(w.client) >= 0)
        step(&w);
    assert_int_equal(cereus_client_current_state(w.client), CEREUS_CLIENT_CLOSED);
    assert_int_equal(cereus_client_why(w.client)->status, CEREUS_E_UNAVAILABLE);
    world_fini(&w);
}

static void client_tries_the_next_address(void **state)
{
    /* "localhost" is 127.0.0.1, then ::1: a listener on ::1 alone must be found */
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    socklen_t len = sizeof a;
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 1)) {
        if (fd >= 0)
            close(fd);
        skip();
    }
    getsockname(fd, (struct sockaddr *)&a, &len);
    world w;
    world_init(&w, false);
    close(w.listener);
    w.listener = fd;
    w.client = new_client(&w, (cereus_client_options){0});
    char url[64];
    snprintf(url, sizeof url, "tcp://localhost:%u", ntohs(a.sin6_port));
    assert_int_equal(cereus_client_connect(w.client, url, NULL), CEREUS_OK);
    while (cereus_client_current_state(w.client) == CEREUS_CLIENT_CONNECTING)
        step(&w);
    assert_log(&w, "connecting\nhandshaking\n");
    world_fini(&w);
}

static void client_does_not_wait_for_ever_for_the_handshake(void **state)
{
    for (int websocket = 0; websocket < 2; websocket++) {
        world w;
        world_init(&w, websocket);
        w.client = new_client(&w, (cereus_client_options){.connect_timeout_ms = 500});
        assert_int_equal(dial(&w), CEREUS_OK);
        peer_accept(&w);
        step(&w);
        pass(&w, 499);
        assert_int_not_equal(cereus_client_current_state(w.client), CEREUS_CLIENT_CLOSED);
        pass(&w, 1);
        assert_int_equal(cereus_client_current_state(w.client), CEREUS_CLIENT_CLOSED);
        assert_int_equal(cereus_client_why(w.client)->status, CEREUS_E_TIMEOUT);
        world_fini(&w);
    }
}

static void client_closes_on_bytes_that_break_the_protocol(void **state)
{
    static const struct {
        uint8_t type;
        const char *body;
        size_t len;
        bool early; /* instead of the handshake answer */
        const char *why;
    } cases[] = {
        {0, "", 0, false, "the server sent what is not a packet"},
        {6, "", 0, true, "the server sent what is not a packet"},
        {2, "", 0, false, "the server sent a handshake ack"},
        {1, "{\"code\":200,\"sys\":{}}", 21, false, "the server answered a handshake that was not made"},
        {4, "", 0, false, "a message cannot be understood: bytes that break the format"},
        {4, "\x00\x01\x01x", 4, false, "the server sent a request or notify: bytes that break the format"},
        {4, "\x07\x00\x09", 3, false, "a push has an unknown route code: not found"},
        {4, "\x14\x01junk", 6, false, "a body does not inflate: bytes that break the format"},
        {1, "", 0, true, NULL},
        {1, "[]", 2, true, "handshake answer without a code"},
        {1, "\x78\x9c", 2, true, "the handshake answer does not inflate"},
        {1, "{\"code\":200}", 12, true, "handshake answer without sys"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        world w;
        if (cases[i].early) {
            world_init(&w, false);
            w.client = new_client(&w, (cereus_client_options){.reconnect = true});
            open_stream(&w);
        } else {
            connected(&w, false, (cereus_client_options){.reconnect = true}, ANSWER("{}", "30"));
        }
        peer_send(&w, cases[i].type, cases[i].body, cases[i].len);
        step(&w);
        assert_int_equal(cereus_client_current_state(w.client), CEREUS_CLIENT_CLOSED);
        if (cases[i].why)
            assert_string_equal(cereus_client_why(w.client)->msg, cases[i].why);
        world_fini(&w);
    }
}

static void client_drops_pushes_it_cannot_read_before_the_handshake(void **state)
{
    world w;
    world_init(&w, false);
    w.client = new_client(&w, (cereus_client_options){0});
    open_stream(&w);
    PEER_SEND(&w, 3, "");
    PEER_SEND(&w, 4, "\x07\x00\x01x");
    PEER_SEND(&w, 4, "\x06\x01rx");
    PEER_SEND(&w, 1, ANSWER("{\"r\":1}", "30"));
    while (cereus_client_count(w.client).packets_in < 4)
        step(&w);
    assert_log(&w, "connecting\nhandshaking\npush r x\nconnected\n");
    assert_int_equal(cereus_client_count(w.client).pushes_dropped, 1);
    world_fini(&w);
}

/* A session of everything, as bytes of the server; the client has sent the requests 1 and 2. */
static size_t build_session(uint8_t *out, bool websocket)
{
    static const struct {
        uint8_t type;
        const char *body;
        size_t len;
    } packets[] = {
        {3, "", 0},
        {4, "\x07\x01\x02 by code", 11},
        {4, "\x24\x01{\"code\":\"X-1\",\"msg\":\"no\",\"metadata\":{\"a\":\"b\"}}", 48},
        {4, "\x06\x02hi there", 10},
        {4, "\x04\x02yes", 5},
        {5, "", 0},
    };
    size_t len = 0;
    for (size_t i = 0; i < CEREUS_COUNT(packets); i++) {
        if (websocket)
            len += crs_ws_head(CRS_WS_BINARY, 4 + packets[i].len, NULL, out + len);
        out[len] = packets[i].type;
        crs_put_u24(out + len + 1, (uint32_t)packets[i].len);
        memcpy(out + len + 4, packets[i].body, packets[i].len);
        len += 4 + packets[i].len;
    }
    return len;
}

#define SESSION_LOG \
    "push route  by code\nerror FAILED X-1 no a=b\npush hi  there\nreply yes\nkick\nkicked: kicked by the server\n"

static void client_does_not_care_where_segments_end(void **state)
{
    for (int websocket = 0; websocket < 2; websocket++) {
        uint8_t session[512];
        size_t len = build_session(session, websocket);
        for (size_t cut = 0; cut <= len; cut++) { /* cut == len: byte by byte */
            world w;
            connected(&w, websocket, (cereus_client_options){0}, ANSWER("{\"route\":258}", "30"));
            assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
            assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
            for (size_t at = 0; at < len;) {
                size_t n = cut == len ? 1 : at == 0 && cut ? cut : len - at;
                peer_write(&w, session + at, n);
                step(&w);
                at += n;
            }
            assert_log(&w, SESSION_LOG);
            world_fini(&w);
        }
    }
}

static void client_survives_any_changed_byte(void **state)
{
    for (int websocket = 0; websocket < 2; websocket++) {
        uint8_t session[512];
        size_t len = build_session(session, websocket);
        for (size_t at = 0; at < len; at++) {
            static const uint8_t changes[] = {0x01, 0x80, 0xff};
            for (size_t k = 0; k < sizeof changes; k++) {
                world w;
                connected(&w, websocket, (cereus_client_options){0}, ANSWER("{\"route\":258}", "30"));
                assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
                assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
                session[at] ^= changes[k];
                peer_write(&w, session, len);
                close_peer(&w);
                while (cereus_client_fd(w.client) >= 0)
                    step(&w);
                session[at] ^= changes[k];
                assert_int_equal(cereus_client_requests_waiting(w.client), 0);
                world_fini(&w);
            }
        }
    }
}

static void client_survives_a_failing_allocation(void **state)
{
    for (int websocket = 0; websocket < 2; websocket++) {
        uint8_t session[512];
        size_t len = build_session(session, websocket);
        bool done = false;
        for (size_t nth = 1; !done && nth < 1000; nth++) {
            world w;
            world_init(&w, websocket);
            crs_alloc_fail_at(nth);
            w.client = new_client(&w, (cereus_client_options){.compress = true});
            if (!w.client)
                goto next;
            assert_int_equal(dial(&w), CEREUS_OK);
            peer_accept(&w);
            step(&w);
            if (cereus_client_fd(w.client) < 0)
                goto next;
            if (websocket) {
                uint8_t in[1024];
                size_t n = peer_read_some(&w, in, sizeof in), used;
                crs_ws_upgrade upgrade;
                char answer[CRS_WS_ACCEPT_RESPONSE_LEN];
                assert_int_equal(crs_http_head_parse(cereus_slice_of(in, n), n, &upgrade, &used), CEREUS_OK);
                crs_ws_accept_response(upgrade.key, answer);
                peer_write(&w, answer, sizeof answer);
                step(&w);
                if (cereus_client_fd(w.client) < 0)
                    goto next;
            }
            PEER_SEND(&w, 1, ANSWER("{\"route\":258}", "30"));
            step(&w);
            if (cereus_client_fd(w.client) < 0)
                goto next;
            cereus_status a = ask(&w, "a.b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
            cereus_status b = ask(&w, "a.b", "");
            cereus_client_step(w.client, 0);
            peer_write(&w, session, len);
            while (cereus_client_fd(w.client) >= 0)
                step(&w);
            assert_int_equal(cereus_client_requests_waiting(w.client), 0);
            done = a == CEREUS_OK && b == CEREUS_OK && strstr(w.log, SESSION_LOG);
        next:
            crs_alloc_fail_at(0);
            world_fini(&w);
        }
        assert_true(done);
    }
}

/* -- limits -- */

static void client_bounds_requests_and_bytes(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){.requests_max = 100, .send_max = 4096}, ANSWER("{}", "30"));
    for (int i = 0; i < 100; i++)
        assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
    assert_int_equal(ask(&w, "a.b", ""), CEREUS_E_FULL);
    char route[257] = {0};
    memset(route, 'r', 256);
    assert_int_equal(cereus_client_notify(w.client, route, cereus_slice_str("")), CEREUS_E_TOO_LONG);
    char big[4096] = {0};
    memset(big, 'b', 4095);
    assert_int_equal(cereus_client_notify(w.client, "a.b", cereus_slice_str(big)), CEREUS_E_FULL);
    assert_int_equal(cereus_client_count(w.client).requests_refused, 2);
    cereus_client_step(w.client, 0);

    /* the answers come backwards; slots are free again */
    for (int i = 100; i > 0; i--) {
        char body[8] = {0x04, (char)i, 'n'};
        peer_send(&w, 4, body, 3);
    }
    while (cereus_client_requests_waiting(w.client))
        step(&w);
    assert_int_equal(cereus_client_count(w.client).replies_late, 0);
    assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
    world_fini(&w);
}

static void client_takes_a_large_reply_but_none_over_the_limit(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){.body_max = 100000}, ANSWER("{}", "30"));
    char *body = calloc(1, 100003);
    assert_non_null(body);
    memcpy(body, "\x04\x01", 2);
    assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
    peer_send(&w, 4, body, 100002);
    while (cereus_client_requests_waiting(w.client))
        step(&w);
    assert_log(&w, "reply \n");
    peer_send(&w, 4, body, 100003);
    while (cereus_client_fd(w.client) >= 0)
        step(&w);
    assert_log(&w, "closed: a body is over the limit: longer than the limit\n");
    free(body);
    world_fini(&w);
}

static void client_keeps_order_when_the_socket_is_full(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){.send_max = 32 * 1024 * 1024, .requests_max = 10}, ANSWER("{}", "30"));
    size_t len = 8 * 1024 * 1024;
    char *body = malloc(len);
    assert_non_null(body);
    for (size_t i = 0; i < len; i++)
        body[i] = (char)(i * 31 >> 3);
    assert_int_equal(cereus_client_notify(w.client, "a.b", cereus_slice_of(body, len)), CEREUS_OK);
    cereus_client_step(w.client, 0);
    assert_int_equal(cereus_client_events(w.client), POLLIN | POLLOUT); /* no socket takes it all */
    assert_int_equal(cereus_client_notify(w.client, "a.b", cereus_slice_str("last")), CEREUS_OK);
    char *got = malloc(len);
    assert_non_null(got);
    size_t want = 4 + 5 + len, have = 0;
    uint8_t head[9];
    for (; have < want; cereus_client_step(w.client, 0)) {
        if (have < sizeof head)
            have += peer_read_some(&w, head + have, sizeof head - have);
        else
            have += peer_read_some(&w, (uint8_t *)got + have - sizeof head, want - have);
    }
    assert_memory_equal(got, body, len);
    PEER_EXPECT(&w, 4,
                "\x02\x03"
                "a.blast");
    free(got);
    free(body);
    world_fini(&w);
}

/* -- callbacks that act -- */

static void free_in_state(world *w, cereus_client_state state)
{
    w->client = cereus_client_free(w->client);
}

static void free_in_callback(world *w)
{
    w->client = cereus_client_free(w->client);
}

static void client_may_be_freed_inside_its_callbacks(void **state)
{
    /* on_state of each transition */
    for (int transition = 0; transition < 4; transition++) {
        world w;
        world_init(&w, false);
        w.client = new_client(&w, (cereus_client_options){0});
        if (transition == 0) {
            w.in_state = free_in_state;
            assert_int_equal(dial(&w), CEREUS_OK);
            assert_null(w.client);
            world_fini(&w);
            continue;
        }
        assert_int_equal(dial(&w), CEREUS_OK);
        peer_accept(&w);
        if (transition == 1)
            w.in_state = free_in_state;
        step(&w);
        if (transition > 1) {
            if (transition == 2)
                w.in_state = free_in_state;
            PEER_SEND(&w, 1, ANSWER("{}", "30"));
            step(&w);
        }
        if (transition > 2) {
            w.in_state = free_in_state;
            assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
            PEER_SEND(&w, 5, "");
            step(&w);
            assert_non_null(strstr(w.log, "PIT-499 the client was freed\n"));
        }
        assert_null(w.client);
        world_fini(&w);
    }
    /* on_push and on_reply, with more packets behind */
    for (int websocket = 0; websocket < 2; websocket++) {
        world w;
        connected(&w, websocket, (cereus_client_options){0}, ANSWER("{}", "30"));
        w.in_push = free_in_callback;
        assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
        PEER_SEND(&w, 4, "\x06\x01rfirst");
        PEER_SEND(&w, 4, "\x06\x01rsecond");
        step(&w);
        assert_null(w.client);
        assert_log(&w, "push r first\nerror CANCELLED PIT-499 the client was freed\n");
        world_fini(&w);

        connected(&w, websocket, (cereus_client_options){0}, ANSWER("{}", "30"));
        assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
        w.in_reply = free_in_callback;
        pass(&w, 6000); /* a timer's callback */
        assert_null(w.client);
        world_fini(&w);
    }
}

static void close_in_callback(world *w)
{
    cereus_client_close(w->client);
}

static void dial_when_closed(world *w, cereus_client_state state)
{
    if (state == CEREUS_CLIENT_CLOSED)
        assert_int_equal(dial(w), CEREUS_OK);
}

static void client_may_be_closed_and_connected_inside_its_callbacks(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){0}, ANSWER("{}", "30"));
    w.in_push = close_in_callback;
    w.in_state = dial_when_closed;
    assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
    PEER_SEND(&w, 4, "\x06\x01rfirst");
    PEER_SEND(&w, 4, "\x06\x01rsecond");
    step(&w);
    assert_log(&w, "push r first\nclosed\nconnecting\nerror CANCELLED PIT-499 the client was closed\n");
    close_peer(&w);
    peer_accept(&w);
    step(&w);
    assert_log(&w, "handshaking\n");
    w.in_state = NULL;
    world_fini(&w);
}

static void ask_again(world *w)
{
    if (cereus_client_current_state(w->client) == CEREUS_CLIENT_CONNECTED && w->log_len < 2000)
        assert_int_equal(ask(w, "a.b", ""), CEREUS_OK);
}

static void client_may_ask_inside_its_callbacks(void **state)
{
    world w;
    connected(&w, false, (cereus_client_options){0}, ANSWER("{}", "600"));
    w.in_reply = ask_again;
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(&w, "a.b", ""), CEREUS_OK);
    pass(&w, 5000); /* all time out, each asks again: the table must not lose or repeat one */
    assert_int_equal(cereus_client_requests_waiting(w.client), 20);
    assert_int_equal(cereus_client_count(w.client).requests_timed_out, 20);
    pass(&w, 4999);
    assert_int_equal(cereus_client_count(w.client).requests_timed_out, 20);
    pass(&w, 1);
    assert_int_equal(cereus_client_count(w.client).requests_timed_out, 40);
    w.in_reply = NULL;
    world_fini(&w);
}

/* -- WebSocket -- */

static void websocket_pings_are_answered_and_fragments_joined(void **state)
{
    world w;
    connected(&w, true, (cereus_client_options){0}, ANSWER("{}", "30"));
    static const uint8_t frames[] = "\x02\x06\x04\x00\x00\x05\x06\x01"
                                    "\x89\x02"
                                    "hi"
                                    "\x80\x03rxy"
                                    "\x8a\x00";
    peer_write(&w, frames, sizeof frames - 1);
    step(&w);
    assert_log(&w, "push r xy\n");
    uint8_t pong[8];
    peer_read(&w, pong, sizeof pong);
    assert_memory_equal(pong, "\x8a\x82\0\0\0\0hi", 8); /* the mask is the test's chance, 0 */
    world_fini(&w);
}

static void websocket_may_hold_several_packets_but_no_half_one(void **state)
{
    world w;
    connected(&w, true, (cereus_client_options){0}, ANSWER("{}", "30"));
    static const uint8_t two[] = "\x82\x08\x03\0\0\0\x03\0\0\0";
    peer_write(&w, two, sizeof two - 1);
    step(&w);
    assert_int_equal(cereus_client_count(w.client).packets_in, 3);
    static const uint8_t half[] = "\x82\x03\x03\0\0";
    peer_write(&w, half, sizeof half - 1);
    step(&w);
    assert_log(&w, "closed: a WebSocket message ends inside a packet\n");
    world_fini(&w);
}

static void websocket_ends_with_the_server_s_close_frame_or_error(void **state)
{
    world w;
    connected(&w, true, (cereus_client_options){0}, ANSWER("{}", "30"));
    peer_write(&w, "\x88\x02\x03\xe9", 4);
    step(&w);
    assert_log(&w, "closed: the server closed the WebSocket, code 1001\n");
    world_fini(&w);

    connected(&w, true, (cereus_client_options){.reconnect = true}, ANSWER("{}", "30"));
    peer_write(&w, "\x82\x84xxxx", 6);
    step(&w);
    assert_log(&w, "closed: the server broke the WebSocket protocol: masked frame from a server\n");
    world_fini(&w);
}

static void websocket_close_says_goodbye(void **state)
{
    world w;
    connected(&w, true, (cereus_client_options){0}, ANSWER("{}", "30"));
    cereus_client_close(w.client);
    uint8_t bye[8];
    peer_read(&w, bye, sizeof bye);
    assert_memory_equal(bye, "\x88\x82\0\0\0\0\x03\xe8", 8);
    assert_int_equal(peer_read_some(&w, bye, 1), 0);
    world_fini(&w);
}

static void websocket_upgrade_may_be_refused(void **state)
{
    static const struct {
        const char *answer, *log;
    } cases[] = {
        {"HTTP/1.1 404 Not Found\r\n\r\n", "closed: the server refused the WebSocket upgrade with status 404\n"},
        {"HTTP/1.1 503 Busy\r\n\r\n", "backoff: the server refused the WebSocket upgrade with status 503\n"},
        {"\x01\x00\x00\x02{}", "closed: the server does not speak WebSocket\n"},
        {"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
         "closed: the server's answer to the upgrade lacks the right Sec-WebSocket-Accept\n"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        world w;
        world_init(&w, true);
        w.client = new_client(&w, (cereus_client_options){.reconnect = true});
        w.chance = 100;
        assert_int_equal(dial(&w), CEREUS_OK);
        peer_accept(&w);
        step(&w);
        assert_log(&w, "connecting\n");
        peer_write(&w, cases[i].answer, cases[i].answer[0] == 1 ? 6 : strlen(cases[i].answer));
        step(&w);
        assert_log(&w, cases[i].log);
        world_fini(&w);
    }
}

/* -- without an event loop -- */

static void poll_drives_the_client_by_itself(void **state)
{
    world w;
    world_init(&w, false);
    const cereus_client_callbacks on = {.on_state = on_state};
    assert_int_equal(cereus_client_new(NULL, &on, &w, &w.client, NULL), CEREUS_OK); /* real time, real chance */
    assert_int_equal(dial(&w), CEREUS_OK);
    peer_accept(&w);
    PEER_SEND(&w, 1,
              ANSWER("{}", "0.001")); /* silence is noticed a second later: too long for a test, so not awaited */
    while (cereus_client_current_state(w.client) != CEREUS_CLIENT_CONNECTED)
        assert_true(cereus_client_poll(w.client, -1));
    assert_int_equal(cereus_client_request(w.client, "a.b", cereus_slice_str(""), 1, on_reply, &w), CEREUS_OK);
    while (cereus_client_requests_waiting(w.client))
        assert_true(cereus_client_poll(w.client, -1));
    close_peer(&w);
    while (cereus_client_poll(w.client, -1))
        ;
    assert_int_equal(cereus_client_current_state(w.client), CEREUS_CLIENT_CLOSED);
    world_fini(&w);
}

TEST_MAIN(
    cmocka_unit_test(client_says_who_it_is_and_takes_what_the_server_says),
    cmocka_unit_test(client_refuses_options_that_make_no_sense), cmocka_unit_test(client_exchanges_messages_over_tcp),
    cmocka_unit_test(client_exchanges_messages_over_websocket), cmocka_unit_test(client_inflates_what_is_compressed),
    cmocka_unit_test(client_deflates_bodies_when_told_to), cmocka_unit_test(client_hands_out_the_server_s_errors),
    cmocka_unit_test(client_kicked_does_not_come_back), cmocka_unit_test(client_is_told_that_the_server_refuses),
    cmocka_unit_test(client_beats_and_listens_for_the_server_s_heart),
    cmocka_unit_test(client_without_heartbeats_keeps_no_timer), cmocka_unit_test(request_without_an_answer_times_out),
    cmocka_unit_test(client_comes_back_after_a_growing_random_wait),
    cmocka_unit_test(client_gives_up_after_the_tries_allowed), cmocka_unit_test(client_is_told_when_nobody_listens),
    cmocka_unit_test(client_tries_the_next_address), cmocka_unit_test(client_does_not_wait_for_ever_for_the_handshake),
    cmocka_unit_test(client_closes_on_bytes_that_break_the_protocol),
    cmocka_unit_test(client_drops_pushes_it_cannot_read_before_the_handshake),
    cmocka_unit_test(client_does_not_care_where_segments_end), cmocka_unit_test(client_survives_any_changed_byte),
    cmocka_unit_test(client_survives_a_failing_allocation), cmocka_unit_test(client_bounds_requests_and_bytes),
    cmocka_unit_test(client_takes_a_large_reply_but_none_over_the_limit),
    cmocka_unit_test(client_keeps_order_when_the_socket_is_full),
    cmocka_unit_test(client_may_be_freed_inside_its_callbacks),
    cmocka_unit_test(client_may_be_closed_and_connected_inside_its_callbacks),
    cmocka_unit_test(client_may_ask_inside_its_callbacks),
    cmocka_unit_test(websocket_pings_are_answered_and_fragments_joined),
    cmocka_unit_test(websocket_may_hold_several_packets_but_no_half_one),
    cmocka_unit_test(websocket_ends_with_the_server_s_close_frame_or_error),
    cmocka_unit_test(websocket_close_says_goodbye), cmocka_unit_test(websocket_upgrade_may_be_refused),
    cmocka_unit_test(poll_drives_the_client_by_itself))
