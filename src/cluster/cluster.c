/* cluster/cluster.c: makes the parts of a cluster member and keeps every loop's list of servers. */
#include "cluster/cluster.h"

#include <stdio.h>

#include "cluster/cluster_priv.h"
#include "cluster/discovery/discovery_impl.h"
#include "cluster/rpc/rpc_impl.h"

enum { OUT_MAX = CRS_PACKET_BODY_MAX + (1 << 20), SETTLE_MS = 2000 };

/* ---- the list of servers ---- */

typedef struct list_mail {
    crs_mail mail;
    crs_cluster_loop *to;
    crs_servers *list;
} list_mail;

static void forget_gone(crs_cluster_loop *l, const crs_servers *list)
{
    for (size_t i = 0; i < crs_servers_count(l->servers); i++) {
        const char *id = crs_server_view(crs_servers_at(l->servers, i))->id;
        if (crs_servers_by_id(list, cereus_slice_str(id)))
            continue;
        crs_strmap_del(&l->capable, cereus_slice_str(id));
        crs_rpc_server_gone(l->link, id);
    }
}

static void take_list(crs_cluster_loop *l, crs_servers *list)
{
    if (l->link)
        forget_gone(l, list);
    crs_servers_unref(l->servers);
    l->servers = list;
}

static void list_arrives(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    list_mail *m = CRS_CONTAINER(mail, list_mail, mail);
    take_list(m->to, m->list);
    crs_free(m);
}

static void tell_change(crs_cluster *c, const cereus_server *s, bool joined)
{
    if (joined)
        crs_log_info(c->core->log, "server joined", CRS_STR("id", s->id), CRS_STR("type", s->type));
    else
        crs_log_info(c->core->log, "server left", CRS_STR("id", s->id), CRS_STR("type", s->type));
    for (const crs_hook *h = c->core->on_server; h; h = h->next)
        ((cereus_server_fn *)h->fn.any)(c->core->app, s, joined, h->user);
}

static bool has_changed(const cereus_server *was, const cereus_server *is)
{
    return was->frontend != is->frontend || was->draining != is->draining || strcmp(was->type, is->type) != 0 ||
           strcmp(was->hostname, is->hostname) != 0 || strcmp(was->metadata, is->metadata) != 0;
}

static void tell_changes(crs_cluster *c, const crs_servers *was, const crs_servers *now)
{
    for (size_t i = 0; i < crs_servers_count(was); i++) {
        const cereus_server *s = crs_server_view(crs_servers_at(was, i));
        if (!crs_servers_by_id(now, cereus_slice_str(s->id)))
            tell_change(c, s, false);
    }
    for (size_t i = 0; i < crs_servers_count(now); i++) {
        const cereus_server *s = crs_server_view(crs_servers_at(now, i));
        crs_server *before = crs_servers_by_id(was, cereus_slice_str(s->id));
        bool self = strcmp(s->id, c->opt.self.id) == 0;
        if (!self && (!before || (crs_servers_at(now, i) != before && has_changed(crs_server_view(before), s))))
            tell_change(c, s, true);
    }
}

/** Everybody shall know @p list (a reference is taken over). False: somebody does not. Thread: first loop. */
static bool publish(crs_cluster *c, crs_servers *list)
{
    if (!list) {
        crs_log_error(c->core->log, "the list of servers is too long, or memory ran out: the old one stays");
        return false;
    }
    bool all = true;
    crs_servers *was = c->servers;
    c->servers = list;
    for (uint32_t i = 0; i < c->loop_count; i++) {
        crs_cluster_loop *l = &c->loops[i];
        if (i == 0) {
            take_list(l, crs_servers_ref(list));
            continue;
        }
        list_mail *m = crs_malloc(sizeof *m);
        if (!m) {
            crs_log_error(c->core->log, "out of memory: a loop keeps its old list of servers");
            all = false;
            continue;
        }
        *m = (list_mail){.mail = {.run = list_arrives}, .to = l, .list = crs_servers_ref(list)};
        crs_loop_post_reserved(l->d->loop, &m->mail);
    }
    tell_changes(c, was, list); /* last: who hears of it finds it on the list */
    crs_servers_unref(was);
    return all;
}

static bool on_list(void *user, crs_server *const *servers, size_t count)
{
    return publish(user, crs_servers_new(servers, count));
}

static void on_put(void *user, crs_server *server)
{
    crs_cluster *c = user;
    publish(c, crs_servers_changed(c->servers, server, NULL));
}

static void on_gone(void *user, const char *id)
{
    crs_cluster *c = user;
    publish(c, crs_servers_changed(c->servers, NULL, id));
}

static const crs_discovery_events discovery_events = {.on_list = on_list, .on_put = on_put, .on_gone = on_gone};

/* ---- small things for the files beside ---- */

bool crs_cluster_capable(crs_cluster_loop *l, const char *server_id)
{
    return crs_strmap_get(&l->capable, cereus_slice_str(server_id));
}

/** False: it is not on the list (yet, or any more), or there is no memory; then it is slower with us. */
static bool note_capable(crs_cluster_loop *l, const char *server_id)
{
    cereus_slice id = cereus_slice_str(server_id);
    return crs_servers_by_id(l->servers, id) && crs_strmap_put(&l->capable, id, l, NULL) == CEREUS_OK;
}

typedef struct capable_mail {
    crs_mail mail;
    crs_cluster_loop *to;
    char server_id[];
} capable_mail;

static void others_learn(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    capable_mail *m = CRS_CONTAINER(mail, capable_mail, mail);
    note_capable(m->to, m->server_id);
    crs_free(m);
}

void crs_cluster_learn(crs_cluster_loop *l, const char *server_id, uint64_t extension)
{
    if (!(extension & CRS_PEER_IS_CEREUS) || crs_cluster_capable(l, server_id) || !note_capable(l, server_id))
        return;
    for (uint32_t i = 0; i < l->cluster->loop_count; i++) {
        crs_cluster_loop *other = &l->cluster->loops[i];
        size_t len = strlen(server_id) + 1;
        capable_mail *m = other == l ? NULL : crs_malloc(sizeof *m + len);
        if (!m)
            continue;
        *m = (capable_mail){.mail = {.run = others_learn}, .to = other};
        memcpy(m->server_id, server_id, len);
        crs_loop_post_reserved(other->d->loop, &m->mail); /* once for each server */
    }
}

typedef struct settling {
    crs_rpc_call rpc;
    crs_fiber *fiber;
} settling;

static void settled(crs_rpc_call *rpc, cereus_status st, cereus_slice response, const char *why)
{
    CRS_UNUSED(st);
    CRS_UNUSED(response);
    CRS_UNUSED(why);
    crs_fiber_wake(CRS_CONTAINER(rpc, settling, rpc)->fiber, CEREUS_OK);
}

void crs_cluster_settle(crs_cluster_loop *l, crs_fiber *fiber)
{
    settling s = {.rpc = {.done = settled}, .fiber = fiber};
    if (!crs_rpc_settle(l->link, SETTLE_MS, &s.rpc))
        return;
    cereus_status st = crs_fiber_wait_uninterrupted(fiber);
    CRS_UNUSED(st);
}

/* ---- engines of the game's own ---- */

static const crs_cluster_engine *find_engine(const crs_cluster_engine *list, const char *name, bool discovery)
{
    while (list && (strcmp(list->name, name) != 0 || discovery != (list->discovery != NULL)))
        list = list->next;
    return list;
}

cereus_status crs_cluster_engine_add(crs_cluster_engine **list, const char *name,
                                     const cereus_discovery_engine *discovery, const cereus_rpc_engine *rpc, void *user,
                                     cereus_error *err)
{
    const char *what = discovery ? "discovery" : "rpc engine";
    bool complete = discovery ? discovery->open && discovery->join && discovery->leave
                              : rpc->open && rpc->start && rpc->send && rpc->stop;
    size_t len = strlen(name);
    bool good = len > 0 && len <= 32 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
    if (!good)
        return crs_fail(err, CEREUS_E_INVALID, "%s \"%.40s\": a name is lower-case letters, digits and -, at most 32",
                        what, name);
    if (!complete)
        return crs_fail(err, CEREUS_E_INVALID, "%s \"%s\": needs the functions %s", what, name,
                        discovery ? "open, join and leave" : "open, start, send and stop");
    bool taken = strcmp(name, "auto") == 0 || strcmp(name, "none") == 0 || strcmp(name, "grpc") == 0 ||
                 (discovery ? crs_discovery_engine(name) != NULL : crs_rpc_engine(name) != NULL);
    if (taken || find_engine(*list, name, discovery != NULL))
        return crs_fail(err, CEREUS_E_EXISTS, "%s \"%s\": this name is taken", what, name);
    crs_cluster_engine *e = crs_zalloc(sizeof *e + len + 1);
    if (!e)
        return crs_fail(err, CEREUS_E_NOMEM, "%s \"%s\": out of memory", what, name);
    *e = (crs_cluster_engine){.next = *list, .discovery = discovery, .rpc = rpc, .user = user};
    memcpy(e->name, name, len);
    *list = e;
    return CEREUS_OK;
}

void crs_cluster_engines_free(crs_cluster_engine **list)
{
    while (*list) {
        crs_cluster_engine *next = (*list)->next;
        crs_free(*list);
        *list = next;
    }
}

/* ---- life ---- */

static char *make_peer_json(const cereus_server *self)
{
    crs_bytes text;
    crs_bytes_init(&text, 4096);
    json_t *pair = json_pack("{s:s,s:s}", "peer.id", self->id, "peer.service", self->type);
    cereus_status st = pair ? crs_json_text(pair, &text) : CEREUS_E_NOMEM;
    json_decref(pair);
    if (!st)
        st = crs_bytes_append_byte(&text, '\0');
    char *inner = st ? NULL : crs_strndup((char *)text.data + 1, text.len - 3); /* without the braces */
    crs_bytes_fini(&text);
    return inner;
}

static cereus_status make_engines(crs_cluster *c, cereus_error *err)
{
    const crs_cluster_options *opt = &c->opt;
    const crs_cluster_engine *ours = find_engine(opt->engines, opt->discovery, true);
    const crs_discovery_ops *discovery_ops = ours ? &crs_discovery_custom : crs_discovery_engine(opt->discovery);
    if (!discovery_ops)
        return crs_fail(err, CEREUS_E_UNSUPPORTED, "cereus.cluster: there is no engine called \"%s\"", opt->discovery);
    crs_discovery_options discovery = {.self = &opt->self,
                                       .observes = opt->observes,
                                       .log = opt->core->log,
                                       .config = opt->config,
                                       .dir = c->dir,
                                       .engine = ours ? ours->discovery : NULL,
                                       .engine_name = opt->discovery,
                                       .engine_user = ours ? ours->user : NULL,
                                       .core = opt->core,
                                       .events = &discovery_events,
                                       .user = c};
    ours = find_engine(opt->engines, opt->rpc, false);
    const crs_rpc_ops *rpc_ops = ours ? &crs_rpc_custom : crs_rpc_engine(opt->rpc);
    if (!rpc_ops)
        return crs_fail(err, CEREUS_E_UNSUPPORTED, "cereus.cluster.rpc: there is no engine called \"%s\"", opt->rpc);
    crs_rpc_options rpc = {.self = &opt->self,
                           .observes = opt->observes,
                           .log = opt->core->log,
                           .request_max = OUT_MAX,
                           .dir = c->dir,
                           .config = opt->config,
                           .engine = ours ? ours->rpc : NULL,
                           .engine_name = opt->rpc,
                           .engine_user = ours ? ours->user : NULL,
                           .core = opt->core};
    CEREUS_TRY(crs_discovery_claim(discovery_ops, &discovery, &c->discovery, err));
    return crs_rpc_new(rpc_ops, &rpc, &c->rpc, err);
}

cereus_status crs_cluster_new(const crs_cluster_options *opt, crs_cluster **ret_cluster, cereus_error *err)
{
    crs_cluster *c = crs_zalloc(sizeof *c);
    char *text = crs_server_text(&opt->self);
    cereus_status st = CEREUS_E_NOMEM;
    if (!c || !text)
        goto fail;
    c->opt = *opt;
    c->core = opt->core;
    atomic_init(&c->joined, false);
    st = crs_server_parse(cereus_slice_str(text), &c->self); /* the same checks as for all others */
    if (st) {
        crs_fail(err, st, "cereus.id: \"%s\" cannot be a server's id: letters, digits and - . _, at most %d",
                 opt->self.id, CRS_SERVER_NAME_MAX);
        goto fail;
    }
    st = CEREUS_E_NOMEM;
    c->opt.self = *crs_server_view(c->self);
    c->opt.dir = c->dir = crs_strdup(opt->dir); /* the engines look at it as long as they live */
    if (!c->dir || !(c->peer_json = make_peer_json(&c->opt.self)) || !(c->servers = crs_servers_new(&c->self, 1)))
        goto fail;
    crs_free(text);
    if ((st = make_engines(c, err))) { /* which has said why */
        crs_cluster_free(c);
        return st;
    }
    *ret_cluster = c;
    return CEREUS_OK;
fail:
    crs_free(text);
    crs_cluster_free(c);
    return st == CEREUS_E_NOMEM ? crs_fail(err, st, "cluster: out of memory") : st;
}

crs_cluster *crs_cluster_free(crs_cluster *c)
{
    if (!c)
        return NULL;
    crs_rpc_free(c->rpc);
    crs_discovery_free(c->discovery);
    for (uint32_t i = 0; i < c->loop_count; i++) {
        crs_cluster_loop *l = &c->loops[i];
        crs_servers_unref(l->servers);
        crs_strmap_fini(&l->capable);
        crs_strmap_fini(&l->lanes);
        crs_bytes_fini(&l->out);
        crs_bytes_fini(&l->meta);
    }
    crs_servers_unref(c->servers);
    crs_server_unref(c->self);
    crs_free(c->peer_json);
    crs_free(c->dir);
    crs_free(c);
    return NULL;
}

cereus_status crs_cluster_open(crs_cluster *c, crs_dispatch *d, cereus_error *err)
{
    crs_cluster_loop *l = &c->loops[d->loop->index];
    CRS_ASSERT(d->loop->index == c->loop_count);
    c->loop_count++;
    l->cluster = c;
    l->d = d;
    l->servers = crs_servers_ref(c->servers);
    crs_strmap_init(&l->capable);
    crs_strmap_init(&l->lanes);
    crs_bytes_init(&l->out, OUT_MAX);
    crs_bytes_init(&l->meta, OUT_MAX);
    return crs_rpc_open(c->rpc, d->loop, &crs_cluster_events, l, &l->link, err);
}

typedef struct serve_mail {
    crs_mail mail;
    crs_cluster_loop *l;
    crs_dispatch *back;
    crs_fiber *fiber;
    cereus_error err;
} serve_mail;

static void served(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_fiber_wake(CRS_CONTAINER(mail, serve_mail, mail)->fiber, CEREUS_OK);
}

static void serve_here(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    serve_mail *m = CRS_CONTAINER(mail, serve_mail, mail);
    m->err.status = crs_rpc_serve(m->l->link, &m->err);
    m->mail.run = served;
    crs_loop_post_reserved(m->back->loop, &m->mail);
}

static cereus_status serve_everywhere(cereus_ctx *ctx, crs_cluster *c)
{
    for (uint32_t i = 0; i < c->loop_count; i++) {
        serve_mail m = {.mail = {.run = serve_here}, .l = &c->loops[i], .back = ctx->dispatch, .fiber = ctx->fiber};
        crs_loop_post_reserved(c->loops[i].d->loop, &m.mail);
        CEREUS_TRY(crs_fiber_wait_uninterrupted(ctx->fiber));
        if (m.err.status)
            return cereus_fail(ctx, NULL, "%s", m.err.msg);
    }
    crs_cluster_settle(&c->loops[0], ctx->fiber); /* whoever learns of us can call us */
    return CEREUS_OK;
}

cereus_status crs_cluster_join(cereus_ctx *ctx, void *cluster)
{
    crs_cluster *c = cluster;
    if (!c->opt.observes)
        CEREUS_TRY(serve_everywhere(ctx, c));
    cereus_error err = {0};
    if (crs_discovery_start(c->discovery, ctx->fiber, &err) != CEREUS_OK)
        return cereus_fail(ctx, NULL, "%s", err.msg);
    atomic_store(&c->joined, true);
    return CEREUS_OK;
}

void crs_cluster_drain(cereus_ctx *ctx, void *cluster)
{
    crs_cluster *c = cluster;
    cereus_server view = *crs_server_view(c->self);
    view.draining = true;
    char *text = crs_server_text(&view);
    crs_server *self = NULL;
    cereus_error err = {0};
    cereus_status st = text ? crs_server_parse(cereus_slice_str(text), &self) : CEREUS_E_NOMEM;
    if (!st) {
        publish(c, crs_servers_changed(c->servers, self, NULL));
        st = crs_discovery_update(c->discovery, ctx->fiber, self, &err);
    }
    if (st)
        crs_log_warn(c->core->log, "others do not hear that this server drains, and go on calling it",
                     CRS_STR("error", err.msg[0] ? err.msg : cereus_status_text(st)));
    crs_server_unref(self);
    crs_free(text);
}

void crs_cluster_leave(cereus_ctx *ctx, void *cluster)
{
    crs_cluster *c = cluster;
    atomic_store(&c->joined, false);
    crs_discovery_leave(c->discovery, ctx->fiber);
}

void crs_cluster_close(crs_cluster *c, crs_dispatch *d)
{
    crs_cluster_loop *l = &c->loops[d->loop->index];
    if (d->loop->index == 0)
        crs_discovery_close(c->discovery);
    l->link = crs_rpc_close(l->link);
}

bool crs_cluster_busy(const crs_cluster *c, const crs_dispatch *d)
{
    const crs_cluster_loop *l = &c->loops[d->loop->index];
    return l->serving || l->forwarding;
}

void crs_cluster_refuse(crs_cluster *c, const crs_dispatch *d)
{
    c->loops[d->loop->index].refusing = true;
}

void crs_cluster_cancel(crs_cluster *c, const crs_dispatch *d)
{
    crs_rpc_link *link = c->loops[d->loop->index].link;
    if (link)
        crs_rpc_cancel_all(link);
}

bool crs_cluster_expects(const crs_cluster *c, const crs_dispatch *d)
{
    const crs_rpc_link *link = c->loops[d->loop->index].link;
    return link && crs_rpc_has_callers(link);
}

bool crs_cluster_ready(const crs_cluster *c)
{
    return atomic_load(&c->joined) && crs_discovery_ready(c->discovery) && crs_rpc_connected(c->rpc);
}

/* ---- what games ask ---- */

static crs_servers *list_of(cereus_ctx *ctx)
{
    return ctx->dispatch->core->cluster ? crs_cluster_here(ctx->dispatch)->servers : NULL;
}

/** A copy that lives as long as the ctx: the list may change while it waits. */
static const cereus_server *copy_of(cereus_ctx *ctx, const crs_server *server)
{
    const cereus_server *s = crs_server_view(server);
    cereus_server *copy = crs_arena_alloc(ctx->arena, sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *s;
    const char **texts[] = {&copy->id, &copy->type, &copy->hostname, &copy->metadata};
    for (size_t i = 0; i < CEREUS_COUNT(texts); i++) {
        if (!(*texts[i] = crs_arena_strndup(ctx->arena, *texts[i], strlen(*texts[i]))))
            return NULL;
    }
    return copy;
}

const cereus_server *cereus_server_by_id(cereus_ctx *ctx, const char *id)
{
    const crs_servers *list = list_of(ctx);
    const crs_server *s = list ? crs_servers_by_id(list, cereus_slice_str(id)) : NULL;
    return s ? copy_of(ctx, s) : NULL;
}

size_t cereus_servers_by_type(cereus_ctx *ctx, const char *type, const cereus_server *const **ret_servers)
{
    const crs_servers *list = list_of(ctx);
    size_t first = 0, count = list ? crs_servers_count(list) : 0, n = 0;
    if (list && type)
        first = crs_servers_of_type(list, cereus_slice_str(type), &count);
    const cereus_server **all = crs_arena_alloc(ctx->arena, count * sizeof *all + 1);
    for (size_t i = first; all && i < first + count; i++) {
        if ((all[n] = copy_of(ctx, crs_servers_at(list, i))))
            n++;
    }
    *ret_servers = all;
    return n;
}

const char *cereus_server_metadata(cereus_ctx *ctx, const cereus_server *server, const char *key)
{
    json_error_t err;
    const json_t *object = cereus_ctx_keep(ctx, crs_json_parse(cereus_slice_str(server->metadata), 0, &err));
    return json_string_value(json_object_get(object, key));
}
