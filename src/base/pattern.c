/* base/pattern.c: see pattern.h. A pattern becomes a small program (Thompson's construction): ops that take one code
 * point, and jumps between them. Jumps are relative, so a piece of program can be moved and repeated as it is. */
#include "base/pattern.h"

#include <stdio.h>

enum {
    RANGES_MAX = 512,
    CLASSES_MAX = 64,
    DEPTH_MAX = 32,   /* of groups */
    REPEAT_MAX = 255, /* in {} */
    INFINITE = -1,
};

typedef enum op_code {
    OP_CHAR,  /* the code point `arg` */
    OP_ANY,   /* any but a line end */
    OP_CLASS, /* one of class `arg` */
    OP_SPLIT, /* go on at both `x` and `y` */
    OP_JUMP,  /* go on at `x` */
    OP_BEGIN, /* only at the text's begin */
    OP_END,   /* only at its end */
    OP_MATCH,
} op_code;

typedef struct op {
    uint8_t code;
    int16_t x, y; /* relative to this op */
    uint32_t arg;
} op;

typedef struct range {
    uint32_t first, last;
} range;

typedef struct class
{
    uint16_t start, count; /* in ranges */
    bool negated;
} class;

struct crs_pattern {
    size_t op_count, range_count, class_count;
    op ops[CRS_PATTERN_OPS_MAX];
    range ranges[RANGES_MAX];
    class classes[CLASSES_MAX];
};

/* -- reading -- */

typedef struct parser {
    crs_pattern *p;
    const char *at;
    unsigned depth;
    const char *wrong; /* NULL: nothing so far */
    op copy[CRS_PATTERN_OPS_MAX];
} parser;

/* One code point, and how many bytes it has; a byte that begins none stands for itself. */
static size_t read_code_point(const uint8_t *at, size_t left, uint32_t *ret)
{
    size_t more = *at >= 0xf0 ? 3 : *at >= 0xe0 ? 2 : *at >= 0xc0 ? 1 : 0;
    *ret = *at;
    if (more == 0 || more >= left)
        return 1;
    uint32_t c = *at & (0x3fu >> more);
    for (size_t i = 1; i <= more; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 1;
        c = c << 6 | (at[i] & 0x3f);
    }
    *ret = c;
    return more + 1;
}

static void refuse(parser *s, const char *wrong)
{
    if (!s->wrong)
        s->wrong = wrong;
}

static void put(parser *s, op o)
{
    if (s->p->op_count == CRS_PATTERN_OPS_MAX)
        refuse(s, "it is too large");
    else
        s->p->ops[s->p->op_count++] = o;
}

static void put_copy(parser *s, size_t count)
{
    for (size_t i = 0; i < count && !s->wrong; i++)
        put(s, s->copy[i]);
}

static void insert(parser *s, size_t at, op o)
{
    op *ops = s->p->ops;
    put(s, o);
    if (s->wrong)
        return;
    memmove(&ops[at + 1], &ops[at], (s->p->op_count - 1 - at) * sizeof *ops);
    ops[at] = o;
}

static void put_range(parser *s, uint32_t first, uint32_t last)
{
    if (s->p->range_count == RANGES_MAX)
        refuse(s, "it has too many [ranges]");
    else
        s->p->ranges[s->p->range_count++] = (range){first, last};
}

/* The ranges of \d, \w and \s, or of their capitals. False: another letter. */
static bool put_named_ranges(parser *s, char letter)
{
    static const struct {
        char letter;
        range ranges[5];
    } named[] = {
        {'d', {{'0', '9'}}},
        {'w', {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
        {'s', {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}},
        {'D', {{1, '0' - 1}, {'9' + 1, UINT32_MAX}}},
        {'W', {{1, '0' - 1}, {'9' + 1, 'A' - 1}, {'Z' + 1, '_' - 1}, {'`', '`'}, {'z' + 1, UINT32_MAX}}},
        {'S', {{1, '\t' - 1}, {'\v', '\v'}, {'\r' + 1, ' ' - 1}, {' ' + 1, UINT32_MAX}}},
    };
    for (size_t i = 0; i < CEREUS_COUNT(named); i++) {
        if (named[i].letter != letter)
            continue;
        for (size_t k = 0; k < CEREUS_COUNT(named[i].ranges) && named[i].ranges[k].last; k++)
            put_range(s, named[i].ranges[k].first, named[i].ranges[k].last);
        return true;
    }
    return false;
}

/* What stands behind a backslash, if it is one character. */
static uint32_t read_escape(parser *s)
{
    static const char letters[] = "ntrfv", meant[] = "\n\t\r\f\v";
    char c = *s->at;
    const char *letter = c ? strchr(letters, c) : NULL;
    if (letter) {
        s->at++;
        return (uint32_t)(unsigned char)meant[letter - letters];
    }
    if (c > ' ' && c < 0x7f && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z')) {
        s->at++;
        return (uint32_t)(unsigned char)c;
    }
    refuse(s, c ? "this \\ sequence is not known" : "it ends in a \\");
    return 0;
}

static uint32_t read_char(parser *s)
{
    uint32_t c;
    s->at += read_code_point((const uint8_t *)s->at, strlen(s->at), &c);
    return c;
}

static void begin_class(parser *s, bool negated)
{
    if (s->p->class_count == CLASSES_MAX) {
        refuse(s, "it has too many [classes]");
        return;
    }
    s->p->classes[s->p->class_count] = (class){.start = (uint16_t)s->p->range_count, .negated = negated};
}

static void end_class(parser *s)
{
    if (s->wrong)
        return;
    class *c = &s->p->classes[s->p->class_count];
    c->count = (uint16_t)(s->p->range_count - c->start);
    put(s, (op){.code = OP_CLASS, .arg = (uint32_t)s->p->class_count++});
}

/* One element between [ and ]. */
static void parse_class_item(parser *s)
{
    if (s->at[0] == '[' && (s->at[1] == ':' || s->at[1] == '.' || s->at[1] == '=')) {
        refuse(s, "[[:names:]] are not known: write the ranges");
        return;
    }
    bool escaped = *s->at == '\\';
    s->at += escaped;
    if (escaped && put_named_ranges(s, *s->at)) {
        s->at++;
        return;
    }
    uint32_t first = escaped ? read_escape(s) : read_char(s), last = first;
    if (!s->wrong && s->at[0] == '-' && s->at[1] && s->at[1] != ']') {
        s->at++;
        escaped = *s->at == '\\';
        s->at += escaped;
        last = escaped ? read_escape(s) : read_char(s);
        if (last < first)
            refuse(s, "this range runs backwards");
    }
    put_range(s, first, last);
}

static void parse_class(parser *s)
{
    s->at++;
    bool negated = *s->at == '^';
    s->at += negated;
    begin_class(s, negated);
    do { /* a ] at the very begin means itself */
        if (!*s->at)
            refuse(s, "a [ is never closed");
        else
            parse_class_item(s);
    } while (!s->wrong && *s->at != ']');
    if (s->wrong)
        return;
    s->at++;
    end_class(s);
}

static void parse_alternatives(parser *s);

static void parse_group(parser *s)
{
    s->at++;
    if (s->at[0] == '?' && s->at[1] != ':') {
        refuse(s, "of groups with (? only (?: is known");
        return;
    }
    s->at += *s->at == '?' ? 2 : 0;
    if (++s->depth > DEPTH_MAX)
        refuse(s, "its groups are nested too deep");
    parse_alternatives(s);
    s->depth--;
    if (!s->wrong && *s->at != ')')
        refuse(s, "a ( is never closed");
    s->at += !s->wrong;
}

static void parse_atom(parser *s)
{
    switch (*s->at) {
    case '(':
        parse_group(s);
        return;
    case '[':
        parse_class(s);
        return;
    case '.':
        s->at++;
        put(s, (op){.code = OP_ANY});
        return;
    case '^':
        s->at++;
        put(s, (op){.code = OP_BEGIN});
        return;
    case '$':
        s->at++;
        put(s, (op){.code = OP_END});
        return;
    case '*':
    case '+':
    case '?':
    case '{':
        refuse(s, "there is nothing to repeat; write \\ before what is meant as it is");
        return;
    case '\\':
        s->at++;
        if (*s->at && strchr("dwsDWS", *s->at)) {
            begin_class(s, false);
            put_named_ranges(s, *s->at++);
            end_class(s);
            return;
        }
        put(s, (op){.code = OP_CHAR, .arg = read_escape(s)});
        return;
    default:
        put(s, (op){.code = OP_CHAR, .arg = read_char(s)});
    }
}

static int read_count(parser *s)
{
    int n = 0;
    if (*s->at < '0' || *s->at > '9')
        refuse(s, "{ wants {n}, {n,} or {n,m}");
    for (; *s->at >= '0' && *s->at <= '9' && n <= REPEAT_MAX; s->at++)
        n = n * 10 + (*s->at - '0');
    if (n > REPEAT_MAX)
        refuse(s, "{} repeats at most 255 times");
    return n;
}

/* The quantifier behind an atom. False: there is none. */
static bool read_repeat(parser *s, int *ret_min, int *ret_max)
{
    switch (*s->at) {
    case '*':
        *ret_min = 0;
        *ret_max = INFINITE;
        break;
    case '+':
        *ret_min = 1;
        *ret_max = INFINITE;
        break;
    case '?':
        *ret_min = 0;
        *ret_max = 1;
        break;
    case '{':
        s->at++;
        *ret_min = *ret_max = read_count(s);
        if (*s->at == ',') {
            s->at++;
            *ret_max = *s->at == '}' ? INFINITE : read_count(s);
        }
        if (!s->wrong && *s->at != '}')
            refuse(s, "{ wants {n}, {n,} or {n,m}");
        else if (*ret_max != INFINITE && *ret_max < *ret_min)
            refuse(s, "{n,m} runs backwards");
        break;
    default:
        return false;
    }
    if (s->wrong)
        return false;
    s->at++;
    s->at += *s->at == '?'; /* a lazy one matches the same texts */
    return true;
}

static void parse_repeated(parser *s)
{
    size_t start = s->p->op_count;
    parse_atom(s);
    size_t len = s->p->op_count - start;
    int min = 1, max = 1;
    if (s->wrong || !read_repeat(s, &min, &max))
        return;
    if (*s->at && strchr("*+?{", *s->at)) {
        refuse(s, "one repetition follows another");
        return;
    }
    memcpy(s->copy, &s->p->ops[start], len * sizeof *s->copy);
    s->p->op_count = start;
    for (int i = 0; i < min && !s->wrong; i++)
        put_copy(s, len);
    if (max == INFINITE && min > 0) {
        put(s, (op){.code = OP_SPLIT, .x = (int16_t)(0 - (int)len), .y = 1});
    } else if (max == INFINITE) {
        put(s, (op){.code = OP_SPLIT, .x = 1, .y = (int16_t)(len + 2)});
        put_copy(s, len);
        put(s, (op){.code = OP_JUMP, .x = (int16_t)(0 - (int)(len + 1))});
    }
    for (int i = min; i < max && !s->wrong; i++) {
        put(s, (op){.code = OP_SPLIT, .x = 1, .y = (int16_t)(len + 1)});
        put_copy(s, len);
    }
}

static void parse_alternatives(parser *s)
{
    size_t start = s->p->op_count;
    while (!s->wrong && *s->at && *s->at != '|' && *s->at != ')')
        parse_repeated(s);
    if (s->wrong || *s->at != '|')
        return;
    s->at++;
    insert(s, start, (op){.code = OP_SPLIT, .x = 1, .y = (int16_t)(s->p->op_count - start + 2)});
    size_t jump = s->p->op_count;
    put(s, (op){.code = OP_JUMP});
    parse_alternatives(s); /* as deep as there are bars: CRS_PATTERN_TEXT_MAX bounds it */
    if (!s->wrong)
        s->p->ops[jump].x = (int16_t)(s->p->op_count - jump);
}

cereus_status crs_pattern_compile(const char *text, crs_pattern **ret_pattern, cereus_error *err)
{
    if (strlen(text) > CRS_PATTERN_TEXT_MAX)
        return crs_fail(err, CEREUS_E_INVALID, "pattern \"%.40s...\": it has more than %d bytes", text,
                        CRS_PATTERN_TEXT_MAX);
    parser *s = crs_zalloc(sizeof *s);
    crs_pattern *p = crs_zalloc(sizeof *p);
    if (!s || !p)
        goto no_memory;
    *s = (parser){.p = p, .at = text};
    parse_alternatives(s);
    if (*s->at == ')')
        refuse(s, "a ) closes nothing");
    put(s, (op){.code = OP_MATCH});
    if (s->wrong) {
        cereus_status st = crs_fail(err, CEREUS_E_INVALID, "pattern \"%.200s\": at byte %zu: %s", text,
                                    (size_t)(s->at - text) + 1, s->wrong);
        crs_free(s);
        crs_free(p);
        return st;
    }
    crs_free(s);
    *ret_pattern = p;
    return CEREUS_OK;
no_memory:
    crs_free(s);
    crs_free(p);
    return crs_fail(err, CEREUS_E_NOMEM, "pattern \"%.200s\": out of memory", text);
}

crs_pattern *crs_pattern_free(crs_pattern *p)
{
    crs_free(p);
    return NULL;
}

/* -- matching -- */

typedef struct list {
    uint16_t *ops;
    size_t count;
} list;

typedef struct matcher {
    const crs_pattern *p;
    uint32_t *mark;  /* per op: the position, plus 1, at which it was listed last */
    uint16_t *stack; /* ops still to be looked at */
    bool matched;
} matcher;

/* Put the op into the list, or what its jumps lead to, unless it is there already. */
static void follow(matcher *m, list *l, size_t start, uint32_t stamp, bool at_begin, bool at_end)
{
    size_t depth = 0;
    m->stack[depth++] = (uint16_t)start;
    while (depth) {
        uint16_t at = m->stack[--depth];
        if (m->mark[at] == stamp)
            continue;
        m->mark[at] = stamp;
        const op *o = &m->p->ops[at];
        switch ((op_code)o->code) {
        case OP_SPLIT:
            m->stack[depth++] = (uint16_t)(at + o->y);
            m->stack[depth++] = (uint16_t)(at + o->x);
            break;
        case OP_JUMP:
            m->stack[depth++] = (uint16_t)(at + o->x);
            break;
        case OP_BEGIN:
            if (at_begin)
                m->stack[depth++] = (uint16_t)(at + 1);
            break;
        case OP_END:
            if (at_end)
                m->stack[depth++] = (uint16_t)(at + 1);
            break;
        case OP_MATCH:
            m->matched = true;
            return;
        case OP_CHAR:
        case OP_ANY:
        case OP_CLASS:
            l->ops[l->count++] = at;
        }
    }
}

static bool takes(const crs_pattern *p, const op *o, uint32_t c)
{
    if (o->code == OP_CHAR)
        return o->arg == c;
    if (o->code == OP_ANY)
        return c != '\n';
    const class *k = &p->classes[o->arg];
    for (size_t i = k->start; i < (size_t)k->start + k->count; i++) {
        if (c >= p->ranges[i].first && c <= p->ranges[i].last)
            return !k->negated;
    }
    return k->negated;
}

size_t crs_pattern_steps(const crs_pattern *p, size_t text_len)
{
    return (text_len + 1) * p->op_count;
}

bool crs_pattern_matches(const crs_pattern *p, cereus_slice text, void *scratch)
{
    uint32_t *mark = scratch;
    uint16_t *small = (uint16_t *)(mark + p->op_count);
    list now = {.ops = small}, next = {.ops = small + p->op_count};
    matcher m = {.p = p, .mark = mark, .stack = small + 2 * p->op_count};
    memset(mark, 0, p->op_count * sizeof *mark);
    for (size_t at = 0;;) {
        follow(&m, &now, 0, (uint32_t)at + 1, at == 0, at == text.len);
        if (m.matched || at == text.len)
            return m.matched;
        uint32_t c;
        size_t len = read_code_point(text.data + at, text.len - at, &c);
        next.count = 0;
        for (size_t i = 0; i < now.count && !m.matched; i++) {
            if (takes(p, &p->ops[now.ops[i]], c))
                follow(&m, &next, now.ops[i] + 1u, (uint32_t)(at + len) + 1, false, at + len == text.len);
        }
        if (m.matched)
            return true;
        list was = now;
        now = next;
        next = was;
        at += len;
    }
}
