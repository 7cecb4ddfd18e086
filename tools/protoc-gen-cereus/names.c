/* tools/protoc-gen-cereus/names.c: see names.h. Characters are ASCII's, whatever the locale. */
#include "names.h"

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char to_lower(char c)
{
    return is_upper(c) ? (char)(c - 'A' + 'a') : c;
}

static char to_upper(char c)
{
    return is_lower(c) ? (char)(c - 'a' + 'A') : c;
}

char *crs_name_snake(crs_arena *a, const char *name)
{
    char *snake = crs_arena_alloc(a, 2 * strlen(name) + 1), *at = snake;
    if (!snake)
        return NULL;
    for (const char *p = name; *p; p++) {
        char before = p > name ? p[-1] : '_';
        /* a word begins after a small letter or a digit, and with the last capital of several: HTTPGet is http_get */
        if (is_upper(*p) && (is_lower(before) || is_digit(before) || (is_upper(before) && is_lower(p[1]))))
            *at++ = '_';
        *at++ = is_upper(*p) || is_lower(*p) || is_digit(*p) ? to_lower(*p) : '_';
    }
    *at = '\0';
    return snake;
}

char *crs_name_flat(crs_arena *a, const char *name)
{
    char *flat = crs_arena_alloc(a, strlen(name) + 1), *at = flat;
    if (!flat)
        return NULL;
    for (; *name; name++) {
        if (*name != '_')
            *at++ = to_lower(*name);
    }
    *at = '\0';
    return flat;
}

/* ToCamel of protobuf-c: each part begins with a capital, '_' goes and makes the next letter one. */
static char *put_camel(char *at, const char *dotted)
{
    bool capital = true;
    for (; *dotted; dotted++) {
        if (*dotted == '.') {
            *at++ = '_';
            *at++ = '_';
            capital = true;
        } else if (*dotted == '_') {
            capital = true;
        } else {
            *at++ = capital ? to_upper(*dotted) : *dotted;
            capital = false;
        }
    }
    return at;
}

/* CamelToLower of protobuf-c: '_' in front of each capital that follows something else; nothing is ever dropped. */
static char *put_lower(char *at, const char *dotted)
{
    bool was_upper = true;
    for (; *dotted; dotted++) {
        if (*dotted == '.') {
            *at++ = '_';
            *at++ = '_';
            was_upper = true;
            continue;
        }
        if (is_upper(*dotted) && !was_upper)
            *at++ = '_';
        *at++ = to_lower(*dotted);
        was_upper = is_upper(*dotted);
    }
    return at;
}

static char *join_parts(crs_arena *a, char *put(char *at, const char *dotted), const char *package, const char *name,
                        const char *end)
{
    char *joined = crs_arena_alloc(a, 2 * (strlen(package) + strlen(name)) + strlen(end) + 3);
    if (!joined)
        return NULL;
    char *at = put(joined, package);
    if (*package)
        at = stpcpy(at, "__");
    stpcpy(put(at, name), end);
    return joined;
}

char *crs_name_c_type(crs_arena *a, const char *package, const char *name)
{
    return join_parts(a, put_camel, package, name, "");
}

char *crs_name_c_descriptor(crs_arena *a, const char *package, const char *name)
{
    return join_parts(a, put_lower, package, name, "__descriptor");
}

char *crs_name_guard(crs_arena *a, const char *file)
{
    static const char hex[] = "0123456789abcdef";
    char *guard = crs_arena_alloc(a, 3 * strlen(file) + 1), *at = guard;
    if (!guard)
        return NULL;
    for (; *file; file++) {
        if (is_upper(*file) || is_lower(*file) || is_digit(*file)) {
            *at++ = *file;
        } else {
            *at++ = '_';
            *at++ = hex[(unsigned char)*file >> 4];
            *at++ = hex[(unsigned char)*file & 15];
        }
    }
    *at = '\0';
    return guard;
}

bool crs_name_is_identifier(const char *name, bool dots)
{
    bool first = true;
    for (; *name; name++) {
        if (*name == '.' && dots && !first) {
            first = true;
            continue;
        }
        if (!is_upper(*name) && !is_lower(*name) && *name != '_' && (first || !is_digit(*name)))
            return false;
        first = false;
    }
    return !first;
}

bool crs_name_is_taken_by_c(const char *name)
{
    static const char *const words[] = {
        /* keywords, to C23 and GNU's */
        "alignas",
        "alignof",
        "asm",
        "auto",
        "bool",
        "break",
        "case",
        "char",
        "const",
        "constexpr",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "false",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "nullptr",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "static_assert",
        "struct",
        "switch",
        "thread_local",
        "true",
        "typedef",
        "typeof",
        "typeof_unqual",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
        /* macros without parameters that standard headers, or the compiler by itself, define */
        "complex",
        "errno",
        "i386",
        "imaginary",
        "linux",
        "math_errhandling",
        "noreturn",
        "unix",
    };
    for (size_t i = 0; i < CEREUS_COUNT(words); i++) {
        if (strcmp(words[i], name) == 0)
            return true;
    }
    return false;
}
