/* group/etcd.c: groups that all servers share, with Pitaya's keys and transactions (cluster-protocol.md 13). Only keys count:
 *
 *    <prefix>groups/<name>            <prefix>groups/<name>/uids/<uid>
 *
 * A client of etcd belongs to one loop, so each loop opens its own with its first call. A group with a time to live has a
 * lease, which its members share: they go together. Names with "/uids/" are refused, as they would be members of others.
 */
#include "config/config.h"
#include "dispatch/context.h"
#include "dispatch/push.h"
#include "ext/etcd.h"
#include "group/group.h"

enum { LOOPS_MAX = 64 }; /* as cereus.loops */

struct crs_etcd_groups {
    const cereus_config *config;  /* borrowed */
    crs_etcd *clients[LOOPS_MAX]; /* each used by its loop only; NULL: not opened yet */
};

crs_etcd_groups *crs_etcd_groups_new(const cereus_config *config)
{
    crs_etcd_groups *g = crs_zalloc(sizeof *g);
    if (g)
        g->config = config;
    return g;
}

void crs_etcd_groups_close(crs_etcd_groups *groups, uint32_t loop_index)
{
    if (groups)
        groups->clients[loop_index] = crs_etcd_close(groups->clients[loop_index]);
}

crs_etcd_groups *crs_etcd_groups_free(crs_etcd_groups *groups)
{
    crs_free(groups);
    return NULL;
}

/* ---- calls ---- */

static cereus_status no_memory(cereus_ctx *ctx)
{
    return crs_ctx_error(ctx, CEREUS_E_NOMEM, "PIT-500", "out of memory");
}

static cereus_status not_found(cereus_ctx *ctx, const char *what)
{
    return crs_ctx_error(ctx, CEREUS_E_NOT_FOUND, "PIT-000", what);
}

static crs_etcd_groups *groups_of(cereus_ctx *ctx)
{
    return crs_groups_etcd(ctx->dispatch->core->groups);
}

static cereus_status client_of(cereus_ctx *ctx, crs_etcd **ret_etcd, cereus_error *err)
{
    crs_etcd_groups *g = groups_of(ctx);
    crs_loop *loop = ctx->dispatch->loop;
    CRS_ASSERT(loop->index < LOOPS_MAX);
    if (!g->clients[loop->index]) {
        crs_etcd_options opt = {.dial_timeout_ms = (uint32_t)crs_config_ms(g->config, CRS_KEY_GROUPS_ETCD_DIAL)};
        opt.endpoints = crs_config_list(g->config, CRS_KEY_GROUPS_ETCD_ENDPOINTS, &opt.endpoint_count);
        CEREUS_TRY(crs_etcd_open(loop, &opt, &g->clients[loop->index], err));
    }
    *ret_etcd = g->clients[loop->index];
    return CEREUS_OK;
}

/** Make a call, at most for transactiontimeout. A failure is kept in the ctx, unless it is @p but. */
static cereus_status ask(cereus_ctx *ctx, const crs_etcd_op *op, const crs_etcd_result **ret_result, cereus_status but)
{
    cereus_error err;
    crs_etcd *etcd;
    cereus_status st = client_of(ctx, &etcd, &err);
    if (!st)
        st = crs_etcd_await(ctx->fiber, etcd, op,
                            (uint32_t)crs_config_ms(groups_of(ctx)->config, CRS_KEY_GROUPS_ETCD_TIMEOUT), ctx->arena,
                            ret_result, &err);
    return st && st != but ? crs_ctx_error(ctx, st, "PIT-500", err.msg) : st;
}

/** Would the group, or one of its members, be taken for a member of another group? */
static bool reaches_members(const char *name)
{
    static const char tail[] = "/uids";
    size_t len = strlen(name), tail_len = sizeof tail - 1;
    return strstr(name, "/uids/") || (len >= tail_len && strcmp(name + len - tail_len, tail) == 0);
}

/** The key of a group, or (@p uid) of a member; "" for @p uid: what all members begin with. NULL: kept in the ctx. */
static const char *key_of(cereus_ctx *ctx, const char *name, const char *uid)
{
    const char *prefix = crs_config_text(groups_of(ctx)->config, CRS_KEY_GROUPS_ETCD_PREFIX);
    if (!name || !*name) {
        crs_ctx_error(ctx, CEREUS_E_INVALID, "PIT-000", "a group needs a name");
        return NULL;
    }
    if (reaches_members(name)) {
        crs_ctx_error(ctx, CEREUS_E_INVALID, "PIT-000", "a group's name may not have \"/uids/\" in it");
        return NULL;
    }
    const char *parts[] = {prefix, "groups/", name, uid ? "/uids/" : "", uid ? uid : ""};
    size_t len = 0;
    for (size_t i = 0; i < CEREUS_COUNT(parts); i++)
        len += strlen(parts[i]);
    char *key = crs_arena_alloc(ctx->arena, len + 1), *at = key;
    if (!key) {
        no_memory(ctx);
        return NULL;
    }
    for (size_t i = 0; i < CEREUS_COUNT(parts); i++)
        at = stpcpy(at, parts[i]);
    return key;
}

/** The status that key_of() has left. */
static cereus_status bad_key(const char *name)
{
    return !name || !*name || reaches_members(name) ? CEREUS_E_INVALID : CEREUS_E_NOMEM;
}

static crs_etcd_compare exists(const char *key)
{
    return (crs_etcd_compare){
        .key = cereus_slice_str(key), .target = CRS_ETCD_CREATE_REVISION, .relation = CRS_ETCD_GREATER};
}

static crs_etcd_compare is_absent(const char *key)
{
    return (crs_etcd_compare){
        .key = cereus_slice_str(key), .target = CRS_ETCD_CREATE_REVISION, .relation = CRS_ETCD_EQUAL};
}

/** Do @p ops if @p compares hold; else fail with @p st and @p text. */
static cereus_status do_if(cereus_ctx *ctx, const crs_etcd_compare *compares, size_t compare_count,
                           const crs_etcd_op *ops, size_t op_count, cereus_status st, const char *text,
                           const crs_etcd_result **ret_result)
{
    const crs_etcd_result *result;
    crs_etcd_op txn = {.kind = CRS_ETCD_TXN,
                       .compares = compares,
                       .compare_count = compare_count,
                       .then_ops = ops,
                       .then_count = op_count};
    CEREUS_TRY(ask(ctx, &txn, &result, CEREUS_OK));
    if (!result->succeeded)
        return crs_ctx_error(ctx, st, "PIT-000", text);
    if (ret_result)
        *ret_result = result;
    return CEREUS_OK;
}

/** The lease of a group; 0: it has none. */
static cereus_status lease_of(cereus_ctx *ctx, const char *key, int64_t *ret_lease)
{
    const crs_etcd_result *result;
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = cereus_slice_str(key)};
    CEREUS_TRY(ask(ctx, &op, &result, CEREUS_OK));
    if (result->kv_count == 0)
        return not_found(ctx, "group not found");
    *ret_lease = result->kvs[0].lease;
    return CEREUS_OK;
}

static cereus_status etcd_create(cereus_ctx *ctx, const char *name, uint64_t ttl_ms)
{
    const char *key = key_of(ctx, name, NULL);
    if (!key)
        return bad_key(name);
    int64_t lease = 0;
    if (ttl_ms) { /* whole seconds, the fraction is cut */
        const crs_etcd_result *granted;
        crs_etcd_op grant = {.kind = CRS_ETCD_GRANT, .ttl_s = (int64_t)CRS_MAX(ttl_ms / 1000, 1)};
        CEREUS_TRY(ask(ctx, &grant, &granted, CEREUS_OK));
        lease = granted->lease;
    }
    crs_etcd_compare absent = is_absent(key);
    crs_etcd_op put = {.kind = CRS_ETCD_PUT, .key = cereus_slice_str(key), .lease = lease};
    return do_if(ctx, &absent, 1, &put, 1, CEREUS_E_EXISTS, "group already exists", NULL);
}

static cereus_status etcd_renew(cereus_ctx *ctx, const char *name)
{
    const char *key = key_of(ctx, name, NULL);
    int64_t lease;
    if (!key)
        return bad_key(name);
    CEREUS_TRY(lease_of(ctx, key, &lease));
    if (!lease)
        return crs_ctx_error(ctx, CEREUS_E_STATE, "PIT-000", "etcd lease not found in group");
    crs_etcd_op op = {.kind = CRS_ETCD_KEEP_ALIVE, .lease = lease};
    cereus_status st = ask(ctx, &op, NULL, CEREUS_E_NOT_FOUND);
    return st == CEREUS_E_NOT_FOUND ? not_found(ctx, "group not found") : st; /* it has just expired */
}

static cereus_status etcd_delete(cereus_ctx *ctx, const char *name)
{
    const char *key = key_of(ctx, name, NULL), *members = key ? key_of(ctx, name, "") : NULL;
    if (!members)
        return bad_key(name);
    crs_etcd_compare there = exists(key);
    crs_etcd_op ops[] = {{.kind = CRS_ETCD_DELETE, .key = cereus_slice_str(members), .prefix = true},
                         {.kind = CRS_ETCD_DELETE, .key = cereus_slice_str(key)}};
    return do_if(ctx, &there, 1, ops, 2, CEREUS_E_NOT_FOUND, "group not found", NULL);
}

static cereus_status etcd_add(cereus_ctx *ctx, const char *name, const char *uid)
{
    const char *key = key_of(ctx, name, NULL), *member = key ? key_of(ctx, name, uid) : NULL;
    int64_t lease;
    if (!member)
        return bad_key(name);
    CEREUS_TRY(lease_of(ctx, key, &lease));
    crs_etcd_compare both[] = {exists(key), is_absent(member)};
    crs_etcd_op put = {.kind = CRS_ETCD_PUT, .key = cereus_slice_str(member), .lease = lease};
    return do_if(ctx, both, 2, &put, 1, CEREUS_E_EXISTS, "member already exists in group", NULL);
}

static cereus_status etcd_remove(cereus_ctx *ctx, const char *name, const char *uid)
{
    const char *member = key_of(ctx, name, uid);
    if (!member)
        return bad_key(name);
    crs_etcd_compare there = exists(member);
    crs_etcd_op op = {.kind = CRS_ETCD_DELETE, .key = cereus_slice_str(member)};
    return do_if(ctx, &there, 1, &op, 1, CEREUS_E_NOT_FOUND, "member not found in the group", NULL);
}

static cereus_status etcd_remove_all(cereus_ctx *ctx, const char *name)
{
    const char *key = key_of(ctx, name, NULL), *members = key ? key_of(ctx, name, "") : NULL;
    if (!members)
        return bad_key(name);
    crs_etcd_compare there = exists(key);
    crs_etcd_op op = {.kind = CRS_ETCD_DELETE, .key = cereus_slice_str(members), .prefix = true};
    return do_if(ctx, &there, 1, &op, 1, CEREUS_E_NOT_FOUND, "group not found", NULL);
}

static cereus_status etcd_contains(cereus_ctx *ctx, const char *name, const char *uid, bool *ret_is)
{
    const char *key = key_of(ctx, name, NULL), *member = key ? key_of(ctx, name, uid) : NULL;
    const crs_etcd_result *result;
    if (!member)
        return bad_key(name);
    crs_etcd_compare there = exists(key);
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = cereus_slice_str(member), .count_only = true};
    CEREUS_TRY(do_if(ctx, &there, 1, &op, 1, CEREUS_E_NOT_FOUND, "group not found", &result));
    *ret_is = result->results[0].count > 0;
    return CEREUS_OK;
}

static cereus_status etcd_count(cereus_ctx *ctx, const char *name, size_t *ret_count)
{
    const char *members = key_of(ctx, name, "");
    const crs_etcd_result *result;
    if (!members)
        return bad_key(name);
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = cereus_slice_str(members), .prefix = true, .count_only = true};
    CEREUS_TRY(ask(ctx, &op, &result, CEREUS_OK));
    *ret_count = (size_t)result->count;
    return CEREUS_OK;
}

static cereus_status etcd_snapshot(cereus_ctx *ctx, const char *name, cereus_session_id **ret_ids,
                                   const char ***ret_uids, size_t *ret_count)
{
    const char *key = key_of(ctx, name, NULL), *members = key ? key_of(ctx, name, "") : NULL;
    const crs_etcd_result *result;
    if (!members)
        return bad_key(name);
    crs_etcd_compare there = exists(key);
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = cereus_slice_str(members), .prefix = true, .keys_only = true};
    CEREUS_TRY(do_if(ctx, &there, 1, &op, 1, CEREUS_E_NOT_FOUND, "group not found", &result));
    const crs_etcd_result *range = &result->results[0];
    size_t count = range->kv_count, skip = strlen(members);
    cereus_session_id *ids = ret_ids ? crs_arena_alloc(ctx->arena, count * sizeof *ids + 1) : NULL;
    const char **uids = crs_arena_alloc(ctx->arena, count * sizeof *uids + 1);
    bool ok = uids && (ids || !ret_ids);
    for (size_t i = 0; ok && i < count; i++) {
        cereus_slice whole = range->kvs[i].key;
        ok = (uids[i] = crs_arena_strndup(ctx->arena, (const char *)whole.data + skip, whole.len - skip));
        if (ok && ids)
            ids[i] = crs_uid_find(ctx->dispatch->core->uids, cereus_slice_str(uids[i]));
    }
    if (!ok)
        return no_memory(ctx);
    if (ret_ids)
        *ret_ids = ids;
    if (ret_uids)
        *ret_uids = uids;
    *ret_count = count;
    return CEREUS_OK;
}

const crs_group_ops crs_group_etcd = {
    .create = etcd_create,
    .renew = etcd_renew,
    .del = etcd_delete,
    .add = etcd_add,
    .remove = etcd_remove,
    .remove_all = etcd_remove_all,
    .contains = etcd_contains,
    .count = etcd_count,
    .snapshot = etcd_snapshot,
};
