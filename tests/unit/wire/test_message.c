/* tests/unit/wire/test_message.c */
#include "test.h"

#include "wire/message.h"

static crs_route_dict *small_dict(void)
{
    crs_route_dict *dict = crs_route_dict_new();
    assert_non_null(dict);
    assert_int_equal(crs_route_dict_add(dict, cereus_slice_str("onpush"), 300, NULL), CEREUS_OK);
    assert_int_equal(crs_route_dict_add(dict, cereus_slice_str("zero.route"), 0, NULL), CEREUS_OK);
    return dict;
}

/* Decodes an exact copy, which the caller frees through *ret_copy. */
static cereus_status decode(const void *wire, size_t len, const crs_route_dict *dict, crs_message *msg,
                            uint8_t **ret_copy)
{
    *ret_copy = test_copy(wire, len);
    return crs_message_decode(cereus_slice_of(*ret_copy, len), dict, msg);
}

static void assert_slice(cereus_slice s, const char *text)
{
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.data, text, s.len);
}

static void message_comes_back_as_it_went_out(void **state)
{
    static const uint64_t ids[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, (uint64_t)1 << 63, UINT64_MAX};
    static const char *const routes[] = {"", "a.b", "onpush", "zero.route"};
    crs_route_dict *dict = small_dict();
    for (unsigned bits = 0; bits < 16; bits++) {
        for (size_t i = 0; i < CEREUS_COUNT(ids); i++) {
            for (size_t r = 0; r < CEREUS_COUNT(routes); r++) {
                crs_message msg = {.type = (crs_message_type)(bits & 3),
                                   .id = ids[i],
                                   .route = cereus_slice_str(routes[r]),
                                   .compressed = bits & 4,
                                   .error = bits & 8};
                uint8_t wire[CRS_MESSAGE_HEAD_MAX + 4], *copy;
                size_t len;
                assert_int_equal(crs_message_head(&msg, dict, wire, &len), CEREUS_OK);
                memcpy(wire + len, "body", 4);
                crs_message back;
                assert_int_equal(decode(wire, len + 4, dict, &back, &copy), CEREUS_OK);
                assert_int_equal(back.type, msg.type);
                assert_int_equal(back.id, msg.type % 2 == 0 ? msg.id : 0);
                assert_slice(back.route, msg.type == CRS_MESSAGE_RESPONSE ? "" : routes[r]);
                assert_slice(back.body, "body");
                assert_int_equal(back.compressed, msg.compressed);
                assert_int_equal(back.error, msg.error);
                free(copy);
            }
        }
    }
    crs_route_dict_free(dict);
}

static void message_decode_refuses_every_prefix_that_cuts_the_head(void **state)
{
    static const uint8_t text[] = {0x00, 0xac, 0x02, 3, 'a', '.', 'b'};
    static const uint8_t code[] = {0x01, 0xac, 0x02, 0x01, 0x2c};
    crs_route_dict *dict = small_dict();
    crs_message msg;
    uint8_t *copy;
    for (size_t len = 0; len <= sizeof text; len++) {
        assert_int_equal(decode(text, len, dict, &msg, &copy), len < sizeof text ? CEREUS_E_MALFORMED : CEREUS_OK);
        free(copy);
    }
    for (size_t len = 0; len <= sizeof code; len++) {
        assert_int_equal(decode(code, len, dict, &msg, &copy), len < sizeof code ? CEREUS_E_MALFORMED : CEREUS_OK);
        free(copy);
    }
    assert_slice(msg.route, "onpush");
    crs_route_dict_free(dict);
}

static void message_decode_survives_every_change_of_one_byte(void **state)
{
    static const uint8_t wire[] = {0x01, 0xac, 0x02, 0x01, 0x2c, 'x', 'y'};
    crs_route_dict *dict = small_dict();
    for (size_t at = 0; at < sizeof wire; at++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t changed[sizeof wire], *copy;
            memcpy(changed, wire, sizeof wire);
            changed[at] = (uint8_t)value;
            crs_message msg;
            cereus_status st = decode(changed, sizeof changed, dict, &msg, &copy);
            assert_true(st == CEREUS_OK || st == CEREUS_E_MALFORMED || st == CEREUS_E_NOT_FOUND);
            if (!st)
                assert_ptr_equal(msg.body.data + msg.body.len, copy + sizeof changed);
            free(copy);
        }
    }
    crs_route_dict_free(dict);
}

static void message_decode_refuses_ids_that_do_not_end_or_exceed_64_bits(void **state)
{
    static const struct {
        const char *wire;
        size_t len;
        cereus_status want;
    } rows[] = {
        {"\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, CEREUS_OK},
        {"\x04\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 11, CEREUS_OK},
        {"\x04\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", 11, CEREUS_E_MALFORMED},
        {"\x04\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12, CEREUS_E_MALFORMED},
        {"\x04\x80\x80", 3, CEREUS_E_MALFORMED},
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        crs_message msg;
        uint8_t *copy;
        assert_int_equal(decode(rows[i].wire, rows[i].len, NULL, &msg, &copy), rows[i].want);
        free(copy);
    }
}

static void message_decode_knows_only_codes_of_the_dictionary(void **state)
{
    crs_route_dict *dict = small_dict(), *empty = crs_route_dict_new();
    crs_message msg;
    uint8_t *copy;
    assert_int_equal(decode("\x03\x00\x00", 3, dict, &msg, &copy), CEREUS_OK);
    assert_slice(msg.route, "zero.route");
    free(copy);
    assert_int_equal(decode("\x03\x00\x01", 3, dict, &msg, &copy), CEREUS_E_NOT_FOUND);
    free(copy);
    assert_int_equal(decode("\x03\x00\x00", 3, empty, &msg, &copy), CEREUS_E_NOT_FOUND);
    free(copy);
    assert_int_equal(decode("\x03\x00\x00", 3, NULL, &msg, &copy), CEREUS_E_NOT_FOUND);
    free(copy);
    crs_route_dict_free(dict);
    crs_route_dict_free(empty);
}

static void message_head_never_wraps_the_route_length(void **state)
{
    char route[CRS_ROUTE_LEN_MAX + 1];
    memset(route, 'r', sizeof route);
    crs_message msg = {.type = CRS_MESSAGE_REQUEST, .id = UINT64_MAX, .route = cereus_slice_of(route, 255)};
    uint8_t *out = test_copy((uint8_t[CRS_MESSAGE_HEAD_MAX]){0}, CRS_MESSAGE_HEAD_MAX);
    size_t len = 5;
    assert_int_equal(crs_message_head(&msg, NULL, out, &len), CEREUS_OK);
    assert_int_equal(len, CRS_MESSAGE_HEAD_MAX);
    msg.route.len = 256;
    assert_int_equal(crs_message_head(&msg, NULL, out, &len), CEREUS_E_TOO_LONG);
    msg.type = CRS_MESSAGE_RESPONSE;
    assert_int_equal(crs_message_head(&msg, NULL, out, &len), CEREUS_OK); /* its route does not travel */
    assert_int_equal(len, 11);
    msg.type = (crs_message_type)4;
    assert_int_equal(crs_message_head(&msg, NULL, out, &len), CEREUS_E_INVALID);
    free(out);
}

static void message_head_sets_no_route_bit_on_a_response(void **state)
{
    crs_route_dict *dict = small_dict();
    crs_message msg = {.type = CRS_MESSAGE_RESPONSE, .id = 1, .route = cereus_slice_str("onpush"), .error = true};
    uint8_t out[CRS_MESSAGE_HEAD_MAX];
    size_t len;
    assert_int_equal(crs_message_head(&msg, dict, out, &len), CEREUS_OK);
    assert_int_equal(len, 2);
    assert_memory_equal(out, "\x24\x01", 2);
    crs_route_dict_free(dict);
}

static void message_types_have_names(void **state)
{
    assert_string_equal(crs_message_type_name(CRS_MESSAGE_REQUEST), "request");
    assert_string_equal(crs_message_type_name(CRS_MESSAGE_NOTIFY), "notify");
    assert_string_equal(crs_message_type_name(CRS_MESSAGE_RESPONSE), "response");
    assert_string_equal(crs_message_type_name(CRS_MESSAGE_PUSH), "push");
    assert_string_equal(crs_message_type_name((crs_message_type)4), "unknown");
}

TEST_MAIN(cmocka_unit_test(message_comes_back_as_it_went_out),
          cmocka_unit_test(message_decode_refuses_every_prefix_that_cuts_the_head),
          cmocka_unit_test(message_decode_survives_every_change_of_one_byte),
          cmocka_unit_test(message_decode_refuses_ids_that_do_not_end_or_exceed_64_bits),
          cmocka_unit_test(message_decode_knows_only_codes_of_the_dictionary),
          cmocka_unit_test(message_head_never_wraps_the_route_length),
          cmocka_unit_test(message_head_sets_no_route_bit_on_a_response), cmocka_unit_test(message_types_have_names))
