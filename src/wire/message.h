/* wire/message.h: what a data packet holds, client-protocol.md 6: flag, id, route, body. Pure functions, no allocation.
 * Inflating is a step of its own (wire/compress.h): decode hands out the body as it came, with its flag. */
#ifndef CRS_WIRE_MESSAGE_H
#define CRS_WIRE_MESSAGE_H

#include "base/base.h"
#include "wire/route_dict.h"

enum {
    CRS_MESSAGE_FLAG_ROUTE_CODE = 0x01,
    CRS_MESSAGE_FLAG_COMPRESSED = 0x10,
    CRS_MESSAGE_FLAG_ERROR = 0x20,
    CRS_ROUTE_LEN_MAX = 255,                 /* one length byte on the wire */
    CRS_MESSAGE_HEAD_MAX = 1 + 10 + 1 + 255, /* flag, id, route; the body follows */
};

typedef enum crs_message_type {
    CRS_MESSAGE_REQUEST = 0,
    CRS_MESSAGE_NOTIFY = 1,
    CRS_MESSAGE_RESPONSE = 2,
    CRS_MESSAGE_PUSH = 3,
} crs_message_type;

typedef struct crs_message {
    crs_message_type type;
    uint64_t id;        /* request, response; else 0 */
    cereus_slice route; /* request, notify, push; else nothing. Not checked for UTF-8 */
    cereus_slice body;
    bool compressed; /* body is a zlib stream */
    bool error;      /* body is an error payload */
} crs_message;

/** "request", "notify", "response", "push". */
const char *crs_message_type_name(crs_message_type type);

/**
 * Decode one message.
 * @param in    the whole body of a data packet
 * @param dict  routes by code; NULL: none
 * @return CEREUS_OK; CEREUS_E_MALFORMED: too short, type 4-7, id not terminated or over 64 bits (Q6, Q5), route cut off;
 *         CEREUS_E_NOT_FOUND: route code that is not in @p dict
 * Ownership: ret_msg borrows @p in, its route may borrow @p dict. Thread: any.
 */
cereus_status crs_message_decode(cereus_slice in, const crs_route_dict *dict, crs_message *ret_msg);

/**
 * Write everything of @p msg that precedes its body to @p out. The route becomes a code when @p dict has it; a response
 * never carries a route nor that bit (Q13). `compressed` and `error` set their bits; type, id, route as the type wants.
 * @param ret_len  set on CEREUS_OK: bytes written, at most CRS_MESSAGE_HEAD_MAX
 * @return CEREUS_OK; CEREUS_E_TOO_LONG: route over CRS_ROUTE_LEN_MAX bytes (Q12: never wrap); CEREUS_E_INVALID: no such type
 */
CEREUS_MUST_USE cereus_status crs_message_head(const crs_message *msg, const crs_route_dict *dict,
                                               uint8_t out[CRS_MESSAGE_HEAD_MAX], size_t *ret_len);

#endif
