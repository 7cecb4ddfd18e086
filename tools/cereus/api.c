/* tools/cereus/api.c: see api.h. */
#include "api.h"

#include <jansson.h>

#include "base/arena.h"
#include "base/strmap.h"
#include "serialize/serializer.h"

#include "protodescriptor.pb-c.h"

enum {
    DEPTH_MAX = 64,             /* of the documentation */
    BODY_MEMORY_MAX = 64 << 20, /* while one body is translated */
    PUSHES_MAX = 256,
};

typedef struct push {
    char *route, *type;
} push;

struct crs_api {
    json_t *root, *handlers;
    const char **routes; /* in order; the texts are root's */
    size_t route_count;
    crs_strmap asked; /* names of messages and files */
    char **batch;     /* the names asked for last, when there were several */
    size_t batch_count, batch_next;
    crs_types *types;
    push pushes[PUSHES_MAX];
    size_t push_count;
};

/* -- the documentation -- */

/* "*chat.Join" of {"*chat.Join": {...}} or "*chat.Join": "chat.Join"; NULL: no message. *ret_fields may be NULL. */
static const char *message_name(json_t *shape, json_t **ret_fields)
{
    const char *name = json_string_value(shape);
    json_t *fields = NULL;
    if (json_object_size(shape) == 1) {
        void *only = json_object_iter(shape);
        name = json_object_iter_key(only);
        fields = json_object_iter_value(only);
    }
    if (!name || *name != '*' || !name[1])
        return NULL;
    if (ret_fields)
        *ret_fields = fields;
    return name + 1;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

cereus_status crs_api_new(cereus_slice text, crs_api **ret_api, cereus_error *err)
{
    crs_api *api = crs_zalloc(sizeof *api);
    if (!api)
        return crs_fail(err, CEREUS_E_NOMEM, "documentation: out of memory");
    crs_strmap_init(&api->asked);
    api->types = crs_types_new();
    json_error_t where;
    api->root = json_loadb((const char *)text.data, text.len, 0, &where);
    api->handlers = json_object_get(api->root, "handlers");
    size_t count = json_object_size(api->handlers);
    api->routes = crs_zalloc((count + 1) * sizeof *api->routes);
    cereus_status st = CEREUS_OK;
    if (!json_is_object(api->handlers))
        st = crs_fail(err, CEREUS_E_MALFORMED, "documentation: %s",
                      api->root ? "there are no \"handlers\" in it" : where.text);
    else if (!api->types || !api->routes)
        st = crs_fail(err, CEREUS_E_NOMEM, "documentation: out of memory");
    if (st) {
        crs_api_free(api);
        return st;
    }
    const char *route;
    json_t *about;
    json_object_foreach(api->handlers, route, about) api->routes[api->route_count++] = route;
    qsort(api->routes, api->route_count, sizeof *api->routes, compare_texts);
    *ret_api = api;
    return CEREUS_OK;
}

static void free_batch(crs_api *api)
{
    while (api->batch_count)
        crs_free(api->batch[--api->batch_count]);
    crs_free(api->batch);
    api->batch = NULL;
    api->batch_next = 0;
}

crs_api *crs_api_free(crs_api *api)
{
    if (!api)
        return NULL;
    json_decref(api->root);
    crs_free(api->routes);
    crs_strmap_fini(&api->asked);
    crs_types_free(api->types);
    free_batch(api);
    for (size_t i = 0; i < api->push_count; i++) {
        crs_free(api->pushes[i].route);
        crs_free(api->pushes[i].type);
    }
    crs_free(api);
    return NULL;
}

const char *crs_api_route(const crs_api *api, size_t index)
{
    return index < api->route_count ? api->routes[index] : NULL;
}

/* What the documentation says of a route, in its full or its short form; NULL: nothing. */
static json_t *about(const crs_api *api, const char *route)
{
    json_t *found = json_object_get(api->handlers, route);
    for (size_t i = 0; !found && i < api->route_count; i++) {
        const char *dot = strchr(api->routes[i], '.');
        if (dot && strcmp(dot + 1, route) == 0)
            found = json_object_get(api->handlers, api->routes[i]);
    }
    return found;
}

static json_t *shape_of(const crs_api *api, const char *route, crs_api_body which)
{
    json_t *all = about(api, route);
    return which == CRS_API_REQUEST ? json_object_get(all, "input") : json_array_get(json_object_get(all, "output"), 0);
}

const char *crs_api_descriptors_route(const crs_api *api)
{
    for (size_t i = 0; i < api->route_count; i++) {
        const char *in = message_name(shape_of(api, api->routes[i], CRS_API_REQUEST), NULL);
        const char *out = message_name(shape_of(api, api->routes[i], CRS_API_REPLY), NULL);
        if (in && out && strcmp(in, "protos.ProtoNames") == 0 && strcmp(out, "protos.ProtoDescriptors") == 0)
            return api->routes[i];
    }
    return NULL;
}

cereus_status crs_api_set_push(crs_api *api, const char *route, const char *type)
{
    if (api->push_count == PUSHES_MAX)
        return CEREUS_E_FULL;
    push *p = &api->pushes[api->push_count];
    *p = (push){.route = crs_strdup(route), .type = crs_strdup(type + (*type == '*'))};
    if (!p->route || !p->type) {
        crs_free(p->route);
        crs_free(p->type);
        return CEREUS_E_NOMEM;
    }
    api->push_count++;
    return CEREUS_OK;
}

/* -- descriptors -- */

typedef struct question {
    crs_api *api;
    Protos__ProtoNames msg;
    char *names[CRS_API_NAMES_MAX];
    bool failed;
} question;

static void ask_for(question *q, const char *name)
{
    if (q->failed || q->msg.n_name == CRS_API_NAMES_MAX || crs_strmap_get(&q->api->asked, cereus_slice_str(name)))
        return;
    q->failed = crs_strmap_put(&q->api->asked, cereus_slice_str(name), q->api, NULL) != CEREUS_OK;
    if (!q->failed)
        q->names[q->msg.n_name++] = (char *)(uintptr_t)name;
}

/* All messages inside what the documentation shows. */
static void ask_for_shape(question *q, json_t *shape, unsigned depth)
{
    const char *key, *name = message_name(shape, NULL);
    json_t *part;
    size_t i;
    if (name)
        ask_for(q, name);
    if (depth > DEPTH_MAX)
        return;
    json_object_foreach(shape, key, part) ask_for_shape(q, part, depth + 1);
    json_array_foreach(shape, i, part) ask_for_shape(q, part, depth + 1);
}

static cereus_status encode_question(const Protos__ProtoNames *names, crs_bytes *body)
{
    cereus_value value = cereus_message(&names->base);
    return crs_value_encode(&crs_serializer_protobuf, &value, body, NULL);
}

/* Several names at once may fail because of one. */
static cereus_status keep_batch(crs_api *api, const Protos__ProtoNames *names)
{
    free_batch(api);
    if (names->n_name < 2)
        return CEREUS_OK;
    api->batch = crs_zalloc(names->n_name * sizeof *api->batch);
    for (size_t i = 0; api->batch && i < names->n_name; i++) {
        if (!(api->batch[i] = crs_strdup(names->name[i])))
            return CEREUS_E_NOMEM;
        api->batch_count++;
    }
    return api->batch ? CEREUS_OK : CEREUS_E_NOMEM;
}

cereus_status crs_api_ask_singly(crs_api *api, crs_bytes *body, bool *ret_any)
{
    Protos__ProtoNames names = PROTOS__PROTO_NAMES__INIT;
    *ret_any = api->batch_next < api->batch_count;
    if (!*ret_any)
        return CEREUS_OK;
    names.name = &api->batch[api->batch_next++];
    names.n_name = 1;
    return encode_question(&names, body);
}

cereus_status crs_api_ask(crs_api *api, crs_bytes *body, bool *ret_any)
{
    question *q = crs_zalloc(sizeof *q);
    if (!q)
        return CEREUS_E_NOMEM;
    q->api = api;
    protos__proto_names__init(&q->msg);
    q->msg.name = q->names;
    const char *route;
    json_t *of;
    json_object_foreach(api->handlers, route, of)
    {
        ask_for_shape(q, json_object_get(of, "input"), 0);
        ask_for_shape(q, json_object_get(of, "output"), 0);
    }
    for (size_t i = 0; i < api->push_count; i++)
        ask_for(q, api->pushes[i].type);
    const char *file;
    for (size_t iter = 0; (file = crs_types_missing(api->types, &iter));)
        ask_for(q, file);
    cereus_status st = q->failed ? CEREUS_E_NOMEM : keep_batch(api, &q->msg);
    if (!st)
        st = encode_question(&q->msg, body);
    if (!st)
        *ret_any = q->msg.n_name > 0;
    crs_free(q);
    return st;
}

cereus_status crs_api_learn(crs_api *api, cereus_slice body, cereus_error *err)
{
    crs_arena arena;
    crs_arena_init(&arena, BODY_MEMORY_MAX);
    ProtobufCMessage *msg = NULL;
    cereus_status st =
        crs_serializer_protobuf.decode(&protos__proto_descriptors__descriptor, body, crs_arena_take, &arena, &msg, err);
    const Protos__ProtoDescriptors *files = (const Protos__ProtoDescriptors *)msg;
    for (size_t i = 0; !st && i < files->n_desc; i++)
        st = crs_types_add(api->types, cereus_slice_of(files->desc[i].data, files->desc[i].len), err);
    if (!st)
        st = crs_types_link(api->types, err);
    crs_arena_fini(&arena);
    return st;
}

/* -- bodies -- */

static const ProtobufCMessageDescriptor *type_of(const crs_api *api, const char *route, crs_api_body which)
{
    const char *name = NULL;
    for (size_t i = api->push_count; which == CRS_API_PUSH && !name && i > 0; i--) {
        if (strcmp(api->pushes[i - 1].route, route) == 0)
            name = api->pushes[i - 1].type;
    }
    if (which != CRS_API_PUSH)
        name = message_name(shape_of(api, route, which), NULL);
    return name ? crs_types_find(api->types, name) : NULL;
}

static cereus_status translate(const cereus_serializer *from, const cereus_serializer *to,
                               const ProtobufCMessageDescriptor *type, cereus_slice in, crs_bytes *out,
                               cereus_error *err)
{
    if (!type)
        return crs_bytes_append(out, in.data, in.len);
    crs_arena arena;
    crs_arena_init(&arena, BODY_MEMORY_MAX);
    ProtobufCMessage *msg = NULL;
    cereus_status st = from->decode(type, in, crs_arena_take, &arena, &msg, err);
    if (!st) {
        cereus_value value = cereus_message(msg);
        st = crs_value_encode(to, &value, out, err);
    }
    crs_arena_fini(&arena);
    return st;
}

cereus_status crs_api_encode(const crs_api *api, const char *route, cereus_slice in, crs_bytes *out, cereus_error *err)
{
    const ProtobufCMessageDescriptor *type = type_of(api, route, CRS_API_REQUEST);
    if (type && in.len == 0)
        return CEREUS_OK;
    return translate(&crs_serializer_json, &crs_serializer_protobuf, type, in, out, err);
}

cereus_status crs_api_decode(const crs_api *api, const char *route, crs_api_body which, cereus_slice in, crs_bytes *out,
                             cereus_error *err)
{
    return translate(&crs_serializer_protobuf, &crs_serializer_json, type_of(api, route, which), in, out, err);
}

/* -- completion -- */

static void add_candidate(crs_candidates *c, const char *before, cereus_slice word, const char *text, const char *after)
{
    if (c->count == CRS_API_CANDIDATES_MAX || strncmp(text, (const char *)word.data, word.len) != 0)
        return;
    char *copy = crs_malloc(strlen(before) + strlen(text) + strlen(after) + 1);
    if (!copy)
        return;
    stpcpy(stpcpy(stpcpy(copy, before), text), after);
    c->words[c->count++] = copy;
}

void crs_candidates_fini(crs_candidates *c)
{
    while (c->count)
        crs_free(c->words[--c->count]);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* The fields of a message, or of the elements of a list of them; NULL: none. */
static json_t *fields_of(json_t *shape)
{
    while (json_is_array(shape))
        shape = json_array_get(shape, 0);
    json_t *fields = NULL;
    if (message_name(shape, &fields))
        shape = fields;
    return json_is_object(shape) ? shape : NULL;
}

/* Where in a half-typed JSON the cursor is. */
typedef struct spot {
    json_t *open[DEPTH_MAX]; /* fields of the objects and lists that are open, outermost first; NULL: unknown */
    bool is_list[DEPTH_MAX];
    size_t depth;
    bool wants_name; /* a member's name is next, or half there */
    bool in_string;
    size_t string_start; /* behind the quote */
} spot;

/* Follow the text. False: it cannot become JSON, or is nested too deep. */
static bool follow(spot *s, json_t *input, cereus_slice text)
{
    json_t *next = fields_of(input); /* what the value that comes next is made of */
    json_t *named = NULL;
    *s = (spot){0};
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (s->in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                s->in_string = false;
                char name[256];
                size_t len = i - s->string_start;
                if (s->wants_name && len < sizeof name) {
                    memcpy(name, text.data + s->string_start, len);
                    name[len] = '\0';
                    named = json_object_get(s->open[s->depth - 1], name);
                }
            }
            continue;
        }
        switch (c) {
        case '"':
            s->in_string = true;
            s->string_start = i + 1;
            break;
        case '{':
        case '[':
            if (s->depth == DEPTH_MAX)
                return false;
            s->open[s->depth] = next;
            s->is_list[s->depth++] = c == '[';
            s->wants_name = c == '{';
            break;
        case '}':
        case ']':
            if (s->depth == 0)
                return false;
            s->depth--;
            s->wants_name = false;
            break;
        case ':':
            next = s->wants_name ? fields_of(named) : NULL;
            s->wants_name = false;
            break;
        case ',':
            if (s->depth == 0)
                return false;
            s->wants_name = !s->is_list[s->depth - 1];
            next = s->wants_name ? NULL : s->open[s->depth - 1];
            break;
        default:
            break;
        }
    }
    return true;
}

static void complete_field(json_t *input, cereus_slice json, size_t json_start, crs_candidates *ret)
{
    spot s;
    if (json.len == 0) { /* nothing yet: begin the object */
        if (fields_of(input))
            add_candidate(ret, "", json, "{", "");
        return;
    }
    if (!follow(&s, input, json) || !s.wants_name || s.depth == 0)
        return;
    cereus_slice word = {.data = json.data + json.len};
    if (s.in_string)
        word = cereus_slice_of(json.data + s.string_start, json.len - s.string_start);
    size_t last = json.len;
    while (!s.in_string && last > 0 && is_blank(json.data[last - 1]))
        last--;
    if (!s.in_string && json.data[last - 1] != '{' && json.data[last - 1] != ',')
        return; /* the name is there, a colon is missing */
    ret->start = json_start + (size_t)(word.data - json.data);
    const char *name;
    json_t *field;
    json_object_foreach(s.open[s.depth - 1], name, field)
        add_candidate(ret, s.in_string ? "" : "\"", word, name, "\":");
}

void crs_api_complete(const crs_api *api, const char *const *commands, cereus_slice before, crs_candidates *ret)
{
    *ret = (crs_candidates){0};
    cereus_slice words[2];
    size_t at = 0, count = 0;
    for (; count < 2; count++) {
        while (at < before.len && is_blank(before.data[at]))
            at++;
        size_t start = at;
        while (at < before.len && !is_blank(before.data[at]))
            at++;
        words[count] = cereus_slice_of(before.data + start, at - start);
        ret->start = start;
        if (at == before.len)
            break;
    }
    char text[256];
    if (count == 0) {
        for (size_t i = 0; commands[i]; i++)
            add_candidate(ret, "", words[0], commands[i], " ");
    } else if (api && count == 1 && words[0].len < sizeof text) {
        memcpy(text, words[0].data, words[0].len);
        text[words[0].len] = '\0';
        bool takes_route = strcmp(text, "request") == 0 || strcmp(text, "notify") == 0;
        for (size_t i = 0; takes_route && i < api->route_count; i++) {
            const char *dot = strchr(api->routes[i], '.');
            add_candidate(ret, "", words[1], api->routes[i], " ");
            if (dot && words[1].len) /* short forms are offered to whoever has begun one */
                add_candidate(ret, "", words[1], dot + 1, " ");
        }
    } else if (api && count == 2 && words[1].len < sizeof text) {
        memcpy(text, words[1].data, words[1].len);
        text[words[1].len] = '\0';
        while (at < before.len && is_blank(before.data[at]))
            at++;
        ret->start = at;
        complete_field(shape_of(api, text, CRS_API_REQUEST), cereus_slice_of(before.data + at, before.len - at), at,
                       ret);
    }
    qsort(ret->words, ret->count, sizeof *ret->words, compare_texts);
}
