/* tests/unit/module/test_timers.c: when timers are called, on one loop whose time the test moves, and what other threads
 * may do to them, in a whole server. */
#include "game.h"
#include "loop.h"

#include "dispatch/context.h"
#include "module/timers.h"

/* ---- a loop with a clock of its own ---- */

typedef struct world {
    test_loop clock;
    crs_core core;
    crs_dispatch d;
    crs_app_timers *timers;
} world;

static world w;

static int open_world(void **state)
{
    w = (world){0};
    cereus_error err;
    crs_loop *loop = test_loop_open(&w.clock);
    crs_fibers *fibers;
    crs_fibers_options opt = {.max = 4, .stack_len = 64 * 1024, .arena_max = 1 << 20};
    assert_int_equal(crs_fibers_new(loop, &opt, &fibers, &err), CEREUS_OK);
    assert_int_equal(crs_registry_init(&w.core.registry, "game"), CEREUS_OK);
    crs_dispatch_init(&w.d, &w.core, loop, fibers);
    w.core.loops[0] = &w.d;
    w.core.loop_count = 1;
    assert_non_null(w.timers = crs_app_timers_new(&w.core));
    return 0;
}

static int close_world(void **state)
{
    crs_app_timers_stop(w.timers);
    crs_fibers_cancel_all(w.d.fibers);
    test_settle(&w.clock);
    crs_dispatch_fini(&w.d);
    crs_fibers_free(w.d.fibers);
    test_loop_close(&w.clock);
    crs_app_timers_free(w.timers);
    crs_registry_fini(&w.core.registry);
    return 0;
}

static void start_timers(void)
{
    crs_app_timers_start(w.timers, 1000);
    test_settle(&w.clock);
}

/** Let time go on in small steps. */
static void pass(int64_t ms, int64_t step)
{
    for (; ms > 0; ms -= step)
        test_pass(&w.clock, step < ms ? step : ms);
}

typedef struct calls {
    int count;
    int64_t at[64]; /* passed_ms */
    int64_t sleep_ms;
    cereus_status status;
    cereus_timer_id stop;
} calls;

static cereus_status note(cereus_ctx *ctx, void *user)
{
    calls *c = user;
    assert_string_equal(cereus_ctx_route(ctx), "timer");
    if (c->count < 64)
        c->at[c->count] = w.clock.passed_ms;
    c->count++;
    if (c->sleep_ms)
        cereus_sleep(ctx, (uint64_t)c->sleep_ms);
    if (c->stop)
        assert_int_equal(crs_app_timers_remove(w.timers, c->stop), CEREUS_OK);
    return c->status ? cereus_fail(ctx, "X", "no") : CEREUS_OK;
}

static cereus_timer_id add(uint64_t interval_ms, int64_t count, calls *c)
{
    cereus_timer_id id = 0;
    crs_timer_spec spec = {.kind = CRS_TIMER_EVERY, .interval_ms = interval_ms, .count = count, .fn = note, .user = c};
    assert_int_equal(crs_app_timers_add(w.timers, &spec, &id, NULL), CEREUS_OK);
    assert_true(id != 0);
    return id;
}

static uint64_t counted(crs_counter which)
{
    return crs_counter_read(&w.d.loop->counters, which);
}

static void the_first_call_is_one_interval_away_and_the_rhythm_stays(void **state)
{
    calls before = {0}, after = {0};
    add(100, -1, &before);
    pass(1000, 10); /* nothing runs before the start */
    assert_int_equal(before.count, 0);
    start_timers();
    pass(50, 10);
    add(100, -1, &after);
    pass(300, 10);
    assert_int_equal(before.count, 3);
    assert_int_equal(after.count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(before.at[i], 1000 + 100 * (i + 1));
        assert_int_equal(after.at[i], 1050 + 100 * (i + 1));
    }
    test_pass(&w.clock, 275);          /* busy elsewhere: at 1625 */
    assert_int_equal(before.count, 4); /* late, once */
    pass(75, 5);
    assert_int_equal(before.count, 5);
    assert_int_equal(before.at[4], 1700);
}

static void counted_ones_end_by_themselves(void **state)
{
    calls once = {0}, three = {0};
    start_timers();
    cereus_timer_id a = add(10, 1, &once), b = add(20, 3, &three);
    pass(1000, 5);
    assert_int_equal(once.count, 1);
    assert_int_equal(once.at[0], 10);
    assert_int_equal(three.count, 3);
    assert_int_equal(three.at[2], 60);
    assert_int_equal(crs_app_timers_remove(w.timers, a), CEREUS_E_GONE);
    assert_int_equal(crs_app_timers_remove(w.timers, b), CEREUS_E_GONE);
    assert_int_equal(crs_app_timers_count(w.timers), 0);
}

static void a_stopped_timer_is_not_called(void **state)
{
    calls never = {0}, self = {0}, other = {0};
    cereus_timer_id id = add(10, -1, &never);
    assert_int_equal(crs_app_timers_remove(w.timers, id), CEREUS_OK);
    assert_int_equal(crs_app_timers_remove(w.timers, id), CEREUS_E_GONE);
    start_timers();
    assert_int_equal(crs_app_timers_remove(w.timers, id), CEREUS_E_GONE);
    assert_int_equal(crs_app_timers_remove(w.timers, 0), CEREUS_E_GONE);
    assert_int_equal(crs_app_timers_remove(w.timers, UINT64_MAX), CEREUS_E_GONE);
    for (int i = 0; i < 40; i++) /* right after it was made, before its loop has heard of it */
        assert_int_equal(crs_app_timers_remove(w.timers, add(10, -1, &never)), CEREUS_OK);
    self.stop = add(10, -1, &self); /* in its own call */
    id = add(10, -1, &other);
    pass(25, 5);
    assert_int_equal(crs_app_timers_remove(w.timers, id), CEREUS_OK);
    pass(500, 5);
    assert_int_equal(never.count, 0);
    assert_int_equal(self.count, 1);
    assert_int_equal(other.count, 2);
    assert_int_equal(crs_app_timers_count(w.timers), 0);
}

static void one_never_overlaps_itself(void **state)
{
    static calls slow = {.sleep_ms = 35}; /* its last call outlives the test's function */
    calls quick = {0};
    start_timers();
    add(10, -1, &slow);
    add(10, -1, &quick);
    pass(100, 5);
    assert_int_equal(quick.count, 10);
    assert_int_equal(slow.count, 3); /* at 10, 50, 90 */
    assert_int_equal(slow.at[1], 50);
    assert_int_equal(counted(CRS_COUNTER_timer_overruns), 7);
}

static void one_stopped_in_its_call_may_finish_it(void **state)
{
    calls slow = {.sleep_ms = 50};
    start_timers();
    cereus_timer_id id = add(10, -1, &slow);
    pass(20, 5);
    assert_int_equal(slow.count, 1);
    assert_int_equal(crs_app_timers_remove(w.timers, id), CEREUS_OK);
    pass(200, 5);
    assert_int_equal(slow.count, 1);
    assert_int_equal(crs_fibers_alive(w.d.fibers), 0);
}

static void a_function_that_fails_is_called_again(void **state)
{
    calls bad = {.status = CEREUS_E_FAILED};
    start_timers();
    add(10, -1, &bad);
    pass(50, 10);
    assert_int_equal(bad.count, 5);
    assert_int_equal(counted(CRS_COUNTER_timer_failures), 5);
}

static void calls_wait_for_a_fiber_and_can_be_stopped_meanwhile(void **state)
{
    calls slow[4] = {{0}}, late = {0}, never = {0};
    start_timers();
    for (int i = 0; i < 4; i++) {
        slow[i].sleep_ms = 100;
        add(10, 1, &slow[i]);
    }
    add(20, 1, &late);
    cereus_timer_id id = add(20, 1, &never);
    pass(30, 5); /* all four fibers sleep */
    assert_int_equal(late.count, 0);
    assert_int_equal(crs_app_timers_remove(w.timers, id), CEREUS_OK);
    pass(200, 5);
    assert_int_equal(late.count, 1);
    assert_int_equal(never.count, 0);
    assert_int_equal(crs_app_timers_count(w.timers), 0);
}

static int asked;

static bool every_third(int64_t unix_ms, void *user)
{
    assert_true(unix_ms == TEST_START_UNIX_MS + w.clock.passed_ms);
    return ++asked % 3 == 0;
}

static void a_condition_is_asked_at_every_tick(void **state)
{
    calls c = {0};
    asked = 0;
    crs_timer_spec spec = {.kind = CRS_TIMER_WHEN, .count = -1, .check = every_third, .fn = note, .user = &c};
    start_timers();
    assert_int_equal(crs_app_timers_add(w.timers, &spec, NULL, NULL), CEREUS_OK);
    pass(9500, 100);
    assert_int_equal(asked, 9);
    assert_int_equal(c.count, 3);
    assert_int_equal(c.at[0], 3000);
}

static void the_calendar_is_followed(void **state)
{
    setenv("TZ", "UTC0", 1);
    tzset();
    calls c = {0}; /* the world begins at 03:04:05 */
    crs_timer_spec spec = {.kind = CRS_TIMER_CRON, .count = -1, .fn = note, .user = &c};
    assert_int_equal(crs_cron_parse(cereus_slice_str("*/10 3-4 * * *"), &spec.cron, NULL), CEREUS_OK);
    start_timers();
    assert_int_equal(crs_app_timers_add(w.timers, &spec, NULL, NULL), CEREUS_OK);
    pass(24 * 3600 * 1000, 500);
    assert_int_equal(c.count, 11 + 1); /* of today, and 03:00 of tomorrow */
    assert_int_equal(c.at[0], 355 * 1000);
    assert_int_equal(c.at[1], 955 * 1000);
    assert_int_equal(c.at[11], (23 * 3600 + 55 * 60 + 55) * 1000);
}

static void there_are_never_more_than_allowed(void **state)
{
    calls c = {0};
    cereus_error err = {0};
    crs_timer_spec spec = {.kind = CRS_TIMER_EVERY, .interval_ms = 10, .count = -1, .fn = note, .user = &c};
    crs_app_timers_set_max(w.timers, 200);
    start_timers();
    cereus_timer_id first = add(10, -1, &c), id;
    for (int i = 1; i < 200; i++)
        add(10, -1, &c);
    for (int i = 0; i < 3; i++)
        assert_int_equal(crs_app_timers_add(w.timers, &spec, &id, &err), CEREUS_E_FULL);
    assert_non_null(strstr(err.msg, "cereus.timers.max"));
    test_settle(&w.clock);
    assert_int_equal(counted(CRS_COUNTER_timers_refused), 3);
    assert_int_equal(crs_app_timers_remove(w.timers, first), CEREUS_OK);
    assert_int_equal(crs_app_timers_add(w.timers, &spec, &id, &err), CEREUS_OK);
    assert_true(id != first);
    assert_int_equal(crs_app_timers_remove(w.timers, first), CEREUS_E_GONE);
    pass(10, 10);
    assert_int_equal(c.count, 200);
}

static void it_copes_without_memory(void **state)
{
    calls c = {0};
    crs_timer_spec spec = {.kind = CRS_TIMER_EVERY, .interval_ms = 10, .count = -1, .fn = note, .user = &c};
    start_timers();
    for (size_t n = 1;; n++) {
        cereus_error err = {0};
        crs_alloc_fail_at(n);
        cereus_status st = crs_app_timers_add(w.timers, &spec, NULL, &err);
        crs_alloc_fail_at(0);
        if (st == CEREUS_OK)
            break;
        assert_int_equal(st, CEREUS_E_NOMEM);
        assert_int_equal(crs_app_timers_count(w.timers), 0);
        assert_true(n < 10);
    }
    crs_alloc_fail_at(1); /* in the loop's heap, when it is armed */
    test_settle(&w.clock);
    crs_alloc_fail_at(0);
    pass(100, 10);
    assert_true(c.count == 0 || c.count == 10); /* it ended, and said so; or the heap had room */
}

/* ---- in a server ---- */

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static const cereus_method methods[] = {CEREUS_RAW_REQUEST("echo", echo)};
static gate rung = GATE_INIT;

static cereus_status ring(cereus_ctx *ctx, void *user)
{
    CHECK(crs_loop_current->index == (uint32_t)(uintptr_t)user);
    CHECK(cereus_yield(ctx) == CEREUS_OK || cereus_yield(ctx) == CEREUS_E_CANCELLED);
    gate_pass(&rung);
    return CEREUS_OK;
}

static void calls_run_at_home(void **state)
{
    game *g = game_new(2); /* "kit" is service 0, so "a" lives on loop 1, "b" on 0 */
    GAME_SERVE(g, "a", methods, NULL);
    GAME_SERVE(g, "b", methods, NULL);
    GAME_SERVE(g, "s", methods, &(cereus_service_options){.home = CEREUS_HOME_SESSION});
    gate_reset(&rung);
    cereus_timer_id ids[5];
    assert_int_equal(cereus_timer_every(g->app, "a", 1, ring, (void *)1, &ids[0], NULL), CEREUS_OK);
    assert_int_equal(cereus_timer_count(g->app, "b", 2, 5, ring, NULL, &ids[1], NULL), CEREUS_OK);
    assert_int_equal(cereus_timer_after(g->app, "s", 1, ring, NULL, &ids[2], NULL), CEREUS_OK);
    assert_int_equal(cereus_timer_every(g->app, NULL, 3, ring, NULL, &ids[3], NULL), CEREUS_OK);
    assert_int_equal(cereus_timer_cron(g->app, "", "* * * * *", ring, NULL, &ids[4], NULL), CEREUS_OK);
    assert_int_equal(gate_count(&rung), 0);
    game_start(g);
    gate_await(&rung, 50);
    assert_int_equal(cereus_timer_every(g->app, "a", 1, ring, (void *)1, NULL, NULL), CEREUS_OK);
    gate_await(&rung, 100);
    assert_int_equal(cereus_timer_stop(g->app, ids[0]), CEREUS_OK);
    assert_int_equal(cereus_timer_stop(g->app, ids[0]), CEREUS_E_GONE);
    game_stop(g);
    size_t count = gate_count(&rung);
    assert_int_equal(cereus_timer_every(g->app, "a", 1, ring, NULL, NULL, NULL), CEREUS_E_STATE);
    assert_int_equal(cereus_timer_stop(g->app, ids[3]), CEREUS_OK);
    game_end(g);
    assert_int_equal(gate_count(&rung), count);
}

static bool never(int64_t unix_ms, void *user)
{
    return false;
}

static void wrong_arguments_are_refused(void **state)
{
    game *g = game_new(1);
    cereus_error err = {0};
    cereus_timer_id id = 77;
    assert_int_equal(cereus_timer_every(g->app, NULL, 0, ring, NULL, &id, &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "non-positive interval for NewTimer");
    assert_int_equal(cereus_timer_after(g->app, NULL, 0, ring, NULL, &id, &err), CEREUS_E_INVALID);
    assert_int_equal(cereus_timer_after(g->app, NULL, UINT64_MAX, ring, NULL, &id, &err), CEREUS_E_INVALID);
    assert_int_equal(cereus_timer_every(g->app, NULL, 1, NULL, NULL, &id, &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "pitaya/timer: nil timer function");
    assert_int_equal(cereus_timer_when(g->app, NULL, NULL, ring, NULL, &id, &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "pitaya/timer: nil condition");
    assert_int_equal(cereus_timer_when(g->app, NULL, never, NULL, NULL, &id, &err), CEREUS_E_INVALID);
    assert_int_equal(cereus_timer_count(g->app, NULL, 1, 0, ring, NULL, &id, &err), CEREUS_E_INVALID);
    assert_int_equal(cereus_timer_count(g->app, NULL, 1, -2, ring, NULL, &id, &err), CEREUS_E_INVALID);
    assert_int_equal(cereus_timer_cron(g->app, NULL, "61 * * * *", ring, NULL, &id, &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "timer \"61 * * * *\": minute: must be 0 to 59, not 61");
    assert_int_equal(cereus_timer_cron(g->app, NULL, NULL, ring, NULL, &id, &err), CEREUS_E_INVALID);
    assert_int_equal(cereus_timer_every(g->app, "nobody", 1, ring, NULL, &id, &err), CEREUS_E_NOT_FOUND);
    assert_int_equal(id, 77);
    for (int i = 0; i < 200;
         i++) /* any number before the start (Pitaya blocked at the 129th), but not more than allowed */
        assert_int_equal(cereus_timer_every(g->app, NULL, 1000, ring, NULL, NULL, &err), CEREUS_OK);
    game_set(g, "cereus.timers.max", "199");
    assert_int_equal(cereus_app_start(g->app, &err), CEREUS_E_FULL);
    assert_non_null(strstr(err.msg, "cereus.timers.max"));
    game_set(g, "cereus.timers.max", "200");
    game_start(g);
    assert_int_equal(cereus_timer_every(g->app, NULL, 1, ring, NULL, &id, &err), CEREUS_E_FULL);
    game_await_counter(g, "timers_refused", 1);
    game_end(g);
}

static atomic_bool juggling_ends;

/** Makes timers and stops them again, some at once, some later, some that end by themselves meanwhile. */
static void *juggle(void *arg)
{
    game *g = arg;
    cereus_timer_id held[16] = {0};
    for (unsigned n = 0; !atomic_load(&juggling_ends); n++) {
        cereus_timer_id *id = &held[n % 16];
        cereus_status st = *id ? cereus_timer_stop(g->app, *id) : CEREUS_OK;
        CHECK(st == CEREUS_OK || st == CEREUS_E_GONE);
        bool home_a = n % 2;
        st = cereus_timer_count(g->app, home_a ? "a" : "b", 1 + n % 3, n % 5 ? (int64_t)(n % 5) : -1, ring,
                                (void *)(uintptr_t)home_a, id, NULL);
        CHECK(st == CEREUS_OK || st == CEREUS_E_STATE || st == CEREUS_E_FULL); /* full: of stopped ones */
        if (st == CEREUS_E_STATE)
            return NULL;
        if (st == CEREUS_E_FULL)
            *id = 0;
        else if (n % 7 == 0)
            CHECK(cereus_timer_stop(g->app, *id) != CEREUS_E_STATE);
    }
    return NULL;
}

static void threads_make_and_stop_them_while_the_app_stops(void **state)
{
    for (int round = 0; round < 5; round++) {
        game *g = game_new(2);
        GAME_SERVE(g, "a", methods, NULL);
        GAME_SERVE(g, "b", methods, NULL);
        game_set(g, "cereus.timers.max", "5000");
        gate_reset(&rung);
        atomic_store(&juggling_ends, false);
        /* theirs may all be stopped before they ring; this one is not */
        assert_int_equal(cereus_timer_every(g->app, "a", 1, ring, (void *)(uintptr_t)1, NULL, NULL), CEREUS_OK);
        pthread_t threads[2];
        if (round % 2)
            game_start(g);
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, juggle, g), 0);
        if (round % 2 == 0)
            game_start(g); /* while they do */
        gate_await(&rung, 50);
        game_stop(g);
        atomic_store(&juggling_ends, true);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        game_end(g);
    }
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)
TEST_MAIN(WORLD_TEST(the_first_call_is_one_interval_away_and_the_rhythm_stays),
          WORLD_TEST(counted_ones_end_by_themselves), WORLD_TEST(a_stopped_timer_is_not_called),
          WORLD_TEST(one_never_overlaps_itself), WORLD_TEST(one_stopped_in_its_call_may_finish_it),
          WORLD_TEST(a_function_that_fails_is_called_again),
          WORLD_TEST(calls_wait_for_a_fiber_and_can_be_stopped_meanwhile),
          WORLD_TEST(a_condition_is_asked_at_every_tick), WORLD_TEST(the_calendar_is_followed),
          WORLD_TEST(there_are_never_more_than_allowed), WORLD_TEST(it_copes_without_memory),
          cmocka_unit_test(calls_run_at_home), cmocka_unit_test(wrong_arguments_are_refused),
          cmocka_unit_test(threads_make_and_stop_them_while_the_app_stops))
