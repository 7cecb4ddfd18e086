/* cluster/cluster_priv.h: the inside of a cluster, for the files beside it. */
#ifndef CRS_CLUSTER_CLUSTER_PRIV_H
#define CRS_CLUSTER_CLUSTER_PRIV_H

#include <pthread.h>

#include "cluster/cluster.h"

typedef struct crs_cluster_loop {
    crs_cluster *cluster;
    crs_dispatch *d;
    crs_rpc_link *link;
    crs_servers *servers; /* loop: who is there, as this loop knows */
    crs_strmap capable;   /* loop: ids of servers that have said CRS_PEER_IS_CEREUS -> themselves */
    crs_bytes out, meta;  /* loop: a message, and its context, while they are made */
    crs_strmap lanes;     /* loop: frontend and session -> lane, while something of it is served */
    size_t serving;       /* loop: requests of others that have not been answered */
    size_t forwarding;    /* loop: messages of clients that are out */
    bool refusing;        /* loop: no request of another server is run any more */
    uint64_t request_count;
    char request_prefix[13];
} crs_cluster_loop;

struct crs_cluster {
    crs_cluster_options opt;
    crs_core *core;
    crs_server *self;
    crs_rpc *rpc;
    crs_discovery *discovery;
    crs_cluster_loop loops[CRS_LOOPS_MAX];
    uint32_t loop_count;
    crs_servers *servers; /* first loop: the newest list */
    char *peer_json;      /* "peer.id":"...","peer.service":"..." */
    char *dir;            /* opt.dir, our copy */
    atomic_bool joined;
};

static inline crs_cluster_loop *crs_cluster_here(const crs_dispatch *d)
{
    crs_cluster *c = d->core->cluster_user;
    return &c->loops[d->loop->index];
}

/* -- cluster.c -- */

/* How long a served call may take beyond its caller's patience, so that the caller hears its own PIT-408 first. */
enum { CRS_GRACE_MS = 10 };

/** Has @p server said that it is one of ours? */
bool crs_cluster_capable(crs_cluster_loop *l, const char *server_id);
void crs_cluster_learn(crs_cluster_loop *l, const char *server_id, uint64_t extension);

/** Wait until what this loop's link asked for lately holds; not for ever. Thread: fiber. */
void crs_cluster_settle(crs_cluster_loop *l, crs_fiber *fiber);

/* -- context.c: the propagated context -- */

/** Append the context of a client's message that is forwarded. */
CEREUS_MUST_USE cereus_status crs_meta_of_message(crs_cluster_loop *l, cereus_slice route, uint64_t timeout_ms,
                                                  crs_bytes *out);
/** Append the context of a call made from @p ctx. *timeout_ms, 0 if the caller named none, becomes what is sent: what the
 * context asks for, of the @p left_ms that there are. */
CEREUS_MUST_USE cereus_status crs_meta_of_call(cereus_ctx *ctx, crs_cluster_loop *l, uint64_t left_ms,
                                               uint64_t *timeout_ms, crs_bytes *out);
/** Look at what came. @return NULL: fine, *ret_timeout_ms is the caller's patience, UINT64_MAX if it does not say; else what
 * is wrong, for an error PIT-500 */
const char *crs_meta_check(cereus_slice meta, uint64_t *ret_timeout_ms);

/* -- forward.c, served.c, users.c -- */

bool crs_forward_may_follow(crs_dispatch *d, crs_agent *agent, cereus_slice type);
void crs_forward_message(crs_dispatch *d, crs_agent *agent, crs_call *call, cereus_slice type);
/** Pushes of another server for users of this one. */
void crs_cluster_push_here(crs_cluster_loop *l, cereus_slice route, cereus_slice data, const cereus_slice *uids,
                           size_t count);
/** Another frontend has the uid since just before @p before_us. Who had it here earlier is kicked; UINT64_MAX: whoever has. */
void crs_cluster_bound_there(crs_cluster_loop *l, cereus_slice uid, uint64_t before_us);
extern const crs_rpc_events crs_cluster_events;

/** Does the frontend of @p session take what is for it ahead of the answer? */
bool crs_cluster_hears(const crs_remote_session *session);
/** Send it. @return as crs_rpc_send_ahead(), or CEREUS_E_FULL. Thread: loop, of the handler. */
CEREUS_MUST_USE cereus_status crs_cluster_send_ahead(crs_dispatch *d, crs_remote_session *session, cereus_slice bytes);

/* -- stats.c -- */

/** The remote `sys.stats`. */
cereus_status crs_cluster_stats(cereus_ctx *ctx, cereus_slice in, cereus_slice *out);

#endif
