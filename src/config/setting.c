/* config/setting.c: one value with its text, its items and where it came from. */
#include "config/config_priv.h"

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
