/* dispatch/rules.h: field rules: what makes sense, what a type has, whether a message keeps them. Filled before the
 * start, constant after it. */
#ifndef CRS_DISPATCH_RULES_H
#define CRS_DISPATCH_RULES_H

#include <cereus/rules.h>

typedef struct crs_rules crs_rules;

/** What a field holds, as far as rules depend on it. */
typedef enum crs_rule_target {
    CRS_RULE_INT32,
    CRS_RULE_INT64,
    CRS_RULE_UINT32,
    CRS_RULE_UINT64,
    CRS_RULE_FLOAT, /* and double */
    CRS_RULE_BOOL,
    CRS_RULE_ENUM,
    CRS_RULE_STRING,
    CRS_RULE_BYTES,
    CRS_RULE_MESSAGE,
    CRS_RULE_LIST, /* repeated, and maps */
} crs_rule_target;

/**
 * Do the rules of one field make sense? The generator asks this too.
 * @return CEREUS_OK; CEREUS_E_INVALID: @p err says which not, and why; CEREUS_E_NOMEM
 */
CEREUS_MUST_USE cereus_status crs_rules_verify(crs_rule_target target, const cereus_rule *rules, size_t count,
                                               cereus_error *err);

crs_rules *crs_rules_new(void);
crs_rules *crs_rules_free(crs_rules *r);
/** As cereus_app_add_rules(). */
CEREUS_MUST_USE cereus_status crs_rules_add(crs_rules *r, const struct ProtobufCMessageDescriptor *type,
                                            const cereus_rule *rules, size_t count, cereus_error *err);
/** Before the start, for each type that handlers take: find its rules and those of the messages inside. */
CEREUS_MUST_USE cereus_status crs_rules_prepare(crs_rules *r, const struct ProtobufCMessageDescriptor *type);

/** The before-function. @p user is the crs_rules. CEREUS_E_FAILED: the ctx has Pitaya's error. */
cereus_status crs_rules_before(cereus_ctx *ctx, cereus_value *in, void *user);

/** Does @p text look like a mailbox, as Pitaya's validator has it: dotted words or a quoted one, @, a domain with a
 * dot? Letters outside ASCII count as letters. */
bool crs_rules_is_email(cereus_slice text);

/** The name that Go gives what the .proto calls @p name ("tries_left": "TriesLeft", "Room.user": "RoomUser"), cut to
 * @p cap - 1 bytes. */
void crs_rules_go_name(const char *name, char *out, size_t cap);

#endif
