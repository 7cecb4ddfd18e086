/* tests/unit/ext/test_relay.c: a relay between a TCP connection and its user: what passes, what waits, and how either end goes. */
#include "ext/relay.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "process.h"

enum { PATIENCE_MS = 20 * 1000, OUT_MAX = 16 << 20, RECORD_MAX = 5 + 16384 + 2048 };

typedef struct world {
    int user, peer;
    crs_relay *relay;
    atomic_uint taken; /* how often all was */
} world;

static void on_taken(void *user)
{
    atomic_fetch_add(&((world *)user)->taken, 1);
}

/** A TCP connection, whose one end gets the relay. */
static void world_open(world *w, size_t out_max)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *w = (world){0};
    assert_int_equal(bind(listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&in, &len), 0);
    w->user = test_connect(ntohs(in.sin_port));
    w->peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(w->user >= 0 && w->peer >= 0);
    close(listener);
    if (out_max)
        assert_int_equal(crs_relay_start(w->user, out_max, on_taken, w, &w->relay), CEREUS_OK);
}

static void world_close(world *w)
{
    w->relay = crs_relay_end(w->relay);
    if (w->user >= 0)
        close(w->user);
    if (w->peer >= 0)
        close(w->peer);
}

static bool await(int fd, short events, int ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, ms) > 0;
}

static void write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        assert_true(await(fd, POLLOUT, PATIENCE_MS));
        ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void read_all(int fd, uint8_t *data, size_t len)
{
    while (len > 0) {
        assert_true(await(fd, POLLIN, PATIENCE_MS));
        ssize_t n = recv(fd, data, len, MSG_DONTWAIT);
        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

/** The next that comes is the end, in order or by a reset. */
static void expect_end(int fd)
{
    uint8_t byte;
    assert_true(await(fd, POLLIN, PATIENCE_MS));
    assert_true(recv(fd, &byte, 1, MSG_DONTWAIT) <= 0);
}

static size_t readable(int fd)
{
    int n = 0;
    assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
    return (size_t)n;
}

static uint8_t at(size_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}

/** A record with @p len bytes in it. */
static size_t put_record(uint8_t *out, size_t len)
{
    memcpy(out, (uint8_t[]){23, 3, 3, (uint8_t)(len >> 8), (uint8_t)len}, 5);
    for (size_t i = 0; i < len; i++)
        out[5 + i] = at(i);
    return 5 + len;
}

static void records_arrive_whole(void **state)
{
    static uint8_t sent[4 * RECORD_MAX], got[sizeof sent];
    static const size_t lens[] = {0, 1, 100, 16384 + 2048};
    world w;
    world_open(&w, OUT_MAX);
    for (size_t i = 0; i < CEREUS_COUNT(lens); i++) {
        size_t len = put_record(sent, 7), first = len;
        len += put_record(sent + len, lens[i]);
        write_all(w.peer, sent, len - (lens[i] ? 1 : 2)); /* the last byte of its head, where there is nothing in it */
        assert_true(await(w.user, POLLIN, PATIENCE_MS));
        read_all(w.user, got, first);
        assert_memory_equal(got, sent, first);
        assert_int_equal(readable(w.user), 0);
        assert_false(await(w.user, POLLIN, 5)); /* that it comes too early can only be seen by luck */
        write_all(w.peer, sent + len - (lens[i] ? 1 : 2), lens[i] ? 1 : 2);
        assert_true(await(w.user, POLLIN, PATIENCE_MS));
        read_all(w.user, got, len - first);
        assert_memory_equal(got, sent + first, len - first);
    }
    world_close(&w);
}

static void what_is_no_tls_passes_as_it_is(void **state)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\n";
    uint8_t got[sizeof text];
    world w;
    world_open(&w, OUT_MAX);
    write_all(w.peer, (const uint8_t *)text, sizeof text);
    read_all(w.user, got, sizeof text);
    assert_memory_equal(got, text, sizeof text);
    world_close(&w);
}

static void a_peer_that_reads_nothing_holds_nobody(void **state)
{
    enum { LEN = 12 << 20 };
    uint8_t *sent = malloc(LEN), *got = malloc(LEN);
    world w;
    world_open(&w, OUT_MAX);
    for (size_t i = 0; i < LEN; i++)
        sent[i] = at(i);
    write_all(w.user, sent, LEN);
    assert_true(crs_relay_waiting(w.relay) > 0);
    read_all(w.peer, got, LEN);
    assert_memory_equal(got, sent, LEN);
    while (atomic_load(&w.taken) == 0)
        sched_yield();
    assert_int_equal(crs_relay_waiting(w.relay), 0);
    world_close(&w);
    free(sent);
    free(got);
}

static void no_more_waits_than_was_agreed(void **state)
{
    enum { AGREED = 1 << 20, LEN = 64 << 20 };
    uint8_t *bytes = calloc(1, LEN);
    world w;
    world_open(&w, AGREED);
    size_t sent = 0;
    while (sent < LEN &&
           (crs_relay_waiting(w.relay) < AGREED || await(w.user, POLLOUT, 0))) { /* sockets take some, too */
        ssize_t n = send(w.user, bytes, LEN - sent, MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
    }
    assert_true(sent < LEN);
    assert_in_range(crs_relay_waiting(w.relay), AGREED, AGREED + (64 << 10));
    read_all(w.peer, bytes, sent);
    assert_true(await(w.user, POLLOUT, PATIENCE_MS));
    world_close(&w);
    free(bytes);
}

static void the_end_of_the_peer_comes_behind_its_records(void **state)
{
    static uint8_t sent[2 * RECORD_MAX], got[sizeof sent];
    world w;
    world_open(&w, OUT_MAX);
    size_t len = put_record(sent, 16384);
    len += put_record(sent + len, 1000);
    write_all(w.peer, sent, len - 10);
    shutdown(w.peer, SHUT_WR);
    read_all(w.user, got, len - 10); /* the broken one, too */
    assert_memory_equal(got, sent, len - 10);
    expect_end(w.user);
    write_all(w.user, sent, 100); /* the other way is open yet */
    read_all(w.peer, got, 100);
    world_close(&w);
}

static void a_reset_ends_the_users_side(void **state)
{
    struct linger now = {.l_onoff = 1};
    uint8_t bytes[1000] = {0};
    world w;
    world_open(&w, OUT_MAX);
    setsockopt(w.peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(w.peer);
    w.peer = -1;
    expect_end(w.user);
    while (send(w.user, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        sched_yield(); /* until it is told */
    world_close(&w);
}

static void the_users_end_comes_behind_its_bytes(void **state)
{
    enum { LEN = 6 << 20 };
    uint8_t *sent = malloc(LEN), *got = malloc(LEN);
    world w;
    world_open(&w, OUT_MAX);
    for (size_t i = 0; i < LEN; i++)
        sent[i] = at(i);
    write_all(w.user, sent, LEN);
    close(w.user);
    w.user = -1;
    read_all(w.peer, got, LEN);
    assert_memory_equal(got, sent, LEN);
    expect_end(w.peer);
    world_close(&w);
    free(sent);
    free(got);
}

static size_t open_files(void)
{
    size_t count = 0;
    DIR *fds = opendir("/proc/self/fd");
    assert_non_null(fds);
    while (readdir(fds))
        count++;
    closedir(fds);
    return count;
}

static void it_ends_at_once_and_leaves_nothing(void **state)
{
    size_t files = open_files();
    uint8_t *bytes = calloc(1, 8 << 20);
    for (int i = 0; i < 20; i++) {
        world w;
        world_open(&w, OUT_MAX);
        write_all(w.user, bytes, (size_t)i * 400000);
        world_close(&w);
    }
    assert_int_equal(open_files(), files);
    free(bytes);
}

static void without_memory_the_socket_is_as_it_was(void **state)
{
    uint8_t got[3];
    world w;
    world_open(&w, 0);
    crs_alloc_fail_at(1);
    assert_int_equal(crs_relay_start(w.user, OUT_MAX, NULL, NULL, &w.relay), CEREUS_E_NOMEM);
    crs_alloc_fail_at(0);
    write_all(w.user, (const uint8_t *)"abc", 3);
    read_all(w.peer, got, 3);
    assert_memory_equal(got, "abc", 3);
    world_close(&w);
}

/** Records of all lengths to the user, bytes to the peer, at the same time. */
static void both_ways_at_once(void **state)
{
    enum { LEN = 8 << 20 };
    uint8_t *sent = malloc(LEN + RECORD_MAX), *back = malloc(LEN), *got = malloc(LEN);
    size_t len = 0, out = 0, in = 0, out_back = 0, in_back = 0;
    unsigned seed = 1;
    world w;
    world_open(&w, OUT_MAX);
    while (len < LEN)
        len += put_record(sent + len, (size_t)rand_r(&seed) % 18433);
    len = LEN; /* the last one is broken off: the end brings it */
    while (in < len || in_back < len) {
        struct pollfd fds[] = {{.fd = w.peer, .events = (short)(POLLIN | (out < len ? POLLOUT : 0))},
                               {.fd = w.user, .events = (short)(POLLIN | (out_back < len ? POLLOUT : 0))}};
        assert_true(poll(fds, 2, PATIENCE_MS) > 0);
        ssize_t n = out < len ? send(w.peer, sent + out, CRS_MIN(len - out, (size_t)30000), MSG_DONTWAIT) : 0;
        out += n > 0 ? (size_t)n : 0;
        if (out == len)
            shutdown(w.peer, SHUT_WR);
        n = out_back < len ? send(w.user, sent + out_back, CRS_MIN(len - out_back, (size_t)70000), MSG_DONTWAIT) : 0;
        out_back += n > 0 ? (size_t)n : 0;
        n = recv(w.user, got + in, len - in, MSG_DONTWAIT);
        in += n > 0 ? (size_t)n : 0;
        n = recv(w.peer, back + in_back, len - in_back, MSG_DONTWAIT);
        in_back += n > 0 ? (size_t)n : 0;
    }
    assert_memory_equal(got, sent, len);
    assert_memory_equal(back, sent, len);
    world_close(&w);
    free(sent);
    free(back);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_arrive_whole),
        cmocka_unit_test(what_is_no_tls_passes_as_it_is),
        cmocka_unit_test(a_peer_that_reads_nothing_holds_nobody),
        cmocka_unit_test(no_more_waits_than_was_agreed),
        cmocka_unit_test(the_end_of_the_peer_comes_behind_its_records),
        cmocka_unit_test(a_reset_ends_the_users_side),
        cmocka_unit_test(the_users_end_comes_behind_its_bytes),
        cmocka_unit_test(it_ends_at_once_and_leaves_nothing),
        cmocka_unit_test(without_memory_the_socket_is_as_it_was),
        cmocka_unit_test(both_ways_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
