/* base/base.h: what every file of the library leans on: assertions that stay on, memory that can be told to fail,
 * errors with a sentence, and a few macros. */
#ifndef CRS_BASE_BASE_H
#define CRS_BASE_BASE_H

#include <stdarg.h>
#include <stdlib.h>

#include <cereus/status.h>
#include <cereus/types.h>

#define CRS_LIKELY(x)   __builtin_expect(!!(x), 1)
#define CRS_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CRS_MIN(a, b)   ((a) < (b) ? (a) : (b))
#define CRS_MAX(a, b)   ((a) > (b) ? (a) : (b))
#define CRS_UNUSED(x)   ((void)(x))
#define CRS_NORETURN    __attribute__((noreturn))

/** The struct that `member` at @p ptr is part of. */
#define CRS_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/** Our own mistakes and the game's (NULL where not allowed, wrong thread, impossible state) end the process here, in
 * release builds too. Bytes from a peer, a file or the environment never reach one. */
#define CRS_ASSERT(cond)                                            \
    do {                                                            \
        if (CRS_UNLIKELY(!(cond)))                                  \
            crs_assert_failed(#cond, __FILE__, __LINE__, __func__); \
    } while (0)

CRS_NORETURN void crs_assert_failed(const char *cond, const char *file, int line, const char *func);

/* -- memory: NULL on failure, so that callers have one path and tests can make the n-th call fail -- */

void *crs_malloc(size_t size);
void *crs_zalloc(size_t size);
void *crs_realloc(void *ptr, size_t size);
char *crs_strdup(const char *text);
char *crs_strndup(const char *text, size_t len);
void crs_free(void *ptr);

/** Make the @p nth allocation from now on fail in this thread (1 = the next), 0: none. For tests. Thread: any. */
void crs_alloc_fail_at(size_t nth);

/* -- errors -- */

/** Fill @p err (may be NULL) with the status and one formatted sentence, and return the status. */
cereus_status crs_fail(cereus_error *err, cereus_status status, const char *fmt, ...) CEREUS_PRINTF(3, 4);

/** Put "PREFIX: " in front of what @p err says already, and return @p status. */
cereus_status crs_fail_in(cereus_error *err, cereus_status status, const char *fmt, ...) CEREUS_PRINTF(3, 4);

/* -- numbers on the wire -- */

/** What a hex digit stands for; -1: it is none. */
static inline int crs_hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static inline uint32_t crs_get_u24(const uint8_t *p)
{
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

static inline void crs_put_u24(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 16);
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)v;
}

static inline bool crs_slice_eq(cereus_slice a, cereus_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

#endif
