/* tests/kit/game.c */
#include "game.h"

#include <string.h>

static cereus_status join(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    const char *name = json_string_value(json_object_get(in, "name"));
    if (!name) {
        cereus_fail(ctx, "ROOM-400", "who are you?");
        return cereus_fail_meta(ctx, "field", "name");
    }
    CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), name));
    CEREUS_TRY(cereus_group_add(ctx, "room", name));
    json_t *hello = cereus_ctx_keep(ctx, json_pack("{s:s}", "name", name));
    CEREUS_TRY(cereus_group_broadcast(ctx, NULL, "room", "onJoin", cereus_json(hello)));
    cereus_log_info(ctx, "joined");
    *out = json_pack("{s:s, s:i}", "result", "success", "round", 1);
    return CEREUS_OK;
}

static cereus_status say(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    (void)out;
    return cereus_group_broadcast(ctx, NULL, "room", "onSay", cereus_json((json_t *)in));
}

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)ctx;
    *out = in;
    return CEREUS_OK;
}

/** Answers after so many milliseconds. */
static cereus_status wait_ms(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    CEREUS_TRY(cereus_sleep(ctx, (uint64_t)json_integer_value(json_object_get(in, "ms"))));
    *out = json_pack("{s:b}", "waited", 1);
    return CEREUS_OK;
}

static void count_letters(void *user)
{
    char stack[512 * 1024]; /* more than a fiber has: offloaded work runs on a thread's stack */
    memset(stack, 1, sizeof stack);
    *(size_t *)user = strlen("abcdefg") + (size_t)stack[sizeof stack / 2];
}

static cereus_status compute(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    (void)in;
    size_t count = 0;
    CEREUS_TRY(cereus_offload(ctx, count_letters, &count));
    *out = json_pack("{s:i}", "count", (int)count);
    return CEREUS_OK;
}

static cereus_status leave(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    (void)in;
    *out = json_object();
    return cereus_session_kick(ctx, cereus_ctx_session(ctx));
}

static cereus_status stall(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    (void)in;
    (void)out;
    for (;;)
        CEREUS_TRY(cereus_yield(ctx));
}

static int sink_deeper(volatile char *above, int depth)
{
    volatile char here[1024];
    here[0] = above ? above[0] : 1;
    return depth == 0 ? here[0] : sink_deeper(here, depth - 1) + here[0];
}

/** Takes more stack than a fiber has. */
static cereus_status sink(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    (void)ctx;
    (void)in;
    *out = json_integer(sink_deeper(NULL, 1000));
    return CEREUS_OK;
}

static const cereus_method room[] = {
    CEREUS_JSON_REQUEST("join", join),    CEREUS_JSON_NOTIFY("say", say),          CEREUS_RAW_REQUEST("echo", echo),
    CEREUS_JSON_REQUEST("wait", wait_ms), CEREUS_JSON_REQUEST("compute", compute), CEREUS_JSON_REQUEST("leave", leave),
    CEREUS_JSON_REQUEST("stall", stall),  CEREUS_JSON_REQUEST("sink", sink),
};

static void open_room(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_group_create(ctx, "room");
}

/** Rounds of a minute, for ever. */
static void play_rounds(cereus_ctx *ctx, void *user)
{
    (void)user;
    for (int round = 1; cereus_sleep(ctx, 60000) == CEREUS_OK; round++) {
        json_t *over = json_pack("{s:i}", "round", round);
        cereus_group_broadcast(ctx, NULL, "room", "onRoundOver", cereus_json(over));
        json_decref(over);
    }
}

static cereus_status check_handshake(const json_t *handshake, void *user)
{
    (void)user;
    const json_t *banned = json_object_get(json_object_get(handshake, "user"), "banned");
    return json_is_true(banned) ? CEREUS_E_INVALID : CEREUS_OK;
}

static void say_goodbye(cereus_ctx *ctx, void *user)
{
    (void)user;
    const char *uid = cereus_session_uid(cereus_ctx_session(ctx));
    cereus_log_info(ctx, "left");
    if (*uid)
        cereus_group_remove(ctx, "room", uid);
}

cereus_app *game_new(void)
{
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "game", .frontend = true});
    if (!app || cereus_app_listen(app, "ws://0.0.0.0:3250", NULL) ||
        cereus_app_register(app, "room", room, CEREUS_COUNT(room), NULL, NULL) ||
        cereus_app_add_handshake_validator(app, "banned", check_handshake, NULL) ||
        cereus_app_on_session_close(app, say_goodbye, NULL) || cereus_app_spawn(app, "room", open_room, NULL) ||
        cereus_app_spawn(app, "room", play_rounds, NULL))
        return cereus_app_free(app);
    return app;
}
