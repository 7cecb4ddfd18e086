/* cluster/rpc/nats.c: servers of many machines, over NATS, with Pitaya's subjects (cluster-protocol.md 4). Each loop has one
 * connection with an inbox of its own, so answers come to the loop that asked; requests of others come to the first loop's.
 *
 *     pitaya/servers/<type>/<id>       requests     pitaya/<type>/user/<uid>/push, /kick     while that user is bound here
 *     pitaya/<type>/bindings           binds of other frontends of the type
 *
 * A push to many users whose frontends are all ours is one message to each of those, where requests go.
 *
 * nats.c tells that nobody hears a request, but not which. Then all servers with calls out are asked, with an empty message that
 * servers ignore and an echo behind each: a refusal just before an echo is of that server, and ends the calls to it
 * that had been sent before the question: what was sent later is refused by itself, and may have found it.
 *
 * A NATS server that will stop (lame duck) is left in order: another connection is made, and all is sent by that: answers and pushes
 * when what was sent by the old one has arrived at NATS, an echo tells. Messages come by both for a while, and are taken
 * once and in order (handover.h), until all NATS servers know of the new one, and the old one has been drained, which
 * another echo tells. Answers to what was asked by the old one are waited for there; until then no message of a session follows
 * one that is out.
 *
 * While NATS is away calls and pushes fail at once, answers wait, and binds hold: what they subscribe to follows. Calls that are
 * out when it goes fail, too, if they are known not to have left: others may have been handled, and be answered yet.
 */
#include <stdio.h>

#include "base/strmap.h"
#include "base/utf8.h"
#include "cluster/rpc/handover.h"
#include "cluster/rpc/nats_settings.h"
#include "cluster/rpc/peers.h"
#include "config/config.h"

enum {
    OUTBOX_MAX = 8 << 20, /* bytes of answers that wait for NATS, as nats.go's buffer, and of what follows them */
    SUBJECT_MAX = 4096,
    MANY_MIN = 8,         /* users: fewer get a message each */
    MANY_MAX = 512 << 10, /* bytes of a push to many in one message, if NATS takes so much */
    MANY_HEAD_MAX = 64,
    MOVING_LOOK_MS = 20,
    HOLD_MS = 250,        /* until all NATS servers know where we are now */
    ECHO_MAX_MS = 2000,   /* that an echo by the old connection is waited for */
    LEAVE_MAX_MS = 10000, /* that the old one is kept for what it has not taken yet */
    FORGET_MS = 2000,     /* until nothing comes twice any more */
    CLOSE_FLUSH_MS = 500, /* for what was published before the end */
};

typedef struct nats_rpc {
    crs_rpc base;
    crs_nats_settings settings;
    atomic_uint links, up;
    uint64_t flush_until_ms; /* all links together; 0: none has been closed. Thread: setup */
} nats_rpc;

/** A connection of a link. */
typedef struct way {
    struct nats_link *l;
    crs_nats *nats;
    crs_nats_channel push, kick, drain;
    crs_list retired; /* on the link's list */
    bool lame;        /* its server will stop */
} way;

typedef struct nats_link {
    crs_rpc_link base;
    crs_nats_options opt;
    way *now;         /* where all is sent */
    way *next, *old;  /* NULL: we do not move, or one of them has gone */
    crs_list retired; /* ways that end by themselves */
    size_t way_count;
    uint64_t moved_at; /* calls sent until then went by `old` */
    crs_timer moving;
    bool arriving; /* what we have sent by `old` is not known to be at NATS */
    bool arriving_asked;
    bool waits; /* so what we send waits */
    uint64_t wait_until_ms, leave_at_ms;
    bool hears_by_both;
    crs_handover handover;
    uint64_t hold_until_ms; /* 0: NATS has not said yet that messages come by `now` */
    crs_nats_sub *drain;    /* of `old`; NULL: not asked yet whether it is drained */
    uint64_t forget_at_ms;
    bool serving;
    crs_nats_sub *requests, *binds; /* of the first loop's */
    crs_nats_sub *old_requests, *old_binds;
    crs_strmap watched; /* uid -> watched_user */
    crs_list outbox;    /* what waits for NATS */
    size_t outbox_len;
    crs_strmap targets;    /* subject -> target */
    struct target **asked; /* in the order asked; NULL: nobody is */
    size_t asked_count;
    uint64_t sent, asked_at;           /* calls; how many there were when servers were asked */
    uint64_t given_up, given_up_asked; /* of base.given_up: those whose refusals have come; likewise */
    bool refused;                      /* since the last echo */
    bool down;                         /* on_state() has said so */
    crs_list settling;                 /* calls that wait for their echo */
    crs_bytes scratch;
    const char *many_type; /* of the frontends that it goes to, while it is sent */
} nats_link;

/** A server that is called. */
typedef struct target {
    crs_list calls; /* that are out */
    bool asked;     /* on the list */
    bool gone;      /* its server has left */
    char subject[];
} target;

static const char away[] = "NATS is away, and with it the way to other servers";

/* ids that no call has: those have more than 32 bits */
enum { ECHO_BEGIN = 1, ECHO_FIRST = 2, ECHO_ARRIVED = UINT32_MAX - 2, ECHO_HEARS = UINT32_MAX - 1, PROBE = UINT32_MAX };

typedef struct watched_user {
    unsigned refs;
    crs_nats_sub *push, *kick;
    crs_nats_sub *old_push, *old_kick; /* while we move */
} watched_user;

typedef struct waiting_message {
    crs_list link;
    size_t subject_len, len; /* NUL behind the subject */
    char bytes[];
} waiting_message;

static size_t size_of_waiting(size_t subject_len, size_t len)
{
    return sizeof(waiting_message) + subject_len + 1 + len;
}

static nats_link *nats_of(crs_rpc_link *link)
{
    return (nats_link *)link;
}

/* ---- subjects ---- */

/** May @p name be a part of a subject? White space would end it, an empty token is refused by NATS, and a token * or > would
 * reach other users. */
static bool good_name(cereus_slice name)
{
    size_t begin = 0;
    if (name.len == 0 || name.len > SUBJECT_MAX / 2 || !crs_utf8_valid(name))
        return false;
    for (size_t i = 0; i <= name.len; i++) {
        if (i < name.len && name.data[i] <= ' ')
            return false;
        if (i < name.len && name.data[i] != '.')
            continue;
        size_t len = i - begin;
        bool inner = begin > 0 && i < name.len; /* the first and the last have a / beside them */
        if ((len == 0 && inner) || (len == 1 && (name.data[begin] == '*' || name.data[begin] == '>')))
            return false;
        begin = i + 1;
    }
    return true;
}

static bool user_subject(char *out, const char *type, cereus_slice uid, const char *what)
{
    int n = snprintf(out, SUBJECT_MAX, "pitaya/%s/user/%.*s/%s", type, (int)uid.len, (const char *)uid.data, what);
    return n > 0 && n < SUBJECT_MAX;
}

/* ---- the engine ---- */

static cereus_status nats_init(crs_rpc *rpc, cereus_error *err)
{
    nats_rpc *r = (nats_rpc *)rpc;
    atomic_init(&r->links, 0);
    atomic_init(&r->up, 0);
    if (!good_name(cereus_slice_str(rpc->opt.self->id)) || !good_name(cereus_slice_str(rpc->opt.self->type)))
        return crs_fail(err, CEREUS_E_INVALID,
                        "cereus.id: over NATS neither the id nor the type of a server may have spaces, or * or > "
                        "between dots");
    return crs_nats_settings_read(&r->settings, rpc->opt.config, rpc->opt.log, err);
}

static void nats_fini(crs_rpc *rpc)
{
    crs_nats_settings_fini(&((nats_rpc *)rpc)->settings);
}

static bool nats_connected(const crs_rpc *rpc)
{
    const nats_rpc *r = (const nats_rpc *)rpc;
    return atomic_load(&r->up) == atomic_load(&r->links);
}

static void has_arrived(nats_link *l);
static void hears(nats_link *l);

/* ---- what comes in ---- */

static bool went_by(const nats_link *l, const crs_rpc_call *call, const way *w)
{
    return (call->number <= l->moved_at) == (w == l->old);
}

static const char nobody[] = "nats: no responders available for request";

static void end_asking(nats_link *l)
{
    for (size_t i = 0; i < l->asked_count; i++)
        l->asked[i]->asked = false;
    crs_free(l->asked);
    l->asked = NULL;
    l->asked_count = 0;
}

/** The one that is out. NULL: none, or several. */
static crs_rpc_call *only_call(nats_link *l)
{
    crs_rpc_call *only = NULL;
    size_t iter = 0;
    cereus_slice id;
    void *value;
    while (crs_strmap_next(&l->targets, &iter, &id, &value)) {
        target *t = value;
        if (crs_list_empty(&t->calls))
            continue;
        if (only || t->calls.next != t->calls.prev)
            return NULL;
        only = CRS_CONTAINER(t->calls.next, crs_rpc_call, queue);
    }
    return only;
}

static const uint8_t probe[] = {0x1a, 0}; /* protos.Request with an empty Msg */

/** Somebody does not hear: who? Pitaya's servers answer such a request with an error; an empty one ended those of old. */
static void on_no_responders(void *user)
{
    way *w = user;
    nats_link *l = w->l;
    size_t iter = 0;
    cereus_slice id;
    void *value;
    if (w != l->now && l->asked) /* it is no answer to what is asked */
        return;
    /* a refusal of a call that has ended may still be under way */
    crs_rpc_call *only = l->asked || l->base.given_up != l->given_up ? NULL : only_call(l);
    if (only && went_by(l, only, w)) {
        crs_rpc_fail(only, CEREUS_E_FAILED, nobody);
        return;
    }
    l->refused = true;
    if (l->asked)
        return;
    if (!(l->asked = crs_malloc((l->targets.count + 1) * sizeof *l->asked)))
        return; /* their deadlines end the calls */
    l->asked_at = l->sent;
    l->given_up_asked = l->base.given_up;
    cereus_status st = crs_nats_echo(l->now->nats, ECHO_BEGIN);
    while (!st && crs_strmap_next(&l->targets, &iter, &id, &value)) {
        target *t = value;
        if (crs_list_empty(&t->calls))
            continue;
        t->asked = true;
        l->asked[l->asked_count++] = t;
        st = crs_nats_request(l->now->nats, t->subject, PROBE, cereus_slice_of(probe, sizeof probe));
        if (!st)
            st = crs_nats_echo(l->now->nats, ECHO_FIRST + l->asked_count - 1);
    }
    if (st || l->asked_count == 0)
        end_asking(l);
}

static void on_echo(nats_link *l, uint64_t id)
{
    bool refused = l->refused;
    l->refused = false;
    if (id < ECHO_FIRST || id - ECHO_FIRST >= l->asked_count)
        return;
    target *t = l->asked[id - ECHO_FIRST];
    while (refused && !crs_list_empty(&t->calls)) {
        crs_rpc_call *call = CRS_CONTAINER(t->calls.next, crs_rpc_call, queue);
        if (call->number > l->asked_at || !went_by(l, call, l->now)) /* or its answer may come by the old one yet */
            break;
        crs_rpc_fail(call, CEREUS_E_FAILED, nobody);
    }
    /* where its server has subscribed since, nobody knows which call it was: deadlines end them */
    if (id - ECHO_FIRST == l->asked_count - 1) {
        l->given_up = l->given_up_asked;
        end_asking(l);
    }
}

static void on_reply(void *user, uint64_t id, cereus_slice data)
{
    way *w = user;
    nats_link *l = w->l;
    if (id > PROBE)
        crs_rpc_answered(&l->base, id, data);
    else if (id == ECHO_ARRIVED && w == l->old)
        has_arrived(l);
    else if (id == ECHO_HEARS && w == l->now)
        hears(l);
    else if (id < ECHO_ARRIVED && w == l->now)
        on_echo(l, id);
    /* else it hears, or it was asked by a connection that we have left */
}

/** Does a server of ours ask whether we hear? It needs no answer. */
static bool is_probe(const crs_nats_message *m)
{
    static const char id[] = "00000000ffffffff";
    return m->data.len == 0 || (m->data.len == sizeof probe && memcmp(m->data.data, probe, sizeof probe) == 0 &&
                                m->reply.len > 16 && memcmp(m->reply.data + m->reply.len - 16, id, 16) == 0);
}

static void take_request(nats_link *l, cereus_slice data, cereus_slice reply)
{
    cereus_slice push;
    if (!crs_has_mark(data, CRS_PEER_MANY, &push))
        l->base.events->on_request(l->base.user, &l->base, data, reply);
    else if (!crs_peers_take(&l->base, CRS_PEER_PUSH, push))
        CRS_COUNT(&l->base.loop->counters, rpc_garbage);
}

static void take_bind(nats_link *l, cereus_slice data)
{
    crs_bind_msg bind;
    if (crs_bind_decode(data, &bind) == CEREUS_OK)
        l->base.events->on_bound(l->base.user, &bind);
    else
        crs_rpc_garbage(l->base.loop, "a bind");
}

/** The uid inside counts, not the subject. */
static void take_push(nats_link *l, cereus_slice data)
{
    crs_push_msg push;
    if (crs_push_decode(data, &push) == CEREUS_OK)
        l->base.events->on_push(l->base.user, push.route, push.data, &push.uid, 1);
    else
        crs_rpc_garbage(l->base.loop, "a push");
}

static void take_kick(nats_link *l, cereus_slice data)
{
    cereus_slice uid;
    if (crs_kick_decode(data, &uid) == CEREUS_OK)
        l->base.events->on_kick(l->base.user, uid);
    else
        crs_rpc_garbage(l->base.loop, "a kick");
}

static void take(void *user, unsigned kind, cereus_slice data, cereus_slice reply)
{
    nats_link *l = user;
    switch (kind) {
    case CRS_PEER_REQUEST:
        take_request(l, data, reply);
        break;
    case CRS_PEER_PUSH:
        take_push(l, data);
        break;
    case CRS_PEER_KICK:
        take_kick(l, data);
        break;
    default:
        take_bind(l, data);
    }
}

static void arrives(way *w, crs_peer_kind kind, const crs_nats_message *m)
{
    if (!crs_handover_arrives(&w->l->handover, w == w->l->now, kind, m->data, m->reply))
        CRS_COUNT(&w->l->base.loop->counters, nats_dropped);
}

static void on_request(void *user, const crs_nats_message *m)
{
    if (!is_probe(m))
        arrives(user, CRS_PEER_REQUEST, m);
}

static void on_bind(void *user, const crs_nats_message *m)
{
    arrives(user, CRS_PEER_BOUND, m);
}

static void on_push(void *user, const crs_nats_message *m)
{
    arrives(user, CRS_PEER_PUSH, m);
}

static void on_kick(void *user, const crs_nats_message *m)
{
    arrives(user, CRS_PEER_KICK, m);
}

static void send_waiting(nats_link *l)
{
    while (!crs_list_empty(&l->outbox)) {
        waiting_message *w = CRS_CONTAINER(l->outbox.next, waiting_message, link);
        cereus_slice data = cereus_slice_of(w->bytes + w->subject_len + 1, w->len);
        cereus_status st = crs_nats_publish(l->now->nats, w->bytes, data);
        if (st == CEREUS_E_UNAVAILABLE) /* lost again: when it is back */
            return;
        if (st)
            CRS_COUNT(&l->base.loop->counters, rpc_replies_lost);
        l->outbox_len -= size_of_waiting(w->subject_len, w->len);
        crs_list_remove(&w->link);
        crs_free(w);
    }
}

static void end_waiting(nats_link *l)
{
    if (!l->waits)
        return;
    l->waits = false;
    if (!l->down)
        send_waiting(l);
}

/** What we have sent by the old connection is at NATS, or never will be. */
static void has_arrived(nats_link *l)
{
    l->arriving = false;
    end_waiting(l);
}

static void fail_settling(nats_link *l, const way *lost)
{
    for (crs_list *at = l->settling.next, *next; at != &l->settling; at = next) {
        crs_rpc_call *call = CRS_CONTAINER(at, crs_rpc_call, queue);
        next = at->next;
        if (went_by(l, call, lost))
            crs_rpc_fail(call, CEREUS_E_UNAVAILABLE, away);
    }
}

/** NATS is lost: calls that have not left yet can be made again. Those that have may be handled, and are answered when it is
 * back, or end at their deadline. */
static void fail_unsent(nats_link *l, const way *lost)
{
    uint64_t now = crs_nats_writes(lost->nats);
    size_t iter = 0;
    cereus_slice subject;
    void *value;
    while (crs_strmap_next(&l->targets, &iter, &subject, &value)) {
        target *t = value;
        for (crs_list *at = t->calls.next, *next; at != &t->calls; at = next) {
            crs_rpc_call *call = CRS_CONTAINER(at, crs_rpc_call, queue);
            next = at->next;
            if (went_by(l, call, lost) && call->sent_at == now)
                crs_rpc_fail(call, CEREUS_E_UNAVAILABLE, away);
        }
    }
    fail_settling(l, lost); /* no echo comes any more */
}

/* ---- what we hear ---- */

static cereus_status subscribe(nats_link *l, cereus_error *err)
{
    const cereus_server *self = l->base.rpc->opt.self;
    char subject[SUBJECT_MAX];
    snprintf(subject, sizeof subject, "pitaya/servers/%s/%s", self->type, self->id);
    cereus_status st = crs_nats_subscribe(l->now->nats, subject, on_request, l->now, &l->requests);
    if (st)
        return crs_fail(err, st, "nats: %s cannot be subscribed to", subject);
    snprintf(subject, sizeof subject, "pitaya/%s/bindings", self->type);
    st = crs_nats_subscribe(l->now->nats, subject, on_bind, l->now, &l->binds);
    return st ? crs_fail(err, st, "nats: %s cannot be subscribed to", subject) : CEREUS_OK;
}

static void unsubscribe_old(nats_link *l)
{
    l->old_requests = crs_nats_unsubscribe(l->old_requests);
    l->old_binds = crs_nats_unsubscribe(l->old_binds);
    l->drain = crs_nats_unsubscribe(l->drain);
}

/** Subscribe to what is for @p uid. */
static cereus_status watch_user(nats_link *l, cereus_slice uid, watched_user *w)
{
    const char *type = l->base.rpc->opt.self->type;
    char subject[SUBJECT_MAX];
    if (!good_name(uid) || !user_subject(subject, type, uid, "push"))
        return CEREUS_E_INVALID;
    CEREUS_TRY(crs_nats_watch(&l->now->push, subject, &w->push));
    user_subject(subject, type, uid, "kick");
    return crs_nats_watch(&l->now->kick, subject, &w->kick);
}

static void forget_old(watched_user *w)
{
    w->old_push = crs_nats_unsubscribe(w->old_push);
    w->old_kick = crs_nats_unsubscribe(w->old_kick);
}

static void free_watched(watched_user *w)
{
    forget_old(w);
    crs_nats_unsubscribe(w->push);
    crs_nats_unsubscribe(w->kick);
    crs_free(w);
}

/* ---- from one NATS server to another ---- */

static way *free_way(way *w)
{
    w->l->way_count--;
    crs_free(w);
    return NULL;
}

static void on_way_closed(void *user)
{
    way *w = user;
    nats_link *l = w->l;
    crs_list_remove(&w->retired);
    free_way(w);
    if (l->base.closing && l->way_count == 0)
        crs_rpc_link_closed(&l->base);
}

static void hear_not_by_old(nats_link *l);

/** All that NATS had for the old connection has come. */
static void on_drained(void *user, const crs_nats_message *m)
{
    CRS_UNUSED(m);
    way *w = user;
    nats_link *l = w->l;
    if (w == l->old && l->drain && l->hears_by_both)
        hear_not_by_old(l);
}

/** The way that is made next by l->opt. */
static way *make_way(nats_link *l)
{
    way *w = crs_zalloc(sizeof *w);
    if (!w)
        return NULL;
    w->l = l;
    crs_list_init(&w->retired);
    l->way_count++;
    l->opt.user = w;
    return w;
}

static void open_channels(way *w)
{
    size_t waiting_max = (size_t)crs_config_int(w->l->base.rpc->opt.config, CRS_KEY_NATS_BUFFER_PUSH);
    w->push = (crs_nats_channel){.nats = w->nats, .fn = on_push, .user = w, .waiting_max = waiting_max};
    w->kick = (crs_nats_channel){.nats = w->nats, .fn = on_kick, .user = w, .waiting_max = waiting_max};
    w->drain = (crs_nats_channel){.nats = w->nats, .fn = on_drained, .user = w, .waiting_max = 1};
}

/** NULL is fine. Returns NULL. */
static way *retire(way *w)
{
    if (!w)
        return NULL;
    crs_list_push(&w->l->retired, &w->retired);
    crs_nats_retire(w->nats, on_way_closed, w);
    return NULL;
}

/** Without memory the server is left when it closes. */
static void look_for_next(nats_link *l)
{
    if (!(l->next = make_way(l)))
        return;
    l->next->nats = crs_nats_begin(l->now->nats, &l->opt);
    if (l->next->nats)
        open_channels(l->next);
    else
        l->next = free_way(l->next);
}

/** Look for another server while this one is there. */
static void on_lame(void *user)
{
    way *w = user;
    nats_link *l = w->l;
    w->lame = true;
    if (w == l->now && !l->next && !l->old) /* else when the last move is over */
        look_for_next(l);
}

/** Is a call out that went by the old connection? */
static bool old_has_calls(const nats_link *l)
{
    size_t iter = 0;
    cereus_slice subject;
    void *value;
    while (crs_strmap_next(&l->targets, &iter, &subject, &value)) {
        const target *t = value;
        if (!crs_list_empty(&t->calls) && CRS_CONTAINER(t->calls.next, crs_rpc_call, queue)->number <= l->moved_at)
            return true;
    }
    return false;
}

/** One line for all loops. */
static void link_is(nats_link *l, bool up)
{
    nats_rpc *r = (nats_rpc *)l->base.rpc;
    if (l->down == !up)
        return;
    l->down = !up;
    unsigned now = up ? atomic_fetch_add(&r->up, 1) + 1 : atomic_fetch_sub(&r->up, 1) - 1;
    unsigned links = atomic_load(&r->links);
    if (!up && now + 1 == links)
        crs_log_warn(l->base.loop->log,
                     "the connection to NATS is lost: other servers cannot be reached until it is back");
    else if (up && now == links)
        crs_log_info(l->base.loop->log, "the connection to NATS is back");
}

static void hear_by_new(nats_link *l)
{
    cereus_error err;
    size_t iter = 0;
    cereus_slice uid;
    void *value;
    if (l->serving) {
        l->old_requests = l->requests;
        l->old_binds = l->binds;
        l->requests = l->binds = NULL;
        if (subscribe(l, &err) != CEREUS_OK)
            crs_log_error(l->base.loop->log, "other servers do not reach us any more: start this server again",
                          CRS_STR("error", err.msg));
    }
    while (crs_strmap_next(&l->watched, &iter, &uid, &value)) {
        watched_user *w = value;
        w->old_push = w->push;
        w->old_kick = w->kick;
        w->push = w->kick = NULL;
        if (watch_user(l, uid, w))
            crs_log_error(l->base.loop->log, "out of memory: a user gets no pushes and kicks of other servers",
                          CRS_SLICE("uid", uid));
    }
}

static void hear_not_by_old(nats_link *l)
{
    size_t iter = 0;
    cereus_slice uid;
    void *value;
    crs_handover_end(&l->handover);
    l->forget_at_ms = l->base.loop->now_ms + FORGET_MS;
    l->hears_by_both = false;
    unsubscribe_old(l);
    while (crs_strmap_next(&l->watched, &iter, &uid, &value))
        forget_old(value);
}

static void leave_old(nats_link *l)
{
    fail_settling(l, l->old);
    l->old = retire(l->old);
}

static void look_later(nats_link *l)
{
    if (crs_loop_timer_start(l->base.loop, &l->moving, MOVING_LOOK_MS) == CEREUS_OK)
        return;
    has_arrived(l); /* out of memory */
    hear_not_by_old(l);
    leave_old(l);
}

/** Whether it is drained is asked when all NATS servers know of the new one, and not waited for for ever. */
static bool heard_enough(nats_link *l)
{
    uint64_t now_ms = l->base.loop->now_ms;
    if (!l->handover.holding)
        return true;
    if (l->down || !l->hold_until_ms || now_ms < l->hold_until_ms)
        return false;
    return (!l->drain && crs_nats_drain(&l->old->drain, &l->drain) == CEREUS_E_NOMEM) ||
           now_ms >= l->hold_until_ms + ECHO_MAX_MS;
}

static void ask_whether_arrived(nats_link *l)
{
    if (l->arriving && !l->arriving_asked) /* it may be full: later again */
        l->arriving_asked = crs_nats_echo(l->old->nats, ECHO_ARRIVED) == CEREUS_OK;
}

static void on_moving(crs_timer *timer)
{
    nats_link *l = CRS_CONTAINER(timer, nats_link, moving);
    uint64_t now_ms = l->base.loop->now_ms;
    if (l->hears_by_both && heard_enough(l))
        hear_not_by_old(l);
    ask_whether_arrived(l);
    if (now_ms >= l->wait_until_ms) /* the old one hangs, perhaps */
        end_waiting(l);
    bool sent = !l->arriving || now_ms >= l->leave_at_ms;
    if (l->old && !l->hears_by_both && sent && !old_has_calls(l)) {
        leave_old(l);
        if (l->now->lame)
            look_for_next(l);
    }
    bool forgets = !l->hears_by_both && now_ms >= l->forget_at_ms;
    if (forgets)
        crs_handover_forget(&l->handover);
    if (l->old || !forgets)
        look_later(l);
}

static void ask_whether_we_hear(nats_link *l)
{
    if (l->hears_by_both && crs_nats_echo(l->now->nats, ECHO_HEARS) != CEREUS_OK)
        l->hold_until_ms = l->base.loop->now_ms + HOLD_MS; /* no memory to ask */
}

static void hears(nats_link *l)
{
    if (!l->hears_by_both)
        return;
    l->hold_until_ms = l->base.loop->now_ms + HOLD_MS;
    crs_handover_hears(&l->handover);
}

/** The next connection is there. */
static void move(nats_link *l)
{
    bool lost = l->down;
    uint64_t now_ms = l->base.loop->now_ms;
    l->old = l->now;
    l->now = l->next;
    l->next = NULL;
    l->moved_at = l->sent;
    l->hold_until_ms = 0;
    l->hears_by_both = true;
    end_asking(l); /* its echoes come by the old one */
    l->arriving = l->waits = !lost;
    l->arriving_asked = false;
    l->wait_until_ms = now_ms + ECHO_MAX_MS;
    l->leave_at_ms = now_ms + LEAVE_MAX_MS;
    ask_whether_arrived(l);
    crs_handover_begin(&l->handover);
    hear_by_new(l);
    if (lost)
        hear_not_by_old(l);
    ask_whether_we_hear(l);
    link_is(l, true);
    if (!l->waits)
        send_waiting(l);
    look_later(l);
}

static bool nats_is_moving(const crs_rpc_link *link)
{
    return ((const nats_link *)link)->old;
}

static void on_state(void *user, bool up)
{
    way *w = user;
    nats_link *l = w->l;
    if (w == l->next) { /* lost before it was there, it looks for another server itself */
        if (up)
            move(l);
        return;
    }
    if (!up)
        fail_unsent(l, w);
    if (w == l->old) { /* it looks for another server, too: answers may come yet */
        has_arrived(l);
        if (l->hears_by_both)
            hear_not_by_old(l);
        return;
    }
    link_is(l, up);
    if (!up) {
        end_asking(l); /* no echo comes now */
        l->hold_until_ms = 0;
        l->drain = crs_nats_unsubscribe(l->drain); /* what comes now comes by the old one alone */
        return;
    }
    w->lame = false;
    l->next = retire(l->next); /* it has found one itself */
    ask_whether_we_hear(l);
    if (!l->waits)
        send_waiting(l);
}

/* ---- life of a link ---- */

static cereus_status nats_open(crs_rpc_link *link, cereus_error *err)
{
    nats_link *l = nats_of(link);
    nats_rpc *r = (nats_rpc *)link->rpc;
    l->opt = (crs_nats_options){
        .name = link->rpc->opt.self->id,
        .on_reply = on_reply,
        .on_no_responders = on_no_responders,
        .on_state = on_state,
        .on_lame = on_lame,
    };
    crs_nats_settings_apply(&r->settings, link->rpc->opt.config, &l->opt);
    l->now = make_way(l);
    if (!l->now)
        return crs_fail(err, CEREUS_E_NOMEM, "nats: out of memory");
    cereus_status st = crs_nats_connect(link->loop, &l->opt, &l->now->nats, err);
    if (st)
        l->now = free_way(l->now);
    if (st)
        return crs_fail_in(err, st, "%s: NATS cannot be reached%s", r->settings.key,
                           r->settings.speaks_tls ? " by TLS (cereus.cluster.rpc.nats.tls.ca says whom to trust)" : "");
    open_channels(l->now);
    crs_list_init(&l->retired);
    crs_handover_init(&l->handover, take, l);
    crs_timer_init(&l->moving, on_moving);
    crs_strmap_init(&l->watched);
    crs_strmap_init(&l->targets);
    crs_list_init(&l->outbox);
    crs_list_init(&l->settling);
    crs_bytes_init(&l->scratch, link->rpc->opt.request_max);
    atomic_fetch_add(&r->links, 1);
    atomic_fetch_add(&r->up, 1);
    return CEREUS_OK;
}

static cereus_status nats_serve(crs_rpc_link *link, cereus_error *err)
{
    nats_link *l = nats_of(link);
    l->serving = link->loop->index == 0; /* dispatch brings requests to their homes */
    return l->serving ? subscribe(l, err) : CEREUS_OK;
}

static void nats_close(crs_rpc_link *link)
{
    nats_link *l = nats_of(link);
    nats_rpc *r = (nats_rpc *)link->rpc;
    end_waiting(l); /* what waits is flushed with the rest */
    unsubscribe_old(l);
    l->requests = crs_nats_unsubscribe(l->requests);
    l->binds = crs_nats_unsubscribe(l->binds);
    crs_loop_timer_stop(link->loop, &l->moving);
    crs_handover_fini(&l->handover);
    size_t iter = 0;
    cereus_slice uid;
    void *value;
    while (crs_strmap_next(&l->watched, &iter, &uid, &value))
        free_watched(value);
    crs_strmap_fini(&l->watched);
    end_asking(l);
    iter = 0;
    while (crs_strmap_next(&l->targets, &iter, &uid, &value))
        crs_free(value); /* all calls have been ended */
    crs_strmap_fini(&l->targets);
    for (crs_list *at; (at = crs_list_pop(&l->outbox));) {
        CRS_COUNT(&link->loop->counters, rpc_replies_lost);
        crs_free(CRS_CONTAINER(at, waiting_message, link));
    }
    crs_bytes_fini(&l->scratch);
    atomic_fetch_sub(&r->links, 1);
    if (!l->down)
        atomic_fetch_sub(&r->up, 1);
    if (!r->flush_until_ms)
        r->flush_until_ms = crs_clock_ms(CLOCK_MONOTONIC) + CLOSE_FLUSH_MS;
    way *ways[] = {l->next, l->old, l->now};
    for (crs_list *at; (at = crs_list_pop(&l->retired));)
        crs_nats_close(CRS_CONTAINER(at, way, retired)->nats, 0, on_way_closed, CRS_CONTAINER(at, way, retired));
    for (size_t i = 0; i < CEREUS_COUNT(ways); i++) {
        if (ways[i])
            crs_nats_close(ways[i]->nats, r->flush_until_ms, on_way_closed, ways[i]);
    }
}

/* ---- what goes out ---- */

/** NULL: *ret_st says why. */
static target *target_of(nats_link *l, const cereus_server *to, cereus_status *ret_st)
{
    char subject[SUBJECT_MAX];
    int len = snprintf(subject, sizeof subject, "pitaya/servers/%s/%s", to->type, to->id);
    target *t = crs_strmap_get(&l->targets, cereus_slice_str(subject));
    if (t) {
        t->gone = false;
        return t;
    }
    *ret_st = CEREUS_E_INVALID;
    if (!good_name(cereus_slice_str(to->type)) || !good_name(cereus_slice_str(to->id)))
        return NULL;
    *ret_st = CEREUS_E_NOMEM;
    if (!(t = crs_zalloc(sizeof *t + (size_t)len + 1)))
        return NULL;
    crs_list_init(&t->calls);
    memcpy(t->subject, subject, (size_t)len + 1);
    if (crs_strmap_put(&l->targets, cereus_slice_str(subject), t, NULL) == CEREUS_OK)
        return t;
    crs_free(t);
    return NULL;
}

/** One whose server has left and will answer nothing more. NULL: none. */
static target *ended_target(const nats_link *l)
{
    size_t iter = 0;
    cereus_slice subject;
    void *value;
    while (crs_strmap_next(&l->targets, &iter, &subject, &value)) {
        target *t = value;
        if (t->gone && !t->asked && crs_list_empty(&t->calls))
            return t;
    }
    return NULL;
}

static void nats_server_gone(crs_rpc_link *link, const char *server_id)
{
    nats_link *l = nats_of(link);
    size_t iter = 0, len = strlen(server_id);
    cereus_slice subject;
    void *value;
    while (crs_strmap_next(&l->targets, &iter, &subject, &value)) {
        target *t = value;
        t->gone = t->gone || (subject.len > len && memcmp(subject.data + subject.len - len, server_id, len) == 0 &&
                              subject.data[subject.len - len - 1] == '/');
    }
    for (target *t; (t = ended_target(l));) {
        crs_strmap_del(&l->targets, cereus_slice_str(t->subject));
        crs_free(t);
    }
}

static cereus_status nats_send(crs_rpc_link *link, const cereus_server *to, cereus_slice request, crs_rpc_call *call)
{
    nats_link *l = nats_of(link);
    cereus_status st = CEREUS_OK;
    target *t = target_of(l, to, &st);
    if (st == CEREUS_E_INVALID) {
        crs_rpc_fail(call, CEREUS_E_UNAVAILABLE, "the id or the type of that server cannot be in a subject of NATS");
        return CEREUS_OK;
    }
    if (t)
        st = crs_nats_request(l->now->nats, t->subject, call->id, request);
    if (st == CEREUS_E_UNAVAILABLE) {
        crs_rpc_fail(call, st, away);
        return CEREUS_OK;
    }
    call->number = ++l->sent;
    call->sent_at = crs_nats_writes(l->now->nats);
    if (!st)
        crs_list_push(&t->calls, &call->queue);
    return st;
}

static cereus_status nats_settle(crs_rpc_link *link, crs_rpc_call *call)
{
    nats_link *l = nats_of(link);
    CEREUS_TRY(crs_nats_echo(l->now->nats, call->id));
    call->number = ++l->sent;
    crs_list_push(&l->settling, &call->queue);
    return CEREUS_OK;
}

/** It waits for NATS, if there is room. */
static cereus_status send_later(nats_link *l, const char *subject, cereus_slice data)
{
    size_t subject_len = strlen(subject), len = size_of_waiting(subject_len, data.len);
    if (data.len > crs_nats_payload_max(l->now->nats))
        return CEREUS_E_TOO_LONG;
    if (l->outbox_len + len > OUTBOX_MAX)
        return CEREUS_E_FULL;
    waiting_message *w = crs_malloc(len);
    if (!w)
        return CEREUS_E_NOMEM;
    w->subject_len = subject_len;
    w->len = data.len;
    memcpy(w->bytes, subject, subject_len + 1);
    if (data.len)
        memcpy(w->bytes + subject_len + 1, data.data, data.len);
    crs_list_push(&l->outbox, &w->link);
    l->outbox_len += len;
    return CEREUS_OK;
}

/** Behind what was sent before it. */
static cereus_status send_in_order(nats_link *l, const char *subject, cereus_slice data)
{
    if (l->down)
        return CEREUS_E_UNAVAILABLE;
    if (l->waits || !crs_list_empty(&l->outbox))
        return send_later(l, subject, data);
    return crs_nats_publish(l->now->nats, subject, data);
}

static cereus_status nats_reply(crs_rpc_link *link, cereus_slice reply_to, cereus_slice response)
{
    nats_link *l = nats_of(link);
    char subject[SUBJECT_MAX];
    if (reply_to.len >= sizeof subject)
        return CEREUS_E_INVALID;
    memcpy(subject, reply_to.data, reply_to.len);
    subject[reply_to.len] = '\0';
    cereus_status st = send_in_order(l, subject, response);
    return st == CEREUS_E_UNAVAILABLE ? send_later(l, subject, response) : st;
}

static void trim(nats_link *l)
{
    if (l->scratch.cap > 1 << 20)
        crs_bytes_fini(&l->scratch);
}

/** To a frontend of ours: all users in one message. */
static cereus_status send_many(crs_rpc_link *link, const char *server_id, crs_peer_kind kind, const cereus_slice *parts,
                               size_t part_count)
{
    CRS_UNUSED(kind);
    nats_link *l = nats_of(link);
    char subject[SUBJECT_MAX];
    if (!good_name(cereus_slice_str(server_id)))
        return CEREUS_E_UNAVAILABLE;
    snprintf(subject, sizeof subject, "pitaya/servers/%s/%s", l->many_type, server_id);
    l->scratch.len = 0;
    CEREUS_TRY(crs_mark_encode(CRS_PEER_MANY, &l->scratch));
    for (size_t i = 0; i < part_count; i++)
        CEREUS_TRY(crs_bytes_append(&l->scratch, parts[i].data, parts[i].len));
    return send_in_order(l, subject, crs_bytes_slice(&l->scratch));
}

/** Are there fewer frontends than users, all of them ours? Then a message to each of them is enough. */
static bool takes_many(nats_link *l, const char *type, const crs_servers *servers, cereus_slice route,
                       cereus_slice data, const cereus_slice *uids, size_t count)
{
    size_t server_count, first = crs_servers_of_type(servers, cereus_slice_str(type), &server_count);
    size_t len = route.len + data.len;
    size_t others = 0;
    if (count < MANY_MIN || count <= server_count)
        return false;
    for (size_t i = 0; i < count; i++)
        len += uids[i].len + 2;
    for (size_t i = first; i < first + server_count; i++) {
        const cereus_server *s = crs_server_view(crs_servers_at(servers, i));
        if (strcmp(s->id, l->base.rpc->opt.self->id) == 0)
            continue;
        if (!l->base.events->is_cereus(l->base.user, s->id))
            return false;
        others += s->frontend;
    }
    size_t max = CRS_MIN((size_t)MANY_MAX, crs_nats_payload_max(l->now->nats));
    return others > 0 && len + MANY_HEAD_MAX < max; /* where the list has nobody, somebody may hear all the same */
}

/** One message for each user, as Pitaya's servers expect, or one for each frontend of ours. */
static cereus_status nats_push(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice route,
                               cereus_slice data, const cereus_slice *uids, size_t count)
{
    nats_link *l = nats_of(link);
    char subject[SUBJECT_MAX];
    cereus_status st = CEREUS_OK;
    if (!good_name(cereus_slice_str(type)))
        return CEREUS_E_INVALID;
    if (takes_many(l, type, servers, route, data, uids, count)) {
        l->many_type = type;
        st = crs_peers_push(link, type, servers, route, data, uids, count, send_many);
        trim(l);
        return st;
    }
    for (size_t i = 0; !st && i < count; i++) {
        if (!user_subject(subject, type, uids[i], "push"))
            return CEREUS_E_INVALID;
        l->scratch.len = 0;
        st = crs_push_encode(&(crs_push_msg){.route = route, .uid = uids[i], .data = data}, &l->scratch);
        if (!st)
            st = send_in_order(l, subject, crs_bytes_slice(&l->scratch));
    }
    trim(l);
    return st;
}

static cereus_status nats_kick(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice uid)
{
    CRS_UNUSED(servers);
    nats_link *l = nats_of(link);
    char subject[SUBJECT_MAX];
    if (!good_name(cereus_slice_str(type)))
        return CEREUS_E_INVALID;
    if (!user_subject(subject, type, uid, "kick"))
        return CEREUS_E_INVALID;
    l->scratch.len = 0;
    CEREUS_TRY(crs_kick_encode(uid, &l->scratch));
    return send_in_order(l, subject, crs_bytes_slice(&l->scratch));
}

static cereus_status nats_announce(crs_rpc_link *link, const crs_servers *servers, const crs_bind_msg *bind)
{
    CRS_UNUSED(servers);
    nats_link *l = nats_of(link);
    char subject[SUBJECT_MAX];
    snprintf(subject, sizeof subject, "pitaya/%s/bindings", link->rpc->opt.self->type);
    l->scratch.len = 0;
    CEREUS_TRY(crs_bind_encode(bind, &l->scratch));
    return send_in_order(l, subject, crs_bytes_slice(&l->scratch));
}

/* ---- users who are bound here ---- */

static bool nats_can_be_user(const char *uid)
{
    return good_name(cereus_slice_str(uid));
}

static cereus_status nats_watch(crs_rpc_link *link, const char *uid)
{
    nats_link *l = nats_of(link);
    cereus_slice key = cereus_slice_str(uid);
    watched_user *w = crs_strmap_get(&l->watched, key);
    if (w) {
        w->refs++;
        return CEREUS_OK;
    }
    if (!(w = crs_zalloc(sizeof *w)))
        return CEREUS_E_NOMEM;
    w->refs = 1;
    cereus_status st = watch_user(l, key, w);
    if (!st)
        st = crs_strmap_put(&l->watched, key, w, NULL);
    if (st)
        free_watched(w);
    return st;
}

static void nats_unwatch(crs_rpc_link *link, const char *uid)
{
    nats_link *l = nats_of(link);
    watched_user *w = crs_strmap_get(&l->watched, cereus_slice_str(uid));
    if (!w || --w->refs > 0) /* a bind that failed was never watched */
        return;
    crs_strmap_del(&l->watched, cereus_slice_str(uid));
    free_watched(w);
}

const crs_rpc_ops crs_rpc_nats = {
    .name = "nats",
    .rpc_size = sizeof(nats_rpc),
    .link_size = sizeof(nats_link),
    .init = nats_init,
    .fini = nats_fini,
    .open = nats_open,
    .serve = nats_serve,
    .close = nats_close,
    .send = nats_send,
    .reply = nats_reply,
    .push = nats_push,
    .kick = nats_kick,
    .announce = nats_announce,
    .can_be_user = nats_can_be_user,
    .watch = nats_watch,
    .unwatch = nats_unwatch,
    .server_gone = nats_server_gone,
    .settle = nats_settle,
    .is_moving = nats_is_moving,
    .connected = nats_connected,
};
