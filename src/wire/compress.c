/* wire/compress.c: zlib streams, from states that live as long as their loop. zlib is made for long bodies: its deflate
 * state clears 64 KiB of tables for each. Bodies up to CRS_DEFLATE_SMALL_MAX go to wire/deflate_small.h, which takes a
 * quarter of the time, except at the levels that ask for small results at any price.
 *
 * Whether a body is sent compressed depends on its length to the byte, so encoders may disagree about bodies that hardly
 * shrink; clients go by the bit of each message (client-protocol.md 7). Go, and so Pitaya, ends each stream with an empty
 * block of 4 to 7 bytes that neither zlib nor we write. What was seen with JSON, Protobuf, English, digits and noise:
 *   up to 11 bytes    nobody shrinks that; we do not try
 *   up to 128 bytes   as long as zlib's, mostly to the byte, rarely 3 more. What Go shrinks, we shrink; a body that saves
 *                     less than 8 bytes here may be sent raw by Go
 *   up to 512 bytes   1 or 2 % longer than zlib's; the same holds, except for one in 10,000 that is all but noise: Go
 *                     shrinks it by 1 to 4 bytes and we do not
 *   up to 1024 bytes  5 % longer than zlib's; the same holds
 *   more              it is zlib's */
#include "wire/compress.h"

#include <limits.h>
#include <zlib.h>

#include "wire/deflate_small.h"

enum {
    SMALL_LEVEL_MAX = 6, /* what zlib does by default; above, zlib does it */
    SHRINKABLE_MIN = 12, /* even a run of one byte becomes 11: head 2, block 5, checksum 4 */
    GUESS_MIN = 256,     /* first allocation when inflating */
    GUESS_MAX = 64 << 10,
};

struct crs_zlib {
    int level;
    crs_deflate_small *small;
    z_stream deflate, inflate;
    bool deflate_ready, inflate_ready;
};

static void *zlib_alloc(void *user, unsigned count, unsigned size)
{
    return crs_malloc((size_t)count * size);
}

static void zlib_free(void *user, void *ptr)
{
    crs_free(ptr);
}

crs_zlib *crs_zlib_new(int level)
{
    CRS_ASSERT(level >= Z_DEFAULT_COMPRESSION && level <= Z_BEST_COMPRESSION);
    crs_zlib *z = crs_zalloc(sizeof *z);
    if (!z)
        return NULL;
    z->level = level;
    z->deflate.zalloc = z->inflate.zalloc = zlib_alloc;
    z->deflate.zfree = z->inflate.zfree = zlib_free;
    return z;
}

crs_zlib *crs_zlib_free(crs_zlib *z)
{
    if (!z)
        return NULL;
    crs_deflate_small_free(z->small);
    if (z->deflate_ready)
        deflateEnd(&z->deflate);
    if (z->inflate_ready)
        inflateEnd(&z->inflate);
    crs_free(z);
    return NULL;
}

static bool deflate_ready(crs_zlib *z)
{
    if (CRS_LIKELY(z->deflate_ready))
        return deflateReset(&z->deflate) == Z_OK;
    z->deflate_ready = deflateInit(&z->deflate, z->level) == Z_OK;
    return z->deflate_ready;
}

static size_t deflate_small(crs_zlib *z, cereus_slice in, uint8_t *out, size_t out_cap)
{
    if (CRS_UNLIKELY(!z->small))
        z->small = crs_deflate_small_new();
    return z->small ? crs_deflate_small_run(z->small, in, out, out_cap) : 0;
}

size_t crs_zlib_deflate(crs_zlib *z, cereus_slice in, uint8_t *out, size_t out_cap)
{
    if (in.len < SHRINKABLE_MIN || in.len > UINT_MAX || z->level == Z_NO_COMPRESSION)
        return 0;
    if (in.len <= CRS_DEFLATE_SMALL_MAX && z->level <= SMALL_LEVEL_MAX)
        return deflate_small(z, in, out, out_cap);
    if (!deflate_ready(z))
        return 0;
    z->deflate.next_in = (Bytef *)in.data; /* zlib does not write there */
    z->deflate.avail_in = (uInt)in.len;
    z->deflate.next_out = out;
    z->deflate.avail_out = (uInt)CRS_MIN(out_cap, in.len - 1);
    if (deflate(&z->deflate, Z_FINISH) != Z_STREAM_END)
        return 0;
    /* Clients tell a compressed handshake by the two bytes that stand for the default level; the level is only a remark,
     * and the checksum does not cover it (client-protocol.md 3.3, RFC 1950) */
    out[0] = 0x78;
    out[1] = 0x9c;
    return z->deflate.total_out;
}

static bool inflate_ready(crs_zlib *z)
{
    if (CRS_LIKELY(z->inflate_ready))
        return inflateReset(&z->inflate) == Z_OK;
    z->inflate.next_in = NULL;
    z->inflate.avail_in = 0;
    z->inflate_ready = inflateInit2(&z->inflate, MAX_WBITS) == Z_OK; /* MAX_WBITS: zlib streams only, no gzip */
    return z->inflate_ready;
}

/* One step: into what @p out has free, or, once that is all it may have, into one spare byte that must stay unused. */
static cereus_status inflate_step(z_stream *s, crs_bytes *out, bool *ret_end)
{
    uint8_t spare;
    size_t room = CRS_MIN(out->cap - out->len, (size_t)UINT_MAX);
    s->next_out = room ? out->data + out->len : &spare;
    s->avail_out = room ? (uInt)room : 1;
    unsigned offered = s->avail_out;
    int rc = inflate(s, Z_NO_FLUSH);
    if (rc == Z_MEM_ERROR)
        return CEREUS_E_NOMEM;
    if (rc != Z_OK && rc != Z_STREAM_END)
        return CEREUS_E_MALFORMED;
    unsigned written = offered - s->avail_out;
    if (room == 0 && written)
        return CEREUS_E_TOO_LONG;
    out->len += written;
    *ret_end = rc == Z_STREAM_END;
    if (!*ret_end && s->avail_out) /* room left over, so the input has run out */
        return CEREUS_E_MALFORMED;
    return CEREUS_OK;
}

cereus_status crs_zlib_inflate(crs_zlib *z, cereus_slice in, crs_bytes *out)
{
    if (in.len == 0)
        return CEREUS_E_MALFORMED;
    if (in.len > UINT_MAX)
        return CEREUS_E_TOO_LONG;
    if (!inflate_ready(z))
        return CEREUS_E_NOMEM;
    z->inflate.next_in = (Bytef *)in.data;
    z->inflate.avail_in = (uInt)in.len;

    size_t was = out->len;
    size_t guess = in.len > GUESS_MAX / 4 ? GUESS_MAX : CRS_MAX(in.len * 4, (size_t)GUESS_MIN);
    bool end = false;
    cereus_status st = CEREUS_OK;
    while (!st && !end) {
        st = crs_bytes_reserve(out, CRS_MIN(guess, out->max - out->len));
        if (!st)
            st = inflate_step(&z->inflate, out, &end);
        guess = CRS_MAX(out->len - was, guess);
    }
    if (st)
        out->len = was;
    return st;
}
