/* module/life.c: functions of the game on a fiber, with their end told to a thread. */
#include "module/life.h"

#include <unistd.h>

#include "dispatch/context.h"

/** One of the pieces of mail that hold @p call has been dealt with. The last thing that touches it. */
static void let_go(crs_life_call *call)
{
    int fd = call->wake_fd;
    uint64_t one = 1;
    if (atomic_fetch_sub_explicit(&call->pending, 1, memory_order_release) == 1 && write(fd, &one, sizeof one) < 0) {
        /* the counter is full: who waits is awake */
    }
}

/** The reason as one line, whatever the game wrote. */
static void keep_error(crs_life_call *call, const cereus_ctx *ctx, cereus_status st)
{
    crs_error_view e = crs_ctx_error_view(ctx, st);
    crs_fail(&call->err, st, "%.*s", (int)e.msg.len, (const char *)e.msg.data);
    for (char *p = call->err.msg; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
    }
}

static void run(crs_fiber *fiber, void *arg)
{
    crs_life_call *call = arg;
    call->fiber = fiber;
    cereus_ctx ctx;
    crs_ctx_init(&ctx, call->d, fiber, call->name);
    cereus_status st = CEREUS_OK;
    if (call->fn)
        st = call->fn(&ctx, call->user);
    else if (call->count_fn)
        call->count = call->count_fn(&ctx, call->user);
    else
        call->void_fn(&ctx, call->user);
    if (st)
        keep_error(call, &ctx, st);
    crs_ctx_fini(&ctx);
    call->fiber = NULL;
    let_go(call);
}

static void begin(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_life_call *call = CRS_CONTAINER(mail, crs_life_call, begin);
    if (call->cancelled) {
        crs_fail(&call->err, CEREUS_E_CANCELLED, "%s", cereus_status_text(CEREUS_E_CANCELLED));
        let_go(call);
        return;
    }
    cereus_status st = crs_fiber_start(call->d->fibers, call->name, run, call);
    CRS_ASSERT(st == CEREUS_OK);
}

static void arrive(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_life_call *call = CRS_CONTAINER(mail, crs_life_call, begin);
    call->begin.run = begin;
    crs_dispatch_when_fiber(call->d, &call->begin);
}

static void cancel(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_life_call *call = CRS_CONTAINER(mail, crs_life_call, cancel);
    call->cancelled = true;
    if (call->fiber)
        crs_fiber_cancel(call->fiber);
    let_go(call);
}

void crs_life_post(crs_life_call *call)
{
    call->err = (cereus_error){0};
    call->begin.run = arrive;
    atomic_store_explicit(&call->pending, 1, memory_order_relaxed);
    crs_loop_post_reserved(call->d->loop, &call->begin);
}

void crs_life_cancel(crs_life_call *call)
{
    call->cancel.run = cancel;
    /* should it have ended just now, the mail holds it again until it has been read */
    atomic_fetch_add_explicit(&call->pending, 1, memory_order_relaxed);
    crs_loop_post_reserved(call->d->loop, &call->cancel);
}

bool crs_life_ended(const crs_life_call *call)
{
    return atomic_load_explicit(&call->pending, memory_order_acquire) == 0;
}
