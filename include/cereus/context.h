/* cereus/context.h: what a piece of game code runs in. Every handler, callback and task gets a cereus_ctx: its memory,
 * its session, its error, and the calls that wait. Game code runs on a fiber: it reads like blocking code, but while it
 * waits its loop serves others. State of the game may therefore change across every call below that says "may yield".
 *
 * A ctx belongs to one call and is used by the code of that call only; it must not be kept, nor handed to another thread.
 * Thread: fiber, everything here.
 *
 * A crash in game code (a wild pointer, abort()) ends the process as in any C program: there is no exception to catch. What
 * fails in an orderly way answers with an error.
 */
#ifndef CEREUS_CONTEXT_H
#define CEREUS_CONTEXT_H

#include <cereus/status.h>
#include <cereus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -- where am I -- */

/** The app. Never NULL. */
CEREUS_API cereus_app *cereus_ctx_app(cereus_ctx *ctx);
/** The session whose message or event this is; NULL where there is none: in tasks, timers, modules and remotes. Good as long
 * as the ctx. */
CEREUS_API cereus_session *cereus_ctx_session(cereus_ctx *ctx);
/** The full route, "connector.room.join"; in callbacks and tasks a name for logs. Never NULL; good as long as the ctx.
 */
CEREUS_API const char *cereus_ctx_route(cereus_ctx *ctx);

/* -- memory of this call: freed by itself when the call is over -- */

/** @p size bytes, cleared, aligned for any type. NULL: the call's limit (`cereus.request.memory`) or memory is used up.
 */
CEREUS_API void *cereus_ctx_alloc(cereus_ctx *ctx, size_t size);
/** Formatted text. NULL as above. */
CEREUS_API char *cereus_ctx_printf(cereus_ctx *ctx, const char *fmt, ...) CEREUS_PRINTF(2, 3);
/** @p bytes as a C string. NULL as above. */
CEREUS_API char *cereus_ctx_strdup(cereus_ctx *ctx, cereus_slice bytes);
/** Hand a jansson value to the ctx, which drops the reference when the call is over. Returns @p json.
 * NULL: it was NULL, or there is no memory left as above, and it has been dropped at once. */
CEREUS_API struct json_t *cereus_ctx_keep(cereus_ctx *ctx, struct json_t *json);

/* -- failing -- */

/**
 * Store the game's error: what the client gets is {code, msg, metadata}. `return cereus_fail(ctx, "RH-404", "no room
 * %s", id);`
 * @param code  NULL: an error without a code of its own, PIT-000 for the client; "" is sent as no code at all
 * @return CEREUS_E_FAILED, always
 */
CEREUS_API cereus_status cereus_fail(cereus_ctx *ctx, const char *code, const char *fmt, ...) CEREUS_PRINTF(3, 4);
/** The same with text that may hold any bytes. */
CEREUS_API cereus_status cereus_fail_bytes(cereus_ctx *ctx, const char *code, cereus_slice msg);
/** Add metadata to the error stored last, 32 entries at most; a key set before is replaced. Returns the status of that error,
 * so it can be returned. */
CEREUS_API cereus_status cereus_fail_meta(cereus_ctx *ctx, const char *key, const char *value);
/** The stored error's code and message; NULL when none is stored. For after-pipelines. */
CEREUS_API const char *cereus_ctx_error_code(cereus_ctx *ctx);
CEREUS_API const char *cereus_ctx_error_msg(cereus_ctx *ctx);

/* -- waiting -- all of these may yield, end early with CEREUS_E_TIMEOUT when the deadline of the ctx passes (an offloaded job
 * that was taken does not) and with CEREUS_E_CANCELLED when the app stops (at once, from then on). */

/** Let the others run for @p ms milliseconds. @return CEREUS_OK, CEREUS_E_TIMEOUT, CEREUS_E_CANCELLED. May yield. */
CEREUS_API cereus_status cereus_sleep(cereus_ctx *ctx, uint64_t ms);

enum { CEREUS_FD_READABLE = 1, CEREUS_FD_WRITABLE = 2 };

/**
 * Wait until @p fd is ready: use a database client's non-blocking mode in straight-line code.
 * @param events      CEREUS_FD_* wanted
 * @param timeout_ms  longest wait; 0: only the deadline of the ctx bounds it
 * @param ret_events  may be NULL; set on CEREUS_OK to what is ready (an error or hang-up counts as both)
 * @return CEREUS_OK; CEREUS_E_TIMEOUT; CEREUS_E_CANCELLED; CEREUS_E_INVALID: not a socket or pipe; CEREUS_E_NOMEM
 * Ownership: borrows fd, which must not be awaited twice at once; sets O_NONBLOCK on it, and leaves that. May yield.
 */
CEREUS_API cereus_status cereus_await_fd(cereus_ctx *ctx, int fd, int events, uint64_t timeout_ms, int *ret_events);

/** Work for another thread. It must not use the ctx. */
typedef void cereus_work_fn(void *user);
/**
 * Run blocking or heavy code on the worker pool and wait for its end. @p user must stay valid until then even if this
 * returns early: it does not, a started job is always waited for.
 * @return CEREUS_OK: it ran; CEREUS_E_FULL: too many jobs wait; CEREUS_E_TIMEOUT, CEREUS_E_CANCELLED: it never started
 * May yield.
 */
CEREUS_API cereus_status cereus_offload(cereus_ctx *ctx, cereus_work_fn *work, void *user);

/** Let others on this loop have a turn. May yield. */
CEREUS_API cereus_status cereus_yield(cereus_ctx *ctx);

/** The waits above, and calls of other servers that name no time of their own, end at the latest in @p ms milliseconds; 0
 * takes the deadline away. */
CEREUS_API void cereus_ctx_set_deadline(cereus_ctx *ctx, uint64_t ms);
/** Milliseconds left until the deadline; UINT64_MAX: none. */
CEREUS_API uint64_t cereus_ctx_time_left(cereus_ctx *ctx);

/* -- logging -- */

/** Write a line to the app's log, with route, uid and session added, and `request`, the id of what another server sent;
 * control characters are escaped, long text is cut. */
CEREUS_API void cereus_log_debug(cereus_ctx *ctx, const char *fmt, ...) CEREUS_PRINTF(2, 3);
CEREUS_API void cereus_log_info(cereus_ctx *ctx, const char *fmt, ...) CEREUS_PRINTF(2, 3);
CEREUS_API void cereus_log_warn(cereus_ctx *ctx, const char *fmt, ...) CEREUS_PRINTF(2, 3);
CEREUS_API void cereus_log_error(cereus_ctx *ctx, const char *fmt, ...) CEREUS_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
