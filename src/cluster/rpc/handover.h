/* cluster/rpc/handover.h: messages that come by two connections for a while, an old one and its successor, so that none is lost
 * between them. Those of the old one are taken as they come, those of the new one are held back; at the end these are taken,
 * but for those that came by the old one, too. So each is taken once, and after those that its sender sent before.
 *
 *     begin ── old: taken, and noted; new: held ── end ── new: taken unless noted; old: dropped ── forget
 *
 * Two messages with the same bytes and no address for an answer are told apart by their number only: where one has come by the old
 * connection alone, one of the same that comes just after may be lost. Thread: loop.
 */
#ifndef CRS_CLUSTER_RPC_HANDOVER_H
#define CRS_CLUSTER_RPC_HANDOVER_H

#include "base/list.h"
#include "base/strmap.h"

typedef struct crs_handover {
    /** Take a message. @p kind: the caller's; @p reply: where its answer goes, with a NUL behind it, or empty. */
    void (*take)(void *user, unsigned kind, cereus_slice data, cereus_slice reply);
    void *user;
    bool holding;
    crs_strmap seen; /* what tells messages that have come by the old one -> how many of the same */
    crs_list held;
    size_t held_len;
} crs_handover;

void crs_handover_init(crs_handover *h, void (*take)(void *user, unsigned kind, cereus_slice data, cereus_slice reply),
                       void *user);
/** What is held is dropped. */
void crs_handover_fini(crs_handover *h);
void crs_handover_begin(crs_handover *h);
/** A message has come. It ends by itself where there is no room to hold or to note. */
void crs_handover_arrives(crs_handover *h, bool by_new, unsigned kind, cereus_slice data, cereus_slice reply);
/** Once is enough. */
void crs_handover_end(crs_handover *h);
/** Nothing comes by the old connection any more. */
void crs_handover_forget(crs_handover *h);

#endif
