/* cereus/module.h: parts of a server that start before its players come and end after they have gone: a storage, a
 * matchmaker, a program that runs beside it. Each is a struct of optional functions with a name.
 *
 *     start   services: Init of all, AfterInit of all; modules: Init of all, AfterInit of all, each in the order added; in a
 *             cluster, the other servers see this one; timers; tasks given before; only then do the listeners open
 *     stop    timers; in a cluster, the others see it no more, and what they have asked is answered; listeners and sessions
 *             closed, their callbacks run, tasks ended; modules: BeforeShutdown of all, then Shutdown of all, both in
 *             reverse; the same for services
 *
 * after_init is called when all init have succeeded; before_shutdown is called for whom after_init would have been, and
 * shutdown for whom init succeeded: a start that fails in the middle ends what it had begun.
 */
#ifndef CEREUS_MODULE_H
#define CEREUS_MODULE_H

#include <cereus/app.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What a module does; all zero is a module that does nothing. Filled with designated initialisers:
 *
 *     static const cereus_module storage = {.init = open_storage, .shutdown = close_storage};
 *
 * Thread: each runs on a fiber of the app's first loop, one after the other, never two at once. May yield.
 */
typedef struct cereus_module {
    /** Anything but CEREUS_OK ends the start with one line, `module "x": why`; cereus_fail() gives the why. */
    cereus_status (*init)(cereus_ctx *ctx, void *user);
    void (*after_init)(cereus_ctx *ctx, void *user);
    void (*before_shutdown)(cereus_ctx *ctx, void *user);
    /** A failure is logged; the stop goes on. A shutdown that waits is waited for, and named in the log. */
    cereus_status (*shutdown)(cereus_ctx *ctx, void *user);

    /* A session module holds a stop by SIGTERM back until the sessions that it counts have ended
     * (`pitaya.session.drain.enabled`): a room server waits for its matches. */

    /** The server is to stop: begin to send players away. Called once, in reverse order of the modules. */
    void (*start_draining)(cereus_ctx *ctx, void *user);
    /** Sessions that the stop still has to wait for. Asked every `pitaya.session.drain.period`. */
    int64_t (*session_count)(cereus_ctx *ctx, void *user);
} cereus_module;

/**
 * Add a module behind the others.
 * @param name    unique, any text but none
 * @param module  copied
 * @param user    handed to its functions, and given by cereus_app_module()
 * @return CEREUS_OK; CEREUS_E_EXISTS: "module with name X already exists"; CEREUS_E_INVALID: no name;
 *         CEREUS_E_STATE: the app runs already; CEREUS_E_NOMEM
 * Thread: setup.
 */
CEREUS_API cereus_status cereus_app_add_module(cereus_app *app, const char *name, const cereus_module *module,
                                               void *user, cereus_error *err);
/** The same, in front of the others. */
CEREUS_API cereus_status cereus_app_add_module_first(cereus_app *app, const char *name, const cereus_module *module,
                                                     void *user, cereus_error *err);
/** The user pointer of the module called @p name. NULL, and "module with name X not found" in @p err: there is none; a
 * module added with NULL gives NULL and leaves @p err alone. Thread: setup, and any from the start on. */
CEREUS_API void *cereus_app_module(cereus_app *app, const char *name, cereus_error *err);

/* -- a program that runs beside the server, as a module -- */

typedef enum cereus_restart {
    CEREUS_RESTART_NEVER,
    CEREUS_RESTART_ON_FAILURE, /* when it ended with another code than 0, or by a signal */
    CEREUS_RESTART_ALWAYS,
} cereus_restart;

/** How a run of the program ended. */
typedef struct cereus_binary_end {
    int64_t pid;
    int exit_code; /* -1: a signal ended it */
    int signal;    /* that one; 0: it exited */
    bool stopping; /* the server stops and had asked it to end */
    bool restarts; /* it is started again in `restart_ms` */
    uint64_t restart_ms;
} cereus_binary_end;
/** Thread: the app's first loop; must not wait. May call what is `Thread: any`, as cereus_app_shutdown(). */
typedef void cereus_binary_end_fn(cereus_app *app, const cereus_binary_end *end, void *user);

typedef struct cereus_binary_options {
    const char *path;        /* looked for in PATH when it has no slash */
    const char *const *args; /* without the program's name */
    size_t arg_count;
    uint64_t grace_ms; /* from SIGTERM to SIGKILL; 0: 15 s */
    cereus_restart restart;
    uint64_t backoff_ms;     /* before the first restart, twice as long before each next one; 0: 1 s */
    uint64_t backoff_max_ms; /* but never longer; a run of that length starts the count anew; 0: 60 s */
    cereus_binary_end_fn *on_end;
    void *on_end_user;
} cereus_binary_options;

/**
 * Add a module that runs a program from its init to its shutdown, with the server's environment and working directory.
 * Each line of its standard output becomes a line of the log at info, of its standard error at error; what does not fit a
 * line of the log goes on in the next, and beyond 64 KiB is left out (binary_lines_cut). It has no standard input.
 *
 * It gets a session and a process group of its own. Shutdown sends SIGTERM to the group, and SIGKILL when the program has
 * not ended in time: "timeout waiting to binary module to die". What is left of the group when the program has ended
 * gets SIGKILL at once. A program that cannot be started is a failed init.
 *
 * @param options  copied with its texts
 * @return as cereus_app_add_module(); CEREUS_E_INVALID: no path
 * Thread: setup.
 */
CEREUS_API cereus_status cereus_app_add_binary(cereus_app *app, const char *name, const cereus_binary_options *options,
                                               cereus_error *err);

#ifdef __cplusplus
}
#endif
#endif
