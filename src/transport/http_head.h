/* transport/http_head.h: the HTTP request that asks for a WebSocket, and the answers to it, as pure functions over
 * bytes. client-protocol.md 14 and the vectors in websocket.json say how Pitaya answers; where HTTP has two readings of
 * the same bytes (bare line ends, folded lines, a body behind an upgrade) we are stricter than it and refuse.
 */
#ifndef CRS_TRANSPORT_HTTP_HEAD_H
#define CRS_TRANSPORT_HTTP_HEAD_H

#include "base/base.h"

enum {
    CRS_HTTP_HEAD_MAX = 8192,   /* default: longest request head, its empty line included */
    CRS_HTTP_HEADERS_MAX = 100, /* header lines in it */
    CRS_WS_KEY_LEN = 24,        /* 16 bytes in base64 */
    CRS_WS_ACCEPT_LEN = 28,     /* 20 bytes in base64 */
    CRS_WS_ACCEPT_RESPONSE_LEN = 129,
    CRS_WS_REFUSAL_MAX = 256,
};

typedef enum crs_ws_answer {
    CRS_WS_ACCEPT,            /* 101, crs_ws_accept_response(); all others: crs_ws_refusal() */
    CRS_WS_REFUSE_NO_UPGRADE, /* 400: sound HTTP, but not an upgrade to WebSocket version 13 */
    CRS_WS_REFUSE_METHOD,     /* 405: an upgrade, but not with GET */
    CRS_WS_REFUSE_ORIGIN,     /* 403: for a listener that has rules about ret->origin; the parser has none */
    CRS_WS_REFUSE_MALFORMED,  /* 400: no HTTP, or HTTP that can be read in two ways */
    CRS_WS_REFUSE_NO_HOST,    /* 400 */
    CRS_WS_REFUSE_BAD_HOST,   /* 400 */
    CRS_WS_REFUSE_TOO_LONG,   /* 431 */
    CRS_WS_REFUSE_VERSION,    /* 505: HTTP, but neither 1.0 nor 1.1 */
} crs_ws_answer;

/** What to answer a request. The slices point into the bytes parsed; nothing where the head has not said. */
typedef struct crs_ws_upgrade {
    crs_ws_answer answer;
    bool keep_alive;          /* true when accepted; of a refusal: the next request may follow, else answer and close */
    const char *why;          /* of a refusal, for the log: a constant, never NULL; "" when accepted */
    char key[CRS_WS_KEY_LEN]; /* set when accepted, no NUL */
    cereus_slice target;      /* "/path?query" as sent */
    cereus_slice host;
    cereus_slice origin;
} crs_ws_upgrade;

/**
 * Parse one request head from the front of @p in, and decide.
 *
 *     method SP target SP "HTTP/1." 0-1 CRLF *(name ":" OWS value OWS CRLF) CRLF                        RFC 9112 2, 3,
 * 5
 *
 * A line that breaks the format is refused as soon as its end is there, a head that is too long as soon as it is; what
 * is merely missing is known at the end of the head. Bytes without a line end are waited for (vector upgrade-silent); a
 * deadline is the caller's business.
 *
 * @param in        bytes received so far; parsed from the start each time
 * @param head_max  longest head accepted, bytes, 1 or more
 * @param ret       set on CEREUS_OK
 * @param ret_used  set on CEREUS_OK: length of the head; what follows is the first frame when accepted, the next
 * request when kept alive. All of @p in when the connection is to be closed
 * @return CEREUS_OK; CEREUS_E_AGAIN: more bytes needed, call again with a longer @p in
 * Ownership: borrows @p in; the slices in *ret are good for as long as @p in is. Allocates nothing. Thread: any.
 */
CEREUS_MUST_USE cereus_status crs_http_head_parse(cereus_slice in, size_t head_max, crs_ws_upgrade *ret,
                                                  size_t *ret_used);

/** Compute the Sec-WebSocket-Accept that belongs to @p key (RFC 6455 4.2.2): for the answer, and for a client to
 * compare. Thread: any. */
void crs_ws_accept_key(const char key[CRS_WS_KEY_LEN], char out[CRS_WS_ACCEPT_LEN]);

/** Write the whole 101 answer, without NUL, byte for byte as Pitaya's. Thread: any. */
void crs_ws_accept_response(const char key[CRS_WS_KEY_LEN], char out[CRS_WS_ACCEPT_RESPONSE_LEN]);

/**
 * Write the whole answer that refuses, without NUL, headers in Pitaya's order.
 * @param answer      any but CRS_WS_ACCEPT
 * @param keep_alive  as the parser said
 * @param unix_s      the time of day for the Date header, seconds since 1970, up to the year 9999
 * @return bytes written. Thread: any.
 */
size_t crs_ws_refusal(crs_ws_answer answer, bool keep_alive, int64_t unix_s, char out[CRS_WS_REFUSAL_MAX]);

#endif
