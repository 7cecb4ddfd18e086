/* tests/unit/wire/test_compress.c */
#include "test.h"

#include "wire/compress.h"

/* Text that deflates to about a third, different for every seed. */
static uint8_t *make_text(size_t len, uint32_t seed)
{
    uint8_t *text = malloc(len ? len : 1);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        text[i] = "{\"name\":0123}"[(seed >> 24) % 5 + i % 8];
    }
    return text;
}

static cereus_status inflate_exact(crs_zlib *z, const uint8_t *data, size_t len, crs_bytes *out)
{
    uint8_t *copy = test_copy(data, len);
    cereus_status st = crs_zlib_inflate(z, cereus_slice_of(copy, len), out);
    free(copy);
    return st;
}

static void zlib_gives_back_what_it_shrank_at_every_level_and_size(void **state)
{
    static const size_t sizes[] = {12, 50, 200, 1023, 1024, 1025, 5000, 100000};
    for (int level = -1; level <= 9; level++) {
        crs_zlib *z = crs_zlib_new(level);
        for (size_t i = 0; i < 2 * CEREUS_COUNT(sizes); i++) { /* twice, so that states are used again */
            size_t len = sizes[i % CEREUS_COUNT(sizes)];
            uint8_t *text = make_text(len, (uint32_t)i), *packed = malloc(len);
            size_t packed_len = crs_zlib_deflate(z, cereus_slice_of(text, len), packed, len - 1);
            assert_true(packed_len < len);
            if (len >= 1023 && level != 0)
                assert_true(packed_len > 0);
            if (packed_len) {
                assert_memory_equal(packed, "\x78\x9c", 2);
                crs_bytes out;
                crs_bytes_init(&out, len);
                assert_int_equal(inflate_exact(z, packed, packed_len, &out), CEREUS_OK);
                assert_int_equal(out.len, len);
                assert_memory_equal(out.data, text, len);
                crs_bytes_fini(&out);
            }
            free(packed);
            free(text);
        }
        assert_null(crs_zlib_free(z));
    }
}

static void zlib_shrinks_twelve_equal_bytes_and_nothing_shorter(void **state)
{
    crs_zlib *z = crs_zlib_new(-1);
    for (size_t len = 0; len < 20; len++) {
        uint8_t text[20], out[20];
        memset(text, 'a', sizeof text);
        size_t n = crs_zlib_deflate(z, cereus_slice_of(text, len), out, sizeof out);
        assert_int_equal(n > 0, len >= 12);
        assert_true(n == 0 || n < len);
    }
    crs_zlib_free(z);
}

static void zlib_deflate_gives_up_when_the_room_is_too_small(void **state)
{
    static const size_t sizes[] = {600, 6000};
    crs_zlib *z = crs_zlib_new(6);
    for (size_t i = 0; i < CEREUS_COUNT(sizes); i++) {
        uint8_t *text = make_text(sizes[i], 3), *out = malloc(sizes[i]);
        size_t n = crs_zlib_deflate(z, cereus_slice_of(text, sizes[i]), out, sizes[i] - 1);
        assert_true(n > 0);
        for (size_t cap = 0; cap < n; cap += cap < 16 ? 1 : n / 7) {
            uint8_t *exact = malloc(cap ? cap : 1);
            assert_int_equal(crs_zlib_deflate(z, cereus_slice_of(text, sizes[i]), exact, cap), 0);
            free(exact);
        }
        assert_int_equal(crs_zlib_deflate(z, cereus_slice_of(text, sizes[i]), out, n), n);
        free(out);
        free(text);
    }
    crs_zlib_free(z);
}

static void zlib_leaves_random_bytes_alone(void **state)
{
    crs_zlib *z = crs_zlib_new(9);
    uint8_t noise[4096], out[4096];
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        seed = seed * 1664525 + 1013904223;
        noise[i] = (uint8_t)(seed >> 24);
    }
    assert_int_equal(crs_zlib_deflate(z, cereus_slice_of(noise, 500), out, sizeof out), 0);
    assert_int_equal(crs_zlib_deflate(z, cereus_slice_of(noise, sizeof noise), out, sizeof out), 0);
    crs_zlib_free(z);
}

/* zlib of "hello world" */
static const uint8_t hello[] = {0x78, 0x9c, 0xca, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0x28, 0xcf, 0x2f, 0xca,
                                0x49, 0x01, 0x04, 0x00, 0x00, 0xff, 0xff, 0x1a, 0x0b, 0x04, 0x5d};

static void zlib_inflate_appends_up_to_its_limit_and_no_further(void **state)
{
    crs_zlib *z = crs_zlib_new(-1);
    for (size_t max = 0; max < 20; max++) {
        crs_bytes out;
        crs_bytes_init(&out, max + 4);
        assert_int_equal(crs_bytes_append(&out, "old ", 4), CEREUS_OK);
        cereus_status st = inflate_exact(z, hello, sizeof hello, &out);
        assert_int_equal(st, max < 11 ? CEREUS_E_TOO_LONG : CEREUS_OK);
        assert_int_equal(out.len, st ? 4 : 15);
        assert_memory_equal(out.data, "old hello world", out.len);
        assert_true(out.cap <= out.max);
        crs_bytes_fini(&out);
    }
    crs_zlib_free(z);
}

static void zlib_inflate_refuses_every_cut_and_every_change_that_matters(void **state)
{
    crs_zlib *z = crs_zlib_new(-1);
    crs_bytes out;
    crs_bytes_init(&out, 64);
    for (size_t len = 0; len < sizeof hello; len++) {
        assert_int_equal(inflate_exact(z, hello, len, &out), CEREUS_E_MALFORMED);
        assert_int_equal(out.len, 0);
    }
    for (size_t at = 0; at < sizeof hello; at++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t changed[sizeof hello];
            memcpy(changed, hello, sizeof hello);
            changed[at] = (uint8_t)value;
            cereus_status st = inflate_exact(z, changed, sizeof changed, &out);
            if (st == CEREUS_OK) /* only the head has bits that do not count */
                assert_memory_equal(out.data, "hello world", 11);
            out.len = 0;
        }
    }
    crs_bytes_fini(&out);
    crs_zlib_free(z);
}

static void zlib_inflate_takes_zlib_only_and_ignores_what_follows(void **state)
{
    static const uint8_t gzip[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t preset[] = {0x78, 0xbb, 0x16, 0xc0, 0x04, 0x37, 0x42, 0xb0, 0x14};
    crs_zlib *z = crs_zlib_new(-1);
    crs_bytes out;
    crs_bytes_init(&out, 64);
    assert_int_equal(inflate_exact(z, gzip, sizeof gzip, &out), CEREUS_E_MALFORMED);
    assert_int_equal(inflate_exact(z, gzip + 10, 2, &out), CEREUS_E_MALFORMED); /* deflate without a head */
    assert_int_equal(inflate_exact(z, preset, sizeof preset, &out), CEREUS_E_MALFORMED);
    uint8_t longer[sizeof hello + 3] = {0};
    memcpy(longer, hello, sizeof hello);
    assert_int_equal(inflate_exact(z, longer, sizeof longer, &out), CEREUS_OK);
    assert_int_equal(out.len, 11);
    crs_bytes_fini(&out);
    crs_zlib_free(z);
}

static void zlib_inflate_of_a_bomb_stops_at_the_limit(void **state)
{
    enum { BOMB = 8 << 20, MAX = 1 << 20 };
    crs_zlib *z = crs_zlib_new(9);
    uint8_t *zeros = calloc(1, BOMB), *packed = malloc(BOMB);
    size_t len = crs_zlib_deflate(z, cereus_slice_of(zeros, BOMB), packed, BOMB);
    assert_true(len > 0 && len < 10000);
    crs_bytes out;
    crs_bytes_init(&out, MAX);
    assert_int_equal(inflate_exact(z, packed, len, &out), CEREUS_E_TOO_LONG);
    assert_true(out.cap <= MAX);
    assert_int_equal(out.len, 0);
    crs_bytes_fini(&out);
    crs_bytes_init(&out, BOMB);
    assert_int_equal(inflate_exact(z, packed, len, &out), CEREUS_OK);
    assert_int_equal(out.len, BOMB);
    crs_bytes_fini(&out);
    free(zeros);
    free(packed);
    crs_zlib_free(z);
}

static void zlib_survives_a_failing_allocation_and_works_afterwards(void **state)
{
    crs_alloc_fail_at(1);
    assert_null(crs_zlib_new(-1));
    uint8_t text[2000], packed[2000];
    memset(text, 'a', sizeof text);
    crs_zlib *z = crs_zlib_new(-1);
    size_t n = 0;
    for (size_t nth = 1; n == 0; nth++) {
        assert_true(nth < 20);
        crs_alloc_fail_at(nth);
        n = crs_zlib_deflate(z, cereus_slice_of(text, sizeof text), packed, sizeof packed);
        crs_alloc_fail_at(0);
    }
    crs_bytes out;
    crs_bytes_init(&out, sizeof text);
    cereus_status st = CEREUS_E_NOMEM;
    for (size_t nth = 1; st; nth++) {
        assert_true(nth < 20);
        crs_alloc_fail_at(nth);
        st = crs_zlib_inflate(z, cereus_slice_of(packed, n), &out);
        crs_alloc_fail_at(0);
        assert_true(st == CEREUS_OK || (st == CEREUS_E_NOMEM && out.len == 0));
    }
    assert_memory_equal(out.data, text, sizeof text);
    crs_bytes_fini(&out);
    crs_zlib_free(z);
    assert_null(crs_zlib_free(NULL));
}

TEST_MAIN(cmocka_unit_test(zlib_gives_back_what_it_shrank_at_every_level_and_size),
          cmocka_unit_test(zlib_shrinks_twelve_equal_bytes_and_nothing_shorter),
          cmocka_unit_test(zlib_deflate_gives_up_when_the_room_is_too_small),
          cmocka_unit_test(zlib_leaves_random_bytes_alone),
          cmocka_unit_test(zlib_inflate_appends_up_to_its_limit_and_no_further),
          cmocka_unit_test(zlib_inflate_refuses_every_cut_and_every_change_that_matters),
          cmocka_unit_test(zlib_inflate_takes_zlib_only_and_ignores_what_follows),
          cmocka_unit_test(zlib_inflate_of_a_bomb_stops_at_the_limit),
          cmocka_unit_test(zlib_survives_a_failing_allocation_and_works_afterwards))
