/* module/module.c: a list with names. */
#include "module/module.h"

crs_module *crs_modules_find(const crs_modules *m, const char *name)
{
    for (crs_module *e = m->first; e; e = e->next) {
        if (strcmp(e->name, name) == 0)
            return e;
    }
    return NULL;
}

static cereus_status add(crs_modules *m, const char *name, const cereus_module *decl, void *user,
                         void (*user_free)(void *user), bool first, cereus_error *err)
{
    if (!name || !*name)
        return crs_fail(err, CEREUS_E_INVALID, "a module needs a name");
    if (crs_modules_find(m, name))
        return crs_fail(err, CEREUS_E_EXISTS, "module with name %s already exists", name);
    crs_module *e = crs_zalloc(sizeof *e);
    if (!e || !(e->name = crs_strdup(name))) {
        crs_free(e);
        return crs_fail(err, CEREUS_E_NOMEM, "module \"%s\": out of memory", name);
    }
    e->decl = *decl;
    e->user = user;
    e->user_free = user_free;
    e->next = first ? m->first : NULL;
    e->prev = first ? NULL : m->last;
    *(e->prev ? &e->prev->next : &m->first) = e;
    *(e->next ? &e->next->prev : &m->last) = e;
    return CEREUS_OK;
}

cereus_status crs_modules_add(crs_modules *m, const char *name, const cereus_module *decl, void *user,
                              void (*user_free)(void *user), bool first, cereus_error *err)
{
    cereus_status st = add(m, name, decl, user, user_free, first, err);
    if (st && user_free)
        user_free(user);
    return st;
}

void crs_modules_fini(crs_modules *m)
{
    while (m->first) {
        crs_module *next = m->first->next;
        if (m->first->user_free)
            m->first->user_free(m->first->user);
        crs_free(m->first->name);
        crs_free(m->first);
        m->first = next;
    }
    m->last = NULL;
}
