/* base/arena.c: chunks of growing size, newest first. */
#include "base/arena.h"

#include <stdio.h>

enum { CHUNK_MIN = 2048, CHUNK_MAX = 1 << 20 };

struct crs_arena_chunk {
    crs_arena_chunk *next; /* older */
    size_t size;           /* of the whole block, header included */
    _Alignas(16) uint8_t data[];
};

void crs_arena_init(crs_arena *a, size_t max)
{
    *a = (crs_arena){.max = max};
}

static void use_chunk(crs_arena *a, crs_arena_chunk *c)
{
    a->head = c;
    a->at = c ? c->data : NULL;
    a->end = c ? (uint8_t *)c + c->size : NULL;
}

void crs_arena_reset(crs_arena *a)
{
    crs_arena_chunk *c = a->head;
    while (c && c->next) { /* the oldest chunk is the smallest */
        crs_arena_chunk *older = c->next;
        a->used -= c->size;
        crs_free(c);
        c = older;
    }
    if (c && c->size > CHUNK_MIN) { /* a first request that was large must not pin its memory */
        a->used -= c->size;
        crs_free(c);
        c = NULL;
    }
    use_chunk(a, c);
}

void crs_arena_fini(crs_arena *a)
{
    crs_arena_reset(a);
    crs_free(a->head);
    crs_arena_init(a, a->max);
}

void *crs_arena_alloc_slow(crs_arena *a, size_t size)
{
    if (size > a->max)
        return NULL;
    size = CRS_MAX(size, (size_t)1);
    size_t want = ((size + 15) & ~(size_t)15) + sizeof(crs_arena_chunk);
    size_t chunk = a->head ? CRS_MIN(a->head->size * 2, (size_t)CHUNK_MAX) : (size_t)CHUNK_MIN;
    if (chunk < want)
        chunk = want;
    if (chunk > a->max - a->used) {
        if (want > a->max - a->used)
            return NULL;
        chunk = want;
    }
    crs_arena_chunk *c = crs_malloc(chunk);
    if (!c)
        return NULL;
    c->next = a->head;
    c->size = chunk;
    a->used += chunk;
    use_chunk(a, c);
    return crs_arena_alloc(a, size);
}

void *crs_arena_take(void *arena, size_t size)
{
    return crs_arena_alloc(arena, size);
}

void *crs_arena_zalloc(crs_arena *a, size_t size)
{
    void *p = crs_arena_alloc(a, size);
    return p ? memset(p, 0, size) : NULL;
}

char *crs_arena_strndup(crs_arena *a, const char *text, size_t len)
{
    char *copy = crs_arena_alloc(a, len + 1);
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *crs_arena_vprintf(crs_arena *a, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    char *text = n < 0 ? NULL : crs_arena_alloc(a, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    return text;
}

char *crs_arena_printf(crs_arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = crs_arena_vprintf(a, fmt, args);
    va_end(args);
    return text;
}
