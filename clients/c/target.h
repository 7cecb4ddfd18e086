/* clients/c/target.h: where to connect: the parsed URL and the addresses behind it. */
#ifndef CRS_CLIENT_TARGET_H
#define CRS_CLIENT_TARGET_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/base.h"

enum {
    CRS_CLIENT_ADDRESSES_MAX = 8,
};

typedef struct crs_client_address {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } addr;
} crs_client_address;

typedef struct crs_client_target {
    bool websocket;
    bool tls;
    uint16_t port;
    char host[256];      /* without brackets */
    char authority[300]; /* for the Host header: host as written, port unless it is the default */
    char path[1024];     /* with query, begins with '/' */
    crs_client_address addresses[CRS_CLIENT_ADDRESSES_MAX];
    size_t address_count; /* 1 or more */
} crs_client_target;

/**
 * Parse @p url and look its host up; blocks if that is neither an address nor "localhost".
 * @return CEREUS_OK; CEREUS_E_INVALID, CEREUS_E_UNSUPPORTED: the url; CEREUS_E_NOT_FOUND: no such host; @p err says
 * more
 */
cereus_status crs_client_target_find(const char *url, crs_client_target *ret_target, cereus_error *err);

#endif
