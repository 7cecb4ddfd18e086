/* config/keys.c: the table of keys, and names: which there are, which was meant, how they are written elsewhere. */
#include <inttypes.h>
#include <stdio.h>

#include "config/config_priv.h"
#include "config/value.h"

static const crs_config_info infos[] = {
#define CRS_KEY(ID, name, TYPE, fallback, min, max, choices, flags, help) \
    {name, CRS_CONFIG_##TYPE, fallback, min, max, choices, flags, help},
#include "config/keys.def"
};

static const struct {
    const char *name;
    crs_name_kind kind;
    const char *setting; /* what it sets; NULL: nothing yet */
} known_names[] = {
#define CRS_KEY(ID, name, ...)     {name, CRS_NAME_SETTING, name},
#define CRS_KEY_ALIAS(alias, name) {alias, CRS_NAME_ALIAS, name},
#define CRS_KEY_LATER(name)        {name, CRS_NAME_LATER, NULL},
#include "config/keys.def"
};

const crs_config_info *crs_config_info_of(crs_config_key key)
{
    CRS_ASSERT(key < CRS_CONFIG_KEYS);
    return &infos[key];
}

const char *crs_config_type_name(crs_config_type type)
{
    static const char *const names[] = {"true or false", "number", "duration", "size", "text", "list"};
    return names[type];
}

static const char *format_number(crs_config_type type, int64_t number, char out[CRS_VALUE_TEXT_CAP])
{
    if (type == CRS_CONFIG_DURATION)
        return crs_format_duration_ms(number, out);
    if (type == CRS_CONFIG_SIZE)
        return crs_format_size(number, out);
    snprintf(out, CRS_VALUE_TEXT_CAP, "%" PRId64, number);
    return out;
}

const char *crs_config_limits(const crs_config_info *info, char *out, size_t cap)
{
    char min[CRS_VALUE_TEXT_CAP], max[CRS_VALUE_TEXT_CAP];
    out[0] = '\0';
    if (info->choices) {
        size_t len = 0;
        for (const char *c = info->choices; *c && len + 30 < cap; c++) {
            if (*c == '|')
                out[len++] = ',';
            if (*c == '*')
                len += (size_t)sprintf(out + len, "or your own");
            else
                out[len++] = *c == '|' ? ' ' : *c;
        }
        out[len] = '\0';
    } else if (info->max != 0) {
        snprintf(out, cap, "%s to %s", format_number(info->type, info->min, min),
                 format_number(info->type, info->max, max));
    }
    return out;
}

/* -- names -- */

bool crs_config_lower(const char *name, char out[CRS_CONFIG_KEY_MAX + 1])
{
    size_t len = 0;
    for (; name[len]; len++) {
        if (len == CRS_CONFIG_KEY_MAX)
            return false;
        out[len] = name[len] >= 'A' && name[len] <= 'Z' ? (char)(name[len] - 'A' + 'a') : name[len];
    }
    out[len] = '\0';
    return true;
}

void crs_config_env_name(const char *key, char out[CRS_CONFIG_KEY_MAX + 1])
{
    size_t len = 0;
    for (; key[len] && len < CRS_CONFIG_KEY_MAX; len++) {
        char c = key[len];
        out[len] = c == '.' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    out[len] = '\0';
}

bool crs_config_is_ours(const char *key)
{
    return (strncmp(key, "pitaya", 6) == 0 || strncmp(key, "cereus", 6) == 0) && (key[6] == '.' || key[6] == '\0');
}

bool crs_config_is_nearly_ours(const char *key)
{
    char first[16];
    size_t len = strcspn(key, ".");
    if (key[len] == '\0' || len >= sizeof first || crs_config_is_ours(key))
        return false;
    memcpy(first, key, len);
    first[len] = '\0';
    return crs_edit_distance(first, "pitaya") <= 2 || crs_edit_distance(first, "cereus") <= 2;
}

/* A name that ends in ".*" stands for everything below, and for itself without it. */
static bool name_matches(const char *name, const char *key)
{
    size_t len = strlen(name);
    if (len < 2 || strcmp(name + len - 2, ".*") != 0)
        return strcmp(name, key) == 0;
    return strncmp(name, key, len - 2) == 0 && (key[len - 2] == '.' || key[len - 2] == '\0');
}

static crs_config_key key_called(const char *name)
{
    size_t key = 0;
    while (strcmp(infos[key].name, name) != 0)
        key++;
    return (crs_config_key)key;
}

bool crs_config_is_prefix(const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < CEREUS_COUNT(known_names); i++) {
        if (strncmp(known_names[i].name, key, len) == 0 && known_names[i].name[len] == '.')
            return true;
    }
    return false;
}

crs_name_kind crs_config_find(const char *key, crs_config_key *ret_setting)
{
    for (size_t i = 0; i < CEREUS_COUNT(known_names); i++) {
        if (!name_matches(known_names[i].name, key))
            continue;
        if (known_names[i].setting && ret_setting)
            *ret_setting = key_called(known_names[i].setting);
        return known_names[i].kind;
    }
    return CRS_NAME_UNKNOWN;
}

const char *crs_config_nearest(const char *key)
{
    size_t len = strlen(key);
    size_t best = CRS_MIN(CRS_MAX(3, len / 5 + 1), len); /* as far away or further it is another word, not a slip */
    const char *nearest = NULL;
    for (size_t i = 0; i < CEREUS_COUNT(known_names); i++) {
        const char *name = known_names[i].name;
        if (strchr(name, '*'))
            continue;
        const char *forms[] = {name, strchr(name, '.') + 1};
        for (size_t f = 0; f < CEREUS_COUNT(forms); f++) {
            size_t other = strlen(forms[f]);
            if ((other > len ? other - len : len - other) >= best) /* as many letters at least are to be put in */
                continue;
            size_t distance = crs_edit_distance(key, forms[f]);
            if (distance < best) {
                best = distance;
                nearest = name;
            }
        }
    }
    return nearest;
}
