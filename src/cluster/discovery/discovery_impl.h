/* cluster/discovery/discovery_impl.h: for those who write an engine. */
#ifndef CRS_CLUSTER_DISCOVERY_DISCOVERY_IMPL_H
#define CRS_CLUSTER_DISCOVERY_DISCOVERY_IMPL_H

#include <stdatomic.h>

#include "cluster/discovery/discovery.h"

/** The common part, first in an engine's own. */
struct crs_discovery {
    const crs_discovery_ops *ops;
    crs_discovery_options opt;
    crs_loop *loop;    /* set by start() */
    atomic_bool ready; /* the engine keeps it */
};

struct crs_discovery_ops {
    const char *name;
    size_t size; /* of the engine's own struct, cleared */
    cereus_status (*claim)(crs_discovery *d, cereus_error *err);
    cereus_status (*start)(crs_discovery *d, crs_fiber *fiber, cereus_error *err);
    cereus_status (*update)(crs_discovery *d, crs_fiber *fiber, crs_server *self, cereus_error *err);
    void (*leave)(crs_discovery *d, crs_fiber *fiber);
    void (*close)(crs_discovery *d);
    void (*fini)(crs_discovery *d);
};

extern const crs_discovery_ops crs_discovery_local, crs_discovery_etcd, crs_discovery_custom;

#endif
