/* tests/unit/app/test_mistakes.c: what people get wrong, and the one line that each mistake is answered with. A row is a
 * program of its own, in a child process; the whole of its standard error is compared.
 *
 * {busy} is a port that somebody listens on, {free} one that nobody does, {dir} the test's folder, {tls} the certificates'.
 */
#include "test.h"

#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cereus/cereus.h>

#define LISTEN "--listen=tcp://127.0.0.1:0 "

typedef cereus_status setup_fn(cereus_app *app, cereus_error *err);

/* ---- what games do wrong ---- */

static cereus_status raw_echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status any_echo(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return CEREUS_OK;
}

static const cereus_method good[] = {CEREUS_RAW_REQUEST("join", raw_echo)};

static cereus_status add(cereus_app *app, const char *name, const cereus_method *methods, size_t count,
                         const cereus_service_options *options, cereus_error *err)
{
    return cereus_app_register(app, name, methods, count, options, err);
}

static cereus_status service_twice(cereus_app *app, cereus_error *err)
{
    CEREUS_TRY(add(app, "room", good, 1, NULL, err));
    return add(app, "room", good, 1, NULL, err);
}

static cereus_status service_with_a_dot(cereus_app *app, cereus_error *err)
{
    return add(app, "room.chat", good, 1, NULL, err);
}

static cereus_status no_methods(cereus_app *app, cereus_error *err)
{
    return add(app, "room", NULL, 0, NULL, err);
}

static cereus_status method_twice(cereus_app *app, cereus_error *err)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("join", raw_echo), CEREUS_RAW_REQUEST("join", raw_echo)};
    return add(app, "room", methods, 2, NULL, err);
}

static cereus_status method_without_name(cereus_app *app, cereus_error *err)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("join", raw_echo), CEREUS_RAW_REQUEST("", raw_echo)};
    return add(app, "room", methods, 2, NULL, err);
}

static cereus_status method_without_function(cereus_app *app, cereus_error *err)
{
    static const cereus_method methods[] = {{.name = "join", .in = CEREUS_RAW, .out = CEREUS_RAW}};
    return add(app, "room", methods, 1, NULL, err);
}

static cereus_status method_without_descriptor(cereus_app *app, cereus_error *err)
{
    static const cereus_method methods[] = {
        {.name = "join", .in = CEREUS_MESSAGE, .out = CEREUS_NOTHING, .fn = any_echo}};
    return add(app, "room", methods, 1, NULL, err);
}

static cereus_status home_without_key(cereus_app *app, cereus_error *err)
{
    return add(app, "room", good, 1, &(cereus_service_options){.home = CEREUS_HOME_KEY}, err);
}

static cereus_status dictionary_twice(cereus_app *app, cereus_error *err)
{
    CEREUS_TRY(cereus_app_add_dictionary(app, "game.room.join", 1, err));
    return cereus_app_add_dictionary(app, "game.room.leave", 1, err);
}

static cereus_status module_twice(cereus_app *app, cereus_error *err)
{
    static const cereus_module module = {0};
    CEREUS_TRY(cereus_app_add_module(app, "storage", &module, NULL, err));
    return cereus_app_add_module(app, "storage", &module, NULL, err);
}

static cereus_status refuse(cereus_ctx *ctx, void *user)
{
    return cereus_fail(ctx, "DB-1", "no database at db.local: set game.db");
}

static cereus_status module_that_fails(cereus_app *app, cereus_error *err)
{
    static const cereus_module module = {.init = refuse};
    return cereus_app_add_module(app, "storage", &module, NULL, err);
}

static cereus_status listen_as_backend(cereus_app *app, cereus_error *err)
{
    return cereus_app_listen(app, "ws://127.0.0.1:3250", err);
}

static cereus_status register_late(cereus_app *app, cereus_error *err)
{
    CEREUS_TRY(cereus_app_listen(app, "tcp://127.0.0.1:0", err));
    CEREUS_TRY(cereus_config_set(cereus_app_config(app), "cereus.log.level", "error", err));
    CEREUS_TRY(cereus_app_start(app, err));
    return add(app, "room", good, 1, NULL, err);
}

static cereus_status few_descriptors(cereus_app *app, cereus_error *err)
{
    return setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 256, .rlim_max = 256}) ? CEREUS_E_IO : CEREUS_OK;
}

static cereus_status as_nobody(cereus_app *app, cereus_error *err)
{
    return getuid() != 0 || setuid(65534) == 0 ? CEREUS_OK : CEREUS_E_IO;
}

/* ---- the table ---- */

typedef struct row {
    const char *name;
    int code;
    const char *line; /* all that is printed */
    const char *args; /* blanks between them */
    const char *file; /* contents of {dir}/game.yaml */
    const char *env;  /* CEREUS_LOOPS */
    setup_fn *setup;
    const char *type; /* NULL: "game" */
    bool backend;
    bool warning; /* it runs; `line` is part of its log */
} row;

static const row rows[] = {
    /* where to listen */
    {"frontend without a listener", 1,
     "a frontend needs a listener: call cereus_app_listen() or set cereus.listen, for example to ws://0.0.0.0:3250"},
    {"port taken", 1,
     "cannot listen on tcp://127.0.0.1:{busy}: Address already in use; another program listens there: choose another "
     "port, or 0 for any",
     .args = "--listen=tcp://127.0.0.1:{busy}"},
    {"two listeners on one port", 1,
     "listener \"ws://127.0.0.1:{free}\": the listener \"tcp://0.0.0.0:{free}\" has that port already; give each its "
     "own",
     .args = "--listen=tcp://0.0.0.0:{free},ws://127.0.0.1:{free}"},
    {"address of another machine", 1,
     "cannot listen on tcp://192.0.2.1:{free}: Cannot assign requested address; this machine has no such address: "
     "0.0.0.0 is all of them",
     .args = "--listen=tcp://192.0.2.1:{free}"},
    {"privileged port", 1,
     "cannot listen on tcp://127.0.0.1:81: Permission denied; ports below 1024 need privileges: choose a higher one",
     .args = "--listen=tcp://127.0.0.1:81", .setup = as_nobody},
    {"url of the web", 1, "listener \"http://0.0.0.0:3250\": must begin with tcp://, tls://, ws:// or wss://",
     .args = "--listen=http://0.0.0.0:3250"},
    {"url without a port", 1, "listener \"ws://0.0.0.0\": needs a port from 0 to 65535, like tcp://0.0.0.0:3250",
     .args = "--listen=ws://0.0.0.0"},
    {"url with a path", 1, "listener \"ws://0.0.0.0:3250/game\": takes no path, only HOST:PORT",
     .args = "--listen=ws://0.0.0.0:3250/game"},
    {"backend with a listener in the settings", 1,
     "cereus.listen: a backend takes no players; remove it (flag --listen)", .args = LISTEN, .backend = true},
    {"backend with a listener in the code", 1,
     "listener \"ws://127.0.0.1:3250\": a backend takes no players; make the app a frontend",
     .setup = listen_as_backend, .backend = true},

    /* certificates */
    {"TLS without a certificate", 1,
     "a tls:// or wss:// listener needs a certificate: set cereus.tls.cert to its PEM file",
     .args = "--listen=wss://127.0.0.1:0"},
    {"certificate without a key", 1,
     "a tls:// or wss:// listener needs a certificate: set cereus.tls.key to its PEM file",
     .args = "--listen=wss://127.0.0.1:0 --tls.cert={tls}/server.crt"},
    {"certificate that is not there", 1, "cereus.tls.cert, cereus.tls.key: {dir}/none.crt: No such file or directory",
     .args = "--listen=wss://127.0.0.1:0 --tls.cert={dir}/none.crt --tls.key={tls}/server.key"},
    {"key of another certificate", 1,
     "cereus.tls.cert, cereus.tls.key: {tls}/other.key: this key does not belong to the certificate {tls}/server.crt",
     .args = "--listen=wss://127.0.0.1:0 --tls.cert={tls}/server.crt --tls.key={tls}/other.key"},
    {"certificate that nobody uses", 0,
     "level=warn msg=\"cereus.tls.cert is set, but no listener begins with tls:// or wss://\" from=\"flag --tls.cert\"",
     .args = LISTEN "--log.level=warn --tls.cert={tls}/server.crt", .warning = true},

    /* settings */
    {"number out of range", 2, "cereus.loops: \"99\" is out of range, 0 to 64 (from flag --loops)",
     .args = LISTEN "--loops=99"},
    {"time without a unit", 2,
     "pitaya.heartbeat.interval: \"30\" needs a unit, like 5s (from flag --heartbeat.interval)",
     .args = LISTEN "--heartbeat.interval=30"},
    {"time of nothing", 2,
     "pitaya.groups.memory.tickduration: \"0s\" is out of range, 1ms to 24h (from flag --groups.memory.tickduration)",
     .args = LISTEN "--groups.memory.tickduration=0s"},
    {"none of the choices", 2, "cereus.log.level: \"loud\" is none of debug, info, warn, error (from flag --log.level)",
     .args = LISTEN "--log.level=loud"},
    {"serializer that does not exist", 2,
     "pitaya.serializertype: \"3\" is out of range, 1 to 2 (from flag --serializertype)",
     .args = LISTEN "--serializertype=3"},
    {"flag with a slip", 2, "--lops: is not a known flag, did you mean --cereus.loops?", .args = LISTEN "--lops=2"},
    {"flag that nobody knows", 2, "--frobnicate: is not a known flag, see --help; the game's own keys: --set KEY=VALUE",
     .args = LISTEN "--frobnicate=2"},
    {"flag without its value", 2, "--loops: needs a value", .args = LISTEN "--loops"},
    {"word that is no flag", 2, "\"start\" is not a flag, see --help", .args = LISTEN "start"},
    {"key with a slip", 2,
     "cereus.sesions.max: is not a known key, did you mean cereus.sessions.max? (from flag --set cereus.sesions.max)",
     .args = LISTEN "--set cereus.sesions.max=5"},
    {"variable with a bad value", 1, "cereus.loops: \"many\" is not a whole number (from environment CEREUS_LOOPS)",
     .args = LISTEN, .env = "many"},
    {"file that is not there", 2, "{dir}/none.yaml: cannot be opened: No such file or directory",
     .args = LISTEN "--config={dir}/none.yaml"},
    {"folder in place of a file", 2, "{dir}: cannot be read: Is a directory", .args = LISTEN "--config={dir}"},
    {"file that is not YAML", 2, "{dir}/game.yaml:2:11: not YAML: mapping values are not allowed in this context",
     .args = LISTEN "--config={dir}/game.yaml", .file = "cereus:\n  loops: 2: 3\n"},
    {"file with a bad value", 2, "cereus.loops: \"99\" is out of range, 0 to 64 (from {dir}/game.yaml:2:10)",
     .args = LISTEN "--config={dir}/game.yaml", .file = "cereus:\n  loops: 99\n"},
    {"key twice in a file", 2, "cereus.loops: is set twice, first at {dir}/game.yaml:1:15 (from {dir}/game.yaml:3:10)",
     .args = LISTEN "--config={dir}/game.yaml", .file = "cereus.loops: 1\ncereus:\n  loops: 2\n"},
    {"list for one value", 2, "cereus.loops: takes one number, not a list (from {dir}/game.yaml:1:15)",
     .args = LISTEN "--config={dir}/game.yaml", .file = "cereus.loops: [1, 2]\n"},
    {"unknown key in a file", 0,
     "level=warn msg=configuration warning=\"cereus.lops: is not a known key, did you mean cereus.loops? (from "
     "{dir}/game.yaml:1:14)\"",
     .args = LISTEN "--log.level=warn --config={dir}/game.yaml", .file = "cereus.lops: 1\n", .warning = true},
    {"few file descriptors", 0,
     "level=warn msg=\"few file descriptors: each player takes one\" limit=256 needed=4096 fix=\"ulimit -n 4096, "
     "LimitNOFILE=4096 in a systemd unit\"",
     .args = LISTEN "--log.level=warn", .setup = few_descriptors, .warning = true},

    /* code */
    {"type with a dot", 1,
     "app type \"my.game\": it is the first part of the routes TYPE.SERVICE.METHOD; give cereus_app_new() a type "
     "without "
     "dots and blanks, like \"game\"",
     .args = LISTEN, .type = "my.game"},
    {"type of nothing", 1,
     "app type \"\": it is the first part of the routes TYPE.SERVICE.METHOD; give cereus_app_new() a type without dots "
     "and blanks, like \"game\"",
     .args = LISTEN, .type = ""},
    {"service twice", 1, "service \"room\" is registered already: give this one another name, or both one table",
     .setup = service_twice},
    {"service with a dot", 1, "a service needs a name without dots and blanks, not \"room.chat\"",
     .setup = service_with_a_dot},
    {"service without methods", 1, "service \"room\" has no methods: give cereus_app_register() a table of them",
     .setup = no_methods},
    {"method twice", 1, "service \"room\": method \"join\" stands in the table twice, remove or rename one",
     .setup = method_twice},
    {"method without a name", 1, "service \"room\": method number 2 needs a name without dots and blanks",
     .setup = method_without_name},
    {"method without a function", 1, "service \"room\": method \"join\": set exactly one of fn, raw, json",
     .setup = method_without_function},
    {"typed method without a descriptor", 1,
     "service \"room\": method \"join\": in is CEREUS_MESSAGE, so in_type must be its descriptor",
     .setup = method_without_descriptor},
    {"home by key without a key", 1, "service \"room\": CEREUS_HOME_KEY needs a key function",
     .setup = home_without_key},
    {"code of the dictionary twice", 1, "duplicated route(route: game.room.leave, code: 1)", .setup = dictionary_twice},
    {"module twice", 1, "module with name storage already exists", .setup = module_twice},
    {"module that does not start", 1, "module \"storage\": no database at db.local: set game.db",
     .args = LISTEN "--log.level=error", .setup = module_that_fails},
    {"service after the start", 1, "you shouldn't change services while the app is already running",
     .setup = register_late},
};

/* ---- running a row ---- */

static char dir[] = "/tmp/cereus-mistakes-XXXXXX";
static char busy[8], free_port[8];

/** @p text with its places filled in. */
static const char *fill(const char *text, char *out, size_t cap)
{
    const char *tls = getenv("TEST_TLS");
    const struct {
        const char *place, *value;
    } places[] = {{"{busy}", busy}, {"{free}", free_port}, {"{dir}", dir}, {"{tls}", tls ? tls : "TEST_TLS"}};
    size_t len = 0;
    while (*text) {
        const char *value = NULL;
        for (size_t i = 0; i < CEREUS_COUNT(places) && !value; i++) {
            size_t place_len = strlen(places[i].place);
            if (strncmp(text, places[i].place, place_len) == 0) {
                value = places[i].value;
                text += place_len;
            }
        }
        size_t value_len = value ? strlen(value) : 1;
        assert_true(len + value_len < cap);
        memcpy(out + len, value ? value : text++, value_len);
        len += value_len;
    }
    out[len] = '\0';
    return out;
}

static void stop(cereus_app *app, void *user)
{
    cereus_app_shutdown(app);
}

/** The program: as a game is written. */
static int run_game(const row *r, char *args)
{
    cereus_error err = {0};
    char *argv[16] = {(char *)"game"};
    int argc = 1;
    for (char *arg; (arg = strsep(&args, " "));) {
        if (*arg)
            argv[argc++] = arg;
    }
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = r->type, .frontend = !r->backend});
    cereus_app_on_started(app, stop, NULL);
    if (r->setup && r->setup(app, &err) != CEREUS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    return cereus_app_main(app, argc, argv);
}

static void write_file(const char *name, const char *text)
{
    char path[100];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static bool run_row(const row *r)
{
    char args[1000], want[1000], got[8192];
    int err[2], status;
    if (r->file)
        write_file("game.yaml", r->file);
    fill(r->args ? r->args : "", args, sizeof args);
    fill(r->line, want, sizeof want - 1);
    assert_int_equal(pipe(err), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(err[1], STDERR_FILENO);
        close(err[0]);
        close(err[1]);
        alarm(60); /* whatever happens, it ends */
        if (r->env)
            setenv("CEREUS_LOOPS", r->env, 1);
        int code = run_game(r, args);
        fflush(NULL);
        _exit(code);
    }
    close(err[1]);
    size_t len = 0;
    for (ssize_t n; (n = read(err[0], got + len, sizeof got - 1 - len)) > 0;)
        len += (size_t)n;
    got[len] = '\0';
    close(err[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    bool right = r->warning ? strstr(got, want) != NULL : strcmp(got, strcat(want, "\n")) == 0;
    right = right && WIFEXITED(status) && WEXITSTATUS(status) == r->code;
    if (!right)
        print_error("%s: status %#x, printed:\n%swanted, with exit code %d:\n%s\n", r->name, (unsigned)status, got,
                    r->code, want);
    return right;
}

/** A socket on a free port of 127.0.0.1, whose number goes to @p text; @p take: somebody listens there. */
static int hold_port(char text[8], bool take)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    snprintf(text, 8, "%u", ntohs(addr.sin_port));
    if (take)
        assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void each_mistake_is_answered_with_one_line_that_says_what_to_change(void **state)
{
    char path[100];
    assert_non_null(mkdtemp(dir));
    int taken = hold_port(busy, true);
    close(hold_port(free_port, false));
    size_t wrong = 0;
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++)
        wrong += !run_row(&rows[i]);
    close(taken);
    snprintf(path, sizeof path, "%s/game.yaml", dir);
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(wrong, 0);
}

TEST_MAIN(cmocka_unit_test(each_mistake_is_answered_with_one_line_that_says_what_to_change))
