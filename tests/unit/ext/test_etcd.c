/* tests/unit/ext/test_etcd.c: the client against a real etcd. */
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

static void on_state(bool ready, const cereus_error *why, void *user)
{
    ((world *)user)->ready = ready;
}

static void world_connect(world *w, crs_etcd_options opt)
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

static void world_open(world *w)
{
    memset(w, 0, sizeof *w);
    test_real_loop_open(&w->t);
    test_etcd_open(&w->server, NULL);
    world_connect(w, (crs_etcd_options){0});
}

static void world_close(world *w)
{
    w->etcd = crs_etcd_close(w->etcd);
    test_real_loop_close(&w->t);
    test_etcd_close(&w->server);
}

static uint64_t counted(world *w, crs_counter which)
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

static void on_answer(cereus_status status, const crs_etcd_result *result, const cereus_error *err, void *user)
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

static answer call_for(world *w, const crs_etcd_op *op, uint32_t timeout_ms)
{
    answer a = {0};
    assert_int_equal(crs_etcd_start(w->etcd, op, timeout_ms, on_answer, &a, &w->err), CEREUS_OK);
    TEST_UNTIL(&w->t, a.done);
    return a;
}

static answer call(world *w, crs_etcd_op op)
{
    return call_for(w, &op, 30000);
}

static cereus_slice str(const char *text)
{
    return cereus_slice_str(text);
}

static int64_t put(world *w, const char *key, const char *value, int64_t lease)
{
    answer a = call(w, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str(key), .value = str(value), .lease = lease});
    assert_int_equal(a.status, CEREUS_OK);
    return a.result.revision;
}

static int64_t count(world *w, const char *key, bool prefix)
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

static void run_task(crs_fiber *fiber, void *arg)
{
    task *t = arg;
    t->run(t->w, fiber);
    t->done = true;
}

static void on_fiber(world *w, void (*run)(world *w, crs_fiber *fiber))
{
    task t = {.w = w, .run = run};
    assert_int_equal(crs_fiber_start(w->t.fibers, "test", run_task, &t), CEREUS_OK);
    TEST_UNTIL(&w->t, t.done);
}

static const crs_etcd_result *await(world *w, crs_fiber *fiber, crs_etcd_op op)
{
    const crs_etcd_result *result = NULL;
    cereus_status st = crs_etcd_await(fiber, w->etcd, &op, 30000, crs_fiber_arena(fiber), &result, &w->err);
    if (st)
        fail_msg("%s", w->err.msg);
    return result;
}

static void assert_slice(cereus_slice s, const char *text)
{
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.data, text, s.len);
}

static void every_call(world *w, crs_fiber *fiber)
{
    int64_t revision =
        await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str("a/1"), .value = str("one")})->revision;
    assert_true(revision > 0);
    await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str("a/2"), .value = str("two")});
    await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str("a/3"), .value = str("")});
    await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str("b"), .value = str("other")});

    const crs_etcd_result *r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("a/1")});
    assert_int_equal(r->kv_count, 1);
    assert_slice(r->kvs[0].key, "a/1");
    assert_slice(r->kvs[0].value, "one");
    assert_int_equal(r->kvs[0].create_revision, revision);
    assert_int_equal(r->kvs[0].version, 1);
    assert_int_equal(r->revision, revision + 3);
    r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("a/"), .prefix = true, .serializable = true});
    assert_int_equal(r->kv_count, 3);
    assert_slice(r->kvs[2].key, "a/3");
    assert_slice(r->kvs[2].value, "");
    r = await(w, fiber,
              (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("a/"), .prefix = true, .limit = 2, .keys_only = true});
    assert_int_equal(r->kv_count, 2);
    assert_int_equal(r->kvs[0].value.len, 0);
    assert_true(r->more);
    assert_int_equal(r->count, 3);
    r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str(""), .prefix = true});
    assert_int_equal(r->kv_count, 4); /* all there are */
    r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("a/2"), .revision = revision});
    assert_int_equal(r->kv_count, 0); /* as it was then */
    r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_DELETE, .key = str("a/"), .prefix = true});
    assert_int_equal(r->count, 3);
    r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_DELETE, .key = str("a/1")});
    assert_int_equal(r->count, 0);

    r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_GRANT, .ttl_s = 100});
    int64_t lease = r->lease;
    assert_true(lease != 0);
    assert_int_equal(r->ttl_s, 100);
    await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str("leased"), .value = str("v"), .lease = lease});
    r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("leased")});
    assert_int_equal(r->kvs[0].lease, lease);
    r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_TIME_TO_LIVE, .lease = lease});
    assert_int_equal(r->granted_ttl_s, 100);
    assert_in_range(r->ttl_s, 50, 100);
    r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_KEEP_ALIVE, .lease = lease});
    assert_int_equal(r->ttl_s, 100);
    await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_REVOKE, .lease = lease});
    r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("leased")});
    assert_int_equal(r->kv_count, 0);
    r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_TIME_TO_LIVE, .lease = lease});
    assert_int_equal(r->ttl_s, -1);
}

static void every_call_does_what_etcd_promises(void **state)
{
    world w;
    world_open(&w);
    on_fiber(&w, every_call);
    assert_true(w.ready && crs_etcd_ready(w.etcd));
    world_close(&w);
}

static void groups_of_steps(world *w, crs_fiber *fiber)
{
    crs_etcd_compare absent = {.key = str("group"), .target = CRS_ETCD_CREATE_REVISION, .relation = CRS_ETCD_EQUAL};
    crs_etcd_op create[] = {{.kind = CRS_ETCD_PUT, .key = str("group"), .value = str("x")},
                            {.kind = CRS_ETCD_PUT, .key = str("group/a"), .value = str("")}};
    crs_etcd_op look[] = {{.kind = CRS_ETCD_RANGE, .key = str("group"), .prefix = true}};
    crs_etcd_op txn = {.kind = CRS_ETCD_TXN,
                       .compares = &absent,
                       .compare_count = 1,
                       .then_ops = create,
                       .then_count = 2,
                       .else_ops = look,
                       .else_count = 1};
    const crs_etcd_result *r = await(w, fiber, txn);
    assert_true(r->succeeded);
    assert_int_equal(r->result_count, 2);
    assert_int_equal(r->results[0].kind, CRS_ETCD_PUT);
    r = await(w, fiber, txn);
    assert_false(r->succeeded);
    assert_int_equal(r->result_count, 1);
    assert_int_equal(r->results[0].kind, CRS_ETCD_RANGE);
    assert_int_equal(r->results[0].kv_count, 2);
    assert_slice(r->results[0].kvs[1].key, "group/a");
    assert_int_equal(r->results[0].revision, r->revision);

    struct {
        crs_etcd_compare compare;
        bool holds;
    } cases[] = {
        {{str("group"), CRS_ETCD_VALUE, CRS_ETCD_EQUAL, 0, str("x")}, true},
        {{str("group"), CRS_ETCD_VALUE, CRS_ETCD_EQUAL, 0, str("y")}, false},
        {{str("group"), CRS_ETCD_VALUE, CRS_ETCD_NOT_EQUAL, 0, str("y")}, true},
        {{str("group"), CRS_ETCD_VERSION, CRS_ETCD_EQUAL, 1, {0}}, true},
        {{str("group"), CRS_ETCD_VERSION, CRS_ETCD_GREATER, 1, {0}}, false},
        {{str("group"), CRS_ETCD_VERSION, CRS_ETCD_LESS, 2, {0}}, true},
        {{str("group"), CRS_ETCD_CREATE_REVISION, CRS_ETCD_GREATER, 0, {0}}, true},
        {{str("group"), CRS_ETCD_MOD_REVISION, CRS_ETCD_EQUAL, 0, {0}}, false},
        {{str("group"), CRS_ETCD_LEASE, CRS_ETCD_EQUAL, 0, {0}}, true},
        {{str("group"), CRS_ETCD_LEASE, CRS_ETCD_EQUAL, 7, {0}}, false},
    };
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_TXN, .compares = &cases[i].compare, .compare_count = 1});
        assert_int_equal(r->succeeded, cases[i].holds);
    }
    crs_etcd_op remove[] = {{.kind = CRS_ETCD_DELETE, .key = str("group"), .prefix = true}};
    r = await(w, fiber,
              (crs_etcd_op){.kind = CRS_ETCD_TXN, .then_ops = remove, .then_count = 1}); /* nothing to compare */
    assert_true(r->succeeded);
    assert_int_equal(r->results[0].count, 2);
}

static void transactions_compare_and_do(void **state)
{
    world w;
    world_open(&w);
    on_fiber(&w, groups_of_steps);
    world_close(&w);
}

static void what_etcd_refuses_is_told_with_its_words_and_the_endpoint(void **state)
{
    world w;
    world_open(&w);
    answer a = call(&w, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str("k"), .lease = 12345});
    assert_int_equal(a.status, CEREUS_E_NOT_FOUND);
    assert_non_null(strstr(a.err.msg, w.server.endpoint));
    assert_non_null(strstr(a.err.msg, "requested lease not found"));
    a = call(&w, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str("")});
    assert_int_equal(a.status, CEREUS_E_INVALID);
    a = call(&w, (crs_etcd_op){.kind = CRS_ETCD_KEEP_ALIVE, .lease = 12345});
    assert_int_equal(a.status, CEREUS_E_NOT_FOUND);
    a = call(&w, (crs_etcd_op){.kind = CRS_ETCD_REVOKE, .lease = 12345});
    assert_int_equal(a.status, CEREUS_E_NOT_FOUND);
    int64_t revision = put(&w, "k", "1", 0);
    put(&w, "k", "2", 0);
    char json[64];
    snprintf(json, sizeof json, "{\"revision\":\"%lld\",\"physical\":true}", (long long)revision + 1);
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/compaction", json, NULL, 0), 200);
    a = call(&w, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("k"), .revision = revision});
    assert_int_equal(a.status, CEREUS_E_RANGE);
    assert_int_equal(COUNTED(&w, grpc_call_failures), 4); /* the keep-alive was answered well, with a time of 0 */
    world_close(&w);
}

enum { BIG = 1 << 20 };

typedef struct big {
    uint8_t *value;
    bool checked;
} big;

static void check_big(cereus_status st, const crs_etcd_result *result, const cereus_error *err, void *user)
{
    big *b = user;
    assert_int_equal(st, CEREUS_OK);
    assert_int_equal(result->kv_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(result->kvs[i].value.len, BIG);
        assert_memory_equal(result->kvs[i].value.data, b->value, BIG);
    }
    b->checked = true;
}

static void big_values_travel_both_ways(void **state)
{
    world w;
    world_open(&w);
    big b = {.value = malloc(BIG)};
    for (size_t i = 0; i < BIG; i++)
        b.value[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int i = 0; i < 4; i++) {
        char key[16];
        snprintf(key, sizeof key, "big/%d", i);
        answer a =
            call(&w, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str(key), .value = cereus_slice_of(b.value, BIG)});
        assert_int_equal(a.status, CEREUS_OK);
    }
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = str("big/"), .prefix = true};
    assert_int_equal(crs_etcd_start(w.etcd, &op, 30000, check_big, &b, &w.err), CEREUS_OK);
    TEST_UNTIL(&w.t, b.checked);
    free(b.value);
    world_close(&w);
}

static void many_calls_at_once_are_each_answered(void **state)
{
    enum { CALLS = 500 };
    world w;
    world_open(&w);
    answer *answers = calloc(CALLS, sizeof *answers);
    for (int i = 0; i < CALLS; i++) {
        char key[16];
        snprintf(key, sizeof key, "many/%03d", i);
        crs_etcd_op op = {.kind = CRS_ETCD_PUT, .key = str(key), .value = str("v")};
        assert_int_equal(crs_etcd_start(w.etcd, &op, 30000, on_answer, &answers[i], &w.err), CEREUS_OK);
    }
    for (int i = 0; i < CALLS; i++)
        TEST_UNTIL(&w.t, answers[i].done);
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(answers[i].status, CEREUS_OK);
    free(answers);
    assert_int_equal(count(&w, "many/", true), CALLS);
    world_close(&w);
}

/* ---- leases ---- */

typedef struct loss {
    bool lost;
    cereus_error why;
} loss;

static void on_lost(const cereus_error *why, void *user)
{
    loss *l = user;
    assert_false(l->lost);
    l->lost = true;
    l->why = *why;
}

static int64_t grant(world *w, int64_t ttl_s)
{
    answer a = call(w, (crs_etcd_op){.kind = CRS_ETCD_GRANT, .ttl_s = ttl_s});
    assert_int_equal(a.status, CEREUS_OK);
    return a.result.lease;
}

static void a_lease_lives_while_it_is_kept_and_its_keys_go_with_it(void **state)
{
    world w;
    world_open(&w);
    loss lost = {0};
    crs_etcd_lease *kept;
    int64_t id = grant(&w, 1), other = grant(&w, 1);
    put(&w, "kept", "v", id);
    put(&w, "not-kept", "v", other);
    assert_int_equal(crs_etcd_lease_keep(w.etcd, id, 1, on_lost, &lost, &kept, &w.err), CEREUS_OK);
    while (count(&w, "not-kept", false)) /* until its second is over, and some more */
        ;
    for (int i = 0; i < 5; i++) {
        int64_t short_one = grant(&w, 1);
        put(&w, "short", "v", short_one);
        while (count(&w, "short", false))
            ;
    }
    assert_false(lost.lost);
    assert_int_equal(count(&w, "kept", false), 1);
    kept = crs_etcd_lease_drop(kept);
    while (count(&w, "kept", false))
        ;
    assert_false(lost.lost); /* nobody keeps it, nobody is told */
    world_close(&w);
}

static void a_lease_that_etcd_let_go_is_reported_lost(void **state)
{
    world w;
    world_open(&w);
    loss lost = {0};
    int64_t id = grant(&w, 2);
    assert_int_equal(crs_etcd_lease_keep(w.etcd, id, 2, on_lost, &lost, NULL, &w.err), CEREUS_OK);
    assert_int_equal(call(&w, (crs_etcd_op){.kind = CRS_ETCD_REVOKE, .lease = id}).status, CEREUS_OK);
    TEST_UNTIL(&w.t, lost.lost);
    assert_int_equal(lost.why.status, CEREUS_E_GONE);
    assert_non_null(strstr(lost.why.msg, "does not know it"));
    assert_int_equal(COUNTED(&w, etcd_leases_lost), 1);
    world_close(&w);
}

static void a_lease_is_lost_when_etcd_is_away_for_its_whole_time(void **state)
{
    world w;
    world_open(&w);
    loss lost = {0};
    int64_t id = grant(&w, 2);
    assert_int_equal(crs_etcd_lease_keep(w.etcd, id, 2, on_lost, &lost, NULL, &w.err), CEREUS_OK);
    test_etcd_kill(&w.server);
    TEST_UNTIL(&w.t, lost.lost);
    assert_non_null(strstr(lost.why.msg, "did not answer"));
    assert_false(crs_etcd_ready(w.etcd));
    world_close(&w);
}

static void leases_are_kept_across_a_restart_of_etcd(void **state)
{
    world w;
    world_open(&w);
    loss lost = {0};
    int64_t id = grant(&w, 30);
    put(&w, "k", "v", id);
    assert_int_equal(crs_etcd_lease_keep(w.etcd, id, 30, on_lost, &lost, NULL, &w.err), CEREUS_OK);
    test_etcd_kill(&w.server);
    TEST_UNTIL(&w.t, !w.ready);
    assert_true(test_etcd_run(&w.server));
    TEST_UNTIL(&w.t, w.ready);
    assert_int_equal(count(&w, "k", false), 1);
    assert_false(lost.lost);
    world_close(&w);
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

static void on_event(const crs_etcd_event *event, void *user)
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

static void on_compacted(int64_t compact_revision, void *user)
{
    ((seen *)user)->compacted = compact_revision;
}

static void on_failed(const cereus_error *err, void *user)
{
    ((seen *)user)->failed = true;
    ((seen *)user)->err = *err;
}

static const crs_etcd_watch_ops watch_ops = {.event = on_event, .compacted = on_compacted, .failed = on_failed};

static void watch(world *w, seen *s, const char *prefix, int64_t from)
{
    crs_etcd_watch_options opt = {.key = str(prefix), .prefix = true, .from_revision = from};
    assert_int_equal(crs_etcd_watch_start(w->etcd, &opt, &watch_ops, s, &s->watch, &w->err), CEREUS_OK);
}

static void a_watch_tells_every_change_from_its_revision_on(void **state)
{
    world w;
    world_open(&w);
    seen a = {0}, b = {0}, other = {0};
    int64_t first = put(&w, "s/1", "x", 0);
    put(&w, "s/2", "y", 0);
    watch(&w, &a, "s/", first + 1);
    watch(&w, &other, "t/", first);
    call(&w, (crs_etcd_op){.kind = CRS_ETCD_DELETE, .key = str("s/1")});
    put(&w, "t/1", "z", 0);
    TEST_UNTIL(&w.t, a.events == 2 && other.events == 1);
    assert_string_equal(a.text, "+s/2=y -s/1 ");
    assert_string_equal(other.text, "+t/1=z ");
    watch(&w, &b, "s/", first); /* from further back, on the same stream */
    TEST_UNTIL(&w.t, b.events == 3);
    assert_string_equal(b.text, "+s/1=x +s/2=y -s/1 ");
    a.watch = crs_etcd_watch_stop(a.watch);
    b.stop = true;
    put(&w, "s/3", "", 0);
    put(&w, "s/4", "", 0);
    put(&w, "t/2", "", 0);
    TEST_UNTIL(&w.t, other.events == 2);
    assert_int_equal(a.events, 2);
    assert_int_equal(b.events, 4); /* stopped in its callback */
    world_close(&w);
}

static void a_watch_goes_on_where_it_was_when_etcd_was_killed(void **state)
{
    world w;
    world_open(&w);
    seen s = {0}, from_now = {0};
    watch(&w, &s, "s/", put(&w, "other", "", 0) + 1);
    watch(&w, &from_now, "s/", 0);
    put(&w, "s/1", "", 0);
    TEST_UNTIL(&w.t, s.events == 1);
    for (int round = 0; round < 3; round++) {
        test_etcd_kill(&w.server);
        TEST_UNTIL(&w.t, !w.ready);
        assert_true(test_etcd_run(&w.server));
        /* a change that our client hears of only when it is back */
        while (test_etcd_post(&w.server, "/v3/kv/put", "{\"key\":\"cy9jdXQ=\",\"value\":\"dg==\"}", NULL, 0) != 200)
            usleep(20000); /* no leader yet */
        TEST_UNTIL(&w.t, s.events == (size_t)round + 2);
    }
    assert_string_equal(s.text, "+s/1= +s/cut=v +s/cut=v +s/cut=v ");
    TEST_UNTIL(&w.t, from_now.events >= 3);
    assert_true(COUNTED(&w, etcd_watches_resumed) >= 3);
    assert_int_equal(COUNTED(&w, grpc_connections_lost), 3);
    world_close(&w);
}

static void a_watch_that_fell_behind_a_compaction_says_so(void **state)
{
    world w;
    world_open(&w);
    seen s = {0}, again = {0};
    int64_t first = put(&w, "s/1", "", 0);
    watch(&w, &s, "s/", first);
    TEST_UNTIL(&w.t, s.events == 1);
    test_etcd_kill(&w.server);
    TEST_UNTIL(&w.t, !w.ready);
    assert_true(test_etcd_run(&w.server));
    /* by the gateway, while our client is not back: a change, and its history compacted away */
    while (test_etcd_post(&w.server, "/v3/kv/put", "{\"key\":\"cy8y\",\"value\":\"dg==\"}", NULL, 0) != 200)
        usleep(20000);
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/put", "{\"key\":\"eA==\",\"value\":\"dg==\"}", NULL, 0), 200);
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/put", "{\"key\":\"eA==\",\"value\":\"dg==\"}", NULL, 0), 200);
    char json[64];
    snprintf(json, sizeof json, "{\"revision\":\"%lld\",\"physical\":true}", (long long)first + 3);
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/compaction", json, NULL, 0), 200);
    TEST_UNTIL(&w.t, s.compacted);
    assert_int_equal(s.compacted, first + 3);
    assert_int_equal(s.events, 1);
    assert_int_equal(COUNTED(&w, etcd_watches_compacted), 1);
    /* what its owner does then */
    answer a = call(&w, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("s/"), .prefix = true});
    assert_int_equal(a.result.kv_count, 2);
    watch(&w, &again, "s/", a.result.revision + 1);
    put(&w, "s/3", "", 0);
    TEST_UNTIL(&w.t, again.events == 1);
    world_close(&w);
}

static void progress_notices_move_a_watch_that_sees_nothing(void **state)
{
    world w;
    world_open(&w);
    seen s = {0};
    watch(&w, &s, "quiet/", put(&w, "x", "", 0) + 1);
    int64_t last = 0;
    for (int i = 0; i < 10; i++)
        last = put(&w, "x", "", 0);
    /* a notice of etcd's, each 200 ms here, tells that nothing was missed up to `last`; kept alive by a lease's seconds */
    loss lost = {0};
    int64_t id = grant(&w, 1);
    put(&w, "tick", "", id);
    while (count(&w, "tick", false))
        ;
    (void)lost;
    char json[64];
    snprintf(json, sizeof json, "{\"revision\":\"%lld\",\"physical\":true}", (long long)last);
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/compaction", json, NULL, 0), 200);
    test_etcd_kill(&w.server);
    TEST_UNTIL(&w.t, !w.ready);
    assert_true(test_etcd_run(&w.server));
    put(&w, "quiet/1", "", 0);
    TEST_UNTIL(&w.t, s.events == 1 || s.compacted);
    assert_int_equal(s.compacted, 0); /* it went on from behind the compaction */
    world_close(&w);
}

static void a_stopped_etcd_is_noticed_and_found_again(void **state)
{
    world w;
    memset(&w, 0, sizeof w);
    test_real_loop_open(&w.t);
    test_etcd_open(&w.server, NULL);
    world_connect(&w, (crs_etcd_options){.keepalive_ms = 500, .keepalive_timeout_ms = 300, .dial_timeout_ms = 500});
    seen s = {0};
    watch(&w, &s, "s/", put(&w, "x", "", 0) + 1);
    put(&w, "s/1", "", 0);
    TEST_UNTIL(&w.t, s.events == 1);
    kill(w.server.pid, SIGSTOP);
    TEST_UNTIL(&w.t, !w.ready); /* its kernel still takes bytes, and new connections */
    answer a = call_for(&w, &(crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")}, 700);
    assert_int_equal(a.status, CEREUS_E_UNAVAILABLE); /* it was never made */
    assert_non_null(strstr(a.err.msg, w.server.endpoint));
    kill(w.server.pid, SIGCONT);
    TEST_UNTIL(&w.t, w.ready);
    put(&w, "s/2", "", 0);
    TEST_UNTIL(&w.t, s.events == 2);
    assert_string_equal(s.text, "+s/1= +s/2= ");
    world_close(&w);
}

static void a_call_that_etcd_does_not_answer_times_out(void **state)
{
    world w;
    world_open(&w);
    put(&w, "x", "", 0);
    kill(w.server.pid, SIGSTOP);
    answer a = call_for(&w, &(crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")}, 200);
    assert_int_equal(a.status, CEREUS_E_TIMEOUT);
    assert_non_null(strstr(a.err.msg, w.server.endpoint));
    world_close(&w);
}

static void calls_wait_for_an_etcd_that_is_not_there_yet_and_say_so_when_it_never_comes(void **state)
{
    world w;
    world_open(&w);
    put(&w, "x", "1", 0);
    test_etcd_kill(&w.server);
    answer a = call_for(&w, &(crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")}, 300);
    assert_int_equal(a.status, CEREUS_E_UNAVAILABLE);
    assert_non_null(strstr(a.err.msg, w.server.endpoint));
    TEST_UNTIL(&w.t, !w.ready);
    answer late = {0};
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = str("x")};
    assert_int_equal(crs_etcd_start(w.etcd, &op, 50000, on_answer, &late, &w.err), CEREUS_OK);
    assert_true(test_etcd_run(&w.server));
    TEST_UNTIL(&w.t, late.done);
    assert_int_equal(late.status, CEREUS_OK);
    assert_int_equal(late.result.kv_count, 1);
    world_close(&w);
}

static void an_endpoint_that_is_down_is_passed_over(void **state)
{
    world w;
    memset(&w, 0, sizeof w);
    test_real_loop_open(&w.t);
    test_etcd_open(&w.server, NULL);
    char dead[2][32];
    snprintf(dead[0], sizeof dead[0], "127.0.0.1:%u", test_free_port());
    snprintf(dead[1], sizeof dead[1], "localhost:%u", test_free_port()); /* a name to resolve */
    const char *endpoints[] = {dead[0], dead[1], w.server.endpoint};
    world_connect(&w, (crs_etcd_options){.endpoints = endpoints, .endpoint_count = 3});
    put(&w, "x", "", 0);
    assert_true(COUNTED(&w, grpc_connect_failures) >= 2);
    test_etcd_kill(&w.server);
    TEST_UNTIL(&w.t, !w.ready);
    assert_true(test_etcd_run(&w.server));
    TEST_UNTIL(&w.t, w.ready); /* it went round */
    assert_int_equal(count(&w, "x", false), 1);
    world_close(&w);
}

/* ---- authentication ---- */

static void enable_auth(test_etcd *server)
{
    static const char *const posts[][2] = {
        {"/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"secret\"}"},
        {"/v3/auth/role/add", "{\"name\":\"root\"}"},
        {"/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}"},
        {"/v3/auth/user/add", "{\"name\":\"guest\",\"password\":\"guest\"}"},
        {"/v3/auth/enable", "{}"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(posts); i++)
        assert_int_equal(test_etcd_post(server, posts[i][0], posts[i][1], NULL, 0), 200);
}

static void user_and_password_are_shown_and_shown_again_after_a_restart(void **state)
{
    world w;
    memset(&w, 0, sizeof w);
    test_real_loop_open(&w.t);
    test_etcd_open(&w.server, NULL);
    world_connect(&w, (crs_etcd_options){.user = "root", .password = "secret"});
    put(&w, "before", "", 0); /* authentication is not enabled yet */
    assert_int_equal(COUNTED(&w, etcd_authentications), 0);
    enable_auth(&w.server);
    seen s = {0};
    watch(&w, &s, "s/", put(&w, "x", "", 0) + 1); /* without a token it is refused, so one is got */
    assert_int_equal(COUNTED(&w, etcd_authentications), 1);
    put(&w, "s/1", "", 0);
    TEST_UNTIL(&w.t, s.events == 1);
    test_etcd_kill(&w.server); /* tokens are in its memory only */
    TEST_UNTIL(&w.t, !w.ready);
    assert_true(test_etcd_run(&w.server));
    TEST_UNTIL(&w.t, w.ready);
    put(&w, "s/2", "", 0);
    TEST_UNTIL(&w.t, s.events == 2);
    assert_true(COUNTED(&w, etcd_authentications) >= 2);
    assert_int_equal(COUNTED(&w, etcd_auth_failures), 0);
    world_close(&w);
}

static void a_wrong_password_is_named_and_no_permission_too(void **state)
{
    world w;
    memset(&w, 0, sizeof w);
    test_real_loop_open(&w.t);
    test_etcd_open(&w.server, NULL);
    enable_auth(&w.server);
    world_connect(&w, (crs_etcd_options){.user = "root", .password = "wrong"});
    answer a = call_for(&w, &(crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")}, 3000);
    assert_int_equal(a.status, CEREUS_E_UNAVAILABLE);
    assert_non_null(strstr(a.err.msg, "invalid user ID or password"));
    assert_true(COUNTED(&w, etcd_auth_failures) >= 1);
    assert_false(crs_etcd_ready(w.etcd));
    w.etcd = crs_etcd_close(w.etcd);
    world_connect(&w, (crs_etcd_options){.user = "guest", .password = "guest"});
    a = call(&w, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")});
    assert_int_equal(a.status, CEREUS_E_INVALID);
    assert_non_null(strstr(a.err.msg, "permission denied"));
    seen s = {0};
    watch(&w, &s, "s/", 1);
    TEST_UNTIL(&w.t, s.failed);
    assert_non_null(strstr(s.err.msg, "permission denied"));
    world_close(&w);
}

/* ---- TLS ---- */

static void tls_is_spoken_and_checked(void **state)
{
    const char *dir = getenv("CEREUS_TEST_TLS");
    char files[4][300];
    assert_non_null(dir);
    static const char *const names[] = {"server.crt", "server.key", "other.crt", "other.key"};
    for (size_t i = 0; i < 4; i++)
        snprintf(files[i], sizeof files[i], "%s/%s", dir, names[i]);
    const char *server_tls[] = {files[0], files[0], files[1]};

    world w;
    memset(&w, 0, sizeof w);
    test_real_loop_open(&w.t);
    test_etcd_open(&w.server, server_tls);
    crs_tls_client_options tls = {.ca_file = files[0], .cert_file = files[0], .key_file = files[1]};
    world_connect(&w, (crs_etcd_options){.tls = &tls});
    put(&w, "x", "", 0);
    uint8_t *zeros = calloc(1, BIG);
    answer a = call(&w, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str("big"), .value = cereus_slice_of(zeros, BIG)});
    assert_int_equal(a.status, CEREUS_OK);
    free(zeros);
    seen s = {0};
    watch(&w, &s, "big", 1);
    TEST_UNTIL(&w.t, s.events == 1);
    w.etcd = crs_etcd_close(w.etcd);

    struct {
        crs_tls_client_options tls;
        const char *says;
    } bad[] = {
        {{.ca_file = files[2], .cert_file = files[0], .key_file = files[1]}, "certificate is not accepted"},
        {{.ca_file = files[0], .cert_file = files[0], .key_file = files[1], .server_name = "elsewhere.example"},
         "server name"},
        {{.ca_file = files[0]},
         NULL}, /* it wants a certificate of ours; how the refusal looks depends on who is first */
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        world_connect(&w, (crs_etcd_options){.tls = &bad[i].tls});
        a = call_for(&w, &(crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")}, 1500);
        assert_int_equal(a.status, CEREUS_E_UNAVAILABLE);
        if (bad[i].says)
            assert_non_null(strstr(a.err.msg, bad[i].says));
        w.etcd = crs_etcd_close(w.etcd);
    }
    const char *endpoints[] = {w.server.endpoint};
    crs_etcd_options opt = {.endpoints = endpoints, .endpoint_count = 1};
    opt.tls = &(crs_tls_client_options){.ca_file = "/nowhere/ca.pem"};
    assert_int_equal(crs_etcd_open(w.t.loop, &opt, &w.etcd, &w.err), CEREUS_E_INVALID);
    assert_non_null(strstr(w.err.msg, "/nowhere/ca.pem"));
    opt.tls = &(crs_tls_client_options){.ca_file = files[0], .cert_file = files[0], .key_file = files[3]};
    assert_int_equal(crs_etcd_open(w.t.loop, &opt, &w.etcd, &w.err), CEREUS_E_INVALID);
    assert_non_null(strstr(w.err.msg, "other.key"));
    opt.tls = &(crs_tls_client_options){.ca_file = files[0], .cert_file = files[0]};
    assert_int_equal(crs_etcd_open(w.t.loop, &opt, &w.etcd, &w.err), CEREUS_E_INVALID);
    world_close(&w);
}

/* ---- ends ---- */

static crs_fiber *parked;

static void park_in_a_call(crs_fiber *fiber, void *arg)
{
    task *t = arg;
    world *w = t->w;
    parked = fiber;
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = str("x")};
    const crs_etcd_result *result;
    cereus_status st = crs_etcd_await(fiber, w->etcd, &op, 0, crs_fiber_arena(fiber), &result, &w->err);
    assert_int_equal(st, CEREUS_E_CANCELLED);
    t->done = true;
}

static void a_cancelled_fiber_leaves_its_call_and_close_ends_the_others(void **state)
{
    world w;
    world_open(&w);
    put(&w, "x", "", 0);
    kill(w.server.pid, SIGSTOP);
    task a = {.w = &w}, b = {.w = &w};
    assert_int_equal(crs_fiber_start(w.t.fibers, "test", park_in_a_call, &a), CEREUS_OK);
    crs_fiber_cancel(parked);
    TEST_UNTIL(&w.t, a.done);
    assert_int_equal(crs_fiber_start(w.t.fibers, "test", park_in_a_call, &b), CEREUS_OK);
    loss lost = {0};
    seen s = {0};
    answer in_flight = {0};
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = str("x")};
    assert_int_equal(crs_etcd_start(w.etcd, &op, 0, on_answer, &in_flight, &w.err), CEREUS_OK);
    assert_int_equal(crs_etcd_lease_keep(w.etcd, 77, 10, on_lost, &lost, NULL, &w.err), CEREUS_OK);
    watch(&w, &s, "s/", 1);
    test_real_turn(&w.t);
    w.etcd = crs_etcd_close(w.etcd);
    assert_true(in_flight.done);
    assert_int_equal(in_flight.status, CEREUS_E_CANCELLED);
    TEST_UNTIL(&w.t, b.done);
    assert_false(lost.lost || s.failed);
    world_close(&w);
}

static void mistakes_in_the_options_are_named(void **state)
{
    test_real_loop t;
    crs_etcd *etcd = NULL;
    cereus_error err;
    test_real_loop_open(&t);
    static const char *const bad[] = {"",           "host",    "host:",    ":1",        "host:0",
                                      "host:65536", "host:1x", "::1:2379", "ftp://h:1", "h/x:1"};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        crs_etcd_options opt = {.endpoints = &bad[i], .endpoint_count = 1};
        assert_int_equal(crs_etcd_open(t.loop, &opt, &etcd, &err), CEREUS_E_INVALID);
        assert_non_null(strstr(err.msg, "HOST:PORT"));
    }
    const char *two[] = {"https://a:1", "b:1"};
    crs_etcd_options opt = {.endpoints = two, .endpoint_count = 2};
    assert_int_equal(crs_etcd_open(t.loop, &opt, &etcd, &err), CEREUS_E_INVALID);
    opt.endpoint_count = 0;
    assert_int_equal(crs_etcd_open(t.loop, &opt, &etcd, &err), CEREUS_E_INVALID);
    opt = (crs_etcd_options){.endpoints = two + 1, .endpoint_count = 1, .user = "u"};
    assert_int_equal(crs_etcd_open(t.loop, &opt, &etcd, &err), CEREUS_E_INVALID);
    assert_null(etcd);
    const char *six[] = {"http://[::1]:2379"};
    opt = (crs_etcd_options){.endpoints = six, .endpoint_count = 1};
    assert_int_equal(crs_etcd_open(t.loop, &opt, &etcd, &err), CEREUS_OK);
    crs_etcd_close(etcd);
    test_real_loop_close(&t);
}

TEST_MAIN(cmocka_unit_test(every_call_does_what_etcd_promises), cmocka_unit_test(transactions_compare_and_do),
          cmocka_unit_test(what_etcd_refuses_is_told_with_its_words_and_the_endpoint),
          cmocka_unit_test(big_values_travel_both_ways), cmocka_unit_test(many_calls_at_once_are_each_answered),
          cmocka_unit_test(a_lease_lives_while_it_is_kept_and_its_keys_go_with_it),
          cmocka_unit_test(a_lease_that_etcd_let_go_is_reported_lost),
          cmocka_unit_test(a_lease_is_lost_when_etcd_is_away_for_its_whole_time),
          cmocka_unit_test(leases_are_kept_across_a_restart_of_etcd),
          cmocka_unit_test(a_watch_tells_every_change_from_its_revision_on),
          cmocka_unit_test(a_watch_goes_on_where_it_was_when_etcd_was_killed),
          cmocka_unit_test(a_watch_that_fell_behind_a_compaction_says_so),
          cmocka_unit_test(progress_notices_move_a_watch_that_sees_nothing),
          cmocka_unit_test(a_stopped_etcd_is_noticed_and_found_again),
          cmocka_unit_test(a_call_that_etcd_does_not_answer_times_out),
          cmocka_unit_test(calls_wait_for_an_etcd_that_is_not_there_yet_and_say_so_when_it_never_comes),
          cmocka_unit_test(an_endpoint_that_is_down_is_passed_over),
          cmocka_unit_test(user_and_password_are_shown_and_shown_again_after_a_restart),
          cmocka_unit_test(a_wrong_password_is_named_and_no_permission_too),
          cmocka_unit_test(tls_is_spoken_and_checked),
          cmocka_unit_test(a_cancelled_fiber_leaves_its_call_and_close_ends_the_others),
          cmocka_unit_test(mistakes_in_the_options_are_named))
