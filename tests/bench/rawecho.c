/* tests/bench/rawecho.c: the limit that the bench compares with: what a bare epoll server can do on this machine for
 * the same bytes on the wire. One thread, one read and one write per batch, no framework.
 *
 * It answers the handshake, echoes the body of every request, answers a route that ends in ".slow" 10 ms later, keeps
 * the members of bench.room.join and pushes what bench.room.broadcast brings to all of them, joined per turn of the
 * loop; and the same over WebSocket. What a real server owes its clients beyond that (heartbeats, deadlines, route
 * tables, sessions, compression) is left out on purpose. It still checks every length: a wrong byte closes the
 * connection, nothing else.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_CAP = 256 * 1024,          /* also the longest packet */
    WRITE_CAP = 256 * 1024,         /* answers of one batch; flushed earlier when full */
    PUSH_CAP = 1024 * 1024,         /* pushes of one turn; flushed earlier when full */
    BLOCKED_MAX = 32 * 1024 * 1024, /* bytes kept for a client that does not read; above it is closed */
    UPGRADE_MAX = 8192,
    ACCEPT_BATCH = 64,
    EVENTS_MAX = 256,
    SLOW_NS = 10 * 1000 * 1000,
};

enum { PACKET_HANDSHAKE = 1, PACKET_ACK = 2, PACKET_HEARTBEAT = 3, PACKET_DATA = 4, PACKET_KICK = 5, PACKET_HEAD = 4 };
enum { MESSAGE_REQUEST = 0, MESSAGE_NOTIFY = 1, FLAG_RESPONSE = 0x04, FLAG_PUSH = 0x06, FLAG_ROUTE_CODE = 0x01 };
enum { WS_NONE, WS_UPGRADING, WS_OPEN };
enum { WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

typedef struct bytes {
    uint8_t *data;
    size_t len, cap;
} bytes;

typedef struct conn {
    int fd; /* -1 once closed */
    uint8_t ws;
    bool is_member;
    bool is_listed_dead;
    uint32_t slow_count;   /* answers that wait for their time and point here */
    uint32_t member_index; /* place in members while is_member */
    uint32_t part_len;     /* bytes of an unfinished packet, in part */
    uint8_t *part;         /* only while there are such bytes */
    bytes *blocked;        /* only while the socket takes no more */
    struct conn *next_dead;
} conn;

typedef struct slow_answer {
    uint64_t due_ns;
    conn *conn;
    uint8_t *packet; /* framed, ready to be sent */
    size_t len;
} slow_answer;

static struct {
    int epoll;
    conn tcp_listener, ws_listener;
    conn **members;
    size_t member_count, member_cap;
    bytes tcp_pushes, ws_pushes; /* what every member gets at the end of this turn */
    slow_answer *slow;           /* a ring: all wait equally long, so the oldest is due first */
    size_t slow_head, slow_count, slow_cap;
    conn *dead; /* freed at the end of the turn: events of this turn may still point to them */
} server;

static uint8_t read_buf[READ_CAP], write_buf[WRITE_CAP];
static size_t write_len;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void *grow(void *old, size_t size)
{
    void *data = realloc(old, size);
    if (!data)
        fail("out of memory");
    return data;
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void bytes_add(bytes *buf, const void *data, size_t len)
{
    if (buf->cap - buf->len < len) {
        buf->cap = (buf->len + len) * 2;
        buf->data = grow(buf->data, buf->cap);
    }
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
}

/* ---- connections ---- */

static void close_conn(conn *c)
{
    if (c->fd < 0)
        return;
    close(c->fd);
    c->fd = -1;
    if (c->is_member) {
        conn *last = server.members[--server.member_count];
        server.members[c->member_index] = last;
        last->member_index = c->member_index;
    }
    c->next_dead = server.dead;
    c->is_listed_dead = true;
    server.dead = c;
}

static void free_conn(conn *c)
{
    if (c->blocked)
        free(c->blocked->data);
    free(c->blocked);
    free(c->part);
    free(c);
}

/* A connection with answers still to come is freed when the last of them has been dropped. */
static void free_dead(void)
{
    while (server.dead) {
        conn *c = server.dead;
        server.dead = c->next_dead;
        c->is_listed_dead = false;
        if (c->slow_count == 0)
            free_conn(c);
    }
}

static void watch(conn *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(server.epoll, op, c->fd, &ev) < 0)
        fail("epoll_ctl");
}

/* While a socket is blocked the connection is not read, so what waits is bounded by what others push to it. */
static void keep_blocked(conn *c, const uint8_t *data, size_t len)
{
    if (!c->blocked) {
        c->blocked = grow(NULL, sizeof *c->blocked);
        *c->blocked = (bytes){0};
        watch(c, EPOLL_CTL_MOD, EPOLLOUT);
    }
    if (c->blocked->len + len > BLOCKED_MAX)
        close_conn(c);
    else
        bytes_add(c->blocked, data, len);
}

static void send_bytes(conn *c, const uint8_t *data, size_t len)
{
    if (c->fd < 0 || len == 0)
        return;
    ssize_t sent = 0;
    if (!c->blocked) {
        sent = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) {
            close_conn(c);
            return;
        }
        if (sent < 0)
            sent = 0;
    }
    if ((size_t)sent < len)
        keep_blocked(c, data + sent, len - (size_t)sent);
}

static void on_writable(conn *c)
{
    bytes *b = c->blocked;
    ssize_t sent = send(c->fd, b->data, b->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        if (errno != EAGAIN)
            close_conn(c);
        return;
    }
    b->len -= (size_t)sent;
    memmove(b->data, b->data + sent, b->len);
    if (b->len)
        return;
    free(b->data);
    free(b);
    c->blocked = NULL;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

/* ---- answers ---- */

/* Room for @p len more bytes of answer in write_buf; what is there goes out first if it must. */
static uint8_t *reserve(conn *c, size_t len)
{
    if (write_len + len > WRITE_CAP) {
        send_bytes(c, write_buf, write_len);
        write_len = 0;
    }
    return write_buf + write_len;
}

static size_t put_ws_head(uint8_t *out, uint8_t opcode, size_t len)
{
    out[0] = (uint8_t)(0x80 | opcode);
    if (len < 126) {
        out[1] = (uint8_t)len;
        return 2;
    }
    if (len <= 0xffff) {
        out[1] = 126;
        out[2] = (uint8_t)(len >> 8);
        out[3] = (uint8_t)len;
        return 4;
    }
    out[1] = 127;
    for (int i = 0; i < 8; i++)
        out[2 + i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
    return 10;
}

static size_t put_packet_head(uint8_t *out, bool ws, uint8_t type, size_t len)
{
    size_t n = ws ? put_ws_head(out, WS_BINARY, PACKET_HEAD + len) : 0;
    out[n] = type;
    out[n + 1] = (uint8_t)(len >> 16);
    out[n + 2] = (uint8_t)(len >> 8);
    out[n + 3] = (uint8_t)len;
    return n + PACKET_HEAD;
}

enum { PACKET_HEAD_MAX = 10 + PACKET_HEAD };

static void answer_handshake(conn *c)
{
    static const char json[] = "{\"code\":200,\"sys\":{\"dict\":{},\"heartbeat\":30,\"serializer\":\"json\"}}";
    uint8_t *out = reserve(c, PACKET_HEAD_MAX + sizeof json);
    size_t n = put_packet_head(out, c->ws, PACKET_HANDSHAKE, sizeof json - 1);
    memcpy(out + n, json, sizeof json - 1);
    write_len += n + sizeof json - 1;
}

static size_t put_response(uint8_t *out, bool ws, const uint8_t *id, size_t id_len, const void *body, size_t body_len)
{
    size_t n = put_packet_head(out, ws, PACKET_DATA, 1 + id_len + body_len);
    out[n++] = FLAG_RESPONSE;
    memcpy(out + n, id, id_len);
    memcpy(out + n + id_len, body, body_len);
    return n + id_len + body_len;
}

static void answer_later(conn *c, const uint8_t *id, size_t id_len, const uint8_t *body, size_t body_len)
{
    if (server.slow_count == server.slow_cap) { /* unroll the ring into one twice as large */
        size_t cap = server.slow_cap ? server.slow_cap * 2 : 64;
        slow_answer *ring = grow(NULL, cap * sizeof *ring);
        for (size_t i = 0; i < server.slow_count; i++)
            ring[i] = server.slow[(server.slow_head + i) % server.slow_cap];
        free(server.slow);
        server.slow = ring;
        server.slow_head = 0;
        server.slow_cap = cap;
    }
    slow_answer *a = &server.slow[(server.slow_head + server.slow_count++) % server.slow_cap];
    a->due_ns = now_ns() + SLOW_NS;
    a->conn = c;
    a->packet = grow(NULL, PACKET_HEAD_MAX + 1 + id_len + body_len);
    a->len = put_response(a->packet, c->ws, id, id_len, body, body_len);
    c->slow_count++;
}

static void answer_due(void)
{
    uint64_t now = server.slow_count ? now_ns() : 0;
    while (server.slow_count && server.slow[server.slow_head].due_ns <= now) {
        slow_answer a = server.slow[server.slow_head];
        server.slow_head = (server.slow_head + 1) % server.slow_cap;
        server.slow_count--;
        a.conn->slow_count--;
        if (a.conn->fd >= 0)
            send_bytes(a.conn, a.packet, a.len);
        else if (a.conn->slow_count == 0 && !a.conn->is_listed_dead)
            free_conn(a.conn);
        free(a.packet);
    }
}

static void flush_pushes(void)
{
    /* backwards: a member that is closed on the way is replaced by one that has had its turn */
    for (size_t i = server.tcp_pushes.len ? server.member_count : 0; i-- > 0;) {
        conn *c = server.members[i];
        bytes *b = c->ws ? &server.ws_pushes : &server.tcp_pushes;
        send_bytes(c, b->data, b->len);
    }
    server.tcp_pushes.len = server.ws_pushes.len = 0;
}

static void push_to_members(const uint8_t *body, size_t body_len)
{
    static const char route[] = "\x09onMessage";
    uint8_t head[PACKET_HEAD_MAX];
    for (int ws = 0; ws < 2; ws++) {
        bytes *b = ws ? &server.ws_pushes : &server.tcp_pushes;
        size_t n = put_packet_head(head, ws, PACKET_DATA, 1 + sizeof route - 1 + body_len);
        bytes_add(b, head, n);
        bytes_add(b, &(uint8_t){FLAG_PUSH}, 1);
        bytes_add(b, route, sizeof route - 1);
        bytes_add(b, body, body_len);
    }
    if (server.tcp_pushes.len > PUSH_CAP)
        flush_pushes();
}

static void join(conn *c)
{
    if (c->is_member || c->fd < 0)
        return;
    if (server.member_count == server.member_cap) {
        server.member_cap = server.member_cap ? server.member_cap * 2 : 64;
        server.members = grow(server.members, server.member_cap * sizeof(conn *));
    }
    c->is_member = true;
    c->member_index = (uint32_t)server.member_count;
    server.members[server.member_count++] = c;
}

/* ---- requests ---- */

static bool route_is(const uint8_t *route, size_t len, const char *name)
{
    return len == strlen(name) && memcmp(route, name, len) == 0;
}

static bool on_message(conn *c, const uint8_t *in, size_t len)
{
    if (len < 2 || in[0] & FLAG_ROUTE_CODE)
        return false;
    unsigned type = (in[0] >> 1) & 7;
    size_t at = 1;
    if (type == MESSAGE_NOTIFY)
        return true;
    if (type != MESSAGE_REQUEST)
        return false;
    while (at < len && in[at] & 0x80)
        at++;
    if (at + 1 >= len || at > 10) /* the id's last byte and the route's length byte */
        return false;
    const uint8_t *id = in + 1;
    size_t id_len = at++, route_len = in[at++];
    if (len - at < route_len)
        return false;
    const uint8_t *route = in + at, *body = route + route_len;
    size_t body_len = len - at - route_len;

    if (route_len > 5 && memcmp(route + route_len - 5, ".slow", 5) == 0) {
        answer_later(c, id, id_len, body, body_len);
        return true;
    }
    bool joins = route_is(route, route_len, "bench.room.join");
    bool broadcasts = !joins && route_is(route, route_len, "bench.room.broadcast");
    uint8_t *out = reserve(c, PACKET_HEAD_MAX + 1 + id_len + 2 + body_len);
    if (!joins && !broadcasts) {
        write_len += put_response(out, c->ws, id, id_len, body, body_len);
        return true;
    }
    write_len += put_response(out, c->ws, id, id_len, "ok", 2);
    if (joins)
        join(c);
    else
        push_to_members(body, body_len);
    return true;
}

static bool on_packet(conn *c, uint8_t type, const uint8_t *body, size_t len)
{
    if (type == PACKET_HANDSHAKE)
        answer_handshake(c);
    else if (type == PACKET_DATA)
        return on_message(c, body, len);
    return type >= PACKET_HANDSHAKE && type <= PACKET_KICK;
}

static size_t packet_body_len(const uint8_t *head)
{
    return (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
}

/* Consume the whole packets at the front of @p in. @return bytes used, -1: close */
static ssize_t on_tcp_bytes(conn *c, const uint8_t *in, size_t len)
{
    size_t at = 0;
    while (len - at >= PACKET_HEAD) {
        size_t body_len = packet_body_len(in + at);
        if (body_len > READ_CAP - PACKET_HEAD)
            return -1;
        if (len - at - PACKET_HEAD < body_len)
            break;
        if (!on_packet(c, in[at], in + at + PACKET_HEAD, body_len))
            return -1;
        at += PACKET_HEAD + body_len;
    }
    return (ssize_t)at;
}

/* ---- WebSocket ---- */

static uint32_t rotate_left(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

/* SHA-1 of less than 120 bytes: the upgrade needs no more, and a crypto library would dwarf this server's memory. */
static void sha1(const uint8_t *in, size_t len, uint8_t out[20])
{
    uint8_t msg[128] = {0};
    size_t total = len + 9 > 64 ? 128 : 64;
    memcpy(msg, in, len);
    msg[len] = 0x80;
    msg[total - 2] = (uint8_t)(len * 8 >> 8);
    msg[total - 1] = (uint8_t)(len * 8);
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    for (size_t block = 0; block < total; block += 64) {
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 16; i++) {
            const uint8_t *p = msg + block + 4 * i;
            w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++)
            w[i] = rotate_left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20   ? (b & c) | (~b & d)
                         : i < 40 ? b ^ c ^ d
                         : i < 60 ? (b & c) | (b & d) | (c & d)
                                  : b ^ c ^ d;
            uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
            uint32_t t = rotate_left(a, 5) + f + e + k + w[i];
            e = d;
            d = c;
            c = rotate_left(b, 30);
            b = a;
            a = t;
        }
        h[0] += a;
        h[1] += b;
        h[2] += c;
        h[3] += d;
        h[4] += e;
    }
    for (int i = 0; i < 20; i++)
        out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static void base64(const uint8_t *in, size_t len, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v =
            (uint32_t)in[i] << 16 | (i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0) | (i + 2 < len ? in[i + 2] : 0);
        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
        *out++ = i + 2 < len ? digits[v & 63] : '=';
    }
    *out = '\0';
}

/* @return bytes of the HTTP head, 0: not all there, -1: close */
static ssize_t on_upgrade(conn *c, const uint8_t *in, size_t len)
{
    static const char name[] = "\r\nSec-WebSocket-Key:", guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const uint8_t *end = memmem(in, len, "\r\n\r\n", 4);
    if (!end)
        return len > UPGRADE_MAX ? -1 : 0;
    const char *key = NULL;
    for (const uint8_t *p = in; p + sizeof name - 1 <= end && !key; p++)
        if (strncasecmp((const char *)p, name, sizeof name - 1) == 0)
            key = (const char *)p + sizeof name - 1;
    if (!key)
        return -1;
    while (*key == ' ')
        key++;
    uint8_t text[24 + sizeof guid - 1], digest[20];
    if ((const uint8_t *)key + 24 > end)
        return -1;
    memcpy(text, key, 24);
    memcpy(text + 24, guid, sizeof guid - 1);
    sha1(text, sizeof text, digest);
    char accept_key[29];
    base64(digest, sizeof digest, accept_key);
    char head[160];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %s\r\n\r\n",
                     accept_key);
    memcpy(reserve(c, (size_t)n), head, (size_t)n);
    write_len += (size_t)n;
    c->ws = WS_OPEN;
    return end + 4 - in;
}

static void unmask(uint8_t *data, size_t len, const uint8_t key[4])
{
    uint64_t wide;
    memcpy(&wide, key, 4);
    memcpy((uint8_t *)&wide + 4, key, 4);
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t v;
        memcpy(&v, data + i, 8);
        v ^= wide;
        memcpy(data + i, &v, 8);
    }
    for (; i < len; i++)
        data[i] ^= key[i & 3];
}

static bool on_frame(conn *c, uint8_t opcode, const uint8_t *data, size_t len)
{
    if (opcode == WS_PONG)
        return true;
    if (opcode == WS_PING && len < 126) {
        uint8_t *out = reserve(c, 2 + len);
        size_t n = put_ws_head(out, WS_PONG, len);
        memcpy(out + n, data, len);
        write_len += n + len;
        return true;
    }
    if (opcode != WS_BINARY && opcode != WS_TEXT) /* a close frame too: a bare server just goes */
        return false;
    if (len < PACKET_HEAD || packet_body_len(data) != len - PACKET_HEAD)
        return false;
    return on_packet(c, data[0], data + PACKET_HEAD, len - PACKET_HEAD);
}

static ssize_t on_ws_bytes(conn *c, uint8_t *in, size_t len)
{
    size_t at = 0;
    while (len - at >= 2) {
        uint8_t *p = in + at;
        if (!(p[0] & 0x80) || p[0] & 0x70 || !(p[1] & 0x80))
            return -1;
        size_t payload_len = p[1] & 0x7f, head_len = payload_len == 127 ? 14 : payload_len == 126 ? 8 : 6;
        if (len - at < head_len)
            break;
        if (payload_len == 126)
            payload_len = (size_t)p[2] << 8 | p[3];
        else if (payload_len == 127)
            for (int i = 0, shift = 56; i < 8; i++, shift -= 8)
                payload_len = (i ? payload_len : 0) | (size_t)p[2 + i] << shift;
        if (payload_len > READ_CAP - head_len)
            return -1;
        if (len - at - head_len < payload_len)
            break;
        unmask(p + head_len, payload_len, p + head_len - 4);
        if (!on_frame(c, p[0] & 0x0f, p + head_len, payload_len))
            return -1;
        at += head_len + payload_len;
    }
    return (ssize_t)at;
}

/* ---- the loop ---- */

static ssize_t on_bytes(conn *c, uint8_t *in, size_t len)
{
    ssize_t head_len = 0;
    if (c->ws == WS_UPGRADING) {
        head_len = on_upgrade(c, in, len);
        if (head_len <= 0)
            return head_len;
    }
    ssize_t used = c->ws ? on_ws_bytes(c, in + head_len, len - (size_t)head_len) : on_tcp_bytes(c, in, len);
    return used < 0 ? used : head_len + used;
}

static void on_readable(conn *c)
{
    size_t len = c->part_len;
    if (len)
        memcpy(read_buf, c->part, len);
    ssize_t got = recv(c->fd, read_buf + len, READ_CAP - len, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            close_conn(c);
        return;
    }
    len += (size_t)got;
    write_len = 0;
    ssize_t used = on_bytes(c, read_buf, len);
    if (used < 0 || (used == 0 && len == READ_CAP)) {
        close_conn(c);
        return;
    }
    send_bytes(c, write_buf, write_len);
    size_t rest = len - (size_t)used;
    if (rest) {
        c->part = grow(c->part, rest);
        memcpy(c->part, read_buf + used, rest);
    } else if (c->part_len) {
        free(c->part);
        c->part = NULL;
    }
    c->part_len = (uint32_t)rest;
}

static void on_connections(const conn *listener)
{
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return; /* none left, or out of descriptors: the client sees it */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        conn *c = grow(NULL, sizeof *c);
        *c = (conn){.fd = fd, .ws = listener->ws};
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static int listen_on(conn *listener, int port, uint8_t ws)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t addr_len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &addr_len) < 0)
        fail("listen");
    *listener = (conn){.fd = fd, .ws = ws};
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    return ntohs(addr.sin_port);
}

static int wait_for_events(struct epoll_event *events)
{
    if (server.slow_count == 0)
        return epoll_wait(server.epoll, events, EVENTS_MAX, -1);
    uint64_t now = now_ns(), due = server.slow[server.slow_head].due_ns;
    struct timespec left = {.tv_nsec = due > now ? (long)(due - now) : 0};
    return epoll_pwait2(server.epoll, events, EVENTS_MAX, &left, NULL);
}

static void on_event(const struct epoll_event *ev)
{
    conn *c = ev->data.ptr;
    if (c == &server.tcp_listener || c == &server.ws_listener)
        on_connections(c);
    else if (c->fd < 0)
        return; /* closed earlier in this turn */
    else if (c->blocked)
        on_writable(c);
    else
        on_readable(c);
}

static void on_terminate(int signal_number)
{
    (void)signal_number;
    _exit(0); /* nothing to save */
}

static int port_argument(int argc, char **argv, int *at)
{
    char *end = NULL;
    long port = *at + 1 < argc ? strtol(argv[++*at], &end, 10) : -1;
    if (port < 0 || port > 65535 || !end || *end) {
        fprintf(stderr, "usage: rawecho [--port P] [--ws-port P]   (0, the default: pick one)\n");
        exit(2);
    }
    return (int)port;
}

int main(int argc, char **argv)
{
    int port = 0, ws_port = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--port") == 0)
            port = port_argument(argc, argv, &i);
        else if (strcmp(argv[i], "--ws-port") == 0)
            ws_port = port_argument(argc, argv, &i);
        else
            port_argument(0, NULL, &i); /* prints the usage */
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGTERM, on_terminate);
    prctl(PR_SET_TIMERSLACK, 1); /* the 10 ms of a slow answer are 10 ms, not 10.05 */
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll < 0)
        fail("epoll_create1");
    port = listen_on(&server.tcp_listener, port, WS_NONE);
    ws_port = listen_on(&server.ws_listener, ws_port, WS_UPGRADING);
    printf("READY tcp=127.0.0.1:%d ws=127.0.0.1:%d\n", port, ws_port);
    fflush(stdout);

    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int count = wait_for_events(events);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++)
            on_event(&events[i]);
        flush_pushes();
        answer_due();
        free_dead();
    }
}
