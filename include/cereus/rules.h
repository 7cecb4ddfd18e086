/* cereus/rules.h: rules for the fields of messages that clients send, checked before the handler when
 * `pitaya.defaultpipelines.structvalidation.enabled` is on; broken ones are answered in Pitaya's words. They are usually
 * written in the .proto, with the options of cereus/options.proto: the generated registration brings them here.
 *
 * Messages inside of messages are checked too. Raw and JSON handlers have no rules, and messages without any cost one
 * look-up.
 */
#ifndef CEREUS_RULES_H
#define CEREUS_RULES_H

#include <cereus/handler.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, tag in the error's text, what must hold) */
#define CEREUS_RULE_TABLE(X)                                                                   \
    X(OMITEMPTY, "omitempty", "nothing: the field's other rules do not hold for empty values") \
    X(REQUIRED, "required", "it is not 0, empty or false")                                     \
    X(MIN, "min", "length of at least `number`")                                               \
    X(MAX, "max", "length of at most `number`")                                                \
    X(GTE, "gte", "at least `number`")                                                         \
    X(LTE, "lte", "at most `number`")                                                          \
    X(GT, "gt", "more than `number`")                                                          \
    X(LT, "lt", "less than `number`")                                                          \
    X(EMAIL, "email", "the address of a mailbox")                                              \
    X(PATTERN, "pattern", "`pattern` matches")

typedef enum cereus_rule_kind {
#define CEREUS_RULE_ENUM(name, tag, text) CEREUS_RULE_##name,
    CEREUS_RULE_TABLE(CEREUS_RULE_ENUM)
#undef CEREUS_RULE_ENUM
} cereus_rule_kind;

enum {
    CEREUS_RULE_TEXT_MAX = 1024, /* bytes; longer strings match no pattern and are no address */
    /** What all patterns of one message may cost: characters tried times the length of their patterns. Beyond, strings
     * match no pattern: lists of very many would hold the loop up. */
    CEREUS_RULE_STEPS_MAX = 1 << 24,
};

/** One rule of one field. */
typedef struct cereus_rule {
    const char *field; /* as the .proto names it */
    cereus_rule_kind kind;
    double number;       /* for MIN and MAX, in characters, bytes or elements; for GTE, LTE, GT, LT */
    const char *pattern; /* for PATTERN: a regular expression as Go's, without look-around and back-references */
} cereus_rule;

/**
 * Give a type its rules. Those of one field are checked in their order, and the first that is broken is told.
 * @param rules  copied
 * @return CEREUS_OK; CEREUS_E_INVALID: no such field, or a rule that makes no sense for it; CEREUS_E_EXISTS: the type
 *         has other rules already; CEREUS_E_STATE: the app runs already; CEREUS_E_NOMEM
 * Ownership: borrows @p type for as long as the app lives. Thread: setup.
 */
CEREUS_API cereus_status cereus_app_add_rules(cereus_app *app, const struct ProtobufCMessageDescriptor *type,
                                              const cereus_rule *rules, size_t rule_count, cereus_error *err);

#ifdef __cplusplus
}
#endif
#endif
