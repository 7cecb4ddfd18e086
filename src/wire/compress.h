/* wire/compress.h: zlib bodies, client-protocol.md 7. One crs_zlib holds a deflate and an inflate state that are reused
 * for ever; each loop has its own. Inflating is bounded before it starts. */
#ifndef CRS_WIRE_COMPRESS_H
#define CRS_WIRE_COMPRESS_H

#include "base/buf.h"

typedef struct crs_zlib crs_zlib;

/** @param level  0..9, -1: zlib's default. 0 never compresses; 7 and more cost small bodies four times as much to save a
 *                few per cent.  NULL: out of memory. States are made when first used. Ownership: gives. */
crs_zlib *crs_zlib_new(int level);
crs_zlib *crs_zlib_free(crs_zlib *z);

/**
 * Deflate @p in into @p out, if that is strictly shorter.
 * @param out      room of @p out_cap bytes; in.len - 1 are enough, less only makes it give up earlier
 * @return bytes written, 0 < n < in.len; 0: not shorter (or out of memory), send it raw. Never fails. Thread: one at a time.
 */
size_t crs_zlib_deflate(crs_zlib *z, cereus_slice in, uint8_t *out, size_t out_cap);

/**
 * Inflate the zlib stream at the front of @p in; bytes after the stream are ignored.
 * @param out  appended to; out->max bounds the result before it is allocated
 * @return CEREUS_OK; CEREUS_E_MALFORMED: not zlib, preset dictionary, cut off, bad checksum, empty input;
 *         CEREUS_E_TOO_LONG: result over out->max; CEREUS_E_NOMEM. On failure @p out keeps its former length.
 */
CEREUS_MUST_USE cereus_status crs_zlib_inflate(crs_zlib *z, cereus_slice in, crs_bytes *out);

#endif
