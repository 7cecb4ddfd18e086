/* tests/unit/config/test_env.c */
#include "test.h"

#include "config/config.h"
#include "load_yaml.h"

static cereus_status load_env(cereus_config *cfg, const char *pair, cereus_error *err)
{
    uint8_t *copy = test_copy(pair, strlen(pair) + 1);
    cereus_status st = cereus_config_load_env(cfg, (const char *const[]){(const char *)copy, NULL}, err);
    free(copy);
    return st;
}

static void env_warns_of_an_unknown_variable_with_the_nearest_name(void **state)
{
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(load_env(cfg, "PITAYA_HEARTBEET_INTERVAL=5s", NULL), CEREUS_OK);
    assert_int_equal(load_env(cfg, "CEREUS_SOMETHING_ELSE=5s", NULL), CEREUS_OK);
    assert_int_equal(crs_config_warning_count(cfg), 2);
    assert_string_equal(crs_config_warning(cfg, 0), "PITAYA_HEARTBEET_INTERVAL: is not a known variable, did you mean "
                                                    "PITAYA_HEARTBEAT_INTERVAL? (from environment)");
    assert_string_equal(crs_config_warning(cfg, 1),
                        "CEREUS_SOMETHING_ELSE: is not a known variable (from environment)");
    cereus_config_free(cfg);
}

static void env_leaves_alone_what_is_not_ours_or_not_set(void **state)
{
    static const char *const pairs[] = {"PITAYACLI_HISTORY_PATH=/x",
                                        "PATH=/bin",
                                        "CEREUS_LOOPS=",
                                        "cereus_loops=3",
                                        "CEREUS_LOOPS",
                                        "=x",
                                        "_=/bin/sh",
                                        "=_=1"};
    cereus_config *cfg = cereus_config_new();
    for (size_t i = 0; i < CEREUS_COUNT(pairs); i++)
        assert_int_equal(load_env(cfg, pairs[i], NULL), CEREUS_OK);
    assert_int_equal(crs_config_int(cfg, CRS_KEY_LOOPS), 0);
    assert_int_equal(crs_config_warning_count(cfg), 0);
    char longer[1000];
    memset(longer, 'A', sizeof longer - 1);
    memcpy(longer, "CEREUS_", 7);
    strcpy(longer + sizeof longer - 3, "=1");
    assert_int_equal(load_env(cfg, longer, NULL), CEREUS_OK);
    cereus_config_free(cfg);
}

static void env_splits_a_list_at_commas(void **state)
{
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(load_env(cfg, "CEREUS_LISTEN= tcp://a:1 ,,\tws://b:2,", NULL), CEREUS_OK);
    size_t count;
    const char *const *items = crs_config_list(cfg, CRS_KEY_LISTEN, &count);
    assert_int_equal(count, 2);
    assert_string_equal(items[0], "tcp://a:1");
    assert_string_equal(items[1], "ws://b:2");
    cereus_config_free(cfg);
}

static void env_serves_the_games_dotted_keys(void **state)
{
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(load_env(cfg, "GAME_MOTD=hello", NULL), CEREUS_OK);
    assert_int_equal(load_env(cfg, "GAME_MOTD=again", NULL), CEREUS_OK);
    assert_string_equal(cereus_config_get_text(cfg, "game.motd"), "again");
    assert_null(cereus_config_get_text(cfg, "game_motd"));
    assert_int_equal(load_env(cfg, "GAME_ROUNDS=many", NULL), CEREUS_OK);
    cereus_error err;
    int64_t rounds;
    assert_int_equal(cereus_config_get_int(cfg, "game.rounds", 1, &rounds, &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "game.rounds: \"many\" is not a whole number (from environment GAME_ROUNDS)");
    cereus_config_free(cfg);
}

static void env_of_the_process_is_read_when_none_is_given(void **state)
{
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(setenv("CEREUS_LOOPS", "5", 1), 0);
    assert_int_equal(cereus_config_load_env(cfg, NULL, NULL), CEREUS_OK);
    assert_int_equal(unsetenv("CEREUS_LOOPS"), 0);
    assert_int_equal(crs_config_int(cfg, CRS_KEY_LOOPS), 5);
    cereus_config_free(cfg);
}

TEST_MAIN(cmocka_unit_test(env_warns_of_an_unknown_variable_with_the_nearest_name),
          cmocka_unit_test(env_leaves_alone_what_is_not_ours_or_not_set), cmocka_unit_test(env_splits_a_list_at_commas),
          cmocka_unit_test(env_serves_the_games_dotted_keys),
          cmocka_unit_test(env_of_the_process_is_read_when_none_is_given))
