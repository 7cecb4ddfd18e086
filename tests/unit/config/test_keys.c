/* tests/unit/config/test_keys.c: one row for each key of src/config/keys.def, written a second time on purpose: a
 * changed default or a broken way in shows here. */
#include "test.h"

#include "config/config.h"
#include "load_yaml.h"

static const struct row {
    crs_config_key key;
    const char *name, *env;
    const char *fallback; /* its text, and as what it is kept */
    int64_t kept;
    const char *other; /* another good value, and as what it is kept */
    int64_t other_kept;
    const char *bad; /* NULL: it takes anything */
} rows[] = {
    {CRS_KEY_ID, "cereus.id", "CEREUS_ID", "", 0, "front-1", 0, NULL},
    {CRS_KEY_LOOPS, "cereus.loops", "CEREUS_LOOPS", "0", 0, "64", 64, "65"},
    {CRS_KEY_MAILBOX_CAPACITY, "cereus.mailbox.capacity", "CEREUS_MAILBOX_CAPACITY", "65536", 65536, "64", 64, "63"},
    {CRS_KEY_OFFLOAD_THREADS, "cereus.offload.threads", "CEREUS_OFFLOAD_THREADS", "4", 4, "1", 1, "0"},
    {CRS_KEY_WATCHDOG_THRESHOLD, "cereus.watchdog.threshold", "CEREUS_WATCHDOG_THRESHOLD", "1s", 1000, "0", 0, "-1s"},
    {CRS_KEY_SHUTDOWN_TIMEOUT, "cereus.shutdown.timeout", "CEREUS_SHUTDOWN_TIMEOUT", "10s", 10000, "1m", 60000, "2h"},
    {CRS_KEY_LOG_LEVEL, "cereus.log.level", "CEREUS_LOG_LEVEL", "info", 1, "error", 3, "fatal"},
    {CRS_KEY_LOG_FORMAT, "cereus.log.format", "CEREUS_LOG_FORMAT", "logfmt", 0, "json", 1, "xml"},
    {CRS_KEY_LISTEN, "cereus.listen", "CEREUS_LISTEN", "", 0, "tcp://127.0.0.1:1,ws://127.0.0.1:2", 2, NULL},
    {CRS_KEY_TLS_CERT, "cereus.tls.cert", "CEREUS_TLS_CERT", "", 0, "server.crt", 0, NULL},
    {CRS_KEY_TLS_KEY, "cereus.tls.key", "CEREUS_TLS_KEY", "", 0, "server.key", 0, NULL},
    {CRS_KEY_PROXY_PROTOCOL, "pitaya.acceptor.proxyprotocol", "PITAYA_ACCEPTOR_PROXYPROTOCOL", "false", 0, "true", 1,
     "on"},
    {CRS_KEY_RATELIMIT_ENABLED, "cereus.ratelimit.enabled", "CEREUS_RATELIMIT_ENABLED", "false", 0, "true", 1, "yes"},
    {CRS_KEY_RATELIMIT_LIMIT, "pitaya.conn.ratelimiting.limit", "PITAYA_CONN_RATELIMITING_LIMIT", "20", 20, "1", 1,
     "0"},
    {CRS_KEY_RATELIMIT_INTERVAL, "pitaya.conn.ratelimiting.interval", "PITAYA_CONN_RATELIMITING_INTERVAL", "1s", 1000,
     "100ms", 100, "0s"},
    {CRS_KEY_RATELIMIT_DISABLE, "pitaya.conn.ratelimiting.forcedisable", "PITAYA_CONN_RATELIMITING_FORCEDISABLE",
     "false", 0, "true", 1, "2"},
    {CRS_KEY_RATELIMIT_ANSWER, "cereus.ratelimit.answer", "CEREUS_RATELIMIT_ANSWER", "false", 0, "true", 1, "x"},
    {CRS_KEY_RATELIMIT_COUNT, "cereus.ratelimit.count", "CEREUS_RATELIMIT_COUNT", "all", 0, "data", 1, "none"},
    {CRS_KEY_SESSIONS_MAX, "cereus.sessions.max", "CEREUS_SESSIONS_MAX", "1000000", 1000000, "1", 1, "0"},
    {CRS_KEY_HANDSHAKE_TIMEOUT, "cereus.handshake.timeout", "CEREUS_HANDSHAKE_TIMEOUT", "10s", 10000, "1ms", 1, "0s"},
    {CRS_KEY_BIND_TIMEOUT, "cereus.bind.timeout", "CEREUS_BIND_TIMEOUT", "0s", 0, "1m", 60000, "2h"},
    {CRS_KEY_HEARTBEAT_INTERVAL, "pitaya.heartbeat.interval", "PITAYA_HEARTBEAT_INTERVAL", "30s", 30000, "1.5s", 1500,
     "0"},
    {CRS_KEY_WRITE_TIMEOUT, "pitaya.buffer.agent.conntimeout", "PITAYA_BUFFER_AGENT_CONNTIMEOUT", "10s", 10000, "3s",
     3000, "25h"},
    {CRS_KEY_PACKET_MAX, "cereus.packet.max", "CEREUS_PACKET_MAX", "16777215", 16777215, "64KiB", 65536, "16MiB"},
    {CRS_KEY_INBOX_MESSAGES, "cereus.inbox.messages", "CEREUS_INBOX_MESSAGES", "64", 64, "1", 1, "0"},
    {CRS_KEY_INBOX_BYTES, "cereus.inbox.bytes", "CEREUS_INBOX_BYTES", "256KiB", 262144, "1MiB", 1048576, "1"},
    {CRS_KEY_OUTBOX_BYTES, "cereus.outbox.bytes", "CEREUS_OUTBOX_BYTES", "1MiB", 1048576, "2MiB", 2097152, "2GiB"},
    {CRS_KEY_OUTBOX_POLICY, "cereus.outbox.policy", "CEREUS_OUTBOX_POLICY", "disconnect", 0, "drop", 1, "dr"},
    {CRS_KEY_AGENT_MESSAGES, "pitaya.buffer.agent.messages", "PITAYA_BUFFER_AGENT_MESSAGES", "100", 100, "5", 5, "-1"},
    {CRS_KEY_SERIALIZER, "pitaya.serializertype", "PITAYA_SERIALIZERTYPE", "1", 1, "2", 2, "3"},
    {CRS_KEY_JSON_NAMES, "cereus.json.names", "CEREUS_JSON_NAMES", "proto", 0, "camel", 1, "snake"},
    {CRS_KEY_COMPRESSION, "pitaya.handler.messages.compression", "PITAYA_HANDLER_MESSAGES_COMPRESSION", "true", 1,
     "false", 0, "maybe"},
    {CRS_KEY_COMPRESSION_LEVEL, "cereus.compression.level", "CEREUS_COMPRESSION_LEVEL", "-1", -1, "9", 9, "10"},
    {CRS_KEY_COMPRESSION_MIN, "cereus.compression.min", "CEREUS_COMPRESSION_MIN", "12", 12, "0", 0, "x"},
    {CRS_KEY_INFLATE_MAX, "cereus.inflate.max", "CEREUS_INFLATE_MAX", "16MiB", 16777216, "1GiB", 1073741824, "2GiB"},
    {CRS_KEY_SESSION_ORDERING, "cereus.session.ordering", "CEREUS_SESSION_ORDERING", "strict", 0, "pitaya", 1, "none"},
    {CRS_KEY_REQUEST_MEMORY, "cereus.request.memory", "CEREUS_REQUEST_MEMORY", "32MiB", 33554432, "64KiB", 65536,
     "1KiB"},
    {CRS_KEY_FIBERS_MAX, "cereus.fibers.max", "CEREUS_FIBERS_MAX", "10000", 10000, "1", 1, "0"},
    {CRS_KEY_FIBERS_STACK, "cereus.fibers.stack", "CEREUS_FIBERS_STACK", "64KiB", 65536, "1MiB", 1048576, "8KiB"},
    {CRS_KEY_STRUCT_VALIDATION, "pitaya.defaultpipelines.structvalidation.enabled",
     "PITAYA_DEFAULTPIPELINES_STRUCTVALIDATION_ENABLED", "false", 0, "true", 1, "perhaps"},
    {CRS_KEY_DISPATCH, "pitaya.concurrency.handler.dispatch", "PITAYA_CONCURRENCY_HANDLER_DISPATCH", "25", 25, "1", 1,
     "many"},
    {CRS_KEY_LOCAL_PROCESS, "pitaya.buffer.handler.localprocess", "PITAYA_BUFFER_HANDLER_LOCALPROCESS", "20", 20, "1",
     1, "-3"},
    {CRS_KEY_REMOTE_PROCESS, "pitaya.buffer.handler.remoteprocess", "PITAYA_BUFFER_HANDLER_REMOTEPROCESS", "20", 20,
     "1", 1, "-3"},
    {CRS_KEY_TIMERS_MAX, "cereus.timers.max", "CEREUS_TIMERS_MAX", "100000", 100000, "1", 1, "0"},
    {CRS_KEY_TIMERS_TICK, "cereus.timers.tick", "CEREUS_TIMERS_TICK", "1s", 1000, "1ms", 1, "0ms"},
    {CRS_KEY_DRAIN_ENABLED, "pitaya.session.drain.enabled", "PITAYA_SESSION_DRAIN_ENABLED", "false", 0, "true", 1, "y"},
    {CRS_KEY_DRAIN_TIMEOUT, "pitaya.session.drain.timeout", "PITAYA_SESSION_DRAIN_TIMEOUT", "6h", 21600000, "3s", 3000,
     "9000h"},
    {CRS_KEY_DRAIN_PERIOD, "pitaya.session.drain.period", "PITAYA_SESSION_DRAIN_PERIOD", "5s", 5000, "1ms", 1, "25h"},
    {CRS_KEY_DRAIN_REFUSE, "cereus.drain.refuse", "CEREUS_DRAIN_REFUSE", "true", 1, "false", 0, "never"},
    {CRS_KEY_CLUSTER, "cereus.cluster", "CEREUS_CLUSTER", "auto", 0, "local", 2, "No Engine"},
    {CRS_KEY_CLUSTER_RPC, "cereus.cluster.rpc", "CEREUS_CLUSTER_RPC", "auto", 0, "nats", 2, "no_engine"},
    {CRS_KEY_CLUSTER_DIR, "cereus.cluster.dir", "CEREUS_CLUSTER_DIR", "", 0, "/run/game", 0, NULL},
    {CRS_KEY_CLUSTER_REQUESTS, "cereus.cluster.requests.max", "CEREUS_CLUSTER_REQUESTS_MAX", "65536", 65536, "1", 1,
     "0"},
    {CRS_KEY_REQUEST_TIMEOUT, "pitaya.cluster.rpc.client.nats.requesttimeout",
     "PITAYA_CLUSTER_RPC_CLIENT_NATS_REQUESTTIMEOUT", "5s", 5000, "300ms", 300, "0s"},
    {CRS_KEY_SESSION_UNIQUE, "pitaya.session.unique", "PITAYA_SESSION_UNIQUE", "true", 1, "false", 0, "no"},
    {CRS_KEY_NATS_CONNECT, "pitaya.cluster.rpc.client.nats.connect", "PITAYA_CLUSTER_RPC_CLIENT_NATS_CONNECT",
     "nats://localhost:4222", 0, "nats://n1:4222,nats://n2:4222", 0, NULL},
    {CRS_KEY_NATS_CONNECT_TIMEOUT, "pitaya.cluster.rpc.client.nats.connectiontimeout",
     "PITAYA_CLUSTER_RPC_CLIENT_NATS_CONNECTIONTIMEOUT", "2s", 2000, "300ms", 300, "25h"},
    {CRS_KEY_NATS_RETRIES, "pitaya.cluster.rpc.client.nats.maxreconnectionretries",
     "PITAYA_CLUSTER_RPC_CLIENT_NATS_MAXRECONNECTIONRETRIES", "15", 15, "7", 7, "many"},
    {CRS_KEY_NATS_RECONNECT_WAIT, "pitaya.cluster.rpc.client.nats.reconnectwait",
     "PITAYA_CLUSTER_RPC_CLIENT_NATS_RECONNECTWAIT", "1s", 1000, "300ms", 300, "25h"},
    {CRS_KEY_NATS_JITTER, "pitaya.cluster.rpc.client.nats.reconnectjitter",
     "PITAYA_CLUSTER_RPC_CLIENT_NATS_RECONNECTJITTER", "100ms", 100, "300ms", 300, "25h"},
    {CRS_KEY_NATS_JITTER_TLS, "pitaya.cluster.rpc.client.nats.reconnectjittertls",
     "PITAYA_CLUSTER_RPC_CLIENT_NATS_RECONNECTJITTERTLS", "1s", 1000, "300ms", 300, "25h"},
    {CRS_KEY_NATS_PING_INTERVAL, "pitaya.cluster.rpc.client.nats.pinginterval",
     "PITAYA_CLUSTER_RPC_CLIENT_NATS_PINGINTERVAL", "2m", 120000, "300ms", 300, "25h"},
    {CRS_KEY_NATS_PINGS_MAX, "pitaya.cluster.rpc.client.nats.maxpingsoutstanding",
     "PITAYA_CLUSTER_RPC_CLIENT_NATS_MAXPINGSOUTSTANDING", "3", 3, "7", 7, "many"},
    {CRS_KEY_NATS_COMPRESSION, "pitaya.cluster.rpc.client.nats.websocketcompression",
     "PITAYA_CLUSTER_RPC_CLIENT_NATS_WEBSOCKETCOMPRESSION", "true", 1, "false", 0, "no"},
    {CRS_KEY_NATS_SERVER_CONNECT, "pitaya.cluster.rpc.server.nats.connect", "PITAYA_CLUSTER_RPC_SERVER_NATS_CONNECT",
     "nats://localhost:4222", 0, "nats://n1:4222,nats://n2:4222", 0, NULL},
    {CRS_KEY_NATS_SERVER_CONNECT_TIMEOUT, "pitaya.cluster.rpc.server.nats.connectiontimeout",
     "PITAYA_CLUSTER_RPC_SERVER_NATS_CONNECTIONTIMEOUT", "2s", 2000, "300ms", 300, "25h"},
    {CRS_KEY_NATS_SERVER_RETRIES, "pitaya.cluster.rpc.server.nats.maxreconnectionretries",
     "PITAYA_CLUSTER_RPC_SERVER_NATS_MAXRECONNECTIONRETRIES", "15", 15, "7", 7, "many"},
    {CRS_KEY_NATS_SERVER_RECONNECT_WAIT, "pitaya.cluster.rpc.server.nats.reconnectwait",
     "PITAYA_CLUSTER_RPC_SERVER_NATS_RECONNECTWAIT", "1s", 1000, "300ms", 300, "25h"},
    {CRS_KEY_NATS_SERVER_JITTER, "pitaya.cluster.rpc.server.nats.reconnectjitter",
     "PITAYA_CLUSTER_RPC_SERVER_NATS_RECONNECTJITTER", "100ms", 100, "300ms", 300, "25h"},
    {CRS_KEY_NATS_SERVER_JITTER_TLS, "pitaya.cluster.rpc.server.nats.reconnectjittertls",
     "PITAYA_CLUSTER_RPC_SERVER_NATS_RECONNECTJITTERTLS", "1s", 1000, "300ms", 300, "25h"},
    {CRS_KEY_NATS_SERVER_PING_INTERVAL, "pitaya.cluster.rpc.server.nats.pinginterval",
     "PITAYA_CLUSTER_RPC_SERVER_NATS_PINGINTERVAL", "2m", 120000, "300ms", 300, "25h"},
    {CRS_KEY_NATS_SERVER_PINGS_MAX, "pitaya.cluster.rpc.server.nats.maxpingsoutstanding",
     "PITAYA_CLUSTER_RPC_SERVER_NATS_MAXPINGSOUTSTANDING", "3", 3, "7", 7, "many"},
    {CRS_KEY_NATS_SERVER_COMPRESSION, "pitaya.cluster.rpc.server.nats.websocketcompression",
     "PITAYA_CLUSTER_RPC_SERVER_NATS_WEBSOCKETCOMPRESSION", "true", 1, "false", 0, "no"},
    {CRS_KEY_NATS_SERVICES, "pitaya.cluster.rpc.server.nats.services", "PITAYA_CLUSTER_RPC_SERVER_NATS_SERVICES", "30",
     30, "7", 7, "many"},
    {CRS_KEY_NATS_BUFFER_MESSAGES, "pitaya.cluster.rpc.server.nats.buffer.messages",
     "PITAYA_CLUSTER_RPC_SERVER_NATS_BUFFER_MESSAGES", "65536", 65536, "7", 7, "many"},
    {CRS_KEY_NATS_BUFFER_PUSH, "pitaya.cluster.rpc.server.nats.buffer.push",
     "PITAYA_CLUSTER_RPC_SERVER_NATS_BUFFER_PUSH", "65536", 65536, "7", 7, "many"},
    {CRS_KEY_NATS_TLS_CA, "cereus.cluster.rpc.nats.tls.ca", "CEREUS_CLUSTER_RPC_NATS_TLS_CA", "", 0, "ca.pem", 0, NULL},
    {CRS_KEY_NATS_TLS_CERT, "cereus.cluster.rpc.nats.tls.cert", "CEREUS_CLUSTER_RPC_NATS_TLS_CERT", "", 0, "us.pem", 0,
     NULL},
    {CRS_KEY_NATS_TLS_KEY, "cereus.cluster.rpc.nats.tls.key", "CEREUS_CLUSTER_RPC_NATS_TLS_KEY", "", 0, "us.key", 0,
     NULL},
    {CRS_KEY_NATS_TLS_NAME, "cereus.cluster.rpc.nats.tls.name", "CEREUS_CLUSTER_RPC_NATS_TLS_NAME", "", 0,
     "nats.example", 0, NULL},
    {CRS_KEY_ETCD_ENDPOINTS, "pitaya.cluster.sd.etcd.endpoints", "PITAYA_CLUSTER_SD_ETCD_ENDPOINTS", "localhost:2379",
     1, "a:1,b:2", 2, NULL},
    {CRS_KEY_ETCD_USER, "pitaya.cluster.sd.etcd.user", "PITAYA_CLUSTER_SD_ETCD_USER", "", 0, "game", 0, NULL},
    {CRS_KEY_ETCD_PASS, "pitaya.cluster.sd.etcd.pass", "PITAYA_CLUSTER_SD_ETCD_PASS", "", 0, "secret", 0, NULL},
    {CRS_KEY_ETCD_TLS_CA, "cereus.cluster.sd.etcd.tls.ca", "CEREUS_CLUSTER_SD_ETCD_TLS_CA", "", 0, "ca.pem", 0, NULL},
    {CRS_KEY_ETCD_TLS_CERT, "cereus.cluster.sd.etcd.tls.cert", "CEREUS_CLUSTER_SD_ETCD_TLS_CERT", "", 0, "us.pem", 0,
     NULL},
    {CRS_KEY_ETCD_TLS_KEY, "cereus.cluster.sd.etcd.tls.key", "CEREUS_CLUSTER_SD_ETCD_TLS_KEY", "", 0, "us.key", 0,
     NULL},
    {CRS_KEY_ETCD_DIAL_TIMEOUT, "pitaya.cluster.sd.etcd.dialtimeout", "PITAYA_CLUSTER_SD_ETCD_DIALTIMEOUT", "5s", 5000,
     "1s", 1000, "2h"},
    {CRS_KEY_ETCD_PREFIX, "pitaya.cluster.sd.etcd.prefix", "PITAYA_CLUSTER_SD_ETCD_PREFIX", "pitaya/", 0, "game/", 0,
     NULL},
    {CRS_KEY_ETCD_TTL, "pitaya.cluster.sd.etcd.heartbeat.ttl", "PITAYA_CLUSTER_SD_ETCD_HEARTBEAT_TTL", "60s", 60000,
     "1s", 1000, "900ms"},
    {CRS_KEY_ETCD_HEARTBEAT_LOG, "pitaya.cluster.sd.etcd.heartbeat.log", "PITAYA_CLUSTER_SD_ETCD_HEARTBEAT_LOG",
     "false", 0, "true", 1, "yes"},
    {CRS_KEY_ETCD_SYNC_INTERVAL, "pitaya.cluster.sd.etcd.syncservers.interval",
     "PITAYA_CLUSTER_SD_ETCD_SYNCSERVERS_INTERVAL", "120s", 120000, "1s", 1000, "0s"},
    {CRS_KEY_ETCD_SYNC_PARALLELISM, "pitaya.cluster.sd.etcd.syncservers.parallelism",
     "PITAYA_CLUSTER_SD_ETCD_SYNCSERVERS_PARALLELISM", "10", 10, "1", 1, "1001"},
    {CRS_KEY_ETCD_REVOKE_TIMEOUT, "pitaya.cluster.sd.etcd.revoke.timeout", "PITAYA_CLUSTER_SD_ETCD_REVOKE_TIMEOUT",
     "5s", 5000, "1s", 1000, "0s"},
    {CRS_KEY_ETCD_GRANT_TIMEOUT, "pitaya.cluster.sd.etcd.grantlease.timeout",
     "PITAYA_CLUSTER_SD_ETCD_GRANTLEASE_TIMEOUT", "60s", 60000, "1s", 1000, "0s"},
    {CRS_KEY_ETCD_GRANT_RETRIES, "pitaya.cluster.sd.etcd.grantlease.maxretries",
     "PITAYA_CLUSTER_SD_ETCD_GRANTLEASE_MAXRETRIES", "15", 15, "0", 0, "-1"},
    {CRS_KEY_ETCD_GRANT_INTERVAL, "pitaya.cluster.sd.etcd.grantlease.retryinterval",
     "PITAYA_CLUSTER_SD_ETCD_GRANTLEASE_RETRYINTERVAL", "5s", 5000, "1s", 1000, "0s"},
    {CRS_KEY_ETCD_SHUTDOWN_DELAY, "pitaya.cluster.sd.etcd.shutdown.delay", "PITAYA_CLUSTER_SD_ETCD_SHUTDOWN_DELAY",
     "300ms", 300, "0s", 0, "2h"},
    {CRS_KEY_ETCD_BLACKLIST, "pitaya.cluster.sd.etcd.servertypesblacklist",
     "PITAYA_CLUSTER_SD_ETCD_SERVERTYPESBLACKLIST", "", 0, "room,shop", 2, NULL},
    {CRS_KEY_ETCD_BLACKLIST_DEAD, "pitaya.cluster.sd.etcd.servertypeblacklist",
     "PITAYA_CLUSTER_SD_ETCD_SERVERTYPEBLACKLIST", "", 0, "room,shop", 2, NULL},
    {CRS_KEY_GROUPS, "cereus.groups", "CEREUS_GROUPS", "memory", 0, "etcd", 1, "redis"},
    {CRS_KEY_GROUPS_ETCD_ENDPOINTS, "pitaya.groups.etcd.endpoints", "PITAYA_GROUPS_ETCD_ENDPOINTS", "localhost:2379", 1,
     "a:1,b:2", 2, NULL},
    {CRS_KEY_GROUPS_ETCD_PREFIX, "pitaya.groups.etcd.prefix", "PITAYA_GROUPS_ETCD_PREFIX", "pitaya/", 0, "game/", 0,
     NULL},
    {CRS_KEY_GROUPS_ETCD_DIAL, "pitaya.groups.etcd.dialtimeout", "PITAYA_GROUPS_ETCD_DIALTIMEOUT", "5s", 5000, "1s",
     1000, "0s"},
    {CRS_KEY_GROUPS_ETCD_TIMEOUT, "pitaya.groups.etcd.transactiontimeout", "PITAYA_GROUPS_ETCD_TRANSACTIONTIMEOUT",
     "5s", 5000, "1s", 1000, "0s"},
    {CRS_KEY_GROUPS_TICK, "pitaya.groups.memory.tickduration", "PITAYA_GROUPS_MEMORY_TICKDURATION", "30s", 30000,
     "100ms", 100, "0"},
};

/* What the fast accessor of the key's type says. */
static int64_t kept(const cereus_config *cfg, crs_config_key key)
{
    size_t count;
    switch (crs_config_info_of(key)->type) {
    case CRS_CONFIG_BOOL:
        return crs_config_bool(cfg, key);
    case CRS_CONFIG_INT:
        return crs_config_int(cfg, key);
    case CRS_CONFIG_DURATION:
        return crs_config_ms(cfg, key);
    case CRS_CONFIG_SIZE:
        return (int64_t)crs_config_size(cfg, key);
    case CRS_CONFIG_TEXT:
        return crs_config_info_of(key)->choices ? (int64_t)crs_config_choice(cfg, key) : 0;
    case CRS_CONFIG_LIST:
        assert_null(crs_config_list(cfg, key, &count)[count]);
        return (int64_t)count;
    }
    return -77;
}

static void expect_other(const cereus_config *cfg, const struct row *r, const char *source)
{
    assert_string_equal(crs_config_text(cfg, r->key), r->other);
    assert_string_equal(cereus_config_get_text(cfg, r->name), r->other);
    assert_int_equal(kept(cfg, r->key), r->other_kept);
    assert_string_equal(crs_config_source(cfg, r->key), source);
}

static void every_key_has_a_row_here_and_rows_are_in_order(void **state)
{
    assert_int_equal(CEREUS_COUNT(rows), CRS_CONFIG_KEYS);
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        assert_int_equal(rows[i].key, i);
        assert_string_equal(crs_config_info_of(rows[i].key)->name, rows[i].name);
    }
}

static void every_key_has_its_default(void **state)
{
    cereus_config *cfg = cereus_config_new();
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        assert_string_equal(crs_config_text(cfg, rows[i].key), rows[i].fallback);
        assert_int_equal(kept(cfg, rows[i].key), rows[i].kept);
        assert_string_equal(crs_config_source(cfg, rows[i].key), "default");
    }
    assert_int_equal(crs_config_warning_count(cfg), 0);
    cereus_config_free(cfg);
}

static void every_key_is_set_by_a_file(void **state)
{
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        cereus_config *cfg = cereus_config_new();
        char text[200];
        snprintf(text, sizeof text, "%s: %s\n", rows[i].name, rows[i].other); /* a dotted key */
        cereus_error err = {0};
        assert_int_equal(load_yaml(cfg, text, &err), CEREUS_OK);
        char source[40];
        snprintf(source, sizeof source, "game.yaml:1:%zu", strlen(rows[i].name) + 3);
        expect_other(cfg, &rows[i], source);
        cereus_config_free(cfg);
    }
}

static void every_key_is_set_by_a_variable(void **state)
{
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        cereus_config *cfg = cereus_config_new();
        char pair[200], source[100];
        snprintf(pair, sizeof pair, "%s=%s", rows[i].env, rows[i].other);
        const char *env[] = {"HOME=/", pair, NULL};
        assert_int_equal(cereus_config_load_env(cfg, env, NULL), CEREUS_OK);
        snprintf(source, sizeof source, "environment %s", rows[i].env);
        expect_other(cfg, &rows[i], source);
        cereus_config_free(cfg);
    }
}

static void every_key_is_set_by_a_flag_with_and_without_its_first_word(void **state)
{
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        for (int shape = 0; shape < 3; shape++) {
            cereus_config *cfg = cereus_config_new();
            const char *name = shape == 1 ? strchr(rows[i].name, '.') + 1 : rows[i].name;
            char flag[200], value[100], source[150];
            snprintf(flag, sizeof flag, shape == 2 ? "--%s" : "--%s=%s", name, rows[i].other);
            snprintf(value, sizeof value, "%s", rows[i].other);
            char program[] = "game";
            char *argv[] = {program, flag, value, NULL};
            cereus_config_action action = CEREUS_CONFIG_HELP;
            assert_int_equal(cereus_config_parse_args(cfg, shape == 2 ? 3 : 2, argv, &action, NULL), CEREUS_OK);
            assert_int_equal(action, CEREUS_CONFIG_RUN);
            snprintf(source, sizeof source, "flag --%s", name);
            expect_other(cfg, &rows[i], source);
            cereus_config_free(cfg);
        }
    }
}

static void every_key_is_set_by_code(void **state)
{
    cereus_config *cfg = cereus_config_new();
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        assert_int_equal(cereus_config_set(cfg, rows[i].name, rows[i].other, NULL), CEREUS_OK);
        expect_other(cfg, &rows[i], "code");
    }
    cereus_config_free(cfg);
}

static void every_key_refuses_a_bad_value_and_keeps_the_old(void **state)
{
    cereus_config *cfg = cereus_config_new();
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        if (!rows[i].bad)
            continue;
        cereus_error err = {0};
        assert_int_equal(cereus_config_set(cfg, rows[i].name, rows[i].bad, &err), CEREUS_E_INVALID);
        assert_int_equal(err.status, CEREUS_E_INVALID);
        assert_memory_equal(err.msg, rows[i].name, strlen(rows[i].name));
        assert_non_null(strstr(err.msg, rows[i].bad));
        assert_non_null(strstr(err.msg, "(from code)"));
        assert_string_equal(crs_config_text(cfg, rows[i].key), rows[i].fallback);
    }
    cereus_config_free(cfg);
}

/* Flags may leave out the first word: no two keys may differ in it alone, and none may be called like a flag. */
static void keys_are_told_apart_without_their_first_word(void **state)
{
    static const char *const names[] = {
#define CRS_KEY(ID, name, ...)     name,
#define CRS_KEY_ALIAS(alias, name) alias,
#define CRS_KEY_LATER(name)        name,
#include "config/keys.def"
    };
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        const char *rest = strchr(names[i], '.') + 1;
        assert_string_not_equal(rest, "config");
        assert_string_not_equal(rest, "set");
        assert_string_not_equal(rest, "help");
        assert_string_not_equal(rest, "version");
        for (const char *c = names[i]; *c; c++)
            assert_true((*c >= 'a' && *c <= 'z') || *c == '.' || *c == '*');
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(rest, strchr(names[j], '.') + 1);
    }
}

TEST_MAIN(cmocka_unit_test(every_key_has_a_row_here_and_rows_are_in_order), cmocka_unit_test(every_key_has_its_default),
          cmocka_unit_test(every_key_is_set_by_a_file), cmocka_unit_test(every_key_is_set_by_a_variable),
          cmocka_unit_test(every_key_is_set_by_a_flag_with_and_without_its_first_word),
          cmocka_unit_test(every_key_is_set_by_code), cmocka_unit_test(every_key_refuses_a_bad_value_and_keeps_the_old),
          cmocka_unit_test(keys_are_told_apart_without_their_first_word))
