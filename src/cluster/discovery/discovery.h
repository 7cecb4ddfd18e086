/* cluster/discovery/discovery.h: how servers find one another. Engines stand beside this file; the cluster holds one, on its
 * first loop, and is told the whole list or what has changed in it.
 *
 *    claim()  setup: the entry is made ready         start()  fiber: we see the others, then they see us
 *    update() fiber: we are something else now       leave()  fiber: they do not any more
 *    free()   after all loops have ended
 *
 * Of two servers with one id `local` refuses the second, in claim(); with etcd they take the entry from each other, and the
 * log warns.
 */
#ifndef CRS_CLUSTER_DISCOVERY_DISCOVERY_H
#define CRS_CLUSTER_DISCOVERY_DISCOVERY_H

#include <cereus/config.h>
#include <cereus/engine.h>

#include "cluster/servers.h"
#include "fiber/fiber.h"

typedef struct crs_discovery crs_discovery;
typedef struct crs_discovery_ops crs_discovery_ops;

/** What the cluster is told. Thread: the loop of start(). */
typedef struct crs_discovery_events {
    /** These are all. False: not everybody could be told of them, tell it again. */
    bool (*on_list)(void *user, crs_server *const *servers, size_t count);
    /** @p server is there, or has changed. */
    void (*on_put)(void *user, crs_server *server);
    void (*on_gone)(void *user, const char *id);
} crs_discovery_events;

typedef struct crs_discovery_options {
    const cereus_server *self; /* borrowed */
    bool observes;             /* it sees the others, and they do not see it; not by an engine of the game's own */
    crs_log *log;
    const cereus_config *config;
    const char *dir;                       /* local: the run directory */
    const cereus_discovery_engine *engine; /* of the game's own */
    const char *engine_name;
    void *engine_user;
    struct crs_core *core; /* likewise: its functions want a ctx */
    const crs_discovery_events *events;
    void *user;
} crs_discovery_options;

/** The engine of ours called @p name; NULL: none. */
const crs_discovery_ops *crs_discovery_engine(const char *name);

/** Where servers of one machine meet: @p set, or, when that is empty, a directory of the user's own, in @p out. */
const char *crs_local_dir(const char *set, char *out, size_t cap);

/** Ownership: gives. Thread: setup. */
cereus_status crs_discovery_claim(const crs_discovery_ops *ops, const crs_discovery_options *opt,
                                  crs_discovery **ret_discovery, cereus_error *err);
/** The list is known when this returns, and we are in it. Thread: fiber; may yield. */
cereus_status crs_discovery_start(crs_discovery *d, crs_fiber *fiber, cereus_error *err);
/** Tell the others what we are now: @p self, with our id and type. Thread: fiber; may yield. @return CEREUS_OK: they hear of it
 * in time; CEREUS_E_STATE: not started; CEREUS_E_UNSUPPORTED: the engine cannot; CEREUS_E_IO, CEREUS_E_NOMEM. */
cereus_status crs_discovery_update(crs_discovery *d, crs_fiber *fiber, crs_server *self, cereus_error *err);
/** Thread: fiber; may yield. Fine when it has not started. */
void crs_discovery_leave(crs_discovery *d, crs_fiber *fiber);
/** End what runs on the loop. Thread: loop. */
void crs_discovery_close(crs_discovery *d);
crs_discovery *crs_discovery_free(crs_discovery *d);
/** Are we registered, and does the engine answer? Thread: any. */
bool crs_discovery_ready(const crs_discovery *d);

#endif
