/* clients/c/upgrade.h: the client's half of the WebSocket upgrade, RFC 6455 4.1. Pure functions; frames are in
 * transport/ws_frame.h. */
#ifndef CRS_CLIENT_UPGRADE_H
#define CRS_CLIENT_UPGRADE_H

#include "base/buf.h"
#include "transport/http_head.h"

enum {
    CRS_CLIENT_UPGRADE_HEAD_MAX = 8192, /* longest answer accepted */
};

/** Sixteen random bytes as the key of an upgrade, without NUL. */
void crs_client_upgrade_key(const uint8_t bytes[16], char ret_key[CRS_WS_KEY_LEN]);

/** Append the request. @p path and @p authority hold no blanks and no control characters.
 * @return CEREUS_OK; CEREUS_E_TOO_LONG; CEREUS_E_NOMEM */
CEREUS_MUST_USE cereus_status crs_client_upgrade_request(const char *path, const char *authority,
                                                         const char key[CRS_WS_KEY_LEN], crs_bytes *out);

/**
 * Parse the answer at the front of @p in.
 * @param ret_used  set on CEREUS_OK: length of the head, frames follow
 * @return CEREUS_OK: upgraded; CEREUS_E_AGAIN: more bytes needed; CEREUS_E_UNAVAILABLE: refused with a status of 500 or
 *         more, later it may be different; CEREUS_E_FAILED: refused otherwise; CEREUS_E_MALFORMED: not a sound answer.
 *         @p err says more
 */
cereus_status crs_client_upgrade_answer(cereus_slice in, const char key[CRS_WS_KEY_LEN], size_t *ret_used,
                                        cereus_error *err);

#endif
