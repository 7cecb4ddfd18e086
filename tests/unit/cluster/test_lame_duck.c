/* tests/unit/cluster/test_lame_duck.c: a NATS server that will stop is left for another: what is under way then. */
#include "cluster.h"
#include "nats_fake.h"

#include <sched.h>

#include "cluster/protocol.h"

static atomic_uint finished; /* handlers that have */

static int set_up(void **state)
{
    atomic_store(&finished, 0);
    return test_make_dir(state);
}

/* ---- the servers ---- */

static cereus_status count_it(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    atomic_fetch_add(&finished, 1);
    *out = in;
    return CEREUS_OK;
}

/** Push to alice, then answer. */
static cereus_status tell(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uids[] = {"alice"};
    CEREUS_TRY(cereus_push_to_users(ctx, "onTell", cereus_text("hello"), uids, 1, "connector", NULL, NULL));
    return count_it(ctx, in, out);
}

static cereus_status bind_it(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), (const char *)in.data));
    return count_it(ctx, in, out);
}

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

/** Push to somebody elsewhere until there is no room for it, not even for a message without a payload: a long subject fills what
 * is left for the last payload, and more. */
static cereus_status drown(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    enum { LEN = 1000000 };
    static const uint8_t bytes[LEN];
    static char type[250];
    memset(type, 't', sizeof type - 1);
    const char *uids[] = {"b"};
    for (size_t len = LEN; len > 0; len /= LEN) {
        cereus_value value = cereus_raw(cereus_slice_of(bytes, len));
        for (int refused = 0; refused < 2;) { /* once and, when what a turn made has gone out at its end, again */
            if (cereus_push_to_users(ctx, "r", value, uids, 1, type, NULL, NULL) == CEREUS_OK) {
                atomic_fetch_add(&finished, 1);
                refused = 0;
            } else {
                refused++;
            }
            if (refused || len == LEN)
                CEREUS_TRY(cereus_yield(ctx));
        }
    }
    return CEREUS_OK;
}

static const cereus_method methods[] = {
    CEREUS_RAW_REQUEST("count", count_it), CEREUS_RAW_REQUEST("tell", tell),   CEREUS_RAW_REQUEST("bind", bind_it),
    CEREUS_RAW_REQUEST("echo", echo),      CEREUS_RAW_REQUEST("drown", drown),
};

static cereus_test_app *make_server(const char *type, const char *id, bool frontend)
{
    cereus_error err = {0};
    cereus_test_app *t = test_member(type, id, frontend);
    cereus_test_set(t, "cereus.loops", "1");
    cereus_test_set(t, "cereus.cluster.rpc", "nats");
    cereus_test_set(t, "cereus.log.level", "error");
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.reconnectwait", "20ms");
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.reconnectjitter", "5ms");
    assert_int_equal(cereus_app_register(cereus_test_get_app(t), "last", methods, CEREUS_COUNT(methods), NULL, &err),
                     CEREUS_OK);
    return t;
}

/** Start it with @p duck, and with @p other to go to, which does not listen yet. */
static void start_at(fake_nats *duck, fake_nats *other, cereus_test_app *t)
{
    char urls[100];
    fake_open(duck);
    fake_open(other);
    fake_deafen(other);
    snprintf(urls, sizeof urls, "%s,%s", duck->url, other->url);
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.connect", urls);
    fake_begin(duck, fake_echo_first); /* it asks whether its subscriptions hold */
    cereus_test_start(t);
    fake_join(duck);
}

/* ---- what is said ---- */

static void expect_answer(fake_nats *f, const char *to, const char *body)
{
    raw_message m;
    crs_response answer;
    fake_next(f, &m);
    assert_string_equal(m.subject, to);
    assert_int_equal(crs_response_decode(cereus_slice_of(m.payload, m.len), &answer), CEREUS_OK);
    assert_int_equal(answer.data.len, strlen(body));
    assert_memory_equal(answer.data.data, body, answer.data.len);
}

/** A message of another server for room-1. */
static void forward(fake_nats *f, const char *route, const char *body, const char *reply)
{
    crs_bytes bytes = raw_request_of(route, body);
    fake_deliver(f, "pitaya/servers/room/room-1", reply, bytes.data, bytes.len);
    crs_bytes_fini(&bytes);
}

static void ask_by(fake_nats *f, const char *body, const char *reply)
{
    forward(f, "room.last.count", body, reply);
}

static void await_finished(unsigned count)
{
    while (atomic_load(&finished) < count)
        usleep(1000);
}

static void await_counter(cereus_test_app *t, const char *name, uint64_t value)
{
    while (cereus_app_counter(cereus_test_get_app(t), name) < value)
        usleep(1000);
}

/** It goes from @p duck to @p other, and asks what it has to. */
static void move(fake_nats *duck, fake_nats *other, raw_message *sent, raw_message *hears)
{
    fake_listen(other);
    fake_begin(other, fake_echo_first);
    fake_say_lame(duck);
    fake_join(other);
    fake_next_echo(duck, sent);
    fake_next_echo(other, hears);
}

/** NATS goes, so that the server stops without a word, then the server. */
static void end(cereus_test_app *t, fake_nats *duck, fake_nats *other)
{
    uint64_t lost = cereus_app_counter(cereus_test_get_app(t), "nats_disconnects");
    fake_cut(other);
    if (duck->in)
        fake_cut(duck);
    await_counter(t, "nats_disconnects", lost + 1);
    cereus_test_end(t);
    fake_close(duck);
    fake_close(other);
}

/* ---- the tests ---- */

static void what_comes_by_a_lame_duck_and_its_successor_is_taken_once(void **state)
{
    fake_nats duck, other;
    raw_message sent, hears, drained;
    char line[1000];
    cereus_test_app *back = make_server("room", "room-1", false);
    start_at(&duck, &other, back);
    move(&duck, &other, &sent, &hears);
    ask_by(&duck, "1", "answer.1");
    ask_by(&other, "1", "answer.1");
    ask_by(&other, "2", "answer.2");
    await_finished(1);
    fake_echo(&duck, &sent); /* what was said by that has arrived: answers may go */
    expect_answer(&other, "answer.1", "1");
    ask_by(&duck, "2", "answer.2");
    expect_answer(&other, "answer.2", "2");
    ask_by(&other, "3", "answer.3");
    ask_by(&duck, "4", "answer.4");
    expect_answer(&other, "answer.4", "4");
    fake_echo(&other, &hears);      /* it hears what comes by the other: soon that is enough, */
    fake_next(&duck, &drained);     /* when the duck has nothing more for it, */
    ask_by(&duck, "5", "answer.5"); /* but it has */
    fake_echo(&duck, &drained);
    expect_answer(&other, "answer.5", "5");
    expect_answer(&other, "answer.3", "3");
    ask_by(&other, "4", "answer.4"); /* late */
    ask_by(&other, "6", "answer.6");
    expect_answer(&other, "answer.6", "6");
    size_t unsubs = 0;
    while (fgets(line, sizeof line, duck.in)) /* until it closes */
        unsubs += strncmp(line, "UNSUB ", 6) == 0;
    assert_true(unsubs >= 2);
    assert_int_equal(atomic_load(&finished), 6);
    fake_cut(&duck);

    move(&other, &duck, &sent, &hears); /* a new one in its place, which is gone back to */
    fake_echo(&other, &sent);
    fake_echo(&duck, &hears);
    ask_by(&duck, "7", "answer.7");
    fake_next(&other, &drained);
    fake_echo(&other, &drained);
    expect_answer(&duck, "answer.7", "7");
    end(back, &other, &duck);
}

static void a_successor_that_is_lost_at_once_is_not_gone_to(void **state)
{
    fake_nats duck, other;
    raw_message sent, hears;
    cereus_test_app *back = make_server("room", "room-1", false);
    start_at(&duck, &other, back);
    fake_listen(&other);
    fake_begin(&other, fake_cut_at_first);
    fake_say_lame(&duck);
    fake_join(&other);
    await_counter(back, "nats_disconnects", 1);
    ask_by(&duck, "1", "answer.1");
    expect_answer(&duck, "answer.1", "1");
    fake_begin(&other, fake_echo_first);
    fake_join(&other);
    fake_next(&other, &hears);
    fake_next(&duck, &sent);
    fake_echo(&duck, &sent);
    fake_echo(&other, &hears);
    ask_by(&duck, "2", "answer.2");
    expect_answer(&other, "answer.2", "2");
    end(back, &duck, &other);
}

static void a_push_waits_for_what_was_sent_by_the_lame_duck(void **state)
{
    fake_nats duck, other;
    raw_message sent, hears, push;
    cereus_test_app *back = make_server("room", "room-1", false);
    start_at(&duck, &other, back);
    move(&duck, &other, &sent, &hears);
    ask_by(&duck, "1", "answer.1");
    forward(&duck, "room.last.tell", "2", "answer.2");
    await_finished(2);
    fake_echo(&duck, &sent);
    expect_answer(&other, "answer.1", "1");
    fake_next(&other, &push);
    assert_string_equal(push.subject, "pitaya/connector/user/alice/push");
    expect_answer(&other, "answer.2", "2");
    end(back, &duck, &other);
}

static void ask_to_bind(cereus_test_app *t, fake_nats *f, cereus_test_client *c, const char *uid, raw_message *settled)
{
    cereus_test_request(c, "connector.last.bind", uid);
    cereus_test_settle(t);
    fake_next_echo(f, settled); /* it asks whether NATS has its subscriptions */
}

static void a_push_that_the_lame_duck_had_is_not_lost(void **state)
{
    fake_nats duck, other;
    raw_message sent, hears, drained, settled;
    crs_bytes bytes;
    cereus_test_app *front = make_server("connector", "gate-1", true);
    start_at(&duck, &other, front);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    ask_to_bind(front, &duck, c, "alice", &settled);
    fake_echo(&duck, &settled);
    await_finished(1);
    move(&duck, &other, &sent, &hears);
    fake_echo(&duck, &sent);
    fake_echo(&other, &hears);
    fake_next_echo(&duck, &drained);
    crs_bytes_init(&bytes, 1000);
    crs_push_msg push = {
        .route = cereus_slice_str("onTell"), .uid = cereus_slice_str("alice"), .data = cereus_slice_str("hello")};
    assert_int_equal(crs_push_encode(&push, &bytes), CEREUS_OK);
    fake_deliver(&duck, "pitaya/connector/user/alice/push", "", bytes.data, bytes.len);
    fake_echo(&duck, &drained);
    crs_bytes_fini(&bytes);
    cereus_test_expect_push(c, "onTell", "hello");
    end(front, &duck, &other);
}

static void a_bind_waits_for_its_echo_although_the_lame_duck_is_lost(void **state)
{
    fake_nats duck, other;
    raw_message sent, hears, settled;
    cereus_test_app *front = make_server("connector", "gate-1", true);
    start_at(&duck, &other, front);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP),
                       *d = cereus_test_connect(front, CEREUS_TEST_TCP);
    move(&duck, &other, &sent, &hears);
    ask_to_bind(front, &other, c, "alice", &settled);
    fake_cut(&duck);
    await_counter(front, "nats_disconnects", 1);
    for (int i = 0; i < 3; i++)
        cereus_test_call(d, "connector.last.echo", "a turn of the loop");
    assert_int_equal(atomic_load(&finished), 0);
    fake_echo(&other, &settled);
    await_finished(1);
    end(front, &duck, &other);
}

static void what_a_lame_duck_does_not_read_yet_is_not_lost(void **state)
{
    fake_nats duck, other;
    raw_message sent, hears;
    cereus_test_app *back = make_server("room", "room-1", false);
    start_at(&duck, &other, back);
    fake_say_lame(&duck);
    await_counter(back, "nats_lame_ducks", 1);
    forward(&duck, "room.last.drown", "", "answer.0");
    await_counter(back, "rpc_replies_lost", 1); /* there is no room for answer.0 either */
    unsigned pushed = atomic_load(&finished);
    fake_listen(&other);
    fake_begin(&other, fake_echo_first);
    fake_join(&other);
    fake_next(&other, &hears);
    ask_by(&duck, "1", "answer.1");
    await_finished(pushed + 1);
    assert_int_equal(fake_next_echo(&duck, &sent), pushed); /* it asks when there is room */
    fake_echo(&duck, &sent);
    expect_answer(&other, "answer.1", "1");
    end(back, &duck, &other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, test_remove_dir)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(what_comes_by_a_lame_duck_and_its_successor_is_taken_once),
        TEST(a_successor_that_is_lost_at_once_is_not_gone_to),
        TEST(a_push_waits_for_what_was_sent_by_the_lame_duck),
        TEST(a_push_that_the_lame_duck_had_is_not_lost),
        TEST(a_bind_waits_for_its_echo_although_the_lame_duck_is_lost),
        TEST(what_a_lame_duck_does_not_read_yet_is_not_lost),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
