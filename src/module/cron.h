/* module/cron.h: cron expressions: which minutes of local time they name, and which of those comes next. Knows no timers.
 *
 *     minute hour day-of-month month day-of-week
 *     0-59   0-23 1-31         1-12  0-7 (0 and 7: Sunday); months and days also by their first three letters
 *
 * A field is a list of `*`, a number or a range a-b, each with a step (`*` and ranges: "10-30/5"). Where both day fields are restricted
 * (do not begin with `*`), a day that fits either is taken, as cron has always done.
 *
 * Where the clock is put forward or back (daylight saving): an expression with a restricted hour is called once for each
 * time that it names. A time that is jumped over is called when the clock has jumped; one that comes twice, the first time
 * only. With every hour (`*` in that field, or all 24), the minutes that there are are called, as they come. */
#ifndef CRS_MODULE_CRON_H
#define CRS_MODULE_CRON_H

#include <time.h>

#include "base/base.h"

enum { CRS_CRON_LEN_MAX = 256 };

typedef struct crs_cron {
    uint64_t minutes; /* bit n: minute n */
    uint32_t hours, days, months;
    uint8_t weekdays; /* bit 0: Sunday */
    bool any_day;     /* day-of-month begins with `*` */
    bool any_weekday;
} crs_cron;

/**
 * @return CEREUS_OK; CEREUS_E_TOO_LONG: over CRS_CRON_LEN_MAX bytes; CEREUS_E_INVALID: @p err names the field and what is
 *         wrong with it, or says that there is no such day
 * Allocates nothing. Thread: any.
 */
CEREUS_MUST_USE cereus_status crs_cron_parse(cereus_slice text, crs_cron *ret_cron, cereus_error *err);

/** The first moment after @p after, in Unix seconds, at which @p cron is due in the zone of TZ. @return CEREUS_OK;
 * CEREUS_E_RANGE: none that this machine's time can tell. Thread: any. */
CEREUS_MUST_USE cereus_status crs_cron_next(const crs_cron *cron, int64_t after, int64_t *ret_next);

#endif
