/* cereus/acceptor.h: other ways for players to connect, and what stands between a connection and the framework.
 *
 * An **acceptor** brings connections from somewhere that Cereus does not know (a Unix socket, QUIC, a test), under a URL
 * scheme of its own: cereus_app_add_acceptor(app, "unix", ...), then cereus_app_listen(app, "unix:///run/game.sock").
 * One that has connected sockets hands them over; any other gives a cereus_stream_ops. examples/acceptor has one.
 *
 * A **wrapper** sees every packet of every connection before the framework does, and may change it, drop it, refuse it or
 * close the connection. The rate limit is one. Wrappers are called in the order added. examples/wrapper has one.
 *
 * Everything here that is not `Thread: setup` runs on one of the app's loops and must not block: a cereus_loop is good on
 * its own thread only.
 */
#ifndef CEREUS_ACCEPTOR_H
#define CEREUS_ACCEPTOR_H

#include <cereus/status.h>
#include <cereus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cereus_loop cereus_loop;   /* one of the app's threads, which serves many connections */
typedef struct cereus_conn cereus_conn;   /* a player's connection */
typedef struct cereus_watch cereus_watch; /* interest in a descriptor */

/* -- acceptors -- */

typedef struct cereus_acceptor {
    /**
     * Claim what @p address, the whole URL, names. Called once by the start of the app, on its thread.
     * @param ret_state  what the other functions get
     * @return CEREUS_OK; anything else ends the start with the text in @p err
     */
    cereus_status (*open)(const char *address, void *user, void **ret_state, cereus_error *err);
    /** Bring connections to @p loop from now on. Called on each loop of the app; an acceptor that wants one loop only does
     * nothing on the others (cereus_loop_index()). Thread: loop. */
    cereus_status (*start)(void *state, cereus_loop *loop, cereus_error *err);
    /** Bring no more: the app stops or drains. Called on each loop where start was, also where it failed. May be NULL.
     * Thread: loop. */
    void (*stop)(void *state, cereus_loop *loop);
    /** After all loops have stopped it. May be NULL. */
    void (*close)(void *state);
} cereus_acceptor;

/**
 * Serve listeners whose URL begins with SCHEME://.
 * @param acceptor  borrowed for the life of the app; open and start are required
 * @return CEREUS_OK; CEREUS_E_EXISTS: the scheme is taken (tcp, tls, ws, wss are ours); CEREUS_E_INVALID: letters and
 *         digits only, or a function is missing; CEREUS_E_STATE: the app runs already; CEREUS_E_NOMEM
 * Thread: setup.
 */
CEREUS_API cereus_status cereus_app_add_acceptor(cereus_app *app, const char *scheme, const cereus_acceptor *acceptor,
                                                 void *user, cereus_error *err);

/** How packets are cut out of the bytes of a connection. */
typedef enum cereus_framing {
    CEREUS_FRAMING_STREAM,    /* one after the other, as on TCP */
    CEREUS_FRAMING_WEBSOCKET, /* an HTTP upgrade, then one packet per message */
} cereus_framing;

/** 0.. of the app's loops. Thread: loop. */
CEREUS_API unsigned cereus_loop_index(const cereus_loop *loop);

/**
 * Serve a connected stream socket.
 * @return CEREUS_OK; CEREUS_E_NOMEM: refused, and counted
 * Ownership: takes @p fd, also on failure. Thread: loop.
 */
CEREUS_API cereus_status cereus_loop_accept_fd(cereus_loop *loop, int fd, cereus_framing framing);

/** What carries the bytes of a connection that is no socket. Thread: loop, all of it. */
typedef struct cereus_stream_ops {
    /** As read(2) and write(2) on a non-blocking descriptor: -1 with errno EAGAIN when nothing can be done now, 0 from
     * read at the end. */
    ptrdiff_t (*read)(void *stream, void *buf, size_t cap);
    ptrdiff_t (*write)(void *stream, const void *data, size_t len);
    /** Call cereus_conn_readable() or _writable() whenever that is possible, from now on until the next call of this. It
     * must not call them before it has returned. */
    void (*want)(void *stream, bool readable, bool writable);
    /** No more output follows: tell the peer. May be NULL. */
    void (*shut)(void *stream);
    /** The connection is over: release everything. No function of the stream is called any more, and it must not use its
     * cereus_conn again. */
    void (*close)(void *stream);
} cereus_stream_ops;

/**
 * Serve a connection over a stream.
 * @param peer      "ip:port" of the client, its session's remote address; NULL or other text: "local"
 * @param ret_conn  set on CEREUS_OK, before anything is called: what to name in cereus_conn_readable()
 * @return CEREUS_OK, also when the connection has ended meanwhile: then close() has been called; CEREUS_E_NOMEM: refused,
 *         nothing was called
 * Ownership: takes @p stream on CEREUS_OK, until close(); borrows @p ops for as long. Thread: loop.
 */
CEREUS_API cereus_status cereus_loop_accept_stream(cereus_loop *loop, const cereus_stream_ops *ops, void *stream,
                                                   cereus_framing framing, const char *peer, cereus_conn **ret_conn);
/** There is something to read, or the end. Only while it was wanted; the connection may have ended when this returns. */
CEREUS_API void cereus_conn_readable(cereus_conn *conn);
/** There is room to write. As above. */
CEREUS_API void cereus_conn_writable(cereus_conn *conn);

/** @p events: the bits of CEREUS_FD_READABLE and CEREUS_FD_WRITABLE (cereus/context.h) that hold. Thread: loop. */
typedef void cereus_watch_fn(int fd, int events, void *user);
/**
 * Call @p fn whenever @p fd is ready. For acceptors and engines: handlers have cereus_await_fd().
 * @return CEREUS_OK; CEREUS_E_INVALID: it cannot be watched; CEREUS_E_NOMEM
 * Ownership: borrows @p fd until the watch is stopped; gives *ret_watch. Thread: loop.
 */
CEREUS_API cereus_status cereus_loop_watch(cereus_loop *loop, int fd, int events, cereus_watch_fn *fn, void *user,
                                           cereus_watch **ret_watch);
/** From now on call it for these @p events, at least one. Thread: loop. */
CEREUS_API void cereus_watch_set(cereus_watch *watch, int events);
/** End it, also from within its function; @p fd may be closed after this. NULL is fine. Returns NULL. Thread: loop. */
CEREUS_API cereus_watch *cereus_watch_stop(cereus_watch *watch);

/* -- wrappers -- */

/** The first byte of a packet of the client protocol. */
typedef enum cereus_packet_type {
    CEREUS_PACKET_HANDSHAKE = 1,
    CEREUS_PACKET_HANDSHAKE_ACK = 2,
    CEREUS_PACKET_HEARTBEAT = 3,
    CEREUS_PACKET_DATA = 4,
    CEREUS_PACKET_KICK = 5,
} cereus_packet_type;

/** A packet from a client. The body may be changed in place or replaced; what it points to must then live until the next
 * packet of the connection or its close. */
typedef struct cereus_packet {
    cereus_packet_type type;
    uint8_t *body;
    size_t len;
} cereus_packet;

typedef enum cereus_verdict {
    CEREUS_PASS,   /* to the next wrapper, then to the framework */
    CEREUS_DROP,   /* as if it had not come */
    CEREUS_REFUSE, /* the same, but a request is answered with the error of cereus_conn_refuse() */
    CEREUS_CLOSE,  /* close the connection */
} cereus_verdict;

/** Only what is needed has to be set. Thread: the connection's loop; must not block. */
typedef struct cereus_wrapper {
    size_t state_len; /* bytes of state for each connection, all zero at first */
    void (*open)(cereus_conn *conn, void *state, void *user);
    cereus_verdict (*packet)(cereus_conn *conn, void *state, cereus_packet *packet, void *user);
    void (*close)(cereus_conn *conn, void *state, void *user); /* once for each that was opened */
} cereus_wrapper;

/** Put a wrapper around all listeners, behind those added before. @p wrapper: copied. @return CEREUS_OK;
 * CEREUS_E_STATE; CEREUS_E_NOMEM. Thread: setup. */
CEREUS_API cereus_status cereus_app_add_wrapper(cereus_app *app, const cereus_wrapper *wrapper, void *user);
/**
 * Add the rate limit at this place among the wrappers, as pitaya.conn.ratelimiting.* say: a leaky bucket of `limit` slots
 * for each connection; a packet takes one for `interval`, and is dropped when none is free. Without this call,
 * `cereus.ratelimit.enabled` adds it in front of all others. Returns as cereus_app_add_wrapper(). Thread: setup.
 */
CEREUS_API cereus_status cereus_app_add_rate_limit(cereus_app *app);

/** Say what CEREUS_REFUSE answers; the texts must be static. Returns CEREUS_REFUSE. */
CEREUS_API cereus_verdict cereus_conn_refuse(cereus_conn *conn, const char *code, const char *msg);
/** "ip:port" of the client, as cereus_session_remote_addr(). Returns @p out, of @p cap bytes; 56 hold any. */
CEREUS_API const char *cereus_conn_remote_addr(const cereus_conn *conn, char *out, size_t cap);
/** The loop's monotonic clock in microseconds, as of the event being handled. */
CEREUS_API uint64_t cereus_conn_now_us(const cereus_conn *conn);

#ifdef __cplusplus
}
#endif
#endif
