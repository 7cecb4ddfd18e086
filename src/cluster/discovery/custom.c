/* cluster/discovery/custom.c: a discovery of the game's own. It may tell from any thread; the first loop hears it. */
#include <jansson.h>
#include <pthread.h>

#include "base/utf8.h"
#include "cluster/discovery/discovery_impl.h"
#include "dispatch/context.h"

enum { TEXT_MAX = 64 << 10 }; /* bytes of each text of a server, with its NUL */

/** A list that was told and not heard yet. */
typedef struct list {
    size_t count, refused;
    crs_server *servers[];
} list;

struct cereus_discovery {
    crs_discovery base;
    void *state;
    bool opened;
    crs_server *self;
    crs_mail mail;
    pthread_mutex_t mu;
    list *told;  /* guarded by mu: the newest; NULL: heard */
    bool posted; /* guarded by mu: the mail is on its way */
    bool live;   /* guarded by mu: between start and close: there is a loop to tell */
    bool joined; /* guarded by mu */
    bool works;  /* guarded by mu: the engine says so */
};

static cereus_discovery *custom_of(crs_discovery *d)
{
    return (cereus_discovery *)d;
}

static list *free_list(list *l)
{
    for (size_t i = 0; l && i < l->count; i++)
        crs_server_unref(l->servers[i]);
    crs_free(l);
    return NULL;
}

static void hear(cereus_discovery *d)
{
    pthread_mutex_lock(&d->mu);
    list *l = d->live ? d->told : NULL;
    if (l)
        d->told = NULL;
    pthread_mutex_unlock(&d->mu);
    if (!l)
        return;
    CRS_COUNT_N(&d->base.loop->counters, discovery_entries_refused, l->refused);
    d->base.opt.events->on_list(d->base.opt.user, l->servers, l->count);
    free_list(l);
}

static void news(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    cereus_discovery *d = CRS_CONTAINER(mail, cereus_discovery, mail);
    pthread_mutex_lock(&d->mu);
    d->posted = false;
    pthread_mutex_unlock(&d->mu);
    hear(d);
}

/** As crs_server_text() wants them, which could not tell what is wrong from memory that is out. */
static bool is_text(const char *text)
{
    size_t len = strnlen(text, TEXT_MAX);
    return len < TEXT_MAX && crs_utf8_valid(cereus_slice_of(text, len));
}

static bool is_metadata(const char *text)
{
    if (!is_text(text))
        return false;
    json_t *metadata = json_loads(text, 0, NULL), *value;
    const char *key;
    bool good = json_is_object(metadata);
    json_object_foreach(metadata, key, value) good = good && json_is_string(value);
    json_decref(metadata);
    return good;
}

/** CEREUS_E_MALFORMED: no server. */
static cereus_status read_server(const cereus_server *given, crs_server **ret_server)
{
    cereus_server s = *given;
    const char **texts[] = {&s.id, &s.type, &s.hostname};
    for (size_t i = 0; i < CEREUS_COUNT(texts); i++)
        *texts[i] = *texts[i] ? *texts[i] : "";
    if (!s.metadata)
        s.metadata = "{}";
    if (!is_text(s.id) || !is_text(s.type) || !is_text(s.hostname) || !is_metadata(s.metadata))
        return CEREUS_E_MALFORMED;
    char *text = crs_server_text(&s);
    if (!text)
        return CEREUS_E_NOMEM;
    cereus_status st = crs_server_parse(cereus_slice_str(text), ret_server); /* the checks are those of all engines */
    crs_free(text);
    return st;
}

cereus_status cereus_discovery_set_list(cereus_discovery *d, const cereus_server *servers, size_t count)
{
    list *l = count < SIZE_MAX / 16 ? crs_zalloc(sizeof *l + (count + 1) * sizeof *l->servers) : NULL;
    bool has_self = false;
    if (!l)
        return CEREUS_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        cereus_status st = read_server(&servers[i], &l->servers[l->count]);
        if (st == CEREUS_E_NOMEM) {
            free_list(l);
            return st;
        }
        l->refused += st != CEREUS_OK;
        if (st)
            continue;
        has_self |= strcmp(crs_server_view(l->servers[l->count])->id, d->base.opt.self->id) == 0;
        l->count++;
    }
    pthread_mutex_lock(&d->mu);
    if (!has_self)
        l->servers[l->count++] = crs_server_ref(d->self);
    list *old = d->told;
    d->told = l;
    if (d->live && !d->posted) {
        d->posted = true;
        crs_loop_post_reserved(d->base.loop, &d->mail);
    }
    pthread_mutex_unlock(&d->mu);
    free_list(old);
    return CEREUS_OK;
}

static void set_ready_locked(cereus_discovery *d)
{
    atomic_store_explicit(&d->base.ready, d->joined && d->works, memory_order_relaxed);
}

void cereus_discovery_set_ready(cereus_discovery *d, bool ready)
{
    pthread_mutex_lock(&d->mu);
    d->works = ready;
    set_ready_locked(d);
    pthread_mutex_unlock(&d->mu);
}

static void set_state(cereus_discovery *d, bool live, bool joined)
{
    pthread_mutex_lock(&d->mu);
    d->live = live;
    d->joined = joined;
    set_ready_locked(d);
    pthread_mutex_unlock(&d->mu);
}

/* ---- the table ---- */

/** The engine's own words, in front of them whose they are. */
static cereus_status tell_failure(const crs_discovery *base, cereus_status st, const cereus_error *why,
                                  cereus_error *err)
{
    return crs_fail(err, st, "discovery \"%s\": %s", base->opt.engine_name,
                    why->msg[0] ? why->msg : cereus_status_text(st));
}

static cereus_status custom_claim(crs_discovery *base, cereus_error *err)
{
    cereus_discovery *d = custom_of(base);
    d->mail.run = news;
    d->works = true;
    pthread_mutex_init(&d->mu, NULL);
    cereus_status st = read_server(base->opt.self, &d->self);
    if (st)
        return crs_fail(err, st, "discovery \"%s\": %s", base->opt.engine_name, cereus_status_text(st));
    cereus_error why = {0};
    st = base->opt.engine->open(d, base->opt.self, base->opt.engine_user, &d->state, &why);
    d->opened = !st;
    return st ? tell_failure(base, st, &why, err) : CEREUS_OK;
}

static cereus_status custom_start(crs_discovery *base, crs_fiber *fiber, cereus_error *err)
{
    cereus_discovery *d = custom_of(base);
    cereus_ctx ctx;
    set_state(d, true, false);
    crs_ctx_init(&ctx, base->opt.core->loops[0], fiber, "discovery");
    cereus_error why = {0};
    cereus_status st = base->opt.engine->join(d->state, &ctx, &why);
    crs_ctx_fini(&ctx);
    hear(d);
    set_state(d, true, !st);
    return st ? tell_failure(base, st, &why, err) : CEREUS_OK;
}

static cereus_status custom_update(crs_discovery *base, crs_fiber *fiber, crs_server *self, cereus_error *err)
{
    cereus_discovery *d = custom_of(base);
    cereus_ctx ctx;
    if (!base->opt.engine->update)
        return crs_fail(err, CEREUS_E_UNSUPPORTED, "discovery \"%s\" has no update", base->opt.engine_name);
    pthread_mutex_lock(&d->mu);
    crs_server *old = d->self;
    d->self = crs_server_ref(self);
    pthread_mutex_unlock(&d->mu);
    crs_server_unref(old);
    crs_ctx_init(&ctx, base->opt.core->loops[0], fiber, "discovery");
    cereus_error why = {0};
    cereus_status st = base->opt.engine->update(d->state, &ctx, crs_server_view(d->self), &why);
    crs_ctx_fini(&ctx);
    return st ? tell_failure(base, st, &why, err) : CEREUS_OK;
}

static void custom_leave(crs_discovery *base, crs_fiber *fiber)
{
    cereus_discovery *d = custom_of(base);
    cereus_ctx ctx;
    set_state(d, true, false);
    crs_ctx_init(&ctx, base->opt.core->loops[0], fiber, "discovery");
    base->opt.engine->leave(d->state, &ctx);
    crs_ctx_fini(&ctx);
}

static void custom_close(crs_discovery *base)
{
    set_state(custom_of(base), false, false);
}

static void custom_fini(crs_discovery *base)
{
    cereus_discovery *d = custom_of(base);
    if (d->opened && base->opt.engine->close)
        base->opt.engine->close(d->state);
    free_list(d->told);
    crs_server_unref(d->self);
    pthread_mutex_destroy(&d->mu);
}

const crs_discovery_ops crs_discovery_custom = {
    .name = "the game's own",
    .size = sizeof(cereus_discovery),
    .claim = custom_claim,
    .start = custom_start,
    .update = custom_update,
    .leave = custom_leave,
    .close = custom_close,
    .fini = custom_fini,
};
