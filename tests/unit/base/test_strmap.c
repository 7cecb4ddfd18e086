/* tests/unit/base/test_strmap.c */
#include "test.h"

#include "base/strmap.h"

static void strmap_finds_what_was_put_through_growth_and_removal(void **state)
{
    crs_strmap m;
    crs_strmap_init(&m);
    static char value[2000];
    char key[16];
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "key%d", i);
        assert_int_equal(crs_strmap_put(&m, cereus_slice_str(key), &value[i], NULL), CEREUS_OK);
    }
    for (int i = 0; i < 2000; i += 2) {
        snprintf(key, sizeof key, "key%d", i);
        assert_ptr_equal(crs_strmap_del(&m, cereus_slice_str(key)), &value[i]);
    }
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "key%d", i);
        assert_ptr_equal(crs_strmap_get(&m, cereus_slice_str(key)), i % 2 ? &value[i] : NULL);
    }
    assert_int_equal(m.count, 1000);
    crs_strmap_fini(&m);
}

static void strmap_put_replaces_and_tells_the_old_value(void **state)
{
    crs_strmap m;
    crs_strmap_init(&m);
    int a, b;
    void *old = &b;
    assert_int_equal(crs_strmap_put(&m, cereus_slice_str(""), &a, &old), CEREUS_OK);
    assert_null(old);
    assert_int_equal(crs_strmap_put(&m, cereus_slice_str(""), &b, &old), CEREUS_OK);
    assert_ptr_equal(old, &a);
    assert_int_equal(m.count, 1);
    crs_strmap_fini(&m);
}

static void strmap_survives_a_failing_allocation(void **state)
{
    crs_strmap m;
    crs_strmap_init(&m);
    int v;
    for (size_t nth = 1; nth <= 2; nth++) {
        crs_alloc_fail_at(nth);
        assert_int_equal(crs_strmap_put(&m, cereus_slice_str("k"), &v, NULL), CEREUS_E_NOMEM);
        assert_int_equal(m.count, 0);
        crs_alloc_fail_at(0);
    }
    crs_strmap_fini(&m);
}

static void strmap_needs_no_memory_for_what_is_there(void **state)
{
    crs_strmap m;
    int value;
    crs_strmap_init(&m);
    for (char key = 'a'; key <= 'f'; key++) /* one more, and it grows */
        assert_int_equal(crs_strmap_put(&m, cereus_slice_of(&key, 1), &value, NULL), CEREUS_OK);
    crs_alloc_fail_at(1);
    assert_int_equal(crs_strmap_put(&m, cereus_slice_str("c"), &m, NULL), CEREUS_OK);
    crs_alloc_fail_at(0);
    assert_ptr_equal(crs_strmap_get(&m, cereus_slice_str("c")), &m);
    crs_strmap_fini(&m);
}

TEST_MAIN(cmocka_unit_test(strmap_finds_what_was_put_through_growth_and_removal),
          cmocka_unit_test(strmap_put_replaces_and_tells_the_old_value),
          cmocka_unit_test(strmap_survives_a_failing_allocation),
          cmocka_unit_test(strmap_needs_no_memory_for_what_is_there))
