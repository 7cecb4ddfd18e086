/* cereus/session.h: a player's session. A cereus_session is a handle that lives as long as the ctx it came from and
 * works on every loop: where the session lives elsewhere, the call goes there and back while the fiber waits. To reach
 * a session later keep its id; a session that has ended answers CEREUS_E_GONE.
 *
 * What a session's own server sends it (pushes, replies, kicks, the close) leaves in the order in which it was made; so do the
 * pushes that a handler on a backend makes to the session of its message, a kick, and the answer behind them. Pushes by uid and to groups,
 * and what several servers, or handlers that overlap, send to one session, go ways of their own between servers, in any order.
 */
#ifndef CEREUS_SESSION_H
#define CEREUS_SESSION_H

#include <cereus/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The id, to keep and to use from other threads. 0 for a session of another server, else never. */
CEREUS_API cereus_session_id cereus_session_get_id(const cereus_session *session);
/** A handle for @p id in this ctx; NULL: out of memory. A stale id is noticed by the calls made with it. */
CEREUS_API cereus_session *cereus_session_from_id(cereus_ctx *ctx, cereus_session_id id);
/** A handle for the session that @p uid is bound to on this server; NULL: nobody. */
CEREUS_API cereus_session *cereus_session_from_uid(cereus_ctx *ctx, const char *uid);

/** The bound uid, "" before the bind and when the session is gone. Good as long as the handle. On another loop than the
 * session's the first call asks there, and may yield; it is the uid of that time then, or the one bound through the handle. */
CEREUS_API const char *cereus_session_uid(const cereus_session *session);
/** Is the player connected to another server, which forwarded its message? Then uid and data are those of the time when it
 * did; bind, push and kick travel there, changes of the data only with cereus_session_push_to_front(), and callbacks, close
 * and the handshake are the frontend's own. */
CEREUS_API bool cereus_session_is_remote(const cereus_session *session);
/** "ip:port" or "[ip]:port" of the client, "local" where it has no such address; "" for a session of another server. Good as
 * long as the handle. May yield as cereus_session_uid() does. */
CEREUS_API const char *cereus_session_remote_addr(const cereus_session *session);

/**
 * Give the session its user id: checks, bind callbacks, then the uid can be found, then after-bind callbacks. Another
 * session of this server that holds the uid is closed; in a cluster with `pitaya.session.unique` it is kicked, on other
 * frontends of the type too. A failing callback takes the uid back completely.
 * @return CEREUS_OK; CEREUS_E_FAILED: a callback's error, kept in the ctx; CEREUS_E_BOUND: it has a uid; CEREUS_E_INVALID:
 *         "illegal uid" (empty, or over 255 bytes; in a cluster also one that is not UTF-8, and over NATS one with white
 *         space, with an empty part between dots, or with a part that is `*` or `>`); CEREUS_E_GONE: it has ended;
 *         CEREUS_E_FULL: too much is on its way to the session's loop, or no fiber is left there; CEREUS_E_CANCELLED: the
 *         app stops; CEREUS_E_NOMEM; for a session of another server also what cereus_rpc() returns, CEREUS_E_NOT_FOUND
 *         when that has left ("can't find any server with the provided ID")
 * May yield.
 */
CEREUS_API cereus_status cereus_session_bind(cereus_ctx *ctx, cereus_session *session, const char *uid);

/**
 * Send a push.
 * @param route  free text of at most 255 bytes
 * @return CEREUS_OK: queued, or sent to the session's loop, which drops it when the session has ended; CEREUS_E_GONE;
 * CEREUS_E_TOO_LONG: route, or more than a packet holds; CEREUS_E_INVALID: the value is NULL or cannot be serialised;
 * CEREUS_E_FULL: the policy dropped it, or too much is on its way to that loop; CEREUS_E_NOMEM. For a session of another
 * server CEREUS_OK: sent, and nobody tells whether it arrived; else CEREUS_E_NOT_BOUND: only users with a uid can be reached
 * there; CEREUS_E_NOT_FOUND: that server has left; CEREUS_E_UNAVAILABLE: NATS is away; CEREUS_E_FULL; CEREUS_E_TOO_LONG
 */
CEREUS_API cereus_status cereus_session_push(cereus_ctx *ctx, cereus_session *session, const char *route,
                                             cereus_value value);

/** Tell the client that it is kicked and close, after what was queued before. @return CEREUS_OK; CEREUS_E_GONE: it has
 * ended; CEREUS_E_FULL: too much is on its way to the session's loop; for a session of another server CEREUS_E_NOT_BOUND,
 * CEREUS_E_NOT_FOUND as cereus_session_push(), and what cereus_rpc() returns. May yield. */
CEREUS_API cereus_status cereus_session_kick(cereus_ctx *ctx, cereus_session *session);
/** Close without a word, after what was queued before. @return CEREUS_OK; CEREUS_E_GONE, CEREUS_E_FULL as kick;
 * CEREUS_E_UNSUPPORTED: a session of another server. May yield. */
CEREUS_API cereus_status cereus_session_close(cereus_ctx *ctx, cereus_session *session);

/** Called once when the session has ended, whatever ended it; the session can no longer be found then, but its uid and
 * data can be read through the ctx's session. Thread: fiber, on the session's loop. May yield. */
typedef void cereus_session_close_fn(cereus_ctx *ctx, void *user);
/** Add a close callback of this one session; they run in the order added, before the app's.
 * @return CEREUS_OK; else @p fn will not be called: CEREUS_E_GONE: it has ended; CEREUS_E_FULL: too much is on its way to
 * the session's loop; CEREUS_E_UNSUPPORTED: a session of another server; CEREUS_E_NOMEM. May yield. */
CEREUS_API cereus_status cereus_session_on_close(cereus_ctx *ctx, cereus_session *session, cereus_session_close_fn *fn,
                                                 void *user);

/* -- session data: a JSON object that lives with the session -- values are copied in and out; all of them may yield, and
 * fail with CEREUS_E_FULL when too much is on its way to the session's loop -- */

/** Set @p key. @p value: takes the reference. @return CEREUS_OK; CEREUS_E_GONE; CEREUS_E_INVALID: NULL; CEREUS_E_NOMEM
 */
CEREUS_API cereus_status cereus_session_set(cereus_ctx *ctx, cereus_session *session, const char *key,
                                            struct json_t *value);
/** The value of @p key, a copy that the ctx owns; NULL: not set, or the session is gone. */
CEREUS_API struct json_t *cereus_session_get(cereus_ctx *ctx, cereus_session *session, const char *key);
/** The same without a copy and a ctx, for functions that must not yield: routing functions and key functions. The value of
 * @p key (NULL: all), good until the function returns; NULL: not set, or the session lives on another loop. Thread: loop. */
CEREUS_API const struct json_t *cereus_session_peek(const cereus_session *session, const char *key);
/** Typed getters: numbers convert; 0 and "" where missing or of another kind. */
CEREUS_API int64_t cereus_session_get_int(cereus_ctx *ctx, cereus_session *session, const char *key);
CEREUS_API double cereus_session_get_double(cereus_ctx *ctx, cereus_session *session, const char *key);
CEREUS_API const char *cereus_session_get_text(cereus_ctx *ctx, cereus_session *session, const char *key);
/** @return CEREUS_OK, also when @p key was not there; CEREUS_E_GONE */
CEREUS_API cereus_status cereus_session_remove(cereus_ctx *ctx, cereus_session *session, const char *key);
/** All of it, a copy that the ctx owns; NULL: gone or out of memory. */
CEREUS_API struct json_t *cereus_session_data(cereus_ctx *ctx, cereus_session *session);
/** Replace all of it; @p object: takes. @return CEREUS_OK; CEREUS_E_GONE; CEREUS_E_INVALID: not an object;
 * CEREUS_E_NOMEM */
CEREUS_API cereus_status cereus_session_set_data(cereus_ctx *ctx, cereus_session *session, struct json_t *object);

/** On a backend: replace the data of the frontend's session by those of this handle. @return CEREUS_OK;
 * CEREUS_E_UNSUPPORTED: "frontend session can't push to front"; CEREUS_E_FAILED: what the frontend says;
 * CEREUS_E_NOT_FOUND: it has left; and what cereus_rpc() returns. May yield. */
CEREUS_API cereus_status cereus_session_push_to_front(cereus_ctx *ctx, cereus_session *session);

/** What the client sent in its handshake, as {"sys":{...},"user":{...}}, owned by the ctx; NULL: gone, or a session of
 * another server. May yield. */
CEREUS_API struct json_t *cereus_session_handshake(cereus_ctx *ctx, cereus_session *session);

/* -- by uid, from anywhere -- */

/**
 * Push to users, wherever they are connected. The value is serialised once, and framed once for all of this server; to others
 * goes one message to each frontend of the type (`local`) or for each user (NATS). Does not wait for the sessions: what another
 * loop or server drops is not reported, nor who is nowhere in a cluster; a uid that nobody can be bound to is (over NATS one
 * with blanks, or with a wildcard).
 * @param uids           borrowed until the call returns
 * @param frontend_type  the type of server they are connected to; NULL or "": this server's. Alone, users of another type
 *                       cannot be reached; a backend must name one
 * @param ret_failed     may be NULL; room for @p uid_count pointers; set on CEREUS_OK and CEREUS_E_FAILED to those of @p uids
 *                       that could not be reached
 * @param ret_failed_count  may be NULL; how many these are
 * @return CEREUS_OK: all were reached; CEREUS_E_FAILED: some were not, the error in the ctx says so in Pitaya's words;
 *         CEREUS_E_INVALID, CEREUS_E_TOO_LONG, CEREUS_E_NOMEM: nobody was, as cereus_session_push()
 */
CEREUS_API cereus_status cereus_push_to_users(cereus_ctx *ctx, const char *route, cereus_value value,
                                              const char *const *uids, size_t uid_count, const char *frontend_type,
                                              const char **ret_failed, size_t *ret_failed_count);
/** Kick users. As above, but sessions of this server are kicked whatever its type. May yield. */
CEREUS_API cereus_status cereus_kick_users(cereus_ctx *ctx, const char *const *uids, size_t uid_count,
                                           const char *frontend_type, const char **ret_failed,
                                           size_t *ret_failed_count);

#ifdef __cplusplus
}
#endif
#endif
