/* tools/bench/load.h: one run of the load generator: what to do, and what came of it. */
#ifndef CRS_BENCH_LOAD_H
#define CRS_BENCH_LOAD_H

#include <netinet/in.h>
#include <sys/types.h>

#include "base/base.h"
#include "hist.h"

typedef enum crs_bench_mode {
    CRS_BENCH_CLOSED_LOOP, /* `depth` requests outstanding on each connection, the next when one is answered */
    CRS_BENCH_OPEN_LOOP,   /* `rate` requests/s on a fixed schedule, whatever the answers do */
    CRS_BENCH_NOTIFY,      /* bursts of `depth` notifies and a request behind them that tells when they are done */
    CRS_BENCH_BROADCAST,   /* `senders` extra connections ask for broadcasts, the other ones receive pushes */
    CRS_BENCH_IDLE,        /* open connections, hold them */
    CRS_BENCH_CONNECT,     /* connect, shake hands, close, again */
} crs_bench_mode;

enum {
    CRS_BENCH_DEPTH_MAX = 4096,
    CRS_BENCH_CONNECTIONS_MAX = 1000 * 1000,
    CRS_BENCH_PROCESSES_MAX = 16,
};

/* X(name, what a person reads) */
#define CRS_BENCH_ERROR_TABLE(X)                                           \
    X(connect, "connections that were not made")                           \
    X(handshake, "handshakes that failed")                                 \
    X(closed, "connections that the server closed")                        \
    X(malformed, "connections on which the server broke the protocol")     \
    X(kicked, "connections that were kicked")                              \
    X(refused, "error responses")                                          \
    X(mismatch, "bodies other than expected")                              \
    X(unknown_id, "responses to requests that were not made")              \
    X(compression, "bodies compressed or not, against what was asked for") \
    X(unanswered, "requests without an answer when the run was over")      \
    X(stalled, "runs without progress for five seconds")

typedef enum crs_bench_error {
#define CRS_BENCH_ERROR_ENUM(name, text) CRS_BENCH_ERROR_##name,
    CRS_BENCH_ERROR_TABLE(CRS_BENCH_ERROR_ENUM)
#undef CRS_BENCH_ERROR_ENUM
        CRS_BENCH_ERROR_COUNT,
} crs_bench_error;

typedef struct crs_bench_options {
    crs_bench_mode mode;
    bool ws, tls;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    const char *host;        /* HOST:PORT, for the upgrade request */
    const char *server_name; /* HOST, for TLS */
    const char *route;       /* of the requests, notifies or broadcasts */
    const char *fence_route; /* NOTIFY: of the request behind a burst */
    const char *join_route;  /* asked once per connection after the handshake; NULL: none */
    const char
        *background_route; /* asked by `background_count` more connections meanwhile, one request each at a time */
    cereus_slice body;
    size_t connection_count, sender_count, background_count;
    uint32_t depth;
    uint64_t warmup_ns, duration_ns;
    uint64_t request_count; /* not 0: stop after so many instead of after duration_ns */
    double rate;            /* OPEN_LOOP: requests/s in total */
    bool compress; /* expect compressed bodies, if that makes them shorter; inflate the first of a connection */
    bool check;    /* every response must bring back the request's body */
    pid_t pids[CRS_BENCH_PROCESSES_MAX]; /* of the servers, to account for their CPU and memory */
    size_t pid_count;
} crs_bench_options;

typedef struct crs_bench_result {
    uint64_t op_count; /* requests answered, notifies taken, broadcasts, connects: in the window */
    uint64_t elapsed_ns;
    crs_hist latency_ns;
    uint64_t push_count, background_count;
    uint64_t server_cpu_ns, client_cpu_ns;
    int64_t rss_growth; /* IDLE: bytes, over `rss_connections` connections */
    size_t rss_connections;
    uint64_t errors[CRS_BENCH_ERROR_COUNT], error_count;
    char first_error[200]; /* what the first one was about */
} crs_bench_result;

/**
 * Run it.
 * @param ret_result  about 40 KiB; set on CEREUS_OK, which does not mean that there were no errors: see error_count
 * @return CEREUS_OK; CEREUS_E_NOMEM; CEREUS_E_IO; CEREUS_E_INVALID: an option that cannot be, named in @p err
 * Thread: any; takes it over until done.
 */
cereus_status crs_bench_run(const crs_bench_options *opt, crs_bench_result *ret_result, cereus_error *err);

#endif
