/* tools/protoc-gen-cereus/protogen.h: the plug-in without its standard input and output. */
#ifndef CRS_PROTOGEN_PROTOGEN_H
#define CRS_PROTOGEN_PROTOGEN_H

#include "base/buf.h"

/**
 * Answer a CodeGeneratorRequest with a CodeGeneratorResponse: a header for each file to generate, or an error that lists
 * what is wrong with the .proto files.
 * @param response  appended to; as it was when this fails
 * @return CEREUS_OK; CEREUS_E_MALFORMED: @p request is not what protoc writes; CEREUS_E_TOO_LONG; CEREUS_E_NOMEM
 */
CEREUS_MUST_USE cereus_status crs_protogen(cereus_slice request, crs_bytes *response, cereus_error *err);

#endif
