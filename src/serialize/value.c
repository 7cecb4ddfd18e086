/* serialize/value.c: one way out for everything that a handler may return or push. */
#include <string.h>

#include "serialize/json.h"
#include "serialize/protobuf.h"
#include "serialize/serializer.h"

const cereus_serializer *crs_serializer_find(const char *name)
{
    static const cereus_serializer *const built_in[] = {&crs_serializer_json, &crs_serializer_protobuf};
    for (size_t i = 0; i < CEREUS_COUNT(built_in); i++) {
        if (strcmp(built_in[i]->name, name) == 0)
            return built_in[i];
    }
    return NULL;
}

static cereus_status append(void *writer, const void *data, size_t len)
{
    return crs_bytes_append(writer, data, len);
}

static cereus_status encode_message(const cereus_serializer *s, const ProtobufCMessage *msg, crs_bytes *out,
                                    cereus_error *err)
{
    /* the built-in ones can write to the block itself */
    if (s == &crs_serializer_protobuf)
        return crs_protobuf_append(out, msg, err);
    if (s != &crs_serializer_json && s != &crs_serializer_json_camel)
        return s->encode(msg, append, out, err);
    crs_sink sink;
    crs_sink_init_bytes(&sink, out, err);
    crs_json_write_message(&sink, msg, s == &crs_serializer_json_camel);
    return crs_sink_finish(&sink);
}

static cereus_status encode_json(const json_t *value, crs_bytes *out, cereus_error *err)
{
    crs_sink sink;
    crs_sink_init_bytes(&sink, out, err);
    crs_json_write_value(&sink, value);
    return crs_sink_finish(&sink);
}

cereus_status crs_value_encode(const cereus_serializer *s, const cereus_value *v, crs_bytes *out, cereus_error *err)
{
    size_t was = out->len;
    cereus_status st = CEREUS_OK;
    switch (v->shape) {
    case CEREUS_NOTHING:
        break;
    case CEREUS_RAW:
        st = crs_bytes_append(out, v->raw.data, v->raw.len);
        if (st)
            crs_fail(err, st, "%zu bytes cannot be written: %s", v->raw.len, cereus_status_text(st));
        break;
    case CEREUS_MESSAGE:
        CRS_ASSERT(v->message);
        st = encode_message(s, v->message, out, err);
        break;
    case CEREUS_JSON:
        CRS_ASSERT(v->json);
        st = encode_json(v->json, out, err);
        break;
    }
    if (st)
        out->len = was;
    return st;
}
