/* config/env.c: settings from environment variables. Ours are checked and stored; of the others those that could be a
 * key of the game's are kept until it asks for one. */
#include <stdio.h>
#include <unistd.h>

#include "config/config_priv.h"

/* PITAYA_HEARTBEAT_INTERVAL as pitaya.heartbeat.interval: our keys have no underscores of their own. */
static void variable_to_key(const char *variable, char key[CRS_CONFIG_KEY_MAX + 1])
{
    crs_config_lower(variable, key);
    for (char *c = key; *c; c++) {
        if (*c == '_')
            *c = '.';
    }
}

static cereus_status warn_unknown(crs_load *load, const char *variable, const char *key, cereus_error *err)
{
    char nearest[CRS_CONFIG_KEY_MAX + 1], shown[CRS_CONFIG_SHOWN_CAP];
    const char *near = crs_config_nearest(key);
    crs_config_shown(variable, shown);
    if (!near)
        return crs_load_warn(load, "environment", err, "%s: is not a known variable", shown);
    crs_config_env_name(near, nearest);
    return crs_load_warn(load, "environment", err, "%s: is not a known variable, did you mean %s?", shown, nearest);
}

static cereus_status keep_for_the_game(cereus_config *cfg, const char *variable, const crs_raw *raw, const char *source,
                                       cereus_error *err)
{
    crs_setting *fresh;
    void *old;
    cereus_status st = crs_setting_new(raw, source, CRS_RANK_ENV, &fresh);
    if (!st) {
        st = crs_strmap_put(&cfg->env, cereus_slice_str(variable), fresh, &old);
        crs_setting_free(st ? fresh : old);
    }
    return st ? crs_config_no_memory(err) : CEREUS_OK;
}

static cereus_status load_one(crs_load *load, const char *variable, const char *value, cereus_error *err)
{
    char key[CRS_CONFIG_KEY_MAX + 1], source[CRS_CONFIG_KEY_MAX + 16];
    crs_raw raw = {.text = value};
    variable_to_key(variable, key);
    snprintf(source, sizeof source, "environment %s", variable);
    if (strncmp(variable, "PITAYA_", 7) != 0 && strncmp(variable, "CEREUS_", 7) != 0)
        return keep_for_the_game(load->cfg, variable, &raw, source, err);
    if (crs_config_find(key, NULL) == CRS_NAME_UNKNOWN)
        return warn_unknown(load, variable, key, err);
    return crs_load_store(load, key, &raw, source, err);
}

cereus_status cereus_config_load_env(cereus_config *cfg, const char *const *env, cereus_error *err)
{
    CRS_ASSERT(cfg);
    crs_load load = crs_load_begin(cfg, CRS_RANK_ENV);
    for (const char *const *e = env ? env : (const char *const *)environ; e && *e; e++) {
        const char *equals = strchr(*e, '=');
        size_t name_len = equals ? (size_t)(equals - *e) : 0;
        char variable[CRS_CONFIG_KEY_MAX + 1];
        /* without an underscore it is the name of no key; set to nothing means not set, as in Pitaya */
        if (name_len == 0 || name_len > CRS_CONFIG_KEY_MAX || equals[1] == '\0' || !memchr(*e, '_', name_len))
            continue;
        memcpy(variable, *e, name_len);
        variable[name_len] = '\0';
        CEREUS_TRY(load_one(&load, variable, equals + 1, err));
    }
    return crs_load_end(&load, "environment", err);
}
