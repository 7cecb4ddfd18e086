/* tests/simulation/game.h: a small game of connectors, rooms and a ledger, which notes what it did, so that the simulation can
 * tell what must not have happened. Bodies are "CONN OP" and maybe " UID": which connection sends it, and the number of the
 * operation, which grows along each connection.
 *
 *     connector.gate.enter   binds the session            connector.gate.buy   asks the ledger from the frontend
 *     room.table.play        does it, and may take a while     room.table.buy   asks the ledger from the room
 *     room.table.login       binds the session from the room   room.table.say   pushes to two users
 *     room.table.kick        kicks a user
 */
#ifndef SIMULATION_GAME_H
#define SIMULATION_GAME_H

#include <cereus/cereus.h>
#include <cereus/test_bus.h>

enum { SERVERS_MAX = 64, CONNS_MAX = 256, OPS_MAX = 4096, SESSIONS_MAX = 1024, USERS = 5 };

/** One process: a server that is started again is another. */
typedef struct server {
    unsigned index;
    char id[16];
    const char *type;
    cereus_test_app *t; /* NULL: ended */
    bool crashed;
    bool paused;
} server;

typedef struct op {
    unsigned ran;    /* how often a room did it */
    unsigned booked; /* how often the ledger did */
} op;

typedef struct session_note {
    const server *at;
    cereus_session_id id;
    unsigned closed;
} session_note;

typedef struct world {
    uint64_t seed;
    bool broken; /* something happened that must not */
    server servers[SERVERS_MAX];
    unsigned server_count;
    op ops[OPS_MAX];
    unsigned last_op[CONNS_MAX][SERVERS_MAX]; /* that a room began, of each connection */
    bool running[CONNS_MAX][SERVERS_MAX];
    session_note sessions[SESSIONS_MAX];
    unsigned session_count;
} world;

extern world w;

/** This must not have happened. */
void fault(const char *fmt, ...) CEREUS_PRINTF(1, 2);
/** The app of @p s. */
cereus_app *game_new(server *s);
/** All sessions of a server that has ended were told of their end, once. */
void game_check_closes(const server *s);

#endif
