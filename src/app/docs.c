/* app/docs.c: the parts of cereus/docs.h that a game calls on its app. */
#include <cereus/docs.h>

#include "app/app_priv.h"
#include "dispatch/descriptors.h"
#include "dispatch/docs.h"

cereus_status cereus_app_add_descriptors(cereus_app *app, const void *set, size_t len, cereus_error *err)
{
    if (app->state != CRS_APP_SETUP)
        return crs_fail(err, CEREUS_E_STATE, "you shouldn't change descriptors while the app is already running");
    return crs_descriptors_add(app->core.descriptors, cereus_slice_of(set, len), err);
}

cereus_status cereus_app_descriptor(cereus_app *app, const char *name, cereus_slice *ret_gzip, cereus_error *err)
{
    return crs_descriptors_find(app->core.descriptors, cereus_slice_str(name), ret_gzip, err);
}

json_t *cereus_app_documentation(cereus_app *app, bool type_names)
{
    return crs_docs_json(&app->core.registry, type_names);
}

cereus_status cereus_app_register_docs(cereus_app *app, const char *service, cereus_error *err)
{
    const cereus_method methods[] = {cereus_docs_method("docs"), cereus_descriptors_method("protos")};
    const cereus_service_options options = {.home = CEREUS_HOME_SESSION}; /* they have no state */
    return cereus_app_register(app, service, methods, CEREUS_COUNT(methods), &options, err);
}
