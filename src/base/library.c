/* base/library.c: dlopen() and many dlsym(). */
#include "base/library.h"

#include <dlfcn.h>

cereus_status crs_library_load(const char *soname, const char *fix, const crs_symbol *symbols, size_t count,
                               cereus_error *err)
{
    void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return crs_fail(err, CEREUS_E_UNSUPPORTED, "%s cannot be loaded: %s", soname, fix);
    for (size_t i = 0; i < count; i++) {
        *symbols[i].at = dlsym(library, symbols[i].name);
        if (!*symbols[i].at)
            return crs_fail(err, CEREUS_E_UNSUPPORTED, "%s has no %s: %s", soname, symbols[i].name, fix);
    }
    return CEREUS_OK;
}
