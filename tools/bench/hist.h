/* tools/bench/hist.h: a histogram of latencies, log-linear: 128 steps to every power of two, so a value read back is at
 * most 1 % off, in a fixed 37 KiB. Recording is a shift and an increment. */
#ifndef CRS_BENCH_HIST_H
#define CRS_BENCH_HIST_H

#include <stddef.h>
#include <stdint.h>

enum {
    CRS_HIST_STEP_BITS = 7,
    CRS_HIST_STEPS = 1 << CRS_HIST_STEP_BITS,
    CRS_HIST_VALUE_BITS = 42, /* longer than an hour in nanoseconds; what is larger counts as the largest */
    CRS_HIST_BUCKETS = (CRS_HIST_VALUE_BITS - CRS_HIST_STEP_BITS + 1) * CRS_HIST_STEPS,
};

typedef struct crs_hist {
    uint64_t count, sum, max;
    uint64_t buckets[CRS_HIST_BUCKETS];
} crs_hist;

/** The bucket of @p value; value < 2^CRS_HIST_VALUE_BITS. */
static inline size_t crs_hist_index(uint64_t value)
{
    if (value < CRS_HIST_STEPS)
        return (size_t)value;
    int shift = 63 - CRS_HIST_STEP_BITS - __builtin_clzll(value); /* value >> shift has its top bit at STEP_BITS */
    return (size_t)shift * CRS_HIST_STEPS + (size_t)(value >> shift);
}

static inline void crs_hist_add(crs_hist *hist, uint64_t value)
{
    const uint64_t largest = ((uint64_t)1 << CRS_HIST_VALUE_BITS) - 1;
    hist->count++;
    hist->sum += value;
    if (value > hist->max)
        hist->max = value;
    hist->buckets[crs_hist_index(value < largest ? value : largest)]++;
}

/** The value that @p fraction (0..1) of all recorded ones do not exceed: the upper end of its bucket, at most the
 * largest value recorded. 0 when there are none. */
uint64_t crs_hist_quantile(const crs_hist *hist, double fraction);

#endif
