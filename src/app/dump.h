/* app/dump.h: the state of a running server, written to its log for whoever wonders what it is doing. A thread of its own
 * asks each loop by mail and waits a moment, so a loop that a handler holds is reported as such and holds up nobody. */
#ifndef CRS_APP_DUMP_H
#define CRS_APP_DUMP_H

#include "dispatch/core.h"

/** What one loop found. */
typedef struct crs_dump_loop {
    uint64_t sessions, bound, handshaking; /* bound: to a uid */
    uint64_t paused, clogged;              /* not read; with more output than they take */
    uint64_t running, lane_messages, lane_bytes;
    uint64_t outbox_bytes;
    uint64_t connections, closing;
    uint64_t fibers, fibers_made, fiber_stack_len, waiting_for_fiber;
} crs_dump_loop;

/** A loop's walk through its sessions, a slice per turn. */
typedef struct crs_dump_walk {
    crs_mail mail;       /* the loop's while `away` */
    bool away;           /* guarded by app->mu */
    uint32_t next_slot;  /* loop */
    crs_dump_loop found; /* loop */
} crs_dump_walk;

typedef struct crs_dump crs_dump;

/** No more dumps: wait for the one that is being written. Mail of it that is under way does nothing any more; pass a
 * barrier before the loops end. Thread: the one that stops the app. */
void crs_dump_close(cereus_app *app);
/** The loops have ended. */
void crs_dump_free(cereus_app *app);

#endif
