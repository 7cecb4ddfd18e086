/* serialize/json_read.c: JSON text into protobuf-c structs in one pass, by a walk over the generated descriptors; there
 * is no tree in between.
 *
 * Lenient as Go is: unknown members are skipped, names match exactly, else in lowerCamelCase or without regard to case,
 * null leaves the zero value, the last of duplicate members wins and duplicate objects merge. Strict where Go is: one
 * value and nothing behind it, no fraction into an integer, no number into a string. The body is a peer's: every
 * function checks before it looks, nesting is limited, and memory is in proportion to the body.
 *
 * Functions return false when the document is refused; then the reader has the status and the error its sentence. */
#include "serialize/json.h"

#include <stdio.h>

#include "base/utf8.h"
#include "serialize/float.h"

enum { PATH_MAX_LEN = 100 };

typedef struct reader {
    const uint8_t *p, *end; /* what is left */
    const uint8_t *start;
    crs_mem mem;
    int depth; /* open objects and arrays */
    cereus_status status;
    cereus_error *err;
    size_t path_at; /* the path to the refused value, built from its end while the calls return */
    char path[PATH_MAX_LEN];
} reader;

/* Not inlined into the functions that recurse: what it has on the stack would count at every level. */
#define LEAF __attribute__((noinline))

/* -- refusing -- */

__attribute__((cold, noinline))
CEREUS_PRINTF(3, 4) static bool refuse(reader *r, const uint8_t *at, const char *fmt, ...)
{
    char what[160];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    r->status = crs_fail(r->err, CEREUS_E_MALFORMED, "%s (offset %zu)", what, (size_t)(at - r->start));
    return false;
}

__attribute__((cold, noinline)) static bool refuse_memory(reader *r)
{
    r->status = crs_fail(r->err, CEREUS_E_NOMEM, "the message does not fit in the memory of a request");
    return false;
}

/* What stands at @p at instead of what was wanted. */
__attribute__((cold, noinline)) static bool refuse_found(reader *r, const uint8_t *at, const char *wanted)
{
    if (at >= r->end)
        return refuse(r, at, "ends where %s should be", wanted);
    switch (*at) {
    case '"':
        return refuse(r, at, "a string where %s should be", wanted);
    case '{':
        return refuse(r, at, "an object where %s should be", wanted);
    case '[':
        return refuse(r, at, "an array where %s should be", wanted);
    case '-':
    case '0' ... '9':
        return refuse(r, at, "a number where %s should be", wanted);
    default:
        if ((r->end - at >= 4 && memcmp(at, "true", 4) == 0) || (r->end - at >= 5 && memcmp(at, "false", 5) == 0))
            return refuse(r, at, "a bool where %s should be", wanted);
        if (*at > 0x20 && *at < 0x7f)
            return refuse(r, at, "'%c' where %s should be", *at, wanted);
        return refuse(r, at, "byte 0x%02x where %s should be", *at, wanted);
    }
}

/* Put a name or an index in front of the path; always false, for `return step || in_path(...)`. */
__attribute__((cold, noinline)) static bool in_path(reader *r, const char *name)
{
    size_t len = strlen(name), dot = r->path_at < PATH_MAX_LEN && r->path[r->path_at] != '[';
    if (len + dot <= r->path_at) {
        if (dot)
            r->path[--r->path_at] = '.';
        r->path_at -= len;
        memcpy(r->path + r->path_at, name, len);
    }
    return false;
}

__attribute__((cold, noinline)) static bool in_element(reader *r, size_t index)
{
    char text[32];
    snprintf(text, sizeof text, "[%zu]", index);
    return in_path(r, text);
}

/* -- the text -- */

static inline void skip_space(reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
        r->p++;
}

/* Is the next thing, behind blanks, a @p c? Then it is consumed. */
static inline bool eat(reader *r, char c)
{
    if (CRS_UNLIKELY(r->p < r->end && *r->p <= ' '))
        skip_space(r);
    if (r->p < r->end && *r->p == (uint8_t)c) {
        r->p++;
        return true;
    }
    return false;
}

static inline bool eat_word(reader *r, const char *word, size_t len)
{
    if ((size_t)(r->end - r->p) < len || memcmp(r->p, word, len) != 0)
        return false;
    r->p += len;
    return true;
}

static inline bool eat_null(reader *r)
{
    return r->p < r->end && *r->p == 'n' && eat_word(r, "null", 4);
}

static bool enter(reader *r)
{
    if (++r->depth > CRS_SERIALIZE_DEPTH_MAX)
        return refuse(r, r->p, "nested deeper than %d", CRS_SERIALIZE_DEPTH_MAX);
    r->p++;
    return true;
}

/* After a member or an element: is there another one? */
static bool more(reader *r, char close, bool *ret_more)
{
    if (eat(r, ',')) {
        *ret_more = true;
        return true;
    }
    if (!eat(r, close))
        return refuse_found(r, r->p, close == '}' ? "',' or '}'" : "',' or ']'");
    r->depth--;
    *ret_more = false;
    return true;
}

/* Each byte of w that is not plain text inside a string (quote, backslash, control, not ASCII) has its top bit set
 * here; bytes above such a one may have it too. */
static inline uint64_t not_plain(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quote = w ^ (ones * '"'), backslash = w ^ (ones * '\\');
    return (((w - ones * 0x20) & ~w) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | w) & tops;
}

/* The first byte that is not plain text, or the end. */
static inline const uint8_t *plain_end(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        uint64_t hit = not_plain(w);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        if (hit)
            return p + (__builtin_ctzll(hit) >> 3);
#else
        if (hit)
            break;
#endif
        p += 8;
    }
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* The escape or character at @p p, in UTF-8; lone surrogates and bytes that are not UTF-8 become U+FFFD, as in Go.
 * Returns how many bytes of @p out are set; 0: not allowed in a string. */
static size_t character(const uint8_t *p, const uint8_t *end, uint8_t out[4], size_t *ret_used)
{
    if (*p != '\\') {
        *ret_used = 1;
        if (*p < 0x20)
            return 0;
        size_t len = crs_utf8_char(cereus_slice_of(p, (size_t)(end - p)));
        if (len == 0)
            return crs_utf8_put(out, 0xfffd);
        memcpy(out, p, len);
        *ret_used = len;
        return len;
    }
    if (end - p < 2)
        return 0;
    *ret_used = 2;
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
        return crs_utf8_put(out, p[1]);
    case 'b':
        return crs_utf8_put(out, '\b');
    case 'f':
        return crs_utf8_put(out, '\f');
    case 'n':
        return crs_utf8_put(out, '\n');
    case 'r':
        return crs_utf8_put(out, '\r');
    case 't':
        return crs_utf8_put(out, '\t');
    case 'u':
        break;
    default:
        return 0;
    }
    uint32_t c;
    size_t used = crs_utf8_escaped(p + 2, end, &c);
    if (used == 0)
        return 0;
    *ret_used = 2 + used;
    return crs_utf8_put(out, c);
}

typedef struct text {
    const uint8_t *raw; /* between the quotes */
    size_t raw_len;
    size_t len;    /* when decoded */
    bool in_place; /* decoded and raw are the same */
    bool has_nul;
} text;

/* Find the end of the string at r->p and check it. */
static bool scan_text(reader *r, const char *wanted, text *ret)
{
    if (r->p >= r->end || *r->p != '"')
        return refuse_found(r, r->p, wanted);
    const uint8_t *p = r->p + 1;
    *ret = (text){.raw = p, .in_place = true};
    for (;;) {
        const uint8_t *q = plain_end(p, r->end);
        ret->len += (size_t)(q - p);
        p = q;
        if (p >= r->end)
            return refuse(r, r->p, "a string without its end");
        if (*p == '"')
            break;
        uint8_t out[4];
        size_t used = 1, len = character(p, r->end, out, &used);
        if (len == 0)
            return refuse(r, p, *p == '\\' ? "an unknown escape in a string" : "a control character in a string");
        if (len != used || memcmp(out, p, len) != 0)
            ret->in_place = false;
        if (out[0] == '\0')
            ret->has_nul = true;
        ret->len += len;
        p += used;
    }
    ret->raw_len = (size_t)(p - ret->raw);
    r->p = p + 1;
    return true;
}

/* The decoded text, text->len bytes. It was scanned, so nothing can be wrong with it. */
static void copy_text(uint8_t *out, const text *t)
{
    if (t->in_place) {
        memcpy(out, t->raw, t->raw_len);
        return;
    }
    const uint8_t *p = t->raw, *end = p + t->raw_len;
    while (p < end) {
        const uint8_t *q = plain_end(p, end);
        memcpy(out, p, (size_t)(q - p));
        out += q - p;
        p = q;
        if (p < end) {
            uint8_t c[4];
            size_t used, len = character(p, end, c, &used);
            memcpy(out, c, len);
            out += len;
            p += used;
        }
    }
}

/* The decoded text where it stands, else in the request's memory; NULL: no memory. */
static const uint8_t *text_bytes(reader *r, const text *t)
{
    if (t->in_place)
        return t->raw;
    uint8_t *copy = (uint8_t *)crs_mem_text(&r->mem, t->len);
    if (!copy)
        refuse_memory(r);
    else
        copy_text(copy, t);
    return copy;
}

LEAF static bool read_string(reader *r, char **ret)
{
    const uint8_t *at = r->p;
    text t;
    const uint8_t *q = at < r->end && *at == '"' ? plain_end(at + 1, r->end) : r->end;
    if (CRS_LIKELY(q < r->end && *q == '"')) { /* plain up to its end, as most are */
        t = (text){.raw = at + 1, .raw_len = (size_t)(q - at - 1), .in_place = true};
        t.len = t.raw_len;
        r->p = q + 1;
    } else {
        if (!scan_text(r, "a string", &t))
            return false;
        if (t.has_nul)
            return refuse(r, at, "a string with \\u0000, which C strings cannot hold");
    }
    char *copy = crs_mem_text(&r->mem, t.len);
    if (!copy)
        return refuse_memory(r);
    copy_text((uint8_t *)copy, &t);
    copy[t.len] = '\0';
    *ret = copy;
    return true;
}

static int base64_digit(uint8_t c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Go's base64.StdEncoding: padded, line ends ignored. */
LEAF static bool read_bytes(reader *r, ProtobufCBinaryData *ret)
{
    const uint8_t *at = r->p;
    text t;
    if (!scan_text(r, "a string of base64", &t))
        return false;
    const uint8_t *in = text_bytes(r, &t);
    uint8_t *out = (uint8_t *)crs_mem_text(&r->mem, t.len / 4 * 3 + 3);
    if (!in || !out)
        return refuse_memory(r);
    size_t len = 0, digits = 0, padding = 0;
    uint32_t group = 0;
    for (size_t i = 0; i < t.len; i++) {
        if (in[i] == '\n' || in[i] == '\r')
            continue;
        int digit = base64_digit(in[i]);
        if (in[i] == '=' && digits % 4 >= 2 && padding < 2) {
            padding++;
            continue;
        }
        if (digit < 0 || padding)
            return refuse(r, at, "a string that is not base64");
        group = group << 6 | (uint32_t)digit;
        if (++digits % 4 == 0) {
            crs_put_u24(out + len, group);
            len += 3;
        }
    }
    if (digits % 4 == 1 || padding != (4 - digits % 4) % 4)
        return refuse(r, at, "a string that is not base64");
    if (digits % 4 == 3) {
        out[len++] = (uint8_t)(group >> 10);
        out[len++] = (uint8_t)(group >> 2);
    } else if (digits % 4 == 2) {
        out[len++] = (uint8_t)(group >> 4);
    }
    ret->data = out;
    ret->len = len;
    return true;
}

/* -- numbers -- */

/* Take a number apart at @p p, whatever its kind. Returns its end; NULL: not one. */
static const uint8_t *scan_number(const uint8_t *p, const uint8_t *end, crs_decimal *d, bool *ret_integer)
{
    *d = (crs_decimal){.text = (const char *)p};
    d->negative = p < end && *p == '-';
    p += d->negative;
    const uint8_t *first = p;
    uint64_t m = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        m = m * 10 + (uint64_t)(*p - '0'); /* wraps with 20 digits, which d->digits tells */
    if (p == first || (*first == '0' && p - first > 1))
        return NULL;
    ptrdiff_t digits = p - first;
    *ret_integer = true;
    int exponent = 0;
    if (p < end && *p == '.') {
        *ret_integer = false;
        first = ++p;
        for (; p < end && *p >= '0' && *p <= '9'; p++)
            m = m * 10 + (uint64_t)(*p - '0');
        if (p == first)
            return NULL;
        digits += p - first;
        exponent = p - first > 1000 ? -1000 : (int)(first - p); /* far outside of what is used */
    }
    if (p < end && (*p | 0x20) == 'e') {
        *ret_integer = false;
        p++;
        bool negative = p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+'))
            p++;
        first = p;
        int e = 0;
        for (; p < end && *p >= '0' && *p <= '9'; p++)
            e = e < 10000 ? e * 10 + (*p - '0') : e;
        if (p == first)
            return NULL;
        exponent += negative ? -e : e;
    }
    d->digits = digits > 1000 ? 1000 : (int)digits;
    d->mantissa = m;
    d->exponent = exponent;
    d->len = (size_t)(p - (const uint8_t *)d->text);
    return p;
}

__attribute__((cold, noinline)) static bool refuse_number(reader *r, const uint8_t *at, const uint8_t *end,
                                                          const char *wanted)
{
    size_t len = (size_t)(end - at);
    return refuse(r, at, "%.*s%s is not %s", (int)CRS_MIN(len, (size_t)40), (const char *)at, len > 40 ? "..." : "",
                  wanted);
}

/* The integer at p, at most @p max or not below -@p max_negative; *ret is its two's complement. */
static bool integer_at(reader *r, const uint8_t *p, const uint8_t *end, const char *wanted, uint64_t max,
                       uint64_t max_negative, uint64_t *ret, const uint8_t **ret_end)
{
    const uint8_t *q = p;
    bool negative = q < end && *q == '-';
    q += negative;
    const uint8_t *first = q;
    uint64_t v = 0;
    while (q < end && *q >= '0' && *q <= '9' && q - first < 19)
        v = v * 10 + (uint64_t)(*q++ - '0');
    if (q == first)
        return negative ? refuse(r, p, "a malformed number") : refuse_found(r, p, wanted);
    bool fits = true;
    if (q < end && *q >= '0' && *q <= '9')
        fits = !__builtin_mul_overflow(v, (uint64_t)10, &v) && !__builtin_add_overflow(v, (uint64_t)(*q++ - '0'), &v);
    bool other = q < end && ((*q >= '0' && *q <= '9') || *q == '.' || (*q | 0x20) == 'e');
    if (other || !fits || (*first == '0' && q - first > 1) || v > (negative ? max_negative : max) ||
        (negative && max_negative == 0)) {
        crs_decimal d;
        bool integer;
        const uint8_t *stop = scan_number(p, end, &d, &integer);
        return stop ? refuse_number(r, p, stop, wanted) : refuse(r, p, "a malformed number");
    }
    *ret = negative ? 0 - v : v;
    *ret_end = q;
    return true;
}

/* At most nine digits and no sign fit each kind of integer, and most are so. False: look closer. */
static inline bool eat_small_integer(reader *r, uint64_t *ret)
{
    const uint8_t *p = r->p;
    ptrdiff_t room = CRS_MIN(r->end - p, (ptrdiff_t)10), n = 0;
    uint32_t v = 0;
    for (; n < room && (uint8_t)(p[n] - '0') <= 9; n++)
        v = v * 10 + (uint32_t)(p[n] - '0');
    bool whole = n > 0 && n < room && p[n] != '.' && (p[n] | 0x20) != 'e' && (n == 1 || p[0] != '0');
    if (!whole)
        return false;
    *ret = v;
    r->p = p + n;
    return true;
}

static inline bool read_integer(reader *r, const char *wanted, uint64_t max, uint64_t max_negative, uint64_t *ret)
{
    return CRS_LIKELY(eat_small_integer(r, ret)) || integer_at(r, r->p, r->end, wanted, max, max_negative, ret, &r->p);
}

/* 64-bit integers may come as strings: JavaScript has no other way to say large ones. */
LEAF static bool read_wide(reader *r, const char *wanted, uint64_t max, uint64_t max_negative, uint64_t *ret)
{
    if (r->p >= r->end || *r->p != '"')
        return read_integer(r, wanted, max, max_negative, ret);
    const uint8_t *at = r->p, *stop = NULL;
    text t;
    if (!scan_text(r, wanted, &t))
        return false;
    if (!t.in_place || t.raw_len == 0 || (*t.raw != '-' && (*t.raw < '0' || *t.raw > '9')))
        return refuse_found(r, at, wanted);
    if (!integer_at(r, t.raw, t.raw + t.raw_len, wanted, max, max_negative, ret, &stop))
        return false;
    return stop == t.raw + t.raw_len || refuse_found(r, at, wanted);
}

LEAF static bool read_float(reader *r, bool single, double *ret)
{
    const uint8_t *at = r->p;
    if (at >= r->end || (*at != '-' && (*at < '0' || *at > '9')))
        return refuse_found(r, at, "a number");
    crs_decimal d;
    bool integer;
    const uint8_t *stop = scan_number(at, r->end, &d, &integer);
    if (!stop)
        return refuse(r, at, "a malformed number");
    if (!crs_decimal_to_float(&d, single, &r->mem, ret))
        return *ret != *ret ? refuse_memory(r) : refuse_number(r, at, stop, single ? "a float" : "a double");
    r->p = stop;
    return true;
}

LEAF static bool read_enum(reader *r, const ProtobufCEnumDescriptor *type, int32_t *ret)
{
    static const char wanted[] = "the number or name of an enum value";
    if (r->p >= r->end || *r->p != '"') {
        uint64_t v;
        if (!read_integer(r, wanted, INT32_MAX, (uint64_t)INT32_MAX + 1, &v))
            return false;
        *ret = (int32_t)v;
        return true;
    }
    const uint8_t *at = r->p;
    text t;
    if (!scan_text(r, wanted, &t))
        return false;
    char name[128];
    if (t.len < sizeof name && !t.has_nul && type->values_by_name) {
        copy_text((uint8_t *)name, &t);
        name[t.len] = '\0';
        const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value_by_name(type, name);
        if (v) {
            *ret = v->value;
            return true;
        }
    }
    return refuse(r, at, "an unknown name where %s should be", wanted);
}

static bool read_bool(reader *r, protobuf_c_boolean *ret)
{
    if (eat_word(r, "true", 4)) {
        *ret = 1;
        return true;
    }
    if (eat_word(r, "false", 5)) {
        *ret = 0;
        return true;
    }
    return refuse_found(r, r->p, "a bool");
}

/* -- values -- */

static bool read_message(reader *r, ProtobufCMessage *m);

/* A value of @p f other than null, into @p at; a message that is there already is merged into. */
static bool read_value(reader *r, const ProtobufCFieldDescriptor *f, void *at)
{
    uint64_t v;
    double d;
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        if (!read_integer(r, "an int32", INT32_MAX, (uint64_t)INT32_MAX + 1, &v))
            return false;
        *(uint32_t *)at = (uint32_t)v;
        return true;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        if (!read_integer(r, "a uint32", UINT32_MAX, 0, &v))
            return false;
        *(uint32_t *)at = (uint32_t)v;
        return true;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return read_wide(r, "an int64", INT64_MAX, (uint64_t)INT64_MAX + 1, at);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return read_wide(r, "a uint64", UINT64_MAX, 0, at);
    case PROTOBUF_C_TYPE_FLOAT:
        if (!read_float(r, true, &d))
            return false;
        *(float *)at = (float)d;
        return true;
    case PROTOBUF_C_TYPE_DOUBLE:
        return read_float(r, false, at);
    case PROTOBUF_C_TYPE_BOOL:
        return read_bool(r, at);
    case PROTOBUF_C_TYPE_ENUM:
        return read_enum(r, f->descriptor, at);
    case PROTOBUF_C_TYPE_STRING:
        return read_string(r, at);
    case PROTOBUF_C_TYPE_BYTES:
        return read_bytes(r, at);
    case PROTOBUF_C_TYPE_MESSAGE: {
        ProtobufCMessage **slot = at;
        if (!*slot && !(*slot = crs_message_new(&r->mem, f->descriptor)))
            return refuse_memory(r);
        return read_message(r, *slot);
    }
    default:
        return refuse(r, r->p, "a field of a type that JSON does not know");
    }
}

/* The zero value of an element, for null. */
static bool zero_value(reader *r, const ProtobufCFieldDescriptor *f, void *at)
{
    memset(at, 0, crs_field_size(f));
    if (f->type == PROTOBUF_C_TYPE_STRING)
        *(const char **)at = protobuf_c_empty_string;
    else if (f->type == PROTOBUF_C_TYPE_MESSAGE &&
             !(*(ProtobufCMessage **)at = crs_message_new(&r->mem, f->descriptor)))
        return refuse_memory(r);
    return true;
}

static bool read_array(reader *r, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (r->p >= r->end || *r->p != '[')
        return refuse_found(r, r->p, "an array");
    if (!enter(r))
        return false;
    size_t size = crs_field_size(f), count = 0;
    uint8_t *array = NULL;
    bool again = true;
    if (eat(r, ']')) {
        r->depth--;
        again = false;
    }
    while (again) {
        uint8_t *wider = crs_mem_room(&r->mem, array, count, 1, size);
        if (!wider)
            return refuse_memory(r);
        array = wider;
        void *at = array + count * size;
        skip_space(r);
        if (f->type == PROTOBUF_C_TYPE_MESSAGE)
            *(void **)at = NULL;
        if (!(eat_null(r) ? zero_value(r, f, at) : read_value(r, f, at)))
            return in_element(r, count);
        count++;
        if (!more(r, ']', &again))
            return false;
    }
    *(size_t *)crs_field_quantifier(m, f) = count;
    *(void **)crs_field_at(m, f) = array;
    return true;
}

/* The name of a map's member as a key of its type. */
LEAF static bool read_map_key(reader *r, ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0];
    void *at = crs_field_at(entry, key);
    const uint8_t *start = r->p;
    if (key->type == PROTOBUF_C_TYPE_STRING)
        return read_string(r, at);
    text t;
    if (!scan_text(r, "a string", &t))
        return false;
    /* the text inside the quotes is a value of its own */
    const uint8_t *after = r->p, *end = r->end;
    r->p = t.raw;
    r->end = t.raw + t.raw_len;
    bool ok = t.in_place && t.raw_len && *t.raw != '"' && read_value(r, key, at) && r->p == r->end;
    r->p = after;
    r->end = end;
    if (!ok && !r->status)
        return refuse(r, start, "a key that is not of the map's type");
    return ok;
}

/* An object into repeated {key, value} messages; a map that is there already is added to. */
LEAF static bool read_map(reader *r, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const ProtobufCMessageDescriptor *type = f->descriptor;
    const ProtobufCFieldDescriptor *value = &type->fields[1];
    if (r->p >= r->end || *r->p != '{')
        return refuse_found(r, r->p, "an object");
    if (!enter(r))
        return false;
    size_t *count = crs_field_quantifier(m, f);
    ProtobufCMessage ***entries = crs_field_at(m, f);
    bool again = true;
    if (eat(r, '}')) {
        r->depth--;
        again = false;
    }
    while (again) {
        void *wider = crs_mem_room(&r->mem, *entries, *count, 1, sizeof **entries);
        ProtobufCMessage *entry = wider ? crs_message_new(&r->mem, type) : NULL;
        if (!entry)
            return refuse_memory(r);
        *entries = wider;
        skip_space(r);
        if (!read_map_key(r, entry))
            return false;
        if (!eat(r, ':'))
            return refuse_found(r, r->p, "':'");
        skip_space(r);
        void *at = crs_field_at(entry, value);
        if (!(eat_null(r) ? zero_value(r, value, at) : read_value(r, value, at)))
            return false;
        crs_field_mark(entry, &type->fields[0]);
        crs_field_mark(entry, value);
        (*entries)[(*count)++] = entry;
        if (!more(r, '}', &again))
            return false;
    }
    return crs_map_tidy(&r->mem, m, f) || refuse_memory(r);
}

/* null: as if the member was not there, also if it was before. A plain proto3 scalar keeps what it has, as in Go. */
static void clear_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        if (crs_field_is_chosen(m, f))
            *(uint32_t *)crs_field_quantifier(m, f) = 0;
    } else if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        *(size_t *)crs_field_quantifier(m, f) = 0;
        *(void **)crs_field_at(m, f) = NULL;
    } else if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        *(void **)crs_field_at(m, f) = NULL;
    } else if (f->label == PROTOBUF_C_LABEL_OPTIONAL) {
        if (f->type == PROTOBUF_C_TYPE_STRING)
            *(const void **)crs_field_at(m, f) = f->default_value;
        else
            *(protobuf_c_boolean *)crs_field_quantifier(m, f) = 0;
    }
}

static bool read_field(reader *r, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (eat_null(r)) {
        clear_field(m, f);
        return true;
    }
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return crs_field_is_map(m->descriptor, f) ? read_map(r, m, f) : read_array(r, m, f);
    void *at = crs_field_at(m, f);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF && !crs_field_is_chosen(m, f))
        memset(at, 0, crs_field_size(f)); /* the union holds another member's value */
    if (!read_value(r, f, at))
        return false;
    crs_field_mark(m, f);
    return true;
}

/* -- members -- */

static bool skip_object(reader *r);

/* Check and forget a value. */
static bool skip_value(reader *r)
{
    static const char wanted[] = "a value";
    skip_space(r);
    if (r->p >= r->end)
        return refuse_found(r, r->p, wanted);
    text t;
    bool again = true;
    switch (*r->p) {
    case '"':
        return scan_text(r, wanted, &t);
    case '{':
        return skip_object(r);
    case '[':
        if (!enter(r))
            return false;
        if (eat(r, ']')) {
            r->depth--;
            return true;
        }
        while (again) {
            if (!skip_value(r) || !more(r, ']', &again))
                return false;
        }
        return true;
    case 't':
        return eat_word(r, "true", 4) || refuse_found(r, r->p, wanted);
    case 'f':
        return eat_word(r, "false", 5) || refuse_found(r, r->p, wanted);
    case 'n':
        return eat_word(r, "null", 4) || refuse_found(r, r->p, wanted);
    case '-':
    case '0' ... '9':
        break;
    default:
        return refuse_found(r, r->p, wanted);
    }
    crs_decimal d;
    bool integer;
    const uint8_t *stop = scan_number(r->p, r->end, &d, &integer);
    if (!stop)
        return refuse(r, r->p, "a malformed number");
    r->p = stop;
    return true;
}

static bool skip_object(reader *r)
{
    if (!enter(r))
        return false;
    bool again = !eat(r, '}');
    if (!again)
        r->depth--;
    while (again) {
        text t;
        skip_space(r);
        if (!scan_text(r, "the name of a member", &t))
            return false;
        if (!eat(r, ':'))
            return refuse_found(r, r->p, "':'");
        if (!skip_value(r) || !more(r, '}', &again))
            return false;
    }
    return true;
}

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

enum { NO_MATCH, LIKE, CAMEL };

/* How does a key that is no field's name compare to this one's: CAMEL its lowerCamelCase form, LIKE one of both forms
 * when case is ignored. */
static int compare_loosely(const char *name, const char *key, size_t len)
{
    bool camel = true, like = true, like_own = true;
    size_t i = 0; /* in the key, for the form without '_' */
    const char *p = name;
    for (bool upper = false; *p; p++) {
        size_t own = (size_t)(p - name);
        like_own = like_own && own < len && lower(*p) == lower(key[own]);
        if (*p == '_') {
            upper = true;
            continue;
        }
        char want = upper && *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
        camel = camel && i < len && key[i] == want;
        like = like && i < len && lower(key[i]) == lower(want);
        if (!like && !like_own)
            return NO_MATCH;
        upper = false;
        i++;
    }
    if (camel && i == len)
        return CAMEL;
    return (like && i == len) || (like_own && (size_t)(p - name) == len) ? LIKE : NO_MATCH;
}

/* The field that a key names; NULL: none. Writers mostly keep the order of fields, so @p guess is the one to try first.
 */
static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type, const char *key, size_t len,
                                                  size_t guess)
{
    size_t low = 0, high = type->n_fields;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const ProtobufCFieldDescriptor *f = &type->fields[type->fields_sorted_by_name[middle]];
        size_t name_len = strlen(f->name);
        int order = memcmp(f->name, key, CRS_MIN(name_len, len));
        if (order == 0 && name_len == len)
            return f;
        if (order < 0 || (order == 0 && name_len < len))
            low = middle + 1;
        else
            high = middle;
    }
    const ProtobufCFieldDescriptor *like = NULL;
    for (size_t i = 0; i < type->n_fields; i++, guess++) {
        if (guess >= type->n_fields)
            guess = 0;
        const ProtobufCFieldDescriptor *f = &type->fields[guess];
        int match = compare_loosely(f->name, key, len);
        if (match == CAMEL)
            return f;
        if (match == LIKE && !like)
            like = f;
    }
    return like;
}

/* A member's name and colon, when it is exactly that field's. */
static inline bool eat_name(reader *r, const ProtobufCFieldDescriptor *f)
{
    const uint8_t *p = r->p;
    if (r->end - p < 3 || *p++ != '"')
        return false;
    const char *name = f->name;
    while (p < r->end && *name && *p == (uint8_t)*name) {
        p++;
        name++;
    }
    if (*name || r->end - p < 2 || p[0] != '"' || p[1] != ':')
        return false;
    r->p = p + 2;
    return true;
}

/* A member's name and colon; *ret_field is NULL when no field is called like that. */
LEAF static bool read_name(reader *r, const ProtobufCMessageDescriptor *type, size_t guess,
                           const ProtobufCFieldDescriptor **ret_field)
{
    text t;
    if (!scan_text(r, "the name of a member", &t))
        return false;
    const uint8_t *name = text_bytes(r, &t);
    if (!name)
        return false;
    *ret_field = find_field(type, (const char *)name, t.len, guess);
    return eat(r, ':') || refuse_found(r, r->p, "':'");
}

static bool read_message(reader *r, ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *type = m->descriptor;
    if (r->p >= r->end || *r->p != '{')
        return refuse_found(r, r->p, "an object");
    if (type->n_fields && !type->fields_sorted_by_name)
        return refuse(r, r->p, "%s was generated without names", type->c_name ? type->c_name : "the message type");
    const uint8_t *at = r->p;
    if (!enter(r))
        return false;
    crs_seen seen;
    if (!crs_seen_init(&seen, &r->mem, type))
        return refuse_memory(r);
    size_t next = 0;
    bool again = !eat(r, '}');
    if (!again)
        r->depth--;
    while (again) {
        skip_space(r);
        const ProtobufCFieldDescriptor *f = NULL;
        if (next < type->n_fields && eat_name(r, &type->fields[next]))
            f = &type->fields[next];
        else if (!read_name(r, type, next, &f))
            return false;
        if (f) {
            size_t index = (size_t)(f - type->fields);
            crs_seen_add(&seen, index);
            next = index + 1;
            skip_space(r);
            if (!read_field(r, m, f))
                return in_path(r, f->name);
        } else if (!skip_value(r)) {
            return false;
        }
        if (!more(r, '}', &again))
            return false;
    }
    const ProtobufCFieldDescriptor *missing = crs_seen_missing(&seen, type);
    return !missing || refuse(r, at, "the required member \"%s\" is missing", missing->name);
}

cereus_status crs_json_decode(const ProtobufCMessageDescriptor *type, cereus_slice body, cereus_alloc_fn *alloc,
                              void *allocator, ProtobufCMessage **ret_msg, cereus_error *err)
{
    reader r; /* its path stays unset until something is refused */
    r.start = r.p = body.data;
    r.end = body.len ? body.data + body.len : body.data;
    crs_mem_init(&r.mem, alloc, allocator, body.len);
    r.depth = 0;
    r.status = CEREUS_OK;
    r.err = err;
    r.path_at = PATH_MAX_LEN;

    bool ok;
    ProtobufCMessage *msg = crs_message_new(&r.mem, type);
    if (!msg) {
        ok = refuse_memory(&r);
    } else {
        skip_space(&r);
        ok = eat_null(&r) || read_message(&r, msg);
        skip_space(&r);
        if (ok && r.p < r.end)
            ok = refuse_found(&r, r.p, "the end");
    }
    if (ok) {
        *ret_msg = msg;
        return CEREUS_OK;
    }
    if (r.path_at == PATH_MAX_LEN)
        return crs_fail_in(err, r.status, "json");
    return crs_fail_in(err, r.status, "json: field \"%.*s\"", (int)(PATH_MAX_LEN - r.path_at), r.path + r.path_at);
}
