/* tests/unit/transport/test_tcp.c: over real sockets on 127.0.0.1, whose other ends this thread holds too */
#include "conn_world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "transport/socket.h"
#include "transport/tcp.h"

static conn_world w;
static crs_endpoint endpoint;
static crs_listener *listener;

static void tcp_open(const char *url)
{
    world_open(&w);
    cereus_error err;
    int claim;
    assert_int_equal(crs_endpoint_parse(url, &endpoint, &err), CEREUS_OK);
    assert_int_equal(crs_endpoint_claim(&endpoint, &claim, &err), CEREUS_OK);
    assert_int_equal(crs_listener_new(w.transport, &endpoint, &listener, &err), CEREUS_OK);
    close(claim);
}

static void tcp_close(void)
{
    listener = crs_listener_free(listener);
    world_close(&w);
}

/** A client's socket; blocking, the kernel completes the connection by itself. */
static int dial(void)
{
    int fd = socket(endpoint.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&endpoint.addr, endpoint.addr_len), 0);
    return fd;
}

/** Turn, sleeping for events, until the condition holds. */
#define until(condition)                        \
    do {                                        \
        while (!(condition))                    \
            uv_run(&w.t.loop->uv, UV_RUN_ONCE); \
    } while (0)

static crs_input echo(conn_owner *o, cereus_slice body)
{
    say_packet(o->conn, body.data, body.len);
    return CRS_INPUT_MORE;
}

/* ---- endpoints ---- */

static void endpoints_are_taken_apart(void **state)
{
    static const struct {
        const char *url, *text;
        crs_framing framing;
    } good[] = {
        {"tcp://127.0.0.1:3250", "tcp://127.0.0.1:3250", CRS_FRAMING_STREAM},
        {"ws://127.0.0.1:0", "ws://127.0.0.1:0", CRS_FRAMING_WEBSOCKET},
        {"ws://127.0.0.1:65535/", "ws://127.0.0.1:65535", CRS_FRAMING_WEBSOCKET},
        {"tcp://[::1]:1", "tcp://[::1]:1", CRS_FRAMING_STREAM},
        {"tcp://::1:1", "tcp://[::1]:1", CRS_FRAMING_STREAM},
        {"tcp://0.0.0.0:80", "tcp://0.0.0.0:80", CRS_FRAMING_STREAM},
    };
    for (size_t i = 0; i < CEREUS_COUNT(good); i++) {
        crs_endpoint e;
        cereus_error err = {0};
        assert_int_equal(crs_endpoint_parse(good[i].url, &e, &err), CEREUS_OK);
        assert_string_equal(e.text, good[i].text);
        assert_int_equal(e.framing, good[i].framing);
    }
}

static void bad_endpoints_are_refused_with_a_reason(void **state)
{
    static char long_host[400] = "tcp://";
    memset(long_host + 6, 'x', 300);
    strcpy(long_host + 306, ":1");
    const struct {
        const char *url, *why;
    } bad[] = {
        {"", "must begin with tcp://, tls://, ws:// or wss://"},
        {"127.0.0.1:3250", "must begin with tcp://, tls://, ws:// or wss://"},
        {"http://127.0.0.1:80", "must begin with tcp://, tls://, ws:// or wss://"},
        {"tcp://127.0.0.1", "needs a port from 0 to 65535"},
        {"tcp://127.0.0.1:", "needs a port from 0 to 65535"},
        {"tcp://127.0.0.1:65536", "needs a port from 0 to 65535"},
        {"tcp://127.0.0.1:-1", "needs a port from 0 to 65535"},
        {"tcp://127.0.0.1:1x", "needs a port from 0 to 65535"},
        {"tcp://127.0.0.1:000001", "needs a port from 0 to 65535"},
        {"ws://127.0.0.1:80/chat", "takes no path"},
        {"ws://127.0.0.1:80?x", "takes no path"},
        {"tcp://999.1.1.1.1:80", "host \"999.1.1.1.1\": "},
        {long_host, "too long"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        crs_endpoint e = {.addr_len = 77};
        cereus_error err = {0};
        assert_int_equal(crs_endpoint_parse(bad[i].url, &e, &err), CEREUS_E_INVALID);
        assert_int_equal(err.status, CEREUS_E_INVALID);
        if (!strstr(err.msg, bad[i].why))
            fail_msg("%s: %s", bad[i].url, err.msg);
        assert_int_equal(e.addr_len, 77);
    }
}

static void claiming_picks_a_free_port_and_an_address_in_use_is_told(void **state)
{
    crs_endpoint e, again;
    cereus_error err = {0};
    int claim, other = -5;
    assert_int_equal(crs_endpoint_parse("tcp://127.0.0.1:0", &e, &err), CEREUS_OK);
    assert_int_equal(crs_endpoint_claim(&e, &claim, &err), CEREUS_OK);
    assert_int_not_equal(ntohs(((struct sockaddr_in *)&e.addr)->sin_port), 0);
    char want[60];
    snprintf(want, sizeof want, "tcp://127.0.0.1:%d", ntohs(((struct sockaddr_in *)&e.addr)->sin_port));
    assert_string_equal(e.text, want);
    assert_int_equal(listen(claim, 1), 0); /* as the listeners will */
    assert_int_equal(crs_endpoint_parse(e.text, &again, &err), CEREUS_OK);
    assert_int_equal(crs_endpoint_claim(&again, &other, &err), CEREUS_E_IO);
    assert_int_equal(other, -5);
    assert_non_null(strstr(err.msg, e.text));
    assert_non_null(strstr(err.msg, "another program listens there"));
    close(claim);
    assert_int_equal(crs_endpoint_parse("tcp://192.0.2.1:0", &e, &err), CEREUS_OK); /* nobody's: RFC 5737 */
    assert_int_equal(crs_endpoint_claim(&e, &other, &err), CEREUS_E_IO);
    assert_non_null(strstr(err.msg, "this machine has no such address"));
}

/* ---- connections ---- */

static void packets_go_both_ways_and_the_peer_has_an_address(void **state)
{
    tcp_open("tcp://127.0.0.1:0");
    w.react = echo;
    int fd = dial();
    assert_int_equal(send(fd, "\x04\0\0\x02hi", 6, 0), 6);
    until(w.opened == 1 && w.owners[0].packets == 1);
    char got[6];
    assert_int_equal(recv(fd, got, 6, MSG_WAITALL), 6);
    assert_memory_equal(got, "\x04\0\0\x02hi", 6);
    struct sockaddr_in me;
    socklen_t len = sizeof me;
    getsockname(fd, (struct sockaddr *)&me, &len);
    char want[CRS_PEER_TEXT_MAX], text[CRS_PEER_TEXT_MAX];
    snprintf(want, sizeof want, "127.0.0.1:%d", ntohs(me.sin_port));
    assert_string_equal(crs_peer_text(crs_conn_peer(w.owners[0].conn), text), want);
    assert_false(crs_conn_peer(w.owners[0].conn)->ipv6);
    close(fd);
    until(w.owners[0].ended);
    assert_int_equal(w.owners[0].why, CRS_END_PEER);
    tcp_close();
}

static int option(int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt(crs_socket_of(w.owners[0].conn)->fd, level, name, &value, &len), 0);
    return value;
}

/** It has them from the socket that accepted it. */
static void a_connection_sends_without_delay_and_keeps_alive(void **state)
{
    tcp_open("tcp://127.0.0.1:0");
    int fd = dial();
    until(w.opened == 1);
    assert_int_equal(option(IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(IPPROTO_TCP, TCP_KEEPIDLE), 15);
    assert_int_equal(option(IPPROTO_TCP, TCP_KEEPINTVL), 15);
    close(fd);
    until(w.owners[0].ended);
    tcp_close();
}

static void ipv6_peers_are_told_apart(void **state)
{
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool here = probe >= 0 && bind(probe, (struct sockaddr *)&any, sizeof any) == 0;
    if (probe >= 0)
        close(probe);
    if (!here)
        skip(); /* this machine has no IPv6 */
    tcp_open("tcp://[::1]:0");
    int fd = dial();
    until(w.opened == 1);
    char text[CRS_PEER_TEXT_MAX];
    assert_int_equal(strncmp(crs_peer_text(crs_conn_peer(w.owners[0].conn), text), "[::1]:", 6), 0);
    assert_true(crs_conn_peer(w.owners[0].conn)->ipv6);
    close(fd);
    tcp_close();
}

static void a_slow_reader_gets_everything_in_the_end(void **state)
{
    enum { LEN = 8 << 20 };
    tcp_open("tcp://127.0.0.1:0");
    int fd = dial();
    until(w.opened == 1);
    uint8_t *big = malloc(LEN);
    for (size_t i = 0; i < LEN; i++)
        big[i] = (uint8_t)(i * 7);
    assert_true(say_packet(w.owners[0].conn, big, LEN));
    assert_true(say_text(w.owners[0].conn, "end"));
    until(w.owners[0].blocked == 1);
    uint8_t *got = malloc(LEN + 11);
    size_t len = 0;
    while (len < LEN + 11) {
        ssize_t n = recv(fd, got + len, LEN + 11 - len, MSG_DONTWAIT);
        if (n > 0)
            len += (size_t)n;
        else
            crs_loop_turn(w.t.loop);
    }
    assert_memory_equal(got + 4, big, LEN);
    assert_memory_equal(got + 4 + LEN,
                        "\x04\0\0\x03"
                        "end",
                        7);
    until(w.owners[0].drained == 1);
    free(big);
    free(got);
    close(fd);
    until(w.owners[0].ended);
    tcp_close();
}

static void a_reset_is_an_error(void **state)
{
    for (int paused = 0; paused < 2; paused++) {
        tcp_open("tcp://127.0.0.1:0");
        int fd = dial();
        until(w.opened == 1);
        if (paused) {
            w.owners[0].answer = CRS_INPUT_PAUSE;
            assert_int_equal(send(fd, "\x04\0\0\0", 4, 0), 4);
            until(w.owners[0].packets == 1);
        }
        struct linger now = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(fd);
        if (paused) { /* nobody looks at the socket: the next write finds out */
            static char text[1000];
            while (!w.owners[0].ended) {
                say_packet(w.owners[0].conn, text, sizeof text);
                crs_loop_turn(w.t.loop);
            }
        }
        until(w.owners[0].ended);
        assert_int_equal(w.owners[0].why, CRS_END_ERROR);
        tcp_close();
    }
}

static void closing_says_goodbye_before_the_socket_goes(void **state)
{
    tcp_open("tcp://127.0.0.1:0");
    int fd = dial();
    until(w.opened == 1);
    assert_int_equal(send(fd, "\x04\0\0\x09unread", 10, 0), 10); /* a plain close() would reset now */
    say_text(w.owners[0].conn, "bye");
    crs_conn_close(w.owners[0].conn, true);
    w.owners[0].conn = NULL;
    test_settle(&w.t);
    char got[20];
    assert_int_equal(recv(fd, got, sizeof got, MSG_WAITALL), 7);
    assert_memory_equal(got,
                        "\x04\0\0\x03"
                        "bye",
                        7);
    assert_int_equal(recv(fd, got, sizeof got, 0), 0);
    assert_int_equal(crs_transport_count(w.transport), 1);
    close(fd);
    until(crs_transport_count(w.transport) == 0);
    tcp_close();
}

static void connections_outlive_their_listener(void **state)
{
    tcp_open("tcp://127.0.0.1:0");
    w.react = echo;
    int fd = dial();
    until(w.opened == 1);
    listener = crs_listener_free(listener);
    test_settle(&w.t);
    assert_int_equal(send(fd, "\x04\0\0\x02hi", 6, 0), 6);
    until(w.owners[0].packets == 1);
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&endpoint.addr, endpoint.addr_len), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(late);
    close(fd);
    until(w.owners[0].ended);
    assert_null(crs_listener_free(NULL));
    tcp_close();
}

static void listeners_of_two_loops_share_an_address_that_was_claimed_once(void **state)
{
    tcp_open("tcp://127.0.0.1:0");
    crs_listener *second;
    cereus_error err;
    assert_int_equal(crs_listener_new(w.transport, &endpoint, &second, &err), CEREUS_OK);
    int fds[20];
    for (size_t i = 0; i < 20; i++)
        fds[i] = dial();
    until(w.opened == 20);
    for (size_t i = 0; i < 20; i++)
        close(fds[i]);
    until(crs_transport_count(w.transport) == 0);
    crs_listener_free(second);
    tcp_close();
}

/* ---- when something runs out ---- */

static void without_descriptors_a_client_is_told_and_accepting_goes_on_later(void **state)
{
    tcp_open("tcp://127.0.0.1:0");
    int first = dial(), second = dial();
    struct rlimit was, few;
    getrlimit(RLIMIT_NOFILE, &was);
    few = was;
    few.rlim_cur = (rlim_t)second + 1; /* descriptors are given out lowest first: none is left */
    for (int fd = 3; fd < second; fd++)
        assert_true(fcntl(fd, F_GETFD) >= 0 || errno != EBADF); /* no hole below */
    setrlimit(RLIMIT_NOFILE, &few);
    until(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_accept_errors) == 1);
    setrlimit(RLIMIT_NOFILE, &was);
    char byte;
    assert_true(recv(first, &byte, 1, 0) <= 0); /* closed at once, not left hanging */
    test_settle(&w.t);
    assert_int_equal(w.opened, 0);
    test_pass(&w.t, 100);
    until(w.opened == 1); /* the second waited in the backlog */
    close(first);
    close(second);
    until(w.owners[0].ended);
    tcp_close();
}

static void accepting_survives_every_failing_allocation(void **state)
{
    static const char *const urls[] = {"tcp://127.0.0.1:0", "ws://127.0.0.1:0"};
    for (size_t u = 0; u < 2; u++) {
        bool failed = true;
        for (size_t nth = 1; failed; nth++) {
            assert_true(nth < 20);
            tcp_open(urls[u]);
            int fd = dial();
            struct pollfd there = {.fd = fd, .events = POLLIN};
            crs_alloc_fail_at(nth);
            do
                crs_loop_turn(w.t.loop);
            while (crs_transport_count(w.transport) == 0 && poll(&there, 1, 0) == 0);
            test_settle(&w.t);
            crs_alloc_fail_at(0);
            failed = poll(&there, 1, 0) != 0; /* the server hung up */
            assert_int_equal(crs_transport_count(w.transport), failed ? 0 : 1);
            close(fd);
            until(crs_transport_count(w.transport) == 0);
            tcp_close();
        }
    }
}

static void a_listener_fails_cleanly_without_memory_or_address(void **state)
{
    world_open(&w);
    cereus_error err = {0};
    crs_endpoint e;
    assert_int_equal(crs_endpoint_parse("tcp://127.0.0.1:0", &e, &err), CEREUS_OK);
    listener = NULL;
    crs_alloc_fail_at(1);
    assert_int_equal(crs_listener_new(w.transport, &e, &listener, &err), CEREUS_E_NOMEM);
    assert_int_equal(err.status, CEREUS_E_NOMEM);
    int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(taken, (struct sockaddr *)&e.addr, e.addr_len), 0);
    assert_int_equal(listen(taken, 1), 0);
    e.addr_len = sizeof e.addr;
    getsockname(taken, (struct sockaddr *)&e.addr, &e.addr_len);
    assert_int_equal(crs_listener_new(w.transport, &e, &listener, &err), CEREUS_E_IO);
    assert_non_null(strstr(err.msg, "another program listens there"));
    assert_null(listener);
    close(taken);
    world_close(&w);
}

TEST_MAIN(cmocka_unit_test(endpoints_are_taken_apart), cmocka_unit_test(bad_endpoints_are_refused_with_a_reason),
          cmocka_unit_test(claiming_picks_a_free_port_and_an_address_in_use_is_told),
          cmocka_unit_test(packets_go_both_ways_and_the_peer_has_an_address),
          cmocka_unit_test(a_connection_sends_without_delay_and_keeps_alive),
          cmocka_unit_test(ipv6_peers_are_told_apart), cmocka_unit_test(a_slow_reader_gets_everything_in_the_end),
          cmocka_unit_test(a_reset_is_an_error), cmocka_unit_test(closing_says_goodbye_before_the_socket_goes),
          cmocka_unit_test(connections_outlive_their_listener),
          cmocka_unit_test(listeners_of_two_loops_share_an_address_that_was_claimed_once),
          cmocka_unit_test(without_descriptors_a_client_is_told_and_accepting_goes_on_later),
          cmocka_unit_test(accepting_survives_every_failing_allocation),
          cmocka_unit_test(a_listener_fails_cleanly_without_memory_or_address))
