/* transport/tls.c: OpenSSL between a socket and its connection. It reads and writes through a BIO of ours: send() without
 * SIGPIPE, and the end of the stream told apart from a failure.
 *
 *   - Handshakes are made by whoever is ready; the transport's opening deadline ends the slow ones.
 *   - What one read brought is decrypted until OpenSSL holds nothing more or the buffer is full; what it still holds then
 *     is asked for again by `pending`, since the kernel would not tell.
 *   - A record that the kernel did not take whole goes out before anything else, also before input is read: OpenSSL may
 *     have to answer what it reads (a client that changes its keys), and it can hold one unfinished record only.
 *   - Idle connections give their buffers back (SSL_MODE_RELEASE_BUFFERS halves what one costs).
 */
#include "transport/tls.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include "base/openssl.h"
#include "transport/socket.h"

typedef struct tls_conn {
    crs_socket socket;
    SSL *ssl;        /* NULL before the handshake begins */
    bool eof;        /* the peer has closed the socket */
    bool full;       /* the last read filled its buffer: there may be more */
    uint32_t stuck;  /* bytes at the front of the output that OpenSSL has made a record of, which is not out yet */
    uint32_t credit; /* bytes at the front of the output that have gone out since: the next write tells */
} tls_conn;

const size_t crs_tls_conn_size = sizeof(tls_conn);

static tls_conn *tls_of(const crs_conn *conn)
{
    return CRS_CONTAINER(crs_socket_of((crs_conn *)conn), tls_conn, socket);
}

/* ---- the BIO ---- */

static int bio_create(BIO *bio)
{
    crs_ssl.BIO_set_init(bio, 1);
    return 1;
}

static int bio_result(BIO *bio, ssize_t n, int flags)
{
    crs_ssl.BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        crs_ssl.BIO_set_flags(bio, flags | BIO_FLAGS_SHOULD_RETRY);
    return (int)n;
}

static int bio_read(BIO *bio, char *buf, int cap)
{
    tls_conn *c = crs_ssl.BIO_get_data(bio);
    ssize_t n = recv(c->socket.fd, buf, (size_t)cap, 0);
    if (n == 0)
        c->eof = true;
    return bio_result(bio, n, BIO_FLAGS_READ);
}

static int bio_write(BIO *bio, const char *data, int len)
{
    tls_conn *c = crs_ssl.BIO_get_data(bio);
    return bio_result(bio, send(c->socket.fd, data, (size_t)len, MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static long bio_ctrl(BIO *bio, int cmd, long number, void *ptr)
{
    CRS_UNUSED(number);
    CRS_UNUSED(ptr);
    if (cmd == BIO_CTRL_EOF)
        return ((tls_conn *)crs_ssl.BIO_get_data(bio))->eof;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method; /* set once by make_bio_method() */

static void make_bio_method(void)
{
    bio_method = crs_ssl.BIO_meth_new(BIO_TYPE_SOURCE_SINK | 100, "cereus socket");
    if (!bio_method)
        return;
    crs_ssl.BIO_meth_set_create(bio_method, bio_create);
    crs_ssl.BIO_meth_set_read(bio_method, bio_read);
    crs_ssl.BIO_meth_set_write(bio_method, bio_write);
    crs_ssl.BIO_meth_set_ctrl(bio_method, bio_ctrl);
}

/* ---- certificates ---- */

/* A crs_tls is OpenSSL's own SSL_CTX, which counts its references. */
static SSL_CTX *ctx_of(crs_tls *tls)
{
    return (SSL_CTX *)tls;
}

static int no_password(char *buf, int size, int writing, void *user)
{
    CRS_UNUSED(buf);
    CRS_UNUSED(size);
    CRS_UNUSED(writing);
    CRS_UNUSED(user);
    return -1; /* OpenSSL would ask the terminal */
}

static cereus_status load_certificate(SSL_CTX *ctx, const char *cert_file, const char *key_file, cereus_error *err)
{
    const char *files[] = {cert_file, key_file};
    char reason[200];
    for (size_t i = 0; i < 2; i++) { /* its own words for a missing file are no help */
        FILE *f = fopen(files[i], "re");
        if (!f)
            return crs_fail(err, CEREUS_E_INVALID, "%s: %s", files[i], strerror(errno));
        fclose(f);
    }
    crs_ssl.ERR_clear_error();
    if (crs_ssl.SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1)
        return crs_fail(err, CEREUS_E_INVALID, "%s: not a certificate in PEM form (%s)", cert_file,
                        crs_openssl_error(reason, sizeof reason));
    if (crs_ssl.SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1) {
        unsigned long code = crs_ssl.ERR_peek_last_error();
        if (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH)
            return crs_fail(err, CEREUS_E_INVALID, "%s: this key does not belong to the certificate %s", key_file,
                            cert_file);
        return crs_fail(err, CEREUS_E_INVALID, "%s: not a private key in PEM form without a password (%s)", key_file,
                        crs_openssl_error(reason, sizeof reason));
    }
    if (crs_ssl.SSL_CTX_check_private_key(ctx) != 1)
        return crs_fail(err, CEREUS_E_INVALID, "%s: this key does not belong to the certificate %s", key_file,
                        cert_file);
    return CEREUS_OK;
}

cereus_status crs_tls_new(const char *cert_file, const char *key_file, crs_tls **ret_tls, cereus_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CEREUS_TRY(crs_openssl_load(err));
    pthread_once(&once, make_bio_method);
    SSL_CTX *ctx = bio_method ? crs_ssl.SSL_CTX_new(crs_ssl.TLS_server_method()) : NULL;
    if (!ctx)
        return crs_fail(err, CEREUS_E_NOMEM, "tls: out of memory");
    crs_ssl.SSL_CTX_set_default_passwd_cb(ctx, no_password);
    cereus_status st = load_certificate(ctx, cert_file, key_file, err);
    if (st) {
        crs_ssl.SSL_CTX_free(ctx);
        return st;
    }
    crs_ssl.SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    crs_ssl.SSL_CTX_ctrl(ctx, SSL_CTRL_MODE,
                         SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER,
                         NULL);
    crs_ssl.SSL_CTX_ctrl(ctx, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, NULL); /* tickets do, without a table */
    crs_ssl.SSL_CTX_ctrl(ctx, SSL_CTRL_SET_READ_AHEAD, 1, NULL); /* one recv() a read, not two a record */
    crs_ssl.SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
    crs_ssl.SSL_CTX_set_num_tickets(ctx, 1);
    *ret_tls = (crs_tls *)ctx;
    return CEREUS_OK;
}

crs_tls *crs_tls_ref(crs_tls *tls)
{
    if (tls)
        crs_ssl.SSL_CTX_up_ref(ctx_of(tls));
    return tls;
}

crs_tls *crs_tls_unref(crs_tls *tls)
{
    if (tls)
        crs_ssl.SSL_CTX_free(ctx_of(tls));
    return NULL;
}

/* ---- the stream ---- */

static cereus_status begin(tls_conn *c)
{
    BIO *bio = crs_ssl.BIO_new(bio_method);
    c->ssl = bio ? crs_ssl.SSL_new(ctx_of(c->socket.base.transport->tls)) : NULL;
    if (!c->ssl) {
        if (bio)
            crs_ssl.BIO_free(bio);
        return CEREUS_E_NOMEM;
    }
    crs_ssl.BIO_set_data(bio, c);
    crs_ssl.SSL_set_bio(c->ssl, bio, bio); /* which owns it now */
    crs_ssl.SSL_set_accept_state(c->ssl);
    return CEREUS_OK;
}

static cereus_status tls_open(crs_conn *conn)
{
    tls_conn *c = tls_of(conn);
    crs_loop *loop = conn->transport->loop;
    CEREUS_TRY(crs_socket_take_proxy_head(&c->socket));
    if (!c->ssl)
        CEREUS_TRY(begin(c));
    crs_ssl.ERR_clear_error();
    int rc = crs_ssl.SSL_do_handshake(c->ssl);
    if (rc == 1) {
        CRS_COUNT(&loop->counters, tls_handshakes);
        conn->stream->want(conn, true, false);
        return CEREUS_OK;
    }
    switch (crs_ssl.SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        conn->stream->want(conn, true, false);
        return CEREUS_E_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        conn->stream->want(conn, false, true);
        return CEREUS_E_AGAIN;
    default:
        CRS_COUNT(&loop->counters, tls_failures);
        crs_log_debug(loop->log, "tls handshake failed", CRS_STR("why", crs_openssl_error((char[200]){0}, 200)),
                      CRS_STR("peer", crs_peer_text(&conn->peer, (char[CRS_PEER_TEXT_MAX]){0})));
        return CEREUS_E_IO;
    }
}

/** What a read or write that brought nothing comes to: 0 at the stream's end, else -1 with errno. */
static ssize_t nothing(tls_conn *c, int rc)
{
    switch (crs_ssl.SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        crs_ssl.ERR_clear_error();
        if (c->eof)
            return 0; /* games hang up without a goodbye */
        errno = ECONNRESET;
        return -1;
    }
}

/** Finish the record that is stuck, if one is. False: it still is, or the stream has failed; errno says. */
static bool finish_record(tls_conn *c)
{
    if (CRS_LIKELY(!c->stuck))
        return true;
    uint8_t *record = c->socket.base.transport->record;
    size_t len = 0;
    for (crs_out *o = c->socket.base.out_head; o && len < c->stuck; o = o->next) {
        size_t n = CRS_MIN((size_t)(o->end - o->begin), c->stuck - len);
        memcpy(record + len, (o->shared ? o->shared->data : o->data) + o->begin, n);
        len += n;
    }
    CRS_ASSERT(len == c->stuck);
    crs_ssl.ERR_clear_error();
    int n = crs_ssl.SSL_write(c->ssl, record, (int)len);
    if (n <= 0) {
        if (nothing(c, n) == 0)
            errno = EPIPE;
        return false;
    }
    c->stuck = 0;
    c->credit = (uint32_t)n;
    return true;
}

static ssize_t tls_recv(crs_conn *conn, void *buf, size_t cap)
{
    tls_conn *c = tls_of(conn);
    size_t got = 0;
    c->full = false;
    if (!finish_record(c)) {
        if (errno == EAGAIN)
            crs_socket_read_when_writable(&c->socket);
        return -1;
    }
    crs_ssl.ERR_clear_error();
    do {
        int n = crs_ssl.SSL_read(c->ssl, (uint8_t *)buf + got, (int)CRS_MIN(cap - got, (size_t)INT_MAX));
        if (n <= 0) {
            if (crs_ssl.SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_WRITE)
                crs_socket_read_when_writable(&c->socket); /* an answer to a key update comes first */
            ssize_t rc = nothing(c, n);
            if (got == 0)
                return rc;
            c->full = rc == 0 || errno != EAGAIN; /* the end or the failure is for the next read to tell */
            return (ssize_t)got;
        }
        got += (size_t)n;
    } while (got < cap && crs_ssl.SSL_has_pending(c->ssl));
    c->full = got == cap;
    return (ssize_t)got;
}

static bool tls_pending(const crs_conn *conn)
{
    return tls_of(conn)->full;
}

/** Offer one piece; how much of it OpenSSL took, as sendv. */
static ssize_t write_some(tls_conn *c, const uint8_t *data, size_t len)
{
    size_t sent = 0;
    crs_ssl.ERR_clear_error();
    while (sent < len) {
        size_t offered = CRS_MIN(len - sent, (size_t)CRS_TLS_RECORD_LEN);
        int n = crs_ssl.SSL_write(c->ssl, data + sent, (int)offered);
        if (n <= 0) {
            ssize_t rc = nothing(c, n);
            if (rc < 0 && errno == EAGAIN && !crs_ssl.SSL_in_init(c->ssl)) /* else it waits for words of its own */
                c->stuck = (uint32_t)offered;
            if (sent)
                break;
            if (rc == 0)
                errno = EPIPE;
            return -1;
        }
        sent += (size_t)n;
    }
    return (ssize_t)sent;
}

static ssize_t tls_sendv(crs_conn *conn, const struct iovec *iov, int count)
{
    tls_conn *c = tls_of(conn);
    if (!finish_record(c))
        return -1;
    uint8_t *record = conn->transport->record; /* many small pieces make one record */
    size_t sent = c->credit, at = c->credit;
    int i = 0;
    c->credit = 0;
    for (; i < count && at >= iov[i].iov_len; i++)
        at -= iov[i].iov_len;
    while (i < count) {
        size_t len = 0;
        const uint8_t *data = (uint8_t *)iov[i].iov_base + at;
        if (i == count - 1) { /* the last one as it is */
            len = iov[i++].iov_len - at;
        } else {
            while (i < count && len < CRS_TLS_RECORD_LEN) {
                size_t n = CRS_MIN(iov[i].iov_len - at, CRS_TLS_RECORD_LEN - len);
                memcpy(record + len, (uint8_t *)iov[i].iov_base + at, n);
                len += n;
                at += n;
                if (at == iov[i].iov_len) {
                    at = 0;
                    i++;
                }
            }
            data = record;
        }
        ssize_t took = write_some(c, data, len);
        if (took < 0)
            return sent ? (ssize_t)sent : -1;
        sent += (size_t)took;
        if ((size_t)took < len)
            break;
    }
    return (ssize_t)sent;
}

static void tls_shut(crs_conn *conn)
{
    crs_ssl.ERR_clear_error();
    if (tls_of(conn)->ssl)
        crs_ssl.SSL_shutdown(tls_of(conn)->ssl); /* tells the peer; one that takes nothing is not waited for */
    crs_ssl.ERR_clear_error();
    crs_socket_shut(conn);
}

static void tls_destroy(crs_conn *conn)
{
    tls_conn *c = tls_of(conn);
    if (c->ssl)
        crs_ssl.SSL_free(c->ssl);
    c->ssl = NULL;
    crs_socket_destroy(conn);
}

const crs_stream_ops crs_tls_stream = {
    .open = tls_open,
    .recv = tls_recv,
    .sendv = tls_sendv,
    .want = crs_socket_want,
    .pending = tls_pending,
    .shut = tls_shut,
    .destroy = tls_destroy,
};
