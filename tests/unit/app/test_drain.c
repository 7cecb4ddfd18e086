/* tests/unit/app/test_drain.c: what SIGTERM does to a server with sessions, seen from outside: a child process each time,
 * whose log is read as it comes and whose modules count what the test tells them to. */
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cereus/cereus.h>

enum { WAIT_S = 60 };

/** Seen by both processes. */
typedef struct shared {
    atomic_int sessions; /* what module b counts */
    atomic_int asked;    /* how often it was */
} shared;

static shared *both;

typedef struct child {
    pid_t pid;
    FILE *log; /* its standard error */
    char line[4096];
    uint16_t port;
} child;

/* ---- in the child ---- */

static void say_draining(cereus_ctx *ctx, void *user)
{
    cereus_log_info(ctx, "module %s drains", (const char *)user);
}

static int64_t count_sessions(cereus_ctx *ctx, void *user)
{
    atomic_fetch_add(&both->asked, 1);
    return cereus_sleep(ctx, 1) == CEREUS_OK ? atomic_load(&both->sessions) : 0;
}

static int64_t count_nonsense(cereus_ctx *ctx, void *user)
{
    return -5;
}

static int64_t count_for_ever(cereus_ctx *ctx, void *user)
{
    cereus_log_info(ctx, "counting");
    cereus_sleep(ctx, 3600 * 1000);
    return 1;
}

static void shut_down(cereus_ctx *ctx, void *user)
{
    cereus_app_shutdown(cereus_ctx_app(ctx));
}

static cereus_status say_shutdown(cereus_ctx *ctx, void *user)
{
    cereus_log_info(ctx, "module %s is shut down", (const char *)user);
    return CEREUS_OK;
}

static cereus_status init_for_ever(cereus_ctx *ctx, void *user)
{
    cereus_log_info(ctx, "initialising");
    return cereus_sleep(ctx, 3600 * 1000);
}

typedef void setup_fn(cereus_app *app);

static void add(cereus_app *app, const char *name, cereus_module m)
{
    m.shutdown = say_shutdown;
    if (cereus_app_add_module(app, name, &m, (void *)name, NULL))
        _exit(98);
}

static void two_session_modules(cereus_app *app)
{
    add(app, "a", (cereus_module){.start_draining = say_draining, .session_count = count_nonsense});
    add(app, "b", (cereus_module){.start_draining = say_draining, .session_count = count_sessions});
}

static void a_module_that_shuts_down(cereus_app *app)
{
    two_session_modules(app);
    add(app, "c", (cereus_module){.start_draining = shut_down});
}

static void a_module_that_counts_for_ever(cereus_app *app)
{
    add(app, "slow", (cereus_module){.session_count = count_for_ever});
}

static void a_module_that_never_begins(cereus_app *app)
{
    add(app, "first", (cereus_module){0});
    add(app, "slow", (cereus_module){.init = init_for_ever});
}

static void nothing_more(cereus_app *app)
{
}

/* ---- in the test ---- */

/** Read the child's log until a line holds @p text. */
static void await_line(child *c, const char *text)
{
    while (fgets(c->line, sizeof c->line, c->log)) {
        if (strstr(c->line, "Sanitizer"))
            fail_msg("%s", c->line);
        if (strstr(c->line, text))
            return;
    }
    fail_msg("the child never said \"%s\"", text);
}

static child *start(setup_fn *setup, const char *drain, const char *const *more)
{
    child *c = calloc(1, sizeof *c);
    assert_non_null(c);
    int err[2];
    const char *argv[12] = {"drain", "--listen=tcp://127.0.0.1:0", "--loops=2", "--session.drain.period=5ms", drain};
    int argc = 5;
    for (size_t i = 0; more && more[i]; i++)
        argv[argc++] = more[i];
    assert_int_equal(pipe(err), 0);
    fflush(NULL);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        dup2(err[1], STDERR_FILENO);
        close(err[0]);
        close(err[1]);
        alarm(WAIT_S); /* whatever happens, it ends */
        cereus_app *app = cereus_app_new(&(cereus_app_options){.frontend = true});
        setup(app);
        _exit(cereus_app_main(app, argc, (char **)(void *)argv));
    }
    close(err[1]);
    c->log = fdopen(err[0], "r");
    assert_non_null(c->log);
    return c;
}

static child *start_up(setup_fn *setup, const char *drain, const char *const *more)
{
    child *c = start(setup, drain, more);
    await_line(c, "tcp://127.0.0.1:");
    c->port = (uint16_t)atoi(strstr(c->line, "127.0.0.1:") + 10);
    await_line(c, "all modules started!");
    return c;
}

#define DRAIN    "--session.drain.enabled=true"
#define NO_DRAIN "--session.drain.enabled=false"

static void send_signal(child *c, int sig)
{
    assert_int_equal(kill(c->pid, sig), 0);
}

/** It ends with @p code, saying @p text (may be NULL) before. */
static void expect_end(child *c, const char *text, int code)
{
    int status;
    if (text)
        await_line(c, text);
    while (fgets(c->line, sizeof c->line, c->log)) {
        if (strstr(c->line, "Sanitizer"))
            fail_msg("%s", c->line);
    }
    fclose(c->log);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), code);
    free(c);
}

static int try_to_connect(const child *c)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(c->port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&in, sizeof in) == 0)
        return fd;
    close(fd);
    return -1;
}

static int reset(void **state)
{
    atomic_store(&both->sessions, 3);
    atomic_store(&both->asked, 0);
    return 0;
}

static void sigterm_waits_until_no_module_counts_sessions(void **state)
{
    child *c = start_up(two_session_modules, DRAIN, NULL);
    send_signal(c, SIGTERM);
    await_line(c, "module b drains");
    await_line(c, "module a drains");
    await_line(c, "sessions remain\" remaining=3");
    await_line(c, "sessions remain\" remaining=3");
    assert_true(atomic_load(&both->asked) >= 2);
    atomic_store(&both->sessions, 1);
    await_line(c, "sessions remain\" remaining=1");
    atomic_store(&both->sessions, 0);
    await_line(c, "draining has ended");
    expect_end(c, "module b is shut down", 0);
}

static void the_timeout_ends_it(void **state)
{
    child *c = start_up(two_session_modules, DRAIN, (const char *[]){"--session.drain.timeout=1s", NULL});
    send_signal(c, SIGTERM);
    await_line(c, "why=pitaya.session.drain.timeout");
    assert_non_null(strstr(c->line, "remaining=3"));
    expect_end(c, "module b is shut down", 0);
    c = start_up(a_module_that_counts_for_ever, DRAIN, (const char *[]){"--session.drain.timeout=100ms", NULL});
    send_signal(c, SIGTERM);
    expect_end(c, "why=pitaya.session.drain.timeout", 0);
}

static void any_further_signal_ends_it_at_once(void **state)
{
    const int signals[] = {SIGINT, SIGQUIT, SIGTERM};
    for (size_t i = 0; i < CEREUS_COUNT(signals); i++) {
        child *c = start_up(two_session_modules, DRAIN, (const char *[]){"--session.drain.period=1h", NULL});
        send_signal(c, SIGTERM);
        await_line(c, "sessions remain");
        send_signal(c, signals[i]);
        await_line(c, "asked to stop now");
        assert_non_null(strstr(c->line, "remaining=3"));
        expect_end(c, "module a is shut down", 0);
    }
}

static void a_module_that_hangs_does_not_keep_it_from_ending(void **state)
{
    child *c = start_up(a_module_that_counts_for_ever, DRAIN, NULL);
    send_signal(c, SIGTERM);
    await_line(c, "counting");
    send_signal(c, SIGTERM);
    expect_end(c, "asked to stop now", 0);
}

static void a_shutdown_while_draining_ends_it(void **state)
{
    child *c = start_up(a_module_that_shuts_down, DRAIN, NULL);
    send_signal(c, SIGTERM);
    await_line(c, "asked to stop now");
    expect_end(c, "module a is shut down", 0);
}

static void other_signals_and_other_settings_do_not_drain(void **state)
{
    const int signals[] = {SIGINT, SIGQUIT};
    for (size_t i = 0; i < CEREUS_COUNT(signals) + 1; i++) {
        bool off = i == CEREUS_COUNT(signals);
        child *c = start_up(two_session_modules, off ? NO_DRAIN : DRAIN, NULL);
        send_signal(c, off ? SIGTERM : signals[i]);
        while (fgets(c->line, sizeof c->line, c->log) && !strstr(c->line, "module a is shut down"))
            assert_null(strstr(c->line, "drain"));
        assert_int_equal(atomic_load(&both->asked), 0);
        expect_end(c, NULL, 0);
    }
}

static void the_servers_own_sessions_count_and_newcomers_are_refused(void **state)
{
    child *c = start_up(nothing_more, DRAIN, NULL);
    int player = try_to_connect(c), newcomer;
    assert_true(player >= 0);
    send_signal(c, SIGTERM);
    await_line(c, "draining: the stop waits"); /* the player may still be in the kernel's queue */
    while ((newcomer = try_to_connect(c)) >= 0 || errno == ECONNRESET) { /* until the loops have got to it */
        if (newcomer >= 0)
            close(newcomer);
        sched_yield();
    }
    assert_int_equal(errno, ECONNREFUSED);
    close(player);
    expect_end(c, "draining has ended", 0);
}

static void newcomers_can_be_served_while_draining(void **state)
{
    child *c = start_up(two_session_modules, DRAIN, (const char *[]){"--drain.refuse=false", NULL});
    atomic_store(&both->sessions, 1);
    send_signal(c, SIGTERM);
    await_line(c, "remaining=1");
    int players[2];
    for (int i = 0; i < 2; i++)
        assert_true((players[i] = try_to_connect(c)) >= 0);
    await_line(c, "remaining=2");
    for (int i = 0; i < 2; i++)
        close(players[i]);
    await_line(c, "remaining=1");
    atomic_store(&both->sessions, 0);
    expect_end(c, "draining has ended", 0);
}

static void a_signal_ends_a_start_that_waits(void **state)
{
    child *c = start(a_module_that_never_begins, NO_DRAIN, NULL);
    await_line(c, "initialising");
    send_signal(c, SIGTERM);
    await_line(c, "module first is shut down");
    expect_end(c, "module \"slow\": stopped by a signal while it started", 1);
}

#define DRAIN_TEST(f) cmocka_unit_test_setup(f, reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        DRAIN_TEST(sigterm_waits_until_no_module_counts_sessions),
        DRAIN_TEST(the_timeout_ends_it),
        DRAIN_TEST(any_further_signal_ends_it_at_once),
        DRAIN_TEST(a_module_that_hangs_does_not_keep_it_from_ending),
        DRAIN_TEST(a_shutdown_while_draining_ends_it),
        DRAIN_TEST(other_signals_and_other_settings_do_not_drain),
        DRAIN_TEST(the_servers_own_sessions_count_and_newcomers_are_refused),
        DRAIN_TEST(newcomers_can_be_served_while_draining),
        DRAIN_TEST(a_signal_ends_a_start_that_waits),
    };
    both = mmap(NULL, sizeof *both, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (both == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
