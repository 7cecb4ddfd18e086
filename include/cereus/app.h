/* cereus/app.h: a server. Make it, register services and callbacks, let it run. Several may live in one process; they
 * share nothing. Everything marked `Thread: setup` happens before cereus_app_start(), on one thread.
 */
#ifndef CEREUS_APP_H
#define CEREUS_APP_H

#include <cereus/config.h>
#include <cereus/handler.h>
#include <cereus/log.h>
#include <cereus/serializer.h>
#include <cereus/session.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cereus_app_options {
    const char *type; /* server type, first part of its routes, so without dots and blanks; NULL: "game" */
    bool frontend;    /* players connect to it; without: a backend, which needs no listener */
    bool cluster;     /* one of many servers: by default of those on this machine, see `cereus.cluster` */
} cereus_app_options;

/** A server with default settings; NULL: out of memory. Ownership: gives, end it with cereus_app_free(). Thread: setup.
 */
CEREUS_API cereus_app *cereus_app_new(const cereus_app_options *options);
/** End an app that is not running (never started, or stopped). NULL is fine. Returns NULL. */
CEREUS_API cereus_app *cereus_app_free(cereus_app *app);

/** Its settings, to read and, before the start, to set. Lives as long as the app. */
CEREUS_API cereus_config *cereus_app_config(cereus_app *app);
/** The server type. */
CEREUS_API const char *cereus_app_type(const cereus_app *app);
/** The server's id, a random UUID unless `cereus.id` is set. */
CEREUS_API const char *cereus_app_id(const cereus_app *app);
/** What the game wants to find again through cereus_ctx_app(). Thread: setup for set. */
CEREUS_API void cereus_app_set_user(cereus_app *app, void *user);
CEREUS_API void *cereus_app_user(const cereus_app *app);

/**
 * Listen for players at @p url: tcp://HOST:PORT, ws://, or with the certificate of `cereus.tls.cert` tls:// and wss://;
 * port 0 picks a free one. Schemes of cereus_app_add_acceptor() too. Opened by start; `cereus.listen` in the configuration
 * replaces these.
 * @return CEREUS_OK; CEREUS_E_INVALID: the url; CEREUS_E_STATE: a backend, or it runs already; CEREUS_E_NOMEM
 * Thread: setup.
 */
CEREUS_API cereus_status cereus_app_listen(cereus_app *app, const char *url, cereus_error *err);
/** The @p index-th listener's actual address, "tcp://127.0.0.1:3250"; NULL: no such, or not started. Thread: any. */
CEREUS_API const char *cereus_app_address(cereus_app *app, size_t index);

/**
 * Read the certificate of tls:// and wss:// listeners again, as SIGHUP makes an app do that cereus_app_main() runs: new
 * connections get the new one, nobody is dropped. Nothing to do is CEREUS_OK.
 * @return CEREUS_OK; CEREUS_E_INVALID: @p err says what is wrong with the files, the old certificate stays; CEREUS_E_NOMEM
 * Thread: any.
 */
CEREUS_API cereus_status cereus_app_reload(cereus_app *app, cereus_error *err);

/** Hand the log's lines to @p fn in place of standard error; NULL: back to that. @return CEREUS_OK; CEREUS_E_STATE: it
 * runs already. Thread: setup. */
CEREUS_API cereus_status cereus_app_set_log(cereus_app *app, cereus_log_fn *fn, void *user);

/** Serve bodies with a serializer of the game's own, whatever `pitaya.serializertype` says; borrowed for the life of the
 * app. @return CEREUS_OK; CEREUS_E_STATE: it runs already. Thread: setup. */
CEREUS_API cereus_status cereus_app_set_serializer(cereus_app *app, const cereus_serializer *serializer);
/** Add a route to the dictionary that both sides use in place of text; blanks around it are cut off.
 * @return CEREUS_OK; CEREUS_E_EXISTS: "duplicated route(route: X, code: N)", the route or the code is taken;
 * CEREUS_E_INVALID: no route; CEREUS_E_TOO_LONG: over 255 bytes; CEREUS_E_STATE: the app runs already; CEREUS_E_NOMEM.
 * Thread: setup. */
CEREUS_API cereus_status cereus_app_add_dictionary(cereus_app *app, const char *route, uint16_t code,
                                                   cereus_error *err);

/** Called when a uid is being bound (the session knows it, look-ups do not) or has just been (look-ups find it).
 * Anything but CEREUS_OK takes the uid back and becomes the result of the bind. Where a backend binds, its own are called
 * around what the frontend does, whose are called there. Thread: fiber, on the session's loop; on a backend the handler's
 * own. May yield. */
typedef cereus_status cereus_bind_fn(cereus_ctx *ctx, void *user);
/** Checks a parsed handshake, {"sys":{...},"user":{...}} (user missing when none). Anything but CEREUS_OK refuses the
 * client with code 400. Thread: the connection's loop; must not yield. */
typedef cereus_status cereus_handshake_fn(const struct json_t *handshake, void *user);

/** Global callbacks, called in the order added. @return CEREUS_OK; CEREUS_E_STATE: the app runs already; CEREUS_E_NOMEM.
 * Thread: setup. */
CEREUS_API cereus_status cereus_app_on_session_bind(cereus_app *app, cereus_bind_fn *fn, void *user);
CEREUS_API cereus_status cereus_app_on_after_session_bind(cereus_app *app, cereus_bind_fn *fn, void *user);
CEREUS_API cereus_status cereus_app_on_session_close(cereus_app *app, cereus_session_close_fn *fn, void *user);
/** Validators are asked in the order added, until one refuses. @p name, copied, shows in the log; the same name replaces.
 * Returns as above. */
CEREUS_API cereus_status cereus_app_add_handshake_validator(cereus_app *app, const char *name, cereus_handshake_fn *fn,
                                                            void *user);

/** Called once by the thread that starts the app, when players can connect: the addresses are known. */
typedef void cereus_started_fn(cereus_app *app, void *user);
/** What to do when the app is up; a second call replaces the first. Thread: setup. */
CEREUS_API void cereus_app_on_started(cereus_app *app, cereus_started_fn *fn, void *user);

/** A piece of game code of its own, on a fiber. */
typedef void cereus_task_fn(cereus_ctx *ctx, void *user);
/**
 * Run @p fn as a task on the home of @p service, one of cereus_app_register() ("" or NULL: the first loop). Tasks given
 * before the start have run, to their end or first wait, before anybody can connect.
 * @return CEREUS_OK: it will run, or be dropped when the app stops first; CEREUS_E_NOT_FOUND: no such service;
 *         CEREUS_E_FULL: too much is on its way to that loop; CEREUS_E_NOMEM
 * Thread: any.
 */
CEREUS_API cereus_status cereus_app_spawn(cereus_app *app, const char *service, cereus_task_fn *fn, void *user);

/** Sessions connected now. Thread: any. */
CEREUS_API size_t cereus_app_session_count(cereus_app *app);
/** The counter called @p name ("sessions_opened", see docs/reference/counters.md); 0 for unknown names. Thread: any. */
CEREUS_API uint64_t cereus_app_counter(cereus_app *app, const char *name);

/**
 * Write to the log what the app is doing: sessions, queues, fibers and mail of each loop, memory, counters, the handlers
 * that took longest and those that held their loop. Returns at once; a thread asks the loops, and one that does not answer
 * within a moment is reported with the handler that it is in. SIGUSR1 does the same. While one is being written, and when
 * the app does not run, nothing happens. Thread: any, also a handler.
 */
CEREUS_API void cereus_app_dump(cereus_app *app);

/**
 * Open the listeners and run. Returns when players can connect.
 * @return CEREUS_OK; else @p err is one line that names the setting and the fix, and nothing runs
 * Thread: setup.
 */
CEREUS_API cereus_status cereus_app_start(cereus_app *app, cereus_error *err);
/** Ask a running app to stop; returns at once. Twice, or before the start, is fine. Thread: any, also a handler. */
CEREUS_API void cereus_app_shutdown(cereus_app *app);
/**
 * Wait for the end that cereus_app_shutdown() asks for, then stop everything: listeners closed, sessions closed after what was
 * queued, callbacks run, threads joined. An app that does not run is not waited for.
 * @param with_signals  the process is the app's: SIGINT, QUIT and TERM end it too, TERM after the drain
 *                      (`pitaya.session.drain.enabled`), SIGHUP is cereus_app_reload(), SIGUSR1
 *                      cereus_app_dump(), and a service manager that gave NOTIFY_SOCKET hears when the app is up, reloads and
 *                      stops. Threads of the game's own must have these five blocked; those of the app have.
 * Thread: the one that started it.
 */
CEREUS_API void cereus_app_wait(cereus_app *app, bool with_signals);

/**
 * The whole of main(): configuration (file < environment < flags), start, signals, stop.
 * @return the exit code: 0; 1: it did not start; 2: bad flags. What is wrong has been printed in one line.
 * Ownership: takes @p app.
 */
CEREUS_API int cereus_app_main(cereus_app *app, int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
