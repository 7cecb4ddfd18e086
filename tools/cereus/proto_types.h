/* tools/cereus/proto_types.h: message types made from the descriptors that a server hands out, as protobuf-c would have
 * generated them, so that the library's own codecs read and write their messages.
 *
 * Descriptors come from whoever answers at an address: everything is bounded, and what makes no sense is refused. A field
 * whose type is not there is left out, and travels as an unknown one. */
#ifndef CRS_TOOL_TYPES_H
#define CRS_TOOL_TYPES_H

#include <protobuf-c/protobuf-c.h>

#include "base/base.h"

enum {
    CRS_TYPES_FILES_MAX = 256,
    CRS_TYPES_FILE_LEN_MAX = 4 << 20,
    CRS_TYPES_FIELDS_MAX = 4096, /* of one message */
};

typedef struct crs_types crs_types;

crs_types *crs_types_new(void);
/** NULL is fine. Returns NULL. */
crs_types *crs_types_free(crs_types *t);

/**
 * Add a file; one of a name that is there already is ignored. Types found before stay as they are.
 * @param gzip  a FileDescriptorProto, compressed with gzip; not kept
 * @return CEREUS_OK; CEREUS_E_MALFORMED; CEREUS_E_TOO_LONG: more or larger than the limits above; CEREUS_E_NOMEM
 */
CEREUS_MUST_USE cereus_status crs_types_add(crs_types *t, cereus_slice gzip, cereus_error *err);

/** The same from plain bytes. */
CEREUS_MUST_USE cereus_status crs_types_add_plain(crs_types *t, cereus_slice plain, cereus_error *err);

/** A file that one of those added imports and that is not there; walk with *iter = 0; NULL: no more. */
const char *crs_types_missing(const crs_types *t, size_t *iter);

/**
 * Make the types of all files added since the last time. After a failure no type of these is found.
 * @return CEREUS_OK; CEREUS_E_MALFORMED: a field that cannot be; CEREUS_E_TOO_LONG; CEREUS_E_NOMEM
 */
CEREUS_MUST_USE cereus_status crs_types_link(crs_types *t, cereus_error *err);

/** The message type with this full name ("chat.Room.User"); NULL: none. Lives as long as @p t. */
const ProtobufCMessageDescriptor *crs_types_find(const crs_types *t, const char *name);
/** All of them, in no order; walk with *iter = 0; NULL: no more. */
const ProtobufCMessageDescriptor *crs_types_next(const crs_types *t, size_t *iter);

#endif
