/* examples/acceptor: players on the same machine connect through a Unix socket, unix:///run/game.sock. An acceptor claims
 * what a URL names, watches for connections on every loop, and hands them over; Cereus does the rest.
 *
 *     acceptor --listen unix:///tmp/game.sock [settings, see --help]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cereus/acceptor.h>
#include <cereus/cereus.h>

enum { LOOPS_MAX = 64 };

typedef struct unix_listener {
    int fd;
    struct sockaddr_un addr;
    cereus_watch *watches[LOOPS_MAX]; /* one for each loop, each touched on its own */
} unix_listener;

/** Once, before the loops run: errors here end the start. */
static cereus_status unix_open(const char *url, void *user, void **ret_state, cereus_error *err)
{
    (void)user;
    const char *path = url + strlen("unix://");
    unix_listener *l = calloc(1, sizeof *l);
    if (!l)
        return CEREUS_E_NOMEM;
    l->addr.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof l->addr.sun_path) {
        snprintf(err->msg, sizeof err->msg, "the path may have %zu bytes", sizeof l->addr.sun_path - 1);
        free(l);
        return CEREUS_E_INVALID;
    }
    strcpy(l->addr.sun_path, path);
    unlink(path); /* of a server that did not end well */
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&l->addr, sizeof l->addr) != 0 || listen(l->fd, SOMAXCONN) != 0) {
        snprintf(err->msg, sizeof err->msg, "%s", strerror(errno));
        if (l->fd >= 0)
            close(l->fd);
        free(l);
        return CEREUS_E_IO;
    }
    *ret_state = l;
    return CEREUS_OK;
}

/** On some loop: whoever is first takes the connection, the others find none. */
static void on_connection(int fd, int events, void *user)
{
    (void)events;
    int conn;
    while ((conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        (void)cereus_loop_accept_fd(user, conn, CEREUS_FRAMING_STREAM); /* which closes what it cannot serve */
}

static cereus_status unix_start(void *state, cereus_loop *loop, cereus_error *err)
{
    (void)err;
    unix_listener *l = state;
    return cereus_loop_watch(loop, l->fd, CEREUS_FD_READABLE, on_connection, loop,
                             &l->watches[cereus_loop_index(loop)]);
}

static void unix_stop(void *state, cereus_loop *loop)
{
    unix_listener *l = state;
    unsigned i = cereus_loop_index(loop);
    l->watches[i] = cereus_watch_stop(l->watches[i]);
}

static void unix_close(void *state)
{
    unix_listener *l = state;
    unlink(l->addr.sun_path);
    close(l->fd);
    free(l);
}

static const cereus_acceptor unix_acceptor = {
    .open = unix_open, .start = unix_start, .stop = unix_stop, .close = unix_close};

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)ctx;
    *out = in;
    return CEREUS_OK;
}

static const cereus_method room[] = {CEREUS_RAW_REQUEST("echo", echo)};

int main(int argc, char **argv)
{
    cereus_error err = {0};
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "acceptor", .frontend = true});
    if (cereus_app_add_acceptor(app, "unix", &unix_acceptor, NULL, &err) ||
        cereus_app_listen(app, "unix:///tmp/cereus-game.sock", &err) ||
        cereus_app_register(app, "room", room, CEREUS_COUNT(room), NULL, &err)) {
        fprintf(stderr, "acceptor: %s\n", err.msg);
        return 1;
    }
    return cereus_app_main(app, argc, argv);
}
