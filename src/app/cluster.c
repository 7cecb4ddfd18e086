/* app/cluster.c: an app as a member of a cluster: which engines, what it says of itself, where its run directory is. */
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cereus/cluster.h>

#include "app/app_priv.h"

cereus_status cereus_app_set_metadata(cereus_app *app, const char *key, const char *value)
{
    CEREUS_TRY(crs_app_check_setup(app, NULL, "metadata"));
    if (!app->metadata && !(app->metadata = json_object()))
        return CEREUS_E_NOMEM;
    return json_object_set_new(app->metadata, key, json_string(value)) == 0 ? CEREUS_OK : CEREUS_E_NOMEM;
}

cereus_status cereus_app_add_route(cereus_app *app, const char *type, cereus_route_fn *fn, void *user)
{
    CEREUS_TRY(crs_app_check_setup(app, NULL, "routes"));
    crs_cluster_route **at = &app->routes;
    while (*at && strcmp((*at)->type, type) != 0)
        at = &(*at)->next;
    if (!*at) {
        crs_cluster_route *r = crs_zalloc(sizeof *r);
        if (!r || !(r->type = crs_strdup(type))) {
            crs_free(r);
            return CEREUS_E_NOMEM;
        }
        *at = r;
    }
    (*at)->fn = fn;
    (*at)->user = user;
    return CEREUS_OK;
}

cereus_status cereus_app_register_remote(cereus_app *app, const char *name, const cereus_method *methods,
                                         size_t method_count, const cereus_service_options *options, cereus_error *err)
{
    CEREUS_TRY(crs_app_check_setup(app, err, "remotes"));
    for (size_t i = 0; i < method_count; i++) {
        if (methods[i].in == CEREUS_JSON || methods[i].out == CEREUS_JSON)
            return crs_fail(err, CEREUS_E_INVALID,
                            "remote \"%s\": method \"%s\": servers speak protobuf: CEREUS_MESSAGE, "
                            "or CEREUS_RAW",
                            name, methods[i].name);
    }
    return crs_registry_add(&app->core.remotes, name, methods, method_count, options, err);
}

cereus_status cereus_app_on_server(cereus_app *app, cereus_server_fn *fn, void *user)
{
    CEREUS_TRY(crs_app_check_setup(app, NULL, "callbacks"));
    return crs_hook_add(&app->core.on_server, false, NULL, (void (*)(void))fn, user);
}

/** A call of cereus_app_rpc(), its texts behind it. */
typedef struct outside_call {
    cereus_rpc_options options;
    cereus_rpc_done_fn *done;
    void *user;
    const char *route;
    cereus_slice in;
    char texts[];
} outside_call;

static void call_for_outside(cereus_ctx *ctx, void *user)
{
    outside_call *c = user;
    cereus_slice reply = {0};
    cereus_status st = cereus_rpc_raw(ctx, c->route, c->in, &reply, &c->options);
    c->done(ctx, st, reply, c->user);
    crs_free(c);
}

cereus_status cereus_app_rpc(cereus_app *app, const char *service, const char *route, cereus_slice in,
                             const cereus_rpc_options *options, cereus_rpc_done_fn *done, void *user)
{
    const char *server_id = options ? options->server_id : NULL;
    size_t route_len = strlen(route) + 1, id_len = server_id ? strlen(server_id) + 1 : 0;
    outside_call *c = in.len < SIZE_MAX / 2 ? crs_malloc(sizeof *c + route_len + id_len + in.len) : NULL;
    if (!c)
        return CEREUS_E_NOMEM;
    char *at = c->texts;
    *c = (outside_call){.options = options ? *options : (cereus_rpc_options){0}, .done = done, .user = user};
    c->route = memcpy(at, route, route_len);
    if (server_id)
        c->options.server_id = memcpy(at + route_len, server_id, id_len);
    at += route_len + id_len;
    if (in.len)
        memcpy(at, in.data, in.len);
    c->in = cereus_slice_of(at, in.len);
    cereus_status st = crs_app_spawn(app, service, call_for_outside, c, false);
    if (st)
        crs_free(c);
    return st;
}

cereus_status cereus_app_before_remote(cereus_app *app, cereus_before_fn *fn, void *user)
{
    CEREUS_TRY(crs_app_check_setup(app, NULL, "callbacks"));
    return crs_hook_add(&app->core.remotes.before, false, NULL, (void (*)(void))fn, user);
}

cereus_status cereus_app_after_remote(cereus_app *app, cereus_after_fn *fn, void *user)
{
    CEREUS_TRY(crs_app_check_setup(app, NULL, "callbacks"));
    return crs_hook_add(&app->core.remotes.after, false, NULL, (void (*)(void))fn, user);
}

cereus_status cereus_app_add_discovery(cereus_app *app, const char *name, const cereus_discovery_engine *engine,
                                       void *user, cereus_error *err)
{
    CEREUS_TRY(crs_app_check_setup(app, err, "engines"));
    return crs_cluster_engine_add(&app->engines, name, engine, NULL, user, err);
}

cereus_status cereus_app_add_rpc(cereus_app *app, const char *name, const cereus_rpc_engine *engine, void *user,
                                 cereus_error *err)
{
    CEREUS_TRY(crs_app_check_setup(app, err, "engines"));
    return crs_cluster_engine_add(&app->engines, name, NULL, engine, user, err);
}

bool cereus_app_is_ready(cereus_app *app)
{
    pthread_mutex_lock(&app->mu);
    bool ready = app->state == CRS_APP_RUNNING && app->loops_up && (!app->cluster || crs_cluster_ready(app->cluster));
    pthread_mutex_unlock(&app->mu);
    return ready;
}

void crs_app_cluster_fini(cereus_app *app)
{
    while (app->routes) {
        crs_cluster_route *next = app->routes->next;
        crs_free(app->routes->type);
        crs_free(app->routes);
        app->routes = next;
    }
    crs_cluster_engines_free(&app->engines);
    json_decref(app->metadata);
}

const char *crs_app_discovery(const cereus_app *app)
{
    const char *set = crs_config_text(app->config, CRS_KEY_CLUSTER);
    if (strcmp(set, "auto") != 0)
        return set;
    bool etcd = crs_config_is_set(app->config, CRS_KEY_ETCD_ENDPOINTS);
    return !app->clustered ? "none" : etcd ? "etcd" : "local";
}

cereus_status crs_app_cluster_make(cereus_app *app, cereus_error *err)
{
    const cereus_config *cfg = app->config;
    const char *discovery = crs_app_discovery(app), *rpc = crs_config_text(cfg, CRS_KEY_CLUSTER_RPC);
    app->core.cluster = NULL;
    app->core.unique = false;
    if (strcmp(discovery, "none") == 0) {
        if (app->core.remotes.service_count)
            crs_log_warn(&app->log, "remotes are registered, but nobody can call them: this server is alone",
                         CRS_UINT("services", app->core.remotes.service_count), CRS_STR("fix", "cereus.cluster"));
        return CEREUS_OK;
    }
    if (strcmp(rpc, "auto") == 0)
        rpc = strcmp(discovery, "local") == 0 ? "local" : "nats";
    struct utsname host;
    if (uname(&host) != 0)
        host.nodename[0] = '\0';
    crs_bytes meta;
    crs_bytes_init(&meta, 60000);
    cereus_status st = app->metadata ? crs_json_text(app->metadata, &meta) : crs_bytes_append_str(&meta, "{}");
    if (!st)
        st = crs_bytes_append_byte(&meta, '\0');
    char dir[300];
    crs_cluster_options opt = {
        .core = &app->core,
        .self = {.id = cereus_app_id(app),
                 .type = app->type,
                 .hostname = host.nodename,
                 .frontend = app->frontend,
                 .metadata = (const char *)meta.data},
        .discovery = discovery,
        .rpc = rpc,
        .engines = app->engines,
        .dir = crs_local_dir(crs_config_text(cfg, CRS_KEY_CLUSTER_DIR), dir, sizeof dir),
        .config = cfg,
        .routes = app->routes,
        .request_timeout_ms = (uint64_t)crs_config_ms(cfg, CRS_KEY_REQUEST_TIMEOUT),
        .requests_max = (size_t)crs_config_int(cfg, CRS_KEY_CLUSTER_REQUESTS),
        .lane_max = app->core.inbox_messages * 2,
        .unique = app->frontend && crs_config_bool(cfg, CRS_KEY_SESSION_UNIQUE),
        .observes = app->observes,
    };
    st = st ? crs_fail(err, st, "the server's metadata are too long") : crs_cluster_new(&opt, &app->cluster, err);
    crs_bytes_fini(&meta);
    if (st)
        return st;
    app->core.cluster = &crs_cluster_dispatch_ops;
    app->core.cluster_user = app->cluster;
    app->core.unique = opt.unique;
    if (!crs_registry_service(&app->core.remotes, "sys"))
        return crs_cluster_register_sys(&app->core, err);
    return CEREUS_OK;
}
