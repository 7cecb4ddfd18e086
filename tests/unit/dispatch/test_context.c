/* tests/unit/dispatch/test_context.c: memory and waits of a call, tried from tasks and handlers of a running server. */
#include "game.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

static gate done = GATE_INIT;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/** Run @p fn as a task of a server with @p loops loops and stop when it has called gate_pass(&done) @p passes times. */
static void run_task(unsigned loops, cereus_task_fn *fn, size_t passes)
{
    game *g = game_new(loops);
    game_start(g);
    gate_reset(&done);
    assert_int_equal(cereus_app_spawn(g->app, NULL, fn, g), CEREUS_OK);
    gate_await(&done, passes);
    game_end(g);
}

static void use_memory(cereus_ctx *ctx, void *user)
{
    CHECK(cereus_ctx_app(ctx) == ((game *)user)->app && !cereus_ctx_session(ctx));
    for (size_t size = 0; size < 5000; size += 7) {
        unsigned char *p = cereus_ctx_alloc(ctx, size);
        CHECK(p && (uintptr_t)p % 16 == 0);
        for (size_t i = 0; i < size; i++)
            CHECK(p[i] == 0);
        memset(p, 0xff, size);
    }
    CHECK(!cereus_ctx_alloc(ctx, SIZE_MAX) && !cereus_ctx_alloc(ctx, SIZE_MAX - 8));
    CHECK(strcmp(cereus_ctx_printf(ctx, "%s-%d", "a", 7), "a-7") == 0);
    CHECK(strlen(cereus_ctx_printf(ctx, "%10000d", 7)) == 10000);
    CHECK(strcmp(cereus_ctx_strdup(ctx, cereus_slice_of("abc", 2)), "ab") == 0);
    CHECK(strcmp(cereus_ctx_strdup(ctx, cereus_slice_of(NULL, 0)), "") == 0);
    json_t *json = json_object();
    CHECK(cereus_ctx_keep(ctx, json) == json && json->refcount == 1);
    CHECK(!cereus_ctx_keep(ctx, NULL));
    CHECK(!cereus_ctx_error_code(ctx) && !cereus_ctx_error_msg(ctx));
    CHECK(cereus_fail(ctx, "C", "m%d", 1) == CEREUS_E_FAILED);
    CHECK(strcmp(cereus_ctx_error_code(ctx), "C") == 0 && strcmp(cereus_ctx_error_msg(ctx), "m1") == 0);
    gate_pass(&done);
}

static void a_call_has_memory_of_its_own(void **state)
{
    run_task(1, use_memory, 1);
}

static void sleep_and_time_out(cereus_ctx *ctx, void *user)
{
    int64_t from = now_ms();
    CHECK(cereus_sleep(ctx, 20) == CEREUS_OK);
    CHECK(now_ms() - from >= 19);
    CHECK(cereus_ctx_time_left(ctx) == UINT64_MAX);
    cereus_ctx_set_deadline(ctx, 10);
    CHECK(cereus_ctx_time_left(ctx) <= 10);
    CHECK(cereus_sleep(ctx, UINT64_MAX) == CEREUS_E_TIMEOUT);
    CHECK(cereus_ctx_time_left(ctx) == 0);
    CHECK(cereus_sleep(ctx, 1) == CEREUS_E_TIMEOUT);
    cereus_ctx_set_deadline(ctx, 0);
    CHECK(cereus_ctx_time_left(ctx) == UINT64_MAX);
    CHECK(cereus_sleep(ctx, 0) == CEREUS_OK && cereus_yield(ctx) == CEREUS_OK);
    cereus_ctx_set_deadline(ctx, UINT64_MAX);
    CHECK(cereus_sleep(ctx, 1) == CEREUS_OK);
    cereus_ctx_set_deadline(ctx, 60000);
    CHECK(cereus_sleep(ctx, 1) == CEREUS_OK);
    gate_pass(&done);
}

static void sleep_ends_with_its_time_or_with_the_deadline(void **state)
{
    run_task(1, sleep_and_time_out, 1);
}

static int turns; /* of one loop */

static void count_turns(cereus_ctx *ctx, void *user)
{
    for (int i = 0; i < 100; i++) { /* the two take turns: neither is ever two ahead */
        CHECK(turns * (user ? 1 : -1) <= 1);
        turns += user ? 1 : -1;
        CHECK(cereus_yield(ctx) == CEREUS_OK);
    }
    gate_pass(&done);
}

static void spawn_two(cereus_ctx *ctx, void *user)
{
    CHECK(cereus_app_spawn(cereus_ctx_app(ctx), "", count_turns, NULL) == CEREUS_OK);
    CHECK(cereus_app_spawn(cereus_ctx_app(ctx), "", count_turns, &turns) == CEREUS_OK);
}

static void yield_lets_the_others_have_a_turn(void **state)
{
    run_task(1, spawn_two, 2);
    assert_int_equal(turns, 0);
}

static void wait_for_fds(cereus_ctx *ctx, void *user)
{
    int fds[2], events = 0;
    CHECK(pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0);
    CHECK(cereus_await_fd(ctx, fds[1], CEREUS_FD_WRITABLE, 0, &events) == CEREUS_OK);
    CHECK(events == CEREUS_FD_WRITABLE);
    events = 77;
    CHECK(cereus_await_fd(ctx, fds[0], CEREUS_FD_READABLE, 5, &events) == CEREUS_E_TIMEOUT && events == 77);
    cereus_ctx_set_deadline(ctx, 5);
    CHECK(cereus_await_fd(ctx, fds[0], CEREUS_FD_READABLE, 60000, NULL) == CEREUS_E_TIMEOUT);
    cereus_ctx_set_deadline(ctx, 0);
    CHECK(write(fds[1], "x", 1) == 1);
    CHECK(cereus_await_fd(ctx, fds[0], CEREUS_FD_READABLE, 0, &events) == CEREUS_OK);
    CHECK(events == CEREUS_FD_READABLE);
    char c;
    CHECK(read(fds[0], &c, 1) == 1);
    close(fds[1]); /* a hang-up is something to read, and to write */
    CHECK(cereus_await_fd(ctx, fds[0], CEREUS_FD_READABLE, 0, &events) == CEREUS_OK);
    CHECK(events & CEREUS_FD_READABLE);
    close(fds[0]);
    CHECK(cereus_await_fd(ctx, fds[0], CEREUS_FD_READABLE, 0, &events) == CEREUS_E_INVALID);
    CHECK(cereus_await_fd(ctx, -1, CEREUS_FD_READABLE, 0, &events) == CEREUS_E_INVALID);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK(file >= 0 && cereus_await_fd(ctx, file, CEREUS_FD_READABLE, 0, NULL) == CEREUS_E_INVALID);
    close(file);
    CHECK(pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0); /* the same numbers again */
    CHECK(cereus_await_fd(ctx, fds[0], CEREUS_FD_READABLE, 1, NULL) == CEREUS_E_TIMEOUT);
    close(fds[0]);
    close(fds[1]);
    gate_pass(&done);
}

static void a_descriptor_is_awaited(void **state)
{
    run_task(1, wait_for_fds, 1);
}

static pthread_t loop_thread;
static atomic_int jobs_run;

static void work(void *user)
{
    CHECK(!pthread_equal(pthread_self(), loop_thread));
    *(int *)user += 1;
    atomic_fetch_add(&jobs_run, 1);
}

static void hand_work_over(cereus_ctx *ctx, void *user)
{
    loop_thread = pthread_self();
    int count = 0;
    for (int i = 0; i < 100; i++)
        CHECK(cereus_offload(ctx, work, &count) == CEREUS_OK);
    CHECK(count == 100 && pthread_equal(pthread_self(), loop_thread));
    cereus_ctx_set_deadline(ctx, 1);
    CHECK(cereus_sleep(ctx, 10) == CEREUS_E_TIMEOUT);
    CHECK(cereus_offload(ctx, work, &count) == CEREUS_E_TIMEOUT);
    CHECK(count == 100);
    gate_pass(&done);
}

static void work_is_done_by_another_thread(void **state)
{
    run_task(1, hand_work_over, 1);
}

static gate started = GATE_INIT, go_on = GATE_INIT;

static void slow_work(void *user)
{
    gate_pass(&started);
    while (gate_count(&go_on) == 0) {
    }
    *(int *)user += 1;
}

static atomic_bool served_meanwhile;

static void note_that_it_ran(cereus_ctx *ctx, void *user)
{
    atomic_store(&served_meanwhile, true);
    gate_pass(&go_on);
}

static void slow_task(cereus_ctx *ctx, void *user)
{
    int count = 0;
    CHECK(cereus_offload(ctx, slow_work, &count) == CEREUS_OK); /* it had begun: waited for, also when the app stops */
    CHECK(count == 1 && atomic_load(&served_meanwhile));
    CHECK(cereus_sleep(ctx, UINT64_MAX) == CEREUS_E_CANCELLED);
    CHECK(cereus_yield(ctx) == CEREUS_E_CANCELLED);
    CHECK(cereus_await_fd(ctx, STDERR_FILENO, CEREUS_FD_WRITABLE, 0, NULL) != CEREUS_OK);
    CHECK(cereus_offload(ctx, slow_work, &count) == CEREUS_E_CANCELLED); /* not any more */
    CHECK(count == 1);
    gate_pass(&done);
}

static void begun_work_is_waited_for_and_none_begins_when_the_app_stops(void **state)
{
    game *g = game_new(1);
    game_start(g);
    gate_reset(&done);
    assert_int_equal(cereus_app_spawn(g->app, NULL, slow_task, NULL), CEREUS_OK);
    gate_await(&started, 1);
    assert_int_equal(cereus_app_spawn(g->app, NULL, note_that_it_ran, NULL), CEREUS_OK);
    game_end(g);
    assert_int_equal(gate_count(&done), 1);
}

static cereus_status log_something(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_log_debug(ctx, "not kept");
    cereus_log_info(ctx, "not kept either");
    cereus_log_warn(ctx, "warned \"%s\"", "about\nlines");
    cereus_log_error(ctx, "%3000d", 1);
    return reply_text(out, "logged");
}

static cereus_status bind_as(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return cereus_session_bind(ctx, cereus_ctx_session(ctx), text_of(in));
}

static void lines_of_the_log_tell_route_and_user(void **state)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("log", log_something),
                                            CEREUS_RAW_REQUEST("bind", bind_as)};
    game *g = game_new(1);
    GAME_SERVE(g, "l", methods, NULL);
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    client_call(c, "l.bind", "lisa");
    client_call(c, "l.log", "");
    assert_true(game_logged(g, "warned", "route=game.l.log"));
    assert_true(game_logged(g, "warned", "uid=lisa"));
    assert_true(game_logged(g, "about\\nlines", NULL));
    assert_false(game_logged(g, "not kept", NULL));
    game_end(g);
}

TEST_MAIN(cmocka_unit_test(a_call_has_memory_of_its_own),
          cmocka_unit_test(sleep_ends_with_its_time_or_with_the_deadline),
          cmocka_unit_test(yield_lets_the_others_have_a_turn), cmocka_unit_test(a_descriptor_is_awaited),
          cmocka_unit_test(work_is_done_by_another_thread),
          cmocka_unit_test(begun_work_is_waited_for_and_none_begins_when_the_app_stops),
          cmocka_unit_test(lines_of_the_log_tell_route_and_user))
