/* tests/unit/base/test_arena.c */
#include "test.h"

#include "base/arena.h"

static void arena_hands_out_memory_that_is_aligned_and_apart(void **state)
{
    crs_arena a;
    crs_arena_init(&a, 1 << 20);
    uint8_t *blocks[200];
    for (size_t i = 0; i < 200; i++) {
        blocks[i] = crs_arena_alloc(&a, i);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)i, i);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t at = 0; at < i; at++)
            assert_int_equal(blocks[i][at], i);
    crs_arena_fini(&a);
    assert_int_equal(a.used, 0);
}

static void arena_takes_nothing_before_it_is_used_and_never_more_than_its_maximum(void **state)
{
    for (size_t max = 0; max < 9000; max += 250) {
        crs_arena a;
        crs_arena_init(&a, max);
        assert_int_equal(a.used, 0);
        size_t got = 0;
        while (crs_arena_alloc(&a, 48))
            got += 48;
        assert_true(a.used <= max);
        assert_true(got <= max);
        assert_true(max < 250 || got + 300 > max / 2); /* and most of it can be had */
        crs_arena_fini(&a);
    }
}

static void arena_refuses_sizes_that_would_wrap(void **state)
{
    crs_arena a;
    crs_arena_init(&a, 1 << 16);
    for (size_t less = 0; less < 40; less++) {
        assert_null(crs_arena_alloc(&a, SIZE_MAX - less));
        assert_null(crs_arena_zalloc(&a, SIZE_MAX - less));
    }
    assert_null(crs_arena_alloc(&a, 1 << 16)); /* the chunk's head does not fit beside it */
    assert_int_equal(a.used, 0);
    crs_arena_fini(&a);
}

static void arena_reset_keeps_the_first_small_chunk_for_the_next_request(void **state)
{
    crs_arena a;
    crs_arena_init(&a, 1 << 20);
    void *first = crs_arena_alloc(&a, 100);
    size_t small = a.used;
    for (int i = 0; i < 100; i++)
        assert_non_null(crs_arena_alloc(&a, 1000));
    assert_true(a.used > 100000);
    crs_arena_reset(&a);
    assert_int_equal(a.used, small);
    crs_alloc_fail_at(1); /* a request that fits needs no call to the heap */
    assert_ptr_equal(crs_arena_alloc(&a, 100), first);
    crs_alloc_fail_at(0);
    crs_arena_fini(&a);
}

static void arena_reset_gives_a_large_first_chunk_back(void **state)
{
    crs_arena a;
    crs_arena_init(&a, 1 << 20);
    assert_non_null(crs_arena_alloc(&a, 500000));
    crs_arena_reset(&a);
    assert_int_equal(a.used, 0);
    assert_non_null(crs_arena_alloc(&a, 10));
    crs_arena_fini(&a);
    crs_arena_reset(&a); /* fine on an empty one */
    crs_arena_fini(&a);
}

static void arena_survives_a_failing_allocation(void **state)
{
    crs_arena a;
    crs_arena_init(&a, 1 << 20);
    crs_alloc_fail_at(1);
    assert_null(crs_arena_alloc(&a, 10));
    assert_int_equal(a.used, 0);
    void *p = crs_arena_alloc(&a, 10);
    assert_non_null(p);
    crs_alloc_fail_at(1);
    assert_null(crs_arena_alloc(&a, 100000));
    assert_non_null(crs_arena_alloc(&a, 10));
    crs_alloc_fail_at(0);
    crs_arena_fini(&a);
}

static void arena_copies_and_prints_text(void **state)
{
    crs_arena a;
    crs_arena_init(&a, 1 << 16);
    assert_string_equal(crs_arena_strndup(&a, "hello", 4), "hell");
    assert_string_equal(crs_arena_strndup(&a, NULL, 0), "");
    assert_string_equal(crs_arena_printf(&a, "%s %d", "room", 7), "room 7");
    char *wide = crs_arena_printf(&a, "%05000d", 1);
    assert_int_equal(strlen(wide), 5000);
    assert_null(crs_arena_printf(&a, "%070000d", 1));
    uint8_t *zero = crs_arena_zalloc(&a, 5000);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(zero[i], 0);
    crs_arena_fini(&a);
}

TEST_MAIN(cmocka_unit_test(arena_hands_out_memory_that_is_aligned_and_apart),
          cmocka_unit_test(arena_takes_nothing_before_it_is_used_and_never_more_than_its_maximum),
          cmocka_unit_test(arena_refuses_sizes_that_would_wrap),
          cmocka_unit_test(arena_reset_keeps_the_first_small_chunk_for_the_next_request),
          cmocka_unit_test(arena_reset_gives_a_large_first_chunk_back),
          cmocka_unit_test(arena_survives_a_failing_allocation), cmocka_unit_test(arena_copies_and_prints_text))
