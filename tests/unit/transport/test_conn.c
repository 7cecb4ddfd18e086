/* tests/unit/transport/test_conn.c */
#include "conn_world.h"

static conn_world w; /* large: not for the stack */

/* ---- input ---- */

static void packets_arrive_wherever_the_bytes_are_split(void **state)
{
    static const uint8_t wire[] = {3, 0, 0, 0, 4, 0, 0, 5, 'h', 'e', 'l', 'l', 'o', 4, 0, 0, 0, 4, 0, 0, 2, 'h', 'i'};
    for (size_t split = 0; split <= sizeof wire; split++) {
        for (size_t second = split; second <= sizeof wire; second += 3) {
            world_open(&w);
            crs_pipe *pipe = connect_stream(&w);
            assert_int_equal(crs_pipe_send(pipe, wire, split), CEREUS_OK);
            test_settle(&w.t);
            assert_int_equal(crs_pipe_send(pipe, wire + split, second - split), CEREUS_OK);
            test_settle(&w.t);
            assert_int_equal(crs_pipe_send(pipe, wire + second, sizeof wire - second), CEREUS_OK);
            test_settle(&w.t);
            assert_int_equal(w.owners[0].packets, 4);
            assert_got(&w.owners[0], "|hello||hi|");
            crs_pipe_free(pipe);
            world_close(&w);
        }
    }
}

static void packets_arrive_byte_by_byte_and_many_at_once(void **state)
{
    crs_bytes all;
    crs_bytes_init(&all, 1 << 20);
    for (int i = 0; i < 500; i++) {
        crs_bytes one = packet_of("abc", (size_t)(i % 4));
        assert_int_equal(crs_bytes_append(&all, one.data, one.len), CEREUS_OK);
        crs_bytes_fini(&one);
    }
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    assert_int_equal(crs_pipe_send(pipe, all.data, all.len), CEREUS_OK);
    test_settle(&w.t);
    assert_int_equal(w.owners[0].packets, 500);
    for (size_t i = 0; i < all.len; i++) {
        assert_int_equal(crs_pipe_send(pipe, all.data + i, 1), CEREUS_OK);
        test_settle(&w.t);
    }
    assert_int_equal(w.owners[0].packets, 1000);
    assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_packets_in), 1000);
    assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_bytes_in), 2 * all.len);
    crs_pipe_free(pipe);
    crs_bytes_fini(&all);
    world_close(&w);
}

static void a_packet_that_is_too_long_is_refused_from_its_head_alone(void **state)
{
    world_open_with(&w, 1000);
    crs_pipe *pipe = connect_stream(&w);
    assert_int_equal(crs_pipe_send(pipe, (uint8_t[]){4, 0, 1000 >> 8, 1000 & 255}, 4), CEREUS_OK);
    test_settle(&w.t);
    assert_int_equal(w.owners[0].ended, 0);
    crs_pipe *longer = connect_stream(&w);
    assert_int_equal(crs_pipe_send(longer, (uint8_t[]){4, 0, 1001 >> 8}, 3), CEREUS_OK);
    test_settle(&w.t);
    assert_int_equal(w.owners[1].ended, 0);
    assert_int_equal(crs_pipe_send(longer, (uint8_t[]){1001 & 255}, 1), CEREUS_OK);
    test_settle(&w.t);
    assert_int_equal(w.owners[1].ended, 1);
    assert_int_equal(w.owners[1].why, CRS_END_TOO_LONG);
    assert_true(crs_pipe_closed(longer));
    crs_pipe_free(longer);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void a_bad_packet_type_ends_the_connection_after_what_came_before(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    assert_int_equal(crs_pipe_send(pipe, (uint8_t[]){4, 0, 0, 1, 'a', 6, 0, 0, 0, 4, 0, 0, 1, 'b'}, 14), CEREUS_OK);
    test_settle(&w.t);
    assert_got(&w.owners[0], "a|");
    assert_int_equal(w.owners[0].why, CRS_END_MALFORMED);
    assert_int_equal(w.owners[0].ended, 1);
    assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_malformed_packets), 1);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void a_long_packet_takes_memory_only_for_what_has_arrived(void **state)
{
    enum { LEN = PACKET_MAX, STEP = 40000 };
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    crs_conn *conn = w.owners[0].conn;
    crs_bytes big = packet_of("", 0);
    assert_int_equal(crs_bytes_reserve(&big, LEN), CEREUS_OK);
    for (size_t i = 0; i < LEN; i++)
        big.data[big.len++] = (uint8_t)(i * 31);
    crs_put_u24(big.data + 1, LEN);
    for (size_t at = 0; at < big.len;) {
        size_t n = CRS_MIN((size_t)STEP, big.len - at);
        assert_int_equal(crs_pipe_send(pipe, big.data + at, n), CEREUS_OK);
        test_settle(&w.t);
        at += n;
        assert_true(at == big.len || conn->part_len == at);
        assert_true(conn->part_cap <= at + at / 2 + 2 * CRS_READ_BUFFER_LEN);
    }
    assert_int_equal(w.owners[0].packets, 1);
    assert_int_equal(w.owners[0].got.len, LEN + 1);
    assert_memory_equal(w.owners[0].got.data, big.data + CRS_PACKET_HEAD_LEN, LEN);
    assert_int_equal(conn->part_cap, 0); /* and gives it back */
    send_packet(pipe, "next");
    test_settle(&w.t);
    assert_int_equal(w.owners[0].packets, 2);
    crs_pipe_free(pipe);
    crs_bytes_fini(&big);
    world_close(&w);
}

static void bytes_behind_a_long_packet_do_not_pin_its_memory(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    crs_conn *conn = w.owners[0].conn;
    crs_bytes big = packet_of("", 0);
    assert_int_equal(crs_bytes_reserve(&big, 1 << 20), CEREUS_OK);
    memset(big.data + 4, 'x', 1 << 20);
    big.len += 1 << 20;
    crs_put_u24(big.data + 1, 1 << 20);
    assert_int_equal(crs_pipe_send(pipe, big.data, big.len), CEREUS_OK);
    assert_int_equal(crs_pipe_send(pipe, (uint8_t[]){4, 0, 0}, 3), CEREUS_OK); /* the start of another */
    test_settle(&w.t);
    assert_int_equal(w.owners[0].packets, 1);
    assert_int_equal(conn->part_len, 3);
    assert_true(conn->part_cap <= 3 * CRS_READ_BUFFER_LEN);
    crs_pipe_free(pipe);
    crs_bytes_fini(&big);
    world_close(&w);
}

/* ---- pausing ---- */

static void a_paused_connection_gets_one_packet_per_resume_in_order(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    conn_owner *o = &w.owners[0];
    o->answer = CRS_INPUT_PAUSE;
    for (int i = 0; i < 5; i++) /* in one read */
        send_packet(pipe, (char[]){(char)('a' + i), 0});
    test_settle(&w.t);
    assert_got(o, "a|");
    assert_true(crs_conn_paused(o->conn));
    send_packet(pipe, "f"); /* stays with the kernel */
    test_settle(&w.t);
    assert_got(o, "a|");
    for (int packets = 2; packets <= 6; packets++) {
        crs_conn_resume(o->conn);
        crs_conn_resume(o->conn); /* no more than once */
        assert_int_equal(o->packets, packets - 1);
        test_settle(&w.t);
        assert_int_equal(o->packets, packets);
    }
    assert_got(o, "a|b|c|d|e|f|");
    o->answer = CRS_INPUT_MORE;
    crs_conn_resume(o->conn);
    send_packet(pipe, "g");
    test_settle(&w.t);
    assert_got(o, "a|b|c|d|e|f|g|");
    assert_false(crs_conn_paused(o->conn));
    crs_pipe_free(pipe);
    world_close(&w);
}

static void a_connection_can_be_paused_at_any_time(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    conn_owner *o = &w.owners[0];
    send_packet(pipe, "a");
    test_settle(&w.t);
    crs_conn_pause(o->conn);
    crs_conn_pause(o->conn); /* again: nothing changes */
    send_packet(pipe, "b");
    test_settle(&w.t);
    assert_got(o, "a|");
    crs_conn_resume(o->conn);
    crs_conn_pause(o->conn); /* the last word counts */
    test_settle(&w.t);
    assert_got(o, "a|");
    assert_true(say_text(o->conn, "it may still speak"));
    test_settle(&w.t);
    assert_string_equal(take_texts(pipe), "it may still speak|");
    crs_conn_resume(o->conn);
    test_settle(&w.t);
    assert_got(o, "a|b|");
    crs_conn_pause(o->conn);
    crs_conn_close(o->conn, true); /* which waits for the peer, so it reads */
    crs_conn_pause(o->conn);
    o->conn = NULL;
    crs_pipe_shut(pipe);
    test_settle(&w.t);
    assert_int_equal(crs_transport_count(w.transport), 0);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void a_paused_connection_that_is_closed_is_not_resumed(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    conn_owner *o = &w.owners[0];
    o->answer = CRS_INPUT_PAUSE;
    send_packet(pipe, "a");
    send_packet(pipe, "b");
    test_settle(&w.t);
    crs_conn_resume(o->conn);
    crs_conn_close(o->conn, false);
    o->conn = NULL;
    test_settle(&w.t);
    assert_got(o, "a|");
    assert_true(crs_pipe_closed(pipe));
    crs_pipe_free(pipe);
    world_close(&w);
}

/* ---- output ---- */

static crs_input echo(conn_owner *o, cereus_slice body)
{
    say_packet(o->conn, body.data, body.len);
    return CRS_INPUT_MORE;
}

static void partial_writes_never_tear_what_is_sent(void **state)
{
    for (size_t window = 1; window < 60; window += 7) {
        world_open(&w);
        w.react = echo;
        crs_pipe *pipe = connect_stream(&w);
        crs_pipe_set_window(pipe, window);
        crs_bytes want, got;
        crs_bytes_init(&want, 1 << 20);
        crs_bytes_init(&got, 1 << 20);
        for (int i = 0; i < 60; i++) {
            char text[80];
            snprintf(text, sizeof text, "%0*d", 1 + i, i);
            crs_bytes packet = packet_of(text, strlen(text));
            assert_int_equal(crs_bytes_append(&want, packet.data, packet.len), CEREUS_OK);
            if (i % 3 == 0) { /* once made by its own input, once by others, once shared */
                assert_int_equal(crs_pipe_send(pipe, packet.data, packet.len), CEREUS_OK);
                test_settle(&w.t);
            } else if (i % 3 == 1) {
                assert_true(say_text(w.owners[0].conn, text));
            } else {
                crs_frame frame = frame_of(text);
                assert_int_equal(crs_conn_send_frame(w.owners[0].conn, &frame), CEREUS_OK);
                crs_buf_unref(frame.buf);
            }
            crs_bytes_fini(&packet);
            cereus_slice some = crs_pipe_received(pipe);
            size_t n = CRS_MIN(some.len, (size_t)i);
            assert_int_equal(crs_bytes_append(&got, some.data, n), CEREUS_OK);
            crs_pipe_take(pipe, n);
        }
        assert_true(w.owners[0].blocked > 0);
        while (got.len < want.len) {
            test_settle(&w.t);
            cereus_slice some = crs_pipe_received(pipe);
            assert_true(some.len > 0);
            assert_int_equal(crs_bytes_append(&got, some.data, some.len), CEREUS_OK);
            crs_pipe_take(pipe, some.len);
        }
        assert_int_equal(got.len, want.len);
        assert_memory_equal(got.data, want.data, want.len);
        test_settle(&w.t);
        assert_int_equal(crs_conn_out_len(w.owners[0].conn), 0);
        assert_int_equal(w.owners[0].blocked, w.owners[0].drained);
        assert_int_equal(crs_counter_read(&w.t.loop->counters, CRS_COUNTER_bytes_out), want.len);
        crs_bytes_fini(&want);
        crs_bytes_fini(&got);
        crs_pipe_free(pipe);
        world_close(&w);
    }
}

static crs_input answer_and_push_by_turns(conn_owner *o, cereus_slice body)
{
    crs_frame frame = frame_of("shared");
    say_text(o->conn, "first");
    assert_int_equal(crs_conn_send_frame(o->conn, &frame), CEREUS_OK);
    say_text(o->conn, "second");
    assert_int_equal(crs_conn_send_frame(o->conn, &frame), CEREUS_OK);
    say_text(o->conn, "third");
    crs_buf_unref(frame.buf);
    return CRS_INPUT_MORE;
}

static void own_answers_and_shared_frames_keep_the_order_in_which_they_were_made(void **state)
{
    world_open(&w);
    w.react = answer_and_push_by_turns;
    crs_pipe *pipe = connect_stream(&w);
    say_text(w.owners[0].conn, "before");
    send_packet(pipe, "go");
    send_packet(pipe, "go");
    test_settle(&w.t);
    assert_string_equal(take_texts(pipe), "before|first|shared|second|shared|third|first|shared|second|shared|third|");
    crs_pipe_free(pipe);
    world_close(&w);
}

static crs_input push_to_the_other(conn_owner *o, cereus_slice body)
{
    conn_owner *other = &o->w->owners[o == &o->w->owners[0] ? 1 : 0];
    char text[50];
    snprintf(text, sizeof text, "%.*s to other", (int)body.len, body.data);
    if (other->conn)
        say_text(other->conn, text);
    snprintf(text, sizeof text, "%.*s to self", (int)body.len, body.data);
    say_text(o->conn, text);
    return CRS_INPUT_MORE;
}

static void output_for_others_is_written_at_the_end_of_the_turn_joined(void **state)
{
    world_open(&w);
    w.react = push_to_the_other;
    crs_pipe *a = connect_stream(&w), *b = connect_stream(&w);
    send_packet(a, "a1");
    send_packet(b, "b1");
    send_packet(a, "a2");
    test_settle(&w.t);
    assert_string_equal(take_texts(a), "a1 to self|a2 to self|b1 to other|");
    assert_string_equal(take_texts(b), "a1 to other|a2 to other|b1 to self|");
    crs_pipe_free(a);
    crs_pipe_free(b);
    world_close(&w);
}

static crs_input answer_much(conn_owner *o, cereus_slice body)
{
    static char text[5000];
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 100; i++) { /* several times what the loop's buffer holds */
        snprintf(text, 4, "%03d", i);
        text[3] = 'x';
        assert_true(say_packet(o->conn, text, sizeof text));
    }
    assert_true(say_packet(o->conn, "", 0));
    return CRS_INPUT_MORE;
}

static void more_output_than_the_loops_buffer_holds_goes_out_whole(void **state)
{
    for (size_t window = 1; window < 3 << 20; window *= 7) {
        world_open(&w);
        w.react = answer_much;
        crs_pipe *pipe = connect_stream(&w);
        crs_pipe_set_window(pipe, window);
        send_packet(pipe, "go");
        crs_bytes got;
        crs_bytes_init(&got, 2 << 20);
        enum { ALL = 100 * 5004 + 4 };
        while (got.len < ALL) {
            test_settle(&w.t);
            cereus_slice some = crs_pipe_received(pipe);
            assert_true(some.len > 0);
            assert_int_equal(crs_bytes_append(&got, some.data, some.len), CEREUS_OK);
            crs_pipe_take(pipe, some.len);
            if (window < 1000 && got.len > 10000)
                crs_pipe_set_window(pipe, 1 << 20); /* the rest at once: single bytes would take long */
        }
        assert_int_equal(got.len, ALL);
        for (int i = 0; i < 100; i++) {
            char head[8];
            snprintf(head, sizeof head, "%03d", i);
            assert_int_equal(crs_get_u24(got.data + i * 5004 + 1), 5000);
            assert_memory_equal(got.data + i * 5004 + 4, head, 3);
        }
        crs_bytes_fini(&got);
        crs_pipe_free(pipe);
        world_close(&w);
    }
}

static void much_queued_output_is_written_before_the_turn_ends(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    static char text[10000];
    for (int i = 0; i < 50; i++)
        assert_true(say_packet(w.owners[0].conn, text, sizeof text));
    assert_true(crs_pipe_received(pipe).len > 100000);
    assert_true(crs_conn_out_len(w.owners[0].conn) < 500000);
    test_settle(&w.t);
    assert_int_equal(crs_pipe_received(pipe).len, 50 * 10004);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void many_connections_are_written_in_slices_and_none_is_forgotten(void **state)
{
    enum { MANY = CRS_FLUSH_SLICE + 100 };
    world_open(&w);
    static crs_pipe *pipes[MANY];
    crs_frame frame = frame_of("to all");
    for (size_t i = 0; i < MANY; i++)
        pipes[i] = connect_stream(&w);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(crs_conn_send_frame(w.owners[i].conn, &frame), CEREUS_OK);
    crs_loop_turn(w.t.loop);
    assert_int_equal(crs_pipe_received(pipes[MANY - 1]).len, 0); /* the loop looks at its sockets in between */
    uv_run(&w.t.loop->uv, UV_RUN_ONCE);                          /* but does not sleep */
    for (size_t i = 0; i < MANY; i++) {
        assert_string_equal(take_texts(pipes[i]), "to all|");
        pipes[i] = crs_pipe_free(pipes[i]);
    }
    assert_int_equal(atomic_load(&frame.buf->refs), 1);
    crs_buf_unref(frame.buf);
    world_close(&w);
}

static void one_shared_frame_fits_streams_and_web_sockets(void **state)
{
    static const size_t lens[] = {0, 1, 121, 122, 65531, 65532, 70000};
    for (size_t i = 0; i < CEREUS_COUNT(lens); i++) {
        crs_frame frame;
        uint8_t *packet;
        size_t len = CRS_PACKET_HEAD_LEN + lens[i];
        assert_int_equal(crs_frame_new(len, &frame, &packet), CEREUS_OK);
        assert_int_equal(frame.ws_head, len < 126 ? 2 : len < 65536 ? 4 : 10);
        assert_ptr_equal(packet, frame.buf->data + frame.ws_head);
        assert_int_equal(frame.buf->len, frame.ws_head + len);
        assert_int_equal(frame.buf->data[0], 0x82);
        memset(packet, 'x', len); /* all of it is there */
        crs_buf_unref(frame.buf);
    }
}

static void a_connection_tells_for_how_long_its_peer_has_taken_nothing(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    crs_conn *conn = w.owners[0].conn;
    crs_pipe_set_window(pipe, 10);
    test_pass(&w.t, 500);
    assert_int_equal(crs_conn_stalled_ms(conn), 0);
    say_text(conn, "0123456789");
    test_settle(&w.t);
    assert_int_equal(w.owners[0].blocked, 1);
    assert_int_equal(crs_conn_out_len(conn), 4);
    test_pass(&w.t, 700);
    assert_int_equal(crs_conn_stalled_ms(conn), 700);
    say_text(conn, "more");
    test_pass(&w.t, 100);
    assert_int_equal(crs_conn_stalled_ms(conn), 800);
    assert_int_equal(w.owners[0].blocked, 1); /* said once */
    crs_pipe_take(pipe, 1);
    test_settle(&w.t);
    test_pass(&w.t, 50);
    assert_int_equal(crs_conn_stalled_ms(conn), 50); /* one byte is progress */
    crs_pipe_set_window(pipe, 1000);
    crs_pipe_take(pipe, 0);
    test_settle(&w.t);
    assert_int_equal(crs_conn_stalled_ms(conn), 0);
    assert_int_equal(w.owners[0].drained, 1);
    crs_pipe_free(pipe);
    world_close(&w);
}

/* ---- ends ---- */

static void closing_after_a_flush_sends_what_is_queued_then_lingers_for_the_peer(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    say_text(w.owners[0].conn, "goodbye");
    crs_conn_close(w.owners[0].conn, true);
    assert_null(crs_conn_reserve(w.owners[0].conn, 4));
    crs_frame frame = frame_of("late");
    assert_int_equal(crs_conn_send_frame(w.owners[0].conn, &frame), CEREUS_E_GONE);
    crs_buf_unref(frame.buf);
    w.owners[0].conn = NULL;
    test_settle(&w.t);
    assert_string_equal(take_texts(pipe), "goodbye|");
    assert_true(crs_pipe_closed(pipe));
    assert_int_equal(crs_transport_count(w.transport), 1); /* until the peer has seen it */
    for (int i = 0; i < 100; i++)
        send_packet(pipe, "unread");
    test_settle(&w.t);
    assert_int_equal(crs_transport_count(w.transport), 1);
    crs_pipe_shut(pipe);
    test_settle(&w.t);
    assert_int_equal(crs_transport_count(w.transport), 0);
    assert_int_equal(w.owners[0].packets, 0);
    assert_int_equal(w.owners[0].ended, 0); /* whoever closes is not told */
    crs_pipe_free(pipe);
    world_close(&w);
}

static void lingering_ends_by_itself_when_the_peer_stays(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    crs_conn_close(w.owners[0].conn, true);
    w.owners[0].conn = NULL;
    assert_true(crs_pipe_closed(pipe)); /* nothing was queued */
    test_pass(&w.t, CRS_LINGER_MS - 1);
    assert_int_equal(crs_transport_count(w.transport), 1);
    test_pass(&w.t, 1);
    assert_int_equal(crs_transport_count(w.transport), 0);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void a_blocked_connection_that_is_closed_flushes_until_its_deadline(void **state)
{
    for (int patient = 0; patient < 2; patient++) {
        world_open(&w);
        crs_pipe *pipe = connect_stream(&w);
        crs_pipe_set_window(pipe, 3);
        say_text(w.owners[0].conn, "what was queued");
        test_settle(&w.t);
        assert_int_equal(w.owners[0].blocked, 1);
        crs_conn_close(w.owners[0].conn, true);
        w.owners[0].conn = NULL;
        send_packet(pipe, "nobody listens");
        test_pass(&w.t, 4999);
        assert_int_equal(crs_transport_count(w.transport), 1);
        assert_false(crs_pipe_closed(pipe));
        if (patient) {
            test_pass(&w.t, 1);
            assert_int_equal(crs_transport_count(w.transport), 0);
            assert_true(crs_pipe_closed(pipe));
        } else {
            char got[30] = "";
            size_t len = 0;
            while (!crs_pipe_closed(pipe)) {
                cereus_slice some = crs_pipe_received(pipe);
                memcpy(got + len, some.data, some.len);
                len += some.len;
                crs_pipe_take(pipe, some.len);
                test_settle(&w.t);
            }
            cereus_slice some = crs_pipe_received(pipe);
            memcpy(got + len, some.data, some.len);
            len += some.len;
            assert_int_equal(len, 19);
            assert_string_equal(got + 4, "what was queued");
            assert_int_equal(crs_transport_count(w.transport), 1);
            test_pass(&w.t, CRS_LINGER_MS);
            assert_int_equal(crs_transport_count(w.transport), 0);
        }
        assert_int_equal(w.owners[0].packets, 0);
        crs_pipe_free(pipe);
        world_close(&w);
    }
}

static void closing_at_once_throws_away_what_is_queued(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    say_text(w.owners[0].conn, "never sent");
    crs_conn_close(w.owners[0].conn, false);
    w.owners[0].conn = NULL;
    test_settle(&w.t);
    assert_int_equal(crs_pipe_received(pipe).len, 0);
    assert_true(crs_pipe_closed(pipe));
    assert_int_equal(crs_transport_count(w.transport), 0);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void closing_at_once_ends_a_flush_that_is_under_way(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    crs_conn *conn = w.owners[0].conn;
    crs_pipe_set_window(pipe, 1);
    say_text(conn, "slow");
    test_settle(&w.t);
    crs_conn_close(conn, true);
    crs_conn_close(conn, true); /* again is fine */
    crs_conn_close(conn, false);
    w.owners[0].conn = NULL;
    test_settle(&w.t);
    assert_int_equal(crs_transport_count(w.transport), 0);
    crs_pipe_free(pipe);
    world_close(&w);
}

static crs_input answer_and_close(conn_owner *o, cereus_slice body)
{
    say_text(o->conn, "answer");
    crs_conn_close(o->conn, body.data[0] == 'f');
    o->conn = NULL;
    return CRS_INPUT_MORE;
}

static void a_connection_can_be_closed_by_its_own_input(void **state)
{
    for (int flush = 0; flush < 2; flush++) {
        world_open(&w);
        w.react = answer_and_close;
        crs_pipe *pipe = connect_stream(&w);
        send_packet(pipe, flush ? "f" : "n");
        send_packet(pipe, "not handled any more");
        test_settle(&w.t);
        assert_int_equal(w.owners[0].packets, 1);
        assert_string_equal(take_texts(pipe), flush ? "answer|" : "");
        assert_true(crs_pipe_closed(pipe));
        crs_pipe_free(pipe);
        world_close(&w); /* which checks that nothing is sent on a stream that has ended */
    }
}

static void a_flush_begun_by_its_own_input_blocks_and_goes_on(void **state)
{
    world_open(&w);
    w.react = answer_and_close;
    crs_pipe *pipe = connect_stream(&w);
    crs_pipe_set_window(pipe, 5);
    send_packet(pipe, "f");
    test_settle(&w.t);
    assert_int_equal(crs_pipe_received(pipe).len, 5);
    assert_false(crs_pipe_closed(pipe));
    test_pass(&w.t, 4999);
    crs_pipe_set_window(pipe, 100);
    crs_pipe_take(pipe, 0);
    test_settle(&w.t);
    assert_string_equal(take_texts(pipe), "answer|");
    assert_true(crs_pipe_closed(pipe));
    crs_pipe_free(pipe);
    world_close(&w);
}

static void say_goodbye_when_drained(conn_owner *o)
{
    say_text(o->conn, "goodbye");
    crs_conn_close(o->conn, true);
    o->conn = NULL;
}

static void what_is_said_and_closed_when_output_has_drained_still_goes_out(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    w.owners[0].on_drained = say_goodbye_when_drained;
    crs_pipe_set_window(pipe, 6);
    say_text(w.owners[0].conn, "abcd");
    test_settle(&w.t);
    crs_pipe_set_window(pipe, 100);
    crs_pipe_take(pipe, 0);
    test_settle(&w.t);
    assert_string_equal(take_texts(pipe), "abcd|goodbye|");
    assert_true(crs_pipe_closed(pipe));
    crs_pipe_free(pipe);
    world_close(&w);
}

static void the_end_of_the_peer_ends_the_connection_once(void **state)
{
    for (int hang_up = 0; hang_up < 2; hang_up++) {
        world_open(&w);
        crs_pipe *pipe = connect_stream(&w);
        send_packet(pipe, "last words");
        assert_int_equal(crs_pipe_send(pipe, (uint8_t[]){4, 0}, 2), CEREUS_OK); /* and half a head */
        if (hang_up)
            pipe = crs_pipe_free(pipe);
        else
            crs_pipe_shut(pipe);
        test_settle(&w.t);
        assert_got(&w.owners[0], "last words|");
        assert_int_equal(w.owners[0].ended, 1);
        assert_int_equal(w.owners[0].why, CRS_END_PEER);
        assert_int_equal(crs_transport_count(w.transport), 0);
        assert_true(!pipe || crs_pipe_send(pipe, "x", 1) == CEREUS_E_GONE);
        crs_pipe_free(pipe);
        world_close(&w);
    }
}

static void writing_to_a_peer_that_has_gone_ends_the_connection(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    w.owners[0].answer = CRS_INPUT_PAUSE; /* so that no read finds out */
    send_packet(pipe, "pause");
    test_settle(&w.t);
    crs_pipe_free(pipe);
    say_text(w.owners[0].conn, "anyone?");
    test_settle(&w.t);
    assert_int_equal(w.owners[0].ended, 1);
    assert_int_equal(w.owners[0].why, CRS_END_ERROR);
    assert_int_equal(crs_transport_count(w.transport), 0);
    world_close(&w);
}

static crs_pipe *pipe_to_free;

static crs_input lose_the_peer_and_answer_much(conn_owner *o, cereus_slice body)
{
    static char text[20000];
    int packets = 0;
    pipe_to_free = crs_pipe_free(pipe_to_free);
    while (o->conn && say_packet(o->conn, text, sizeof text)) /* on_end has been called in the middle of it */
        packets++;
    assert_in_range(packets, 3, CRS_SCRATCH_LEN / 20000 + 1);
    assert_int_equal(o->ended, 1);
    return CRS_INPUT_PAUSE;
}

static void a_send_that_fails_while_input_is_handled_ends_the_connection_there_and_then(void **state)
{
    world_open(&w);
    w.react = lose_the_peer_and_answer_much;
    pipe_to_free = connect_stream(&w);
    send_packet(pipe_to_free, "a");
    send_packet(pipe_to_free, "not handled");
    test_settle(&w.t);
    assert_int_equal(w.owners[0].packets, 1);
    assert_int_equal(w.owners[0].why, CRS_END_ERROR);
    assert_int_equal(crs_transport_count(w.transport), 0);
    world_close(&w);
}

static void connections_that_nobody_owns_can_be_aborted(void **state)
{
    world_open(&w);
    crs_pipe *lingering = connect_stream(&w), *flushing = connect_stream(&w), *opening;
    assert_int_equal(crs_pipe_open(w.transport, CRS_FRAMING_WEBSOCKET, &opening), CEREUS_OK);
    crs_conn_close(w.owners[0].conn, true);
    crs_pipe_set_window(flushing, 1);
    say_text(w.owners[1].conn, "x");
    crs_conn_close(w.owners[1].conn, true);
    w.owners[0].conn = w.owners[1].conn = NULL;
    assert_int_equal(crs_transport_count(w.transport), 3);
    crs_transport_abort_unowned(w.transport);
    test_settle(&w.t);
    assert_int_equal(crs_transport_count(w.transport), 0);
    assert_true(crs_pipe_closed(lingering));
    crs_pipe_free(lingering);
    crs_pipe_free(flushing);
    crs_pipe_free(opening);
    world_close(&w);
}

/* ---- out of memory ---- */

static void new_and_frames_fail_cleanly_without_memory(void **state)
{
    test_loop t;
    test_loop_open(&t);
    crs_transport *transport = NULL;
    for (size_t nth = 1; nth <= 2; nth++) {
        cereus_error err = {0};
        crs_alloc_fail_at(nth);
        assert_int_equal(crs_transport_new(t.loop, &(crs_transport_options){0}, &transport, &err), CEREUS_E_NOMEM);
        assert_int_equal(err.status, CEREUS_E_NOMEM);
        assert_null(transport);
    }
    crs_frame frame;
    uint8_t *packet;
    crs_alloc_fail_at(1);
    assert_int_equal(crs_frame_new(10, &frame, &packet), CEREUS_E_NOMEM);
    crs_alloc_fail_at(0);
    assert_null(crs_transport_free(NULL));
    test_loop_close(&t);
}

static void output_without_memory_is_refused_and_the_rest_stays_in_order(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    crs_conn *conn = w.owners[0].conn;
    crs_alloc_fail_at(1);
    assert_false(say_text(conn, "lost"));
    assert_true(say_text(conn, "a"));
    crs_frame frame = frame_of("b");
    crs_alloc_fail_at(1);
    assert_int_equal(crs_conn_send_frame(conn, &frame), CEREUS_E_NOMEM);
    assert_int_equal(crs_conn_send_frame(conn, &frame), CEREUS_OK);
    assert_int_equal(crs_conn_out_len(conn), 10);
    test_settle(&w.t);
    assert_string_equal(take_texts(pipe), "a|b|");
    crs_buf_unref(frame.buf);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void steady_output_takes_no_memory_from_the_heap(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    crs_frame frame = frame_of("shared");
    for (int round = 0; round < 3; round++) {
        if (round)
            crs_alloc_fail_at(1);
        for (int i = 0; i < 20; i++) {
            assert_true(say_text(w.owners[0].conn, "own"));
            assert_int_equal(crs_conn_send_frame(w.owners[0].conn, &frame), CEREUS_OK);
        }
        test_settle(&w.t);
        crs_pipe_take(pipe, crs_pipe_received(pipe).len);
    }
    crs_alloc_fail_at(0);
    crs_buf_unref(frame.buf);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void input_without_memory_ends_the_connection(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    assert_int_equal(crs_pipe_send(pipe, (uint8_t[]){4, 0, 0}, 3), CEREUS_OK);
    crs_alloc_fail_at(1); /* the next is the one that keeps half a packet */
    test_settle(&w.t);
    crs_alloc_fail_at(0);
    assert_int_equal(w.owners[0].ended, 1);
    assert_int_equal(w.owners[0].why, CRS_END_ERROR);
    crs_pipe_free(pipe);
    world_close(&w);
}

TEST_MAIN(cmocka_unit_test(packets_arrive_wherever_the_bytes_are_split),
          cmocka_unit_test(packets_arrive_byte_by_byte_and_many_at_once),
          cmocka_unit_test(a_packet_that_is_too_long_is_refused_from_its_head_alone),
          cmocka_unit_test(a_bad_packet_type_ends_the_connection_after_what_came_before),
          cmocka_unit_test(a_long_packet_takes_memory_only_for_what_has_arrived),
          cmocka_unit_test(bytes_behind_a_long_packet_do_not_pin_its_memory),
          cmocka_unit_test(a_paused_connection_gets_one_packet_per_resume_in_order),
          cmocka_unit_test(a_connection_can_be_paused_at_any_time),
          cmocka_unit_test(a_paused_connection_that_is_closed_is_not_resumed),
          cmocka_unit_test(partial_writes_never_tear_what_is_sent),
          cmocka_unit_test(own_answers_and_shared_frames_keep_the_order_in_which_they_were_made),
          cmocka_unit_test(output_for_others_is_written_at_the_end_of_the_turn_joined),
          cmocka_unit_test(more_output_than_the_loops_buffer_holds_goes_out_whole),
          cmocka_unit_test(much_queued_output_is_written_before_the_turn_ends),
          cmocka_unit_test(many_connections_are_written_in_slices_and_none_is_forgotten),
          cmocka_unit_test(one_shared_frame_fits_streams_and_web_sockets),
          cmocka_unit_test(a_connection_tells_for_how_long_its_peer_has_taken_nothing),
          cmocka_unit_test(closing_after_a_flush_sends_what_is_queued_then_lingers_for_the_peer),
          cmocka_unit_test(lingering_ends_by_itself_when_the_peer_stays),
          cmocka_unit_test(a_blocked_connection_that_is_closed_flushes_until_its_deadline),
          cmocka_unit_test(closing_at_once_throws_away_what_is_queued),
          cmocka_unit_test(closing_at_once_ends_a_flush_that_is_under_way),
          cmocka_unit_test(a_connection_can_be_closed_by_its_own_input),
          cmocka_unit_test(a_flush_begun_by_its_own_input_blocks_and_goes_on),
          cmocka_unit_test(what_is_said_and_closed_when_output_has_drained_still_goes_out),
          cmocka_unit_test(the_end_of_the_peer_ends_the_connection_once),
          cmocka_unit_test(writing_to_a_peer_that_has_gone_ends_the_connection),
          cmocka_unit_test(a_send_that_fails_while_input_is_handled_ends_the_connection_there_and_then),
          cmocka_unit_test(connections_that_nobody_owns_can_be_aborted),
          cmocka_unit_test(new_and_frames_fail_cleanly_without_memory),
          cmocka_unit_test(output_without_memory_is_refused_and_the_rest_stays_in_order),
          cmocka_unit_test(steady_output_takes_no_memory_from_the_heap),
          cmocka_unit_test(input_without_memory_ends_the_connection))
