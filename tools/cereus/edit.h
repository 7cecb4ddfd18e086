/* tools/cereus/edit.h: typing a line on a terminal: moving in it, lines typed before, completion by Tab. Knows nothing of
 * what the line means, and writes to standard output only. */
#ifndef CRS_TOOL_EDIT_H
#define CRS_TOOL_EDIT_H

#include "api.h"
#include "base/buf.h"

enum { CRS_EDIT_HISTORY_MAX = 1000 };

typedef struct crs_edit {
    const char *prompt;
    crs_bytes line;
    size_t cursor; /* in bytes */
    uint8_t escape[8];
    size_t escape_len; /* of a key's sequence that is not whole yet */
    char *history[CRS_EDIT_HISTORY_MAX];
    size_t history_count; /* ever; line n is in slot n % CRS_EDIT_HISTORY_MAX */
    size_t at;            /* the line of the history that is shown; history_count: the new one */
    char *unfinished;     /* the new line, while others are shown */
    /** What could stand at the cursor. */
    void (*complete)(cereus_slice before, crs_candidates *ret, void *user);
    void *user;
} crs_edit;

typedef enum crs_edit_event {
    CRS_EDIT_NOTHING,
    CRS_EDIT_LINE, /* the line is whole: take it, then crs_edit_clear() */
    CRS_EDIT_END,  /* Ctrl-D on an empty line */
} crs_edit_event;

void crs_edit_init(crs_edit *e, const char *prompt);
void crs_edit_fini(crs_edit *e);
/** Remember a line. */
void crs_edit_remember(crs_edit *e, const char *line);

/** One byte of what is typed. Shows what it does. */
crs_edit_event crs_edit_feed(crs_edit *e, uint8_t byte);
/** Begin a new line, unseen. */
void crs_edit_clear(crs_edit *e);
/** Show prompt and line. */
void crs_edit_show(const crs_edit *e);

/** Have the terminal hand over keys as they are typed, until crs_edit_restore() or the end of the process, by a signal too.
 * False: standard input is no terminal that can. */
bool crs_edit_take_terminal(void);
void crs_edit_restore(void);

#endif
