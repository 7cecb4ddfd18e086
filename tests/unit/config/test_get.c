/* tests/unit/config/test_get.c */
#include "test.h"

#include "config/config.h"
#include "load_yaml.h"

static void getters_read_the_games_own_keys(void **state)
{
    cereus_config *cfg = cereus_config_new();
    assert_int_equal(load_yaml(cfg,
                               "game:\n"
                               "  motd: 'hello, world'\n"
                               "  rounds: 7\n"
                               "  pause: 1.5s\n"
                               "  map: 64KiB\n"
                               "  ranked: true\n"
                               "  maps: [desert, 'ice, big']\n"
                               "  empty: []\n"
                               "  bots:\n"
                               "    - {name: Al}\n"
                               "    - name: Bo\n"
                               "plain: x\n",
                               NULL),
                     CEREUS_OK);
    int64_t number = 0;
    uint64_t bytes = 0;
    bool yes = false;
    size_t count;
    assert_string_equal(cereus_config_get_text(cfg, "game.motd"), "hello, world");
    assert_string_equal(cereus_config_get_text(cfg, "plain"), "x");
    assert_null(cereus_config_get_text(cfg, "game"));
    assert_null(cereus_config_get_text(cfg, "game.none"));
    assert_int_equal(cereus_config_get_int(cfg, "game.rounds", 3, &number, NULL), CEREUS_OK);
    assert_int_equal(number, 7);
    assert_int_equal(cereus_config_get_duration_ms(cfg, "game.pause", 3, &number, NULL), CEREUS_OK);
    assert_int_equal(number, 1500);
    assert_int_equal(cereus_config_get_size(cfg, "game.map", 3, &bytes, NULL), CEREUS_OK);
    assert_int_equal(bytes, 65536);
    assert_int_equal(cereus_config_get_bool(cfg, "game.ranked", false, &yes, NULL), CEREUS_OK);
    assert_true(yes);
    const char *const *maps = cereus_config_get_list(cfg, "game.maps", &count);
    assert_int_equal(count, 2);
    assert_string_equal(maps[0], "desert");
    assert_string_equal(maps[1], "ice, big");
    assert_null(maps[2]);
    assert_string_equal(cereus_config_get_text(cfg, "game.maps"), "desert,ice, big");
    maps = cereus_config_get_list(cfg, "game.motd", &count);
    assert_int_equal(count, 2);
    assert_string_equal(maps[1], "world");
    assert_non_null(cereus_config_get_list(cfg, "game.empty", &count));
    assert_int_equal(count, 0);
    count = 5;
    assert_null(cereus_config_get_list(cfg, "game.none", &count));
    assert_int_equal(count, 0);
    assert_string_equal(cereus_config_get_text(cfg, "game.bots.0.name"), "Al");
    assert_string_equal(cereus_config_get_text(cfg, "game.bots.1.name"), "Bo");
    assert_int_equal(crs_config_warning_count(cfg), 0);
    cereus_config_free(cfg);
}

static void getters_fall_back_when_nothing_is_set_and_refuse_what_is_wrong(void **state)
{
    cereus_config *cfg = cereus_config_new();
    int64_t number = 0;
    uint64_t bytes = 0;
    bool yes = false;
    assert_int_equal(cereus_config_get_int(cfg, "game.x", -3, &number, NULL), CEREUS_OK);
    assert_int_equal(number, -3);
    assert_int_equal(cereus_config_get_duration_ms(cfg, "game.x", 4, &number, NULL), CEREUS_OK);
    assert_int_equal(number, 4);
    assert_int_equal(cereus_config_get_size(cfg, "game.x", UINT64_MAX, &bytes, NULL), CEREUS_OK);
    assert_true(bytes == UINT64_MAX);
    assert_int_equal(cereus_config_get_bool(cfg, "game.x", true, &yes, NULL), CEREUS_OK);
    assert_true(yes);

    cereus_error err;
    assert_int_equal(cereus_config_set(cfg, "game.x", "what", NULL), CEREUS_OK);
    assert_int_equal(cereus_config_get_int(cfg, "game.x", 5, &number, &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "game.x: \"what\" is not a whole number (from code)");
    assert_int_equal(cereus_config_get_duration_ms(cfg, "game.x", 5, &number, &err), CEREUS_E_INVALID);
    assert_int_equal(cereus_config_get_size(cfg, "game.x", 5, &bytes, &err), CEREUS_E_INVALID);
    assert_int_equal(cereus_config_get_bool(cfg, "game.x", false, &yes, &err), CEREUS_E_INVALID);
    assert_int_equal(number, 4);
    assert_true(bytes == UINT64_MAX);
    assert_true(yes);
    cereus_config_free(cfg);
}

TEST_MAIN(cmocka_unit_test(getters_read_the_games_own_keys),
          cmocka_unit_test(getters_fall_back_when_nothing_is_set_and_refuse_what_is_wrong))
