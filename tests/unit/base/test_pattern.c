/* tests/unit/base/test_pattern.c */
#include "test.h"

#include <regex.h>

#include "base/pattern.h"

static crs_pattern *compile(const char *pattern)
{
    crs_pattern *p = NULL;
    cereus_error err = {0};
    char *copy = (char *)test_copy(pattern, strlen(pattern) + 1);
    if (crs_pattern_compile(copy, &p, &err))
        fail_msg("%s", err.msg);
    free(copy);
    return p;
}

static bool match(const crs_pattern *p, const char *text, size_t len)
{
    void *scratch = malloc(CRS_PATTERN_SCRATCH_MAX);
    uint8_t *copy = test_copy(text, len);
    bool yes = crs_pattern_matches(p, cereus_slice_of(copy, len), scratch);
    free(copy);
    free(scratch);
    return yes;
}

static bool matches(const char *pattern, const char *text)
{
    crs_pattern *p = compile(pattern);
    bool yes = match(p, text, strlen(text));
    crs_pattern_free(p);
    return yes;
}

static void expect_refused(const char *pattern, const char *why)
{
    cereus_error err = {0};
    crs_pattern *p = NULL;
    char *copy = (char *)test_copy(pattern, strlen(pattern) + 1);
    assert_int_equal(crs_pattern_compile(copy, &p, &err), CEREUS_E_INVALID);
    free(copy);
    assert_null(p);
    assert_int_equal(err.status, CEREUS_E_INVALID);
    if (!strstr(err.msg, why))
        fail_msg("%s: not because: %s", err.msg, why);
}

static void patterns_match_as_they_do_elsewhere(void **state)
{
    static const struct {
        const char *pattern, *yes[6], *no[6];
    } cases[] = {
        {"", {"", "x"}, {NULL}},
        {"abc", {"abc", "xabcx"}, {"", "ab", "aXbc"}},
        {"^abc$", {"abc"}, {"xabc", "abcx", "abc\n"}},
        {"^$", {""}, {"x", "\n"}},
        {"a|bc|", {"a", "bc", ""}, {NULL}},
        {"^(?:a|bc|d)$", {"a", "bc", "d"}, {"", "b", "ad"}},
        {"^a*$", {"", "a", "aaaa"}, {"b", "aab"}},
        {"^a+b?$", {"a", "ab", "aab"}, {"", "b", "abb"}},
        {"^(ab){2}$", {"abab"}, {"ab", "ababab"}},
        {"^a{2,}$", {"aa", "aaaaa"}, {"", "a"}},
        {"^a{0,2}$", {"", "a", "aa"}, {"aaa"}},
        {"^a{0}b$", {"b"}, {"ab"}},
        {"^(a{1,2}b){1,2}$", {"ab", "aab", "abaab"}, {"", "aaab", "ababab"}},
        {"^a+?$", {"a", "aa"}, {""}},
        {"^.$", {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"}, {"", "\n", "ab", "\xc3\xa9\xc3\xa9"}},
        {"^[a-c]+$", {"abc"}, {"", "abd"}},
        {"^[^a-c]+$", {"def", "\n"}, {"", "a"}},
        {"^[]-]+$", {"]-]"}, {"a"}},
        {"^[^]]$", {"a"}, {"]"}},
        {"^[\\d_.-]+$", {"1_2.3-4"}, {"a"}},
        {"^[\xc3\xa0-\xc3\xbf]$", {"\xc3\xa9"}, {"a", "\xc3"}},
        {"^\\d\\w\\s$", {"1_ ", "9z\t"}, {"a_ ", "1- ", "1a."}},
        {"^\\D\\W\\S$", {"a-a"}, {"1-a", "aaa", "a- "}},
        {"^\\.\\*\\\\\\n$", {".*\\\n"}, {"x*\\\n"}},
        {"^(a*)*$", {"", "aaa"}, {"b"}},
        {"(^a|b$)", {"ax", "xb"}, {"xa", "bx"}},
        {"^(|a)+$", {"", "aa"}, {"b"}},
        {"^[A-Za-z][A-Za-z0-9_]{2,15}$", {"Bob", "a_1234567890abcd"}, {"Bo", "1ob", "a_1234567890abcde", "Bo b"}},
    };
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        for (size_t k = 0; cases[i].yes[k]; k++) {
            if (!matches(cases[i].pattern, cases[i].yes[k]))
                fail_msg("%s should match \"%s\"", cases[i].pattern, cases[i].yes[k]);
        }
        for (size_t k = 0; cases[i].no[k]; k++) {
            if (matches(cases[i].pattern, cases[i].no[k]))
                fail_msg("%s should not match \"%s\"", cases[i].pattern, cases[i].no[k]);
        }
    }
}

static void what_is_not_understood_is_refused_with_the_reason(void **state)
{
    expect_refused("a(b", "at byte 4: a ( is never closed");
    expect_refused("a)b", "at byte 2: a ) closes nothing");
    expect_refused("[a", "a [ is never closed");
    expect_refused("[]", "a [ is never closed");
    expect_refused("[", "a [ is never closed");
    expect_refused("[z-a]", "runs backwards");
    expect_refused("[[:alpha:]]", "[[:names:]]");
    expect_refused("*a", "nothing to repeat");
    expect_refused("(|*)", "nothing to repeat");
    expect_refused("a**", "one repetition follows another");
    expect_refused("a{2}{3}", "one repetition follows another");
    expect_refused("a{", "{ wants");
    expect_refused("a{,2}", "{ wants");
    expect_refused("a{2", "{ wants");
    expect_refused("a{3,2}", "runs backwards");
    expect_refused("a{256}", "at most 255");
    expect_refused("a{99999999999999999999}", "at most 255");
    expect_refused("\\", "ends in a \\");
    expect_refused("[\\", "ends in a \\");
    expect_refused("[a-\\", "ends in a \\");
    expect_refused("\\1", "this \\ sequence");
    expect_refused("\\b", "this \\ sequence");
    expect_refused("(?=a)", "only (?: is known");
    expect_refused("(?", "only (?: is known");
    expect_refused("(((((((((((((((((((((((((((((((((a)))))))))))))))))))))))))))))))))", "nested too deep");
    expect_refused("((a{100}){100}){100}", "too large");
    char large[CRS_PATTERN_TEXT_MAX + 2];
    memset(large, 'a', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    expect_refused(large, "more than 1024 bytes");
    memset(large, '|', sizeof large - 2);
    large[sizeof large - 2] = '\0';
    expect_refused(large, "too large");
}

static void every_prefix_and_every_changed_byte_is_a_pattern_or_refused(void **state)
{
    static const char whole[] = "^(?:[a-z\\d_-]{2,5}|\\w+?|[^]x]*)(a|b)?\\.$";
    for (size_t len = 0; len < sizeof whole; len++) {
        for (unsigned change = 0; change < 256; change += 3) {
            char *text = (char *)test_copy(whole, len + 1);
            text[len] = '\0';
            if (len)
                text[len - 1] = (char)(change ? change : (unsigned char)whole[len - 1]);
            crs_pattern *p = NULL;
            cereus_status st = crs_pattern_compile(text, &p, NULL);
            assert_true(st == CEREUS_OK || st == CEREUS_E_INVALID);
            if (!st)
                match(p, "ab-9.", 5);
            crs_pattern_free(p);
            free(text);
        }
    }
}

/* -- against the C library's, which knows another way to do it -- */

static uint32_t seed;

static uint32_t pick(uint32_t count)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 16) % count;
}

static void write_pattern(char *out, unsigned depth)
{
    for (uint32_t atoms = 1 + pick(3); atoms; atoms--) {
        char *end = out + strlen(out);
        switch (depth ? pick(6) : pick(4)) {
        case 0:
            strcpy(end, "a");
            break;
        case 1:
            strcpy(end, "b");
            break;
        case 2:
            strcpy(end, ".");
            break;
        case 3:
            strcpy(end, "[^a]");
            break;
        case 4:
            strcpy(end, "(");
            write_pattern(out, depth - 1);
            strcat(out, ")");
            break;
        case 5:
            strcpy(end, "(");
            write_pattern(out, depth - 1);
            strcat(out, "|");
            write_pattern(out, depth - 1);
            strcat(out, ")");
            break;
        }
        static const char *const repeats[] = {"", "", "", "*", "+", "?", "{2}", "{1,2}", "{2,}"};
        strcat(out, repeats[pick(CEREUS_COUNT(repeats))]);
    }
}

static void random_patterns_match_what_the_c_library_matches(void **state)
{
    size_t matched = 0, compared = 0;
    for (seed = 1; compared < 20000;) {
        char pattern[4096] = "^", text[16];
        write_pattern(pattern + 1, 2);
        strcat(pattern, "$");
        regex_t theirs;
        crs_pattern *ours = NULL;
        if (crs_pattern_compile(pattern, &ours, NULL))
            continue; /* too large */
        assert_int_equal(regcomp(&theirs, pattern, REG_EXTENDED | REG_NOSUB), 0);
        for (int n = 0; n < 20; n++, compared++) {
            size_t len = pick(9);
            for (size_t i = 0; i < len; i++)
                text[i] = "abc"[pick(3)];
            text[len] = '\0';
            bool yes = match(ours, text, len);
            if (yes != (regexec(&theirs, text, 0, NULL, 0) == 0))
                fail_msg("%s on \"%s\": %d", pattern, text, yes);
            matched += yes;
        }
        regfree(&theirs);
        crs_pattern_free(ours);
    }
    assert_in_range(matched, compared / 20, compared - compared / 20); /* else the comparison says little */
}

static void no_text_takes_more_steps_than_its_length_times_the_patterns(void **state)
{
    /* followed one way at a time, these take longer than the world is old */
    static const char *const patterns[] = {"^(a|a)*b$", "^(a*)*b$", "^(a?){40}a{40}b$", "^(.*.*)*b$"};
    char text[CRS_PATTERN_TEXT_MAX];
    memset(text, 'a', sizeof text);
    for (size_t i = 0; i < CEREUS_COUNT(patterns); i++) {
        crs_pattern *p = compile(patterns[i]);
        assert_false(match(p, text, sizeof text));
        assert_in_range(crs_pattern_steps(p, sizeof text), sizeof text, (sizeof text + 1) * CRS_PATTERN_OPS_MAX);
        crs_pattern_free(p);
    }
}

static void out_of_memory_is_told(void **state)
{
    for (size_t n = 1; n <= 2; n++) {
        cereus_error err = {0};
        crs_pattern *p = NULL;
        crs_alloc_fail_at(n);
        assert_int_equal(crs_pattern_compile("a", &p, &err), CEREUS_E_NOMEM);
        crs_alloc_fail_at(0);
        assert_null(p);
    }
}

TEST_MAIN(cmocka_unit_test(patterns_match_as_they_do_elsewhere),
          cmocka_unit_test(what_is_not_understood_is_refused_with_the_reason),
          cmocka_unit_test(every_prefix_and_every_changed_byte_is_a_pattern_or_refused),
          cmocka_unit_test(random_patterns_match_what_the_c_library_matches),
          cmocka_unit_test(no_text_takes_more_steps_than_its_length_times_the_patterns),
          cmocka_unit_test(out_of_memory_is_told))
