/* module/life.h: one step in the life of a module or a service: a function of the game that runs on a fiber while the
 * thread that starts and stops the app waits for its end. */
#ifndef CRS_MODULE_LIFE_H
#define CRS_MODULE_LIFE_H

#include "dispatch/core.h"

typedef cereus_status crs_life_fn(cereus_ctx *ctx, void *user);
typedef void crs_life_void_fn(cereus_ctx *ctx, void *user);
typedef int64_t crs_life_count_fn(cereus_ctx *ctx, void *user);

/** Filled by who posts it, who keeps it until crs_life_ended() says so. */
typedef struct crs_life_call {
    crs_dispatch *d;             /* where it runs */
    const char *name;            /* whose step it is; lives as long as the app */
    crs_life_fn *fn;             /* exactly one of the three is set */
    crs_life_void_fn *void_fn;   /* ends with CEREUS_OK */
    crs_life_count_fn *count_fn; /* ends with CEREUS_OK and `count` */
    void *user;
    int wake_fd; /* an eventfd: written when it has ended */

    /* what came of it */
    cereus_error err; /* status CEREUS_OK, or why it failed, one line */
    int64_t count;

    crs_mail begin, cancel;
    crs_fiber *fiber;    /* loop; NULL: not started, or over */
    bool cancelled;      /* loop: before it started */
    atomic_uint pending; /* release: what came of it is written; pairs with the acquire in crs_life_ended() */
} crs_life_call;

/** Begin. Thread: any but the loop's. */
void crs_life_post(crs_life_call *call);
/** All its waits end with CEREUS_E_CANCELLED from now on. At most once. Thread: as post. */
void crs_life_cancel(crs_life_call *call);
/** Has it ended, so that nobody looks at it any more? Thread: as post. */
bool crs_life_ended(const crs_life_call *call);

#endif
