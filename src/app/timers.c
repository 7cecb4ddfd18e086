/* app/timers.c: timers as the game makes them: checks what they are made from. */
#include "app/app_priv.h"

#define INTERVAL_MAX_MS (UINT64_C(100) * 366 * 24 * 3600 * 1000)

static cereus_status add(cereus_app *app, const crs_timer_spec *spec, cereus_timer_id *ret_id, cereus_error *err)
{
    if (!spec->fn)
        return crs_fail(err, CEREUS_E_INVALID, "pitaya/timer: nil timer function");
    return crs_app_timers_add(app->timers, spec, ret_id, err);
}

static cereus_status check_interval(uint64_t interval_ms, cereus_error *err)
{
    if (interval_ms == 0)
        return crs_fail(err, CEREUS_E_INVALID, "non-positive interval for NewTimer");
    if (interval_ms > INTERVAL_MAX_MS)
        return crs_fail(err, CEREUS_E_INVALID, "timer: an interval of more than 100 years");
    return CEREUS_OK;
}

cereus_status cereus_timer_count(cereus_app *app, const char *service, uint64_t interval_ms, int64_t count,
                                 cereus_timer_fn *fn, void *user, cereus_timer_id *ret_id, cereus_error *err)
{
    CEREUS_TRY(check_interval(interval_ms, err));
    if (count < 1 && count != CEREUS_TIMER_FOREVER)
        return crs_fail(err, CEREUS_E_INVALID, "timer: a count must be 1 or more, or CEREUS_TIMER_FOREVER");
    crs_timer_spec spec = {.kind = CRS_TIMER_EVERY,
                           .service = service,
                           .interval_ms = interval_ms,
                           .count = count,
                           .fn = fn,
                           .user = user};
    return add(app, &spec, ret_id, err);
}

cereus_status cereus_timer_every(cereus_app *app, const char *service, uint64_t interval_ms, cereus_timer_fn *fn,
                                 void *user, cereus_timer_id *ret_id, cereus_error *err)
{
    return cereus_timer_count(app, service, interval_ms, CEREUS_TIMER_FOREVER, fn, user, ret_id, err);
}

cereus_status cereus_timer_after(cereus_app *app, const char *service, uint64_t delay_ms, cereus_timer_fn *fn,
                                 void *user, cereus_timer_id *ret_id, cereus_error *err)
{
    return cereus_timer_count(app, service, delay_ms, 1, fn, user, ret_id, err);
}

cereus_status cereus_timer_when(cereus_app *app, const char *service, cereus_timer_check_fn *check, cereus_timer_fn *fn,
                                void *user, cereus_timer_id *ret_id, cereus_error *err)
{
    if (!check)
        return crs_fail(err, CEREUS_E_INVALID, "pitaya/timer: nil condition");
    crs_timer_spec spec = {.kind = CRS_TIMER_WHEN,
                           .service = service,
                           .count = CEREUS_TIMER_FOREVER,
                           .check = check,
                           .fn = fn,
                           .user = user};
    return add(app, &spec, ret_id, err);
}

cereus_status cereus_timer_cron(cereus_app *app, const char *service, const char *expression, cereus_timer_fn *fn,
                                void *user, cereus_timer_id *ret_id, cereus_error *err)
{
    crs_timer_spec spec = {
        .kind = CRS_TIMER_CRON, .service = service, .count = CEREUS_TIMER_FOREVER, .fn = fn, .user = user};
    cereus_status st = crs_cron_parse(cereus_slice_str(expression), &spec.cron, err);
    if (st)
        return crs_fail_in(err, st, "timer \"%.100s\"", expression ? expression : "");
    return add(app, &spec, ret_id, err);
}

cereus_status cereus_timer_stop(cereus_app *app, cereus_timer_id id)
{
    return crs_app_timers_remove(app->timers, id);
}
