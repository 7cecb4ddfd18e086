/* config/args.c: settings from the command line. Strict: what is not understood is an error, as somebody just typed it.
 */
#include <stdio.h>

#include "config/config_priv.h"
#include "config/value.h"

/* The full key of a flag, which may leave out its first word. No two keys differ in that alone (a unit test sees to
 * it);
 * --config and --set stand for themselves. False: unknown. */
static bool find_flag(const char *flag, char key[CRS_CONFIG_KEY_MAX + 1])
{
    static const char *const first_words[] = {"", "pitaya.", "cereus."};
    char lower[CRS_CONFIG_KEY_MAX + 1];
    if (!crs_config_lower(flag, lower))
        return false;
    for (size_t i = 0; i < CEREUS_COUNT(first_words); i++) {
        int len = snprintf(key, CRS_CONFIG_KEY_MAX + 1, "%s%s", first_words[i], lower);
        if (len <= CRS_CONFIG_KEY_MAX && crs_config_find(key, NULL) != CRS_NAME_UNKNOWN)
            return true;
    }
    strcpy(key, lower);
    return strcmp(key, "config") == 0 || strcmp(key, "set") == 0;
}

static cereus_status unknown_flag(const char *flag, cereus_error *err)
{
    static const char *const words[] = {"config", "set", "help", "version"};
    char shown[CRS_CONFIG_SHOWN_CAP], lower[CRS_CONFIG_KEY_MAX + 1];
    const char *nearest = NULL;
    crs_config_shown(flag, shown);
    if (crs_config_lower(flag, lower)) {
        nearest = crs_config_nearest(lower);
        for (size_t i = 0; i < CEREUS_COUNT(words); i++) {
            if (crs_edit_distance(lower, words[i]) <= 1)
                nearest = words[i];
        }
    }
    if (nearest)
        return crs_fail(err, CEREUS_E_NOT_FOUND, "--%s: is not a known flag, did you mean --%s?", shown, nearest);
    return crs_fail(err, CEREUS_E_NOT_FOUND,
                    "--%s: is not a known flag, see --help; the game's own keys: --set KEY=VALUE", shown);
}

static cereus_status store_pair(crs_load *load, const char *pair, cereus_error *err)
{
    char key[CRS_CONFIG_KEY_MAX + 1], shown[CRS_CONFIG_SHOWN_CAP], source[CRS_CONFIG_KEY_MAX + 16];
    const char *equals = strchr(pair, '=');
    size_t len = equals ? (size_t)(equals - pair) : 0;
    if (len == 0 || len > CRS_CONFIG_KEY_MAX)
        return crs_fail(err, CEREUS_E_INVALID, "--set: \"%s\" is not KEY=VALUE", crs_config_shown(pair, shown));
    memcpy(key, pair, len);
    key[len] = '\0';
    snprintf(source, sizeof source, "flag --set %s", key);
    crs_raw raw = {.text = equals + 1};
    return crs_load_store(load, key, &raw, source, err);
}

static cereus_status store_flag(crs_load *load, const char *flag, const char *key, const char *value, cereus_error *err)
{
    char source[CRS_CONFIG_KEY_MAX + 16];
    if (strcmp(key, "config") == 0)
        return cereus_config_load_file(load->cfg, value, err);
    if (strcmp(key, "set") == 0)
        return store_pair(load, value, err);
    crs_raw raw = {.text = value};
    snprintf(source, sizeof source, "flag --%s", flag);
    return crs_load_store(load, key, &raw, source, err);
}

static cereus_status load_args(crs_load *load, int argc, char **argv, cereus_config_action *ret_action,
                               cereus_error *err)
{
    char shown[CRS_CONFIG_SHOWN_CAP], flag[CRS_CONFIG_KEY_MAX + 1], key[CRS_CONFIG_KEY_MAX + 1];
    *ret_action = CEREUS_CONFIG_RUN;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            *ret_action = CEREUS_CONFIG_HELP;
            return CEREUS_OK;
        }
        if (strcmp(arg, "--version") == 0) {
            *ret_action = CEREUS_CONFIG_VERSION;
            return CEREUS_OK;
        }
        if (strncmp(arg, "--", 2) != 0 || arg[2] == '\0')
            return crs_fail(err, CEREUS_E_INVALID, "\"%s\" is not a flag, see --help", crs_config_shown(arg, shown));
        arg += 2;
        size_t len = strcspn(arg, "=");
        bool value_is_next = arg[len] == '\0';
        snprintf(flag, sizeof flag, "%.*s", (int)CRS_MIN(len, sizeof flag - 1), arg);
        if (!find_flag(flag, key))
            return unknown_flag(flag, err);
        if (value_is_next && i + 1 == argc)
            return crs_fail(err, CEREUS_E_INVALID, "--%s: needs a value", flag);
        CEREUS_TRY(store_flag(load, flag, key, value_is_next ? argv[++i] : arg + len + 1, err));
    }
    return CEREUS_OK;
}

cereus_status cereus_config_parse_args(cereus_config *cfg, int argc, char **argv, cereus_config_action *ret_action,
                                       cereus_error *err)
{
    CRS_ASSERT(cfg && ret_action && (argc == 0 || argv));
    cereus_config_action action;
    crs_load load = crs_load_begin(cfg, CRS_RANK_FLAG);
    CEREUS_TRY(load_args(&load, argc, argv, &action, err));
    CEREUS_TRY(crs_load_end(&load, "flags", err));
    *ret_action = action;
    return CEREUS_OK;
}
