/* transport/proxy_head.c: see the PROXY protocol's specification, haproxy.org/download/1.8/doc/proxy-protocol.txt. */
#include "transport/proxy_head.h"

#include <arpa/inet.h>

static const uint8_t v2_mark[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
static const char v1_mark[] = "PROXY ";

/* ---- version 1: a line of text ---- */

/** The next word of a line, which ends at a blank or the line's end; false: none, or longer than @p cap - 1. */
static bool next_word(const char **at, const char *end, char *word, size_t cap)
{
    const char *from = *at;
    const char *blank = memchr(from, ' ', (size_t)(end - from));
    const char *to = blank ? blank : end;
    size_t len = (size_t)(to - from);
    if (len == 0 || len >= cap)
        return false;
    memcpy(word, from, len);
    word[len] = '\0';
    *at = blank ? blank + 1 : end;
    return true;
}

static bool parse_port(const char *word, uint16_t *ret_port)
{
    uint32_t port = 0;
    for (const char *p = word; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        port = port * 10 + (uint32_t)(*p - '0');
        if (port > 65535)
            return false;
    }
    *ret_port = (uint16_t)port;
    return true;
}

/** Vector proxy-v1-tcp6-in-tcp4: the family's name is not compared with the addresses. */
static bool parse_ip(const char *word, crs_peer *peer)
{
    memset(peer->addr, 0, sizeof peer->addr);
    peer->ipv6 = strchr(word, ':');
    return inet_pton(peer->ipv6 ? AF_INET6 : AF_INET, word, peer->addr) == 1;
}

static cereus_status parse_line(const char *at, const char *end, bool *ret_known, crs_peer *ret_peer)
{
    char word[INET6_ADDRSTRLEN];
    uint16_t unused;
    crs_peer source = {0}, destination = {0};
    at += sizeof v1_mark - 1;
    if (!next_word(&at, end, word, sizeof word))
        return CEREUS_E_MALFORMED;
    if (strcmp(word, "UNKNOWN") == 0) {
        *ret_known = false;
        return CEREUS_OK;
    }
    if (strcmp(word, "TCP4") != 0 && strcmp(word, "TCP6") != 0)
        return CEREUS_E_MALFORMED;
    if (!next_word(&at, end, word, sizeof word) || !parse_ip(word, &source) ||
        !next_word(&at, end, word, sizeof word) || !parse_ip(word, &destination) ||
        !next_word(&at, end, word, sizeof word) || !parse_port(word, &source.port) ||
        !next_word(&at, end, word, sizeof word) || !parse_port(word, &unused) || at != end)
        return CEREUS_E_MALFORMED;
    *ret_known = true;
    *ret_peer = source;
    return CEREUS_OK;
}

static cereus_status parse_v1(cereus_slice in, bool *ret_known, crs_peer *ret_peer, size_t *ret_used)
{
    const char *text = (const char *)in.data;
    size_t len = CRS_MIN(in.len, (size_t)CRS_PROXY_V1_MAX);
    const char *cr = memchr(text, '\r', len);
    if (!cr)
        return len == CRS_PROXY_V1_MAX ? CEREUS_E_MALFORMED : CEREUS_E_AGAIN;
    size_t line_len = (size_t)(cr - text);
    if (line_len + 2 > CRS_PROXY_V1_MAX)
        return CEREUS_E_MALFORMED;
    if (line_len + 1 == in.len)
        return CEREUS_E_AGAIN;
    if (cr[1] != '\n')
        return CEREUS_E_MALFORMED;
    CEREUS_TRY(parse_line(text, cr, ret_known, ret_peer));
    *ret_used = line_len + 2;
    return CEREUS_OK;
}

/* ---- version 2: binary ---- */

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21, V2_INET = 1, V2_INET6 = 2, V2_STREAM = 1, V2_DGRAM = 2 };

static cereus_status parse_v2(cereus_slice in, bool *ret_known, crs_peer *ret_peer, size_t *ret_used)
{
    if (in.len < CRS_PROXY_V2_HEAD_LEN)
        return CEREUS_E_AGAIN;
    uint8_t command = in.data[12], family = in.data[13] >> 4, protocol = in.data[13] & 0x0f;
    size_t body_len = (size_t)in.data[14] << 8 | in.data[15];
    if ((command != V2_LOCAL && command != V2_PROXY) || body_len > CRS_PROXY_V2_BODY_MAX)
        return CEREUS_E_MALFORMED;
    size_t ip_len = family == V2_INET ? 4 : 16;
    if (command == V2_PROXY && ((family != V2_INET && family != V2_INET6) ||
                                (protocol != V2_STREAM && protocol != V2_DGRAM) || body_len < 2 * ip_len + 4))
        return CEREUS_E_MALFORMED;
    if (in.len < CRS_PROXY_V2_HEAD_LEN + body_len)
        return CEREUS_E_AGAIN;
    *ret_known = command == V2_PROXY;
    if (*ret_known) {
        const uint8_t *at = in.data + CRS_PROXY_V2_HEAD_LEN; /* source, destination, source port, destination port */
        *ret_peer = (crs_peer){.ipv6 = family == V2_INET6};
        memcpy(ret_peer->addr, at, ip_len);
        at += 2 * ip_len;
        ret_peer->port = (uint16_t)(at[0] << 8 | at[1]);
    }
    *ret_used = CRS_PROXY_V2_HEAD_LEN + body_len;
    return CEREUS_OK;
}

cereus_status crs_proxy_head_parse(cereus_slice in, bool *ret_known, crs_peer *ret_peer, size_t *ret_used)
{
    size_t v1_len = sizeof v1_mark - 1;
    if (in.len == 0)
        return CEREUS_E_AGAIN;
    if (memcmp(in.data, v1_mark, CRS_MIN(in.len, v1_len)) == 0)
        return in.len < v1_len ? CEREUS_E_AGAIN : parse_v1(in, ret_known, ret_peer, ret_used);
    if (memcmp(in.data, v2_mark, CRS_MIN(in.len, sizeof v2_mark)) == 0)
        return in.len < sizeof v2_mark ? CEREUS_E_AGAIN : parse_v2(in, ret_known, ret_peer, ret_used);
    return CEREUS_E_MALFORMED;
}
