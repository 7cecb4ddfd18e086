/* serialize/sink.c: what happens when the room is used up. */
#include "serialize/sink.h"

#include <stdio.h>

/* The encoders' texts and numbers are short; asking for this much spares the first doublings. */
enum { BYTES_STEP = 256 };

static void use_bytes(crs_sink *s)
{
    s->at = s->bytes->data + s->bytes->len;
    s->end = s->bytes->data + s->bytes->cap;
}

void crs_sink_init_bytes(crs_sink *s, crs_bytes *bytes, cereus_error *err)
{
    *s = (crs_sink){.bytes = bytes, .err = err};
    if (bytes->data)
        use_bytes(s);
}

void crs_sink_init_write(crs_sink *s, uint8_t block[CRS_SINK_BLOCK], cereus_write_fn *write, void *writer,
                         cereus_error *err)
{
    *s = (crs_sink){
        .at = block, .end = block + CRS_SINK_BLOCK, .err = err, .write = write, .writer = writer, .block = block};
}

void crs_sink_fail(crs_sink *s, cereus_status status, const char *fmt, ...)
{
    if (s->status)
        return;
    s->status = status;
    s->end = s->at; /* every further write takes the slow path, which sees the status */
    char what[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    crs_fail(s->err, status, "%s", what);
}

/* The target refused. */
static void fail_write(crs_sink *s, cereus_status status)
{
    crs_sink_fail(s, status, "the encoded message cannot be written: %s", cereus_status_text(status));
}

/* Account for what was written so far. */
static void flush(crs_sink *s)
{
    if (s->bytes) {
        if (s->at)
            s->bytes->len = (size_t)(s->at - s->bytes->data);
    } else if (s->at > s->block) {
        cereus_status st = s->write(s->writer, s->block, (size_t)(s->at - s->block));
        s->at = s->block;
        if (st)
            fail_write(s, st);
    }
}

bool crs_sink_room_slow(crs_sink *s, size_t len)
{
    if (s->status)
        return false;
    CRS_ASSERT(len <= CRS_SINK_BLOCK);
    flush(s);
    if (s->bytes) {
        size_t step = CRS_MIN((size_t)BYTES_STEP, s->bytes->max - s->bytes->len);
        cereus_status st = crs_bytes_reserve(s->bytes, CRS_MAX(len, step));
        if (st)
            fail_write(s, st);
        else
            use_bytes(s);
    }
    return s->status == CEREUS_OK;
}

void crs_sink_put_slow(crs_sink *s, const void *data, size_t len)
{
    if (s->status)
        return;
    flush(s);
    cereus_status st = s->status;
    if (st)
        return;
    if (s->bytes) {
        st = crs_bytes_append(s->bytes, data, len);
        if (!st)
            use_bytes(s);
    } else if (len < CRS_SINK_BLOCK) {
        memcpy(s->at, data, len);
        s->at += len;
    } else {
        st = s->write(s->writer, data, len);
    }
    if (st)
        fail_write(s, st);
}

cereus_status crs_sink_finish(crs_sink *s)
{
    if (!s->status)
        flush(s);
    return s->status;
}
