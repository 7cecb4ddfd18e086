/* loop/timer.h: one-shot timers of a loop: a binary heap over a clock of microseconds that somebody else reads, so that
 * tests bring their own time. Starting, moving and stopping are O(log n); a timer that is not running costs nothing.
 */
#ifndef CRS_LOOP_TIMER_H
#define CRS_LOOP_TIMER_H

#include "base/base.h"

typedef struct crs_timer crs_timer;
typedef void crs_timer_fn(crs_timer *timer);

struct crs_timer {
    uint64_t due_us;  /* while running */
    size_t slot;      /* 1 + place in the heap; 0: not running */
    crs_timer_fn *fn; /* set once by init() */
};

typedef struct crs_timers {
    crs_timer **heap;
    size_t count, cap;
} crs_timers;

void crs_timers_init(crs_timers *t);
/** Frees the table; timers that still run are forgotten. */
void crs_timers_fini(crs_timers *t);
/** When the next one is due; UINT64_MAX: none runs. */
uint64_t crs_timers_next_us(const crs_timers *t);
/** Call every timer due at @p now_us or before, earliest first. A timer is stopped before its function is called, which
 * may start it again; no more functions are called than timers ran at the start, so it always returns. */
void crs_timers_run(crs_timers *t, uint64_t now_us);

static inline void crs_timer_init(crs_timer *timer, crs_timer_fn *fn)
{
    *timer = (crs_timer){.fn = fn};
}

static inline bool crs_timer_running(const crs_timer *timer)
{
    return timer->slot != 0;
}

/** Start it, or move it if it runs. @return CEREUS_OK; CEREUS_E_NOMEM: it does not run now */
CEREUS_MUST_USE cereus_status crs_timer_start(crs_timers *t, crs_timer *timer, uint64_t due_us);
/** Stop it; fine when it does not run. */
void crs_timer_stop(crs_timers *t, crs_timer *timer);

#endif
