/* A test program that has nothing of ours but what is installed: public headers, libcereus-test.a, libcereus. */
#include <cereus/cereus.h>
#include <cereus/test.h>

static cereus_status greet(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "hello %.*s", (int)in.len, (const char *)in.data));
    return CEREUS_OK;
}

static const cereus_method room[] = {CEREUS_RAW_REQUEST("greet", greet)};

static cereus_app *game_new(void)
{
    cereus_app *app = cereus_app_new(&(cereus_app_options){.frontend = true});
    cereus_test_check(cereus_app_register(app, "room", room, CEREUS_COUNT(room), NULL, NULL) == CEREUS_OK);
    return app;
}

int main(void)
{
    static const cereus_test_mode modes[] = {CEREUS_TEST_MEMORY, CEREUS_TEST_SOCKETS};
    for (size_t i = 0; i < CEREUS_COUNT(modes); i++) {
        cereus_test_app *t = cereus_test_new(game_new(), modes[i]);
        cereus_test_start(t);
        cereus_test_client *c = cereus_test_connect(t, CEREUS_TEST_WS);
        cereus_test_check(strcmp(cereus_test_call(c, "room.greet", "world"), "hello world") == 0);
        cereus_test_end(t);
    }
    return 0;
}
