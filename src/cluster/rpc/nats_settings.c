/* cluster/rpc/nats_settings.c: see the header. */
#include "cluster/rpc/nats_settings.h"

#include "config/config.h"

enum { PENDING_MIN = 1024 }; /* messages; more than one read brings */

/** The client's key, or the server's where only that is set: a loop has one connection for both. */
static crs_config_key either(const cereus_config *cfg, crs_config_key client, crs_config_key server)
{
    return crs_config_is_set(cfg, client) || !crs_config_is_set(cfg, server) ? client : server;
}

static uint64_t pick_ms(const cereus_config *cfg, crs_config_key client, crs_config_key server)
{
    return (uint64_t)crs_config_ms(cfg, either(cfg, client, server));
}

static uint64_t pick_int(const cereus_config *cfg, crs_config_key client, crs_config_key server)
{
    return (uint64_t)crs_config_int(cfg, either(cfg, client, server));
}

/** Add the URLs of @p key. */
static cereus_status add_urls(crs_nats_settings *s, const cereus_config *cfg, crs_config_key key, char **at,
                              cereus_error *err)
{
    const char *text = crs_config_text(cfg, key), *name = crs_config_info_of(key)->name;
    char *copy = *at, *state = NULL;
    size_t before = s->url_count;
    memcpy(copy, text, strlen(text) + 1);
    *at += strlen(text) + 1;
    for (char *url = strtok_r(copy, ", \t", &state); url; url = strtok_r(NULL, ", \t", &state)) {
        const char *scheme_end = strstr(url, "://");
        if (scheme_end && strncmp(url, "nats://", 7) != 0 && strncmp(url, "tls://", 6) != 0)
            return crs_fail(err, CEREUS_E_INVALID, "%s: %.*s:// is not supported, use nats:// or tls://", name,
                            (int)CRS_MIN(scheme_end - url, 20), url);
        bool known = false;
        for (size_t i = 0; i < s->url_count; i++)
            known = known || strcmp(s->urls[i], url) == 0;
        if (known)
            continue;
        if (s->url_count == CRS_NATS_URLS_MAX)
            return crs_fail(err, CEREUS_E_TOO_LONG, "%s: at most %d URLs", name, CRS_NATS_URLS_MAX);
        s->urls[s->url_count++] = url;
    }
    if (before == 0 && s->url_count == 0)
        return crs_fail(err, CEREUS_E_INVALID, "%s: is empty, give the URL of a NATS server", name);
    return CEREUS_OK;
}

/** The host of a URL, which may be scheme://user:password@host:port. */
static cereus_slice host_of(const char *url)
{
    const char *scheme_end = strstr(url, "://"), *begin = scheme_end ? scheme_end + 3 : url, *at = strrchr(begin, '@');
    begin = at ? at + 1 : begin;
    return cereus_slice_of(begin, strcspn(begin, *begin == '[' ? "]/" : ":/"));
}

/** The library checks one name for all servers, and takes an address for a name. */
static void find_host(crs_nats_settings *s)
{
    cereus_slice host = host_of(s->urls[0]);
    bool name = false;
    for (size_t i = 0; i < s->url_count; i++) {
        s->speaks_tls = s->speaks_tls || strncmp(s->urls[i], "tls://", 6) == 0;
        if (!crs_slice_eq(host_of(s->urls[i]), host))
            return;
    }
    for (size_t i = 0; i < host.len; i++)
        name = name || ((host.data[i] < '0' || host.data[i] > '9') && host.data[i] != '.');
    if (name && host.data[0] != '[' && host.len < sizeof s->host)
        memcpy(s->host, host.data, host.len);
}

static cereus_status find_tls(crs_nats_settings *s, const cereus_config *cfg, crs_log *log, cereus_error *err)
{
    const char *name = crs_config_text(cfg, CRS_KEY_NATS_TLS_NAME);
    bool files;
    CEREUS_TRY(
        crs_tls_files(cfg, CRS_KEY_NATS_TLS_CA, CRS_KEY_NATS_TLS_CERT, CRS_KEY_NATS_TLS_KEY, &s->tls, &files, err));
    find_host(s);
    s->speaks_tls = s->speaks_tls || files;
    s->tls.server_name = *name ? name : *s->host ? s->host : NULL;
    if (s->speaks_tls && !s->tls.server_name)
        crs_log_warn(log, "the name in the certificate of NATS is not checked: set "
                          "cereus.cluster.rpc.nats.tls.name");
    return CEREUS_OK;
}

cereus_status crs_nats_settings_read(crs_nats_settings *s, const cereus_config *cfg, crs_log *log, cereus_error *err)
{
    crs_config_key key = either(cfg, CRS_KEY_NATS_CONNECT, CRS_KEY_NATS_SERVER_CONNECT);
    size_t cap = strlen(crs_config_text(cfg, CRS_KEY_NATS_CONNECT)) + 1;
    cap += strlen(crs_config_text(cfg, CRS_KEY_NATS_SERVER_CONNECT)) + 1;
    char *at = s->urls_text = crs_malloc(cap);
    if (!at)
        return crs_fail(err, CEREUS_E_NOMEM, "rpc: out of memory");
    s->key = crs_config_info_of(key)->name;
    CEREUS_TRY(add_urls(s, cfg, key, &at, err));
    if (crs_config_is_set(cfg, CRS_KEY_NATS_CONNECT) && crs_config_is_set(cfg, CRS_KEY_NATS_SERVER_CONNECT))
        CEREUS_TRY(add_urls(s, cfg, CRS_KEY_NATS_SERVER_CONNECT, &at, err)); /* two ways into one NATS */
    return find_tls(s, cfg, log, err);
}

void crs_nats_settings_fini(crs_nats_settings *s)
{
    crs_free(s->urls_text);
}

void crs_nats_settings_apply(const crs_nats_settings *s, const cereus_config *cfg, crs_nats_options *opt)
{
    opt->urls = s->urls;
    opt->url_count = s->url_count;
    opt->ca_file = s->tls.ca_file;
    opt->cert_file = s->tls.cert_file;
    opt->key_file = s->tls.key_file;
    opt->server_name = s->tls.server_name;
    opt->connect_timeout_ms = pick_ms(cfg, CRS_KEY_NATS_CONNECT_TIMEOUT, CRS_KEY_NATS_SERVER_CONNECT_TIMEOUT);
    opt->tries = pick_int(cfg, CRS_KEY_NATS_RETRIES, CRS_KEY_NATS_SERVER_RETRIES);
    opt->reconnect_wait_ms = pick_ms(cfg, CRS_KEY_NATS_RECONNECT_WAIT, CRS_KEY_NATS_SERVER_RECONNECT_WAIT);
    opt->jitter_ms = pick_ms(cfg, CRS_KEY_NATS_JITTER, CRS_KEY_NATS_SERVER_JITTER);
    opt->jitter_tls_ms = pick_ms(cfg, CRS_KEY_NATS_JITTER_TLS, CRS_KEY_NATS_SERVER_JITTER_TLS);
    opt->ping_interval_ms = pick_ms(cfg, CRS_KEY_NATS_PING_INTERVAL, CRS_KEY_NATS_SERVER_PING_INTERVAL);
    opt->pings_max = (uint32_t)pick_int(cfg, CRS_KEY_NATS_PINGS_MAX, CRS_KEY_NATS_SERVER_PINGS_MAX);
    opt->pending_max = CRS_MAX((size_t)crs_config_int(cfg, CRS_KEY_NATS_BUFFER_MESSAGES), (size_t)PENDING_MIN);
}
