/* dispatch/descriptors.h: the Protobuf files that a server can describe: looked up by message or file name, kept as the
 * bytes that are sent. Filled before the start, constant after it. */
#ifndef CRS_DISPATCH_DESCRIPTORS_H
#define CRS_DISPATCH_DESCRIPTORS_H

#include "base/base.h"

typedef struct crs_descriptors crs_descriptors;

/** A table that knows Pitaya's own types. NULL: out of memory. */
crs_descriptors *crs_descriptors_new(void);
/** NULL is fine. Returns NULL. */
crs_descriptors *crs_descriptors_free(crs_descriptors *d);

/** As cereus_app_add_descriptors(). */
CEREUS_MUST_USE cereus_status crs_descriptors_add(crs_descriptors *d, cereus_slice set, cereus_error *err);
/** As cereus_app_descriptor(). @p name need not end with a NUL. Allocates nothing. */
CEREUS_MUST_USE cereus_status crs_descriptors_find(const crs_descriptors *d, cereus_slice name, cereus_slice *ret_gzip,
                                                   cereus_error *err);

#endif
