/* dispatch/remote.h: the seam to a cluster, which lives above dispatch. Downwards: calls that came from other servers are
 * run (crs_serve()), and messages that went to them are finished (crs_forward_finished()). Upwards: what dispatch cannot do
 * alone, as a table of functions in crs_core.
 */
#ifndef CRS_DISPATCH_REMOTE_H
#define CRS_DISPATCH_REMOTE_H

#include "dispatch/call.h"
#include "dispatch/context.h"

/* ---- calls from other servers ---- */

/** What a forwarding frontend says of its session: a snapshot that lives as long as the call. */
typedef struct crs_remote_session {
    const char *frontend_id;
    int64_t id;        /* the frontend's */
    const char *uid;   /* "" before the bind */
    cereus_slice text; /* its data as they came, a JSON object or nothing */
    json_t *data;      /* parsed when first asked for; owned by the call */
} crs_remote_session;

/** A call from another server, on its way to its home and back. The owner embeds it, fills it in and frees it in done(). */
typedef struct crs_serving crs_serving;
struct crs_serving {
    crs_mail mail;
    crs_dispatch *origin; /* where it came in, and where done() runs */
    crs_dispatch *here;   /* its home; set by crs_serve() */
    const crs_method *method;
    crs_remote_session *session; /* of a client's message; NULL: a call of a server */
    bool answer;                 /* a result is wanted; else only whether it failed */
    cereus_slice body;
    cereus_slice metadata;   /* the propagated context, a JSON object */
    cereus_slice sent_route; /* the route, as it was sent */
    uint64_t deadline_us;    /* loop time; UINT64_MAX: none */
    /** Thread: fiber, on the home. What came of it, before the ctx and all its memory end. */
    void (*encode)(crs_serving *s, cereus_ctx *ctx, cereus_status st, cereus_slice body);
    /** Thread: loop, on the origin. Called exactly once. */
    void (*done)(crs_serving *s);
};

/** Run @p s; it belongs to dispatch until done(). @return CEREUS_OK; CEREUS_E_FULL: its home takes no more, nothing was
 * done. Thread: loop, of s->origin. */
CEREUS_MUST_USE cereus_status crs_serve(crs_serving *s);

/* ---- messages to other servers ---- */

/** The result of a forwarded message has come, or its failure. Ends @p call. Thread: loop, the session's. */
void crs_forward_finished(crs_call *call, bool failed, cereus_slice body, const crs_error_view *error);

/* ---- what dispatch asks of the cluster ---- */

typedef struct crs_cluster_ops {
    /** May this message be sent although others of its session have not been answered yet, to be run behind them?
     * Thread: loop. */
    bool (*may_follow)(crs_dispatch *d, crs_agent *agent, cereus_slice server_type);
    /** Send a client's message (call->route, body, id) to a server of @p server_type, and crs_forward_finished() it, now or
     * later. Ownership: takes @p call. Thread: loop. */
    void (*forward)(crs_dispatch *d, crs_agent *agent, crs_call *call, cereus_slice server_type);
    /** A uid is being bound here, after all checks and before anybody can find it: others shall reach it from now on.
     * Thread: fiber; may yield. */
    cereus_status (*user_bound)(cereus_ctx *ctx, const char *uid);
    /** It has been found here since @p at_us, Unix time, and no other session of this server had it before. Thread: loop. */
    void (*user_claimed)(crs_dispatch *d, const char *uid, uint64_t at_us);
    /** The uid is not bound here any more. Thread: loop. */
    void (*user_gone)(crs_dispatch *d, const char *uid);
    /* what a session of another server is asked to do; Thread: fiber, may yield */
    cereus_status (*bind)(cereus_ctx *ctx, crs_remote_session *s, const char *uid);
    cereus_status (*push)(cereus_ctx *ctx, crs_remote_session *s, cereus_slice route, cereus_slice body);
    cereus_status (*kick)(cereus_ctx *ctx, crs_remote_session *s);
    cereus_status (*push_to_front)(cereus_ctx *ctx, crs_remote_session *s, cereus_slice data);
    /** Users that have no session here, by the type of their frontend; failed[i] is set for those that could not be sent
     * to. Only uids[i] with want[i]. Returns how many failed. Thread: fiber. */
    size_t (*push_to_users)(cereus_ctx *ctx, const char *frontend_type, cereus_slice route, cereus_slice body,
                            const char *const *uids, const bool *want, size_t count, bool *failed);
    size_t (*kick_users)(cereus_ctx *ctx, const char *frontend_type, const char *const *uids, const bool *want,
                         size_t count, bool *failed);
} crs_cluster_ops;

/** End a session wherever it lives, without waiting for it. Thread: loop of @p d. */
void crs_session_end(crs_dispatch *d, cereus_session_id id, crs_close_reason reason);

/** The data of a session as JSON text, kept until they change. Good until the next change. Thread: loop. */
cereus_slice crs_session_data_text(crs_agent *agent);

/** The JSON object that @p s has as its data; NULL: out of memory. */
json_t *crs_remote_data(crs_remote_session *s);

#endif
