/* tools/cereus/proto_types.c: see proto_types.h. The struct behind a type is laid out by us: members in the order of the .proto,
 * each with its own place, those of a oneof too. Only the codecs look inside, by the descriptor. */
#include "proto_types.h"

#include <stdio.h>
#include <zlib.h>

#include "base/arena.h"
#include "base/strmap.h"
#include "serialize/fields.h"
#include "serialize/serializer.h"

#include "google/protobuf/descriptor.pb-c.h"

typedef Google__Protobuf__FileDescriptorProto file_proto;
typedef Google__Protobuf__DescriptorProto message_proto;
typedef Google__Protobuf__FieldDescriptorProto field_proto;
typedef Google__Protobuf__EnumDescriptorProto enum_proto;

enum {
    MEMORY_MAX = 64 << 20, /* all files and types together */
    TYPES_MAX = 65536,
    NAME_LEN_MAX = 1024,
    NUMBER_MAX = (1 << 29) - 1,
};

/* A message or enum that was declared. */
typedef struct type {
    struct type *next;
    const file_proto *file;
    const message_proto *message; /* NULL: an enum */
    const enum_proto *enumeration;
    ProtobufCMessageDescriptor m;
    ProtobufCEnumDescriptor e;
    bool linked;
} type;

struct crs_types {
    crs_arena arena;
    file_proto *files[CRS_TYPES_FILES_MAX];
    size_t file_count;
    crs_strmap by_file; /* name -> file_proto */
    crs_strmap by_name; /* ".chat.Room" -> type */
    type *fresh;        /* not linked yet */
    size_t type_count;
};

crs_types *crs_types_new(void)
{
    crs_types *t = crs_zalloc(sizeof *t);
    if (!t)
        return NULL;
    crs_arena_init(&t->arena, MEMORY_MAX);
    crs_strmap_init(&t->by_file);
    crs_strmap_init(&t->by_name);
    return t;
}

crs_types *crs_types_free(crs_types *t)
{
    if (t) {
        crs_strmap_fini(&t->by_file);
        crs_strmap_fini(&t->by_name);
        crs_arena_fini(&t->arena);
        crs_free(t);
    }
    return NULL;
}

static cereus_status no_memory(cereus_error *err)
{
    return crs_fail(err, CEREUS_E_NOMEM, "descriptors: they need more memory than the %d MiB they may have",
                    MEMORY_MAX >> 20);
}

/* -- files -- */

static cereus_status inflate_file(cereus_slice gzip, crs_bytes *out, cereus_error *err)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)gzip.data, .avail_in = (uInt)gzip.len};
    if (gzip.len > CRS_TYPES_FILE_LEN_MAX || inflateInit2(&z, MAX_WBITS + 16) != Z_OK)
        return crs_fail(err, CEREUS_E_TOO_LONG, "descriptors: a file of %zu bytes", gzip.len);
    cereus_status st = CEREUS_OK;
    int code = Z_OK;
    while (!st && code == Z_OK) {
        st = crs_bytes_reserve(out, 4096);
        if (st)
            break;
        z.next_out = out->data + out->len;
        z.avail_out = (uInt)(out->cap - out->len);
        code = inflate(&z, Z_NO_FLUSH);
        out->len = out->cap - z.avail_out;
    }
    inflateEnd(&z);
    if (st)
        return crs_fail(err, st, "descriptors: a file is larger than %d bytes", CRS_TYPES_FILE_LEN_MAX);
    return code == Z_STREAM_END ? CEREUS_OK : crs_fail(err, CEREUS_E_MALFORMED, "descriptors: not gzip, or cut off");
}

static cereus_status declare(crs_types *t, const char *scope, const char *name, type what, const char **ret_full,
                             cereus_error *err)
{
    char *full = crs_arena_printf(&t->arena, "%s.%s", scope, name ? name : "");
    type *copy = crs_arena_alloc(&t->arena, sizeof *copy);
    if (!full || !copy)
        return no_memory(err);
    if (!name || !*name || strlen(full) > NAME_LEN_MAX)
        return crs_fail(err, CEREUS_E_MALFORMED, "descriptors: a type has no name, or a very long one");
    if (++t->type_count > TYPES_MAX)
        return crs_fail(err, CEREUS_E_TOO_LONG, "descriptors: more than %d types", TYPES_MAX);
    *copy = what;
    copy->next = t->fresh;
    void *other = crs_strmap_get(&t->by_name, cereus_slice_str(full));
    if (other)
        return crs_fail(err, CEREUS_E_MALFORMED, "descriptors: %.200s is declared twice", full + 1);
    if (crs_strmap_put(&t->by_name, cereus_slice_str(full), copy, NULL))
        return no_memory(err);
    t->fresh = copy;
    const char *dot = strrchr(full, '.');
    copy->m.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC;
    copy->e.magic = PROTOBUF_C__ENUM_DESCRIPTOR_MAGIC;
    copy->m.name = copy->e.name = full + 1;
    copy->m.short_name = copy->e.short_name = dot + 1;
    copy->m.c_name = copy->e.c_name = full + 1;
    copy->m.package_name = copy->e.package_name = what.file->package ? what.file->package : "";
    *ret_full = full;
    return CEREUS_OK;
}

static cereus_status declare_enums(crs_types *t, const file_proto *file, const char *scope, enum_proto *const *enums,
                                   size_t count, cereus_error *err)
{
    const char *full;
    for (size_t i = 0; i < count; i++)
        CEREUS_TRY(declare(t, scope, enums[i]->name, (type){.file = file, .enumeration = enums[i]}, &full, err));
    return CEREUS_OK;
}

static cereus_status declare_messages(crs_types *t, const file_proto *file, const char *scope,
                                      message_proto *const *messages, size_t count, cereus_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const message_proto *m = messages[i];
        const char *full;
        CEREUS_TRY(declare(t, scope, m->name, (type){.file = file, .message = m}, &full, err));
        CEREUS_TRY(declare_enums(t, file, full, m->enum_type, m->n_enum_type, err));
        CEREUS_TRY(declare_messages(t, file, full, m->nested_type, m->n_nested_type, err));
    }
    return CEREUS_OK;
}

cereus_status crs_types_add(crs_types *t, cereus_slice gzip, cereus_error *err)
{
    crs_bytes plain;
    crs_bytes_init(&plain, CRS_TYPES_FILE_LEN_MAX);
    cereus_status st = inflate_file(gzip, &plain, err);
    if (!st)
        st = crs_types_add_plain(t, crs_bytes_slice(&plain), err);
    crs_bytes_fini(&plain);
    return st;
}

cereus_status crs_types_add_plain(crs_types *t, cereus_slice plain, cereus_error *err)
{
    ProtobufCMessage *msg = NULL;
    cereus_status st = crs_serializer_protobuf.decode(&google__protobuf__file_descriptor_proto__descriptor, plain,
                                                      crs_arena_take, &t->arena, &msg, err);
    if (st)
        return crs_fail_in(err, st, "descriptors");
    file_proto *file = (file_proto *)msg;
    const char *name = file->name ? file->name : "";
    if (crs_strmap_get(&t->by_file, cereus_slice_str(name)))
        return CEREUS_OK;
    if (!*name || strlen(name) > NAME_LEN_MAX)
        return crs_fail(err, CEREUS_E_MALFORMED, "descriptors: a file has no name, or a very long one");
    if (t->file_count == CRS_TYPES_FILES_MAX)
        return crs_fail(err, CEREUS_E_TOO_LONG, "descriptors: more than %d files", CRS_TYPES_FILES_MAX);
    if (crs_strmap_put(&t->by_file, cereus_slice_str(name), file, NULL))
        return no_memory(err);
    t->files[t->file_count++] = file;
    const char *scope = file->package && *file->package ? crs_arena_printf(&t->arena, ".%s", file->package) : "";
    if (!scope)
        return no_memory(err);
    CEREUS_TRY(declare_enums(t, file, scope, file->enum_type, file->n_enum_type, err));
    return declare_messages(t, file, scope, file->message_type, file->n_message_type, err);
}

const char *crs_types_missing(const crs_types *t, size_t *iter)
{
    size_t at = 0;
    for (size_t i = 0; i < t->file_count; i++) {
        for (size_t k = 0; k < t->files[i]->n_dependency; k++) {
            const char *name = t->files[i]->dependency[k];
            if (at++ < *iter || crs_strmap_get(&t->by_file, cereus_slice_str(name)))
                continue;
            *iter = at;
            return name;
        }
    }
    return NULL;
}

/* -- types -- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const ProtobufCEnumValueIndex *)a)->name, ((const ProtobufCEnumValueIndex *)b)->name);
}

static cereus_status link_enum(crs_types *t, type *e, cereus_error *err)
{
    size_t count = e->enumeration->n_value;
    ProtobufCEnumValue *values = crs_arena_zalloc(&t->arena, count * sizeof *values);
    ProtobufCEnumValueIndex *names = crs_arena_zalloc(&t->arena, count * sizeof *names);
    if (!values || !names)
        return no_memory(err);
    for (size_t i = 0; i < count; i++) {
        const Google__Protobuf__EnumValueDescriptorProto *v = e->enumeration->value[i];
        values[i] = (ProtobufCEnumValue){.name = v->name ? v->name : "", .value = v->number};
        names[i] = (ProtobufCEnumValueIndex){.name = values[i].name, .index = (unsigned)i};
    }
    qsort(names, count, sizeof *names, compare_names);
    e->e.n_values = e->e.n_value_names = (unsigned)count;
    e->e.values = values;
    e->e.values_by_name = names;
    return CEREUS_OK;
}

static bool plain_type(int32_t declared, ProtobufCType *ret)
{
    static const struct {
        int32_t declared;
        ProtobufCType type;
    } types[] = {
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_DOUBLE, PROTOBUF_C_TYPE_DOUBLE},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_FLOAT, PROTOBUF_C_TYPE_FLOAT},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_INT64, PROTOBUF_C_TYPE_INT64},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_UINT64, PROTOBUF_C_TYPE_UINT64},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_INT32, PROTOBUF_C_TYPE_INT32},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_FIXED64, PROTOBUF_C_TYPE_FIXED64},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_FIXED32, PROTOBUF_C_TYPE_FIXED32},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_BOOL, PROTOBUF_C_TYPE_BOOL},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_STRING, PROTOBUF_C_TYPE_STRING},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_MESSAGE, PROTOBUF_C_TYPE_MESSAGE},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_BYTES, PROTOBUF_C_TYPE_BYTES},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_UINT32, PROTOBUF_C_TYPE_UINT32},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_ENUM, PROTOBUF_C_TYPE_ENUM},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_SFIXED32, PROTOBUF_C_TYPE_SFIXED32},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_SFIXED64, PROTOBUF_C_TYPE_SFIXED64},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_SINT32, PROTOBUF_C_TYPE_SINT32},
        {GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_SINT64, PROTOBUF_C_TYPE_SINT64},
    };
    for (size_t i = 0; i < CEREUS_COUNT(types); i++) {
        if (types[i].declared == declared) {
            *ret = types[i].type;
            return true;
        }
    }
    return false; /* groups, and what nobody knows */
}

/* Can the field be a part of its message? Fills type and descriptor. */
static bool resolve(const crs_types *t, const field_proto *f, ProtobufCFieldDescriptor *ret)
{
    if (!plain_type((int32_t)f->type, &ret->type))
        return false;
    if (ret->type != PROTOBUF_C_TYPE_MESSAGE && ret->type != PROTOBUF_C_TYPE_ENUM)
        return true;
    const type *of = f->type_name ? crs_strmap_get(&t->by_name, cereus_slice_str(f->type_name)) : NULL;
    if (!of || !of->message != (ret->type == PROTOBUF_C_TYPE_ENUM))
        return false;
    ret->descriptor = of->message ? (const void *)&of->m : &of->e;
    return true;
}

static bool is_packed(const file_proto *file, const field_proto *f, ProtobufCType of)
{
    if (of == PROTOBUF_C_TYPE_STRING || of == PROTOBUF_C_TYPE_BYTES || of == PROTOBUF_C_TYPE_MESSAGE)
        return false;
    if (f->options && f->options->has_packed)
        return f->options->packed;
    return file->syntax && strcmp(file->syntax, "proto3") == 0;
}

/* Room for one member in the struct. Sizes stay small: CRS_TYPES_FIELDS_MAX times a few words. */
static unsigned place(size_t *size, size_t len)
{
    size_t align = len < 8 ? len : 8;
    *size = (*size + align - 1) / align * align;
    unsigned at = (unsigned)*size;
    *size += len;
    return at;
}

static void lay_out(const type *m, const field_proto *f, ProtobufCFieldDescriptor *to, const unsigned *cases,
                    size_t *size)
{
    bool proto3 = m->file->syntax && strcmp(m->file->syntax, "proto3") == 0;
    bool in_oneof = f->has_oneof_index && !f->proto3_optional;
    bool pointer = to->type == PROTOBUF_C_TYPE_STRING || to->type == PROTOBUF_C_TYPE_MESSAGE;
    if (f->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED) {
        to->label = PROTOBUF_C_LABEL_REPEATED;
        to->flags = is_packed(m->file, f, to->type) ? PROTOBUF_C_FIELD_FLAG_PACKED : 0;
        to->quantifier_offset = place(size, sizeof(size_t));
        to->offset = place(size, sizeof(void *));
        return;
    }
    if (in_oneof) {
        to->label = proto3 ? PROTOBUF_C_LABEL_NONE : PROTOBUF_C_LABEL_OPTIONAL;
        to->flags = PROTOBUF_C_FIELD_FLAG_ONEOF;
        to->quantifier_offset = cases[f->oneof_index];
    } else if (f->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REQUIRED) {
        to->label = PROTOBUF_C_LABEL_REQUIRED;
    } else if (proto3 && !f->proto3_optional) {
        to->label = PROTOBUF_C_LABEL_NONE;
    } else {
        to->label = PROTOBUF_C_LABEL_OPTIONAL;
        if (!pointer)
            to->quantifier_offset = place(size, sizeof(protobuf_c_boolean));
    }
    to->offset = place(size, crs_field_size(to));
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = ((const ProtobufCFieldDescriptor *)a)->id, y = ((const ProtobufCFieldDescriptor *)b)->id;
    return (x > y) - (x < y);
}

/* The look-up tables that protobuf-c generates: by number in runs, by name. */
static cereus_status index_fields(crs_types *t, ProtobufCMessageDescriptor *m, cereus_error *err)
{
    size_t count = m->n_fields;
    ProtobufCIntRange *ranges = crs_arena_zalloc(&t->arena, (count + 1) * sizeof *ranges);
    unsigned *by_name = crs_arena_zalloc(&t->arena, count * sizeof *by_name);
    ProtobufCEnumValueIndex *names = crs_arena_zalloc(&t->arena, count * sizeof *names);
    if (!ranges || !by_name || !names)
        return no_memory(err);
    for (unsigned i = 0; i < count; i++) {
        if (i > 0 && m->fields[i].id == m->fields[i - 1].id)
            return crs_fail(err, CEREUS_E_MALFORMED, "descriptors: %.200s has two fields with number %u", m->name,
                            (unsigned)m->fields[i].id);
        if (i == 0 || m->fields[i].id != m->fields[i - 1].id + 1)
            ranges[m->n_field_ranges++] = (ProtobufCIntRange){.start_value = (int)m->fields[i].id, .orig_index = i};
        names[i] = (ProtobufCEnumValueIndex){.name = m->fields[i].name, .index = i};
    }
    ranges[m->n_field_ranges].orig_index = (unsigned)count;
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(names[i].name, names[i - 1].name) == 0)
            return crs_fail(err, CEREUS_E_MALFORMED, "descriptors: %.200s has two fields called %.100s", m->name,
                            names[i].name);
        by_name[i] = names[i].index;
    }
    m->field_ranges = ranges;
    m->fields_sorted_by_name = by_name;
    return CEREUS_OK;
}

static cereus_status link_message(crs_types *t, type *m, cereus_error *err)
{
    const message_proto *p = m->message;
    if (p->n_field > CRS_TYPES_FIELDS_MAX || p->n_oneof_decl > CRS_TYPES_FIELDS_MAX)
        return crs_fail(err, CEREUS_E_TOO_LONG, "descriptors: %.200s has more than %d fields", m->m.name,
                        CRS_TYPES_FIELDS_MAX);
    ProtobufCFieldDescriptor *fields = crs_arena_zalloc(&t->arena, p->n_field * sizeof *fields);
    unsigned *cases = crs_arena_zalloc(&t->arena, p->n_oneof_decl * sizeof *cases);
    if (!fields || !cases)
        return no_memory(err);
    m->m.n_fields = m->m.n_field_ranges = 0; /* of an attempt that failed */
    size_t size = sizeof(ProtobufCMessage);
    for (size_t i = 0; i < p->n_oneof_decl; i++)
        cases[i] = place(&size, sizeof(uint32_t));
    for (size_t i = 0; i < p->n_field; i++) {
        const field_proto *f = p->field[i];
        ProtobufCFieldDescriptor *to = &fields[m->m.n_fields];
        if (!f->name || !*f->name || strlen(f->name) > NAME_LEN_MAX / 2 || f->number < 1 || f->number > NUMBER_MAX ||
            (f->has_oneof_index && (uint32_t)f->oneof_index >= p->n_oneof_decl))
            return crs_fail(err, CEREUS_E_MALFORMED, "descriptors: field %zu of %.200s cannot be", i + 1, m->m.name);
        if (!resolve(t, f, to))
            continue;
        to->name = f->name;
        to->id = (uint32_t)f->number;
        lay_out(m, f, to, cases, &size);
        m->m.n_fields++;
    }
    m->m.sizeof_message = (size + 7) / 8 * 8;
    m->m.fields = fields;
    qsort(fields, m->m.n_fields, sizeof *fields, compare_numbers);
    return index_fields(t, &m->m, err);
}

cereus_status crs_types_link(crs_types *t, cereus_error *err)
{
    cereus_status st = CEREUS_OK;
    for (; !st && t->fresh; t->fresh = st ? t->fresh : t->fresh->next) {
        st = t->fresh->message ? link_message(t, t->fresh, err) : link_enum(t, t->fresh, err);
        t->fresh->linked = !st;
    }
    return st;
}

const ProtobufCMessageDescriptor *crs_types_find(const crs_types *t, const char *name)
{
    char key[NAME_LEN_MAX + 2];
    if (snprintf(key, sizeof key, ".%s", name) >= (int)sizeof key)
        return NULL;
    const type *found = crs_strmap_get(&t->by_name, cereus_slice_str(key));
    return found && found->message && found->linked && !t->fresh ? &found->m : NULL;
}

const ProtobufCMessageDescriptor *crs_types_next(const crs_types *t, size_t *iter)
{
    cereus_slice key;
    void *value;
    while (!t->fresh && crs_strmap_next(&t->by_name, iter, &key, &value)) {
        if (((type *)value)->message)
            return &((type *)value)->m;
    }
    return NULL;
}
