/* tests/unit/base/test_buf.c */
#include "test.h"

#include <pthread.h>

#include "base/buf.h"

static void *hold_and_let_go(void *arg)
{
    crs_buf *buf = arg;
    for (int i = 0; i < 1000; i++) {
        crs_buf_ref(buf);
        assert_int_equal(buf->data[i % 8], 'x');
        crs_buf_unref(buf);
    }
    crs_buf_unref(buf); /* the one that came with the thread */
    return NULL;
}

static void buf_lives_until_the_last_holder_of_any_thread_has_gone(void **state)
{
    crs_buf *buf = crs_buf_new(8);
    memset(buf->data, 'x', 8);
    buf->len = 8;
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_let_go, crs_buf_ref(buf)), 0);
    assert_null(crs_buf_unref(buf));
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_null(crs_buf_unref(NULL));
}

static void buf_refuses_what_its_length_cannot_say_and_what_is_not_there(void **state)
{
    assert_null(crs_buf_new((size_t)UINT32_MAX + 1));
    crs_alloc_fail_at(1);
    assert_null(crs_buf_new(1));
    crs_buf *buf = crs_buf_new(0);
    assert_int_equal(buf->cap, 0);
    assert_int_equal(buf->len, 0);
    crs_buf_unref(buf);
}

static void bytes_grow_up_to_their_maximum_and_not_past_it(void **state)
{
    for (size_t max = 0; max < 300; max++) {
        crs_bytes b;
        crs_bytes_init(&b, max);
        for (size_t i = 0; i < max; i++)
            assert_int_equal(crs_bytes_append_byte(&b, (uint8_t)i), CEREUS_OK);
        assert_int_equal(crs_bytes_append_byte(&b, 0), CEREUS_E_TOO_LONG);
        assert_int_equal(crs_bytes_append(&b, NULL, 0), CEREUS_OK);
        assert_int_equal(b.len, max);
        assert_true(b.cap <= max);
        for (size_t i = 0; i < max; i++)
            assert_int_equal(b.data[i], (uint8_t)i);
        crs_bytes_fini(&b);
    }
}

static void bytes_refuse_sizes_that_would_wrap(void **state)
{
    crs_bytes b;
    crs_bytes_init(&b, SIZE_MAX / 2);
    assert_int_equal(crs_bytes_append_str(&b, "abc"), CEREUS_OK);
    assert_int_equal(crs_bytes_reserve(&b, SIZE_MAX), CEREUS_E_TOO_LONG);
    assert_int_equal(crs_bytes_reserve(&b, SIZE_MAX / 2), CEREUS_E_TOO_LONG);
    assert_int_equal(b.len, 3);
    crs_bytes_fini(&b);
}

static void bytes_keep_their_content_when_growing_fails(void **state)
{
    crs_bytes b;
    crs_bytes_init(&b, 10000);
    assert_int_equal(crs_bytes_append_str(&b, "abc"), CEREUS_OK);
    char big[5000] = "";
    crs_alloc_fail_at(1);
    assert_int_equal(crs_bytes_append(&b, big, sizeof big), CEREUS_E_NOMEM);
    assert_true(crs_slice_eq(crs_bytes_slice(&b), cereus_slice_str("abc")));
    assert_int_equal(crs_bytes_append(&b, big, sizeof big), CEREUS_OK);
    crs_bytes_fini(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(crs_bytes_append_str(&b, "again"), CEREUS_OK);
    crs_bytes_fini(&b);
}

static void bytes_print_text_while_its_nul_fits(void **state)
{
    crs_bytes b;
    crs_bytes_init(&b, 10);
    assert_int_equal(crs_bytes_printf(&b, "%s-%d", "ab", 12), CEREUS_OK);
    assert_int_equal(crs_bytes_printf(&b, "%s", "67890"), CEREUS_E_TOO_LONG); /* no room for the NUL */
    assert_int_equal(crs_bytes_printf(&b, "%s", "6789"), CEREUS_OK);
    assert_int_equal(b.len, 9);
    assert_memory_equal(b.data, "ab-126789", 9);
    assert_int_equal(crs_bytes_printf(&b, "x"), CEREUS_E_TOO_LONG);
    assert_int_equal(crs_bytes_append_byte(&b, 'x'), CEREUS_OK);
    crs_bytes_fini(&b);
}

static void an_empty_slice_of_bytes_is_empty_and_not_nothing(void **state)
{
    crs_bytes b;
    crs_bytes_init(&b, 10);
    assert_non_null(crs_bytes_slice(&b).data);
    assert_int_equal(crs_bytes_slice(&b).len, 0);
}

TEST_MAIN(cmocka_unit_test(buf_lives_until_the_last_holder_of_any_thread_has_gone),
          cmocka_unit_test(buf_refuses_what_its_length_cannot_say_and_what_is_not_there),
          cmocka_unit_test(bytes_grow_up_to_their_maximum_and_not_past_it),
          cmocka_unit_test(bytes_refuse_sizes_that_would_wrap),
          cmocka_unit_test(bytes_keep_their_content_when_growing_fails),
          cmocka_unit_test(bytes_print_text_while_its_nul_fits),
          cmocka_unit_test(an_empty_slice_of_bytes_is_empty_and_not_nothing))
