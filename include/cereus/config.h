/* cereus/config.h: settings. A key is dotted words in any case, `cereus.loops`; docs/reference/config.md lists them. A
 * value comes from, strongest first: the game's code, flags, the environment, a file, the default; in which order they
 * are loaded does not matter. In the environment the key is upper-cased with underscores for dots: CEREUS_LOOPS.
 *
 * Keys under `pitaya.` and `cereus.` are ours; every other one is the game's own and is kept for the getters below.
 * Everything that changes a cereus_config is `Thread: setup`; the getters are `Thread: any` once nothing changes it.
 */
#ifndef CEREUS_CONFIG_H
#define CEREUS_CONFIG_H

#include <cereus/status.h>
#include <cereus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Settings that all have their defaults. NULL: out of memory. Ownership: gives, end it with cereus_config_free(). An
 * app has its own, see cereus_app_config(). */
CEREUS_API cereus_config *cereus_config_new(void);
/** NULL is fine. Returns NULL. */
CEREUS_API cereus_config *cereus_config_free(cereus_config *cfg);

/* -- loading: after a failure the settings may be half loaded and are good only for cereus_config_free() -- */

/**
 * Load a YAML (or JSON) file: nested maps, dotted keys, or both mixed. A later file overrides an earlier one.
 * @return CEREUS_OK; CEREUS_E_IO: it cannot be read; CEREUS_E_TOO_LONG: larger than 256 KiB, or too many
 *         values; CEREUS_E_MALFORMED: not YAML, or nested too deep; CEREUS_E_INVALID: a value that its key does not take; CEREUS_E_NOMEM. @p err names
 *         file, line and column.
 */
CEREUS_API cereus_status cereus_config_load_file(cereus_config *cfg, const char *path, cereus_error *err);

/**
 * Load environment variables. One that is set to nothing counts as not set.
 * @param env  "NAME=VALUE" strings with a NULL at the end; NULL: the process's own
 * @return CEREUS_OK; CEREUS_E_INVALID: a value that its key does not take, @p err names it; CEREUS_E_NOMEM
 */
CEREUS_API cereus_status cereus_config_load_env(cereus_config *cfg, const char *const *env, cereus_error *err);

/** What the flags ask the program to do. */
typedef enum cereus_config_action {
    CEREUS_CONFIG_RUN,
    CEREUS_CONFIG_HELP,
    CEREUS_CONFIG_VERSION,
} cereus_config_action;

/**
 * Load flags: --config FILE (loaded at once), --set KEY=VALUE, --KEY=VALUE, --KEY VALUE, --help, --version. KEY may
 * leave out its first word, `--loops 4`. The game's own keys go through --set.
 * @param argv        as main() gets it: argv[0] is not looked at
 * @param ret_action  set on CEREUS_OK; flags behind --help and --version are not looked at
 * @return CEREUS_OK; CEREUS_E_NOT_FOUND: an unknown flag, @p err names the nearest; CEREUS_E_INVALID: a flag without
 * its value, or a value that its key does not take; for --config also what cereus_config_load_file() returns
 */
CEREUS_API cereus_status cereus_config_parse_args(cereus_config *cfg, int argc, char **argv,
                                                  cereus_config_action *ret_action, cereus_error *err);

/**
 * Set one value from code, above everything that was or will be loaded.
 * @return CEREUS_OK; CEREUS_E_NOT_FOUND: an unknown key of ours, @p err names the nearest; CEREUS_E_INVALID: a value
 * that the key does not take; CEREUS_E_NOMEM. On failure nothing changed.
 */
CEREUS_API cereus_status cereus_config_set(cereus_config *cfg, const char *key, const char *value, cereus_error *err);

/* -- getters, for our keys and the game's. A game's key with a dot in it may also come from the environment,
 *    `game.motd` as GAME_MOTD. What they return lives until @p cfg is changed or freed. -- */

/** The value as it was written, a list with commas; NULL: not set. */
CEREUS_API const char *cereus_config_get_text(const cereus_config *cfg, const char *key);
/** The items of a YAML list or of comma-separated text, @p ret_count of them; NULL: not set. */
CEREUS_API const char *const *cereus_config_get_list(const cereus_config *cfg, const char *key, size_t *ret_count);

/** These set their output to @p fallback when the key is not set. CEREUS_E_INVALID: it is, to something that is not
 * such a value, and @p err says where it came from; then the output is untouched. */
CEREUS_API cereus_status cereus_config_get_bool(const cereus_config *cfg, const char *key, bool fallback,
                                                bool *ret_value, cereus_error *err);
CEREUS_API cereus_status cereus_config_get_int(const cereus_config *cfg, const char *key, int64_t fallback,
                                               int64_t *ret_value, cereus_error *err);
/** A length of time with its unit, 300ms, 1h30m; parts of a millisecond are rounded up. */
CEREUS_API cereus_status cereus_config_get_duration_ms(const cereus_config *cfg, const char *key, int64_t fallback_ms,
                                                       int64_t *ret_ms, cereus_error *err);
/** Bytes, 65536 or 64KiB. */
CEREUS_API cereus_status cereus_config_get_size(const cereus_config *cfg, const char *key, uint64_t fallback,
                                                uint64_t *ret_bytes, cereus_error *err);

#ifdef __cplusplus
}
#endif
#endif
