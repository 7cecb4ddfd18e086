/* tests/unit/acceptor/test_wrappers.c */
#include "../transport/conn_world.h"

#include "acceptor/wrappers.h"

static conn_world w;
static crs_wrappers wrappers;
static char story[2000]; /* what the wrappers of the test were called with, in order */

static void tell(const char *name, const char *what)
{
    snprintf(story + strlen(story), sizeof story - strlen(story), "%s.%s ", name, what);
}

/** What a wrapper of the test is told and how it answers; its user pointer. */
typedef struct scribe {
    const char *name;
    cereus_verdict verdict;
    bool upper; /* change the body in place */
    const char *replace;
    const char *code;
} scribe;

typedef struct scribe_state {
    unsigned opened, packets;
    char spare[21]; /* so that the states need aligning */
} scribe_state;

static void scribe_open(cereus_conn *conn, void *state, void *user)
{
    scribe_state *s = state;
    char addr[56];
    for (size_t i = 0; i < sizeof *s; i++)
        assert_int_equal(((uint8_t *)state)[i], 0);
    assert_int_equal((uintptr_t)state % _Alignof(max_align_t), 0);
    s->opened++;
    assert_string_equal(cereus_conn_remote_addr(conn, addr, sizeof addr), "local");
    tell(((scribe *)user)->name, "open");
}

static cereus_verdict scribe_packet(cereus_conn *conn, void *state, cereus_packet *packet, void *user)
{
    scribe *who = user;
    scribe_state *s = state;
    assert_int_equal(s->opened, 1);
    s->packets++;
    memset(s->spare, 0xff, sizeof s->spare); /* somebody else's would show */
    char what[40];
    snprintf(what, sizeof what, "%d:%.*s", packet->type, (int)packet->len, packet->body);
    tell(who->name, what);
    for (size_t i = 0; who->upper && i < packet->len; i++)
        packet->body[i] = (uint8_t)(packet->body[i] - 'a' + 'A');
    if (who->replace) {
        packet->body = (uint8_t *)(uintptr_t)who->replace;
        packet->len = strlen(who->replace);
    }
    assert_int_equal(cereus_conn_now_us(conn), (TEST_START_MS + (uint64_t)w.t.passed_ms) * 1000);
    return who->code ? cereus_conn_refuse(conn, who->code, "no") : who->verdict;
}

static void scribe_close(cereus_conn *conn, void *state, void *user)
{
    scribe_state *s = state;
    char what[40];
    assert_int_equal(s->opened, 1);
    s->opened = 0; /* once */
    snprintf(what, sizeof what, "close:%u", s->packets);
    tell(((scribe *)user)->name, what);
}

static const cereus_wrapper scribe_wrapper = {
    .state_len = sizeof(scribe_state), .open = scribe_open, .packet = scribe_packet, .close = scribe_close};

static void wrapped_open(scribe *a, scribe *b)
{
    story[0] = '\0';
    crs_wrappers_init(&wrappers);
    assert_int_equal(crs_wrappers_add(&wrappers, &scribe_wrapper, a, false), CEREUS_OK);
    assert_int_equal(crs_wrappers_add(&wrappers, &scribe_wrapper, b, false), CEREUS_OK);
    world_filter = crs_wrappers_filter(&wrappers);
    world_open(&w);
}

static void wrapped_close(void)
{
    world_close(&w);
    world_filter = NULL;
    crs_wrappers_fini(&wrappers);
}

static void send_and_settle(crs_pipe *pipe, const char *text)
{
    send_packet(pipe, text);
    test_settle(&w.t);
}

static void packets_go_through_in_the_order_added(void **state)
{
    scribe a = {.name = "a"}, b = {.name = "b"};
    wrapped_open(&a, &b);
    crs_pipe *pipe = connect_stream(&w);
    test_settle(&w.t);
    assert_string_equal(story, "a.open b.open ");
    send_and_settle(pipe, "hi");
    send_and_settle(pipe, "ho");
    assert_got(&w.owners[0], "hi|ho|");
    crs_pipe_free(pipe);
    wrapped_close();
    assert_string_equal(story, "a.open b.open a.4:hi b.4:hi a.4:ho b.4:ho b.close:2 a.close:2 ");
}

static void one_that_is_put_first_is_asked_first(void **state)
{
    scribe a = {.name = "a"}, b = {.name = "b"}, c = {.name = "c"};
    wrapped_open(&a, &b);
    world_close(&w);
    assert_int_equal(crs_wrappers_add(&wrappers, &scribe_wrapper, &c, true), CEREUS_OK);
    story[0] = '\0';
    world_filter = crs_wrappers_filter(&wrappers);
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    send_and_settle(pipe, "x");
    assert_string_equal(story, "c.open a.open b.open c.4:x a.4:x b.4:x ");
    crs_pipe_free(pipe);
    wrapped_close();
}

static void a_change_is_what_the_next_sees(void **state)
{
    scribe a = {.name = "a", .upper = true}, b = {.name = "b", .replace = "something else"};
    wrapped_open(&a, &b);
    crs_pipe *pipe = connect_stream(&w);
    send_and_settle(pipe, "abc");
    assert_string_equal(story, "a.open b.open a.4:abc b.4:ABC ");
    assert_got(&w.owners[0], "something else|");
    a.upper = false;
    b.replace = "";
    send_and_settle(pipe, "abc");
    assert_got(&w.owners[0], "something else||");
    crs_pipe_free(pipe);
    wrapped_close();
}

static void what_one_keeps_nobody_behind_it_sees(void **state)
{
    scribe a = {.name = "a", .verdict = CEREUS_DROP}, b = {.name = "b"};
    wrapped_open(&a, &b);
    crs_pipe *pipe = connect_stream(&w);
    send_and_settle(pipe, "x");
    assert_int_equal(w.owners[0].packets + w.owners[0].refused, 0);
    a.verdict = CEREUS_REFUSE;
    send_and_settle(pipe, "x");
    assert_int_equal(w.owners[0].refused, 1);
    assert_string_equal(w.owners[0].refusal.code, "PIT-000");
    a.code = "GAME-7";
    send_and_settle(pipe, "x");
    assert_int_equal(w.owners[0].refused, 2);
    assert_string_equal(w.owners[0].refusal.code, "GAME-7");
    assert_string_equal(w.owners[0].refusal.msg, "no");
    a.code = NULL; /* an answer is for its own packet */
    send_and_settle(pipe, "x");
    assert_string_equal(w.owners[0].refusal.code, "PIT-000");
    assert_int_equal(w.owners[0].packets, 0);
    a.verdict = CEREUS_PASS;
    send_and_settle(pipe, "y");
    assert_got(&w.owners[0], "y|");
    assert_null(strstr(story, "b.4:x"));
    crs_pipe_free(pipe);
    wrapped_close();
}

static void closing_says_what_was_said_before_and_takes_no_more(void **state)
{
    scribe a = {.name = "a"}, b = {.name = "b"};
    wrapped_open(&a, &b);
    crs_pipe *pipe = connect_stream(&w);
    test_settle(&w.t);
    assert_true(say_text(w.owners[0].conn, "bye"));
    b.verdict = CEREUS_CLOSE;
    assert_int_equal(crs_pipe_send(pipe, "\4\0\0\1x\4\0\0\1y", 10), CEREUS_OK);
    test_settle(&w.t);
    assert_int_equal(w.owners[0].ended, 1);
    assert_int_equal(w.owners[0].why, CRS_END_REFUSED);
    assert_int_equal(w.owners[0].packets, 0);
    assert_string_equal(take_texts(pipe), "bye|");
    assert_true(crs_pipe_closed(pipe));
    crs_pipe_free(pipe);
    wrapped_close();
    assert_string_equal(story, "a.open b.open a.4:x b.4:x b.close:1 a.close:1 ");
}

static void each_connection_has_a_state_of_its_own_that_is_closed_once(void **state)
{
    scribe a = {.name = "a"}, b = {.name = "b"};
    wrapped_open(&a, &b);
    crs_pipe *one = connect_stream(&w), *two = connect_stream(&w);
    send_and_settle(one, "1");
    send_and_settle(two, "2");
    send_and_settle(one, "3");
    crs_pipe_free(one);
    test_settle(&w.t);
    assert_non_null(strstr(story, "b.close:2 a.close:2 "));
    crs_conn_close(w.owners[1].conn, false); /* by the owner */
    w.owners[1].conn = NULL;
    crs_pipe_free(two);
    wrapped_close();
    assert_non_null(strstr(story, "b.close:1 a.close:1 "));
}

static void a_connection_that_nobody_wants_is_closed_for_the_wrappers_too(void **state)
{
    scribe a = {.name = "a"}, b = {.name = "b"};
    wrapped_open(&a, &b);
    w.refuse = true;
    crs_pipe *pipe = connect_stream(&w);
    test_settle(&w.t);
    crs_pipe_free(pipe);
    wrapped_close();
    assert_string_equal(story, "a.open b.open b.close:0 a.close:0 ");
}

static void an_upgrade_that_never_ends_is_nothing_to_the_wrappers(void **state)
{
    scribe a = {.name = "a"}, b = {.name = "b"};
    wrapped_open(&a, &b);
    crs_pipe *pipe;
    assert_int_equal(crs_pipe_open(w.transport, CRS_FRAMING_WEBSOCKET, &pipe), CEREUS_OK);
    assert_int_equal(crs_pipe_send(pipe, "GET / HTTP", 10), CEREUS_OK);
    test_settle(&w.t);
    crs_pipe_free(pipe);
    wrapped_close();
    assert_string_equal(story, "");
}

static void without_memory_for_the_state_the_connection_is_refused(void **state)
{
    scribe a = {.name = "a"}, b = {.name = "b"};
    wrapped_open(&a, &b);
    bool failed = true;
    for (size_t nth = 1; failed; nth++) {
        crs_pipe *pipe = NULL;
        assert_in_range(nth, 1, 50);
        crs_alloc_fail_at(nth);
        cereus_status st = crs_pipe_open(w.transport, CRS_FRAMING_STREAM, &pipe);
        if (!st)
            test_settle(&w.t);
        crs_alloc_fail_at(0);
        failed = st || crs_pipe_closed(pipe);
        crs_pipe_free(pipe);
        test_settle(&w.t);
        assert_int_equal(crs_transport_count(w.transport), 0);
    }
    assert_string_equal(story, "a.open b.open b.close:0 a.close:0 "); /* of the one that went well */
    wrapped_close();
}

static void only_what_is_needed_has_to_be_there(void **state)
{
    static const cereus_wrapper nothing = {.state_len = 0};
    crs_wrappers_init(&wrappers);
    assert_null(crs_wrappers_filter(&wrappers));
    assert_int_equal(crs_wrappers_add(&wrappers, &nothing, NULL, false), CEREUS_OK);
    world_filter = crs_wrappers_filter(&wrappers);
    world_open(&w);
    crs_pipe *pipe = connect_stream(&w);
    send_and_settle(pipe, "x");
    assert_got(&w.owners[0], "x|");
    crs_pipe_free(pipe);
    world_close(&w);
    world_filter = NULL;
    crs_alloc_fail_at(1);
    assert_int_equal(crs_wrappers_add(&wrappers, &nothing, NULL, false), CEREUS_E_NOMEM);
    crs_alloc_fail_at(0);
    assert_int_equal(wrappers.count, 1);
    crs_wrappers_fini(&wrappers);
}

TEST_MAIN(cmocka_unit_test(packets_go_through_in_the_order_added),
          cmocka_unit_test(one_that_is_put_first_is_asked_first), cmocka_unit_test(a_change_is_what_the_next_sees),
          cmocka_unit_test(what_one_keeps_nobody_behind_it_sees),
          cmocka_unit_test(closing_says_what_was_said_before_and_takes_no_more),
          cmocka_unit_test(each_connection_has_a_state_of_its_own_that_is_closed_once),
          cmocka_unit_test(a_connection_that_nobody_wants_is_closed_for_the_wrappers_too),
          cmocka_unit_test(an_upgrade_that_never_ends_is_nothing_to_the_wrappers),
          cmocka_unit_test(without_memory_for_the_state_the_connection_is_refused),
          cmocka_unit_test(only_what_is_needed_has_to_be_there))
