/* transport/memory.h: connections without a socket: the test (or a client in this process) holds the other end. Bytes
 * are passed at the end of a turn, so everything happens as it would over a socket, in one thread and at will. */
#ifndef CRS_TRANSPORT_MEMORY_H
#define CRS_TRANSPORT_MEMORY_H

#include "transport/conn.h"

typedef struct crs_pipe crs_pipe; /* the peer's end */

/** Connect to the acceptor of @p t. Ownership: gives, end it with crs_pipe_free(). Thread: loop. */
cereus_status crs_pipe_open(crs_transport *t, crs_framing framing, crs_pipe **ret_pipe);
/** Hang up, unless the server did; returns NULL. */
crs_pipe *crs_pipe_free(crs_pipe *pipe);
/** Send bytes to the server. CEREUS_E_GONE: it has closed. CEREUS_E_NOMEM. */
cereus_status crs_pipe_send(crs_pipe *pipe, const void *data, size_t len);
/** End our side, as shutdown(SHUT_WR) does. */
void crs_pipe_shut(crs_pipe *pipe);
/** What the server has sent and has not been taken; consume with crs_pipe_take(). */
cereus_slice crs_pipe_received(const crs_pipe *pipe);
void crs_pipe_take(crs_pipe *pipe, size_t len);
/** Bytes that the server may have under way before its writes block; the default is 1 MiB. */
void crs_pipe_set_window(crs_pipe *pipe, size_t bytes);
/** Has the server ended its side? */
bool crs_pipe_closed(const crs_pipe *pipe);

#endif
