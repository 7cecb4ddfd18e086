/* config/config.h: settings for the rest of the library. Names, types, limits and defaults of the keys stand in
 * config/keys.def and nowhere else; code reads a setting by its enum, which cannot miss:
 *
 *     size_t most = crs_config_size(cfg, CRS_KEY_OUTBOX_BYTES);
 *
 * A value that is kept has passed its key's checks. Thread: any, once nothing changes the settings any more. */
#ifndef CRS_CONFIG_CONFIG_H
#define CRS_CONFIG_CONFIG_H

#include <cereus/config.h>

#include "base/buf.h"

typedef enum crs_config_key {
#define CRS_KEY(ID, ...) CRS_KEY_##ID,
#include "config/keys.def"
    CRS_CONFIG_KEYS, /* how many there are */
} crs_config_key;

typedef enum crs_config_type {
    CRS_CONFIG_BOOL,
    CRS_CONFIG_INT,
    CRS_CONFIG_DURATION, /* kept in milliseconds */
    CRS_CONFIG_SIZE,     /* kept in bytes */
    CRS_CONFIG_TEXT,
    CRS_CONFIG_LIST,
} crs_config_type;

enum {
    CRS_CONFIG_NO_EFFECT = 1,  /* understood for the sake of Pitaya's files; the help says what to use */
    CRS_CONFIG_ABOVE_ZERO = 2, /* 0 and less mean the default, as in Pitaya */
    CRS_CONFIG_SECRET = 4,     /* a text that is never shown */
};

/** A row of keys.def. */
typedef struct crs_config_info {
    const char *name;
    crs_config_type type;
    const char *fallback; /* the default as text */
    int64_t min, max;
    const char *choices; /* "a|b"; "|*" at the end: or a name of the game's own; NULL: any text */
    unsigned flags;
    const char *help;
} crs_config_info;

const crs_config_info *crs_config_info_of(crs_config_key key);
/** The name of a type for people, "duration". */
const char *crs_config_type_name(crs_config_type type);
/** What a key takes, "1ms to 24h" or "disconnect, drop"; "" when anything goes. Returns @p out. */
const char *crs_config_limits(const crs_config_info *info, char *out, size_t cap);

/* -- values; each asserts that the key has that type -- */

bool crs_config_bool(const cereus_config *cfg, crs_config_key key);
int64_t crs_config_int(const cereus_config *cfg, crs_config_key key);
/** A duration. */
int64_t crs_config_ms(const cereus_config *cfg, crs_config_key key);
size_t crs_config_size(const cereus_config *cfg, crs_config_key key);
/** Which of its choices a text is, 0 for the first in keys.def. */
unsigned crs_config_choice(const cereus_config *cfg, crs_config_key key);
const char *const *crs_config_list(const cereus_config *cfg, crs_config_key key, size_t *ret_count);
/** Any type, as it was written. */
const char *crs_config_text(const cereus_config *cfg, crs_config_key key);
/** Where the value is from: "default", "game.yaml:3:5", "environment CEREUS_LOOPS", "flag --loops", "code". */
const char *crs_config_source(const cereus_config *cfg, crs_config_key key);
/** Has anybody set it? */
bool crs_config_is_set(const cereus_config *cfg, crs_config_key key);

/** What people should hear about, one sentence each, in the order found: unknown keys, settings without effect. */
size_t crs_config_warning_count(const cereus_config *cfg);
const char *crs_config_warning(const cereus_config *cfg, size_t index);

/** A mistake in what is loaded. */
typedef struct crs_config_mistake {
    bool error;        /* else a warning */
    const char *where; /* "game.yaml:3:5", "environment CEREUS_LOOPS", "flag --loops" */
    const char *text;  /* one sentence, what to change in it */
} crs_config_mistake;

typedef void crs_config_mistake_fn(const crs_config_mistake *mistake, void *user);
/** Tell @p fn of every mistake of the loads from now on, and go on after one in a file; that load still fails. For a
 * check: @p fn borrows the texts. Thread: setup. */
void crs_config_on_mistake(cereus_config *cfg, crs_config_mistake_fn *fn, void *user);

typedef enum crs_config_format { CRS_CONFIG_TABLE, CRS_CONFIG_YAML, CRS_CONFIG_JSON } crs_config_format;
/** Append every setting with its value and where it came from; the game's own from files and flags behind ours. Secrets
 * are masked. @return CEREUS_OK; CEREUS_E_TOO_LONG, CEREUS_E_NOMEM: from @p out */
CEREUS_MUST_USE cereus_status crs_config_print(const cereus_config *cfg, crs_config_format format, crs_bytes *out);

/** Append the text of --help. @return CEREUS_OK; CEREUS_E_TOO_LONG, CEREUS_E_NOMEM: from @p out */
CEREUS_MUST_USE cereus_status crs_config_help(const char *program, crs_bytes *out);

#endif
