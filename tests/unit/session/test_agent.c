/* tests/unit/session/test_agent.c: the agent over memory/, on a clock that stands still */
#include "loop.h"

#include <zlib.h>

#include "session/agent.h"
#include "transport/memory.h"

enum {
    HEARTBEAT_MS = 30000,
    HANDSHAKE_TIMEOUT_MS = 10000,
    WRITE_TIMEOUT_MS = 7000,
    OUTBOX_MAX = 1000,
    INFLATE_MAX = 100000,
    COMPRESS_MIN = 100,
};

typedef struct world world;

struct world {
    test_loop t;
    crs_transport *transport;
    crs_frontend *frontend;
    crs_frontend_options opt;
    size_t packet_max;
    crs_uid_index *uids;
    crs_route_dict *dict;
    crs_pipe *pipe;   /* of the first client */
    crs_agent *agent; /* of the last that opened or spoke */
    /* what the layer above was told */
    int messages, handshakes, closed, drained;
    crs_message last;
    char route[300];
    crs_bytes body;
    crs_close_reason reason;
    cereus_status refuse; /* what on_handshake says */
    crs_input answer;     /* what on_message says */
    bool keep;            /* do not free what has closed */
    void (*on_message)(world *w, crs_agent *agent, const crs_message *msg);
};

static crs_input world_on_message(crs_agent *agent, const crs_message *msg)
{
    world *w = crs_frontend_user(agent->frontend);
    w->agent = agent;
    w->messages++;
    w->last = *msg;
    snprintf(w->route, sizeof w->route, "%.*s", (int)msg->route.len, (const char *)msg->route.data);
    w->body.len = 0;
    assert_int_equal(crs_bytes_append(&w->body, msg->body.data, msg->body.len), CEREUS_OK);
    if (w->on_message)
        w->on_message(w, agent, msg);
    return w->answer;
}

static cereus_status world_on_handshake(crs_agent *agent, const crs_handshake *hs)
{
    world *w = crs_frontend_user(agent->frontend);
    w->agent = agent;
    w->handshakes++;
    return w->refuse;
}

static void world_on_closed(crs_agent *agent, crs_close_reason reason)
{
    world *w = crs_frontend_user(agent->frontend);
    w->closed++;
    w->reason = reason;
    assert_int_equal(agent->reason, reason);
    assert_null(crs_session_table_find(crs_frontend_sessions(w->frontend), agent->id));
    if (agent->uid)
        assert_int_not_equal(crs_uid_find(w->uids, cereus_slice_str(agent->uid)), agent->id);
    assert_int_equal(crs_agent_push(agent, cereus_slice_str("r"), cereus_slice_str("")), CEREUS_E_GONE);
    assert_int_equal(crs_agent_respond(agent, 1, cereus_slice_str(""), false), CEREUS_E_GONE);
    crs_agent_close(agent, CRS_CLOSE_CLOSED); /* fine, and says nothing twice */
    crs_agent_resume(agent);
    assert_false(crs_agent_clogged(agent));
    if (!w->keep)
        crs_agent_free(agent);
}

static void world_on_drained(crs_agent *agent)
{
    ((world *)crs_frontend_user(agent->frontend))->drained++;
}

static const crs_agent_ops world_ops = {.on_message = world_on_message,
                                        .on_handshake = world_on_handshake,
                                        .on_closed = world_on_closed,
                                        .on_drained = world_on_drained};

static void on_open(crs_conn *conn, void *user)
{
    crs_frontend_on_open(conn, ((world *)user)->frontend);
}

/** As the defaults, for tests to change before world_start(). */
static void world_init(world *w)
{
    memset(w, 0, sizeof *w);
    crs_bytes_init(&w->body, 1 << 24);
    w->uids = crs_uid_index_new();
    w->dict = crs_route_dict_new();
    assert_int_equal(crs_route_dict_add(w->dict, cereus_slice_str("room.join"), 7, NULL), CEREUS_OK);
    w->opt = (crs_frontend_options){.heartbeat_ms = HEARTBEAT_MS,
                                    .handshake_timeout_ms = HANDSHAKE_TIMEOUT_MS,
                                    .write_timeout_ms = WRITE_TIMEOUT_MS,
                                    .outbox_max = OUTBOX_MAX,
                                    .inflate_max = INFLATE_MAX,
                                    .compress_level = -1,
                                    .compress_min = COMPRESS_MIN,
                                    .sessions_max = 100,
                                    .serializer = "json",
                                    .dict = w->dict,
                                    .uids = w->uids,
                                    .ops = &world_ops,
                                    .user = w};
    w->packet_max = CRS_PACKET_BODY_MAX;
    test_loop_open(&w->t);
}

static void world_start(world *w)
{
    cereus_error err;
    crs_transport_options opt = {.packet_max = w->packet_max,
                                 .opening_timeout_ms = 1000,
                                 .flush_timeout_ms = 1000,
                                 .on_open = on_open,
                                 .on_open_user = w};
    assert_int_equal(crs_transport_new(w->t.loop, &opt, &w->transport, &err), CEREUS_OK);
    assert_int_equal(crs_frontend_new(w->t.loop, &w->opt, &w->frontend, &err), CEREUS_OK);
}

static void world_end(world *w)
{
    w->pipe = crs_pipe_free(w->pipe);
    crs_frontend_close_all(w->frontend, CRS_CLOSE_SHUTDOWN);
    crs_transport_abort_unowned(w->transport);
    test_settle(&w->t);
    assert_int_equal(crs_transport_count(w->transport), 0);
    crs_frontend_free(w->frontend);
    crs_transport_free(w->transport);
    crs_bytes_fini(&w->body);
    crs_uid_index_free(w->uids);
    crs_route_dict_free(w->dict);
    test_loop_close(&w->t);
}

static uint64_t counter(world *w, crs_counter which)
{
    return crs_counter_read(&w->t.loop->counters, which);
}

#define COUNTER(w, name) counter(w, CRS_COUNTER_##name)

/* ---- the client's side ---- */

static crs_pipe *connect_client(world *w)
{
    crs_pipe *pipe;
    assert_int_equal(crs_pipe_open(w->transport, CRS_FRAMING_STREAM, &pipe), CEREUS_OK);
    const crs_session_table *table = crs_frontend_sessions(w->frontend);
    for (uint32_t i = 0; i < table->used; i++)
        if (table->slots[i].agent)
            w->agent = table->slots[i].agent;
    return pipe;
}

static void send_packet(crs_pipe *pipe, int type, const void *body, size_t len)
{
    uint8_t head[CRS_PACKET_HEAD_LEN] = {(uint8_t)type};
    crs_put_u24(head + 1, (uint32_t)len);
    cereus_status st = crs_pipe_send(pipe, head, sizeof head);
    if (!st)
        st = crs_pipe_send(pipe, body, len);
    assert_true(st == CEREUS_OK || st == CEREUS_E_GONE);
}

static const char hello[] = "{\"sys\":{\"platform\":\"mac\",\"libVersion\":\"0.3.5-release\"},\"user\":{\"age\":30}}";

static void send_hello(crs_pipe *pipe)
{
    send_packet(pipe, CRS_PACKET_HANDSHAKE, hello, strlen(hello));
}

static void send_ack(crs_pipe *pipe)
{
    send_packet(pipe, CRS_PACKET_HANDSHAKE_ACK, "", 0);
}

static void send_heartbeat(crs_pipe *pipe)
{
    send_packet(pipe, CRS_PACKET_HEARTBEAT, "", 0);
}

/** A notify of one letter. */
static void send_data(crs_pipe *pipe)
{
    send_packet(pipe, CRS_PACKET_DATA,
                "\x02\x01"
                "rx",
                4);
}

/** The next packet that the server sent, its body; borrowed until the next turn. */
static cereus_slice take_packet(crs_pipe *pipe, int type)
{
    static uint8_t copy[300000];
    cereus_slice got = crs_pipe_received(pipe);
    crs_packet pkt;
    size_t used;
    assert_int_equal(crs_packet_decode(got, CRS_PACKET_BODY_MAX, &pkt, &used), CEREUS_OK);
    assert_int_equal(pkt.type, type);
    assert_true(pkt.body.len <= sizeof copy);
    memcpy(copy, pkt.body.data, pkt.body.len);
    crs_pipe_take(pipe, used);
    return cereus_slice_of(copy, pkt.body.len);
}

static void assert_silent(crs_pipe *pipe)
{
    assert_int_equal(crs_pipe_received(pipe).len, 0);
}

static void take_answer(crs_pipe *pipe, int code)
{
    cereus_slice body = take_packet(pipe, CRS_PACKET_HANDSHAKE);
    char want[120];
    snprintf(want, sizeof want,
             "{\"code\":%d,\"sys\":{\"dict\":{\"room.join\":7},\"heartbeat\":30,\"serializer\":\"json\"}}", code);
    assert_int_equal(body.len, strlen(want));
    assert_memory_equal(body.data, want, body.len);
}

static void assert_message(crs_pipe *pipe, const char *bytes, size_t len)
{
    cereus_slice body = take_packet(pipe, CRS_PACKET_DATA);
    assert_int_equal(body.len, len);
    assert_memory_equal(body.data, bytes, len);
}

#define assert_message_text(pipe, text) assert_message(pipe, text, sizeof text - 1)

typedef enum client_state { START, SHOOK, WORKING } client_state;

/** A client that has come as far as @p state. */
static void world_open_in(world *w, client_state state)
{
    world_init(w);
    world_start(w);
    w->pipe = connect_client(w);
    if (state >= SHOOK) {
        send_hello(w->pipe);
        test_settle(&w->t);
        take_answer(w->pipe, 200);
    }
    if (state >= WORKING) {
        send_ack(w->pipe);
        test_settle(&w->t);
    }
    static const crs_agent_state states[] = {CRS_AGENT_START, CRS_AGENT_HANDSHAKE, CRS_AGENT_WORKING};
    assert_int_equal(w->agent->state, states[state]);
    assert_silent(w->pipe);
}

#define assert_closed_because(w, why)                     \
    do {                                                  \
        assert_int_equal((w)->closed, 1);                 \
        assert_int_equal((w)->reason, CRS_CLOSE_##why);   \
        assert_true(crs_pipe_closed((w)->pipe));          \
        assert_int_equal(COUNTER(w, sessions_closed), 1); \
    } while (0)

/* ---- states ---- */

static void a_handshake_is_answered_in_every_state_and_shuts_the_gate_again(void **state)
{
    for (int from = START; from <= WORKING; from++) {
        world w;
        world_open_in(&w, (client_state)from);
        if (from == WORKING) {
            w.agent->uid = crs_strdup("me");
            cereus_session_id old;
            assert_int_equal(crs_uid_claim(w.uids, cereus_slice_str("me"), w.agent->id, 1, &old), CEREUS_OK);
        }
        int before = w.handshakes;
        send_packet(w.pipe, CRS_PACKET_HANDSHAKE, "{\"sys\":{\"platform\":\"web\"}}", 26);
        test_settle(&w.t);
        take_answer(w.pipe, 200);
        assert_int_equal(w.handshakes, before + 1);
        assert_int_equal(w.agent->state, CRS_AGENT_HANDSHAKE);
        crs_handshake hs;
        assert_true(crs_agent_handshake(w.agent, &hs)); /* the last one counts */
        assert_string_equal(hs.platform, "web");
        assert_string_equal(hs.lib_version, "");
        assert_null(hs.user.data);
        if (from == WORKING) {
            assert_string_equal(w.agent->uid, "me"); /* the session lives on */
            assert_int_equal(crs_uid_find(w.uids, cereus_slice_str("me")), w.agent->id);
        }
        send_data(w.pipe);
        test_settle(&w.t);
        assert_closed_because(&w, OUT_OF_STATE);
        assert_silent(w.pipe);
        assert_int_equal(w.messages, 0);
        assert_int_equal(crs_uid_find(w.uids, cereus_slice_str("me")), 0);
        world_end(&w);
    }
}

static void an_ack_opens_the_gate_only_after_a_handshake(void **state)
{
    for (int from = START; from <= WORKING; from++) {
        world w;
        world_open_in(&w, (client_state)from);
        send_ack(w.pipe);
        send_packet(w.pipe, CRS_PACKET_HANDSHAKE_ACK, "ignored", 7);
        test_settle(&w.t);
        assert_int_equal(w.closed, 0);
        assert_int_equal(w.agent->state, from == START ? CRS_AGENT_START : CRS_AGENT_WORKING);
        send_data(w.pipe);
        test_settle(&w.t);
        if (from == START) { /* Q1 */
            assert_closed_because(&w, OUT_OF_STATE);
            assert_int_equal(COUNTER(&w, out_of_state), 1);
        } else {
            assert_int_equal(w.messages, 1);
            assert_int_equal(w.closed, 0);
        }
        assert_silent(w.pipe);
        world_end(&w);
    }
}

static void data_before_the_gate_is_open_closes_silently(void **state)
{
    for (int from = START; from <= SHOOK; from++) {
        world w;
        world_open_in(&w, (client_state)from);
        send_data(w.pipe);
        send_ack(w.pipe);
        send_data(w.pipe);
        test_settle(&w.t);
        assert_closed_because(&w, OUT_OF_STATE);
        assert_int_equal(w.messages, 0);
        assert_silent(w.pipe);
        world_end(&w);
    }
}

static void heartbeats_and_kicks_of_a_client_change_nothing_in_any_state(void **state)
{
    for (int from = START; from <= WORKING; from++) {
        world w;
        world_open_in(&w, (client_state)from);
        int was = w.agent->state;
        send_heartbeat(w.pipe);
        send_packet(w.pipe, CRS_PACKET_HEARTBEAT, "body", 4);
        send_packet(w.pipe, CRS_PACKET_KICK, "body", 4);
        test_settle(&w.t);
        assert_int_equal(w.agent->state, was);
        assert_int_equal(w.closed, 0);
        assert_silent(w.pipe); /* a heartbeat is not answered */
        world_end(&w);
    }
}

static void a_bad_packet_type_closes_in_every_state(void **state)
{
    for (int from = START; from <= WORKING; from++) {
        for (int type = 0; type <= 255; type += type == 0 ? 6 : 83) {
            world w;
            world_open_in(&w, (client_state)from);
            send_packet(w.pipe, type, "", 0);
            test_settle(&w.t);
            assert_closed_because(&w, MALFORMED_PACKET);
            assert_int_equal(COUNTER(&w, malformed_packets), 1);
            assert_silent(w.pipe);
            world_end(&w);
        }
    }
}

static void a_refused_handshake_is_told_and_closed_in_every_state(void **state)
{
    static const char *const bad[] = {"", "[]", "{\"sys\":{\"platform\":20}}", "{",
                                      hello /* which a validator refuses */};
    for (int from = START; from <= WORKING; from++) {
        for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
            world w;
            world_open_in(&w, (client_state)from);
            int before = w.handshakes;
            w.refuse = CEREUS_E_FAILED;
            send_packet(w.pipe, CRS_PACKET_HANDSHAKE, bad[i], strlen(bad[i]));
            send_ack(w.pipe);
            send_data(w.pipe);
            test_settle(&w.t);
            take_answer(w.pipe, 400);
            assert_silent(w.pipe);
            assert_closed_because(&w, HANDSHAKE_REFUSED);
            assert_int_equal(w.handshakes, before + (bad[i] == hello));
            assert_int_equal(COUNTER(&w, handshakes_refused), 1);
            assert_int_equal(w.messages, 0);
            world_end(&w);
        }
    }
}

static void handshake_ack_and_data_may_come_at_once(void **state)
{
    world w;
    world_init(&w);
    world_start(&w);
    w.pipe = connect_client(&w);
    send_hello(w.pipe);
    send_ack(w.pipe);
    send_data(w.pipe);
    send_packet(w.pipe, CRS_PACKET_DATA,
                "\x00\xac\x02\x04"
                "a.bc"
                "body",
                12);
    test_settle(&w.t);
    take_answer(w.pipe, 200);
    assert_int_equal(w.messages, 2);
    assert_int_equal(w.last.type, CRS_MESSAGE_REQUEST);
    assert_int_equal(w.last.id, 300);
    assert_string_equal(w.route, "a.bc");
    assert_int_equal(w.body.len, 4);
    assert_memory_equal(w.body.data, "body", 4);
    assert_int_equal(COUNTER(&w, sessions_opened), 1);
    world_end(&w);
}

static void what_the_server_says_goes_out_in_every_state(void **state)
{
    for (int from = START; from <= WORKING; from++) {
        world w;
        world_open_in(&w, (client_state)from);
        assert_int_equal(crs_agent_push(w.agent, cereus_slice_str("r"), cereus_slice_str("x")), CEREUS_OK);
        assert_int_equal(crs_agent_respond(w.agent, 300, cereus_slice_str("y"), false), CEREUS_OK);
        assert_int_equal(crs_agent_respond(w.agent, 1, cereus_slice_str("z"), true), CEREUS_OK);
        crs_agent_close(w.agent, CRS_CLOSE_KICKED);
        test_settle(&w.t);
        assert_message_text(w.pipe, "\x06\x01rx");
        assert_message_text(w.pipe, "\x04\xac\x02y");
        assert_message_text(w.pipe, "\x24\x01z");
        assert_int_equal(take_packet(w.pipe, CRS_PACKET_KICK).len, 0);
        assert_silent(w.pipe);
        assert_closed_because(&w, KICKED);
        assert_int_equal(COUNTER(&w, pushes), 1);
        assert_int_equal(COUNTER(&w, responses), 2);
        assert_int_equal(COUNTER(&w, errors_sent), 1);
        assert_int_equal(COUNTER(&w, kicks), 1);
        world_end(&w);
    }
}

/* ---- time ---- */

static void a_handshake_has_a_deadline_which_only_the_ack_takes_away(void **state)
{
    for (int from = START; from <= WORKING; from++) {
        world w;
        world_open_in(&w, (client_state)from);
        test_pass(&w.t, HANDSHAKE_TIMEOUT_MS - 1);
        send_heartbeat(w.pipe); /* a sign of life is not enough */
        test_settle(&w.t);
        assert_int_equal(w.closed, 0);
        test_pass(&w.t, 1);
        if (from == WORKING) {
            assert_int_equal(w.closed, 0);
            send_hello(w.pipe); /* and it does not come back */
            test_pass(&w.t, HANDSHAKE_TIMEOUT_MS);
            assert_int_equal(w.closed, 0);
        } else {
            assert_closed_because(&w, HANDSHAKE_TIMEOUT);
            assert_int_equal(COUNTER(&w, handshake_timeouts), 1);
            assert_silent(w.pipe);
        }
        world_end(&w);
    }
}

static void a_login_may_have_a_deadline(void **state)
{
    for (int bound = 0; bound < 2; bound++) {
        world w;
        world_init(&w);
        w.opt.bind_timeout_ms = 3000;
        world_start(&w);
        w.pipe = connect_client(&w);
        test_pass(&w.t, 500);
        send_hello(w.pipe);
        send_ack(w.pipe);
        test_settle(&w.t);
        test_pass(&w.t, 2999);
        assert_int_equal(w.closed, 0);
        if (bound) {
            w.agent->deadline_ms = UINT64_MAX; /* as a bind does */
        } else {
            send_hello(w.pipe); /* another handshake gives no more time */
            send_ack(w.pipe);
        }
        test_settle(&w.t);
        test_pass(&w.t, 1);
        if (bound) {
            assert_int_equal(w.closed, 0);
        } else {
            assert_closed_because(&w, BIND_TIMEOUT);
            assert_int_equal(COUNTER(&w, bind_timeouts), 1);
        }
        world_end(&w);
    }
}

static void a_silent_client_sees_two_heartbeats_and_the_end_at_the_third(void **state)
{
    for (int64_t phase = 0; phase < 1000; phase += 111) { /* of the second in which it connects */
        world w;
        world_init(&w);
        w.opt.handshake_timeout_ms = 1000000;
        world_start(&w);
        test_pass(&w.t, phase);
        w.pipe = connect_client(&w);
        test_pass(&w.t, HEARTBEAT_MS - 1);
        assert_silent(w.pipe);
        test_pass(&w.t, 1);
        assert_int_equal(take_packet(w.pipe, CRS_PACKET_HEARTBEAT).len, 0);
        assert_silent(w.pipe);
        test_pass(&w.t, HEARTBEAT_MS);
        assert_int_equal(take_packet(w.pipe, CRS_PACKET_HEARTBEAT).len, 0);
        test_pass(&w.t, HEARTBEAT_MS - 1);
        assert_int_equal(w.closed, 0);
        test_pass(&w.t, 1);
        assert_closed_because(&w, HEARTBEAT_TIMEOUT);
        assert_silent(w.pipe); /* no kick, no third heartbeat */
        assert_int_equal(COUNTER(&w, heartbeat_timeouts), 1);
        assert_int_equal(COUNTER(&w, heartbeats_sent), 2);
        world_end(&w);
    }
}

/** client-protocol.md 20: the JavaScript client answers every second heartbeat, up to a while after it. */
static void a_client_that_answers_every_second_heartbeat_stays(void **state)
{
    for (int64_t phase = 0; phase < 1000; phase += 199) {
        for (int64_t late = 0; late < 1000; late += 333) {
            world w;
            world_init(&w);
            world_start(&w);
            test_pass(&w.t, phase);
            w.pipe = connect_client(&w);
            send_hello(w.pipe);
            send_ack(w.pipe);
            test_settle(&w.t);
            for (int i = 0; i < 20; i++) {
                test_pass(&w.t, HEARTBEAT_MS - (i && i % 2 == 0 ? late : 0));
                if (i % 2) {
                    test_pass(&w.t, late);
                    send_heartbeat(w.pipe);
                    test_settle(&w.t);
                }
                assert_int_equal(w.closed, 0);
            }
            world_end(&w);
        }
    }
}

/** The rule of client-protocol.md 5, written down a second time: at each tick, whole seconds. */
static void the_deadline_follows_the_rule_for_any_life_signs(void **state)
{
    uint32_t seed = 7;
    for (int run = 0; run < 60; run++) {
        world w;
        world_init(&w);
        w.opt.heartbeat_ms = 1000 + (uint64_t)(run % 7) * 700;
        w.opt.handshake_timeout_ms = 1000000;
        world_start(&w);
        test_pass(&w.t, run * 37);
        w.pipe = connect_client(&w);
        int64_t period = (int64_t)w.opt.heartbeat_ms, connected = w.t.passed_ms;
        int64_t last_s = (TEST_START_UNIX_MS + connected) / 1000, next_tick = connected + period;
        bool closed = false;
        while (!closed && w.t.passed_ms < connected + 60 * period) {
            seed = seed * 1664525 + 1013904223;
            int64_t step = 1 + (seed >> 8) % (period / 2);
            int64_t until = w.t.passed_ms + step;
            bool tick = until >= next_tick;
            if (tick)
                until = next_tick;
            test_pass(&w.t, until - w.t.passed_ms);
            if (tick) {
                closed = (TEST_START_UNIX_MS + until - 2 * period) / 1000 > last_s;
                next_tick += period;
            }
            assert_int_equal(w.closed, closed);
            if (!closed && (seed >> 20) % 9 == 0) {
                send_heartbeat(w.pipe);
                test_settle(&w.t);
                last_s = (TEST_START_UNIX_MS + w.t.passed_ms) / 1000;
            }
        }
        world_end(&w);
    }
}

static void a_client_that_we_did_not_listen_to_is_not_silent(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    w.answer = CRS_INPUT_PAUSE;
    send_data(w.pipe);
    for (int i = 0; i < 20; i++) { /* its heartbeats wait in the kernel */
        send_heartbeat(w.pipe);
        test_pass(&w.t, HEARTBEAT_MS);
        assert_int_equal(w.closed, 0);
    }
    w.answer = CRS_INPUT_MORE;
    crs_agent_resume(w.agent);
    test_settle(&w.t);
    assert_int_equal(w.closed, 0);
    world_end(&w);
}

static void a_loop_that_was_held_up_does_not_blame_its_clients(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    test_pass(&w.t, 10 * HEARTBEAT_MS); /* in one turn: what it sent meanwhile is read after the timers ran */
    assert_int_equal(w.closed, 0);
    assert_int_equal(take_packet(w.pipe, CRS_PACKET_HEARTBEAT).len, 0); /* one for all that were missed */
    assert_silent(w.pipe);
    send_heartbeat(w.pipe); /* now it is read */
    test_settle(&w.t);
    test_pass(&w.t, HEARTBEAT_MS + 5000); /* a little late is fine, too */
    test_pass(&w.t, HEARTBEAT_MS - 5000);
    assert_int_equal(w.closed, 0);
    test_pass(&w.t, HEARTBEAT_MS);
    assert_closed_because(&w, HEARTBEAT_TIMEOUT); /* but then it is silent */
    world_end(&w);
}

static void a_client_that_takes_nothing_is_closed_after_the_write_timeout(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    crs_pipe_set_window(w.pipe, 3);
    assert_int_equal(crs_agent_push(w.agent, cereus_slice_str("r"), cereus_slice_str("xyz")), CEREUS_OK);
    test_pass(&w.t, WRITE_TIMEOUT_MS - 1);
    assert_int_equal(w.closed, 0);
    crs_pipe_take(w.pipe, 1); /* a byte is progress */
    test_settle(&w.t);
    test_pass(&w.t, WRITE_TIMEOUT_MS - 1);
    assert_int_equal(w.closed, 0);
    test_pass(&w.t, 1);
    assert_closed_because(&w, WRITE_TIMEOUT);
    assert_int_equal(COUNTER(&w, write_timeouts), 1);
    assert_int_equal(crs_pipe_received(w.pipe).len, 3); /* nothing is flushed to it */
    assert_int_equal(crs_transport_count(w.transport), 0);
    world_end(&w);
}

static void a_stalled_client_gets_no_heartbeats_on_top(void **state)
{
    world w;
    world_init(&w);
    w.opt.write_timeout_ms = 10 * HEARTBEAT_MS;
    world_start(&w);
    w.pipe = connect_client(&w);
    send_hello(w.pipe);
    send_ack(w.pipe);
    test_settle(&w.t);
    take_answer(w.pipe, 200);
    crs_pipe_set_window(w.pipe, 3);
    assert_int_equal(crs_agent_push(w.agent, cereus_slice_str("r"), cereus_slice_str("xyz")), CEREUS_OK);
    test_settle(&w.t);
    for (int i = 0; i < 5; i++) {
        send_heartbeat(w.pipe);
        test_pass(&w.t, HEARTBEAT_MS);
    }
    assert_int_equal(w.closed, 0);
    assert_int_equal(COUNTER(&w, heartbeats_sent), 0);
    crs_pipe_set_window(w.pipe, 1000);
    crs_pipe_take(w.pipe, 0);
    test_settle(&w.t);
    assert_message_text(w.pipe, "\x06\x01rxyz");
    assert_int_equal(w.drained, 1);
    send_heartbeat(w.pipe);
    test_pass(&w.t, HEARTBEAT_MS);
    assert_int_equal(COUNTER(&w, heartbeats_sent), 1);
    world_end(&w);
}

/* ---- messages ---- */

static void a_message_that_does_not_decode_closes_silently(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"", 0},
        {"\x02", 1},
        {"\x08\x01rx", 4},   /* type 4 */
        {"\x00\x01", 2},     /* ends after its id: Q5 */
        {"\x00\xff\xff", 3}, /* id without an end: Q6 */
        {"\x02\x05ro", 4},   /* route cut off */
        {"\x03\x00", 2},     /* half a route code */
        {"\x03\x00\x08", 3}, /* a code that nobody has: Q29 */
        {"\x04\x01x", 3},    /* only servers say these: Q9 */
        {"\x06\x01rx", 4},
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        world w;
        world_open_in(&w, WORKING);
        send_packet(w.pipe, CRS_PACKET_DATA, bad[i].bytes, bad[i].len);
        send_data(w.pipe);
        test_settle(&w.t);
        assert_closed_because(&w, MALFORMED_MESSAGE);
        assert_int_equal(COUNTER(&w, malformed_messages), 1);
        assert_int_equal(w.messages, 0);
        assert_silent(w.pipe);
        world_end(&w);
    }
}

static void routes_come_by_code_and_go_by_code(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    send_packet(w.pipe, CRS_PACKET_DATA, "\x03\x00\x07x", 4);
    test_settle(&w.t);
    assert_string_equal(w.route, "room.join");
    assert_int_equal(crs_agent_push(w.agent, cereus_slice_str("room.join"), cereus_slice_str("x")), CEREUS_OK);
    crs_frame frame;
    assert_int_equal(crs_frontend_make_push(w.frontend, cereus_slice_str("room.join"), cereus_slice_str("y"), &frame),
                     CEREUS_OK);
    assert_int_equal(crs_agent_push_frame(w.agent, &frame), CEREUS_OK);
    crs_buf_unref(frame.buf);
    test_settle(&w.t);
    assert_message_text(w.pipe, "\x07\x00\x07x");
    assert_message_text(w.pipe, "\x07\x00\x07y");
    assert_int_equal(COUNTER(&w, pushes), 2);
    world_end(&w);
}

/** A data packet whose body is the zlib stream of @p len times 'x'. */
static void send_deflated(crs_pipe *pipe, size_t len, size_t cut)
{
    uLongf cap = compressBound(len);
    uint8_t *plain = malloc(len), *packed = malloc(4 + cap);
    memset(plain, 'x', len);
    memcpy(packed, "\x12\x01r", 3);
    assert_int_equal(compress2(packed + 3, &cap, plain, len, 9), Z_OK);
    send_packet(pipe, CRS_PACKET_DATA, packed, 3 + cap - cut);
    free(plain);
    free(packed);
}

static void compressed_messages_are_inflated_up_to_the_limit(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    send_deflated(w.pipe, 50, 0);
    test_settle(&w.t);
    assert_int_equal(w.body.len, 50);
    send_deflated(w.pipe, INFLATE_MAX, 0);
    test_settle(&w.t);
    assert_int_equal(w.messages, 2);
    assert_int_equal(w.body.len, INFLATE_MAX);
    assert_int_equal(w.body.data[INFLATE_MAX - 1], 'x');
    send_deflated(w.pipe, INFLATE_MAX + 1, 0);
    test_settle(&w.t);
    assert_closed_because(&w, INFLATE);
    assert_int_equal(COUNTER(&w, inflate_refused), 1);
    world_end(&w);
}

static void bombs_and_broken_streams_close(void **state)
{
    for (int bomb = 0; bomb < 2; bomb++) {
        world w;
        world_open_in(&w, WORKING);
        send_deflated(w.pipe, bomb ? 100 << 20 : 1000, bomb ? 0 : 1);
        send_data(w.pipe);
        test_settle(&w.t);
        assert_closed_because(&w, INFLATE);
        assert_int_equal(w.messages, 0);
        assert_silent(w.pipe);
        world_end(&w);
    }
}

static void long_bodies_are_deflated_when_that_is_on_and_shorter(void **state)
{
    char text[1001], noise[200];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        seed = seed * 1664525 + 1013904223;
        noise[i] = (char)(seed >> 24);
    }
    for (int on = 0; on < 2; on++) {
        world w;
        world_init(&w);
        w.opt.compress = on;
        w.opt.outbox_max = 100000;
        world_start(&w);
        w.pipe = connect_client(&w);
        cereus_slice route = cereus_slice_str("r");
        assert_int_equal(crs_agent_respond(w.agent, 1, cereus_slice_of(text, 1000), true), CEREUS_OK);
        assert_int_equal(crs_agent_push(w.agent, route, cereus_slice_of(text, 1000)), CEREUS_OK);
        assert_int_equal(crs_agent_push(w.agent, route, cereus_slice_of(text, COMPRESS_MIN - 1)), CEREUS_OK);
        assert_int_equal(crs_agent_push(w.agent, route, cereus_slice_of(noise, sizeof noise)), CEREUS_OK);
        test_settle(&w.t);
        for (int i = 0; i < 2; i++) {
            cereus_slice m = take_packet(w.pipe, CRS_PACKET_DATA);
            size_t head = i ? 3 : 2;
            assert_int_equal(m.data[0], (i ? 0x06 : 0x24) | (on ? 0x10 : 0));
            if (on) {
                uint8_t plain[1001];
                uLongf len = sizeof plain;
                assert_int_equal(uncompress(plain, &len, m.data + head, m.len - head), Z_OK);
                assert_int_equal(len, 1000);
                assert_memory_equal(plain, text, 1000);
                assert_true(m.len < 100);
            } else {
                assert_int_equal(m.len, head + 1000);
            }
        }
        assert_int_equal(take_packet(w.pipe, CRS_PACKET_DATA).data[0], 0x06);
        cereus_slice m = take_packet(w.pipe, CRS_PACKET_DATA);
        assert_int_equal(m.data[0], 0x06);
        assert_memory_equal(m.data + 3, noise, sizeof noise);
        world_end(&w);
    }
}

static void what_does_not_fit_is_refused_and_nothing_is_queued(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    static char big[CRS_PACKET_BODY_MAX];
    char route[257];
    memset(route, 'r', sizeof route);
    crs_frame frame;
    cereus_slice too_long = cereus_slice_of(route, 256);
    assert_int_equal(crs_agent_push(w.agent, too_long, cereus_slice_str("x")), CEREUS_E_TOO_LONG);
    assert_int_equal(crs_frontend_make_push(w.frontend, too_long, cereus_slice_str("x"), &frame), CEREUS_E_TOO_LONG);
    cereus_slice all = cereus_slice_of(big, sizeof big);
    assert_int_equal(crs_agent_respond(w.agent, 1, all, false), CEREUS_E_TOO_LONG);
    assert_int_equal(crs_agent_push(w.agent, cereus_slice_str("r"), all), CEREUS_E_TOO_LONG);
    test_settle(&w.t);
    assert_silent(w.pipe);
    assert_int_equal(COUNTER(&w, responses) + COUNTER(&w, pushes), 0);
    assert_int_equal(crs_agent_push(w.agent, cereus_slice_of(route, 255), cereus_slice_str("x")), CEREUS_OK);
    assert_int_equal(crs_agent_respond(w.agent, 1, cereus_slice_of(big, sizeof big - 2), false), CEREUS_OK);
    world_end(&w);
}

static void a_paused_client_is_read_again_when_asked_for(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    w.answer = CRS_INPUT_PAUSE;
    send_data(w.pipe);
    send_data(w.pipe);
    test_settle(&w.t);
    assert_int_equal(w.messages, 1);
    crs_agent_resume(w.agent);
    test_settle(&w.t);
    assert_int_equal(w.messages, 2);
    world_end(&w);
}

/* ---- what old clients need ---- */

static void clients_get_what_they_can_read(void **state)
{
    static const struct {
        const char *hello;
        bool code, deflated;
    } clients[] = {
        {"{}", true, true},
        {"{\"sys\":{\"type\":\"js-websocket\"}}", true, false},
        {"{\"sys\":{\"libVersion\":\"4.6.3-\"}}", false, true}, /* libpitaya */
    };
    for (size_t i = 0; i < CEREUS_COUNT(clients); i++) {
        world w;
        world_init(&w);
        w.opt.compress = true;
        world_start(&w);
        w.pipe = connect_client(&w);
        send_packet(w.pipe, CRS_PACKET_HANDSHAKE, clients[i].hello, strlen(clients[i].hello));
        test_settle(&w.t);
        take_packet(w.pipe, CRS_PACKET_HANDSHAKE);
        char text[500];
        memset(text, 'x', sizeof text);
        cereus_slice route = cereus_slice_str("room.join"), body = cereus_slice_of(text, sizeof text);
        crs_frame frame;
        assert_int_equal(crs_frontend_make_push(w.frontend, route, body, &frame), CEREUS_OK);
        assert_int_equal(crs_agent_push_frame(w.agent, &frame), CEREUS_OK);
        assert_int_equal(crs_agent_push(w.agent, route, body), CEREUS_OK);
        crs_buf_unref(frame.buf);
        test_settle(&w.t);
        crs_zlib *z = crs_zlib_new(-1);
        for (int shared = 0; shared < 2; shared++) {
            crs_message m;
            assert_int_equal(crs_message_decode(take_packet(w.pipe, CRS_PACKET_DATA), w.dict, &m), CEREUS_OK);
            assert_true(crs_slice_eq(m.route, route));
            assert_int_equal(m.compressed, clients[i].deflated);
            crs_bytes plain;
            crs_bytes_init(&plain, 1000);
            if (m.compressed)
                assert_int_equal(crs_zlib_inflate(z, m.body, &plain), CEREUS_OK);
            assert_true(crs_slice_eq(m.compressed ? crs_bytes_slice(&plain) : m.body, body));
            crs_bytes_fini(&plain);
        }
        crs_zlib_free(z);
        assert_silent(w.pipe);
        assert_int_equal(COUNTER(&w, pushes), 2);
        world_end(&w);
    }
}

/* ---- slow clients ---- */

/** Pushes of 100 bytes until one is not taken; returns how many were. */
static int push_until_refused(world *w, cereus_status *ret_st)
{
    char text[93];
    memset(text, 'x', sizeof text);
    int pushed = 0;
    while ((*ret_st = crs_agent_push(w->agent, cereus_slice_str("r"), cereus_slice_of(text, sizeof text))) == CEREUS_OK)
        assert_in_range(pushed++, 0, 100);
    return pushed;
}

static void an_outbox_over_its_limit_ends_the_session(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    crs_pipe_set_window(w.pipe, 0);
    cereus_status st;
    w.keep = true;
    int pushed = push_until_refused(&w, &st);
    assert_int_equal(pushed, OUTBOX_MAX / 100 + 1);
    assert_int_equal(st, CEREUS_E_GONE);
    assert_closed_because(&w, OUTBOX_FULL);
    assert_int_equal(COUNTER(&w, outbox_full_disconnects), 1);
    assert_int_equal(COUNTER(&w, pushes), (uint64_t)pushed);
    crs_agent_free(w.agent);
    test_settle(&w.t);
    assert_int_equal(crs_transport_count(w.transport), 0); /* at once: it would not read a goodbye */
    world_end(&w);
}

static void or_drops_pushes_but_never_responses(void **state)
{
    world w;
    world_init(&w);
    w.opt.outbox_drop = true;
    world_start(&w);
    w.pipe = connect_client(&w);
    crs_pipe_set_window(w.pipe, 0);
    cereus_status st;
    int pushed = push_until_refused(&w, &st);
    assert_int_equal(st, CEREUS_E_FULL);
    assert_true(crs_agent_clogged(w.agent));
    assert_int_equal(crs_agent_respond(w.agent, 1, cereus_slice_str("answer"), false), CEREUS_OK);
    crs_frame frame;
    assert_int_equal(crs_frontend_make_push(w.frontend, cereus_slice_str("r"), cereus_slice_str("x"), &frame),
                     CEREUS_OK);
    assert_int_equal(crs_agent_push_frame(w.agent, &frame), CEREUS_E_FULL);
    assert_int_equal(atomic_load(&frame.buf->refs), 1);
    assert_int_equal(COUNTER(&w, outbox_full_drops), 2);
    crs_pipe_set_window(w.pipe, 10000);
    test_settle(&w.t);
    for (int i = 0; i < pushed; i++)
        assert_int_equal(take_packet(w.pipe, CRS_PACKET_DATA).len, 96);
    assert_message_text(w.pipe, "\x04\x01"
                                "answer");
    assert_false(crs_agent_clogged(w.agent));
    assert_int_equal(crs_agent_push_frame(w.agent, &frame), CEREUS_OK); /* room again */
    crs_buf_unref(frame.buf);
    assert_int_equal(w.closed, 0);
    world_end(&w);
}

static void push_too_much(world *w, crs_agent *agent, const crs_message *msg)
{
    cereus_status st;
    assert_int_equal(crs_agent_respond(agent, 1, cereus_slice_str("x"), false), CEREUS_OK);
    push_until_refused(w, &st);
    assert_int_equal(st, CEREUS_E_GONE);
    assert_int_equal(w->closed, 1);
}

static void a_session_may_end_by_its_own_pushes_while_its_message_is_handled(void **state)
{
    world w;
    world_init(&w);
    w.opt.outbox_max = 300000; /* more than is gathered before a write */
    world_start(&w);
    w.pipe = connect_client(&w);
    send_hello(w.pipe);
    send_ack(w.pipe);
    test_settle(&w.t);
    w.on_message = push_too_much;
    crs_pipe_set_window(w.pipe, 10);
    static char big[100000];
    for (int i = 0; i < 3; i++)
        assert_int_equal(crs_agent_push(w.agent, cereus_slice_str("r"), cereus_slice_of(big, sizeof big)), CEREUS_OK);
    send_data(w.pipe);
    send_data(w.pipe);
    test_settle(&w.t);
    assert_int_equal(w.messages, 1);
    assert_int_equal(w.reason, CRS_CLOSE_OUTBOX_FULL);
    world_end(&w);
}

/* ---- ends ---- */

static void kick_self(world *w, crs_agent *agent, const crs_message *msg)
{
    assert_int_equal(crs_agent_respond(agent, 1, cereus_slice_str("last"), false), CEREUS_OK);
    crs_agent_close(agent, CRS_CLOSE_KICKED);
    assert_int_equal(w->closed, 1);
}

static void a_session_may_be_kicked_while_its_message_is_handled(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    w.on_message = kick_self;
    send_data(w.pipe);
    send_data(w.pipe);
    test_settle(&w.t);
    assert_int_equal(w.messages, 1);
    assert_message_text(w.pipe, "\x04\x01last");
    take_packet(w.pipe, CRS_PACKET_KICK);
    assert_silent(w.pipe);
    assert_closed_because(&w, KICKED);
    world_end(&w);
}

static void lose_the_peer_and_respond(world *w, crs_agent *agent, const crs_message *msg)
{
    static char big[200000];
    w->pipe = crs_pipe_free(w->pipe);
    crs_agent_respond(agent, 1, cereus_slice_str("x"), false);
    assert_int_equal(crs_agent_respond(agent, 2, cereus_slice_of(big, sizeof big), false), CEREUS_E_GONE);
    assert_int_equal(w->closed, 1);
    assert_int_equal(w->reason, CRS_CLOSE_NETWORK);
}

static void a_peer_that_goes_while_its_message_is_handled_ends_the_session_safely(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    w.on_message = lose_the_peer_and_respond;
    send_data(w.pipe);
    test_settle(&w.t);
    assert_int_equal(w.closed, 1);
    world_end(&w);
}

static void every_way_to_end_has_its_reason(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        crs_close_reason reason;
        crs_counter counter;
    } ways[] = {
        {"\x09\0\0\0", 4, CRS_CLOSE_MALFORMED_PACKET, CRS_COUNTER_malformed_packets},
        {"\x04\xff\xff\xff", 4, CRS_CLOSE_PACKET_TOO_LONG, CRS_COUNTER_malformed_packets},
        {NULL, 0, CRS_CLOSE_CLIENT, CRS_COUNTER_sessions_closed},
    };
    for (size_t i = 0; i < CEREUS_COUNT(ways); i++) {
        world w;
        world_init(&w);
        w.packet_max = 1000;
        world_start(&w);
        w.pipe = connect_client(&w);
        if (ways[i].bytes)
            assert_int_equal(crs_pipe_send(w.pipe, ways[i].bytes, ways[i].len), CEREUS_OK);
        else
            crs_pipe_shut(w.pipe);
        test_settle(&w.t);
        assert_int_equal(w.closed, 1);
        assert_int_equal(w.reason, ways[i].reason);
        assert_int_equal(counter(&w, ways[i].counter), 1);
        world_end(&w);
    }
    for (int i = CRS_CLOSE_CLIENT; i <= CRS_CLOSE_SHUTDOWN; i++)
        assert_true(strlen(crs_close_reason_text((crs_close_reason)i)) > 0);
}

static void closing_flushes_what_was_queued_and_says_nothing_more(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    assert_int_equal(crs_agent_push(w.agent, cereus_slice_str("r"), cereus_slice_str("x")), CEREUS_OK);
    crs_agent_close(w.agent, CRS_CLOSE_CLOSED);
    test_settle(&w.t);
    assert_message_text(w.pipe, "\x06\x01rx");
    assert_silent(w.pipe);
    assert_closed_because(&w, CLOSED);
    world_end(&w);
}

static void close_all_ends_every_session(void **state)
{
    world w;
    world_init(&w);
    world_start(&w);
    crs_pipe *pipes[10];
    for (size_t i = 0; i < 10; i++)
        pipes[i] = connect_client(&w);
    assert_int_equal(atomic_load(&crs_frontend_sessions(w.frontend)->count), 10);
    crs_frontend_close_all(w.frontend, CRS_CLOSE_SHUTDOWN);
    assert_int_equal(w.closed, 10);
    assert_int_equal(w.reason, CRS_CLOSE_SHUTDOWN);
    assert_int_equal(atomic_load(&crs_frontend_sessions(w.frontend)->count), 0);
    for (size_t i = 0; i < 10; i++) {
        assert_true(crs_pipe_closed(pipes[i]));
        crs_pipe_free(pipes[i]);
    }
    world_end(&w);
}

static void a_pinned_agent_is_freed_when_the_last_pin_goes(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    crs_agent *agent = w.agent;
    agent->pins++;
    crs_agent_close(agent, CRS_CLOSE_CLOSED);
    assert_int_equal(agent->state, CRS_AGENT_CLOSED); /* still there */
    assert_int_equal(w.closed, 1);
    crs_agent_unpin(agent); /* the sanitizer tells if it is freed twice or never */
    world_end(&w);
}

static void clients_over_the_limit_are_turned_away(void **state)
{
    world w;
    world_init(&w);
    w.opt.sessions_max = 1;
    world_start(&w);
    w.pipe = connect_client(&w);
    crs_pipe *second = connect_client(&w);
    assert_true(crs_pipe_closed(second));
    assert_int_equal(COUNTER(&w, connections_refused), 1);
    assert_int_equal(COUNTER(&w, sessions_opened), 1);
    crs_pipe_free(second);
    w.pipe = crs_pipe_free(w.pipe);
    test_settle(&w.t);
    assert_int_equal(w.closed, 1);
    w.pipe = connect_client(&w);
    assert_false(crs_pipe_closed(w.pipe));
    world_end(&w);
}

/* ---- out of memory ---- */

static void new_survives_every_failing_allocation(void **state)
{
    world w;
    world_init(&w);
    world_start(&w);
    cereus_status st = CEREUS_E_NOMEM;
    for (size_t nth = 1; st; nth++) {
        assert_true(nth < 100);
        crs_frontend *fe = NULL;
        cereus_error err = {0};
        crs_alloc_fail_at(nth);
        st = crs_frontend_new(w.t.loop, &w.opt, &fe, &err);
        crs_alloc_fail_at(0);
        if (st) {
            assert_int_equal(st, CEREUS_E_NOMEM);
            assert_int_equal(err.status, CEREUS_E_NOMEM);
            assert_null(fe);
        }
        crs_frontend_free(fe);
    }
    world_end(&w);
}

/** One client comes, shakes hands and asks, while the n-th allocation fails: it is served, or ends with a reason. */
static void a_session_survives_or_ends_cleanly_at_every_failing_allocation(void **state)
{
    bool served = false;
    for (size_t nth = 1; !served; nth++) {
        assert_true(nth < 200);
        world w;
        world_init(&w);
        w.opt.compress = true;
        assert_int_equal(crs_bytes_reserve(&w.body, 5000), CEREUS_OK);
        world_start(&w);
        crs_timer heat[3]; /* the heap of timers is there; it grows elsewhere */
        for (size_t i = 0; i < 3; i++) {
            crs_timer_init(&heat[i], NULL);
            assert_int_equal(crs_loop_timer_start(w.t.loop, &heat[i], 1000000000), CEREUS_OK);
        }
        w.pipe = connect_client(&w);
        send_hello(w.pipe);
        send_ack(w.pipe);
        send_deflated(w.pipe, 4000, 0);
        crs_alloc_fail_at(nth);
        test_settle(&w.t);
        crs_alloc_fail_at(0);
        if (w.closed) {
            assert_true(w.reason == CRS_CLOSE_HANDSHAKE_REFUSED || w.reason == CRS_CLOSE_NO_MEMORY ||
                        w.reason == CRS_CLOSE_INFLATE || w.reason == CRS_CLOSE_NETWORK);
            assert_true(crs_pipe_closed(w.pipe));
        } else {
            assert_int_equal(w.messages, 1);
            assert_int_equal(w.body.len, 4000);
            served = nth > 10; /* far beyond the last */
        }
        for (size_t i = 0; i < 3; i++)
            crs_loop_timer_stop(w.t.loop, &heat[i]);
        world_end(&w);
    }
}

static void output_without_memory_is_told(void **state)
{
    world w;
    world_open_in(&w, WORKING);
    crs_alloc_fail_at(1);
    assert_int_equal(crs_agent_push(w.agent, cereus_slice_str("r"), cereus_slice_str("x")), CEREUS_E_NOMEM);
    crs_frame frame;
    crs_alloc_fail_at(1);
    assert_int_equal(crs_frontend_make_push(w.frontend, cereus_slice_str("r"), cereus_slice_str("x"), &frame),
                     CEREUS_E_NOMEM);
    assert_int_equal(w.closed, 0);
    crs_alloc_fail_at(1); /* a client must not wait for an answer that never comes */
    assert_int_equal(crs_agent_respond(w.agent, 1, cereus_slice_str("x"), false), CEREUS_E_NOMEM);
    crs_alloc_fail_at(0);
    assert_closed_because(&w, NO_MEMORY);
    world_end(&w);
}

TEST_MAIN(cmocka_unit_test(a_handshake_is_answered_in_every_state_and_shuts_the_gate_again),
          cmocka_unit_test(an_ack_opens_the_gate_only_after_a_handshake),
          cmocka_unit_test(data_before_the_gate_is_open_closes_silently),
          cmocka_unit_test(heartbeats_and_kicks_of_a_client_change_nothing_in_any_state),
          cmocka_unit_test(a_bad_packet_type_closes_in_every_state),
          cmocka_unit_test(a_refused_handshake_is_told_and_closed_in_every_state),
          cmocka_unit_test(handshake_ack_and_data_may_come_at_once),
          cmocka_unit_test(what_the_server_says_goes_out_in_every_state),
          cmocka_unit_test(a_handshake_has_a_deadline_which_only_the_ack_takes_away),
          cmocka_unit_test(a_login_may_have_a_deadline),
          cmocka_unit_test(a_silent_client_sees_two_heartbeats_and_the_end_at_the_third),
          cmocka_unit_test(a_client_that_answers_every_second_heartbeat_stays),
          cmocka_unit_test(the_deadline_follows_the_rule_for_any_life_signs),
          cmocka_unit_test(a_client_that_we_did_not_listen_to_is_not_silent),
          cmocka_unit_test(a_loop_that_was_held_up_does_not_blame_its_clients),
          cmocka_unit_test(a_client_that_takes_nothing_is_closed_after_the_write_timeout),
          cmocka_unit_test(a_stalled_client_gets_no_heartbeats_on_top),
          cmocka_unit_test(a_message_that_does_not_decode_closes_silently),
          cmocka_unit_test(routes_come_by_code_and_go_by_code),
          cmocka_unit_test(compressed_messages_are_inflated_up_to_the_limit),
          cmocka_unit_test(bombs_and_broken_streams_close),
          cmocka_unit_test(long_bodies_are_deflated_when_that_is_on_and_shorter),
          cmocka_unit_test(what_does_not_fit_is_refused_and_nothing_is_queued),
          cmocka_unit_test(a_paused_client_is_read_again_when_asked_for),
          cmocka_unit_test(clients_get_what_they_can_read), cmocka_unit_test(an_outbox_over_its_limit_ends_the_session),
          cmocka_unit_test(or_drops_pushes_but_never_responses),
          cmocka_unit_test(a_session_may_end_by_its_own_pushes_while_its_message_is_handled),
          cmocka_unit_test(a_session_may_be_kicked_while_its_message_is_handled),
          cmocka_unit_test(a_peer_that_goes_while_its_message_is_handled_ends_the_session_safely),
          cmocka_unit_test(every_way_to_end_has_its_reason),
          cmocka_unit_test(closing_flushes_what_was_queued_and_says_nothing_more),
          cmocka_unit_test(close_all_ends_every_session),
          cmocka_unit_test(a_pinned_agent_is_freed_when_the_last_pin_goes),
          cmocka_unit_test(clients_over_the_limit_are_turned_away),
          cmocka_unit_test(new_survives_every_failing_allocation),
          cmocka_unit_test(a_session_survives_or_ends_cleanly_at_every_failing_allocation),
          cmocka_unit_test(output_without_memory_is_told))
