/* ext/link.c: see the header. The socket is watched for writing only while it is connecting or blocked. */
#include "ext/link.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum {
    KEEPALIVE_S = 15,           /* the kernel's own probes, for a connection that nobody uses */
    UNACKED_MAX_MS = 20 * 1000, /* bytes that the peer's kernel does not take for so long end the connection */
};

typedef enum link_state { LINK_CONNECTING, LINK_HANDSHAKE, LINK_UP, LINK_CLOSED } link_state;

struct crs_link {
    uv_poll_t poll;
    crs_loop *loop;
    int fd;
    link_state state;
    int watched; /* uv events */
    const crs_link_ops *ops;
    void *user;
    crs_tls_session *tls;
};

static void on_io(uv_poll_t *handle, int status, int events);

static void watch(crs_link *link, int events)
{
    if (link->watched == events)
        return;
    link->watched = events;
    uv_poll_start(&link->poll, events, on_io);
}

static void handshake(crs_link *link)
{
    cereus_error err;
    bool write = false;
    cereus_status st = link->tls ? crs_tls_handshake(link->tls, &write, &err) : CEREUS_OK;
    if (st == CEREUS_E_AGAIN) {
        watch(link, write ? UV_WRITABLE : UV_READABLE);
    } else if (st) {
        link->ops->failed(&err, link->user);
    } else {
        link->state = LINK_UP;
        watch(link, UV_READABLE);
        link->ops->connected(link->user);
    }
}

static void on_connected(crs_link *link)
{
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        cereus_error err;
        crs_fail(&err, CEREUS_E_UNAVAILABLE, "%s", strerror(error));
        link->ops->failed(&err, link->user);
        return;
    }
    link->state = LINK_HANDSHAKE;
    handshake(link);
}

static void on_io(uv_poll_t *handle, int status, int events)
{
    crs_link *link = CRS_CONTAINER(handle, crs_link, poll);
    crs_loop_update_now(link->loop);
    if (status < 0) /* an error that the next call tells; libuv stopped watching */
        link->watched = 0;
    if (link->state == LINK_CONNECTING) {
        on_connected(link);
        return;
    }
    if (link->state == LINK_HANDSHAKE) {
        handshake(link);
        return;
    }
    if (events & UV_WRITABLE) {
        watch(link, UV_READABLE);
        link->ops->writable(link->user);
    }
    if (link->state == LINK_UP && ((events & UV_READABLE) || status < 0)) {
        link->ops->readable(link->user);
        if (link->state == LINK_UP && status < 0)
            watch(link, UV_READABLE);
    }
}

static void set_options(int fd)
{
    int on = 1, idle = KEEPALIVE_S;
    unsigned unacked = UNACKED_MAX_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked, sizeof unacked);
}

cereus_status crs_link_open(crs_loop *loop, const crs_link_options *opt, crs_link **ret_link, cereus_error *err)
{
    int fd = socket(opt->addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return crs_fail(err, CEREUS_E_IO, "socket: %s", strerror(errno));
    set_options(fd);
    cereus_status st;
    crs_tls_session *tls = NULL;
    crs_link *link = NULL;
    if (connect(fd, opt->addr, opt->addr_len) != 0 && errno != EINPROGRESS) {
        st = crs_fail(err, CEREUS_E_UNAVAILABLE, "%s", strerror(errno));
        goto fail;
    }
    if (opt->tls && (st = crs_tls_session_new(opt->tls, fd, opt->host, &tls, err)))
        goto fail;
    if (!(link = crs_zalloc(sizeof *link))) {
        st = crs_fail(err, CEREUS_E_NOMEM, "out of memory");
        goto fail;
    }
    int rc = uv_poll_init(&loop->uv, &link->poll, fd);
    if (rc) {
        st = crs_fail(err, CEREUS_E_IO, "%s", uv_strerror(rc));
        goto fail;
    }
    link->loop = loop;
    link->fd = fd;
    link->ops = opt->ops;
    link->user = opt->user;
    link->tls = tls;
    watch(link, UV_WRITABLE);
    *ret_link = link;
    return CEREUS_OK;
fail:
    crs_free(link);
    crs_tls_session_free(tls);
    close(fd);
    return st;
}

static void on_closed(uv_handle_t *handle)
{
    crs_free(CRS_CONTAINER(handle, crs_link, poll));
}

crs_link *crs_link_close(crs_link *link)
{
    if (!link)
        return NULL;
    if (link->tls && link->state == LINK_UP)
        crs_tls_shut(link->tls);
    link->state = LINK_CLOSED;
    link->tls = crs_tls_session_free(link->tls);
    uv_close((uv_handle_t *)&link->poll,
             on_closed); /* it takes fd out of epoll; after close() that could be another's */
    close(link->fd);
    return NULL;
}

/** What a transfer of @p n bytes has come to. */
static cereus_status moved(const crs_link *link, ssize_t n, size_t *ret_len, cereus_error *err)
{
    if (n > 0) {
        *ret_len = (size_t)n;
        return CEREUS_OK;
    }
    if (n == 0)
        return crs_fail(err, CEREUS_E_UNAVAILABLE, "the peer closed the connection");
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return CEREUS_E_AGAIN;
    return link->tls ? CEREUS_E_UNAVAILABLE : crs_fail(err, CEREUS_E_UNAVAILABLE, "%s", strerror(errno));
}

cereus_status crs_link_recv(crs_link *link, void *buf, size_t cap, size_t *ret_len, cereus_error *err)
{
    return moved(link, link->tls ? crs_tls_recv(link->tls, buf, cap, err) : recv(link->fd, buf, cap, 0), ret_len, err);
}

bool crs_link_pending(const crs_link *link)
{
    return link->tls && crs_tls_pending(link->tls);
}

cereus_status crs_link_send(crs_link *link, const void *data, size_t len, size_t *ret_len, cereus_error *err)
{
    ssize_t n = link->tls ? crs_tls_send(link->tls, data, len, err) : send(link->fd, data, len, MSG_NOSIGNAL);
    cereus_status st = moved(link, n, ret_len, err);
    if (st == CEREUS_E_AGAIN)
        watch(link, UV_READABLE | UV_WRITABLE);
    return st;
}
