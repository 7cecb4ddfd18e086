/* serialize/sink.h: where encoders write. Small pieces are gathered: straight in a crs_bytes when the target is one,
 * else in a block on the stack that is handed to the caller's write function when full. The first failure sticks, later
 * writes do nothing, so encoders check once at the end. */
#ifndef CRS_SERIALIZE_SINK_H
#define CRS_SERIALIZE_SINK_H

#include <cereus/serializer.h>

#include "base/buf.h"

enum { CRS_SINK_BLOCK = 1024 };

typedef struct crs_sink {
    uint8_t *at, *end;      /* room to write into */
    cereus_status status;   /* of the first failure */
    cereus_error *err;      /* its sentence; may be NULL */
    crs_bytes *bytes;       /* the target, or NULL: write */
    cereus_write_fn *write; /* NULL with bytes */
    void *writer;
    uint8_t *block; /* CRS_SINK_BLOCK bytes, with write */
} crs_sink;

/** Append to @p bytes. */
void crs_sink_init_bytes(crs_sink *s, crs_bytes *bytes, cereus_error *err);
/** Gather in @p block and pass on to @p write. */
void crs_sink_init_write(crs_sink *s, uint8_t block[CRS_SINK_BLOCK], cereus_write_fn *write, void *writer,
                         cereus_error *err);
/** Hand over what is gathered. Returns how the whole writing ended. */
CEREUS_MUST_USE cereus_status crs_sink_finish(crs_sink *s);
/** End with @p status and this sentence, unless it has failed already. */
void crs_sink_fail(crs_sink *s, cereus_status status, const char *fmt, ...) CEREUS_PRINTF(3, 4);

bool crs_sink_room_slow(crs_sink *s, size_t len);
void crs_sink_put_slow(crs_sink *s, const void *data, size_t len);

/** May @p len bytes, at most CRS_SINK_BLOCK, be stored at s->at? False: it has failed. */
static inline bool crs_sink_room(crs_sink *s, size_t len)
{
    return CRS_LIKELY(len <= (size_t)(s->end - s->at)) || crs_sink_room_slow(s, len);
}

static inline void crs_sink_put(crs_sink *s, const void *data, size_t len)
{
    if (CRS_UNLIKELY(len > (size_t)(s->end - s->at))) {
        crs_sink_put_slow(s, data, len);
    } else if (len) { /* an empty sink has no block yet, and memcpy takes no NULL */
        memcpy(s->at, data, len);
        s->at += len;
    }
}

static inline void crs_sink_byte(crs_sink *s, char c)
{
    if (crs_sink_room(s, 1))
        *s->at++ = (uint8_t)c;
}

#endif
