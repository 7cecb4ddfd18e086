/* loop/workers.h: a few threads for what blocks or computes long. Jobs wait in one bounded queue; when a job has run,
 * its `done` is posted to the loop that asked. */
#ifndef CRS_LOOP_WORKERS_H
#define CRS_LOOP_WORKERS_H

#include "loop/loop.h"

typedef struct crs_workers crs_workers;

typedef struct crs_job {
    crs_mail done;            /* posted to `loop` after work() has run; always, also at the end of the pool */
    crs_loop *loop;           /* who asked */
    void (*work)(void *user); /* Thread: a worker */
    void *user;
    struct crs_job *next;
} crs_job;

/** Up to @p threads threads with a queue of @p queue_max jobs; 0 threads: jobs wait for crs_workers_run_waiting().
 * Ownership: gives. Thread: any. */
cereus_status crs_workers_new(size_t threads, size_t queue_max, crs_workers **ret_workers, cereus_error *err);
/** Run what waits, join the threads. Loops must still take mail. Returns NULL. */
crs_workers *crs_workers_free(crs_workers *w);
/** Run what waits on the calling thread, which speaks for no loop meanwhile: for a pool without threads. Returns whether
 * there was anything. */
bool crs_workers_run_waiting(crs_workers *w);
/** Queue @p job; it belongs to the pool until its `done` runs. @return CEREUS_OK; CEREUS_E_FULL. Thread: any. */
CEREUS_MUST_USE cereus_status crs_workers_submit(crs_workers *w, crs_job *job);
/** Jobs that wait, and threads that work. Thread: any. */
size_t crs_workers_waiting(crs_workers *w, size_t *ret_busy);

#endif
