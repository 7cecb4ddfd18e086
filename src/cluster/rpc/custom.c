/* cluster/rpc/custom.c: an engine of the game's own, which carries these bytes:
 *
 *     kind: u8 | loop: u16, life: u64, id: u64 of the call | len: u8, server id of the sender | payload
 *
 * numbers little-endian, kinds and payloads as in peers.h. The middle, as it came, is where the answer goes. A message may come
 * in on any loop; an answer then goes on to the loop that asked. `life` keeps answers from one who has started again under
 * the same id, whose calls have the same numbers.
 */
#include "base/strmap.h"
#include "cluster/rpc/peers.h"
#include "dispatch/core.h"

enum { ADDRESS_AT = 1, LOOP_LEN = 2, U64_LEN = 8, HEAD_MIN = ADDRESS_AT + LOOP_LEN + 2 * U64_LEN + 1 };
enum { HEAD_MAX = HEAD_MIN + UINT8_MAX };

typedef struct custom_rpc {
    crs_rpc base;
    void *state;
    bool opened;
    cereus_rpc_link *links[CRS_LOOPS_MAX]; /* each is its loop's: set before that runs, NULL when closed */
} custom_rpc;

struct cereus_rpc_link {
    crs_rpc_link base;
    void *part;
    uint64_t life;
    crs_strmap ways; /* server id -> way */
    crs_list parted; /* ways to servers that have left, the oldest first, until their calls have ended */
    crs_bytes out;
};

/** To a server that is called. */
typedef struct way {
    crs_list calls;  /* that are out */
    crs_list parted; /* when the server has left */
    char id[];
} way;

static cereus_rpc_link *custom_of(crs_rpc_link *link)
{
    return (cereus_rpc_link *)link;
}

static custom_rpc *rpc_of(const cereus_rpc_link *l)
{
    return (custom_rpc *)l->base.rpc;
}

static const cereus_rpc_engine *engine_of(const cereus_rpc_link *l)
{
    return l->base.rpc->opt.engine;
}

/* ---- output ---- */

/** Of a call, on the loop that made it. */
typedef struct address {
    uint64_t loop, life, id;
} address;

static cereus_status send_parts(cereus_rpc_link *l, const char *server_id, crs_peer_kind kind, address call,
                                const cereus_slice *parts, size_t part_count)
{
    const char *self = l->base.rpc->opt.self->id;
    size_t self_len = strlen(self), len = 0;
    uint8_t head[HEAD_MIN] = {(uint8_t)kind}, *at = crs_put_le(head + ADDRESS_AT, call.loop, LOOP_LEN);
    at = crs_put_le(at, call.life, U64_LEN);
    at = crs_put_le(at, call.id, U64_LEN);
    *at = (uint8_t)self_len;
    for (size_t i = 0; i < part_count; i++)
        len += parts[i].len;
    if (len > l->base.rpc->opt.request_max)
        return CEREUS_E_TOO_LONG;
    l->out.len = 0;
    CEREUS_TRY(crs_bytes_append(&l->out, head, sizeof head));
    CEREUS_TRY(crs_bytes_append(&l->out, self, self_len));
    for (size_t i = 0; i < part_count; i++)
        CEREUS_TRY(crs_bytes_append(&l->out, parts[i].data, parts[i].len));
    cereus_status st = engine_of(l)->send(l->part, server_id, crs_bytes_slice(&l->out));
    if (st == CEREUS_E_FULL)
        CRS_COUNT(&l->base.loop->counters, rpc_outbox_full);
    if (l->out.cap > 1 << 20)
        crs_bytes_fini(&l->out);
    return st;
}

static cereus_status send_one_way(crs_rpc_link *link, const char *server_id, crs_peer_kind kind,
                                  const cereus_slice *parts, size_t part_count)
{
    return send_parts(custom_of(link), server_id, kind, (address){0}, parts, part_count);
}

static way *way_to(cereus_rpc_link *l, const char *server_id)
{
    way *w = crs_strmap_get(&l->ways, cereus_slice_str(server_id));
    if (w || !(w = crs_zalloc(sizeof *w + strlen(server_id) + 1)))
        return w;
    strcpy(w->id, server_id);
    crs_list_init(&w->calls);
    crs_list_init(&w->parted);
    if (crs_strmap_put(&l->ways, cereus_slice_str(server_id), w, NULL)) {
        crs_free(w);
        return NULL;
    }
    return w;
}

static cereus_status custom_send(crs_rpc_link *link, const cereus_server *to, cereus_slice request, crs_rpc_call *call)
{
    cereus_rpc_link *l = custom_of(link);
    way *w = way_to(l, to->id);
    if (!w)
        return CEREUS_E_NOMEM;
    address from = {.loop = link->loop->index, .life = l->life, .id = call->id};
    cereus_status st = send_parts(l, to->id, CRS_PEER_REQUEST, from, &request, 1);
    if (st && st != CEREUS_E_UNAVAILABLE)
        return st;
    crs_list_push(&w->calls, &call->queue);
    if (st)
        crs_rpc_fail(call, CEREUS_E_UNAVAILABLE, "rpc client has no connection to the chosen server");
    return CEREUS_OK;
}

/* ---- input ---- */

/** The parts of a message. False: it is none. */
static bool read_head(cereus_slice message, cereus_slice *ret_middle, cereus_slice *ret_payload)
{
    if (message.len < HEAD_MIN || message.len < HEAD_MIN + (size_t)message.data[HEAD_MIN - 1])
        return false;
    size_t len = HEAD_MIN + (size_t)message.data[HEAD_MIN - 1];
    *ret_middle = cereus_slice_of(message.data + ADDRESS_AT, len - ADDRESS_AT);
    *ret_payload = cereus_slice_of(message.data + len, message.len - len);
    return true;
}

static address read_address(cereus_slice in)
{
    return (address){.loop = crs_get_le(in.data, LOOP_LEN),
                     .life = crs_get_le(in.data + LOOP_LEN, U64_LEN),
                     .id = crs_get_le(in.data + LOOP_LEN + U64_LEN, U64_LEN)};
}

static cereus_status custom_reply(crs_rpc_link *link, cereus_slice reply_to, cereus_slice response)
{
    char server_id[UINT8_MAX + 1];
    const uint8_t *sender = reply_to.data + LOOP_LEN + 2 * U64_LEN;
    memcpy(server_id, sender + 1, *sender);
    server_id[*sender] = '\0';
    return send_parts(custom_of(link), server_id, CRS_PEER_RESPONSE, read_address(reply_to), &response, 1);
}

static void take_answer(cereus_rpc_link *l, address call, cereus_slice response)
{
    crs_rpc_answered(&l->base, call.life == l->life ? call.id : 0, response); /* 0: no call has it */
}

typedef struct answer_mail {
    crs_mail mail;
    custom_rpc *rpc;
    address call;
    size_t len;
    uint8_t bytes[];
} answer_mail;

static void answer_arrives(crs_loop *loop, crs_mail *mail)
{
    answer_mail *m = CRS_CONTAINER(mail, answer_mail, mail);
    cereus_rpc_link *l = m->rpc->links[loop->index];
    if (l)
        take_answer(l, m->call, cereus_slice_of(m->bytes, m->len));
    crs_free(m);
}

/** The answer to a call of another loop. */
static void pass_on(cereus_rpc_link *l, crs_loop *to, address call, cereus_slice response)
{
    answer_mail *m = crs_malloc(sizeof *m + response.len);
    if (!m)
        return; /* the caller's deadline ends it */
    *m = (answer_mail){.mail = {.run = answer_arrives}, .rpc = rpc_of(l), .call = call, .len = response.len};
    if (response.len)
        memcpy(m->bytes, response.data, response.len);
    crs_loop_post_reserved(to, &m->mail);
}

static bool receive(cereus_rpc_link *l, cereus_slice message)
{
    cereus_slice middle, payload;
    if (!read_head(message, &middle, &payload) || payload.len > l->base.rpc->opt.request_max)
        return false;
    const crs_core *core = l->base.rpc->opt.core;
    address call = read_address(middle);
    switch (message.data[0]) {
    case CRS_PEER_REQUEST:
        l->base.events->on_request(l->base.user, &l->base, payload, middle);
        return true;
    case CRS_PEER_RESPONSE:
        if (call.loop == l->base.loop->index)
            take_answer(l, call, payload);
        else if (call.loop < core->loop_count)
            pass_on(l, core->loops[call.loop]->loop, call, payload);
        return call.loop < core->loop_count;
    default:
        return crs_peers_take(&l->base, message.data[0], payload);
    }
}

void cereus_rpc_link_receive(cereus_rpc_link *l, cereus_slice message)
{
    crs_loop_assert_current(l->base.loop);
    crs_loop_again(l->base.loop); /* hooks may have run already in this turn */
    if (receive(l, message))
        return;
    CRS_COUNT(&l->base.loop->counters, rpc_garbage);
    static crs_log_limiter limiter;
    crs_log_limited(l->base.loop->log, CEREUS_LOG_WARN, &limiter, "another server sent garbage",
                    CRS_UINT("bytes", message.len));
}

const cereus_server *cereus_rpc_link_server(cereus_rpc_link *l, const char *server_id)
{
    crs_loop_assert_current(l->base.loop);
    return l->base.events->find(l->base.user, server_id);
}

static void fail_calls(way *w)
{
    while (!crs_list_empty(&w->calls))
        crs_rpc_fail(CRS_CONTAINER(w->calls.next, crs_rpc_call, queue), CEREUS_E_UNAVAILABLE, "the server has gone");
}

void cereus_rpc_link_broken(cereus_rpc_link *l, const char *server_id)
{
    crs_loop_assert_current(l->base.loop);
    way *w = crs_strmap_get(&l->ways, cereus_slice_str(server_id));
    if (w)
        fail_calls(w);
}

static void free_parted(way *w)
{
    crs_list_remove(&w->parted);
    crs_free(w);
}

void cereus_rpc_link_ended(cereus_rpc_link *l, const char *server_id)
{
    crs_loop_assert_current(l->base.loop);
    for (crs_list *at = l->parted.next; at != &l->parted; at = at->next) {
        way *w = CRS_CONTAINER(at, way, parted);
        if (strcmp(w->id, server_id) != 0)
            continue;
        fail_calls(w);
        free_parted(w);
        return;
    }
}

/* ---- the table ---- */

/** As for discoveries. */
static cereus_status tell_failure(const crs_rpc *rpc, cereus_status st, const cereus_error *why, cereus_error *err)
{
    return crs_fail(err, st, "rpc engine \"%s\": %s", rpc->opt.engine_name,
                    why->msg[0] ? why->msg : cereus_status_text(st));
}

static cereus_status custom_init(crs_rpc *rpc, cereus_error *err)
{
    custom_rpc *r = (custom_rpc *)rpc;
    cereus_error why = {0};
    CRS_ASSERT(rpc->opt.request_max + HEAD_MAX <= CEREUS_RPC_MESSAGE_MAX);
    cereus_status st = rpc->opt.engine->open(rpc->opt.self, rpc->opt.engine_user, &r->state, &why);
    r->opened = !st;
    return st ? tell_failure(rpc, st, &why, err) : CEREUS_OK;
}

static void custom_fini(crs_rpc *rpc)
{
    custom_rpc *r = (custom_rpc *)rpc;
    if (r->opened && rpc->opt.engine->close)
        rpc->opt.engine->close(r->state);
}

static bool custom_connected(const crs_rpc *rpc)
{
    const custom_rpc *r = (const custom_rpc *)rpc;
    return !rpc->opt.engine->connected || rpc->opt.engine->connected(r->state);
}

static cereus_status custom_open(crs_rpc_link *link, cereus_error *err)
{
    cereus_rpc_link *l = custom_of(link);
    custom_rpc *r = rpc_of(l);
    crs_strmap_init(&l->ways);
    crs_list_init(&l->parted);
    l->life = crs_loop_random(link->loop, UINT64_MAX);
    crs_bytes_init(&l->out, 2 * link->rpc->opt.request_max);
    crs_transport *transport = link->rpc->opt.core->loops[link->loop->index]->transport;
    cereus_error why = {0};
    cereus_status st = engine_of(l)->start(r->state, crs_public_loop(transport), l, &l->part, &why);
    if (st)
        return tell_failure(link->rpc, st, &why, err);
    r->links[link->loop->index] = l;
    return CEREUS_OK;
}

static cereus_status custom_serve(crs_rpc_link *link, cereus_error *err)
{
    cereus_rpc_link *l = custom_of(link);
    cereus_error why = {0};
    cereus_status st = engine_of(l)->serve ? engine_of(l)->serve(l->part, &why) : CEREUS_OK;
    return st ? tell_failure(link->rpc, st, &why, err) : CEREUS_OK;
}

static void custom_close(crs_rpc_link *link)
{
    cereus_rpc_link *l = custom_of(link);
    engine_of(l)->stop(l->part);
    rpc_of(l)->links[link->loop->index] = NULL;
    size_t at = 0;
    cereus_slice id;
    for (void *w; crs_strmap_next(&l->ways, &at, &id, &w);)
        crs_free(w);
    while (!crs_list_empty(&l->parted))
        free_parted(CRS_CONTAINER(l->parted.next, way, parted));
    crs_strmap_fini(&l->ways);
    crs_bytes_fini(&l->out);
    crs_rpc_link_closed(link);
}

static void custom_server_gone(crs_rpc_link *link, const char *server_id)
{
    cereus_rpc_link *l = custom_of(link);
    way *w = crs_strmap_get(&l->ways, cereus_slice_str(server_id));
    if (w) {
        crs_strmap_del(&l->ways, cereus_slice_str(server_id));
        crs_list_push(&l->parted, &w->parted); /* answers to what is out may still come */
    }
    while (!crs_list_empty(&l->parted)) { /* calls end without a word to their way; the oldest end first, mostly */
        w = CRS_CONTAINER(l->parted.next, way, parted);
        if (!crs_list_empty(&w->calls))
            break;
        free_parted(w);
    }
    if (engine_of(l)->gone)
        engine_of(l)->gone(l->part, server_id);
}

static bool custom_has_callers(const crs_rpc_link *link)
{
    const cereus_rpc_link *l = (const cereus_rpc_link *)link;
    return engine_of(l)->has_callers && engine_of(l)->has_callers(l->part);
}

const crs_rpc_ops crs_rpc_custom = {
    .name = "the game's own",
    .rpc_size = sizeof(custom_rpc),
    .link_size = sizeof(cereus_rpc_link),
    .init = custom_init,
    .fini = custom_fini,
    .open = custom_open,
    .serve = custom_serve,
    .close = custom_close,
    .send = custom_send,
    .reply = custom_reply,
    .to_peer = send_one_way,
    .server_gone = custom_server_gone,
    .has_callers = custom_has_callers,
    .connected = custom_connected,
};
