/* base/utf8.h: strict UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef CRS_BASE_UTF8_H
#define CRS_BASE_UTF8_H

#include "base/base.h"

/** Bytes of the well-formed character at the front of @p s, 1 to 4; 0: malformed, cut off or empty. */
size_t crs_utf8_char(cereus_slice s);
/** Is all of @p s well-formed? The empty string is. */
bool crs_utf8_valid(cereus_slice s);

/** Write the character @p c, at most U+10FFFF and no surrogate. @return its length, 1 to 4 bytes */
size_t crs_utf8_put(uint8_t out[4], uint32_t c);

/**
 * The character that JSON escapes as XXXX, or as the surrogates XXXX\uXXXX; @p at stands behind the first "\u". A surrogate
 * without its other half is U+FFFD, as in Go.
 * @return bytes read, 4 or 10; 0: no four hex digits
 */
size_t crs_utf8_escaped(const uint8_t *at, const uint8_t *end, uint32_t *ret_c);

/** Where a text that arrives in parts stands. All zero: between two characters, which is also where it starts. */
typedef struct crs_utf8_stream {
    uint8_t need;   /* bytes that the character begun still needs, 0..3 */
    uint8_t lo, hi; /* what the next of them may be */
} crs_utf8_stream;

/**
 * Check the next part of a text, cut anywhere.
 * @return false: no continuation can make it well-formed, told with the first byte that makes it so; forget the stream
 * then
 */
bool crs_utf8_stream_feed(crs_utf8_stream *st, cereus_slice part);
/** May the text end here, that is: is no character half there? */
bool crs_utf8_stream_at_end(const crs_utf8_stream *st);

#endif
