/* cluster/rpc/peers.h: what Cereus servers say to one another where an engine only carries bytes from server to server: local,
 * and the game's own. (NATS has Pitaya's subjects and messages instead.)
 *
 *     REQUEST   protos.Request      RESPONSE  protos.Response      KICK  uid      BOUND  protos.BindMsg
 *     PUSH      count: u32, count times (len: u16, uid), len: u16, route, data; numbers are little-endian
 */
#ifndef CRS_CLUSTER_RPC_PEERS_H
#define CRS_CLUSTER_RPC_PEERS_H

#include "cluster/rpc/rpc_impl.h"

typedef enum crs_peer_kind {
    CRS_PEER_REQUEST = 1,
    CRS_PEER_RESPONSE,
    CRS_PEER_PUSH,
    CRS_PEER_KICK,
    CRS_PEER_BOUND,
} crs_peer_kind;

/** How an engine sends @p parts, one behind the other, to a server. CEREUS_E_UNAVAILABLE: it has gone. */
typedef cereus_status crs_peer_send_fn(crs_rpc_link *link, const char *server_id, crs_peer_kind kind,
                                       const cereus_slice *parts, size_t part_count);

/* To all frontends of the type but ourselves, as the functions of crs_rpc_ops. @p scratch: the link's. */
cereus_status crs_peers_push(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice route,
                             cereus_slice data, const cereus_slice *uids, size_t count, crs_bytes *scratch,
                             crs_peer_send_fn *send);
cereus_status crs_peers_kick(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice uid,
                             crs_peer_send_fn *send);
cereus_status crs_peers_announce(crs_rpc_link *link, const crs_servers *servers, const crs_bind_msg *bind,
                                 crs_bytes *scratch, crs_peer_send_fn *send);

/** Take what has come as PUSH, KICK or BOUND. False: it makes no sense. */
bool crs_peers_take(crs_rpc_link *link, unsigned kind, cereus_slice payload);

static inline uint64_t crs_get_le(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static inline uint8_t *crs_put_le(uint8_t *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *p++ = (uint8_t)(v >> 8 * i);
    return p;
}

#endif
