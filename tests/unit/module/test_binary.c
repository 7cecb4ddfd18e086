/* tests/unit/module/test_binary.c: programs beside a server: what they say, how they end, and what they must not get. */
#include "game.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "module/binary.h"

/* ---- a server whose log is kept ---- */

enum { LINES_MAX = 400 };

typedef struct server {
    cereus_app *app;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    size_t count;           /* guarded by mu */
    char *lines[LINES_MAX]; /* guarded by mu */
    cereus_log_level levels[LINES_MAX];
    size_t end_count;            /* guarded by mu */
    cereus_binary_end ends[100]; /* guarded by mu */
    bool shut_down_at_end;
} server;

static void on_log(cereus_log_level level, const char *line, size_t len, void *user)
{
    server *s = user;
    pthread_mutex_lock(&s->mu);
    if (s->count < LINES_MAX) {
        s->levels[s->count] = level;
        s->lines[s->count++] = strndup(line, len);
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mu);
}

static void on_end(cereus_app *app, const cereus_binary_end *end, void *user)
{
    server *s = user;
    CHECK(app == s->app);
    pthread_mutex_lock(&s->mu);
    if (s->end_count < 100)
        s->ends[s->end_count++] = *end;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mu);
    if (s->shut_down_at_end)
        cereus_app_shutdown(app);
}

static void wait_locked(server *s, struct timespec until, const char *what)
{
    if (pthread_cond_timedwait(&s->changed, &s->mu, &until) != ETIMEDOUT)
        return;
    for (size_t i = 0; i < s->count; i++)
        fprintf(stderr, "%s\n", s->lines[i]);
    pthread_mutex_unlock(&s->mu);
    fail_msg("waited too long for %s", what);
}

static struct timespec deadline(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += GAME_WAIT_S;
    return t;
}

static size_t find_locked(const server *s, const char *text)
{
    size_t i = 0;
    while (i < s->count && !strstr(s->lines[i], text))
        i++;
    return i;
}

/** Wait until the log has a line with @p text: its number. */
static size_t await_line(server *s, const char *text)
{
    struct timespec until = deadline();
    size_t i;
    pthread_mutex_lock(&s->mu);
    while ((i = find_locked(s, text)) == s->count)
        wait_locked(s, until, text);
    pthread_mutex_unlock(&s->mu);
    return i;
}

static bool logged(server *s, const char *text)
{
    pthread_mutex_lock(&s->mu);
    bool found = find_locked(s, text) < s->count;
    pthread_mutex_unlock(&s->mu);
    return found;
}

/** A number that stands behind @p text in the log. */
static long await_number(server *s, const char *text)
{
    size_t i = await_line(s, text);
    return atol(strstr(s->lines[i], text) + strlen(text));
}

static void await_ends(server *s, size_t count)
{
    struct timespec until = deadline();
    pthread_mutex_lock(&s->mu);
    while (s->end_count < count)
        wait_locked(s, until, "an end");
    pthread_mutex_unlock(&s->mu);
}

static server *serve(void)
{
    server *s = calloc(1, sizeof *s);
    assert_non_null(s);
    pthread_mutex_init(&s->mu, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->app = cereus_app_new(&(cereus_app_options){.frontend = true});
    assert_int_equal(cereus_app_set_log(s->app, on_log, s), CEREUS_OK);
    assert_int_equal(cereus_app_listen(s->app, "tcp://127.0.0.1:0", NULL), CEREUS_OK);
    assert_int_equal(cereus_config_set(cereus_app_config(s->app), "cereus.loops", "2", NULL), CEREUS_OK);
    assert_int_equal(cereus_config_set(cereus_app_config(s->app), "cereus.watchdog.threshold", "0s", NULL), CEREUS_OK);
    return s;
}

static void stop(server *s)
{
    cereus_app_shutdown(s->app);
    cereus_app_wait(s->app, false);
}

static void end(server *s)
{
    cereus_app_free(s->app);
    for (size_t i = 0; i < s->count; i++)
        free(s->lines[i]);
    pthread_mutex_destroy(&s->mu);
    pthread_cond_destroy(&s->changed);
    free(s);
}

/* the head of a loop that a script must not leave by itself, and that does not outlive a test which was killed */
#define WHILE_TESTED "while kill -0 $TEST_PID 2>/dev/null;"

/** Run @p script as the module "prog". */
static void add(server *s, const char *script, cereus_binary_options opt)
{
    char pid[24];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("TEST_PID", pid, 1);
    const char *args[] = {"-c", script, "prog", "two words"};
    opt.path = "/bin/sh";
    opt.args = args;
    opt.arg_count = CEREUS_COUNT(args);
    opt.on_end = on_end;
    opt.on_end_user = s;
    assert_int_equal(cereus_app_add_binary(s->app, "prog", &opt, NULL), CEREUS_OK);
}

static server *serve_script(const char *script, cereus_binary_options opt)
{
    server *s = serve();
    add(s, script, opt);
    cereus_error err = {0};
    if (cereus_app_start(s->app, &err))
        fail_msg("%s", err.msg);
    return s;
}

/** The process is gone, or a zombie that waits for init. */
static void await_gone(long pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    for (int ms = 0; ms < GAME_WAIT_S * 1000; ms++) { /* nobody tells of a process that is not our child */
        FILE *f = fopen(path, "r");
        if (!f)
            return;
        char *line = fgets(text, sizeof text, f);
        fclose(f);
        if (!line || strstr(text, ") Z") || strstr(text, ") X"))
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("process %ld is still there: %s", pid, text);
}

/* ---- what it says ---- */

static void lines_go_to_the_log(void **state)
{
    setenv("BINARY_TEST_MARK", "from the environment", 1);
    server *s =
        serve_script("echo \"hello $1 $BINARY_TEST_MARK\"; echo dear me >&2; pwd; printf 'tt \\001\\377\\000 \"q\"\\n';"
                     "head -c 70000 /dev/zero | tr '\\0' x; echo; printf 'no newline'",
                     (cereus_binary_options){0});
    size_t hello = await_line(s, "hello two words from the environment");
    size_t last = await_line(s, "no newline"), oops = await_line(s, "dear me");
    pthread_mutex_lock(&s->mu);
    assert_int_equal(s->levels[hello], CEREUS_LOG_INFO);
    assert_int_equal(s->levels[oops], CEREUS_LOG_ERROR);
    assert_int_equal(s->levels[last], CEREUS_LOG_INFO);
    assert_non_null(strstr(s->lines[hello], "module=prog"));
    assert_non_null(strstr(s->lines[find_locked(s, "tt ")], "\\\"q\\\""));
    char cwd[1024];
    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_true(find_locked(s, cwd) < s->count);
    assert_true(find_locked(s, "part=86") < s->count); /* 64 KiB in pieces of 768 bytes */
    assert_true(find_locked(s, "part=87") == s->count);
    pthread_mutex_unlock(&s->mu);
    await_ends(s, 1);
    assert_int_equal(s->ends[0].exit_code, 0);
    assert_int_equal(s->ends[0].signal, 0);
    assert_false(s->ends[0].restarts || s->ends[0].stopping);
    assert_true(cereus_app_counter(s->app, "binary_lines_cut") == 1);
    stop(s);
    assert_false(logged(s, "shutdown failed")); /* it had ended long ago */
    end(s);
}

static unsigned long long ignored_signals(server *s)
{
    static const char head[] = "SigIgn:\\t";
    pthread_mutex_lock(&s->mu); /* more may be said yet */
    size_t i = find_locked(s, head);
    unsigned long long set = i < s->count ? strtoull(strstr(s->lines[i], head) + strlen(head), NULL, 16) : ~0ull;
    pthread_mutex_unlock(&s->mu);
    return set;
}

static void it_gets_nothing_of_ours(void **state)
{
    server *s = serve_script("for f in /proc/$$/fd/*; do echo \"fd ${f##*/} $(readlink $f)\"; done;"
                             "grep -E '^Sig(Blk|Ign)' /proc/self/status; read line || echo 'no input'; echo over",
                             (cereus_binary_options){0});
    await_line(s, "msg=over");
    assert_false(logged(s, "socket:"));
    assert_false(logged(s, "anon_inode"));
    assert_true(logged(s, "SigBlk:\\t0000000000000000"));
    assert_int_equal(ignored_signals(s) & 0x7fffffff, 0); /* 32 and 33 are the C library's: make leaves them ignored */
    assert_true(logged(s, "no input"));
    stop(s);
    end(s);
}

/* ---- its start and end ---- */

static void one_that_does_not_start_ends_the_start(void **state)
{
    server *s = serve();
    cereus_error err = {0};
    assert_int_equal(cereus_app_add_binary(s->app, "p", &(cereus_binary_options){0}, &err), CEREUS_E_INVALID);
    assert_int_equal(cereus_app_add_binary(s->app, "p", &(cereus_binary_options){.path = "/no/such"}, &err), CEREUS_OK);
    assert_int_equal(cereus_app_add_binary(s->app, "p", &(cereus_binary_options){.path = "/no/such"}, &err),
                     CEREUS_E_EXISTS);
    assert_int_equal(cereus_app_start(s->app, &err), CEREUS_E_FAILED);
    assert_string_equal(err.msg, "module \"p\": /no/such: no such file or directory");
    end(s);
}

static void it_is_asked_to_end_and_its_last_words_are_heard(void **state)
{
    server *s = serve_script("trap 'echo bye; exit 4' TERM; echo ready; " WHILE_TESTED " do sleep 0.02; done",
                             (cereus_binary_options){.restart = CEREUS_RESTART_ALWAYS});
    await_line(s, "ready");
    stop(s);
    assert_true(logged(s, "bye"));
    assert_int_equal(s->end_count, 1);
    assert_true(s->ends[0].stopping && !s->ends[0].restarts && s->ends[0].exit_code == 4);
    assert_false(logged(s, "shutdown failed"));
    assert_int_equal(kill((pid_t)s->ends[0].pid, 0), -1);
    assert_int_equal(errno, ESRCH);
    end(s);
}

static void one_that_will_not_is_killed(void **state)
{
    server *s = serve_script("trap '' TERM; echo ready; " WHILE_TESTED " do sleep 0.02; done",
                             (cereus_binary_options){.grace_ms = 50});
    await_line(s, "ready");
    stop(s);
    assert_true(logged(s, "timeout waiting to binary module to die"));
    assert_int_equal(s->end_count, 1);
    assert_true(s->ends[0].exit_code == -1 && s->ends[0].signal == SIGKILL);
    end(s);
}

static void its_children_end_with_it(void **state)
{
    server *s = serve_script("sh -c 'trap \"\" TERM; echo \"grandchild $$\"; " WHILE_TESTED " do sleep 0.05; done' &"
                             "trap 'exit 0' TERM; " WHILE_TESTED " do sleep 0.02; done",
                             (cereus_binary_options){0});
    long pid = await_number(s, "grandchild ");
    stop(s);
    await_gone(pid);
    assert_false(logged(s, "shutdown failed"));
    end(s);
}

static void who_leaves_the_group_does_not_hold_the_stop(void **state)
{
    server *s = serve_script("setsid sh -c 'echo \"runaway $$\"; exec sleep 60' & wait", (cereus_binary_options){0});
    long pid = await_number(s, "runaway ");
    stop(s); /* it keeps the pipes open */
    assert_int_equal(s->end_count, 1);
    assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
    end(s);
}

static void it_is_restarted_as_the_policy_says(void **state)
{
    static const struct {
        cereus_restart policy;
        const char *script;
        bool restarts;
    } rows[] = {
        {CEREUS_RESTART_NEVER, "exit 3", false},     {CEREUS_RESTART_ON_FAILURE, "exit 0", false},
        {CEREUS_RESTART_ON_FAILURE, "exit 3", true}, {CEREUS_RESTART_ON_FAILURE, "kill -9 $$", true},
        {CEREUS_RESTART_ALWAYS, "exit 0", true},
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        server *s = serve_script(
            rows[i].script,
            (cereus_binary_options){.restart = rows[i].policy, .backoff_ms = 1, .backoff_max_ms = 3600 * 1000});
        await_ends(s, rows[i].restarts ? 4 : 1);
        for (size_t n = 0; n < (rows[i].restarts ? 4u : 1u); n++) {
            assert_int_equal(s->ends[n].restarts, rows[i].restarts);
            assert_int_equal(s->ends[n].restart_ms, rows[i].restarts ? 1u << n : 0);
        }
        if (rows[i].restarts) {
            assert_true(cereus_app_counter(s->app, "binary_restarts") >= 3);
            assert_true(s->ends[0].pid != s->ends[1].pid);
        }
        stop(s);
        end(s);
    }
}

static void a_restart_that_fails_is_tried_again(void **state)
{
    char path[] = "/tmp/cereus-binary-XXXXXX", script[200];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(dprintf(fd, "#!/bin/sh\nrm %s\nexit 1\n", path) > 0);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    server *s = serve();
    cereus_binary_options opt = {
        .path = path, .restart = CEREUS_RESTART_ALWAYS, .backoff_ms = 1, .on_end = on_end, .on_end_user = s};
    assert_int_equal(cereus_app_add_binary(s->app, "prog", &opt, NULL), CEREUS_OK);
    assert_int_equal(cereus_app_start(s->app, NULL), CEREUS_OK);
    snprintf(script, sizeof script, "%s: no such file", path);
    await_line(s, script);
    assert_true(logged(s, "cannot be restarted"));
    stop(s); /* while it backs off */
    end(s);
}

static void its_end_may_stop_the_server(void **state)
{
    server *s = serve();
    s->shut_down_at_end = true;
    add(s, "exit 1", (cereus_binary_options){0});
    assert_int_equal(cereus_app_start(s->app, NULL), CEREUS_OK);
    cereus_app_wait(s->app, false);
    assert_int_equal(s->end_count, 1);
    end(s);
}

static void making_one_copes_without_memory(void **state)
{
    const char *args[] = {"a", "b"};
    cereus_binary_options opt = {.path = "/bin/sh", .args = args, .arg_count = 2};
    crs_binary *b = NULL;
    for (size_t n = 1; !b; n++) {
        assert_true(n < 20);
        crs_alloc_fail_at(n);
        b = crs_binary_new("x", &opt);
        crs_alloc_fail_at(0);
    }
    crs_binary_free(b);
    crs_binary_free(NULL);
}

TEST_MAIN(cmocka_unit_test(lines_go_to_the_log), cmocka_unit_test(it_gets_nothing_of_ours),
          cmocka_unit_test(one_that_does_not_start_ends_the_start),
          cmocka_unit_test(it_is_asked_to_end_and_its_last_words_are_heard),
          cmocka_unit_test(one_that_will_not_is_killed), cmocka_unit_test(its_children_end_with_it),
          cmocka_unit_test(who_leaves_the_group_does_not_hold_the_stop),
          cmocka_unit_test(it_is_restarted_as_the_policy_says), cmocka_unit_test(a_restart_that_fails_is_tried_again),
          cmocka_unit_test(its_end_may_stop_the_server), cmocka_unit_test(making_one_copes_without_memory))
