/* tests/unit/ext/test_nats.c: our connection to a real NATS server, by itself. What it does for servers, and while NATS comes
 * and goes, is in tests/unit/cluster/test_nats.c. */
#include "nats_fake.h"
#include "real_loop.h"

#include "ext/nats.h"

static test_nats nats;

typedef struct world {
    test_real_loop t;
    crs_nats *n;
    size_t got, echoes;
    char states[10]; /* '-': lost, '+': back */
    bool closed;
    crs_mail stop;
} world;

static void on_reply(void *user, uint64_t id, cereus_slice data)
{
    ((world *)user)->echoes++;
}

static void on_no_responders(void *user)
{
}

static void on_state(void *user, bool up)
{
    world *w = user;
    size_t len = strlen(w->states);
    assert_true(len + 1 < sizeof w->states);
    w->states[len] = up ? '+' : '-';
}

static void on_closed(void *user)
{
    ((world *)user)->closed = true;
}

static void on_message(void *user, const crs_nats_message *message)
{
    ((world *)user)->got++;
}

static cereus_status connect_to(world *w, const char *url, size_t pending_max, cereus_error *err)
{
    static const char *urls[1];
    urls[0] = url;
    crs_nats_options opt = {.urls = urls,
                            .url_count = 1,
                            .name = "tester",
                            .connect_timeout_ms = 30000,
                            .reconnect_wait_ms = 20,
                            .ping_interval_ms = 60000,
                            .pings_max = 2,
                            .pending_max = pending_max,
                            .on_reply = on_reply,
                            .on_no_responders = on_no_responders,
                            .on_state = on_state,
                            .user = w};
    return crs_nats_connect(w->t.loop, &opt, &w->n, err);
}

static void world_close(world *w)
{
    if (w->n) {
        crs_nats_close(w->n, crs_clock_ms(CLOCK_MONOTONIC) + 500, on_closed, w);
        TEST_UNTIL(&w->t, w->closed);
    }
    crs_loop_turn(w->t.loop);
    test_real_loop_close(&w->t);
}

static int start_nats(void **state)
{
    test_nats_open(&nats);
    return 0;
}

static int end_nats(void **state)
{
    test_nats_kill(&nats);
    return 0;
}

static void messages_that_busy_subscriptions_drop_are_counted_one_by_one(void **state)
{
    enum { MESSAGES = 500 };
    world w = {0};
    cereus_error err;
    crs_nats_sub *subs[2];
    test_real_loop_open(&w.t);
    if (connect_to(&w, nats.url, 1, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < 2; i++)
        assert_int_equal(crs_nats_subscribe(w.n, i ? "b" : "a", on_message, &w, &subs[i]), CEREUS_OK);
    for (int i = 0; i < MESSAGES; i++)
        assert_int_equal(crs_nats_publish(w.n, i % 2 ? "b" : "a", cereus_slice_str("x")), CEREUS_OK);
    assert_int_equal(crs_nats_echo(w.n, 1), CEREUS_OK);
    TEST_UNTIL(&w.t, w.echoes == 1); /* behind them all */
    uint64_t dropped = crs_counter_read(&w.t.loop->counters, CRS_COUNTER_nats_dropped);
    assert_true(dropped > 1); /* else this shows nothing */
    assert_int_equal(w.got + dropped, MESSAGES);
    for (int i = 0; i < 2; i++)
        crs_nats_unsubscribe(subs[i]);
    world_close(&w);
}

static void without_memory_nothing_of_a_connection_stays(void **state)
{
    cereus_status st = CEREUS_E_NOMEM;
    size_t files = test_count_files("/proc/self/fd");
    for (size_t n = 1; st && n < 50; n++) {
        world w = {0};
        cereus_error err = {0};
        test_real_loop_open(&w.t);
        crs_alloc_fail_at(n);
        st = connect_to(&w, nats.url, 100, &err);
        crs_alloc_fail_at(0);
        assert_int_equal(err.status, st);
        world_close(&w);
        assert_int_equal(test_count_files("/proc/self/fd"),
                         files); /* an open connection would go on calling what is freed */
    }
    assert_int_equal(st, CEREUS_OK);
}

static void a_server_that_is_not_there_is_tried_again_and_given_up(void **state)
{
    world w = {0};
    cereus_error err = {0};
    test_real_loop_open(&w.t);
    test_nats_kill(&nats);
    assert_int_equal(connect_to(&w, nats.url, 100, &err), CEREUS_E_UNAVAILABLE);
    assert_null(w.n);
    world_close(&w);
    assert_true(test_nats_run(&nats));
}

static void each_loss_is_told_also_before_it_was_back(void **state)
{
    fake_nats f;
    world w = {0};
    cereus_error err = {0};
    test_real_loop_open(&w.t);
    fake_open(&f);
    fake_begin(&f, NULL);
    if (connect_to(&w, f.url, 100, &err))
        fail_msg("%s", err.msg);
    fake_join(&f);
    fake_cut(&f);
    fake_begin(&f, fake_cut_at_first); /* nobody says that it has the subscriptions */
    TEST_UNTIL(&w.t, strlen(w.states) == 2);
    fake_join(&f);
    assert_string_equal(w.states, "--");
    fake_begin(&f, fake_echo_first);
    TEST_UNTIL(&w.t, strlen(w.states) == 3);
    fake_join(&f);
    assert_string_equal(w.states, "--+");
    assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_nats_disconnects), 2);
    assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_nats_reconnects), 2);
    fake_cut(&f); /* else the end would wait for an echo */
    TEST_UNTIL(&w.t, strlen(w.states) == 4);
    world_close(&w);
    fake_close(&f);
}

static void close_at_once(crs_loop *loop, crs_mail *mail)
{
    world *w = CRS_CONTAINER(mail, world, stop);
    crs_nats_close(w->n, 0, on_closed, w);
}

static void one_that_has_just_retired_may_be_closed(void **state)
{
    world w = {.stop.run = close_at_once};
    cereus_error err = {0};
    test_real_loop_open(&w.t);
    if (connect_to(&w, nats.url, 100, &err))
        fail_msg("%s", err.msg);
    crs_nats_retire(w.n, on_closed, &w);
    crs_loop_post_reserved(w.t.loop, &w.stop); /* behind the mail that closes it, before the one that frees it */
    TEST_UNTIL(&w.t, w.closed);
    w.n = NULL;
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_has_just_retired_may_be_closed),
        cmocka_unit_test(messages_that_busy_subscriptions_drop_are_counted_one_by_one),
        cmocka_unit_test(without_memory_nothing_of_a_connection_stays),
        cmocka_unit_test(each_loss_is_told_also_before_it_was_back),
        cmocka_unit_test(a_server_that_is_not_there_is_tried_again_and_given_up),
    };
    return cmocka_run_group_tests(tests, start_nats, end_nats);
}
