/* tests/unit/wire/test_handshake.c: recorded handshakes are in tests/conformance/codec; here is what those leave out.
 */
#include "test.h"

#include "wire/handshake.h"

#define EMPTY_SYS "{\"sys\":{\"platform\":\"\",\"libVersion\":\"\",\"clientBuildNumber\":\"\",\"clientVersion\":\"\"}"
#define PLATFORM(p) \
    "{\"sys\":{\"platform\":" p ",\"libVersion\":\"\",\"clientBuildNumber\":\"\",\"clientVersion\":\"\"}"

/* Parses an exact copy that is gone before the result is used, and prints; *ret_text is freed by the caller. */
static cereus_status parse_and_print(const char *json, size_t len, char **ret_text)
{
    crs_arena arena;
    crs_arena_init(&arena, 1 << 20);
    uint8_t *copy = test_copy(json, len);
    crs_handshake hs;
    cereus_status st = crs_handshake_parse(cereus_slice_of(copy, len), &arena, &hs);
    free(copy);
    *ret_text = NULL;
    if (!st) {
        crs_bytes out;
        crs_bytes_init(&out, 1 << 20);
        assert_int_equal(crs_handshake_print(&hs, &out), CEREUS_OK);
        *ret_text = strndup((const char *)out.data, out.len);
        crs_bytes_fini(&out);
    }
    crs_arena_fini(&arena);
    return st;
}

static void assert_prints(const char *json, const char *want)
{
    char *text;
    assert_int_equal(parse_and_print(json, strlen(json), &text), CEREUS_OK);
    assert_string_equal(text, want);
    free(text);
}

static void assert_refused(const char *json)
{
    char *text;
    assert_int_equal(parse_and_print(json, strlen(json), &text), CEREUS_E_MALFORMED);
}

static void handshake_members_are_optional_and_merge(void **state)
{
    assert_prints("{}", EMPTY_SYS "}");
    assert_prints(" null\n", EMPTY_SYS "}");
    assert_prints("{\"sys\":null,\"user\":null}", EMPTY_SYS "}");
    assert_prints("{\"sys\":{\"platform\":\"a\",\"platform\":null}}", PLATFORM("\"a\"") "}");
    assert_prints("{\"sys\":{\"platform\":\"a\"},\"sys\":null}", PLATFORM("\"a\"") "}");
    assert_prints("{\"sys\":{\"platform\":\"a\"},\"SYS\":{\"x\":[{}],\"Platform\":\"b\"}}", PLATFORM("\"b\"") "}");
}

static void handshake_names_match_as_go_folds_them(void **state)
{
    assert_prints("{\"\\u0073Ys\":{\"plat\\u0046orm\":\"a\"}}", PLATFORM("\"a\"") "}");
    assert_prints("{\"\xc5\xbfy\\u017f\":{\"platform\":\"a\"}}", PLATFORM("\"a\"") "}");
    assert_prints("{\"sys \":{\"platform\":1},\"sy\":1,\"syss\":2,\"\":3,\"s\\u0000ys\":4}", EMPTY_SYS "}");
    assert_prints("{\"sys\":{\"client_version\":1,\"clientVersion \":2}}", EMPTY_SYS "}");
}

static void handshake_user_objects_merge_and_the_last_of_equal_names_wins(void **state)
{
    assert_prints("{\"user\":{\"b\":1,\"a\":2,\"b\":3}}", EMPTY_SYS ",\"user\":{\"a\":2,\"b\":3}}");
    assert_prints("{\"user\":{\"a\":1},\"user\":{\"b\":2},\"user\":{ },\"user\":{\"a\":3,\"c\":{}}}",
                  EMPTY_SYS ",\"user\":{\"a\":3,\"b\":2,\"c\":{}}}");
    assert_prints("{\"user\":{ },\"user\":{\"b\":2}}", EMPTY_SYS ",\"user\":{\"b\":2}}");
    assert_prints("{\"user\":{\"a\":1},\"user\":null,\"user\":{\"b\":2}}", EMPTY_SYS ",\"user\":{\"b\":2}}");
    assert_prints("{\"user\":{\"a\":1},\"user\":{\"b\":1},\"user\":null}", EMPTY_SYS "}");
    assert_prints("{\"user\":{\"x\":{\"a\":1}},\"user\":{\"x\":{\"b\":1}}}", EMPTY_SYS ",\"user\":{\"x\":{\"b\":1}}}");
    assert_prints("{\"user\":{\"\":[],\"\\ud800\":1,\"\\ud801\":2}}",
                  EMPTY_SYS ",\"user\":{\"\":[],\"\xef\xbf\xbd\":2}}");
}

static void handshake_user_prints_as_go_would(void **state)
{
    assert_prints("{\"user\":{}}", EMPTY_SYS "}");
    assert_prints("{\"user\": { \"a\" : [ 1e3 , \"<&>\\u2028\\u0001\\/\" , null, true, {} ] } }",
                  EMPTY_SYS ",\"user\":{\"a\":[1000,\"\\u003c\\u0026\\u003e\\u2028\\u0001/\",null,true,{}]}}");
    assert_prints("{\"user\":{\"t\":\"\xff\xc3\"}}", EMPTY_SYS ",\"user\":{\"t\":\"\xef\xbf\xbd\xef\xbf\xbd\"}}");
}

static void handshake_refuses_wrong_types_and_broken_json(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "[]",
        "1",
        "true",
        "\"s\"",
        "nul",
        "nullx",
        "null null",
        "{} x",
        "{\"sys\":{},}",
        "{,}",
        "\xef\xbb\xbf{}",
        "{\"sys\":[]}",
        "{\"sys\":1}",
        "{\"sys\":{\"platform\":1}}",
        "{\"sys\":{\"platform\":{}}}",
        "{\"sys\":{\"platform\":nul}}",
        "{\"user\":[]}",
        "{\"user\":\"x\"}",
        "{\"user\":nulx}",
        "{\"user\":{\"n\":1e400}}",
        "{\"x\":01}",
        "{\"x\":\"\\u12\"}",
        "{\"sys\":{\"platform\":1},\"sys\":{\"platform\":\"a\"}}",
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++)
        assert_refused(bad[i]);
    assert_prints("{\"x\":1e400}", EMPTY_SYS "}"); /* nobody asked for that number */
}

static void handshake_refuses_every_prefix_and_survives_every_change(void **state)
{
    static const char json[] =
        "{\"sys\":{\"platform\":\"\\u00e9\",\"x\":null},\"user\":{\"a\":[1.5,true]},\"user\":{\"b\":{}}}";
    char *text;
    for (size_t len = 0; len < sizeof json - 1; len++)
        assert_int_equal(parse_and_print(json, len, &text), CEREUS_E_MALFORMED);
    for (size_t at = 0; at < sizeof json - 1; at++) {
        for (unsigned value = 0; value < 256; value++) {
            char changed[sizeof json];
            memcpy(changed, json, sizeof json);
            changed[at] = (char)value;
            cereus_status st = parse_and_print(changed, sizeof json - 1, &text);
            assert_true(st == CEREUS_OK || st == CEREUS_E_MALFORMED);
            free(text);
        }
    }
}

static void handshake_nests_64_deep_and_no_deeper(void **state)
{
    for (size_t depth = 60; depth <= 70; depth++) {
        static const char *const heads[] = {"{\"x\":", "{\"user\":{\"x\":", "{\"sys\":{\"x\":"};
        for (size_t i = 0; i < CEREUS_COUNT(heads); i++) {
            char json[256];
            size_t own = i == 0 ? 1 : 2, len = (size_t)sprintf(json, "%s", heads[i]);
            memset(json + len, '[', depth - own);
            memset(json + len + depth - own, ']', depth - own);
            memset(json + len + 2 * (depth - own), '}', own);
            char *text;
            assert_int_equal(parse_and_print(json, len + 2 * (depth - own) + own, &text),
                             depth <= 64 ? CEREUS_OK : CEREUS_E_MALFORMED);
            free(text);
        }
    }
}

static void handshake_strings_hold_no_nul(void **state)
{
    crs_arena arena;
    crs_arena_init(&arena, 1 << 16);
    crs_handshake hs;
    cereus_slice json = cereus_slice_str("{\"sys\":{\"clientVersion\":\"1.0\\u0000\\u0000x\"}}");
    assert_int_equal(crs_handshake_parse(json, &arena, &hs), CEREUS_OK);
    assert_string_equal(hs.client_version, "1.0??x");
    assert_string_equal(hs.platform, "");
    assert_null(hs.user.data);
    crs_arena_fini(&arena);
}

static void handshake_keeps_the_text_of_user(void **state)
{
    crs_arena arena;
    crs_arena_init(&arena, 1 << 16);
    crs_handshake hs;
    cereus_slice json = cereus_slice_str("{\"user\" : { \"n\" : 1e3,\"t\":\"\xff\" } }");
    assert_int_equal(crs_handshake_parse(json, &arena, &hs), CEREUS_OK);
    assert_true(crs_slice_eq(hs.user, cereus_slice_str("{ \"n\" : 1e3,\"t\":\"\xef\xbf\xbd\" }")));
    crs_arena_fini(&arena);
}

static void handshake_tells_when_memory_runs_out(void **state)
{
    static const char json[] = "{\"sys\":{\"platform\":\"\xff\"},\"user\":{\"a\":1},\"user\":{\"b\":[1,{}]}}";
    cereus_slice text = cereus_slice_str(json);
    crs_handshake hs = {0};
    crs_arena arena;
    crs_arena_init(&arena, 64);
    assert_int_equal(crs_handshake_parse(text, &arena, &hs), CEREUS_E_NOMEM);
    assert_null(hs.platform);
    crs_arena_fini(&arena);

    crs_arena_init(&arena, 1 << 16);
    crs_alloc_fail_at(1);
    assert_int_equal(crs_handshake_parse(text, &arena, &hs), CEREUS_E_NOMEM);
    assert_int_equal(crs_handshake_parse(text, &arena, &hs), CEREUS_OK);
    cereus_status st = CEREUS_E_NOMEM;
    for (size_t nth = 1; st; nth++) {
        crs_bytes out;
        crs_bytes_init(&out, 1 << 16);
        assert_int_equal(crs_bytes_append(&out, "old", 3), CEREUS_OK);
        crs_alloc_fail_at(nth);
        st = crs_handshake_print(&hs, &out);
        crs_alloc_fail_at(0);
        assert_true(st == CEREUS_OK || (st == CEREUS_E_NOMEM && out.len == 3));
        crs_bytes_fini(&out);
    }
    crs_arena_fini(&arena);
}

static void assert_answer(int code, const crs_route_dict *dict, uint64_t heartbeat_ms, const char *serializer,
                          const char *want)
{
    crs_bytes out;
    crs_bytes_init(&out, 1 << 16);
    assert_int_equal(crs_handshake_answer(code, dict, heartbeat_ms, serializer, NULL, &out), CEREUS_OK);
    assert_int_equal(out.len, 4 + strlen(want));
    assert_memory_equal(out.data, ((uint8_t[]){1, 0, 0, (uint8_t)strlen(want)}), 4);
    assert_memory_equal(out.data + 4, want, strlen(want));
    crs_bytes_fini(&out);
}

static void handshake_answer_is_byte_for_byte_gos(void **state)
{
    assert_answer(200, NULL, 30000, "json",
                  "{\"code\":200,\"sys\":{\"dict\":{},\"heartbeat\":30,\"serializer\":\"json\"}}");
    assert_answer(400, NULL, 500, "a\"b",
                  "{\"code\":400,\"sys\":{\"dict\":{},\"heartbeat\":0.5,\"serializer\":\"a\\\"b\"}}");
    assert_answer(200, NULL, 3600001, "x",
                  "{\"code\":200,\"sys\":{\"dict\":{},\"heartbeat\":3600.001,\"serializer\":\"x\"}}");
    assert_answer(200, NULL, 0, "x", "{\"code\":200,\"sys\":{\"dict\":{},\"heartbeat\":0,\"serializer\":\"x\"}}");
    crs_route_dict *dict = crs_route_dict_new();
    assert_int_equal(crs_route_dict_add(dict, cereus_slice_str("b"), 65535, NULL), CEREUS_OK);
    assert_int_equal(crs_route_dict_add(dict, cereus_slice_str("<a>"), 0, NULL), CEREUS_OK);
    assert_answer(200, dict, 10, "x",
                  "{\"code\":200,\"sys\":{\"dict\":{\"\\u003ca\\u003e\":0,\"b\":65535},\"heartbeat\":0.01,"
                  "\"serializer\":\"x\"}}");
    crs_route_dict_free(dict);
}

static void handshake_answer_is_deflated_only_when_that_is_shorter(void **state)
{
    crs_zlib *z = crs_zlib_new(-1);
    crs_route_dict *dict = crs_route_dict_new();
    crs_bytes out, raw;
    crs_bytes_init(&out, 1 << 16);
    assert_int_equal(crs_handshake_answer(200, dict, 30000, "json", z, &out), CEREUS_OK);
    assert_int_equal(out.len, 69); /* the default answer stays as it is */
    out.len = 0;

    for (uint16_t i = 0; i < 50; i++) {
        char name[32];
        snprintf(name, sizeof name, "connector.room.method%d", i);
        assert_int_equal(crs_route_dict_add(dict, cereus_slice_str(name), i, NULL), CEREUS_OK);
    }
    crs_bytes_init(&raw, 1 << 16);
    assert_int_equal(crs_handshake_answer(200, dict, 30000, "json", NULL, &raw), CEREUS_OK);
    assert_int_equal(crs_bytes_append(&out, "before", 6), CEREUS_OK);
    assert_int_equal(crs_handshake_answer(200, dict, 30000, "json", z, &out), CEREUS_OK);
    assert_memory_equal(out.data, "before\x01", 7);
    assert_memory_equal(out.data + 10, "\x78\x9c", 2);
    assert_int_equal(crs_get_u24(out.data + 7), out.len - 10);
    crs_bytes back;
    crs_bytes_init(&back, 1 << 16);
    assert_int_equal(crs_zlib_inflate(z, cereus_slice_of(out.data + 10, out.len - 10), &back), CEREUS_OK);
    assert_int_equal(back.len, raw.len - 4);
    assert_memory_equal(back.data, raw.data + 4, back.len);

    for (size_t nth = 1; nth < 4; nth++) {
        crs_bytes little;
        crs_bytes_init(&little, 1 << 16);
        crs_alloc_fail_at(nth);
        assert_int_equal(crs_handshake_answer(200, dict, 30000, "json", z, &little), CEREUS_E_NOMEM);
        crs_alloc_fail_at(0);
        assert_int_equal(little.len, 0);
        crs_bytes_fini(&little);
    }
    crs_bytes_fini(&back);
    crs_bytes_init(&back, 100);
    assert_int_equal(crs_handshake_answer(200, dict, 30000, "json", z, &back), CEREUS_E_TOO_LONG);
    crs_bytes_fini(&back);
    crs_bytes_fini(&raw);
    crs_bytes_fini(&out);
    crs_route_dict_free(dict);
    crs_zlib_free(z);
}

static void json_escape_is_gos(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", "\"\""},
        {"plain \x7f \xc3\xa9 \xf0\x9f\x98\x80 \xef\xbf\xbd", "\"plain \x7f \xc3\xa9 \xf0\x9f\x98\x80 \xef\xbf\xbd\""},
        {"\"\\/", "\"\\\"\\\\/\""},
        {"\b\f\n\r\t\v\x01\x1f", "\"\\b\\f\\n\\r\\t\\u000b\\u0001\\u001f\""},
        {"<&>", "\"\\u003c\\u0026\\u003e\""},
        {"\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", "\"\xe2\x80\xa7\\u2028\\u2029\xe2\x80\xaa\""},
        {"\xff\xe2\x80", "\"\\ufffd\\ufffd\\ufffd\""}};
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        size_t len = strlen(rows[i].text);
        uint8_t *exact = test_copy(rows[i].text, len);
        crs_bytes out;
        crs_bytes_init(&out, 200);
        assert_int_equal(crs_json_escape(cereus_slice_of(exact, len), &out), CEREUS_OK);
        assert_int_equal(out.len, strlen(rows[i].want));
        assert_memory_equal(out.data, rows[i].want, out.len);
        crs_bytes_fini(&out);
        crs_bytes_init(&out, strlen(rows[i].want) - 1);
        assert_int_equal(crs_json_escape(cereus_slice_of(exact, len), &out), CEREUS_E_TOO_LONG);
        assert_int_equal(out.len, 0);
        free(exact);
        crs_bytes_fini(&out);
    }
}

TEST_MAIN(cmocka_unit_test(handshake_members_are_optional_and_merge),
          cmocka_unit_test(handshake_names_match_as_go_folds_them),
          cmocka_unit_test(handshake_user_objects_merge_and_the_last_of_equal_names_wins),
          cmocka_unit_test(handshake_user_prints_as_go_would),
          cmocka_unit_test(handshake_refuses_wrong_types_and_broken_json),
          cmocka_unit_test(handshake_refuses_every_prefix_and_survives_every_change),
          cmocka_unit_test(handshake_nests_64_deep_and_no_deeper), cmocka_unit_test(handshake_strings_hold_no_nul),
          cmocka_unit_test(handshake_keeps_the_text_of_user), cmocka_unit_test(handshake_tells_when_memory_runs_out),
          cmocka_unit_test(handshake_answer_is_byte_for_byte_gos),
          cmocka_unit_test(handshake_answer_is_deflated_only_when_that_is_shorter),
          cmocka_unit_test(json_escape_is_gos))
