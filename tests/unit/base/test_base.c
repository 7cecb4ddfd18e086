/* tests/unit/base/test_base.c */
#include "test.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

static void fail_fills_status_and_sentence_and_returns_the_status(void **state)
{
    cereus_error err = {0};
    assert_int_equal(crs_fail(&err, CEREUS_E_RANGE, "key %s: %d", "a.b", 7), CEREUS_E_RANGE);
    assert_int_equal(err.status, CEREUS_E_RANGE);
    assert_string_equal(err.msg, "key a.b: 7");
    assert_int_equal(crs_fail(NULL, CEREUS_E_IO, "x"), CEREUS_E_IO);
}

static void fail_cuts_what_is_too_long(void **state)
{
    cereus_error *err = calloc(1, sizeof *err); /* exactly sized for the sanitizer */
    assert_int_equal(crs_fail(err, CEREUS_E_IO, "%01000d", 1), CEREUS_E_IO);
    assert_int_equal(strlen(err->msg), sizeof err->msg - 1);
    free(err);
}

static void fail_in_puts_the_place_in_front(void **state)
{
    cereus_error err = {0};
    crs_fail(&err, CEREUS_E_IO, "refused");
    assert_int_equal(crs_fail_in(&err, CEREUS_E_UNAVAILABLE, "etcd %s", "host"), CEREUS_E_UNAVAILABLE);
    assert_int_equal(err.status, CEREUS_E_UNAVAILABLE);
    assert_string_equal(err.msg, "etcd host: refused");
    assert_int_equal(crs_fail_in(NULL, CEREUS_E_IO, "x"), CEREUS_E_IO);
}

static void fail_in_cuts_at_every_length(void **state)
{
    cereus_error *err = malloc(sizeof *err);
    for (int len = 480; len < 520; len++) {
        crs_fail(err, CEREUS_E_IO, "old");
        crs_fail_in(err, CEREUS_E_IO, "%0*d", len, 0);
        size_t whole = (size_t)len + 5; /* ": old" */
        assert_int_equal(strlen(err->msg), CRS_MIN(whole, sizeof err->msg - 1));
    }
    free(err);
}

static void every_status_has_a_name_a_text_and_a_code(void **state)
{
    for (int st = CEREUS_OK; st <= CEREUS_E_UNAVAILABLE; st++) {
        assert_int_equal(strncmp(cereus_status_name((cereus_status)st), "CEREUS_", 7), 0);
        assert_true(strlen(cereus_status_text((cereus_status)st)) > 0);
        assert_true(st == CEREUS_OK || strncmp(cereus_status_code((cereus_status)st), "PIT-", 4) == 0);
    }
    assert_string_equal(cereus_status_name(CEREUS_E_TIMEOUT), "CEREUS_E_TIMEOUT");
    assert_string_equal(cereus_status_code(CEREUS_E_TIMEOUT), "PIT-408");
    assert_string_equal(cereus_status_name((cereus_status)-1), "CEREUS_E_UNKNOWN");
    assert_string_equal(cereus_status_name((cereus_status)1000), "CEREUS_E_UNKNOWN");
    assert_string_equal(cereus_status_text((cereus_status)1000), "unknown status");
    assert_string_equal(cereus_status_code((cereus_status)1000), "PIT-000");
}

static void allocation_fails_exactly_at_the_wanted_call(void **state)
{
    crs_alloc_fail_at(3);
    void *a = crs_malloc(0), *b = crs_zalloc(8);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(crs_realloc(b, 100));
    b = crs_realloc(b, 100);
    assert_non_null(b);
    crs_free(a);
    crs_free(b);
    crs_alloc_fail_at(1);
    assert_null(crs_strdup("x"));
    crs_alloc_fail_at(1);
    crs_alloc_fail_at(0);
    char *text = crs_strndup("abcdef", 3);
    assert_string_equal(text, "abc");
    crs_free(text);
    crs_free(NULL);
}

static void numbers_of_three_bytes_survive_the_wire(void **state)
{
    static const uint32_t values[] = {0, 1, 255, 256, 65535, 65536, 0xffffff};
    for (size_t i = 0; i < CEREUS_COUNT(values); i++) {
        uint8_t *p = malloc(3);
        crs_put_u24(p, values[i]);
        assert_int_equal(crs_get_u24(p), values[i]);
        free(p);
    }
}

static void slices_are_equal_by_content(void **state)
{
    assert_true(crs_slice_eq(cereus_slice_str("ab"), cereus_slice_of("abc", 2)));
    assert_false(crs_slice_eq(cereus_slice_str("ab"), cereus_slice_str("ac")));
    assert_false(crs_slice_eq(cereus_slice_str("ab"), cereus_slice_str("abc")));
    assert_true(crs_slice_eq(cereus_slice_str(NULL), cereus_slice_str("")));
}

static void a_failed_assertion_says_what_and_where_and_ends_the_process(void **state)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        CRS_ASSERT(1 + 1 == 3);
        _exit(0);
    }
    close(ends[1]);
    char said[1000] = "";
    ssize_t n = read(ends[0], said, sizeof said - 1);
    assert_true(n > 0);
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(said, "assertion failed: 1 + 1 == 3"));
    assert_non_null(strstr(said, "test_base.c"));
}

TEST_MAIN(cmocka_unit_test(fail_fills_status_and_sentence_and_returns_the_status),
          cmocka_unit_test(fail_cuts_what_is_too_long), cmocka_unit_test(fail_in_puts_the_place_in_front),
          cmocka_unit_test(fail_in_cuts_at_every_length), cmocka_unit_test(every_status_has_a_name_a_text_and_a_code),
          cmocka_unit_test(allocation_fails_exactly_at_the_wanted_call),
          cmocka_unit_test(numbers_of_three_bytes_survive_the_wire), cmocka_unit_test(slices_are_equal_by_content),
          cmocka_unit_test(a_failed_assertion_says_what_and_where_and_ends_the_process))
