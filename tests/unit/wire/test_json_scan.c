/* tests/unit/wire/test_json_scan.c */
#include "test.h"

#include <math.h>

#include "wire/json_scan.h"

/* Is all of @p text one value? */
static bool is_value(const char *text, size_t len, unsigned depth_max, bool doubles_only)
{
    uint8_t *copy = test_copy(text, len);
    crs_json_scan s = {copy, copy + len};
    bool ok = crs_json_skip_value(&s, depth_max, doubles_only) && !crs_json_skip_space(&s);
    free(copy);
    return ok;
}

static void json_scan_accepts_json_and_no_prefix_of_it(void **state)
{
    static const char *const values[] = {"{\"a\":[1,-2.5e+7,{\"b\":null}],\"\\u00e9\\\"\\\\\":\"x\"}",
                                         "[ true , false , [ ] , { } ]", "\"\\b\\f\\n\\r\\t\\/\"",
                                         "[0,-0,0.1,1E5,1e-5,10]"};
    for (size_t i = 0; i < CEREUS_COUNT(values); i++) {
        size_t len = strlen(values[i]);
        for (size_t n = 0; n < len; n++)
            assert_false(is_value(values[i], n, 64, false));
        assert_true(is_value(values[i], len, 64, true));
    }
}

static void json_scan_refuses_what_is_not_json(void **state)
{
    static const char *const values[] = {
        "",      "{",    "}",    "[1,]",    "[,1]",        "{,}",      "{\"a\":1,}", "{\"a\" 1}", "{a:1}",
        "{1:2}", "01",   "1.",   ".5",      "+1",          "1e",       "1e+",        "-",         "nul",
        "nullx", "True", "'a'",  "\"\\x\"", "\"\\u12g4\"", "\"a\nb\"", "\"\\\"",     "[1}",       "{\"a\":1]",
        "[1 2]", "NaN",  "0x10", "1 2",     "\"\x1f\"",    "/**/1",    "\\u0031",    "[1]]"};
    for (size_t i = 0; i < CEREUS_COUNT(values); i++)
        assert_false(is_value(values[i], strlen(values[i]), 64, false));
    assert_false(is_value("\"\\\0\"", 4, 64, false));
}

static void json_scan_counts_how_deep_it_is(void **state)
{
    char text[200];
    for (size_t depth = 1; depth <= 90; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        for (unsigned max = 0; max <= 64; max += 16)
            assert_int_equal(is_value(text, 2 * depth, max, false), depth <= max);
    }
    assert_true(is_value("{\"a\":[{}]}", 10, 3, false));
    assert_false(is_value("{\"a\":[{}]}", 10, 2, false));
    assert_true(is_value("[[],{},[{}]]", 12, 3, false)); /* a closed one counts no longer */
}

static void json_unescape_undoes_what_go_undoes(void **state)
{
    static const struct {
        const char *raw, *text;
    } rows[] = {{"plain \xc3\xa9", "plain \xc3\xa9"},
                {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"},
                {"\\u0041\\u00E9\\u20ac", "A\xc3\xa9\xe2\x82\xac"},
                {"\\ud83d\\ude00", "\xf0\x9f\x98\x80"},
                {"\\ud83d", "\xef\xbf\xbd"},
                {"\\ude00\\ud83d", "\xef\xbf\xbd\xef\xbf\xbd"},
                {"\\ud83dx", "\xef\xbf\xbdx"},
                {"\\ud83d\\u0041", "\xef\xbf\xbd"
                                   "A"},
                {"\\ud83d\\n", "\xef\xbf\xbd\n"},
                {"\\ud83d\\ud83d\\ude00", "\xef\xbf\xbd\xf0\x9f\x98\x80"}};
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        size_t len = strlen(rows[i].raw);
        uint8_t *raw = test_copy(rows[i].raw, len), *out = malloc(len);
        size_t n = crs_json_unescape(cereus_slice_of(raw, len), out);
        assert_int_equal(n, strlen(rows[i].text));
        assert_memory_equal(out, rows[i].text, n);
        free(raw);
        free(out);
    }
}

static void json_numbers_print_as_go_prints_doubles(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {{"0", "0"},
                {"-0", "-0"},
                {"-0.0e5", "-0"},
                {"1e3", "1000"},
                {"0.1", "0.1"},
                {"2.50", "2.5"},
                {"-12.75", "-12.75"},
                {"12345678901234567890", "12345678901234567000"},
                {"9007199254740993", "9007199254740992"},
                {"0.30000000000000004", "0.30000000000000004"},
                {"100000000000000000000", "100000000000000000000"},
                {"999999999999999999999", "1e+21"},
                {"1e21", "1e+21"},
                {"1.5e300", "1.5e+300"},
                {"0.000001", "0.000001"},
                {"0.0000001", "1e-7"},
                {"0.00000012345", "1.2345e-7"},
                {"1e-10", "1e-10"},
                {"5e-324", "5e-324"},
                {"2e-324", "0"},
                {"7.1202363472230444e-307", "7.120236347223045e-307"}, /* 2^-1017 */
                {"2.2250738585072014e-308", "2.2250738585072014e-308"},
                {"1.7976931348623157e308", "1.7976931348623157e+308"},
                {"1.7976931348623158e308", "1.7976931348623157e+308"},
                {"0.000e99999999999", "0"},
                {"1e-99999999999", "0"}};
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        double value;
        size_t len = strlen(rows[i].in);
        uint8_t *exact = test_copy(rows[i].in, len);
        assert_true(crs_json_double(cereus_slice_of(exact, len), &value));
        char text[CRS_JSON_DOUBLE_LEN_MAX + 1];
        text[crs_json_print_double(value, text)] = '\0';
        assert_string_equal(text, rows[i].out);
        free(exact);
    }
}

static void json_numbers_past_a_double_are_told(void **state)
{
    static const char *const rows[] = {"1e309", "-1e309", "1.7976931348623159e308", "1e99999999999", "123456789e301"};
    double value;
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        assert_false(crs_json_double(cereus_slice_str(rows[i]), &value));
        assert_true(is_value(rows[i], strlen(rows[i]), 64, false));
        assert_false(is_value(rows[i], strlen(rows[i]), 64, true));
    }
}

static void json_numbers_with_very_many_digits_are_rounded_once(void **state)
{
    char text[3000];
    double value;
    /* 2^53 + 1 lies halfway; a digit far behind decides */
    size_t len = (size_t)sprintf(text, "9007199254740993.");
    memset(text + len, '0', 2000);
    assert_true(crs_json_double(cereus_slice_of(text, len + 2000), &value));
    assert_true(value == 9007199254740992.0);
    text[len + 1999] = '1';
    assert_true(crs_json_double(cereus_slice_of(text, len + 2000), &value));
    assert_true(value == 9007199254740994.0);

    memset(text, '1', 400);
    assert_false(crs_json_double(cereus_slice_of(text, 400), &value));
    len = 400 + (size_t)sprintf(text + 400, "e-399");
    assert_true(crs_json_double(cereus_slice_of(text, len), &value));
    assert_true(value == 10.0 / 9);
}

static void json_doubles_read_back_as_they_were(void **state)
{
    uint64_t bits = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        double value, back;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value))
            continue;
        char text[CRS_JSON_DOUBLE_LEN_MAX];
        size_t len = crs_json_print_double(value, text);
        assert_true(len <= 25);
        assert_true(crs_json_double(cereus_slice_of(text, len), &back));
        assert_true(back == value);
        assert_true(is_value(text, len, 0, true));
    }
}

TEST_MAIN(cmocka_unit_test(json_scan_accepts_json_and_no_prefix_of_it),
          cmocka_unit_test(json_scan_refuses_what_is_not_json), cmocka_unit_test(json_scan_counts_how_deep_it_is),
          cmocka_unit_test(json_unescape_undoes_what_go_undoes),
          cmocka_unit_test(json_numbers_print_as_go_prints_doubles),
          cmocka_unit_test(json_numbers_past_a_double_are_told),
          cmocka_unit_test(json_numbers_with_very_many_digits_are_rounded_once),
          cmocka_unit_test(json_doubles_read_back_as_they_were))
