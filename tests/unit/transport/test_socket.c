/* tests/unit/transport/test_socket.c: the PROXY head before the packets of a real socket. test_tcp.c has the rest. */
#include "conn_world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/proxy_head.h"
#include "transport/socket.h"

static conn_world w;

static void proxied_open(void)
{
    world_proxy = true;
    world_open(&w);
    world_proxy = false;
}

/** A connection; returns the client's end. */
static int pair(const crs_socket_options *opt)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(crs_socket_adopt(w.transport, fds[1], opt), CEREUS_OK);
    return fds[0];
}

static void say(int fd, const void *data, size_t len)
{
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
    test_settle(&w.t);
}

static const char *peer_of(size_t owner)
{
    static char text[CRS_PEER_TEXT_MAX];
    return crs_peer_text(crs_conn_peer(w.owners[owner].conn), text);
}

static uint64_t refused(void)
{
    return crs_counter_read(&w.t.loop->counters, CRS_COUNTER_proxy_heads_refused);
}

static bool hung_up(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

static const char line[] = "PROXY TCP4 192.168.0.1 10.0.0.1 56324 443\r\n";
static const char binary[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\1\2\3\4\5\6\7\10\4\127\10\256\1\0\2h2";

static void a_head_in_pieces_of_any_size_is_taken_and_the_packets_behind_it_are_whole(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *peer;
    } heads[] = {{line, sizeof line - 1, "192.168.0.1:56324"}, {binary, sizeof binary - 1, "1.2.3.4:1111"}};
    for (size_t h = 0; h < CEREUS_COUNT(heads); h++) {
        char stream[100];
        size_t len = heads[h].len + 12;
        memcpy(stream, heads[h].bytes, heads[h].len);
        memcpy(stream + heads[h].len, "\4\0\0\2hi\4\0\0\2ho", 12);
        for (size_t piece = 1; piece <= len; piece++) {
            proxied_open();
            int fd = pair(&(crs_socket_options){0});
            for (size_t at = 0; at < len; at += piece)
                say(fd, stream + at, CRS_MIN(piece, len - at));
            assert_int_equal(w.opened, 1);
            assert_got(&w.owners[0], "hi|ho|");
            assert_string_equal(peer_of(0), heads[h].peer);
            close(fd);
            test_settle(&w.t);
            assert_int_equal(w.owners[0].ended, 1);
            world_close(&w);
        }
    }
}

static void not_one_byte_behind_the_head_is_read_before_the_connection_is_open(void **state)
{
    proxied_open();
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    crs_socket s = {.fd = fds[1], .awaits_proxy = true, .base.transport = w.transport};
    assert_int_equal(crs_socket_take_proxy_head(&s), CEREUS_E_AGAIN);
    for (size_t at = 0; at < sizeof line - 2; at++) {
        assert_int_equal(send(fds[0], line + at, 1, 0), 1);
        assert_int_equal(crs_socket_take_proxy_head(&s), CEREUS_E_AGAIN);
        assert_int_equal(s.base.part_len, at + 1);
    }
    assert_int_equal(send(fds[0], "\n\x16\3\1", 4, 0), 4);
    assert_int_equal(crs_socket_take_proxy_head(&s), CEREUS_OK);
    assert_int_equal(s.base.part_len, 0);
    char left[8];
    assert_int_equal(recv(fds[1], left, sizeof left, 0), 3); /* the client's hello is all there */
    assert_memory_equal(left, "\x16\3\1", 3);
    assert_int_equal(crs_socket_take_proxy_head(&s), CEREUS_OK); /* once is enough */
    close(fds[0]);
    s.awaits_proxy = true;
    assert_int_equal(crs_socket_take_proxy_head(&s), CEREUS_E_IO);
    close(fds[1]);
    world_close(&w);
}

static void what_is_no_head_ends_the_connection_and_is_counted(void **state)
{
    static const char *const bad[] = {"\4\1\1\1", "GET / HTTP/1.1\r\n\r\n", "PROXY TCP4 x", "\r\n\r\nx"};
    proxied_open();
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        int fd = pair(&(crs_socket_options){0});
        say(fd, bad[i], strlen(bad[i]));
        if (i == 2)
            say(fd, " y 1 2\r\n", 8);
        assert_true(hung_up(fd));
        assert_int_equal(refused(), i + 1);
        close(fd);
    }
    assert_int_equal(w.opened, 0);
    world_close(&w);
}

static void one_that_hangs_up_within_its_head_is_no_bad_head(void **state)
{
    proxied_open();
    for (size_t len = 0; len < sizeof line - 1; len += 5) {
        int fd = pair(&(crs_socket_options){0});
        if (len)
            say(fd, line, len);
        close(fd);
        test_settle(&w.t);
        assert_int_equal(crs_transport_count(w.transport), 0);
    }
    assert_int_equal(refused(), 0);
    world_close(&w);
}

static void the_balancers_own_checks_are_named_by_the_socket(void **state)
{
    proxied_open();
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(77), .sin_addr.s_addr = htonl(0x7f000001)};
    int fd = pair(&(crs_socket_options){.peer = (struct sockaddr *)&from});
    say(fd, "PROXY UNKNOWN\r\n\4\0\0\2hi", 21);
    assert_got(&w.owners[0], "hi|");
    assert_string_equal(peer_of(0), "127.0.0.1:77");
    close(fd);
    world_close(&w);
}

static void one_that_says_nothing_is_cut_off_at_the_opening_deadline(void **state)
{
    proxied_open();
    int silent = pair(&(crs_socket_options){0}), half = pair(&(crs_socket_options){0});
    int websocket = pair(&(crs_socket_options){.framing = CRS_FRAMING_WEBSOCKET});
    say(half, line, 10);
    say(websocket, line, sizeof line - 1); /* the upgrade has no time of its own */
    test_pass(&w.t, 2999);
    assert_false(hung_up(silent) || hung_up(half) || hung_up(websocket));
    say(half, line + 10, 3); /* wins no time */
    test_pass(&w.t, 1);
    assert_true(hung_up(silent) && hung_up(half) && hung_up(websocket));
    assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_handshake_timeouts), 3);
    assert_int_equal(crs_transport_count(w.transport), 0);
    close(silent);
    close(half);
    close(websocket);
    world_close(&w);
}

static void one_that_waits_does_not_hold_up_the_others(void **state)
{
    proxied_open();
    int slow = pair(&(crs_socket_options){0}), quick = pair(&(crs_socket_options){0});
    say(slow, line, 7);
    say(quick, line, sizeof line - 1);
    say(quick, "\4\0\0\2hi", 6);
    assert_int_equal(w.opened, 1);
    assert_got(&w.owners[0], "hi|");
    say(slow, line + 7, sizeof line - 8);
    assert_int_equal(w.opened, 2);
    close(slow);
    close(quick);
    world_close(&w);
}

static void a_socket_of_the_game_has_no_head(void **state)
{
    proxied_open();
    int fd = pair(&(crs_socket_options){.local = true});
    say(fd, "\4\0\0\2hi", 6);
    assert_got(&w.owners[0], "hi|");
    assert_string_equal(peer_of(0), "local");
    close(fd);
    world_close(&w);
}

static void without_memory_for_the_head_it_is_closed(void **state)
{
    proxied_open();
    int fd = pair(&(crs_socket_options){0});
    assert_int_equal(send(fd, line, 10, 0), 10);
    crs_alloc_fail_at(1);
    test_settle(&w.t);
    crs_alloc_fail_at(0);
    assert_true(hung_up(fd));
    close(fd);
    int fds[2];
    for (size_t nth = 1; nth < 3; nth++) { /* a failure leaves the socket the caller's */
        crs_socket_options opt = {.framing = CRS_FRAMING_WEBSOCKET};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
        crs_alloc_fail_at(nth);
        assert_int_equal(crs_socket_adopt(w.transport, fds[1], &opt), CEREUS_E_NOMEM);
        crs_alloc_fail_at(0);
        assert_int_equal(close(fds[1]), 0);
        close(fds[0]);
    }
    world_close(&w);
}

TEST_MAIN(cmocka_unit_test(a_head_in_pieces_of_any_size_is_taken_and_the_packets_behind_it_are_whole),
          cmocka_unit_test(not_one_byte_behind_the_head_is_read_before_the_connection_is_open),
          cmocka_unit_test(what_is_no_head_ends_the_connection_and_is_counted),
          cmocka_unit_test(one_that_hangs_up_within_its_head_is_no_bad_head),
          cmocka_unit_test(the_balancers_own_checks_are_named_by_the_socket),
          cmocka_unit_test(one_that_says_nothing_is_cut_off_at_the_opening_deadline),
          cmocka_unit_test(one_that_waits_does_not_hold_up_the_others),
          cmocka_unit_test(a_socket_of_the_game_has_no_head),
          cmocka_unit_test(without_memory_for_the_head_it_is_closed))
