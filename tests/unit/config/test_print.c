/* tests/unit/config/test_print.c */
#include "test.h"

#include "config/config.h"

static cereus_config *some_settings(void)
{
    cereus_config *cfg = cereus_config_new();
    assert_non_null(cfg);
    assert_int_equal(cereus_config_set(cfg, "game.motd", "hi", NULL), CEREUS_OK);
    assert_int_equal(cereus_config_set(cfg, "cereus.listen", "ws://a:1", NULL), CEREUS_OK);
    return cfg;
}

static void print_has_every_key_in_every_format(void **state)
{
    cereus_config *cfg = some_settings();
    for (int format = CRS_CONFIG_TABLE; format <= CRS_CONFIG_JSON; format++) {
        crs_bytes out;
        crs_bytes_init(&out, 1 << 20);
        assert_int_equal(crs_config_print(cfg, (crs_config_format)format, &out), CEREUS_OK);
        assert_int_equal(crs_bytes_append_byte(&out, '\0'), CEREUS_OK);
        for (size_t key = 0; key < CRS_CONFIG_KEYS; key++) {
            const crs_config_info *info = crs_config_info_of((crs_config_key)key);
            bool left_out = format == CRS_CONFIG_YAML && (info->flags & CRS_CONFIG_NO_EFFECT);
            assert_int_equal(strstr((const char *)out.data, info->name) != NULL, !left_out);
        }
        assert_non_null(strstr((const char *)out.data, "game.motd"));
        crs_bytes_fini(&out);
    }
    cereus_config_free(cfg);
}

static void print_says_when_there_is_no_room_or_no_memory(void **state)
{
    cereus_config *cfg = some_settings();
    for (int format = CRS_CONFIG_TABLE; format <= CRS_CONFIG_JSON; format++) {
        crs_bytes out;
        for (size_t max = 0; max < 1000; max += 97) {
            crs_bytes_init(&out, max);
            assert_int_equal(crs_config_print(cfg, (crs_config_format)format, &out), CEREUS_E_TOO_LONG);
            crs_bytes_fini(&out);
        }
        cereus_status st = CEREUS_E_NOMEM;
        for (size_t nth = 1; st == CEREUS_E_NOMEM; nth++) {
            crs_bytes_init(&out, 1 << 20);
            crs_alloc_fail_at(nth);
            st = crs_config_print(cfg, (crs_config_format)format, &out);
            crs_alloc_fail_at(0);
            crs_bytes_fini(&out);
            assert_true(st == CEREUS_OK || st == CEREUS_E_NOMEM);
        }
    }
    cereus_config_free(cfg);
}

TEST_MAIN(cmocka_unit_test(print_has_every_key_in_every_format),
          cmocka_unit_test(print_says_when_there_is_no_room_or_no_memory))
