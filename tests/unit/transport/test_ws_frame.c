/* tests/unit/transport/test_ws_frame.c: in the spirit of the public WebSocket conformance suite's groups 1 to 7, 9
 * and 10. A test builds frames, in a masked and an unmasked form, and says what must come out of them as one line of
 * text. They are fed to a server and a client, in pieces of every interesting size, the way a connection does it. */
#include "test.h"

#include "transport/ws_frame.h"

enum {
    FIN = 0x80,
    WIRE_CAP = 3 << 20,
    EVENTS_CAP = 64 * 1024,
    CUT_OFF = 1 << 8, /* for put_form(): the payload stays away */
};

static struct wire {
    uint8_t *data;
    size_t len;
} wires[2]; /* what a client sends, masked; what a server sends */

static int setup(void **state)
{
    for (size_t w = 0; w < 2; w++) {
        wires[w].data = malloc(WIRE_CAP);
        assert_non_null(wires[w].data);
    }
    return 0;
}

static int teardown(void **state)
{
    for (size_t w = 0; w < 2; w++)
        free(wires[w].data);
    return 0;
}

static void begin(void)
{
    wires[0].len = wires[1].len = 0;
}

/** Append a frame whose length is said in @p form bytes (0, 2, 8), wrongly if need be. */
static void put_form(unsigned first, unsigned form, const void *payload, uint64_t len)
{
    static uint32_t seed = 1;
    uint8_t mask[4];
    for (size_t i = 0; i < 4; i++)
        mask[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
    bool cut_off = form & CUT_OFF;
    form &= 0xff;
    for (size_t w = 0; w < 2; w++) {
        uint8_t *p = wires[w].data + wires[w].len;
        assert_true(wires[w].len + CRS_WS_HEAD_MAX + (cut_off ? 0 : len) <= WIRE_CAP);
        *p++ = (uint8_t)first;
        *p++ = (uint8_t)((w == 0 ? 0x80 : 0) | (form == 0 ? len : form == 2 ? 126 : 127));
        for (unsigned i = form; i-- > 0;)
            *p++ = (uint8_t)(len >> (8 * i));
        if (w == 0) {
            memcpy(p, mask, 4);
            p += 4;
        }
        for (size_t i = 0; i < len && !cut_off; i++)
            *p++ = (uint8_t)(((const uint8_t *)payload)[i] ^ (w == 0 ? mask[i & 3] : 0));
        wires[w].len = (size_t)(p - wires[w].data);
    }
}

static void put(unsigned first, const void *payload, size_t len)
{
    put_form(first, len < 126 ? 0 : len <= 0xffff ? 2 : 8, payload, len);
}

static void put_text(unsigned first, const char *text)
{
    put(first, text, strlen(text));
}

/** A close frame. */
static void put_close(unsigned code, const char *reason)
{
    char payload[128] = {(char)(code >> 8), (char)code};
    memcpy(payload + 2, reason, strlen(reason));
    put(FIN | CRS_WS_CLOSE, payload, 2 + strlen(reason));
}

static void pattern(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)('a' + i % 26);
}

/** One event as a word; long payloads, which must be pattern(), as their length. */
static void describe(const crs_ws_event *e, char *out, size_t cap)
{
    static const char *const names[] = {"message", "ping", "pong", "close", "error"};
    const char *name = e->type != CRS_WS_EVENT_MESSAGE ? names[e->type] : e->opcode == CRS_WS_TEXT ? "text" : "binary";
    size_t at = strlen(out);
    if (at)
        at += (size_t)snprintf(out + at, cap - at, " ");
    if (e->type == CRS_WS_EVENT_ERROR) {
        assert_true(e->text && e->text[0] && strlen(e->text) <= CRS_WS_CONTROL_MAX - 2);
        snprintf(out + at, cap - at, "error(%u)", e->code);
        return;
    }
    assert_non_null(e->payload);
    if (e->len > 125) {
        for (size_t i = 0; i < e->len; i++) {
            if (e->payload[i] != (uint8_t)('a' + i % 26))
                fail_msg("byte %zu of %zu is wrong", i, e->len);
        }
        snprintf(out + at, cap - at, "%s(%zu bytes)", name, e->len);
    } else if (e->type == CRS_WS_EVENT_CLOSE) {
        snprintf(out + at, cap - at, "close(%u,%.*s)", e->code, (int)e->len, (const char *)e->payload);
    } else {
        snprintf(out + at, cap - at, "%s(%.*s)", name, (int)e->len, (const char *)e->payload);
    }
    memset(e->payload, '#', e->len); /* payloads are ours to change */
}

/**
 * Feed one wire in pieces of @p piece bytes, as a connection does: unused bytes are kept and come again in front.
 * @param one_event  stop after the first event
 * @return bytes fed
 */
static size_t feed(crs_ws_rx *rx, const struct wire *wire, size_t piece, bool one_event, char *events, size_t cap)
{
    uint8_t rest[CRS_WS_REST_MAX];
    size_t rest_len = 0, fed = 0;
    events[0] = '\0';
    while (fed < wire->len) {
        size_t more = CRS_MIN(piece, wire->len - fed);
        uint8_t *in = malloc(rest_len + more);
        assert_non_null(in);
        memcpy(in, rest, rest_len);
        memcpy(in + rest_len, wire->data + fed, more);
        fed += more;
        size_t len = rest_len + more, at = 0, used;
        crs_ws_event e;
        cereus_status st;
        while ((st = crs_ws_rx_next(rx, in + at, len - at, &used, &e)) == CEREUS_OK) {
            assert_true(used <= len - at);
            at += used;
            describe(&e, events, cap);
            if (one_event) {
                free(in);
                return fed;
            }
        }
        assert_int_equal(st, CEREUS_E_AGAIN);
        assert_true(used <= len - at);
        at += used;
        rest_len = len - at;
        assert_true(rest_len < CRS_WS_REST_MAX);
        memcpy(rest, in + at, rest_len);
        free(in);
    }
    return fed;
}

/** What was put must make both roles say @p want, whatever pieces it comes in. */
static void expect_with(const crs_ws_rx_options *options, const char *want)
{
    static const size_t pieces[] = {1, 2, 3, 5, 7, 14, 64, 1000, 4096, WIRE_CAP};
    static char got[EVENTS_CAP];
    for (size_t w = 0; w < 2; w++) {
        for (size_t p = 0; p < CEREUS_COUNT(pieces); p++) {
            if (wires[w].len / pieces[p] > 200 * 1000)
                continue; /* nothing new, and slow */
            crs_ws_rx_options opt = *options;
            opt.client = w == 1;
            crs_ws_rx rx;
            crs_ws_rx_init(&rx, &opt);
            feed(&rx, &wires[w], pieces[p], false, got, sizeof got);
            if (strcmp(got, want) != 0)
                fail_msg("%s, pieces of %zu: got \"%.300s\", want \"%.300s\"", w ? "client" : "server", pieces[p], got,
                         want);
            crs_ws_rx_fini(&rx);
        }
    }
}

static void expect(const char *want)
{
    expect_with(&(crs_ws_rx_options){.check_utf8 = true}, want);
}

/** A server must tell the first event, @p want, with byte @p count of what was put (0 is the head's first) and not
 * before. */
static void expect_with_byte(size_t count, const char *want)
{
    char got[EVENTS_CAP / 64];
    crs_ws_rx rx;
    crs_ws_rx_init(&rx, &(crs_ws_rx_options){.check_utf8 = true});
    size_t fed = feed(&rx, &wires[0], 1, true, got, sizeof got);
    assert_string_equal(got, want);
    assert_int_equal(fed, count + 1);
    crs_ws_rx_fini(&rx);
}

/* -- groups 1, 9: messages of all sizes -- */

static void messages_of_every_length_form_come_out_whole(void **state)
{
    static const size_t lens[] = {0, 1, 125, 126, 127, 128, 4096, 65535, 65536, 65537, 200000};
    uint8_t *payload = malloc(200000);
    for (size_t i = 0; i < CEREUS_COUNT(lens); i++) {
        pattern(payload, lens[i]);
        char want[1024];
        begin();
        put(FIN | CRS_WS_TEXT, payload, lens[i]);
        put(FIN | CRS_WS_BINARY, payload, lens[i]);
        if (lens[i] > 125)
            snprintf(want, sizeof want, "text(%zu bytes) binary(%zu bytes)", lens[i], lens[i]);
        else
            snprintf(want, sizeof want, "text(%.*s) binary(%.*s)", (int)lens[i], payload, (int)lens[i], payload);
        expect(want);
    }
    free(payload);
}

static void many_messages_in_one_piece_are_handed_out_where_they_lie(void **state)
{
    begin();
    put_text(FIN | CRS_WS_BINARY, "one");
    put_text(FIN | CRS_WS_TEXT, "two");
    put_text(FIN | CRS_WS_BINARY, "");
    expect("binary(one) text(two) binary()");

    crs_ws_rx rx;
    crs_ws_rx_init(&rx, NULL);
    uint8_t *in = test_copy(wires[0].data, wires[0].len);
    size_t used;
    crs_ws_event e;
    assert_int_equal(crs_ws_rx_next(&rx, in, wires[0].len, &used, &e), CEREUS_OK);
    assert_ptr_equal(e.payload, in + 6);
    assert_int_equal(used, 9);
    assert_null(rx.message.data);
    free(in);
    crs_ws_rx_fini(&rx);
}

static void long_messages_in_frames_of_any_size_come_out_whole(void **state)
{
    static const size_t frame_lens[] = {64, 256, 1300, 65536, 1 << 20}; /* 9.3, 9.4, 10.1 */
    enum { LEN = 1 << 20 };
    uint8_t *payload = malloc(LEN);
    pattern(payload, LEN);
    for (size_t f = 0; f < CEREUS_COUNT(frame_lens); f++) {
        begin();
        for (size_t at = 0; at < LEN; at += frame_lens[f]) {
            size_t len = CRS_MIN(frame_lens[f], LEN - at);
            put((at + len == LEN ? FIN : 0) | (at ? CRS_WS_CONTINUATION : CRS_WS_BINARY), payload + at, len);
        }
        expect("binary(1048576 bytes)");
    }
    free(payload);
}

/* -- group 2: pings and pongs -- */

static void pings_and_pongs_carry_up_to_125_bytes_of_anything(void **state)
{
    uint8_t payload[125];
    pattern(payload, sizeof payload);
    char want[512];
    begin();
    put(FIN | CRS_WS_PING, "", 0);
    put_text(FIN | CRS_WS_PING, "Hello");
    put(FIN | CRS_WS_PING, "\xfe\xff", 2);
    put(FIN | CRS_WS_PONG, payload, sizeof payload);
    snprintf(want, sizeof want, "ping() ping(Hello) ping(\xfe\xff) pong(%.125s)", payload);
    expect(want);
}

static void control_frame_over_125_bytes_is_refused_with_its_second_byte(void **state)
{
    uint8_t payload[126] = {0};
    static const uint8_t opcodes[] = {CRS_WS_CLOSE, CRS_WS_PING, CRS_WS_PONG};
    for (size_t i = 0; i < CEREUS_COUNT(opcodes); i++) {
        begin();
        put(FIN | opcodes[i], payload, sizeof payload);
        expect("error(1002)");
        expect_with_byte(1, "error(1002)");
        begin();
        put_form(FIN | opcodes[i], 8, "x", 1);
        expect_with_byte(1, "error(1002)");
    }
}

/* -- groups 3, 4: reserved bits and opcodes -- */

static void reserved_bits_and_opcodes_are_refused_with_the_first_byte(void **state)
{
    for (unsigned first = 0; first < 256; first++) {
        unsigned opcode = first & 15;
        bool known = opcode <= CRS_WS_BINARY || (opcode >= CRS_WS_CLOSE && opcode <= CRS_WS_PONG);
        bool fine = !(first & 0x70) && known && opcode != CRS_WS_CONTINUATION && (opcode < 8 || first & FIN);
        begin();
        put_text(FIN | CRS_WS_TEXT, "ok");
        put_text(first, "");
        put_text(FIN | CRS_WS_PING, "never");
        if (!fine)
            expect("text(ok) error(1002)");
        begin();
        put_text(first, "");
        if (!fine)
            expect_with_byte(0, "error(1002)");
        else if (first & FIN && opcode != CRS_WS_CLOSE)
            expect(opcode == 1 ? "text()" : opcode == 2 ? "binary()" : opcode == 9 ? "ping()" : "pong()");
    }
}

/* -- masks and lengths -- */

static void frame_masked_in_the_wrong_way_for_its_role_is_refused_with_its_second_byte(void **state)
{
    begin();
    put_text(FIN | CRS_WS_BINARY, "hello");
    for (size_t w = 0; w < 2; w++) {
        char got[64];
        crs_ws_rx rx;
        crs_ws_rx_init(&rx, &(crs_ws_rx_options){.client = w == 0});
        assert_int_equal(feed(&rx, &wires[w], 1, true, got, sizeof got), 2);
        assert_string_equal(got, "error(1002)");
        crs_ws_rx_fini(&rx);
    }
}

static void length_not_in_its_shortest_form_is_refused(void **state)
{
    uint8_t payload[1000] = {0};
    static const struct {
        unsigned form;
        uint64_t len;
    } rows[] = {{2, 0}, {2, 125}, {8, 0}, {8, 125}, {8, 126}, {8, 1000}};
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        begin();
        put_form(FIN | CRS_WS_BINARY, rows[i].form, payload, rows[i].len);
        expect("error(1002)");
        expect_with_byte(1 + rows[i].form, "error(1002)");
    }
    begin();
    put_form(FIN | CRS_WS_BINARY, 8 | CUT_OFF, NULL, 65535);
    expect_with_byte(9, "error(1002)");
    begin();
    put_form(FIN | CRS_WS_BINARY, 8 | CUT_OFF, NULL, UINT64_C(1) << 63); /* RFC 6455 5.2: the top bit is 0 */
    expect_with_byte(9, "error(1002)");
}

static void message_over_the_limit_is_refused_from_its_head_alone(void **state)
{
    begin();
    put_form(FIN | CRS_WS_BINARY, 8 | CUT_OFF, NULL, CRS_WS_MESSAGE_MAX + 1);
    expect("error(1009)");
    expect_with_byte(9, "error(1009)");
    begin();
    put_form(FIN | CRS_WS_BINARY, 8 | CUT_OFF, NULL, INT64_MAX);
    expect("error(1009)");
    begin();
    put_form(FIN | CRS_WS_BINARY, 8 | CUT_OFF, NULL, CRS_WS_MESSAGE_MAX);
    expect("");

    const crs_ws_rx_options four = {.message_max = 4};
    begin();
    put_text(FIN | CRS_WS_BINARY, "1234");
    put_text(FIN | CRS_WS_PING, "pings do not count");
    put_text(FIN | CRS_WS_BINARY, "12345");
    expect_with(&four, "binary(1234) ping(pings do not count) error(1009)");
}

static void fragments_over_the_limit_together_are_refused_from_the_head_of_the_one_too_many(void **state)
{
    const crs_ws_rx_options eight = {.message_max = 8};
    begin();
    put_text(CRS_WS_BINARY, "1234");
    put_text(CRS_WS_CONTINUATION, "5678");
    put_text(FIN | CRS_WS_CONTINUATION, "");
    put_text(CRS_WS_BINARY, "1234");
    put_text(CRS_WS_CONTINUATION, "5678");
    put_form(FIN | CRS_WS_CONTINUATION, CUT_OFF, NULL, 1);
    expect_with(&eight, "binary(12345678) error(1009)");
}

static void memory_grows_only_as_bytes_arrive_and_goes_with_the_message(void **state)
{
    enum { LEN = 1 << 20, PIECE = 1000 };
    uint8_t *payload = malloc(LEN);
    pattern(payload, LEN);
    begin();
    put(FIN | CRS_WS_BINARY, payload, LEN);
    crs_ws_rx rx;
    crs_ws_rx_init(&rx, NULL);
    size_t used, at = 0;
    crs_ws_event e;
    cereus_status st = CEREUS_E_AGAIN;
    while (at < wires[0].len) {
        size_t len = CRS_MIN((size_t)PIECE, wires[0].len - at);
        st = crs_ws_rx_next(&rx, wires[0].data + at, len, &used, &e);
        assert_int_equal(used, len);
        at += len;
        assert_true(rx.message.cap <= 2 * at + 64);
        if (at < wires[0].len)
            assert_int_equal(st, CEREUS_E_AGAIN);
    }
    assert_int_equal(st, CEREUS_OK);
    assert_int_equal(e.len, LEN);
    assert_memory_equal(e.payload, payload, LEN);
    assert_int_equal(crs_ws_rx_next(&rx, wires[0].data, 0, &used, &e), CEREUS_E_AGAIN);
    assert_null(rx.message.data);

    at = 0;
    assert_int_equal(crs_ws_rx_next(&rx, wires[0].data, 100, &used, &e), CEREUS_E_AGAIN);
    assert_int_equal(crs_ws_rx_next(&rx, wires[0].data + 100, wires[0].len - 100, &used, &e), CEREUS_OK);
    crs_ws_rx_release(&rx);
    crs_ws_rx_release(&rx); /* nothing to free is fine */
    assert_null(rx.message.data);
    crs_ws_rx_fini(&rx);
    free(payload);
}

static void failing_allocation_ends_the_receiver_at_any_point(void **state)
{
    begin();
    uint8_t payload[300];
    pattern(payload, sizeof payload);
    for (size_t at = 0; at < sizeof payload; at += 50)
        put((at ? CRS_WS_CONTINUATION : CRS_WS_BINARY) | (at == 250 ? FIN : 0), payload + at, 50);
    bool failed = true;
    for (size_t nth = 1; failed; nth++) {
        uint8_t *in = test_copy(wires[0].data, wires[0].len);
        crs_ws_rx rx;
        crs_ws_rx_init(&rx, NULL);
        size_t used = 12345;
        crs_ws_event e;
        crs_alloc_fail_at(nth);
        cereus_status st = crs_ws_rx_next(&rx, in, wires[0].len, &used, &e);
        crs_alloc_fail_at(0);
        failed = st == CEREUS_E_NOMEM;
        if (failed) {
            assert_int_equal(used, 12345);
            assert_int_equal(crs_ws_rx_next(&rx, in, wires[0].len, &used, &e), CEREUS_E_AGAIN);
            assert_int_equal(used, wires[0].len);
        } else {
            assert_int_equal(st, CEREUS_OK);
            assert_int_equal(e.len, sizeof payload);
            assert_true(nth > 1);
        }
        crs_ws_rx_fini(&rx);
        free(in);
    }
}

/* -- group 5: fragmentation -- */

static void fragments_are_joined_and_control_frames_pass_between_them(void **state)
{
    begin();
    put_text(CRS_WS_TEXT, "frag");
    put_text(FIN | CRS_WS_PING, "a");
    put_text(CRS_WS_CONTINUATION, "");
    put_text(FIN | CRS_WS_PONG, "b");
    put_text(FIN | CRS_WS_PING, "c");
    put_text(FIN | CRS_WS_CONTINUATION, "ment");
    put_text(CRS_WS_BINARY, "");
    put_text(FIN | CRS_WS_CONTINUATION, "");
    put_text(CRS_WS_TEXT, "");
    put_text(CRS_WS_CONTINUATION, "middle");
    put_text(FIN | CRS_WS_CONTINUATION, "");
    put_text(FIN | CRS_WS_TEXT, "last");
    expect("ping(a) pong(b) ping(c) text(fragment) binary() text(middle) text(last)");
}

static void continuation_of_nothing_is_refused(void **state)
{
    for (unsigned fin = 0; fin <= FIN; fin += FIN) {
        begin();
        put_text(fin | CRS_WS_CONTINUATION, "non");
        expect("error(1002)");
        begin(); /* 5.9 to 5.14: also after a message that is whole */
        put_text(CRS_WS_TEXT, "fr");
        put_text(FIN | CRS_WS_CONTINUATION, "ag");
        put_text(fin | CRS_WS_CONTINUATION, "non");
        expect("text(frag) error(1002)");
    }
}

static void new_message_inside_a_fragmented_one_is_refused(void **state)
{
    for (unsigned fin = 0; fin <= FIN; fin += FIN) {
        for (unsigned opcode = CRS_WS_TEXT; opcode <= CRS_WS_BINARY; opcode++) {
            begin();
            put_text(CRS_WS_TEXT, "fragment1");
            put_text(fin | opcode, "fragment2");
            expect("error(1002)");
        }
    }
}

static void fragmented_control_frame_is_refused(void **state)
{
    begin();
    put_text(CRS_WS_PING, "fragment1");
    put_text(FIN | CRS_WS_CONTINUATION, "fragment2");
    expect("error(1002)");
}

/* -- group 6: UTF-8 -- */

static void text_is_valid_wherever_its_frames_are_cut(void **state)
{
    static const char text[] =
        "Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!! \xf0\x90\x80\x80";
    size_t len = sizeof text - 1;
    char want[128];
    snprintf(want, sizeof want, "text(%s)", text);
    for (size_t cut = 0; cut <= len; cut++) {
        begin();
        put(CRS_WS_TEXT, text, cut);
        put_text(FIN | CRS_WS_PING, "p");
        put(FIN | CRS_WS_CONTINUATION, text + cut, len - cut);
        char with_ping[160];
        snprintf(with_ping, sizeof with_ping, "ping(p) %s", want);
        expect(with_ping);
    }
    begin();
    for (size_t i = 0; i < len; i++)
        put((i + 1 == len ? FIN : 0) | (i ? CRS_WS_CONTINUATION : CRS_WS_TEXT), text + i, 1);
    expect(want);
}

static void text_that_is_not_utf8_is_refused_and_binary_is_not(void **state)
{
    static const char *const bad[] = {
        "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"
        "edited", /* 6.3: a surrogate */
        "\xc0\xaf",
        "\xe0\x80\xaf",
        "\xf0\x80\x80\xaf",
        "\xf8\x88\x80\x80\x80", /* overlong, five bytes */
        "\xf4\x90\x80\x80",
        "\x80",
        "\xbf",
        "\xfe",
        "\xff",
        "\xed\xbf\xbf",
        "\xce",
        "\xe1\xbd",
        "\xf0\x9f\x8c",
        "ends inside \xce",
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        size_t len = strlen(bad[i]);
        begin();
        put_text(FIN | CRS_WS_TEXT, bad[i]);
        expect("error(1007)");
        for (size_t cut = 0; cut <= len; cut++) {
            begin();
            put(CRS_WS_TEXT, bad[i], cut);
            put(FIN | CRS_WS_CONTINUATION, bad[i] + cut, len - cut);
            expect("error(1007)");
        }
        char want[64];
        begin();
        put_text(FIN | CRS_WS_BINARY, bad[i]);
        put_text(CRS_WS_BINARY, bad[i]);
        put_text(FIN | CRS_WS_CONTINUATION, "");
        snprintf(want, sizeof want, "binary(%s) binary(%s)", bad[i], bad[i]);
        expect(want);
        begin();
        put_text(FIN | CRS_WS_TEXT, bad[i]);
        snprintf(want, sizeof want, "text(%s)", bad[i]);
        expect_with(&(crs_ws_rx_options){0}, want);
    }
}

static void text_is_refused_with_the_first_byte_that_cannot_be_mended(void **state)
{
    /* 6.4.3: one frame, trickled: head 6, "good" 4, f4 is fine, 90 is not */
    begin();
    put_text(FIN | CRS_WS_TEXT, "good\xf4\x90\x80\x80"
                                "never seen");
    expect_with_byte(6 + 5, "error(1007)");
    /* 6.4.1: the second fragment, long before the last */
    begin();
    put_text(CRS_WS_TEXT, "good\xf4");
    put_text(CRS_WS_CONTINUATION, "\x90\x80\x80"
                                  "edited");
    put_text(FIN | CRS_WS_CONTINUATION, "edited");
    expect_with_byte(6 + 5 + 6, "error(1007)");
}

static void state_of_one_text_does_not_leak_into_the_next(void **state)
{
    begin();
    put(CRS_WS_TEXT, "\xf0\x9f", 2);
    put(FIN | CRS_WS_CONTINUATION, "\x8c\xb5", 2);
    put_text(CRS_WS_BINARY, "\xf0");
    put_text(FIN | CRS_WS_CONTINUATION, "");
    put_text(CRS_WS_TEXT, "a");
    put_text(FIN | CRS_WS_CONTINUATION, "b");
    expect("text(\xf0\x9f\x8c\xb5) binary(\xf0) text(ab)");
}

/* -- group 7: closing -- */

static void close_frame_tells_code_and_reason(void **state)
{
    begin();
    put(FIN | CRS_WS_CLOSE, "", 0);
    expect("close(1005,)");
    begin();
    put_close(1000, "");
    expect("close(1000,)");
    begin();
    put_close(4999, "Hello World!");
    expect("close(4999,Hello World!)");
    char reason[124] = "";
    memset(reason, '*', 123);
    char want[160];
    begin();
    put_close(1000, reason);
    snprintf(want, sizeof want, "close(1000,%s)", reason);
    expect(want);
}

static void nothing_is_said_of_what_follows_a_close_frame(void **state)
{
    begin();
    put_text(CRS_WS_TEXT, "fragment1"); /* 7.1.5 */
    put_close(1000, "bye");
    put_text(FIN | CRS_WS_CONTINUATION, "fragment2");
    put_text(FIN | CRS_WS_PING, "ping");
    put_close(1001, "again");
    put_text(0xff, "not even a frame");
    expect("close(1000,bye)");
}

static void close_frame_of_one_byte_is_refused(void **state)
{
    begin();
    put_text(FIN | CRS_WS_CLOSE, "a");
    expect("error(1002)");
}

static void close_frame_with_a_reason_that_is_not_utf8_is_refused(void **state)
{
    begin();
    put_close(1000, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80");
    expect("error(1007)");
    begin();
    put_close(1000, "cut off \xce");
    expect_with(&(crs_ws_rx_options){0}, "error(1007)");
}

static void close_codes_are_taken_or_refused_by_the_registry(void **state)
{
    for (unsigned code = 0; code <= 0xffff; code++) {
        bool fine = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code < 5000);
        assert_int_equal(crs_ws_code_valid((uint16_t)code), fine);
    }
    static const unsigned codes[] = {0,    999,  1000, 1003, 1004, 1005, 1006, 1007, 1014,
                                     1015, 1016, 1100, 2000, 2999, 3000, 4999, 5000, 65535};
    for (size_t i = 0; i < CEREUS_COUNT(codes); i++) {
        char want[32];
        snprintf(want, sizeof want, crs_ws_code_valid((uint16_t)codes[i]) ? "close(%u,)" : "error(1002)", codes[i]);
        begin();
        put_close(codes[i], "");
        expect(want);
    }
}

/* -- hostile input in general -- */

static void any_byte_changed_gives_the_same_events_in_one_piece_and_bytewise(void **state)
{
    begin();
    put_text(CRS_WS_TEXT, "fr\xc3");
    put_text(FIN | CRS_WS_PING, "p");
    put_text(FIN | CRS_WS_CONTINUATION, "\xb6g");
    put_text(FIN | CRS_WS_BINARY, "binary");
    put_close(1000, "bye");
    for (size_t w = 0; w < 2; w++) {
        for (size_t i = 0; i < wires[w].len; i++) {
            uint8_t was = wires[w].data[i];
            for (unsigned bit = 0; bit < 8; bit++) {
                wires[w].data[i] = (uint8_t)(was ^ 1u << bit);
                char got[2][1024];
                for (size_t k = 0; k < 2; k++) {
                    crs_ws_rx rx;
                    crs_ws_rx_init(&rx, &(crs_ws_rx_options){.client = w == 1, .check_utf8 = true});
                    feed(&rx, &wires[w], k ? 1 : WIRE_CAP, false, got[k], sizeof got[k]);
                    crs_ws_rx_fini(&rx);
                }
                assert_string_equal(got[0], got[1]);
            }
            wires[w].data[i] = was;
        }
    }
}

/* -- sending -- */

static void head_is_in_its_shortest_form_and_understood(void **state)
{
    static const struct {
        uint64_t len;
        size_t head_len;
        uint8_t bytes[10];
    } rows[] = {
        {0, 2, {0x82, 0}},
        {125, 2, {0x82, 125}},
        {126, 4, {0x82, 126, 0, 126}},
        {65535, 4, {0x82, 126, 0xff, 0xff}},
        {65536, 10, {0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
        {0x123456789a, 10, {0x82, 127, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0x9a}},
    };
    static const uint8_t mask[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        uint8_t out[CRS_WS_HEAD_MAX];
        assert_int_equal(crs_ws_head(CRS_WS_BINARY, rows[i].len, NULL, out), rows[i].head_len);
        assert_memory_equal(out, rows[i].bytes, rows[i].head_len);
        assert_int_equal(crs_ws_head(CRS_WS_BINARY, rows[i].len, mask, out), rows[i].head_len + 4);
        assert_int_equal(out[1], rows[i].bytes[1] | 0x80);
        assert_memory_equal(out + 2, rows[i].bytes + 2, rows[i].head_len - 2);
        assert_memory_equal(out + rows[i].head_len, mask, 4);
    }
    uint8_t out[CRS_WS_HEAD_MAX];
    crs_ws_head(CRS_WS_PONG, 0, NULL, out);
    assert_int_equal(out[0], 0x8a);
}

static void mask_changes_each_byte_by_its_place_at_any_length(void **state)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t plain[100];
    pattern(plain, sizeof plain);
    for (size_t len = 0; len <= sizeof plain; len++) {
        uint8_t *copy = test_copy(plain, len);
        crs_ws_mask(copy, len, mask);
        for (size_t i = 0; i < len; i++)
            assert_int_equal(copy[i], plain[i] ^ mask[i % 4]);
        crs_ws_mask(copy, len, mask);
        assert_memory_equal(copy, plain, len);
        free(copy);
    }
    uint8_t hello[] = {0x7f, 0x9f, 0x4d, 0x51, 0x58}; /* RFC 6455 5.7 */
    crs_ws_mask(hello, sizeof hello, mask);
    assert_memory_equal(hello, "Hello", 5);
}

static void close_payload_echoes_codes_and_cuts_the_reason_at_a_character(void **state)
{
    uint8_t out[CRS_WS_CONTROL_MAX];
    assert_int_equal(crs_ws_close_payload(CRS_WS_CODE_NONE, cereus_slice_str("x"), out), 0);
    assert_int_equal(crs_ws_close_payload(1000, cereus_slice_str(NULL), out), 2);
    assert_memory_equal(out, "\x03\xe8", 2);
    assert_int_equal(crs_ws_close_payload(1002, cereus_slice_str("bye"), out), 5);
    assert_memory_equal(out,
                        "\x03\xea"
                        "bye",
                        5);
    char reason[200];
    for (size_t lead = 0; lead < 4; lead++) { /* a character of four bytes lies across the limit, at all four places */
        memset(reason, '*', sizeof reason);
        size_t at = 123 - lead;
        memcpy(reason + at, "\xf0\x9f\x8c\xb5", 4);
        assert_int_equal(crs_ws_close_payload(1000, cereus_slice_of(reason, sizeof reason), out), 2 + at);
        assert_true(crs_utf8_valid(cereus_slice_of(out + 2, at)));
    }
    memset(reason, '*', sizeof reason);
    assert_int_equal(crs_ws_close_payload(1000, cereus_slice_of(reason, 123), out), 125);
    assert_int_equal(crs_ws_close_payload(1000, cereus_slice_of(reason, 124), out), 125);
}

#define WS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

TEST_MAIN(WS_TEST(messages_of_every_length_form_come_out_whole),
          WS_TEST(many_messages_in_one_piece_are_handed_out_where_they_lie),
          WS_TEST(long_messages_in_frames_of_any_size_come_out_whole),
          WS_TEST(pings_and_pongs_carry_up_to_125_bytes_of_anything),
          WS_TEST(control_frame_over_125_bytes_is_refused_with_its_second_byte),
          WS_TEST(reserved_bits_and_opcodes_are_refused_with_the_first_byte),
          WS_TEST(frame_masked_in_the_wrong_way_for_its_role_is_refused_with_its_second_byte),
          WS_TEST(length_not_in_its_shortest_form_is_refused),
          WS_TEST(message_over_the_limit_is_refused_from_its_head_alone),
          WS_TEST(fragments_over_the_limit_together_are_refused_from_the_head_of_the_one_too_many),
          WS_TEST(memory_grows_only_as_bytes_arrive_and_goes_with_the_message),
          WS_TEST(failing_allocation_ends_the_receiver_at_any_point),
          WS_TEST(fragments_are_joined_and_control_frames_pass_between_them),
          WS_TEST(continuation_of_nothing_is_refused), WS_TEST(new_message_inside_a_fragmented_one_is_refused),
          WS_TEST(fragmented_control_frame_is_refused), WS_TEST(text_is_valid_wherever_its_frames_are_cut),
          WS_TEST(text_that_is_not_utf8_is_refused_and_binary_is_not),
          WS_TEST(text_is_refused_with_the_first_byte_that_cannot_be_mended),
          WS_TEST(state_of_one_text_does_not_leak_into_the_next), WS_TEST(close_frame_tells_code_and_reason),
          WS_TEST(nothing_is_said_of_what_follows_a_close_frame), WS_TEST(close_frame_of_one_byte_is_refused),
          WS_TEST(close_frame_with_a_reason_that_is_not_utf8_is_refused),
          WS_TEST(close_codes_are_taken_or_refused_by_the_registry),
          WS_TEST(any_byte_changed_gives_the_same_events_in_one_piece_and_bytewise),
          WS_TEST(head_is_in_its_shortest_form_and_understood),
          WS_TEST(mask_changes_each_byte_by_its_place_at_any_length),
          WS_TEST(close_payload_echoes_codes_and_cuts_the_reason_at_a_character))
