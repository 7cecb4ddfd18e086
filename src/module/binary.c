/* module/binary.c: starts a program, pipes its words into the log, and ends it.
 *
 * The pipes are pipes, not the socket pairs that libuv would make: programs open /dev/stdout. Our other descriptors are
 * all close-on-exec, and libuv gives the child an empty signal mask, so it inherits neither. A run of the program is a
 * `child`, freed when its three handles have closed; a restart makes another.
 *
 *    RUNNING ── exit ──> ended ── policy ──> backing off ── timer ──> RUNNING
 *       └─ shutdown: SIGTERM to the group, grace, SIGKILL ──> ended
 */
#include "module/binary.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "dispatch/context.h"
#include "module/lines.h"

enum {
    GRACE_MS = 15 * 1000,
    BACKOFF_MS = 1000,
    BACKOFF_MAX_MS = 60 * 1000,
    LAST_WORDS_MS = 1000, /* after its end, for what is still in the pipes */
    KILL_WAIT_MS = 5000,  /* after SIGKILL, which a process in the kernel's hands does not hear */
};

typedef struct child child;

typedef struct stream {
    uv_pipe_t pipe;
    child *child;
    cereus_log_level level;
    crs_lines lines;
    bool open;
} stream;

struct child {
    crs_list link; /* on the binary's children */
    crs_binary *b;
    uv_process_t process;
    stream out, err;
    unsigned handles; /* not yet closed */
};

struct crs_binary {
    char *name;
    char **argv; /* argv[0] is the path */
    cereus_binary_options opt;

    /* loop: the first */
    crs_dispatch *d;
    child *running; /* NULL: none */
    crs_list children;
    crs_timer restart;
    uint64_t backoff_ms; /* before the next one */
    uint64_t started_ms;
    crs_fiber *waiter; /* shutdown's: woken when something has ended */
    bool stopping;
};

crs_binary *crs_binary_new(const char *name, const cereus_binary_options *options)
{
    crs_binary *b = crs_zalloc(sizeof *b);
    if (!b)
        return NULL;
    crs_list_init(&b->children);
    b->opt = *options;
    b->opt.path = NULL; /* argv[0] */
    b->opt.args = NULL;
    b->opt.grace_ms = options->grace_ms ? options->grace_ms : GRACE_MS;
    b->opt.backoff_ms = options->backoff_ms ? options->backoff_ms : BACKOFF_MS;
    b->opt.backoff_max_ms = options->backoff_max_ms ? options->backoff_max_ms : BACKOFF_MAX_MS;
    b->backoff_ms = b->opt.backoff_ms;
    b->name = crs_strdup(name);
    b->argv = crs_zalloc((options->arg_count + 2) * sizeof *b->argv);
    bool whole = b->name && b->argv && (b->argv[0] = crs_strdup(options->path));
    for (size_t i = 0; whole && i < options->arg_count; i++)
        whole = (b->argv[i + 1] = crs_strdup(options->args[i])) != NULL;
    if (!whole) {
        crs_binary_free(b);
        return NULL;
    }
    return b;
}

void crs_binary_free(void *binary)
{
    crs_binary *b = binary;
    if (!b)
        return;
    for (char **arg = b->argv; arg && *arg; arg++)
        crs_free(*arg);
    crs_free(b->argv);
    crs_free(b->name);
    crs_free(b);
}

/* ---- its words ---- */

static void log_line(const char *text, unsigned part, void *user)
{
    stream *s = user;
    const crs_binary *b = s->child->b;
    crs_field fields[] = {CRS_STR("module", b->name), CRS_UINT("part", part)};
    crs_log *log = b->d->core->log;
    if (crs_log_enabled(log, s->level))
        crs_log_write(log, s->level, text, fields, part > 1 ? 2 : 1);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    CRS_UNUSED(suggested);
    stream *s = handle->data;
    *buf = uv_buf_init((char *)s->child->b->d->loop->read_buf, CRS_READ_BUFFER_LEN);
}

static void wake_waiter(crs_binary *b)
{
    if (b->waiter)
        crs_fiber_wake(b->waiter, CEREUS_OK);
}

static void on_handle_closed(uv_handle_t *handle)
{
    stream *s = handle->data;
    child *c = s->child;
    if (--c->handles > 0)
        return;
    crs_list_remove(&c->link);
    crs_free(c);
}

static void end_stream(stream *s)
{
    crs_binary *b = s->child->b;
    if (!s->open)
        return;
    s->open = false;
    crs_lines_end(&s->lines);
    CRS_COUNT_N(&b->d->loop->counters, binary_lines_cut, s->lines.cut);
    uv_close((uv_handle_t *)&s->pipe, on_handle_closed);
    wake_waiter(b);
}

static void on_read(uv_stream_t *handle, ssize_t len, const uv_buf_t *buf)
{
    stream *s = handle->data;
    if (len > 0)
        crs_lines_feed(&s->lines, cereus_slice_of(buf->base, (size_t)len));
    else if (len < 0) /* its end, or an error, which is one too */
        end_stream(s);
}

/* ---- its start ---- */

/** Read what it says through a pipe. @return the end that the child writes to; -1: no descriptor or memory */
static int open_stream(child *c, stream *s, cereus_log_level level)
{
    uv_loop_t *uv = &c->b->d->loop->uv;
    uv_file fds[2];
    s->child = c;
    s->level = level;
    crs_lines_init(&s->lines, log_line, s);
    if (uv_pipe(fds, UV_NONBLOCK_PIPE, 0) != 0)
        return -1;
    uv_pipe_init(uv, &s->pipe, 0);
    s->pipe.data = s;
    s->open = true;
    c->handles++;
    if (uv_pipe_open(&s->pipe, fds[0]) != 0) {
        close(fds[0]);
        close(fds[1]);
        return -1;
    }
    return fds[1];
}

static void on_exit_of(uv_process_t *process, int64_t status, int sig);

/** libuv hears of children by SIGCHLD, which must reach one thread at least: this one, whatever the program blocks. */
static void take_sigchld(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static cereus_status start_child(crs_binary *b, cereus_error *err)
{
    child *c = crs_zalloc(sizeof *c);
    if (!c)
        return crs_fail(err, CEREUS_E_NOMEM, "%s: out of memory", b->argv[0]);
    take_sigchld();
    c->b = b;
    crs_list_init(&c->link);
    crs_list_push(&b->children, &c->link);
    int out = open_stream(c, &c->out, CEREUS_LOG_INFO);
    int errs = open_stream(c, &c->err, CEREUS_LOG_ERROR);
    int rc = out < 0 || errs < 0 ? UV_EMFILE : 0;
    if (!rc) {
        uv_stdio_container_t stdio[3] = {
            {.flags = UV_IGNORE}, {.flags = UV_INHERIT_FD, .data.fd = out}, {.flags = UV_INHERIT_FD, .data.fd = errs}};
        uv_process_options_t opt = {.exit_cb = on_exit_of,
                                    .file = b->argv[0],
                                    .args = b->argv,
                                    .flags = UV_PROCESS_DETACHED, /* a session, and so a group, of its own */
                                    .stdio_count = 3,
                                    .stdio = stdio};
        rc = uv_spawn(&b->d->loop->uv, &c->process, &opt);
        c->process.data = &c->out; /* for on_handle_closed() */
        c->handles++;
        if (rc)
            uv_close((uv_handle_t *)&c->process, on_handle_closed);
    }
    if (out >= 0)
        close(out);
    if (errs >= 0)
        close(errs);
    if (rc) {
        bool none = c->handles == 0;
        end_stream(&c->out);
        end_stream(&c->err);
        if (none) {
            crs_list_remove(&c->link);
            crs_free(c);
        }
        return crs_fail(err, CEREUS_E_IO, "%s: %s", b->argv[0], uv_strerror(rc));
    }
    uv_read_start((uv_stream_t *)&c->out.pipe, on_alloc, on_read);
    uv_read_start((uv_stream_t *)&c->err.pipe, on_alloc, on_read);
    b->running = c;
    b->started_ms = b->d->loop->now_ms;
    crs_log_info(b->d->core->log, "binary module runs", CRS_STR("module", b->name), CRS_INT("pid", c->process.pid));
    return CEREUS_OK;
}

/* ---- its end ---- */

static void on_restart(crs_timer *timer);

/** When to start it again. 0: not at all */
static uint64_t plan_restart(crs_binary *b, bool failed)
{
    if (b->stopping || b->opt.restart == CEREUS_RESTART_NEVER ||
        (b->opt.restart == CEREUS_RESTART_ON_FAILURE && !failed))
        return 0;
    if (b->d->loop->now_ms - b->started_ms >= b->opt.backoff_max_ms)
        b->backoff_ms = b->opt.backoff_ms;
    uint64_t in_ms = CRS_MIN(b->backoff_ms, b->opt.backoff_max_ms);
    b->backoff_ms = CRS_MIN(2 * in_ms, b->opt.backoff_max_ms);
    crs_timer_init(&b->restart, on_restart);
    if (crs_loop_timer_start(b->d->loop, &b->restart, in_ms)) {
        crs_log_error(b->d->core->log, "binary module is not restarted: out of memory", CRS_STR("module", b->name));
        return 0;
    }
    return in_ms;
}

static void on_restart(crs_timer *timer)
{
    crs_binary *b = CRS_CONTAINER(timer, crs_binary, restart);
    cereus_error err = {0};
    CRS_COUNT(&b->d->loop->counters, binary_restarts);
    b->started_ms = b->d->loop->now_ms;
    if (start_child(b, &err)) {
        uint64_t in_ms = plan_restart(b, true);
        crs_log_error(b->d->core->log, "binary module cannot be restarted", CRS_STR("module", b->name), CRS_ERR(&err),
                      CRS_DUR_MS("again_in", (int64_t)in_ms));
    }
}

static void on_exit_of(uv_process_t *process, int64_t status, int sig)
{
    child *c = CRS_CONTAINER(process, child, process);
    crs_binary *b = c->b;
    crs_loop_update_now(b->d->loop);
    kill(-process->pid, SIGKILL); /* what it left behind; nobody waits for that */
    b->running = NULL;
    bool failed = status != 0 || sig != 0;
    cereus_binary_end end = {
        .pid = process->pid, .exit_code = sig ? -1 : (int)status, .signal = sig, .stopping = b->stopping};
    end.restart_ms = plan_restart(b, failed);
    end.restarts = crs_timer_running(&b->restart);
    uv_close((uv_handle_t *)process, on_handle_closed);
    crs_log_at(b->d->core->log, failed && !b->stopping ? CEREUS_LOG_ERROR : CEREUS_LOG_INFO, "binary module has ended",
               CRS_STR("module", b->name), CRS_INT("pid", end.pid), CRS_INT("code", end.exit_code),
               CRS_INT("signal", end.signal), CRS_BOOL("restarts", end.restarts));
    if (b->opt.on_end)
        b->opt.on_end(b->d->core->app, &end, b->opt.on_end_user);
    wake_waiter(b);
}

/* ---- the module ---- */

static cereus_status on_init(cereus_ctx *ctx, void *user)
{
    crs_binary *b = user;
    cereus_error err = {0};
    b->d = ctx->dispatch;
    b->stopping = false;
    return start_child(b, &err) ? cereus_fail(ctx, NULL, "%s", err.msg) : CEREUS_OK;
}

static bool has_words(const crs_binary *b)
{
    for (const crs_list *l = b->children.next; l != &b->children; l = l->next) {
        const child *c = CRS_CONTAINER(l, child, link);
        if (c->out.open || c->err.open)
            return true;
    }
    return false;
}

/** Wait until it has ended (@p words: and said its last), at most @p ms. @return whether */
static bool await_end(cereus_ctx *ctx, crs_binary *b, bool words, uint64_t ms)
{
    crs_loop *loop = b->d->loop;
    uint64_t until = ms < UINT64_MAX / 2000 ? loop->now_us + ms * 1000 : UINT64_MAX;
    b->waiter = ctx->fiber;
    while (b->running || (words && has_words(b))) {
        if (loop->now_us >= until || crs_fiber_wait(ctx->fiber, until) == CEREUS_E_CANCELLED)
            break;
    }
    b->waiter = NULL;
    return !b->running;
}

static cereus_status on_shutdown(cereus_ctx *ctx, void *user)
{
    crs_binary *b = user;
    cereus_status st = CEREUS_OK;
    b->stopping = true;
    crs_loop_timer_stop(b->d->loop, &b->restart);
    if (b->running)
        kill(-b->running->process.pid, SIGTERM);
    if (!await_end(ctx, b, false, b->opt.grace_ms)) {
        st = cereus_fail(ctx, NULL, "timeout waiting to binary module to die");
        kill(-b->running->process.pid, SIGKILL);
        await_end(ctx, b, false, KILL_WAIT_MS);
    }
    await_end(ctx, b, true, LAST_WORDS_MS);
    for (crs_list *l = b->children.next; l != &b->children; l = l->next) { /* held open by who left the group */
        child *c = CRS_CONTAINER(l, child, link);
        end_stream(&c->out);
        end_stream(&c->err);
        if (c == b->running) /* not even SIGKILL: it is init's now */
            uv_close((uv_handle_t *)&c->process, on_handle_closed);
    }
    b->running = NULL;
    return st;
}

const cereus_module crs_binary_module = {.init = on_init, .shutdown = on_shutdown};
