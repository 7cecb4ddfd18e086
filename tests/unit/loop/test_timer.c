/* tests/unit/loop/test_timer.c */
#include "test.h"

#include "loop/timer.h"

static crs_timer *fired[1000];
static size_t fired_count;

static void note(crs_timer *timer)
{
    assert_false(crs_timer_running(timer)); /* stopped before it is called */
    fired[fired_count++] = timer;
}

static void timers_fire_in_order_and_only_when_due(void **state)
{
    crs_timers t;
    crs_timers_init(&t);
    crs_timer a, b, c;
    crs_timer_init(&a, note);
    crs_timer_init(&b, note);
    crs_timer_init(&c, note);
    assert_int_equal(crs_timers_next_us(&t), UINT64_MAX);
    assert_int_equal(crs_timer_start(&t, &a, 30), CEREUS_OK);
    assert_int_equal(crs_timer_start(&t, &b, 10), CEREUS_OK);
    assert_int_equal(crs_timer_start(&t, &c, 20), CEREUS_OK);
    assert_int_equal(crs_timers_next_us(&t), 10);
    fired_count = 0;
    crs_timers_run(&t, 9);
    assert_int_equal(fired_count, 0);
    crs_timers_run(&t, 25);
    assert_int_equal(fired_count, 2);
    assert_ptr_equal(fired[0], &b);
    assert_ptr_equal(fired[1], &c);
    assert_true(crs_timer_running(&a));
    crs_timer_stop(&t, &a);
    crs_timer_stop(&t, &a);
    crs_timers_run(&t, 1000);
    assert_int_equal(fired_count, 2);
    crs_timers_fini(&t);
}

/** The model is the array itself: due_us, UINT64_MAX while stopped. */
static void a_random_history_goes_as_a_plain_list_would(void **state)
{
    enum { TIMERS = 200, STEPS = 20000 };
    static crs_timer timers[TIMERS];
    static uint64_t due[TIMERS];
    crs_timers t;
    crs_timers_init(&t);
    for (size_t i = 0; i < TIMERS; i++) {
        crs_timer_init(&timers[i], note);
        due[i] = UINT64_MAX;
    }
    uint32_t seed = 12345;
    uint64_t now = 0;
    for (int step = 0; step < STEPS; step++) {
        seed = seed * 1664525 + 1013904223;
        size_t i = (seed >> 8) % TIMERS;
        uint32_t what = seed >> 28;
        if (what < 10) {
            due[i] = now + (seed >> 16) % 100;
            assert_int_equal(crs_timer_start(&t, &timers[i], due[i]), CEREUS_OK);
        } else if (what < 14) {
            crs_timer_stop(&t, &timers[i]);
            due[i] = UINT64_MAX;
        } else {
            now += (seed >> 16) % 10;
            fired_count = 0;
            crs_timers_run(&t, now);
            uint64_t before = 0;
            for (size_t k = 0; k < fired_count; k++) {
                size_t which = (size_t)(fired[k] - timers);
                assert_true(due[which] <= now);
                assert_true(due[which] >= before); /* earliest first */
                before = due[which];
                due[which] = UINT64_MAX;
            }
        }
        uint64_t next = UINT64_MAX;
        for (size_t k = 0; k < TIMERS; k++) {
            assert_int_equal(crs_timer_running(&timers[k]), due[k] != UINT64_MAX);
            next = due[k] < next ? due[k] : next;
        }
        assert_int_equal(crs_timers_next_us(&t), next);
        assert_true(what < 14 || next > now);
    }
    crs_timers_fini(&t);
}

static crs_timers *shared;
static int calls;
static crs_timer *victim;

static void start_again_at_once(crs_timer *timer)
{
    calls++;
    assert_int_equal(crs_timer_start(shared, timer, 0), CEREUS_OK);
}

static void a_timer_that_restarts_itself_for_now_does_not_keep_run_from_returning(void **state)
{
    crs_timers t;
    crs_timers_init(&t);
    shared = &t;
    calls = 0;
    crs_timer a;
    crs_timer_init(&a, start_again_at_once);
    assert_int_equal(crs_timer_start(&t, &a, 0), CEREUS_OK);
    crs_timers_run(&t, 5);
    assert_int_equal(calls, 1);
    assert_int_equal(crs_timers_next_us(&t), 0);
    crs_timers_fini(&t);
}

static void stop_the_victim(crs_timer *timer)
{
    calls++;
    crs_timer_stop(shared, victim);
}

static void a_timer_stopped_by_another_that_fires_at_the_same_time_does_not_fire(void **state)
{
    crs_timers t;
    crs_timers_init(&t);
    shared = &t;
    calls = 0;
    crs_timer a, b;
    crs_timer_init(&a, stop_the_victim);
    crs_timer_init(&b, note);
    victim = &b;
    fired_count = 0;
    assert_int_equal(crs_timer_start(&t, &a, 1), CEREUS_OK);
    assert_int_equal(crs_timer_start(&t, &b, 2), CEREUS_OK);
    crs_timers_run(&t, 5);
    assert_int_equal(calls, 1);
    assert_int_equal(fired_count, 0);
    assert_int_equal(t.count, 0);
    crs_timers_fini(&t);
}

static void starting_fails_without_memory_and_leaves_the_others_running(void **state)
{
    crs_timers t;
    crs_timers_init(&t);
    static crs_timer timers[200];
    size_t started = 0;
    for (size_t i = 0; i < 200; i++) {
        crs_timer_init(&timers[i], note);
        crs_alloc_fail_at(1);
        if (crs_timer_start(&t, &timers[i], i) != CEREUS_OK) {
            assert_false(crs_timer_running(&timers[i]));
            crs_alloc_fail_at(0);
            assert_int_equal(crs_timer_start(&t, &timers[i], i), CEREUS_OK);
        }
        started++;
    }
    crs_alloc_fail_at(1); /* moving one that runs needs no memory */
    assert_int_equal(crs_timer_start(&t, &timers[0], 1000), CEREUS_OK);
    crs_alloc_fail_at(0);
    fired_count = 0;
    crs_timers_run(&t, 2000);
    assert_int_equal(fired_count, started);
    assert_ptr_equal(fired[started - 1], &timers[0]);
    crs_timers_fini(&t);
}

TEST_MAIN(cmocka_unit_test(timers_fire_in_order_and_only_when_due),
          cmocka_unit_test(a_random_history_goes_as_a_plain_list_would),
          cmocka_unit_test(a_timer_that_restarts_itself_for_now_does_not_keep_run_from_returning),
          cmocka_unit_test(a_timer_stopped_by_another_that_fires_at_the_same_time_does_not_fire),
          cmocka_unit_test(starting_fails_without_memory_and_leaves_the_others_running))
