/* tools/cereus/text.h: bytes to text for people, and hex back to bytes. What comes from a server is never written to a
 * terminal as it is: it might command the terminal. */
#ifndef CRS_TOOL_TEXT_H
#define CRS_TOOL_TEXT_H

#include <stdio.h>

#include "base/buf.h"

/** Is all of @p s UTF-8 that a terminal only shows: no control characters, but tabs and line ends? */
bool crs_text_is_plain(cereus_slice s);

/** Write @p s: plain text as it is, with @p one_line its tabs and line ends as \t and \n; anything else as `hex:` and
 * digits. Of more than @p max bytes the first and the number of all; 0: no limit. */
void crs_text_show(FILE *out, cereus_slice s, size_t max, bool one_line);

/**
 * Append the bytes that the hex digits in @p text stand for. Blanks, line ends, colons, commas and "0x" are skipped.
 * @param ret_at  set on CEREUS_E_MALFORMED: where in @p text
 * @return CEREUS_OK; CEREUS_E_MALFORMED: something else, or half a byte; CEREUS_E_TOO_LONG; CEREUS_E_NOMEM
 */
CEREUS_MUST_USE cereus_status crs_text_unhex(cereus_slice text, crs_bytes *out, size_t *ret_at);

/** Append all of @p fd. @return CEREUS_OK; CEREUS_E_IO: errno; CEREUS_E_TOO_LONG; CEREUS_E_NOMEM */
CEREUS_MUST_USE cereus_status crs_text_read_all(int fd, crs_bytes *out);

#endif
