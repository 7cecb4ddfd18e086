/* base/log.h: one log per app. A line is a constant sentence plus typed fields:
 *
 *     crs_log_warn(log, "handshake refused", CRS_STR("reason", why), CRS_SLICE("route", route));
 *
 * gives, as logfmt or as JSON,
 *
 *     time=2026-01-02T03:04:05.678Z level=warn msg="handshake refused" reason="bad json" route=room.join
 *
 * Fields may hold bytes of a peer: they are escaped and cut here, so that a line is always one line, valid UTF-8 (and
 * valid JSON), and at most CRS_LOG_LINE_MAX bytes. Lines that a peer can cause at will go through crs_log_limited().
 * A level that is switched off costs a load and a branch; its fields are not evaluated. A NULL log takes everything and
 * says nothing.
 */
#ifndef CRS_BASE_LOG_H
#define CRS_BASE_LOG_H

#include <stdatomic.h>
#include <time.h>

#include <cereus/log.h>

#include "base/base.h"

#define CRS_LOG_LINE_MAX    2048 /* bytes of a line with its newline */
#define CRS_LOG_MSG_MAX     1024 /* bytes of the sentence; it is long only when a game made it */
#define CRS_LOG_VALUE_MAX   256  /* bytes of one escaped value */
#define CRS_LOG_LIMIT_PER_S 10   /* lines per second of a limiter that names no number */

typedef enum crs_log_format { CRS_LOG_LOGFMT, CRS_LOG_JSON } crs_log_format;

/** Milliseconds of @p clock, CLOCK_REALTIME or CLOCK_MONOTONIC. Thread: any. */
typedef int64_t crs_log_clock_fn(clockid_t clock, void *user);

typedef struct crs_log {
    atomic_int level;          /* relaxed: a line more or less while it changes does not matter */
    crs_log_format format;     /* set once by init() */
    cereus_log_fn *fn;         /* set once by init(); NULL: standard error */
    void *fn_user;             /* set once by init() */
    crs_log_clock_fn *clock;   /* set once by init() */
    void *clock_user;          /* set once by init() */
    atomic_uint_fast64_t lost; /* lines that standard error did not take; relaxed, a counter */
} crs_log;

typedef struct crs_log_options {
    cereus_log_level level;
    crs_log_format format;
    cereus_log_fn *fn; /* NULL: standard error */
    void *fn_user;
    crs_log_clock_fn *clock; /* NULL: the system's */
    void *clock_user;
} crs_log_options;

/** Thread: setup. Holds nothing that needs releasing. */
void crs_log_init(crs_log *log, const crs_log_options *opt);
/** Lines below @p level are dropped from now on. Thread: any. */
void crs_log_set_level(crs_log *log, cereus_log_level level);

static inline bool crs_log_enabled(const crs_log *log, cereus_log_level level)
{
    return log && (int)level >= atomic_load_explicit(&log->level, memory_order_relaxed);
}

/* -- fields; keys are constants made of letters, digits and underscores -- */

typedef enum crs_field_kind {
    CRS_FIELD_TEXT,
    CRS_FIELD_INT,
    CRS_FIELD_UINT,
    CRS_FIELD_BOOL,
    CRS_FIELD_MS
} crs_field_kind;

typedef struct crs_field {
    const char *key;
    crs_field_kind kind;
    union {
        cereus_slice text; /* TEXT; data NULL: the field is left out */
        int64_t num;       /* INT, BOOL, MS */
        uint64_t unum;     /* UINT */
    };
} crs_field;

#define CRS_SLICE(name, slice) ((crs_field){.key = "" name, .kind = CRS_FIELD_TEXT, .text = (slice)})
#define CRS_STR(name, string)  CRS_SLICE(name, cereus_slice_str(string))
#define CRS_INT(name, value)   ((crs_field){.key = "" name, .kind = CRS_FIELD_INT, .num = (value)})
#define CRS_UINT(name, value)  ((crs_field){.key = "" name, .kind = CRS_FIELD_UINT, .unum = (value)})
#define CRS_BOOL(name, value)  ((crs_field){.key = "" name, .kind = CRS_FIELD_BOOL, .num = (value) ? 1 : 0})
/** A length of time; the key gets "_ms" behind it. */
#define CRS_DUR_MS(name, ms) ((crs_field){.key = "" name, .kind = CRS_FIELD_MS, .num = (ms)})
/** What a cereus_error says, as `error`. */
#define CRS_ERR(err) CRS_STR("error", (err)->msg)

/* -- lines -- */

/** The function behind the macros; @p msg may come from a game here. Thread: any. */
void crs_log_write(crs_log *log, cereus_log_level level, const char *msg, const crs_field *fields, size_t count);

#define crs_log_at(log, level, sentence, ...)                                                                 \
    do {                                                                                                      \
        crs_log *crs_log_to_ = (log);                                                                         \
        if (CRS_UNLIKELY(crs_log_enabled(crs_log_to_, (level)))) {                                            \
            const crs_field crs_log_fields_[] = {__VA_ARGS__};                                                \
            crs_log_write(crs_log_to_, (level), "" sentence, crs_log_fields_, CEREUS_COUNT(crs_log_fields_)); \
        }                                                                                                     \
    } while (0)

#define crs_log_debug(log, ...) crs_log_at(log, CEREUS_LOG_DEBUG, __VA_ARGS__)
#define crs_log_info(log, ...)  crs_log_at(log, CEREUS_LOG_INFO, __VA_ARGS__)
#define crs_log_warn(log, ...)  crs_log_at(log, CEREUS_LOG_WARN, __VA_ARGS__)
#define crs_log_error(log, ...) crs_log_at(log, CEREUS_LOG_ERROR, __VA_ARGS__)

/** How many lines a second one place may write. All zero is ready for use; put it into the struct that the place
 * belongs to, or make it static. */
typedef struct crs_log_limiter {
    uint32_t per_s;                  /* 0: CRS_LOG_LIMIT_PER_S; set before the first use */
    atomic_uint_fast64_t window;     /* second << 24 | lines written in it; relaxed: it guards nothing else */
    atomic_uint_fast64_t suppressed; /* lines left out since the last one written; relaxed, a counter */
} crs_log_limiter;

/** As crs_log_write() while @p limiter allows; the next line that is written carries the number left out before it as
 * `suppressed`. Thread: any. */
void crs_log_write_limited(crs_log *log, cereus_log_level level, crs_log_limiter *limiter, const char *msg,
                           const crs_field *fields, size_t count);

#define crs_log_limited(log, level, limiter, sentence, ...)                                      \
    do {                                                                                         \
        crs_log *crs_log_to_ = (log);                                                            \
        if (CRS_UNLIKELY(crs_log_enabled(crs_log_to_, (level)))) {                               \
            const crs_field crs_log_fields_[] = {__VA_ARGS__};                                   \
            crs_log_write_limited(crs_log_to_, (level), (limiter), "" sentence, crs_log_fields_, \
                                  CEREUS_COUNT(crs_log_fields_));                                \
        }                                                                                        \
    } while (0)

#endif
