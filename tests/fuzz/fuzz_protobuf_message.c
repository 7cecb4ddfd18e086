/* tests/fuzz/fuzz_protobuf_message.c: Protobuf bodies into a message with every kind of field. What is read can be
 * written, what was written reads back as the same, and protobuf-c's own reader understands it too. */
#include "fuzz.h"

#include "base/arena.h"
#include "../unit/serialize/kitchen.pb-c.h"
#include "serialize/serializer.h"

static void *take(void *arena, size_t size)
{
    return crs_arena_alloc(arena, size);
}

static cereus_status read_body(cereus_slice body, crs_arena *arena, ProtobufCMessage **ret_msg)
{
    cereus_error err = {.status = CEREUS_OK};
    uint8_t *copy = fuzz_copy(body.data, body.len);
    cereus_status st = crs_serializer_protobuf.decode(&kitchen__sink__descriptor, cereus_slice_of(copy, body.len), take,
                                                      arena, ret_msg, &err);
    free(copy);
    FUZZ_CHECK(st == CEREUS_OK || st == CEREUS_E_MALFORMED);
    FUZZ_CHECK(err.status == st && (st == CEREUS_OK || err.msg[0] != '\0'));
    return st;
}

static void write_body(ProtobufCMessage *msg, crs_bytes *out)
{
    cereus_value v = cereus_message(msg);
    crs_bytes_init(out, 1 << 24);
    FUZZ_CHECK(crs_value_encode(&crs_serializer_protobuf, &v, out, NULL) == CEREUS_OK);
}

/* protobuf-c's reader does not know groups and refuses known numbers with other wire types, so it is asked only when
 * every field was known, inside of nested messages too. */
static bool has_unknown(const ProtobufCMessage *m)
{
    if (m->n_unknown_fields)
        return true;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const uint8_t *base = (const uint8_t *)m;
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        ProtobufCMessage *const *at = (ProtobufCMessage *const *)(base + f->offset);
        size_t count = 1;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            count = *(const size_t *)(base + f->quantifier_offset);
            at = *(ProtobufCMessage *const *const *)at;
        } else if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
                   *(const uint32_t *)(base + f->quantifier_offset) != f->id) {
            continue;
        }
        for (size_t k = 0; k < count; k++) {
            if (at[k] && has_unknown(at[k]))
                return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    crs_arena arena;
    crs_arena_init(&arena, 1 << 26);
    ProtobufCMessage *msg = NULL, *again = NULL;
    if (size <= 1 << 16 && read_body(cereus_slice_of(data, size), &arena, &msg) == CEREUS_OK) {
        crs_bytes first, second;
        write_body(msg, &first);
        FUZZ_CHECK(read_body(crs_bytes_slice(&first), &arena, &again) == CEREUS_OK);
        write_body(again, &second);
        FUZZ_CHECK(crs_slice_eq(crs_bytes_slice(&first), crs_bytes_slice(&second)));
        crs_bytes_fini(&second);
        if (!has_unknown(msg)) {
            cereus_slice body = crs_bytes_slice(&first);
            ProtobufCMessage *theirs = protobuf_c_message_unpack(&kitchen__sink__descriptor, NULL, body.len, body.data);
            FUZZ_CHECK(theirs);
            write_body(theirs, &second);
            FUZZ_CHECK(crs_slice_eq(body, crs_bytes_slice(&second)));
            crs_bytes_fini(&second);
            protobuf_c_message_free_unpacked(theirs, NULL);
        }
        crs_bytes_fini(&first);
    }
    crs_arena_fini(&arena);
    return 0;
}
