/* module/cron.c: parses field by field into bits, and finds the next moment by going forward in steps as long as the first
 * field that does not fit allows: months, days, hours, minutes. Steps of hours and minutes are real time, so what the
 * clock does at the change of seasons is looked at when it is met. */
#include "module/cron.h"

#define ALL_HOURS ((UINT32_C(1) << 24) - 1)

enum { YEARS_MAX = 41, MINUTE = 60, HOUR = 3600 }; /* a 29 February that is a Sunday may be 40 years away (2100) */

/* ---- parsing ---- */

typedef struct field {
    const char *name;
    unsigned min, max;
    const char *names; /* three letters each, the first is `min`'s */
} field;

static const field fields[] = {
    {"minute", 0, 59, NULL},
    {"hour", 0, 23, NULL},
    {"day of month", 1, 31, NULL},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    {"day of week", 0, 7, "sunmontuewedthufrisat"},
};

typedef struct reader {
    const uint8_t *at, *end;
    const field *f;
    cereus_error *err;
} reader;

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static bool take(reader *r, uint8_t c)
{
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static cereus_status wrong(reader *r, const char *why)
{
    return crs_fail(r->err, CEREUS_E_INVALID, "%s: %s", r->f->name, why);
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

static bool take_name(reader *r, unsigned *ret_value)
{
    const char *names = r->f->names;
    if (!names || r->end - r->at < 3)
        return false;
    for (unsigned i = 0; names[3 * i]; i++) {
        if (lower(r->at[0]) == (uint8_t)names[3 * i] && lower(r->at[1]) == (uint8_t)names[3 * i + 1] &&
            lower(r->at[2]) == (uint8_t)names[3 * i + 2]) {
            r->at += 3;
            *ret_value = r->f->min + i;
            return true;
        }
    }
    return false;
}

static cereus_status take_number(reader *r, unsigned *ret_value)
{
    unsigned value = 0;
    const uint8_t *start = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') {
        if (value > 9999)
            return wrong(r, "the number is too large");
        value = 10 * value + (unsigned)(*r->at++ - '0');
    }
    if (r->at == start)
        return wrong(r, r->f->names ? "a number, a name or * is wanted" : "a number or * is wanted");
    *ret_value = value;
    return CEREUS_OK;
}

static cereus_status take_value(reader *r, unsigned *ret_value)
{
    if (take_name(r, ret_value))
        return CEREUS_OK;
    CEREUS_TRY(take_number(r, ret_value));
    if (*ret_value < r->f->min || *ret_value > r->f->max)
        return crs_fail(r->err, CEREUS_E_INVALID, "%s: must be %u to %u, not %u", r->f->name, r->f->min, r->f->max,
                        *ret_value);
    return CEREUS_OK;
}

/** One element of the list: `*`, a, a-b, each but the single one with /step. */
static cereus_status take_range(reader *r, uint64_t *bits)
{
    unsigned first = r->f->min, last = r->f->max, step = 1;
    bool single = false;
    if (!take(r, '*')) {
        CEREUS_TRY(take_value(r, &first));
        last = first;
        if (!(single = !take(r, '-'))) {
            CEREUS_TRY(take_value(r, &last));
            if (r->f->max == 7 && last == 0)
                last = 7; /* fri-sun */
            if (last < first)
                return wrong(r, "the range goes backwards");
        }
    }
    if (take(r, '/')) {
        if (single)
            return wrong(r, "a step wants a range or * before it");
        CEREUS_TRY(take_number(r, &step));
        if (step == 0)
            return wrong(r, "the step must be 1 or more");
    }
    for (unsigned v = first; v <= last; v += step)
        *bits |= UINT64_C(1) << v;
    return CEREUS_OK;
}

static cereus_status take_field(reader *r, uint64_t *ret_bits, bool *ret_any)
{
    *ret_bits = 0;
    while (r->at < r->end && is_blank(*r->at))
        r->at++;
    if (r->at == r->end)
        return wrong(r, "is missing: minute, hour, day of month, month and day of week are wanted");
    *ret_any = *r->at == '*';
    do {
        CEREUS_TRY(take_range(r, ret_bits));
    } while (take(r, ','));
    if (r->at < r->end && !is_blank(*r->at))
        return wrong(r, "has something behind it that does not belong there");
    return CEREUS_OK;
}

/** Is there a month that has one of the days? */
static bool has_a_day(const crs_cron *cron)
{
    static const uint8_t longest[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    for (unsigned m = 1; m <= 12; m++) {
        uint32_t of_month = (uint32_t)((UINT64_C(2) << longest[m - 1]) - 2);
        if ((cron->months >> m & 1) && (cron->days & of_month))
            return true;
    }
    return false;
}

cereus_status crs_cron_parse(cereus_slice text, crs_cron *ret_cron, cereus_error *err)
{
    if (text.len > CRS_CRON_LEN_MAX)
        return crs_fail(err, CEREUS_E_TOO_LONG, "longer than %d bytes", CRS_CRON_LEN_MAX);
    reader r = {.at = text.data, .end = text.data + text.len, .err = err};
    uint64_t bits[CEREUS_COUNT(fields)];
    bool any[CEREUS_COUNT(fields)];
    for (size_t i = 0; i < CEREUS_COUNT(fields); i++) {
        r.f = &fields[i];
        CEREUS_TRY(take_field(&r, &bits[i], &any[i]));
    }
    while (r.at < r.end && is_blank(*r.at))
        r.at++;
    if (r.at < r.end)
        return crs_fail(err, CEREUS_E_INVALID, "more than five fields: there are no seconds, no years and no commands");
    crs_cron cron = {.minutes = bits[0],
                     .hours = (uint32_t)bits[1],
                     .days = (uint32_t)bits[2],
                     .months = (uint32_t)bits[3],
                     .weekdays = (uint8_t)((bits[4] | bits[4] >> 7) & 0x7f),
                     .any_day = any[2],
                     .any_weekday = any[4]};
    if ((cron.any_day || cron.any_weekday) && !has_a_day(&cron))
        return crs_fail(err, CEREUS_E_INVALID, "none of its months has such a day");
    *ret_cron = cron;
    return CEREUS_OK;
}

/* ---- the next moment ---- */

static bool local(int64_t at, struct tm *ret_tm)
{
    time_t t = (time_t)at;
    return localtime_r(&t, ret_tm) != NULL;
}

static bool day_fits(const crs_cron *cron, const struct tm *tm)
{
    bool day = cron->days >> tm->tm_mday & 1, weekday = cron->weekdays >> tm->tm_wday & 1;
    if (!(cron->months >> (tm->tm_mon + 1) & 1))
        return false;
    return cron->any_day || cron->any_weekday ? day && weekday : day || weekday;
}

static bool minute_fits(const crs_cron *cron, const struct tm *tm)
{
    return (cron->hours >> tm->tm_hour & 1) && (cron->minutes >> tm->tm_min & 1);
}

/** Midnight of the day that @p tm becomes by mktime(), which is after @p at; an hour on where the clock plays tricks. */
static int64_t midnight_after(int64_t at, struct tm tm)
{
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    tm.tm_isdst = -1;
    int64_t t = (int64_t)mktime(&tm);
    return t > at ? t : at - at % HOUR + HOUR;
}

/** Was the same local time there before, because the clock has been put back since? */
static bool is_repeated(int64_t at, const struct tm *tm)
{
    struct tm before, first;
    if (!local(at - 3 * HOUR, &before) || before.tm_gmtoff <= tm->tm_gmtoff)
        return false;
    int64_t earlier = at - (before.tm_gmtoff - tm->tm_gmtoff);
    return local(earlier, &first) && first.tm_gmtoff == before.tm_gmtoff;
}

/** Does the clock jump forward at @p at, over a moment that is due? */
static bool jumps_over_one(const crs_cron *cron, int64_t at, const struct tm *tm)
{
    struct tm before;
    if (!local(at - MINUTE, &before) || before.tm_gmtoff >= tm->tm_gmtoff)
        return false;
    long gap = tm->tm_gmtoff - before.tm_gmtoff;
    for (long s = 0; s < gap; s += MINUTE) { /* the minutes that are not there, told in UTC to have no more jumps */
        time_t missing = (time_t)(at + before.tm_gmtoff + s);
        struct tm m;
        if (gmtime_r(&missing, &m) && day_fits(cron, &m) && minute_fits(cron, &m))
            return true;
    }
    return false;
}

/** The first moment in (@p from, @p to] at which the clock has been put forward; 0: none. Whole minutes. */
static int64_t jump_between(int64_t from, int64_t to)
{
    struct tm a, b, m;
    if (!local(from, &a) || !local(to, &b) || a.tm_gmtoff >= b.tm_gmtoff)
        return 0;
    while (to - from > MINUTE) {
        int64_t middle = from + (to - from) / (2 * MINUTE) * MINUTE;
        if (!local(middle, &m))
            return 0;
        if (m.tm_gmtoff == a.tm_gmtoff)
            from = middle;
        else
            to = middle;
    }
    return to;
}

cereus_status crs_cron_next(const crs_cron *cron, int64_t after, int64_t *ret_next)
{
    bool restricted = (cron->hours & ALL_HOURS) != ALL_HOURS;
    struct tm tm;
    int64_t at = after - (after % MINUTE + MINUTE) % MINUTE + MINUTE;
    if (!local(at, &tm))
        return CEREUS_E_RANGE;
    at += (MINUTE - tm.tm_sec) % MINUTE; /* zones of long ago are not whole minutes off */
    if (!local(at, &tm))
        return CEREUS_E_RANGE;
    int last_year = tm.tm_year + YEARS_MAX;
    while (tm.tm_year <= last_year) {
        int64_t was = at;
        if (restricted && jumps_over_one(cron, at, &tm)) {
            *ret_next = at;
            return CEREUS_OK;
        }
        if (!(cron->months >> (tm.tm_mon + 1) & 1)) {
            tm.tm_mon++;
            tm.tm_mday = 1;
            at = midnight_after(at, tm);
        } else if (!day_fits(cron, &tm)) {
            tm.tm_mday++;
            at = midnight_after(at, tm);
        } else if (!(cron->hours >> tm.tm_hour & 1)) {
            at += (60 - tm.tm_min) * MINUTE;
        } else if (!(cron->minutes >> tm.tm_min & 1) || (restricted && is_repeated(at, &tm))) {
            at += MINUTE;
        } else {
            *ret_next = at;
            return CEREUS_OK;
        }
        int64_t jump = restricted && at - was <= 25 * HOUR ? jump_between(was, at) : 0;
        if (jump)
            at = jump;
        if (!local(at, &tm))
            return CEREUS_E_RANGE;
    }
    return CEREUS_E_RANGE;
}
