/* tools/bench/hist.c: reading a histogram back. */
#include "hist.h"

/* The largest value that falls into bucket @p index. */
static uint64_t bucket_end(size_t index)
{
    if (index < 2 * CRS_HIST_STEPS)
        return index;
    unsigned shift = (unsigned)(index / CRS_HIST_STEPS - 1);
    uint64_t step = index - (size_t)shift * CRS_HIST_STEPS;
    return ((step + 1) << shift) - 1;
}

uint64_t crs_hist_quantile(const crs_hist *hist, double fraction)
{
    uint64_t want = (uint64_t)(fraction * (double)hist->count + 0.999999), seen = 0;
    if (want == 0)
        want = 1;
    for (size_t i = 0; i < CRS_HIST_BUCKETS; i++) {
        seen += hist->buckets[i];
        if (seen >= want && hist->count)
            return bucket_end(i) < hist->max ? bucket_end(i) : hist->max;
    }
    return hist->max;
}
