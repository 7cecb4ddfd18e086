/* tests/unit/cluster/test_rpc.c: the calls that are out, whatever the engine: this one only notes what it is told. */
#include "loop.h"

#include "cluster/rpc/rpc_impl.h"

enum { REQUEST_MAX = 1000 };

static test_loop world;
static crs_rpc *rpc;
static crs_rpc_link *open_link;
static size_t sent, replied, ended;
static cereus_status send_status, reply_status;
static crs_rpc_call *last;
static char last_reply[200];
static size_t last_reply_len;

static cereus_status fake_init(crs_rpc *r, cereus_error *err)
{
    return CEREUS_OK;
}

static cereus_status fake_open(crs_rpc_link *l, cereus_error *err)
{
    return CEREUS_OK;
}

static void fake_close(crs_rpc_link *l)
{
    ended++;
    crs_rpc_link_closed(l);
}

static cereus_status fake_send(crs_rpc_link *l, const cereus_server *to, cereus_slice request, crs_rpc_call *call)
{
    if (send_status == CEREUS_E_UNAVAILABLE) { /* it finds out at once */
        crs_rpc_fail(call, CEREUS_E_UNAVAILABLE, "nobody there");
        return CEREUS_OK;
    }
    if (send_status)
        return send_status;
    sent++;
    last = call;
    return CEREUS_OK;
}

static cereus_status fake_reply(crs_rpc_link *l, cereus_slice to, cereus_slice response)
{
    if (response.len > 100 || reply_status)
        return reply_status ? reply_status : CEREUS_E_TOO_LONG;
    replied++;
    memcpy(last_reply, response.data, response.len);
    last_reply_len = response.len;
    return CEREUS_OK;
}

static const crs_rpc_ops fake = {.name = "fake",
                                 .rpc_size = sizeof(crs_rpc),
                                 .link_size = sizeof(crs_rpc_link),
                                 .init = fake_init,
                                 .open = fake_open,
                                 .close = fake_close,
                                 .send = fake_send,
                                 .reply = fake_reply};

static const cereus_server somebody = {.id = "room-1", .type = "room"};

static int start(void **state)
{
    cereus_error err;
    crs_rpc_options opt = {.self = &somebody, .request_max = REQUEST_MAX};
    test_loop_open(&world);
    sent = replied = ended = 0;
    send_status = reply_status = CEREUS_OK;
    if (crs_rpc_new(&fake, &opt, &rpc, &err) != CEREUS_OK)
        return -1;
    return crs_rpc_open(rpc, world.loop, NULL, NULL, &open_link, &err);
}

static int stop(void **state)
{
    open_link = crs_rpc_close(open_link);
    test_loop_close(&world);
    crs_rpc_free(rpc);
    return ended == 1 ? 0 : -1;
}

/** A call on the heap, so that a sanitizer sees whoever touches it after done(). */
typedef struct outcome {
    size_t done;
    cereus_status status;
    char response[20];
    const char *why;
    bool again; /* done() makes the next call */
    cereus_status again_status;
} outcome;

typedef struct made {
    crs_rpc_call rpc;
    outcome *o;
} made;

static cereus_status make(outcome *o, uint64_t timeout_ms, made **ret);

static void done(crs_rpc_call *call, cereus_status st, cereus_slice response, const char *why)
{
    made *m = CRS_CONTAINER(call, made, rpc);
    outcome *o = m->o;
    o->done++;
    o->status = st;
    o->why = why;
    snprintf(o->response, sizeof o->response, "%.*s", (int)response.len,
             response.len ? (const char *)response.data : "");
    free(m);
    if (o->again) {
        o->again = false;
        o->again_status = make(o, 1000, NULL);
    }
}

static cereus_status make(outcome *o, uint64_t timeout_ms, made **ret)
{
    made *m = malloc(sizeof *m);
    m->rpc.done = done;
    m->o = o;
    cereus_status st = crs_rpc_send(open_link, &somebody, cereus_slice_str("hello"), timeout_ms, &m->rpc);
    if (st)
        free(m);
    if (ret)
        *ret = m;
    return st;
}

static uint64_t counter(crs_counter which)
{
    return atomic_load(&world.loop->counters.v[which]);
}

static void a_reply_ends_its_call_and_no_other(void **state)
{
    outcome a = {0}, b = {0};
    made *one, *two;
    assert_int_equal(make(&a, 1000, &one), CEREUS_OK);
    assert_int_equal(make(&b, 1000, &two), CEREUS_OK);
    uint64_t id_one = one->rpc.id, id_two = two->rpc.id;
    assert_true(id_one != id_two);
    crs_rpc_answered(open_link, id_two, cereus_slice_str("two"));
    assert_int_equal(a.done, 0);
    assert_int_equal(b.done, 1);
    assert_string_equal(b.response, "two");
    crs_rpc_answered(open_link, id_two, cereus_slice_str("once more"));
    crs_rpc_answered(open_link, id_one + (UINT64_C(1) << 32), cereus_slice_str("a later one"));
    crs_rpc_answered(open_link, id_one + 500, cereus_slice_str("no such slot"));
    crs_rpc_answered(open_link, UINT64_MAX, cereus_slice_str("forged"));
    assert_int_equal(a.done, 0);
    assert_int_equal(counter(CRS_COUNTER_rpc_late_replies), 4);
    crs_rpc_answered(open_link, id_one, cereus_slice_str("one"));
    assert_string_equal(a.response, "one");
    test_pass(&world, 5000);
    assert_int_equal(a.done + b.done, 2);
}

static void a_slot_that_is_used_again_does_not_hear_the_old_reply(void **state)
{
    outcome a = {0}, b = {0};
    made *m;
    assert_int_equal(make(&a, 1000, &m), CEREUS_OK);
    uint64_t old = m->rpc.id;
    test_pass(&world, 1000);
    assert_int_equal(a.status, CEREUS_E_TIMEOUT);
    assert_string_equal(a.why, "rpc client: request timeout");
    assert_int_equal(make(&b, 1000, &m), CEREUS_OK);
    assert_int_equal((uint32_t)m->rpc.id, (uint32_t)old);
    crs_rpc_answered(open_link, old, cereus_slice_str("late"));
    assert_int_equal(b.done, 0);
    crs_rpc_answered(open_link, m->rpc.id, cereus_slice_str("right"));
    assert_string_equal(b.response, "right");
}

static void each_call_has_its_own_deadline(void **state)
{
    outcome o[300] = {0};
    for (size_t i = 0; i < CEREUS_COUNT(o); i++)
        assert_int_equal(make(&o[i], 10 * (1 + i), NULL), CEREUS_OK);
    for (size_t t = 0; t < CEREUS_COUNT(o); t += 30) {
        for (size_t i = 0; i < CEREUS_COUNT(o); i++)
            assert_int_equal(o[i].done, i < t ? 1 : 0);
        test_pass(&world, 300);
    }
    assert_int_equal(counter(CRS_COUNTER_rpc_timeouts), 300);
}

static void a_failure_is_told_later_and_once(void **state)
{
    outcome a = {0};
    made *m;
    send_status = CEREUS_E_UNAVAILABLE;
    assert_int_equal(make(&a, 1000, &m), CEREUS_OK);
    assert_int_equal(a.done, 0); /* not within the call */
    crs_rpc_fail(&m->rpc, CEREUS_E_MALFORMED, "again");
    crs_rpc_answered(open_link, m->rpc.id, cereus_slice_str("a reply after all"));
    assert_int_equal(a.done, 0);
    test_settle(&world);
    assert_int_equal(a.done, 1);
    assert_int_equal(a.status, CEREUS_E_UNAVAILABLE);
    assert_string_equal(a.why, "nobody there");
    test_pass(&world, 5000);
    assert_int_equal(a.done, 1);
}

static void who_hears_of_a_failure_may_call_again(void **state)
{
    outcome a = {.again = true}, b = {0};
    send_status = CEREUS_E_UNAVAILABLE;
    assert_int_equal(make(&a, 1000, NULL), CEREUS_OK);
    assert_int_equal(make(&b, 1000, NULL), CEREUS_OK);
    test_settle(&world);
    assert_int_equal(a.done, 2);
    assert_int_equal(b.done, 1);
}

static void a_call_that_is_forgotten_is_not_heard_of(void **state)
{
    outcome a = {0}, b = {0};
    made *m;
    assert_int_equal(make(&a, 1000, &m), CEREUS_OK);
    uint64_t id = m->rpc.id;
    crs_rpc_forget(&m->rpc);
    free(m);
    crs_rpc_answered(open_link, id, cereus_slice_str("late"));
    send_status = CEREUS_E_UNAVAILABLE;
    assert_int_equal(make(&b, 1000, &m), CEREUS_OK); /* has failed, and is forgotten before it hears */
    crs_rpc_forget(&m->rpc);
    free(m);
    test_pass(&world, 5000);
    assert_int_equal(a.done + b.done, 0);
}

static void the_end_ends_all_calls_also_those_that_have_failed(void **state)
{
    outcome a = {.again = true}, b = {0};
    assert_int_equal(make(&a, 1000, NULL), CEREUS_OK);
    send_status = CEREUS_E_UNAVAILABLE;
    assert_int_equal(make(&b, 1000, NULL), CEREUS_OK);
    send_status = CEREUS_OK;
    open_link = crs_rpc_close(open_link); /* the mail that would tell b is still under way */
    assert_int_equal(a.done, 1);
    assert_int_equal(a.status, CEREUS_E_CANCELLED);
    assert_string_equal(a.why, "the server is stopping");
    assert_int_equal(a.again_status, CEREUS_E_CANCELLED);
    assert_int_equal(b.done, 1);
    test_settle(&world);
    assert_int_equal(a.done + b.done, 2);
}

static void what_is_not_sent_leaves_nothing_behind(void **state)
{
    outcome a = {0};
    send_status = CEREUS_E_FULL;
    for (int i = 0; i < 100; i++)
        assert_int_equal(make(&a, 1000, NULL), CEREUS_E_FULL);
    assert_int_equal(open_link->used, 1); /* the same slot each time */
    char text[REQUEST_MAX + 1] = {0};
    crs_rpc_call call = {.done = done};
    assert_int_equal(crs_rpc_send(open_link, &somebody, cereus_slice_of(text, sizeof text), 1000, &call),
                     CEREUS_E_TOO_LONG);
    test_pass(&world, 5000);
    assert_int_equal(a.done, 0);
}

static void a_reply_that_is_too_long_becomes_an_error(void **state)
{
    char text[200] = {0};
    crs_response res;
    crs_rpc_reply(open_link, cereus_slice_str("you"), cereus_slice_of(text, sizeof text));
    assert_int_equal(replied, 1);
    assert_int_equal(crs_response_decode(cereus_slice_of(last_reply, last_reply_len), &res), CEREUS_OK);
    assert_true(res.failed && crs_slice_eq(res.error.code, cereus_slice_str("PIT-500")));
    assert_int_equal(counter(CRS_COUNTER_rpc_replies_lost), 0);
    crs_rpc_reply(open_link, (cereus_slice){0}, cereus_slice_str("nobody asked"));
    reply_status = CEREUS_E_GONE;
    crs_rpc_reply(open_link, cereus_slice_str("you"), cereus_slice_str("hello"));
    assert_int_equal(replied, 1);
    assert_int_equal(counter(CRS_COUNTER_rpc_replies_lost), 2);
}

static void engines_are_found_by_name(void **state)
{
    assert_ptr_equal(crs_rpc_engine("local"), &crs_rpc_local);
    assert_null(crs_rpc_engine("pigeon"));
    assert_null(crs_rpc_engine(""));
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, start, stop)

TEST_MAIN(IN_WORLD(a_reply_ends_its_call_and_no_other), IN_WORLD(a_slot_that_is_used_again_does_not_hear_the_old_reply),
          IN_WORLD(each_call_has_its_own_deadline), IN_WORLD(a_failure_is_told_later_and_once),
          IN_WORLD(who_hears_of_a_failure_may_call_again), IN_WORLD(a_call_that_is_forgotten_is_not_heard_of),
          IN_WORLD(the_end_ends_all_calls_also_those_that_have_failed),
          IN_WORLD(what_is_not_sent_leaves_nothing_behind), IN_WORLD(a_reply_that_is_too_long_becomes_an_error),
          cmocka_unit_test(engines_are_found_by_name))
