/* serialize/json.h: the JSON codec's parts for the files beside it. The rules are those of Go's encoding/json on
 * generated structs, which is what Pitaya's peers speak (client-protocol.md 3.1, 9, 10.1). */
#ifndef CRS_SERIALIZE_JSON_H
#define CRS_SERIALIZE_JSON_H

#include <jansson.h>

#include "serialize/fields.h"
#include "serialize/sink.h"

/** As cereus_serializer.decode. */
cereus_status crs_json_decode(const ProtobufCMessageDescriptor *type, cereus_slice body, cereus_alloc_fn *alloc,
                              void *allocator, ProtobufCMessage **ret_msg, cereus_error *err);

/** Write @p msg, members under their own names or (@p camel) in lowerCamelCase. Failures are the sink's. */
void crs_json_write_message(crs_sink *s, const ProtobufCMessage *msg, bool camel);

/** Write a jansson value: compact, members in the order they were added. Failures are the sink's. */
void crs_json_write_value(crs_sink *s, const json_t *value);

#endif
