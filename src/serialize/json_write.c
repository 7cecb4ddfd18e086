/* serialize/json_write.c: protobuf-c structs and jansson values into JSON text, byte for byte as Go's encoding/json
 * writes the same data: members in the order of the .proto file, zero values left out, map keys sorted, shortest
 * numbers, characters that mean something to HTML or JavaScript escaped. */
#include "serialize/json.h"

#include <math.h>

#include "base/utf8.h"
#include "serialize/float.h"
#include "serialize/serializer.h"

typedef struct writer {
    crs_sink *out;
    bool camel;
    bool sorted; /* members of jansson objects by their keys, as Go writes maps */
    int depth;   /* open objects and arrays */
} writer;

__attribute__((cold, noinline)) static void refuse(writer *w, const char *name, const char *why)
{
    if (name)
        crs_sink_fail(w->out, CEREUS_E_INVALID, "json: field \"%s\": %s", name, why);
    else
        crs_sink_fail(w->out, CEREUS_E_INVALID, "json: %s", why);
}

static const char too_deep[] = "nested deeper than 64";
_Static_assert(CRS_SERIALIZE_DEPTH_MAX == 64, "the text says so");

/* -- strings -- */

/* Does any byte need more than copying? Quote and '&', '<' and '>' differ in one bit each. */
static inline bool is_special(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t backslash = w ^ (ones * '\\'), quote = (w | ones * 4) ^ (ones * '&'),
             angle = (w | ones * 2) ^ (ones * '>');
    return ((((w - ones * 0x20) & ~w) | ((backslash - ones) & ~backslash) | ((quote - ones) & ~quote) |
             ((angle - ones) & ~angle) | w) &
            tops) != 0;
}

static inline bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
}

/* Copy text up to the first byte that needs more than that; returns how many. */
static inline size_t copy_plain(uint8_t *out, const uint8_t *in, size_t len)
{
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t w;
        memcpy(&w, in + i, 8);
        if (is_special(w))
            break;
        memcpy(out + i, &w, 8);
    }
    for (; i < len && is_plain(in[i]); i++)
        out[i] = in[i];
    return i;
}

/* Write the one character at the front of @p in that copy_plain stopped at; returns the bytes it had. */
static size_t put_special(crs_sink *s, const uint8_t *in, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    uint8_t c = in[0];
    if (c >= 0x80) {
        size_t n = crs_utf8_char(cereus_slice_of(in, len));
        if (n == 0) {
            crs_sink_put(s, "\\ufffd", 6);
            return 1;
        }
        if (n == 3 && in[0] == 0xe2 && in[1] == 0x80 && (in[2] & 0xfe) == 0xa8) /* line ends for JavaScript */
            crs_sink_put(s, in[2] == 0xa8 ? "\\u2028" : "\\u2029", 6);
        else
            crs_sink_put(s, in, n);
        return n;
    }
    char escape = c == '"' || c == '\\' ? (char)c
                  : c == '\b'           ? 'b'
                  : c == '\f'           ? 'f'
                  : c == '\n'           ? 'n'
                  : c == '\r'           ? 'r'
                  : c == '\t'           ? 't'
                                        : '\0';
    if (escape) {
        const char text[2] = {'\\', escape};
        crs_sink_put(s, text, 2);
    } else {
        const char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        crs_sink_put(s, text, 6);
    }
    return 1;
}

static void put_string(crs_sink *s, const void *text, size_t len)
{
    const uint8_t *in = text;
    crs_sink_byte(s, '"');
    while (len) {
        size_t part = CRS_MIN(len, (size_t)CRS_SINK_BLOCK);
        if (!crs_sink_room(s, part))
            return;
        size_t copied = copy_plain(s->at, in, part);
        s->at += copied;
        in += copied;
        len -= copied;
        if (copied < part) {
            size_t used = put_special(s, in, len);
            in += used;
            len -= used;
        }
    }
    crs_sink_byte(s, '"');
}

static void put_base64(crs_sink *s, const uint8_t *in, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    crs_sink_byte(s, '"');
    for (size_t i = 0; i < len; i += 3) {
        size_t n = CRS_MIN(len - i, (size_t)3);
        uint32_t group = (uint32_t)in[i] << 16 | (n > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (n > 2 ? in[i + 2] : 0);
        if (!crs_sink_room(s, 4))
            return;
        s->at[0] = (uint8_t)digits[group >> 18];
        s->at[1] = (uint8_t)digits[group >> 12 & 63];
        s->at[2] = (uint8_t)(n > 1 ? digits[group >> 6 & 63] : '=');
        s->at[3] = (uint8_t)(n > 2 ? digits[group & 63] : '=');
        s->at += 4;
    }
    crs_sink_byte(s, '"');
}

/* -- values -- */

static void put_message(writer *w, const ProtobufCMessage *m);

static void put_float(writer *w, const char *name, double v, bool single)
{
    if (!isfinite(v)) {
        refuse(w, name, "JSON has no number for infinity or NaN");
        return;
    }
    if (crs_sink_room(w->out, CRS_FLOAT_TEXT_MAX))
        w->out->at += crs_float_text((char *)w->out->at, v, single);
}

static void put_value(writer *w, const ProtobufCFieldDescriptor *f, const void *at)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = crs_field_text(at);
        put_string(w->out, text, strlen(text));
        break;
    }
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *bytes = at;
        put_base64(w->out, bytes->data, bytes->len);
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *m = *(ProtobufCMessage *const *)at;
        if (m)
            put_message(w, m);
        else
            crs_sink_put(w->out, "null", 4); /* an element or a map's value; singular fields are left out before */
        break;
    }
    case PROTOBUF_C_TYPE_FLOAT:
        put_float(w, f->name, *(const float *)at, true);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        put_float(w, f->name, *(const double *)at, false);
        break;
    default:
        if (crs_sink_room(w->out, 24))
            w->out->at += crs_text_integer((char *)w->out->at, f->type, at);
    }
}

static bool open_level(writer *w, char bracket)
{
    if (++w->depth > CRS_SERIALIZE_DEPTH_MAX) {
        refuse(w, NULL, too_deep);
        return false;
    }
    crs_sink_byte(w->out, bracket);
    return w->out->status == CEREUS_OK;
}

static void close_level(writer *w, char bracket)
{
    w->depth--;
    crs_sink_byte(w->out, bracket);
}

static void put_array(writer *w, const ProtobufCFieldDescriptor *f, const uint8_t *array, size_t count)
{
    if (!open_level(w, '['))
        return;
    size_t size = crs_field_size(f), len;
    for (size_t i = 0; i < count && !w->out->status; i++) {
        uint8_t *at = crs_sink_room(w->out, 24) ? w->out->at : NULL;
        if (at && i)
            *at++ = ',';
        if (at && (len = crs_text_integer((char *)at, f->type, array + i * size)))
            w->out->at = at + len;
        else if (at) {
            w->out->at = at;
            put_value(w, f, array + i * size);
        }
    }
    close_level(w, ']');
}

static void put_map(writer *w, const ProtobufCFieldDescriptor *f, ProtobufCMessage *const *entries, size_t count)
{
    enum { ON_STACK = 8 };
    const ProtobufCMessageDescriptor *type = f->descriptor;
    for (size_t i = 0; i < count; i++) {
        if (!entries[i]) {
            refuse(w, f->name, "an entry of the map is NULL");
            return;
        }
    }
    if (!open_level(w, '{'))
        return;
    ProtobufCMessage *local[2 * ON_STACK], **scratch = NULL, **sorted;
    if (!crs_map_is_sorted(entries, count)) {
        scratch = count <= ON_STACK ? local : crs_malloc(2 * count * sizeof *scratch);
        if (!scratch) {
            crs_sink_fail(w->out, CEREUS_E_NOMEM, "json: field \"%s\": no memory to sort the map", f->name);
            return;
        }
        count = crs_map_sort(entries, count, scratch, &sorted);
        entries = sorted;
    }
    for (size_t i = 0; i < count && !w->out->status; i++) {
        const ProtobufCFieldDescriptor *key = &type->fields[0];
        if (i)
            crs_sink_byte(w->out, ',');
        if (key->type == PROTOBUF_C_TYPE_STRING) {
            put_value(w, key, crs_field_at(entries[i], key));
        } else {
            crs_sink_byte(w->out, '"');
            put_value(w, key, crs_field_at(entries[i], key));
            crs_sink_byte(w->out, '"');
        }
        crs_sink_byte(w->out, ':');
        put_value(w, &type->fields[1], crs_field_at(entries[i], &type->fields[1]));
    }
    if (scratch != local)
        crs_free(scratch);
    close_level(w, '}');
}

/* Is there something to say of this field? */
static bool is_present(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const void *at)
{
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return crs_field_is_chosen(m, f) && (f->type != PROTOBUF_C_TYPE_MESSAGE || *(void *const *)at);
    switch (f->label) {
    case PROTOBUF_C_LABEL_REPEATED:
        return *(const size_t *)crs_field_quantifier(m, f) > 0;
    case PROTOBUF_C_LABEL_REQUIRED:
        return f->type != PROTOBUF_C_TYPE_MESSAGE || *(void *const *)at;
    case PROTOBUF_C_LABEL_OPTIONAL:
        if (f->type == PROTOBUF_C_TYPE_MESSAGE || f->type == PROTOBUF_C_TYPE_STRING)
            return *(void *const *)at && *(void *const *)at != f->default_value;
        return *(const protobuf_c_boolean *)crs_field_quantifier(m, f);
    case PROTOBUF_C_LABEL_NONE:
        break;
    }
    switch (f->type) { /* proto3 without `optional`: zero is nothing */
    case PROTOBUF_C_TYPE_STRING:
        return crs_field_text(at)[0] != '\0';
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)at)->len > 0;
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(void *const *)at != NULL;
    case PROTOBUF_C_TYPE_FLOAT:
        return *(const float *)at != 0; /* true for NaN, false for -0 */
    case PROTOBUF_C_TYPE_DOUBLE:
        return *(const double *)at != 0;
    default:
        return crs_field_size(f) == 8 ? *(const uint64_t *)at != 0 : *(const uint32_t *)at != 0;
    }
}

static uint8_t *camel_name(uint8_t *out, const char *name)
{
    for (bool upper = false; *name; name++) {
        if (*name == '_') {
            upper = true;
            continue;
        }
        *out++ = (uint8_t)(upper && *name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name);
        upper = false;
    }
    return out;
}

/* ,"NAME": */
static void put_name(writer *w, const char *name, bool first)
{
    crs_sink *s = w->out;
    size_t len = strlen(name);
    if (len > CRS_SINK_BLOCK - 4) {
        refuse(w, NULL, "the name of a field is too long");
        return;
    }
    if (!crs_sink_room(s, len + 4))
        return;
    uint8_t *p = s->at;
    *p = ',';
    p += !first;
    *p++ = '"';
    if (w->camel) {
        p = camel_name(p, name);
    } else {
        memcpy(p, name, len);
        p += len;
    }
    *p++ = '"';
    *p++ = ':';
    s->at = p;
}

/* Write the field unless there is nothing to say. Returns whether members still lack their first. */
static bool put_field(writer *w, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, bool first)
{
    const void *at = crs_field_at(m, f);
    if (!is_present(m, f, at))
        return first;
    put_name(w, f->name, first);
    if (f->label != PROTOBUF_C_LABEL_REPEATED) {
        put_value(w, f, at);
        return false;
    }
    size_t count = *(const size_t *)crs_field_quantifier(m, f);
    if (crs_field_is_map(m->descriptor, f))
        put_map(w, f, *(ProtobufCMessage *const *const *)at, count);
    else
        put_array(w, f, *(const uint8_t *const *)at, count);
    return false;
}

/* Descriptors list fields by number; the struct has its members in the order of the .proto file, unions at the end. */
static bool is_before(const ProtobufCFieldDescriptor *a, const ProtobufCFieldDescriptor *b)
{
    return a->offset < b->offset || (a->offset == b->offset && a < b);
}

static void put_fields_in_file_order(writer *w, const ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *type = m->descriptor;
    const ProtobufCFieldDescriptor *last = NULL;
    bool first = true;
    for (size_t i = 0; i < type->n_fields && !w->out->status; i++) {
        const ProtobufCFieldDescriptor *next = NULL;
        for (size_t k = 0; k < type->n_fields; k++) {
            const ProtobufCFieldDescriptor *f = &type->fields[k];
            if ((!last || is_before(last, f)) && (!next || is_before(f, next)))
                next = f;
        }
        first = put_field(w, m, next, first);
        last = next;
    }
}

static bool is_in_file_order(const ProtobufCMessageDescriptor *type)
{
    unsigned last = 0;
    for (size_t i = 0; i < type->n_fields; i++) {
        if (type->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
            continue;
        if (type->fields[i].offset < last)
            return false;
        last = type->fields[i].offset;
    }
    return true;
}

static void put_message(writer *w, const ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *type = m->descriptor;
    if (type->n_fields && !type->fields[0].name) {
        refuse(w, NULL, "the message type was generated without names");
        return;
    }
    if (!open_level(w, '{'))
        return;
    if (CRS_LIKELY(is_in_file_order(type))) {
        bool first = true;
        for (size_t i = 0; i < type->n_fields && !w->out->status; i++)
            first = put_field(w, m, &type->fields[i], first);
    } else {
        put_fields_in_file_order(w, m);
    }
    close_level(w, '}');
}

void crs_json_write_message(crs_sink *s, const ProtobufCMessage *msg, bool camel)
{
    writer w = {.out = s, .camel = camel};
    put_message(&w, msg);
}

/* -- jansson values -- */

static void put_json(writer *w, const json_t *v);

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void put_sorted_members(writer *w, const json_t *object)
{
    size_t count = 0;
    const char *key;
    json_t *member;
    const char **keys = crs_malloc(json_object_size(object) * sizeof *keys + 1);
    if (!keys) {
        crs_sink_fail(w->out, CEREUS_E_NOMEM, "out of memory");
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, member) keys[count++] = key;
    qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 0; i < count && !w->out->status; i++) {
        if (i)
            crs_sink_byte(w->out, ',');
        put_string(w->out, keys[i], strlen(keys[i]));
        crs_sink_byte(w->out, ':');
        put_json(w, json_object_get(object, keys[i]));
    }
    crs_free(keys);
}

static void put_json(writer *w, const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: {
        if (!open_level(w, '{'))
            return;
        if (w->sorted) {
            put_sorted_members(w, v);
            close_level(w, '}');
            break;
        }
        const char *key;
        json_t *member;
        bool first = true;
        /* the macro wants an object it may change; nothing here does */
        json_object_foreach((json_t *)(uintptr_t)v, key, member)
        {
            if (w->out->status)
                return;
            if (!first)
                crs_sink_byte(w->out, ',');
            first = false;
            put_string(w->out, key, strlen(key));
            crs_sink_byte(w->out, ':');
            put_json(w, member);
        }
        close_level(w, '}');
        break;
    }
    case JSON_ARRAY:
        if (!open_level(w, '['))
            return;
        for (size_t i = 0; i < json_array_size(v) && !w->out->status; i++) {
            if (i)
                crs_sink_byte(w->out, ',');
            put_json(w, json_array_get(v, i));
        }
        close_level(w, ']');
        break;
    case JSON_STRING:
        put_string(w->out, json_string_value(v), json_string_length(v));
        break;
    case JSON_INTEGER:
        if (crs_sink_room(w->out, 24))
            w->out->at += crs_text_i64((char *)w->out->at, json_integer_value(v));
        break;
    case JSON_REAL:
        put_float(w, NULL, json_real_value(v), false);
        break;
    case JSON_TRUE:
        crs_sink_put(w->out, "true", 4);
        break;
    case JSON_FALSE:
        crs_sink_put(w->out, "false", 5);
        break;
    case JSON_NULL:
        crs_sink_put(w->out, "null", 4);
        break;
    }
}

void crs_json_write_value(crs_sink *s, const json_t *value)
{
    writer w = {.out = s};
    put_json(&w, value);
}

cereus_status crs_json_text(const json_t *value, crs_bytes *out)
{
    size_t was = out->len;
    crs_sink sink;
    crs_sink_init_bytes(&sink, out, NULL);
    writer w = {.out = &sink, .sorted = true};
    put_json(&w, value);
    cereus_status st = crs_sink_finish(&sink);
    if (st)
        out->len = was;
    return st;
}

/* -- the serializers -- */

static cereus_status encode(const ProtobufCMessage *msg, bool camel, cereus_write_fn *write, void *user,
                            cereus_error *err)
{
    uint8_t block[CRS_SINK_BLOCK];
    crs_sink s;
    crs_sink_init_write(&s, block, write, user, err);
    crs_json_write_message(&s, msg, camel);
    return crs_sink_finish(&s);
}

static cereus_status encode_plain(const ProtobufCMessage *msg, cereus_write_fn *write, void *user, cereus_error *err)
{
    return encode(msg, false, write, user, err);
}

static cereus_status encode_camel(const ProtobufCMessage *msg, cereus_write_fn *write, void *user, cereus_error *err)
{
    return encode(msg, true, write, user, err);
}

static int compare_slices(cereus_slice a, cereus_slice b)
{
    int order = memcmp(a.len ? (const void *)a.data : "", b.len ? (const void *)b.data : "", CRS_MIN(a.len, b.len));
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Metadata in the order of its keys, of equal ones the last. A few pairs, chosen by a game or a server of the cluster,
 * so each next key is simply searched for. */
static void put_metadata(crs_sink *s, const cereus_slice *keys, const cereus_slice *values, size_t count)
{
    crs_sink_byte(s, '{');
    for (size_t done = count; !s->status;) {
        size_t next = count;
        for (size_t i = 0; i < count; i++) {
            if (done != count && compare_slices(keys[i], keys[done]) <= 0)
                continue;
            if (next == count || compare_slices(keys[i], keys[next]) <= 0)
                next = i;
        }
        if (next == count)
            break;
        if (done != count)
            crs_sink_byte(s, ',');
        put_string(s, keys[next].data, keys[next].len);
        crs_sink_byte(s, ':');
        put_string(s, values[next].data, values[next].len);
        done = next;
    }
    crs_sink_byte(s, '}');
}

/* client-protocol.md 10.1: {"code":...,"msg":...,"metadata":{...}}, what is empty left out. */
static cereus_status encode_error(cereus_slice code, cereus_slice msg, const cereus_slice *meta_keys,
                                  const cereus_slice *meta_values, size_t meta_count, cereus_write_fn *write,
                                  void *user)
{
    uint8_t block[CRS_SINK_BLOCK];
    crs_sink s;
    crs_sink_init_write(&s, block, write, user, NULL);
    writer w = {.out = &s};
    bool first = true;
    crs_sink_byte(&s, '{');
    if (code.len) {
        put_name(&w, "code", first);
        put_string(&s, code.data, code.len);
        first = false;
    }
    if (msg.len) {
        put_name(&w, "msg", first);
        put_string(&s, msg.data, msg.len);
        first = false;
    }
    if (meta_count) {
        put_name(&w, "metadata", first);
        put_metadata(&s, meta_keys, meta_values, meta_count);
    }
    crs_sink_byte(&s, '}');
    return crs_sink_finish(&s);
}

const cereus_serializer crs_serializer_json = {
    .name = "json", .decode = crs_json_decode, .encode = encode_plain, .encode_error = encode_error};
const cereus_serializer crs_serializer_json_camel = {
    .name = "json", .decode = crs_json_decode, .encode = encode_camel, .encode_error = encode_error};
