/* serialize/fields.c: what the codecs need to know of descriptors, beyond loads and stores. */
#include "serialize/fields.h"

/* "LabelsEntry" for "labels", "LabelByIdEntry" for "label_by_id": how protoc names the message of a map. */
static bool is_entry_name(const char *entry, const char *field)
{
    bool upper = true;
    for (; *field; field++) {
        if (*field == '_') {
            upper = true;
            continue;
        }
        char want = upper && *field >= 'a' && *field <= 'z' ? (char)(*field - 'a' + 'A') : *field;
        if (*entry++ != want)
            return false;
        upper = false;
    }
    return strcmp(entry, "Entry") == 0;
}

bool crs_field_is_map(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *f)
{
    if (f->type != PROTOBUF_C_TYPE_MESSAGE || f->label != PROTOBUF_C_LABEL_REPEATED)
        return false;
    const ProtobufCMessageDescriptor *entry = f->descriptor;
    if (entry->n_fields != 2 || entry->fields[0].id != 1 || entry->fields[1].id != 2 || !entry->fields[0].name ||
        strcmp(entry->fields[0].name, "key") != 0 || strcmp(entry->fields[1].name, "value") != 0 ||
        entry->fields[1].label == PROTOBUF_C_LABEL_REPEATED)
        return false;
    switch (entry->fields[0].type) {
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return false;
    default:
        break;
    }
    /* and it is declared inside the message that holds the map */
    size_t len = strlen(type->name);
    return strncmp(entry->name, type->name, len) == 0 && entry->name[len] == '.' &&
           strcmp(entry->name + len + 1, entry->short_name) == 0 && is_entry_name(entry->short_name, f->name);
}

static size_t digits_of(uint64_t v)
{
    size_t count = 1;
    for (; v >= 10000; v /= 10000)
        count += 4;
    return count + (v >= 10) + (v >= 100) + (v >= 1000);
}

size_t crs_text_u64(char *out, uint64_t v)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                "8081828384858687888990919293949596979899";
    size_t len = digits_of(v);
    char *p = out + len;
    while (v >= 100) {
        p -= 2;
        memcpy(p, pairs + v % 100 * 2, 2);
        v /= 100;
    }
    if (v >= 10)
        memcpy(out, pairs + v * 2, 2);
    else
        *out = (char)('0' + v);
    return len;
}

size_t crs_text_i64(char *out, int64_t v)
{
    if (v >= 0)
        return crs_text_u64(out, (uint64_t)v);
    *out = '-';
    return 1 + crs_text_u64(out + 1, 0 - (uint64_t)v);
}

size_t crs_text_integer(char *out, ProtobufCType type, const void *at)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        return crs_text_i64(out, *(const int32_t *)at);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return crs_text_i64(out, *(const int64_t *)at);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return crs_text_u64(out, *(const uint32_t *)at);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return crs_text_u64(out, *(const uint64_t *)at);
    case PROTOBUF_C_TYPE_BOOL:
        if (*(const protobuf_c_boolean *)at) {
            memcpy(out, "true", 4);
            return 4;
        }
        memcpy(out, "false", 5);
        return 5;
    default:
        return 0;
    }
}

static int compare_keys(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    const ProtobufCFieldDescriptor *key = &a->descriptor->fields[0];
    const void *at_a = crs_field_at(a, key), *at_b = crs_field_at(b, key);
    if (key->type == PROTOBUF_C_TYPE_STRING)
        return strcmp(crs_field_text(at_a), crs_field_text(at_b));
    char text_a[24], text_b[24];
    text_a[crs_text_integer(text_a, key->type, at_a)] = '\0';
    text_b[crs_text_integer(text_b, key->type, at_b)] = '\0';
    return strcmp(text_a, text_b);
}

bool crs_map_is_sorted(ProtobufCMessage *const *entries, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (compare_keys(entries[i - 1], entries[i]) >= 0)
            return false;
    }
    return true;
}

/* Merge two sorted neighbours; of equal keys the left one comes first. */
static void merge(ProtobufCMessage **left, ProtobufCMessage **middle, ProtobufCMessage **right, ProtobufCMessage **out)
{
    ProtobufCMessage **a = left, **b = middle;
    while (a < middle || b < right)
        *out++ = b == right || (a < middle && compare_keys(*a, *b) <= 0) ? *a++ : *b++;
}

size_t crs_map_sort(ProtobufCMessage *const *entries, size_t count, ProtobufCMessage **scratch,
                    ProtobufCMessage ***ret_sorted)
{
    /* A merge sort: peers choose the keys, so the worst case counts; and it is stable, so the last of equals is last.
     */
    ProtobufCMessage **from = scratch, **to = scratch + count;
    if (count)
        memcpy(from, entries, count * sizeof *from);
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t i = 0; i < count; i += 2 * width) {
            size_t middle = CRS_MIN(i + width, count), right = CRS_MIN(i + 2 * width, count);
            merge(from + i, from + middle, from + right, to + i);
        }
        ProtobufCMessage **swap = from;
        from = to;
        to = swap;
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (i + 1 == count || compare_keys(from[i], from[i + 1]) != 0)
            from[kept++] = from[i];
    }
    *ret_sorted = from;
    return kept;
}

bool crs_map_tidy(crs_mem *mem, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    size_t *count = crs_field_quantifier(m, f);
    ProtobufCMessage **entries = *(ProtobufCMessage ***)crs_field_at(m, f);
    if (crs_map_is_sorted(entries, *count))
        return true;
    ProtobufCMessage **scratch = crs_mem_take(mem, 2 * *count * sizeof *scratch), **sorted;
    if (!scratch)
        return false;
    *count = crs_map_sort(entries, *count, scratch, &sorted);
    memcpy(entries, sorted, *count * sizeof *entries);
    return true;
}

bool crs_seen_init(crs_seen *s, crs_mem *mem, const ProtobufCMessageDescriptor *type)
{
    s->first = 0;
    s->bits = &s->first;
    if (CRS_LIKELY(type->n_fields <= 64))
        return true;
    size_t size = (type->n_fields + 63) / 64 * sizeof *s->bits;
    s->bits = crs_mem_take(mem, size);
    if (!s->bits)
        return false;
    memset(s->bits, 0, size);
    return true;
}

const ProtobufCFieldDescriptor *crs_seen_missing(const crs_seen *s, const ProtobufCMessageDescriptor *type)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &type->fields[i];
        if (f->label == PROTOBUF_C_LABEL_NONE)
            return NULL; /* only proto3 has it, and proto3 has nothing that is required */
        if (f->label == PROTOBUF_C_LABEL_REQUIRED && !(s->bits[i / 64] >> i % 64 & 1))
            return f;
    }
    return NULL;
}
