/* tests/unit/base/test_utf8.c: every short string is compared with a decoder that knows nothing but RFC 3629's table.
 */
#include "test.h"

#include "base/utf8.h"

/** RFC 3629 section 4, row by row: bytes of the character that begins with these four (0xff where there is none), or 0.
 */
static size_t table_char(const uint8_t b[4])
{
    static const struct {
        uint8_t n, lo[4], hi[4];
    } rows[] = {
        {1, {0x00}, {0x7f}},
        {2, {0xc2, 0x80}, {0xdf, 0xbf}},
        {3, {0xe0, 0xa0, 0x80}, {0xe0, 0xbf, 0xbf}},
        {3, {0xe1, 0x80, 0x80}, {0xec, 0xbf, 0xbf}},
        {3, {0xed, 0x80, 0x80}, {0xed, 0x9f, 0xbf}},
        {3, {0xee, 0x80, 0x80}, {0xef, 0xbf, 0xbf}},
        {4, {0xf0, 0x90, 0x80, 0x80}, {0xf0, 0xbf, 0xbf, 0xbf}},
        {4, {0xf1, 0x80, 0x80, 0x80}, {0xf3, 0xbf, 0xbf, 0xbf}},
        {4, {0xf4, 0x80, 0x80, 0x80}, {0xf4, 0x8f, 0xbf, 0xbf}},
    };
    for (size_t r = 0; r < CEREUS_COUNT(rows); r++) {
        size_t i = 0;
        while (i < rows[r].n && b[i] >= rows[r].lo[i] && b[i] <= rows[r].hi[i])
            i++;
        if (i == rows[r].n)
            return i;
    }
    return 0;
}

/** Bytes that matter: both sides of every boundary in the table. */
static const uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0,
                                0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0,
                                0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xfb, 0xfc, 0xfe, 0xff};

/** Run @p check on every combination of up to four edge bytes. */
static void each_short_string(void (*check)(const uint8_t *s, size_t len))
{
    enum { N = CEREUS_COUNT(edges) };
    uint8_t s[4];
    for (size_t len = 0; len <= 4; len++) {
        size_t count = len == 0 ? 1 : len == 1 ? N : len == 2 ? N * N : len == 3 ? N * N * N : N * N * N * N;
        for (size_t i = 0; i < count; i++) {
            size_t x = i;
            for (size_t k = 0; k < len; k++, x /= N)
                s[k] = edges[x % N];
            check(s, len);
        }
    }
}

static void check_char(const uint8_t *s, size_t len)
{
    uint8_t padded[4] = {0xff, 0xff, 0xff, 0xff};
    memcpy(padded, s, len);
    if (crs_utf8_char(cereus_slice_of(s, len)) != table_char(padded))
        fail_msg("%zu bytes %02x %02x %02x %02x", len, padded[0], padded[1], padded[2], padded[3]);
}

static void utf8_char_agrees_with_the_table_of_the_rfc(void **state)
{
    each_short_string(check_char);
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++)
            check_char((const uint8_t[]){(uint8_t)a, (uint8_t)b}, 2);
    }
}

static bool table_valid(const uint8_t *s, size_t len)
{
    while (len) {
        uint8_t padded[4] = {0xff, 0xff, 0xff, 0xff};
        memcpy(padded, s, len < 4 ? len : 4);
        size_t n = table_char(padded);
        if (n == 0)
            return false;
        s += n;
        len -= n;
    }
    return true;
}

static void check_valid(const uint8_t *s, size_t len)
{
    bool want = table_valid(s, len);
    crs_utf8_stream whole = {0}, bytewise = {0};
    bool fed = crs_utf8_stream_feed(&whole, cereus_slice_of(s, len)) && crs_utf8_stream_at_end(&whole);
    bool fed_bytewise = true;
    for (size_t i = 0; i < len && fed_bytewise; i++)
        fed_bytewise = crs_utf8_stream_feed(&bytewise, cereus_slice_of(s + i, 1));
    fed_bytewise = fed_bytewise && crs_utf8_stream_at_end(&bytewise);
    if (crs_utf8_valid(cereus_slice_of(s, len)) != want || fed != want || fed_bytewise != want)
        fail_msg("%zu bytes, want %d, whole stream %d, bytewise %d", len, want, fed, fed_bytewise);
}

static void utf8_valid_and_the_stream_agree_with_the_table_of_the_rfc(void **state)
{
    each_short_string(check_valid);
}

static void utf8_valid_reads_the_fast_lane_and_the_rest_without_one_byte_too_many(void **state)
{
    static const char text[] =
        "plain ASCII for a while, \xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5, then \xf0\x9f\x8c\xb5!";
    for (size_t len = 0; len < sizeof text; len++) {
        uint8_t *copy = test_copy(text, len);
        assert_int_equal(crs_utf8_valid(cereus_slice_of(copy, len)), table_valid(copy, len));
        for (size_t i = 0; i < len; i++) {
            copy[i] ^= 0x80;
            assert_int_equal(crs_utf8_valid(cereus_slice_of(copy, len)), table_valid(copy, len));
            copy[i] ^= 0x80;
        }
        free(copy);
    }
}

static void utf8_stream_takes_a_text_cut_at_any_two_places(void **state)
{
    static const uint8_t text[] = "\xce\xba\xe1\xbd\xb9 abcdefgh \xf0\x9f\x8c\xb5\xed\x9f\xbf\xf4\x8f\xbf\xbf";
    size_t len = sizeof text - 1;
    for (size_t a = 0; a <= len; a++) {
        for (size_t b = a; b <= len; b++) {
            crs_utf8_stream st = {0};
            assert_true(crs_utf8_stream_feed(&st, cereus_slice_of(text, a)));
            assert_int_equal(crs_utf8_stream_at_end(&st), table_valid(text, a));
            assert_true(crs_utf8_stream_feed(&st, cereus_slice_of(text + a, b - a)));
            assert_true(crs_utf8_stream_feed(&st, cereus_slice_of(text + b, len - b)));
            assert_true(crs_utf8_stream_at_end(&st));
        }
    }
}

static void utf8_stream_refuses_with_the_first_byte_that_cannot_be_mended(void **state)
{
    static const struct {
        const char *text;
        size_t fine; /* bytes before the one that must be refused */
    } rows[] = {
        {"\xce\xba\x80", 2},          /* lone continuation */
        {"a\xc0\xaf", 1},             /* overlong: the lead alone is certain */
        {"\xe0\x9f\xbf", 1},          /* overlong: seen in the second byte */
        {"\xed\xa0\x80", 1},          /* surrogate */
        {"\xf4\x90\x80\x80", 1},      /* past U+10FFFF */
        {"\xf5\x80\x80\x80", 0},      /* no such lead */
        {"\xf0\x9f\x8c\x41", 3},      /* cut off by ASCII */
        {"12345678\xe1\xbd\xce", 10}, /* cut off by another lead */
    };
    for (size_t r = 0; r < CEREUS_COUNT(rows); r++) {
        crs_utf8_stream st = {0};
        assert_true(crs_utf8_stream_feed(&st, cereus_slice_of(rows[r].text, rows[r].fine)));
        assert_false(crs_utf8_stream_feed(&st, cereus_slice_of(rows[r].text + rows[r].fine, 1)));
    }
}

static void utf8_put_writes_what_is_read_back(void **state)
{
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (c == 0xd800)
            c = 0xe000;
        uint8_t out[4];
        size_t len = crs_utf8_put(out, c);
        assert_int_equal(crs_utf8_char(cereus_slice_of(out, len)), len);
        char escape[16];
        if (c < 0x10000)
            snprintf(escape, sizeof escape, c % 2 ? "%04x" : "%04X", c);
        else
            snprintf(escape, sizeof escape, "%04x\\u%04X", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + (c & 0x3ff));
        uint32_t read = 0;
        const uint8_t *at = (const uint8_t *)escape;
        assert_int_equal(crs_utf8_escaped(at, at + strlen(escape), &read), c < 0x10000 ? 4 : 10);
        assert_int_equal(read, c);
    }
}

static void utf8_escaped_takes_whole_escapes_only(void **state)
{
    static const struct {
        const char *text;
        size_t used;
        uint32_t c;
    } rows[] = {
        {"", 0, 0},
        {"00e", 0, 0},
        {"00g9", 0, 0},
        {"00E9x", 4, 0xe9},
        {"d800", 4, 0xfffd},
        {"DFFF", 4, 0xfffd},
        {"d83d\\u", 4, 0xfffd},
        {"d83d\\ude0", 4, 0xfffd},
        {"d83d\\u0041", 4, 0xfffd},
        {"d83d\\n1234", 4, 0xfffd},
        {"de00\\ud83d", 4, 0xfffd},
        {"d83d\\ude00", 10, 0x1f600},
        {"D83D\\uDE00\\u0041", 10, 0x1f600},
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        size_t len = strlen(rows[i].text);
        uint8_t *text = test_copy(rows[i].text, len);
        uint32_t c = 0;
        assert_int_equal(crs_utf8_escaped(text, text + len, &c), rows[i].used);
        assert_int_equal(c, rows[i].c);
        free(text);
    }
}

TEST_MAIN(cmocka_unit_test(utf8_char_agrees_with_the_table_of_the_rfc),
          cmocka_unit_test(utf8_valid_and_the_stream_agree_with_the_table_of_the_rfc),
          cmocka_unit_test(utf8_valid_reads_the_fast_lane_and_the_rest_without_one_byte_too_many),
          cmocka_unit_test(utf8_stream_takes_a_text_cut_at_any_two_places),
          cmocka_unit_test(utf8_stream_refuses_with_the_first_byte_that_cannot_be_mended),
          cmocka_unit_test(utf8_put_writes_what_is_read_back), cmocka_unit_test(utf8_escaped_takes_whole_escapes_only))
