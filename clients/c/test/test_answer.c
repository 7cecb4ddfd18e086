/* clients/c/test/test_answer.c */
#include "test.h"

#include "answer.h"

static void answer_gives_dictionary_heartbeat_and_serializer(void **state)
{
    crs_client_answer a = {0};
    cereus_slice json = cereus_slice_str("{\"code\":200,\"sys\":{\"dict\":{\"a.b\":0,\" \":9,\"c\":65535},"
                                         "\"heartbeat\":0.5,\"serializer\":\"json\",\"more\":[1]},\"other\":1}");
    assert_int_equal(crs_client_answer_parse(json, &a, NULL), CEREUS_OK);
    assert_int_equal(crs_route_dict_count(a.dict), 2); /* the blank one is Q13 */
    assert_int_equal(a.heartbeat_ms, 500);
    assert_string_equal(a.serializer, "json");
    crs_route_dict_free(a.dict);
}

static void answer_may_be_short(void **state)
{
    crs_client_answer a = {0};
    assert_int_equal(crs_client_answer_parse(cereus_slice_str("{\"code\":200,\"sys\":{}}"), &a, NULL), CEREUS_OK);
    assert_int_equal(crs_route_dict_count(a.dict), 0);
    assert_int_equal(a.heartbeat_ms, 0);
    assert_string_equal(a.serializer, "json");
    crs_route_dict_free(a.dict);
}

static void answer_that_makes_no_sense_is_malformed(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "null",
        "{\"code\":\"200\"}",
        "{\"code\":200}",
        "{\"code\":200,\"sys\":[]}",
        "{\"code\":200,\"sys\":{\"heartbeat\":\"30\"}}",
        "{\"code\":200,\"sys\":{\"dict\":{\"a\":65536}}}",
        "{\"code\":200,\"sys\":{\"dict\":{\"a\":-1}}}",
        "{\"code\":200,\"sys\":{\"dict\":{\"a\":1.5}}}",
        "{\"code\":200,\"sys\":{\"dict\":{\"a\":1,\"b\":1}}}",
        "{\"code\":200,\"sys\":{\"serializer\":\"0123456789012345678901234567890123456789\"}}",
        "{\"code\":200,\"sys\":{}} x",
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        crs_client_answer a = {0};
        cereus_error err = {0};
        assert_int_equal(crs_client_answer_parse(cereus_slice_str(bad[i]), &a, &err), CEREUS_E_MALFORMED);
        assert_int_equal(err.status, CEREUS_E_MALFORMED);
        assert_null(a.dict);
    }
    crs_client_answer a = {0};
    assert_int_equal(crs_client_answer_parse(cereus_slice_str("{\"code\":501}"), &a, NULL), CEREUS_E_FAILED);
}

static void answer_survives_extreme_heartbeats(void **state)
{
    static const struct {
        const char *number;
        uint64_t ms;
    } cases[] = {{"-1", 0}, {"0", 0}, {"0.0001", 1}, {"1e300", 86400000}, {"null", 0}};
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        char json[100];
        snprintf(json, sizeof json, "{\"code\":200,\"sys\":{\"heartbeat\":%s}}", cases[i].number);
        crs_client_answer a = {0};
        assert_int_equal(crs_client_answer_parse(cereus_slice_str(json), &a, NULL), CEREUS_OK);
        assert_int_equal(a.heartbeat_ms, cases[i].ms);
        crs_route_dict_free(a.dict);
    }
}

static cereus_client_reply parse(const void *payload, size_t len, const char *serializer, crs_arena *arena)
{
    crs_arena_init(arena, 1 << 20);
    uint8_t *copy = test_copy(payload, len);
    cereus_client_reply reply = {0};
    crs_client_error_parse(cereus_slice_of(copy, len), serializer, arena, &reply);
    free(copy);
    return reply;
}

static const char protobuf_error[] = "\x0a\x07PIT-404"            /* code */
                                     "\x20\x05"                   /* a number nobody knows */
                                     "\x12\x02no"                 /* msg */
                                     "\x1a\x06\x0a\x01k\x12\x01v" /* metadata */
                                     "\x1a\x03\x0a\x01l"          /* without a value */
                                     "\x29\0\0\0\0\0\0\0\0"       /* fixed64 */
                                     "\x2d\0\0\0\0";              /* fixed32 */

static void protobuf_errors_are_understood(void **state)
{
    crs_arena arena;
    cereus_client_reply r = parse(protobuf_error, sizeof protobuf_error - 1, "protobuf", &arena);
    assert_string_equal(r.code, "PIT-404");
    assert_string_equal(r.msg, "no");
    assert_int_equal(r.metadata_count, 2);
    assert_string_equal(r.metadata[0].key, "k");
    assert_string_equal(r.metadata[0].value, "v");
    assert_string_equal(r.metadata[1].key, "l");
    assert_string_equal(r.metadata[1].value, "");
    crs_arena_fini(&arena);

    r = parse("", 0, "protobuf", &arena); /* protocol.md 10.1: an empty error is an empty body */
    assert_string_equal(r.code, "");
    assert_string_equal(r.msg, "");
    assert_int_equal(r.metadata_count, 0);
    crs_arena_fini(&arena);
}

static void errors_cut_or_changed_anywhere_are_safe_to_read(void **state)
{
    static const char json_error[] = "{\"code\":\"PIT-404\",\"msg\":\"no\",\"metadata\":{\"k\":\"v\"}}";
    const struct {
        const char *serializer;
        const char *text;
        size_t len;
    } kinds[] = {{"protobuf", protobuf_error, sizeof protobuf_error - 1}, {"json", json_error, sizeof json_error - 1}};
    for (size_t k = 0; k < CEREUS_COUNT(kinds); k++) {
        char changed[sizeof protobuf_error + sizeof json_error];
        memcpy(changed, kinds[k].text, kinds[k].len);
        for (size_t at = 0; at < kinds[k].len; at++) {
            crs_arena arena;
            cereus_client_reply r = parse(kinds[k].text, at, kinds[k].serializer, &arena);
            assert_non_null(r.code);
            assert_non_null(r.msg);
            crs_arena_fini(&arena);
            for (int value = 0; value < 256; value++) {
                changed[at] = (char)value;
                r = parse(changed, kinds[k].len, kinds[k].serializer, &arena);
                assert_non_null(r.code);
                crs_arena_fini(&arena);
            }
            changed[at] = kinds[k].text[at];
        }
    }
}

static void errors_in_unknown_formats_say_so(void **state)
{
    crs_arena arena;
    cereus_client_reply r = parse("<x>", 3, "xml", &arena);
    assert_string_equal(r.code, "PIT-000");
    crs_arena_fini(&arena);
    r = parse("[1]", 3, "json", &arena);
    assert_string_equal(r.code, "PIT-000");
    crs_arena_fini(&arena);
}

static void errors_keep_a_bounded_number_of_metadata(void **state)
{
    uint8_t many[2 * (CRS_CLIENT_METADATA_MAX + 10)];
    for (size_t i = 0; i < sizeof many; i++)
        many[i] = i % 2 ? 0 : 0x1a; /* entries without key and value */
    crs_arena arena;
    cereus_client_reply r = parse(many, sizeof many, "protobuf", &arena);
    assert_int_equal(r.metadata_count, CRS_CLIENT_METADATA_MAX);
    crs_arena_fini(&arena);
}

TEST_MAIN(cmocka_unit_test(answer_gives_dictionary_heartbeat_and_serializer), cmocka_unit_test(answer_may_be_short),
          cmocka_unit_test(answer_that_makes_no_sense_is_malformed),
          cmocka_unit_test(answer_survives_extreme_heartbeats), cmocka_unit_test(protobuf_errors_are_understood),
          cmocka_unit_test(errors_cut_or_changed_anywhere_are_safe_to_read),
          cmocka_unit_test(errors_in_unknown_formats_say_so),
          cmocka_unit_test(errors_keep_a_bounded_number_of_metadata))
