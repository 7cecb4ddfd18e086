/* app/watchdog.h: a thread that looks at the loops now and then and names the handler that holds one for too long, with
 * the stack it is in. Costs the loops two plain stores per fiber switch. */
#ifndef CRS_APP_WATCHDOG_H
#define CRS_APP_WATCHDOG_H

#include <pthread.h>

#include "fiber/fiber.h"

typedef struct crs_watchdog crs_watchdog;

/** Watch nothing yet; a handler may run for @p threshold_ms, 1.. Ownership: gives. */
cereus_status crs_watchdog_new(crs_log *log, uint64_t threshold_ms, crs_watchdog **ret_watchdog, cereus_error *err);
/** Watch the calling thread's fibers. Thread: loop. */
void crs_watchdog_add(crs_watchdog *w, crs_fibers *fibers);
/** The calling thread is not to be asked for its stack any more. Thread: loop. */
void crs_watchdog_remove(crs_watchdog *w, crs_fibers *fibers);
crs_watchdog *crs_watchdog_free(crs_watchdog *w);

#endif
