/* tests/unit/base/test_counters.c */
#include "test.h"

#include <pthread.h>

#include "base/counters.h"

static void every_counter_has_a_name_of_its_own_and_a_text(void **state)
{
    for (size_t i = 0; i < CRS_COUNTER_COUNT; i++) {
        assert_true(strlen(crs_counter_name(i)) > 0);
        assert_true(strlen(crs_counter_text(i)) > 0);
        for (size_t other = 0; other < i; other++)
            assert_string_not_equal(crs_counter_name(i), crs_counter_name(other));
    }
    assert_string_equal(crs_counter_name(CRS_COUNTER_bytes_in), "bytes_in");
    assert_null(crs_counter_name(CRS_COUNTER_COUNT));
    assert_null(crs_counter_text(CRS_COUNTER_COUNT));
    assert_null(crs_counter_name(SIZE_MAX));
}

static void *look(void *arg)
{
    crs_counters *c = arg;
    uint64_t was = 0;
    while (was < 20000) {
        uint64_t now = crs_counter_read(c, CRS_COUNTER_requests);
        assert_true(now >= was);
        was = now;
    }
    return NULL;
}

static void counters_can_be_read_while_their_owner_counts(void **state)
{
    static crs_counters c;
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, look, &c), 0);
    for (int i = 0; i < 10000; i++) {
        CRS_COUNT(&c, requests);
        CRS_COUNT_N(&c, requests, 1);
        CRS_COUNT_N(&c, bytes_in, 0);
    }
    pthread_join(reader, NULL);
    assert_int_equal(crs_counter_read(&c, CRS_COUNTER_requests), 20000);
    assert_int_equal(crs_counter_read(&c, CRS_COUNTER_bytes_in), 0);
}

TEST_MAIN(cmocka_unit_test(every_counter_has_a_name_of_its_own_and_a_text),
          cmocka_unit_test(counters_can_be_read_while_their_owner_counts))
