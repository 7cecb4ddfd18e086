/* wire/route_dict.h: the route dictionary, client-protocol.md 8.2: route text <-> 16-bit code, fixed before the server
 * starts, shared by both directions. Look-ups allocate nothing. */
#ifndef CRS_WIRE_ROUTE_DICT_H
#define CRS_WIRE_ROUTE_DICT_H

#include "base/base.h"

typedef struct crs_route_dict crs_route_dict;

/** An empty dictionary; NULL: out of memory. Ownership: gives, end it with crs_route_dict_free(). */
crs_route_dict *crs_route_dict_new(void);
crs_route_dict *crs_route_dict_free(crs_route_dict *dict);

/**
 * Add a route; blanks around it are trimmed.
 * @return CEREUS_OK; CEREUS_E_EXISTS: route or code is taken, @p err says `duplicated route(route: X, code: N)`;
 *         CEREUS_E_INVALID: nothing but blanks (Q13: never copy); CEREUS_E_TOO_LONG: over 255 bytes; CEREUS_E_NOMEM
 * Thread: setup, before the dictionary is shared.
 */
cereus_status crs_route_dict_add(crs_route_dict *dict, cereus_slice route, uint16_t code, cereus_error *err);

/** Number of routes. NULL counts as empty, here and below. */
size_t crs_route_dict_count(const crs_route_dict *dict);
/** Is @p route a key? The exact text. Thread: any. */
bool crs_route_dict_code(const crs_route_dict *dict, cereus_slice route, uint16_t *ret_code);
/** The route of @p code; the slice lives as long as the dictionary. Thread: any. */
bool crs_route_dict_route(const crs_route_dict *dict, uint16_t code, cereus_slice *ret_route);
/** The @p index-th route in byte order, index < count: as the handshake lists them. */
void crs_route_dict_at(const crs_route_dict *dict, size_t index, cereus_slice *ret_route, uint16_t *ret_code);

#endif
