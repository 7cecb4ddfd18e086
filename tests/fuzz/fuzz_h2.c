/* tests/fuzz/fuzz_h2.c: an HTTP/2 connection with three streams of gRPC messages. Byte 0 is the size of the pieces, byte 1
 * says when what waits to be sent is taken and which stream is let go in the middle; the rest is what the peer sends.
 * Whatever that is: messages keep their limit, every stream ends once, and nothing is told about one that was let go. */
#include "fuzz.h"

#include "ext/grpc_frame.h"
#include "ext/h2.h"

enum { STREAMS = 3, MESSAGE_MAX = 300, PULL = 1, LET_GO = 2, FREE_WITHIN = 4 };

typedef struct talk {
    crs_h2_stream stream;
    crs_grpc_rx rx;
    bool open, broken, finished;
    size_t sent;
    struct peer *peer;
} talk;

typedef struct peer {
    crs_h2 *h2;
    talk talks[STREAMS];
    bool free_within;
} peer;

static talk *talk_of(crs_h2_stream *stream)
{
    return CRS_CONTAINER(stream, talk, stream);
}

static bool on_header(crs_h2_stream *stream, cereus_slice name, cereus_slice value)
{
    talk *t = talk_of(stream);
    FUZZ_CHECK(t->open && name.data && value.data);
    FUZZ_CHECK(name.len + value.len <= CRS_H2_HEADERS_MAX);
    return true;
}

static bool on_data(crs_h2_stream *stream, cereus_slice data)
{
    talk *t = talk_of(stream);
    FUZZ_CHECK(t->open);
    if (t->broken)
        return true;
    cereus_slice message;
    cereus_status st;
    while ((st = crs_grpc_rx_next(&t->rx, &data, &message)) == CEREUS_OK)
        FUZZ_CHECK(message.len <= MESSAGE_MAX && message.data);
    FUZZ_CHECK(t->rx.body.cap <= MESSAGE_MAX);
    t->broken = st != CEREUS_E_AGAIN;
    if (t->broken && t->peer->free_within && t->peer->h2) { /* as a user who closes everything in a callback */
        crs_h2 *h2 = t->peer->h2;
        t->peer->h2 = NULL;
        crs_h2_end(h2, CRS_H2_CANCEL);
        crs_h2_free(h2);
        return true;
    }
    return !t->broken;
}

static size_t on_read(crs_h2_stream *stream, uint8_t *buf, size_t cap, bool *ret_last)
{
    talk *t = talk_of(stream);
    FUZZ_CHECK(t->open);
    size_t len = CRS_MIN(cap, 40 - t->sent);
    memset(buf, 0, len);
    t->sent += len;
    *ret_last = t->sent == 40;
    return len;
}

static void on_ended(crs_h2_stream *stream)
{
    FUZZ_CHECK(talk_of(stream)->open && !talk_of(stream)->finished);
    talk_of(stream)->finished = true;
}

static void on_closed(crs_h2_stream *stream, uint32_t code)
{
    CRS_UNUSED(code);
    FUZZ_CHECK(talk_of(stream)->open);
    talk_of(stream)->open = false;
}

static const crs_h2_stream_ops stream_ops = {
    .header = on_header, .data = on_data, .read = on_read, .ended = on_ended, .closed = on_closed};

static void on_settled(void *user)
{
    FUZZ_CHECK(user);
}

static void on_goaway(uint32_t code, void *user)
{
    CRS_UNUSED(code);
    FUZZ_CHECK(user);
}

static const crs_h2_ops ops = {.settled = on_settled, .goaway = on_goaway};

/** false: the connection is over. */
static bool pull_all(peer *p)
{
    cereus_error err;
    const uint8_t *data;
    size_t len = 1;
    while (p->h2 && len)
        if (crs_h2_pull(p->h2, &data, &len, &err) != CEREUS_OK)
            return false;
    return p->h2 != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t piece = data[0] ? data[0] : size;
    uint8_t how = data[1];
    peer p = {.free_within = how & FREE_WITHIN};
    FUZZ_CHECK(crs_h2_new(&ops, &p, &p.h2) == CEREUS_OK);
    crs_h2_header headers[] = {{cereus_slice_str(":method"), cereus_slice_str("POST")},
                               {cereus_slice_str(":scheme"), cereus_slice_str("http")},
                               {cereus_slice_str(":path"), cereus_slice_str("/a.B/C")},
                               {cereus_slice_str(":authority"), cereus_slice_str("h:1")}};
    for (size_t i = 0; i < STREAMS; i++) {
        p.talks[i].peer = &p;
        crs_grpc_rx_init(&p.talks[i].rx, MESSAGE_MAX);
        FUZZ_CHECK(crs_h2_stream_open(p.h2, &p.talks[i].stream, &stream_ops, headers, CEREUS_COUNT(headers)) ==
                   CEREUS_OK);
        p.talks[i].open = true;
    }
    bool alive = pull_all(&p);
    for (size_t at = 2; alive && at < size; at += piece) {
        cereus_error err;
        size_t len = CRS_MIN(piece, size - at);
        uint8_t *in = fuzz_copy(data + at, len);
        alive = crs_h2_feed(p.h2, in, len, &err) == CEREUS_OK && p.h2;
        free(in);
        if (alive && (how & PULL))
            alive = pull_all(&p) && !crs_h2_over(p.h2, &err);
        if (alive && (how & LET_GO) && at > size / 2 && p.talks[1].open) {
            crs_h2_stream_cancel(&p.talks[1].stream, CRS_H2_CANCEL);
            p.talks[1].open = false;
        }
    }
    if (p.h2) {
        pull_all(&p);
        crs_h2_end(p.h2, CRS_H2_CANCEL);
        FUZZ_CHECK(crs_h2_stream_count(p.h2) == 0);
        crs_h2_free(p.h2);
    }
    for (size_t i = 0; i < STREAMS; i++) {
        FUZZ_CHECK(!p.talks[i].open);
        crs_grpc_rx_fini(&p.talks[i].rx);
    }
    return 0;
}
