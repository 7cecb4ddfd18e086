/* base/thread.h: threads of ours. Signals are for the thread that waits for the end, or the game's own: none of ours takes them.
 */
#ifndef CRS_BASE_THREAD_H
#define CRS_BASE_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

/** A thread with all signals blocked, to be joined. false: there is none. Thread: any. */
static inline bool crs_thread_start(pthread_t *ret_thread, void *(*fn)(void *user), void *user)
{
    sigset_t all, was;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    bool started = pthread_create(ret_thread, NULL, fn, user) == 0;
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    return started;
}

#endif
