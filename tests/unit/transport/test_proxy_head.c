/* tests/unit/transport/test_proxy_head.c */
#include "test.h"

#include "base/base.h"
#include "transport/proxy_head.h"

#define MARK   "\r\n\r\n\0\r\nQUIT\n"
#define BODY_4 "\1\2\3\4\5\6\7\10\4\127\10\256" /* 1.2.3.4:1111 to 5.6.7.8:2222 */
#define BODY_6 "\x20\1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x20\1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\2\x0d\x05\x11\x5c"

typedef struct head {
    const char *bytes;
    size_t len;
    const char *peer; /* NULL: whoever has connected */
} head;

#define HEAD(bytes, peer)              \
    {                                  \
        bytes, sizeof(bytes) - 1, peer \
    }

static const head good[] = {
    HEAD("PROXY TCP4 192.168.0.1 10.0.0.1 56324 443\r\n", "192.168.0.1:56324"),
    HEAD("PROXY TCP4 1.1.1.1 1.1.1.1 2 3\r\n", "1.1.1.1:2"),
    HEAD("PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", "[2001:db8::1]:56324"),
    HEAD("PROXY TCP4 ::1 ::2 12345 23456\r\n", "[::1]:12345"), /* vector proxy-v1-tcp6-in-tcp4 */
    HEAD("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
    HEAD("PROXY UNKNOWN\r\n", NULL),
    HEAD("PROXY UNKNOWN 1.1.1.1 2.2.2.2 1 2\r\n", NULL),
    HEAD("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
         "65535\r\n",
         NULL), /* 107 bytes, the longest that the protocol knows */
    HEAD(MARK "\x21\x11\0\x0c" BODY_4, "1.2.3.4:1111"),
    HEAD(MARK "\x21\x12\0\x0c" BODY_4, "1.2.3.4:1111"), /* UDP: vector proxy-v2-udp4 */
    HEAD(MARK "\x21\x21\0\x24" BODY_6, "[2001:db8::1]:3333"),
    HEAD(MARK "\x21\x22\0\x24" BODY_6, "[2001:db8::1]:3333"),
    HEAD(MARK "\x21\x11\0\x11" BODY_4 "\1\0\2h2", "1.2.3.4:1111"), /* an extension behind */
    HEAD(MARK "\x20\0\0\0", NULL),
    HEAD(MARK "\x20\x11\0\x0c" BODY_4, NULL),
};

static const head bad[] = {
    HEAD("PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", NULL),
    HEAD("PROXY TCP4 999.1.1.1 2.2.2.2 1 2\r\n", NULL),
    HEAD("PROXY TCP4 1.1.1.1 2.2.2 1 2\r\n", NULL),
    HEAD("PROXY TCP4 1.1.1.1 2.2.2.2 x 2\r\n", NULL),
    HEAD("PROXY TCP4 1.1.1.1 2.2.2.2 1 -2\r\n", NULL),
    HEAD("PROXY TCP4 1.1.1.1 2.2.2.2 70000 2\r\n", NULL),
    HEAD("PROXY TCP4 1.1.1.1 2.2.2.2 1 99999999999999999999\r\n", NULL),
    HEAD("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", NULL),
    HEAD("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", NULL),
    HEAD("PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", NULL),
    HEAD("PROXY TCP4\r\n", NULL),
    HEAD("PROXY \r\n", NULL),
    HEAD("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rX", NULL),
    HEAD("proxy ", NULL),
    HEAD("\1", NULL), /* a handshake packet: vector proxy-none */
    HEAD("GET / HTTP/1.1\r\n", NULL),
    HEAD(MARK "\x21\x31\0\xd8", NULL), /* UNIX */
    HEAD(MARK "\x21\0\0\0", NULL),     /* UNSPEC */
    HEAD(MARK "\x21\x11\0\x08" BODY_4, NULL),
    HEAD(MARK "\x21\x21\0\x0c" BODY_4, NULL),
    HEAD(MARK "\x21\x13\0\x0c" BODY_4, NULL),
    HEAD(MARK "\x11\x11\0\x0c" BODY_4, NULL),
    HEAD(MARK "\x22\x11\0\x0c" BODY_4, NULL),
    HEAD(MARK "\x21\x11\x08\x01", NULL), /* 2049: refused before it is waited for */
    HEAD(MARK "\x20\x11\x08\x01", NULL),
};

static cereus_status parse(const void *data, size_t len, bool *known, crs_peer *peer, size_t *used)
{
    uint8_t *in = test_copy(data, len);
    cereus_status st = crs_proxy_head_parse(cereus_slice_of(in, len), known, peer, used);
    free(in);
    return st;
}

static void every_part_of_a_head_waits_and_the_whole_names_the_client(void **state)
{
    for (size_t i = 0; i < CEREUS_COUNT(good); i++) {
        bool known = true;
        crs_peer peer = {.port = 9};
        size_t used = 99;
        for (size_t len = 0; len < good[i].len; len++) {
            if (parse(good[i].bytes, len, &known, &peer, &used) != CEREUS_E_AGAIN)
                fail_msg("head %zu, %zu bytes of it", i, len);
            assert_int_equal(used, 99);
            assert_int_equal(peer.port, 9);
        }
        char more[300], text[CRS_PEER_TEXT_MAX]; /* what follows is not looked at */
        memcpy(more, good[i].bytes, good[i].len);
        memcpy(more + good[i].len, "\r\n\1\0\0", 5);
        for (size_t behind = 0; behind <= 5; behind += 5) {
            assert_int_equal(parse(more, good[i].len + behind, &known, &peer, &used), CEREUS_OK);
            assert_int_equal(used, good[i].len);
            assert_int_equal(known, good[i].peer != NULL);
            if (known)
                assert_string_equal(crs_peer_text(&peer, text), good[i].peer);
        }
    }
}

static void what_is_no_head_is_refused(void **state)
{
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        bool known;
        crs_peer peer;
        size_t used = 99;
        if (parse(bad[i].bytes, bad[i].len, &known, &peer, &used) != CEREUS_E_MALFORMED)
            fail_msg("head %zu is taken", i);
        assert_int_equal(used, 99);
    }
}

static void a_head_with_one_wrong_byte_is_answered_somehow(void **state)
{
    for (size_t i = 0; i < CEREUS_COUNT(good); i++) {
        for (size_t at = 0; at < good[i].len; at++) {
            uint8_t *in = test_copy(good[i].bytes, good[i].len);
            for (int byte = 0; byte < 256; byte++) {
                bool known = false;
                crs_peer peer = {0};
                size_t used = 0;
                in[at] = (uint8_t)byte;
                cereus_status st = crs_proxy_head_parse(cereus_slice_of(in, good[i].len), &known, &peer, &used);
                assert_true(st == CEREUS_E_AGAIN || st == CEREUS_E_MALFORMED || st == CEREUS_OK);
                if (st == CEREUS_OK)
                    assert_in_range(used, 15, good[i].len);
            }
            free(in);
        }
    }
}

static void a_line_ends_within_107_bytes(void **state)
{
    char line[200];
    bool known;
    crs_peer peer;
    size_t used;
    memset(line, 'x', sizeof line);
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(parse(line, CRS_PROXY_V1_MAX - 1, &known, &peer, &used), CEREUS_E_AGAIN);
    assert_int_equal(parse(line, CRS_PROXY_V1_MAX, &known, &peer, &used), CEREUS_E_MALFORMED);
    memcpy(line + CRS_PROXY_V1_MAX - 2, "\r\n", 2);
    assert_int_equal(parse(line, sizeof line, &known, &peer, &used), CEREUS_OK);
    assert_int_equal(used, CRS_PROXY_V1_MAX);
    memcpy(line + CRS_PROXY_V1_MAX - 2, "x\r\n", 3); /* one byte more */
    assert_int_equal(parse(line, CRS_PROXY_V1_MAX, &known, &peer, &used), CEREUS_E_MALFORMED);
    assert_int_equal(parse(line, sizeof line, &known, &peer, &used), CEREUS_E_MALFORMED);
}

static void extensions_take_2048_bytes_with_the_addresses(void **state)
{
    char *in = calloc(1, CRS_PROXY_HEAD_MAX);
    bool known;
    crs_peer peer;
    size_t used;
    memcpy(in, MARK "\x21\x11\x08\0" BODY_4, 28);
    assert_int_equal(parse(in, CRS_PROXY_HEAD_MAX - 1, &known, &peer, &used), CEREUS_E_AGAIN);
    assert_int_equal(parse(in, CRS_PROXY_HEAD_MAX, &known, &peer, &used), CEREUS_OK);
    assert_int_equal(used, CRS_PROXY_HEAD_MAX);
    free(in);
}

TEST_MAIN(cmocka_unit_test(every_part_of_a_head_waits_and_the_whole_names_the_client),
          cmocka_unit_test(what_is_no_head_is_refused),
          cmocka_unit_test(a_head_with_one_wrong_byte_is_answered_somehow),
          cmocka_unit_test(a_line_ends_within_107_bytes),
          cmocka_unit_test(extensions_take_2048_bytes_with_the_addresses))
