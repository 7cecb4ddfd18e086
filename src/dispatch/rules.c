/* dispatch/rules.c: see rules.h and cereus/rules.h. The texts are those of go-playground's validator, which Pitaya uses:
 * of each field the first broken rule, one line each. The names in them are Go's (behaviour.md 11).
 *
 * What a client sends decides how much is looked at, never how long a look takes: patterns and addresses are tried on
 * texts of a bounded length in linear time, the codec bounds nesting, and after FAILURES_MAX lines the rest is left. */
#include "dispatch/rules.h"

#include <math.h>
#include <protobuf-c/protobuf-c.h>

#include "base/pattern.h"
#include "base/strmap.h"
#include "dispatch/context.h"
#include "serialize/fields.h"

enum {
    FAILURES_MAX = 16,
    PATH_LEN_MAX = 512,  /* of a field's name in an error; longer ones are cut */
    EXACT_MAX_BITS = 53, /* whole numbers that a double can hold */
    GO_NAME_LEN_MAX = 200,
};

typedef struct rule {
    cereus_rule_kind kind;
    double number;
    crs_pattern *pattern;
} rule;

typedef struct plan plan;

/* One field with rules, or with messages that may have some. */
typedef struct check {
    const ProtobufCFieldDescriptor *field;
    char go_name[GO_NAME_LEN_MAX];
    plan *nested; /* NULL: no message */
    rule *rules;
    size_t rule_count;
} check;

/* A type with its checks. */
struct plan {
    plan *next;
    const ProtobufCMessageDescriptor *type;
    char go_name[GO_NAME_LEN_MAX];
    cereus_rule *given; /* as added; texts behind it */
    size_t given_count;
    check *checks; /* by prepare(), in the order of the struct's members */
    size_t check_count;
    bool prepared;
    bool needed; /* it has rules, or a message inside may have */
};

struct crs_rules {
    plan *plans;
    crs_strmap by_type; /* bytes of the descriptor's address -> plan */
};

static const char *const tags[] = {
#define RULE_TAG(name, tag, text) [CEREUS_RULE_##name] = tag,
    CEREUS_RULE_TABLE(RULE_TAG)
#undef RULE_TAG
};

/* -- which rules make sense -- */

static bool is_number(crs_rule_target t)
{
    return t <= CRS_RULE_FLOAT;
}

static bool has_length(crs_rule_target t)
{
    return t == CRS_RULE_STRING || t == CRS_RULE_BYTES || t == CRS_RULE_LIST;
}

static const char *refusal(crs_rule_target target, const cereus_rule *r)
{
    switch (r->kind) {
    case CEREUS_RULE_OMITEMPTY:
    case CEREUS_RULE_REQUIRED:
        return NULL;
    case CEREUS_RULE_MIN:
    case CEREUS_RULE_MAX:
        if (!has_length(target))
            return "only strings, bytes, repeated fields and maps have a length";
        return r->number >= 0 && r->number <= UINT32_MAX && r->number == floor(r->number)
                   ? NULL
                   : "a length is a whole number from 0 to 4294967295";
    case CEREUS_RULE_GTE:
    case CEREUS_RULE_LTE:
    case CEREUS_RULE_GT:
    case CEREUS_RULE_LT:
        if (!is_number(target))
            return "only for a single number; min and max are for lengths";
        if (!isfinite(r->number))
            return "the limit is not a finite number";
        if (target != CRS_RULE_FLOAT && (r->number != floor(r->number) || fabs(r->number) > ldexp(1, EXACT_MAX_BITS)))
            return "the limit of a whole number is one itself, at most 2^53 away from 0";
        return NULL;
    case CEREUS_RULE_EMAIL:
    case CEREUS_RULE_PATTERN:
        return target == CRS_RULE_STRING ? NULL : "only for a single string";
    }
    return "no such rule";
}

/* The numbers that are left, for what does not leave any. */
typedef struct bounds {
    double low, high;
    bool low_open, high_open; /* the number itself is out */
} bounds;

static bounds bounds_of(crs_rule_target target)
{
    switch (target) {
    case CRS_RULE_INT32:
        return (bounds){.low = INT32_MIN, .high = INT32_MAX};
    case CRS_RULE_UINT32:
        return (bounds){.low = 0, .high = UINT32_MAX};
    case CRS_RULE_UINT64:
        return (bounds){.low = 0, .high = INFINITY};
    case CRS_RULE_STRING:
    case CRS_RULE_BYTES:
    case CRS_RULE_LIST:
        return (bounds){.low = 0, .high = UINT32_MAX};
    default:
        return (bounds){.low = -INFINITY, .high = INFINITY};
    }
}

static void narrow(bounds *b, const cereus_rule *r)
{
    bool open = r->kind == CEREUS_RULE_GT || r->kind == CEREUS_RULE_LT;
    if (r->kind == CEREUS_RULE_MIN || r->kind == CEREUS_RULE_GTE || r->kind == CEREUS_RULE_GT) {
        b->low_open = r->number > b->low ? open : r->number == b->low ? b->low_open || open : b->low_open;
        b->low = fmax(b->low, r->number);
    } else if (r->kind == CEREUS_RULE_MAX || r->kind == CEREUS_RULE_LTE || r->kind == CEREUS_RULE_LT) {
        b->high_open = r->number < b->high ? open : r->number == b->high ? b->high_open || open : b->high_open;
        b->high = fmin(b->high, r->number);
    }
}

static bool nothing_left(const bounds *b, bool whole)
{
    if (!whole)
        return b->low > b->high || (b->low == b->high && (b->low_open || b->high_open));
    return b->low + b->low_open > b->high - b->high_open;
}

cereus_status crs_rules_verify(crs_rule_target target, const cereus_rule *rules, size_t count, cereus_error *err)
{
    bounds b = bounds_of(target);
    for (size_t i = 0; i < count; i++) {
        const char *wrong = refusal(target, &rules[i]);
        for (size_t k = 0; !wrong && k < i; k++) {
            if (rules[k].kind == rules[i].kind)
                wrong = "it is there twice";
            else if (rules[k].kind + rules[i].kind == CEREUS_RULE_OMITEMPTY + CEREUS_RULE_REQUIRED)
                wrong = "required and omitempty contradict each other";
        }
        if (wrong)
            return crs_fail(err, CEREUS_E_INVALID, "rule %s: %s",
                            (unsigned)rules[i].kind < CEREUS_COUNT(tags) ? tags[rules[i].kind] : "?", wrong);
        narrow(&b, &rules[i]);
        if (nothing_left(&b, target != CRS_RULE_FLOAT))
            return crs_fail(err, CEREUS_E_INVALID, "rule %s: no value can keep it and the others", tags[rules[i].kind]);
        if (rules[i].kind != CEREUS_RULE_PATTERN)
            continue;
        crs_pattern *pattern = NULL;
        if (!rules[i].pattern || !*rules[i].pattern)
            return crs_fail(err, CEREUS_E_INVALID, "rule pattern: it is empty");
        cereus_status st = crs_pattern_compile(rules[i].pattern, &pattern, err);
        if (st)
            return crs_fail_in(err, st, "rule");
        crs_pattern_free(pattern);
    }
    return CEREUS_OK;
}

static crs_rule_target target_of(const ProtobufCFieldDescriptor *f)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return CRS_RULE_LIST;
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return CRS_RULE_INT32;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return CRS_RULE_INT64;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return CRS_RULE_UINT32;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return CRS_RULE_UINT64;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return CRS_RULE_FLOAT;
    case PROTOBUF_C_TYPE_BOOL:
        return CRS_RULE_BOOL;
    case PROTOBUF_C_TYPE_ENUM:
        return CRS_RULE_ENUM;
    case PROTOBUF_C_TYPE_STRING:
        return CRS_RULE_STRING;
    case PROTOBUF_C_TYPE_BYTES:
        return CRS_RULE_BYTES;
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    return CRS_RULE_MESSAGE;
}

/* -- names -- */

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

void crs_rules_go_name(const char *name, char *out, size_t cap)
{
    size_t len = 0;
    bool word = true; /* the next letter becomes a capital */
    for (const char *p = name; *p && len + 1 < cap; p++) {
        if (*p == '.') {
            if (!is_lower(p[1]))
                out[len++] = '_';
            word = true;
        } else if (*p == '_' && (p == name || p[-1] == '.')) {
            out[len++] = 'X';
            word = true;
        } else if (*p == '_' && is_lower(p[1])) {
            word = true;
        } else {
            out[len++] = (char)(word && is_lower(*p) ? *p - 'a' + 'A' : *p);
            word = !is_lower(*p) && !(*p >= 'A' && *p <= 'Z'); /* behind a digit too */
        }
    }
    out[len] = '\0';
}

/* -- the table -- */

crs_rules *crs_rules_new(void)
{
    crs_rules *r = crs_zalloc(sizeof *r);
    if (r)
        crs_strmap_init(&r->by_type);
    return r;
}

static void free_checks(plan *p)
{
    for (size_t i = 0; i < p->check_count; i++) {
        for (size_t k = 0; k < p->checks[i].rule_count; k++)
            crs_pattern_free(p->checks[i].rules[k].pattern);
        crs_free(p->checks[i].rules);
    }
    crs_free(p->checks);
    p->checks = NULL;
    p->check_count = 0;
    p->prepared = false;
}

crs_rules *crs_rules_free(crs_rules *r)
{
    if (!r)
        return NULL;
    while (r->plans) {
        plan *next = r->plans->next;
        free_checks(r->plans);
        crs_free(r->plans->given);
        crs_free(r->plans);
        r->plans = next;
    }
    crs_strmap_fini(&r->by_type);
    crs_free(r);
    return NULL;
}

static cereus_slice type_key(const ProtobufCMessageDescriptor *const *type)
{
    return cereus_slice_of(type, sizeof *type);
}

static plan *find_plan(const crs_rules *r, const ProtobufCMessageDescriptor *type)
{
    return crs_strmap_get(&r->by_type, type_key(&type));
}

/* The type's plan, made if need be. NULL: out of memory. */
static plan *get_plan(crs_rules *r, const ProtobufCMessageDescriptor *type)
{
    plan *p = find_plan(r, type);
    if (p)
        return p;
    p = crs_zalloc(sizeof *p);
    if (!p || crs_strmap_put(&r->by_type, type_key(&type), p, NULL)) {
        crs_free(p);
        return NULL;
    }
    p->type = type;
    size_t package_len = strlen(type->package_name); /* Go's types are named without their package */
    crs_rules_go_name(type->name + (package_len ? package_len + 1 : 0), p->go_name, sizeof p->go_name);
    p->next = r->plans;
    r->plans = p;
    return p;
}

static bool same_rules(const plan *p, const cereus_rule *rules, size_t count)
{
    bool same = p->given_count == count;
    for (size_t i = 0; same && i < count; i++) {
        const cereus_rule *a = &p->given[i], *b = &rules[i];
        same = strcmp(a->field, b->field) == 0 && a->kind == b->kind && !(a->number < b->number) &&
               !(a->number > b->number) && !a->pattern == !b->pattern &&
               (!a->pattern || strcmp(a->pattern, b->pattern) == 0);
    }
    return same;
}

/* The rules in one block with the texts that they point to. */
static cereus_rule *copy_rules(const cereus_rule *rules, size_t count)
{
    size_t len = count * sizeof *rules;
    for (size_t i = 0; i < count; i++)
        len += strlen(rules[i].field) + (rules[i].pattern ? strlen(rules[i].pattern) : 0) + 2;
    cereus_rule *copy = crs_malloc(len);
    char *at = copy ? (char *)(copy + count) : NULL;
    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = rules[i];
        copy[i].field = at;
        at = stpcpy(at, rules[i].field) + 1;
        if (rules[i].pattern) {
            copy[i].pattern = at;
            at = stpcpy(at, rules[i].pattern) + 1;
        }
    }
    return copy;
}

cereus_status crs_rules_add(crs_rules *r, const ProtobufCMessageDescriptor *type, const cereus_rule *rules,
                            size_t count, cereus_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(type, rules[i].field);
        if (!f)
            return crs_fail(err, CEREUS_E_INVALID, "rules of %s: it has no field \"%s\"", type->name, rules[i].field);
        size_t first = i; /* the rules of a field stand together */
        while (i + 1 < count && strcmp(rules[i + 1].field, rules[first].field) == 0)
            i++;
        for (size_t k = 0; k < first; k++) {
            if (strcmp(rules[k].field, rules[first].field) == 0)
                return crs_fail(err, CEREUS_E_INVALID, "rules of %s: those of field \"%s\" must stand together",
                                type->name, f->name);
        }
        cereus_status st = crs_rules_verify(target_of(f), &rules[first], i + 1 - first, err);
        if (st)
            return crs_fail_in(err, st, "rules of %s: field \"%s\"", type->name, f->name);
    }
    const plan *known = find_plan(r, type);
    if (known && known->given)
        return same_rules(known, rules, count)
                   ? CEREUS_OK
                   : crs_fail(err, CEREUS_E_EXISTS, "rules of %s: it has others already", type->name);
    cereus_rule *given = count ? copy_rules(rules, count) : NULL;
    plan *p = count && given ? get_plan(r, type) : NULL;
    if (count && !p) {
        crs_free(given);
        return crs_fail(err, CEREUS_E_NOMEM, "rules of %s: out of memory", type->name);
    }
    if (p) {
        p->given = given;
        p->given_count = count;
    }
    return CEREUS_OK;
}

/* -- before the start: plans with checks -- */

static cereus_status add_field_rules(const plan *p, check *c)
{
    size_t count = 0;
    for (size_t i = 0; i < p->given_count; i++)
        count += strcmp(p->given[i].field, c->field->name) == 0;
    if (count == 0)
        return CEREUS_OK;
    c->rules = crs_zalloc(count * sizeof *c->rules);
    if (!c->rules)
        return CEREUS_E_NOMEM;
    for (size_t i = 0; i < p->given_count; i++) {
        const cereus_rule *g = &p->given[i];
        if (strcmp(g->field, c->field->name) != 0)
            continue;
        rule *to = &c->rules[c->rule_count++];
        *to = (rule){.kind = g->kind, .number = g->number};
        if (g->kind == CEREUS_RULE_PATTERN)
            CEREUS_TRY(crs_pattern_compile(g->pattern, &to->pattern, NULL));
    }
    return CEREUS_OK;
}

/* What the field's messages are: also those that are a map's values. */
static const ProtobufCMessageDescriptor *message_in(const ProtobufCMessageDescriptor *type,
                                                    const ProtobufCFieldDescriptor *f)
{
    if (f->type != PROTOBUF_C_TYPE_MESSAGE)
        return NULL;
    const ProtobufCMessageDescriptor *inner = f->descriptor;
    if (!crs_field_is_map(type, f))
        return inner;
    return inner->fields[1].type == PROTOBUF_C_TYPE_MESSAGE ? inner->fields[1].descriptor : NULL;
}

/* In the order of the struct's members, which is that of the .proto: insertion, the lists are short. */
static void place_check(plan *p, check c)
{
    size_t at = p->check_count++;
    while (at > 0 && p->checks[at - 1].field->offset > c.field->offset) {
        p->checks[at] = p->checks[at - 1];
        at--;
    }
    p->checks[at] = c;
}

static cereus_status make_checks(crs_rules *r, plan *p)
{
    const ProtobufCMessageDescriptor *type = p->type;
    p->prepared = true;
    p->checks = crs_zalloc((type->n_fields + 1) * sizeof *p->checks);
    if (!p->checks)
        return CEREUS_E_NOMEM;
    for (unsigned i = 0; i < type->n_fields; i++) {
        check c = {.field = &type->fields[i]};
        const ProtobufCMessageDescriptor *inner = message_in(type, c.field);
        if (!c.field->name)
            continue; /* generated without names: no rules either */
        cereus_status st = add_field_rules(p, &c);
        if (!st && inner && !(c.nested = get_plan(r, inner)))
            st = CEREUS_E_NOMEM;
        crs_rules_go_name(c.field->name, c.go_name, sizeof c.go_name);
        if (c.rule_count || c.nested || st)
            place_check(p, c);
        if (st)
            return st;
    }
    return CEREUS_OK;
}

/* Once more over all plans until none changes: types may contain each other in circles. */
static void spread_need(crs_rules *r)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (plan *p = r->plans; p; p = p->next) {
            bool needed = p->needed;
            for (size_t i = 0; !needed && i < p->check_count; i++)
                needed = p->checks[i].rule_count > 0 || (p->checks[i].nested && p->checks[i].nested->needed);
            changed = changed || needed != p->needed;
            p->needed = needed;
        }
    }
}

cereus_status crs_rules_prepare(crs_rules *r, const ProtobufCMessageDescriptor *type)
{
    if (!get_plan(r, type))
        return CEREUS_E_NOMEM;
    for (bool again = true; again;) { /* making one may put new ones in front */
        again = false;
        for (plan *p = r->plans; p; p = p->next) {
            if (p->prepared)
                continue;
            cereus_status st = make_checks(r, p);
            if (st) {
                free_checks(p);
                return st;
            }
            again = true;
        }
    }
    spread_need(r);
    return CEREUS_OK;
}

/* -- is it an address? -- */

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Words of letters, digits and signs, with single dots between them. */
static bool is_local_part(cereus_slice s)
{
    bool in_word = false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        if (c == '.' ? !in_word : !is_letter(c) && !is_digit(c) && !(c && strchr("!#$%&'*+-/=?^_`{|}~", c)))
            return false;
        in_word = c != '.';
    }
    return in_word;
}

static bool is_quoted_part(cereus_slice s)
{
    if (s.len < 2 || s.data[0] != '"' || s.data[s.len - 1] != '"')
        return false;
    for (size_t i = 1; i + 1 < s.len; i++) {
        uint8_t c = s.data[i];
        if (c == '\\' && i + 2 < s.len)
            i++;
        else if (c == '"' || c == '\\' || c < ' ' || c == 0x7f)
            return false;
    }
    return true;
}

/* At least two labels; the last begins and ends with a letter, the others with a letter or digit. */
static bool is_domain(cereus_slice s)
{
    if (s.len && s.data[s.len - 1] == '.')
        s.len--;
    size_t start = 0, labels = 0;
    for (size_t i = 0; i <= s.len; i++) {
        if (i < s.len && s.data[i] != '.') {
            if (!is_letter(s.data[i]) && !is_digit(s.data[i]) && s.data[i] != '-' && s.data[i] != '~')
                return false;
            continue;
        }
        if (i == start)
            return false;
        uint8_t first = s.data[start], last = s.data[i - 1];
        bool letters = is_letter(first) && is_letter(last);
        bool last_label = i == s.len;
        if (!letters && (last_label || !(is_letter(first) || is_digit(first)) || !(is_letter(last) || is_digit(last))))
            return false;
        labels++;
        start = i + 1;
    }
    return labels >= 2;
}

bool crs_rules_is_email(cereus_slice text)
{
    size_t at = text.len; /* of the last @: a quoted word may hold others */
    while (at > 0 && text.data[at - 1] != '@')
        at--;
    if (at < 2)
        return false;
    cereus_slice local = cereus_slice_of(text.data, at - 1);
    return (is_local_part(local) || is_quoted_part(local)) && is_domain(cereus_slice_of(text.data + at, text.len - at));
}

/* -- checking a message -- */

typedef struct walk {
    cereus_ctx *ctx;
    char *text; /* the lines so far, in the ctx's memory; NULL: none */
    size_t failures;
    size_t steps_left; /* of patterns */
    void *scratch;     /* for them; NULL: none was needed yet */
    bool no_memory;
} walk;

/* Where in the message we are: the way up to its root. */
typedef struct path {
    const struct path *outer; /* NULL: the root */
    const char *name;
    const char *key; /* of an element of a list or map; NULL: none */
} path;

static size_t put_path(const path *p, char *out, size_t len)
{
    if (p->outer)
        len = put_path(p->outer, out, len);
    int n = snprintf(out + len, PATH_LEN_MAX - len, "%s%s%s%s%s", p->outer ? "." : "", p->name, p->key ? "[" : "",
                     p->key ? p->key : "", p->key ? "]" : "");
    return CRS_MIN(len + (size_t)n, (size_t)PATH_LEN_MAX - 1);
}

static void tell(walk *w, const path *in, const check *c, cereus_rule_kind kind)
{
    char where[PATH_LEN_MAX];
    const path at = {.outer = in, .name = c->go_name};
    put_path(&at, where, 0);
    char *text = cereus_ctx_printf(w->ctx, "%s%sKey: '%s' Error:Field validation for '%s' failed on the '%s' tag",
                                   w->text ? w->text : "", w->text ? "\n" : "", where, c->go_name, tags[kind]);
    w->no_memory = w->no_memory || !text;
    w->text = text ? text : w->text;
    w->failures++;
}

static int compare_signed(int64_t value, double limit)
{
    int64_t l = (int64_t)limit; /* exact: crs_rules_verify() */
    return (value > l) - (value < l);
}

static int compare_unsigned(uint64_t value, double limit)
{
    if (limit < 0)
        return 1;
    uint64_t l = (uint64_t)limit;
    return (value > l) - (value < l);
}

/* -1, 0, 1; 2: neither, which is NaN. */
static int compare_number(const ProtobufCFieldDescriptor *f, const void *at, double limit)
{
    double real;
    switch (target_of(f)) {
    case CRS_RULE_INT32:
        return compare_signed(*(const int32_t *)at, limit);
    case CRS_RULE_INT64:
        return compare_signed(*(const int64_t *)at, limit);
    case CRS_RULE_UINT32:
        return compare_unsigned(*(const uint32_t *)at, limit);
    case CRS_RULE_UINT64:
        return compare_unsigned(*(const uint64_t *)at, limit);
    default:
        real = f->type == PROTOBUF_C_TYPE_FLOAT ? (double)*(const float *)at : *(const double *)at;
        return real > limit ? 1 : real < limit ? -1 : isnan(real) ? 2 : 0;
    }
}

static size_t count_characters(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static size_t length_of(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const void *at)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)crs_field_quantifier(m, f);
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)at)->len;
    return count_characters(crs_field_text(at));
}

static bool is_empty(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const void *at)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)crs_field_quantifier(m, f) == 0;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        return !*crs_field_text(at);
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)at)->len == 0;
    case PROTOBUF_C_TYPE_MESSAGE:
        return !*(void *const *)at;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return compare_number(f, at, 0) == 0; /* -0 too */
    default:
        return crs_field_size(f) == 8 ? *(const uint64_t *)at == 0 : *(const uint32_t *)at == 0;
    }
}

static bool matches(walk *w, const crs_pattern *pattern, const char *text)
{
    size_t len = strlen(text);
    if (len > CEREUS_RULE_TEXT_MAX)
        return false;
    size_t steps = crs_pattern_steps(pattern, len);
    if (steps > w->steps_left)
        return false;
    w->steps_left -= steps;
    if (!w->scratch)
        w->scratch = cereus_ctx_alloc(w->ctx, CRS_PATTERN_SCRATCH_MAX);
    w->no_memory = !w->scratch;
    return w->scratch && crs_pattern_matches(pattern, cereus_slice_of(text, len), w->scratch);
}

static bool keeps(walk *w, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const void *at, const rule *r)
{
    int order;
    switch (r->kind) {
    case CEREUS_RULE_OMITEMPTY:
        break;
    case CEREUS_RULE_REQUIRED:
        return !is_empty(m, f, at);
    case CEREUS_RULE_MIN:
        return (double)length_of(m, f, at) >= r->number;
    case CEREUS_RULE_MAX:
        return (double)length_of(m, f, at) <= r->number;
    case CEREUS_RULE_GTE:
        order = compare_number(f, at, r->number);
        return order == 0 || order == 1;
    case CEREUS_RULE_LTE:
        return compare_number(f, at, r->number) <= 0;
    case CEREUS_RULE_GT:
        return compare_number(f, at, r->number) == 1;
    case CEREUS_RULE_LT:
        return compare_number(f, at, r->number) < 0;
    case CEREUS_RULE_EMAIL: {
        cereus_slice text = cereus_slice_str(crs_field_text(at));
        return text.len <= CEREUS_RULE_TEXT_MAX && crs_rules_is_email(text);
    }
    case CEREUS_RULE_PATTERN:
        return matches(w, r->pattern, crs_field_text(at));
    }
    return true;
}

static void check_message(walk *w, const plan *p, const ProtobufCMessage *m, const path *in);

static void check_elements(walk *w, const check *c, const ProtobufCMessage *m, const void *at, const path *in)
{
    size_t count = *(const size_t *)crs_field_quantifier(m, c->field);
    ProtobufCMessage *const *elements = *(ProtobufCMessage *const *const *)at;
    bool map = crs_field_is_map(m->descriptor, c->field);
    for (size_t i = 0; i < count && w->failures < FAILURES_MAX && !w->no_memory; i++) {
        char key[32];
        const char *text = key;
        const ProtobufCMessage *inner = elements[i];
        if (map && inner) {
            const ProtobufCFieldDescriptor *k = &inner->descriptor->fields[0], *v = &inner->descriptor->fields[1];
            key[k->type == PROTOBUF_C_TYPE_STRING ? 0 : crs_text_integer(key, k->type, crs_field_at(inner, k))] = '\0';
            if (k->type == PROTOBUF_C_TYPE_STRING)
                text = crs_field_text(crs_field_at(inner, k));
            inner = *(ProtobufCMessage *const *)crs_field_at(inner, v);
        } else {
            snprintf(key, sizeof key, "%zu", i);
        }
        const path here = {.outer = in, .name = c->go_name, .key = text};
        if (inner)
            check_message(w, c->nested, inner, &here);
    }
}

static void check_field(walk *w, const check *c, const ProtobufCMessage *m, const path *in)
{
    const ProtobufCFieldDescriptor *f = c->field;
    const void *at = crs_field_at(m, f);
    bool chosen = !(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || crs_field_is_chosen(m, f);
    for (size_t i = 0; i < c->rule_count; i++) {
        const rule *r = &c->rules[i];
        /* what is not in its oneof is nothing, whatever the union holds */
        if (r->kind == CEREUS_RULE_OMITEMPTY ? !chosen || is_empty(m, f, at)
                                             : !chosen && r->kind != CEREUS_RULE_REQUIRED)
            break;
        if (!chosen || !keeps(w, m, f, at, r)) {
            tell(w, in, c, r->kind);
            break;
        }
    }
    if (!chosen || !c->nested || !c->nested->needed)
        return;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        check_elements(w, c, m, at, in);
        return;
    }
    const path here = {.outer = in, .name = c->go_name};
    const ProtobufCMessage *inner = *(ProtobufCMessage *const *)at;
    if (inner)
        check_message(w, c->nested, inner, &here);
}

/* As deep as the message, whose nesting the codec bounds. */
static void check_message(walk *w, const plan *p, const ProtobufCMessage *m, const path *in)
{
    for (size_t i = 0; i < p->check_count && w->failures < FAILURES_MAX && !w->no_memory; i++)
        check_field(w, &p->checks[i], m, in);
}

cereus_status crs_rules_before(cereus_ctx *ctx, cereus_value *in, void *user)
{
    const crs_rules *r = user;
    const ProtobufCMessage *m = in->shape == CEREUS_MESSAGE ? in->message : NULL;
    const plan *p = m ? find_plan(r, m->descriptor) : NULL;
    if (!p || !p->needed)
        return CEREUS_OK;
    walk w = {.ctx = ctx, .steps_left = CEREUS_RULE_STEPS_MAX};
    const path root = {.name = p->go_name};
    check_message(&w, p, m, &root);
    if (w.no_memory)
        return CEREUS_E_NOMEM;
    if (!w.failures)
        return CEREUS_OK;
    CRS_COUNT(&ctx->dispatch->loop->counters, rules_broken);
    return cereus_fail_bytes(ctx, NULL, cereus_slice_str(w.text));
}
