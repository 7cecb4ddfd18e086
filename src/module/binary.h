/* module/binary.h: a program that runs as long as the server. */
#ifndef CRS_MODULE_BINARY_H
#define CRS_MODULE_BINARY_H

#include <cereus/module.h>

typedef struct crs_binary crs_binary;

/** Copies what it is given. NULL: out of memory. Ownership: gives. Thread: setup. */
crs_binary *crs_binary_new(const char *name, const cereus_binary_options *options);
/** Its loop must be gone. @p binary is a crs_binary; NULL is fine. */
void crs_binary_free(void *binary);

/** Its life; the user pointer is a crs_binary. */
extern const cereus_module crs_binary_module;

#endif
