/* config/get.c: reading settings, by enum inside the library and by name for games. Nothing here changes anything, so
 * any thread may. */
#include "config/config_priv.h"

#include "config/value.h"

/* -- reading by enum -- */

static const crs_setting *get(const cereus_config *cfg, crs_config_key key, crs_config_type type)
{
    CRS_ASSERT(cfg && crs_config_info_of(key)->type == type);
    return cfg->settings[key];
}

bool crs_config_bool(const cereus_config *cfg, crs_config_key key)
{
    return get(cfg, key, CRS_CONFIG_BOOL)->number != 0;
}

int64_t crs_config_int(const cereus_config *cfg, crs_config_key key)
{
    return get(cfg, key, CRS_CONFIG_INT)->number;
}

int64_t crs_config_ms(const cereus_config *cfg, crs_config_key key)
{
    return get(cfg, key, CRS_CONFIG_DURATION)->number;
}

size_t crs_config_size(const cereus_config *cfg, crs_config_key key)
{
    return (size_t)get(cfg, key, CRS_CONFIG_SIZE)->number;
}

unsigned crs_config_choice(const cereus_config *cfg, crs_config_key key)
{
    CRS_ASSERT(crs_config_info_of(key)->choices);
    return (unsigned)get(cfg, key, CRS_CONFIG_TEXT)->number;
}

const char *const *crs_config_list(const cereus_config *cfg, crs_config_key key, size_t *ret_count)
{
    const crs_setting *s = get(cfg, key, CRS_CONFIG_LIST);
    *ret_count = s->item_count;
    return (const char *const *)s->items;
}

const char *crs_config_text(const cereus_config *cfg, crs_config_key key)
{
    CRS_ASSERT(cfg && key < CRS_CONFIG_KEYS);
    return cfg->settings[key]->text;
}

const char *crs_config_source(const cereus_config *cfg, crs_config_key key)
{
    CRS_ASSERT(cfg && key < CRS_CONFIG_KEYS);
    return cfg->settings[key]->source;
}

bool crs_config_is_set(const cereus_config *cfg, crs_config_key key)
{
    return strcmp(crs_config_source(cfg, key), "default") != 0;
}

/* -- reading by name -- */

static const crs_setting *find_setting(const cereus_config *cfg, const char *name)
{
    char key[CRS_CONFIG_KEY_MAX + 1], variable[CRS_CONFIG_KEY_MAX + 1];
    CRS_ASSERT(cfg && name);
    if (!crs_config_lower(name, key))
        return NULL;
    crs_config_key setting;
    crs_name_kind kind = crs_config_find(key, &setting);
    if (kind == CRS_NAME_SETTING || kind == CRS_NAME_ALIAS)
        return cfg->settings[setting];
    const crs_setting *s = crs_strmap_get(&cfg->others, cereus_slice_str(key));
    if (kind == CRS_NAME_LATER || (s && s->rank > CRS_RANK_ENV) || !strchr(key, '.'))
        return s;
    crs_config_env_name(key, variable);
    const crs_setting *from_env = crs_strmap_get(&cfg->env, cereus_slice_str(variable));
    return from_env ? from_env : s;
}

const char *cereus_config_get_text(const cereus_config *cfg, const char *key)
{
    const crs_setting *s = find_setting(cfg, key);
    return s ? s->text : NULL;
}

const char *const *cereus_config_get_list(const cereus_config *cfg, const char *key, size_t *ret_count)
{
    const crs_setting *s = find_setting(cfg, key);
    *ret_count = s ? s->item_count : 0;
    return s ? (const char *const *)s->items : NULL;
}

static cereus_status wrong_value(const char *key, const crs_setting *s, const char *wrong, cereus_error *err)
{
    char shown[CRS_CONFIG_SHOWN_CAP];
    return crs_fail(err, CEREUS_E_INVALID, "%s: \"%s\" %s (from %s)", key, crs_config_shown(s->text, shown), wrong,
                    s->source);
}

cereus_status cereus_config_get_bool(const cereus_config *cfg, const char *key, bool fallback, bool *ret_value,
                                     cereus_error *err)
{
    const crs_setting *s = find_setting(cfg, key);
    bool value = fallback;
    const char *wrong = s ? crs_parse_bool(s->text, &value) : NULL;
    if (wrong)
        return wrong_value(key, s, wrong, err);
    *ret_value = value;
    return CEREUS_OK;
}

/* The getters of numbers differ only in how the text is read. */
static cereus_status get_number(const cereus_config *cfg, const char *key,
                                const char *(*parse)(const char *text, int64_t *ret), int64_t fallback,
                                int64_t *ret_value, cereus_error *err)
{
    const crs_setting *s = find_setting(cfg, key);
    int64_t value = fallback;
    const char *wrong = s ? parse(s->text, &value) : NULL;
    if (wrong)
        return wrong_value(key, s, wrong, err);
    *ret_value = value;
    return CEREUS_OK;
}

cereus_status cereus_config_get_int(const cereus_config *cfg, const char *key, int64_t fallback, int64_t *ret_value,
                                    cereus_error *err)
{
    return get_number(cfg, key, crs_parse_int, fallback, ret_value, err);
}

cereus_status cereus_config_get_duration_ms(const cereus_config *cfg, const char *key, int64_t fallback_ms,
                                            int64_t *ret_ms, cereus_error *err)
{
    return get_number(cfg, key, crs_parse_duration_ms, fallback_ms, ret_ms, err);
}

cereus_status cereus_config_get_size(const cereus_config *cfg, const char *key, uint64_t fallback, uint64_t *ret_bytes,
                                     cereus_error *err)
{
    int64_t bytes = 0;
    CEREUS_TRY(get_number(cfg, key, crs_parse_size, (int64_t)fallback, &bytes, err));
    *ret_bytes = (uint64_t)bytes;
    return CEREUS_OK;
}
