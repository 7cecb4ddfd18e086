/* tests/support/real_loop.h: a loop for tests that talk to other processes: real time, and turns until something holds. */
#ifndef TEST_REAL_LOOP_H
#define TEST_REAL_LOOP_H

#include "test.h"

#include "fiber/fiber.h"
#include "loop/loop.h"

enum { TEST_PATIENCE_MS = 60 * 1000 }; /* after which a test that waits has failed */

typedef struct test_real_loop {
    crs_loop *loop;
    crs_fibers *fibers;
    crs_timer patience, nudge;
} test_real_loop;

static inline void test_out_of_patience(crs_timer *timer)
{
    fprintf(stderr, "nothing came for %d s\n", TEST_PATIENCE_MS / 1000);
    abort();
}

static inline void test_nudged(crs_timer *timer)
{
}

/** To be called at the end of a fiber: it runs when a turn is about to sleep, and what it did shall be seen at once. */
static inline void test_real_nudge(test_real_loop *t)
{
    assert_int_equal(crs_loop_timer_start(t->loop, &t->nudge, 0), CEREUS_OK);
}

static inline crs_loop *test_real_loop_open(test_real_loop *t)
{
    cereus_error err;
    crs_loop_options opt = {.mailbox_capacity = 1000};
    crs_fibers_options fibers = {.max = 200, .stack_len = 64 * 1024, .arena_max = 64 << 20};
    *t = (test_real_loop){0};
    assert_int_equal(crs_loop_new(&opt, &t->loop, &err), CEREUS_OK);
    crs_loop_enter(t->loop);
    assert_int_equal(crs_fibers_new(t->loop, &fibers, &t->fibers, &err), CEREUS_OK);
    crs_timer_init(&t->patience, test_out_of_patience);
    crs_timer_init(&t->nudge, test_nudged);
    return t->loop;
}

static inline void test_real_turn(test_real_loop *t)
{
    uv_run(&t->loop->uv, UV_RUN_ONCE);
    crs_loop_update_now(t->loop);
}

#define TEST_UNTIL(t, condition)                                                                        \
    do {                                                                                                \
        assert_int_equal(crs_loop_timer_start((t)->loop, &(t)->patience, TEST_PATIENCE_MS), CEREUS_OK); \
        while (!(condition))                                                                            \
            test_real_turn(t);                                                                          \
        crs_loop_timer_stop((t)->loop, &(t)->patience);                                                 \
    } while (0)

static inline void test_real_loop_close(test_real_loop *t)
{
    t->fibers = crs_fibers_free(t->fibers);
    t->loop = crs_loop_free(t->loop);
    crs_loop_enter(NULL);
}

#endif
