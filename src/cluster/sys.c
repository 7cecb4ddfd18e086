/* cluster/sys.c: the remotes that every server has, cluster-protocol.md 7: what a backend asks of the session behind a forwarded
 * message. They run where the request came in; the session API finds the session's loop.
 */
#include "cluster/cluster_priv.h"

/** Response{data "ack"}, inside of the answer. */
static const uint8_t ack[] = {0x0a, 3, 'a', 'c', 'k'};
/** KickAnswer{kicked true}. */
static const uint8_t kicked[] = {0x08, 1};

static cereus_status no_session(cereus_ctx *ctx)
{
    return cereus_fail(ctx, "PIT-000", "session not found");
}

static cereus_status decode(cereus_ctx *ctx, cereus_slice in, cereus_session **ret_session, cereus_slice *ret_uid,
                            cereus_slice *ret_data)
{
    int64_t id = 0;
    *ret_uid = *ret_data = cereus_slice_of("", 0);
    if (crs_session_decode(in, &id, ret_uid, ret_data) != CEREUS_OK)
        return cereus_fail(ctx, "PIT-400", "no protos.Session");
    *ret_session = cereus_session_from_id(ctx, (cereus_session_id)id);
    return *ret_session ? CEREUS_OK : CEREUS_E_NOMEM;
}

/** NULL: out of memory. Where it has a NUL, "", which nobody is bound to either: cut off, it would be somebody else's. */
static const char *uid_text(cereus_ctx *ctx, cereus_slice uid)
{
    return uid.len && memchr(uid.data, 0, uid.len) ? "" : cereus_ctx_strdup(ctx, uid);
}

static cereus_status bind_session(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_session *session;
    cereus_slice uid, unused;
    CEREUS_TRY(decode(ctx, in, &session, &uid, &unused));
    const char *text = uid_text(ctx, uid);
    if (!text)
        return CEREUS_E_NOMEM;
    cereus_status st = cereus_session_bind(ctx, session, text);
    if (st == CEREUS_E_GONE)
        return no_session(ctx);
    *out = cereus_slice_of(ack, sizeof ack);
    return st;
}

static cereus_status push_session(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_session *session;
    cereus_slice unused, data;
    CEREUS_TRY(decode(ctx, in, &session, &unused, &data));
    *out = cereus_slice_of(ack, sizeof ack);
    json_error_t err;
    bool null = data.len == 4 && memcmp(data.data, "null", 4) == 0; /* Go's nil map: no data */
    json_t *object = null ? json_object() : data.len ? crs_json_parse_as_go(data, 0, &err) : NULL;
    if (data.len && !json_is_object(object)) {
        json_decref(object);
        return cereus_fail(ctx, "PIT-000", "the session data are no JSON object");
    }
    cereus_status st = object                              ? cereus_session_set_data(ctx, session, object)
                       : cereus_session_data(ctx, session) ? CEREUS_OK
                                                           : CEREUS_E_GONE; /* no data: only whether it is there */
    return st == CEREUS_E_GONE ? no_session(ctx) : st;
}

static cereus_status kick(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_slice uid;
    if (crs_kick_decode(in, &uid) != CEREUS_OK)
        return cereus_fail(ctx, "PIT-400", "no protos.KickMsg");
    const char *text = uid_text(ctx, uid);
    cereus_session *session = text ? cereus_session_from_uid(ctx, text) : NULL;
    if (!session || cereus_session_kick(ctx, session) != CEREUS_OK)
        return no_session(ctx);
    *out = cereus_slice_of(kicked, sizeof kicked);
    return CEREUS_OK;
}

cereus_status crs_cluster_register_sys(crs_core *core, cereus_error *err)
{
    static const cereus_method methods[] = {
        CEREUS_RAW_REQUEST("bindsession", bind_session),
        CEREUS_RAW_REQUEST("pushsession", push_session),
        CEREUS_RAW_REQUEST("kick", kick),
        CEREUS_RAW_REQUEST("stats", crs_cluster_stats),
    };
    cereus_service_options opt = {.home = CEREUS_HOME_SESSION};
    return crs_registry_add(&core->remotes, "sys", methods, CEREUS_COUNT(methods), &opt, err);
}
