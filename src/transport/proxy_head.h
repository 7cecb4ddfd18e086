/* transport/proxy_head.h: the head that a load balancer puts before a connection's own bytes to say who the client is:
 * PROXY protocol, versions 1 and 2, as a pure function over bytes. client-protocol.md 16 and the vectors in proxy.json
 * say what Pitaya takes; UNKNOWN and LOCAL (the balancer's own health checks) are taken as the protocol wants them.
 */
#ifndef CRS_TRANSPORT_PROXY_HEAD_H
#define CRS_TRANSPORT_PROXY_HEAD_H

#include "transport/conn.h"

enum {
    CRS_PROXY_V1_MAX = 107,       /* "PROXY ... CRLF" */
    CRS_PROXY_V2_HEAD_LEN = 16,   /* before the addresses */
    CRS_PROXY_V2_BODY_MAX = 2048, /* addresses and extensions */
    CRS_PROXY_HEAD_MAX = CRS_PROXY_V2_HEAD_LEN + CRS_PROXY_V2_BODY_MAX,
};

/**
 * Parse a head from the front of @p in.
 *
 *     v1: "PROXY" SP "TCP4"|"TCP6" SP source SP destination SP port SP port CRLF  |  "PROXY UNKNOWN" anything CRLF
 *     v2: 12 fixed bytes | version 2, command: 4 bits each | family, protocol: 4 bits each | u16 len | len bytes
 *
 * @param in         bytes received so far; parsed from the start each time
 * @param ret_known  set on CEREUS_OK: the head names the client; else it is whoever has connected
 * @param ret_peer   set when it does
 * @param ret_used   set on CEREUS_OK: length of the head
 * @return CEREUS_OK; CEREUS_E_AGAIN: more bytes needed, and all of @p in belongs to the head; CEREUS_E_MALFORMED
 * Ownership: borrows @p in. Allocates nothing. Thread: any.
 */
CEREUS_MUST_USE cereus_status crs_proxy_head_parse(cereus_slice in, bool *ret_known, crs_peer *ret_peer,
                                                   size_t *ret_used);

#endif
