/* tests/unit/loop/test_loop.c */
#include "loop.h"

#include <pthread.h>
#include <sys/resource.h>

enum { LETTERS_MAX = 20000 };

typedef struct letter {
    crs_mail mail;
    uint32_t sender, number;
} letter;

static letter *arrived[LETTERS_MAX];
static size_t arrived_count;
static size_t expected;

static void arrive(crs_loop *loop, crs_mail *mail)
{
    crs_loop_assert_current(loop);
    letter *l = CRS_CONTAINER(mail, letter, mail);
    arrived[arrived_count++] = l;
    if (expected && arrived_count == expected)
        crs_loop_stop(loop);
}

static letter letter_of(uint32_t sender, uint32_t number)
{
    return (letter){.mail = {.run = arrive}, .sender = sender, .number = number};
}

static void mail_runs_in_the_order_of_posting(void **state)
{
    test_loop t;
    crs_loop *loop = test_loop_open(&t);
    static letter letters[100];
    arrived_count = expected = 0;
    for (uint32_t i = 0; i < 100; i++) {
        letters[i] = letter_of(0, i);
        if (i % 3)
            assert_int_equal(crs_loop_post(loop, &letters[i].mail), CEREUS_OK);
        else
            crs_loop_post_reserved(loop, &letters[i].mail);
    }
    test_settle(&t);
    assert_int_equal(arrived_count, 100);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(arrived[i]->number, i);
    test_loop_close(&t);
}

static void a_full_mailbox_refuses_and_leaves_the_item_to_the_caller(void **state)
{
    test_loop t = {0};
    cereus_error err;
    crs_loop_options opt = {.mailbox_capacity = 3, .clock = test_clock, .clock_user = &t};
    assert_int_equal(crs_loop_new(&opt, &t.loop, &err), CEREUS_OK);
    crs_loop_enter(t.loop);
    letter a = letter_of(0, 0), b = a, c = a, over = a, reserved = a;
    arrived_count = expected = 0;
    assert_int_equal(crs_loop_post(t.loop, &a.mail), CEREUS_OK);
    assert_int_equal(crs_loop_post(t.loop, &b.mail), CEREUS_OK);
    assert_int_equal(crs_loop_post(t.loop, &c.mail), CEREUS_OK);
    assert_int_equal(crs_loop_post(t.loop, &over.mail), CEREUS_E_FULL);
    crs_loop_post_reserved(t.loop, &reserved.mail); /* somebody waits for this one */
    test_settle(&t);
    assert_int_equal(arrived_count, 4);
    assert_ptr_equal(arrived[3], &reserved);
    assert_int_equal(crs_counter_read(&t.loop->counters, CRS_COUNTER_mailbox_full), 1);
    assert_int_equal(crs_loop_post(t.loop, &over.mail), CEREUS_OK); /* room again */
    test_settle(&t);
    assert_int_equal(arrived_count, 5);
    test_loop_close(&t);
}

enum { SENDERS = 4, PER_SENDER = 3000 };

typedef struct sender {
    crs_loop *loop;
    letter *letters;
    uint32_t index, refused;
} sender;

static void *send_many(void *arg)
{
    sender *s = arg;
    for (uint32_t i = 0; i < PER_SENDER; i++) {
        s->letters[i] = letter_of(s->index, i);
        if (i % 2 == 0 || crs_loop_post(s->loop, &s->letters[i].mail) != CEREUS_OK) {
            s->refused += i % 2;
            crs_loop_post_reserved(s->loop, &s->letters[i].mail);
        }
    }
    return NULL;
}

static void every_post_of_every_thread_arrives_once_and_in_that_threads_order(void **state)
{
    cereus_error err;
    crs_loop *loop;
    assert_int_equal(crs_loop_new(&(crs_loop_options){.mailbox_capacity = 50}, &loop, &err), CEREUS_OK);
    static letter letters[SENDERS][PER_SENDER];
    sender senders[SENDERS];
    pthread_t threads[SENDERS];
    arrived_count = 0;
    expected = SENDERS * PER_SENDER;
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (sender){.loop = loop, .letters = letters[i], .index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_many, &senders[i]), 0);
    }
    crs_loop_run(loop);
    uint64_t refused = 0;
    for (size_t i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        refused += senders[i].refused;
    }
    assert_int_equal(arrived_count, expected);
    uint32_t next[SENDERS] = {0};
    for (size_t i = 0; i < arrived_count; i++)
        assert_int_equal(arrived[i]->number, next[arrived[i]->sender]++);
    assert_int_equal(crs_counter_read(&loop->counters, CRS_COUNTER_mailbox_full) + loop->refused, refused);
    crs_loop_free(loop);
}

static void mail_that_still_waits_is_run_by_free(void **state)
{
    test_loop t;
    crs_loop *loop = test_loop_open(&t);
    letter a = letter_of(0, 0), b = a;
    arrived_count = expected = 0;
    assert_int_equal(crs_loop_post(loop, &a.mail), CEREUS_OK);
    crs_loop_post_reserved(loop, &b.mail);
    test_loop_close(&t);
    assert_int_equal(arrived_count, 2);
}

static letter follow_up;

static void arrive_and_post_another(crs_loop *loop, crs_mail *mail)
{
    follow_up = letter_of(0, 1);
    crs_loop_post_reserved(loop, &follow_up.mail);
}

static void mail_posted_by_mail_is_run_by_free_too(void **state)
{
    test_loop t;
    crs_loop *loop = test_loop_open(&t);
    crs_mail first = {.run = arrive_and_post_another};
    arrived_count = expected = 0;
    crs_loop_post_reserved(loop, &first);
    test_loop_close(&t);
    assert_int_equal(arrived_count, 1);
}

typedef struct hook_note {
    test_loop *t;
    char *said;
    char letter;
    int more;       /* turns it asks for */
    bool *wake_one; /* as a later hook that makes work for an earlier one */
} hook_note;

static bool hook(void *user)
{
    hook_note *h = user;
    size_t len = strlen(h->said);
    h->said[len] = h->letter;
    if (h->wake_one && *h->wake_one) {
        *h->wake_one = false;
        crs_loop_again(h->t->loop);
    }
    return h->more-- > 0;
}

static void hooks_run_in_order_and_get_another_turn_while_one_wants_it(void **state)
{
    test_loop t;
    crs_loop *loop = test_loop_open(&t);
    char said[100] = "";
    hook_note a = {.said = said, .letter = 'a', .more = 2}, b = {.said = said, .letter = 'b'};
    crs_loop_add_hook(loop, hook, &a);
    crs_loop_add_hook(loop, hook, &b);
    uv_run(&loop->uv, UV_RUN_ONCE); /* these would sleep for ever if the hook were not heard */
    uv_run(&loop->uv, UV_RUN_ONCE);
    assert_string_equal(said, "abab");
    assert_true(uv_is_active((uv_handle_t *)&loop->idle));
    crs_loop_turn(loop);
    assert_string_equal(said, "ababab");
    assert_false(uv_is_active((uv_handle_t *)&loop->idle)); /* and now it may */
    test_loop_close(&t);
}

static void work_that_a_later_hook_makes_for_an_earlier_one_gets_its_turn(void **state)
{
    test_loop t;
    crs_loop *loop = test_loop_open(&t);
    char said[100] = "";
    bool wake = true;
    hook_note a = {.said = said, .letter = 'a'}, b = {.t = &t, .said = said, .letter = 'b', .wake_one = &wake};
    crs_loop_add_hook(loop, hook, &a);
    crs_loop_add_hook(loop, hook, &b);
    uv_run(&loop->uv, UV_RUN_ONCE);
    crs_loop_turn(loop);
    assert_string_equal(said, "abab");
    assert_false(uv_is_active((uv_handle_t *)&loop->idle));
    test_loop_close(&t);
}

static int rings;

static void ring(crs_timer *timer)
{
    rings++;
}

typedef struct deferred_note {
    crs_deferred deferred;
    crs_loop *loop;
    char *said;
    char letter;
    int again; /* defers itself so many times more */
    struct deferred_note *takes_back;
} deferred_note;

static void say_letter(crs_deferred *deferred)
{
    deferred_note *n = CRS_CONTAINER(deferred, deferred_note, deferred);
    n->said[strlen(n->said)] = n->letter;
    if (n->again-- > 0)
        crs_loop_defer(n->loop, deferred);
    if (n->takes_back)
        crs_deferred_cancel(&n->takes_back->deferred);
}

static void deferred_work_runs_once_after_the_hooks_in_the_order_given(void **state)
{
    test_loop t;
    crs_loop *loop = test_loop_open(&t);
    char said[20] = "";
    hook_note h = {.said = said, .letter = 'h'};
    crs_loop_add_hook(loop, hook, &h);
    deferred_note n[3] = {{.letter = 'a'}, {.letter = 'b', .again = 1, .takes_back = &n[2]}, {.letter = 'c'}};
    for (size_t i = 0; i < 3; i++) {
        crs_deferred_init(&n[i].deferred, say_letter);
        n[i].loop = loop;
        n[i].said = said;
        crs_loop_defer(loop, &n[i].deferred);
        crs_loop_defer(loop, &n[i].deferred); /* waits already */
    }
    uv_run(&loop->uv, UV_RUN_ONCE); /* does not sleep: there is more for the next turn */
    assert_string_equal(said, "hab");
    crs_loop_turn(loop);
    assert_string_equal(said, "habhb");
    crs_loop_turn(loop);
    assert_string_equal(said, "habhbh");
    test_loop_close(&t);
}

static void timers_follow_the_clock_that_was_given(void **state)
{
    test_loop t;
    crs_loop *loop = test_loop_open(&t);
    assert_int_equal(loop->now_ms, TEST_START_MS);
    assert_int_equal(crs_loop_unix_ms(loop), TEST_START_UNIX_MS);
    crs_timer timer;
    crs_timer_init(&timer, ring);
    rings = 0;
    assert_int_equal(crs_loop_timer_start(loop, &timer, 3600 * 1000), CEREUS_OK);
    test_pass(&t, 3600 * 1000 - 1);
    assert_int_equal(rings, 0);
    test_pass(&t, 1);
    assert_int_equal(rings, 1);
    assert_int_equal(crs_loop_unix_ms(loop), TEST_START_UNIX_MS + 3600 * 1000);
    assert_int_equal(crs_loop_timer_start(loop, &timer, 10), CEREUS_OK);
    crs_loop_timer_stop(loop, &timer);
    test_pass(&t, 100);
    assert_int_equal(rings, 1);
    test_loop_close(&t);
}

static void ring_and_stop(crs_timer *timer)
{
    rings++;
    crs_loop_stop(crs_loop_current);
}

static void timers_follow_real_time_otherwise(void **state)
{
    crs_loop *loop;
    cereus_error err;
    assert_int_equal(crs_loop_new(&(crs_loop_options){.mailbox_capacity = 1}, &loop, &err), CEREUS_OK);
    crs_loop_enter(loop);
    crs_timer timer;
    crs_timer_init(&timer, ring_and_stop);
    uint64_t start = loop->now_ms;
    rings = 0;
    assert_int_equal(crs_loop_timer_start(loop, &timer, 2), CEREUS_OK);
    crs_loop_run(loop);
    assert_int_equal(rings, 1);
    assert_true(loop->now_ms >= start + 2);
    assert_true(llabs((long long)(crs_loop_unix_ms(loop) / 1000) - (long long)time(NULL)) <= 2);
    crs_loop_free(loop);
    assert_ptr_equal(crs_loop_current, NULL);
}

static void new_fails_cleanly_without_memory_or_descriptors(void **state)
{
    cereus_error err;
    crs_loop_options opt = {.mailbox_capacity = 1};
    crs_loop *loop = (crs_loop *)&opt;
    for (size_t nth = 1; nth <= 2; nth++) {
        crs_alloc_fail_at(nth);
        err = (cereus_error){0};
        assert_int_equal(crs_loop_new(&opt, &loop, &err), CEREUS_E_NOMEM);
        assert_int_equal(err.status, CEREUS_E_NOMEM);
        assert_ptr_equal(loop, &opt);
        crs_alloc_fail_at(0);
    }
    struct rlimit was, few;
    getrlimit(RLIMIT_NOFILE, &was);
    few = was;
    for (few.rlim_cur = 3; few.rlim_cur < 12; few.rlim_cur++) {
        setrlimit(RLIMIT_NOFILE, &few);
        err = (cereus_error){0};
        cereus_status st = crs_loop_new(&opt, &loop, &err);
        setrlimit(RLIMIT_NOFILE, &was);
        if (st == CEREUS_OK) {
            loop = crs_loop_free(loop);
            loop = (crs_loop *)&opt;
        } else {
            assert_int_equal(st, CEREUS_E_IO);
            assert_non_null(strstr(err.msg, "ulimit -n"));
            assert_ptr_equal(loop, &opt);
        }
    }
    assert_null(crs_loop_free(NULL));
}

TEST_MAIN(cmocka_unit_test(mail_runs_in_the_order_of_posting),
          cmocka_unit_test(a_full_mailbox_refuses_and_leaves_the_item_to_the_caller),
          cmocka_unit_test(every_post_of_every_thread_arrives_once_and_in_that_threads_order),
          cmocka_unit_test(mail_that_still_waits_is_run_by_free),
          cmocka_unit_test(mail_posted_by_mail_is_run_by_free_too),
          cmocka_unit_test(hooks_run_in_order_and_get_another_turn_while_one_wants_it),
          cmocka_unit_test(work_that_a_later_hook_makes_for_an_earlier_one_gets_its_turn),
          cmocka_unit_test(deferred_work_runs_once_after_the_hooks_in_the_order_given),
          cmocka_unit_test(timers_follow_the_clock_that_was_given), cmocka_unit_test(timers_follow_real_time_otherwise),
          cmocka_unit_test(new_fails_cleanly_without_memory_or_descriptors))
