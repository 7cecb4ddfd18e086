/* wire/packet.c: four bytes in front of every body. Stateless: the caller keeps what has been received so far. */
#include "wire/packet.h"

const char *crs_packet_type_name(crs_packet_type type)
{
    switch (type) {
    case CRS_PACKET_HANDSHAKE:
        return "handshake";
    case CRS_PACKET_HANDSHAKE_ACK:
        return "handshake ack";
    case CRS_PACKET_HEARTBEAT:
        return "heartbeat";
    case CRS_PACKET_DATA:
        return "data";
    case CRS_PACKET_KICK:
        return "kick";
    }
    return "unknown";
}

static inline bool is_type(unsigned type)
{
    return type - CRS_PACKET_HANDSHAKE <= CRS_PACKET_KICK - CRS_PACKET_HANDSHAKE; /* 0 wraps to a large number */
}

cereus_status crs_packet_decode(cereus_slice in, size_t body_max, crs_packet *ret_pkt, size_t *ret_used)
{
    if (in.len < CRS_PACKET_HEAD_LEN)
        return CEREUS_E_AGAIN;
    if (CRS_UNLIKELY(!is_type(in.data[0])))
        return CEREUS_E_MALFORMED;
    size_t body_len = crs_get_u24(in.data + 1);
    if (CRS_UNLIKELY(body_len > body_max))
        return CEREUS_E_TOO_LONG;
    if (in.len - CRS_PACKET_HEAD_LEN < body_len)
        return CEREUS_E_AGAIN;
    ret_pkt->type = (crs_packet_type)in.data[0];
    ret_pkt->body = cereus_slice_of(in.data + CRS_PACKET_HEAD_LEN, body_len);
    *ret_used = CRS_PACKET_HEAD_LEN + body_len;
    return CEREUS_OK;
}

cereus_status crs_packet_head(crs_packet_type type, size_t body_len, uint8_t out[CRS_PACKET_HEAD_LEN])
{
    if (CRS_UNLIKELY(!is_type(type)))
        return CEREUS_E_INVALID;
    if (CRS_UNLIKELY(body_len > CRS_PACKET_BODY_MAX))
        return CEREUS_E_TOO_LONG;
    out[0] = (uint8_t)type;
    crs_put_u24(out + 1, (uint32_t)body_len);
    return CEREUS_OK;
}
