/* dispatch/core.h: the parts of a running app as dispatch sees them: one crs_core for the app, one crs_dispatch per
 * loop. The app makes and wires them; dispatch knows no configuration.
 */
#ifndef CRS_DISPATCH_CORE_H
#define CRS_DISPATCH_CORE_H

#include <cereus/app.h>

#include "dispatch/descriptors.h"
#include "dispatch/registry.h"
#include "dispatch/rules.h"
#include "fiber/await.h"
#include "serialize/serializer.h"
#include "session/agent.h"

enum { CRS_LOOPS_MAX = 64 };

typedef struct crs_core crs_core;
typedef struct crs_call crs_call;

/** How the calls of one method went on one loop, as its clock showed it: of a handler that never waits it sees nothing,
 * see crs_fibers_holds(). */
typedef struct crs_call_stats {
    uint64_t calls;
    uint64_t waited;           /* of them, those that took time that the clock saw */
    uint64_t total_us, max_us; /* from start to answer */
} crs_call_stats;

/** What runs on one loop. Thread: loop, unless said otherwise. */
typedef struct crs_dispatch {
    crs_core *core;
    crs_loop *loop;
    crs_fibers *fibers;
    crs_transport *transport;
    crs_frontend *frontend;
    crs_mail *waiting, **waiting_tail; /* what waits for a fiber to be free, oldest first */
    crs_bytes encoded;                 /* the body being sent; used between two switches only */
    bool leaving;                      /* nothing more is forwarded: we leave the cluster */
    size_t closing;                    /* sessions whose close callbacks have not ended */
    crs_call_stats *stats;             /* by the methods' index; NULL: not kept */
    size_t in_flight;                  /* calls of sessions of this loop that have begun and not been answered */
} crs_dispatch;

struct crs_core {
    cereus_app *app;
    crs_registry registry;
    crs_registry remotes; /* what other servers may call */
    bool is_frontend;
    const struct crs_cluster_ops *cluster; /* NULL: standalone */
    bool unique; /* who binds an uid that another session has here kicks that; else it is closed without a word */
    void *cluster_user;
    crs_descriptors *descriptors;
    crs_rules *rules;
    char *docs_text;       /* for the documentation routes, with type names; NULL: there is none, or not started */
    char *docs_plain_text; /* the same without them, for the documentation remote */
    const cereus_serializer *serializer;
    crs_route_dict *dict;
    crs_uid_index *uids;
    crs_workers *workers;
    crs_log *log;
    void *groups; /* group/'s table, which dispatch hands through */
    crs_hook *on_bind, *on_after_bind, *on_close, *validators;
    crs_hook *on_server;                /* cluster/ calls them */
    size_t inbox_messages, inbox_bytes; /* per session */
    bool all_concurrent;                /* session.ordering: pitaya */
    uint64_t key_seed;                  /* so that nobody can aim at one loop with keys */
    uint32_t loop_count;
    crs_dispatch *loops[CRS_LOOPS_MAX];
};

/** The loop of CEREUS_HOME_KEY. */
static inline uint32_t crs_core_home_of_key(const crs_core *core, uint64_t key)
{
    __uint128_t m = (__uint128_t)(key ^ core->key_seed) * 0xa0761d6478bd642fu;
    uint64_t mixed = (uint64_t)m ^ (uint64_t)(m >> 64);
    return (uint32_t)((mixed ^ mixed >> 32) % core->loop_count);
}

/** The agents' way up; give it to the frontends. */
extern const crs_agent_ops crs_dispatch_agent_ops;

/** Wire a loop's dispatcher: adds its hook, to be called after the fibers' and before the transport's were added. */
void crs_dispatch_init(crs_dispatch *d, crs_core *core, crs_loop *loop, crs_fibers *fibers);
void crs_dispatch_fini(crs_dispatch *d);
/** Keep crs_call_stats from now on; the registry is complete. CEREUS_E_NOMEM. */
CEREUS_MUST_USE cereus_status crs_dispatch_keep_stats(crs_dispatch *d);

/** Run mail->run when a fiber can be had: at once, or when one is free. It must start a fiber. */
void crs_dispatch_when_fiber(crs_dispatch *d, crs_mail *mail);

/** Run @p fn as a task on @p d's loop. @return CEREUS_OK; CEREUS_E_FULL; CEREUS_E_NOMEM. Thread: any. */
cereus_status crs_dispatch_spawn(crs_dispatch *d, const char *name, cereus_task_fn *fn, void *user);

#endif
