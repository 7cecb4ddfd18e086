/* tests/unit/app/test_notify.c: what a service manager hears, on a real socket; and the pulse that stands behind it. */
#include "test.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cereus/cereus.h>

#include "app/app_priv.h"
#include "game.h"

/* ---- the manager's end ---- */

typedef struct manager {
    int fd;
    char folder[64];
    char address[100]; /* as NOTIFY_SOCKET has it */
    char heard[2048];  /* the last datagram */
} manager;

static void manager_init(manager *m, bool abstract)
{
    *m = (manager){.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), .folder = "/tmp/cereus-notify-XXXXXX"};
    assert_non_null(mkdtemp(m->folder));
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(m->address, sizeof m->address, "%s%s/s", abstract ? "@" : "", m->folder);
    snprintf(to.sun_path, sizeof to.sun_path, "%s", m->address);
    if (abstract)
        to.sun_path[0] = '\0';
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(m->address) + !abstract);
    assert_int_equal(bind(m->fd, (struct sockaddr *)&to, len), 0);
    setenv("NOTIFY_SOCKET", m->address, 1);
}

static void manager_fini(manager *m)
{
    close(m->fd);
    unlink(m->address);
    rmdir(m->folder);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static const char *manager_hears(manager *m)
{
    struct pollfd fd = {.fd = m->fd, .events = POLLIN};
    assert_int_equal(poll(&fd, 1, GAME_WAIT_S * 1000), 1);
    ssize_t n = recv(m->fd, m->heard, sizeof m->heard - 1, 0);
    assert_true(n > 0);
    m->heard[n] = '\0';
    return m->heard;
}

static bool manager_hears_nothing(manager *m)
{
    struct pollfd fd = {.fd = m->fd, .events = POLLIN};
    return poll(&fd, 1, 0) == 0;
}

/* ---- the messages ---- */

static void datagrams_reach_both_kinds_of_address(void **state)
{
    for (int abstract = 0; abstract < 2; abstract++) {
        manager m;
        crs_notify n;
        manager_init(&m, abstract);
        crs_notify_open(&n, NULL);
        crs_notify_send(&n, "READY=1\nSTATUS=%d\n", 42);
        assert_string_equal(manager_hears(&m), "READY=1\nSTATUS=42\n");
        assert_int_equal(n.watchdog_ms, 0);
        crs_notify_close(&n);
        crs_notify_send(&n, "late");
        assert_true(manager_hears_nothing(&m));
        manager_fini(&m);
    }
}

static void nobody_is_told_without_a_good_address(void **state)
{
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[0] = '/';
    longer[sizeof longer - 1] = '\0';
    const char *const addresses[] = {"", "relative", "/", "@", "vsock:2:1", longer};
    crs_notify n;
    unsetenv("NOTIFY_SOCKET");
    crs_notify_open(&n, NULL);
    assert_int_equal(n.fd, -1);
    for (size_t i = 0; i < CEREUS_COUNT(addresses); i++) {
        setenv("NOTIFY_SOCKET", addresses[i], 1);
        crs_notify_open(&n, NULL);
        assert_int_equal(n.fd, -1);
        crs_notify_send(&n, "READY=1");
    }
    setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
    crs_notify_open(&n, NULL);
    assert_true(n.fd >= 0);
    crs_notify_send(&n, "READY=1"); /* nobody is there: logged once, and life goes on */
    assert_true(n.failed);
    crs_notify_close(&n);
    unsetenv("NOTIFY_SOCKET");
}

static void the_watchdog_is_read_from_the_environment(void **state)
{
    static const struct {
        const char *usec, *pid;
        uint64_t want;
    } rows[] = {{"30000000", NULL, 30000}, {"30000000", "1", 0}, {"", NULL, 0},
                {"-1", NULL, 0},           {"3x", NULL, 0},      {"99999999999999999999999", NULL, 0}};
    manager m;
    manager_init(&m, true);
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        crs_notify n;
        setenv("WATCHDOG_USEC", rows[i].usec, 1);
        if (rows[i].pid)
            setenv("WATCHDOG_PID", rows[i].pid, 1);
        else
            unsetenv("WATCHDOG_PID");
        crs_notify_open(&n, NULL);
        assert_int_equal(n.watchdog_ms, rows[i].want);
        crs_notify_close(&n);
    }
    manager_fini(&m);
}

/* ---- a server ---- */

/** A server in a child process, as a service manager starts it. */
static pid_t start_server(void)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid)
        return pid;
    alarm(60); /* whatever happens, it ends */
    char *argv[] = {(char *)"game", (char *)"--listen=tcp://127.0.0.1:0", (char *)"--log.level=error", NULL};
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "game", .frontend = true});
    int code = cereus_app_main(app, 3, argv);
    fflush(NULL);
    _exit(code);
}

static void expect_exit(pid_t pid, int code)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), code);
}

static void a_server_says_when_it_is_up_reloads_and_stops(void **state)
{
    manager m;
    manager_init(&m, false);
    pid_t pid = start_server();
    assert_memory_equal(manager_hears(&m), "READY=1\nSTATUS=game is up on tcp://127.0.0.1:", 43);
    assert_int_equal(kill(pid, SIGHUP), 0);
    assert_memory_equal(manager_hears(&m), "RELOADING=1\nMONOTONIC_USEC=", 27);
    assert_true(atoll(m.heard + 27) > 0);
    assert_memory_equal(manager_hears(&m), "READY=1\n", 8);
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_string_equal(manager_hears(&m), "STOPPING=1\nSTATUS=stopping\n");
    expect_exit(pid, 0);
    assert_true(manager_hears_nothing(&m));
    manager_fini(&m);
}

static void a_server_feeds_the_watchdog(void **state)
{
    manager m;
    manager_init(&m, true);
    setenv("WATCHDOG_USEC", "40000", 1);
    pid_t pid = start_server();
    assert_memory_equal(manager_hears(&m), "READY=1\n", 8);
    for (int i = 0; i < 3; i++)
        assert_string_equal(manager_hears(&m), "WATCHDOG=1\nSTATUS=game is up, 0 sessions\n");
    assert_int_equal(kill(pid, SIGTERM), 0);
    while (strncmp(manager_hears(&m), "STOPPING=1\n", 11) != 0)
        assert_memory_equal(m.heard, "WATCHDOG=1\n", 11);
    expect_exit(pid, 0);
    manager_fini(&m);
}

/* ---- the pulse ---- */

static gate holding = GATE_INIT;
static int release[2]; /* a pipe */

static void hold_the_loop(cereus_ctx *ctx, void *user)
{
    gate_pass(&holding);
    char byte;
    CHECK(read(release[0], &byte, 1) == 1); /* not cereus_await_fd(): the whole loop stands still */
}

static void await_pulse(game *g)
{
    for (int i = 0; !crs_pulse(g->app); i++) {
        assert_true(i < GAME_WAIT_S * 1000);
        poll(NULL, 0, 1);
    }
}

static void there_is_no_pulse_while_one_loop_is_held(void **state)
{
    assert_int_equal(pipe(release), 0);
    game *g = game_new(2);
    game_set(g, "cereus.watchdog.threshold", "0");
    game_start(g);
    await_pulse(g);
    assert_int_equal(cereus_app_spawn(g->app, NULL, hold_the_loop, NULL), CEREUS_OK);
    gate_await(&holding, 1);
    await_pulse(g); /* the loops had turned before; this one asks the loop that stands still */
    for (int i = 0; i < 100; i++)
        assert_false(crs_pulse(g->app));
    assert_int_equal(write(release[1], "x", 1), 1);
    await_pulse(g);
    game_end(g);
    close(release[0]);
    close(release[1]);
}

TEST_MAIN(cmocka_unit_test(datagrams_reach_both_kinds_of_address),
          cmocka_unit_test(nobody_is_told_without_a_good_address),
          cmocka_unit_test(the_watchdog_is_read_from_the_environment),
          cmocka_unit_test(a_server_says_when_it_is_up_reloads_and_stops),
          cmocka_unit_test(a_server_feeds_the_watchdog), cmocka_unit_test(there_is_no_pulse_while_one_loop_is_held))
