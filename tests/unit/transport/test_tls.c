/* tests/unit/transport/test_tls.c: the server's side of TLS. The client is OpenSSL over memory, so that the test decides
 * which bytes go to the socket, and when. */
#include "conn_world.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/openssl.h"
#include "transport/socket.h"
#include "transport/tls.h"

/* ---- the client ---- */

/* clang-format off */
#define CLIENT_SSL(X) \
    X(TLS_client_method) X(SSL_CTX_ctrl) X(SSL_CTX_set_cipher_list) X(SSL_set_connect_state) \
    X(SSL_CTX_set_tlsext_max_fragment_length) X(SSL_set_tlsext_max_fragment_length) X(SSL_key_update) \
    X(SSL_renegotiate) X(SSL_get_shutdown) X(SSL_version) X(SSL_get1_peer_certificate)
#define CLIENT_CRYPTO(X) \
    X(BIO_s_mem) X(BIO_read) X(BIO_write) X(BIO_ctrl) X(X509_get_subject_name) X(X509_NAME_oneline) X(X509_free)
/* clang-format on */

static struct {
    CRS_LIBRARY_FIELDS(CLIENT_SSL)
    CRS_LIBRARY_FIELDS(CLIENT_CRYPTO)
} tls;

#define SYMBOL(function) {#function, (void **)&tls.function},

static void load_client(void)
{
    static const crs_symbol ssl[] = {CLIENT_SSL(SYMBOL)}, crypto[] = {CLIENT_CRYPTO(SYMBOL)};
    cereus_error err;
    assert_int_equal(crs_openssl_load(&err), CEREUS_OK);
    assert_int_equal(crs_library_load("libcrypto.so.3", "", crypto, CEREUS_COUNT(crypto), &err), CEREUS_OK);
    assert_int_equal(crs_library_load("libssl.so.3", "", ssl, CEREUS_COUNT(ssl), &err), CEREUS_OK);
}

static conn_world w;

typedef struct client {
    int fd;
    int server_fd; /* the other end, the connection's: to fill what it may write */
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out;
    size_t piece;   /* bytes written at a time, with a turn after each; 0: as many as fit */
    size_t raw_len; /* bytes received, records and all */
    bool eof;
} client;

static char path[2][300]; /* of the certificate and the key */

static const char *file(int which, const char *name)
{
    snprintf(path[which], sizeof path[which], "%s/%s", getenv("TEST_TLS"), name);
    return path[which];
}

static crs_tls *certificate(const char *name)
{
    crs_tls *ret = NULL;
    char cert[20], key[20];
    cereus_error err = {0};
    snprintf(cert, sizeof cert, "%s.crt", name);
    snprintf(key, sizeof key, "%s.key", name);
    assert_int_equal(crs_tls_new(file(0, cert), file(1, key), &ret, &err), CEREUS_OK);
    return ret;
}

static void tls_open(void)
{
    load_client();
    world_open(&w);
    assert_int_equal(crs_transport_set_tls(w.transport, certificate("server")), CEREUS_OK);
}

static uint64_t counted(crs_counter id)
{
    return crs_counter_read(&w.t.loop->counters, id);
}

static void turn(void)
{
    crs_loop_turn(w.t.loop);
}

/** A connection whose client speaks at most @p version (0: any). */
static client dial(crs_framing framing, int version)
{
    int fds[2];
    client c = {0};
    crs_socket_options opt = {.framing = framing, .tls = true};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(crs_socket_adopt(w.transport, fds[1], &opt), CEREUS_OK);
    c.fd = fds[0];
    c.server_fd = fds[1];
    c.ctx = crs_ssl.SSL_CTX_new(tls.TLS_client_method());
    assert_non_null(c.ctx);
    if (version) {
        assert_int_equal(tls.SSL_CTX_set_cipher_list(c.ctx, "ALL:@SECLEVEL=0"), 1);
        tls.SSL_CTX_ctrl(c.ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, version, NULL);
        tls.SSL_CTX_ctrl(c.ctx, SSL_CTRL_SET_MAX_PROTO_VERSION, version, NULL);
    }
    c.ssl = crs_ssl.SSL_new(c.ctx);
    c.in = crs_ssl.BIO_new(tls.BIO_s_mem());
    c.out = crs_ssl.BIO_new(tls.BIO_s_mem());
    tls.BIO_ctrl(c.in, BIO_C_SET_BUF_MEM_EOF_RETURN, -1, NULL);
    crs_ssl.SSL_set_bio(c.ssl, c.in, c.out);
    tls.SSL_set_connect_state(c.ssl);
    return c;
}

static void hang_up(client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    crs_ssl.SSL_free(c->ssl);
    crs_ssl.SSL_CTX_free(c->ctx);
}

/** Bytes on the wire, as they are; false: the server has closed. */
static bool send_raw(client *c, const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(c->fd, data + at, c->piece ? CRS_MIN(c->piece, len - at) : len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        at += n > 0 ? (size_t)n : 0;
        if (n < 0 || c->piece)
            turn();
    }
    return true;
}

/** What the client has to say goes out. */
static bool flush(client *c)
{
    uint8_t buf[32768];
    int n;
    while ((n = tls.BIO_read(c->out, buf, sizeof buf)) > 0) {
        if (!send_raw(c, buf, (size_t)n))
            return false;
    }
    return true;
}

/** What has come goes in; at most @p cap bytes. */
static void fill(client *c, size_t cap)
{
    uint8_t buf[32768];
    ssize_t n = recv(c->fd, buf, CRS_MIN(cap, sizeof buf), 0);
    if (n > 0)
        assert_int_equal(tls.BIO_write(c->in, buf, (int)n), n);
    c->raw_len += n > 0 ? (size_t)n : 0;
    c->eof = c->eof || n == 0 || (n < 0 && errno != EAGAIN);
}

/** True once it is done, false when it fails. */
static bool shake(client *c)
{
    while (true) {
        crs_ssl.ERR_clear_error();
        int rc = crs_ssl.SSL_do_handshake(c->ssl);
        int why = rc == 1 ? 0 : crs_ssl.SSL_get_error(c->ssl, rc);
        bool sent = flush(c);
        if (rc == 1)
            return sent;
        if (why != SSL_ERROR_WANT_READ || c->eof)
            return false;
        turn();
        fill(c, SIZE_MAX);
    }
}

static client connect_tls(void)
{
    client c = dial(CRS_FRAMING_STREAM, 0);
    size_t before = w.opened;
    assert_true(shake(&c));
    while (w.opened == before)
        turn();
    return c;
}

/** Application bytes; one record for every 16 KiB, or for each call. */
static void put(client *c, const void *data, size_t len)
{
    assert_int_equal(crs_ssl.SSL_write(c->ssl, data, (int)len), len);
}

static void put_packet(client *c, const char *text)
{
    crs_bytes b = packet_of(text, strlen(text));
    put(c, b.data, b.len);
    crs_bytes_fini(&b);
}

/** Read exactly @p len application bytes, at most @p step raw bytes a turn. */
static void get_in_steps(client *c, uint8_t *data, size_t len, size_t step)
{
    for (size_t at = 0; at < len;) {
        int n = crs_ssl.SSL_read(c->ssl, data + at, (int)CRS_MIN(len - at, (size_t)1 << 20));
        if (n > 0) {
            at += (size_t)n;
            continue;
        }
        assert_int_equal(crs_ssl.SSL_get_error(c->ssl, n), SSL_ERROR_WANT_READ);
        assert_false(c->eof);
        flush(c);
        turn();
        fill(c, step);
    }
}

static void get(client *c, void *data, size_t len)
{
    get_in_steps(c, data, len, SIZE_MAX);
}

static void assert_hears(client *c, const char *text)
{
    char want[200], got[200];
    size_t len = strlen(text);
    get(c, got, CRS_PACKET_HEAD_LEN + len);
    crs_put_u24((uint8_t *)want + 1, (uint32_t)len);
    want[0] = CRS_PACKET_DATA;
    memcpy(want + CRS_PACKET_HEAD_LEN, text, len);
    assert_memory_equal(got, want, CRS_PACKET_HEAD_LEN + len);
}

/** Read until the server's end; returns whether it said goodbye. */
static bool hears_the_end(client *c)
{
    uint8_t byte;
    while (!c->eof) {
        turn();
        fill(c, SIZE_MAX);
    }
    while (crs_ssl.SSL_read(c->ssl, &byte, 1) > 0)
        ;
    return tls.SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN;
}

#define until(condition)     \
    do {                     \
        while (!(condition)) \
            turn();          \
    } while (0)

static crs_input echo(conn_owner *o, cereus_slice body)
{
    say_packet(o->conn, body.data, body.len);
    return CRS_INPUT_MORE;
}

/** Fill what the server may write, so that it must wait; returns how many bytes lie there now. */
static size_t stuff(client *c)
{
    static const uint8_t junk[1000];
    size_t len = 0;
    ssize_t n;
    while ((n = send(c->server_fd, junk, sizeof junk, MSG_NOSIGNAL)) > 0)
        len += (size_t)n;
    while ((n = send(c->server_fd, junk, 1, MSG_NOSIGNAL)) > 0)
        len++;
    return len;
}

static void unstuff(client *c, size_t len)
{
    uint8_t junk[1000];
    while (len > 0) {
        ssize_t n = recv(c->fd, junk, CRS_MIN(len, sizeof junk), 0);
        assert_true(n > 0);
        len -= (size_t)n;
    }
}

/* ---- handshakes ---- */

static void packets_go_both_ways_in_both_versions(void **state)
{
    static const int versions[] = {0, TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < CEREUS_COUNT(versions); i++) {
        tls_open();
        w.react = echo;
        client c = dial(CRS_FRAMING_STREAM, versions[i]);
        assert_true(shake(&c));
        assert_int_equal(tls.SSL_version(c.ssl), versions[i] ? versions[i] : TLS1_3_VERSION);
        put_packet(&c, "hi");
        flush(&c);
        assert_hears(&c, "hi");
        assert_int_equal(counted(CRS_COUNTER_tls_handshakes), 1);
        assert_int_equal(counted(CRS_COUNTER_tls_failures), 0);
        hang_up(&c);
        world_close(&w);
    }
}

static void a_handshake_and_packets_may_come_in_pieces_of_any_size(void **state)
{
    static const size_t pieces[] = {1, 2, 3, 5, 7, 100, 1000};
    for (size_t i = 0; i < 2 * CEREUS_COUNT(pieces); i++) {
        tls_open();
        w.react = echo;
        client c = dial(CRS_FRAMING_STREAM, i % 2 ? TLS1_2_VERSION : 0);
        c.piece = pieces[i / 2];
        assert_true(shake(&c));
        put_packet(&c, "one");
        put_packet(&c, "two");
        flush(&c);
        assert_hears(&c, "one");
        assert_hears(&c, "two");
        hang_up(&c);
        world_close(&w);
    }
}

static void what_comes_with_the_end_of_the_handshake_is_not_left_lying(void **state)
{
    tls_open();
    client c = dial(CRS_FRAMING_STREAM, TLS1_3_VERSION);
    while (crs_ssl.SSL_do_handshake(c.ssl) != 1) {
        flush(&c);
        turn();
        fill(&c, SIZE_MAX);
    }
    put_packet(&c, "early"); /* in one write with the client's last word */
    flush(&c);
    test_settle(&w.t);
    assert_got(&w.owners[0], "early|");
    hang_up(&c);
    world_close(&w);
}

static void the_same_when_the_server_must_wait_before_its_last_word(void **state)
{
    tls_open();
    client c = dial(CRS_FRAMING_STREAM, TLS1_3_VERSION);
    while (crs_ssl.SSL_do_handshake(c.ssl) != 1) {
        flush(&c);
        turn();
        fill(&c, SIZE_MAX);
    }
    size_t len = stuff(&c);
    put_packet(&c, "early");
    flush(&c);
    test_settle(&w.t);
    assert_int_equal(w.opened, 0); /* the ticket cannot go out */
    unstuff(&c, len);
    test_settle(&w.t);
    assert_int_equal(w.opened, 1);
    assert_got(&w.owners[0], "early|");
    hang_up(&c);
    world_close(&w);
}

static void old_versions_are_refused(void **state)
{
    static const int versions[] = {TLS1_VERSION, TLS1_1_VERSION};
    for (size_t i = 0; i < CEREUS_COUNT(versions); i++) {
        tls_open();
        client c = dial(CRS_FRAMING_STREAM, versions[i]);
        assert_false(shake(&c));
        assert_int_equal(counted(CRS_COUNTER_tls_failures), 1);
        assert_int_equal(crs_transport_count(w.transport), 0);
        assert_int_equal(w.opened, 0);
        hang_up(&c);
        world_close(&w);
    }
}

static void what_is_no_handshake_is_refused(void **state)
{
    static const char *const plain[] = {"\4\0\0\2hi-and-more", "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                        "\x16\3\1\xff\xff\1\2\3\4\5"};
    tls_open();
    for (size_t i = 0; i < CEREUS_COUNT(plain); i++) {
        client c = dial(CRS_FRAMING_STREAM, 0);
        send_raw(&c, (const uint8_t *)plain[i], strlen(plain[i]) < 10 ? 15 : strlen(plain[i]));
        test_settle(&w.t);
        assert_int_equal(crs_transport_count(w.transport), 0);
        assert_int_equal(counted(CRS_COUNTER_tls_failures), i + 1);
        hang_up(&c);
    }
    assert_int_equal(w.opened, 0);
    world_close(&w);
}

static void half_a_hello_and_then_silence_ends_at_the_opening_deadline(void **state)
{
    tls_open();
    client c = dial(CRS_FRAMING_STREAM, 0), silent = dial(CRS_FRAMING_STREAM, 0);
    uint8_t hello[2000];
    crs_ssl.SSL_do_handshake(c.ssl);
    int len = tls.BIO_read(c.out, hello, sizeof hello);
    assert_true(len > 100);
    send_raw(&c, hello, (size_t)len / 2);
    test_pass(&w.t, 2999);
    send_raw(&c, hello + len / 2, 1);
    assert_int_equal(crs_transport_count(w.transport), 2);
    test_pass(&w.t, 1);
    assert_int_equal(crs_transport_count(w.transport), 0);
    assert_int_equal(counted(CRS_COUNTER_handshake_timeouts), 2);
    hang_up(&c);
    hang_up(&silent);
    world_close(&w);
}

static void hanging_up_anywhere_within_the_handshake_leaves_nothing(void **state)
{
    tls_open();
    uint8_t hello[2000];
    for (size_t cut = 0;; cut += 13) {
        client c = dial(CRS_FRAMING_STREAM, 0);
        crs_ssl.SSL_do_handshake(c.ssl);
        size_t len = (size_t)tls.BIO_read(c.out, hello, sizeof hello);
        send_raw(&c, hello, CRS_MIN(cut, len));
        test_settle(&w.t);
        hang_up(&c);
        test_settle(&w.t);
        assert_int_equal(crs_transport_count(w.transport), 0);
        if (cut > len)
            break;
    }
    assert_int_equal(w.opened, 0);
    world_close(&w);
}

static void a_new_certificate_is_for_the_next_connection(void **state)
{
    char name[2][50];
    tls_open();
    w.react = echo;
    client c[2];
    for (size_t i = 0; i < 2; i++) {
        c[i] = connect_tls();
        X509 *cert = tls.SSL_get1_peer_certificate(c[i].ssl);
        tls.X509_NAME_oneline(tls.X509_get_subject_name(cert), name[i], sizeof name[i]);
        tls.X509_free(cert);
        if (i == 0)
            assert_int_equal(crs_transport_set_tls(w.transport, certificate("other")), CEREUS_OK);
    }
    assert_string_equal(name[0], "/CN=server");
    assert_string_equal(name[1], "/CN=other");
    for (size_t i = 0; i < 2; i++) {
        put_packet(&c[i], "still here");
        flush(&c[i]);
        assert_hears(&c[i], "still here");
        hang_up(&c[i]);
    }
    world_close(&w);
}

static void a_websocket_is_upgraded_within_tls(void **state)
{
    static const char upgrade[] = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    tls_open();
    w.react = echo;
    client c = dial(CRS_FRAMING_WEBSOCKET, 0);
    assert_true(shake(&c));
    put(&c, upgrade, sizeof upgrade - 1);
    put(&c, "\x82\x86\0\0\0\0\4\0\0\2hi", 12);
    flush(&c);
    char head[1000] = {0};
    for (size_t at = 0; !strstr(head, "\r\n\r\n"); at++)
        get(&c, head + at, 1);
    assert_non_null(strstr(head, "HTTP/1.1 101 "));
    get(&c, head, 8);
    assert_memory_equal(head, "\x82\6\4\0\0\2hi", 8);
    hang_up(&c);
    world_close(&w);
}

/* ---- bytes ---- */

static void the_longest_packet_goes_both_ways(void **state)
{
    enum { LEN = CRS_PACKET_HEAD_LEN + PACKET_MAX };
    tls_open();
    w.react = echo;
    client c = connect_tls();
    uint8_t *big = malloc(LEN), *got = malloc(LEN);
    for (size_t i = 0; i < LEN; i++)
        big[i] = (uint8_t)(i * 7 + i / 1000);
    memcpy(big, "\4\xff\xff\xff", 4);
    for (size_t at = 0; at < LEN; at += 1 << 20) {
        put(&c, big + at, CRS_MIN((size_t)1 << 20, LEN - at));
        flush(&c);
    }
    get(&c, got, LEN);
    assert_memory_equal(got, big, LEN);
    free(big);
    free(got);
    hang_up(&c);
    world_close(&w);
}

static void many_small_pieces_share_records(void **state)
{
    enum { COUNT = 1000, LEN = 24 };
    tls_open();
    client c = connect_tls();
    crs_frame frame = frame_of("twenty bytes of text");
    until(crs_conn_out_len(w.owners[0].conn) == 0);
    fill(&c, SIZE_MAX); /* the ticket */
    size_t before = c.raw_len;
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(crs_conn_send_frame(w.owners[0].conn, &frame), CEREUS_OK);
    crs_buf_unref(frame.buf);
    uint8_t *got = malloc((size_t)COUNT * LEN);
    get(&c, got, (size_t)COUNT * LEN);
    for (size_t i = 0; i < COUNT; i++)
        assert_memory_equal(got + i * LEN, "\4\0\0\x14twenty bytes of text", LEN);
    assert_in_range(c.raw_len - before, COUNT * LEN, COUNT * LEN + 20 * 64); /* a record costs 22 bytes */
    free(got);
    hang_up(&c);
    world_close(&w);
}

/** Packets of all sizes, in all the ways that a server says them; the client reads now and then. */
static void a_peer_that_reads_by_fits_and_starts_gets_the_stream_intact(void **state)
{
    tls_open();
    client c = connect_tls();
    conn_owner *o = &w.owners[0];
    crs_frame frame = frame_of("a shared frame");
    crs_bytes want;
    crs_bytes_init(&want, 64 << 20);
    uint8_t *body = malloc(100000), *got = malloc(64 << 20);
    uint32_t dice = 1;
    size_t got_len = 0;
    for (size_t i = 0; i < 100000; i++)
        body[i] = (uint8_t)(i * 31);
    for (int round = 0; round < 600; round++) {
        dice = dice * 1664525 + 1013904223;
        int said = (dice >> 28) + 1;
        for (int i = 0; i < said; i++) {
            dice = dice * 1664525 + 1013904223;
            size_t len = (dice >> 24) % 7 == 0 ? (dice >> 8) % 100000 : (dice >> 8) % 300;
            uint8_t head[CRS_PACKET_HEAD_LEN];
            if (dice >> 31) {
                assert_int_equal(crs_conn_send_frame(o->conn, &frame), CEREUS_OK);
                assert_int_equal(crs_bytes_append(&want, frame.buf->data + frame.ws_head, 18), CEREUS_OK);
                continue;
            }
            assert_true(say_packet(o->conn, body, len));
            assert_int_equal(crs_packet_head(CRS_PACKET_DATA, len, head), CEREUS_OK);
            assert_int_equal(crs_bytes_append(&want, head, sizeof head), CEREUS_OK);
            assert_int_equal(crs_bytes_append(&want, body, len), CEREUS_OK);
        }
        turn();
        if (round % 50 > 40) { /* else it does not look */
            size_t part = (want.len - got_len) / 2;
            get_in_steps(&c, got + got_len, part, 1 + (dice >> 8) % 30000);
            got_len += part;
        }
    }
    assert_true(o->blocked > 1);
    get(&c, got + got_len, want.len - got_len);
    assert_memory_equal(got, want.data, want.len);
    test_settle(&w.t);
    assert_int_equal(crs_conn_out_len(o->conn), 0);
    crs_buf_unref(frame.buf);
    crs_bytes_fini(&want);
    free(body);
    free(got);
    hang_up(&c);
    world_close(&w);
}

/** Five records of 15,000 bytes are more than one read takes, and then no byte is left in the kernel. */
static void what_openssl_still_holds_is_asked_for(void **state)
{
    for (int pause = 0; pause < 2; pause++) {
        tls_open();
        client c = connect_tls();
        uint8_t record[15000];
        for (size_t at = 0; at < sizeof record; at += 1000) {
            memset(record + at, 'x', 1000);
            memcpy(record + at, "\4\0\3\xe4", 4);
        }
        for (int i = 0; i < 5; i++)
            put(&c, record, sizeof record);
        w.owners[0].answer = pause ? CRS_INPUT_PAUSE : CRS_INPUT_MORE;
        flush(&c);
        test_settle(&w.t);
        for (int i = 1; pause && i < 75; i++) {
            assert_int_equal(w.owners[0].packets, i);
            crs_conn_resume(w.owners[0].conn);
            test_settle(&w.t);
        }
        assert_int_equal(w.owners[0].packets, 75);
        if (pause)
            crs_conn_resume(w.owners[0].conn);
        put_packet(&c, "more");
        flush(&c);
        test_settle(&w.t);
        assert_int_equal(w.owners[0].packets, 76);
        hang_up(&c);
        world_close(&w);
    }
}

/* ---- new keys ---- */

static void a_client_may_change_its_keys_and_ask_for_new_ones(void **state)
{
    tls_open();
    w.react = echo;
    client c = connect_tls();
    for (int i = 0; i < 4; i++) {
        assert_int_equal(tls.SSL_key_update(c.ssl, i % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        put_packet(&c, "hi");
        flush(&c);
        assert_hears(&c, "hi");
    }
    hang_up(&c);
    world_close(&w);
}

static void new_keys_leave_the_stream_intact(uint8_t max_fragment_length)
{
    enum { LEN = 4 << 20 };
    tls_open();
    client c = dial(CRS_FRAMING_STREAM, 0);
    assert_int_equal(tls.SSL_CTX_set_tlsext_max_fragment_length(c.ctx, max_fragment_length), 1);
    assert_int_equal(tls.SSL_set_tlsext_max_fragment_length(c.ssl, max_fragment_length), 1);
    assert_true(shake(&c));
    until(w.opened == 1);
    uint8_t *big = malloc(LEN), *got = malloc(4 + LEN);
    for (size_t i = 0; i < LEN; i++)
        big[i] = (uint8_t)(i * 11);
    assert_true(say_packet(w.owners[0].conn, big, LEN));
    until(w.owners[0].blocked);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tls.SSL_key_update(c.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        put_packet(&c, "hi");
        flush(&c);
        test_settle(&w.t);
    }
    get(&c, got, 4 + LEN);
    assert_memory_equal(got + 4, big, LEN);
    test_settle(&w.t);
    assert_got(&w.owners[0], "hi|hi|hi|");
    say_text(w.owners[0].conn, "ho");
    assert_hears(&c, "ho");
    free(big);
    free(got);
    hang_up(&c);
    world_close(&w);
}

static void new_keys_while_a_record_waits_leave_the_stream_intact(void **state)
{
    new_keys_leave_the_stream_intact(TLSEXT_max_fragment_length_DISABLED);
}

static void and_so_they_do_with_short_records(void **state)
{
    new_keys_leave_the_stream_intact(TLSEXT_max_fragment_length_512);
}

static ssize_t (*real_recv)(crs_conn *, void *, size_t);
static int recv_count;

static ssize_t counting_recv(crs_conn *conn, void *buf, size_t cap)
{
    recv_count++;
    return real_recv(conn, buf, cap);
}

/** The answer to a change of keys goes out with the next words, and while it cannot nothing can be read either. */
static void an_answer_to_new_keys_that_must_wait_costs_no_turns(void **state)
{
    tls_open();
    client c = connect_tls();
    test_settle(&w.t);
    fill(&c, SIZE_MAX);
    size_t len = stuff(&c);
    assert_int_equal(tls.SSL_key_update(c.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    put_packet(&c, "one");
    flush(&c);
    test_settle(&w.t);
    assert_got(&w.owners[0], "one|");
    assert_true(say_text(w.owners[0].conn, "with the new keys"));
    test_settle(&w.t);
    assert_int_equal(w.owners[0].blocked, 1);
    real_recv = spy_ops.recv;
    spy_ops.recv = counting_recv;
    recv_count = 0;
    put_packet(&c, "two");
    flush(&c);
    for (int i = 0; i < 100; i++)
        turn();
    assert_in_range(recv_count, 1, 2);
    unstuff(&c, len);
    assert_hears(&c, "with the new keys");
    test_settle(&w.t);
    assert_got(&w.owners[0], "one|two|");
    hang_up(&c);
    world_close(&w);
}

static void a_second_handshake_is_refused(void **state)
{
    tls_open();
    w.react = echo;
    client c = dial(CRS_FRAMING_STREAM, TLS1_2_VERSION);
    assert_true(shake(&c));
    until(w.opened == 1);
    assert_int_equal(tls.SSL_renegotiate(c.ssl), 1);
    assert_false(shake(&c));
    assert_int_equal(counted(CRS_COUNTER_tls_handshakes), 1);
    hang_up(&c);
    until(w.owners[0].ended == 1);
    world_close(&w);
}

/* ---- ends ---- */

static void a_goodbye_ends_it_with_and_without_the_end_of_the_socket(void **state)
{
    for (int fin = 0; fin < 2; fin++) {
        tls_open();
        client c = connect_tls();
        put_packet(&c, "last");
        crs_ssl.SSL_shutdown(c.ssl);
        flush(&c);
        if (fin)
            shutdown(c.fd, SHUT_WR);
        test_settle(&w.t);
        assert_got(&w.owners[0], "last|");
        assert_int_equal(w.owners[0].ended, 1);
        assert_int_equal(w.owners[0].why, CRS_END_PEER);
        hang_up(&c);
        world_close(&w);
    }
}

static void hanging_up_without_a_goodbye_is_no_error(void **state)
{
    for (int half = 0; half < 2; half++) {
        tls_open();
        client c = connect_tls();
        put_packet(&c, "last");
        flush(&c);
        test_settle(&w.t);
        fill(&c, SIZE_MAX); /* the ticket: unread, it would make this a reset */
        if (half) {         /* within a record */
            uint8_t record[100];
            put_packet(&c, "never read");
            assert_true(tls.BIO_read(c.out, record, sizeof record) > 20);
            send_raw(&c, record, 20);
        }
        hang_up(&c);
        until(w.owners[0].ended);
        assert_got(&w.owners[0], "last|");
        assert_int_equal(w.owners[0].why, CRS_END_PEER);
        world_close(&w);
    }
}

static void a_forged_record_is_an_error(void **state)
{
    tls_open();
    client c = connect_tls();
    uint8_t record[100];
    put_packet(&c, "forged");
    int len = tls.BIO_read(c.out, record, sizeof record);
    record[len - 1] ^= 1;
    send_raw(&c, record, (size_t)len);
    until(w.owners[0].ended);
    assert_int_equal(w.owners[0].packets, 0);
    assert_int_equal(w.owners[0].why, CRS_END_ERROR);
    hang_up(&c);
    world_close(&w);
}

static void closing_says_everything_and_then_goodbye(void **state)
{
    enum { LEN = 1 << 20 };
    tls_open();
    client c = connect_tls();
    uint8_t *big = calloc(1, LEN), *got = malloc(4 + LEN);
    assert_true(say_packet(w.owners[0].conn, big, LEN));
    put_packet(&c, "unread");
    flush(&c);
    crs_conn_close(w.owners[0].conn, true);
    w.owners[0].conn = NULL;
    get(&c, got, 4 + LEN);
    assert_true(hears_the_end(&c));
    hang_up(&c);
    until(crs_transport_count(w.transport) == 0);
    free(big);
    free(got);
    world_close(&w);
}

/* ---- certificates ---- */

static void assert_refused(const char *cert, const char *key, int at_fault, const char *why)
{
    crs_tls *ret = (crs_tls *)&ret;
    cereus_error err = {0};
    assert_int_equal(crs_tls_new(file(0, cert), file(1, key), &ret, &err), CEREUS_E_INVALID);
    assert_ptr_equal(ret, &ret);
    assert_int_equal(err.status, CEREUS_E_INVALID);
    if (strncmp(err.msg, path[at_fault], strlen(path[at_fault])) != 0 || !strstr(err.msg, why))
        fail_msg("%s, %s: %s", cert, key, err.msg);
}

static void what_is_wrong_with_a_certificate_is_told_with_its_file(void **state)
{
    assert_refused("none.crt", "server.key", 0, ": No such file or directory");
    assert_refused("server.crt", "none.key", 1, ": No such file or directory");
    assert_refused("server.key", "server.key", 0, ": not a certificate in PEM form (");
    assert_refused(".", "server.key", 0, ": not a certificate in PEM form (");
    assert_refused("server.crt", "server.crt", 1, ": not a private key in PEM form without a password (");
    assert_refused("server.crt", "locked.key", 1, ": not a private key in PEM form without a password (");
    assert_refused("server.crt", "other.key", 1, ": this key does not belong to the certificate ");
}

static void references_are_counted(void **state)
{
    load_client();
    crs_tls *one = certificate("server"), *two = crs_tls_ref(one);
    assert_ptr_equal(one, two);
    assert_null(crs_tls_unref(one));
    assert_null(crs_tls_unref(two)); /* the leak checker counts too */
    assert_null(crs_tls_ref(NULL));
    assert_null(crs_tls_unref(NULL));
}

static void without_memory_the_old_certificate_stays(void **state)
{
    load_client();
    world_open(&w);
    crs_alloc_fail_at(1);
    assert_int_equal(crs_transport_set_tls(w.transport, certificate("server")), CEREUS_E_NOMEM);
    crs_alloc_fail_at(0);
    world_close(&w);
}

TEST_MAIN(cmocka_unit_test(packets_go_both_ways_in_both_versions),
          cmocka_unit_test(a_handshake_and_packets_may_come_in_pieces_of_any_size),
          cmocka_unit_test(what_comes_with_the_end_of_the_handshake_is_not_left_lying),
          cmocka_unit_test(the_same_when_the_server_must_wait_before_its_last_word),
          cmocka_unit_test(old_versions_are_refused), cmocka_unit_test(what_is_no_handshake_is_refused),
          cmocka_unit_test(half_a_hello_and_then_silence_ends_at_the_opening_deadline),
          cmocka_unit_test(hanging_up_anywhere_within_the_handshake_leaves_nothing),
          cmocka_unit_test(a_new_certificate_is_for_the_next_connection),
          cmocka_unit_test(a_websocket_is_upgraded_within_tls), cmocka_unit_test(the_longest_packet_goes_both_ways),
          cmocka_unit_test(many_small_pieces_share_records),
          cmocka_unit_test(a_peer_that_reads_by_fits_and_starts_gets_the_stream_intact),
          cmocka_unit_test(what_openssl_still_holds_is_asked_for),
          cmocka_unit_test(a_client_may_change_its_keys_and_ask_for_new_ones),
          cmocka_unit_test(new_keys_while_a_record_waits_leave_the_stream_intact),
          cmocka_unit_test(and_so_they_do_with_short_records),
          cmocka_unit_test(an_answer_to_new_keys_that_must_wait_costs_no_turns),
          cmocka_unit_test(a_second_handshake_is_refused),
          cmocka_unit_test(a_goodbye_ends_it_with_and_without_the_end_of_the_socket),
          cmocka_unit_test(hanging_up_without_a_goodbye_is_no_error), cmocka_unit_test(a_forged_record_is_an_error),
          cmocka_unit_test(closing_says_everything_and_then_goodbye),
          cmocka_unit_test(what_is_wrong_with_a_certificate_is_told_with_its_file),
          cmocka_unit_test(references_are_counted), cmocka_unit_test(without_memory_the_old_certificate_stays))
