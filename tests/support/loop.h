/* tests/support/loop.h: a loop for tests that run in one thread: the test is the loop's thread, time stands still until
 * the test moves it, and turns are taken when the test says so. */
#ifndef TEST_LOOP_H
#define TEST_LOOP_H

#include "test.h"

#include "loop/loop.h"

enum { TEST_START_MS = 5000 }; /* what the monotonic clock shows at first */

#define TEST_START_UNIX_MS INT64_C(1767323045000) /* and the other one: 2026-01-02T03:04:05Z */

typedef struct test_loop {
    crs_loop *loop;
    int64_t passed_ms; /* since the start */
} test_loop;

static inline int64_t test_clock(clockid_t clock, void *user)
{
    return (clock == CLOCK_REALTIME ? TEST_START_UNIX_MS : TEST_START_MS) + ((test_loop *)user)->passed_ms;
}

static inline crs_loop *test_loop_open(test_loop *t)
{
    *t = (test_loop){0};
    crs_loop_options opt = {.mailbox_capacity = 1000, .clock = test_clock, .clock_user = t};
    cereus_error err;
    assert_int_equal(crs_loop_new(&opt, &t->loop, &err), CEREUS_OK);
    crs_loop_enter(t->loop);
    return t->loop;
}

static inline void test_loop_close(test_loop *t)
{
    t->loop = crs_loop_free(t->loop);
    assert_ptr_equal(crs_loop_enter(NULL), NULL);
}

/** Turns until nothing is left to do but to wait: for time, for another thread, for a socket. */
static inline void test_settle(test_loop *t)
{
    size_t turns = 0;
    do {
        crs_loop_turn(t->loop);
        assert_in_range(turns++, 0, 100000); /* else it never rests */
    } while (turns < 3 || uv_is_active((uv_handle_t *)&t->loop->idle) || atomic_load(&t->loop->mail) ||
             crs_timers_next_us(&t->loop->timers) <= t->loop->now_us);
}

/** Let @p ms pass, and settle. */
static inline void test_pass(test_loop *t, int64_t ms)
{
    t->passed_ms += ms;
    test_settle(t);
}

#endif
