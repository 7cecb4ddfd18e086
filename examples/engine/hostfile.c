/* examples/engine/hostfile.c: a discovery. A text file, `hostfile.path`, lists the servers, and who is in it is there:
 *
 *     # id    type   frontend?  where
 *     gate-1  front  frontend   127.0.0.1:40001
 *     room-1  room   backend    127.0.0.1:40002
 *
 * A server adds its own line when it joins and takes it out when it leaves; people may do the same. One that was killed stays
 * in it until it is started again, or somebody takes it out. The file is never changed but replaced, so whoever reads it
 * reads it whole; PATH.lock is held by who replaces it. PATH.ID.lock is held by the server with that id as long as it lives.
 *
 * A thread of its own waits for changes and tells the framework. Whatever may wait for a disk runs on the worker pool.
 */
#include "hostfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <unistd.h>

enum {
    FILE_MAX = 1 << 20, /* bytes; a longer one is an error */
    PATH_CAP = 1024,
    ADDRESS_MAX = 64,
    LEAVE_MS = 100, /* until the others have heard; who calls us later would find nobody */
    WORDS = 4,      /* of a line */
};

typedef struct hostfile {
    const hostfile_setup *setup;
    cereus_discovery *discovery;
    const cereus_server *self;
    char path[PATH_CAP], claim_path[PATH_CAP], lock_path[PATH_CAP], new_path[PATH_CAP];
    int claim_fd;  /* held as long as we live */
    int notify_fd; /* tells of the directory that the file is in */
    int stop_fd;   /* ends the watcher */
    pthread_t watcher;
    bool watching;
    bool joining;     /* whether the worker adds our line, or takes it out */
    cereus_status st; /* how that went; touched by the worker, and by who waits for it */
    cereus_error *why;
} hostfile;

static cereus_status fail(cereus_error *err, cereus_status st, const char *path, const char *what)
{
    if (err)
        snprintf(err->msg, sizeof err->msg, "hostfile.path: %.300s: %s", path, what);
    return st;
}

/* ---- the file ---- */

/** All of the file, with a NUL behind it; no file is an empty one. */
static cereus_status read_file(const char *path, char **ret_text, cereus_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        return fail(err, CEREUS_E_IO, path, strerror(errno));
    char *text = malloc(FILE_MAX + 2);
    size_t len = 0;
    ssize_t n = 0;
    while (text && fd >= 0 && len <= FILE_MAX && (n = read(fd, text + len, FILE_MAX + 1 - len)) > 0)
        len += (size_t)n;
    int why = errno;
    if (fd >= 0)
        close(fd);
    cereus_status st = !text ? CEREUS_E_NOMEM : n < 0 ? CEREUS_E_IO : len > FILE_MAX ? CEREUS_E_TOO_LONG : CEREUS_OK;
    if (!st && memchr(text, '\0', len))
        st = CEREUS_E_MALFORMED;
    if (st) {
        free(text);
        return fail(err, st, path, st == CEREUS_E_IO ? strerror(why) : cereus_status_text(st));
    }
    text[len] = '\0';
    *ret_text = text;
    return CEREUS_OK;
}

/** Cut the words of a line out of it. @return how many there are, WORDS + 1 at most */
static size_t split(char *line, char *words[WORDS + 1])
{
    size_t count = 0;
    char *rest = NULL;
    for (char *w = strtok_r(line, " \t\r", &rest); w && count <= WORDS; w = strtok_r(NULL, " \t\r", &rest))
        words[count++] = w;
    return count;
}

static bool is_address(const char *text)
{
    size_t len = strlen(text);
    return len <= ADDRESS_MAX && strspn(text, "0123456789.:") == len; /* and so safe within JSON */
}

/** A line as the framework wants it. One that makes no sense becomes a server without a name, which is left out and counted. */
static cereus_server read_line(char *line, char metadata[ADDRESS_MAX + 16])
{
    char *words[WORDS + 1];
    size_t count = split(line, words);
    bool frontend = count == WORDS && strcmp(words[2], "frontend") == 0;
    if (count != WORDS || (!frontend && strcmp(words[2], "backend") != 0) || !is_address(words[3]))
        return (cereus_server){0};
    sprintf(metadata, "{\"tcp\":\"%s\"}", words[3]);
    return (cereus_server){.id = words[0], .type = words[1], .frontend = frontend, .metadata = metadata};
}

/** Tell the framework who is in @p text, which is cut into pieces. */
static cereus_status tell(hostfile *h, char *text)
{
    size_t lines = 1, count = 0;
    for (const char *at = text; *at; at++)
        lines += *at == '\n';
    cereus_server *servers = calloc(lines, sizeof *servers);
    char(*metadata)[ADDRESS_MAX + 16] = calloc(lines, sizeof *metadata);
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); servers && metadata && line; line = strtok_r(NULL, "\n", &rest)) {
        if (line[strspn(line, " \t\r")] == '\0' || line[0] == '#')
            continue;
        servers[count] = read_line(line, metadata[count]);
        count++;
    }
    cereus_status st = servers && metadata ? cereus_discovery_set_list(h->discovery, servers, count) : CEREUS_E_NOMEM;
    free(servers);
    free(metadata);
    return st;
}

/** Does this line begin with our id? */
static bool is_ours(const hostfile *h, const char *line)
{
    size_t len = strlen(h->self->id);
    line += strspn(line, " \t");
    return strncmp(line, h->self->id, len) == 0 && strchr(" \t\r\n", line[len]); /* or at the end of all */
}

/** Write all of @p text but our line, and that anew if we are there. */
static cereus_status write_file(const hostfile *h, const char *text, cereus_error *err)
{
    FILE *f = fopen(h->new_path, "we");
    bool good = f;
    for (const char *line = text, *end; good && *line; line = end) {
        end = line + strcspn(line, "\n");
        size_t len = (size_t)(end - line);
        end += *end == '\n';
        if (!is_ours(h, line))
            good = fprintf(f, "%.*s\n", (int)len, line) >= 0;
    }
    if (good && h->joining)
        good = fprintf(f, "%s %s %s %s\n", h->self->id, h->self->type, h->self->frontend ? "frontend" : "backend",
                       h->setup->address) >= 0;
    if (f && fclose(f) != 0)
        good = false;
    if (good && rename(h->new_path, h->path) == 0)
        return CEREUS_OK;
    cereus_status st = fail(err, CEREUS_E_IO, h->path, strerror(errno));
    unlink(h->new_path);
    return st;
}

/** On the worker pool: read the file and replace it, while nobody else does. */
static void change_file(void *user)
{
    hostfile *h = user;
    char *text = NULL;
    int lock = open(h->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock < 0 || flock(lock, LOCK_EX) != 0) {
        h->st = fail(h->why, CEREUS_E_IO, h->lock_path, strerror(errno));
    } else {
        h->st = read_file(h->path, &text, h->why);
        char *copy = h->st ? NULL : strdup(text);
        if (!h->st && !copy)
            h->st = CEREUS_E_NOMEM;
        if (!h->st && h->joining) /* see the others before they see us */
            h->st = tell(h, copy);
        if (!h->st)
            h->st = write_file(h, text, h->why);
        free(copy);
    }
    free(text);
    if (lock >= 0)
        close(lock); /* which unlocks */
}

/* ---- watching ---- */

static void *watch(void *user)
{
    hostfile *h = user;
    struct pollfd fds[] = {{.fd = h->notify_fd, .events = POLLIN}, {.fd = h->stop_fd, .events = POLLIN}};
    char events[4096];
    while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
        if (fds[1].revents)
            break;
        if (read(h->notify_fd, events, sizeof events) < 0)
            continue;
        char *text; /* whatever happened in the directory: an unchanged list is no news to the framework */
        cereus_status st = read_file(h->path, &text, NULL);
        if (!st) {
            st = tell(h, text);
            free(text);
        }
        cereus_discovery_set_ready(h->discovery, !st); /* the old list stays, and the next change may be better */
    }
    return NULL;
}

static bool start_watcher(hostfile *h)
{
    sigset_t all, before; /* signals are for the threads of the app */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    h->watching = pthread_create(&h->watcher, NULL, watch, h) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return h->watching;
}

/* ---- the table ---- */

static void hostfile_close(void *state)
{
    hostfile *h = state;
    if (h->watching) {
        eventfd_write(h->stop_fd, 1);
        pthread_join(h->watcher, NULL);
    }
    if (h->claim_fd >= 0) {
        unlink(h->claim_path); /* while it is locked */
        close(h->claim_fd);
    }
    if (h->notify_fd >= 0)
        close(h->notify_fd);
    if (h->stop_fd >= 0)
        close(h->stop_fd);
    free(h);
}

/** Two servers of one id must not run. */
static cereus_status claim(hostfile *h, cereus_error *err)
{
    int fd = open(h->claim_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return fail(err, CEREUS_E_IO, h->claim_path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd); /* it is not ours to remove */
        return fail(err, CEREUS_E_EXISTS, h->claim_path,
                    "a server with this cereus.id runs already; give each its own");
    }
    h->claim_fd = fd;
    return CEREUS_OK;
}

static cereus_status watch_directory(hostfile *h, cereus_error *err)
{
    char dir[PATH_CAP];
    snprintf(dir, sizeof dir, "%s", h->path);
    h->notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    h->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (h->notify_fd < 0 || h->stop_fd < 0 ||
        inotify_add_watch(h->notify_fd, dirname(dir), IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE) < 0)
        return fail(err, CEREUS_E_IO, h->path, strerror(errno));
    return CEREUS_OK;
}

static cereus_status hostfile_open(cereus_discovery *discovery, const cereus_server *self, void *user, void **ret_state,
                                   cereus_error *err)
{
    const hostfile_setup *setup = user;
    const char *path = cereus_config_get_text(cereus_app_config(setup->app), "hostfile.path");
    if (!path)
        path = "/tmp/cereus-engine.hosts";
    hostfile *h = calloc(1, sizeof *h);
    if (!h)
        return CEREUS_E_NOMEM;
    *h = (hostfile){
        .setup = setup, .discovery = discovery, .self = self, .claim_fd = -1, .notify_fd = -1, .stop_fd = -1};
    if (strlen(path) + strlen(self->id) + sizeof "..lock" > PATH_CAP) {
        free(h);
        return fail(err, CEREUS_E_TOO_LONG, path, "this is too long");
    }
    snprintf(h->path, sizeof h->path, "%s", path);
    snprintf(h->claim_path, sizeof h->claim_path, "%s.%s.lock", path, self->id);
    snprintf(h->lock_path, sizeof h->lock_path, "%s.lock", path);
    snprintf(h->new_path, sizeof h->new_path, "%s.new", path);
    cereus_status st = claim(h, err);
    if (!st)
        st = watch_directory(h, err);
    if (st) {
        hostfile_close(h);
        return st;
    }
    *ret_state = h;
    return CEREUS_OK;
}

static cereus_status hostfile_join(void *state, cereus_ctx *ctx, cereus_error *err)
{
    hostfile *h = state;
    h->joining = true;
    h->why = err;
    CEREUS_TRY(cereus_offload(ctx, change_file, h));
    if (h->st)
        return h->st;
    return start_watcher(h) ? CEREUS_OK : CEREUS_E_NOMEM; /* it hears of what has changed since open(), too */
}

static void hostfile_leave(void *state, cereus_ctx *ctx)
{
    hostfile *h = state;
    cereus_error why = {0};
    h->joining = false;
    h->why = &why;
    if (cereus_offload(ctx, change_file, h) || h->st)
        cereus_log_warn(ctx, "our line may still be in the file: %s", why.msg);
    cereus_sleep(ctx, LEAVE_MS);
}

const cereus_discovery_engine hostfile_engine = {
    .open = hostfile_open, .join = hostfile_join, .leave = hostfile_leave, .close = hostfile_close};
