/* tests/unit/base/test_log.c */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include <jansson.h>

#include "base/log.h"
#include "base/utf8.h"

/* A log whose lines are caught here, on a clock that stands still. */
typedef struct world {
    crs_log log;
    int64_t now_ms; /* both clocks */
    char last[CRS_LOG_LINE_MAX + 1];
    size_t count;
    cereus_log_level level;
} world;

#define AT_2026 INT64_C(1767323045678) /* 2026-01-02T03:04:05.678Z */

static int64_t world_clock(clockid_t clock, void *user)
{
    return ((world *)user)->now_ms;
}

static void world_catch(cereus_log_level level, const char *line, size_t len, void *user)
{
    world *w = user;
    assert_true(len < sizeof w->last);
    assert_int_equal(strlen(line), len);
    memcpy(w->last, line, len + 1);
    w->level = level;
    w->count++;
}

static void world_init(world *w, crs_log_format format)
{
    memset(w, 0, sizeof *w);
    w->now_ms = AT_2026;
    crs_log_init(
        &w->log,
        &(crs_log_options){.format = format, .fn = world_catch, .fn_user = w, .clock = world_clock, .clock_user = w});
}

static void log_writes_logfmt_with_time_level_sentence_and_fields(void **state)
{
    world w;
    world_init(&w, CRS_LOG_LOGFMT);
    cereus_error err = {.msg = "no file"};
    crs_log_warn(&w.log, "handshake refused", CRS_STR("reason", "bad json"),
                 CRS_SLICE("route", cereus_slice_str("a.b")), CRS_INT("n", INT64_MIN), CRS_UINT("u", UINT64_MAX),
                 CRS_DUR_MS("took", 15), CRS_BOOL("tls", 2), CRS_ERR(&err));
    assert_string_equal(w.last,
                        "time=2026-01-02T03:04:05.678Z level=warn msg=\"handshake refused\" reason=\"bad json\" "
                        "route=a.b n=-9223372036854775808 u=18446744073709551615 took_ms=15 tls=true "
                        "error=\"no file\"");
    assert_int_equal(w.level, CEREUS_LOG_WARN);
}

static void log_writes_json_with_the_same_parts(void **state)
{
    world w;
    world_init(&w, CRS_LOG_JSON);
    crs_log_error(&w.log, "gone", CRS_STR("uid", "u\"1"), CRS_INT("n", -3), CRS_BOOL("tls", false));
    assert_string_equal(w.last, "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"error\",\"msg\":\"gone\","
                                "\"uid\":\"u\\\"1\",\"n\":-3,\"tls\":false}");
}

static void log_takes_a_sentence_without_fields_and_leaves_out_a_missing_text(void **state)
{
    world w;
    world_init(&w, CRS_LOG_LOGFMT);
    crs_log_info(&w.log, "started");
    assert_string_equal(w.last, "time=2026-01-02T03:04:05.678Z level=info msg=started");
    crs_log_info(&w.log, "closed", CRS_STR("uid", NULL), CRS_STR("why", ""));
    assert_string_equal(w.last, "time=2026-01-02T03:04:05.678Z level=info msg=closed why=\"\"");
}

static int calls;

static const char *expensive(void)
{
    calls++;
    return "x";
}

static void log_level_changes_at_run_time_and_silent_levels_evaluate_no_field(void **state)
{
    world w;
    world_init(&w, CRS_LOG_LOGFMT);
    calls = 0;
    crs_log_debug(&w.log, "no", CRS_STR("x", expensive()));
    assert_int_equal(calls, 0);
    assert_int_equal(w.count, 0);
    crs_log_set_level(&w.log, CEREUS_LOG_DEBUG);
    crs_log_debug(&w.log, "yes", CRS_STR("x", expensive()));
    assert_int_equal(calls, 1);
    assert_int_equal(w.count, 1);
    crs_log_set_level(&w.log, CEREUS_LOG_ERROR);
    crs_log_warn(&w.log, "no");
    crs_log_write(&w.log, CEREUS_LOG_WARN, "no", NULL, 0);
    crs_log_write_limited(&w.log, CEREUS_LOG_WARN, &(crs_log_limiter){0}, "no", NULL, 0);
    assert_int_equal(w.count, 1);
}

static void log_that_is_null_says_nothing(void **state)
{
    crs_log *none = NULL;
    crs_log_error(none, "nobody hears");
    crs_log_limiter limiter = {0};
    crs_log_limited(none, CEREUS_LOG_ERROR, &limiter, "nobody hears");
}

static void log_escapes_what_ends_a_line_drives_a_terminal_or_is_not_utf8(void **state)
{
    static const struct {
        const char *raw, *logfmt;
    } rows[] = {
        {"plain-1.2/3:4", "plain-1.2/3:4"},
        {"a b", "\"a b\""},
        {"a=b", "\"a=b\""},
        {"a\"b", "\"a\\\"b\""},
        {"a\\b", "\"a\\\\b\""},
        {"a\nlevel=error", "\"a\\nlevel=error\""},
        {"\r\t", "\"\\r\\t\""},
        {"\x1b[2J", "\"\\u001b[2J\""},
        {"\x7f", "\"\\u007f\""},
        {"\xff", "\"\\\\xff\""},
        {"\xc3", "\"\\\\xc3\""},
        {"\xed\xa0\x80", "\"\\\\xed\\\\xa0\\\\x80\""}, /* a surrogate */
        {"\xc2\x9b", "\"\\u009b\""},                   /* CSI in one character */
        {"\xe2\x80\xae", "\"\\u202e\""},               /* right to left */
        {"\xe2\x80\xa8", "\"\\u2028\""},               /* line separator */
        {"\xef\xbb\xbf", "\"\\ufeff\""},               /* byte order mark */
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},  /* letters stay */
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},      /* and so do emoji */
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        world w;
        world_init(&w, CRS_LOG_LOGFMT);
        uint8_t *raw = test_copy(rows[i].raw, strlen(rows[i].raw));
        crs_log_info(&w.log, "m", CRS_SLICE("v", cereus_slice_of(raw, strlen(rows[i].raw))));
        free(raw);
        assert_non_null(strstr(w.last, " v="));
        assert_string_equal(strstr(w.last, " v=") + 3, rows[i].logfmt);
    }
}

static void log_in_json_is_valid_for_every_pair_of_bytes(void **state)
{
    world w;
    world_init(&w, CRS_LOG_JSON);
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b += 5) {
            uint8_t two[2] = {(uint8_t)a, (uint8_t)b};
            crs_log_info(&w.log, "m", CRS_SLICE("v", cereus_slice_of(two, 2)));
            assert_true(crs_utf8_valid(cereus_slice_str(w.last)));
            json_t *parsed = json_loads(w.last, JSON_ALLOW_NUL, NULL);
            assert_non_null(parsed);
            json_decref(parsed);
            for (const char *c = w.last; *c; c++)
                assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
        }
    }
}

static void log_cuts_a_long_value_between_characters(void **state)
{
    static const struct {
        const char *unit; /* repeated */
        size_t repeat, shown_units;
        bool cut;
    } rows[] = {
        {"x", 256, 256, false},        {"x", 257, 253, true},        {"x", 100000, 253, true},
        {"\xc3\xbc", 128, 128, false}, {"\xc3\xbc", 129, 126, true}, {"\xf0\x9f\x98\x80", 65, 63, true},
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        world w;
        world_init(&w, CRS_LOG_LOGFMT);
        size_t unit_len = strlen(rows[i].unit), len = unit_len * rows[i].repeat;
        uint8_t *raw = malloc(len);
        assert_non_null(raw);
        for (size_t at = 0; at < len; at += unit_len)
            memcpy(raw + at, rows[i].unit, unit_len);
        crs_log_info(&w.log, "m", CRS_SLICE("v", cereus_slice_of(raw, len)));
        const char *value = strstr(w.last, " v=") + 3;
        size_t shown = rows[i].shown_units * unit_len;
        assert_memory_equal(value, raw, shown);
        assert_string_equal(value + shown, rows[i].cut ? "..." : "");
        free(raw);
    }
}

static void log_cuts_a_value_of_escapes_between_escapes(void **state)
{
    world w;
    world_init(&w, CRS_LOG_JSON);
    uint8_t raw[200];
    memset(raw, 1, sizeof raw);
    crs_log_info(&w.log, "m", CRS_SLICE("v", cereus_slice_of(raw, sizeof raw)));
    const char *value = strstr(w.last, "\"v\":\"") + 5;
    for (int i = 0; i < 42; i++)
        assert_memory_equal(value + i * 6, "\\u0001", 6);
    assert_string_equal(value + 42 * 6, "...\"}");
}

static void log_bounds_the_line_and_says_that_it_was_cut(void **state)
{
    for (int format = CRS_LOG_LOGFMT; format <= CRS_LOG_JSON; format++) {
        world w;
        world_init(&w, (crs_log_format)format);
        char big[5000];
        memset(big, 'x', sizeof big - 1);
        big[sizeof big - 1] = '\0';
        for (size_t len = 200; len <= 260; len++) { /* whatever is left at the end, the line closes properly */
            cereus_slice v = cereus_slice_of(big, len);
            crs_log_info(&w.log, "m", CRS_SLICE("a", v), CRS_SLICE("b", v), CRS_SLICE("c", v), CRS_SLICE("d", v),
                         CRS_SLICE("e", v), CRS_SLICE("f", v), CRS_SLICE("g", v), CRS_SLICE("h", v), CRS_SLICE("i", v),
                         CRS_SLICE("j", v));
            assert_true(strlen(w.last) < CRS_LOG_LINE_MAX);
            if (format == CRS_LOG_JSON) {
                json_t *parsed = json_loads(w.last, 0, NULL);
                assert_non_null(parsed);
                assert_true(json_is_true(json_object_get(parsed, "cut")));
                json_decref(parsed);
            } else {
                assert_string_equal(w.last + strlen(w.last) - 9, " cut=true");
            }
        }
        crs_log_write(&w.log, CEREUS_LOG_INFO, big, NULL, 0); /* a sentence that a game made */
        assert_true(strlen(w.last) < CRS_LOG_LINE_MAX);
        assert_null(strstr(w.last, "cut"));
    }
}

static void log_limiter_lets_n_through_and_tells_how_many_it_left_out(void **state)
{
    world w;
    world_init(&w, CRS_LOG_LOGFMT);
    crs_log_limiter limiter = {.per_s = 3};
    for (int i = 0; i < 10; i++)
        crs_log_limited(&w.log, CEREUS_LOG_WARN, &limiter, "refused", CRS_INT("i", i));
    assert_int_equal(w.count, 3);
    assert_null(strstr(w.last, "suppressed"));
    w.now_ms += 1000;
    crs_log_limited(&w.log, CEREUS_LOG_WARN, &limiter, "refused", CRS_INT("i", 10));
    assert_non_null(strstr(w.last, "msg=refused suppressed=7 i=10"));
    crs_log_limited(&w.log, CEREUS_LOG_WARN, &limiter, "refused");
    assert_null(strstr(w.last, "suppressed"));
    w.now_ms -= 1000; /* a thread that read the clock a little earlier counts into the same window */
    crs_log_limited(&w.log, CEREUS_LOG_WARN, &limiter, "refused");
    crs_log_limited(&w.log, CEREUS_LOG_WARN, &limiter, "refused");
    assert_int_equal(w.count, 6);
}

static void log_limiter_of_zero_has_a_default(void **state)
{
    world w;
    world_init(&w, CRS_LOG_LOGFMT);
    static crs_log_limiter limiter;
    for (int i = 0; i < 100; i++)
        crs_log_limited(&w.log, CEREUS_LOG_INFO, &limiter, "refused");
    assert_int_equal(w.count, CRS_LOG_LIMIT_PER_S);
}

/* -- threads: every call either wrote a line or is counted in one -- */

#define THREADS 4
#define EACH    3000

typedef struct crowd {
    crs_log log;
    crs_log_limiter limiter;
    atomic_llong now_ms;
    atomic_ullong lines, suppressed;
} crowd;

static int64_t crowd_clock(clockid_t clock, void *user)
{
    return atomic_fetch_add(&((crowd *)user)->now_ms, 1);
}

static void crowd_catch(cereus_log_level level, const char *text, size_t len, void *user)
{
    crowd *c = user;
    atomic_fetch_add(&c->lines, 1);
    const char *field = strstr(text, "suppressed=");
    if (field)
        atomic_fetch_add(&c->suppressed, strtoull(field + strlen("suppressed="), NULL, 10));
}

static void *crowd_run(void *user)
{
    crowd *c = user;
    for (int i = 0; i < EACH; i++) {
        crs_log_limited(&c->log, CEREUS_LOG_WARN, &c->limiter, "refused", CRS_INT("i", i));
        crs_log_set_level(&c->log, i % 2 ? CEREUS_LOG_INFO : CEREUS_LOG_DEBUG);
    }
    return NULL;
}

static void log_limiter_loses_no_line_between_threads(void **state)
{
    crowd c = {.limiter.per_s = 5};
    crs_log_init(&c.log, &(crs_log_options){.fn = crowd_catch, .fn_user = &c, .clock = crowd_clock, .clock_user = &c});
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_run, &c), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_fetch_add(&c.now_ms, 1000);
    crs_log_limited(&c.log, CEREUS_LOG_WARN, &c.limiter, "refused");
    assert_int_equal(atomic_load(&c.lines) + atomic_load(&c.suppressed), THREADS * EACH + 1);
    assert_true(atomic_load(&c.suppressed) > 0);
}

/* -- standard error -- */

static void log_goes_to_standard_error_one_write_per_line_and_counts_what_is_lost(void **state)
{
    crs_log log;
    crs_log_init(&log, &(crs_log_options){0});
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK | O_DIRECT), 0); /* O_DIRECT: a read takes one write */
    fflush(stderr);
    int saved = dup(STDERR_FILENO);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    errno = EPROTO;
    crs_log_info(&log, "first");
    int errno_after = errno;
    crs_log_info(&log, "second");
    char text[2][CRS_LOG_LINE_MAX + 1] = {0};
    ssize_t len[2];
    for (int i = 0; i < 2; i++)
        len[i] = read(fds[0], text[i], CRS_LOG_LINE_MAX);
    for (int i = 0; i < 100000 && atomic_load(&log.lost) == 0; i++) /* nobody reads: the pipe fills up */
        crs_log_info(&log, "third");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[0]);
    close(fds[1]);

    assert_int_equal(errno_after, EPROTO);
    assert_int_equal(atomic_load(&log.lost), 1);
    for (int i = 0; i < 2; i++) {
        assert_true(len[i] > 0);
        assert_string_equal(strstr(text[i], " level"), i ? " level=info msg=second\n" : " level=info msg=first\n");
        assert_memory_equal(text[i], "time=20", 7);
    }
}

static void log_levels_have_names_both_ways(void **state)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++) {
        cereus_log_level level = (cereus_log_level)77;
        assert_int_equal(cereus_log_level_parse(names[i], &level), CEREUS_OK);
        assert_int_equal(level, i - 1);
        assert_string_equal(cereus_log_level_name(level), names[i]);
    }
    cereus_log_level level = CEREUS_LOG_WARN;
    assert_int_equal(cereus_log_level_parse("loud", &level), CEREUS_E_INVALID);
    assert_int_equal(level, CEREUS_LOG_WARN);
    assert_string_equal(cereus_log_level_name((cereus_log_level)9), "unknown");
    assert_string_equal(cereus_log_level_name((cereus_log_level)INT_MIN), "unknown");
}

TEST_MAIN(cmocka_unit_test(log_writes_logfmt_with_time_level_sentence_and_fields),
          cmocka_unit_test(log_writes_json_with_the_same_parts),
          cmocka_unit_test(log_takes_a_sentence_without_fields_and_leaves_out_a_missing_text),
          cmocka_unit_test(log_level_changes_at_run_time_and_silent_levels_evaluate_no_field),
          cmocka_unit_test(log_that_is_null_says_nothing),
          cmocka_unit_test(log_escapes_what_ends_a_line_drives_a_terminal_or_is_not_utf8),
          cmocka_unit_test(log_in_json_is_valid_for_every_pair_of_bytes),
          cmocka_unit_test(log_cuts_a_long_value_between_characters),
          cmocka_unit_test(log_cuts_a_value_of_escapes_between_escapes),
          cmocka_unit_test(log_bounds_the_line_and_says_that_it_was_cut),
          cmocka_unit_test(log_limiter_lets_n_through_and_tells_how_many_it_left_out),
          cmocka_unit_test(log_limiter_of_zero_has_a_default),
          cmocka_unit_test(log_limiter_loses_no_line_between_threads),
          cmocka_unit_test(log_goes_to_standard_error_one_write_per_line_and_counts_what_is_lost),
          cmocka_unit_test(log_levels_have_names_both_ways))
