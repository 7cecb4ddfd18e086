/* tools/bench/proc.c: CPU by the process's own CPU clock, which counts nanoseconds and includes the slice that runs
 * right now (/proc/PID/stat counts ticks of 10 ms, /proc/PID/schedstat lags by up to a tick); memory by smaps_rollup,
 * since the counters behind statm are kept per CPU and can be off by more than a page. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "proc.h"

bool crs_proc_cpu_ns(pid_t pid, uint64_t *ret_ns)
{
    clockid_t clock;
    struct timespec ts;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) != 0)
        return false;
    *ret_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    return true;
}

static bool rss_of_statm(pid_t pid, uint64_t *ret_bytes)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    uint64_t pages;
    bool found = fscanf(f, "%*u %" SCNu64, &pages) == 1;
    fclose(f);
    if (found)
        *ret_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return found;
}

bool crs_proc_rss(pid_t pid, uint64_t *ret_bytes)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return rss_of_statm(pid, ret_bytes);
    uint64_t kib;
    bool found = false;
    while (!found && fgets(line, sizeof line, f))
        found = sscanf(line, "Rss: %" SCNu64 " kB", &kib) == 1;
    fclose(f);
    if (!found)
        return rss_of_statm(pid, ret_bytes);
    *ret_bytes = kib * 1024;
    return true;
}
