/* ext/grpc.h: a gRPC client: a channel to one service, which may have several endpoints, over one HTTP/2 connection at a
 * time on a loop. Calls and streams live on it; it connects by itself and again when the connection is lost.
 *
 *               ┌────────────── back-off <─────────────┐ every address of every endpoint refused, or the connection was lost
 *    open() ──> resolving ──> connecting ──> settling ─┴─> ready ──GOAWAY──> draining ──> (resolving the next)
 *
 * A connection counts as ready when the peer's HTTP/2 settings came: a stopped process still accepts TCP connections.
 * While streams are open and nothing comes for `keepalive_ms`, a ping is sent; when nothing comes after it either, the
 * connection is given up. Without open streams there are no pings, as gRPC servers refuse them; the kernel's probes run.
 * What a turn produced is sent once at its end.
 */
#ifndef CRS_EXT_GRPC_H
#define CRS_EXT_GRPC_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "ext/tls_client.h"
#include "loop/loop.h"

typedef struct crs_grpc_channel crs_grpc_channel;
typedef struct crs_grpc_call crs_grpc_call; /* a unary call or a stream */

enum {
    CRS_GRPC_ENDPOINTS_MAX = 16,
    CRS_GRPC_METADATA_MAX = 4,           /* pairs that go with every call */
    CRS_GRPC_METADATA_VALUE_MAX = 4096,  /* bytes */
    CRS_GRPC_STREAM_QUEUE_MAX = 1 << 20, /* bytes of a stream that wait to be sent */
};

/** gRPC's own status, as it travels. */
typedef enum crs_grpc_code {
    CRS_GRPC_OK = 0,
    CRS_GRPC_CANCELLED = 1,
    CRS_GRPC_UNKNOWN = 2,
    CRS_GRPC_INVALID_ARGUMENT = 3,
    CRS_GRPC_DEADLINE_EXCEEDED = 4,
    CRS_GRPC_NOT_FOUND = 5,
    CRS_GRPC_ALREADY_EXISTS = 6,
    CRS_GRPC_PERMISSION_DENIED = 7,
    CRS_GRPC_RESOURCE_EXHAUSTED = 8,
    CRS_GRPC_FAILED_PRECONDITION = 9,
    CRS_GRPC_ABORTED = 10,
    CRS_GRPC_OUT_OF_RANGE = 11,
    CRS_GRPC_UNIMPLEMENTED = 12,
    CRS_GRPC_INTERNAL = 13,
    CRS_GRPC_UNAVAILABLE = 14,
    CRS_GRPC_DATA_LOSS = 15,
    CRS_GRPC_UNAUTHENTICATED = 16,
} crs_grpc_code;

/** How something ended. What a code is to us: OK; CANCELLED E_CANCELLED; UNKNOWN, ABORTED E_FAILED; INVALID_ARGUMENT,
 * PERMISSION_DENIED, UNAUTHENTICATED E_INVALID; DEADLINE_EXCEEDED E_TIMEOUT; NOT_FOUND E_NOT_FOUND; ALREADY_EXISTS E_EXISTS;
 * RESOURCE_EXHAUSTED E_FULL; FAILED_PRECONDITION E_STATE; OUT_OF_RANGE E_RANGE; UNIMPLEMENTED E_UNSUPPORTED;
 * UNAVAILABLE E_UNAVAILABLE; INTERNAL, DATA_LOSS and all others E_IO. */
typedef struct crs_grpc_result {
    cereus_status status;
    int code;                /* gRPC's, also where it was found out here */
    bool from_peer;          /* the peer said so in its trailers */
    bool unsent;             /* the peer has not begun to work on it: it may be repeated */
    cereus_slice reply;      /* of a unary call that ended well */
    const cereus_error *err; /* filled unless it ended well; names the endpoint */
} crs_grpc_result;

typedef void crs_grpc_done_fn(const crs_grpc_result *result, void *user);
typedef void crs_grpc_message_fn(cereus_slice message, void *user);
/** A call ended like this: is the metadata to blame? Then the call is kept and made again, once, after the next release().
 * The one who answers true calls hold() and sees to new metadata. */
typedef bool crs_grpc_refused_fn(const crs_grpc_result *result, void *user);
/** @p ready: calls reach the peer from now on; else not, and @p why says why. */
typedef void crs_grpc_state_fn(bool ready, const cereus_error *why, void *user);

/* All zero means the defaults that are named. */
typedef struct crs_grpc_options {
    const char *name;                  /* of the service, for logs and errors, like "etcd". Copied, like all here */
    const char *const *endpoints;      /* "HOST:PORT", "http://HOST:PORT", "https://HOST:PORT" */
    size_t endpoint_count;             /* 1..CRS_GRPC_ENDPOINTS_MAX; tried in turn */
    const crs_tls_client_options *tls; /* NULL: plain, unless an endpoint says https */
    uint32_t dial_timeout_ms;          /* 5000: until an address must have answered with its settings */
    uint32_t backoff_min_ms;           /* 100; doubled with each round, each pause is a random part of it */
    uint32_t backoff_max_ms;           /* 5000 */
    uint32_t keepalive_ms;             /* 10000; less is refused by servers */
    uint32_t keepalive_timeout_ms;     /* 5000 */
    size_t calls_max;                  /* 4096: calls and streams at once, waiting ones among them */
    size_t message_max;                /* 16 MiB: longer messages of the peer end their call, before they are stored */
    size_t queue_max;                  /* 32 MiB: bytes of calls that wait to be sent */
    bool gated;                        /* a new connection waits for crs_grpc_channel_release() */
    crs_grpc_state_fn *on_state;       /* NULL: none. Thread: loop */
    crs_grpc_refused_fn *on_refused;   /* NULL: none. Unary calls that are not `ahead` */
    void *user;
} crs_grpc_options;

/**
 * Open a channel; it begins to connect at once and never gives up.
 * @return CEREUS_OK; CEREUS_E_INVALID: an endpoint or a TLS file, err says which; CEREUS_E_UNSUPPORTED: nghttp2 or
 *         OpenSSL is not installed; CEREUS_E_NOMEM
 * Ownership: gives; end it with crs_grpc_channel_close(); borrows @p loop. Thread: loop, like everything here.
 */
cereus_status crs_grpc_channel_open(crs_loop *loop, const crs_grpc_options *opt, crs_grpc_channel **ret_channel,
                                    cereus_error *err);
/** End it and all that is on it: calls and streams end with CEREUS_E_CANCELLED before this returns, nothing is called
 * after. Its memory goes by itself. NULL is fine, within a callback, too. Returns NULL. */
crs_grpc_channel *crs_grpc_channel_close(crs_grpc_channel *channel);
/** Do calls reach the peer? */
bool crs_grpc_channel_ready(const crs_grpc_channel *channel);
/** Let the calls that wait go, on a channel that is `gated`: after each on_state() that says ready. */
void crs_grpc_channel_release(crs_grpc_channel *channel);
/** Let them wait again; @p why (may be NULL) is what those are told that wait in vain. */
void crs_grpc_channel_hold(crs_grpc_channel *channel, const cereus_error *why);
/** Is there a connection, if only for calls that are `ahead`? */
bool crs_grpc_channel_connected(const crs_grpc_channel *channel);
/** Give up this connection for the next endpoint. */
void crs_grpc_channel_rotate(crs_grpc_channel *channel, const char *why);
/** Send @p name with every call that starts from now on; @p value NULL: no more. Copies both.
 * @return CEREUS_OK; CEREUS_E_TOO_LONG; CEREUS_E_FULL: CRS_GRPC_METADATA_MAX; CEREUS_E_NOMEM */
cereus_status crs_grpc_channel_set_metadata(crs_grpc_channel *channel, const char *name, const char *value);
/** The endpoint that it uses or tries: "127.0.0.1:2379". Good until it closes. */
const char *crs_grpc_channel_endpoint(const crs_grpc_channel *channel);

typedef struct crs_grpc_ask {
    const char *path;                /* "/package.Service/Method"; a constant, not copied */
    const ProtobufCMessage *request; /* encoded at once */
    uint32_t timeout_ms;             /* 0: none */
    bool wait;                       /* until there is a connection, at most for the timeout; else fail at once */
    bool ahead;                      /* does not wait for the release of a gated channel */
} crs_grpc_ask;

/**
 * Start a unary call.
 * @param ret_call  NULL: not needed; good until @p done was called
 * @return CEREUS_OK: @p done is called once, later; else it never is: CEREUS_E_UNAVAILABLE: not connected, and `wait` is off;
 *         CEREUS_E_FULL: `calls_max` or `queue_max`; CEREUS_E_TOO_LONG; CEREUS_E_NOMEM
 * done gets CEREUS_E_UNAVAILABLE when it never reached a peer within the timeout or the connection was lost, and
 * CEREUS_E_TIMEOUT when the peer did not answer in time. A call that the peer refused before it began to work on it
 * (REFUSED_STREAM, GOAWAY) is repeated by itself.
 */
cereus_status crs_grpc_call_start(crs_grpc_channel *channel, const crs_grpc_ask *ask, crs_grpc_done_fn *done,
                                  void *user, crs_grpc_call **ret_call, cereus_error *err);
/**
 * Open a stream with messages both ways. A stream that never reached its peer, too, ends by @p done, once.
 * @param ask  request NULL: the first message comes later
 */
cereus_status crs_grpc_stream_open(crs_grpc_channel *channel, const crs_grpc_ask *ask, crs_grpc_message_fn *message,
                                   crs_grpc_done_fn *done, void *user, crs_grpc_call **ret_stream, cereus_error *err);
/** Queue a message. @return CEREUS_OK; CEREUS_E_FULL: CRS_GRPC_STREAM_QUEUE_MAX; CEREUS_E_STATE: finished; CEREUS_E_NOMEM */
CEREUS_MUST_USE cereus_status crs_grpc_stream_send(crs_grpc_call *stream, const ProtobufCMessage *message);
/** No more messages from us; the peer goes on until it ends the stream. */
void crs_grpc_stream_finish(crs_grpc_call *stream);

/** End a call or stream now; the peer is told to stop. done is not called any more, the pointer is void. NULL is fine.
 * Returns NULL. */
crs_grpc_call *crs_grpc_cancel(crs_grpc_call *call);

#endif
