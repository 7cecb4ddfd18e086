/* base/arena.h: memory of one request. Allocate, never free; everything goes at once when the request ends. The first
 * chunk is kept for the next request, so a request that fits in it costs no call to the heap. */
#ifndef CRS_BASE_ARENA_H
#define CRS_BASE_ARENA_H

#include "base/base.h"

typedef struct crs_arena_chunk crs_arena_chunk;

typedef struct crs_arena {
    uint8_t *at, *end;     /* free part of the newest chunk */
    crs_arena_chunk *head; /* newest first */
    size_t used;           /* bytes allocated from the heap for it */
    size_t max;            /* never holds more than this */
} crs_arena;

/** An arena that takes at most @p max bytes from the heap; takes none yet. */
void crs_arena_init(crs_arena *a, size_t max);
/** All allocations end; the smallest chunk stays for the next user. */
void crs_arena_reset(crs_arena *a);
/** All memory goes back to the heap. */
void crs_arena_fini(crs_arena *a);

void *crs_arena_alloc_slow(crs_arena *a, size_t size);

/** @p size bytes, aligned for any type, not cleared. NULL: past max or out of memory. Ownership: the arena's. */
static inline void *crs_arena_alloc(crs_arena *a, size_t size)
{
    size_t want = ((size + 15) & ~(size_t)15) + (size == 0 ? 16 : 0);
    if (CRS_LIKELY(want >= size && want <= (size_t)(a->end - a->at))) {
        void *p = a->at;
        a->at += want;
        return p;
    }
    return crs_arena_alloc_slow(a, size);
}

void *crs_arena_zalloc(crs_arena *a, size_t size);
/** crs_arena_alloc() for decoders that want a function and its pointer: @p arena is a crs_arena. */
void *crs_arena_take(void *arena, size_t size);
/** A copy with a NUL behind it. NULL as alloc. */
char *crs_arena_strndup(crs_arena *a, const char *text, size_t len);
char *crs_arena_vprintf(crs_arena *a, const char *fmt, va_list args) CEREUS_PRINTF(2, 0);
char *crs_arena_printf(crs_arena *a, const char *fmt, ...) CEREUS_PRINTF(2, 3);

#endif
