/* dispatch/context.c: memory, errors and waits of a call. */
#include "dispatch/context.h"

#include <jansson.h>
#include <stdio.h>

#include "dispatch/call.h"

void crs_ctx_init(cereus_ctx *ctx, crs_dispatch *d, crs_fiber *fiber, const char *route)
{
    ctx->dispatch = d;
    ctx->fiber = fiber;
    ctx->arena = crs_fiber_arena(fiber);
    ctx->session = NULL;
    ctx->route = route;
    ctx->deadline_us = UINT64_MAX;
    ctx->metadata = ctx->sent_route = (cereus_slice){0};
    ctx->propagated = NULL;
    ctx->kept = NULL;
    ctx->error_status = CEREUS_OK;
    ctx->meta_keys = NULL;
    ctx->meta_count = 0;
}

void crs_ctx_fini(cereus_ctx *ctx)
{
    for (crs_kept_json *k = ctx->kept; k; k = k->next)
        json_decref(k->json);
    ctx->kept = NULL;
}

cereus_app *cereus_ctx_app(cereus_ctx *ctx)
{
    return ctx->dispatch->core->app;
}

cereus_session *cereus_ctx_session(cereus_ctx *ctx)
{
    return ctx->session;
}

const char *cereus_ctx_route(cereus_ctx *ctx)
{
    return ctx->route;
}

/* ---- memory ---- */

void *cereus_ctx_alloc(cereus_ctx *ctx, size_t size)
{
    return crs_arena_zalloc(ctx->arena, size);
}

char *cereus_ctx_printf(cereus_ctx *ctx, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = crs_arena_vprintf(ctx->arena, fmt, args);
    va_end(args);
    return text;
}

char *cereus_ctx_strdup(cereus_ctx *ctx, cereus_slice bytes)
{
    return crs_arena_strndup(ctx->arena, (const char *)bytes.data, bytes.len);
}

struct json_t *cereus_ctx_keep(cereus_ctx *ctx, struct json_t *json)
{
    if (!json)
        return NULL;
    crs_kept_json *k = crs_arena_alloc(ctx->arena, sizeof *k);
    if (!k) {
        json_decref(json);
        return NULL;
    }
    k->json = json;
    k->next = ctx->kept;
    ctx->kept = k;
    return json;
}

/* ---- errors ---- */

cereus_status crs_ctx_error(cereus_ctx *ctx, cereus_status status, const char *code, const char *msg)
{
    ctx->error_status = status;
    ctx->error_code = cereus_slice_str(code);
    ctx->error_msg = cereus_slice_str(msg);
    ctx->meta_count = 0;
    return status;
}

static cereus_slice keep(cereus_ctx *ctx, cereus_slice s)
{
    if (!s.data)
        return s;
    char *copy = crs_arena_strndup(ctx->arena, (const char *)s.data, s.len);
    return copy ? cereus_slice_of(copy, s.len) : cereus_slice_of("", 0);
}

void crs_ctx_copy_error(cereus_ctx *ctx, const cereus_ctx *from)
{
    ctx->error_status = from->error_status;
    ctx->error_code = keep(ctx, from->error_code);
    ctx->error_msg = keep(ctx, from->error_msg);
    ctx->meta_count = 0;
    for (size_t i = 0; i < from->meta_count; i++) {
        cereus_slice key = from->meta_keys[i], value = from->meta_values[i];
        char *k = crs_arena_strndup(ctx->arena, (const char *)key.data, key.len);
        char *v = crs_arena_strndup(ctx->arena, (const char *)value.data, value.len);
        if (k && v)
            cereus_fail_meta(ctx, k, v);
    }
}

cereus_status cereus_fail_bytes(cereus_ctx *ctx, const char *code, cereus_slice msg)
{
    ctx->error_status = CEREUS_E_FAILED;
    ctx->error_code = keep(ctx, cereus_slice_str(code));
    ctx->error_msg = keep(ctx, msg.data ? msg : cereus_slice_of("", 0));
    ctx->meta_count = 0;
    return CEREUS_E_FAILED;
}

cereus_status cereus_fail(cereus_ctx *ctx, const char *code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = crs_arena_vprintf(ctx->arena, fmt, args);
    va_end(args);
    ctx->error_status = CEREUS_E_FAILED;
    ctx->error_code = keep(ctx, cereus_slice_str(code));
    ctx->error_msg = cereus_slice_str(text ? text : "out of memory");
    ctx->meta_count = 0;
    return CEREUS_E_FAILED;
}

static void add_meta(cereus_ctx *ctx, const char *key, const char *value)
{
    if (!ctx->meta_keys) {
        ctx->meta_keys = crs_arena_alloc(ctx->arena, 2 * CRS_ERROR_META_MAX * sizeof(cereus_slice));
        if (!ctx->meta_keys)
            return; /* the error goes out without it */
        ctx->meta_values = ctx->meta_keys + CRS_ERROR_META_MAX;
    }
    cereus_slice k = cereus_slice_str(key);
    for (size_t i = 0; i < ctx->meta_count; i++) {
        if (crs_slice_eq(ctx->meta_keys[i], k)) {
            ctx->meta_values[i] = keep(ctx, cereus_slice_str(value));
            return;
        }
    }
    if (ctx->meta_count < CRS_ERROR_META_MAX) {
        ctx->meta_keys[ctx->meta_count] = keep(ctx, k);
        ctx->meta_values[ctx->meta_count++] = keep(ctx, cereus_slice_str(value));
    }
}

cereus_status cereus_fail_meta(cereus_ctx *ctx, const char *key, const char *value)
{
    add_meta(ctx, key, value);
    return ctx->error_status ? ctx->error_status : CEREUS_E_FAILED;
}

const char *cereus_ctx_error_code(cereus_ctx *ctx)
{
    if (ctx->error_status == CEREUS_OK)
        return NULL;
    return ctx->error_code.data ? (const char *)ctx->error_code.data : "PIT-000";
}

const char *cereus_ctx_error_msg(cereus_ctx *ctx)
{
    return ctx->error_status == CEREUS_OK ? NULL : (const char *)ctx->error_msg.data;
}

crs_error_view crs_ctx_error_view(const cereus_ctx *ctx, cereus_status status)
{
    if (ctx && ctx->error_status == status)
        return (crs_error_view){
            .code = ctx->error_code.data ? ctx->error_code : cereus_slice_str("PIT-000"),
            .msg = ctx->error_msg,
            .meta_keys = ctx->meta_keys,
            .meta_values = ctx->meta_values,
            .meta_count = ctx->meta_count,
        };
    return (crs_error_view){.code = cereus_slice_str(cereus_status_code(status)),
                            .msg = cereus_slice_str(cereus_status_text(status))};
}

/* ---- waiting ---- */

/** The loop's time, in microseconds, @p ms from now; UINT64_MAX: beyond all time. */
static uint64_t time_in(const cereus_ctx *ctx, uint64_t ms)
{
    uint64_t now = ctx->dispatch->loop->now_us;
    return ms < (UINT64_MAX - now) / 1000 ? now + ms * 1000 : UINT64_MAX;
}

void cereus_ctx_set_deadline(cereus_ctx *ctx, uint64_t ms)
{
    ctx->deadline_us = ms == 0 ? UINT64_MAX : time_in(ctx, ms);
}

uint64_t cereus_ctx_time_left(cereus_ctx *ctx)
{
    uint64_t now = ctx->dispatch->loop->now_us;
    if (ctx->deadline_us == UINT64_MAX)
        return UINT64_MAX;
    return ctx->deadline_us > now ? (ctx->deadline_us - now + 999) / 1000 : 0;
}

cereus_status cereus_sleep(cereus_ctx *ctx, uint64_t ms)
{
    uint64_t until = time_in(ctx, ms);
    if (ctx->deadline_us < until) {
        cereus_status st = crs_fiber_wait(ctx->fiber, ctx->deadline_us);
        return st == CEREUS_OK ? CEREUS_E_TIMEOUT : st;
    }
    cereus_status st = crs_fiber_wait(ctx->fiber, until);
    return st == CEREUS_E_TIMEOUT ? CEREUS_OK : st;
}

cereus_status cereus_yield(cereus_ctx *ctx)
{
    return cereus_sleep(ctx, 0);
}

cereus_status cereus_await_fd(cereus_ctx *ctx, int fd, int events, uint64_t timeout_ms, int *ret_events)
{
    uint64_t until = timeout_ms ? time_in(ctx, timeout_ms) : UINT64_MAX;
    _Static_assert((int)CEREUS_FD_READABLE == (int)UV_READABLE && (int)CEREUS_FD_WRITABLE == (int)UV_WRITABLE,
                   "the same bits");
    return crs_await_fd(ctx->fiber, fd, events & (UV_READABLE | UV_WRITABLE), CRS_MIN(until, ctx->deadline_us),
                        ret_events);
}

cereus_status cereus_offload(cereus_ctx *ctx, cereus_work_fn *work, void *user)
{
    if (cereus_ctx_time_left(ctx) == 0)
        return CEREUS_E_TIMEOUT;
    if (crs_fiber_cancelled(ctx->fiber)) /* it would be waited for to its end: none begins while the app stops */
        return CEREUS_E_CANCELLED;
    return crs_await_job(ctx->fiber, ctx->dispatch->core->workers, work, user);
}

/* ---- logging ---- */

static void log_text(cereus_ctx *ctx, cereus_log_level level, const char *fmt, va_list args)
{
    crs_log *log = ctx->dispatch->core->log;
    if (!crs_log_enabled(log, level))
        return;
    char text[1024];
    vsnprintf(text, sizeof text, fmt, args);
    crs_field fields[4] = {CRS_STR("route", ctx->route)};
    size_t count = 1;
    json_error_t wrong;
    json_t *came_with = ctx->metadata.len ? crs_json_parse_as_go(ctx->metadata, 0, &wrong) : NULL;
    const char *request = json_string_value(json_object_get(came_with, "request.id"));
    if (request) /* it has the same name in the logs of all servers that worked on it */
        fields[count++] = CRS_STR("request", request);
    if (ctx->session) {
        fields[count++] = CRS_STR("uid", cereus_session_uid(ctx->session));
        fields[count++] = CRS_UINT("session", ctx->session->id);
    }
    crs_log_write(log, level, text, fields, count);
    json_decref(came_with);
}

#define LOG_FUNCTION(name, level)                                 \
    void cereus_log_##name(cereus_ctx *ctx, const char *fmt, ...) \
    {                                                             \
        va_list args;                                             \
        va_start(args, fmt);                                      \
        log_text(ctx, level, fmt, args);                          \
        va_end(args);                                             \
    }

LOG_FUNCTION(debug, CEREUS_LOG_DEBUG)
LOG_FUNCTION(info, CEREUS_LOG_INFO)
LOG_FUNCTION(warn, CEREUS_LOG_WARN)
LOG_FUNCTION(error, CEREUS_LOG_ERROR)
