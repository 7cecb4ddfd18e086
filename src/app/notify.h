/* app/notify.h: tells the service manager how the server is, as sd_notify() does and without its library: datagrams to the
 * socket that NOTIFY_SOCKET names. Without one, as in a terminal, nothing is sent. */
#ifndef CRS_APP_NOTIFY_H
#define CRS_APP_NOTIFY_H

#include <sys/socket.h>
#include <sys/un.h>

#include "base/log.h"

typedef struct crs_notify {
    int fd; /* -1: nobody wants to know */
    struct sockaddr_un to;
    socklen_t to_len;
    uint64_t watchdog_ms; /* say that all is well at least this often; 0: not wanted */
    crs_log *log;
    bool failed; /* and that was logged */
} crs_notify;

/** Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. What is wrong with them is logged and means that nothing is sent.
 */
void crs_notify_open(crs_notify *n, crs_log *log);
/** An all-zero one that was never opened is not to be closed. */
void crs_notify_close(crs_notify *n);
/** Send "NAME=VALUE" lines. May wait, for a manager that is busy, up to 5 s. */
void crs_notify_send(crs_notify *n, const char *fmt, ...) CEREUS_PRINTF(2, 3);

#endif
