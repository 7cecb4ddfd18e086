/* app/app.c: an app as the game holds it: what it is made of, what is set up before the start, and what may be asked
 * and given to it at any time. How it starts and stops stands in run.c. */
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "app/app_priv.h"

/* ---- making ---- */

static char *make_uuid(void)
{
    uint8_t b[16];
    char *text = crs_malloc(37);
    if (!text || getrandom(b, sizeof b, 0) != (ssize_t)sizeof b) {
        crs_free(text);
        return NULL;
    }
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 9562: version 4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(text, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
             b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return text;
}

cereus_app *cereus_app_new(const cereus_app_options *options)
{
    cereus_app *app = crs_zalloc(sizeof *app);
    if (!app)
        return NULL;
    app->shutdown_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    app->life_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    app->signal_fd = -1;
    crs_listeners_init(&app->listeners);
    app->notify.fd = -1;
    pthread_mutex_init(&app->mu, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&app->changed, &attr);
    pthread_condattr_destroy(&attr);
    crs_log_init(&app->log, &(crs_log_options){.level = CEREUS_LOG_INFO});
    app->type = crs_strdup(options && options->type ? options->type : "game");
    app->frontend = options && options->frontend;
    app->clustered = options && options->cluster;
    app->id = make_uuid();
    app->config = cereus_config_new();
    app->groups = crs_groups_new();
    app->timers = crs_app_timers_new(&app->core);
    app->core.app = app;
    app->core.is_frontend = app->frontend;
    app->core.log = &app->log;
    app->core.groups = app->groups;
    app->core.descriptors = crs_descriptors_new();
    app->core.rules = crs_rules_new();
    app->core.dict = crs_route_dict_new();
    app->core.uids = crs_uid_index_new();
    if (app->shutdown_fd < 0 || app->life_fd < 0 || !app->type || !app->id || !app->config || !app->groups ||
        !app->timers || !app->core.descriptors || !app->core.rules || !app->core.dict || !app->core.uids ||
        crs_registry_init(&app->core.registry, app->type) != CEREUS_OK ||
        crs_registry_init(&app->core.remotes, app->type) != CEREUS_OK)
        return cereus_app_free(app);
    return app;
}

cereus_app *cereus_app_free(cereus_app *app)
{
    if (!app)
        return NULL;
    CRS_ASSERT(app->state != CRS_APP_RUNNING);
    crs_registry_fini(&app->core.registry);
    crs_registry_fini(&app->core.remotes);
    crs_app_cluster_fini(app);
    crs_descriptors_free(app->core.descriptors);
    crs_rules_free(app->core.rules);
    crs_free(app->core.docs_text);
    crs_free(app->core.docs_plain_text);
    crs_hook_free_all(&app->core.on_bind);
    crs_hook_free_all(&app->core.on_after_bind);
    crs_hook_free_all(&app->core.on_close);
    crs_hook_free_all(&app->core.validators);
    crs_hook_free_all(&app->core.on_server);
    crs_route_dict_free(app->core.dict);
    crs_uid_index_free(app->core.uids);
    crs_groups_free(app->groups);
    crs_modules_fini(&app->modules);
    crs_app_timers_free(app->timers);
    while (app->tasks) {
        crs_app_task *next = app->tasks->next;
        crs_free(app->tasks->service);
        crs_free(app->tasks);
        app->tasks = next;
    }
    crs_listeners_fini(&app->listeners);
    cereus_config_free(app->config);
    crs_free(app->loops);
    crs_free(app->type);
    crs_free(app->id);
    if (app->shutdown_fd >= 0)
        close(app->shutdown_fd);
    crs_signals_close(app);
    if (app->life_fd >= 0)
        close(app->life_fd);
    pthread_cond_destroy(&app->changed);
    pthread_mutex_destroy(&app->mu);
    crs_free(app);
    return NULL;
}

cereus_config *cereus_app_config(cereus_app *app)
{
    return app->config;
}

const char *cereus_app_type(const cereus_app *app)
{
    return app->type;
}

const char *cereus_app_id(const cereus_app *app)
{
    const char *set = crs_config_text(app->config, CRS_KEY_ID);
    return set && *set ? set : app->id;
}

void cereus_app_set_user(cereus_app *app, void *user)
{
    app->user = user;
}

void *cereus_app_user(const cereus_app *app)
{
    return app->user;
}

/* ---- set-up ---- */

cereus_status crs_app_check_setup(const cereus_app *app, cereus_error *err, const char *what)
{
    if (app->state == CRS_APP_SETUP)
        return CEREUS_OK;
    return crs_fail(err, CEREUS_E_STATE, "you shouldn't change %s while the app is already running", what);
}

cereus_status cereus_app_set_log(cereus_app *app, cereus_log_fn *fn, void *user)
{
    CEREUS_TRY(crs_app_check_setup(app, NULL, "the log"));
    app->log_fn = fn;
    app->log_user = user;
    return CEREUS_OK;
}

cereus_status cereus_app_set_serializer(cereus_app *app, const cereus_serializer *serializer)
{
    CEREUS_TRY(crs_app_check_setup(app, NULL, "the serializer"));
    app->core.serializer = serializer;
    return CEREUS_OK;
}

cereus_status cereus_app_add_dictionary(cereus_app *app, const char *route, uint16_t code, cereus_error *err)
{
    CEREUS_TRY(crs_app_check_setup(app, err, "the dictionary"));
    return crs_route_dict_add(app->core.dict, cereus_slice_str(route), code, err);
}

cereus_status cereus_app_register(cereus_app *app, const char *name, const cereus_method *methods, size_t method_count,
                                  const cereus_service_options *options, cereus_error *err)
{
    CEREUS_TRY(crs_app_check_setup(app, err, "services"));
    return crs_registry_add(&app->core.registry, name, methods, method_count, options, err);
}

static cereus_status add_hook(cereus_app *app, crs_hook **list, bool first, void (*fn)(void), void *user)
{
    CEREUS_TRY(crs_app_check_setup(app, NULL, "callbacks"));
    return crs_hook_add(list, first, NULL, fn, user);
}

typedef void any_fn(void);

cereus_status cereus_app_before(cereus_app *app, cereus_before_fn *fn, void *user)
{
    return add_hook(app, &app->core.registry.before, false, (any_fn *)fn, user);
}

cereus_status cereus_app_before_first(cereus_app *app, cereus_before_fn *fn, void *user)
{
    return add_hook(app, &app->core.registry.before, true, (any_fn *)fn, user);
}

cereus_status cereus_app_after(cereus_app *app, cereus_after_fn *fn, void *user)
{
    return add_hook(app, &app->core.registry.after, false, (any_fn *)fn, user);
}

cereus_status cereus_app_after_first(cereus_app *app, cereus_after_fn *fn, void *user)
{
    return add_hook(app, &app->core.registry.after, true, (any_fn *)fn, user);
}

cereus_status cereus_app_on_session_bind(cereus_app *app, cereus_bind_fn *fn, void *user)
{
    return add_hook(app, &app->core.on_bind, false, (any_fn *)fn, user);
}

cereus_status cereus_app_on_after_session_bind(cereus_app *app, cereus_bind_fn *fn, void *user)
{
    return add_hook(app, &app->core.on_after_bind, false, (any_fn *)fn, user);
}

cereus_status cereus_app_on_session_close(cereus_app *app, cereus_session_close_fn *fn, void *user)
{
    return add_hook(app, &app->core.on_close, false, (any_fn *)fn, user);
}

cereus_status cereus_app_add_handshake_validator(cereus_app *app, const char *name, cereus_handshake_fn *fn, void *user)
{
    CEREUS_TRY(crs_app_check_setup(app, NULL, "validators"));
    for (crs_hook *h = app->core.validators; h; h = h->next) {
        if (h->name && strcmp(h->name, name) == 0) {
            h->fn.any = (any_fn *)fn;
            h->user = user;
            return CEREUS_OK;
        }
    }
    return crs_hook_add(&app->core.validators, false, name, (any_fn *)fn, user);
}

void cereus_app_on_started(cereus_app *app, cereus_started_fn *fn, void *user)
{
    app->on_started = fn;
    app->on_started_user = user;
}

/* ---- tasks and questions ---- */

/** Remember a task until the start. */
static cereus_status keep_task_locked(cereus_app *app, const char *service, cereus_task_fn *fn, void *user)
{
    crs_app_task *t = crs_zalloc(sizeof *t);
    if (!t || !(t->service = crs_strdup(service ? service : ""))) {
        crs_free(t);
        return CEREUS_E_NOMEM;
    }
    t->fn = fn;
    t->user = user;
    crs_app_task **tail = &app->tasks;
    while (*tail)
        tail = &(*tail)->next;
    *tail = t;
    return CEREUS_OK;
}

cereus_status crs_app_spawn(cereus_app *app, const char *service, cereus_task_fn *fn, void *user, bool keep)
{
    uint32_t loop = 0;
    if (service && *service) {
        const crs_service *s = crs_registry_service(&app->core.registry, service);
        if (!s)
            return CEREUS_E_NOT_FOUND;
        loop = crs_service_loop(s);
    }
    cereus_status st = CEREUS_E_STATE;
    pthread_mutex_lock(&app->mu); /* so that the loop is there until the task has been posted */
    if (app->state == CRS_APP_RUNNING)
        st = crs_dispatch_spawn(app->core.loops[loop % app->core.loop_count], "task", fn, user);
    else if (app->state == CRS_APP_SETUP && keep)
        st = keep_task_locked(app, service, fn, user);
    pthread_mutex_unlock(&app->mu);
    return st;
}

cereus_status cereus_app_spawn(cereus_app *app, const char *service, cereus_task_fn *fn, void *user)
{
    cereus_status st = crs_app_spawn(app, service, fn, user, true);
    return st == CEREUS_E_STATE ? CEREUS_OK : st; /* it has stopped: dropped, as promised */
}

size_t cereus_app_session_count(cereus_app *app)
{
    size_t count = 0;
    pthread_mutex_lock(&app->mu); /* the loops stay while it is held */
    for (uint32_t i = 0; i < app->loops_up; i++)
        count +=
            atomic_load_explicit(&crs_frontend_sessions(app->core.loops[i]->frontend)->count, memory_order_relaxed);
    pthread_mutex_unlock(&app->mu);
    return count;
}

uint64_t cereus_app_counter(cereus_app *app, const char *name)
{
    uint64_t sum = 0;
    pthread_mutex_lock(&app->mu);
    for (size_t c = 0; crs_counter_name(c); c++) {
        if (strcmp(crs_counter_name(c), name) != 0)
            continue;
        for (uint32_t i = 0; i < app->loops_up; i++)
            sum += crs_counter_read(&app->core.loops[i]->loop->counters, (crs_counter)c);
    }
    pthread_mutex_unlock(&app->mu);
    return sum;
}
