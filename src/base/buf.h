/* base/buf.h: bytes with an owner. crs_buf is shared and immutable once it has two holders (a broadcast frame);
 * crs_bytes is one growable block with a required maximum, so that no buffer is unbounded by accident. */
#ifndef CRS_BASE_BUF_H
#define CRS_BASE_BUF_H

#include <stdatomic.h>

#include "base/base.h"

typedef struct crs_buf {
    atomic_uint refs; /* shares across threads */
    uint32_t len;     /* bytes in use; set before it is shared */
    uint32_t cap;     /* set once by new() */
    uint8_t data[];
} crs_buf;

/** A buffer with room for @p cap bytes and one reference. NULL: out of memory. Ownership: gives. Thread: any. */
crs_buf *crs_buf_new(size_t cap);
/** One more holder. Returns @p buf. Thread: any. */
crs_buf *crs_buf_ref(crs_buf *buf);
/** One holder less; the last one frees it. NULL is fine. Returns NULL. Thread: any. */
crs_buf *crs_buf_unref(crs_buf *buf);

typedef struct crs_bytes {
    uint8_t *data;
    size_t len; /* bytes in use */
    size_t cap; /* bytes allocated */
    size_t max; /* never grows past this */
} crs_bytes;

/** An empty block that will hold at most @p max bytes; allocates nothing yet. */
void crs_bytes_init(crs_bytes *b, size_t max);
/** Give the memory back; the block is empty and usable again. */
void crs_bytes_fini(crs_bytes *b);
/** Room for @p more bytes behind data + len. CEREUS_E_TOO_LONG: past max; CEREUS_E_NOMEM. */
CEREUS_MUST_USE cereus_status crs_bytes_reserve(crs_bytes *b, size_t more);
/** Append a copy. Errors as reserve; then nothing was appended. */
CEREUS_MUST_USE cereus_status crs_bytes_append(crs_bytes *b, const void *data, size_t len);
CEREUS_MUST_USE cereus_status crs_bytes_append_str(crs_bytes *b, const char *text);
CEREUS_MUST_USE cereus_status crs_bytes_append_byte(crs_bytes *b, uint8_t byte);
/** Append text. Errors as append; while it prints, it needs room for one byte more than the text has. */
CEREUS_MUST_USE cereus_status crs_bytes_printf(crs_bytes *b, const char *fmt, ...) CEREUS_PRINTF(2, 3);

static inline cereus_slice crs_bytes_slice(const crs_bytes *b)
{
    return cereus_slice_of(b->data ? (const void *)b->data : "", b->len);
}

#endif
