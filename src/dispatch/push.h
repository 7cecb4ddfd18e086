/* dispatch/push.h: one value to many sessions: encoded, compressed and framed once, then shared. */
#ifndef CRS_DISPATCH_PUSH_H
#define CRS_DISPATCH_PUSH_H

#include "dispatch/context.h"

/** Encode @p value for a push into the dispatcher's buffer (raw bytes are not copied). *ret_body is good until the
 * fiber next waits. On failure the ctx tells why. */
CEREUS_MUST_USE cereus_status crs_push_body(cereus_ctx *ctx, const cereus_value *value, cereus_slice *ret_body);

/** Hand a frame to another loop for @p count of its sessions. @return CEREUS_OK; CEREUS_E_FULL; CEREUS_E_NOMEM */
CEREUS_MUST_USE cereus_status crs_push_send_away(crs_dispatch *to, const crs_frame *frame, const cereus_session_id *ids,
                                                 size_t count);

/**
 * Push a frame to many sessions on all loops.
 * @param ids         0: nobody, counted as failed
 * @param ret_failed  may be NULL; set for each of @p count
 * @return how many could not be reached
 */
size_t crs_push_to_many(cereus_ctx *ctx, const crs_frame *frame, const cereus_session_id *ids, size_t count,
                        bool *ret_failed);

/**
 * Push to users wherever they are: those whose session is known here, the others by way of the cluster.
 * @param frontend_type  as cereus_push_to_users()
 * @param ids            their sessions on this server, 0: not here; used when @p frontend_type is ours
 * @param failed         set for each of @p count
 * @return CEREUS_OK; CEREUS_E_FAILED: some could not be sent to, or all, for want of a type; CEREUS_E_INVALID,
 *         CEREUS_E_TOO_LONG, CEREUS_E_NOMEM. The error is kept in the ctx. Thread: fiber; does not yield.
 */
cereus_status crs_push_to_users(cereus_ctx *ctx, const char *frontend_type, cereus_slice route,
                                const cereus_value *value, const char *const *uids, const cereus_session_id *ids,
                                size_t count, bool *failed);

#endif
