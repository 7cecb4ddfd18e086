/* app/listeners.c: see listeners.h. */
#include "app/listeners.h"

#include <unistd.h>

#include "app/app_priv.h"
#include "transport/tls.h"

void crs_listeners_init(crs_app_listeners *l)
{
    *l = (crs_app_listeners){0};
    crs_wrappers_init(&l->wrappers);
}

void crs_listeners_fini(crs_app_listeners *l)
{
    for (size_t i = 0; i < l->url_count; i++)
        crs_free(l->urls[i]);
    crs_custom_free_all(&l->custom);
    crs_wrappers_fini(&l->wrappers);
}

/* ---- set-up ---- */

cereus_status cereus_app_listen(cereus_app *app, const char *url, cereus_error *err)
{
    crs_app_listeners *l = &app->listeners;
    CEREUS_TRY(crs_app_check_setup(app, err, "listeners"));
    if (!app->frontend)
        return crs_fail(err, CEREUS_E_STATE, "listener \"%s\": a backend takes no players; make the app a frontend",
                        url);
    if (l->url_count == CRS_LISTENERS_MAX)
        return crs_fail(err, CEREUS_E_FULL, "listener \"%s\": at most %d listeners", url, CRS_LISTENERS_MAX);
    crs_endpoint endpoint;
    if (!crs_custom_find(l->custom, url))
        CEREUS_TRY(crs_endpoint_parse(url, &endpoint, err));
    if (!(l->urls[l->url_count] = crs_strdup(url)))
        return crs_fail(err, CEREUS_E_NOMEM, "listener \"%s\": out of memory", url);
    l->url_count++;
    return CEREUS_OK;
}

const char *cereus_app_address(cereus_app *app, size_t index)
{
    crs_app_listeners *l = &app->listeners;
    pthread_mutex_lock(&app->mu);
    const char *text = app->loops_up && index < l->count ? l->all[index].endpoint.text : NULL;
    pthread_mutex_unlock(&app->mu);
    return text;
}

cereus_status cereus_app_add_acceptor(cereus_app *app, const char *scheme, const cereus_acceptor *acceptor, void *user,
                                      cereus_error *err)
{
    CEREUS_TRY(crs_app_check_setup(app, err, "acceptors"));
    return crs_custom_add(&app->listeners.custom, scheme, acceptor, user, err);
}

cereus_status cereus_app_add_wrapper(cereus_app *app, const cereus_wrapper *wrapper, void *user)
{
    CEREUS_TRY(crs_app_check_setup(app, NULL, "wrappers"));
    return crs_wrappers_add(&app->listeners.wrappers, wrapper, user, false);
}

cereus_status cereus_app_add_rate_limit(cereus_app *app)
{
    crs_app_listeners *l = &app->listeners;
    CEREUS_TRY(crs_app_check_setup(app, NULL, "wrappers"));
    l->rate_limit_placed = true;
    return crs_wrappers_add(&l->wrappers, &crs_rate_limit_wrapper, &l->rate_limit, false);
}

/* ---- claiming ---- */

static cereus_status claim_custom(crs_app_listener *one, const char *url, cereus_error *err)
{
    cereus_status st = one->custom->ops->open(url, one->custom->user, &one->custom_state, err);
    if (st)
        return crs_fail_in(err, st, "listener \"%.200s\"", url);
    snprintf(one->endpoint.text, sizeof one->endpoint.text, "%s", url);
    return CEREUS_OK;
}

/** Do both want the same port of the same address? What the system says of that sounds as if another program had it. */
static bool collide(const crs_endpoint *a, const crs_endpoint *b)
{
    if (a->addr.ss_family != AF_INET || b->addr.ss_family != AF_INET)
        return a->addr_len == b->addr_len && memcmp(&a->addr, &b->addr, a->addr_len) == 0 &&
               ((const struct sockaddr_in6 *)&a->addr)->sin6_port != 0;
    const struct sockaddr_in *x = (const struct sockaddr_in *)&a->addr, *y = (const struct sockaddr_in *)&b->addr;
    bool any = x->sin_addr.s_addr == INADDR_ANY || y->sin_addr.s_addr == INADDR_ANY;
    return x->sin_port != 0 && x->sin_port == y->sin_port && (any || x->sin_addr.s_addr == y->sin_addr.s_addr);
}

static cereus_status claim_ours(const crs_app_listeners *l, crs_app_listener *one, const char *url, cereus_error *err)
{
    CEREUS_TRY(crs_endpoint_parse(url, &one->endpoint, err));
    for (size_t i = 0; i < l->count; i++) {
        if (!l->all[i].custom && collide(&l->all[i].endpoint, &one->endpoint))
            return crs_fail(err, CEREUS_E_INVALID,
                            "listener \"%s\": the listener \"%s\" has that port already; give each its own", url,
                            l->all[i].endpoint.text);
    }
    return crs_endpoint_claim(&one->endpoint, &one->claim, err);
}

static cereus_status load_certificate(cereus_app *app, crs_tls **ret_tls, cereus_error *err)
{
    const char *cert = crs_config_text(app->config, CRS_KEY_TLS_CERT),
               *key = crs_config_text(app->config, CRS_KEY_TLS_KEY);
    if (!*cert || !*key) {
        const char *missing = *cert ? "cereus.tls.key" : "cereus.tls.cert";
        return crs_fail(err, CEREUS_E_INVALID,
                        "a tls:// or wss:// listener needs a certificate: set %s to its PEM file", missing);
    }
    cereus_status st = crs_tls_new(cert, key, ret_tls, err);
    return st == CEREUS_OK ? st : crs_fail_in(err, st, "cereus.tls.cert, cereus.tls.key");
}

static cereus_status set_up_wrappers(cereus_app *app)
{
    const cereus_config *cfg = app->config;
    crs_app_listeners *l = &app->listeners;
    l->rate_limit = (crs_rate_limit){
        .limit = (uint32_t)crs_config_int(cfg, CRS_KEY_RATELIMIT_LIMIT),
        .interval_us = (uint64_t)crs_config_ms(cfg, CRS_KEY_RATELIMIT_INTERVAL) * 1000,
        .off = crs_config_bool(cfg, CRS_KEY_RATELIMIT_DISABLE),
        .answer = crs_config_bool(cfg, CRS_KEY_RATELIMIT_ANSWER),
        .data_only = crs_config_choice(cfg, CRS_KEY_RATELIMIT_COUNT) == 1,
    };
    if (!crs_config_bool(cfg, CRS_KEY_RATELIMIT_ENABLED) || l->rate_limit_placed)
        return CEREUS_OK;
    l->rate_limit_placed = true;
    return crs_wrappers_add(&l->wrappers, &crs_rate_limit_wrapper, &l->rate_limit, true);
}

cereus_status crs_listeners_claim(cereus_app *app, cereus_error *err)
{
    crs_app_listeners *l = &app->listeners;
    if (app->manual) { /* players come through manual.h, and through the wrappers */
        if (set_up_wrappers(app))
            return crs_fail(err, CEREUS_E_NOMEM, "wrappers: out of memory");
        return CEREUS_OK;
    }
    size_t count;
    const char *const *urls = crs_config_list(app->config, CRS_KEY_LISTEN, &count);
    if (count == 0) {
        urls = (const char *const *)l->urls;
        count = l->url_count;
    } else if (!app->frontend) {
        return crs_fail(err, CEREUS_E_INVALID, "cereus.listen: a backend takes no players; remove it (%s)",
                        crs_config_source(app->config, CRS_KEY_LISTEN));
    }
    if (app->frontend && count == 0)
        return crs_fail(err, CEREUS_E_INVALID,
                        "a frontend needs a listener: call cereus_app_listen() or set cereus.listen, for example to "
                        "ws://0.0.0.0:3250");
    if (count > CRS_LISTENERS_MAX)
        return crs_fail(err, CEREUS_E_INVALID, "cereus.listen: at most %d listeners", CRS_LISTENERS_MAX);
    bool tls = false;
    for (size_t i = 0; i < count; i++) {
        crs_app_listener *one = &l->all[i];
        *one = (crs_app_listener){.claim = -1, .custom = crs_custom_find(l->custom, urls[i])};
        CEREUS_TRY(one->custom ? claim_custom(one, urls[i], err) : claim_ours(l, one, urls[i], err));
        l->count = i + 1;
        tls = tls || one->endpoint.tls;
    }
    if (tls)
        CEREUS_TRY(load_certificate(app, &l->tls, err));
    else if (*crs_config_text(app->config, CRS_KEY_TLS_CERT))
        crs_log_warn(&app->log, "cereus.tls.cert is set, but no listener begins with tls:// or wss://",
                     CRS_STR("from", crs_config_source(app->config, CRS_KEY_TLS_CERT)));
    if (set_up_wrappers(app))
        return crs_fail(err, CEREUS_E_NOMEM, "wrappers: out of memory");
    return CEREUS_OK;
}

void crs_listeners_drop_claims(cereus_app *app)
{
    for (size_t i = 0; i < app->listeners.count; i++) {
        int *claim = &app->listeners.all[i].claim;
        if (*claim >= 0)
            close(*claim);
        *claim = -1;
    }
}

void crs_listeners_release(cereus_app *app)
{
    crs_app_listeners *l = &app->listeners;
    crs_listeners_drop_claims(app);
    for (size_t i = 0; i < l->count; i++) {
        if (l->all[i].custom && l->all[i].custom->ops->close)
            l->all[i].custom->ops->close(l->all[i].custom_state);
    }
    l->count = 0;
    l->tls = crs_tls_unref(l->tls);
}

/* ---- on a loop ---- */

cereus_status crs_listeners_open(crs_app_loop *l, cereus_error *err)
{
    crs_app_listeners *all = &l->app->listeners;
    for (size_t i = 0; i < all->count; i++) {
        crs_app_listener *one = &all->all[i];
        if (!one->custom) {
            CEREUS_TRY(crs_listener_new(l->dispatch.transport, &one->endpoint, &l->listeners.ours[i], err));
            continue;
        }
        l->listeners.custom_started[i] = true;
        cereus_status st = one->custom->ops->start(one->custom_state, crs_public_loop(l->dispatch.transport), err);
        if (st)
            return crs_fail_in(err, st, "listener \"%s\"", one->endpoint.text);
    }
    return CEREUS_OK;
}

void crs_listeners_close(crs_app_loop *l)
{
    crs_app_listeners *all = &l->app->listeners;
    for (size_t i = 0; i < all->count; i++) {
        l->listeners.ours[i] = crs_listener_free(l->listeners.ours[i]);
        if (l->listeners.custom_started[i] && all->all[i].custom->ops->stop)
            all->all[i].custom->ops->stop(all->all[i].custom_state, crs_public_loop(l->dispatch.transport));
        l->listeners.custom_started[i] = false;
    }
}

/* ---- a new certificate ---- */

typedef struct renewal {
    crs_mail mail;
    crs_transport *transport;
    crs_tls *tls;
} renewal;

static void renew(crs_loop *loop, crs_mail *mail)
{
    renewal *r = CRS_CONTAINER(mail, renewal, mail);
    if (crs_transport_set_tls(r->transport, r->tls) != CEREUS_OK)
        crs_log_error(loop->log, "out of memory: the old certificate stays");
    crs_free(r);
}

cereus_status cereus_app_reload(cereus_app *app, cereus_error *err)
{
    pthread_mutex_lock(&app->mu);
    bool needed = app->state == CRS_APP_RUNNING && app->listeners.tls;
    pthread_mutex_unlock(&app->mu);
    if (!needed)
        return CEREUS_OK;
    crs_tls *tls = NULL;
    CEREUS_TRY(load_certificate(app, &tls, err)); /* reads files: not under the lock */
    cereus_status st = CEREUS_OK;
    pthread_mutex_lock(&app->mu);
    for (uint32_t i = 0; app->state == CRS_APP_RUNNING && i < app->core.loop_count; i++) {
        renewal *r = crs_malloc(sizeof *r);
        if (!r) {
            st = crs_fail(err, CEREUS_E_NOMEM, "out of memory: loops from number %u on keep the old certificate", i);
            break;
        }
        *r = (renewal){.mail = {.run = renew}, .transport = app->loops[i].dispatch.transport, .tls = crs_tls_ref(tls)};
        crs_loop_post_reserved(app->loops[i].loop, &r->mail);
    }
    pthread_mutex_unlock(&app->mu);
    crs_tls_unref(tls);
    return st;
}
