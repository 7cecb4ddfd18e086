/* base/openssl.c: fills the table, once. */
#include "base/openssl.h"

#include <pthread.h>
#include <stdio.h>

crs_openssl crs_ssl;

#define SYMBOL(function) {#function, (void **)&crs_ssl.function},

static pthread_once_t once = PTHREAD_ONCE_INIT;
static cereus_error failure;

static void load(void)
{
    static const crs_symbol ssl[] = {CRS_OPENSSL_SSL(SYMBOL)}, crypto[] = {CRS_OPENSSL_CRYPTO(SYMBOL)};
    const char *fix = "for TLS install OpenSSL 3 (Debian's package libssl3)";
    if (crs_library_load("libcrypto.so.3", fix, crypto, CEREUS_COUNT(crypto), &failure) == CEREUS_OK)
        crs_library_load("libssl.so.3", fix, ssl, CEREUS_COUNT(ssl), &failure);
}

cereus_status crs_openssl_load(cereus_error *err)
{
    pthread_once(&once, load);
    if (failure.status && err)
        *err = failure;
    return failure.status;
}

const char *crs_openssl_error(char *out, size_t cap)
{
    unsigned long code = crs_ssl.ERR_peek_last_error();
    const char *reason = code ? crs_ssl.ERR_reason_error_string(code) : NULL;
    snprintf(out, cap, "%s", reason ? reason : "no reason given");
    crs_ssl.ERR_clear_error();
    return out;
}
