/* app/run.c: starts and stops the parts of a server in order. The one place that knows them all.
 *
 * Start: settings, addresses claimed, loops made, threads up; services and modules; in a cluster, the others see us; timers
 *        and tasks; then listening, so that nobody connects to half a server.
 * Stop:  timers; in a cluster, the others see us no more, and what is under way between us ends; listening and reading end; waits of handlers end with CEREUS_E_CANCELLED; when all that was read is answered
 *        (or at half of cereus.shutdown.timeout) sessions are closed after what is queued, close callbacks run; when
 *        nothing lives on any loop (or at the whole of it), modules and services are shut down; a barrier makes sure
 *        that no mail is under way, and the threads end.
 */
#include <errno.h>
#include <unistd.h>

#include "app/app_priv.h"
#include "base/thread.h"
#include "transport/tls.h"

enum { OFFLOAD_QUEUE_MAX = 65536 };

/* ---- loops ---- */

/** Tell the thread that stops the app how it is now, if it was otherwise before. */
static void tell(crs_app_loop *l, bool now, bool *was, bool *told)
{
    if (now == *was)
        return;
    *was = now;
    pthread_mutex_lock(&l->app->mu);
    *told = now;
    pthread_cond_broadcast(&l->app->changed);
    pthread_mutex_unlock(&l->app->mu);
}

static bool watch_quiet(void *user)
{
    crs_app_loop *l = user;
    const crs_dispatch *d = &l->dispatch;
    crs_fibers_end_turn(d->fibers);
    bool busy = l->app->cluster && crs_cluster_busy(l->app->cluster, d);
    if (l->calming)
        tell(l, !busy && !(l->app->cluster && crs_cluster_expects(l->app->cluster, d)), &l->was_calm, &l->calm);
    if (l->settling)
        tell(l, d->in_flight == 0, &l->was_settled, &l->settled);
    if (l->stopping)
        tell(l,
             crs_fibers_alive(d->fibers) == 0 && crs_transport_count(d->transport) == 0 && !d->waiting &&
                 d->closing == 0 && !busy,
             &l->was_quiet, &l->quiet);
    return false;
}

static void on_expire(crs_timer *timer)
{
    crs_app_loop *l = CRS_CONTAINER(timer, crs_app_loop, expire);
    crs_groups_expire(l->app->groups, l->loop->now_ms);
    cereus_status st =
        crs_loop_timer_start(l->loop, timer, (uint64_t)crs_config_ms(l->app->config, CRS_KEY_GROUPS_TICK));
    CRS_UNUSED(st); /* it keeps the place that it had */
}

static crs_frontend_options frontend_options(cereus_app *app, crs_dispatch *d)
{
    const cereus_config *cfg = app->config;
    return (crs_frontend_options){
        .heartbeat_ms = (uint64_t)crs_config_ms(cfg, CRS_KEY_HEARTBEAT_INTERVAL),
        .bind_timeout_ms = (uint64_t)crs_config_ms(cfg, CRS_KEY_BIND_TIMEOUT),
        .handshake_timeout_ms = (uint64_t)crs_config_ms(cfg, CRS_KEY_HANDSHAKE_TIMEOUT),
        .write_timeout_ms = (uint64_t)crs_config_ms(cfg, CRS_KEY_WRITE_TIMEOUT),
        .outbox_max = crs_config_size(cfg, CRS_KEY_OUTBOX_BYTES),
        .outbox_drop = crs_config_choice(cfg, CRS_KEY_OUTBOX_POLICY) == 1,
        .inflate_max = crs_config_size(cfg, CRS_KEY_INFLATE_MAX),
        .compress = crs_config_bool(cfg, CRS_KEY_COMPRESSION),
        .compress_level = (int)crs_config_int(cfg, CRS_KEY_COMPRESSION_LEVEL),
        .compress_min = crs_config_size(cfg, CRS_KEY_COMPRESSION_MIN),
        .sessions_max = (uint32_t)crs_config_int(cfg, CRS_KEY_SESSIONS_MAX),
        .serializer = app->core.serializer->name,
        .dict = app->core.dict,
        .uids = app->core.uids,
        .ops = &crs_dispatch_agent_ops,
        .user = d,
    };
}

static void open_connection(crs_conn *conn, void *user)
{
    crs_frontend_on_open(conn, ((crs_dispatch *)user)->frontend);
}

static void free_loop(crs_app_loop *l)
{
    if (!l->loop)
        return;
    crs_loop_enter(l->loop);
    if (l->cluster_open)
        crs_cluster_close(l->app->cluster, &l->dispatch);
    crs_etcd_groups_close(crs_groups_etcd(l->app->groups), l->loop->index);
    crs_frontend_free(l->dispatch.frontend);
    crs_transport_free(l->dispatch.transport);
    crs_dispatch_fini(&l->dispatch);
    crs_fibers_free(l->dispatch.fibers);
    l->loop = crs_loop_free(l->loop);
    crs_loop_enter(NULL);
}

static cereus_status make_loop(cereus_app *app, uint32_t index, cereus_error *err)
{
    const cereus_config *cfg = app->config;
    crs_app_loop *l = &app->loops[index];
    crs_dispatch *d = &l->dispatch;
    l->app = app;
    crs_loop_options loop_opt = {
        .index = index, .mailbox_capacity = (size_t)crs_config_int(cfg, CRS_KEY_MAILBOX_CAPACITY), .log = &app->log};
    if (app->manual) {
        loop_opt.clock = app->manual->clock;
        loop_opt.clock_user = app->manual->user;
        loop_opt.seed = app->manual->seed ? app->manual->seed + index : 0;
    }
    CEREUS_TRY(crs_loop_new(&loop_opt, &l->loop, err));
    crs_loop_enter(l->loop);
    if (index == 0)
        app->core.key_seed = crs_loop_random(l->loop, UINT64_MAX);
    crs_fibers_options fiber_opt = {.max = (size_t)crs_config_int(cfg, CRS_KEY_FIBERS_MAX),
                                    .reserve = (size_t)crs_config_int(cfg, CRS_KEY_FIBERS_MAX),
                                    .stack_len = crs_config_size(cfg, CRS_KEY_FIBERS_STACK),
                                    .arena_max = crs_config_size(cfg, CRS_KEY_REQUEST_MEMORY)};
    crs_transport_options transport_opt = {
        .packet_max = crs_config_size(cfg, CRS_KEY_PACKET_MAX),
        .opening_timeout_ms = (uint64_t)crs_config_ms(cfg, CRS_KEY_HANDSHAKE_TIMEOUT),
        .flush_timeout_ms = (uint64_t)crs_config_ms(cfg, CRS_KEY_WRITE_TIMEOUT),
        .on_open = open_connection,
        .on_open_user = d,
        .proxy = crs_config_bool(cfg, CRS_KEY_PROXY_PROTOCOL),
        .filter = crs_wrappers_filter(&app->listeners.wrappers),
    };
    /* the hooks of a turn's end, in this order: fibers that are ready, calls that waited for one, then the output */
    crs_fibers *fibers = NULL;
    cereus_status st = crs_fibers_new(l->loop, &fiber_opt, &fibers, err);
    if (!st) {
        crs_dispatch_init(d, &app->core, l->loop, fibers);
        if (crs_dispatch_keep_stats(d))
            st = crs_fail(err, CEREUS_E_NOMEM, "out of memory");
    }
    if (!st) {
        st = crs_transport_new(l->loop, &transport_opt, &d->transport, err);
    }
    if (!st && app->listeners.tls && crs_transport_set_tls(d->transport, crs_tls_ref(app->listeners.tls)))
        st = crs_fail(err, CEREUS_E_NOMEM, "tls: out of memory");
    if (!st) {
        crs_frontend_options fe_opt = frontend_options(app, d);
        st = crs_frontend_new(l->loop, &fe_opt, &d->frontend, err);
    }
    app->core.loops[index] = d;
    if (!st && app->cluster) {
        st = crs_cluster_open(app->cluster, d, err);
        l->cluster_open = !st;
    }
    crs_loop_add_hook(l->loop, watch_quiet, l);
    crs_timer_init(&l->expire, on_expire);
    if (!st && index == 0)
        st = crs_loop_timer_start(l->loop, &l->expire, (uint64_t)crs_config_ms(cfg, CRS_KEY_GROUPS_TICK));
    crs_loop_enter(NULL);
    return st;
}

static void *loop_main(void *arg)
{
    crs_app_loop *l = arg;
    cereus_app *app = l->app;
    crs_loop_enter(l->loop);
    crs_fibers_catch_overflow();
    crs_fibers_watch_overflow(l->dispatch.fibers);
    crs_watchdog_add(app->watchdog, l->dispatch.fibers);
    crs_loop_run(l->loop);
    crs_watchdog_remove(app->watchdog, l->dispatch.fibers);
    crs_loop_enter(NULL);
    return NULL;
}

/* ---- steps: mail from the thread that starts and stops ---- */

/** The last thing in a step that somebody waits for. */
static void step_done(crs_mail *mail)
{
    crs_app_step *step = CRS_CONTAINER(mail, crs_app_step, mail);
    cereus_app *app = step->loop->app;
    pthread_mutex_lock(&app->mu);
    step->passed++;
    pthread_cond_broadcast(&app->changed);
    pthread_mutex_unlock(&app->mu);
}

static crs_app_loop *loop_of_step(crs_mail *mail)
{
    return CRS_CONTAINER(mail, crs_app_step, mail)->loop;
}

static void step_barrier(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    step_done(mail);
}

static void send_step(cereus_app *app, unsigned which, crs_mail_fn *run)
{
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        if (!app->loops[i].thread_started)
            continue;
        crs_app_step *step = &app->loops[i].steps[which];
        step->loop = &app->loops[i];
        step->mail.run = run;
        crs_loop_post_reserved(app->loops[i].loop, &step->mail);
    }
}

int64_t crs_app_now_ms(const cereus_app *app)
{
    if (app->manual)
        return app->manual->clock(CLOCK_MONOTONIC, app->manual->user);
    return (int64_t)crs_clock_ms(CLOCK_MONOTONIC);
}

static struct timespec time_in(const cereus_app *app, int64_t ms)
{
    int64_t now_ms = crs_app_now_ms(app);
    struct timespec t = {.tv_sec = now_ms / 1000, .tv_nsec = now_ms % 1000 * 1000000};
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

/** Let the loops go on until something guarded by mu may have changed; false: @p until (NULL: none) has passed first. */
static bool wait_changed_locked(cereus_app *app, const struct timespec *until)
{
    if (app->manual) {
        pthread_mutex_unlock(&app->mu);
        crs_manual_go_on(app);
        pthread_mutex_lock(&app->mu);
        return !until || crs_app_now_ms(app) < until->tv_sec * 1000 + until->tv_nsec / 1000000;
    }
    if (until)
        return pthread_cond_timedwait(&app->changed, &app->mu, until) != ETIMEDOUT;
    pthread_cond_wait(&app->changed, &app->mu);
    return true;
}

/** Have @p run, which ends with step_done(), done on all loops and wait for that. @p until NULL: for ever.
 * @return false: not done everywhere by then; this step must not be sent again */
static bool pass_step(cereus_app *app, unsigned which, crs_mail_fn *run, const struct timespec *until)
{
    unsigned want[CRS_LOOPS_MAX];
    pthread_mutex_lock(&app->mu);
    for (uint32_t i = 0; i < app->core.loop_count; i++)
        want[i] = app->loops[i].steps[which].passed + 1;
    pthread_mutex_unlock(&app->mu);
    send_step(app, which, run);
    bool late = false;
    pthread_mutex_lock(&app->mu);
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        while (!late && app->loops[i].thread_started && app->loops[i].steps[which].passed != want[i])
            late = !wait_changed_locked(app, until);
    }
    pthread_mutex_unlock(&app->mu);
    return !late;
}

/** All mail posted before now has been handled when this returns. */
static void pass_barrier(cereus_app *app)
{
    pass_step(app, CRS_STEP_PASS, step_barrier, NULL);
}

/* ---- start ---- */

static cereus_status start_threads(cereus_app *app, cereus_error *err)
{
    if (app->manual) {
        for (uint32_t i = 0; i < app->core.loop_count; i++)
            app->loops[i].thread_started = true; /* the test's own: see manual.h */
        return CEREUS_OK;
    }
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        if (!crs_thread_start(&app->loops[i].thread, loop_main, &app->loops[i]))
            return crs_fail(err, CEREUS_E_IO, "cannot start a thread: lower cereus.loops");
        app->loops[i].thread_started = true;
    }
    return CEREUS_OK;
}

static void stop_loops(cereus_app *app);

/** Other threads may look at @p loops_up loops from now on. */
static void set_state(cereus_app *app, crs_app_state state, uint32_t loops_up)
{
    pthread_mutex_lock(&app->mu);
    app->state = state;
    app->loops_up = loops_up;
    pthread_mutex_unlock(&app->mu);
}

static void free_running_parts(cereus_app *app)
{
    set_state(app, app->state, 0);
    crs_dump_free(app);
    app->core.workers = crs_workers_free(app->core.workers);
    app->watchdog = crs_watchdog_free(app->watchdog);
    for (uint32_t i = 0; app->loops && i < app->core.loop_count; i++)
        free_loop(&app->loops[i]);
    crs_free(app->loops);
    app->loops = NULL;
    app->core.loop_count = 0;
    app->cluster = crs_cluster_free(app->cluster);
    crs_etcd_groups_free(crs_groups_etcd(app->groups));
    crs_groups_use_etcd(app->groups, NULL);
    crs_listeners_release(app);
}

static cereus_status apply_settings(cereus_app *app, cereus_error *err)
{
    const cereus_config *cfg = app->config;
    crs_core *core = &app->core;
    cereus_log_level level = CEREUS_LOG_INFO;
    cereus_status known = cereus_log_level_parse(crs_config_text(cfg, CRS_KEY_LOG_LEVEL), &level);
    CRS_ASSERT(known == CEREUS_OK); /* the settings have checked it */
    crs_log_init(&app->log, &(crs_log_options){.level = level,
                                               .format = (crs_log_format)crs_config_choice(cfg, CRS_KEY_LOG_FORMAT),
                                               .fn = app->log_fn,
                                               .fn_user = app->log_user,
                                               .clock = app->manual ? app->manual->clock : NULL,
                                               .clock_user = app->manual ? app->manual->user : NULL});
    for (size_t i = 0; i < crs_config_warning_count(cfg); i++)
        crs_log_warn(&app->log, "configuration", CRS_STR("warning", crs_config_warning(cfg, i)));
    if (!core->serializer) {
        bool camel = crs_config_choice(cfg, CRS_KEY_JSON_NAMES) == 1;
        core->serializer = crs_config_int(cfg, CRS_KEY_SERIALIZER) == 2 ? &crs_serializer_protobuf
                           : camel                                      ? &crs_serializer_json_camel
                                                                        : &crs_serializer_json;
    }
    size_t timers_max = (size_t)crs_config_int(cfg, CRS_KEY_TIMERS_MAX);
    crs_app_timers_set_max(app->timers, timers_max);
    if (crs_app_timers_count(app->timers) > timers_max)
        return crs_fail(err, CEREUS_E_FULL,
                        "cereus.timers.max: the game makes %zu timers before the start, %zu are allowed",
                        crs_app_timers_count(app->timers), timers_max);
    core->inbox_messages = (size_t)crs_config_int(cfg, CRS_KEY_INBOX_MESSAGES);
    core->inbox_bytes = crs_config_size(cfg, CRS_KEY_INBOX_BYTES);
    core->all_concurrent = crs_config_choice(cfg, CRS_KEY_SESSION_ORDERING) == 1;
    long cores = app->manual ? 1 : sysconf(_SC_NPROCESSORS_ONLN);
    int64_t loops = crs_config_int(cfg, CRS_KEY_LOOPS);
    core->loop_count = (uint32_t)CRS_MIN(loops ? loops : CRS_MAX(cores, 1L), (int64_t)CRS_LOOPS_MAX);
    for (crs_service *s = core->registry.services; s; s = s->next)
        s->home_loop %= core->loop_count;
    for (crs_service *s = core->remotes.services; s; s = s->next)
        s->home_loop %= core->loop_count;
    app->loops = crs_zalloc(core->loop_count * sizeof *app->loops);
    return app->loops ? CEREUS_OK : crs_fail(err, CEREUS_E_NOMEM, "out of memory");
}

static cereus_status start_parts(cereus_app *app, cereus_error *err)
{
    const cereus_config *cfg = app->config;
    size_t workers = app->manual ? 0 : (size_t)crs_config_int(cfg, CRS_KEY_OFFLOAD_THREADS);
    CEREUS_TRY(crs_workers_new(workers, OFFLOAD_QUEUE_MAX, &app->core.workers, err));
    for (uint32_t i = 0; i < app->core.loop_count; i++)
        CEREUS_TRY(make_loop(app, i, err));
    int64_t threshold = crs_config_ms(cfg, CRS_KEY_WATCHDOG_THRESHOLD);
    if (threshold > 0 && !app->manual)
        CEREUS_TRY(crs_watchdog_new(&app->log, (uint64_t)threshold, &app->watchdog, err));
    return CEREUS_OK;
}

/** What the game wants done first: each task has run, to its first wait, when this returns. */
static void start_tasks(cereus_app *app)
{
    pthread_mutex_lock(&app->mu);
    crs_app_task *tasks = app->tasks;
    app->tasks = NULL;
    pthread_mutex_unlock(&app->mu);
    while (tasks) {
        crs_app_task *t = tasks;
        tasks = t->next;
        if (cereus_app_spawn(app, t->service, t->fn, t->user) != CEREUS_OK)
            crs_log_error(&app->log, "a task could not be started", CRS_STR("service", t->service));
        crs_free(t->service);
        crs_free(t);
    }
    pass_barrier(app);
}

static void step_listen(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_app_loop *l = loop_of_step(mail);
    l->error.status = crs_listeners_open(l, &l->error);
    step_done(mail);
}

/** Last of all: whoever connects finds a whole server. */
static cereus_status listen_everywhere(cereus_app *app, cereus_error *err)
{
    pass_step(app, CRS_STEP_PASS, step_listen, NULL);
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        if (app->loops[i].error.status) {
            if (err)
                *err = app->loops[i].error;
            return app->loops[i].error.status;
        }
    }
    return CEREUS_OK;
}

cereus_status cereus_app_start(cereus_app *app, cereus_error *err)
{
    CEREUS_TRY(crs_app_check_setup(app, err, "anything, and it cannot be started again"));
    cereus_status st = crs_registry_check(&app->core.registry, err);
    if (!st)
        st = apply_settings(app, err);
    if (!st && !app->manual) /* no player takes a descriptor there */
        crs_raise_descriptor_limit(app);
    if (!st)
        st = crs_signals_open(app, err); /* now: players may take all other descriptors before the wait */
    if (!st)
        st = crs_listeners_claim(app, err);
    if (!st)
        st = crs_app_cluster_make(app, err);
    if (!st)
        st = crs_app_prepare_messages(app, err); /* after the cluster, whose remotes are documented too */
    if (!st && crs_config_choice(app->config, CRS_KEY_GROUPS) == 1) {
        crs_groups_use_etcd(app->groups, crs_etcd_groups_new(app->config));
        if (!crs_groups_etcd(app->groups))
            st = crs_fail(err, CEREUS_E_NOMEM, "groups: out of memory");
    }
    if (!st)
        st = start_parts(app, err);
    if (!st) {
        st = start_threads(app, err);
        set_state(app, CRS_APP_RUNNING, app->core.loop_count); /* before any code of the game runs on a loop */
        if (!st)
            st = crs_life_begin_all(app, err);
        if (!st) {
            crs_app_timers_start(app->timers, (uint64_t)crs_config_ms(app->config, CRS_KEY_TIMERS_TICK));
            start_tasks(app);
            st = listen_everywhere(app, err);
        }
        if (st) {
            set_state(app, CRS_APP_STOPPED, app->core.loop_count);
            stop_loops(app);
        }
    }
    crs_listeners_drop_claims(app);
    if (st) {
        free_running_parts(app);
        return st;
    }
    crs_show_banner(app);
    crs_log_info(&app->log, "all modules started!"); /* the words that scripts wait for */
    if (app->on_started)
        app->on_started(app, app->on_started_user);
    return CEREUS_OK;
}

/* ---- stop ---- */

void cereus_app_shutdown(cereus_app *app)
{
    uint64_t one = 1;
    if (write(app->shutdown_fd, &one, sizeof one) < 0) {
        /* the counter is full: it was asked for before */
    }
}

static void stop_taking(crs_app_loop *l)
{
    crs_listeners_close(l);
    crs_transport_abort_opening(l->dispatch.transport); /* else one of them would open when nobody closes it any more */
}

static void step_refuse(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    stop_taking(loop_of_step(mail));
}

void crs_app_refuse_players(cereus_app *app)
{
    send_step(app, CRS_STEP_REFUSE, step_refuse);
}

static void step_stop_taking(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_app_loop *l = loop_of_step(mail);
    stop_taking(l);
    crs_frontend_stop_reading(l->dispatch.frontend);
    crs_fibers_cancel_all(l->dispatch.fibers);
    step_done(mail);
}

static void step_settle(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    loop_of_step(mail)->settling = true;
}

/** For the last words of modules and services, which may wait. */
static void step_cancel_none(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_fibers_cancel_none(loop_of_step(mail)->dispatch.fibers);
    step_done(mail);
}

static void step_cancel_all(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_fibers_cancel_all(loop_of_step(mail)->dispatch.fibers);
    step_done(mail);
}

/** Other servers have had their time. */
static void stop_waiting(crs_app_loop *l)
{
    if (l->app->cluster)
        crs_cluster_cancel(l->app->cluster, &l->dispatch);
}

static void step_close_sessions(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_app_loop *l = loop_of_step(mail);
    if (l->app->cluster) /* who has not seen us leave: nothing of theirs runs beside the last words of services */
        crs_cluster_refuse(l->app->cluster, &l->dispatch);
    stop_waiting(l);
    crs_frontend_close_all(l->dispatch.frontend, CRS_CLOSE_SHUTDOWN);
    l->stopping = true; /* from now on it tells when it is quiet */
}

static void cut(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_app_loop *l = loop_of_step(mail);
    stop_waiting(l); /* calls of close callbacks */
    crs_transport_abort_unowned(l->dispatch.transport);
}

/** A turn later: on a machine that stood still for longer than all of it may take, what is ready goes out all the same. */
static void step_cut(crs_loop *loop, crs_mail *mail)
{
    mail->run = cut;
    crs_loop_post_reserved(loop, mail);
}

static void step_end(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(mail);
    crs_loop_stop(loop);
}

typedef bool loop_is_fn(const crs_app_loop *l);

static bool is_settled(const crs_app_loop *l)
{
    return l->settled;
}

static bool is_quiet(const crs_app_loop *l)
{
    return l->quiet;
}

static bool all_loops_locked(const cereus_app *app, loop_is_fn *is)
{
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        if (app->loops[i].thread_started && !is(&app->loops[i]))
            return false;
    }
    return true;
}

/** Wait until all loops are so; false: not by then. */
static bool wait_all(cereus_app *app, loop_is_fn *is, struct timespec until)
{
    pthread_mutex_lock(&app->mu);
    while (!all_loops_locked(app, is)) {
        if (!wait_changed_locked(app, &until))
            break;
    }
    bool all = all_loops_locked(app, is);
    pthread_mutex_unlock(&app->mu);
    return all;
}

static bool wait_quiet(cereus_app *app, struct timespec until)
{
    return wait_all(app, is_quiet, until);
}

static void settle(cereus_app *app)
{
    do { /* a handler that computes for ever holds the process here, and the watchdog names it */
        while (!wait_quiet(app, time_in(app, 60 * 1000)))
            crs_log_warn(&app->log, "still waiting for handlers to end");
        pass_barrier(app);
        pass_barrier(app); /* what the first round's mail posted */
    } while (!wait_quiet(app, time_in(app, 0)));
}

static void step_calm(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_app_loop *l = loop_of_step(mail);
    stop_taking(l);
    l->dispatch.leaving = true;
    l->calming = true; /* the end of this turn looks */
}

static bool is_calm(const crs_app_loop *l)
{
    return l->calm;
}

/** Leave the cluster, then let what is under way between us and the others come to its end: until they have all hung up,
 * one of them may have sent something before it saw that we leave. */
static void leave_cluster(cereus_app *app, struct timespec until)
{
    crs_life_leave(app);
    send_step(app, CRS_STEP_CALM, step_calm);
    wait_all(app, is_calm, until);
}

static void stop_loops(cereus_app *app)
{
    int64_t timeout = crs_config_ms(app->config, CRS_KEY_SHUTDOWN_TIMEOUT);
    struct timespec until = time_in(app, timeout), half_until = time_in(app, timeout / 2);
    crs_app_timers_stop(app->timers);
    if (app->cluster)
        leave_cluster(app, half_until);
    bool late = !pass_step(app, CRS_STEP_STOP, step_stop_taking, &until);
    if (!late) { /* what was heard is answered first; the other half of the time is for the answers to go out */
        send_step(app, CRS_STEP_SETTLE, step_settle);
        wait_all(app, is_settled, half_until);
    }
    send_step(app, CRS_STEP_CLOSE, step_close_sessions);
    if (late || !wait_quiet(app, until)) {
        crs_log_warn(&app->log, "stopping took longer than cereus.shutdown.timeout: connections are cut");
        send_step(app, CRS_STEP_CUT, step_cut);
    }
    settle(app);
    pass_step(app, CRS_STEP_PASS, step_cancel_none, NULL);
    crs_life_end_all(app);
    pass_step(app, CRS_STEP_PASS, step_cancel_all, NULL); /* what those left behind */
    settle(app);
    crs_dump_close(app);
    pass_barrier(app);
    if (app->manual)
        return;
    send_step(app, CRS_STEP_PASS, step_end);
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        if (app->loops[i].thread_started)
            pthread_join(app->loops[i].thread, NULL);
    }
}

void cereus_app_wait(cereus_app *app, bool with_signals)
{
    if (app->state != CRS_APP_RUNNING)
        return;
    crs_signals_wait(app, with_signals);
    set_state(app, CRS_APP_STOPPED, app->core.loop_count); /* no more tasks */
    stop_loops(app);
    free_running_parts(app);
}
