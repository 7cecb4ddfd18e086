/* tests/fuzz/fuzz_types.c: descriptors from a server nobody knows, and a body for the types in them. The first two bytes
 * say how long the FileDescriptorProto is; what is behind it is decoded with every type that comes of it. What is read
 * can be written, as JSON and as Protobuf, and reads back. */
#include "fuzz.h"

#include "base/arena.h"
#include "serialize/serializer.h"
#include "proto_types.h"

static void *take(void *arena, size_t size)
{
    return crs_arena_alloc(arena, size);
}

static void try_type(const ProtobufCMessageDescriptor *type, cereus_slice body)
{
    crs_arena arena;
    crs_bytes json, again;
    ProtobufCMessage *msg = NULL, *back = NULL;
    crs_arena_init(&arena, 1 << 22);
    crs_bytes_init(&json, 1 << 22);
    crs_bytes_init(&again, 1 << 22);
    if (crs_serializer_protobuf.decode(type, body, take, &arena, &msg, NULL) == CEREUS_OK) {
        cereus_value value = cereus_message(msg);
        if (crs_value_encode(&crs_serializer_json, &value, &json, NULL) == CEREUS_OK)
            (void)crs_serializer_json.decode(type, crs_bytes_slice(&json), take, &arena, &back, NULL);
        if (crs_value_encode(&crs_serializer_protobuf, &value, &again, NULL) == CEREUS_OK) {
            cereus_status st = crs_serializer_protobuf.decode(type, crs_bytes_slice(&again), take, &arena, &back, NULL);
            FUZZ_CHECK(st == CEREUS_OK || st == CEREUS_E_NOMEM);
        }
    }
    (void)crs_serializer_json.decode(type, body, take, &arena, &back, NULL);
    crs_bytes_fini(&json);
    crs_bytes_fini(&again);
    crs_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 1 << 16)
        return 0;
    size_t len = (size_t)data[0] << 8 | data[1];
    len = len < size - 2 ? len : size - 2;
    uint8_t *file = fuzz_copy(data + 2, len), *body = fuzz_copy(data + 2 + len, size - 2 - len);
    crs_types *types = crs_types_new();
    cereus_error err = {.status = CEREUS_OK};
    FUZZ_CHECK(types);
    cereus_status st = crs_types_add_plain(types, cereus_slice_of(file, len), &err);
    if (!st) {
        st = crs_types_link(types, &err);
        FUZZ_CHECK((crs_types_link(types, NULL) == CEREUS_OK) == (st == CEREUS_OK)); /* a failure may be tried again */
    }
    FUZZ_CHECK(err.status == st && (st == CEREUS_OK || err.msg[0] != '\0'));
    size_t iter = 0, tried = 0;
    const ProtobufCMessageDescriptor *type;
    while (!st && (type = crs_types_next(types, &iter)) && tried++ < 16) {
        FUZZ_CHECK(crs_types_find(types, type->name) == type);
        try_type(type, cereus_slice_of(body, size - 2 - len));
    }
    iter = 0;
    while (crs_types_missing(types, &iter))
        ;
    crs_types_free(types);
    free(file);
    free(body);
    return 0;
}
