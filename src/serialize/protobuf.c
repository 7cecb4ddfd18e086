/* serialize/protobuf.c: Protobuf bytes into protobuf-c structs and back.
 *
 * Packing is protobuf-c's, after a walk that makes sure of what it takes for granted. Unpacking is our own walk over
 * the same descriptors, because protobuf-c's would not do for bytes of a peer: it recurses as deep as they say with a
 * KiB of stack for every level, takes texts that are not UTF-8 or are cut off at a NUL, and refuses a known number with
 * another wire type, which every other implementation keeps as an unknown field (client-protocol.md 9).
 *
 * Reading functions return false when the bytes are refused; then the reader has the status and the error its sentence.
 */
#include "serialize/protobuf.h"

#include <stdio.h>

#include "base/utf8.h"
#include "serialize/serializer.h"
#include "serialize/sink.h"

/* protobuf-c's enum of wire types lacks the two of groups */
enum { VARINT = 0, FIXED64 = 1, DELIMITED = 2, GROUP_START = 3, GROUP_END = 4, FIXED32 = 5 };

enum { NUMBER_MAX = (1 << 29) - 1 };

typedef struct reader {
    const uint8_t *start;
    crs_mem mem;
    int depth; /* open messages and groups */
    cereus_status status;
    cereus_error *err;
} reader;

/* -- refusing -- */

__attribute__((cold, noinline)) static bool refuse(reader *r, const uint8_t *at, const ProtobufCFieldDescriptor *f,
                                                   const char *what)
{
    size_t offset = (size_t)(at - r->start);
    if (!f)
        r->status = crs_fail(r->err, CEREUS_E_MALFORMED, "protobuf: %s (offset %zu)", what, offset);
    else if (f->name)
        r->status =
            crs_fail(r->err, CEREUS_E_MALFORMED, "protobuf: field \"%s\": %s (offset %zu)", f->name, what, offset);
    else
        r->status = crs_fail(r->err, CEREUS_E_MALFORMED, "protobuf: field %u: %s (offset %zu)", f->id, what, offset);
    return false;
}

__attribute__((cold, noinline)) static bool refuse_memory(reader *r)
{
    r->status = crs_fail(r->err, CEREUS_E_NOMEM, "protobuf: the message does not fit in the memory of a request");
    return false;
}

static const char cut_off[] = "the message is cut off";
static const char long_varint[] = "a number of more than 64 bits";

/* -- reading -- */

/* A varint; NULL: it does not end within the bytes or within 64 bits. */
static inline const uint8_t *varint(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
    if (CRS_LIKELY(p < end && *p < 0x80)) {
        *ret = *p;
        return p + 1;
    }
    uint64_t v = 0;
    for (unsigned shift = 0; p < end && shift < 64; shift += 7) {
        uint8_t c = *p++;
        if (shift == 63 && c > 1)
            return NULL;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *ret = v;
            return p;
        }
    }
    return NULL;
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get_u64(const uint8_t *p)
{
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

static bool read_tag(reader *r, const uint8_t **p, const uint8_t *end, uint32_t *ret_number, unsigned *ret_wire)
{
    uint64_t tag;
    const uint8_t *after = varint(*p, end, &tag);
    if (!after || tag >> 3 == 0 || tag >> 3 > NUMBER_MAX)
        return refuse(r, *p, NULL, after ? "a field number out of range" : cut_off);
    *ret_number = (uint32_t)(tag >> 3);
    *ret_wire = (unsigned)tag & 7;
    *p = after;
    return true;
}

/* Step over the value of a field; of a group's, up to its end. */
static bool skip_value(reader *r, const uint8_t **p, const uint8_t *end, uint32_t number, unsigned wire)
{
    const uint8_t *at = *p;
    uint64_t v;
    size_t left = (size_t)(end - at);
    switch (wire) {
    case VARINT:
        *p = varint(at, end, &v);
        return *p || refuse(r, at, NULL, left < 10 ? cut_off : long_varint);
    case FIXED64:
        *p = at + 8;
        return left >= 8 || refuse(r, at, NULL, cut_off);
    case FIXED32:
        *p = at + 4;
        return left >= 4 || refuse(r, at, NULL, cut_off);
    case DELIMITED: {
        const uint8_t *data = varint(at, end, &v);
        if (!data || v > (size_t)(end - data))
            return refuse(r, at, NULL, cut_off);
        *p = data + v;
        return true;
    }
    case GROUP_START:
        if (++r->depth > CRS_SERIALIZE_DEPTH_MAX)
            return refuse(r, at, NULL, "nested too deeply");
        for (;;) {
            uint32_t inner;
            unsigned inner_wire;
            if (!read_tag(r, p, end, &inner, &inner_wire))
                return false;
            if (inner_wire == GROUP_END) {
                r->depth--;
                return inner == number || refuse(r, at, NULL, "a group ends that was not open");
            }
            if (!skip_value(r, p, end, inner, inner_wire))
                return false;
        }
    default:
        return refuse(r, at, NULL, wire == GROUP_END ? "a group ends that was not open" : "an unknown wire type");
    }
}

static unsigned wire_type(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return FIXED64;
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return FIXED32;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return DELIMITED;
    default:
        return VARINT;
    }
}

/* A number of @p f at @p *p into @p at. */
static bool read_number(reader *r, const uint8_t **p, const uint8_t *end, const ProtobufCFieldDescriptor *f, void *at)
{
    uint64_t v;
    size_t left = (size_t)(end - *p);
    switch (wire_type(f)) {
    case FIXED32: {
        if (left < 4)
            return refuse(r, *p, f, cut_off);
        uint32_t v32 = get_u32(*p);
        memcpy(at, &v32, 4);
        *p += 4;
        return true;
    }
    case FIXED64:
        if (left < 8)
            return refuse(r, *p, f, cut_off);
        v = get_u64(*p);
        memcpy(at, &v, 8);
        *p += 8;
        return true;
    default:
        break;
    }
    const uint8_t *after = varint(*p, end, &v);
    if (!after)
        return refuse(r, *p, f, left < 10 ? cut_off : long_varint);
    *p = after;
    switch (f->type) {
    case PROTOBUF_C_TYPE_SINT32:
        *(uint32_t *)at = (uint32_t)v >> 1 ^ (0 - ((uint32_t)v & 1));
        break;
    case PROTOBUF_C_TYPE_SINT64:
        *(uint64_t *)at = v >> 1 ^ (0 - (v & 1));
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        *(uint64_t *)at = v;
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)at = v != 0;
        break;
    default: /* int32, uint32 and enums: the low half, as everywhere */
        *(uint32_t *)at = (uint32_t)v;
    }
    return true;
}

static bool read_message(reader *r, const uint8_t *p, const uint8_t *end, ProtobufCMessage *m);

static bool read_string(reader *r, const uint8_t *p, size_t len, const ProtobufCFieldDescriptor *f, char **ret)
{
    if (!crs_utf8_valid(cereus_slice_of(p, len)))
        return refuse(r, p, f, "a string that is not UTF-8");
    if (len && memchr(p, '\0', len))
        return refuse(r, p, f, "a string with a NUL, which C strings cannot hold");
    char *text = crs_mem_text(&r->mem, len);
    if (!text)
        return refuse_memory(r);
    memcpy(text, p, len);
    text[len] = '\0';
    *ret = text;
    return true;
}

static bool read_bytes(reader *r, const uint8_t *p, size_t len, ProtobufCBinaryData *ret)
{
    uint8_t *data = (uint8_t *)crs_mem_text(&r->mem, len);
    if (!data)
        return refuse_memory(r);
    memcpy(data, p, len);
    ret->data = data;
    ret->len = len;
    return true;
}

/* A length and so many bytes of @p f into @p at; a message that is there already is merged into. */
static bool read_delimited(reader *r, const uint8_t **p, const uint8_t *end, const ProtobufCFieldDescriptor *f,
                           void *at)
{
    uint64_t len;
    const uint8_t *data = varint(*p, end, &len);
    if (!data || len > (size_t)(end - data))
        return refuse(r, *p, f, cut_off);
    *p = data + len;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        return read_string(r, data, len, f, at);
    case PROTOBUF_C_TYPE_BYTES:
        return read_bytes(r, data, len, at);
    default:
        break;
    }
    ProtobufCMessage **slot = at;
    if (!*slot && !(*slot = crs_message_new(&r->mem, f->descriptor)))
        return refuse_memory(r);
    return read_message(r, data, data + len, *slot);
}

/* A value for a field whose wire type this is. */
static bool read_value(reader *r, const uint8_t **p, const uint8_t *end, const ProtobufCFieldDescriptor *f, void *at)
{
    return wire_type(f) == DELIMITED ? read_delimited(r, p, end, f, at) : read_number(r, p, end, f, at);
}

static bool read_element(reader *r, const uint8_t **p, const uint8_t *end, ProtobufCMessage *m,
                         const ProtobufCFieldDescriptor *f)
{
    size_t size = crs_field_size(f), *count = crs_field_quantifier(m, f);
    uint8_t **array = crs_field_at(m, f);
    uint8_t *wider = crs_mem_room(&r->mem, *array, *count, 1, size);
    if (!wider)
        return refuse_memory(r);
    *array = wider;
    void *at = wider + *count * size;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        *(void **)at = NULL;
    if (!read_value(r, p, end, f, at))
        return false;
    ++*count;
    return true;
}

/* Many numbers under one length. */
static bool read_packed(reader *r, const uint8_t **p, const uint8_t *end, ProtobufCMessage *m,
                        const ProtobufCFieldDescriptor *f)
{
    uint64_t len;
    const uint8_t *data = varint(*p, end, &len);
    if (!data || len > (size_t)(end - data))
        return refuse(r, *p, f, cut_off);
    const uint8_t *stop = data + len;
    *p = stop;
    size_t size = crs_field_size(f), *count = crs_field_quantifier(m, f), coming = 0;
    switch (wire_type(f)) {
    case FIXED32:
        coming = len / 4;
        break;
    case FIXED64:
        coming = len / 8;
        break;
    default:
        for (const uint8_t *q = data; q < stop; q++)
            coming += *q < 0x80;
    }
    uint8_t **array = crs_field_at(m, f);
    if (coming) {
        uint8_t *wider = crs_mem_room(&r->mem, *array, *count, coming, size);
        if (!wider)
            return refuse_memory(r);
        *array = wider;
    }
    if (coming == len && (f->type == PROTOBUF_C_TYPE_INT32 || f->type == PROTOBUF_C_TYPE_UINT32 ||
                          f->type == PROTOBUF_C_TYPE_ENUM)) { /* small numbers, as most are */
        uint32_t *out = (uint32_t *)(void *)(*array + *count * size);
        *count += coming;
        while (data < stop)
            *out++ = *data++;
        return true;
    }
    for (; coming; coming--) {
        if (!read_number(r, &data, stop, f, *array + *count * size))
            return false;
        ++*count;
    }
    return data == stop || refuse(r, data, f, cut_off);
}

/* Keep what is not known, as protobuf-c does: packing writes it again. */
static bool keep_unknown(reader *r, ProtobufCMessage *m, uint32_t number, unsigned wire, const uint8_t *data,
                         size_t len)
{
    void *wider = crs_mem_room(&r->mem, m->unknown_fields, m->n_unknown_fields, 1, sizeof *m->unknown_fields);
    uint8_t *copy = wider ? (uint8_t *)crs_mem_text(&r->mem, len) : NULL;
    if (!copy)
        return refuse_memory(r);
    memcpy(copy, data, len);
    m->unknown_fields = wider;
    m->unknown_fields[m->n_unknown_fields++] =
        (ProtobufCMessageUnknownField){.tag = number, .wire_type = (ProtobufCWireType)wire, .len = len, .data = copy};
    return true;
}

/* Maps as Go has them: keys once, and a value that was left out is there. */
static bool tidy_maps(reader *r, ProtobufCMessage *m)
{
    for (size_t i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (!crs_field_is_map(m->descriptor, f))
            continue;
        if (!crs_map_tidy(&r->mem, m, f))
            return refuse_memory(r);
        const ProtobufCFieldDescriptor *value = &((const ProtobufCMessageDescriptor *)f->descriptor)->fields[1];
        if (value->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        ProtobufCMessage **entries = *(ProtobufCMessage ***)crs_field_at(m, f);
        for (size_t k = 0; k < *(size_t *)crs_field_quantifier(m, f); k++) {
            ProtobufCMessage **slot = crs_field_at(entries[k], value);
            if (!*slot && !(*slot = crs_message_new(&r->mem, value->descriptor)))
                return refuse_memory(r);
        }
    }
    return true;
}

static bool read_message(reader *r, const uint8_t *p, const uint8_t *end, ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *type = m->descriptor;
    const uint8_t *at = p;
    if (++r->depth > CRS_SERIALIZE_DEPTH_MAX)
        return refuse(r, p, NULL, "nested too deeply");
    crs_seen seen;
    if (!crs_seen_init(&seen, &r->mem, type))
        return refuse_memory(r);
    bool has_maps = false;
    const ProtobufCFieldDescriptor *f = type->fields, *fields_end = f + type->n_fields;
    while (p < end) {
        uint32_t number;
        unsigned wire;
        if (!read_tag(r, &p, end, &number, &wire))
            return false;
        /* mostly the same field again or the one behind it */
        if (f == fields_end || f->id != number) {
            if (f != fields_end && f + 1 != fields_end && f[1].id == number)
                f++;
            else
                f = type->n_fields ? protobuf_c_message_descriptor_get_field(type, number) : NULL;
        }
        const uint8_t *data = p;
        bool repeated = f && f->label == PROTOBUF_C_LABEL_REPEATED, ok;
        if (f && wire == wire_type(f)) {
            void *slot = crs_field_at(m, f);
            if (repeated) {
                ok = read_element(r, &p, end, m, f);
                has_maps = has_maps || crs_field_is_map(type, f);
            } else {
                if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF && !crs_field_is_chosen(m, f))
                    memset(slot, 0, crs_field_size(f)); /* the union holds another member's value */
                ok = read_value(r, &p, end, f, slot);
                crs_field_mark(m, f);
            }
            crs_seen_add(&seen, (size_t)(f - type->fields));
        } else if (repeated && wire == DELIMITED && wire_type(f) != DELIMITED) {
            ok = read_packed(r, &p, end, m, f);
        } else {
            ok = skip_value(r, &p, end, number, wire) && keep_unknown(r, m, number, wire, data, (size_t)(p - data));
        }
        if (!ok)
            return false;
        if (!f)
            f = fields_end;
    }
    r->depth--;
    if (has_maps && !tidy_maps(r, m))
        return false;
    const ProtobufCFieldDescriptor *missing = crs_seen_missing(&seen, type);
    return !missing || refuse(r, at, missing, "required, but missing");
}

static cereus_status decode(const ProtobufCMessageDescriptor *type, cereus_slice body, cereus_alloc_fn *alloc,
                            void *allocator, ProtobufCMessage **ret_msg, cereus_error *err)
{
    reader r = {.start = body.data, .err = err};
    crs_mem_init(&r.mem, alloc, allocator, body.len);
    ProtobufCMessage *msg = crs_message_new(&r.mem, type);
    if (!msg)
        refuse_memory(&r);
    else if (read_message(&r, body.data, body.len ? body.data + body.len : body.data, msg))
        *ret_msg = msg;
    return r.status;
}

/* -- packing -- */

/* Is there a value behind this singular field's pointer that packing would follow? */
static bool is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF && !crs_field_is_chosen(m, f))
        return false;
    return *(void *const *)crs_field_at(m, f) != NULL;
}

/* Make sure of what packing takes for granted: texts are UTF-8 (Go refuses others on both sides), no element is
 * missing, and the nesting ends. */
static cereus_status check(const ProtobufCMessage *m, int depth, cereus_error *err)
{
    if (depth > CRS_SERIALIZE_DEPTH_MAX)
        return crs_fail(err, CEREUS_E_INVALID, "protobuf: nested deeper than %d", CRS_SERIALIZE_DEPTH_MAX);
    for (size_t i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        size_t count = 1;
        void *const *at = crs_field_at(m, f);
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            count = *(const size_t *)crs_field_quantifier(m, f);
            at = *(void *const *const *)at;
        } else if (!is_set(m, f)) {
            continue;
        }
        for (size_t k = 0; k < count; k++) {
            if (!at[k])
                return crs_fail(err, CEREUS_E_INVALID, "protobuf: field %u \"%s\": element %zu is NULL", f->id,
                                f->name ? f->name : "", k);
            if (f->type == PROTOBUF_C_TYPE_MESSAGE)
                CEREUS_TRY(check(at[k], depth + 1, err));
            else if (!crs_utf8_valid(cereus_slice_str(at[k])))
                return crs_fail(err, CEREUS_E_INVALID, "protobuf: field %u \"%s\": a string that is not UTF-8", f->id,
                                f->name ? f->name : "");
        }
    }
    return CEREUS_OK;
}

cereus_status crs_protobuf_append(crs_bytes *out, const ProtobufCMessage *msg, cereus_error *err)
{
    CEREUS_TRY(check(msg, 1, err));
    size_t len = protobuf_c_message_get_packed_size(msg);
    cereus_status st = crs_bytes_reserve(out, len);
    if (st)
        return crs_fail(err, st, "protobuf: %zu bytes cannot be written: %s", len, cereus_status_text(st));
    if (len)
        out->len += protobuf_c_message_pack(msg, out->data + out->len);
    return CEREUS_OK;
}

static cereus_status encode(const ProtobufCMessage *msg, cereus_write_fn *write, void *user, cereus_error *err)
{
    CEREUS_TRY(check(msg, 1, err));
    uint8_t block[CRS_SINK_BLOCK];
    size_t len = protobuf_c_message_get_packed_size(msg);
    uint8_t *packed = len <= sizeof block ? block : crs_malloc(len);
    if (!packed)
        return crs_fail(err, CEREUS_E_NOMEM, "protobuf: %zu bytes", len);
    cereus_status st = len ? write(user, packed, protobuf_c_message_pack(msg, packed)) : CEREUS_OK;
    if (packed != block)
        crs_free(packed);
    if (st)
        return crs_fail(err, st, "protobuf: the encoded message cannot be written: %s", cereus_status_text(st));
    return CEREUS_OK;
}

/* -- errors -- */

/* The bytes of s when each byte that is not UTF-8 has become U+FFFD. */
static size_t fixed_len(cereus_slice s)
{
    if (crs_utf8_valid(s))
        return s.len;
    size_t len = 0;
    while (s.len) {
        size_t n = crs_utf8_char(s), used = n ? n : 1;
        len += n ? n : 3;
        s.data += used;
        s.len -= used;
    }
    return len;
}

static void put_varint(crs_sink *s, uint64_t v)
{
    if (!crs_sink_room(s, 10))
        return;
    for (; v >= 0x80; v >>= 7)
        *s->at++ = (uint8_t)(v | 0x80);
    *s->at++ = (uint8_t)v;
}

static size_t varint_len(uint64_t v)
{
    size_t len = 1;
    for (; v >= 0x80; v >>= 7)
        len++;
    return len;
}

/* A string field with a number below 16. */
static void put_text(crs_sink *s, unsigned number, cereus_slice text, size_t fixed)
{
    crs_sink_byte(s, (char)(number << 3 | DELIMITED));
    put_varint(s, fixed);
    if (fixed == text.len) { /* replacing makes it longer */
        crs_sink_put(s, text.len ? (const void *)text.data : "", text.len);
        return;
    }
    while (text.len && !s->status) {
        size_t n = crs_utf8_char(text), used = n ? n : 1;
        if (n)
            crs_sink_put(s, text.data, n);
        else
            crs_sink_put(s, "\xef\xbf\xbd", 3);
        text.data += used;
        text.len -= used;
    }
}

/* client-protocol.md 10.1: Error {string code = 1; string msg = 2; map<string, string> metadata = 3;} */
static cereus_status encode_error(cereus_slice code, cereus_slice msg, const cereus_slice *meta_keys,
                                  const cereus_slice *meta_values, size_t meta_count, cereus_write_fn *write,
                                  void *user)
{
    uint8_t block[CRS_SINK_BLOCK];
    crs_sink s;
    crs_sink_init_write(&s, block, write, user, NULL);
    if (code.len)
        put_text(&s, 1, code, fixed_len(code));
    if (msg.len)
        put_text(&s, 2, msg, fixed_len(msg));
    for (size_t i = 0; i < meta_count && !s.status; i++) {
        size_t key = fixed_len(meta_keys[i]), value = fixed_len(meta_values[i]);
        crs_sink_byte(&s, 3 << 3 | DELIMITED);
        put_varint(&s, 1 + varint_len(key) + key + 1 + varint_len(value) + value);
        put_text(&s, 1, meta_keys[i], key); /* both are written even when empty, as Go does */
        put_text(&s, 2, meta_values[i], value);
    }
    return crs_sink_finish(&s);
}

const cereus_serializer crs_serializer_protobuf = {
    .name = "protobuf", .decode = decode, .encode = encode, .encode_error = encode_error};
