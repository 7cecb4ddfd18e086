/* base/counters.c: names of the counters. */
#include "base/counters.h"

static const char *const names[] = {
#define X(name, text) #name,
#include "base/metrics.def"
#undef X
};

static const char *const texts[] = {
#define X(name, text) text,
#include "base/metrics.def"
#undef X
};

const char *crs_counter_name(size_t which)
{
    return which < CEREUS_COUNT(names) ? names[which] : NULL;
}

const char *crs_counter_text(size_t which)
{
    return which < CEREUS_COUNT(texts) ? texts[which] : NULL;
}
