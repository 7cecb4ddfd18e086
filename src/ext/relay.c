/* ext/relay.c: two directions, one poll(). A direction that cannot go on is not polled, so nothing spins. */
#include "ext/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"

enum {
    HEAD_LEN = 5, /* of a record: type, version, length */
    RECORD_MAX = 16384 + 2048,
    IN_MAX = 64 << 10,  /* more than a record */
    OUT_KEEP = 1 << 20, /* memory that stays when nothing waits */
};

struct crs_relay {
    pthread_t thread;
    int peer, user, wake;
    atomic_size_t waiting;
    /* set once */
    size_t out_max;
    void (*on_taken)(void *user);
    void *on_taken_user;
    /* the thread's */
    crs_bytes out; /* for the peer, from out_at on */
    size_t out_at;
    size_t in_at, in_whole, in_len; /* of `in`: sent, end of the last whole record, read */
    bool no_records;                /* what comes is no TLS: it passes as it is */
    bool peer_ended, user_ended;    /* they send nothing more */
    bool peer_lost, user_lost;      /* they take nothing more */
    uint8_t in[IN_MAX];
};

/* ---- from the peer to the user ---- */

static void find_records(crs_relay *r)
{
    while (!r->no_records && r->in_len - r->in_whole >= HEAD_LEN) {
        const uint8_t *head = r->in + r->in_whole;
        size_t len = (size_t)head[3] << 8 | head[4];
        r->no_records = len > RECORD_MAX;
        if (r->no_records || r->in_len - r->in_whole < HEAD_LEN + len)
            break;
        r->in_whole += HEAD_LEN + len;
    }
    if (r->no_records || r->peer_ended)
        r->in_whole = r->in_len;
}

static void read_peer(crs_relay *r)
{
    ssize_t n = recv(r->peer, r->in + r->in_len, sizeof r->in - r->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        r->in_len += (size_t)n;
    else
        r->peer_ended = true;
    r->peer_lost = r->peer_lost || n < 0;
    find_records(r);
}

static void write_user(crs_relay *r)
{
    ssize_t n = send(r->user, r->in + r->in_at, r->in_whole - r->in_at, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        r->user_lost = true;
    if (n > 0)
        r->in_at += (size_t)n;
    if (r->in_at < r->in_whole)
        return;
    r->in_len -= r->in_at;
    memmove(r->in, r->in + r->in_at, r->in_len);
    r->in_at = r->in_whole = 0;
}

/* ---- from the user to the peer ---- */

static size_t out_waiting(const crs_relay *r)
{
    return r->out.len - r->out_at;
}

static void read_user(crs_relay *r)
{
    uint8_t bytes[64 << 10];
    ssize_t n = recv(r->user, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        r->user_ended = true;
    else if (!r->peer_lost && crs_bytes_append(&r->out, bytes, (size_t)n) != CEREUS_OK)
        r->peer_lost = true; /* no memory: a hole in the stream would be worse */
}

static void write_peer(crs_relay *r)
{
    ssize_t n = send(r->peer, r->out.data + r->out_at, out_waiting(r), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        r->peer_lost = true;
    if (n > 0)
        r->out_at += (size_t)n;
    if (r->peer_lost || out_waiting(r) == 0)
        r->out.len = r->out_at = 0;
    if (r->out.len == 0 && r->out.cap > OUT_KEEP)
        crs_bytes_fini(&r->out);
    if (r->out_at > r->out.len / 2 && r->out_at > OUT_KEEP / 2) {
        r->out.len -= r->out_at;
        memmove(r->out.data, r->out.data + r->out_at, r->out.len);
        r->out_at = 0;
    }
}

/* ---- the thread ---- */

static short wanted_of_peer(const crs_relay *r)
{
    bool reads = !r->peer_ended && !r->user_lost && r->in_len < sizeof r->in;
    bool writes = !r->peer_lost && out_waiting(r) > 0;
    return (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
}

static short wanted_of_user(const crs_relay *r)
{
    bool reads = !r->user_ended && out_waiting(r) < r->out_max;
    bool writes = !r->user_lost && r->in_at < r->in_whole;
    return (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
}

/** Who waits for one who has gone shall hear of it. */
static void pass_ends(crs_relay *r)
{
    bool heard_all = r->in_at == r->in_whole || r->user_lost;
    if (r->peer_lost && heard_all) {
        shutdown(r->user, SHUT_RDWR);
        r->user_ended = r->user_lost = true;
    } else if (r->peer_ended && heard_all) {
        shutdown(r->user, SHUT_WR);
    }
    if (r->user_ended && (r->peer_lost || out_waiting(r) == 0))
        shutdown(r->peer, SHUT_WR);
}

static bool is_over(const crs_relay *r)
{
    bool in_over = r->user_lost || (r->peer_ended && r->in_at == r->in_whole);
    bool out_over = r->peer_lost || (r->user_ended && out_waiting(r) == 0);
    return in_over && out_over;
}

static void *run(void *relay)
{
    crs_relay *r = relay;
    while (!is_over(r)) {
        short of_peer = wanted_of_peer(r), of_user = wanted_of_user(r);
        struct pollfd fds[] = {{.fd = r->wake, .events = POLLIN},
                               {.fd = of_peer ? r->peer : -1, .events = of_peer},
                               {.fd = of_user ? r->user : -1, .events = of_user}};
        if (poll(fds, CEREUS_COUNT(fds), -1) < 0)
            continue; /* EINTR */
        if (fds[0].revents)
            return NULL;
        if (fds[1].revents && (of_peer & POLLIN))
            read_peer(r);
        if (fds[2].revents && (of_user & POLLIN))
            read_user(r);
        if (r->in_at < r->in_whole && !r->user_lost)
            write_user(r);
        atomic_store(&r->waiting, out_waiting(r)); /* before anything is taken of it */
        if (out_waiting(r) > 0 && !r->peer_lost)
            write_peer(r);
        if (atomic_exchange(&r->waiting, out_waiting(r)) > 0 && out_waiting(r) == 0 && r->on_taken)
            r->on_taken(r->on_taken_user);
        pass_ends(r);
    }
    return NULL;
}

/* ---- life ---- */

static void free_relay(crs_relay *r)
{
    int fds[] = {r->peer, r->user, r->wake};
    for (size_t i = 0; i < CEREUS_COUNT(fds); i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    crs_bytes_fini(&r->out);
    crs_free(r);
}

static bool start_thread(crs_relay *r)
{
    sigset_t all, was;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    bool started = pthread_create(&r->thread, NULL, run, r) == 0;
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    return started;
}

cereus_status crs_relay_start(int fd, size_t out_max, void (*on_taken)(void *user), void *user, crs_relay **ret_relay)
{
    int ends[2] = {-1, -1};
    crs_relay *r = crs_zalloc(sizeof *r);
    if (!r)
        return CEREUS_E_NOMEM;
    r->out_max = out_max;
    r->on_taken = on_taken;
    r->on_taken_user = user;
    crs_bytes_init(&r->out, 2 * out_max + OUT_KEEP);
    r->user = -1;
    r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->peer = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    bool good = r->peer >= 0 && r->wake >= 0 && fcntl(r->peer, F_SETFL, O_NONBLOCK) == 0;
    good = good && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0;
    r->user = ends[1];
    if (!good || !start_thread(r)) {
        if (ends[0] >= 0)
            close(ends[0]);
        free_relay(r);
        return CEREUS_E_IO;
    }
    while (dup3(ends[0], fd, O_CLOEXEC) < 0)
        CRS_ASSERT(errno == EINTR || errno == EBUSY);
    close(ends[0]);
    *ret_relay = r;
    return CEREUS_OK;
}

size_t crs_relay_waiting(const crs_relay *r)
{
    return atomic_load(&r->waiting);
}

crs_relay *crs_relay_end(crs_relay *r)
{
    uint64_t one = 1;
    if (!r)
        return NULL;
    if (write(r->wake, &one, sizeof one) < 0) {
        /* it is full: somebody has woken it already */
    }
    pthread_join(r->thread, NULL);
    free_relay(r);
    return NULL;
}
