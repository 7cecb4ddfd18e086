/* tests/interop/e2e-server: the server of Pitaya's own end-to-end tests, so that they run against us unchanged. On the public
 * interface only.
 *
 *     e2e-server -type connector -frontend=true|false -port 32222 -serializer json|protobuf -sdprefix pitaya/ -debug
 *                -grpc -grpcport 3434 [-id ID] [-set KEY=VALUE]...
 *
 * Flags as Go reads them: one dash or two, `-name value` or `-name=value`, a bare one of a bool is true. etcd at localhost:2379
 * and NATS at localhost:4222 unless PITAYA_* in the environment says otherwise. `all modules started!` on standard error
 * when it is registered. -set is ours, for tests without etcd and NATS.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "e2e.pb-c.h"
#include "member.h"

#define GROUP    "g1"
#define FRONTEND "connector"

static char *unconst(const char *text)
{
    return (char *)(uintptr_t)text;
}

static cereus_status respond(cereus_value *out, const char *msg)
{
    Protos__TestResponse *response = (Protos__TestResponse *)out->message;
    response->code = 200;
    response->msg = unconst(msg);
    return CEREUS_OK;
}

static const char *msg_of(const cereus_value *in)
{
    return ((const Protos__TestRequest *)in->message)->msg;
}

/* The error that is kept, under a code of the test's own. */
static cereus_status fail_as(cereus_ctx *ctx, const char *code, cereus_status st)
{
    const char *msg = cereus_ctx_error_msg(ctx);
    char *copy = cereus_ctx_printf(ctx, "%s", msg ? msg : cereus_status_text(st));
    return cereus_fail(ctx, code, "%s", copy ? copy : "");
}

/* -- handlers -- */

static cereus_status kickuser(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    char *uid = cereus_ctx_strdup(ctx, in->raw);
    if (!uid)
        return CEREUS_E_NOMEM;
    cereus_session *session = cereus_session_from_uid(ctx, uid);
    if (!session || cereus_session_kick(ctx, session))
        return cereus_fail(ctx, "PIT-404", "session not found");
    return respond(out, "ok");
}

static cereus_status kickme(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    CEREUS_TRY(cereus_session_kick(ctx, cereus_ctx_session(ctx)));
    return respond(out, "ok");
}

static cereus_status hello(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return respond(out, "hello");
}

static cereus_status nothing(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    out->shape = CEREUS_NOTHING;
    return CEREUS_OK;
}

static cereus_status message_back(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return respond(out, msg_of(in));
}

static cereus_status raw_back(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    *out = cereus_text(msg_of(in));
    return CEREUS_OK;
}

static cereus_status bytes_back(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status fails(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail(ctx, "PIT-555", "somerror");
}

static cereus_status bind_and_join(cereus_ctx *ctx, const char *uid, cereus_slice *out)
{
    cereus_status st = cereus_session_bind(ctx, cereus_ctx_session(ctx), uid);
    if (st)
        return fail_as(ctx, "PIT-444", st);
    st = cereus_group_add(ctx, GROUP, uid);
    if (st)
        return fail_as(ctx, "PIT-441", st);
    *out = cereus_slice_str("ack");
    return CEREUS_OK;
}

static cereus_status bind_random(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    uint8_t b[16];
    if (getrandom(b, sizeof b, 0) != sizeof b)
        return CEREUS_E_IO;
    char *uid =
        cereus_ctx_printf(ctx, "%02x%02x%02x%02x-%02x%02x-4%x%02x-8%x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
                          b[3], b[4], b[5], b[6] & 15, b[7], b[8] & 15, b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return uid ? bind_and_join(ctx, uid, &out->raw) : CEREUS_E_NOMEM;
}

static cereus_status bind_id(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    char *uid = cereus_ctx_strdup(ctx, in);
    return uid ? bind_and_join(ctx, uid, out) : CEREUS_E_NOMEM;
}

static cereus_status group_raw(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_group_broadcast(ctx, FRONTEND, GROUP, "route.test", cereus_raw(in));
}

static cereus_status group_message(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return cereus_group_broadcast(ctx, FRONTEND, GROUP, "route.testptr", cereus_message(in->message));
}

static cereus_status to_users(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    const json_t *list = json_object_get(in, "uids");
    const char *msg = json_string_value(json_object_get(in, "msg"));
    size_t count = json_array_size(list);
    const char **uids = cereus_ctx_alloc(ctx, (count + 1) * sizeof *uids);
    if (!uids)
        return CEREUS_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        const char *uid = json_string_value(json_array_get(list, i));
        uids[i] = uid ? uid : "";
    }
    return cereus_push_to_users(ctx, "route.sendtousers", cereus_text(msg ? msg : ""), uids, count, FRONTEND, NULL,
                                NULL);
}

/* The argument is JSON whatever the serializer is; the answer is the app's serializer's. */
static cereus_status call_remote(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, bool with_argument)
{
    const char *route = json_string_value(json_object_get(in->json, "route"));
    const char *data = json_string_value(json_object_get(in->json, "data"));
    Protos__TestRequest request = PROTOS__TEST_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    request.msg = unconst(data ? data : "");
    CEREUS_TRY(cereus_rpc(ctx, route ? route : "", with_argument ? &request.base : NULL,
                          &protos__test_response__descriptor, &reply, NULL));
    out->message = reply;
    return CEREUS_OK;
}

static cereus_status send_rpc(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return call_remote(ctx, in, out, true);
}

static cereus_status send_rpc_without_argument(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return call_remote(ctx, in, out, false);
}

/* clang-format off */
#define REQUEST  .in = CEREUS_MESSAGE, .in_type = &protos__test_request__descriptor
#define RESPONSE .out = CEREUS_MESSAGE, .out_type = &protos__test_response__descriptor

static const cereus_method handlers[] = {
    {.name = "testrequestkickuser", .in = CEREUS_RAW, RESPONSE, .fn = kickuser},
    {.name = "testrequestkickme", .in = CEREUS_NOTHING, RESPONSE, .fn = kickme},
    {.name = "testrequestonlysessionreturnsptr", .in = CEREUS_NOTHING, RESPONSE, .fn = hello},
    {.name = "testrequestonlysessionreturnsptrnil", .in = CEREUS_NOTHING, RESPONSE, .fn = nothing},
    {.name = "testrequestonlysessionreturnsrawnil", .in = CEREUS_NOTHING, .out = CEREUS_RAW, .fn = nothing},
    {.name = "testrequestreturnsptr", REQUEST, RESPONSE, .fn = message_back},
    {.name = "testrequestreturnsraw", REQUEST, .out = CEREUS_RAW, .fn = raw_back},
    CEREUS_RAW_REQUEST("testrequestreceivereturnsraw", bytes_back),
    CEREUS_RAW_REQUEST("testrequestreturnserror", fails),
    {.name = "testbind", .in = CEREUS_NOTHING, .out = CEREUS_RAW, .fn = bind_random},
    CEREUS_RAW_REQUEST("testbindid", bind_id),
    CEREUS_RAW_NOTIFY("testsendgroupmsg", group_raw),
    {.name = "testsendgroupmsgptr", REQUEST, .fn = group_message},
    CEREUS_JSON_NOTIFY("testsendtousers", to_users),
    {.name = "testsendrpc", .in = CEREUS_JSON, RESPONSE, .fn = send_rpc},
    {.name = "testsendrpcnoargs", .in = CEREUS_JSON, RESPONSE, .fn = send_rpc_without_argument},
};
/* clang-format on */

/* -- remotes -- */

static cereus_status remote_got(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    char *text = cereus_ctx_printf(ctx, "got %s", msg_of(in));
    return text ? respond(out, text) : CEREUS_E_NOMEM;
}

static cereus_status remote_fails(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    cereus_fail(ctx, "PIT-433", "test error");
    return cereus_fail_meta(ctx, "some", "meta");
}

static cereus_status remote_nothing(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return respond(out, "got nothing");
}

static const cereus_method remotes[] = {
    {.name = "rpctestrawptrreturnsptr", REQUEST, RESPONSE, .fn = remote_got},
    {.name = "rpctestptrreturnsptr", REQUEST, RESPONSE, .fn = remote_got},
    {.name = "rpctestreturnserror", REQUEST, RESPONSE, .fn = remote_fails},
    {.name = "rpctestnoargs", .in = CEREUS_NOTHING, RESPONSE, .fn = remote_nothing},
};

/* -- start -- */

static cereus_status open_group(cereus_ctx *ctx, void *user)
{
    cereus_status st = cereus_group_create(ctx, GROUP);
    return st == CEREUS_E_EXISTS ? CEREUS_OK : st;
}

static cereus_status prepare(cereus_app *app, cereus_error *err)
{
    cereus_service_options options = {.home = CEREUS_HOME_SESSION, .init = open_group};
    CEREUS_TRY(cereus_app_register(app, "testsvc", handlers, CEREUS_COUNT(handlers), &options, err));
    options.init = NULL;
    return cereus_app_register_remote(app, "testremotesvc", remotes, CEREUS_COUNT(remotes), &options, err);
}

static void up(cereus_app *app)
{
    const char *url = cereus_app_address(app, 0);
    if (url)
        printf("READY tcp=127.0.0.1%s\n", strrchr(url, ':'));
    else
        printf("READY\n");
    fflush(stdout);
    fprintf(stderr, "all modules started!\n");
}

/* One flag of Go's: the word after the dashes, its value or NULL. Moves *i over a value that stands apart. */
static bool take_flag(int argc, char **argv, int *i, bool is_bool, size_t name_len, const char **ret_value)
{
    const char *rest = argv[*i] + strspn(argv[*i], "-") + name_len;
    *ret_value = *rest == '=' ? rest + 1 : is_bool ? "true" : *i + 1 < argc ? argv[++*i] : NULL;
    return *ret_value;
}

static bool truth(const char *value)
{
    return !strcmp(value, "true") || !strcmp(value, "1") || !strcmp(value, "t") || !strcmp(value, "T") ||
           !strcmp(value, "TRUE") || !strcmp(value, "True");
}

static int parse(int argc, char **argv, member_flags *f)
{
    const char *frontend = "true", *grpc = "false", *debug = "false", *set = NULL;
    struct {
        const char *name;
        const char **value;
        bool is_bool;
    } flags[] = {
        {"port", &f->port, false},       {"type", &f->type, false},
        {"frontend", &frontend, true},   {"serializer", &f->serializer, false},
        {"sdprefix", &f->prefix, false}, {"debug", &debug, true},
        {"grpc", &grpc, true},           {"grpcport", &f->grpc_port, false},
        {"id", &f->id, false},           {"set", &set, false},
    };
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value = NULL;
        size_t dashes = strspn(word, "-"), len = strcspn(word + dashes, "="), k = 0;
        while (k < CEREUS_COUNT(flags) &&
               (strlen(flags[k].name) != len || memcmp(flags[k].name, word + dashes, len) != 0))
            k++;
        if (dashes < 1 || dashes > 2 || k == CEREUS_COUNT(flags))
            return member_complain(f, "unknown flag", word);
        if (!take_flag(argc, argv, &i, flags[k].is_bool, len, &value))
            return member_complain(f, "a flag without its value", word);
        *flags[k].value = value;
        if (flags[k].value == &set)
            f->sets[f->set_count++] = value;
    }
    f->frontend = truth(frontend);
    f->grpc = truth(grpc);
    f->debug = truth(debug);
    if (strcmp(f->serializer, "json") != 0 && strcmp(f->serializer, "protobuf") != 0)
        return member_complain(f, "-serializer is json or protobuf, not", f->serializer);
    return 0;
}

int main(int argc, char **argv)
{
    static char grpc_port[64];
    const char **words = calloc((size_t)argc + 1, sizeof *words);
    const char *metas[] = {"grpcHost=127.0.0.1", grpc_port};
    member_flags flags = {.program = "e2e-server",
                          .type = FRONTEND,
                          .port = "32222",
                          .serializer = "json",
                          .grpc_port = "3434",
                          .sets = words,
                          .metas = metas};
    int code = words ? parse(argc, argv, &flags) : EXIT_FAILURE;
    snprintf(grpc_port, sizeof grpc_port, "grpcPort=%.40s", flags.grpc_port);
    flags.meta_count = flags.grpc ? CEREUS_COUNT(metas) : 0;
    if (!code)
        code = member_run(&flags, prepare, up);
    free(words);
    return code;
}
