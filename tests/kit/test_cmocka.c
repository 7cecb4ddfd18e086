/* With cmocka's header before the kit's, what fails is the cmocka test, with the message and at its line; the teardown
 * cleans up and the next test runs. In a child, whose words are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <cereus/test.h>

#include "game.h"

static int tear_down(void **state)
{
    *state = cereus_test_end(*state);
    return 0;
}

enum { FAILING_LINE = __LINE__ + 7 };
static void a_test_that_fails_half_way(void **state)
{
    cereus_test_app *t = cereus_test_new(game_new(), CEREUS_TEST_SOCKETS);
    *state = t;
    cereus_test_start(t);
    cereus_test_client *c = cereus_test_connect(t, CEREUS_TEST_WS);
    cereus_test_call(c, "room.join", "{}");
    cereus_test_call(c, "room.join", "{\"name\":\"never said\"}");
}

static void a_test_that_passes(void **state)
{
    *state = cereus_test_new(game_new(), CEREUS_TEST_MEMORY);
    cereus_test_start(*state);
}

static int run_both(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_test_that_fails_half_way, tear_down),
        cmocka_unit_test_teardown(a_test_that_passes, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

static void check(int what, const char *text, const char *said)
{
    if (what)
        return;
    fprintf(stderr, "%s\nsaid: %s\n", text, said);
    exit(1);
}

int main(void)
{
    int fds[2];
    check(pipe(fds) == 0, "pipe", "");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        exit(run_both()); /* which also looks for leaks, where there is a sanitizer */
    }
    close(fds[1]);
    char said[8192];
    size_t len = 0;
    for (ssize_t n; len < sizeof said - 1 && (n = read(fds[0], said + len, sizeof said - 1 - len)) > 0;)
        len += (size_t)n;
    said[len] = '\0';
    close(fds[0]);
    int status;
    waitpid(pid, &status, 0);
    char line[64];
    snprintf(line, sizeof line, "test_cmocka.c:%d: error", FAILING_LINE);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 1, "one test of two was to fail", said);
    check(strstr(said, "a reply to \"room.join\" expected, but an error for \"room.join\": code \"ROOM-400\"") != NULL,
          "what came was to be told", said);
    check(strstr(said, line) != NULL, "the line was to be told", said);
    check(strstr(said, "[       OK ] a_test_that_passes") != NULL, "the other test was to pass", said);
    return 0;
}
