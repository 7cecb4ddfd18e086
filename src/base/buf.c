/* base/buf.c: shared buffers and growable blocks. */
#include "base/buf.h"

#include <stdio.h>

crs_buf *crs_buf_new(size_t cap)
{
    if (cap > UINT32_MAX)
        return NULL;
    crs_buf *buf = crs_malloc(sizeof *buf + cap);
    if (!buf)
        return NULL;
    atomic_init(&buf->refs, 1);
    buf->len = 0;
    buf->cap = (uint32_t)cap;
    return buf;
}

crs_buf *crs_buf_ref(crs_buf *buf)
{
    atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);
    return buf;
}

crs_buf *crs_buf_unref(crs_buf *buf)
{
    /* acq_rel: the last holder must see every use by the others before it frees */
    if (buf && atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel) == 1)
        crs_free(buf);
    return NULL;
}

void crs_bytes_init(crs_bytes *b, size_t max)
{
    *b = (crs_bytes){.max = max};
}

void crs_bytes_fini(crs_bytes *b)
{
    crs_free(b->data);
    *b = (crs_bytes){.max = b->max};
}

cereus_status crs_bytes_reserve(crs_bytes *b, size_t more)
{
    if (b->cap - b->len >= more)
        return CEREUS_OK;
    if (more > b->max - b->len) /* len never exceeds max, so this cannot wrap */
        return CEREUS_E_TOO_LONG;
    size_t want = b->len + more;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < want)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    if (cap > b->max)
        cap = b->max;
    uint8_t *data = crs_realloc(b->data, cap);
    if (!data)
        return CEREUS_E_NOMEM;
    b->data = data;
    b->cap = cap;
    return CEREUS_OK;
}

cereus_status crs_bytes_append(crs_bytes *b, const void *data, size_t len)
{
    if (len == 0)
        return CEREUS_OK;
    CEREUS_TRY(crs_bytes_reserve(b, len));
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return CEREUS_OK;
}

cereus_status crs_bytes_append_str(crs_bytes *b, const char *text)
{
    return crs_bytes_append(b, text, strlen(text));
}

cereus_status crs_bytes_append_byte(crs_bytes *b, uint8_t byte)
{
    return crs_bytes_append(b, &byte, 1);
}

cereus_status crs_bytes_printf(crs_bytes *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        return CEREUS_E_INVALID;
    CEREUS_TRY(crs_bytes_reserve(b, (size_t)n + 1)); /* one more for vsnprintf's NUL, which is not counted in */
    va_start(args, fmt);
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, args);
    va_end(args);
    b->len += (size_t)n;
    return CEREUS_OK;
}
