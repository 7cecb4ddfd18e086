/* examples/chat: one room, as in Pitaya's chat demo, so its clients can talk here: `room.join`, `room.message` and the
 * pushes `onMembers`, `onNewUser`, `onMessage`. Beyond it: members may bring a name, the list is kept up to date when
 * somebody leaves, `room.ping` measures the way, `room.kick` throws somebody out.
 *
 *     chat [--listen URL] [--http HOST:PORT] [settings, see --help]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include <cereus/cereus.h>

#include "web.h"

enum { NAME_MAX_LEN = 32, MESSAGE_MAX_LEN = 2000 };

/** Tell one session, or everybody (@p to NULL), who is here. */
static cereus_status push_members(cereus_ctx *ctx, cereus_session *to)
{
    const char *const *uids;
    size_t count;
    CEREUS_TRY(cereus_group_members(ctx, "room", &uids, &count));
    json_t *members = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(members, json_string(uids[i]));
    json_t *all = cereus_ctx_keep(ctx, json_pack("{s:o}", "members", members));
    if (to)
        return cereus_session_push(ctx, to, "onMembers", cereus_json(all));
    return cereus_group_broadcast(ctx, NULL, "room", "onMembers", cereus_json(all));
}

/** Whoever leaves the room leaves the list. */
static void leave(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_group_remove(ctx, "room", cereus_session_uid(cereus_ctx_session(ctx)));
    push_members(ctx, NULL);
}

/** The name that a client asks for; "" when it asks for none. */
static const char *wanted_name(const json_t *in)
{
    const char *name = json_string_value(json_object_get(in, "name"));
    return name ? name : "";
}

static cereus_status join(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    cereus_session *s = cereus_ctx_session(ctx);
    const char *name = wanted_name(in);
    if (strlen(name) > NAME_MAX_LEN)
        return cereus_fail(ctx, "CHAT-400", "a name has at most %d letters", NAME_MAX_LEN);
    if (!*name) /* as Pitaya's demo does: the session's number */
        name = cereus_ctx_printf(ctx, "%llu", (unsigned long long)cereus_session_get_id(s));
    bool taken = false;
    CEREUS_TRY(cereus_group_contains(ctx, "room", name, &taken));
    if (taken)
        return cereus_fail(ctx, "CHAT-409", "somebody here is called %s already", name);

    CEREUS_TRY(cereus_session_bind(ctx, s, name));
    CEREUS_TRY(cereus_group_add(ctx, "room", name));
    CEREUS_TRY(cereus_session_on_close(ctx, s, leave, NULL));
    push_members(ctx, NULL);
    json_t *hello = json_pack("{s:o}", "content", json_sprintf("New user: %s", name));
    cereus_group_broadcast(ctx, NULL, "room", "onNewUser", cereus_json(cereus_ctx_keep(ctx, hello)));
    *out = json_pack("{s:i, s:s}", "code", 0, "result", "success");
    return CEREUS_OK;
}

static cereus_status message(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    (void)out; /* a notify */
    const char *content = json_string_value(json_object_get(in, "content"));
    const char *name = cereus_session_uid(cereus_ctx_session(ctx)); /* never what the client says it is called */
    if (!*name)
        return CEREUS_E_NOT_BOUND;
    if (!content || strlen(content) > MESSAGE_MAX_LEN)
        return cereus_fail(ctx, "CHAT-400", "a message has 1 to %d letters", MESSAGE_MAX_LEN);
    json_t *msg = cereus_ctx_keep(ctx, json_pack("{s:s, s:s}", "name", name, "content", content));
    return cereus_group_broadcast(ctx, NULL, "room", "onMessage", cereus_json(msg));
}

static cereus_status ping(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)ctx;
    *out = in;
    return CEREUS_OK;
}

static cereus_status kick(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    const char *name = wanted_name(in);
    if (!*cereus_session_uid(cereus_ctx_session(ctx)))
        return CEREUS_E_NOT_BOUND;
    CEREUS_TRY(cereus_kick_users(ctx, &name, 1, NULL, NULL, NULL));
    *out = json_pack("{s:i}", "code", 0);
    return CEREUS_OK;
}

static const cereus_method room[] = {
    CEREUS_JSON_REQUEST("join", join),
    CEREUS_JSON_NOTIFY("message", message),
    CEREUS_RAW_REQUEST("ping", ping),
    CEREUS_JSON_REQUEST("kick", kick),
};

static void open_room(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_group_create(ctx, "room");
}

/** Take `--NAME VALUE` out of the flags; what is left is for the framework. */
static const char *take_flag(int *argc, char **argv, const char *name, const char *fallback)
{
    for (int i = 1; i + 1 < *argc; i++) {
        if (strcmp(argv[i], name) != 0)
            continue;
        const char *value = argv[i + 1];
        memmove(&argv[i], &argv[i + 2], (size_t)(*argc - i - 1) * sizeof *argv);
        *argc -= 2;
        return value;
    }
    return fallback;
}

/** Once players can connect: say where, and show the page. */
static void on_started(cereus_app *app, void *user)
{
    const char *ws = cereus_app_address(app, 0) + strlen("ws://");
    char query[32], url[128];
    snprintf(query, sizeof query, "port=%s", strrchr(ws, ':') + 1);
    if (!web_start((const char *)user, query, url, sizeof url)) {
        fprintf(stderr, "chat: cannot serve the page at %s: choose another --http HOST:PORT\n", (const char *)user);
        cereus_app_shutdown(app);
        return;
    }
    printf("READY ws=%s http=%s\n", ws, url);
    printf("\n    Open %s in two windows and talk.\n    Ctrl-C ends the server.\n\n", url);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *listen = take_flag(&argc, argv, "--listen", "ws://127.0.0.1:3250");
    const char *http = take_flag(&argc, argv, "--http", "127.0.0.1:8080");
    cereus_error err = {0};
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "chat", .frontend = true});
    if (cereus_app_listen(app, listen, &err) != CEREUS_OK ||
        cereus_app_register(app, "room", room, CEREUS_COUNT(room), NULL, &err) != CEREUS_OK) {
        fprintf(stderr, "chat: %s\n", err.msg);
        return 1;
    }
    cereus_app_spawn(app, "room", open_room, NULL);
    cereus_app_on_started(app, on_started, (void *)http);
    int code = cereus_app_main(app, argc, argv);
    web_stop();
    return code;
}
