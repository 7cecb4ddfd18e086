/* tests/conformance/server: the test application that the recorded vectors speak to (tests/vectors/client/README.md,
 * "Test application"), on the public interface only.
 *
 *     server --settings JSON [--tcp HOST:PORT] [--ws HOST:PORT] [--home session|one] [--loops N] [--set KEY=VALUE]...
 *            [--backend yes]
 *
 * JSON is one entry of tests/vectors/client/configs.json. When all listeners accept it prints `READY tcp=HOST:PORT
 * ws=HOST:PORT`, those asked for, and it ends on SIGTERM with 0. With `"cluster": true` it is one server of a cluster, which
 * tests/conformance/cluster puts together; with --backend it is a server behind frontends.
 *
 * Beside `test` there is a service `probe` for the tests that look for leaks.
 */
#include <cereus/cereus.h>

#include <jansson.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.pb-c.h"

enum { EXIT_USAGE = 2 };

/* -- small helpers -- */

static cereus_slice literal(const char *text)
{
    return cereus_slice_str(text);
}

/* The text up to the next '|' of *rest, which moves behind it. */
static char *field(cereus_ctx *ctx, cereus_slice *rest)
{
    const uint8_t *bar = memchr(rest->data, '|', rest->len);
    size_t len = bar ? (size_t)(bar - rest->data) : rest->len;
    char *text = cereus_ctx_strdup(ctx, cereus_slice_of(rest->data, len));
    size_t used = bar ? len + 1 : len;
    *rest = cereus_slice_of(rest->data + used, rest->len - used);
    return text;
}

/* The reply is the text of a JSON value. */
static cereus_status reply_json(cereus_ctx *ctx, const json_t *value, size_t flags, cereus_slice *out)
{
    char *text = json_dumps(value, flags | JSON_COMPACT | JSON_ENCODE_ANY);
    char *copy = text ? cereus_ctx_printf(ctx, "%s", text) : NULL;
    free(text);
    if (!copy)
        return CEREUS_E_NOMEM;
    *out = cereus_slice_str(copy);
    return CEREUS_OK;
}

/* N letters a ("a:N"), or N bytes of the generator of the vectors ("r:N"). */
static cereus_status big_body(cereus_ctx *ctx, cereus_slice in, cereus_slice *ret_body)
{
    char *arg = cereus_ctx_strdup(ctx, in);
    if (!arg || in.len < 3 || arg[1] != ':' || (arg[0] != 'a' && arg[0] != 'r'))
        return cereus_fail(ctx, "APP-8", "the argument is a:N or r:N");
    size_t len = strtoul(arg + 2, NULL, 10);
    uint8_t *body = cereus_ctx_alloc(ctx, len + 1);
    if (!body)
        return CEREUS_E_NOMEM;
    if (arg[0] == 'a') {
        memset(body, 'a', len);
    } else {
        uint32_t state = 1;
        for (size_t i = 0; i < len; i++) {
            state = state * 1664525U + 1013904223U;
            body[i] = (uint8_t)(state >> 24);
        }
    }
    *ret_body = cereus_slice_of(body, len);
    return CEREUS_OK;
}

/* -- replies -- */

static cereus_status test_echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status test_noarg(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    Protos__TestResponse *reply = (Protos__TestResponse *)out->message;
    reply->code = 200;
    reply->msg = (char *)(uintptr_t) "hello";
    return CEREUS_OK;
}

static cereus_status test_typed(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    Protos__TestResponse *reply = (Protos__TestResponse *)out->message;
    reply->code = 200;
    reply->msg = ((const Protos__TestRequest *)in->message)->msg;
    return CEREUS_OK;
}

static cereus_status test_typedraw(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    *out = cereus_text(((const Protos__TestRequest *)in->message)->msg);
    return CEREUS_OK;
}

static cereus_status test_nilptr(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    out->shape = CEREUS_NOTHING;
    return CEREUS_OK;
}

static cereus_status test_nilraw(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return CEREUS_OK;
}

static cereus_status test_emptyraw(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = literal("");
    return CEREUS_OK;
}

static cereus_status test_emptytyped(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return CEREUS_OK;
}

static void make_unsayable(Protos__Unsayable *message)
{
    message->number = (double)NAN;
    message->text = (char *)(uintptr_t) "\xff\xfe";
}

static cereus_status test_badreturn(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    make_unsayable((Protos__Unsayable *)out->message);
    return CEREUS_OK;
}

static cereus_status test_big(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return big_body(ctx, in, out);
}

static cereus_status test_slow(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    char *ms = cereus_ctx_strdup(ctx, in);
    if (!ms)
        return CEREUS_E_NOMEM;
    CEREUS_TRY(cereus_sleep(ctx, strtoul(ms, NULL, 10)));
    *out = literal("slept");
    return CEREUS_OK;
}

/* -- errors -- */

static cereus_status test_err(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail(ctx, "PIT-555", "somerror");
}

static cereus_status test_errmeta(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_fail(ctx, "PIT-433", "test error");
    return cereus_fail_meta(ctx, "some", "meta");
}

static cereus_status test_errmulti(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_fail(ctx, "APP-1", "many");
    cereus_fail_meta(ctx, "b", "2");
    cereus_fail_meta(ctx, "a", "1");
    return cereus_fail_meta(ctx, "c", "");
}

static cereus_status test_errplain(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail(ctx, NULL, "plain failure");
}

/* What Go makes of a coded error inside a plain one, and of a code put around an error that has one. */
static cereus_status test_errwrap(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail(ctx, NULL, "outer: inner");
}

static cereus_status test_errrewrap(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_fail(ctx, "PIT-433", "inner");
    cereus_fail_meta(ctx, "a", "1");
    return cereus_fail_meta(ctx, "b", "2");
}

static cereus_status test_errempty(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail_bytes(ctx, "", literal(""));
}

static cereus_status test_errhtml(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail_bytes(ctx, "APP-2",
                             literal("<a href=\"x\">&'\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80</a>\\/\n\t\x01\x7f"));
}

static cereus_status test_errctl(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    static const char text[] = "\0\b\f\r\x1f\xe2\x80\xa9";
    return cereus_fail_bytes(ctx, "APP-7", cereus_slice_of(text, sizeof text - 1));
}

static cereus_status test_errutf8(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail_bytes(ctx, "APP-4", literal("bad \xff\xfe utf8"));
}

static cereus_status test_errlong(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    static const char part[] = "long error ";
    enum { PART_LEN = sizeof part - 1, COUNT = 50 };
    char text[PART_LEN * COUNT];
    for (size_t i = 0; i < COUNT; i++)
        memcpy(text + i * PART_LEN, part, PART_LEN);
    return cereus_fail_bytes(ctx, "APP-3", cereus_slice_of(text, sizeof text));
}

/* C has no panics: these answer what Pitaya makes of them. */
static cereus_status test_panicstr(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail(ctx, NULL, "boom");
}

static cereus_status test_panicerr(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail(ctx, NULL, "rpc call internal error - Panicerr: boom error");
}

static cereus_status test_panicint(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail(ctx, NULL, "rpc call internal error - Panicint: 42");
}

/* -- notifies and pushes -- */

static cereus_status test_note(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_session_push(ctx, cereus_ctx_session(ctx), "onnote", cereus_raw(in));
}

static cereus_status test_notetyped(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return cereus_session_push(ctx, cereus_ctx_session(ctx), "onnote", cereus_message(in->message));
}

static cereus_status test_notepanic(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail(ctx, NULL, "boom");
}

static cereus_status test_push(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_session_push(ctx, cereus_ctx_session(ctx), "onpush", cereus_raw(in)));
    if (out)
        *out = literal("pushed");
    return CEREUS_OK;
}

static cereus_status test_pushtyped(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    Protos__TestResponse push = PROTOS__TEST_RESPONSE__INIT;
    push.code = 1;
    push.msg = ((const Protos__TestRequest *)in->message)->msg;
    CEREUS_TRY(cereus_session_push(ctx, cereus_ctx_session(ctx), "onpush", cereus_message(&push.base)));
    *out = cereus_text("pushed");
    return CEREUS_OK;
}

static cereus_status test_pushbad(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    Protos__Unsayable push = PROTOS__UNSAYABLE__INIT;
    make_unsayable(&push);
    if (cereus_session_push(ctx, cereus_ctx_session(ctx), "onpush", cereus_message(&push.base)) != CEREUS_E_INVALID)
        return cereus_fail(ctx, "APP-9", "a push without meaning was taken");
    *out = literal("pushed");
    return CEREUS_OK;
}

static cereus_status test_pushroute(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    char *route = cereus_ctx_strdup(ctx, in);
    if (!route)
        return CEREUS_E_NOMEM;
    cereus_status want = in.len > 255 ? CEREUS_E_TOO_LONG : CEREUS_OK;
    if (cereus_session_push(ctx, cereus_ctx_session(ctx), route, cereus_text("x")) != want)
        return cereus_fail(ctx, "APP-9", "a route of %zu bytes was not answered as it should", in.len);
    *out = literal("pushed");
    return CEREUS_OK;
}

static cereus_status test_pushbig(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_slice body;
    CEREUS_TRY(big_body(ctx, in, &body));
    CEREUS_TRY(cereus_session_push(ctx, cereus_ctx_session(ctx), "onbig", cereus_raw(body)));
    *out = literal("pushed");
    return CEREUS_OK;
}

/* -- users -- */

static cereus_status test_bind(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    char *uid = cereus_ctx_strdup(ctx, in);
    if (!uid)
        return CEREUS_E_NOMEM;
    CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), uid));
    *out = literal("bound");
    return CEREUS_OK;
}

static cereus_status test_uid(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uid = cereus_session_uid(cereus_ctx_session(ctx));
    if (!*uid)
        return CEREUS_E_NOT_BOUND;
    *out = literal(uid);
    return CEREUS_OK;
}

/* The framework's error under a code of the game's own, with the uid that was not reached. */
static cereus_status fail_with_uid(cereus_ctx *ctx, const char *code, const char *uid)
{
    const char *msg = cereus_ctx_error_msg(ctx);
    char *copy = cereus_ctx_printf(ctx, "%s", msg ? msg : "");
    cereus_fail(ctx, code, "%s", copy ? copy : "");
    return cereus_fail_meta(ctx, "failed", uid);
}

static cereus_status test_pushto(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uid = field(ctx, &in);
    const char *route = field(ctx, &in);
    if (!uid || !route)
        return CEREUS_E_NOMEM;
    const char *failed = NULL;
    size_t failed_count = 0;
    cereus_status st = cereus_push_to_users(ctx, route, cereus_raw(in), &uid, 1, "connector", &failed, &failed_count);
    if (st == CEREUS_E_FAILED && failed_count == 1)
        return fail_with_uid(ctx, "APP-5", failed);
    CEREUS_TRY(st);
    *out = literal("sent");
    return CEREUS_OK;
}

static cereus_status test_kickuid(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uid = cereus_ctx_strdup(ctx, in);
    if (!uid)
        return CEREUS_E_NOMEM;
    const char *failed = NULL;
    size_t failed_count = 0;
    cereus_status st = cereus_kick_users(ctx, &uid, 1, "connector", &failed, &failed_count);
    if (st == CEREUS_E_FAILED && failed_count == 1)
        return fail_with_uid(ctx, "APP-6", failed);
    CEREUS_TRY(st);
    *out = literal("kicked");
    return CEREUS_OK;
}

static cereus_status test_kickme(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_session_kick(ctx, cereus_ctx_session(ctx)));
    *out = literal("kicked");
    return CEREUS_OK;
}

static cereus_status test_closeme(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_session_close(ctx, cereus_ctx_session(ctx)));
    *out = literal("closed");
    return CEREUS_OK;
}

static cereus_status test_gjoin(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    char *group = cereus_ctx_strdup(ctx, in);
    if (!group)
        return CEREUS_E_NOMEM;
    cereus_status st = cereus_group_create(ctx, group);
    if (st != CEREUS_E_EXISTS)
        CEREUS_TRY(st);
    CEREUS_TRY(cereus_group_add(ctx, group, cereus_session_uid(cereus_ctx_session(ctx))));
    *out = literal("joined");
    return CEREUS_OK;
}

static cereus_status test_gcast(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *group = field(ctx, &in);
    const char *route = field(ctx, &in);
    if (!group || !route)
        return CEREUS_E_NOMEM;
    CEREUS_TRY(cereus_group_broadcast(ctx, "connector", group, route, cereus_raw(in)));
    *out = literal("cast");
    return CEREUS_OK;
}

/* -- the session -- */

static cereus_status test_hs(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    static const char *const names[] = {"platform", "libVersion", "clientBuildNumber", "clientVersion"};
    json_t *data = cereus_session_handshake(ctx, cereus_ctx_session(ctx));
    if (!data)
        return CEREUS_E_GONE;
    json_t *sys = json_object();
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        const char *text = json_string_value(json_object_get(json_object_get(data, "sys"), names[i]));
        json_object_set_new(sys, names[i], json_string(text ? text : ""));
    }
    json_t *reply = cereus_ctx_keep(ctx, json_object());
    json_object_set_new(reply, "sys", sys);
    json_t *user = json_object_get(data, "user");
    if (json_object_size(user))
        json_object_set(reply, "user", user);
    return reply_json(ctx, reply, 0, out);
}

static cereus_status test_sessset(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    char *key = cereus_ctx_strdup(ctx, in);
    char *equals = key ? strchr(key, '=') : NULL;
    if (!equals)
        return cereus_fail(ctx, "APP-8", "the argument is key=value");
    *equals = '\0';
    CEREUS_TRY(cereus_session_set(ctx, cereus_ctx_session(ctx), key, json_string(equals + 1)));
    *out = literal("ok");
    return CEREUS_OK;
}

static cereus_status test_sessdata(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    json_t *data = cereus_session_data(ctx, cereus_ctx_session(ctx));
    return data ? reply_json(ctx, data, JSON_SORT_KEYS, out) : CEREUS_E_GONE;
}

static cereus_status test_raddr(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = literal(cereus_session_remote_addr(cereus_ctx_session(ctx)));
    return CEREUS_OK;
}

/* The recorded client sees its connection close without an answer, so the session goes before the server does. */
static cereus_status test_appstop(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_status st = cereus_session_close(ctx, cereus_ctx_session(ctx));
    cereus_app_shutdown(cereus_ctx_app(ctx));
    return st;
}

#define TYPED(route, function, in_t, out_t)                                                                     \
    {                                                                                                           \
        .name = (route), .in = CEREUS_MESSAGE, .out = CEREUS_MESSAGE, .in_type = &(in_t), .out_type = &(out_t), \
        .fn = (function)                                                                                        \
    }
#define NO_ARGUMENT(route, function, out_t)                                                              \
    {                                                                                                    \
        .name = (route), .in = CEREUS_RAW, .out = CEREUS_MESSAGE, .out_type = &(out_t), .fn = (function) \
    }

static const cereus_method test_methods[] = {
    CEREUS_RAW_REQUEST("echo", test_echo),
    {.name = "noarg",
     .in = CEREUS_NOTHING,
     .out = CEREUS_MESSAGE,
     .out_type = &protos__test_response__descriptor,
     .fn = test_noarg},
    TYPED("typed", test_typed, protos__test_request__descriptor, protos__test_response__descriptor),
    {.name = "typedraw",
     .in = CEREUS_MESSAGE,
     .in_type = &protos__test_request__descriptor,
     .out = CEREUS_RAW,
     .fn = test_typedraw},
    CEREUS_RAW_REQUEST("err", test_err),
    CEREUS_RAW_REQUEST("errmeta", test_errmeta),
    CEREUS_RAW_REQUEST("errmulti", test_errmulti),
    CEREUS_RAW_REQUEST("errplain", test_errplain),
    CEREUS_RAW_REQUEST("errwrap", test_errwrap),
    CEREUS_RAW_REQUEST("errrewrap", test_errrewrap),
    CEREUS_RAW_REQUEST("errempty", test_errempty),
    CEREUS_RAW_REQUEST("errhtml", test_errhtml),
    CEREUS_RAW_REQUEST("errctl", test_errctl),
    CEREUS_RAW_REQUEST("errutf8", test_errutf8),
    CEREUS_RAW_REQUEST("errlong", test_errlong),
    CEREUS_RAW_REQUEST("panicstr", test_panicstr),
    CEREUS_RAW_REQUEST("panicerr", test_panicerr),
    CEREUS_RAW_REQUEST("panicint", test_panicint),
    NO_ARGUMENT("nilptr", test_nilptr, protos__test_response__descriptor),
    CEREUS_RAW_REQUEST("nilraw", test_nilraw),
    CEREUS_RAW_REQUEST("emptyraw", test_emptyraw),
    NO_ARGUMENT("emptytyped", test_emptytyped, protos__test_response__descriptor),
    NO_ARGUMENT("badreturn", test_badreturn, protos__unsayable__descriptor),
    CEREUS_RAW_NOTIFY("note", test_note),
    {.name = "notetyped", .in = CEREUS_MESSAGE, .in_type = &protos__test_request__descriptor, .fn = test_notetyped},
    CEREUS_RAW_NOTIFY("notepanic", test_notepanic),
    CEREUS_RAW_REQUEST("push", test_push),
    {.name = "pushtyped",
     .in = CEREUS_MESSAGE,
     .in_type = &protos__test_request__descriptor,
     .out = CEREUS_RAW,
     .fn = test_pushtyped},
    CEREUS_RAW_REQUEST("pushbad", test_pushbad),
    CEREUS_RAW_REQUEST("pushroute", test_pushroute),
    CEREUS_RAW_REQUEST("pushbig", test_pushbig),
    CEREUS_RAW_REQUEST("bind", test_bind),
    CEREUS_RAW_REQUEST("uid", test_uid),
    CEREUS_RAW_REQUEST("pushto", test_pushto),
    CEREUS_RAW_REQUEST("kickme", test_kickme),
    CEREUS_RAW_REQUEST("kickuid", test_kickuid),
    CEREUS_RAW_REQUEST("closeme", test_closeme),
    CEREUS_RAW_REQUEST("big", test_big),
    CEREUS_RAW_REQUEST("hs", test_hs),
    CEREUS_RAW_REQUEST("sessset", test_sessset),
    CEREUS_RAW_REQUEST("sessdata", test_sessdata),
    CEREUS_RAW_REQUEST("raddr", test_raddr),
    CEREUS_RAW_REQUEST("slow", test_slow),
    CEREUS_RAW_REQUEST("appstop", test_appstop),
    CEREUS_RAW_REQUEST("gjoin", test_gjoin),
    CEREUS_RAW_REQUEST("gcast", test_gcast),
};

/* -- ptest: the service of the documentation routes -- */

static cereus_status ptest_echodoc(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    out->message = in->message;
    return CEREUS_OK;
}

static cereus_status ptest_note(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return CEREUS_OK;
}

static cereus_status ptest_err(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return test_errmeta(ctx, cereus_slice_of("", 0), NULL);
}

static cereus_status register_ptest(cereus_app *app, const cereus_service_options *options, cereus_error *err)
{
    const cereus_method methods[] = {
        cereus_docs_method("docs"),
        cereus_descriptors_method("protos"),
        TYPED("echodoc", ptest_echodoc, protos__doc__descriptor, protos__doc__descriptor),
        TYPED("err", ptest_err, protos__doc__descriptor, protos__doc__descriptor),
        {.name = "note", .in = CEREUS_MESSAGE, .in_type = &protos__doc__descriptor, .fn = ptest_note},
    };
    return cereus_app_register(app, "ptest", methods, CEREUS_COUNT(methods), options, err);
}

/* -- probe: what the server holds, for the tests that look for leaks -- */

/* The argument names counters, comma-separated; `sessions` is always there. */
static cereus_status probe_counters(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_app *app = cereus_ctx_app(ctx);
    char *names = cereus_ctx_strdup(ctx, in);
    json_t *reply = cereus_ctx_keep(ctx, json_object());
    if (!names || !reply)
        return CEREUS_E_NOMEM;
    json_object_set_new(reply, "sessions", json_integer((json_int_t)cereus_app_session_count(app)));
    char *rest = NULL;
    for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        json_object_set_new(reply, name, json_integer((json_int_t)cereus_app_counter(app, name)));
    return reply_json(ctx, reply, 0, out);
}

/* The size in the last element of @p xml that begins with @p element; 0: there is none. */
static size_t last_size(const char *xml, const char *element)
{
    const char *last = NULL;
    for (const char *at = xml; (at = strstr(at, element)); at++)
        last = at;
    const char *size = last ? strstr(last, "size=\"") : NULL;
    return size ? strtoull(size + strlen("size=\""), NULL, 10) : 0;
}

/* Bytes that glibc has given out, of all arenas: their sums stand at the end of what malloc_info() says. */
static size_t heap_in_use(void)
{
    char *xml = NULL;
    size_t len;
    FILE *f = open_memstream(&xml, &len);
    if (!f)
        return 0;
    malloc_info(0, f);
    fclose(f);
    size_t bytes = last_size(xml, "<system type=\"current\"") + last_size(xml, "<total type=\"mmap\"") -
                   last_size(xml, "<total type=\"fast\"") - last_size(xml, "<total type=\"rest\"");
    free(xml);
    return bytes;
}

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

/* Bytes of the heap in use, all threads; the allocator of a sanitizer keeps its own account. */
static cereus_status probe_heap(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    size_t bytes = __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : heap_in_use();
    char *text = cereus_ctx_printf(ctx, "%zu", bytes);
    if (!text)
        return CEREUS_E_NOMEM;
    *out = cereus_slice_str(text);
    return CEREUS_OK;
}

static const cereus_method probe_methods[] = {
    CEREUS_RAW_REQUEST("counters", probe_counters),
    CEREUS_RAW_REQUEST("heap", probe_heap),
};

/* -- hooks and validator of the configurations that ask for them -- */

static bool raw_is(const cereus_value *in, const char *text)
{
    return in->shape == CEREUS_RAW && in->raw.len == strlen(text) && !memcmp(in->raw.data, text, in->raw.len);
}

static cereus_status before_hook(cereus_ctx *ctx, cereus_value *in, void *user)
{
    if (raw_is(in, "deny"))
        return cereus_fail(ctx, NULL, "denied");
    if (raw_is(in, "denycode"))
        return cereus_fail(ctx, "APP-403", "denied");
    if (raw_is(in, "rewrite"))
        *in = cereus_text("rewritten");
    return CEREUS_OK;
}

static cereus_status after_hook(cereus_ctx *ctx, cereus_value *out, cereus_status status, void *user)
{
    const char *msg = cereus_ctx_error_msg(ctx);
    if (status == CEREUS_OK || !msg || strcmp(msg, "plain failure") != 0)
        return status;
    return cereus_fail(ctx, "APP-500", "hooked: plain failure");
}

static cereus_status refuse_version_zero(const json_t *handshake, void *user)
{
    const char *version = json_string_value(json_object_get(json_object_get(handshake, "sys"), "clientVersion"));
    return version && !strcmp(version, "0.0.0") ? CEREUS_E_INVALID : CEREUS_OK;
}

/* -- start -- */

typedef struct arguments {
    const char *settings;
    const char *tcp;
    const char *ws;
    const char *tls;
    const char *wss;
    const char *cert;
    const char *key;
    const char *home;
    const char *loops;
    bool backend;
    int argc;
    char **argv; /* where every --set is found again */
} arguments;

static int complain(int code, const char *what, const char *detail)
{
    fprintf(stderr, "server: %s%s%s\n", what, *detail ? ": " : "", detail);
    return code;
}

static int parse_arguments(int argc, char **argv, arguments *args)
{
    *args = (arguments){.home = "session", .argc = argc, .argv = argv};
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!value)
            return complain(EXIT_USAGE, "a flag without its value", name);
        if (!strcmp(name, "--settings"))
            args->settings = value;
        else if (!strcmp(name, "--tcp"))
            args->tcp = value;
        else if (!strcmp(name, "--ws"))
            args->ws = value;
        else if (!strcmp(name, "--home"))
            args->home = value;
        else if (!strcmp(name, "--loops"))
            args->loops = value;
        else if (!strcmp(name, "--tls"))
            args->tls = value;
        else if (!strcmp(name, "--wss"))
            args->wss = value;
        else if (!strcmp(name, "--cert"))
            args->cert = value;
        else if (!strcmp(name, "--key"))
            args->key = value;
        else if (!strcmp(name, "--backend"))
            args->backend = !strcmp(value, "yes");
        else if (strcmp(name, "--set") != 0)
            return complain(EXIT_USAGE, "unknown flag", name);
    }
    if (!args->settings)
        return complain(EXIT_USAGE, "--settings JSON is missing", "");
    if (strcmp(args->home, "session") != 0 && strcmp(args->home, "one") != 0)
        return complain(EXIT_USAGE, "--home is session or one, not", args->home);
    return 0;
}

static cereus_status set_duration(cereus_config *cfg, const char *key, const json_t *seconds, cereus_error *err)
{
    char text[40];
    snprintf(text, sizeof text, "%.0fms", json_number_value(seconds) * 1000);
    return json_is_number(seconds) ? cereus_config_set(cfg, key, text, err) : CEREUS_OK;
}

static cereus_status set_rate_limit(cereus_config *cfg, const json_t *limit, cereus_error *err)
{
    char text[24];
    if (json_object_size(limit) == 0)
        return CEREUS_OK;
    snprintf(text, sizeof text, "%lld", (long long)json_integer_value(json_object_get(limit, "limit")));
    CEREUS_TRY(cereus_config_set(cfg, "cereus.ratelimit.enabled", "true", err));
    CEREUS_TRY(cereus_config_set(cfg, "pitaya.conn.ratelimiting.limit", text, err));
    snprintf(text, sizeof text, "%lldms", (long long)json_integer_value(json_object_get(limit, "interval_ms")));
    return cereus_config_set(cfg, "pitaya.conn.ratelimiting.interval", text, err);
}

static cereus_status configure(cereus_app *app, const json_t *settings, const arguments *args, cereus_error *err)
{
    cereus_config *cfg = cereus_app_config(app);
    const char *serializer = json_string_value(json_object_get(settings, "serializer"));
    bool protobuf = serializer && !strcmp(serializer, "protobuf");
    bool compress = json_is_true(json_object_get(settings, "data_compression"));
    CEREUS_TRY(cereus_config_set(cfg, "pitaya.serializertype", protobuf ? "2" : "1", err));
    CEREUS_TRY(cereus_config_set(cfg, "pitaya.handler.messages.compression", compress ? "true" : "false", err));
    CEREUS_TRY(set_duration(cfg, "pitaya.heartbeat.interval", json_object_get(settings, "heartbeat_s"), err));
    CEREUS_TRY(set_duration(cfg, "pitaya.buffer.agent.conntimeout", json_object_get(settings, "write_timeout_s"), err));
    if (json_is_true(json_object_get(settings, "proxy_protocol")))
        CEREUS_TRY(cereus_config_set(cfg, "pitaya.acceptor.proxyprotocol", "true", err));
    if (args->cert)
        CEREUS_TRY(cereus_config_set(cfg, "cereus.tls.cert", args->cert, err));
    if (args->key)
        CEREUS_TRY(cereus_config_set(cfg, "cereus.tls.key", args->key, err));
    CEREUS_TRY(set_rate_limit(cfg, json_object_get(settings, "rate_limit"), err));
    /* As Pitaya: anything that gets smaller is compressed; and the largest packets must fit. */
    CEREUS_TRY(cereus_config_set(cfg, "cereus.compression.min", "0", err));
    CEREUS_TRY(cereus_config_set(cfg, "cereus.outbox.bytes", "64MiB", err));
    CEREUS_TRY(cereus_config_set(cfg, "cereus.request.memory", "64MiB", err));
    if (args->loops)
        CEREUS_TRY(cereus_config_set(cfg, "cereus.loops", args->loops, err));
    for (int i = 1; i + 1 < args->argc; i += 2) {
        if (strcmp(args->argv[i], "--set") != 0)
            continue;
        char key[200];
        const char *pair = args->argv[i + 1];
        size_t len = strcspn(pair, "=");
        if (pair[len] == '\0' || len >= sizeof key)
            return CEREUS_E_INVALID;
        memcpy(key, pair, len);
        key[len] = '\0';
        CEREUS_TRY(cereus_config_set(cfg, key, pair + len + 1, err));
    }

    const char *route = NULL;
    json_t *code = NULL;
    json_object_foreach(json_object_get(settings, "dictionary"), route, code)
        CEREUS_TRY(cereus_app_add_dictionary(app, route, (uint16_t)json_integer_value(code), err));
    return CEREUS_OK;
}

static cereus_status register_services(cereus_app *app, const json_t *settings, const arguments *args,
                                       cereus_error *err)
{
    cereus_service_options options = {.home = !strcmp(args->home, "one") ? CEREUS_HOME_ONE : CEREUS_HOME_SESSION};
    const char *service = json_string_value(json_object_get(settings, "service"));
    if (service && !strncmp(service, "ptest", 5))
        return register_ptest(app, &options, err); /* and nothing else: all of it is in the documentation */
    /* dispatch 25 in the recordings: messages of one session overlap */
    bool overlap = json_integer_value(json_object_get(settings, "dispatch")) > 1;
    cereus_method methods[CEREUS_COUNT(test_methods)];
    memcpy(methods, test_methods, sizeof methods);
    for (size_t i = 0; i < CEREUS_COUNT(methods); i++) {
        methods[i].flags |= overlap ? CEREUS_CONCURRENT : 0;
        if (args->backend && !strcmp(methods[i].name, "err"))
            methods[i].raw = test_errmeta; /* so it was when the cluster was recorded */
    }
    CEREUS_TRY(cereus_app_register(app, "test", methods, CEREUS_COUNT(methods), &options, err));
    CEREUS_TRY(cereus_app_register(app, "probe", probe_methods, CEREUS_COUNT(probe_methods), &options, err));

    if (json_is_true(json_object_get(settings, "hooks"))) {
        CEREUS_TRY(cereus_app_before(app, before_hook, NULL));
        CEREUS_TRY(cereus_app_after(app, after_hook, NULL));
    }
    if (json_is_string(json_object_get(settings, "handshake_validator")))
        CEREUS_TRY(cereus_app_add_handshake_validator(app, "version", refuse_version_zero, NULL));
    return CEREUS_OK;
}

static cereus_status listen_at(cereus_app *app, const char *scheme, const char *address, cereus_error *err)
{
    char url[300];
    if (!address)
        return CEREUS_OK;
    snprintf(url, sizeof url, "%s://%s", scheme, address);
    return cereus_app_listen(app, url, err);
}

static void print_ready(cereus_app *app)
{
    printf("READY");
    const char *url = NULL;
    for (size_t i = 0; (url = cereus_app_address(app, i)); i++) {
        const char *colon = strstr(url, "://");
        printf(" %.*s=%s", (int)(colon - url), url, colon + 3);
    }
    printf("\n");
    fflush(stdout);
}

static cereus_status prepare(cereus_app *app, const json_t *settings, const arguments *args, cereus_error *err)
{
    CEREUS_TRY(configure(app, settings, args, err));
    CEREUS_TRY(register_services(app, settings, args, err));
    CEREUS_TRY(listen_at(app, "tcp", args->tcp, err));
    CEREUS_TRY(listen_at(app, "ws", args->ws, err));
    CEREUS_TRY(listen_at(app, "tls", args->tls, err));
    CEREUS_TRY(listen_at(app, "wss", args->wss, err));
    return cereus_app_start(app, err);
}

/* The signals that end it are waited for, so no thread may take them; threads inherit this. */
static void block_signals(void)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGQUIT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP); /* reads the certificate again */
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
}

static int serve(const json_t *settings, const arguments *args)
{
    block_signals();
    const char *type = json_string_value(json_object_get(settings, "server_type"));
    bool cluster = json_is_true(json_object_get(settings, "cluster"));
    cereus_app *app =
        cereus_app_new(&(cereus_app_options){.type = type, .frontend = !args->backend, .cluster = cluster});
    if (!app)
        return complain(EXIT_FAILURE, "out of memory", "");
    cereus_error err = {0};
    cereus_status st = prepare(app, settings, args, &err);
    if (st) {
        cereus_app_free(app);
        return complain(EXIT_FAILURE, "not started", *err.msg ? err.msg : cereus_status_text(st));
    }
    print_ready(app);
    cereus_app_wait(app, true);
    cereus_app_free(app);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    arguments args;
    int code = parse_arguments(argc, argv, &args);
    if (code)
        return code;
    json_error_t where;
    json_t *settings = json_loads(args.settings, 0, &where);
    if (!settings)
        return complain(EXIT_USAGE, "--settings is not JSON", where.text);
    code = serve(settings, &args);
    json_decref(settings);
    return code;
}
