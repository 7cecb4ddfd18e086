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

bool crs_utf8_valid(cereus_slice s)
{
    return skip_chars(s).len == 0;
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
