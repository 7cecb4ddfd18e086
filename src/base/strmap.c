/* base/strmap.c: linear probing with backward-shift deletion, so there are no tombstones. */
#include "base/strmap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/random.h>

static atomic_uint_fast64_t seed; /* 0: not made yet */
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seed(void)
{
    uint64_t made = 0;
    if (getrandom(&made, sizeof made, 0) != (ssize_t)sizeof made)
        made = (uint64_t)(uintptr_t)&seed * 0x9e3779b97f4a7c15u; /* address randomisation is the fallback */
    atomic_store_explicit(&seed, made | 1, memory_order_relaxed);
}

static inline uint64_t get_seed(void)
{
    uint64_t made = atomic_load_explicit(&seed, memory_order_relaxed);
    if (CRS_LIKELY(made))
        return made;
    pthread_once(&seed_once, make_seed);
    return atomic_load_explicit(&seed, memory_order_relaxed);
}

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

uint64_t crs_hash_bytes(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t key = get_seed(), h = key ^ (len * 0x9e3779b97f4a7c15u), w = 0;
    if (len >= 8) {
        const uint8_t *last = p + len - 8; /* overlaps what comes before it, unless that is whole words */
        for (; p < last; p += 8) {
            memcpy(&w, p, 8);
            h = mix(h ^ w, 0xa0761d6478bd642fu);
        }
        memcpy(&w, last, 8);
    } else if (len >= 4) {
        uint32_t first, last;
        memcpy(&first, p, 4);
        memcpy(&last, p + len - 4, 4);
        w = (uint64_t)first << 32 | last;
    } else if (len) {
        w = (uint64_t)p[0] << 16 | (uint64_t)p[len / 2] << 8 | p[len - 1];
    }
    h = mix(h ^ w, 0xe7037ed1a0b428dbu);
    return mix(h ^ key, 0x8ebc6af09c88c6e3u);
}

void crs_strmap_init(crs_strmap *m)
{
    *m = (crs_strmap){0};
}

void crs_strmap_fini(crs_strmap *m)
{
    for (size_t i = 0; i < m->cap; i++)
        crs_free(m->slots[i].key);
    crs_free(m->slots);
    crs_strmap_init(m);
}

static size_t find(const crs_strmap *m, cereus_slice key, uint32_t hash)
{
    size_t mask = m->cap - 1;
    size_t i = hash & mask;
    while (m->slots[i].key) {
        const crs_strmap_entry *e = &m->slots[i];
        if (e->hash == hash && e->key_len == key.len && (key.len == 0 || memcmp(e->key, key.data, key.len) == 0))
            return i;
        i = (i + 1) & mask;
    }
    return i;
}

void *crs_strmap_get(const crs_strmap *m, cereus_slice key)
{
    if (m->count == 0)
        return NULL;
    size_t i = find(m, key, (uint32_t)crs_hash_bytes(key.data, key.len));
    return m->slots[i].key ? m->slots[i].value : NULL;
}

static cereus_status grow(crs_strmap *m)
{
    size_t cap = m->cap ? m->cap * 2 : 8;
    crs_strmap_entry *slots = crs_zalloc(cap * sizeof *slots);
    if (!slots)
        return CEREUS_E_NOMEM;
    for (size_t i = 0; i < m->cap; i++) {
        if (!m->slots[i].key)
            continue;
        size_t at = m->slots[i].hash & (cap - 1);
        while (slots[at].key)
            at = (at + 1) & (cap - 1);
        slots[at] = m->slots[i];
    }
    crs_free(m->slots);
    m->slots = slots;
    m->cap = cap;
    return CEREUS_OK;
}

cereus_status crs_strmap_put(crs_strmap *m, cereus_slice key, void *value, void **ret_old)
{
    CRS_ASSERT(value && key.len <= UINT32_MAX);
    uint32_t hash = (uint32_t)crs_hash_bytes(key.data, key.len);
    size_t i = m->cap ? find(m, key, hash) : 0;
    if (m->cap && m->slots[i].key) {
        if (ret_old)
            *ret_old = m->slots[i].value;
        m->slots[i].value = value;
        return CEREUS_OK;
    }
    if ((m->count + 1) * 4 > m->cap * 3) {
        CEREUS_TRY(grow(m));
        i = find(m, key, hash);
    }
    char *copy = crs_strndup((const char *)key.data, key.len);
    if (!copy)
        return CEREUS_E_NOMEM;
    m->slots[i] = (crs_strmap_entry){.key = copy, .key_len = (uint32_t)key.len, .hash = hash, .value = value};
    m->count++;
    if (ret_old)
        *ret_old = NULL;
    return CEREUS_OK;
}

void *crs_strmap_del(crs_strmap *m, cereus_slice key)
{
    if (m->count == 0)
        return NULL;
    size_t i = find(m, key, (uint32_t)crs_hash_bytes(key.data, key.len));
    if (!m->slots[i].key)
        return NULL;
    void *value = m->slots[i].value;
    crs_free(m->slots[i].key);
    size_t mask = m->cap - 1;
    for (size_t j = (i + 1) & mask; m->slots[j].key; j = (j + 1) & mask) {
        size_t home = m->slots[j].hash & mask;
        if (((j - home) & mask) >= ((j - i) & mask)) { /* j may move back to i without passing its home */
            m->slots[i] = m->slots[j];
            i = j;
        }
    }
    m->slots[i] = (crs_strmap_entry){0};
    m->count--;
    return value;
}

bool crs_strmap_next(const crs_strmap *m, size_t *iter, cereus_slice *ret_key, void **ret_value)
{
    while (*iter < m->cap) {
        const crs_strmap_entry *e = &m->slots[(*iter)++];
        if (!e->key)
            continue;
        *ret_key = cereus_slice_of(e->key, e->key_len);
        *ret_value = e->value;
        return true;
    }
    return false;
}
