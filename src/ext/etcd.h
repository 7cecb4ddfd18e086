/* ext/etcd.h: a client of etcd v3 on a loop, over one gRPC channel: calls, leases that are kept alive, watches that survive
 * a lost connection, user and password, TLS. Nothing of it blocks.
 *
 * While etcd cannot be reached, calls wait for it up to their timeout and end with CEREUS_E_UNAVAILABLE; they were not
 * made then. A call that was on its way when the connection was lost ends with CEREUS_E_UNAVAILABLE at once, one that
 * etcd does not answer in time with CEREUS_E_TIMEOUT: these may have been made or not. Error texts name the endpoint.
 */
#ifndef CRS_EXT_ETCD_H
#define CRS_EXT_ETCD_H

#include "ext/grpc.h"
#include "fiber/fiber.h"

typedef struct crs_etcd crs_etcd;
typedef struct crs_etcd_lease crs_etcd_lease;
typedef struct crs_etcd_watch crs_etcd_watch;

enum {
    CRS_ETCD_TIMEOUT_MS = 5000,             /* of a call that names none */
    CRS_ETCD_WATCHES_MAX = 256,             /* at once */
    CRS_ETCD_LEASES_MAX = 1024,             /* kept alive at once */
    CRS_ETCD_TXN_OPS_MAX = 128,             /* etcd's own default */
    CRS_ETCD_RESULT_MAX = 64 * 1024 * 1024, /* memory of one result, bytes */
};

/* Copied, like the strings it names. */
typedef struct crs_etcd_options {
    const char *const *endpoints; /* "HOST:PORT", see grpc.h */
    size_t endpoint_count;
    const char *user, *password;       /* both or neither */
    const crs_tls_client_options *tls; /* NULL: plain, unless an endpoint says https */
    uint32_t dial_timeout_ms;          /* 0: grpc.h's default */
    uint32_t keepalive_ms, keepalive_timeout_ms;
    crs_grpc_state_fn *on_state; /* NULL: none; ready: also authenticated */
    void *state_user;
} crs_etcd_options;

/** Open a client; it connects by itself. @return as crs_grpc_channel_open(). Ownership: gives; end it with close(); borrows
 * @p loop. Thread: loop, like everything here. */
cereus_status crs_etcd_open(crs_loop *loop, const crs_etcd_options *opt, crs_etcd **ret_etcd, cereus_error *err);
/** End it: calls end with CEREUS_E_CANCELLED before this returns; leases and watches end without a word, and their
 * pointers are void. Leases are not revoked. NULL is fine, within a callback, too. Returns NULL. */
crs_etcd *crs_etcd_close(crs_etcd *etcd);
/** Is it connected, and authenticated? */
bool crs_etcd_ready(const crs_etcd *etcd);

/* ---- calls ---- */

typedef enum crs_etcd_kind {
    CRS_ETCD_RANGE = 1,
    CRS_ETCD_PUT,
    CRS_ETCD_DELETE,
    CRS_ETCD_TXN,
    CRS_ETCD_GRANT,        /* a lease of `ttl_s` */
    CRS_ETCD_REVOKE,       /* `lease` and all its keys */
    CRS_ETCD_TIME_TO_LIVE, /* of `lease` */
    CRS_ETCD_KEEP_ALIVE,   /* `lease`, once; a lease that is gone gives CEREUS_E_NOT_FOUND */
} crs_etcd_kind;

typedef enum crs_etcd_target { /* etcd's numbers */
                               CRS_ETCD_VERSION = 0,
                               CRS_ETCD_CREATE_REVISION = 1, /* 0: there is no such key */
                               CRS_ETCD_MOD_REVISION = 2,
                               CRS_ETCD_VALUE = 3,
                               CRS_ETCD_LEASE = 4,
} crs_etcd_target;

typedef enum crs_etcd_relation {
    CRS_ETCD_EQUAL = 0,
    CRS_ETCD_GREATER = 1,
    CRS_ETCD_LESS = 2,
    CRS_ETCD_NOT_EQUAL = 3
} crs_etcd_relation;

typedef struct crs_etcd_compare {
    cereus_slice key;
    crs_etcd_target target;
    crs_etcd_relation relation;
    int64_t number;     /* all targets but VALUE */
    cereus_slice value; /* VALUE */
} crs_etcd_compare;

/** One call, filled with designated initialisers: {.kind = CRS_ETCD_PUT, .key = k, .value = v, .lease = id}. */
typedef struct crs_etcd_op crs_etcd_op;
struct crs_etcd_op {
    crs_etcd_kind kind;
    cereus_slice key;   /* RANGE, PUT, DELETE */
    bool prefix;        /* RANGE, DELETE: all keys that begin with `key`; all there are when it is empty */
    int64_t limit;      /* RANGE: at most so many; 0: all */
    int64_t revision;   /* RANGE: as it was then; 0: as it is now; CEREUS_E_RANGE: compacted meanwhile */
    bool keys_only;     /* RANGE */
    bool count_only;    /* RANGE */
    bool serializable;  /* RANGE: from this member's own copy, which may lag behind */
    cereus_slice value; /* PUT */
    int64_t lease;      /* PUT: 0: none */
    int64_t ttl_s;      /* GRANT */
    const crs_etcd_compare *compares; /* TXN: all must hold */
    size_t compare_count;
    const crs_etcd_op *then_ops; /* TXN: RANGE, PUT or DELETE each */
    size_t then_count;
    const crs_etcd_op *else_ops;
    size_t else_count;
};

typedef struct crs_etcd_kv {
    cereus_slice key, value;
    int64_t create_revision, mod_revision, version, lease;
} crs_etcd_kv;

typedef struct crs_etcd_result crs_etcd_result;
struct crs_etcd_result {
    crs_etcd_kind kind;
    int64_t revision;       /* of all of etcd when it answered: to watch from what was read, start at this + 1 */
    const crs_etcd_kv *kvs; /* RANGE */
    size_t kv_count;
    int64_t count;                  /* RANGE: keys there are, also beyond the limit; DELETE: keys deleted */
    bool more;                      /* RANGE: beyond the limit */
    bool succeeded;                 /* TXN: the compares held, so then_ops were done, else else_ops */
    const crs_etcd_result *results; /* TXN: one for each */
    size_t result_count;
    int64_t lease;         /* GRANT, TIME_TO_LIVE, KEEP_ALIVE */
    int64_t ttl_s;         /* the same: seconds left; GRANT: may be more than asked; TIME_TO_LIVE: -1: it is gone */
    int64_t granted_ttl_s; /* TIME_TO_LIVE */
};

/** @p result is set on CEREUS_OK, else @p err is; both are good until it returns. */
typedef void crs_etcd_done_fn(cereus_status status, const crs_etcd_result *result, const cereus_error *err, void *user);

/**
 * Make a call.
 * @param timeout_ms  0: CRS_ETCD_TIMEOUT_MS
 * @return CEREUS_OK: @p done is called once, later; else never: CEREUS_E_FULL, CEREUS_E_TOO_LONG, CEREUS_E_NOMEM
 * Ownership: borrows @p op.
 */
cereus_status crs_etcd_start(crs_etcd *etcd, const crs_etcd_op *op, uint32_t timeout_ms, crs_etcd_done_fn *done,
                             void *user, cereus_error *err);
/**
 * The same from a fiber.
 * @param arena       where the result is put, crs_fiber_arena(fiber) or another
 * @param ret_result  may be NULL
 * @return what done gets; CEREUS_E_CANCELLED: the fiber was  Thread: fiber.
 */
cereus_status crs_etcd_await(crs_fiber *fiber, crs_etcd *etcd, const crs_etcd_op *op, uint32_t timeout_ms,
                             crs_arena *arena, const crs_etcd_result **ret_result, cereus_error *err);

/* ---- leases ---- */

/** The lease is gone, or must be taken as gone: etcd said so, or did not answer for its whole time to live. Nothing keeps
 * it any more; grant another and register again. */
typedef void crs_etcd_lost_fn(const cereus_error *why, void *user);

/** Keep @p lease alive, which was granted just now for @p ttl_s: asked for each third of its time, on one stream for all.
 * @return CEREUS_OK; CEREUS_E_FULL: CRS_ETCD_LEASES_MAX; CEREUS_E_NOMEM. Ownership: gives until lost or drop(). */
cereus_status crs_etcd_lease_keep(crs_etcd *etcd, int64_t lease, int64_t ttl_s, crs_etcd_lost_fn *lost, void *user,
                                  crs_etcd_lease **ret_lease, cereus_error *err);
/** Keep it no longer; it ends by itself, or revoke it. NULL is fine. Returns NULL. */
crs_etcd_lease *crs_etcd_lease_drop(crs_etcd_lease *lease);

/* ---- watches ---- */

typedef struct crs_etcd_event {
    bool deleted; /* then only kv.key and kv.mod_revision are set */
    crs_etcd_kv kv;
} crs_etcd_event;

typedef struct crs_etcd_watch_ops {
    /** A key was put or deleted. After a lost connection one event may come twice if it came in pieces; none is left out. */
    void (*event)(const crs_etcd_event *event, void *user);
    /** Changes that were not seen yet have been compacted away; the watch has ended: range again, and watch from there. */
    void (*compacted)(int64_t compact_revision, void *user);
    /** etcd refuses it (no permission); the watch has ended. */
    void (*failed)(const cereus_error *err, void *user);
} crs_etcd_watch_ops;

typedef struct crs_etcd_watch_options {
    cereus_slice key; /* copied */
    bool prefix;
    int64_t from_revision; /* the first to be told; 0: from now on */
} crs_etcd_watch_options;

/** Watch; goes on by itself after a lost connection, from the last revision seen. @return CEREUS_OK; CEREUS_E_FULL:
 * CRS_ETCD_WATCHES_MAX; CEREUS_E_NOMEM. Ownership: gives until compacted, failed or stop(). */
cereus_status crs_etcd_watch_start(crs_etcd *etcd, const crs_etcd_watch_options *opt, const crs_etcd_watch_ops *ops,
                                   void *user, crs_etcd_watch **ret_watch, cereus_error *err);
/** Nothing is told any more. Within its callback, too. NULL is fine. Returns NULL. */
crs_etcd_watch *crs_etcd_watch_stop(crs_etcd_watch *watch);

#endif
