/* tests/unit/ext/test_etcd_lease.c: leases against a real etcd. */
#include "etcd_world.h"

static void a_lease_lives_while_it_is_kept_and_its_keys_go_with_it(void **state)
{
    world w;
    world_open(&w);
    loss lost = {0};
    crs_etcd_lease *kept;
    int64_t id = grant(&w, 3), other = grant(&w, 3);
    put(&w, "kept", "v", id);
    put(&w, "not-kept", "v", other);
    assert_int_equal(crs_etcd_lease_keep(w.etcd, id, 3, on_lost, &lost, &kept, &w.err), CEREUS_OK);
    while (count(&w, "not-kept", false)) /* until its time is over, and some more */
        ;
    for (int i = 0; i < 2; i++) {
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

TEST_MAIN(cmocka_unit_test(a_lease_lives_while_it_is_kept_and_its_keys_go_with_it),
          cmocka_unit_test(a_lease_that_etcd_let_go_is_reported_lost),
          cmocka_unit_test(a_lease_is_lost_when_etcd_is_away_for_its_whole_time),
          cmocka_unit_test(leases_are_kept_across_a_restart_of_etcd))
