/* cluster/rpc/rpc.h: how servers reach one another: requests with replies, pushes and kicks to users wherever they are, word
 * of who was bound where. Engines stand beside this file (local.c, nats.c); everybody else holds a link, the engine's part on
 * one loop, and knows none of them by name but through the table at the end.
 *
 *    caller's loop: crs_rpc_call ──> engine ──> other server's loop: on_request ──> crs_rpc_reply ──> engine ──> done()
 */
#ifndef CRS_CLUSTER_RPC_RPC_H
#define CRS_CLUSTER_RPC_RPC_H

#include <cereus/engine.h>

#include "cluster/protocol.h"
#include "cluster/servers.h"
#include "loop/loop.h"

typedef struct crs_rpc crs_rpc;           /* an engine, in an app */
typedef struct crs_rpc_link crs_rpc_link; /* its part on a loop */

/** What an engine is told; the same for all. Strings are borrowed for its life. */
typedef struct crs_rpc_options {
    const cereus_server *self;
    bool observes; /* local: nobody connects to us */
    crs_log *log;
    size_t request_max; /* longest request or reply, bytes */
    const char *dir;    /* local: where the sockets are */
    const cereus_config *config;
    const cereus_rpc_engine *engine; /* of the game's own */
    const char *engine_name;
    void *engine_user;
    const struct crs_core *core; /* likewise: loops, as such engines see them */
} crs_rpc_options;

/** What comes in on a link. Slices are good until the function returns. Thread: the link's loop. */
typedef struct crs_rpc_events {
    /** A request; answer it with crs_rpc_reply() and a copy of @p reply_to, once, now or later. */
    void (*on_request)(void *user, crs_rpc_link *link, cereus_slice request, cereus_slice reply_to);
    /** A push for users of this frontend; uids: count of them. */
    void (*on_push)(void *user, cereus_slice route, cereus_slice data, const cereus_slice *uids, size_t count);
    void (*on_kick)(void *user, cereus_slice uid);
    /** Another frontend of our type has bound @p uid. */
    void (*on_bound)(void *user, const crs_bind_msg *bind);
    /** The server with @p id in this loop's list; NULL: none. */
    const cereus_server *(*find)(void *user, const char *id);
    /** Has that server said that it is one of ours? */
    bool (*is_cereus)(void *user, const char *server_id);
} crs_rpc_events;

/** A request that is out. The caller's memory until done(), which is called exactly once, and not within crs_rpc_call(). */
typedef struct crs_rpc_call crs_rpc_call;
struct crs_rpc_call {
    /** CEREUS_OK: @p response is what came. CEREUS_E_TIMEOUT; CEREUS_E_UNAVAILABLE: nobody took it, or the way is broken;
     * CEREUS_E_FAILED: the same, in words that Pitaya's clients know; CEREUS_E_CANCELLED: the link ends. @p why: a sentence for the caller, static. */
    void (*done)(crs_rpc_call *call, cereus_status st, cereus_slice response, const char *why);
    /* the link's */
    crs_rpc_link *link;
    crs_timer timer;
    crs_list queue; /* of those with one target, where an engine needs that; then of those that have failed */
    uint64_t id;
    uint64_t number;  /* NATS: of the calls of its link */
    uint64_t sent_at; /* NATS: crs_nats_writes() then */
    uint32_t slot;
    const char *why;
    cereus_status status;
};

/**
 * Send @p request to @p to.
 * @return CEREUS_OK: done() will be called, within @p timeout_ms; CEREUS_E_TOO_LONG: more than the engine takes;
 *         CEREUS_E_FULL: too many are out, or wait to be sent; CEREUS_E_CANCELLED: the link ends; CEREUS_E_NOMEM; then it
 *         will not
 * Ownership: borrows @p request only now. Thread: loop.
 */
CEREUS_MUST_USE cereus_status crs_rpc_send(crs_rpc_link *link, const cereus_server *to, cereus_slice request,
                                           uint64_t timeout_ms, crs_rpc_call *call);
/** Forget a call that is out: done() will not be called. Thread: loop. */
void crs_rpc_forget(crs_rpc_call *call);
/** Answer a request. In place of an answer that is too long goes an error that says so; what cannot be sent is counted.
 * Thread: loop. */
void crs_rpc_reply(crs_rpc_link *link, cereus_slice reply_to, cereus_slice response);

/** Send what begins with CRS_PEER_AHEAD or CRS_PEER_KICKED to where the answer to a request goes: it arrives before that, when
 * that is sent later. The request came with CRS_PEER_HEARS. @return CEREUS_OK: sent, or waits with the answers;
 * CEREUS_E_TOO_LONG; else it is lost. Thread: loop. */
CEREUS_MUST_USE cereus_status crs_rpc_send_ahead(crs_rpc_link *link, cereus_slice reply_to, cereus_slice bytes);

/** Push to users with frontends of @p type, wherever they are; nobody tells whether it arrived. @p servers: the list of
 * this loop.
 * @return CEREUS_OK: sent; CEREUS_E_UNAVAILABLE; CEREUS_E_FULL: too much waits to be sent; CEREUS_E_TOO_LONG;
 * CEREUS_E_INVALID: no such text can be sent; CEREUS_E_NOMEM. Thread: loop. */
CEREUS_MUST_USE cereus_status crs_rpc_push(crs_rpc_link *link, const char *type, const crs_servers *servers,
                                           cereus_slice route, cereus_slice data, const cereus_slice *uids,
                                           size_t count);
CEREUS_MUST_USE cereus_status crs_rpc_kick(crs_rpc_link *link, const char *type, const crs_servers *servers,
                                           cereus_slice uid);
/** Tell the other frontends of our type that @p uid is bound here now. As push. */
CEREUS_MUST_USE cereus_status crs_rpc_announce(crs_rpc_link *link, const crs_servers *servers,
                                               const crs_bind_msg *bind);
/** Can a user of this uid be reached at all? false: nobody can be bound to it. */
bool crs_rpc_can_be_user(const crs_rpc_link *link, const char *uid);
/** Pushes and kicks for @p uid shall come to this link from now on, and until as many unwatch() as watch(). */
CEREUS_MUST_USE cereus_status crs_rpc_watch(crs_rpc_link *link, const char *uid);
void crs_rpc_unwatch(crs_rpc_link *link, const char *uid);
/** Wait until what watch() and serve() asked for holds. @return true: done() of @p call will be called, within
 * @p timeout_ms; false: there is nothing to wait for, or no way to know. Thread: loop. */
bool crs_rpc_settle(crs_rpc_link *link, uint64_t timeout_ms, crs_rpc_call *call);
/** The way to @p server_id may be closed: it has left. */
void crs_rpc_server_gone(crs_rpc_link *link, const char *server_id);
/** Is a way open on which others could still send us something? They close theirs when they see that we have left. False
 * where the engine cannot tell. */
bool crs_rpc_has_callers(const crs_rpc_link *link);

/** Are calls out that later ones might overtake? */
bool crs_rpc_is_moving(const crs_rpc_link *link);

/** Something came that cannot be decoded: count it, and say so now and then. @p what is a constant. */
void crs_rpc_garbage(crs_loop *loop, const char *what);

typedef struct crs_rpc_ops crs_rpc_ops;
/** The engine of ours called @p name; NULL: none. */
const crs_rpc_ops *crs_rpc_engine(const char *name);

/** Make the engine. Thread: setup; may block (connecting). Ownership: gives. */
cereus_status crs_rpc_new(const crs_rpc_ops *ops, const crs_rpc_options *opt, crs_rpc **ret_rpc, cereus_error *err);
crs_rpc *crs_rpc_free(crs_rpc *rpc);
/** Its part on @p loop; calls can be made with it at once. Thread: setup or loop; may block. Ownership: gives. */
cereus_status crs_rpc_open(crs_rpc *rpc, crs_loop *loop, const crs_rpc_events *events, void *user,
                           crs_rpc_link **ret_link, cereus_error *err);
/** Take requests and pushes from now on. Thread: loop. */
cereus_status crs_rpc_serve(crs_rpc_link *link, cereus_error *err);
/** Calls that are out are done() with CEREUS_E_CANCELLED; others can be made. Thread: loop. */
void crs_rpc_cancel_all(crs_rpc_link *link);
/** End it: calls that are out are done() with CEREUS_E_CANCELLED. Freed when the loop has turned. Thread: loop. */
crs_rpc_link *crs_rpc_close(crs_rpc_link *link);
/** Is all connected? Thread: any. */
bool crs_rpc_connected(const crs_rpc *rpc);

#endif
