/* wire/packet.h: the outer frame, client-protocol.md 2: type u8 | body length u24 big-endian | body. Pure functions. */
#ifndef CRS_WIRE_PACKET_H
#define CRS_WIRE_PACKET_H

#include "base/base.h"

enum {
    CRS_PACKET_HEAD_LEN = 4,
    CRS_PACKET_BODY_MAX = (1 << 24) - 1, /* what three bytes can say */
};

/* X(name, value on the wire) */
#define CRS_PACKET_TYPE_TABLE(X) \
    X(HANDSHAKE, 1)              \
    X(HANDSHAKE_ACK, 2)          \
    X(HEARTBEAT, 3)              \
    X(DATA, 4)                   \
    X(KICK, 5)

typedef enum crs_packet_type {
#define CRS_PACKET_ENUM(name, value) CRS_PACKET_##name = value,
    CRS_PACKET_TYPE_TABLE(CRS_PACKET_ENUM)
#undef CRS_PACKET_ENUM
} crs_packet_type;

typedef struct crs_packet {
    crs_packet_type type;
    cereus_slice body;
} crs_packet;

/** "data", "heartbeat"...; "unknown" for anything else. */
const char *crs_packet_type_name(crs_packet_type type);

/**
 * Decode one packet from the front of @p in.
 *
 * @param in        bytes received so far: part of a packet, or several
 * @param body_max  longest body accepted, bytes; refused from the header alone, before the body is buffered
 * @param ret_pkt   set on CEREUS_OK; ret_pkt->body points into @p in
 * @param ret_used  set on CEREUS_OK: bytes consumed, 4 or more
 * @return CEREUS_OK; CEREUS_E_AGAIN: more bytes needed; CEREUS_E_MALFORMED: type outside 1..5, told as soon as the four
 *         header bytes are there; CEREUS_E_TOO_LONG: body over body_max
 * Ownership: borrows @p in; *ret_pkt is good for as long as @p in is. Allocates nothing. Thread: any.
 */
cereus_status crs_packet_decode(cereus_slice in, size_t body_max, crs_packet *ret_pkt, size_t *ret_used);

/** Write the 4-byte head of a packet with @p body_len bytes to @p out.
 * @return CEREUS_OK; CEREUS_E_TOO_LONG: body_len over CRS_PACKET_BODY_MAX (pitaya-flaws F-69: never wrap);
 *         CEREUS_E_INVALID: no such type. Thread: any. */
CEREUS_MUST_USE cereus_status crs_packet_head(crs_packet_type type, size_t body_len, uint8_t out[CRS_PACKET_HEAD_LEN]);

#endif
