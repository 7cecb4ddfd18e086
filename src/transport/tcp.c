/* transport/tcp.c: addresses, and listening sockets on uv_poll_t with our own accept. */
#include "transport/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <unistd.h>

#include "transport/socket.h"

enum {
    ACCEPT_BATCH = 64,
    ACCEPT_PAUSE_MS = 100, /* after running out of descriptors or memory */
    BACKLOG = 4096,
};

/* ---- listeners ---- */

struct crs_listener {
    uv_poll_t poll;
    crs_transport *transport;
    crs_framing framing;
    bool tls;
    int fd;
    int spare_fd; /* given up for a moment to accept and drop a connection when descriptors run out; -1: none */
    crs_timer pause;
};

static void on_acceptable(uv_poll_t *handle, int status, int events);

static void on_pause_over(crs_timer *timer)
{
    crs_listener *l = CRS_CONTAINER(timer, crs_listener, pause);
    uv_poll_start(&l->poll, UV_READABLE, on_acceptable);
}

static void accept_failed(crs_listener *l, int error)
{
    crs_loop *loop = l->transport->loop;
    CRS_COUNT(&loop->counters, accept_errors);
    if ((error == EMFILE || error == ENFILE) && l->spare_fd >= 0) {
        close(l->spare_fd); /* tell the client at once rather than let it hang in the backlog */
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    static crs_log_limiter limiter;
    crs_log_limited(loop->log, CEREUS_LOG_ERROR, &limiter, "cannot accept connections",
                    CRS_STR("error", strerror(error)), CRS_STR("fix", "raise ulimit -n"));
    uv_poll_stop(&l->poll);
    if (crs_loop_timer_start(loop, &l->pause, ACCEPT_PAUSE_MS) != CEREUS_OK)
        on_pause_over(&l->pause);
}

static void on_acceptable(uv_poll_t *handle, int status, int events)
{
    CRS_UNUSED(events);
    crs_listener *l = CRS_CONTAINER(handle, crs_listener, poll);
    crs_loop *loop = l->transport->loop;
    crs_loop_update_now(loop);
    if (status < 0) { /* libuv has stopped polling; what is wrong, accept() tells */
        uv_poll_start(handle, UV_READABLE, on_acceptable);
    }
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage addr;
        socklen_t addr_len = sizeof addr;
        int fd = accept4(l->fd, (struct sockaddr *)&addr, &addr_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO)
                continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                accept_failed(l, errno);
            return;
        }
        crs_socket_options opt = {.framing = l->framing, .tls = l->tls, .peer = (struct sockaddr *)&addr};
        if (crs_socket_adopt(l->transport, fd, &opt) != CEREUS_OK) {
            CRS_COUNT(&loop->counters, connections_refused);
            close(fd);
        }
    }
}

static void describe(crs_endpoint *e)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    const char *scheme = e->framing == CRS_FRAMING_WEBSOCKET ? (e->tls ? "wss" : "ws") : (e->tls ? "tls" : "tcp");
    if (getnameinfo((struct sockaddr *)&e->addr, e->addr_len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    const char *form = e->addr.ss_family == AF_INET6 ? "%s://[%.64s]:%s" : "%s://%.64s:%s";
    snprintf(e->text, sizeof e->text, form, scheme, host, port);
}

cereus_status crs_endpoint_parse(const char *url, crs_endpoint *ret_endpoint, cereus_error *err)
{
    crs_endpoint e = {0};
    const char *rest;
    if (strncmp(url, "tcp://", 6) == 0 || strncmp(url, "tls://", 6) == 0) {
        rest = url + 6;
    } else if (strncmp(url, "ws://", 5) == 0 || strncmp(url, "wss://", 6) == 0) {
        e.framing = CRS_FRAMING_WEBSOCKET;
        rest = strchr(url, '/') + 2;
    } else {
        return crs_fail(err, CEREUS_E_INVALID, "listener \"%s\": must begin with tcp://, tls://, ws:// or wss://", url);
    }
    e.tls = url[2] == 's';
    char host[256];
    size_t len = strcspn(rest, "/?#");
    if (rest[len] != '\0' && strcmp(rest + len, "/") != 0)
        return crs_fail(err, CEREUS_E_INVALID, "listener \"%s\": takes no path, only HOST:PORT", url);
    if (len >= sizeof host)
        return crs_fail(err, CEREUS_E_INVALID, "listener \"%s\": too long", url);
    memcpy(host, rest, len);
    host[len] = '\0';
    char *colon = strrchr(host, ':');
    if (!colon || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1) || strlen(colon + 1) > 5 ||
        atoi(colon + 1) > 65535)
        return crs_fail(err, CEREUS_E_INVALID, "listener \"%s\": needs a port from 0 to 65535, like %s", url,
                        "tcp://0.0.0.0:3250");
    *colon = '\0';
    char *name = host;
    size_t name_len = strlen(name);
    if (name_len >= 2 && name[0] == '[' && name[name_len - 1] == ']') {
        name[name_len - 1] = '\0';
        name++;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    int rc = getaddrinfo(*name ? name : NULL, colon + 1, &hints, &found);
    if (rc)
        return crs_fail(err, CEREUS_E_INVALID, "listener \"%s\": host \"%s\": %s", url, name, gai_strerror(rc));
    memcpy(&e.addr, found->ai_addr, found->ai_addrlen);
    e.addr_len = found->ai_addrlen;
    freeaddrinfo(found);
    describe(&e);
    *ret_endpoint = e;
    return CEREUS_OK;
}

static int open_socket(const crs_endpoint *e, bool reuse_port)
{
    int fd = socket(e->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (reuse_port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    crs_socket_set_options(fd);
    if (bind(fd, (const struct sockaddr *)&e->addr, e->addr_len) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static cereus_status bind_failed(const crs_endpoint *e, cereus_error *err)
{
    const char *fix = errno == EADDRINUSE      ? "; another program listens there: choose another port, or 0 for any"
                      : errno == EACCES        ? "; ports below 1024 need privileges: choose a higher one"
                      : errno == EADDRNOTAVAIL ? "; this machine has no such address: 0.0.0.0 is all of them"
                                               : "";
    return crs_fail(err, CEREUS_E_IO, "cannot listen on %s: %s%s", e->text, strerror(errno), fix);
}

cereus_status crs_endpoint_claim(crs_endpoint *endpoint, int *ret_fd, cereus_error *err)
{
    /* a socket without SO_REUSEPORT finds every listener that is there already */
    int probe = open_socket(endpoint, false);
    if (probe < 0)
        return bind_failed(endpoint, err);
    if (listen(probe, 1) != 0) {
        cereus_status st = bind_failed(endpoint, err);
        close(probe);
        return st;
    }
    endpoint->addr_len = sizeof endpoint->addr;
    getsockname(probe, (struct sockaddr *)&endpoint->addr, &endpoint->addr_len);
    describe(endpoint);
    close(probe);
    int fd = open_socket(endpoint, true);
    if (fd < 0)
        return bind_failed(endpoint, err);
    *ret_fd = fd;
    return CEREUS_OK;
}

cereus_status crs_listener_new(crs_transport *t, const crs_endpoint *endpoint, crs_listener **ret_listener,
                               cereus_error *err)
{
    crs_listener *l = crs_zalloc(sizeof *l);
    if (!l)
        return crs_fail(err, CEREUS_E_NOMEM, "listener %s", endpoint->text);
    l->transport = t;
    l->framing = endpoint->framing;
    l->tls = endpoint->tls;
    l->fd = open_socket(endpoint, true);
    if (l->fd < 0 || listen(l->fd, BACKLOG) != 0 || uv_poll_init(&t->loop->uv, &l->poll, l->fd) != 0) {
        cereus_status st = bind_failed(endpoint, err);
        if (l->fd >= 0)
            close(l->fd);
        crs_free(l);
        return st;
    }
    l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    crs_timer_init(&l->pause, on_pause_over);
    uv_poll_start(&l->poll, UV_READABLE, on_acceptable);
    *ret_listener = l;
    return CEREUS_OK;
}

static void on_listener_closed(uv_handle_t *handle)
{
    crs_free(CRS_CONTAINER(handle, crs_listener, poll));
}

crs_listener *crs_listener_free(crs_listener *listener)
{
    if (!listener)
        return NULL;
    crs_loop_timer_stop(listener->transport->loop, &listener->pause);
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed); /* before close(), as above */
    close(listener->fd);
    if (listener->spare_fd >= 0)
        close(listener->spare_fd);
    return NULL;
}
