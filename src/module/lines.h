/* module/lines.h: cuts what a program writes into lines for the log. A line longer than a piece comes in several, beyond
 * CRS_LINE_MAX bytes the rest of it is left out. Knows no log. */
#ifndef CRS_MODULE_LINES_H
#define CRS_MODULE_LINES_H

#include "base/base.h"

enum { CRS_LINE_MAX = 64 * 1024, CRS_LINE_PIECE_MAX = 768 };

/** A line or a piece of one: text with a NUL behind it and none inside (they have become "\0"). */
typedef void crs_line_fn(const char *text, unsigned part, void *user);

typedef struct crs_lines {
    crs_line_fn *fn;
    void *user;
    char piece[CRS_LINE_PIECE_MAX + 2];
    size_t len;      /* of the piece */
    size_t line_len; /* of the line so far */
    unsigned part;   /* 1: the whole line, or its first piece */
    uint64_t cut;    /* lines that were too long */
} crs_lines;

void crs_lines_init(crs_lines *l, crs_line_fn *fn, void *user);
void crs_lines_feed(crs_lines *l, cereus_slice bytes);
/** There is no more: what has no newline behind it is a line too. */
void crs_lines_end(crs_lines *l);

#endif
