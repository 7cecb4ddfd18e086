/* base/library.h: a shared library that is loaded when it is first needed. OpenSSL costs every process that is linked to
 * it a millisecond and 1.4 MiB at the start; most servers never use it. A caller lists the functions that it uses once,
 * with their own types, and calls them through a table:
 *
 *     #define MY_FUNCTIONS(X) X(SSL_read) X(SSL_write)
 *     struct { CRS_LIBRARY_FIELDS(MY_FUNCTIONS) } ssl;        ssl.SSL_read(...)
 */
#ifndef CRS_BASE_LIBRARY_H
#define CRS_BASE_LIBRARY_H

#include "base/base.h"

/** One function of a library and where its address goes. */
typedef struct crs_symbol {
    const char *name;
    void **at;
} crs_symbol;

#define CRS_LIBRARY_FIELD_(function)  __typeof__(&function) function;
#define CRS_LIBRARY_FIELDS(FUNCTIONS) FUNCTIONS(CRS_LIBRARY_FIELD_)

/**
 * Load @p soname and look up all of @p symbols. It stays loaded for the life of the process.
 * @param fix  what to do when it is not there, "install the package libssl3"
 * @return CEREUS_OK; CEREUS_E_UNSUPPORTED: not there, or too old
 * Thread: any; the caller sees to it that one thread at a time fills a table.
 */
cereus_status crs_library_load(const char *soname, const char *fix, const crs_symbol *symbols, size_t count,
                               cereus_error *err);

#endif
