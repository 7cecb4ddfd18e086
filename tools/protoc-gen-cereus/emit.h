/* tools/protoc-gen-cereus/emit.h: a header as text. */
#ifndef CRS_PROTOGEN_EMIT_H
#define CRS_PROTOGEN_EMIT_H

#include "model.h"

/** Append the header of @p file to @p out; @p arena is for what is needed meanwhile.
 * @return CEREUS_OK; CEREUS_E_NOMEM; CEREUS_E_TOO_LONG */
CEREUS_MUST_USE cereus_status crs_gen_emit(crs_bytes *out, crs_arena *arena, const crs_gen_file *file);

#endif
