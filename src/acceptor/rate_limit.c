/* acceptor/rate_limit.c: a ring of the times of the packets taken last. It grows as packets come: most connections send
 * fewer than their limit. */
#include "acceptor/rate_limit.h"

#include "transport/conn.h"

enum { RING_CAP_FIRST = 4 };

typedef struct bucket {
    uint64_t *taken_us; /* a ring, when it is full: the times of the last `limit` packets */
    uint32_t count;     /* in the ring */
    uint32_t cap;
    uint32_t oldest;
} bucket;

/** Take a slot; false: none is free. */
static bool take_slot(bucket *b, const crs_rate_limit *limit, uint64_t now_us)
{
    if (b->count < limit->limit) {
        if (b->count == b->cap) {
            uint32_t cap = CRS_MIN(b->cap ? 2 * b->cap : RING_CAP_FIRST, limit->limit);
            uint64_t *ring = crs_realloc(b->taken_us, cap * sizeof *ring);
            if (!ring)
                return false; /* out of memory is no time to let more through */
            b->taken_us = ring;
            b->cap = cap;
        }
        b->taken_us[b->count++] = now_us;
        return true;
    }
    if (now_us - b->taken_us[b->oldest] < limit->interval_us)
        return false;
    b->taken_us[b->oldest] = now_us;
    b->oldest = (b->oldest + 1) % b->count;
    return true;
}

static cereus_verdict on_packet(cereus_conn *conn, void *state, cereus_packet *packet, void *user)
{
    const crs_rate_limit *limit = user;
    if (limit->off || (limit->data_only && packet->type != CEREUS_PACKET_DATA))
        return CEREUS_PASS;
    if (take_slot(state, limit, cereus_conn_now_us(conn)))
        return CEREUS_PASS;
    crs_loop *loop = crs_transport_loop(crs_conn_transport((crs_conn *)conn));
    CRS_COUNT(&loop->counters, rate_limited);
    static crs_log_limiter limiter;
    crs_log_limited(loop->log, CEREUS_LOG_WARN, &limiter, "rate limit exceeded",
                    CRS_STR("peer", cereus_conn_remote_addr(conn, (char[CRS_PEER_TEXT_MAX]){0}, CRS_PEER_TEXT_MAX)));
    return limit->answer ? cereus_conn_refuse(conn, "PIT-429", "rate limit exceeded") : CEREUS_DROP;
}

static void on_close(cereus_conn *conn, void *state, void *user)
{
    CRS_UNUSED(conn);
    CRS_UNUSED(user);
    crs_free(((bucket *)state)->taken_us);
}

const cereus_wrapper crs_rate_limit_wrapper = {.state_len = sizeof(bucket), .packet = on_packet, .close = on_close};
