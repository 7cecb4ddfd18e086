/* fiber/await.h: what a fiber can wait for beside another fiber's word: a descriptor, a job on the worker pool. */
#ifndef CRS_FIBER_AWAIT_H
#define CRS_FIBER_AWAIT_H

#include "fiber/fiber.h"
#include "loop/workers.h"

/**
 * Park until @p fd is ready for @p events (UV_READABLE, UV_WRITABLE).
 * @param deadline_us  loop time; UINT64_MAX: none
 * @return CEREUS_OK with *ret_events; CEREUS_E_TIMEOUT; CEREUS_E_CANCELLED; CEREUS_E_INVALID: cannot be polled, or
 *         another fiber waits for it (one at a time per descriptor); CEREUS_E_NOMEM  Thread: fiber.
 */
cereus_status crs_await_fd(crs_fiber *fiber, int fd, int events, uint64_t deadline_us, int *ret_events);

/** Run @p work on the pool and park until it has ended. @return CEREUS_OK; CEREUS_E_FULL; CEREUS_E_CANCELLED. Thread:
 * fiber. */
cereus_status crs_await_job(crs_fiber *fiber, crs_workers *workers, void (*work)(void *user), void *user);

#endif
