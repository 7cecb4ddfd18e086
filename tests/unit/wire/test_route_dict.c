/* tests/unit/wire/test_route_dict.c */
#include "test.h"

#include "wire/route_dict.h"

static void route_dict_finds_both_ways_through_growth(void **state)
{
    enum { ROUTES = 3000 };
    crs_route_dict *dict = crs_route_dict_new();
    char name[32];
    uint16_t code;
    cereus_slice route;
    for (int i = 0; i < ROUTES; i++) {
        snprintf(name, sizeof name, "svc.m%d", i);
        assert_int_equal(crs_route_dict_add(dict, cereus_slice_str(name), (uint16_t)(i * 21), NULL), CEREUS_OK);
    }
    assert_int_equal(crs_route_dict_count(dict), ROUTES);
    for (int i = 0; i < ROUTES; i++) {
        int len = snprintf(name, sizeof name, "svc.m%d", i);
        uint8_t *exact = test_copy(name, (size_t)len);
        assert_true(crs_route_dict_code(dict, cereus_slice_of(exact, (size_t)len), &code));
        assert_int_equal(code, i * 21);
        assert_true(crs_route_dict_route(dict, code, &route));
        assert_int_equal(route.len, len);
        assert_memory_equal(route.data, name, route.len);
        free(exact);
    }
    assert_false(crs_route_dict_code(dict, cereus_slice_str("svc.m"), &code));
    for (unsigned c = 0; c <= UINT16_MAX; c++)
        assert_int_equal(crs_route_dict_route(dict, (uint16_t)c, &route), c % 21 == 0 && c / 21 < ROUTES);
    crs_route_dict_free(dict);
}

static void route_dict_lists_in_byte_order(void **state)
{
    static const char *const sorted[] = {"B.b", "a", "a.b", "aa", "b.b", "z", "\xc3\xa9"};
    static const int order[] = {3, 6, 0, 2, 5, 1, 4};
    crs_route_dict *dict = crs_route_dict_new();
    for (size_t i = 0; i < CEREUS_COUNT(order); i++)
        assert_int_equal(crs_route_dict_add(dict, cereus_slice_str(sorted[order[i]]), (uint16_t)order[i], NULL),
                         CEREUS_OK);
    for (size_t i = 0; i < CEREUS_COUNT(sorted); i++) {
        cereus_slice route;
        uint16_t code;
        crs_route_dict_at(dict, i, &route, &code);
        assert_int_equal(code, i);
        assert_true(crs_slice_eq(route, cereus_slice_str(sorted[i])));
    }
    crs_route_dict_free(dict);
}

static void route_dict_refuses_what_is_taken_blank_or_long(void **state)
{
    crs_route_dict *dict = crs_route_dict_new();
    cereus_error err = {0};
    char longest[256];
    memset(longest, 'r', sizeof longest);
    assert_int_equal(crs_route_dict_add(dict, cereus_slice_str(" a.b\t\n"), 7, &err), CEREUS_OK);
    assert_int_equal(crs_route_dict_add(dict, cereus_slice_str("a.b "), 8, &err), CEREUS_E_EXISTS);
    assert_string_equal(err.msg, "duplicated route(route: a.b, code: 8)");
    assert_int_equal(crs_route_dict_add(dict, cereus_slice_str("other"), 7, &err), CEREUS_E_EXISTS);
    assert_string_equal(err.msg, "duplicated route(route: other, code: 7)");
    assert_int_equal(crs_route_dict_add(dict, cereus_slice_str(" \r\v\f"), 9, &err), CEREUS_E_INVALID);
    assert_int_equal(crs_route_dict_add(dict, cereus_slice_of(NULL, 0), 9, &err), CEREUS_E_INVALID);
    assert_int_equal(crs_route_dict_add(dict, cereus_slice_of(longest, 256), 9, &err), CEREUS_E_TOO_LONG);
    assert_int_equal(crs_route_dict_count(dict), 1);
    assert_int_equal(crs_route_dict_add(dict, cereus_slice_of(longest, 255), 9, &err), CEREUS_OK);
    assert_int_equal(crs_route_dict_count(dict), 2);
    crs_route_dict_free(dict);
}

static void route_dict_that_is_not_there_is_empty(void **state)
{
    uint16_t code;
    cereus_slice route;
    crs_route_dict *empty = crs_route_dict_new();
    assert_int_equal(crs_route_dict_count(NULL), 0);
    assert_false(crs_route_dict_code(NULL, cereus_slice_str("a"), &code));
    assert_false(crs_route_dict_route(NULL, 0, &route));
    assert_false(crs_route_dict_code(empty, cereus_slice_str(""), &code));
    assert_false(crs_route_dict_route(empty, 0, &route));
    assert_null(crs_route_dict_free(empty));
    assert_null(crs_route_dict_free(NULL));
}

static void route_dict_is_unchanged_by_a_failing_allocation(void **state)
{
    crs_alloc_fail_at(1);
    assert_null(crs_route_dict_new());
    crs_route_dict *dict = crs_route_dict_new();
    for (int i = 0; i < 40; i++) { /* over several growths of each table */
        char name[16];
        snprintf(name, sizeof name, "r%d", i);
        cereus_status st = CEREUS_E_NOMEM;
        for (size_t nth = 1; st; nth++) {
            uint16_t code;
            cereus_slice route;
            crs_alloc_fail_at(nth);
            st = crs_route_dict_add(dict, cereus_slice_str(name), (uint16_t)i, NULL);
            crs_alloc_fail_at(0);
            assert_int_equal(st == CEREUS_OK, crs_route_dict_code(dict, cereus_slice_str(name), &code));
            assert_int_equal(st == CEREUS_OK, crs_route_dict_route(dict, (uint16_t)i, &route));
            assert_int_equal(crs_route_dict_count(dict), i + (st == CEREUS_OK));
        }
    }
    crs_route_dict_free(dict);
}

TEST_MAIN(cmocka_unit_test(route_dict_finds_both_ways_through_growth), cmocka_unit_test(route_dict_lists_in_byte_order),
          cmocka_unit_test(route_dict_refuses_what_is_taken_blank_or_long),
          cmocka_unit_test(route_dict_that_is_not_there_is_empty),
          cmocka_unit_test(route_dict_is_unchanged_by_a_failing_allocation))
