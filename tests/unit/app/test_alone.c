/* tests/unit/app/test_alone.c: what is made for many servers, in a server that is the only one. */
#include "game.h"

#include <protobuf-c/protobuf-c.h>

static const char no_rpc[] = "RPC server is not running";

static cereus_status call_others(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_slice reply;
    CHECK(cereus_rpc(ctx, "other.room.join", NULL, NULL, NULL, NULL) == CEREUS_E_UNSUPPORTED);
    CHECK(strcmp(cereus_ctx_error_msg(ctx), no_rpc) == 0);
    cereus_rpc_call calls[] = {{.route = "other.room.join", .in = in}};
    CHECK(cereus_rpc_all(ctx, calls, CEREUS_COUNT(calls)) == CEREUS_E_UNSUPPORTED);
    CHECK(strcmp(cereus_ctx_error_msg(ctx), no_rpc) == 0);
    return cereus_rpc_raw(ctx, "other.room.join", in, &reply, &(cereus_rpc_options){.server_id = "x"});
}

static cereus_status look_around(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const cereus_server *const *servers;
    CHECK(!cereus_server_by_id(ctx, cereus_app_id(cereus_ctx_app(ctx))) && !cereus_server_by_id(ctx, "x"));
    CHECK(cereus_servers_by_type(ctx, NULL, &servers) == 0 && cereus_servers_by_type(ctx, "game", &servers) == 0);
    CHECK(!cereus_session_is_remote(cereus_ctx_session(ctx)));
    return cereus_session_push_to_front(ctx, cereus_ctx_session(ctx));
}

static cereus_status never(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CHECK(!"a remote is called, alone");
    return CEREUS_OK;
}

static game *alone(void)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("call", call_others),
                                            CEREUS_RAW_REQUEST("look", look_around)};
    game *g = game_new(1);
    GAME_SERVE(g, "room", methods, NULL);
    return g;
}

static void calls_to_other_servers_fail_in_words(void **state)
{
    game *g = alone();
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    assert_string_equal(client_fail(c, "room.call", "x"), "PIT-000|RPC server is not running");
    assert_false(game_logged(g, "remotes", NULL));
    game_end(g);
}

static void remotes_are_taken_and_never_called(void **state)
{
    static const cereus_method remotes[] = {CEREUS_RAW_REQUEST("never", never)};
    game *g = alone();
    assert_int_equal(cereus_app_register_remote(g->app, "back", remotes, 1, NULL, NULL), CEREUS_OK);
    game_start(g);
    assert_true(game_logged(g, "remotes are registered, but nobody can call them", "services=1"));
    client *c = client_connect(g, GAME_WS);
    assert_string_equal(client_fail(c, "back.never", ""), "PIT-404|pitaya/handler: game.back.never not found");
    json_t *docs = cereus_app_documentation(g->app, true); /* nor are they shown to tools */
    assert_int_equal(json_object_size(json_object_get(docs, "remotes")), 0);
    assert_true(json_object_size(json_object_get(docs, "handlers")) > 0);
    json_decref(docs);
    game_end(g);
}

static void there_is_nobody_else(void **state)
{
    game *g = alone();
    assert_int_equal(cereus_app_set_metadata(g->app, "region", "eu"), CEREUS_OK);
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    assert_string_equal(client_fail(c, "room.look", ""), "PIT-000|frontend session can't push to front");
    game_end(g);
}

static void it_is_ready_while_it_runs(void **state)
{
    game *g = alone();
    assert_false(cereus_app_is_ready(g->app));
    game_start(g);
    assert_true(cereus_app_is_ready(g->app));
    game_stop(g);
    assert_false(cereus_app_is_ready(g->app));
    game_end(g);
}

TEST_MAIN(cmocka_unit_test(calls_to_other_servers_fail_in_words), cmocka_unit_test(remotes_are_taken_and_never_called),
          cmocka_unit_test(there_is_nobody_else), cmocka_unit_test(it_is_ready_while_it_runs))
