/* tests/unit/config/test_help.c */
#include "test.h"

#include "config/config.h"

static void help_names_every_key_with_its_default_and_fits_the_screen(void **state)
{
    crs_bytes out;
    crs_bytes_init(&out, 1 << 16);
    assert_int_equal(crs_config_help("game", &out), CEREUS_OK);
    assert_int_equal(crs_bytes_append_byte(&out, '\0'), CEREUS_OK);
    const char *text = (const char *)out.data;
    assert_memory_equal(text, "Usage: game ", 12);
    for (size_t key = 0; key < CRS_CONFIG_KEYS; key++) {
        const crs_config_info *info = crs_config_info_of((crs_config_key)key);
        char flag[100];
        snprintf(flag, sizeof flag, "\n  --%s=", info->name);
        assert_non_null(strstr(text, flag));
        assert_non_null(strstr(text, info->help));
    }
    assert_non_null(strstr(text, "  --pitaya.heartbeat.interval=duration\n"
                                 "      heartbeat to clients; one that stays silent for 2 to 3 times this is "
                                 "disconnected; 1ms to 24h (default 30s)\n"));
    assert_non_null(strstr(text, "      queues are bounded by bytes, see cereus.outbox.bytes"));
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        assert_true(strcspn(line, "\n") <= 150);
    crs_bytes_fini(&out);
}

static void help_says_when_there_is_no_room(void **state)
{
    for (size_t max = 0; max < 4000; max += 97) {
        crs_bytes out;
        crs_bytes_init(&out, max);
        assert_int_equal(crs_config_help("game", &out), CEREUS_E_TOO_LONG);
        crs_bytes_fini(&out);
    }
}

TEST_MAIN(cmocka_unit_test(help_names_every_key_with_its_default_and_fits_the_screen),
          cmocka_unit_test(help_says_when_there_is_no_room))
