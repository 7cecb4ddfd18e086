/* testkit/bus.c: the bus: a discovery and an rpc engine (cereus/engine.h) over one list of events in the order of their time.
 *
 * Every start of an app on the bus is a node, which stays until the bus is freed, so that events can name it. What an event
 * does is decided when it is due: who has the id then, who is cut off, who is alive. */
#include <stdio.h>
#include <stdlib.h>

#include <cereus/engine.h>
#include <cereus/test_bus.h>

#include "kit.h"

enum { LOOPS_MAX = 64 };

typedef enum event_kind { MESSAGE, LIST, BROKEN, EXPIRE } event_kind;

typedef struct event {
    uint64_t due_ms, serial; /* of two at one time the older is first */
    event_kind kind;
    size_t node; /* MESSAGE: the sender; else whom it concerns */
    unsigned loop;
    uint64_t cut_serial; /* EXPIRE: which cut it follows */
    char *id;            /* MESSAGE: the receiver; BROKEN: who has gone */
    uint8_t *bytes;
    size_t len;
} event;

typedef struct part {
    struct node *node;
    cereus_rpc_link *link; /* NULL: stopped */
    unsigned loop;
    struct floor_of { /* nothing overtakes what was sent there before */
        char *id;
        uint64_t due_ms;
    } * floors;
    size_t floor_count;
} part;

typedef struct node {
    cereus_test_bus *bus;
    cereus_test_app *t;          /* NULL: ended */
    const cereus_server *self;   /* between open and close */
    cereus_discovery *discovery; /* likewise */
    size_t index;
    part parts[LOOPS_MAX];
    size_t part_count;
    char *id;
    bool serving, joined, listed, crashed, cut_off;
    uint64_t cut_serial;
    bool *heard; /* by index: whom it takes to be there */
    size_t heard_count;
} node;

struct cereus_test_bus {
    uint64_t random, trace, serial;
    cereus_test_faults faults;
    node **nodes;
    size_t node_count;
    event *heap;
    size_t heap_len, heap_cap;
    event *held; /* for nodes that are paused */
    size_t held_len, held_cap;
    struct cut {
        char *a, *b;
    } * cuts;
    size_t cut_count;
    kit_world *world;
};

/* ---- chance ---- */

uint64_t cereus_test_bus_random(cereus_test_bus *bus, uint64_t bound)
{
    bus->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = bus->random;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % bound;
}

static void note(cereus_test_bus *bus, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++)
        bus->trace = (bus->trace ^ p[i]) * 0x100000001b3u; /* FNV-1a */
}

uint64_t cereus_test_bus_trace(const cereus_test_bus *bus)
{
    return bus->trace;
}

/* ---- events ---- */

static uint64_t now_ms(const cereus_test_bus *bus)
{
    return bus->world ? kit_clock_ms(bus->world->apps) : 0;
}

static bool before(const event *a, const event *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->serial < b->serial;
}

static void swap(event *a, event *b)
{
    event c = *a;
    *a = *b;
    *b = c;
}

static void push(cereus_test_bus *bus, const event *e)
{
    if (bus->heap_len == bus->heap_cap)
        bus->heap = kit_realloc(bus->heap, (bus->heap_cap = 2 * bus->heap_cap + 64) * sizeof *bus->heap);
    size_t at = bus->heap_len++;
    bus->heap[at] = *e;
    for (; at > 0 && before(&bus->heap[at], &bus->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&bus->heap[at], &bus->heap[(at - 1) / 2]);
}

static event pop(cereus_test_bus *bus)
{
    event first = bus->heap[0];
    bus->heap[0] = bus->heap[--bus->heap_len];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < bus->heap_len; child++)
            least = before(&bus->heap[child], &bus->heap[least]) ? child : least;
        if (least == at)
            return first;
        swap(&bus->heap[at], &bus->heap[least]);
        at = least;
    }
}

static void add(cereus_test_bus *bus, event e, uint64_t due_ms)
{
    e.due_ms = due_ms;
    e.serial = bus->serial++;
    push(bus, &e);
}

static void free_event(event *e)
{
    free(e->id);
    free(e->bytes);
}

static uint64_t chance_ms(cereus_test_bus *bus, unsigned least_ms, unsigned jitter_ms)
{
    return now_ms(bus) + least_ms + (jitter_ms ? cereus_test_bus_random(bus, (uint64_t)jitter_ms + 1) : 0);
}

/* ---- who is there ---- */

static bool is_alive(const node *n)
{
    return n->t && n->serving && !n->crashed;
}

/** Who has @p id now; NULL: nobody. */
static node *who_is(const cereus_test_bus *bus, const char *id)
{
    for (size_t i = bus->node_count; i-- > 0;) {
        if (is_alive(bus->nodes[i]) && strcmp(bus->nodes[i]->id, id) == 0)
            return bus->nodes[i];
    }
    return NULL;
}

static bool are_cut(const cereus_test_bus *bus, const node *a, const node *b)
{
    if (a->cut_off || b->cut_off)
        return a != b;
    for (size_t i = 0; i < bus->cut_count; i++) {
        const struct cut *c = &bus->cuts[i];
        if ((strcmp(c->a, a->id) == 0 && strcmp(c->b, b->id) == 0) ||
            (strcmp(c->a, b->id) == 0 && strcmp(c->b, a->id) == 0))
            return true;
    }
    return false;
}

static void tell_list(node *n)
{
    cereus_test_bus *bus = n->bus;
    cereus_server *list = kit_alloc((bus->node_count + 1) * sizeof *list);
    size_t count = 0;
    n->heard = kit_realloc(n->heard, bus->node_count * sizeof *n->heard);
    n->heard_count = bus->node_count;
    for (size_t i = 0; i < bus->node_count; i++) {
        n->heard[i] = bus->nodes[i]->listed;
        if (n->heard[i])
            list[count++] = *bus->nodes[i]->self;
    }
    if (cereus_discovery_set_list(n->discovery, list, count))
        kit_die("cereus_test_bus: out of memory");
    free(list);
}

/** Somebody came or went: everybody hears of it, each in its time. */
static void spread(cereus_test_bus *bus)
{
    for (size_t i = 0; i < bus->node_count; i++) {
        node *n = bus->nodes[i];
        if (n->joined && !n->crashed)
            add(bus, (event){.kind = LIST, .node = i}, chance_ms(bus, bus->faults.hear_ms, bus->faults.hear_jitter_ms));
    }
}

static void list_node(node *n, bool listed)
{
    if (n->listed == listed)
        return;
    n->listed = listed;
    spread(n->bus);
}

static void lose_lease(node *n)
{
    add(n->bus, (event){.kind = EXPIRE, .node = n->index, .cut_serial = ++n->cut_serial},
        now_ms(n->bus) + n->bus->faults.lease_ms);
}

/* ---- what is due ---- */

typedef struct delivery {
    cereus_rpc_link *link;
    cereus_slice message;
    const char *broken; /* NULL: a message */
} delivery;

static void deliver_here(void *user)
{
    delivery *d = user;
    if (d->broken)
        cereus_rpc_link_broken(d->link, d->broken);
    else
        cereus_rpc_link_receive(d->link, d->message);
}

static void deliver(node *n, unsigned loop, const delivery *d)
{
    delivery here = *d;
    part *p = &n->parts[loop % n->part_count];
    here.link = p->link;
    if (here.link)
        cereus_private_manual.on_loop(n->t->app, p->loop, deliver_here, &here);
}

/** Whoever called @p id over a connection would see it break. */
static void bounce(cereus_test_bus *bus, size_t caller, const char *id)
{
    event e = {.kind = BROKEN, .node = caller, .id = strdup(id)};
    add(bus, e, chance_ms(bus, bus->faults.delay_ms, bus->faults.jitter_ms));
}

static node *receiver_of(const cereus_test_bus *bus, const event *e)
{
    return e->kind == MESSAGE ? who_is(bus, e->id) : bus->nodes[e->node];
}

static void happen(cereus_test_bus *bus, const event *e)
{
    node *n = bus->nodes[e->node], *to;
    switch (e->kind) {
    case MESSAGE:
        to = who_is(bus, e->id);
        if (!to)
            bounce(bus, e->node, e->id);
        else if (!are_cut(bus, n, to))
            deliver(to, (unsigned)e->node + e->loop, &(delivery){.message = cereus_slice_of(e->bytes, e->len)});
        return;
    case LIST:
        if (n->joined && !n->crashed && !n->cut_off)
            tell_list(n);
        return;
    case BROKEN:
        for (unsigned i = 0; is_alive(n) && i < n->part_count; i++)
            deliver(n, i, &(delivery){.broken = e->id});
        return;
    case EXPIRE:
        if ((n->cut_off || n->crashed) && n->cut_serial == e->cut_serial)
            list_node(n, false);
        return;
    }
}

bool kit_bus_step(cereus_test_bus *bus)
{
    bool moved = false;
    while (bus && bus->heap_len && bus->heap[0].due_ms <= now_ms(bus)) {
        event e = pop(bus);
        const node *to = receiver_of(bus, &e);
        if (to && to->t && to->t->paused && !to->crashed && e.kind != EXPIRE) {
            if (bus->held_len == bus->held_cap)
                bus->held = kit_realloc(bus->held, (bus->held_cap = 2 * bus->held_cap + 16) * sizeof *bus->held);
            bus->held[bus->held_len++] = e;
            continue;
        }
        moved = true;
        happen(bus, &e);
        free_event(&e);
    }
    return moved;
}

uint64_t kit_bus_next_ms(const cereus_test_bus *bus)
{
    return bus && bus->heap_len ? bus->heap[0].due_ms : UINT64_MAX;
}

/* ---- the discovery ---- */

static cereus_status discovery_open(cereus_discovery *discovery, const cereus_server *self, void *user,
                                    void **ret_state, cereus_error *err)
{
    node *n = user;
    node *other = who_is(n->bus, self->id);
    if (other && other != n) {
        snprintf(err->msg, sizeof err->msg, "cereus.id: a server with the id \"%s\" is on the bus already", self->id);
        return err->status = CEREUS_E_EXISTS;
    }
    n->self = self;
    n->id = strdup(self->id);
    n->discovery = discovery;
    *ret_state = n;
    return CEREUS_OK;
}

static cereus_status discovery_join(void *state, cereus_ctx *ctx, cereus_error *err)
{
    (void)ctx;
    (void)err;
    node *n = state;
    n->joined = true;
    list_node(n, !n->cut_off);
    tell_list(n);
    return CEREUS_OK;
}

static void discovery_leave(void *state, cereus_ctx *ctx)
{
    (void)ctx;
    node *n = state;
    n->joined = false;
    if (!n->crashed && !n->cut_off)
        list_node(n, false);
}

static void discovery_close(void *state)
{
    node *n = state;
    n->listed = false; /* its texts go */
    n->joined = false;
    n->discovery = NULL;
    n->self = NULL;
}

static const cereus_discovery_engine discovery_engine = {
    .open = discovery_open, .join = discovery_join, .leave = discovery_leave, .close = discovery_close};

/* ---- the rpc engine ---- */

static cereus_status rpc_open(const cereus_server *self, void *user, void **ret_state, cereus_error *err)
{
    (void)self;
    (void)err;
    *ret_state = user;
    return CEREUS_OK;
}

static cereus_status rpc_start(void *state, cereus_loop *loop, cereus_rpc_link *link, void **ret_part,
                               cereus_error *err)
{
    (void)err;
    node *n = state;
    part *p = &n->parts[n->part_count++];
    *p = (part){.node = n, .link = link, .loop = cereus_loop_index(loop)};
    *ret_part = p;
    return CEREUS_OK;
}

static cereus_status rpc_serve(void *of, cereus_error *err)
{
    (void)err;
    ((part *)of)->node->serving = true;
    return CEREUS_OK;
}

/** When a message sent there now arrives. */
static uint64_t arrival_ms(part *p, const char *id)
{
    cereus_test_bus *bus = p->node->bus;
    uint64_t due_ms = chance_ms(bus, bus->faults.delay_ms, bus->faults.jitter_ms);
    size_t i = 0;
    while (i < p->floor_count && strcmp(p->floors[i].id, id) != 0)
        i++;
    if (i == p->floor_count) {
        p->floors = kit_realloc(p->floors, ++p->floor_count * sizeof *p->floors);
        p->floors[i] = (struct floor_of){.id = strdup(id)};
    }
    if (due_ms < p->floors[i].due_ms)
        due_ms = p->floors[i].due_ms;
    p->floors[i].due_ms = due_ms;
    return due_ms;
}

/** Has nobody ever heard that it has gone? Then only the way there shows it. */
static bool may_be_there(const cereus_test_bus *bus, const char *id)
{
    for (size_t i = 0; i < bus->node_count; i++) {
        const node *n = bus->nodes[i];
        if (n->id && strcmp(n->id, id) == 0 && (is_alive(n) || n->crashed))
            return true;
    }
    return false;
}

static cereus_status rpc_send(void *of, const char *server_id, cereus_slice message)
{
    part *p = of;
    cereus_test_bus *bus = p->node->bus;
    if (p->node->crashed)
        return CEREUS_OK; /* it is being ended: nobody hears it */
    if (!may_be_there(bus, server_id))
        return CEREUS_E_UNAVAILABLE;
    uint64_t due_ms = arrival_ms(p, server_id);
    bool lost = bus->faults.lost_ppm && cereus_test_bus_random(bus, 1000000) < bus->faults.lost_ppm;
    note(bus, &due_ms, sizeof due_ms);
    note(bus, server_id, strlen(server_id) + 1);
    note(bus, message.data, message.len);
    if (lost)
        return CEREUS_OK;
    event e = {.kind = MESSAGE, .node = p->node->index, .loop = p->loop, .id = strdup(server_id), .len = message.len};
    e.bytes = kit_alloc(message.len + 1);
    memcpy(e.bytes, message.data, message.len);
    add(bus, e, due_ms);
    return CEREUS_OK;
}

static void rpc_stop(void *of)
{
    part *p = of;
    p->link = NULL;
    p->node->serving = false;
}

/** Does anybody take it to be there, or has something under way to it? */
static bool rpc_has_callers(void *of)
{
    const node *n = ((part *)of)->node;
    const cereus_test_bus *bus = n->bus;
    for (size_t i = 0; !n->crashed && i < bus->node_count; i++) {
        const node *other = bus->nodes[i];
        if (other != n && other->joined && is_alive(other) && n->index < other->heard_count && other->heard[n->index])
            return true;
    }
    for (size_t i = 0; i < bus->heap_len; i++) {
        if (bus->heap[i].kind == MESSAGE && strcmp(bus->heap[i].id, n->id) == 0)
            return true;
    }
    return false;
}

static const cereus_rpc_engine rpc_engine = {.open = rpc_open,
                                             .start = rpc_start,
                                             .serve = rpc_serve,
                                             .send = rpc_send,
                                             .stop = rpc_stop,
                                             .has_callers = rpc_has_callers};

/* ---- what tests call ---- */

cereus_test_bus *cereus_test_bus_new(uint64_t seed)
{
    cereus_test_bus *bus = kit_alloc(sizeof *bus);
    bus->random = seed;
    bus->trace = 0xcbf29ce484222325u;
    return bus;
}

cereus_test_bus *cereus_test_bus_free(cereus_test_bus *bus)
{
    if (!bus)
        return NULL;
    for (size_t i = 0; i < bus->node_count; i++) {
        node *n = bus->nodes[i];
        if (n->t)
            kit_die("cereus_test_bus_free(): end its apps before");
        for (size_t k = 0; k < n->part_count; k++) {
            for (size_t f = 0; f < n->parts[k].floor_count; f++)
                free(n->parts[k].floors[f].id);
            free(n->parts[k].floors);
        }
        free(n->id);
        free(n->heard);
        free(n);
    }
    for (size_t i = 0; i < bus->heap_len; i++)
        free_event(&bus->heap[i]);
    for (size_t i = 0; i < bus->held_len; i++)
        free_event(&bus->held[i]);
    for (size_t i = 0; i < bus->cut_count; i++) {
        free(bus->cuts[i].a);
        free(bus->cuts[i].b);
    }
    free(bus->cuts);
    free(bus->nodes);
    free(bus->heap);
    free(bus->held);
    free(bus);
    return NULL;
}

void cereus_test_bus_join_at(cereus_test_where where, cereus_test_bus *bus, cereus_test_app *t)
{
    if (t->mode != CEREUS_TEST_MEMORY || (bus->world && bus->world != t->world)) {
        cereus_test_fail_at(where, "cereus_test_bus_join(): the apps of a bus are made with CEREUS_TEST_MEMORY and "
                                   "cereus_test_new_beside()");
        return;
    }
    node *n = kit_alloc(sizeof *n);
    n->bus = bus;
    n->t = t;
    n->index = bus->node_count;
    bus->world = t->world;
    bus->nodes = kit_realloc(bus->nodes, (bus->node_count + 1) * sizeof(node *));
    bus->nodes[bus->node_count++] = n;
    t->node = n;
    t->world->bus = bus;
    t->manual.seed = cereus_test_bus_random(bus, UINT64_MAX) + 1;
    cereus_error err = {0};
    if (cereus_app_add_discovery(t->app, "bus", &discovery_engine, n, &err) ||
        cereus_app_add_rpc(t->app, "bus", &rpc_engine, n, &err))
        cereus_test_fail_at(where, "%s", err.msg);
    cereus_test_set_at(where, t, "cereus.cluster", "bus");
    cereus_test_set_at(where, t, "cereus.cluster.rpc", "bus");
}

void kit_bus_left(cereus_test_app *t)
{
    if (t->node)
        t->node->t = NULL;
    t->node = NULL;
}

void cereus_test_bus_set(cereus_test_bus *bus, const cereus_test_faults *faults)
{
    bus->faults = faults ? *faults : (cereus_test_faults){0};
}

static void set_cut_off(cereus_test_bus *bus, const char *id, bool cut)
{
    for (size_t i = 0; i < bus->node_count; i++) {
        node *n = bus->nodes[i];
        if (!n->id || n->crashed || n->cut_off == cut || (id && strcmp(n->id, id) != 0))
            continue;
        n->cut_off = cut;
        if (n->discovery)
            cereus_discovery_set_ready(n->discovery, !cut);
        if (cut) {
            lose_lease(n);
            continue;
        }
        list_node(n, n->joined);
        if (n->joined) /* what it has missed */
            add(bus, (event){.kind = LIST, .node = i}, chance_ms(bus, bus->faults.hear_ms, bus->faults.hear_jitter_ms));
    }
}

void cereus_test_bus_cut(cereus_test_bus *bus, const char *id, const char *other)
{
    if (!other) {
        set_cut_off(bus, id, true);
        return;
    }
    bus->cuts = kit_realloc(bus->cuts, (bus->cut_count + 1) * sizeof *bus->cuts);
    bus->cuts[bus->cut_count++] = (struct cut){.a = strdup(id), .b = strdup(other)};
}

static void mend(cereus_test_bus *bus, const char *id, const char *other)
{
    size_t left = 0;
    for (size_t i = 0; i < bus->cut_count; i++) {
        struct cut c = bus->cuts[i];
        bool same = !id || (strcmp(c.a, id) == 0 && strcmp(c.b, other) == 0) ||
                    (strcmp(c.a, other) == 0 && strcmp(c.b, id) == 0);
        if (!same) {
            bus->cuts[left++] = c;
            continue;
        }
        free(c.a);
        free(c.b);
    }
    bus->cut_count = left;
}

void cereus_test_bus_mend(cereus_test_bus *bus, const char *id, const char *other)
{
    if (other)
        mend(bus, id, other);
    else
        set_cut_off(bus, id, false);
}

void cereus_test_bus_mend_all(cereus_test_bus *bus)
{
    mend(bus, NULL, NULL);
    set_cut_off(bus, NULL, false);
}

void cereus_test_bus_pause(cereus_test_bus *bus, cereus_test_app *t, bool paused)
{
    t->paused = paused;
    if (paused)
        return;
    size_t count = bus->held_len;
    bus->held_len = 0;
    for (size_t i = 0; i < count; i++) {
        event e = bus->held[i];
        push(bus,
             &e); /* due long ago: in the next round, in the old order; of others that are paused it is held again */
    }
}

void cereus_test_bus_crash(cereus_test_bus *bus, cereus_test_app *t)
{
    node *n = t->node;
    if (!n || n->crashed || !t->running)
        return;
    n->crashed = true;
    t->paused = true;
    for (cereus_test_client *c = t->clients; c; c = c->next)
        c->lost = true;
    lose_lease(n);
    for (size_t i = 0; i < bus->node_count; i++) {
        if (bus->nodes[i] != n && is_alive(bus->nodes[i]) && !are_cut(bus, n, bus->nodes[i]))
            bounce(bus, i, n->id);
    }
}
