/* tests/unit/fiber/test_await.c */
#include "loop.h"

#include <sys/socket.h>
#include <unistd.h>

#include "fiber/await.h"

typedef struct world {
    test_loop t;
    crs_fibers *fibers;
    int fds[2];
    int events;
    uint64_t deadline_us;
    crs_fiber *fiber;
    bool ended;
    cereus_status st;
    int got;
} world;

static void world_open(world *w)
{
    memset(w, 0, sizeof *w);
    test_loop_open(&w->t);
    crs_fibers_options opt = {.max = 10, .stack_len = 64 * 1024, .arena_max = 1 << 20};
    cereus_error err;
    assert_int_equal(crs_fibers_new(w->t.loop, &opt, &w->fibers, &err), CEREUS_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->fds), 0);
    w->events = UV_READABLE;
    w->deadline_us = UINT64_MAX;
}

static void world_close(world *w)
{
    close(w->fds[0]);
    close(w->fds[1]);
    w->fibers = crs_fibers_free(w->fibers);
    test_loop_close(&w->t);
}

static void await(crs_fiber *fiber, void *arg)
{
    world *w = arg;
    w->fiber = fiber;
    w->st = crs_await_fd(fiber, w->fds[0], w->events, w->deadline_us, &w->got);
    w->ended = true;
}

static void start(world *w, crs_fiber_fn *fn)
{
    w->ended = false;
    w->got = -1;
    assert_int_equal(crs_fiber_start(w->fibers, "await", fn, w), CEREUS_OK);
}

static void await_fd_ends_when_bytes_arrive(void **state)
{
    world w;
    world_open(&w);
    start(&w, await);
    test_settle(&w.t);
    assert_false(w.ended);
    assert_int_equal(write(w.fds[1], "x", 1), 1);
    test_settle(&w.t);
    assert_true(w.ended);
    assert_int_equal(w.st, CEREUS_OK);
    assert_int_equal(w.got, UV_READABLE);
    start(&w, await); /* the same descriptor again, still readable */
    test_settle(&w.t);
    assert_true(w.ended);
    world_close(&w);
}

static void await_fd_tells_what_it_is_ready_for(void **state)
{
    world w;
    world_open(&w);
    w.events = UV_READABLE | UV_WRITABLE;
    start(&w, await);
    test_settle(&w.t);
    assert_int_equal(w.st, CEREUS_OK);
    assert_int_equal(w.got, UV_WRITABLE);
    world_close(&w);
}

static void await_fd_ends_when_the_peer_hangs_up(void **state)
{
    world w;
    world_open(&w);
    start(&w, await);
    test_settle(&w.t);
    shutdown(w.fds[1], SHUT_RDWR);
    test_settle(&w.t);
    assert_true(w.ended);
    assert_int_equal(w.st, CEREUS_OK); /* the read tells */
    world_close(&w);
}

static void await_fd_ends_at_its_deadline_or_when_cancelled(void **state)
{
    world w;
    world_open(&w);
    w.deadline_us = w.t.loop->now_us + 100000;
    start(&w, await);
    test_pass(&w.t, 99);
    assert_false(w.ended);
    test_pass(&w.t, 1);
    assert_true(w.ended);
    assert_int_equal(w.st, CEREUS_E_TIMEOUT);
    assert_int_equal(w.got, -1);
    w.deadline_us = UINT64_MAX;
    start(&w, await);
    crs_fiber_cancel(w.fiber);
    test_settle(&w.t);
    assert_int_equal(w.st, CEREUS_E_CANCELLED);
    world_close(&w);
}

static void await_nothing(crs_fiber *fiber, void *arg)
{
    world *w = arg;
    w->st = crs_await_fd(fiber, -1, UV_READABLE, UINT64_MAX, NULL);
    w->ended = true;
}

static void await_without_memory(crs_fiber *fiber, void *arg)
{
    world *w = arg;
    crs_alloc_fail_at(1);
    w->st = crs_await_fd(fiber, w->fds[0], UV_READABLE, UINT64_MAX, NULL);
    crs_alloc_fail_at(0);
    w->ended = true;
}

static void await_fd_refuses_what_cannot_be_polled(void **state)
{
    world w;
    world_open(&w);
    start(&w, await_nothing);
    assert_true(w.ended);
    assert_int_equal(w.st, CEREUS_E_INVALID);
    start(&w, await_without_memory);
    assert_int_equal(w.st, CEREUS_E_NOMEM);
    start(&w, await);
    crs_fiber *first = w.fiber;
    start(&w, await); /* one fiber per descriptor */
    assert_true(w.ended);
    assert_int_equal(w.st, CEREUS_E_INVALID);
    crs_fiber_cancel(first);
    test_settle(&w.t);
    world_close(&w);
}

typedef struct job_world {
    crs_loop *loop;
    crs_fibers *fibers;
    crs_workers *workers;
    atomic_int worked;
    int ended;
    cereus_status st;
} job_world;

static void work(void *user)
{
    assert_ptr_equal(crs_loop_current, NULL);
    atomic_fetch_add((atomic_int *)user, 1);
}

static void offload(crs_fiber *fiber, void *arg)
{
    job_world *w = arg;
    atomic_int mine = 0; /* on the fiber's stack: the worker uses it while the fiber is parked */
    crs_fiber_cancel(fiber);
    assert_int_equal(crs_await_job(fiber, w->workers, work, &mine), CEREUS_OK);
    assert_int_equal(mine, 1);
    atomic_fetch_add(&w->worked, 1);
    if (++w->ended == 8)
        crs_loop_stop(w->loop);
}

static void await_job_waits_for_the_end_of_the_work_even_when_cancelled(void **state)
{
    job_world w = {0};
    cereus_error err;
    assert_int_equal(crs_loop_new(&(crs_loop_options){.mailbox_capacity = 1}, &w.loop, &err), CEREUS_OK);
    crs_loop_enter(w.loop);
    crs_fibers_options opt = {.max = 10, .stack_len = 64 * 1024, .arena_max = 1 << 20};
    assert_int_equal(crs_fibers_new(w.loop, &opt, &w.fibers, &err), CEREUS_OK);
    assert_int_equal(crs_workers_new(2, 100, &w.workers, &err), CEREUS_OK);
    for (int i = 0; i < 8; i++)
        assert_int_equal(crs_fiber_start(w.fibers, "job", offload, &w), CEREUS_OK);
    crs_loop_run(w.loop);
    assert_int_equal(w.worked, 8);
    crs_workers_free(w.workers);
    crs_fibers_free(w.fibers);
    crs_loop_free(w.loop);
}

static atomic_bool gate_open, at_gate;

static void wait_for_gate(void *user)
{
    atomic_store(&at_gate, true);
    while (!atomic_load(&gate_open))
        sched_yield();
}

static void offload_to_gate(crs_fiber *fiber, void *arg)
{
    job_world *w = arg;
    cereus_status st = crs_await_job(fiber, w->workers, wait_for_gate, NULL);
    if (st)
        w->st = st;
    if (++w->ended == 3)
        crs_loop_stop(w->loop);
}

static void await_job_says_when_the_queue_is_full(void **state)
{
    job_world w = {0};
    cereus_error err;
    assert_int_equal(crs_loop_new(&(crs_loop_options){.mailbox_capacity = 1}, &w.loop, &err), CEREUS_OK);
    crs_loop_enter(w.loop);
    crs_fibers_options opt = {.max = 10, .stack_len = 64 * 1024, .arena_max = 1 << 20};
    assert_int_equal(crs_fibers_new(w.loop, &opt, &w.fibers, &err), CEREUS_OK);
    assert_int_equal(crs_workers_new(1, 1, &w.workers, &err), CEREUS_OK);
    assert_int_equal(crs_fiber_start(w.fibers, "job", offload_to_gate, &w), CEREUS_OK);
    while (!atomic_load(&at_gate))
        sched_yield();
    assert_int_equal(crs_fiber_start(w.fibers, "job", offload_to_gate, &w), CEREUS_OK);
    assert_int_equal(w.ended, 0);
    assert_int_equal(crs_fiber_start(w.fibers, "job", offload_to_gate, &w), CEREUS_OK);
    assert_int_equal(w.ended, 1);
    assert_int_equal(w.st, CEREUS_E_FULL);
    assert_int_equal(crs_counter_read(&w.loop->counters, CRS_COUNTER_offload_full), 1);
    atomic_store(&gate_open, true);
    crs_loop_run(w.loop);
    assert_int_equal(w.ended, 3);
    crs_workers_free(w.workers);
    crs_fibers_free(w.fibers);
    crs_loop_free(w.loop);
}

TEST_MAIN(cmocka_unit_test(await_fd_ends_when_bytes_arrive), cmocka_unit_test(await_fd_tells_what_it_is_ready_for),
          cmocka_unit_test(await_fd_ends_when_the_peer_hangs_up),
          cmocka_unit_test(await_fd_ends_at_its_deadline_or_when_cancelled),
          cmocka_unit_test(await_fd_refuses_what_cannot_be_polled),
          cmocka_unit_test(await_job_waits_for_the_end_of_the_work_even_when_cancelled),
          cmocka_unit_test(await_job_says_when_the_queue_is_full))
