/* tests/unit/transport/test_memory.c: that memory/ behaves as a socket does, where tests lean on it */
#include "conn_world.h"

static conn_world w;

static crs_input echo(conn_owner *o, cereus_slice body)
{
    say_packet(o->conn, body.data, body.len);
    return CRS_INPUT_MORE;
}

static void nothing_happens_before_the_loop_turns(void **state)
{
    world_open(&w);
    w.react = echo;
    crs_pipe *pipe = connect_stream(&w);
    send_packet(pipe, "hi");
    assert_int_equal(w.owners[0].packets, 0);
    test_settle(&w.t);
    assert_string_equal(take_texts(pipe), "hi|");
    char text[CRS_PEER_TEXT_MAX];
    assert_string_equal(crs_peer_text(crs_conn_peer(w.owners[0].conn), text), "local");
    crs_pipe_free(pipe);
    world_close(&w);
}

static void the_window_bounds_what_is_under_way(void **state)
{
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    crs_pipe_set_window(pipe, 7);
    say_text(w.owners[0].conn, "0123456789");
    test_settle(&w.t);
    assert_int_equal(crs_pipe_received(pipe).len, 7);
    crs_pipe_take(pipe, 3);
    test_settle(&w.t);
    assert_int_equal(crs_pipe_received(pipe).len, 7);
    assert_int_equal(crs_conn_out_len(w.owners[0].conn), 4);
    crs_pipe_free(pipe);
    world_close(&w);
}

static void a_peer_may_hang_up_before_and_after_the_server(void **state)
{
    world_open(&w);
    crs_pipe *a = connect_stream(&w), *b = connect_stream(&w);
    crs_pipe_free(a);
    test_settle(&w.t);
    assert_int_equal(w.owners[0].ended, 1);
    crs_conn_close(w.owners[1].conn, false);
    w.owners[1].conn = NULL;
    assert_true(crs_pipe_closed(b));
    assert_int_equal(crs_pipe_send(b, "x", 1), CEREUS_E_GONE);
    crs_pipe_shut(b);
    crs_pipe_take(b, 0);
    assert_null(crs_pipe_free(b));
    assert_null(crs_pipe_free(NULL));
    world_close(&w);
}

static void open_and_send_fail_cleanly_without_memory(void **state)
{
    world_open(&w);
    crs_pipe *pipe = NULL, *first = connect_stream(&w);
    for (size_t nth = 1; nth <= 3; nth++) {
        crs_alloc_fail_at(nth);
        assert_int_equal(crs_pipe_open(w.transport, CRS_FRAMING_WEBSOCKET, &pipe), CEREUS_E_NOMEM);
        assert_null(pipe);
    }
    crs_alloc_fail_at(1);
    assert_int_equal(crs_pipe_send(first, "x", 1), CEREUS_E_NOMEM);
    crs_alloc_fail_at(0);
    assert_int_equal(crs_transport_count(w.transport), 1);
    crs_pipe_free(first);
    world_close(&w);
}

static void a_connection_may_be_refused_when_it_opens(void **state)
{
    world_open(&w);
    w.refuse = true;
    crs_pipe *pipe = connect_stream(&w);
    assert_true(crs_pipe_closed(pipe));
    test_settle(&w.t);
    assert_int_equal(crs_transport_count(w.transport), 0);
    crs_pipe_free(pipe);
    world_close(&w);
}

TEST_MAIN(cmocka_unit_test(nothing_happens_before_the_loop_turns),
          cmocka_unit_test(the_window_bounds_what_is_under_way),
          cmocka_unit_test(a_peer_may_hang_up_before_and_after_the_server),
          cmocka_unit_test(open_and_send_fail_cleanly_without_memory),
          cmocka_unit_test(a_connection_may_be_refused_when_it_opens))
