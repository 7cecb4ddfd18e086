/* Values of every shape on their way out. */
#include "codec.h"

#include <jansson.h>

static crs_bytes out = {.max = 1 << 16};

static void check(const cereus_serializer *s, cereus_value v, const char *want)
{
    crs_bytes_init(&out, 1 << 16);
    assert_int_equal(crs_bytes_append_str(&out, "before "), CEREUS_OK);
    if (crs_value_encode(s, &v, &out, &error))
        fail_msg("%s", error.msg);
    assert_int_equal(out.len, 7 + strlen(want));
    assert_memory_equal(out.data + 7, want, strlen(want));
    crs_bytes_fini(&out);
}

static cereus_status encode_name(const ProtobufCMessage *msg, cereus_write_fn *write, void *writer, cereus_error *err)
{
    CEREUS_TRY(write(writer, "custom ", 7));
    return write(writer, msg->descriptor->short_name, strlen(msg->descriptor->short_name));
}

static void the_built_in_serializers_have_names(void **state)
{
    assert_ptr_equal(crs_serializer_find("json"), &crs_serializer_json);
    assert_ptr_equal(crs_serializer_find("protobuf"), &crs_serializer_protobuf);
    assert_null(crs_serializer_find("JSON"));
    assert_null(crs_serializer_find(""));
}

static void each_shape_has_its_encoding(void **state)
{
    static const cereus_serializer custom = {.name = "custom", .encode = encode_name};
    Kitchen__Sink msg = KITCHEN__SINK__INIT;
    msg.wide_real = 2;
    check(&crs_serializer_json, cereus_message(&msg.base), "{\"wide_real\":2}");
    check(&crs_serializer_json_camel, cereus_message(&msg.base), "{\"wideReal\":2}");
    msg.wide_real = 0;
    msg.i32 = 5;
    check(&crs_serializer_protobuf, cereus_message(&msg.base), "\x08\x05");
    check(&custom, cereus_message(&msg.base), "custom Sink");
    check(&crs_serializer_protobuf, cereus_text("raw <bytes>"), "raw <bytes>");
    check(&crs_serializer_json, cereus_text(""), "");
    check(&crs_serializer_json, (cereus_value){.shape = CEREUS_NOTHING}, "");
}

static void json_values_are_written_as_go_does(void **state)
{
    static const struct {
        const char *in, *out;
    } docs[] = {
        {"{ \"z\": 1, \"a\": [true, false, null, {}, []], \"s\": \"<&>\\u2028\\n\\u0001\u00e9\" }",
         "{\"z\":1,\"a\":[true,false,null,{},[]],\"s\":\"\\u003c\\u0026\\u003e\\u2028\\n\\u0001\u00e9\"}"},
        {"[0.1, 1e21, 1e-7, -5, 9223372036854775807, 100.0, 1.5e300]",
         "[0.1,1e+21,1e-7,-5,9223372036854775807,100,1.5e+300]"},
        {"\"text\"", "\"text\""},
        {"null", "null"},
        {"7", "7"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(docs); i++) {
        json_t *json = json_loads(docs[i].in, JSON_DECODE_ANY, NULL);
        assert_non_null(json);
        check(&crs_serializer_protobuf, cereus_json(json), docs[i].out);
        json_decref(json);
    }
}

static void json_values_nest_up_to_a_limit(void **state)
{
    for (int depth = 64; depth <= 65; depth++) {
        json_t *json = json_array();
        for (int i = 1; i < depth; i++) {
            json_t *outer = i % 2 ? json_object() : json_array();
            if (i % 2)
                json_object_set_new(outer, "k", json);
            else
                json_array_append_new(outer, json);
            json = outer;
        }
        crs_bytes_init(&out, 1 << 16);
        cereus_value v = cereus_json(json);
        assert_int_equal(crs_value_encode(&crs_serializer_json, &v, &out, &error),
                         depth == 64 ? CEREUS_OK : CEREUS_E_INVALID);
        crs_bytes_fini(&out);
        json_decref(json);
    }
}

static void what_does_not_fit_leaves_the_target_as_it_was(void **state)
{
    Kitchen__TestRequest req = KITCHEN__TEST_REQUEST__INIT;
    static char text[300];
    memset(text, 'a', sizeof text - 1);
    req.msg = text;
    json_t *json = json_string(text);
    const struct {
        const cereus_serializer *s;
        cereus_value v;
        size_t len;
    } cases[] = {{&crs_serializer_json, cereus_message(&req.base), 299 + 10},
                 {&crs_serializer_protobuf, cereus_message(&req.base), 299 + 3},
                 {&crs_serializer_json, cereus_json(json), 299 + 2},
                 {&crs_serializer_json, cereus_text(text), 299}};
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        for (size_t max = 1; max <= cases[i].len + 1; max++) {
            crs_bytes_init(&out, max);
            assert_int_equal(crs_bytes_append_byte(&out, 'x'), CEREUS_OK);
            memset(&error, 0, sizeof error);
            cereus_status st = crs_value_encode(cases[i].s, &cases[i].v, &out, &error);
            assert_int_equal(st, max <= cases[i].len ? CEREUS_E_TOO_LONG : CEREUS_OK);
            assert_int_equal(error.status, st);
            assert_int_equal(out.len, st ? 1 : cases[i].len + 1);
            crs_bytes_fini(&out);
        }
        for (size_t nth = 1;; nth++) {
            crs_bytes_init(&out, 1 << 16);
            crs_alloc_fail_at(nth);
            cereus_status st = crs_value_encode(cases[i].s, &cases[i].v, &out, &error);
            crs_alloc_fail_at(0);
            crs_bytes_fini(&out);
            if (st == CEREUS_OK)
                break;
            assert_int_equal(st, CEREUS_E_NOMEM);
            assert_true(nth < 10);
        }
    }
    json_decref(json);
}

TEST_MAIN(TEST(the_built_in_serializers_have_names), TEST(each_shape_has_its_encoding),
          TEST(json_values_are_written_as_go_does), TEST(json_values_nest_up_to_a_limit),
          TEST(what_does_not_fit_leaves_the_target_as_it_was))
