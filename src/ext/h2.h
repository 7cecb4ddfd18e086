/* ext/h2.h: one HTTP/2 connection as a machine over bytes: what arrived goes in, what is to be sent comes out, streams
 * tell what happens to them. nghttp2 does the work; this adds the bounds, the owners and the end. It knows neither sockets
 * nor gRPC. Client side; a server side would share all but opening a stream.
 *
 * Bounds: headers of a stream CRS_H2_HEADERS_MAX bytes; pings and settings that wait for their answer 1000, settings of
 * one frame 32, continuations 8 (nghttp2's own): beyond them the stream or the connection ends.
 */
#ifndef CRS_EXT_H2_H
#define CRS_EXT_H2_H

#include "base/list.h"

enum {
    CRS_H2_HEADERS_MAX = 16 * 1024,              /* names and values of one stream together */
    CRS_H2_STREAM_WINDOW = 1024 * 1024,          /* bytes a peer may send ahead on a stream */
    CRS_H2_CONNECTION_WINDOW = 16 * 1024 * 1024, /* and on all together */
};

/** RFC 9113 7, the codes that we name. */
enum {
    CRS_H2_NO_ERROR = 0x0,
    CRS_H2_INTERNAL_ERROR = 0x2,
    CRS_H2_REFUSED_STREAM = 0x7, /* the peer has not begun to work on it, it may be repeated */
    CRS_H2_CANCEL = 0x8,
    CRS_H2_ENHANCE_YOUR_CALM = 0xb,
    CRS_H2_INADEQUATE_SECURITY = 0xc,
};

typedef struct crs_h2 crs_h2;
typedef struct crs_h2_stream crs_h2_stream;

typedef struct crs_h2_header {
    cereus_slice name, value; /* the name in lower case */
} crs_h2_header;

typedef struct crs_h2_stream_ops {
    /** A header or trailer came. false: reset the stream. */
    bool (*header)(crs_h2_stream *stream, cereus_slice name, cereus_slice value);
    /** Bytes came. false: reset the stream. */
    bool (*data)(crs_h2_stream *stream, cereus_slice data);
    /** The stream has room: write up to @p cap bytes to @p buf, and tell whether they are the last. 0 and not the last:
     * nothing to send now, crs_h2_stream_resume() asks again. */
    size_t (*read)(crs_h2_stream *stream, uint8_t *buf, size_t cap, bool *ret_last);
    /** The peer sends no more. */
    void (*ended)(crs_h2_stream *stream);
    /** It has ended with @p code; the last call about it. Comes for every stream that was not let go. */
    void (*closed)(crs_h2_stream *stream, uint32_t code);
} crs_h2_stream_ops;

/** A stream; embedded in what it is about, which outlives it until `closed` or crs_h2_stream_cancel(). */
struct crs_h2_stream {
    crs_h2 *h2; /* NULL: not open */
    const crs_h2_stream_ops *ops;
    int32_t id;
    bool sent; /* its request has left towards the socket */
    size_t header_len;
    crs_list link;
};

typedef struct crs_h2_ops {
    void (*settled)(void *user);               /* the peer's first settings: it does speak HTTP/2. Once */
    void (*goaway)(uint32_t code, void *user); /* the peer takes no new streams */
} crs_h2_ops;

/** Load nghttp2; crs_h2_new() does, too. @return CEREUS_OK; CEREUS_E_UNSUPPORTED: not installed, err says so. Thread: any. */
cereus_status crs_h2_load(cereus_error *err);

/** A client's side; its preface and settings wait to be sent. Ownership: gives. @return CEREUS_OK; CEREUS_E_UNSUPPORTED;
 * CEREUS_E_NOMEM. Thread: one at a time, like everything here. */
cereus_status crs_h2_new(const crs_h2_ops *ops, void *user, crs_h2 **ret_h2);
/** Its streams end first, see crs_h2_end(). Fine within a callback. NULL is fine. Returns NULL. */
crs_h2 *crs_h2_free(crs_h2 *h2);
/** The connection is no more: every stream is closed with @p code, those that were not sent with REFUSED_STREAM. */
void crs_h2_end(crs_h2 *h2, uint32_t code);

/** Bytes came. @return CEREUS_OK; CEREUS_E_MALFORMED, CEREUS_E_NOMEM: send what waits, then close */
cereus_status crs_h2_feed(crs_h2 *h2, const uint8_t *data, size_t len, cereus_error *err);
/** The next bytes to be sent, good until the next call; 0: none. @return as feed */
cereus_status crs_h2_pull(crs_h2 *h2, const uint8_t **ret_data, size_t *ret_len, cereus_error *err);
/** Is there neither anything to read nor to send any more? Then close; @p err says why. */
bool crs_h2_over(const crs_h2 *h2, cereus_error *err);

/** Open @p stream with these headers. @return CEREUS_OK; CEREUS_E_GONE: this connection takes no more; CEREUS_E_NOMEM */
cereus_status crs_h2_stream_open(crs_h2 *h2, crs_h2_stream *stream, const crs_h2_stream_ops *ops,
                                 const crs_h2_header *headers, size_t count);
/** There is something to read. @return CEREUS_OK; CEREUS_E_NOMEM */
cereus_status crs_h2_stream_resume(crs_h2_stream *stream);
/** Reset it and let it go: no more calls about it. */
void crs_h2_stream_cancel(crs_h2_stream *stream, uint32_t code);

/** Streams that are open. */
size_t crs_h2_stream_count(const crs_h2 *h2);
/** @return CEREUS_OK; CEREUS_E_NOMEM */
cereus_status crs_h2_ping(crs_h2 *h2);
/** Say good-bye when the connection is about to be closed. */
void crs_h2_goaway(crs_h2 *h2);
/** Are the numbers of streams used up, so that a new connection is due? */
bool crs_h2_worn(const crs_h2 *h2);

#endif
