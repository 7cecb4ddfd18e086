/* app/manual.c: loops turned by hand. */
#include "app/manual.h"

#include <poll.h>
#include <signal.h>

#include "app/app_priv.h"
#include "transport/memory.h"

struct crs_manual_conn {
    crs_pipe *pipe;
    crs_loop *loop; /* for crs_loop_enter() only: the pipe outlives it */
};

static void use(cereus_app *app, const crs_manual *manual)
{
    CRS_ASSERT(app->state == CRS_APP_SETUP);
    app->manual = manual;
}

/** Is there anything to do at this time? */
static bool is_busy(const crs_loop *loop)
{
    return uv_is_active((const uv_handle_t *)&loop->idle) || atomic_load_explicit(&loop->mail, memory_order_relaxed) ||
           crs_timers_next_us(&loop->timers) <= loop->now_us;
}

static void guard(bool on)
{
    static _Thread_local unsigned depth;
    static _Thread_local struct sigaction segv,
        bus; /* of the test's framework, which could not jump off a fiber's stack */
    if (on && depth++ == 0) {
        sigaction(SIGSEGV, NULL, &segv);
        sigaction(SIGBUS, NULL, &bus);
        crs_fibers_catch_overflow();
    } else if (!on && --depth == 0) {
        sigaction(SIGSEGV, &segv, NULL);
        sigaction(SIGBUS, &bus, NULL);
    }
}

/** One turn. Returns whether anything happened in it or is to happen still. */
static bool turn_loop(crs_app_loop *l)
{
    crs_loop *loop = l->loop;
    crs_fibers_activity *activity = crs_fibers_watch(l->dispatch.fibers);
    uint64_t resumes = atomic_load_explicit(&activity->resumes, memory_order_relaxed);
    guard(true);
    crs_fibers_watch_overflow(l->dispatch.fibers);
    crs_loop *was = crs_loop_enter(loop);
    crs_loop_update_now(loop);
    bool busy = is_busy(loop);
    crs_loop_turn(loop);
    crs_loop_enter(was);
    guard(false);
    return busy || is_busy(loop) || atomic_load_explicit(&activity->resumes, memory_order_relaxed) != resumes;
}

static bool turn(cereus_app *app)
{
    bool busy = false;
    for (uint32_t i = 0; i < app->loops_up; i++)
        busy |= turn_loop(&app->loops[i]);
    if (app->loops_up)
        busy |= crs_workers_run_waiting(app->core.workers);
    for (uint32_t i = 0; i < app->loops_up; i++) /* a loop may have posted to one that was turned before */
        busy |= is_busy(app->loops[i].loop);
    return busy;
}

static uint64_t next_ms(cereus_app *app)
{
    uint64_t next_us = UINT64_MAX;
    for (uint32_t i = 0; i < app->loops_up; i++)
        next_us = CRS_MIN(next_us, crs_timers_next_us(&app->loops[i].loop->timers));
    return next_us == UINT64_MAX ? UINT64_MAX : next_us / 1000 + (next_us % 1000 != 0);
}

void crs_manual_go_on(cereus_app *app)
{
    /* one turn, and whoever waits looks again: what the last thing left to do brought about is seen before time passes */
    app->still_turns = turn(app) ? 0 : app->still_turns + 1;
    if (app->still_turns > 2) {
        app->still_turns = 0;
        app->manual->idle(app->manual->user);
    }
}

static void on_loop(cereus_app *app, uint32_t loop, void (*fn)(void *user), void *user)
{
    crs_app_loop *l = &app->loops[loop];
    guard(true);
    crs_fibers_watch_overflow(l->dispatch.fibers);
    crs_loop *was = crs_loop_enter(l->loop);
    crs_loop_update_now(l->loop);
    fn(user);
    crs_loop_enter(was);
    guard(false);
}

static bool wants_end(cereus_app *app)
{
    struct pollfd fd = {.fd = app->shutdown_fd, .events = POLLIN}; /* which is never read */
    return poll(&fd, 1, 0) == 1;
}

static cereus_status open_conn(cereus_app *app, uint32_t loop, bool websocket, crs_manual_conn **ret_conn)
{
    if (app->loops_up == 0)
        return CEREUS_E_STATE;
    crs_manual_conn *conn = crs_zalloc(sizeof *conn);
    if (!conn)
        return CEREUS_E_NOMEM;
    crs_app_loop *l = &app->loops[loop % app->loops_up];
    conn->loop = l->loop;
    crs_loop *was = crs_loop_enter(l->loop);
    crs_loop_update_now(l->loop);
    cereus_status st =
        crs_pipe_open(l->dispatch.transport, websocket ? CRS_FRAMING_WEBSOCKET : CRS_FRAMING_STREAM, &conn->pipe);
    crs_loop_enter(was);
    if (st)
        crs_free(conn);
    else
        *ret_conn = conn;
    return st;
}

static void hang_up(crs_manual_conn *conn)
{
    crs_loop *was = crs_loop_enter(conn->loop);
    crs_pipe_free(conn->pipe);
    crs_loop_enter(was);
    crs_free(conn);
}

static cereus_status send_bytes(crs_manual_conn *conn, const void *data, size_t len)
{
    crs_loop *was = crs_loop_enter(conn->loop);
    cereus_status st = crs_pipe_send(conn->pipe, data, len);
    crs_loop_enter(was);
    return st;
}

static cereus_slice received(const crs_manual_conn *conn)
{
    return crs_pipe_received(conn->pipe);
}

static void take(crs_manual_conn *conn, size_t len)
{
    crs_loop *was = crs_loop_enter(conn->loop);
    crs_pipe_take(conn->pipe, len);
    crs_loop_enter(was);
}

static bool closed(const crs_manual_conn *conn)
{
    return crs_pipe_closed(conn->pipe);
}

const crs_manual_ops cereus_private_manual = {
    .version = CEREUS_VERSION,
    .use = use,
    .turn = turn,
    .next_ms = next_ms,
    .on_loop = on_loop,
    .guard = guard,
    .wants_end = wants_end,
    .open = open_conn,
    .hang_up = hang_up,
    .send = send_bytes,
    .received = received,
    .take = take,
    .closed = closed,
};
