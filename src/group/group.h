/* group/group.h: the groups of one app, in memory. One mutex for the table; nothing is called under it. */
#ifndef CRS_GROUP_GROUP_H
#define CRS_GROUP_GROUP_H

#include <cereus/group.h>

#include "base/base.h"

typedef struct crs_groups crs_groups;

crs_groups *crs_groups_new(void);
crs_groups *crs_groups_free(crs_groups *groups);
/** Delete the groups whose time is over. @p now_ms: the clock of cereus_group_create_ttl(). Thread: any. */
void crs_groups_expire(crs_groups *groups, uint64_t now_ms);
/** How many there are. Thread: any. */
size_t crs_groups_count(crs_groups *groups);

#endif
