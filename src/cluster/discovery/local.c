/* cluster/discovery/local.c: servers of one machine: a file for each in the run directory, ID.json, which says what it is. As
 * long as it lives it holds a lock on it, so a crash is seen at once: the kernel closes the file, inotify tells, the lock is
 * gone. Whoever sees a file without a lock removes it. Locks are only asked about, never taken, by others than their owner.
 *
 * inotify tells of a close a moment before the kernel lets go of the lock, so what is seen then is looked at once more. Who only
 * observes has no file; the directory may be another user's then, or not be there yet.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strmap.h"
#include "cluster/discovery/discovery_impl.h"

enum { FILE_MAX = 64 * 1024, CLAIM_TRIES = 1000, LOOK_AGAIN_MS = 20, LOOK_ANYWAY_MS = 5000, LOOK_FOR_DIR_MS = 500 };

static const char suffix[] = ".json";

typedef struct local_discovery {
    crs_discovery base;
    char path[512]; /* of our own file */
    int fd;         /* our own file, locked; -1: none */
    uv_poll_t watch;
    int inotify;
    bool watching;
    crs_timer again;
    uint64_t told; /* sum of the list that was told last; 0: none */
} local_discovery;

static local_discovery *local_of(crs_discovery *d)
{
    return (local_discovery *)d;
}

static struct flock whole_file(short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET};
}

/* ---- our own file ---- */

static cereus_status make_dir(const char *dir, cereus_error *err)
{
    char path[512];
    snprintf(path, sizeof path, "%s", dir);
    for (char *p = path + 1;; p++) {
        char was = *p;
        if (was != '/' && was != '\0')
            continue;
        *p = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return crs_fail(err, CEREUS_E_IO, "cereus.cluster.dir: %s: %s", path, strerror(errno));
        *p = was;
        if (was == '\0')
            break;
    }
    struct stat st, name;
    if (stat(dir, &st) != 0 || lstat(dir, &name) != 0 || !S_ISDIR(st.st_mode))
        return crs_fail(err, CEREUS_E_IO, "cereus.cluster.dir: %s is no directory", dir);
    bool planted = name.st_uid != geteuid() && name.st_uid != 0; /* a link in /tmp that leads who knows where */
    if (planted || st.st_uid != geteuid() || (st.st_mode & 0022))
        return crs_fail(
            err, CEREUS_E_IO,
            "cereus.cluster.dir: %s belongs to another user or others may write to it: choose a directory of "
            "your own",
            dir);
    return CEREUS_OK;
}

/** Remove what a dead server has left at our path. CEREUS_E_EXISTS: it lives; CEREUS_E_IO: it is no file of a server. */
static cereus_status make_way(const local_discovery *l)
{
    int fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? CEREUS_OK : CEREUS_E_IO;
    struct flock lock = whole_file(F_WRLCK);
    struct stat opened, there;
    bool dead = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
    if (dead && fstat(fd, &opened) == 0 && stat(l->path, &there) == 0 && opened.st_ino == there.st_ino)
        unlink(l->path);
    close(fd);
    return dead ? CEREUS_OK : CEREUS_E_EXISTS;
}

/** The file gets its name when it is locked already: one without a lock would be removed as a dead server's. */
static cereus_status local_claim(crs_discovery *d, cereus_error *err)
{
    local_discovery *l = local_of(d);
    char unnamed[sizeof l->path + 16];
    l->fd = l->inotify = -1;
    if (d->opt.observes)
        return CEREUS_OK;
    CEREUS_TRY(make_dir(d->opt.dir, err));
    int n = snprintf(l->path, sizeof l->path, "%s/%s%s", d->opt.dir, d->opt.self->id, suffix);
    if (n < 0 || (size_t)n >= sizeof l->path)
        return crs_fail(err, CEREUS_E_TOO_LONG, "cereus.cluster.dir: %s is too long", d->opt.dir);
    snprintf(unnamed, sizeof unnamed, "%s.%d", l->path, (int)gettid());
    unlink(unnamed); /* of a process that died here and had our number */
    l->fd = open(unnamed, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct flock lock = whole_file(F_WRLCK);
    if (l->fd < 0 || fcntl(l->fd, F_OFD_SETLK, &lock) != 0)
        return crs_fail(err, CEREUS_E_IO, "cereus.cluster.dir: %s: %s", unnamed, strerror(errno));
    cereus_status st = CEREUS_OK;
    for (int i = 0; !st && link(unnamed, l->path) != 0; i++) {
        if (errno != EEXIST || i == CLAIM_TRIES)
            st = crs_fail(err, CEREUS_E_IO, "cereus.cluster.dir: %s: %s", l->path, strerror(errno));
        else if ((st = make_way(l)) == CEREUS_E_IO)
            crs_fail(err, st, "cereus.cluster.dir: %s: %s", l->path, strerror(errno));
        else if (st)
            crs_fail(err, st,
                     "cereus.id: a server with the id \"%s\" runs already on this machine (%s): choose another",
                     d->opt.self->id, l->path);
    }
    unlink(unnamed);
    if (st) {
        close(l->fd);
        l->fd = -1;
    }
    return st;
}

/** It is never shorter than what it said before. */
static cereus_status tell(local_discovery *l, const cereus_server *self, cereus_error *err)
{
    char *text = crs_server_text(self);
    if (!text)
        return crs_fail(err, CEREUS_E_NOMEM, "discovery: out of memory");
    size_t len = strlen(text);
    ssize_t n = pwrite(l->fd, text, len, 0);
    crs_free(text);
    return n == (ssize_t)len ? CEREUS_OK
                             : crs_fail(err, CEREUS_E_IO, "cereus.cluster.dir: %s: %s", l->path, strerror(errno));
}

/* ---- the others' ---- */

/** The server that @p name describes; NULL: none that lives. Adds what it says to @p sum. */
static crs_server *look_at(local_discovery *l, int dir_fd, const char *name, char *text, uint64_t *sum)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW); /* to write would wake us when it is closed */
    if (fd < 0)
        return NULL;
    crs_server *server = NULL;
    struct flock lock = whole_file(F_WRLCK);
    struct stat opened, there;
    if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK) { /* nobody holds it: its server is dead */
        if (fstat(fd, &opened) == 0 && fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
            opened.st_ino == there.st_ino)
            unlinkat(dir_fd, name, 0);
    } else {
        ssize_t n = pread(fd, text, FILE_MAX, 0);
        if (n > 0 && crs_server_parse(cereus_slice_of(text, (size_t)n), &server) == CEREUS_E_MALFORMED) {
            static crs_log_limiter limiter;
            crs_log_limited(l->base.opt.log, CEREUS_LOG_WARN, &limiter, "a server's file makes no sense",
                            CRS_STR("file", name));
        }
        if (server)
            *sum += crs_hash_bytes(text, (size_t)n);
    }
    close(fd);
    return server;
}

static void scan(local_discovery *l)
{
    size_t count = 0, cap = 0, len;
    uint64_t sum = 0; /* of the hashes, as the directory has no order */
    crs_server **all = NULL;
    char *text = crs_malloc(FILE_MAX); /* too much for a fiber's stack */
    DIR *dir = text ? opendir(l->base.opt.dir) : NULL;
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        len = strlen(entry->d_name);
        if (len < sizeof suffix || strcmp(entry->d_name + len - sizeof suffix + 1, suffix) != 0)
            continue;
        if (count == cap) {
            crs_server **grown = count < CRS_SERVERS_MAX ? crs_realloc(all, (cap = 2 * cap + 16) * sizeof *all) : NULL;
            if (!grown)
                break;
            all = grown;
        }
        if ((all[count] = look_at(l, dirfd(dir), entry->d_name, text, &sum)))
            count++;
    }
    if (dir)
        closedir(dir);
    if (dir && (sum != l->told || sum == 0))
        l->told = l->base.opt.events->on_list(l->base.opt.user, all, count) ? sum : 0;
    while (count)
        crs_server_unref(all[--count]);
    crs_free(all);
    crs_free(text);
}

static void look_again(local_discovery *l, uint64_t ms)
{
    cereus_status st = crs_loop_timer_start(l->base.loop, &l->again, ms);
    CRS_UNUSED(st); /* without memory the next event has to do */
}

static void on_change(uv_poll_t *handle, int status, int events)
{
    CRS_UNUSED(status);
    CRS_UNUSED(events);
    local_discovery *l = CRS_CONTAINER(handle, local_discovery, watch);
    char buf[16 * 1024];
    crs_loop_update_now(l->base.loop);
    while (read(l->inotify, buf, sizeof buf) > 0) { /* what has happened to whom, the directory tells best */
    }
    scan(l);
    look_again(l, LOOK_AGAIN_MS);
}

static cereus_status begin_watch(local_discovery *l, cereus_error *err)
{
    const char *dir = l->base.opt.dir;
    if (l->inotify < 0)
        l->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (l->inotify < 0 ||
        inotify_add_watch(l->inotify, dir, IN_CLOSE_WRITE | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_TO) < 0)
        return crs_fail(err, CEREUS_E_IO, "cereus.cluster.dir: %s cannot be watched: %s%s", dir, strerror(errno),
                        errno == ENOSPC || errno == EMFILE ? " (raise fs.inotify limits)" : "");
    if (uv_poll_init(&l->base.loop->uv, &l->watch, l->inotify) != 0)
        return crs_fail(err, CEREUS_E_IO, "cereus.cluster.dir: cannot be watched");
    l->watching = true;
    uv_poll_start(&l->watch, UV_READABLE, on_change);
    return CEREUS_OK;
}

static void on_again(crs_timer *timer)
{
    local_discovery *l = CRS_CONTAINER(timer, local_discovery, again);
    cereus_status st = l->watching ? CEREUS_OK : begin_watch(l, NULL);
    CRS_UNUSED(st); /* next time, perhaps */
    scan(l);
    look_again(l, l->watching ? LOOK_ANYWAY_MS : LOOK_FOR_DIR_MS);
}

static cereus_status local_start(crs_discovery *d, crs_fiber *fiber, cereus_error *err)
{
    CRS_UNUSED(fiber);
    local_discovery *l = local_of(d);
    crs_timer_init(&l->again, on_again);
    cereus_status st = begin_watch(l, err);
    if (d->opt.observes) {
        on_again(&l->again);
        return CEREUS_OK;
    }
    CEREUS_TRY(st);
    CEREUS_TRY(tell(l, d->opt.self, err));
    scan(l);
    look_again(l, LOOK_ANYWAY_MS);
    atomic_store_explicit(&d->ready, true, memory_order_relaxed);
    return CEREUS_OK;
}

static cereus_status local_update(crs_discovery *d, crs_fiber *fiber, crs_server *self, cereus_error *err)
{
    CRS_UNUSED(fiber);
    return tell(local_of(d), crs_server_view(self), err);
}

static void local_leave(crs_discovery *d, crs_fiber *fiber)
{
    CRS_UNUSED(fiber);
    local_discovery *l = local_of(d);
    atomic_store_explicit(&d->ready, false, memory_order_relaxed);
    if (l->fd >= 0)
        unlink(l->path); /* still locked: nobody takes our name yet */
}

static void local_close(crs_discovery *d)
{
    local_discovery *l = local_of(d);
    crs_loop_timer_stop(d->loop, &l->again);
    if (l->watching)
        uv_close((uv_handle_t *)&l->watch, NULL); /* the struct outlives the loop */
    l->watching = false;
}

static void local_fini(crs_discovery *d)
{
    local_discovery *l = local_of(d);
    if (l->inotify >= 0)
        close(l->inotify);
    if (l->fd >= 0) {
        struct stat mine, there;
        if (fstat(l->fd, &mine) == 0 && stat(l->path, &there) == 0 && mine.st_ino == there.st_ino)
            unlink(l->path);
        close(l->fd);
    }
}

const crs_discovery_ops crs_discovery_local = {
    .name = "local",
    .size = sizeof(local_discovery),
    .claim = local_claim,
    .start = local_start,
    .update = local_update,
    .leave = local_leave,
    .close = local_close,
    .fini = local_fini,
};
