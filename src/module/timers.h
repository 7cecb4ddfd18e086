/* module/timers.h: the timers of an app, by id. One table under one leaf lock says which exist; what is due when is each
 * home loop's business. */
#ifndef CRS_MODULE_TIMERS_H
#define CRS_MODULE_TIMERS_H

#include <cereus/timer.h>

#include "dispatch/core.h"
#include "module/cron.h"

typedef struct crs_app_timers crs_app_timers;

typedef enum crs_timer_kind { CRS_TIMER_EVERY, CRS_TIMER_WHEN, CRS_TIMER_CRON } crs_timer_kind;

/** What a timer is made from. Copied. */
typedef struct crs_timer_spec {
    crs_timer_kind kind;
    const char *service;
    uint64_t interval_ms; /* EVERY */
    int64_t count;        /* EVERY: calls; CEREUS_TIMER_FOREVER */
    cereus_timer_check_fn *check;
    crs_cron cron;
    cereus_timer_fn *fn;
    void *user;
} crs_timer_spec;

/** NULL: out of memory. Ownership: gives. Thread: setup. */
crs_app_timers *crs_app_timers_new(crs_core *core);
/** No loop may run any more. Returns NULL. */
crs_app_timers *crs_app_timers_free(crs_app_timers *t);
/** Let them run, at most @p max of them, asked every @p tick_ms. The loops run. Thread: the one that starts the app. */
void crs_app_timers_start(crs_app_timers *t, uint64_t tick_ms);
/** How many there may be; those that are there already stay. Thread: any. */
void crs_app_timers_set_max(crs_app_timers *t, size_t max);
/** No call begins after this, and no timer can be made. Thread: any. */
void crs_app_timers_stop(crs_app_timers *t);

/** As cereus_timer_every() and the others. */
cereus_status crs_app_timers_add(crs_app_timers *t, const crs_timer_spec *spec, cereus_timer_id *ret_id,
                                 cereus_error *err);
/** As cereus_timer_stop(). */
cereus_status crs_app_timers_remove(crs_app_timers *t, cereus_timer_id id);
/** How many there are. Thread: any. */
size_t crs_app_timers_count(crs_app_timers *t);

#endif
