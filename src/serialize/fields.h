/* serialize/fields.h: reading protobuf-c descriptors: where a field lives in its struct, whether it is present, what is
 * a map. Shared by the JSON and the Protobuf codec. */
#ifndef CRS_SERIALIZE_FIELDS_H
#define CRS_SERIALIZE_FIELDS_H

#include <protobuf-c/protobuf-c.h>

#include "serialize/mem.h"

/** Values nested deeper than this are refused, in and out: every level costs stack, and handlers run on small ones. */
enum { CRS_SERIALIZE_DEPTH_MAX = 64 };

/** Bytes of one element of the field. */
static inline size_t crs_field_size(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4; /* 32-bit numbers, enums and protobuf_c_boolean */
    }
}

/** Where the field's value is, or the pointer to its array. */
static inline void *crs_field_at(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return (uint8_t *)m + f->offset;
}

/** The n_, has_ or _case member of the field. */
static inline void *crs_field_quantifier(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return (uint8_t *)m + f->quantifier_offset;
}

/** Is this the member that its oneof holds at the moment? */
static inline bool crs_field_is_chosen(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return *(const uint32_t *)crs_field_quantifier(m, f) == f->id;
}

/** Note that a singular field has been given a value. */
static inline void crs_field_mark(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *(uint32_t *)crs_field_quantifier(m, f) = f->id;
    else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->type != PROTOBUF_C_TYPE_STRING &&
             f->type != PROTOBUF_C_TYPE_MESSAGE) /* those two have no has_, NULL says it */
        *(protobuf_c_boolean *)crs_field_quantifier(m, f) = 1;
}

/** A message of @p type with every field at its default. NULL: no memory. */
static inline ProtobufCMessage *crs_message_new(crs_mem *mem, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *m = crs_mem_take(mem, type->sizeof_message);
    if (m && CRS_LIKELY(type->message_init)) {
        protobuf_c_message_init(type, m);
    } else if (m) { /* a type made while running, without defaults of its own */
        memset(m, 0, type->sizeof_message);
        m->descriptor = type;
    }
    return m;
}

/** The value of a string field, "" for NULL. */
static inline const char *crs_field_text(const void *at)
{
    const char *text = *(const char *const *)at;
    return text ? text : "";
}

/** Is this repeated field of @p type a map? protobuf-c models one as messages {1 key, 2 value} called NameEntry. */
bool crs_field_is_map(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *f);

/** Are the keys of these map entries strictly rising? Entries are in the order of their keys' texts ("10" < "9"). */
bool crs_map_is_sorted(ProtobufCMessage *const *entries, size_t count);

/** Sort map entries by key; of those with the same key the last stays.
 * @param scratch  room for 2 * @p count pointers
 * @param ret_sorted  points into scratch
 * @return how many are left */
size_t crs_map_sort(ProtobufCMessage *const *entries, size_t count, ProtobufCMessage **scratch,
                    ProtobufCMessage ***ret_sorted);

/** Bring a map that was just decoded into that order, without double keys. False: no memory. */
bool crs_map_tidy(crs_mem *mem, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);

/* Which fields of a message were there: needed only by those marked `required`, a bit for each field. */
typedef struct crs_seen {
    uint64_t first; /* fields 0 to 63, enough for nearly every type */
    uint64_t *bits;
} crs_seen;

/** Nothing seen yet. False: no memory. */
bool crs_seen_init(crs_seen *s, crs_mem *mem, const ProtobufCMessageDescriptor *type);
/** A `required` field that was not seen; NULL: there is none. */
const ProtobufCFieldDescriptor *crs_seen_missing(const crs_seen *s, const ProtobufCMessageDescriptor *type);

static inline void crs_seen_add(crs_seen *s, size_t index)
{
    s->bits[index / 64] |= (uint64_t)1 << index % 64;
}

/** Decimal text of @p v at @p out, at most 20 bytes. Returns its length. */
size_t crs_text_u64(char *out, uint64_t v);
/** The same with a sign, at most 20 bytes. */
size_t crs_text_i64(char *out, int64_t v);
/** Decimal text of an integer or bool ("true") field's value, at most 20 bytes; 0: the field is of another type. */
size_t crs_text_integer(char *out, ProtobufCType type, const void *at);

#endif
