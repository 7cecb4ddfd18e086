/* cereus/handler.h: services and their methods. A service is a table of methods registered under a name; clients reach
 * a method as `service.method` or `servertype.service.method`. Where its code runs is the service's home, and this is
 * what makes game code free of races by default.
 */
#ifndef CEREUS_HANDLER_H
#define CEREUS_HANDLER_H

#include <cereus/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A handler in its general form; which members of @p in and @p out count is declared beside it in cereus_method.
 * @param in   the argument, good until the handler returns. The handler may change what it points to.
 * @param out  preset by the framework to what the method declares: RAW nothing yet, MESSAGE an initialised message to
 *             fill in, JSON no value yet. For a notify its shape is CEREUS_NOTHING. Setting the shape to CEREUS_NOTHING, or
 *             leaving raw.data or json NULL, is the error "reply must not be null". Memory that a reply points to must last
 *             until it has been encoded, after the after-functions: the ctx's, static, or the argument's, never the
 *             handler's stack. A json is a reference given away.
 * @param user the method's user pointer
 * @return CEREUS_OK: @p out is the reply; CEREUS_E_FAILED after cereus_fail(); any other status becomes its code
 * Thread: fiber, on the service's home.
 */
typedef cereus_status cereus_handler_fn(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user);

/** Bytes in, bytes out. For a notify @p out is NULL. */
typedef cereus_status cereus_raw_fn(cereus_ctx *ctx, cereus_slice in, cereus_slice *out);

/** A JSON value in, a JSON value out (`*out`: a new reference, given). For a notify @p out is NULL. */
typedef cereus_status cereus_json_fn(cereus_ctx *ctx, const struct json_t *in, struct json_t **out);

enum {
    /** Messages on this route neither wait for the session's others nor hold them back, on the server that handles them. A
     * frontend that forwards them does not know: there they keep the session's order. */
    CEREUS_CONCURRENT = 1,
};

/** One method: how it is called and what it takes and gives. Fill with the macros below, or by hand. */
typedef struct cereus_method {
    const char *name;                                  /* second half of the route; no dots, not empty */
    cereus_shape in;                                   /* CEREUS_NOTHING: the body is ignored */
    cereus_shape out;                                  /* CEREUS_NOTHING: a notify */
    const struct ProtobufCMessageDescriptor *in_type;  /* for CEREUS_MESSAGE */
    const struct ProtobufCMessageDescriptor *out_type; /* for CEREUS_MESSAGE */
    cereus_handler_fn *fn;                             /* exactly one of the three is set */
    cereus_raw_fn *raw;
    cereus_json_fn *json;
    void *user;
    unsigned flags;
} cereus_method;

#ifndef __cplusplus
/* clang-format off */
#define CEREUS_RAW_REQUEST(route, function)  {.name = (route), .in = CEREUS_RAW, .out = CEREUS_RAW, .raw = (function)}
#define CEREUS_RAW_NOTIFY(route, function)   {.name = (route), .in = CEREUS_RAW, .raw = (function)}
#define CEREUS_JSON_REQUEST(route, function) {.name = (route), .in = CEREUS_JSON, .out = CEREUS_JSON, .json = (function)}
#define CEREUS_JSON_NOTIFY(route, function)  {.name = (route), .in = CEREUS_JSON, .json = (function)}
/* clang-format on */
#endif

/** Where a service's code runs. What another server sends has no session here: for it "the session's loop" is the loop where
 * it came in, over NATS the first. */
typedef enum cereus_home {
    CEREUS_HOME_ONE,     /* one loop runs all of the service: its state needs no lock. The default */
    CEREUS_HOME_SESSION, /* on the session's own loop: for services whose state is the session's or none. The fastest */
    CEREUS_HOME_KEY, /* on the loop that `key` picks (a room's id): all cores, and each room still single-threaded */
} cereus_home;

/** Picks the home of one message. Same number, same loop. @p session may be asked for its id, uid and address; for remotes it
 * stands for nobody. Thread: the session's loop; must not yield. */
typedef uint64_t cereus_key_fn(cereus_session *session, const char *method, cereus_slice body, void *user);

typedef struct cereus_service_options {
    cereus_home home;
    cereus_key_fn *key; /* required with CEREUS_HOME_KEY */
    void *key_user;

    /* The service's own life, all optional; when each is called, and for whom, stands in cereus/module.h. They run on a
     * fiber of the service's home (with CEREUS_HOME_SESSION and CEREUS_HOME_KEY: of the first loop), before anybody can
     * connect and after everybody has gone, and may yield. */
    cereus_status (*init)(cereus_ctx *ctx, void *user); /* a failure ends the start: `service "x": why` */
    void (*after_init)(cereus_ctx *ctx, void *user);
    void (*before_shutdown)(cereus_ctx *ctx, void *user);
    cereus_status (*shutdown)(cereus_ctx *ctx, void *user); /* a failure is logged */
    void *user;                                             /* for these four */
} cereus_service_options;

/**
 * Register a service.
 * @param name     first half of the route: letters, digits, anything but dots and blanks
 * @param methods  copied; their strings and descriptors must live as long as the app
 * @param options  NULL: the defaults
 * @return CEREUS_OK; CEREUS_E_EXISTS: service or method name taken; CEREUS_E_INVALID: what is wrong with the table;
 *         CEREUS_E_STATE: the app runs already; CEREUS_E_NOMEM
 * Thread: setup.
 */
CEREUS_API cereus_status cereus_app_register(cereus_app *app, const char *name, const cereus_method *methods,
                                             size_t method_count, const cereus_service_options *options,
                                             cereus_error *err);

/* -- pipelines: functions around every handler -- */

/**
 * Runs before each handler, after the body was decoded. May change what @p in points to, or replace it; JSON put there is
 * the ctx's (cereus_ctx_keep()).
 * @return CEREUS_OK: go on; anything else ends the call: further before-functions, the handler and the after-functions
 *         are skipped, and the client gets the error
 * Thread: fiber, on the service's home. May yield.
 */
typedef cereus_status cereus_before_fn(cereus_ctx *ctx, cereus_value *in, void *user);

/**
 * Runs after each handler, also after one that failed. @p status is how it ended so far; return what it is from now on:
 * CEREUS_OK with a changed @p out, or another error. All run, in order; the last word counts. Who replaces out->json drops
 * the reference that was there, and gives one.
 * Thread: fiber, on the service's home. May yield.
 */
typedef cereus_status cereus_after_fn(cereus_ctx *ctx, cereus_value *out, cereus_status status, void *user);

/** Add to the back (PushBack) or the front (PushFront) of the pipeline.
 * @return CEREUS_OK; CEREUS_E_STATE: the app runs already; CEREUS_E_NOMEM. Thread: setup. */
CEREUS_API cereus_status cereus_app_before(cereus_app *app, cereus_before_fn *fn, void *user);
CEREUS_API cereus_status cereus_app_before_first(cereus_app *app, cereus_before_fn *fn, void *user);
CEREUS_API cereus_status cereus_app_after(cereus_app *app, cereus_after_fn *fn, void *user);
CEREUS_API cereus_status cereus_app_after_first(cereus_app *app, cereus_after_fn *fn, void *user);

#ifdef __cplusplus
}
#endif
#endif
