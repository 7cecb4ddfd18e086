/* transport/socket.h: connections over connected sockets, for the files that make them: plain here, with TLS in tls.c.
 * Where a load balancer stands before the server, the socket begins with a PROXY head, before any TLS.
 */
#ifndef CRS_TRANSPORT_SOCKET_H
#define CRS_TRANSPORT_SOCKET_H

#include "transport/conn_priv.h"

typedef struct crs_socket {
    crs_conn base;
    uv_poll_t poll;
    int fd;
    bool awaits_proxy;       /* the PROXY head has not come yet */
    bool read_when_writable; /* TLS has something to say before it can read on */
} crs_socket;

typedef struct crs_socket_options {
    crs_framing framing;
    bool tls;                    /* with the transport's certificate */
    bool local;                  /* brought by the game: no load balancer stands before it */
    const struct sockaddr *peer; /* NULL: ask the system */
} crs_socket_options;

/** What a player's connection needs: no delay, and keep-alives. Those that a socket accepts inherit it. */
void crs_socket_set_options(int fd);
/**
 * Serve a connected stream socket as a connection of @p t. Its options are the caller's to set; it does not block from now on.
 * Ownership: takes @p fd on success; on failure (out of memory) it is still the caller's. Thread: loop.
 */
CEREUS_MUST_USE cereus_status crs_socket_adopt(crs_transport *t, int fd, const crs_socket_options *opt);

static inline crs_socket *crs_socket_of(crs_conn *conn)
{
    return CRS_CONTAINER(conn, crs_socket, base);
}

/* -- for tls.c: pieces of a stream that it puts its own around -- */

/** Take the PROXY head from the socket and not one byte more. CEREUS_OK: it has come, or none is awaited;
 * CEREUS_E_AGAIN; CEREUS_E_MALFORMED; CEREUS_E_IO: the peer has gone. */
CEREUS_MUST_USE cereus_status crs_socket_take_proxy_head(crs_socket *s);
void crs_socket_want(crs_conn *conn, bool readable, bool writable);
void crs_socket_shut(crs_conn *conn);
/** Have the connection read again once the socket is writable. */
void crs_socket_read_when_writable(crs_socket *s);
/** Closes the socket; @p conn is part of a block that is freed when libuv is done with it. */
void crs_socket_destroy(crs_conn *conn);

#endif
