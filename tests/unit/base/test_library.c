/* tests/unit/base/test_library.c */
#include "test.h"

#include <math.h>

#include "base/library.h"

#define MATH_FUNCTIONS(X) X(cos) X(hypot)

static struct {
    CRS_LIBRARY_FIELDS(MATH_FUNCTIONS)
    void *missing;
} table;

#define SYMBOL(function) {#function, (void **)&table.function},

static void functions_are_called_through_the_table(void **state)
{
    static const crs_symbol symbols[] = {MATH_FUNCTIONS(SYMBOL)};
    cereus_error err = {0};
    for (int i = 0; i < 2; i++) { /* the second time it is there already */
        assert_int_equal(crs_library_load("libm.so.6", "install libc6", symbols, CEREUS_COUNT(symbols), &err),
                         CEREUS_OK);
        assert_true(table.cos(0) > 0.99 && table.hypot(3, 4) > 4.99);
    }
    assert_int_equal(err.status, CEREUS_OK);
}

static void a_library_that_is_not_there_is_told_with_what_to_install(void **state)
{
    static const crs_symbol symbols[] = {MATH_FUNCTIONS(SYMBOL)};
    cereus_error err = {0};
    assert_int_equal(crs_library_load("libnobody.so.9", "install nobody", symbols, CEREUS_COUNT(symbols), &err),
                     CEREUS_E_UNSUPPORTED);
    assert_string_equal(err.msg, "libnobody.so.9 cannot be loaded: install nobody");
}

static void a_function_that_is_not_there_is_named(void **state)
{
    static const crs_symbol symbols[] = {{"cos", (void **)&table.cos}, {"cosine_of_the_future", &table.missing}};
    cereus_error err = {0};
    assert_int_equal(crs_library_load("libm.so.6", "install a newer one", symbols, CEREUS_COUNT(symbols), &err),
                     CEREUS_E_UNSUPPORTED);
    assert_string_equal(err.msg, "libm.so.6 has no cosine_of_the_future: install a newer one");
    assert_null(table.missing);
}

TEST_MAIN(cmocka_unit_test(functions_are_called_through_the_table),
          cmocka_unit_test(a_library_that_is_not_there_is_told_with_what_to_install),
          cmocka_unit_test(a_function_that_is_not_there_is_named))
