/* tools/bench/proc.h: what the system says about the processes that a run loads: their CPU time and their memory. */
#ifndef CRS_BENCH_PROC_H
#define CRS_BENCH_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** CPU time of all threads of @p pid so far, user and system, nanoseconds. @return false: no such process */
bool crs_proc_cpu_ns(pid_t pid, uint64_t *ret_ns);

/** Resident memory of @p pid, bytes, exact to the page. @return false: no such process, or not ours to look at */
bool crs_proc_rss(pid_t pid, uint64_t *ret_bytes);

#endif
