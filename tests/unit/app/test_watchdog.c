/* tests/unit/app/test_watchdog.c: a handler that holds its loop is named while it does. */
#include "game.h"

#include "app/watchdog.h"

static atomic_bool give_up;

/** Computes until the log names it, as the test's own thread sees. */
static cereus_status hog_the_loop(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    while (!atomic_load(&give_up)) {
    }
    return reply_text(out, "done");
}

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status wait_a_while(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CHECK(cereus_sleep(ctx, 100) == CEREUS_OK);
    *out = in;
    return CEREUS_OK;
}

static cereus_status bind_as(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return cereus_session_bind(ctx, cereus_ctx_session(ctx), text_of(in));
}

static const cereus_method methods[] = {CEREUS_RAW_REQUEST("hog", hog_the_loop), CEREUS_RAW_REQUEST("echo", echo),
                                        CEREUS_RAW_REQUEST("wait", wait_a_while), CEREUS_RAW_REQUEST("bind", bind_as)};

static void await_log(game *g, const char *text, const char *other)
{
    while (!game_logged(g, text, other)) { /* the test's own timeout ends this */
    }
}

static void a_handler_that_holds_its_loop_is_named_with_its_session_and_stack(void **state)
{
    game *g = game_new(2);
    GAME_SERVE(g, "w", methods, NULL); /* at home on loop 1 */
    game_set(g, "cereus.watchdog.threshold", "20ms");
    game_start(g);
    client *c = client_connect_on(g, GAME_TCP, 0);
    client_call(c, "w.bind", "hugo");
    char session[64];
    snprintf(session, sizeof session, "session=%llu", (unsigned long long)client_session(c));
    client *other = client_connect_on(g, GAME_TCP, 0);
    uint64_t id = client_request(c, "w.hog", "");
    await_log(g, "a handler holds its loop", "route=game.w.hog");
    assert_true(game_logged(g, "a handler holds its loop", session));
    assert_true(game_logged(g, "a handler holds its loop", "test_app_watchdog")); /* a frame of the program */
    assert_int_equal(client_loop(other), 0);                                      /* the other loop goes on */
    atomic_store(&give_up, true);
    client_expect_response(c, id, "done");
    await_log(g, "handler that held its loop has ended", "uid=hugo");
    game_end(g);
}

static void handlers_that_wait_are_not_named(void **state)
{
    game *g = game_new(1);
    GAME_SERVE(g, "w", methods, NULL);
    game_set(g, "cereus.watchdog.threshold", "60ms");
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    uint64_t id = client_request(c, "w.wait", "x");
    client_expect_response(c, id, "x");
    assert_false(game_logged(g, "game.w.wait", NULL));
    game_end(g);
}

static void a_watchdog_comes_and_goes(void **state)
{
    crs_log log;
    crs_log_init(&log, &(crs_log_options){0});
    cereus_error err = {0};
    for (int i = 0; i < 20; i++) {
        crs_watchdog *w = NULL;
        assert_int_equal(crs_watchdog_new(&log, 1, &w, &err), CEREUS_OK);
        assert_null(crs_watchdog_free(w));
    }
    assert_null(crs_watchdog_free(NULL));
    crs_watchdog *w = NULL;
    crs_alloc_fail_at(1);
    assert_int_equal(crs_watchdog_new(&log, 1, &w, &err), CEREUS_E_NOMEM);
    crs_alloc_fail_at(0);
    assert_null(w);
}

TEST_MAIN(cmocka_unit_test(a_handler_that_holds_its_loop_is_named_with_its_session_and_stack),
          cmocka_unit_test(handlers_that_wait_are_not_named), cmocka_unit_test(a_watchdog_comes_and_goes))
