/* acceptor/rate_limit.h: a leaky bucket for each connection, as a wrapper; exact to behaviour.md 6: of the last `limit`
 * packets taken the oldest must be `interval` old before another is taken. What is dropped takes no slot.
 */
#ifndef CRS_ACCEPTOR_RATE_LIMIT_H
#define CRS_ACCEPTOR_RATE_LIMIT_H

#include <cereus/acceptor.h>

typedef struct crs_rate_limit {
    uint32_t limit;       /* packets in each interval, 1.. */
    uint64_t interval_us; /* for how long a packet holds its slot */
    bool off;             /* everything passes */
    bool answer;          /* a request over the limit is answered with an error; else with nothing, as by Pitaya */
    bool data_only;       /* handshake, ack and heartbeat neither count nor are dropped; else all do, as by Pitaya */
} crs_rate_limit;

/** Its user pointer is a crs_rate_limit. */
extern const cereus_wrapper crs_rate_limit_wrapper;

#endif
