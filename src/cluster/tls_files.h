/* cluster/tls_files.h: the settings for TLS to a service that servers meet through, looked at before they are used, so that a
 * mistake in them is told with its key. */
#ifndef CRS_CLUSTER_TLS_FILES_H
#define CRS_CLUSTER_TLS_FILES_H

#include "config/config.h"
#include "ext/tls_client.h"

/**
 * Read the files that @p ca, @p cert and @p key name.
 * @param ret_tls  the files; NULL where a key is empty. Its strings are @p cfg's
 * @param ret_set  is any of them set?
 * @return CEREUS_OK; CEREUS_E_INVALID: err names the key, the file and what is wrong; CEREUS_E_UNSUPPORTED: no OpenSSL;
 *         CEREUS_E_NOMEM. Thread: setup or loop; blocks.
 */
cereus_status crs_tls_files(const cereus_config *cfg, crs_config_key ca, crs_config_key cert, crs_config_key key,
                            crs_tls_client_options *ret_tls, bool *ret_set, cereus_error *err);

#endif
