/* dispatch/push.c: fan-out. Sessions of this loop get the shared frame queued at once, each other loop gets one mail
 * with the ids of its sessions; what is queued is written at the end of the turn, a slice of the connections at a time.
 */
#include "dispatch/push.h"

#include "dispatch/remote.h"

cereus_status crs_push_body(cereus_ctx *ctx, const cereus_value *value, cereus_slice *ret_body)
{
    crs_dispatch *d = ctx->dispatch;
    if (value->shape == CEREUS_RAW) {
        *ret_body = value->raw;
        return CEREUS_OK;
    }
    if ((value->shape == CEREUS_JSON && !value->json) || (value->shape == CEREUS_MESSAGE && !value->message))
        return crs_ctx_error(ctx, CEREUS_E_INVALID, "PIT-000", "the value to push is NULL"); /* say, of a json_pack() */
    cereus_error err;
    err.status = CEREUS_OK;
    d->encoded.len = 0;
    cereus_status st = crs_value_encode(d->core->serializer, value, &d->encoded, &err);
    if (st) {
        const char *text = crs_arena_printf(ctx->arena, "%s", err.status ? err.msg : cereus_status_text(st));
        return crs_ctx_error(ctx, st, "PIT-000", text ? text : "");
    }
    *ret_body = crs_bytes_slice(&d->encoded);
    return CEREUS_OK;
}

typedef struct push_mail {
    crs_mail mail;
    crs_dispatch *to;
    crs_frame frame;
    size_t count;
    cereus_session_id ids[];
} push_mail;

static void push_arrives(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    push_mail *p = CRS_CONTAINER(mail, push_mail, mail);
    const crs_session_table *sessions = crs_frontend_sessions(p->to->frontend);
    for (size_t i = 0; i < p->count; i++) {
        crs_agent *agent = crs_session_table_find(sessions, p->ids[i]);
        if (agent && crs_agent_push_frame(agent, &p->frame) == CEREUS_E_NOMEM)
            crs_agent_close(agent, CRS_CLOSE_NO_MEMORY); /* the sender was told that it is queued */
    }
    crs_buf_unref(p->frame.buf);
    crs_free(p);
}

cereus_status crs_push_send_away(crs_dispatch *to, const crs_frame *frame, const cereus_session_id *ids, size_t count)
{
    push_mail *p = crs_malloc(sizeof *p + count * sizeof *ids);
    if (!p)
        return CEREUS_E_NOMEM;
    *p = (push_mail){.mail = {.run = push_arrives}, .to = to, .frame = *frame, .count = count};
    memcpy(p->ids, ids, count * sizeof *ids);
    crs_buf_ref(frame->buf);
    cereus_status st = crs_loop_post(to->loop, &p->mail);
    if (st) {
        crs_buf_unref(frame->buf);
        crs_free(p);
    }
    return st;
}

size_t crs_push_to_many(cereus_ctx *ctx, const crs_frame *frame, const cereus_session_id *ids, size_t count,
                        bool *ret_failed)
{
    crs_dispatch *d = ctx->dispatch;
    crs_core *core = d->core;
    size_t failed = 0, away = 0;
    for (size_t i = 0; i < count; i++) {
        bool bad = ids[i] == 0;
        if (!bad && crs_session_id_loop(ids[i]) == d->loop->index) {
            crs_agent *agent = crs_session_table_find(crs_frontend_sessions(d->frontend), ids[i]);
            bad = !agent || crs_agent_push_frame(agent, frame) != CEREUS_OK;
        } else if (!bad) {
            away++;
        }
        if (ret_failed)
            ret_failed[i] = bad;
        failed += bad;
    }
    if (away == 0)
        return failed;
    cereus_session_id *batch = crs_malloc(away * sizeof *batch);
    for (uint32_t loop = 0; loop < core->loop_count; loop++) {
        if (loop == d->loop->index)
            continue;
        size_t n = 0;
        for (size_t i = 0; batch && i < count; i++) {
            if (ids[i] && crs_session_id_loop(ids[i]) == loop)
                batch[n++] = ids[i];
        }
        if (batch && (n == 0 || crs_push_send_away(core->loops[loop], frame, batch, n) == CEREUS_OK))
            continue;
        for (size_t i = 0; i < count; i++) {
            if (ids[i] && crs_session_id_loop(ids[i]) == loop) {
                failed++;
                if (ret_failed)
                    ret_failed[i] = true;
            }
        }
    }
    crs_free(batch);
    return failed;
}

/** What is not here, the cluster may reach. Returns how many of them failed. */
static size_t push_elsewhere(cereus_ctx *ctx, const char *type, cereus_slice route, cereus_slice body,
                             const char *const *uids, bool *failed, size_t count)
{
    const crs_core *core = ctx->dispatch->core;
    bool *want = crs_arena_alloc(ctx->arena, count * sizeof *want + 1);
    if (!want)
        return count;
    memcpy(want, failed, count * sizeof *want);
    return core->cluster->push_to_users(ctx, type && *type ? type : core->registry.server_type, route, body, uids, want,
                                        count, failed);
}

/** May this server reach users of that type? */
static bool our_type(cereus_ctx *ctx, const char *frontend_type)
{
    return !frontend_type || !*frontend_type || strcmp(frontend_type, ctx->dispatch->core->registry.server_type) == 0;
}

static size_t report_failed(const char *const *uids, const bool *failed, size_t count, const char **ret_failed)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (failed[i]) {
            if (ret_failed)
                ret_failed[n] = uids[i];
            n++;
        }
    }
    return n;
}

static cereus_status users_failed(cereus_ctx *ctx, size_t failed, const char *text)
{
    return failed ? crs_ctx_error(ctx, CEREUS_E_FAILED, "PIT-000", text) : CEREUS_OK;
}

/** Does the call say too little to know where users are? */
static bool no_frontend_type(const cereus_ctx *ctx, const char *frontend_type)
{
    const crs_core *core = ctx->dispatch->core;
    return core->cluster && !core->is_frontend && !(frontend_type && *frontend_type);
}

static const char need_frontend_type[] =
    "for using SendPushToUsers from a backend server you have to specify a valid frontendType";

static cereus_status refuse_all(cereus_ctx *ctx, const char *const *uids, size_t count, const char **ret_failed,
                                size_t *ret_failed_count)
{
    for (size_t i = 0; ret_failed && i < count; i++)
        ret_failed[i] = uids[i];
    if (ret_failed_count)
        *ret_failed_count = count;
    return crs_ctx_error(ctx, CEREUS_E_FAILED, "PIT-000", need_frontend_type);
}

static size_t count_true(const bool *flags, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += flags[i];
    return n;
}

cereus_status crs_push_to_users(cereus_ctx *ctx, const char *frontend_type, cereus_slice route,
                                const cereus_value *value, const char *const *uids, const cereus_session_id *ids,
                                size_t count, bool *failed)
{
    crs_dispatch *d = ctx->dispatch;
    cereus_slice body;
    memset(failed, true, count);
    CEREUS_TRY(crs_push_body(ctx, value, &body));
    if (no_frontend_type(ctx, frontend_type))
        return crs_ctx_error(ctx, CEREUS_E_FAILED, "PIT-000", need_frontend_type);
    bool here = !d->core->cluster; /* alone, what is wrong with the push is told even if nobody is there to get it */
    if (our_type(ctx, frontend_type)) {
        for (size_t i = 0; !here && i < count; i++)
            here = ids[i] != 0;
    }
    size_t failed_count = count;
    if (here) {
        crs_frame frame;
        cereus_status st = crs_frontend_make_push(d->frontend, route, body, &frame);
        if (st)
            return crs_ctx_error(ctx, st, cereus_status_code(st), cereus_status_text(st));
        if (our_type(ctx, frontend_type))
            failed_count = crs_push_to_many(ctx, &frame, ids, count, failed);
        crs_buf_unref(frame.buf);
    }
    if (failed_count && d->core->cluster)
        failed_count = push_elsewhere(ctx, frontend_type, route, body, uids, failed, count);
    return users_failed(ctx, failed_count, "failed to push message to users, check array with failed uids");
}

cereus_status cereus_push_to_users(cereus_ctx *ctx, const char *route, cereus_value value, const char *const *uids,
                                   size_t uid_count, const char *frontend_type, const char **ret_failed,
                                   size_t *ret_failed_count)
{
    crs_dispatch *d = ctx->dispatch;
    bool *failed = crs_arena_zalloc(ctx->arena, uid_count * sizeof *failed + 1);
    cereus_session_id *ids = crs_arena_alloc(ctx->arena, uid_count * sizeof *ids + 1);
    if (!failed || !ids)
        return crs_ctx_error(ctx, CEREUS_E_NOMEM, "PIT-500", "out of memory");
    for (size_t i = 0; i < uid_count; i++)
        ids[i] = crs_uid_find(d->core->uids, cereus_slice_str(uids[i]));
    cereus_status st =
        crs_push_to_users(ctx, frontend_type, cereus_slice_str(route), &value, uids, ids, uid_count, failed);
    if (st && st != CEREUS_E_FAILED)
        return st;
    report_failed(uids, failed, uid_count, ret_failed);
    if (ret_failed_count)
        *ret_failed_count = count_true(failed, uid_count);
    return st;
}

cereus_status cereus_kick_users(cereus_ctx *ctx, const char *const *uids, size_t uid_count, const char *frontend_type,
                                const char **ret_failed, size_t *ret_failed_count)
{
    const crs_core *core = ctx->dispatch->core;
    if (no_frontend_type(ctx, frontend_type))
        return refuse_all(ctx, uids, uid_count, ret_failed, ret_failed_count);
    bool *failed = crs_arena_zalloc(ctx->arena, 2 * uid_count * sizeof *failed + 1), *want = failed + uid_count;
    if (!failed)
        return crs_ctx_error(ctx, CEREUS_E_NOMEM, "PIT-500", "out of memory");
    size_t failed_count = 0;
    for (size_t i = 0; i < uid_count; i++) { /* a session of this server whatever the type (behaviour.md 16) */
        cereus_session *s = cereus_session_from_uid(ctx, uids[i]);
        want[i] = failed[i] = !(s && cereus_session_kick(ctx, s) == CEREUS_OK);
        failed_count += failed[i];
    }
    if (failed_count && core->cluster)
        failed_count =
            core->cluster->kick_users(ctx, frontend_type && *frontend_type ? frontend_type : core->registry.server_type,
                                      uids, want, uid_count, failed);
    report_failed(uids, failed, uid_count, ret_failed);
    if (ret_failed_count)
        *ret_failed_count = failed_count;
    return users_failed(ctx, failed_count, "failed to kick users, check array with failed uids");
}
