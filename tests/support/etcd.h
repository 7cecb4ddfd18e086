/* tests/support/etcd.h: a real etcd for tests: on free ports of 127.0.0.1, with a data folder of its own, ended by its pid.
 * What our client has no call for (compaction, users) goes through etcd's JSON gateway. */
#ifndef TEST_ETCD_H
#define TEST_ETCD_H

#include "process.h"

#include <ftw.h>

typedef struct test_etcd {
    pid_t pid;
    uint16_t port, peer_port;
    char dir[64];       /* removed by close() */
    char endpoint[32];  /* 127.0.0.1:PORT */
    const char *tls[3]; /* CA, certificate, key; NULL: plain */
    char name[8];       /* of this member */
    char cluster[200];  /* all members; empty: this one alone */
} test_etcd;

static inline void test_etcd_exec(const test_etcd *e)
{
    char client[64], peer[64], cluster[80];
    snprintf(client, sizeof client, "%s://127.0.0.1:%u", e->tls[0] ? "https" : "http", e->port);
    snprintf(peer, sizeof peer, "http://127.0.0.1:%u", e->peer_port);
    snprintf(cluster, sizeof cluster, "t=%s", peer);
    const char *name = e->name[0] ? e->name : "t", *members = e->cluster[0] ? e->cluster : cluster;
    const char *args[40] = {"etcd",  "--name",
                            name,    "--data-dir",
                            e->dir,  "--listen-client-urls",
                            client,  "--advertise-client-urls",
                            client,  "--listen-peer-urls",
                            peer,    "--initial-advertise-peer-urls",
                            peer,    "--initial-cluster",
                            members, "--logger",
                            "zap",   "--heartbeat-interval",
                            "50",    "--election-timeout",
                            "500",   "--experimental-watch-progress-notify-interval",
                            "200ms"};
    size_t n = 0;
    while (args[n])
        n++;
    if (e->tls[0]) {
        const char *tls[] = {"--trusted-ca-file", e->tls[0], "--cert-file",       e->tls[1],
                             "--key-file",        e->tls[2], "--client-cert-auth"};
        memcpy(args + n, tls, sizeof tls);
    }
    execvp("etcd", (char *const *)args);
    _exit(127);
}

/** Start it (again), and wait until it listens. false: it ended, most likely because a port was taken meanwhile. */
static inline bool test_etcd_run(test_etcd *e)
{
    char log[80];
    snprintf(log, sizeof log, "%s/log", e->dir);
    e->pid = test_fork_tied(log);
    if (e->pid == 0)
        test_etcd_exec(e);
    return test_await_port(&e->pid, e->port);
}

static inline void test_etcd_kill(test_etcd *e)
{
    if (e->pid) {
        kill(e->pid, SIGKILL);
        kill(e->pid, SIGCONT);
        waitpid(e->pid, NULL, 0);
    }
    e->pid = 0;
}

static inline int test_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    return remove(path);
}

static inline void test_etcd_close(test_etcd *e)
{
    test_etcd_kill(e);
    nftw(e->dir, test_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void test_etcd_open(test_etcd *e, const char *const *tls)
{
    for (int tries = 0; tries < 10; tries++) {
        *e = (test_etcd){.dir = "/tmp/cereus-etcd-XXXXXX"};
        assert_non_null(mkdtemp(e->dir));
        if (tls)
            memcpy(e->tls, tls, sizeof e->tls);
        e->port = test_free_port();
        e->peer_port = test_free_port();
        snprintf(e->endpoint, sizeof e->endpoint, "127.0.0.1:%u", e->port);
        if (test_etcd_run(e))
            return;
        test_etcd_close(e);
    }
    fail_msg("etcd does not start; is the package etcd-server installed?");
}

/** POST @p json to the gateway; returns the status. Blocks, so nothing of the loop runs. */
static inline int test_etcd_post(const test_etcd *e, const char *path, const char *json)
{
    char text[4096];
    int fd = test_connect(e->port), status = 0;
    assert_true(fd >= 0);
    int len =
        snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                 path, strlen(json), json);
    assert_int_equal(write(fd, text, (size_t)len), len);
    size_t have = 0;
    ssize_t n;
    while ((n = read(fd, text + have, sizeof text - 1 - have)) > 0)
        have += (size_t)n;
    close(fd);
    text[have] = '\0';
    assert_int_equal(sscanf(text, "HTTP/1.1 %d", &status), 1);
    return status;
}

/** The same to one that was started a moment ago: again, until it has a leader. */
static inline void test_etcd_post_until_ok(const test_etcd *e, const char *path, const char *json)
{
    while (test_etcd_post(e, path, json) != 200)
        usleep(20000);
}

#endif
