/* What only memory mode can do: time is the test's, rest is known, runs repeat, apps share a clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include <cereus/cereus.h>
#include <cereus/test.h>

#include "game.h"

static cereus_test_app *t; /* of the test */

static int set_up(void **state)
{
    (void)state;
    t = cereus_test_new(game_new(), CEREUS_TEST_MEMORY);
    cereus_test_start(t);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    t = cereus_test_end(t);
    return 0;
}

static cereus_test_client *player(cereus_test_transport transport, const char *name)
{
    cereus_test_client *c = cereus_test_connect(t, transport);
    cereus_test_call_json(c, "room.join", "{s:s}", "name", name);
    cereus_test_expect_push(c, "onJoin", NULL);
    return c;
}

static void time_stands_still_until_it_is_moved(void **state)
{
    (void)state;
    cereus_test_client *c = player(CEREUS_TEST_TCP, "alice");
    assert_int_equal(cereus_test_now_ms(t), 0);
    cereus_test_expect_nothing(c);
    cereus_test_advance(t, 59999);
    cereus_test_expect_nothing(c);
    cereus_test_advance(t, 1);
    cereus_test_expect_push(c, "onRoundOver", "{\"round\":1}");
    cereus_test_advance(t, 3600 * 1000);
    for (int round = 2; round <= 61; round++)
        cereus_test_expect_push_json(c, "onRoundOver", "{s:i}", "round", round);
    cereus_test_expect_nothing(c); /* and it is connected still: its heart was beaten */
    assert_int_equal(cereus_test_now_ms(t), 3660 * 1000);
    cereus_test_expect_sessions(t, 1);
}

static void waits_end_in_the_order_of_their_times(void **state)
{
    (void)state;
    cereus_test_client *c[3];
    uint64_t request[3];
    static const int ms[] = {5000, 20, 300};
    for (size_t i = 0; i < 3; i++) {
        c[i] = cereus_test_connect(t, i % 2 ? CEREUS_TEST_WS : CEREUS_TEST_TCP);
        request[i] = cereus_test_request_json(c[i], "room.wait", "{s:i}", "ms", ms[i]);
    }
    cereus_test_settle(t);
    cereus_test_advance(t, 19);
    assert_false(cereus_test_answered(c[1], request[1]));
    cereus_test_advance(t, 1);
    assert_true(cereus_test_answered(c[1], request[1]));
    assert_false(cereus_test_answered(c[2], request[2]));
    cereus_test_advance(t, 280);
    assert_true(cereus_test_answered(c[2], request[2]));
    cereus_test_advance(t, 4699);
    assert_false(cereus_test_answered(c[0], request[0]));
    cereus_test_advance(t, 1);
    cereus_test_expect_json(json_true(), "b", 1);
    assert_string_equal(cereus_test_await(c[0], request[0])->body, "{\"waited\":true}");
}

static void a_silent_player_is_cut_and_a_thawed_one_hears_of_it(void **state)
{
    (void)state;
    cereus_test_client *alice = player(CEREUS_TEST_TCP, "alice"), *bob = player(CEREUS_TEST_WS, "bob");
    cereus_test_expect_push(alice, "onJoin", NULL);
    cereus_test_freeze(alice, true);
    cereus_test_advance(t, 120 * 1000);
    cereus_test_expect_sessions(t, 1);
    cereus_test_notify(bob, "room.say", "{}");
    cereus_test_settle(t);
    cereus_test_freeze(alice, false);
    cereus_test_expect_push(alice, "onRoundOver", NULL); /* it was sent while she lived */
    cereus_test_expect_closed(alice);
}

static void a_handshake_that_does_not_come_is_not_waited_for(void **state)
{
    (void)state;
    cereus_test_client *c = cereus_test_dial(t, CEREUS_TEST_TCP);
    cereus_test_expect_nothing(c);
    cereus_test_advance(t, 60 * 1000);
    cereus_test_expect_closed(c);
}

static void one_who_does_not_log_in_is_cut(void **state)
{
    (void)state;
    t = cereus_test_end(t);
    t = cereus_test_new(game_new(), CEREUS_TEST_MEMORY);
    cereus_test_set(t, "cereus.bind.timeout", "20s");
    cereus_test_start(t);
    for (cereus_test_transport transport = CEREUS_TEST_TCP; transport <= CEREUS_TEST_WS; transport++) {
        cereus_test_client *stays = player(transport, transport == CEREUS_TEST_TCP ? "alice" : "bob");
        cereus_test_client *idles = cereus_test_connect(t, transport);
        cereus_test_advance(t, 19999);
        cereus_test_call(idles, "room.echo", "a request is no login");
        cereus_test_expect_sessions(t, transport == CEREUS_TEST_TCP ? 2 : 3);
        cereus_test_advance(t, 1);
        cereus_test_expect_closed(idles);
        cereus_test_call(stays, "room.echo", "still here");
    }
    cereus_test_expect_counter(t, "bind_timeouts", 2);
}

static void loops_are_turned_in_turn(void **state)
{
    (void)state;
    cereus_test_app *wide = cereus_test_new(game_new(), CEREUS_TEST_MEMORY);
    cereus_test_set(wide, "cereus.loops", "3");
    cereus_test_start(wide);
    cereus_test_client *c[6];
    for (unsigned i = 0; i < 6; i++) {
        c[i] = cereus_test_connect_with(wide, &(cereus_test_client_options){.loop = i});
        assert_int_equal(cereus_test_call_bytes(c[i], "room.echo", cereus_slice_of("", 0)).len, 0);
        char name[2] = {(char)('a' + i), '\0'};
        cereus_test_call_json(c[i], "room.join", "{s:s}", "name", name);
    }
    for (unsigned i = 0; i < 6; i++) {
        for (unsigned j = i; j < 6; j++)
            cereus_test_expect_push(c[i], "onJoin", NULL);
        cereus_test_expect_nothing(c[i]);
    }
    cereus_test_end(wide);
}

static void apps_beside_each_other_share_the_clock(void **state)
{
    (void)state;
    cereus_test_app *second = cereus_test_new_beside(game_new(), t);
    cereus_test_start(second);
    cereus_test_client *a = player(CEREUS_TEST_TCP, "alice");
    cereus_test_client *b = cereus_test_connect(second, CEREUS_TEST_WS);
    cereus_test_call_json(b, "room.join", "{s:s}", "name", "bob");
    cereus_test_expect_push(b, "onJoin", "{\"name\":\"bob\"}");
    cereus_test_expect_nothing(a); /* another room */
    cereus_test_advance(second, 60 * 1000);
    cereus_test_expect_push(a, "onRoundOver", NULL);
    cereus_test_expect_push(b, "onRoundOver", NULL);
    cereus_test_stop(second);
    cereus_test_expect_closed(b);
    cereus_test_advance(t, 60 * 1000);
    cereus_test_expect_push(a, "onRoundOver", NULL);
    cereus_test_end(second);
}

static cereus_status open_slowly(cereus_ctx *ctx, void *user)
{
    cereus_test_check(cereus_sleep(ctx, 5000) == CEREUS_OK);
    *(int *)user += 1;
    return CEREUS_OK;
}

static cereus_status close_slowly(cereus_ctx *ctx, void *user)
{
    cereus_test_check(cereus_sleep(ctx, 7000) == CEREUS_OK);
    *(int *)user += 10;
    return CEREUS_OK;
}

static void a_start_and_a_stop_may_wait_for_modules(void **state)
{
    (void)state;
    static const cereus_module slow = {.init = open_slowly, .shutdown = close_slowly};
    int done = 0;
    cereus_test_app *other = cereus_test_new(game_new(), CEREUS_TEST_MEMORY);
    assert_int_equal(cereus_app_add_module(cereus_test_get_app(other), "slow", &slow, &done, NULL), CEREUS_OK);
    cereus_test_start(other);
    assert_int_equal(done, 1);
    assert_int_equal(cereus_test_now_ms(other), 5000); /* to the time that is needed, not beyond */
    cereus_test_stop(other);
    assert_int_equal(done, 11);
    assert_int_equal(cereus_test_now_ms(other), 12000);
    cereus_test_end(other);
}

static cereus_status note_time(cereus_ctx *ctx, void *user)
{
    (void)ctx;
    *(uint64_t *)user = cereus_test_now_ms(t);
    return CEREUS_OK;
}

static void timers_ring_by_the_clock_of_the_test(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    uint64_t every = 0, cron = 0;
    cereus_app *app = cereus_test_get_app(t);
    cereus_timer_id id;
    assert_int_equal(cereus_timer_every(app, "room", 700, note_time, &every, &id, NULL), CEREUS_OK);
    assert_int_equal(cereus_timer_cron(app, "room", "30 4 * * *", note_time, &cron, NULL, NULL), CEREUS_OK);
    cereus_test_advance(t, 2099);
    assert_int_equal(every, 1400);
    cereus_test_advance(t, 1);
    assert_int_equal(every, 2100);
    assert_int_equal(cereus_timer_stop(app, id), CEREUS_OK);
    cereus_test_advance(t, 24 * 3600 * 1000);
    assert_int_equal(every, 2100);
    /* it began at 03:04:05 */
    assert_in_range(cron, (25 * 60 + 55) * 1000 + 3600 * 1000, (25 * 60 + 55) * 1000 + 3600 * 1000 + 999);
}

static void wrappers_see_connections_of_memory(void **state)
{
    (void)state;
    cereus_test_app *other = cereus_test_new(game_new(), CEREUS_TEST_MEMORY);
    cereus_test_set(other, "cereus.ratelimit.enabled", "true");
    cereus_test_set(other, "cereus.ratelimit.answer", "true");
    cereus_test_set(other, "cereus.ratelimit.count", "data");
    cereus_test_set(other, "pitaya.conn.ratelimiting.limit", "2");
    cereus_test_set(other, "pitaya.conn.ratelimiting.interval", "10s");
    cereus_test_start(other);
    cereus_test_client *c = cereus_test_connect(other, CEREUS_TEST_WS);
    cereus_test_call(c, "room.echo", "1");
    cereus_test_call(c, "room.echo", "2");
    cereus_test_call_fails(c, "room.echo", "3", "PIT-429");
    cereus_test_advance(other, 10000);
    cereus_test_call(c, "room.echo", "4");
    cereus_test_end(other);
}

/** One story; returns what the log said, with the times in it. */
static char *tell_a_story(void)
{
    cereus_test_client *alice = player(CEREUS_TEST_TCP, "alice"), *bob = player(CEREUS_TEST_WS, "bob");
    cereus_test_request(alice, "room.wait", "{\"ms\":1500}");
    cereus_test_freeze(bob, true);
    cereus_test_advance(t, 3600 * 1000);
    cereus_test_hang_up(alice);
    cereus_test_settle(t);
    return strdup(cereus_test_expect_log(t, "msg=left"));
}

static void the_same_test_does_the_same_each_time(void **state)
{
    (void)state;
    char *first = tell_a_story();
    tear_down(state);
    set_up(state);
    char *second = tell_a_story();
    assert_string_equal(first, second);
    free(first);
    free(second);
}

static void a_stop_takes_no_time_of_ours(void **state)
{
    (void)state;
    cereus_test_client *frozen = player(CEREUS_TEST_TCP, "alice");
    cereus_test_freeze(frozen, true); /* the server waits for it, in its own time */
    cereus_test_stop(t);
    assert_in_range(cereus_test_now_ms(t), 1, 60 * 1000);
    cereus_test_freeze(frozen, false);
    cereus_test_expect_closed(frozen);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(time_stands_still_until_it_is_moved),
        TEST(waits_end_in_the_order_of_their_times),
        TEST(a_silent_player_is_cut_and_a_thawed_one_hears_of_it),
        TEST(a_handshake_that_does_not_come_is_not_waited_for),
        TEST(one_who_does_not_log_in_is_cut),
        TEST(loops_are_turned_in_turn),
        TEST(apps_beside_each_other_share_the_clock),
        TEST(a_start_and_a_stop_may_wait_for_modules),
        TEST(timers_ring_by_the_clock_of_the_test),
        TEST(wrappers_see_connections_of_memory),
        TEST(the_same_test_does_the_same_each_time),
        TEST(a_stop_takes_no_time_of_ours),
    };
    return cmocka_run_group_tests_name("memory only", tests, NULL, NULL);
}
