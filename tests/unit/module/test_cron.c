/* tests/unit/module/test_cron.c: what expressions mean, and which moment comes next, also where the clock is changed. */
#include "test.h"

#include "module/cron.h"

static cereus_status parse(const char *text, crs_cron *cron, cereus_error *err)
{
    size_t len = strlen(text);
    uint8_t *copy = test_copy(text, len);
    cereus_status st = crs_cron_parse(cereus_slice_of(copy, len), cron, err);
    free(copy);
    return st;
}

static crs_cron good(const char *text)
{
    crs_cron cron;
    cereus_error err = {0};
    if (parse(text, &cron, &err))
        fail_msg("\"%s\": %s", text, err.msg);
    return cron;
}

static void fields_become_sets(void **state)
{
    crs_cron c = good("0,30 9-17 1-31/10 jan,JUL-sep mon-FRI");
    assert_true(c.minutes == (UINT64_C(1) | UINT64_C(1) << 30));
    assert_int_equal(c.hours, 0x3fe00);
    assert_int_equal(c.days, 1u << 1 | 1u << 11 | 1u << 21 | 1u << 31);
    assert_int_equal(c.months, 1u << 1 | 7u << 7);
    assert_int_equal(c.weekdays, 0x3e);
    assert_false(c.any_day || c.any_weekday);
    c = good(" \t*/15\t* */2 *   */7 ");
    assert_true(c.minutes == (UINT64_C(1) | UINT64_C(1) << 15 | UINT64_C(1) << 30 | UINT64_C(1) << 45));
    assert_int_equal(c.hours, 0xffffff);
    assert_int_equal(c.days & 0xf, 0xa); /* 1, 3 */
    assert_int_equal(c.weekdays, 1);     /* 0 and 7 */
    assert_true(c.any_day && c.any_weekday);
    assert_int_equal(good("0 0 * * 7").weekdays, 1);
    assert_int_equal(good("0 0 * * 5-7").weekdays, 0x61);
    assert_int_equal(good("0 0 * * fri-sun").weekdays, 0x61);
    assert_int_equal(good("0 0 * * sun-tue").weekdays, 7);
    assert_true(good("59 0 1 1 1").minutes == UINT64_C(1) << 59);
    assert_true(good("0-59/60 0 1 1 1").minutes == 1);
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "minute: is missing"},
        {"* * * *", "day of week: is missing"},
        {"* * * *   ", "day of week: is missing"},
        {"* * * * * *", "more than five fields"},
        {"60 * * * *", "minute: must be 0 to 59, not 60"},
        {"* 24 * * *", "hour: must be 0 to 23, not 24"},
        {"* * 0 * *", "day of month: must be 1 to 31, not 0"},
        {"* * * 13 *", "month: must be 1 to 12, not 13"},
        {"* * * * 8", "day of week: must be 0 to 7, not 8"},
        {"5-3 * * * *", "minute: the range goes backwards"},
        {"* * * * sat-mon", "day of week: the range goes backwards"},
        {"*/0 * * * *", "minute: the step must be 1 or more"},
        {"5/10 * * * *", "minute: a step wants a range or * before it"},
        {"*/ * * * *", "minute: a number or * is wanted"},
        {"1, * * * *", "minute: a number or * is wanted"},
        {"1,,2 * * * *", "minute: a number or * is wanted"},
        {"-1 * * * *", "minute: a number or * is wanted"},
        {"1- * * * *", "minute: a number or * is wanted"},
        {"* * * foo *", "month: a number, a name or * is wanted"},
        {"* * * january *", "month: has something behind it"},
        {"*5 * * * *", "minute: has something behind it"},
        {"99999999999999999999 * * * *", "minute: the number is too large"},
        {"@daily", "minute: a number or * is wanted"},
        {"0 0 30 2 *", "none of its months has such a day"},
        {"0 0 31 4,jun,9,11 *", "none of its months has such a day"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        crs_cron cron;
        cereus_error err = {0};
        assert_int_equal(parse(rows[i].text, &cron, &err), CEREUS_E_INVALID);
        if (!strstr(err.msg, rows[i].why))
            fail_msg("\"%s\": %s", rows[i].text, err.msg);
    }
    char text[CRS_CRON_LEN_MAX + 2];
    memset(text, ' ', sizeof text);
    memcpy(text, "* * * * *", 9);
    text[CRS_CRON_LEN_MAX + 1] = '\0';
    crs_cron cron;
    assert_int_equal(parse(text, &cron, NULL), CEREUS_E_TOO_LONG);
    text[CRS_CRON_LEN_MAX] = '\0';
    assert_int_equal(parse(text, &cron, NULL), CEREUS_OK);
    assert_int_equal(crs_cron_parse((cereus_slice){0}, &cron, NULL), CEREUS_E_INVALID);
    good("0 0 30 2 mon"); /* a Monday will do */
    good("0 0 29 2 *");
}

/* ---- the next one ---- */

static void zone(const char *tz)
{
    setenv("TZ", tz, 1);
    tzset();
}

/** "2026-03-29 01:59" of the zone; with `!` behind it, the second of the two that there are. */
static int64_t moment(const char *text)
{
    struct tm tm = {.tm_isdst = -1};
    char *end = strptime(text, "%Y-%m-%d %H:%M", &tm);
    assert_non_null(end);
    if (*end)
        tm.tm_isdst = 0;
    else if (tm.tm_isdst < 0) {
        struct tm summer = tm;
        summer.tm_isdst = 1;
        time_t t = mktime(&summer);
        struct tm back;
        localtime_r(&t, &back);
        if (back.tm_isdst == 1 && back.tm_hour == tm.tm_hour && back.tm_min == tm.tm_min)
            return t;
    }
    return mktime(&tm);
}

/** The moments that follow @p from, until @p wanted is used up: "2026-01-01 00:00, ...". */
static void expect(const char *expression, const char *from, const char *wanted)
{
    crs_cron cron = good(expression);
    int64_t at = moment(from);
    char copy[1000];
    snprintf(copy, sizeof copy, "%s", wanted);
    char *rest = copy;
    for (char *text; (text = strsep(&rest, ","));) {
        int64_t next;
        text += *text == ' ';
        assert_int_equal(crs_cron_next(&cron, at, &next), CEREUS_OK);
        if (next != moment(text)) {
            char got[40];
            struct tm tm;
            time_t t = (time_t)next;
            localtime_r(&t, &tm);
            strftime(got, sizeof got, "%Y-%m-%d %H:%M:%S %z", &tm);
            fail_msg("\"%s\" in %s: after %s comes %s, not %s", expression, getenv("TZ"), from, got, text);
        }
        at = next;
        from = text;
    }
}

static void the_next_moment_is_found(void **state)
{
    zone("UTC0");
    expect("* * * * *", "2026-01-01 00:00", "2026-01-01 00:01, 2026-01-01 00:02");
    expect("*/20 22-23 * * *", "2026-12-31 22:30",
           "2026-12-31 22:40, 2026-12-31 23:00, 2026-12-31 23:20, 2026-12-31 23:40, 2027-01-01 22:00");
    expect("0 0 1 * *", "2026-01-15 10:00", "2026-02-01 00:00, 2026-03-01 00:00");
    expect("0 0 31 * *", "2026-01-31 00:00", "2026-03-31 00:00, 2026-05-31 00:00, 2026-07-31 00:00");
    expect("30 6 * * mon", "2026-01-01 00:00", "2026-01-05 06:30, 2026-01-12 06:30");
    expect("0 12 13 * fri", "2026-01-01 00:00", /* either fits */
           "2026-01-02 12:00, 2026-01-09 12:00, 2026-01-13 12:00, 2026-01-16 12:00");
    expect("0 12 */2 * fri", "2026-01-01 00:00", "2026-01-09 12:00, 2026-01-23 12:00"); /* both must */
    expect("0 0 29 2 *", "2026-01-01 00:00", "2028-02-29 00:00, 2032-02-29 00:00");
    expect("0 0 29 2 *", "2096-03-01 00:00", "2104-02-29 00:00");   /* 2100 is no leap year */
    expect("0 0 29 2 */7", "2088-03-01 00:00", "2128-02-29 00:00"); /* and a Sunday: found by fuzz_cron */
    expect("0 0 29 2 mon", "2026-03-01 00:00", "2027-02-01 00:00"); /* any Monday of February */
    crs_cron c = good("* * * * *");
    int64_t next;
    assert_int_equal(crs_cron_next(&c, 90, &next), CEREUS_OK); /* seconds are cut off */
    assert_int_equal(next, 120);
    assert_int_equal(crs_cron_next(&c, 119, &next), CEREUS_OK);
    assert_int_equal(next, 120);
    assert_int_equal(crs_cron_next(&c, 120, &next), CEREUS_OK);
    assert_int_equal(next, 180);
    assert_int_equal(crs_cron_next(&c, INT64_MAX / 2, &next), CEREUS_E_RANGE);
}

static void a_time_that_is_jumped_over_is_called_after_the_jump(void **state)
{
    zone("CET-1CEST,M3.5.0,M10.5.0/3"); /* 29 March 2026: 02:00 is 03:00 */
    expect("30 2 * * *", "2026-03-27 12:00", "2026-03-28 02:30, 2026-03-29 03:00, 2026-03-30 02:30");
    expect("0 2 * * sun", "2026-03-27 12:00", "2026-03-29 03:00, 2026-04-05 02:00");
    expect("0,30 2 29 3 *", "2026-01-01 00:00", "2026-03-29 03:00, 2027-03-29 02:00");
    expect("0 2,3 * * *", "2026-03-28 12:00", "2026-03-29 03:00, 2026-03-30 02:00");
    expect("0 4 * * *", "2026-03-28 12:00", "2026-03-29 04:00, 2026-03-30 04:00");
    expect("30 1 * * *", "2026-03-28 12:00", "2026-03-29 01:30, 2026-03-30 01:30");
    expect("30 2 28 3 *", "2026-03-28 12:00", "2027-03-28 03:00"); /* the day of the jump in 2027 */
    expect("30 2 30 3 *", "2026-03-28 12:00", "2026-03-30 02:30");
    expect("30 * * * *", "2026-03-29 00:45", "2026-03-29 01:30, 2026-03-29 03:30"); /* every hour that there is */
    zone("BRT3BRST,M10.3.0/0,M2.3.0/0"); /* 18 October 2026: 00:00 is 01:00 */
    expect("0 0 * * *", "2026-10-16 12:00", "2026-10-17 00:00, 2026-10-18 01:00, 2026-10-19 00:00");
    expect("0 0 18 10 *", "2026-01-01 12:00", "2026-10-18 01:00, 2027-10-18 00:00");
    zone("<+1030>-10:30<+11>-11,M10.1.0/2,M4.1.0/2"); /* 4 October 2026: 02:00 is 02:30 */
    expect("15 2 * * *", "2026-10-03 01:00", "2026-10-03 02:15, 2026-10-04 02:30, 2026-10-05 02:15");
    expect("45 2 * * *", "2026-10-03 12:00", "2026-10-04 02:45, 2026-10-05 02:45");
}

static void a_time_that_comes_twice_is_called_once(void **state)
{
    zone("CET-1CEST,M3.5.0,M10.5.0/3"); /* 25 October 2026: 03:00 is 02:00 */
    expect("30 2 * * *", "2026-10-24 12:00", "2026-10-25 02:30, 2026-10-26 02:30");
    expect("0,20,40 2 * * *", "2026-10-24 12:00",
           "2026-10-25 02:00, 2026-10-25 02:20, 2026-10-25 02:40, 2026-10-26 02:00");
    expect("0 3 * * *", "2026-10-24 12:00", "2026-10-25 03:00, 2026-10-26 03:00");
    expect("30 * * * *", "2026-10-25 01:45",
           "2026-10-25 02:30, 2026-10-25 02:30!, 2026-10-25 03:30"); /* every hour that there is */
}

static void every_minute_that_fits_is_found(void **state)
{
    static const char *const expressions[] = {"*/7 * * * *",   "3-50/11 */5 * * *", "0 0 * * *",
                                              "1 1 2-6 1,3 *", "59 23 28-31 * 1",   "*/30 12 */3 2 0-4/2"};
    zone("UTC0");
    for (size_t i = 0; i < CEREUS_COUNT(expressions); i++) {
        crs_cron c = good(expressions[i]);
        int64_t start = moment("2026-01-01 00:00"), next;
        assert_int_equal(crs_cron_next(&c, start - 1, &next), CEREUS_OK);
        for (int64_t at = start; at < start + 100 * 86400; at += 60) { /* one after the other, the slow way */
            time_t t = (time_t)at;
            struct tm tm;
            gmtime_r(&t, &tm);
            bool day = c.days >> tm.tm_mday & 1, weekday = c.weekdays >> tm.tm_wday & 1;
            bool fits = (c.minutes >> tm.tm_min & 1) && (c.hours >> tm.tm_hour & 1) &&
                        (c.months >> (tm.tm_mon + 1) & 1) &&
                        (c.any_day || c.any_weekday ? day && weekday : day || weekday);
            assert_int_equal(fits, at == next);
            if (fits)
                assert_int_equal(crs_cron_next(&c, at, &next), CEREUS_OK);
        }
    }
}

TEST_MAIN(cmocka_unit_test(fields_become_sets), cmocka_unit_test(what_is_wrong_is_named),
          cmocka_unit_test(the_next_moment_is_found),
          cmocka_unit_test(a_time_that_is_jumped_over_is_called_after_the_jump),
          cmocka_unit_test(a_time_that_comes_twice_is_called_once), cmocka_unit_test(every_minute_that_fits_is_found))
