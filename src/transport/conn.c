/* transport/conn.c: what all connections have in common: input kept while it is not whole or not wanted, output
 * gathered, joined and written once a turn, and the ways to end. */
#include "transport/conn_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "transport/tls.h"

enum {
    VIEWS_KEPT = 16384, /* spare pieces of output kept per loop */
    CHUNKS_KEPT = 256,
    CHUNK_CAP = 4096 - sizeof(crs_out),
    IOV_MAX_USED = 64,
    EARLY_FLUSH_LEN = 256 * 1024, /* queued output that is written before the turn ends */
    PART_DIRECT_LEN = 16 * 1024,  /* kept input from which on is read directly behind it */
};

static bool end_of_turn(void *user);
static void on_sweep(crs_timer *timer);

/* ---- the shared part ---- */

cereus_status crs_transport_new(crs_loop *loop, const crs_transport_options *opt, crs_transport **ret_transport,
                                cereus_error *err)
{
    crs_transport *t = crs_zalloc(sizeof *t);
    uint8_t *scratch = crs_malloc(CRS_SCRATCH_LEN);
    if (!t || !scratch) {
        crs_free(t);
        crs_free(scratch);
        return crs_fail(err, CEREUS_E_NOMEM, "transport: out of memory");
    }
    t->loop = loop;
    t->opt = *opt;
    t->scratch = scratch;
    crs_list_init(&t->dirty);
    crs_list_init(&t->resuming);
    crs_list_init(&t->opening);
    crs_list_init(&t->flushing);
    crs_list_init(&t->lingering);
    crs_timer_init(&t->sweep, on_sweep);
    crs_loop_add_hook(loop, end_of_turn, t);
    *ret_transport = t;
    return CEREUS_OK;
}

static void free_pieces(crs_out *o)
{
    while (o) {
        crs_out *next = o->next;
        crs_free(o);
        o = next;
    }
}

crs_transport *crs_transport_free(crs_transport *t)
{
    if (!t)
        return NULL;
    CRS_ASSERT(t->count == 0);
    crs_loop_timer_stop(t->loop, &t->sweep);
    free_pieces(t->free_views);
    free_pieces(t->free_chunks);
    crs_tls_unref(t->tls);
    crs_free(t->record);
    crs_free(t->scratch);
    crs_free(t);
    return NULL;
}

cereus_status crs_transport_set_tls(crs_transport *t, crs_tls *tls)
{
    if (tls && !t->record && !(t->record = crs_malloc(CRS_TLS_RECORD_LEN))) {
        crs_tls_unref(tls);
        return CEREUS_E_NOMEM;
    }
    crs_tls_unref(t->tls);
    t->tls = tls;
    return CEREUS_OK;
}

crs_loop *crs_transport_loop(const crs_transport *t)
{
    return t->loop;
}

size_t crs_transport_count(const crs_transport *t)
{
    return t->count;
}

static void destroy(crs_conn *conn)
{
    if (conn->state == CRS_CONN_CLOSED)
        return;
    conn->state = CRS_CONN_CLOSED;
    crs_list_remove(&conn->dirty_link);
    crs_list_remove(&conn->link);
    conn->stream->destroy(conn);
}

void crs_transport_abort_opening(crs_transport *t)
{
    crs_list *l;
    while ((l = crs_list_pop(&t->opening)))
        destroy(CRS_CONTAINER(l, crs_conn, link));
}

void crs_transport_abort_unowned(crs_transport *t)
{
    crs_list *l;
    crs_transport_abort_opening(t);
    while ((l = crs_list_pop(&t->flushing)))
        destroy(CRS_CONTAINER(l, crs_conn, link));
    while ((l = crs_list_pop(&t->lingering)))
        destroy(CRS_CONTAINER(l, crs_conn, link));
}

/** Put @p conn on a list whose members all wait equally long, so that it stays sorted. */
static void set_deadline(crs_conn *conn, crs_list *list, uint64_t wait_ms)
{
    crs_transport *t = conn->transport;
    crs_list_remove(&conn->link);
    conn->deadline_ms = t->loop->now_ms + wait_ms;
    crs_list_push(list, &conn->link);
    if ((!crs_timer_running(&t->sweep) || t->sweep.due_us > conn->deadline_ms * 1000) &&
        crs_loop_timer_start(t->loop, &t->sweep, wait_ms) != CEREUS_OK)
        destroy(conn); /* without a deadline it might stay for ever */
}

static uint64_t sweep_list(crs_transport *t, crs_list *list)
{
    while (!crs_list_empty(list)) {
        crs_conn *conn = CRS_CONTAINER(list->next, crs_conn, link);
        if (conn->deadline_ms > t->loop->now_ms)
            return conn->deadline_ms - t->loop->now_ms;
        if (conn->state == CRS_CONN_OPENING)
            CRS_COUNT(&t->loop->counters, handshake_timeouts);
        destroy(conn);
    }
    return UINT64_MAX;
}

static void on_sweep(crs_timer *timer)
{
    crs_transport *t = CRS_CONTAINER(timer, crs_transport, sweep);
    uint64_t opening_ms = sweep_list(t, &t->opening);
    uint64_t flushing_ms = sweep_list(t, &t->flushing);
    uint64_t lingering_ms = sweep_list(t, &t->lingering);
    uint64_t next_ms = CRS_MIN(opening_ms, CRS_MIN(flushing_ms, lingering_ms));
    if (next_ms != UINT64_MAX && crs_loop_timer_start(t->loop, &t->sweep, next_ms) != CEREUS_OK)
        crs_transport_abort_unowned(t);
}

/* ---- life ---- */

void *crs_conn_alloc(const crs_transport *t, size_t size, crs_framing framing)
{
    size_t state_len = t->opt.filter ? t->opt.filter->state_len : 0, at = (size + 15) / 16 * 16;
    crs_conn *conn = crs_zalloc(state_len ? at + state_len : size);
    if (!conn)
        return NULL;
    if (state_len)
        conn->filter_at = (uint16_t)at;
    if (framing == CRS_FRAMING_WEBSOCKET && !(conn->ws = crs_ws_state_new(&t->opt))) {
        crs_free(conn);
        return NULL;
    }
    return conn;
}

static void *filter_state(crs_conn *conn)
{
    return conn->filter_at ? (uint8_t *)conn + conn->filter_at : NULL;
}

void crs_conn_init(crs_conn *conn, crs_transport *t, const crs_stream_ops *stream)
{
    conn->stream = stream;
    conn->transport = t;
    conn->state = CRS_CONN_OPENING;
    crs_list_init(&conn->dirty_link);
    crs_list_init(&conn->link);
    t->count++;
    conn->up = !stream->open;
    if (!conn->up || conn->ws)
        set_deadline(conn, &t->opening, t->opt.opening_timeout_ms);
    else
        crs_conn_opened(conn);
}

void crs_conn_opened(crs_conn *conn)
{
    crs_transport *t = conn->transport;
    const crs_filter *filter = t->opt.filter;
    crs_list_remove(&conn->link);
    conn->state = CRS_CONN_OPEN;
    conn->filter_opened = filter;
    if (filter && filter->open)
        filter->open(conn, filter_state(conn), filter->user);
    t->opt.on_open(conn, t->opt.on_open_user);
}

/** Go on with what must be there before the first byte of the protocol. Returns whether it is. */
static bool bring_up(crs_conn *conn)
{
    cereus_status st = conn->stream->open(conn);
    if (st == CEREUS_E_AGAIN)
        return false;
    if (st) {
        if (st == CEREUS_E_MALFORMED)
            CRS_COUNT(&conn->transport->loop->counters, proxy_heads_refused);
        destroy(conn);
        return false;
    }
    conn->up = true;
    if (!conn->ws)
        crs_conn_opened(conn);
    return conn->state <= CRS_CONN_OPEN;
}

void crs_conn_set_owner(crs_conn *conn, const crs_conn_ops *ops, void *owner)
{
    conn->ops = ops;
    conn->owner = owner;
}

static void free_piece(crs_transport *t, crs_out *o)
{
    if (o->shared) {
        crs_buf_unref(o->shared);
        if (t->free_view_count < VIEWS_KEPT) {
            o->next = t->free_views;
            t->free_views = o;
            t->free_view_count++;
            return;
        }
    } else if (o->cap == CHUNK_CAP && t->free_chunk_count < CHUNKS_KEPT) {
        o->next = t->free_chunks;
        t->free_chunks = o;
        t->free_chunk_count++;
        return;
    }
    crs_free(o);
}

void crs_conn_fini(crs_conn *conn)
{
    crs_transport *t = conn->transport;
    CRS_ASSERT(conn->state == CRS_CONN_CLOSED && t->count > 0);
    while (conn->out_head) {
        crs_out *next = conn->out_head->next;
        free_piece(t, conn->out_head);
        conn->out_head = next;
    }
    crs_free(conn->part);
    conn->ws = crs_ws_state_free(conn->ws);
    if (conn->filter_opened && t->opt.filter->close)
        t->opt.filter->close(conn, filter_state(conn), t->opt.filter->user);
    t->count--;
}

static void discard_output(crs_conn *conn)
{
    while (conn->out_head) {
        crs_out *next = conn->out_head->next;
        free_piece(conn->transport, conn->out_head);
        conn->out_head = next;
    }
    conn->out_tail = NULL;
    conn->out_len = 0;
    conn->blocked = false;
}

/** Everything is out: shut down writing and wait for the peer to see it, or close when it has gone already. */
static void linger(crs_conn *conn)
{
    if (conn->eof) {
        destroy(conn);
        return;
    }
    conn->state = CRS_CONN_LINGERING;
    conn->stream->shut(conn);
    conn->stream->want(conn, true, false);
    set_deadline(conn, &conn->transport->lingering, CRS_LINGER_MS);
}

void crs_conn_close(crs_conn *conn, bool flush)
{
    conn->ops = NULL;
    conn->owner = NULL;
    if (conn->state >= CRS_CONN_FLUSHING && (flush || conn->state == CRS_CONN_CLOSED))
        return;
    crs_list_remove(&conn->link);
    if (!flush) {
        discard_output(conn);
        destroy(conn);
        return;
    }
    conn->state = CRS_CONN_FLUSHING;
    conn->paused = false;
    if (conn->transport->current == conn)
        return; /* the end of its input flushes and goes on from there */
    if (conn->out_head)
        set_deadline(conn, &conn->transport->flushing, conn->transport->opt.flush_timeout_ms);
    else
        linger(conn);
}

void crs_conn_end_by(crs_conn *conn, crs_conn_end why, bool flush)
{
    const crs_conn_ops *ops = conn->ops;
    void *owner = conn->owner;
    if (conn->state < CRS_CONN_FLUSHING && why == CRS_END_MALFORMED)
        CRS_COUNT(&conn->transport->loop->counters, malformed_packets);
    crs_conn_close(conn, flush);
    if (ops)
        ops->on_end(owner, why);
}

crs_transport *crs_conn_transport(const crs_conn *conn)
{
    return conn->transport;
}

void crs_conn_set_refusal(crs_conn *conn, crs_refusal refusal)
{
    conn->transport->refusal = refusal;
}

const crs_peer *crs_conn_peer(const crs_conn *conn)
{
    return &conn->peer;
}

const char *crs_peer_text(const crs_peer *peer, char out[CRS_PEER_TEXT_MAX])
{
    char ip[INET6_ADDRSTRLEN];
    if (!peer->port)
        snprintf(out, CRS_PEER_TEXT_MAX, "local");
    else if (peer->ipv6)
        snprintf(out, CRS_PEER_TEXT_MAX, "[%s]:%u", inet_ntop(AF_INET6, peer->addr, ip, sizeof ip), peer->port);
    else
        snprintf(out, CRS_PEER_TEXT_MAX, "%s:%u", inet_ntop(AF_INET, peer->addr, ip, sizeof ip), peer->port);
    return out;
}

void crs_peer_set(crs_peer *peer, const struct sockaddr *addr)
{
    *peer = (crs_peer){0};
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
        peer->port = ntohs(in6->sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            memcpy(peer->addr, in6->sin6_addr.s6_addr + 12, 4);
        } else {
            memcpy(peer->addr, &in6->sin6_addr, 16);
            peer->ipv6 = true;
        }
    } else if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
        peer->port = ntohs(in->sin_port);
        memcpy(peer->addr, &in->sin_addr, 4);
    }
}

/* ---- output ---- */

static void mark_dirty(crs_conn *conn)
{
    if (crs_list_empty(&conn->dirty_link) && !conn->blocked)
        crs_list_push(&conn->transport->dirty, &conn->dirty_link);
}

static void append_piece(crs_conn *conn, crs_out *o)
{
    o->next = NULL;
    if (conn->out_tail) {
        conn->out_tail->next = o;
    } else {
        conn->out_head = o;
        conn->progress_ms = conn->transport->loop->now_ms;
    }
    conn->out_tail = o;
}

static uint8_t *queue_room(crs_conn *conn, size_t len)
{
    crs_transport *t = conn->transport;
    crs_out *o = conn->out_tail;
    if (!o || o->shared || o->cap - o->end < len) {
        if (len <= CHUNK_CAP && t->free_chunks) {
            o = t->free_chunks;
            t->free_chunks = o->next;
            t->free_chunk_count--;
        } else {
            size_t cap = CRS_MAX(len, (size_t)CHUNK_CAP);
            o = crs_malloc(sizeof *o + cap);
            if (!o)
                return NULL;
            o->cap = (uint32_t)cap;
        }
        o->shared = NULL;
        o->begin = o->end = 0;
        append_piece(conn, o);
    }
    uint8_t *room = o->data + o->end;
    o->end += (uint32_t)len;
    conn->out_len += len;
    mark_dirty(conn);
    return room;
}

/** Write what the input of @p conn produced so far; what the kernel does not take is queued. */
static void flush_scratch(crs_conn *conn)
{
    crs_transport *t = conn->transport;
    size_t len = t->scratch_len, sent = 0;
    if (len == 0)
        return;
    t->scratch_len = 0;
    if (conn->state == CRS_CONN_CLOSED)
        return; /* its descriptor may be another's by now */
    struct iovec iov = {.iov_base = t->scratch, .iov_len = len};
    ssize_t n = conn->stream->sendv(conn, &iov, 1);
    if (n > 0)
        sent = (size_t)n;
    CRS_COUNT_N(&t->loop->counters, bytes_out, sent);
    if (sent == len)
        return;
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        crs_conn_end_by(conn, CRS_END_ERROR, false);
        return;
    }
    uint8_t *room = queue_room(conn, len - sent);
    if (!room) {
        crs_conn_end_by(conn, CRS_END_ERROR, false);
        return;
    }
    memcpy(room, t->scratch + sent, len - sent);
}

static void flush_queue(crs_conn *conn)
{
    crs_transport *t = conn->transport;
    while (conn->out_head) {
        struct iovec iov[IOV_MAX_USED];
        int count = 0;
        size_t want = 0;
        for (crs_out *o = conn->out_head; o && count < IOV_MAX_USED; o = o->next) {
            uint8_t *data = o->shared ? o->shared->data : o->data;
            iov[count].iov_base = data + o->begin;
            iov[count].iov_len = o->end - o->begin;
            want += iov[count++].iov_len;
        }
        ssize_t n = conn->stream->sendv(conn, iov, count);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                n = 0;
            else {
                crs_conn_end_by(conn, CRS_END_ERROR, false);
                return;
            }
        }
        size_t left = (size_t)n;
        conn->out_len -= left;
        CRS_COUNT_N(&t->loop->counters, bytes_out, left);
        if (left)
            conn->progress_ms = t->loop->now_ms;
        while (left > 0) {
            crs_out *o = conn->out_head;
            size_t have = o->end - o->begin;
            if (left < have) {
                o->begin += (uint32_t)left;
                break;
            }
            left -= have;
            conn->out_head = o->next;
            if (!conn->out_head)
                conn->out_tail = NULL;
            free_piece(t, o);
        }
        if ((size_t)n < want) {
            if (!conn->blocked) {
                conn->blocked = true;
                conn->stream->want(conn, !conn->paused || conn->state != CRS_CONN_OPEN, true);
                if (conn->ops)
                    conn->ops->on_blocked(conn->owner);
            }
            return;
        }
    }
    bool awaited = conn->blocked || conn->paused || conn->tell_drained;
    conn->tell_drained = false;
    if (conn->blocked) {
        conn->blocked = false;
        conn->stream->want(conn, !conn->paused, false);
        if (conn->ws && conn->state == CRS_CONN_OPEN && !crs_ws_drained(conn)) {
            crs_conn_end_by(conn, CRS_END_ERROR, false);
            return;
        }
    }
    if (awaited && conn->ops)
        conn->ops->on_drained(conn->owner);
    if (conn->state == CRS_CONN_FLUSHING && !conn->out_head && conn->transport->current != conn)
        linger(conn); /* unless on_drained said more before it closed */
}

uint8_t *crs_conn_reserve_raw(crs_conn *conn, size_t len)
{
    crs_transport *t = conn->transport;
    if (t->current == conn && !conn->out_head) {
        if (CRS_SCRATCH_LEN - t->scratch_len < len)
            flush_scratch(conn);
        if (!conn->out_head && CRS_SCRATCH_LEN - t->scratch_len >= len && conn->state != CRS_CONN_CLOSED) {
            uint8_t *room = t->scratch + t->scratch_len;
            t->scratch_len += len;
            return room;
        }
    }
    if (conn->state == CRS_CONN_CLOSED)
        return NULL;
    if (conn->out_len >= EARLY_FLUSH_LEN && !conn->blocked && t->current != conn) {
        crs_list_remove(&conn->dirty_link);
        flush_queue(conn);
        if (conn->state == CRS_CONN_CLOSED)
            return NULL;
    }
    return queue_room(conn, len);
}

uint8_t *crs_conn_reserve(crs_conn *conn, size_t packet_len)
{
    if (conn->state != CRS_CONN_OPEN)
        return NULL;
    if (!conn->ws)
        return crs_conn_reserve_raw(conn, packet_len);
    uint8_t head[CRS_FRAME_HEAD_MAX];
    size_t head_len = crs_ws_packet_head(packet_len, head);
    uint8_t *room = crs_conn_reserve_raw(conn, head_len + packet_len);
    if (!room)
        return NULL;
    memcpy(room, head, head_len);
    return room + head_len;
}

cereus_status crs_frame_new(size_t packet_len, crs_frame *ret_frame, uint8_t **ret_packet)
{
    uint8_t head[CRS_FRAME_HEAD_MAX];
    size_t head_len = crs_ws_packet_head(packet_len, head);
    crs_buf *buf = crs_buf_new(head_len + packet_len);
    if (!buf)
        return CEREUS_E_NOMEM;
    memcpy(buf->data, head, head_len);
    buf->len = (uint32_t)(head_len + packet_len);
    *ret_frame = (crs_frame){.buf = buf, .ws_head = (uint32_t)head_len};
    *ret_packet = buf->data + head_len;
    return CEREUS_OK;
}

cereus_status crs_conn_send_frame(crs_conn *conn, const crs_frame *frame)
{
    crs_transport *t = conn->transport;
    if (conn->state != CRS_CONN_OPEN)
        return CEREUS_E_GONE;
    if (t->current == conn)
        flush_scratch(conn); /* it was made earlier */
    if (conn->state != CRS_CONN_OPEN)
        return CEREUS_E_GONE;
    crs_out *o = t->free_views;
    if (o) {
        t->free_views = o->next;
        t->free_view_count--;
    } else if (!(o = crs_malloc(sizeof *o))) {
        return CEREUS_E_NOMEM;
    }
    o->shared = crs_buf_ref(frame->buf);
    o->begin = conn->ws ? 0 : frame->ws_head;
    o->end = frame->buf->len;
    o->cap = 0;
    append_piece(conn, o);
    conn->out_len += o->end - o->begin;
    mark_dirty(conn);
    return CEREUS_OK;
}

size_t crs_conn_out_len(const crs_conn *conn)
{
    return conn->out_len;
}

uint64_t crs_conn_stalled_ms(const crs_conn *conn)
{
    return conn->blocked ? conn->transport->loop->now_ms - conn->progress_ms : 0;
}

void crs_conn_on_writable(crs_conn *conn)
{
    crs_loop_update_now(conn->transport->loop);
    if (CRS_UNLIKELY(!conn->up))
        crs_conn_on_readable(conn); /* the stream may hold input that came with the end of its opening */
    else if (conn->blocked)
        flush_queue(conn);
}

/* ---- input ---- */

/** Ask the filter; false: the packet goes no further. */
static bool pass_filter(crs_conn *conn, cereus_packet *packet)
{
    crs_transport *t = conn->transport;
    const crs_filter *filter = t->opt.filter;
    t->refusal = (crs_refusal){.code = "PIT-000", .msg = "refused"};
    switch (filter->packet(conn, filter_state(conn), packet, filter->user)) {
    case CEREUS_PASS:
        return true;
    case CEREUS_DROP:
        break;
    case CEREUS_REFUSE:
        if (conn->ops)
            conn->ops->on_refused(conn->owner, (crs_packet_type)packet->type, packet->body, packet->len, &t->refusal);
        break;
    case CEREUS_CLOSE:
        crs_conn_end_by(conn, CRS_END_REFUSED, true);
        break;
    }
    return false;
}

static void deliver(crs_conn *conn, crs_packet_type type, uint8_t *body, size_t len)
{
    CRS_COUNT(&conn->transport->loop->counters, packets_in);
    if (CRS_UNLIKELY(conn->filter_opened)) {
        cereus_packet packet = {.type = (cereus_packet_type)type, .body = body, .len = len};
        if (!pass_filter(conn, &packet))
            return;
        type = (crs_packet_type)packet.type;
        body = packet.body;
        len = packet.len;
    }
    if (conn->ops && conn->ops->on_packet(conn->owner, type, body, len) == CRS_INPUT_PAUSE &&
        conn->state == CRS_CONN_OPEN)
        conn->paused = true;
}

/** Packets one after the other; returns the bytes used. */
static size_t stream_input(crs_conn *conn, uint8_t *data, size_t len)
{
    size_t at = 0;
    while (conn->state == CRS_CONN_OPEN && !conn->paused) {
        crs_packet pkt;
        size_t used;
        cereus_status st =
            crs_packet_decode(cereus_slice_of(data + at, len - at), conn->transport->opt.packet_max, &pkt, &used);
        if (st == CEREUS_E_AGAIN)
            break;
        if (st) {
            crs_conn_end_by(conn, st == CEREUS_E_TOO_LONG ? CRS_END_TOO_LONG : CRS_END_MALFORMED, true);
            break;
        }
        deliver(conn, pkt.type, data + at + CRS_PACKET_HEAD_LEN, pkt.body.len);
        at += used;
    }
    return at;
}

static size_t message_input(crs_conn *conn, uint8_t *data, size_t len)
{
    return conn->ws ? crs_ws_input(conn, data, len) : stream_input(conn, data, len);
}

void crs_conn_deliver_message(crs_conn *conn, uint8_t opcode, uint8_t *data, size_t len)
{
    if (conn->ops && conn->ops->on_message) {
        if (conn->ops->on_message(conn->owner, opcode, data, len) == CRS_INPUT_PAUSE && conn->state == CRS_CONN_OPEN)
            conn->paused = true;
        return;
    }
    crs_packet pkt;
    size_t used;
    cereus_status st = crs_packet_decode(cereus_slice_of(data, len), conn->transport->opt.packet_max, &pkt, &used);
    if (st || used != len) { /* exactly one packet a message: client-protocol.md 14 */
        crs_conn_end_by(conn, st == CEREUS_E_TOO_LONG ? CRS_END_TOO_LONG : CRS_END_MALFORMED, true);
        return;
    }
    deliver(conn, pkt.type, data + CRS_PACKET_HEAD_LEN, pkt.body.len);
}

bool crs_conn_keep_part(crs_conn *conn, const uint8_t *data, size_t len)
{
    if (len == 0) {
        crs_free(conn->part);
        conn->part = NULL;
        conn->part_len = conn->part_cap = 0;
        return true;
    }
    if (len > conn->part_cap) {
        uint8_t *part = crs_realloc(conn->part, len);
        if (!part)
            return false;
        conn->part = part;
        conn->part_cap = (uint32_t)len;
    }
    if (data != conn->part) /* a long packet grows in place */
        memmove(conn->part, data, len);
    conn->part_len = (uint32_t)len;
    if (conn->part_cap > 2 * len + 2 * CRS_READ_BUFFER_LEN) { /* a long packet has been here: give its room back */
        uint8_t *part = crs_realloc(conn->part, len);
        if (part) {
            conn->part = part;
            conn->part_cap = (uint32_t)len;
        }
    }
    return true;
}

/** Handle @p len bytes at @p data as input of @p conn and keep the rest. Everything it makes the connection say is
 * written at the end, at once. */
static void handle_input(crs_conn *conn, uint8_t *data, size_t len)
{
    crs_transport *t = conn->transport;
    bool was_paused = conn->paused;
    CRS_ASSERT(!t->current);
    t->current = conn;
    size_t used = message_input(conn, data, len);
    flush_scratch(conn);
    t->current = NULL;
    if (conn->state == CRS_CONN_CLOSED)
        return;
    if (conn->state >= CRS_CONN_FLUSHING) {
        crs_conn_keep_part(conn, NULL, 0);
        crs_list_remove(&conn->dirty_link);
        flush_queue(conn); /* goes on to linger */
        if (conn->state == CRS_CONN_FLUSHING && crs_list_empty(&conn->link))
            set_deadline(conn, &t->flushing, t->opt.flush_timeout_ms);
        return;
    }
    if (!crs_conn_keep_part(conn, data + used, len - used)) {
        crs_conn_end_by(conn, CRS_END_ERROR, false);
        return;
    }
    if (conn->paused != was_paused)
        conn->stream->want(conn, !conn->paused, conn->blocked);
}

static void on_input_end(crs_conn *conn, bool error)
{
    conn->eof = true;
    if (conn->state == CRS_CONN_LINGERING || conn->state == CRS_CONN_FLUSHING)
        destroy(conn);
    else if (conn->state == CRS_CONN_OPENING)
        destroy(conn);
    else
        crs_conn_end_by(conn, error ? CRS_END_ERROR : CRS_END_PEER, false);
}

void crs_conn_on_readable(crs_conn *conn)
{
    crs_transport *t = conn->transport;
    crs_loop *loop = t->loop;
    crs_loop_update_now(loop);
    if (CRS_UNLIKELY(!conn->up) && !bring_up(conn))
        return;
    if (conn->state >= CRS_CONN_FLUSHING) { /* nothing more is wanted, only the end */
        ssize_t n = conn->stream->recv(conn, loop->read_buf, CRS_READ_BUFFER_LEN);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
            on_input_end(conn, n < 0);
        return;
    }
    if (conn->paused)
        return;
    uint8_t *buf = loop->read_buf;
    size_t have = conn->part_len, cap = CRS_READ_BUFFER_LEN;
    if (have >= PART_DIRECT_LEN) { /* a long packet: read behind what is there; grow by half, so only as bytes arrive */
        if (conn->part_cap - have < PART_DIRECT_LEN) {
            size_t grown = have + CRS_MAX(have / 2, (size_t)CRS_READ_BUFFER_LEN);
            uint8_t *part = crs_realloc(conn->part, grown);
            if (!part) {
                crs_conn_end_by(conn, CRS_END_ERROR, false);
                return;
            }
            conn->part = part;
            conn->part_cap = (uint32_t)grown;
        }
        buf = conn->part;
        cap = conn->part_cap;
    } else if (have) {
        memcpy(buf, conn->part, have);
    }
    ssize_t n = conn->stream->recv(conn, buf + have, cap - have);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
            on_input_end(conn, n < 0);
        return;
    }
    CRS_COUNT_N(&loop->counters, bytes_in, (uint64_t)n);
    handle_input(conn, buf, have + (size_t)n);
    if (CRS_UNLIKELY(conn->stream->pending) && conn->state <= CRS_CONN_OPEN && !conn->paused &&
        conn->stream->pending(conn) && crs_list_empty(&conn->link))
        crs_list_push(&t->resuming, &conn->link);
}

void crs_conn_pause(crs_conn *conn)
{
    if (conn->state != CRS_CONN_OPEN)
        return;
    crs_list_remove(&conn->link); /* of a resume that was asked for */
    conn->paused = true;
    conn->stream->want(conn, false, conn->blocked);
}

void crs_conn_resume(crs_conn *conn)
{
    if (conn->paused && conn->state == CRS_CONN_OPEN && crs_list_empty(&conn->link))
        crs_list_push(&conn->transport->resuming, &conn->link);
}

void crs_conn_tell_drained(crs_conn *conn)
{
    conn->tell_drained = true;
}

bool crs_conn_paused(const crs_conn *conn)
{
    return conn->paused;
}

static void resume_input(crs_conn *conn)
{
    if (!conn->paused) { /* its stream holds more than one read takes */
        crs_conn_on_readable(conn);
        return;
    }
    conn->paused = false;
    if (conn->part_len) {
        size_t len = conn->part_len;
        uint8_t *part = conn->part;
        conn->part = NULL;
        conn->part_len = conn->part_cap = 0;
        handle_input(conn, part, len); /* what is left of it is copied */
        crs_free(part);
        if (conn->state != CRS_CONN_OPEN || conn->paused)
            return;
    }
    conn->stream->want(conn, true, conn->blocked);
    if (conn->stream->pending && conn->stream->pending(conn))
        crs_conn_on_readable(conn);
}

static bool end_of_turn(void *user)
{
    crs_transport *t = user;
    crs_list *l;
    crs_list batch;
    if (!crs_list_empty(&t->resuming)) {
        batch = t->resuming;
        batch.next->prev = batch.prev->next = &batch;
        crs_list_init(&t->resuming);
        while ((l = crs_list_pop(&batch)))
            resume_input(CRS_CONTAINER(l, crs_conn, link));
    }
    for (int i = 0; i < CRS_FLUSH_SLICE && (l = crs_list_pop(&t->dirty)); i++)
        flush_queue(CRS_CONTAINER(l, crs_conn, dirty_link));
    return !crs_list_empty(&t->dirty) || !crs_list_empty(&t->resuming);
}
