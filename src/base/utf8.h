/* base/utf8.h: strict UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef CRS_BASE_UTF8_H
#define CRS_BASE_UTF8_H

#include "base/base.h"

/** Bytes of the well-formed character at the front of @p s, 1 to 4; 0: malformed, cut off or empty. */
size_t crs_utf8_char(cereus_slice s);
/** Is all of @p s well-formed? The empty string is. */
bool crs_utf8_valid(cereus_slice s);

#endif
