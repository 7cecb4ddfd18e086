/* ext/nats_lib.c: fills the table, once. */
#include "ext/nats_lib.h"

#include <pthread.h>

crs_nats_lib crs_natslib;

#define TEXT_(x)         #x
#define TEXT(x)          TEXT_(x)
#define SYMBOL(function) {#function, (void **)&crs_natslib.function},

static pthread_once_t once = PTHREAD_ONCE_INIT;
static cereus_error failure;

static void load(void)
{
    static const crs_symbol symbols[] = {CRS_NATS_FUNCTIONS(SYMBOL)};
    const char *soname = "libnats.so." TEXT(NATS_VERSION_MAJOR) "." TEXT(NATS_VERSION_MINOR);
    const char *fix = "for NATS install nats.c " TEXT(NATS_VERSION_MAJOR) "." TEXT(
        NATS_VERSION_MINOR) " (Debian's package libnats3.4)";
    if (crs_library_load(soname, fix, symbols, CEREUS_COUNT(symbols), &failure) == CEREUS_OK &&
        crs_natslib.nats_Open(-1) != NATS_OK)
        crs_fail(&failure, CEREUS_E_NOMEM, "nats.c cannot be started");
}

cereus_status crs_nats_load(cereus_error *err)
{
    pthread_once(&once, load);
    if (failure.status && err)
        *err = failure;
    return failure.status;
}
