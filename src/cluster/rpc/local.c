/* cluster/rpc/local.c: servers of one machine, over Unix sockets in the run directory, pipelined. Each loop of a server has
 * one connection to each server it calls; on the other side any loop takes it. What a turn produced is written at its end.
 *
 *     len: u32 little-endian, of what follows | kind: u8 | id: u64 little-endian | payload      kinds and payloads: peers.h
 *
 *     REQUEST   id: the caller's          RESPONSE  id: the same          others  id: 0
 *
 * The directory belongs to one user (0700), so peers are trusted to be servers, not to be without faults: lengths are checked,
 * garbage ends the connection.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/strmap.h"
#include "cluster/rpc/peers.h"

enum {
    HEAD_LEN = 4 + 1 + 8,
    OUT_MAX = 64 << 20, /* bytes that wait for one peer */
    BACKLOG = 512,
    CONNS_MAX = 4096,      /* of one loop */
    ACCEPT_PAUSE_MS = 100, /* after running out of descriptors or memory */
};

typedef struct local_rpc {
    crs_rpc base;
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    dev_t dev; /* of the socket's name, to know whether it is still ours */
    ino_t ino;
    int fd; /* listening, shared by all loops */
} local_rpc;

typedef struct local_conn local_conn;

typedef struct local_link {
    crs_rpc_link base;
    uv_poll_t accepting;
    crs_timer pause;    /* while it runs, nothing is accepted */
    local_conn **conns; /* by slot; NULL: free */
    uint32_t conn_cap;
    uint32_t slots_taken; /* the lowest slots, without a hole */
    crs_strmap called;    /* server id -> the connection over which it is called */
    uint32_t conn_count;  /* also those that libuv has not let go yet */
    uint32_t serial;
    uint32_t accepted_count;
    bool accepting_open; /* its handle; only close() ends it */
    crs_list dirty;      /* output to write at the turn's end */
    crs_list leaving;    /* connections that end when nothing is out on them */
} local_link;

struct local_conn {
    local_link *l;
    uv_poll_t poll;
    int fd;
    uint32_t slot, serial;
    char *server_id; /* whom we call over it; NULL: it was accepted, or is the last of a server that has left */
    crs_bytes in, out;
    size_t out_begin;
    crs_list dirty;
    crs_list calls; /* that are out on it */
    crs_list leaving;
    bool accepted;
    bool ended;
};

static local_link *local_of(crs_rpc_link *link)
{
    return (local_link *)link;
}

static bool end_of_turn(void *user);
static void on_io(uv_poll_t *handle, int status, int events);

/* ---- the engine ---- */

static cereus_status make_path(const crs_rpc *rpc, const char *server_id, const char *suffix, char *path, size_t cap,
                               cereus_error *err)
{
    int n = snprintf(path, cap, "%s/%s%s", rpc->opt.dir, server_id, suffix);
    if (n < 0 || (size_t)n >= cap)
        return crs_fail(
            err, CEREUS_E_TOO_LONG,
            "cereus.cluster.dir: %.60s is too long for sockets in it: choose a path of at most 60 characters",
            rpc->opt.dir);
    return CEREUS_OK;
}

static const char suffix[] = ".sock", new_suffix[] = ".tmp";

static int connect_to(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0) /* at once, or not at all */
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

/** Servers that crashed have left their sockets behind. */
static void remove_dead(const crs_rpc *rpc)
{
    DIR *dir = opendir(rpc->opt.dir);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        size_t len = strlen(entry->d_name);
        if (len < sizeof suffix || strcmp(entry->d_name + len - sizeof suffix + 1, suffix) != 0 ||
            make_path(rpc, entry->d_name, "", addr.sun_path, sizeof addr.sun_path, NULL))
            continue;
        int fd = connect_to(&addr);
        if (fd >= 0)
            close(fd);
        else if (errno == ECONNREFUSED)
            unlink(addr.sun_path);
    }
    if (dir)
        closedir(dir);
}

static cereus_status local_init(crs_rpc *rpc, cereus_error *err)
{
    local_rpc *r = (local_rpc *)rpc;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct stat made;
    r->fd = -1;
    if (rpc->opt.observes) { /* a socket without a name: nobody comes */
        r->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        return r->fd >= 0 ? CEREUS_OK : crs_fail(err, CEREUS_E_IO, "cluster: no socket: %s", strerror(errno));
    }
    CEREUS_TRY(make_path(rpc, rpc->opt.self->id, suffix, r->path, sizeof r->path, err));
    CEREUS_TRY(make_path(rpc, rpc->opt.self->id, new_suffix, addr.sun_path, sizeof addr.sun_path, err));
    remove_dead(rpc);
    unlink(addr.sun_path); /* of a process with our id that has crashed: discovery has made sure that none lives */
    r->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* it gets its name when it listens already: a name whose socket refuses is a dead one's */
    if (r->fd < 0 || bind(r->fd, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(r->fd, BACKLOG) != 0 ||
        stat(addr.sun_path, &made) != 0 || rename(addr.sun_path, r->path) != 0) {
        crs_fail(err, CEREUS_E_IO, "cereus.cluster.dir: socket %s: %s", r->path, strerror(errno));
        unlink(addr.sun_path);
        return CEREUS_E_IO;
    }
    r->dev = made.st_dev;
    r->ino = made.st_ino;
    return CEREUS_OK;
}

static void local_fini(crs_rpc *rpc)
{
    local_rpc *r = (local_rpc *)rpc;
    struct stat there;
    if (r->fd < 0)
        return;
    /* a server that took over our id while we ended has put its own there */
    if (stat(r->path, &there) == 0 && there.st_dev == r->dev && there.st_ino == r->ino)
        unlink(r->path);
    close(r->fd);
}

static bool local_connected(const crs_rpc *rpc)
{
    CRS_UNUSED(rpc);
    return true;
}

/* ---- connections ---- */

/** One handle less: the link ends with its last. */
static void handle_closed(local_link *l)
{
    if (l->accepting_open || l->conn_count)
        return;
    crs_free(l->conns);
    crs_strmap_fini(&l->called);
    crs_rpc_link_closed(&l->base);
}

static void on_conn_closed(uv_handle_t *handle)
{
    local_conn *c = CRS_CONTAINER(handle, local_conn, poll);
    local_link *l = c->l;
    crs_bytes_fini(&c->in);
    crs_bytes_fini(&c->out);
    crs_free(c->server_id);
    crs_free(c);
    l->conn_count--;
    handle_closed(l);
}

static void end_conn(local_conn *c, const char *why)
{
    if (c->ended)
        return;
    local_link *l = c->l;
    c->ended = true;
    l->conns[c->slot] = NULL;
    l->slots_taken = CRS_MIN(l->slots_taken, c->slot);
    l->accepted_count -= c->accepted;
    if (c->server_id)
        crs_strmap_del(&l->called, cereus_slice_str(c->server_id));
    crs_list_remove(&c->dirty);
    crs_list_remove(&c->leaving);
    while (!crs_list_empty(&c->calls))
        crs_rpc_fail(CRS_CONTAINER(c->calls.next, crs_rpc_call, queue), CEREUS_E_UNAVAILABLE, why);
    uv_close((uv_handle_t *)&c->poll,
             on_conn_closed); /* takes it out of epoll before the descriptor can be another's */
    close(c->fd);
}

static local_conn *add_conn(local_link *l, int fd, const char *server_id)
{
    uint32_t slot = l->slots_taken;
    while (slot < l->conn_cap && l->conns[slot])
        slot++;
    if (slot == l->conn_cap) {
        uint32_t cap = l->conn_cap ? 2 * l->conn_cap : 16;
        local_conn **conns = cap <= CONNS_MAX ? crs_realloc(l->conns, cap * sizeof *conns) : NULL;
        if (!conns)
            return NULL;
        memset(conns + l->conn_cap, 0, (cap - l->conn_cap) * sizeof *conns);
        l->conns = conns;
        l->conn_cap = cap;
    }
    local_conn *c = crs_zalloc(sizeof *c);
    if (!c || (server_id && (!(c->server_id = crs_strdup(server_id)) ||
                             crs_strmap_put(&l->called, cereus_slice_str(server_id), c, NULL))))
        goto fail;
    if (uv_poll_init(&l->base.loop->uv, &c->poll, fd) != 0) {
        if (server_id)
            crs_strmap_del(&l->called, cereus_slice_str(server_id));
        goto fail;
    }
    c->l = l;
    c->fd = fd;
    c->slot = slot;
    c->serial = ++l->serial;
    crs_bytes_init(&c->in, HEAD_LEN + l->base.rpc->opt.request_max + CRS_READ_BUFFER_LEN); /* and what follows it */
    crs_bytes_init(&c->out, 2 * OUT_MAX); /* what waits, and as much that has been sent */
    crs_list_init(&c->dirty);
    crs_list_init(&c->leaving);
    crs_list_init(&c->calls);
    l->conns[slot] = c;
    l->slots_taken = slot + 1;
    l->conn_count++;
    uv_poll_start(&c->poll, UV_READABLE, on_io);
    return c;
fail:
    if (c)
        crs_free(c->server_id);
    crs_free(c);
    return NULL;
}

/** The connection over which @p server_id is called. NULL: it cannot be made. */
static local_conn *conn_to(local_link *l, const char *server_id)
{
    local_conn *c = crs_strmap_get(&l->called, cereus_slice_str(server_id));
    if (c)
        return c;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (make_path(l->base.rpc, server_id, suffix, addr.sun_path, sizeof addr.sun_path, NULL))
        return NULL;
    int fd = connect_to(&addr);
    c = fd >= 0 ? add_conn(l, fd, server_id) : NULL;
    if (!c && fd >= 0)
        close(fd);
    return c;
}

/** Returns where the payload goes. */
static uint8_t *put_head(uint8_t *at, crs_peer_kind kind, uint64_t id, size_t len)
{
    at = crs_put_le(at, HEAD_LEN - 4 + len, 4);
    *at++ = (uint8_t)kind;
    return crs_put_le(at, id, 8);
}

/* ---- output ---- */

static cereus_status put_frame(local_conn *c, crs_peer_kind kind, uint64_t id, const cereus_slice *parts,
                               size_t part_count)
{
    size_t len = 0;
    for (size_t i = 0; i < part_count; i++)
        len += parts[i].len;
    if (len > c->l->base.rpc->opt.request_max)
        return CEREUS_E_TOO_LONG;
    size_t waits = c->out.len - c->out_begin;
    if (waits + HEAD_LEN + len > OUT_MAX) {
        CRS_COUNT(&c->l->base.loop->counters, rpc_outbox_full);
        return CEREUS_E_FULL;
    }
    if (c->out_begin && c->out_begin >= waits) { /* a peer that is never quite done must not make it grow for ever */
        if (waits)
            memmove(c->out.data, c->out.data + c->out_begin, waits);
        c->out.len = waits;
        c->out_begin = 0;
    }
    CEREUS_TRY(crs_bytes_reserve(&c->out, HEAD_LEN + len));
    uint8_t *at = put_head(c->out.data + c->out.len, kind, id, len);
    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].len)
            memcpy(at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    c->out.len += HEAD_LEN + len;
    if (crs_list_empty(&c->dirty))
        crs_list_push(&c->l->dirty, &c->dirty);
    crs_loop_again(c->l->base.loop); /* our hook may have run already in this turn */
    return CEREUS_OK;
}

static void flush(local_conn *c)
{
    while (c->out_begin < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->out_begin, c->out.len - c->out_begin, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            uv_poll_start(&c->poll, UV_READABLE | UV_WRITABLE, on_io);
            return;
        }
        if (n < 0) {
            end_conn(c, "the server has gone");
            return;
        }
        c->out_begin += (size_t)n;
    }
    c->out.len = c->out_begin = 0;
    if (c->out.cap > 1 << 20)
        crs_bytes_fini(&c->out);
}

/** It waits for us to hang up, and then knows that nothing comes any more: so when all is written, and no answer is waited for. */
static void end_if_left(local_conn *c)
{
    if (crs_list_empty(&c->calls) && c->out_begin == c->out.len)
        end_conn(c, "the server has left");
}

static bool end_of_turn(void *user)
{
    local_link *l = user;
    crs_list *link;
    while ((link = crs_list_pop(&l->dirty)))
        flush(CRS_CONTAINER(link, local_conn, dirty));
    for (crs_list *at = l->leaving.next, *next; at != &l->leaving; at = next) {
        next = at->next;
        end_if_left(CRS_CONTAINER(at, local_conn, leaving));
    }
    return false;
}

/* ---- input ---- */

typedef struct reply_address {
    uint32_t slot, serial;
    uint64_t id;
} reply_address;

/** False: it breaks the protocol. */
static bool on_frame(local_conn *c, unsigned kind, uint64_t id, cereus_slice payload)
{
    local_link *l = c->l;
    reply_address to = {.slot = c->slot, .serial = c->serial, .id = id};
    switch (kind) {
    case CRS_PEER_REQUEST:
        l->base.events->on_request(l->base.user, &l->base, payload, cereus_slice_of(&to, sizeof to));
        return true;
    case CRS_PEER_RESPONSE:
        crs_rpc_answered(&l->base, id, payload);
        return true;
    default:
        return crs_peers_take(&l->base, kind, payload);
    }
}

/** Handle whole frames; returns how many bytes they had. False in *ret_good: the peer breaks the protocol. */
static size_t handle_frames(local_conn *c, const uint8_t *data, size_t len, bool *ret_good)
{
    size_t at = 0;
    *ret_good = true;
    while (!c->ended && len - at >= 4) {
        uint64_t rest = crs_get_le(data + at, 4);
        if (rest < HEAD_LEN - 4 || rest > HEAD_LEN - 4 + c->l->base.rpc->opt.request_max) {
            *ret_good = false;
            break;
        }
        if (len - at < 4 + rest)
            break;
        const uint8_t *p = data + at + 4;
        at += 4 + rest;
        if (!on_frame(c, p[0], crs_get_le(p + 1, 8), cereus_slice_of(p + 9, rest - 9))) {
            *ret_good = false;
            break;
        }
    }
    return at;
}

/** False: there was nothing to read. */
static bool read_some(local_conn *c)
{
    crs_loop *loop = c->l->base.loop;
    uint8_t *buf = loop->read_buf;
    bool good = true;
    ssize_t n = recv(c->fd, buf, CRS_READ_BUFFER_LEN, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return errno == EINTR;
    if (n <= 0) {
        end_conn(c, "the server has gone");
        return false;
    }
    const uint8_t *data = buf;
    size_t len = (size_t)n;
    if (c->in.len) {
        good = crs_bytes_append(&c->in, buf, len) == CEREUS_OK;
        data = c->in.data;
        len = c->in.len;
    }
    size_t used = good ? handle_frames(c, data, len, &good) : 0;
    if (c->ended)
        return false;
    if (good && data == buf) {
        good = crs_bytes_append(&c->in, buf + used, len - used) == CEREUS_OK;
    } else if (good && used) {
        memmove(c->in.data, c->in.data + used, len - used);
        c->in.len = len - used;
        if (c->in.len == 0 && c->in.cap > 1 << 20)
            crs_bytes_fini(&c->in);
    }
    if (!good) {
        CRS_COUNT(&loop->counters, rpc_garbage);
        static crs_log_limiter limiter;
        crs_log_limited(loop->log, CEREUS_LOG_WARN, &limiter, "a server of this machine sent garbage",
                        CRS_STR("server", c->server_id ? c->server_id : "?"));
        end_conn(c, "the server sent garbage");
    }
    return !c->ended;
}

static void on_io(uv_poll_t *handle, int status, int events)
{
    local_conn *c = CRS_CONTAINER(handle, local_conn, poll);
    crs_loop_update_now(c->l->base.loop);
    if (status < 0) { /* it has gone with something of ours unread; what it said before is there all the same */
        while (!c->ended && read_some(c)) {
        }
        end_conn(c, "the server has gone");
        return;
    }
    if (events & UV_WRITABLE) {
        uv_poll_start(handle, UV_READABLE, on_io);
        flush(c);
    }
    if (!c->ended && (events & UV_READABLE))
        read_some(c);
}

static void on_acceptable(uv_poll_t *handle, int status, int events);

static void on_pause_over(crs_timer *timer)
{
    uv_poll_start(&CRS_CONTAINER(timer, local_link, pause)->accepting, UV_READABLE, on_acceptable);
}

/** Who asks to be accepted goes on asking: without a pause this loop would do nothing else. */
static void accept_failed(local_link *l, int error)
{
    crs_loop *loop = l->base.loop;
    CRS_COUNT(&loop->counters, accept_errors);
    static crs_log_limiter limiter;
    crs_log_limited(loop->log, CEREUS_LOG_ERROR, &limiter, "cannot accept connections of other servers",
                    CRS_STR("error", strerror(error)), CRS_STR("fix", "raise ulimit -n"));
    uv_poll_stop(&l->accepting);
    if (crs_loop_timer_start(loop, &l->pause, ACCEPT_PAUSE_MS) != CEREUS_OK)
        on_pause_over(&l->pause);
}

static void on_acceptable(uv_poll_t *handle, int status, int events)
{
    CRS_UNUSED(events);
    local_link *l = CRS_CONTAINER(handle, local_link, accepting);
    if (status < 0)
        uv_poll_start(handle, UV_READABLE, on_acceptable);
    int fd = accept4(((local_rpc *)l->base.rpc)->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) /* another loop was faster, or it has hung up */
            accept_failed(l, errno);
        return;
    }
    local_conn *c = add_conn(l, fd, NULL);
    if (!c) {
        CRS_COUNT(&l->base.loop->counters, connections_refused);
        close(fd);
        return;
    }
    c->accepted = true;
    l->accepted_count++;
}

/* ---- the table ---- */

static cereus_status local_open(crs_rpc_link *link, cereus_error *err)
{
    local_link *l = local_of(link);
    crs_list_init(&l->dirty);
    crs_list_init(&l->leaving);
    crs_strmap_init(&l->called);
    crs_timer_init(&l->pause, on_pause_over);
    if (uv_poll_init(&link->loop->uv, &l->accepting, ((local_rpc *)link->rpc)->fd) != 0)
        return crs_fail(err, CEREUS_E_IO, "cereus.cluster.dir: the socket cannot be watched");
    l->accepting_open = true;
    crs_loop_add_hook(link->loop, end_of_turn, l);
    return CEREUS_OK;
}

static cereus_status local_serve(crs_rpc_link *link, cereus_error *err)
{
    CRS_UNUSED(err);
    uv_poll_start(&local_of(link)->accepting, UV_READABLE, on_acceptable);
    return CEREUS_OK;
}

static void on_accepting_closed(uv_handle_t *handle)
{
    local_link *l = CRS_CONTAINER(handle, local_link, accepting);
    l->accepting_open = false;
    handle_closed(l);
}

static void local_close(crs_rpc_link *link)
{
    local_link *l = local_of(link);
    end_of_turn(l); /* replies that were made */
    crs_loop_remove_hook(link->loop, end_of_turn, l);
    for (uint32_t i = 0; i < l->conn_cap; i++) {
        if (l->conns[i])
            end_conn(l->conns[i], "the server is stopping");
    }
    crs_loop_timer_stop(link->loop, &l->pause);
    uv_close((uv_handle_t *)&l->accepting, on_accepting_closed);
}

static cereus_status local_send(crs_rpc_link *link, const cereus_server *to, cereus_slice request, crs_rpc_call *call)
{
    local_conn *c = conn_to(local_of(link), to->id);
    if (!c) {
        crs_rpc_fail(call, CEREUS_E_UNAVAILABLE, "rpc client has no connection to the chosen server");
        return CEREUS_OK;
    }
    CEREUS_TRY(put_frame(c, CRS_PEER_REQUEST, call->id, &request, 1));
    crs_list_push(&c->calls, &call->queue);
    return CEREUS_OK;
}

static cereus_status local_reply(crs_rpc_link *link, cereus_slice reply_to, cereus_slice response)
{
    local_link *l = local_of(link);
    reply_address to;
    if (reply_to.len != sizeof to)
        return CEREUS_E_MALFORMED;
    memcpy(&to, reply_to.data, sizeof to);
    local_conn *c = to.slot < l->conn_cap ? l->conns[to.slot] : NULL;
    if (!c || c->serial != to.serial)
        return CEREUS_E_GONE;
    return put_frame(c, CRS_PEER_RESPONSE, to.id, &response, 1);
}

static cereus_status send_frame(crs_rpc_link *link, const char *server_id, crs_peer_kind kind,
                                const cereus_slice *parts, size_t part_count)
{
    local_conn *c = conn_to(local_of(link), server_id);
    return c ? put_frame(c, kind, 0, parts, part_count) : CEREUS_E_UNAVAILABLE;
}

static void local_server_gone(crs_rpc_link *link, const char *server_id)
{
    local_link *l = local_of(link);
    local_conn *c = crs_strmap_get(&l->called, cereus_slice_str(server_id));
    if (!c)
        return;
    crs_strmap_del(&l->called, cereus_slice_str(server_id));
    crs_free(c->server_id); /* its answers still come, but who comes back under this name is another */
    c->server_id = NULL;
    crs_list_push(&l->leaving, &c->leaving);
    end_if_left(c);
}

static bool local_has_callers(const crs_rpc_link *link)
{
    return ((const local_link *)link)->accepted_count > 0;
}

const crs_rpc_ops crs_rpc_local = {
    .name = "local",
    .rpc_size = sizeof(local_rpc),
    .link_size = sizeof(local_link),
    .init = local_init,
    .fini = local_fini,
    .open = local_open,
    .serve = local_serve,
    .close = local_close,
    .send = local_send,
    .reply = local_reply,
    .to_peer = send_frame,
    .server_gone = local_server_gone,
    .has_callers = local_has_callers,
    .connected = local_connected,
};
