/* tests/unit/module/test_module.c: the table of modules. */
#include "test.h"

#include "module/module.h"

static const cereus_module nothing;

static void names_are_unique_and_order_is_kept(void **state)
{
    crs_modules m = {0};
    cereus_error err = {0};
    int users[3];
    assert_int_equal(crs_modules_add(&m, "b", &nothing, &users[0], NULL, false, &err), CEREUS_OK);
    assert_int_equal(crs_modules_add(&m, "c", &nothing, &users[1], NULL, false, &err), CEREUS_OK);
    assert_int_equal(crs_modules_add(&m, "a", &nothing, &users[2], NULL, true, &err), CEREUS_OK);
    assert_int_equal(err.status, CEREUS_OK);
    assert_int_equal(crs_modules_add(&m, "a", &nothing, NULL, NULL, false, &err), CEREUS_E_EXISTS);
    assert_string_equal(err.msg, "module with name a already exists");
    assert_int_equal(crs_modules_add(&m, "", &nothing, NULL, NULL, false, &err), CEREUS_E_INVALID);
    assert_int_equal(crs_modules_add(&m, NULL, &nothing, NULL, NULL, true, &err), CEREUS_E_INVALID);
    const char *order = "abc";
    for (crs_module *e = m.first; e; e = e->next)
        assert_int_equal(e->name[0], *order++);
    assert_int_equal(*order, '\0');
    for (crs_module *e = m.last; e; e = e->prev)
        assert_int_equal(e->name[0], *--order);
    assert_ptr_equal(crs_modules_find(&m, "a")->user, &users[2]);
    assert_null(crs_modules_find(&m, "d"));
    crs_modules_fini(&m);
    assert_null(m.first);
}

static void count_free(void *user)
{
    ++*(int *)user;
}

static void what_the_table_owns_is_freed_once(void **state)
{
    crs_modules m = {0};
    int freed = 0;
    assert_int_equal(crs_modules_add(&m, "a", &nothing, &freed, count_free, false, NULL), CEREUS_OK);
    assert_int_equal(freed, 0);
    assert_int_equal(crs_modules_add(&m, "a", &nothing, &freed, count_free, false, NULL), CEREUS_E_EXISTS);
    assert_int_equal(freed, 1);
    for (size_t n = 1; n <= 2; n++) {
        crs_alloc_fail_at(n);
        assert_int_equal(crs_modules_add(&m, "b", &nothing, &freed, count_free, false, NULL), CEREUS_E_NOMEM);
        crs_alloc_fail_at(0);
        assert_int_equal(freed, 1 + (int)n);
    }
    crs_modules_fini(&m);
    assert_int_equal(freed, 4);
}

TEST_MAIN(cmocka_unit_test(names_are_unique_and_order_is_kept), cmocka_unit_test(what_the_table_owns_is_freed_once))
