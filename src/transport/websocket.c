/* transport/websocket.c: a connection whose bytes are an HTTP upgrade, then WebSocket frames with one packet each
 * (client-protocol.md 14). Parsing is in http_head.h and ws_frame.h; this is what is answered.
 */
#include "transport/conn_priv.h"
#include "transport/http_head.h"
#include "transport/ws_frame.h"

typedef struct pong {
    size_t len;
    uint8_t payload[CRS_WS_CONTROL_MAX];
} pong;

struct crs_ws_state {
    crs_ws_rx rx;
    pong *owed; /* for the last ping of a peer that took nothing at the time; NULL: none */
};

crs_ws_state *crs_ws_state_new(const crs_transport_options *opt)
{
    crs_ws_state *ws = crs_zalloc(sizeof *ws);
    if (!ws)
        return NULL;
    crs_ws_rx_options rx_opt = {.message_max = (uint32_t)(CRS_PACKET_HEAD_LEN + opt->packet_max),
                                .check_utf8 = opt->check_utf8};
    crs_ws_rx_init(&ws->rx, &rx_opt);
    return ws;
}

crs_ws_state *crs_ws_state_free(crs_ws_state *ws)
{
    if (!ws)
        return NULL;
    crs_ws_rx_fini(&ws->rx);
    crs_free(ws->owed);
    crs_free(ws);
    return NULL;
}

size_t crs_ws_packet_head(size_t packet_len, uint8_t out[CRS_FRAME_HEAD_MAX])
{
    _Static_assert(CRS_FRAME_HEAD_MAX + 4 == CRS_WS_HEAD_MAX, "a server's frames have no mask");
    uint8_t head[CRS_WS_HEAD_MAX];
    size_t len = crs_ws_head(CRS_WS_BINARY, packet_len, NULL, head);
    memcpy(out, head, len);
    return len;
}

uint8_t *crs_conn_reserve_message(crs_conn *conn, uint8_t opcode, size_t len)
{
    if (conn->state != CRS_CONN_OPEN)
        return NULL;
    uint8_t head[CRS_WS_HEAD_MAX];
    size_t head_len = crs_ws_head(opcode, len, NULL, head);
    uint8_t *room = crs_conn_reserve_raw(conn, head_len + len);
    if (!room)
        return NULL;
    memcpy(room, head, head_len);
    return room + head_len;
}

static bool say(crs_conn *conn, const void *bytes, size_t len)
{
    uint8_t *room = crs_conn_reserve_raw(conn, len);
    if (room)
        memcpy(room, bytes, len);
    return room;
}

static bool say_control(crs_conn *conn, crs_ws_opcode opcode, const uint8_t *payload, size_t len)
{
    uint8_t frame[CRS_WS_HEAD_MAX + CRS_WS_CONTROL_MAX];
    size_t head = crs_ws_head(opcode, len, NULL, frame);
    if (len)
        memcpy(frame + head, payload, len);
    return say(conn, frame, head + len);
}

/**
 * Answer a ping, or owe the answer while the peer takes nothing. One pong is owed at most, for the last ping, as RFC 6455
 * 5.5.3 allows: a client that sends pings and reads nothing must not fill our memory.
 */
static bool answer_ping(crs_conn *conn, const uint8_t *payload, size_t len)
{
    crs_ws_state *ws = conn->ws;
    if (!conn->blocked)
        return say_control(conn, CRS_WS_PONG, payload, len);
    if (!ws->owed && !(ws->owed = crs_malloc(sizeof *ws->owed)))
        return false;
    ws->owed->len = len;
    memcpy(ws->owed->payload, payload, len);
    return true;
}

bool crs_ws_drained(crs_conn *conn)
{
    pong *owed = conn->ws->owed;
    if (!owed)
        return true;
    conn->ws->owed = NULL;
    bool said = say_control(conn, CRS_WS_PONG, owed->payload, owed->len);
    crs_free(owed);
    return said;
}

static size_t upgrade(crs_conn *conn, const uint8_t *data, size_t len)
{
    crs_loop *loop = conn->transport->loop;
    crs_ws_upgrade req;
    size_t used;
    if (crs_http_head_parse(cereus_slice_of(data, len), CRS_HTTP_HEAD_MAX, &req, &used) != CEREUS_OK)
        return 0;
    if (req.answer == CRS_WS_ACCEPT) {
        char answer[CRS_WS_ACCEPT_RESPONSE_LEN];
        crs_ws_accept_response(req.key, answer);
        if (!say(conn, answer, sizeof answer)) {
            crs_conn_end_by(conn, CRS_END_ERROR, false);
            return used;
        }
        crs_conn_opened(conn);
        return used;
    }
    char answer[CRS_WS_REFUSAL_MAX];
    size_t n = crs_ws_refusal(req.answer, req.keep_alive, (int64_t)(crs_loop_unix_ms(loop) / 1000), answer);
    crs_log_debug(loop->log, "upgrade refused", CRS_STR("why", req.why));
    if (!say(conn, answer, n) || !req.keep_alive)
        crs_conn_end_by(conn, CRS_END_MALFORMED, true);
    return used;
}

static void on_event(crs_conn *conn, const crs_ws_event *event)
{
    uint8_t payload[CRS_WS_CONTROL_MAX];
    size_t n;
    switch (event->type) {
    case CRS_WS_EVENT_MESSAGE:
        crs_conn_deliver_message(conn, event->opcode, event->payload, event->len);
        crs_ws_rx_release(&conn->ws->rx);
        break;
    case CRS_WS_EVENT_PING:
        if (!answer_ping(conn, event->payload, event->len))
            crs_conn_end_by(conn, CRS_END_ERROR, false);
        break;
    case CRS_WS_EVENT_PONG:
        break;
    case CRS_WS_EVENT_CLOSE: /* echoed with its code, without its reason */
        n = crs_ws_close_payload(event->code, cereus_slice_of("", 0), payload);
        say_control(conn, CRS_WS_CLOSE, payload, n);
        crs_conn_end_by(conn, CRS_END_PEER, true);
        break;
    case CRS_WS_EVENT_ERROR:
        n = crs_ws_close_payload(event->code, cereus_slice_str(event->text), payload);
        say_control(conn, CRS_WS_CLOSE, payload, n);
        crs_conn_end_by(conn, CRS_END_MALFORMED, true);
        break;
    }
}

size_t crs_ws_input(crs_conn *conn, uint8_t *data, size_t len)
{
    size_t at = 0;
    while (conn->state == CRS_CONN_OPENING && at < len) {
        size_t used = upgrade(conn, data + at, len - at);
        if (used == 0)
            return at;
        at += used;
    }
    while (conn->state == CRS_CONN_OPEN && !conn->paused) {
        crs_ws_event event;
        size_t used = 0;
        cereus_status st = crs_ws_rx_next(&conn->ws->rx, data + at, len - at, &used, &event);
        if (st == CEREUS_OK || st == CEREUS_E_AGAIN)
            at += used;
        if (st == CEREUS_E_AGAIN)
            break;
        if (st) {
            crs_conn_end_by(conn, CRS_END_ERROR, false);
            break;
        }
        on_event(conn, &event);
    }
    return at;
}
