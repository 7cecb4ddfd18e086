/* serialize/mem.h: memory of one decoded message. Takes blocks from the caller's allocator and hands out pieces:
 * structs from the front, texts (which need no alignment) from the back. A block is about as large as the body, so a
 * small message costs one call of the allocator, and what is taken stays in proportion to what was received. */
#ifndef CRS_SERIALIZE_MEM_H
#define CRS_SERIALIZE_MEM_H

#include <cereus/serializer.h>

#include "base/base.h"

typedef struct crs_mem {
    uint8_t *at, *end; /* free part of the newest block */
    size_t block;      /* size of the blocks asked for */
    cereus_alloc_fn *alloc;
    void *allocator;
} crs_mem;

/** Memory for a message that arrived as @p body_len bytes; allocates nothing yet. */
static inline void crs_mem_init(crs_mem *m, cereus_alloc_fn *alloc, void *allocator, size_t body_len)
{
    enum { BLOCK_MIN = 128, BLOCK_MAX = 4096 };
    *m = (crs_mem){.alloc = alloc, .allocator = allocator};
    m->block = CRS_MIN(body_len + body_len / 2 + BLOCK_MIN, (size_t)BLOCK_MAX);
}

void *crs_mem_take_slow(crs_mem *m, size_t size);
char *crs_mem_text_slow(crs_mem *m, size_t size);
void *crs_mem_room_slow(crs_mem *m, void *array, size_t count, size_t more, size_t size);

/** @p size bytes for any type, not cleared. NULL: the allocator refused. */
static inline void *crs_mem_take(crs_mem *m, size_t size)
{
    size_t pad = -(uintptr_t)m->at & 7, free_len = (size_t)(m->end - m->at);
    if (CRS_LIKELY(pad <= free_len && size <= free_len - pad)) {
        uint8_t *p = m->at + pad;
        m->at = p + size;
        return p;
    }
    return crs_mem_take_slow(m, size);
}

/** @p len bytes for a text and one more for its NUL, not cleared. NULL: the allocator refused. */
static inline char *crs_mem_text(crs_mem *m, size_t len)
{
    if (CRS_LIKELY(len < (size_t)(m->end - m->at))) {
        m->end -= len + 1;
        return (char *)m->end;
    }
    return crs_mem_text_slow(m, len + 1);
}

/** Room for @p more elements of @p size bytes behind the @p count that @p array holds, moved if need be; NULL: the
 * allocator refused. The capacity of an array is not stored: it is 0 for 0 elements, else the next power of two, at
 * least 4; so arrays given to this function must come from it. */
static inline void *crs_mem_room(crs_mem *m, void *array, size_t count, size_t more, size_t size)
{
    if (CRS_LIKELY(more == 1 && ((count & (count - 1)) || (count > 0 && count < 4))))
        return array;
    return crs_mem_room_slow(m, array, count, more, size);
}

#endif
