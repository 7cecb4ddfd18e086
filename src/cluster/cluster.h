/* cluster/cluster.h: a server among others: it keeps the list of servers on every loop, sends clients' messages to where they
 * belong, serves what others send, and reaches users wherever they are. dispatch knows it as crs_cluster_ops; the app makes,
 * starts and stops it.
 *
 *    crs_cluster_new()  setup          crs_cluster_open()   setup, each loop
 *    crs_cluster_join() fiber: the others see us             crs_cluster_leave()  fiber: they do not any more
 *    crs_cluster_close() each loop     crs_cluster_free()   when no loop runs
 */
#ifndef CRS_CLUSTER_CLUSTER_H
#define CRS_CLUSTER_CLUSTER_H

#include <cereus/remote.h>

#include "cluster/discovery/discovery.h"
#include "cluster/rpc/rpc.h"
#include "dispatch/remote.h"

typedef struct crs_cluster crs_cluster;

/** Which server of a type gets a message. */
typedef struct crs_cluster_route {
    struct crs_cluster_route *next;
    char *type;
    cereus_route_fn *fn;
    void *user;
} crs_cluster_route;

/** An engine of the game's own. */
typedef struct crs_cluster_engine {
    struct crs_cluster_engine *next;
    const cereus_discovery_engine *discovery; /* NULL: it is an rpc engine */
    const cereus_rpc_engine *rpc;
    void *user;
    char name[];
} crs_cluster_engine;

/** As cereus_app_add_discovery() and cereus_app_add_rpc(); one of the two is given. Thread: setup. */
cereus_status crs_cluster_engine_add(crs_cluster_engine **list, const char *name,
                                     const cereus_discovery_engine *discovery, const cereus_rpc_engine *rpc, void *user,
                                     cereus_error *err);
void crs_cluster_engines_free(crs_cluster_engine **list);

typedef struct crs_cluster_options {
    crs_core *core;
    cereus_server self;                /* copied */
    const char *discovery, *rpc;       /* the engines' names */
    const crs_cluster_engine *engines; /* those of the game's own; borrowed */
    const char *dir;                   /* the run directory of `local` engines */
    const cereus_config *config;
    const crs_cluster_route *routes; /* borrowed */
    uint64_t request_timeout_ms;     /* of a call that does not say */
    size_t requests_max;             /* served at once by a loop */
    size_t lane_max;                 /* that wait in one lane */
    bool unique;                     /* tell other frontends of a bind */
    bool observes;                   /* it calls others, and they neither see nor call it; with engines of ours */
} crs_cluster_options;

/** Claims our id, connects. @return CEREUS_OK; CEREUS_E_UNSUPPORTED: no engine has that name; what the engines return.
 * Ownership: gives. Thread: setup; may block. */
cereus_status crs_cluster_new(const crs_cluster_options *opt, crs_cluster **ret_cluster, cereus_error *err);
crs_cluster *crs_cluster_free(crs_cluster *c);
/** What dispatch calls; its user is the cluster. */
extern const crs_cluster_ops crs_cluster_dispatch_ops;
/** The built-in remotes "sys". Thread: setup. */
cereus_status crs_cluster_register_sys(crs_core *core, cereus_error *err);
/** Our part on the loop of @p d. Thread: setup. */
cereus_status crs_cluster_open(crs_cluster *c, crs_dispatch *d, cereus_error *err);
/** Serve, and register. A crs_life_fn; user: crs_cluster. Thread: fiber on the first loop. */
cereus_status crs_cluster_join(cereus_ctx *ctx, void *cluster);
/** Others shall send us nothing new. A crs_life_void_fn. Thread: fiber on the first loop. */
void crs_cluster_drain(cereus_ctx *ctx, void *cluster);
/** Deregister. A crs_life_void_fn. Thread: fiber on the first loop. */
void crs_cluster_leave(cereus_ctx *ctx, void *cluster);
/** End what runs on this loop. Thread: loop. */
void crs_cluster_close(crs_cluster *c, crs_dispatch *d);
/** Does this loop still serve something, or wait for something that it has forwarded? Thread: loop. */
bool crs_cluster_busy(const crs_cluster *c, const crs_dispatch *d);
/** Requests of other servers are refused from now on: services will be shut down. Thread: loop. */
void crs_cluster_refuse(crs_cluster *c, const crs_dispatch *d);
/** Wait no longer for what other servers have not answered. Thread: loop. */
void crs_cluster_cancel(crs_cluster *c, const crs_dispatch *d);
/** Have we left, and others not all seen it? Then a message for us may still be under way. Thread: loop. */
bool crs_cluster_expects(const crs_cluster *c, const crs_dispatch *d);
/** Registered, and connected to all that is needed. Thread: any. */
bool crs_cluster_ready(const crs_cluster *c);

#endif
