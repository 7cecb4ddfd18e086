/* cereus/client.h: the client of Cereus (and Pitaya) frontends for C programs. It never blocks and starts no thread: it
 * tells which fd to poll for what and until when, and cereus_client_step() does all the work and calls you back. A
 * program without an event loop calls cereus_client_poll() in a loop:
 *
 *     cereus_client_callbacks on = {.on_state = on_state, .on_push = on_push};
 *     cereus_client_new(NULL, &on, &game, &client, &err);
 *     cereus_client_connect(client, "tcp://localhost:3250", &err);
 *     while (cereus_client_poll(client, -1))
 *         ;
 *
 * With a loop of your own, before each wait ask cereus_client_fd(), _events() and _timeout_ms(); after it call
 * cereus_client_step(). The fd changes with every (re)connect: ask again after every call that may do so.
 *
 * Thread: all functions of one client from one thread at a time. Callbacks run inside cereus_client_step(), _poll(),
 * _connect(), _close() and _free(), and may call every function of the client except _step() and _poll().
 */
#ifndef CEREUS_CLIENT_H
#define CEREUS_CLIENT_H

#include <cereus/status.h>
#include <cereus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cereus_client cereus_client;

/*
 *              connect()                    answer 200
 *    IDLE ───▶ CONNECTING ───▶ HANDSHAKING ───▶ CONNECTED        CLOSED and KICKED: connect() starts again.
 *                  ▲  │             │               │            BACKOFF only if options.reconnect; without it a
 *            timer │  ▼             ▼               ▼            network failure leads to CLOSED. A server that refuses
 *                BACKOFF ◀──── network failure, silence          the handshake, breaks the protocol or has a certificate
 *                                                                that does not do always leads to CLOSED, a kick to KICKED.
 */
/* X(name, text) */
#define CEREUS_CLIENT_STATE_TABLE(X)                                    \
    X(IDLE, "idle")                                                     \
    X(CONNECTING, "connecting")   /* TCP, TLS, the WebSocket upgrade */ \
    X(HANDSHAKING, "handshaking") /* waits for the server's answer */   \
    X(CONNECTED, "connected")                                           \
    X(BACKOFF, "backoff") /* waits before it connects again */          \
    X(KICKED, "kicked")                                                 \
    X(CLOSED, "closed")

typedef enum cereus_client_state {
#define CEREUS_CLIENT_STATE_ENUM(name, text) CEREUS_CLIENT_##name,
    CEREUS_CLIENT_STATE_TABLE(CEREUS_CLIENT_STATE_ENUM)
#undef CEREUS_CLIENT_STATE_ENUM
} cereus_client_state;

/** One entry of an error's metadata. NUL-terminated. */
typedef struct cereus_client_pair {
    const char *key, *value;
} cereus_client_pair;

/** How a request ended. Everything in it is good until the callback returns. */
typedef struct cereus_client_reply {
    /** CEREUS_OK: the server's reply is in body. CEREUS_E_FAILED: the server answered with an error. Made up here:
     * CEREUS_E_TIMEOUT (PIT-504), CEREUS_E_GONE (connection lost) and CEREUS_E_CANCELLED (close or free; both PIT-499).
     */
    cereus_status status;
    cereus_slice body; /* inflated; of a server's error its raw payload. data is never NULL */
    const char *code;  /* "PIT-404"; "" if the server sent none, and on CEREUS_OK. Never NULL */
    const char *msg;   /* likewise */
    const cereus_client_pair *metadata;
    size_t metadata_count;
} cereus_client_reply;

/** Called exactly once for every accepted request. */
typedef void cereus_client_reply_fn(cereus_client *client, const cereus_client_reply *reply, void *user);

/** Callbacks; each may be NULL. @p user is what cereus_client_new() was given. */
typedef struct cereus_client_callbacks {
    /** The client is in a new state. @p why says what led to it, status CEREUS_OK when nothing went wrong. */
    void (*on_state)(cereus_client *client, cereus_client_state state, const cereus_error *why, void *user);
    /** A push came. route and body are good until the callback returns; route.data is NUL-terminated. */
    void (*on_push)(cereus_client *client, cereus_slice route, cereus_slice body, void *user);
    /** The server ended the session; on_state with CEREUS_CLIENT_KICKED follows. */
    void (*on_kick)(cereus_client *client, void *user);
} cereus_client_callbacks;

/** All zero means the defaults. Strings are copied. */
typedef struct cereus_client_options {
    /* what the handshake tells the server; NULL: the text in brackets */
    const char *platform;            /* [c] */
    const char *lib_version;         /* [CEREUS_VERSION] */
    const char *client_build_number; /* [1] */
    const char *client_version;      /* [0.1] */
    const char *user_json;           /* text of a JSON object for the member "user" [none] */

    uint32_t connect_timeout_ms; /* name known to handshake done, 0: 30000 */
    uint32_t request_timeout_ms; /* for requests that name none, 0: 5000 */
    size_t requests_max;         /* requests without an answer, 0: 1024, at most 65536 */
    size_t send_max;             /* bytes that wait to be written, 0: 4 MiB */
    size_t body_max;             /* bytes of one body once inflated, more ends the connection; 0: 16 MiB */
    bool compress;               /* deflate outgoing bodies when that makes them shorter */

    /* tls:// and wss://: the server's certificate must be one of an authority that is trusted, and for its name */
    const char *ca_file; /* PEM, the certificates to trust [the system's] */
    const char
        *server_name; /* for example when the URL has an address that the program has looked up [the URL's host] */
    bool insecure;    /* check neither: for tests. Anybody on the way can read and change everything */

    bool reconnect;               /* connect again after network failures */
    uint32_t reconnect_base_ms;   /* n-th wait: random in 0..base * 2^n; 0: 500 */
    uint32_t reconnect_max_ms;    /* and never longer than this; 0: 30000 */
    uint32_t reconnect_tries_max; /* give up after so many in a row, 0: never */

    /* for tests; both or either may be NULL */
    uint64_t (*now_ms)(void *user); /* a clock that never goes back [the system's monotonic clock] */
    uint32_t (*random)(void *user); /* jitter, WebSocket masks [the system's random numbers] */
} cereus_client_options;

/** Counted since cereus_client_new(). */
typedef struct cereus_client_counters {
    uint64_t connects;   /* times connected */
    uint64_t packets_in; /* of all types */
    uint64_t packets_out;
    uint64_t replies_late;     /* answers to requests that had ended already */
    uint64_t pushes_dropped;   /* with a route code, before the dictionary was known */
    uint64_t requests_refused; /* by requests_max or send_max, notifies too */
    uint64_t requests_timed_out;
} cereus_client_counters;

/**
 * Make a client. It does nothing until cereus_client_connect().
 * @param options, callbacks  NULL: all defaults, no callbacks. Borrowed until the call returns
 * @param user  handed to the callbacks and to options->now_ms, options->random
 * @return CEREUS_OK; CEREUS_E_INVALID: user_json is not a JSON object; CEREUS_E_RANGE: a limit makes no sense;
 *         CEREUS_E_TOO_LONG: handshake data do not fit in a packet; CEREUS_E_NOMEM
 * Ownership: gives *ret_client, end it with cereus_client_free().
 */
CEREUS_API cereus_status cereus_client_new(const cereus_client_options *options,
                                           const cereus_client_callbacks *callbacks, void *user,
                                           cereus_client **ret_client, cereus_error *err);

/** Close without on_state, end requests with CEREUS_E_CANCELLED, release everything. NULL is fine. Inside a callback
 * the memory goes when the callback has returned. Returns NULL. */
CEREUS_API cereus_client *cereus_client_free(cereus_client *client);

/**
 * Start to connect, from IDLE, KICKED, CLOSED or BACKOFF (then with a fresh count of tries).
 *
 * Addresses and "localhost" are taken as they are. Any other host name is looked up at once, which **blocks** for as
 * long as the system's resolver takes; the addresses found serve all reconnects too. Programs that must not block look
 * the name up themselves and pass the address. Up to 8 addresses are tried in turn.
 *
 * @param url  "tcp://HOST:PORT", "ws://HOST[:PORT][/PATH]", or within TLS "tls://" and "wss://" likewise; IPv6 addresses
 *             in brackets. The first with TLS loads OpenSSL 3 and reads ca_file, which blocks a moment, too
 * @return CEREUS_OK: under way, on_state tells the rest; CEREUS_E_INVALID: url or ca_file; CEREUS_E_UNSUPPORTED: another
 *         scheme, or TLS without OpenSSL on this machine; CEREUS_E_NOT_FOUND: no such host; CEREUS_E_STATE: connected or
 *         connecting already; CEREUS_E_NOMEM. After a failure the state is what it was.
 */
CEREUS_API cereus_status cereus_client_connect(cereus_client *client, const char *url, cereus_error *err);

/** Close the connection and stop reconnecting. What was queued is offered to the system once. Requests end with
 * CEREUS_E_CANCELLED, then the state is CLOSED. Does nothing in IDLE, KICKED and CLOSED. */
CEREUS_API void cereus_client_close(cereus_client *client);

/** The fd to poll, level-triggered; -1: none, only the timeout counts. */
CEREUS_API int cereus_client_fd(const cereus_client *client);
/** What to poll it for: POLLIN, POLLOUT or both. Changes with every call. */
CEREUS_API short cereus_client_events(const cereus_client *client);
/** Call cereus_client_step() within so many milliseconds; -1: no timer runs. */
CEREUS_API int cereus_client_timeout_ms(const cereus_client *client);

/** Do what is due: read, write, timers, callbacks. @p revents: what poll() reported for the fd, 0 when it timed out. A
 * call too many does no harm. */
CEREUS_API void cereus_client_step(cereus_client *client, short revents);

/** poll() for at most @p timeout_ms (-1: until something happens), then step. Returns false when there is nothing to
 * wait for: idle, kicked or closed. */
CEREUS_API bool cereus_client_poll(cereus_client *client, int timeout_ms);

/**
 * Send a request.
 * @param route       "type.service.method" or "service.method", at most 255 bytes
 * @param timeout_ms  0: options.request_timeout_ms
 * @param on_reply    called exactly once if this returns CEREUS_OK, never from within this call; NULL: answer ignored
 * @return CEREUS_OK: queued, the next step writes it; CEREUS_E_STATE: not connected; CEREUS_E_FULL: requests_max or
 *         send_max reached; CEREUS_E_TOO_LONG: route, or the whole does not fit in a packet; CEREUS_E_NOMEM
 * Ownership: borrows @p route and @p body until it returns.
 */
CEREUS_API CEREUS_MUST_USE cereus_status cereus_client_request(cereus_client *client, const char *route,
                                                               cereus_slice body, uint32_t timeout_ms,
                                                               cereus_client_reply_fn *on_reply, void *user);

/** Send a notify: never answered. Returns as cereus_client_request(). */
CEREUS_API CEREUS_MUST_USE cereus_status cereus_client_notify(cereus_client *client, const char *route,
                                                              cereus_slice body);

CEREUS_API cereus_client_state cereus_client_current_state(const cereus_client *client);
/** "connected"... Never NULL. */
CEREUS_API const char *cereus_client_state_name(cereus_client_state state);
/** Why the client is in its state; status CEREUS_OK: nothing went wrong. Good until the next change. */
CEREUS_API const cereus_error *cereus_client_why(const cereus_client *client);
/** The server's serializer, "json", "protobuf" or its own; "" before the first handshake. */
CEREUS_API const char *cereus_client_serializer(const cereus_client *client);
/** Heartbeat interval of the server; 0: none, or before the first handshake. */
CEREUS_API uint64_t cereus_client_heartbeat_ms(const cereus_client *client);
/** Requests without an answer. */
CEREUS_API size_t cereus_client_requests_waiting(const cereus_client *client);
CEREUS_API cereus_client_counters cereus_client_count(const cereus_client *client);

#ifdef __cplusplus
}
#endif
#endif
