/* cereus/status.h: what a call came to. A status says what kind of thing happened; a cereus_error, where a function
 * takes one, says in one sentence what exactly. A game's own failure travels as CEREUS_E_FAILED plus the code, message
 * and metadata kept in the request's context (cereus/context.h).
 */
#ifndef CEREUS_STATUS_H
#define CEREUS_STATUS_H

#include <cereus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, code that a client sees when a handler returns it, text) */
#define CEREUS_STATUS_TABLE(X)                                                     \
    X(OK, "", "ok")                                                                \
    X(E_FAILED, "PIT-000", "the game's own error, kept in the context")            \
    X(E_AGAIN, "PIT-000", "more input is needed, or it would block")               \
    X(E_NOMEM, "PIT-500", "out of memory")                                         \
    X(E_MALFORMED, "PIT-400", "bytes that break the format")                       \
    X(E_TOO_LONG, "PIT-400", "longer than the limit")                              \
    X(E_RANGE, "PIT-400", "value out of range")                                    \
    X(E_INVALID, "PIT-000", "argument or setting that makes no sense")             \
    X(E_NOT_FOUND, "PIT-404", "not found")                                         \
    X(E_EXISTS, "PIT-000", "exists already")                                       \
    X(E_GONE, "PIT-499", "broken low-level pipe")                                  \
    X(E_FULL, "PIT-500", "a bounded queue is full")                                \
    X(E_TIMEOUT, "PIT-408", "deadline exceeded")                                   \
    X(E_CANCELLED, "PIT-500", "cancelled, the server is stopping")                 \
    X(E_NOT_BOUND, "PIT-000", "you have to bind an UID to the session to do that") \
    X(E_BOUND, "PIT-000", "session is already bound to an uid")                    \
    X(E_STATE, "PIT-000", "not possible in this state")                            \
    X(E_UNSUPPORTED, "PIT-000", "not supported here")                              \
    X(E_IO, "PIT-500", "an operating system call failed")                          \
    X(E_UNAVAILABLE, "PIT-500", "a server or engine cannot be reached")

typedef enum cereus_status {
#define CEREUS_STATUS_ENUM(name, code, text) CEREUS_##name,
    CEREUS_STATUS_TABLE(CEREUS_STATUS_ENUM)
#undef CEREUS_STATUS_ENUM
} cereus_status;

/** What happened, for people: one line without a newline, names the thing and the fix. Fixed size, so that it works out
 * of memory too; longer text is cut. All zero means nothing happened. */
typedef struct cereus_error {
    cereus_status status;
    char msg[500];
} cereus_error;

/** The status as a name, "CEREUS_E_TIMEOUT". Never NULL, also for values out of range. Thread: any. */
CEREUS_API const char *cereus_status_name(cereus_status status);

/** The status as words, "deadline exceeded". Never NULL. Thread: any. */
CEREUS_API const char *cereus_status_text(cereus_status status);

/** The code that a client sees for @p status, "PIT-408". Never NULL. Thread: any. */
CEREUS_API const char *cereus_status_code(cereus_status status);

/** Return from the calling function when @p call did not end with CEREUS_OK. */
#define CEREUS_TRY(call)                           \
    do {                                           \
        cereus_status cereus_try_status_ = (call); \
        if (cereus_try_status_ != CEREUS_OK)       \
            return cereus_try_status_;             \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
