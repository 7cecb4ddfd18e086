/* tests/unit/app/test_banner.c: what a start says, read from the log. */
#include "test.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cereus/cereus.h>

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static char lines[65536]; /* guarded by mu while an app runs: of the log, without what stands before `level` */

static void keep_line(cereus_log_level level, const char *line, size_t len, void *user)
{
    const char *from = strstr(line, "level=");
    pthread_mutex_lock(&mu);
    strncat(lines, from ? from : line, sizeof lines - strlen(lines) - 2);
    strcat(lines, "\n");
    pthread_mutex_unlock(&mu);
}

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    if (out)
        *out = in;
    return CEREUS_OK;
}

static cereus_app *make_app(const char *level)
{
    static const cereus_method room[] = {CEREUS_RAW_REQUEST("join", echo), CEREUS_RAW_NOTIFY("say", echo)};
    lines[0] = '\0';
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "chat", .frontend = true});
    cereus_error err = {0};
    assert_int_equal(cereus_app_set_log(app, keep_line, NULL), CEREUS_OK);
    assert_int_equal(cereus_config_set(cereus_app_config(app), "cereus.log.level", level, &err), CEREUS_OK);
    assert_int_equal(cereus_config_set(cereus_app_config(app), "cereus.loops", "2", &err), CEREUS_OK);
    assert_int_equal(cereus_config_set(cereus_app_config(app), "cereus.id", "c1", &err), CEREUS_OK);
    assert_int_equal(cereus_app_listen(app, "ws://127.0.0.1:0", &err), CEREUS_OK);
    assert_int_equal(cereus_app_register(app, "room", room, CEREUS_COUNT(room), NULL, &err), CEREUS_OK);
    return app;
}

static void run_and_end(cereus_app *app)
{
    cereus_error err = {0};
    assert_int_equal(cereus_app_start(app, &err), CEREUS_OK);
    cereus_app_shutdown(app);
    cereus_app_wait(app, false);
    cereus_app_free(app);
}

static void a_start_says_what_runs(void **state)
{
    cereus_app *app = make_app("info");
    static cereus_method many[100];
    static char names[100][24];
    for (size_t i = 0; i < CEREUS_COUNT(many); i++) {
        snprintf(names[i], sizeof names[i], "method%zu", i);
        many[i] = (cereus_method)CEREUS_RAW_REQUEST(names[i], echo);
    }
    cereus_service_options opt = {.home = CEREUS_HOME_SESSION};
    cereus_error err = {0};
    assert_int_equal(cereus_app_register(app, "many", many, CEREUS_COUNT(many), &opt, &err), CEREUS_OK);
    run_and_end(app);
    char want[400];
    snprintf(want, sizeof want,
             "level=info msg=\"server started\" type=chat id=c1 cereus=%s pid=%d loops=2 serializer=json "
             "heartbeat_ms=30000 services=2 listeners=1\n"
             "level=info msg=service name=room home=one routes=2 methods=\"join, say\"\n"
             "level=info msg=service name=many home=session routes=100 methods=\"method0, method1, ",
             CEREUS_VERSION, (int)getpid());
    assert_memory_equal(lines, want, strlen(want));
    assert_non_null(strstr(lines, "method18 and 81 more\"\n"));
    assert_non_null(strstr(lines, "level=info msg=listening address=ws://127.0.0.1:"));
    assert_null(strstr(lines, "msg=route "));
}

static void routes_are_listed_for_who_asks(void **state)
{
    run_and_end(make_app("debug"));
    assert_non_null(strstr(lines, "level=debug msg=route name=chat.room.join kind=request in=bytes out=bytes "
                                  "concurrent=false\n"));
    assert_non_null(strstr(lines, "level=debug msg=route name=chat.room.say kind=notify in=bytes out=nothing "
                                  "concurrent=false\n"));
}

static void a_quiet_start_says_nothing(void **state)
{
    run_and_end(make_app("warn"));
    assert_string_equal(lines, "");
}

/** Start with at most @p limit descriptors, in a child, and look for @p want in what it logs (NULL: nothing). */
static void start_with_limit(rlim_t limit, const char *sessions_max, const char *want)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = limit, .rlim_max = limit});
        cereus_app *app = make_app("warn");
        if (sessions_max)
            cereus_config_set(cereus_app_config(app), "cereus.sessions.max", sessions_max, NULL);
        run_and_end(app);
        bool right = want ? strcmp(lines, want) == 0 : lines[0] == '\0';
        if (!right)
            fprintf(stderr, "logged: %s\n", lines);
        fflush(NULL);
        _exit(right ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void too_few_descriptors_are_told_with_the_way_out(void **state)
{
    start_with_limit(256, NULL,
                     "level=warn msg=\"few file descriptors: each player takes one\" limit=256 needed=4096 "
                     "fix=\"ulimit -n 4096, LimitNOFILE=4096 in a systemd unit\"\n");
    start_with_limit(2000, "1000",
                     "level=warn msg=\"few file descriptors: each player takes one\" limit=2000 needed=2128 "
                     "fix=\"ulimit -n 2128, LimitNOFILE=2128 in a systemd unit, or a lower cereus.sessions.max\"\n");
    start_with_limit(2128, "1000", NULL);
    start_with_limit(4096, NULL, NULL);
}

TEST_MAIN(cmocka_unit_test(a_start_says_what_runs), cmocka_unit_test(routes_are_listed_for_who_asks),
          cmocka_unit_test(a_quiet_start_says_nothing), cmocka_unit_test(too_few_descriptors_are_told_with_the_way_out))
