/* ext/etcd_priv.h: what the files of the etcd client share: etcd.c has the calls, etcd_lease.c and etcd_watch.c a stream
 * each, which is open while there is a lease or a watch, and opened again when it ends. */
#ifndef CRS_EXT_ETCD_PRIV_H
#define CRS_EXT_ETCD_PRIV_H

#include "ext/etcd.h"
#include "ext/etcd_rpc.pb-c.h"

/** A stream that is to be there while anybody needs it. */
typedef struct crs_etcd_stream {
    crs_grpc_call *call; /* NULL: not open */
    crs_timer retry;     /* runs until the next try */
} crs_etcd_stream;

struct crs_etcd {
    crs_loop *loop;
    crs_grpc_channel *channel;
    char *user, *password; /* NULL: no authentication */
    crs_grpc_call *authenticating;
    crs_timer auth_retry;
    size_t endpoint_count;
    crs_grpc_state_fn *on_state;
    void *state_user;
    bool closed;
    unsigned depth; /* of callbacks on the stack; it is freed when they are over */

    crs_etcd_stream lease_stream;
    crs_list leases;
    size_t lease_count;

    crs_etcd_stream watch_stream;
    crs_list watches;       /* all, in the order they began */
    crs_list watches_asked; /* those that etcd has to confirm, in the order asked */
    size_t watch_count;
};

/** Unpack a message into @p arena. NULL: it does not decode, or is too large. */
void *crs_etcd_unpack(crs_arena *arena, const ProtobufCMessageDescriptor *type, cereus_slice bytes);
/** The token is of no use any more: get another. Calls wait meanwhile. */
void crs_etcd_authenticate(crs_etcd *etcd);
/** How a stream ended: when to try again, ms. Goes to the next endpoint when this one has no leader. */
uint32_t crs_etcd_stream_ended(crs_etcd *etcd, const crs_grpc_result *result);
/** A key as a range: the key itself, or all with this prefix; @p end_buf has at least key.len + 1 bytes. */
ProtobufCBinaryData crs_etcd_range_end(cereus_slice prefix, uint8_t *end_buf);
/** Callbacks run between these; the client may be freed in leave(). */
static inline void crs_etcd_enter(crs_etcd *etcd)
{
    etcd->depth++;
}
void crs_etcd_leave(crs_etcd *etcd);

static inline ProtobufCBinaryData crs_etcd_bytes(cereus_slice s)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)s.data, .len = s.len};
}

void crs_etcd_kv_of(const CrsEtcd__KeyValue *from, crs_etcd_kv *to);

void crs_etcd_leases_init(crs_etcd *etcd);
void crs_etcd_leases_fini(crs_etcd *etcd);
void crs_etcd_watches_init(crs_etcd *etcd);
void crs_etcd_watches_fini(crs_etcd *etcd);

#endif
