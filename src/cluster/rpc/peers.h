/* cluster/rpc/peers.h: the messages of crs_peer_kind. (NATS has Pitaya's subjects and messages instead.)
 *
 *     REQUEST   protos.Request      RESPONSE  protos.Response      KICK  uid      BOUND  protos.BindMsg
 *     PUSH      count: u32, count times (len: u16, uid), len: u16, route, data; numbers are little-endian
 */
#ifndef CRS_CLUSTER_RPC_PEERS_H
#define CRS_CLUSTER_RPC_PEERS_H

#include "cluster/rpc/rpc_impl.h"

/* To all frontends of the type but ourselves, as the functions of crs_rpc_ops. */
cereus_status crs_peers_push(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice route,
                             cereus_slice data, const cereus_slice *uids, size_t count, crs_peer_send_fn *send);
cereus_status crs_peers_kick(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice uid,
                             crs_peer_send_fn *send);
cereus_status crs_peers_announce(crs_rpc_link *link, const crs_servers *servers, const crs_bind_msg *bind,
                                 crs_peer_send_fn *send);

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
