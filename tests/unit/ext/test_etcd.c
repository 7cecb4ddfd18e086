/* tests/unit/ext/test_etcd.c: calls of the etcd client against a real etcd, and its options. */
#include "etcd_world.h"

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
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/compaction", json), 200);
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
    pause_server(&w);
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
          cmocka_unit_test(a_cancelled_fiber_leaves_its_call_and_close_ends_the_others),
          cmocka_unit_test(mistakes_in_the_options_are_named))
