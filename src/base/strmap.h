/* base/strmap.h: byte strings to pointers. Open addressing, keys copied, insertion order not kept. Grows; a caller that
 * feeds it from the network bounds the count itself. Hashes are seeded per process, so that a peer cannot aim. */
#ifndef CRS_BASE_STRMAP_H
#define CRS_BASE_STRMAP_H

#include "base/base.h"

typedef struct crs_strmap_entry {
    char *key; /* NUL behind it; NULL: free slot */
    uint32_t key_len;
    uint32_t hash;
    void *value;
} crs_strmap_entry;

typedef struct crs_strmap {
    crs_strmap_entry *slots;
    size_t cap;   /* power of two, or 0 */
    size_t count; /* entries in use */
} crs_strmap;

/** A well mixed, per process seeded hash. Thread: any. */
uint64_t crs_hash_bytes(const void *data, size_t len);

void crs_strmap_init(crs_strmap *m);
/** Frees the table and the keys; values are the caller's. */
void crs_strmap_fini(crs_strmap *m);
/** The value under @p key; NULL: none. Allocates nothing. */
void *crs_strmap_get(const crs_strmap *m, cereus_slice key);
/** Set or replace. @p ret_old (may be NULL) gets the former value or NULL. CEREUS_E_NOMEM: nothing changed. */
CEREUS_MUST_USE cereus_status crs_strmap_put(crs_strmap *m, cereus_slice key, void *value, void **ret_old);
/** Remove; returns the value, NULL: there was none. */
void *crs_strmap_del(crs_strmap *m, cereus_slice key);
/** Walk: start with *iter = 0; false at the end. The map must not change meanwhile. */
bool crs_strmap_next(const crs_strmap *m, size_t *iter, cereus_slice *ret_key, void **ret_value);

#endif
