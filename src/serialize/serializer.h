/* serialize/serializer.h: bodies <-> values. Two are built in, games may add theirs through cereus/serializer.h, whose
 * table of functions this is. What varies behind the interface is only how a CEREUS_MESSAGE is encoded; raw bytes pass
 * untouched and CEREUS_JSON is JSON text everywhere. */
#ifndef CRS_SERIALIZE_SERIALIZER_H
#define CRS_SERIALIZE_SERIALIZER_H

#include <cereus/serializer.h>

#include "base/arena.h"
#include "base/buf.h"

/** "json" and "protobuf"; static, stateless. Thread: any. */
extern const cereus_serializer crs_serializer_json;
extern const cereus_serializer crs_serializer_protobuf;
/** "json" again, but it writes members in lowerCamelCase (both read either); an option of the app. */
extern const cereus_serializer crs_serializer_json_camel;

/** The built-in serializer called @p name; NULL: none. */
const cereus_serializer *crs_serializer_find(const char *name);

/**
 * Encode any value: raw copied, json dumped (compact, members in insertion order), message by @p s, nothing as no
 * bytes.
 * @param out  appended to; as it was when this fails
 * @return CEREUS_OK; CEREUS_E_INVALID: cannot be serialised (`err` says why); CEREUS_E_TOO_LONG; CEREUS_E_NOMEM
 */
CEREUS_MUST_USE cereus_status crs_value_encode(const cereus_serializer *s, const cereus_value *v, crs_bytes *out,
                                               cereus_error *err);

struct json_t;

/** Append @p value as Go's encoding/json writes it: compact, members sorted by their keys. For what servers tell each other.
 * @return CEREUS_OK; CEREUS_E_INVALID: nested too deep; CEREUS_E_TOO_LONG; CEREUS_E_NOMEM */
CEREUS_MUST_USE cereus_status crs_json_text(const struct json_t *value, crs_bytes *out);

#endif
