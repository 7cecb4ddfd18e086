/* ext/link.h: a connection that we open: TCP on uv_poll_t with our own recv and send, TLS on it where asked for. It moves
 * bytes and knows no protocol.
 *
 *    open() ──> connecting ──> (TLS handshake) ──> connected() ... readable(), writable() ... close()
 *                   └──────────────┴──> failed(), close() it
 */
#ifndef CRS_EXT_LINK_H
#define CRS_EXT_LINK_H

#include <sys/socket.h>

#include "ext/tls_client.h"
#include "loop/loop.h"

typedef struct crs_link crs_link;

typedef struct crs_link_ops {
    void (*connected)(void *user);
    void (*failed)(const cereus_error *err, void *user); /* before connected() only */
    void (*readable)(void *user);                        /* recv() until it says CEREUS_E_AGAIN, or be called again */
    void (*writable)(void *user);                        /* after send() took less than it was given */
} crs_link_ops;

typedef struct crs_link_options {
    const struct sockaddr *addr;
    socklen_t addr_len;
    crs_tls_client *tls; /* NULL: plain. Borrowed until it has connected */
    const char *host;    /* for the check of its certificate */
    const crs_link_ops *ops;
    void *user;
} crs_link_options;

/** Begin to connect. Ownership: gives; end it with close(). @return CEREUS_OK; CEREUS_E_UNAVAILABLE: at once, err says
 * why; CEREUS_E_IO, CEREUS_E_NOMEM. Thread: loop, like all here. */
cereus_status crs_link_open(crs_loop *loop, const crs_link_options *opt, crs_link **ret_link, cereus_error *err);
/** No callback comes any more; its memory goes by itself. NULL is fine, within a callback, too. Returns NULL. */
crs_link *crs_link_close(crs_link *link);

/** @return CEREUS_OK: *ret_len bytes, 1 or more; CEREUS_E_AGAIN: none now; CEREUS_E_UNAVAILABLE: it has ended */
cereus_status crs_link_recv(crs_link *link, void *buf, size_t cap, size_t *ret_len, cereus_error *err);
/** Are there bytes that no readable() will tell of? Then recv() again. */
bool crs_link_pending(const crs_link *link);
/** @return CEREUS_OK: *ret_len bytes were taken; CEREUS_E_AGAIN: none, writable() comes; CEREUS_E_UNAVAILABLE */
cereus_status crs_link_send(crs_link *link, const void *data, size_t len, size_t *ret_len, cereus_error *err);

#endif
