/* transport/ws_frame.h: WebSocket frames (RFC 6455 section 5) as pure functions over bytes, for both roles. Sockets,
 * answers to pings and the closing handshake are their users' business; the HTTP upgrade is in http_head.h. No
 * extensions. */
#ifndef CRS_TRANSPORT_WS_FRAME_H
#define CRS_TRANSPORT_WS_FRAME_H

#include "base/buf.h"
#include "base/utf8.h"

enum {
    CRS_WS_HEAD_MAX = 14,                     /* longest frame head, mask included */
    CRS_WS_CONTROL_MAX = 125,                 /* longest payload of ping, pong and close */
    CRS_WS_MESSAGE_MAX = 4 + (1 << 24),       /* default: what a packet of ours can be */
    CRS_WS_REST_MAX = 6 + CRS_WS_CONTROL_MAX, /* crs_ws_rx_next() never leaves this many bytes unused */
};

typedef enum crs_ws_opcode {
    CRS_WS_CONTINUATION = 0,
    CRS_WS_TEXT = 1,
    CRS_WS_BINARY = 2,
    CRS_WS_CLOSE = 8,
    CRS_WS_PING = 9,
    CRS_WS_PONG = 10,
} crs_ws_opcode;

/** Close codes that we say or hear specially (RFC 6455 7.4.1). */
enum {
    CRS_WS_CODE_NORMAL = 1000,
    CRS_WS_CODE_GOING_AWAY = 1001,
    CRS_WS_CODE_PROTOCOL = 1002,
    CRS_WS_CODE_NONE = 1005, /* stands for "the close frame was empty"; never on the wire */
    CRS_WS_CODE_NOT_UTF8 = 1007,
    CRS_WS_CODE_TOO_LONG = 1009,
    CRS_WS_CODE_INTERNAL = 1011,
};

/* -- receiving -- */

typedef enum crs_ws_event_type {
    CRS_WS_EVENT_MESSAGE, /* a whole message: opcode is TEXT or BINARY, payload may be empty */
    CRS_WS_EVENT_PING,    /* answer with a pong of the same payload */
    CRS_WS_EVENT_PONG,
    CRS_WS_EVENT_CLOSE, /* the peer's close frame: code (CRS_WS_CODE_NONE: it was empty), payload is the reason, UTF-8
                         */
    CRS_WS_EVENT_ERROR, /* the peer broke the protocol: close with code and text */
} crs_ws_event_type;

typedef struct crs_ws_event {
    crs_ws_event_type type;
    uint8_t opcode;   /* crs_ws_opcode; set for MESSAGE */
    uint16_t code;    /* set for CLOSE and ERROR */
    uint8_t *payload; /* set for all but ERROR, never NULL; may be changed in place */
    size_t len;       /* of payload */
    const char *text; /* set for ERROR: what was wrong, a constant */
} crs_ws_event;

/** How to receive; all zero is a server that takes any bytes as text. */
typedef struct crs_ws_rx_options {
    uint32_t message_max; /* longest message, bytes; 0: CRS_WS_MESSAGE_MAX */
    bool client;          /* our peer is a server: its frames must not be masked. Otherwise they must be. */
    bool check_utf8;      /* refuse text that is not UTF-8 with 1007, as RFC 6455 8.1 wants; Pitaya takes any bytes
                             (transcript ws-text-frames), so game listeners leave it off */
} crs_ws_rx_options;

/**
 * The receiving side of one connection. Small while nothing is half there: what a frame or message that is not complete
 * yet has brought so far is the only thing on the heap, and it is freed when the message has been handed out.
 *
 *            first fragment, or part of a data frame
 *     idle ────────────────────────────────────────────> collecting
 *      ^  <──── next call, after the message is whole ────   │
 *      └── a whole message: no copy                          │
 *     either ──── close frame, protocol error ────> ended: takes everything, says nothing more
 */
typedef struct crs_ws_rx {
    crs_bytes message;    /* collected so far, unmasked */
    uint32_t frame_left;  /* payload bytes of the frame being collected that have not arrived; see in_frame */
    uint8_t mask[4];      /* of that frame, turned so that the next byte takes mask[0] */
    crs_utf8_stream utf8; /* of the text being collected */
    uint8_t opcode;       /* TEXT or BINARY: a message is being collected; 0: none */
    bool client : 1;      /* set once by init() */
    bool check_utf8 : 1;  /* set once by init() */
    bool in_frame : 1;    /* inside a data frame */
    bool fin : 1;         /* that frame is the message's last */
    bool delivered : 1;   /* `message` was handed out by the previous call */
    bool ended : 1;       /* a close frame or an error was handed out */
} crs_ws_rx;

/** Ready for the first frame. Allocates nothing. @p opt NULL: all zero. Thread: any one. */
void crs_ws_rx_init(crs_ws_rx *rx, const crs_ws_rx_options *opt);
/** Frees what is collected. */
void crs_ws_rx_fini(crs_ws_rx *rx);

/**
 * Take the next event out of the bytes received.
 *
 *     FIN 1 | RSV 3 | opcode 4 | MASK 1 | length 7, 7 + 16 or 7 + 64 | mask 32 if MASK | payload      RFC 6455 5.2
 *
 * A message that is there as one whole frame is unmasked where it lies and handed out without a copy. Of a data frame
 * that is not all there, head and payload are consumed as they come, so that a long message costs each byte once,
 * memory only for what has arrived, and the caller never keeps more than the start of a control frame or of a head.
 * Everything a head or the text so far can show to be wrong is told at once, before the rest arrives.
 *
 * @param data       bytes received and not used yet; changed in place
 * @param ret_used   set on CEREUS_OK and CEREUS_E_AGAIN: bytes consumed, 0..len. They are not to be passed again, but
 * on CEREUS_OK they must stay until the event has been dealt with
 * @param ret_event  set on CEREUS_OK. After CLOSE and ERROR the connection is over: all further bytes are taken and
 *                   answered with CEREUS_E_AGAIN
 * @return CEREUS_OK; CEREUS_E_AGAIN: call again with at least one byte behind the unused ones, which are fewer than
 *         CRS_WS_REST_MAX; CEREUS_E_NOMEM: close the connection
 * Ownership: borrows @p data; the event's payload points into it, or into rx, where it is good until the next call.
 * Thread: any one.
 */
CEREUS_MUST_USE cereus_status crs_ws_rx_next(crs_ws_rx *rx, uint8_t *data, size_t len, size_t *ret_used,
                                             crs_ws_event *ret_event);

/** Free the message that the last call handed out; the next call does it anyway, but that may be a long time off. */
void crs_ws_rx_release(crs_ws_rx *rx);

/* -- sending -- */

/**
 * Write the head of an unfragmented frame, in its shortest form.
 * @param mask  NULL: a server's frame; else four bytes that nobody can foresee, then the payload is to be
 * crs_ws_mask()ed
 * @return bytes written: 2, 4 or 10, and 4 more with a mask. Thread: any.
 */
size_t crs_ws_head(crs_ws_opcode opcode, uint64_t payload_len, const uint8_t mask[4], uint8_t out[CRS_WS_HEAD_MAX]);

/** Mask or unmask a whole payload in place (RFC 6455 5.3). Thread: any. */
void crs_ws_mask(uint8_t *data, size_t len, const uint8_t mask[4]);

/**
 * Write the payload of a close frame.
 * @param code    CRS_WS_CODE_NONE: the empty payload; otherwise one that may be sent: crs_ws_code_valid()
 * @param reason  UTF-8 text; cut at a character if it does not fit
 * @return bytes written, 0 or 2..125. Thread: any.
 */
size_t crs_ws_close_payload(uint16_t code, cereus_slice reason, uint8_t out[CRS_WS_CONTROL_MAX]);

/** May @p code stand in a close frame: 1000-1003, 1007-1014 (IANA's registry), 3000-4999? Thread: any. */
bool crs_ws_code_valid(uint16_t code);

#endif
