/* tools/protoc-gen-cereus/emit.c: see emit.h. The text is laid out as our own code is, and only a header comes out: the
 * functions are so small that a second file to compile would be more trouble than they are.
 */
#include "emit.h"

#include <stdio.h>

#include "base/strmap.h"
#include "serialize/float.h"

enum { COLUMNS_MAX = 120 };

/* Text that is being written; after a failure nothing more is. */
typedef struct writer {
    crs_bytes *out;
    crs_arena *arena; /* for the parts of a line */
    cereus_status status;
} writer;

/* A piece of text; "" when memory is used up, which is noted. */
CEREUS_PRINTF(2, 3) static const char *text(writer *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *made = crs_arena_vprintf(w->arena, fmt, args);
    va_end(args);
    if (!made && !w->status)
        w->status = CEREUS_E_NOMEM;
    return made ? made : "";
}

static void put_text(writer *w, const char *bytes)
{
    if (!w->status)
        w->status = crs_bytes_append_str(w->out, bytes);
}

CEREUS_PRINTF(2, 3) static void put(writer *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *made = crs_arena_vprintf(w->arena, fmt, args);
    va_end(args);
    if (made)
        put_text(w, made);
    else if (!w->status)
        w->status = CEREUS_E_NOMEM;
}

static void put_byte(writer *w, char c)
{
    if (!w->status)
        w->status = crs_bytes_append_byte(w->out, (uint8_t)c);
}

/* -- comments and literals -- */

/* @p len bytes of a .proto, such that they neither end the comment nor start one inside it. */
static void put_comment_text(writer *w, const char *bytes, size_t len)
{
    char before = ' ';
    for (size_t i = 0; i < len; i++) {
        char c = bytes[i];
        if ((before == '*' && c == '/') || (before == '/' && c == '*') || (before == '?' && c == '?'))
            put_byte(w, ' ');
        put_byte(w, (unsigned char)c < ' ' || c == 0x7f ? ' ' : c);
        before = c;
    }
}

/* The lines of a comment of the .proto, each behind " * ". */
static void put_comment_lines(writer *w, const char *indent, const char *comment)
{
    while (*comment) {
        size_t len = strcspn(comment, "\n");
        const char *line = comment;
        comment += len + (comment[len] == '\n');
        if (*line == ' ') { /* protoc keeps the blank behind the slashes */
            line++;
            len--;
        }
        while (len && (line[len - 1] == ' ' || line[len - 1] == '\r'))
            len--;
        put(w, "%s *%s", indent, len ? " " : "");
        put_comment_text(w, line, len);
        put(w, "\n");
    }
}

/* A doc comment: what the .proto says, then our own summary. */
CEREUS_PRINTF(4, 5)
static void put_doc(writer *w, const char *indent, const char *comment, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *summary = crs_arena_vprintf(w->arena, fmt, args);
    va_end(args);
    if (!summary) {
        w->status = w->status ? w->status : CEREUS_E_NOMEM;
        return;
    }
    if (comment) {
        put(w, "%s/**\n", indent);
        put_comment_lines(w, indent, comment);
        put(w, "%s *\n%s * ", indent, indent);
        put_comment_text(w, summary, strlen(summary));
        put(w, "\n%s */\n", indent);
    } else {
        put(w, "%s/** ", indent);
        put_comment_text(w, summary, strlen(summary));
        put_text(w, " */\n");
    }
}

/* A C string of any bytes. '?' too is escaped: two of them could begin a trigraph. */
static const char *literal(writer *w, const char *bytes)
{
    char *made = crs_arena_alloc(w->arena, 4 * strlen(bytes) + 3), *at = made;
    if (!made)
        return text(w, "%s", ""); /* fails likewise, and notes it */
    *at++ = '"';
    for (; *bytes; bytes++) {
        unsigned char c = (unsigned char)*bytes;
        if (c < ' ' || c >= 0x7f) {
            *at++ = '\\';
            *at++ = (char)('0' + (c >> 6));
            *at++ = (char)('0' + (c >> 3 & 7));
            *at++ = (char)('0' + (c & 7));
        } else {
            if (c == '"' || c == '\\' || c == '?')
                *at++ = '\\';
            *at++ = (char)c;
        }
    }
    *at++ = '"';
    *at = '\0';
    return made;
}

/* -- declarations and calls -- */

/* Columns that the longest of the items needs, with what follows it. */
static size_t longest_item(const char *const *items, const char *tail)
{
    size_t longest = 0;
    for (size_t i = 0; items[i]; i++)
        longest = CRS_MAX(longest, strlen(items[i]) + (items[i + 1] ? 1 : strlen(tail) + 1));
    return longest;
}

/* "HEAD(ITEM, ITEM)TAIL\n", broken where a line would be too long. The head is on one line; NULL ends the items. */
static void put_list(writer *w, const char *head, const char *const *items, const char *tail)
{
    size_t indent = strlen(head) + 1;
    put_text(w, head);
    put_text(w, "(");
    if (indent + longest_item(items, tail) > COLUMNS_MAX) { /* not even one beside the head */
        indent = strspn(head, " ") + 4;
        put(w, "\n%*s", (int)indent, "");
    }
    size_t column = indent;
    for (size_t i = 0; items[i]; i++) {
        size_t len = strlen(items[i]) + (items[i + 1] ? 1 : strlen(tail) + 1);
        if (i > 0 && column + 1 + len > COLUMNS_MAX) {
            put(w, "\n%*s", (int)indent, "");
            column = indent;
        } else if (i > 0) {
            put_text(w, " ");
            column++;
        }
        put(w, "%s%s", items[i], items[i + 1] ? "," : "");
        column += len;
    }
    put(w, ")%s\n", tail);
}

/* The first lines of a function. */
static void put_function(writer *w, const char *name, const char *const *params)
{
    static const char type[] = "static inline cereus_status";
    bool own_line = strlen(type) + 1 + strlen(name) + 1 + longest_item(params, "") > COLUMNS_MAX;
    if (own_line)
        put(w, "%s\n", type);
    put_list(w, own_line ? name : text(w, "%s %s", type, name), params, "");
    put_text(w, "{\n");
}

/* -- descriptors -- */

static void put_bytes(writer *w, cereus_slice bytes)
{
    size_t column = COLUMNS_MAX;
    for (size_t i = 0; i < bytes.len && !w->status; i++) {
        char number[8];
        size_t len = (size_t)snprintf(number, sizeof number, "%u,", bytes.data[i]);
        if (column + 1 + len > COLUMNS_MAX) {
            put_text(w, i ? "\n        " : "        ");
            column = 8;
        } else {
            put_byte(w, ' ');
            column++;
        }
        put_text(w, number);
        column += len;
    }
    put_byte(w, '\n');
}

/* A table of rules. Numbers are written so that they read back as the same. */
static void put_rules(writer *w, size_t index, const crs_gen_rules *r)
{
    static const char *const kinds[] = {
#define RULE_NAME(name, tag, text) [CEREUS_RULE_##name] = "CEREUS_RULE_" #name,
        CEREUS_RULE_TABLE(RULE_NAME)
#undef RULE_NAME
    };
    put(w, "    static const cereus_rule rules_%zu[] = {\n", index);
    for (size_t i = 0; i < r->count; i++) {
        const cereus_rule *rule = &r->rules[i];
        char number[CRS_FLOAT_TEXT_MAX + 1];
        number[crs_float_text(number, rule->number, false)] = '\0';
        put(w, "        {%s, %s, %s, %s},\n", literal(w, rule->field), kinds[rule->kind], number,
            rule->pattern ? literal(w, rule->pattern) : "NULL");
    }
    put_text(w, "    };\n");
}

static void put_describe(writer *w, const crs_gen_file *f)
{
    put_doc(w, "", NULL,
            "Tell the app what is in %s; registering a service of it does so too. As cereus_app_add_descriptors().",
            f->proto);
    static const char *const params[] = {"cereus_app *app", "cereus_error *err", NULL};
    put_function(w, f->describe.fn, params);
    put_text(w, "    static const unsigned char files[] = {\n");
    put_bytes(w, f->describe.set);
    put_text(w, "    };\n");
    for (size_t i = 0; i < f->describe.rules_count; i++)
        put_rules(w, i, &f->describe.rules[i]);
    if (f->describe.rules_count == 0) {
        put_text(w, "    return cereus_app_add_descriptors(app, files, sizeof files, err);\n}\n\n");
        return;
    }
    put_text(w, "    CEREUS_TRY(cereus_app_add_descriptors(app, files, sizeof files, err));\n");
    for (size_t i = 0; i < f->describe.rules_count; i++) {
        const char *args[] = {"app",
                              text(w, "&%s", f->describe.rules[i].type->descriptor),
                              text(w, "rules_%zu", i),
                              text(w, "CEREUS_COUNT(rules_%zu)", i),
                              "err",
                              NULL};
        put_list(w, "    CEREUS_TRY(cereus_app_add_rules", args, ");");
    }
    put_text(w, "    return CEREUS_OK;\n}\n\n");
}

/* -- services -- */

static void put_service_type(writer *w, const crs_gen_service *s)
{
    put_doc(w, "", s->comment, "Handlers of service %s. A member that is NULL is not registered.", s->name);
    put(w, "typedef struct %s {\n", s->type);
    for (size_t i = 0; i < s->method_count; i++) {
        const crs_gen_method *m = &s->methods[i];
        const char *params[4] = {"cereus_ctx *ctx"};
        size_t count = 1;
        if (m->in)
            params[count++] = text(w, "const %s *req", m->in->c_type);
        if (m->out)
            params[count++] = text(w, "%s *reply", m->out->c_type);
        put_doc(w, "    ", m->comment, "%s %s.%s%s.", m->out ? "Request" : "Notify", s->route, m->route,
                m->concurrent ? ", concurrent" : "");
        put_list(w, text(w, "    cereus_status (*%s)", m->member), params, ";");
    }
    put(w, "} %s;\n", s->type);
}

/* The function that the registry calls for a method. */
static void put_thunk(writer *w, const crs_gen_service *s, const crs_gen_method *m)
{
    const char *args[4] = {"ctx"};
    size_t count = 1;
    if (m->in)
        args[count++] = text(w, "(const %s *)in->message", m->in->c_type);
    if (m->out)
        args[count++] = text(w, "(%s *)out->message", m->out->c_type);
    static const char *const params[] = {"cereus_ctx *ctx", "const cereus_value *in", "cereus_value *out", "void *user",
                                         NULL};
    put_function(w, m->thunk, params);
    if (!m->in)
        put_text(w, "    (void)in;\n");
    if (!m->out)
        put_text(w, "    (void)out;\n");
    put(w, "    const %s *service = (const %s *)user;\n", s->type, s->type);
    put_list(w, text(w, "    return service->%s", m->member), args, ";");
    put_text(w, "}\n\n");
}

static void put_table_entry(writer *w, const crs_gen_service *s, const crs_gen_method *m)
{
    put(w, "    if (service->%s) {\n", m->member);
    put(w, "        methods[count].name = %s;\n", literal(w, m->route));
    if (m->in) {
        put_text(w, "        methods[count].in = CEREUS_MESSAGE;\n");
        put(w, "        methods[count].in_type = &%s;\n", m->in->descriptor);
    }
    if (m->out) {
        put_text(w, "        methods[count].out = CEREUS_MESSAGE;\n");
        put(w, "        methods[count].out_type = &%s;\n", m->out->descriptor);
    }
    put(w, "        methods[count].fn = %s;\n", m->thunk);
    put_text(w, "        methods[count].user = (void *)service;\n");
    if (m->concurrent)
        put_text(w, "        methods[count].flags = CEREUS_CONCURRENT;\n");
    put_text(w, "        count++;\n    }\n");
}

/* What other servers call. */
static void put_rpc(writer *w, const crs_gen_method *m)
{
    put_doc(w, "", m->comment, "Call %s on another server%s. As cereus_rpc().", m->rpc_route,
            m->out ? "; *ret_reply is in the ctx's memory" : ", and wait until it has been done");
    const char *params[5] = {"cereus_ctx *ctx", "const cereus_rpc_options *options"};
    size_t count = 2;
    if (m->in)
        params[count++] = text(w, "const %s *req", m->in->c_type);
    if (m->out)
        params[count++] = text(w, "%s **ret_reply", m->out->c_type);
    put_function(w, m->rpc_fn, params);
    const char *in = m->in ? "(const ProtobufCMessage *)req" : "NULL", *route = literal(w, m->rpc_route);
    if (m->out) {
        const char *args[] = {"ctx", route, in, text(w, "&%s", m->out->descriptor), "&reply", "options", NULL};
        put_text(w, "    ProtobufCMessage *reply = NULL;\n");
        put_list(w, "    CEREUS_TRY(cereus_rpc", args, ");");
        put(w, "    *ret_reply = (%s *)reply;\n    return CEREUS_OK;\n}\n\n", m->out->c_type);
    } else {
        const char *args[] = {"ctx", route, in, "NULL", "NULL", "options", NULL};
        put_list(w, "    return cereus_rpc", args, ";");
        put_text(w, "}\n\n");
    }
}

static void put_service(writer *w, const crs_gen_service *s, const char *describe_fn)
{
    static const char *const homes[] = {
        [CEREUS_HOME_ONE] = "CEREUS_HOME_ONE",
        [CEREUS_HOME_SESSION] = "CEREUS_HOME_SESSION",
        [CEREUS_HOME_KEY] = "CEREUS_HOME_KEY",
    };
    put_service_type(w, s);
    put_text(w, "\n");
    for (size_t i = 0; i < s->method_count; i++)
        put_thunk(w, s, &s->methods[i]);

    put_text(w, "/**\n");
    put(w, " * Register the handlers that are set, as the service \"");
    put_comment_text(w, s->route, strlen(s->route));
    put_text(w, s->server ? "\" of remotes.\n" : "\".\n");
    put(w, " * @param options  NULL: %s%s\n", s->has_home ? "home is " : "the defaults",
        s->has_home ? homes[s->home] : "");
    put(w,
        " * @return as cereus_app_register%s(); CEREUS_E_INVALID: no handler is set\n"
        " * Ownership: borrows @p service for as long as the app lives. Thread: setup.\n */\n",
        s->server ? "_remote" : "");
    const char *params[] = {"cereus_app *app", text(w, "const %s *service", s->type),
                            "const cereus_service_options *options", "cereus_error *err", NULL};
    put_function(w, s->register_fn, params);
    put(w, "    CEREUS_TRY(%s(app, err));\n", describe_fn);
    put(w, "    cereus_method methods[%zu];\n    size_t count = 0;\n", s->method_count);
    put_text(w, "    memset(methods, 0, sizeof methods);\n");
    for (size_t i = 0; i < s->method_count; i++)
        put_table_entry(w, s, &s->methods[i]);
    if (s->has_home)
        put(w,
            "    cereus_service_options defaults;\n"
            "    memset(&defaults, 0, sizeof defaults);\n"
            "    defaults.home = %s;\n",
            homes[s->home]);
    const char *args[] = {"app",
                          literal(w, s->route),
                          "methods",
                          "count",
                          s->has_home ? "options ? options : &defaults" : "options",
                          "err",
                          NULL};
    put_list(w, s->server ? "    return cereus_app_register_remote" : "    return cereus_app_register", args, ";");
    put_text(w, "}\n\n");
    for (size_t i = 0; s->server && i < s->method_count; i++)
        put_rpc(w, &s->methods[i]);
}

/* -- pushes -- */

static void put_push_fn(writer *w, const char *fn, const char *const *params, const char *call, const char *const *args)
{
    put_function(w, fn, params);
    put_list(w, text(w, "    return %s", call), args, ";");
    put_text(w, "}\n\n");
}

static void put_push(writer *w, const crs_gen_push *p)
{
    const char *route = literal(w, p->route), *msg = text(w, "const %s *msg", p->type->c_type);
    static const char value[] = "cereus_message((const ProtobufCMessage *)msg)";

    put_doc(w, "", p->comment, "Push %s to one session. As cereus_session_push().", p->route);
    put_push_fn(w, p->fn, (const char *const[]){"cereus_ctx *ctx", "cereus_session *session", msg, NULL},
                "cereus_session_push", (const char *const[]){"ctx", "session", route, value, NULL});

    put_doc(w, "", NULL, "Push %s to the members of a group connected to this server. As cereus_group_broadcast().",
            p->route);
    put_push_fn(w, p->group_fn, (const char *const[]){"cereus_ctx *ctx", "const char *group", msg, NULL},
                "cereus_group_broadcast", (const char *const[]){"ctx", "NULL", "group", route, value, NULL});

    put_doc(w, "", NULL, "Push %s to users wherever they are. As cereus_push_to_users().", p->route);
    put_push_fn(w, p->users_fn,
                (const char *const[]){"cereus_ctx *ctx", "const char *const *uids", "size_t uid_count",
                                      "const char *frontend_type", msg, "const char **ret_failed",
                                      "size_t *ret_failed_count", NULL},
                "cereus_push_to_users",
                (const char *const[]){"ctx", route, value, "uids", "uid_count", "frontend_type", "ret_failed",
                                      "ret_failed_count", NULL});
}

/* -- the file -- */

/* The headers of all messages that are used, each once; our own first. They come by it too, but what is used is
 * included. */
static void put_message_includes(writer *w, const crs_gen_file *f)
{
    crs_strmap seen;
    crs_strmap_init(&seen);
    for (size_t i = 0; i < f->service_count; i++) {
        for (size_t k = 0; k < 2 * f->services[i].method_count && !w->status; k++) {
            const crs_gen_method *m = &f->services[i].methods[k / 2];
            const crs_gen_type *type = k % 2 ? m->out : m->in;
            void *before = NULL;
            if (!type || strcmp(type->header, f->header) == 0)
                continue;
            w->status = crs_strmap_put(&seen, cereus_slice_str(type->header), (void *)type, &before);
            if (!before)
                put(w, "#include \"%s\"\n", type->header);
        }
    }
    crs_strmap_fini(&seen);
}

cereus_status crs_gen_emit(crs_bytes *out, crs_arena *arena, const crs_gen_file *f)
{
    writer w = {.out = out, .arena = arena};
    put(&w, "/* Generated by protoc-gen-cereus from %s; do not edit. */\n", f->proto);
    put(&w, "#ifndef %s\n#define %s\n\n", f->guard, f->guard);
    put_text(&w, "#include <cereus/docs.h>\n");
    if (f->push_count)
        put_text(&w, "#include <cereus/group.h>\n");
    if (f->service_count)
        put_text(&w, "#include <cereus/handler.h>\n");
    bool remote = false;
    for (size_t i = 0; i < f->service_count; i++)
        remote = remote || f->services[i].server;
    if (remote)
        put_text(&w, "#include <cereus/remote.h>\n");
    if (f->describe.rules_count)
        put_text(&w, "#include <cereus/rules.h>\n");
    if (f->push_count)
        put_text(&w, "#include <cereus/session.h>\n");
    put_text(&w, "\n");
    put(&w, "#include \"%s\"\n", f->header);
    put_message_includes(&w, f);
    put_text(&w, "\n");
    put_text(&w, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    put_describe(&w, f);
    for (size_t i = 0; i < f->service_count; i++)
        put_service(&w, &f->services[i], f->describe.fn);
    for (size_t i = 0; i < f->push_count; i++)
        put_push(&w, &f->pushes[i]);
    put_text(&w, "#ifdef __cplusplus\n}\n#endif\n");
    put_text(&w, "#endif\n");
    return w.status;
}
