/* acceptor/custom.c: what custom acceptors call: sockets and streams become connections, descriptors are watched. */
#include "acceptor/custom.h"

#include <arpa/inet.h>
#include <cereus/context.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "transport/socket.h"

_Static_assert((int)CEREUS_FRAMING_STREAM == (int)CRS_FRAMING_STREAM &&
                   (int)CEREUS_FRAMING_WEBSOCKET == (int)CRS_FRAMING_WEBSOCKET,
               "the same values");

/* ---- by scheme ---- */

static bool scheme_is(const char *scheme, const char *url)
{
    size_t len = strlen(scheme);
    return strncmp(url, scheme, len) == 0 && strncmp(url + len, "://", 3) == 0;
}

cereus_status crs_custom_add(crs_custom_acceptor **list, const char *scheme, const cereus_acceptor *ops, void *user,
                             cereus_error *err)
{
    static const char *const ours[] = {"tcp", "tls", "ws", "wss"};
    bool good = *scheme && strlen(scheme) <= 32;
    for (const char *p = scheme; *p; p++)
        good = good && (isalpha((unsigned char)*p) || (p > scheme && isdigit((unsigned char)*p)));
    if (!good)
        return crs_fail(err, CEREUS_E_INVALID, "acceptor \"%.40s\": a scheme is letters and digits, at most 32",
                        scheme);
    if (!ops->open || !ops->start)
        return crs_fail(err, CEREUS_E_INVALID, "acceptor \"%s\": needs the functions open and start", scheme);
    for (size_t i = 0; i < CEREUS_COUNT(ours); i++) {
        if (strcmp(ours[i], scheme) == 0)
            return crs_fail(err, CEREUS_E_EXISTS, "acceptor \"%s\": this scheme is Cereus's own", scheme);
    }
    crs_custom_acceptor **tail = list;
    for (; *tail; tail = &(*tail)->next) {
        if (strcmp((*tail)->scheme, scheme) == 0)
            return crs_fail(err, CEREUS_E_EXISTS, "acceptor \"%s\": this scheme is taken already", scheme);
    }
    crs_custom_acceptor *a = crs_zalloc(sizeof *a);
    if (!a || !(a->scheme = crs_strdup(scheme))) {
        crs_free(a);
        return crs_fail(err, CEREUS_E_NOMEM, "acceptor \"%s\": out of memory", scheme);
    }
    a->ops = ops;
    a->user = user;
    *tail = a;
    return CEREUS_OK;
}

const crs_custom_acceptor *crs_custom_find(const crs_custom_acceptor *list, const char *url)
{
    while (list && !scheme_is(list->scheme, url))
        list = list->next;
    return list;
}

void crs_custom_free_all(crs_custom_acceptor **list)
{
    while (*list) {
        crs_custom_acceptor *next = (*list)->next;
        crs_free((*list)->scheme);
        crs_free(*list);
        *list = next;
    }
}

/* ---- sockets ---- */

static crs_transport *transport_of(const cereus_loop *loop)
{
    crs_transport *t = (crs_transport *)loop;
    crs_loop_assert_current(t->loop);
    return t;
}

unsigned cereus_loop_index(const cereus_loop *loop)
{
    return transport_of(loop)->loop->index;
}

cereus_status cereus_loop_accept_fd(cereus_loop *loop, int fd, cereus_framing framing)
{
    crs_transport *t = transport_of(loop);
    crs_socket_options opt = {.framing = (crs_framing)framing, .local = true};
    int flags = fcntl(fd, F_GETFL);
    crs_socket_set_options(fd);
    if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && crs_socket_adopt(t, fd, &opt) == CEREUS_OK)
        return CEREUS_OK;
    CRS_COUNT(&t->loop->counters, connections_refused);
    close(fd);
    return CEREUS_E_NOMEM;
}

/* ---- streams ---- */

typedef struct stream_conn {
    crs_conn base;
    const cereus_stream_ops *ops;
    void *stream;
    crs_mail end; /* frees it, when nobody up the stack can have it in hands any more */
} stream_conn;

static stream_conn *stream_of(crs_conn *conn)
{
    return CRS_CONTAINER(conn, stream_conn, base);
}

static ssize_t stream_recv(crs_conn *conn, void *buf, size_t cap)
{
    return stream_of(conn)->ops->read(stream_of(conn)->stream, buf, cap);
}

static ssize_t stream_sendv(crs_conn *conn, const struct iovec *iov, int count)
{
    stream_conn *c = stream_of(conn);
    ssize_t sent = 0;
    for (int i = 0; i < count; i++) {
        ssize_t n = c->ops->write(c->stream, iov[i].iov_base, iov[i].iov_len);
        if (n < 0)
            return sent ? sent : -1;
        sent += n;
        if ((size_t)n < iov[i].iov_len)
            break;
    }
    return sent;
}

static void stream_want(crs_conn *conn, bool readable, bool writable)
{
    if (conn->state != CRS_CONN_CLOSED)
        stream_of(conn)->ops->want(stream_of(conn)->stream, readable, writable);
}

static void stream_shut(crs_conn *conn)
{
    if (stream_of(conn)->ops->shut)
        stream_of(conn)->ops->shut(stream_of(conn)->stream);
}

static void stream_freed(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    stream_conn *c = CRS_CONTAINER(mail, stream_conn, end);
    crs_conn_fini(&c->base);
    crs_free(c);
}

static void stream_destroy(crs_conn *conn)
{
    stream_conn *c = stream_of(conn);
    c->ops->close(c->stream);
    c->end.run = stream_freed;
    crs_loop_post_reserved(conn->transport->loop, &c->end);
}

static const crs_stream_ops stream_ops = {
    .recv = stream_recv, .sendv = stream_sendv, .want = stream_want, .shut = stream_shut, .destroy = stream_destroy};

/** "1.2.3.4:5" or "[::1]:5"; anything else is no network address. */
static void parse_peer(const char *text, crs_peer *peer)
{
    char host[INET6_ADDRSTRLEN + 2];
    const char *colon = text ? strrchr(text, ':') : NULL;
    if (!colon || (size_t)(colon - text) >= sizeof host || !isdigit((unsigned char)colon[1]))
        return;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    size_t len = strlen(host);
    bool ipv6 = len >= 2 && host[0] == '[' && host[len - 1] == ']';
    if (ipv6)
        host[len - 1] = '\0';
    long port = strtol(colon + 1, NULL, 10);
    crs_peer p = {.ipv6 = ipv6, .port = (uint16_t)port};
    if (port > 0 && port <= UINT16_MAX && inet_pton(ipv6 ? AF_INET6 : AF_INET, host + ipv6, p.addr) == 1)
        *peer = p;
}

cereus_status cereus_loop_accept_stream(cereus_loop *loop, const cereus_stream_ops *ops, void *stream,
                                        cereus_framing framing, const char *peer, cereus_conn **ret_conn)
{
    crs_transport *t = transport_of(loop);
    stream_conn *c =
        crs_conn_alloc(t, sizeof *c, framing == CEREUS_FRAMING_WEBSOCKET ? CRS_FRAMING_WEBSOCKET : CRS_FRAMING_STREAM);
    if (!c) {
        CRS_COUNT(&t->loop->counters, connections_refused);
        return CEREUS_E_NOMEM;
    }
    c->ops = ops;
    c->stream = stream;
    parse_peer(peer, &c->base.peer);
    *ret_conn = (cereus_conn *)&c->base;
    ops->want(stream, true, false);
    crs_conn_init(&c->base, t, &stream_ops);
    return CEREUS_OK;
}

void cereus_conn_readable(cereus_conn *conn)
{
    crs_conn_on_readable((crs_conn *)conn);
}

void cereus_conn_writable(cereus_conn *conn)
{
    crs_conn_on_writable((crs_conn *)conn);
}

/* ---- descriptors ---- */

struct cereus_watch {
    uv_poll_t poll;
    crs_loop *loop;
    int fd;
    int events;
    cereus_watch_fn *fn;
    void *user;
};

static void on_watched(uv_poll_t *handle, int status, int events)
{
    cereus_watch *w = CRS_CONTAINER(handle, cereus_watch, poll);
    crs_loop_update_now(w->loop);
    if (status < 0) { /* libuv has stopped polling; what is wrong, the next system call on it tells */
        uv_poll_start(handle, w->events, on_watched);
        events = w->events;
    }
    w->fn(w->fd, events & (UV_READABLE | UV_WRITABLE), w->user);
}

static void on_watch_closed(uv_handle_t *handle)
{
    crs_free(CRS_CONTAINER(handle, cereus_watch, poll));
}

cereus_status cereus_loop_watch(cereus_loop *loop, int fd, int events, cereus_watch_fn *fn, void *user,
                                cereus_watch **ret_watch)
{
    crs_transport *t = transport_of(loop);
    cereus_watch *w = crs_zalloc(sizeof *w);
    if (!w)
        return CEREUS_E_NOMEM;
    w->loop = t->loop;
    w->fd = fd;
    w->events = events & (CEREUS_FD_READABLE | CEREUS_FD_WRITABLE);
    w->fn = fn;
    w->user = user;
    if (!w->events || uv_poll_init(&t->loop->uv, &w->poll, fd) != 0) {
        crs_free(w);
        return CEREUS_E_INVALID;
    }
    if (uv_poll_start(&w->poll, w->events, on_watched) != 0) {
        cereus_watch_stop(w);
        return CEREUS_E_INVALID;
    }
    *ret_watch = w;
    return CEREUS_OK;
}

void cereus_watch_set(cereus_watch *w, int events)
{
    crs_loop_assert_current(w->loop);
    events &= CEREUS_FD_READABLE | CEREUS_FD_WRITABLE;
    CRS_ASSERT(events);
    w->events = events;
    uv_poll_start(&w->poll, events, on_watched); /* which only fails for a descriptor that another handle has */
}

cereus_watch *cereus_watch_stop(cereus_watch *watch)
{
    if (watch)
        uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
    return NULL;
}
