/* tests/unit/acceptor/test_rate_limit.c: whole times, as the clock of the tests counts milliseconds */
#include "../transport/conn_world.h"

#include "acceptor/rate_limit.h"
#include "acceptor/wrappers.h"

static conn_world w;
static crs_wrappers wrappers;
static crs_rate_limit limit;
static crs_pipe *pipe_;

static void limit_open(crs_rate_limit with)
{
    limit = with;
    crs_wrappers_init(&wrappers);
    assert_int_equal(crs_wrappers_add(&wrappers, &crs_rate_limit_wrapper, &limit, false), CEREUS_OK);
    world_filter = crs_wrappers_filter(&wrappers);
    world_open(&w);
    pipe_ = connect_stream(&w);
    test_settle(&w.t);
}

static void limit_close(void)
{
    crs_pipe_free(pipe_);
    world_close(&w);
    world_filter = NULL;
    crs_wrappers_fini(&wrappers);
}

/** A packet @p ms after the start: is it taken? */
static bool taken_at(int64_t ms)
{
    int before = w.owners[0].packets;
    test_pass(&w.t, ms - w.t.passed_ms);
    send_packet(pipe_, "x");
    test_settle(&w.t);
    return w.owners[0].packets == before + 1;
}

static uint64_t limited(void)
{
    return crs_counter_read(&w.t.loop->counters, CRS_COUNTER_rate_limited);
}

static void a_slot_is_free_again_after_exactly_the_interval(void **state)
{
    limit_open((crs_rate_limit){.limit = 1, .interval_us = 1000000});
    assert_true(taken_at(200));
    assert_false(taken_at(200));
    assert_false(taken_at(1190));
    assert_false(taken_at(1199));
    assert_true(taken_at(1200));
    assert_false(taken_at(2199));
    assert_true(taken_at(2200));
    assert_int_equal(limited(), 4);
    limit_close();
}

static void what_is_dropped_takes_no_slot(void **state)
{
    limit_open((crs_rate_limit){.limit = 1, .interval_us = 1000000});
    assert_true(taken_at(0));
    for (int64_t ms = 1; ms < 1000; ms += 7)
        assert_false(taken_at(ms));
    assert_true(taken_at(1000));
    limit_close();
}

static void the_oldest_of_the_last_limit_packets_counts(void **state)
{
    limit_open((crs_rate_limit){.limit = 3, .interval_us = 1000000});
    assert_true(taken_at(0));
    assert_true(taken_at(400));
    assert_true(taken_at(800));
    assert_false(taken_at(999));
    assert_true(taken_at(1000)); /* the slot of 0 */
    assert_false(taken_at(1399));
    assert_true(taken_at(1400)); /* the slot of 400 */
    assert_false(taken_at(1799));
    assert_true(taken_at(5000)); /* long after: all three are free */
    assert_true(taken_at(5000));
    assert_true(taken_at(5000));
    assert_false(taken_at(5000));
    limit_close();
}

static void the_ring_grows_to_the_limit_and_no_further(void **state)
{
    static const uint32_t limits[] = {1, 3, 4, 5, 8, 9, 100, 1000};
    for (size_t i = 0; i < CEREUS_COUNT(limits); i++) {
        limit_open((crs_rate_limit){.limit = limits[i], .interval_us = 10000000});
        for (uint32_t n = 0; n < limits[i]; n++)
            assert_true(taken_at(n));
        assert_false(taken_at(limits[i]));
        for (uint32_t n = 0; n < limits[i]; n++) { /* and every slot again, in the order taken */
            assert_false(taken_at(9999 + n));
            assert_true(taken_at(10000 + n));
        }
        limit_close();
    }
}

static void many_packets_in_one_read_are_counted_one_by_one(void **state)
{
    limit_open((crs_rate_limit){.limit = 20, .interval_us = 1000000});
    uint8_t many[50 * 4];
    for (size_t i = 0; i < sizeof many; i += 4)
        memcpy(many + i, "\4\0\0\0", 4);
    assert_int_equal(crs_pipe_send(pipe_, many, sizeof many), CEREUS_OK);
    test_settle(&w.t);
    assert_int_equal(w.owners[0].packets, 20);
    assert_int_equal(limited(), 30);
    limit_close();
}

static void connections_have_slots_of_their_own(void **state)
{
    limit_open((crs_rate_limit){.limit = 1, .interval_us = 1000000});
    crs_pipe *other = connect_stream(&w);
    assert_true(taken_at(0));
    assert_false(taken_at(1));
    send_packet(other, "x");
    test_settle(&w.t);
    assert_int_equal(w.owners[1].packets, 1);
    crs_pipe_free(other);
    test_settle(&w.t);
    limit_close();
}

static void switched_off_everything_passes(void **state)
{
    limit_open((crs_rate_limit){.limit = 1, .interval_us = 1000000, .off = true});
    for (int i = 0; i < 100; i++)
        assert_true(taken_at(i));
    assert_int_equal(limited(), 0);
    limit_close();
}

static void all_packets_count_or_only_data(void **state)
{
    for (int data_only = 0; data_only < 2; data_only++) {
        limit_open((crs_rate_limit){.limit = 2, .interval_us = 1000000, .data_only = data_only});
        static const uint8_t types[] = {1, 2, 3, 3, 3, 4, 4, 4};
        for (size_t i = 0; i < sizeof types; i++) {
            assert_int_equal(crs_pipe_send(pipe_, (const uint8_t[4]){types[i]}, 4), CEREUS_OK);
            test_settle(&w.t);
        }
        assert_int_equal(w.owners[0].packets, data_only ? 7 : 2);
        assert_int_equal(limited(), data_only ? 1 : 6);
        limit_close();
    }
}

static void with_an_answer_the_owner_hears_what_was_refused(void **state)
{
    for (int answer = 0; answer < 2; answer++) {
        limit_open((crs_rate_limit){.limit = 1, .interval_us = 1000000, .answer = answer});
        assert_true(taken_at(0));
        assert_false(taken_at(0));
        assert_int_equal(w.owners[0].refused, answer);
        if (answer) {
            assert_string_equal(w.owners[0].refusal.code, "PIT-429");
            assert_string_equal(w.owners[0].refusal.msg, "rate limit exceeded");
        }
        limit_close();
    }
}

static void without_memory_nothing_more_gets_through_and_later_it_does(void **state)
{
    limit_open((crs_rate_limit){.limit = 100, .interval_us = 1000000});
    uint8_t five[5 * 4];
    for (size_t i = 0; i < sizeof five; i += 4)
        memcpy(five + i, "\4\0\0\0", 4);
    assert_int_equal(crs_pipe_send(pipe_, five, sizeof five - 4), CEREUS_OK); /* four fill the first ring */
    test_settle(&w.t);
    assert_int_equal(w.owners[0].packets, 4);
    w.owners[0].got.len = 0; /* room enough: the owner allocates nothing */
    assert_int_equal(crs_pipe_send(pipe_, five, 4), CEREUS_OK);
    crs_alloc_fail_at(1);
    test_settle(&w.t);
    crs_alloc_fail_at(0);
    assert_int_equal(w.owners[0].packets, 4);
    assert_int_equal(limited(), 1);
    assert_true(taken_at(0));
    limit_close();
}

TEST_MAIN(cmocka_unit_test(a_slot_is_free_again_after_exactly_the_interval),
          cmocka_unit_test(what_is_dropped_takes_no_slot),
          cmocka_unit_test(the_oldest_of_the_last_limit_packets_counts),
          cmocka_unit_test(the_ring_grows_to_the_limit_and_no_further),
          cmocka_unit_test(many_packets_in_one_read_are_counted_one_by_one),
          cmocka_unit_test(connections_have_slots_of_their_own), cmocka_unit_test(switched_off_everything_passes),
          cmocka_unit_test(all_packets_count_or_only_data),
          cmocka_unit_test(with_an_answer_the_owner_hears_what_was_refused),
          cmocka_unit_test(without_memory_nothing_more_gets_through_and_later_it_does))
