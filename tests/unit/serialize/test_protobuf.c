/* The Protobuf serializer: byte for byte what other implementations write, and what a peer cannot do. */
#include "codec.h"

static const ProtobufCMessageDescriptor *const sink = &kitchen__sink__descriptor,
                                               *const old = &kitchen2__old__descriptor,
                                               *const request = &kitchen__test_request__descriptor;

static ProtobufCMessage *read_bytes(const ProtobufCMessageDescriptor *type, const void *body, size_t len)
{
    ProtobufCMessage *msg = NULL;
    if (decode(&crs_serializer_protobuf, type, body, len, &msg))
        fail_msg("%s", error.msg);
    return msg;
}

static const char *json_of(const ProtobufCMessage *msg)
{
    return (const char *)encode(&crs_serializer_json, msg).data;
}

/* What the bytes mean, as JSON. */
static void check_means(const ProtobufCMessageDescriptor *type, const void *body, size_t len, const char *json)
{
    assert_string_equal(json_of(read_bytes(type, body, len)), json);
}

#define CHECK_MEANS(type, bytes, json) check_means(type, bytes, sizeof(bytes) - 1, json)

static const char everything[] =
    "{\"i32\":-1,\"s32\":-2,\"sf32\":-3,\"u32\":4294967295,\"f32\":5,\"i64\":-6,\"s64\":-9223372036854775808,\"sf64\":-"
    "8,"
    "\"u64\":18446744073709551615,\"f64\":10,\"real\":1.5,\"wide_real\":0.1,\"yes\":true,\"color\":-1,\"text\":"
    "\"t\u00e9\","
    "\"blob\":\"AAEC\",\"point\":{\"x\":1},\"numbers\":[1,-2,300,4,5],\"words\":[\"a\",\"\",\"c\"],\"points\":[{\"y\":"
    "2},{}],"
    "\"blobs\":[\"\",\"YQ==\"],\"flags\":[true,false],\"reals\":[0,1.25],\"colors\":[7,0],\"unpacked\":[-1,2,-3,4,-5],"
    "\"labels\":{\"a\":\"1\",\"b\":\"\"},\"places\":{\"-1\":{},\"10\":{\"x\":4}},\"votes_by_side\":{\"true\":1},"
    "\"spot\":{\"y\":9},\"tree\":{\"id\":1,\"left\":{\"id\":2},\"kids\":[{\"id\":3},{}]},\"HTTPCode\":7}";

static ProtobufCMessage *whole_sink(void)
{
    ProtobufCMessage *msg = NULL;
    assert_int_equal(decode(&crs_serializer_json, sink, everything, strlen(everything), &msg), CEREUS_OK);
    return msg;
}

static void every_kind_of_field_survives(void **state)
{
    ProtobufCMessage *msg = whole_sink();
    assert_string_equal(json_of(msg), everything);
    assert_ways_agree(&crs_serializer_protobuf, msg);
    cereus_slice packed = encode(&crs_serializer_protobuf, msg);
    check_means(sink, packed.data, packed.len, everything);
    ProtobufCMessage *theirs = protobuf_c_message_unpack(sink, NULL, packed.len, packed.data);
    assert_string_equal(json_of(theirs), everything);
    protobuf_c_message_free_unpacked(theirs, NULL);
}

static void recorded_bodies_mean_what_pitaya_made_of_them(void **state)
{
    CHECK_MEANS(request, "\x0a\x02hi", "{\"msg\":\"hi\"}");
    CHECK_MEANS(request, "", "{}");
    CHECK_MEANS(request, "\x0a\x02hi\x12\x01x\x18\x05", "{\"msg\":\"hi\"}");
    CHECK_MEANS(request, "\x08\x05", "{}");
    CHECK_MEANS(request,
                "\x0a\x01"
                "a\x0a\x01"
                "b",
                "{\"msg\":\"b\"}");
    Kitchen__TestResponse reply = KITCHEN__TEST_RESPONSE__INIT;
    assert_int_equal(encode(&crs_serializer_protobuf, &reply.base).len, 0);
    reply.code = 200;
    reply.msg = (char *)"hi";
    cereus_slice packed = encode(&crs_serializer_protobuf, &reply.base);
    assert_int_equal(packed.len, 7);
    assert_memory_equal(packed.data, "\x08\xc8\x01\x12\x02hi", 7);
}

static void fields_come_in_any_order_and_split(void **state)
{
    CHECK_MEANS(sink, "\x10\x01\x08\x02\x10\x03", "{\"i32\":2,\"s32\":-2}");
    /* messages merge, arrays go on, the last of a oneof stays */
    CHECK_MEANS(sink,
                "\x8a\x01\x09\x09\0\0\0\0\0\0\xf0\x3f"
                "\x90\x01\x07"
                "\x8a\x01\x09\x11\0\0\0\0\0\0\xf0\x3f"
                "\x92\x01\x03\x01\xac\x02"
                "\x82\x02\x01n\x88\x02\x05",
                "{\"point\":{\"x\":1,\"y\":1},\"numbers\":[7,1,300],\"number\":5}");
    CHECK_MEANS(sink,
                "\x82\x02\x01n\x92\x02\x00"
                "\x92\x02\x09\x09\0\0\0\0\0\0\xf0\x3f",
                "{\"spot\":{\"x\":1}}");
}

static void numbers_may_be_packed_or_not(void **state)
{
    CHECK_MEANS(sink, "\xca\x01\x02\x01\x02\xc8\x01\x03", "{\"unpacked\":[-1,1,-2]}");
    CHECK_MEANS(sink, "\xb8\x01\x01", "{}"); /* reals by varint: another wire type, kept as unknown */
    CHECK_MEANS(sink, "\xba\x01\x10\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\x40\xb9\x01\0\0\0\0\0\0\xf0\x3f",
                "{\"reals\":[1,2,1]}");
    CHECK_MEANS(sink, "\x92\x01\x00", "{}");
}

static void numbers_are_cut_to_their_width(void **state)
{
    CHECK_MEANS(sink, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x20\x81\x80\x80\x80\x10\x68\x80\x01",
                "{\"i32\":-1,\"u32\":1,\"yes\":true}");
}

static void maps_have_each_key_once_and_every_value(void **state)
{
    CHECK_MEANS(sink,
                "\xd2\x01\x06\x0a\x01"
                "b\x12\x01"
                "1\xd2\x01\x06\x0a\x01"
                "a\x12\x01"
                "2\xd2\x01\x06\x0a\x01"
                "b\x12\x01"
                "3\xd2\x01\x00",
                "{\"labels\":{\"\":\"\",\"a\":\"2\",\"b\":\"3\"}}");
    Kitchen__Sink *msg = (Kitchen__Sink *)read_bytes(sink, "\xda\x01\x02\x08\x05", 5);
    assert_int_equal(msg->n_places, 1);
    assert_non_null(msg->places[0]->value);
}

static void unknown_fields_are_written_again(void **state)
{
    static const char body[] = "\x18\x05\x21zzzzzzzz\x2a\x03zzz\x33\x08\x01\x3b\x3c\x34\x3dzzzz\x08\x05\x82\x7d\x00";
    ProtobufCMessage *msg = read_bytes(request, body, sizeof body - 1);
    assert_int_equal(msg->n_unknown_fields, 7);
    cereus_slice packed = encode(&crs_serializer_protobuf, msg);
    assert_int_equal(packed.len, sizeof body - 1);
    assert_memory_equal(packed.data, body, sizeof body - 1);
}

static void proto2_defaults_and_required_fields_hold(void **state)
{
    Kitchen2__Old *msg = (Kitchen2__Old *)read_bytes(old, "\x08\x01\x12\x01n", 5);
    assert_string_equal(msg->greeting, "hello");
    assert_int_equal(msg->count, 5);
    assert_false(msg->has_count);
    ProtobufCMessage *ret = NULL;
    assert_int_equal(decode(&crs_serializer_protobuf, old, "\x08\x01\x20\x07", 4, &ret), CEREUS_E_MALFORMED);
    assert_string_equal(error.msg, "protobuf: field \"name\": required, but missing (offset 0)");
    assert_int_equal(encode(&crs_serializer_protobuf, &msg->base).len, 5);
}

static void bad_bytes_are_refused_with_a_reason(void **state)
{
    static const struct {
        const char *in;
        size_t len;
        const char *why;
    } bad[] = {
#define BAD(bytes, text) {bytes, sizeof(bytes) - 1, "protobuf: " text}
        BAD("\xff\xff", "the message is cut off (offset 0)"),
        BAD("\x7a\x05"
            "a",
            "field \"text\": the message is cut off (offset 1)"),
        BAD("\x7a\x02\xff\xfe", "field \"text\": a string that is not UTF-8 (offset 2)"),
        BAD("\x7a\x02\xc3(", "field \"text\": a string that is not UTF-8 (offset 2)"),
        BAD("\x7a\x03"
            "a\0b",
            "field \"text\": a string with a NUL, which C strings cannot hold (offset 2)"),
        BAD("\x0b", "the message is cut off (offset 1)"),
        BAD("\x0c", "a group ends that was not open (offset 1)"),
        BAD("\x0b\x14", "a group ends that was not open (offset 1)"),
        BAD("\x0e", "an unknown wire type (offset 1)"),
        BAD("\x00\x01", "a field number out of range (offset 0)"),
        BAD("\x80\x80\x80\x80\x10", "a field number out of range (offset 0)"),
        BAD("\x08", "field \"i32\": the message is cut off (offset 1)"),
        BAD("\x08\x80", "field \"i32\": the message is cut off (offset 1)"),
        BAD("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", "field \"i32\": a number of more than 64 bits (offset 1)"),
        BAD("\x1d\0\0\0", "field \"sf32\": the message is cut off (offset 1)"),
        BAD("\x41\0\0\0\0\0\0\0", "field \"sf64\": the message is cut off (offset 1)"),
        BAD("\x7a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "field \"text\": the message is cut off (offset 1)"),
        BAD("\x8a\x01\x02\x09\x01", "field \"x\": the message is cut off (offset 4)"),
        BAD("\x92\x01\x02\x01\x80", "field \"numbers\": the message is cut off (offset 4)"),
        BAD("\x92\x01\x05\x01", "field \"numbers\": the message is cut off (offset 2)"),
        BAD("\xba\x01\x0cxxxxxxxxxxxx", "field \"reals\": the message is cut off (offset 11)"),
        BAD("\xf8\x7f\x80", "the message is cut off (offset 2)"),
        BAD("\xf9\x7f\x80", "the message is cut off (offset 2)"),
        BAD("\xfa\x7f\x02x", "the message is cut off (offset 2)"),
        BAD("\xfd\x7f\x02x", "the message is cut off (offset 2)"),
#undef BAD
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        ProtobufCMessage *msg = NULL;
        assert_int_equal(decode(&crs_serializer_protobuf, sink, bad[i].in, bad[i].len, &msg), CEREUS_E_MALFORMED);
        assert_string_equal(error.msg, bad[i].why);
        assert_null(msg);
        assert_int_equal(crs_serializer_protobuf.decode(sink, cereus_slice_of(bad[i].in, bad[i].len), arena_alloc,
                                                        &arena, &msg, NULL),
                         CEREUS_E_MALFORMED);
    }
}

static void prefixes_and_changed_bytes_are_read_or_refused(void **state)
{
    cereus_slice packed = encode(&crs_serializer_protobuf, whole_sink());
    uint8_t body[1024];
    assert_true(packed.len <= sizeof body);
    memcpy(body, packed.data, packed.len);
    crs_arena_reset(&arena);
    for (size_t i = 0; i < packed.len; i++) {
        ProtobufCMessage *msg = NULL;
        decode(&crs_serializer_protobuf, sink, body, i, &msg);
        uint8_t was = body[i];
        for (unsigned b = 0; b < 256; b++) {
            body[i] = (uint8_t)b;
            if (!decode(&crs_serializer_protobuf, sink, body, packed.len, &msg)) {
                cereus_slice first = encode(&crs_serializer_protobuf, msg);
                cereus_slice again = encode(&crs_serializer_protobuf, read_bytes(sink, first.data, first.len));
                assert_true(crs_slice_eq(first, again));
            }
            crs_arena_reset(&arena);
        }
        body[i] = was;
    }
}

static void nesting_has_a_limit(void **state)
{
    /* field 2 of Tree, and a group that nobody knows */
    for (int depth = 60; depth <= 70; depth++) {
        uint8_t body[200], *p = body + sizeof body;
        for (int i = 1; i < depth; i++) {
            size_t len = (size_t)(body + sizeof body - p);
            if (len >= 128) {
                *--p = (uint8_t)(len >> 7);
                *--p = (uint8_t)(len | 0x80);
            } else {
                *--p = (uint8_t)len;
            }
            *--p = 0x12;
        }
        ProtobufCMessage *msg = NULL;
        size_t len = (size_t)(body + sizeof body - p);
        cereus_status st = decode(&crs_serializer_protobuf, &kitchen__tree__descriptor, p, len, &msg);
        assert_int_equal(st, depth <= 64 ? CEREUS_OK : CEREUS_E_MALFORMED);
        if (!st)
            assert_int_equal(encode(&crs_serializer_protobuf, msg).len, len);
        memset(body, 0x0b, 100);
        memset(body + depth - 1, 0x0c, 100);
        st = decode(&crs_serializer_protobuf, request, body, 2 * (size_t)(depth - 1), &msg);
        assert_int_equal(st, depth <= 64 ? CEREUS_OK : CEREUS_E_MALFORMED);
    }
}

static void messages_that_cannot_be_packed_are_refused(void **state)
{
    crs_bytes out;
    crs_bytes_init(&out, 1 << 20);
    Kitchen__Tree loop = KITCHEN__TREE__INIT;
    loop.left = &loop;
    cereus_value v = cereus_message(&loop.base);
    assert_int_equal(crs_value_encode(&crs_serializer_protobuf, &v, &out, &error), CEREUS_E_INVALID);
    assert_string_equal(error.msg, "protobuf: nested deeper than 64");

    Kitchen__Tree *kids[] = {NULL};
    loop.left = NULL;
    loop.kids = kids;
    loop.n_kids = 1;
    assert_int_equal(crs_value_encode(&crs_serializer_protobuf, &v, &out, &error), CEREUS_E_INVALID);
    assert_string_equal(error.msg, "protobuf: field 3 \"kids\": element 0 is NULL");

    Kitchen__TestRequest text = KITCHEN__TEST_REQUEST__INIT;
    text.msg = (char *)"\xff";
    assert_int_equal(crs_serializer_protobuf.encode(&text.base, append_bytes, &out, &error), CEREUS_E_INVALID);
    assert_string_equal(error.msg, "protobuf: field 1 \"msg\": a string that is not UTF-8");
    assert_int_equal(out.len, 0);

    Kitchen__Sink words = KITCHEN__SINK__INIT;
    char *none[] = {NULL};
    words.words = none;
    words.n_words = 1;
    assert_int_equal(crs_serializer_protobuf.encode(&words.base, append_bytes, &out, &error), CEREUS_E_INVALID);
    assert_string_equal(error.msg, "protobuf: field 19 \"words\": element 0 is NULL");
    crs_bytes_fini(&out);
}

static void running_out_of_memory_is_reported(void **state)
{
    cereus_slice packed = encode(&crs_serializer_protobuf, whole_sink());
    ProtobufCMessage *msg = NULL;
    cereus_status st = CEREUS_E_NOMEM;
    for (size_t max = 0; st; max += 16) {
        assert_true(max < 1 << 16);
        crs_arena small;
        crs_arena_init(&small, max);
        memset(&error, 0, sizeof error);
        st = crs_serializer_protobuf.decode(sink, packed, arena_alloc, &small, &msg, &error);
        assert_true(st == CEREUS_OK || st == CEREUS_E_NOMEM);
        assert_int_equal(error.status, st);
        assert_true((msg != NULL) == (st == CEREUS_OK));
        crs_arena_fini(&small);
    }
    enum { LARGE = 3000 };
    static char text[LARGE + 1];
    memset(text, 'a', LARGE);
    Kitchen__TestRequest req = KITCHEN__TEST_REQUEST__INIT;
    req.msg = text;
    assert_ways_agree(&crs_serializer_protobuf, &req.base);
    crs_bytes out;
    crs_bytes_init(&out, LARGE);
    cereus_value v = cereus_message(&req.base);
    assert_int_equal(crs_value_encode(&crs_serializer_protobuf, &v, &out, &error), CEREUS_E_TOO_LONG);
    assert_string_equal(error.msg, "protobuf: 3003 bytes cannot be written: longer than the limit");
    crs_alloc_fail_at(1);
    assert_int_equal(crs_serializer_protobuf.encode(&req.base, append_bytes, &out, &error), CEREUS_E_NOMEM);
    assert_int_equal(crs_serializer_protobuf.encode(&req.base, append_bytes, &out, &error), CEREUS_E_TOO_LONG);
    crs_bytes_fini(&out);
}

static void memory_stays_in_proportion_to_the_body(void **state)
{
    static const struct {
        const char *unit;
        size_t len, most;
    } bombs[] = {{"\x8a\x01\x00", 3, 1},  {"\x9a\x01\x00", 3, 16}, {"\xa2\x01\x00", 3, 40},
                 {"\x90\x01\x01", 3, 16}, {"\xd2\x01\x00", 3, 40}, {"\xf8\x7f\x00", 3, 40}};
    enum { LEN = 99999 };
    uint8_t *body = malloc(LEN);
    for (size_t i = 0; i < CEREUS_COUNT(bombs); i++) {
        for (size_t at = 0; at < LEN; at += bombs[i].len)
            memcpy(body + at, bombs[i].unit, bombs[i].len);
        read_bytes(sink, body, LEN);
        if (allocated > LEN * bombs[i].most)
            fail_msg("bomb %zu: %zu bytes for %d", i, allocated, LEN);
        crs_arena_reset(&arena);
    }
    free(body);
}

static void check_error(cereus_slice code, cereus_slice msg, const cereus_slice *keys, const cereus_slice *values,
                        size_t count, const void *want, size_t want_len)
{
    crs_bytes out;
    crs_bytes_init(&out, 1 << 20);
    assert_int_equal(crs_serializer_protobuf.encode_error(code, msg, keys, values, count, append_bytes, &out),
                     CEREUS_OK);
    assert_int_equal(out.len, want_len);
    if (want_len)
        assert_memory_equal(out.data, want, want_len);
    crs_bytes_fini(&out);
}

#define CHECK_ERROR(code, msg, keys, values, count, want) \
    check_error(cereus_slice_str(code), cereus_slice_str(msg), keys, values, count, want, sizeof(want) - 1)

static void errors_are_written_as_pitaya_does(void **state)
{
    const cereus_slice keys[] = {cereus_slice_str("b"), cereus_slice_str("a"), cereus_slice_str("c")};
    const cereus_slice values[] = {cereus_slice_str("2"), cereus_slice_str("1"), cereus_slice_str("")};
    CHECK_ERROR("", "", NULL, NULL, 0, "");
    CHECK_ERROR("PIT-555", "somerror", NULL, NULL, 0, "\n\aPIT-555\x12\bsomerror");
    CHECK_ERROR("APP-1", "many", keys, values, 3,
                "\n\x05"
                "APP-1\x12\x04many\x1a\x06\n\x01"
                "b\x12\x01"
                "2\x1a\x06\n\x01"
                "a\x12\x01"
                "1\x1a\x05\n\x01"
                "c\x12\x00");
    CHECK_ERROR("APP-4", "bad \xff\xfe utf8", NULL, NULL, 0,
                "\n\x05"
                "APP-4\x12\x0f"
                "bad \ufffd\ufffd utf8");
    char text[551] = "", want[600] = "\n\x05"
                                     "APP-3\x12\xa6\x04";
    for (int i = 0; i < 50; i++)
        strcat(text, "long error ");
    strcat(want, text);
    check_error(cereus_slice_str("APP-3"), cereus_slice_str(text), NULL, NULL, 0, want, strlen(want));
}

TEST_MAIN(TEST(every_kind_of_field_survives), TEST(recorded_bodies_mean_what_pitaya_made_of_them),
          TEST(fields_come_in_any_order_and_split), TEST(numbers_may_be_packed_or_not),
          TEST(numbers_are_cut_to_their_width), TEST(maps_have_each_key_once_and_every_value),
          TEST(unknown_fields_are_written_again), TEST(proto2_defaults_and_required_fields_hold),
          TEST(bad_bytes_are_refused_with_a_reason), TEST(prefixes_and_changed_bytes_are_read_or_refused),
          TEST(nesting_has_a_limit), TEST(messages_that_cannot_be_packed_are_refused),
          TEST(running_out_of_memory_is_reported), TEST(memory_stays_in_proportion_to_the_body),
          TEST(errors_are_written_as_pitaya_does))
