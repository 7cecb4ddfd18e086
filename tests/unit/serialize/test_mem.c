/* Memory of one decoded message. */
#include "test.h"

#include "base/arena.h"
#include "serialize/mem.h"

static size_t calls, largest;

static void *from_arena(void *allocator, size_t size)
{
    calls++;
    largest = CRS_MAX(largest, size);
    return crs_arena_alloc(allocator, size);
}

static void small_pieces_share_a_block(void **state)
{
    crs_arena arena;
    crs_arena_init(&arena, 1 << 20);
    crs_mem mem;
    crs_mem_init(&mem, from_arena, &arena, 100);
    calls = 0;
    for (size_t i = 1; i <= 8; i++) {
        uint8_t *piece = crs_mem_take(&mem, i);
        assert_int_equal((uintptr_t)piece % 8, 0);
        memset(piece, (int)i, i);
        memset(crs_mem_text(&mem, i), 'x', i + 1);
        assert_int_equal(piece[i - 1], i);
    }
    assert_int_equal(calls, 1);
    crs_arena_fini(&arena);
}

static void large_pieces_have_their_own(void **state)
{
    crs_arena arena;
    crs_arena_init(&arena, 1 << 20);
    crs_mem mem;
    crs_mem_init(&mem, from_arena, &arena, 10);
    largest = 0;
    memset(crs_mem_take(&mem, 5000), 1, 5000);
    memset(crs_mem_text(&mem, 6000), 1, 6001);
    assert_int_equal(largest, 6001);
    crs_arena_fini(&arena);
}

static void arrays_keep_what_they_hold_while_they_grow(void **state)
{
    crs_arena arena;
    crs_arena_init(&arena, 1 << 20);
    crs_mem mem;
    crs_mem_init(&mem, from_arena, &arena, 1000);
    uint32_t *numbers = NULL;
    size_t count = 0;
    for (uint32_t round = 0; round < 200; round++) {
        size_t more = round % 3 ? 1 : round % 50;
        numbers = crs_mem_room(&mem, numbers, count, more, sizeof *numbers);
        for (size_t i = 0; i < more; i++, count++)
            numbers[count] = (uint32_t)count;
        if (round % 5 == 0)
            memset(crs_mem_take(&mem, 24), 0xff, 24); /* now it cannot be stretched */
    }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(numbers[i], i);
    crs_arena_fini(&arena);
}

static void a_refusing_allocator_is_reported(void **state)
{
    crs_arena arena;
    crs_arena_init(&arena, 0);
    crs_mem mem;
    crs_mem_init(&mem, from_arena, &arena, 10);
    assert_null(crs_mem_take(&mem, 8));
    assert_null(crs_mem_text(&mem, 8));
    assert_null(crs_mem_room(&mem, NULL, 0, 1, 8));
}

TEST_MAIN(cmocka_unit_test(small_pieces_share_a_block), cmocka_unit_test(large_pieces_have_their_own),
          cmocka_unit_test(arrays_keep_what_they_hold_while_they_grow),
          cmocka_unit_test(a_refusing_allocator_is_reported))
