/* testkit/app.c: the app under test, its clock and what it shows.
 *
 * In memory mode everything is turned in rounds: one turn of each app's loops, then each client. A round in which nothing
 * moved, twice over, is rest: then only time can bring news. */
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kit.h"

enum {
    START_MS = 5000,     /* what the monotonic clock shows at first */
    ROUNDS_MAX = 100000, /* without rest */
    IDLES_MAX = 100000,  /* times that a start or stop waits for the clock */
};

#define START_UNIX_MS INT64_C(1767323045000) /* and the other one: 2026-01-02T03:04:05Z */

static const crs_manual_ops *const ops = &cereus_private_manual;

/* ---- memory ---- */

void *kit_realloc(void *ptr, size_t size)
{
    void *more = realloc(ptr, size);
    if (!more)
        kit_die("cereus_test: out of memory");
    return more;
}

void *kit_alloc(size_t size)
{
    return memset(kit_realloc(NULL, size), 0, size);
}

void *kit_keep(cereus_test_app *t, size_t size)
{
    kit_kept *k = kit_alloc(sizeof *k + size);
    k->next = t->kept;
    t->kept = k;
    return k->data;
}

struct json_t *kit_keep_json(cereus_test_app *t, struct json_t *json)
{
    kit_keep(t, 0);
    t->kept->json = json;
    return json;
}

char *kit_keep_text(cereus_test_app *t, const void *data, size_t len)
{
    char *text = kit_keep(t, len + 1);
    if (len)
        memcpy(text, data, len);
    return text;
}

/* ---- the clock ---- */

static uint64_t system_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t kit_clock_ms(const cereus_test_app *t)
{
    return t->mode == CEREUS_TEST_MEMORY ? START_MS + t->world->passed_ms : system_ms();
}

uint64_t cereus_test_now_ms(cereus_test_app *t)
{
    return t->mode == CEREUS_TEST_MEMORY ? t->world->passed_ms : system_ms() - t->began_ms;
}

static int64_t app_clock(clockid_t clock, void *user)
{
    const cereus_test_app *t = user;
    return (clock == CLOCK_REALTIME ? START_UNIX_MS : START_MS) + (int64_t)t->world->passed_ms;
}

/* ---- rounds ---- */

static bool take_round(kit_world *w)
{
    bool moved = false;
    kit_inside++;
    ops->guard(true);
    for (cereus_test_app *t = w->apps; t; t = t->next) {
        if (t->running && !t->paused)
            moved |= ops->turn(t->app);
    }
    moved |= kit_bus_step(w->bus);
    ops->guard(false);
    kit_inside--;
    for (cereus_test_app *t = w->apps; t; t = t->next) {
        for (cereus_test_client *c = t->clients; c; c = c->next)
            moved |= kit_client_step(c);
    }
    return moved;
}

/** Rounds until nothing moves. */
static void rest(cereus_test_where where, kit_world *w)
{
    int rounds = 0;
    for (int still = 0; still < 2;) {
        still = take_round(w) ? 0 : still + 1;
        if (rounds++ == ROUNDS_MAX) {
            cereus_test_fail_at(where,
                                "after %d rounds there is still something to do at this time: does a handler "
                                "yield for ever?",
                                ROUNDS_MAX);
            return;
        }
    }
}

/** The next time at which there is something to do; UINT64_MAX: none. */
static uint64_t next_ms(const kit_world *w)
{
    uint64_t next = kit_bus_next_ms(w->bus);
    for (cereus_test_app *t = w->apps; t; t = t->next) {
        uint64_t at = t->running && !t->paused ? ops->next_ms(t->app) : UINT64_MAX;
        next = at < next ? at : next;
        for (cereus_test_client *c = t->clients; c; c = c->next) {
            at = kit_client_next_ms(c);
            next = at < next ? at : next;
        }
    }
    return next;
}

/** A start or stop waits: the clients read, and when they have, time goes to the next thing that is due. */
static void on_idle(void *user)
{
    cereus_test_app *t = user;
    kit_world *w = t->world;
    if (take_round(w))
        return;
    uint64_t now = kit_clock_ms(t), next = next_ms(w);
    if (w->idles++ == IDLES_MAX)
        kit_die("cereus_test: the app does not come to rest: a handler waits for what nobody will give it");
    w->passed_ms += next == UINT64_MAX ? 1000 : next > now ? next - now : 1;
}

void cereus_test_settle_at(cereus_test_where where, cereus_test_app *t)
{
    if (t->mode == CEREUS_TEST_MEMORY) {
        rest(where, t->world);
        return;
    }
    while (kit_clients_poll(t, -1, 0)) {
    }
}

void cereus_test_advance_at(cereus_test_where where, cereus_test_app *t, uint64_t ms)
{
    if (t->mode != CEREUS_TEST_MEMORY) {
        cereus_test_fail_at(where, "cereus_test_advance(): only the clock of CEREUS_TEST_MEMORY can be moved");
        return;
    }
    kit_world *w = t->world;
    uint64_t until = w->passed_ms + ms;
    rest(where, w);
    for (;;) {
        uint64_t next = next_ms(w);
        if (next == UINT64_MAX || next > START_MS + until)
            break;
        w->passed_ms = next > START_MS + w->passed_ms ? next - START_MS : w->passed_ms + 1;
        rest(where, w);
    }
    if (w->passed_ms < until)
        w->passed_ms = until;
    rest(where, w);
}

bool kit_wait(cereus_test_where where, cereus_test_app *t, kit_ready_fn *ready, void *arg, int slice_ms)
{
    if (t->mode == CEREUS_TEST_MEMORY) {
        rest(where, t->world);
        return ready(arg);
    }
    uint64_t until = system_ms() + CEREUS_TEST_WAIT_S * 1000;
    while (!ready(arg)) {
        if (system_ms() >= until)
            return false;
        kit_clients_poll(t, -1, slice_ms);
    }
    return true;
}

const char *kit_waited(const cereus_test_app *t)
{
    return t->mode == CEREUS_TEST_MEMORY ? "nothing more happens at this time (cereus_test_advance() lets time pass)"
                                         : "the test waited for CEREUS_TEST_WAIT_S seconds";
}

/* ---- the log ---- */

static void on_log(cereus_log_level level, const char *line, size_t len, void *user)
{
    cereus_test_app *t = user;
    pthread_mutex_lock(&t->mu);
    int index = (int)level - (int)CEREUS_LOG_DEBUG;
    if (index >= 0 && (size_t)index < CEREUS_COUNT(t->log_counts))
        t->log_counts[index]++;
    if (t->log_count < KIT_LOG_MAX)
        t->log[t->log_count++] = strndup(line, len);
    pthread_mutex_unlock(&t->mu);
    if (t->log_shown)
        fprintf(stderr, "%.*s\n", (int)len, line);
}

static bool has_text(const char *line, const char *text)
{
    for (;;) {
        size_t len = strcspn(text, "*");
        const char *at = memmem(line, strlen(line), text, len);
        if (!at)
            return false;
        if (!text[len])
            return true;
        line = at + len;
        text += len + 1;
    }
}

const char *cereus_test_logged(cereus_test_app *t, const char *text)
{
    const char *found = NULL;
    pthread_mutex_lock(&t->mu);
    for (size_t i = 0; i < t->log_count && !found; i++)
        found = t->log[i] && has_text(t->log[i], text) ? t->log[i] : NULL;
    pthread_mutex_unlock(&t->mu);
    return found;
}

size_t cereus_test_log_count(cereus_test_app *t, cereus_log_level level)
{
    size_t count = 0;
    pthread_mutex_lock(&t->mu);
    for (int i = (int)level - (int)CEREUS_LOG_DEBUG; i >= 0 && (size_t)i < CEREUS_COUNT(t->log_counts); i++)
        count += t->log_counts[i];
    pthread_mutex_unlock(&t->mu);
    return count;
}

/* ---- making, starting, stopping ---- */

static cereus_test_app *make(cereus_test_where where, cereus_app *app, cereus_test_mode mode, kit_world *world)
{
    if (!app) {
        cereus_test_fail_at(where, "cereus_test_new() got no app");
        return NULL;
    }
    if (strcmp(ops->version, CEREUS_VERSION) != 0) {
        cereus_test_fail_at(where, "libcereus-test is of version %s, libcereus of %s: install them together",
                            CEREUS_VERSION, ops->version);
        return NULL;
    }
    cereus_test_app *t = kit_alloc(sizeof *t);
    t->app = app;
    t->mode = mode;
    t->world = world ? world : kit_alloc(sizeof *t->world);
    t->clients_tail = &t->clients;
    t->began_ms = system_ms();
    pthread_mutex_init(&t->mu, NULL);
    t->log_shown = getenv("CEREUS_TEST_LOG") && strcmp(getenv("CEREUS_TEST_LOG"), "0") != 0;
    cereus_test_app **tail = &t->world->apps;
    while (*tail)
        tail = &(*tail)->next;
    *tail = t;
    kit_count_app(1);

    cereus_status st = cereus_app_set_log(app, on_log, t);
    if (st) {
        cereus_test_fail_at(where, "cereus_test_new() wants an app that was not started");
        return t;
    }
    if (mode == CEREUS_TEST_MEMORY) {
        t->manual = (crs_manual){.clock = app_clock, .idle = on_idle, .user = t};
        ops->use(app, &t->manual);
        return t;
    }
    cereus_test_set_at(where, t, "cereus.watchdog.threshold", "0s"); /* a busy machine is no fault of a handler */
    if (cereus_app_listen(app, "tcp://127.0.0.1:0", NULL) != CEREUS_E_STATE) /* it is a frontend */
        cereus_test_set_at(where, t, "cereus.listen", "tcp://127.0.0.1:0,ws://127.0.0.1:0");
    return t;
}

cereus_test_app *cereus_test_new_at(cereus_test_where where, cereus_app *app, cereus_test_mode mode)
{
    return make(where, app, mode, NULL);
}

cereus_test_app *cereus_test_new_beside_at(cereus_test_where where, cereus_app *app, cereus_test_app *other)
{
    if (other->mode != CEREUS_TEST_MEMORY) {
        cereus_test_fail_at(where, "cereus_test_new_beside() is for CEREUS_TEST_MEMORY");
        return NULL;
    }
    return make(where, app, CEREUS_TEST_MEMORY, other->world);
}

void cereus_test_set_at(cereus_test_where where, cereus_test_app *t, const char *key, const char *value)
{
    cereus_error err = {0};
    if (cereus_config_set(cereus_app_config(t->app), key, value, &err))
        cereus_test_fail_at(where, "%s", err.msg);
}

static cereus_status start(cereus_test_app *t, cereus_error *err)
{
    bool was_running = t->running;
    t->running = true; /* first: what waits inside turns it */
    t->world->idles = 0;
    kit_inside++;
    cereus_status st = cereus_app_start(t->app, err);
    kit_inside--;
    t->running = was_running || st == CEREUS_OK;
    return st;
}

void cereus_test_start_at(cereus_test_where where, cereus_test_app *t)
{
    cereus_error err = {0};
    if (start(t, &err))
        cereus_test_fail_at(where, "the app does not start: %s", err.msg);
}

const char *cereus_test_start_fails_at(cereus_test_where where, cereus_test_app *t, cereus_status status)
{
    cereus_error err = {0};
    cereus_status st = start(t, &err);
    const char *text = kit_keep_text(t, err.msg, strlen(err.msg));
    if (st != status)
        cereus_test_fail_at(where, "%s expected from the start, but %s came%s%s", cereus_status_name(status),
                            cereus_status_name(st), *text ? ": " : "", text);
    return text;
}

cereus_app *cereus_test_get_app(cereus_test_app *t)
{
    return t->app;
}

typedef struct readers {
    cereus_test_app *t;
    int end_fd;
} readers;

/** Sockets mode: the server waits for clients to see its goodbye while the test's thread waits for the server. */
static void *read_on(void *arg)
{
    readers *r = arg;
    uint64_t ended;
    while (read(r->end_fd, &ended, sizeof ended) < 0)
        kit_clients_poll(r->t, r->end_fd, 1000);
    return NULL;
}

void cereus_test_stop(cereus_test_app *t)
{
    if (!t->running)
        return;
    readers r = {.t = t, .end_fd = -1};
    pthread_t thread;
    bool reading = t->mode == CEREUS_TEST_SOCKETS && t->clients;
    if (reading) {
        r.end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (r.end_fd < 0 || pthread_create(&thread, NULL, read_on, &r) != 0)
            kit_die("cereus_test_stop(): cannot start a thread");
    }
    t->world->idles = 0;
    kit_inside++;
    cereus_app_shutdown(t->app);
    cereus_app_wait(t->app, false);
    kit_inside--;
    t->running = false;
    if (reading) {
        uint64_t one = 1;
        if (write(r.end_fd, &one, sizeof one) != (ssize_t)sizeof one)
            kit_die("cereus_test_stop(): eventfd");
        pthread_join(thread, NULL);
        close(r.end_fd);
    }
    cereus_test_settle_at(CEREUS_TEST_HERE, t); /* what the server sent last */
}

struct cereus_test_gate {
    cereus_test_gate *next;
    cereus_test_app *t;
    atomic_size_t count;
};

struct cereus_test_leash {
    cereus_test_leash *next;
    cereus_test_gate *came;
    int fd; /* an eventfd, readable once released */
};

cereus_test_app *cereus_test_end(cereus_test_app *t)
{
    if (!t)
        return NULL;
    for (cereus_test_client *c = t->clients; c; c = c->next)
        cereus_test_hang_up(c);
    t->paused = false;
    cereus_test_stop(t);
    cereus_app_free(t->app);
    kit_bus_left(t);
    while (t->clients) {
        cereus_test_client *c = t->clients;
        t->clients = c->next;
        kit_client_free(c);
    }
    while (t->gates) {
        cereus_test_gate *gate = t->gates;
        t->gates = gate->next;
        free(gate);
    }
    while (t->leashes) {
        cereus_test_leash *leash = t->leashes;
        t->leashes = leash->next;
        close(leash->fd);
        free(leash);
    }
    while (t->kept) {
        kit_kept *k = t->kept;
        t->kept = k->next;
        json_decref(k->json);
        free(k);
    }
    for (size_t i = 0; i < t->log_count; i++)
        free(t->log[i]);
    pthread_mutex_destroy(&t->mu);
    cereus_test_app **at = &t->world->apps;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    if (!t->world->apps)
        free(t->world);
    free(t);
    kit_count_app(-1);
    return NULL;
}

/* ---- tasks ---- */

typedef struct run {
    cereus_task_fn *fn;
    void *user;
    atomic_bool done;
} run;

static void run_task(cereus_ctx *ctx, void *user)
{
    run *r = user;
    r->fn(ctx, r->user);
    atomic_store(&r->done, true);
}

static bool run_done(void *arg)
{
    return atomic_load(&((run *)arg)->done);
}

void cereus_test_run_at(cereus_test_where where, cereus_test_app *t, const char *service, cereus_task_fn *fn,
                        void *user)
{
    run *r = kit_keep(t, sizeof *r); /* kept: it may outlive a test that failed */
    *r = (run){.fn = fn, .user = user};
    cereus_status st = t->running ? cereus_app_spawn(t->app, service, run_task, r) : CEREUS_E_STATE;
    if (st)
        cereus_test_fail_at(where, "the task cannot be run on \"%s\": %s", service ? service : "",
                            t->running ? cereus_status_text(st) : "the app is not running");
    else if (!kit_wait(where, t, run_done, r, 1))
        cereus_test_fail_at(where, "the task has not ended: %s", kit_waited(t));
}

/* ---- what the app shows ---- */

typedef struct watch {
    cereus_test_app *t;
    cereus_test_gate *gate;
    const char *text;
    uint64_t number;
} watch;

static bool log_has(void *arg)
{
    watch *w = arg;
    return cereus_test_logged(w->t, w->text) != NULL;
}

const char *cereus_test_expect_log_at(cereus_test_where where, cereus_test_app *t, const char *text)
{
    watch w = {.t = t, .text = text};
    if (!kit_wait(where, t, log_has, &w, 1))
        cereus_test_fail_at(where,
                            "no line of the log has \"%s\" in it (of %zu lines; CEREUS_TEST_LOG=1 shows them): %s",
                            text, cereus_test_log_count(t, CEREUS_LOG_DEBUG), kit_waited(t));
    return cereus_test_logged(t, text);
}

static bool sessions_are(void *arg)
{
    watch *w = arg;
    return cereus_app_session_count(w->t->app) == w->number;
}

void cereus_test_expect_sessions_at(cereus_test_where where, cereus_test_app *t, size_t count)
{
    watch w = {.t = t, .number = count};
    if (!kit_wait(where, t, sessions_are, &w, 1)) /* nothing tells when a session has ended: looking is the only way */
        cereus_test_fail_at(where, "%zu sessions expected, but there are %zu: %s", count,
                            cereus_app_session_count(t->app), kit_waited(t));
}

static bool counter_is(void *arg)
{
    watch *w = arg;
    return cereus_app_counter(w->t->app, w->text) >= w->number;
}

void cereus_test_expect_counter_at(cereus_test_where where, cereus_test_app *t, const char *name, uint64_t least)
{
    watch w = {.t = t, .text = name, .number = least};
    if (!kit_wait(where, t, counter_is, &w, 1))
        cereus_test_fail_at(where, "counter %s: at least %" PRIu64 " expected, but it is %" PRIu64 ": %s", name, least,
                            cereus_app_counter(t->app, name), kit_waited(t));
}

static bool wants_end(void *arg)
{
    return ops->wants_end(((watch *)arg)->t->app);
}

void cereus_test_expect_shutdown_at(cereus_test_where where, cereus_test_app *t)
{
    watch w = {.t = t};
    if (!kit_wait(where, t, wants_end, &w, 1))
        cereus_test_fail_at(where, "nobody has called cereus_app_shutdown(): %s", kit_waited(t));
}

cereus_test_gate *cereus_test_gate_new(cereus_test_app *t)
{
    cereus_test_gate *gate = kit_alloc(sizeof *gate);
    gate->t = t;
    gate->next = t->gates;
    t->gates = gate;
    return gate;
}

void cereus_test_gate_pass(cereus_test_gate *gate)
{
    atomic_fetch_add(&gate->count, 1); /* release, for what the test looks at behind the gate */
}

size_t cereus_test_gate_count(cereus_test_gate *gate)
{
    return atomic_load(&gate->count);
}

static bool gate_passed(void *arg)
{
    watch *w = arg;
    return cereus_test_gate_count(w->gate) >= w->number;
}

void cereus_test_gate_await_at(cereus_test_where where, cereus_test_gate *gate, size_t count)
{
    watch w = {.gate = gate, .number = count};
    if (!kit_wait(where, gate->t, gate_passed, &w, 1))
        cereus_test_fail_at(where, "%zu passes of the gate expected, but %zu came: %s", count,
                            cereus_test_gate_count(gate), kit_waited(gate->t));
}

cereus_test_leash *cereus_test_leash_new(cereus_test_app *t)
{
    cereus_test_leash *leash = kit_alloc(sizeof *leash);
    leash->came = cereus_test_gate_new(t);
    leash->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (leash->fd < 0)
        kit_die("cereus_test_leash_new(): eventfd");
    leash->next = t->leashes;
    t->leashes = leash;
    return leash;
}

cereus_status cereus_test_leash_hold(cereus_test_leash *leash, cereus_ctx *ctx)
{
    int fd = dup(leash->fd); /* several handlers of one loop may hold: a loop watches each descriptor once */
    if (fd < 0)
        return CEREUS_E_IO;
    cereus_test_gate_pass(leash->came);
    cereus_status st = cereus_await_fd(ctx, fd, CEREUS_FD_READABLE, 0, NULL);
    close(fd);
    return st;
}

void cereus_test_leash_await_at(cereus_test_where where, cereus_test_leash *leash, size_t count)
{
    watch w = {.gate = leash->came, .number = count};
    if (!kit_wait(where, leash->came->t, gate_passed, &w, 1))
        cereus_test_fail_at(where, "%zu handlers on the leash expected, but %zu came: %s", count,
                            cereus_test_gate_count(leash->came), kit_waited(leash->came->t));
}

void cereus_test_leash_release(cereus_test_leash *leash)
{
    uint64_t one = 1;
    if (write(leash->fd, &one, sizeof one) < 0) {
        /* it is released already, very often */
    }
}
