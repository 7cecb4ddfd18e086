/* cluster/rpc/handover.h: messages that come by two connections for a while, an old one and its successor, so that none is lost
 * between them. Those of the old one are taken as they come, those of the new one are held back; at the end these are taken,
 * but for those that came by the old one, too. So each is taken once, and after those that its sender sent before.
 *
 *     begin ─── hears ─── end ─── forget          new: held until the end, then taken unless noted
 *        └─────────┴───────┘                      old: taken, and noted; after the end dropped
 *
 * Those with an address for their answer are known by that. Others are known by their bytes, and counted: of those that came by the
 * old one before NATS said that the new one hears, what has not come by the new one until the end came by the old one alone, and
 * hides nothing that is the same and comes later. Thread: loop.
 */
#ifndef CRS_CLUSTER_RPC_HANDOVER_H
#define CRS_CLUSTER_RPC_HANDOVER_H

#include "base/list.h"
#include "base/strmap.h"

/** How many messages have come by the old one, by what tells them. The oldest are forgotten when there are too many. */
typedef struct crs_handover_seen {
    crs_strmap young, old;
} crs_handover_seen;

typedef struct crs_handover {
    /** Take a message. @p kind: the caller's; @p reply: where its answer goes, with a NUL behind it, or empty. */
    void (*take)(void *user, unsigned kind, cereus_slice data, cereus_slice reply);
    void *user;
    bool holding;
    crs_handover_seen asked; /* by where their answers go */
    crs_handover_seen said;  /* others, by a hash; `old`: before it was known that the new one hears */
    crs_list held;
    size_t held_len;
} crs_handover;

void crs_handover_init(crs_handover *h, void (*take)(void *user, unsigned kind, cereus_slice data, cereus_slice reply),
                       void *user);
/** What is held is dropped. */
void crs_handover_fini(crs_handover *h);
void crs_handover_begin(crs_handover *h);
/** What comes by the old one from now on comes by the new one, too, or has. */
void crs_handover_hears(crs_handover *h);
/** A message has come. It ends by itself where there is no room to hold. False: dropped, there is no memory to note it. */
CEREUS_MUST_USE bool crs_handover_arrives(crs_handover *h, bool by_new, unsigned kind, cereus_slice data,
                                          cereus_slice reply);
/** Once is enough. */
void crs_handover_end(crs_handover *h);
/** Nothing comes by the old connection any more. */
void crs_handover_forget(crs_handover *h);

#endif
