/* ext/tls_client.h: TLS of connections that we open, by OpenSSL straight on the socket: 1.2 or later. The peer's
 * certificate and name are checked, and HTTP/2 is agreed on by ALPN, unless the options say otherwise. */
#ifndef CRS_EXT_TLS_CLIENT_H
#define CRS_EXT_TLS_CLIENT_H

#include <sys/types.h>

#include "base/base.h"

typedef struct crs_tls_client crs_tls_client;   /* what connections to one service share */
typedef struct crs_tls_session crs_tls_session; /* of one connection */

typedef struct crs_tls_client_options {
    const char *ca_file;     /* PEM, whom to trust; NULL: the system's */
    const char *cert_file;   /* PEM, our own chain; NULL: none */
    const char *key_file;    /* PEM, its key; with cert_file */
    const char *server_name; /* the name that the peer's certificate must have; NULL: the host of the endpoint */
    bool insecure;           /* take any certificate */
    bool any_protocol;       /* no ALPN: what follows is not HTTP/2 */
    bool read_ahead;         /* read what is there at once: fewer system calls, 16 KiB more while bytes come */
} crs_tls_client_options;

/** Reads the files (blocks). @return CEREUS_OK; CEREUS_E_INVALID: err names the file and what is wrong;
 * CEREUS_E_UNSUPPORTED: OpenSSL is not installed; CEREUS_E_NOMEM.
 * Ownership: gives. Thread: setup or loop. */
cereus_status crs_tls_client_new(const crs_tls_client_options *opt, crs_tls_client **ret_tls, cereus_error *err);
/** Sessions may live on. NULL is fine. Returns NULL. */
crs_tls_client *crs_tls_client_free(crs_tls_client *tls);

/** Begin on connected @p fd, which is borrowed as long as the session lives. @p host is the endpoint's. Ownership: gives. */
cereus_status crs_tls_session_new(crs_tls_client *tls, int fd, const char *host, crs_tls_session **ret_session,
                                  cereus_error *err);
crs_tls_session *crs_tls_session_free(crs_tls_session *session);

/** Go on with the handshake. @param ret_write  set on CEREUS_E_AGAIN: wait for the socket to take bytes, not to have some
 * @return CEREUS_OK: done; CEREUS_E_AGAIN; CEREUS_E_UNAVAILABLE: err says why */
cereus_status crs_tls_handshake(crs_tls_session *session, bool *ret_write, cereus_error *err);
/** Did the handshake fail because of the peer's certificate? Then the next one would, too. */
bool crs_tls_distrusts(const crs_tls_session *session);
/** As recv() and send(): bytes, 0 at the end, or -1 with errno EAGAIN or another, and then err. */
ssize_t crs_tls_recv(crs_tls_session *session, void *buf, size_t cap, cereus_error *err);
ssize_t crs_tls_send(crs_tls_session *session, const void *data, size_t len, cereus_error *err);
/** Has it bytes that the socket does not show any more? */
bool crs_tls_pending(const crs_tls_session *session);
/** Say good-bye, best effort. */
void crs_tls_shut(crs_tls_session *session);

#endif
