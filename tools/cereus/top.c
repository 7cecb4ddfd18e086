/* tools/cereus/top.c: `cereus top`: the servers of a cluster, live: of this machine, or in etcd. It is none of them, so nobody
 * sees it: an app that observes. */
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cereus/cereus.h>
#include <cereus/cluster.h>
#include <cereus/remote.h>

#include "app/app_priv.h"
#include "base/clock.h"
#include "cluster/discovery/discovery.h"
#include "commands.h"
#include "config/config.h"

const char crs_usage_top[] = "usage: cereus top [options]    the servers of a cluster: sessions, rates, queues\n\n"
                             "  --every MS     time between two looks, which rates are taken from (1000)\n"
                             "  --once         print one table and end; the exit code is 1 when there is no server\n"
                             "  --dir DIR      where servers of this machine meet, if not in cereus.cluster.dir\n"
                             "  --config FILE, --set KEY=VALUE, --KEY=VALUE\n"
                             "                 settings, as the servers have them; with etcd in them, or in the\n"
                             "                 environment, all servers there are shown, else those of this machine\n\n"
                             "Ctrl-C ends it.\n";

enum { TOP_MAX = 1024, ANSWER_MS = 2000 };

/** A server, and what it said. */
typedef struct top_server {
    char type[CRS_SERVER_NAME_MAX + 1], id[CRS_SERVER_NAME_MAX + 1];
    json_t *stats;   /* NULL: it said nothing */
    const char *why; /* then; static */
    uint64_t at_us;
} top_server;

/* ---- asking them ---- */

typedef struct survey {
    top_server *all;
    size_t count;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool done; /* mu */
} survey;

static void take_answer(const cereus_rpc_call *call, top_server *s)
{
    s->at_us = crs_clock_us(CLOCK_MONOTONIC);
    if (!call->status)
        s->stats = json_loadb((const char *)call->reply.data, call->reply.len, 0, NULL);
    else if (call->error_code && strcmp(call->error_code, "PIT-404") == 0)
        s->why = "no figures: not a server of Cereus";
}

static void ask_all(cereus_ctx *ctx, survey *v)
{
    const cereus_server *const *servers;
    size_t there = cereus_servers_by_type(ctx, NULL, &servers);
    const char *self = cereus_app_id(cereus_ctx_app(ctx));
    cereus_rpc_call *calls = cereus_ctx_alloc(ctx, CRS_MIN(there, (size_t)TOP_MAX) * sizeof *calls + 1);
    for (size_t i = 0; calls && i < there && v->count < TOP_MAX; i++) {
        if (strcmp(servers[i]->id, self) == 0)
            continue;
        top_server *s = &v->all[v->count];
        *s = (top_server){.why = "no answer"};
        snprintf(s->type, sizeof s->type, "%s", servers[i]->type);
        snprintf(s->id, sizeof s->id, "%s", servers[i]->id);
        calls[v->count++] =
            (cereus_rpc_call){.route = "sys.stats", .options = {.server_id = servers[i]->id, .timeout_ms = ANSWER_MS}};
    }
    cereus_status st = cereus_rpc_all(ctx, calls, v->count);
    CRS_UNUSED(st); /* each call has its own */
    for (size_t i = 0; i < v->count; i++)
        take_answer(&calls[i], &v->all[i]);
}

static void survey_task(cereus_ctx *ctx, void *user)
{
    survey *v = user;
    ask_all(ctx, v);
    pthread_mutex_lock(&v->mu);
    v->done = true;
    pthread_cond_signal(&v->changed);
    pthread_mutex_unlock(&v->mu);
}

/** By type and id, into TOP_MAX of them; how many there are. */
static size_t ask_servers(cereus_app *app, top_server *all)
{
    survey v = {.all = all};
    pthread_mutex_init(&v.mu, NULL);
    pthread_cond_init(&v.changed, NULL);
    if (cereus_app_spawn(app, NULL, survey_task, &v) == CEREUS_OK) {
        pthread_mutex_lock(&v.mu);
        while (!v.done)
            pthread_cond_wait(&v.changed, &v.mu);
        pthread_mutex_unlock(&v.mu);
    }
    pthread_cond_destroy(&v.changed);
    pthread_mutex_destroy(&v.mu);
    return v.count;
}

/* ---- the table ---- */

static json_int_t number(const json_t *stats, const char *key)
{
    return json_integer_value(json_object_get(stats, key));
}

static json_int_t counter(const json_t *stats, const char *key)
{
    return number(json_object_get(stats, "counters"), key);
}

/** How often a second, of two counters together; b may be NULL. */
static double rate(const top_server *before, const top_server *now, const char *a, const char *b)
{
    if (!before || !before->stats || now->at_us <= before->at_us)
        return 0;
    json_int_t was = counter(before->stats, a) + (b ? counter(before->stats, b) : 0);
    json_int_t is = counter(now->stats, a) + (b ? counter(now->stats, b) : 0);
    return is < was ? 0 : (double)(is - was) * 1e6 / (double)(now->at_us - before->at_us); /* it began anew */
}

static const top_server *find(const top_server *samples, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(samples[i].id, id) == 0)
            return &samples[i];
    }
    return NULL;
}

static void print_head(cereus_app *app, size_t count)
{
    const cereus_config *cfg = cereus_app_config(app);
    char room[300];
    if (strcmp(crs_app_discovery(app), "etcd") == 0)
        printf("%zu servers in etcd at %s\n\n", count, crs_config_text(cfg, CRS_KEY_ETCD_ENDPOINTS));
    else
        printf("%zu servers in %s\n\n", count,
               crs_local_dir(crs_config_text(cfg, CRS_KEY_CLUSTER_DIR), room, sizeof room));
    printf("%-14s %-20.20s %7s %5s %8s %8s %8s %8s %8s %7s %6s %6s  %s\n", "TYPE", "ID", "PID", "LOOPS", "SESSIONS",
           "IN/s", "FWD/s", "RPC/s", "PUSH/s", "ERR/s", "LANES", "OUT", "ENGINES");
}

static void print_row(const top_server *before, const top_server *now)
{
    const json_t *stats = now->stats;
    printf("%-14.14s %-20.20s ", now->type, now->id);
    if (!stats) {
        puts(now->why);
        return;
    }
    const char *discovery = json_string_value(json_object_get(stats, "discovery"));
    const char *rpc = json_string_value(json_object_get(stats, "rpc"));
    bool ready = json_is_true(json_object_get(stats, "ready"));
    printf("%7lld %5lld %8lld %8.0f %8.0f %8.0f %8.0f %7.0f %6lld %6lld  %s/%s %s\n", (long long)number(stats, "pid"),
           (long long)number(stats, "loops"), (long long)number(stats, "sessions"),
           rate(before, now, "requests", "notifies"), rate(before, now, "forwarded", NULL),
           rate(before, now, "rpc_served", NULL), rate(before, now, "pushes", NULL),
           rate(before, now, "errors_sent", "handler_failures"), (long long)number(stats, "lanes"),
           (long long)number(stats, "forwarding"), discovery ? discovery : "?", rpc ? rpc : "?",
           ready ? "ready" : "not ready");
}

/** One look at all of them, into @p now. Prints when @p show. Returns how many there are. */
static size_t look(cereus_app *app, const top_server *before, size_t before_count, top_server *now, bool show)
{
    size_t count = ask_servers(app, now);
    if (show && isatty(STDOUT_FILENO))
        fputs("\033[H\033[J", stdout);
    if (show)
        print_head(app, count);
    for (size_t i = 0; show && i < count; i++)
        print_row(find(before, before_count, now[i].id), &now[i]);
    fflush(stdout);
    return count;
}

static void forget(top_server *all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        json_decref(all[i].stats);
}

static int watch(cereus_app *app, long every_ms, bool once)
{
    static top_server looks[2][TOP_MAX];
    size_t counts[2] = {look(app, NULL, 0, looks[0], false), 0};
    struct timespec pause = {.tv_sec = every_ms / 1000, .tv_nsec = every_ms % 1000 * 1000000};
    for (int now = 1;; now = 1 - now) {
        nanosleep(&pause, NULL);
        counts[now] = look(app, looks[1 - now], counts[1 - now], looks[now], true);
        forget(looks[1 - now], counts[1 - now]);
        if (!once && !ferror(stdout))
            continue;
        forget(looks[now], counts[now]);
        return counts[now] ? 0 : 1;
    }
}

static int usage(FILE *out)
{
    fputs(crs_usage_top, out);
    return out == stdout ? 0 : 2;
}

/** The table says who does not answer. */
static void say_nothing(cereus_log_level level, const char *line, size_t len, void *user)
{
    CRS_UNUSED(level);
    CRS_UNUSED(line);
    CRS_UNUSED(len);
    CRS_UNUSED(user);
}

/** The settings may be those of a server: what they would have us do as one is undone. */
static cereus_status be_no_server(cereus_app *app, const char *dir, cereus_error *err)
{
    const char *const undone[][2] = {
        {"cereus.id", ""}, {"cereus.listen", ""}, {"cereus.groups", "memory"}, {"cereus.loops", "1"}};
    cereus_config *cfg = cereus_app_config(app);
    if (dir)
        CEREUS_TRY(cereus_config_set(cfg, "cereus.cluster.dir", dir, err));
    if (dir || strcmp(crs_app_discovery(app), "none") == 0)
        CEREUS_TRY(cereus_config_set(cfg, "cereus.cluster", "local", err));
    for (size_t i = 0; i < CEREUS_COUNT(undone); i++)
        CEREUS_TRY(cereus_config_set(cfg, undone[i][0], undone[i][1], err));
    app->observes = true;
    return cereus_app_set_log(app, say_nothing, NULL);
}

/** @p argv: settings, as for servers. Returns an exit code. */
static int configure(cereus_app *app, int argc, char **argv, const char *dir, cereus_error *err)
{
    cereus_config *cfg = cereus_app_config(app);
    cereus_config_action action;
    if (cereus_config_parse_args(cfg, argc, argv, &action, err) != CEREUS_OK)
        return 2;
    if (action != CEREUS_CONFIG_RUN)
        return usage(stderr);
    if (cereus_config_load_env(cfg, NULL, err) != CEREUS_OK)
        return 1;
    return be_no_server(app, dir, err) ? 1 : 0;
}

int crs_cmd_top(int argc, char **argv)
{
    const char *dir = NULL;
    long every_ms = 1000;
    bool once = false;
    int rest = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return usage(stdout);
        if (strcmp(argv[i], "--once") == 0)
            once = true;
        else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc)
            dir = argv[++i];
        else if (strcmp(argv[i], "--every") == 0 && i + 1 < argc)
            every_ms = strtol(argv[++i], NULL, 10);
        else
            argv[rest++] = argv[i];
    }
    if (every_ms < 1 || every_ms > 3600000) {
        fputs("cereus top: --every takes 1 to 3600000 milliseconds\n", stderr);
        return 2;
    }
    cereus_error err = {0};
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "top", .cluster = true});
    int code = app ? configure(app, rest, argv, dir, &err) : 1;
    signal(SIGPIPE, SIG_IGN);
    if (code == 0 && (code = cereus_app_start(app, &err) != CEREUS_OK) == 0) {
        code = watch(app, every_ms, once);
        cereus_app_shutdown(app);
        cereus_app_wait(app, false);
    }
    if (err.status || !app)
        fprintf(stderr, "cereus top: %s\n", app ? err.msg : "out of memory");
    cereus_app_free(app);
    return code;
}
