/* examples/cluster/place.h: which server has a room. Connectors and rooms ask the same function the same question, so they
 * need nobody who decides: every server gets a number from its id and the room's name, and the highest has the room. When
 * a server goes, only its rooms move; when one comes, it takes its share and the others keep theirs.
 */
#ifndef CLUSTER_PLACE_H
#define CLUSTER_PLACE_H

#include <stdint.h>

#include <cereus/cereus.h>

/** FNV-1a, and a stir: the last letters shall matter as much as the first. */
static inline uint64_t place_score(const char *server_id, const char *room)
{
    uint64_t hash = 14695981039346656037u;
    for (const char *p = server_id; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    hash = (hash ^ '/') * 1099511628211u;
    for (const char *p = room; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    hash ^= hash >> 32;
    hash *= 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

/** The index of the server that has @p room, of at least one. */
static inline size_t place_of(const char *room, const cereus_server *const *servers, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        if (place_score(servers[i]->id, room) > place_score(servers[best]->id, room))
            best = i;
    }
    return best;
}

#endif
