/* base/utf8.c: one character at a time, with a fast lane for ASCII. */
#include "base/utf8.h"

size_t crs_utf8_char(cereus_slice s)
{
    if (s.len == 0)
        return 0;
    uint8_t c = s.data[0];
    if (c < 0x80)
        return 1;
    if (c < 0xc2)
        return 0;
    size_t n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (n == 0 || s.len < n)
        return 0;
    uint8_t lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80; /* overlong forms */
    uint8_t hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf; /* surrogates, past U+10FFFF */
    if (s.data[1] < lo || s.data[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((s.data[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

bool crs_utf8_valid(cereus_slice s)
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
            return false;
        s.data += n;
        s.len -= n;
    }
    return true;
}
