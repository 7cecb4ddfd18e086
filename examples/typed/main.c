/* examples/typed: a service from a .proto. The same handler serves JSON clients (the default) and Protobuf clients
 * (`--serializertype 2`); the generated header has the table, the registration, the pushes and what tools are told of it.
 *
 *     typed [--listen URL] [settings, see --help]
 */
#include <stdio.h>

#include <jansson.h>

#include <cereus/cereus.h>

#include "guess.cereus.h"

enum { SECRET = 42, TRIES = 5 };

static cereus_status on_try(cereus_ctx *ctx, const Guess__Attempt *req, Guess__Hint *reply)
{
    cereus_session *s = cereus_ctx_session(ctx);
    int64_t left = TRIES - 1 - cereus_session_get_int(ctx, s, "tries");
    if (left < 0)
        return cereus_fail(ctx, "GAME-403", "no tries left");
    CEREUS_TRY(cereus_session_set(ctx, s, "tries", json_integer(TRIES - left)));
    if (req->number == SECRET) {
        Guess__Won won = GUESS__WON__INIT;
        won.who = cereus_ctx_strdup(ctx, cereus_slice_str(cereus_session_remote_addr(s)));
        won.number = req->number;
        CEREUS_TRY(guess_push_on_won(ctx, s, &won));
    }
    const char *text = req->number < SECRET ? "higher" : req->number > SECRET ? "lower" : "that is it";
    reply->text = (char *)text; /* protobuf-c's strings are not const; replies are only read */
    reply->tries_left = (int32_t)left;
    return CEREUS_OK;
}

static const guess_game_service game = {.try = on_try};

int main(int argc, char **argv)
{
    cereus_error err = {0};
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "guess", .frontend = true});
    if (cereus_app_listen(app, "tcp://127.0.0.1:3251", &err) || guess_game_register(app, &game, NULL, &err) ||
        cereus_app_register_docs(app, "docs", &err) ||
        cereus_config_set(cereus_app_config(app), "pitaya.defaultpipelines.structvalidation.enabled", "true", &err)) {
        fprintf(stderr, "typed: %s\n", err.msg);
        return 1;
    }
    return cereus_app_main(app, argc, argv);
}
