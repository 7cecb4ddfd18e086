/* tests/stress/crowd.h: clients of one thread that do what their numbers say: connect over TCP and WebSocket, talk, stop
 * reading, leave politely and impolitely. What they hear is checked: each answer is to a question asked once, in order
 * where order was promised, and nothing comes after a kick. A failed check ends the process.
 */
#ifndef STRESS_CROWD_H
#define STRESS_CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct crowd crowd;

typedef struct crowd_options {
    uint32_t seed;
    unsigned peer_count;
    uint16_t tcp_port, ws_port;
    bool in_order;   /* the server answers one message of a session after the other */
    bool all_pushes; /* none is dropped while its session lives */
} crowd_options;

/** The next number of a sequence. */
uint32_t crowd_dice(uint32_t *seed);

crowd *crowd_new(const crowd_options *opt);
/** Hangs up. Returns NULL. */
crowd *crowd_free(crowd *c);
/** One of them does something. Thread: one at a time, as all of these. */
void crowd_step(crowd *c);
/** Leave what is half open, and ask a question on each connection that the answers to all before it precede. */
void crowd_settle(crowd *c);
/** Take what has arrived. @return how many are connected; *ret_waiting: answers that they wait for */
size_t crowd_listen(crowd *c, size_t *ret_waiting);

#endif
