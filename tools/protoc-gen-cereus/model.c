/* tools/protoc-gen-cereus/model.c: see model.h. The request is decoded by our own Protobuf codec, which bounds nesting
 * and memory; cereus/options.proto's options arrive as unknown fields of descriptor.proto's messages, because only the
 * one who wrote the .proto knew of them.
 *
 * A mistake of the .proto's author becomes a line of `mistakes` and the reading goes on, so that all are told at once.
 * What stops it is kept in gen.status: out of memory, or a request that protoc would not write.
 */
#include "model.h"

#include "base/strmap.h"
#include "base/utf8.h"
#include "dispatch/rules.h"
#include "names.h"
#include "serialize/protobuf.h"
#include "serialize/fields.h"
#include "serialize/serializer.h"

#include "cereus_options.pb-c.h"
#include "google/protobuf/compiler/plugin.pb-c.h"
#include "pb_c_options.pb-c.h"

enum {
    OPTION_NUMBER = 51900,     /* all of cereus/options.proto's */
    PB_C_OPTION_NUMBER = 1019, /* protobuf-c/protobuf-c.proto */
    SET_LEN_MAX = 16 << 20,    /* descriptors in one header */
    ROUTE_LEN_MAX = 255,       /* client-protocol.md: the length is one byte */

    /* field numbers of descriptor.proto, of which a place in a file is made */
    FILE_MESSAGE = 4,
    FILE_SERVICE = 6,
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    SERVICE_METHOD = 2,
};

typedef Google__Protobuf__FileDescriptorProto file_proto;
typedef Google__Protobuf__DescriptorProto message_proto;
typedef Google__Protobuf__EnumDescriptorProto enum_proto;
typedef Google__Protobuf__FieldDescriptorProto field_proto;
typedef Google__Protobuf__ServiceDescriptorProto service_proto;
typedef Google__Protobuf__MethodDescriptorProto method_proto;
typedef Google__Protobuf__SourceCodeInfo__Location location_proto;

typedef struct gen {
    crs_arena *arena;
    crs_bytes *mistakes;
    cereus_error *err;
    cereus_status status; /* CEREUS_OK: go on */
    crs_strmap files;     /* name -> file_proto */
    crs_strmap types;     /* ".chat.JoinRequest" -> crs_gen_type */
    crs_strmap homes;     /* ".chat.JoinRequest", and enums -> file_proto that declares it */
    crs_strmap taken;     /* C name -> text that says who has it */
    crs_strmap locations; /* bytes of a path in the file being read -> location_proto */
} gen;

/* Something declared in a file: which, as field numbers and indices, so that its line and comment can be found. */
typedef struct place {
    const file_proto *file;
    int32_t path[2 * CRS_SERIALIZE_DEPTH_MAX];
    size_t path_count;
} place;

static void enter(place *at, int32_t field, size_t index)
{
    /* the codec refuses what is nested deeper than the path is long */
    CRS_ASSERT(at->path_count + 2 <= CEREUS_COUNT(at->path));
    at->path[at->path_count++] = field;
    at->path[at->path_count++] = (int32_t)index;
}

static void leave(place *at)
{
    at->path_count -= 2;
}

static cereus_slice path_bytes(const int32_t *path, size_t count)
{
    return cereus_slice_of(path ? (const void *)path : "", count * sizeof *path);
}

static const location_proto *locate(const gen *g, const place *at)
{
    return crs_strmap_get(&g->locations, path_bytes(at->path, at->path_count));
}

/* The comment above; NULL: none. */
static const char *comment_of(const gen *g, const place *at)
{
    const location_proto *l = locate(g, at);
    return l && l->leading_comments && *l->leading_comments ? l->leading_comments : NULL;
}

/* -- going wrong -- */

/* Returns false, for callers that return whether things went well. */
static bool stop(gen *g, cereus_status status, const char *what)
{
    if (!g->status)
        g->status = crs_fail(g->err, status, "%s", what);
    return false;
}

static bool no_memory(gen *g)
{
    return stop(g, CEREUS_E_NOMEM, "the .proto files need more memory than there is");
}

/* Past the limit of `mistakes` further ones are left out. */
CEREUS_PRINTF(2, 3) static void add_mistake(gen *g, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *text = crs_arena_vprintf(g->arena, fmt, args);
    va_end(args);
    cereus_status st = CEREUS_E_NOMEM;
    if (text)
        st = crs_bytes_printf(g->mistakes, "%s%s", g->mistakes->len ? "\n" : "", text);
    if (st == CEREUS_E_NOMEM)
        no_memory(g);
    else if (g->mistakes->len == 0)
        stop(g, CEREUS_E_MALFORMED, "a name is too long to tell what is wrong with it");
}

/* "chat.proto:12:3: service Room: what is wrong" */
CEREUS_PRINTF(3, 4) static void mistake(gen *g, const place *at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *text = crs_arena_vprintf(g->arena, fmt, args);
    va_end(args);
    const location_proto *l = locate(g, at);
    if (!text)
        no_memory(g);
    else if (l && l->n_span >= 2)
        add_mistake(g, "%s:%u:%u: %s", at->file->name, (unsigned)l->span[0] + 1, (unsigned)l->span[1] + 1, text);
    else
        add_mistake(g, "%s: %s", at->file->name, text);
}

/* Notes that memory is used up if it is. */
static const char *checked(gen *g, const char *text)
{
    if (!text)
        no_memory(g);
    return text ? text : "";
}

CEREUS_PRINTF(2, 3) static const char *format(gen *g, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *text = crs_arena_vprintf(g->arena, fmt, args);
    va_end(args);
    return checked(g, text);
}

/* @p count cleared elements; NULL: out of memory, noted. */
static void *array(gen *g, size_t count, size_t size)
{
    void *a = crs_arena_zalloc(g->arena, count * size); /* counts come from arrays of pointers that fit into memory */
    if (!a)
        no_memory(g);
    return a;
}

/* -- decoding -- */

static void *decode(gen *g, const ProtobufCMessageDescriptor *type, cereus_slice bytes)
{
    ProtobufCMessage *msg = NULL;
    cereus_status st = crs_serializer_protobuf.decode(type, bytes, crs_arena_take, g->arena, &msg, g->err);
    if (st && !g->status)
        g->status = crs_fail_in(g->err, st, "%s", type->name);
    return st ? NULL : msg;
}

/* The next time that option @p number is given; walk with *iter = 0, false: no more. */
static bool next_option(const ProtobufCMessage *options, uint32_t number, size_t *iter, cereus_slice *ret)
{
    while (options && *iter < options->n_unknown_fields) {
        const ProtobufCMessageUnknownField *f = &options->unknown_fields[(*iter)++];
        if (f->tag != number || f->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
            continue;
        size_t at = 0;
        while (f->data[at] & 0x80) /* the length in front, which the codec has checked */
            at++;
        *ret = cereus_slice_of(f->data + at + 1, f->len - at - 1);
        return true;
    }
    return false;
}

/* Option @p number as a message; NULL: not given, or stopped. Given several times, as in `option (x).a = 1; option (x).b
 * = 2;`, it is the parts of one message, which Protobuf merges when they stand one after the other. */
static void *option_of(gen *g, const ProtobufCMessage *options, uint32_t number, const ProtobufCMessageDescriptor *type)
{
    size_t count = 0, len = 0;
    cereus_slice part = {0};
    for (size_t iter = 0; next_option(options, number, &iter, &part); count++)
        len += part.len;
    if (count < 2)
        return count ? decode(g, type, part) : NULL;
    uint8_t *all = array(g, len, 1), *at = all;
    for (size_t iter = 0; all && next_option(options, number, &iter, &part); at += part.len)
        memcpy(at, part.data, part.len);
    return all ? decode(g, type, cereus_slice_of(all, len)) : NULL;
}

/* -- names -- */

/* Put @p value under @p key unless the key is taken; then returns who has it. */
static void *put_new(gen *g, crs_strmap *map, const char *key, const void *value)
{
    void *old = crs_strmap_get(map, cereus_slice_str(key));
    if (!old && crs_strmap_put(map, cereus_slice_str(key), (void *)value, NULL))
        no_memory(g);
    return old;
}

/* Take a C name that others must not have. */
static bool claim(gen *g, const place *at, const char *who, const char *c_name)
{
    if (strncmp(c_name, "cereus_", 7) == 0) {
        mistake(g, at, "%s: its C name %s begins with cereus_, as only the framework's do", who, c_name);
        return false;
    }
    const char *other = put_new(g, &g->taken, c_name, format(g, "%s in %s", who, at->file->name));
    if (other)
        mistake(g, at, "%s: its C name %s is taken by %s", who, c_name, other);
    return !other;
}

static const char *package_of(const file_proto *file)
{
    return file->package ? file->package : "";
}

/* What protoc-gen-c puts in front of the file's names: the package, or its own option c_package. */
static const char *c_package_of(gen *g, const file_proto *file)
{
    const ProtobufCMessage *options = file->options ? &file->options->base : NULL;
    const ProtobufCFileOptions *opt = option_of(g, options, PB_C_OPTION_NUMBER, &protobuf_cfile_options__descriptor);
    return opt && opt->c_package ? opt->c_package : package_of(file);
}

/* "chat_" for package chat, "" for none. */
static const char *prefix_of(gen *g, const char *c_package)
{
    return *c_package ? format(g, "%s_", checked(g, crs_name_snake(g->arena, c_package))) : "";
}

/* May @p route be part of a route? The registry asks the same. */
static bool is_route_part(const char *route)
{
    if (!*route)
        return false;
    for (; *route; route++) {
        if (*route == '.' || (unsigned char)*route <= ' ' || *route == 0x7f)
            return false;
    }
    return true;
}

/* `name` of an option, else the declared name in lower case. */
static const char *route_of(gen *g, const place *at, const char *who, const char *option, const char *name)
{
    const char *route = option ? option : checked(g, crs_name_flat(g->arena, name));
    if (g->status)
        return "";
    if (!is_route_part(route))
        mistake(g, at,
                option ? "%s: the name \"%s\" must not be empty nor hold dots, blanks or control characters"
                       : "%s: nothing is left for its route \"%s\": name it with an option",
                who, route);
    return route;
}

/* -- messages -- */

/* Note where enums are declared. @p scope: ".chat.Room", or "" outside of all. */
static void add_enums(gen *g, const place *at, const char *scope, enum_proto *const *enums, size_t count)
{
    for (size_t i = 0; i < count && !g->status; i++) {
        const char *key = format(g, "%s.%s", scope, enums[i]->name ? enums[i]->name : "");
        if (!g->status && put_new(g, &g->homes, key, at->file))
            stop(g, CEREUS_E_MALFORMED, "an enum is declared twice");
    }
}

/* Note @p m and the messages declared inside as types that methods may use. @p name: "Room.User" inside the package. */
static void add_type(gen *g, const place *at, const char *c_package, const char *header, const message_proto *m,
                     const char *name)
{
    crs_gen_type *type = array(g, 1, sizeof *type);
    if (!type)
        return;
    const char *package = package_of(at->file);
    type->name = format(g, "%s%s%s", package, *package ? "." : "", name);
    type->header = header;
    type->c_type = checked(g, crs_name_c_type(g->arena, c_package, name));
    type->descriptor = checked(g, crs_name_c_descriptor(g->arena, c_package, name));
    const char *key = format(g, ".%s", type->name);
    if (g->status)
        return;
    if (!crs_name_is_identifier(type->name, true))
        stop(g, CEREUS_E_MALFORMED, "the name of a message is no identifier");
    else if (put_new(g, &g->types, key, type) || put_new(g, &g->homes, key, at->file))
        stop(g, CEREUS_E_MALFORMED, "a message is declared twice");
    add_enums(g, at, key, m->enum_type, m->n_enum_type);
    for (size_t i = 0; i < m->n_nested_type && !g->status; i++) {
        const char *inner = m->nested_type[i]->name ? m->nested_type[i]->name : "";
        add_type(g, at, c_package, header, m->nested_type[i], format(g, "%s.%s", name, inner));
    }
}

/* "a/chat.proto" and ".pb-c.h": "a/chat.pb-c.h". */
static const char *output_name(gen *g, const char *proto, const char *end)
{
    size_t len = strlen(proto);
    static const char *const ends[] = {".protodevel", ".proto"};
    for (size_t i = 0; i < CEREUS_COUNT(ends); i++) {
        size_t end_len = strlen(ends[i]);
        if (len > end_len && strcmp(proto + len - end_len, ends[i]) == 0)
            return format(g, "%.*s%s", (int)(len - end_len), proto, end);
    }
    return format(g, "%s%s", proto, end);
}

/* Can it stand in an #include and in a comment? */
static bool is_file_name(const char *name)
{
    if (!name || !*name || strlen(name) > 4096 || strstr(name, "*/") || strstr(name, "/*"))
        return false;
    for (; *name; name++) {
        if ((unsigned char)*name < ' ' || *name == 0x7f || *name == '"' || *name == '\\')
            return false;
    }
    return true;
}

static void add_file(gen *g, const file_proto *file)
{
    if (!is_file_name(file->name)) {
        stop(g, CEREUS_E_MALFORMED, "the name of a .proto file does not fit into an #include of C");
        return;
    }
    if (put_new(g, &g->files, file->name, file))
        stop(g, CEREUS_E_MALFORMED, "a .proto file comes twice");
    const char *c_package = c_package_of(g, file), *header = output_name(g, file->name, ".pb-c.h");
    if (!g->status && *c_package && !crs_name_is_identifier(c_package, true))
        stop(g, CEREUS_E_MALFORMED, "the name of a package is no identifier");
    place at = {.file = file};
    for (size_t i = 0; i < file->n_message_type && !g->status; i++) {
        const message_proto *m = file->message_type[i];
        add_type(g, &at, c_package, header, m, m->name ? m->name : "");
    }
    const char *package = package_of(file);
    add_enums(g, &at, *package ? format(g, ".%s", package) : "", file->enum_type, file->n_enum_type);
}

/* -- services -- */

static const char empty_type[] = ".google.protobuf.Empty";

static const crs_gen_type *find_type(gen *g, const char *name)
{
    const crs_gen_type *type = name ? crs_strmap_get(&g->types, cereus_slice_str(name)) : NULL;
    if (!type)
        stop(g, CEREUS_E_MALFORMED, "a method uses a message that is not there");
    return type;
}

static void read_method(gen *g, const place *at, const char *service_name, const char *prefix, const method_proto *m,
                        crs_gen_method *ret)
{
    if (!m->name || !crs_name_is_identifier(m->name, false)) {
        stop(g, CEREUS_E_MALFORMED, "the name of a method is no identifier");
        return;
    }
    ret->name = m->name;
    ret->comment = comment_of(g, at);
    const char *who = format(g, "method %s.%s", service_name, m->name);
    const ProtobufCMessage *options = m->options ? &m->options->base : NULL;
    const Cereus__MethodOptions *opt = option_of(g, options, OPTION_NUMBER, &cereus__method_options__descriptor);
    const crs_gen_type *in = find_type(g, m->input_type), *out = find_type(g, m->output_type);
    const char *member = checked(g, crs_name_snake(g->arena, m->name));
    if (g->status)
        return;

    if (m->client_streaming || m->server_streaming)
        mistake(g, at, "%s: streams are not supported, a route takes one message and gives at most one", who);
    ret->route = route_of(g, at, who, opt ? opt->name : NULL, m->name);
    /* a '_' behind it would save our header, but not that of protoc-gen-c, which has the service too */
    if (crs_name_is_taken_by_c(member))
        mistake(g, at,
                "%s: C has taken the name %s: call the method otherwise, and keep its route with option "
                "(cereus.method) = {name: \"%s\"}",
                who, member, ret->route);
    ret->member = member;
    ret->thunk = format(g, "%s_call_%s_", prefix, member);
    ret->in = strcmp(m->input_type, empty_type) == 0 ? NULL : in;
    bool notify = opt && opt->has_notify ? opt->notify : strcmp(m->output_type, empty_type) == 0;
    ret->out = notify ? NULL : out;
    ret->concurrent = opt && opt->has_concurrent && opt->concurrent;
}

/* Do the methods differ where C and clients tell them apart? */
static void check_methods(gen *g, place *at, const crs_gen_service *s)
{
    crs_strmap members, routes;
    crs_strmap_init(&members);
    crs_strmap_init(&routes);
    for (size_t i = 0; i < s->method_count && !g->status; i++) {
        const crs_gen_method *m = &s->methods[i];
        enter(at, SERVICE_METHOD, i);
        const char *who = format(g, "method %s.%s", s->name, m->name);
        const crs_gen_method *other = put_new(g, &members, m->member, m);
        if (other)
            mistake(g, at, "%s: its C name %s is taken by method %s.%s", who, m->member, s->name, other->name);
        else if (claim(g, at, who, m->thunk) && m->rpc_fn)
            claim(g, at, who, m->rpc_fn);
        other = put_new(g, &routes, m->route, m);
        if (other)
            mistake(g, at, "%s: its route %s.%s is taken by method %s.%s", who, s->route, m->route, s->name,
                    other->name);
        if ((s->server ? strlen(s->server) + 1 : 0) + strlen(s->route) + 1 + strlen(m->route) > ROUTE_LEN_MAX)
            mistake(g, at, "%s: its route is longer than %d bytes", who, ROUTE_LEN_MAX);
        leave(at);
    }
    crs_strmap_fini(&members);
    crs_strmap_fini(&routes);
}

/** The type of the servers that have a remote service. */
static const char *server_of(gen *g, const place *at, const char *who, const Cereus__ServiceOptions *opt)
{
    const char *package = package_of(at->file), *last = strrchr(package, '.');
    const char *server = opt->server ? opt->server : last ? last + 1 : package;
    if (!*server) {
        mistake(g, at,
                "%s: it needs the type of the servers that have it: option (cereus.service) = {remote: true server: "
                "\"room\"}",
                who);
        return "";
    }
    return route_of(g, at, who, server, server);
}

static void read_service(gen *g, place *at, const char *file_prefix, const service_proto *s, crs_gen_service *ret)
{
    if (!s->name || !crs_name_is_identifier(s->name, false)) {
        stop(g, CEREUS_E_MALFORMED, "the name of a service is no identifier");
        return;
    }
    const char *who = format(g, "service %s", s->name);
    const char *prefix = format(g, "%s%s", file_prefix, checked(g, crs_name_snake(g->arena, s->name)));
    ret->name = s->name;
    ret->comment = comment_of(g, at);
    ret->type = format(g, "%s_service", prefix);
    ret->register_fn = format(g, "%s_register", prefix);
    const ProtobufCMessage *options = s->options ? &s->options->base : NULL;
    const Cereus__ServiceOptions *opt = option_of(g, options, OPTION_NUMBER, &cereus__service_options__descriptor);
    ret->methods = array(g, s->n_method, sizeof *ret->methods);
    if (g->status)
        return;

    ret->route = route_of(g, at, who, opt ? opt->name : NULL, s->name);
    if (opt && opt->has_remote && opt->remote) {
        ret->server = server_of(g, at, who, opt);
        ret->register_fn = format(g, "%s_register_remote", prefix);
    } else if (opt && opt->server) {
        mistake(g, at, "%s: only a service with remote: true is on a server of another type", who);
    }
    if (opt && opt->has_home) {
        static const cereus_home homes[] = {
            [CEREUS__SERVICE_OPTIONS__HOME__ONE] = CEREUS_HOME_ONE,
            [CEREUS__SERVICE_OPTIONS__HOME__SESSION] = CEREUS_HOME_SESSION,
            [CEREUS__SERVICE_OPTIONS__HOME__KEY] = CEREUS_HOME_KEY,
        };
        ret->has_home = true;
        if ((uint32_t)opt->home >= CEREUS_COUNT(homes))
            stop(g, CEREUS_E_MALFORMED, "a service has a home that is not in cereus/options.proto");
        else
            ret->home = homes[opt->home];
    }
    if (s->n_method == 0)
        mistake(g, at, "%s: it has no methods", who);
    if (claim(g, at, who, ret->type))
        claim(g, at, who, ret->register_fn);
    for (; ret->method_count < s->n_method && !g->status; ret->method_count++) {
        enter(at, SERVICE_METHOD, ret->method_count);
        crs_gen_method *m = &ret->methods[ret->method_count];
        read_method(g, at, s->name, prefix, s->method[ret->method_count], m);
        if (ret->server && !g->status) {
            m->rpc_fn = format(g, "%s_%s_rpc", prefix, m->member);
            m->rpc_route = format(g, "%s.%s.%s", ret->server, ret->route, m->route);
        }
        leave(at);
    }
    if (!g->status)
        check_methods(g, at, ret);
}

/* -- pushes -- */

static void read_push(gen *g, const place *at, const char *file_prefix, const crs_gen_type *type, cereus_slice option,
                      crs_gen_push *ret)
{
    const char *who = format(g, "message %s", type->name);
    const Cereus__PushOptions *opt = decode(g, &cereus__push_options__descriptor, option);
    if (g->status)
        return;
    const char *route = opt->route ? opt->route : "";
    if (!*route || strlen(route) > ROUTE_LEN_MAX) {
        mistake(g, at, "%s: a push needs a route of 1 to %d bytes", who, ROUTE_LEN_MAX);
        return;
    }
    const char *snake = checked(g, crs_name_snake(g->arena, route));
    if (!snake[strspn(snake, "_")]) {
        mistake(g, at, "%s: the route \"%s\" has neither letters nor digits, so there is no C name for it", who, route);
        return;
    }
    ret->type = type;
    ret->route = route;
    ret->comment = comment_of(g, at);
    ret->fn = format(g, "%spush_%s", file_prefix, snake);
    ret->group_fn = format(g, "%s_group", ret->fn);
    ret->users_fn = format(g, "%s_users", ret->fn);
    if (claim(g, at, who, ret->fn) && claim(g, at, who, ret->group_fn))
        claim(g, at, who, ret->users_fn);
}

static const ProtobufCMessage *options_of(const message_proto *m)
{
    return m->options ? &m->options->base : NULL;
}

static size_t pushes_within(message_proto *const *messages, size_t count)
{
    size_t pushes = 0;
    cereus_slice option;
    for (size_t i = 0; i < count; i++) {
        for (size_t iter = 0; next_option(options_of(messages[i]), OPTION_NUMBER, &iter, &option);)
            pushes++;
        pushes += pushes_within(messages[i]->nested_type, messages[i]->n_nested_type);
    }
    return pushes;
}

/* Appends to ret->pushes, which has room for all. @p scope: ".chat", or ".chat.Room" for messages inside of one. */
static void read_pushes(gen *g, place *at, int32_t field, const char *file_prefix, const char *scope,
                        message_proto *const *messages, size_t count, crs_gen_file *ret)
{
    for (size_t i = 0; i < count && !g->status; i++) {
        const message_proto *m = messages[i];
        const char *name = format(g, "%s.%s", scope, m->name ? m->name : "");
        enter(at, field, i);
        const crs_gen_type *type = find_type(g, name);
        cereus_slice option;
        for (size_t iter = 0; !g->status && next_option(options_of(m), OPTION_NUMBER, &iter, &option);)
            read_push(g, at, file_prefix, type, option, &ret->pushes[ret->push_count++]);
        read_pushes(g, at, MESSAGE_NESTED, file_prefix, name, m->nested_type, m->n_nested_type, ret);
        leave(at);
    }
}

/* -- descriptors: what the app is told of the file -- */

/* The files that a set is made of, in the order in which they are needed. */
typedef struct closure {
    crs_strmap seen; /* names */
    Google__Protobuf__FileDescriptorSet set;
} closure;

/* The files whose types another one uses, in the order of their first use. */
typedef struct uses {
    const file_proto *by;
    crs_strmap seen; /* names */
    char **names;    /* room for all files */
    size_t count;
} uses;

static void use_type(gen *g, uses *u, const char *type)
{
    const file_proto *file = type ? crs_strmap_get(&g->homes, cereus_slice_str(type)) : NULL;
    if (file && file != u->by && !put_new(g, &u->seen, file->name, file))
        u->names[u->count++] = file->name;
}

static void use_fields(gen *g, uses *u, field_proto *const *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        use_type(g, u, fields[i]->type_name);
        use_type(g, u, fields[i]->extendee);
    }
}

static void use_messages(gen *g, uses *u, message_proto *const *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        use_fields(g, u, messages[i]->field, messages[i]->n_field);
        use_fields(g, u, messages[i]->extension, messages[i]->n_extension);
        use_messages(g, u, messages[i]->nested_type, messages[i]->n_nested_type);
    }
}

/* The options' own plug-ins know them, clients do not: what is left is Google's, NULL if that is nothing. */
static void *plain_options(gen *g, const ProtobufCMessage *options)
{
    if (!options)
        return NULL;
    ProtobufCMessage *copy = array(g, 1, options->descriptor->sizeof_message);
    if (!copy)
        return NULL;
    memcpy(copy, options, options->descriptor->sizeof_message);
    copy->n_unknown_fields = 0;
    copy->unknown_fields = NULL;
    return protobuf_c_message_get_packed_size(copy) ? copy : NULL;
}
#define PLAIN_OPTIONS(g, of) ((of)->options = plain_options(g, (of)->options ? &(of)->options->base : NULL))

/* Copies of an array's messages, to be changed. Pointers are of one size, whatever they point to. */
static void *copies(gen *g, void *elements, size_t count)
{
    ProtobufCMessage *const *from = elements;
    ProtobufCMessage **to = array(g, count, sizeof *to);
    for (size_t i = 0; to && i < count; i++) {
        to[i] = array(g, 1, from[i]->descriptor->sizeof_message);
        if (!to[i])
            return NULL;
        memcpy(to[i], from[i], from[i]->descriptor->sizeof_message);
    }
    return to;
}

static void strip_fields(gen *g, field_proto ***fields, size_t count)
{
    *fields = copies(g, *fields, count);
    for (size_t i = 0; *fields && i < count; i++)
        PLAIN_OPTIONS(g, (*fields)[i]);
}

static void strip_enums(gen *g, enum_proto ***enums, size_t count)
{
    *enums = copies(g, *enums, count);
    for (size_t i = 0; *enums && i < count; i++) {
        enum_proto *e = (*enums)[i];
        PLAIN_OPTIONS(g, e);
        e->value = copies(g, e->value, e->n_value);
        for (size_t k = 0; e->value && k < e->n_value; k++)
            PLAIN_OPTIONS(g, e->value[k]);
    }
}

static void strip_messages(gen *g, message_proto ***messages, size_t count)
{
    *messages = copies(g, *messages, count);
    for (size_t i = 0; *messages && !g->status && i < count; i++) {
        message_proto *m = (*messages)[i];
        PLAIN_OPTIONS(g, m);
        strip_fields(g, &m->field, m->n_field);
        strip_fields(g, &m->extension, m->n_extension);
        strip_enums(g, &m->enum_type, m->n_enum_type);
        strip_messages(g, &m->nested_type, m->n_nested_type);
        m->oneof_decl = copies(g, m->oneof_decl, m->n_oneof_decl);
        for (size_t k = 0; m->oneof_decl && k < m->n_oneof_decl; k++)
            PLAIN_OPTIONS(g, m->oneof_decl[k]);
        m->extension_range = copies(g, m->extension_range, m->n_extension_range);
        for (size_t k = 0; m->extension_range && k < m->n_extension_range; k++)
            PLAIN_OPTIONS(g, m->extension_range[k]);
    }
}

/* Put the file behind those that it needs. */
static void close_over(gen *g, closure *c, const file_proto *from, unsigned depth)
{
    if (depth > CRS_SERIALIZE_DEPTH_MAX) {
        stop(g, CEREUS_E_MALFORMED, "files import each other too deeply");
        return;
    }
    if (put_new(g, &c->seen, from->name, from) || g->status)
        return;
    file_proto *file = array(g, 1, sizeof *file);
    uses u = {.by = from, .names = array(g, g->files.count, sizeof *u.names)};
    if (!file || !u.names)
        return;
    crs_strmap_init(&u.seen);
    use_messages(g, &u, from->message_type, from->n_message_type);
    use_fields(g, &u, from->extension, from->n_extension);
    crs_strmap_fini(&u.seen);
    *file = *from;
    /* straight to where the types are: a public import in between holds no message that a client could ask for */
    file->dependency = u.names;
    file->n_dependency = u.count;
    file->n_public_dependency = 0;
    file->n_weak_dependency = 0;
    for (size_t i = 0; !g->status && i < file->n_dependency; i++) {
        const file_proto *import = crs_strmap_get(&g->files, cereus_slice_str(file->dependency[i]));
        if (import)
            close_over(g, c, import, depth + 1);
        else
            stop(g, CEREUS_E_MALFORMED, "an imported file is not there");
    }
    if (g->status)
        return;
    file->source_code_info = NULL;
    file->n_service = 0;
    PLAIN_OPTIONS(g, file);
    strip_messages(g, &file->message_type, file->n_message_type);
    strip_enums(g, &file->enum_type, file->n_enum_type);
    strip_fields(g, &file->extension, file->n_extension);
    c->set.file[c->set.n_file++] = file;
}

/* -- rules of fields -- */

static crs_rule_target target_of(const field_proto *f)
{
    static const crs_rule_target targets[] = {
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_DOUBLE] = CRS_RULE_FLOAT,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_FLOAT] = CRS_RULE_FLOAT,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_INT64] = CRS_RULE_INT64,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_UINT64] = CRS_RULE_UINT64,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_INT32] = CRS_RULE_INT32,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_FIXED64] = CRS_RULE_UINT64,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_FIXED32] = CRS_RULE_UINT32,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_BOOL] = CRS_RULE_BOOL,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_STRING] = CRS_RULE_STRING,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_GROUP] = CRS_RULE_MESSAGE,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_MESSAGE] = CRS_RULE_MESSAGE,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_BYTES] = CRS_RULE_BYTES,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_UINT32] = CRS_RULE_UINT32,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_ENUM] = CRS_RULE_ENUM,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_SFIXED32] = CRS_RULE_INT32,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_SFIXED64] = CRS_RULE_INT64,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_SINT32] = CRS_RULE_INT32,
        [GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_SINT64] = CRS_RULE_INT64,
    };
    if (f->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED)
        return CRS_RULE_LIST;
    return (uint32_t)f->type < CEREUS_COUNT(targets) ? targets[f->type] : CRS_RULE_MESSAGE;
}

enum { FIELD_RULES_MAX = 16 };

/* The rules that the option says, in the order in which they are checked. @p out has room for FIELD_RULES_MAX. */
static size_t list_rules(const char *field, const Cereus__FieldOptions *opt, cereus_rule *out)
{
    const struct {
        bool given;
        cereus_rule_kind kind;
        double number;
    } all[] = {
        {opt->has_omitempty && opt->omitempty, CEREUS_RULE_OMITEMPTY, 0},
        {opt->has_required && opt->required, CEREUS_RULE_REQUIRED, 0},
        {opt->has_min, CEREUS_RULE_MIN, opt->min},
        {opt->has_max, CEREUS_RULE_MAX, opt->max},
        {opt->has_gte, CEREUS_RULE_GTE, opt->gte},
        {opt->has_lte, CEREUS_RULE_LTE, opt->lte},
        {opt->has_gt, CEREUS_RULE_GT, opt->gt},
        {opt->has_lt, CEREUS_RULE_LT, opt->lt},
        {opt->has_email && opt->email, CEREUS_RULE_EMAIL, 0},
        {opt->pattern, CEREUS_RULE_PATTERN, 0},
    };
    size_t count = 0;
    for (size_t i = 0; i < CEREUS_COUNT(all); i++) {
        if (all[i].given)
            out[count++] = (cereus_rule){.field = field,
                                         .kind = all[i].kind,
                                         .number = all[i].number,
                                         .pattern = all[i].kind == CEREUS_RULE_PATTERN ? opt->pattern : NULL};
    }
    return count;
}

/* Append the field's rules to @p to, which has room. Mistakes in files that are only imported have no line. */
static void read_field(gen *g, place *at, bool with_line, const crs_gen_type *type, const field_proto *f,
                       crs_gen_rules *to)
{
    const ProtobufCMessage *options = f->options ? &f->options->base : NULL;
    const Cereus__FieldOptions *opt = option_of(g, options, OPTION_NUMBER, &cereus__field_options__descriptor);
    if (!opt || g->status)
        return;
    if (!f->name || !crs_name_is_identifier(f->name, false)) {
        stop(g, CEREUS_E_MALFORMED, "the name of a field is no identifier");
        return;
    }
    cereus_rule *rules = &to->rules[to->count];
    size_t count = list_rules(f->name, opt, rules);
    cereus_error why = {0};
    cereus_status st = crs_rules_verify(target_of(f), rules, count, &why);
    if (st == CEREUS_E_NOMEM)
        no_memory(g);
    else if (st && with_line)
        mistake(g, at, "field %s.%s: %s", type->name, f->name, why.msg);
    else if (st)
        add_mistake(g, "%s: field %s.%s: %s", at->file->name, type->name, f->name, why.msg);
    to->count += count;
}

static size_t count_messages(message_proto *const *messages, size_t count)
{
    size_t all = count;
    for (size_t i = 0; i < count; i++)
        all += count_messages(messages[i]->nested_type, messages[i]->n_nested_type);
    return all;
}

/* Appends to ret->rules, which has room for all. @p scope as in read_pushes(). */
static void read_rules(gen *g, place *at, bool with_line, int32_t field, const char *scope,
                       message_proto *const *messages, size_t count, crs_gen_describe *ret)
{
    for (size_t i = 0; i < count && !g->status; i++) {
        const message_proto *m = messages[i];
        const char *name = format(g, "%s.%s", scope, m->name ? m->name : "");
        const crs_gen_type *type = find_type(g, name);
        crs_gen_rules *rules = &ret->rules[ret->rules_count];
        *rules = (crs_gen_rules){.type = type};
        enter(at, field, i);
        for (size_t k = 0; k < m->n_field && !g->status; k++) {
            cereus_slice unused;
            if (!m->field[k]->options ||
                !next_option(&m->field[k]->options->base, OPTION_NUMBER, &(size_t){0}, &unused))
                continue;
            if (!rules->rules) /* room for all of the message: few have any */
                rules->rules = array(g, m->n_field * FIELD_RULES_MAX, sizeof *rules->rules);
            enter(at, MESSAGE_FIELD, k);
            if (rules->rules)
                read_field(g, at, with_line, type, m->field[k], rules);
            leave(at);
        }
        ret->rules_count += rules->count > 0;
        read_rules(g, at, with_line, MESSAGE_NESTED, name, m->nested_type, m->n_nested_type, ret);
        leave(at);
    }
}

/* The rules of all messages in the set: those of imported files are checked where they are used. */
static void read_all_rules(gen *g, const place *here, const closure *c, crs_gen_describe *ret)
{
    size_t messages = 0;
    for (size_t i = 0; i < c->set.n_file; i++)
        messages += count_messages(c->set.file[i]->message_type, c->set.file[i]->n_message_type);
    ret->rules = array(g, messages + 1, sizeof *ret->rules);
    for (size_t i = 0; i < c->set.n_file && !g->status; i++) {
        const file_proto *file = crs_strmap_get(&g->files, cereus_slice_str(c->set.file[i]->name));
        place at = {.file = file};
        const char *package = package_of(file), *scope = *package ? format(g, ".%s", package) : "";
        if (!g->status)
            read_rules(g, &at, file == here->file, FILE_MESSAGE, scope, file->message_type, file->n_message_type, ret);
    }
}

/* -- what the app is told -- */

/* The file of a type that a method takes or gives. */
static void close_over_type(gen *g, closure *c, const crs_gen_type *type)
{
    const char *key = type ? format(g, ".%s", type->name) : NULL;
    const file_proto *home = key ? crs_strmap_get(&g->homes, cereus_slice_str(key)) : NULL;
    if (home && !g->status)
        close_over(g, c, home, 0);
}

static void read_describe(gen *g, const place *at, size_t file_count, const crs_gen_file *gen_file,
                          crs_gen_describe *ret)
{
    const file_proto *file = at->file;
    const char *snake = checked(g, crs_name_snake(g->arena, file->name));
    ret->fn = format(g, "%s%s_describe", *snake >= '0' && *snake <= '9' ? "_" : "", snake);
    if (g->status || !claim(g, at, format(g, "file %s", file->name), ret->fn))
        return;
    closure c;
    google__protobuf__file_descriptor_set__init(&c.set);
    crs_strmap_init(&c.seen);
    c.set.file = array(g, file_count, sizeof *c.set.file);
    if (c.set.file)
        close_over(g, &c, file, 0);
    for (size_t i = 0; c.set.file && i < gen_file->service_count; i++) {
        for (size_t k = 0; k < gen_file->services[i].method_count; k++) {
            close_over_type(g, &c, gen_file->services[i].methods[k].in);
            close_over_type(g, &c, gen_file->services[i].methods[k].out);
        }
    }
    crs_strmap_fini(&c.seen);
    if (!g->status)
        read_all_rules(g, at, &c, ret);
    if (g->status)
        return;
    crs_bytes bytes;
    crs_bytes_init(&bytes, SET_LEN_MAX);
    cereus_status st = crs_protobuf_append(&bytes, &c.set.base, g->err);
    uint8_t *copy = st ? NULL : array(g, bytes.len, 1);
    if (copy)
        memcpy(copy, bytes.data, bytes.len);
    ret->set = cereus_slice_of(copy, bytes.len);
    crs_bytes_fini(&bytes);
    if (st && !g->status)
        g->status = crs_fail_in(g->err, st, "the descriptors of %s", file->name);
}

/* -- files -- */

static void read_file(gen *g, const file_proto *file, size_t file_count, crs_gen_file *ret)
{
    place at = {.file = file};
    crs_strmap_fini(&g->locations);
    crs_strmap_init(&g->locations);
    const Google__Protobuf__SourceCodeInfo *info = file->source_code_info;
    for (size_t i = 0; info && i < info->n_location && !g->status; i++) {
        location_proto *l = info->location[i];
        if (crs_strmap_put(&g->locations, path_bytes(l->path, l->n_path), l, NULL))
            no_memory(g);
    }
    const char *prefix = prefix_of(g, c_package_of(g, file)), *package = package_of(file);
    ret->proto = file->name;
    ret->output = output_name(g, file->name, ".cereus.h");
    ret->header = output_name(g, file->name, ".pb-c.h");
    ret->guard = format(g, "CEREUS_%s_INCLUDED", checked(g, crs_name_guard(g->arena, file->name)));
    ret->services = array(g, file->n_service, sizeof *ret->services);
    ret->pushes = array(g, pushes_within(file->message_type, file->n_message_type), sizeof *ret->pushes);
    for (; ret->service_count < file->n_service && !g->status; ret->service_count++) {
        enter(&at, FILE_SERVICE, ret->service_count);
        read_service(g, &at, prefix, file->service[ret->service_count], &ret->services[ret->service_count]);
        leave(&at);
    }
    const char *scope = *package ? format(g, ".%s", package) : "";
    if (!g->status)
        read_pushes(g, &at, FILE_MESSAGE, prefix, scope, file->message_type, file->n_message_type, ret);
    if (!g->status)
        read_describe(g, &at, file_count, ret, &ret->describe);
}

cereus_status crs_gen_read(cereus_slice bytes, crs_arena *arena, crs_bytes *mistakes, crs_gen_file **ret_files,
                           size_t *ret_count, cereus_error *err)
{
    gen g = {.arena = arena, .mistakes = mistakes, .err = err};
    crs_strmap_init(&g.files);
    crs_strmap_init(&g.types);
    crs_strmap_init(&g.homes);
    crs_strmap_init(&g.taken);
    crs_strmap_init(&g.locations);
    crs_gen_file *files = NULL;
    size_t count = 0;
    const Google__Protobuf__Compiler__CodeGeneratorRequest *request =
        decode(&g, &google__protobuf__compiler__code_generator_request__descriptor, bytes);
    if (request && request->n_file_to_generate == 0)
        stop(&g, CEREUS_E_MALFORMED, "no file is to be generated");
    if (request && request->parameter && *request->parameter)
        add_mistake(&g, "protoc-gen-cereus takes no parameter, and got \"%s\"", request->parameter);
    for (size_t i = 0; !g.status && i < request->n_proto_file; i++)
        add_file(&g, request->proto_file[i]);
    if (!g.status)
        files = array(&g, request->n_file_to_generate, sizeof *files);
    for (; !g.status && count < request->n_file_to_generate; count++) {
        const file_proto *file = crs_strmap_get(&g.files, cereus_slice_str(request->file_to_generate[count]));
        if (file)
            read_file(&g, file, request->n_proto_file, &files[count]);
        else
            stop(&g, CEREUS_E_MALFORMED, "a file to be generated is not there");
    }
    crs_strmap_fini(&g.files);
    crs_strmap_fini(&g.types);
    crs_strmap_fini(&g.homes);
    crs_strmap_fini(&g.taken);
    crs_strmap_fini(&g.locations);
    if (g.status)
        return g.status;
    *ret_files = files;
    *ret_count = mistakes->len ? 0 : count;
    return CEREUS_OK;
}
