/* tests/unit/config/test_args.c */
#include "test.h"

#include <unistd.h>

#include "config/config.h"

/* The words of @p line as main() gets them. */
static cereus_status parse(cereus_config *cfg, const char *line, cereus_config_action *ret_action, cereus_error *err)
{
    char *argv[16], copy[400];
    int argc = 0;
    snprintf(copy, sizeof copy, "game %s", line);
    for (char *rest = copy, *word; (word = strsep(&rest, " ")) != NULL;) {
        if (*word)
            argv[argc++] = word;
    }
    argv[argc] = NULL;
    return cereus_config_parse_args(cfg, argc, argv, ret_action, err);
}

static void args_set_values_in_every_shape(void **state)
{
    cereus_config *cfg = cereus_config_new();
    cereus_config_action action;
    assert_int_equal(parse(cfg,
                           "--loops 3 --Cereus.Inbox.Messages=5 --set cereus.json.names=camel --set=game.a=b=c "
                           "--compression.level -1 --id=",
                           &action, NULL),
                     CEREUS_OK);
    assert_int_equal(action, CEREUS_CONFIG_RUN);
    assert_int_equal(crs_config_int(cfg, CRS_KEY_LOOPS), 3);
    assert_int_equal(crs_config_int(cfg, CRS_KEY_INBOX_MESSAGES), 5);
    assert_int_equal(crs_config_choice(cfg, CRS_KEY_JSON_NAMES), 1);
    assert_string_equal(crs_config_source(cfg, CRS_KEY_JSON_NAMES), "flag --set cereus.json.names");
    assert_string_equal(cereus_config_get_text(cfg, "game.a"), "b=c");
    assert_int_equal(crs_config_int(cfg, CRS_KEY_COMPRESSION_LEVEL), -1);
    assert_string_equal(crs_config_text(cfg, CRS_KEY_ID), "");
    cereus_config_free(cfg);
}

static void args_stop_at_help_and_version(void **state)
{
    static const struct {
        const char *line;
        cereus_config_action action;
    } rows[] = {
        {"", CEREUS_CONFIG_RUN},
        {"--help", CEREUS_CONFIG_HELP},
        {"-h", CEREUS_CONFIG_HELP},
        {"--loops=2 --help --nonsense", CEREUS_CONFIG_HELP},
        {"--version --nonsense", CEREUS_CONFIG_VERSION},
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        cereus_config *cfg = cereus_config_new();
        cereus_config_action action = (cereus_config_action)77;
        assert_int_equal(parse(cfg, rows[i].line, &action, NULL), CEREUS_OK);
        assert_int_equal(action, rows[i].action);
        cereus_config_free(cfg);
    }
}

static void args_say_what_is_wrong(void **state)
{
    static const struct {
        const char *line;
        cereus_status status;
        const char *message;
    } rows[] = {
        {"--loop=3", CEREUS_E_NOT_FOUND, "--loop: is not a known flag, did you mean --cereus.loops?"},
        {"--hartbeat.interval 3s", CEREUS_E_NOT_FOUND,
         "--hartbeat.interval: is not a known flag, did you mean --pitaya.heartbeat.interval?"},
        {"--confg x", CEREUS_E_NOT_FOUND, "--confg: is not a known flag, did you mean --config?"},
        {"--verson", CEREUS_E_NOT_FOUND, "--verson: is not a known flag, did you mean --version?"},
        {"--game.motd=x", CEREUS_E_NOT_FOUND,
         "--game.motd: is not a known flag, see --help; the game's own keys: --set KEY=VALUE"},
        {"--=x", CEREUS_E_NOT_FOUND, "--: is not a known flag, see --help; the game's own keys: --set KEY=VALUE"},
        {"start", CEREUS_E_INVALID, "\"start\" is not a flag, see --help"},
        {"-x", CEREUS_E_INVALID, "\"-x\" is not a flag, see --help"},
        {"--", CEREUS_E_INVALID, "\"--\" is not a flag, see --help"},
        {"--loops", CEREUS_E_INVALID, "--loops: needs a value"},
        {"--config", CEREUS_E_INVALID, "--config: needs a value"},
        {"--set", CEREUS_E_INVALID, "--set: needs a value"},
        {"--set loops", CEREUS_E_INVALID, "--set: \"loops\" is not KEY=VALUE"},
        {"--set =3", CEREUS_E_INVALID, "--set: \"=3\" is not KEY=VALUE"},
        {"--set cereus.loop=3", CEREUS_E_NOT_FOUND,
         "cereus.loop: is not a known key, did you mean cereus.loops? (from flag --set cereus.loop)"},
        {"--loops=many", CEREUS_E_INVALID, "cereus.loops: \"many\" is not a whole number (from flag --loops)"},
        {"--config /nowhere/game.yaml", CEREUS_E_IO, "/nowhere/game.yaml: cannot be opened: No such file or directory"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        cereus_config *cfg = cereus_config_new();
        cereus_config_action action = (cereus_config_action)77;
        cereus_error err = {0};
        assert_int_equal(parse(cfg, rows[i].line, &action, &err), rows[i].status);
        assert_string_equal(err.msg, rows[i].message);
        assert_int_equal(action, 77);
        cereus_config_free(cfg);
    }
}

static void args_refuse_a_flag_of_any_length(void **state)
{
    for (size_t len = 190; len < 220; len++) {
        cereus_config *cfg = cereus_config_new();
        cereus_config_action action;
        char line[300] = "--";
        memset(line + 2, 'x', len);
        assert_int_equal(parse(cfg, line, &action, NULL), CEREUS_E_NOT_FOUND);
        cereus_config_free(cfg);
    }
}

static void args_load_files_in_order_and_override_them(void **state)
{
    char first[] = "/tmp/cereus-test-XXXXXX", second[] = "/tmp/cereus-test-XXXXXX";
    int fd = mkstemp(first);
    assert_int_equal(write(fd, "cereus: {loops: 1, inbox.messages: 1, sessions.max: 1}", 54), 54);
    close(fd);
    fd = mkstemp(second);
    assert_int_equal(write(fd, "cereus: {inbox.messages: 2, sessions.max: 2}", 44), 44);
    close(fd);
    char line[200];
    snprintf(line, sizeof line, "--sessions.max=3 --config %s --config=%s", first, second);
    cereus_config *cfg = cereus_config_new();
    cereus_config_action action;
    assert_int_equal(parse(cfg, line, &action, NULL), CEREUS_OK);
    assert_int_equal(crs_config_int(cfg, CRS_KEY_LOOPS), 1);
    assert_int_equal(crs_config_int(cfg, CRS_KEY_INBOX_MESSAGES), 2);
    assert_int_equal(crs_config_int(cfg, CRS_KEY_SESSIONS_MAX), 3);
    cereus_config_free(cfg);
    unlink(first);
    unlink(second);
}

TEST_MAIN(cmocka_unit_test(args_set_values_in_every_shape), cmocka_unit_test(args_stop_at_help_and_version),
          cmocka_unit_test(args_say_what_is_wrong), cmocka_unit_test(args_refuse_a_flag_of_any_length),
          cmocka_unit_test(args_load_files_in_order_and_override_them))
