/* app/banner.c: what a start tells people: what runs here, and whether the system lets it have what it was told to use. */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app/app_priv.h"

enum {
    DESCRIPTORS_FEW = 4096,    /* fewer is no server, whatever the settings say */
    DESCRIPTORS_SPARE = 64,    /* files, listeners, clients on their way in and out */
    DESCRIPTORS_PER_LOOP = 32, /* epoll, timer, wake-up, listeners */
    NAMES_CAP = 200,           /* room for a service's methods; a field of the log has not much more */
};

void crs_raise_descriptor_limit(cereus_app *app)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
    if (!app->frontend || getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return;
    uint64_t needed = DESCRIPTORS_FEW;
    bool chosen = crs_config_is_set(app->config, CRS_KEY_SESSIONS_MAX);
    if (chosen) /* the default is a bound, not a plan */
        needed = ((uint64_t)crs_config_int(app->config, CRS_KEY_SESSIONS_MAX) + DESCRIPTORS_PER_LOOP) *
                     CRS_MAX(app->core.loop_count, 1u) +
                 DESCRIPTORS_SPARE;
    if (lim.rlim_cur >= needed)
        return;
    char fix[120];
    snprintf(fix, sizeof fix, "ulimit -n %llu, LimitNOFILE=%llu in a systemd unit%s", (unsigned long long)needed,
             (unsigned long long)needed, chosen ? ", or a lower cereus.sessions.max" : "");
    crs_log_warn(&app->log, "few file descriptors: each player takes one", CRS_UINT("limit", lim.rlim_cur),
                 CRS_UINT("needed", needed), CRS_STR("fix", fix));
}

/** "join, leave and 3 more" */
static const char *method_names(const crs_service *s, char out[NAMES_CAP])
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < s->method_count; i++) {
        const char *name = s->methods[i].decl.name;
        size_t rest = s->method_count - i;
        size_t keep = rest > 1 ? strlen(" and 4294967295 more") : 0;
        if (len + strlen(name) + 2 + keep >= NAMES_CAP) {
            snprintf(out + len, NAMES_CAP - len, "%s%zu more", len ? " and " : "", rest);
            break;
        }
        len += (size_t)snprintf(out + len, NAMES_CAP - len, "%s%s", len ? ", " : "", name);
    }
    return out;
}

static void show_service(crs_log *log, const crs_service *s)
{
    static const char *const homes[] = {"one", "session", "key"};
    static const char *const shapes[] = {"nothing", "bytes", "message", "json"};
    char names[NAMES_CAP];
    crs_log_info(log, "service", CRS_STR("name", s->name), CRS_STR("home", homes[s->opt.home]),
                 CRS_UINT("routes", s->method_count), CRS_STR("methods", method_names(s, names)));
    for (size_t i = 0; i < s->method_count; i++) {
        const crs_method *m = &s->methods[i];
        crs_log_debug(log, "route", CRS_STR("name", m->route),
                      CRS_STR("kind", m->decl.out == CEREUS_NOTHING ? "notify" : "request"),
                      CRS_STR("in", shapes[m->decl.in]), CRS_STR("out", shapes[m->decl.out]),
                      CRS_BOOL("concurrent", m->decl.flags & CEREUS_CONCURRENT));
    }
}

void crs_show_banner(cereus_app *app)
{
    crs_log *log = &app->log;
    app->started_ms = crs_app_now_ms(app);
    crs_log_info(log, "server started", CRS_STR("type", app->type), CRS_STR("id", cereus_app_id(app)),
                 CRS_STR("cereus", CEREUS_VERSION), CRS_UINT("pid", (uint64_t)getpid()),
                 CRS_UINT("loops", app->core.loop_count), CRS_STR("serializer", app->core.serializer->name),
                 CRS_DUR_MS("heartbeat", crs_config_ms(app->config, CRS_KEY_HEARTBEAT_INTERVAL)),
                 CRS_UINT("services", app->core.registry.service_count), CRS_UINT("listeners", app->listeners.count));
    for (const crs_service *s = app->core.registry.services; s; s = s->next)
        show_service(log, s);
    for (size_t i = 0; i < app->listeners.count; i++)
        crs_log_info(log, "listening", CRS_STR("address", app->listeners.all[i].endpoint.text));
}
