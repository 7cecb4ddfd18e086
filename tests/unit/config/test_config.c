/* tests/unit/config/test_config.c */
#include "test.h"

#include "config/config_priv.h"
#include "load_yaml.h"

static cereus_status load_env(cereus_config *cfg, const char *pair, cereus_error *err)
{
    return cereus_config_load_env(cfg, (const char *const[]){pair, NULL}, err);
}

static cereus_status load_flag(cereus_config *cfg, const char *flag, cereus_error *err)
{
    char program[] = "game";
    char *copy = strdup(flag);
    cereus_config_action action;
    cereus_status st = cereus_config_parse_args(cfg, 2, (char *[]){program, copy, NULL}, &action, err);
    free(copy);
    return st;
}

/* In which order they are loaded must not matter: try all 24. */
static void config_prefers_code_to_flags_to_environment_to_file_to_default(void **state)
{
    for (int order = 0; order < 256; order++) {
        int steps[4] = {order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6 & 3};
        if ((1 << steps[0] | 1 << steps[1] | 1 << steps[2] | 1 << steps[3]) != 15)
            continue;
        cereus_config *cfg = cereus_config_new();
        int strongest = -1;
        for (int i = 0; i < 4; i++) {
            static const char *const values[] = {"1", "2", "3", "4"};
            if (steps[i] == 0)
                assert_int_equal(load_yaml(cfg, "cereus: {loops: 1}\ngame: {n: 1}", NULL), CEREUS_OK);
            else if (steps[i] == 1)
                assert_int_equal(
                    cereus_config_load_env(cfg, (const char *const[]){"CEREUS_LOOPS=2", "GAME_N=2", NULL}, NULL),
                    CEREUS_OK);
            else if (steps[i] == 2)
                assert_int_equal(load_flag(cfg, "--loops=3", NULL) | load_flag(cfg, "--set=game.n=3", NULL), CEREUS_OK);
            else
                assert_int_equal(cereus_config_set(cfg, "cereus.loops", "4", NULL) |
                                     cereus_config_set(cfg, "game.n", "4", NULL),
                                 CEREUS_OK);
            strongest = steps[i] > strongest ? steps[i] : strongest;
            assert_string_equal(crs_config_text(cfg, CRS_KEY_LOOPS), values[strongest]);
            assert_string_equal(cereus_config_get_text(cfg, "game.n"), values[strongest]);
        }
        cereus_config_free(cfg);
    }
}

static void config_takes_the_later_of_two_files_and_of_two_flags(void **state)
{
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(load_yaml(cfg, "cereus.loops: 1", NULL), CEREUS_OK);
    assert_int_equal(load_yaml(cfg, "cereus.loops: 2", NULL), CEREUS_OK);
    assert_int_equal(crs_config_int(cfg, CRS_KEY_LOOPS), 2);
    assert_int_equal(load_flag(cfg, "--loops=3", NULL), CEREUS_OK);
    assert_int_equal(load_flag(cfg, "--loops=4", NULL), CEREUS_OK);
    assert_int_equal(crs_config_int(cfg, CRS_KEY_LOOPS), 4);
    cereus_config_free(cfg);
}

static void config_keys_are_read_in_any_case(void **state)
{
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(cereus_config_set(cfg, "Cereus.LOOPS", "7", NULL), CEREUS_OK);
    assert_int_equal(load_yaml(cfg, "Pitaya: {HeartBeat: {Interval: 9s}}\nGame: {MotD: Hi}", NULL), CEREUS_OK);
    assert_int_equal(crs_config_int(cfg, CRS_KEY_LOOPS), 7);
    assert_int_equal(crs_config_ms(cfg, CRS_KEY_HEARTBEAT_INTERVAL), 9000);
    assert_string_equal(cereus_config_get_text(cfg, "gAme.motd"), "Hi");
    cereus_config_free(cfg);
}

static void config_names_key_value_form_and_place_of_a_bad_value(void **state)
{
    static const struct {
        const char *key, *value, *message;
    } rows[] = {
        {"pitaya.heartbeat.interval", "5", "pitaya.heartbeat.interval: \"5\" needs a unit, like 5s (from code)"},
        {"pitaya.heartbeat.interval", "0", "pitaya.heartbeat.interval: \"0\" is out of range, 1ms to 24h (from code)"},
        {"pitaya.heartbeat.interval", "soon",
         "pitaya.heartbeat.interval: \"soon\" is not a duration, like 300ms, 5s or 1h30m (from code)"},
        {"pitaya.serializertype", "3", "pitaya.serializertype: \"3\" is out of range, 1 to 2 (from code)"},
        {"pitaya.serializertype", "json", "pitaya.serializertype: \"json\" is not a whole number (from code)"},
        {"pitaya.handler.messages.compression", "yes",
         "pitaya.handler.messages.compression: \"yes\" is not true or false (from code)"},
        {"cereus.outbox.bytes", "1MB", "cereus.outbox.bytes: \"1MB\" is not a size, like 65536 or 64KiB (from code)"},
        {"cereus.outbox.bytes", "2GiB", "cereus.outbox.bytes: \"2GiB\" is out of range, 1KiB to 1GiB (from code)"},
        {"cereus.outbox.policy", "wait", "cereus.outbox.policy: \"wait\" is none of disconnect, drop (from code)"},
        {"cereus.outbox.policy", "", "cereus.outbox.policy: \"\" is none of disconnect, drop (from code)"},
        {"cereus.log.level", "warn|error",
         "cereus.log.level: \"warn|error\" is none of debug, info, warn, error (from code)"},
        {"cereus.loops", "a\nb\x1b", "cereus.loops: \"a?b?\" is not a whole number (from code)"},
        {"pitaya.hartbeat.interval", "5s",
         "pitaya.hartbeat.interval: is not a known key, did you mean pitaya.heartbeat.interval? (from code)"},
        {"cereus.utterly.different", "5s", "cereus.utterly.different: is not a known key (from code)"},
        {"pitaya", "5s", "pitaya: is not a known key (from code)"},
    };
    cereus_config *cfg = cereus_config_new();
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        cereus_error err = {0};
        bool unknown = strstr(rows[i].message, "known key") != NULL;
        assert_int_equal(cereus_config_set(cfg, rows[i].key, rows[i].value, &err),
                         unknown ? CEREUS_E_NOT_FOUND : CEREUS_E_INVALID);
        assert_string_equal(err.msg, rows[i].message);
    }
    cereus_error err;
    assert_int_equal(load_env(cfg, "PITAYA_HEARTBEAT_INTERVAL=5", &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "pitaya.heartbeat.interval: \"5\" needs a unit, like 5s "
                                 "(from environment PITAYA_HEARTBEAT_INTERVAL)");
    assert_int_equal(load_flag(cfg, "--heartbeat.interval=5", &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "pitaya.heartbeat.interval: \"5\" needs a unit, like 5s "
                                 "(from flag --heartbeat.interval)");
    assert_int_equal(load_yaml(cfg, "pitaya:\n  heartbeat: {interval: '5'}", &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "pitaya.heartbeat.interval: \"5\" needs a unit, like 5s (from game.yaml:2:25)");
    cereus_config_free(cfg);
}

static void config_cuts_what_it_quotes(void **state)
{
    cereus_config *cfg = cereus_config_new();
    cereus_error err;
    char longer[1000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(cereus_config_set(cfg, "cereus.loops", longer, &err), CEREUS_E_INVALID);
    assert_non_null(strstr(err.msg, "xxx...\" is not a whole number (from code)"));
    assert_int_equal(cereus_config_set(cfg, longer, "x", &err), CEREUS_E_INVALID);
    assert_non_null(strstr(err.msg, "xxx...: a key has at most 200 letters (from code)"));
    assert_null(cereus_config_get_text(cfg, longer));
    cereus_config_free(cfg);
}

static void config_reads_a_bare_number_of_a_pitaya_file_as_nanoseconds_and_warns(void **state)
{
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(load_yaml(cfg, "pitaya: {heartbeat: {interval: 1500000000}}", NULL), CEREUS_OK);
    assert_int_equal(crs_config_ms(cfg, CRS_KEY_HEARTBEAT_INTERVAL), 1500);
    assert_int_equal(crs_config_warning_count(cfg), 1);
    assert_string_equal(crs_config_warning(cfg, 0), "pitaya.heartbeat.interval: a number without unit means "
                                                    "nanoseconds, write 1500ms (from game.yaml:1:32)");
    int64_t ms = 0;
    assert_int_equal(cereus_config_get_duration_ms(cfg, "pitaya.heartbeat.interval", 1, &ms, NULL), CEREUS_OK);
    assert_int_equal(ms, 1500);

    cereus_error err;
    assert_int_equal(load_yaml(cfg, "cereus: {handshake: {timeout: 5}}", &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "cereus.handshake.timeout: \"5\" needs a unit, like 5s (from game.yaml:1:31)");
    assert_int_equal(load_yaml(cfg, "pitaya.heartbeat.interval: 9223372036854775808", &err), CEREUS_E_INVALID);
    assert_int_equal(load_yaml(cfg, "pitaya.heartbeat.interval: 1.5", &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "pitaya.heartbeat.interval: \"1.5\" needs a unit, like 5s (from game.yaml:1:28)");
    cereus_config_free(cfg);
}

static void config_write_timeout_of_zero_or_less_is_the_default(void **state)
{
    static const char *const values[] = {"0", "0s", "-1s", "-1ns"};
    for (size_t i = 0; i < CEREUS_COUNT(values); i++) {
        cereus_config *cfg = cereus_config_new();
        assert_int_equal(cereus_config_set(cfg, "pitaya.buffer.agent.conntimeout", values[i], NULL), CEREUS_OK);
        assert_int_equal(crs_config_ms(cfg, CRS_KEY_WRITE_TIMEOUT), 10000);
        assert_string_equal(crs_config_text(cfg, CRS_KEY_WRITE_TIMEOUT), "10s");
        cereus_config_free(cfg);
    }
}

static void config_alias_sets_the_key_but_the_real_name_wins(void **state)
{
    static const char *const files[] = {
        "pitaya.buffer.agent: {writetimeout: 3s}",
        "pitaya.buffer.agent: {writetimeout: 2s, conntimeout: 3s}",
        "pitaya.buffer.agent: {conntimeout: 3s, writetimeout: 2s}",
    };
    for (size_t i = 0; i < CEREUS_COUNT(files); i++) {
        cereus_config *cfg = cereus_config_new();
        assert_int_equal(load_yaml(cfg, files[i], NULL), CEREUS_OK);
        assert_int_equal(crs_config_ms(cfg, CRS_KEY_WRITE_TIMEOUT), 3000);
        assert_string_equal(cereus_config_get_text(cfg, "pitaya.buffer.agent.writetimeout"), "3s");
        assert_int_equal(crs_config_warning_count(cfg), 0);
        cereus_config_free(cfg);
    }
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(load_env(cfg, "PITAYA_BUFFER_AGENT_WRITETIMEOUT=4s", NULL), CEREUS_OK);
    assert_int_equal(crs_config_ms(cfg, CRS_KEY_WRITE_TIMEOUT), 4000);
    cereus_config_free(cfg);
}

static void config_names_in_one_warning_all_that_has_no_effect(void **state)
{
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(load_yaml(cfg,
                               "pitaya:\n"
                               "  concurrency: {handler: {dispatch: 50}}\n"
                               "  modules: {bindingstorage: {etcd: {endpoints: [a:1, b:2]}}}\n"
                               "  metrics: {constlabels: {Region: eu}}\n",
                               NULL),
                     CEREUS_OK);
    assert_int_equal(crs_config_warning_count(cfg), 1);
    assert_string_equal(
        crs_config_warning(cfg, 0),
        "no effect in this version: pitaya.concurrency.handler.dispatch, "
        "pitaya.modules.bindingstorage.etcd.endpoints, pitaya.metrics.constlabels.region (from game.yaml)");
    assert_string_equal(cereus_config_get_text(cfg, "pitaya.modules.bindingstorage.etcd.endpoints"), "a:1,b:2");
    assert_int_equal(load_env(cfg, "PITAYA_METRICS_CONSTLABELS_REGION=us", NULL), CEREUS_OK);
    assert_string_equal(crs_config_warning(cfg, 1),
                        "no effect in this version: pitaya.metrics.constlabels.region (from environment)");
    assert_string_equal(cereus_config_get_text(cfg, "pitaya.metrics.constlabels.region"), "us");
    cereus_config_free(cfg);
}

static void config_knows_every_key_of_pitaya(void **state)
{
    static const char *const names[] = {
#define CRS_KEY_LATER(name) name,
#include "config/keys.def"
    };
    cereus_config *cfg = cereus_config_new();
    char text[20000] = "";
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        size_t len = strlen(text), name_len = strcspn(names[i], "*");
        snprintf(text + len, sizeof text - len, "%.*s%s: 1\n", (int)name_len, names[i], names[i][name_len] ? "x" : "");
    }
    assert_int_equal(load_yaml(cfg, text, NULL), CEREUS_OK);
    assert_int_equal(crs_config_warning_count(cfg), 1);
    assert_non_null(strstr(crs_config_warning(cfg, 0), " more (from game.yaml)"));
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        if (!strchr(names[i], '*'))
            assert_string_equal(cereus_config_get_text(cfg, names[i]), "1");
    }
    cereus_config_free(cfg);
}

/** As its example on Kubernetes does, and its demo with metrics of its own. */
static void what_pitayas_deployments_set_is_taken(void **state)
{
    static const char *const env[] = {
        "PITAYA_CLUSTER_RPC_CLIENT_NATS_CONNECT=nats://nats-1.nats-io.svc.cluster.local:4222",
        "PITAYA_CLUSTER_RPC_SERVER_NATS_CONNECT=nats://nats-1.nats-io.svc.cluster.local:4222",
        "PITAYA_CLUSTER_SD_ETCD_ENDPOINTS=etcd-1.etcd.svc.cluster.local:2379",
        "PITAYA_HEARTBEAT_INTERVAL=10s",
        "PITAYA_METRICS_PROMETHEUS_PORT=9091",
    };
    static const char yaml[] =
        "pitaya:\n"
        "  metrics:\n"
        "    prometheus:\n"
        "      enabled: true\n"
        "    custom:\n"
        "      counters:\n"
        "      - {subsystem: room, name: played, help: matches, labels: ['map', 'mode']}\n"
        "      summaries:\n"
        "      - {subsystem: room, name: length, help: of a match, objectives: {0.7: 0.05, 0.99: 0.001}, labels: []}\n";
    cereus_config *cfg = cereus_config_new();
    for (size_t i = 0; i < CEREUS_COUNT(env); i++)
        assert_int_equal(load_env(cfg, env[i], NULL), CEREUS_OK);
    assert_int_equal(load_yaml(cfg, yaml, NULL), CEREUS_OK);
    for (size_t i = 0; i < crs_config_warning_count(cfg); i++)
        assert_memory_equal(crs_config_warning(cfg, i), "no effect in this version: pitaya.metrics.", 42);
    assert_int_equal(crs_config_ms(cfg, CRS_KEY_HEARTBEAT_INTERVAL), 10000);
    assert_string_equal(crs_config_text(cfg, CRS_KEY_ETCD_ENDPOINTS), "etcd-1.etcd.svc.cluster.local:2379");
    assert_string_equal(crs_config_text(cfg, CRS_KEY_NATS_CONNECT), strchr(env[0], '=') + 1);
    assert_string_equal(crs_config_text(cfg, CRS_KEY_NATS_SERVER_CONNECT), strchr(env[1], '=') + 1);
    cereus_config_free(cfg);
}

static void config_bounds_the_warnings_it_keeps(void **state)
{
    cereus_config *cfg = cereus_config_new();
    char text[4000] = "";
    for (int i = 0; i < 100; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "cereus.unknown%d: 1\n", i);
    assert_int_equal(load_yaml(cfg, text, NULL), CEREUS_OK);
    assert_int_equal(crs_config_warning_count(cfg), CRS_CONFIG_WARNINGS);
    assert_string_equal(crs_config_warning(cfg, 0), "cereus.unknown0: is not a known key (from game.yaml:1:18)");
    assert_string_equal(crs_config_warning(cfg, CRS_CONFIG_WARNINGS - 1), "there are more warnings like these");
    cereus_config_free(cfg);
}

static void config_survives_a_failing_allocation(void **state)
{
    bool done = false;
    for (size_t nth = 1; !done; nth++) {
        crs_alloc_fail_at(nth);
        cereus_config *cfg = cereus_config_new();
        if (cfg) {
            cereus_error err = {0};
            cereus_status st = load_yaml(cfg, "cereus: {loops: 1, listen: [a, b], odd: 1}\ngame: {a: b}", &err);
            if (!st)
                st = cereus_config_load_env(
                    cfg, (const char *const[]){"CEREUS_LOOPS=2", "CEREUS_ODD=1", "GAME_A=c", NULL}, &err);
            if (!st)
                st = load_flag(cfg, "--loops=3", &err);
            if (!st)
                st = cereus_config_set(cfg, "game.b", "x", &err);
            assert_true(st == CEREUS_OK || (st == CEREUS_E_NOMEM && err.status == CEREUS_E_NOMEM && err.msg[0]));
            done = st == CEREUS_OK;
        }
        crs_alloc_fail_at(0);
        assert_null(cereus_config_free(cfg));
        assert_true(nth < 5000);
    }
    assert_null(cereus_config_free(NULL));
}

TEST_MAIN(cmocka_unit_test(config_prefers_code_to_flags_to_environment_to_file_to_default),
          cmocka_unit_test(config_takes_the_later_of_two_files_and_of_two_flags),
          cmocka_unit_test(config_keys_are_read_in_any_case),
          cmocka_unit_test(config_names_key_value_form_and_place_of_a_bad_value),
          cmocka_unit_test(config_cuts_what_it_quotes),
          cmocka_unit_test(config_reads_a_bare_number_of_a_pitaya_file_as_nanoseconds_and_warns),
          cmocka_unit_test(config_write_timeout_of_zero_or_less_is_the_default),
          cmocka_unit_test(config_alias_sets_the_key_but_the_real_name_wins),
          cmocka_unit_test(config_names_in_one_warning_all_that_has_no_effect),
          cmocka_unit_test(config_knows_every_key_of_pitaya), cmocka_unit_test(what_pitayas_deployments_set_is_taken),
          cmocka_unit_test(config_bounds_the_warnings_it_keeps), cmocka_unit_test(config_survives_a_failing_allocation))
