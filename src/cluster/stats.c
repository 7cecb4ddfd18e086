/* cluster/stats.c: the remote `sys.stats`, which every server of ours has and `cereus top` asks for: what it is and how it does,
 * as a JSON object. Counters are read from here, what a loop keeps to itself is asked of the loop.
 */
#include <unistd.h>

#include "cluster/cluster_priv.h"
#include "cluster/discovery/discovery_impl.h"
#include "cluster/rpc/rpc_impl.h"

typedef struct look {
    crs_mail mail;
    crs_cluster_loop *l;
    crs_dispatch *back;
    crs_fiber *fiber;
    size_t serving, forwarding, lanes; /* added up, loop by loop */
} look;

static void looked(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_fiber_wake(CRS_CONTAINER(mail, look, mail)->fiber, CEREUS_OK);
}

static void look_here(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    look *m = CRS_CONTAINER(mail, look, mail);
    m->serving += m->l->serving;
    m->forwarding += m->l->forwarding;
    m->lanes += m->l->lanes.count;
    m->mail.run = looked;
    crs_loop_post_reserved(m->back->loop, &m->mail);
}

static json_t *counters_of(const crs_core *core)
{
    json_t *all = json_object();
    for (size_t which = 0; which < CRS_COUNTER_COUNT; which++) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < core->loop_count; i++)
            sum += crs_counter_read(&core->loops[i]->loop->counters, (crs_counter)which);
        json_object_set_new(all, crs_counter_name(which), json_integer((json_int_t)sum));
    }
    return all;
}

cereus_status crs_cluster_stats(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CRS_UNUSED(in);
    const crs_core *core = ctx->dispatch->core;
    crs_cluster *c = core->cluster_user;
    look m = {.back = ctx->dispatch, .fiber = ctx->fiber};
    size_t sessions = 0;
    for (uint32_t i = 0; i < c->loop_count; i++) {
        m.l = &c->loops[i];
        m.mail = (crs_mail){.run = look_here};
        crs_loop_post_reserved(m.l->d->loop, &m.mail);
        CEREUS_TRY(crs_fiber_wait_uninterrupted(ctx->fiber));
        sessions += atomic_load_explicit(&crs_frontend_sessions(core->loops[i]->frontend)->count, memory_order_relaxed);
    }
    const cereus_server *self = crs_server_view(c->self);
    json_t *stats = cereus_ctx_keep(
        ctx,
        json_pack("{s:s, s:s, s:b, s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:b, s:o}", "id", self->id, "type",
                  self->type, "frontend", self->frontend, "version", CEREUS_VERSION, "pid", (int)getpid(), "loops",
                  (int)core->loop_count, "sessions", (json_int_t)sessions, "serving", (json_int_t)m.serving,
                  "forwarding", (json_int_t)m.forwarding, "lanes", (json_int_t)m.lanes, "servers",
                  (json_int_t)crs_servers_count(crs_cluster_here(ctx->dispatch)->servers), "discovery",
                  c->opt.discovery, "rpc", c->opt.rpc, "ready", crs_cluster_ready(c), "counters", counters_of(core)));
    crs_bytes text;
    crs_bytes_init(&text, 64 * 1024);
    cereus_status st = stats ? crs_json_text(stats, &text) : CEREUS_E_NOMEM;
    const char *copy = st ? NULL : cereus_ctx_strdup(ctx, crs_bytes_slice(&text));
    crs_bytes_fini(&text);
    *out = cereus_slice_str(copy);
    return copy ? CEREUS_OK : CEREUS_E_NOMEM;
}
