/* base/clock.h: one look at a clock of the system. What runs on a loop asks the loop, whose clock tests may move. */
#ifndef CRS_BASE_CLOCK_H
#define CRS_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/** Nanoseconds of @p clock: CLOCK_REALTIME since 1970, CLOCK_MONOTONIC since some moment. Thread: any. */
static inline uint64_t crs_clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t crs_clock_us(clockid_t clock)
{
    return crs_clock_ns(clock) / 1000;
}

static inline uint64_t crs_clock_ms(clockid_t clock)
{
    return crs_clock_ns(clock) / 1000000;
}

#endif
