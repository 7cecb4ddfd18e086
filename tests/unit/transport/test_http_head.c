/* tests/unit/transport/test_http_head.c: the requests and answers of websocket.json, and what HTTP allows people to
 * try. */
#include "test.h"

#include "transport/http_head.h"

#define KEY     "dGhlIHNhbXBsZSBub25jZQ=="
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define SECRET  "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n"
#define GOOD    "GET / HTTP/1.1\r\nHost: localhost\r\n" UPGRADE SECRET "\r\n"

enum { NOV_23_2026 = 1795475039 }; /* Mon, 23 Nov 2026 23:03:59 GMT */

static cereus_status parse(const char *text, size_t len, crs_ws_upgrade *up, size_t *used)
{
    uint8_t *copy = test_copy(text, len);
    cereus_status st = crs_http_head_parse(cereus_slice_of(copy, len), CRS_HTTP_HEAD_MAX, up, used);
    free(copy); /* the slices in *up dangle now; tests that look at them parse for themselves */
    return st;
}

/** @p text must be answered with @p answer, and not before its last byte. */
static void expect(const char *text, crs_ws_answer answer, bool keep_alive)
{
    crs_ws_upgrade up;
    size_t used, len = strlen(text);
    for (size_t part = 0; part < len; part++) {
        if (parse(text, part, &up, &used) != CEREUS_E_AGAIN)
            fail_msg("answered after %zu of %zu bytes of:\n%s", part, len, text);
    }
    assert_int_equal(parse(text, len, &up, &used), CEREUS_OK);
    if (up.answer != answer || up.keep_alive != keep_alive)
        fail_msg("answer %d (%s), keep alive %d for:\n%s", up.answer, up.why, up.keep_alive, text);
    assert_int_equal(used, len);
    assert_int_equal(up.why[0] == '\0', answer == CRS_WS_ACCEPT);
    if (answer == CRS_WS_ACCEPT)
        assert_memory_equal(up.key, KEY, CRS_WS_KEY_LEN);
}

/** A sound request with these header lines behind Host. */
static void expect_headers(const char *headers, crs_ws_answer answer, bool keep_alive)
{
    char text[2048];
    snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: localhost\r\n%s\r\n", headers);
    expect(text, answer, keep_alive);
}

/** A good upgrade with one more header line that must be refused when its end is there. */
static void expect_bad_line(const char *line, crs_ws_answer answer)
{
    char text[512];
    snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: localhost\r\n" UPGRADE SECRET "%s\n", line);
    expect(text, answer, false);
}

/* -- accepting -- */

static void upgrades_of_the_vectors_are_accepted(void **state)
{
    expect(GOOD, CRS_WS_ACCEPT, true);
    expect("GET /a/b?c=d HTTP/1.1\r\nHost: localhost\r\n" UPGRADE SECRET "\r\n", CRS_WS_ACCEPT, true);
    expect("GET / HTTP/1.0\r\nHost: localhost\r\n" UPGRADE SECRET "\r\n", CRS_WS_ACCEPT, true);
    expect_headers(UPGRADE SECRET "Origin: http://evil.example\r\n", CRS_WS_ACCEPT, true);
    expect_headers(UPGRADE SECRET "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
                   CRS_WS_ACCEPT, true);
    expect_headers(UPGRADE SECRET "Sec-WebSocket-Protocol: chat, pitaya\r\n", CRS_WS_ACCEPT, true);
    expect_headers("Upgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n" SECRET, CRS_WS_ACCEPT, true);
}

static void names_and_tokens_are_read_without_case_and_blanks_around_values_do_not_count(void **state)
{
    expect_headers("UPGRADE:websocket\r\ncOnNeCtIoN:\t upgrade \t\r\nsec-websocket-key: \t" KEY
                   "  \r\nsec-websocket-version:13\r\n",
                   CRS_WS_ACCEPT, true);
    expect_headers(
        "Upgrade: h2c\r\nUpgrade: foo , WEBSOCKET\r\nConnection: close\r\nConnection: ,, Upgrade,x\r\n" SECRET,
        CRS_WS_ACCEPT, true);
    expect_headers(UPGRADE SECRET "Empty:\r\nTabs: a\tb\r\nLatin: caf\xe9\r\n", CRS_WS_ACCEPT, true);
    expect("GET http://localhost/ws HTTP/1.1\r\nHost: localhost\r\n" UPGRADE SECRET "\r\n", CRS_WS_ACCEPT, true);
    expect("GET /caf\xc3\xa9 HTTP/1.1\r\nHost: [::1]:3250\r\n" UPGRADE SECRET "\r\n", CRS_WS_ACCEPT, true);
    expect("GET / HTTP/1.1\r\nHost:\r\n" UPGRADE SECRET "\r\n", CRS_WS_ACCEPT, true); /* RFC 9110 7.2: may be empty */
    expect("GET / HTTP/1.0\r\n" UPGRADE SECRET "\r\n", CRS_WS_ACCEPT, true); /* RFC 9112 3.2: only 1.1 must have it */
    expect_headers(UPGRADE SECRET "Content-Length: 0\r\n", CRS_WS_ACCEPT, true);
}

static void request_tells_target_host_and_origin_and_where_the_first_frame_begins(void **state)
{
    static const char text[] =
        "GET /game?room=7 HTTP/1.1\r\nHost: play.example:3250\r\nOrigin: http://play.example\r\n" UPGRADE SECRET
        "\r\n\x82\x80\r\n\r\n";
    crs_ws_upgrade up;
    size_t used;
    cereus_slice in = cereus_slice_of(text, sizeof text - 1);
    assert_int_equal(crs_http_head_parse(in, CRS_HTTP_HEAD_MAX, &up, &used), CEREUS_OK);
    assert_int_equal(up.answer, CRS_WS_ACCEPT);
    assert_int_equal(used, sizeof text - 1 - 6);
    assert_true(crs_slice_eq(up.target, cereus_slice_str("/game?room=7")));
    assert_true(crs_slice_eq(up.host, cereus_slice_str("play.example:3250")));
    assert_true(crs_slice_eq(up.origin, cereus_slice_str("http://play.example")));

    in = cereus_slice_str(GOOD);
    assert_int_equal(crs_http_head_parse(in, CRS_HTTP_HEAD_MAX, &up, &used), CEREUS_OK);
    assert_null(up.origin.data);
}

/* -- refusing -- */

static void requests_of_the_vectors_are_refused_and_kept_alive(void **state)
{
    expect("GET / HTTP/1.1\r\nHost: x\r\n\r\n", CRS_WS_REFUSE_NO_UPGRADE, true);
    expect("POST / HTTP/1.1\r\nHost: localhost\r\n" UPGRADE SECRET "\r\n", CRS_WS_REFUSE_METHOD, true);
    expect_headers(UPGRADE "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 8\r\n", CRS_WS_REFUSE_NO_UPGRADE,
                   true);
    expect_headers(UPGRADE "Sec-WebSocket-Key: " KEY "\r\n", CRS_WS_REFUSE_NO_UPGRADE, true);
    expect_headers(UPGRADE "Sec-WebSocket-Version: 13\r\n", CRS_WS_REFUSE_NO_UPGRADE, true);
    expect_headers(UPGRADE "Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n", CRS_WS_REFUSE_NO_UPGRADE, true);
    expect_headers("Upgrade: websocket\r\nConnection: keep-alive\r\n" SECRET, CRS_WS_REFUSE_NO_UPGRADE, true);
    expect_headers("Upgrade: h2c\r\nConnection: Upgrade\r\n" SECRET, CRS_WS_REFUSE_NO_UPGRADE, true);
}

static void requests_of_the_vectors_are_refused_and_closed(void **state)
{
    expect("GET / HTTP/1.1\r\n" UPGRADE SECRET "\r\n", CRS_WS_REFUSE_NO_HOST, false);
    crs_ws_upgrade up;
    size_t used;
    assert_int_equal(parse("\x01\0\0\2{}\r\n\r\n", 10, &up, &used), CEREUS_OK); /* upgrade-garbage */
    assert_int_equal(up.answer, CRS_WS_REFUSE_MALFORMED);
    assert_false(up.keep_alive);
    assert_int_equal(used, 10);
    assert_int_equal(parse("\x01\0\0\2{}", 6, &up, &used), CEREUS_E_AGAIN); /* upgrade-silent */
}

static void next_request_may_follow_one_that_was_refused(void **state)
{
    static const char refused[] = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    crs_ws_upgrade up;
    size_t used;
    cereus_slice in = cereus_slice_str("GET /health HTTP/1.1\r\nHost: x\r\n\r\n" GOOD);
    assert_int_equal(crs_http_head_parse(in, CRS_HTTP_HEAD_MAX, &up, &used), CEREUS_OK);
    assert_true(up.keep_alive);
    assert_int_equal(used, sizeof refused - 1);
    in = cereus_slice_of(in.data + used, in.len - used);
    assert_int_equal(crs_http_head_parse(in, CRS_HTTP_HEAD_MAX, &up, &used), CEREUS_OK);
    assert_int_equal(up.answer, CRS_WS_ACCEPT);
    assert_int_equal(used, in.len);
}

static void connection_ends_where_the_next_request_could_not_be_found(void **state)
{
    expect("GET / HTTP/1.0\r\nHost: x\r\n\r\n", CRS_WS_REFUSE_NO_UPGRADE, false);
    expect("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", CRS_WS_REFUSE_NO_UPGRADE, false);
    expect("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", CRS_WS_REFUSE_NO_UPGRADE, false);
    expect("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", CRS_WS_REFUSE_NO_UPGRADE, false);
    expect("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", CRS_WS_REFUSE_NO_UPGRADE, true);
    expect("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", CRS_WS_REFUSE_NO_UPGRADE, false);
    expect_headers(UPGRADE SECRET "Content-Length: 0\r\nContent-Length: 5\r\n", CRS_WS_REFUSE_NO_UPGRADE, false);
    expect_headers(UPGRADE SECRET "Content-Length: +0\r\n", CRS_WS_REFUSE_NO_UPGRADE, false);
    expect_headers(UPGRADE SECRET "Transfer-Encoding: identity\r\n", CRS_WS_REFUSE_NO_UPGRADE, false);
}

static void key_must_be_there_once_and_be_base64_of_16_bytes(void **state)
{
    static const char *const bad[] = {
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25jZQA=",
        "dGhlIHNhbXBsZSBub25jZQAA",
        "dGhlIHNhbXBsZSBub25jZ===",
        "=GhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25j Q==",
        "dGhlIHNhbXBsZSBub25j-Q==",
        "dGhlIHNhbXBsZSBub25jZQ==,",
        "\"GhlIHNhbXBsZSBub25jZQ==",
        "",
    };
    char headers[256];
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        snprintf(headers, sizeof headers, UPGRADE "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", bad[i]);
        expect_headers(headers, CRS_WS_REFUSE_NO_UPGRADE, true);
    }
    expect_headers(UPGRADE SECRET "Sec-WebSocket-Key: " KEY "\r\n", CRS_WS_REFUSE_NO_UPGRADE, true);
}

static void request_line_is_refused_when_its_end_is_there(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 x",
        "GET / /b HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /a\tb HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET * HTTP/1.1",
        "GET  HTTP/1.1",
        "CONNECT localhost:80 HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/11",
        "GET / HTTP/1.",
        "GET / HTTP/1.1.1",
        "GET / HTTP/x.1",
        "GET / HTTP/1.x",
        "GET / ICY/1.11",
    };
    char text[128];
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        snprintf(text, sizeof text, "%s\r\n", bad[i]);
        expect(text, CRS_WS_REFUSE_MALFORMED, false);
    }
    expect("GET / HTTP/2.0\r\n", CRS_WS_REFUSE_VERSION, false);
    expect("PRI * HTTP/2.0\r\n", CRS_WS_REFUSE_VERSION, false);
    expect("GET / HTTP/0.9\r\n", CRS_WS_REFUSE_VERSION, false);
    expect("get / HTTP/1.1\r\nHost: x\r\n" UPGRADE SECRET "\r\n", CRS_WS_REFUSE_METHOD, true);
}

static void header_line_is_refused_when_its_end_is_there(void **state)
{
    static const char *const bad[] = {
        ": no name\r",  "no colon\r",   "Name : x\r",        " folded: line\r", "\tfolded\r",
        "N\xe4me: x\r", "Na(me: x\r",   "bare: lf",          "Cr: a\rb\r",      "Esc: \x1b[31m\r",
        "Del: \x7f\r",  "Ctl\x01: x\r", "Host: localhost\r", "Two: \r\r",
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++)
        expect_bad_line(bad[i], CRS_WS_REFUSE_MALFORMED);
    expect("GET / HTTP/1.1\n", CRS_WS_REFUSE_MALFORMED, false);
    expect("GET / HTTP/1.1\r\nHost: x\r\n" UPGRADE SECRET "\n", CRS_WS_REFUSE_MALFORMED, false);
    expect("GET / HTTP/1.1\r\nHost: a b\r\n", CRS_WS_REFUSE_BAD_HOST, false);
    expect("GET / HTTP/1.1\r\nHost: a/b\r\n", CRS_WS_REFUSE_BAD_HOST, false);

    crs_ws_upgrade up;
    size_t used;
    static const char nul[] = "GET / HTTP/1.1\r\nNul: a\0b\r\n";
    assert_int_equal(parse(nul, sizeof nul - 1, &up, &used), CEREUS_OK);
    assert_int_equal(up.answer, CRS_WS_REFUSE_MALFORMED);
}

static void head_is_refused_as_soon_as_it_is_too_long(void **state)
{
    static const char good[] = GOOD;
    enum { LEN = sizeof good - 1 };
    crs_ws_upgrade up;
    size_t used;
    cereus_slice in = cereus_slice_of(good, LEN);
    assert_int_equal(crs_http_head_parse(in, LEN, &up, &used), CEREUS_OK);
    assert_int_equal(up.answer, CRS_WS_ACCEPT);
    assert_int_equal(crs_http_head_parse(in, LEN - 1, &up, &used), CEREUS_OK);
    assert_int_equal(up.answer, CRS_WS_REFUSE_TOO_LONG);
    assert_false(up.keep_alive);
    assert_int_equal(used, LEN);

    char *endless = malloc(CRS_HTTP_HEAD_MAX + 1);
    memset(endless, 'a', CRS_HTTP_HEAD_MAX + 1);
    assert_int_equal(parse(endless, CRS_HTTP_HEAD_MAX, &up, &used), CEREUS_E_AGAIN);
    assert_int_equal(parse(endless, CRS_HTTP_HEAD_MAX + 1, &up, &used), CEREUS_OK);
    assert_int_equal(up.answer, CRS_WS_REFUSE_TOO_LONG);
    free(endless);
}

static void head_with_too_many_headers_is_refused_with_the_one_too_many(void **state)
{
    char text[CRS_HTTP_HEAD_MAX];
    size_t len = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\n" UPGRADE SECRET);
    for (size_t count = 5; count < CRS_HTTP_HEADERS_MAX; count++)
        len += (size_t)snprintf(text + len, sizeof text - len, "X: y\r\n");
    memcpy(text + len, "\r\n", 3);
    expect(text, CRS_WS_ACCEPT, true);
    memcpy(text + len, "X: y\r\n", 7);
    expect(text, CRS_WS_REFUSE_TOO_LONG, false);
}

static void any_byte_changed_is_decided_within_the_head(void **state)
{
    static const char good[] = GOOD "frame";
    for (size_t i = 0; i < sizeof good - 6; i++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            char text[sizeof good];
            memcpy(text, good, sizeof good);
            text[i] = (char)byte;
            crs_ws_upgrade up;
            size_t used = 0;
            cereus_status st = parse(text, sizeof good - 1, &up, &used);
            if (st == CEREUS_E_AGAIN) { /* only when the end of the head is gone */
                assert_true(i >= sizeof good - 6 - 4);
                continue;
            }
            assert_int_equal(st, CEREUS_OK);
            if (up.keep_alive) {
                assert_int_equal(used, sizeof good - 6);
            } else {
                assert_int_equal(used, sizeof good - 1);
                assert_int_not_equal(up.answer, CRS_WS_ACCEPT);
            }
        }
    }
}

/* -- answers -- */

static void acceptance_is_byte_for_byte_that_of_the_vectors(void **state)
{
    char out[CRS_WS_ACCEPT_RESPONSE_LEN], accept[CRS_WS_ACCEPT_LEN];
    static const char want[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_int_equal(sizeof want - 1, sizeof out);
    crs_ws_accept_response(KEY, out);
    assert_memory_equal(out, want, sizeof out);
    crs_ws_accept_key(KEY, accept);
    assert_memory_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof accept);
}

static void expect_refusal(crs_ws_answer answer, bool keep_alive, const char *want)
{
    char out[CRS_WS_REFUSAL_MAX + 1];
    size_t len = crs_ws_refusal(answer, keep_alive, NOV_23_2026, out);
    out[len] = '\0';
    assert_string_equal(out, want);
}

static void refusals_are_byte_for_byte_those_of_the_vectors(void **state)
{
    expect_refusal(
        CRS_WS_REFUSE_NO_UPGRADE, true,
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nSec-Websocket-Version: 13\r\n"
        "X-Content-Type-Options: nosniff\r\nDate: Mon, 23 Nov 2026 23:03:59 GMT\r\nContent-Length: 12\r\n\r\n"
        "Bad Request\n");
    expect_refusal(CRS_WS_REFUSE_METHOD, true,
                   "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\n"
                   "Sec-Websocket-Version: 13\r\nX-Content-Type-Options: nosniff\r\n"
                   "Date: Mon, 23 Nov 2026 23:03:59 GMT\r\nContent-Length: 19\r\n\r\nMethod Not Allowed\n");
    expect_refusal(
        CRS_WS_REFUSE_ORIGIN, true,
        "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nSec-Websocket-Version: 13\r\n"
        "X-Content-Type-Options: nosniff\r\nDate: Mon, 23 Nov 2026 23:03:59 GMT\r\nContent-Length: 10\r\n\r\n"
        "Forbidden\n");
    expect_refusal(
        CRS_WS_REFUSE_NO_HOST, false,
        "HTTP/1.1 400 Bad Request: missing required Host header\r\nContent-Type: text/plain; charset=utf-8\r\n"
        "Connection: close\r\n\r\n400 Bad Request: missing required Host header");
    expect_refusal(CRS_WS_REFUSE_MALFORMED, false,
                   "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
                   "400 Bad Request");
}

static void every_refusal_fits_and_says_when_it_closes(void **state)
{
    for (int answer = CRS_WS_REFUSE_NO_UPGRADE; answer <= CRS_WS_REFUSE_VERSION; answer++) {
        char *out = malloc(CRS_WS_REFUSAL_MAX);
        size_t len = crs_ws_refusal((crs_ws_answer)answer, false, 0, out);
        assert_true(len < CRS_WS_REFUSAL_MAX);
        assert_non_null(memmem(out, len, "\r\nConnection: close\r\n", 21));
        if (memmem(out, len, "Date", 4))
            assert_non_null(memmem(out, len, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 37));
        free(out);
    }
}

TEST_MAIN(cmocka_unit_test(upgrades_of_the_vectors_are_accepted),
          cmocka_unit_test(names_and_tokens_are_read_without_case_and_blanks_around_values_do_not_count),
          cmocka_unit_test(request_tells_target_host_and_origin_and_where_the_first_frame_begins),
          cmocka_unit_test(requests_of_the_vectors_are_refused_and_kept_alive),
          cmocka_unit_test(requests_of_the_vectors_are_refused_and_closed),
          cmocka_unit_test(next_request_may_follow_one_that_was_refused),
          cmocka_unit_test(connection_ends_where_the_next_request_could_not_be_found),
          cmocka_unit_test(key_must_be_there_once_and_be_base64_of_16_bytes),
          cmocka_unit_test(request_line_is_refused_when_its_end_is_there),
          cmocka_unit_test(header_line_is_refused_when_its_end_is_there),
          cmocka_unit_test(head_is_refused_as_soon_as_it_is_too_long),
          cmocka_unit_test(head_with_too_many_headers_is_refused_with_the_one_too_many),
          cmocka_unit_test(any_byte_changed_is_decided_within_the_head),
          cmocka_unit_test(acceptance_is_byte_for_byte_that_of_the_vectors),
          cmocka_unit_test(refusals_are_byte_for_byte_those_of_the_vectors),
          cmocka_unit_test(every_refusal_fits_and_says_when_it_closes))
