/* cluster/rpc/handover.c: see the header. */
#include "cluster/rpc/handover.h"

#include "base/sha1.h"

enum {
    HELD_MAX = 16 << 20, /* bytes */
    SEEN_MAX = 1 << 16,
};

typedef struct held_message {
    crs_list link;
    unsigned kind;
    size_t reply_len, len;
    uint8_t bytes[]; /* the reply, a NUL, the data */
} held_message;

static void forget(crs_strmap *m)
{
    crs_strmap_fini(m);
    crs_strmap_init(m);
}

static void forget_seen(crs_handover_seen *s)
{
    forget(&s->young);
    forget(&s->old);
}

static void grow_old(crs_handover_seen *s)
{
    crs_strmap_fini(&s->old);
    s->old = s->young;
    crs_strmap_init(&s->young);
}

/** Where to note a message, and what tells it from others: where its answer goes, or its kind and a hash of it. */
static crs_handover_seen *key_of(crs_handover *h, unsigned kind, cereus_slice data, cereus_slice reply,
                                 uint8_t hash[1 + CRS_SHA1_LEN], cereus_slice *ret_key)
{
    *ret_key = reply;
    if (reply.len)
        return &h->asked;
    hash[0] = (uint8_t)kind;
    crs_sha1(data, hash + 1);
    *ret_key = cereus_slice_of(hash, 1 + CRS_SHA1_LEN);
    return &h->said;
}

static bool note(crs_handover *h, unsigned kind, cereus_slice data, cereus_slice reply)
{
    uint8_t hash[1 + CRS_SHA1_LEN];
    cereus_slice key;
    crs_handover_seen *s = key_of(h, kind, data, reply, hash, &key);
    if (s->young.count >= SEEN_MAX / 2)
        grow_old(s);
    uintptr_t count = (uintptr_t)crs_strmap_get(&s->young, key) + 1;
    return crs_strmap_put(&s->young, key, (void *)count, NULL) == CEREUS_OK;
}

static bool uncount(crs_strmap *m, cereus_slice key)
{
    uintptr_t count = (uintptr_t)crs_strmap_get(m, key);
    if (count <= 1)
        return crs_strmap_del(m, key);
    cereus_status st = crs_strmap_put(m, key, (void *)(count - 1), NULL);
    CRS_UNUSED(st); /* it is there, so no memory is needed */
    return true;
}

static bool was_seen(crs_handover *h, unsigned kind, cereus_slice data, cereus_slice reply)
{
    uint8_t hash[1 + CRS_SHA1_LEN];
    cereus_slice key;
    if (h->asked.young.count + h->asked.old.count + h->said.young.count + h->said.old.count == 0)
        return false;
    crs_handover_seen *s = key_of(h, kind, data, reply, hash, &key);
    return uncount(&s->young, key) || uncount(&s->old, key);
}

static void take_unseen(crs_handover *h, unsigned kind, cereus_slice data, cereus_slice reply)
{
    if (!was_seen(h, kind, data, reply))
        h->take(h->user, kind, data, reply);
}

/** False: there is no room. */
static bool hold(crs_handover *h, unsigned kind, cereus_slice data, cereus_slice reply)
{
    size_t len = sizeof(held_message) + reply.len + 1 + data.len;
    held_message *m = h->held_len + len <= HELD_MAX ? crs_malloc(len) : NULL;
    if (!m)
        return false;
    m->kind = kind;
    m->reply_len = reply.len;
    m->len = data.len;
    if (reply.len)
        memcpy(m->bytes, reply.data, reply.len);
    m->bytes[reply.len] = '\0';
    if (data.len)
        memcpy(m->bytes + reply.len + 1, data.data, data.len);
    crs_list_push(&h->held, &m->link);
    h->held_len += len;
    return true;
}

void crs_handover_init(crs_handover *h, void (*take)(void *user, unsigned kind, cereus_slice data, cereus_slice reply),
                       void *user)
{
    *h = (crs_handover){.take = take, .user = user};
    crs_list_init(&h->held);
}

void crs_handover_fini(crs_handover *h)
{
    for (crs_list *at; (at = crs_list_pop(&h->held));)
        crs_free(CRS_CONTAINER(at, held_message, link));
    crs_handover_forget(h);
}

void crs_handover_begin(crs_handover *h)
{
    crs_handover_forget(h); /* what was the new one then is the old one now */
    h->holding = true;
}

void crs_handover_hears(crs_handover *h)
{
    grow_old(&h->said);
}

bool crs_handover_arrives(crs_handover *h, bool by_new, unsigned kind, cereus_slice data, cereus_slice reply)
{
    if (by_new && h->holding && hold(h, kind, data, reply))
        return true;
    if (by_new) {
        crs_handover_end(h);
        take_unseen(h, kind, data, reply);
        return true;
    }
    if (!h->holding) /* it has come by the new one */
        return true;
    if (!note(h, kind, data, reply)) /* it could be taken twice: it may come by the new one yet */
        return false;
    h->take(h->user, kind, data, reply);
    return true;
}

void crs_handover_end(crs_handover *h)
{
    bool ends = h->holding;
    h->holding = false;
    for (crs_list *at; (at = crs_list_pop(&h->held));) {
        held_message *m = CRS_CONTAINER(at, held_message, link);
        take_unseen(h, m->kind, cereus_slice_of(m->bytes + m->reply_len + 1, m->len),
                    cereus_slice_of(m->bytes, m->reply_len));
        crs_free(m);
    }
    h->held_len = 0;
    if (ends)
        forget(&h->said.old);
}

void crs_handover_forget(crs_handover *h)
{
    forget_seen(&h->asked);
    forget_seen(&h->said);
}
