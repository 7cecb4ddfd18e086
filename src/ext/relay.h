/* ext/relay.h: a thread between the user of a socket and its peer, so that the user never waits for the peer: for the
 * rest of a TLS record, or for room to write. It moves records and does not look into them. nats.c is such a user: over TLS it
 * waits for both, without bound and with its lock held.
 *
 *     user <── fd, a socket pair <── whole TLS records <────────── the real socket <── peer
 *          ──>                   ──> memory, out_max at most ──>                   ──>
 */
#ifndef CRS_EXT_RELAY_H
#define CRS_EXT_RELAY_H

#include "base/base.h"

typedef struct crs_relay crs_relay;

/**
 * Put a relay between @p fd, a connected stream socket on which somebody speaks TLS, and the peer of it. The next byte
 * that the peer sends begins a record. From then on @p fd is one end of a socket pair, which does not block and is closed
 * on exec; who polls it must begin anew. What comes there is whole records, and at the end of the peer whatever is left.
 * What the user writes is taken at once, until @p out_max bytes wait for the peer.
 * @param out_max   1 or more
 * @param on_taken  the peer has taken all that waited; called on the relay's thread, not after crs_relay_end(). May be NULL
 * @return CEREUS_OK; CEREUS_E_NOMEM, CEREUS_E_IO: nothing has changed
 * Ownership: gives; @p fd stays the caller's, to close before or after the relay ends. Thread: any, but nobody else uses
 * @p fd meanwhile.
 */
CEREUS_MUST_USE cereus_status crs_relay_start(int fd, size_t out_max, void (*on_taken)(void *user), void *user,
                                              crs_relay **ret_relay);
/** Bytes that the user has written and the peer has not taken, without what a socket's buffer holds; what it never will take
 * when it has gone, is among them. Thread: any. */
size_t crs_relay_waiting(const crs_relay *r);
/** Ends the thread at once, closes the real socket; what waits is lost. Takes @p r, NULL is fine. Returns NULL.
 * Thread: any but its own; waits for the thread, never for the peer. */
crs_relay *crs_relay_end(crs_relay *r);

#endif
