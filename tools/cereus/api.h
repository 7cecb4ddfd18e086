/* tools/cereus/api.h: what a server says of itself: its routes with what they take and give (the documentation that
 * cereus/docs.h describes), and the message types behind them. With it a person's JSON becomes the server's Protobuf and
 * back, and half-typed lines are completed.
 *
 * All of it comes from whoever answers at an address, so nothing is believed that does not look as it should. */
#ifndef CRS_TOOL_API_H
#define CRS_TOOL_API_H

#include "base/buf.h"
#include "proto_types.h"

enum {
    CRS_API_NAMES_MAX = 4096,     /* types asked for */
    CRS_API_CANDIDATES_MAX = 512, /* ways to complete a line */
};

typedef struct crs_api crs_api;

/**
 * Read the text that a documentation route has answered.
 * @return CEREUS_OK; CEREUS_E_MALFORMED: it is not documentation; CEREUS_E_NOMEM. Ownership: gives.
 */
CEREUS_MUST_USE cereus_status crs_api_new(cereus_slice text, crs_api **ret_api, cereus_error *err);
/** NULL is fine. Returns NULL. */
crs_api *crs_api_free(crs_api *api);

/** The routes in order; NULL: no more. Lives as long as @p api. */
const char *crs_api_route(const crs_api *api, size_t index);
/** The route that gives descriptors for names; NULL: there is none. */
const char *crs_api_descriptors_route(const crs_api *api);

/** Note that pushes under @p route hold @p type ("protos.Msg" or "*protos.Msg"). CEREUS_E_NOMEM, CEREUS_E_FULL. */
CEREUS_MUST_USE cereus_status crs_api_set_push(crs_api *api, const char *route, const char *type);

/**
 * Append the body of the next question for descriptors, a protos.ProtoNames: the messages that routes and pushes use, then
 * the files that those import. Nothing is asked for twice.
 * @param ret_any  set on CEREUS_OK: is there anything to ask?
 */
CEREUS_MUST_USE cereus_status crs_api_ask(crs_api *api, crs_bytes *body, bool *ret_any);
/** The server did not know one of those names: append a question for the next of them by itself. @p ret_any as above. */
CEREUS_MUST_USE cereus_status crs_api_ask_singly(crs_api *api, crs_bytes *body, bool *ret_any);
/** Take the answer, a protos.ProtoDescriptors. @return CEREUS_OK; CEREUS_E_MALFORMED, CEREUS_E_TOO_LONG, CEREUS_E_NOMEM */
CEREUS_MUST_USE cereus_status crs_api_learn(crs_api *api, cereus_slice body, cereus_error *err);

typedef enum crs_api_body {
    CRS_API_REQUEST, /* what the route takes */
    CRS_API_REPLY,   /* what it gives */
    CRS_API_PUSH,
} crs_api_body;

/**
 * Between a person's JSON and the server's Protobuf. Where the type of the body is not known it is copied as it is.
 * @param route  with or without the server's type in front
 * @param in     for encode, nothing at all is the empty message
 * @param out    appended to
 * @return CEREUS_OK; CEREUS_E_MALFORMED, CEREUS_E_INVALID: @p err says why; CEREUS_E_TOO_LONG; CEREUS_E_NOMEM
 */
CEREUS_MUST_USE cereus_status crs_api_encode(const crs_api *api, const char *route, cereus_slice in, crs_bytes *out,
                                             cereus_error *err);
CEREUS_MUST_USE cereus_status crs_api_decode(const crs_api *api, const char *route, crs_api_body which, cereus_slice in,
                                             crs_bytes *out, cereus_error *err);

/** Ways to go on with a line. */
typedef struct crs_candidates {
    size_t start; /* where in the line the word begins that they replace */
    char *words[CRS_API_CANDIDATES_MAX];
    size_t count;
} crs_candidates;

/**
 * Complete what stands before the cursor: a command, a route behind `request`, `notify` and `push`, the name of a field in
 * the JSON of a request.
 * @param api       NULL: only commands
 * @param commands  NULL ends them
 * @param ret       empty it with crs_candidates_fini()
 */
void crs_api_complete(const crs_api *api, const char *const *commands, cereus_slice before, crs_candidates *ret);
void crs_candidates_fini(crs_candidates *c);

#endif
