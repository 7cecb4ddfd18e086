/* tests/unit/ext/etcd_world.h: what the tests of the etcd client share: a server, a client, calls that are awaited. */
#ifndef TEST_ETCD_WORLD_H
#define TEST_ETCD_WORLD_H

#include "etcd.h"
#include "real_loop.h"

#include "ext/etcd.h"

typedef struct world {
    test_real_loop t;
    test_etcd server;
    crs_etcd *etcd;
    bool ready;
    cereus_error err;
} world;

static inline void on_state(bool ready, const cereus_error *why, void *user)
{
    ((world *)user)->ready = ready;
}

static inline void world_connect(world *w, crs_etcd_options opt)
{
    const char *endpoints[] = {w->server.endpoint};
    if (!opt.endpoint_count) {
        opt.endpoints = endpoints;
        opt.endpoint_count = 1;
    }
    opt.on_state = on_state;
    opt.state_user = w;
    assert_int_equal(crs_etcd_open(w->t.loop, &opt, &w->etcd, &w->err), CEREUS_OK);
}

static inline void world_open(world *w)
{
    memset(w, 0, sizeof *w);
    test_real_loop_open(&w->t);
    test_etcd_open(&w->server, NULL);
    world_connect(w, (crs_etcd_options){0});
}

static inline void world_close(world *w)
{
    w->etcd = crs_etcd_close(w->etcd);
    test_real_loop_close(&w->t);
    test_etcd_close(&w->server);
}

static inline uint64_t counted(world *w, crs_counter which)
{
    return crs_counter_read(&w->t.loop->counters, which);
}

#define COUNTED(w, name) counted(w, CRS_COUNTER_##name)

/* ---- calls, made and awaited ---- */

typedef struct answer {
    bool done;
    cereus_status status;
    crs_etcd_result result;
    cereus_error err;
} answer;

static inline void on_answer(cereus_status status, const crs_etcd_result *result, const cereus_error *err, void *user)
{
    answer *a = user;
    assert_false(a->done);
    a->done = true;
    a->status = status;
    assert_true(!status == (result != NULL) && !status == (err == NULL));
    if (result)
        a->result = *result; /* numbers; what it points at is gone */
    else
        a->err = *err;
}

static inline answer call_for(world *w, const crs_etcd_op *op, uint32_t timeout_ms)
{
    answer a = {0};
    assert_int_equal(crs_etcd_start(w->etcd, op, timeout_ms, on_answer, &a, &w->err), CEREUS_OK);
    TEST_UNTIL(&w->t, a.done);
    return a;
}

static inline answer call(world *w, crs_etcd_op op)
{
    return call_for(w, &op, 30000);
}

static inline cereus_slice str(const char *text)
{
    return cereus_slice_str(text);
}

static inline int64_t put(world *w, const char *key, const char *value, int64_t lease)
{
    answer a = call(w, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str(key), .value = str(value), .lease = lease});
    assert_int_equal(a.status, CEREUS_OK);
    return a.result.revision;
}

static inline int64_t count(world *w, const char *key, bool prefix)
{
    answer a = call(w, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str(key), .prefix = prefix, .count_only = true});
    assert_int_equal(a.status, CEREUS_OK);
    return a.result.count;
}

typedef struct task {
    world *w;
    void (*run)(world *w, crs_fiber *fiber);
    bool done;
} task;

static inline void run_task(crs_fiber *fiber, void *arg)
{
    task *t = arg;
    t->run(t->w, fiber);
    t->done = true;
    test_real_nudge(&t->w->t);
}

static inline void on_fiber(world *w, void (*run)(world *w, crs_fiber *fiber))
{
    task t = {.w = w, .run = run};
    assert_int_equal(crs_fiber_start(w->t.fibers, "test", run_task, &t), CEREUS_OK);
    TEST_UNTIL(&w->t, t.done);
}

static inline const crs_etcd_result *await(world *w, crs_fiber *fiber, crs_etcd_op op)
{
    const crs_etcd_result *result = NULL;
    cereus_status st = crs_etcd_await(fiber, w->etcd, &op, 30000, crs_fiber_arena(fiber), &result, &w->err);
    if (st)
        fail_msg("%s", w->err.msg);
    return result;
}

static inline void assert_slice(cereus_slice s, const char *text)
{
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.data, text, s.len);
}

/* ---- leases ---- */

typedef struct loss {
    bool lost;
    cereus_error why;
} loss;

/** All of its threads have stopped when this returns. */
static inline void pause_server(world *w)
{
    int status;
    kill(w->server.pid, SIGSTOP);
    assert_int_equal(waitpid(w->server.pid, &status, WUNTRACED), w->server.pid);
    assert_true(WIFSTOPPED(status));
}

static inline void on_lost(const cereus_error *why, void *user)
{
    loss *l = user;
    assert_false(l->lost);
    l->lost = true;
    l->why = *why;
}

static inline int64_t grant(world *w, int64_t ttl_s)
{
    answer a = call(w, (crs_etcd_op){.kind = CRS_ETCD_GRANT, .ttl_s = ttl_s});
    assert_int_equal(a.status, CEREUS_OK);
    return a.result.lease;
}

/* ---- watches ---- */

typedef struct seen {
    char text[4096]; /* "+key=value " and "-key " in the order told */
    size_t len;
    size_t events;
    int64_t last_revision, compacted;
    bool failed;
    cereus_error err;
    crs_etcd_watch *watch;
    bool stop; /* at the next event */
} seen;

static inline void on_event(const crs_etcd_event *event, void *user)
{
    seen *s = user;
    s->events++;
    s->last_revision = event->kv.mod_revision;
    if (s->len + event->kv.key.len + event->kv.value.len + 8 < sizeof s->text)
        s->len += (size_t)sprintf(s->text + s->len, "%c%.*s%s%.*s ", event->deleted ? '-' : '+', (int)event->kv.key.len,
                                  (const char *)event->kv.key.data, event->deleted ? "" : "=", (int)event->kv.value.len,
                                  (const char *)event->kv.value.data);
    if (s->stop)
        s->watch = crs_etcd_watch_stop(s->watch);
}

static inline void on_compacted(int64_t compact_revision, void *user)
{
    ((seen *)user)->compacted = compact_revision;
}

static inline void on_failed(const cereus_error *err, void *user)
{
    ((seen *)user)->failed = true;
    ((seen *)user)->err = *err;
}

__attribute__((unused)) static const crs_etcd_watch_ops watch_ops = {
    .event = on_event, .compacted = on_compacted, .failed = on_failed};

static inline void watch(world *w, seen *s, const char *prefix, int64_t from)
{
    crs_etcd_watch_options opt = {.key = str(prefix), .prefix = true, .from_revision = from};
    assert_int_equal(crs_etcd_watch_start(w->etcd, &opt, &watch_ops, s, &s->watch, &w->err), CEREUS_OK);
}

#endif
