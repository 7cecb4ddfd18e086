/* tests/unit/acceptor/test_custom.c: acceptors by scheme, sockets and streams handed over, watched descriptors */
#include "../transport/conn_world.h"

#include <cereus/context.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "acceptor/custom.h"

static conn_world w;

static cereus_loop *loop_of(void)
{
    return crs_public_loop(w.transport);
}

/* ---- schemes ---- */

static cereus_status no_open(const char *address, void *user, void **ret_state, cereus_error *err)
{
    return CEREUS_OK;
}

static cereus_status no_start(void *state, cereus_loop *loop, cereus_error *err)
{
    return CEREUS_OK;
}

static const cereus_acceptor nothing = {.open = no_open, .start = no_start};

static void acceptors_are_found_by_the_scheme_of_a_url(void **state)
{
    crs_custom_acceptor *list = NULL;
    cereus_error err;
    int a, b;
    assert_int_equal(crs_custom_add(&list, "unix", &nothing, &a, &err), CEREUS_OK);
    assert_int_equal(crs_custom_add(&list, "unix2", &nothing, &b, &err), CEREUS_OK);
    assert_ptr_equal(crs_custom_find(list, "unix:///run/game.sock")->user, &a);
    assert_ptr_equal(crs_custom_find(list, "unix2://")->user, &b);
    static const char *const others[] = {"unix:/x", "unix", "uni://x", "Unix://x", "unix22://x", "tcp://1.2.3.4:5", ""};
    for (size_t i = 0; i < CEREUS_COUNT(others); i++)
        assert_null(crs_custom_find(list, others[i]));
    crs_custom_free_all(&list);
    assert_null(list);
    assert_null(crs_custom_find(NULL, "unix://x"));
}

static void what_cannot_be_a_scheme_is_refused_with_a_reason(void **state)
{
    static const cereus_acceptor no_open_there = {.start = no_start}, no_start_there = {.open = no_open};
    static const struct {
        const char *scheme;
        const cereus_acceptor *ops;
        cereus_status st;
        const char *why;
    } bad[] = {
        {"", &nothing, CEREUS_E_INVALID, "a scheme is letters and digits"},
        {"a-b", &nothing, CEREUS_E_INVALID, "a scheme is letters and digits"},
        {"1a", &nothing, CEREUS_E_INVALID, "a scheme is letters and digits"},
        {"a://", &nothing, CEREUS_E_INVALID, "a scheme is letters and digits"},
        {"abcdefghijabcdefghijabcdefghijabc", &nothing, CEREUS_E_INVALID, "at most 32"},
        {"quic", &no_open_there, CEREUS_E_INVALID, "needs the functions open and start"},
        {"quic", &no_start_there, CEREUS_E_INVALID, "needs the functions open and start"},
        {"tcp", &nothing, CEREUS_E_EXISTS, "this scheme is Cereus's own"},
        {"tls", &nothing, CEREUS_E_EXISTS, "this scheme is Cereus's own"},
        {"ws", &nothing, CEREUS_E_EXISTS, "this scheme is Cereus's own"},
        {"wss", &nothing, CEREUS_E_EXISTS, "this scheme is Cereus's own"},
        {"unix", &nothing, CEREUS_E_EXISTS, "this scheme is taken already"},
    };
    crs_custom_acceptor *list = NULL;
    cereus_error err = {0};
    assert_int_equal(crs_custom_add(&list, "unix", &nothing, NULL, &err), CEREUS_OK);
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        if (crs_custom_add(&list, bad[i].scheme, bad[i].ops, NULL, &err) != bad[i].st || !strstr(err.msg, bad[i].why))
            fail_msg("\"%s\": %s", bad[i].scheme, err.msg);
    }
    for (size_t nth = 1; nth < 3; nth++) {
        crs_alloc_fail_at(nth);
        assert_int_equal(crs_custom_add(&list, "quic", &nothing, NULL, &err), CEREUS_E_NOMEM);
        crs_alloc_fail_at(0);
    }
    assert_null(list->next);
    crs_custom_free_all(&list);
}

/* ---- sockets ---- */

static void a_connected_socket_is_served(void **state)
{
    int fds[2];
    world_open(&w);
    assert_int_equal(cereus_loop_index(loop_of()), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0); /* a blocking one will do */
    assert_int_equal(cereus_loop_accept_fd(loop_of(), fds[1], CEREUS_FRAMING_STREAM), CEREUS_OK);
    assert_int_equal(send(fds[0], "\4\0\0\2hi", 6, 0), 6);
    test_settle(&w.t);
    assert_got(&w.owners[0], "hi|");
    close(fds[0]);
    world_close(&w);
}

static void a_socket_that_cannot_be_served_is_closed_and_counted(void **state)
{
    int fds[2];
    world_open(&w);
    for (size_t nth = 1; nth < 3; nth++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        crs_alloc_fail_at(nth);
        assert_int_equal(cereus_loop_accept_fd(loop_of(), fds[1], CEREUS_FRAMING_WEBSOCKET), CEREUS_E_NOMEM);
        crs_alloc_fail_at(0);
        char byte;
        assert_int_equal(recv(fds[0], &byte, 1, 0), 0);
        close(fds[0]);
    }
    assert_int_equal(cereus_loop_accept_fd(loop_of(), -1, CEREUS_FRAMING_STREAM), CEREUS_E_NOMEM);
    assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_connections_refused), 3);
    assert_int_equal(crs_transport_count(w.transport), 0);
    world_close(&w);
}

/* ---- streams ---- */

/** A stream that the test plays by hand. */
typedef struct hand {
    cereus_conn *conn;
    char in[100];  /* what is there to read */
    char out[100]; /* what was written */
    size_t in_len, out_len, room;
    bool end, broken; /* of reading */
    bool write_breaks;
    bool readable, writable; /* what is wanted */
    int reads, writes, shuts, closes;
} hand;

static ptrdiff_t hand_read(void *stream, void *buf, size_t cap)
{
    hand *h = stream;
    assert_int_equal(h->closes, 0);
    h->reads++;
    if (h->in_len) {
        size_t n = CRS_MIN(cap, h->in_len);
        memcpy(buf, h->in, n);
        memmove(h->in, h->in + n, h->in_len - n);
        h->in_len -= n;
        return (ptrdiff_t)n;
    }
    if (h->end)
        return 0;
    errno = h->broken ? EPIPE : EAGAIN;
    return -1;
}

static ptrdiff_t hand_write(void *stream, const void *data, size_t len)
{
    hand *h = stream;
    assert_int_equal(h->closes, 0);
    h->writes++;
    size_t n = CRS_MIN(len, h->room);
    errno = h->write_breaks ? EPIPE : EAGAIN;
    if (n == 0 || h->write_breaks)
        return -1;
    memcpy(h->out + h->out_len, data, n);
    h->out_len += n;
    h->room -= n;
    return (ptrdiff_t)n;
}

static void hand_want(void *stream, bool readable, bool writable)
{
    hand *h = stream;
    assert_int_equal(h->closes, 0);
    assert_non_null(h->conn); /* told before anything is called */
    h->readable = readable;
    h->writable = writable;
}

static void hand_shut(void *stream)
{
    hand *h = stream;
    assert_int_equal(h->closes, 0);
    h->shuts++;
}

static void hand_close(void *stream)
{
    ((hand *)stream)->closes++;
}

static const cereus_stream_ops hand_ops = {
    .read = hand_read, .write = hand_write, .want = hand_want, .shut = hand_shut, .close = hand_close};

static void take(hand *h, const char *peer)
{
    if (!h->room)
        h->room = sizeof h->out;
    assert_int_equal(cereus_loop_accept_stream(loop_of(), &hand_ops, h, CEREUS_FRAMING_STREAM, peer, &h->conn),
                     CEREUS_OK);
}

static void hear(hand *h, const char *bytes, size_t len)
{
    memcpy(h->in + h->in_len, bytes, len);
    h->in_len += len;
    if (h->readable)
        cereus_conn_readable(h->conn);
    test_settle(&w.t);
}

static crs_input echo(conn_owner *o, cereus_slice body)
{
    say_packet(o->conn, body.data, body.len);
    return CRS_INPUT_MORE;
}

static void a_stream_carries_packets(void **state)
{
    hand h = {0};
    world_open(&w);
    w.react = echo;
    take(&h, NULL);
    assert_true(h.readable && !h.writable);
    hear(&h, "\4\0\0", 3);
    assert_int_equal(w.owners[0].packets, 0);
    hear(&h, "\2hi\4\0\0\2ho", 9);
    assert_got(&w.owners[0], "hi|ho|");
    assert_int_equal(h.out_len, 12);
    assert_memory_equal(h.out, "\4\0\0\2hi\4\0\0\2ho", 12);
    h.end = true;
    cereus_conn_readable(h.conn);
    assert_int_equal(h.closes, 1);
    assert_int_equal(w.owners[0].why, CRS_END_PEER);
    world_close(&w);
    assert_int_equal(h.closes, 1);
}

static void one_that_takes_little_is_written_to_when_it_has_room(void **state)
{
    hand h = {.room = 3};
    world_open(&w);
    take(&h, NULL);
    say_text(w.owners[0].conn, "abc");
    say_text(w.owners[0].conn, "def");
    test_settle(&w.t);
    assert_int_equal(h.out_len, 3);
    assert_true(h.writable);
    assert_int_equal(w.owners[0].blocked, 1);
    for (size_t i = 4; i <= 14; i++) {
        h.room = 1;
        cereus_conn_writable(h.conn);
        assert_int_equal(h.out_len, i);
    }
    assert_memory_equal(h.out, "\4\0\0\3abc\4\0\0\3def", 14);
    assert_false(h.writable);
    assert_int_equal(w.owners[0].drained, 1);
    world_close(&w);
}

static void a_pause_is_told_and_kept(void **state)
{
    hand h = {0};
    world_open(&w);
    take(&h, NULL);
    w.owners[0].answer = CRS_INPUT_PAUSE;
    hear(&h, "\4\0\0\1a\4\0\0\1b", 10);
    assert_int_equal(w.owners[0].packets, 1);
    assert_false(h.readable);
    w.owners[0].answer = CRS_INPUT_MORE;
    crs_conn_resume(w.owners[0].conn);
    test_settle(&w.t);
    assert_got(&w.owners[0], "a|b|");
    assert_true(h.readable);
    world_close(&w);
}

static void closing_shuts_and_waits_for_the_end(void **state)
{
    hand h = {0};
    world_open(&w);
    take(&h, NULL);
    say_text(w.owners[0].conn, "bye");
    crs_conn_close(w.owners[0].conn, true);
    w.owners[0].conn = NULL;
    test_settle(&w.t);
    assert_int_equal(h.out_len, 7);
    assert_int_equal(h.shuts, 1);
    assert_int_equal(h.closes, 0);
    h.end = true;
    cereus_conn_readable(h.conn);
    assert_int_equal(h.closes, 1);
    world_close(&w);
}

static crs_input close_at_once(conn_owner *o, cereus_slice body)
{
    crs_conn_close(o->conn, false);
    o->conn = NULL;
    return CRS_INPUT_MORE;
}

static crs_input close_with_a_word(conn_owner *o, cereus_slice body)
{
    say_text(o->conn, "bye");
    crs_conn_close(o->conn, true);
    o->conn = NULL;
    return CRS_INPUT_MORE;
}

/** Wherever the end comes, close() is called once, and nothing after it. */
static void it_may_end_within_every_call(void **state)
{
    static crs_input (*const reactions[])(conn_owner *, cereus_slice) = {echo, close_at_once, close_with_a_word};
    for (size_t r = 0; r < CEREUS_COUNT(reactions); r++) {
        for (int end = 0; end < 8; end++) {
            hand h = {.end = end & 1, .broken = !(end & 1), .write_breaks = end & 2, .room = end & 4 ? 2 : 100};
            world_open(&w);
            w.react = reactions[r];
            take(&h, NULL);
            hear(&h, "\4\0\0\1a\4\0\0\1b", 10);
            if (!h.closes)
                cereus_conn_readable(h.conn);
            test_settle(&w.t);
            test_pass(&w.t, 10000); /* what lingers or flushes */
            assert_int_equal(h.closes, 1);
            world_close(&w);
            assert_int_equal(h.closes, 1);
        }
    }
}

static void it_may_end_before_it_is_taken_over(void **state)
{
    hand h = {0};
    world_open(&w);
    w.refuse = true;
    take(&h, NULL);
    assert_int_equal(h.closes, 1);
    assert_int_equal(h.reads + h.writes + h.shuts, 0);
    world_close(&w);
    assert_int_equal(h.closes, 1);
}

static void without_memory_nothing_is_called(void **state)
{
    world_open(&w);
    for (size_t nth = 1; nth < 3; nth++) {
        hand h = {0};
        crs_alloc_fail_at(nth);
        assert_int_equal(cereus_loop_accept_stream(loop_of(), &hand_ops, &h, CEREUS_FRAMING_WEBSOCKET, NULL, &h.conn),
                         CEREUS_E_NOMEM);
        crs_alloc_fail_at(0);
        assert_null(h.conn);
        assert_int_equal(h.closes, 0);
    }
    world_close(&w);
}

static void the_peer_is_named_as_told(void **state)
{
    static const char *const names[][2] = {{NULL, "local"},
                                           {"", "local"},
                                           {"somebody", "local"},
                                           {"1.2.3.4:5", "1.2.3.4:5"},
                                           {"[::1]:65535", "[::1]:65535"},
                                           {"1.2.3.4:0", "local"},
                                           {"1.2.3.4:65536", "local"},
                                           {"1.2.3.4:99999999999999999999999", "local"},
                                           {"1.2.3:5", "local"},
                                           {"::1:5", "local"},
                                           {"[]:5", "local"},
                                           {"[:5", "local"},
                                           {":5", "local"},
                                           {"1.2.3.4: 5", "local"}};
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        hand h = {0};
        char text[CRS_PEER_TEXT_MAX];
        world_open(&w);
        take(&h, names[i][0]);
        assert_string_equal(crs_peer_text(crs_conn_peer(w.owners[0].conn), text), names[i][1]);
        world_close(&w);
    }
}

/* ---- descriptors ---- */

typedef struct watched {
    cereus_watch *watch;
    int calls, events;
    bool stop;
} watched;

static void on_event(int fd, int events, void *user)
{
    watched *v = user;
    char byte;
    v->calls++;
    v->events = events;
    if (events & CEREUS_FD_READABLE)
        assert_true(read(fd, &byte, 1) >= 0);
    if (v->stop)
        v->watch = cereus_watch_stop(v->watch);
}

static void a_watch_calls_until_it_is_stopped(void **state)
{
    int fds[2];
    watched v = {0};
    world_open(&w);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(cereus_loop_watch(loop_of(), fds[0], CEREUS_FD_READABLE, on_event, &v, &v.watch), CEREUS_OK);
    test_settle(&w.t);
    assert_int_equal(v.calls, 0);
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(write(fds[1], "x", 1), 1);
        test_settle(&w.t);
        assert_int_equal(v.calls, i);
        assert_int_equal(v.events, CEREUS_FD_READABLE);
    }
    v.stop = true; /* within its own function */
    assert_int_equal(write(fds[1], "xy", 2), 2);
    test_settle(&w.t);
    assert_int_equal(v.calls, 3);
    v.stop = false; /* and another one on the same descriptor */
    assert_int_equal(
        cereus_loop_watch(loop_of(), fds[0], CEREUS_FD_READABLE | CEREUS_FD_WRITABLE, on_event, &v, &v.watch),
        CEREUS_OK);
    test_settle(&w.t);
    assert_true(v.calls > 3);
    v.watch = cereus_watch_stop(v.watch);
    assert_null(cereus_watch_stop(NULL));
    close(fds[0]);
    close(fds[1]);
    world_close(&w);
}

static void what_cannot_be_watched_is_refused(void **state)
{
    watched v = {0};
    int fds[2];
    world_open(&w);
    assert_int_equal(pipe(fds), 0);
    FILE *plain = tmpfile();
    assert_int_equal(cereus_loop_watch(loop_of(), fds[0], 0, on_event, &v, &v.watch), CEREUS_E_INVALID);
    assert_int_equal(cereus_loop_watch(loop_of(), -1, CEREUS_FD_READABLE, on_event, &v, &v.watch), CEREUS_E_INVALID);
    assert_int_equal(cereus_loop_watch(loop_of(), fileno(plain), CEREUS_FD_READABLE, on_event, &v, &v.watch),
                     CEREUS_E_INVALID);
    crs_alloc_fail_at(1);
    assert_int_equal(cereus_loop_watch(loop_of(), fds[0], CEREUS_FD_READABLE, on_event, &v, &v.watch), CEREUS_E_NOMEM);
    crs_alloc_fail_at(0);
    assert_null(v.watch);
    fclose(plain);
    close(fds[0]);
    close(fds[1]);
    world_close(&w);
}

TEST_MAIN(cmocka_unit_test(acceptors_are_found_by_the_scheme_of_a_url),
          cmocka_unit_test(what_cannot_be_a_scheme_is_refused_with_a_reason),
          cmocka_unit_test(a_connected_socket_is_served),
          cmocka_unit_test(a_socket_that_cannot_be_served_is_closed_and_counted),
          cmocka_unit_test(a_stream_carries_packets),
          cmocka_unit_test(one_that_takes_little_is_written_to_when_it_has_room),
          cmocka_unit_test(a_pause_is_told_and_kept), cmocka_unit_test(closing_shuts_and_waits_for_the_end),
          cmocka_unit_test(it_may_end_within_every_call), cmocka_unit_test(it_may_end_before_it_is_taken_over),
          cmocka_unit_test(without_memory_nothing_is_called), cmocka_unit_test(the_peer_is_named_as_told),
          cmocka_unit_test(a_watch_calls_until_it_is_stopped), cmocka_unit_test(what_cannot_be_watched_is_refused))
