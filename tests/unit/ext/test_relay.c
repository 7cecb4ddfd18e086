/* tests/unit/ext/test_relay.c: a relay between a user and a peer that stalls, does not read, resets or goes. */
#include "process.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "ext/relay.h"

enum { PATIENCE_MS = 20000, MIB = 1 << 20, OUT_MAX = 16 * MIB, BODY_MAX = 16384 + 2048, RECORD_MAX = 5 + BODY_MAX };

typedef struct world {
    int user, peer;
    crs_relay *relay;
    size_t files;      /* open before */
    atomic_uint taken; /* how often the peer had taken all */
    uint8_t *bytes;    /* of open_with() */
} world;

static void on_taken(void *user)
{
    atomic_fetch_add(&((world *)user)->taken, 1);
}

/** Wait for what no socket tells. */
#define UNTIL(cond)                                                    \
    do {                                                               \
        uint64_t end_ms = crs_clock_ms(CLOCK_MONOTONIC) + PATIENCE_MS; \
        while (!(cond)) {                                              \
            assert_true(crs_clock_ms(CLOCK_MONOTONIC) < end_ms);       \
            sched_yield();                                             \
        }                                                              \
    } while (0)

static void open_pair(world *w)
{
    int ends[2];
    *w = (world){.files = test_count_files("/proc/self/fd")};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    w->user = ends[0];
    w->peer = ends[1];
}

static void open_tcp(world *w)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    *w = (world){.files = test_count_files("/proc/self/fd")};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&in, &len), 0);
    w->user = test_connect(ntohs(in.sin_port));
    w->peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(w->user >= 0 && w->peer >= 0);
    close(listener);
}

static void start(world *w, size_t out_max)
{
    assert_int_equal(crs_relay_start(w->user, out_max, on_taken, w, &w->relay), CEREUS_OK);
}

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void world_close(world *w)
{
    w->relay = crs_relay_end(w->relay);
    close_end(&w->user);
    close_end(&w->peer);
    free(w->bytes);
    assert_int_equal(test_count_files("/proc/self/fd"), w->files);
}

/* ---- bytes ---- */

static bool await(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, PATIENCE_MS) > 0;
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

static void write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        assert_true(await(fd, POLLOUT));
        ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void read_all(int fd, const uint8_t *want, size_t len)
{
    static uint8_t got[256 << 10];
    while (len > 0) {
        assert_true(await(fd, POLLIN));
        ssize_t n = recv(fd, got, CRS_MIN(len, sizeof got), MSG_DONTWAIT);
        assert_true(n > 0);
        assert_memory_equal(got, want, (size_t)n);
        want += n;
        len -= (size_t)n;
    }
}

static void expect_end(int fd)
{
    uint8_t byte;
    assert_true(await(fd, POLLIN));
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
}

/** The relay has read all that the peer has sent, and what the user may have of it is there. On a pair, not TCP. */
static void settle(world *w)
{
    int unread;
    UNTIL(ioctl(w->peer, SIOCOUTQ, &unread) == 0 && unread == 0);
    write_all(w->user, (const uint8_t *)"x", 1); /* to the peer it goes behind what comes from there */
    read_all(w->peer, (const uint8_t *)"x", 1);
}

static uint8_t *make_bytes(size_t len)
{
    uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    return bytes;
}

/** A pair with a relay, and bytes to send. */
static uint8_t *open_with(world *w, size_t len)
{
    open_pair(w);
    start(w, OUT_MAX);
    return w->bytes = make_bytes(len);
}

/** Make what is at @p out a record with @p body_len bytes in it. */
static size_t make_record(uint8_t *out, size_t body_len)
{
    out[0] = 23;
    out[1] = out[2] = 3;
    out[3] = (uint8_t)(body_len >> 8);
    out[4] = (uint8_t)body_len;
    return 5 + body_len;
}

/** Write as the user until the relay takes no more. Returns how much that was. */
static size_t fill(world *w, const uint8_t *bytes, size_t len, size_t out_max)
{
    uint64_t end_ms = crs_clock_ms(CLOCK_MONOTONIC) + PATIENCE_MS;
    size_t sent = 0;
    while (sent < len) {
        ssize_t n = send(w->user, bytes + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        assert_true(n > 0 || errno == EAGAIN);
        size_t waiting = crs_relay_waiting(w->relay);
        assert_true(waiting <= out_max);
        if (n < 0 && waiting == out_max)
            break;
        assert_true(crs_clock_ms(CLOCK_MONOTONIC) < end_ms);
        sched_yield();
    }
    return sent;
}

/* ---- to the user ---- */

static void the_user_sees_nothing_of_a_record_before_its_last_byte(void **state)
{
    static const size_t bodies[] = {0, 1, 15, 16384, BODY_MAX};
    world w;
    uint8_t *bytes = open_with(&w, RECORD_MAX);
    for (size_t i = 0; i < CEREUS_COUNT(bodies); i++) {
        size_t len = make_record(bytes, bodies[i]);
        for (size_t cut = 1; cut<len; cut += len> 100 ? len / 4 : 1) {
            write_all(w.peer, bytes, cut);
            settle(&w);
            assert_false(is_readable(w.user));
            write_all(w.peer, bytes + cut, len - cut);
            read_all(w.user, bytes, len);
            assert_false(is_readable(w.user));
        }
    }
    world_close(&w);
}

static void of_two_records_and_a_half_the_user_gets_two(void **state)
{
    world w;
    uint8_t *bytes = open_with(&w, 3 * RECORD_MAX);
    size_t whole = make_record(bytes, 1000);
    whole += make_record(bytes + whole, BODY_MAX);
    size_t len = whole + make_record(bytes + whole, 3000);
    write_all(w.peer, bytes, len - 1500);
    settle(&w);
    read_all(w.user, bytes, whole);
    assert_false(is_readable(w.user));
    write_all(w.peer, bytes + len - 1500, 1500);
    read_all(w.user, bytes + whole, len - whole);
    world_close(&w);
}

static void what_is_no_record_passes_as_it_is(void **state)
{
    world w;
    uint8_t *bytes = open_with(&w, 200);
    size_t len = make_record(bytes, 20);
    make_record(bytes + len, BODY_MAX + 1);
    write_all(w.peer, bytes, len + 5);
    read_all(w.user, bytes, len + 5);
    make_record(bytes, 100);
    write_all(w.peer, bytes, 7); /* not looked at any more */
    read_all(w.user, bytes, 7);
    world_close(&w);
}

static void the_end_of_the_peer_comes_behind_its_records(void **state)
{
    uint8_t *bytes = make_bytes(MIB);
    world w;
    open_pair(&w);
    for (size_t at = 0; at + RECORD_MAX < MIB;)
        at += make_record(bytes + at, 10000);
    start(&w, OUT_MAX);
    size_t sent = 0;
    for (ssize_t n; (n = send(w.peer, bytes + sent, MIB - sent, MSG_DONTWAIT)) > 0;) /* as much as buffers hold */
        sent += (size_t)n;
    assert_true(sent > 100 << 10);
    shutdown(w.peer, SHUT_WR);
    read_all(w.user, bytes, sent); /* the broken one, too */
    expect_end(w.user);
    write_all(w.user, bytes, MIB); /* the other way is still open */
    read_all(w.peer, bytes, MIB);
    world_close(&w);
    free(bytes);
}

/* ---- to the peer ---- */

static void a_peer_that_reads_nothing_does_not_hold_the_user(void **state)
{
    enum { LEN = 8 * MIB };
    world w;
    uint8_t *bytes = open_with(&w, LEN);
    write_all(w.user, bytes, LEN);
    UNTIL(crs_relay_waiting(w.relay) > 7 * MIB);
    unsigned taken = atomic_load(&w.taken);
    read_all(w.peer, bytes, LEN);
    UNTIL(atomic_load(&w.taken) > taken);
    assert_int_equal(crs_relay_waiting(w.relay), 0);
    write_all(w.user, bytes, 1000);
    read_all(w.peer, bytes, 1000);
    world_close(&w);
}

static void no_more_waits_than_was_agreed(void **state)
{
    static const size_t agreed[] = {1000, (64 << 10) + 1, MIB + 17};
    uint8_t *bytes = make_bytes(4 * MIB);
    for (size_t i = 0; i < CEREUS_COUNT(agreed); i++) {
        world w;
        open_pair(&w);
        start(&w, agreed[i]);
        size_t sent = fill(&w, bytes, 4 * MIB, agreed[i]);
        assert_true(sent < 4 * MIB);
        read_all(w.peer, bytes, sent);
        assert_true(await(w.user, POLLOUT));
        world_close(&w);
    }
    free(bytes);
}

static void the_end_of_the_user_comes_behind_its_bytes(void **state)
{
    world w;
    uint8_t *bytes = open_with(&w, 4 * MIB);
    write_all(w.user, bytes, 4 * MIB);
    close_end(&w.user);
    read_all(w.peer, bytes, 4 * MIB);
    expect_end(w.peer);
    world_close(&w);
}

static void a_user_that_writes_no_more_still_reads(void **state)
{
    world w;
    uint8_t *bytes = open_with(&w, 1000);
    write_all(w.user, bytes, 1000);
    shutdown(w.user, SHUT_WR);
    read_all(w.peer, bytes, 1000);
    expect_end(w.peer);
    size_t len = make_record(bytes, 900);
    write_all(w.peer, bytes, len);
    read_all(w.user, bytes, len);
    shutdown(w.peer, SHUT_WR);
    expect_end(w.user);
    world_close(&w);
}

/** Neither would go on if the relay waited for a user that has gone. */
static void a_peer_that_writes_before_it_reads_gets_the_last_words(void **state)
{
    world w;
    uint8_t *bytes = open_with(&w, 4 * MIB);
    write_all(w.user, bytes, 4 * MIB);
    close_end(&w.user);
    write_all(w.peer, bytes, 2 * MIB);
    read_all(w.peer, bytes, 4 * MIB);
    expect_end(w.peer);
    world_close(&w);
}

/* ---- a connection that breaks ---- */

static void reset_peer(world *w)
{
    struct linger now = {.l_onoff = 1};
    assert_int_equal(setsockopt(w->peer, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close_end(&w->peer);
}

/** Its writes fail, and what it writes until then does not pile up. */
static void expect_deaf(world *w, const uint8_t *bytes, size_t len)
{
    ssize_t n;
    do {
        assert_true(await(w->user, POLLOUT));
        n = send(w->user, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n > 0 || errno == EAGAIN);
    assert_int_equal(errno, EPIPE);
}

static void a_reset_ends_the_side_of_the_user(void **state)
{
    uint8_t *bytes = make_bytes(1000);
    world w;
    open_tcp(&w);
    start(&w, OUT_MAX);
    reset_peer(&w);
    expect_end(w.user);
    expect_deaf(&w, bytes, 1000);
    world_close(&w);
    free(bytes);
}

/** It may wait for that alone, with records that it does not read behind it. */
static void a_reset_lets_go_a_user_whose_writes_wait(void **state)
{
    enum { LEN = 64 * MIB };         /* more than the buffers of TCP */
    uint8_t *bytes = calloc(1, LEN); /* to the user: records with nothing in them */
    world w;
    open_tcp(&w);
    start(&w, MIB);
    write_all(w.peer, bytes, MIB);
    assert_true(fill(&w, bytes, LEN, MIB) < LEN);
    reset_peer(&w);
    write_all(w.user, bytes, 4 * MIB);
    ssize_t n; /* of what the peer has said, some may have been lost with it */
    do {
        assert_true(await(w.user, POLLIN));
        n = recv(w.user, bytes, LEN, MSG_DONTWAIT);
    } while (n > 0);
    assert_int_equal(n, 0);
    expect_deaf(&w, bytes, 1000);
    world_close(&w);
    free(bytes);
}

static void a_peer_that_takes_nothing_more_ends_both_ways(void **state)
{
    world w;
    uint8_t *bytes = open_with(&w, 1000);
    size_t len = make_record(bytes, 100);
    shutdown(w.peer, SHUT_RD);
    write_all(w.peer, bytes, len);
    write_all(w.user, bytes, 10);
    read_all(w.user, bytes, len);
    expect_end(w.user);
    expect_deaf(&w, bytes, 1000);
    world_close(&w);
}

/** It has gone, but has sent something before. */
static void the_last_records_of_a_peer_that_has_gone_arrive(void **state)
{
    world w;
    uint8_t *bytes = open_with(&w, 2 * MIB);
    size_t len = make_record(bytes, 1000);
    write_all(w.user, bytes, 2 * MIB); /* it does not read these */
    write_all(w.peer, bytes, len);
    close_end(&w.peer);
    read_all(w.user, bytes, len);
    expect_end(w.user);
    expect_deaf(&w, bytes, 1000);
    world_close(&w);
}

/* ---- life ---- */

static void it_ends_at_once_and_leaves_nothing(void **state)
{
    size_t threads = test_count_files("/proc/self/task");
    uint8_t *bytes = make_bytes(4 * MIB);
    for (int i = 0; i < 10; i++) {
        world w;
        open_pair(&w);
        start(&w, OUT_MAX);
        write_all(w.user, bytes, (size_t)i * 400000);
        if (i % 3 == 1)
            close_end(&w.user);
        if (i % 3 == 2)
            close_end(&w.peer);
        world_close(&w);
    }
    UNTIL(test_count_files("/proc/self/task") == threads); /* one that was joined may still be on its way out */
    assert_null(crs_relay_end(NULL));
    free(bytes);
}

static void the_user_hears_of_the_end_of_the_relay(void **state)
{
    world w;
    uint8_t *bytes = open_with(&w, 1000);
    assert_int_equal(fcntl(w.user, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(w.user, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    w.relay = crs_relay_end(w.relay);
    expect_end(w.user);
    expect_end(w.peer);
    assert_int_equal(send(w.user, bytes, 1000, MSG_NOSIGNAL), -1);
    world_close(&w);
}

static void expect_untouched(world *w, int flags)
{
    assert_null(w->relay);
    assert_int_equal(fcntl(w->user, F_GETFL), flags);
    write_all(w->user, (const uint8_t *)"abc", 3);
    read_all(w->peer, (const uint8_t *)"abc", 3);
    write_all(w->peer, (const uint8_t *)"def", 3);
    read_all(w->user, (const uint8_t *)"def", 3);
}

static void without_memory_the_socket_is_as_it_was(void **state)
{
    world w;
    open_pair(&w);
    int flags = fcntl(w.user, F_GETFL);
    crs_alloc_fail_at(1);
    assert_int_equal(crs_relay_start(w.user, OUT_MAX, NULL, NULL, &w.relay), CEREUS_E_NOMEM);
    crs_alloc_fail_at(0);
    expect_untouched(&w, flags);
    world_close(&w);
}

static void without_descriptors_the_socket_is_as_it_was(void **state)
{
    struct rlimit was;
    world w;
    cereus_status st = CEREUS_E_IO;
    open_pair(&w);
    int flags = fcntl(w.user, F_GETFL);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    size_t files = test_count_files("/proc/self/fd"), failed = 0;
    for (rlim_t most = 3; st; most++) {
        struct rlimit few = {.rlim_cur = most, .rlim_max = was.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        st = crs_relay_start(w.user, OUT_MAX, NULL, NULL, &w.relay);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
        if (st) {
            assert_int_equal(st, CEREUS_E_IO);
            expect_untouched(&w, flags);
            assert_int_equal(test_count_files("/proc/self/fd"), files);
            failed++;
        }
    }
    assert_true(failed >= 4); /* each of them once, at least */
    world_close(&w);
}

/* ---- all at once ---- */

typedef struct flow {
    int from, to;
    const uint8_t *bytes;
    size_t len, sent, got;
} flow;

static short wanted(const flow *out, const flow *in)
{
    return (short)((out->sent < out->len ? POLLOUT : 0) | (in->got < in->len ? POLLIN : 0));
}

static void move(flow *f, size_t most)
{
    static uint8_t got[100000];
    ssize_t n = 0;
    if (f->sent < f->len)
        n = send(f->from, f->bytes + f->sent, CRS_MIN(f->len - f->sent, most), MSG_DONTWAIT | MSG_NOSIGNAL);
    f->sent += n > 0 ? (size_t)n : 0;
    if (n > 0 && f->sent == f->len)
        shutdown(f->from, SHUT_WR);
    n = recv(f->to, got, CRS_MIN(f->len - f->got, most), MSG_DONTWAIT);
    if (n <= 0)
        return;
    assert_memory_equal(got, f->bytes + f->got, (size_t)n);
    f->got += (size_t)n;
}

static void much_goes_both_ways_at_once(void **state)
{
    enum { LEN = 16 * MIB };
    static const size_t agreed[] = {OUT_MAX, 100000};
    uint8_t *bytes = make_bytes(LEN + RECORD_MAX);
    unsigned seed = 1;
    for (size_t at = 0; at < LEN;)
        at += make_record(bytes + at, (size_t)rand_r(&seed) % (rand_r(&seed) % 4 ? 500 : BODY_MAX + 1));
    for (size_t i = 0; i < CEREUS_COUNT(agreed); i++) {
        world w;
        open_tcp(&w);
        start(&w, agreed[i]);
        flow in = {.from = w.peer, .to = w.user, .bytes = bytes, .len = LEN}; /* the last record is broken off */
        flow out = {.from = w.user, .to = w.peer, .bytes = bytes, .len = LEN};
        while (in.got < in.len || out.got < out.len) {
            struct pollfd fds[] = {{.fd = w.peer, .events = wanted(&in, &out)},
                                   {.fd = w.user, .events = wanted(&out, &in)}};
            assert_true(poll(fds, 2, PATIENCE_MS) > 0);
            move(&in, 1 + (size_t)rand_r(&seed) % 60000);
            move(&out, 1 + (size_t)rand_r(&seed) % 100000);
        }
        expect_end(w.user);
        expect_end(w.peer);
        world_close(&w);
    }
    free(bytes);
}

TEST_MAIN(cmocka_unit_test(the_user_sees_nothing_of_a_record_before_its_last_byte),
          cmocka_unit_test(of_two_records_and_a_half_the_user_gets_two),
          cmocka_unit_test(what_is_no_record_passes_as_it_is),
          cmocka_unit_test(the_end_of_the_peer_comes_behind_its_records),
          cmocka_unit_test(a_peer_that_reads_nothing_does_not_hold_the_user),
          cmocka_unit_test(no_more_waits_than_was_agreed), cmocka_unit_test(the_end_of_the_user_comes_behind_its_bytes),
          cmocka_unit_test(a_user_that_writes_no_more_still_reads),
          cmocka_unit_test(a_peer_that_writes_before_it_reads_gets_the_last_words),
          cmocka_unit_test(a_reset_ends_the_side_of_the_user),
          cmocka_unit_test(a_reset_lets_go_a_user_whose_writes_wait),
          cmocka_unit_test(a_peer_that_takes_nothing_more_ends_both_ways),
          cmocka_unit_test(the_last_records_of_a_peer_that_has_gone_arrive),
          cmocka_unit_test(it_ends_at_once_and_leaves_nothing),
          cmocka_unit_test(the_user_hears_of_the_end_of_the_relay),
          cmocka_unit_test(without_memory_the_socket_is_as_it_was),
          cmocka_unit_test(without_descriptors_the_socket_is_as_it_was), cmocka_unit_test(much_goes_both_ways_at_once))
