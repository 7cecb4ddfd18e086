/* base/utf8.c: one character at a time, with a fast lane for ASCII. The first byte of a character decides all: how many
 * follow, and the range of the second, which is where overlong forms, surrogates and the end of Unicode show. */
#include "base/utf8.h"

/** What may follow the byte @p c that is no ASCII; false: no character begins with it. */
static bool lead(uint8_t c, crs_utf8_stream *ret_rest)
{
    if (c < 0xc2 || c > 0xf4)
        return false;
    ret_rest->need = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    ret_rest->lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80; /* overlong forms */
    ret_rest->hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf; /* surrogates, past U+10FFFF */
    return true;
}

size_t crs_utf8_char(cereus_slice s)
{
    if (s.len == 0)
        return 0;
    if (s.data[0] < 0x80)
        return 1;
    crs_utf8_stream rest;
    if (!lead(s.data[0], &rest) || s.len - 1 < rest.need)
        return 0;
    if (s.data[1] < rest.lo || s.data[1] > rest.hi)
        return 0;
    for (size_t i = 2; i <= rest.need; i++) {
        if ((s.data[i] & 0xc0) != 0x80)
            return 0;
    }
    return (size_t)rest.need + 1;
}

size_t crs_utf8_put(uint8_t out[4], uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

/** The four hex digits at @p at; -1: fewer are left, or others. */
static int32_t hex4(const uint8_t *at, const uint8_t *end)
{
    if (end - at < 4)
        return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = crs_hex_digit(at[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

size_t crs_utf8_escaped(const uint8_t *at, const uint8_t *end, uint32_t *ret_c)
{
    int32_t c = hex4(at, end);
    if (c < 0)
        return 0;
    *ret_c = (uint32_t)c;
    if (c < 0xd800 || c > 0xdfff)
        return 4;
    *ret_c = 0xfffd;
    if (c > 0xdbff || end - at < 10 || at[4] != '\\' || at[5] != 'u')
        return 4;
    int32_t low = hex4(at + 6, end);
    if (low < 0xdc00 || low > 0xdfff)
        return 4;
    *ret_c = 0x10000 + ((uint32_t)(c - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
    return 10;
}

/** What is left of @p s behind its whole, well-formed characters. */
static cereus_slice skip_chars(cereus_slice s)
{
    while (s.len) {
        if (s.len >= 8) {
            uint64_t w;
            memcpy(&w, s.data, 8);
            if (!(w & 0x8080808080808080u)) {
                s.data += 8;
                s.len -= 8;
                continue;
            }
        }
        size_t n = crs_utf8_char(s);
        if (n == 0)
            break;
        s.data += n;
        s.len -= n;
    }
    return s;
}

/** Is all of @p s ASCII? Most texts are. */
static bool is_ascii(cereus_slice s)
{
    uint64_t all = 0, w;
    uint32_t half;
    const uint8_t *p = s.data, *end = s.data + s.len;
    if (s.len < 8) {
        if (s.len < 4) {
            while (p < end)
                all |= *p++;
            return !(all & 0x80);
        }
        memcpy(&half, p, 4);
        all = half;
        memcpy(&half, end - 4, 4); /* overlaps */
        return !((all | half) & 0x80808080u);
    }
    for (; end - p > 8; p += 8) {
        memcpy(&w, p, 8);
        all |= w;
    }
    memcpy(&w, end - 8, 8);
    return !((all | w) & 0x8080808080808080u);
}

bool crs_utf8_valid(cereus_slice s)
{
    return s.len == 0 || is_ascii(s) || skip_chars(s).len == 0;
}

bool crs_utf8_stream_feed(crs_utf8_stream *st, cereus_slice part)
{
    while (part.len) {
        if (st->need == 0) {
            part = skip_chars(part);
            if (part.len == 0)
                return true;
            if (!lead(part.data[0], st)) /* no ASCII, or it would have been skipped */
                return false;
        } else {
            if (part.data[0] < st->lo || part.data[0] > st->hi)
                return false;
            *st = (crs_utf8_stream){.need = (uint8_t)(st->need - 1), .lo = 0x80, .hi = 0xbf};
        }
        part.data++;
        part.len--;
    }
    return true;
}

bool crs_utf8_stream_at_end(const crs_utf8_stream *st)
{
    return st->need == 0;
}
