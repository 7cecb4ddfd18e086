/* cluster/discovery/etcd.c: servers that find one another through etcd, with Pitaya's keys and values (cluster-protocol.md 10):
 *
 *    <prefix>servers/<type>/<id>  ->  {"id","type","metadata","frontend","hostname"}, under a lease of heartbeat.ttl
 *
 *    start:  snapshot ──> watch from its revision ──> lease ──> put ──> registered
 *               ^ └ compacted, refused, etcd went back     ^            │
 *               └──────────────────────┘                   └── lost ────┘
 *
 * All of it runs on the loop, by callbacks: nothing here holds a fiber but start() and leave(). While etcd is away the last
 * list stays, and so does the server: unlike Pitaya's it never ends itself, it goes on trying and is not ready meanwhile.
 * What the watch, a resync and its reads tell may overtake one another, so every entry remembers the revision it is from.
 */
#include <stdio.h>

#include "base/strmap.h"
#include "cluster/discovery/discovery_impl.h"
#include "cluster/tls_files.h"
#include "ext/etcd.h"

enum {
    SNAPSHOT_RETRY_MS = 1000,
    HEALTH_INTERVAL_MS = 5000,
    REGISTER_AGAIN_MS = 1000, /* a lease that is gone right after it was granted */
};

/** A server that is there. */
typedef struct known {
    crs_server *server;
    int64_t revision; /* of the put that told so */
    char type[];      /* in its key */
} known;

/** A comparison with etcd on its way. */
typedef struct resync {
    crs_strmap keys; /* ids that are there */
    char **unknown;  /* keys to read */
    size_t count, next, in_flight;
} resync;

typedef struct etcd_discovery {
    crs_discovery base;
    crs_etcd *etcd;
    char *prefix, *key, *health_key; /* set once by claim() */
    char *text;                      /* what our entry says, and the same as a server; update() changes them */
    crs_server *self;
    crs_strmap known; /* others by id: struct known */
    crs_etcd_watch *watch;
    int64_t lease; /* the last that was granted */
    crs_etcd_lease *kept;
    int64_t put_revision;     /* of our own entry */
    int64_t revision;         /* the newest that we have heard of */
    int64_t deleted_revision; /* of the last deletion */
    crs_timer register_retry, snapshot_retry, resync_timer, health_timer;
    resync *resync;
    uint64_t resync_number;
    int64_t resync_floor; /* etcd must answer from here or later */
    int64_t failures;     /* to register, in a row */
    uint64_t registrations;
    bool speaks_tls, logs_in;
    bool taking_snapshot, registering, changed, registered, healthy, asking_health, leaving, closed;
    crs_fiber *starter; /* parked in start(); NULL: it has ended */
    bool start_done;
    cereus_error start_err;
} etcd_discovery;

static void begin_snapshot(etcd_discovery *e);
static void begin_register(etcd_discovery *e);
static void put_self(etcd_discovery *e);

static etcd_discovery *etcd_of(crs_discovery *d)
{
    return (etcd_discovery *)d;
}

static uint32_t setting_ms(const etcd_discovery *e, crs_config_key key)
{
    return (uint32_t)CRS_MIN(crs_config_ms(e->base.opt.config, key), (int64_t)UINT32_MAX);
}

static void start_timer(etcd_discovery *e, crs_timer *timer, uint64_t delay_ms)
{
    if (e->closed || e->leaving)
        return;
    if (crs_loop_timer_start(e->base.loop, timer, delay_ms) != CEREUS_OK)
        crs_log_error(e->base.opt.log, "discovery: out of memory: what was to be tried again is not");
}

static void update_ready(etcd_discovery *e)
{
    bool ready = e->registered && e->healthy && !e->leaving;
    atomic_store_explicit(&e->base.ready, ready, memory_order_relaxed);
}

/** start() goes on, with @p why or without. */
static void end_start(etcd_discovery *e, const cereus_error *why)
{
    crs_fiber *fiber = e->starter;
    e->starter = NULL;
    e->start_done = true;
    if (why)
        e->start_err = *why;
    crs_fiber_wake(fiber, CEREUS_OK);
}

/* ---- entries ---- */

/** Type and id in @p key; false: it is no server's. Both point into it. */
static bool split_key(const etcd_discovery *e, cereus_slice key, cereus_slice *ret_type, cereus_slice *ret_id)
{
    size_t prefix_len = strlen(e->prefix);
    if (key.len <= prefix_len || memcmp(key.data, e->prefix, prefix_len) != 0)
        return false;
    const uint8_t *rest = key.data + prefix_len, *end = key.data + key.len;
    const uint8_t *slash = memchr(rest, '/', (size_t)(end - rest));
    if (!slash || slash + 1 == end || memchr(slash + 1, '/', (size_t)(end - slash - 1)))
        return false;
    *ret_type = cereus_slice_of(rest, (size_t)(slash - rest));
    *ret_id = cereus_slice_of(slash + 1, (size_t)(end - slash - 1));
    return true;
}

static bool same(cereus_slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static void refuse(etcd_discovery *e, cereus_slice key, const char *why)
{
    static crs_log_limiter limiter;
    CRS_COUNT(&e->base.loop->counters, discovery_entries_refused);
    crs_log_limited(e->base.opt.log, CEREUS_LOG_WARN, &limiter, "an entry in etcd is skipped", CRS_SLICE("key", key),
                    CRS_STR("why", why));
}

static bool blacklisted(const etcd_discovery *e, const char *type)
{
    size_t count;
    const char *const *types = crs_config_list(e->base.opt.config, CRS_KEY_ETCD_BLACKLIST, &count);
    if (strcmp(type, e->base.opt.self->type) == 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(types[i], type) == 0)
            return true;
    }
    return false;
}

static void free_known(known *k)
{
    if (k)
        crs_server_unref(k->server);
    crs_free(k);
}

static void forget_all(etcd_discovery *e)
{
    size_t iter = 0;
    cereus_slice id;
    void *value;
    while (crs_strmap_next(&e->known, &iter, &id, &value))
        free_known(value);
    crs_strmap_fini(&e->known);
    crs_strmap_init(&e->known);
}

/** Our own entry was written by another, or written by us under an older lease. */
static void look_at_own(etcd_discovery *e, const crs_etcd_kv *kv)
{
    if (e->registered && kv->mod_revision > e->put_revision && kv->lease != e->lease)
        crs_log_warn(e->base.opt.log, "another server has registered with our id: give each its own, with cereus.id",
                     CRS_STR("id", e->base.opt.self->id));
}

/** Take over what an entry says. @p only: ids that may be taken (NULL: all). Tells of it if @p tell. */
static void take(etcd_discovery *e, const crs_etcd_kv *kv, const crs_strmap *only, bool tell)
{
    cereus_slice type, id;
    crs_server *server = NULL;
    if (!split_key(e, kv->key, &type, &id)) {
        refuse(e, kv->key, "the key is not PREFIX/servers/TYPE/ID");
        return;
    }
    cereus_status st = crs_server_parse(kv->value, &server);
    if (st) {
        refuse(e, kv->key, st == CEREUS_E_NOMEM ? "out of memory" : "the value describes no server");
        return;
    }
    const cereus_server *view = crs_server_view(server); /* what it says of itself counts, not its key */
    cereus_slice name = cereus_slice_str(view->id);
    known *old = crs_strmap_get(&e->known, name), *k = NULL;
    if (strcmp(view->id, e->base.opt.self->id) == 0) {
        look_at_own(e, kv);
    } else if (blacklisted(e, view->type) || (only && !crs_strmap_get(only, name)) ||
               (old && old->revision >= kv->mod_revision)) {
        /* not ours to see, or older than what we know */
    } else if (!old && e->known.count + 1 >= CRS_SERVERS_MAX) {
        refuse(e, kv->key, "there are too many servers");
    } else if (!(k = crs_malloc(sizeof *k + type.len + 1)) || crs_strmap_put(&e->known, name, k, NULL)) {
        crs_free(k);
        refuse(e, kv->key, "out of memory");
    } else {
        *k = (known){.server = crs_server_ref(server), .revision = kv->mod_revision};
        memcpy(k->type, type.data, type.len);
        k->type[type.len] = '\0';
        free_known(old);
        if (tell)
            e->base.opt.events->on_put(e->base.opt.user, server);
    }
    crs_server_unref(server);
}

/** The server with this id is gone; @p id lives longer than its entry. */
static void forget(etcd_discovery *e, cereus_slice id)
{
    known *k = crs_strmap_del(&e->known, id);
    e->base.opt.events->on_gone(e->base.opt.user, crs_server_view(k->server)->id);
    free_known(k);
}

/** A key was deleted: the id in it counts, what else could. */
static void take_deletion(etcd_discovery *e, const crs_etcd_kv *kv)
{
    cereus_slice type, id;
    e->deleted_revision = CRS_MAX(e->deleted_revision, kv->mod_revision);
    if (!split_key(e, kv->key, &type, &id))
        return;
    if (same(kv->key, e->key)) {
        if (e->registered && !e->registering && !e->leaving && kv->mod_revision > e->put_revision)
            put_self(e); /* we live: somebody else removed it, or the lease is gone, which the put will tell */
        return;
    }
    known *k = crs_strmap_get(&e->known, id);
    if (k && same(type, k->type)) /* else it came back as another type before its old entry ended */
        forget(e, id);
}

/* ---- snapshot and watch ---- */

static void tell_all(etcd_discovery *e)
{
    size_t count = 0, iter = 0;
    cereus_slice id;
    void *value;
    crs_server **all = crs_malloc((e->known.count + 1) * sizeof *all);
    if (!all) {
        crs_log_error(e->base.opt.log, "discovery: out of memory: the old list of servers stays");
        return;
    }
    while (crs_strmap_next(&e->known, &iter, &id, &value))
        all[count++] = ((known *)value)->server;
    all[count++] = e->self;
    e->base.opt.events->on_list(e->base.opt.user, all, count);
    crs_free(all);
}

static void on_event(const crs_etcd_event *event, void *user)
{
    etcd_discovery *e = user;
    e->revision = CRS_MAX(e->revision, event->kv.mod_revision);
    if (event->deleted)
        take_deletion(e, &event->kv);
    else
        take(e, &event->kv, NULL, true);
}

static void on_compacted(int64_t compact_revision, void *user)
{
    etcd_discovery *e = user;
    CRS_UNUSED(compact_revision);
    e->watch = NULL;
    crs_log_info(e->base.opt.log, "etcd has forgotten changes that we have not seen: all servers are read again");
    begin_snapshot(e);
}

static void on_watch_failed(const cereus_error *err, void *user)
{
    etcd_discovery *e = user;
    e->watch = NULL;
    crs_log_error(e->base.opt.log, "the servers in etcd cannot be watched; they are read again", CRS_ERR(err));
    start_timer(e, &e->snapshot_retry, SNAPSHOT_RETRY_MS);
}

static const crs_etcd_watch_ops watch_ops = {.event = on_event, .compacted = on_compacted, .failed = on_watch_failed};

static void snapshot_failed(etcd_discovery *e, const cereus_error *err)
{
    static crs_log_limiter limiter;
    if (e->starter) {
        end_start(e, err);
        return;
    }
    crs_log_limited(e->base.opt.log, CEREUS_LOG_WARN, &limiter,
                    "the servers in etcd cannot be read; the last list stays", CRS_ERR(err));
    start_timer(e, &e->snapshot_retry, SNAPSHOT_RETRY_MS);
}

static void on_snapshot(cereus_status status, const crs_etcd_result *result, const cereus_error *err, void *user)
{
    etcd_discovery *e = user;
    e->taking_snapshot = false;
    if (e->closed)
        return;
    if (status) {
        snapshot_failed(e, err);
        return;
    }
    forget_all(e);
    e->revision = result->revision;
    e->deleted_revision = 0;
    bool own = false;
    for (size_t i = 0; i < result->kv_count; i++) {
        own = own || same(result->kvs[i].key, e->key);
        take(e, &result->kvs[i], NULL, false);
    }
    tell_all(e);
    if (e->registered && !e->registering && !own && !e->leaving)
        put_self(e);
    crs_etcd_watch_options opt = {
        .key = cereus_slice_str(e->prefix), .prefix = true, .from_revision = result->revision + 1};
    cereus_error werr;
    if (crs_etcd_watch_start(e->etcd, &opt, &watch_ops, e, &e->watch, &werr)) {
        snapshot_failed(e, &werr);
        return;
    }
    start_timer(e, &e->resync_timer, setting_ms(e, CRS_KEY_ETCD_SYNC_INTERVAL));
    if (e->starter && e->base.opt.observes)
        end_start(e, NULL);
    else if (e->starter)
        begin_register(e);
}

static resync *free_resync(resync *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->count; i++)
        crs_free(r->unknown[i]);
    crs_free(r->unknown);
    crs_strmap_fini(&r->keys);
    crs_free(r);
    return NULL;
}

/** As long as an attempt at the start may take: every endpoint gets its chance. */
static uint32_t start_timeout(const etcd_discovery *e)
{
    size_t count;
    crs_config_list(e->base.opt.config, CRS_KEY_ETCD_ENDPOINTS, &count);
    return (uint32_t)CRS_MIN(crs_config_ms(e->base.opt.config, CRS_KEY_ETCD_DIAL_TIMEOUT) * (int64_t)CRS_MAX(count, 1),
                             (int64_t)UINT32_MAX);
}

static void begin_snapshot(etcd_discovery *e)
{
    if (e->taking_snapshot || e->closed)
        return;
    e->watch = crs_etcd_watch_stop(e->watch);
    e->resync = free_resync(e->resync);
    e->resync_number++; /* its reads are void */
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = cereus_slice_str(e->prefix), .prefix = true};
    cereus_error err;
    if (crs_etcd_start(e->etcd, &op, e->starter ? start_timeout(e) : 0, on_snapshot, e, &err))
        snapshot_failed(e, &err);
    else
        e->taking_snapshot = true;
}

static void on_snapshot_retry(crs_timer *timer)
{
    begin_snapshot(CRS_CONTAINER(timer, etcd_discovery, snapshot_retry));
}

/* ---- our own entry ---- */

static void begin_resync(etcd_discovery *e);

static void register_failed(etcd_discovery *e, const cereus_error *err)
{
    e->registering = false;
    e->registered = false;
    e->kept = crs_etcd_lease_drop(e->kept);
    update_ready(e);
    if (e->starter) {
        end_start(e, err);
        return;
    }
    int64_t most = crs_config_int(e->base.opt.config, CRS_KEY_ETCD_GRANT_RETRIES);
    if (++e->failures == most + 1)
        crs_log_error(e->base.opt.log,
                      "still not registered in etcd, after pitaya.cluster.sd.etcd.grantlease.maxretries: others do "
                      "not find this server; it goes on trying",
                      CRS_INT("tries", e->failures), CRS_ERR(err));
    else
        crs_log_warn(e->base.opt.log, "not registered in etcd; it is tried again", CRS_INT("tries", e->failures),
                     CRS_ERR(err));
    start_timer(e, &e->register_retry, setting_ms(e, CRS_KEY_ETCD_GRANT_INTERVAL));
}

static void on_lost(const cereus_error *why, void *user)
{
    etcd_discovery *e = user;
    e->kept = NULL;
    e->registered = false;
    update_ready(e);
    crs_log_warn(e->base.opt.log, "our lease in etcd is gone: a new one is asked for", CRS_ERR(why));
    begin_register(e); /* unless it is being put: then the answer tells */
}

static void on_self_put(cereus_status status, const crs_etcd_result *result, const cereus_error *err, void *user)
{
    etcd_discovery *e = user;
    bool again = e->registered;
    if (e->closed)
        return;
    if (status == CEREUS_E_NOT_FOUND || (!status && !e->kept)) { /* the lease went meanwhile */
        e->registering = e->registered = false;
        e->kept = crs_etcd_lease_drop(e->kept);
        update_ready(e);
        if (e->starter && status)
            end_start(e, err);
        else if (again)
            begin_register(e);
        else
            start_timer(e, &e->register_retry, REGISTER_AGAIN_MS);
        return;
    }
    if (status) {
        register_failed(e, err);
        return;
    }
    e->registering = false;
    e->registered = true;
    e->healthy = true;
    e->failures = 0;
    e->put_revision = result->revision;
    if (e->changed) /* while it was under way */
        put_self(e);
    CRS_COUNT(&e->base.loop->counters, discovery_registrations);
    update_ready(e);
    if (e->registrations++)
        crs_log_info(e->base.opt.log, "registered in etcd again", CRS_STR("key", e->key));
    if (e->starter)
        end_start(e, NULL);
    else if (!again)
        begin_resync(e); /* we have been away: what else did we miss */
}

static void put_self(etcd_discovery *e)
{
    crs_etcd_op op = {
        .kind = CRS_ETCD_PUT, .key = cereus_slice_str(e->key), .value = cereus_slice_str(e->text), .lease = e->lease};
    cereus_error err;
    e->registering = true;
    e->changed = false;
    if (crs_etcd_start(e->etcd, &op, e->starter ? start_timeout(e) : 0, on_self_put, e, &err))
        register_failed(e, &err);
}

static void on_granted(cereus_status status, const crs_etcd_result *result, const cereus_error *err, void *user)
{
    etcd_discovery *e = user;
    cereus_error kerr;
    if (e->closed || e->leaving) {
        e->registering = false;
        return; /* it ends by itself */
    }
    if (status) {
        register_failed(e, err);
        return;
    }
    e->lease = result->lease;
    if (crs_etcd_lease_keep(e->etcd, e->lease, CRS_MAX(result->ttl_s, 1), on_lost, e, &e->kept, &kerr))
        register_failed(e, &kerr);
    else
        put_self(e);
}

static void begin_register(etcd_discovery *e)
{
    if (e->registering || e->leaving || e->closed)
        return;
    int64_t ttl_s = crs_config_ms(e->base.opt.config, CRS_KEY_ETCD_TTL) / 1000; /* the fraction is cut, as by Pitaya */
    crs_etcd_op op = {.kind = CRS_ETCD_GRANT, .ttl_s = CRS_MAX(ttl_s, 1)};
    cereus_error err;
    e->registering = true;
    if (crs_etcd_start(e->etcd, &op, e->starter ? start_timeout(e) : setting_ms(e, CRS_KEY_ETCD_GRANT_TIMEOUT),
                       on_granted, e, &err))
        register_failed(e, &err);
}

static void on_register_retry(crs_timer *timer)
{
    begin_register(CRS_CONTAINER(timer, etcd_discovery, register_retry));
}

/* ---- resync: the keys are compared, and what is not known is read ---- */

typedef struct get {
    etcd_discovery *e;
    uint64_t number; /* of its resync */
    char key[];
} get;

static void read_unknown(etcd_discovery *e);

static void resync_ended(etcd_discovery *e)
{
    e->resync = free_resync(e->resync);
    CRS_COUNT(&e->base.loop->counters, discovery_resyncs);
    start_timer(e, &e->resync_timer, setting_ms(e, CRS_KEY_ETCD_SYNC_INTERVAL));
}

static bool start_get(etcd_discovery *e, get *g);

static void on_got(cereus_status status, const crs_etcd_result *result, const cereus_error *err, void *user)
{
    get *g = user;
    etcd_discovery *e = g->e;
    CRS_UNUSED(err); /* the next resync reads it */
    if (e->closed || g->number != e->resync_number) {
        crs_free(g);
        return;
    }
    if (!status && result->kv_count && result->revision < e->deleted_revision && start_get(e, g))
        return; /* something was deleted since: this, perhaps */
    if (!status && result->kv_count)
        take(e, result->kvs, &e->resync->keys, true);
    crs_free(g);
    e->resync->in_flight--;
    read_unknown(e);
}

static bool start_get(etcd_discovery *e, get *g)
{
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = cereus_slice_str(g->key)};
    cereus_error err;
    return crs_etcd_start(e->etcd, &op, 0, on_got, g, &err) == CEREUS_OK;
}

static void read_unknown(etcd_discovery *e)
{
    resync *r = e->resync;
    size_t parallel = (size_t)crs_config_int(e->base.opt.config, CRS_KEY_ETCD_SYNC_PARALLELISM);
    while (r->next < r->count && r->in_flight < parallel) {
        const char *key = r->unknown[r->next++];
        get *g = crs_malloc(sizeof *g + strlen(key) + 1);
        if (!g)
            continue; /* the next resync reads it */
        *g = (get){.e = e, .number = e->resync_number};
        strcpy(g->key, key);
        if (start_get(e, g))
            r->in_flight++;
        else
            crs_free(g);
    }
    if (r->in_flight == 0 && r->next == r->count)
        resync_ended(e);
}

/** Whoever is known and has no key is gone. */
static void forget_missing(etcd_discovery *e, int64_t revision)
{
    const char *id;
    do { /* the table must not change while it is walked */
        size_t iter = 0;
        cereus_slice name;
        void *value;
        id = NULL;
        while (!id && crs_strmap_next(&e->known, &iter, &name, &value)) {
            const known *k = value;
            if (k->revision <= revision && !crs_strmap_get(&e->resync->keys, name))
                id = crs_server_view(k->server)->id;
        }
        if (id)
            forget(e, cereus_slice_str(id));
    } while (id);
}

static bool note_key(etcd_discovery *e, const crs_etcd_kv *kv)
{
    resync *r = e->resync;
    cereus_slice type, id;
    if (!split_key(e, kv->key, &type, &id))
        return true;
    if (crs_strmap_put(&r->keys, id, r, NULL))
        return false;
    const known *k = crs_strmap_get(&e->known, id);
    if (same(id, e->base.opt.self->id) || (k && k->revision >= kv->mod_revision))
        return true;
    return (r->unknown[r->count] = crs_strndup((const char *)kv->key.data, kv->key.len)) && ++r->count;
}

static void on_keys(cereus_status status, const crs_etcd_result *result, const cereus_error *err, void *user)
{
    get *g = user;
    etcd_discovery *e = g->e;
    bool stale = e->closed || g->number != e->resync_number;
    crs_free(g);
    if (stale)
        return;
    resync *r = e->resync;
    bool ok = !status && (r->unknown = crs_zalloc((result->kv_count + 1) * sizeof *r->unknown));
    if (ok && result->revision < e->resync_floor) {
        crs_log_warn(e->base.opt.log, "etcd has gone back in time, as after a restore: all servers are read again");
        begin_snapshot(e);
        return;
    }
    for (size_t i = 0; ok && i < result->kv_count; i++)
        ok = note_key(e, &result->kvs[i]);
    if (!ok) {
        crs_log_warn(e->base.opt.log, "the servers in etcd could not be compared with ours; the next time",
                     CRS_STR("error", status ? err->msg : "out of memory"));
        resync_ended(e);
        return;
    }
    forget_missing(e, result->revision);
    if (e->registered && !e->registering && !e->leaving && e->put_revision <= result->revision &&
        !crs_strmap_get(&r->keys, cereus_slice_str(e->base.opt.self->id)))
        put_self(e);
    read_unknown(e);
}

static void begin_resync(etcd_discovery *e)
{
    if (e->closed || e->leaving || e->resync || e->taking_snapshot)
        return; /* the end of that starts the timer */
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = cereus_slice_str(e->prefix), .prefix = true, .keys_only = true};
    cereus_error err;
    get *g = crs_malloc(sizeof *g + 1);
    e->resync = g ? crs_zalloc(sizeof *e->resync) : NULL;
    if (e->resync) {
        crs_strmap_init(&e->resync->keys);
        *g = (get){.e = e, .number = ++e->resync_number};
        e->resync_floor = e->revision;
        if (crs_etcd_start(e->etcd, &op, 0, on_keys, g, &err) == CEREUS_OK)
            return;
    }
    crs_free(g);
    e->resync = free_resync(e->resync);
    start_timer(e, &e->resync_timer, setting_ms(e, CRS_KEY_ETCD_SYNC_INTERVAL));
}

static void on_resync_timer(crs_timer *timer)
{
    begin_resync(CRS_CONTAINER(timer, etcd_discovery, resync_timer));
}

/* ---- does it answer ---- */

static void on_health(cereus_status status, const crs_etcd_result *result, const cereus_error *err, void *user)
{
    etcd_discovery *e = user;
    CRS_UNUSED(result);
    CRS_UNUSED(err);
    e->asking_health = false;
    if (e->closed)
        return;
    e->healthy = !status;
    update_ready(e);
}

/** Pitaya's readiness probe reads a key that nobody writes. Asked ahead, so that a probe need not wait. */
static void ask_health(etcd_discovery *e)
{
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = cereus_slice_str(e->health_key)};
    cereus_error err;
    if (!e->asking_health &&
        crs_etcd_start(e->etcd, &op, setting_ms(e, CRS_KEY_ETCD_REVOKE_TIMEOUT), on_health, e, &err) == CEREUS_OK)
        e->asking_health = true;
    start_timer(e, &e->health_timer, HEALTH_INTERVAL_MS);
}

static void on_health_timer(crs_timer *timer)
{
    ask_health(CRS_CONTAINER(timer, etcd_discovery, health_timer));
}

static void on_state(bool ready, const cereus_error *why, void *user)
{
    etcd_discovery *e = user;
    if (!e->etcd || e->closed || e->leaving || !e->registrations)
        return;
    if (ready) {
        crs_log_info(e->base.opt.log, "etcd is there again");
        ask_health(e);
        return;
    }
    if (e->healthy)
        crs_log_warn(e->base.opt.log, "etcd is away; the last list of servers stays", CRS_ERR(why));
    e->healthy = false;
    update_ready(e);
}

/* ---- the engine ---- */

static char *join(const char *a, const char *b, const char *c, const char *d, const char *f)
{
    size_t cap = strlen(a) + strlen(b) + strlen(c) + strlen(d) + strlen(f) + 1;
    char *text = crs_malloc(cap);
    if (text)
        snprintf(text, cap, "%s%s%s%s%s", a, b, c, d, f);
    return text;
}

static cereus_status etcd_claim(crs_discovery *d, cereus_error *err)
{
    etcd_discovery *e = etcd_of(d);
    const cereus_config *cfg = d->opt.config;
    const char *prefix = crs_config_text(cfg, CRS_KEY_ETCD_PREFIX);
    size_t count;
    crs_config_list(cfg, CRS_KEY_ETCD_ENDPOINTS, &count);
    crs_strmap_init(&e->known);
    crs_timer_init(&e->register_retry, on_register_retry);
    crs_timer_init(&e->snapshot_retry, on_snapshot_retry);
    crs_timer_init(&e->resync_timer, on_resync_timer);
    crs_timer_init(&e->health_timer, on_health_timer);
    if (count == 0 || count > CRS_GRPC_ENDPOINTS_MAX)
        return crs_fail(err, CEREUS_E_INVALID, "pitaya.cluster.sd.etcd.endpoints: 1 to %d of them, like localhost:2379",
                        CRS_GRPC_ENDPOINTS_MAX);
    bool user = *crs_config_text(cfg, CRS_KEY_ETCD_USER), pass = *crs_config_text(cfg, CRS_KEY_ETCD_PASS);
    if (user != pass)
        crs_log_warn(
            d->opt.log,
            "pitaya.cluster.sd.etcd.user and .pass are used only when both are set: this server does not log in");
    e->prefix = join(prefix, "servers/", "", "", "");
    e->key = join(prefix, "servers/", d->opt.self->type, "/", d->opt.self->id);
    e->health_key = join(prefix, "health-check", "", "", "");
    e->text = crs_server_text(d->opt.self);
    if (!e->prefix || !e->key || !e->health_key || !e->text ||
        crs_server_parse(cereus_slice_str(e->text), &e->self) != CEREUS_OK)
        return crs_fail(err, CEREUS_E_NOMEM, "discovery: out of memory");
    return CEREUS_OK;
}

static const char *text_or_null(const cereus_config *cfg, crs_config_key key)
{
    const char *text = crs_config_text(cfg, key);
    return *text ? text : NULL;
}

static cereus_status open_client(etcd_discovery *e, cereus_error *err)
{
    const cereus_config *cfg = e->base.opt.config;
    crs_tls_client_options tls;
    bool files;
    CEREUS_TRY(crs_tls_files(cfg, CRS_KEY_ETCD_TLS_CA, CRS_KEY_ETCD_TLS_CERT, CRS_KEY_ETCD_TLS_KEY, &tls, &files, err));
    crs_etcd_options opt = {.tls = files ? &tls : NULL,
                            .dial_timeout_ms = setting_ms(e, CRS_KEY_ETCD_DIAL_TIMEOUT),
                            .on_state = on_state,
                            .state_user = e};
    opt.endpoints = crs_config_list(cfg, CRS_KEY_ETCD_ENDPOINTS, &opt.endpoint_count);
    const char *user = text_or_null(cfg, CRS_KEY_ETCD_USER), *pass = text_or_null(cfg, CRS_KEY_ETCD_PASS);
    if (user && pass) {
        opt.user = user;
        opt.password = pass;
    }
    e->speaks_tls = files || strncmp(opt.endpoints[0], "https://", 8) == 0;
    e->logs_in = opt.user != NULL;
    cereus_error inner;
    cereus_status st = crs_etcd_open(e->base.loop, &opt, &e->etcd, &inner);
    return st ? crs_fail(err, st, "pitaya.cluster.sd.etcd.endpoints: %s", inner.msg) : CEREUS_OK;
}

static cereus_status etcd_start(crs_discovery *d, crs_fiber *fiber, cereus_error *err)
{
    etcd_discovery *e = etcd_of(d);
    cereus_status st = open_client(e, err);
    if (st)
        return st;
    e->starter = fiber;
    begin_snapshot(e);
    while (!e->start_done && !st)
        st = crs_fiber_wait(fiber, UINT64_MAX);
    e->starter = NULL;
    if (!e->start_done)
        return crs_fail(err, st, "discovery: %s", cereus_status_text(st));
    if (e->start_err.status) {
        e->leaving = true; /* nothing is tried any more */
        return crs_fail(err, e->start_err.status, "pitaya.cluster.sd.etcd.endpoints%s%s: %s",
                        e->logs_in ? ", .user, .pass" : "", e->speaks_tls ? ", cereus.cluster.sd.etcd.tls.ca" : "",
                        e->start_err.msg);
    }
    start_timer(e, &e->health_timer, HEALTH_INTERVAL_MS);
    return CEREUS_OK;
}

static cereus_status etcd_update(crs_discovery *d, crs_fiber *fiber, crs_server *self, cereus_error *err)
{
    CRS_UNUSED(fiber);
    etcd_discovery *e = etcd_of(d);
    char *text = crs_server_text(crs_server_view(self));
    if (!text)
        return crs_fail(err, CEREUS_E_NOMEM, "discovery: out of memory");
    crs_free(e->text);
    e->text = text;
    crs_server_unref(e->self);
    e->self = crs_server_ref(self);
    if (e->registering)
        e->changed = true;
    else if (e->registered)
        put_self(e); /* else it is put when we are back */
    return CEREUS_OK;
}

static void etcd_leave(crs_discovery *d, crs_fiber *fiber)
{
    etcd_discovery *e = etcd_of(d);
    bool was = e->registrations;
    e->leaving = true;
    update_ready(e);
    if (!e->etcd || e->closed)
        return;
    crs_loop_timer_stop(d->loop, &e->register_retry);
    crs_loop_timer_stop(d->loop, &e->resync_timer);
    crs_loop_timer_stop(d->loop, &e->health_timer);
    e->kept = crs_etcd_lease_drop(e->kept);
    if (e->lease) {
        crs_etcd_op op = {.kind = CRS_ETCD_REVOKE, .lease = e->lease};
        cereus_error err;
        cereus_status st = crs_etcd_await(fiber, e->etcd, &op, setting_ms(e, CRS_KEY_ETCD_REVOKE_TIMEOUT),
                                          crs_fiber_arena(fiber), NULL, &err);
        if (st && st != CEREUS_E_NOT_FOUND)
            crs_log_warn(d->opt.log, "etcd could not be told that we leave: others see us until the lease ends",
                         CRS_ERR(&err));
    }
    if (was) /* the others hear of it before we stop to serve */
        (void)crs_fiber_wait(fiber, (d->loop->now_ms + setting_ms(e, CRS_KEY_ETCD_SHUTDOWN_DELAY)) * 1000);
}

static void etcd_close(crs_discovery *d)
{
    etcd_discovery *e = etcd_of(d);
    e->closed = true;
    e->kept = NULL;
    e->watch = NULL;
    crs_loop_timer_stop(d->loop, &e->register_retry);
    crs_loop_timer_stop(d->loop, &e->snapshot_retry);
    crs_loop_timer_stop(d->loop, &e->resync_timer);
    crs_loop_timer_stop(d->loop, &e->health_timer);
    e->etcd = crs_etcd_close(e->etcd);
}

static void etcd_fini(crs_discovery *d)
{
    etcd_discovery *e = etcd_of(d);
    forget_all(e);
    crs_strmap_fini(&e->known);
    e->resync = free_resync(e->resync);
    crs_server_unref(e->self);
    crs_free(e->prefix);
    crs_free(e->key);
    crs_free(e->health_key);
    crs_free(e->text);
}

const crs_discovery_ops crs_discovery_etcd = {
    .name = "etcd",
    .size = sizeof(etcd_discovery),
    .claim = etcd_claim,
    .start = etcd_start,
    .update = etcd_update,
    .leave = etcd_leave,
    .close = etcd_close,
    .fini = etcd_fini,
};
