/* group/group.h: the groups of one app, in memory or in etcd. In memory: one mutex for the table; nothing is called
 * under it. */
#ifndef CRS_GROUP_GROUP_H
#define CRS_GROUP_GROUP_H

#include <cereus/group.h>

#include "base/base.h"

typedef struct crs_groups crs_groups;
typedef struct crs_etcd_groups crs_etcd_groups; /* what their calls need when they are kept in etcd */

/** Where groups are kept: memory.c or etcd.c. Thread: fiber; those of etcd yield. Failures are kept in the ctx. */
typedef struct crs_group_ops {
    cereus_status (*create)(cereus_ctx *ctx, const char *name, uint64_t ttl_ms);
    cereus_status (*renew)(cereus_ctx *ctx, const char *name);
    cereus_status (*del)(cereus_ctx *ctx, const char *name);
    cereus_status (*add)(cereus_ctx *ctx, const char *name, const char *uid);
    cereus_status (*remove)(cereus_ctx *ctx, const char *name, const char *uid);
    cereus_status (*remove_all)(cereus_ctx *ctx, const char *name);
    cereus_status (*contains)(cereus_ctx *ctx, const char *name, const char *uid, bool *ret_is);
    cereus_status (*count)(cereus_ctx *ctx, const char *name, size_t *ret_count);
    /** Copies of the members: sessions (0: none here) and uids, each unless NULL. */
    cereus_status (*snapshot)(cereus_ctx *ctx, const char *name, cereus_session_id **ret_ids, const char ***ret_uids,
                              size_t *ret_count);
} crs_group_ops;

extern const crs_group_ops crs_group_memory, crs_group_etcd;

/** Ownership: gives; borrows @p config. Thread: setup. */
crs_etcd_groups *crs_etcd_groups_new(const cereus_config *config);
/** End what a loop has open. Thread: that loop's. NULL is fine. */
void crs_etcd_groups_close(crs_etcd_groups *groups, uint32_t loop_index);
crs_etcd_groups *crs_etcd_groups_free(crs_etcd_groups *groups);
/** Keep all groups there; NULL: in memory. Borrows @p etcd. Thread: setup. */
void crs_groups_use_etcd(crs_groups *groups, crs_etcd_groups *etcd);
crs_etcd_groups *crs_groups_etcd(const crs_groups *groups);

crs_groups *crs_groups_new(void);
crs_groups *crs_groups_free(crs_groups *groups);
/** Delete the groups whose time is over. @p now_ms: the clock of cereus_group_create_ttl(). Thread: any. */
void crs_groups_expire(crs_groups *groups, uint64_t now_ms);
/** How many there are. Thread: any. */
size_t crs_groups_count(crs_groups *groups);

#endif
