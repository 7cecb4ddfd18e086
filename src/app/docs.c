/* app/docs.c: what a game tells its app of its messages, and what the app tells of them: cereus/docs.h, rules.h. */
#include <cereus/docs.h>
#include <cereus/remote.h>

#include "app/app_priv.h"
#include "dispatch/descriptors.h"
#include "dispatch/docs.h"

cereus_status cereus_app_add_descriptors(cereus_app *app, const void *set, size_t len, cereus_error *err)
{
    if (app->state != CRS_APP_SETUP)
        return crs_fail(err, CEREUS_E_STATE, "you shouldn't change descriptors while the app is already running");
    return crs_descriptors_add(app->core.descriptors, cereus_slice_of(set, len), err);
}

cereus_status cereus_app_add_rules(cereus_app *app, const struct ProtobufCMessageDescriptor *type,
                                   const cereus_rule *rules, size_t rule_count, cereus_error *err)
{
    if (app->state != CRS_APP_SETUP)
        return crs_fail(err, CEREUS_E_STATE, "you shouldn't change rules while the app is already running");
    return crs_rules_add(app->core.rules, type, rules, rule_count, err);
}

cereus_status cereus_app_descriptor(cereus_app *app, const char *name, cereus_slice *ret_gzip, cereus_error *err)
{
    return crs_descriptors_find(app->core.descriptors, cereus_slice_str(name), ret_gzip, err);
}

/* As in Pitaya, a server that is alone lists none: nobody can call them. */
static const crs_registry *listed_remotes(const cereus_app *app)
{
    return app->core.cluster ? &app->core.remotes : NULL;
}

json_t *cereus_app_documentation(cereus_app *app, bool type_names)
{
    return crs_docs_json(&app->core.registry, listed_remotes(app), type_names);
}

typedef void any_fn(void);

static cereus_status prepare_rules(cereus_app *app, cereus_error *err)
{
    crs_registry *r = &app->core.registry;
    if (!crs_config_bool(app->config, CRS_KEY_STRUCT_VALIDATION))
        return CEREUS_OK;
    cereus_status st = CEREUS_OK;
    for (const crs_service *s = r->services; !st && s; s = s->next) {
        for (size_t i = 0; !st && i < s->method_count; i++) {
            if (s->methods[i].decl.in == CEREUS_MESSAGE)
                st = crs_rules_prepare(app->core.rules, s->methods[i].decl.in_type);
        }
    }
    if (!st && (!r->before || r->before->fn.before != crs_rules_before)) /* else it is there already */
        st = crs_hook_add(&r->before, true, NULL, (any_fn *)crs_rules_before, app->core.rules);
    return st ? crs_fail(err, st, "the rules of fields: %s", cereus_status_text(st)) : CEREUS_OK;
}

cereus_status crs_app_prepare_messages(cereus_app *app, cereus_error *err)
{
    const crs_registry *remotes = listed_remotes(app);
    crs_free(app->core.docs_text);
    crs_free(app->core.docs_plain_text);
    app->core.docs_text = app->core.docs_plain_text = NULL;
    if (crs_docs_text(&app->core.registry, remotes, true, &app->core.docs_text) ||
        crs_docs_text(&app->core.registry, remotes, false, &app->core.docs_plain_text))
        return crs_fail(err, CEREUS_E_NOMEM, "the documentation of the routes: out of memory");
    return prepare_rules(app, err);
}

cereus_status cereus_app_register_docs(cereus_app *app, const char *service, cereus_error *err)
{
    const cereus_method methods[] = {cereus_docs_method("docs"), cereus_descriptors_method("protos")};
    const cereus_service_options options = {.home = CEREUS_HOME_SESSION}; /* they have no state */
    return cereus_app_register(app, service, methods, CEREUS_COUNT(methods), &options, err);
}

cereus_status cereus_app_register_docs_remote(cereus_app *app, const char *name, cereus_error *err)
{
    const cereus_method methods[] = {crs_docs_remote_method("docs"), cereus_descriptors_method("descriptor")};
    const cereus_service_options options = {.home = CEREUS_HOME_SESSION}; /* as above */
    return cereus_app_register_remote(app, name, methods, CEREUS_COUNT(methods), &options, err);
}
