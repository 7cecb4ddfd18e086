/* Unit tests of tools/bench/hist.c. */
#include "test.h"

#include "hist.h"

static void values_below_256_are_kept_exactly(void **state)
{
    crs_hist *h = calloc(1, sizeof *h);
    for (uint64_t v = 0; v < 256; v++)
        crs_hist_add(h, v);
    assert_int_equal(crs_hist_quantile(h, 1.0 / 256), 0);
    for (uint64_t v = 1; v <= 256; v++)
        assert_int_equal(crs_hist_quantile(h, (double)v / 256), v - 1);
    free(h);
}

static void every_value_reads_back_within_one_percent_and_never_smaller(void **state)
{
    crs_hist *h = malloc(sizeof *h);
    for (uint64_t v = 1; v < (uint64_t)1 << 41; v = v + v / 3 + 1) {
        memset(h, 0, sizeof *h);
        crs_hist_add(h, v);
        crs_hist_add(h, (uint64_t)1 << 41); /* so that the largest value does not hide the bucket's end */
        uint64_t read = crs_hist_quantile(h, 0.5);
        assert_true(read >= v);
        assert_true((double)(read - v) <= (double)v / 100);
    }
    free(h);
}

static void buckets_follow_each_other_without_gaps(void **state)
{
    size_t last = 0;
    for (uint64_t v = 0; v < 1 << 16; v++) {
        size_t index = crs_hist_index(v);
        assert_true(index == last || index == last + 1);
        last = index;
    }
    assert_int_equal(crs_hist_index(((uint64_t)1 << CRS_HIST_VALUE_BITS) - 1), CRS_HIST_BUCKETS - 1);
}

static void a_value_beyond_the_range_counts_as_the_largest(void **state)
{
    crs_hist *h = calloc(1, sizeof *h);
    crs_hist_add(h, UINT64_MAX);
    assert_int_equal(h->buckets[CRS_HIST_BUCKETS - 1], 1);
    assert_true(h->max == UINT64_MAX);
    free(h);
}

static void an_empty_histogram_answers_zero(void **state)
{
    crs_hist *h = calloc(1, sizeof *h);
    assert_int_equal(crs_hist_quantile(h, 0.5), 0);
    free(h);
}

static void the_top_quantile_is_the_largest_value_itself(void **state)
{
    crs_hist *h = calloc(1, sizeof *h);
    for (uint64_t v = 1; v <= 1000; v++)
        crs_hist_add(h, v * 1001);
    assert_int_equal(crs_hist_quantile(h, 1.0), 1000 * 1001);
    assert_int_equal(h->count, 1000);
    free(h);
}

TEST_MAIN(cmocka_unit_test(values_below_256_are_kept_exactly),
          cmocka_unit_test(every_value_reads_back_within_one_percent_and_never_smaller),
          cmocka_unit_test(buckets_follow_each_other_without_gaps),
          cmocka_unit_test(a_value_beyond_the_range_counts_as_the_largest),
          cmocka_unit_test(an_empty_histogram_answers_zero),
          cmocka_unit_test(the_top_quantile_is_the_largest_value_itself))
