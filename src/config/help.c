/* config/help.c: the text of --help, from the table. */
#include "config/config.h"

/* CRS_CONFIG_KEYS stands for a section's title; the keys under it follow. */
static const struct {
    const char *title;
    crs_config_key key;
} rows[] = {
#define CRS_SECTION(title) {title, CRS_CONFIG_KEYS},
#define CRS_KEY(ID, ...)   {NULL, CRS_KEY_##ID},
#include "config/keys.def"
};

static cereus_status append_key(crs_bytes *out, const crs_config_info *info)
{
    char limits[120];
    crs_config_limits(info, limits, sizeof limits);
    CEREUS_TRY(crs_bytes_printf(out, "  --%s=%s\n      %s", info->name, crs_config_type_name(info->type), info->help));
    if (limits[0])
        CEREUS_TRY(crs_bytes_printf(out, "; %s", limits));
    if (info->flags & CRS_CONFIG_NO_EFFECT)
        return crs_bytes_append_str(out, " (no effect)\n");
    return crs_bytes_printf(out, " (default %s)\n", info->fallback[0] ? info->fallback : "empty");
}

cereus_status crs_config_help(const char *program, crs_bytes *out)
{
    CEREUS_TRY(
        crs_bytes_printf(out,
                         "Usage: %s [--config FILE] [--KEY=VALUE]...\n"
                         "\n"
                         "  --config FILE    load settings from a YAML or JSON file; a later one overrides\n"
                         "  --set KEY=VALUE  set any key, also one of the game's own\n"
                         "  --help           show this text\n"
                         "  --version        show the version\n"
                         "\n"
                         "Flags override the environment (CEREUS_LOOPS for cereus.loops), which overrides files.\n"
                         "A flag may leave out its first word: --loops=4. Times have a unit: 300ms, 5s, 1h30m.\n",
                         program));
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        if (rows[i].title)
            CEREUS_TRY(crs_bytes_printf(out, "\n%s\n", rows[i].title));
        else
            CEREUS_TRY(append_key(out, crs_config_info_of(rows[i].key)));
    }
    return CEREUS_OK;
}
