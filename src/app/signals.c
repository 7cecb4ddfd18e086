/* app/signals.c: what signals make a running app do. They are blocked everywhere and read from a descriptor by the thread
 * that waits for the end, so what they cause is ordinary code: it may lock, allocate and log. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
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
    app->had_terminal = isatty(STDIN_FILENO);
    return CEREUS_OK;
}

/** SIGHUP: the files have changed. */
static void reload(cereus_app *app)
{
    cereus_error err = {0};
    if (cereus_app_reload(app, &err) == CEREUS_OK)
        crs_log_info(&app->log, "reloaded");
    else
        crs_log_error(&app->log, "reload failed, all stays as it was", CRS_STR("error", err.msg));
}

/** Has the terminal that the app was started in gone? Then SIGHUP means what it says. */
static bool hung_up(const cereus_app *app)
{
    return app->had_terminal && tcgetpgrp(STDIN_FILENO) < 0 && errno == EIO;
}

/** Do what @p sig asks for. @return true: it asks for the end */
static bool handle(cereus_app *app, int sig)
{
    switch (sig) {
    case SIGHUP:
        if (!hung_up(app)) {
            reload(app);
            return false;
        }
        /* fall through */
    case SIGINT:
    case SIGQUIT:
    case SIGTERM:
        crs_log_info(&app->log, "stopping", CRS_STR("signal", strsignal(sig)));
        return true;
    default:
        return false;
    }
}

void crs_signals_wait(cereus_app *app, bool with_signals)
{
    if (with_signals)
        crs_signals_block();
    int signal_fd = with_signals ? app->signal_fd : -1;
    struct pollfd fds[2] = {{.fd = app->shutdown_fd, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
    for (bool ended = false; !ended;) {
        if (poll(fds, signal_fd >= 0 ? 2 : 1, -1) < 0)
            continue; /* EINTR */
        struct signalfd_siginfo info;
        if (signal_fd >= 0 && fds[1].revents && read(signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
            ended = handle(app, (int)info.ssi_signo);
        ended = ended || fds[0].revents;
    }
}
