/* tests/fuzz/fuzz_message.c: the body of a data packet. What decodes must encode, and decode again to the same. */
#include "fuzz.h"

#include "wire/message.h"

static crs_route_dict *make_dict(void)
{
    static const struct {
        const char *route;
        uint16_t code;
    } rows[] = {{"test.echo", 1},   {"connector.test.typed", 2}, {"onpush", 300},
                {"onnote", 0xffff}, {"zero.route", 0},           {"test.note", 256}};
    crs_route_dict *dict = crs_route_dict_new();
    FUZZ_CHECK(dict);
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++)
        FUZZ_CHECK(crs_route_dict_add(dict, cereus_slice_str(rows[i].route), rows[i].code, NULL) == CEREUS_OK);
    return dict;
}

static void check_message(const uint8_t *in, size_t len, const crs_route_dict *dict, const crs_message *msg)
{
    FUZZ_CHECK(msg->body.len < len && msg->body.data + msg->body.len == in + len);
    FUZZ_CHECK(msg->route.len <= CRS_ROUTE_LEN_MAX);
    uint8_t head[CRS_MESSAGE_HEAD_MAX];
    size_t head_len;
    FUZZ_CHECK(crs_message_head(msg, dict, head, &head_len) == CEREUS_OK);
    FUZZ_CHECK(head_len <= sizeof head);

    uint8_t *wire = malloc(head_len + msg->body.len);
    FUZZ_CHECK(wire);
    memcpy(wire, head, head_len);
    memcpy(wire + head_len, msg->body.data, msg->body.len);
    crs_message again;
    FUZZ_CHECK(crs_message_decode(cereus_slice_of(wire, head_len + msg->body.len), dict, &again) == CEREUS_OK);
    FUZZ_CHECK(again.type == msg->type && again.id == msg->id);
    FUZZ_CHECK(again.compressed == msg->compressed && again.error == msg->error);
    FUZZ_CHECK(crs_slice_eq(again.route, msg->route) && crs_slice_eq(again.body, msg->body));
    free(wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static crs_route_dict *dict; /* lives as long as the process */
    if (!dict)
        dict = make_dict();
    uint8_t *in = fuzz_copy(data, size);
    const crs_route_dict *dicts[] = {NULL, dict};
    for (size_t i = 0; i < CEREUS_COUNT(dicts); i++) {
        crs_message msg;
        cereus_status st = crs_message_decode(cereus_slice_of(in, size), dicts[i], &msg);
        FUZZ_CHECK(st == CEREUS_OK || st == CEREUS_E_MALFORMED || st == CEREUS_E_NOT_FOUND);
        if (!st)
            check_message(in, size, dicts[i], &msg);
    }
    free(in);
    return 0;
}
