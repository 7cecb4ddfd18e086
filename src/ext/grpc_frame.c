/* ext/grpc_frame.c: see the header. A message that lies whole in the input, the usual case, is not copied. */
#include "ext/grpc_frame.h"

enum { KEEP_MAX = 64 * 1024 }; /* memory kept from one message to the next */

void crs_grpc_rx_init(crs_grpc_rx *rx, size_t message_max)
{
    *rx = (crs_grpc_rx){0};
    crs_bytes_init(&rx->body, message_max);
}

void crs_grpc_rx_fini(crs_grpc_rx *rx)
{
    crs_bytes_fini(&rx->body);
}

static cereus_status take_head(crs_grpc_rx *rx, cereus_slice *in)
{
    while (rx->head_len < CRS_GRPC_HEAD_LEN) {
        if (in->len == 0)
            return CEREUS_E_AGAIN;
        rx->head[rx->head_len++] = *in->data++;
        in->len--;
    }
    if (rx->head[0] > 1)
        return CEREUS_E_MALFORMED;
    if (rx->head[0] == 1)
        return CEREUS_E_UNSUPPORTED;
    rx->want = (size_t)rx->head[1] << 24 | crs_get_u24(rx->head + 2);
    return rx->want > rx->body.max ? CEREUS_E_TOO_LONG : CEREUS_OK;
}

cereus_status crs_grpc_rx_next(crs_grpc_rx *rx, cereus_slice *in, cereus_slice *ret_msg)
{
    if (rx->delivered) {
        rx->delivered = false;
        rx->body.len = 0;
        if (rx->body.cap > KEEP_MAX)
            crs_bytes_fini(&rx->body);
    }
    CEREUS_TRY(take_head(rx, in));
    if (rx->body.len == 0 && in->len >= rx->want) {
        *ret_msg = cereus_slice_of(in->data ? (const void *)in->data : "", rx->want);
        in->data += rx->want;
        in->len -= rx->want;
        rx->head_len = 0;
        return CEREUS_OK;
    }
    size_t take = CRS_MIN(rx->want - rx->body.len, in->len);
    CEREUS_TRY(crs_bytes_append(&rx->body, in->data, take));
    in->data += take;
    in->len -= take;
    if (rx->body.len < rx->want)
        return CEREUS_E_AGAIN;
    *ret_msg = crs_bytes_slice(&rx->body);
    rx->head_len = 0;
    rx->delivered = true;
    return CEREUS_OK;
}
