/* cereus/engine.h: other ways for servers to find one another and to reach one another, beside those that Cereus has. Each is
 * added before the start under a name, and chosen by it:
 *
 *     cereus_app_add_discovery(app, "hostfile", &hostfile, NULL, &err);    cereus.cluster: hostfile
 *     cereus_app_add_rpc(app, "tcp", &tcp, NULL, &err);                    cereus.cluster.rpc: tcp
 *
 * A **discovery** tells who is there. An **rpc engine** carries messages from server to server, each with its bytes
 * unchanged and in the order of sending, as a connection does; what they mean is between Cereus servers, and Go servers do
 * not take part. All else (calls, their deadlines, order, sessions, pushes, groups) is built on that. examples/engine has
 * both.
 *
 * What is not `Thread: setup` or `Thread: any` runs on one of the app's loops and must not block.
 */
#ifndef CEREUS_ENGINE_H
#define CEREUS_ENGINE_H

#include <cereus/acceptor.h>
#include <cereus/cluster.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -- who is there -- */

typedef struct cereus_discovery cereus_discovery; /* whom a discovery tells */

/** All are required but update and close. */
typedef struct cereus_discovery_engine {
    /**
     * Claim our id: two servers of one id must not run.
     * @param self  what we are; good until close()
     * @param ret_state  what the other functions get
     * @return CEREUS_OK; anything else ends the start with the text in @p err
     * Thread: setup; may block.
     */
    cereus_status (*open)(cereus_discovery *discovery, const cereus_server *self, void *user, void **ret_state,
                          cereus_error *err);
    /** See the others, then be seen by them: calls come in from now on. cereus_discovery_set_list() has been called when
     * this returns. Anything but CEREUS_OK ends the start. Thread: fiber; may yield. */
    cereus_status (*join)(void *state, cereus_ctx *ctx, cereus_error *err);
    /** We are something else now: tell the others, who have it with the next list. @param self  good until leave() or the next
     * update(); our id and type do not change. NULL: others are not told, and go on sending what is new to a server that
     * drains. Thread: fiber; may yield. */
    cereus_status (*update)(void *state, cereus_ctx *ctx, const cereus_server *self, cereus_error *err);
    /** Be seen no more; also after a join that failed. Thread: fiber; may yield. */
    void (*leave)(void *state, cereus_ctx *ctx);
    /** Everything has ended; nothing may be told any more when this returns. May be NULL. */
    void (*close)(void *state);
} cereus_discovery_engine;

/**
 * These are all the servers there are now. We are always among them, named here or not. A server that cannot be one (no type,
 * or a name that is empty, longer than 255 bytes or has a slash, a blank or a control character; metadata that are no JSON object
 * of strings; texts that are not UTF-8 or have 64 KiB) is left out and counted (discovery_entries_refused).
 * @param servers  copied; NULL texts are empty ones, and metadata "{}"
 * @return CEREUS_OK; CEREUS_E_NOMEM: the old list stays
 * Thread: any, from open() until close() returns.
 */
CEREUS_API cereus_status cereus_discovery_set_list(cereus_discovery *discovery, const cereus_server *servers,
                                                   size_t count);
/** Does it work just now? What cereus_app_is_ready() says follows it; true after join(). Thread: as above. */
CEREUS_API void cereus_discovery_set_ready(cereus_discovery *discovery, bool ready);

/** @p engine: borrowed for the life of the app. @return CEREUS_OK; CEREUS_E_EXISTS: the name is taken, maybe by us;
 * CEREUS_E_INVALID: 1 to 32 lower-case letters, digits and -, or a function is missing; CEREUS_E_STATE: the app runs already;
 * CEREUS_E_NOMEM. Thread: setup. */
CEREUS_API cereus_status cereus_app_add_discovery(cereus_app *app, const char *name,
                                                  const cereus_discovery_engine *engine, void *user, cereus_error *err);

/* -- how they are reached -- */

typedef struct cereus_rpc_link cereus_rpc_link; /* the framework's end on one loop */

enum { CEREUS_RPC_MESSAGE_MAX = 18 << 20 }; /* bytes; no message is longer */

/** open, start, send and stop are required. */
typedef struct cereus_rpc_engine {
    /** As above. */
    cereus_status (*open)(const cereus_server *self, void *user, void **ret_state, cereus_error *err);
    /** Our part on @p loop; messages are sent from now on. @param ret_part  what the functions of a loop get. Thread:
     * setup. */
    cereus_status (*start)(void *state, cereus_loop *loop, cereus_rpc_link *link, void **ret_part, cereus_error *err);
    /** Take messages of others from now on; called before join(). Thread: loop. */
    cereus_status (*serve)(void *part, cereus_error *err);
    /**
     * Send @p message to @p server_id: it arrives whole, once or not at all, after those that this loop sent there before.
     * It must not call the link before it has returned, but for cereus_rpc_link_server(). Answers may go to servers that the
     * list does not have yet: of two, the one that came later hears of the other first, and calls it.
     * @return CEREUS_OK: it is on its way; CEREUS_E_UNAVAILABLE: there is none, which a caller hears at once;
     *         CEREUS_E_TOO_LONG, CEREUS_E_FULL, CEREUS_E_NOMEM: it was not sent
     * Ownership: borrows @p message. Thread: loop.
     */
    cereus_status (*send)(void *part, const char *server_id, cereus_slice message);
    /** @p server_id has left: close the way to it when what was sent has gone. Answers may still come; when none can any
     * more, say cereus_rpc_link_ended(). Whoever comes back under this id gets a way of its own. May be NULL. Thread: loop.
     */
    void (*gone)(void *part, const char *server_id);
    /** End; cereus_rpc_link is not used any more when this returns. Its loop has ended, so watches are silent: it may block
     * for a moment, by poll(), to send what still waits, the last answers among it. */
    void (*stop)(void *part);
    /** Could others still send us something? They close the way when they see that we have left, and the end waits for
     * that, for half of cereus.shutdown.timeout at most. NULL: it is not known, and what comes late is lost. Thread: loop. */
    bool (*has_callers)(void *part);
    /** Does it work just now? As cereus_discovery_set_ready(). NULL: always. Thread: any. */
    bool (*connected)(void *state);
    /** All loops have ended. May be NULL. */
    void (*close)(void *state);
} cereus_rpc_engine;

/** The server that the list has under @p server_id, for engines that find addresses in metadata; NULL: none, it has left. Good
 * until the function of the engine that asks returns. Thread: loop. */
CEREUS_API const cereus_server *cereus_rpc_link_server(cereus_rpc_link *link, const char *server_id);
/** A message of another server has come, on whichever loop. It may call send(), never stop(). What makes no sense is counted
 * (rpc_garbage). Ownership: borrows. Thread: loop. */
CEREUS_API void cereus_rpc_link_receive(cereus_rpc_link *link, cereus_slice message);
/** The way to @p server_id is broken: what this loop has sent there may be lost, and calls that wait for an answer end now
 * with CEREUS_E_UNAVAILABLE, not at their deadlines. A later send() makes a new way. Thread: loop. */
CEREUS_API void cereus_rpc_link_broken(cereus_rpc_link *link, const char *server_id);
/** The same of a way that gone() was told of, the oldest of that id: it has come to its end, in order or not, and calls that
 * still wait for answers from there end now. Those to a server that has the id since then go on. Thread: loop. */
CEREUS_API void cereus_rpc_link_ended(cereus_rpc_link *link, const char *server_id);

/** As cereus_app_add_discovery(). */
CEREUS_API cereus_status cereus_app_add_rpc(cereus_app *app, const char *name, const cereus_rpc_engine *engine,
                                            void *user, cereus_error *err);

#ifdef __cplusplus
}
#endif
#endif
