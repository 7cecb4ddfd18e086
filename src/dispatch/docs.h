/* dispatch/docs.h: what the routes of registries take and give, as a JSON value, and the handlers that tell it to tools. */
#ifndef CRS_DISPATCH_DOCS_H
#define CRS_DISPATCH_DOCS_H

#include <jansson.h>

#include "dispatch/registry.h"

/** As cereus_app_documentation(). @param remotes  NULL: nobody can call them, none is listed */
json_t *crs_docs_json(const crs_registry *handlers, const crs_registry *remotes, bool type_names);

/**
 * The text that the documentation route answers.
 * @param ret_text  set on CEREUS_OK; NULL: no method of @p handlers is cereus_docs_method()
 * @return CEREUS_OK; CEREUS_E_NOMEM. Ownership: gives, free it with crs_free().
 */
CEREUS_MUST_USE cereus_status crs_docs_text(const crs_registry *handlers, const crs_registry *remotes, char **ret_text);

#endif
