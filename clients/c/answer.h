/* clients/c/answer.h: what the server says in JSON or protobuf and the client itself must understand: the answer to the
 * handshake and error payloads, client-protocol.md 3.3 and 10.1. Pure functions. */
#ifndef CRS_CLIENT_ANSWER_H
#define CRS_CLIENT_ANSWER_H

#include <cereus/client.h>

#include "base/arena.h"
#include "wire/route_dict.h"

typedef struct crs_client_answer {
    crs_route_dict *dict;  /* never NULL; the receiver's */
    uint64_t heartbeat_ms; /* 0: none */
    char serializer[32];
} crs_client_answer;

/**
 * Parse the inflated answer to a handshake.
 * @return CEREUS_OK; CEREUS_E_FAILED: the code is not 200, the server does not want us; CEREUS_E_MALFORMED;
 * CEREUS_E_NOMEM Ownership: gives ret_answer->dict.
 */
cereus_status crs_client_answer_parse(cereus_slice json, crs_client_answer *ret_answer, cereus_error *err);

enum {
    CRS_CLIENT_METADATA_MAX = 256, /* entries of one error that are kept; the rest is left out */
};

/**
 * Read an error payload into code, msg and metadata of @p reply; other members are not touched. A payload that cannot
 * be read (it may come from a custom serializer) becomes code PIT-000 and a msg that says so.
 * @param arena  where the texts live
 */
void crs_client_error_parse(cereus_slice payload, const char *serializer, crs_arena *arena, cereus_client_reply *reply);

#endif
