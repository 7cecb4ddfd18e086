/* src/game.c: the game. One service, `room` of game.proto: players join by name, and all hear of it. */
#include "game.h"

#include "game.cereus.h"

static cereus_status on_join(cereus_ctx *ctx, const Game__Hello *req, Game__Welcome *reply)
{
    if (!*req->name)
        return cereus_fail(ctx, "ROOM-400", "who are you?"); /* what the client gets as its error */
    CEREUS_TRY(
        cereus_session_bind(ctx, cereus_ctx_session(ctx), req->name)); /* may wait: others are served meanwhile */
    CEREUS_TRY(cereus_group_add(ctx, "room", req->name));
    Game__Joined joined = GAME__JOINED__INIT;
    joined.name = req->name;
    CEREUS_TRY(game_push_on_join_group(ctx, "room", &joined));
    const char *greeting = cereus_config_get_text(cereus_app_config(cereus_ctx_app(ctx)), "game.greeting");
    reply->greeting = (char *)(greeting ? greeting : "hello"); /* protobuf-c's strings are not const */
    return CEREUS_OK;
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

static const game_room_service room = {.join = on_join};

cereus_app *game_new(cereus_error *err)
{
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "@NAME@", .frontend = true});
    if (!app || cereus_app_listen(app, "ws://127.0.0.1:3250", err) || game_room_register(app, &room, NULL, err) ||
        cereus_app_on_session_close(app, leave, NULL) || cereus_app_spawn(app, "room", open_room, NULL))
        return cereus_app_free(app);
    return app;
}
