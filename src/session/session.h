/* session/session.h: who is connected: sessions by id on their loop, and by uid across all loops. */
#ifndef CRS_SESSION_SESSION_H
#define CRS_SESSION_SESSION_H

#include "base/strmap.h"
#include "loop/loop.h"

typedef struct crs_agent crs_agent;

/* A session id is generation (32 bits) | loop (8 bits) | slot (24 bits); the generation of a slot grows with every use.
 */
static inline uint32_t crs_session_id_loop(cereus_session_id id)
{
    return (uint32_t)(id >> 24) & 0xff;
}

/** The sessions of one loop. Thread: loop. */
typedef struct crs_session_table {
    struct crs_session_slot {
        crs_agent *agent; /* NULL: free */
        uint32_t generation;
        uint32_t next_free; /* 1 + slot; 0: none */
    } * slots;
    uint32_t cap;
    uint32_t used;      /* slots that were ever used */
    uint32_t free_head; /* 1 + slot; 0: none */
    uint32_t count_max;
    uint32_t loop_index;
    atomic_size_t count; /* read by any thread */
} crs_session_table;

void crs_session_table_init(crs_session_table *t, uint32_t loop_index, uint32_t count_max);
void crs_session_table_fini(crs_session_table *t);
/** @return CEREUS_OK with the new id; CEREUS_E_FULL: count_max; CEREUS_E_NOMEM */
CEREUS_MUST_USE cereus_status crs_session_table_add(crs_session_table *t, crs_agent *agent, cereus_session_id *ret_id);
/** The agent of @p id; NULL: it has ended, or lives on another loop. */
crs_agent *crs_session_table_find(const crs_session_table *t, cereus_session_id id);
void crs_session_table_remove(crs_session_table *t, cereus_session_id id);

/** uid -> session id, for all loops of an app. Thread: any. */
typedef struct crs_uid_index crs_uid_index;

crs_uid_index *crs_uid_index_new(void);
crs_uid_index *crs_uid_index_free(crs_uid_index *index);
/** 0: nobody. */
cereus_session_id crs_uid_find(crs_uid_index *index, cereus_slice uid);
/** @p id holds the uid from now on, @p since_us, Unix time; *ret_old is who held it before, or 0. CEREUS_E_NOMEM: nothing changed. */
CEREUS_MUST_USE cereus_status crs_uid_claim(crs_uid_index *index, cereus_slice uid, cereus_session_id id,
                                            uint64_t since_us, cereus_session_id *ret_old);
/** Forget the uid if @p id still holds it. */
void crs_uid_release(crs_uid_index *index, cereus_slice uid, cereus_session_id id);
/** The uid was bound on another server: forget it if it has been held since before @p before_us. *ret_lost: who held it, or 0.
 * @return since when it is held, by one who keeps it; 0: by nobody any more */
uint64_t crs_uid_outbid(crs_uid_index *index, cereus_slice uid, uint64_t before_us, cereus_session_id *ret_lost);

#endif
