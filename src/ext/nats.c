/* ext/nats.c: nats.c on a loop.
 *
 * The library calls the hooks below to have its socket polled, on the loop and on threads of its own, and closes the socket when
 * it likes; so a duplicate is polled, which nobody else closes, and hooks on other threads leave word (`next`, `cut`,
 * flags) and post one mail. A write is not left to the next turn of epoll: it is done at the end of this one.
 *
 * The library would connect again by itself, but with its old parser: a connection that is lost in the middle of a message would
 * have the rest of it taken from the next one's first bytes (nats.c 3.4, with an event loop). So each loss is the end of a
 * connection, and a thread of ours makes another, which gets all subscriptions.
 *
 * Over TLS the library would wait for its peer, so there its socket is one end of a relay (relay.h).
 *
 *    hook_attach: next    ──┐                        natsConnection_ProcessReadEvent ──> busy subscriptions ──> fn()
 *    hook_read:   cut     ──┼─ mail ─> apply(): poll ┤
 *    callbacks:   flags   ──┘                        natsConnection_ProcessWriteEvent <── end of turn <── publish
 */
#include "ext/nats.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"
#include "ext/nats_lib.h"
#include "ext/relay.h"

#define LIB (&crs_natslib)

enum {
    OUT_MAX = 64 << 20,         /* bytes that wait for a NATS server which does not read */
    REOPEN_WAIT_MAX_MS = 30000, /* between attempts, doubled from reconnect_wait_ms on */
    LEARNED_MAX = 16,           /* servers beside those of the options */
    INBOX_CAP = 64,
    ID_DIGITS = 16,
};

/* word from other threads */
enum { FLAG_LOST = 1, FLAG_CLOSED = 2, FLAG_LAME = 4, FLAG_SLOW = 8, FLAG_ERROR = 16, FLAG_OPENED = 32 };

struct crs_nats_sub {
    crs_list link; /* on `subscribed`; while there is no connection perhaps on `waiting` or `dying` */
    crs_nats *n;
    natsSubscription *sub; /* NULL: not yet */
    crs_nats_fn *fn;       /* of a busy one */
    int64_t dropped;       /* messages of it that the library has, as far as they are counted */
    void *user;
    crs_nats_channel *channel; /* of a quiet one */
    char subject[];
};

/** What is polled: a duplicate of the library's socket, and what stands behind that. */
typedef struct line {
    int fd;           /* -1: none */
    crs_relay *relay; /* NULL: no TLS */
} line;

typedef struct poller {
    uv_poll_t poll;
    crs_nats *n;
    line line;
} poller;

struct crs_nats {
    crs_loop *loop;
    crs_nats_options opt;
    natsOptions *lib_opt;
    natsConnection *conn;  /* loop; NULL: the library has closed it, and there is no other yet */
    char inbox[INBOX_CAP]; /* "_INBOX.<22>." */
    size_t inbox_len;
    crs_nats_sub *inbox_sub;
    crs_nats_sub *busy[CRS_NATS_BUSY_MAX + 1];
    crs_list subscribed, waiting, dying;
    poller *poller;             /* loop; NULL: nothing to poll */
    bool blocked;               /* loop: the socket takes no more, or the relay shall not */
    uint64_t writes;            /* loop */
    bool was_up;                /* loop: this connection */
    bool lost_told;             /* loop: on_state(false) was the last */
    bool loss_is_last;          /* loop: what came before it has been handled */
    size_t pollers_open;        /* loop: of those that libuv has not let go */
    crs_timer reopen;           /* loop */
    uint64_t reopen_wait_ms;    /* loop */
    uint64_t jitter_ms;         /* set once */
    char *learned[LEARNED_MAX]; /* loop; URLs of servers that NATS has told of; the newest replaces the oldest */
    size_t learned_count;       /* loop; how many there have been */
    size_t first_url, tried;    /* loop: of all URLs, since the connection was lost */
    size_t payload_max;         /* loop: what the server takes, or the last one did */
    pthread_t opener;           /* loop: while `opening` */
    bool opening;               /* loop */
    bool refused;               /* loop: since the connection was lost, and this has been said */
    crs_deferred flush;
    crs_mail word;
    atomic_bool word_posted;
    atomic_bool want_write;
    atomic_bool held; /* it waits for the relay */
    atomic_bool up;
    atomic_uint flags;
    atomic_int last_error;
    atomic_uint_fast64_t dropped;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    line next;              /* mu: to poll from now on */
    bool cut;               /* mu: what is polled has ended */
    bool live;              /* mu: attached, and not cut since */
    bool closed;            /* mu: the library's last callback has run */
    natsConnection *opened; /* mu: what the opener has made; NULL: the two below say why not */
    natsStatus open_status; /* mu */
    char open_error[160];   /* mu */
    size_t quiet_live;      /* mu: quiet subscriptions whose callbacks may still run */
    bool tls;               /* set once */
    bool closing;
    bool settled;
    bool all_mail_run;
    bool retired; /* it closes itself */
    crs_mail retire;
    crs_mail last;
    void (*on_closed)(void *user);
    void *on_closed_user;
};

static void apply(crs_nats *n);
static void on_retire(crs_loop *loop, crs_mail *mail);
static void drain(crs_nats *n);
static void flush(crs_nats *n);

/* ---- word for the loop ---- */

static void post_word(crs_nats *n)
{
    if (!atomic_exchange(&n->word_posted, true))
        crs_loop_post_reserved(n->loop, &n->word);
}

static void raise_flag(crs_nats *n, unsigned flag)
{
    atomic_fetch_or(&n->flags, flag);
    post_word(n);
}

static const line no_line = {.fd = -1};

static void end_line(line l)
{
    if (l.fd >= 0)
        close(l.fd);
    crs_relay_end(l.relay);
}

/** Thread: a relay's. */
static void on_taken(void *user)
{
    crs_nats *n = user;
    if (atomic_exchange(&n->held, false))
        post_word(n);
}

static natsStatus hook_attach(void **user_data, void *loop, natsConnection *conn, natsSock fd)
{
    CRS_UNUSED(conn);
    crs_nats *n = loop;
    line now = no_line;
    if (n->tls && crs_relay_start((int)fd, 2 * (size_t)OUT_MAX, on_taken, n, &now.relay) != CEREUS_OK)
        return NATS_IO_ERROR;
    now.fd = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
    if (now.fd < 0) {
        end_line(now);
        return NATS_IO_ERROR;
    }
    *user_data = n;
    pthread_mutex_lock(&n->mu);
    line old = n->next;
    n->next = now;
    n->live = true;
    pthread_mutex_unlock(&n->mu);
    end_line(old);
    post_word(n);
    return NATS_OK;
}

static natsStatus hook_read(void *user, bool add)
{
    crs_nats *n = user;
    if (add)
        return NATS_OK;
    pthread_mutex_lock(&n->mu);
    line old = n->next;
    n->next = no_line;
    n->cut = true;
    n->live = false;
    pthread_mutex_unlock(&n->mu);
    atomic_store(&n->up, false);
    end_line(old);
    raise_flag(n, FLAG_LOST);
    return NATS_OK;
}

static natsStatus hook_write(void *user, bool add)
{
    crs_nats *n = user;
    atomic_store(&n->want_write, add);
    if (add && crs_loop_is_current(n->loop))
        crs_loop_defer(n->loop, &n->flush);
    else if (add)
        post_word(n);
    return NATS_OK;
}

static natsStatus hook_detach(void *user)
{
    CRS_UNUSED(user); /* close() does it */
    return NATS_OK;
}

static void on_lame(natsConnection *conn, void *user)
{
    CRS_UNUSED(conn);
    raise_flag(user, FLAG_LAME);
}

static void on_error(natsConnection *conn, natsSubscription *sub, natsStatus st, void *user)
{
    CRS_UNUSED(conn);
    CRS_UNUSED(sub);
    crs_nats *n = user;
    if (st != NATS_SLOW_CONSUMER)
        atomic_store(&n->last_error, (int)st);
    raise_flag(n, st == NATS_SLOW_CONSUMER ? FLAG_SLOW : FLAG_ERROR);
}

static void on_lib_closed(natsConnection *conn, void *user)
{
    CRS_UNUSED(conn);
    crs_nats *n = user;
    pthread_mutex_lock(&n->mu);
    n->closed = true;
    raise_flag(n, FLAG_CLOSED); /* behind the fact that it tells of, and before close() may free us */
    pthread_cond_signal(&n->changed);
    pthread_mutex_unlock(&n->mu);
}

/* ---- the socket ---- */

static void maybe_free(crs_nats *n)
{
    if (!n->closing || n->pollers_open || !n->all_mail_run)
        return;
    void (*on_closed)(void *user) = n->on_closed;
    void *user = n->on_closed_user;
    pthread_cond_destroy(&n->changed);
    pthread_mutex_destroy(&n->mu);
    for (size_t i = 0; i < LEARNED_MAX; i++)
        crs_free(n->learned[i]);
    crs_free(n);
    if (on_closed)
        on_closed(user);
}

static void on_poller_closed(uv_handle_t *handle)
{
    poller *p = CRS_CONTAINER(handle, poller, poll);
    crs_nats *n = p->n;
    crs_free(p);
    n->pollers_open--;
    maybe_free(n);
}

static void end_poller(crs_nats *n)
{
    poller *p = n->poller;
    if (!p)
        return;
    n->poller = NULL;
    n->blocked = false;
    uv_poll_stop(&p->poll);
    end_line(p->line);
    uv_close((uv_handle_t *)&p->poll, on_poller_closed);
}

static void on_io(uv_poll_t *handle, int status, int events)
{
    poller *p = CRS_CONTAINER(handle, poller, poll);
    crs_nats *n = p->n;
    if (n->poller != p)
        return;
    if (!atomic_load(&n->up)) { /* the library may hold its lock for as long as it tries to connect */
        uv_poll_stop(handle);
        return;
    }
    crs_loop_update_now(n->loop);
    if (status < 0) /* libuv does not look any more: there may be much to read before the library hears of the error */
        uv_poll_start(handle, UV_READABLE, on_io);
    if (status < 0 || (events & UV_READABLE)) {
        LIB->natsConnection_ProcessReadEvent(n->conn);
        drain(n);
    }
    if (n->poller == p && (events & UV_WRITABLE))
        flush(n);
}

/** Poll it from now on: the connection is up. */
static void start_poller(crs_nats *n)
{
    n->blocked = false; /* flush() finds out */
    if (n->poller)
        uv_poll_start(&n->poller->poll, UV_READABLE, on_io);
}

static void begin_poller(crs_nats *n, line l)
{
    poller *p = crs_zalloc(sizeof *p);
    if (!p || uv_poll_init(&n->loop->uv, &p->poll, l.fd) != 0) {
        crs_log_error(n->loop->log, "the connection to NATS cannot be watched");
        crs_free(p);
        end_line(l);
        return;
    }
    p->n = n;
    p->line = l;
    n->poller = p;
    n->pollers_open++;
}

/** What hooks have left: a socket to poll, one to leave. */
static void apply(crs_nats *n)
{
    pthread_mutex_lock(&n->mu);
    line next = n->next;
    bool cut = n->cut || next.fd >= 0;
    n->next = no_line;
    n->cut = false;
    pthread_mutex_unlock(&n->mu);
    if (cut)
        end_poller(n);
    if (next.fd >= 0)
        begin_poller(n, next);
    if (atomic_load(&n->want_write))
        flush(n);
}

/** Does the peer leave something waiting in the relay? Then what follows waits here, as it does for a socket. */
static bool hold(crs_nats *n)
{
    const crs_relay *relay = n->poller->line.relay;
    if (!relay || crs_relay_waiting(relay) == 0)
        return false;
    atomic_store(&n->held, true);
    return crs_relay_waiting(relay) > 0; /* else the word for us is on its way, which does no harm */
}

static void flush(crs_nats *n)
{
    if (!n->poller || !atomic_load(&n->want_write) || !atomic_load(&n->up))
        return;
    if (hold(n)) {
        n->blocked = true;
        uv_poll_start(&n->poller->poll, UV_READABLE, on_io);
        return;
    }
    n->writes++;
    LIB->natsConnection_ProcessWriteEvent(n->conn); /* hook_write(false) when all has gone */
    bool blocked = atomic_load(&n->want_write);
    if (n->poller && blocked != n->blocked) {
        n->blocked = blocked;
        uv_poll_start(&n->poller->poll, blocked ? UV_READABLE | UV_WRITABLE : UV_READABLE, on_io);
    }
}

static void on_turn_end(crs_deferred *deferred)
{
    flush(CRS_CONTAINER(deferred, crs_nats, flush));
}

/* ---- messages ---- */

static void deliver(crs_nats_fn *fn, void *user, natsMsg *m)
{
    const char *reply = LIB->natsMsg_GetReply(m);
    crs_nats_message message = {
        .subject = LIB->natsMsg_GetSubject(m),
        .reply = cereus_slice_str(reply ? reply : ""),
        .data = cereus_slice_of(LIB->natsMsg_GetData(m), (size_t)LIB->natsMsg_GetDataLength(m)),
    };
    fn(user, &message);
}

/** NATS has handled all that it was told before. */
static void on_settled(crs_nats *n)
{
    n->settled = true;
    if (n->closing || !n->lost_told || !atomic_load(&n->up))
        return;
    n->lost_told = false;
    if (n->opt.on_state)
        n->opt.on_state(n->opt.user, true);
}

static void deliver_reply(crs_nats *n, natsMsg *m)
{
    const char *subject = LIB->natsMsg_GetSubject(m);
    uint64_t id = 0;
    if (strlen(subject) != n->inbox_len + ID_DIGITS)
        return;
    for (const char *at = subject + n->inbox_len; *at; at++) {
        int digit = crs_hex_digit((uint8_t)*at);
        if (digit < 0)
            return; /* not one of ours: nobody waits for it */
        id = id << 4 | (uint64_t)digit;
    }
    if (id == 0)
        on_settled(n);
    else if (!n->closing)
        n->opt.on_reply(n->opt.user, id,
                        cereus_slice_of(LIB->natsMsg_GetData(m), (size_t)LIB->natsMsg_GetDataLength(m)));
}

static void count_slow(crs_nats *n, crs_nats_sub *s)
{
    int64_t dropped = 0;
    CRS_COUNT(&n->loop->counters, nats_slow_consumers);
    if (LIB->natsSubscription_GetDropped(s->sub, &dropped) == NATS_OK && dropped > s->dropped) {
        CRS_COUNT_N(&n->loop->counters, nats_dropped, (uint64_t)(dropped - s->dropped));
        s->dropped = dropped;
    }
    static crs_log_limiter limiter;
    crs_log_limited(n->loop->log, CEREUS_LOG_WARN, &limiter,
                    "messages from NATS were dropped: this server is too slow for them");
}

/** Take what the parser has queued. */
static void drain(crs_nats *n)
{
    for (size_t i = 0; i < CEREUS_COUNT(n->busy); i++) {
        crs_nats_sub *s = n->busy[i];
        int count = 0, bytes;
        if (!s || !s->sub || LIB->natsSubscription_GetPending(s->sub, &count, &bytes) != NATS_OK)
            continue;
        while (count > 0 && n->busy[i] == s && s->sub) {
            natsMsg *m = NULL;
            natsStatus st = LIB->natsSubscription_NextMsg(&m, s->sub, 0);
            if (st == NATS_SLOW_CONSUMER) { /* said once, in place of a message */
                count_slow(n, s);
                continue;
            }
            count--;
            if (st == NATS_NO_RESPONDERS) { /* it has thrown the message away */
                if (!n->closing)
                    n->opt.on_no_responders(n->opt.user);
                continue;
            }
            if (st != NATS_OK)
                break;
            if (s == n->inbox_sub)
                deliver_reply(n, m);
            else if (!n->closing)
                deliver(s->fn, s->user, m);
            LIB->natsMsg_Destroy(m);
        }
    }
}

typedef struct quiet_mail {
    crs_mail mail;
    crs_nats_channel *channel;
    natsMsg *m;
} quiet_mail;

static void quiet_arrives(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    quiet_mail *q = CRS_CONTAINER(mail, quiet_mail, mail);
    atomic_fetch_sub(&q->channel->waiting, 1);
    if (!q->channel->nats->closing)
        deliver(q->channel->fn, q->channel->user, q->m);
    LIB->natsMsg_Destroy(q->m);
    crs_free(q);
}

/** Thread: the library's. */
static void on_quiet(natsConnection *conn, natsSubscription *sub, natsMsg *m, void *user)
{
    CRS_UNUSED(conn);
    CRS_UNUSED(sub);
    crs_nats_channel *channel = user;
    bool room = atomic_fetch_add(&channel->waiting, 1) < channel->waiting_max;
    quiet_mail *q = room ? crs_malloc(sizeof *q) : NULL;
    if (!q) {
        atomic_fetch_sub(&channel->waiting, 1);
        atomic_fetch_add(&channel->nats->dropped, 1);
        raise_flag(channel->nats, FLAG_SLOW);
        LIB->natsMsg_Destroy(m);
        return;
    }
    *q = (quiet_mail){.mail = {.run = quiet_arrives}, .channel = channel, .m = m};
    crs_loop_post_reserved(channel->nats->loop, &q->mail);
}

/** Thread: the library's. No callback of this subscription comes any more. */
static void on_quiet_complete(void *user)
{
    crs_nats *n = user;
    pthread_mutex_lock(&n->mu);
    n->quiet_live--;
    pthread_cond_signal(&n->changed);
    pthread_mutex_unlock(&n->mu);
}

/* ---- subscriptions ---- */

static cereus_status status_of(natsStatus st)
{
    switch (st) {
    case NATS_OK:
        return CEREUS_OK;
    case NATS_NO_MEMORY:
        return CEREUS_E_NOMEM;
    case NATS_MAX_PAYLOAD:
        return CEREUS_E_TOO_LONG;
    case NATS_INVALID_SUBJECT:
    case NATS_INVALID_ARG:
        return CEREUS_E_INVALID;
    default:
        return CEREUS_E_UNAVAILABLE;
    }
}

static cereus_status subscribe_now(crs_nats_sub *s)
{
    crs_nats *n = s->n;
    crs_list_push(&n->subscribed, &s->link); /* off it again with its end */
    if (!s->channel) {
        CEREUS_TRY(status_of(LIB->natsConnection_SubscribeSync(&s->sub, n->conn, s->subject)));
        return status_of(LIB->natsSubscription_SetPendingLimits(s->sub, (int)n->opt.pending_max, -1));
    }
    CEREUS_TRY(status_of(LIB->natsConnection_Subscribe(&s->sub, n->conn, s->subject, on_quiet, s->channel)));
    /* until this loop reads, nothing comes for it: without this call it can be destroyed at once */
    CEREUS_TRY(status_of(LIB->natsSubscription_SetOnCompleteCB(s->sub, on_quiet_complete, n)));
    pthread_mutex_lock(&n->mu);
    n->quiet_live++;
    pthread_mutex_unlock(&n->mu);
    return status_of(LIB->natsSubscription_SetPendingLimits(s->sub, -1, -1)); /* waiting_max bounds them */
}

/** There is no connection for @p s, or there was none any more: with the next one. */
static void park(crs_nats_sub *s)
{
    if (s->sub)
        LIB->natsSubscription_Destroy(s->sub);
    s->sub = NULL;
    s->dropped = 0;
    crs_list_remove(&s->link);
    crs_list_push(&s->n->waiting, &s->link);
}

static cereus_status add_sub(crs_nats *n, const char *subject, crs_nats_sub **ret_sub, const crs_nats_sub *like)
{
    size_t len = strlen(subject);
    crs_nats_sub *s = crs_malloc(sizeof *s + len + 1);
    if (!s)
        return CEREUS_E_NOMEM;
    *s = *like;
    s->n = n;
    crs_list_init(&s->link);
    memcpy(s->subject, subject, len + 1);
    cereus_status st = CEREUS_E_UNAVAILABLE;
    if (atomic_load(&n->up))
        st = subscribe_now(s);
    if (st == CEREUS_E_UNAVAILABLE) {
        park(s);
        st = CEREUS_OK;
    }
    if (st)
        crs_nats_unsubscribe(s);
    else
        *ret_sub = s;
    return st;
}

cereus_status crs_nats_subscribe(crs_nats *n, const char *subject, crs_nats_fn *fn, void *user, crs_nats_sub **ret_sub)
{
    crs_loop_assert_current(n->loop);
    size_t i = 0;
    while (i < CEREUS_COUNT(n->busy) && n->busy[i])
        i++;
    CRS_ASSERT(i < CEREUS_COUNT(n->busy));
    CEREUS_TRY(add_sub(n, subject, ret_sub, &(crs_nats_sub){.fn = fn, .user = user}));
    n->busy[i] = *ret_sub;
    return CEREUS_OK;
}

cereus_status crs_nats_watch(crs_nats_channel *channel, const char *subject, crs_nats_sub **ret_sub)
{
    crs_loop_assert_current(channel->nats->loop);
    return add_sub(channel->nats, subject, ret_sub, &(crs_nats_sub){.channel = channel});
}

static void free_sub(crs_nats_sub *s)
{
    crs_list_remove(&s->link);
    if (s->sub)
        LIB->natsSubscription_Destroy(s->sub);
    crs_free(s);
}

crs_nats_sub *crs_nats_unsubscribe(crs_nats_sub *s)
{
    if (!s)
        return NULL;
    crs_nats *n = s->n;
    for (size_t i = 0; i < CEREUS_COUNT(n->busy); i++) {
        if (n->busy[i] == s)
            n->busy[i] = NULL;
    }
    if (s->sub && !atomic_load(&n->up)) {
        crs_list_remove(&s->link);
        crs_list_push(&n->dying, &s->link);
    } else {
        free_sub(s);
    }
    return NULL;
}

/** The connection is back. */
static void catch_up(crs_nats *n)
{
    crs_list *link;
    while ((link = crs_list_pop(&n->dying)))
        free_sub(CRS_CONTAINER(link, crs_nats_sub, link));
    crs_list waiting;
    crs_list_init(&waiting);
    while ((link = crs_list_pop(&n->waiting)))
        crs_list_push(&waiting, link);
    while ((link = crs_list_pop(&waiting))) {
        crs_nats_sub *s = CRS_CONTAINER(link, crs_nats_sub, link);
        cereus_status st = atomic_load(&n->up) ? subscribe_now(s) : CEREUS_E_UNAVAILABLE;
        if (st == CEREUS_E_UNAVAILABLE)
            park(s);
        else if (st)
            crs_log_error(n->loop->log, "a subscription could not be made", CRS_STR("subject", s->subject),
                          CRS_STR("error", cereus_status_text(st)));
    }
}

/* ---- a connection that was lost ---- */

/** Thread: its own. */
static void *open_conn(void *arg)
{
    crs_nats *n = arg;
    natsConnection *conn = NULL;
    natsStatus st = LIB->natsConnection_Connect(&conn, n->lib_opt);
    const char *why = st == NATS_OK ? NULL : LIB->nats_GetLastError(NULL);
    pthread_mutex_lock(&n->mu);
    n->opened = st == NATS_OK ? conn : NULL;
    n->open_status = st;
    snprintf(n->open_error, sizeof n->open_error, "%s", why ? why : LIB->natsStatus_GetText(st));
    pthread_mutex_unlock(&n->mu);
    raise_flag(n, FLAG_OPENED);
    return NULL;
}

static size_t url_count(const crs_nats *n)
{
    return n->opt.url_count + CRS_MIN(n->learned_count, (size_t)LEARNED_MAX);
}

/** Wait when all have been tried. */
static void reopen_later(crs_nats *n)
{
    if (n->retired)
        return;
    bool round = n->tried % url_count(n) == 0;
    uint64_t wait_ms = round ? n->reopen_wait_ms + crs_loop_random(n->loop, n->jitter_ms + 1) : 0;
    if (crs_loop_timer_start(n->loop, &n->reopen, wait_ms))
        crs_log_error(n->loop->log, "out of memory: NATS is not tried again, start this server again");
}

/** Each attempt is for one server: one that does not answer costs a stop no more than that. */
static natsStatus choose_server(crs_nats *n)
{
    size_t i = (n->first_url + n->tried++) % url_count(n);
    const char *url = i < n->opt.url_count ? n->opt.urls[i] : n->learned[i - n->opt.url_count];
    return LIB->natsOptions_SetServers(n->lib_opt, &url, 1);
}

static void on_reopen(crs_timer *timer)
{
    crs_nats *n = CRS_CONTAINER(timer, crs_nats, reopen);
    if (choose_server(n) != NATS_OK) { /* out of memory, and the library would try localhost */
        reopen_later(n);
        return;
    }
    pthread_mutex_lock(&n->mu);
    n->closed = false;
    pthread_mutex_unlock(&n->mu);
    n->opening = crs_thread_start(&n->opener, open_conn, n);
    if (!n->opening)
        reopen_later(n);
}

/** NATS is there, but does not want us: not too often. */
static void say_refused(crs_nats *n)
{
    static crs_log_limiter limiter;
    n->reopen_wait_ms = CRS_MAX(n->reopen_wait_ms, CRS_MIN(2 * n->reopen_wait_ms, (uint64_t)REOPEN_WAIT_MAX_MS));
    if (n->refused)
        return;
    n->refused = true;
    CRS_COUNT(&n->loop->counters, nats_closed);
    crs_log_limited(n->loop->log, CEREUS_LOG_ERROR, &limiter, "NATS has refused us, it is tried again",
                    CRS_STR("error", n->open_error),
                    CRS_STR("fix",
                            "mend user and password there, or in pitaya.cluster.rpc.client.nats.connect and start "
                            "this server again"));
}

/** Wait for the opener, which has ended or will, and take what it has made. */
static void take_opened(crs_nats *n)
{
    pthread_join(n->opener, NULL);
    n->opening = false;
    pthread_mutex_lock(&n->mu);
    n->conn = n->opened;
    n->opened = NULL;
    pthread_mutex_unlock(&n->mu);
    if (n->retired && !n->closing)
        crs_loop_post_reserved(n->loop, &n->retire);
    if (n->conn || n->closing || n->retired)
        return;
    if (n->open_status == NATS_CONNECTION_AUTH_FAILED)
        say_refused(n);
    reopen_later(n);
}

static void learn(crs_nats *n, const char *url)
{
    for (size_t i = 0; i < CRS_MIN(n->learned_count, (size_t)LEARNED_MAX); i++) {
        if (strcmp(n->learned[i], url) == 0)
            return;
    }
    char *copy = crs_strdup(url);
    if (!copy)
        return;
    char **at = &n->learned[n->learned_count++ % LEARNED_MAX];
    crs_free(*at);
    *at = copy;
}

/** The next connection may go to any server of the cluster that the last one was of. */
static void learn_servers(crs_nats *n)
{
    char **found = NULL;
    int found_count = 0;
    if (LIB->natsConnection_GetDiscoveredServers(n->conn, &found, &found_count) != NATS_OK)
        found_count = 0;
    for (int i = 0; i < found_count; i++) {
        learn(n, found[i]);
        free(found[i]); /* the library's */
    }
    free(found); /* there also when it is empty */
    n->tried = 0;
    n->first_url = crs_loop_random(n->loop, url_count(n)); /* not all of us to the same one */
}

/** The library has closed it: another one is made, which gets the subscriptions. */
static void replace_conn(crs_nats *n)
{
    atomic_store(&n->up, false);
    for (crs_list *link; (link = crs_list_pop(&n->dying));)
        free_sub(CRS_CONTAINER(link, crs_nats_sub, link));
    for (crs_list *link; (link = crs_list_pop(&n->subscribed));)
        park(CRS_CONTAINER(link, crs_nats_sub, link));
    learn_servers(n);
    LIB->natsConnection_Destroy(n->conn);
    n->conn = NULL;
    n->refused = false;
    n->reopen_wait_ms = n->opt.reconnect_wait_ms;
    reopen_later(n);
}

/* ---- what happened ---- */

static void now_up(crs_nats *n)
{
    n->payload_max = (size_t)LIB->natsConnection_GetMaxPayload(n->conn);
    n->was_up = true;
    atomic_store(&n->up, true);
}

static void on_word(crs_loop *loop, crs_mail *mail)
{
    crs_nats *n = CRS_CONTAINER(mail, crs_nats, word);
    atomic_store(&n->word_posted, false); /* first: what comes from now on posts again */
    unsigned flags = atomic_exchange(&n->flags, 0);
    apply(n);
    if (n->closing)
        return;
    if ((flags & FLAG_LOST) && !n->loss_is_last) { /* what came before it may be in mail behind this */
        n->loss_is_last = true;
        raise_flag(n, flags);
        return;
    }
    n->loss_is_last = false;
    uint64_t dropped = atomic_exchange(&n->dropped, 0);
    CRS_COUNT_N(&loop->counters, nats_dropped, dropped);
    if ((flags & FLAG_SLOW) && dropped) {
        static crs_log_limiter limiter;
        CRS_COUNT(&loop->counters, nats_slow_consumers);
        crs_log_limited(loop->log, CEREUS_LOG_WARN, &limiter,
                        "pushes and kicks from NATS were dropped: more wait than "
                        "pitaya.cluster.rpc.server.nats.buffer.push");
    }
    if (flags & FLAG_LAME) {
        CRS_COUNT(&loop->counters, nats_lame_ducks);
        crs_log_info(loop->log, "the NATS server will stop: another is looked for");
        if (n->opt.on_lame)
            n->opt.on_lame(n->opt.user);
    }
    if (flags & FLAG_ERROR) {
        static crs_log_limiter limiter;
        crs_log_limited(loop->log, CEREUS_LOG_WARN, &limiter, "NATS reports an error",
                        CRS_STR("error", LIB->natsStatus_GetText((natsStatus)atomic_load(&n->last_error))));
    }
    if ((flags & FLAG_LOST) && n->was_up) { /* also before it was told to be back */
        n->was_up = false;
        n->lost_told = true;
        CRS_COUNT(&loop->counters, nats_disconnects);
        if (n->opt.on_state)
            n->opt.on_state(n->opt.user, false);
    }
    if (flags & FLAG_OPENED)
        take_opened(n);
    pthread_mutex_lock(&n->mu);
    bool back = (flags & FLAG_OPENED) && n->conn && n->live;
    bool closed = n->closed && n->conn;
    pthread_mutex_unlock(&n->mu);
    if (closed) {
        replace_conn(n);
    } else if (back) {
        now_up(n);
        start_poller(n);
        flush(n);
        CRS_COUNT(&loop->counters, nats_reconnects);
        catch_up(n);
        if (crs_nats_echo(n, 0)) /* it is back when it has our subscriptions */
            on_settled(n);
    }
}

uint64_t crs_nats_writes(const crs_nats *n)
{
    return n->writes;
}

size_t crs_nats_payload_max(const crs_nats *n)
{
    return n->payload_max;
}

/* ---- publishing ---- */

static size_t waiting_len(const crs_nats *n)
{
    const crs_relay *relay = n->poller ? n->poller->line.relay : NULL;
    return (size_t)LIB->natsConnection_Buffered(n->conn) + (relay ? crs_relay_waiting(relay) : 0);
}

static cereus_status publish(crs_nats *n, const char *subject, const char *reply, cereus_slice data)
{
    crs_loop_assert_current(n->loop);
    if (!atomic_load(&n->up))
        return CEREUS_E_UNAVAILABLE;
    if (data.len > INT32_MAX)
        return CEREUS_E_TOO_LONG;
    if (n->blocked && waiting_len(n) + data.len > OUT_MAX) {
        CRS_COUNT(&n->loop->counters, nats_outbox_full);
        return CEREUS_E_FULL;
    }
    return status_of(reply ? LIB->natsConnection_PublishRequest(n->conn, subject, reply, data.data, (int)data.len)
                           : LIB->natsConnection_Publish(n->conn, subject, data.data, (int)data.len));
}

/** Our inbox with @p id at its end. */
static const char *address(crs_nats *n, uint64_t id, char *out)
{
    static const char digits[] = "0123456789abcdef";
    memcpy(out, n->inbox, n->inbox_len);
    for (int i = 0; i < ID_DIGITS; i++)
        out[n->inbox_len + i] = digits[id >> (60 - 4 * i) & 15];
    out[n->inbox_len + ID_DIGITS] = '\0';
    return out;
}

cereus_status crs_nats_publish(crs_nats *n, const char *subject, cereus_slice data)
{
    return publish(n, subject, NULL, data);
}

cereus_status crs_nats_request(crs_nats *n, const char *subject, uint64_t id, cereus_slice data)
{
    char reply[INBOX_CAP + ID_DIGITS + 1];
    return publish(n, subject, address(n, id, reply), data);
}

cereus_status crs_nats_echo(crs_nats *n, uint64_t id)
{
    char subject[INBOX_CAP + ID_DIGITS + 1];
    return publish(n, address(n, id, subject), NULL, (cereus_slice){0});
}

/** It comes back behind all else in the library's parser, and, as the messages of all quiet subscriptions, by its one thread. */
cereus_status crs_nats_drain(crs_nats_channel *channel, crs_nats_sub **ret_sub)
{
    static const char last[] = "drained"; /* no ID_DIGITS: the inbox ignores it */
    crs_nats *n = channel->nats;
    char subject[INBOX_CAP + sizeof last];
    memcpy(subject, n->inbox, n->inbox_len);
    memcpy(subject + n->inbox_len, last, sizeof last);
    CEREUS_TRY(crs_nats_watch(channel, subject, ret_sub));
    cereus_status st = crs_nats_publish(n, subject, (cereus_slice){0});
    if (st)
        *ret_sub = crs_nats_unsubscribe(*ret_sub);
    return st;
}

/* ---- life ---- */

static bool wants_tls(const crs_nats_options *opt)
{
    if (opt->ca_file || opt->cert_file)
        return true;
    for (size_t i = 0; i < opt->url_count; i++) {
        if (strncmp(opt->urls[i], "tls://", 6) == 0)
            return true;
    }
    return false;
}

static natsStatus make_options(crs_nats *n)
{
    const crs_nats_options *opt = &n->opt;
    natsStatus st = LIB->natsOptions_Create(&n->lib_opt);
    natsOptions *o = n->lib_opt;
    if (st == NATS_OK)
        st = LIB->natsOptions_SetServers(o, (const char **)opt->urls, (int)opt->url_count);
    if (st == NATS_OK)
        st = LIB->natsOptions_SetName(o, opt->name);
    if (st == NATS_OK)
        st = LIB->natsOptions_SetTimeout(o, (int64_t)opt->connect_timeout_ms);
    if (st == NATS_OK)
        st = LIB->natsOptions_SetAllowReconnect(o, false);
    if (st == NATS_OK)
        st = LIB->natsOptions_SetPingInterval(o, (int64_t)opt->ping_interval_ms);
    if (st == NATS_OK)
        st = LIB->natsOptions_SetMaxPingsOut(o, (int)opt->pings_max);
    if (st == NATS_OK)
        st = LIB->natsOptions_SetSendAsap(o, true); /* no flusher thread, which sleeps 1 ms before each write */
    if (st == NATS_OK)
        st = LIB->natsOptions_SetEventLoop(o, n, hook_attach, hook_read, hook_write, hook_detach);
    if (st == NATS_OK)
        st = LIB->natsOptions_UseGlobalMessageDelivery(o, true); /* not a thread for each quiet subscription */
    if (st == NATS_OK)
        st = LIB->natsOptions_SetClosedCB(o, on_lib_closed, n);
    if (st == NATS_OK)
        st = LIB->natsOptions_SetErrorHandler(o, on_error, n);
    if (st == NATS_OK)
        st = LIB->natsOptions_SetLameDuckModeCB(o, on_lame, n);
    if (st == NATS_OK && n->tls)
        st = LIB->natsOptions_SetSecure(o, true);
    if (st == NATS_OK && opt->ca_file)
        st = LIB->natsOptions_LoadCATrustedCertificates(o, opt->ca_file);
    if (st == NATS_OK && opt->cert_file)
        st = LIB->natsOptions_LoadCertificatesChain(o, opt->cert_file, opt->key_file);
    if (st == NATS_OK && n->tls && opt->server_name)
        st = LIB->natsOptions_SetExpectedHostname(o, opt->server_name);
    return st;
}

/** Somebody wants this process to end: signals are blocked here, and wait. */
static bool asked_to_end(void)
{
    static const int ends[] = {SIGINT, SIGQUIT, SIGTERM};
    sigset_t waiting;
    sigpending(&waiting);
    for (size_t i = 0; i < CEREUS_COUNT(ends); i++) {
        if (sigismember(&waiting, ends[i]))
            return true;
    }
    return false;
}

/** false: asked to end meanwhile. */
static bool pause_ms(uint64_t ms)
{
    while (ms > 0 && !asked_to_end()) {
        uint64_t slice_ms = CRS_MIN(ms, (uint64_t)50);
        struct timespec t = {.tv_nsec = (long)slice_ms * 1000000};
        nanosleep(&t, NULL);
        ms -= slice_ms;
    }
    return !asked_to_end();
}

static natsStatus connect_with_patience(crs_nats *n)
{
    natsStatus st;
    for (uint64_t tries = 0;; tries++) {
        natsConnection *conn = NULL;
        st = LIB->natsConnection_Connect(&conn, n->lib_opt);
        n->conn = conn; /* NULL: what a hook has seen is no more */
        if (st == NATS_OK || tries >= n->opt.tries)
            return st;
        if (tries == 0)
            crs_log_warn(n->loop->log, "NATS cannot be reached, trying again",
                         CRS_STR("error", LIB->nats_GetLastError(NULL)));
        if (!pause_ms(n->opt.reconnect_wait_ms + crs_loop_random(n->loop, n->jitter_ms + 1)))
            return st;
    }
}

static cereus_status open_inbox(crs_nats *n)
{
    natsInbox *inbox = NULL;
    CEREUS_TRY(status_of(LIB->natsInbox_Create(&inbox)));
    int len = snprintf(n->inbox, sizeof n->inbox, "%s.", (const char *)inbox);
    LIB->natsInbox_Destroy(inbox);
    CRS_ASSERT(len > 0 && (size_t)len < sizeof n->inbox);
    n->inbox_len = (size_t)len;
    char all[INBOX_CAP + 2];
    snprintf(all, sizeof all, "%s*", n->inbox);
    return crs_nats_subscribe(n, all, NULL, NULL, &n->inbox_sub);
}

/** Without a connection yet. */
static crs_nats *make(crs_loop *loop, const crs_nats_options *opt)
{
    crs_loop_assert_current(loop);
    crs_nats *n = crs_zalloc(sizeof *n);
    if (!n)
        return NULL;
    n->loop = loop;
    n->opt = *opt;
    n->tls = wants_tls(opt);
    n->jitter_ms = CRS_MIN(n->tls ? opt->jitter_tls_ms : opt->jitter_ms, (uint64_t)UINT32_MAX);
    n->next = no_line;
    n->word.run = on_word;
    n->retire.run = on_retire;
    crs_timer_init(&n->reopen, on_reopen);
    crs_list_init(&n->subscribed);
    crs_list_init(&n->waiting);
    crs_list_init(&n->dying);
    crs_deferred_init(&n->flush, on_turn_end);
    pthread_mutex_init(&n->mu, NULL);
    pthread_cond_init(&n->changed, NULL);
    return n;
}

cereus_status crs_nats_connect(crs_loop *loop, const crs_nats_options *opt, crs_nats **ret_nats, cereus_error *err)
{
    CEREUS_TRY(crs_nats_load(err));
    crs_nats *n = make(loop, opt);
    if (!n)
        return crs_fail(err, CEREUS_E_NOMEM, "nats: out of memory");
    sigset_t all, was;
    sigfillset(&all); /* signals are for the thread that waits for the end, not for the library's */
    pthread_sigmask(SIG_SETMASK, &all, &was);
    natsStatus lib = make_options(n);
    if (lib == NATS_OK)
        lib = connect_with_patience(n);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    cereus_status st = status_of(lib);
    if (lib != NATS_OK)
        crs_fail(err, st, "%s", LIB->nats_GetLastError(NULL) ? LIB->nats_GetLastError(NULL) : "not connected");
    n->opt.name = NULL; /* the library has copied it */
    if (lib == NATS_OK) {
        now_up(n);
        apply(n);
        start_poller(n);
        if ((st = open_inbox(n)))
            crs_fail(err, st, "nats: the inbox cannot be subscribed to");
        if (!st && !n->poller)
            st = crs_fail(err, CEREUS_E_IO, "nats: the connection cannot be watched");
    }
    if (st) {
        crs_nats_close(n, 0, NULL, NULL);
        return st;
    }
    *ret_nats = n;
    return CEREUS_OK;
}

crs_nats *crs_nats_begin(crs_nats *from, const crs_nats_options *opt)
{
    crs_nats *n = make(from->loop, opt);
    if (!n)
        return NULL;
    n->lost_told = true; /* so that it is told when it is there */
    n->reopen_wait_ms = opt->reconnect_wait_ms;
    n->payload_max = from->payload_max;
    if (from->conn)
        learn_servers(from);
    for (size_t i = 0; i < CRS_MIN(from->learned_count, (size_t)LEARNED_MAX); i++)
        learn(n, from->learned[i]);
    n->first_url = crs_loop_random(n->loop, url_count(n));
    bool good = make_options(n) == NATS_OK && open_inbox(n) == CEREUS_OK;
    n->opt.name = NULL;
    if (good && crs_loop_timer_start(n->loop, &n->reopen, 0) == CEREUS_OK)
        return n;
    crs_nats_close(n, 0, NULL, NULL);
    return NULL;
}

/** Until NATS has handled what was published: a connection that is closed with unread bytes is reset, and could lose it. */
static void flush_all(crs_nats *n, uint64_t until_ms)
{
    if (crs_nats_echo(n, 0) != CEREUS_OK)
        return;
    flush(n);
    while (n->poller && !n->settled && atomic_load(&n->up)) {
        uint64_t now_ms = crs_clock_ms(CLOCK_MONOTONIC);
        bool held = atomic_load(&n->held); /* its word comes to a loop that does not turn */
        struct pollfd p = {.fd = n->poller->line.fd,
                           .events = (short)(POLLIN | (atomic_load(&n->want_write) && !held ? POLLOUT : 0))};
        uint64_t wait_ms = until_ms > now_ms ? CRS_MIN(until_ms - now_ms, (uint64_t)(held ? 5 : 1000)) : 0;
        if (wait_ms == 0 || (poll(&p, 1, (int)wait_ms) < 0 && errno != EINTR))
            return;
        if (p.revents & ~POLLOUT) {
            LIB->natsConnection_ProcessReadEvent(n->conn);
            drain(n);
        }
        flush(n);
    }
}

static void close_conn(crs_nats *n)
{
    if (n->poller && LIB->natsConnection_Buffered(n->conn) > 0) { /* Close() would wait 500 ms for their way out */
        shutdown(n->poller->line.fd, SHUT_RDWR);
        LIB->natsConnection_ProcessWriteEvent(n->conn);
    }
    LIB->natsConnection_Close(n->conn);
}

static void on_last(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_nats *n = CRS_CONTAINER(mail, crs_nats, last);
    n->all_mail_run = true;
    maybe_free(n);
}

static void reply_to_nobody(void *user, uint64_t id, cereus_slice data)
{
    CRS_UNUSED(user);
    CRS_UNUSED(id);
    CRS_UNUSED(data);
}

static void no_responders_for_nobody(void *user)
{
    CRS_UNUSED(user);
}

static void on_retire(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_nats *n = CRS_CONTAINER(mail, crs_nats, retire);
    if (!n->closing)
        crs_nats_close(n, 0, n->on_closed, n->on_closed_user);
}

void crs_nats_retire(crs_nats *n, void (*on_closed)(void *user), void *user)
{
    n->retired = true;
    n->on_closed = on_closed;
    n->on_closed_user = user;
    n->opt.on_reply = reply_to_nobody;
    n->opt.on_no_responders = no_responders_for_nobody;
    n->opt.on_state = NULL;
    n->opt.on_lame = NULL;
    crs_loop_timer_stop(n->loop, &n->reopen);
    if (!n->opening) /* else when that has ended */
        crs_loop_post_reserved(n->loop, &n->retire);
}

void crs_nats_close(crs_nats *n, uint64_t flush_until_ms, void (*on_closed)(void *user), void *user)
{
    crs_loop_assert_current(n->loop);
    n->on_closed = on_closed;
    n->on_closed_user = user;
    if (n->closing) /* a retired one, which has done it, and whose memory is not free yet */
        return;
    n->closing = true;
    crs_loop_timer_stop(n->loop, &n->reopen);
    if (n->opening)
        take_opened(n); /* waits for an attempt to connect, if one is under way */
    n->settled = false;
    if (n->inbox_sub) /* else nothing was published yet */
        flush_all(n, flush_until_ms);
    atomic_store(&n->up, false); /* from here on nothing is written */
    n->inbox_sub = crs_nats_unsubscribe(n->inbox_sub);
    crs_deferred_cancel(&n->flush);
    if (n->conn)
        close_conn(n);
    for (crs_list *link; (link = crs_list_pop(&n->dying));)
        free_sub(CRS_CONTAINER(link, crs_nats_sub, link));
    pthread_mutex_lock(&n->mu);
    while ((n->conn && !n->closed) || n->quiet_live) /* from here on none of its threads knows us */
        pthread_cond_wait(&n->changed, &n->mu);
    pthread_mutex_unlock(&n->mu);
    if (n->conn)
        LIB->natsConnection_Destroy(n->conn);
    LIB->natsOptions_Destroy(n->lib_opt);
    hook_read(n, false); /* also of an attempt that failed: its socket is polled no more, or not at all */
    apply(n);
    crs_deferred_cancel(&n->flush);
    n->last.run = on_last; /* behind all mail of those threads */
    crs_loop_post_reserved(n->loop, &n->last);
}
