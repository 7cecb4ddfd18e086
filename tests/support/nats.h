/* tests/support/nats.h: a real nats-server for tests: on a free port of 127.0.0.1, without a file, ended by its pid. */
#ifndef TEST_NATS_H
#define TEST_NATS_H

#include "process.h"

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
    snprintf(port, sizeof port, "%u", n->port);
    n->pid = test_fork_tied("/dev/null");
    if (n->pid == 0) {
        execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", port, n->config ? "-c" : (char *)NULL, n->config,
               (char *)NULL);
        _exit(127);
    }
    return test_await_port(&n->pid, n->port);
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
