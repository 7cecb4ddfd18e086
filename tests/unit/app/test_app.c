/* tests/unit/app/test_app.c: starting, stopping, and what may happen meanwhile. */
#include "game.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <time.h>

#include "base/base.h"

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static const cereus_method echo_methods[] = {CEREUS_RAW_REQUEST("echo", echo)};

static cereus_app *app_new(bool frontend)
{
    cereus_app *app = cereus_app_new(&(cereus_app_options){.frontend = frontend});
    assert_non_null(app);
    assert_int_equal(cereus_config_set(cereus_app_config(app), "cereus.loops", "2", NULL), CEREUS_OK);
    assert_int_equal(cereus_config_set(cereus_app_config(app), "cereus.log.level", "warn", NULL), CEREUS_OK);
    return app;
}

static void expect_no_start(cereus_app *app, cereus_status st, const char *text)
{
    cereus_error err = {0};
    assert_int_equal(cereus_app_start(app, &err), st);
    assert_int_equal(err.status, st);
    if (!strstr(err.msg, text))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
    assert_null(strchr(err.msg, '\n'));
    assert_null(cereus_app_address(app, 0));
    assert_int_equal(cereus_app_session_count(app), 0);
}

/* ---- making and starting ---- */

static void an_app_has_a_type_and_an_id(void **state)
{
    cereus_app *a = cereus_app_new(NULL), *b = cereus_app_new(&(cereus_app_options){.type = "chat"});
    assert_string_equal(cereus_app_type(a), "game");
    assert_string_equal(cereus_app_type(b), "chat");
    assert_int_equal(strlen(cereus_app_id(a)), 36);
    assert_int_equal(cereus_app_id(a)[14], '4'); /* a random UUID */
    assert_string_not_equal(cereus_app_id(a), cereus_app_id(b));
    assert_int_equal(cereus_config_set(cereus_app_config(b), "cereus.id", "chat-1", NULL), CEREUS_OK);
    assert_string_equal(cereus_app_id(b), "chat-1");
    int user;
    assert_null(cereus_app_user(a));
    cereus_app_set_user(a, &user);
    assert_ptr_equal(cereus_app_user(a), &user);
    assert_null(cereus_app_free(a));
    assert_null(cereus_app_free(b));
    assert_null(cereus_app_free(NULL));
}

static void a_type_that_no_route_can_name_does_not_start(void **state)
{
    static const char *const bad[] = {"my.game", "", ".", "my game"};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        cereus_app *app = cereus_app_new(&(cereus_app_options){.type = bad[i]});
        assert_non_null(app);
        char want[100];
        snprintf(want, sizeof want, "app type \"%s\": it is the first part of the routes TYPE.SERVICE.METHOD", bad[i]);
        expect_no_start(app, CEREUS_E_INVALID, want);
        cereus_app_free(app);
    }
}

static void making_an_app_copes_without_memory(void **state)
{
    cereus_app *app = NULL;
    for (size_t n = 1; !app; n++) {
        assert_true(n < 1000);
        crs_alloc_fail_at(n);
        app = cereus_app_new(NULL);
        crs_alloc_fail_at(0);
    }
    cereus_app_free(app);
}

static void a_start_that_fails_says_why_and_can_be_tried_again(void **state)
{
    cereus_app *app = app_new(true);
    cereus_error err = {0};
    expect_no_start(app, CEREUS_E_INVALID, "a frontend needs a listener");
    assert_int_equal(cereus_app_listen(app, "udp://127.0.0.1:0", &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "listener \"udp://127.0.0.1:0\": must begin with tcp://, tls://, ws:// or wss://");
    assert_int_equal(cereus_app_listen(app, "tcp://127.0.0.1", &err), CEREUS_E_INVALID);
    assert_int_equal(cereus_app_listen(app, "ws://127.0.0.1:99999", &err), CEREUS_E_INVALID);
    expect_no_start(app, CEREUS_E_INVALID, "a frontend needs a listener");
    assert_int_equal(cereus_config_set(cereus_app_config(app), "cereus.listen", "tcp://1.2.3:x", NULL), CEREUS_OK);
    expect_no_start(app, CEREUS_E_INVALID, "tcp://1.2.3:x");

    game *g = game_new(1);
    game_start(g);
    char url[100];
    snprintf(url, sizeof url, "tcp://127.0.0.1:0,%s", cereus_app_address(g->app, 0));
    assert_int_equal(cereus_config_set(cereus_app_config(app), "cereus.listen", url, NULL), CEREUS_OK);
    expect_no_start(app, CEREUS_E_IO, "another program listens there");
    game_end(g);

    assert_int_equal(cereus_config_set(cereus_app_config(app), "cereus.listen", "tcp://127.0.0.1:0", NULL), CEREUS_OK);
    assert_int_equal(cereus_app_start(app, &err), CEREUS_OK);
    assert_int_equal(strncmp(cereus_app_address(app, 0), "tcp://127.0.0.1:", 16), 0);
    assert_null(cereus_app_address(app, 1));
    cereus_app_shutdown(app);
    cereus_app_wait(app, false);
    cereus_app_free(app);
}

static void there_is_an_end_to_listeners(void **state)
{
    cereus_app *app = app_new(true);
    cereus_error err = {0};
    for (int i = 0; i < 16; i++)
        assert_int_equal(cereus_app_listen(app, "tcp://127.0.0.1:0", &err), CEREUS_OK);
    assert_int_equal(cereus_app_listen(app, "tcp://127.0.0.1:0", &err), CEREUS_E_FULL);
    assert_int_equal(cereus_app_start(app, &err), CEREUS_OK);
    assert_non_null(cereus_app_address(app, 15));
    cereus_app_shutdown(app);
    cereus_app_wait(app, false);
    cereus_app_free(app);
}

static void a_backend_takes_no_listener(void **state)
{
    cereus_app *app = app_new(false);
    cereus_error err = {0};
    assert_int_equal(cereus_app_listen(app, "tcp://127.0.0.1:0", &err), CEREUS_E_STATE);
    assert_non_null(strstr(err.msg, "a backend takes no players"));
    assert_int_equal(cereus_config_set(cereus_app_config(app), "cereus.listen", "tcp://127.0.0.1:0", NULL), CEREUS_OK);
    expect_no_start(app, CEREUS_E_INVALID, "a backend takes no players");
    cereus_app_free(app);

    app = app_new(false);
    assert_int_equal(cereus_app_start(app, &err), CEREUS_OK);
    assert_null(cereus_app_address(app, 0));
    cereus_app_shutdown(app);
    cereus_app_wait(app, false);
    cereus_app_free(app);
}

static void a_running_app_cannot_be_set_up(void **state)
{
    game *g = game_new(1);
    GAME_SERVE(g, "e", echo_methods, NULL);
    game_start(g);
    for (int stopped = 0; stopped < 2; stopped++) {
        cereus_error err = {0};
        assert_int_equal(cereus_app_start(g->app, &err), CEREUS_E_STATE);
        assert_non_null(strstr(err.msg, "cannot be started again"));
        assert_int_equal(cereus_app_listen(g->app, "tcp://127.0.0.1:0", &err), CEREUS_E_STATE);
        assert_string_equal(err.msg, "you shouldn't change listeners while the app is already running");
        assert_int_equal(cereus_app_register(g->app, "x", echo_methods, 1, NULL, &err), CEREUS_E_STATE);
        assert_int_equal(cereus_app_add_dictionary(g->app, "a.b", 1, &err), CEREUS_E_STATE);
        assert_string_equal(err.msg, "you shouldn't change the dictionary while the app is already running");
        assert_int_equal(cereus_app_set_serializer(g->app, NULL), CEREUS_E_STATE);
        assert_int_equal(cereus_app_set_log(g->app, NULL, NULL), CEREUS_E_STATE);
        assert_int_equal(cereus_app_on_session_bind(g->app, NULL, NULL), CEREUS_E_STATE);
        assert_int_equal(cereus_app_on_after_session_bind(g->app, NULL, NULL), CEREUS_E_STATE);
        assert_int_equal(cereus_app_on_session_close(g->app, NULL, NULL), CEREUS_E_STATE);
        if (!stopped)
            game_stop(g);
    }
    game_end(g);
}

static void on_started(cereus_app *app, void *user)
{
    CHECK(cereus_app_address(app, 0));
    gate_pass(user);
}

static void two_apps_in_a_process_share_nothing(void **state)
{
    gate started = GATE_INIT;
    game *a = game_new(2), *b = game_new(2);
    GAME_SERVE(a, "only-a", echo_methods, NULL);
    GAME_SERVE(b, "only-b", echo_methods, NULL);
    cereus_app_on_started(a->app, on_started, &started);
    game_start(a);
    game_start(b);
    assert_int_equal(gate_count(&started), 1);
    client *ca = client_connect(a, GAME_TCP), *cb = client_connect(b, GAME_TCP);
    assert_string_equal(client_call(ca, "only-a.echo", "x"), "x");
    client_fail(ca, "only-b.echo", "x");
    assert_string_equal(client_call(cb, "only-b.echo", "x"), "x");
    assert_int_equal(cereus_app_session_count(a->app), 1);
    assert_int_equal(cereus_app_counter(a->app, "requests"), 2);
    assert_int_equal(cereus_app_counter(b->app, "requests"), 1);
    assert_int_equal(cereus_app_counter(b->app, "no such counter"), 0);
    game_end(a);
    assert_string_equal(client_call(cb, "only-b.echo", "y"), "y");
    game_end(b);
}

/* ---- tasks ---- */

static gate ran = GATE_INIT;

static void task(cereus_ctx *ctx, void *user)
{
    CHECK(!cereus_ctx_session(ctx) && strcmp(cereus_ctx_route(ctx), "task") == 0);
    CHECK(cereus_app_user(cereus_ctx_app(ctx)));
    CHECK(cereus_yield(ctx) == CEREUS_OK || cereus_yield(ctx) == CEREUS_E_CANCELLED);
    gate_pass(&ran);
}

static void tasks_run_once_the_app_does(void **state)
{
    game *g = game_new(2);
    GAME_SERVE(g, "e", echo_methods, NULL);
    gate_reset(&ran);
    assert_int_equal(cereus_app_spawn(g->app, "nobody", task, NULL), CEREUS_E_NOT_FOUND);
    assert_int_equal(cereus_app_spawn(g->app, "e", task, NULL), CEREUS_OK);
    assert_int_equal(cereus_app_spawn(g->app, NULL, task, NULL), CEREUS_OK);
    assert_int_equal(gate_count(&ran), 0);
    game_start(g);
    gate_await(&ran, 2);
    assert_int_equal(cereus_app_spawn(g->app, "nobody", task, NULL), CEREUS_E_NOT_FOUND);
    assert_int_equal(cereus_app_spawn(g->app, "", task, NULL), CEREUS_OK);
    gate_await(&ran, 3);
    game_stop(g);
    assert_int_equal(cereus_app_spawn(g->app, "e", task, NULL), CEREUS_OK); /* dropped */
    game_end(g);
    assert_int_equal(gate_count(&ran), 3);

    g = game_new(1); /* never started: dropped too */
    assert_int_equal(cereus_app_spawn(g->app, NULL, task, NULL), CEREUS_OK);
    g->stopped = true;
    game_end(g);
    assert_int_equal(gate_count(&ran), 3);
}

static atomic_bool questions_end;

/** Everything that is `Thread: any`, as fast as it goes. */
static void *ask_all_the_time(void *arg)
{
    cereus_app *app = arg;
    while (!atomic_load(&questions_end)) {
        CHECK(cereus_app_session_count(app) < 100);
        cereus_app_counter(app, "requests");
        cereus_app_address(app, 0);
        cereus_status st = cereus_app_spawn(app, "e", task, NULL);
        CHECK(st == CEREUS_OK || st == CEREUS_E_FULL);
        gate_pass(&ran);
    }
    return NULL;
}

static void other_threads_may_ask_while_the_app_stops(void **state)
{
    for (int round = 0; round < 10; round++) {
        game *g = game_new(2);
        GAME_SERVE(g, "e", echo_methods, NULL);
        game_set(g, "cereus.mailbox.capacity", "64"); /* tasks come faster than they run */
        game_start(g);
        gate_reset(&ran);
        atomic_store(&questions_end, false);
        pthread_t asking[2];
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&asking[i], NULL, ask_all_the_time, g->app), 0);
        gate_await(&ran, 100);
        game_stop(g);
        size_t count = gate_count(&ran);
        gate_await(&ran, count + 10); /* also after the end */
        atomic_store(&questions_end, true);
        for (int i = 0; i < 2; i++)
            pthread_join(asking[i], NULL);
        assert_int_equal(cereus_app_session_count(g->app), 0);
        game_end(g);
    }
}

/* ---- stopping ---- */

static atomic_int closed_count;

static void on_close(cereus_ctx *ctx, void *user)
{
    cereus_sleep(ctx, 1); /* cancelled: at once */
    atomic_fetch_add(&closed_count, 1);
}

static cereus_status stop_the_app(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_app_shutdown(cereus_ctx_app(ctx));
    cereus_app_shutdown(cereus_ctx_app(ctx));
    return reply_text(out, "bye");
}

static void a_handler_may_stop_the_app(void **state)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("stop", stop_the_app)};
    game *g = game_new(2);
    GAME_SERVE(g, "s", methods, NULL);
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    uint64_t id = client_request(c, "s.stop", "");
    client_listen(c);
    cereus_app_wait(g->app, false);
    g->stopped = true;
    client_expect_response(c, id, "bye"); /* what was said goes out */
    client_expect_closed(c);
    cereus_app_shutdown(g->app);
    cereus_app_wait(g->app, false); /* no effect */
    game_end(g);
}

static void a_shutdown_before_the_start_is_remembered(void **state)
{
    game *g = game_new(1);
    cereus_app_wait(g->app, false); /* does not run: nothing to wait for */
    cereus_app_shutdown(g->app);
    game_start(g);
    cereus_app_wait(g->app, false);
    g->stopped = true;
    game_end(g);
}

static leash held;
static gate holding = GATE_INIT;

static cereus_status wait_for_the_end(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    gate_pass(&holding);
    cereus_status st = strcmp(text_of(in), "fd") == 0 ? leash_hold(&held, ctx) : cereus_sleep(ctx, UINT64_MAX);
    CHECK(st == CEREUS_E_CANCELLED);
    CHECK(cereus_sleep(ctx, 1) == CEREUS_E_CANCELLED && cereus_yield(ctx) == CEREUS_E_CANCELLED);
    CHECK(leash_hold(&held, ctx) == CEREUS_E_CANCELLED);
    CHECK(cereus_session_push(ctx, cereus_ctx_session(ctx), "last", cereus_text("words")) == CEREUS_OK);
    return st;
}

static void waits_end_and_answer_when_the_app_stops(void **state)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("wait", wait_for_the_end)};
    game *g = game_new(2);
    GAME_SERVE(g, "w", methods, NULL); /* at home on loop 1 */
    game_start(g);
    leash_init(&held);
    gate_reset(&holding);
    client *clients[4];
    for (unsigned i = 0; i < 4; i++) { /* also those whose answers come from another loop */
        clients[i] = client_connect_on(g, GAME_TCP, i / 2);
        client_request(clients[i], "w.wait", i % 2 ? "fd" : "sleep");
    }
    gate_await(&holding, 4);
    for (unsigned i = 0; i < 4; i++)
        client_listen(clients[i]);
    game_stop(g);
    for (unsigned i = 0; i < 4; i++) {
        client_expect_push(clients[i], "last", "words");
        event e = client_next(clients[i]);
        assert_int_equal(e.kind, EVENT_ERROR);
        assert_string_equal(client_error_text(clients[i], e), "PIT-500|cancelled, the server is stopping");
        client_expect_closed(clients[i]);
    }
    leash_fini(&held);
    game_end(g);
}

static uint16_t stop_port;

/** Until nobody listens any more: the app has begun to stop. */
static void work_into_the_stop(void *user)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(stop_port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int refused;
    do {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(fd >= 0);
        refused = connect(fd, (struct sockaddr *)&to, sizeof to);
        close(fd);
    } while (!refused);
}

static cereus_status work_and_travel(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    gate_pass(&holding);
    CHECK(cereus_offload(ctx, work_into_the_stop, NULL) == CEREUS_OK);
    for (int i = 0; i < 50; i++) /* there and back each time */
        CHECK(cereus_session_set(ctx, cereus_ctx_session(ctx), "n", json_integer(i)) == CEREUS_OK);
    *out = in;
    return CEREUS_OK;
}

static void what_was_received_before_the_stop_is_answered(void **state)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("work", work_and_travel),
                                            CEREUS_RAW_REQUEST("echo", echo)};
    game *g = game_new(2);
    GAME_SERVE(g, "w", methods, NULL); /* at home on loop 1 */
    game_start(g);
    gate_reset(&holding);
    stop_port = (uint16_t)atoi(strrchr(cereus_app_address(g->app, 0), ':') + 1);
    client *clients[2];
    uint64_t ids[2][3];
    for (unsigned i = 0; i < 2; i++) {
        clients[i] = client_connect_on(g, i ? GAME_WS : GAME_TCP, i);
        uint64_t requests = cereus_app_counter(g->app, "requests");
        ids[i][0] = client_request(clients[i], "w.work", "first");
        ids[i][1] = client_request(clients[i], "w.echo", "second"); /* these two wait for the first */
        ids[i][2] = client_request(clients[i], "w.echo", "third");
        game_await_counter(g, "requests", requests + 3);
        gate_await(&holding, i + 1);
        client_listen(clients[i]);
    }
    game_stop(g);
    for (unsigned i = 0; i < 2; i++) {
        client_expect_response(clients[i], ids[i][0], "first");
        client_expect_response(clients[i], ids[i][1], "second");
        client_expect_response(clients[i], ids[i][2], "third");
        client_expect_closed(clients[i]);
    }
    game_end(g);
}

static void *talk_until_the_end(void *arg)
{
    client *c = arg;
    while (client_next(c).kind != EVENT_CLOSED)
        client_request(c, "e.echo", "again");
    client_close(c);
    return NULL;
}

static void clients_that_talk_are_closed_when_the_app_stops(void **state)
{
    enum { CLIENTS = GAME_SCALE(64, 24) };
    for (int round = 0; round < 3; round++) {
        game *g = game_new(3);
        GAME_SERVE(g, "e", echo_methods, NULL);
        assert_int_equal(cereus_app_on_session_close(g->app, on_close, NULL), CEREUS_OK);
        game_start(g);
        atomic_store(&closed_count, 0);
        pthread_t talking[CLIENTS];
        client *clients[CLIENTS];
        for (int i = 0; i < CLIENTS; i++) {
            clients[i] = client_connect(g, i % 2 ? GAME_WS : GAME_TCP);
            for (int n = 0; n < 4; n++)
                client_request(clients[i], "e.echo", "first");
        }
        g->clients = NULL; /* each is its thread's from now on */
        for (int i = 0; i < CLIENTS; i++)
            assert_int_equal(pthread_create(&talking[i], NULL, talk_until_the_end, clients[i]), 0);
        game_await_counter(g, "requests", CLIENTS * 10);
        int64_t from = now_ms();
        game_stop(g);
        assert_true(now_ms() - from < 5000);
        for (int i = 0; i < CLIENTS; i++)
            pthread_join(talking[i], NULL);
        assert_int_equal(atomic_load(&closed_count), CLIENTS);
        game_end(g);
    }
}

static void connections_that_never_opened_do_not_hold_the_end_up(void **state)
{
    game *g = game_new(2);
    game_start(g);
    client *silent = client_dial_raw(g, GAME_WS), *half = client_dial_raw(g, GAME_WS);
    client_send_bytes(half, "GET / HTTP/1.1\r\n", 16);
    client *known = client_connect(g, GAME_TCP); /* accepted later on the same loop or not: make sure of both */
    for (int i = 0; i < 20; i++)
        client_close(client_connect(g, GAME_WS));
    client_listen(known);
    int64_t from = now_ms();
    game_stop(g);
    assert_true(now_ms() - from < 4000); /* cereus.shutdown.timeout and the handshake's are 10 s */
    (void)silent;
    game_end(g);
}

static cereus_status hold_the_loop(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    gate_pass(&holding);
    while (!game_logged(cereus_app_user(cereus_ctx_app(ctx)), "stopping took longer", NULL)) {
    }
    for (int64_t from = now_ms(); now_ms() < from + 50;) {
    } /* and through what the stop sends after saying so */
    return reply_text(out, "at last");
}

static void a_handler_that_holds_its_loop_holds_the_end_up_and_no_more(void **state)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("hold", hold_the_loop)};
    game *g = game_new(2);
    GAME_SERVE(g, "h", methods, NULL);
    game_set(g, "cereus.shutdown.timeout", "1ms");
    game_start(g);
    gate_reset(&holding);
    client *clients[2];
    for (unsigned i = 0; i < 2; i++)
        clients[i] = client_connect_on(g, GAME_TCP, i);
    for (unsigned i = 0; i < 2; i++)
        client_request(clients[i], "h.hold", "");
    gate_await(&holding, 1);
    for (unsigned i = 0; i < 2; i++)
        client_listen(clients[i]);
    game_stop(g);
    for (unsigned i = 0; i < 2; i++) {
        while (client_next(clients[i]).kind != EVENT_CLOSED) {
        }
    }
    game_end(g);
}

TEST_MAIN(cmocka_unit_test(an_app_has_a_type_and_an_id), cmocka_unit_test(a_type_that_no_route_can_name_does_not_start),
          cmocka_unit_test(making_an_app_copes_without_memory),
          cmocka_unit_test(a_start_that_fails_says_why_and_can_be_tried_again),
          cmocka_unit_test(there_is_an_end_to_listeners), cmocka_unit_test(a_backend_takes_no_listener),
          cmocka_unit_test(a_running_app_cannot_be_set_up), cmocka_unit_test(two_apps_in_a_process_share_nothing),
          cmocka_unit_test(tasks_run_once_the_app_does), cmocka_unit_test(a_handler_may_stop_the_app),
          cmocka_unit_test(a_shutdown_before_the_start_is_remembered),
          cmocka_unit_test(waits_end_and_answer_when_the_app_stops),
          cmocka_unit_test(what_was_received_before_the_stop_is_answered),
          cmocka_unit_test(clients_that_talk_are_closed_when_the_app_stops),
          cmocka_unit_test(connections_that_never_opened_do_not_hold_the_end_up),
          cmocka_unit_test(a_handler_that_holds_its_loop_holds_the_end_up_and_no_more),
          cmocka_unit_test(other_threads_may_ask_while_the_app_stops))
