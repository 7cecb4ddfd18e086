/* config/print.c: all settings with where they came from: a table for people, YAML that loads again, JSON. Secrets are
 * shown to nobody. */
#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

#include "config/config_priv.h"

#define MASK "***"

typedef struct row {
    const char *key;
    const crs_setting *setting;
    const crs_config_info *info; /* NULL: a key that has no row in the table */
} row;

typedef struct rows {
    size_t count;
    row list[];
} rows;

static int by_key(const void *a, const void *b)
{
    return strcmp(((const row *)a)->key, ((const row *)b)->key);
}

/* Ours in the table's order, then what else the files and flags set, by name. NULL: out of memory. */
static rows *collect(const cereus_config *cfg)
{
    rows *all = crs_malloc(sizeof *all + (CRS_CONFIG_KEYS + cfg->others.count) * sizeof *all->list);
    if (!all)
        return NULL;
    all->count = 0;
    for (size_t key = 0; key < CRS_CONFIG_KEYS; key++) {
        const crs_config_info *info = crs_config_info_of((crs_config_key)key);
        all->list[all->count++] = (row){.key = info->name, .setting = cfg->settings[key], .info = info};
    }
    size_t iter = 0;
    cereus_slice key;
    void *value;
    while (crs_strmap_next(&cfg->others, &iter, &key, &value)) /* keys of a map end with a NUL */
        all->list[all->count++] = (row){.key = (const char *)key.data, .setting = value};
    qsort(all->list + CRS_CONFIG_KEYS, all->count - CRS_CONFIG_KEYS, sizeof *all->list, by_key);
    return all;
}

/* A key without a row says by its last word that it is one. */
static bool is_secret(const row *r)
{
    static const char *const words[] = {"pass", "secret", "token", "credential"};
    if (r->info)
        return r->info->flags & CRS_CONFIG_SECRET;
    const char *last = strrchr(r->key, '.') ? strrchr(r->key, '.') + 1 : r->key;
    for (size_t i = 0; i < CEREUS_COUNT(words); i++) {
        if (strstr(last, words[i]))
            return true;
    }
    return false;
}

/* @p text without the user and password of a URL, to be freed. NULL: out of memory. */
static char *masked(const row *r, const char *text)
{
    const char *scheme = strstr(text, "://");
    const char *user = scheme ? scheme + 3 : text;
    const char *at = scheme ? memchr(user, '@', strcspn(user, "/?#,")) : NULL;
    if (is_secret(r))
        return crs_strdup(*text ? MASK : "");
    if (!at)
        return crs_strdup(text);
    size_t len = (size_t)(user - text) + strlen(MASK) + strlen(at) + 1;
    char *out = crs_malloc(len);
    if (out)
        snprintf(out, len, "%.*s" MASK "%s", (int)(user - text), text, at);
    return out;
}

/* A line is a line, and a terminal is not to be commanded: by the name of a file, say. */
static cereus_status append_plain(crs_bytes *out, const char *text, size_t width)
{
    size_t start = out->len;
    CEREUS_TRY(crs_bytes_printf(out, "%-*s", (int)width, text));
    for (size_t i = start; i < out->len; i++) {
        if (out->data[i] < ' ' || out->data[i] == 0x7f)
            out->data[i] = '?';
    }
    return CEREUS_OK;
}

/* ---- the table ---- */

/* Columns as wide as what stands in them, but no wider than a reasonable screen lets them be. */
static cereus_status print_table(const rows *all, crs_bytes *out)
{
    enum { VALUE_WIDTH_MAX = 32 };
    size_t key_width = strlen("KEY"), value_width = strlen("VALUE");
    for (size_t i = 0; i < all->count; i++) {
        size_t len = strnlen(all->list[i].setting->text, VALUE_WIDTH_MAX);
        key_width = CRS_MAX(key_width, strlen(all->list[i].key));
        value_width = CRS_MAX(value_width, len);
    }
    CEREUS_TRY(crs_bytes_printf(out, "%-*s  %-*s  FROM\n", (int)key_width, "KEY", (int)value_width, "VALUE"));
    for (size_t i = 0; i < all->count; i++) {
        const row *r = &all->list[i];
        char *text = masked(r, r->setting->text);
        cereus_status st = text ? append_plain(out, r->key, key_width + 2) : CEREUS_E_NOMEM;
        st = st ? st : append_plain(out, text, value_width);
        crs_free(text);
        CEREUS_TRY(st);
        CEREUS_TRY(crs_bytes_append_str(out, "  "));
        CEREUS_TRY(append_plain(out, r->setting->source, 0));
        CEREUS_TRY(crs_bytes_append_byte(out, '\n'));
    }
    return CEREUS_OK;
}

/* ---- JSON, and through it the texts of YAML, whose double quotes take the same escapes ---- */

static json_t *value_of(const row *r)
{
    const crs_setting *s = r->setting;
    bool list = r->info && r->info->type == CRS_CONFIG_LIST;
    if (r->info && r->info->type == CRS_CONFIG_BOOL)
        return json_boolean(s->number);
    if (r->info && r->info->type == CRS_CONFIG_INT)
        return json_integer(s->number);
    json_t *array = list ? json_array() : NULL, *one = NULL;
    for (size_t i = 0; i < (list ? s->item_count : 1); i++) {
        char *text = masked(r, list ? s->items[i] : s->text);
        one = text ? json_string(text) : NULL;
        if (text && !one)
            one = json_string("(not UTF-8)");
        crs_free(text);
        if (list)
            json_array_append_new(array, one);
    }
    return list ? array : one;
}

static cereus_status append_json(crs_bytes *out, json_t *json, size_t flags)
{
    char *text = json ? json_dumps(json, flags | JSON_ENCODE_ANY) : NULL;
    cereus_status st = text ? crs_bytes_append_str(out, text) : CEREUS_E_NOMEM;
    free(text); /* jansson's */
    return st;
}

static cereus_status print_json(const rows *all, crs_bytes *out)
{
    json_t *root = json_object();
    for (size_t i = 0; i < all->count; i++) {
        const row *r = &all->list[i];
        json_t *source = json_string(r->setting->source);
        json_object_set_new(
            root, r->key,
            json_pack("{s:o, s:o}", "value", value_of(r), "from", source ? source : json_string("(not UTF-8)")));
    }
    cereus_status st = append_json(out, root, JSON_INDENT(2));
    json_decref(root);
    return st ? st : crs_bytes_append_byte(out, '\n');
}

/* A file that gives the same settings when it is loaded; what is secret has to be filled in. */
static cereus_status print_yaml(const rows *all, crs_bytes *out)
{
    for (size_t i = 0; i < all->count; i++) {
        const row *r = &all->list[i];
        if (r->info && (r->info->flags & CRS_CONFIG_NO_EFFECT) && r->setting->rank == CRS_RANK_DEFAULT)
            continue; /* it would be warned about */
        bool word = r->key[strspn(r->key, "abcdefghijklmnopqrstuvwxyz0123456789._-")] == '\0';
        json_t *key = json_string(r->key), *value = value_of(r);
        cereus_status st = word ? crs_bytes_append_str(out, r->key) : append_json(out, key, 0);
        st = st ? st : crs_bytes_append_str(out, ": ");
        st = st ? st : append_json(out, value, 0);
        json_decref(key);
        json_decref(value);
        CEREUS_TRY(st);
        CEREUS_TRY(crs_bytes_append_str(out, "  # "));
        CEREUS_TRY(append_plain(out, r->setting->source, 0));
        CEREUS_TRY(crs_bytes_append_byte(out, '\n'));
    }
    return CEREUS_OK;
}

cereus_status crs_config_print(const cereus_config *cfg, crs_config_format format, crs_bytes *out)
{
    rows *all = collect(cfg);
    if (!all)
        return CEREUS_E_NOMEM;
    cereus_status st = CEREUS_OK;
    switch (format) {
    case CRS_CONFIG_TABLE:
        st = print_table(all, out);
        break;
    case CRS_CONFIG_YAML:
        st = print_yaml(all, out);
        break;
    case CRS_CONFIG_JSON:
        st = print_json(all, out);
        break;
    }
    crs_free(all);
    return st;
}
