/* What the kit says when a test fails. Nothing of cmocka here: a function of our own takes the failures. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cereus/test.h>

#include "game.h"

static jmp_buf out;
static char said[8192];
static int at_line;

static void take_failure(const char *file, int line, const char *msg)
{
    snprintf(said, sizeof said, "%s", msg);
    at_line = strstr(file, "test_failures.c") ? line : -1;
    longjmp(out, 1);
}

static void stop_here(int line, const char *what)
{
    fprintf(stderr, "test_failures.c:%d: %s\n", line, what);
    exit(1);
}

/** @p call must fail the test, here, with @p text somewhere in what it says. */
#define FAILS(call, text)                                                                                             \
    do {                                                                                                              \
        int line = __LINE__;                                                                                          \
        if (setjmp(out) == 0) {                                                                                       \
            (void)(call);                                                                                             \
            stop_here(line, "this did not fail: " #call);                                                             \
        }                                                                                                             \
        if (at_line < line - 2 || at_line > line + 2) /* where a macro of several lines is depends on the compiler */ \
            stop_here(line, "it failed, but elsewhere");                                                              \
        if (!strstr(said, text)) {                                                                                    \
            fprintf(stderr, "said:   %s\nwanted: %s\n", said, text);                                                  \
            stop_here(line, "it said something else");                                                                \
        }                                                                                                             \
    } while (0)

static cereus_test_app *t;
static cereus_test_client *c;

static void expectations_say_what_came(void)
{
    FAILS(
        cereus_test_call(c, "room.join", "{}"),
        "a reply to \"room.join\" expected, but an error for \"room.join\": code \"ROOM-400\", \"who are you?\" came");
    FAILS(cereus_test_call_fails(c, "room.echo", "hello", "X-1"),
          "an error for \"room.echo\" with code X-1 expected, but a reply to \"room.echo\": hello came");
    FAILS(cereus_test_call_fails(c, "room.join", "{}", "X-1"),
          "with code X-1 expected, but an error for \"room.join\": code");
    FAILS(cereus_test_call_json(c, "room.echo", "{s:}", "a"), "json_pack(\"{s:}\"): ");
    FAILS(cereus_test_expect_json(cereus_test_call_json(c, "room.echo", "{s:i}", "a", 1), "{s:i}", "a", 2),
          "JSON {\"a\": 2} expected, but {\"a\": 1} came");
    FAILS(cereus_test_expect_json(NULL, "{}"), "JSON {} expected, but nothing came");

    cereus_test_call(c, "room.join", "{\"name\":\"alice\"}");
    FAILS(cereus_test_expect_push(c, "onSay", "{}"),
          "a push on \"onSay\": {} expected, but a push on \"onJoin\": {\"name\":\"alice\"} came");
    cereus_test_notify(c, "room.say", "\"broken");
    cereus_test_notify(c, "room.say", "[1]");
    FAILS(cereus_test_expect_push(c, "onSay", "[2]"),
          "a push on \"onSay\": [2] expected, but a push on \"onSay\": [1] came");
    cereus_test_notify(c, "room.say", "[1]");
    FAILS(cereus_test_expect_push_json(c, "onSay", "[i]", 2), "JSON [2] expected, but [1] came");
    cereus_test_notify(c, "room.say", "[1]");
    FAILS(cereus_test_expect_push_json(c, "onTell", "[i]", 2),
          "a push on \"onTell\" expected, but a push on \"onSay\"");
    cereus_test_notify(c, "room.say", "[1]");
    FAILS(cereus_test_expect_kick(c), "a kick expected, but a push on \"onSay\": [1] came");
    cereus_test_notify(c, "room.say", "[1]");
    FAILS(cereus_test_expect_closed(c), "the end of the connection expected, but a push on \"onSay\": [1] came");
    cereus_test_notify(c, "room.say", "[1]");
    FAILS(cereus_test_expect_nothing(c), "nothing expected, but a push on \"onSay\": [1] came");
    cereus_test_expect_push(c, "onSay", NULL);

    FAILS(cereus_test_check(1 + 1 == 3), "this does not hold: 1 + 1 == 3");
    FAILS(cereus_test_fail("%d players", 3), "3 players");
}

static void waits_say_that_only_time_would_help(void)
{
    FAILS(cereus_test_expect_push(c, "onSay", NULL), "a push on \"onSay\" expected, but nothing came: nothing more "
                                                     "happens at this time (cereus_test_advance() lets");
    FAILS(cereus_test_call(c, "room.wait", "{\"ms\":10}"),
          "the request on \"room.wait\" has not been answered: nothing more");
    cereus_test_advance(t, 10);
    FAILS(cereus_test_next(c) && cereus_test_next(c), "something expected, but nothing came");
    FAILS(cereus_test_await(c, 4711), "this client has sent no request number 4711");
    FAILS(cereus_test_expect_log(t, "no such line"), "no line of the log has \"no such line\" in it");
    FAILS(cereus_test_expect_sessions(t, 7), "7 sessions expected, but there are 1");
    FAILS(cereus_test_expect_counter(t, "kicks", 1000), "counter kicks: at least 1000 expected, but it is ");
    FAILS(cereus_test_gate_await(cereus_test_gate_new(t), 1), "1 passes of the gate expected, but 0 came");
    FAILS(cereus_test_expect_shutdown(t), "nobody has called cereus_app_shutdown(): nothing more happens");
    FAILS(cereus_test_leash_await(cereus_test_leash_new(t), 1), "1 handlers on the leash expected, but 0 came");
}

static void hold_out(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_sleep(ctx, 1000);
}

static void wrong_uses_are_told(void)
{
    FAILS(cereus_test_new(NULL, CEREUS_TEST_MEMORY), "got no app");
    FAILS(cereus_test_set(t, "cereus.lops", "1"), "cereus.loops");
    FAILS(cereus_test_start(t), "the app does not start: ");
    FAILS(cereus_test_start_fails(t, CEREUS_E_IO), "CEREUS_E_IO expected from the start, but CEREUS_E_STATE came: ");
    FAILS(cereus_test_run(t, "nobody", hold_out, NULL), "the task cannot be run on \"nobody\": not found");
    FAILS(cereus_test_run(t, "room", hold_out, NULL), "the task has not ended: nothing more happens");
    FAILS(cereus_test_connect_fails(t, NULL), "a refusal expected, but the client is connected");
    FAILS(cereus_test_connect_with(t, &(cereus_test_client_options){.user_json = "nonsense"}),
          "user_json is not a JSON");
    FAILS(cereus_test_connect_with(t, &(cereus_test_client_options){.user_json = "{\"banned\":true}"}),
          "a connection expected, but: the server refused the handshake, code 400");
    FAILS(cereus_test_send(c, "x", 1), "this is a player");
    cereus_test_client *raw = cereus_test_dial(t, CEREUS_TEST_TCP);
    FAILS(cereus_test_request(raw, "room.echo", ""), "this is a raw connection");
    FAILS(cereus_test_expect_push(raw, "x", NULL), "this is a raw connection");
    FAILS(cereus_test_read(raw, 1), "1 bytes expected, but 0 came: nothing more happens");
    cereus_test_send(raw, "\1\0\0\2{}", 6);
    FAILS(cereus_test_expect_closed(raw), "the end of the connection expected, but bytes came: ");
    FAILS(cereus_test_expect_nothing(raw), "nothing expected, but ");
    FAILS(cereus_test_expect_bytes(raw, "\2\0", 2),
          "these bytes expected: 2 bytes: 02 00\nbut these came: 2 bytes: 01 00");
    cereus_test_client *gone = cereus_test_connect(t, CEREUS_TEST_WS);
    cereus_test_hang_up(gone);
    FAILS(cereus_test_request(gone, "room.echo", ""), "\"room.echo\" cannot be sent: ");
    FAILS(cereus_test_request(c, "room.stall", "{}") && (cereus_test_settle(t), 1), "does a handler yield for ever?");
}

static void sockets_have_no_clock_to_move(void)
{
    cereus_test_app *other = cereus_test_new(game_new(), CEREUS_TEST_SOCKETS);
    FAILS(cereus_test_connect(other, CEREUS_TEST_TCP), "the app is not running: call cereus_test_start() first");
    FAILS(cereus_test_new_beside(NULL, other), "cereus_test_new_beside() is for CEREUS_TEST_MEMORY");
    cereus_test_start(other);
    cereus_test_client *one = cereus_test_connect(other, CEREUS_TEST_TCP);
    FAILS(cereus_test_advance(other, 1), "only the clock of CEREUS_TEST_MEMORY can be moved");
    FAILS(cereus_test_expect_nothing(one), "with sockets nobody knows what is under way");
    cereus_test_end(other);
}

static void check_inside(cereus_ctx *ctx, void *user)
{
    (void)ctx;
    (void)user;
    cereus_test_check(2 + 2 == 5);
}

/** In a child: what it prints before it ends by a signal. */
static void dies_saying(cereus_test_mode mode, bool inside, bool sinking, const char *text)
{
    int pipe_fds[2];
    if (pipe(pipe_fds) != 0)
        stop_here(__LINE__, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pipe_fds[1], STDERR_FILENO);
        cereus_test_on_fail(inside ? take_failure : NULL);
        cereus_test_app *mine = cereus_test_new(game_new(), mode);
        cereus_test_start(mine);
        if (sinking)
            cereus_test_call(cereus_test_connect(mine, CEREUS_TEST_TCP), "room.sink", "{}");
        if (inside)
            cereus_test_run(mine, "room", check_inside, NULL);
        cereus_test_check(inside);
        _exit(0);
    }
    close(pipe_fds[1]);
    char got[4096];
    size_t len = 0;
    for (ssize_t n; len < sizeof got - 1 && (n = read(pipe_fds[0], got + len, sizeof got - 1 - len)) > 0;)
        len += (size_t)n;
    got[len] = '\0';
    close(pipe_fds[0]);
    int status;
    waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != (sinking ? SIGSEGV : SIGABRT) || !strstr(got, text)) {
        fprintf(stderr, "said:   %s\nwanted: %s\n", got, text);
        stop_here(__LINE__, "the child did not end with that");
    }
}

int main(void)
{
    dies_saying(CEREUS_TEST_MEMORY, true, false, "inside the app: this does not hold: 2 + 2 == 5");
    dies_saying(CEREUS_TEST_SOCKETS, true, false, "inside the app: this does not hold: 2 + 2 == 5");
    dies_saying(CEREUS_TEST_MEMORY, false, false, "this does not hold: inside");

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which say it in their own words */
    dies_saying(CEREUS_TEST_MEMORY, true, true, "stack overflow on the fiber of game.room.sink");
#endif

    cereus_test_on_fail(take_failure);
    t = cereus_test_new(game_new(), CEREUS_TEST_MEMORY);
    cereus_test_start(t);
    c = cereus_test_connect(t, CEREUS_TEST_TCP);
    expectations_say_what_came();
    waits_say_that_only_time_would_help();
    wrong_uses_are_told();
    sockets_have_no_clock_to_move();
    cereus_test_end(t); /* after all that failed */
    return 0;
}
