/* tests/unit/app/test_dump.c: what a server writes about itself when it is asked. */
#include "game.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int release[2];          /* a pipe */
static gate inside = GATE_INIT; /* a handler that stands still */
static gate untied = GATE_INIT; /* one that waits on the leash */
static leash lead;

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static char *lines[20000]; /* guarded by mu: of the log */
static size_t line_count;  /* guarded by mu */

static void on_log(cereus_log_level level, const char *line, size_t len, void *user)
{
    pthread_mutex_lock(&mu);
    if (line_count < CEREUS_COUNT(lines))
        lines[line_count++] = strndup(line, len);
    pthread_mutex_unlock(&mu);
}

/** Is there a line with both texts (the second may be NULL)? */
static bool logged(const char *text, const char *other)
{
    bool found = false;
    pthread_mutex_lock(&mu);
    for (size_t i = 0; i < line_count && !found; i++)
        found = strstr(lines[i], text) && (!other || strstr(lines[i], other));
    pthread_mutex_unlock(&mu);
    return found;
}

static cereus_status hold_the_loop(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    char byte;
    gate_pass(&inside);
    CHECK(read(release[0], &byte, 1) == 1);
    return reply_text(out, "done");
}

static cereus_status compute(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begin.tv_sec) * 1000000000 + now.tv_nsec - begin.tv_nsec < 5000000);
    return reply_text(out, "done");
}

static cereus_status wait_a_little(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_sleep(ctx, 20));
    return reply_text(out, "done");
}

static cereus_status wait_long(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    gate_pass(&untied);
    CEREUS_TRY(leash_hold(&lead, ctx));
    return reply_text(out, "done");
}

static cereus_status bind_me(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), text_of(in)));
    return reply_text(out, "bound");
}

static cereus_status dump_here(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_app_dump(cereus_ctx_app(ctx));
    return reply_text(out, "dumped");
}

static const cereus_method room[] = {
    CEREUS_RAW_REQUEST("hold", hold_the_loop),   CEREUS_RAW_REQUEST("compute", compute),
    CEREUS_RAW_REQUEST("little", wait_a_little), CEREUS_RAW_REQUEST("long", wait_long),
    CEREUS_RAW_REQUEST("bind", bind_me),         CEREUS_RAW_REQUEST("dump", dump_here),
};

static game *open_game(unsigned loops)
{
    game *g = game_new(loops);
    assert_int_equal(cereus_app_set_log(g->app, on_log, NULL), CEREUS_OK);
    game_set(g, "cereus.log.level", "warn"); /* a dump that was asked for is written all the same */
    cereus_service_options opt = {.home = CEREUS_HOME_SESSION};
    GAME_SERVE(g, "room", room, &opt);
    game_start(g);
    assert_int_equal(pipe(release), 0);
    leash_init(&lead);
    gate_reset(&inside);
    gate_reset(&untied);
    return g;
}

static void close_game(game *g)
{
    game_end(g);
    while (line_count)
        free(lines[--line_count]);
    leash_fini(&lead);
    close(release[0]);
    close(release[1]);
}

static void await_line(const char *text, const char *other)
{
    for (int i = 0; !logged(text, other); i++) {
        assert_true(i < GAME_WAIT_S * 1000);
        poll(NULL, 0, 1);
    }
}

/** Dump until there is such a line: a loop of a busy machine may not answer in time. */
static void dump_until(game *g, const char *text, const char *other)
{
    for (int i = 0; !logged(text, other); i++) {
        assert_true(i < GAME_WAIT_S * 100);
        if (i % 10 == 0)
            cereus_app_dump(g->app);
        poll(NULL, 0, 10);
    }
}

/** The number behind @p name in the first line with @p text and @p other. */
static uint64_t number_in(const char *text, const char *other, const char *name)
{
    uint64_t number = 0;
    pthread_mutex_lock(&mu);
    for (size_t i = 0; i < line_count && !number; i++) {
        const char *at = strstr(lines[i], text) && strstr(lines[i], other) ? strstr(lines[i], name) : NULL;
        if (at)
            number = strtoull(at + strlen(name), NULL, 10);
    }
    pthread_mutex_unlock(&mu);
    return number;
}

static void a_dump_tells_of_sessions_queues_memory_and_counters(void **state)
{
    game *g = open_game(2);
    client *one = client_connect_on(g, GAME_TCP, 1), *two = client_connect_on(g, GAME_WS, 1);
    client *greeting = client_dial(g, GAME_TCP); /* no handshake yet */
    assert_string_equal(client_call(one, "room.bind", "alice"), "bound");
    uint64_t id = client_request(two, "room.long", "");
    gate_await(&untied, 1);
    for (int i = 0; i < 3; i++)
        client_request(two, "room.bind", "four"); /* wait in their lane */
    game_await_counter(g, "requests", 7);         /* with those of client_connect_on() at least */
    dump_until(g, "msg=\"state of a loop\" loop=1 ", "inbox_messages=3 ");
    assert_true(logged("msg=\"state of a loop\" loop=1 sessions=", " bound=1 "));
    assert_true(logged("running=1 inbox_messages=3 inbox_bytes=12 ", " fibers=1 "));
    await_line("msg=\"state of a loop\" loop=0 ", " bound=0 ");
    await_line("msg=\"state of the server\" type=game ", " loops=2 ");
    await_line("msg=\"state of memory\" ", " heap_used=");
    assert_true(number_in("state of memory", "", "resident=") > 100000);
    assert_true(number_in("state of memory", "", "fiber_stacks=") >= 1);
    await_line("msg=counters ", " requests=");
    assert_false(logged("msg=counters", "=0"));
    leash_release(&lead);
    client_expect_response(two, id, "done");
    client_close(greeting);
    close_game(g);
}

static void a_loop_that_is_held_is_told_with_its_handler(void **state)
{
    game *g = open_game(2);
    client *c = client_connect_on(g, GAME_TCP, 1);
    client_request(c, "room.hold", "");
    gate_await(&inside, 1);
    dump_until(g, "msg=\"state of a loop: busy, it did not answer\" loop=1 ", "route=game.room.hold ");
    dump_until(g, "msg=\"state of a loop\" loop=0 ", NULL);
    assert_int_equal(write(release[1], "x", 1), 1);
    dump_until(g, "msg=\"state of a loop\" loop=1 ", NULL);
    dump_until(g, "msg=\"handler held its loop\" ", "route=game.room.hold ");
    close_game(g);
}

static void the_slowest_handlers_are_named(void **state)
{
    game *g = open_game(1);
    client *c = client_connect(g, GAME_TCP);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(client_call(c, "room.little", ""), "done");
        assert_string_equal(client_call(c, "room.compute", ""), "done");
    }
    dump_until(g, "msg=\"slow handler\"", "route=game.room.little ");
    assert_true(number_in("slow handler", "room.little ", "longest_us=") >= 20000);
    assert_int_equal(number_in("slow handler", "room.little ", "calls="), 3);
    assert_int_equal(number_in("slow handler", "room.little ", "waited="), 3);
    await_line("msg=\"handler held its loop\"", "route=game.room.compute ");
    assert_true(number_in("held its loop", "room.compute ", "longest_us=") >= 5000);
    assert_int_equal(number_in("held its loop", "room.compute ", "times="), 3);
    assert_true(number_in("held its loop", "room.compute ", "total_us=") >= 15000);
    close_game(g);
}

static void *dump_all_the_time(void *arg)
{
    cereus_app *app = arg;
    for (int i = 0; i < GAME_SCALE(2000, 200); i++)
        cereus_app_dump(app);
    return NULL;
}

static void dumps_may_be_asked_for_from_anywhere_at_any_time(void **state)
{
    game *g = game_new(2);
    cereus_app_dump(g->app); /* not running: nothing */
    game_end(g);
    g = open_game(2);
    client *c = client_connect(g, GAME_TCP);
    assert_string_equal(client_call(c, "room.dump", ""), "dumped");
    await_line("state of the server", NULL);
    pthread_t threads[3];
    for (size_t i = 0; i < CEREUS_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, dump_all_the_time, g->app), 0);
    client_listen(c);
    game_stop(g); /* in the middle of it */
    for (size_t i = 0; i < CEREUS_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    cereus_app_dump(g->app);
    close_game(g);
}

static void many_sessions_are_looked_at_in_slices(void **state)
{
    enum { MANY = 5000 };
    static client *clients[GAME_SCALE(MANY, 2500)];
    game *g = open_game(1);
    for (size_t i = 0; i < CEREUS_COUNT(clients); i++)
        clients[i] = client_dial(g, GAME_TCP);
    char want[40];
    game_await_sessions(g, CEREUS_COUNT(clients));
    snprintf(want, sizeof want, " sessions=%zu bound=0 ", CEREUS_COUNT(clients));
    dump_until(g, "msg=\"state of a loop\" loop=0", want);
    close_game(g);
}

static void a_signal_asks_for_a_dump_and_stops_nothing(void **state)
{
    int err[2];
    assert_int_equal(pipe(err), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(err[1], STDERR_FILENO);
        close(err[0]);
        close(err[1]);
        alarm(60); /* whatever happens, it ends */
        char *argv[] = {(char *)"game", (char *)"--listen=tcp://127.0.0.1:0", NULL};
        cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "game", .frontend = true});
        int code = cereus_app_main(app, 2, argv);
        fflush(NULL);
        _exit(code);
    }
    close(err[1]);
    FILE *log = fdopen(err[0], "r");
    static char line[4096];
    unsigned seen = 0;
    bool asked = false, ended = false;
    while (fgets(line, sizeof line, log)) {
        if (strstr(line, "msg=listening") && !asked)
            asked = kill(pid, SIGUSR1) == 0;
        seen += strstr(line, "level=info msg=\"state of the server\"") != NULL;
        if (strstr(line, "msg=\"state of memory\"") && !ended)
            ended = kill(pid, SIGTERM) == 0;
    }
    fclose(log);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(seen, 1);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

TEST_MAIN(cmocka_unit_test(a_dump_tells_of_sessions_queues_memory_and_counters),
          cmocka_unit_test(a_loop_that_is_held_is_told_with_its_handler),
          cmocka_unit_test(the_slowest_handlers_are_named),
          cmocka_unit_test(dumps_may_be_asked_for_from_anywhere_at_any_time),
          cmocka_unit_test(many_sessions_are_looked_at_in_slices),
          cmocka_unit_test(a_signal_asks_for_a_dump_and_stops_nothing))
