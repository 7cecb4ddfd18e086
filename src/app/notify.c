/* app/notify.c: one socket, and numbers from the environment. */
#include "app/notify.h"

#include <errno.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

/* "/run/x", or "@x" in the namespace that is no file system. */
static bool read_address(crs_notify *n, const char *text)
{
    size_t len = strlen(text);
    if ((text[0] != '/' && text[0] != '@') || len < 2 || len >= sizeof n->to.sun_path)
        return false;
    n->to.sun_family = AF_UNIX;
    memcpy(n->to.sun_path, text, len + 1);
    n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (text[0] == '/'));
    if (text[0] == '@')
        n->to.sun_path[0] = '\0';
    return true;
}

/* 0: not set, or not a number above 0. */
static uint64_t read_number(const char *name)
{
    const char *text = getenv(name);
    char *end;
    errno = 0;
    unsigned long long number = text ? strtoull(text, &end, 10) : 0;
    return text && *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 ? number : 0;
}

void crs_notify_open(crs_notify *n, crs_log *log)
{
    const char *text = getenv("NOTIFY_SOCKET");
    *n = (crs_notify){.fd = -1, .log = log};
    if (!text || !*text)
        return;
    if (!read_address(n, text)) {
        crs_log_warn(log, "the service manager is not told: NOTIFY_SOCKET is neither /PATH nor @NAME",
                     CRS_STR("value", text));
        return;
    }
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (n->fd < 0) {
        crs_log_warn(log, "the service manager is not told: no socket", CRS_STR("error", strerror(errno)));
        return;
    }
    struct timeval limit = {.tv_sec = 5};
    setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    uint64_t pid = read_number("WATCHDOG_PID"); /* a child of the service's process is not the one that is watched */
    if (pid == 0 || pid == (uint64_t)getpid())
        n->watchdog_ms = read_number("WATCHDOG_USEC") / 1000;
}

void crs_notify_close(crs_notify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

void crs_notify_send(crs_notify *n, const char *fmt, ...)
{
    char text[1024];
    if (n->fd < 0)
        return;
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t send = CRS_MIN((size_t)CRS_MAX(len, 0), sizeof text - 1);
    if (sendto(n->fd, text, send, MSG_NOSIGNAL, (struct sockaddr *)&n->to, n->to_len) >= 0 || n->failed)
        return;
    n->failed = true;
    crs_log_warn(n->log, "the service manager does not hear us (NOTIFY_SOCKET)", CRS_STR("error", strerror(errno)));
}
