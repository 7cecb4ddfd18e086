/* ext/relay.c: one thread, one poll(), two directions. Each direction has two ends: one that sends until it is `done`,
 * one that takes until it is `deaf`.
 *
 *     in:   peer_done  ── peer ──> in[], up to the last whole record ──> pair ── user_deaf, user_told
 *     out:  user_done  ── pair ──> blocks, out_max bytes at most ─────> peer ── peer_deaf, peer_told
 *
 * A direction is over when who takes has been told of the end, or is deaf; the thread ends when both are over. Until then
 * bytes for the deaf are read and thrown away, so that who sends them is not held. Nothing spins: a socket is polled only
 * for what can be done at once, and an error or a hang-up makes that fail, which is noted.
 */
#include "ext/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"

enum {
    HEAD_LEN = 5,              /* RFC 8446 5.1: type, version, length */
    RECORD_MAX = 16384 + 2048, /* RFC 5246 6.2.3; TLS 1.3 allows less */
    IN_MAX = 64 << 10,         /* holds a record, or nothing would ever come of it */
    BLOCK_LEN = 64 << 10,
};

typedef struct block {
    struct block *next;
    size_t at, len; /* sent, read */
    uint8_t data[BLOCK_LEN];
} block;

struct crs_relay {
    int peer, pair, wake; /* set once; -1: not yet */
    size_t out_max;       /* set once */
    void (*on_taken)(void *user);
    void *on_taken_user;
    pthread_t thread;
    atomic_size_t waiting; /* bytes of all blocks, also of those that were dropped; only the thread writes it */
    /* the thread's */
    block *first, *last;
    size_t in_at, in_whole, in_len; /* of in[]: sent, end of the last whole record, read */
    bool raw;                       /* what comes is no TLS: it passes as it is */
    bool peer_done, user_done;
    bool peer_deaf, user_deaf;
    bool peer_told, user_told;
    uint8_t in[IN_MAX];
};

/** Neither bytes nor an end: poll() tells when to try again. */
static bool not_now(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* ---- blocks that wait for the peer ---- */

static void add_waiting(crs_relay *r, size_t more)
{
    atomic_fetch_add(&r->waiting, more);
}

/** A block is not kept for the next bytes: it could lie above all others, and the allocator would keep them, too. */
static void drop_first(crs_relay *r)
{
    block *b = r->first;
    r->first = b->next;
    if (!r->first)
        r->last = NULL;
    crs_free(b);
}

static void drop_all(crs_relay *r)
{
    while (r->first)
        drop_first(r);
}

/** One with room. NULL: out of memory. */
static block *last_block(crs_relay *r)
{
    if (r->last && r->last->len < BLOCK_LEN)
        return r->last;
    block *b = crs_malloc(sizeof *b);
    if (!b)
        return NULL;
    b->next = NULL;
    b->at = b->len = 0;
    if (r->last)
        r->last->next = b;
    else
        r->first = b;
    r->last = b;
    return b;
}

/** It takes nothing more, or must not, as bytes are missing. What it has sent can still be read, then comes its end. */
static void give_up_peer(crs_relay *r)
{
    r->peer_deaf = true;
    drop_all(r);
    shutdown(r->peer, SHUT_RDWR);
}

/* ---- in ---- */

static void find_records(crs_relay *r)
{
    while (!r->raw && r->in_len - r->in_whole >= HEAD_LEN) {
        const uint8_t *head = r->in + r->in_whole;
        size_t len = (size_t)head[3] << 8 | head[4];
        r->raw = len > RECORD_MAX;
        if (r->raw || r->in_len - r->in_whole - HEAD_LEN < len)
            break;
        r->in_whole += HEAD_LEN + len;
    }
    if (r->raw || r->peer_done)
        r->in_whole = r->in_len;
}

static void read_peer(crs_relay *r)
{
    ssize_t n = recv(r->peer, r->in + r->in_len, IN_MAX - r->in_len, MSG_DONTWAIT);
    if (not_now(n))
        return;
    if (n > 0)
        r->in_len += (size_t)n;
    else
        r->peer_done = true;
    if (n < 0)
        give_up_peer(r);
    find_records(r);
}

static void write_user(crs_relay *r)
{
    if (r->in_at < r->in_whole && !r->user_deaf) {
        ssize_t n = send(r->pair, r->in + r->in_at, r->in_whole - r->in_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            r->in_at += (size_t)n;
        else if (!not_now(n))
            r->user_deaf = true;
    }
    if (r->user_deaf)
        r->in_at = r->in_whole = r->in_len;
    if (r->in_at < r->in_whole)
        return;
    r->in_len -= r->in_at;
    memmove(r->in, r->in + r->in_at, r->in_len);
    r->in_at = r->in_whole = 0;
}

/* ---- out ---- */

/** As recv(). */
static ssize_t read_away(crs_relay *r)
{
    uint8_t bytes[4096];
    return recv(r->pair, bytes, sizeof bytes, MSG_DONTWAIT);
}

static ssize_t read_to_block(crs_relay *r, block *b)
{
    size_t room = CRS_MIN(BLOCK_LEN - b->len, r->out_max - crs_relay_waiting(r));
    ssize_t n = recv(r->pair, b->data + b->len, room, MSG_DONTWAIT);
    if (n > 0) {
        b->len += (size_t)n;
        add_waiting(r, (size_t)n);
    }
    return n;
}

static void read_user(crs_relay *r)
{
    block *b = r->peer_deaf ? NULL : last_block(r);
    if (!b && !r->peer_deaf)
        give_up_peer(r);
    ssize_t n = b ? read_to_block(r, b) : read_away(r);
    if (n <= 0 && !not_now(n))
        r->user_done = true;
}

static void write_peer(crs_relay *r)
{
    block *b = r->first;
    ssize_t n = send(r->peer, b->data + b->at, b->len - b->at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (not_now(n))
        return;
    if (n < 0) {
        give_up_peer(r);
        return;
    }
    b->at += (size_t)n;
    add_waiting(r, 0 - (size_t)n);
    if (b->at == b->len)
        drop_first(r);
    if (crs_relay_waiting(r) == 0 && r->on_taken)
        r->on_taken(r->on_taken_user);
}

/* ---- the thread ---- */

static struct pollfd peer_events(const crs_relay *r)
{
    bool reads = !r->peer_done && r->in_len < IN_MAX;
    bool writes = r->first && r->first->at < r->first->len;
    short events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
    return (struct pollfd){.fd = events ? r->peer : -1, .events = events};
}

static struct pollfd user_events(const crs_relay *r)
{
    bool reads = !r->user_done && (r->peer_deaf || crs_relay_waiting(r) < r->out_max);
    bool writes = r->in_at < r->in_whole;
    short events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
    return (struct pollfd){.fd = events || !r->user_deaf ? r->pair : -1,
                           .events = events}; /* no events: till it closes */
}

/** An end goes to the other side, behind all bytes. */
static void pass_ends(crs_relay *r)
{
    if (r->peer_done && r->in_len == 0 && !r->user_told) {
        r->user_told = true;
        shutdown(r->pair, SHUT_WR);
    }
    if (r->user_done && crs_relay_waiting(r) == 0 && !r->peer_told) {
        r->peer_told = true;
        shutdown(r->peer, SHUT_WR);
    }
}

static void *run(void *relay)
{
    crs_relay *r = relay;
    while (!(r->user_told || r->user_deaf) || !(r->peer_told || r->peer_deaf)) {
        struct pollfd fds[] = {{.fd = r->wake, .events = POLLIN}, peer_events(r), user_events(r)};
        if (poll(fds, CEREUS_COUNT(fds), -1) < 0)
            continue; /* EINTR, or the kernel is short of memory */
        if (fds[0].revents)
            return NULL;
        if (fds[2].revents & (POLLHUP | POLLERR)) /* closed; what it has written before can still be read */
            r->user_deaf = true;
        if (fds[1].revents && (fds[1].events & POLLIN))
            read_peer(r);
        if (fds[2].revents && (fds[2].events & POLLIN))
            read_user(r);
        write_user(r);
        if (r->first && r->first->at < r->first->len)
            write_peer(r);
        pass_ends(r);
    }
    shutdown(r->pair, SHUT_RDWR); /* from now on the user's writes fail */
    return NULL;
}

/* ---- life ---- */

static void free_relay(crs_relay *r)
{
    int fds[] = {r->peer, r->pair, r->wake};
    for (size_t i = 0; i < CEREUS_COUNT(fds); i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    drop_all(r);
    crs_free(r);
}

/** The socket is not made non-blocking: its duplicate would be, too, and that may stay with the caller. */
static bool open_fds(crs_relay *r, int fd, int *ret_end)
{
    int ends[2];
    r->peer = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->peer < 0 || r->wake < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return false;
    r->pair = ends[0];
    *ret_end = ends[1];
    return true;
}

cereus_status crs_relay_start(int fd, size_t out_max, void (*on_taken)(void *user), void *user, crs_relay **ret_relay)
{
    CRS_ASSERT(fd >= 0 && out_max > 0);
    int end = -1;
    crs_relay *r = crs_zalloc(sizeof *r);
    if (!r)
        return CEREUS_E_NOMEM;
    r->peer = r->pair = r->wake = -1;
    r->out_max = out_max;
    r->on_taken = on_taken;
    r->on_taken_user = user;
    if (!open_fds(r, fd, &end) || !crs_thread_start(&r->thread, run, r)) {
        if (end >= 0)
            close(end);
        free_relay(r);
        return CEREUS_E_IO;
    }
    while (dup3(end, fd, O_CLOEXEC) < 0) /* last: it cannot be undone */
        CRS_ASSERT(errno == EINTR || errno == EBUSY);
    close(end);
    *ret_relay = r;
    return CEREUS_OK;
}

size_t crs_relay_waiting(const crs_relay *r)
{
    return atomic_load(&r->waiting);
}

crs_relay *crs_relay_end(crs_relay *r)
{
    if (!r)
        return NULL;
    int st = eventfd_write(r->wake, 1);
    CRS_ASSERT(st == 0); /* nothing has been written there before */
    pthread_join(r->thread, NULL);
    free_relay(r);
    return NULL;
}
