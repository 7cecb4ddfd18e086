/* cluster/context.c: the propagated context of calls, cluster-protocol.md 3: a JSON object that travels along. What a client's
 * message carries is written as text; only who asks for the values gets them parsed.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "cluster/cluster_priv.h"
#include "config/value.h"
#include "wire/json_scan.h"

enum { META_MAX = 1 << 20 };

/** 22 characters, as the ids of Go servers: 12 random ones of this loop, a count behind them. */
static void make_request_id(crs_cluster_loop *l, char out[23])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if (!l->request_prefix[0]) {
        for (size_t i = 0; i < 12; i++)
            l->request_prefix[i] = digits[crs_loop_random(l->d->loop, 62)];
    }
    memcpy(out, l->request_prefix, 12);
    uint64_t n = l->request_count++;
    for (size_t i = 22; i-- > 12; n /= 62)
        out[i] = digits[n % 62];
    out[22] = '\0';
}

/** A string in quotes, in Go's form. */
static cereus_status put_string(crs_bytes *out, cereus_slice text)
{
    bool plain = true;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        plain = plain && c >= 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
    }
    if (!plain) {
        json_t *s = json_stringn((const char *)text.data, text.len);
        cereus_status st = s ? crs_json_text(s, out) : CEREUS_E_INVALID;
        json_decref(s);
        return st;
    }
    CEREUS_TRY(crs_bytes_append_byte(out, '"'));
    CEREUS_TRY(crs_bytes_append(out, text.data, text.len));
    return crs_bytes_append_byte(out, '"');
}

cereus_status crs_meta_of_message(crs_cluster_loop *l, cereus_slice route, uint64_t timeout_ms, crs_bytes *out)
{
    char id[23], timeout[CRS_VALUE_TEXT_CAP];
    make_request_id(l, id);
    CEREUS_TRY(crs_bytes_append_byte(out, '{'));
    CEREUS_TRY(crs_bytes_append_str(out, l->cluster->peer_json));
    CEREUS_TRY(crs_bytes_append_str(out, ",\"req-route\":"));
    CEREUS_TRY(put_string(out, route));
    return crs_bytes_printf(out, ",\"req-start-time\":%" PRIu64 ",\"reqTimeout\":\"%s\",\"request.id\":\"%s\"}",
                            crs_loop_unix_now_ns(l->d->loop), crs_format_go_duration_ms((int64_t)timeout_ms, timeout),
                            id);
}

/** As every server of Pitaya does with what comes: the route is that of this call, and a call has an id. A client's message
 * that its frontend handles itself has the time, too. */
static bool note_arrival(cereus_ctx *ctx, json_t *object)
{
    char id[23];
    bool sent = ctx->metadata.len;
    json_t *route =
        sent ? json_stringn((const char *)ctx->sent_route.data, ctx->sent_route.len) : json_string(ctx->route);
    if (json_object_set_new(object, "req-route", route))
        return false;
    json_t *now = sent ? NULL : json_integer((json_int_t)crs_loop_unix_now_ns(ctx->dispatch->loop));
    if (!sent && json_object_set_new(object, "req-start-time", now))
        return false;
    if (json_string_length(json_object_get(object, "request.id")) > 0)
        return true;
    make_request_id(crs_cluster_here(ctx->dispatch), id);
    return json_object_set_new(object, "request.id", json_string(id)) == 0;
}

/** What came with the call, as an object that may be added to. NULL: out of memory. */
static json_t *propagated(cereus_ctx *ctx)
{
    json_error_t err;
    if (ctx->propagated)
        return ctx->propagated;
    json_t *object = ctx->metadata.len ? crs_json_parse_as_go(ctx->metadata, 0, &err) : json_object();
    if (!json_is_object(object)) {
        json_decref(object);
        object = json_object();
    }
    bool arrived = ctx->metadata.len || (ctx->session && ctx->dispatch->core->cluster);
    if (object && arrived && !note_arrival(ctx, object)) {
        json_decref(object);
        return NULL;
    }
    return ctx->propagated = cereus_ctx_keep(ctx, object);
}

cereus_status cereus_ctx_propagate(cereus_ctx *ctx, const char *key, struct json_t *value)
{
    json_t *object = propagated(ctx);
    if (object)
        return json_object_set_new(object, key, value) == 0 ? CEREUS_OK : CEREUS_E_NOMEM;
    json_decref(value);
    return CEREUS_E_NOMEM;
}

const struct json_t *cereus_ctx_propagated(cereus_ctx *ctx, const char *key)
{
    return json_object_get(propagated(ctx), key);
}

const struct json_t *cereus_ctx_propagated_all(cereus_ctx *ctx)
{
    return propagated(ctx);
}

static uint64_t patience(const char *text, uint64_t fallback_ms)
{
    int64_t ms;
    return text && crs_parse_duration_ms(text, &ms) == NULL && ms > 0 ? (uint64_t)ms : fallback_ms;
}

cereus_status crs_meta_of_call(cereus_ctx *ctx, crs_cluster_loop *l, uint64_t left_ms, uint64_t *timeout_ms,
                               crs_bytes *out)
{
    char text[CRS_VALUE_TEXT_CAP];
    json_t *object = propagated(ctx);
    if (!object)
        return CEREUS_E_NOMEM;
    json_t *asked = json_incref(json_object_get(object, "reqTimeout"));
    if (*timeout_ms == 0) /* F-52: what is left at most, not the whole of it again */
        *timeout_ms = CRS_MIN(left_ms, patience(json_string_value(asked), l->cluster->opt.request_timeout_ms));
    const cereus_server *self = crs_server_view(l->cluster->self);
    json_object_set_new(object, "peer.id", json_string(self->id));
    json_object_set_new(object, "peer.service", json_string(self->type));
    if (patience(json_string_value(asked), 0) != *timeout_ms) /* else it stays as it is */
        json_object_set_new(object, "reqTimeout", json_string(crs_format_go_duration_ms((int64_t)*timeout_ms, text)));
    cereus_status st = crs_json_text(object, out);
    if (asked) /* a limit of this call is not one for the next */
        json_object_set_new(object, "reqTimeout", asked);
    else
        json_object_del(object, "reqTimeout");
    return st;
}

/** The value of @p key among the members of the object @p meta. False: there is none, or it is no object at all. */
static bool find_member(cereus_slice meta, const char *key, cereus_slice *ret_value, bool *ret_object)
{
    crs_json_scan s = {.at = meta.data, .end = meta.data + meta.len};
    bool found = false;
    *ret_object = false;
    if (!crs_json_skip_byte(&s, '{'))
        return false;
    if (!crs_json_skip_byte(&s, '}')) {
        do {
            cereus_slice name;
            if (!crs_json_skip_string(&s, &name) || !crs_json_skip_byte(&s, ':') || !crs_json_skip_space(&s))
                return false;
            const uint8_t *from = s.at;
            if (!crs_json_skip_value(&s, CRS_JSON_DEPTH_MAX - 1, false))
                return false;
            if (crs_slice_eq(name, cereus_slice_str(key))) {
                *ret_value = cereus_slice_of(from, (size_t)(s.at - from));
                found = true;
            }
        } while (crs_json_skip_byte(&s, ','));
        if (!crs_json_skip_byte(&s, '}'))
            return false;
    }
    *ret_object = !crs_json_skip_space(&s); /* nothing behind it */
    return found;
}

const char *crs_meta_check(cereus_slice meta, uint64_t *ret_timeout_ms)
{
    cereus_slice value;
    bool object = false;
    *ret_timeout_ms = UINT64_MAX;
    if (meta.len == 0 || (meta.len == 4 && memcmp(meta.data, "null", 4) == 0)) /* F: null ends a Go server */
        return "no context found";
    bool found = meta.len <= META_MAX && find_member(meta, "reqTimeout", &value, &object);
    if (meta.len > META_MAX || !object)
        return "the context is no JSON object";
    if (!found)
        return NULL;
    char text[64];
    int64_t ms;
    if (value.len < 2 || value.len > sizeof text || value.data[0] != '"')
        return "reqTimeout is no duration";
    memcpy(text, value.data + 1, value.len - 2);
    text[value.len - 2] = '\0';
    if (crs_parse_duration_ms(text, &ms) || ms < 0)
        return "reqTimeout is no duration";
    *ret_timeout_ms = (uint64_t)ms;
    return NULL;
}
