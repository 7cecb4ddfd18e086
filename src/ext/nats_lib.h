/* ext/nats_lib.h: the part of nats.c that is used, loaded by the first who speaks NATS (base/library.h says why). Only its
 * headers are needed to build.
 */
#ifndef CRS_EXT_NATS_LIB_H
#define CRS_EXT_NATS_LIB_H

#include <nats/nats.h>

#include "base/library.h"

/* clang-format off */
#define CRS_NATS_FUNCTIONS(X) \
    X(nats_Open) X(nats_GetLastError) X(natsStatus_GetText) X(natsInbox_Create) X(natsInbox_Destroy) \
    X(natsOptions_Create) X(natsOptions_Destroy) X(natsOptions_SetServers) X(natsOptions_SetTimeout) X(natsOptions_SetName) \
    X(natsOptions_SetAllowReconnect) \
    X(natsOptions_SetPingInterval) X(natsOptions_SetMaxPingsOut) X(natsOptions_SetSecure) \
    X(natsOptions_LoadCATrustedCertificates) X(natsOptions_LoadCertificatesChain) X(natsOptions_SetExpectedHostname) \
    X(natsOptions_SetSendAsap) X(natsOptions_SetEventLoop) X(natsOptions_SetClosedCB) \
    X(natsOptions_SetErrorHandler) X(natsOptions_SetLameDuckModeCB) X(natsOptions_UseGlobalMessageDelivery) \
    X(natsConnection_Connect) X(natsConnection_Close) X(natsConnection_Destroy) X(natsConnection_Buffered) \
    X(natsConnection_GetDiscoveredServers) X(natsConnection_GetMaxPayload) \
    X(natsConnection_Publish) X(natsConnection_PublishRequest) X(natsConnection_Subscribe) X(natsConnection_SubscribeSync) \
    X(natsConnection_ProcessReadEvent) X(natsConnection_ProcessWriteEvent) \
    X(natsSubscription_SetPendingLimits) X(natsSubscription_SetOnCompleteCB) X(natsSubscription_GetPending) \
    X(natsSubscription_GetDropped) X(natsSubscription_NextMsg) X(natsSubscription_Destroy) \
    X(natsMsg_GetSubject) X(natsMsg_GetReply) X(natsMsg_GetData) X(natsMsg_GetDataLength) \
    X(natsMsg_Destroy)
/* clang-format on */

typedef struct crs_nats_lib {
    CRS_LIBRARY_FIELDS(CRS_NATS_FUNCTIONS)
} crs_nats_lib;

/** Filled by crs_nats_load(), constant from then on. */
extern crs_nats_lib crs_natslib;

/** Load it; the second call and all later ones do nothing. @return CEREUS_OK; CEREUS_E_UNSUPPORTED: it is not installed,
 * err says so. Thread: any. */
cereus_status crs_nats_load(cereus_error *err);

#endif
