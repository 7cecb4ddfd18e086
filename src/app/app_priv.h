/* app/app_priv.h: the inside of an app, for the files beside it. */
#ifndef CRS_APP_APP_PRIV_H
#define CRS_APP_APP_PRIV_H

#include <pthread.h>

#include <cereus/app.h>

#include "app/dump.h"
#include "app/listeners.h"
#include "app/manual.h"
#include "app/notify.h"
#include "app/watchdog.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "dispatch/core.h"
#include "group/group.h"
#include "module/life.h"
#include "module/module.h"
#include "module/timers.h"

typedef enum crs_app_state { CRS_APP_SETUP, CRS_APP_RUNNING, CRS_APP_STOPPED } crs_app_state;

typedef struct crs_app_loop crs_app_loop;

/** The mails of start and stop, in the order in which a stop sends them. A loop that a handler holds may find several of
 * them waiting, so each is its own. */
enum {
    CRS_STEP_REFUSE, /* draining: take nobody any more */
    CRS_STEP_CALM,   /* take nobody any more, let what other servers wait for come to its end */
    CRS_STEP_STOP,   /* take nobody any more, hear nobody any more, cancel what waits */
    CRS_STEP_SETTLE, /* tell when all that was heard has been answered */
    CRS_STEP_CLOSE,  /* close the sessions */
    CRS_STEP_CUT,    /* the time is over */
    CRS_STEP_PASS,   /* a barrier, one at a time; at last the end */
    CRS_STEPS
};

typedef struct crs_app_step {
    crs_mail mail;
    crs_app_loop *loop;
    unsigned passed; /* guarded by app->mu: how often it was done */
} crs_app_step;

/** One loop with its thread. */
struct crs_app_loop {
    cereus_app *app;
    crs_loop *loop;
    crs_dispatch dispatch;
    crs_loop_listeners listeners;
    bool cluster_open; /* it has its part of the cluster */
    bool calming;      /* loop: it tells when nothing is under way to or from other servers */
    bool calm;         /* guarded by app->mu: nothing is */
    bool was_calm;     /* loop: what `calm` was set to */
    pthread_t thread;
    bool thread_started;
    cereus_error error; /* why it cannot listen; read after the step that tried */
    bool settling;      /* loop */
    bool settled;       /* guarded by app->mu: no call of its sessions is in flight */
    bool was_settled;   /* loop: what `settled` was set to */
    bool stopping;      /* loop */
    bool quiet;         /* guarded by app->mu: nothing lives on it any more */
    bool was_quiet;     /* loop: what `quiet` was set to */
    crs_app_step steps[CRS_STEPS];
    crs_timer expire;       /* groups; on the first loop */
    crs_mail pulse;         /* the loop's while pulse_away */
    atomic_bool pulse_away; /* on its way since the last crs_pulse() */
    crs_dump_walk walk;
};

typedef struct crs_app_task { /* spawned before the start */
    struct crs_app_task *next;
    char *service;
    cereus_task_fn *fn;
    void *user;
} crs_app_task;

struct cereus_app {
    char *type;
    char *id;
    bool frontend;
    void *user;
    crs_app_state state; /* written under mu: other threads ask */
    uint32_t loops_up;   /* guarded by mu: loops that other threads may look at */
    cereus_config *config;
    crs_log log;
    cereus_log_fn *log_fn; /* NULL: standard error */
    void *log_user;
    crs_core core;
    crs_groups *groups;
    bool clustered;       /* the game asks for a cluster */
    bool observes;        /* not as one of its servers; set before the start, with engines of ours */
    crs_cluster *cluster; /* NULL: alone, or not running */
    crs_cluster_route *routes;
    crs_cluster_engine *engines;
    struct json_t *metadata; /* of strings; NULL: none */
    crs_modules modules;
    crs_app_timers *timers;
    crs_watchdog *watchdog;
    const crs_manual *manual; /* NULL: threads; else a test turns the loops, set before the start */
    unsigned still_turns;     /* of a manual app: in a row in which nothing happened */
    crs_app_listeners listeners;
    crs_app_loop *loops;
    crs_app_task *tasks; /* guarded by mu */
    cereus_started_fn *on_started;
    void *on_started_user;
    bool had_terminal;  /* it was started from one */
    bool signals_taken; /* by the program, before the start: the ones in signal_fd end a start too */
    bool up;            /* the start is over: a reload may be asked for. Thread: the one that waits for the end */
    int shutdown_fd;    /* eventfd: somebody wants the end */
    int life_fd;        /* eventfd: a step in the life of a module has ended */
    int signal_fd;      /* the signals of signals.c, where they are blocked; -1 before the start */
    int last_signal;    /* the one that CRS_WAKE_SIGNAL was about */
    int64_t beat_ms;    /* of crs_app_now_ms(): when the manager's watchdog is to be fed next */
    crs_notify notify;
    crs_dump *dump;     /* guarded by mu; NULL: nobody asked yet */
    bool dumps_closed;  /* guarded by mu: the loops are about to end */
    int64_t started_ms; /* crs_app_now_ms() */
    pthread_mutex_t mu;
    pthread_cond_t changed; /* something guarded by mu has */
};

/* -- app.c -- */

/** CEREUS_E_STATE when it is too late to change @p what. */
CEREUS_MUST_USE cereus_status crs_app_check_setup(const cereus_app *app, cereus_error *err, const char *what);
/** As cereus_app_spawn(), but CEREUS_E_STATE when the app does not run; @p keep: tasks of a start still to come are kept. */
CEREUS_MUST_USE cereus_status crs_app_spawn(cereus_app *app, const char *service, cereus_task_fn *fn, void *user,
                                            bool keep);

/* -- cluster.c -- */

/** The discovery engine that the settings ask for; "none": it is alone. `auto` is one of this machine for a game that asks for a
 * cluster, unless the settings say where etcd is. */
const char *crs_app_discovery(const cereus_app *app);
/** Make the cluster, if the settings want one: claims the id, connects. Thread: setup; may block. */
CEREUS_MUST_USE cereus_status crs_app_cluster_make(cereus_app *app, cereus_error *err);
/** What was set up for it. */
void crs_app_cluster_fini(cereus_app *app);

/* -- banner.c -- */

/** As many descriptors as the system lets us have, and a warning when those are too few. Thread: setup. */
void crs_raise_descriptor_limit(cereus_app *app);
/** Log what runs here: the server, its services, its listeners. */
void crs_show_banner(cereus_app *app);

/* -- docs.c -- */

/** Before the start: the text of the documentation route, and the rules as the first of all before-functions. A start
 * that failed may have been here. @return CEREUS_OK; CEREUS_E_NOMEM. Thread: setup. */
CEREUS_MUST_USE cereus_status crs_app_prepare_messages(cereus_app *app, cereus_error *err);

/* -- signals.c -- */

/** Keep the signals that an app takes from the calling thread and from those that it starts. */
void crs_signals_block(void);
/** Make app->signal_fd and app->notify. CEREUS_E_IO. Thread: setup. */
CEREUS_MUST_USE cereus_status crs_signals_open(cereus_app *app, cereus_error *err);
void crs_signals_close(cereus_app *app);
/** Handle signals (@p with_signals) until somebody wants the end, and drain if that was SIGTERM and the settings say so.
 * Thread: the one that started the app. */
void crs_signals_wait(cereus_app *app, bool with_signals);
/** Tell the service manager that a reload begins; when it is done, crs_notify_ready(). */
void crs_notify_reloading(cereus_app *app);
void crs_notify_ready(cereus_app *app);
/** Have all loops turned since this was last called? If so, they are asked again. Thread: the one that waits for the
 * end. */
bool crs_pulse(cereus_app *app);

/** What a wait of the thread that starts and stops the app may end with. */
typedef enum crs_wake {
    CRS_WAKE_TIME = 0,
    CRS_WAKE_CALL = 1,     /* app->life_fd was written; it has been read */
    CRS_WAKE_SIGNAL = 2,   /* SIGINT, SIGQUIT, SIGTERM came; it has been read and logged */
    CRS_WAKE_SHUTDOWN = 4, /* cereus_app_shutdown() was called, now or before */
} crs_wake;
/** Wait for one of @p wanted (a set of CRS_WAKE_*), at most @p timeout_ms; -1: for ever. */
crs_wake crs_signals_poll(cereus_app *app, unsigned wanted, int timeout_ms);

/* -- life.c -- */

/** Wait for the end of @p call, which has been posted. Where one of @p end_on comes first, or @p until_ms of
 * crs_app_now_ms(), its waits are cancelled, and it is still waited for. @return true: it was left to end by itself */
bool crs_app_await(cereus_app *app, crs_life_call *call, unsigned end_on, int64_t until_ms);
/** Services, then modules: Init and AfterInit. @return CEREUS_OK; else whose Init failed and why, in one line */
CEREUS_MUST_USE cereus_status crs_life_begin_all(cereus_app *app, cereus_error *err);
/** Be seen by the other servers no more. Thread: the one that stops the app. */
void crs_life_leave(cereus_app *app);
/** Modules, then services, in reverse: BeforeShutdown and Shutdown of who got that far. */
void crs_life_end_all(cereus_app *app);
/** Wait until no sessions remain, as SIGTERM does with pitaya.session.drain.enabled. */
void crs_drain(cereus_app *app);

/* -- run.c -- */

/** Milliseconds of a clock that only goes on: the system's, or a test's. */
int64_t crs_app_now_ms(const cereus_app *app);
/** Close the listeners, also for connections that are just being opened; those that are open stay. */
void crs_app_refuse_players(cereus_app *app);

/* -- manual.c -- */

/** Turn the loops of a manual app once, or let time pass when nothing has happened for a few turns. */
void crs_manual_go_on(cereus_app *app);

#endif
