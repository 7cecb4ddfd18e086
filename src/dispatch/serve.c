/* dispatch/serve.c: calls that came from other servers: clients' messages that a frontend forwarded, for the same handlers
 * that serve our own clients, and calls of servers, for remotes. Both run on the home of their service.
 */
#include "dispatch/remote.h"

static void serving_returns(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_serving *s = CRS_CONTAINER(mail, crs_serving, mail);
    if (s->session && s->session->data) {
        json_decref(s->session->data);
        s->session->data = NULL;
    }
    s->done(s);
}

/** A deadline that passed while the handler waited is the caller's: say what it says (cluster-protocol.md 4.4). */
static cereus_status name_timeout(cereus_ctx *ctx, cereus_status st)
{
    if (st != CEREUS_E_TIMEOUT || ctx->error_status || cereus_ctx_time_left(ctx) > 0)
        return st;
    return crs_ctx_error(ctx, CEREUS_E_TIMEOUT, "PIT-500", "rpc client: request timeout");
}

static void run_serving(crs_fiber *fiber, void *arg)
{
    crs_serving *s = arg;
    crs_dispatch *here = s->here;
    crs_core *core = here->core;
    cereus_ctx ctx;
    crs_ctx_init(&ctx, here, fiber, s->method->route);
    ctx.deadline_us = s->deadline_us;
    ctx.metadata = s->metadata;
    ctx.sent_route = s->sent_route;
    cereus_session handle = {.core = core, .ctx = &ctx, .remote = s->session};
    if (s->session) {
        handle.uid = s->session->uid;
        handle.addr = "";
        ctx.session = &handle;
    }
    bool remote = !s->session;
    const crs_registry *registry = remote ? &core->remotes : &core->registry;
    const cereus_serializer *serializer = remote ? &crs_serializer_protobuf : core->serializer;
    cereus_value out;
    cereus_status st = crs_run_handler(&ctx, registry, serializer, s->method, s->body, &out);
    cereus_slice body = cereus_slice_of("", 0);
    crs_bytes encoded;
    crs_bytes_init(&encoded, CRS_PACKET_BODY_MAX + 1);
    if (!st && s->answer)
        st = crs_encode_result(&ctx, serializer, &out, &encoded, &body);
    if (out.shape == CEREUS_JSON)
        json_decref(out.json);
    if (st)
        CRS_COUNT(&here->loop->counters, handler_failures);
    s->encode(s, &ctx, name_timeout(&ctx, st), body);
    crs_bytes_fini(&encoded);
    crs_ctx_fini(&ctx);
    s->mail.run = serving_returns;
    if (here == s->origin)
        serving_returns(here->loop, &s->mail);
    else
        crs_loop_post_reserved(s->origin->loop, &s->mail);
}

static void begin_serving(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_serving *s = CRS_CONTAINER(mail, crs_serving, mail);
    cereus_status st = crs_fiber_start(s->here->fibers, s->method->route, run_serving, s);
    CRS_ASSERT(st == CEREUS_OK);
}

static void serving_arrives(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    crs_serving *s = CRS_CONTAINER(mail, crs_serving, mail);
    s->mail.run = begin_serving;
    crs_dispatch_when_fiber(s->here, &s->mail);
}

static uint32_t home_of(const crs_serving *s)
{
    const crs_service *service = s->method->service;
    crs_core *core = s->origin->core;
    if (service->opt.home == CEREUS_HOME_ONE)
        return service->home_loop;
    if (service->opt.home == CEREUS_HOME_KEY) {
        cereus_session handle = {
            .core = core, .remote = s->session, .uid = s->session ? s->session->uid : "", .addr = ""};
        uint64_t key = service->opt.key(&handle, s->method->decl.name, s->body, service->opt.key_user);
        return crs_core_home_of_key(core, key);
    }
    return s->origin->loop->index; /* the session is elsewhere: here is as good as anywhere */
}

cereus_status crs_serve(crs_serving *s)
{
    s->here = s->origin->core->loops[home_of(s)];
    if (s->here == s->origin) {
        s->mail.run = begin_serving;
        crs_dispatch_when_fiber(s->here, &s->mail);
        return CEREUS_OK;
    }
    s->mail.run = serving_arrives;
    return crs_loop_post(s->here->loop, &s->mail);
}
