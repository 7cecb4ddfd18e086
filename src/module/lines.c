/* module/lines.c: a piece is filled byte by byte and handed over when it is full or the line ends. */
#include "module/lines.h"

void crs_lines_init(crs_lines *l, crs_line_fn *fn, void *user)
{
    *l = (crs_lines){.fn = fn, .user = user, .part = 1};
}

/** Hand over the first @p len bytes of the piece. */
static void hand_over(crs_lines *l, size_t len)
{
    char kept[4] = {0};
    size_t rest = l->len - len; /* 3 at most: the beginning of a character */
    memcpy(kept, l->piece + len, rest);
    l->piece[len] = '\0';
    l->fn(l->piece, l->part++, l->user);
    memcpy(l->piece, kept, rest);
    l->len = rest;
}

/** Where to cut a full piece so that no character of UTF-8 is torn. */
static size_t whole_characters(const crs_lines *l)
{
    for (size_t back = 1; back <= 3; back++) {
        uint8_t c = (uint8_t)l->piece[l->len - back];
        if (c >= 0xc0)
            return l->len - back; /* begins here; it may be whole, which the next piece does not mind */
        if (c < 0x80)
            break;
    }
    return l->len;
}

static void end_line(crs_lines *l)
{
    if (l->len > 0 && l->piece[l->len - 1] == '\r')
        l->len--;
    if (l->len > 0 || l->part == 1)
        hand_over(l, l->len);
    l->len = l->line_len = 0;
    l->part = 1;
}

static void put(crs_lines *l, char c)
{
    if (l->len == CRS_LINE_PIECE_MAX)
        hand_over(l, whole_characters(l));
    l->piece[l->len++] = c;
}

static void feed(crs_lines *l, uint8_t c)
{
    if (c == '\n') {
        end_line(l);
        return;
    }
    if (l->line_len == CRS_LINE_MAX)
        l->cut++;
    if (l->line_len++ >= CRS_LINE_MAX)
        return;
    if (c == '\0') {
        put(l, '\\');
        c = '0';
    }
    put(l, (char)c);
}

void crs_lines_feed(crs_lines *l, cereus_slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        feed(l, bytes.data[i]);
}

void crs_lines_end(crs_lines *l)
{
    if (l->line_len > 0)
        end_line(l);
}
