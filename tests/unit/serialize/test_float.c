/* Numbers to text and back. */
#include "test.h"

#include <float.h>
#include <locale.h>
#include <math.h>

#include "serialize/float.h"

static const char *text_of(double v, bool single)
{
    static char text[CRS_FLOAT_TEXT_MAX + 1];
    size_t len = crs_float_text(text, v, single);
    assert_true(len <= CRS_FLOAT_TEXT_MAX);
    text[len] = '\0';
    return text;
}

static void doubles_are_written_as_go_does(void **state)
{
    static const struct {
        double v;
        const char *text;
    } numbers[] = {{0, "0"},
                   {-0.0, "-0"},
                   {1, "1"},
                   {-1.5, "-1.5"},
                   {0.1, "0.1"},
                   {0.1 + 0.2, "0.30000000000000004"},
                   {1.0 / 3, "0.3333333333333333"},
                   {2.0 / 3, "0.6666666666666666"},
                   {100, "100"},
                   {1e20, "100000000000000000000"},
                   {123456789012345680000.0, "123456789012345680000"},
                   {999999999999999900000.0, "999999999999999900000"},
                   {1e21, "1e+21"},
                   {1.5e21, "1.5e+21"},
                   {1e100, "1e+100"},
                   {1e-6, "0.000001"},
                   {1.5e-6, "0.0000015"},
                   {9.9e-7, "9.9e-7"},
                   {1e-7, "1e-7"},
                   {1.25e-10, "1.25e-10"},
                   {9007199254740991.0, "9007199254740991"},
                   {9007199254740992.0, "9007199254740992"},
                   {9007199254740994.0, "9007199254740994"},
                   {4503599627370495.5, "4503599627370495.5"},
                   {1234567890.123456, "1234567890.123456"},
                   {8589973434.373858, "8589973434.373857"},
                   {0.3 - 0.1, "0.19999999999999998"},
                   {5e-324, "5e-324"},
                   {DBL_MIN, "2.2250738585072014e-308"},
                   {2.225073858507201e-308, "2.225073858507201e-308"},
                   {DBL_MAX, "1.7976931348623157e+308"},
                   {0x1p-44, "5.684341886080802e-14"},
                   {0x1p-1, "0.5"},
                   {0x1p-20, "9.5367431640625e-7"},
                   {9.5367431640625e-06, "0.0000095367431640625"},
                   {0x1p-24, "5.960464477539063e-8"},
                   {0x1p62, "4611686018427388000"},
                   {0x1p63, "9223372036854776000"},
                   {0x1p66, "73786976294838210000"},
                   {3.141592653589793, "3.141592653589793"}};
    for (size_t i = 0; i < CEREUS_COUNT(numbers); i++)
        assert_string_equal(text_of(numbers[i].v, false), numbers[i].text);
}

static void floats_are_written_as_go_does(void **state)
{
    static const struct {
        float v;
        const char *text;
    } numbers[] = {{0.1f, "0.1"},
                   {1.0f / 3, "0.33333334"},
                   {16777216, "16777216"},
                   {16777220, "16777220"},
                   {33554432, "33554432"},
                   {123456790, "123456790"},
                   {1e20f, "100000000000000000000"},
                   {1e21f, "1e+21"},
                   {1e-6f, "0.000001"},
                   {9e-7f, "9e-7"},
                   {FLT_MAX, "3.4028235e+38"},
                   {FLT_MIN, "1.1754944e-38"},
                   {1e-45f, "1e-45"},
                   {1.17549421e-38f, "1.1754942e-38"},
                   {-12.375f, "-12.375"},
                   {0x1p-12f, "0.00024414063"},
                   {8388608.5f, "8388608"},
                   {999999.94f, "999999.94"},
                   {3.1415927f, "3.1415927"}};
    for (size_t i = 0; i < CEREUS_COUNT(numbers); i++)
        assert_string_equal(text_of(numbers[i].v, true), numbers[i].text);
}

/* The text reads back, and no text with fewer digits does. */
static void check_shortest(double v, bool single)
{
    const char *text = text_of(v, single);
    double back = single ? (double)strtof(text, NULL) : strtod(text, NULL);
    if (back != v)
        fail_msg("%.17g: %s", v, text);
    size_t digits = 0, zeros = 0;
    for (const char *p = text; *p && *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9' && (digits || *p != '0')) {
            digits++;
            zeros = *p == '0' ? zeros + 1 : 0;
        }
    }
    digits -= zeros;
    if (digits > 1) {
        char shorter[64];
        snprintf(shorter, sizeof shorter, "%.*e", (int)digits - 2, v);
        assert_true((single ? (double)strtof(shorter, NULL) : strtod(shorter, NULL)) != v);
    }
}

static void random_numbers_are_written_shortest(void **state)
{
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        double v;
        float f;
        uint32_t low = (uint32_t)x;
        memcpy(&v, &x, sizeof v);
        memcpy(&f, &low, sizeof f);
        if (isfinite(v))
            check_shortest(fabs(v), false);
        if (isfinite(f))
            check_shortest(fabsf(f), true);
        check_shortest((double)(x >> 11) / 0x1p53 * 1000, false);
        check_shortest((double)(x % 1000000007) / 1000, false);
        check_shortest((float)((double)(x >> 40) / 0x1p10), true);
        int exp2 = (int)(x % 2000) - 1000;
        check_shortest(ldexp(1, exp2), false);
        if (exp2 > -149 && exp2 < 128)
            check_shortest(ldexp(1, exp2), true);
    }
}

static void the_locale_does_not_matter(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "fa_IR.UTF-8"};
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        if (!setlocale(LC_ALL, names[i]))
            continue; /* not on this machine */
        assert_string_equal(text_of(0x1p-44, false), "5.684341886080802e-14");
        assert_string_equal(text_of(0.1 + 0.2, false), "0.30000000000000004");
        static const char text[] = "1.2345678901234567890123";
        crs_decimal d = {.text = text, .len = strlen(text), .digits = 23};
        double v;
        assert_true(crs_decimal_to_float(&d, false, NULL, &v));
        assert_true(v == 1.2345678901234567890123);
    }
    setlocale(LC_ALL, "C");
}

TEST_MAIN(cmocka_unit_test(doubles_are_written_as_go_does), cmocka_unit_test(floats_are_written_as_go_does),
          cmocka_unit_test(random_numbers_are_written_shortest), cmocka_unit_test(the_locale_does_not_matter))
