/* cluster/rpc/nats_settings.h: where NATS is, and how it is spoken to, from the keys of Pitaya and ours. The client's and the
 * server's keys are for one connection here: the client's count, or the server's where only these are set.
 */
#ifndef CRS_CLUSTER_RPC_NATS_SETTINGS_H
#define CRS_CLUSTER_RPC_NATS_SETTINGS_H

#include "cluster/tls_files.h"
#include "ext/nats.h"

enum { CRS_NATS_URLS_MAX = 32 };

typedef struct crs_nats_settings {
    const char *key; /* that says where NATS is */
    char *urls_text; /* cut at its commas */
    const char *urls[CRS_NATS_URLS_MAX];
    size_t url_count;
    crs_tls_client_options tls;
    bool speaks_tls;
    char host[256]; /* of all URLs, if they have one and it is a name; else empty */
} crs_nats_settings;

/** @return CEREUS_OK; else @p err names the key. @p cfg is borrowed for their life. Thread: setup. */
CEREUS_MUST_USE cereus_status crs_nats_settings_read(crs_nats_settings *s, const cereus_config *cfg, crs_log *log,
                                                     cereus_error *err);
/** Also after a read that failed, or of zeros. */
void crs_nats_settings_fini(crs_nats_settings *s);
/** Into what they say anything of; borrows @p s. */
void crs_nats_settings_apply(const crs_nats_settings *s, const cereus_config *cfg, crs_nats_options *opt);

#endif
