/* config/value.c: numbers with and without units. Everything is checked for overflow: files are as hostile as peers. */
#include "config/value.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

const char *crs_parse_bool(const char *text, bool *ret_value)
{
    static const char *const yes[] = {"true", "t", "1"}, *const no[] = {"false", "f", "0"};
    for (size_t i = 0; i < CEREUS_COUNT(yes); i++) {
        bool is_yes = strcasecmp(text, yes[i]) == 0;
        if (is_yes || strcasecmp(text, no[i]) == 0) {
            *ret_value = is_yes;
            return NULL;
        }
    }
    return "is not true or false";
}

/* The digits at *@p at, moved past them. False: more than an int64_t holds. */
static bool read_digits(const char **at, int64_t *ret_value)
{
    int64_t value = 0;
    for (; isdigit((unsigned char)**at); (*at)++) {
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, **at - '0', &value))
            return false;
    }
    *ret_value = value;
    return true;
}

/* Behind the sign, if there is one. */
static const char *skip_sign(const char *text, bool *ret_negative)
{
    *ret_negative = *text == '-';
    return text + (*text == '-' || *text == '+');
}

const char *crs_parse_int(const char *text, int64_t *ret_value)
{
    bool negative;
    int64_t value;
    const char *at = skip_sign(text, &negative);
    if (!isdigit((unsigned char)*at))
        return "is not a whole number";
    if (!read_digits(&at, &value))
        return "is too large a number";
    if (*at)
        return "is not a whole number";
    *ret_value = negative ? -value : value;
    return NULL;
}

static const struct {
    const char *name;
    int64_t ns;
} time_units[] = {
    {"ns", 1},
    {"us", 1000},
    {"\xc2\xb5s", 1000}, /* the micro sign */
    {"\xce\xbcs", 1000}, /* the Greek letter */
    {"ms", 1000000},
    {"s", 1000000000},
    {"m", INT64_C(60) * 1000000000},
    {"h", INT64_C(3600) * 1000000000},
};

static int64_t time_unit(const char *name, size_t len)
{
    for (size_t i = 0; i < CEREUS_COUNT(time_units); i++) {
        if (strlen(time_units[i].name) == len && memcmp(time_units[i].name, name, len) == 0)
            return time_units[i].ns;
    }
    return 0;
}

const char *crs_parse_duration_ms(const char *text, int64_t *ret_ms)
{
    static const char wrong[] = "is not a duration, like 300ms, 5s or 1h30m";
    static const char too_long[] = "is too long a time";
    bool negative;
    int64_t total_ns = 0;
    const char *at = skip_sign(text, &negative);
    if (strcmp(at, "0") == 0) {
        *ret_ms = 0;
        return NULL;
    }
    do {
        int64_t whole;
        const char *start = at;
        if (!read_digits(&at, &whole))
            return too_long;
        bool any = at > start;
        int64_t part = 0, scale = 1; /* part / scale is what stands behind the point */
        if (*at == '.') {
            for (at++; isdigit((unsigned char)*at); at++) {
                any = true;
                if (scale < INT64_C(1000000000000000000)) { /* digits further behind are far below a nanosecond */
                    part = part * 10 + (*at - '0');
                    scale *= 10;
                }
            }
        }
        if (!any)
            return wrong;
        size_t unit_len = strcspn(at, ".0123456789");
        if (unit_len == 0)
            return "needs a unit, like 5s";
        int64_t unit_ns = time_unit(at, unit_len), ns;
        if (unit_ns == 0)
            return wrong;
        at += unit_len;
        int64_t part_ns = (int64_t)((__int128)part * unit_ns / scale);
        if (__builtin_mul_overflow(whole, unit_ns, &ns) || __builtin_add_overflow(ns, part_ns, &ns) ||
            __builtin_add_overflow(total_ns, ns, &total_ns))
            return too_long;
    } while (*at);

    *ret_ms = negative ? -(total_ns / 1000000) : total_ns / 1000000 + (total_ns % 1000000 > 0);
    return NULL;
}

const char *crs_parse_size(const char *text, int64_t *ret_bytes)
{
    static const struct {
        const char *suffix;
        int64_t bytes;
    } units[] = {{"", 1}, {"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
    static const char wrong[] = "is not a size, like 65536 or 64KiB";
    static const char too_large[] = "is too large a size";
    int64_t value;
    const char *at = text;
    if (!isdigit((unsigned char)*at))
        return wrong;
    if (!read_digits(&at, &value))
        return too_large;
    size_t i = 0;
    while (i < CEREUS_COUNT(units) && strcasecmp(at, units[i].suffix) != 0)
        i++;
    if (i == CEREUS_COUNT(units))
        return wrong;
    if (__builtin_mul_overflow(value, units[i].bytes, &value))
        return too_large;
    *ret_bytes = value;
    return NULL;
}

/* In the largest unit that divides it; the units go down to 1. Nothing needs no unit. */
static const char *format_unit(int64_t value, const char *const *names, const int64_t *units, char *out)
{
    size_t i = 0;
    while (value % units[i] != 0)
        i++;
    snprintf(out, CRS_VALUE_TEXT_CAP, "%" PRId64 "%s", value / units[i], value ? names[i] : "");
    return out;
}

const char *crs_format_duration_ms(int64_t ms, char out[CRS_VALUE_TEXT_CAP])
{
    static const char *const names[] = {"h", "m", "s", "ms"};
    static const int64_t units[] = {3600000, 60000, 1000, 1};
    return format_unit(ms, names, units, out);
}

const char *crs_format_go_duration_ms(int64_t ms, char out[CRS_VALUE_TEXT_CAP])
{
    int64_t minutes = ms / 60000, hours = minutes / 60;
    int at = 0, seconds = (int)(ms % 60000 / 1000), part = (int)(ms % 1000), digits = 3;
    if (ms < 1000) {
        snprintf(out, CRS_VALUE_TEXT_CAP, ms ? "%dms" : "%ds", part);
        return out;
    }
    if (hours)
        at += snprintf(out, CRS_VALUE_TEXT_CAP, "%" PRId64 "h", hours);
    if (minutes)
        at += snprintf(out + at, CRS_VALUE_TEXT_CAP - (size_t)at, "%dm", (int)(minutes % 60));
    for (; part && part % 10 == 0; part /= 10)
        digits--;
    if (part)
        snprintf(out + at, CRS_VALUE_TEXT_CAP - (size_t)at, "%d.%0*ds", seconds, digits, part);
    else
        snprintf(out + at, CRS_VALUE_TEXT_CAP - (size_t)at, "%ds", seconds);
    return out;
}

const char *crs_format_size(int64_t bytes, char out[CRS_VALUE_TEXT_CAP])
{
    static const char *const names[] = {"GiB", "MiB", "KiB", ""};
    static const int64_t units[] = {1 << 30, 1 << 20, 1 << 10, 1};
    return format_unit(bytes, names, units, out);
}

size_t crs_edit_distance(const char *a, const char *b)
{
    enum { MOST = 127 };
    size_t a_len = strnlen(a, MOST), b_len = strnlen(b, MOST);
    uint8_t row[MOST + 1]; /* row[j]: from the part of a so far to the first j letters of b */
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (uint8_t)j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = (uint8_t)i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t other = CRS_MIN(row[j], row[j - 1]) + 1u;
            row[j] = (uint8_t)CRS_MIN(change, other);
        }
    }
    return row[b_len];
}
