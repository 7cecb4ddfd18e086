/* examples/engine/tcp.c: an rpc engine. Each loop has one connection to each server that it sends to, made when there is something
 * to send; on the other side whichever loop is first takes it. Messages go one way on a connection, so its end says one thing:
 * who was called is not there any more. An answer comes on a connection of the other's own.
 *
 *     len: u32 big-endian | len bytes, as often as wanted; first "ID HOST:PORT" of the sender, then messages
 *
 * Where a server is, its metadata say, {"tcp":"10.0.0.1:7001"}, or itself: it may call us before we hear that it is there, and
 * wants an answer. We listen at `tcp.listen`, HOST:PORT in numbers; port 0 picks
 * a free one.
 *
 * Whoever reaches that port is taken for a server and may say what a server may: keep it in a network of your own, or put TLS and
 * a secret here.
 */
#include "tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>

enum {
    HEAD_LEN = 4,
    READ_LEN = 64 << 10, /* bytes read at once */
    KEEP_LEN = 1 << 20,  /* a buffer that has grown beyond this is given back when it is empty */
    OUT_MAX = 64 << 20,  /* bytes that wait for one server; then CEREUS_E_FULL */
    ACCEPTED_MAX = 1024, /* connections of others to one loop */
    ID_CAP = 256,        /* of a server, with its NUL */
    LAST_MS = 500,       /* what waits when we end may take so long in all */
    STEP_MS = 10,
    DEAD_MS = 10000, /* a peer that confirms nothing for so long has gone */
};

typedef struct buffer {
    uint8_t *data;
    size_t len, cap;
} buffer;

typedef struct conn {
    struct part *part;
    struct conn *next, **at; /* in the list; at: what points to us */
    int fd;
    cereus_watch *watch;
    bool accepted;           /* somebody calls us; else we call */
    char id[ID_CAP];         /* whom; "": who calls us has not said yet */
    struct sockaddr_in addr; /* of one that calls us: where it listens */
    bool connecting;         /* not there yet */
    bool left;               /* it is called no more: close when all has been sent */
    bool finished;           /* we have said that nothing more follows */
    buffer in, out;          /* of one that calls us; of one that we call */
    size_t out_begin;        /* what has been sent of out */
} conn;

typedef struct tcp {
    tcp_setup *setup;
    int fd; /* listening, shared by all loops */
    char hello[ID_CAP + 32];
} tcp;

/** Of one loop, touched by that loop only. */
typedef struct part {
    tcp *tcp;
    cereus_loop *loop;
    cereus_rpc_link *link;
    cereus_watch *accepting; /* NULL: not yet, or out of descriptors */
    bool serving;
    size_t accepted;
    conn *conns;
} part;

/* ---- buffers ---- */

static bool reserve(buffer *b, size_t more)
{
    if (b->cap - b->len >= more)
        return true;
    size_t cap = b->cap ? b->cap : 4096;
    while (cap - b->len < more) /* far from overflow: callers bound len and more by a few times OUT_MAX */
        cap *= 2;
    uint8_t *data = realloc(b->data, cap);
    if (!data)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

/** Take @p count bytes from the front. */
static void drop_front(buffer *b, size_t count)
{
    b->len -= count;
    if (b->len)
        memmove(b->data, b->data + count, b->len);
    else if (b->cap > KEEP_LEN) {
        free(b->data);
        *b = (buffer){0};
    }
}

/* ---- addresses ---- */

/** "HOST:PORT" in numbers. */
static bool parse_address(const char *text, struct sockaddr_in *ret_addr)
{
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host)
        return false;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end || port > UINT16_MAX)
        return false;
    *ret_addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return inet_pton(AF_INET, host, &ret_addr->sin_addr) == 1;
}

/** Where a server says that it is, or the list. */
static bool find_address(part *p, const char *server_id, struct sockaddr_in *ret_addr)
{
    for (const conn *c = p->conns; c; c = c->next) {
        if (!c->accepted || strcmp(c->id, server_id) != 0)
            continue;
        *ret_addr = c->addr;
        return true;
    }
    const cereus_server *s = cereus_rpc_link_server(p->link, server_id);
    json_t *metadata = s ? json_loads(s->metadata, 0, NULL) : NULL;
    const char *text = json_string_value(json_object_get(metadata, "tcp"));
    bool good = text && parse_address(text, ret_addr) && ret_addr->sin_port != 0;
    json_decref(metadata);
    return good;
}

/* ---- connections ---- */

static void on_io(int fd, int events, void *user);

/** NULL: it cannot be watched, or no memory; then @p fd has been closed. */
static conn *add_conn(part *p, int fd, int events)
{
    conn *c = calloc(1, sizeof *c);
    if (!c || cereus_loop_watch(p->loop, fd, events, on_io, c, &c->watch)) {
        free(c);
        close(fd);
        return NULL;
    }
    int on = 1, dead_ms = DEAD_MS, dead_s = DEAD_MS / 1000;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof dead_ms); /* a machine that is gone says nothing */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &dead_s, sizeof dead_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &dead_s, sizeof dead_s);
    c->part = p;
    c->fd = fd;
    c->next = p->conns;
    c->at = &p->conns;
    if (c->next)
        c->next->at = &c->next;
    p->conns = c;
    return c;
}

static void begin_accepting(part *p);

static void free_conn(conn *c)
{
    part *p = c->part;
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    p->accepted -= c->accepted;
    cereus_watch_stop(c->watch);
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

/** The connection has ended. */
static void end_conn(conn *c)
{
    part *p = c->part;
    conn was = *c;
    free_conn(c);
    if (!p->accepting && p->serving)
        begin_accepting(p); /* a descriptor is free again */
    if (was.accepted)
        return;
    if (!was.left)
        cereus_rpc_link_broken(p->link, was.id);
    else if (!was.finished)
        cereus_rpc_link_ended(p->link, was.id); /* not all that was sent has arrived: it has not left in order */
}

/* ---- output ---- */

/** Send what waits, as much as goes. False: the connection is broken. */
static bool flush(conn *c)
{
    while (c->out_begin < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->out_begin, c->out.len - c->out_begin, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0) {
            cereus_watch_set(c->watch, CEREUS_FD_READABLE | CEREUS_FD_WRITABLE);
            return true;
        }
        c->out_begin += (size_t)n;
    }
    drop_front(&c->out, c->out.len);
    c->out_begin = 0;
    cereus_watch_set(c->watch, CEREUS_FD_READABLE); /* for its end */
    if (c->left && !c->finished) {
        shutdown(c->fd, SHUT_WR);
        c->finished = true;
    }
    return true;
}

static cereus_status put_message(conn *c, cereus_slice message)
{
    if (c->out.len - c->out_begin + HEAD_LEN + message.len > OUT_MAX)
        return CEREUS_E_FULL;
    if (c->out_begin > c->out.len / 2) { /* a peer that is never quite done must not make it grow for ever */
        drop_front(&c->out, c->out_begin);
        c->out_begin = 0;
    }
    if (!reserve(&c->out, HEAD_LEN + message.len))
        return CEREUS_E_NOMEM;
    uint8_t *at = c->out.data + c->out.len;
    for (int i = 0; i < HEAD_LEN; i++)
        at[i] = (uint8_t)(message.len >> 8 * (HEAD_LEN - 1 - i));
    if (message.len)
        memcpy(at + HEAD_LEN, message.data, message.len);
    c->out.len += HEAD_LEN + message.len;
    return CEREUS_OK;
}

/** The way to a server; NULL: there is none yet. */
static conn *find_conn(part *p, const char *server_id)
{
    for (conn *c = p->conns; c; c = c->next) {
        if (!c->accepted && !c->left && strcmp(c->id, server_id) == 0)
            return c;
    }
    return NULL;
}

/** NULL: it cannot be reached. */
static conn *call_server(part *p, const char *server_id)
{
    struct sockaddr_in addr;
    if (strlen(server_id) >= ID_CAP || !server_id[0] || !find_address(p, server_id, &addr))
        return NULL;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return NULL;
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0 && errno != EINPROGRESS) {
        close(fd);
        return NULL;
    }
    conn *c = add_conn(p, fd, CEREUS_FD_WRITABLE); /* which it is when we know how it went */
    if (!c)
        return NULL;
    c->connecting = true;
    strcpy(c->id, server_id);
    if (put_message(c, cereus_slice_str(p->tcp->hello)) == CEREUS_OK)
        return c;
    free_conn(c);
    return NULL;
}

static cereus_status tcp_send(void *of, const char *server_id, cereus_slice message)
{
    part *p = of;
    if (message.len > CEREUS_RPC_MESSAGE_MAX)
        return CEREUS_E_TOO_LONG;
    conn *c = find_conn(p, server_id);
    if (!c && !(c = call_server(p, server_id)))
        return CEREUS_E_UNAVAILABLE;
    bool first = c->out.len == 0;
    CEREUS_TRY(put_message(c, message));
    if (first && !c->connecting && !flush(c))
        cereus_watch_set(c->watch,
                         CEREUS_FD_READABLE | CEREUS_FD_WRITABLE); /* it is told from there, not within this */
    return CEREUS_OK;
}

static void tcp_gone(void *of, const char *server_id)
{
    conn *c = find_conn(of, server_id);
    if (!c)
        return;
    c->left = true;
    if (!c->connecting && !flush(c))
        end_conn(c);
}

/* ---- input ---- */

/** "ID HOST:PORT". False: it is none. */
static bool take_hello(conn *c, const uint8_t *data, size_t len)
{
    char text[ID_CAP + 32];
    if (len >= sizeof text || memchr(data, '\0', len))
        return false;
    memcpy(text, data, len);
    text[len] = '\0';
    char *blank = strchr(text, ' ');
    if (!blank || blank == text || blank - text >= ID_CAP || !parse_address(blank + 1, &c->addr))
        return false;
    *blank = '\0';
    strcpy(c->id, text);
    return true;
}

/** Hand on the messages that are whole. False: this is no server. */
static bool take_messages(conn *c)
{
    size_t at = 0;
    while (c->in.len - at >= HEAD_LEN) {
        size_t len = 0;
        for (int i = 0; i < HEAD_LEN; i++)
            len = len << 8 | c->in.data[at + (size_t)i];
        if (len > CEREUS_RPC_MESSAGE_MAX)
            return false;
        if (c->in.len - at - HEAD_LEN < len)
            break;
        const uint8_t *data = c->in.data + at + HEAD_LEN;
        if (c->id[0]) /* it may send, and so make other connections, but ends none */
            cereus_rpc_link_receive(c->part->link, cereus_slice_of(data, len));
        else if (!take_hello(c, data, len))
            return false;
        at += HEAD_LEN + len;
    }
    drop_front(&c->in, at);
    return true;
}

/** Read what has come; what is left, the next event brings. False: the connection has ended. */
static bool read_some(conn *c)
{
    if (!reserve(&c->in, READ_LEN))
        return false;
    ssize_t n = recv(c->fd, c->in.data + c->in.len, READ_LEN, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    c->in.len += (size_t)n;
    if (n == 0 || !c->accepted) /* nobody answers on a connection of ours */
        return false;
    return take_messages(c);
}

static void on_io(int fd, int events, void *user)
{
    conn *c = user;
    bool good = true;
    if (c->connecting) {
        int why = 0;
        socklen_t len = sizeof why;
        good = getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) == 0 && why == 0;
        c->connecting = false;
        events = CEREUS_FD_WRITABLE;
    }
    if (good && (events & CEREUS_FD_WRITABLE))
        good = flush(c);
    if (good && (events & CEREUS_FD_READABLE))
        good = read_some(c);
    if (!good)
        end_conn(c);
}

static void on_connection(int listener, int events, void *user)
{
    (void)events;
    part *p = user;
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        conn *c = NULL;
        if (p->accepted == ACCEPTED_MAX)
            close(fd);
        else
            c = add_conn(p, fd, CEREUS_FD_READABLE);
        if (c) {
            c->accepted = true;
            p->accepted++;
        }
    }
    if (errno == EMFILE || errno == ENFILE) /* it would call us again and again: until one of ours ends */
        p->accepting = cereus_watch_stop(p->accepting);
}

static void begin_accepting(part *p)
{
    if (cereus_loop_watch(p->loop, p->tcp->fd, CEREUS_FD_READABLE, on_connection, p, &p->accepting))
        p->accepting = NULL; /* another loop has to */
}

/* ---- the table ---- */

static cereus_status refuse(cereus_error *err, cereus_status st, const char *what, const char *address)
{
    snprintf(err->msg, sizeof err->msg, "tcp.listen: %.40s: %s", address, what);
    return st;
}

static cereus_status tcp_open(const cereus_server *self, void *user, void **ret_state, cereus_error *err)
{
    tcp_setup *setup = user;
    const char *wanted = cereus_config_get_text(cereus_app_config(setup->app), "tcp.listen");
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    int on = 1;
    if (!wanted)
        wanted = "127.0.0.1:0";
    if (!parse_address(wanted, &addr))
        return refuse(err, CEREUS_E_INVALID, "it is HOST:PORT in numbers, as 10.0.0.1:7001", wanted);
    if (addr.sin_addr.s_addr == INADDR_ANY)
        return refuse(err, CEREUS_E_INVALID, "name the address at which the other servers reach this one", wanted);
    tcp *t = calloc(1, sizeof *t);
    if (!t)
        return CEREUS_E_NOMEM;
    t->setup = setup;
    t->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd >= 0)
        setsockopt(t->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* start again at the same port at once */
    if (t->fd < 0 || bind(t->fd, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(t->fd, SOMAXCONN) != 0 ||
        getsockname(t->fd, (struct sockaddr *)&addr, &len) != 0) {
        cereus_status st = refuse(err, CEREUS_E_IO, strerror(errno), wanted);
        if (t->fd >= 0)
            close(t->fd);
        free(t);
        return st;
    }
    char host[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &addr.sin_addr, host, sizeof host);
    snprintf(setup->address, sizeof setup->address, "%s:%u", host, (unsigned)ntohs(addr.sin_port));
    snprintf(t->hello, sizeof t->hello, "%s %s", self->id, setup->address); /* an id has 255 bytes at most */
    *ret_state = t;
    return CEREUS_OK;
}

static cereus_status tcp_start(void *state, cereus_loop *loop, cereus_rpc_link *link, void **ret_part,
                               cereus_error *err)
{
    (void)err;
    part *p = calloc(1, sizeof *p);
    if (!p)
        return CEREUS_E_NOMEM;
    *p = (part){.tcp = state, .loop = loop, .link = link};
    *ret_part = p;
    return CEREUS_OK;
}

static cereus_status tcp_serve(void *of, cereus_error *err)
{
    (void)err;
    part *p = of;
    p->serving = true;
    begin_accepting(p);
    return p->accepting ? CEREUS_OK : CEREUS_E_NOMEM;
}

/** The last answers shall arrive, if that is a matter of a moment: nothing else runs any more. */
static void send_rest(part *p)
{
    int left_ms = LAST_MS;
    for (conn *c = p->conns; c; c = c->next) {
        struct pollfd waits = {.fd = c->fd, .events = POLLOUT};
        while (!c->accepted && c->out.len > 0 && left_ms > 0 && flush(c) && c->out.len > 0) {
            int n = poll(&waits, 1, STEP_MS);
            left_ms -= n == 0 ? STEP_MS : 1;
            if (n > 0 && waits.revents & (POLLERR | POLLHUP))
                break;
        }
    }
}

static void tcp_stop(void *of)
{
    part *p = of;
    cereus_watch_stop(p->accepting);
    send_rest(p);
    while (p->conns)
        free_conn(p->conns);
    free(p);
}

static bool tcp_has_callers(void *of)
{
    return ((part *)of)->accepted > 0;
}

static void tcp_close(void *state)
{
    tcp *t = state;
    close(t->fd);
    free(t);
}

const cereus_rpc_engine tcp_engine = {
    .open = tcp_open,
    .start = tcp_start,
    .serve = tcp_serve,
    .send = tcp_send,
    .gone = tcp_gone,
    .stop = tcp_stop,
    .has_callers = tcp_has_callers,
    .close = tcp_close,
};
