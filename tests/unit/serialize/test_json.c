/* The JSON serializer: what Go's encoding/json does with the same structs, and what a peer cannot do. */
#include "codec.h"

#include <math.h>
#include <pthread.h>

static const ProtobufCMessageDescriptor *const sink = &kitchen__sink__descriptor,
                                               *const old = &kitchen2__old__descriptor,
                                               *const tree = &kitchen__tree__descriptor;

static ProtobufCMessage *read_as(const ProtobufCMessageDescriptor *type, const char *text)
{
    ProtobufCMessage *msg = NULL;
    if (decode(&crs_serializer_json, type, text, strlen(text), &msg))
        fail_msg("%s: %s", text, error.msg);
    return msg;
}

static const char *write_text(const ProtobufCMessage *msg)
{
    return (const char *)encode(&crs_serializer_json, msg).data;
}

typedef struct trip {
    const char *in, *out;
} trip;

static void check_trips(const ProtobufCMessageDescriptor *type, const trip *trips, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ProtobufCMessage *msg = read_as(type, trips[i].in);
        assert_string_equal(write_text(msg), trips[i].out);
        assert_ways_agree(&crs_serializer_json, msg);
        assert_string_equal(write_text(read_as(type, trips[i].out)), trips[i].out);
    }
}

#define CHECK_TRIPS(type, ...)                           \
    do {                                                 \
        const trip trips_[] = {__VA_ARGS__};             \
        check_trips(type, trips_, CEREUS_COUNT(trips_)); \
    } while (0)

static void members_are_written_as_they_were_read(void **state)
{
    CHECK_TRIPS(
        sink,
        {"{\"i32\":-2147483648,\"s32\":-1,\"sf32\":2147483647,\"u32\":4294967295,\"f32\":1}",
         "{\"i32\":-2147483648,\"s32\":-1,\"sf32\":2147483647,\"u32\":4294967295,\"f32\":1}"},
        {"{\"i64\":-9223372036854775808,\"s64\":9223372036854775807,\"sf64\":-5,\"u64\":18446744073709551615,"
         "\"f64\":10000000000000000000}",
         "{\"i64\":-9223372036854775808,\"s64\":9223372036854775807,\"sf64\":-5,\"u64\":18446744073709551615,"
         "\"f64\":10000000000000000000}"},
        {"{\"real\":1.5,\"wide_real\":-1e-7,\"yes\":true,\"color\":7,\"text\":\"hi\",\"blob\":\"AAECAw==\"}",
         "{\"real\":1.5,\"wide_real\":-1e-7,\"yes\":true,\"color\":7,\"text\":\"hi\",\"blob\":\"AAECAw==\"}"},
        {"{\"point\":{\"x\":0.1,\"y\":2},\"numbers\":[1,-2,3],\"words\":[\"a\",\"\",\"c\"],\"points\":[{\"x\":1},"
         "{}],\"blobs\":[\"\",\"YQ==\"],\"flags\":[true,false],\"reals\":[0,1e21],\"colors\":[1,0,-1],"
         "\"unpacked\":[-1]}",
         "{\"point\":{\"x\":0.1,\"y\":2},\"numbers\":[1,-2,3],\"words\":[\"a\",\"\",\"c\"],\"points\":[{\"x\":1},"
         "{}],\"blobs\":[\"\",\"YQ==\"],\"flags\":[true,false],\"reals\":[0,1e+21],\"colors\":[1,0,-1],"
         "\"unpacked\":[-1]}"},
        {"{\"tree\":{\"id\":1,\"left\":{\"id\":2,\"left\":{}},\"kids\":[{\"id\":3},{\"kids\":[{}]}]}}",
         "{\"tree\":{\"id\":1,\"left\":{\"id\":2,\"left\":{}},\"kids\":[{\"id\":3},{\"kids\":[{}]}]}}"},
        {"{\"HTTPCode\":404}", "{\"HTTPCode\":404}"});
}

static void zero_values_are_left_out(void **state)
{
    CHECK_TRIPS(
        sink, {"{}", "{}"}, {"null", "{}"}, {" \t\r\n{ } \n", "{}"},
        {"{\"i32\":0,\"u64\":0,\"real\":0.0,\"wide_real\":-0.0,\"yes\":false,\"color\":0,\"text\":\"\",\"blob\":\"\","
         "\"numbers\":[],\"words\":[ ],\"labels\":{},\"i64\":-0}",
         "{}"},
        {"{\"point\":{}}", "{\"point\":{}}"}, {"{\"point\":null}", "{}"});
}

static void blanks_are_allowed_between_everything(void **state)
{
    CHECK_TRIPS(sink, {" { \"i32\" : 1 , \"numbers\"\t:\n[ 1 , 2 ] ,\"labels\" : { \"a\" : \"b\" , \"c\":\"d\" } } ",
                       "{\"i32\":1,\"numbers\":[1,2],\"labels\":{\"a\":\"b\",\"c\":\"d\"}}"});
}

static void names_match_exactly_or_in_camel_case_or_in_any_case(void **state)
{
    CHECK_TRIPS(sink, {"{\"wideReal\":2}", "{\"wide_real\":2}"}, {"{\"wide_real\":2}", "{\"wide_real\":2}"},
                {"{\"WIDE_REAL\":2}", "{\"wide_real\":2}"}, {"{\"widereal\":2}", "{\"wide_real\":2}"},
                {"{\"WideReal\":2}", "{\"wide_real\":2}"}, {"{\"Text\":\"a\"}", "{\"text\":\"a\"}"},
                {"{\"te\\u0078t\":\"a\"}", "{\"text\":\"a\"}"}, {"{\"httpcode\":1}", "{\"HTTPCode\":1}"},
                {"{\"votesBySide\":{\"true\":1}}", "{\"votes_by_side\":{\"true\":1}}"},
                {"{\"wide__real\":2,\"wide_rea\":2,\"wide_reall\":1,\"widerealx\":1,\"wide\":1,\"w\":1,\"\":1}", "{}"},
                {"{\"text\\u0000\":\"a\",\"\\u0000text\":1}", "{}"});
    CHECK_TRIPS(&kitchen__test_request__descriptor, {"{\"MSG\":\"a\"}", "{\"msg\":\"a\"}"});
}

static void unknown_members_are_skipped_whatever_they_hold(void **state)
{
    CHECK_TRIPS(sink,
                {"{\"zzz\":1,\"a\":[],\"b\":{},\"c\":[[],{\"text\":\"no\"},-1.5e9,true,false,null,\"\\u0000\\ud800\"],"
                 "\"d\":{\"x\":{\"y\":[1]},\"\":0},\"text\":\"yes\"}",
                 "{\"text\":\"yes\"}"});
}

static void order_of_members_does_not_matter(void **state)
{
    CHECK_TRIPS(sink, {"{\"text\":\"a\",\"i32\":1,\"numbers\":[5],\"yes\":true,\"f32\":2}",
                       "{\"i32\":1,\"f32\":2,\"yes\":true,\"text\":\"a\",\"numbers\":[5]}"});
}

static void members_come_out_in_the_order_of_the_file(void **state)
{
    CHECK_TRIPS(&kitchen__shuffled__descriptor,
                {"{\"first\":\"f\",\"middle\":5,\"last\":9}", "{\"last\":9,\"first\":\"f\",\"middle\":5}"});
}

static void of_duplicates_the_last_wins_and_objects_merge(void **state)
{
    CHECK_TRIPS(sink, {"{\"i32\":1,\"i32\":2}", "{\"i32\":2}"}, {"{\"i32\":1,\"I32\":2}", "{\"i32\":2}"},
                {"{\"i32\":1,\"i32\":null}", "{\"i32\":1}"},
                {"{\"numbers\":[1,2],\"numbers\":[3]}", "{\"numbers\":[3]}"},
                {"{\"numbers\":[1,2],\"numbers\":null}", "{}"},
                {"{\"point\":{\"x\":1,\"y\":2},\"point\":{\"y\":3}}", "{\"point\":{\"x\":1,\"y\":3}}"},
                {"{\"point\":{\"x\":1},\"point\":null}", "{}"},
                {"{\"labels\":{\"a\":\"1\",\"b\":\"2\"},\"labels\":{\"b\":\"3\",\"c\":\"4\"}}",
                 "{\"labels\":{\"a\":\"1\",\"b\":\"3\",\"c\":\"4\"}}"});
}

static void maps_are_objects_with_sorted_keys(void **state)
{
    CHECK_TRIPS(
        sink,
        {"{\"labels\":{\"b\":\"2\",\"a\":\"1\",\"b\":\"3\",\"\":null,\"\\u00e9\":\"\"}}",
         "{\"labels\":{\"\":\"\",\"a\":\"1\",\"b\":\"3\",\"\u00e9\":\"\"}}"},
        {"{\"places\":{\"9\":{\"x\":1},\"10\":{},\"-1\":null}}", "{\"places\":{\"-1\":{},\"10\":{},\"9\":{\"x\":1}}}"},
        {"{\"votes_by_side\":{\"true\":18446744073709551615,\"false\":\"3\"}}",
         "{\"votes_by_side\":{\"false\":3,\"true\":18446744073709551615}}"});
}

static void large_maps_are_sorted_too(void **state)
{
    enum { COUNT = 1000 };
    crs_bytes in, want;
    crs_bytes_init(&in, 1 << 20);
    crs_bytes_init(&want, 1 << 20);
    assert_int_equal(crs_bytes_append_str(&in, "{\"labels\":{"), 0);
    assert_int_equal(crs_bytes_append_str(&want, "{\"labels\":{"), 0);
    for (int i = 0; i < COUNT; i++) {
        const char *comma = i ? "," : "";
        assert_int_equal(crs_bytes_printf(&in, "%s\"k%03d\":\"%d\"", comma, i * 617 % COUNT, i), 0);
    }
    for (int k = 0; k < COUNT; k++) {
        int i = 0;
        while (i * 617 % COUNT != k)
            i++;
        assert_int_equal(crs_bytes_printf(&want, "%s\"k%03d\":\"%d\"", k ? "," : "", k, i), 0);
    }
    assert_int_equal(crs_bytes_append(&in, "}}", 3), 0);
    assert_int_equal(crs_bytes_append(&want, "}}", 3), 0);
    Kitchen__Sink *msg = (Kitchen__Sink *)read_as(sink, (const char *)in.data);
    assert_string_equal(write_text(&msg->base), (const char *)want.data);
    /* a handler's own map comes in any order */
    for (size_t i = 0; i < COUNT / 2; i++) {
        Kitchen__Sink__LabelsEntry *swap = msg->labels[i];
        msg->labels[i] = msg->labels[COUNT - 1 - i];
        msg->labels[COUNT - 1 - i] = swap;
    }
    assert_string_equal(write_text(&msg->base), (const char *)want.data);
    crs_bytes_fini(&in);
    crs_bytes_fini(&want);
}

static void a_oneof_holds_its_last_member_even_when_zero(void **state)
{
    CHECK_TRIPS(sink, {"{\"name\":\"\"}", "{\"name\":\"\"}"}, {"{\"number\":0}", "{\"number\":0}"},
                {"{\"spot\":{}}", "{\"spot\":{}}"}, {"{\"number\":5,\"spot\":{\"x\":1}}", "{\"spot\":{\"x\":1}}"},
                {"{\"spot\":{\"x\":1},\"number\":7}", "{\"number\":7}"},
                {"{\"name\":\"a\",\"spot\":{\"x\":1}}", "{\"spot\":{\"x\":1}}"},
                {"{\"spot\":{\"x\":1},\"spot\":{\"y\":1}}", "{\"spot\":{\"x\":1,\"y\":1}}"},
                {"{\"spot\":{\"x\":1},\"spot\":null}", "{}"}, {"{\"name\":\"a\",\"spot\":null}", "{\"name\":\"a\"}"});
}

static void null_elements_are_zero_values(void **state)
{
    CHECK_TRIPS(sink, {"{\"numbers\":[null,1],\"words\":[null],\"points\":[null],\"blobs\":[null],\"reals\":[null]}",
                       "{\"numbers\":[0,1],\"words\":[\"\"],\"points\":[{}],\"blobs\":[\"\"],\"reals\":[0]}"});
}

static void wide_integers_may_come_as_strings(void **state)
{
    CHECK_TRIPS(sink, {"{\"i64\":\"-9223372036854775808\",\"u64\":\"18446744073709551615\",\"unpacked\":[\"7\",8]}",
                       "{\"i64\":-9223372036854775808,\"u64\":18446744073709551615,\"unpacked\":[7,8]}"});
}

static void enums_come_by_number_or_name(void **state)
{
    CHECK_TRIPS(sink,
                {"{\"color\":\"BLUE\",\"colors\":[\"NONE\",\"BELOW\",99]}", "{\"color\":7,\"colors\":[0,-1,99]}"});
}

static void strings_are_escaped_as_go_does(void **state)
{
    CHECK_TRIPS(sink,
                {"{\"text\":\"\\u003ca href=\\\"x\\\">&'\u00e9\u2028\U0001f600</a>\\\\\\/\\n\\t\\u0001\x7f\"}",
                 "{\"text\":\"\\u003ca "
                 "href=\\\"x\\\"\\u003e\\u0026'\u00e9\\u2028\U0001f600\\u003c/a\\u003e\\\\/\\n\\t\\u0001\x7f\"}"},
                {"{\"text\":\"\\b\\f\\r\\u001f\\u2029\\uD83D\\uDE00\\u00E9\"}",
                 "{\"text\":\"\\b\\f\\r\\u001f\\u2029\U0001f600\u00e9\"}"},
                {"{\"text\":\"12345678\\\"2345678<2345678\\\\2345678\\n\"}",
                 "{\"text\":\"12345678\\\"2345678\\u003c2345678\\\\2345678\\n\"}"});
}

static void what_is_not_utf8_is_replaced_byte_by_byte(void **state)
{
    CHECK_TRIPS(sink, {"{\"text\":\"bad \xff\xfe utf8\"}", "{\"text\":\"bad \ufffd\ufffd utf8\"}"},
                {"{\"text\":\"\xe2\x82\"}", "{\"text\":\"\ufffd\ufffd\"}"},
                {"{\"text\":\"\xed\xa0\x80\"}", "{\"text\":\"\ufffd\ufffd\ufffd\"}"},
                {"{\"text\":\"a\\ud800b\\udc00\\ud800\\u0041\\ud800\\ud83d\\ude00\\ud800\"}",
                 "{\"text\":\"a\ufffdb\ufffd\ufffdA\ufffd\U0001f600\ufffd\"}"});
    Kitchen__TestRequest req = KITCHEN__TEST_REQUEST__INIT;
    req.msg = (char *)"bad \xff\xfe utf8\xe2\x80";
    assert_string_equal(write_text(&req.base), "{\"msg\":\"bad \\ufffd\\ufffd utf8\\ufffd\\ufffd\"}");
}

static void a_long_string_of_any_kind_survives(void **state)
{
    for (size_t len = 0; len < 3000; len += len < 40 ? 1 : 371) {
        char text[3001], doc[3100];
        for (size_t i = 0; i < len; i++)
            text[i] = (char)(i % 17 == 16 ? '\x01' : 'a' + (char)(i % 26));
        text[len] = '\0';
        Kitchen__TestRequest req = KITCHEN__TEST_REQUEST__INIT, *back;
        req.msg = text;
        assert_ways_agree(&crs_serializer_json, &req.base);
        back = (Kitchen__TestRequest *)read_as(&kitchen__test_request__descriptor, write_text(&req.base));
        assert_string_equal(back->msg, text);
        memset(text, 'x', len);
        snprintf(doc, sizeof doc, "{\"msg\":\"%s\"}", text);
        back = (Kitchen__TestRequest *)read_as(&kitchen__test_request__descriptor, doc);
        assert_string_equal(back->msg, text);
    }
}

static void bytes_are_base64_of_any_length(void **state)
{
    uint8_t bytes[1500];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + i / 256);
    for (size_t len = 1; len < sizeof bytes; len += len < 20 ? 1 : 499) {
        Kitchen__Sink msg = KITCHEN__SINK__INIT;
        msg.blob = (ProtobufCBinaryData){.len = len, .data = bytes};
        assert_ways_agree(&crs_serializer_json, &msg.base);
        Kitchen__Sink *back = (Kitchen__Sink *)read_as(sink, write_text(&msg.base));
        assert_int_equal(back->blob.len, len);
        assert_memory_equal(back->blob.data, bytes, len);
    }
    CHECK_TRIPS(sink, {"{\"blob\":\"YW\\nJj\\r\\n\"}", "{\"blob\":\"YWJj\"}"},
                {"{\"blob\":\"+\\/+\\/\"}", "{\"blob\":\"+/+/\"}"});
}

static void proto2_fields_are_written_when_they_are_there(void **state)
{
    CHECK_TRIPS(
        old, {"{\"id\":0,\"name\":\"\"}", "{\"id\":0,\"name\":\"\"}"},
        {"{\"id\":1,\"name\":\"n\",\"greeting\":\"\",\"count\":0,\"blob\":\"\",\"plain\":\"\",\"on\":false}",
         "{\"id\":1,\"name\":\"n\",\"greeting\":\"\",\"count\":0,\"blob\":\"\",\"plain\":\"\",\"on\":false}"},
        {"{\"id\":1,\"name\":\"n\",\"greeting\":\"a\",\"greeting\":null,\"count\":1,\"count\":null,\"plain\":\"a\","
         "\"plain\":null}",
         "{\"id\":1,\"name\":\"n\"}"},
        {"{\"id\":1,\"name\":\"n\",\"inner\":{\"id\":2,\"name\":\"m\"},\"packed\":[1]}",
         "{\"id\":1,\"name\":\"n\",\"packed\":[1],\"inner\":{\"id\":2,\"name\":\"m\"}}"});
    Kitchen2__Old *msg = (Kitchen2__Old *)read_as(old, "{\"id\":1,\"name\":\"n\"}");
    assert_string_equal(msg->greeting, "hello");
    assert_int_equal(msg->count, 5);
    assert_false(msg->has_count);
}

static void names_are_written_in_camel_case_on_demand(void **state)
{
    ProtobufCMessage *msg =
        read_as(sink, "{\"wide_real\":1,\"votes_by_side\":{\"true\":1},\"point\":{\"x\":1},\"i32\":3}");
    assert_string_equal((const char *)encode(&crs_serializer_json_camel, msg).data,
                        "{\"i32\":3,\"wideReal\":1,\"point\":{\"x\":1},\"votesBySide\":{\"true\":1}}");
    assert_ways_agree(&crs_serializer_json_camel, msg);
    assert_string_equal(crs_serializer_json_camel.name, "json");
}

static void numbers_are_read_exactly(void **state)
{
    static const struct {
        const char *text;
        double wide;
        float single;
    } numbers[] = {
        {"0", 0, 0},
        {"-0", -0.0, -0.0f},
        {"1", 1, 1},
        {"0.1", 0.1, 0.1f},
        {"-12.5e-1", -1.25, -1.25f},
        {"1E5", 1e5, 1e5f},
        {"1e+5", 1e5, 1e5f},
        {"123456789012345678", 123456789012345678.0, 123456789012345678.0f},
        {"9007199254740993", 9007199254740992.0, 9007199254740992.0f},
        {"9007199254740993.0000000000000000000000000000000000001", 9007199254740994.0, 9007199254740992.0f},
        {"0.000000000000000000000000000000000000000000001", 1e-45, 1e-45f},
        {"3.4028234663852886e38", 3.4028234663852886e38, 3.4028234663852886e38f},
        {"1.00000017881393421514957253748434595763683319091796875", 1.000000178813934215149572537484346, 1.0000001f},
        {"1.00000017881393432617187499", 1.00000017881393432617187499, 1.0000001f},
        {"1.00000017881393432617187500", 1.000000178813934326171875, 1.0000002f},
        {"1.00000017881393432617187501", 1.00000017881393432617187501, 1.0000002f},
        {"1e-400", 0, 0},
        {"0e999999999999", 0, 0}};
    for (size_t i = 0; i < CEREUS_COUNT(numbers); i++) {
        char doc[256];
        snprintf(doc, sizeof doc, "{\"real\":%s,\"wide_real\":%s}", numbers[i].text, numbers[i].text);
        Kitchen__Sink *msg = (Kitchen__Sink *)read_as(sink, doc);
        assert_memory_equal(&msg->wide_real, &numbers[i].wide, sizeof(double));
        assert_memory_equal(&msg->real, &numbers[i].single, sizeof(float));
    }
}

static void a_number_of_a_thousand_digits_is_a_number(void **state)
{
    char doc[1200] = "{\"wide_real\":0.";
    size_t len = strlen(doc);
    memset(doc + len, '3', 1100);
    strcpy(doc + len + 1100, "}");
    Kitchen__Sink *msg = (Kitchen__Sink *)read_as(sink, doc);
    assert_true(msg->wide_real == 1.0 / 3);
}

static void bad_documents_are_refused_with_a_reason(void **state)
{
    static const struct {
        const char *in, *why;
    } bad[] = {
        {"", "json: ends where an object should be (offset 0)"},
        {"  ", "json: ends where an object should be (offset 2)"},
        {"[]", "json: an array where an object should be (offset 0)"},
        {"5", "json: a number where an object should be (offset 0)"},
        {"\"x\"", "json: a string where an object should be (offset 0)"},
        {"true", "json: a bool where an object should be (offset 0)"},
        {"nul", "json: 'n' where an object should be (offset 0)"},
        {"\xef\xbb\xbf{}", "json: byte 0xef where an object should be (offset 0)"},
        {"{bad", "json: 'b' where the name of a member should be (offset 1)"},
        {"{} {}", "json: an object where the end should be (offset 3)"},
        {"{},", "json: ',' where the end should be (offset 2)"},
        {"nullx", "json: 'x' where the end should be (offset 4)"},
        {"{", "json: ends where the name of a member should be (offset 1)"},
        {"{,}", "json: ',' where the name of a member should be (offset 1)"},
        {"{\"i32\":1,}", "json: '}' where the name of a member should be (offset 9)"},
        {"{\"i32\" 1}", "json: a number where ':' should be (offset 7)"},
        {"{\"i32\":1 \"u32\":2}", "json: a string where ',' or '}' should be (offset 9)"},
        {"{\"i32\":1]", "json: ']' where ',' or '}' should be (offset 8)"},
        {"{\"i32\":3.5}", "json: field \"i32\": 3.5 is not an int32 (offset 7)"},
        {"{\"i32\":1e3}", "json: field \"i32\": 1e3 is not an int32 (offset 7)"},
        {"{\"i32\":2147483648}", "json: field \"i32\": 2147483648 is not an int32 (offset 7)"},
        {"{\"i32\":-2147483649}", "json: field \"i32\": -2147483649 is not an int32 (offset 7)"},
        {"{\"i32\":\"1\"}", "json: field \"i32\": a string where an int32 should be (offset 7)"},
        {"{\"i32\":01}", "json: field \"i32\": a malformed number (offset 7)"},
        {"{\"i32\":-}", "json: field \"i32\": a malformed number (offset 7)"},
        {"{\"i32\":+1}", "json: field \"i32\": '+' where an int32 should be (offset 7)"},
        {"{\"i32\":1.}", "json: field \"i32\": a malformed number (offset 7)"},
        {"{\"i32\":[1]}", "json: field \"i32\": an array where an int32 should be (offset 7)"},
        {"{\"i32\":tru}", "json: field \"i32\": 't' where an int32 should be (offset 7)"},
        {"{\"u32\":-1}", "json: field \"u32\": -1 is not a uint32 (offset 7)"},
        {"{\"u32\":-0}", "json: field \"u32\": -0 is not a uint32 (offset 7)"},
        {"{\"u32\":4294967296}", "json: field \"u32\": 4294967296 is not a uint32 (offset 7)"},
        {"{\"i64\":9223372036854775808}", "json: field \"i64\": 9223372036854775808 is not an int64 (offset 7)"},
        {"{\"u64\":18446744073709551616}", "json: field \"u64\": 18446744073709551616 is not a uint64 (offset 7)"},
        {"{\"u64\":99999999999999999999999999999999999999999999}",
         "json: field \"u64\": 9999999999999999999999999999999999999999... is not a uint64 (offset 7)"},
        {"{\"i64\":\"\"}", "json: field \"i64\": a string where an int64 should be (offset 7)"},
        {"{\"i64\":\"1 \"}", "json: field \"i64\": a string where an int64 should be (offset 7)"},
        {"{\"i64\":\"1.5\"}", "json: field \"i64\": 1.5 is not an int64 (offset 8)"},
        {"{\"real\":1e39}", "json: field \"real\": 1e39 is not a float (offset 8)"},
        {"{\"wide_real\":-1e309}", "json: field \"wide_real\": -1e309 is not a double (offset 13)"},
        {"{\"wide_real\":NaN}", "json: field \"wide_real\": 'N' where a number should be (offset 13)"},
        {"{\"wide_real\":.5}", "json: field \"wide_real\": '.' where a number should be (offset 13)"},
        {"{\"wide_real\":1e}", "json: field \"wide_real\": a malformed number (offset 13)"},
        {"{\"wide_real\":\"1\"}", "json: field \"wide_real\": a string where a number should be (offset 13)"},
        {"{\"yes\":1}", "json: field \"yes\": a number where a bool should be (offset 7)"},
        {"{\"yes\":\"true\"}", "json: field \"yes\": a string where a bool should be (offset 7)"},
        {"{\"color\":\"GREEN\"}",
         "json: field \"color\": an unknown name where the number or name of an enum value should be (offset 9)"},
        {"{\"color\":1.5}", "json: field \"color\": 1.5 is not the number or name of an enum value (offset 9)"},
        {"{\"text\":5}", "json: field \"text\": a number where a string should be (offset 8)"},
        {"{\"text\":\"abc", "json: field \"text\": a string without its end (offset 8)"},
        {"{\"text\":\"a\\", "json: field \"text\": an unknown escape in a string (offset 10)"},
        {"{\"text\":\"\\x\"}", "json: field \"text\": an unknown escape in a string (offset 9)"},
        {"{\"text\":\"\\u12g4\"}", "json: field \"text\": an unknown escape in a string (offset 9)"},
        {"{\"text\":\"\\u12", "json: field \"text\": an unknown escape in a string (offset 9)"},
        {"{\"text\":\"a\nb\"}", "json: field \"text\": a control character in a string (offset 10)"},
        {"{\"text\":\"a\\u0000b\"}",
         "json: field \"text\": a string with \\u0000, which C strings cannot hold (offset 8)"},
        {"{\"labels\":{\"\\u0000\":\"\"}}",
         "json: field \"labels\": a string with \\u0000, which C strings cannot hold (offset 11)"},
        {"{\"blob\":\"YQ=\"}", "json: field \"blob\": a string that is not base64 (offset 8)"},
        {"{\"blob\":\"YQ\"}", "json: field \"blob\": a string that is not base64 (offset 8)"},
        {"{\"blob\":\"YQ==YQ==\"}", "json: field \"blob\": a string that is not base64 (offset 8)"},
        {"{\"blob\":\"Y===\"}", "json: field \"blob\": a string that is not base64 (offset 8)"},
        {"{\"blob\":\"====\"}", "json: field \"blob\": a string that is not base64 (offset 8)"},
        {"{\"blob\":\"Y_-A\"}", "json: field \"blob\": a string that is not base64 (offset 8)"},
        {"{\"numbers\":5}", "json: field \"numbers\": a number where an array should be (offset 11)"},
        {"{\"numbers\":[1,2,x]}", "json: field \"numbers[2]\": 'x' where an int32 should be (offset 16)"},
        {"{\"numbers\":[1,]}", "json: field \"numbers[1]\": ']' where an int32 should be (offset 14)"},
        {"{\"numbers\":[1}", "json: field \"numbers\": '}' where ',' or ']' should be (offset 13)"},
        {"{\"point\":[]}", "json: field \"point\": an array where an object should be (offset 9)"},
        {"{\"points\":[{},{\"x\":\"\"}]}",
         "json: field \"points[1].x\": a string where a number should be (offset 19)"},
        {"{\"tree\":{\"left\":{\"id\":true}}}",
         "json: field \"tree.left.id\": a bool where an int32 should be (offset 22)"},
        {"{\"labels\":[]}", "json: field \"labels\": an array where an object should be (offset 10)"},
        {"{\"labels\":{\"a\":1}}", "json: field \"labels\": a number where a string should be (offset 15)"},
        {"{\"places\":{\"x\":{}}}", "json: field \"places\": 'x' where an int32 should be (offset 12)"},
        {"{\"places\":{\"1x\":{}}}", "json: field \"places\": a key that is not of the map's type (offset 11)"},
        {"{\"places\":{\"\":{}}}", "json: field \"places\": a key that is not of the map's type (offset 11)"},
        {"{\"places\":{1:{}}}", "json: field \"places\": a number where a string should be (offset 11)"},
        {"{\"votes_by_side\":{\"maybe\":1}}", "json: field \"votes_by_side\": 'm' where a bool should be (offset 19)"},
        {"{\"zzz\":01}", "json: a malformed number (offset 7)"},
        {"{\"zzz\":[1 2]}", "json: a number where ',' or ']' should be (offset 10)"},
        {"{\"zzz\":{\"a\"}}", "json: '}' where ':' should be (offset 11)"},
        {"{\"zzz\":\"\\q\"}", "json: an unknown escape in a string (offset 8)"},
        {"{\"zzz\":truE}", "json: 't' where a value should be (offset 7)"},
        {"{\"zzz\":}", "json: '}' where a value should be (offset 7)"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        ProtobufCMessage *msg = NULL;
        if (decode(&crs_serializer_json, sink, bad[i].in, strlen(bad[i].in), &msg) != CEREUS_E_MALFORMED)
            fail_msg("%s: not refused", bad[i].in);
        assert_string_equal(error.msg, bad[i].why);
        assert_null(msg);
        /* and nobody has to want to know why */
        assert_int_equal(crs_serializer_json.decode(sink, cereus_slice_str(bad[i].in), arena_alloc, &arena, &msg, NULL),
                         CEREUS_E_MALFORMED);
    }
}

static void required_members_must_be_there(void **state)
{
    ProtobufCMessage *msg;
    static const char doc[] = "{\"id\":1,\"name\":\"n\",\"inner\":{\"id\":2}}";
    assert_int_equal(decode(&crs_serializer_json, old, doc, strlen(doc), &msg), CEREUS_E_MALFORMED);
    assert_string_equal(error.msg, "json: field \"inner\": the required member \"name\" is missing (offset 27)");
}

static void a_long_path_is_cut_at_its_front(void **state)
{
    char doc[1024] = "";
    for (int i = 0; i < 40; i++)
        strcat(doc, "{\"left\":");
    strcat(doc, "5");
    ProtobufCMessage *msg;
    assert_int_equal(decode(&crs_serializer_json, tree, doc, strlen(doc), &msg), CEREUS_E_MALFORMED);
    assert_non_null(strstr(error.msg, "left.left\": a number where an object should be (offset 320)"));
    assert_true(strlen(error.msg) < 200);
}

static void nesting_has_a_limit(void **state)
{
    static const struct {
        const char *open, *close;
    } shapes[] = {{"{\"left\":", "}"}, {"{\"zzz\":", "}"}};
    for (size_t i = 0; i < CEREUS_COUNT(shapes); i++) {
        for (int depth = 62; depth <= 66; depth++) {
            char doc[2048] = "";
            for (int k = 0; k < depth - 1; k++)
                strcat(doc, shapes[i].open);
            strcat(doc, "{}");
            for (int k = 0; k < depth - 1; k++)
                strcat(doc, shapes[i].close);
            ProtobufCMessage *msg;
            cereus_status st = decode(&crs_serializer_json, tree, doc, strlen(doc), &msg);
            assert_int_equal(st, depth <= 64 ? CEREUS_OK : CEREUS_E_MALFORMED);
            if (st)
                assert_non_null(strstr(error.msg, "nested deeper than 64"));
            else
                assert_ways_agree(&crs_serializer_json, msg);
        }
    }
    char *deep = malloc(1 << 20);
    memset(deep, '[', 1 << 20);
    memcpy(deep, "{\"zzz\":", 7);
    ProtobufCMessage *msg;
    assert_int_equal(decode(&crs_serializer_json, tree, deep, 1 << 20, &msg), CEREUS_E_MALFORMED);
    free(deep);
}

/* On a stack of half a fiber's: decode as deep as it goes, both ways that recurse most, and encode again. */
static void *deepest(void *user)
{
    char doc[2048] = "{\"tree\":";
    for (int i = 0; i < 31; i++)
        strcat(doc, "{\"kids\":[");
    strcat(doc, "{}");
    for (int i = 0; i < 31; i++)
        strcat(doc, "]}");
    strcat(doc, "}");
    ProtobufCMessage *msg = NULL;
    crs_bytes out;
    crs_bytes_init(&out, 1 << 16);
    bool ok = crs_serializer_json.decode(sink, cereus_slice_str(doc), arena_alloc, &arena, &msg, NULL) == CEREUS_OK &&
              crs_serializer_json.encode(msg, append_bytes, &out, NULL) == CEREUS_OK && out.len == strlen(doc) &&
              memcmp(out.data, doc, out.len) == 0;
    out.len = 0;
    ok = ok && crs_serializer_protobuf.encode(msg, append_bytes, &out, NULL) == CEREUS_OK &&
         crs_serializer_protobuf.decode(sink, crs_bytes_slice(&out), arena_alloc, &arena, &msg, NULL) == CEREUS_OK;
    memset(doc, '[', sizeof doc);
    memcpy(doc, "{\"zzz\":", 7);
    ok = ok && crs_serializer_json.decode(sink, cereus_slice_of(doc, sizeof doc), arena_alloc, &arena, &msg, &error) ==
                   CEREUS_E_MALFORMED;
    crs_bytes_fini(&out);
    *(bool *)user = ok;
    return NULL;
}

static void the_deepest_message_fits_on_a_small_stack(void **state)
{
#ifdef __SANITIZE_ADDRESS__
    size_t stack = 512 * 1024; /* the sanitizer puts space around everything */
#else
    size_t stack = 32 * 1024;
#endif
    pthread_attr_t attr;
    pthread_t thread;
    bool ok = false;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, stack), 0);
    assert_int_equal(pthread_create(&thread, &attr, deepest, &ok), 0);
    pthread_attr_destroy(&attr);
    pthread_join(thread, NULL);
    assert_true(ok);
}

static void a_message_that_contains_itself_is_refused(void **state)
{
    Kitchen__Tree loop = KITCHEN__TREE__INIT;
    loop.left = &loop;
    crs_bytes out;
    crs_bytes_init(&out, 1 << 20);
    cereus_value v = cereus_message(&loop.base);
    assert_int_equal(crs_value_encode(&crs_serializer_json, &v, &out, &error), CEREUS_E_INVALID);
    assert_string_equal(error.msg, "json: nested deeper than 64");
    assert_int_equal(out.len, 0);
    crs_bytes_fini(&out);
}

static void infinity_and_nan_cannot_be_written(void **state)
{
    Kitchen__Sink msg = KITCHEN__SINK__INIT;
    crs_bytes out;
    crs_bytes_init(&out, 1 << 20);
    cereus_value v = cereus_message(&msg.base);
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        msg.wide_real = bad[i];
        assert_int_equal(crs_value_encode(&crs_serializer_json, &v, &out, &error), CEREUS_E_INVALID);
        assert_string_equal(error.msg, "json: field \"wide_real\": JSON has no number for infinity or NaN");
        assert_int_equal(crs_serializer_json.encode(&msg.base, append_bytes, &out, NULL), CEREUS_E_INVALID);
    }
    crs_bytes_fini(&out);
}

static void missing_elements_are_null(void **state)
{
    Kitchen__Sink msg = KITCHEN__SINK__INIT;
    Kitchen__Point *points[] = {NULL};
    msg.points = points;
    msg.n_points = 1;
    assert_string_equal(write_text(&msg.base), "{\"points\":[null]}");
    Kitchen__Sink__LabelsEntry *entries[] = {NULL};
    msg.labels = entries;
    msg.n_labels = 1;
    cereus_value v = cereus_message(&msg.base);
    crs_bytes out;
    crs_bytes_init(&out, 1 << 20);
    assert_int_equal(crs_value_encode(&crs_serializer_json, &v, &out, &error), CEREUS_E_INVALID);
    assert_string_equal(error.msg, "json: field \"labels\": an entry of the map is NULL");
    crs_bytes_fini(&out);
}

static const char everything[] =
    "{\"i32\":1,\"u64\":\"5\",\"real\":1.25,\"text\":\"a\\u00e9\xff\xc3\xa9\",\"blob\":\"AAEC\",\"point\":{\"x\":1e-7},"
    "\"numbers\":[1,2,3,4,5,6,7,8,9],\"words\":[\"a\",\"b\"],\"points\":[{\"y\":2},{}],\"color\":\"RED\",\"labels\":"
    "{\"b\":\"2\",\"a\":\"1\"},\"places\":{\"3\":{\"x\":4}},\"zzz\":[{\"q\":[null,true]},-1.5e+3],\"spot\":{\"x\":1},"
    "\"tree\":{\"id\":1,\"kids\":[{\"id\":2}]}}";

static void every_prefix_is_refused(void **state)
{
    ProtobufCMessage *msg = NULL;
    for (size_t len = 0; len < sizeof everything - 1; len++)
        assert_int_equal(decode(&crs_serializer_json, sink, everything, len, &msg), CEREUS_E_MALFORMED);
    assert_int_equal(decode(&crs_serializer_json, sink, everything, sizeof everything - 1, &msg), CEREUS_OK);
}

static void every_changed_byte_is_read_or_refused(void **state)
{
    static const char bytes[] = "\0\x1f\x7f\x80\xff\"\\{}[]:,019-.eEn u";
    char doc[sizeof everything];
    for (size_t i = 0; i < sizeof everything - 1; i++) {
        for (size_t k = 0; k < sizeof bytes - 1; k++) {
            memcpy(doc, everything, sizeof doc);
            doc[i] = bytes[k];
            ProtobufCMessage *msg = NULL;
            if (!decode(&crs_serializer_json, sink, doc, sizeof everything - 1, &msg)) {
                const char *first = write_text(msg);
                assert_string_equal(write_text(read_as(sink, first)), first);
            }
        }
        crs_arena_reset(&arena);
    }
}

static void running_out_of_memory_is_reported(void **state)
{
    ProtobufCMessage *msg = NULL;
    cereus_status st = CEREUS_E_NOMEM;
    for (size_t max = 0; st; max += 16) {
        assert_true(max < 1 << 16);
        crs_arena small;
        crs_arena_init(&small, max);
        memset(&error, 0, sizeof error);
        st = crs_serializer_json.decode(sink, cereus_slice_str(everything), arena_alloc, &small, &msg, &error);
        assert_true(st == CEREUS_OK || st == CEREUS_E_NOMEM);
        assert_int_equal(error.status, st);
        assert_true((msg != NULL) == (st == CEREUS_OK));
        crs_arena_fini(&small);
    }
}

static void memory_stays_in_proportion_to_the_body(void **state)
{
    static const struct {
        const char *head, *unit, *tail;
        size_t most; /* bytes for each byte of the body */
    } bombs[] = {{"{\"words\":[", "\"\"", "]}", 16},
                 {"{\"numbers\":[", "1", "]}", 8},
                 {"{\"reals\":[", "1", "]}", 16},
                 {"{\"blobs\":[", "\"\"", "]}", 32},
                 {"{\"points\":[", "{}", "]}", 40},
                 {"{", "\"point\":{\"x\":1},\"numbers\":[1]", "}", 8},
                 {"{\"labels\":{", "\"\":\"\"", "}}", 40},
                 {"{\"text\":\"\xff\xff\",\"words\":[", "\"\xff\"", "]}", 16},
                 {"{", "\"\\u0061\":1", "}", 4}};
    enum { LEN = 200000 };
    char *doc = malloc(LEN + 100);
    for (size_t i = 0; i < CEREUS_COUNT(bombs); i++) {
        size_t len = strlen(bombs[i].head), unit = strlen(bombs[i].unit);
        strcpy(doc, bombs[i].head);
        while (len < LEN) {
            memcpy(doc + len, bombs[i].unit, unit);
            doc[len + unit] = ',';
            len += unit + 1;
        }
        strcpy(doc + len - 1, bombs[i].tail);
        ProtobufCMessage *msg = NULL;
        if (decode(&crs_serializer_json, sink, doc, strlen(doc), &msg))
            fail_msg("%s", error.msg);
        if (allocated > len * bombs[i].most)
            fail_msg("%s: %zu bytes for %zu", bombs[i].unit, allocated, len);
        crs_arena_reset(&arena);
    }
    free(doc);
}

static cereus_status fail_third(void *writer, const void *data, size_t len)
{
    return ++*(int *)writer == 3 ? CEREUS_E_FULL : CEREUS_OK;
}

static void a_failing_writer_ends_the_encoding(void **state)
{
    enum { COUNT = 5000 };
    static int32_t numbers[COUNT];
    Kitchen__Sink msg = KITCHEN__SINK__INIT;
    msg.numbers = numbers;
    msg.n_numbers = COUNT;
    int calls = 0;
    assert_int_equal(crs_serializer_json.encode(&msg.base, fail_third, &calls, &error), CEREUS_E_FULL);
    assert_int_equal(calls, 3);
    assert_string_equal(error.msg, "the encoded message cannot be written: a bounded queue is full");
}

static const char *error_text(cereus_slice code, cereus_slice msg, const cereus_slice *keys, const cereus_slice *values,
                              size_t count)
{
    crs_bytes out;
    crs_bytes_init(&out, 1 << 20);
    assert_int_equal(crs_serializer_json.encode_error(code, msg, keys, values, count, append_bytes, &out), CEREUS_OK);
    char *text = crs_arena_strndup(&arena, (const char *)out.data, out.len);
    crs_bytes_fini(&out);
    return text;
}

static void errors_are_written_as_pitaya_does(void **state)
{
    const cereus_slice none = {NULL, 0};
    const cereus_slice keys[] = {cereus_slice_str("b"), cereus_slice_str("a"), cereus_slice_str("c"),
                                 cereus_slice_str("a"), cereus_slice_str("")};
    const cereus_slice values[] = {cereus_slice_str("2"), cereus_slice_str("old"), cereus_slice_str(""),
                                   cereus_slice_str("1"), cereus_slice_str("e")};
    assert_string_equal(error_text(none, none, NULL, NULL, 0), "{}");
    assert_string_equal(error_text(cereus_slice_str("PIT-555"), cereus_slice_str("somerror"), NULL, NULL, 0),
                        "{\"code\":\"PIT-555\",\"msg\":\"somerror\"}");
    assert_string_equal(error_text(none, cereus_slice_str("m"), NULL, NULL, 0), "{\"msg\":\"m\"}");
    assert_string_equal(error_text(cereus_slice_str("APP-1"), cereus_slice_str("many"), keys, values, 4),
                        "{\"code\":\"APP-1\",\"msg\":\"many\",\"metadata\":{\"a\":\"1\",\"b\":\"2\",\"c\":\"\"}}");
    assert_string_equal(error_text(none, none, keys, values, 5),
                        "{\"metadata\":{\"\":\"e\",\"a\":\"1\",\"b\":\"2\",\"c\":\"\"}}");
    assert_string_equal(error_text(cereus_slice_str("APP-4"), cereus_slice_str("bad \xff\xfe utf8"), NULL, NULL, 0),
                        "{\"code\":\"APP-4\",\"msg\":\"bad \\ufffd\\ufffd utf8\"}");
    assert_string_equal(error_text(cereus_slice_str("APP-7"), cereus_slice_of("\0\b\f\r\x1f\u2029", 8), NULL, NULL, 0),
                        "{\"code\":\"APP-7\",\"msg\":\"\\u0000\\b\\f\\r\\u001f\\u2029\"}");
}

static void a_response_is_what_pitaya_sends(void **state)
{
    Kitchen__TestResponse reply = KITCHEN__TEST_RESPONSE__INIT;
    assert_string_equal(write_text(&reply.base), "{}");
    reply.code = 200;
    assert_string_equal(write_text(&reply.base), "{\"code\":200}");
    reply.msg = (char *)"\u00e9\n<&>\u2028";
    assert_string_equal(write_text(&reply.base), "{\"code\":200,\"msg\":\"\u00e9\\n\\u003c\\u0026\\u003e\\u2028\"}");
    reply.msg = NULL;
    assert_string_equal(write_text(&reply.base), "{\"code\":200}");
}

TEST_MAIN(TEST(members_are_written_as_they_were_read), TEST(zero_values_are_left_out),
          TEST(blanks_are_allowed_between_everything), TEST(names_match_exactly_or_in_camel_case_or_in_any_case),
          TEST(unknown_members_are_skipped_whatever_they_hold), TEST(order_of_members_does_not_matter),
          TEST(members_come_out_in_the_order_of_the_file), TEST(of_duplicates_the_last_wins_and_objects_merge),
          TEST(maps_are_objects_with_sorted_keys), TEST(large_maps_are_sorted_too),
          TEST(a_oneof_holds_its_last_member_even_when_zero), TEST(null_elements_are_zero_values),
          TEST(wide_integers_may_come_as_strings), TEST(enums_come_by_number_or_name),
          TEST(strings_are_escaped_as_go_does), TEST(what_is_not_utf8_is_replaced_byte_by_byte),
          TEST(a_long_string_of_any_kind_survives), TEST(bytes_are_base64_of_any_length),
          TEST(proto2_fields_are_written_when_they_are_there), TEST(names_are_written_in_camel_case_on_demand),
          TEST(numbers_are_read_exactly), TEST(a_number_of_a_thousand_digits_is_a_number),
          TEST(bad_documents_are_refused_with_a_reason), TEST(required_members_must_be_there),
          TEST(a_long_path_is_cut_at_its_front), TEST(nesting_has_a_limit),
          TEST(the_deepest_message_fits_on_a_small_stack), TEST(a_message_that_contains_itself_is_refused),
          TEST(infinity_and_nan_cannot_be_written), TEST(missing_elements_are_null), TEST(every_prefix_is_refused),
          TEST(every_changed_byte_is_read_or_refused), TEST(running_out_of_memory_is_reported),
          TEST(memory_stays_in_proportion_to_the_body), TEST(a_failing_writer_ends_the_encoding),
          TEST(errors_are_written_as_pitaya_does), TEST(a_response_is_what_pitaya_sends))
