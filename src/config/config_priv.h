/* config/config_priv.h: what the loaders share. A loader opens a crs_load, stores one key after the other into it, and
 * ends it; which value wins is decided by rank, not by the order of loading. */
#ifndef CRS_CONFIG_CONFIG_PRIV_H
#define CRS_CONFIG_CONFIG_PRIV_H

#include "base/strmap.h"
#include "config/config.h"

#define CRS_CONFIG_KEY_MAX      200 /* bytes of a key */
#define CRS_CONFIG_WARNINGS     64  /* kept; the last one says that there were more */
#define CRS_CONFIG_SHOWN_CAP    80  /* room for what crs_config_shown() writes */
#define CRS_CONFIG_SENTENCE_CAP 600 /* room for what is said of one mistake */

typedef enum crs_rank { CRS_RANK_DEFAULT, CRS_RANK_FILE, CRS_RANK_ENV, CRS_RANK_FLAG, CRS_RANK_CODE } crs_rank;

typedef struct crs_setting {
    crs_rank rank;
    unsigned load; /* which load it is from */
    bool by_alias; /* that load named it by an alias */
    char *text;    /* as written; a list with commas */
    char **items;  /* the text at its commas, or the list; one block with the texts behind the pointers */
    size_t item_count;
    int64_t number; /* BOOL, INT, DURATION, SIZE; TEXT with choices: the index */
    char *source;
} crs_setting;

struct cereus_config {
    crs_setting *settings[CRS_CONFIG_KEYS]; /* never NULL once new() is done */
    crs_strmap others; /* key in lower case -> crs_setting: the game's keys, and Pitaya's that nothing reads yet */
    crs_strmap env;    /* variable -> crs_setting: what may turn out to be a key of the game's */
    unsigned loads;    /* how many were begun */
    char *warnings[CRS_CONFIG_WARNINGS];
    size_t warning_count;
    crs_config_mistake_fn *on_mistake; /* NULL: loading ends at the first mistake */
    void *on_mistake_user;
};

/** A value on its way in. */
typedef struct crs_raw {
    const char *text;  /* NULL: a list */
    bool plain_number; /* a number without quotes in a file */
    const char *const *items;
    size_t item_count;
} crs_raw;

typedef struct crs_load {
    cereus_config *cfg;
    crs_rank rank;
    unsigned id;
    size_t idle_count;    /* keys met that have no effect */
    char idle[320];       /* the first of them, with commas */
    cereus_status failed; /* the last mistake, when somebody listens to them */
} crs_load;

/** "out of memory while loading settings". */
cereus_status crs_config_no_memory(cereus_error *err);

crs_load crs_load_begin(cereus_config *cfg, crs_rank rank);
/** Store one value. @p key in any case; @p source for people. An unknown key of ours is a warning when it comes from a
 * file, an error otherwise. @return CEREUS_OK; CEREUS_E_INVALID, CEREUS_E_NOT_FOUND, CEREUS_E_NOMEM with @p err */
CEREUS_MUST_USE cereus_status crs_load_store(crs_load *load, const char *key, const crs_raw *raw, const char *source,
                                             cereus_error *err);
/** Warn about what had no effect; @p where says where that stood. @return also what a mistake was that somebody
 * listened to: the load as a whole has failed */
CEREUS_MUST_USE cereus_status crs_load_end(crs_load *load, const char *where, cereus_error *err);

/** A mistake at @p where ("game.yaml:3:5", "flag --loops"): the sentence goes to whoever listens and, with where it
 * was, into @p err. @return @p status */
cereus_status crs_load_wrong(crs_load *load, cereus_status status, const char *where, cereus_error *err,
                             const char *fmt, ...) CEREUS_PRINTF(5, 6);
/** The same for what is wrong with a file as a whole: @p where stands in front. */
cereus_status crs_load_wrong_file(crs_load *load, cereus_status status, const char *where, cereus_error *err,
                                  const char *fmt, ...) CEREUS_PRINTF(5, 6);
/** After a mistake inside of a file: CEREUS_OK when somebody listens, so that the next ones are found too. Not for what
 * would only go on failing. */
CEREUS_MUST_USE cereus_status crs_load_go_on(crs_load *load, cereus_status status);
/** Remember a sentence for the log. */
CEREUS_MUST_USE cereus_status crs_load_warn(crs_load *load, const char *where, cereus_error *err, const char *fmt, ...)
    CEREUS_PRINTF(4, 5);
/** @p text as it may stand in a sentence: one line, cut. Returns @p out. */
const char *crs_config_shown(const char *text, char out[CRS_CONFIG_SHOWN_CAP]);
/** Make a setting of @p raw that no key checks. CEREUS_E_NOMEM. Ownership: gives *ret, end it with crs_setting_free().
 */
CEREUS_MUST_USE cereus_status crs_setting_new(const crs_raw *raw, const char *source, crs_rank rank, crs_setting **ret);
crs_setting *crs_setting_free(crs_setting *s);

/* -- names, in lower case and with dots -- */

typedef enum crs_name_kind {
    CRS_NAME_UNKNOWN,
    CRS_NAME_SETTING,
    CRS_NAME_ALIAS, /* another name of a setting */
    CRS_NAME_LATER, /* nothing reads it yet */
} crs_name_kind;

/** Are there keys that begin with @p key and a dot? It may be a key, too. */
bool crs_config_is_prefix(const char *key);
/** What @p key is. @p ret_setting (may be NULL) is set for SETTING and ALIAS. */
crs_name_kind crs_config_find(const char *key, crs_config_key *ret_setting);
/** Does @p key start with our own words, pitaya or cereus? */
bool crs_config_is_ours(const char *key);
/** Is the first of several words one or two letters away from them? */
bool crs_config_is_nearly_ours(const char *key);
/** The key that @p key, which may lack its first word, was perhaps meant to be. NULL: none is near. */
const char *crs_config_nearest(const char *key);
/** @p name in lower case. False: longer than CRS_CONFIG_KEY_MAX. */
bool crs_config_lower(const char *name, char out[CRS_CONFIG_KEY_MAX + 1]);
/** What @p key is called in the environment. It is not longer than CRS_CONFIG_KEY_MAX. */
void crs_config_env_name(const char *key, char out[CRS_CONFIG_KEY_MAX + 1]);

#endif
