/* tools/cereus/text.c: see text.h. */
#include "text.h"

#include <errno.h>
#include <unistd.h>

#include "base/utf8.h"

bool crs_text_is_plain(cereus_slice s)
{
    while (s.len) {
        size_t n = crs_utf8_char(s);
        if (n == 0)
            return false;
        uint8_t c = s.data[0];
        if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
            return false;
        if (c == 0xc2 && s.data[1] < 0xa0) /* U+0080 to U+009F: control characters too */
            return false;
        s = cereus_slice_of(s.data + n, s.len - n);
    }
    return true;
}

void crs_text_show(FILE *out, cereus_slice s, size_t max, bool one_line)
{
    size_t len = max && s.len > max ? max : s.len;
    bool plain = crs_text_is_plain(s);
    if (plain) {
        while (len < s.len && (s.data[len] & 0xc0) == 0x80) /* not inside a character */
            len--;
        for (size_t i = 0; i < len; i++) {
            if (one_line && (s.data[i] == '\n' || s.data[i] == '\t'))
                fputs(s.data[i] == '\n' ? "\\n" : "\\t", out);
            else
                putc(s.data[i], out);
        }
    } else {
        fputs("hex:", out);
        for (size_t i = 0; i < len; i++)
            fprintf(out, "%02x", s.data[i]);
    }
    if (len < s.len)
        fprintf(out, "... (%zu bytes)", s.len);
}

cereus_status crs_text_unhex(cereus_slice text, crs_bytes *out, size_t *ret_at)
{
    for (size_t at = 0; at < text.len;) {
        uint8_t c = text.data[at], next = at + 1 < text.len ? text.data[at + 1] : 0;
        if (strchr(" \t\r\n:,", c) && c) {
            at++;
            continue;
        }
        if (c == '0' && (next == 'x' || next == 'X')) {
            at += 2;
            continue;
        }
        int high = crs_hex_digit(c), low = crs_hex_digit(next);
        if (high < 0 || low < 0) {
            *ret_at = high < 0 ? at : at + 1;
            return CEREUS_E_MALFORMED;
        }
        CEREUS_TRY(crs_bytes_append_byte(out, (uint8_t)(high << 4 | low)));
        at += 2;
    }
    return CEREUS_OK;
}

cereus_status crs_text_read_all(int fd, crs_bytes *out)
{
    for (;;) {
        uint8_t part[16384];
        ssize_t n = read(fd, part, sizeof part);
        if (n == 0)
            return CEREUS_OK;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return CEREUS_E_IO;
        CEREUS_TRY(crs_bytes_append(out, part, (size_t)n));
    }
}
