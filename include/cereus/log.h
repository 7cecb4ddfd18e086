/* cereus/log.h: levels of the log and where its lines may go. A line is a constant sentence and fields, in logfmt or
 * JSON, written to standard error unless the app gives a function of its own.
 */
#ifndef CEREUS_LOG_H
#define CEREUS_LOG_H

#include <cereus/status.h>
#include <cereus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How much a line matters. INFO is 0, so that options left at zero mean the default. */
typedef enum cereus_log_level {
    CEREUS_LOG_DEBUG = -1,
    CEREUS_LOG_INFO = 0,
    CEREUS_LOG_WARN = 1,
    CEREUS_LOG_ERROR = 2,
} cereus_log_level;

/**
 * Takes one finished line in place of standard error.
 * @param line  valid UTF-8 without control characters and without a newline, at most 2 KiB; a NUL stands behind it
 * Ownership: borrows @p line. Thread: any, several at once; it must not wait, and must not log.
 */
typedef void cereus_log_fn(cereus_log_level level, const char *line, size_t len, void *user);

/** The level called @p text: debug, info, warn or error. CEREUS_E_INVALID: none of them. Thread: any. */
CEREUS_API cereus_status cereus_log_level_parse(const char *text, cereus_log_level *ret_level);

/** The name of @p level as it stands in the lines. Never NULL, also for values out of range. Thread: any. */
CEREUS_API const char *cereus_log_level_name(cereus_log_level level);

#ifdef __cplusplus
}
#endif
#endif
