/* transport/memory.c: two byte queues and a hook that plays the kernel's part at the end of each turn. */
#include "transport/memory.h"

#include <errno.h>

#include "transport/conn_priv.h"

enum { WINDOW_DEFAULT = 1 << 20, QUEUE_MAX = 64 << 20 };

typedef struct memory_conn {
    crs_conn base;
    crs_pipe *pipe; /* NULL: the peer has gone */
    crs_bytes in;   /* sent by the peer, not read yet */
    bool in_end;    /* the peer sends no more */
    bool want_read, want_write;
    crs_timer ready; /* runs once, at once: the next turn's "readiness" */
} memory_conn;

struct crs_pipe {
    memory_conn *conn; /* NULL: the server has closed */
    crs_bytes out;     /* sent by the server, not taken yet */
    size_t window;
    bool shut; /* the server sends no more */
};

static memory_conn *memory_of(crs_conn *conn)
{
    return CRS_CONTAINER(conn, memory_conn, base);
}

/** Have readiness looked at in the next turn. */
static void poke(memory_conn *c)
{
    bool readable = c->want_read && (c->in.len || c->in_end || !c->pipe);
    bool writable = c->want_write && (!c->pipe || c->pipe->out.len < c->pipe->window);
    if (c->base.state != CRS_CONN_CLOSED && (readable || writable) && !crs_timer_running(&c->ready)) {
        cereus_status st = crs_loop_timer_start(c->base.transport->loop, &c->ready, 0);
        CRS_ASSERT(st == CEREUS_OK);
    }
}

static void on_ready(crs_timer *timer)
{
    memory_conn *c = CRS_CONTAINER(timer, memory_conn, ready);
    if (c->want_write && (!c->pipe || c->pipe->out.len < c->pipe->window))
        crs_conn_on_writable(&c->base);
    if (c->base.state != CRS_CONN_CLOSED && c->want_read && (c->in.len || c->in_end || !c->pipe))
        crs_conn_on_readable(&c->base);
    if (c->base.state != CRS_CONN_CLOSED)
        poke(c);
}

static ssize_t memory_recv(crs_conn *conn, void *buf, size_t cap)
{
    memory_conn *c = memory_of(conn);
    size_t n = CRS_MIN(cap, c->in.len);
    if (n == 0) {
        if (c->in_end || !c->pipe)
            return 0;
        errno = EAGAIN;
        return -1;
    }
    memcpy(buf, c->in.data, n);
    memmove(c->in.data, c->in.data + n, c->in.len - n);
    c->in.len -= n;
    return (ssize_t)n;
}

static ssize_t memory_sendv(crs_conn *conn, const struct iovec *iov, int count)
{
    memory_conn *c = memory_of(conn);
    if (!c->pipe || c->pipe->shut) {
        errno = EPIPE;
        return -1;
    }
    size_t sent = 0;
    for (int i = 0; i < count; i++) {
        size_t room = c->pipe->window > c->pipe->out.len ? c->pipe->window - c->pipe->out.len : 0;
        size_t n = CRS_MIN(room, iov[i].iov_len);
        if (n && crs_bytes_append(&c->pipe->out, iov[i].iov_base, n) != CEREUS_OK) {
            errno = ENOMEM;
            return -1;
        }
        sent += n;
        if (n < iov[i].iov_len)
            break;
    }
    if (sent == 0) {
        errno = EAGAIN;
        return -1;
    }
    return (ssize_t)sent;
}

static void memory_want(crs_conn *conn, bool readable, bool writable)
{
    memory_conn *c = memory_of(conn);
    c->want_read = readable;
    c->want_write = writable;
    poke(c);
}

static void memory_shut(crs_conn *conn)
{
    if (memory_of(conn)->pipe)
        memory_of(conn)->pipe->shut = true;
}

static void on_destroyed(crs_timer *timer)
{
    memory_conn *c = CRS_CONTAINER(timer, memory_conn, ready);
    crs_conn_fini(&c->base);
    crs_bytes_fini(&c->in);
    crs_free(c);
}

static void memory_destroy(crs_conn *conn)
{
    memory_conn *c = memory_of(conn);
    crs_loop *loop = conn->transport->loop;
    if (c->pipe) {
        c->pipe->conn = NULL;
        c->pipe->shut = true;
        c->pipe = NULL;
    }
    crs_loop_timer_stop(loop, &c->ready); /* freed in a later turn, as a socket would be */
    crs_timer_init(&c->ready, on_destroyed);
    cereus_status st = crs_loop_timer_start(loop, &c->ready, 0);
    CRS_ASSERT(st == CEREUS_OK);
}

static const crs_stream_ops memory_stream = {
    .recv = memory_recv, .sendv = memory_sendv, .want = memory_want, .shut = memory_shut, .destroy = memory_destroy};

cereus_status crs_pipe_open(crs_transport *t, crs_framing framing, crs_pipe **ret_pipe)
{
    crs_pipe *pipe = crs_zalloc(sizeof *pipe);
    memory_conn *c = pipe ? crs_conn_alloc(t, sizeof *c, framing) : NULL;
    if (!c) {
        crs_free(pipe);
        return CEREUS_E_NOMEM;
    }
    crs_bytes_init(&pipe->out, QUEUE_MAX);
    crs_bytes_init(&c->in, QUEUE_MAX);
    pipe->window = WINDOW_DEFAULT;
    pipe->conn = c;
    c->pipe = pipe;
    c->want_read = true;
    crs_timer_init(&c->ready, on_ready);
    *ret_pipe = pipe;
    crs_conn_init(&c->base, t, &memory_stream);
    return CEREUS_OK;
}

crs_pipe *crs_pipe_free(crs_pipe *pipe)
{
    if (!pipe)
        return NULL;
    if (pipe->conn) {
        pipe->conn->pipe = NULL;
        poke(pipe->conn);
    }
    crs_bytes_fini(&pipe->out);
    crs_free(pipe);
    return NULL;
}

cereus_status crs_pipe_send(crs_pipe *pipe, const void *data, size_t len)
{
    if (!pipe->conn)
        return CEREUS_E_GONE;
    CEREUS_TRY(crs_bytes_append(&pipe->conn->in, data, len));
    poke(pipe->conn);
    return CEREUS_OK;
}

void crs_pipe_shut(crs_pipe *pipe)
{
    if (!pipe->conn)
        return;
    pipe->conn->in_end = true;
    poke(pipe->conn);
}

cereus_slice crs_pipe_received(const crs_pipe *pipe)
{
    return crs_bytes_slice(&pipe->out);
}

void crs_pipe_take(crs_pipe *pipe, size_t len)
{
    CRS_ASSERT(len <= pipe->out.len);
    if (len)
        memmove(pipe->out.data, pipe->out.data + len, pipe->out.len - len);
    pipe->out.len -= len;
    if (pipe->conn)
        poke(pipe->conn);
}

void crs_pipe_set_window(crs_pipe *pipe, size_t bytes)
{
    pipe->window = bytes;
}

bool crs_pipe_closed(const crs_pipe *pipe)
{
    return pipe->shut;
}
