/* wire/handshake.h: the JSON of the two handshake packets, client-protocol.md 3. */
#ifndef CRS_WIRE_HANDSHAKE_H
#define CRS_WIRE_HANDSHAKE_H

#include "base/arena.h"
#include "base/buf.h"
#include "wire/compress.h"
#include "wire/route_dict.h"

enum { CRS_HANDSHAKE_TEXT_MAX = 1 << 20 }; /* longest text that crs_handshake_print() is asked for */

/** What shipped clients cannot cope with (client-protocol.md 20), told by what they say of themselves. */
enum {
    CRS_NEEDS_PLAIN_BODIES = 1, /* the JavaScript client cannot inflate: neither the handshake's answer nor bodies */
    CRS_NEEDS_ROUTE_TEXT = 2,   /* libpitaya crashes on a push whose route is a dictionary code */
};

/** What a client said of itself; strings are never NULL, "" where missing, and a NUL inside one has become '?'. */
typedef struct crs_handshake {
    const char *platform, *lib_version, *client_build_number, *client_version;
    cereus_slice
        user; /* the JSON text of "user", bad UTF-8 replaced by U+FFFD, whitespace as sent; nothing: none or null */
    unsigned needs; /* CRS_NEEDS_* */
} crs_handshake;

/**
 * Parse a client's handshake as Go would (spec 3.1): every member optional, `null` accepted, unknown members ignored,
 * names match without case, of duplicates the last wins, duplicate "sys" objects merge member by member; the four strings
 * must be strings or null, "sys" and "user" objects or null; no BOM, no trailing bytes; nesting at most 64 deep.
 * @param ret_hs  set on CEREUS_OK; its memory is from @p arena
 * @return CEREUS_OK; CEREUS_E_MALFORMED; CEREUS_E_NOMEM: arena full
 * Pure: allocates from @p arena only. Thread: any.
 */
cereus_status crs_handshake_parse(cereus_slice json, crs_arena *arena, crs_handshake *ret_hs);

/**
 * Append what a handler sees of it: {"sys":{"platform":s,"libVersion":s,"clientBuildNumber":s,"clientVersion":s},"user":{..}}
 * with all four members, user only if there; strings escaped as Go does. Numbers in user as Go prints doubles, members of
 * user sorted by name (Go maps), without blanks: see vectors `handshake.json`, `state.json` that call test.hs.
 */
CEREUS_MUST_USE cereus_status crs_handshake_print(const crs_handshake *hs, crs_bytes *out);

/**
 * Build the answer packet, head included: {"code":C,"sys":{"dict":{..},"heartbeat":T,"serializer":"S"}}, byte for byte as
 * Pitaya (dictionary sorted by bytes, Go's string escaping, T the shortest decimal form of heartbeat_ms / 1000).
 * @param z  deflate the JSON if that is shorter; NULL: compression is off
 * @return CEREUS_OK; CEREUS_E_TOO_LONG, CEREUS_E_NOMEM
 */
CEREUS_MUST_USE cereus_status crs_handshake_answer(int code, const crs_route_dict *dict, uint64_t heartbeat_ms,
                                                   const char *serializer, crs_zlib *z, crs_bytes *out);

/** Append @p text as a JSON string with quotes and Go's escaping (spec 3.3): < > & and U+2028/9 as \u00xx, control
 * characters \b \f \n \r \t or \u00XX, bad UTF-8 as \ufffd, one per byte. Shared with the error payload. */
CEREUS_MUST_USE cereus_status crs_json_escape(cereus_slice text, crs_bytes *out);

#endif
