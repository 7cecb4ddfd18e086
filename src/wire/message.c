/* wire/message.c: flag, id, route, body. Every part is checked against what is left before it is touched; Pitaya reads
 * past the end in two places here (client-protocol.md Q5, Q6). */
#include "wire/message.h"

enum {
    TYPE_SHIFT = 1,
    TYPE_MASK = 7,
    ID_LEN_MAX = 10, /* 64 bits, 7 in a byte */
};

const char *crs_message_type_name(crs_message_type type)
{
    static const char *const names[] = {"request", "notify", "response", "push"};
    return (size_t)type < CEREUS_COUNT(names) ? names[type] : "unknown";
}

/* 6.2: requests and responses carry an id, all but responses a route */
static inline bool has_id(crs_message_type type)
{
    return !(type & 1);
}

static inline bool has_route(crs_message_type type)
{
    return type != CRS_MESSAGE_RESPONSE;
}

/* Non-canonical forms are fine (81 00 is 1), bits past 64 are not. NULL: cut off or too large. */
static const uint8_t *get_id(const uint8_t *at, const uint8_t *end, uint64_t *ret_id)
{
    uint64_t id = 0;
    size_t len = CRS_MIN((size_t)(end - at), (size_t)ID_LEN_MAX);
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = at[i];
        if (i == ID_LEN_MAX - 1 && byte > 1)
            return NULL;
        id |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *ret_id = id;
            return at + i + 1;
        }
    }
    return NULL;
}

static inline size_t put_id(uint8_t *out, uint64_t id)
{
    size_t len = 0;
    while (id >= 0x80) {
        out[len++] = (uint8_t)(id | 0x80);
        id >>= 7;
    }
    out[len++] = (uint8_t)id;
    return len;
}

cereus_status crs_message_decode(cereus_slice in, const crs_route_dict *dict, crs_message *ret_msg)
{
    if (CRS_UNLIKELY(in.len < 2))
        return CEREUS_E_MALFORMED;
    const uint8_t *at = in.data, *end = in.data + in.len;
    unsigned flag = *at++;
    unsigned type = flag >> TYPE_SHIFT & TYPE_MASK;
    if (CRS_UNLIKELY(type > CRS_MESSAGE_PUSH))
        return CEREUS_E_MALFORMED;

    uint64_t id = 0;
    if (has_id(type)) {
        at = get_id(at, end, &id);
        if (CRS_UNLIKELY(!at))
            return CEREUS_E_MALFORMED;
    }

    cereus_slice route = {0};
    if (has_route(type)) {
        if (flag & CRS_MESSAGE_FLAG_ROUTE_CODE) {
            if (CRS_UNLIKELY(end - at < 2))
                return CEREUS_E_MALFORMED;
            if (!crs_route_dict_route(dict, (uint16_t)(at[0] << 8 | at[1]), &route))
                return CEREUS_E_NOT_FOUND;
            at += 2;
        } else {
            if (CRS_UNLIKELY(at == end)) /* Q5: ends behind the id */
                return CEREUS_E_MALFORMED;
            size_t len = *at++;
            if (CRS_UNLIKELY(len > (size_t)(end - at)))
                return CEREUS_E_MALFORMED;
            route = cereus_slice_of(at, len);
            at += len;
        }
    }

    *ret_msg = (crs_message){
        .type = (crs_message_type)type,
        .id = id,
        .route = route,
        .body = cereus_slice_of(at, (size_t)(end - at)),
        .compressed = flag & CRS_MESSAGE_FLAG_COMPRESSED,
        .error = flag & CRS_MESSAGE_FLAG_ERROR,
    };
    return CEREUS_OK;
}

cereus_status crs_message_head(const crs_message *msg, const crs_route_dict *dict, uint8_t out[CRS_MESSAGE_HEAD_MAX],
                               size_t *ret_len)
{
    crs_message_type type = msg->type;
    if (CRS_UNLIKELY((unsigned)type > CRS_MESSAGE_PUSH))
        return CEREUS_E_INVALID;
    unsigned flag = (unsigned)type << TYPE_SHIFT;
    if (msg->compressed)
        flag |= CRS_MESSAGE_FLAG_COMPRESSED;
    if (msg->error)
        flag |= CRS_MESSAGE_FLAG_ERROR;

    size_t len = 1;
    if (has_id(type))
        len += put_id(out + len, msg->id);
    if (has_route(type)) {
        size_t route_len = msg->route.len;
        if (CRS_UNLIKELY(route_len > CRS_ROUTE_LEN_MAX))
            return CEREUS_E_TOO_LONG;
        uint16_t code;
        if (crs_route_dict_code(dict, msg->route, &code)) {
            flag |= CRS_MESSAGE_FLAG_ROUTE_CODE;
            out[len++] = (uint8_t)(code >> 8);
            out[len++] = (uint8_t)code;
        } else {
            out[len++] = (uint8_t)route_len;
            if (route_len)
                memcpy(out + len, msg->route.data, route_len);
            len += route_len;
        }
    }
    out[0] = (uint8_t)flag;
    *ret_len = len;
    return CEREUS_OK;
}
