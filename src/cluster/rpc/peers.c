/* cluster/rpc/peers.c: pushes, kicks and binds to the frontends of a type, and what comes of others'. */
#include "cluster/rpc/peers.h"

enum {
    PUSH_UIDS_MAX = 1 << 20, /* accepted in one message */
    PUSH_BATCH = 512 << 10,  /* bytes of uids sent in one, and a little more */
};

static cereus_status to_frontends(crs_rpc_link *link, const char *type, const crs_servers *servers, crs_peer_kind kind,
                                  const cereus_slice *parts, size_t part_count, crs_peer_send_fn *send)
{
    size_t count, first = crs_servers_of_type(servers, cereus_slice_str(type), &count);
    cereus_status st = CEREUS_OK;
    for (size_t i = first; i < first + count; i++) {
        const cereus_server *s = crs_server_view(crs_servers_at(servers, i));
        if (!s->frontend || strcmp(s->id, link->rpc->opt.self->id) == 0)
            continue;
        cereus_status one = send(link, s->id, kind, parts, part_count);
        if (one && one != CEREUS_E_UNAVAILABLE) /* who has gone has no users any more */
            st = one;
    }
    return st;
}

static cereus_status put_text(crs_bytes *b, cereus_slice s)
{
    uint8_t len[2];
    if (s.len > UINT16_MAX)
        return CEREUS_E_TOO_LONG;
    crs_put_le(len, s.len, sizeof len);
    CEREUS_TRY(crs_bytes_append(b, len, sizeof len));
    return crs_bytes_append(b, s.data, s.len);
}

cereus_status crs_peers_push(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice route,
                             cereus_slice data, const cereus_slice *uids, size_t count, crs_peer_send_fn *send)
{
    crs_bytes *scratch = &link->peers;
    cereus_status st = CEREUS_OK;
    for (size_t done = 0; !st && done < count;) {
        uint8_t head[4] = {0};
        size_t n = 0;
        scratch->len = 0;
        CEREUS_TRY(crs_bytes_append(scratch, head, sizeof head));
        for (; done + n < count && scratch->len < PUSH_BATCH; n++)
            CEREUS_TRY(put_text(scratch, uids[done + n]));
        crs_put_le(scratch->data, n, sizeof head);
        CEREUS_TRY(put_text(scratch, route));
        cereus_slice parts[] = {crs_bytes_slice(scratch), data};
        st = to_frontends(link, type, servers, CRS_PEER_PUSH, parts, CEREUS_COUNT(parts), send);
        done += n;
    }
    return st;
}

cereus_status crs_peers_kick(crs_rpc_link *link, const char *type, const crs_servers *servers, cereus_slice uid,
                             crs_peer_send_fn *send)
{
    return to_frontends(link, type, servers, CRS_PEER_KICK, &uid, 1, send);
}

cereus_status crs_peers_announce(crs_rpc_link *link, const crs_servers *servers, const crs_bind_msg *bind,
                                 crs_peer_send_fn *send)
{
    link->peers.len = 0;
    CEREUS_TRY(crs_bind_encode(bind, &link->peers));
    cereus_slice payload = crs_bytes_slice(&link->peers);
    return to_frontends(link, link->rpc->opt.self->type, servers, CRS_PEER_BOUND, &payload, 1, send);
}

/* ---- what comes ---- */

/** "len: u16, bytes" from the front of @p in. */
static bool take_text(cereus_slice *in, cereus_slice *ret)
{
    if (in->len < 2)
        return false;
    size_t len = (size_t)crs_get_le(in->data, 2);
    if (len > in->len - 2)
        return false;
    *ret = cereus_slice_of(in->data + 2, len);
    *in = cereus_slice_of(in->data + 2 + len, in->len - 2 - len);
    return true;
}

static bool take_push(crs_rpc_link *link, cereus_slice in)
{
    if (in.len < 4)
        return false;
    uint64_t count = crs_get_le(in.data, 4);
    in = cereus_slice_of(in.data + 4, in.len - 4);
    if (count > PUSH_UIDS_MAX || count > in.len / 2)
        return false;
    cereus_slice *uids = crs_malloc(count * sizeof *uids + 1), route;
    bool good = uids;
    for (uint64_t i = 0; good && i < count; i++)
        good = take_text(&in, &uids[i]);
    good = good && take_text(&in, &route);
    if (good)
        link->events->on_push(link->user, route, in, uids, (size_t)count);
    crs_free(uids);
    return good;
}

bool crs_peers_take(crs_rpc_link *link, unsigned kind, cereus_slice payload)
{
    crs_bind_msg bind;
    switch (kind) {
    case CRS_PEER_PUSH:
        return take_push(link, payload);
    case CRS_PEER_KICK:
        link->events->on_kick(link->user, payload);
        return true;
    case CRS_PEER_BOUND:
        if (crs_bind_decode(payload, &bind) != CEREUS_OK)
            return false;
        link->events->on_bound(link->user, &bind);
        return true;
    default:
        return false;
    }
}
