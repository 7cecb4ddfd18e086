/* tests/support/nats.h: a real nats-server for tests: on a free port of 127.0.0.1, without a file, ended by its pid. */
#ifndef TEST_NATS_H
#define TEST_NATS_H

#include "etcd.h" /* its free ports */

typedef struct test_nats {
    pid_t pid;
    uint16_t port;
    char url[40];
    const char *config; /* a file of settings; NULL: none */
} test_nats;

/** Start it (again), and wait until it listens. false: it ended, most likely because its port was taken meanwhile. */
static inline bool test_nats_run(test_nats *n)
{
    char port[8];
    pid_t parent = getpid();
    snprintf(port, sizeof port, "%u", n->port);
    n->pid = fork();
    assert_true(n->pid >= 0);
    if (n->pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        int fd = open("/dev/null", O_WRONLY);
        dup2(fd, 1);
        dup2(fd, 2);
        execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", port, n->config ? "-c" : (char *)NULL, n->config,
               (char *)NULL);
        _exit(127);
    }
    for (;;) {
        int fd = test_connect(n->port);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        if (waitpid(n->pid, NULL, WNOHANG) == n->pid) {
            n->pid = 0;
            return false;
        }
        usleep(10000); /* it tells nobody when it listens */
    }
}

static inline void test_nats_signal(const test_nats *n, int signal)
{
    assert_int_equal(kill(n->pid, signal), 0);
}

/** End it at once; test_nats_run() brings it back on the same port. */
static inline void test_nats_kill(test_nats *n)
{
    if (n->pid) {
        kill(n->pid, SIGKILL);
        waitpid(n->pid, NULL, 0);
    }
    n->pid = 0;
}

/** A port that is free, and stays so while our server is dead: outside of those that are given to whoever asks for any. */
static inline uint16_t test_nats_port(void)
{
    for (;;) {
        uint16_t port;
        assert_int_equal(getentropy(&port, sizeof port), 0);
        port = (uint16_t)(10000 + port % 22000);
        int fd = test_connect(port);
        if (fd < 0)
            return port;
        close(fd);
    }
}

static inline void test_nats_open(test_nats *n)
{
    for (int tries = 0; tries < 10; tries++) {
        *n = (test_nats){.port = test_nats_port()};
        snprintf(n->url, sizeof n->url, "nats://127.0.0.1:%u", n->port);
        if (test_nats_run(n))
            return;
    }
    fail_msg("nats-server does not start: scripts/install_deps.sh test installs it");
}

#endif
