/* loop/workers.c: one mutex, one condition, a singly linked queue. Threads start when the first job arrives. */
#include "loop/workers.h"

#include "base/thread.h"

struct crs_workers {
    pthread_mutex_t mu;
    pthread_cond_t work; /* something was queued, or the end */
    crs_job *head;       /* guarded by mu: oldest */
    crs_job **tail;      /* guarded by mu */
    size_t waiting;      /* guarded by mu */
    size_t queue_max;    /* set once by new() */
    bool ending;         /* guarded by mu */
    size_t threads_max;  /* set once by new() */
    size_t threads;      /* guarded by mu: started */
    size_t idle;         /* guarded by mu: waiting for work */
    pthread_t ids[];     /* guarded by mu */
};

static crs_job *take_job_locked(crs_workers *w)
{
    crs_job *job = w->head;
    w->head = job->next;
    if (!w->head)
        w->tail = &w->head;
    w->waiting--;
    return job;
}

static void *worker_main(void *arg)
{
    crs_workers *w = arg;
    pthread_mutex_lock(&w->mu);
    for (;;) {
        while (!w->head && !w->ending) {
            w->idle++;
            pthread_cond_wait(&w->work, &w->mu);
            w->idle--;
        }
        if (!w->head)
            break;
        crs_job *job = take_job_locked(w);
        pthread_mutex_unlock(&w->mu);
        job->work(job->user);
        crs_loop_post_reserved(job->loop, &job->done);
        pthread_mutex_lock(&w->mu);
    }
    pthread_mutex_unlock(&w->mu);
    return NULL;
}

bool crs_workers_run_waiting(crs_workers *w)
{
    crs_loop *was = crs_loop_enter(NULL);
    bool any = false;
    pthread_mutex_lock(&w->mu);
    while (w->head) {
        crs_job *job = take_job_locked(w);
        pthread_mutex_unlock(&w->mu);
        job->work(job->user);
        crs_loop_post_reserved(job->loop, &job->done);
        any = true;
        pthread_mutex_lock(&w->mu);
    }
    pthread_mutex_unlock(&w->mu);
    crs_loop_enter(was);
    return any;
}

cereus_status crs_workers_new(size_t threads, size_t queue_max, crs_workers **ret_workers, cereus_error *err)
{
    CRS_ASSERT(queue_max > 0);
    crs_workers *w = crs_zalloc(sizeof *w + threads * sizeof *w->ids);
    if (!w)
        return crs_fail(err, CEREUS_E_NOMEM, "worker pool: out of memory");
    pthread_mutex_init(&w->mu, NULL);
    pthread_cond_init(&w->work, NULL);
    w->tail = &w->head;
    w->queue_max = queue_max;
    w->threads_max = threads;
    *ret_workers = w;
    return CEREUS_OK;
}

crs_workers *crs_workers_free(crs_workers *w)
{
    if (!w)
        return NULL;
    pthread_mutex_lock(&w->mu);
    w->ending = true;
    pthread_cond_broadcast(&w->work);
    size_t n = w->threads;
    pthread_mutex_unlock(&w->mu);
    for (size_t i = 0; i < n; i++)
        pthread_join(w->ids[i], NULL);
    crs_workers_run_waiting(w); /* without threads something may be left */
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->mu);
    crs_free(w);
    return NULL;
}

static void start_thread_locked(crs_workers *w)
{
    if (crs_thread_start(&w->ids[w->threads], worker_main, w))
        w->threads++;
}

cereus_status crs_workers_submit(crs_workers *w, crs_job *job)
{
    pthread_mutex_lock(&w->mu);
    if (w->idle <= w->waiting && w->threads < w->threads_max)
        start_thread_locked(w);
    bool full = w->waiting >= w->queue_max || (w->threads == 0 && w->threads_max > 0);
    if (!full) {
        job->next = NULL;
        *w->tail = job;
        w->tail = &job->next;
        w->waiting++;
        pthread_cond_signal(&w->work);
    }
    pthread_mutex_unlock(&w->mu);
    return full ? CEREUS_E_FULL : CEREUS_OK;
}

size_t crs_workers_waiting(crs_workers *w, size_t *ret_busy)
{
    pthread_mutex_lock(&w->mu);
    size_t waiting = w->waiting;
    *ret_busy = w->threads - w->idle;
    pthread_mutex_unlock(&w->mu);
    return waiting;
}
