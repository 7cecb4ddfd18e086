/* module/module.h: the modules of an app, in the order in which they start. Filled before the start, constant after it.
 */
#ifndef CRS_MODULE_MODULE_H
#define CRS_MODULE_MODULE_H

#include <cereus/module.h>

#include "base/base.h"

typedef struct crs_module {
    struct crs_module *next, *prev;
    char *name;
    cereus_module decl;
    void *user;
    void (*user_free)(void *user); /* NULL: the game's own */
    bool initialised;              /* Thread: the one that starts and stops the app */
    bool after_init_done;          /* the same */
} crs_module;

typedef struct crs_modules {
    crs_module *first, *last;
} crs_modules;

/** As cereus_app_add_module(). @p user_free is called with @p user when the table ends, and when this fails. */
cereus_status crs_modules_add(crs_modules *m, const char *name, const cereus_module *decl, void *user,
                              void (*user_free)(void *user), bool first, cereus_error *err);
/** NULL: none of that name. */
crs_module *crs_modules_find(const crs_modules *m, const char *name);
void crs_modules_fini(crs_modules *m);

#endif
