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
    bool on_heap;       /* else it is on the stack of who started it */
    bool failed;        /* result is an error payload */
    bool forward;       /* to another server: route is set, method is not */
    crs_bytes result;   /* of a call on another loop */
    char *uid, *addr;   /* of a call on another loop; part of this block */
    cereus_slice body;  /* borrowed, or part of this block */
    cereus_slice route; /* of a forwarded one; part of this block */
    void *cluster;      /* the cluster's */
};

/**
 * Argument, pipelines, handler, on the current fiber.
 * @param ret_out  always set; CEREUS_OK: it is the result, if the method has one. A json in it is the caller's to drop
 */
cereus_status crs_run_handler(cereus_ctx *ctx, const crs_registry *r, const cereus_serializer *serializer,
                              const crs_method *method, cereus_slice body, cereus_value *ret_out);
/** Encode a result that must not be nothing; raw ones are not copied. The error of a failure is kept in the ctx. */
cereus_status crs_encode_result(cereus_ctx *ctx, const cereus_serializer *serializer, const cereus_value *out,
                                crs_bytes *encoded, cereus_slice *ret_body);

/**
 * A peer's JSON as a value of jansson. Integers beyond 64 bits become reals, as all numbers are for Pitaya; what nests too
 * deep for the recursion on a fiber's stack is refused.
 * @return NULL: broken, or out of memory; *err says why. Ownership: gives.
 */
json_t *crs_json_parse(cereus_slice text, size_t flags, json_error_t *err);
/** The same for what comes from players, and with their sessions from other servers: bytes that are no UTF-8 and halves of
 * surrogates become U+FFFD, as in Go. */
json_t *crs_json_parse_as_go(cereus_slice text, size_t flags, json_error_t *err);

#endif
