/* app/watchdog.c: sampling, and a signal that makes a stuck thread write down its own stack. */
#include "app/watchdog.h"

#include <errno.h>
#include <execinfo.h>
#include <stdio.h>
#include <semaphore.h>
#include <signal.h>

#include "base/clock.h"

enum { WATCHED_MAX = 64, FRAMES_MAX = 24, FRAMES_SHOWN = 8, STACK_SIGNAL = SIGURG };

typedef struct watched {
    crs_fibers *fibers; /* NULL: free */
    crs_fibers_activity *activity;
    pthread_t thread;
    uint64_t resumes;  /* as last seen */
    uint64_t since_ms; /* when that was first seen */
    bool told;
} watched;

struct crs_watchdog {
    crs_log *log;
    uint64_t threshold_ms;
    pthread_t thread;
    pthread_mutex_t mu;
    pthread_cond_t wake;
    bool ending;               /* guarded by mu */
    watched list[WATCHED_MAX]; /* guarded by mu */
};

/* What the signal handler fills in. One at a time: taken by whoever asks. */
static struct {
    pthread_mutex_t asking;
    /* The thread that shall answer; 0: none. Taken by its handler, or back by an asker who waits no longer. */
    atomic_ulong asked;
    sem_t done;
    void *frames[FRAMES_MAX];
    int count;
} capture = {.asking = PTHREAD_MUTEX_INITIALIZER};
static pthread_once_t capture_once = PTHREAD_ONCE_INIT;

static void on_stack_signal(int sig)
{
    CRS_UNUSED(sig);
    unsigned long self = (unsigned long)pthread_self();
    if (!atomic_compare_exchange_strong(&capture.asked, &self, 0))
        return; /* too late: another may be answering by now */
    int error = errno;
    capture.count = backtrace(capture.frames, FRAMES_MAX);
    sem_post(&capture.done);
    errno = error;
}

static void prepare_capture(void)
{
    sem_init(&capture.done, 0, 0);
    struct sigaction sa = {.sa_handler = on_stack_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigaction(STACK_SIGNAL, &sa, NULL);
}

static void describe_stack(pthread_t thread, char *out, size_t cap)
{
    out[0] = '\0';
    pthread_mutex_lock(&capture.asking);
    void *frame;
    backtrace(&frame, 1); /* loads what it needs here: a signal handler must not */
    unsigned long asked = (unsigned long)thread;
    atomic_store(&capture.asked, asked);
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 1;
    bool answered = pthread_kill(thread, STACK_SIGNAL) == 0 && sem_timedwait(&capture.done, &limit) == 0;
    if (!answered && !atomic_compare_exchange_strong(&capture.asked, &asked, 0)) { /* it has just begun */
        while (sem_wait(&capture.done) != 0) {
        }
        answered = true;
    }
    if (answered) {
        char **names = backtrace_symbols(capture.frames, capture.count);
        size_t at = 0;
        for (int i = 2; names && i < capture.count && i < 2 + FRAMES_SHOWN && at < cap; i++) { /* skip the handler */
            const char *name = strrchr(names[i], '/') ? strrchr(names[i], '/') + 1 : names[i];
            int n = snprintf(out + at, cap - at, "%s%s", i > 2 ? " < " : "", name);
            at += n > 0 ? (size_t)n : 0;
        }
        free(names);
    }
    pthread_mutex_unlock(&capture.asking);
}

static void look_at(crs_watchdog *w, watched *l, uint64_t now_ms)
{
    const char *name = atomic_load_explicit(&l->activity->name, memory_order_relaxed);
    uint64_t resumes = atomic_load_explicit(&l->activity->resumes, memory_order_relaxed);
    if (!name || resumes != l->resumes) {
        l->resumes = resumes;
        l->since_ms = now_ms;
        l->told = false;
        return;
    }
    if (l->told || now_ms - l->since_ms < w->threshold_ms)
        return;
    l->told = true;
    atomic_store_explicit(&l->activity->flagged, resumes, memory_order_relaxed);
    char stack[700];
    describe_stack(l->thread, stack, sizeof stack);
    /* a route is constant while the app lives; the session's number finds the player */
    crs_log_warn(w->log, "a handler holds its loop: move long work to cereus_offload()", CRS_STR("route", name),
                 CRS_UINT("session", atomic_load_explicit(&l->activity->tag, memory_order_relaxed)),
                 CRS_DUR_MS("held", (int64_t)(now_ms - l->since_ms)), CRS_STR("stack", stack));
}

static void *watchdog_main(void *arg)
{
    crs_watchdog *w = arg;
    uint64_t period_ms = CRS_MIN(CRS_MAX(w->threshold_ms / 4, (uint64_t)5), (uint64_t)250);
    pthread_mutex_lock(&w->mu);
    while (!w->ending) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        uint64_t ns = (uint64_t)until.tv_nsec + period_ms % 1000 * 1000000;
        until.tv_sec += (time_t)(period_ms / 1000 + ns / 1000000000);
        until.tv_nsec = (long)(ns % 1000000000);
        pthread_cond_timedwait(&w->wake, &w->mu, &until);
        uint64_t now_ms = crs_clock_ms(CLOCK_MONOTONIC);
        for (size_t i = 0; i < WATCHED_MAX && !w->ending; i++) {
            if (w->list[i].fibers)
                look_at(w, &w->list[i], now_ms);
        }
    }
    pthread_mutex_unlock(&w->mu);
    return NULL;
}

cereus_status crs_watchdog_new(crs_log *log, uint64_t threshold_ms, crs_watchdog **ret_watchdog, cereus_error *err)
{
    crs_watchdog *w = crs_zalloc(sizeof *w);
    if (!w)
        return crs_fail(err, CEREUS_E_NOMEM, "watchdog: out of memory");
    pthread_once(&capture_once, prepare_capture);
    w->log = log;
    w->threshold_ms = threshold_ms;
    pthread_mutex_init(&w->mu, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&w->thread, NULL, watchdog_main, w) != 0) {
        crs_free(w);
        return crs_fail(err, CEREUS_E_IO, "watchdog: cannot start a thread");
    }
    *ret_watchdog = w;
    return CEREUS_OK;
}

void crs_watchdog_add(crs_watchdog *w, crs_fibers *fibers)
{
    if (!w)
        return;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, STACK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    pthread_mutex_lock(&w->mu);
    for (size_t i = 0; i < WATCHED_MAX; i++) {
        if (!w->list[i].fibers) {
            w->list[i] = (watched){.fibers = fibers, .activity = crs_fibers_watch(fibers), .thread = pthread_self()};
            break;
        }
    }
    pthread_mutex_unlock(&w->mu);
}

void crs_watchdog_remove(crs_watchdog *w, crs_fibers *fibers)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mu);
    for (size_t i = 0; i < WATCHED_MAX; i++) {
        if (w->list[i].fibers == fibers)
            w->list[i].fibers = NULL;
    }
    pthread_mutex_unlock(&w->mu);
}

crs_watchdog *crs_watchdog_free(crs_watchdog *w)
{
    if (!w)
        return NULL;
    pthread_mutex_lock(&w->mu);
    w->ending = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mu);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mu);
    crs_free(w);
    return NULL;
}
