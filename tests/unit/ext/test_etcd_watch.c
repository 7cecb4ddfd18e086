/* tests/unit/ext/test_etcd_watch.c: watches against a real etcd that is killed and compacted. */
#include "etcd_world.h"

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
    size_t puts = 0; /* until the second watch is known to be there: who loses it before that begins later, as asked */
    for (; from_now.events == 0; puts++)
        put(&w, "s/1", "", 0);
    TEST_UNTIL(&w.t, s.events == puts);
    char told[sizeof s.text + 64];
    snprintf(told, sizeof told, "%s+s/cut=v +s/cut=v +s/cut=v ", s.text);
    for (int round = 0; round < 3; round++) {
        test_etcd_kill(&w.server);
        TEST_UNTIL(&w.t, !w.ready);
        assert_true(test_etcd_run(&w.server));
        /* a change that our client hears of only when it is back */
        test_etcd_post_until_ok(&w.server, "/v3/kv/put", "{\"key\":\"cy9jdXQ=\",\"value\":\"dg==\"}");
        TEST_UNTIL(&w.t, s.events == puts + (size_t)round + 1);
    }
    assert_string_equal(s.text, told);
    TEST_UNTIL(&w.t, from_now.events >= 1 + 3);
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
    test_etcd_post_until_ok(&w.server, "/v3/kv/put", "{\"key\":\"cy8y\",\"value\":\"dg==\"}");
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/put", "{\"key\":\"eA==\",\"value\":\"dg==\"}"), 200);
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/put", "{\"key\":\"eA==\",\"value\":\"dg==\"}"), 200);
    char json[64];
    snprintf(json, sizeof json, "{\"revision\":\"%lld\",\"physical\":true}", (long long)first + 3);
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/compaction", json), 200);
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
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/compaction", json), 200);
    test_etcd_kill(&w.server);
    TEST_UNTIL(&w.t, !w.ready);
    assert_true(test_etcd_run(&w.server));
    put(&w, "quiet/1", "", 0);
    TEST_UNTIL(&w.t, s.events == 1 || s.compacted);
    assert_int_equal(s.compacted, 0); /* it went on from behind the compaction */
    world_close(&w);
}

TEST_MAIN(cmocka_unit_test(a_watch_tells_every_change_from_its_revision_on),
          cmocka_unit_test(a_watch_goes_on_where_it_was_when_etcd_was_killed),
          cmocka_unit_test(a_watch_that_fell_behind_a_compaction_says_so),
          cmocka_unit_test(progress_notices_move_a_watch_that_sees_nothing))
