/* ext/nats.h: a NATS connection on one of our loops, by nats.c. The loop reads and writes its socket, and messages are
 * handled on the loop; the library's threads (reconnecting, its callbacks) only set flags and post mail. While the connection
 * is away nothing here touches the library, whose lock is held during attempts to connect: what was asked for then is done when
 * it is back.
 *
 *     busy subscriptions (few): queued by the library's parser on the loop, taken out right behind it
 *     quiet ones (two for each user): a thread of the library passes their messages to the loop
 */
#ifndef CRS_EXT_NATS_H
#define CRS_EXT_NATS_H

#include "loop/loop.h"

typedef struct crs_nats crs_nats;
typedef struct crs_nats_sub crs_nats_sub;

/** Slices are good until the function returns. */
typedef struct crs_nats_message {
    const char *subject;
    cereus_slice reply; /* where an answer goes; empty: none is wanted. NUL behind it */
    cereus_slice data;
} crs_nats_message;

typedef void crs_nats_fn(void *user, const crs_nats_message *message); /* Thread: loop */

typedef struct crs_nats_options {
    const char *const *urls; /* borrowed for its life; later, others of the same cluster are tried, too */
    size_t url_count;
    const char *name; /* what NATS shows of us; copied */
    /* TLS, if any is set or a URL is tls://; read and copied */
    const char *ca_file, *cert_file, *key_file; /* PEM; NULL: the system's, none, none */
    const char *server_name;                    /* that NATS's certificate must have; NULL: any */
    uint64_t connect_timeout_ms;
    uint64_t tries; /* of the first connect, more than the first one */
    uint64_t reconnect_wait_ms, jitter_ms, jitter_tls_ms;
    uint64_t ping_interval_ms;
    uint32_t pings_max;
    size_t pending_max; /* messages of a busy subscription that may wait */
    /** An answer to crs_nats_request(), or to crs_nats_echo(). */
    void (*on_reply)(void *user, uint64_t id, cereus_slice data);
    /** Nobody has subscribed to the subject of some request; the library does not say of which. It comes in order: before the
     * answer to an echo that was asked for later. */
    void (*on_no_responders)(void *user);
    /** It was lost (perhaps once more, before it was back), or is back with its subscriptions. May be NULL. */
    void (*on_state)(void *user, bool up);
    void (*on_lame)(void *user); /* the server will stop: crs_nats_begin() finds another. May be NULL */
    void *user;
} crs_nats_options;

/**
 * Connect. It comes back by itself after a loss, for ever, also after NATS did not know us for a while.
 * @return CEREUS_OK; CEREUS_E_UNAVAILABLE: not after all tries; CEREUS_E_UNSUPPORTED: no library; CEREUS_E_INVALID: a URL;
 *         CEREUS_E_NOMEM
 * Ownership: gives. Thread: setup, speaking for @p loop; blocks.
 */
CEREUS_MUST_USE cereus_status crs_nats_connect(crs_loop *loop, const crs_nats_options *opt, crs_nats **ret_nats,
                                               cereus_error *err);
/** What was published is flushed, at most until @p flush_until_ms (CLOCK_MONOTONIC), then it ends; @p on_closed is called on
 * the loop when the memory is free. All subscriptions have been given back before. Thread: loop; blocks until then, and for as
 * long as an attempt to connect takes that is under way. */
void crs_nats_close(crs_nats *n, uint64_t flush_until_ms, void (*on_closed)(void *user), void *user);

/** Another connection, to another server than that of @p from if there is one: on_state(true) tells when it is there; until
 * then it is one that was lost. NULL: out of memory. Ownership: gives. Thread: loop. */
crs_nats *crs_nats_begin(crs_nats *from, const crs_nats_options *opt);
/** As crs_nats_close(), later: without flushing, and without waiting for an attempt to connect. Nothing of @p opt is called any
 * more. crs_nats_close() may be called yet: it does wait, and takes @p on_closed again. Thread: loop. */
void crs_nats_retire(crs_nats *n, void (*on_closed)(void *user), void *user);

/** @return CEREUS_OK; CEREUS_E_UNAVAILABLE: not connected; CEREUS_E_TOO_LONG: more than max_payload of the server;
 * CEREUS_E_FULL: NATS does not take what is written; CEREUS_E_NOMEM. @p subject has been checked. Thread: loop. */
CEREUS_MUST_USE cereus_status crs_nats_publish(crs_nats *n, const char *subject, cereus_slice data);
/** The same, and the answer comes to on_reply() with @p id, not 0. */
CEREUS_MUST_USE cereus_status crs_nats_request(crs_nats *n, const char *subject, uint64_t id, cereus_slice data);
/** on_reply() with @p id comes when NATS has handled all that was asked of it until now. */
CEREUS_MUST_USE cereus_status crs_nats_echo(crs_nats *n, uint64_t id);

/** How often bytes have been given to the socket, or tried to be. What was published when this was as it is at on_state(false)
 * has never left, and never will. Thread: loop. */
uint64_t crs_nats_writes(const crs_nats *n);

/** The longest message that the server takes, or the last one did. Thread: loop. */
size_t crs_nats_payload_max(const crs_nats *n);

enum { CRS_NATS_BUSY_MAX = 4 };
/** At most CRS_NATS_BUSY_MAX on a connection. @return CEREUS_OK, also while there is no connection; CEREUS_E_NOMEM;
 * CEREUS_E_INVALID: no subject. Ownership: gives. Thread: loop. */
CEREUS_MUST_USE cereus_status crs_nats_subscribe(crs_nats *n, const char *subject, crs_nats_fn *fn, void *user,
                                                 crs_nats_sub **ret_sub);

/** Where messages of quiet subscriptions go; the caller's, for the life of the connection. */
typedef struct crs_nats_channel {
    crs_nats *nats;
    crs_nats_fn *fn;
    void *user;
    size_t waiting_max;    /* messages that may wait for the loop; more are dropped and counted */
    atomic_size_t waiting; /* any */
} crs_nats_channel;

/** As crs_nats_subscribe(), any number of them. */
CEREUS_MUST_USE cereus_status crs_nats_watch(crs_nats_channel *channel, const char *subject, crs_nats_sub **ret_sub);
/** The function of @p channel, which is for this alone, is called when all that NATS had for this connection until now has been
 * handled, also what came by quiet subscriptions. @return as crs_nats_publish(). Ownership: gives, on CEREUS_OK. Thread: loop. */
CEREUS_MUST_USE cereus_status crs_nats_drain(crs_nats_channel *channel, crs_nats_sub **ret_sub);
/** Takes @p sub, which may be NULL. Returns NULL. */
crs_nats_sub *crs_nats_unsubscribe(crs_nats_sub *sub);

#endif
