/* acceptor/custom.h: the game's own acceptors by URL scheme. Filled before the start. */
#ifndef CRS_ACCEPTOR_CUSTOM_H
#define CRS_ACCEPTOR_CUSTOM_H

#include "transport/conn.h"

typedef struct crs_custom_acceptor {
    struct crs_custom_acceptor *next;
    char *scheme;
    const cereus_acceptor *ops;
    void *user;
} crs_custom_acceptor;

/** As cereus_app_add_acceptor(). */
cereus_status crs_custom_add(crs_custom_acceptor **list, const char *scheme, const cereus_acceptor *ops, void *user,
                             cereus_error *err);
/** Whose scheme @p url has; NULL: none of them. */
const crs_custom_acceptor *crs_custom_find(const crs_custom_acceptor *list, const char *url);
void crs_custom_free_all(crs_custom_acceptor **list);

#endif
