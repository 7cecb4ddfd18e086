/* tools/protoc-gen-cereus/test/typed_server.c: a game whose handlers are all typed, from good/chat.proto and
 * good/names.proto. test_typed.py plays it with clients that speak JSON and with clients that speak Protobuf; the
 * handlers do not know which.
 *
 *     typed_server [settings]     prints READY tcp=HOST:PORT
 */
#include <stdio.h>

#include <cereus/cereus.h>

#include "chat.cereus.h"
#include "names.cereus.h"

static cereus_status room_join(cereus_ctx *ctx, const Chat__JoinRequest *req, Chat__JoinReply *reply)
{
    if (!req->name[0])
        return cereus_fail(ctx, "RH-400", "who are you?");
    cereus_session *session = cereus_ctx_session(ctx);
    CEREUS_TRY(cereus_session_bind(ctx, session, req->name));
    CEREUS_TRY(cereus_group_add(ctx, "room", req->name));
    Chat__NewUser hello = CHAT__NEW_USER__INIT;
    hello.content = cereus_ctx_printf(ctx, "New user: %s", req->name);
    CEREUS_TRY(chat_push_on_new_user_group(ctx, "room", &hello));
    reply->result = "success";
    return CEREUS_OK;
}

/* To the one who sent it by session, to all others by name. */
static cereus_status room_message(cereus_ctx *ctx, const Chat__UserMessage *req)
{
    cereus_session *session = cereus_ctx_session(ctx);
    const char *own = cereus_session_uid(session), *const * uids;
    size_t count, others_count = 0;
    CEREUS_TRY(cereus_group_members(ctx, "room", &uids, &count));
    const char **others = cereus_ctx_alloc(ctx, count * sizeof *others);
    if (!others)
        return CEREUS_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(uids[i], own) != 0)
            others[others_count++] = uids[i];
    }
    CEREUS_TRY(chat_push_on_message(ctx, session, req));
    return chat_push_on_message_users(ctx, others, others_count, "game", req, NULL, NULL);
}

static int left;

static cereus_status lobby_close(cereus_ctx *ctx, const My__ChatAppV1__HTTPReq2x *req, My__ChatAppV1__FooBar *reply)
{
    (void)reply;
    return req->id == left ? CEREUS_OK : cereus_fail(ctx, NULL, "%d left", left);
}

/* Neither takes nor gives: any body will do. */
static cereus_status lobby_leave(cereus_ctx *ctx)
{
    (void)ctx;
    left++;
    return CEREUS_OK;
}

static cereus_status lobby_imported(cereus_ctx *ctx, const Elsewhere__LibX__Query *req,
                                    Elsewhere__LibX__Query__Answer *reply)
{
    reply->text = cereus_ctx_printf(ctx, "%s?", req->text);
    return CEREUS_OK;
}

static cereus_status options_ack(cereus_ctx *ctx, const My__ChatAppV1__FooBar *req, Google__Protobuf__Empty *reply)
{
    (void)ctx;
    (void)req;
    (void)reply;
    return CEREUS_OK;
}

static const chat_room_service room = {.join = room_join, .message = room_message};
/* .join_room is missing: nobody can call it */
static const my_chat_app_v1_game_http_lobby_service lobby = {
    .close2_d_map = lobby_close, .leave_room = lobby_leave, .imported = lobby_imported};
static const my_chat_app_v1_options_service options = {.ack = options_ack};

static void create_room(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_group_create(ctx, "room");
}

static void say_where(cereus_app *app, void *user)
{
    (void)user;
    printf("READY tcp=%s\n", strstr(cereus_app_address(app, 0), "//") + 2);
    fflush(stdout);
}

static bool register_all(cereus_app *app, cereus_error *err)
{
    static const cereus_service_options on_one = {.home = CEREUS_HOME_ONE}; /* in place of the .proto's KEY */
    return !chat_room_register(app, &room, NULL, err) &&
           !my_chat_app_v1_game_http_lobby_register(app, &lobby, NULL, err) &&
           !my_chat_app_v1_options_register(app, &options, &on_one, err) &&
           !cereus_app_listen(app, "tcp://127.0.0.1:0", err);
}

int main(int argc, char **argv)
{
    cereus_error err = {0};
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "game", .frontend = true});
    if (!app || !register_all(app, &err)) {
        fprintf(stderr, "typed_server: %s\n", app ? err.msg : "out of memory");
        cereus_app_free(app);
        return 1;
    }
    cereus_app_spawn(app, NULL, create_room, NULL);
    cereus_app_on_started(app, say_where, NULL);
    return cereus_app_main(app, argc, argv);
}
