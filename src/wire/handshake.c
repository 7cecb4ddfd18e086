/* wire/handshake.c: reading is one pass over the text that notes where things are, then copies of the few that are
 * kept. Bad UTF-8 is mended first, in a copy, so that nothing behind it has to think of that. */
#include "wire/handshake.h"

#include <stdio.h>

#include "base/utf8.h"
#include "wire/json_scan.h"
#include "wire/packet.h"

/* -- reading -- */

/* Where the wanted parts are. Raw strings: between their quotes, escapes untouched; data NULL: not there. */
typedef struct found {
    cereus_slice platform, lib_version, client_build_number, client_version;
    cereus_slice type; /* what the JavaScript client says of itself; no member of Pitaya's, so it may be anything */
    cereus_slice user; /* an object; points into the text, or to memory of the arena once two were merged */
    size_t user_cap;   /* room at user.data; 0: it points into the text */
} found;

/* Bytes that are not UTF-8, each: U+FFFD, as Go reads them. Outside of strings that is as wrong as they were. */
static bool mend_utf8(cereus_slice *json, crs_arena *arena)
{
    if (CRS_LIKELY(crs_utf8_valid(*json)))
        return true;
    size_t bad = 0;
    for (cereus_slice rest = *json; rest.len;) {
        size_t n = crs_utf8_char(rest);
        bad += n == 0;
        n += n == 0;
        rest = cereus_slice_of(rest.data + n, rest.len - n);
    }
    if (bad > (SIZE_MAX - json->len) / 2)
        return false;
    uint8_t *copy = crs_arena_alloc(arena, json->len + 2 * bad);
    if (!copy)
        return false;
    uint8_t *to = copy;
    for (cereus_slice rest = *json; rest.len;) {
        size_t n = crs_utf8_char(rest);
        memcpy(to, n ? rest.data : (const uint8_t *)"\xef\xbf\xbd", n ? n : 3);
        to += n ? n : 3;
        n += n == 0;
        rest = cereus_slice_of(rest.data + n, rest.len - n);
    }
    *json = cereus_slice_of(copy, (size_t)(to - copy));
    return true;
}

/* Is @p raw, without its escapes, @p name when case does not count? Go's folding knows one more letter that matters
 * here: U+017F, the long s. */
static bool name_is(cereus_slice raw, const char *name)
{
    uint8_t text[128]; /* the longest name is 17 letters of at most 6 bytes each */
    if (raw.len > sizeof text)
        return false;
    size_t len = crs_json_unescape(raw, text);
    for (size_t i = 0; i < len; i++, name++) {
        uint8_t c = text[i];
        if (c == 0xc5 && i + 1 < len && text[i + 1] == 0xbf) {
            c = 's';
            i++;
        }
        c = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
        uint8_t want = (uint8_t)*name;
        want = want >= 'A' && want <= 'Z' ? want | 0x20 : want;
        if (want == '\0' || c != want)
            return false;
    }
    return *name == '\0';
}

/* Opens an object, or skips the null that may stand for it. */
static bool open_object(crs_json_scan *s, bool *ret_null)
{
    *ret_null = false;
    if (crs_json_skip_byte(s, '{'))
        return true;
    *ret_null = s->at < s->end && *s->at == 'n';
    return *ret_null && crs_json_skip_value(s, 0, false);
}

/* The next member's name, up to behind the colon; *ret_end instead when the object ends. */
static bool next_member(crs_json_scan *s, bool *first, cereus_slice *ret_name, bool *ret_end)
{
    *ret_end = crs_json_skip_byte(s, '}');
    if (*ret_end)
        return true;
    if (!*first && !crs_json_skip_byte(s, ','))
        return false;
    *first = false;
    return crs_json_skip_string(s, ret_name) && crs_json_skip_byte(s, ':');
}

static bool read_sys(crs_json_scan *s, found *f)
{
    const struct {
        const char *name;
        cereus_slice *raw;
        bool free; /* may be of any kind */
    } members[] = {
        {"platform", &f->platform, false},
        {"libVersion", &f->lib_version, false},
        {"clientBuildNumber", &f->client_build_number, false},
        {"clientVersion", &f->client_version, false},
        {"type", &f->type, true},
    };
    bool null, end, first = true;
    if (!open_object(s, &null))
        return false;
    while (!null) {
        cereus_slice name;
        if (!next_member(s, &first, &name, &end))
            return false;
        if (end)
            break;
        cereus_slice *raw = NULL;
        bool any_kind = true;
        for (size_t i = 0; i < CEREUS_COUNT(members) && !raw; i++) {
            raw = name_is(name, members[i].name) ? members[i].raw : NULL;
            any_kind = !raw || members[i].free;
        }
        if (!crs_json_skip_space(s))
            return false;
        bool ok;
        if (raw && *s->at == '"')
            ok = crs_json_skip_string(s, raw);
        else /* null leaves a member as it was, anything else is no string */
            ok = (any_kind || *s->at == 'n') && crs_json_skip_value(s, CRS_JSON_DEPTH_MAX - 2, false);
        if (!ok)
            return false;
    }
    return true;
}

/* Go decodes a second "user" into the map of the first one. Here the second text is put behind the first, and whoever
 * reads it takes the last of equal names. */
static cereus_status merge_user(found *f, cereus_slice more, size_t text_left, crs_arena *arena)
{
    if (f->user_cap == 0) {
        size_t cap = f->user.len + more.len + text_left; /* all that can still come */
        uint8_t *copy = crs_arena_alloc(arena, cap);
        if (!copy)
            return CEREUS_E_NOMEM;
        memcpy(copy, f->user.data, f->user.len);
        f->user.data = copy;
        f->user_cap = cap;
    }
    uint8_t *end = (uint8_t *)f->user.data + f->user.len - 1; /* on the closing brace */
    crs_json_scan one = {f->user.data + 1, end}, two = {more.data + 1, more.data + more.len - 1};
    if (!crs_json_skip_space(&two))
        return CEREUS_OK;
    *end = ','; /* one byte for the brace that goes; the second text brings its own */
    end += crs_json_skip_space(&one);
    memcpy(end, more.data + 1, more.len - 1);
    f->user.len = (size_t)(end + more.len - 1 - f->user.data);
    CRS_ASSERT(f->user.len <= f->user_cap);
    return CEREUS_OK;
}

static cereus_status read_user(crs_json_scan *s, found *f, crs_arena *arena)
{
    if (!crs_json_skip_space(s) || (*s->at != '{' && *s->at != 'n'))
        return CEREUS_E_MALFORMED;
    const uint8_t *start = s->at;
    if (!crs_json_skip_value(s, CRS_JSON_DEPTH_MAX - 1, true))
        return CEREUS_E_MALFORMED;
    cereus_slice text = cereus_slice_of(start, (size_t)(s->at - start));
    if (*start == 'n') {
        f->user = cereus_slice_of(NULL, 0);
        f->user_cap = 0;
        return CEREUS_OK;
    }
    if (f->user.data)
        return merge_user(f, text, (size_t)(s->end - s->at), arena);
    f->user = text;
    return CEREUS_OK;
}

static cereus_status read_all(cereus_slice json, crs_arena *arena, found *f)
{
    crs_json_scan s = {json.data, json.data + json.len};
    bool null, end, first = true;
    if (!crs_json_skip_space(&s) || !open_object(&s, &null))
        return CEREUS_E_MALFORMED;
    while (!null) {
        cereus_slice name;
        if (!next_member(&s, &first, &name, &end))
            return CEREUS_E_MALFORMED;
        if (end)
            break;
        if (name_is(name, "user"))
            CEREUS_TRY(read_user(&s, f, arena));
        else if (name_is(name, "sys") ? !read_sys(&s, f) : !crs_json_skip_value(&s, CRS_JSON_DEPTH_MAX - 1, false))
            return CEREUS_E_MALFORMED;
    }
    return crs_json_skip_space(&s) ? CEREUS_E_MALFORMED : CEREUS_OK; /* trailing bytes */
}

/* NULL: no memory. */
static const char *keep_string(cereus_slice raw, crs_arena *arena)
{
    if (raw.len == 0)
        return "";
    uint8_t *text = crs_arena_alloc(arena, raw.len + 1);
    if (!text)
        return NULL;
    size_t len = crs_json_unescape(raw, text);
    text[len] = '\0';
    /* A C string ends at a NUL, and a validator must not take the part before it for the whole */
    for (uint8_t *nul = text; (nul = memchr(nul, '\0', len - (size_t)(nul - text)));)
        *nul = '?';
    return (const char *)text;
}

/** "4.6.2-" and the like; not the 0.3.5-release that the Go client, which has other ways, calls itself. */
static bool is_libpitaya(cereus_slice version)
{
    unsigned dots = 0;
    if (version.len == 0 || version.data[0] == '0')
        return false;
    for (size_t i = 0; i < version.len; i++) {
        uint8_t c = version.data[i];
        if (c == '-')
            return dots == 2;
        if (c != '.' && (c < '0' || c > '9'))
            return false;
        dots += c == '.';
    }
    return false;
}

static unsigned needs_of(cereus_slice type, cereus_slice lib_version)
{
    unsigned needs = 0;
    if (type.len >= 3 && memcmp(type.data, "js-", 3) == 0)
        needs |= CRS_NEEDS_PLAIN_BODIES;
    if (is_libpitaya(lib_version))
        needs |= CRS_NEEDS_ROUTE_TEXT;
    return needs;
}

cereus_status crs_handshake_parse(cereus_slice json, crs_arena *arena, crs_handshake *ret_hs)
{
    found f = {0};
    if (!mend_utf8(&json, arena))
        return CEREUS_E_NOMEM;
    CEREUS_TRY(read_all(json, arena, &f));

    crs_handshake hs = {
        .platform = keep_string(f.platform, arena),
        .lib_version = keep_string(f.lib_version, arena),
        .client_build_number = keep_string(f.client_build_number, arena),
        .client_version = keep_string(f.client_version, arena),
        .needs = needs_of(f.type, f.lib_version),
        .user = f.user,
    };
    if (!hs.platform || !hs.lib_version || !hs.client_build_number || !hs.client_version)
        return CEREUS_E_NOMEM;
    if (f.user.data && f.user_cap == 0) { /* still in the caller's buffer */
        char *copy = crs_arena_strndup(arena, (const char *)f.user.data, f.user.len);
        if (!copy)
            return CEREUS_E_NOMEM;
        hs.user.data = (const uint8_t *)copy;
    }
    *ret_hs = hs;
    return CEREUS_OK;
}

/* -- writing -- */

/* Bytes at the front of @p s that go out as they are; 0 < len: stops at one that does not. */
static size_t plain_run(cereus_slice s)
{
    size_t i = 0;
    while (i < s.len) {
        uint8_t c = s.data[i];
        if (c >= 0x80) {
            size_t n = crs_utf8_char(cereus_slice_of(s.data + i, s.len - i));
            if (n == 0 || (n == 3 && c == 0xe2 && s.data[i + 1] == 0x80 && (s.data[i + 2] & 0xfe) == 0xa8))
                break;
            i += n;
            continue;
        }
        if (c < 0x20 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&')
            break;
        i++;
    }
    return i;
}

/* The escape for the character at the front of @p s, which has one. @return bytes of @p s that it stands for. */
static size_t escape_one(cereus_slice s, char out[8])
{
    static const char letters[32] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    static const char hex[] = "0123456789abcdef";
    uint8_t c = s.data[0];
    if (c == '"' || c == '\\' || (c < 0x20 && letters[c])) {
        memcpy(out, (char[]){'\\', c < 0x20 ? letters[c] : (char)c, '\0'}, 3);
        return 1;
    }
    if (c < 0x80) {
        memcpy(out, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15], '\0'}, 7);
        return 1;
    }
    if (crs_utf8_char(s) == 0) {
        memcpy(out, "\\ufffd", 7);
        return 1;
    }
    memcpy(out, s.data[2] & 1 ? "\\u2029" : "\\u2028", 7);
    return 3;
}

cereus_status crs_json_escape(cereus_slice text, crs_bytes *out)
{
    size_t was = out->len;
    cereus_status st = crs_bytes_append_byte(out, '"');
    while (!st && text.len) {
        size_t n = plain_run(text);
        st = crs_bytes_append(out, text.data, n);
        text = cereus_slice_of(text.data + n, text.len - n);
        if (!st && text.len) {
            char escape[8];
            n = escape_one(text, escape);
            st = crs_bytes_append_str(out, escape);
            text = cereus_slice_of(text.data + n, text.len - n);
        }
    }
    if (!st)
        st = crs_bytes_append_byte(out, '"');
    if (st)
        out->len = was;
    return st;
}

typedef struct member {
    cereus_slice name;  /* without its escapes */
    cereus_slice value; /* JSON text */
} member;

static int by_name_then_place(const void *a, const void *b)
{
    const member *x = a, *y = b;
    int diff = memcmp(x->name.data, y->name.data, CRS_MIN(x->name.len, y->name.len));
    if (diff)
        return diff;
    if (x->name.len != y->name.len)
        return x->name.len < y->name.len ? -1 : 1;
    return x->value.data < y->value.data ? -1 : x->value.data > y->value.data;
}

static cereus_slice value_text(crs_json_scan *s)
{
    bool there = crs_json_skip_space(s);
    const uint8_t *start = s->at;
    there = there && crs_json_skip_value(s, CRS_JSON_DEPTH_MAX, false);
    return cereus_slice_of(there ? start : NULL, (size_t)(s->at - start));
}

/* The members of @p object, in place order. @p members NULL: count only. False: not JSON, or the arena is full. */
static bool list_members(cereus_slice object, crs_arena *tmp, member *members, size_t *ret_count)
{
    crs_json_scan s = {object.data + 1, object.data + object.len};
    bool end, first = true;
    size_t count = 0;
    for (;; count++) {
        cereus_slice name;
        if (!next_member(&s, &first, &name, &end))
            return false;
        if (end)
            break;
        cereus_slice value = value_text(&s);
        if (!value.data)
            return false;
        if (!members)
            continue;
        uint8_t *text = crs_arena_alloc(tmp, name.len + 1); /* an arena may answer 0 bytes with NULL */
        if (!text)
            return false;
        members[count].name = cereus_slice_of(text, crs_json_unescape(name, text));
        members[count].value = value;
    }
    *ret_count = count;
    return true;
}

static cereus_status print_value(cereus_slice value, crs_arena *tmp, crs_bytes *out);

static cereus_status print_object(cereus_slice object, crs_arena *tmp, crs_bytes *out)
{
    size_t count;
    if (!list_members(object, tmp, NULL, &count))
        return CEREUS_E_MALFORMED;
    member *members = crs_arena_alloc(tmp, (count + 1) * sizeof *members);
    if (!members || !list_members(object, tmp, members, &count))
        return CEREUS_E_NOMEM;
    qsort(members, count, sizeof *members, by_name_then_place);

    CEREUS_TRY(crs_bytes_append_byte(out, '{'));
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count && crs_slice_eq(members[i].name, members[i + 1].name))
            continue; /* the last one wins */
        if (!first)
            CEREUS_TRY(crs_bytes_append_byte(out, ','));
        first = false;
        CEREUS_TRY(crs_json_escape(members[i].name, out));
        CEREUS_TRY(crs_bytes_append_byte(out, ':'));
        CEREUS_TRY(print_value(members[i].value, tmp, out));
    }
    return crs_bytes_append_byte(out, '}');
}

static cereus_status print_array(cereus_slice array, crs_arena *tmp, crs_bytes *out)
{
    crs_json_scan s = {array.data + 1, array.data + array.len};
    CEREUS_TRY(crs_bytes_append_byte(out, '['));
    for (bool first = true; !crs_json_skip_byte(&s, ']'); first = false) {
        if (!first && !crs_json_skip_byte(&s, ','))
            return CEREUS_E_MALFORMED;
        cereus_slice value = value_text(&s);
        if (!value.data)
            return CEREUS_E_MALFORMED;
        if (!first)
            CEREUS_TRY(crs_bytes_append_byte(out, ','));
        CEREUS_TRY(print_value(value, tmp, out));
    }
    return crs_bytes_append_byte(out, ']');
}

static cereus_status print_string(cereus_slice value, crs_arena *tmp, crs_bytes *out)
{
    cereus_slice raw = cereus_slice_of(value.data + 1, value.len - 2);
    uint8_t *text = crs_arena_alloc(tmp, raw.len + 1);
    if (!text)
        return CEREUS_E_NOMEM;
    return crs_json_escape(cereus_slice_of(text, crs_json_unescape(raw, text)), out);
}

/* @p value has passed skip_value(), which bounds how deep this can go. */
static cereus_status print_value(cereus_slice value, crs_arena *tmp, crs_bytes *out)
{
    double number;
    char text[CRS_JSON_DOUBLE_LEN_MAX];
    switch (value.data[0]) {
    case '{':
        return print_object(value, tmp, out);
    case '[':
        return print_array(value, tmp, out);
    case '"':
        return print_string(value, tmp, out);
    case 't':
    case 'f':
    case 'n':
        return crs_bytes_append(out, value.data, value.len);
    default:
        if (!crs_json_double(value, &number))
            return CEREUS_E_MALFORMED;
        return crs_bytes_append(out, text, crs_json_print_double(number, text));
    }
}

static cereus_status print_user(cereus_slice user, crs_bytes *out)
{
    crs_json_scan s = {user.data, user.data + user.len};
    cereus_slice value = value_text(&s);
    if (!value.data || value.data[0] != '{')
        return CEREUS_E_MALFORMED;
    crs_json_scan inner = {value.data + 1, s.end};
    if (crs_json_skip_byte(&inner, '}')) /* Go leaves an empty map out */
        return CEREUS_OK;

    /* A member takes at least 5 bytes of text ("":0,) and 48 here, strings at most 16 more than their text */
    crs_arena tmp;
    crs_arena_init(&tmp, 8192 + 64 * user.len);
    cereus_status st = crs_bytes_append_str(out, ",\"user\":");
    if (!st)
        st = print_object(value, &tmp, out);
    crs_arena_fini(&tmp);
    return st;
}

static cereus_status print_handshake(const crs_handshake *hs, crs_bytes *out)
{
    CEREUS_TRY(crs_bytes_append_str(out, "{\"sys\":{\"platform\":"));
    CEREUS_TRY(crs_json_escape(cereus_slice_str(hs->platform), out));
    CEREUS_TRY(crs_bytes_append_str(out, ",\"libVersion\":"));
    CEREUS_TRY(crs_json_escape(cereus_slice_str(hs->lib_version), out));
    CEREUS_TRY(crs_bytes_append_str(out, ",\"clientBuildNumber\":"));
    CEREUS_TRY(crs_json_escape(cereus_slice_str(hs->client_build_number), out));
    CEREUS_TRY(crs_bytes_append_str(out, ",\"clientVersion\":"));
    CEREUS_TRY(crs_json_escape(cereus_slice_str(hs->client_version), out));
    CEREUS_TRY(crs_bytes_append_byte(out, '}'));
    if (hs->user.data)
        CEREUS_TRY(print_user(hs->user, out));
    return crs_bytes_append_byte(out, '}');
}

cereus_status crs_handshake_print(const crs_handshake *hs, crs_bytes *out)
{
    size_t was = out->len;
    cereus_status st = print_handshake(hs, out);
    if (st)
        out->len = was;
    return st;
}

/* -- the answer -- */

static cereus_status append_seconds(uint64_t ms, crs_bytes *out)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%llu.%03u", (unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
    while (text[len - 1] == '0')
        len--;
    if (text[len - 1] == '.')
        len--;
    return crs_bytes_append(out, text, (size_t)len);
}

static cereus_status append_answer(int code, const crs_route_dict *dict, uint64_t heartbeat_ms, const char *serializer,
                                   crs_bytes *out)
{
    CEREUS_TRY(crs_bytes_printf(out, "{\"code\":%d,\"sys\":{\"dict\":{", code));
    for (size_t i = 0; i < crs_route_dict_count(dict); i++) {
        cereus_slice route;
        uint16_t route_code;
        crs_route_dict_at(dict, i, &route, &route_code);
        if (i > 0)
            CEREUS_TRY(crs_bytes_append_byte(out, ','));
        CEREUS_TRY(crs_json_escape(route, out));
        CEREUS_TRY(crs_bytes_printf(out, ":%u", route_code));
    }
    CEREUS_TRY(crs_bytes_append_str(out, "},\"heartbeat\":"));
    CEREUS_TRY(append_seconds(heartbeat_ms, out));
    CEREUS_TRY(crs_bytes_append_str(out, ",\"serializer\":"));
    CEREUS_TRY(crs_json_escape(cereus_slice_str(serializer), out));
    return crs_bytes_append_str(out, "}}");
}

/* Deflate what follows @p from, if that makes it shorter. */
static cereus_status shrink(crs_bytes *out, size_t from, crs_zlib *z)
{
    cereus_slice json = cereus_slice_of(out->data + from, out->len - from);
    uint8_t *packed = crs_malloc(json.len);
    if (!packed)
        return CEREUS_E_NOMEM;
    size_t len = crs_zlib_deflate(z, json, packed, json.len);
    if (len) {
        memcpy(out->data + from, packed, len);
        out->len = from + len;
    }
    crs_free(packed);
    return CEREUS_OK;
}

cereus_status crs_handshake_answer(int code, const crs_route_dict *dict, uint64_t heartbeat_ms, const char *serializer,
                                   crs_zlib *z, crs_bytes *out)
{
    size_t head = out->len, body = head + CRS_PACKET_HEAD_LEN;
    cereus_status st = crs_bytes_append(out, (uint8_t[CRS_PACKET_HEAD_LEN]){0}, CRS_PACKET_HEAD_LEN);
    if (!st)
        st = append_answer(code, dict, heartbeat_ms, serializer, out);
    if (!st && z)
        st = shrink(out, body, z);
    if (!st)
        st = crs_packet_head(CRS_PACKET_HANDSHAKE, out->len - body, out->data + head);
    if (st)
        out->len = head;
    return st;
}
