/* tests/unit/cluster/test_protocol.c: what the recordings (tests/conformance/codec/test_cluster_vectors.c) do not have: wrong wire types,
 * lengths that lie, numbers too long, fields that come twice, texts that are none. */
#include "test.h"

#include "cluster/protocol.h"

static cereus_status request(const void *wire, size_t len, crs_request *req)
{
    uint8_t *exact = test_copy(wire, len);
    cereus_status st = crs_request_decode(cereus_slice_of(exact, len), req);
    free(exact);
    return st;
}

#define REQUEST(req, ...) request((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), req)

static void fields_of_another_wire_type_are_unknown_ones(void **state)
{
    crs_request req;
    /* type as bytes, session and msg as numbers, frontendID as eight bytes, metadata as four */
    assert_int_equal(REQUEST(&req, 0x0a, 1, 7, 0x10, 1, 0x18, 1, 0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0x2d, 0, 0, 0, 0),
                     CEREUS_OK);
    assert_int_equal(req.type, 0);
    assert_false(req.has_session || req.has_msg);
    assert_int_equal(req.frontend_id.len + req.metadata.len, 0);
    assert_int_equal(REQUEST(&req, 0x1a, 4, 0x0a, 2, 'h', 'i'), CEREUS_OK); /* msg.id as bytes */
    assert_true(req.has_msg);
    assert_int_equal(req.msg_id, 0);
}

static void what_is_no_protobuf_is_refused(void **state)
{
    crs_request req;
    assert_int_equal(REQUEST(&req, 0x00, 1), CEREUS_E_MALFORMED);                         /* field 0 */
    assert_int_equal(REQUEST(&req, 0x0b), CEREUS_E_MALFORMED);                            /* a group */
    assert_int_equal(REQUEST(&req, 0x0e, 1), CEREUS_E_MALFORMED);                         /* wire type 6 */
    assert_int_equal(REQUEST(&req, 0x80, 0x80, 0x80, 0x80, 0x10, 1), CEREUS_E_MALFORMED); /* field 2^29 */
    assert_int_equal(REQUEST(&req, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0), CEREUS_E_MALFORMED);
    assert_int_equal(REQUEST(&req, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02),
                     CEREUS_E_MALFORMED); /* 65 bits */
    assert_int_equal(REQUEST(&req, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), CEREUS_OK);
    assert_true(req.type == UINT64_MAX);
    assert_int_equal(REQUEST(&req, 0x21, 1, 2, 3), CEREUS_E_MALFORMED);    /* eight bytes, of which three */
    assert_int_equal(REQUEST(&req, 0x1a, 2, 0x12, 1), CEREUS_E_MALFORMED); /* the route ends behind its message */
}

static void lengths_beyond_the_end_are_refused(void **state)
{
    crs_request req;
    assert_int_equal(REQUEST(&req, 0x2a, 1), CEREUS_E_MALFORMED);
    assert_int_equal(REQUEST(&req, 0x2a, 0xff, 0xff, 0xff, 0xff, 0x0f, 'x'), CEREUS_E_MALFORMED); /* 4 GiB */
    assert_int_equal(REQUEST(&req, 0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'x'),
                     CEREUS_E_MALFORMED); /* 2^64 - 1 */
    assert_int_equal(REQUEST(&req, 0x1a, 5, 0x1a, 0xff, 0xff, 0x7f, 'x'), CEREUS_E_MALFORMED);
}

static void the_last_of_a_field_counts_and_messages_are_merged(void **state)
{
    crs_request req;
    uint8_t wire[] = {0x1a, 4, 0x12, 2, 'a', 'b', 0x1a, 2, 0x08, 9, 0x1a, 3, 0x12, 1, 'c', 0x08, 1, 0x08, 0};
    assert_int_equal(crs_request_decode(cereus_slice_of(wire, sizeof wire), &req), CEREUS_OK);
    assert_true(crs_slice_eq(req.route, cereus_slice_str("c")));
    assert_int_equal(req.msg_id, 9);
    assert_int_equal(req.type, 0);
}

static void texts_that_are_not_utf8_are_neither_read_nor_written(void **state)
{
    crs_request req;
    cereus_slice bad = cereus_slice_of("\xff", 1);
    crs_bytes out;
    crs_bytes_init(&out, 10000);
    assert_int_equal(REQUEST(&req, 0x1a, 3, 0x12, 1, 0xff), CEREUS_E_MALFORMED);
    assert_int_equal(REQUEST(&req, 0x12, 3, 0x12, 1, 0xff), CEREUS_E_MALFORMED);
    assert_int_equal(REQUEST(&req, 0x22, 1, 0xff), CEREUS_E_MALFORMED);
    assert_int_equal(REQUEST(&req, 0x1a, 3, 0x1a, 1, 0xff), CEREUS_OK); /* a body may be anything */
    crs_request requests[] = {{.has_msg = true, .route = bad}, {.has_session = true, .uid = bad}, {.frontend_id = bad}};
    for (size_t i = 0; i < CEREUS_COUNT(requests); i++)
        assert_int_equal(crs_request_encode(&requests[i], &out), CEREUS_E_INVALID);
    crs_response res = {.failed = true, .error = {.msg = bad}};
    assert_int_equal(crs_response_encode(&res, &out), CEREUS_E_INVALID);
    res.error = (crs_rpc_error){.keys = {bad}, .pair_count = 1};
    assert_int_equal(crs_response_encode(&res, &out), CEREUS_E_INVALID);
    assert_int_equal(crs_push_encode(&(crs_push_msg){.uid = bad}, &out), CEREUS_E_INVALID);
    assert_int_equal(crs_bind_encode(&(crs_bind_msg){.uid = bad}, &out), CEREUS_E_INVALID);
    assert_int_equal(crs_kick_encode(bad, &out), CEREUS_E_INVALID);
    assert_int_equal(crs_session_encode(1, bad, (cereus_slice){0}, &out), CEREUS_E_INVALID);
    assert_int_equal(out.len, 0);
    crs_bytes_fini(&out);
}

static void an_error_keeps_so_many_pairs_and_the_last_of_a_key(void **state)
{
    crs_bytes wire;
    crs_bytes_init(&wire, 10000);
    for (int i = 0; i < 40; i++) {
        uint8_t pair[] = {0x1a, 6, 0x0a, 1, (uint8_t)('0' + i), 0x12, 1, 'v'};
        assert_int_equal(crs_bytes_append(&wire, pair, sizeof pair), CEREUS_OK);
    }
    uint8_t again[] = {0x1a, 6, 0x0a, 1, '0', 0x12, 1, 'w'};
    assert_int_equal(crs_bytes_append(&wire, again, sizeof again), CEREUS_OK);
    uint8_t head[] = {0x12, (uint8_t)(wire.len & 0x7f) | 0x80, (uint8_t)(wire.len >> 7)};
    crs_bytes whole;
    crs_bytes_init(&whole, 10000);
    assert_int_equal(crs_bytes_append(&whole, head, sizeof head), CEREUS_OK);
    assert_int_equal(crs_bytes_append(&whole, wire.data, wire.len), CEREUS_OK);
    crs_response res;
    assert_int_equal(crs_response_decode(crs_bytes_slice(&whole), &res), CEREUS_OK);
    assert_true(res.failed);
    assert_int_equal(res.error.pair_count, CRS_ERROR_PAIRS_MAX);
    assert_true(crs_slice_eq(res.error.values[0], cereus_slice_str("w")));
    assert_true(crs_slice_eq(res.error.values[1], cereus_slice_str("v")));
    crs_bytes_fini(&wire);
    crs_bytes_fini(&whole);
}

static void nothing_at_all_is_a_message_of_nothing(void **state)
{
    crs_request req;
    crs_response res;
    crs_push_msg push;
    crs_bind_msg bind;
    cereus_slice uid, none = {0};
    crs_bytes out;
    crs_bytes_init(&out, 100);
    assert_int_equal(crs_request_decode(none, &req), CEREUS_OK);
    assert_int_equal(crs_response_decode(none, &res), CEREUS_OK);
    assert_int_equal(crs_push_decode(none, &push), CEREUS_OK);
    assert_int_equal(crs_bind_decode(none, &bind), CEREUS_OK);
    assert_int_equal(crs_kick_decode(none, &uid), CEREUS_OK);
    assert_int_equal(crs_request_encode(&req, &out), CEREUS_OK);
    assert_int_equal(crs_response_encode(&res, &out), CEREUS_OK);
    assert_int_equal(crs_push_encode(&push, &out), CEREUS_OK);
    assert_int_equal(out.len, 0);
    req.has_session = req.has_msg = true; /* set, though nothing is in them */
    assert_int_equal(crs_request_encode(&req, &out), CEREUS_OK);
    assert_int_equal(out.len, 4);
    assert_memory_equal(out.data, "\x12\0\x1a\0", 4);
    crs_bytes_fini(&out);
}

static void our_extension_is_one_number_that_others_skip(void **state)
{
    crs_request req = {.extension = CRS_PEER_IS_CEREUS | CRS_PEER_IN_ORDER, .session_id = -1, .has_session = true},
                back;
    crs_bytes out;
    crs_bytes_init(&out, 100);
    assert_int_equal(crs_request_encode(&req, &out), CEREUS_OK);
    assert_memory_equal(out.data + out.len - 2, "\x78\x03", 2);
    assert_int_equal(crs_request_decode(crs_bytes_slice(&out), &back), CEREUS_OK);
    assert_int_equal(back.extension, 3);
    assert_int_equal(back.session_id, -1);
    crs_bytes_fini(&out);
}

static void a_push_may_come_where_an_answer_is_waited_for(void **state)
{
    crs_push_msg push = {.route = cereus_slice_str("onX"), .uid = cereus_slice_str("u"), .data = cereus_slice_str("d")};
    crs_push_msg back;
    crs_bytes out;
    cereus_slice inner;
    crs_bytes_init(&out, 100);
    assert_int_equal(crs_mark_encode(CRS_PEER_AHEAD, &out), CEREUS_OK);
    assert_int_equal(crs_push_encode(&push, &out), CEREUS_OK);
    assert_false(crs_has_mark(crs_bytes_slice(&out), CRS_PEER_MANY, &inner));
    assert_true(crs_has_mark(crs_bytes_slice(&out), CRS_PEER_AHEAD, &inner));
    assert_int_equal(crs_push_decode(inner, &back), CEREUS_OK);
    assert_true(crs_slice_eq(back.route, push.route) && crs_slice_eq(back.uid, push.uid) &&
                crs_slice_eq(back.data, push.data));
    crs_response answers[] = {{.extension = CRS_PEER_IS_CEREUS},
                              {.data = cereus_slice_str("x"), .extension = CRS_PEER_IS_CEREUS},
                              {.failed = true, .extension = CRS_PEER_IS_CEREUS},
                              {.failed = false}};
    for (size_t i = 0; i < CEREUS_COUNT(answers); i++) {
        out.len = 0;
        assert_int_equal(crs_response_encode(&answers[i], &out), CEREUS_OK);
        assert_false(crs_has_mark(crs_bytes_slice(&out), CRS_PEER_AHEAD, &inner));
    }
    crs_bytes_fini(&out);
}

static void an_encoder_that_finds_no_room_writes_nothing(void **state)
{
    crs_request req = {.has_msg = true, .route = cereus_slice_str("a.b.c"), .body = cereus_slice_str("0123456789")};
    for (size_t max = 0; max < 25; max++) {
        crs_bytes out;
        crs_bytes_init(&out, max);
        cereus_status st = crs_request_encode(&req, &out);
        assert_int_equal(st, max < 21 ? CEREUS_E_TOO_LONG : CEREUS_OK);
        assert_int_equal(out.len, st ? 0 : 21);
        crs_bytes_fini(&out);
    }
}

TEST_MAIN(cmocka_unit_test(fields_of_another_wire_type_are_unknown_ones),
          cmocka_unit_test(what_is_no_protobuf_is_refused), cmocka_unit_test(lengths_beyond_the_end_are_refused),
          cmocka_unit_test(the_last_of_a_field_counts_and_messages_are_merged),
          cmocka_unit_test(texts_that_are_not_utf8_are_neither_read_nor_written),
          cmocka_unit_test(an_error_keeps_so_many_pairs_and_the_last_of_a_key),
          cmocka_unit_test(nothing_at_all_is_a_message_of_nothing),
          cmocka_unit_test(our_extension_is_one_number_that_others_skip),
          cmocka_unit_test(a_push_may_come_where_an_answer_is_waited_for),
          cmocka_unit_test(an_encoder_that_finds_no_room_writes_nothing))
