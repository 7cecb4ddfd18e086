/* wire/deflate_small.h: a zlib stream for a body of up to a thousand bytes, in a fraction of the time zlib takes. */
#ifndef CRS_WIRE_DEFLATE_SMALL_H
#define CRS_WIRE_DEFLATE_SMALL_H

#include "base/base.h"

enum { CRS_DEFLATE_SMALL_MAX = 1024 }; /* longest body, bytes */

typedef struct crs_deflate_small crs_deflate_small;

/** What is kept from body to body, 15 KiB. NULL: out of memory. Ownership: gives. Thread: any. */
crs_deflate_small *crs_deflate_small_new(void);
/** NULL is fine. Returns NULL. */
crs_deflate_small *crs_deflate_small_free(crs_deflate_small *d);

/**
 * Deflate @p in, at most CRS_DEFLATE_SMALL_MAX bytes, if that is strictly shorter. The result depends on @p in alone.
 * @param out  room of @p out_cap bytes, not overlapping @p in; in.len - 1 are enough, less makes it give up earlier
 * @return bytes written, 0 < n < in.len and n <= out_cap; 0: does not fit, nothing was written.
 * Allocates nothing. Thread: one at a time.
 */
size_t crs_deflate_small_run(crs_deflate_small *d, cereus_slice in, uint8_t *out, size_t out_cap);

#endif
