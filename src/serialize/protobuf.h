/* serialize/protobuf.h: the Protobuf codec's parts for the files beside it. */
#ifndef CRS_SERIALIZE_PROTOBUF_H
#define CRS_SERIALIZE_PROTOBUF_H

#include "base/buf.h"
#include "serialize/fields.h"

/** Append @p msg. CEREUS_E_INVALID: it cannot be said in Protobuf; CEREUS_E_TOO_LONG; CEREUS_E_NOMEM. */
cereus_status crs_protobuf_append(crs_bytes *out, const ProtobufCMessage *msg, cereus_error *err);

#endif
