/* dispatch/registry.h: services and their methods by route, pipelines. Filled before the start, constant after it. */
#ifndef CRS_DISPATCH_REGISTRY_H
#define CRS_DISPATCH_REGISTRY_H

#include <cereus/handler.h>

#include "base/strmap.h"

typedef struct crs_service {
    char *name;
    cereus_service_options opt;
    uint32_t home_loop;                /* CEREUS_HOME_ONE */
    bool initialised, after_init_done; /* Thread: the one that starts and stops the app */
    size_t method_count;
    struct crs_service *next;
    struct crs_method *methods;
} crs_service;

typedef struct crs_method {
    cereus_method decl;
    const crs_service *service;
    char *route;    /* "type.service.method" */
    uint32_t index; /* 0.. of all methods */
} crs_method;

typedef struct crs_hook { /* a function of the game with its pointer, in a list that keeps the order */
    struct crs_hook *next;
    union {
        cereus_before_fn *before;
        cereus_after_fn *after;
        void (*any)(void);
    } fn;
    void *user;
    char *name; /* NULL, or what it was registered under */
} crs_hook;

typedef struct crs_registry {
    char *server_type;
    crs_service *services; /* in the order registered */
    crs_strmap by_route;   /* "service.method" and "type.service.method" -> crs_method */
    size_t service_count;
    size_t method_count;
    crs_hook *before, *after;
} crs_registry;

CEREUS_MUST_USE cereus_status crs_registry_init(crs_registry *r, const char *server_type);
void crs_registry_fini(crs_registry *r);
/** Can clients say the routes? CEREUS_E_INVALID: the server type is no name. */
CEREUS_MUST_USE cereus_status crs_registry_check(const crs_registry *r, cereus_error *err);
/** As cereus_app_register(). */
cereus_status crs_registry_add(crs_registry *r, const char *name, const cereus_method *methods, size_t method_count,
                               const cereus_service_options *options, cereus_error *err);
/** NULL: no such service. */
crs_service *crs_registry_service(const crs_registry *r, const char *name);

/** The loop where what belongs to @p s (NULL: to no service) runs, unless a session or a key says more. */
static inline uint32_t crs_service_loop(const crs_service *s)
{
    return s && s->opt.home == CEREUS_HOME_ONE ? s->home_loop : 0;
}

/** The method that @p route of a client's message names; NULL: none, ask crs_registry_explain(). Allocates nothing. */
static inline const crs_method *crs_registry_find(const crs_registry *r, cereus_slice route)
{
    return crs_strmap_get(&r->by_route, route);
}

typedef enum crs_route_fault {
    CRS_ROUTE_EMPTY_FIELD, /* "route field can not be empty" */
    CRS_ROUTE_INVALID,     /* "invalid route" */
    CRS_ROUTE_UNKNOWN,     /* of this server's type, but no such service or method */
    CRS_ROUTE_FOREIGN,     /* of another server type */
} crs_route_fault;

/** Why @p route was not found; *ret_type is the server type that it names, nothing for the short form. */
crs_route_fault crs_registry_explain(const crs_registry *r, cereus_slice route, cereus_slice *ret_type);

/** Add @p fn to the end (or the front) of a list. @p name may be NULL; CEREUS_E_NOMEM. */
CEREUS_MUST_USE cereus_status crs_hook_add(crs_hook **list, bool first, const char *name, void (*fn)(void), void *user);
void crs_hook_free_all(crs_hook **list);

#endif
