/* base/list.h: an intrusive double-linked ring. A node that is on no list points at itself. */
#ifndef CRS_BASE_LIST_H
#define CRS_BASE_LIST_H

#include "base/base.h"

typedef struct crs_list {
    struct crs_list *next, *prev;
} crs_list;

static inline void crs_list_init(crs_list *l)
{
    l->next = l->prev = l;
}

static inline bool crs_list_empty(const crs_list *l)
{
    return l->next == l;
}

/** Put @p node at the end of @p l; it must be on no list. */
static inline void crs_list_push(crs_list *l, crs_list *node)
{
    node->prev = l->prev;
    node->next = l;
    l->prev->next = node;
    l->prev = node;
}

/** Take @p node off whatever list it is on; fine when it is on none. */
static inline void crs_list_remove(crs_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    crs_list_init(node);
}

/** The oldest node, taken off; NULL when empty. */
static inline crs_list *crs_list_pop(crs_list *l)
{
    if (crs_list_empty(l))
        return NULL;
    crs_list *node = l->next;
    crs_list_remove(node);
    return node;
}

#endif
