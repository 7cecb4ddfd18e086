/* tests/unit/transport/conn_world.h: connections over memory/, their owners, which write down what they are told, and a
 * stream that notices when somebody uses it after it has ended. */
#ifndef CONN_WORLD_H
#define CONN_WORLD_H

#include "loop.h"

#include "transport/conn_priv.h"
#include "transport/memory.h"

typedef struct conn_world conn_world;
typedef struct conn_owner conn_owner;

struct conn_owner {
    conn_world *w;
    crs_conn *conn; /* NULL: it has ended, or was closed */
    crs_bytes got;  /* bodies of the packets, each with '|' behind it */
    int packets, blocked, drained, ended, refused;
    crs_refusal refusal; /* the last */
    crs_packet_type last_type;
    crs_conn_end why;
    crs_input answer; /* of on_packet, when react is NULL */
    crs_input (*react)(conn_owner *o, cereus_slice body);
    void (*on_drained)(conn_owner *o);
};

enum { OWNERS_MAX = 1000, PACKET_MAX = (1 << 24) - 1 };

struct conn_world {
    test_loop t;
    crs_transport *transport;
    size_t opened;
    bool refuse;                                          /* close what opens */
    crs_input (*react)(conn_owner *o, cereus_slice body); /* of owners to come */
    conn_owner owners[OWNERS_MAX];
    int sent_after_end;
};

static conn_world *the_world;
static const crs_filter *world_filter; /* of the next world */
static bool world_proxy;               /* sockets of the next world begin with a PROXY head */
static crs_stream_ops spy_ops;
static const crs_stream_ops *spied_ops;

static ssize_t spy_sendv(crs_conn *conn, const struct iovec *iov, int count)
{
    if (conn->state == CRS_CONN_CLOSED)
        the_world->sent_after_end++;
    return spied_ops->sendv(conn, iov, count);
}

static crs_input owner_on_packet(void *owner, crs_packet_type type, uint8_t *body, size_t len)
{
    conn_owner *o = owner;
    o->packets++;
    o->last_type = type;
    assert_int_equal(crs_bytes_append(&o->got, body, len), CEREUS_OK);
    assert_int_equal(crs_bytes_append_byte(&o->got, '|'), CEREUS_OK);
    return o->react ? o->react(o, cereus_slice_of(body, len)) : o->answer;
}

static void owner_on_refused(void *owner, crs_packet_type type, uint8_t *body, size_t len, const crs_refusal *refusal)
{
    conn_owner *o = owner;
    o->refused++;
    o->refusal = *refusal;
}

static void owner_on_blocked(void *owner)
{
    ((conn_owner *)owner)->blocked++;
}

static void owner_on_drained(void *owner)
{
    conn_owner *o = owner;
    o->drained++;
    if (o->on_drained)
        o->on_drained(o);
}

static void owner_on_end(void *owner, crs_conn_end why)
{
    conn_owner *o = owner;
    o->ended++;
    o->why = why;
    o->conn = NULL;
}

static const crs_conn_ops owner_ops = {.on_packet = owner_on_packet,
                                       .on_refused = owner_on_refused,
                                       .on_blocked = owner_on_blocked,
                                       .on_drained = owner_on_drained,
                                       .on_end = owner_on_end};

static void world_on_open(crs_conn *conn, void *user)
{
    conn_world *w = user;
    spied_ops = conn->stream == &spy_ops ? spied_ops : conn->stream;
    spy_ops = *spied_ops;
    spy_ops.sendv = spy_sendv;
    conn->stream = &spy_ops;
    if (w->refuse) {
        crs_conn_close(conn, false);
        return;
    }
    conn_owner *o = &w->owners[w->opened++];
    *o = (conn_owner){.w = w, .conn = conn, .react = w->react};
    crs_bytes_init(&o->got, 64 << 20);
    crs_conn_set_owner(conn, &owner_ops, o);
}

static void world_open_as(conn_world *w, size_t packet_max, bool check_utf8)
{
    memset(w, 0, sizeof *w);
    the_world = w;
    crs_loop *loop = test_loop_open(&w->t);
    crs_transport_options opt = {.packet_max = packet_max,
                                 .opening_timeout_ms = 3000,
                                 .flush_timeout_ms = 5000,
                                 .check_utf8 = check_utf8,
                                 .on_open = world_on_open,
                                 .on_open_user = w,
                                 .proxy = world_proxy,
                                 .filter = world_filter};
    cereus_error err;
    assert_int_equal(crs_transport_new(loop, &opt, &w->transport, &err), CEREUS_OK);
}

static inline void world_open_with(conn_world *w, size_t packet_max)
{
    world_open_as(w, packet_max, false);
}

static inline void world_open(conn_world *w)
{
    world_open_as(w, PACKET_MAX, false);
}

/** All pipes must have been freed. */
static void world_close(conn_world *w)
{
    for (size_t i = 0; i < w->opened; i++) {
        if (w->owners[i].conn)
            crs_conn_close(w->owners[i].conn, false);
        crs_bytes_fini(&w->owners[i].got);
    }
    crs_transport_abort_unowned(w->transport);
    test_settle(&w->t);
    assert_int_equal(w->sent_after_end, 0);
    assert_int_equal(crs_transport_count(w->transport), 0);
    crs_transport_free(w->transport);
    test_loop_close(&w->t);
}

static inline crs_pipe *connect_stream(conn_world *w)
{
    crs_pipe *pipe;
    assert_int_equal(crs_pipe_open(w->transport, CRS_FRAMING_STREAM, &pipe), CEREUS_OK);
    return pipe;
}

/** Bytes of a data packet, on the heap. */
static inline crs_bytes packet_of(const void *body, size_t len)
{
    crs_bytes b;
    uint8_t head[CRS_PACKET_HEAD_LEN];
    crs_bytes_init(&b, 64 << 20);
    assert_int_equal(crs_packet_head(CRS_PACKET_DATA, len, head), CEREUS_OK);
    assert_int_equal(crs_bytes_append(&b, head, sizeof head), CEREUS_OK);
    assert_int_equal(crs_bytes_append(&b, body, len), CEREUS_OK);
    return b;
}

static inline void send_packet(crs_pipe *pipe, const char *text)
{
    crs_bytes b = packet_of(text, strlen(text));
    assert_int_equal(crs_pipe_send(pipe, b.data, b.len), CEREUS_OK);
    crs_bytes_fini(&b);
}

/** The server says a data packet. */
static inline bool say_packet(crs_conn *conn, const void *body, size_t len)
{
    uint8_t *room = crs_conn_reserve(conn, CRS_PACKET_HEAD_LEN + len);
    if (!room)
        return false;
    cereus_status st = crs_packet_head(CRS_PACKET_DATA, len, room);
    assert_int_equal(st, CEREUS_OK);
    memcpy(room + CRS_PACKET_HEAD_LEN, body, len);
    return true;
}

static inline bool say_text(crs_conn *conn, const char *text)
{
    return say_packet(conn, text, strlen(text));
}

static inline crs_frame frame_of(const char *text)
{
    crs_frame frame;
    uint8_t *packet;
    assert_int_equal(crs_frame_new(CRS_PACKET_HEAD_LEN + strlen(text), &frame, &packet), CEREUS_OK);
    assert_int_equal(crs_packet_head(CRS_PACKET_DATA, strlen(text), packet), CEREUS_OK);
    memcpy(packet + CRS_PACKET_HEAD_LEN, text, strlen(text));
    return frame;
}

#define assert_got(owner, text)                                                                            \
    do {                                                                                                   \
        assert_int_equal((owner)->got.len, strlen(text));                                                  \
        assert_memory_equal((owner)->got.data ? (const void *)(owner)->got.data : "", text, strlen(text)); \
    } while (0)

/** What the server sent, as bodies with '|' behind each, taken off; the bytes must be whole packets. */
static inline const char *take_texts(crs_pipe *pipe)
{
    static char texts[100000];
    size_t at = 0;
    cereus_slice all = crs_pipe_received(pipe);
    size_t used = 0;
    while (used < all.len) {
        crs_packet pkt;
        size_t n;
        cereus_slice rest = cereus_slice_of(all.data + used, all.len - used);
        assert_int_equal(crs_packet_decode(rest, PACKET_MAX, &pkt, &n), CEREUS_OK);
        assert_true(at + pkt.body.len + 2 <= sizeof texts);
        memcpy(texts + at, pkt.body.data, pkt.body.len);
        at += pkt.body.len;
        texts[at++] = '|';
        used += n;
    }
    texts[at] = '\0';
    crs_pipe_take(pipe, used);
    return texts;
}

#endif
