/* wire/json_scan.c: the scanner is a loop over values with one bit of memory per open container. */
#include "wire/json_scan.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "base/utf8.h"

bool crs_json_skip_space(crs_json_scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
    return s->at < s->end;
}

bool crs_json_skip_byte(crs_json_scan *s, uint8_t byte)
{
    if (!crs_json_skip_space(s) || *s->at != byte)
        return false;
    s->at++;
    return true;
}

/* -- strings -- */

bool crs_json_skip_string(crs_json_scan *s, cereus_slice *ret_raw)
{
    if (!crs_json_skip_byte(s, '"'))
        return false;
    const uint8_t *start = s->at;
    while (s->at < s->end) {
        uint8_t c = *s->at++;
        if (c == '"') {
            *ret_raw = cereus_slice_of(start, (size_t)(s->at - 1 - start));
            return true;
        }
        if (c < 0x20)
            return false;
        if (c != '\\')
            continue;
        if (s->at == s->end)
            return false;
        c = *s->at++;
        if (c == 'u') {
            uint32_t escaped;
            if (crs_utf8_escaped(s->at, s->end, &escaped) == 0)
                return false;
            s->at += 4;
        } else if (c == '\0' || !strchr("\"\\/bfnrt", c)) {
            return false;
        }
    }
    return false;
}

size_t crs_json_unescape(cereus_slice raw, uint8_t *out)
{
    const uint8_t *at = raw.data, *end = raw.data + raw.len;
    size_t len = 0;
    while (at < end) {
        uint8_t c = *at++;
        if (c != '\\') {
            out[len++] = c;
            continue;
        }
        c = *at++; /* skip_string() has seen that it is there */
        switch (c) {
        case 'b':
            out[len++] = '\b';
            break;
        case 'f':
            out[len++] = '\f';
            break;
        case 'n':
            out[len++] = '\n';
            break;
        case 'r':
            out[len++] = '\r';
            break;
        case 't':
            out[len++] = '\t';
            break;
        case 'u': {
            uint32_t escaped = 0xfffd;
            at += crs_utf8_escaped(at, end, &escaped);
            len += crs_utf8_put(out + len, escaped);
            break;
        }
        default:
            out[len++] = c;
        }
    }
    return len;
}

/* -- values -- */

static bool skip_digits(crs_json_scan *s)
{
    const uint8_t *start = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > start;
}

static bool skip_number(crs_json_scan *s)
{
    if (*s->at == '-')
        s->at++;
    if (s->at < s->end && *s->at == '0')
        s->at++;
    else if (!skip_digits(s))
        return false;
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!skip_digits(s))
            return false;
    }
    if (s->at < s->end && (*s->at | 0x20) == 'e') {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        return skip_digits(s);
    }
    return true;
}

static bool skip_word(crs_json_scan *s, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
        return false;
    s->at += len;
    return true;
}

static bool skip_scalar(crs_json_scan *s, bool doubles_only)
{
    const uint8_t *start = s->at;
    cereus_slice raw;
    double value;
    switch (*s->at) {
    case '"':
        return crs_json_skip_string(s, &raw);
    case 't':
        return skip_word(s, "true");
    case 'f':
        return skip_word(s, "false");
    case 'n':
        return skip_word(s, "null");
    default:
        return skip_number(s) &&
               (!doubles_only || crs_json_double(cereus_slice_of(start, (size_t)(s->at - start)), &value));
    }
}

static bool skip_name(crs_json_scan *s)
{
    cereus_slice raw;
    return crs_json_skip_string(s, &raw) && crs_json_skip_byte(s, ':');
}

bool crs_json_skip_value(crs_json_scan *s, unsigned depth_max, bool doubles_only)
{
    CRS_ASSERT(depth_max <= CRS_JSON_DEPTH_MAX);
    uint64_t objects = 0; /* bit 0: the innermost open container is an object; bit 1: the one around it ... */
    unsigned depth = 0;
    for (;;) {
        if (!crs_json_skip_space(s))
            return false;
        if (*s->at == '{' || *s->at == '[') {
            if (depth == depth_max)
                return false;
            bool object = *s->at++ == '{';
            objects = objects << 1 | object;
            depth++;
            if (!crs_json_skip_space(s))
                return false;
            if (*s->at != (object ? '}' : ']')) {
                if (object && !skip_name(s))
                    return false;
                continue;
            }
        } else if (!skip_scalar(s, doubles_only)) {
            return false;
        }

        for (;;) { /* behind a value, or before the bracket that ends an empty container */
            if (depth == 0)
                return true;
            bool object = objects & 1;
            if (crs_json_skip_byte(s, ',')) {
                if (object && !skip_name(s))
                    return false;
                break;
            }
            if (!crs_json_skip_byte(s, object ? '}' : ']'))
                return false;
            objects >>= 1;
            depth--;
        }
    }
}

/* -- numbers -- */

enum {
    DIGITS_MAX = 780,         /* 767 digits decide how a double is rounded; of the rest only "not all zero" counts */
    EXPONENT_CLAMP = 1 << 28, /* far past what any number of digits in memory could make up for */
};

static int32_t parse_exponent(const uint8_t *at, const uint8_t *end)
{
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    int32_t e = 0;
    for (; at < end; at++)
        e = CRS_MIN(e * 10 + (*at - '0'), (int32_t)EXPONENT_CLAMP / 10);
    return negative ? -e : e;
}

bool crs_json_double(cereus_slice text, double *ret_value)
{
    const uint8_t *at = text.data, *end = text.data + text.len;
    char digits[DIGITS_MAX +
                32]; /* an integer and an exponent: strtod() then never meets a decimal point of some locale */
    size_t len = 0;
    int64_t exponent = 0;
    bool point = false, cut = false;
    bool negative = *at == '-';
    if (negative)
        at++;
    for (; at < end && (*at | 0x20) != 'e'; at++) {
        if (*at == '.') {
            point = true;
            continue;
        }
        exponent -= point;
        if (len == 0 && *at == '0')
            continue;
        if (len < DIGITS_MAX) {
            digits[len++] = (char)*at;
        } else {
            exponent++;
            cut = cut || *at != '0';
        }
    }
    if (len == 0) {
        *ret_value = negative ? -0.0 : 0.0;
        return true;
    }
    if (at < end)
        exponent += parse_exponent(at + 1, end);
    if (cut) {
        digits[len++] = '1';
        exponent--;
    }
    snprintf(digits + len, sizeof digits - len, "e%lld", (long long)exponent);
    double value = strtod(digits, NULL);
    if (isinf(value))
        return false;
    *ret_value = negative ? -value : value;
    return true;
}

static bool reads_back(const char *digits, int len, int exponent, double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.*se%d", len, digits, exponent - len + 1);
    return strtod(text, NULL) == value;
}

/* One more in the last place. False: all nines, which would need another digit. */
static bool round_up(char *digits, int len)
{
    while (len > 0 && digits[len - 1] == '9')
        digits[--len] = '0';
    if (len > 0)
        digits[len - 1]++;
    return len > 0;
}

/* The fewest decimal digits that read back as @p value > 0: value = 0.DIGITS * 10^point. @return how many. */
static int shortest_digits(double value, char digits[DBL_DECIMAL_DIG + 1], int *ret_point)
{
    /* any 15 digits survive the way through a double, so fewer are 15 with zeros at the end; denormals hold less */
    for (int count = value < DBL_MIN ? 1 : DBL_DIG;; count++) {
        char text[40];
        snprintf(text, sizeof text, "%.*e", count - 1, value);
        int len = 0;
        const char *p = text;
        for (; *p != 'e'; p++) {
            if (*p >= '0' && *p <= '9') /* all but the decimal point, whatever it looks like in this locale */
                digits[len++] = *p;
        }
        int exponent = atoi(p + 1);
        /* Above a power of two doubles lie twice as far apart as below, so the next decimal up may do where the nearest
         * one, which is below, does not */
        if (count < DBL_DECIMAL_DIG && !reads_back(digits, len, exponent, value) &&
            !(round_up(digits, len) && reads_back(digits, len, exponent, value)))
            continue;
        while (len > 1 && digits[len - 1] == '0')
            len--;
        *ret_point = exponent + 1;
        return len;
    }
}

size_t crs_json_print_double(double value, char out[CRS_JSON_DOUBLE_LEN_MAX])
{
    size_t len = 0;
    if (signbit(value))
        out[len++] = '-';
    value = fabs(value);
    if (value == 0) {
        out[len++] = '0';
        return len;
    }
    char digits[DBL_DECIMAL_DIG + 1];
    int point;
    int count = shortest_digits(value, digits, &point);
    if (value < 1e-6 || value >= 1e21) {
        out[len++] = digits[0];
        if (count > 1)
            out[len++] = '.';
        for (int i = 1; i < count; i++)
            out[len++] = digits[i];
        return len + (size_t)snprintf(out + len, CRS_JSON_DOUBLE_LEN_MAX - len, "e%+d", point - 1);
    }
    if (point <= 0) {
        out[len++] = '0';
        out[len++] = '.';
        for (int i = point; i < 0; i++)
            out[len++] = '0';
    }
    for (int i = 0; i < CRS_MAX(count, point); i++) {
        if (i == point && point > 0)
            out[len++] = '.';
        out[len++] = i < count ? digits[i] : '0';
    }
    return len;
}
