/* wire/compress.c: zlib states that live as long as their loop. Resetting a deflate state clears its hash table, 64 KiB
 * at zlib's defaults: for a body of 50 bytes that is a fifth of the time and evicts what others keep in the cache. So
 * bodies up to SMALL_MAX have a state of their own with a table of 4 KiB. */
#include "wire/compress.h"

#include <limits.h>
#include <zlib.h>

enum {
    SHRINKABLE_MIN = 12, /* even a run of one byte becomes 11: head 2, block 5, checksum 4 */
    SMALL_MAX = 1024,
    SMALL_WINDOW_BITS = 11, /* reaches over SMALL_MAX bytes; zlib keeps 262 of the 2048 for itself */
    SMALL_MEM_LEVEL = 4,    /* room for SMALL_MAX symbols in one block */
    GUESS_MIN = 256,        /* first allocation when inflating */
    GUESS_MAX = 64 << 10,
};

typedef struct deflate_state {
    z_stream stream;
    bool ready;
} deflate_state;

struct crs_zlib {
    int level;
    deflate_state small, large;
    z_stream inflate;
    bool inflate_ready;
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
    z->small.stream.zalloc = z->large.stream.zalloc = z->inflate.zalloc = zlib_alloc;
    z->small.stream.zfree = z->large.stream.zfree = z->inflate.zfree = zlib_free;
    return z;
}

crs_zlib *crs_zlib_free(crs_zlib *z)
{
    if (!z)
        return NULL;
    if (z->small.ready)
        deflateEnd(&z->small.stream);
    if (z->large.ready)
        deflateEnd(&z->large.stream);
    if (z->inflate_ready)
        inflateEnd(&z->inflate);
    crs_free(z);
    return NULL;
}

static bool deflate_ready(deflate_state *d, int level, int window_bits, int mem_level)
{
    if (CRS_LIKELY(d->ready))
        return deflateReset(&d->stream) == Z_OK;
    d->ready = deflateInit2(&d->stream, level, Z_DEFLATED, window_bits, mem_level, Z_DEFAULT_STRATEGY) == Z_OK;
    return d->ready;
}

size_t crs_zlib_deflate(crs_zlib *z, cereus_slice in, uint8_t *out, size_t out_cap)
{
    if (in.len < SHRINKABLE_MIN || in.len > UINT_MAX)
        return 0;
    bool small = in.len <= SMALL_MAX;
    deflate_state *d = small ? &z->small : &z->large;
    if (!deflate_ready(d, z->level, small ? SMALL_WINDOW_BITS : MAX_WBITS, small ? SMALL_MEM_LEVEL : 8))
        return 0;
    d->stream.next_in = (Bytef *)in.data; /* zlib does not write there */
    d->stream.avail_in = (uInt)in.len;
    d->stream.next_out = out;
    d->stream.avail_out = (uInt)CRS_MIN(out_cap, in.len - 1);
    if (deflate(&d->stream, Z_FINISH) != Z_STREAM_END)
        return 0;
    /* Clients tell a compressed handshake by the two bytes that announce a full window; a head that announces more than
     * was used is right too, and the checksum does not cover it (client-protocol.md 3.3, RFC 1950) */
    out[0] = 0x78;
    out[1] = 0x9c;
    return d->stream.total_out;
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
