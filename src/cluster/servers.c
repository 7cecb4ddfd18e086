/* cluster/servers.c: sorted by type, then by id; look-ups by type are a binary search, those by id a hash. */
#include "cluster/servers.h"

#include <jansson.h>
#include <stdatomic.h>
#include <strings.h>

#include "base/strmap.h"
#include "dispatch/call.h"

struct crs_server {
    cereus_server view;
    uint64_t hash;
    atomic_uint refs;
    char texts[];
};

struct crs_servers {
    atomic_uint refs;
    crs_strmap by_id;
    size_t count;
    crs_server *all[];
};

/* ---- one server ---- */

/** Part of subjects, keys and paths. */
static bool good_name(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > CRS_SERVER_NAME_MAX)
        return false;
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
        if (*p == '/' || *p <= ' ' || *p == 0x7f)
            return false;
    }
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/** A member by a name without regard to case, as Go reads it; the exact one first. */
static const json_t *member(const json_t *object, const char *name)
{
    const json_t *exact = json_object_get(object, name);
    const char *key;
    json_t *value;
    if (exact)
        return exact;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (strcasecmp(key, name) == 0)
            return value;
    }
    return NULL;
}

/** NULL: no string, or one that C would cut short. */
static const char *text_of(const json_t *value)
{
    const char *text = json_string_value(value);
    return text && strlen(text) == json_string_length(value) ? text : NULL;
}

static bool strings_only(const json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!json_is_string(value))
            return false;
    }
    return true;
}

static char *keep(char **at, const char *text)
{
    char *copy = *at;
    *at = stpcpy(copy, text) + 1;
    return copy;
}

cereus_status crs_server_parse(cereus_slice json, crs_server **ret_server)
{
    json_error_t jerr;
    /* on a fiber's stack, so not just any depth */
    json_t *root = json.len < 64 * 1024 ? crs_json_parse(json, 0, &jerr) : NULL;
    const json_t *meta = member(root, "metadata"), *frontend = member(root, "frontend");
    const json_t *host = member(root, "hostname"), *draining = member(root, "draining");
    const char *id = text_of(member(root, "id")), *type = text_of(member(root, "type"));
    const char *hostname = host ? text_of(host) : "";
    bool bad = !id || !type || !hostname || !good_name(id) || !good_name(type) ||
               (frontend && !json_is_boolean(frontend)) || (draining && !json_is_boolean(draining)) ||
               (meta && !json_is_null(meta) && !(json_is_object(meta) && strings_only(meta)));
    crs_bytes text;
    crs_bytes_init(&text, 64 * 1024);
    cereus_status st = bad ? CEREUS_E_MALFORMED : CEREUS_OK;
    if (!st && json_is_object(meta))
        st = crs_json_text(meta, &text);
    else if (!st)
        st = crs_bytes_append_str(&text, "{}");
    crs_server *s = NULL;
    if (!st) {
        s = crs_zalloc(sizeof *s + strlen(id) + strlen(type) + strlen(hostname) + text.len + 4);
        if (!s)
            st = CEREUS_E_NOMEM;
    }
    if (s) {
        char *at = s->texts;
        atomic_init(&s->refs, 1);
        s->view.id = keep(&at, id);
        s->view.type = keep(&at, type);
        s->view.hostname = keep(&at, hostname);
        s->hash = crs_hash_bytes(id, strlen(id));
        s->view.frontend = json_is_true(frontend);
        s->view.draining = json_is_true(draining);
        s->view.metadata = memcpy(at, text.data, text.len);
        *ret_server = s;
    }
    crs_bytes_fini(&text);
    json_decref(root);
    return st;
}

char *crs_server_text(const cereus_server *server)
{
    crs_bytes text;
    crs_bytes_init(&text, 128 * 1024);
    const char *keys[] = {"{\"id\":", ",\"type\":", ",\"metadata\":", ",\"frontend\":", ",\"hostname\":"};
    json_t *values[] = {json_string(server->id), json_string(server->type), json_loads(server->metadata, 0, NULL),
                        json_boolean(server->frontend), json_string(server->hostname)};
    cereus_status st = CEREUS_OK;
    for (size_t i = 0; i < CEREUS_COUNT(keys); i++) { /* in the order in which Go writes them */
        if (!st)
            st = values[i] ? crs_bytes_append_str(&text, keys[i]) : CEREUS_E_NOMEM;
        if (!st)
            st = crs_json_text(values[i], &text);
        json_decref(values[i]);
    }
    if (!st && server->draining) /* servers of Pitaya pass it over */
        st = crs_bytes_append_str(&text, ",\"draining\":true");
    if (!st)
        st = crs_bytes_append(&text, "}", 2); /* its NUL too */
    if (st)
        crs_bytes_fini(&text);
    return (char *)text.data;
}

crs_server *crs_server_ref(crs_server *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

crs_server *crs_server_unref(crs_server *s)
{
    /* acq_rel: whoever frees it sees all that the others did with it */
    if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        crs_free(s);
    return NULL;
}

const cereus_server *crs_server_view(const crs_server *s)
{
    return &s->view;
}

uint64_t crs_server_hash(const crs_server *s)
{
    return s->hash;
}

/* ---- lists ---- */

static int compare(const void *a, const void *b)
{
    const crs_server *x = *(crs_server *const *)a, *y = *(crs_server *const *)b;
    int order = strcmp(x->view.type, y->view.type);
    if (order == 0)
        order = x->view.draining - y->view.draining;
    return order ? order : strcmp(x->view.id, y->view.id);
}

crs_servers *crs_servers_new(crs_server *const *servers, size_t count)
{
    crs_servers *list = count <= CRS_SERVERS_MAX ? crs_zalloc(sizeof *list + count * sizeof *list->all) : NULL;
    if (!list)
        return NULL;
    atomic_init(&list->refs, 1);
    crs_strmap_init(&list->by_id);
    for (size_t i = 0; i < count; i++) {
        void *old = NULL;
        if (crs_strmap_put(&list->by_id, cereus_slice_str(servers[i]->view.id), servers[i], &old) != CEREUS_OK)
            return crs_servers_unref(list);
        for (size_t j = 0; old && j < list->count; j++) {
            if (list->all[j] == old) {
                crs_server_unref(old);
                list->all[j] = list->all[--list->count];
                break;
            }
        }
        list->all[list->count++] = crs_server_ref(servers[i]);
    }
    qsort(list->all, list->count, sizeof *list->all, compare);
    return list;
}

crs_servers *crs_servers_changed(const crs_servers *list, crs_server *add, const char *id)
{
    crs_server **all = crs_malloc((list->count + 1) * sizeof *all);
    size_t count = 0;
    if (!all)
        return NULL;
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->all[i]->view.id, add ? add->view.id : id) != 0)
            all[count++] = list->all[i];
    }
    if (add)
        all[count++] = add;
    crs_servers *changed = crs_servers_new(all, count);
    crs_free(all);
    return changed;
}

crs_servers *crs_servers_ref(crs_servers *list)
{
    atomic_fetch_add_explicit(&list->refs, 1, memory_order_relaxed);
    return list;
}

crs_servers *crs_servers_unref(crs_servers *list)
{
    if (!list || atomic_fetch_sub_explicit(&list->refs, 1, memory_order_acq_rel) != 1)
        return NULL;
    for (size_t i = 0; i < list->count; i++)
        crs_server_unref(list->all[i]);
    crs_strmap_fini(&list->by_id);
    crs_free(list);
    return NULL;
}

size_t crs_servers_count(const crs_servers *list)
{
    return list->count;
}

crs_server *crs_servers_at(const crs_servers *list, size_t i)
{
    CRS_ASSERT(i < list->count);
    return list->all[i];
}

crs_server *crs_servers_by_id(const crs_servers *list, cereus_slice id)
{
    return crs_strmap_get(&list->by_id, id);
}

static int compare_type(const crs_server *s, cereus_slice type)
{
    size_t len = strlen(s->view.type);
    int order = memcmp(s->view.type, type.len ? (const char *)type.data : "", CRS_MIN(len, type.len));
    return order ? order : (len > type.len) - (len < type.len);
}

/** The first that is not before @p type, or (@p after) the first behind all of it. */
static size_t bound(const crs_servers *list, cereus_slice type, bool after)
{
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = compare_type(list->all[mid], type);
        if (order < 0 || (after && order == 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

size_t crs_servers_of_type(const crs_servers *list, cereus_slice type, size_t *ret_count)
{
    size_t first = bound(list, type, false);
    *ret_count = bound(list, type, true) - first;
    return first;
}

size_t crs_servers_open(const crs_servers *list, cereus_slice type, size_t *ret_count)
{
    size_t count, first = crs_servers_of_type(list, type, &count), open = count;
    while (open > 0 && list->all[first + open - 1]->view.draining)
        open--;
    *ret_count = open ? open : count;
    return first;
}
