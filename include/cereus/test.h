/* cereus/test.h: a game's own tests: its app runs inside the test, players are a line of code, and time is the test's.
 *
 *     cereus_test_app *t = cereus_test_new(game_new(), CEREUS_TEST_MEMORY); // the app as main() makes it, not started
 *     cereus_test_set(t, "game.round", "30s");
 *     cereus_test_start(t);
 *     cereus_test_client *alice = cereus_test_connect(t, CEREUS_TEST_TCP);
 *     json_t *room = cereus_test_call_json(alice, "room.join", "{s:s}", "name", "alice");
 *     cereus_test_expect_json(room, "{s:s}", "result", "success");
 *     cereus_test_advance(t, 30000);
 *     cereus_test_expect_push(alice, "onRoundOver", NULL);
 *     cereus_test_end(t);
 *
 * Two modes, the same calls:
 * - CEREUS_TEST_MEMORY: no thread, no socket. The app's loops are turned by the calls of the test, connections are memory,
 *   and the clock stands still until cereus_test_advance(). The same test does the same things in the same order each
 *   time, and a wait of an hour takes none. A call that waits for something fails at once when nothing more can happen at
 *   this time. What the game offloads runs inside these calls. Code that waits for a descriptor of its own
 *   (cereus_await_fd()) belongs in the other mode, or needs the test to feed that descriptor.
 * - CEREUS_TEST_SOCKETS: as in production, loops in threads, TCP and WebSocket on free ports of 127.0.0.1, the system's
 *   clock, which nobody can move. Calls that wait fail after CEREUS_TEST_WAIT_S seconds.
 *
 * What can fail a test says what was expected and what came, and where. With <cmocka.h> included before this header it
 * fails the cmocka test; otherwise it calls what cereus_test_on_fail() set, or prints and aborts. All these may leave the
 * call by longjmp() (cmocka does): cereus_test_end() in the test's teardown cleans up then.
 *
 * Everything that a call returns (clients, texts, events, JSON) lives until cereus_test_end(), unless it says otherwise.
 * Thread: everything is called from one thread, the test's, except where a function says otherwise. Running out of memory
 * ends the process. Link with `pkg-config --libs cereus-test`.
 */
#ifndef CEREUS_TEST_H
#define CEREUS_TEST_H

#include <cereus/app.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CEREUS_TEST_WAIT_S = 30 };

typedef struct cereus_test_app cereus_test_app;       /* an app under test */
typedef struct cereus_test_client cereus_test_client; /* a player, or a raw connection */

/* -- failing -- */

/** Fails the test; may not return. @p msg has lines without a newline at its end. */
typedef void cereus_test_fail_fn(const char *file, int line, const char *msg);
/** What fails tests that are not cmocka's; NULL: print "FILE:LINE: MSG" to standard error and abort. */
CEREUS_API void cereus_test_on_fail(cereus_test_fail_fn *fn);

/** The place of a call in the test, which the macros below pass on. */
typedef struct cereus_test_where {
    const char *file;
    int line;
    cereus_test_fail_fn *fail; /* NULL: what cereus_test_on_fail() set */
} cereus_test_where;

#ifdef CMOCKA_H_
static inline void cereus_test_fail_cmocka(const char *file, int line, const char *msg)
{
    print_error("%s\n", msg);
    _fail(file, line);
}
#define CEREUS_TEST_FAIL_FN cereus_test_fail_cmocka
#else
#define CEREUS_TEST_FAIL_FN NULL
#endif

static inline cereus_test_where cereus_test_here(const char *file, int line, cereus_test_fail_fn *fail)
{
    cereus_test_where where;
    where.file = file;
    where.line = line;
    where.fail = fail;
    return where;
}
#define CEREUS_TEST_HERE cereus_test_here(__FILE__, __LINE__, CEREUS_TEST_FAIL_FN)

/** Fail the test. In a handler, task or callback of the app the process ends with the message: there is no way back from
 * there. Thread: any. */
CEREUS_API void cereus_test_fail_at(cereus_test_where where, const char *fmt, ...) CEREUS_PRINTF(2, 3);
#define cereus_test_fail(...) cereus_test_fail_at(CEREUS_TEST_HERE, __VA_ARGS__)
/** Fail unless @p what holds. Thread: any, also in handlers. */
#define cereus_test_check(what) \
    ((what) ? (void)0 : cereus_test_fail_at(CEREUS_TEST_HERE, "%s", "this does not hold: " #what))

/* -- the app -- */

typedef enum cereus_test_mode { CEREUS_TEST_MEMORY, CEREUS_TEST_SOCKETS } cereus_test_mode;

/** Put @p app, not started yet, under test. Its listeners are replaced by the kit's; neither environment nor flags are
 * read. Ownership: takes @p app; end it with cereus_test_end(). */
#define cereus_test_new(app, mode) cereus_test_new_at(CEREUS_TEST_HERE, app, mode)
CEREUS_API cereus_test_app *cereus_test_new_at(cereus_test_where where, cereus_app *app, cereus_test_mode mode);
/** Another app in the same memory: one clock, and what turns one turns all, in the order of making. */
#define cereus_test_new_beside(app, other) cereus_test_new_beside_at(CEREUS_TEST_HERE, app, other)
CEREUS_API cereus_test_app *cereus_test_new_beside_at(cereus_test_where where, cereus_app *app, cereus_test_app *other);
/** A setting, as cereus_config_set(). In memory `cereus.loops` is 1 unless set. Before the start. */
#define cereus_test_set(t, key, value) cereus_test_set_at(CEREUS_TEST_HERE, t, key, value)
CEREUS_API void cereus_test_set_at(cereus_test_where where, cereus_test_app *t, const char *key, const char *value);
/** Start it, as cereus_app_start(). */
#define cereus_test_start(t) cereus_test_start_at(CEREUS_TEST_HERE, t)
CEREUS_API void cereus_test_start_at(cereus_test_where where, cereus_test_app *t);
/** Start it and expect that it refuses: returns the error. */
#define cereus_test_start_fails(t, status) cereus_test_start_fails_at(CEREUS_TEST_HERE, t, status)
CEREUS_API const char *cereus_test_start_fails_at(cereus_test_where where, cereus_test_app *t, cereus_status status);
/** The app itself, until cereus_test_stop(). */
CEREUS_API cereus_app *cereus_test_get_app(cereus_test_app *t);
/** Stop it in the orderly way, while its players go on reading. What they have heard can still be asked for. In memory the
 * clock may move. */
CEREUS_API void cereus_test_stop(cereus_test_app *t);
/** Stop it unless that was done, hang up, free everything that @p t gave. NULL is fine, and so is a test that failed
 * half-way. Returns NULL. */
CEREUS_API cereus_test_app *cereus_test_end(cereus_test_app *t);

/** Run @p fn as a task on the home of @p service (NULL or "": any loop) and wait for its end: for functions of the game
 * that want a ctx. */
#define cereus_test_run(t, service, fn, user) cereus_test_run_at(CEREUS_TEST_HERE, t, service, fn, user)
CEREUS_API void cereus_test_run_at(cereus_test_where where, cereus_test_app *t, const char *service, cereus_task_fn *fn,
                                   void *user);

/* -- time, in memory mode -- */

/** Do all that is to be done at this time: turn the loops and let the clients read until nothing moves. Calls that wait do
 * this by themselves. With sockets it lets the clients read what is there. */
#define cereus_test_settle(t) cereus_test_settle_at(CEREUS_TEST_HERE, t)
CEREUS_API void cereus_test_settle_at(cereus_test_where where, cereus_test_app *t);
/** Let @p ms milliseconds pass: heartbeats, sleeps, deadlines, times to live, each at its time and in order. Fails with
 * sockets. */
#define cereus_test_advance(t, ms) cereus_test_advance_at(CEREUS_TEST_HERE, t, ms)
CEREUS_API void cereus_test_advance_at(cereus_test_where where, cereus_test_app *t, uint64_t ms);
/** Milliseconds since the test began, by the app's clock. In memory mode the time of day was 2026-01-02T03:04:05Z then. */
CEREUS_API uint64_t cereus_test_now_ms(cereus_test_app *t);

/* -- players: the official client, which beats its heart and inflates bodies -- */

typedef enum cereus_test_transport { CEREUS_TEST_TCP, CEREUS_TEST_WS } cereus_test_transport;

/** All zero means the defaults. */
typedef struct cereus_test_client_options {
    cereus_test_transport transport;
    const char *user_json;                 /* the handshake's "user", text of a JSON object; NULL: none */
    const char *platform, *client_version; /* of the handshake's "sys"; NULL: the client's own */
    bool compress;                         /* deflate what it sends where that is shorter */
    unsigned loop;                         /* memory mode: which of the app's loops serves it */
} cereus_test_client_options;

/** Connect a player; returns when the handshake is done. */
#define cereus_test_connect(t, transport) cereus_test_connect_at(CEREUS_TEST_HERE, t, transport)
CEREUS_API cereus_test_client *cereus_test_connect_at(cereus_test_where where, cereus_test_app *t,
                                                      cereus_test_transport transport);
#define cereus_test_connect_with(t, options) cereus_test_connect_with_at(CEREUS_TEST_HERE, t, options)
CEREUS_API cereus_test_client *cereus_test_connect_with_at(cereus_test_where where, cereus_test_app *t,
                                                           const cereus_test_client_options *options);
/** Connect and expect that the server refuses: returns the client's words for it. @p options NULL: the defaults. */
#define cereus_test_connect_fails(t, options) cereus_test_connect_fails_at(CEREUS_TEST_HERE, t, options)
CEREUS_API const char *cereus_test_connect_fails_at(cereus_test_where where, cereus_test_app *t,
                                                    const cereus_test_client_options *options);
/** Hang up. */
CEREUS_API void cereus_test_hang_up(cereus_test_client *c);
/** A frozen player neither reads nor beats its heart, as one whose network is gone. */
CEREUS_API void cereus_test_freeze(cereus_test_client *c, bool frozen);

/** What a player heard. */
typedef enum cereus_test_kind {
    CEREUS_TEST_REPLY, /* to a request */
    CEREUS_TEST_ERROR, /* likewise */
    CEREUS_TEST_PUSH,
    CEREUS_TEST_KICK,
    CEREUS_TEST_CLOSED, /* the connection's end; the last event of all */
} cereus_test_kind;

typedef struct cereus_test_event {
    cereus_test_kind kind;
    uint64_t request;  /* REPLY, ERROR: which */
    const char *route; /* PUSH; of REPLY and ERROR that of the request; else "" */
    const char *body;  /* a NUL stands behind it; never NULL */
    size_t len;
    const char *code; /* ERROR: "PIT-404"; else "" */
    const char *msg;  /* ERROR; CLOSED: why; else "" */
} cereus_test_event;

/** The value of @p key in an error's metadata; NULL: not there. */
CEREUS_API const char *cereus_test_meta(const cereus_test_event *event, const char *key);

/** Send a request; it goes out with the next call that waits, settles or advances. Returns its number. @p body is text. */
#define cereus_test_request(c, route, body) cereus_test_request_at(CEREUS_TEST_HERE, c, route, body)
CEREUS_API uint64_t cereus_test_request_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                           const char *body);
#define cereus_test_request_bytes(c, route, body) cereus_test_request_bytes_at(CEREUS_TEST_HERE, c, route, body)
CEREUS_API uint64_t cereus_test_request_bytes_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                                 cereus_slice body);
/** The body as jansson's json_pack() makes it: ("room.join", "{s:s}", "name", "alice"). */
#define cereus_test_request_json(c, route, ...) cereus_test_request_json_at(CEREUS_TEST_HERE, c, route, __VA_ARGS__)
CEREUS_API uint64_t cereus_test_request_json_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                                const char *fmt, ...);
/** Has the request been answered? Settles first. */
#define cereus_test_answered(c, request) cereus_test_answered_at(CEREUS_TEST_HERE, c, request)
CEREUS_API bool cereus_test_answered_at(cereus_test_where where, cereus_test_client *c, uint64_t request);
/** Wait for the answer, REPLY or ERROR. */
#define cereus_test_await(c, request) cereus_test_await_at(CEREUS_TEST_HERE, c, request)
CEREUS_API const cereus_test_event *cereus_test_await_at(cereus_test_where where, cereus_test_client *c,
                                                         uint64_t request);

/** Request, wait, and expect a reply: its body. What else comes meanwhile is kept. */
#define cereus_test_call(c, route, body) cereus_test_call_at(CEREUS_TEST_HERE, c, route, body)
CEREUS_API const char *cereus_test_call_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                           const char *body);
#define cereus_test_call_bytes(c, route, body) cereus_test_call_bytes_at(CEREUS_TEST_HERE, c, route, body)
CEREUS_API cereus_slice cereus_test_call_bytes_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                                  cereus_slice body);
#define cereus_test_call_json(c, route, ...) cereus_test_call_json_at(CEREUS_TEST_HERE, c, route, __VA_ARGS__)
CEREUS_API struct json_t *cereus_test_call_json_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                                   const char *fmt, ...);
/** Request, wait, and expect an error with @p code (NULL: any). */
#define cereus_test_call_fails(c, route, body, code) cereus_test_call_fails_at(CEREUS_TEST_HERE, c, route, body, code)
CEREUS_API const cereus_test_event *cereus_test_call_fails_at(cereus_test_where where, cereus_test_client *c,
                                                              const char *route, const char *body, const char *code);

/** Send a notify. */
#define cereus_test_notify(c, route, body) cereus_test_notify_at(CEREUS_TEST_HERE, c, route, body)
CEREUS_API void cereus_test_notify_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                      const char *body);
#define cereus_test_notify_bytes(c, route, body) cereus_test_notify_bytes_at(CEREUS_TEST_HERE, c, route, body)
CEREUS_API void cereus_test_notify_bytes_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                            cereus_slice body);
#define cereus_test_notify_json(c, route, ...) cereus_test_notify_json_at(CEREUS_TEST_HERE, c, route, __VA_ARGS__)
CEREUS_API void cereus_test_notify_json_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                           const char *fmt, ...);

/** The next thing that the player heard and no other call took, waiting for it: for tests of the order. */
#define cereus_test_next(c) cereus_test_next_at(CEREUS_TEST_HERE, c)
CEREUS_API const cereus_test_event *cereus_test_next_at(cereus_test_where where, cereus_test_client *c);
/** The same, but NULL when nothing is there, and it lets nothing go on: for tests that let time pass themselves. */
CEREUS_API const cereus_test_event *cereus_test_poll(cereus_test_client *c);

/* These look at pushes, kick and end, in the order in which they came; answers stay for whoever asks for them. */

/** Expect a push on @p route, with this body unless @p body is NULL. Returns its body. */
#define cereus_test_expect_push(c, route, body) cereus_test_expect_push_at(CEREUS_TEST_HERE, c, route, body)
CEREUS_API const char *cereus_test_expect_push_at(cereus_test_where where, cereus_test_client *c, const char *route,
                                                  const char *body);
/** Expect a push on @p route whose body is the JSON value that json_pack() makes. Returns it. */
#define cereus_test_expect_push_json(c, route, ...) \
    cereus_test_expect_push_json_at(CEREUS_TEST_HERE, c, route, __VA_ARGS__)
CEREUS_API struct json_t *cereus_test_expect_push_json_at(cereus_test_where where, cereus_test_client *c,
                                                          const char *route, const char *fmt, ...);
#define cereus_test_expect_kick(c) cereus_test_expect_kick_at(CEREUS_TEST_HERE, c)
CEREUS_API void cereus_test_expect_kick_at(cereus_test_where where, cereus_test_client *c);
/** Expect the end of the connection; after a kick too. Returns why, in the client's words. */
#define cereus_test_expect_closed(c) cereus_test_expect_closed_at(CEREUS_TEST_HERE, c)
CEREUS_API const char *cereus_test_expect_closed_at(cereus_test_where where, cereus_test_client *c);
/** Expect that nothing more has come, answers included. Fails with sockets, where nobody knows what is under way. */
#define cereus_test_expect_nothing(c) cereus_test_expect_nothing_at(CEREUS_TEST_HERE, c)
CEREUS_API void cereus_test_expect_nothing_at(cereus_test_where where, cereus_test_client *c);

/** Compare a JSON value with what json_pack() makes; members in any order, 1 and 1.0 are not the same. */
#define cereus_test_expect_json(json, ...) cereus_test_expect_json_at(CEREUS_TEST_HERE, json, __VA_ARGS__)
CEREUS_API void cereus_test_expect_json_at(cereus_test_where where, const struct json_t *json, const char *fmt, ...);

/* -- raw connections: bytes as they are, for what no client would do -- */

/** Connect and do nothing more, no upgrade either. Only the calls of this block, cereus_test_expect_closed() and
 * cereus_test_hang_up() work on it. */
#define cereus_test_dial(t, transport) cereus_test_dial_at(CEREUS_TEST_HERE, t, transport)
CEREUS_API cereus_test_client *cereus_test_dial_at(cereus_test_where where, cereus_test_app *t,
                                                   cereus_test_transport transport);
/** Send bytes; a connection that the server has closed swallows them. */
#define cereus_test_send(c, data, len) cereus_test_send_at(CEREUS_TEST_HERE, c, data, len)
CEREUS_API void cereus_test_send_at(cereus_test_where where, cereus_test_client *c, const void *data, size_t len);
/** Wait for @p len bytes and take them. */
#define cereus_test_read(c, len) cereus_test_read_at(CEREUS_TEST_HERE, c, len)
CEREUS_API const uint8_t *cereus_test_read_at(cereus_test_where where, cereus_test_client *c, size_t len);
/** Expect exactly these bytes next. */
#define cereus_test_expect_bytes(c, data, len) cereus_test_expect_bytes_at(CEREUS_TEST_HERE, c, data, len)
CEREUS_API void cereus_test_expect_bytes_at(cereus_test_where where, cereus_test_client *c, const void *data,
                                            size_t len);

/* -- what the app shows -- */

/** The first line of the log with @p text in it, where a * stands for anything ("msg=left*uid=bob"); NULL: none. Lines
 * from info on unless `cereus.log.level` says otherwise; the first 4096 are kept. With CEREUS_TEST_LOG=1 in the environment
 * all go to standard error too. */
CEREUS_API const char *cereus_test_logged(cereus_test_app *t, const char *text);
/** How many lines were of @p level or worse. */
CEREUS_API size_t cereus_test_log_count(cereus_test_app *t, cereus_log_level level);
/** Wait for a line with @p text in it, and return it. */
#define cereus_test_expect_log(t, text) cereus_test_expect_log_at(CEREUS_TEST_HERE, t, text)
CEREUS_API const char *cereus_test_expect_log_at(cereus_test_where where, cereus_test_app *t, const char *text);
/** Wait until @p count sessions are connected. */
#define cereus_test_expect_sessions(t, count) cereus_test_expect_sessions_at(CEREUS_TEST_HERE, t, count)
CEREUS_API void cereus_test_expect_sessions_at(cereus_test_where where, cereus_test_app *t, size_t count);
/** Wait until the counter called @p name (docs/reference/counters.md) is at least @p least. */
#define cereus_test_expect_counter(t, name, least) cereus_test_expect_counter_at(CEREUS_TEST_HERE, t, name, least)
CEREUS_API void cereus_test_expect_counter_at(cereus_test_where where, cereus_test_app *t, const char *name,
                                              uint64_t least);

/** Wait until somebody has called cereus_app_shutdown(). The app goes on until cereus_test_stop(). */
#define cereus_test_expect_shutdown(t) cereus_test_expect_shutdown_at(CEREUS_TEST_HERE, t)
CEREUS_API void cereus_test_expect_shutdown_at(cereus_test_where where, cereus_test_app *t);

/** Counts what happened inside the app, so that the test can wait for it. */
typedef struct cereus_test_gate cereus_test_gate;
CEREUS_API cereus_test_gate *cereus_test_gate_new(cereus_test_app *t);
/** Something happened. Thread: any. */
CEREUS_API void cereus_test_gate_pass(cereus_test_gate *gate);
/** How often. Thread: any. */
CEREUS_API size_t cereus_test_gate_count(cereus_test_gate *gate);
/** Wait until it happened @p count times since the gate was made. */
#define cereus_test_gate_await(gate, count) cereus_test_gate_await_at(CEREUS_TEST_HERE, gate, count)
CEREUS_API void cereus_test_gate_await_at(cereus_test_where where, cereus_test_gate *gate, size_t count);

/** Holds handlers at a place of the game's code until the test lets them go on, their loops free meanwhile. */
typedef struct cereus_test_leash cereus_test_leash;
CEREUS_API cereus_test_leash *cereus_test_leash_new(cereus_test_app *t);
/** In a handler, task or callback: wait until released; from then on it holds nobody. Returns as cereus_await_fd(). Thread:
 * fiber. May yield. */
CEREUS_API cereus_status cereus_test_leash_hold(cereus_test_leash *leash, cereus_ctx *ctx);
/** Wait until @p count handlers have come to it since it was made. */
#define cereus_test_leash_await(leash, count) cereus_test_leash_await_at(CEREUS_TEST_HERE, leash, count)
CEREUS_API void cereus_test_leash_await_at(cereus_test_where where, cereus_test_leash *leash, size_t count);
/** Thread: any. */
CEREUS_API void cereus_test_leash_release(cereus_test_leash *leash);

#ifdef __cplusplus
}
#endif
#endif
