/* tools/gen_config_reference.c: prints docs/reference/config.md from the table of keys. A test compares the two; after
 * a change of src/config/keys.def run `ninja -C build update_config_reference`. */
#include <stdio.h>

#include "config/config.h"

typedef struct row {
    const char *section; /* NULL: a key */
    crs_config_key key;
} row;

static const row rows[] = {
#define CRS_SECTION(title) {title, CRS_CONFIG_KEYS},
#define CRS_KEY(ID, ...)   {NULL, CRS_KEY_##ID},
#include "config/keys.def"
};

static const char *const aliases[][2] = {
#define CRS_KEY_ALIAS(alias, name) {alias, name},
#include "config/keys.def"
};

static const char *const later[] = {
#define CRS_KEY_LATER(name) name,
#include "config/keys.def"
};

static const char intro[] =
    "<!-- Made from src/config/keys.def by tools/gen_config_reference.c. Change the table, then run\n"
    "     `ninja -C build update_config_reference`. -->\n"
    "\n"
    "# Configuration\n"
    "\n"
    "A value comes from, strongest first: the game's code (`cereus_config_set()`), flags, environment variables, "
    "files,\n"
    "the default. Keys may be written in any case.\n"
    "\n"
    "- **File**: YAML or JSON, given by `--config FILE`; several are allowed, a later one overrides. Nested maps and\n"
    "  dotted keys mean the same. A key without a value is not set. Merge keys (`<<`) are not supported.\n"
    "- **Environment**: the key in upper case with underscores for dots, `CEREUS_LOOPS` for `cereus.loops`. A "
    "variable\n"
    "  that is set to nothing counts as not set.\n"
    "- **Flags**: `--cereus.loops=4` or `--cereus.loops 4`; the first word may be left out, `--loops 4`. The game's "
    "own\n"
    "  keys go through `--set KEY=VALUE`.\n"
    "\n"
    "Keys that start with `pitaya.` are Pitaya's and mean what they mean there; those that start with `cereus.` are "
    "ours.\n"
    "All others are the game's own: the getters of `cereus/config.h` read them, also from the environment if the key "
    "has\n"
    "a dot in it (`game.motd` from `GAME_MOTD`).\n"
    "\n"
    "| type | is written as |\n"
    "|---|---|\n"
    "| duration | `300ms`, `5s`, `1.5s`, `1h30m`; units ns, us, ms, s, m, h. Parts of a millisecond are rounded up |\n"
    "| size | bytes, `65536`, or with a unit, `64KiB`, `1MiB`, `1GiB` |\n"
    "| list | a YAML list, or text with commas |\n"
    "| true or false | also `t`, `f`, `1`, `0` |\n"
    "\n"
    "In a file a duration without unit is nanoseconds for a `pitaya.` key, as in Pitaya, and gives a warning; for "
    "other\n"
    "keys it is an error.\n"
    "\n"
    "A wrong value stops the start with one line that names the key, the value, what is expected and where it stood. "
    "An\n"
    "unknown `pitaya.` or `cereus.` key in a file or variable is a warning with the nearest known name; as a flag it "
    "is an\n"
    "error.\n";

static void print_key(const crs_config_info *info)
{
    char limits[120];
    crs_config_limits(info, limits, sizeof limits);
    printf("| `%s` | %s%s%s | ", info->name, crs_config_type_name(info->type), limits[0] ? ": " : "", limits);
    if (info->fallback[0])
        printf("`%s` | ", info->fallback);
    else
        printf("| ");
    printf("%s%s%s |\n", info->flags & CRS_CONFIG_NO_EFFECT ? "No effect: " : "", info->help,
           info->flags & CRS_CONFIG_ABOVE_ZERO ? "; 0 or less means the default" : "");
}

int main(void)
{
    fputs(intro, stdout);
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        if (rows[i].section)
            printf("\n## %s\n\n| key | takes | default | meaning |\n|---|---|---|---|\n", rows[i].section);
        else
            print_key(crs_config_info_of(rows[i].key));
    }
    printf("\n## Other names\n\n");
    for (size_t i = 0; i < CEREUS_COUNT(aliases); i++)
        printf("- `%s` is `%s`\n", aliases[i][0], aliases[i][1]);
    printf(
        "\n## Known, without effect in this version\n\n"
        "These keys of Pitaya are accepted, so that its files load. One warning at the start names those in use.\n\n");
    for (size_t i = 0; i < CEREUS_COUNT(later); i++)
        printf("- `%s`\n", later[i]);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
