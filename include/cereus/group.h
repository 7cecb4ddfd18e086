/* cereus/group.h: named sets of user ids, independent of sessions and loops: rooms, guilds, parties. Kept in memory,
 * one table per app: in a cluster the groups are this server's own, while their members may be connected to any frontend.
 * Closing a session does not remove its uid from groups: do that in a close callback. A call that fails leaves
 * Pitaya's words for it in the ctx, so its status can be returned as it is. Thread: fiber, any loop. In memory none of them
 * yields.
 *
 * With `cereus.groups: etcd` all servers share the groups, Pitaya's among them. Then every call **may yield**, and may fail
 * with PIT-500 and the words of the etcd client when etcd does not answer within `pitaya.groups.etcd.transactiontimeout`; a
 * name with "/uids/" is refused (CEREUS_E_INVALID); a time to live is a lease of whole seconds, after which etcd deletes the
 * group; the members of a group that is not there count 0; "member already exists in group" and "member not found in the
 * group" also stand for a group that just went.
 */
#ifndef CEREUS_GROUP_H
#define CEREUS_GROUP_H

#include <cereus/session.h>

#ifdef __cplusplus
extern "C" {
#endif

/** @return CEREUS_OK; CEREUS_E_EXISTS: "group already exists"; CEREUS_E_INVALID: no name; CEREUS_E_NOMEM */
CEREUS_API cereus_status cereus_group_create(cereus_ctx *ctx, const char *group);
/** A group that expires @p ttl_ms after it was made or renewed: in memory at the first tick
 * (`pitaya.groups.memory.tickduration`) behind that. Returns as cereus_group_create(). */
CEREUS_API cereus_status cereus_group_create_ttl(cereus_ctx *ctx, const char *group, uint64_t ttl_ms);
/** @return CEREUS_OK; CEREUS_E_NOT_FOUND: "group not found"; CEREUS_E_STATE: it has none, "memory group TTL not
 * found" or "etcd lease not found in group" */
CEREUS_API cereus_status cereus_group_renew_ttl(cereus_ctx *ctx, const char *group);
/** @return CEREUS_OK; CEREUS_E_NOT_FOUND: "group not found" */
CEREUS_API cereus_status cereus_group_delete(cereus_ctx *ctx, const char *group);

/** @return CEREUS_OK; CEREUS_E_INVALID: "empty uid"; CEREUS_E_NOT_FOUND: "group not found"; CEREUS_E_EXISTS: "member
 * already exists in group"; CEREUS_E_NOMEM */
CEREUS_API cereus_status cereus_group_add(cereus_ctx *ctx, const char *group, const char *uid);
/** @return CEREUS_OK; CEREUS_E_NOT_FOUND: "group not found" or "member not found in the group" */
CEREUS_API cereus_status cereus_group_remove(cereus_ctx *ctx, const char *group, const char *uid);
/** @return CEREUS_OK; CEREUS_E_NOT_FOUND: "group not found" */
CEREUS_API cereus_status cereus_group_remove_all(cereus_ctx *ctx, const char *group);
/** @return CEREUS_OK with *ret_is; CEREUS_E_INVALID: "empty uid"; CEREUS_E_NOT_FOUND: "group not found" */
CEREUS_API cereus_status cereus_group_contains(cereus_ctx *ctx, const char *group, const char *uid, bool *ret_is);
/** A copy of the members in the ctx's memory, in no order. @return CEREUS_OK; CEREUS_E_NOT_FOUND; CEREUS_E_NOMEM */
CEREUS_API cereus_status cereus_group_members(cereus_ctx *ctx, const char *group, const char *const **ret_uids,
                                              size_t *ret_count);
/** @return CEREUS_OK; CEREUS_E_NOT_FOUND: "group not found" */
CEREUS_API cereus_status cereus_group_count(cereus_ctx *ctx, const char *group, size_t *ret_count);

/**
 * Push to all members: serialised, compressed and framed once for those of this server, shared by all receivers; in a
 * cluster the others are reached by one message to each frontend of the type (`local`), or one for each member (NATS).
 * @param frontend_type  the type of server the members are connected to; NULL or "": this one, which must be a frontend then
 * @return CEREUS_OK; CEREUS_E_NOT_FOUND: "group not found"; CEREUS_E_FAILED: some members could not be sent to ("failed
 * to push message to users, check array with failed uids"; the others got it). Alone, those without a session here are
 * among these; in a cluster nobody can tell. CEREUS_E_INVALID, CEREUS_E_TOO_LONG
 */
CEREUS_API cereus_status cereus_group_broadcast(cereus_ctx *ctx, const char *frontend_type, const char *group,
                                                const char *route, cereus_value value);

/** Does this member get it? Runs for each member with no lock held; must not yield. */
typedef bool cereus_member_fn(cereus_ctx *ctx, const char *uid, void *user);
/** Broadcast to the members that @p pick chooses, and to no others. As broadcast. */
CEREUS_API cereus_status cereus_group_multicast(cereus_ctx *ctx, const char *frontend_type, const char *group,
                                                const char *route, cereus_value value, cereus_member_fn *pick,
                                                void *user);

#ifdef __cplusplus
}
#endif
#endif
