/* ext/relay.h: a thread between a socket's user and its peer, for a user who must not wait for the peer. nats.c is one: over
 * TLS it waits, its lock held and for as long as it takes, for the rest of a record or for room to write.
 *
 *     user ──────────────── socket pair ───> memory, as much as is agreed ───> the connection ──> peer
 *          <── whole records of TLS only ──                               <──
 */
#ifndef CRS_EXT_RELAY_H
#define CRS_EXT_RELAY_H

#include "base/base.h"

typedef struct crs_relay crs_relay;

/**
 * Stand between @p fd, a connected stream socket on which TLS is spoken, and its peer. From now on @p fd is one end of a
 * socket pair that does not block; what the user writes is taken at once, as long as the peer leaves no more than @p out_max
 * bytes of it waiting.
 * @param on_taken  called when the peer has taken all that waited; on the relay's thread, not after crs_relay_end(). May be
 *                  NULL
 * @return CEREUS_OK; CEREUS_E_NOMEM, CEREUS_E_IO: @p fd is what it was
 * Ownership: gives; @p fd stays the caller's. Thread: any; nobody else uses @p fd meanwhile.
 */
CEREUS_MUST_USE cereus_status crs_relay_start(int fd, size_t out_max, void (*on_taken)(void *user), void *user,
                                              crs_relay **ret_relay);
/** Bytes that the peer has not taken. Thread: any. */
size_t crs_relay_waiting(const crs_relay *r);
/** End at once; what waits is lost. NULL is fine. Returns NULL. Thread: any; does not wait for the peer. */
crs_relay *crs_relay_end(crs_relay *r);

#endif
