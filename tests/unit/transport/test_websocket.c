/* tests/unit/transport/test_websocket.c */
#include "conn_world.h"

#include "transport/http_head.h"
#include "transport/ws_frame.h"

static conn_world w;

#define UPGRADE                     \
    "GET /any HTTP/1.1\r\n"         \
    "Host: localhost\r\n"           \
    "Upgrade: websocket\r\n"        \
    "Connection: Upgrade\r\n"       \
    "Sec-WebSocket-Version: 13\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};

/** Append a client's frame; first byte as given, so that wrong ones can be made. */
static void add_frame(crs_bytes *out, uint8_t first, const void *payload, size_t len)
{
    uint8_t head[CRS_WS_HEAD_MAX];
    size_t head_len = crs_ws_head(CRS_WS_BINARY, len, mask, head);
    head[0] = first;
    assert_int_equal(crs_bytes_append(out, head, head_len), CEREUS_OK);
    assert_int_equal(crs_bytes_append(out, payload, len), CEREUS_OK);
    crs_ws_mask(out->data + out->len - len, len, mask);
}

static void add_packet_frame(crs_bytes *out, const char *text)
{
    crs_bytes packet = packet_of(text, strlen(text));
    add_frame(out, 0x82, packet.data, packet.len);
    crs_bytes_fini(&packet);
}

static void send_frame(crs_pipe *pipe, uint8_t first, const void *payload, size_t len)
{
    crs_bytes b;
    crs_bytes_init(&b, 64 << 20);
    add_frame(&b, first, payload, len);
    assert_int_equal(crs_pipe_send(pipe, b.data, b.len), CEREUS_OK);
    crs_bytes_fini(&b);
}

static void send_packet_frame(crs_pipe *pipe, const char *text)
{
    crs_bytes b;
    crs_bytes_init(&b, 64 << 20);
    add_packet_frame(&b, text);
    assert_int_equal(crs_pipe_send(pipe, b.data, b.len), CEREUS_OK);
    crs_bytes_fini(&b);
}

static crs_pipe *connect_ws(void)
{
    crs_pipe *pipe;
    assert_int_equal(crs_pipe_open(w.transport, CRS_FRAMING_WEBSOCKET, &pipe), CEREUS_OK);
    return pipe;
}

/** Take the 101 off. */
static void take_answer(crs_pipe *pipe)
{
    cereus_slice got = crs_pipe_received(pipe);
    assert_true(got.len >= CRS_WS_ACCEPT_RESPONSE_LEN);
    assert_memory_equal(got.data, "HTTP/1.1 101 ", 13);
    assert_non_null(memmem(got.data, got.len, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28));
    crs_pipe_take(pipe, CRS_WS_ACCEPT_RESPONSE_LEN);
}

static crs_pipe *connect_upgraded(void)
{
    crs_pipe *pipe = connect_ws();
    assert_int_equal(crs_pipe_send(pipe, UPGRADE, strlen(UPGRADE)), CEREUS_OK);
    test_settle(&w.t);
    take_answer(pipe);
    assert_int_equal(crs_pipe_received(pipe).len, 0);
    return pipe;
}

/** The next frame of the server: its opcode; payload borrowed until the next turn. */
static int next_frame(crs_pipe *pipe, cereus_slice *ret_payload)
{
    static uint8_t copy[200000];
    cereus_slice got = crs_pipe_received(pipe);
    assert_true(got.len >= 2);
    assert_int_equal(got.data[0] & 0xf0, 0x80); /* whole, no extensions */
    size_t head = 2, len = got.data[1];
    assert_true(len < 128); /* not masked */
    if (len == 126) {
        len = (size_t)got.data[2] << 8 | got.data[3];
        head = 4;
    } else if (len == 127) {
        len = 0;
        for (int i = 0; i < 8; i++)
            len = len << 8 | got.data[2 + i];
        head = 10;
    }
    assert_true(got.len >= head + len && len <= sizeof copy);
    memcpy(copy, got.data + head, len);
    int opcode = got.data[0] & 0x0f;
    crs_pipe_take(pipe, head + len);
    *ret_payload = cereus_slice_of(copy, len);
    return opcode;
}

static void assert_next_frame(crs_pipe *pipe, int opcode, const void *payload, size_t len)
{
    cereus_slice got;
    assert_int_equal(next_frame(pipe, &got), opcode);
    assert_int_equal(got.len, len);
    assert_memory_equal(got.data, payload, len);
}

static crs_input echo(conn_owner *o, cereus_slice body)
{
    say_packet(o->conn, body.data, body.len);
    return CRS_INPUT_MORE;
}

static void upgrade_and_packets_arrive_wherever_the_bytes_are_split(void **state)
{
    crs_bytes all;
    crs_bytes_init(&all, 1 << 20);
    assert_int_equal(crs_bytes_append_str(&all, UPGRADE), CEREUS_OK);
    add_packet_frame(&all, "hello"); /* glued to the upgrade: Q19 */
    add_packet_frame(&all, "");
    add_frame(&all, 0x02, "\x04\x00\x00", 3); /* in three fragments with a ping in between */
    add_frame(&all, 0x89, "p", 1);
    add_frame(&all, 0x00,
              "\x03"
              "fr",
              3);
    add_frame(&all, 0x80, "ag", 1);
    for (size_t split = 0; split <= all.len; split++) {
        world_open(&w);
        w.react = echo;
        crs_pipe *pipe = connect_ws();
        uint8_t *first = test_copy(all.data, split), *second = test_copy(all.data + split, all.len - split);
        assert_int_equal(crs_pipe_send(pipe, first, split), CEREUS_OK);
        test_settle(&w.t);
        assert_int_equal(crs_pipe_send(pipe, second, all.len - split), CEREUS_OK);
        test_settle(&w.t);
        assert_int_equal(w.opened, 1);
        assert_got(&w.owners[0], "hello||fra|");
        take_answer(pipe);
        assert_next_frame(pipe, CRS_WS_BINARY, "\x04\0\0\x05hello", 9);
        assert_next_frame(pipe, CRS_WS_BINARY, "\x04\0\0\0", 4);
        assert_next_frame(pipe, CRS_WS_PONG, "p", 1);
        assert_next_frame(pipe, CRS_WS_BINARY,
                          "\x04\0\0\x03"
                          "fra",
                          7);
        assert_int_equal(crs_pipe_received(pipe).len, 0);
        free(first);
        free(second);
        crs_pipe_free(pipe);
        world_close(&w);
    }
    crs_bytes_fini(&all);
}

static void every_length_form_goes_both_ways(void **state)
{
    static const size_t lens[] = {0, 121, 122, 65531, 65532, 100000};
    static char text[100001];
    memset(text, 'x', sizeof text - 1);
    world_open(&w);
    w.react = echo;
    crs_pipe *pipe = connect_upgraded();
    for (size_t i = 0; i < CEREUS_COUNT(lens); i++) {
        crs_bytes packet = packet_of(text, lens[i]);
        send_frame(pipe, 0x82, packet.data, packet.len);
        test_settle(&w.t);
        assert_next_frame(pipe, CRS_WS_BINARY, packet.data, packet.len);
        crs_bytes_fini(&packet);
    }
    crs_pipe_free(pipe);
    world_close(&w);
}

static crs_input answer_and_push_by_turns(conn_owner *o, cereus_slice body)
{
    crs_frame frame = frame_of("shared");
    say_text(o->conn, "first");
    assert_int_equal(crs_conn_send_frame(o->conn, &frame), CEREUS_OK);
    say_text(o->conn, "second");
    crs_buf_unref(frame.buf);
    return CRS_INPUT_MORE;
}

static void shared_frames_own_answers_and_pongs_keep_their_order(void **state)
{
    world_open(&w);
    w.react = answer_and_push_by_turns;
    crs_pipe *pipe = connect_upgraded();
    crs_bytes in;
    crs_bytes_init(&in, 1000);
    add_frame(&in, 0x89, "1", 1);
    add_packet_frame(&in, "go");
    add_frame(&in, 0x89, "2", 1);
    assert_int_equal(crs_pipe_send(pipe, in.data, in.len), CEREUS_OK);
    test_settle(&w.t);
    assert_next_frame(pipe, CRS_WS_PONG, "1", 1);
    assert_next_frame(pipe, CRS_WS_BINARY,
                      "\x04\0\0\x05"
                      "first",
                      9);
    assert_next_frame(pipe, CRS_WS_BINARY,
                      "\x04\0\0\x06"
                      "shared",
                      10);
    assert_next_frame(pipe, CRS_WS_BINARY,
                      "\x04\0\0\x06"
                      "second",
                      10);
    assert_next_frame(pipe, CRS_WS_PONG, "2", 1);
    crs_bytes_fini(&in);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void text_messages_are_taken_as_binary_ones_are(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_upgraded();
    send_frame(pipe, 0x81, "\x04\0\0\x02\xff\xfe", 6);
    test_settle(&w.t);
    assert_got(&w.owners[0], "\xff\xfe|");
    crs_pipe_free(pipe);
    world_close(&w);
}

static void a_message_must_be_exactly_one_packet(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"", 0},
        {"\x04\0\0", 3},
        {"\x04\0\0\x02"
         "a",
         5},
        {"\x04\0\0\x01"
         "ab",
         6},
        {"\x04\0\0\x01"
         "a\x04\0\0\x01"
         "b",
         10},
        {"\x06\0\0\0", 4},
        {"\0\0\0\0", 4},
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        world_open(&w);
        crs_pipe *pipe = connect_upgraded();
        send_packet_frame(pipe, "good");
        send_frame(pipe, 0x82, bad[i].bytes, bad[i].len);
        send_packet_frame(pipe, "not handled");
        test_settle(&w.t);
        assert_got(&w.owners[0], "good|");
        assert_int_equal(w.owners[0].why, CRS_END_MALFORMED);
        assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_malformed_packets), 1);
        assert_int_equal(crs_pipe_received(pipe).len, 0); /* no close frame: client-protocol.md 14 */
        assert_true(crs_pipe_closed(pipe));
        crs_pipe_free(pipe);
        world_close(&w);
    }
}

static void a_message_over_the_limit_is_refused_before_it_arrives(void **state)
{
    world_open_with(&w, 1000);
    crs_pipe *pipe = connect_upgraded();
    static char text[1001];
    crs_bytes packet = packet_of(text, 1000);
    send_frame(pipe, 0x82, packet.data, packet.len);
    test_settle(&w.t);
    assert_int_equal(w.owners[0].packets, 1);
    crs_bytes_fini(&packet);
    crs_bytes longer;
    crs_bytes_init(&longer, 10000);
    packet = packet_of(text, 1001);
    add_frame(&longer, 0x82, packet.data, packet.len);
    assert_int_equal(crs_pipe_send(pipe, longer.data, 8), CEREUS_OK); /* its head only */
    test_settle(&w.t);
    assert_int_equal(w.owners[0].ended, 1);
    cereus_slice payload;
    assert_int_equal(next_frame(pipe, &payload), CRS_WS_CLOSE);
    assert_int_equal(payload.data[0] << 8 | payload.data[1], CRS_WS_CODE_TOO_LONG);
    crs_bytes_fini(&packet);
    crs_bytes_fini(&longer);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void pings_are_answered_and_pongs_are_not(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_upgraded();
    char payload[CRS_WS_CONTROL_MAX];
    memset(payload, 'p', sizeof payload);
    for (size_t len = 0; len <= sizeof payload; len += 25) {
        send_frame(pipe, 0x89, payload, len);
        send_frame(pipe, 0x8a, payload, len);
        test_settle(&w.t);
        assert_next_frame(pipe, CRS_WS_PONG, payload, len);
        assert_int_equal(crs_pipe_received(pipe).len, 0);
    }
    assert_int_equal(w.owners[0].packets, 0);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void pings_of_a_client_that_reads_nothing_do_not_fill_memory(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_upgraded();
    crs_pipe_set_window(pipe, 10);
    char payload[CRS_WS_CONTROL_MAX] = "";
    crs_bytes pings;
    crs_bytes_init(&pings, 1 << 20);
    while (pings.len < 60000)
        add_frame(&pings, 0x89, payload, sizeof payload);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(crs_pipe_send(pipe, pings.data, pings.len), CEREUS_OK);
        test_settle(&w.t);
    }
    assert_true(crs_conn_out_len(w.owners[0].conn) < 100000);
    send_packet_frame(pipe, "still heard");
    test_settle(&w.t);
    assert_got(&w.owners[0], "still heard|");
    crs_bytes_fini(&pings);
    crs_pipe_free(pipe);
    world_close(&w);
}

/** The client reads no more: what it is told from now on waits. */
static void fill(crs_pipe *pipe)
{
    crs_pipe_set_window(pipe, 10);
    assert_true(say_text(w.owners[0].conn, "more than fits into the window"));
    test_settle(&w.t);
    assert_int_equal(w.owners[0].blocked, 1);
}

static void open_window(crs_pipe *pipe)
{
    crs_pipe_set_window(pipe, 1000);
    crs_pipe_take(pipe, 0); /* notices the room */
    test_settle(&w.t);
}

static void the_last_ping_of_a_client_that_read_nothing_is_answered_when_it_reads(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_upgraded();
    fill(pipe);
    for (char c = 'a'; c <= 'z'; c++) {
        send_frame(pipe, 0x89, (char[]){c, c}, (size_t)(c - 'a') % 3);
        test_settle(&w.t);
    }
    send_frame(pipe, 0x89, "last", 4);
    test_settle(&w.t);
    assert_int_equal(crs_pipe_received(pipe).len, 10);
    open_window(pipe);
    cereus_slice payload;
    assert_int_equal(next_frame(pipe, &payload), CRS_WS_BINARY);
    assert_next_frame(pipe, CRS_WS_PONG, "last", 4);
    assert_int_equal(crs_pipe_received(pipe).len, 0);
    send_frame(pipe, 0x89, "next", 4); /* and the next at once */
    test_settle(&w.t);
    assert_next_frame(pipe, CRS_WS_PONG, "next", 4);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void a_pong_that_is_owed_is_forgotten_when_the_connection_closes(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_upgraded();
    fill(pipe);
    send_frame(pipe, 0x89, "late", 4);
    send_frame(pipe, 0x88, "\x03\xe8", 2);
    test_settle(&w.t);
    assert_int_equal(w.owners[0].why, CRS_END_PEER);
    open_window(pipe);
    cereus_slice payload;
    assert_int_equal(next_frame(pipe, &payload), CRS_WS_BINARY);
    assert_next_frame(pipe, CRS_WS_CLOSE, "\x03\xe8", 2); /* and nothing behind it */
    assert_int_equal(crs_pipe_received(pipe).len, 0);
    assert_true(crs_pipe_closed(pipe));
    crs_pipe_free(pipe);
    world_close(&w);
}

static void a_pong_without_memory_ends_the_connection(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_upgraded();
    fill(pipe);
    send_frame(pipe, 0x89, "late", 4);
    crs_alloc_fail_at(1);
    test_settle(&w.t);
    crs_alloc_fail_at(0);
    assert_int_equal(w.owners[0].ended, 1);
    assert_int_equal(w.owners[0].why, CRS_END_ERROR);
    crs_pipe_free(pipe);
    world_close(&w);
}

typedef struct heard {
    uint8_t opcode;
    char text[32];
} heard;

static heard last_heard;

static crs_input echo_message(void *owner, uint8_t opcode, uint8_t *data, size_t len)
{
    conn_owner *o = owner;
    o->packets++;
    last_heard.opcode = opcode;
    snprintf(last_heard.text, sizeof last_heard.text, "%.*s", (int)len, (const char *)data);
    uint8_t *room = crs_conn_reserve_message(o->conn, opcode, len);
    assert_non_null(room);
    memcpy(room, data, len);
    return o->answer;
}

static void an_owner_may_take_messages_in_place_of_packets(void **state)
{
    crs_conn_ops ops = owner_ops;
    ops.on_message = echo_message;
    world_open(&w);
    crs_pipe *pipe = connect_upgraded();
    conn_owner *o = &w.owners[0];
    crs_conn_set_owner(o->conn, &ops, o);
    send_frame(pipe, 0x81, "text", 4);
    test_settle(&w.t);
    assert_int_equal(last_heard.opcode, CRS_WS_TEXT);
    assert_string_equal(last_heard.text, "text");
    assert_next_frame(pipe, CRS_WS_TEXT, "text", 4);
    o->answer = CRS_INPUT_PAUSE;
    send_frame(pipe, 0x02, "bi", 2);
    send_frame(pipe, 0x80, "nary", 4);
    send_frame(pipe, 0x82, "", 0);
    test_settle(&w.t);
    assert_int_equal(o->packets, 2);
    assert_next_frame(pipe, CRS_WS_BINARY, "binary", 6);
    crs_conn_resume(o->conn);
    test_settle(&w.t);
    assert_next_frame(pipe, CRS_WS_BINARY, "", 0);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void text_that_is_not_utf8_is_refused_where_that_is_wanted(void **state)
{
    for (int part = 0; part < 2; part++) {
        world_open_as(&w, PACKET_MAX, true);
        crs_pipe *pipe = connect_upgraded();
        send_frame(pipe, part ? 0x01 : 0x81, "\x04\0\0\x02\xff\xfe", 6);
        test_settle(&w.t);
        assert_int_equal(w.owners[0].packets, 0);
        assert_int_equal(w.owners[0].why, CRS_END_MALFORMED);
        cereus_slice said;
        assert_int_equal(next_frame(pipe, &said), CRS_WS_CLOSE);
        assert_int_equal(said.data[0] << 8 | said.data[1], CRS_WS_CODE_NOT_UTF8);
        assert_true(crs_pipe_closed(pipe));
        crs_pipe_free(pipe);
        world_close(&w);
    }
}

static void a_close_frame_is_echoed_with_its_code_and_without_its_reason(void **state)
{
    for (int empty = 0; empty < 2; empty++) {
        world_open(&w);
        crs_pipe *pipe = connect_upgraded();
        send_packet_frame(pipe, "before");
        send_frame(pipe, 0x88,
                   "\x03\xe8"
                   "bye",
                   empty ? 0 : 5);
        send_packet_frame(pipe, "after");
        test_settle(&w.t);
        assert_got(&w.owners[0], "before|");
        assert_int_equal(w.owners[0].why, CRS_END_PEER);
        assert_next_frame(pipe, CRS_WS_CLOSE, "\x03\xe8", empty ? 0 : 2);
        assert_int_equal(crs_pipe_received(pipe).len, 0);
        assert_true(crs_pipe_closed(pipe));
        assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_malformed_packets), 0);
        crs_pipe_shut(pipe);
        test_settle(&w.t);
        assert_int_equal(crs_transport_count(w.transport), 0);
        crs_pipe_free(pipe);
        world_close(&w);
    }
}

static void frames_that_break_the_protocol_are_told_why_and_closed(void **state)
{
    static const struct {
        uint8_t first;
        size_t len;
        bool unmasked;
    } bad[] = {
        {0x82, 4, true},    /* no mask */
        {0xc2, 4, false},   /* reserved bit */
        {0x83, 4, false},   /* unknown opcode */
        {0x8b, 4, false},   /* unknown control opcode */
        {0x80, 4, false},   /* continues nothing */
        {0x89, 126, false}, /* long ping */
        {0x09, 4, false},   /* a ping in fragments */
        {0x88, 1, false},   /* half a close code */
    };
    static const char payload[200] = {4};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        world_open(&w);
        crs_pipe *pipe = connect_upgraded();
        if (bad[i].unmasked)
            assert_int_equal(crs_pipe_send(pipe, "\x82\x04\x04\0\0\0", 6), CEREUS_OK);
        else
            send_frame(pipe, bad[i].first, payload, bad[i].len);
        send_packet_frame(pipe, "after");
        test_settle(&w.t);
        assert_int_equal(w.owners[0].packets, 0);
        assert_int_equal(w.owners[0].ended, 1);
        assert_int_equal(w.owners[0].why, CRS_END_MALFORMED);
        cereus_slice said;
        assert_int_equal(next_frame(pipe, &said), CRS_WS_CLOSE);
        assert_int_equal(said.data[0] << 8 | said.data[1], CRS_WS_CODE_PROTOCOL);
        assert_true(said.len > 2);
        assert_true(crs_pipe_closed(pipe));
        assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_malformed_packets), 1);
        crs_pipe_free(pipe);
        world_close(&w);
    }
}

static void a_paused_connection_gets_one_packet_per_resume(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_upgraded();
    conn_owner *o = &w.owners[0];
    o->answer = CRS_INPUT_PAUSE;
    crs_bytes in;
    crs_bytes_init(&in, 1000);
    for (int i = 0; i < 4; i++) {
        add_packet_frame(&in, (char[]){(char)('a' + i), 0});
        add_frame(&in, 0x89, "p", 1);
    }
    assert_int_equal(crs_pipe_send(pipe, in.data, in.len - 3), CEREUS_OK); /* the last frame is not all there */
    test_settle(&w.t);
    for (int packets = 1; packets <= 4; packets++) {
        assert_int_equal(o->packets, packets);
        crs_conn_resume(o->conn);
        test_settle(&w.t);
    }
    assert_int_equal(crs_pipe_send(pipe, in.data + in.len - 3, 3), CEREUS_OK);
    test_settle(&w.t);
    assert_got(o, "a|b|c|d|");
    for (int i = 0; i < 4; i++)
        assert_next_frame(pipe, CRS_WS_PONG, "p", 1);
    crs_bytes_fini(&in);
    crs_pipe_free(pipe);
    world_close(&w);
}

/* what a message that is being collected takes, test_ws_frame.c looks at */
static void input_of_a_long_message_is_not_kept_twice(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_upgraded();
    uint8_t head[CRS_WS_HEAD_MAX];
    size_t head_len = crs_ws_head(CRS_WS_BINARY, PACKET_MAX + 4, mask, head);
    assert_int_equal(crs_pipe_send(pipe, head, head_len), CEREUS_OK);
    test_settle(&w.t);
    crs_conn *conn = w.owners[0].conn;
    assert_true(conn->part_cap < 100);
    static uint8_t some[30000];
    for (int i = 0; i < 20; i++) {
        assert_int_equal(crs_pipe_send(pipe, some, sizeof some), CEREUS_OK);
        test_settle(&w.t);
        assert_true(conn->part_cap < 2 * CRS_READ_BUFFER_LEN);
    }
    assert_int_equal(w.owners[0].ended, 0);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void a_refused_upgrade_may_be_tried_again(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_ws();
    static const char plain[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_int_equal(crs_pipe_send(pipe, plain, strlen(plain)), CEREUS_OK);
    assert_int_equal(crs_pipe_send(pipe, UPGRADE, strlen(UPGRADE)), CEREUS_OK);
    test_settle(&w.t);
    cereus_slice got = crs_pipe_received(pipe);
    assert_memory_equal(got.data, "HTTP/1.1 400 Bad Request\r\n", 26);
    const uint8_t *ok = memmem(got.data, got.len, "HTTP/1.1 101 ", 13);
    assert_non_null(ok);
    crs_pipe_take(pipe, (size_t)(ok - got.data));
    take_answer(pipe);
    assert_int_equal(w.opened, 1);
    assert_non_null(w.owners[0].conn);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void what_is_not_http_is_refused_and_closed(void **state)
{
    static const char *const bad[] = {"\x01\0\0\x02{}\r\n\r\n", "hello\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        world_open(&w);
        crs_pipe *pipe = connect_ws();
        size_t len = i == 0 ? 10 : strlen(bad[i]);
        assert_int_equal(crs_pipe_send(pipe, bad[i], len), CEREUS_OK);
        test_settle(&w.t);
        assert_memory_equal(crs_pipe_received(pipe).data, "HTTP/1.1 400 ", 13);
        assert_true(crs_pipe_closed(pipe));
        assert_int_equal(w.opened, 0);
        test_pass(&w.t, CRS_LINGER_MS);
        assert_int_equal(crs_transport_count(w.transport), 0);
        crs_pipe_free(pipe);
        world_close(&w);
    }
}

static void a_head_that_never_ends_is_refused_at_its_limit(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_ws();
    assert_int_equal(crs_pipe_send(pipe, "GET / HTTP/1.1\r\nX: ", 19), CEREUS_OK);
    static char x[1000];
    memset(x, 'x', sizeof x);
    for (int i = 0; i < 200 && !crs_pipe_closed(pipe); i++) {
        cereus_status st = crs_pipe_send(pipe, x, sizeof x);
        assert_true(st == CEREUS_OK || crs_pipe_closed(pipe));
        test_settle(&w.t);
    }
    assert_true(crs_pipe_closed(pipe));
    crs_pipe_free(pipe);
    world_close(&w);
}

static void an_upgrade_that_does_not_come_has_a_deadline(void **state)
{
    world_open(&w);
    crs_pipe *silent = connect_ws();
    test_pass(&w.t, 1000);
    crs_pipe *trickling = connect_ws();
    crs_pipe *fine = connect_upgraded();
    assert_int_equal(crs_pipe_send(trickling, UPGRADE, 50), CEREUS_OK);
    test_pass(&w.t, 1999);
    assert_int_equal(crs_transport_count(w.transport), 3);
    test_pass(&w.t, 1);
    assert_true(crs_pipe_closed(silent));
    assert_false(crs_pipe_closed(trickling));
    test_pass(&w.t, 1000);
    assert_true(crs_pipe_closed(trickling));
    test_pass(&w.t, 100000);
    assert_false(crs_pipe_closed(fine));
    assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_handshake_timeouts), 2);
    crs_pipe_free(silent);
    crs_pipe_free(trickling);
    crs_pipe_free(fine);
    world_close(&w);
}

static void a_connection_refused_when_it_opens_says_nothing_more(void **state)
{
    world_open(&w);
    w.refuse = true;
    crs_pipe *pipe = connect_ws();
    assert_int_equal(crs_pipe_send(pipe, UPGRADE, strlen(UPGRADE)), CEREUS_OK);
    test_settle(&w.t);
    assert_true(crs_pipe_closed(pipe));
    assert_int_equal(crs_transport_count(w.transport), 0);
    crs_pipe_free(pipe);
    world_close(&w); /* which checks that the 101 was not written after the end */
}

static void a_message_without_memory_ends_the_connection(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_upgraded();
    send_packet_frame(pipe, "answer me"); /* something is said before it fails */
    w.owners[0].react = echo;
    assert_int_equal(crs_bytes_reserve(&w.owners[0].got, 1000), CEREUS_OK);
    crs_bytes part;
    crs_bytes_init(&part, 1000);
    add_packet_frame(&part, "not all there");
    assert_int_equal(crs_pipe_send(pipe, part.data, part.len - 5), CEREUS_OK);
    crs_alloc_fail_at(1); /* the next is the one that collects it */
    test_settle(&w.t);
    crs_alloc_fail_at(0);
    assert_int_equal(w.owners[0].packets, 1);
    assert_int_equal(w.owners[0].ended, 1);
    assert_int_equal(w.owners[0].why, CRS_END_ERROR);
    crs_bytes_fini(&part);
    crs_pipe_free(pipe);
    world_close(&w);
}

TEST_MAIN(cmocka_unit_test(upgrade_and_packets_arrive_wherever_the_bytes_are_split),
          cmocka_unit_test(every_length_form_goes_both_ways),
          cmocka_unit_test(shared_frames_own_answers_and_pongs_keep_their_order),
          cmocka_unit_test(text_messages_are_taken_as_binary_ones_are),
          cmocka_unit_test(a_message_must_be_exactly_one_packet),
          cmocka_unit_test(a_message_over_the_limit_is_refused_before_it_arrives),
          cmocka_unit_test(pings_are_answered_and_pongs_are_not),
          cmocka_unit_test(pings_of_a_client_that_reads_nothing_do_not_fill_memory),
          cmocka_unit_test(the_last_ping_of_a_client_that_read_nothing_is_answered_when_it_reads),
          cmocka_unit_test(a_pong_that_is_owed_is_forgotten_when_the_connection_closes),
          cmocka_unit_test(a_pong_without_memory_ends_the_connection),
          cmocka_unit_test(an_owner_may_take_messages_in_place_of_packets),
          cmocka_unit_test(text_that_is_not_utf8_is_refused_where_that_is_wanted),
          cmocka_unit_test(a_close_frame_is_echoed_with_its_code_and_without_its_reason),
          cmocka_unit_test(frames_that_break_the_protocol_are_told_why_and_closed),
          cmocka_unit_test(a_paused_connection_gets_one_packet_per_resume),
          cmocka_unit_test(input_of_a_long_message_is_not_kept_twice),
          cmocka_unit_test(a_refused_upgrade_may_be_tried_again),
          cmocka_unit_test(what_is_not_http_is_refused_and_closed),
          cmocka_unit_test(a_head_that_never_ends_is_refused_at_its_limit),
          cmocka_unit_test(an_upgrade_that_does_not_come_has_a_deadline),
          cmocka_unit_test(a_connection_refused_when_it_opens_says_nothing_more),
          cmocka_unit_test(a_message_without_memory_ends_the_connection))
