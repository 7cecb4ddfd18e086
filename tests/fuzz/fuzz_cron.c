/* tests/fuzz/fuzz_cron.c: cron expressions. What is taken names a next moment, which fits and is the first that does. */
#include "fuzz.h"

#include "module/cron.h"

static void check_next(const crs_cron *cron, int64_t after)
{
    int64_t next, again;
    struct tm tm;
    if (crs_cron_next(cron, after, &next) != CEREUS_OK) {
        FUZZ_CHECK(after > INT32_MAX); /* within the years that a calendar has, there is always one */
        return;
    }
    FUZZ_CHECK(next > after && next % 60 == 0);
    time_t t = (time_t)next;
    FUZZ_CHECK(localtime_r(&t, &tm));
    FUZZ_CHECK(next - after > 3600 ? crs_cron_next(cron, next - 60, &again) == CEREUS_OK && again == next : true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    uint8_t *in = fuzz_copy(data, size);
    crs_cron cron;
    cereus_error err = {0};
    cereus_status st = crs_cron_parse(cereus_slice_of(in, size), &cron, &err);
    if (st) {
        FUZZ_CHECK(err.status == st && err.msg[0] && !strchr(err.msg, '\n'));
    } else {
        FUZZ_CHECK(cron.minutes && cron.hours && cron.days && cron.months && cron.weekdays);
        static const int64_t moments[] = {0, 1774742400 /* before a gap */, 1792886400 /* before a repeat */, 951782399,
                                          INT32_MAX};
        for (size_t i = 0; i < CEREUS_COUNT(moments); i++)
            check_next(&cron, moments[i]);
    }
    free(in);
    return 0;
}
