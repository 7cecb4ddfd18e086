/* dispatch/call.h: one message on its way through a handler. */
#ifndef CRS_DISPATCH_CALL_H
#define CRS_DISPATCH_CALL_H

#include <jansson.h>

#include "dispatch/context.h"

/**
 * A message that waits for its turn in its session's lane, for a fiber, or that travels to another loop and comes back.
 * One that is handled at once on the session's loop never becomes one of these on the heap.
 */
struct crs_call {
    crs_mail mail;
    crs_call *next;       /* in the lane */
    crs_dispatch *origin; /* the session's loop */
    crs_dispatch *here;   /* of a call on another loop: that one */
    cereus_session_id session;
    const crs_method *method;
    uint64_t id; /* of a request that wants an answer; 0: a notify, or a request without an id */
    bool request;
    bool concurrent;
    bool on_heap;      /* else it is on the stack of who started it */
    bool failed;       /* result is an error payload */
    crs_bytes result;  /* of a call on another loop */
    char *uid, *addr;  /* of a call on another loop; part of this block */
    cereus_slice body; /* borrowed, or part of this block */
};

/**
 * A peer's JSON as a value of jansson. Integers beyond 64 bits become reals, as all numbers are for Pitaya; what nests too
 * deep for the recursion on a fiber's stack is refused.
 * @return NULL: broken, or out of memory; *err says why. Ownership: gives.
 */
json_t *crs_json_parse(cereus_slice text, size_t flags, json_error_t *err);

#endif
