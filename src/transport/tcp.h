/* transport/tcp.h: addresses, and their listeners: one per loop and address, with SO_REUSEPORT. */
#ifndef CRS_TRANSPORT_TCP_H
#define CRS_TRANSPORT_TCP_H

#include "transport/conn.h"

/** An address to listen on, taken apart from "tcp://HOST:PORT"; tls, ws and wss likewise. */
typedef struct crs_endpoint {
    crs_framing framing;
    bool tls;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    char text[128]; /* "tcp://127.0.0.1:3250" with the actual port */
} crs_endpoint;

/** @return CEREUS_OK; CEREUS_E_INVALID: err says what is wrong with @p url. Host names are resolved (may block). */
cereus_status crs_endpoint_parse(const char *url, crs_endpoint *ret_endpoint, cereus_error *err);

/**
 * Find out that nobody else listens there, and pick the port when it is 0: SO_REUSEPORT alone would let two servers
 * share an address without a word.
 * @param ret_fd  a bound, not listening socket that holds the address until all listeners are up; close it then
 */
cereus_status crs_endpoint_claim(crs_endpoint *endpoint, int *ret_fd, cereus_error *err);

typedef struct crs_listener crs_listener;

/** Listen on @p endpoint for the connections of @p t. Ownership: gives; borrows endpoint's content only now. Thread:
 * loop. */
cereus_status crs_listener_new(crs_transport *t, const crs_endpoint *endpoint, crs_listener **ret_listener,
                               cereus_error *err);
/** Stop listening; freed by itself once the loop has turned. NULL is fine. Returns NULL. Thread: loop. */
crs_listener *crs_listener_free(crs_listener *listener);

#endif
