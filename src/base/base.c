/* base/base.c: assertions, memory and errors. Keeps no state but the per-thread switch that tests use. */
#include "base/base.h"

#include <stdio.h>

static _Thread_local size_t fail_countdown; /* 0: allocations work; n: the n-th from now fails */

void crs_assert_failed(const char *cond, const char *file, int line, const char *func)
{
    fprintf(stderr, "cereus: %s:%d: %s: assertion failed: %s\n", file, line, func, cond);
    abort();
}

static bool must_fail(void)
{
    return CRS_UNLIKELY(fail_countdown != 0) && --fail_countdown == 0;
}

void crs_alloc_fail_at(size_t nth)
{
    fail_countdown = nth;
}

void *crs_malloc(size_t size)
{
    return must_fail() ? NULL : malloc(size ? size : 1);
}

void *crs_zalloc(size_t size)
{
    return must_fail() ? NULL : calloc(1, size ? size : 1);
}

void *crs_realloc(void *ptr, size_t size)
{
    return must_fail() ? NULL : realloc(ptr, size ? size : 1);
}

char *crs_strndup(const char *text, size_t len)
{
    char *copy = crs_malloc(len + 1);
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *crs_strdup(const char *text)
{
    return crs_strndup(text, strlen(text));
}

void crs_free(void *ptr)
{
    free(ptr);
}

static const struct {
    const char *name, *code, *text;
} statuses[] = {
#define STATUS_ROW(name, code, text) {"CEREUS_" #name, code, text},
    CEREUS_STATUS_TABLE(STATUS_ROW)
#undef STATUS_ROW
};

const char *cereus_status_name(cereus_status status)
{
    return (size_t)status < CEREUS_COUNT(statuses) ? statuses[status].name : "CEREUS_E_UNKNOWN";
}

const char *cereus_status_text(cereus_status status)
{
    return (size_t)status < CEREUS_COUNT(statuses) ? statuses[status].text : "unknown status";
}

const char *cereus_status_code(cereus_status status)
{
    return (size_t)status < CEREUS_COUNT(statuses) ? statuses[status].code : "PIT-000";
}

cereus_status crs_fail(cereus_error *err, cereus_status status, const char *fmt, ...)
{
    if (!err)
        return status;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    err->status = status;
    return status;
}

cereus_status crs_fail_in(cereus_error *err, cereus_status status, const char *fmt, ...)
{
    if (!err)
        return status;
    char was[sizeof err->msg];
    memcpy(was, err->msg, sizeof was);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    if (n < 0)
        n = 0;
    size_t at = CRS_MIN((size_t)n, sizeof err->msg - 1);
    size_t room = sizeof err->msg - at; /* with its NUL */
    const char *parts[] = {": ", was};
    for (size_t i = 0; i < 2; i++) {
        size_t len = CRS_MIN(strlen(parts[i]), room - 1);
        memcpy(err->msg + at, parts[i], len);
        at += len;
        room -= len;
    }
    err->msg[at] = '\0';
    err->status = status;
    return status;
}
