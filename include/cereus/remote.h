/* cereus/remote.h: calls between servers. A remote is a method that other servers may call: registered like a handler, in
 * a table of its own, since clients must not reach it. Arguments and replies are protobuf messages, or raw bytes where both
 * sides agree on that. In a server that is alone remotes may be registered, with a warning at the start, and calls fail.
 * Thread: fiber, where nothing else is said.
 */
#ifndef CEREUS_REMOTE_H
#define CEREUS_REMOTE_H

#include <cereus/handler.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Register a service of remotes: as cereus_app_register(), with CEREUS_NOTHING, CEREUS_RAW or CEREUS_MESSAGE in and out.
 * The name "sys" is taken. Handlers of the same name are another service with a home of its own: state that both use wants
 * CEREUS_HOME_KEY in both, with the same key. @p options: of a service's own life only handlers' services have one; remotes
 * have modules for that. Thread: setup. */
CEREUS_API cereus_status cereus_app_register_remote(cereus_app *app, const char *name, const cereus_method *methods,
                                                    size_t method_count, const cereus_service_options *options,
                                                    cereus_error *err);
/** Pipelines around remotes, the built-in ones too, as cereus_app_before() and cereus_app_after() are around handlers. What a
 * before-function refuses has the code PIT-500 for the caller, whatever it says. Thread: setup. */
CEREUS_API cereus_status cereus_app_before_remote(cereus_app *app, cereus_before_fn *fn, void *user);
CEREUS_API cereus_status cereus_app_after_remote(cereus_app *app, cereus_after_fn *fn, void *user);

typedef struct cereus_rpc_options {
    const char *server_id; /* NULL: any server of the route's type */
    /** 0: the propagated `reqTimeout` ("9s"), which also comes with a call, else
     * `pitaya.cluster.rpc.client.nats.requesttimeout`; but never more than is left of the ctx's deadline. Not 0: so long,
     * whatever the deadline. */
    uint64_t timeout_ms;
} cereus_rpc_options;

/**
 * Call `type.service.method` on another server and wait for its reply.
 * @param in         NULL: no argument
 * @param reply_type NULL: the reply is not looked at
 * @param ret_reply  set on CEREUS_OK when reply_type is given; in the ctx's memory
 * @param options    NULL: the defaults
 * @return CEREUS_OK; CEREUS_E_FAILED: the remote's error, its code, message and metadata kept in the ctx, so it can be
 *         returned as it is; over NATS also PIT-000 "nats: no responders available for request", when the server has just
 *         gone; CEREUS_E_TIMEOUT: PIT-408; CEREUS_E_UNAVAILABLE: no server of that type, or it cannot be reached;
 *         CEREUS_E_INVALID: the route, a call that could be made here, or an argument that cannot be encoded;
 *         CEREUS_E_NOT_FOUND: "server not found"; CEREUS_E_UNSUPPORTED: "RPC server is not running", alone;
 *         CEREUS_E_FULL: too many calls are out, or too much waits to be sent; CEREUS_E_TOO_LONG; CEREUS_E_MALFORMED: the
 *         answer makes no sense, or is no @p reply_type; CEREUS_E_CANCELLED: the app stops; CEREUS_E_NOMEM.
 *         The error is kept in the ctx. May yield.
 */
CEREUS_API cereus_status cereus_rpc(cereus_ctx *ctx, const char *route, const struct ProtobufCMessage *in,
                                    const struct ProtobufCMessageDescriptor *reply_type,
                                    struct ProtobufCMessage **ret_reply, const cereus_rpc_options *options);
/** The same with bytes; *ret_reply is in the ctx's memory. */
CEREUS_API cereus_status cereus_rpc_raw(cereus_ctx *ctx, const char *route, cereus_slice in, cereus_slice *ret_reply,
                                        const cereus_rpc_options *options);

/** One of many calls at once. Fill in the first part. */
typedef struct cereus_rpc_call {
    const char *route;
    cereus_slice in;
    cereus_rpc_options options;
    /* set by cereus_rpc_all() */
    cereus_status status;               /* as cereus_rpc() returns */
    cereus_slice reply;                 /* in the ctx's memory */
    const char *error_code, *error_msg; /* in the ctx's memory; NULL: it did not fail */
} cereus_rpc_call;

/** Make all calls at once and wait for all replies. @return CEREUS_OK: all came; CEREUS_E_FAILED: some did not, see each
 * call's status, and the ctx keeps the last of their errors, with its metadata; CEREUS_E_UNSUPPORTED: alone;
 * CEREUS_E_NOMEM. May yield. */
CEREUS_API cereus_status cereus_rpc_all(cereus_ctx *ctx, cereus_rpc_call *calls, size_t count);

/* -- from outside of fibers: threads of the game's own, callbacks of a library, main() -- */

/**
 * The answer to cereus_app_rpc(), once. Code and message of a failure are the ctx's (cereus_ctx_error_code()).
 * @param status  as cereus_rpc() returns
 * @param reply   on CEREUS_OK; good until the function returns
 * Thread: fiber, on the home that was named. May yield.
 */
typedef void cereus_rpc_done_fn(cereus_ctx *ctx, cereus_status status, cereus_slice reply, void *user);
/**
 * Call `type.service.method` on another server without waiting.
 * @param service  of cereus_app_register(), on whose home @p done runs; NULL or "": the first loop's
 * @param in       copied, as all texts
 * @return CEREUS_OK: @p done will be called; CEREUS_E_STATE: the app does not run; CEREUS_E_NOT_FOUND: no such service;
 *         CEREUS_E_FULL: too much is on its way to that loop; CEREUS_E_NOMEM
 * Thread: any.
 */
CEREUS_API cereus_status cereus_app_rpc(cereus_app *app, const char *service, const char *route, cereus_slice in,
                                        const cereus_rpc_options *options, cereus_rpc_done_fn *done, void *user);

/* -- the propagated context: values that travel with every call made from this ctx, and with those made from there -- */

/** Set @p key. @p value: takes the reference. @return CEREUS_OK; CEREUS_E_NOMEM */
CEREUS_API cereus_status cereus_ctx_propagate(cereus_ctx *ctx, const char *key, struct json_t *value);
/** What came with the call, or was set; NULL: nothing. Good as long as the ctx. */
CEREUS_API const struct json_t *cereus_ctx_propagated(cereus_ctx *ctx, const char *key);
/** All of it, the framework's own keys too ("peer.id", "request.id", ...). NULL: out of memory. Good as long as the ctx. */
CEREUS_API const struct json_t *cereus_ctx_propagated_all(cereus_ctx *ctx);

#ifdef __cplusplus
}
#endif
#endif
