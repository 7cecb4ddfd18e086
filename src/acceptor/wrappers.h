/* acceptor/wrappers.h: the game's wrappers and ours, stacked into the one filter that a transport calls. Filled before the
 * start, constant after it.
 */
#ifndef CRS_ACCEPTOR_WRAPPERS_H
#define CRS_ACCEPTOR_WRAPPERS_H

#include "transport/conn.h"

typedef struct crs_wrapper_entry {
    cereus_wrapper wrapper;
    void *user;
    size_t state_at; /* of its state in the connection's block */
} crs_wrapper_entry;

typedef struct crs_wrappers {
    crs_wrapper_entry *entries;
    size_t count;
    crs_filter filter;
} crs_wrappers;

void crs_wrappers_init(crs_wrappers *w);
void crs_wrappers_fini(crs_wrappers *w);
/** Put @p wrapper at the end, or in front of all. Copies it. @return CEREUS_OK; CEREUS_E_NOMEM */
CEREUS_MUST_USE cereus_status crs_wrappers_add(crs_wrappers *w, const cereus_wrapper *wrapper, void *user, bool first);
/** What the transports call; NULL: nothing wraps. Good until crs_wrappers_fini(). */
const crs_filter *crs_wrappers_filter(crs_wrappers *w);

#endif
