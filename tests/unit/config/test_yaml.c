/* tests/unit/config/test_yaml.c */
#include "test.h"

#include "config/config.h"
#include "load_yaml.h"

static void yaml_means_the_same_nested_dotted_mixed_and_as_json(void **state)
{
    static const char *const files[] = {
        "pitaya:\n  heartbeat:\n    interval: 9s\ncereus:\n  listen:\n    - tcp://a:1\n    - ws://b:2\n",
        "pitaya.heartbeat.interval: 9s\ncereus.listen: tcp://a:1,ws://b:2\n",
        "pitaya.heartbeat: {interval: 9s}\ncereus: {listen: ['tcp://a:1', 'ws://b:2']}\n",
        "{\"pitaya\": {\"heartbeat\": {\"interval\": \"9s\"}}, \"cereus\": {\"listen\": [\"tcp://a:1\", "
        "\"ws://b:2\"]}}",
        "\xef\xbb\xbfpitaya.heartbeat.interval: 9s\r\ncereus.listen: \"tcp://a:1, ws://b:2\"\r\n",
    };
    for (size_t i = 0; i < CEREUS_COUNT(files); i++) {
        cereus_config *cfg = cereus_config_new();
        cereus_error err = {0};
        assert_int_equal(load_yaml(cfg, files[i], &err), CEREUS_OK);
        assert_int_equal(crs_config_ms(cfg, CRS_KEY_HEARTBEAT_INTERVAL), 9000);
        size_t count;
        const char *const *items = crs_config_list(cfg, CRS_KEY_LISTEN, &count);
        assert_int_equal(count, 2);
        assert_string_equal(items[0], "tcp://a:1");
        assert_string_equal(items[1], "ws://b:2");
        assert_int_equal(crs_config_warning_count(cfg), 0);
        cereus_config_free(cfg);
    }
}

static void yaml_that_is_empty_or_null_sets_nothing(void **state)
{
    static const char *const files[] = {
        "",  "# nothing\n", "---\n",      "cereus:\n", "cereus:\n  loops:\n  log.level: ~\n",
        "~", "{}",          "cereus: {}", "game: null"};
    for (size_t i = 0; i < CEREUS_COUNT(files); i++) {
        cereus_config *cfg = cereus_config_new();
        cereus_error err = {0};
        assert_int_equal(load_yaml(cfg, files[i], &err), CEREUS_OK);
        assert_string_equal(crs_config_source(cfg, CRS_KEY_LOOPS), "default");
        assert_null(cereus_config_get_text(cfg, "game"));
        assert_int_equal(crs_config_warning_count(cfg), 0);
        cereus_config_free(cfg);
    }
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(load_yaml(cfg, "cereus.id: 'null'\ngame.a: ''", NULL), CEREUS_OK); /* in quotes they are texts */
    assert_string_equal(crs_config_text(cfg, CRS_KEY_ID), "null");
    assert_string_equal(cereus_config_get_text(cfg, "game.a"), "");
    cereus_config_free(cfg);
}

static void yaml_resolves_aliases(void **state)
{
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(load_yaml(cfg, "a: &t {x: 1}\nb: *t\n", NULL), CEREUS_OK);
    assert_string_equal(cereus_config_get_text(cfg, "b.x"), "1");
    cereus_config_free(cfg);
}

static void yaml_may_nest_below_what_is_a_key_too(void **state)
{
    static const char *const files[] = {"cereus: {cluster: {rpc: nats}}", "cereus:\n  cluster:\n    rpc: nats\n"};
    for (size_t i = 0; i < CEREUS_COUNT(files); i++) {
        cereus_config *cfg = cereus_config_new();
        assert_int_equal(load_yaml(cfg, files[i], NULL), CEREUS_OK);
        assert_string_equal(crs_config_text(cfg, CRS_KEY_CLUSTER_RPC), "nats");
        assert_string_equal(crs_config_text(cfg, CRS_KEY_CLUSTER), "auto");
        cereus_config_free(cfg);
    }
}

static void yaml_warns_of_unknown_keys_of_ours(void **state)
{
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(load_yaml(cfg, "pitaya:\n  heartbeat: {intervall: 9s}\ncereus: {zzz: 1}\nother: {key: 1}", NULL),
                     CEREUS_OK);
    assert_int_equal(crs_config_warning_count(cfg), 2);
    assert_string_equal(crs_config_warning(cfg, 0), "pitaya.heartbeat.intervall: is not a known key, did you mean "
                                                    "pitaya.heartbeat.interval? (from game.yaml:2:26)");
    assert_string_equal(crs_config_warning(cfg, 1), "cereus.zzz: is not a known key (from game.yaml:3:15)");
    cereus_config_free(cfg);
}

static void yaml_errors_name_file_line_and_column(void **state)
{
    static const struct {
        const char *file;
        cereus_status status;
        const char *message;
    } rows[] = {
        {"cereus:\n  loops: [1\n", CEREUS_E_MALFORMED, "game.yaml:3:1: not YAML: did not find expected ',' or ']'"},
        {"a: b: c", CEREUS_E_MALFORMED, "game.yaml:1:5: not YAML: mapping values are not allowed in this context"},
        {"\tx: 1", CEREUS_E_MALFORMED, "game.yaml:1:1: not YAML: found character that cannot start any token"},
        {"a: 1\nb: \xff\n", CEREUS_E_MALFORMED, "game.yaml:2:4: not YAML: invalid leading UTF-8 octet"},
        {"a: *none", CEREUS_E_MALFORMED, "game.yaml:1:4: not YAML: found undefined alias"},
        {"- a\n- b\n", CEREUS_E_MALFORMED, "game.yaml:1:1: not settings: KEY: VALUE lines are expected"},
        {"text", CEREUS_E_MALFORMED, "game.yaml:1:1: not settings: KEY: VALUE lines are expected"},
        {"a: 1\n---\nb: 2\n", CEREUS_E_MALFORMED, "game.yaml:2:1: a second document in one file"},
        {"cereus: {loops: {a: 1}}", CEREUS_E_INVALID, "cereus.loops: takes one value, not a map (from game.yaml:1:17)"},
        {"cereus: {loops: [1, 2]}", CEREUS_E_INVALID,
         "cereus.loops: takes one number, not a list (from game.yaml:1:17)"},
        {"cereus.loops: 1\ncereus: {loops: 2}", CEREUS_E_INVALID,
         "cereus.loops: is set twice, first at game.yaml:1:15 (from game.yaml:2:17)"},
        {"game: {a: 1}\nGAME.A: 2", CEREUS_E_INVALID,
         "game.a: is set twice, first at game.yaml:1:11 (from game.yaml:2:9)"},
        {"game: {[a]: 1}", CEREUS_E_INVALID, "game: a key must be a word (from game.yaml:1:8)"},
        {"\"a\\0b\": 1", CEREUS_E_INVALID, "game.yaml:1:1: a key must be a word"},
        {"a: \"x\\0y\"", CEREUS_E_INVALID, "a: there is a NUL in the text (from game.yaml:1:4)"},
        {"a: [x, \"x\\0y\"]", CEREUS_E_INVALID, "a: there is a NUL in the text (from game.yaml:1:8)"},
        {"b: &b {x: 1}\na:\n  <<: *b\n", CEREUS_E_INVALID, "a: merge keys (<<) are not supported (from game.yaml:3:3)"},
        {"cereus.loops: 65", CEREUS_E_INVALID, "cereus.loops: \"65\" is out of range, 0 to 64 (from game.yaml:1:15)"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        cereus_config *cfg = cereus_config_new();
        cereus_error err = {0};
        assert_int_equal(load_yaml(cfg, rows[i].file, &err), rows[i].status);
        assert_string_equal(err.msg, rows[i].message);
        cereus_config_free(cfg);
    }
}

static void yaml_bounds_depth_keys_values_and_size(void **state)
{
    cereus_config *cfg = cereus_config_new();
    cereus_error err;
    static char text[(256u << 10) + 2];

    for (size_t depth = 1; depth < 900; depth += 100) { /* one map more than there may be, and far more */
        memset(text, 0, sizeof text);
        for (size_t i = 0; i < depth + 32; i++)
            strcpy(text + i * 4, "{a: ");
        strcpy(text + (depth + 32) * 4, "1");
        memset(text + (depth + 32) * 4 + 1, '}', depth + 32);
        assert_int_equal(load_yaml(cfg, text, &err), CEREUS_E_MALFORMED);
        assert_non_null(strstr(err.msg, "nested too deep"));
    }
    assert_int_equal(load_yaml(cfg, "a: &a {b: *a}", &err), CEREUS_E_MALFORMED); /* endless */
    assert_non_null(strstr(err.msg, "nested too deep"));
    assert_int_equal(load_yaml(cfg,
                               "a: &a {0: x, 1: x, 2: x, 3: x, 4: x, 5: x, 6: x, 7: x}\n"
                               "b: &b {0: *a, 1: *a, 2: *a, 3: *a, 4: *a, 5: *a, 6: *a, 7: *a}\n"
                               "c: &c {0: *b, 1: *b, 2: *b, 3: *b, 4: *b, 5: *b, 6: *b, 7: *b}\n"
                               "d: &d {0: *c, 1: *c, 2: *c, 3: *c, 4: *c, 5: *c, 6: *c, 7: *c}\n"
                               "e: &e {0: *d, 1: *d, 2: *d, 3: *d, 4: *d, 5: *d, 6: *d, 7: *d}\n"
                               "f: &f {0: *e, 1: *e, 2: *e, 3: *e, 4: *e, 5: *e, 6: *e, 7: *e}\n",
                               &err),
                     CEREUS_E_TOO_LONG);
    assert_non_null(strstr(err.msg, "too many values in one file"));

    memset(text, 'k', 250);
    strcpy(text + 250, ": 1");
    assert_int_equal(load_yaml(cfg, text, &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "game.yaml:1:1: the key is too long");

    memset(text, '#', sizeof text - 1);
    assert_int_equal(load_yaml_bytes(cfg, text, 256u << 10, &err), CEREUS_OK);
    assert_int_equal(load_yaml_bytes(cfg, text, (256u << 10) + 1, &err), CEREUS_E_TOO_LONG);
    assert_string_equal(err.msg, "game.yaml: larger than 262144 bytes");
    cereus_config_free(cfg);
}

static void yaml_file_that_cannot_be_read_is_named(void **state)
{
    cereus_config *cfg = cereus_config_new();
    cereus_error err;
    assert_int_equal(cereus_config_load_file(cfg, "/nowhere/x.yaml", &err), CEREUS_E_IO);
    assert_string_equal(err.msg, "/nowhere/x.yaml: cannot be opened: No such file or directory");
    assert_int_equal(cereus_config_load_file(cfg, "/", &err), CEREUS_E_IO);
    assert_string_equal(err.msg, "/: cannot be read: Is a directory");
    cereus_config_free(cfg);
}

/* Whatever one byte is changed to, it loads or it fails with a sentence. */
static void yaml_with_any_byte_changed_or_cut_off_loads_or_says_why(void **state)
{
    static const char file[] = "pitaya: {heartbeat: {interval: 9s}}\ncereus:\n  listen: [\"a\", &x b, *x]\n? c\n: d";
    static const uint8_t bytes[] = {0, '\n', ' ', '{', '[', ':', '&', '*', '"', '#', 0xff, 0xc3};
    size_t len = sizeof file - 1;
    for (size_t at = 0; at < len; at++) {
        for (size_t b = 0; b <= CEREUS_COUNT(bytes); b++) {
            bool cut = b == CEREUS_COUNT(bytes);
            uint8_t *copy = test_copy(file, len);
            if (!cut)
                copy[at] = bytes[b];
            cereus_config *cfg = cereus_config_new();
            cereus_error err = {0};
            cereus_status st = load_yaml_bytes(cfg, copy, cut ? at : len, &err);
            assert_true(st == CEREUS_OK || (err.status == st && err.msg[0] && !strchr(err.msg, '\n')));
            cereus_config_free(cfg);
            free(copy);
        }
    }
}

TEST_MAIN(cmocka_unit_test(yaml_means_the_same_nested_dotted_mixed_and_as_json),
          cmocka_unit_test(yaml_that_is_empty_or_null_sets_nothing), cmocka_unit_test(yaml_resolves_aliases),
          cmocka_unit_test(yaml_may_nest_below_what_is_a_key_too), cmocka_unit_test(yaml_warns_of_unknown_keys_of_ours),
          cmocka_unit_test(yaml_errors_name_file_line_and_column),
          cmocka_unit_test(yaml_bounds_depth_keys_values_and_size),
          cmocka_unit_test(yaml_file_that_cannot_be_read_is_named),
          cmocka_unit_test(yaml_with_any_byte_changed_or_cut_off_loads_or_says_why))
