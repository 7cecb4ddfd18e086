#include "member.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern char **environ;

int member_complain(const member_flags *flags, const char *what, const char *detail)
{
    fprintf(stderr, "%s: %s%s%s\n", flags->program, what, *detail ? ": " : "", detail);
    return EXIT_USAGE;
}

/* The part before the '=' of "KEY=VALUE", in @p key. @return the value; NULL: it is no such pair */
static const char *split(const char *pair, char *key, size_t cap, cereus_error *err)
{
    size_t len = strcspn(pair, "=");
    if (pair[len] == '\0' || len >= cap) {
        snprintf(err->msg, sizeof err->msg, "\"%.200s\" is no KEY=VALUE", pair);
        return NULL;
    }
    memcpy(key, pair, len);
    key[len] = '\0';
    return pair + len + 1;
}

static cereus_status set_unless_null(cereus_config *cfg, const char *key, const char *value, cereus_error *err)
{
    return value ? cereus_config_set(cfg, key, value, err) : CEREUS_OK;
}

static cereus_status configure(cereus_app *app, const member_flags *f, cereus_error *err)
{
    cereus_config *cfg = cereus_app_config(app);
    CEREUS_TRY(cereus_config_set(cfg, "cereus.cluster", "etcd", err));
    CEREUS_TRY(cereus_config_set(cfg, "cereus.cluster.rpc", f->grpc ? "grpc" : "auto", err));
    CEREUS_TRY(cereus_config_load_env(cfg, (const char *const *)environ, err));
    CEREUS_TRY(set_unless_null(cfg, "cereus.id", f->id, err));
    CEREUS_TRY(set_unless_null(cfg, "pitaya.cluster.sd.etcd.endpoints", f->etcd, err));
    CEREUS_TRY(set_unless_null(cfg, "pitaya.groups.etcd.endpoints", f->etcd, err));
    CEREUS_TRY(set_unless_null(cfg, "pitaya.modules.bindingstorage.etcd.endpoints", f->etcd, err));
    CEREUS_TRY(set_unless_null(cfg, "pitaya.cluster.sd.etcd.prefix", f->prefix, err));
    CEREUS_TRY(set_unless_null(cfg, "pitaya.groups.etcd.prefix", f->prefix, err));
    CEREUS_TRY(set_unless_null(cfg, "pitaya.modules.bindingstorage.etcd.prefix", f->prefix, err));
    CEREUS_TRY(set_unless_null(cfg, "pitaya.cluster.rpc.client.nats.connect", f->nats, err));
    CEREUS_TRY(set_unless_null(cfg, "pitaya.cluster.rpc.server.nats.connect", f->nats, err));
    CEREUS_TRY(set_unless_null(cfg, "pitaya.cluster.rpc.server.grpc.port", f->grpc_port, err));
    CEREUS_TRY(set_unless_null(cfg, "cereus.groups", f->groups, err));
    if (f->serializer)
        CEREUS_TRY(
            cereus_config_set(cfg, "pitaya.serializertype", !strcmp(f->serializer, "protobuf") ? "2" : "1", err));
    if (f->debug)
        CEREUS_TRY(cereus_config_set(cfg, "cereus.log.level", "debug", err));
    char key[200];
    for (size_t i = 0; i < f->set_count; i++) {
        const char *value = split(f->sets[i], key, sizeof key, err);
        if (!value)
            return CEREUS_E_INVALID;
        CEREUS_TRY(cereus_config_set(cfg, key, value, err));
    }
    for (size_t i = 0; i < f->meta_count; i++) {
        const char *value = split(f->metas[i], key, sizeof key, err);
        if (!value)
            return CEREUS_E_INVALID;
        CEREUS_TRY(cereus_app_set_metadata(app, key, value));
    }
    return CEREUS_OK;
}

static cereus_status build(cereus_app *app, const member_flags *f,
                           cereus_status (*prepare)(cereus_app *app, cereus_error *err), cereus_error *err)
{
    CEREUS_TRY(configure(app, f, err));
    CEREUS_TRY(prepare(app, err));
    if (f->frontend) {
        char url[64];
        snprintf(url, sizeof url, "tcp://0.0.0.0:%.20s", f->port);
        CEREUS_TRY(cereus_app_listen(app, url, err));
    }
    return cereus_app_start(app, err);
}

/* The signals that end it are waited for, so no thread may take them; threads inherit this. */
static void block_signals(void)
{
    static const int numbers[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < CEREUS_COUNT(numbers); i++)
        sigaddset(&set, numbers[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int member_run(const member_flags *flags, cereus_status (*prepare)(cereus_app *app, cereus_error *err),
               void (*up)(cereus_app *app))
{
    block_signals();
    cereus_app *app =
        cereus_app_new(&(cereus_app_options){.type = flags->type, .frontend = flags->frontend, .cluster = true});
    cereus_error err = {0};
    cereus_status st = app ? build(app, flags, prepare, &err) : CEREUS_E_NOMEM;
    if (st) {
        member_complain(flags, "not started", *err.msg ? err.msg : cereus_status_text(st));
        cereus_app_free(app);
        return EXIT_FAILURE;
    }
    while (!cereus_app_is_ready(app)) /* the start has registered it; an engine may be connecting once more */
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    up(app);
    cereus_app_wait(app, true);
    cereus_app_free(app);
    return EXIT_SUCCESS;
}
