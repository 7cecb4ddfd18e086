/* config/config.c: the settings themselves: storing by rank, the checks of each key, reading. Where values come from is
 * the business of yaml.c, env.c and args.c. */
#include "config/config_priv.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "config/value.h"

/* -- warnings -- */

const char *crs_config_shown(const char *text, char out[CRS_CONFIG_SHOWN_CAP])
{
    size_t len = strnlen(text, CRS_CONFIG_SHOWN_CAP);
    size_t shown = CRS_MIN(len, CRS_CONFIG_SHOWN_CAP - 4);
    for (size_t i = 0; i < shown; i++)
        out[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
    strcpy(out + shown, shown < len ? "..." : "");
    return out;
}

void crs_config_on_mistake(cereus_config *cfg, crs_config_mistake_fn *fn, void *user)
{
    CRS_ASSERT(cfg && fn);
    cfg->on_mistake = fn;
    cfg->on_mistake_user = user;
}

/* Whoever listens hears of each mistake where it is found. */
static void tell(crs_load *load, bool error, const char *where, const char *text)
{
    cereus_config *cfg = load->cfg;
    if (cfg->on_mistake)
        cfg->on_mistake(&(crs_config_mistake){.error = error, .where = where, .text = text}, cfg->on_mistake_user);
}

cereus_status crs_load_wrong(crs_load *load, cereus_status status, const char *where, cereus_error *err,
                             const char *fmt, ...)
{
    char text[CRS_CONFIG_SENTENCE_CAP];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    tell(load, true, where, text);
    return crs_fail(err, status, "%s (from %s)", text, where);
}

cereus_status crs_load_wrong_file(crs_load *load, cereus_status status, const char *where, cereus_error *err,
                                  const char *fmt, ...)
{
    char text[CRS_CONFIG_SENTENCE_CAP];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    tell(load, true, where, text);
    return crs_fail(err, status, "%s: %s", where, text);
}

cereus_status crs_load_go_on(crs_load *load, cereus_status status)
{
    bool endless = status == CEREUS_E_NOMEM || status == CEREUS_E_TOO_LONG;
    if (!load->cfg->on_mistake || endless || !status)
        return status;
    load->failed = status;
    return CEREUS_OK;
}

cereus_status crs_config_no_memory(cereus_error *err)
{
    return crs_fail(err, CEREUS_E_NOMEM, "out of memory while loading settings");
}

cereus_status crs_load_warn(crs_load *load, const char *where, cereus_error *err, const char *fmt, ...)
{
    char text[CRS_CONFIG_SENTENCE_CAP];
    cereus_config *cfg = load->cfg;
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    tell(load, false, where, text);
    if (cfg->warning_count == CRS_CONFIG_WARNINGS)
        return CEREUS_OK;
    bool last = cfg->warning_count == CRS_CONFIG_WARNINGS - 1;
    if (len >= 0 && (size_t)len < sizeof text)
        snprintf(text + len, sizeof text - (size_t)len, " (from %s)", where);
    char *copy = crs_strdup(last ? "there are more warnings like these" : text);
    if (!copy)
        return crs_config_no_memory(err);
    cfg->warnings[cfg->warning_count++] = copy;
    return CEREUS_OK;
}

size_t crs_config_warning_count(const cereus_config *cfg)
{
    return cfg->warning_count;
}

const char *crs_config_warning(const cereus_config *cfg, size_t index)
{
    CRS_ASSERT(index < cfg->warning_count);
    return cfg->warnings[index];
}

/* -- checks of a key -- */

/* Which of "a|b|c" @p text is; false: none. */
static bool find_choice(const char *choices, const char *text, int64_t *ret_index)
{
    size_t len = strlen(text);
    for (int64_t index = 0; choices; index++) {
        size_t choice_len = strcspn(choices, "|");
        bool own = choice_len == 1 && *choices == '*' && len > 0 &&
                   strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
        if (own || (choice_len == len && memcmp(choices, text, len) == 0)) {
            *ret_index = index;
            return true;
        }
        choices = choices[choice_len] ? choices + choice_len + 1 : NULL;
    }
    return false;
}

static const char *parse_number(const crs_config_info *info, const char *text, int64_t *ret_number)
{
    bool yes = false;
    const char *wrong = NULL;
    switch (info->type) {
    case CRS_CONFIG_BOOL:
        wrong = crs_parse_bool(text, &yes);
        if (!wrong)
            *ret_number = yes;
        return wrong;
    case CRS_CONFIG_INT:
        return crs_parse_int(text, ret_number);
    case CRS_CONFIG_DURATION:
        return crs_parse_duration_ms(text, ret_number);
    case CRS_CONFIG_SIZE:
        return crs_parse_size(text, ret_number);
    case CRS_CONFIG_TEXT:
    case CRS_CONFIG_LIST:
        break;
    }
    return NULL;
}

/* The value of @p text for its key. */
static cereus_status check(crs_load *load, const crs_config_info *info, const char *text, const char *source,
                           int64_t *ret_number, cereus_error *err)
{
    char shown[CRS_CONFIG_SHOWN_CAP], limits[120];
    int64_t number = 0;
    const char *wrong = parse_number(info, text, &number);
    crs_config_shown(text, shown);
    if (wrong)
        return crs_load_wrong(load, CEREUS_E_INVALID, source, err, "%s: \"%s\" %s", info->name, shown, wrong);
    if (info->choices && !find_choice(info->choices, text, &number))
        return crs_load_wrong(load, CEREUS_E_INVALID, source, err, "%s: \"%s\" is none of %s", info->name, shown,
                              crs_config_limits(info, limits, sizeof limits));
    if (!info->choices && info->max != 0 && (number < info->min || number > info->max))
        return crs_load_wrong(load, CEREUS_E_INVALID, source, err, "%s: \"%s\" is out of range, %s", info->name, shown,
                              crs_config_limits(info, limits, sizeof limits));
    *ret_number = number;
    return CEREUS_OK;
}

/* Pitaya reads a bare number in a file as nanoseconds. Its files go on working; for keys of our own that would only be
 * a trap. @p out gets the text with the unit. */
static cereus_status add_missing_unit(crs_load *load, const crs_config_info *info, const char *source, crs_raw *raw,
                                      char out[CRS_CONFIG_SHOWN_CAP], cereus_error *err)
{
    int64_t number, ms;
    char better[CRS_VALUE_TEXT_CAP];
    if (info->type != CRS_CONFIG_DURATION || !raw->plain_number || strncmp(info->name, "pitaya.", 7) != 0 ||
        crs_parse_int(raw->text, &number) || number == 0)
        return CEREUS_OK;
    snprintf(out, CRS_CONFIG_SHOWN_CAP, "%" PRId64 "ns", number);
    raw->text = out;
    if (crs_parse_duration_ms(out, &ms))
        return CEREUS_OK; /* check() says what is wrong */
    return crs_load_warn(load, source, err, "%s: a number without unit means nanoseconds, write %s", info->name,
                         crs_format_duration_ms(ms, better));
}

/* -- storing -- */

crs_load crs_load_begin(cereus_config *cfg, crs_rank rank)
{
    return (crs_load){.cfg = cfg, .rank = rank, .id = ++cfg->loads};
}

/* One line at a start names all that has no effect; whoever listens hears of each, and what stands in for it. */
static cereus_status note_idle(crs_load *load, const char *key, const crs_config_info *info, const char *source,
                               cereus_error *err)
{
    size_t len = strlen(load->idle);
    if (load->rank == CRS_RANK_DEFAULT)
        return CEREUS_OK;
    if (load->cfg->on_mistake)
        return info ? crs_load_warn(load, source, err, "%s: has no effect: %s", key, info->help)
                    : crs_load_warn(load, source, err, "%s: is a key of Pitaya that this version does not read yet",
                                    key);
    if (len + strlen(key) + 3 <= sizeof load->idle)
        snprintf(load->idle + len, sizeof load->idle - len, "%s%s", len ? ", " : "", key);
    load->idle_count++;
    return CEREUS_OK;
}

cereus_status crs_load_end(crs_load *load, const char *where, cereus_error *err)
{
    if (load->failed)
        return load->failed; /* `err` is what it says of the last mistake */
    if (load->idle_count == 0)
        return CEREUS_OK;
    size_t named = 1;
    for (const char *c = load->idle; *c; c++)
        named += *c == ',';
    if (named < load->idle_count)
        return crs_load_warn(load, where, err, "no effect in this version: %s and %zu more", load->idle,
                             load->idle_count - named);
    return crs_load_warn(load, where, err, "no effect in this version: %s", load->idle);
}

/* Does a value of this load go into the place of @p old? */
static cereus_status may_replace(crs_load *load, const char *key, const crs_setting *old, bool by_alias,
                                 const char *source, bool *ret_may, cereus_error *err)
{
    bool same_load = old && old->load == load->id;
    if (same_load && load->rank == CRS_RANK_FILE && old->by_alias == by_alias)
        return crs_load_wrong(load, CEREUS_E_INVALID, source, err, "%s: is set twice, first at %s", key, old->source);
    *ret_may = !old || (load->rank >= old->rank && !(same_load && by_alias && !old->by_alias));
    return CEREUS_OK;
}

static cereus_status store_setting(crs_load *load, crs_config_key key, bool by_alias, const crs_raw *given,
                                   const char *source, cereus_error *err)
{
    const crs_config_info *info = crs_config_info_of(key);
    crs_setting *old = load->cfg->settings[key], *fresh;
    crs_raw raw = *given;
    char with_unit[CRS_CONFIG_SHOWN_CAP];
    int64_t number = 0;
    bool may;
    if (!raw.text && info->type != CRS_CONFIG_LIST)
        return crs_load_wrong(load, CEREUS_E_INVALID, source, err, "%s: takes one %s, not a list", info->name,
                              crs_config_type_name(info->type));
    if (raw.text) {
        CEREUS_TRY(add_missing_unit(load, info, source, &raw, with_unit, err));
        int64_t low;
        if ((info->flags & CRS_CONFIG_ABOVE_ZERO) && !parse_number(info, raw.text, &low) && low <= 0)
            raw.text = info->fallback;
        CEREUS_TRY(check(load, info, raw.text, source, &number, err));
    }
    CEREUS_TRY(may_replace(load, info->name, old, by_alias, source, &may, err));
    if (info->flags & CRS_CONFIG_NO_EFFECT)
        CEREUS_TRY(note_idle(load, info->name, info, source, err));
    if (!may)
        return CEREUS_OK;
    if (crs_setting_new(&raw, source, load->rank, &fresh))
        return crs_config_no_memory(err);
    fresh->number = number;
    fresh->load = load->id;
    fresh->by_alias = by_alias;
    crs_setting_free(old);
    load->cfg->settings[key] = fresh;
    return CEREUS_OK;
}

static cereus_status store_other(crs_load *load, const char *key, const crs_raw *raw, const char *source,
                                 cereus_error *err)
{
    crs_setting *old = crs_strmap_get(&load->cfg->others, cereus_slice_str(key)), *fresh;
    bool may;
    CEREUS_TRY(may_replace(load, key, old, false, source, &may, err));
    if (!may)
        return CEREUS_OK;
    if (crs_setting_new(raw, source, load->rank, &fresh))
        return crs_config_no_memory(err);
    fresh->load = load->id;
    if (crs_strmap_put(&load->cfg->others, cereus_slice_str(key), fresh, NULL)) {
        crs_setting_free(fresh);
        return crs_config_no_memory(err);
    }
    crs_setting_free(old);
    return CEREUS_OK;
}

cereus_status crs_load_store(crs_load *load, const char *name, const crs_raw *raw, const char *source,
                             cereus_error *err)
{
    char key[CRS_CONFIG_KEY_MAX + 1], shown[CRS_CONFIG_SHOWN_CAP];
    crs_config_shown(name, shown);
    if (!crs_config_lower(name, key))
        return crs_load_wrong(load, CEREUS_E_INVALID, source, err, "%s: a key has at most %d letters", shown,
                              CRS_CONFIG_KEY_MAX);
    crs_config_key setting;
    crs_name_kind kind = crs_config_find(key, &setting);
    if (kind == CRS_NAME_SETTING || kind == CRS_NAME_ALIAS)
        return store_setting(load, setting, kind == CRS_NAME_ALIAS, raw, source, err);
    if (kind == CRS_NAME_LATER) {
        CEREUS_TRY(note_idle(load, key, NULL, source, err));
        return store_other(load, key, raw, source, err);
    }
    bool ours = crs_config_is_ours(key);
    /* a game may have very many keys of its own: only those that look like ours are held against all of ours */
    const char *nearest = ours || crs_config_is_nearly_ours(key) ? crs_config_nearest(key) : NULL;
    if (!ours) {
        if (nearest && load->rank == CRS_RANK_FILE)
            CEREUS_TRY(crs_load_warn(load, source, err, "%s: is taken for a key of the game's own, did you mean %s?",
                                     shown, nearest));
        return store_other(load, key, raw, source, err);
    }

    const char *hint = nearest ? ", did you mean " : "", *mark = nearest ? "?" : "";
    nearest = nearest ? nearest : "";
    if (load->rank == CRS_RANK_FILE)
        return crs_load_warn(load, source, err, "%s: is not a known key%s%s%s", shown, hint, nearest, mark);
    return crs_load_wrong(load, CEREUS_E_NOT_FOUND, source, err, "%s: is not a known key%s%s%s", shown, hint, nearest,
                          mark);
}

/* -- the object -- */

cereus_config *cereus_config_new(void)
{
    cereus_config *cfg = crs_zalloc(sizeof *cfg);
    if (!cfg)
        return NULL;
    crs_strmap_init(&cfg->others);
    crs_strmap_init(&cfg->env);
    crs_load load = {.cfg = cfg, .rank = CRS_RANK_DEFAULT};
    for (size_t key = 0; key < CRS_CONFIG_KEYS; key++) {
        cereus_error err;
        crs_raw raw = {.text = crs_config_info_of((crs_config_key)key)->fallback};
        if (store_setting(&load, (crs_config_key)key, false, &raw, "default", &err)) {
            CRS_ASSERT(err.status == CEREUS_E_NOMEM); /* a default that its own key refuses */
            return cereus_config_free(cfg);
        }
    }
    return cfg;
}

static void free_map(crs_strmap *map)
{
    size_t iter = 0;
    cereus_slice key;
    void *value;
    while (crs_strmap_next(map, &iter, &key, &value))
        crs_setting_free(value);
    crs_strmap_fini(map);
}

cereus_config *cereus_config_free(cereus_config *cfg)
{
    if (!cfg)
        return NULL;
    for (size_t i = 0; i < CRS_CONFIG_KEYS; i++)
        crs_setting_free(cfg->settings[i]);
    for (size_t i = 0; i < cfg->warning_count; i++)
        crs_free(cfg->warnings[i]);
    free_map(&cfg->others);
    free_map(&cfg->env);
    crs_free(cfg);
    return NULL;
}

cereus_status cereus_config_set(cereus_config *cfg, const char *key, const char *value, cereus_error *err)
{
    CRS_ASSERT(cfg && key && value);
    crs_load load = crs_load_begin(cfg, CRS_RANK_CODE);
    crs_raw raw = {.text = value};
    CEREUS_TRY(crs_load_store(&load, key, &raw, "code", err));
    return crs_load_end(&load, "code", err);
}
