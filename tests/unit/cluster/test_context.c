/* tests/unit/cluster/test_context.c: the propagated context: what is taken, what is refused, what is sent. */
#include "test.h"

#include "cluster/cluster_priv.h"

static const char *check(const char *text, uint64_t *timeout_ms)
{
    uint8_t *exact = test_copy(text, strlen(text));
    const char *wrong = crs_meta_check(cereus_slice_of(exact, strlen(text)), timeout_ms);
    free(exact);
    return wrong;
}

static void a_context_says_how_long_its_caller_waits(void **state)
{
    static const struct {
        const char *text;
        uint64_t timeout_ms;
    } cases[] = {{"{}", UINT64_MAX},
                 {"{\"reqTimeout\":\"5s\"}", 5000},
                 {" { \"a\" : [ { } , 1 ] , \"reqTimeout\" : \"1m30.5s\" , \"b\" : null } ", 90500},
                 {"{\"reqTimeout\":\"300ms\",\"reqTimeout\":\"2s\"}", 2000},
                 {"{\"x\":{\"reqTimeout\":7}}", UINT64_MAX},
                 {"{\"reqTimeout\":\"0s\"}", 0},
                 {"{\"otel-span\":\"no object\"}", UINT64_MAX}};
    uint64_t timeout_ms;
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        const char *wrong = check(cases[i].text, &timeout_ms);
        if (wrong || timeout_ms != cases[i].timeout_ms)
            fail_msg("%s: %s", cases[i].text, wrong ? wrong : "another timeout");
    }
}

static void what_is_no_context_is_refused(void **state)
{
    static const char *const none[] = {"", "null"};
    static const char *const texts[] = {"[1]",
                                        "\"x\"",
                                        "7",
                                        "{",
                                        "{\"a\":",
                                        "{\"a\":1,}",
                                        "{} {}",
                                        "{}x",
                                        " null",
                                        "{a:1}",
                                        "{\"a\" 1}",
                                        "true",
                                        "{\"reqTimeout\":5}",
                                        "{\"reqTimeout\":\"5\"}",
                                        "{\"reqTimeout\":null}",
                                        "{\"reqTimeout\":\"-1s\"}",
                                        "{\"reqTimeout\":\"soon\"}",
                                        "{\"reqTimeout\":\"\"}",
                                        "{\"reqTimeout\":{}}",
                                        "{\"reqTimeout\":\"5\\u0073\"}"};
    uint64_t timeout_ms;
    for (size_t i = 0; i < CEREUS_COUNT(none); i++)
        assert_string_equal(check(none[i], &timeout_ms), "no context found");
    for (size_t i = 0; i < CEREUS_COUNT(texts); i++) {
        if (!check(texts[i], &timeout_ms))
            fail_msg("taken: %s", texts[i]);
    }
    char deep[1000];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    deep[999] = '\0';
    assert_non_null(check(deep, &timeout_ms));
}

static void each_prefix_and_each_changed_byte_is_taken_or_refused(void **state)
{
    static const char text[] = "{\"peer.id\":\"a\",\"reqTimeout\":\"5s\",\"n\":[1,{\"b\":\"\\u00e4\"}]}";
    uint64_t timeout_ms;
    for (size_t len = 0; len < strlen(text); len++) {
        uint8_t *exact = test_copy(text, len);
        assert_non_null(crs_meta_check(cereus_slice_of(exact, len), &timeout_ms));
        free(exact);
    }
    for (size_t i = 0; i < 8 * strlen(text); i++) {
        uint8_t *exact = test_copy(text, strlen(text));
        exact[i / 8] ^= (uint8_t)(1u << i % 8);
        if (!crs_meta_check(cereus_slice_of(exact, strlen(text)), &timeout_ms))
            assert_true(timeout_ms == UINT64_MAX || timeout_ms < 1000000);
        free(exact);
    }
}

static void a_forwarded_message_has_what_pitaya_sends(void **state)
{
    static char peer[] = "\"peer.id\":\"fe-1\",\"peer.service\":\"connector\"";
    static crs_cluster cluster = {.peer_json = peer};
    static crs_loop loop = {.random = 77};
    static crs_dispatch d = {.loop = &loop};
    crs_cluster_loop l = {.cluster = &cluster, .d = &d};
    crs_bytes out;
    crs_bytes_init(&out, 10000);
    assert_int_equal(crs_meta_of_message(&l, cereus_slice_str("room.room.echo"), 5000, &out), CEREUS_OK);
    assert_int_equal(crs_bytes_append_byte(&out, 0), CEREUS_OK);
    char id[30], first[30], tail[10];
    unsigned long long start;
    assert_int_equal(sscanf((char *)out.data,
                            "{\"peer.id\":\"fe-1\",\"peer.service\":\"connector\",\"req-route\":\"room.room.echo\","
                            "\"req-start-time\":%llu,\"reqTimeout\":\"5s\",\"request.id\":\"%22[0-9A-Za-z]%9s",
                            &start, first, tail),
                     3);
    assert_string_equal(tail, "\"}");
    assert_int_equal(strlen(first), 22);
    assert_in_range(start, 1500000000000000000u, UINT64_MAX); /* nanoseconds, 19 digits */
    out.len = 0;
    assert_int_equal(crs_meta_of_message(&l, cereus_slice_str("room.\"<\xc3\xa4.x"), 300, &out), CEREUS_OK);
    assert_int_equal(crs_bytes_append_byte(&out, 0), CEREUS_OK);
    assert_non_null(strstr((char *)out.data, "\"req-route\":\"room.\\\"\\u003c\xc3\xa4.x\","));
    assert_non_null(strstr((char *)out.data, "\"reqTimeout\":\"300ms\""));
    const char *at = strstr((char *)out.data, "\"request.id\":\"") + 14;
    snprintf(id, sizeof id, "%.22s", at);
    assert_string_not_equal(id, first);
    uint64_t timeout_ms;
    assert_null(crs_meta_check(cereus_slice_of(out.data, out.len - 1), &timeout_ms));
    crs_bytes_fini(&out);
}

TEST_MAIN(cmocka_unit_test(a_context_says_how_long_its_caller_waits), cmocka_unit_test(what_is_no_context_is_refused),
          cmocka_unit_test(each_prefix_and_each_changed_byte_is_taken_or_refused),
          cmocka_unit_test(a_forwarded_message_has_what_pitaya_sends))
