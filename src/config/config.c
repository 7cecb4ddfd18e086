/* config/config.c: the settings themselves: storing by rank, the checks of each key, reading. Where values come from is
 * the business of yaml.c, env.c and args.c. */
#include "config/config_priv.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "config/value.h"

static const crs_config_info infos[] = {
#define CRS_KEY(ID, name, TYPE, fallback, min, max, choices, flags, help) \
    {name, CRS_CONFIG_##TYPE, fallback, min, max, choices, flags, help},
#include "config/keys.def"
};

typedef struct known_name {
    const char *name;
    const char *setting; /* what it sets; NULL: nothing yet */
} known_name;

static const known_name known_names[] = {
#define CRS_KEY(ID, name, ...)     {name, name},
#define CRS_KEY_ALIAS(alias, name) {alias, name},
#define CRS_KEY_LATER(name)        {name, NULL},
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
        for (const char *c = info->choices; *c && len + 3 < cap; c++) {
            if (*c == '|')
                out[len++] = ',';
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

/* A name that ends in ".*" stands for everything below, and for itself without it. */
static bool name_matches(const char *name, const char *key)
{
    size_t len = strlen(name);
    if (len < 2 || strcmp(name + len - 2, ".*") != 0)
        return strcmp(name, key) == 0;
    return strncmp(name, key, len - 2) == 0 && (key[len - 2] == '.' || key[len - 2] == '\0');
}

static const known_name *find_name(const char *key)
{
    for (size_t i = 0; i < CEREUS_COUNT(known_names); i++) {
        if (name_matches(known_names[i].name, key))
            return &known_names[i];
    }
    return NULL;
}

bool crs_config_is_known(const char *key)
{
    return find_name(key) != NULL;
}

bool crs_config_is_setting(const char *key)
{
    const known_name *known = find_name(key);
    return known && known->setting;
}

static crs_config_key key_called(const char *name)
{
    size_t key = 0;
    while (strcmp(infos[key].name, name) != 0)
        key++;
    return (crs_config_key)key;
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
        size_t whole = crs_edit_distance(key, name);
        size_t without_first = crs_edit_distance(key, strchr(name, '.') + 1);
        size_t distance = CRS_MIN(whole, without_first);
        if (distance < best) {
            best = distance;
            nearest = name;
        }
    }
    return nearest;
}

const char *crs_config_shown(const char *text, char out[CRS_CONFIG_SHOWN_CAP])
{
    size_t len = strnlen(text, CRS_CONFIG_SHOWN_CAP);
    size_t shown = CRS_MIN(len, CRS_CONFIG_SHOWN_CAP - 4);
    for (size_t i = 0; i < shown; i++)
        out[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
    strcpy(out + shown, shown < len ? "..." : "");
    return out;
}

/* -- warnings -- */

cereus_status crs_config_warn(cereus_config *cfg, cereus_error *err, const char *fmt, ...)
{
    char text[600];
    if (cfg->warning_count == CRS_CONFIG_WARNINGS)
        return CEREUS_OK;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    bool last = cfg->warning_count == CRS_CONFIG_WARNINGS - 1;
    char *copy = crs_strdup(last ? "there are more warnings like these" : text);
    if (!copy)
        return crs_fail(err, CEREUS_E_NOMEM, "out of memory while loading settings");
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

/* -- settings -- */

crs_setting *crs_setting_free(crs_setting *s)
{
    if (s) {
        crs_free(s->text);
        crs_free(s->items);
        crs_free(s->source);
        crs_free(s);
    }
    return NULL;
}

/* One block: the pointers, a NULL, and behind it the texts. NULL: out of memory. */
static char **copy_items(const crs_raw *raw)
{
    size_t len = 0;
    for (size_t i = 0; i < raw->item_count; i++)
        len += strlen(raw->items[i]) + 1;
    char **items = crs_malloc((raw->item_count + 1) * sizeof *items + len);
    if (!items)
        return NULL;
    char *to = (char *)&items[raw->item_count + 1];
    for (size_t i = 0; i < raw->item_count; i++) {
        items[i] = strcpy(to, raw->items[i]);
        to += strlen(to) + 1;
    }
    items[raw->item_count] = NULL;
    return items;
}

/* The same from comma-separated text; blanks around an item and empty items do not count. */
static char **split_items(const char *text, size_t *ret_count)
{
    size_t most = 1;
    for (const char *c = text; *c; c++)
        most += *c == ',';
    char **items = crs_malloc((most + 1) * sizeof *items + strlen(text) + 1);
    if (!items)
        return NULL;
    size_t count = 0;
    char *rest = strcpy((char *)&items[most + 1], text);
    for (char *item; (item = strsep(&rest, ",")) != NULL;) {
        item += strspn(item, " \t");
        size_t len = strlen(item);
        while (len && (item[len - 1] == ' ' || item[len - 1] == '\t'))
            len--;
        item[len] = '\0';
        if (len)
            items[count++] = item;
    }
    items[count] = NULL;
    *ret_count = count;
    return items;
}

static char *join_items(const crs_raw *raw)
{
    size_t len = 1;
    for (size_t i = 0; i < raw->item_count; i++)
        len += strlen(raw->items[i]) + 1;
    char *text = crs_malloc(len);
    if (!text)
        return NULL;
    char *to = text;
    *to = '\0';
    for (size_t i = 0; i < raw->item_count; i++) {
        if (i)
            *to++ = ',';
        to = stpcpy(to, raw->items[i]);
    }
    return text;
}

cereus_status crs_setting_new(const crs_raw *raw, const char *source, crs_rank rank, crs_setting **ret)
{
    crs_setting *s = crs_zalloc(sizeof *s);
    if (!s)
        return CEREUS_E_NOMEM;
    s->rank = rank;
    s->text = raw->text ? crs_strdup(raw->text) : join_items(raw);
    s->source = crs_strdup(source);
    if (raw->text) {
        s->items = split_items(raw->text, &s->item_count);
    } else {
        s->items = copy_items(raw);
        s->item_count = raw->item_count;
    }
    if (!s->text || !s->source || !s->items) {
        crs_setting_free(s);
        return CEREUS_E_NOMEM;
    }
    *ret = s;
    return CEREUS_OK;
}

/* -- checks of a key -- */

/* Which of "a|b|c" @p text is; false: none. */
static bool find_choice(const char *choices, const char *text, int64_t *ret_index)
{
    size_t len = strlen(text);
    for (int64_t index = 0; choices; index++) {
        size_t choice_len = strcspn(choices, "|");
        if (choice_len == len && memcmp(choices, text, len) == 0) {
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
static cereus_status check(const crs_config_info *info, const char *text, const char *source, int64_t *ret_number,
                           cereus_error *err)
{
    char shown[CRS_CONFIG_SHOWN_CAP], limits[120];
    int64_t number = 0;
    const char *wrong = parse_number(info, text, &number);
    crs_config_shown(text, shown);
    if (wrong)
        return crs_fail(err, CEREUS_E_INVALID, "%s: \"%s\" %s (from %s)", info->name, shown, wrong, source);
    if (info->choices && !find_choice(info->choices, text, &number))
        return crs_fail(err, CEREUS_E_INVALID, "%s: \"%s\" is none of %s (from %s)", info->name, shown,
                        crs_config_limits(info, limits, sizeof limits), source);
    if (!info->choices && info->max != 0 && (number < info->min || number > info->max))
        return crs_fail(err, CEREUS_E_INVALID, "%s: \"%s\" is out of range, %s (from %s)", info->name, shown,
                        crs_config_limits(info, limits, sizeof limits), source);
    *ret_number = number;
    return CEREUS_OK;
}

/* Pitaya reads a bare number in a file as nanoseconds. Its files go on working; for keys of our own that would only be
 * a trap. @p out gets the text with the unit. */
static cereus_status add_missing_unit(cereus_config *cfg, const crs_config_info *info, const char *source, crs_raw *raw,
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
    return crs_config_warn(cfg, err, "%s: a number without unit means nanoseconds, write %s (from %s)", info->name,
                           crs_format_duration_ms(ms, better), source);
}

/* -- storing -- */

crs_load crs_load_begin(cereus_config *cfg, crs_rank rank)
{
    return (crs_load){.cfg = cfg, .rank = rank, .id = ++cfg->loads};
}

static void note_idle(crs_load *load, const char *key)
{
    size_t len = strlen(load->idle);
    if (load->rank == CRS_RANK_DEFAULT)
        return;
    if (len + strlen(key) + 3 <= sizeof load->idle)
        snprintf(load->idle + len, sizeof load->idle - len, "%s%s", len ? ", " : "", key);
    load->idle_count++;
}

cereus_status crs_load_end(crs_load *load, const char *where, cereus_error *err)
{
    if (load->idle_count == 0)
        return CEREUS_OK;
    size_t named = 1;
    for (const char *c = load->idle; *c; c++)
        named += *c == ',';
    if (named < load->idle_count)
        return crs_config_warn(load->cfg, err, "no effect in this version: %s and %zu more (from %s)", load->idle,
                               load->idle_count - named, where);
    return crs_config_warn(load->cfg, err, "no effect in this version: %s (from %s)", load->idle, where);
}

static cereus_status no_memory(cereus_error *err)
{
    return crs_fail(err, CEREUS_E_NOMEM, "out of memory while loading settings");
}

/* Does a value of this load go into the place of @p old? */
static cereus_status may_replace(const crs_load *load, const char *key, const crs_setting *old, bool by_alias,
                                 const char *source, bool *ret_may, cereus_error *err)
{
    bool same_load = old && old->load == load->id;
    if (same_load && load->rank == CRS_RANK_FILE && old->by_alias == by_alias)
        return crs_fail(err, CEREUS_E_INVALID, "%s: is set twice, first at %s (from %s)", key, old->source, source);
    *ret_may = !old || (load->rank >= old->rank && !(same_load && by_alias && !old->by_alias));
    return CEREUS_OK;
}

static cereus_status store_setting(crs_load *load, crs_config_key key, bool by_alias, const crs_raw *given,
                                   const char *source, cereus_error *err)
{
    const crs_config_info *info = &infos[key];
    crs_setting *old = load->cfg->settings[key], *fresh;
    crs_raw raw = *given;
    char with_unit[CRS_CONFIG_SHOWN_CAP];
    int64_t number = 0;
    bool may;
    if (!raw.text && info->type != CRS_CONFIG_LIST)
        return crs_fail(err, CEREUS_E_INVALID, "%s: takes one %s, not a list (from %s)", info->name,
                        crs_config_type_name(info->type), source);
    if (raw.text) {
        CEREUS_TRY(add_missing_unit(load->cfg, info, source, &raw, with_unit, err));
        int64_t low;
        if ((info->flags & CRS_CONFIG_ABOVE_ZERO) && !parse_number(info, raw.text, &low) && low <= 0)
            raw.text = info->fallback;
        CEREUS_TRY(check(info, raw.text, source, &number, err));
    }
    CEREUS_TRY(may_replace(load, info->name, old, by_alias, source, &may, err));
    if (info->flags & CRS_CONFIG_NO_EFFECT)
        note_idle(load, info->name);
    if (!may)
        return CEREUS_OK;
    if (crs_setting_new(&raw, source, load->rank, &fresh))
        return no_memory(err);
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
        return no_memory(err);
    fresh->load = load->id;
    if (crs_strmap_put(&load->cfg->others, cereus_slice_str(key), fresh, NULL)) {
        crs_setting_free(fresh);
        return no_memory(err);
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
        return crs_fail(err, CEREUS_E_INVALID, "%s: a key has at most %d letters (from %s)", shown, CRS_CONFIG_KEY_MAX,
                        source);
    const known_name *known = find_name(key);
    if (known && known->setting)
        return store_setting(load, key_called(known->setting), known->name != known->setting, raw, source, err);
    if (known) {
        note_idle(load, key);
        return store_other(load, key, raw, source, err);
    }
    if (!crs_config_is_ours(key))
        return store_other(load, key, raw, source, err);

    const char *nearest = crs_config_nearest(key);
    const char *hint = nearest ? ", did you mean " : "", *mark = nearest ? "?" : "";
    nearest = nearest ? nearest : "";
    if (load->rank == CRS_RANK_FILE)
        return crs_config_warn(load->cfg, err, "%s: is not a known key%s%s%s (from %s)", shown, hint, nearest, mark,
                               source);
    return crs_fail(err, CEREUS_E_NOT_FOUND, "%s: is not a known key%s%s%s (from %s)", shown, hint, nearest, mark,
                    source);
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
        crs_raw raw = {.text = infos[key].fallback};
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

/* -- reading by enum -- */

static const crs_setting *get(const cereus_config *cfg, crs_config_key key, crs_config_type type)
{
    CRS_ASSERT(cfg && key < CRS_CONFIG_KEYS && infos[key].type == type);
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
    CRS_ASSERT(key < CRS_CONFIG_KEYS && infos[key].choices);
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

/* -- reading by name -- */

static const crs_setting *find_setting(const cereus_config *cfg, const char *name)
{
    char key[CRS_CONFIG_KEY_MAX + 1], variable[CRS_CONFIG_KEY_MAX + 1];
    CRS_ASSERT(cfg && name);
    if (!crs_config_lower(name, key))
        return NULL;
    const known_name *known = find_name(key);
    if (known && known->setting)
        return cfg->settings[key_called(known->setting)];
    const crs_setting *s = crs_strmap_get(&cfg->others, cereus_slice_str(key));
    if (known || (s && s->rank > CRS_RANK_ENV) || !strchr(key, '.'))
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
