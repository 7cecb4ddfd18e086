/* cereus/cluster.h: the other servers: who is there, and which of them gets a client's message. An app is in a cluster when
 * its options or `cereus.cluster` say so. Alone everything here may be called too: the list of servers is empty then.
 */
#ifndef CEREUS_CLUSTER_H
#define CEREUS_CLUSTER_H

#include <cereus/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A server of the cluster, as it has registered itself. */
typedef struct cereus_server {
    const char *id;
    const char *type;
    const char *hostname;
    bool frontend;
    const char *metadata; /* a JSON object of strings, as text */
    bool draining;        /* it waits for its sessions to end, and then stops: what is new should go to others */
} cereus_server;

/** The value of @p key in a server's metadata, in the ctx's memory; NULL: it has none. */
CEREUS_API const char *cereus_server_metadata(cereus_ctx *ctx, const cereus_server *server, const char *key);

/** Add to what this server tells of itself; texts are copied, the same key replaces. With more than 60000 bytes of it the
 * start fails. @return CEREUS_OK; CEREUS_E_STATE: the
 * app runs already; CEREUS_E_NOMEM. Thread: setup. */
CEREUS_API cereus_status cereus_app_set_metadata(cereus_app *app, const char *key, const char *value);

/* The list of servers, oneself included, as it is now; what these give is a copy in the ctx's memory. Thread: fiber. */

/** The server with @p id; NULL: there is none, or no memory. */
CEREUS_API const cereus_server *cereus_server_by_id(cereus_ctx *ctx, const char *id);
/** Those of @p type; NULL: all. @return how many; *ret_servers is an array of them, which may be NULL when there are none */
CEREUS_API size_t cereus_servers_by_type(cereus_ctx *ctx, const char *type, const cereus_server *const **ret_servers);

/**
 * A server has joined, or has left. One that says something else of itself than before joins again.
 * @param server  good until the function returns
 * Thread: the first loop; must not yield. cereus_app_spawn() makes a task of what takes longer.
 */
typedef void cereus_server_fn(cereus_app *app, const cereus_server *server, bool joined, void *user);
/** Hear of all other servers that join and leave, from the start on; called in the order added. @return CEREUS_OK;
 * CEREUS_E_STATE: the app runs already; CEREUS_E_NOMEM. Thread: setup. */
CEREUS_API cereus_status cereus_app_on_server(cereus_app *app, cereus_server_fn *fn, void *user);

/**
 * Pick the server that gets a client's message.
 * @param session  whose message it is; may be asked for its id, uid and address, and by cereus_session_peek()
 * @param route    the full route; not NUL-terminated
 * @param servers  those of the type, at least one; who drains is behind those who do not
 * @param ret_pick set to the index of one of them
 * @return CEREUS_OK; anything else, and an index that is none, is answered to the client as PIT-500 with the text of @p err
 * Thread: the session's loop; must not yield.
 */
typedef cereus_status cereus_route_fn(cereus_session *session, cereus_slice route, cereus_slice body,
                                      const cereus_server *const *servers, size_t server_count, size_t *ret_pick,
                                      void *user, cereus_error *err);
/**
 * Route messages for servers of @p type by @p fn; without, one is picked at random, of those that do not drain if there are
 * any. A second call replaces the first.
 * @return CEREUS_OK; CEREUS_E_STATE: the app runs already; CEREUS_E_NOMEM. Thread: setup.
 */
CEREUS_API cereus_status cereus_app_add_route(cereus_app *app, const char *type, cereus_route_fn *fn, void *user);

/** Is the app running, registered, and connected to all it needs? Alone: is it running? Thread: any. */
CEREUS_API bool cereus_app_is_ready(cereus_app *app);

#ifdef __cplusplus
}
#endif
#endif
