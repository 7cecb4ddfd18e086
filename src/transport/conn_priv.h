/* transport/conn_priv.h: the inside of a connection, for the files that carry bytes or cut packets. */
#ifndef CRS_TRANSPORT_CONN_PRIV_H
#define CRS_TRANSPORT_CONN_PRIV_H

#include <sys/socket.h>

#include "transport/conn.h"

enum {
    CRS_SCRATCH_LEN = 128 * 1024, /* output gathered while one connection's input is handled */
    CRS_LINGER_MS = 2000,
    CRS_FLUSH_SLICE = 512, /* connections written per turn; then the loop looks at its sockets again */
    CRS_TLS_RECORD_LEN = 16 * 1024,
};

/** What carries the bytes. recv and sendv are as their system calls: -1 with errno EAGAIN when nothing can be done now.
 */
typedef struct crs_stream_ops {
    /** Bring it up (TLS, a PROXY head), called when it is readable or writable until it says something else than
     * CEREUS_E_AGAIN; any other failure ends the connection. NULL: it is up at once. */
    cereus_status (*open)(crs_conn *conn);
    ssize_t (*recv)(crs_conn *conn, void *buf, size_t cap);
    ssize_t (*sendv)(crs_conn *conn, const struct iovec *iov, int count);
    /** Call crs_conn_on_readable / _on_writable when that is possible, from now on. */
    void (*want)(crs_conn *conn, bool readable, bool writable);
    /** Does it hold input that the last recv() had no room for? Nothing else would tell. NULL: never. */
    bool (*pending)(const crs_conn *conn);
    void (*shut)(crs_conn *conn);    /* no more output: tell the peer */
    void (*destroy)(crs_conn *conn); /* close and, when nothing refers to it any more, call crs_conn_fini() */
} crs_stream_ops;

typedef enum crs_conn_state {
    CRS_CONN_OPENING,
    CRS_CONN_OPEN,
    CRS_CONN_FLUSHING,
    CRS_CONN_LINGERING,
    CRS_CONN_CLOSED,
} crs_conn_state;

/** One piece of queued output: bytes of its own, or a view of a shared frame. */
typedef struct crs_out {
    struct crs_out *next;
    crs_buf *shared; /* NULL: own bytes in data */
    uint32_t begin;  /* first byte not sent yet */
    uint32_t end;
    uint32_t cap; /* of data */
    uint8_t data[];
} crs_out;

typedef struct crs_ws_state crs_ws_state; /* websocket.c */

struct crs_conn {
    const crs_stream_ops *stream;
    crs_transport *transport;
    const crs_conn_ops *ops; /* NULL: nobody owns it */
    void *owner;
    crs_ws_state *ws; /* NULL: CRS_FRAMING_STREAM */
    crs_out *out_head, *out_tail;
    size_t out_len;
    uint8_t *part; /* input that is not a whole packet yet, or not wanted yet */
    uint32_t part_len, part_cap;
    crs_list dirty_link;  /* on the transport's `dirty` */
    crs_list link;        /* on its `resuming` while open, else on `opening`, `flushing` or `lingering` */
    uint64_t deadline_ms; /* of that list */
    uint64_t progress_ms; /* loop time at which output last moved */
    uint8_t state;        /* crs_conn_state */
    bool paused;          /* the owner wants no input */
    bool blocked;         /* the kernel took less than was offered */
    bool tell_drained;    /* the owner waits for the output to go out */
    bool eof;             /* the peer has ended its side */
    bool up;              /* its stream is */
    bool filter_opened;
    uint16_t filter_at; /* where the filter's state begins, behind the stream's struct; 0: it has none */
    crs_peer peer;
};

struct crs_transport {
    crs_loop *loop;
    crs_transport_options opt;
    crs_list dirty;      /* output to write at the end of the turn */
    crs_list resuming;   /* input to go on with at the end of the turn */
    crs_list opening;    /* oldest first */
    crs_list flushing;   /* oldest first */
    crs_list lingering;  /* oldest first */
    crs_timer sweep;     /* looks at the three above */
    crs_conn *current;   /* whose input is being handled */
    crs_refusal refusal; /* of the packet in the filter */
    crs_tls *tls;        /* NULL: no listener needs it */
    uint8_t *record;     /* with TLS: where small pieces are joined */
    uint8_t *scratch;    /* output of `current` */
    size_t scratch_len;
    crs_out *free_views, *free_chunks; /* reused pieces of output */
    size_t free_view_count, free_chunk_count;
    size_t count;
};

/** A cleared struct of @p size bytes that begins with a crs_conn, the filter's state behind it, ready for @p framing. NULL: out
 * of memory. Ownership: gives, crs_free() it; one that is not set up has its `ws` to free, too. */
void *crs_conn_alloc(const crs_transport *t, size_t size, crs_framing framing);
/** Set up the common part of a connection that @p stream carries. It opens at
 * once if there is nothing to wait for, and it may have ended when this returns; the struct is still there. */
void crs_conn_init(crs_conn *conn, crs_transport *t, const crs_stream_ops *stream);
/** It can carry packets: hand it to the acceptor's function. */
void crs_conn_opened(crs_conn *conn);
void crs_conn_on_readable(crs_conn *conn);
void crs_conn_on_writable(crs_conn *conn);
/** Keep @p len bytes of input for later, in place of what was kept; false: out of memory. */
bool crs_conn_keep_part(crs_conn *conn, const uint8_t *data, size_t len);
/** Last call of destroy: frees the common part. The struct itself is the stream's. */
void crs_conn_fini(crs_conn *conn);
/** End it because of the peer or an error, and tell the owner. @p flush: what is queued still goes out. */
void crs_conn_end_by(crs_conn *conn, crs_conn_end why, bool flush);
/** A whole message arrived: exactly one packet, unless the owner takes messages as they are. */
void crs_conn_deliver_message(crs_conn *conn, uint8_t opcode, uint8_t *data, size_t len);
/** Room for @p len raw bytes of output. NULL: out of memory. */
uint8_t *crs_conn_reserve_raw(crs_conn *conn, size_t len);

/* websocket.c */
crs_ws_state *crs_ws_state_new(const crs_transport_options *opt);
crs_ws_state *crs_ws_state_free(crs_ws_state *ws);
/** Handle bytes of an upgrade head or of frames; returns how many were used. */
size_t crs_ws_input(crs_conn *conn, uint8_t *data, size_t len);
/** All output of an open connection has gone out: say what had to wait for that. False: out of memory. */
CEREUS_MUST_USE bool crs_ws_drained(crs_conn *conn);
/** Bytes that a frame's head for @p packet_len takes, and the head. */
size_t crs_ws_packet_head(size_t packet_len, uint8_t out[CRS_FRAME_HEAD_MAX]);

#endif
