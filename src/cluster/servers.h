/* cluster/servers.h: who is there: an immutable list that is replaced as a whole when somebody comes or goes, so that every
 * loop reads its own without a lock while others get the new one.
 */
#ifndef CRS_CLUSTER_SERVERS_H
#define CRS_CLUSTER_SERVERS_H

#include <cereus/cluster.h>

#include "base/base.h"

/** A server with its texts, shared by the lists that have it. Thread: any; immutable. */
typedef struct crs_server crs_server;

typedef struct crs_servers crs_servers;

enum { CRS_SERVERS_MAX = 16384, CRS_SERVER_NAME_MAX = 255 };

/**
 * A server from what it says of itself: {"id","type","metadata","frontend","hostname"}, cluster-protocol.md 10.1, and
 * "draining" of ours.
 * @return CEREUS_OK; CEREUS_E_MALFORMED: no such JSON, or a name that cannot be one (empty, too long, with a slash or a
 *         control character); CEREUS_E_NOMEM. Ownership: gives a reference.
 */
CEREUS_MUST_USE cereus_status crs_server_parse(cereus_slice json, crs_server **ret_server);
/** The same text for @p server, in Go's form. Ownership: gives, crs_free() it. NULL: out of memory. */
char *crs_server_text(const cereus_server *server);
crs_server *crs_server_ref(crs_server *s);
crs_server *crs_server_unref(crs_server *s);
const cereus_server *crs_server_view(const crs_server *s);
/** A hash of its id. */
uint64_t crs_server_hash(const crs_server *s);

/** A list of @p count servers; of two with one id the later counts. Ownership: gives a reference; shares the servers. NULL:
 * out of memory, or more than CRS_SERVERS_MAX. */
crs_servers *crs_servers_new(crs_server *const *servers, size_t count);
/** @p list with @p add in it, in place of one with its id, or (add NULL) without @p id. As new(). */
crs_servers *crs_servers_changed(const crs_servers *list, crs_server *add, const char *id);
crs_servers *crs_servers_ref(crs_servers *list);
crs_servers *crs_servers_unref(crs_servers *list);

size_t crs_servers_count(const crs_servers *list);
crs_server *crs_servers_at(const crs_servers *list, size_t i);
/** NULL: none. */
crs_server *crs_servers_by_id(const crs_servers *list, cereus_slice id);
/** Those of @p type, @p *ret_count of them, beginning at the returned index; who drains is behind the others. */
size_t crs_servers_of_type(const crs_servers *list, cereus_slice type, size_t *ret_count);
/** Those of them that get what is new: who does not drain, or all when all do. */
size_t crs_servers_open(const crs_servers *list, cereus_slice type, size_t *ret_count);

#endif
