/* group/memory.c: groups as hash sets of uids. A member remembers the session that its uid was last seen with, so that
 * a broadcast needs no look-up by uid as long as that session lives. In a cluster the groups are this server's own, but
 * their members may be connected anywhere.
 */
#include "group/group.h"

#include <pthread.h>

#include "base/strmap.h"
#include "dispatch/context.h"
#include "dispatch/push.h"

typedef struct member {
    cereus_session_id session; /* a guess: checked by its loop when used, renewed when wrong */
    size_t index;              /* in the group's list */
    size_t uid_len;
    char uid[];
} member;

typedef struct group {
    crs_strmap by_uid; /* member */
    member **list;     /* dense, in no order */
    size_t count, cap;
    uint64_t ttl_ms; /* 0: none */
    uint64_t expires_ms;
} group;

struct crs_groups {
    crs_etcd_groups *etcd; /* NULL: they are here; set while nothing runs */
    pthread_mutex_t mu;    /* a leaf */
    crs_strmap map;        /* guarded by mu: group */
};

crs_groups *crs_groups_new(void)
{
    crs_groups *gs = crs_zalloc(sizeof *gs);
    if (!gs)
        return NULL;
    pthread_mutex_init(&gs->mu, NULL);
    crs_strmap_init(&gs->map);
    return gs;
}

static void clear_group(group *g)
{
    for (size_t i = 0; i < g->count; i++)
        crs_free(g->list[i]);
    crs_free(g->list);
    crs_strmap_fini(&g->by_uid);
    g->list = NULL;
    g->count = g->cap = 0;
}

static void free_group(group *g)
{
    clear_group(g);
    crs_free(g);
}

crs_groups *crs_groups_free(crs_groups *groups)
{
    if (!groups)
        return NULL;
    size_t iter = 0;
    cereus_slice key;
    void *value;
    while (crs_strmap_next(&groups->map, &iter, &key, &value))
        free_group(value);
    crs_strmap_fini(&groups->map);
    pthread_mutex_destroy(&groups->mu);
    crs_free(groups);
    return NULL;
}

void crs_groups_expire(crs_groups *groups, uint64_t now_ms)
{
    pthread_mutex_lock(&groups->mu);
    for (;;) { /* the table must not change while it is walked: find one, delete it, again */
        size_t iter = 0;
        cereus_slice key;
        void *value;
        group *over = NULL;
        while (crs_strmap_next(&groups->map, &iter, &key, &value)) {
            group *g = value;
            if (g->ttl_ms && g->expires_ms <= now_ms) {
                over = g;
                break;
            }
        }
        if (!over)
            break;
        char *name = crs_strndup((const char *)key.data, key.len); /* del frees the key */
        if (!name)
            break;
        crs_strmap_del(&groups->map, cereus_slice_str(name));
        crs_free(name);
        free_group(over);
    }
    pthread_mutex_unlock(&groups->mu);
}

/* ---- calls of the game ---- */

static crs_groups *groups_of(cereus_ctx *ctx)
{
    return ctx->dispatch->core->groups;
}

static uint64_t now_ms(cereus_ctx *ctx)
{
    return ctx->dispatch->loop->now_ms;
}

static cereus_status group_not_found(cereus_ctx *ctx)
{
    return crs_ctx_error(ctx, CEREUS_E_NOT_FOUND, "PIT-000", "group not found");
}

static cereus_status no_memory(cereus_ctx *ctx)
{
    return crs_ctx_error(ctx, CEREUS_E_NOMEM, "PIT-500", "out of memory");
}

/** When something that lasts @p ttl_ms ends; UINT64_MAX: never. */
static uint64_t expiry(cereus_ctx *ctx, uint64_t ttl_ms)
{
    uint64_t now = now_ms(ctx);
    return ttl_ms < UINT64_MAX - now ? now + ttl_ms : UINT64_MAX;
}

/** Lock the table and find a group. NULL: not found, and not locked. */
static group *lock_group(cereus_ctx *ctx, const char *name)
{
    crs_groups *gs = groups_of(ctx);
    pthread_mutex_lock(&gs->mu);
    group *g = crs_strmap_get(&gs->map, cereus_slice_str(name));
    if (!g)
        pthread_mutex_unlock(&gs->mu);
    return g;
}

static void unlock(cereus_ctx *ctx)
{
    pthread_mutex_unlock(&groups_of(ctx)->mu);
}

static cereus_status memory_create(cereus_ctx *ctx, const char *name, uint64_t ttl_ms)
{
    crs_groups *gs = groups_of(ctx);
    if (!name || !*name)
        return crs_ctx_error(ctx, CEREUS_E_INVALID, "PIT-000", "a group needs a name");
    group *g = crs_zalloc(sizeof *g);
    if (!g)
        return no_memory(ctx);
    crs_strmap_init(&g->by_uid);
    g->ttl_ms = ttl_ms;
    g->expires_ms = expiry(ctx, ttl_ms);
    pthread_mutex_lock(&gs->mu);
    bool exists = crs_strmap_get(&gs->map, cereus_slice_str(name));
    cereus_status st = exists ? CEREUS_E_EXISTS : crs_strmap_put(&gs->map, cereus_slice_str(name), g, NULL);
    pthread_mutex_unlock(&gs->mu);
    if (!st)
        return CEREUS_OK;
    crs_free(g);
    return exists ? crs_ctx_error(ctx, st, "PIT-000", "group already exists") : no_memory(ctx);
}

static cereus_status memory_renew(cereus_ctx *ctx, const char *name)
{
    group *g = lock_group(ctx, name);
    if (!g)
        return group_not_found(ctx);
    bool has = g->ttl_ms;
    g->expires_ms = expiry(ctx, g->ttl_ms);
    unlock(ctx);
    return has ? CEREUS_OK : crs_ctx_error(ctx, CEREUS_E_STATE, "PIT-000", "memory group TTL not found");
}

static cereus_status memory_delete(cereus_ctx *ctx, const char *name)
{
    group *g = lock_group(ctx, name);
    if (!g)
        return group_not_found(ctx);
    crs_strmap_del(&groups_of(ctx)->map, cereus_slice_str(name));
    unlock(ctx);
    free_group(g);
    return CEREUS_OK;
}

static cereus_status add_locked(group *g, const char *uid, cereus_session_id session)
{
    size_t len = strlen(uid);
    if (crs_strmap_get(&g->by_uid, cereus_slice_of(uid, len)))
        return CEREUS_E_EXISTS;
    if (g->count == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 8;
        member **list = crs_realloc(g->list, cap * sizeof *list);
        if (!list)
            return CEREUS_E_NOMEM;
        g->list = list;
        g->cap = cap;
    }
    member *m = crs_malloc(sizeof *m + len + 1);
    if (!m)
        return CEREUS_E_NOMEM;
    m->session = session;
    m->index = g->count;
    m->uid_len = len;
    memcpy(m->uid, uid, len + 1);
    cereus_status st = crs_strmap_put(&g->by_uid, cereus_slice_of(uid, len), m, NULL);
    if (st) {
        crs_free(m);
        return st;
    }
    g->list[g->count++] = m;
    return CEREUS_OK;
}

static cereus_status memory_add(cereus_ctx *ctx, const char *name, const char *uid)
{
    cereus_session_id session = crs_uid_find(ctx->dispatch->core->uids, cereus_slice_str(uid));
    group *g = lock_group(ctx, name);
    if (!g)
        return group_not_found(ctx);
    cereus_status st = add_locked(g, uid, session);
    unlock(ctx);
    if (st == CEREUS_E_EXISTS)
        return crs_ctx_error(ctx, st, "PIT-000", "member already exists in group");
    return st ? no_memory(ctx) : CEREUS_OK;
}

static cereus_status memory_remove(cereus_ctx *ctx, const char *name, const char *uid)
{
    group *g = lock_group(ctx, name);
    if (!g)
        return group_not_found(ctx);
    member *m = crs_strmap_del(&g->by_uid, cereus_slice_str(uid));
    if (m) {
        member *last = g->list[--g->count];
        g->list[m->index] = last;
        last->index = m->index;
    }
    unlock(ctx);
    crs_free(m);
    return m ? CEREUS_OK : crs_ctx_error(ctx, CEREUS_E_NOT_FOUND, "PIT-000", "member not found in the group");
}

static cereus_status memory_remove_all(cereus_ctx *ctx, const char *name)
{
    group *g = lock_group(ctx, name);
    if (!g)
        return group_not_found(ctx);
    clear_group(g);
    unlock(ctx);
    return CEREUS_OK;
}

static cereus_status memory_contains(cereus_ctx *ctx, const char *name, const char *uid, bool *ret_is)
{
    group *g = lock_group(ctx, name);
    if (!g)
        return group_not_found(ctx);
    *ret_is = crs_strmap_get(&g->by_uid, cereus_slice_str(uid));
    unlock(ctx);
    return CEREUS_OK;
}

static cereus_status memory_count(cereus_ctx *ctx, const char *name, size_t *ret_count)
{
    group *g = lock_group(ctx, name);
    if (!g)
        return group_not_found(ctx);
    *ret_count = g->count;
    unlock(ctx);
    return CEREUS_OK;
}

/** Is the guess of a member's session still right? Only its own loop knows; for others the index is asked. The uid is
 * compared: a bind that failed took it back from a session that may be another user's by now. */
static bool still_there(cereus_ctx *ctx, const member *m)
{
    crs_dispatch *d = ctx->dispatch;
    if (!m->session || crs_session_id_loop(m->session) != d->loop->index)
        return false;
    const crs_agent *agent = crs_session_table_find(crs_frontend_sessions(d->frontend), m->session);
    return agent && agent->uid && strcmp(agent->uid, m->uid) == 0;
}

/** Copies of the members: sessions (0: not connected) and uids, each unless NULL. The index is asked while the table is
 * locked, so that a guess is renewed for the right member; it is a leaf and never asks for the table. */
static cereus_status memory_snapshot(cereus_ctx *ctx, const char *name, cereus_session_id **ret_ids,
                                     const char ***ret_uids, size_t *ret_count)
{
    group *g = lock_group(ctx, name);
    if (!g)
        return group_not_found(ctx);
    size_t count = g->count;
    cereus_session_id *ids = ret_ids ? crs_arena_alloc(ctx->arena, count * sizeof *ids) : NULL;
    const char **uids = ret_uids ? crs_arena_alloc(ctx->arena, count * sizeof *uids) : NULL;
    bool ok = (!ret_ids || ids) && (!ret_uids || uids);
    for (size_t i = 0; ok && i < count; i++) {
        member *m = g->list[i];
        if (ids) {
            if (!still_there(ctx, m))
                m->session = crs_uid_find(ctx->dispatch->core->uids, cereus_slice_of(m->uid, m->uid_len));
            ids[i] = m->session;
        }
        if (uids)
            ok = (uids[i] = crs_arena_strndup(ctx->arena, m->uid, m->uid_len));
    }
    unlock(ctx);
    if (!ok)
        return no_memory(ctx);
    if (ret_ids)
        *ret_ids = ids;
    if (ret_uids)
        *ret_uids = uids;
    *ret_count = count;
    return CEREUS_OK;
}

size_t crs_groups_count(crs_groups *groups)
{
    pthread_mutex_lock(&groups->mu);
    size_t count = groups->map.count;
    pthread_mutex_unlock(&groups->mu);
    return count;
}

void crs_groups_use_etcd(crs_groups *groups, crs_etcd_groups *etcd)
{
    groups->etcd = etcd;
}

crs_etcd_groups *crs_groups_etcd(const crs_groups *groups)
{
    return groups->etcd;
}

const crs_group_ops crs_group_memory = {
    .create = memory_create,
    .renew = memory_renew,
    .del = memory_delete,
    .add = memory_add,
    .remove = memory_remove,
    .remove_all = memory_remove_all,
    .contains = memory_contains,
    .count = memory_count,
    .snapshot = memory_snapshot,
};
