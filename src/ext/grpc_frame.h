/* ext/grpc_frame.h: gRPC's framing inside a stream: a byte that says whether the message is compressed, its length in four
 * bytes big-endian, the message. Pure: no I/O. */
#ifndef CRS_EXT_GRPC_FRAME_H
#define CRS_EXT_GRPC_FRAME_H

#include "base/buf.h"

enum { CRS_GRPC_HEAD_LEN = 5 };

typedef struct crs_grpc_rx {
    crs_bytes body; /* what came of a message that did not come in one piece */
    uint8_t head[CRS_GRPC_HEAD_LEN];
    size_t head_len;
    size_t want;    /* bytes of the message, once the head is whole */
    bool delivered; /* `body` was handed out: the next call empties it */
} crs_grpc_rx;

/** Ready for messages of at most @p message_max bytes; takes no memory yet. */
void crs_grpc_rx_init(crs_grpc_rx *rx, size_t message_max);
void crs_grpc_rx_fini(crs_grpc_rx *rx);

/**
 * Take bytes from the front of @p in until a message is whole. Call again after CEREUS_OK: there may be more.
 * @param ret_msg  set on CEREUS_OK: points into @p in or into @p rx, good until the next call
 * @return CEREUS_OK; CEREUS_E_AGAIN: all taken, more bytes are needed; CEREUS_E_TOO_LONG: refused from the head alone;
 *         CEREUS_E_UNSUPPORTED: compressed; CEREUS_E_MALFORMED; CEREUS_E_NOMEM. After one of the last four no more calls.
 * Memory grows with what arrived, not with what was announced.
 */
CEREUS_MUST_USE cereus_status crs_grpc_rx_next(crs_grpc_rx *rx, cereus_slice *in, cereus_slice *ret_msg);

/** Did it end in the middle of a message? */
static inline bool crs_grpc_rx_partial(const crs_grpc_rx *rx)
{
    return rx->head_len != 0;
}

/** Write the head of a message of @p len bytes. */
static inline void crs_grpc_put_head(uint8_t head[CRS_GRPC_HEAD_LEN], uint32_t len)
{
    head[0] = 0;
    head[1] = (uint8_t)(len >> 24);
    crs_put_u24(head + 2, len & 0xffffff);
}

#endif
