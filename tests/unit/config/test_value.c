/* tests/unit/config/test_value.c */
#include "test.h"

#include "config/value.h"

static void duration_reads_what_go_writes(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"5s", 5000},
        {"300ms", 300},
        {"1h30m", 5400000},
        {"1.5s", 1500},
        {".5s", 500},
        {"1.s", 1000},
        {"2h45m30.5s", 9930500},
        {"+3s", 3000},
        {"-3s", -3000},
        {"0", 0},
        {"-0", 0},
        {"0s", 0},
        {"1ns", 1},
        {"1us", 1},
        {"1\xc2\xb5s", 1},
        {"1\xce\xbcs", 1},
        {"1000us", 1},
        {"1001us", 2},
        {"999999ns", 1},
        {"1000001ns", 2},
        {"0.3ms", 1},
        {"1h0.000001ms", 3600001},
        {"0.0000000000000000000000001s", 0},
        {"0.1000000000000000000000000000000000s", 100},
        {"9223372036854775807ns", 9223372036855},
        {"2562047h", 9223369200000},
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        int64_t ms = -77;
        assert_null(crs_parse_duration_ms(rows[i].text, &ms));
        assert_int_equal(ms, rows[i].ms);
    }
}

static void duration_says_what_is_wrong(void **state)
{
    static const struct {
        const char *text, *wrong;
    } rows[] = {
        {"5", "needs a unit, like 5s"},
        {"1.5", "needs a unit, like 5s"},
        {"-5", "needs a unit, like 5s"},
        {"1h30", "needs a unit, like 5s"},
        {"", "is not a duration, like 300ms, 5s or 1h30m"},
        {"s", "is not a duration, like 300ms, 5s or 1h30m"},
        {".s", "is not a duration, like 300ms, 5s or 1h30m"},
        {"-", "is not a duration, like 300ms, 5s or 1h30m"},
        {"5 s", "is not a duration, like 300ms, 5s or 1h30m"},
        {"5s ", "is not a duration, like 300ms, 5s or 1h30m"},
        {"5d", "is not a duration, like 300ms, 5s or 1h30m"},
        {"5S", "is not a duration, like 300ms, 5s or 1h30m"},
        {"5s-3s", "is not a duration, like 300ms, 5s or 1h30m"},
        {"99999999999999999999s", "is too long a time"},
        {"9223372036854775808ns", "is too long a time"},
        {"2562048h", "is too long a time"},
        {"2562047h2562047h", "is too long a time"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        int64_t ms = -77;
        assert_string_equal(crs_parse_duration_ms(rows[i].text, &ms), rows[i].wrong);
        assert_int_equal(ms, -77);
    }
}

static void bool_reads_what_go_reads(void **state)
{
    static const char *const yes[] = {"true", "True", "TRUE", "t", "T", "1"};
    static const char *const no[] = {"false", "False", "FALSE", "f", "F", "0"};
    static const char *const neither[] = {"", "yes", "on", "2", " true", "truee"};
    for (size_t i = 0; i < 6; i++) {
        bool value = false;
        assert_null(crs_parse_bool(yes[i], &value));
        assert_true(value);
        assert_null(crs_parse_bool(no[i], &value));
        assert_false(value);
        value = true;
        assert_string_equal(crs_parse_bool(neither[i], &value), "is not true or false");
        assert_true(value);
    }
}

static void int_reads_whole_numbers_only(void **state)
{
    int64_t value = 0;
    assert_null(crs_parse_int("9223372036854775807", &value));
    assert_int_equal(value, INT64_MAX);
    assert_null(crs_parse_int("-12", &value));
    assert_int_equal(value, -12);
    assert_null(crs_parse_int("+012", &value));
    assert_int_equal(value, 12);
    static const char *const bad[] = {"", "-", "+-1", "1.0", "1e3", "0x10", " 1", "1 ", "five"};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++)
        assert_string_equal(crs_parse_int(bad[i], &value), "is not a whole number");
    assert_string_equal(crs_parse_int("9223372036854775808", &value), "is too large a number");
    assert_int_equal(value, 12);
}

static void size_reads_bytes_with_and_without_unit(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } rows[] = {
        {"0", 0},           {"65536", 65536},  {"7B", 7},
        {"64KiB", 1 << 16}, {"1mib", 1 << 20}, {"8589934591GiB", INT64_C(8589934591) << 30},
    };
    int64_t bytes = -1;
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        assert_null(crs_parse_size(rows[i].text, &bytes));
        assert_int_equal(bytes, rows[i].bytes);
    }
    static const char *const bad[] = {"", "KiB", "-1", "1.5KiB", "64 KiB", "64KB", "64K", "1e3"};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++)
        assert_string_equal(crs_parse_size(bad[i], &bytes), "is not a size, like 65536 or 64KiB");
    assert_string_equal(crs_parse_size("8589934592GiB", &bytes), "is too large a size");
    assert_string_equal(crs_parse_size("9223372036854775808", &bytes), "is too large a size");
}

static void formats_are_short_and_read_back_the_same(void **state)
{
    static const int64_t values[] = {0, 1, 999, 1000, 1500, 60000, 90000, 3600000, 86400000, INT64_MAX};
    static const char *const texts[] = {"0", "1ms", "999ms", "1s", "1500ms", "1m", "90s", "1h", "24h", NULL};
    char out[CRS_VALUE_TEXT_CAP];
    int64_t back;
    for (size_t i = 0; i < CEREUS_COUNT(values) - 1; i++) {
        assert_string_equal(crs_format_duration_ms(values[i], out), texts[i]);
        assert_null(crs_parse_duration_ms(out, &back));
        assert_int_equal(back, values[i]);
    }
    for (size_t i = 0; i < CEREUS_COUNT(values); i++) {
        assert_null(crs_parse_size(crs_format_size(values[i], out), &back));
        assert_int_equal(back, values[i]);
    }
    assert_string_equal(crs_format_size(262144, out), "256KiB");
    assert_string_equal(crs_format_size(INT64_C(3) << 30, out), "3GiB");
    assert_string_equal(crs_format_size(16777215, out), "16777215");
    assert_string_equal(crs_format_size(0, out), "0");
}

static void durations_for_others_are_written_as_go_does(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {{0, "0s"},        {1, "1ms"},         {300, "300ms"},      {1000, "1s"},
                {1500, "1.5s"},   {1050, "1.05s"},    {1001, "1.001s"},    {59999, "59.999s"},
                {60000, "1m0s"},  {90500, "1m30.5s"}, {3600000, "1h0m0s"}, {3661010, "1h1m1.01s"},
                {INT64_MAX, NULL}};
    char out[CRS_VALUE_TEXT_CAP];
    int64_t back;
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        const char *text = crs_format_go_duration_ms(rows[i].ms, out);
        if (!rows[i].text)
            continue; /* it has room */
        assert_string_equal(text, rows[i].text);
        assert_null(crs_parse_duration_ms(text, &back));
        assert_int_equal(back, rows[i].ms);
    }
}

static void edit_distance_counts_letters(void **state)
{
    assert_int_equal(crs_edit_distance("", ""), 0);
    assert_int_equal(crs_edit_distance("abc", ""), 3);
    assert_int_equal(crs_edit_distance("", "abc"), 3);
    assert_int_equal(crs_edit_distance("kitten", "sitting"), 3);
    assert_int_equal(crs_edit_distance("loops", "loop"), 1);
    char longer[400];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(crs_edit_distance(longer, ""), 127);
    assert_int_equal(crs_edit_distance(longer, longer), 0);
}

TEST_MAIN(cmocka_unit_test(duration_reads_what_go_writes), cmocka_unit_test(duration_says_what_is_wrong),
          cmocka_unit_test(bool_reads_what_go_reads), cmocka_unit_test(int_reads_whole_numbers_only),
          cmocka_unit_test(size_reads_bytes_with_and_without_unit),
          cmocka_unit_test(formats_are_short_and_read_back_the_same),
          cmocka_unit_test(durations_for_others_are_written_as_go_does), cmocka_unit_test(edit_distance_counts_letters))
