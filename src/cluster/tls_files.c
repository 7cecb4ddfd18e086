/* cluster/tls_files.c: one pair of files after the other, so that it is known whose mistake it is. */
#include "cluster/tls_files.h"

static cereus_status check(const crs_tls_client_options *tls, const char *name, cereus_error *err)
{
    crs_tls_client *client = NULL;
    cereus_error inner;
    cereus_status st = crs_tls_client_new(tls, &client, &inner);
    crs_tls_client_free(client);
    return st ? crs_fail(err, st, "%s: %s", name, inner.msg) : CEREUS_OK;
}

static const char *text_or_null(const cereus_config *cfg, crs_config_key key)
{
    const char *text = crs_config_text(cfg, key);
    return *text ? text : NULL;
}

cereus_status crs_tls_files(const cereus_config *cfg, crs_config_key ca, crs_config_key cert, crs_config_key key,
                            crs_tls_client_options *ret_tls, bool *ret_set, cereus_error *err)
{
    crs_tls_client_options tls = {
        .ca_file = text_or_null(cfg, ca), .cert_file = text_or_null(cfg, cert), .key_file = text_or_null(cfg, key)};
    const char *cert_name = crs_config_info_of(cert)->name, *key_name = crs_config_info_of(key)->name;
    if (!tls.cert_file != !tls.key_file)
        return crs_fail(err, CEREUS_E_INVALID, "%s and %s: set both or neither", cert_name, key_name);
    if (tls.ca_file)
        CEREUS_TRY(check(&(crs_tls_client_options){.ca_file = tls.ca_file}, crs_config_info_of(ca)->name, err));
    if (tls.cert_file)
        CEREUS_TRY(
            check(&(crs_tls_client_options){.cert_file = tls.cert_file, .key_file = tls.key_file}, cert_name, err));
    *ret_tls = tls;
    *ret_set = tls.ca_file || tls.cert_file;
    return CEREUS_OK;
}
