/* transport/tls.h: TLS 1.2 and 1.3 on a socket, by OpenSSL, which is loaded when the first certificate is. To the rest of
 * the transport it is one more crs_stream_ops: packets, WebSocket frames and limits are the same above it.
 */
#ifndef CRS_TRANSPORT_TLS_H
#define CRS_TRANSPORT_TLS_H

#include "transport/conn_priv.h"

/**
 * Load a certificate and what OpenSSL needs to serve with it.
 * @param cert_file  PEM: the server's certificate, then those between it and the root
 * @param key_file   PEM, not encrypted
 * @return CEREUS_OK; CEREUS_E_INVALID: err names the file and what is wrong; CEREUS_E_UNSUPPORTED: no OpenSSL here
 * Ownership: gives a reference, end it with crs_tls_unref(). Thread: any.
 */
cereus_status crs_tls_new(const char *cert_file, const char *key_file, crs_tls **ret_tls, cereus_error *err);
crs_tls *crs_tls_ref(crs_tls *tls);
/** NULL is fine. Returns NULL. Thread: any. */
crs_tls *crs_tls_unref(crs_tls *tls);

/* -- for socket.c -- */

extern const crs_stream_ops crs_tls_stream;
/** Bytes of a connection with TLS; it begins with a crs_socket. */
extern const size_t crs_tls_conn_size;

#endif
