/* clients/c/carrier.h: what carries a client's bytes where that is no socket: the test kit's memory. The same client is
 * then tested and tested with; the public header knows nothing of it. */
#ifndef CRS_CLIENT_CARRIER_H
#define CRS_CLIENT_CARRIER_H

#include <sys/types.h>

#include <cereus/client.h>

/** recv and send are as their system calls, non-blocking: -1 with errno. close ends it; it is not used any more. */
typedef struct crs_client_carrier {
    ssize_t (*recv)(void *user, void *buf, size_t cap);
    ssize_t (*send)(void *user, const void *data, size_t len);
    void (*close)(void *user);
} crs_client_carrier;

/**
 * As cereus_client_connect(), over @p carrier, which is connected already. There is no fd to poll: call
 * cereus_client_step() with POLLIN. Not for clients that reconnect.
 * @return CEREUS_OK; CEREUS_E_STATE
 * Ownership: borrows @p carrier until its close is called.
 */
cereus_status crs_client_carry(cereus_client *client, const crs_client_carrier *carrier, void *user, bool websocket);

#endif
