/* fiber/fiber.h: straight-line code that waits without holding its loop. A fiber is a pooled stack with a guard page;
 * it belongs to one loop and never changes thread. Its life:
 *
 *    start() ──> running ──wait()──> parked ──wake()──> ready ──end of turn──> running ... function returns ──> pool
 *
 * Only the loop's own stack starts and resumes fibers: one that is started by another fiber begins at the end of the
 * turn. wake() never runs the fiber itself, so it may be called from anywhere on the loop.
 */
#ifndef CRS_FIBER_FIBER_H
#define CRS_FIBER_FIBER_H

#include "base/arena.h"
#include "loop/loop.h"

typedef struct crs_fiber crs_fiber;
typedef struct crs_fibers crs_fibers; /* the pool of one loop */

typedef void crs_fiber_fn(crs_fiber *fiber, void *arg);

typedef struct crs_fibers_options {
    size_t max;       /* fibers alive at once, 1.. */
    size_t reserve;   /* so many more for crs_fiber_start_reserved() */
    size_t stack_len; /* bytes a stack, guard page included; rounded up to pages, at least 16 KiB */
    size_t arena_max; /* bytes of request memory a fiber may take */
} crs_fibers_options;

/** The pool of @p loop. Takes no memory for stacks yet. Thread: setup or loop. Ownership: gives. */
cereus_status crs_fibers_new(crs_loop *loop, const crs_fibers_options *opt, crs_fibers **ret_fibers, cereus_error *err);
/** No fiber may be alive. Returns NULL. */
crs_fibers *crs_fibers_free(crs_fibers *fibers);
/** Catch stack overflows on this thread and name the fiber before the process ends: of those watched last. Thread: loop. */
void crs_fibers_catch_overflow(void);
void crs_fibers_watch_overflow(crs_fibers *fibers);
/** Fibers alive. */
size_t crs_fibers_alive(const crs_fibers *fibers);
/** Is there a stack for one more? Then the next start() succeeds. */
bool crs_fibers_available(crs_fibers *fibers);

/**
 * Run @p fn on a fiber; on the loop's own stack it runs at once until it waits or ends, else at the end of the turn.
 * @param name  for the overflow message, the watchdog and the holds; must stay valid while the pool lives
 * @return CEREUS_OK; CEREUS_E_FULL: `max` are alive (or no memory for a stack)
 * Thread: loop.
 */
CEREUS_MUST_USE cereus_status crs_fiber_start(crs_fibers *fibers, const char *name, crs_fiber_fn *fn, void *arg);

/**
 * The same for what fibers of other loops wait for: it may take the reserve as well, so that two loops whose fibers all
 * wait for each other go on. Do not let it wait for a fiber when this fails.
 */
CEREUS_MUST_USE cereus_status crs_fiber_start_reserved(crs_fibers *fibers, const char *name, crs_fiber_fn *fn,
                                                       void *arg);

/** The fiber that runs now on this loop; NULL: the loop's own stack. Thread: loop. */
crs_fiber *crs_fiber_current(const crs_fibers *fibers);
/** The request memory of a fiber; it is reset when the fiber ends. */
crs_arena *crs_fiber_arena(crs_fiber *fiber);
crs_loop *crs_fiber_loop(const crs_fiber *fiber);
crs_fibers *crs_fiber_pool(const crs_fiber *fiber);

/**
 * Park the current fiber until somebody wakes it, its deadline passes or it is cancelled.
 * @param deadline_us  loop time (now_ms); UINT64_MAX: none
 * @return what wake() said; CEREUS_E_TIMEOUT; CEREUS_E_CANCELLED (at once, too, when cancelled before); CEREUS_E_NOMEM:
 *         no memory for the deadline's timer, it did not wait
 * Thread: fiber.
 */
cereus_status crs_fiber_wait(crs_fiber *fiber, uint64_t deadline_us);
/** As wait, but only wake() ends it: for what must not be left behind, like a job that uses the caller's memory. */
cereus_status crs_fiber_wait_uninterrupted(crs_fiber *fiber);
/** Let a parked fiber go on with @p status; no effect when it is not parked. Thread: loop. */
void crs_fiber_wake(crs_fiber *fiber, cereus_status status);
/** Every wait of the fiber ends with CEREUS_E_CANCELLED from now on. Thread: loop. */
void crs_fiber_cancel(crs_fiber *fiber);
/** Has it been? */
bool crs_fiber_cancelled(const crs_fiber *fiber);
/** Cancel all that are alive, and those that start from now on. Thread: loop. */
void crs_fibers_cancel_all(crs_fibers *fibers);
/** Those that start from now on are not cancelled, as before cancel_all(). Thread: loop. */
void crs_fibers_cancel_none(crs_fibers *fibers);
/** What the fiber runs is called @p name from now on. Must stay valid while the pool lives. */
void crs_fiber_set_name(crs_fiber *fiber, const char *name);

/** What a watchdog on another thread may look at: which fiber runs now, if any, and how many were resumed so far. */
typedef struct crs_fibers_activity {
    _Atomic(const char *) name; /* NULL: none runs */
    _Atomic uint64_t resumes;
    _Atomic uint64_t tag;     /* crs_fiber_set_tag() of the one that runs */
    _Atomic uint64_t flagged; /* written by the watchdog: the number of a resume that took too long */
} crs_fibers_activity;

/** A number for the watchdog: whose call this is. */
void crs_fiber_set_tag(crs_fiber *fiber, uint64_t tag);
/** Lives as long as the pool. Thread: any. */
crs_fibers_activity *crs_fibers_watch(crs_fibers *fibers);
/** Has the watchdog flagged what runs now? */
bool crs_fiber_flagged(const crs_fiber *fiber);

/* -- what holds the loop: kept without a look at the clock for every fiber, from the looks that the loop takes anyhow -- */

enum { CRS_HOLDS_MAX = 64, CRS_HOLD_MIN_US = 1000, CRS_HOLD_NAME_CAP = 100 };

/** Fibers of one name that held the loop for CRS_HOLD_MIN_US or longer without a wait. */
typedef struct crs_fiber_hold {
    char name[CRS_HOLD_NAME_CAP]; /* cut */
    uint64_t count;
    uint64_t total_us, max_us;
    uint64_t tag; /* crs_fiber_set_tag() of the longest */
    bool shared;  /* the longest was that of several fibers that ran between two looks; this was the last of them */
} crs_fiber_hold;

/** Up to CRS_HOLDS_MAX of them, those with the longest. Thread: loop. */
const crs_fiber_hold *crs_fibers_holds(const crs_fibers *fibers, size_t *ret_count);
/** The loop is about to sleep: what ran on fibers ends here. To be called by its last hook. Thread: loop. */
void crs_fibers_end_turn(crs_fibers *fibers);
/** Stacks made so far, in use or not, and the bytes of address space that each has. Thread: loop. */
size_t crs_fibers_made(const crs_fibers *fibers, size_t *ret_stack_len);

#endif
