/* transport/conn.h: one connection as its owner sees it: packets in, frames out, one way to end. What carries the bytes
 * (a socket, TLS on one, memory, the game's own) is a crs_stream_ops below it; how packets are cut out of bytes (one after the other, or
 * one per WebSocket message) is its framing; what may look at packets before the owner is the filter.
 *
 *    opening ──on_open──> open ──close(flush)──> flushing ──> lingering ──> closed
 *       └──────── refused, deadline ──────────────────────────────────────────┘
 *
 * - Input that the owner does not want yet (pause) stays in the kernel but for what was read already.
 * - Output made while the connection's own input is handled is gathered in a buffer of the loop and written when that
 *   input is done; all other output is queued and written once at the end of the turn, joined.
 * - Closing after a flush says goodbye properly: shut down writing, read until the peer has seen it (or 2 s), close. A
 *   plain close() with unread input would make the kernel throw away what was just written.
 *
 * Everything here is `Thread: loop`.
 */
#ifndef CRS_TRANSPORT_CONN_H
#define CRS_TRANSPORT_CONN_H

#include <netinet/in.h>
#include <sys/uio.h>

#include <cereus/acceptor.h>

#include "base/buf.h"
#include "loop/loop.h"
#include "wire/packet.h"

typedef struct crs_conn crs_conn;
typedef struct crs_transport crs_transport; /* what the connections of one loop share */
typedef struct crs_tls crs_tls;             /* a certificate to serve with: transport/tls.h */

typedef enum crs_input {
    CRS_INPUT_MORE,  /* go on */
    CRS_INPUT_PAUSE, /* the packet was taken; no more until crs_conn_resume() */
} crs_input;

typedef enum crs_conn_end {
    CRS_END_PEER,      /* the peer closed */
    CRS_END_ERROR,     /* reading or writing failed */
    CRS_END_MALFORMED, /* a packet, frame or head that breaks the protocol */
    CRS_END_TOO_LONG,  /* a packet over the limit */
    CRS_END_REFUSED,   /* the filter said so */
} crs_conn_end;

/** Who is at the other end, small enough to be kept by thousands. */
typedef struct crs_peer {
    uint8_t addr[16]; /* network order; IPv4 in the first four */
    uint16_t port;    /* host order; 0: no network address */
    bool ipv6;
} crs_peer;

enum { CRS_PEER_TEXT_MAX = 56 };

/** "127.0.0.1:3250", "[::1]:3250", or "local" where there is no network address. Returns @p out. */
const char *crs_peer_text(const crs_peer *peer, char out[CRS_PEER_TEXT_MAX]);

struct sockaddr;
/** Take over a network address; another kind leaves "local". */
void crs_peer_set(crs_peer *peer, const struct sockaddr *addr);

/** Why a filter lets a packet not through, for the peer. Texts are static. */
typedef struct crs_refusal {
    const char *code, *msg;
} crs_refusal;

/** What the owner of a connection is told. Any of them may close the connection. */
typedef struct crs_conn_ops {
    /** A packet is there; @p body may be changed in place and is good until this returns. */
    crs_input (*on_packet)(void *owner, crs_packet_type type, uint8_t *body, size_t len);
    /** Gets whole WebSocket messages, text or binary (crs_ws_opcode), in place of the packets in them: for an owner that
     * speaks another protocol. NULL: a message is one packet. Answer with crs_conn_reserve_message(). */
    crs_input (*on_message)(void *owner, uint8_t opcode, uint8_t *data, size_t len);
    /** A packet that the filter refused with an answer: tell the peer, if it is waiting for one. */
    void (*on_refused)(void *owner, crs_packet_type type, uint8_t *body, size_t len, const crs_refusal *refusal);
    /** The peer takes no more for now: crs_conn_stalled_ms() runs from here. */
    void (*on_blocked)(void *owner);
    /** All output has gone out after it was blocked, or while the owner wants no input: it may have stopped for its
     * sake. */
    void (*on_drained)(void *owner);
    /** The connection has ended by itself; @p owner must not use it any more. Not called after crs_conn_close(). */
    void (*on_end)(void *owner, crs_conn_end why);
} crs_conn_ops;

/** A connection is open: make an owner for it and crs_conn_set_owner(), or close it. */
typedef void crs_open_fn(crs_conn *conn, void *user);

typedef enum crs_framing {
    CRS_FRAMING_STREAM,    /* packets one after the other */
    CRS_FRAMING_WEBSOCKET, /* after an HTTP upgrade, one packet per message */
} crs_framing;

/** What stands between all connections and their owners: acceptor/wrappers.h. It must not call into the connection, but for
 * crs_conn_set_refusal() before CEREUS_REFUSE. */
typedef struct crs_filter {
    size_t state_len; /* bytes for each connection, zero at first; 0: none */
    /** Before the first packet. */
    void (*open)(crs_conn *conn, void *state, void *user);
    cereus_verdict (*packet)(crs_conn *conn, void *state, cereus_packet *packet, void *user);
    /** Once, for each that was opened. */
    void (*close)(crs_conn *conn, void *state, void *user);
    void *user;
} crs_filter;

typedef struct crs_transport_options {
    size_t packet_max;           /* longest packet body accepted, bytes */
    uint64_t opening_timeout_ms; /* for the HTTP upgrade and what else precedes the first packet */
    uint64_t flush_timeout_ms;   /* for what is still queued when a connection is closed */
    bool check_utf8;      /* refuse WebSocket text that is not UTF-8: crs_ws_rx_options says why it is off for games */
    crs_open_fn *on_open; /* a connection is open */
    void *on_open_user;
    bool proxy;               /* sockets begin with a PROXY head */
    const crs_filter *filter; /* NULL: packets go straight to the owner; borrowed */
} crs_transport_options;

/** The shared part for @p loop. Ownership: gives. Thread: loop or setup. */
cereus_status crs_transport_new(crs_loop *loop, const crs_transport_options *opt, crs_transport **ret_transport,
                                cereus_error *err);
/** How acceptors and engines of the game's own see a loop. */
static inline cereus_loop *crs_public_loop(crs_transport *t)
{
    return (cereus_loop *)t;
}
/** Serve TLS with @p tls from the next connection on. @return CEREUS_OK; CEREUS_E_NOMEM. Ownership: takes the reference.
 * Thread: loop or setup. */
CEREUS_MUST_USE cereus_status crs_transport_set_tls(crs_transport *t, crs_tls *tls);
/** All connections must have ended. Returns NULL. */
crs_transport *crs_transport_free(crs_transport *t);
crs_loop *crs_transport_loop(const crs_transport *t);
/** Connections that are not closed yet, lingering ones included. */
size_t crs_transport_count(const crs_transport *t);
/** Close all that have not finished their upgrade. */
void crs_transport_abort_opening(crs_transport *t);
/** Close all that wait for their first byte or their last: nobody owns them. */
void crs_transport_abort_unowned(crs_transport *t);

void crs_conn_set_owner(crs_conn *conn, const crs_conn_ops *ops, void *owner);

/** A frame that many connections share: the packet, and the WebSocket head that goes before it on those. */
typedef struct crs_frame {
    crs_buf *buf;     /* WebSocket head, then the packet */
    uint32_t ws_head; /* bytes of the former */
} crs_frame;

enum { CRS_FRAME_HEAD_MAX = 10 };

/** Make a frame for a packet of @p packet_len bytes, head included; fill in what *ret_packet points to. CEREUS_E_NOMEM.
 */
CEREUS_MUST_USE cereus_status crs_frame_new(size_t packet_len, crs_frame *ret_frame, uint8_t **ret_packet);

/**
 * Room for one packet of @p packet_len bytes, head included, at the end of the output. Fill all of it at once.
 * @return NULL: out of memory, or the connection is closing
 */
uint8_t *crs_conn_reserve(crs_conn *conn, size_t packet_len);
/** The same for a WebSocket message of @p len bytes, text or binary as @p opcode says. */
uint8_t *crs_conn_reserve_message(crs_conn *conn, uint8_t opcode, size_t len);
/** Queue a shared frame. @return CEREUS_OK; CEREUS_E_NOMEM; CEREUS_E_GONE: closing. Ownership: shares frame->buf. */
CEREUS_MUST_USE cereus_status crs_conn_send_frame(crs_conn *conn, const crs_frame *frame);
/** Bytes queued and not taken by the kernel yet. */
size_t crs_conn_out_len(const crs_conn *conn);
/** For how long the peer has taken nothing of what is queued, ms; 0: nothing is blocked. */
uint64_t crs_conn_stalled_ms(const crs_conn *conn);

/** Call on_drained once what is queued now has gone out, also if it was never blocked. */
void crs_conn_tell_drained(crs_conn *conn);

/** Want no input from now on, as on_packet can say with CRS_INPUT_PAUSE. */
void crs_conn_pause(crs_conn *conn);
/** Go on with input after CRS_INPUT_PAUSE. It is handled at the end of the turn. */
void crs_conn_resume(crs_conn *conn);
/** Is the input paused? */
bool crs_conn_paused(const crs_conn *conn);

/** End it; the owner is forgotten at once. @p flush: after what is queued has gone out; else now. */
void crs_conn_close(crs_conn *conn, bool flush);

/** What CEREUS_REFUSE answers. */
void crs_conn_set_refusal(crs_conn *conn, crs_refusal refusal);

/** The remote address. */
const crs_peer *crs_conn_peer(const crs_conn *conn);
crs_transport *crs_conn_transport(const crs_conn *conn);

#endif
