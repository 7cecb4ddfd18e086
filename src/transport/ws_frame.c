/* transport/ws_frame.c: what a frame's head may say is decided in one place, decode_head(); the rest moves bytes. What
 * always holds: nothing is allocated for bytes that have not arrived, nothing is kept of a message that has been handed
 * out. */
#include "transport/ws_frame.h"

enum {
    BIT_FIN = 0x80,
    BITS_RSV = 0x70,
    BITS_OPCODE = 0x0f,
    BIT_CONTROL = 0x08,
    BIT_MASK = 0x80,
    BITS_LEN = 0x7f,
    LEN_16 = 126, /* the length follows in 2 bytes */
    LEN_64 = 127, /* in 8 */
};

typedef struct head {
    uint8_t len;    /* of the head itself */
    uint8_t opcode; /* crs_ws_opcode */
    bool fin;
    uint32_t payload_len;
} head;

_Static_assert(sizeof(crs_ws_rx) <= 48, "every connection has one");

void crs_ws_rx_init(crs_ws_rx *rx, const crs_ws_rx_options *opt)
{
    *rx = (crs_ws_rx){.client = opt && opt->client, .check_utf8 = opt && opt->check_utf8};
    crs_bytes_init(&rx->message, opt && opt->message_max ? opt->message_max : CRS_WS_MESSAGE_MAX);
}

void crs_ws_rx_fini(crs_ws_rx *rx)
{
    crs_bytes_fini(&rx->message);
}

void crs_ws_rx_release(crs_ws_rx *rx)
{
    if (rx->delivered)
        crs_bytes_fini(&rx->message);
    rx->delivered = false;
}

/** Nothing more will be taken. */
static void end(crs_ws_rx *rx)
{
    crs_bytes_fini(&rx->message); /* of a message that will never be whole */
    rx->ended = true;
}

/** @p text is a constant. */
static cereus_status fail(crs_ws_rx *rx, uint16_t code, const char *text, crs_ws_event *ret_event)
{
    end(rx);
    *ret_event = (crs_ws_event){.type = CRS_WS_EVENT_ERROR, .code = code, .text = text};
    return CEREUS_OK;
}

/** Is @p first, the first byte of a frame, acceptable here? NULL, or what is wrong with it. */
static const char *check_first(const crs_ws_rx *rx, uint8_t first)
{
    uint8_t opcode = first & BITS_OPCODE;
    if (first & BITS_RSV)
        return "reserved bit set"; /* they belong to extensions, and we never take one */
    if (opcode & BIT_CONTROL) {
        if (opcode > CRS_WS_PONG)
            return "unknown opcode";
        return first & BIT_FIN ? NULL : "fragmented control frame";
    }
    if (opcode > CRS_WS_BINARY)
        return "unknown opcode";
    if (opcode == CRS_WS_CONTINUATION)
        return rx->opcode ? NULL : "continuation of nothing";
    return rx->opcode ? "new message inside a fragmented one" : NULL;
}

/** @return CEREUS_OK; CEREUS_E_AGAIN: the head is not all there; CEREUS_E_MALFORMED, CEREUS_E_TOO_LONG: see *ret_text
 */
static cereus_status decode_head(const crs_ws_rx *rx, const uint8_t *p, size_t len, head *ret_head,
                                 const char **ret_text)
{
    if (len == 0)
        return CEREUS_E_AGAIN;
    *ret_text = check_first(rx, p[0]);
    if (CRS_UNLIKELY(*ret_text != NULL))
        return CEREUS_E_MALFORMED;
    if (len < 2)
        return CEREUS_E_AGAIN;
    if (CRS_UNLIKELY(!(p[1] & BIT_MASK) != rx->client)) {
        *ret_text = rx->client ? "masked frame from a server" : "frame without a mask";
        return CEREUS_E_MALFORMED;
    }
    uint64_t payload_len = p[1] & BITS_LEN;
    size_t head_len = 2;
    if (p[0] & BIT_CONTROL) {
        if (payload_len > CRS_WS_CONTROL_MAX) {
            *ret_text = "control frame over 125 bytes";
            return CEREUS_E_MALFORMED;
        }
    } else if (payload_len >= LEN_16) {
        size_t more = payload_len == LEN_16 ? 2 : 8;
        uint64_t longest_before = more == 2 ? LEN_16 - 1 : UINT16_MAX; /* what the shorter form can say */
        if (len < 2 + more)
            return CEREUS_E_AGAIN;
        payload_len = 0;
        for (size_t i = 0; i < more; i++)
            payload_len = payload_len << 8 | p[2 + i];
        head_len += more;
        if (payload_len <= longest_before || payload_len > INT64_MAX) { /* RFC 6455 5.2: minimal, top bit 0 */
            *ret_text = "length not in its shortest form";
            return CEREUS_E_MALFORMED;
        }
    }
    if (!(p[0] & BIT_CONTROL) && payload_len > rx->message.max - rx->message.len) {
        *ret_text = "message too long";
        return CEREUS_E_TOO_LONG;
    }
    if (!rx->client)
        head_len += 4;
    if (len < head_len)
        return CEREUS_E_AGAIN;
    *ret_head = (head){.len = (uint8_t)head_len,
                       .opcode = p[0] & BITS_OPCODE,
                       .fin = p[0] & BIT_FIN,
                       .payload_len = (uint32_t)payload_len};
    return CEREUS_OK;
}

bool crs_ws_code_valid(uint16_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static cereus_status take_close(crs_ws_rx *rx, uint8_t *payload, size_t len, crs_ws_event *ret_event)
{
    crs_ws_event close = {.type = CRS_WS_EVENT_CLOSE, .code = CRS_WS_CODE_NONE, .payload = payload};
    if (len == 1)
        return fail(rx, CRS_WS_CODE_PROTOCOL, "close frame of one byte", ret_event);
    if (len) {
        close.code = (uint16_t)(payload[0] << 8 | payload[1]);
        close.payload += 2;
        close.len = len - 2;
        if (!crs_ws_code_valid(close.code))
            return fail(rx, CRS_WS_CODE_PROTOCOL, "bad close code", ret_event);
        if (!crs_utf8_valid(cereus_slice_of(close.payload, close.len)))
            return fail(rx, CRS_WS_CODE_NOT_UTF8, "close reason is not UTF-8", ret_event);
    }
    end(rx);
    *ret_event = close;
    return CEREUS_OK;
}

static cereus_status take_control(crs_ws_rx *rx, uint8_t opcode, uint8_t *payload, size_t len, crs_ws_event *ret_event)
{
    if (opcode == CRS_WS_CLOSE)
        return take_close(rx, payload, len, ret_event);
    *ret_event = (crs_ws_event){
        .type = opcode == CRS_WS_PING ? CRS_WS_EVENT_PING : CRS_WS_EVENT_PONG, .payload = payload, .len = len};
    return CEREUS_OK;
}

/** Hand out what was collected. */
static cereus_status deliver(crs_ws_rx *rx, crs_ws_event *ret_event)
{
    static uint8_t nothing[1]; /* never written: its length is 0 */
    *ret_event = (crs_ws_event){.type = CRS_WS_EVENT_MESSAGE,
                                .opcode = rx->opcode,
                                .payload = rx->message.data ? rx->message.data : nothing,
                                .len = rx->message.len};
    rx->opcode = 0;
    rx->delivered = true;
    return CEREUS_OK;
}

/**
 * Collect payload of the frame begun.
 * @param len  bytes at @p data, at most rx->frame_left
 * @return CEREUS_OK: *ret_event is set; CEREUS_E_AGAIN: the message is not whole; CEREUS_E_NOMEM
 */
static cereus_status collect(crs_ws_rx *rx, const uint8_t *data, size_t len, crs_ws_event *ret_event)
{
    size_t at = rx->message.len;
    CEREUS_TRY(crs_bytes_append(&rx->message, data, len)); /* never over max: decode_head() has checked */
    if (len && !rx->client) {
        uint8_t was[4];
        memcpy(was, rx->mask, 4);
        crs_ws_mask(rx->message.data + at, len, was);
        for (size_t i = 0; i < 4; i++)
            rx->mask[i] = was[(i + len) & 3];
    }
    rx->frame_left -= (uint32_t)len;
    rx->in_frame = rx->frame_left != 0;
    bool whole = rx->fin && !rx->in_frame;
    if (rx->check_utf8 && rx->opcode == CRS_WS_TEXT) {
        if (len && !crs_utf8_stream_feed(&rx->utf8, cereus_slice_of(rx->message.data + at, len)))
            return fail(rx, CRS_WS_CODE_NOT_UTF8, "text is not UTF-8", ret_event);
        if (whole && !crs_utf8_stream_at_end(&rx->utf8))
            return fail(rx, CRS_WS_CODE_NOT_UTF8, "text ends inside a character", ret_event);
    }
    return whole ? deliver(rx, ret_event) : CEREUS_E_AGAIN;
}

/** A data frame begins that is not a whole message, or not all there. */
static void begin_collecting(crs_ws_rx *rx, const head *h, const uint8_t *mask)
{
    if (h->opcode != CRS_WS_CONTINUATION) {
        rx->opcode = h->opcode;
        rx->utf8 = (crs_utf8_stream){0};
    }
    rx->fin = h->fin;
    rx->in_frame = true; /* also without payload: collect() ends it */
    rx->frame_left = h->payload_len;
    if (mask)
        memcpy(rx->mask, mask, 4);
}

cereus_status crs_ws_rx_next(crs_ws_rx *rx, uint8_t *data, size_t len, size_t *ret_used, crs_ws_event *ret_event)
{
    if (CRS_UNLIKELY(rx->delivered))
        crs_ws_rx_release(rx);
    if (CRS_UNLIKELY(rx->ended)) {
        *ret_used = len;
        return CEREUS_E_AGAIN;
    }
    size_t at = 0;
    for (;;) {
        if (rx->in_frame) {
            if (at == len && rx->frame_left)
                break;
            size_t part = CRS_MIN(rx->frame_left, len - at);
            cereus_status st = collect(rx, data + at, part, ret_event);
            if (st == CEREUS_E_NOMEM) {
                end(rx);
                return st;
            }
            at += part;
            if (st == CEREUS_OK) {
                *ret_used = at;
                return st;
            }
            continue;
        }

        head h;
        const char *text;
        cereus_status st = decode_head(rx, data + at, len - at, &h, &text);
        if (st == CEREUS_E_AGAIN)
            break;
        if (CRS_UNLIKELY(st)) {
            *ret_used = len;
            return fail(rx, st == CEREUS_E_TOO_LONG ? CRS_WS_CODE_TOO_LONG : CRS_WS_CODE_PROTOCOL, text, ret_event);
        }
        uint8_t *payload = data + at + h.len;
        const uint8_t *mask = rx->client ? NULL : payload - 4;
        bool control = h.opcode & BIT_CONTROL;
        bool here = h.payload_len <= len - at - h.len;
        if (control && !here)
            break;
        if (!control && !(here && h.fin && h.opcode != CRS_WS_CONTINUATION)) {
            begin_collecting(rx, &h, mask);
            at += h.len;
            continue;
        }

        *ret_used = at + h.len + h.payload_len;
        if (mask)
            crs_ws_mask(payload, h.payload_len, mask);
        if (control)
            return take_control(rx, h.opcode, payload, h.payload_len, ret_event);
        if (rx->check_utf8 && h.opcode == CRS_WS_TEXT && !crs_utf8_valid(cereus_slice_of(payload, h.payload_len)))
            return fail(rx, CRS_WS_CODE_NOT_UTF8, "text is not UTF-8", ret_event);
        *ret_event =
            (crs_ws_event){.type = CRS_WS_EVENT_MESSAGE, .opcode = h.opcode, .payload = payload, .len = h.payload_len};
        return CEREUS_OK;
    }
    *ret_used = at;
    return CEREUS_E_AGAIN;
}

size_t crs_ws_head(crs_ws_opcode opcode, uint64_t payload_len, const uint8_t mask[4], uint8_t out[CRS_WS_HEAD_MAX])
{
    size_t more = payload_len < LEN_16 ? 0 : payload_len <= UINT16_MAX ? 2 : 8;
    out[0] = (uint8_t)(BIT_FIN | opcode);
    out[1] = (uint8_t)(more == 0 ? payload_len : more == 2 ? LEN_16 : LEN_64);
    for (size_t i = 0; i < more; i++)
        out[2 + i] = (uint8_t)(payload_len >> (8 * (more - 1 - i)));
    if (!mask)
        return 2 + more;
    out[1] |= BIT_MASK;
    memcpy(out + 2 + more, mask, 4);
    return 2 + more + 4;
}

void crs_ws_mask(uint8_t *data, size_t len, const uint8_t mask[4])
{
    uint8_t pattern[8];
    memcpy(pattern, mask, 4);
    memcpy(pattern + 4, mask, 4);
    uint64_t key;
    memcpy(&key, pattern, 8);
    for (; len >= 32; data += 32, len -= 32) { /* the compiler makes vectors of the four */
        uint64_t word[4];
        memcpy(word, data, 32);
        for (size_t i = 0; i < 4; i++)
            word[i] ^= key;
        memcpy(data, word, 32);
    }
    for (; len >= 8; data += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        word ^= key;
        memcpy(data, &word, 8);
    }
    for (size_t i = 0; i < len; i++)
        data[i] ^= pattern[i];
}

size_t crs_ws_close_payload(uint16_t code, cereus_slice reason, uint8_t out[CRS_WS_CONTROL_MAX])
{
    if (code == CRS_WS_CODE_NONE)
        return 0;
    out[0] = (uint8_t)(code >> 8);
    out[1] = (uint8_t)code;
    size_t len = CRS_MIN(reason.len, (size_t)CRS_WS_CONTROL_MAX - 2);
    while (len && len < reason.len && (reason.data[len] & 0xc0) == 0x80) /* not in the middle of a character */
        len--;
    if (len)
        memcpy(out + 2, reason.data, len);
    return 2 + len;
}
