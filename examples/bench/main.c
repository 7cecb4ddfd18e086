/* examples/bench: the server that `make bench` measures, with the routes and flags that other tools drive it by.
 *
 *     bench --port P --ws-port P [--tls-port P] [--wss-port P] [--cert FILE --key FILE]
 *           [--serializer json|protobuf] [--compress true|false] [--loops N]
 *           [--mode standalone|frontend|backend] [--rpc local|nats|grpc] [--etcd HOST:PORT] [--nats URL]
 */
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cereus/cereus.h>

#include "echo.pb-c.h"

static cereus_status echo_raw(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)ctx;
    *out = in;
    return CEREUS_OK;
}

static cereus_status echo_slow(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return cereus_sleep(ctx, 10);
}

static cereus_status echo_notify(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)ctx;
    (void)in;
    (void)out;
    return CEREUS_OK;
}

static cereus_status echo_typed(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    (void)ctx;
    (void)user;
    const Bench__Echo *req = (const Bench__Echo *)in->message;
    Bench__Echo *reply = (Bench__Echo *)out->message;
    ProtobufCMessage base = reply->base;
    *reply = *req;
    reply->base = base;
    return CEREUS_OK;
}

static cereus_status room_join(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    static atomic_ulong next;
    (void)in;
    const char *uid = cereus_ctx_printf(ctx, "u%lu", atomic_fetch_add(&next, 1));
    CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), uid));
    CEREUS_TRY(cereus_group_add(ctx, "room", uid));
    *out = cereus_slice_str("ok");
    return CEREUS_OK;
}

static const char *members_at; /* the type of server that the players are connected to; NULL: this one */

static cereus_status room_broadcast(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_status st = cereus_group_broadcast(ctx, members_at, "room", "onMessage", cereus_raw(in));
    if (st != CEREUS_OK && st != CEREUS_E_FAILED) /* members that have gone meanwhile are no failure here */
        return st;
    *out = cereus_slice_str("ok");
    return CEREUS_OK;
}

/** bench.rpc.echo: what the client sends goes to the backend's remote, as the text of a message, and back. */
static cereus_status rpc_echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    Bench__Echo req = BENCH__ECHO__INIT;
    req.text = cereus_ctx_strdup(ctx, in);
    ProtobufCMessage *reply;
    CEREUS_TRY(cereus_rpc(ctx, "backend.echoremote.echo", &req.base, &bench__echo__descriptor, &reply, NULL));
    *out = cereus_slice_str(((Bench__Echo *)reply)->text);
    return CEREUS_OK;
}

static void leave_room(cereus_ctx *ctx, void *user)
{
    (void)user;
    const char *uid = cereus_session_uid(cereus_ctx_session(ctx));
    if (uid[0])
        cereus_group_remove(ctx, "room", uid);
}

static void create_room(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_group_create(ctx, "room");
}

static const cereus_method echo_methods[] = {
    CEREUS_RAW_REQUEST("raw", echo_raw),
    CEREUS_RAW_REQUEST("slow", echo_slow),
    CEREUS_RAW_NOTIFY("notify", echo_notify),
    {.name = "json",
     .in = CEREUS_MESSAGE,
     .out = CEREUS_MESSAGE,
     .in_type = &bench__echo__descriptor,
     .out_type = &bench__echo__descriptor,
     .fn = echo_typed},
    {.name = "proto",
     .in = CEREUS_MESSAGE,
     .out = CEREUS_MESSAGE,
     .in_type = &bench__echo__descriptor,
     .out_type = &bench__echo__descriptor,
     .fn = echo_typed},
};

static const cereus_method room_methods[] = {
    CEREUS_RAW_REQUEST("join", room_join),
    CEREUS_RAW_REQUEST("broadcast", room_broadcast),
};

static const cereus_method rpc_methods[] = {CEREUS_RAW_REQUEST("echo", rpc_echo)};

static const cereus_method remote_methods[] = {
    {.name = "echo",
     .in = CEREUS_MESSAGE,
     .out = CEREUS_MESSAGE,
     .in_type = &bench__echo__descriptor,
     .out_type = &bench__echo__descriptor,
     .fn = echo_typed},
};

static void must(cereus_status status, const cereus_error *err)
{
    if (status == CEREUS_OK)
        return;
    fprintf(stderr, "bench: %s\n", err->msg);
    exit(1);
}

static void set(cereus_app *app, const char *key, const char *value)
{
    cereus_error err = {0};
    must(cereus_config_set(cereus_app_config(app), key, value, &err), &err);
}

static void listen_on(cereus_app *app, const char *scheme, const char *port)
{
    char url[64];
    cereus_error err = {0};
    snprintf(url, sizeof url, "%s://127.0.0.1:%.5s", scheme, port);
    must(cereus_app_listen(app, url, &err), &err);
}

static const char *mode_of(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--mode") == 0)
            return argv[i + 1];
    }
    return "standalone";
}

int main(int argc, char **argv)
{
    static const struct option flags[] = {
        {"port", 1, NULL, 'p'},     {"ws-port", 1, NULL, 'w'},  {"serializer", 1, NULL, 's'},
        {"compress", 1, NULL, 'c'}, {"mode", 1, NULL, 'm'},     {"loops", 1, NULL, 'l'},
        {"set", 1, NULL, 'x'},      {"rpc", 1, NULL, 'r'},      {"etcd", 1, NULL, 'e'},
        {"nats", 1, NULL, 'n'},     {"tls-port", 1, NULL, 't'}, {"wss-port", 1, NULL, 'u'},
        {"cert", 1, NULL, 'a'},     {"key", 1, NULL, 'k'},      {0},
    };
    cereus_error err = {0};
    const char *mode = mode_of(argc, argv);
    bool backend = strcmp(mode, "backend") == 0, frontend = strcmp(mode, "frontend") == 0;
    cereus_app *app = cereus_app_new(&(cereus_app_options){
        .type = backend ? "backend" : "bench", .frontend = !backend, .cluster = backend || frontend});
    if (!app)
        return 1;
    const char *port = "0", *ws_port = "0", *tls_port = NULL, *wss_port = NULL;
    set(app, "pitaya.heartbeat.interval", "30s");
    set(app, "cereus.log.level", "error");
    set(app, "pitaya.handler.messages.compression", "false");
    for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        switch (flag) {
        case 'p':
            port = optarg;
            break;
        case 'w':
            ws_port = optarg;
            break;
        case 't':
            tls_port = optarg;
            break;
        case 'u':
            wss_port = optarg;
            break;
        case 'a':
            set(app, "cereus.tls.cert", optarg);
            break;
        case 'k':
            set(app, "cereus.tls.key", optarg);
            break;
        case 's':
            set(app, "pitaya.serializertype", strcmp(optarg, "protobuf") == 0 ? "2" : "1");
            break;
        case 'c':
            set(app, "pitaya.handler.messages.compression", optarg);
            break;
        case 'm':
            if (!backend && !frontend && strcmp(mode, "standalone") != 0) {
                fprintf(stderr, "bench: --mode is standalone, frontend or backend, not %s\n", mode);
                return 2;
            }
            break;
        case 'r':
            set(app, "cereus.cluster.rpc", optarg);
            break;
        case 'e':
            set(app, "cereus.cluster", "etcd");
            set(app, "pitaya.cluster.sd.etcd.endpoints", optarg);
            break;
        case 'n':
            set(app, "pitaya.cluster.rpc.client.nats.connect", optarg);
            set(app, "pitaya.cluster.rpc.server.nats.connect", optarg);
            break;
        case 'l':
            set(app, "cereus.loops", optarg);
            break;
        case 'x': {
            char *value = strchr(optarg, '=');
            if (!value)
                return 2;
            *value = '\0';
            set(app, optarg, value + 1);
            break;
        }
        default:
            return 2;
        }
    }
    static const char *const schemes[] = {"tcp", "ws", "tls", "wss"};
    const char *ports[] = {port, ws_port, tls_port, wss_port};
    for (size_t i = 0; !backend && i < CEREUS_COUNT(ports); i++)
        if (ports[i])
            listen_on(app, schemes[i], ports[i]);
    static const cereus_service_options on_session = {.home = CEREUS_HOME_SESSION};
    must(cereus_app_register(app, "echo", echo_methods, CEREUS_COUNT(echo_methods), &on_session, &err), &err);
    if (backend)
        must(cereus_app_register_remote(app, "echoremote", remote_methods, CEREUS_COUNT(remote_methods), &on_session,
                                        &err),
             &err);
    members_at = backend ? "bench" : NULL;
    must(cereus_app_register(app, "room", room_methods, CEREUS_COUNT(room_methods), &on_session, &err), &err);
    if (frontend)
        must(cereus_app_register(app, "rpc", rpc_methods, CEREUS_COUNT(rpc_methods), &on_session, &err), &err);
    cereus_app_on_session_close(app, leave_room, NULL);
    cereus_app_spawn(app, NULL, create_room, NULL);

    sigset_t ends; /* before the start, so that every thread has them blocked and the wait gets them */
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGQUIT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    must(cereus_app_start(app, &err), &err);
    printf("READY");
    for (size_t i = 0, listener = 0; !backend && i < CEREUS_COUNT(ports); i++)
        if (ports[i])
            printf(" %s=%s", schemes[i], strstr(cereus_app_address(app, listener++), "//") + 2);
    printf("\n");
    fflush(stdout);
    cereus_app_wait(app, true);
    cereus_app_free(app);
    return 0;
}
