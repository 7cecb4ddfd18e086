/* tools/bench/peer.c: one connection of the load generator: connect, TLS, upgrade, handshake, then packets both ways.
 *
 *    none ──open──> connecting ──> [securing] ──> [upgrading] ──> shaking ──> [joining] ──> ready
 *                       └──────────────┴───────────────┴─────────────┴────────────┴───────────┴──> closed
 *
 * A failure anywhere is counted and ends the connection; the run goes on with the others. In CONNECT mode load.c closes
 * a peer that is ready and opens it again.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load_priv.h"

/* Every source address has about 28,000 ports, and a closed connection holds its own for a minute. */
enum { CONNECTIONS_PER_SOURCE = 16 * 1024, SOURCES = 200, HANDSHAKE_MAX = 1024 * 1024 };

static void watch(crs_load *load, crs_peer *peer, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = peer};
    if (epoll_ctl(load->epoll, op, peer->fd, &ev) < 0)
        crs_load_drop(load, peer, CRS_BENCH_ERROR_connect, "epoll_ctl");
}

static int connect_from_next_source(crs_load *load, int fd)
{
    uint32_t source = load->source_count++ / CONNECTIONS_PER_SOURCE % SOURCES;
    if (source > 0 && load->is_loopback) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + source)};
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
        if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
            return -1;
    }
    return connect(fd, (const struct sockaddr *)&load->opt->addr, load->opt->addr_len);
}

void crs_peer_open(crs_load *load, crs_peer *peer)
{
    peer->state = CRS_PEER_CONNECTING;
    peer->connect_ns = load->now_ns;
    load->opening_count++;
    peer->fd = socket(load->opt->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (peer->fd < 0) {
        crs_load_drop(load, peer, CRS_BENCH_ERROR_connect, strerror(errno));
        return;
    }
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect_from_next_source(load, peer->fd) < 0 && errno != EINPROGRESS) {
        crs_load_drop(load, peer, CRS_BENCH_ERROR_connect, strerror(errno));
        return;
    }
    peer->wants_write = true;
    watch(load, peer, EPOLL_CTL_ADD, EPOLLOUT);
}

void crs_peer_close(crs_load *load, crs_peer *peer)
{
    if (peer->state == CRS_PEER_CLOSED)
        return;
    if (peer->state == CRS_PEER_READY)
        load->ready_count--;
    else
        load->opening_count--;
    peer->state = CRS_PEER_CLOSED;
    load->closed_count++;
    peer->tls = crs_tls_session_free(peer->tls); /* without a good-bye: no server waits for one */
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
    crs_bytes_fini(&peer->part);
    crs_bytes_fini(&peer->out);
}

/* ---- writing ---- */

static void set_wants_write(crs_load *load, crs_peer *peer, bool wants)
{
    if (peer->wants_write == wants)
        return;
    peer->wants_write = wants;
    watch(load, peer, EPOLL_CTL_MOD, wants ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* @return bytes taken; -1: the connection was dropped */
static ssize_t send_some(crs_load *load, crs_peer *peer, const uint8_t *data, size_t len)
{
    cereus_error err = {0};
    size_t sent = 0;
    do { /* TLS takes a record at a time */
        ssize_t n = peer->tls ? crs_tls_send(peer->tls, data + sent, len - sent, &err)
                              : send(peer->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            sent += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            break;
        } else {
            crs_load_drop(load, peer, CRS_BENCH_ERROR_closed, err.status ? err.msg : strerror(errno));
            return -1;
        }
    } while (peer->tls && sent < len);
    return (ssize_t)sent;
}

void crs_peer_flush(crs_load *load, crs_peer *peer)
{
    const uint8_t *data = load->tx.data;
    size_t len = load->tx.len;
    load->tx.len = 0;
    if (len == 0 || peer->state == CRS_PEER_CLOSED)
        return;
    ssize_t sent = peer->out.len ? 0 : send_some(load, peer, data, len);
    if (sent < 0 || (size_t)sent == len)
        return;
    if (crs_bytes_append(&peer->out, data + sent, len - (size_t)sent)) {
        crs_load_drop(load, peer, CRS_BENCH_ERROR_closed, "the server does not read");
        return;
    }
    set_wants_write(load, peer, true);
}

static void on_writable(crs_load *load, crs_peer *peer)
{
    ssize_t sent = send_some(load, peer, peer->out.data, peer->out.len);
    if (sent < 0)
        return;
    peer->out.len -= (size_t)sent;
    memmove(peer->out.data, peer->out.data + sent, peer->out.len);
    if (peer->out.len)
        return;
    crs_bytes_fini(&peer->out);
    set_wants_write(load, peer, false);
}

static void queue_setup(crs_load *load, crs_peer *peer, size_t from, size_t to)
{
    if (crs_bytes_append(&load->tx, load->setup.data + from, to - from))
        crs_load_drop(load, peer, CRS_BENCH_ERROR_connect, "out of memory");
}

/* ---- opening ---- */

static void shake_hands(crs_load *load, crs_peer *peer)
{
    peer->state = CRS_PEER_SHAKING;
    queue_setup(load, peer, load->setup_handshake, load->setup_ack);
}

/* The stream is there, and secure if it is to be. */
static void on_stream(crs_load *load, crs_peer *peer)
{
    set_wants_write(load, peer, false);
    if (!load->opt->ws) {
        shake_hands(load, peer);
    } else {
        peer->state = CRS_PEER_UPGRADING;
        queue_setup(load, peer, 0, load->setup_handshake);
    }
    crs_peer_flush(load, peer);
}

static void secure(crs_load *load, crs_peer *peer)
{
    bool wants_write = false;
    cereus_error err;
    cereus_status st = crs_tls_handshake(peer->tls, &wants_write, &err);
    if (st == CEREUS_E_AGAIN)
        set_wants_write(load, peer, wants_write);
    else if (st)
        crs_load_drop(load, peer, CRS_BENCH_ERROR_handshake, err.msg);
    else
        on_stream(load, peer);
}

static void on_connected(crs_load *load, crs_peer *peer)
{
    int error = 0;
    socklen_t len = sizeof error;
    cereus_error err;
    if (getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
        crs_load_drop(load, peer, CRS_BENCH_ERROR_connect, strerror(error));
    } else if (!load->tls) {
        on_stream(load, peer);
    } else if (crs_tls_session_new(load->tls, peer->fd, load->opt->server_name, &peer->tls, &err)) {
        crs_load_drop(load, peer, CRS_BENCH_ERROR_connect, err.msg);
    } else {
        peer->state = CRS_PEER_SECURING;
        secure(load, peer);
    }
}

static void on_handshake_answer(crs_load *load, crs_peer *peer, cereus_slice answer)
{
    static const char accepted[] = "{\"code\":200,";
    if (answer.len > 1 && answer.data[0] == 0x78) { /* zlib: data compression is on and the dictionary is long */
        load->inflated.len = 0;
        load->inflated.max = HANDSHAKE_MAX;
        if (crs_zlib_inflate(load->zlib, answer, &load->inflated) == CEREUS_OK)
            answer = crs_bytes_slice(&load->inflated);
    }
    if (peer->state != CRS_PEER_SHAKING || answer.len < sizeof accepted - 1 ||
        memcmp(answer.data, accepted, sizeof accepted - 1) != 0) {
        crs_load_error(load, CRS_BENCH_ERROR_handshake, answer);
        crs_peer_close(load, peer);
        return;
    }
    bool joins = load->opt->join_route;
    queue_setup(load, peer, load->setup_ack, joins ? load->setup_end : load->setup_join);
    if (joins && peer->state != CRS_PEER_CLOSED)
        peer->state = CRS_PEER_JOINING;
    else if (peer->state != CRS_PEER_CLOSED)
        crs_load_on_ready(load, peer);
}

/* ---- reading ---- */

static void on_data(crs_load *load, crs_peer *peer, cereus_slice body)
{
    crs_message msg;
    if (crs_message_decode(body, NULL, &msg)) {
        crs_load_drop(load, peer, CRS_BENCH_ERROR_malformed, "not a message");
        return;
    }
    if (peer->state == CRS_PEER_READY || msg.type == CRS_MESSAGE_PUSH) {
        crs_load_on_message(load, peer, &msg);
        return;
    }
    if (peer->state != CRS_PEER_JOINING || msg.type != CRS_MESSAGE_RESPONSE || msg.error) {
        crs_load_error(load, msg.error ? CRS_BENCH_ERROR_refused : CRS_BENCH_ERROR_malformed, msg.body);
        crs_peer_close(load, peer);
        return;
    }
    crs_load_on_ready(load, peer);
}

static void on_item(crs_load *load, crs_peer *peer, const crs_bench_item *item)
{
    static const crs_packet_type heartbeat = CRS_PACKET_HEARTBEAT;
    cereus_status st = CEREUS_OK;
    if (item->kind == CRS_BENCH_PING)
        st = crs_bench_put_pong(item->ping, &load->tx);
    else if (item->kind == CRS_BENCH_CLOSE)
        crs_load_drop(load, peer, CRS_BENCH_ERROR_closed, "close frame");
    else if (item->kind == CRS_BENCH_PONG)
        return;
    else if (item->packet.type == CRS_PACKET_DATA)
        on_data(load, peer, item->packet.body);
    else if (item->packet.type == CRS_PACKET_HANDSHAKE)
        on_handshake_answer(load, peer, item->packet.body);
    else if (item->packet.type ==
             CRS_PACKET_HEARTBEAT) /* an answer keeps the connection open, whatever is asked on it */
        st = crs_bench_put_packet(load->opt->ws, heartbeat, (cereus_slice){0}, &load->tx);
    else if (item->packet.type == CRS_PACKET_KICK)
        crs_load_drop(load, peer, CRS_BENCH_ERROR_kicked, "kick");
    else
        crs_load_drop(load, peer, CRS_BENCH_ERROR_malformed, "a packet that servers do not send");
    if (st)
        crs_load_drop(load, peer, CRS_BENCH_ERROR_closed, "out of memory");
}

/* @return bytes used of @p in */
static size_t on_bytes(crs_load *load, crs_peer *peer, cereus_slice in)
{
    size_t at = 0, used;
    cereus_status st = CEREUS_OK;
    if (peer->state == CRS_PEER_UPGRADING) {
        st = crs_bench_upgraded(in, &at);
        if (st == CEREUS_OK)
            shake_hands(load, peer);
        else if (st != CEREUS_E_AGAIN)
            crs_load_drop(load, peer, CRS_BENCH_ERROR_handshake, "no WebSocket here");
    }
    while (st == CEREUS_OK && peer->state != CRS_PEER_CLOSED) {
        crs_bench_item item;
        st = crs_bench_next(load->opt->ws, cereus_slice_of(in.data + at, in.len - at), &item, &used);
        if (st == CEREUS_OK) {
            at += used;
            on_item(load, peer, &item);
        } else if (st != CEREUS_E_AGAIN) {
            crs_load_drop(load, peer, CRS_BENCH_ERROR_malformed, "not a packet");
        }
    }
    return at;
}

/* A packet that fills the buffer and is not done needs a larger one. */
static bool grow_read_buf(crs_load *load)
{
    uint8_t *data = crs_realloc(load->read_buf, load->read_cap * 2);
    if (!data)
        return false;
    load->read_buf = data;
    load->read_cap *= 2;
    return true;
}

static void keep_part(crs_load *load, crs_peer *peer, const uint8_t *rest, size_t len)
{
    peer->part.len = 0;
    if (len == 0 && peer->part.cap)
        crs_bytes_fini(&peer->part);
    if (len && crs_bytes_append(&peer->part, rest, len))
        crs_load_drop(load, peer, CRS_BENCH_ERROR_malformed, "a packet that is too long");
}

/* As recv(); of TLS as many records as have been read. */
static ssize_t recv_some(crs_peer *peer, uint8_t *to, size_t cap, cereus_error *err)
{
    if (!peer->tls)
        return recv(peer->fd, to, cap, MSG_DONTWAIT);
    size_t got = 0;
    ssize_t n;
    do {
        n = crs_tls_recv(peer->tls, to + got, cap - got, err);
        if (n > 0)
            got += (size_t)n;
    } while (n > 0 && got < cap && crs_tls_pending(peer->tls));
    return got ? (ssize_t)got : n; /* what ended it comes again */
}

/* @return is there more that the socket does not show? */
static bool on_readable(crs_load *load, crs_peer *peer)
{
    size_t len = peer->part.len;
    cereus_error err = {0};
    if (len == load->read_cap && !grow_read_buf(load)) {
        crs_load_drop(load, peer, CRS_BENCH_ERROR_closed, "out of memory");
        return false;
    }
    if (len)
        memcpy(load->read_buf, peer->part.data, len);
    ssize_t got = recv_some(peer, load->read_buf + len, load->read_cap - len, &err);
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got <= 0) {
        crs_load_drop(load, peer, peer->state == CRS_PEER_READY ? CRS_BENCH_ERROR_closed : CRS_BENCH_ERROR_handshake,
                      err.status ? err.msg
                      : got < 0  ? strerror(errno)
                                 : "end of stream");
        return false;
    }
    len += (size_t)got;
    size_t used = on_bytes(load, peer, cereus_slice_of(load->read_buf, len));
    if (peer->state == CRS_PEER_CLOSED) {
        load->tx.len = 0;
        return false;
    }
    if (used < len || peer->part.len)
        keep_part(load, peer, load->read_buf + used, len - used);
    if (peer->state == CRS_PEER_READY)
        crs_load_issue(load, peer);
    crs_peer_flush(load, peer);
    return peer->tls && crs_tls_pending(peer->tls);
}

void crs_peer_on_event(crs_load *load, crs_peer *peer, uint32_t events)
{
    if (peer->state == CRS_PEER_CLOSED || peer->state == CRS_PEER_NONE)
        return; /* closed earlier in this turn */
    if (peer->state == CRS_PEER_CONNECTING) {
        on_connected(load, peer);
        return;
    }
    if (peer->state == CRS_PEER_SECURING) {
        secure(load, peer);
        return;
    }
    if (events & EPOLLOUT && peer->out.len)
        on_writable(load, peer);
    bool more = events & (EPOLLIN | EPOLLHUP | EPOLLERR);
    while (more && peer->state != CRS_PEER_CLOSED)
        more = on_readable(load, peer);
}
