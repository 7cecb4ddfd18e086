/* tools/cereus/config.c: `cereus config`: what is wrong with a file of settings, and what the settings are. The library
 * loads and checks; this walks through the command line and counts. */
#include <stdio.h>
#include <string.h>

#include <cereus/config.h>

#include "commands.h"
#include "config/config.h"
#include "transport/tcp.h"
#include "transport/tls.h"

enum { MISTAKES_SHOWN = 200, PRINTED_MAX = 16 * 1024 * 1024 };

const char crs_usage_config[] =
    "usage: cereus config check [--strict] FILE...    say everything that is wrong with settings in files\n"
    "       cereus config print [--yaml|--json] [FILE...] [--KEY=VALUE]...\n"
    "                                                 every setting, its value, and where that is from\n\n"
    "`check` looks at the files alone, a later one overriding an earlier one as with a server's --config. One\n"
    "line a mistake: FILE:LINE:COLUMN, `error:` or `warning:`, what to change. The exit code is 0 when a server\n"
    "would take the files, 1 when not; with --strict also for warnings.\n\n"
    "`print` takes what a server would: files, then the environment, then flags such as --set KEY=VALUE. What\n"
    "--yaml writes can be loaded again. Passwords are not shown.\n";

static int usage(FILE *out)
{
    fputs(crs_usage_config, out);
    return out == stdout ? 0 : 2;
}

static int bad_usage(const char *arg)
{
    fprintf(stderr, "cereus config: %s is not understood, see `cereus config --help`\n", arg);
    return 2;
}

/* ---- check ---- */

static const char *const schemes[] = {"tcp://", "tls://", "ws://", "wss://"};

typedef struct tally {
    size_t errors, warnings;
} tally;

static void show_mistake(const crs_config_mistake *m, void *user)
{
    tally *t = user;
    if (t->errors + t->warnings == MISTAKES_SHOWN)
        puts("... and more");
    if (m->error)
        t->errors++;
    else
        t->warnings++;
    if (t->errors + t->warnings <= MISTAKES_SHOWN)
        printf("%s: %s: %s\n", m->where, m->error ? "error" : "warning", m->text);
}

/* What a key takes is known to the settings, what a listener's address looks like only to those who listen. */
static void check_listeners(const cereus_config *cfg, tally *t)
{
    size_t count;
    const char *const *urls = crs_config_list(cfg, CRS_KEY_LISTEN, &count);
    const char *where = crs_config_source(cfg, CRS_KEY_LISTEN);
    for (size_t i = 0; i < count; i++) {
        crs_endpoint endpoint;
        cereus_error err;
        if (crs_endpoint_parse(urls[i], &endpoint, &err) == CEREUS_OK)
            continue;
        bool known = false;
        for (size_t s = 0; s < CEREUS_COUNT(schemes); s++)
            known = known || strncmp(urls[i], schemes[s], strlen(schemes[s])) == 0;
        if (!known && strstr(urls[i], "://"))
            crs_fail_in(&err, err.status, "unless the game has an acceptor for it");
        show_mistake(&(crs_config_mistake){.error = known || !strstr(urls[i], "://"), .where = where, .text = err.msg},
                     t);
    }
}

/* The files may be those of another machine, so what is wrong with them is a warning here. */
static void check_certificate(const cereus_config *cfg, tally *t)
{
    static const crs_config_key keys[] = {CRS_KEY_TLS_CERT, CRS_KEY_TLS_KEY};
    const char *files[] = {crs_config_text(cfg, keys[0]), crs_config_text(cfg, keys[1])};
    crs_tls *tls = NULL;
    cereus_error err = {0};
    if (!*files[0] && !*files[1])
        return;
    for (size_t i = 0; i < CEREUS_COUNT(files); i++) {
        if (*files[i])
            continue;
        snprintf(err.msg, sizeof err.msg, "%s: is not set, and %s does nothing without it",
                 crs_config_info_of(keys[i])->name, crs_config_info_of(keys[1 - i])->name);
        show_mistake(&(crs_config_mistake){.where = crs_config_source(cfg, keys[1 - i]), .text = err.msg}, t);
        return;
    }
    if (crs_tls_new(files[0], files[1], &tls, &err) != CEREUS_OK)
        show_mistake(&(crs_config_mistake){.where = crs_config_source(cfg, keys[0]), .text = err.msg}, t);
    crs_tls_unref(tls);
}

static int check(int argc, char **argv)
{
    bool strict = false;
    size_t files = 0;
    tally t = {0};
    cereus_config *cfg = cereus_config_new();
    if (!cfg) {
        fputs("out of memory\n", stderr);
        return 1;
    }
    crs_config_on_mistake(cfg, show_mistake, &t);
    int code = -1;
    for (int i = 1; i < argc && code < 0; i++) {
        if (strcmp(argv[i], "--strict") == 0)
            strict = true;
        else if (strcmp(argv[i], "--help") == 0)
            code = usage(stdout);
        else if (argv[i][0] == '-')
            code = bad_usage(argv[i]);
    }
    for (int i = 1; i < argc && code < 0; i++) {
        if (argv[i][0] == '-')
            continue;
        cereus_error err = {0};
        files++;
        if (cereus_config_load_file(cfg, argv[i], &err) == CEREUS_E_NOMEM) {
            fprintf(stderr, "%s\n", err.msg);
            code = 1;
        }
    }
    if (code < 0 && files == 0) {
        fputs("cereus config check: which file? See `cereus config --help`\n", stderr);
        code = 2;
    }
    if (code < 0) {
        check_listeners(cfg, &t);
        check_certificate(cfg, &t);
        if (t.errors + t.warnings == 0)
            puts("ok");
        else
            printf("%zu error%s, %zu warning%s\n", t.errors, t.errors == 1 ? "" : "s", t.warnings,
                   t.warnings == 1 ? "" : "s");
        code = t.errors || (strict && t.warnings);
    }
    cereus_config_free(cfg);
    return code;
}

/* ---- print ---- */

static int print_settings(const cereus_config *cfg, crs_config_format format)
{
    crs_bytes text;
    crs_bytes_init(&text, PRINTED_MAX);
    cereus_status st = crs_config_print(cfg, format, &text);
    if (!st)
        fwrite(text.data, 1, text.len, stdout);
    else
        fputs(st == CEREUS_E_NOMEM ? "out of memory\n" : "cereus config print: too many settings to show\n", stderr);
    crs_bytes_fini(&text);
    for (size_t i = 0; i < crs_config_warning_count(cfg); i++)
        fprintf(stderr, "warning: %s\n", crs_config_warning(cfg, i));
    return st ? 1 : 0;
}

/* Files are loaded here; what is left in @p argv are the flags, for the parser of a server's flags. */
static cereus_status load_files(cereus_config *cfg, int *argc, char **argv, crs_config_format *ret_format,
                                bool *ret_help, cereus_error *err)
{
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--yaml") == 0) {
            *ret_format = CRS_CONFIG_YAML;
        } else if (strcmp(argv[i], "--json") == 0) {
            *ret_format = CRS_CONFIG_JSON;
        } else if (strcmp(argv[i], "--help") == 0) {
            *ret_help = true;
        } else if (argv[i][0] != '-') {
            CEREUS_TRY(cereus_config_load_file(cfg, argv[i], err));
        } else {
            bool value_is_next = !strchr(argv[i], '=') && i + 1 < *argc;
            argv[kept++] = argv[i];
            if (value_is_next)
                argv[kept++] = argv[++i];
        }
    }
    *argc = kept;
    return CEREUS_OK;
}

static int print(int argc, char **argv)
{
    crs_config_format format = CRS_CONFIG_TABLE;
    cereus_config_action action = CEREUS_CONFIG_RUN;
    bool want_help = false;
    cereus_error err = {0};
    cereus_config *cfg = cereus_config_new();
    if (!cfg) {
        fputs("out of memory\n", stderr);
        return 1;
    }
    cereus_status st = load_files(cfg, &argc, argv, &format, &want_help, &err);
    st = st ? st : cereus_config_load_env(cfg, NULL, &err);
    st = st ? st : cereus_config_parse_args(cfg, argc, argv, &action, &err);
    int code = 1;
    if (want_help || action == CEREUS_CONFIG_HELP)
        code = usage(stdout);
    else if (st)
        fprintf(stderr, "%s\n", err.msg);
    else if (action == CEREUS_CONFIG_VERSION)
        code = bad_usage("--version");
    else
        code = print_settings(cfg, format);
    cereus_config_free(cfg);
    return code;
}

int crs_cmd_config(int argc, char **argv)
{
    if (argc < 2)
        return usage(stderr);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return usage(stdout);
    if (strcmp(argv[1], "check") == 0)
        return check(argc - 1, argv + 1);
    if (strcmp(argv[1], "print") == 0)
        return print(argc - 1, argv + 1);
    return bad_usage(argv[1]);
}
