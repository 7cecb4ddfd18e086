/* cluster/protocol.h: what servers say to each other: the messages of Pitaya's package `protos`, cluster-protocol.md 1 and 2,
 * as views of bytes and back. Pure functions: the hot path of every forwarded message, without protobuf-c's structs between.
 *
 * Field 15 of Request, Response and BindMsg is ours: Go servers ignore fields that they do not know. In the first two Cereus
 * servers tell each other by it what they can do more (CRS_PEER_*), in BindMsg it is the time of the bind.
 */
#ifndef CRS_CLUSTER_PROTOCOL_H
#define CRS_CLUSTER_PROTOCOL_H

#include "base/buf.h"

typedef enum crs_rpc_type { CRS_RPC_SYS = 0, CRS_RPC_USER = 1 } crs_rpc_type;

/* field 15 of Request and Response */
enum {
    CRS_PEER_IS_CEREUS = 1, /* keeps lanes: what comes with CRS_PEER_IN_ORDER is run in order */
    CRS_PEER_IN_ORDER = 2,  /* of a request: after those of the same session before it */
    CRS_PEER_HEARS = 4,     /* of a request: what is for its session may come ahead of its answer, on the same way */
    CRS_PEER_AHEAD = 8,     /* of a response, as its first field: it is none, protos.Push follows */
    CRS_PEER_KICKED = 32,   /* likewise: protos.KickMsg follows */
    CRS_PEER_MANY = 16,     /* of a request, likewise: a push to many users follows, as in rpc/peers.h */
};

enum { CRS_ERROR_PAIRS_MAX = 32 };

/** protos.Request with its Session and Msg. Absent fields are zero; slices point into the bytes that were decoded. */
typedef struct crs_request {
    uint64_t type; /* crs_rpc_type; other values are kept */
    bool has_session, has_msg;
    int64_t session_id; /* the frontend's */
    cereus_slice uid;
    cereus_slice session_data; /* a JSON object */
    uint64_t msg_id;
    cereus_slice route;
    cereus_slice body;
    cereus_slice reply;
    uint64_t msg_type; /* 0 request, 1 notify, others as they came */
    cereus_slice frontend_id;
    cereus_slice metadata; /* the propagated context, a JSON object */
    uint64_t extension;    /* CRS_PEER_* */
} crs_request;

/** protos.Error. */
typedef struct crs_rpc_error {
    cereus_slice code, msg;
    cereus_slice keys[CRS_ERROR_PAIRS_MAX], values[CRS_ERROR_PAIRS_MAX];
    size_t pair_count; /* those beyond the maximum are dropped */
} crs_rpc_error;

/** protos.Response. */
typedef struct crs_response {
    cereus_slice data;
    bool failed; /* error is set */
    crs_rpc_error error;
    uint64_t extension;
} crs_response;

/** protos.Push: to one user. */
typedef struct crs_push_msg {
    cereus_slice route;
    cereus_slice uid;
    cereus_slice data;
} crs_push_msg;

/** protos.BindMsg. */
typedef struct crs_bind_msg {
    cereus_slice uid;
    cereus_slice frontend_id;
    uint64_t at_us; /* Unix time of the bind, field 15, which only Cereus sends and reads; 0: not said */
} crs_bind_msg;

/* Decoding: CEREUS_OK; CEREUS_E_MALFORMED: no protobuf of that type, or text that is not UTF-8. Borrows @p in for as long as
 * the result is used; allocates nothing. Thread: any. */
CEREUS_MUST_USE cereus_status crs_request_decode(cereus_slice in, crs_request *ret);
CEREUS_MUST_USE cereus_status crs_response_decode(cereus_slice in, crs_response *ret);
/** Does @p in begin with @p mark, one that is a first field? *ret_rest is what follows. */
bool crs_has_mark(cereus_slice in, unsigned mark, cereus_slice *ret_rest);
CEREUS_MUST_USE cereus_status crs_push_decode(cereus_slice in, crs_push_msg *ret);
CEREUS_MUST_USE cereus_status crs_bind_decode(cereus_slice in, crs_bind_msg *ret);
/** protos.KickMsg: the user. */
CEREUS_MUST_USE cereus_status crs_kick_decode(cereus_slice in, cereus_slice *ret_uid);
/** protos.Session, the argument of sys.bindsession and sys.pushsession, merged into what the results hold already. */
CEREUS_MUST_USE cereus_status crs_session_decode(cereus_slice in, int64_t *ret_id, cereus_slice *ret_uid,
                                                 cereus_slice *ret_data);

/* Encoding appends to @p out in Go's form: fields in order, zero ones left out. CEREUS_OK; CEREUS_E_INVALID: a
 * text is not UTF-8, so no peer would take it; what crs_bytes_append() returns. */
CEREUS_MUST_USE cereus_status crs_request_encode(const crs_request *req, crs_bytes *out);
CEREUS_MUST_USE cereus_status crs_response_encode(const crs_response *res, crs_bytes *out);
CEREUS_MUST_USE cereus_status crs_mark_encode(unsigned mark, crs_bytes *out);
CEREUS_MUST_USE cereus_status crs_push_encode(const crs_push_msg *push, crs_bytes *out);
CEREUS_MUST_USE cereus_status crs_bind_encode(const crs_bind_msg *bind, crs_bytes *out);
CEREUS_MUST_USE cereus_status crs_kick_encode(cereus_slice uid, crs_bytes *out);
CEREUS_MUST_USE cereus_status crs_session_encode(int64_t id, cereus_slice uid, cereus_slice data, crs_bytes *out);

#endif
