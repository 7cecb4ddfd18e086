/* cluster/discovery/discovery.c: the table of engines, and calls through it. */
#include <stdio.h>
#include <unistd.h>

#include "cluster/discovery/discovery_impl.h"

static const crs_discovery_ops *const engines[] = {&crs_discovery_local, &crs_discovery_etcd};

const crs_discovery_ops *crs_discovery_engine(const char *name)
{
    for (size_t i = 0; i < CEREUS_COUNT(engines); i++) {
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    }
    return NULL;
}

cereus_status crs_discovery_claim(const crs_discovery_ops *ops, const crs_discovery_options *opt,
                                  crs_discovery **ret_discovery, cereus_error *err)
{
    crs_discovery *d = crs_zalloc(ops->size);
    if (!d)
        return crs_fail(err, CEREUS_E_NOMEM, "discovery: out of memory");
    d->ops = ops;
    d->opt = *opt;
    atomic_init(&d->ready, false);
    cereus_status st = ops->claim(d, err);
    if (st) {
        crs_discovery_free(d);
        return st;
    }
    *ret_discovery = d;
    return CEREUS_OK;
}

cereus_status crs_discovery_start(crs_discovery *d, crs_fiber *fiber, cereus_error *err)
{
    d->loop = crs_fiber_loop(fiber);
    return d->ops->start(d, fiber, err);
}

cereus_status crs_discovery_update(crs_discovery *d, crs_fiber *fiber, crs_server *self, cereus_error *err)
{
    return d->loop ? d->ops->update(d, fiber, self, err) : crs_fail(err, CEREUS_E_STATE, "it has not started");
}

void crs_discovery_leave(crs_discovery *d, crs_fiber *fiber)
{
    if (d->loop)
        d->ops->leave(d, fiber);
}

void crs_discovery_close(crs_discovery *d)
{
    if (d && d->loop)
        d->ops->close(d);
}

crs_discovery *crs_discovery_free(crs_discovery *d)
{
    if (d)
        d->ops->fini(d);
    crs_free(d);
    return NULL;
}

bool crs_discovery_ready(const crs_discovery *d)
{
    return atomic_load_explicit(&d->ready, memory_order_relaxed);
}

const char *crs_local_dir(const char *set, char *out, size_t cap)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (*set)
        return set;
    if (runtime && *runtime)
        snprintf(out, cap, "%s/cereus", runtime);
    else
        snprintf(out, cap, "/tmp/cereus-%u", (unsigned)geteuid());
    return out;
}
