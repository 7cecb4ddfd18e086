/* ext/tls_client.c: OpenSSL with a BIO of our own, as its socket BIO writes with write(), which a lost peer answers with
 * SIGPIPE. Every call clears OpenSSL's error queue first and reads it after: the queue is per thread, not per connection.
 */
#include "ext/tls_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/openssl.h"

struct crs_tls_client {
    SSL_CTX *ctx;
    char *server_name; /* NULL: the endpoint's host */
    bool insecure, any_protocol, read_ahead;
};

struct crs_tls_session {
    SSL *ssl;
    bool insecure, any_protocol, read_ahead; /* copies: the client may be gone */
};

/* ---- the BIO ---- */

static BIO_METHOD *fd_method;

static int fd_of(BIO *bio)
{
    return (int)(intptr_t)crs_ssl.BIO_get_data(bio);
}

static int fd_read(BIO *bio, char *buf, int cap)
{
    ssize_t n = recv(fd_of(bio), buf, (size_t)cap, 0);
    crs_ssl.BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        crs_ssl.BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
    return (int)n;
}

static int fd_write(BIO *bio, const char *data, int len)
{
    ssize_t n = send(fd_of(bio), data, (size_t)len, MSG_NOSIGNAL);
    crs_ssl.BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        crs_ssl.BIO_set_flags(bio, BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY);
    return (int)n;
}

static long fd_ctrl(BIO *bio, int command, long number, void *ptr)
{
    CRS_UNUSED(bio);
    CRS_UNUSED(number);
    CRS_UNUSED(ptr);
    return command == BIO_CTRL_FLUSH; /* nothing is held back */
}

static void make_method(void)
{
    fd_method = crs_ssl.BIO_meth_new(BIO_TYPE_SOURCE_SINK | 100, "cereus fd");
    if (!fd_method)
        return;
    crs_ssl.BIO_meth_set_read(fd_method, fd_read);
    crs_ssl.BIO_meth_set_write(fd_method, fd_write);
    crs_ssl.BIO_meth_set_ctrl(fd_method, fd_ctrl);
}

/* ---- what connections share ---- */

static cereus_status load_files(crs_tls_client *tls, const crs_tls_client_options *opt, cereus_error *err)
{
    char text[200];
    if (!opt->insecure && (opt->ca_file ? crs_ssl.SSL_CTX_load_verify_file(tls->ctx, opt->ca_file) != 1
                                        : crs_ssl.SSL_CTX_set_default_verify_paths(tls->ctx) != 1))
        return crs_fail(err, CEREUS_E_INVALID, "TLS: cannot read the certificates to trust from %s: %s",
                        opt->ca_file ? opt->ca_file : "the system's store", crs_openssl_error(text, sizeof text));
    if (!opt->cert_file != !opt->key_file)
        return crs_fail(err, CEREUS_E_INVALID, "TLS: a certificate of our own needs both its file and its key's");
    if (!opt->cert_file)
        return CEREUS_OK;
    if (crs_ssl.SSL_CTX_use_certificate_chain_file(tls->ctx, opt->cert_file) != 1)
        return crs_fail(err, CEREUS_E_INVALID, "TLS: cannot read the certificate %s: %s", opt->cert_file,
                        crs_openssl_error(text, sizeof text));
    if (crs_ssl.SSL_CTX_use_PrivateKey_file(tls->ctx, opt->key_file, SSL_FILETYPE_PEM) != 1)
        return crs_fail(err, CEREUS_E_INVALID, "TLS: cannot use the key %s for the certificate %s: %s", opt->key_file,
                        opt->cert_file, crs_openssl_error(text, sizeof text));
    return CEREUS_OK;
}

cereus_status crs_tls_client_new(const crs_tls_client_options *opt, crs_tls_client **ret_tls, cereus_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CEREUS_TRY(crs_openssl_load(err));
    pthread_once(&once, make_method);
    crs_ssl.ERR_clear_error();
    crs_tls_client *tls = crs_zalloc(sizeof *tls);
    cereus_status st = CEREUS_E_NOMEM;
    if (!tls || !fd_method || (opt->server_name && !(tls->server_name = crs_strdup(opt->server_name))) ||
        !(tls->ctx = crs_ssl.SSL_CTX_new(crs_ssl.TLS_client_method()))) {
        crs_fail(err, st, "TLS: out of memory");
        goto fail;
    }
    static const uint8_t alpn[] = {2, 'h', '2'};
    tls->insecure = opt->insecure;
    tls->any_protocol = opt->any_protocol;
    tls->read_ahead = opt->read_ahead;
    crs_ssl.SSL_CTX_ctrl(tls->ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    crs_ssl.SSL_CTX_set_verify(tls->ctx, opt->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    crs_ssl.SSL_CTX_ctrl(tls->ctx, SSL_CTRL_MODE,
                         SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                             SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY,
                         NULL);
    crs_ssl.SSL_CTX_set_options(tls->ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    crs_ssl.SSL_CTX_ctrl(tls->ctx, SSL_CTRL_SET_READ_AHEAD, opt->read_ahead, NULL);
    if (!opt->any_protocol && crs_ssl.SSL_CTX_set_alpn_protos(tls->ctx, alpn, sizeof alpn) != 0) {
        crs_fail(err, st, "TLS: out of memory");
        goto fail;
    }
    if ((st = load_files(tls, opt, err)))
        goto fail;
    *ret_tls = tls;
    return CEREUS_OK;
fail:
    crs_tls_client_free(tls);
    return st;
}

crs_tls_client *crs_tls_client_free(crs_tls_client *tls)
{
    if (!tls)
        return NULL;
    crs_ssl.SSL_CTX_free(tls->ctx); /* sessions hold it, too */
    crs_free(tls->server_name);
    crs_free(tls);
    return NULL;
}

/* ---- a connection ---- */

static bool expect_name(SSL *ssl, const char *name)
{
    uint8_t addr[16];
    if (inet_pton(AF_INET, name, addr) == 1 || inet_pton(AF_INET6, name, addr) == 1)
        return crs_ssl.X509_VERIFY_PARAM_set1_ip_asc(crs_ssl.SSL_get0_param(ssl), name) ==
               1; /* and no SNI: RFC 6066 3 */
    return crs_ssl.SSL_set1_host(ssl, name) == 1 &&
           crs_ssl.SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, (void *)name) == 1;
}

cereus_status crs_tls_session_new(crs_tls_client *tls, int fd, const char *host, crs_tls_session **ret_session,
                                  cereus_error *err)
{
    crs_ssl.ERR_clear_error();
    crs_tls_session *s = crs_zalloc(sizeof *s);
    BIO *bio = NULL;
    if (!s || !(s->ssl = crs_ssl.SSL_new(tls->ctx)) || !(bio = crs_ssl.BIO_new(fd_method)) ||
        !expect_name(s->ssl, tls->server_name ? tls->server_name : host)) {
        crs_ssl.BIO_free(bio);
        crs_tls_session_free(s);
        return crs_fail(err, CEREUS_E_NOMEM, "TLS: out of memory");
    }
    crs_ssl.BIO_set_data(bio, (void *)(intptr_t)fd);
    crs_ssl.BIO_set_init(bio, 1);
    crs_ssl.SSL_set_bio(s->ssl, bio, bio);
    crs_ssl.SSL_set_connect_state(s->ssl);
    s->insecure = tls->insecure;
    s->any_protocol = tls->any_protocol;
    s->read_ahead = tls->read_ahead;
    *ret_session = s;
    return CEREUS_OK;
}

crs_tls_session *crs_tls_session_free(crs_tls_session *session)
{
    if (session) {
        crs_ssl.SSL_free(session->ssl);
        crs_free(session);
    }
    return NULL;
}

bool crs_tls_distrusts(const crs_tls_session *session)
{
    return !session->insecure && crs_ssl.SSL_get_verify_result(session->ssl) != X509_V_OK;
}

static const char *fix_of(long verify)
{
    switch (verify) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return "; set the server name that it is made for";
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "; the server needs a new one";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "; is the clock of this machine right?";
    default:
        return "; is the right CA configured?";
    }
}

static cereus_status refused(crs_tls_session *s, cereus_error *err)
{
    int error = errno;
    char text[200];
    if (crs_tls_distrusts(s)) {
        long verify = crs_ssl.SSL_get_verify_result(s->ssl);
        crs_ssl.ERR_clear_error();
        return crs_fail(err, CEREUS_E_UNAVAILABLE, "TLS: the certificate is not accepted: %s%s",
                        crs_ssl.X509_verify_cert_error_string(verify), fix_of(verify));
    }
    unsigned long code = crs_ssl.ERR_peek_last_error();
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER) {
        crs_ssl.ERR_clear_error();
        return crs_fail(err, CEREUS_E_UNAVAILABLE, "TLS: the peer does not speak it");
    }
    if (code)
        return crs_fail(err, CEREUS_E_UNAVAILABLE, "TLS: %s", crs_openssl_error(text, sizeof text));
    return crs_fail(err, CEREUS_E_UNAVAILABLE, "TLS: the peer hung up during the handshake%s%s", error ? ": " : "",
                    error ? strerror(error) : "");
}

cereus_status crs_tls_handshake(crs_tls_session *session, bool *ret_write, cereus_error *err)
{
    crs_ssl.ERR_clear_error();
    errno = 0;
    int rc = crs_ssl.SSL_do_handshake(session->ssl);
    if (rc != 1) {
        int what = crs_ssl.SSL_get_error(session->ssl, rc);
        if (what != SSL_ERROR_WANT_READ && what != SSL_ERROR_WANT_WRITE)
            return refused(session, err);
        *ret_write = what == SSL_ERROR_WANT_WRITE;
        return CEREUS_E_AGAIN;
    }
    if (session->any_protocol)
        return CEREUS_OK;
    const uint8_t *proto;
    unsigned len;
    crs_ssl.SSL_get0_alpn_selected(session->ssl, &proto, &len);
    if (len != 2 || memcmp(proto, "h2", 2) != 0)
        return crs_fail(err, CEREUS_E_UNAVAILABLE, "TLS: the peer does not speak HTTP/2 there (ALPN)");
    return CEREUS_OK;
}

/** What a read or write that moved nothing came to, as recv() and send() tell it. */
static ssize_t moved_nothing(crs_tls_session *s, int rc, cereus_error *err)
{
    int error = errno;
    char text[200];
    switch (crs_ssl.SSL_get_error(s->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        if (!crs_ssl.ERR_peek_last_error()) {
            if (error == 0)
                return 0;
            crs_fail(err, CEREUS_E_UNAVAILABLE, "%s", strerror(error));
            errno = EIO;
            return -1;
        }
        break;
    default:
        break;
    }
    crs_fail(err, CEREUS_E_UNAVAILABLE, "TLS: %s", crs_openssl_error(text, sizeof text));
    errno = EIO;
    return -1;
}

ssize_t crs_tls_recv(crs_tls_session *session, void *buf, size_t cap, cereus_error *err)
{
    crs_ssl.ERR_clear_error();
    errno = 0;
    int n = crs_ssl.SSL_read(session->ssl, buf, (int)CRS_MIN(cap, (size_t)INT_MAX));
    return n > 0 ? n : moved_nothing(session, n, err);
}

ssize_t crs_tls_send(crs_tls_session *session, const void *data, size_t len, cereus_error *err)
{
    crs_ssl.ERR_clear_error();
    errno = 0;
    int n = crs_ssl.SSL_write(session->ssl, data, (int)CRS_MIN(len, (size_t)INT_MAX));
    return n > 0 ? n : moved_nothing(session, n, err);
}

bool crs_tls_pending(const crs_tls_session *session)
{
    return session->read_ahead ? crs_ssl.SSL_has_pending(session->ssl) : crs_ssl.SSL_pending(session->ssl) > 0;
}

void crs_tls_shut(crs_tls_session *session)
{
    crs_ssl.ERR_clear_error();
    crs_ssl.SSL_shutdown(session->ssl);
    crs_ssl.ERR_clear_error();
}
