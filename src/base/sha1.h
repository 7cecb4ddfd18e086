/* base/sha1.h: SHA-1 (RFC 3174), which the WebSocket handshake asks for as a checksum, nothing more. Our own forty lines,
 * because a crypto library for them alone made up a third of the memory and of the start-up time of a server. */
#ifndef CRS_BASE_SHA1_H
#define CRS_BASE_SHA1_H

#include "base/base.h"

enum { CRS_SHA1_LEN = 20 };

/** The digest of @p in. Not for secrets or signatures: SHA-1 is broken there. Thread: any. */
void crs_sha1(cereus_slice in, uint8_t out[CRS_SHA1_LEN]);

/** Write @p in as base64 (RFC 4648, padded), 4 characters for each 3 bytes or part of them, no NUL. Thread: any. */
void crs_base64(cereus_slice in, char *out);

#endif
