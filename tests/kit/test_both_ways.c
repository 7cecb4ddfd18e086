/* The sample game, tested with the kit in memory and over sockets: the same tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <cereus/test.h>

#include "game.h"

static cereus_test_mode mode; /* of the run */
static cereus_test_app *t;    /* of the test */

static int set_up(void **state)
{
    (void)state;
    t = cereus_test_new(game_new(), mode);
    cereus_test_start(t);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    t = cereus_test_end(t);
    return 0;
}

static const cereus_test_transport both[] = {CEREUS_TEST_TCP, CEREUS_TEST_WS};

static void players_meet_in_a_room(void **state)
{
    (void)state;
    cereus_test_client *alice = cereus_test_connect(t, CEREUS_TEST_TCP);
    cereus_test_client *bob = cereus_test_connect(t, CEREUS_TEST_WS);
    cereus_test_expect_sessions(t, 2);
    json_t *joined = cereus_test_call_json(alice, "room.join", "{s:s}", "name", "alice");
    cereus_test_expect_json(joined, "{s:i, s:s}", "round", 1, "result", "success");
    cereus_test_expect_push_json(alice, "onJoin", "{s:s}", "name", "alice");

    assert_non_null(strstr(cereus_test_call(bob, "room.join", "{\"name\":\"bob\"}"), "success"));
    assert_string_equal(cereus_test_expect_push(alice, "onJoin", NULL), "{\"name\":\"bob\"}");
    cereus_test_expect_push(bob, "onJoin", "{\"name\":\"bob\"}");

    cereus_test_notify_json(bob, "room.say", "{s:s}", "text", "hi");
    cereus_test_notify(bob, "room.say", "[1]");
    cereus_test_notify_bytes(bob, "room.say", cereus_slice_str("[2]"));
    cereus_test_client *players[] = {alice, bob};
    for (size_t i = 0; i < 2; i++) {
        cereus_test_expect_push_json(players[i], "onSay", "{s:s}", "text", "hi");
        cereus_test_expect_push(players[i], "onSay", "[1]");
        cereus_test_expect_push(players[i], "onSay", "[2]");
    }
    cereus_test_expect_log(t, "msg=joined");
    cereus_test_hang_up(bob);
    cereus_test_expect_log(t, "msg=left*uid=bob");
    cereus_test_expect_sessions(t, 1);
    cereus_test_expect_counter(t, "sessions_opened", 2);
    assert_int_equal(cereus_test_log_count(t, CEREUS_LOG_WARN), 0);
    assert_null(cereus_test_logged(t, "a line that nobody wrote"));
    assert_null(cereus_test_logged(t, "uid=bob*msg=left")); /* in this order */
}

static void events_come_in_order(void **state)
{
    (void)state;
    cereus_test_client *c = cereus_test_connect(t, CEREUS_TEST_TCP);
    uint64_t join = cereus_test_request_json(c, "room.join", "{s:s}", "name", "alice");
    const cereus_test_event *push = cereus_test_next(c), *reply = cereus_test_next(c);
    assert_int_equal(push->kind, CEREUS_TEST_PUSH);
    assert_string_equal(push->route, "onJoin");
    assert_int_equal(reply->kind, CEREUS_TEST_REPLY);
    assert_int_equal(reply->request, join);
    assert_string_equal(reply->route, "room.join");
    assert_ptr_equal(cereus_test_await(c, join), reply); /* also after it was taken */
}

static void errors_have_code_message_and_metadata(void **state)
{
    (void)state;
    cereus_test_client *c = cereus_test_connect(t, CEREUS_TEST_WS);
    const cereus_test_event *e = cereus_test_call_fails(c, "room.join", "{}", "ROOM-400");
    assert_string_equal(e->msg, "who are you?");
    assert_string_equal(cereus_test_meta(e, "field"), "name");
    assert_null(cereus_test_meta(e, "colour"));
    cereus_test_call_fails(c, "room.nothing", "", "PIT-404");
    cereus_test_call_fails(c, "room.nothing", "", NULL);
}

static void bytes_travel_whole(void **state)
{
    (void)state;
    size_t len = 100000;
    uint8_t *body = malloc(len);
    for (size_t i = 0; i < len; i++)
        body[i] = (uint8_t)(i * i >> 3);
    for (int i = 0; i < 4; i++) {
        cereus_test_client_options options = {.transport = both[i % 2], .compress = i >= 2};
        cereus_test_client *c = cereus_test_connect_with(t, &options);
        cereus_slice got = cereus_test_call_bytes(c, "room.echo", cereus_slice_of(body, len));
        assert_int_equal(got.len, len);
        assert_memory_equal(got.data, body, len);
    }
    free(body);
}

static void kicks_and_ends_are_heard(void **state)
{
    (void)state;
    for (size_t i = 0; i < CEREUS_COUNT(both); i++) {
        cereus_test_client *c = cereus_test_connect(t, both[i]);
        uint64_t leave = cereus_test_request(c, "room.leave", "{}"); /* the kick goes out before the answer would */
        cereus_test_expect_kick(c);
        cereus_test_expect_closed(c);
        cereus_test_expect_closed(c);                                      /* it stays so */
        assert_string_equal(cereus_test_await(c, leave)->code, "PIT-499"); /* the client's own word: no event */
        assert_int_equal(cereus_test_next(c)->kind, CEREUS_TEST_CLOSED);
    }
}

static void handshakes_may_be_refused(void **state)
{
    (void)state;
    cereus_test_client_options banned = {.user_json = "{\"banned\":true}"};
    assert_non_null(strstr(cereus_test_connect_fails(t, &banned), "400"));
    cereus_test_connect_with(t, &(cereus_test_client_options){.user_json = "{\"banned\":false}"});
}

static void a_stop_is_heard_and_answers_what_waits(void **state)
{
    (void)state;
    cereus_test_client *c = cereus_test_connect(t, CEREUS_TEST_TCP);
    cereus_test_client *idle = cereus_test_connect(t, CEREUS_TEST_WS);
    cereus_test_client *raw = cereus_test_dial(t, CEREUS_TEST_TCP);
    uint64_t waits = cereus_test_request(c, "room.wait", "{\"ms\":3600000}");
    cereus_test_request(c, "room.echo", "");
    assert_false(cereus_test_answered(c, waits));
    cereus_test_expect_counter(t, "requests", 1);
    cereus_test_stop(t);
    assert_string_equal(cereus_test_await(c, waits)->code, "PIT-500");
    cereus_test_expect_closed(c);
    cereus_test_expect_closed(idle);
    cereus_test_expect_closed(raw);
}

static cereus_status stop_app(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_app_shutdown(cereus_ctx_app(ctx));
    *out = in;
    return CEREUS_OK;
}

static void a_handler_may_ask_for_the_end(void **state)
{
    (void)state;
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("stop", stop_app)};
    cereus_test_app *other = cereus_test_new(game_new(), mode);
    cereus_app_register(cereus_test_get_app(other), "admin", methods, CEREUS_COUNT(methods), NULL, NULL);
    cereus_test_start(other);
    cereus_test_client *c = cereus_test_connect(other, CEREUS_TEST_TCP);
    cereus_test_call(c, "admin.stop", "bye");
    cereus_test_expect_shutdown(other);
    cereus_test_stop(other);
    cereus_test_expect_closed(c);
    cereus_test_end(other);
}

static void raw_connections_say_anything(void **state)
{
    (void)state;
    cereus_test_client *c = cereus_test_dial(t, CEREUS_TEST_TCP);
    static const uint8_t broken[] = {9, 0, 0, 0};
    static const char hello[] = "\1\0\0\2{}";
    cereus_test_send(c, hello, sizeof hello - 1);
    assert_int_equal(cereus_test_read(c, 4)[0], 1);
    c = cereus_test_dial(t, CEREUS_TEST_TCP);
    cereus_test_send(c, broken, sizeof broken);
    cereus_test_expect_closed(c);
    c = cereus_test_dial(t, CEREUS_TEST_WS);
    cereus_test_send(c, "POST / HTTP/1.1\r\n\r\n", 19);
    cereus_test_expect_bytes(c, "HTTP/1.1 4", 10);
    cereus_test_hang_up(c);
}

typedef struct visit {
    int count;
    cereus_test_gate *gate;
} visit;

static void visit_room(cereus_ctx *ctx, void *user)
{
    visit *v = user;
    size_t members = 1;
    cereus_test_check(cereus_group_count(ctx, "room", &members) == CEREUS_OK);
    cereus_test_check(members == 0);
    v->count++;
    cereus_test_gate_pass(v->gate);
}

static void game_code_runs_by_itself(void **state)
{
    (void)state;
    visit v = {.gate = cereus_test_gate_new(t)};
    cereus_test_run(t, "room", visit_room, &v);
    assert_int_equal(v.count, 1);
    cereus_test_run(t, NULL, visit_room, &v);
    assert_int_equal(v.count, 2);
    cereus_test_gate_await(v.gate, 2);
    assert_int_equal(cereus_app_spawn(cereus_test_get_app(t), "room", visit_room, &v), CEREUS_OK);
    cereus_test_gate_await(v.gate, 3);
    assert_int_equal(cereus_test_gate_count(v.gate), 3);
}

static void wait_on_leash(cereus_ctx *ctx, void *user)
{
    cereus_test_check(cereus_test_leash_hold(user, ctx) == CEREUS_OK);
    cereus_log_info(ctx, "off the leash");
}

static void a_leash_holds_game_code(void **state)
{
    (void)state;
    cereus_test_leash *leash = cereus_test_leash_new(t);
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(cereus_app_spawn(cereus_test_get_app(t), "room", wait_on_leash, leash), CEREUS_OK);
        cereus_test_leash_await(leash, i);
    }
    cereus_test_call(cereus_test_connect(t, CEREUS_TEST_TCP), "room.echo", "the loop is free");
    assert_null(cereus_test_logged(t, "off the leash"));
    cereus_test_leash_release(leash);
    cereus_test_expect_log(t, "off the leash");
    cereus_test_run(t, "room", wait_on_leash, leash); /* holds nobody any more */
}

static void offloaded_work_has_a_stack_of_its_own(void **state)
{
    (void)state;
    cereus_test_client *c = cereus_test_connect(t, CEREUS_TEST_TCP);
    cereus_test_expect_json(cereus_test_call_json(c, "room.compute", "{}"), "{s:i}", "count", 8);
}

static void a_start_may_fail(void **state)
{
    (void)state;
    cereus_test_app *other = cereus_test_new(game_new(), mode);
    cereus_test_end(other); /* never started */
    other = cereus_test_new(game_new(), mode);
    cereus_test_set(other, "pitaya.serializertype", "2");
    cereus_test_start(other);
    cereus_test_start_fails(other, CEREUS_E_STATE); /* it runs */
    cereus_test_end(other);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(players_meet_in_a_room),
        TEST(events_come_in_order),
        TEST(errors_have_code_message_and_metadata),
        TEST(bytes_travel_whole),
        TEST(kicks_and_ends_are_heard),
        TEST(handshakes_may_be_refused),
        TEST(a_stop_is_heard_and_answers_what_waits),
        TEST(a_handler_may_ask_for_the_end),
        TEST(raw_connections_say_anything),
        TEST(game_code_runs_by_itself),
        TEST(a_leash_holds_game_code),
        TEST(offloaded_work_has_a_stack_of_its_own),
        TEST(a_start_may_fail),
    };
    mode = CEREUS_TEST_MEMORY;
    int failed = cmocka_run_group_tests_name("memory", tests, NULL, NULL);
    mode = CEREUS_TEST_SOCKETS;
    return failed + cmocka_run_group_tests_name("sockets", tests, NULL, NULL);
}
