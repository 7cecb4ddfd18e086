/* tests/stress/crowd.c */
#include "game.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crowd.h"
#include "transport/ws_frame.h"
#include "wire/message.h"
#include "wire/packet.h"

enum { WAITING_MAX = 64, OUT_MAX = 64 * 1024, IN_MAX = 4 << 20 };

typedef struct question {
    uint64_t id;
    unsigned pushes; /* heard that belong to it */
    bool beside;     /* its answer has no place in the order */
} question;

typedef struct peer {
    int fd; /* -1: not connected */
    bool ws, upgraded, half_open, shaken, kicked, leaving;
    unsigned deaf; /* steps for which it does not read */
    uint64_t last_id;
    question waiting[WAITING_MAX]; /* oldest first */
    size_t waiting_count;
    crs_ws_rx rx;
    crs_bytes raw; /* WebSocket: bytes that are no whole frame yet */
    crs_bytes in;  /* packets */
    crs_bytes out; /* what the socket did not take */
} peer;

struct crowd {
    crowd_options opt;
    uint32_t seed;
    peer *peers;
};

uint32_t crowd_dice(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static bool chance(crowd *c, uint32_t one_in)
{
    return crowd_dice(&c->seed) % one_in == 0;
}

static void add(crs_bytes *b, const void *data, size_t len)
{
    CHECK(crs_bytes_append(b, data, len) == CEREUS_OK);
}

static void consume(crs_bytes *b, size_t len)
{
    if (len)
        memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

/* ---- out ---- */

static void flush(peer *p)
{
    if (p->fd < 0 || !p->out.len)
        return;
    ssize_t n = send(p->fd, p->out.data, p->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0)
        consume(&p->out, (size_t)n);
    /* an error: the server has closed; reading tells */
}

static void say_frame(peer *p, uint8_t first, const void *data, size_t len)
{
    static const uint8_t mask[4] = {7, 77, 177, 17};
    uint8_t head[CRS_WS_HEAD_MAX];
    size_t head_len = crs_ws_head(CRS_WS_BINARY, len, mask, head);
    head[0] = first;
    add(&p->out, head, head_len);
    size_t at = p->out.len;
    add(&p->out, data, len);
    if (len)
        crs_ws_mask(p->out.data + at, len, mask);
}

static void say_packet(peer *p, crs_packet_type type, const void *body, size_t len)
{
    uint8_t packet[4096];
    CHECK(CRS_PACKET_HEAD_LEN + len <= sizeof packet);
    CHECK(crs_packet_head(type, len, packet) == CEREUS_OK);
    if (len)
        memcpy(packet + CRS_PACKET_HEAD_LEN, body, len);
    if (p->ws)
        say_frame(p, 0x82, packet, CRS_PACKET_HEAD_LEN + len);
    else
        add(&p->out, packet, CRS_PACKET_HEAD_LEN + len);
}

static void say_message(peer *p, crs_message_type type, uint64_t id, const char *route, const char *text)
{
    uint8_t bytes[CRS_MESSAGE_HEAD_MAX + 64];
    size_t head_len;
    crs_message msg = {.type = type, .id = id, .route = cereus_slice_str(route)};
    CHECK(crs_message_head(&msg, NULL, bytes, &head_len) == CEREUS_OK);
    CHECK(strlen(text) <= 64);
    memcpy(bytes + head_len, text, strlen(text));
    say_packet(p, CRS_PACKET_DATA, bytes, head_len + strlen(text));
}

static void ask(peer *p, const char *route, const char *text)
{
    if (p->waiting_count == WAITING_MAX)
        return;
    bool beside = strstr(route, "beside") != NULL;
    p->waiting[p->waiting_count++] = (question){.id = ++p->last_id, .beside = beside};
    say_message(p, CRS_MESSAGE_REQUEST, p->last_id, route, text);
}

/* ---- in ---- */

static void hang_up(peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    crs_ws_rx_fini(&p->rx);
    crs_bytes_fini(&p->raw);
    crs_bytes_fini(&p->in);
    crs_bytes_fini(&p->out);
    *p = (peer){.fd = -1};
}

static void hear_push(crowd *c, peer *p, const crs_message *msg)
{
    unsigned long long id;
    unsigned number;
    char text[64] = "";
    if (msg->route.len != 3 || memcmp(msg->route.data, "seq", 3) != 0)
        return;
    memcpy(text, msg->body.data, CRS_MIN(msg->body.len, sizeof text - 1));
    CHECK(sscanf(text, "%llu:%u", &id, &number) == 2);
    for (size_t i = 0; i < p->waiting_count; i++) {
        if (p->waiting[i].id == id) {
            CHECK(c->opt.all_pushes ? number == p->waiting[i].pushes : number >= p->waiting[i].pushes);
            p->waiting[i].pushes = number + 1;
            return;
        }
    }
    CHECK(!"a push that belongs to a question comes after its answer");
}

static void hear_answer(crowd *c, peer *p, const crs_message *msg)
{
    unsigned long long id = 0;
    unsigned count = 0;
    char text[64] = "";
    size_t at = 0;
    bool ordered_before = false;
    while (at < p->waiting_count && p->waiting[at].id != msg->id)
        ordered_before |= !p->waiting[at++].beside;
    CHECK(at < p->waiting_count); /* asked, and not answered before */
    CHECK(!c->opt.in_order || p->waiting[at].beside || !ordered_before);
    memcpy(text, msg->body.data, CRS_MIN(msg->body.len, sizeof text - 1));
    if (!msg->error && sscanf(text, "seq %llu:%u", &id, &count) == 2) {
        CHECK(id == msg->id);
        CHECK(c->opt.all_pushes ? count == p->waiting[at].pushes : count >= p->waiting[at].pushes);
    }
    memmove(&p->waiting[at], &p->waiting[at + 1], (p->waiting_count - at - 1) * sizeof p->waiting[0]);
    p->waiting_count--;
}

static void hear_packet(crowd *c, peer *p, const crs_packet *pkt)
{
    CHECK(!p->kicked);
    switch (pkt->type) {
    case CRS_PACKET_HANDSHAKE:
        CHECK(!p->shaken);
        p->shaken = true;
        return;
    case CRS_PACKET_HEARTBEAT:
        return;
    case CRS_PACKET_KICK:
        p->kicked = true;
        return;
    case CRS_PACKET_DATA:
        break;
    default:
        CHECK(!"a packet that no server sends");
    }
    crs_message msg;
    CHECK(p->shaken);
    CHECK(crs_message_decode(pkt->body, NULL, &msg) == CEREUS_OK);
    if (msg.compressed) /* the bodies that are looked at are too short for that */
        CHECK(msg.body.len > 0);
    if (msg.type == CRS_MESSAGE_PUSH) {
        hear_push(c, p, &msg);
    } else {
        CHECK(msg.type == CRS_MESSAGE_RESPONSE);
        hear_answer(c, p, &msg);
    }
}

static void unframe(peer *p)
{
    size_t at = 0;
    if (!p->upgraded) {
        uint8_t *end = memmem(p->raw.data, p->raw.len, "\r\n\r\n", 4);
        if (!end)
            return;
        CHECK(memcmp(p->raw.data, "HTTP/1.1 101 ", 13) == 0);
        at = (size_t)(end - p->raw.data) + 4;
        p->upgraded = true;
    }
    for (;;) {
        crs_ws_event e;
        size_t used = 0;
        cereus_status st = crs_ws_rx_next(&p->rx, p->raw.data + at, p->raw.len - at, &used, &e);
        at += used;
        if (st == CEREUS_E_AGAIN)
            break;
        CHECK(st == CEREUS_OK && e.type != CRS_WS_EVENT_ERROR);
        if (e.type == CRS_WS_EVENT_MESSAGE)
            add(&p->in, e.payload, e.len);
    }
    consume(&p->raw, at);
}

/** Read what is there. */
static void hear(crowd *c, peer *p)
{
    uint8_t chunk[16 * 1024];
    flush(p);
    for (;;) {
        if (p->fd < 0)
            return;
        ssize_t n = recv(p->fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) {
            hang_up(p);
            return;
        }
        add(p->ws ? &p->raw : &p->in, chunk, (size_t)n);
    }
    if (p->ws && p->raw.len)
        unframe(p);
    size_t at = 0, used;
    crs_packet pkt;
    while (crs_packet_decode(cereus_slice_of(p->in.data + at, p->in.len - at), CRS_PACKET_BODY_MAX, &pkt, &used) ==
           CEREUS_OK) {
        hear_packet(c, p, &pkt);
        at += used;
    }
    consume(&p->in, at);
}

/* ---- what they do ---- */

static void dial(crowd *c, peer *p)
{
    static const char upgrade[] = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    static const char *const handshakes[] = {"{}", "{\"sys\":{\"platform\":\"ios\"}}", "{\"user\":{\"age\":3}}"};
    *p = (peer){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .ws = chance(c, 2)};
    CHECK(p->fd >= 0);
    crs_ws_rx_init(&p->rx, &(crs_ws_rx_options){.client = true});
    crs_bytes_init(&p->raw, IN_MAX);
    crs_bytes_init(&p->in, IN_MAX);
    crs_bytes_init(&p->out, IN_MAX);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(p->ws ? c->opt.ws_port : c->opt.tcp_port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(p->fd, (struct sockaddr *)&to, sizeof to) != 0) { /* the server stops */
        hang_up(p);
        return;
    }
    if (p->ws && !chance(c, 32))
        add(&p->out, upgrade, sizeof upgrade - 1);
    else if (p->ws)
        p->half_open = true;
    if (p->half_open || (p->half_open = chance(c, 16)))
        return;
    const char *hs = chance(c, 16) ? "{\"user\":{\"refuse\":true}}" : handshakes[crowd_dice(&c->seed) % 3];
    say_packet(p, CRS_PACKET_HANDSHAKE, hs, strlen(hs));
    if ((p->half_open = chance(c, 16)))
        return;
    say_packet(p, CRS_PACKET_HANDSHAKE_ACK, NULL, 0);
    ask(p, "here.act", "0");
}

static void leave(crowd *c, peer *p)
{
    struct linger now = {.l_onoff = 1};
    switch (crowd_dice(&c->seed) % 4) {
    case 0: /* a reset */
        setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        hang_up(p);
        return;
    case 1: /* its side only; the server closes its own */
        flush(p);
        shutdown(p->fd, SHUT_WR);
        p->leaving = true;
        return;
    case 2:
        if (p->ws) {
            say_frame(p, 0x88, "\x03\xe8", 2);
            p->leaving = true;
            return;
        } /* fall through */
    default:
        hang_up(p);
    }
}

static void talk(crowd *c, peer *p)
{
    static const char *const routes[] = {"here.act", "one.act", "two.act",     "key.act",    "here.seq",  "one.seq",
                                         "two.seq",  "key.seq", "here.beside", "one.beside", "key.beside"};
    char text[32];
    for (uint32_t n = 1 + crowd_dice(&c->seed) % 4; n > 0; n--) {
        const char *route = routes[crowd_dice(&c->seed) % CEREUS_COUNT(routes)];
        snprintf(text, sizeof text, "%u", crowd_dice(&c->seed));
        if (chance(c, 8)) {
            say_message(p, CRS_MESSAGE_NOTIFY, 0, "here.note", text);
            continue;
        }
        if (strstr(route, "seq"))
            snprintf(text, sizeof text, "%llu:%u", (unsigned long long)p->last_id + 1, crowd_dice(&c->seed) % 5);
        ask(p, chance(c, 64) ? "no.such" : route, text);
    }
}

void crowd_step(crowd *c)
{
    peer *p = &c->peers[crowd_dice(&c->seed) % c->opt.peer_count];
    if (p->fd < 0) {
        dial(c, p);
    } else if (p->half_open) {
        if (chance(c, 4))
            hang_up(p);
    } else if (!p->leaving && p->out.len < OUT_MAX) {
        uint32_t what = crowd_dice(&c->seed) % 256;
        if (what < 8)
            leave(c, p);
        else if (what < 12)
            p->deaf = 50 + crowd_dice(&c->seed) % 200;
        else if (what < 16)
            say_packet(p, CRS_PACKET_HEARTBEAT, NULL, 0);
        else if (what < 20 && p->ws)
            say_frame(p, 0x89, "ping", crowd_dice(&c->seed) % 5);
        else if (what < 22) {
            say_packet(p, CRS_PACKET_DATA, "\xff\xff\xff", 3); /* no message */
            p->leaving = true;
        } else
            talk(c, p);
    }
    if (p->deaf) {
        p->deaf--;
    } else {
        if (p->fd >= 0 && p->waiting_count > WAITING_MAX / 4) /* the numbers should not run away from the server */
            poll(&(struct pollfd){.fd = p->fd, .events = POLLIN}, 1, 2);
        hear(c, p);
    }
    if (chance(c, 8))
        crowd_listen(c, &(size_t){0});
}

size_t crowd_listen(crowd *c, size_t *ret_waiting)
{
    size_t count = 0;
    *ret_waiting = 0;
    for (unsigned i = 0; i < c->opt.peer_count; i++) {
        peer *p = &c->peers[i];
        if (p->fd >= 0 && !p->deaf)
            hear(c, p);
        count += p->fd >= 0;
        *ret_waiting += p->fd >= 0 ? p->waiting_count : 0;
    }
    return count;
}

void crowd_settle(crowd *c)
{
    for (unsigned i = 0; i < c->opt.peer_count; i++) {
        peer *p = &c->peers[i];
        p->deaf = 0;
        if (p->fd < 0)
            continue;
        if (p->half_open || p->leaving)
            hang_up(p);
        else
            ask(p, "here.act", "0");
    }
}

crowd *crowd_new(const crowd_options *opt)
{
    crowd *c = calloc(1, sizeof *c);
    CHECK(c);
    c->opt = *opt;
    c->seed = opt->seed;
    c->peers = calloc(opt->peer_count, sizeof *c->peers);
    CHECK(c->peers);
    for (unsigned i = 0; i < opt->peer_count; i++)
        c->peers[i].fd = -1;
    return c;
}

crowd *crowd_free(crowd *c)
{
    for (unsigned i = 0; i < c->opt.peer_count; i++)
        hang_up(&c->peers[i]);
    free(c->peers);
    free(c);
    return NULL;
}
