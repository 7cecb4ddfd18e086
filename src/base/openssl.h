/* base/openssl.h: the part of OpenSSL 3 that is used, loaded by the first who wants TLS (base/library.h says why).
 *
 *     CEREUS_TRY(crs_openssl_load(err));
 *     SSL_CTX *ctx = crs_ssl.SSL_CTX_new(crs_ssl.TLS_server_method());
 */
#ifndef CRS_BASE_OPENSSL_H
#define CRS_BASE_OPENSSL_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/library.h"

/* clang-format off */
#define CRS_OPENSSL_SSL(X) \
    X(SSL_CTX_check_private_key) X(SSL_CTX_ctrl) X(SSL_CTX_set_default_passwd_cb) X(SSL_CTX_free) X(SSL_CTX_new) X(SSL_CTX_set_options) \
    X(SSL_CTX_up_ref) X(SSL_CTX_use_PrivateKey_file) X(SSL_CTX_use_certificate_chain_file) \
    X(SSL_CTX_set_num_tickets) X(SSL_CTX_load_verify_file) X(SSL_CTX_set_alpn_protos) \
    X(SSL_CTX_set_default_verify_paths) X(SSL_CTX_set_verify) X(SSL_ctrl) X(SSL_get0_alpn_selected) X(SSL_get0_param) \
    X(SSL_get_verify_result) X(SSL_pending) X(SSL_set1_host) X(SSL_set_connect_state) X(TLS_client_method) \
    X(SSL_do_handshake) X(SSL_free) X(SSL_get_error) X(SSL_has_pending) X(SSL_in_init) X(SSL_new) X(SSL_read) \
    X(SSL_set_accept_state) X(SSL_set_bio) X(SSL_shutdown) X(SSL_write) X(TLS_server_method)
#define CRS_OPENSSL_CRYPTO(X) \
    X(BIO_clear_flags) X(BIO_get_data) X(BIO_meth_new) X(BIO_meth_set_create) X(BIO_meth_set_ctrl) \
    X(BIO_meth_set_read) X(BIO_meth_set_write) X(BIO_new) X(BIO_set_data) X(BIO_set_flags) X(BIO_set_init) \
    X(BIO_free) X(X509_VERIFY_PARAM_set1_ip_asc) X(X509_verify_cert_error_string) X(ERR_clear_error) X(ERR_peek_last_error) X(ERR_reason_error_string)
/* clang-format on */

typedef struct crs_openssl {
    CRS_LIBRARY_FIELDS(CRS_OPENSSL_SSL)
    CRS_LIBRARY_FIELDS(CRS_OPENSSL_CRYPTO)
} crs_openssl;

/** Filled by crs_openssl_load(), constant from then on. */
extern crs_openssl crs_ssl;

/** Load it; the second call and all later ones do nothing. @return CEREUS_OK; CEREUS_E_UNSUPPORTED: it is not installed,
 * err says so. Thread: any. */
cereus_status crs_openssl_load(cereus_error *err);

/** What OpenSSL says about the last failure of this thread; takes it away. Returns @p out. */
const char *crs_openssl_error(char *out, size_t cap);

#endif
