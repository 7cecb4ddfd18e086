/* tests/tools/test_api.c: types made from descriptors, documentation, completion: what `cereus repl --docs` is made of.
 * TYPES_SET names a FileDescriptorSet of kitchen.proto, kitchen2.proto and boxes.proto, JSON_CORPUS a folder of texts. */
#include "test.h"

#include <dirent.h>
#include <zlib.h>

#include "api.h"
#include "base/arena.h"
#include "serialize/serializer.h"

#include "google/protobuf/descriptor.pb-c.h"

#include "../unit/serialize/kitchen.pb-c.h"
#include "../unit/serialize/kitchen2.pb-c.h"

static crs_types *types;
static cereus_slice files[8];
static size_t file_count;

static void *take(void *arena, size_t size)
{
    return crs_arena_alloc(arena, size);
}

/* Cut the set into its files: tag 0x0a, a length, the file. */
static int read_set(void **state)
{
    static uint8_t bytes[1 << 16];
    FILE *f = fopen(getenv("TYPES_SET"), "rb");
    assert_non_null(f);
    size_t len = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    for (size_t at = 0; at < len; file_count++) {
        size_t size = 0;
        assert_int_equal(bytes[at++], 0x0a);
        for (unsigned shift = 0;; shift += 7) {
            size |= (size_t)(bytes[at] & 0x7f) << shift;
            if (!(bytes[at++] & 0x80))
                break;
        }
        assert_in_range(file_count, 0, CEREUS_COUNT(files) - 1);
        files[file_count] = cereus_slice_of(bytes + at, size);
        at += size;
    }
    return file_count < 2;
}

static int setup(void **state)
{
    types = crs_types_new();
    return types == NULL;
}

static int teardown(void **state)
{
    types = crs_types_free(types);
    return 0;
}

static void add_all(void)
{
    cereus_error err = {0};
    for (size_t i = 0; i < file_count; i++) {
        uint8_t *copy = test_copy(files[i].data, files[i].len);
        if (crs_types_add_plain(types, cereus_slice_of(copy, files[i].len), &err))
            fail_msg("%s", err.msg);
        free(copy); /* nothing of it is kept */
    }
    if (crs_types_link(types, &err))
        fail_msg("%s", err.msg);
}

static cereus_status translate(const cereus_serializer *from, const cereus_serializer *to,
                               const ProtobufCMessageDescriptor *type, cereus_slice in, crs_bytes *out)
{
    crs_arena arena;
    cereus_error err = {0};
    ProtobufCMessage *msg = NULL;
    crs_arena_init(&arena, 1 << 24);
    crs_bytes_init(out, 1 << 20);
    cereus_status st = from->decode(type, in, take, &arena, &msg, &err);
    if (!st) {
        cereus_value v = cereus_message(msg);
        st = crs_value_encode(to, &v, out, &err);
    }
    crs_arena_fini(&arena);
    return st;
}

static void expect_same_type(const ProtobufCMessageDescriptor *made, const ProtobufCMessageDescriptor *real)
{
    assert_non_null(made);
    assert_int_equal(made->n_fields, real->n_fields);
    for (unsigned i = 0; i < made->n_fields; i++) {
        const ProtobufCFieldDescriptor *a = &made->fields[i], *b = &real->fields[i];
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->id, b->id);
        assert_int_equal(a->type, b->type);
        assert_int_equal(a->label, b->label);
        assert_int_equal(a->flags, b->flags);
        assert_ptr_equal(protobuf_c_message_descriptor_get_field(made, a->id), a);
        assert_ptr_equal(protobuf_c_message_descriptor_get_field_by_name(made, a->name), a);
    }
}

/* Both read the text, and write and read what came of it, to the same end. */
static void expect_same_bodies(const ProtobufCMessageDescriptor *made, const ProtobufCMessageDescriptor *real,
                               cereus_slice json)
{
    crs_bytes ours, theirs, back, back_theirs;
    cereus_status st = translate(&crs_serializer_json, &crs_serializer_protobuf, made, json, &ours);
    assert_int_equal(translate(&crs_serializer_json, &crs_serializer_protobuf, real, json, &theirs), st);
    assert_true(crs_slice_eq(crs_bytes_slice(&ours), crs_bytes_slice(&theirs)));
    cereus_slice body = crs_bytes_slice(&theirs);
    st = translate(&crs_serializer_protobuf, &crs_serializer_json, made, body, &back);
    assert_int_equal(translate(&crs_serializer_protobuf, &crs_serializer_json, real, body, &back_theirs), st);
    assert_true(crs_slice_eq(crs_bytes_slice(&back), crs_bytes_slice(&back_theirs)));
    crs_bytes_fini(&ours);
    crs_bytes_fini(&theirs);
    crs_bytes_fini(&back);
    crs_bytes_fini(&back_theirs);
}

static void types_from_descriptors_do_what_generated_ones_do(void **state)
{
    static const char *const old[] = {
        "{\"id\":1,\"name\":\"n\",\"greeting\":\"hello\",\"count\":5,\"packed\":[1,2,3],\"blob\":\"YQ==\",\"on\":false,"
        "\"inner\":{\"id\":0,\"name\":\"\"},\"plain\":\"\"}",
        "{\"id\":1,\"name\":\"n\",\"greeting\":null,\"count\":null}",
        "{\"id\":1}",
    };
    add_all();
    const ProtobufCMessageDescriptor *sink = crs_types_find(types, "kitchen.Sink");
    expect_same_type(sink, &kitchen__sink__descriptor);
    expect_same_type(crs_types_find(types, "kitchen2.Old"), &kitchen2__old__descriptor);
    expect_same_type(crs_types_find(types, "kitchen.Shuffled"), &kitchen__shuffled__descriptor);
    assert_null(crs_types_find(types, "kitchen.Color"));
    assert_null(crs_types_find(types, "Sink"));
    for (size_t i = 0; i < CEREUS_COUNT(old); i++)
        expect_same_bodies(crs_types_find(types, "kitchen2.Old"), &kitchen2__old__descriptor, cereus_slice_str(old[i]));
    expect_same_bodies(crs_types_find(types, "kitchen.Shuffled"), &kitchen__shuffled__descriptor,
                       cereus_slice_str("{\"last\":1,\"first\":\"f\",\"middle\":2}"));
    DIR *corpus = opendir(getenv("JSON_CORPUS"));
    size_t count = 0;
    assert_non_null(corpus);
    for (struct dirent *entry; (entry = readdir(corpus)); count++) {
        static uint8_t text[1 << 16];
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", getenv("JSON_CORPUS"), entry->d_name);
        if (entry->d_name[0] == '.')
            continue;
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        size_t len = fread(text, 1, sizeof text, f);
        fclose(f);
        expect_same_bodies(sink, &kitchen__sink__descriptor, cereus_slice_of(text, len));
    }
    closedir(corpus);
    assert_in_range(count, 5, 1000);
}

static void missing_imports_are_named_and_their_fields_left_out(void **state)
{
    cereus_error err = {0};
    size_t iter = 0;
    assert_int_equal(crs_types_add_plain(types, files[file_count - 1], &err), CEREUS_OK); /* boxes.proto */
    assert_string_equal(crs_types_missing(types, &iter), "kitchen.proto");
    assert_null(crs_types_missing(types, &iter));
    assert_int_equal(crs_types_link(types, &err), CEREUS_OK);
    const ProtobufCMessageDescriptor *box = crs_types_find(types, "boxes.Box");
    assert_non_null(box);
    assert_int_equal(box->n_fields, 3); /* number, points (without values), label */
    iter = 0;
    for (size_t i = 0; i + 1 < file_count; i++)
        assert_int_equal(crs_types_add_plain(types, files[i], &err), CEREUS_OK);
    assert_null(crs_types_missing(types, &iter));
}

static void types_of_several_files_work_together(void **state)
{
    crs_bytes body, json;
    add_all();
    const ProtobufCMessageDescriptor *box = crs_types_find(types, "boxes.Box");
    assert_int_equal(box->n_fields, 5);
    static const char text[] =
        "{\"number\":1,\"point\":{\"x\":1.5},\"color\":7,\"points\":{\"a\":{\"y\":2}},\"label\":\"l\"}";
    assert_int_equal(translate(&crs_serializer_json, &crs_serializer_protobuf, box, cereus_slice_str(text), &body),
                     CEREUS_OK);
    assert_int_equal(translate(&crs_serializer_protobuf, &crs_serializer_json, box, crs_bytes_slice(&body), &json),
                     CEREUS_OK);
    assert_true(crs_slice_eq(crs_bytes_slice(&json), cereus_slice_str(text)));
    crs_bytes_fini(&body);
    crs_bytes_fini(&json);
}

static void types_that_cannot_be_may_be_linked_again_and_again(void **state)
{
    enum { FIELDS = 100 };
    char field_name[] = "x", message_name[] = "Twice", file_name[] = "twice.proto";
    Google__Protobuf__FieldDescriptorProto fields[FIELDS], *of_message[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        google__protobuf__field_descriptor_proto__init(of_message[i] = &fields[i]);
        fields[i].name = field_name;
        fields[i].has_number = fields[i].has_type = 1;
        fields[i].number = i + 1;
        fields[i].type = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_INT32;
    }
    Google__Protobuf__DescriptorProto message = GOOGLE__PROTOBUF__DESCRIPTOR_PROTO__INIT, *messages[] = {&message};
    message.name = message_name;
    message.n_field = FIELDS;
    message.field = of_message;
    Google__Protobuf__FileDescriptorProto file = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    file.name = file_name;
    file.n_message_type = 1;
    file.message_type = messages;
    uint8_t bytes[4096];
    assert_in_range(protobuf_c_message_get_packed_size(&file.base), 1, sizeof bytes);
    cereus_error err = {0};
    cereus_slice packed = cereus_slice_of(bytes, protobuf_c_message_pack(&file.base, bytes));
    assert_int_equal(crs_types_add_plain(types, packed, &err), CEREUS_OK);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(crs_types_link(types, &err), CEREUS_E_MALFORMED);
        assert_string_equal(err.msg, "descriptors: Twice has two fields called x");
        assert_null(crs_types_find(types, "Twice"));
    }
}

static void try_file(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = test_copy(bytes, len);
    cereus_error err = {0};
    crs_types *t = crs_types_new();
    cereus_status st = crs_types_add_plain(t, cereus_slice_of(copy, len), &err);
    if (!st) {
        st = crs_types_link(t, &err);
        assert_int_equal(crs_types_link(t, NULL), st); /* what failed may be tried again, and fails again */
    }
    assert_true(st == CEREUS_OK || st == CEREUS_E_MALFORMED || st == CEREUS_E_TOO_LONG || st == CEREUS_E_NOMEM);
    assert_int_equal(err.status, st);
    crs_types_free(t);
    free(copy);
}

static void every_prefix_and_every_changed_byte_is_types_or_refused(void **state)
{
    for (size_t k = 0; k < file_count; k++) {
        for (size_t len = 0; len < files[k].len; len++)
            try_file(files[k].data, len);
        uint8_t *changed = test_copy(files[k].data, files[k].len);
        for (size_t i = 0; i < files[k].len; i++) {
            changed[i] ^= (uint8_t)(1 << i % 8);
            try_file(changed, files[k].len);
            changed[i] = (uint8_t)(files[k].data[i] + 0x7f);
            try_file(changed, files[k].len);
            changed[i] = files[k].data[i];
        }
        free(changed);
    }
}

static void what_is_not_gzip_is_refused_and_a_bomb_is_not_unpacked(void **state)
{
    cereus_error err = {0};
    assert_int_equal(crs_types_add(types, files[0], &err), CEREUS_E_MALFORMED);
    assert_string_equal(err.msg, "descriptors: not gzip, or cut off");
    assert_int_equal(crs_types_add(types, cereus_slice_of("", 0), &err), CEREUS_E_MALFORMED);
    static uint8_t zeros[1 << 20], bomb[1 << 16];
    z_stream z = {.next_out = bomb, .avail_out = sizeof bomb};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, MAX_WBITS + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    for (int i = 0; i < 8; i++) {
        z.next_in = zeros;
        z.avail_in = sizeof zeros;
        assert_int_equal(deflate(&z, i < 7 ? Z_NO_FLUSH : Z_FINISH), i < 7 ? Z_OK : Z_STREAM_END);
    }
    assert_int_equal(crs_types_add(types, cereus_slice_of(bomb, z.total_out), &err), CEREUS_E_TOO_LONG);
    deflateEnd(&z);
}

/* -- documentation -- */

static const char docs[] =
    "{\"handlers\":{"
    "\"game.room.join\":{\"input\":{\"*g.Join\":{\"name\":\"string\",\"nick_name\":\"string\",\"where\":{\"*g.Place\":{"
    "\"x\":\"int32\",\"y\":\"int32\"}},\"friends\":[{\"*g.Friend\":{\"uid\":\"string\"}}]}},"
    "\"output\":[{\"*g.Joined\":{\"ok\":\"bool\"}},\"error\"]},"
    "\"game.room.leave\":{\"input\":null,\"output\":[]},"
    "\"game.docs.protos\":{\"input\":{\"*protos.ProtoNames\":{\"name\":[\"string\"]}},"
    "\"output\":[{\"*protos.ProtoDescriptors\":{\"desc\":[\"[]byte\"]}},\"error\"]}},\"remotes\":{}}";

static crs_api *read_docs(const char *text)
{
    cereus_error err = {0};
    crs_api *api = NULL;
    uint8_t *copy = test_copy(text, strlen(text));
    cereus_status st = crs_api_new(cereus_slice_of(copy, strlen(text)), &api, &err);
    free(copy);
    assert_int_equal(err.status, st);
    assert_true((st == CEREUS_OK) == (api != NULL));
    return api;
}

static void routes_come_in_order_with_the_one_for_descriptors(void **state)
{
    crs_api *api = read_docs(docs);
    assert_string_equal(crs_api_route(api, 0), "game.docs.protos");
    assert_string_equal(crs_api_route(api, 2), "game.room.leave");
    assert_null(crs_api_route(api, 3));
    assert_string_equal(crs_api_descriptors_route(api), "game.docs.protos");
    crs_api_free(api);
}

static void all_types_are_asked_for_once_and_those_of_pushes(void **state)
{
    crs_api *api = read_docs(docs);
    crs_bytes body;
    bool any = false;
    crs_bytes_init(&body, 4096);
    assert_int_equal(crs_api_set_push(api, "onMove", "*g.Moved"), CEREUS_OK);
    assert_int_equal(crs_api_ask(api, &body, &any), CEREUS_OK);
    assert_true(any);
    const char *const names[] = {"g.Join", "g.Place", "g.Friend", "g.Joined", "protos.ProtoNames", "g.Moved"};
    for (size_t i = 0; i < CEREUS_COUNT(names); i++)
        assert_non_null(memmem(body.data, body.len, names[i], strlen(names[i])));
    crs_bytes_fini(&body);
    assert_int_equal(crs_api_ask(api, &body, &any), CEREUS_OK);
    assert_false(any);
    crs_api_free(api);
}

static void bodies_of_unknown_type_stay_as_they_are(void **state)
{
    crs_api *api = read_docs(docs);
    crs_bytes out;
    cereus_error err = {0};
    crs_bytes_init(&out, 4096);
    assert_int_equal(crs_api_encode(api, "room.join", cereus_slice_str("abc"), &out, &err), CEREUS_OK);
    assert_int_equal(crs_api_decode(api, "nothing", CRS_API_PUSH, cereus_slice_str("def"), &out, &err), CEREUS_OK);
    assert_memory_equal(out.data, "abcdef", 6);
    crs_bytes_fini(&out);
    crs_api_free(api);
}

static void what_is_no_documentation_is_refused(void **state)
{
    const char *const bad[] = {"", "x", "[]", "{}", "{\"handlers\":[]}", "{\"handlers\":{}", "null"};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++)
        assert_null(read_docs(bad[i]));
    const char *const odd[] = {
        "{\"handlers\":{}}",
        "{\"handlers\":{\"\":null}}",
        "{\"handlers\":{\"a\":[],\"b\":{\"input\":3}}}",
        "{\"handlers\":{\"a\":{\"input\":{\"*\":{}},\"output\":{}}}}",
        "{\"handlers\":{\"a\":{\"input\":\"*g.X\",\"output\":[[[\"*g.Y\"]]]}}}",
    };
    for (size_t i = 0; i < CEREUS_COUNT(odd); i++) {
        crs_api *api = read_docs(odd[i]);
        crs_bytes body;
        bool any;
        crs_bytes_init(&body, 4096);
        assert_non_null(api);
        assert_int_equal(crs_api_ask(api, &body, &any), CEREUS_OK);
        assert_null(crs_api_descriptors_route(api));
        crs_bytes_fini(&body);
        crs_api_free(api);
    }
}

/* -- completion: '|' stands between the candidates, '=' behind the start of the word -- */

static void expect_complete(crs_api *api, const char *line, const char *expected)
{
    static const char *const commands[] = {"connect", "request", "routes", "notify", NULL};
    crs_candidates c;
    char got[1024];
    uint8_t *copy = test_copy(line, strlen(line));
    crs_api_complete(api, commands, cereus_slice_of(copy, strlen(line)), &c);
    free(copy);
    char *at = got + sprintf(got, "%zu=", c.start);
    for (size_t i = 0; i < c.count; i++)
        at += sprintf(at, "%s%s", i ? "|" : "", c.words[i]);
    if (strcmp(c.count ? got : "", expected) != 0)
        fail_msg("\"%s\": %s", line, got);
    crs_candidates_fini(&c);
}

static void lines_are_completed_by_what_can_come_next(void **state)
{
    crs_api *api = read_docs(docs);
    expect_complete(api, "", "0=connect |notify |request |routes ");
    expect_complete(api, "  r", "2=request |routes ");
    expect_complete(api, "x", "");
    expect_complete(api, "request ", "8=game.docs.protos |game.room.join |game.room.leave ");
    expect_complete(api, "notify game.room.j", "7=game.room.join ");
    expect_complete(api, "request room.", "8=room.join |room.leave ");
    expect_complete(api, "connect g", "");
    expect_complete(api, "request room.join ", "18={");
    expect_complete(api, "request room.leave ", "");
    expect_complete(api, "request room.join {", "19=\"friends\":|\"name\":|\"nick_name\":|\"where\":");
    expect_complete(api, "request room.join {\"n", "20=name\":|nick_name\":");
    expect_complete(api, "request game.room.join {\"name\":\"a,{\\\"\", \"w", "41=where\":");
    expect_complete(api, "request room.join {\"where\":{", "28=\"x\":|\"y\":");
    expect_complete(api, "request room.join {\"where\":{\"x\":1},\"f", "36=friends\":");
    expect_complete(api, "request room.join {\"friends\":[{\"uid\":\"1\"},{\"", "44=uid\":");
    expect_complete(api, "request room.join {\"name\"", "");
    expect_complete(api, "request room.join {\"name\":", "");
    expect_complete(api, "request room.join {\"name\":\"n", "");
    expect_complete(api, "request room.join {\"name\":{", "");
    expect_complete(api, "request room.join [{", "20=\"friends\":|\"name\":|\"nick_name\":|\"where\":");
    expect_complete(api, "request room.join }", "");
    expect_complete(api, "request nothing {", "");
    expect_complete(NULL, "re", "0=request ");
    expect_complete(NULL, "request ", "");
    crs_api_free(api);
}

static void any_line_can_be_completed(void **state)
{
    static const char alphabet[] = "{}[]\",:\\ nrx";
    static const char *const commands[] = {"request", NULL};
    crs_api *api = read_docs(docs);
    uint32_t seed = 1;
    for (int n = 0; n < 20000; n++) {
        char line[64] = "request room.join ";
        size_t len = strlen(line);
        while (len < sizeof line) {
            seed = seed * 1664525 + 1013904223;
            line[len++] = alphabet[(seed >> 16) % (sizeof alphabet - 1)];
            if ((seed >> 28) == 0)
                break;
        }
        uint8_t *copy = test_copy(line, len);
        crs_candidates c;
        crs_api_complete(api, commands, cereus_slice_of(copy, len), &c);
        assert_in_range(c.start, 0, len);
        crs_candidates_fini(&c);
        free(copy);
    }
    crs_api_free(api);
}

#define WITH_TYPES(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TYPES(types_from_descriptors_do_what_generated_ones_do),
        WITH_TYPES(types_of_several_files_work_together),
        WITH_TYPES(missing_imports_are_named_and_their_fields_left_out),
        WITH_TYPES(types_that_cannot_be_may_be_linked_again_and_again),
        cmocka_unit_test(every_prefix_and_every_changed_byte_is_types_or_refused),
        WITH_TYPES(what_is_not_gzip_is_refused_and_a_bomb_is_not_unpacked),
        cmocka_unit_test(routes_come_in_order_with_the_one_for_descriptors),
        cmocka_unit_test(all_types_are_asked_for_once_and_those_of_pushes),
        cmocka_unit_test(bodies_of_unknown_type_stay_as_they_are),
        cmocka_unit_test(what_is_no_documentation_is_refused),
        cmocka_unit_test(lines_are_completed_by_what_can_come_next),
        cmocka_unit_test(any_line_can_be_completed),
    };
    return cmocka_run_group_tests(tests, read_set, NULL);
}
