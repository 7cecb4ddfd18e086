/* app/manual.h: an app that starts no threads. A test turns its loops one after the other on its own thread, under a
 * clock that only the test moves, and its players come over transport/memory: what happens, and in which order, depends
 * on nothing but the test. Several apps may share one clock. cereus_app_start() and cereus_app_wait() work as ever; while
 * they wait for the loops they turn them.
 *
 * For libcereus-test, which is linked against the shared library: hence one exported table. It is no part of the API and
 * promises nothing from one version to the next.
 *
 * Thread: everything here from one thread, that of the test. What a game offloads runs there too, between two turns.
 */
#ifndef CRS_APP_MANUAL_H
#define CRS_APP_MANUAL_H

#include <time.h>

#include <cereus/app.h>

typedef struct crs_manual {
    int64_t (*clock)(clockid_t clock, void *user); /* ms of CLOCK_MONOTONIC or CLOCK_REALTIME */
    /** A start or stop waits, and no loop has anything left to do at this time: let peers act, or move the clock. */
    void (*idle)(void *user);
    void *user;
    uint64_t seed; /* of all that is random in it; 0: one that nobody knows */
} crs_manual;

typedef struct crs_manual_conn crs_manual_conn; /* a peer's end of a connection */

typedef struct crs_manual_ops {
    const char *version; /* CEREUS_VERSION of the library: must be the kit's */

    /** Make @p app such an app. Borrows @p manual for its life. Thread: setup. */
    void (*use)(cereus_app *app, const crs_manual *manual);
    /** One turn of every loop, and what waits to be offloaded. Returns whether anything happened or is to happen at this
     * time; what only a descriptor brought shows in the next turn. */
    bool (*turn)(cereus_app *app);
    /** When the clock shows this the app has something to do; UINT64_MAX: never. */
    uint64_t (*next_ms)(cereus_app *app);

    /** Fibers that overflow their stack are named between guard(true) and guard(false), which may be nested, on this thread.
     * Each turn does that too; around many it is done once. */
    void (*guard)(bool on);
    /** Call @p fn as loop @p loop would; the app runs. */
    void (*on_loop)(cereus_app *app, uint32_t loop, void (*fn)(void *user), void *user);

    /** Has somebody asked for the end? Of any app that runs, also of one with threads. */
    bool (*wants_end)(cereus_app *app);

    /** Connect to loop @p loop (modulo their number). @return CEREUS_OK; CEREUS_E_STATE: it does not run; CEREUS_E_NOMEM.
     * Ownership: gives, end it with hang_up(), before or after the app's own end. */
    cereus_status (*open)(cereus_app *app, uint32_t loop, bool websocket, crs_manual_conn **ret_conn);
    void (*hang_up)(crs_manual_conn *conn);
    /** @return CEREUS_OK; CEREUS_E_GONE: the server has closed; CEREUS_E_NOMEM, CEREUS_E_TOO_LONG */
    cereus_status (*send)(crs_manual_conn *conn, const void *data, size_t len);
    /** What the server has sent and nobody took; good until the next turn or take(). */
    cereus_slice (*received)(const crs_manual_conn *conn);
    void (*take)(crs_manual_conn *conn, size_t len);
    /** Has the server ended its side? What it sent before can still be taken. */
    bool (*closed)(const crs_manual_conn *conn);
} crs_manual_ops;

CEREUS_API extern const crs_manual_ops cereus_private_manual;

#endif
