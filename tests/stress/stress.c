/* tests/stress: everything at once, as the numbers want it. A server with a small bound here and a large one there is
 * talked to by crowds of clients (crowd.h), while its handlers, bind and close callbacks, pipelines, timers, and tasks that
 * other threads spawn bind, kick, close, push and use groups on sessions of all loops, also on those that have ended. What must
 * hold whatever happens:
 *
 * - every session's close callbacks run exactly once: the app's, and its own that were added with CEREUS_OK;
 * - when all is quiet the count of sessions is the number of clients that are connected, and all questions are answered;
 * - every call ends with a status that its header names;
 * - the app stops within its time, also while everybody talks, whoever asks for it.
 *
 *     stress [--rounds N] [--steps N]
 *
 * Each round says its seed; CEREUS_STRESS_SEED=N plays that one round again (threads make no two runs the same, but what
 * each of them does is). The numbers are drawn anew with each run.
 */
#include "game.h"

#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "crowd.h"

enum {
    CROWDS = 2,
    PEERS = 12,
    SPAWNERS = 2,
    UIDS = 10,
    GROUPS = 4,
    SEEN = 32,
    RECORDS = 1 << 17,
    TIMERS = 5000,
    PART_STEPS = 1000,               /* then all stop, and the numbers must be right */
    ROUND_S = GAME_SCALE(120, 600),  /* then it hangs */
    STEPS = GAME_SCALE(20000, 6000), /* of a crowd, in a round */
    ROUNDS = GAME_SCALE(3, 2),
};

static atomic_uint_fast64_t seen[SEEN]; /* sessions, also ended ones */
static atomic_size_t hooks_added, hooks_run, tasks_begun, tasks_ended, closes;
static atomic_bool may_stop; /* whoever wants to may stop the app */
static atomic_bool no_tasks; /* spawn none any more */

static const uint8_t much[1000];

typedef struct ticking {
    _Atomic cereus_timer_id id;
    int64_t calls_max; /* set before the timer is made */
    atomic_llong calls;
    atomic_bool running;
} ticking;

static ticking timers[TIMERS]; /* the first timer_count were made, or could not be */
static atomic_size_t timer_count;

/* ---- what became of each session ---- */

typedef struct record {
    cereus_session_id id; /* 0: unused */
    bool known, ended;
} record;

static record records[RECORDS]; /* guarded by records_mu */
static pthread_mutex_t records_mu = PTHREAD_MUTEX_INITIALIZER;

static record *record_of_locked(cereus_session_id id)
{
    for (size_t i = (size_t)(id * 0x9e3779b97f4a7c15u >> 47);; i++) {
        record *r = &records[i % RECORDS];
        if (r->id == id || r->id == 0) {
            r->id = id;
            return r;
        }
    }
}

static void record_known(cereus_session_id id)
{
    pthread_mutex_lock(&records_mu);
    record_of_locked(id)->known = true;
    pthread_mutex_unlock(&records_mu);
}

static void record_end(cereus_session_id id)
{
    pthread_mutex_lock(&records_mu);
    record *r = record_of_locked(id);
    CHECK(!r->ended);
    r->ended = true;
    pthread_mutex_unlock(&records_mu);
}

static void check_all_known_have_ended(void)
{
    pthread_mutex_lock(&records_mu);
    for (size_t i = 0; i < RECORDS; i++)
        CHECK(!records[i].known || records[i].ended);
    memset(records, 0, sizeof records);
    pthread_mutex_unlock(&records_mu);
}

/* ---- what code of the game does ---- */

/** The numbers of one piece of game code. */
typedef struct dice {
    uint32_t seed;
} dice;

static uint32_t roll(dice *d, uint32_t sides)
{
    return crowd_dice(&d->seed) % sides;
}

static void *number(uint32_t n)
{
    return (void *)(uintptr_t)n;
}

#define ONE_OF(call, ...)                                                                            \
    do {                                                                                             \
        cereus_status one_ = (call);                                                                 \
        const cereus_status of_[] = {CEREUS_OK, __VA_ARGS__};                                        \
        bool found_ = false;                                                                         \
        for (size_t i_ = 0; i_ < CEREUS_COUNT(of_); i_++)                                            \
            found_ |= one_ == of_[i_];                                                               \
        if (!found_) {                                                                               \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cereus_status_name(one_)); \
            abort();                                                                                 \
        }                                                                                            \
    } while (0)

static void act(cereus_ctx *ctx, cereus_session *self, dice *d);

static void on_own_close(cereus_ctx *ctx, void *user)
{
    int *calls = user; /* its own block: a second call is a use after free */
    CHECK(++*calls == 1);
    free(calls);
    atomic_fetch_add(&hooks_run, 1);
    CHECK(cereus_session_kick(ctx, cereus_ctx_session(ctx)) == CEREUS_E_GONE);
}

static void add_close_hook(cereus_ctx *ctx, cereus_session *s)
{
    int *calls = calloc(1, sizeof *calls);
    CHECK(calls);
    atomic_fetch_add(&hooks_added, 1); /* before: it may run before this returns */
    cereus_status st = cereus_session_on_close(ctx, s, on_own_close, calls);
    if (st) {
        CHECK(st == CEREUS_E_GONE || st == CEREUS_E_FULL);
        free(calls);
        atomic_fetch_sub(&hooks_added, 1);
    }
}

static void task(cereus_ctx *ctx, void *user)
{
    dice d = {(uint32_t)(uintptr_t)user};
    CHECK(!cereus_ctx_session(ctx));
    for (uint32_t n = 1 + roll(&d, 3); n > 0; n--)
        act(ctx, NULL, &d);
    atomic_fetch_add(&tasks_ended, 1);
}

static const char *service_of(dice *d)
{
    static const char *const services[] = {NULL, "here", "one", "two", "key"};
    return services[roll(d, CEREUS_COUNT(services))];
}

static void spawn(cereus_app *app, dice *d)
{
    if (atomic_load(&no_tasks))
        return;
    atomic_fetch_add(&tasks_begun, 1);
    cereus_status st = cereus_app_spawn(app, service_of(d), task, number(crowd_dice(&d->seed)));
    if (st) {
        CHECK(st == CEREUS_E_FULL);
        atomic_fetch_sub(&tasks_begun, 1);
    }
}

static cereus_status on_timer(cereus_ctx *ctx, void *user)
{
    ticking *t = user;
    dice d = {(uint32_t)(uintptr_t)t * 7 + (uint32_t)atomic_load(&closes)};
    CHECK(atomic_fetch_add(&t->calls, 1) < t->calls_max);
    CHECK(!atomic_exchange(&t->running, true)); /* it never overlaps itself */
    if (!atomic_load(&no_tasks))
        act(ctx, NULL, &d);
    atomic_store(&t->running, false);
    return roll(&d, 8) ? CEREUS_OK : cereus_fail(ctx, NULL, "as the numbers want");
}

/** Make one, or stop one. Thread: any. */
static void use_timer(cereus_app *app, dice *d)
{
    if (roll(d, 3) == 0) {
        cereus_timer_id id = atomic_load(&timers[roll(d, TIMERS)].id);
        ONE_OF(cereus_timer_stop(app, id), CEREUS_E_GONE);
        return;
    }
    size_t i = atomic_fetch_add(&timer_count, 1);
    if (i >= TIMERS || atomic_load(&no_tasks))
        return;
    ticking *t = &timers[i];
    t->calls_max = 1 + roll(d, 4);
    cereus_timer_id id = 0;
    ONE_OF(cereus_timer_count(app, service_of(d), 1 + roll(d, 5), t->calls_max, on_timer, t, &id, NULL), CEREUS_E_FULL,
           CEREUS_E_STATE);
    atomic_store(&t->id, id);
}

static void compute(void *user)
{
    uint32_t *n = user;
    for (int i = 0; i < 1000; i++)
        crowd_dice(n);
}

static bool picks(cereus_ctx *ctx, const char *uid, void *user)
{
    return roll(user, 2);
}

static void use_group(cereus_ctx *ctx, const char *uid, dice *d)
{
    const char *group = cereus_ctx_printf(ctx, "g%u", roll(d, GROUPS));
    const char *const *members;
    size_t count;
    bool is;
    switch (roll(d, 12)) {
    case 0:
        ONE_OF(cereus_group_create(ctx, group), CEREUS_E_EXISTS);
        break;
    case 1:
        ONE_OF(cereus_group_create_ttl(ctx, group, 1 + roll(d, 50)), CEREUS_E_EXISTS);
        break;
    case 2:
        ONE_OF(cereus_group_renew_ttl(ctx, group), CEREUS_E_NOT_FOUND, CEREUS_E_STATE);
        break;
    case 3:
        if (roll(d, 8) == 0)
            ONE_OF(cereus_group_delete(ctx, group), CEREUS_E_NOT_FOUND);
        break;
    case 4:
    case 5:
        ONE_OF(cereus_group_add(ctx, group, uid), CEREUS_E_NOT_FOUND, CEREUS_E_EXISTS);
        break;
    case 6:
        ONE_OF(cereus_group_remove(ctx, group, uid), CEREUS_E_NOT_FOUND);
        break;
    case 7:
        if (roll(d, 4) == 0)
            ONE_OF(cereus_group_remove_all(ctx, group), CEREUS_E_NOT_FOUND);
        break;
    case 8:
        ONE_OF(cereus_group_contains(ctx, group, uid, &is), CEREUS_E_NOT_FOUND);
        ONE_OF(cereus_group_count(ctx, group, &count), CEREUS_E_NOT_FOUND);
        break;
    case 9:
        if (cereus_group_members(ctx, group, &members, &count) == CEREUS_OK) {
            for (size_t i = 0; i < count; i++)
                CHECK(members[i][0] == 'u');
        }
        break;
    case 10:
        ONE_OF(
            cereus_group_broadcast(ctx, NULL, group, "on.group", cereus_json(cereus_ctx_keep(ctx, json_string(uid)))),
            CEREUS_E_NOT_FOUND, CEREUS_E_FAILED);
        break;
    default:
        ONE_OF(cereus_group_multicast(ctx, NULL, group, "on.some", cereus_text(uid), picks, d), CEREUS_E_NOT_FOUND,
               CEREUS_E_FAILED);
    }
}

static void use_data(cereus_ctx *ctx, cereus_session *s, dice *d)
{
    const char *key = cereus_ctx_printf(ctx, "k%u", roll(d, 4));
    switch (roll(d, 5)) {
    case 0:
        ONE_OF(cereus_session_set(ctx, s, key, json_integer(roll(d, 100))), CEREUS_E_GONE, CEREUS_E_FULL);
        break;
    case 1:
        ONE_OF(cereus_session_remove(ctx, s, key), CEREUS_E_GONE, CEREUS_E_FULL);
        break;
    case 2:
        ONE_OF(cereus_session_set_data(ctx, s, json_pack("{s:i}", "k0", 1)), CEREUS_E_GONE, CEREUS_E_FULL);
        break;
    case 3:
        CHECK(cereus_session_get_int(ctx, s, key) < 100);
        break;
    default:
        cereus_session_data(ctx, s);
        cereus_session_handshake(ctx, s);
    }
}

static void wait_somehow(cereus_ctx *ctx, dice *d)
{
    uint32_t n = roll(d, 1000);
    switch (roll(d, 4)) {
    case 0:
        ONE_OF(cereus_yield(ctx), CEREUS_E_CANCELLED, CEREUS_E_TIMEOUT);
        break;
    case 1:
        ONE_OF(cereus_offload(ctx, compute, &n), CEREUS_E_FULL, CEREUS_E_CANCELLED, CEREUS_E_TIMEOUT);
        break;
    case 2:
        cereus_ctx_set_deadline(ctx, roll(d, 3));
        ONE_OF(cereus_sleep(ctx, 2), CEREUS_E_CANCELLED, CEREUS_E_TIMEOUT);
        cereus_ctx_set_deadline(ctx, 0);
        break;
    default:
        ONE_OF(cereus_sleep(ctx, roll(d, 4)), CEREUS_E_CANCELLED, CEREUS_E_TIMEOUT);
    }
}

/** One thing, to @p self (NULL: none) or to somebody else. */
static void act(cereus_ctx *ctx, cereus_session *self, dice *d)
{
    const char *uid = cereus_ctx_printf(ctx, "u%u", roll(d, UIDS));
    const char *const uids[] = {uid, "u1", "u2", "nobody"};
    const char *failed[CEREUS_COUNT(uids)];
    size_t failed_count = 0;
    cereus_session *s = self;
    if (!s || roll(d, 3) == 0)
        s = roll(d, 2) ? cereus_session_from_uid(ctx, uid) : NULL;
    if (!s)
        s = cereus_session_from_id(ctx, atomic_load(&seen[roll(d, SEEN)]));
    CHECK(s);
    switch (roll(d, 24)) {
    case 0:
    case 1:
    case 2:
    case 3:
        ONE_OF(cereus_session_bind(ctx, s, roll(d, 50) ? uid : ""), CEREUS_E_FAILED, CEREUS_E_BOUND, CEREUS_E_INVALID,
               CEREUS_E_GONE, CEREUS_E_FULL, CEREUS_E_CANCELLED);
        break;
    case 4:
        ONE_OF(cereus_session_kick(ctx, s), CEREUS_E_GONE, CEREUS_E_FULL);
        break;
    case 5:
        ONE_OF(cereus_session_close(ctx, s), CEREUS_E_GONE, CEREUS_E_FULL);
        break;
    case 6:
    case 7:
        ONE_OF(cereus_session_push(ctx, s, "on.one", cereus_text(uid)), CEREUS_E_GONE, CEREUS_E_FULL);
        break;
    case 8:
        ONE_OF(cereus_push_to_users(ctx, "on.users", cereus_text(uid), uids, CEREUS_COUNT(uids), NULL, failed,
                                    &failed_count),
               CEREUS_E_FAILED);
        CHECK(failed_count >= 1 && failed_count <= CEREUS_COUNT(uids)); /* nobody is never there */
        break;
    case 9:
        ONE_OF(cereus_kick_users(ctx, uids, 1 + roll(d, 2), NULL, failed, &failed_count), CEREUS_E_FAILED);
        break;
    case 10:
    case 11:
    case 12:
    case 13:
        use_group(ctx, uid, d);
        break;
    case 14:
    case 15:
        use_data(ctx, s, d);
        break;
    case 16:
        add_close_hook(ctx, s);
        break;
    case 17:
        CHECK(cereus_session_uid(s) && cereus_session_remote_addr(s));
        break;
    case 18:
        if (roll(d, 2))
            spawn(cereus_ctx_app(ctx), d);
        else
            use_timer(cereus_ctx_app(ctx), d);
        break;
    case 19:
        if (atomic_load(&may_stop) && roll(d, 8) == 0)
            cereus_app_shutdown(cereus_ctx_app(ctx));
        break;
    case 20:
        for (uint32_t n = roll(d, 20); n > 0; n--) /* more than a small outbox holds */
            ONE_OF(cereus_session_push(ctx, s, "on.much", cereus_raw(cereus_slice_of(much, sizeof much))),
                   CEREUS_E_GONE, CEREUS_E_FULL);
        break;
    default:
        wait_somehow(ctx, d);
    }
}

static cereus_status handle(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    dice d = {(uint32_t)strtoul(text_of(in), NULL, 10)};
    cereus_session *s = cereus_ctx_session(ctx);
    cereus_session_id id = cereus_session_get_id(s);
    record_known(id);
    atomic_store(&seen[id % SEEN], id);
    if (d.seed) /* 0: only an answer */
        act(ctx, s, &d);
    if (out && d.seed && roll(&d, 8) == 0)
        return cereus_fail(ctx, "NO", "as the numbers want");
    return out ? reply_text(out, "ok") : CEREUS_OK;
}

/** "id:n": n pushes, then how many were made. */
static cereus_status sequence(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    unsigned long long id;
    unsigned count, made = 0;
    CHECK(sscanf(text_of(in), "%llu:%u", &id, &count) == 2);
    for (unsigned i = 0; i < count; i++) {
        cereus_status st = cereus_session_push(ctx, cereus_ctx_session(ctx), "seq",
                                               cereus_text(cereus_ctx_printf(ctx, "%llu:%u", id, made)));
        CHECK(st == CEREUS_OK || st == CEREUS_E_GONE || st == CEREUS_E_FULL);
        made += st == CEREUS_OK;
        if (i == 2)
            cereus_yield(ctx);
    }
    return reply_text(out, cereus_ctx_printf(ctx, "seq %llu:%u", id, made));
}

static cereus_status on_bind(cereus_ctx *ctx, void *user)
{
    cereus_session *s = cereus_ctx_session(ctx);
    dice d = {(uint32_t)cereus_session_get_id(s) * 31 + (uint32_t)(uintptr_t)user};
    d.seed += (uint32_t)atomic_load(&closes);
    if (roll(&d, 2))
        act(ctx, s, &d);
    return roll(&d, 6) ? CEREUS_OK : cereus_fail(ctx, "NO-BIND", "as the numbers want");
}

static void on_close(cereus_ctx *ctx, void *user)
{
    cereus_session *s = cereus_ctx_session(ctx);
    cereus_session_id id = cereus_session_get_id(s);
    dice d = {(uint32_t)id * 17};
    record_end(id);
    CHECK(cereus_session_close(ctx, s) == CEREUS_E_GONE);
    CHECK(cereus_session_push(ctx, s, "late", cereus_text("x")) == CEREUS_E_GONE);
    CHECK(cereus_session_bind(ctx, s, "u1") == CEREUS_E_GONE);
    const char *uid = cereus_session_uid(s);
    cereus_session *now = *uid ? cereus_session_from_uid(ctx, uid) : NULL;
    CHECK(!now || cereus_session_get_id(now) != id); /* it cannot be found any more */
    for (uint32_t n = roll(&d, 3); n > 0; n--)
        act(ctx, s, &d);
    atomic_fetch_add(&closes, 1);
}

static cereus_status before(cereus_ctx *ctx, cereus_value *in, void *user)
{
    dice d = {(uint32_t)cereus_session_get_id(cereus_ctx_session(ctx)) + (uint32_t)atomic_load(&closes)};
    if (roll(&d, 16) == 0)
        act(ctx, cereus_ctx_session(ctx), &d);
    return roll(&d, 64) ? CEREUS_OK : cereus_fail(ctx, "NO-CALL", "as the numbers want");
}

static cereus_status after(cereus_ctx *ctx, cereus_value *out, cereus_status status, void *user)
{
    dice d = {(uint32_t)cereus_session_get_id(cereus_ctx_session(ctx)) * 3 + (uint32_t)atomic_load(&closes)};
    if (roll(&d, 16) == 0)
        act(ctx, cereus_ctx_session(ctx), &d);
    return status;
}

static cereus_status validate(const json_t *handshake, void *user)
{
    return json_object_get(json_object_get(handshake, "user"), "refuse") ? CEREUS_E_INVALID : CEREUS_OK;
}

static uint64_t key_of(cereus_session *session, const char *method, cereus_slice body, void *user)
{
    return cereus_session_get_id(session) + body.len;
}

static void make_groups(cereus_ctx *ctx, void *user)
{
    for (unsigned i = 0; i < GROUPS; i++)
        CHECK(cereus_group_create(ctx, cereus_ctx_printf(ctx, "g%u", i)) == CEREUS_OK);
}

static void check_nobody_is_bound(cereus_ctx *ctx, void *user)
{
    for (unsigned i = 0; i < UIDS; i++)
        CHECK(!cereus_session_from_uid(ctx, cereus_ctx_printf(ctx, "u%u", i)));
    atomic_fetch_add(&tasks_ended, 1);
}

/* ---- a round ---- */

static const cereus_method methods[] = {
    CEREUS_RAW_REQUEST("act", handle),
    CEREUS_RAW_REQUEST("seq", sequence),
    CEREUS_RAW_NOTIFY("note", handle),
    {.name = "beside", .in = CEREUS_RAW, .out = CEREUS_RAW, .raw = handle, .flags = CEREUS_CONCURRENT},
};
static const cereus_service_options at_session = {.home = CEREUS_HOME_SESSION};
static const cereus_service_options by_key = {.home = CEREUS_HOME_KEY, .key = key_of};

typedef struct round {
    game *game;
    uint32_t seed;
    unsigned steps; /* of each crowd, in this part */
    crowd *crowds[CROWDS];
    bool until_stopped; /* whatever the steps: somebody stops the app meanwhile */
    atomic_bool stopped;
    atomic_bool over; /* for the spawners */
} round;

typedef struct worker {
    round *r;
    unsigned index;
    pthread_t thread;
} worker;

static void *run_crowd(void *arg)
{
    worker *w = arg;
    for (unsigned i = 0; w->r->until_stopped ? !atomic_load(&w->r->stopped) : i < w->r->steps; i++)
        crowd_step(w->r->crowds[w->index]);
    return NULL;
}

/** Ask and spawn from a thread that is none of the app's. */
static void *run_spawner(void *arg)
{
    worker *w = arg;
    dice d = {w->r->seed + w->index};
    cereus_app *app = w->r->game->app;
    while (!atomic_load(&w->r->over)) {
        if (atomic_load(&tasks_begun) - atomic_load(&tasks_ended) < 200)
            spawn(app, &d);
        if (roll(&d, 8) == 0)
            use_timer(app, &d);
        CHECK(cereus_app_session_count(app) <= 1000);
        cereus_app_counter(app, "binds");
        if (roll(&d, 4) == 0)
            poll(NULL, 0, 1);
        if (atomic_load(&may_stop) && roll(&d, 100) == 0)
            cereus_app_shutdown(app);
    }
    return NULL;
}

static void set(game *g, dice *d, const char *key, const char *small, const char *large)
{
    game_set(g, key, roll(d, 2) ? small : large);
}

static uint16_t port(game *g, size_t index)
{
    return (uint16_t)atoi(strrchr(cereus_app_address(g->app, index), ':') + 1);
}

static game *make_game(dice *d, crowd_options *ret_opt)
{
    game *g = game_new(1 + roll(d, 4));
    bool drop = roll(d, 2), pitaya = roll(d, 3) == 0;
    set(g, d, "cereus.inbox.messages", "2", "64");
    set(g, d, "cereus.outbox.bytes", "4KiB", "1MiB");
    set(g, d, "cereus.mailbox.capacity", "64", "65536");
    set(g, d, "cereus.fibers.max", "3", "10000");
    set(g, d, "cereus.handshake.timeout", "1s", "30s");
    set(g, d, "cereus.timers.max", "10", "100000");
    set(g, d, "pitaya.handler.messages.compression", "true", "false");
    game_set(g, "pitaya.groups.memory.tickduration", "20ms");
    game_set(g, "cereus.fibers.stack", "256KiB");
    game_set(g, "cereus.outbox.policy", drop ? "drop" : "disconnect");
    game_set(g, "cereus.session.ordering", pitaya ? "pitaya" : "strict");
    GAME_SERVE(g, "one", methods, NULL);
    GAME_SERVE(g, "two", methods, NULL);
    GAME_SERVE(g, "here", methods, &at_session);
    GAME_SERVE(g, "key", methods, &by_key);
    CHECK(cereus_app_before(g->app, before, NULL) == CEREUS_OK && cereus_app_after(g->app, after, NULL) == CEREUS_OK);
    CHECK(cereus_app_on_session_bind(g->app, on_bind, number(1)) == CEREUS_OK);
    CHECK(cereus_app_on_after_session_bind(g->app, on_bind, number(2)) == CEREUS_OK);
    CHECK(cereus_app_on_session_close(g->app, on_close, NULL) == CEREUS_OK);
    CHECK(cereus_app_add_handshake_validator(g->app, "stress", validate, NULL) == CEREUS_OK);
    CHECK(cereus_app_spawn(g->app, NULL, make_groups, NULL) == CEREUS_OK);
    game_start(g);
    *ret_opt = (crowd_options){
        .peer_count = PEERS, .tcp_port = port(g, 0), .ws_port = port(g, 1), .in_order = !pitaya, .all_pushes = !drop};
    return g;
}

/** Everybody has left or been answered, and the server's numbers agree with the clients'. */
static void check_quiet(round *r)
{
    for (;;) { /* ROUND_S ends it; nothing tells when a server is quiet, looking is the only way */
        size_t connected = 0, waiting = 0, more;
        for (unsigned i = 0; i < CROWDS; i++) {
            connected += crowd_listen(r->crowds[i], &more);
            waiting += more;
        }
        cereus_app *app = r->game->app;
        size_t count = cereus_app_session_count(app);
        size_t ended = (size_t)cereus_app_counter(app, "sessions_closed");
        if (waiting == 0 && count == connected && atomic_load(&closes) == ended &&
            cereus_app_counter(app, "sessions_opened") - ended == count &&
            atomic_load(&tasks_begun) == atomic_load(&tasks_ended))
            return;
        poll(NULL, 0, 1);
    }
}

static void start_workers(round *r, worker *workers, unsigned count, void *(*run)(void *))
{
    for (unsigned i = 0; i < count; i++) {
        workers[i] = (worker){.r = r, .index = i};
        CHECK(pthread_create(&workers[i].thread, NULL, run, &workers[i]) == 0);
    }
}

static void join_workers(worker *workers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
}

static void play_part(round *r, bool stop)
{
    worker crowds[CROWDS], spawners[SPAWNERS];
    r->until_stopped = stop;
    atomic_store(&r->over, false);
    atomic_store(&no_tasks, false);
    start_workers(r, crowds, CROWDS, run_crowd);
    start_workers(r, spawners, SPAWNERS, run_spawner);
    if (stop) {
        atomic_store(&may_stop, true);
        cereus_app_wait(r->game->app, false);
        atomic_store(&r->stopped, true);
        r->game->stopped = true;
        atomic_store(&may_stop, false);
    }
    join_workers(crowds, CROWDS);
    atomic_store(&r->over, true);
    join_workers(spawners, SPAWNERS);
    if (stop)
        return;
    atomic_store(&no_tasks, true);
    for (unsigned i = 0; i < CROWDS; i++)
        crowd_settle(r->crowds[i]);
    check_quiet(r);
}

static void play_round(uint32_t seed, unsigned steps)
{
    dice d = {seed};
    round r = {.seed = seed, .steps = PART_STEPS};
    crowd_options opt;
    r.game = make_game(&d, &opt);
    for (unsigned i = 0; i < CROWDS; i++) {
        opt.seed = crowd_dice(&d.seed);
        r.crowds[i] = crowd_new(&opt);
    }
    for (unsigned done = PART_STEPS; done < steps; done += PART_STEPS)
        play_part(&r, false);
    bool stop = roll(&d, 2);
    play_part(&r, stop);
    for (unsigned i = 0; i < CROWDS; i++)
        r.crowds[i] = crowd_free(r.crowds[i]);
    if (!stop) {
        game_await_sessions(r.game, 0);
        atomic_fetch_add(&tasks_begun, 1);
        CHECK(cereus_app_spawn(r.game->app, NULL, check_nobody_is_bound, NULL) == CEREUS_OK);
        while (atomic_load(&tasks_begun) != atomic_load(&tasks_ended))
            poll(NULL, 0, 1);
        uint64_t opened = cereus_app_counter(r.game->app, "sessions_opened");
        game_stop(r.game);
        CHECK(atomic_load(&closes) == opened);
    }
    game_end(r.game);
    CHECK(atomic_load(&hooks_run) == atomic_load(&hooks_added));
    check_all_known_have_ended();
    printf("round with seed %u: %zu sessions, %zu close callbacks of their own, %zu tasks, %s\n", seed,
           atomic_load(&closes), atomic_load(&hooks_run), atomic_load(&tasks_ended), stop ? "stopped" : "left");
    fflush(stdout);
    for (size_t i = 0; i < SEEN; i++) /* the next app gives the same ids to others */
        atomic_store(&seen[i], 0);
    atomic_store(&closes, 0);
    memset(timers, 0, sizeof timers);
    atomic_store(&timer_count, 0);
    atomic_store(&hooks_run, 0);
    atomic_store(&hooks_added, 0);
    atomic_store(&tasks_begun, 0);
    atomic_store(&tasks_ended, 0);
}

/* ---- all of it ---- */

static atomic_uint current_seed;

static void say_seed(int number)
{
    char text[128];
    int len = snprintf(text, sizeof text, "stress: signal %d in the round of CEREUS_STRESS_SEED=%u%s\n", number,
                       atomic_load(&current_seed), number == SIGALRM ? ": it hangs" : "");
    if (write(STDERR_FILENO, text, (size_t)len) < 0 || number == SIGALRM)
        abort();
    signal(number, SIG_DFL);
    raise(number);
}

int main(int argc, char **argv)
{
    unsigned rounds = ROUNDS, steps = STEPS;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--steps") == 0)
            steps = (unsigned)atoi(argv[i + 1]);
    }
    signal(SIGALRM, say_seed);
    signal(SIGABRT, say_seed);
    const char *again = getenv("CEREUS_STRESS_SEED");
    for (unsigned i = 0; i < (again ? 1 : rounds); i++) {
        uint32_t seed;
        CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed);
        if (again)
            seed = (uint32_t)strtoul(again, NULL, 10);
        atomic_store(&current_seed, seed);
        alarm(ROUND_S);
        play_round(seed, steps);
    }
    return 0;
}
