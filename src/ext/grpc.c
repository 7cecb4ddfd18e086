/* ext/grpc.c: the channel: endpoints, connecting and connecting again, and the calls. HTTP/2 is h2.c, sockets are link.c.
 *
 * Calls are on one of two lists: `waiting` until there is a connection for them, then on the connection's streams. Every
 * callback to the user may cancel any call or close the channel, so whoever calls out looks at `closed` and `gone` after.
 */
#include "ext/grpc.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

#include "ext/grpc_frame.h"
#include "ext/h2.h"
#include "ext/link.h"

enum {
    ADDRS_MAX = 8,          /* of one host name */
    HOST_MAX = 254,         /* RFC 1035 2.3.4, with its NUL */
    READ_ROUNDS = 4,        /* reads in a row before others have their turn */
    REPEATS_MAX = 3,        /* of a call that peers refuse */
    SETTLED_MS = 10 * 1000, /* a connection that lived so long was a good one */
    HEADERS_MAX = 7 + CRS_GRPC_METADATA_MAX,
    MESSAGE_TEXT_MAX = 256, /* of a peer's grpc-message */
};

typedef enum channel_state {
    CHANNEL_BACKOFF,
    CHANNEL_RESOLVING,
    CHANNEL_CONNECTING, /* until the link is up */
    CHANNEL_SETTLING,   /* until the peer's settings came */
    CHANNEL_READY,
    CHANNEL_DRAINING, /* calls that are under way may end, others wait for the next connection */
} channel_state;

typedef struct endpoint {
    char text[HOST_MAX + 8]; /* as it was given, without the scheme; :authority, too */
    char host[HOST_MAX];
    uint16_t port;
} endpoint;

typedef struct metadata {
    char *name, *value;
} metadata;

/** A look-up on libuv's pool; it outlives a channel that closes meanwhile. */
typedef struct lookup {
    uv_getaddrinfo_t req;
    crs_grpc_channel *channel; /* NULL: nobody waits any more */
} lookup;

struct crs_grpc_channel {
    crs_loop *loop;
    crs_grpc_options opt; /* pointers of the caller cleared */
    char *name;
    crs_tls_client *tls;
    endpoint endpoints[CRS_GRPC_ENDPOINTS_MAX];
    size_t endpoint_count;
    size_t at;     /* the endpoint in use */
    size_t failed; /* endpoints that failed in a row */

    channel_state state;
    bool fresh; /* no attempt has failed since the start or since it was ready */
    bool released;
    bool closed;
    unsigned depth; /* of our own functions on the stack */
    uint32_t attempt;
    uint64_t ready_at_ms;
    cereus_error why; /* it is not ready */
    size_t why_at;    /* the endpoint that this is about */

    lookup *lookup;
    struct sockaddr_storage addrs[ADDRS_MAX];
    size_t addr_count, addr_at;
    crs_link *link;
    crs_h2 *h2;
    crs_timer timer; /* dialling, back-off or draining, as `state` says */
    crs_timer keepalive;
    uint64_t last_rx_ms;
    bool pinged;
    crs_deferred flush;
    crs_bytes out; /* what the socket did not take */
    size_t out_at;
    bool blocked;

    crs_list waiting; /* calls and streams that are not handed to HTTP/2 */
    crs_list streams; /* streams that are */
    size_t call_count;
    size_t queued; /* bytes of messages not yet handed to HTTP/2 */
    metadata metadata[CRS_GRPC_METADATA_MAX];
};

struct crs_grpc_call {
    crs_h2_stream stream;
    crs_grpc_channel *channel;
    crs_list link;    /* on `waiting` or `streams` or on none */
    crs_timer timer;  /* the deadline */
    const char *path; /* borrowed, a constant */
    uint64_t started_ms, due_ms;
    crs_grpc_done_fn *done;
    crs_grpc_message_fn *message; /* NULL: unary */
    void *user;
    crs_grpc_rx rx;
    crs_bytes reply; /* unary */
    bool replied;
    bool ahead;
    bool finish; /* nothing comes behind what waits */
    bool busy;   /* in its data callback: freed when that is over */
    bool gone;
    bool renewed; /* made again with other metadata */
    uint8_t repeats;
    int http_status;  /* 0: none came */
    int grpc_status;  /* -1: none came */
    int refused_code; /* why we ended it ourselves; 0: we did not */
    bool grpc_type;   /* content-type is application/grpc */
    bool encoded;     /* grpc-encoding is another than identity */
    char *text;       /* grpc-message, decoded; NULL: none */
    const char *refused_text;
    crs_bytes queue; /* a stream's messages, or the one of a call */
    size_t queue_at;
};

static void dial(crs_grpc_channel *ch);

/* ---- codes ---- */

static cereus_status status_of(int code)
{
    static const cereus_status statuses[] = {
        [CRS_GRPC_OK] = CEREUS_OK,
        [CRS_GRPC_CANCELLED] = CEREUS_E_CANCELLED,
        [CRS_GRPC_UNKNOWN] = CEREUS_E_FAILED,
        [CRS_GRPC_INVALID_ARGUMENT] = CEREUS_E_INVALID,
        [CRS_GRPC_DEADLINE_EXCEEDED] = CEREUS_E_TIMEOUT,
        [CRS_GRPC_NOT_FOUND] = CEREUS_E_NOT_FOUND,
        [CRS_GRPC_ALREADY_EXISTS] = CEREUS_E_EXISTS,
        [CRS_GRPC_PERMISSION_DENIED] = CEREUS_E_INVALID,
        [CRS_GRPC_RESOURCE_EXHAUSTED] = CEREUS_E_FULL,
        [CRS_GRPC_FAILED_PRECONDITION] = CEREUS_E_STATE,
        [CRS_GRPC_ABORTED] = CEREUS_E_FAILED,
        [CRS_GRPC_OUT_OF_RANGE] = CEREUS_E_RANGE,
        [CRS_GRPC_UNIMPLEMENTED] = CEREUS_E_UNSUPPORTED,
        [CRS_GRPC_INTERNAL] = CEREUS_E_IO,
        [CRS_GRPC_UNAVAILABLE] = CEREUS_E_UNAVAILABLE,
        [CRS_GRPC_DATA_LOSS] = CEREUS_E_IO,
        [CRS_GRPC_UNAUTHENTICATED] = CEREUS_E_INVALID,
    };
    return code >= 0 && (size_t)code < CEREUS_COUNT(statuses) ? statuses[code] : CEREUS_E_IO;
}

static const char *code_name(int code)
{
    static const char *const names[] = {
        "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED",
    };
    return code >= 0 && (size_t)code < CEREUS_COUNT(names) ? names[code] : "an unknown status";
}

/** The gRPC documents' "HTTP to gRPC Status Code Mapping". */
static int code_of_http(int status)
{
    switch (status) {
    case 400:
        return CRS_GRPC_INTERNAL;
    case 401:
        return CRS_GRPC_UNAUTHENTICATED;
    case 403:
        return CRS_GRPC_PERMISSION_DENIED;
    case 404:
        return CRS_GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return CRS_GRPC_UNAVAILABLE;
    default:
        return CRS_GRPC_UNKNOWN;
    }
}

/** "PROTOCOL-HTTP2: Errors" of the same. */
static int code_of_reset(uint32_t code)
{
    switch (code) {
    case CRS_H2_REFUSED_STREAM:
        return CRS_GRPC_UNAVAILABLE;
    case CRS_H2_CANCEL:
        return CRS_GRPC_CANCELLED;
    case CRS_H2_ENHANCE_YOUR_CALM:
        return CRS_GRPC_RESOURCE_EXHAUSTED;
    case CRS_H2_INADEQUATE_SECURITY:
        return CRS_GRPC_PERMISSION_DENIED;
    default:
        return CRS_GRPC_INTERNAL;
    }
}

/* ---- the life of a call ---- */

static void enter(crs_grpc_channel *ch)
{
    ch->depth++;
}

/** Whoever called out ends with this; the channel may be gone after it. */
static void leave(crs_grpc_channel *ch)
{
    if (--ch->depth || !ch->closed)
        return;
    crs_deferred_cancel(&ch->flush); /* whoever ended a call while we closed has asked for it again */
    for (size_t i = 0; i < CRS_GRPC_METADATA_MAX; i++) {
        crs_free(ch->metadata[i].name);
        crs_free(ch->metadata[i].value);
    }
    crs_tls_client_free(ch->tls);
    crs_bytes_fini(&ch->out);
    crs_free(ch->name);
    crs_free(ch);
}

static void free_call(crs_grpc_call *call)
{
    crs_grpc_rx_fini(&call->rx);
    crs_bytes_fini(&call->reply);
    crs_bytes_fini(&call->queue);
    crs_free(call->text);
    crs_free(call);
}

/** Off every list and timer; nothing finds it any more. */
static void unhook(crs_grpc_call *call)
{
    crs_grpc_channel *ch = call->channel;
    crs_list_remove(&call->link);
    crs_loop_timer_stop(ch->loop, &call->timer);
    ch->queued -= call->queue.len - call->queue_at;
    ch->call_count--;
    if (call->stream.h2) {
        crs_h2_stream_cancel(&call->stream, CRS_H2_CANCEL);
        crs_loop_defer(ch->loop, &ch->flush);
    }
    call->gone = true;
}

static void drop_call(crs_grpc_call *call)
{
    if (!call->busy)
        free_call(call);
}

crs_grpc_call *crs_grpc_cancel(crs_grpc_call *call)
{
    if (call) {
        crs_loop_assert_current(call->channel->loop);
        CRS_ASSERT(!call->gone);
        unhook(call);
        drop_call(call);
    }
    return NULL;
}

/** Tell the owner and forget it. */
static void finish(crs_grpc_call *call, crs_grpc_result *result)
{
    crs_grpc_channel *ch = call->channel;
    unhook(call);
    if (result->status) {
        CRS_COUNT(&ch->loop->counters, grpc_call_failures);
    } else {
        result->code = CRS_GRPC_OK;
        result->reply = crs_bytes_slice(&call->reply);
    }
    call->done(result, call->user);
    drop_call(call);
}

static CEREUS_PRINTF(4, 5) void finish_failed(crs_grpc_call *call, cereus_status status, crs_grpc_result result,
                                              const char *fmt, ...)
{
    crs_grpc_channel *ch = call->channel;
    cereus_error err = {.status = status};
    va_list args;
    va_start(args, fmt);
    vsnprintf(err.msg, sizeof err.msg, fmt, args);
    va_end(args);
    crs_fail_in(&err, status, "%s %s", ch->name, ch->endpoints[ch->why_at].text);
    result.status = status;
    result.err = &err;
    finish(call, &result);
}

static void on_deadline(crs_timer *timer)
{
    crs_grpc_call *call = CRS_CONTAINER(timer, crs_grpc_call, timer);
    crs_grpc_channel *ch = call->channel;
    enter(ch);
    if (!call->stream.h2) {
        finish_failed(call, CEREUS_E_UNAVAILABLE, (crs_grpc_result){.code = CRS_GRPC_UNAVAILABLE, .unsent = true},
                      "not connected: %s", ch->why.msg[0] ? ch->why.msg : "still trying");
    } else {
        /* silent all the time: find out soon whether the peer is there at all */
        if (ch->state == CHANNEL_READY && ch->last_rx_ms <= call->started_ms && !ch->pinged &&
            crs_h2_ping(ch->h2) == CEREUS_OK) {
            ch->pinged = true;
            crs_loop_defer(ch->loop, &ch->flush);
            if (crs_loop_timer_start(ch->loop, &ch->keepalive, ch->opt.keepalive_timeout_ms) != CEREUS_OK)
                ch->pinged = false;
        }
        finish_failed(call, CEREUS_E_TIMEOUT, (crs_grpc_result){.code = CRS_GRPC_DEADLINE_EXCEEDED},
                      "%s: no answer in time", call->path);
    }
    leave(ch);
}

/* ---- streams ---- */

static crs_grpc_call *call_of(crs_h2_stream *stream)
{
    return CRS_CONTAINER(stream, crs_grpc_call, stream);
}

static bool is(cereus_slice s, const char *text)
{
    return crs_slice_eq(s, cereus_slice_str(text));
}

static int number_of(cereus_slice s)
{
    int n = 0;
    if (s.len == 0 || s.len > 3)
        return -1;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9')
            return -1;
        n = n * 10 + (s.data[i] - '0');
    }
    return n;
}

/** Percent-encoding of grpc-message; a bad escape stays as it is, as the gRPC documents ask. Control bytes do not get into
 * our errors. */
static char *decode_text(cereus_slice in)
{
    char *text = crs_malloc(CRS_MIN(in.len, MESSAGE_TEXT_MAX) + 1);
    if (!text)
        return NULL;
    size_t len = 0;
    for (size_t i = 0; i < in.len && len < MESSAGE_TEXT_MAX; i++) {
        uint8_t c = in.data[i];
        if (c == '%' && i + 2 < in.len && crs_hex_digit(in.data[i + 1]) >= 0 && crs_hex_digit(in.data[i + 2]) >= 0) {
            c = (uint8_t)(crs_hex_digit(in.data[i + 1]) << 4 | crs_hex_digit(in.data[i + 2]));
            i += 2;
        }
        text[len++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
    }
    text[len] = '\0';
    return text;
}

static bool on_header(crs_h2_stream *stream, cereus_slice name, cereus_slice value)
{
    crs_grpc_call *call = call_of(stream);
    if (is(name, "grpc-status")) {
        int code = number_of(value);
        call->grpc_status = code < 0 ? CRS_GRPC_UNKNOWN : code;
    } else if (is(name, "grpc-message")) {
        crs_free(call->text);
        call->text = decode_text(value);
    } else if (is(name, ":status")) {
        call->http_status = number_of(value);
    } else if (is(name, "content-type")) {
        call->grpc_type = value.len >= 16 && memcmp(value.data, "application/grpc", 16) == 0;
    } else if (is(name, "grpc-encoding")) {
        call->encoded = !is(value, "identity");
    }
    return true;
}

static bool refuse(crs_grpc_call *call, int code, const char *text)
{
    call->refused_code = code;
    call->refused_text = text;
    return false;
}

static bool take_reply(crs_grpc_call *call, cereus_slice message)
{
    if (call->replied)
        return refuse(call, CRS_GRPC_INTERNAL, "two answers to one call");
    call->replied = true;
    if (message.data == call->rx.body.data && call->rx.delivered) { /* it is ours already */
        call->reply = call->rx.body;
        crs_bytes_init(&call->rx.body, call->rx.body.max);
        call->rx.delivered = false;
        return true;
    }
    return crs_bytes_append(&call->reply, message.data, message.len) == CEREUS_OK ||
           refuse(call, CRS_GRPC_RESOURCE_EXHAUSTED, "out of memory");
}

static bool on_data(crs_h2_stream *stream, cereus_slice data)
{
    crs_grpc_call *call = call_of(stream);
    crs_grpc_channel *ch = call->channel;
    if (call->refused_code)
        return true; /* on its way out */
    if (call->http_status != 200 || !call->grpc_type)
        return true; /* a page of a proxy; its status tells */
    if (call->encoded)
        return refuse(call, CRS_GRPC_UNIMPLEMENTED, "the peer compresses its answers, which was not asked for");
    cereus_slice message;
    cereus_status st;
    bool fine = true;
    call->busy = true;
    while ((st = crs_grpc_rx_next(&call->rx, &data, &message)) == CEREUS_OK) {
        if (call->message)
            call->message(message, call->user);
        else
            fine = take_reply(call, message);
        if (call->gone || !fine)
            break;
    }
    call->busy = false;
    if (call->gone) {
        free_call(call);
        return true;
    }
    if (!fine)
        return false;
    switch (st) {
    case CEREUS_E_TOO_LONG:
        CRS_COUNT(&ch->loop->counters, grpc_messages_too_long);
        return refuse(call, CRS_GRPC_RESOURCE_EXHAUSTED, "a message longer than the limit");
    case CEREUS_E_UNSUPPORTED:
        return refuse(call, CRS_GRPC_UNIMPLEMENTED, "a compressed message, which was not asked for");
    case CEREUS_E_MALFORMED:
        return refuse(call, CRS_GRPC_INTERNAL, "bytes that are no gRPC message");
    case CEREUS_E_NOMEM:
        return refuse(call, CRS_GRPC_RESOURCE_EXHAUSTED, "out of memory");
    default:
        return true;
    }
}

static size_t on_read(crs_h2_stream *stream, uint8_t *buf, size_t cap, bool *ret_last)
{
    crs_grpc_call *call = call_of(stream);
    size_t len = CRS_MIN(cap, call->queue.len - call->queue_at);
    if (len)
        memcpy(buf, call->queue.data + call->queue_at, len);
    call->queue_at += len;
    call->channel->queued -= len;
    if (call->queue_at == call->queue.len && !(call->finish && !call->message))
        call->queue.len = call->queue_at = 0; /* a unary request stays, it may have to be repeated */
    *ret_last = call->finish && call->queue_at == call->queue.len;
    return len;
}

/** The peer has said all, so nothing that we could still send matters. */
static void on_ended(crs_h2_stream *stream)
{
    crs_grpc_call *call = call_of(stream);
    call->channel->queued -= call->queue.len - call->queue_at;
    call->queue_at = call->queue.len;
    call->finish = true;
    if (crs_h2_stream_resume(stream) == CEREUS_OK)
        crs_loop_defer(call->channel->loop, &call->channel->flush);
}

/** Is it worth another try? The peer has not seen it, its answer has not begun. */
static bool repeat(crs_grpc_call *call)
{
    crs_grpc_channel *ch = call->channel;
    if (call->message || !crs_timer_running(&call->timer) || call->repeats >= REPEATS_MAX || ch->closed ||
        call->http_status)
        return false;
    call->repeats++;
    ch->queued += call->queue_at;
    call->queue_at = 0;
    crs_list_push(&ch->waiting, &call->link);
    CRS_COUNT(&ch->loop->counters, grpc_calls_repeated);
    return true;
}

/** The same for one whose metadata was refused. */
static bool renew(crs_grpc_call *call)
{
    crs_grpc_channel *ch = call->channel;
    if (call->message || call->ahead || call->renewed || ch->closed || !ch->opt.on_refused)
        return false;
    cereus_error err;
    crs_fail(&err, status_of(call->grpc_status), "%s", call->text ? call->text : "");
    crs_grpc_result result = {.status = err.status, .code = call->grpc_status, .from_peer = true, .err = &err};
    if (!ch->opt.on_refused(&result, ch->opt.user) || ch->closed)
        return false;
    call->renewed = true;
    ch->queued += call->queue_at;
    call->queue_at = 0;
    call->http_status = 0;
    call->grpc_status = -1;
    call->grpc_type = false;
    call->encoded = false;
    call->replied = false;
    crs_free(call->text);
    call->text = NULL;
    crs_grpc_rx_fini(&call->rx);
    crs_grpc_rx_init(&call->rx, ch->opt.message_max);
    crs_bytes_fini(&call->reply);
    crs_list_push(&ch->waiting, &call->link);
    crs_loop_defer(ch->loop, &ch->flush);
    return true;
}

static void on_stream_closed(crs_h2_stream *stream, uint32_t reset)
{
    crs_grpc_call *call = call_of(stream);
    crs_grpc_channel *ch = call->channel;
    if (call->refused_code) {
        finish_failed(call, status_of(call->refused_code), (crs_grpc_result){.code = call->refused_code}, "%s: %s",
                      call->path, call->refused_text);
    } else if (call->grpc_status > 0 && renew(call)) {
        return;
    } else if (call->grpc_status > 0) {
        finish_failed(call, status_of(call->grpc_status),
                      (crs_grpc_result){.code = call->grpc_status, .from_peer = true}, "%s", /* the path says no more */
                      call->text && *call->text ? call->text : code_name(call->grpc_status));
    } else if (ch->closed) {
        finish_failed(call, CEREUS_E_CANCELLED, (crs_grpc_result){.code = CRS_GRPC_CANCELLED}, "closed");
    } else if (reset == CRS_H2_REFUSED_STREAM && repeat(call)) {
        if (ch->state == CHANNEL_READY)
            crs_loop_defer(ch->loop, &ch->flush);
    } else if (reset == CRS_H2_REFUSED_STREAM) {
        finish_failed(call, CEREUS_E_UNAVAILABLE, (crs_grpc_result){.code = CRS_GRPC_UNAVAILABLE, .unsent = true},
                      "%s: refused: %s", call->path, ch->why.msg[0] ? ch->why.msg : "the peer takes no more calls");
    } else if (call->grpc_status == 0 && !crs_grpc_rx_partial(&call->rx) && (call->message || call->replied)) {
        finish(call, &(crs_grpc_result){.status = CEREUS_OK, .from_peer = true});
    } else if (!ch->link) {
        finish_failed(call, CEREUS_E_UNAVAILABLE, (crs_grpc_result){.code = CRS_GRPC_UNAVAILABLE},
                      "%s: the connection was lost: %s", call->path, ch->why.msg);
    } else if (reset != CRS_H2_NO_ERROR) {
        int code = code_of_reset(reset);
        finish_failed(call, status_of(code), (crs_grpc_result){.code = code},
                      "%s: the peer reset it with HTTP/2 code %u", call->path, (unsigned)reset);
    } else if (call->http_status != 200 && call->http_status) {
        int code = code_of_http(call->http_status);
        finish_failed(call, status_of(code), (crs_grpc_result){.code = code}, "%s: HTTP status %d", call->path,
                      call->http_status);
    } else if (!call->grpc_type) {
        finish_failed(call, status_of(CRS_GRPC_UNKNOWN), (crs_grpc_result){.code = CRS_GRPC_UNKNOWN},
                      "%s: the answer is not gRPC", call->path);
    } else {
        finish_failed(call, CEREUS_E_IO, (crs_grpc_result){.code = CRS_GRPC_INTERNAL}, "%s: %s", call->path,
                      call->grpc_status == 0 ? "an answer that is not whole" : "the answer ended without a status");
    }
    if (!ch->closed && ch->state == CHANNEL_DRAINING)
        crs_loop_defer(ch->loop, &ch->flush); /* was it the last? */
}

static const crs_h2_stream_ops stream_ops = {
    .header = on_header, .data = on_data, .read = on_read, .ended = on_ended, .closed = on_stream_closed};

/** Hand a call to HTTP/2. */
static cereus_status submit(crs_grpc_call *call)
{
    crs_grpc_channel *ch = call->channel;
    crs_h2_header headers[HEADERS_MAX] = {
        {cereus_slice_str(":method"), cereus_slice_str("POST")},
        {cereus_slice_str(":scheme"), cereus_slice_str(ch->tls ? "https" : "http")},
        {cereus_slice_str(":path"), cereus_slice_str(call->path)},
        {cereus_slice_str(":authority"), cereus_slice_str(ch->endpoints[ch->at].text)},
        {cereus_slice_str("te"), cereus_slice_str("trailers")},
        {cereus_slice_str("content-type"), cereus_slice_str("application/grpc")},
    };
    size_t count = 6;
    char timeout[24];
    if (call->due_ms) {
        uint64_t left = call->due_ms > ch->loop->now_ms ? call->due_ms - ch->loop->now_ms : 1;
        if (left <= 99999999) /* at most eight digits */
            snprintf(timeout, sizeof timeout, "%um", (unsigned)left);
        else
            snprintf(timeout, sizeof timeout, "%uS", (unsigned)CRS_MIN(left / 1000, 99999999));
        headers[count++] = (crs_h2_header){cereus_slice_str("grpc-timeout"), cereus_slice_str(timeout)};
    }
    for (size_t i = 0; i < CRS_GRPC_METADATA_MAX; i++)
        if (ch->metadata[i].name)
            headers[count++] =
                (crs_h2_header){cereus_slice_str(ch->metadata[i].name), cereus_slice_str(ch->metadata[i].value)};
    CEREUS_TRY(crs_h2_stream_open(ch->h2, &call->stream, &stream_ops, headers, count));
    if (call->message)
        crs_list_push(&ch->streams, &call->link);
    crs_loop_defer(ch->loop, &ch->flush);
    return CEREUS_OK;
}

static bool may_go(const crs_grpc_channel *ch, const crs_grpc_call *call)
{
    return ch->state == CHANNEL_READY && (ch->released || call->ahead);
}

static void submit_waiting(crs_grpc_channel *ch)
{
    crs_list later;
    crs_list_init(&later);
    for (crs_list *link; !ch->closed && ch->state == CHANNEL_READY && (link = crs_list_pop(&ch->waiting));) {
        crs_grpc_call *call = CRS_CONTAINER(link, crs_grpc_call, link);
        cereus_status st = may_go(ch, call) ? submit(call) : CEREUS_E_GONE;
        if (st == CEREUS_E_GONE)
            crs_list_push(&later, link);
        else if (st)
            finish_failed(call, st, (crs_grpc_result){.code = CRS_GRPC_RESOURCE_EXHAUSTED, .unsent = true},
                          "out of memory");
    }
    /* those that may not go yet keep their place before what came meanwhile */
    while (!crs_list_empty(&ch->waiting))
        crs_list_push(&later, crs_list_pop(&ch->waiting));
    while (!crs_list_empty(&later))
        crs_list_push(&ch->waiting, crs_list_pop(&later));
}

/* ---- starting calls ---- */

static cereus_status append_message(crs_bytes *queue, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len > UINT32_MAX)
        return CEREUS_E_TOO_LONG;
    CEREUS_TRY(crs_bytes_reserve(queue, CRS_GRPC_HEAD_LEN + len));
    uint8_t *at = queue->data + queue->len;
    crs_grpc_put_head(at, (uint32_t)len);
    protobuf_c_message_pack(message, at + CRS_GRPC_HEAD_LEN);
    queue->len += CRS_GRPC_HEAD_LEN + len;
    return CEREUS_OK;
}

static cereus_status refuse_call(crs_grpc_channel *ch, const crs_grpc_ask *ask, cereus_status st, const char *why,
                                 cereus_error *err)
{
    CRS_COUNT(&ch->loop->counters, grpc_calls_refused);
    return crs_fail(err, st, "%s %s: %s: %s", ch->name, ch->endpoints[ch->why_at].text, ask->path, why);
}

static cereus_status start(crs_grpc_channel *ch, const crs_grpc_ask *ask, crs_grpc_message_fn *message,
                           crs_grpc_done_fn *done, void *user, crs_grpc_call **ret_call, cereus_error *err)
{
    crs_loop_assert_current(ch->loop);
    CRS_ASSERT(!ch->closed && ask->path && done && (message || ask->request));
    if (ch->call_count >= ch->opt.calls_max)
        return refuse_call(ch, ask, CEREUS_E_FULL, "too many calls at once", err);
    if (!ask->wait && ch->state != CHANNEL_READY && !ch->fresh)
        return refuse_call(ch, ask, CEREUS_E_UNAVAILABLE, ch->why.msg[0] ? ch->why.msg : "not connected", err);
    crs_grpc_call *call = crs_zalloc(sizeof *call);
    if (!call)
        return refuse_call(ch, ask, CEREUS_E_NOMEM, "out of memory", err);
    call->channel = ch;
    crs_list_init(&call->link);
    crs_timer_init(&call->timer, on_deadline);
    call->path = ask->path;
    call->started_ms = ch->loop->now_ms;
    call->due_ms = ask->timeout_ms ? call->started_ms + ask->timeout_ms : 0;
    call->done = done;
    call->message = message;
    call->user = user;
    call->grpc_status = -1;
    call->ahead = ask->ahead;
    call->finish = !message;
    crs_grpc_rx_init(&call->rx, ch->opt.message_max);
    crs_bytes_init(&call->reply, ch->opt.message_max);
    size_t room = ch->opt.queue_max - CRS_MIN(ch->opt.queue_max, ch->queued);
    crs_bytes_init(&call->queue, room);
    cereus_status st = ask->request ? append_message(&call->queue, ask->request) : CEREUS_OK;
    if (message)
        call->queue.max = CRS_MAX(CRS_GRPC_STREAM_QUEUE_MAX, call->queue.len);
    if (st == CEREUS_E_TOO_LONG) {
        st = refuse_call(ch, ask, CEREUS_E_FULL, "too many bytes wait to be sent", err);
        goto fail;
    }
    if (!st && ask->timeout_ms)
        st = crs_loop_timer_start(ch->loop, &call->timer, ask->timeout_ms);
    if (!st && may_go(ch, call))
        st = submit(call);
    else if (!st)
        st = CEREUS_E_GONE;
    if (st == CEREUS_E_GONE) { /* for now */
        crs_list_push(&ch->waiting, &call->link);
    } else if (st) {
        refuse_call(ch, ask, st, "out of memory", err);
        goto fail;
    }
    ch->call_count++;
    ch->queued += call->queue.len;
    CRS_COUNT(&ch->loop->counters, grpc_calls);
    if (ret_call)
        *ret_call = call;
    return CEREUS_OK;
fail:
    crs_loop_timer_stop(ch->loop, &call->timer);
    free_call(call);
    return st;
}

cereus_status crs_grpc_call_start(crs_grpc_channel *channel, const crs_grpc_ask *ask, crs_grpc_done_fn *done,
                                  void *user, crs_grpc_call **ret_call, cereus_error *err)
{
    return start(channel, ask, NULL, done, user, ret_call, err);
}

cereus_status crs_grpc_stream_open(crs_grpc_channel *channel, const crs_grpc_ask *ask, crs_grpc_message_fn *message,
                                   crs_grpc_done_fn *done, void *user, crs_grpc_call **ret_stream, cereus_error *err)
{
    return start(channel, ask, message, done, user, ret_stream, err);
}

cereus_status crs_grpc_stream_send(crs_grpc_call *stream, const ProtobufCMessage *message)
{
    crs_grpc_channel *ch = stream->channel;
    crs_loop_assert_current(ch->loop);
    CRS_ASSERT(stream->message && !stream->gone);
    if (stream->finish)
        return CEREUS_E_STATE;
    if (stream->queue_at) { /* the room of what was sent */
        memmove(stream->queue.data, stream->queue.data + stream->queue_at, stream->queue.len - stream->queue_at);
        stream->queue.len -= stream->queue_at;
        stream->queue_at = 0;
    }
    size_t was = stream->queue.len;
    cereus_status st = append_message(&stream->queue, message);
    if (st == CEREUS_E_TOO_LONG) {
        CRS_COUNT(&ch->loop->counters, grpc_calls_refused);
        return CEREUS_E_FULL;
    }
    CEREUS_TRY(st);
    ch->queued += stream->queue.len - was;
    if (!stream->stream.h2)
        return CEREUS_OK;
    crs_loop_defer(ch->loop, &ch->flush);
    return crs_h2_stream_resume(&stream->stream);
}

void crs_grpc_stream_finish(crs_grpc_call *stream)
{
    crs_grpc_channel *ch = stream->channel;
    crs_loop_assert_current(ch->loop);
    stream->finish = true;
    if (stream->stream.h2 && crs_h2_stream_resume(&stream->stream) == CEREUS_OK)
        crs_loop_defer(ch->loop, &ch->flush);
}

/* ---- the connection ---- */

static void set_why(crs_grpc_channel *ch, const cereus_error *why)
{
    ch->why = *why;
    ch->why_at = ch->at;
}

static void set_timer(crs_grpc_channel *ch, crs_timer *timer, uint64_t delay_ms)
{
    if (crs_loop_timer_start(ch->loop, timer, delay_ms) != CEREUS_OK)
        crs_loop_defer(ch->loop, &ch->flush); /* no memory: keep_timers() tries again */
}

static void say_state(crs_grpc_channel *ch, bool ready)
{
    if (ch->opt.on_state)
        ch->opt.on_state(ready, ready ? NULL : &ch->why, ch->opt.user);
}

/** Let go of the connection. Streams are closed, which calls out. */
static void disconnect(crs_grpc_channel *ch)
{
    if (ch->lookup) {
        ch->lookup->channel = NULL;
        uv_cancel((uv_req_t *)&ch->lookup->req);
        ch->lookup = NULL;
    }
    crs_loop_timer_stop(ch->loop, &ch->timer);
    crs_loop_timer_stop(ch->loop, &ch->keepalive);
    crs_deferred_cancel(&ch->flush);
    crs_bytes_fini(&ch->out);
    ch->out_at = 0;
    ch->blocked = ch->pinged = false;
    ch->released = false;
    ch->link = crs_link_close(ch->link);
    crs_h2 *h2 = ch->h2;
    ch->h2 = NULL;
    if (h2) {
        crs_h2_end(h2, CRS_H2_INTERNAL_ERROR);
        crs_h2_free(h2);
    }
}

static void back_off(crs_grpc_channel *ch)
{
    uint64_t pause = ch->opt.backoff_max_ms;
    if (ch->attempt < 32 && ((uint64_t)ch->opt.backoff_min_ms << ch->attempt) < pause)
        pause = (uint64_t)ch->opt.backoff_min_ms << ch->attempt;
    ch->attempt++;
    ch->state = CHANNEL_BACKOFF;
    set_timer(ch, &ch->timer, pause / 2 + crs_loop_random(ch->loop, pause / 2 + 1));
}

/** This endpoint is of no use now: the next one, or a pause when all have been tried. */
static void next_endpoint(crs_grpc_channel *ch)
{
    ch->fresh = false;
    ch->at = (ch->at + 1) % ch->endpoint_count;
    if (++ch->failed < ch->endpoint_count) {
        dial(ch);
        return;
    }
    ch->failed = 0;
    back_off(ch);
}

static void next_address(crs_grpc_channel *ch);

/** The attempt came to nothing. */
static void attempt_failed(crs_grpc_channel *ch, const cereus_error *why)
{
    set_why(ch, why);
    CRS_COUNT(&ch->loop->counters, grpc_connect_failures);
    static crs_log_limiter limiter;
    crs_log_limited(ch->loop->log, CEREUS_LOG_WARN, &limiter, "cannot connect", CRS_STR("service", ch->name),
                    CRS_STR("endpoint", ch->endpoints[ch->at].text), CRS_ERR(why));
    disconnect(ch);
    if (!ch->closed)
        next_address(ch);
}

static void connection_lost(crs_grpc_channel *ch, const cereus_error *why)
{
    if (ch->state != CHANNEL_READY && ch->state != CHANNEL_DRAINING) {
        attempt_failed(ch, why);
        return;
    }
    bool was_ready = ch->state == CHANNEL_READY;
    set_why(ch, why);
    CRS_COUNT(&ch->loop->counters, grpc_connections_lost);
    static crs_log_limiter limiter;
    crs_log_limited(ch->loop->log, CEREUS_LOG_WARN, &limiter, "connection lost", CRS_STR("service", ch->name),
                    CRS_STR("endpoint", ch->endpoints[ch->at].text), CRS_ERR(why));
    if (ch->loop->now_ms - ch->ready_at_ms >= SETTLED_MS)
        ch->attempt = 0;
    ch->state = CHANNEL_BACKOFF; /* what the callbacks see */
    ch->fresh = !was_ready;      /* a peer that took leave has not failed */
    disconnect(ch);
    if (!ch->closed && was_ready)
        say_state(ch, false);
    if (ch->closed)
        return;
    ch->at = (ch->at + 1) % ch->endpoint_count;
    ch->failed = 0;
    if (ch->attempt > 0) {
        back_off(ch); /* it was there only for a moment, again */
    } else {
        ch->attempt = 1;
        set_timer(ch, &ch->timer,
                  crs_loop_random(ch->loop, 1 + ch->opt.backoff_min_ms)); /* a cluster must not come back in step */
    }
}

static void lost(crs_grpc_channel *ch, const char *why)
{
    cereus_error err;
    crs_fail(&err, CEREUS_E_UNAVAILABLE, "%s", why);
    connection_lost(ch, &err);
}

/** Send what there is. Runs at the end of a turn, so the loop's read buffer is free to gather in. */
static void flush(crs_grpc_channel *ch)
{
    cereus_error err;
    if (!ch->link || !ch->h2 || ch->blocked)
        return;
    for (;;) {
        const uint8_t *data = ch->out.data + ch->out_at;
        size_t len = ch->out.len - ch->out_at, sent;
        bool leftover = len > 0;
        if (!leftover) {
            crs_bytes_fini(&ch->out);
            ch->out_at = 0;
            size_t piece_max = 16 * 1024 + 64; /* of nghttp2: one frame */
            while (len + piece_max <= CRS_READ_BUFFER_LEN) {
                const uint8_t *piece;
                size_t piece_len;
                cereus_status st = crs_h2_pull(ch->h2, &piece, &piece_len, &err);
                if (ch->closed || !ch->h2)
                    return;
                if (st) {
                    connection_lost(ch, &err);
                    return;
                }
                if (piece_len == 0)
                    break;
                CRS_ASSERT(len + piece_len <= CRS_READ_BUFFER_LEN);
                memcpy(ch->loop->read_buf + len, piece, piece_len);
                len += piece_len;
            }
            if (len == 0)
                return;
            data = ch->loop->read_buf;
        }
        cereus_status st = crs_link_send(ch->link, data, len, &sent, &err);
        if (st == CEREUS_E_AGAIN) {
            sent = 0;
            ch->blocked = true;
        } else if (st) {
            connection_lost(ch, &err);
            return;
        }
        if (leftover) {
            ch->out_at += sent;
        } else if (sent < len && crs_bytes_append(&ch->out, data + sent, len - sent) != CEREUS_OK) {
            lost(ch, "out of memory");
            return;
        }
        if (ch->blocked)
            return;
    }
}

static void end_if_over(crs_grpc_channel *ch)
{
    cereus_error err;
    if (ch->closed || !ch->h2)
        return;
    if (crs_h2_over(ch->h2, &err))
        connection_lost(ch, &err);
    else if (ch->state == CHANNEL_DRAINING && crs_h2_stream_count(ch->h2) == 0)
        lost(ch, ch->why.msg);
}

/** Those that could not be started for want of memory. */
static void keep_timers(crs_grpc_channel *ch)
{
    if (ch->state == CHANNEL_READY ? crs_timer_running(&ch->keepalive) : crs_timer_running(&ch->timer))
        return;
    set_timer(ch, ch->state == CHANNEL_READY ? &ch->keepalive : &ch->timer, ch->opt.dial_timeout_ms);
}

/** Streams would keep a connection for ever that takes no more calls. */
static void end_streams(crs_grpc_channel *ch)
{
    while (!ch->closed && !crs_list_empty(&ch->streams))
        finish_failed(CRS_CONTAINER(ch->streams.next, crs_grpc_call, link), CEREUS_E_UNAVAILABLE,
                      (crs_grpc_result){.code = CRS_GRPC_UNAVAILABLE}, "%s", ch->why.msg);
}

static void drain(crs_grpc_channel *ch, const char *why);

static void on_flush(crs_deferred *deferred)
{
    crs_grpc_channel *ch = CRS_CONTAINER(deferred, crs_grpc_channel, flush);
    enter(ch);
    if (ch->state == CHANNEL_READY && crs_h2_worn(ch->h2))
        drain(ch, "the numbers of streams are used up");
    if (ch->state == CHANNEL_DRAINING)
        end_streams(ch);
    submit_waiting(ch);
    if (!ch->closed)
        flush(ch);
    end_if_over(ch);
    if (!ch->closed)
        keep_timers(ch);
    leave(ch);
}

/** No new calls on this connection; streams end soon, calls that are under way may take their time. */
static void drain(crs_grpc_channel *ch, const char *why)
{
    if (ch->state != CHANNEL_READY || ch->closed)
        return;
    ch->state = CHANNEL_DRAINING;
    ch->fresh = true; /* the next is on its way */
    cereus_error err;
    crs_fail(&err, CEREUS_E_UNAVAILABLE, "%s", why);
    set_why(ch, &err);
    set_timer(ch, &ch->timer, ch->opt.dial_timeout_ms);
    crs_loop_defer(ch->loop, &ch->flush);
    say_state(ch, false);
}

static void on_settled(void *user)
{
    crs_grpc_channel *ch = user;
    if (ch->state != CHANNEL_SETTLING)
        return;
    crs_loop_timer_stop(ch->loop, &ch->timer);
    ch->state = CHANNEL_READY;
    ch->fresh = true;
    ch->failed = 0;
    ch->ready_at_ms = ch->loop->now_ms;
    ch->released = !ch->opt.gated;
    set_why(ch, &(cereus_error){0});
    CRS_COUNT(&ch->loop->counters, grpc_connects);
    crs_log_info(ch->loop->log, "connected", CRS_STR("service", ch->name),
                 CRS_STR("endpoint", ch->endpoints[ch->at].text));
    set_timer(ch, &ch->keepalive, ch->opt.keepalive_ms);
    crs_loop_defer(ch->loop, &ch->flush); /* which submits the calls that wait */
    say_state(ch, true);
}

static void on_goaway(uint32_t code, void *user)
{
    crs_grpc_channel *ch = user;
    char why[100];
    snprintf(why, sizeof why, "the peer closes the connection (GOAWAY, HTTP/2 code %u)", (unsigned)code);
    drain(ch, why);
}

static const crs_h2_ops h2_ops = {.settled = on_settled, .goaway = on_goaway};

static void on_keepalive(crs_timer *timer)
{
    crs_grpc_channel *ch = CRS_CONTAINER(timer, crs_grpc_channel, keepalive);
    uint64_t silent = ch->loop->now_ms - ch->last_rx_ms;
    enter(ch);
    if (ch->pinged) {
        char why[80];
        snprintf(why, sizeof why, "no answer to a ping within %u ms", ch->opt.keepalive_timeout_ms);
        lost(ch, why);
    } else if (silent < ch->opt.keepalive_ms) {
        set_timer(ch, timer, ch->opt.keepalive_ms - silent);
    } else if (crs_h2_stream_count(ch->h2) == 0 || crs_h2_ping(ch->h2) != CEREUS_OK) {
        set_timer(ch, timer, ch->opt.keepalive_ms);
    } else {
        ch->pinged = true;
        crs_loop_defer(ch->loop, &ch->flush);
        set_timer(ch, timer, ch->opt.keepalive_timeout_ms);
    }
    leave(ch);
}

static void on_readable(void *user)
{
    crs_grpc_channel *ch = user;
    cereus_error err;
    enter(ch);
    for (int round = 0; ch->link && (round < READ_ROUNDS || crs_link_pending(ch->link)); round++) {
        size_t len;
        cereus_status st = crs_link_recv(ch->link, ch->loop->read_buf, CRS_READ_BUFFER_LEN, &len, &err);
        if (st == CEREUS_E_AGAIN)
            break;
        if (!st) {
            ch->last_rx_ms = ch->loop->now_ms;
            if (ch->pinged) {
                ch->pinged = false;
                set_timer(ch, &ch->keepalive, ch->opt.keepalive_ms);
            }
            st = crs_h2_feed(ch->h2, ch->loop->read_buf, len, &err);
            if (ch->closed || !ch->h2)
                break;
            crs_loop_defer(ch->loop, &ch->flush); /* acknowledgements, window updates, what callbacks sent */
        }
        if (st) {
            connection_lost(ch, &err);
            break;
        }
        if (len < CRS_READ_BUFFER_LEN / 2 && !crs_link_pending(ch->link))
            break; /* most likely that was all; else the socket says so again */
    }
    leave(ch);
}

static void on_writable(void *user)
{
    crs_grpc_channel *ch = user;
    ch->blocked = false;
    crs_loop_defer(ch->loop, &ch->flush);
}

static void on_link_up(void *user)
{
    crs_grpc_channel *ch = user;
    enter(ch);
    ch->state = CHANNEL_SETTLING;
    ch->last_rx_ms = ch->loop->now_ms;
    if (crs_h2_new(&h2_ops, ch, &ch->h2) == CEREUS_OK)
        crs_loop_defer(ch->loop, &ch->flush);
    else
        lost(ch, "out of memory");
    leave(ch);
}

static void on_link_failed(const cereus_error *err, void *user)
{
    crs_grpc_channel *ch = user;
    cereus_error why = *err;
    enter(ch);
    attempt_failed(ch, &why);
    leave(ch);
}

static const crs_link_ops link_ops = {
    .connected = on_link_up, .failed = on_link_failed, .readable = on_readable, .writable = on_writable};

static void next_address(crs_grpc_channel *ch)
{
    cereus_error err;
    const endpoint *e = &ch->endpoints[ch->at];
    while (ch->addr_at < ch->addr_count) {
        const struct sockaddr_storage *addr = &ch->addrs[ch->addr_at++];
        crs_link_options opt = {.addr = (const struct sockaddr *)addr,
                                .addr_len = addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                                        : sizeof(struct sockaddr_in),
                                .tls = ch->tls,
                                .host = e->host,
                                .ops = &link_ops,
                                .user = ch};
        if (crs_link_open(ch->loop, &opt, &ch->link, &err) == CEREUS_OK) {
            ch->state = CHANNEL_CONNECTING;
            set_timer(ch, &ch->timer, ch->opt.dial_timeout_ms);
            return;
        }
        set_why(ch, &err);
        CRS_COUNT(&ch->loop->counters, grpc_connect_failures);
    }
    next_endpoint(ch);
}

static void on_looked_up(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    lookup *l = CRS_CONTAINER(req, lookup, req);
    crs_grpc_channel *ch = l->channel;
    if (ch) {
        enter(ch);
        ch->lookup = NULL;
        crs_loop_update_now(ch->loop);
        ch->addr_count = ch->addr_at = 0;
        for (struct addrinfo *a = found; a && ch->addr_count < ADDRS_MAX; a = a->ai_next)
            if (a->ai_family == AF_INET || a->ai_family == AF_INET6)
                memcpy(&ch->addrs[ch->addr_count++], a->ai_addr, a->ai_addrlen);
        if (status) {
            cereus_error err;
            crs_fail(&err, CEREUS_E_UNAVAILABLE, "host name: %s", uv_strerror(status));
            attempt_failed(ch, &err);
        } else {
            next_address(ch);
        }
        leave(ch);
    }
    uv_freeaddrinfo(found);
    crs_free(l);
}

static bool numeric(crs_grpc_channel *ch, const endpoint *e)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&ch->addrs[0];
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ch->addrs[0];
    memset(&ch->addrs[0], 0, sizeof ch->addrs[0]);
    if (inet_pton(AF_INET, e->host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(e->port);
    } else if (inet_pton(AF_INET6, e->host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(e->port);
    } else {
        return false;
    }
    ch->addr_count = 1;
    return true;
}

static cereus_status look_up(crs_grpc_channel *ch, const endpoint *e, cereus_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)e->port);
    lookup *l = crs_zalloc(sizeof *l);
    if (!l)
        return crs_fail(err, CEREUS_E_NOMEM, "out of memory");
    int rc = uv_getaddrinfo(&ch->loop->uv, &l->req, on_looked_up, e->host, port, &hints);
    if (rc) {
        crs_free(l);
        return crs_fail(err, CEREUS_E_UNAVAILABLE, "host name: %s", uv_strerror(rc));
    }
    l->channel = ch;
    ch->lookup = l;
    return CEREUS_OK;
}

static void dial(crs_grpc_channel *ch)
{
    const endpoint *e = &ch->endpoints[ch->at];
    ch->addr_count = ch->addr_at = 0;
    ch->state = CHANNEL_RESOLVING;
    if (numeric(ch, e)) { /* without waking libuv's threads */
        next_address(ch);
        return;
    }
    cereus_error err;
    if (look_up(ch, e, &err) == CEREUS_OK)
        set_timer(ch, &ch->timer, ch->opt.dial_timeout_ms);
    else
        attempt_failed(ch, &err);
}

static void on_timer(crs_timer *timer)
{
    crs_grpc_channel *ch = CRS_CONTAINER(timer, crs_grpc_channel, timer);
    enter(ch);
    switch (ch->state) {
    case CHANNEL_BACKOFF:
        dial(ch);
        break;
    case CHANNEL_RESOLVING:
    case CHANNEL_CONNECTING:
    case CHANNEL_SETTLING: {
        char why[80];
        snprintf(why, sizeof why, "%s within %u ms",
                 ch->state == CHANNEL_RESOLVING    ? "the host name was not resolved"
                 : ch->state == CHANNEL_CONNECTING ? "no connection"
                                                   : "connected, but no HTTP/2 settings came",
                 ch->opt.dial_timeout_ms);
        lost(ch, why);
        break;
    }
    case CHANNEL_DRAINING:
        lost(ch, ch->why.msg);
        break;
    case CHANNEL_READY:
        break;
    }
    leave(ch);
}

/* ---- the channel ---- */

static cereus_status parse_endpoint(const char *text, endpoint *e, bool *ret_tls, cereus_error *err)
{
    const char *rest = text;
    *ret_tls = false;
    if (strncmp(rest, "http://", 7) == 0)
        rest += 7;
    else if (strncmp(rest, "https://", 8) == 0) {
        rest += 8;
        *ret_tls = true;
    }
    const char *colon = strrchr(rest, ':');
    size_t host_len = colon ? (size_t)(colon - rest) : 0;
    const char *host = rest;
    if (host_len > 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    } else if (memchr(host, ':', host_len)) {
        host_len = 0; /* IPv6 goes in brackets */
    }
    char *end = NULL;
    unsigned long port = colon && colon[1] >= '0' && colon[1] <= '9' ? strtoul(colon + 1, &end, 10) : 0;
    if (host_len == 0 || host_len >= sizeof e->host || port == 0 || port > UINT16_MAX || *end != '\0' ||
        memchr(host, '/', host_len))
        return crs_fail(err, CEREUS_E_INVALID, "endpoint \"%.100s\": must be HOST:PORT, like 127.0.0.1:2379", text);
    memcpy(e->host, host, host_len);
    e->host[host_len] = '\0';
    e->port = (uint16_t)port;
    snprintf(e->text, sizeof e->text, "%s", rest);
    return CEREUS_OK;
}

static cereus_status take_endpoints(crs_grpc_channel *ch, const crs_grpc_options *opt, cereus_error *err)
{
    size_t tls_count = 0;
    if (opt->endpoint_count == 0 || opt->endpoint_count > CRS_GRPC_ENDPOINTS_MAX)
        return crs_fail(err, CEREUS_E_INVALID, "%zu endpoints: name 1 to %d", opt->endpoint_count,
                        CRS_GRPC_ENDPOINTS_MAX);
    for (size_t i = 0; i < opt->endpoint_count; i++) {
        bool tls;
        CEREUS_TRY(parse_endpoint(opt->endpoints[i], &ch->endpoints[i], &tls, err));
        tls_count += tls;
        if (opt->tls && strncmp(opt->endpoints[i], "http://", 7) == 0)
            return crs_fail(err, CEREUS_E_INVALID, "endpoint \"%.100s\": TLS is set, so say https:// or nothing",
                            opt->endpoints[i]);
    }
    ch->endpoint_count = opt->endpoint_count;
    if (tls_count && tls_count < opt->endpoint_count && !opt->tls)
        return crs_fail(err, CEREUS_E_INVALID, "endpoints with and without https:// together: use one for all");
    if (!opt->tls && !tls_count)
        return CEREUS_OK;
    return crs_tls_client_new(opt->tls ? opt->tls : &(crs_tls_client_options){0}, &ch->tls, err);
}

static uint32_t or32(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

cereus_status crs_grpc_channel_open(crs_loop *loop, const crs_grpc_options *opt, crs_grpc_channel **ret_channel,
                                    cereus_error *err)
{
    crs_loop_assert_current(loop);
    const char *name = opt->name ? opt->name : "gRPC";
    cereus_status st = crs_h2_load(err);
    if (st)
        return crs_fail_in(err, st, "%s", name);
    crs_grpc_channel *ch = crs_zalloc(sizeof *ch);
    if (!ch)
        return crs_fail(err, CEREUS_E_NOMEM, "%s: out of memory", name);
    ch->loop = loop;
    ch->opt = *opt;
    ch->opt.name = NULL;
    ch->opt.endpoints = NULL;
    ch->opt.tls = NULL;
    ch->opt.dial_timeout_ms = or32(opt->dial_timeout_ms, 5000);
    ch->opt.backoff_min_ms = or32(opt->backoff_min_ms, 100);
    ch->opt.backoff_max_ms = or32(opt->backoff_max_ms, 5000);
    ch->opt.keepalive_ms = or32(opt->keepalive_ms, 10000);
    ch->opt.keepalive_timeout_ms = or32(opt->keepalive_timeout_ms, 5000);
    ch->opt.calls_max = opt->calls_max ? opt->calls_max : 4096;
    ch->opt.message_max = opt->message_max ? opt->message_max : 16 << 20;
    ch->opt.queue_max = opt->queue_max ? opt->queue_max : 32 << 20;
    ch->fresh = true;
    ch->state = CHANNEL_BACKOFF;
    crs_timer_init(&ch->timer, on_timer);
    crs_timer_init(&ch->keepalive, on_keepalive);
    crs_deferred_init(&ch->flush, on_flush);
    crs_list_init(&ch->waiting);
    crs_list_init(&ch->streams);
    crs_bytes_init(&ch->out, CRS_READ_BUFFER_LEN);
    ch->depth = 1;
    if (!(ch->name = crs_strdup(name)))
        st = crs_fail(err, CEREUS_E_NOMEM, "out of memory");
    else if (!(st = take_endpoints(ch, opt, err)))
        st = crs_loop_timer_start(loop, &ch->timer, 0) ? crs_fail(err, CEREUS_E_NOMEM, "out of memory") : CEREUS_OK;
    ch->closed = st != CEREUS_OK;
    leave(ch);
    if (st)
        return crs_fail_in(err, st, "%s", name);
    *ret_channel = ch;
    return CEREUS_OK;
}

crs_grpc_channel *crs_grpc_channel_close(crs_grpc_channel *channel)
{
    if (!channel)
        return NULL;
    crs_grpc_channel *ch = channel;
    crs_loop_assert_current(ch->loop);
    CRS_ASSERT(!ch->closed);
    enter(ch);
    ch->closed = true;
    const uint8_t *bye;
    size_t len, sent;
    cereus_error err;
    if (ch->link && ch->h2 && !ch->blocked) { /* polite, not needed */
        crs_h2_goaway(ch->h2);
        if (crs_h2_pull(ch->h2, &bye, &len, &err) == CEREUS_OK && len)
            CRS_UNUSED(crs_link_send(ch->link, bye, len, &sent, &err));
    }
    crs_fail(&ch->why, CEREUS_E_CANCELLED, "closed");
    disconnect(ch);
    for (crs_list *link; (link = crs_list_pop(&ch->waiting));)
        finish_failed(CRS_CONTAINER(link, crs_grpc_call, link), CEREUS_E_CANCELLED,
                      (crs_grpc_result){.code = CRS_GRPC_CANCELLED, .unsent = true}, "closed");
    leave(ch);
    return NULL;
}

bool crs_grpc_channel_ready(const crs_grpc_channel *channel)
{
    return channel->state == CHANNEL_READY && channel->released;
}

void crs_grpc_channel_release(crs_grpc_channel *channel)
{
    crs_loop_assert_current(channel->loop);
    channel->released = true;
    crs_loop_defer(channel->loop, &channel->flush);
}

void crs_grpc_channel_hold(crs_grpc_channel *channel, const cereus_error *why)
{
    crs_loop_assert_current(channel->loop);
    channel->released = false;
    if (why)
        set_why(channel, why);
}

bool crs_grpc_channel_connected(const crs_grpc_channel *channel)
{
    return channel->state == CHANNEL_READY;
}

void crs_grpc_channel_rotate(crs_grpc_channel *channel, const char *why)
{
    crs_loop_assert_current(channel->loop);
    enter(channel);
    drain(channel, why);
    leave(channel);
}

static cereus_status put_metadata(metadata *m, const char *name, const char *value)
{
    char *name_copy = crs_strdup(name), *value_copy = crs_strdup(value);
    if (!name_copy || !value_copy) {
        crs_free(name_copy);
        crs_free(value_copy);
        return CEREUS_E_NOMEM;
    }
    crs_free(m->name);
    crs_free(m->value);
    *m = (metadata){.name = name_copy, .value = value_copy};
    return CEREUS_OK;
}

cereus_status crs_grpc_channel_set_metadata(crs_grpc_channel *channel, const char *name, const char *value)
{
    crs_loop_assert_current(channel->loop);
    if (value && strlen(value) > CRS_GRPC_METADATA_VALUE_MAX)
        return CEREUS_E_TOO_LONG;
    metadata *place = NULL;
    for (size_t i = CRS_GRPC_METADATA_MAX; i-- > 0;) {
        metadata *m = &channel->metadata[i];
        if (m->name && strcmp(m->name, name) == 0) {
            place = m;
            break;
        }
        if (!m->name)
            place = m;
    }
    if (value)
        return place ? put_metadata(place, name, value) : CEREUS_E_FULL;
    if (place && place->name) {
        crs_free(place->name);
        crs_free(place->value);
        *place = (metadata){0};
    }
    return CEREUS_OK;
}

const char *crs_grpc_channel_endpoint(const crs_grpc_channel *channel)
{
    return channel->endpoints[channel->at].text;
}
