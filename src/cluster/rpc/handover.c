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

/** What tells a message from others: where its answer goes, or its kind and a hash of it. */
static cereus_slice key_of(unsigned kind, cereus_slice data, cereus_slice reply, uint8_t out[1 + CRS_SHA1_LEN])
{
    if (reply.len)
        return reply;
    out[0] = (uint8_t)kind;
    crs_sha1(data, out + 1);
    return cereus_slice_of(out, 1 + CRS_SHA1_LEN);
}

static bool note(crs_handover *h, unsigned kind, cereus_slice data, cereus_slice reply)
{
    uint8_t hash[1 + CRS_SHA1_LEN];
    cereus_slice key = key_of(kind, data, reply, hash);
    uintptr_t count = (uintptr_t)crs_strmap_get(&h->seen, key) + 1;
    return h->seen.count < SEEN_MAX && crs_strmap_put(&h->seen, key, (void *)count, NULL) == CEREUS_OK;
}

static bool was_seen(crs_handover *h, unsigned kind, cereus_slice data, cereus_slice reply)
{
    uint8_t hash[1 + CRS_SHA1_LEN];
    if (h->seen.count == 0)
        return false;
    cereus_slice key = key_of(kind, data, reply, hash);
    uintptr_t count = (uintptr_t)crs_strmap_get(&h->seen, key);
    if (count <= 1)
        return crs_strmap_del(&h->seen, key);
    cereus_status st = crs_strmap_put(&h->seen, key, (void *)(count - 1), NULL);
    CRS_UNUSED(st); /* the table may want to grow: where it cannot, one of the same too many is taken for seen */
    return true;
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
    crs_strmap_init(&h->seen);
    crs_list_init(&h->held);
}

void crs_handover_fini(crs_handover *h)
{
    for (crs_list *at; (at = crs_list_pop(&h->held));)
        crs_free(CRS_CONTAINER(at, held_message, link));
    crs_strmap_fini(&h->seen);
}

void crs_handover_begin(crs_handover *h)
{
    h->holding = true;
}

void crs_handover_arrives(crs_handover *h, bool by_new, unsigned kind, cereus_slice data, cereus_slice reply)
{
    if (by_new) {
        if (h->holding && hold(h, kind, data, reply))
            return;
        crs_handover_end(h);
        take_unseen(h, kind, data, reply);
        return;
    }
    if (!h->holding)
        return; /* it has come by the new one */
    bool noted = note(h, kind, data, reply);
    h->take(h->user, kind, data, reply);
    if (!noted)
        crs_handover_end(h);
}

void crs_handover_end(crs_handover *h)
{
    h->holding = false;
    for (crs_list *at; (at = crs_list_pop(&h->held));) {
        held_message *m = CRS_CONTAINER(at, held_message, link);
        take_unseen(h, m->kind, cereus_slice_of(m->bytes + m->reply_len + 1, m->len),
                    cereus_slice_of(m->bytes, m->reply_len));
        crs_free(m);
    }
    h->held_len = 0;
}

void crs_handover_forget(crs_handover *h)
{
    crs_strmap_fini(&h->seen);
    crs_strmap_init(&h->seen);
}
