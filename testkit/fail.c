/* testkit/fail.c: how a test fails. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "kit.h"

_Thread_local unsigned kit_inside;

static cereus_test_fail_fn *on_fail;
static atomic_int apps;             /* under test in this process */
static _Thread_local int apps_here; /* by this thread */

void cereus_test_on_fail(cereus_test_fail_fn *fn)
{
    on_fail = fn;
}

void kit_count_app(int change)
{
    atomic_fetch_add(&apps, change);
    apps_here += change;
}

void kit_die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

void cereus_test_fail_at(cereus_test_where where, const char *fmt, ...)
{
    static _Thread_local char msg[8192]; /* nothing to free when fail() jumps away */
    va_list args;
    va_start(args, fmt);
    vsnprintf(msg, sizeof msg, fmt, args);
    va_end(args);
    if (kit_inside || (atomic_load(&apps) > 0 && apps_here == 0))
        kit_die("%s:%d: inside the app: %s", where.file, where.line, msg);
    if (where.fail)
        where.fail(where.file, where.line, msg);
    else if (on_fail)
        on_fail(where.file, where.line, msg);
    else
        kit_die("%s:%d: %s", where.file, where.line, msg);
}
