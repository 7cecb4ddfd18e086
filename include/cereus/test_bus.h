/* cereus/test_bus.h: a whole cluster in a test: servers that find and call one another over a bus in memory, under the clock of
 * cereus/test.h, while the test makes the bus slow, lossy and broken. What chance decides comes from a seed, so a run with the
 * same seed does the same, to the byte.
 *
 *     cereus_test_bus *bus = cereus_test_bus_new(seed);
 *     cereus_test_app *front = cereus_test_new(connector_new("front-1"), CEREUS_TEST_MEMORY);
 *     cereus_test_app *room = cereus_test_new_beside(room_new("room-1"), front);
 *     cereus_test_bus_join(bus, front);
 *     cereus_test_bus_join(bus, room);
 *     cereus_test_start(front);
 *     cereus_test_start(room);
 *     cereus_test_bus_set(bus, &(cereus_test_faults){.delay_ms = 5, .jitter_ms = 100});
 *     cereus_test_bus_cut(bus, "front-1", "room-1");
 *     ...
 *     cereus_test_end(room);
 *     cereus_test_end(front);
 *     cereus_test_bus_free(bus);
 *
 * What a server sends to another arrives in the order of sending, once or not at all; what different servers send overtakes
 * one another as the jitter has it. Messages go by a server's id, as over NATS: to whoever has it when they arrive.
 *
 * A call that waits (cereus_test_call() and its like) fails when nothing more happens at this time; with delays a message
 * needs time, so send with cereus_test_request(), let time pass with cereus_test_advance(), and look at the answer.
 */
#ifndef CEREUS_TEST_BUS_H
#define CEREUS_TEST_BUS_H

#include <cereus/test.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cereus_test_bus cereus_test_bus;

/** A bus without faults. @p seed: not 0. Ownership: gives, free it after the last of its apps was ended. */
CEREUS_API cereus_test_bus *cereus_test_bus_new(uint64_t seed);
CEREUS_API cereus_test_bus *cereus_test_bus_free(cereus_test_bus *bus);
/** Put @p t, not started yet, on the bus: its engines for finding and calling servers are the bus's. All apps of a bus are
 * beside one another, in memory mode. */
#define cereus_test_bus_join(bus, t) cereus_test_bus_join_at(CEREUS_TEST_HERE, bus, t)
CEREUS_API void cereus_test_bus_join_at(cereus_test_where where, cereus_test_bus *bus, cereus_test_app *t);

/** How bad the bus is. All zero: everything arrives at once, in the next round. */
typedef struct cereus_test_faults {
    unsigned delay_ms, jitter_ms;     /* each message takes delay_ms and up to jitter_ms more */
    unsigned hear_ms, hear_jitter_ms; /* likewise until a server hears that another has come or gone */
    unsigned lease_ms;                /* so long a server that has crashed or was cut off is still listed */
    unsigned lost_ppm;                /* of a million messages so many never arrive */
} cereus_test_faults;

/** From now on; what is under way is not changed. @p faults NULL: none. */
CEREUS_API void cereus_test_bus_set(cereus_test_bus *bus, const cereus_test_faults *faults);
/** Between the servers with these ids nothing arrives any more, until mended; what is under way is lost when it would arrive.
 * @p other NULL: @p id is cut off from all, and from the list of servers: it is taken off when lease_ms have passed, and
 * comes back when mended. */
CEREUS_API void cereus_test_bus_cut(cereus_test_bus *bus, const char *id, const char *other);
CEREUS_API void cereus_test_bus_mend(cereus_test_bus *bus, const char *id, const char *other);
/** Mend all. */
CEREUS_API void cereus_test_bus_mend_all(cereus_test_bus *bus);
/** Stop the process of @p t as SIGSTOP does, or let it go on; its players stand still too. Starting or stopping an app lets
 * others go on, but no paused ones. */
CEREUS_API void cereus_test_bus_pause(cereus_test_bus *bus, cereus_test_app *t, bool paused);
/** The process of @p t ends as by kill -9: it does nothing more, its players lose their connections, others hear of it as the
 * faults have it. Another app may then join under its id. Ending @p t later runs what the game does at an end, which nobody
 * hears. */
CEREUS_API void cereus_test_bus_crash(cereus_test_bus *bus, cereus_test_app *t);

/** A number below @p bound (1..) for the test's own choices: the next of the seed's. */
CEREUS_API uint64_t cereus_test_bus_random(cereus_test_bus *bus, uint64_t bound);
/** A hash of all that has been sent over the bus until now, and when: the same for the same seed. */
CEREUS_API uint64_t cereus_test_bus_trace(const cereus_test_bus *bus);

#ifdef __cplusplus
}
#endif
#endif
