/* group/group.c: what games call: checks that both engines share, and pushes to members. */
#include "group/group.h"

#include "dispatch/context.h"
#include "dispatch/push.h"

static const crs_group_ops *ops_of(cereus_ctx *ctx)
{
    return crs_groups_etcd(ctx->dispatch->core->groups) ? &crs_group_etcd : &crs_group_memory;
}

static cereus_status empty_uid(cereus_ctx *ctx)
{
    return crs_ctx_error(ctx, CEREUS_E_INVALID, "PIT-000", "empty uid");
}

cereus_status cereus_group_create(cereus_ctx *ctx, const char *name)
{
    return ops_of(ctx)->create(ctx, name, 0);
}

cereus_status cereus_group_create_ttl(cereus_ctx *ctx, const char *name, uint64_t ttl_ms)
{
    return ops_of(ctx)->create(ctx, name, ttl_ms);
}

cereus_status cereus_group_renew_ttl(cereus_ctx *ctx, const char *name)
{
    return ops_of(ctx)->renew(ctx, name);
}

cereus_status cereus_group_delete(cereus_ctx *ctx, const char *name)
{
    return ops_of(ctx)->del(ctx, name);
}

cereus_status cereus_group_add(cereus_ctx *ctx, const char *name, const char *uid)
{
    return uid && *uid ? ops_of(ctx)->add(ctx, name, uid) : empty_uid(ctx);
}

cereus_status cereus_group_remove(cereus_ctx *ctx, const char *name, const char *uid)
{
    return ops_of(ctx)->remove(ctx, name, uid ? uid : "");
}

cereus_status cereus_group_remove_all(cereus_ctx *ctx, const char *name)
{
    return ops_of(ctx)->remove_all(ctx, name);
}

cereus_status cereus_group_contains(cereus_ctx *ctx, const char *name, const char *uid, bool *ret_is)
{
    return uid && *uid ? ops_of(ctx)->contains(ctx, name, uid, ret_is) : empty_uid(ctx);
}

cereus_status cereus_group_count(cereus_ctx *ctx, const char *name, size_t *ret_count)
{
    return ops_of(ctx)->count(ctx, name, ret_count);
}

cereus_status cereus_group_members(cereus_ctx *ctx, const char *name, const char *const **ret_uids, size_t *ret_count)
{
    const char **uids;
    CEREUS_TRY(ops_of(ctx)->snapshot(ctx, name, NULL, &uids, ret_count));
    *ret_uids = uids;
    return CEREUS_OK;
}

/** As to any users: behaviour.md 17, a broadcast is SendPushToUsers() with the members. */
static cereus_status deliver(cereus_ctx *ctx, const char *frontend_type, const char *route, const cereus_value *value,
                             const char *const *uids, const cereus_session_id *ids, size_t count)
{
    bool *failed = crs_arena_alloc(ctx->arena, count * sizeof *failed + 1);
    if (!failed)
        return crs_ctx_error(ctx, CEREUS_E_NOMEM, "PIT-500", "out of memory");
    return crs_push_to_users(ctx, frontend_type, cereus_slice_str(route), value, uids, ids, count, failed);
}

cereus_status cereus_group_broadcast(cereus_ctx *ctx, const char *frontend_type, const char *name, const char *route,
                                     cereus_value value)
{
    cereus_session_id *ids;
    const char **uids = NULL; /* only a cluster asks who they are */
    size_t count;
    CEREUS_TRY(ops_of(ctx)->snapshot(ctx, name, &ids, ctx->dispatch->core->cluster ? &uids : NULL, &count));
    return deliver(ctx, frontend_type, route, &value, uids, ids, count);
}

cereus_status cereus_group_multicast(cereus_ctx *ctx, const char *frontend_type, const char *name, const char *route,
                                     cereus_value value, cereus_member_fn *pick, void *user)
{
    const char **uids;
    size_t count, picked = 0;
    CEREUS_TRY(ops_of(ctx)->snapshot(ctx, name, NULL, &uids, &count));
    cereus_session_id *ids = crs_arena_alloc(ctx->arena, count * sizeof *ids);
    if (!ids)
        return crs_ctx_error(ctx, CEREUS_E_NOMEM, "PIT-500", "out of memory");
    for (size_t i = 0; i < count; i++) {
        if (!pick(ctx, uids[i], user))
            continue;
        uids[picked] = uids[i];
        ids[picked++] = crs_uid_find(ctx->dispatch->core->uids, cereus_slice_str(uids[i]));
    }
    return deliver(ctx, frontend_type, route, &value, uids, ids, picked);
}
