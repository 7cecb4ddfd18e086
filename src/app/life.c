/* app/life.c: the lives of services and modules: who is initialised and shut down when, one step after the other. The thread
 * that starts and stops the app waits for each step, which runs on a fiber. */
#include "app/app_priv.h"
#include "module/binary.h"
#include "module/life.h"

enum { PATIENCE_MS = 10 * 1000 }; /* then the log says whom a stop waits for */

cereus_status cereus_app_add_module(cereus_app *app, const char *name, const cereus_module *module, void *user,
                                    cereus_error *err)
{
    CEREUS_TRY(crs_app_check_setup(app, err, "modules"));
    return crs_modules_add(&app->modules, name, module, user, NULL, false, err);
}

cereus_status cereus_app_add_module_first(cereus_app *app, const char *name, const cereus_module *module, void *user,
                                          cereus_error *err)
{
    CEREUS_TRY(crs_app_check_setup(app, err, "modules"));
    return crs_modules_add(&app->modules, name, module, user, NULL, true, err);
}

cereus_status cereus_app_add_binary(cereus_app *app, const char *name, const cereus_binary_options *options,
                                    cereus_error *err)
{
    CEREUS_TRY(crs_app_check_setup(app, err, "modules"));
    if (!options->path || !*options->path)
        return crs_fail(err, CEREUS_E_INVALID, "module \"%s\": a binary module needs a path", name ? name : "");
    crs_binary *b = crs_binary_new(name ? name : "", options);
    if (!b)
        return crs_fail(err, CEREUS_E_NOMEM, "module \"%s\": out of memory", name ? name : "");
    return crs_modules_add(&app->modules, name, &crs_binary_module, b, crs_binary_free, false, err);
}

void *cereus_app_module(cereus_app *app, const char *name, cereus_error *err)
{
    crs_module *m = crs_modules_find(&app->modules, name ? name : "");
    if (!m)
        crs_fail(err, CEREUS_E_NOT_FOUND, "module with name %s not found", name ? name : "");
    return m ? m->user : NULL;
}

bool crs_app_await(cereus_app *app, crs_life_call *call, unsigned end_on, int64_t until_ms)
{
    bool cut = false;
    while (!crs_life_ended(call)) {
        int64_t left = cut ? PATIENCE_MS : CRS_MIN(until_ms - crs_app_now_ms(app), (int64_t)PATIENCE_MS);
        crs_wake wake = crs_signals_poll(app, CRS_WAKE_CALL | (cut ? 0 : end_on), left > 0 ? (int)left : 0);
        if (wake == CRS_WAKE_CALL)
            continue; /* its own end, or an old one's */
        if (!cut && (wake != CRS_WAKE_TIME || crs_app_now_ms(app) >= until_ms)) {
            crs_life_cancel(call);
            cut = true;
        } else if (!crs_life_ended(call)) {
            crs_log_warn(&app->log, "still waiting", CRS_STR("for", call->name));
        }
    }
    return !cut;
}

/* ---- one step of everybody ---- */

typedef struct step {
    const char *kind; /* "module", "service" */
    const char *name;
    crs_dispatch *d;
    void *user;
} step;

static step step_of_module(cereus_app *app, const crs_module *m)
{
    return (step){.kind = "module", .name = m->name, .d = app->core.loops[0], .user = m->user};
}

static step step_of_service(cereus_app *app, const crs_service *s)
{
    return (step){.kind = "service", .name = s->name, .d = app->core.loops[crs_service_loop(s)], .user = s->opt.user};
}

static step step_of_cluster(cereus_app *app)
{
    return (step){.kind = "cluster", .name = app->type, .d = app->core.loops[0], .user = app->cluster};
}

static crs_life_call call_of(cereus_app *app, step s)
{
    return (crs_life_call){.d = s.d, .name = s.name, .user = s.user, .wake_fd = app->life_fd};
}

/** While starting: signals end it, where the program has left them to us. */
static cereus_status begin_step(cereus_app *app, step s, crs_life_fn *fn, crs_life_void_fn *void_fn, cereus_error *err)
{
    if (!fn && !void_fn)
        return CEREUS_OK;
    crs_life_call call = call_of(app, s);
    call.fn = fn;
    call.void_fn = void_fn;
    crs_life_post(&call);
    if (!crs_app_await(app, &call, app->signals_taken ? CRS_WAKE_SIGNAL : 0, INT64_MAX))
        return crs_fail(err, CEREUS_E_CANCELLED, "%s \"%s\": stopped by a signal while it started", s.kind, s.name);
    if (!call.err.status)
        return CEREUS_OK;
    if (err)
        *err = call.err;
    return crs_fail_in(err, call.err.status, "%s \"%s\"", s.kind, s.name);
}

static void end_step(cereus_app *app, step s, crs_life_fn *fn, crs_life_void_fn *void_fn)
{
    if (!fn && !void_fn)
        return;
    crs_life_call call = call_of(app, s);
    call.fn = fn;
    call.void_fn = void_fn;
    crs_life_post(&call);
    crs_app_await(app, &call, 0, INT64_MAX);
    if (call.err.status)
        crs_log_error(&app->log, "shutdown failed", CRS_STR("kind", s.kind), CRS_STR("name", s.name),
                      CRS_ERR(&call.err));
}

/* ---- start ---- */

cereus_status crs_life_begin_all(cereus_app *app, cereus_error *err)
{
    crs_registry *r = &app->core.registry;
    for (crs_service *s = r->services; s; s = s->next) {
        CEREUS_TRY(begin_step(app, step_of_service(app, s), s->opt.init, NULL, err));
        s->initialised = true;
    }
    for (crs_service *s = r->services; s; s = s->next) {
        CEREUS_TRY(begin_step(app, step_of_service(app, s), NULL, s->opt.after_init, err));
        s->after_init_done = true;
    }
    for (crs_module *m = app->modules.first; m; m = m->next) {
        CEREUS_TRY(begin_step(app, step_of_module(app, m), m->decl.init, NULL, err));
        m->initialised = true;
    }
    for (crs_module *m = app->modules.first; m; m = m->next) {
        CEREUS_TRY(begin_step(app, step_of_module(app, m), NULL, m->decl.after_init, err));
        m->after_init_done = true;
    }
    if (!app->cluster) /* last: who is found by the others can be called */
        return CEREUS_OK;
    return begin_step(app, step_of_cluster(app), crs_cluster_join, NULL, err);
}

/* ---- stop ---- */

/** The service at @p index, in the order registered. The list has no way back, and a stop has time. */
static crs_service *service_at(const crs_registry *r, size_t index)
{
    crs_service *s = r->services;
    while (index-- > 0)
        s = s->next;
    return s;
}

void crs_life_leave(cereus_app *app)
{
    end_step(app, step_of_cluster(app), NULL, crs_cluster_leave);
}

void crs_life_end_all(cereus_app *app)
{
    const crs_registry *r = &app->core.registry;
    for (crs_module *m = app->modules.last; m; m = m->prev) {
        if (m->after_init_done)
            end_step(app, step_of_module(app, m), NULL, m->decl.before_shutdown);
    }
    for (crs_module *m = app->modules.last; m; m = m->prev) {
        if (m->initialised)
            end_step(app, step_of_module(app, m), m->decl.shutdown, NULL);
    }
    for (size_t i = r->service_count; i-- > 0;) {
        crs_service *s = service_at(r, i);
        if (s->after_init_done)
            end_step(app, step_of_service(app, s), NULL, s->opt.before_shutdown);
    }
    for (size_t i = r->service_count; i-- > 0;) {
        crs_service *s = service_at(r, i);
        if (s->initialised)
            end_step(app, step_of_service(app, s), s->opt.shutdown, NULL);
    }
}

/* ---- draining ---- */

static size_t sessions_left(cereus_app *app, unsigned end_on, int64_t until_ms, bool *ret_cut)
{
    size_t most = cereus_app_session_count(app);
    for (crs_module *m = app->modules.first; m && !*ret_cut; m = m->next) {
        if (!m->decl.session_count)
            continue;
        crs_life_call call = call_of(app, step_of_module(app, m));
        call.count_fn = m->decl.session_count;
        crs_life_post(&call);
        *ret_cut = !crs_app_await(app, &call, end_on, until_ms);
        if (call.count > 0)
            most = CRS_MAX(most, (size_t)call.count);
    }
    return most;
}

static void drain_step(cereus_app *app, step s, crs_life_void_fn *fn, unsigned end_on, int64_t until_ms, bool *ret_cut)
{
    if (!fn || *ret_cut)
        return;
    crs_life_call call = call_of(app, s);
    call.void_fn = fn;
    crs_life_post(&call);
    *ret_cut = !crs_app_await(app, &call, end_on, until_ms);
}

static void start_draining(cereus_app *app, unsigned end_on, int64_t until_ms, bool *ret_cut)
{
    if (app->cluster && crs_config_bool(app->config, CRS_KEY_DRAIN_REFUSE))
        drain_step(app, step_of_cluster(app), crs_cluster_drain, end_on, until_ms, ret_cut);
    for (crs_module *m = app->modules.last; m; m = m->prev)
        drain_step(app, step_of_module(app, m), m->decl.start_draining, end_on, until_ms, ret_cut);
}

void crs_drain(cereus_app *app)
{
    const unsigned end_on = CRS_WAKE_SIGNAL | CRS_WAKE_SHUTDOWN;
    int64_t timeout = crs_config_ms(app->config, CRS_KEY_DRAIN_TIMEOUT);
    int64_t period = crs_config_ms(app->config, CRS_KEY_DRAIN_PERIOD);
    int64_t until = crs_app_now_ms(app) + timeout;
    bool cut = false;
    if (crs_config_bool(app->config, CRS_KEY_DRAIN_REFUSE))
        crs_app_refuse_players(app);
    crs_log_info(&app->log, "draining: the stop waits for sessions to end", CRS_DUR_MS("timeout", timeout),
                 CRS_UINT("remaining", cereus_app_session_count(app)));
    start_draining(app, end_on, until, &cut);
    size_t left = 0;
    while (!cut) {
        size_t now = sessions_left(app, end_on, until, &cut);
        left = cut ? CRS_MAX(left, now) : now; /* one that was cut short has not counted all */
        if (cut || left == 0)
            break;
        crs_log_info(&app->log, "draining: sessions remain", CRS_UINT("remaining", left));
        int64_t wait = CRS_MIN(period, until - crs_app_now_ms(app));
        crs_wake wake = CRS_WAKE_TIME;
        if (wait > 0)
            wake = crs_signals_poll(app, end_on, (int)CRS_MIN(wait, (int64_t)INT32_MAX));
        cut = wake != CRS_WAKE_TIME || crs_app_now_ms(app) >= until;
    }
    if (cut)
        crs_log_warn(
            &app->log, "draining was cut short: sessions are closed",
            CRS_STR("why", crs_app_now_ms(app) >= until ? "pitaya.session.drain.timeout" : "asked to stop now"),
            CRS_UINT("remaining", CRS_MAX(left, cereus_app_session_count(app))));
    else
        crs_log_info(&app->log, "draining has ended: no sessions remain");
}
