/* cereus/timer.h: functions of the game that are called when it is time. A call is a task on the home of a service, so it
 * may use that service's state without a lock, and may wait. Timers may be made before the start, or while the app runs
 * from any thread; calls begin when the modules have started and end when the stop begins.
 *
 * One timer never overlaps itself: when a call is still running at the time of the next one, that one is left out and
 * counted (timer_overruns). A busy server calls late, never twice at once for what it missed, and keeps the rhythm: the
 * n-th call is due n intervals after the first interval began. Times are whole milliseconds. A function that fails is
 * logged and called again next time.
 *
 * A timer is named by a number that is never used again: what is said to a timer that has ended does nothing
 * (CEREUS_E_GONE). There are at most `cereus.timers.max` at once.
 */
#ifndef CEREUS_TIMER_H
#define CEREUS_TIMER_H

#include <cereus/app.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint64_t cereus_timer_id; /* 0: none */

/** Anything but CEREUS_OK is logged (cereus_fail() gives the reason) and counted, and the timer goes on.
 * Thread: fiber, on the timer's home. May yield. */
typedef cereus_status cereus_timer_fn(cereus_ctx *ctx, void *user);
/** Is it time? @p unix_ms is the time of day. Thread: the loop of the timer's home; must not yield. */
typedef bool cereus_timer_check_fn(int64_t unix_ms, void *user);

#define CEREUS_TIMER_FOREVER (-1)

/*
 * All of them:
 * @param service  of cereus_app_register(), whose home the calls run on ("" or NULL: the first loop; also for services whose home is the
 *                 session's or a key's)
 * @param ret_id   may be NULL; set on CEREUS_OK
 * @return CEREUS_OK; CEREUS_E_INVALID: no function, an interval of 0, a count that makes no sense, a cron expression
 *         that is wrong (@p err names the field); CEREUS_E_NOT_FOUND: no such service; CEREUS_E_FULL:
 *         `cereus.timers.max`; CEREUS_E_STATE: the app stops or has stopped; CEREUS_E_NOMEM
 * Ownership: borrows @p user until the last call has ended. Thread: any.
 */

/** Call @p fn every @p interval_ms; the first time in @p interval_ms from now (before the start: from the start on). */
CEREUS_API cereus_status cereus_timer_every(cereus_app *app, const char *service, uint64_t interval_ms,
                                            cereus_timer_fn *fn, void *user, cereus_timer_id *ret_id,
                                            cereus_error *err);
/** The same @p count times, CEREUS_TIMER_FOREVER without end. */
CEREUS_API cereus_status cereus_timer_count(cereus_app *app, const char *service, uint64_t interval_ms, int64_t count,
                                            cereus_timer_fn *fn, void *user, cereus_timer_id *ret_id,
                                            cereus_error *err);
/** Call @p fn once, in @p delay_ms. */
CEREUS_API cereus_status cereus_timer_after(cereus_app *app, const char *service, uint64_t delay_ms,
                                            cereus_timer_fn *fn, void *user, cereus_timer_id *ret_id,
                                            cereus_error *err);
/** Ask @p check at every tick (`cereus.timers.tick`, 1s), and call @p fn when it says so. */
CEREUS_API cereus_status cereus_timer_when(cereus_app *app, const char *service, cereus_timer_check_fn *check,
                                           cereus_timer_fn *fn, void *user, cereus_timer_id *ret_id, cereus_error *err);
/**
 * Call @p fn by the calendar, in local time: "minute hour day-of-month month day-of-week", as in crontab(5), with lists
 * (`0,30`), ranges (`9-17`), steps (`*` or a range, then `/15`) and names (`jan`, `MON`). Where both day fields are
 * restricted, a day that fits either is taken. `0 0 29 2 *` is called in leap years.
 *
 * Where the clock is put forward or back for daylight saving, an expression with a restricted hour is called once for
 * each time that it names: when the clock jumps over it, right after the jump; when it comes twice, the first time only.
 * With `*` as the hour, every minute that fits is called, as it comes. A clock that somebody sets is looked at once a
 * minute; one set back does not repeat calls.
 */
CEREUS_API cereus_status cereus_timer_cron(cereus_app *app, const char *service, const char *expression,
                                           cereus_timer_fn *fn, void *user, cereus_timer_id *ret_id, cereus_error *err);

/**
 * No call of this timer begins after this has returned; one that runs goes on to its end. Works right after the timer was
 * made, and from inside its own function.
 * @return CEREUS_OK; CEREUS_E_GONE: it has ended already
 * Thread: any.
 */
CEREUS_API cereus_status cereus_timer_stop(cereus_app *app, cereus_timer_id id);

#ifdef __cplusplus
}
#endif
#endif
