/* app/signals.c: what signals make a running app do, and what the service manager hears of it. Signals are blocked
 * everywhere and read from a descriptor by the thread that waits for the end, so what they cause is ordinary code: it may
 * lock, allocate and log.
 *
 * The same thread is the manager's watchdog. It says that all is well only when every loop has turned since it said so
 * last, so a server whose loop is stuck in a handler is restarted, however many other threads still run. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/app_priv.h"

/* The one list: what is blocked is what is read. */
static sigset_t app_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    return set;
}

void crs_signals_block(void)
{
    sigset_t set = app_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

cereus_status crs_signals_open(cereus_app *app, cereus_error *err)
{
    sigset_t set = app_signals();
    app->signal_fd = signalfd(app->signal_fd, &set, SFD_CLOEXEC);
    if (app->signal_fd < 0)
        return crs_fail(err, CEREUS_E_IO, "signals: %s (more file descriptors needed? see ulimit -n)", strerror(errno));
    crs_notify_close(&app->notify);
    crs_notify_open(&app->notify, &app->log);
    app->had_terminal = isatty(STDIN_FILENO);
    return CEREUS_OK;
}

void crs_signals_close(cereus_app *app)
{
    if (app->signal_fd >= 0)
        close(app->signal_fd);
    app->signal_fd = -1;
    crs_notify_close(&app->notify);
}

/* ---- the service manager ---- */

void crs_notify_ready(cereus_app *app)
{
    char addresses[200] = "";
    for (size_t i = 0, len = 0; i < app->listeners.count && len < sizeof addresses; i++)
        len += (size_t)snprintf(addresses + len, sizeof addresses - len, "%s%s", i ? ", " : " on ",
                                app->listeners.all[i].endpoint.text);
    crs_notify_send(&app->notify, "READY=1\nSTATUS=%s is up%s\n", app->type, addresses);
}

void crs_notify_reloading(cereus_app *app)
{
    crs_notify_send(&app->notify, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reloading\n",
                    (unsigned long long)crs_clock_us(CLOCK_MONOTONIC));
}

static void answer_pulse(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_app_loop *l = CRS_CONTAINER(mail, crs_app_loop, pulse);
    atomic_store_explicit(&l->pulse_away, false, memory_order_release); /* pairs with the acquire in crs_pulse() */
}

bool crs_pulse(cereus_app *app)
{
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        if (atomic_load_explicit(&app->loops[i].pulse_away, memory_order_acquire))
            return false;
    }
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        crs_app_loop *l = &app->loops[i];
        atomic_store_explicit(&l->pulse_away, true, memory_order_relaxed);
        l->pulse.run = answer_pulse;
        crs_loop_post_reserved(l->loop, &l->pulse);
    }
    return true;
}

static void keep_alive(cereus_app *app)
{
    if (crs_pulse(app))
        crs_notify_send(&app->notify, "WATCHDOG=1\nSTATUS=%s is up, %zu sessions\n", app->type,
                        cereus_app_session_count(app));
}

/* ---- signals ---- */

/** SIGHUP: the files have changed. */
static void reload(cereus_app *app)
{
    cereus_error err = {0};
    if (!app->up)
        return; /* the files were read a moment ago, and the manager must not hear that it is up */
    crs_notify_reloading(app);
    if (cereus_app_reload(app, &err) == CEREUS_OK)
        crs_log_info(&app->log, "reloaded");
    else
        crs_log_error(&app->log, "reload failed, all stays as it was", CRS_STR("error", err.msg));
    crs_notify_ready(app);
}

/** Has the terminal that the app was started in gone? Then SIGHUP means what it says. */
static bool hung_up(const cereus_app *app)
{
    return app->had_terminal && tcgetpgrp(STDIN_FILENO) < 0 && errno == EIO;
}

/** Do what a signal asks for. @return true: it asks for the end */
static bool handle(cereus_app *app, const struct signalfd_siginfo *info)
{
    int sig = (int)info->ssi_signo;
    switch (sig) {
    case SIGUSR1:
        cereus_app_dump(app);
        return false;
    case SIGHUP:
        if (!hung_up(app)) {
            reload(app);
            return false;
        }
        break;
    case SIGINT:
    case SIGQUIT:
    case SIGTERM:
        break;
    default:
        return false;
    }
    crs_log_info(&app->log, "stopping", CRS_STR("signal", strsignal(sig)));
    return true;
}

/** How often the manager hears that all is well; 0: it does not want to. A quarter of its patience: a pulse is said one
 * beat after it was felt, and a beat may come late. */
static int64_t beat_of(const cereus_app *app)
{
    return app->notify.watchdog_ms ? CRS_MAX((int64_t)app->notify.watchdog_ms / 4, 1) : 0;
}

/** Feed the manager's watchdog when it is time. @return milliseconds until the next time, INT64_MAX: never */
static int64_t beat(cereus_app *app)
{
    if (!beat_of(app))
        return INT64_MAX;
    int64_t now = crs_app_now_ms(app);
    if (now >= app->beat_ms) {
        keep_alive(app);
        app->beat_ms = now + beat_of(app);
    }
    return app->beat_ms - now;
}

crs_wake crs_signals_poll(cereus_app *app, unsigned wanted, int timeout_ms)
{
    struct pollfd fds[3] = {
        {.fd = wanted & CRS_WAKE_CALL ? app->life_fd : -1, .events = POLLIN},
        {.fd = wanted & CRS_WAKE_SIGNAL ? app->signal_fd : -1, .events = POLLIN},
        {.fd = wanted & CRS_WAKE_SHUTDOWN ? app->shutdown_fd : -1, .events = POLLIN},
    };
    int64_t until = timeout_ms < 0 ? INT64_MAX : crs_app_now_ms(app) + timeout_ms;
    for (;;) {
        int64_t left = CRS_MAX(until - crs_app_now_ms(app), 0);
        int64_t wait = CRS_MIN(left, app->up ? beat(app) : INT64_MAX);
        if (app->manual)
            wait = 0; /* and the loops are turned below */
        int ready = poll(fds, CEREUS_COUNT(fds), wait == INT64_MAX ? -1 : (int)CRS_MIN(wait, (int64_t)INT32_MAX));
        if (ready == 0 && left <= wait && timeout_ms >= 0)
            return CRS_WAKE_TIME;
        if (ready == 0 && app->manual)
            crs_manual_go_on(app);
        if (ready <= 0)
            continue; /* EINTR, or a beat */
        uint64_t count;
        struct signalfd_siginfo info;
        if (fds[0].revents && read(app->life_fd, &count, sizeof count) == (ssize_t)sizeof count)
            return CRS_WAKE_CALL;
        if (fds[1].revents && read(app->signal_fd, &info, sizeof info) == (ssize_t)sizeof info && handle(app, &info)) {
            app->last_signal = (int)info.ssi_signo;
            return CRS_WAKE_SIGNAL;
        }
        if (fds[2].revents)
            return CRS_WAKE_SHUTDOWN;
    }
}

void crs_signals_wait(cereus_app *app, bool with_signals)
{
    if (!with_signals) { /* the process is somebody else's */
        crs_signals_poll(app, CRS_WAKE_SHUTDOWN, -1);
        return;
    }
    crs_signals_block();
    app->up = true;
    crs_notify_ready(app);
    crs_wake wake = crs_signals_poll(app, CRS_WAKE_SHUTDOWN | CRS_WAKE_SIGNAL, -1);
    if (wake == CRS_WAKE_SIGNAL && app->last_signal == SIGTERM && crs_config_bool(app->config, CRS_KEY_DRAIN_ENABLED)) {
        crs_notify_send(&app->notify, "STATUS=draining\n");
        crs_drain(app);
    }
    crs_notify_send(&app->notify, "STOPPING=1\nSTATUS=stopping\n");
    app->up = false;
}
