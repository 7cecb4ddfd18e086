/* app/listeners.h: where players come in: addresses claimed once for the app, opened and closed on each loop; the
 * certificate and its renewal; what wraps the connections.
 *
 *     crs_listeners_claim()  setup, once            crs_listeners_open()   each loop, last of the start
 *     crs_listeners_close()  each loop              crs_listeners_release() when no loop uses them any more
 */
#ifndef CRS_APP_LISTENERS_H
#define CRS_APP_LISTENERS_H

#include "acceptor/custom.h"
#include "acceptor/rate_limit.h"
#include "acceptor/wrappers.h"
#include "transport/tcp.h"

enum { CRS_LISTENERS_MAX = 16 };

struct crs_app_loop;

/** One address. */
typedef struct crs_app_listener {
    crs_endpoint endpoint;             /* its text is the address of a custom one too */
    int claim;                         /* holds the address until all loops listen; -1: no longer */
    const crs_custom_acceptor *custom; /* NULL: one of ours */
    void *custom_state;
} crs_app_listener;

/** What an app knows of them. Thread: setup, then constant, unless said otherwise. */
typedef struct crs_app_listeners {
    char *urls[CRS_LISTENERS_MAX]; /* as given by the game */
    size_t url_count;
    crs_app_listener all[CRS_LISTENERS_MAX]; /* from claim to release */
    size_t count;
    crs_custom_acceptor *custom;
    crs_wrappers wrappers;
    crs_rate_limit rate_limit;
    bool rate_limit_placed; /* the game put it among its wrappers */
    crs_tls *tls;           /* guarded by the app's mu: the certificate that new loops get; NULL: none is needed */
} crs_app_listeners;

/** What one loop has of them. Thread: loop. */
typedef struct crs_loop_listeners {
    crs_listener *ours[CRS_LISTENERS_MAX];
    bool custom_started[CRS_LISTENERS_MAX];
} crs_loop_listeners;

void crs_listeners_init(crs_app_listeners *l);
void crs_listeners_fini(crs_app_listeners *l);

/** Find out which addresses, claim them, load the certificate, set up the wrappers. */
CEREUS_MUST_USE cereus_status crs_listeners_claim(cereus_app *app, cereus_error *err);
CEREUS_MUST_USE cereus_status crs_listeners_open(struct crs_app_loop *l, cereus_error *err);
void crs_listeners_close(struct crs_app_loop *l);
/** All loops listen, or none will: let go of what only held the addresses. */
void crs_listeners_drop_claims(cereus_app *app);
void crs_listeners_release(cereus_app *app);

#endif
