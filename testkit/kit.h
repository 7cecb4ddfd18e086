/* testkit/kit.h: the inside of the test kit. It is linked against the installed library, so it uses what that exports:
 * the public API and the table of app/manual.h, and the C client with what carries its bytes. */
#ifndef CEREUS_TESTKIT_KIT_H
#define CEREUS_TESTKIT_KIT_H

#include <pthread.h>
#include <stdarg.h>

#include <cereus/client.h>
#include <cereus/test.h>
#include <cereus/test_bus.h>

#include "app/manual.h"

enum { KIT_LOG_MAX = 4096, KIT_SHOWN_MAX = 600 };

/** What shares a clock: one app, or several that were made beside each other. */
typedef struct kit_world {
    cereus_test_app *apps; /* in the order of making */
    uint64_t passed_ms;    /* memory mode: since the start */
    unsigned idles;        /* of one start or stop */
    cereus_test_bus *bus;  /* NULL: none */
} kit_world;

typedef struct kit_kept {
    struct kit_kept *next;
    struct json_t *json; /* dropped at the end; NULL: none */
    max_align_t data[];
} kit_kept;

struct cereus_test_app {
    cereus_test_app *next; /* in the world */
    kit_world *world;
    cereus_test_mode mode;
    cereus_app *app;
    crs_manual manual;
    bool running;
    bool paused;                                 /* its loops and clients stand still */
    struct node *node;                           /* on the bus; NULL: on none */
    cereus_test_client *clients, **clients_tail; /* in the order of making */
    cereus_test_gate *gates;
    cereus_test_leash *leashes;
    kit_kept *kept;
    uint64_t began_ms; /* sockets mode */
    pthread_mutex_t mu;
    char *log[KIT_LOG_MAX]; /* guarded by mu */
    size_t log_count;       /* guarded by mu: kept */
    size_t log_counts[4];   /* guarded by mu: by level, debug first */
    bool log_shown;
};

typedef struct kit_event {
    cereus_test_event e; /* first: the test holds a pointer to it */
    struct kit_event *next;
    bool taken;
    const char **meta; /* pairs of key and value */
    size_t meta_count;
} kit_event;

typedef struct kit_request {
    cereus_test_client *client;
    uint64_t id;
    const char *route;
    kit_event *answer; /* NULL: none yet */
} kit_request;

struct cereus_test_client {
    cereus_test_client *next;
    cereus_test_app *t;
    cereus_test_transport transport;
    cereus_client *client; /* NULL: a raw connection */
    crs_manual_conn *conn; /* memory mode; NULL: hung up */
    int fd;                /* of a raw connection over a socket; -1: none */
    bool frozen;
    bool lost;                                /* its server has crashed: nothing comes but the end */
    bool moved;                               /* bytes went in or out */
    kit_event *events, **events_tail, *first; /* first: no event before it is left to take */
    kit_request **requests;                   /* by id - 1 */
    size_t request_count;
    uint8_t *in; /* raw: received, not taken */
    size_t in_len, in_cap;
    bool in_end;
};

/* -- fail.c -- */

/** The test's thread is inside the app: a failure cannot leave. */
extern _Thread_local unsigned kit_inside;
/** A test has begun or ended on the calling thread. */
void kit_count_app(int change);
/** No way back: prints and aborts. */
void kit_die(const char *fmt, ...) CEREUS_PRINTF(1, 2) __attribute__((noreturn));

/* -- app.c -- */

void *kit_alloc(size_t size);
void *kit_realloc(void *ptr, size_t size);
/** Memory, and a reference, until the end of @p t. */
void *kit_keep(cereus_test_app *t, size_t size);
struct json_t *kit_keep_json(cereus_test_app *t, struct json_t *json);
char *kit_keep_text(cereus_test_app *t, const void *data, size_t len);
/** The clock that @p t's app and clients see. */
uint64_t kit_clock_ms(const cereus_test_app *t);

typedef bool kit_ready_fn(void *arg);
/** Let the app and its clients go on until @p ready; false: it will not be, or not in time. @p slice_ms: look again
 * after so long where no client would be woken. */
bool kit_wait(cereus_test_where where, cereus_test_app *t, kit_ready_fn *ready, void *arg, int slice_ms);
/** Why kit_wait() gave up, for the message. */
const char *kit_waited(const cereus_test_app *t);

/* -- client.c -- */

/** Memory mode: let @p c read, write and look at its clock. Returns whether it did anything. */
bool kit_client_step(cereus_test_client *c);
/** When it has something to do; UINT64_MAX: never. */
uint64_t kit_client_next_ms(cereus_test_client *c);
/** Sockets mode: let the clients of @p t go on, for at most @p timeout_ms or until @p wake_fd (-1: none) is readable.
 * Returns whether anything was there. */
bool kit_clients_poll(cereus_test_app *t, int wake_fd, int timeout_ms);
void kit_client_free(cereus_test_client *c);

/* -- bus.c -- */

/** Let happen what is due; @p bus may be NULL. Returns whether anything did. */
bool kit_bus_step(cereus_test_bus *bus);
/** When something is due; UINT64_MAX: never. */
uint64_t kit_bus_next_ms(const cereus_test_bus *bus);
/** @p t is about to be freed. */
void kit_bus_left(cereus_test_app *t);

#endif
