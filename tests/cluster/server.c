/* tests/cluster/server.c: a server of a cluster, for the tests of this folder to kill, to freeze, to cut off and to restart.
 *
 *     server TYPE ID DIRECTORY [KEY=VALUE|FILE...]      a TYPE that begins with "front" makes it a frontend, on a free TCP
 *     port; FILE holds settings
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cereus/cereus.h>
#include <cereus/cluster.h>

static int journal; /* DIRECTORY/journal, of all servers of a test */

static cereus_status who(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)in;
    *out = cereus_slice_str(cereus_app_id(cereus_ctx_app(ctx)));
    return CEREUS_OK;
}

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)ctx;
    *out = in;
    return CEREUS_OK;
}

/** Takes so many milliseconds. */
static cereus_status slow(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return cereus_sleep(ctx, strtoull((const char *)in.data, NULL, 10));
}

/** Acknowledged when it is written down. */
static cereus_status note(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *line = cereus_ctx_printf(ctx, "%.*s\n", (int)in.len, (const char *)in.data);
    if (!line || write(journal, line, in.len + 1) != (ssize_t)in.len + 1)
        return cereus_fail(ctx, "TEST-500", "not written");
    *out = in;
    return CEREUS_OK;
}

static cereus_status bind_to(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return cereus_session_bind(ctx, cereus_ctx_session(ctx), (const char *)in.data);
}

/** "UID UID ...": a push for each. */
static cereus_status tell(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uids[100];
    size_t count = 0;
    char *rest = NULL, *text = cereus_ctx_strdup(ctx, in);
    for (char *uid = strtok_r(text, " ", &rest); uid && count < 100; uid = strtok_r(NULL, " ", &rest))
        uids[count++] = uid;
    *out = cereus_slice_str("told");
    return cereus_push_to_users(ctx, "onTell", cereus_text("hello"), uids, count, "front", NULL, NULL);
}

/** "UID TEXT": a push with the text, and the text back. */
static cereus_status say(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    char *uid = cereus_ctx_strdup(ctx, in), *text = strchr(uid, ' ');
    const char *uids[] = {uid};
    *text++ = '\0';
    *out = in;
    return cereus_push_to_users(ctx, "onSay", cereus_text(text), uids, 1, "front", NULL, NULL);
}

/** Which frontend answers a call that names none. */
static cereus_status front(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_rpc_raw(ctx, "front.x.who", in, out, NULL);
}

/** How many servers of a type there are. */
static cereus_status members(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const cereus_server *const *servers;
    *out =
        cereus_slice_str(cereus_ctx_printf(ctx, "%zu", cereus_servers_by_type(ctx, (const char *)in.data, &servers)));
    return CEREUS_OK;
}

static cereus_status counter(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    uint64_t value = cereus_app_counter(cereus_ctx_app(ctx), (const char *)in.data);
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%llu", (unsigned long long)value));
    return CEREUS_OK;
}

static cereus_status ready(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)in;
    *out = cereus_slice_str(cereus_app_is_ready(cereus_ctx_app(ctx)) ? "yes" : "no");
    return CEREUS_OK;
}

static const cereus_method methods[] = {
    CEREUS_RAW_REQUEST("who", who),         CEREUS_RAW_REQUEST("echo", echo),       CEREUS_RAW_REQUEST("slow", slow),
    CEREUS_RAW_REQUEST("note", note),       CEREUS_RAW_REQUEST("bind", bind_to),    CEREUS_RAW_REQUEST("tell", tell),
    CEREUS_RAW_REQUEST("members", members), CEREUS_RAW_REQUEST("counter", counter), CEREUS_RAW_REQUEST("ready", ready),
    CEREUS_RAW_REQUEST("say", say),         CEREUS_RAW_REQUEST("front", front),
};

static const cereus_method remotes[] = {CEREUS_RAW_REQUEST("who", who)};

static cereus_status start(cereus_app *app, char **argv, bool frontend, cereus_error *err)
{
    CEREUS_TRY(cereus_config_set(cereus_app_config(app), "cereus.id", argv[2], err));
    for (char **arg = argv + 4; *arg; arg++) {
        char *value = strchr(*arg, '=');
        if (!value) {
            CEREUS_TRY(cereus_config_load_file(cereus_app_config(app), *arg, err));
            continue;
        }
        *value++ = '\0';
        CEREUS_TRY(cereus_config_set(cereus_app_config(app), *arg, value, err));
    }
    CEREUS_TRY(cereus_app_register(app, "x", methods, sizeof methods / sizeof *methods, NULL, err));
    CEREUS_TRY(cereus_app_register_remote(app, "x", remotes, 1, NULL, err));
    if (frontend)
        CEREUS_TRY(cereus_app_listen(app, "tcp://127.0.0.1:0", err));
    return cereus_app_start(app, err);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    char path[4096];
    snprintf(path, sizeof path, "%s/journal", argv[3]);
    journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    bool frontend = strncmp(argv[1], "front", 5) == 0;
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = argv[1], .frontend = frontend, .cluster = true});
    cereus_error err = {0};
    if (!app || journal < 0 || start(app, argv, frontend, &err)) {
        fprintf(stderr, "server: %s\n", err.msg);
        cereus_app_free(app);
        return 1;
    }
    printf("READY");
    if (frontend)
        printf(" tcp=%s", strstr(cereus_app_address(app, 0), "://") + 3);
    printf("\n");
    fflush(stdout);
    cereus_app_wait(app, true);
    cereus_app_free(app);
    close(journal);
    return 0;
}
