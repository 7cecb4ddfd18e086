/* tools/protoc-gen-cereus/test/test_hostile.c: requests that protoc would not write: cut off, with bytes changed, nested
 * too deeply, with names that would become other code than meant; and memory that runs out. PROTOGEN_SET names a
 * FileDescriptorSet of good/chat.proto.
 */
#include "test.h"

#include "base/arena.h"
#include "serialize/protobuf.h"
#include "serialize/serializer.h"

#include "../protogen.h"
#include "google/protobuf/compiler/plugin.pb-c.h"

typedef Google__Protobuf__Compiler__CodeGeneratorRequest request_proto;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse response_proto;
typedef Google__Protobuf__FileDescriptorProto file_proto;
typedef Google__Protobuf__DescriptorProto message_proto;
typedef Google__Protobuf__ServiceDescriptorProto service_proto;
typedef Google__Protobuf__MethodDescriptorProto method_proto;

static void *take(void *arena, size_t size)
{
    return crs_arena_alloc(arena, size);
}

static void *decode(crs_arena *arena, const ProtobufCMessageDescriptor *type, cereus_slice bytes)
{
    ProtobufCMessage *msg = NULL;
    cereus_error err = {0};
    if (crs_serializer_protobuf.decode(type, bytes, take, arena, &msg, &err))
        fail_msg("%s", err.msg);
    return msg;
}

static void pack(crs_bytes *out, const request_proto *request)
{
    crs_bytes_init(out, 1 << 20);
    assert_int_equal(crs_protobuf_append(out, &request->base, NULL), CEREUS_OK);
}

/* The request that protoc makes of good/chat.proto, less descriptor.proto, which would be most of it. */
static void real_request(crs_bytes *out)
{
    static uint8_t bytes[1 << 20];
    FILE *f = fopen(getenv("PROTOGEN_SET"), "rb");
    assert_non_null(f);
    size_t len = fread(bytes, 1, sizeof bytes, f);
    assert_true(feof(f));
    fclose(f);

    crs_arena arena;
    crs_arena_init(&arena, 64 << 20);
    Google__Protobuf__FileDescriptorSet *set =
        decode(&arena, &google__protobuf__file_descriptor_set__descriptor, cereus_slice_of(bytes, len));
    char *name = "chat.proto";
    file_proto *files[4];
    request_proto request = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_REQUEST__INIT;
    request.file_to_generate = &name;
    request.n_file_to_generate = 1;
    request.proto_file = files;
    for (size_t i = 0; i < set->n_file; i++) {
        file_proto *file = set->file[i];
        bool own = strcmp(file->name, name) == 0;
        if (!own)
            file->source_code_info = NULL;
        if (own || strcmp(file->name, "google/protobuf/empty.proto") == 0)
            files[request.n_proto_file++] = file;
    }
    assert_int_equal(request.n_proto_file, 2);
    pack(out, &request);
    crs_arena_fini(&arena);
}

/* Run it on a copy that ends where the bytes end, and check what always holds. */
static cereus_status run(cereus_slice request, crs_bytes *response, cereus_error *err)
{
    uint8_t *copy = test_copy(request.data, request.len);
    *err = (cereus_error){0};
    crs_bytes_init(response, 1 << 20);
    cereus_status st = crs_protogen(cereus_slice_of(copy, request.len), response, err);
    assert_int_equal(err->status, st);
    assert_true(st == CEREUS_OK || (err->msg[0] && response->len == 0));
    assert_true(st == CEREUS_OK || st == CEREUS_E_MALFORMED || st == CEREUS_E_NOMEM);
    free(copy);
    return st;
}

static void run_bytes(cereus_slice request)
{
    crs_bytes response;
    cereus_error err;
    run(request, &response, &err);
    crs_bytes_fini(&response);
}

static void a_real_request_gets_a_header(void **state)
{
    crs_bytes request, response;
    cereus_error err;
    real_request(&request);
    assert_int_equal(run(crs_bytes_slice(&request), &response, &err), CEREUS_OK);
    crs_arena arena;
    crs_arena_init(&arena, 1 << 20);
    response_proto *answer =
        decode(&arena, &google__protobuf__compiler__code_generator_response__descriptor, crs_bytes_slice(&response));
    assert_null(answer->error);
    assert_int_equal(answer->supported_features, 1);
    assert_int_equal(answer->n_file, 1);
    assert_string_equal(answer->file[0]->name, "chat.cereus.h");
    assert_non_null(strstr(answer->file[0]->content, "chat_room_register"));
    crs_arena_fini(&arena);
    crs_bytes_fini(&response);
    crs_bytes_fini(&request);
}

static void every_prefix_is_an_answer_or_an_error(void **state)
{
    crs_bytes request;
    real_request(&request);
    for (size_t len = 0; len < request.len; len++)
        run_bytes(cereus_slice_of(request.data, len));
    crs_bytes_fini(&request);
}

static void every_changed_byte_is_an_answer_or_an_error(void **state)
{
    static const uint8_t flips[] = {0x01, 0x02, 0x08, 0x20, 0x80, 0xff};
    crs_bytes request;
    real_request(&request);
    for (size_t at = 0; at < request.len; at++) {
        for (size_t i = 0; i < sizeof flips; i++) {
            request.data[at] ^= flips[i];
            run_bytes(crs_bytes_slice(&request));
            request.data[at] ^= flips[i];
        }
    }
    crs_bytes_fini(&request);
}

static void memory_may_run_out_anywhere(void **state)
{
    crs_bytes request, response;
    cereus_error err;
    real_request(&request);
    size_t failures = 0, last = 0;
    /* one failure need not be the end: the codec asks again for less. So go on until none has come for long */
    for (size_t nth = 1; nth < last + 200; nth++) {
        crs_bytes_init(&response, 1 << 20);
        err = (cereus_error){0};
        crs_alloc_fail_at(nth);
        cereus_status st = crs_protogen(crs_bytes_slice(&request), &response, &err);
        crs_alloc_fail_at(0);
        assert_true(st == CEREUS_OK || st == CEREUS_E_NOMEM);
        assert_int_equal(err.status, st);
        assert_true(st == CEREUS_OK ? response.len > 0 : response.len == 0 && err.msg[0]);
        if (st) {
            failures++;
            last = nth;
        }
        crs_bytes_fini(&response);
    }
    assert_true(failures > 10);
    crs_bytes_fini(&request);
}

/* -- requests made by hand: one file, one message, one service with one method -- */

typedef struct made {
    char *to_generate;
    request_proto request;
    file_proto file, *file_at;
    message_proto message, *message_at;
    service_proto service, *service_at;
    method_proto method, *method_at;
} made;

static void make(made *m)
{
    *m = (made){.to_generate = "a.proto"};
    m->file_at = &m->file;
    m->message_at = &m->message;
    m->service_at = &m->service;
    m->method_at = &m->method;
    google__protobuf__compiler__code_generator_request__init(&m->request);
    google__protobuf__file_descriptor_proto__init(&m->file);
    google__protobuf__descriptor_proto__init(&m->message);
    google__protobuf__service_descriptor_proto__init(&m->service);
    google__protobuf__method_descriptor_proto__init(&m->method);
    m->request.file_to_generate = &m->to_generate;
    m->request.proto_file = &m->file_at;
    m->file.name = "a.proto";
    m->file.package = "p";
    m->file.message_type = &m->message_at;
    m->message.name = "M";
    m->file.service = &m->service_at;
    m->service.name = "S";
    m->service.method = &m->method_at;
    m->method.name = "Go";
    m->method.input_type = m->method.output_type = ".p.M";
    m->request.n_file_to_generate = m->request.n_proto_file = m->file.n_message_type = m->file.n_service =
        m->service.n_method = 1;
}

/* Runs it; gives the error of the run, or of the answer, or "" when there is none. */
static const char *said(const made *m)
{
    static char text[70000];
    crs_bytes request, response;
    cereus_error err;
    pack(&request, &m->request);
    if (run(crs_bytes_slice(&request), &response, &err)) {
        snprintf(text, sizeof text, "%s", err.msg);
    } else {
        crs_arena arena;
        crs_arena_init(&arena, 1 << 20);
        const response_proto *answer = decode(&arena, &google__protobuf__compiler__code_generator_response__descriptor,
                                              crs_bytes_slice(&response));
        assert_true(!answer->error == (answer->n_file > 0));
        snprintf(text, sizeof text, "%s", answer->error ? answer->error : "");
        crs_arena_fini(&arena);
    }
    crs_bytes_fini(&response);
    crs_bytes_fini(&request);
    return text;
}

static void what_is_made_by_hand_is_fine_by_itself(void **state)
{
    made m;
    make(&m);
    assert_string_equal(said(&m), "");
}

static void names_that_are_no_identifiers_are_refused(void **state)
{
    static char *const bad[] = {"", "a b", "M;", "int x", "1st", "a-b", "a.", ".a", "a*/b", "\xc3\xa4", "a\nb", NULL};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        made m;
        make(&m);
        m.message.name = bad[i];
        assert_string_equal(said(&m), "the name of a message is no identifier");
        make(&m);
        m.service.name = bad[i];
        assert_string_equal(said(&m), "the name of a service is no identifier");
        make(&m);
        m.method.name = bad[i];
        assert_string_equal(said(&m), "the name of a method is no identifier");
    }
    made m;
    make(&m);
    m.file.package = "p;q";
    assert_string_equal(said(&m), "the name of a package is no identifier");
}

static void files_that_an_include_cannot_name_are_refused(void **state)
{
    static char *const bad[] = {"", "a\"b.proto", "a\n.proto", "a*/.proto", "a/*.proto", "a\\", NULL};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        made m;
        make(&m);
        m.file.name = bad[i];
        assert_string_equal(said(&m), "the name of a .proto file does not fit into an #include of C");
    }
}

static void what_a_request_names_must_be_there_once(void **state)
{
    made m;
    make(&m);
    m.method.input_type = ".p.Other";
    assert_string_equal(said(&m), "a method uses a message that is not there");
    m.method.input_type = NULL;
    assert_string_equal(said(&m), "a method uses a message that is not there");

    make(&m);
    m.to_generate = "b.proto";
    assert_string_equal(said(&m), "a file to be generated is not there");

    make(&m);
    file_proto *twice[] = {&m.file, &m.file};
    m.request.proto_file = twice;
    m.request.n_proto_file = 2;
    assert_string_equal(said(&m), "a .proto file comes twice");

    make(&m);
    message_proto *same[] = {&m.message, &m.message};
    m.file.message_type = same;
    m.file.n_message_type = 2;
    assert_string_equal(said(&m), "a message is declared twice");
}

static void messages_nested_too_deeply_are_refused(void **state)
{
    enum { DEPTH = 300 };
    made m;
    make(&m);
    message_proto messages[DEPTH], *at[DEPTH];
    for (size_t i = 0; i < DEPTH; i++) {
        google__protobuf__descriptor_proto__init(&messages[i]);
        messages[i].name = "N";
        if (i > 0) {
            at[i] = &messages[i - 1];
            messages[i].nested_type = &at[i];
            messages[i].n_nested_type = 1;
        }
    }
    message_proto *outermost;
    m.message.nested_type = &outermost;
    m.message.n_nested_type = 1;
    crs_bytes request, response;
    cereus_error err;
    for (size_t depth = 1; depth <= DEPTH; depth++) {
        outermost = &messages[depth - 1];
        /* our own packing would refuse it as well, so protobuf-c writes the request */
        crs_bytes_init(&request, 1 << 20);
        size_t len = protobuf_c_message_get_packed_size(&m.request.base);
        assert_int_equal(crs_bytes_reserve(&request, len), CEREUS_OK);
        request.len = protobuf_c_message_pack(&m.request.base, request.data);
        cereus_status st = run(crs_bytes_slice(&request), &response, &err);
        assert_int_equal(st, depth <= CRS_SERIALIZE_DEPTH_MAX - 3 ? CEREUS_OK : CEREUS_E_MALFORMED);
        assert_true(st == CEREUS_OK || strstr(err.msg, "nested too deeply"));
        crs_bytes_fini(&response);
        crs_bytes_fini(&request);
    }
}

static void options_that_make_no_sense_are_refused(void **state)
{
    static uint8_t home_7[] = {2, 0x10, 7}, junk[] = {2, 0x0a, 9}, name[] = {3, 0x0a, 1, 'x'};
    Google__Protobuf__ServiceOptions options = GOOGLE__PROTOBUF__SERVICE_OPTIONS__INIT;
    ProtobufCMessageUnknownField unknown[2] = {
        {.tag = 51900, .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, .len = sizeof name, .data = name},
        {.tag = 51900, .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, .len = sizeof home_7, .data = home_7},
    };
    options.base.unknown_fields = unknown;
    options.base.n_unknown_fields = 2;
    made m;
    make(&m);
    m.service.options = &options;
    assert_string_equal(said(&m), "a service has a home that is not in cereus/options.proto");
    home_7[2] = 1;
    assert_string_equal(said(&m), "");
    unknown[1].data = junk;
    assert_non_null(strstr(said(&m), "cereus.ServiceOptions: protobuf: "));
    unknown[1].wire_type = PROTOBUF_C_WIRE_TYPE_VARINT; /* somebody else's option with our number */
    unknown[1].len = 1;
    assert_string_equal(said(&m), "");
}

static void the_list_of_mistakes_is_bounded(void **state)
{
    enum { COUNT = 2000 };
    made m;
    make(&m);
    m.method.has_server_streaming = m.method.server_streaming = true;
    method_proto methods[COUNT], *at[COUNT];
    char names[COUNT][16];
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "Go%zu", i);
        methods[i] = m.method;
        methods[i].name = names[i];
        at[i] = &methods[i];
    }
    m.service.method = at;
    m.service.n_method = COUNT;
    const char *list = said(&m);
    assert_true(strlen(list) > 60000 && strlen(list) <= 64 << 10);
    assert_int_equal(strncmp(list, "a.proto: method S.Go0: streams are not supported", 48), 0);

    static char huge[100000];
    memset(huge, 'x', sizeof huge - 1);
    m.method.name = huge;
    at[0] = &m.method;
    m.service.n_method = 1;
    assert_string_equal(said(&m), "a name is too long to tell what is wrong with it");
}

TEST_MAIN(cmocka_unit_test(a_real_request_gets_a_header), cmocka_unit_test(every_prefix_is_an_answer_or_an_error),
          cmocka_unit_test(every_changed_byte_is_an_answer_or_an_error), cmocka_unit_test(memory_may_run_out_anywhere),
          cmocka_unit_test(what_is_made_by_hand_is_fine_by_itself),
          cmocka_unit_test(names_that_are_no_identifiers_are_refused),
          cmocka_unit_test(files_that_an_include_cannot_name_are_refused),
          cmocka_unit_test(what_a_request_names_must_be_there_once),
          cmocka_unit_test(messages_nested_too_deeply_are_refused),
          cmocka_unit_test(options_that_make_no_sense_are_refused), cmocka_unit_test(the_list_of_mistakes_is_bounded))
