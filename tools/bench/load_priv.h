/* tools/bench/load_priv.h: the inside of a run. peer.c moves bytes of one connection and shakes hands; load.c decides
 * what is asked when, and counts. One thread, level-triggered epoll, per event one read and at most one write.
 */
#ifndef CRS_BENCH_LOAD_PRIV_H
#define CRS_BENCH_LOAD_PRIV_H

#include "base/buf.h"
#include "base/clock.h"
#include "ext/tls_client.h"
#include "frame.h"
#include "load.h"
#include "wire/compress.h"

/* What the connections of one group ask for. The requests are made once: request `slot` of every connection is the same
 * bytes with the id slot + 1, which is free again when its answer is there. */
typedef struct crs_plan {
    uint32_t depth;           /* slots; 0: asks nothing */
    uint32_t ops_per_answer;  /* more than one when a burst of notifies precedes the request */
    crs_bytes packets;        /* ready to be sent */
    size_t *offsets;          /* depth + 1: where in `packets` each request begins, and their end */
    cereus_slice body_wanted; /* in the answers; nothing: any */
    bool expect_compressed;
    uint64_t issue_left;  /* requests that may still be made */
    uint64_t outstanding; /* requests made and not answered */
    uint64_t issued, answered;
} crs_plan;

typedef enum crs_peer_state {
    CRS_PEER_NONE,
    CRS_PEER_CONNECTING,
    CRS_PEER_SECURING,
    CRS_PEER_UPGRADING,
    CRS_PEER_SHAKING,
    CRS_PEER_JOINING,
    CRS_PEER_READY,
    CRS_PEER_CLOSED,
} crs_peer_state;

typedef struct crs_peer {
    int fd;
    crs_tls_session *tls; /* NULL: plain */
    crs_peer_state state;
    bool saw_compressed; /* its first compressed body has been inflated and compared */
    bool wants_write;    /* EPOLLOUT is asked for */
    uint32_t index;      /* among the connections of its group */
    uint32_t free_count;
    crs_plan *plan;
    uint16_t *free_slots; /* plan->depth of them, the first free_count are free */
    uint64_t *start_ns;   /* by slot: when it was made, or should have been; 0: free */
    uint64_t op_index;    /* OPEN_LOOP: of its next request in the schedule */
    uint64_t connect_ns;  /* when the connection was begun */
    crs_bytes part;       /* bytes of an unfinished packet */
    crs_bytes out;        /* what the socket did not take yet */
} crs_peer;

typedef struct crs_load {
    const crs_bench_options *opt;
    crs_bench_result *result;
    int epoll;
    crs_tls_client *tls; /* NULL: plain */
    crs_plan main_plan, background_plan, silent_plan;
    crs_peer *peers; /* clients or members, then senders, then background */
    size_t peer_count;
    size_t main_first, main_count; /* the peers that carry main_plan */
    size_t next_to_open, opening_count, ready_count, closed_count;
    uint32_t source_count; /* connections begun, to spread them over source addresses */
    bool is_loopback;
    bool measuring, stopping;
    uint64_t start_ns, end_ns; /* the window; end_ns is UINT64_MAX while it is not known */
    uint64_t now_ns, progress_ns;
    double period_ns;          /* OPEN_LOOP: between two requests */
    uint64_t next_op;          /* OPEN_LOOP: the first in the schedule that no peer was asked for */
    uint64_t broadcast_pushes; /* BROADCAST: pushes received since the first broadcast */
    crs_peer **again;          /* CONNECT: peers to be opened again at the end of the turn */
    size_t again_count;
    crs_zlib *zlib;
    crs_bytes inflated;
    crs_bytes setup; /* handshake, ack and join packets: see the offsets */
    size_t setup_handshake, setup_ack, setup_join, setup_end;
    uint8_t *read_buf;
    size_t read_cap;
    crs_bytes tx; /* output of the event that is being handled */
} crs_load;

static inline uint64_t crs_bench_now_ns(void)
{
    return crs_clock_ns(CLOCK_MONOTONIC);
}

/* peer.c */

/** Begin to connect. What follows comes as events; crs_load_on_ready() or crs_load_on_closed() in the end. */
void crs_peer_open(crs_load *load, crs_peer *peer);
void crs_peer_close(crs_load *load, crs_peer *peer);
void crs_peer_on_event(crs_load *load, crs_peer *peer, uint32_t events);
/** Send what load->tx holds and empty it. */
void crs_peer_flush(crs_load *load, crs_peer *peer);

/* load.c */

/** Append requests to load->tx, as many as @p peer may make now. */
void crs_load_issue(crs_load *load, crs_peer *peer);
void crs_load_on_message(crs_load *load, crs_peer *peer, const crs_message *msg);
/** The handshake, and the join if there is one, are done: @p peer becomes CRS_PEER_READY. */
void crs_load_on_ready(crs_load *load, crs_peer *peer);
/** Count an error; the first one's @p detail is kept. */
void crs_load_error(crs_load *load, crs_bench_error kind, cereus_slice detail);
/** As above, and give the connection up. */
void crs_load_drop(crs_load *load, crs_peer *peer, crs_bench_error kind, const char *detail);

#endif
