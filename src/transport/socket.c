/* transport/socket.c: sockets on uv_poll_t with our own recv and sendmsg (measured.md 1: within noise of bare epoll, and
 * writing stays in our hands). */
#include "transport/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "transport/proxy_head.h"
#include "transport/tls.h"

enum { KEEPALIVE_S = 15 }; /* client-protocol.md 13 */

static ssize_t socket_recv(crs_conn *conn, void *buf, size_t cap)
{
    return recv(crs_socket_of(conn)->fd, buf, cap, 0);
}

static ssize_t socket_sendv(crs_conn *conn, const struct iovec *iov, int count)
{
    if (count == 1)
        return send(crs_socket_of(conn)->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL);
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    return sendmsg(crs_socket_of(conn)->fd, &msg, MSG_NOSIGNAL);
}

static void on_io(uv_poll_t *handle, int status, int events)
{
    crs_socket *s = CRS_CONTAINER(handle, crs_socket, poll);
    if (status < 0) { /* reset: libuv stops polling then, but input from before may still be there to read */
        if (s->base.paused) {
            crs_conn_end_by(&s->base, CRS_END_ERROR, false);
            return;
        }
        crs_conn_on_readable(&s->base);
        if (s->base.state != CRS_CONN_CLOSED)
            uv_poll_start(handle, UV_READABLE, on_io);
        return;
    }
    if (events & UV_WRITABLE) {
        if (s->read_when_writable) { /* before more is written, else a peer that is slow to read is never heard */
            s->read_when_writable = false;
            crs_socket_want(&s->base, !s->base.paused, s->base.blocked);
            crs_conn_on_readable(&s->base);
            if (s->base.state == CRS_CONN_CLOSED)
                return;
            events &= ~UV_READABLE;
        }
        crs_conn_on_writable(&s->base);
    }
    if ((events & UV_READABLE) && s->base.state != CRS_CONN_CLOSED)
        crs_conn_on_readable(&s->base);
}

void crs_socket_want(crs_conn *conn, bool readable, bool writable)
{
    if (conn->state == CRS_CONN_CLOSED)
        return;
    int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
    if (crs_socket_of(conn)->read_when_writable) /* what is readable stays so, and would wake the loop all the while */
        events = UV_WRITABLE;
    if (events)
        uv_poll_start(&crs_socket_of(conn)->poll, events, on_io);
    else
        uv_poll_stop(&crs_socket_of(conn)->poll);
}

void crs_socket_read_when_writable(crs_socket *s)
{
    s->read_when_writable = true;
    crs_socket_want(&s->base, true, true);
}

void crs_socket_shut(crs_conn *conn)
{
    shutdown(crs_socket_of(conn)->fd, SHUT_WR);
}

static void on_closed(uv_handle_t *handle)
{
    crs_socket *s = CRS_CONTAINER(handle, crs_socket, poll);
    crs_conn_fini(&s->base);
    crs_free(s);
}

void crs_socket_destroy(crs_conn *conn)
{
    crs_socket *s = crs_socket_of(conn);
    int fd = s->fd;
    uv_close((uv_handle_t *)&s->poll, on_closed); /* it takes fd out of epoll; after close() that could be another's */
    close(fd);
}

cereus_status crs_socket_take_proxy_head(crs_socket *s)
{
    crs_conn *conn = &s->base;
    uint8_t *buf = conn->transport->loop->read_buf;
    size_t have = conn->part_len;
    if (!s->awaits_proxy)
        return CEREUS_OK;
    if (have)
        memcpy(buf, conn->part, have);
    ssize_t n = recv(s->fd, buf + have, CRS_PROXY_HEAD_MAX - have, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return CEREUS_E_AGAIN;
    if (n <= 0)
        return CEREUS_E_IO;
    bool known = false;
    crs_peer peer;
    size_t used;
    cereus_status st = crs_proxy_head_parse(cereus_slice_of(buf, have + (size_t)n), &known, &peer, &used);
    if (st && st != CEREUS_E_AGAIN)
        return st;
    size_t take = st == CEREUS_OK ? used - have : (size_t)n;
    if (recv(s->fd, buf + have, take, 0) != (ssize_t)take)
        return CEREUS_E_IO;
    if (!crs_conn_keep_part(conn, buf, st == CEREUS_OK ? 0 : have + take))
        return CEREUS_E_NOMEM;
    if (st)
        return st;
    s->awaits_proxy = false;
    if (known)
        conn->peer = peer;
    return CEREUS_OK;
}

static cereus_status open_behind_proxy(crs_conn *conn)
{
    return crs_socket_take_proxy_head(crs_socket_of(conn));
}

static const crs_stream_ops plain_stream = {.recv = socket_recv,
                                            .sendv = socket_sendv,
                                            .want = crs_socket_want,
                                            .shut = crs_socket_shut,
                                            .destroy = crs_socket_destroy};
static const crs_stream_ops proxied_stream = {.open = open_behind_proxy,
                                              .recv = socket_recv,
                                              .sendv = socket_sendv,
                                              .want = crs_socket_want,
                                              .shut = crs_socket_shut,
                                              .destroy = crs_socket_destroy};

static void set_remote(crs_conn *conn, int fd, const struct sockaddr *peer)
{
    struct sockaddr_storage addr;
    socklen_t addr_len = sizeof addr;
    if (peer || getpeername(fd, (struct sockaddr *)&addr, &addr_len) == 0)
        crs_peer_set(&conn->peer, peer ? peer : (const struct sockaddr *)&addr);
}

void crs_socket_set_options(int fd)
{
    int on = 1, idle = KEEPALIVE_S; /* what a kind of socket does not know fails, and does no harm */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof idle);
}

cereus_status crs_socket_adopt(crs_transport *t, int fd, const crs_socket_options *opt)
{
    crs_socket *s = crs_conn_alloc(t, opt->tls ? crs_tls_conn_size : sizeof *s, opt->framing);
    if (!s)
        return CEREUS_E_NOMEM;
    if (uv_poll_init(&t->loop->uv, &s->poll, fd) != 0) {
        crs_ws_state_free(s->base.ws);
        crs_free(s);
        return CEREUS_E_NOMEM;
    }
    s->fd = fd;
    s->awaits_proxy = t->opt.proxy && !opt->local;
    set_remote(&s->base, fd, opt->peer);
    uv_poll_start(&s->poll, UV_READABLE, on_io);
    crs_conn_init(&s->base, t, opt->tls ? &crs_tls_stream : s->awaits_proxy ? &proxied_stream : &plain_stream);
    return CEREUS_OK;
}
