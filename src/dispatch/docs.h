/* dispatch/docs.h: what the routes of registries take and give, as a JSON value, and the handlers that tell it to tools. */
#ifndef CRS_DISPATCH_DOCS_H
#define CRS_DISPATCH_DOCS_H

#include <jansson.h>

#include "dispatch/registry.h"

/** As cereus_app_documentation(). @param remotes  NULL: nobody can call them, none is listed */
json_t *crs_docs_json(const crs_registry *handlers, const crs_registry *remotes, bool type_names);

/** The documentation as a remote: takes protos.DocMsg, which says whether type names are wanted. */
cereus_method crs_docs_remote_method(const char *name);

/**
 * The text that the documentation routes answer.
 * @param remotes   NULL: nobody can call them
 * @param ret_text  set on CEREUS_OK; NULL: nobody asks for it. The text with type names is asked for by cereus_docs_method()
 *                  among @p handlers, both by crs_docs_remote_method() among @p remotes
 * @return CEREUS_OK; CEREUS_E_NOMEM. Ownership: gives, free it with crs_free().
 */
CEREUS_MUST_USE cereus_status crs_docs_text(const crs_registry *handlers, const crs_registry *remotes, bool type_names,
                                            char **ret_text);

#endif
