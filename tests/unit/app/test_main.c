/* tests/unit/app/test_main.c: cereus_app_main() as a program would call it, in a child process each time. */
#include "test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cereus/cereus.h>

/** What a child printed and how it ended. */
typedef struct ending {
    int status; /* as waitpid() gives it */
    char out[32768], err[4096];
} ending;

static ending last;

static void say_ready(cereus_app *app, void *user)
{
    if (write(STDOUT_FILENO, "READY\n", 6) != 6)
        _exit(99);
}

static void read_all(int fd, char *text, size_t cap)
{
    size_t len = 0;
    ssize_t n;
    while ((n = read(fd, text + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    close(fd);
}

/** Run main() with these arguments; with @p sig, send that once it is ready. */
static void run(int sig, const char *env, char **argv)
{
    int out[2], err[2], argc = 0;
    assert_int_equal(pipe(out), 0);
    assert_int_equal(pipe(err), 0);
    while (argv[argc])
        argc++;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        alarm(60); /* whatever happens, it ends */
        if (env)
            setenv("CEREUS_LOOPS", env, 1);
        cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "probe", .frontend = true});
        cereus_app_on_started(app, say_ready, NULL);
        int code = cereus_app_main(app, argc, argv);
        fflush(NULL);
        _exit(code);
    }
    close(out[1]);
    close(err[1]);
    if (sig) {
        char ready[6];
        for (size_t len = 0; len < sizeof ready; len++)
            assert_int_equal(read(out[0], ready + len, 1), 1);
        assert_int_equal(kill(pid, sig), 0);
    }
    read_all(out[0], last.out, sizeof last.out);
    read_all(err[0], last.err, sizeof last.err);
    assert_int_equal(waitpid(pid, &last.status, 0), pid);
    assert_true(WIFEXITED(last.status));
}

#define RUN(sig, env, ...) run(sig, env, (char *[]){(char *)"probe", __VA_ARGS__ __VA_OPT__(, ) NULL})
#define ARG(text)          ((char *)(text))

static void signals_end_a_server_in_order(void **state)
{
    const int signals[] = {SIGINT, SIGQUIT, SIGTERM};
    for (size_t i = 0; i < CEREUS_COUNT(signals); i++) {
        RUN(signals[i], "2", ARG("--listen=tcp://127.0.0.1:0"));
        assert_int_equal(WEXITSTATUS(last.status), 0);
        assert_non_null(strstr(last.err, "stopping"));
    }
}

static void one_line_says_why_it_does_not_start(void **state)
{
    RUN(0, NULL);
    assert_int_equal(WEXITSTATUS(last.status), 1);
    assert_non_null(strstr(last.err, "a frontend needs a listener"));
    RUN(0, "many", ARG("--listen=tcp://127.0.0.1:0"));
    assert_int_equal(WEXITSTATUS(last.status), 1);
    assert_non_null(strstr(last.err, "CEREUS_LOOPS"));
    RUN(0, NULL, ARG("--listen=udp://127.0.0.1:0"));
    assert_int_equal(WEXITSTATUS(last.status), 1);
    assert_non_null(strstr(last.err, "must begin with tcp://, tls://, ws:// or wss://"));
}

static void bad_flags_have_a_code_of_their_own(void **state)
{
    RUN(0, NULL, ARG("--lisen=x"));
    assert_int_equal(WEXITSTATUS(last.status), 2);
    assert_non_null(strstr(last.err, "listen"));
    assert_string_equal(last.out, "");
    assert_ptr_equal(strchr(last.err, '\n'), last.err + strlen(last.err) - 1);
}

static void help_and_version_are_printed_and_nothing_runs(void **state)
{
    RUN(0, NULL, ARG("--help"));
    assert_int_equal(WEXITSTATUS(last.status), 0);
    assert_non_null(strstr(last.out, "cereus.loops"));
    assert_null(strstr(last.out, "READY"));
    RUN(0, NULL, ARG("--version"));
    assert_int_equal(WEXITSTATUS(last.status), 0);
    assert_string_equal(last.out, "probe (cereus " CEREUS_VERSION ")\n");
    assert_string_equal(last.err, "");
}

TEST_MAIN(cmocka_unit_test(signals_end_a_server_in_order), cmocka_unit_test(one_line_says_why_it_does_not_start),
          cmocka_unit_test(bad_flags_have_a_code_of_their_own),
          cmocka_unit_test(help_and_version_are_printed_and_nothing_runs))
