/* session/session.c: a slot table with generations per loop, and a sharded map for uids. */
#include "session/session.h"

#include <pthread.h>

enum { SLOTS_MAX = 1 << 24, SHARDS = 64 };

void crs_session_table_init(crs_session_table *t, uint32_t loop_index, uint32_t count_max)
{
    CRS_ASSERT(loop_index < 256);
    memset(t, 0, sizeof *t);
    t->loop_index = loop_index;
    t->count_max = CRS_MIN(count_max, (uint32_t)SLOTS_MAX);
}

void crs_session_table_fini(crs_session_table *t)
{
    crs_free(t->slots);
    t->slots = NULL;
}

cereus_status crs_session_table_add(crs_session_table *t, crs_agent *agent, cereus_session_id *ret_id)
{
    size_t count = atomic_load_explicit(&t->count, memory_order_relaxed);
    if (count >= t->count_max)
        return CEREUS_E_FULL;
    uint32_t slot;
    if (t->free_head) {
        slot = t->free_head - 1;
        t->free_head = t->slots[slot].next_free;
    } else {
        if (t->used == t->cap) {
            uint32_t cap = t->cap ? t->cap * 2 : 64;
            struct crs_session_slot *slots = crs_realloc(t->slots, cap * sizeof *slots);
            if (!slots)
                return CEREUS_E_NOMEM;
            memset(slots + t->cap, 0, (cap - t->cap) * sizeof *slots);
            t->slots = slots;
            t->cap = cap;
        }
        slot = t->used++;
    }
    struct crs_session_slot *s = &t->slots[slot];
    if (++s->generation == 0)
        s->generation = 1;
    s->agent = agent;
    atomic_store_explicit(&t->count, count + 1, memory_order_relaxed);
    *ret_id = (uint64_t)s->generation << 32 | (uint64_t)t->loop_index << 24 | slot;
    return CEREUS_OK;
}

static struct crs_session_slot *find_slot(const crs_session_table *t, cereus_session_id id)
{
    uint32_t slot = (uint32_t)id & (SLOTS_MAX - 1);
    if (crs_session_id_loop(id) != t->loop_index || slot >= t->used)
        return NULL;
    struct crs_session_slot *s = &t->slots[slot];
    return s->generation == (uint32_t)(id >> 32) && s->agent ? s : NULL;
}

crs_agent *crs_session_table_find(const crs_session_table *t, cereus_session_id id)
{
    const struct crs_session_slot *s = find_slot(t, id);
    return s ? s->agent : NULL;
}

void crs_session_table_remove(crs_session_table *t, cereus_session_id id)
{
    struct crs_session_slot *s = find_slot(t, id);
    CRS_ASSERT(s);
    s->agent = NULL;
    s->next_free = t->free_head;
    t->free_head = (uint32_t)(s - t->slots) + 1;
    atomic_store_explicit(&t->count, atomic_load_explicit(&t->count, memory_order_relaxed) - 1, memory_order_relaxed);
}

typedef struct holder {
    cereus_session_id id;
    uint64_t since_us;
} holder;

typedef struct shard {
    pthread_mutex_t mu; /* a leaf: nothing is called under it */
    crs_strmap map;     /* guarded by mu; values are holders */
} shard;

struct crs_uid_index {
    shard shards[SHARDS];
};

crs_uid_index *crs_uid_index_new(void)
{
    crs_uid_index *index = crs_zalloc(sizeof *index);
    if (!index)
        return NULL;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&index->shards[i].mu, NULL);
        crs_strmap_init(&index->shards[i].map);
    }
    return index;
}

crs_uid_index *crs_uid_index_free(crs_uid_index *index)
{
    if (!index)
        return NULL;
    for (size_t i = 0; i < SHARDS; i++) {
        size_t iter = 0;
        cereus_slice uid;
        void *value;
        while (crs_strmap_next(&index->shards[i].map, &iter, &uid, &value))
            crs_free(value);
        crs_strmap_fini(&index->shards[i].map);
        pthread_mutex_destroy(&index->shards[i].mu);
    }
    crs_free(index);
    return NULL;
}

static shard *shard_of(crs_uid_index *index, cereus_slice uid)
{
    /* the map uses the hash's low half */
    return &index->shards[(crs_hash_bytes(uid.data, uid.len) >> 58) % SHARDS];
}

cereus_session_id crs_uid_find(crs_uid_index *index, cereus_slice uid)
{
    shard *s = shard_of(index, uid);
    pthread_mutex_lock(&s->mu);
    const holder *h = crs_strmap_get(&s->map, uid);
    cereus_session_id id = h ? h->id : 0;
    pthread_mutex_unlock(&s->mu);
    return id;
}

cereus_status crs_uid_claim(crs_uid_index *index, cereus_slice uid, cereus_session_id id, uint64_t since_us,
                            cereus_session_id *ret_old)
{
    shard *s = shard_of(index, uid);
    holder *fresh = crs_malloc(sizeof *fresh);
    if (!fresh)
        return CEREUS_E_NOMEM;
    *fresh = (holder){.id = id, .since_us = since_us};
    void *old = NULL;
    pthread_mutex_lock(&s->mu);
    cereus_status st = crs_strmap_put(&s->map, uid, fresh, &old);
    pthread_mutex_unlock(&s->mu);
    if (st == CEREUS_OK)
        *ret_old = old ? ((holder *)old)->id : 0;
    crs_free(st ? fresh : old);
    return st;
}

void crs_uid_release(crs_uid_index *index, cereus_slice uid, cereus_session_id id)
{
    shard *s = shard_of(index, uid);
    pthread_mutex_lock(&s->mu);
    const holder *h = crs_strmap_get(&s->map, uid);
    void *gone = h && h->id == id ? crs_strmap_del(&s->map, uid) : NULL;
    pthread_mutex_unlock(&s->mu);
    crs_free(gone);
}

uint64_t crs_uid_outbid(crs_uid_index *index, cereus_slice uid, uint64_t before_us, cereus_session_id *ret_lost)
{
    shard *s = shard_of(index, uid);
    pthread_mutex_lock(&s->mu);
    const holder *h = crs_strmap_get(&s->map, uid);
    uint64_t since_us = h ? h->since_us : 0;
    holder *gone = h && since_us < before_us ? crs_strmap_del(&s->map, uid) : NULL;
    pthread_mutex_unlock(&s->mu);
    *ret_lost = gone ? gone->id : 0;
    since_us = gone ? 0 : since_us;
    crs_free(gone);
    return since_us;
}
