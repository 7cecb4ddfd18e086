/* tests/unit/wire/test_deflate_small.c: everything goes through zlib's inflate; inputs and outputs are heap blocks of
 * exactly their size. */
#include "test.h"

#include <zlib.h>

#include "wire/deflate_small.h"

enum { MAX = CRS_DEFLATE_SMALL_MAX };

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

typedef void fill_fn(uint8_t *data, size_t len, uint32_t seed);

static void fill_zeros(uint8_t *data, size_t len, uint32_t seed)
{
    memset(data, 0, len);
}

static void fill_random(uint8_t *data, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)next_random(&seed);
}

static void fill_digits(uint8_t *data, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)('0' + next_random(&seed) % 10);
}

/* Bytes of which each is half as frequent as the one before, spread over all values: long codes, gaps between them. */
static void fill_skewed(uint8_t *data, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(37 * __builtin_ctz(next_random(&seed) | 1 << 20));
}

static void fill_from(uint8_t *data, size_t len, const char *const *words, size_t count, uint32_t seed)
{
    for (size_t i = 0; i < len;) {
        for (const char *c = words[next_random(&seed) % count]; *c && i < len; c++)
            data[i++] = (uint8_t)*c;
    }
}

static void fill_text(uint8_t *data, size_t len, uint32_t seed)
{
    static const char *const words[] = {"the ",   "quick ",  "brown ", "fox ",   "jumps ", "over ",
                                        "a lazy", " dog. ",  "Where ", "did ",   "she ",   "leave ",
                                        "her ",   "sword? ", "In a ",  "castle", ", by ",  "the river; "};
    fill_from(data, len, words, CEREUS_COUNT(words), seed);
}

static void fill_json(uint8_t *data, size_t len, uint32_t seed)
{
    static const char *const words[] = {
        "{\"name\":\"", "\",\"id\":",     "},",           "[",    "],",    "0.5",  "12",  "7",
        "player-",      "\",\"text\":\"", ",\"ok\":true", "null", "score", "3141", "xyz", "\xc3\xa9"};
    fill_from(data, len, words, CEREUS_COUNT(words), seed);
}

static fill_fn *const fills[] = {fill_zeros, fill_random, fill_digits, fill_skewed, fill_text, fill_json};

static void must_inflate_to(const uint8_t *packed, size_t packed_len, const uint8_t *data, size_t len)
{
    uint8_t *exact = test_copy(packed, packed_len), back[MAX];
    z_stream s = {.next_in = exact, .avail_in = (uInt)packed_len, .next_out = back, .avail_out = sizeof back};
    assert_int_equal(inflateInit(&s), Z_OK);
    assert_int_equal(inflate(&s, Z_FINISH), Z_STREAM_END); /* the checksum is right too */
    assert_int_equal(s.avail_in, 0);
    assert_int_equal(s.total_out, len);
    assert_memory_equal(back, data, len);
    inflateEnd(&s);
    free(exact);
}

/* Deflate from and into blocks of exactly @p len and @p cap bytes. */
static size_t deflate_exact(crs_deflate_small *d, const uint8_t *data, size_t len, size_t cap, uint8_t *ret_packed)
{
    uint8_t *in = test_copy(data, len), *out = malloc(cap ? cap : 1);
    size_t n = crs_deflate_small_run(d, cereus_slice_of(in, len), out, cap);
    assert_true(n <= cap && (n == 0 || n < len));
    memcpy(ret_packed, out, n);
    free(in);
    free(out);
    return n;
}

static size_t round_trip(crs_deflate_small *d, const uint8_t *data, size_t len)
{
    uint8_t packed[MAX];
    size_t n = deflate_exact(d, data, len, len, packed);
    if (n) {
        assert_memory_equal(packed, "\x78\x9c", 2);
        must_inflate_to(packed, n, data, len);
    }
    return n;
}

static void deflate_small_gives_back_bodies_of_every_kind_and_length(void **state)
{
    crs_deflate_small *d = crs_deflate_small_new();
    uint8_t data[MAX];
    for (size_t kind = 0; kind < CEREUS_COUNT(fills); kind++) {
        for (size_t len = 0; len <= MAX; len++) {
            fills[kind](data, len, (uint32_t)len);
            round_trip(d, data, len);
        }
    }
    assert_null(crs_deflate_small_free(d));
}

static void deflate_small_gives_back_repetitions_of_every_period(void **state)
{
    crs_deflate_small *d = crs_deflate_small_new();
    uint8_t data[MAX];
    for (size_t period = 1; period <= 300; period++) {
        fill_random(data, period, (uint32_t)period);
        for (size_t i = period; i < MAX; i++)
            data[i] = data[i - period];
        size_t len = 2 * period + 20; /* 259 and more once: the longest match and what is behind it */
        assert_true(round_trip(d, data, len) > 0);
        assert_true(round_trip(d, data, MAX) < period + period / 4 + 40);
    }
    crs_deflate_small_free(d);
}

static void deflate_small_gives_back_every_match_length_and_distance(void **state)
{
    crs_deflate_small *d = crs_deflate_small_new();
    uint8_t data[MAX];
    for (size_t match = 3; match <= 270; match++) {
        for (size_t distance = match; distance + match < MAX; distance += distance / 5 + 1) {
            fill_random(data, sizeof data, 7);
            memcpy(data + distance, data, match);
            round_trip(d, data, distance + match);
        }
    }
    crs_deflate_small_free(d);
}

/* More symbols than codes of one width, in every proportion of zeros between them: all ways to describe widths. */
static void deflate_small_gives_back_alphabets_of_every_size(void **state)
{
    crs_deflate_small *d = crs_deflate_small_new();
    uint8_t data[MAX];
    for (uint32_t symbols = 1; symbols <= 256; symbols++) {
        for (uint32_t step = 1; step < 256; step += 50) {
            uint32_t seed = symbols * step;
            for (size_t i = 0; i < MAX; i++) {
                uint32_t a = next_random(&seed) % symbols, b = next_random(&seed) % symbols;
                data[i] = (uint8_t)(step * CRS_MIN(a, b));
            }
            round_trip(d, data, MAX);
            round_trip(d, data, 300);
        }
    }
    crs_deflate_small_free(d);
}

static void deflate_small_writes_all_or_nothing_whatever_the_room(void **state)
{
    crs_deflate_small *d = crs_deflate_small_new();
    uint8_t data[MAX], whole[MAX], packed[MAX];
    for (size_t kind = 0; kind < CEREUS_COUNT(fills); kind++) {
        for (size_t len = 7; len <= MAX; len += len / 4) {
            fills[kind](data, len, 1);
            size_t n = deflate_exact(d, data, len, MAX, whole);
            for (size_t cap = 0; cap <= len; cap += cap + 12 < n ? 7 : 1) {
                size_t got = deflate_exact(d, data, len, cap, packed);
                assert_int_equal(got, cap < n ? 0 : n);
                assert_memory_equal(packed, whole, got);
            }
        }
    }
    crs_deflate_small_free(d);
}

static void deflate_small_does_not_remember_earlier_bodies(void **state)
{
    crs_deflate_small *used = crs_deflate_small_new();
    uint8_t data[MAX], packed[MAX], again[MAX];
    for (uint32_t i = 0; i < 3000; i++) { /* over a megabyte: positions wrap around */
        size_t len = i % 600;
        fills[i % CEREUS_COUNT(fills)](data, len, i % 4);
        size_t n = deflate_exact(used, data, len, len, packed);
        crs_deflate_small *fresh = crs_deflate_small_new();
        assert_int_equal(deflate_exact(fresh, data, len, len, again), n);
        assert_memory_equal(packed, again, n);
        crs_deflate_small_free(fresh);
    }
    crs_deflate_small_free(used);
}

static void deflate_small_is_within_a_fifth_of_zlib(void **state)
{
    crs_deflate_small *d = crs_deflate_small_new();
    uint8_t data[MAX], theirs[2 * MAX];
    for (size_t kind = 0; kind < CEREUS_COUNT(fills); kind++) {
        for (size_t len = 16; len <= MAX; len += 16) {
            fills[kind](data, len, (uint32_t)len);
            uLongf their_len = sizeof theirs;
            assert_int_equal(compress2(theirs, &their_len, data, len, Z_DEFAULT_COMPRESSION), Z_OK);
            size_t n = round_trip(d, data, len);
            assert_true((n ? n : len) <= CRS_MIN(their_len + their_len / 5 + 3, len));
        }
    }
    crs_deflate_small_free(d);
}

static void deflate_small_needs_no_memory_after_new(void **state)
{
    crs_alloc_fail_at(1);
    assert_null(crs_deflate_small_new());
    crs_deflate_small *d = crs_deflate_small_new();
    uint8_t data[MAX];
    fill_json(data, MAX, 1);
    crs_alloc_fail_at(1);
    assert_true(round_trip(d, data, MAX) > 0);
    crs_alloc_fail_at(0);
    crs_deflate_small_free(d);
    assert_null(crs_deflate_small_free(NULL));
}

TEST_MAIN(cmocka_unit_test(deflate_small_gives_back_bodies_of_every_kind_and_length),
          cmocka_unit_test(deflate_small_gives_back_repetitions_of_every_period),
          cmocka_unit_test(deflate_small_gives_back_every_match_length_and_distance),
          cmocka_unit_test(deflate_small_gives_back_alphabets_of_every_size),
          cmocka_unit_test(deflate_small_writes_all_or_nothing_whatever_the_room),
          cmocka_unit_test(deflate_small_does_not_remember_earlier_bodies),
          cmocka_unit_test(deflate_small_is_within_a_fifth_of_zlib),
          cmocka_unit_test(deflate_small_needs_no_memory_after_new))
