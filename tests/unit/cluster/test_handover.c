/* tests/unit/cluster/test_handover.c: what comes by two connections is taken once, and in order. */
#include "test.h"

#include "cluster/rpc/handover.h"

static char taken[200000];

static void take(void *user, unsigned kind, cereus_slice data, cereus_slice reply)
{
    size_t len = strlen(taken);
    assert_true(len + data.len + 2 < sizeof taken);
    taken[len] = (char)kind;
    memcpy(taken + len + 1, data.data, data.len);
    taken[len + 1 + data.len] = ' ';
}

static size_t counted;

static void count(void *user, unsigned kind, cereus_slice data, cereus_slice reply)
{
    counted++;
}

static crs_handover *begin(void)
{
    static crs_handover h;
    memset(taken, 0, sizeof taken);
    crs_handover_init(&h, take, NULL);
    return &h;
}

static void by_old(crs_handover *h, char kind, const char *data, const char *reply)
{
    assert_true(crs_handover_arrives(h, false, (unsigned)kind, cereus_slice_str(data), cereus_slice_str(reply)));
}

static void by_new(crs_handover *h, char kind, const char *data, const char *reply)
{
    assert_true(crs_handover_arrives(h, true, (unsigned)kind, cereus_slice_str(data), cereus_slice_str(reply)));
}

static void without_one_all_is_taken_at_once(void **state)
{
    crs_handover *h = begin();
    by_new(h, 'r', "1", "a");
    by_new(h, 'r', "1", "a");
    by_new(h, 'p', "2", "");
    assert_string_equal(taken, "r1 r1 p2 ");
    crs_handover_fini(h);
}

static void what_comes_by_both_is_taken_once_and_in_order(void **state)
{
    crs_handover *h = begin();
    crs_handover_begin(h);
    by_old(h, 'r', "1", "a"); /* before the new one hears */
    by_new(h, 'r', "2", "b");
    by_new(h, 'r', "3", "c");
    by_old(h, 'r', "2", "b");
    by_new(h, 'r', "4", "d");
    assert_string_equal(taken, "r1 r2 ");
    crs_handover_end(h);
    assert_string_equal(taken, "r1 r2 r3 r4 ");
    by_old(h, 'r', "3", "c"); /* late */
    by_new(h, 'r', "5", "e");
    assert_string_equal(taken, "r1 r2 r3 r4 r5 ");
    crs_handover_fini(h);
}

static void what_comes_late_by_the_new_one_is_known(void **state)
{
    crs_handover *h = begin();
    crs_handover_begin(h);
    by_old(h, 'r', "1", "a");
    by_old(h, 'r', "2", "b");
    crs_handover_end(h);
    by_new(h, 'r', "1", "a");
    by_new(h, 'r', "2", "b");
    by_new(h, 'r', "3", "c");
    assert_string_equal(taken, "r1 r2 r3 ");
    crs_handover_forget(h);
    by_new(h, 'r', "2", "b");
    assert_string_equal(taken, "r1 r2 r3 r2 ");
    crs_handover_fini(h);
}

static void those_without_an_answer_are_counted(void **state)
{
    crs_handover *h = begin();
    crs_handover_begin(h);
    by_old(h, 'p', "tick", "");
    by_old(h, 'p', "tick", "");
    by_old(h, 'k', "tick", "");
    by_new(h, 'p', "tick", "");
    by_new(h, 'p', "tick", "");
    by_new(h, 'p', "tick", "");
    by_new(h, 'k', "tick", "");
    by_new(h, 'b', "tick", "");
    assert_string_equal(taken, "ptick ptick ktick ");
    crs_handover_end(h);
    assert_string_equal(taken, "ptick ptick ktick ptick btick ");
    crs_handover_fini(h);
}

static void one_that_came_by_the_old_one_alone_hides_none_that_is_the_same(void **state)
{
    crs_handover *h = begin();
    crs_handover_begin(h);
    by_old(h, 'p', "tick", ""); /* alone: it was on its way before the new one heard */
    by_old(h, 'p', "tock", "");
    by_new(h, 'p', "tock", "");
    crs_handover_hears(h);
    by_old(h, 'p', "tick", "");
    by_new(h, 'p', "tick", "");
    by_old(h, 'p', "tick", "");
    crs_handover_end(h);
    assert_string_equal(taken, "ptick ptock ptick ptick ");
    by_new(h, 'p', "tick", ""); /* late */
    assert_string_equal(taken, "ptick ptock ptick ptick ");
    by_new(h, 'p', "tick", "");
    by_new(h, 'p', "tock", "");
    assert_string_equal(taken, "ptick ptock ptick ptick ptick ptock ");
    by_new(h, 'r', "1", "a");

    crs_handover_begin(h); /* the new one is the old one */
    by_old(h, 'p', "tock", "");
    crs_handover_begin(h);
    crs_handover_end(h);
    by_new(h, 'p', "tock", "");
    assert_string_equal(taken, "ptick ptock ptick ptick ptick ptock r1 ptock ptock ");
    crs_handover_fini(h);
}

static void where_there_are_too_many_the_oldest_are_forgotten(void **state)
{
    enum { COUNT = 200000 };
    crs_handover *h = begin();
    h->take = count;
    counted = 0;
    crs_handover_begin(h);
    for (int i = 0; i < COUNT; i++)
        assert_true(crs_handover_arrives(h, false, 'r', (cereus_slice){0}, cereus_slice_of(&i, sizeof i)));
    assert_int_equal(counted, COUNT);
    assert_in_range(h->asked.young.count + h->asked.old.count, 1 << 15, 1 << 16);
    for (int i = COUNT - 30000; i < COUNT; i++)
        assert_true(crs_handover_arrives(h, true, 'r', (cereus_slice){0}, cereus_slice_of(&i, sizeof i)));
    crs_handover_end(h);
    assert_int_equal(counted, COUNT);
    crs_handover_fini(h);
}

static void it_ends_where_there_is_no_room(void **state)
{
    enum { LEN = 1 << 20 };
    char *large = calloc(1, LEN + 1);
    crs_handover *h = begin();
    crs_handover_begin(h);
    by_old(h, 'r', "1", "a");
    crs_alloc_fail_at(1);
    by_new(h, 'r', "1", "a");
    crs_alloc_fail_at(0);
    assert_false(h->holding);
    by_new(h, 'r', "2", "b");
    assert_string_equal(taken, "r1 r2 ");
    crs_handover_fini(h);

    h = begin();
    crs_handover_begin(h);
    crs_alloc_fail_at(1); /* one that cannot be noted counts by the new one alone */
    assert_false(crs_handover_arrives(h, false, 'r', cereus_slice_str("1"), cereus_slice_str("a")));
    crs_alloc_fail_at(0);
    by_old(h, 'r', "2", "b");
    by_new(h, 'r', "1", "a");
    by_new(h, 'r', "2", "b");
    crs_handover_end(h);
    assert_string_equal(taken, "r2 r1 ");
    crs_handover_fini(h);

    h = begin();
    h->take = count;
    counted = 0;
    crs_handover_begin(h);
    memset(large, 'x', LEN);
    for (int i = 0; h->holding; i++) { /* 16 MiB */
        assert_in_range(i, 0, 20);
        assert_true(crs_handover_arrives(h, true, 'r', cereus_slice_of(large, LEN), cereus_slice_of(&i, sizeof i)));
    }
    assert_int_equal(counted, 16);
    crs_handover_fini(h);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_one_all_is_taken_at_once),
        cmocka_unit_test(what_comes_by_both_is_taken_once_and_in_order),
        cmocka_unit_test(what_comes_late_by_the_new_one_is_known),
        cmocka_unit_test(those_without_an_answer_are_counted),
        cmocka_unit_test(one_that_came_by_the_old_one_alone_hides_none_that_is_the_same),
        cmocka_unit_test(where_there_are_too_many_the_oldest_are_forgotten),
        cmocka_unit_test(it_ends_where_there_is_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
