/* tests/simulation/simulation.c: a cluster in one process, and all that may go wrong with it, from a seed: messages that are
 * late, lost and cut off, servers that freeze, crash, stop and come back, players that come, go and come twice.
 *
 *     simulation FIRST COUNT     seeds FIRST .. FIRST + COUNT - 1; names each that breaks a promise
 *     simulation --trace SEED    one seed, and a hash of all that its servers said to one another
 *
 * What must hold: the messages of a connection begin at a room in the order sent, one at a time; what was acknowledged was done
 * once, what was not at most once; the end of a session is told once; every request of a player that is still there is
 * answered; when all is well again the servers agree who is there, a uid has one session, and pushes arrive.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "game.h"

enum { STEPS = 60, ASKED_MAX = 64, QUIET_MS = 60000 };

typedef struct asked {
    uint64_t request;
    unsigned op;
    bool buys, plays;
} asked;

typedef struct player {
    unsigned conn;
    server *at;
    cereus_test_client *client; /* NULL: not connected */
    bool closed;
    asked asked[ASKED_MAX];
    unsigned asked_count;
    unsigned heard; /* pushes */
} player;

static cereus_test_bus *bus;
static player players[USERS + 2]; /* two have a uid that another has too */
static unsigned conn_count, op_count;
static struct {
    uint64_t asked, acknowledged, refused, pushes, ends, restarts;
} sum; /* of all seeds, to see that something happens at all */
static const char *const room_routes[] = {"room.table.play", "room.table.play", "room.table.buy", "room.table.say",
                                          "room.table.buy"};

static uint64_t dice(uint64_t bound)
{
    return cereus_test_bus_random(bus, bound);
}

/* ---- servers ---- */

static cereus_test_app *any_app(void)
{
    for (unsigned i = 0; i < w.server_count; i++) {
        if (w.servers[i].t)
            return w.servers[i].t;
    }
    return NULL;
}

static server *start_server(const char *id, const char *type)
{
    server *s = &w.servers[w.server_count];
    *s = (server){.index = w.server_count, .type = type};
    snprintf(s->id, sizeof s->id, "%s", id);
    cereus_app *app = game_new(s);
    cereus_test_app *beside = any_app();
    s->t = beside ? cereus_test_new_beside(app, beside) : cereus_test_new(app, CEREUS_TEST_MEMORY);
    w.server_count++;
    sum.restarts++;
    cereus_test_bus_join(bus, s->t);
    cereus_test_start(s->t);
    return s;
}

static bool is_up(const server *s)
{
    return s->t && !s->crashed;
}

/** One that runs, of @p type; NULL: none. */
static server *pick(const char *type)
{
    server *up[SERVERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < w.server_count; i++) {
        if (is_up(&w.servers[i]) && !w.servers[i].paused && (!type || strcmp(w.servers[i].type, type) == 0))
            up[count++] = &w.servers[i];
    }
    return count ? up[dice(count)] : NULL;
}

static void end_server(server *s)
{
    for (size_t i = 0; i < CEREUS_COUNT(players); i++) {
        if (players[i].at == s)
            players[i] = (player){0};
    }
    s->t = cereus_test_end(s->t);
    if (!s->crashed)
        game_check_closes(s);
}

/* ---- players ---- */

/** Take what has come. */
static void listen_to(player *p)
{
    const cereus_test_event *e;
    while (p->client && !p->closed && (e = cereus_test_poll(p->client))) {
        p->closed = e->kind == CEREUS_TEST_CLOSED;
        p->heard += e->kind == CEREUS_TEST_PUSH;
        sum.ends += e->kind == CEREUS_TEST_CLOSED;
        sum.pushes += e->kind == CEREUS_TEST_PUSH;
        sum.acknowledged += e->kind == CEREUS_TEST_REPLY;
        sum.refused += e->kind == CEREUS_TEST_ERROR;
        if (e->kind != CEREUS_TEST_REPLY && e->kind != CEREUS_TEST_ERROR)
            continue;
        unsigned i = 0;
        while (i < p->asked_count && p->asked[i].request != e->request)
            i++;
        if (i == p->asked_count) {
            fault("connection %u: an answer to nothing that waits", p->conn);
            continue;
        }
        const asked *a = &p->asked[i];
        if (e->kind == CEREUS_TEST_REPLY && a->plays && w.ops[a->op].ran != 1)
            fault("operation %u was acknowledged and done %u times", a->op, w.ops[a->op].ran);
        if (e->kind == CEREUS_TEST_REPLY && a->buys && w.ops[a->op].booked != 1)
            fault("operation %u was acknowledged and booked %u times", a->op, w.ops[a->op].booked);
        p->asked[i] = p->asked[--p->asked_count];
    }
}

static unsigned ask(player *p, const char *route, const char *uid)
{
    char body[64];
    unsigned o = ++op_count;
    sum.asked++;
    snprintf(body, sizeof body, "%u %u %s", p->conn, o, uid ? uid : "");
    asked a = {.op = o, .buys = strstr(route, ".buy") != NULL, .plays = strncmp(route, "room", 4) == 0};
    a.request = cereus_test_request(p->client, route, body);
    p->asked[p->asked_count++] = a;
    return o;
}

static const char *uid_of(const player *p)
{
    static const char *const uids[] = {"u0", "u1", "u2", "u3", "u4"};
    return uids[(size_t)(p - players) % USERS];
}

static void hang_up(player *p)
{
    if (p->client)
        cereus_test_hang_up(p->client);
    *p = (player){0};
}

static bool connect_to(player *p, server *front)
{
    if (!front || conn_count + 1 == CONNS_MAX)
        return false;
    *p = (player){.conn = ++conn_count, .at = front};
    p->client = cereus_test_connect_with(front->t, &(cereus_test_client_options){.loop = (unsigned)dice(2)});
    return true;
}

static void act(player *p)
{
    listen_to(p);
    if (!p->client || p->closed) {
        hang_up(p);
        if (connect_to(p, pick("connector")))
            ask(p, dice(4) ? "connector.gate.enter" : "room.table.login", uid_of(p));
        return;
    }
    if (p->at->paused || p->asked_count > ASKED_MAX - 8 || op_count > OPS_MAX - 8)
        return;
    switch (dice(12)) {
    case 0:
        hang_up(p);
        return;
    case 1:
        ask(p, "room.table.kick", uid_of(&players[dice(USERS)]));
        return;
    case 2:
        ask(p, "connector.gate.buy", NULL);
        return;
    default:
        for (uint64_t n = 1 + dice(5); n > 0; n--)
            ask(p, room_routes[dice(CEREUS_COUNT(room_routes))], NULL);
    }
}

/* ---- what goes wrong ---- */

static void crash_and_restart(server *s)
{
    cereus_test_bus_crash(bus, s->t);
    s->crashed = true;
    cereus_test_advance(s->t, dice(3000));
    start_server(s->id, s->type);
}

static void stop_and_restart(server *s)
{
    const char *type = s->type;
    char id[16];
    strcpy(id, s->id);
    if (s->crashed || s->paused)
        return;
    end_server(s);
    start_server(id, type);
}

static void set_faults(void)
{
    cereus_test_faults f = {.delay_ms = (unsigned)dice(20), .jitter_ms = (unsigned)dice(300)};
    f.hear_ms = (unsigned)dice(50);
    f.hear_jitter_ms = (unsigned)dice(2000);
    f.lease_ms = (unsigned)dice(8000);
    f.lost_ppm = dice(3) ? 0 : (unsigned)dice(50000);
    cereus_test_bus_set(bus, &f);
}

static void go_wrong(void)
{
    server *a = pick(NULL), *b = pick(NULL);
    if (!a || !b)
        return;
    switch (dice(9)) {
    case 0:
        set_faults();
        return;
    case 1:
        cereus_test_bus_cut(bus, a->id, b->id);
        return;
    case 2:
        cereus_test_bus_cut(bus, a->id, NULL);
        return;
    case 3:
    case 4:
        cereus_test_bus_mend_all(bus);
        return;
    case 5:
        cereus_test_bus_pause(bus, a->t, a->paused = true);
        return;
    case 6:
        for (unsigned i = 0; i < w.server_count; i++) {
            if (w.servers[i].paused && is_up(&w.servers[i]))
                cereus_test_bus_pause(bus, w.servers[i].t, w.servers[i].paused = false);
        }
        return;
    case 7:
        if (w.server_count + 8 < SERVERS_MAX)
            crash_and_restart(a);
        return;
    case 8:
        if (w.server_count + 8 < SERVERS_MAX)
            stop_and_restart(a);
        return;
    }
}

/* ---- when all is well again ---- */

static void let_pass(uint64_t ms)
{
    cereus_test_advance(any_app(), ms);
    for (size_t i = 0; i < CEREUS_COUNT(players); i++)
        listen_to(&players[i]);
}

static void check_members(cereus_ctx *ctx, void *user)
{
    const server *s = user;
    const cereus_server *const *list;
    size_t up = 0, count = cereus_servers_by_type(ctx, NULL, &list);
    for (unsigned i = 0; i < w.server_count; i++) {
        if (is_up(&w.servers[i]) && ++up && !cereus_server_by_id(ctx, w.servers[i].id))
            fault("%s does not know %s", s->id, w.servers[i].id);
    }
    if (count != up)
        fault("%s knows %zu servers, and there are %zu", s->id, count, up);
}

static unsigned holders[USERS];

static void count_holders(cereus_ctx *ctx, void *user)
{
    (void)user;
    for (unsigned i = 0; i < USERS; i++)
        holders[i] += cereus_session_from_uid(ctx, uid_of(&players[i])) != NULL;
}

static void for_each_up(cereus_task_fn *fn)
{
    for (unsigned i = 0; i < w.server_count; i++) {
        if (is_up(&w.servers[i]))
            cereus_test_run(w.servers[i].t, NULL, fn, &w.servers[i]);
    }
}

static void heal(void)
{
    cereus_test_bus_set(bus, NULL);
    cereus_test_bus_mend_all(bus);
    for (unsigned i = 0; i < w.server_count; i++) {
        if (w.servers[i].paused && is_up(&w.servers[i]))
            cereus_test_bus_pause(bus, w.servers[i].t, w.servers[i].paused = false);
    }
    let_pass(QUIET_MS);
}

static void check_answers(void)
{
    for (size_t i = 0; i < CEREUS_COUNT(players); i++) {
        const player *p = &players[i];
        for (unsigned k = 0; p->client && !p->closed && k < p->asked_count; k++)
            fault("connection %u: operation %u was never answered", p->conn, p->asked[k].op);
    }
}

/** Everybody comes anew; the newer of two with one uid stays, and everything works. */
static void check_health(void)
{
    for (size_t i = 0; i < CEREUS_COUNT(players); i++) {
        hang_up(&players[i]);
        if (!connect_to(&players[i], pick("connector")))
            continue;
        ask(&players[i], "connector.gate.enter", uid_of(&players[i]));
        let_pass(10);
    }
    let_pass(5000);
    memset(holders, 0, sizeof holders);
    for_each_up(count_holders);
    for (unsigned i = 0; i < USERS; i++) {
        if (holders[i] != 1)
            fault("%s has %u sessions", uid_of(&players[i]), holders[i]);
    }
    for (size_t i = 0; i < CEREUS_COUNT(players); i++) {
        bool replaced = i + USERS < CEREUS_COUNT(players);
        if (players[i].client && players[i].closed != replaced)
            fault("%s: the %s one %s", uid_of(&players[i]), replaced ? "older" : "newer",
                  replaced ? "is still there" : "is gone");
        players[i].heard = 0;
    }
    for (unsigned i = USERS; i-- > CEREUS_COUNT(players) - USERS;) {
        unsigned o = ask(&players[i], "room.table.buy", NULL);
        ask(&players[i], "room.table.play", NULL);
        ask(&players[i], "room.table.say", NULL);
        let_pass(1000);
        if (w.ops[o].booked != 1 || w.ops[o + 1].ran != 1 || players[i].asked_count)
            fault("%s cannot play when all is well", uid_of(&players[i]));
    }
    unsigned heard = 0;
    for (size_t i = 0; i < CEREUS_COUNT(players); i++)
        heard += players[i].heard;
    if (heard != 2 * (2 * USERS - CEREUS_COUNT(players)))
        fault("%u pushes came when all is well", heard);
}

/* ---- a seed ---- */

static bool run(uint64_t seed, uint64_t *ret_trace)
{
    static const char *const first[][2] = {{"front-1", "connector"}, {"front-2", "connector"}, {"room-1", "room"},
                                           {"room-2", "room"},       {"room-3", "room"},       {"ledger-1", "ledger"}};
    memset(&w, 0, sizeof w);
    memset(players, 0, sizeof players);
    conn_count = op_count = 0;
    w.seed = seed;
    bus = cereus_test_bus_new(seed);
    for (size_t i = 0; i < CEREUS_COUNT(first); i++)
        start_server(first[i][0], first[i][1]);
    for (int step = 0; step < STEPS; step++) {
        for (size_t i = 0; i < CEREUS_COUNT(players); i++) {
            if (dice(2))
                act(&players[i]);
        }
        if (dice(6) == 0)
            go_wrong();
        let_pass(dice(3) ? dice(100) : dice(3000));
    }
    heal();
    check_answers();
    for_each_up(check_members);
    check_health();
    for (unsigned i = 0; i < w.server_count; i++) { /* the crashed ones last: what their ends do is heard by nobody */
        if (is_up(&w.servers[i]))
            end_server(&w.servers[i]);
    }
    *ret_trace = cereus_test_bus_trace(bus);
    for (unsigned i = 0; i < w.server_count; i++) {
        if (w.servers[i].t)
            end_server(&w.servers[i]);
    }
    bus = cereus_test_bus_free(bus);
    return !w.broken;
}

int main(int argc, char **argv)
{
    uint64_t trace;
    if (argc != 3) {
        fprintf(stderr, "usage: simulation FIRST COUNT | simulation --trace SEED\n");
        return 2;
    }
    uint64_t count = strtoull(argv[2], NULL, 10), broken = 0;
    if (strcmp(argv[1], "--trace") == 0) {
        bool good = run(count, &trace);
        printf("%016" PRIx64 "\n", trace);
        return good ? 0 : 1;
    }
    uint64_t first = strtoull(argv[1], NULL, 10);
    for (uint64_t seed = first; seed < first + count; seed++)
        broken += !run(seed, &trace);
    printf("%" PRIu64 " asked, %" PRIu64 " acknowledged, %" PRIu64 " refused, %" PRIu64 " pushes, %" PRIu64
           " connections ended, %" PRIu64 " servers started\n",
           sum.asked, sum.acknowledged, sum.refused, sum.pushes, sum.ends, sum.restarts);
    printf("%" PRIu64 " seeds, %" PRIu64 " of them broke a promise\n", count, broken);
    return broken ? 1 : 0;
}
