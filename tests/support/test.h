/* tests/support/test.h: what every unit test includes: cmocka, exact-size copies, one-line main. */
#ifndef TEST_H
#define TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <cereus/types.h>

#pragma GCC diagnostic ignored "-Wunused-parameter"

/** A copy on the heap of exactly @p len bytes, so that the sanitizer sees one byte too many. Free it with free(). */
static inline uint8_t *test_copy(const void *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    if (len)
        memcpy(copy, data, len);
    return copy;
}

/** main() that runs the named tests. */
#define TEST_MAIN(...)                                    \
    int main(void)                                        \
    {                                                     \
        const struct CMUnitTest tests[] = {__VA_ARGS__};  \
        return cmocka_run_group_tests(tests, NULL, NULL); \
    }

#endif
