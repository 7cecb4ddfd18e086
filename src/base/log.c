/* base/log.c: lines are built in a block on the stack and leave by one call. Nothing is allocated and no lock is held,
 * so any thread may log anywhere; what cannot be written is counted, never waited for. */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

#define SUFFIX_CAP   16 /* room for the tail of every line: cut=true, a brace, newline, NUL */
#define WINDOW_BITS  24 /* of the limiter's word: lines in the window; the second stands above them */
#define WINDOW_COUNT ((UINT64_C(1) << WINDOW_BITS) - 1)

static const char *const level_names[] = {"debug", "info", "warn", "error"};

const char *cereus_log_level_name(cereus_log_level level)
{
    int index = (int)level - (int)CEREUS_LOG_DEBUG;
    return index >= 0 && (size_t)index < CEREUS_COUNT(level_names) ? level_names[index] : "unknown";
}

cereus_status cereus_log_level_parse(const char *text, cereus_log_level *ret_level)
{
    CRS_ASSERT(text && ret_level);
    for (size_t i = 0; i < CEREUS_COUNT(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret_level = (cereus_log_level)((int)i + (int)CEREUS_LOG_DEBUG);
            return CEREUS_OK;
        }
    }
    return CEREUS_E_INVALID;
}

static int64_t system_clock(clockid_t clock, void *user)
{
    return (int64_t)crs_clock_ms(clock);
}

void crs_log_init(crs_log *log, const crs_log_options *opt)
{
    *log = (crs_log){
        .format = opt->format,
        .fn = opt->fn,
        .fn_user = opt->fn_user,
        .clock = opt->clock ? opt->clock : system_clock,
        .clock_user = opt->clock_user,
    };
    atomic_init(&log->level, (int)opt->level);
    atomic_init(&log->lost, 0);
}

void crs_log_set_level(crs_log *log, cereus_log_level level)
{
    atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
}

/* -- building a line -- */

typedef struct line {
    char data[CRS_LOG_LINE_MAX + 1];
    size_t len;
    bool json;
    bool full; /* something did not fit; nothing is added from then on */
} line;

static void put(line *l, const void *data, size_t len)
{
    if (l->full || len > CRS_LOG_LINE_MAX - SUFFIX_CAP - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->data + l->len, data, len);
    l->len += len;
}

static void put_str(line *l, const char *text)
{
    put(l, text, strlen(text));
}

/* Characters that would end the line, drive a terminal or turn the reading direction, as code points above ASCII. */
static bool is_unsafe(uint32_t cp)
{
    return cp < 0xa0 || cp == 0x61c || (cp >= 0x200e && cp <= 0x200f) || (cp >= 0x2028 && cp <= 0x202e) ||
           (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff;
}

/* The front of @p s as it may stand in quotes, both in JSON and in logfmt. Returns the bytes of @p s it stands for. */
static size_t escape(cereus_slice s, char unit[8], size_t *ret_len)
{
    uint8_t c = s.data[0];
    size_t used = crs_utf8_char(s);
    uint32_t cp = c;
    if (used == 0) { /* not UTF-8: the byte in hex, its backslash doubled so that JSON stays JSON */
        *ret_len = (size_t)snprintf(unit, 8, "\\\\x%02x", c);
        return 1;
    }
    if (used == 1) {
        const char *shorthand = c == '"' ? "\\\"" : c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c == '\r' ? "\\r" : NULL;
        if (c == '\t')
            shorthand = "\\t";
        if (shorthand) {
            memcpy(unit, shorthand, 2);
            *ret_len = 2;
            return 1;
        }
    } else if (used == 2) {
        cp = (uint32_t)(c & 0x1f) << 6 | (s.data[1] & 0x3f);
    } else if (used == 3) {
        cp = (uint32_t)(c & 0x0f) << 12 | (uint32_t)(s.data[1] & 0x3f) << 6 | (s.data[2] & 0x3f);
    }
    bool unsafe = used == 1 ? c < 0x20 || c == 0x7f : used < 4 && is_unsafe(cp);
    if (unsafe) {
        *ret_len = (size_t)snprintf(unit, 8, "\\u%04x", (unsigned)(cp & 0xffff));
    } else {
        memcpy(unit, s.data, used);
        *ret_len = used;
    }
    return used;
}

/* In logfmt a value stands bare when nothing in it needs an escape or would end it. */
static bool is_bare(cereus_slice s)
{
    if (s.len == 0)
        return false;
    while (s.len) {
        char unit[8];
        size_t len;
        uint8_t c = s.data[0];
        size_t used = escape(s, unit, &len);
        if (c == ' ' || c == '=' || len != used || memcmp(unit, s.data, used) != 0)
            return false;
        s.data += used;
        s.len -= used;
    }
    return true;
}

/* @p text, at most @p max bytes of it once escaped; what is longer ends in "...". Cuts between characters. */
static void put_text(line *l, cereus_slice text, size_t max)
{
    static const char dots[] = "...";
    /* every byte makes one or more, so the overflow is seen before the last, perhaps halved, character is */
    text.len = CRS_MIN(text.len, max + 4);
    bool quoted = l->json || !is_bare(text);
    if (quoted)
        put_str(l, "\"");
    size_t start = l->len, cut_at = l->len;
    while (text.len && !l->full) {
        char unit[8];
        size_t len;
        size_t used = escape(text, unit, &len);
        if (l->len - start + len > max) {
            l->len = cut_at;
            put_str(l, dots);
            break;
        }
        put(l, unit, len);
        if (l->len - start <= max - strlen(dots))
            cut_at = l->len;
        text.data += used;
        text.len -= used;
    }
    if (quoted)
        put_str(l, "\"");
}

static void put_key(line *l, const char *key, const char *suffix)
{
    if (l->json) {
        put_str(l, l->len == 1 ? "\"" : ",\"");
        put_str(l, key);
        put_str(l, suffix);
        put_str(l, "\":");
    } else {
        if (l->len)
            put_str(l, " ");
        put_str(l, key);
        put_str(l, suffix);
        put_str(l, "=");
    }
}

static void put_field(line *l, const crs_field *f)
{
    char number[24];
    switch (f->kind) {
    case CRS_FIELD_TEXT:
        if (!f->text.data)
            return;
        put_key(l, f->key, "");
        put_text(l, f->text, CRS_LOG_VALUE_MAX);
        return;
    case CRS_FIELD_BOOL:
        put_key(l, f->key, "");
        put_str(l, f->num ? "true" : "false");
        return;
    case CRS_FIELD_UINT:
        snprintf(number, sizeof number, "%" PRIu64, f->unum);
        break;
    case CRS_FIELD_INT:
    case CRS_FIELD_MS:
        snprintf(number, sizeof number, "%" PRId64, f->num);
        break;
    }
    put_key(l, f->key, f->kind == CRS_FIELD_MS ? "_ms" : "");
    put_str(l, number);
}

static void put_time(line *l, int64_t unix_ms)
{
    time_t s = (time_t)(unix_ms / 1000);
    struct tm tm;
    char text[40] = "";
    char full[48];
    if (gmtime_r(&s, &tm))
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    int len = snprintf(full, sizeof full, "%s.%03dZ", text, (int)(unix_ms % 1000));
    put_key(l, "time", "");
    put_text(l, cereus_slice_of(full, (size_t)len), sizeof full);
}

/* One write for the line, so that lines of several threads and processes do not mix (a pipe takes up to 4096 bytes
 * whole). A full non-blocking pipe, or one that nobody reads, loses the line: a log must not stop a game. */
static void write_stderr(crs_log *log, const char *data, size_t len)
{
    ssize_t n;
    do
        n = write(STDERR_FILENO, data, len);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)len)
        atomic_fetch_add_explicit(&log->lost, 1, memory_order_relaxed);
}

static void emit(crs_log *log, cereus_log_level level, uint64_t suppressed, const char *msg, const crs_field *fields,
                 size_t count)
{
    line l;
    l.len = 0;
    l.json = log->format == CRS_LOG_JSON;
    l.full = false;
    int saved_errno = errno; /* callers log what failed and then still look at errno */
    if (l.json)
        put_str(&l, "{");
    put_time(&l, log->clock(CLOCK_REALTIME, log->clock_user));
    put_key(&l, "level", "");
    put_text(&l, cereus_slice_str(cereus_log_level_name(level)), CRS_LOG_VALUE_MAX);
    put_key(&l, "msg", "");
    put_text(&l, cereus_slice_str(msg), CRS_LOG_MSG_MAX);
    if (suppressed)
        put_field(&l, &CRS_UINT("suppressed", suppressed));

    for (size_t i = 0; i < count && !l.full; i++) {
        size_t whole = l.len;
        put_field(&l, &fields[i]);
        if (l.full)
            l.len = whole; /* a field stands there whole or not at all */
    }

    const char *tail = l.full ? (l.json ? ",\"cut\":true}" : " cut=true") : l.json ? "}" : "";
    memcpy(l.data + l.len, tail, strlen(tail) + 1);
    l.len += strlen(tail);
    if (log->fn) {
        log->fn(level, l.data, l.len, log->fn_user);
    } else {
        l.data[l.len++] = '\n';
        write_stderr(log, l.data, l.len);
    }
    errno = saved_errno;
}

void crs_log_write(crs_log *log, cereus_log_level level, const char *msg, const crs_field *fields, size_t count)
{
    if (crs_log_enabled(log, level))
        emit(log, level, 0, msg, fields, count);
}

/* Counts one more line into the second @p now_s; false when it is one too many. A thread whose clock reading is older
 * than the window counts into the newer one. */
static bool take_place(crs_log_limiter *limiter, uint64_t now_s)
{
    uint64_t most = CRS_MIN(limiter->per_s ? limiter->per_s : CRS_LOG_LIMIT_PER_S, WINDOW_COUNT);
    uint_fast64_t was = atomic_load_explicit(&limiter->window, memory_order_relaxed);
    uint_fast64_t now;
    do {
        bool newer = now_s > was >> WINDOW_BITS;
        if (!newer && (was & WINDOW_COUNT) >= most)
            return false;
        now = newer ? now_s << WINDOW_BITS | 1 : was + 1;
    } while (!atomic_compare_exchange_weak_explicit(&limiter->window, &was, now, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

void crs_log_write_limited(crs_log *log, cereus_log_level level, crs_log_limiter *limiter, const char *msg,
                           const crs_field *fields, size_t count)
{
    if (!crs_log_enabled(log, level))
        return;
    uint64_t now_s = (uint64_t)log->clock(CLOCK_MONOTONIC, log->clock_user) / 1000;
    if (!take_place(limiter, now_s)) {
        atomic_fetch_add_explicit(&limiter->suppressed, 1, memory_order_relaxed);
        return;
    }
    uint64_t suppressed = atomic_exchange_explicit(&limiter->suppressed, 0, memory_order_relaxed);
    emit(log, level, suppressed, msg, fields, count);
}
