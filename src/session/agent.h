/* session/agent.h: one per connection: the protocol's state machine, its deadlines, the session's state, and what waits
 * to be handled. It knows no handlers: decoded messages go up through crs_agent_ops, answers and pushes come down.
 *
 *              handshake ok             ack
 *    START ───────────────> HANDSHAKE ─────────> WORKING ──┐
 *      │ ack, data: close     ^  │ data: close     │ handshake
 *      │                      │  └──> CLOSED       └──> HANDSHAKE (uid and data survive)
 *      └──> CLOSED <──────────┴── refused, silent, kicked, closed, peer gone, ...
 *
 * An agent that has closed is gone from both look-ups first; then on_closed runs the callbacks, then it is freed.
 * Thread: loop, all of it.
 */
#ifndef CRS_SESSION_AGENT_H
#define CRS_SESSION_AGENT_H

#include "base/arena.h"
#include "session/session.h"
#include "transport/conn.h"
#include "wire/handshake.h"
#include "wire/message.h"

struct json_t;

typedef enum crs_close_reason {
#define X(name, counter, text) CRS_CLOSE_##name,
#include "session/close_reasons.def"
#undef X
} crs_close_reason;

const char *crs_close_reason_text(crs_close_reason reason);

typedef enum crs_agent_state {
    CRS_AGENT_START,
    CRS_AGENT_HANDSHAKE,
    CRS_AGENT_WORKING,
    CRS_AGENT_CLOSED
} crs_agent_state;

typedef struct crs_frontend crs_frontend; /* the agents of one loop */

/** What the layer above is told. */
typedef struct crs_agent_ops {
    /** A request or notify, inflated; good until this returns. Returns whether more input is wanted. */
    crs_input (*on_message)(crs_agent *agent, const crs_message *msg);
    /** A request that something before us refused: answer it with the error. */
    void (*on_refused)(crs_agent *agent, uint64_t id, const crs_refusal *refusal);
    /** May this client come in? Anything but CEREUS_OK refuses it. */
    cereus_status (*on_handshake)(crs_agent *agent, const crs_handshake *hs);
    /** The session has ended and can no longer be found. Call crs_agent_free() when done with it. */
    void (*on_closed)(crs_agent *agent, crs_close_reason reason);
    /** Output that had been blocked has gone out. */
    void (*on_drained)(crs_agent *agent);
} crs_agent_ops;

typedef struct crs_frontend_options {
    uint64_t heartbeat_ms;
    uint64_t handshake_timeout_ms;
    uint64_t bind_timeout_ms; /* from the ack to the bind; 0: no deadline */
    uint64_t write_timeout_ms;
    size_t outbox_max;      /* bytes */
    bool outbox_drop;       /* over it: drop pushes; else disconnect */
    size_t inflate_max;     /* bytes of an inflated body */
    bool compress;          /* deflate bodies if that is shorter */
    int compress_level;     /* 0..9, -1 */
    size_t compress_min;    /* bytes of a body that is tried */
    uint32_t sessions_max;  /* of this loop */
    const char *serializer; /* its name, for the handshake; borrowed */
    const crs_route_dict *dict;
    crs_uid_index *uids;
    const crs_agent_ops *ops;
    void *user; /* for the layer above: crs_frontend_user() */
} crs_frontend_options;

cereus_status crs_frontend_new(crs_loop *loop, const crs_frontend_options *opt, crs_frontend **ret_frontend,
                               cereus_error *err);
/** All agents must have been freed. Returns NULL. */
crs_frontend *crs_frontend_free(crs_frontend *fe);
void *crs_frontend_user(const crs_frontend *fe);
crs_loop *crs_frontend_loop(const crs_frontend *fe);
const crs_frontend_options *crs_frontend_opt(const crs_frontend *fe);
crs_session_table *crs_frontend_sessions(crs_frontend *fe);
/** A crs_open_fn: make an agent for an open connection; @p frontend is a crs_frontend. */
void crs_frontend_on_open(crs_conn *conn, void *frontend);
/** Hear nothing more, of any session: what has been received is the last. */
void crs_frontend_stop_reading(crs_frontend *fe);
/** Close every session. */
void crs_frontend_close_all(crs_frontend *fe, crs_close_reason reason);

/** A close callback that somebody added to this session. */
typedef struct crs_close_hook {
    struct crs_close_hook *next;
    void (*fn)(void); /* what it really is, the layer above knows */
    void *user;
} crs_close_hook;

/** What the game keeps in a session. */
typedef struct crs_agent_data {
    struct json_t *json; /* an object */
    char *text;          /* the same, when a message has carried it since the last change; NULL: not since then */
} crs_agent_data;

/** An idle player is one of these and a connection: fields are few, and in an order without holes. The part that is the session's and that the layer above reads and writes. */
struct crs_agent {
    crs_frontend *frontend;
    crs_conn *conn; /* NULL when it has closed */
    cereus_session_id id;
    char *uid;               /* NULL: not bound */
    crs_agent_data *data;    /* NULL: nothing but `ipversion` */
    char *handshake;         /* what the client said, packed: crs_agent_handshake(); NULL: nothing yet */
    crs_close_hook *closing; /* in the order added */
    /* the layer above: messages that wait for their turn, and what runs */
    void *lane;          /* the newest that waits, whose next is the oldest; NULL: none waits */
    uint64_t forward_to; /* while some are `forwarding`: a hash of that server's id */
    uint32_t lane_count; /* waiting */
    uint32_t lane_bytes;
    uint32_t concurrent;  /* calls in flight that passed the lane by */
    uint32_t forwarding;  /* of the running ones, those that are on another server */
    uint32_t pins;        /* it must not be freed while one of its functions runs */
    uint32_t last_seen_s; /* Unix seconds of the last packet */
    crs_timer timer;
    uint64_t tick_ms;     /* loop time of the next heartbeat */
    uint64_t deadline_ms; /* loop time for the handshake, then for the bind if that has one; UINT64_MAX: done */
    crs_peer peer;
    bool running;   /* a call holds the lane */
    bool freeing;   /* free it when the last pin goes */
    bool binding;   /* a bind is on its way */
    bool opened;    /* it has been WORKING: the deadline is no more that of the handshake */
    uint8_t state;  /* crs_agent_state */
    uint8_t reason; /* crs_close_reason, when closed */
    uint8_t needs;  /* CRS_NEEDS_* of its client */
};

/** What the client said in its handshake, pointing into the agent. False: nothing yet. */
bool crs_agent_handshake(const crs_agent *agent, crs_handshake *ret_hs);
/** Give back a pin (`pins++`); frees the agent if that was asked for meanwhile. */
void crs_agent_unpin(crs_agent *agent);
/** Frees an agent that has closed. */
void crs_agent_free(crs_agent *agent);

/** Queue a response. Never dropped by the outbox policy: who makes too many is not read any more.
 * @return CEREUS_OK; CEREUS_E_TOO_LONG: it does not fit a packet, nothing was queued; CEREUS_E_GONE; CEREUS_E_NOMEM */
cereus_status crs_agent_respond(crs_agent *agent, uint64_t id, cereus_slice body, bool error);
/** Queue a push. @return CEREUS_OK; CEREUS_E_TOO_LONG: route or body; CEREUS_E_GONE: ended, or ended now by the policy;
 *         CEREUS_E_FULL: dropped by the policy; CEREUS_E_NOMEM */
cereus_status crs_agent_push(crs_agent *agent, cereus_slice route, cereus_slice body);
/** Compress and frame a push once, for any number of receivers of any loop. CEREUS_E_TOO_LONG, CEREUS_E_NOMEM. */
cereus_status crs_frontend_make_push(crs_frontend *fe, cereus_slice route, cereus_slice body, crs_frame *ret_frame);
/** Queue it for one of them. Returns as crs_agent_push. */
cereus_status crs_agent_push_frame(crs_agent *agent, const crs_frame *frame);

/** End the session after what is queued; with a kick packet first if the reason is KICKED. Fine when it has closed. */
void crs_agent_close(crs_agent *agent, crs_close_reason reason);
/** Does so much wait for the client that its requests should not be read for now? */
bool crs_agent_clogged(const crs_agent *agent);
/** Read on, after on_message said CRS_INPUT_PAUSE. */
void crs_agent_resume(crs_agent *agent);

#endif
