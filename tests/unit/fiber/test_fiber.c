/* tests/unit/fiber/test_fiber.c */
#include "loop.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fiber/fiber.h"

#if defined(__SANITIZE_THREAD__)
enum { MANY = 2000 }; /* the sanitizer's own limit is not far */
#else
enum { MANY = 10000 };
#endif

typedef struct world {
    test_loop t;
    crs_fibers *fibers;
    char said[200];
    crs_fiber *parked[4];
    cereus_status ended[4];
    size_t index; /* of the fiber that starts next */
} world;

static void world_open_with(world *w, size_t max)
{
    memset(w, 0, sizeof *w);
    test_loop_open(&w->t);
    crs_fibers_options opt = {.max = max, .stack_len = 64 * 1024, .arena_max = 1 << 20};
    cereus_error err;
    assert_int_equal(crs_fibers_new(w->t.loop, &opt, &w->fibers, &err), CEREUS_OK);
}

static void world_open(world *w)
{
    world_open_with(w, 100);
}

static void world_close(world *w)
{
    assert_int_equal(crs_fibers_alive(w->fibers), 0);
    w->fibers = crs_fibers_free(w->fibers);
    test_loop_close(&w->t);
}

static void say(world *w, const char *text)
{
    strcat(w->said, text);
}

static void park_for_ever(crs_fiber *fiber, void *arg)
{
    world *w = arg;
    size_t i = w->index++;
    w->parked[i] = fiber;
    assert_ptr_equal(crs_fiber_current(w->fibers), fiber);
    assert_ptr_equal(crs_fiber_pool(fiber), w->fibers);
    say(w, "<");
    w->ended[i] = crs_fiber_wait(fiber, UINT64_MAX);
    assert_ptr_equal(crs_fiber_current(w->fibers), fiber);
    say(w, ">");
}

static void a_fiber_starts_at_once_and_goes_on_at_the_end_of_the_turn_that_woke_it(void **state)
{
    world w;
    world_open(&w);
    assert_int_equal(crs_fiber_start(w.fibers, "one", park_for_ever, &w), CEREUS_OK);
    assert_string_equal(w.said, "<");
    assert_null(crs_fiber_current(w.fibers));
    assert_int_equal(crs_fibers_alive(w.fibers), 1);
    crs_fiber_wake(w.parked[0], CEREUS_E_GONE);
    crs_fiber_wake(w.parked[0], CEREUS_OK); /* the first word counts */
    assert_string_equal(w.said, "<");
    test_settle(&w.t);
    assert_string_equal(w.said, "<>");
    assert_int_equal(w.ended[0], CEREUS_E_GONE);
    world_close(&w);
}

static void start_another(crs_fiber *fiber, void *arg)
{
    world *w = arg;
    assert_int_equal(crs_fiber_start(w->fibers, "inner", park_for_ever, w), CEREUS_OK);
    say(w, "outer");
}

static void a_fiber_started_by_a_fiber_begins_at_the_end_of_the_turn(void **state)
{
    world w;
    world_open(&w);
    assert_int_equal(crs_fiber_start(w.fibers, "outer", start_another, &w), CEREUS_OK);
    assert_string_equal(w.said, "outer");
    test_settle(&w.t);
    assert_string_equal(w.said, "outer<");
    crs_fiber_wake(w.parked[0], CEREUS_OK);
    test_settle(&w.t);
    world_close(&w);
}

static bool start_late(void *user)
{
    world *w = user;
    if (w->index == 0 && w->said[0] == '\0')
        assert_int_equal(crs_fiber_start(w->fibers, "late", start_another, w), CEREUS_OK);
    return false;
}

static void a_fiber_made_ready_by_a_later_hook_does_not_wait_for_an_event(void **state)
{
    world w;
    world_open(&w);
    crs_loop_add_hook(w.t.loop, start_late, &w); /* runs after the fibers' own */
    uv_run(&w.t.loop->uv, UV_RUN_ONCE);
    uv_run(&w.t.loop->uv, UV_RUN_NOWAIT);
    assert_string_equal(w.said, "outer<");
    crs_fiber_wake(w.parked[0], CEREUS_OK);
    test_settle(&w.t);
    world_close(&w);
}

static void sleep_a_little(crs_fiber *fiber, void *arg)
{
    world *w = arg;
    w->parked[0] = fiber;
    w->ended[0] = crs_fiber_wait(fiber, crs_fiber_loop(fiber)->now_us + 50000);
    say(w, ">");
}

static void a_wait_ends_at_its_deadline_and_not_before(void **state)
{
    world w;
    world_open(&w);
    assert_int_equal(crs_fiber_start(w.fibers, "sleeper", sleep_a_little, &w), CEREUS_OK);
    test_pass(&w.t, 49);
    assert_string_equal(w.said, "");
    test_pass(&w.t, 1);
    assert_string_equal(w.said, ">");
    assert_int_equal(w.ended[0], CEREUS_E_TIMEOUT);
    world_close(&w);
}

static void a_wake_before_the_deadline_takes_the_deadline_away(void **state)
{
    world w;
    world_open(&w);
    assert_int_equal(crs_fiber_start(w.fibers, "sleeper", sleep_a_little, &w), CEREUS_OK);
    crs_fiber_wake(w.parked[0], CEREUS_OK);
    test_settle(&w.t);
    assert_int_equal(w.ended[0], CEREUS_OK);
    assert_int_equal(crs_timers_next_us(&w.t.loop->timers), UINT64_MAX);
    world_close(&w);
}

static void wait_for_the_past(crs_fiber *fiber, void *arg)
{
    world *w = arg;
    for (int i = 0; i < 3; i++)
        assert_int_equal(crs_fiber_wait(fiber, 0), CEREUS_E_TIMEOUT);
    say(w, "past");
}

static void a_deadline_that_has_passed_still_lets_the_others_have_their_turn(void **state)
{
    world w;
    world_open(&w);
    assert_int_equal(crs_fiber_start(w.fibers, "past", wait_for_the_past, &w), CEREUS_OK);
    assert_string_equal(w.said, "");
    test_settle(&w.t);
    assert_string_equal(w.said, "past");
    world_close(&w);
}

static void wait_again_and_again(crs_fiber *fiber, void *arg)
{
    world *w = arg;
    w->parked[0] = fiber;
    w->ended[0] = crs_fiber_wait(fiber, UINT64_MAX);
    w->ended[1] = crs_fiber_wait(fiber, UINT64_MAX);
    w->ended[2] = crs_fiber_wait(fiber, crs_fiber_loop(fiber)->now_us + 1000000);
}

static void a_cancelled_fiber_cannot_wait_any_more(void **state)
{
    world w;
    world_open(&w);
    assert_int_equal(crs_fiber_start(w.fibers, "f", wait_again_and_again, &w), CEREUS_OK);
    crs_fiber_cancel(w.parked[0]);
    test_settle(&w.t);
    assert_int_equal(w.ended[0], CEREUS_E_CANCELLED);
    assert_int_equal(w.ended[1], CEREUS_E_CANCELLED);
    assert_int_equal(w.ended[2], CEREUS_E_CANCELLED);
    world_close(&w);
}

static void a_wake_that_came_before_the_cancel_is_still_heard(void **state)
{
    world w;
    world_open(&w);
    assert_int_equal(crs_fiber_start(w.fibers, "f", wait_again_and_again, &w), CEREUS_OK);
    crs_fiber_wake(w.parked[0], CEREUS_OK);
    crs_fiber_cancel(w.parked[0]);
    test_settle(&w.t);
    assert_int_equal(w.ended[0], CEREUS_OK);
    assert_int_equal(w.ended[1], CEREUS_E_CANCELLED);
    world_close(&w);
}

static void wait_for_the_word_only(crs_fiber *fiber, void *arg)
{
    world *w = arg;
    w->parked[0] = fiber;
    w->ended[0] = crs_fiber_wait_uninterrupted(fiber);
    w->ended[1] = crs_fiber_wait(fiber, UINT64_MAX);
    say(w, ">");
}

static void an_uninterrupted_wait_ends_by_a_wake_only(void **state)
{
    world w;
    world_open(&w);
    assert_int_equal(crs_fiber_start(w.fibers, "f", wait_for_the_word_only, &w), CEREUS_OK);
    crs_fiber_cancel(w.parked[0]);
    test_pass(&w.t, 1000000);
    assert_string_equal(w.said, "");
    crs_fiber_wake(w.parked[0], CEREUS_OK);
    test_settle(&w.t);
    assert_int_equal(w.ended[0], CEREUS_OK);
    assert_int_equal(w.ended[1], CEREUS_E_CANCELLED); /* and the cancel is remembered */
    world_close(&w);
}

static void cancel_all_ends_those_that_wait_and_those_that_come(void **state)
{
    world w;
    world_open(&w);
    for (int i = 0; i < 3; i++)
        assert_int_equal(crs_fiber_start(w.fibers, "f", park_for_ever, &w), CEREUS_OK);
    crs_fibers_cancel_all(w.fibers);
    assert_int_equal(crs_fiber_start(w.fibers, "late", park_for_ever, &w), CEREUS_OK);
    test_settle(&w.t);
    for (int i = 0; i < 4; i++)
        assert_int_equal(w.ended[i], CEREUS_E_CANCELLED);
    world_close(&w);
}

static void a_pool_gives_out_its_maximum_and_again_when_one_has_ended(void **state)
{
    world w;
    world_open_with(&w, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(crs_fibers_available(w.fibers));
        assert_int_equal(crs_fiber_start(w.fibers, "f", park_for_ever, &w), CEREUS_OK);
    }
    assert_false(crs_fibers_available(w.fibers));
    assert_int_equal(crs_fiber_start(w.fibers, "f", park_for_ever, &w), CEREUS_E_FULL);
    assert_int_equal(w.index, 3);
    crs_fiber_wake(w.parked[1], CEREUS_OK);
    test_settle(&w.t);
    assert_int_equal(crs_fibers_alive(w.fibers), 2);
    assert_int_equal(crs_fiber_start(w.fibers, "f", park_for_ever, &w), CEREUS_OK);
    for (int i = 0; i < 4; i++)
        crs_fiber_wake(w.parked[i == 1 ? 3 : i], CEREUS_OK);
    test_settle(&w.t);
    world_close(&w);
}

static void the_reserve_is_for_those_that_others_wait_for(void **state)
{
    world w = {0};
    test_loop_open(&w.t);
    crs_fibers_options opt = {.max = 1, .reserve = 2, .stack_len = 64 * 1024, .arena_max = 1 << 20};
    cereus_error err;
    assert_int_equal(crs_fibers_new(w.t.loop, &opt, &w.fibers, &err), CEREUS_OK);
    assert_int_equal(crs_fiber_start_reserved(w.fibers, "f", park_for_ever, &w), CEREUS_OK);
    assert_false(crs_fibers_available(w.fibers)); /* it counts */
    assert_int_equal(crs_fiber_start(w.fibers, "f", park_for_ever, &w), CEREUS_E_FULL);
    assert_int_equal(crs_fiber_start_reserved(w.fibers, "f", park_for_ever, &w), CEREUS_OK);
    assert_int_equal(crs_fiber_start_reserved(w.fibers, "f", park_for_ever, &w), CEREUS_OK);
    assert_int_equal(crs_fiber_start_reserved(w.fibers, "f", park_for_ever, &w), CEREUS_E_FULL);
    for (int i = 0; i < 2; i++) {
        crs_fiber_wake(w.parked[i], CEREUS_OK);
        test_settle(&w.t);
        assert_false(crs_fibers_available(w.fibers));
    }
    crs_fiber_wake(w.parked[2], CEREUS_OK);
    test_settle(&w.t);
    assert_true(crs_fibers_available(w.fibers));
    world_close(&w);
}

typedef struct many {
    world *w;
    crs_fiber *fibers[MANY];
    size_t started, ended;
} many;

static void be_one_of_many(crs_fiber *fiber, void *arg)
{
    many *m = arg;
    size_t i = m->started++;
    volatile char stack[2000]; /* its own, and still there after the wait */
    memset((char *)stack, (int)i, sizeof stack);
    char *text = crs_arena_printf(crs_fiber_arena(fiber), "fiber %zu", i);
    m->fibers[i] = fiber;
    assert_int_equal(crs_fiber_wait(fiber, UINT64_MAX), CEREUS_OK);
    char want[30];
    snprintf(want, sizeof want, "fiber %zu", i);
    assert_string_equal(text, want);
    for (size_t at = 0; at < sizeof stack; at += 100)
        assert_int_equal(stack[at], (char)i);
    m->ended++;
}

static void many_fibers_live_at_once_and_their_stacks_are_used_again(void **state)
{
    world w;
    world_open_with(&w, MANY);
    static many m;
    for (int round = 0; round < 2; round++) {
        m = (many){.w = &w};
        for (size_t i = 0; i < MANY; i++)
            assert_int_equal(crs_fiber_start(w.fibers, "many", be_one_of_many, &m), CEREUS_OK);
        assert_int_equal(crs_fibers_alive(w.fibers), MANY);
        for (size_t i = 0; i < MANY; i++)
            crs_fiber_wake(m.fibers[(i * 7919) % MANY], CEREUS_OK);
        test_settle(&w.t);
        assert_int_equal(m.ended, MANY);
    }
    world_close(&w);
}

static crs_fiber *ping_pong[2];
static int rallies;

static void wake_the_other(crs_fiber *fiber, void *arg)
{
    size_t me = (size_t)(uintptr_t)arg;
    ping_pong[me] = fiber;
    while (rallies < 1000) {
        rallies++;
        if (ping_pong[1 - me])
            crs_fiber_wake(ping_pong[1 - me], CEREUS_OK);
        assert_int_equal(crs_fiber_wait(fiber, UINT64_MAX), CEREUS_OK);
    }
    crs_fiber_wake(ping_pong[1 - me], CEREUS_OK);
}

static void fibers_that_wake_one_another_leave_the_loop_its_turns(void **state)
{
    world w;
    world_open(&w);
    rallies = 0;
    memset(ping_pong, 0, sizeof ping_pong);
    assert_int_equal(crs_fiber_start(w.fibers, "ping", wake_the_other, (void *)0), CEREUS_OK);
    assert_int_equal(crs_fiber_start(w.fibers, "pong", wake_the_other, (void *)1), CEREUS_OK);
    crs_loop_turn(w.t.loop);
    assert_in_range(rallies, 1, 10); /* one hook call is one round, not all of them */
    test_settle(&w.t);
    assert_int_equal(rallies, 1000);
    world_close(&w);
}

static void look_at_activity(crs_fiber *fiber, void *arg)
{
    world *w = arg;
    crs_fibers_activity *a = crs_fibers_watch(w->fibers);
    assert_string_equal(atomic_load(&a->name), "first name");
    crs_fiber_set_name(fiber, "second name");
    crs_fiber_set_tag(fiber, 42);
    assert_string_equal(atomic_load(&a->name), "second name");
    assert_int_equal(atomic_load(&a->tag), 42);
    assert_false(crs_fiber_flagged(fiber));
    atomic_store(&a->flagged, atomic_load(&a->resumes)); /* as the watchdog does */
    assert_true(crs_fiber_flagged(fiber));
    w->parked[0] = fiber;
    crs_fiber_wait(fiber, UINT64_MAX);
    assert_false(crs_fiber_flagged(fiber));
    assert_string_equal(atomic_load(&a->name), "second name");
    assert_int_equal(atomic_load(&a->tag), 42);
}

static void what_runs_can_be_watched(void **state)
{
    world w;
    world_open(&w);
    crs_fibers_activity *a = crs_fibers_watch(w.fibers);
    assert_int_equal(crs_fiber_start(w.fibers, "first name", look_at_activity, &w), CEREUS_OK);
    assert_null(atomic_load(&a->name));
    crs_fiber_wake(w.parked[0], CEREUS_OK);
    test_settle(&w.t);
    assert_null(atomic_load(&a->name));
    assert_int_equal(atomic_load(&a->resumes), 2);
    world_close(&w);
}

static void use_some_memory(crs_fiber *fiber, void *arg)
{
    assert_non_null(crs_arena_alloc(crs_fiber_arena(fiber), 100000));
    assert_null(crs_arena_alloc(crs_fiber_arena(fiber), 1 << 20));
    *(size_t *)arg = crs_fiber_arena(fiber)->used;
}

static void see_no_memory(crs_fiber *fiber, void *arg)
{
    *(size_t *)arg = crs_fiber_arena(fiber)->used;
}

/* ---- what holds the loop ---- */

static void hold(crs_fiber *fiber, void *arg)
{
    test_loop *t = crs_fiber_loop(fiber)->clock_user;
    crs_fiber_set_tag(fiber, (uint64_t)(uintptr_t)arg);
    t->passed_ms += (int64_t)(uintptr_t)arg;
}

static void run_holding(world *w, const char *name, uintptr_t ms)
{
    assert_int_equal(crs_fiber_start(w->fibers, name, hold, (void *)ms), CEREUS_OK);
}

static void fibers_that_hold_the_loop_are_kept_with_the_longest(void **state)
{
    world w;
    size_t count;
    world_open(&w);
    run_holding(&w, "quick", 0);
    test_settle(&w.t);
    crs_fibers_holds(w.fibers, &count);
    assert_int_equal(count, 0);
    for (uintptr_t ms = 1; ms <= 3; ms++) {
        run_holding(&w, "slow", 5 - ms);
        crs_fibers_end_turn(w.fibers);
        w.t.passed_ms += 1000; /* asleep: nobody's */
        test_settle(&w.t);
    }
    run_holding(&w, "slower", 7);
    test_settle(&w.t);
    const crs_fiber_hold *holds = crs_fibers_holds(w.fibers, &count);
    assert_int_equal(count, 2);
    assert_string_equal(holds[0].name, "slow");
    assert_int_equal(holds[0].count, 3);
    assert_int_equal(holds[0].total_us, 9000);
    assert_int_equal(holds[0].max_us, 4000);
    assert_int_equal(holds[0].tag, 4);
    assert_false(holds[0].shared);
    assert_string_equal(holds[1].name, "slower");
    assert_int_equal(holds[1].max_us, 7000);
    world_close(&w);
}

static void holds_of_several_are_told_apart_from_the_second_time_on(void **state)
{
    world w;
    size_t count;
    world_open(&w);
    for (int i = 0; i < 2; i++) {
        run_holding(&w, "slow", 5);
        run_holding(&w, "quick", 0);
        crs_fibers_end_turn(w.fibers);
    }
    const crs_fiber_hold *holds = crs_fibers_holds(w.fibers, &count);
    assert_int_equal(count, 2);
    assert_string_equal(holds[0].name, "quick"); /* the last that ran, and it is said so */
    assert_true(holds[0].shared);
    assert_int_equal(holds[0].count, 1);
    assert_string_equal(holds[1].name, "slow");
    assert_false(holds[1].shared);
    assert_int_equal(holds[1].max_us, 5000);
    world_close(&w);
}

static void the_longest_holds_are_kept_when_there_are_many(void **state)
{
    static char names[3 * CRS_HOLDS_MAX][8];
    world w;
    size_t count;
    world_open(&w);
    for (uintptr_t i = 0; i < CEREUS_COUNT(names); i++) {
        snprintf(names[i], sizeof names[i], "f%u", (unsigned)i);
        run_holding(&w, names[i], 1 + i % 100);
        crs_fibers_end_turn(w.fibers);
    }
    const crs_fiber_hold *holds = crs_fibers_holds(w.fibers, &count);
    assert_int_equal(count, CRS_HOLDS_MAX);
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < count; i++)
        least = CRS_MIN(least, holds[i].max_us);
    assert_int_equal(least, 65 * 1000); /* 100 down to 93 once, 92 down to 65 twice */
    world_close(&w);
}

static void request_memory_ends_with_the_fiber(void **state)
{
    world w;
    world_open(&w);
    size_t used;
    assert_int_equal(crs_fiber_start(w.fibers, "f", use_some_memory, &used), CEREUS_OK);
    assert_true(used >= 100000);
    assert_int_equal(crs_fiber_start(w.fibers, "f", see_no_memory, &used), CEREUS_OK);
    assert_true(used <= 4096);
    world_close(&w);
}

static void new_and_start_fail_cleanly_without_memory(void **state)
{
    world w;
    world_open(&w);
    crs_fibers_options opt = {.max = 10};
    crs_fibers *fibers = NULL;
    for (size_t nth = 1; nth <= 2; nth++) {
        cereus_error err = {0};
        crs_alloc_fail_at(nth);
        assert_int_equal(crs_fibers_new(w.t.loop, &opt, &fibers, &err), CEREUS_E_NOMEM);
        assert_int_equal(err.status, CEREUS_E_NOMEM);
        assert_null(fibers);
    }
    crs_alloc_fail_at(1);
    assert_int_equal(crs_fiber_start(w.fibers, "f", park_for_ever, &w), CEREUS_E_FULL);
    crs_alloc_fail_at(0);
    assert_int_equal(crs_fibers_alive(w.fibers), 0);
    crs_alloc_fail_at(1);
    assert_false(crs_fibers_available(w.fibers));
    assert_true(crs_fibers_available(w.fibers));
    crs_alloc_fail_at(1); /* what is said to be there is there */
    assert_int_equal(crs_fiber_start(w.fibers, "f", see_no_memory, &(size_t){0}), CEREUS_OK);
    crs_alloc_fail_at(0);
    assert_int_equal(crs_fiber_start(w.fibers, "f", sleep_a_little, &w), CEREUS_OK);
    test_pass(&w.t, 50);
    world_close(&w);
    assert_null(crs_fibers_free(NULL));
}

static void sleep_without_memory(crs_fiber *fiber, void *arg)
{
    crs_alloc_fail_at(1);
    *(cereus_status *)arg = crs_fiber_wait(fiber, crs_fiber_loop(fiber)->now_us + 50000);
}

static void a_deadline_that_cannot_be_kept_fails_the_wait(void **state)
{
    world w;
    world_open(&w);
    cereus_status st = CEREUS_OK;
    assert_int_equal(crs_fiber_start(w.fibers, "f", sleep_without_memory, &st), CEREUS_OK);
    assert_int_equal(st, CEREUS_E_NOMEM);
    world_close(&w);
}

#ifndef __SANITIZE_ADDRESS__ /* which has its own report */
static void descend(volatile char *above, int levels)
{
    volatile char frame[1000];
    frame[0] = above[0];
    if (levels > 0)
        descend(frame, levels - 1);
    frame[999] = 1;
}

static void overflow(crs_fiber *fiber, void *arg)
{
    volatile char start[1] = {0};
    descend(start, 1000);
}

static void a_stack_overflow_names_the_fiber_before_the_process_ends(void **state)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        world w;
        world_open(&w);
        crs_fibers_catch_overflow();
        crs_fibers_watch_overflow(w.fibers);
        assert_int_equal(crs_fiber_start(w.fibers, "other", park_for_ever, &w), CEREUS_OK);
        assert_int_equal(crs_fiber_start(w.fibers, "room.deep", overflow, &w), CEREUS_OK);
        _exit(0);
    }
    close(ends[1]);
    char said[2000] = "";
    size_t len = 0;
    ssize_t n;
    while (len < sizeof said - 1 && (n = read(ends[0], said + len, sizeof said - 1 - len)) > 0)
        len += (size_t)n;
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
#ifndef __SANITIZE_THREAD__ /* whose handler ends the process in its own way */
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
#endif
    assert_non_null(strstr(said, "cereus: stack overflow on the fiber of room.deep: "));
}
#endif

TEST_MAIN(cmocka_unit_test(a_fiber_starts_at_once_and_goes_on_at_the_end_of_the_turn_that_woke_it),
          cmocka_unit_test(a_fiber_started_by_a_fiber_begins_at_the_end_of_the_turn),
          cmocka_unit_test(a_fiber_made_ready_by_a_later_hook_does_not_wait_for_an_event),
          cmocka_unit_test(a_wait_ends_at_its_deadline_and_not_before),
          cmocka_unit_test(a_wake_before_the_deadline_takes_the_deadline_away),
          cmocka_unit_test(a_deadline_that_has_passed_still_lets_the_others_have_their_turn),
          cmocka_unit_test(a_cancelled_fiber_cannot_wait_any_more),
          cmocka_unit_test(a_wake_that_came_before_the_cancel_is_still_heard),
          cmocka_unit_test(an_uninterrupted_wait_ends_by_a_wake_only),
          cmocka_unit_test(cancel_all_ends_those_that_wait_and_those_that_come),
          cmocka_unit_test(a_pool_gives_out_its_maximum_and_again_when_one_has_ended),
          cmocka_unit_test(the_reserve_is_for_those_that_others_wait_for),
          cmocka_unit_test(many_fibers_live_at_once_and_their_stacks_are_used_again),
          cmocka_unit_test(fibers_that_wake_one_another_leave_the_loop_its_turns),
          cmocka_unit_test(what_runs_can_be_watched),
          cmocka_unit_test(fibers_that_hold_the_loop_are_kept_with_the_longest),
          cmocka_unit_test(holds_of_several_are_told_apart_from_the_second_time_on),
          cmocka_unit_test(the_longest_holds_are_kept_when_there_are_many),
          cmocka_unit_test(request_memory_ends_with_the_fiber),
          cmocka_unit_test(new_and_start_fail_cleanly_without_memory),
          cmocka_unit_test(a_deadline_that_cannot_be_kept_fails_the_wait),
#ifndef __SANITIZE_ADDRESS__
          cmocka_unit_test(a_stack_overflow_names_the_fiber_before_the_process_ends),
#endif
)
