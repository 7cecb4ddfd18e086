/* loop/loop.h: one thread that serves many connections. A loop owns its timers, its counters, its mailbox and
 * everything that lives on it; other threads reach it only by posting to the mailbox.
 *
 * A turn of the loop: timers, sockets that are ready, mail; then the turn's end, in this order: hooks run (fibers made
 * ready, output flushed) until there is nothing left to do, then it sleeps. What a turn produced is written once.
 */
#ifndef CRS_LOOP_LOOP_H
#define CRS_LOOP_LOOP_H

#include <stdatomic.h>
#include <uv.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/list.h"
#include "base/log.h"
#include "loop/timer.h"

typedef struct crs_loop crs_loop;

/** Something for a loop to do; embedded in what it is about. Owned by the loop from post until run is called. */
typedef struct crs_mail crs_mail;
typedef void crs_mail_fn(crs_loop *loop, crs_mail *mail);
struct crs_mail {
    crs_mail *next;
    crs_mail_fn *run; /* Thread: the loop. Called exactly once */
};

/** Something to do once, at the end of this turn and after the hooks; embedded in what it is about. */
typedef struct crs_deferred crs_deferred;
typedef void crs_deferred_fn(crs_deferred *deferred);
struct crs_deferred {
    crs_list link; /* on the loop's `deferred` until it is called */
    crs_deferred_fn *fn;
};

/** Runs at the end of every turn. Returns whether it wants another turn at once (work left). */
typedef bool crs_turn_fn(void *user);

enum { CRS_TURN_HOOKS_MAX = 8, CRS_READ_BUFFER_LEN = 64 * 1024 };

typedef struct crs_loop_options {
    uint32_t index;          /* 0.. of the app's loops */
    size_t mailbox_capacity; /* items that may wait, 1.. */
    crs_log *log;            /* borrowed */
    crs_log_clock_fn
        *clock; /* NULL: the system's; a test brings its own, moves it at will, and calls crs_loop_turn() */
    void *clock_user;
    uint64_t seed; /* of crs_loop_random(), for tests; 0: one that nobody knows */
} crs_loop_options;

struct crs_loop {
    uv_loop_t uv;
    crs_timers timers;       /* loop */
    crs_counters counters;   /* written by the loop, read by any */
    crs_log *log;            /* set once by new() */
    uint32_t index;          /* set once by new() */
    crs_log_clock_fn *clock; /* set once by new(); NULL: libuv's */
    void *clock_user;        /* set once by new() */
    uint64_t now_us;         /* loop: monotonic, as of the event being handled */
    uint64_t now_ms;         /* the same, whole milliseconds */
    uint64_t unix_base_ms;   /* set once: now_ms + this is Unix time */
    uint64_t random;         /* loop */
    uint8_t *read_buf;       /* loop: CRS_READ_BUFFER_LEN bytes that whoever reads a socket uses */

    uv_async_t wake;
    uv_poll_t timer;
    int timer_fd;          /* set once by new(): microseconds, where uv_timer has whole milliseconds */
    uint64_t timer_due_us; /* loop: what `timer_fd` is set to; UINT64_MAX: to nothing */
    bool timer_rang;       /* loop: it did, and has not been set since */
    uv_prepare_t prepare;
    uv_idle_t idle; /* active while a hook has work left */
    bool again;     /* loop: a hook got work after it ran */
    struct {
        crs_turn_fn *fn;
        void *user;
    } hooks[CRS_TURN_HOOKS_MAX]; /* in the order added */
    size_t hook_count;
    crs_list deferred; /* loop: once, after the hooks */

    _Atomic(crs_mail *) mail;     /* newest first; any thread pushes, the loop takes all */
    atomic_size_t mail_count;     /* bounded items waiting */
    size_t mail_capacity;         /* set once by new() */
    atomic_uint_fast64_t refused; /* bounded items refused, folded into the counters by the loop */

    bool stopping; /* loop */
};

/** Make a loop; it does not run yet. @return CEREUS_OK; CEREUS_E_NOMEM; CEREUS_E_IO. Ownership: gives. Thread: any. */
cereus_status crs_loop_new(const crs_loop_options *opt, crs_loop **ret_loop, cereus_error *err);
/** End a loop whose thread has been joined. Mail that still waits is run first, and what that posts. Returns NULL. */
crs_loop *crs_loop_free(crs_loop *loop);
/** Serve until crs_loop_stop(); the calling thread becomes the loop's. */
void crs_loop_run(crs_loop *loop);
/** One turn without sleeping, for tests: the loop sees the time that its clock shows now, runs what is due and ready, and
 * its hooks. Mail is taken after the hooks. Thread: loop. */
void crs_loop_turn(crs_loop *loop);
/** Make run() return after this turn. Thread: loop. */
void crs_loop_stop(crs_loop *loop);

/** The calling thread speaks for @p loop from now on (NULL: for none); run() does that by itself, set-up code and tests
 * call it. Returns the loop it spoke for before. */
crs_loop *crs_loop_enter(crs_loop *loop);

extern _Thread_local crs_loop *crs_loop_current; /* whom this thread speaks for; NULL: no loop */

/** Is this the loop's thread? */
static inline bool crs_loop_is_current(const crs_loop *loop)
{
    return crs_loop_current == loop;
}

#define crs_loop_assert_current(loop) CRS_ASSERT(crs_loop_is_current(loop))

/** The time on the loop's clock, looked at now. Thread: any. */
static inline uint64_t crs_loop_clock_us(const crs_loop *loop)
{
    return CRS_UNLIKELY(loop->clock) ? (uint64_t)loop->clock(CLOCK_MONOTONIC, loop->clock_user) * 1000
                                     : uv_hrtime() / 1000;
}

/** Nanoseconds since 1970, looked at now: unlike crs_loop_unix_ms() it hears of a clock that was set. Thread: any. */
static inline uint64_t crs_loop_unix_now_ns(const crs_loop *loop)
{
    return CRS_UNLIKELY(loop->clock) ? (uint64_t)loop->clock(CLOCK_REALTIME, loop->clock_user) * 1000000
                                     : crs_clock_ns(CLOCK_REALTIME);
}

static inline int64_t crs_loop_unix_now_ms(const crs_loop *loop)
{
    return (int64_t)(crs_loop_unix_now_ns(loop) / 1000000);
}

/** A number below @p bound (1..), good enough to spread load and waits; no secret. Thread: loop, or setup. */
uint64_t crs_loop_random(crs_loop *loop, uint64_t bound);

/** Look at the clock. Thread: loop. */
static inline void crs_loop_update_now(crs_loop *loop)
{
    loop->now_us = crs_loop_clock_us(loop);
    loop->now_ms = loop->now_us / 1000;
}

/** Milliseconds since 1970 as of this turn. Thread: loop. */
static inline uint64_t crs_loop_unix_ms(const crs_loop *loop)
{
    return loop->now_ms + loop->unix_base_ms;
}

/** Add a hook to the end of the turn. At most CRS_TURN_HOOKS_MAX. Thread: before run(). */
void crs_loop_add_hook(crs_loop *loop, crs_turn_fn *fn, void *user);
/** Take it away again, also from within it. Thread: loop, or after run(). */
void crs_loop_remove_hook(crs_loop *loop, crs_turn_fn *fn, void *user);
/** A hook has work: where a later hook made it, the loop takes another turn before it sleeps. Thread: loop. */
static inline void crs_loop_again(crs_loop *loop)
{
    loop->again = true;
}

static inline void crs_deferred_init(crs_deferred *deferred, crs_deferred_fn *fn)
{
    crs_list_init(&deferred->link);
    deferred->fn = fn;
}
/** Call it once at the end of this turn, after the hooks: for output that a turn gathers. Fine when it waits already; called
 * from a deferred function, it is for the next turn, which then comes at once. Thread: loop. */
void crs_loop_defer(crs_loop *loop, crs_deferred *deferred);
/** Take it back; fine when it does not wait. Thread: loop. */
static inline void crs_deferred_cancel(crs_deferred *deferred)
{
    crs_list_remove(&deferred->link);
}

/**
 * Give the loop something to do, in the order of posting (per posting thread).
 * @return CEREUS_OK: @p mail belongs to the loop until its run is called; CEREUS_E_FULL: `mailbox_capacity` items wait
 *         already, @p mail is still the caller's
 * Thread: any.
 */
CEREUS_MUST_USE cereus_status crs_loop_post(crs_loop *loop, crs_mail *mail);
/** The same without the bound, for what somebody already waits for: an answer to an accepted request, an end. The
 * number of such items is bounded by what was accepted. Thread: any. */
void crs_loop_post_reserved(crs_loop *loop, crs_mail *mail);

/** Start or move a timer on this loop, @p delay_ms from now. Thread: loop. */
CEREUS_MUST_USE cereus_status crs_loop_timer_start(crs_loop *loop, crs_timer *timer, uint64_t delay_ms);
/** The same at loop time @p due_ms. */
CEREUS_MUST_USE cereus_status crs_loop_timer_start_at(crs_loop *loop, crs_timer *timer, uint64_t due_ms);
void crs_loop_timer_stop(crs_loop *loop, crs_timer *timer);

#endif
