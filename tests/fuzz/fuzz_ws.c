/* tests/fuzz/fuzz_ws.c: WebSocket frames. Byte 0 chooses role, UTF-8 check and limit, byte 1 the size of the pieces;
 * the rest is what the peer sends. In pieces and in one go it must mean the same. */
#include "fuzz.h"

#include "transport/ws_frame.h"

enum {
    CLIENT = 1,
    CHECK_UTF8 = 2,
    SMALL = 4,
    SMALL_MAX = 48, /* below the length of most inputs, so that limits are met */
};

typedef struct summary {
    uint64_t hash; /* FNV-1a over all events */
    size_t count;
    bool over; /* a close frame or an error was among them */
} summary;

static void mix(summary *s, const void *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        s->hash = (s->hash ^ ((const uint8_t *)data)[i]) * 0x100000001b3;
}

static void take(summary *s, const crs_ws_event *e, const crs_ws_rx_options *opt)
{
    FUZZ_CHECK(!s->over);
    s->over = e->type == CRS_WS_EVENT_CLOSE || e->type == CRS_WS_EVENT_ERROR;
    s->count++;
    uint8_t type = (uint8_t)e->type;
    mix(s, &type, 1);
    if (e->type == CRS_WS_EVENT_ERROR) {
        FUZZ_CHECK(crs_ws_code_valid(e->code) && e->text[0] && strlen(e->text) <= CRS_WS_CONTROL_MAX - 2);
        mix(s, &e->code, sizeof e->code); /* the text may differ: an unfragmented message is checked at once */
        return;
    }
    FUZZ_CHECK(e->payload);
    cereus_slice payload = cereus_slice_of(e->payload, e->len);
    uint64_t len = e->len;
    mix(s, &len, sizeof len);
    if (e->type == CRS_WS_EVENT_MESSAGE) {
        FUZZ_CHECK(e->opcode == CRS_WS_TEXT || e->opcode == CRS_WS_BINARY);
        FUZZ_CHECK(e->len <= (opt->message_max ? opt->message_max : CRS_WS_MESSAGE_MAX));
        FUZZ_CHECK(e->opcode != CRS_WS_TEXT || !opt->check_utf8 || crs_utf8_valid(payload));
        mix(s, &e->opcode, 1);
    } else {
        FUZZ_CHECK(e->len <= CRS_WS_CONTROL_MAX);
    }
    if (e->type == CRS_WS_EVENT_CLOSE) {
        uint8_t echo[CRS_WS_CONTROL_MAX];
        FUZZ_CHECK(crs_utf8_valid(payload));
        FUZZ_CHECK(crs_ws_close_payload(e->code, payload, echo) == (e->code == CRS_WS_CODE_NONE ? 0 : 2 + e->len));
        mix(s, &e->code, sizeof e->code);
    }
    mix(s, e->payload, e->len);
    memset(e->payload, 0xee, e->len);
}

static summary run(const crs_ws_rx_options *opt, const uint8_t *data, size_t size, size_t piece)
{
    summary s = {.hash = 0xcbf29ce484222325};
    crs_ws_rx rx;
    crs_ws_rx_init(&rx, opt);
    uint8_t rest[CRS_WS_REST_MAX];
    size_t rest_len = 0, fed = 0;
    while (fed < size) {
        size_t more = CRS_MIN(piece, size - fed), len = rest_len + more, at = 0, used;
        uint8_t *in = malloc(len);
        FUZZ_CHECK(in);
        memcpy(in, rest, rest_len);
        memcpy(in + rest_len, data + fed, more);
        fed += more;
        crs_ws_event e;
        cereus_status st;
        while ((st = crs_ws_rx_next(&rx, in + at, len - at, &used, &e)) == CEREUS_OK) {
            FUZZ_CHECK(used <= len - at);
            at += used;
            take(&s, &e, opt);
        }
        FUZZ_CHECK(st == CEREUS_E_AGAIN && used <= len - at);
        at += used;
        rest_len = len - at;
        FUZZ_CHECK(rest_len < CRS_WS_REST_MAX);
        memcpy(rest, in + at, rest_len);
        free(in);
        FUZZ_CHECK(rx.message.cap <= 2 * fed + 64);
    }
    crs_ws_rx_fini(&rx);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    crs_ws_rx_options opt = {
        .client = data[0] & CLIENT, .check_utf8 = data[0] & CHECK_UTF8, .message_max = data[0] & SMALL ? SMALL_MAX : 0};
    size_t piece = data[1] ? data[1] : 1;
    summary whole = run(&opt, data + 2, size - 2, size);
    summary pieces = run(&opt, data + 2, size - 2, piece);
    FUZZ_CHECK(whole.hash == pieces.hash && whole.count == pieces.count && whole.over == pieces.over);
    return 0;
}
