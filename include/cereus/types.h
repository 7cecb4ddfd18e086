/* cereus/types.h: the few shapes that everything else is made of: borrowed bytes, shared bytes, ids, values. */
#ifndef CEREUS_TYPES_H
#define CEREUS_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define CEREUS_API               __attribute__((visibility("default")))
#define CEREUS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define CEREUS_MUST_USE          __attribute__((warn_unused_result))
#else
#define CEREUS_API
#define CEREUS_PRINTF(fmt, args)
#define CEREUS_MUST_USE
#endif

#define CEREUS_VERSION "0.1.0"

/** Elements of an array whose size the compiler knows. */
#define CEREUS_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#ifdef __cplusplus
extern "C" {
#endif

/* Objects of the framework, all opaque. */
typedef struct cereus_app cereus_app;         /* cereus/app.h */
typedef struct cereus_config cereus_config;   /* cereus/config.h */
typedef struct cereus_ctx cereus_ctx;         /* cereus/context.h */
typedef struct cereus_session cereus_session; /* cereus/session.h */

/** Messages of games are protobuf-c structs and values of jansson; these names are those libraries' own. */
struct ProtobufCMessage;
struct ProtobufCMessageDescriptor;
struct json_t;

/** Borrowed bytes: a view of memory that somebody else owns, good until the call returns unless a longer time is named.
 * data NULL means "nothing", which is not the same as empty: a raw reply may be empty but must not be nothing. */
typedef struct cereus_slice {
    const uint8_t *data;
    size_t len;
} cereus_slice;

static inline cereus_slice cereus_slice_of(const void *data, size_t len)
{
    cereus_slice s;
    s.data = (const uint8_t *)data;
    s.len = len;
    return s;
}

/** The bytes of a C string without its NUL; nothing for NULL. */
static inline cereus_slice cereus_slice_str(const char *text)
{
    return cereus_slice_of(text, text ? strlen(text) : 0);
}

/** Names a session from any thread for ever; 0 is no session. Never reused within a process: an id that has gone stale
 * makes calls answer CEREUS_E_GONE. */
typedef uint64_t cereus_session_id;

/** What a body is made of. */
typedef enum cereus_shape {
    CEREUS_NOTHING, /* no argument; as a result: none (a notify), or "reply must not be null" (a request) */
    CEREUS_RAW,     /* bytes, untouched by the serializer */
    CEREUS_MESSAGE, /* a protobuf-c struct, encoded by the app's serializer */
    CEREUS_JSON,    /* a jansson value, JSON text on the wire whatever the serializer */
} cereus_shape;

/** A body on its way in or out. Exactly the member that `shape` names is set. */
typedef struct cereus_value {
    cereus_shape shape;
    cereus_slice raw;                 /* CEREUS_RAW; data is never NULL, len may be 0 */
    struct ProtobufCMessage *message; /* CEREUS_MESSAGE */
    struct json_t *json;              /* CEREUS_JSON */
} cereus_value;

/** A value of bytes; borrows them. */
static inline cereus_value cereus_raw(cereus_slice bytes)
{
    cereus_value v;
    memset(&v, 0, sizeof v);
    v.shape = CEREUS_RAW;
    v.raw = bytes.data ? bytes : cereus_slice_of("", 0);
    return v;
}

/** A value of a C string's bytes; borrows them. */
static inline cereus_value cereus_text(const char *text)
{
    return cereus_raw(cereus_slice_str(text));
}

/** A value of a protobuf-c message: pass `&msg.base`. Borrows it. */
static inline cereus_value cereus_message(const struct ProtobufCMessage *message)
{
    cereus_value v;
    memset(&v, 0, sizeof v);
    v.shape = CEREUS_MESSAGE;
    v.message = (struct ProtobufCMessage *)message;
    return v;
}

/** A value of a jansson tree. Borrows it. */
static inline cereus_value cereus_json(struct json_t *json)
{
    cereus_value v;
    memset(&v, 0, sizeof v);
    v.shape = CEREUS_JSON;
    v.json = json;
    return v;
}

#ifdef __cplusplus
}
#endif
#endif
