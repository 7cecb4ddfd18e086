/* base/counters.h: counts of what happened, one block per loop, summed when somebody looks. Adding is one plain store.
 */
#ifndef CRS_BASE_COUNTERS_H
#define CRS_BASE_COUNTERS_H

#include <stdatomic.h>

#include "base/base.h"

typedef enum crs_counter {
#define X(name, text) CRS_COUNTER_##name,
#include "base/metrics.def"
#undef X
    CRS_COUNTER_COUNT
} crs_counter;

typedef struct crs_counters {
    _Atomic uint64_t v[CRS_COUNTER_COUNT]; /* written by one thread, read by any: relaxed on both sides */
} crs_counters;

/** Thread: the one that owns @p c. */
static inline void crs_count_n(crs_counters *c, crs_counter which, uint64_t n)
{
    uint64_t was = atomic_load_explicit(&c->v[which], memory_order_relaxed);
    atomic_store_explicit(&c->v[which], was + n, memory_order_relaxed);
}

static inline void crs_count_one(crs_counters *c, crs_counter which)
{
    crs_count_n(c, which, 1);
}

/** CRS_COUNT(loop_counters, requests) */
#define CRS_COUNT(counters, name)      crs_count_one((counters), CRS_COUNTER_##name)
#define CRS_COUNT_N(counters, name, n) crs_count_n((counters), CRS_COUNTER_##name, (n))

/** Thread: any. */
static inline uint64_t crs_counter_read(const crs_counters *c, crs_counter which)
{
    return atomic_load_explicit(&c->v[which], memory_order_relaxed);
}

/** Name and meaning of a counter; NULL past the end. */
const char *crs_counter_name(size_t which);
const char *crs_counter_text(size_t which);

#endif
