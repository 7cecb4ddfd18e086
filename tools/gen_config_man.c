/* tools/gen_config_man.c: prints the manual page cereus.yaml(5) from the table of keys. */
#include <stdio.h>

#include <cereus/types.h>

#include "config/config.h"

static const struct {
    const char *section; /* NULL: a key */
    crs_config_key key;
} rows[] = {
#define CRS_SECTION(title) {title, CRS_CONFIG_KEYS},
#define CRS_KEY(ID, ...)   {NULL, CRS_KEY_##ID},
#include "config/keys.def"
};

static const char *const aliases[][2] = {
#define CRS_KEY_ALIAS(alias, name) {alias, name},
#include "config/keys.def"
};

/* Text as roff shows it unchanged. */
static void put(const char *text)
{
    for (const char *c = text; *c; c++) {
        if (*c == '\\')
            fputs("\\e", stdout);
        else if (*c == '-')
            fputs("\\-", stdout);
        else if (*c == '\'')
            fputs("\\(aq", stdout);
        else if (*c == '`')
            fputs("\\(ga", stdout);
        else if (*c == '.' && c == text)
            fputs("\\&.", stdout);
        else
            putchar(*c);
    }
}

static const char intro[] =
    ".SH NAME\n"
    "cereus.yaml \\- settings of a Cereus server\n"
    ".SH SYNOPSIS\n"
    ".nf\n"
    "\\fIgame\\fR \\fB\\-\\-config\\fR \\fIFILE\\fR [\\fB\\-\\-\\fIKEY\\fB=\\fIVALUE\\fR]...\n"
    ".fi\n"
    ".SH DESCRIPTION\n"
    "A server takes its settings from, strongest first: the game\\(aqs code, flags, environment variables, files,\n"
    "the defaults. The file is YAML or JSON and may have any name; with several a later one overrides.\n"
    "Nested maps and dotted keys mean the same, and keys may be written in any case.\n"
    "In the environment a key is upper case with underscores for dots,\n"
    ".BR CEREUS_LOOPS ;\n"
    "as a flag it is\n"
    ".B \\-\\-cereus.loops=4\n"
    "or, without its first word,\n"
    ".BR \\-\\-loops=4 .\n"
    "Keys that begin with neither\n"
    ".B cereus\n"
    "nor\n"
    ".B pitaya\n"
    "are the game\\(aqs own; those of\n"
    ".B pitaya\n"
    "mean what they mean there.\n"
    ".PP\n"
    "A duration has a unit (300ms, 5s, 1h30m); a size is bytes or has a unit (64KiB, 1MiB); a list is a YAML list or\n"
    "text with commas.\n"
    ".PP\n"
    ".B cereus config check\n"
    ".I FILE\n"
    "names every mistake in a file with its place.\n"
    ".SH EXAMPLES\n"
    ".nf\n"
    "cereus:\n"
    "  listen: [ws://0.0.0.0:3250, tcp://0.0.0.0:3251]\n"
    "  loops: 4\n"
    "  log.level: warn\n"
    "pitaya.heartbeat.interval: 20s\n"
    "game.motd: welcome\n"
    ".fi\n"
    ".SH KEYS\n";

static void put_key(const crs_config_info *info)
{
    char limits[120];
    crs_config_limits(info, limits, sizeof limits);
    fputs(".TP\n\\fB", stdout);
    put(info->name);
    fputs("\\fR (", stdout);
    put(crs_config_type_name(info->type));
    if (limits[0]) {
        fputs(": ", stdout);
        put(limits);
    }
    if (info->fallback[0]) {
        fputs("; default ", stdout);
        put(info->fallback);
    }
    fputs(info->flags & CRS_CONFIG_NO_EFFECT ? ")\nNo effect: " : ")\n", stdout);
    put(info->help);
    puts(info->flags & CRS_CONFIG_ABOVE_ZERO ? "; 0 or less means the default." : ".");
}

int main(void)
{
    puts(".\\\" Made from src/config/keys.def by tools/gen_config_man.c.\n"
         ".TH cereus.yaml 5 \"\" \"Cereus " CEREUS_VERSION "\" \"Cereus\"\n"
         ".ad l\n"
         ".nh");
    fputs(intro, stdout);
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        if (!rows[i].section) {
            put_key(crs_config_info_of(rows[i].key));
            continue;
        }
        fputs(".SS ", stdout);
        put(rows[i].section);
        putchar('\n');
    }
    puts(".SH OTHER NAMES");
    for (size_t i = 0; i < CEREUS_COUNT(aliases); i++) {
        fputs(i ? ".br\n\\fB" : "\\fB", stdout);
        put(aliases[i][0]);
        fputs("\\fR is \\fB", stdout);
        put(aliases[i][1]);
        puts("\\fR");
    }
    puts(".SH SEE ALSO\n.BR cereus (1),\n.BR cereus (7)");
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
