/* tools/bench/frame.c: framing of a client. The mask key is always the same: requests are then ready-made bytes that
 * are copied and sent, and the server's work for them is the same as with a random key. */
#include <stdio.h>
#include <strings.h>

#include "frame.h"

enum { WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10, WS_HEAD_MAX = 14, UPGRADE_MAX = 8192 };

static const uint8_t mask_key[4] = {0x37, 0xfa, 0x21, 0x3d};

/* The example pair of RFC 6455 1.3. */
static const char upgrade_key[] = "dGhlIHNhbXBsZSBub25jZQ==", upgrade_accept[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

static cereus_status next_frame(cereus_slice in, crs_bench_item *ret_item, size_t *ret_used)
{
    if (in.len < 2)
        return CEREUS_E_AGAIN;
    const uint8_t *p = in.data;
    if (!(p[0] & 0x80) || p[0] & 0x70 || p[1] & 0x80)
        return CEREUS_E_MALFORMED;
    uint64_t len = p[1];
    size_t head_len = len == 127 ? 10 : len == 126 ? 4 : 2;
    if (in.len < head_len)
        return CEREUS_E_AGAIN;
    if (head_len > 2) {
        len = 0;
        for (size_t i = 2; i < head_len; i++)
            len = len << 8 | p[i];
    }
    if (len > CRS_PACKET_HEAD_LEN + CRS_PACKET_BODY_MAX)
        return CEREUS_E_TOO_LONG;
    if (in.len - head_len < len)
        return CEREUS_E_AGAIN;
    cereus_slice payload = cereus_slice_of(p + head_len, len);
    size_t packet_len;
    switch (p[0] & 0x0f) {
    case WS_BINARY:
        ret_item->kind = CRS_BENCH_PACKET;
        if (crs_packet_decode(payload, CRS_PACKET_BODY_MAX, &ret_item->packet, &packet_len) || packet_len != len)
            return CEREUS_E_MALFORMED;
        break;
    case WS_PING:
        if (len > 125)
            return CEREUS_E_MALFORMED;
        ret_item->kind = CRS_BENCH_PING;
        ret_item->ping = payload;
        break;
    case WS_PONG:
        ret_item->kind = CRS_BENCH_PONG;
        break;
    case WS_CLOSE:
        ret_item->kind = CRS_BENCH_CLOSE;
        break;
    default:
        return CEREUS_E_MALFORMED;
    }
    *ret_used = head_len + len;
    return CEREUS_OK;
}

cereus_status crs_bench_next(bool ws, cereus_slice in, crs_bench_item *ret_item, size_t *ret_used)
{
    if (ws)
        return next_frame(in, ret_item, ret_used);
    ret_item->kind = CRS_BENCH_PACKET;
    return crs_packet_decode(in, CRS_PACKET_BODY_MAX, &ret_item->packet, ret_used);
}

static cereus_status put_ws_head(uint8_t opcode, size_t len, crs_bytes *out)
{
    uint8_t head[WS_HEAD_MAX] = {(uint8_t)(0x80 | opcode)};
    size_t len_bytes = len < 126 ? 0 : len <= 0xffff ? 2 : 8;
    head[1] = (uint8_t)(0x80 | (len_bytes == 0 ? len : len_bytes == 2 ? 126 : 127));
    for (size_t i = 0; i < len_bytes; i++)
        head[2 + i] = (uint8_t)((uint64_t)len >> (8 * (len_bytes - 1 - i)));
    memcpy(head + 2 + len_bytes, mask_key, sizeof mask_key);
    return crs_bytes_append(out, head, 2 + len_bytes + sizeof mask_key);
}

static void mask_from(crs_bytes *out, size_t start)
{
    for (size_t i = start; i < out->len; i++)
        out->data[i] ^= mask_key[(i - start) & 3];
}

/* A packet whose body comes in two parts: of a message, its head and its body. */
static cereus_status put_packet(bool ws, crs_packet_type type, cereus_slice front, cereus_slice rest, crs_bytes *out)
{
    uint8_t head[CRS_PACKET_HEAD_LEN];
    CEREUS_TRY(crs_packet_head(type, front.len + rest.len, head));
    if (ws)
        CEREUS_TRY(put_ws_head(WS_BINARY, sizeof head + front.len + rest.len, out));
    size_t start = out->len;
    CEREUS_TRY(crs_bytes_append(out, head, sizeof head));
    CEREUS_TRY(crs_bytes_append(out, front.data, front.len));
    CEREUS_TRY(crs_bytes_append(out, rest.data, rest.len));
    if (ws)
        mask_from(out, start);
    return CEREUS_OK;
}

cereus_status crs_bench_put_packet(bool ws, crs_packet_type type, cereus_slice body, crs_bytes *out)
{
    return put_packet(ws, type, body, (cereus_slice){0}, out);
}

cereus_status crs_bench_put_message(bool ws, const crs_message *msg, crs_bytes *out)
{
    uint8_t head[CRS_MESSAGE_HEAD_MAX];
    size_t head_len;
    CEREUS_TRY(crs_message_head(msg, NULL, head, &head_len));
    return put_packet(ws, CRS_PACKET_DATA, cereus_slice_of(head, head_len), msg->body, out);
}

cereus_status crs_bench_put_pong(cereus_slice ping, crs_bytes *out)
{
    CEREUS_TRY(put_ws_head(WS_PONG, ping.len, out));
    size_t start = out->len;
    CEREUS_TRY(crs_bytes_append(out, ping.data, ping.len));
    mask_from(out, start);
    return CEREUS_OK;
}

cereus_status crs_bench_put_upgrade(const char *host, crs_bytes *out)
{
    return crs_bytes_printf(out,
                            "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n",
                            host, upgrade_key);
}

cereus_status crs_bench_upgraded(cereus_slice in, size_t *ret_used)
{
    static const char status[] = "HTTP/1.1 101 ", name[] = "\r\nsec-websocket-accept:";
    const char *text = (const char *)in.data, *end = memmem(text, in.len, "\r\n\r\n", 4);
    if (!end)
        return in.len > UPGRADE_MAX ? CEREUS_E_MALFORMED : CEREUS_E_AGAIN;
    if ((size_t)(end - text) < sizeof status - 1 || memcmp(text, status, sizeof status - 1) != 0)
        return CEREUS_E_MALFORMED;
    for (const char *p = text; end - p >= (ptrdiff_t)(sizeof name + sizeof upgrade_accept - 2); p++) {
        if (strncasecmp(p, name, sizeof name - 1) != 0)
            continue;
        p += sizeof name - 1;
        while (p < end && *p == ' ')
            p++;
        if (end - p < (ptrdiff_t)(sizeof upgrade_accept - 1) ||
            memcmp(p, upgrade_accept, sizeof upgrade_accept - 1) != 0)
            return CEREUS_E_MALFORMED;
        *ret_used = (size_t)(end + 4 - text);
        return CEREUS_OK;
    }
    return CEREUS_E_MALFORMED;
}
