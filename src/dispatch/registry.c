/* dispatch/registry.c: checks a service's table once, so that a call needs one look-up. */
#include "dispatch/registry.h"

#include "base/utf8.h"
#include "wire/message.h"

cereus_status crs_registry_init(crs_registry *r, const char *server_type)
{
    *r = (crs_registry){0};
    crs_strmap_init(&r->by_route);
    r->server_type = crs_strdup(server_type);
    return r->server_type ? CEREUS_OK : CEREUS_E_NOMEM;
}

static void free_service(crs_service *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->methods && i < s->method_count; i++)
        crs_free(s->methods[i].route);
    crs_free(s->methods);
    crs_free(s->name);
    crs_free(s);
}

void crs_registry_fini(crs_registry *r)
{
    while (r->services) {
        crs_service *next = r->services->next;
        free_service(r->services);
        r->services = next;
    }
    crs_strmap_fini(&r->by_route);
    crs_hook_free_all(&r->before);
    crs_hook_free_all(&r->after);
    crs_free(r->server_type);
    *r = (crs_registry){0};
}

crs_service *crs_registry_service(const crs_registry *r, const char *name)
{
    for (crs_service *s = r->services; s; s = s->next) {
        if (strcmp(s->name, name) == 0)
            return s;
    }
    return NULL;
}

static bool good_name(const char *name)
{
    if (!name || !*name || !crs_utf8_valid(cereus_slice_str(name)))
        return false;
    for (const char *p = name; *p; p++) {
        if (*p == '.' || (unsigned char)*p <= ' ' || *p == 0x7f)
            return false;
    }
    return true;
}

cereus_status crs_registry_check(const crs_registry *r, cereus_error *err)
{
    if (good_name(r->server_type))
        return CEREUS_OK;
    return crs_fail(err, CEREUS_E_INVALID,
                    "app type \"%s\": it is the first part of the routes TYPE.SERVICE.METHOD; give cereus_app_new() a "
                    "type without dots and blanks, like \"game\"",
                    r->server_type);
}

static cereus_status check_method(const crs_registry *r, const char *service, const cereus_method *m, size_t index,
                                  cereus_error *err)
{
    if (!good_name(m->name))
        return crs_fail(err, CEREUS_E_INVALID, "service \"%s\": method number %zu needs a name without dots and blanks",
                        service, index + 1);
    const char *wrong = NULL;
    if (!!m->fn + !!m->raw + !!m->json != 1)
        wrong = "set exactly one of fn, raw, json";
    else if (m->raw && (m->in != CEREUS_RAW || (m->out != CEREUS_RAW && m->out != CEREUS_NOTHING)))
        wrong = "a raw function takes CEREUS_RAW and gives CEREUS_RAW or nothing";
    else if (m->json && (m->in != CEREUS_JSON || (m->out != CEREUS_JSON && m->out != CEREUS_NOTHING)))
        wrong = "a json function takes CEREUS_JSON and gives CEREUS_JSON or nothing";
    else if (m->in == CEREUS_MESSAGE && !m->in_type)
        wrong = "in is CEREUS_MESSAGE, so in_type must be its descriptor";
    else if (m->out == CEREUS_MESSAGE && !m->out_type)
        wrong = "out is CEREUS_MESSAGE, so out_type must be its descriptor";
    else if ((unsigned)m->in > CEREUS_JSON || (unsigned)m->out > CEREUS_JSON)
        wrong = "in and out must be a cereus_shape";
    if (wrong)
        return crs_fail(err, CEREUS_E_INVALID, "service \"%s\": method \"%s\": %s", service, m->name, wrong);
    size_t len = strlen(r->server_type) + strlen(service) + strlen(m->name) + 2;
    if (len > CRS_ROUTE_LEN_MAX) /* F-69: no client could say it */
        return crs_fail(err, CEREUS_E_INVALID,
                        "service \"%.40s\": the route of method \"%.40s\" has %zu bytes, a route may have %d", service,
                        m->name, len, CRS_ROUTE_LEN_MAX);
    return CEREUS_OK;
}

cereus_status crs_registry_add(crs_registry *r, const char *name, const cereus_method *methods, size_t method_count,
                               const cereus_service_options *options, cereus_error *err)
{
    if (!good_name(name))
        return crs_fail(err, CEREUS_E_INVALID, "a service needs a name without dots and blanks, not \"%s\"",
                        name ? name : "");
    if (crs_registry_service(r, name))
        return crs_fail(err, CEREUS_E_EXISTS,
                        "service \"%s\" is registered already: give this one another name, or both one table", name);
    if (method_count == 0)
        return crs_fail(err, CEREUS_E_INVALID,
                        "service \"%s\" has no methods: give cereus_app_register() a table of them", name);
    if (options && options->home == CEREUS_HOME_KEY && !options->key)
        return crs_fail(err, CEREUS_E_INVALID, "service \"%s\": CEREUS_HOME_KEY needs a key function", name);
    for (size_t i = 0; i < method_count; i++) {
        CEREUS_TRY(check_method(r, name, &methods[i], i, err));
        for (size_t j = 0; j < i; j++) {
            if (strcmp(methods[i].name, methods[j].name) == 0)
                return crs_fail(err, CEREUS_E_EXISTS,
                                "service \"%s\": method \"%s\" stands in the table twice, remove or rename one", name,
                                methods[i].name);
        }
    }

    crs_service *s = crs_zalloc(sizeof *s);
    if (!s)
        goto no_memory;
    s->name = crs_strdup(name);
    s->methods = crs_zalloc(method_count * sizeof *s->methods);
    s->method_count = method_count;
    if (!s->name || !s->methods)
        goto no_memory;
    if (options)
        s->opt = *options;
    s->home_loop = (uint32_t)r->service_count; /* folded into the number of loops at the start */
    for (size_t i = 0; i < method_count; i++) {
        crs_method *m = &s->methods[i];
        m->decl = methods[i];
        m->service = s;
        m->index = (uint32_t)(r->method_count + i);
        size_t len = strlen(r->server_type) + strlen(name) + strlen(methods[i].name) + 3;
        m->route = crs_malloc(len);
        if (!m->route)
            goto no_memory;
        char *at = stpcpy(stpcpy(m->route, r->server_type), ".");
        const char *short_form = at;
        stpcpy(stpcpy(stpcpy(at, name), "."), methods[i].name);
        if (crs_strmap_put(&r->by_route, cereus_slice_str(m->route), m, NULL) ||
            crs_strmap_put(&r->by_route, cereus_slice_str(short_form), m, NULL))
            goto no_memory;
    }
    crs_service **tail = &r->services;
    while (*tail)
        tail = &(*tail)->next;
    *tail = s;
    r->service_count++;
    r->method_count += method_count;
    return CEREUS_OK;

no_memory:
    for (size_t i = 0; s && s->methods && i < method_count && s->methods[i].route; i++) {
        const char *route = s->methods[i].route;
        crs_strmap_del(&r->by_route, cereus_slice_str(route));
        crs_strmap_del(&r->by_route, cereus_slice_str(route + strlen(r->server_type) + 1));
    }
    free_service(s);
    return crs_fail(err, CEREUS_E_NOMEM, "service \"%s\": out of memory", name);
}

crs_route_fault crs_registry_explain(const crs_registry *r, cereus_slice route, cereus_slice *ret_type)
{
    cereus_slice fields[3];
    size_t count = 0;
    bool empty = false;
    const uint8_t *at = route.data, *end = route.data + route.len;
    for (;;) { /* Pitaya splits at every dot, and looks for empty fields before it counts them */
        const uint8_t *dot = at < end ? memchr(at, '.', (size_t)(end - at)) : NULL;
        const uint8_t *stop = dot ? dot : end;
        bool blank = true;
        for (const uint8_t *p = at; p < stop; p++)
            blank = blank && (*p == ' ' || (*p >= '\t' && *p <= '\r'));
        empty = empty || blank;
        if (count < 3)
            fields[count] = cereus_slice_of(at, (size_t)(stop - at));
        count++;
        if (!dot)
            break;
        at = dot + 1;
    }
    *ret_type = (cereus_slice){0};
    if (empty)
        return CRS_ROUTE_EMPTY_FIELD;
    if (count != 2 && count != 3)
        return CRS_ROUTE_INVALID;
    if (count == 2)
        return CRS_ROUTE_UNKNOWN;
    *ret_type = fields[0];
    return crs_slice_eq(fields[0], cereus_slice_str(r->server_type)) ? CRS_ROUTE_UNKNOWN : CRS_ROUTE_FOREIGN;
}

cereus_status crs_hook_add(crs_hook **list, bool first, const char *name, void (*fn)(void), void *user)
{
    crs_hook *hook = crs_zalloc(sizeof *hook);
    if (!hook)
        return CEREUS_E_NOMEM;
    hook->fn.any = fn;
    hook->user = user;
    if (name && !(hook->name = crs_strdup(name))) {
        crs_free(hook);
        return CEREUS_E_NOMEM;
    }
    while (!first && *list)
        list = &(*list)->next;
    hook->next = *list;
    *list = hook;
    return CEREUS_OK;
}

void crs_hook_free_all(crs_hook **list)
{
    while (*list) {
        crs_hook *next = (*list)->next;
        crs_free((*list)->name);
        crs_free(*list);
        *list = next;
    }
}
