/* tests/unit/module/test_lines.c: bytes become lines, whatever they are and however they come. */
#include "test.h"

#include "module/lines.h"

static char got[300 * 1024]; /* every line: its part, its text in brackets */

static void note(const char *text, unsigned part, void *user)
{
    size_t len = strlen(got);
    assert_true(strlen(text) <= CRS_LINE_PIECE_MAX + 1);
    snprintf(got + len, sizeof got - len, "%u[%s]", part, text);
}

static void feed(crs_lines *l, const char *data, size_t len, size_t step)
{
    for (size_t i = 0; i < len; i += step) {
        size_t n = step < len - i ? step : len - i;
        uint8_t *copy = test_copy(data + i, n);
        crs_lines_feed(l, cereus_slice_of(copy, n));
        free(copy);
    }
}

static void lines_are_cut_at_newlines(void **state)
{
    static const char text[] = "one\n\ntwo\r\nthr\ree\nlast";
    for (size_t step = 1; step <= sizeof text; step++) {
        crs_lines l;
        got[0] = '\0';
        crs_lines_init(&l, note, NULL);
        feed(&l, text, sizeof text - 1, step);
        assert_string_equal(got, "1[one]1[]1[two]1[thr\ree]");
        crs_lines_end(&l);
        assert_string_equal(got, "1[one]1[]1[two]1[thr\ree]1[last]");
        crs_lines_end(&l);
        assert_string_equal(got, "1[one]1[]1[two]1[thr\ree]1[last]");
    }
}

static void bytes_of_zero_are_shown(void **state)
{
    crs_lines l;
    got[0] = '\0';
    crs_lines_init(&l, note, NULL);
    feed(&l, "a\0b\n\0\n", 6, 6);
    assert_string_equal(got, "1[a\\0b]1[\\0]");
}

static void long_lines_come_in_pieces_and_are_cut_at_last(void **state)
{
    const size_t lens[] = {CRS_LINE_PIECE_MAX, CRS_LINE_PIECE_MAX + 1, CRS_LINE_MAX, CRS_LINE_MAX + 1, 200 * 1024};
    char *text = malloc(200 * 1024);
    memset(text, 'x', 200 * 1024);
    for (size_t i = 0; i < CEREUS_COUNT(lens); i++) {
        crs_lines l;
        got[0] = '\0';
        crs_lines_init(&l, note, NULL);
        feed(&l, text, lens[i], 1000);
        feed(&l, "\nafter\n", 7, 7);
        size_t count = 0;
        for (const char *p = got; *p; p++)
            count += *p == 'x';
        assert_int_equal(count, lens[i] < CRS_LINE_MAX ? lens[i] : CRS_LINE_MAX);
        assert_int_equal(l.cut, lens[i] > CRS_LINE_MAX);
        assert_non_null(strstr(got, "]1[after]"));
        assert_int_equal(strstr(got, "2[") != NULL, lens[i] > CRS_LINE_PIECE_MAX);
    }
    free(text);
}

static void characters_are_not_torn(void **state)
{
    for (size_t shift = 0; shift < 4; shift++) {
        crs_lines l;
        got[0] = '\0';
        crs_lines_init(&l, note, NULL);
        feed(&l, "abc", shift, 1);
        for (int i = 0; i < 300; i++)
            feed(&l, "\xe2\x82\xac", 3, 2);
        feed(&l, "\n", 1, 1);
        size_t count = 0;
        for (const char *p = got; (p = strstr(p, "\xe2\x82\xac")); p++)
            count++;
        assert_int_equal(count, 300);
    }
}

TEST_MAIN(cmocka_unit_test(lines_are_cut_at_newlines), cmocka_unit_test(bytes_of_zero_are_shown),
          cmocka_unit_test(long_lines_come_in_pieces_and_are_cut_at_last), cmocka_unit_test(characters_are_not_torn))
