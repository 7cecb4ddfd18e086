/* tools/protoc-gen-cereus/protogen.c: see protogen.h. */
#include "protogen.h"

#include "emit.h"
#include "model.h"
#include "serialize/protobuf.h"

#include "google/protobuf/compiler/plugin.pb-c.h"

typedef Google__Protobuf__Compiler__CodeGeneratorResponse response_proto;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse__File output_proto;

enum {
    MEMORY_MAX = 1 << 30,
    HEADER_LEN_MAX = 64 << 20,
    MISTAKES_LEN_MAX = 64 << 10,
};

/* A C string of what was written. */
static char *finish(crs_arena *arena, const crs_bytes *bytes)
{
    return crs_arena_strndup(arena, bytes->data ? (const char *)bytes->data : "", bytes->len);
}

static cereus_status emit_file(const crs_gen_file *file, crs_arena *arena, output_proto *ret)
{
    crs_bytes text;
    crs_bytes_init(&text, HEADER_LEN_MAX);
    cereus_status st = crs_gen_emit(&text, arena, file);
    if (!st) {
        google__protobuf__compiler__code_generator_response__file__init(ret);
        ret->name = (char *)file->output;
        ret->content = finish(arena, &text);
        st = ret->content ? CEREUS_OK : CEREUS_E_NOMEM;
    }
    crs_bytes_fini(&text);
    return st;
}

static cereus_status answer(cereus_slice request, crs_arena *arena, crs_bytes *mistakes, crs_bytes *response,
                            cereus_error *err)
{
    crs_gen_file *files;
    size_t count;
    CEREUS_TRY(crs_gen_read(request, arena, mistakes, &files, &count, err));

    response_proto msg;
    google__protobuf__compiler__code_generator_response__init(&msg);
    msg.has_supported_features = true; /* protoc stops at a proto3 file with optional fields otherwise */
    msg.supported_features = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__FEATURE__FEATURE_PROTO3_OPTIONAL;
    if (mistakes->len) {
        msg.error = finish(arena, mistakes);
        if (!msg.error)
            return crs_fail(err, CEREUS_E_NOMEM, "the list of mistakes");
    }
    output_proto *outputs = crs_arena_zalloc(arena, count * sizeof *outputs);
    msg.file = crs_arena_zalloc(arena, count * sizeof *msg.file);
    if (!outputs || !msg.file)
        return crs_fail(err, CEREUS_E_NOMEM, "the list of headers");
    for (; msg.n_file < count; msg.n_file++) {
        const crs_gen_file *file = &files[msg.n_file];
        cereus_status st = emit_file(file, arena, &outputs[msg.n_file]);
        if (st)
            return crs_fail(err, st, "%s cannot be written: %s", file->output, cereus_status_text(st));
        msg.file[msg.n_file] = &outputs[msg.n_file];
    }
    return crs_protobuf_append(response, &msg.base, err);
}

cereus_status crs_protogen(cereus_slice request, crs_bytes *response, cereus_error *err)
{
    crs_arena arena;
    crs_bytes mistakes;
    crs_arena_init(&arena, MEMORY_MAX);
    crs_bytes_init(&mistakes, MISTAKES_LEN_MAX);
    cereus_status st = answer(request, &arena, &mistakes, response, err);
    crs_bytes_fini(&mistakes);
    crs_arena_fini(&arena);
    return st;
}
