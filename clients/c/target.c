/* clients/c/target.c: URLs and addresses. The only place of the client that may block (getaddrinfo of a real name). */
#include "target.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

static void add_v4(crs_client_target *t, struct in_addr addr)
{
    if (t->address_count == CRS_CLIENT_ADDRESSES_MAX)
        return;
    crs_client_address *a = &t->addresses[t->address_count++];
    a->len = sizeof a->addr.v4;
    a->addr.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(t->port), .sin_addr = addr};
}

static void add_v6(crs_client_target *t, struct in6_addr addr, uint32_t scope_id)
{
    if (t->address_count == CRS_CLIENT_ADDRESSES_MAX)
        return;
    crs_client_address *a = &t->addresses[t->address_count++];
    a->len = sizeof a->addr.v6;
    a->addr.v6 = (struct sockaddr_in6){
        .sin6_family = AF_INET6, .sin6_port = htons(t->port), .sin6_addr = addr, .sin6_scope_id = scope_id};
}

static cereus_status resolve(crs_client_target *t, cereus_error *err)
{
    if (strcmp(t->host, "localhost") == 0) {
        /* RFC 6761 6.3: loopback, without asking anyone */
        add_v4(t, (struct in_addr){.s_addr = htonl(INADDR_LOOPBACK)});
        add_v6(t, in6addr_loopback, 0);
        return CEREUS_OK;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(t->host, NULL, &hints, &found);
    if (rc == EAI_NONAME) {
        hints.ai_flags = 0;
        rc = getaddrinfo(t->host, NULL, &hints, &found);
    }
    if (rc != 0)
        return crs_fail(err, rc == EAI_MEMORY ? CEREUS_E_NOMEM : CEREUS_E_NOT_FOUND, "host %s: %s", t->host,
                        gai_strerror(rc));
    for (struct addrinfo *a = found; a; a = a->ai_next) {
        if (a->ai_family == AF_INET) {
            struct sockaddr_in v4;
            memcpy(&v4, a->ai_addr, sizeof v4);
            add_v4(t, v4.sin_addr);
        } else if (a->ai_family == AF_INET6) {
            struct sockaddr_in6 v6;
            memcpy(&v6, a->ai_addr, sizeof v6);
            add_v6(t, v6.sin6_addr, v6.sin6_scope_id);
        }
    }
    freeaddrinfo(found);
    if (t->address_count == 0)
        return crs_fail(err, CEREUS_E_NOT_FOUND, "host %s: no address", t->host);
    return CEREUS_OK;
}

static bool decode_port(const char *text, size_t len, uint16_t *ret_port)
{
    unsigned value = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    if (value == 0 || value > 65535)
        return false;
    *ret_port = (uint16_t)value;
    return true;
}

/* Host and path go into the upgrade request as they are: nothing that could end a line or a word there. */
static bool is_plain(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f)
            return false;
    return true;
}

cereus_status crs_client_target_find(const char *url, crs_client_target *ret_target, cereus_error *err)
{
    crs_client_target t = {0};
    const char *rest;
    static const struct {
        const char *begin;
        bool websocket, tls;
        uint16_t port; /* 0: the URL must name one */
    } schemes[] = {{"tcp://", false, false, 0},
                   {"tls://", false, true, 0},
                   {"ws://", true, false, 80},
                   {"wss://", true, true, 443}};
    size_t scheme = 0;
    while (scheme < CEREUS_COUNT(schemes) && strncmp(url, schemes[scheme].begin, strlen(schemes[scheme].begin)) != 0)
        scheme++;
    if (scheme == CEREUS_COUNT(schemes))
        return crs_fail(err, strstr(url, "://") ? CEREUS_E_UNSUPPORTED : CEREUS_E_INVALID,
                        "url %s: does not begin with tcp://, tls://, ws:// or wss://", url);
    t.websocket = schemes[scheme].websocket;
    t.tls = schemes[scheme].tls;
    t.port = schemes[scheme].port;
    rest = url + strlen(schemes[scheme].begin);

    size_t authority_len = strcspn(rest, "/?#");
    const char *path = rest + authority_len;
    if (!is_plain(rest, authority_len) || memchr(rest, '@', authority_len))
        return crs_fail(err, CEREUS_E_INVALID, "url %s: bad host", url);
    const char *host = rest, *port = NULL;
    size_t host_len;
    if (*rest == '[') {
        const char *end = memchr(rest, ']', authority_len);
        if (!end || (end + 1 != path && end[1] != ':'))
            return crs_fail(err, CEREUS_E_INVALID, "url %s: bad host", url);
        host = rest + 1;
        host_len = (size_t)(end - host);
        if (end[1] == ':')
            port = end + 2;
    } else {
        const char *colon = memchr(rest, ':', authority_len);
        host_len = colon ? (size_t)(colon - rest) : authority_len;
        if (colon)
            port = colon + 1;
    }
    if (host_len == 0 || host_len >= sizeof t.host || authority_len >= sizeof t.authority)
        return crs_fail(err, CEREUS_E_INVALID, "url %s: bad host", url);
    memcpy(t.host, host, host_len);
    memcpy(t.authority, rest, authority_len);
    if (port ? !decode_port(port, (size_t)(path - port), &t.port) : !t.websocket)
        return crs_fail(err, CEREUS_E_INVALID, "url %s: bad or missing port", url);

    size_t path_len = strcspn(path, "#"); /* a fragment is not for the server */
    if (t.websocket ? !is_plain(path, path_len) || path_len + 2 > sizeof t.path
                    : path[path_len] != '\0' || (path_len != 0 && strcmp(path, "/") != 0))
        return crs_fail(err, CEREUS_E_INVALID, "url %s: bad path", url);
    snprintf(t.path, sizeof t.path, "%s%.*s", *path == '/' ? "" : "/", (int)path_len, path);

    CEREUS_TRY(resolve(&t, err));
    *ret_target = t;
    return CEREUS_OK;
}
