/* cluster/rpc/rpc_impl.h: for those who write an engine: the table of functions, and the calls that are out, which all keep
 * in the same way: a slot and a serial number are the call's id on the wire, so a late or forged reply finds nobody.
 */
#ifndef CRS_CLUSTER_RPC_RPC_IMPL_H
#define CRS_CLUSTER_RPC_RPC_IMPL_H

#include <stdatomic.h>

#include "cluster/rpc/rpc.h"

enum { CRS_RPC_CALLS_MAX = 1 << 20 }; /* out at once, of one loop */

struct crs_rpc {
    const crs_rpc_ops *ops;
    crs_rpc_options opt;
};

/** What Cereus servers say to one another where an engine only carries bytes from server to server: `local`, and the game's own. */
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

/** The common part, first in an engine's own. */
struct crs_rpc_link {
    crs_rpc *rpc;
    crs_loop *loop;
    const crs_rpc_events *events;
    void *user;
    struct {
        crs_rpc_call *call; /* NULL: free */
        uint32_t serial;
        uint32_t next_free; /* 1 + slot; 0: none */
    } * slots;
    uint32_t cap, used, free_head;
    uint64_t given_up; /* calls that have ended before anything of them came */
    crs_list failed;   /* calls whose done() is still to be called */
    crs_mail tell;     /* does that; on its way while `telling` */
    crs_bytes peers;   /* for messages to peers, while they are made */
    bool telling;
    bool closing; /* nothing is sent any more */
    bool closed;  /* the mail is the last to hold it */
};

struct crs_rpc_ops {
    const char *name;
    size_t rpc_size, link_size; /* of the engine's own structs, cleared by new() and open() */
    cereus_status (*init)(crs_rpc *rpc, cereus_error *err);
    void (*fini)(crs_rpc *rpc); /* may be NULL */
    cereus_status (*open)(crs_rpc_link *link, cereus_error *err);
    cereus_status (*serve)(crs_rpc_link *link, cereus_error *err);
    /** End I/O, then crs_rpc_link_closed(), now or later. */
    void (*close)(crs_rpc_link *link);
    /** Put the request of a registered call on its way: call->id is set. A failure later: crs_rpc_fail(). */
    cereus_status (*send)(crs_rpc_link *link, const cereus_server *to, cereus_slice request, crs_rpc_call *call);
    cereus_status (*reply)(crs_rpc_link *link, cereus_slice reply_to, cereus_slice response);
    crs_peer_send_fn
        *to_peer; /* NULL: push, kick and announce are the engine's own; else they are NULL, and made of it */
    cereus_status (*push)(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice route,
                          cereus_slice data, const cereus_slice *uids, size_t count);
    cereus_status (*kick)(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice uid);
    cereus_status (*announce)(crs_rpc_link *link, const crs_servers *servers, const crs_bind_msg *bind);
    bool (*can_be_user)(const char *uid);                        /* may be NULL */
    cereus_status (*watch)(crs_rpc_link *link, const char *uid); /* may be NULL */
    void (*unwatch)(crs_rpc_link *link, const char *uid);
    /** May be NULL. Answer the registered call when all that was asked for until now holds. */
    cereus_status (*settle)(crs_rpc_link *link, crs_rpc_call *call);
    bool (*is_moving)(const crs_rpc_link *link);                    /* may be NULL */
    void (*server_gone)(crs_rpc_link *link, const char *server_id); /* may be NULL */
    bool (*has_callers)(const crs_rpc_link *link);                  /* may be NULL */
    bool (*connected)(const crs_rpc *rpc);
};

extern const crs_rpc_ops crs_rpc_local, crs_rpc_nats, crs_rpc_custom;

/** A reply to the call with @p id has come; one that is not out any more is counted and dropped. */
void crs_rpc_answered(crs_rpc_link *link, uint64_t id, cereus_slice response);
/** The call cannot succeed: done() is called by mail. @p why is static. */
void crs_rpc_fail(crs_rpc_call *call, cereus_status st, const char *why);
/** Last call of close: frees the link. */
void crs_rpc_link_closed(crs_rpc_link *link);

#endif
