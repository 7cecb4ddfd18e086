/* dispatch/context.h: the inside of cereus_ctx and of a session's handle. Both live on the stack or in the memory of
 * the call they belong to. */
#ifndef CRS_DISPATCH_CONTEXT_H
#define CRS_DISPATCH_CONTEXT_H

#include "dispatch/core.h"

enum { CRS_ERROR_META_MAX = 32 };

struct cereus_session {
    crs_core *core;
    cereus_session_id id;
    cereus_ctx *ctx;                   /* whose memory it uses; NULL: uid and addr are set and it is not called with */
    struct crs_remote_session *remote; /* it lives on another server: none of the others is set but ctx, uid and addr */
    crs_agent *ended;                  /* in close callbacks: the agent that no look-up finds any more */
    const char *uid;
    const char *addr;
};

typedef struct crs_kept_json {
    struct crs_kept_json *next;
    struct json_t *json;
} crs_kept_json;

struct cereus_ctx {
    crs_dispatch *dispatch;
    crs_fiber *fiber;
    crs_arena *arena;
    cereus_session *session; /* NULL: none */
    const char *route;
    cereus_slice metadata;     /* the propagated context as it came; nothing: the call did not come from a server */
    cereus_slice sent_route;   /* of a call from a server: the route as it was sent */
    struct json_t *propagated; /* the same as an object, when it has been asked for; kept by the ctx */
    uint64_t deadline_us;      /* loop time; UINT64_MAX: none */
    crs_kept_json *kept;
    cereus_status error_status; /* CEREUS_OK: no error is stored */
    cereus_slice error_code;    /* data NULL: no code of its own */
    cereus_slice error_msg;
    cereus_slice *meta_keys, *meta_values; /* CRS_ERROR_META_MAX each, or NULL */
    size_t meta_count;
};

/** A fresh ctx on the current fiber. */
void crs_ctx_init(cereus_ctx *ctx, crs_dispatch *d, crs_fiber *fiber, const char *route);
/** Ends what the ctx keeps; the arena is the fiber's. */
void crs_ctx_fini(cereus_ctx *ctx);

/** Store an error of the framework and return @p status. Texts are static. */
cereus_status crs_ctx_error(cereus_ctx *ctx, cereus_status status, const char *code, const char *msg);
/** Take over the error stored in @p from, whose memory may go away. */
void crs_ctx_copy_error(cereus_ctx *ctx, const cereus_ctx *from);

/** What a client is told about @p status. */
typedef struct crs_error_view {
    cereus_slice code, msg;
    const cereus_slice *meta_keys, *meta_values;
    size_t meta_count;
} crs_error_view;
crs_error_view crs_ctx_error_view(const cereus_ctx *ctx, cereus_status status);

/** The agent behind a handle, if this is its loop; NULL: it has ended, or lives elsewhere (crs_session_is_local()). */
crs_agent *crs_session_agent(const cereus_session *s);
bool crs_session_is_local(const cereus_session *s);

#endif
