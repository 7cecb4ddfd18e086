/* cluster/rpc/local_frame.h: a frame between servers of one machine, for local.c and for `cereus top`, which asks them too.
 *
 *     len: u32 little-endian, of what follows | kind: u8 | id: u64 little-endian | payload      kinds and payloads: peers.h
 *
 *     REQUEST   id: the caller's          RESPONSE  id: the same          others  id: 0
 */
#ifndef CRS_CLUSTER_RPC_LOCAL_FRAME_H
#define CRS_CLUSTER_RPC_LOCAL_FRAME_H

#include "cluster/rpc/peers.h"

enum { CRS_LOCAL_HEAD_LEN = 4 + 1 + 8 };

/** The head of a frame with @p len bytes of payload. Returns where the payload goes. */
static inline uint8_t *crs_local_put_head(uint8_t *at, crs_peer_kind kind, uint64_t id, size_t len)
{
    at = crs_put_le(at, CRS_LOCAL_HEAD_LEN - 4 + len, 4);
    *at++ = (uint8_t)kind;
    return crs_put_le(at, id, 8);
}

#endif
