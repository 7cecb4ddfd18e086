/* fiber/await.c: waits that are built from a callback and a wake. */
#include "fiber/await.h"

typedef struct fd_wait {
    uv_poll_t poll; /* outlives the wait until libuv has closed it */
    crs_fiber *fiber;
    int events;
    bool failed;
} fd_wait;

static void on_ready(uv_poll_t *handle, int status, int events)
{
    fd_wait *w = CRS_CONTAINER(handle, fd_wait, poll);
    uv_poll_stop(handle);
    w->events = status < 0 ? UV_READABLE | UV_WRITABLE : events; /* an error is for the next read or write to tell */
    crs_fiber_wake(w->fiber, CEREUS_OK);
}

static void on_closed(uv_handle_t *handle)
{
    crs_free(CRS_CONTAINER(handle, fd_wait, poll));
}

cereus_status crs_await_fd(crs_fiber *fiber, int fd, int events, uint64_t deadline_us, int *ret_events)
{
    crs_loop *loop = crs_fiber_loop(fiber);
    fd_wait *w = crs_zalloc(sizeof *w);
    if (!w)
        return CEREUS_E_NOMEM;
    w->fiber = fiber;
    if (uv_poll_init(&loop->uv, &w->poll, fd) != 0) {
        crs_free(w);
        return CEREUS_E_INVALID;
    }
    cereus_status st = CEREUS_E_INVALID;
    if (uv_poll_start(&w->poll, events, on_ready) == 0)
        st = crs_fiber_wait(fiber, deadline_us);
    if (st == CEREUS_OK && ret_events)
        *ret_events = w->events & (UV_READABLE | UV_WRITABLE);
    uv_close((uv_handle_t *)&w->poll, on_closed);
    return st;
}

typedef struct job_wait {
    crs_job job;
    crs_fiber *fiber;
} job_wait;

static void on_done(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_job *job = CRS_CONTAINER(mail, crs_job, done);
    crs_fiber_wake(CRS_CONTAINER(job, job_wait, job)->fiber, CEREUS_OK);
}

cereus_status crs_await_job(crs_fiber *fiber, crs_workers *workers, void (*work)(void *user), void *user)
{
    job_wait w = {.fiber = fiber};
    w.job = (crs_job){.done = {.run = on_done}, .loop = crs_fiber_loop(fiber), .work = work, .user = user};
    cereus_status st = crs_workers_submit(workers, &w.job);
    if (st) {
        CRS_COUNT(&w.job.loop->counters, offload_full);
        return st;
    }
    return crs_fiber_wait_uninterrupted(fiber); /* the job uses this stack and the caller's memory */
}
