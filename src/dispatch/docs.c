/* dispatch/docs.c: see docs.h and cereus/docs.h. Fields go by their names in the .proto, which are their names in JSON,
 * and types by their names in Go, because that is what Pitaya's tools show and read (behaviour.md 23).
 *
 * A type inside itself is named, not opened (F-65), and so is one that is nested deeper, or comes after more fields of
 * one body, than anybody reads: types that use each other may unfold to very many. The text is made once, before the
 * start: routes do not change after it, and handlers have small stacks. */
#include "dispatch/docs.h"

#include <cereus/docs.h>
#include <protobuf-c/protobuf-c.h>

#include "dispatch/context.h"
#include "dispatch/descriptors.h"
#include "serialize/fields.h"
#include "wire/packet.h"

#include "dispatch/pitaya_doc.pb-c.h"
#include "dispatch/pitaya_docmsg.pb-c.h"
#include "dispatch/pitaya_protodescriptor.pb-c.h"

enum {
    DEPTH_MAX = 16,
    FIELDS_MAX = 4096, /* of one body */
    NAME_MAX_LEN = 512,
};

/* One body being described. */
typedef struct writer {
    bool type_names;
    size_t fields_left;
} writer;

/* A message that is open, and those around it. */
typedef struct level {
    const struct level *outer;
    const ProtobufCMessageDescriptor *type;
    unsigned depth;
} level;

static const char *scalar_name(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return "int32";
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return "int64";
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return "uint32";
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return "uint64";
    case PROTOBUF_C_TYPE_FLOAT:
        return "float32";
    case PROTOBUF_C_TYPE_DOUBLE:
        return "float64";
    case PROTOBUF_C_TYPE_BOOL:
        return "bool";
    case PROTOBUF_C_TYPE_STRING:
        return "string";
    case PROTOBUF_C_TYPE_BYTES:
        return "[]byte";
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    return "";
}

/* The type of one element as text; messages begin with a star, as Go's pointers do. */
static void put_type_name(const ProtobufCFieldDescriptor *f, char out[NAME_MAX_LEN])
{
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        snprintf(out, NAME_MAX_LEN, "*%s", ((const ProtobufCMessageDescriptor *)f->descriptor)->name);
        return;
    }
    if (f->type != PROTOBUF_C_TYPE_ENUM) {
        snprintf(out, NAME_MAX_LEN, "%s", scalar_name(f->type));
        return;
    }
    const ProtobufCEnumDescriptor *e = f->descriptor; /* Go calls the enum Color of message Car Car_Color */
    snprintf(out, NAME_MAX_LEN, "%s", e->name);
    size_t package_len = strlen(e->package_name);
    for (char *p = out + CRS_MIN(strlen(out), package_len ? package_len + 1 : 0); *p; p++) {
        if (*p == '.')
            *p = '_';
    }
}

static json_t *describe_message(writer *w, const ProtobufCMessageDescriptor *type, const level *outer);

/* One element of the field. NULL: out of memory, as everywhere here. */
static json_t *describe_element(writer *w, const ProtobufCFieldDescriptor *f, const level *in)
{
    char name[NAME_MAX_LEN];
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return describe_message(w, f->descriptor, in);
    put_type_name(f, name);
    return json_string(name);
}

static json_t *describe_map(const ProtobufCFieldDescriptor *f)
{
    const ProtobufCMessageDescriptor *entry = f->descriptor;
    char key[NAME_MAX_LEN], value[NAME_MAX_LEN];
    put_type_name(&entry->fields[0], key);
    put_type_name(&entry->fields[1], value);
    return json_sprintf("map[%s]%s", key, value);
}

static json_t *describe_field(writer *w, const ProtobufCFieldDescriptor *f, const level *in)
{
    if (f->label != PROTOBUF_C_LABEL_REPEATED)
        return describe_element(w, f, in);
    if (crs_field_is_map(in->type, f))
        return describe_map(f);
    json_t *list = json_array();
    if (list && json_array_append_new(list, describe_element(w, f, in))) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static bool is_open(const level *l, const ProtobufCMessageDescriptor *type)
{
    for (; l; l = l->outer) {
        if (l->type == type)
            return true;
    }
    return false;
}

static json_t *describe_message(writer *w, const ProtobufCMessageDescriptor *type, const level *outer)
{
    level in = {.outer = outer, .type = type, .depth = outer ? outer->depth + 1 : 0};
    if (is_open(outer, type) || in.depth >= DEPTH_MAX || type->n_fields > w->fields_left)
        return json_sprintf("*%s", type->name);
    w->fields_left -= type->n_fields;
    json_t *fields = json_object();
    for (unsigned i = 0; fields && i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &type->fields[i];
        if (f->name && json_object_set_new(fields, f->name, describe_field(w, f, &in))) {
            json_decref(fields);
            fields = NULL;
        }
    }
    if (!w->type_names || !fields)
        return fields;
    char name[NAME_MAX_LEN];
    snprintf(name, sizeof name, "*%s", type->name);
    return json_pack("{s:o}", name, fields); /* drops fields when it fails */
}

static json_t *describe_body(cereus_shape shape, const ProtobufCMessageDescriptor *type, bool type_names)
{
    writer w = {.type_names = type_names, .fields_left = FIELDS_MAX};
    switch (shape) {
    case CEREUS_NOTHING:
        break;
    case CEREUS_RAW:
        return json_string("[]byte");
    case CEREUS_JSON:
        return json_string("interface {}");
    case CEREUS_MESSAGE:
        return describe_message(&w, type, NULL);
    }
    return json_null();
}

/* Without a reply a handler gives nothing, and a remote still whether it failed: Pitaya has no remote that gives nothing, and
 * its command line client ends at one. */
static json_t *describe_method(const cereus_method *m, bool remote, bool type_names)
{
    json_t *in = describe_body(m->in, m->in_type, type_names);
    json_t *out = m->out == CEREUS_NOTHING
                      ? (remote ? json_pack("[s]", "error") : json_array())
                      : json_pack("[o,s]", describe_body(m->out, m->out_type, type_names), "error");
    return json_pack("{s:o,s:o}", "input", in, "output", out); /* of NULLs too: it fails and drops the other */
}

/* Fields in the name of their type, where names are wanted. Takes @p fields. */
static json_t *put_in_name(json_t *fields, const char *name, bool type_names)
{
    return type_names && fields ? json_pack("{s:o}", name, fields) : fields;
}

/* The remotes that Pitaya has built in are read and written by hand, without types that could be asked: what Pitaya says of
 * its own (cluster-protocol.md 17). NULL too: no such remote. */
static json_t *describe_sys(const char *name, bool type_names)
{
    json_t *in, *out;
    if (strcmp(name, "kick") == 0) {
        in = put_in_name(json_pack("{s:s}", "userId", "string"), "*protos.KickMsg", type_names);
        out = put_in_name(json_pack("{s:s}", "kicked", "bool"), "*protos.KickAnswer", type_names);
    } else {
        json_t *error = json_pack("{s:s,s:s,s:s}", "code", "string", "msg", "string", "metadata", "map[string]string");
        error = put_in_name(error, "*protos.Error", type_names);
        in = put_in_name(json_pack("{s:s,s:s,s:s}", "id", "int64", "uid", "string", "data", "[]byte"),
                         "*protos.Session", type_names);
        out = put_in_name(json_pack("{s:s,s:o}", "data", "[]byte", "error", error), "*protos.Response", type_names);
    }
    return json_pack("{s:o,s:[o,s]}", "input", in, "output", out, "error");
}

static bool is_pitayas_own(const crs_service *s, const cereus_method *m)
{
    return strcmp(s->name, "sys") == 0 &&
           (strcmp(m->name, "kick") == 0 || strcmp(m->name, "bindsession") == 0 || strcmp(m->name, "pushsession") == 0);
}

static json_t *describe_registry(const crs_registry *r, bool remotes, bool type_names)
{
    json_t *all = json_object();
    for (const crs_service *s = r->services; all && s; s = s->next) {
        for (size_t i = 0; all && i < s->method_count; i++) {
            const cereus_method *m = &s->methods[i].decl;
            json_t *one = remotes && is_pitayas_own(s, m) ? describe_sys(m->name, type_names)
                                                          : describe_method(m, remotes, type_names);
            if (json_object_set_new(all, s->methods[i].route, one)) {
                json_decref(all);
                all = NULL;
            }
        }
    }
    return all;
}

json_t *crs_docs_json(const crs_registry *handlers, const crs_registry *remotes, bool type_names)
{
    json_t *of_handlers = describe_registry(handlers, false, type_names);
    json_t *of_remotes = remotes ? describe_registry(remotes, true, type_names) : json_object();
    return json_pack("{s:o,s:o}", "handlers", of_handlers, "remotes", of_remotes); /* as in describe_method() */
}

/* -- the handlers -- */

static cereus_status answer_docs(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    CRS_UNUSED(in);
    CRS_UNUSED(user);
    ((Crs__Doc *)out->message)->doc = ctx->dispatch->core->docs_text;
    return CEREUS_OK;
}

static cereus_status answer_docs_remote(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    CRS_UNUSED(user);
    const crs_core *core = ctx->dispatch->core;
    const Crs__DocMsg *asked = (const Crs__DocMsg *)in->message;
    ((Crs__Doc *)out->message)->doc = asked->getprotos ? core->docs_text : core->docs_plain_text;
    return CEREUS_OK;
}

static cereus_status answer_descriptors(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    CRS_UNUSED(user);
    const Crs__ProtoNames *names = (const Crs__ProtoNames *)in->message;
    Crs__ProtoDescriptors *reply = (Crs__ProtoDescriptors *)out->message;
    reply->desc = cereus_ctx_alloc(ctx, names->n_name * sizeof *reply->desc);
    if (!reply->desc)
        return CEREUS_E_NOMEM;
    size_t len = 0;
    for (; reply->n_desc < names->n_name; reply->n_desc++) {
        cereus_slice name = cereus_slice_str(names->name[reply->n_desc]), gzip;
        cereus_error err;
        if (crs_descriptors_find(ctx->dispatch->core->descriptors, name, &gzip, &err))
            return cereus_fail(ctx, NULL, "failed to get descriptor for '%s': %s", (const char *)name.data, err.msg);
        /* one name, said again and again in a small request, must not become more than could be sent */
        len += gzip.len;
        if (len > CRS_PACKET_BODY_MAX)
            return cereus_fail(ctx, "PIT-500", "the reply does not fit a packet");
        reply->desc[reply->n_desc] = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)gzip.data, .len = gzip.len};
    }
    return CEREUS_OK;
}

cereus_method cereus_docs_method(const char *name)
{
    return (cereus_method){.name = name, .out = CEREUS_MESSAGE, .out_type = &crs__doc__descriptor, .fn = answer_docs};
}

cereus_method crs_docs_remote_method(const char *name)
{
    return (cereus_method){.name = name,
                           .in = CEREUS_MESSAGE,
                           .in_type = &crs__doc_msg__descriptor,
                           .out = CEREUS_MESSAGE,
                           .out_type = &crs__doc__descriptor,
                           .fn = answer_docs_remote};
}

cereus_method cereus_descriptors_method(const char *name)
{
    return (cereus_method){.name = name,
                           .in = CEREUS_MESSAGE,
                           .in_type = &crs__proto_names__descriptor,
                           .out = CEREUS_MESSAGE,
                           .out_type = &crs__proto_descriptors__descriptor,
                           .fn = answer_descriptors};
}

static bool has_method(const crs_registry *r, cereus_handler_fn *fn)
{
    for (const crs_service *s = r->services; s; s = s->next) {
        for (size_t i = 0; i < s->method_count; i++) {
            if (s->methods[i].decl.fn == fn)
                return true;
        }
    }
    return false;
}

cereus_status crs_docs_text(const crs_registry *handlers, const crs_registry *remotes, bool type_names, char **ret_text)
{
    char *copy = NULL;
    if ((type_names && has_method(handlers, answer_docs)) || (remotes && has_method(remotes, answer_docs_remote))) {
        json_t *docs = crs_docs_json(handlers, remotes, type_names);
        char *text = docs ? json_dumps(docs, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
        copy = text ? crs_strdup(text) : NULL;
        free(text); /* jansson's heap, not ours */
        json_decref(docs);
        if (!copy)
            return CEREUS_E_NOMEM;
    }
    *ret_text = copy;
    return CEREUS_OK;
}
