/* serialize/float.c: the numbers that games send mostly have few digits and are converted by one exact operation; the
 * rest goes through the C library, which rounds correctly, in its "C" locale whatever the game has set. */
#include "serialize/float.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>

#include "serialize/fields.h"

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* The value of a text that is nothing but a number. */
static double parse(const char *text, bool single)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* a constant of the library, not an allocation */
    double v = single ? (double)strtof_l(text, NULL, c) : strtod_l(text, NULL, c);
    freelocale(c);
    return v;
}

/* Rounding a correctly rounded double to a float gives the nearest float, except when the double lies on the border
 * between two floats (29 bits are dropped) or where floats have fewer bits. */
static bool rounds_twice(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (bits & 0x1fffffff) == 0x10000000 || (v != 0 && fabs(v) < FLT_MIN) || fabs(v) > FLT_MAX;
}

bool crs_decimal_to_float(const crs_decimal *d, bool single, crs_mem *mem, double *ret)
{
    if (d->digits <= 19 && d->mantissa <= (uint64_t)1 << 53 && d->exponent >= -22 && d->exponent <= 22) {
        /* both operands are exact, so the result is rounded once */
        double v =
            d->exponent < 0 ? (double)d->mantissa / powers[-d->exponent] : (double)d->mantissa * powers[d->exponent];
        if (!single || !rounds_twice(v)) {
            if (single)
                v = (float)v;
            *ret = d->negative ? -v : v;
            return true;
        }
    }
    char local[64], *text = d->len < sizeof local ? local : crs_mem_text(mem, d->len);
    if (!text) {
        *ret = NAN;
        return false;
    }
    memcpy(text, d->text, d->len);
    text[d->len] = '\0';
    *ret = parse(text, single);
    return isfinite(*ret);
}

/* Lay out 0.DIGITS * 10^point. */
static size_t layout(char *out, const char *digits, int count, int point, bool plain)
{
    char *p = out;
    if (!plain) {
        *p++ = digits[0];
        if (count > 1) {
            *p++ = '.';
            memcpy(p, digits + 1, (size_t)count - 1);
            p += count - 1;
        }
        int exp = point - 1;
        *p++ = 'e';
        *p++ = exp < 0 ? '-' : '+';
        p += crs_text_u64(p, (uint64_t)abs(exp));
        return (size_t)(p - out);
    }
    if (point <= 0) {
        memcpy(p, "0.000000", 8); /* from 1e-6 on: at most five zeros behind the point */
        p += 2 - point;
        memcpy(p, digits, (size_t)count);
        return (size_t)(p + count - out);
    }
    int whole = CRS_MIN(count, point);
    memcpy(p, digits, (size_t)whole);
    memset(p + whole, '0', (size_t)(point - whole));
    p += point;
    if (count > point) {
        *p++ = '.';
        memcpy(p, digits + point, (size_t)(count - point));
        p += count - point;
    }
    return (size_t)(p - out);
}

/* Does N * 10^exponent read back as v? */
static bool reads_back(uint64_t n, int exponent, double v, bool single)
{
    char text[48];
    size_t len = crs_text_u64(text, n);
    text[len++] = 'e';
    len += crs_text_i64(text + len, exponent);
    text[len] = '\0';
    return parse(text, single) == v;
}

/* The shortest N * 10^exponent for v > 0, by the library: every digit count in turn. */
static void shortest_by_library(double v, bool single, uint64_t *ret_n, int *ret_exponent)
{
    int most = single ? 9 : 17, few = single ? FLT_DIG : DBL_DIG, unused;
    bool boundary = frexp(v, &unused) == 0.5;
    char text[48];
    /* `few` digits survive the way into a normal number and back: if they give v, then no other text as short does */
    for (int count = v < (single ? (double)FLT_MIN : DBL_MIN) ? 1 : few;; count++) {
        snprintf(text, sizeof text, "%.*e", count - 1, v);
        const char *p = text;
        uint64_t n = 0;
        for (; *p != 'e'; p++) /* skips the point, whatever the locale writes for it */
            n = *p >= '0' && *p <= '9' ? n * 10 + (uint64_t)(*p - '0') : n;
        int exponent = atoi(p + 1) - (count - 1);
        bool found = count == most || reads_back(n, exponent, v, single);
        if (!found && boundary) /* see crowded_below */
            found = reads_back(++n, exponent, v, single);
        if (found) {
            *ret_n = n;
            *ret_exponent = exponent;
            return;
        }
    }
}

/* The same by exact integers, for numbers of everyday size; false: outside of that.
 *
 * v = m / 2^s. In units of 10^-k / 2^(s+1), with k such that v has 17 (9) digits before the point, v is w = 2 * m *
 * 10^k and all that reads back as v lies within half of a unit in the last place, 10^k, around it. All of that fits in
 * 128 bits. */
static bool shortest_by_integers(double v, bool single, uint64_t *ret_n, int *ret_exponent)
{
    int bits = single ? 24 : 53, exp2, k = single ? 8 : 16;
    double fraction = frexp(v, &exp2);
    int s = bits - exp2;
    if (s < 0 || v < 1e-6)
        return false;
    for (double p = v; p >= 10 && k > 0; p /= 10)
        k--;
    for (double p = v; p < 1 && k < 22; p *= 10)
        k++;
    uint64_t m = (uint64_t)ldexp(fraction, bits);
    unsigned __int128 half = (unsigned __int128)powers[k], w = half * m * 2;
    /* crowded_below: under a power of two the neighbours are half as far apart as above it */
    bool crowded_below = fraction == 0.5, inclusive = m % 2 == 0;
    unsigned __int128 below = crowded_below ? half / 2 : half;
    if (!inclusive) { /* a border reads back as its even neighbour */
        half--;
        below--;
    }
    int shift = s + 1;
    uint64_t whole = (uint64_t)(w >> shift);
    unsigned __int128 rest = w & (((unsigned __int128)1 << shift) - 1);
    int dropped = 4;
    for (uint64_t step = 10000; step; step /= 10, dropped--) {
        uint64_t n = whole / step;
        unsigned __int128 over = ((unsigned __int128)(whole % step) << shift) + rest;
        unsigned __int128 under = ((unsigned __int128)step << shift) - over;
        bool up = over > under || (over == under && (n % 2 || crowded_below)); /* a tie: as Go breaks it */
        if (!up && over > below && crowded_below)
            up = true;
        if (up ? under <= half : over <= below) {
            *ret_n = n + up;
            *ret_exponent = dropped - k;
            return true;
        }
    }
    return false;
}

static size_t shortest(char *out, double v, bool single, bool plain)
{
    uint64_t n;
    int exponent;
    if (!shortest_by_integers(v, single, &n, &exponent))
        shortest_by_library(v, single, &n, &exponent);
    while (n % 10 == 0) {
        n /= 10;
        exponent++;
    }
    char digits[24];
    int count = (int)crs_text_u64(digits, n);
    return layout(out, digits, count, count + exponent, plain);
}

size_t crs_float_text(char out[CRS_FLOAT_TEXT_MAX], double v, bool single)
{
    char *p = out;
    if (signbit(v)) {
        *p++ = '-';
        v = -v;
    }
    if (v < (single ? 0x1p24 : 0x1p53) &&
        v == (double)(uint64_t)v) /* below these all integers differ in their last digit */
        return (size_t)(p - out) + crs_text_u64(p, (uint64_t)v);
    bool plain = single ? (float)v >= 1e-6f && (float)v < 1e21f : v >= 1e-6 && v < 1e21;
    double millionths = v * 1e6;
    if (plain && millionths < 1e15) {
        /* up to six decimals and up to 15 (6) digits in all: if it reads back it is the only text that short */
        uint64_t u = (uint64_t)rint(millionths), n = u;
        double back = (double)u / 1e6;
        if (single ? (double)(float)back == v : back == v) {
            int point = 0;
            while (n % 10 == 0) {
                n /= 10;
                point++;
            }
            if (!single || n < 1000000) {
                char digits[24];
                int count = (int)crs_text_u64(digits, n);
                return (size_t)(p - out) + layout(p, digits, count, count + point - 6, true);
            }
        }
    }
    return (size_t)(p - out) + shortest(p, v, single, plain);
}
