/* serialize/mem.c: the paths that need a new block. */
#include "serialize/mem.h"

/* A fresh block for pieces, or NULL when the piece is too large to share one or only the piece itself still fits. */
static uint8_t *new_block(crs_mem *m, size_t size)
{
    if (size > m->block / 2)
        return NULL;
    uint8_t *block = m->alloc(m->allocator, m->block);
    if (block) {
        m->at = block;
        m->end = block + m->block;
    }
    return block;
}

void *crs_mem_take_slow(crs_mem *m, size_t size)
{
    return new_block(m, size) ? crs_mem_take(m, size) : m->alloc(m->allocator, size);
}

char *crs_mem_text_slow(crs_mem *m, size_t size)
{
    return new_block(m, size) ? crs_mem_text(m, size - 1) : m->alloc(m->allocator, size);
}

static size_t capacity(size_t count)
{
    size_t cap = count ? 4 : 0;
    while (cap < count)
        cap *= 2;
    return cap;
}

void *crs_mem_room_slow(crs_mem *m, void *array, size_t count, size_t more, size_t size)
{
    size_t was = capacity(count), want = capacity(count + more); /* counts of received bytes: far from wrapping */
    if (want == was)
        return array;
    size_t grow = (want - was) * size;
    if (count && (uint8_t *)array + was * size == m->at && grow <= (size_t)(m->end - m->at)) {
        m->at += grow; /* nothing was taken since: stretch it */
        return array;
    }
    void *wider = crs_mem_take(m, want * size);
    if (wider && count)
        memcpy(wider, array, count * size);
    return wider;
}
