/* tests/support/game.h: a whole server in the test's own process, and blocking clients that talk to it over real
 * sockets, so that a test of what games see is a dozen lines:
 *
 *     game *g = game_new(2);
 *     game_serve(g, "room", methods, CEREUS_COUNT(methods), NULL);
 *     game_start(g);
 *     client *c = client_connect(g, GAME_TCP);
 *     assert_string_equal(client_call(c, "room.join", "alice"), "welcome");
 *     game_end(g);
 *
 * The server's half is the public test kit (cereus/test.h) with its sockets. The clients are not: these say a word of the
 * protocol at a time, wrong ones too, where the kit plays with the official client, which never would.
 *
 * Asserts of cmocka may be used by the test's own thread only; handlers use CHECK(). Every wait ends after GAME_WAIT_S
 * seconds with a failed test.
 */
#ifndef TEST_GAME_H
#define TEST_GAME_H

#include "test.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include <cereus/cereus.h>
#include <cereus/test.h>

#include "session/session.h"

enum { GAME_WAIT_S = 30 };

/** What a handler or callback asserts: it runs on another thread than the test. */
#define CHECK(what)                                                                                 \
    do {                                                                                            \
        if (!(what)) {                                                                              \
            fprintf(stderr, "%s:%d: a handler's check failed: %s\n", __FILE__, __LINE__, "" #what); \
            abort();                                                                                \
        }                                                                                           \
    } while (0)

/** How much of a long test to do: all of it, or less where a sanitizer makes everything slow. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GAME_SCALE(full, reduced) (reduced)
#else
#define GAME_SCALE(full, reduced) (full)
#endif

/* -- events between threads -- */

/** Counts what happened on the loops, so that the test can wait for it. */
typedef struct gate {
    pthread_mutex_t mu;
    pthread_cond_t changed;
    size_t count; /* guarded by mu */
} gate;

#define GATE_INIT                                                            \
    {                                                                        \
        .mu = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER \
    }
/** Thread: any. */
void gate_pass(gate *g);
/** Wait until @p count passed since the gate was made or reset. Thread: the test's. */
void gate_await(gate *g, size_t count);
/** How many have passed. Thread: any. */
size_t gate_count(gate *g);
void gate_reset(gate *g);

/** What keeps handlers waiting, their loop free, until the test lets them go on. */
typedef struct leash {
    int fd;
} leash;

void leash_init(leash *l);
void leash_fini(leash *l);
/** In a handler: wait until released, for ever from then on. Returns as cereus_await_fd() does. */
cereus_status leash_hold(leash *l, cereus_ctx *ctx);
/** Thread: any. */
void leash_release(leash *l);

/* -- the server -- */

typedef enum game_transport { GAME_TCP, GAME_WS } game_transport;

typedef struct game {
    cereus_test_app *t;
    cereus_app *app;
    struct client *clients; /* of this game, closed by game_end() */
    bool stopped;           /* it need not be stopped any more */
} game;

/** A frontend of type "game" with a TCP and a WebSocket listener, @p loops loops, no compression, not started. */
game *game_new(unsigned loops);
void game_set(game *g, const char *key, const char *value);
void game_serve(game *g, const char *service, const cereus_method *methods, size_t method_count,
                const cereus_service_options *options);
#define GAME_SERVE(g, service, methods, options) game_serve(g, service, methods, CEREUS_COUNT(methods), options)
/** Also serves "kit.where" for client_connect_on(). */
void game_start(game *g);
/** Ask for the end and wait for it. Clients and what they have received stay. */
void game_stop(game *g);
/** Stop (unless that was done), hang up all clients, free everything. */
void game_end(game *g);
/** Wait until @p count sessions are connected. */
void game_await_sessions(game *g, size_t count);
/** Wait until the counter called @p name is at least @p least. */
void game_await_counter(game *g, const char *name, uint64_t least);
/** Is there a line in the log with both texts (the second may be NULL)? Only warnings and errors are kept. */
bool game_logged(game *g, const char *text, const char *other);

/* -- clients -- */

typedef enum event_kind { EVENT_RESPONSE, EVENT_ERROR, EVENT_PUSH, EVENT_KICK, EVENT_CLOSED } event_kind;

/** What a client heard. Texts live as long as the client. */
typedef struct event {
    event_kind kind;
    uint64_t id;       /* RESPONSE, ERROR */
    const char *route; /* PUSH */
    const char *body;  /* a NUL stands behind it */
    size_t len;
} event;

typedef struct client client;

/** Connect and do nothing more (a WebSocket is upgraded). */
client *client_dial(game *g, game_transport transport);
/** Connect without even the upgrade. */
client *client_dial_raw(game *g, game_transport transport);
/** Dial, handshake, ack. */
client *client_connect(game *g, game_transport transport);
/** The same with a session that lives on loop number @p loop. */
client *client_connect_on(game *g, game_transport transport, unsigned loop);
/** Hang up and forget. */
void client_close(client *c);
/** Hang up, but go on living; nothing more may be sent. */
void client_shut(client *c);
/** Let a thread of its own read until the server closes, and hang up then, as real clients do: a server that stops waits
 * for that. What was heard is there for client_next(), which waits for the end. Nothing more may be sent. */
void client_listen(client *c);
/** The session's id and its loop, asked from the server. */
cereus_session_id client_session(client *c);
unsigned client_loop(client *c);

/** Send a handshake packet. */
void client_send_handshake(client *c, const char *json);
/** Send the handshake and take the answer: its code. */
int client_handshake(client *c, const char *json);
void client_ack(client *c);
/** Bytes as they are, without a frame around. */
void client_send_bytes(client *c, const void *data, size_t len);
/** One packet. */
void client_send_packet(client *c, int type, const void *body, size_t len);
/** Send a request; returns its id. */
uint64_t client_request(client *c, const char *route, const char *body);
uint64_t client_request_bytes(client *c, const char *route, const void *body, size_t len);
/** One with an id of the caller's choice. */
void client_request_id(client *c, uint64_t id, const char *route, const char *body);
void client_notify(client *c, const char *route, const char *body);
void client_notify_bytes(client *c, const char *route, const void *body, size_t len);

/** Gather what is sent from now on; client_uncork() sends it at once. */
void client_cork(client *c);
void client_uncork(client *c);

/** The next thing that is not a heartbeat. After the connection's end always EVENT_CLOSED. */
event client_next(client *c);
/** Request, and the response, which must come next and be no error: its body. */
const char *client_call(client *c, const char *route, const char *body);
event client_call_bytes(client *c, const char *route, const void *body, size_t len);
/** Request, and an error that must come next: code and message in `body` as "code|msg". */
const char *client_fail(client *c, const char *route, const char *body);
/** An error's "code|msg". */
const char *client_error_text(client *c, event e);
void client_expect_response(client *c, uint64_t id, const char *body);
void client_expect_push(client *c, const char *route, const char *body);
void client_expect_kick(client *c);
void client_expect_closed(client *c);
/** Memory that lives as long as the client. */
void *client_keep(client *c, size_t len);

/* -- handlers that many tests use -- */

/** What @p in says as a C string (a raw argument has a NUL behind it). */
static inline const char *text_of(cereus_slice in)
{
    return (const char *)in.data;
}

/** Reply with @p text, which must live until the handler has returned. */
static inline cereus_status reply_text(cereus_slice *out, const char *text)
{
    *out = cereus_slice_str(text);
    return CEREUS_OK;
}

#endif
