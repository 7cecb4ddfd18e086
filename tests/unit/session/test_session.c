/* tests/unit/session/test_session.c */
#include "test.h"

#include <pthread.h>

#include "session/session.h"

/* The table keeps agents and never looks at them: any address will do. */
static crs_agent *agent(size_t n)
{
    static char some[100000];
    return (crs_agent *)(void *)&some[n];
}

static void ids_find_their_agent_and_go_stale(void **state)
{
    crs_session_table t;
    crs_session_table_init(&t, 7, 100);
    cereus_session_id a, b;
    assert_int_equal(crs_session_table_add(&t, agent(1), &a), CEREUS_OK);
    assert_int_equal(crs_session_table_add(&t, agent(2), &b), CEREUS_OK);
    assert_int_not_equal(a, 0);
    assert_int_not_equal(a, b);
    assert_int_equal(crs_session_id_loop(a), 7);
    assert_ptr_equal(crs_session_table_find(&t, a), agent(1));
    assert_ptr_equal(crs_session_table_find(&t, b), agent(2));
    assert_int_equal(atomic_load(&t.count), 2);
    crs_session_table_remove(&t, a);
    assert_null(crs_session_table_find(&t, a));
    assert_ptr_equal(crs_session_table_find(&t, b), agent(2));
    cereus_session_id c;
    assert_int_equal(crs_session_table_add(&t, agent(3), &c), CEREUS_OK); /* the same slot, another generation */
    assert_int_equal((uint32_t)c & 0xffffff, (uint32_t)a & 0xffffff);
    assert_int_not_equal(c, a);
    assert_null(crs_session_table_find(&t, a));
    assert_ptr_equal(crs_session_table_find(&t, c), agent(3));
    crs_session_table_fini(&t);
}

static void ids_that_were_never_given_out_find_nobody(void **state)
{
    crs_session_table t;
    crs_session_table_init(&t, 3, 100);
    assert_null(crs_session_table_find(&t, 0));
    cereus_session_id id;
    assert_int_equal(crs_session_table_add(&t, agent(1), &id), CEREUS_OK);
    assert_null(crs_session_table_find(&t, 0));
    assert_null(crs_session_table_find(&t, UINT64_MAX));
    for (int bit = 0; bit < 64; bit++)
        assert_null(crs_session_table_find(&t, id ^ (uint64_t)1 << bit)); /* another loop's among them */
    crs_session_table_fini(&t);
}

static void a_full_table_refuses_until_one_ends(void **state)
{
    crs_session_table t;
    crs_session_table_init(&t, 0, 1000);
    static cereus_session_id ids[1000];
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(crs_session_table_add(&t, agent(i), &ids[i]), CEREUS_OK);
    cereus_session_id none = 42;
    assert_int_equal(crs_session_table_add(&t, agent(0), &none), CEREUS_E_FULL);
    assert_int_equal(none, 42);
    for (size_t i = 0; i < 1000; i++)
        assert_ptr_equal(crs_session_table_find(&t, ids[i]), agent(i));
    crs_session_table_remove(&t, ids[500]);
    assert_int_equal(crs_session_table_add(&t, agent(0), &none), CEREUS_OK);
    assert_int_equal(crs_session_table_add(&t, agent(0), &none), CEREUS_E_FULL);
    crs_session_table_fini(&t);
    crs_session_table_init(&t, 0, 0);
    assert_int_equal(crs_session_table_add(&t, agent(0), &none), CEREUS_E_FULL);
    crs_session_table_fini(&t);
}

static void a_random_history_never_gives_an_id_twice(void **state)
{
    enum { LIVE = 100, STEPS = 20000 };
    crs_session_table t;
    crs_session_table_init(&t, 255, LIVE);
    cereus_session_id live[LIVE] = {0}, gone[LIVE] = {0};
    uint32_t seed = 1;
    for (int step = 0; step < STEPS; step++) {
        seed = seed * 1664525 + 1013904223;
        size_t i = (seed >> 8) % LIVE;
        if (live[i]) {
            crs_session_table_remove(&t, live[i]);
            gone[i] = live[i];
            live[i] = 0;
        } else {
            assert_int_equal(crs_session_table_add(&t, agent(i), &live[i]), CEREUS_OK);
            for (size_t k = 0; k < LIVE; k++) {
                assert_int_not_equal(live[i], gone[k]);
                assert_true(k == i || live[i] != live[k]);
            }
        }
        size_t k = (seed >> 20) % LIVE;
        assert_ptr_equal(crs_session_table_find(&t, live[k]), live[k] ? agent(k) : NULL);
        assert_null(crs_session_table_find(&t, gone[k]));
    }
    crs_session_table_fini(&t);
}

static void a_generation_that_wraps_skips_zero(void **state)
{
    crs_session_table t;
    crs_session_table_init(&t, 0, 1);
    cereus_session_id id;
    assert_int_equal(crs_session_table_add(&t, agent(1), &id), CEREUS_OK);
    crs_session_table_remove(&t, id);
    t.slots[0].generation = UINT32_MAX;
    assert_int_equal(crs_session_table_add(&t, agent(1), &id), CEREUS_OK);
    assert_int_equal(id >> 32, 1);
    assert_int_not_equal(id, 0);
    crs_session_table_fini(&t);
}

static void growing_without_memory_leaves_the_table_as_it_was(void **state)
{
    crs_session_table t;
    crs_session_table_init(&t, 0, 1000);
    cereus_session_id ids[65], none = 42;
    crs_alloc_fail_at(1);
    assert_int_equal(crs_session_table_add(&t, agent(0), &none), CEREUS_E_NOMEM);
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(crs_session_table_add(&t, agent(i), &ids[i]), CEREUS_OK);
    crs_alloc_fail_at(1);
    assert_int_equal(crs_session_table_add(&t, agent(0), &none), CEREUS_E_NOMEM);
    assert_int_equal(none, 42);
    assert_int_equal(atomic_load(&t.count), 64);
    assert_int_equal(crs_session_table_add(&t, agent(64), &ids[64]), CEREUS_OK);
    for (size_t i = 0; i < 65; i++)
        assert_ptr_equal(crs_session_table_find(&t, ids[i]), agent(i));
    crs_session_table_fini(&t);
}

static void a_uid_belongs_to_the_last_who_claimed_it(void **state)
{
    crs_uid_index *index = crs_uid_index_new();
    cereus_session_id old = 99;
    cereus_slice uid = cereus_slice_str("player");
    assert_int_equal(crs_uid_find(index, uid), 0);
    assert_int_equal(crs_uid_claim(index, uid, 1, 1000, &old), CEREUS_OK);
    assert_int_equal(old, 0);
    assert_int_equal(crs_uid_claim(index, uid, 2, 2000, &old), CEREUS_OK);
    assert_int_equal(old, 1);
    crs_uid_release(index, uid, 1); /* not his any more */
    assert_int_equal(crs_uid_find(index, uid), 2);
    crs_uid_release(index, uid, 2);
    crs_uid_release(index, uid, 2);
    assert_int_equal(crs_uid_find(index, uid), 0);
    assert_int_equal(crs_uid_find(index, cereus_slice_str("playe")), 0);
    crs_uid_index_free(index);
}

static void a_uid_bound_elsewhere_is_lost_by_those_who_had_it_before(void **state)
{
    crs_uid_index *index = crs_uid_index_new();
    cereus_session_id id = 99;
    cereus_slice uid = cereus_slice_str("player");
    assert_int_equal(crs_uid_outbid(index, uid, 1000, &id), 0);
    assert_int_equal(id, 0);
    assert_int_equal(crs_uid_claim(index, uid, 1, 1000, &id), CEREUS_OK);
    assert_int_equal(crs_uid_outbid(index, uid, 1000, &id), 1000); /* not before */
    assert_int_equal(id, 0);
    assert_int_equal(crs_uid_outbid(index, uid, 1001, &id), 0);
    assert_int_equal(id, 1);
    assert_int_equal(crs_uid_find(index, uid), 0);
    assert_int_equal(crs_uid_claim(index, uid, 2, 2000, &id), CEREUS_OK);
    assert_int_equal(id, 0);
    crs_uid_index_free(index); /* with who is in it */
}

static void a_claim_without_memory_changes_nothing(void **state)
{
    crs_alloc_fail_at(1);
    assert_null(crs_uid_index_new());
    crs_uid_index *index = crs_uid_index_new();
    cereus_session_id old = 99;
    cereus_slice uid = cereus_slice_str("player");
    for (size_t nth = 1; nth <= 2; nth++) {
        crs_alloc_fail_at(nth);
        assert_int_equal(crs_uid_claim(index, uid, 1, 1, &old), CEREUS_E_NOMEM);
        crs_alloc_fail_at(0);
        assert_int_equal(old, 99);
        assert_int_equal(crs_uid_find(index, uid), 0);
    }
    crs_uid_index_free(index);
    assert_null(crs_uid_index_free(NULL));
}

enum { THREADS = 4, ROUNDS = 2000, UIDS = 5 };

typedef struct racer {
    crs_uid_index *index;
    uint64_t number;
} racer;

static void *race(void *arg)
{
    racer *r = arg;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        char name[20];
        snprintf(name, sizeof name, "uid%d", (int)(i % UIDS));
        cereus_slice uid = cereus_slice_str(name);
        cereus_session_id mine = (i + 1) << 8 | r->number, old;
        assert_int_equal(crs_uid_claim(r->index, uid, mine, 1, &old), CEREUS_OK);
        cereus_session_id holder = crs_uid_find(r->index, uid);
        assert_true(holder == 0 || holder == mine || (holder & 0xff) != r->number); /* never an older one of mine */
        if (i % 2)
            crs_uid_release(r->index, uid, mine);
    }
    return NULL;
}

static void threads_that_claim_and_release_the_same_uids_never_lose_one(void **state)
{
    crs_uid_index *index = crs_uid_index_new();
    racer racers[THREADS];
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        racers[i] = (racer){.index = index, .number = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < UIDS; i++) { /* the last claim of each thread is known; nobody else can hold it */
        char name[20];
        snprintf(name, sizeof name, "uid%d", i);
        cereus_session_id holder = crs_uid_find(index, cereus_slice_str(name));
        assert_true(holder == 0 || (holder >> 8) > ROUNDS - 2 * UIDS);
        crs_uid_release(index, cereus_slice_str(name), holder);
        assert_int_equal(crs_uid_find(index, cereus_slice_str(name)), 0);
    }
    crs_uid_index_free(index);
}

TEST_MAIN(cmocka_unit_test(ids_find_their_agent_and_go_stale),
          cmocka_unit_test(ids_that_were_never_given_out_find_nobody),
          cmocka_unit_test(a_full_table_refuses_until_one_ends),
          cmocka_unit_test(a_random_history_never_gives_an_id_twice),
          cmocka_unit_test(a_generation_that_wraps_skips_zero),
          cmocka_unit_test(growing_without_memory_leaves_the_table_as_it_was),
          cmocka_unit_test(a_uid_belongs_to_the_last_who_claimed_it),
          cmocka_unit_test(a_uid_bound_elsewhere_is_lost_by_those_who_had_it_before),
          cmocka_unit_test(a_claim_without_memory_changes_nothing),
          cmocka_unit_test(threads_that_claim_and_release_the_same_uids_never_lose_one))
