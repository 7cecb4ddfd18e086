/* ext/h2.c: nghttp2 behind ext/h2.h. nghttp2 finds a stream by its number and keeps our pointer; taking the pointer away is
 * how a stream is let go, at any time. The data provider looks it up, too, so that nothing refers to memory that has gone.
 */
#include "ext/h2.h"

#include <nghttp2/nghttp2.h>
#include <pthread.h>

#include "base/library.h"

/* clang-format off */
#define NGHTTP2_FUNCTIONS(X) \
    X(nghttp2_option_del) X(nghttp2_option_new) X(nghttp2_option_set_max_reserved_remote_streams) \
    X(nghttp2_option_set_no_closed_streams) X(nghttp2_session_callbacks_del) X(nghttp2_session_callbacks_new) \
    X(nghttp2_session_callbacks_set_on_data_chunk_recv_callback) \
    X(nghttp2_session_callbacks_set_on_frame_recv_callback) X(nghttp2_session_callbacks_set_on_frame_send_callback) \
    X(nghttp2_session_callbacks_set_on_header_callback) \
    X(nghttp2_session_callbacks_set_on_invalid_frame_recv_callback) \
    X(nghttp2_session_callbacks_set_on_stream_close_callback) X(nghttp2_session_client_new3) X(nghttp2_session_del) \
    X(nghttp2_session_get_next_stream_id) X(nghttp2_session_get_stream_user_data) X(nghttp2_session_mem_recv) \
    X(nghttp2_session_mem_send) X(nghttp2_session_resume_data) X(nghttp2_session_set_local_window_size) \
    X(nghttp2_session_set_stream_user_data) X(nghttp2_session_want_read) X(nghttp2_session_want_write) \
    X(nghttp2_strerror) X(nghttp2_submit_goaway) X(nghttp2_submit_ping) X(nghttp2_submit_request) \
    X(nghttp2_submit_rst_stream) X(nghttp2_submit_settings)
/* clang-format on */

static struct {
    CRS_LIBRARY_FIELDS(NGHTTP2_FUNCTIONS)
} ng; /* filled once by load() */

enum { HEADERS_COUNT_MAX = 16, STREAM_ID_LAST = 0x7fff0000 };

struct crs_h2 {
    nghttp2_session *session;
    const crs_h2_ops *ops; /* set once by new() */
    void *user;            /* set once by new() */
    crs_list streams;
    size_t stream_count;
    unsigned depth; /* we are within nghttp2, which must not lose its session then */
    bool doomed;    /* freed meanwhile */
    bool settled;
    bool draining; /* GOAWAY came */
    int invalid;   /* why nghttp2 ends the connection; 0: it does not */
};

/* ---- the library, loaded by the first connection (base/library.h says why) ---- */

#define SYMBOL(function) {#function, (void **)&ng.function},

static pthread_once_t once = PTHREAD_ONCE_INIT;
static cereus_error failure;

static void load(void)
{
    static const crs_symbol symbols[] = {NGHTTP2_FUNCTIONS(SYMBOL)};
    crs_library_load("libnghttp2.so.14", "for etcd and gRPC install nghttp2 (Debian's package libnghttp2-14)", symbols,
                     CEREUS_COUNT(symbols), &failure);
}

cereus_status crs_h2_load(cereus_error *err)
{
    pthread_once(&once, load);
    if (failure.status && err)
        *err = failure;
    return failure.status;
}

/* ---- memory ---- */

static void *mem_malloc(size_t size, void *user)
{
    CRS_UNUSED(user);
    return crs_malloc(size);
}

static void mem_free(void *ptr, void *user)
{
    CRS_UNUSED(user);
    crs_free(ptr);
}

static void *mem_calloc(size_t count, size_t size, void *user)
{
    CRS_UNUSED(user);
    return size && count > SIZE_MAX / size ? NULL : crs_zalloc(count * size);
}

static void *mem_realloc(void *ptr, size_t size, void *user)
{
    CRS_UNUSED(user);
    return crs_realloc(ptr, size);
}

static nghttp2_mem mem = {.malloc = mem_malloc, .free = mem_free, .calloc = mem_calloc, .realloc = mem_realloc};

/* ---- what nghttp2 tells ---- */

static void forget(crs_h2_stream *stream)
{
    stream->h2->stream_count--;
    stream->h2 = NULL;
    crs_list_remove(&stream->link);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    crs_h2 *h2 = user;
    if (h2->doomed)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (frame->hd.type == NGHTTP2_SETTINGS && !h2->settled && !(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
        h2->settled = true;
        h2->ops->settled(h2->user);
    } else if (frame->hd.type == NGHTTP2_GOAWAY && !h2->draining) {
        h2->draining = true;
        h2->ops->goaway(frame->goaway.error_code, h2->user);
    } else if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
               (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)) {
        crs_h2_stream *stream = ng.nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (stream)
            stream->ops->ended(stream);
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
    CRS_UNUSED(session);
    CRS_UNUSED(frame);
    crs_h2 *h2 = user;
    if (!h2->invalid)
        h2->invalid = error;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    CRS_UNUSED(flags);
    CRS_UNUSED(user);
    crs_h2_stream *stream = ng.nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!stream)
        return 0;
    stream->header_len += name_len + value_len + 32; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
    bool fine = stream->header_len <= CRS_H2_HEADERS_MAX &&
                stream->ops->header(stream, cereus_slice_of(name, name_len), cereus_slice_of(value, value_len));
    return fine ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *user)
{
    CRS_UNUSED(flags);
    CRS_UNUSED(user);
    crs_h2_stream *stream = ng.nghttp2_session_get_stream_user_data(session, id);
    if (stream && !stream->ops->data(stream, cereus_slice_of(data, len))) {
        /* not an error of the connection, so the reset is ours to make; `closed` follows. The call may have let it go */
        if (ng.nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    CRS_UNUSED(user);
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    crs_h2_stream *stream = ng.nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream)
        stream->sent = true;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    CRS_UNUSED(user);
    crs_h2_stream *stream = ng.nghttp2_session_get_stream_user_data(session, id);
    if (!stream)
        return 0;
    if (!stream->sent)
        code = CRS_H2_REFUSED_STREAM;
    forget(stream);
    stream->ops->closed(stream, code);
    return 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t cap, uint32_t *flags,
                       nghttp2_data_source *source, void *user)
{
    CRS_UNUSED(source);
    CRS_UNUSED(user);
    crs_h2_stream *stream = ng.nghttp2_session_get_stream_user_data(session, id);
    if (!stream)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* let go: its reset is on the way */
    bool last = false;
    size_t len = stream->ops->read(stream, buf, cap, &last);
    if (len == 0 && !last)
        return NGHTTP2_ERR_DEFERRED;
    if (last)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

/* ---- the connection ---- */

static bool make_session(crs_h2 *h2)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *option = NULL;
    bool made = false;
    if (ng.nghttp2_session_callbacks_new(&cb) != 0 || ng.nghttp2_option_new(&option) != 0)
        goto out;
    ng.nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    ng.nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    ng.nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    ng.nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    ng.nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
    ng.nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    ng.nghttp2_option_set_no_closed_streams(option, 1);
    ng.nghttp2_option_set_max_reserved_remote_streams(option, 0);
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, CRS_H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, CRS_H2_HEADERS_MAX},
    };
    made = ng.nghttp2_session_client_new3(&h2->session, cb, h2, option, &mem) == 0 &&
           ng.nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, CEREUS_COUNT(settings)) == 0 &&
           ng.nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, CRS_H2_CONNECTION_WINDOW) == 0;
out:
    ng.nghttp2_option_del(option);
    ng.nghttp2_session_callbacks_del(cb);
    return made;
}

static void destroy(crs_h2 *h2)
{
    ng.nghttp2_session_del(h2->session);
    crs_free(h2);
}

cereus_status crs_h2_new(const crs_h2_ops *ops, void *user, crs_h2 **ret_h2)
{
    CEREUS_TRY(crs_h2_load(NULL));
    crs_h2 *h2 = crs_zalloc(sizeof *h2);
    if (!h2)
        return CEREUS_E_NOMEM;
    h2->ops = ops;
    h2->user = user;
    crs_list_init(&h2->streams);
    if (!make_session(h2)) {
        destroy(h2);
        return CEREUS_E_NOMEM;
    }
    *ret_h2 = h2;
    return CEREUS_OK;
}

static void leave(crs_h2 *h2)
{
    if (--h2->depth == 0 && h2->doomed)
        destroy(h2);
}

crs_h2 *crs_h2_free(crs_h2 *h2)
{
    if (!h2)
        return NULL;
    CRS_ASSERT(crs_list_empty(&h2->streams)); /* crs_h2_end() comes first */
    h2->doomed = true;
    if (h2->depth == 0)
        destroy(h2);
    return NULL;
}

void crs_h2_end(crs_h2 *h2, uint32_t code)
{
    h2->depth++; /* a callback may free it */
    h2->draining = true;
    while (!crs_list_empty(&h2->streams)) {
        crs_h2_stream *stream = CRS_CONTAINER(h2->streams.next, crs_h2_stream, link);
        ng.nghttp2_session_set_stream_user_data(h2->session, stream->id, NULL);
        bool sent = stream->sent;
        forget(stream);
        stream->ops->closed(stream, sent ? code : CRS_H2_REFUSED_STREAM);
    }
    leave(h2);
}

static cereus_status broken(const crs_h2 *h2, int error, cereus_error *err)
{
    if (error == NGHTTP2_ERR_NOMEM)
        return crs_fail(err, CEREUS_E_NOMEM, "out of memory");
    if (error == NGHTTP2_ERR_FLOODED)
        return crs_fail(err, CEREUS_E_MALFORMED, "the peer floods us with pings or settings");
    return crs_fail(err, CEREUS_E_MALFORMED, "the peer breaks HTTP/2: %s",
                    ng.nghttp2_strerror(h2->invalid ? h2->invalid : error));
}

cereus_status crs_h2_feed(crs_h2 *h2, const uint8_t *data, size_t len, cereus_error *err)
{
    h2->depth++;
    ssize_t used = ng.nghttp2_session_mem_recv(h2->session, data, len);
    cereus_status st = used < 0 && !h2->doomed ? broken(h2, (int)used, err) : CEREUS_OK;
    leave(h2);
    return st;
}

cereus_status crs_h2_pull(crs_h2 *h2, const uint8_t **ret_data, size_t *ret_len, cereus_error *err)
{
    h2->depth++;
    ssize_t len = ng.nghttp2_session_mem_send(h2->session, ret_data);
    *ret_len = len > 0 && !h2->doomed ? (size_t)len : 0;
    cereus_status st = len < 0 && !h2->doomed ? broken(h2, (int)len, err) : CEREUS_OK;
    leave(h2);
    return st;
}

bool crs_h2_over(const crs_h2 *h2, cereus_error *err)
{
    if (ng.nghttp2_session_want_read(h2->session) || ng.nghttp2_session_want_write(h2->session))
        return false;
    if (h2->invalid)
        broken(h2, h2->invalid, err);
    else
        crs_fail(err, CEREUS_E_UNAVAILABLE, "the peer has ended the connection (GOAWAY)");
    return true;
}

void crs_h2_goaway(crs_h2 *h2)
{
    ng.nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0); /* best effort */
}

cereus_status crs_h2_ping(crs_h2 *h2)
{
    return ng.nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL) == 0 ? CEREUS_OK : CEREUS_E_NOMEM;
}

bool crs_h2_worn(const crs_h2 *h2)
{
    return ng.nghttp2_session_get_next_stream_id(h2->session) > STREAM_ID_LAST;
}

size_t crs_h2_stream_count(const crs_h2 *h2)
{
    return h2->stream_count;
}

/* ---- streams ---- */

cereus_status crs_h2_stream_open(crs_h2 *h2, crs_h2_stream *stream, const crs_h2_stream_ops *ops,
                                 const crs_h2_header *headers, size_t count)
{
    CRS_ASSERT(count <= HEADERS_COUNT_MAX);
    if (h2->draining)
        return CEREUS_E_GONE;
    nghttp2_nv nv[HEADERS_COUNT_MAX];
    for (size_t i = 0; i < count; i++)
        nv[i] = (nghttp2_nv){.name = (uint8_t *)headers[i].name.data,
                             .namelen = headers[i].name.len,
                             .value = (uint8_t *)headers[i].value.data,
                             .valuelen = headers[i].value.len};
    nghttp2_data_provider provider = {.read_callback = on_read};
    int32_t id = ng.nghttp2_submit_request(h2->session, NULL, nv, count, &provider, stream);
    if (id < 0)
        return id == NGHTTP2_ERR_NOMEM ? CEREUS_E_NOMEM : CEREUS_E_GONE;
    *stream = (crs_h2_stream){.h2 = h2, .ops = ops, .id = id};
    crs_list_init(&stream->link);
    crs_list_push(&h2->streams, &stream->link);
    h2->stream_count++;
    return CEREUS_OK;
}

cereus_status crs_h2_stream_resume(crs_h2_stream *stream)
{
    int rc = ng.nghttp2_session_resume_data(stream->h2->session, stream->id);
    return rc == NGHTTP2_ERR_NOMEM ? CEREUS_E_NOMEM : CEREUS_OK; /* not deferred: it will be asked anyway */
}

void crs_h2_stream_cancel(crs_h2_stream *stream, uint32_t code)
{
    if (!stream->h2)
        return;
    nghttp2_session *session = stream->h2->session;
    ng.nghttp2_session_set_stream_user_data(session, stream->id, NULL);
    ng.nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id,
                                 code); /* out of memory: the peer works in vain */
    forget(stream);
}
