/* src/game.c: the game. One service, `room`: players join by name, and what one says all hear. */
#include "game.h"

#include <jansson.h>

static cereus_status join(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    const char *name = json_string_value(json_object_get(in, "name"));
    if (!name || !*name)
        return cereus_fail(ctx, "ROOM-400", "who are you?");             /* what the client gets as its error */
    CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), name)); /* may wait: others are served meanwhile */
    CEREUS_TRY(cereus_group_add(ctx, "room", name));
    json_t *who = cereus_ctx_keep(ctx, json_pack("{s:s}", "name", name)); /* freed with the request */
    CEREUS_TRY(cereus_group_broadcast(ctx, NULL, "room", "onJoin", cereus_json(who)));
    const char *greeting = cereus_config_get_text(cereus_app_config(cereus_ctx_app(ctx)), "game.greeting");
    *out = json_pack("{s:s}", "greeting", greeting ? greeting : "hello");
    return CEREUS_OK;
}

static cereus_status say(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    (void)out; /* a notify has no answer */
    const char *uid = cereus_session_uid(cereus_ctx_session(ctx));
    const char *text = json_string_value(json_object_get(in, "text"));
    if (!*uid || !text)
        return CEREUS_E_INVALID;
    json_t *said = cereus_ctx_keep(ctx, json_pack("{s:s, s:s}", "name", uid, "text", text));
    return cereus_group_broadcast(ctx, NULL, "room", "onSay", cereus_json(said));
}

/* A player who is gone leaves the room. */
static void leave(cereus_ctx *ctx, void *user)
{
    (void)user;
    const char *uid = cereus_session_uid(cereus_ctx_session(ctx));
    if (*uid)
        (void)cereus_group_remove(ctx, "room", uid);
}

static void open_room(cereus_ctx *ctx, void *user)
{
    (void)user;
    (void)cereus_group_create(ctx, "room");
}

static const cereus_method room[] = {CEREUS_JSON_REQUEST("join", join), CEREUS_JSON_NOTIFY("say", say)};

cereus_app *game_new(cereus_error *err)
{
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "@NAME@", .frontend = true});
    if (!app || cereus_app_listen(app, "ws://127.0.0.1:3250", err) ||
        cereus_app_register(app, "room", room, CEREUS_COUNT(room), NULL, err) ||
        cereus_app_on_session_close(app, leave, NULL) || cereus_app_spawn(app, "room", open_room, NULL))
        return cereus_app_free(app);
    return app;
}
