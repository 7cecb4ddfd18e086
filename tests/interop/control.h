/* tests/interop/control.h: what the control sockets of the recorded Go peers did: an operation that is run apart from any
 * request, so with a context that has nothing in it. Here it is a remote, `control.run`: peer.Say with
 * {"op", "arguments"} as its text is answered with {"ok", "err", "code", "info"}. */
#ifndef INTEROP_CONTROL_H
#define INTEROP_CONTROL_H

#include <cereus/cereus.h>

typedef struct control_op {
    const char *name;
    cereus_status (*run)(cereus_ctx *ctx, const struct json_t *arguments, struct json_t **ret_answer);
} control_op;

/** Register it, with @p ops and some of its own: servers, sessions, rpcraw {"route", "server", "hex"}. Borrows @p ops, for as
 * long as the app. */
cereus_status control_register(cereus_app *app, const control_op *ops, size_t count, cereus_error *err);

#endif
