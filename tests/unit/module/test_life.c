/* tests/unit/module/test_life.c: in which order services and modules are begun and ended, and what happens to a start in
 * which one of them fails. */
#include "game.h"

#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

/* ---- what happened, in order ---- */

static pthread_mutex_t story_mu = PTHREAD_MUTEX_INITIALIZER;
static char story[2000]; /* guarded by story_mu */

static void tell(const char *what, const char *who)
{
    pthread_mutex_lock(&story_mu);
    size_t len = strlen(story);
    snprintf(story + len, sizeof story - len, "%s%s %s", len ? ", " : "", what, who);
    pthread_mutex_unlock(&story_mu);
}

typedef struct part {
    const char *name;
    bool fails_init, fails_shutdown;
    unsigned loop; /* where it must run */
} part;

static void check_place(cereus_ctx *ctx, const part *p)
{
    CHECK(strcmp(cereus_ctx_route(ctx), p->name) == 0 && !cereus_ctx_session(ctx));
    CHECK(crs_loop_current && crs_loop_current->index == p->loop);
    CHECK(cereus_sleep(ctx, 1) == CEREUS_OK); /* it may wait, also at the end */
}

static cereus_status on_init(cereus_ctx *ctx, void *user)
{
    part *p = user;
    check_place(ctx, p);
    tell("init", p->name);
    if (p->fails_init)
        return cereus_fail(ctx, "X-1", "no database\nat %s", "db.example");
    return CEREUS_OK;
}

static void on_after_init(cereus_ctx *ctx, void *user)
{
    check_place(ctx, user);
    tell("after", ((part *)user)->name);
}

static void on_before_shutdown(cereus_ctx *ctx, void *user)
{
    check_place(ctx, user);
    tell("before", ((part *)user)->name);
}

static cereus_status on_shutdown(cereus_ctx *ctx, void *user)
{
    part *p = user;
    check_place(ctx, p);
    tell("shutdown", p->name);
    return p->fails_shutdown ? cereus_fail(ctx, NULL, "it hangs on") : CEREUS_OK;
}

static const cereus_module module_of_parts = {
    .init = on_init, .after_init = on_after_init, .before_shutdown = on_before_shutdown, .shutdown = on_shutdown};

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static const cereus_method methods[] = {CEREUS_RAW_REQUEST("echo", echo)};

static void add_service(game *g, part *p, cereus_home home)
{
    cereus_service_options opt = {.home = home,
                                  .init = on_init,
                                  .after_init = on_after_init,
                                  .before_shutdown = on_before_shutdown,
                                  .shutdown = on_shutdown,
                                  .user = p};
    GAME_SERVE(g, p->name, methods, &opt);
}

static void add_module(game *g, part *p)
{
    assert_int_equal(cereus_app_add_module(g->app, p->name, &module_of_parts, p, NULL), CEREUS_OK);
}

static int reset_story(void **state)
{
    story[0] = '\0';
    return 0;
}

/* ---- order ---- */

static void on_session_close(cereus_ctx *ctx, void *user)
{
    tell("closed", "session");
}

static void wait_for_ever(cereus_ctx *ctx, void *user)
{
    tell("task", "t");
    CHECK(cereus_sleep(ctx, 3600 * 1000) == CEREUS_E_CANCELLED);
    tell("cancelled", "t");
}

static void each_step_is_done_for_all_in_order_and_undone_in_reverse(void **state)
{
    part s1 = {"s1"}, s2 = {"s2", .loop = 1}, s3 = {"s3"}, m1 = {"m1"}, m2 = {"m2", .fails_shutdown = true},
         m3 = {"m3"};
    game *g = game_new(2); /* "kit" is the first service, so s1 lives on loop 1 when it has one home */
    s1.loop = 1;
    s2.loop = 0;
    add_service(g, &s1, CEREUS_HOME_ONE);
    add_service(g, &s2, CEREUS_HOME_ONE);
    add_service(g, &s3, CEREUS_HOME_SESSION);
    add_module(g, &m2);
    add_module(g, &m3);
    assert_int_equal(cereus_app_add_module_first(g->app, "m1", &module_of_parts, &m1, NULL), CEREUS_OK);
    assert_int_equal(cereus_app_add_module(g->app, "quiet", &(cereus_module){0}, NULL, NULL), CEREUS_OK);
    assert_int_equal(cereus_app_on_session_close(g->app, on_session_close, NULL), CEREUS_OK);
    assert_int_equal(cereus_app_spawn(g->app, "s1", wait_for_ever, NULL), CEREUS_OK);
    assert_string_equal(story, "");
    game_start(g);
    assert_string_equal(story, "init s1, init s2, init s3, after s1, after s2, after s3, "
                               "init m1, init m2, init m3, after m1, after m2, after m3, task t");
    client *c = client_connect(g, GAME_TCP);
    assert_string_equal(client_call(c, "s2.echo", "x"), "x");
    reset_story(NULL);
    client_listen(c);
    game_stop(g);
    assert_string_equal(story, "cancelled t, closed session, "
                               "before m3, before m2, before m1, shutdown m3, shutdown m2, shutdown m1, "
                               "before s3, before s2, before s1, shutdown s3, shutdown s2, shutdown s1");
    assert_true(game_logged(g, "shutdown failed", "name=m2 error=\"it hangs on\""));
    game_end(g);
}

/** The address as bytes. */
static struct sockaddr_in address_of(cereus_app *app)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    const char *text = cereus_app_address(app, 0);
    CHECK(text);
    in.sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1));
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return in;
}

static void try_to_connect(cereus_ctx *ctx, void *user)
{
    struct sockaddr_in in = address_of(cereus_ctx_app(ctx));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&in, sizeof in) != 0 && errno == ECONNREFUSED);
    close(fd);
    tell("refused", user);
}

static cereus_status try_to_connect_at_init(cereus_ctx *ctx, void *user)
{
    try_to_connect(ctx, user);
    return CEREUS_OK;
}

static void players_come_when_everything_is_ready_and_not_after(void **state)
{
    game *g = game_new(2);
    cereus_module m = {.init = try_to_connect_at_init,
                       .after_init = try_to_connect,
                       .before_shutdown = try_to_connect,
                       .shutdown = try_to_connect_at_init};
    assert_int_equal(cereus_app_add_module(g->app, "m", &m, (void *)"m", NULL), CEREUS_OK);
    assert_int_equal(cereus_app_spawn(g->app, NULL, try_to_connect, (void *)"t"), CEREUS_OK);
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    client_listen(c);
    game_stop(g);
    assert_string_equal(story, "refused m, refused m, refused t, refused m, refused m");
    game_end(g);
}

/* ---- failures ---- */

static void a_failed_init_ends_the_start_and_what_began(void **state)
{
    part s1 = {"s1", .loop = 1}, m1 = {"m1"}, m2 = {"m2", .fails_init = true}, m3 = {"m3"};
    game *g = game_new(2);
    add_service(g, &s1, CEREUS_HOME_ONE);
    add_module(g, &m1);
    add_module(g, &m2);
    add_module(g, &m3);
    cereus_error err = {0};
    assert_int_equal(cereus_app_start(g->app, &err), CEREUS_E_FAILED);
    assert_string_equal(err.msg, "module \"m2\": no database at db.example");
    assert_string_equal(story, "init s1, after s1, init m1, init m2, shutdown m1, before s1, shutdown s1");
    assert_null(cereus_app_address(g->app, 0));
    g->stopped = true;
    game_end(g);

    reset_story(NULL);
    part s2 = {"s2", .loop = 0, .fails_init = true};
    g = game_new(2);
    add_service(g, &s1, CEREUS_HOME_ONE);
    add_service(g, &s2, CEREUS_HOME_SESSION); /* on the first loop */
    add_module(g, &m1);
    assert_int_equal(cereus_app_start(g->app, &err), CEREUS_E_FAILED);
    assert_string_equal(err.msg, "service \"s2\": no database at db.example");
    assert_string_equal(story, "init s1, init s2, shutdown s1");
    g->stopped = true;
    game_end(g);
}

static cereus_status fail_without_words(cereus_ctx *ctx, void *user)
{
    return CEREUS_E_UNAVAILABLE;
}

static void a_status_is_reason_enough(void **state)
{
    game *g = game_new(1);
    cereus_error err = {0};
    assert_int_equal(cereus_app_add_module(g->app, "m", &(cereus_module){.init = fail_without_words}, NULL, NULL),
                     CEREUS_OK);
    assert_int_equal(cereus_app_start(g->app, &err), CEREUS_E_UNAVAILABLE);
    assert_string_equal(err.msg, "module \"m\": a server or engine cannot be reached");
    g->stopped = true;
    game_end(g);
}

static void modules_are_found_by_name_and_not_added_late(void **state)
{
    game *g = game_new(1);
    int user;
    cereus_error err = {0};
    assert_int_equal(cereus_app_add_module(g->app, "m", &(cereus_module){0}, &user, &err), CEREUS_OK);
    assert_int_equal(cereus_app_add_module_first(g->app, "m", &(cereus_module){0}, &user, &err), CEREUS_E_EXISTS);
    assert_string_equal(err.msg, "module with name m already exists");
    game_start(g);
    for (int stopped = 0; stopped < 2; stopped++) {
        err = (cereus_error){0};
        assert_ptr_equal(cereus_app_module(g->app, "m", &err), &user);
        assert_int_equal(err.status, CEREUS_OK);
        assert_null(cereus_app_module(g->app, "n", &err));
        assert_int_equal(err.status, CEREUS_E_NOT_FOUND);
        assert_string_equal(err.msg, "module with name n not found");
        assert_null(cereus_app_module(g->app, "n", NULL));
        assert_int_equal(cereus_app_add_module(g->app, "n", &(cereus_module){0}, NULL, &err), CEREUS_E_STATE);
        assert_string_equal(err.msg, "you shouldn't change modules while the app is already running");
        assert_int_equal(cereus_app_add_module_first(g->app, "n", &(cereus_module){0}, NULL, &err), CEREUS_E_STATE);
        if (!stopped)
            game_stop(g);
    }
    game_end(g);
}

static cereus_status stop_the_app(cereus_ctx *ctx, void *user)
{
    cereus_app_shutdown(cereus_ctx_app(ctx));
    return on_init(ctx, user);
}

static void a_stop_asked_for_before_the_end_of_the_start_lets_it_finish(void **state)
{
    part p = {"m"};
    game *g = game_new(1);
    cereus_module m = module_of_parts;
    m.init = stop_the_app;
    assert_int_equal(cereus_app_add_module(g->app, "m", &m, &p, NULL), CEREUS_OK);
    game_start(g);
    cereus_app_wait(g->app, false);
    g->stopped = true;
    assert_string_equal(story, "init m, after m, before m, shutdown m");
    game_end(g);
}

static cereus_status start_a_task(cereus_ctx *ctx, void *user)
{
    CHECK(cereus_app_spawn(cereus_ctx_app(ctx), NULL, wait_for_ever, NULL) == CEREUS_OK);
    return CEREUS_OK;
}

static void tasks_of_an_init_run_before_players_come(void **state)
{
    game *g = game_new(2);
    assert_int_equal(cereus_app_add_module(g->app, "m", &(cereus_module){.init = start_a_task}, NULL, NULL), CEREUS_OK);
    game_start(g);
    assert_string_equal(story, "task t");
    game_end(g);
}

#define STORY_TEST(f) cmocka_unit_test_setup(f, reset_story)
TEST_MAIN(STORY_TEST(each_step_is_done_for_all_in_order_and_undone_in_reverse),
          STORY_TEST(players_come_when_everything_is_ready_and_not_after),
          STORY_TEST(a_failed_init_ends_the_start_and_what_began), STORY_TEST(a_status_is_reason_enough),
          STORY_TEST(modules_are_found_by_name_and_not_added_late),
          STORY_TEST(a_stop_asked_for_before_the_end_of_the_start_lets_it_finish),
          STORY_TEST(tasks_of_an_init_run_before_players_come))
