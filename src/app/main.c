/* app/main.c: the main() of a server: settings, start, signals, exit code. */
#include <signal.h>
#include <stdio.h>

#include "app/app_priv.h"

static int run(cereus_app *app)
{
    cereus_error err = {0};
    if (cereus_app_start(app, &err) != CEREUS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    cereus_app_wait(app, true);
    return 0;
}

static int print_help(const char *program)
{
    crs_bytes text;
    crs_bytes_init(&text, 1 << 20);
    if (crs_config_help(program, &text) == CEREUS_OK)
        fwrite(text.data, 1, text.len, stdout);
    crs_bytes_fini(&text);
    return 0;
}

int cereus_app_main(cereus_app *app, int argc, char **argv)
{
    cereus_error err = {0};
    cereus_config_action action;
    if (!app) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    crs_signals_block(); /* before any thread starts: they inherit it, and the wait takes them */
    app->signals_taken = true;

    int code;
    if (cereus_config_parse_args(cereus_app_config(app), argc, argv, &action, &err) != CEREUS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        code = 2;
    } else if (action == CEREUS_CONFIG_HELP) {
        code = print_help(argv[0]);
    } else if (action == CEREUS_CONFIG_VERSION) {
        printf("%s (cereus %s)\n", cereus_app_type(app), CEREUS_VERSION);
        code = 0;
    } else if (cereus_config_load_env(cereus_app_config(app), NULL, &err) != CEREUS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        code = 1;
    } else {
        code = run(app);
    }
    cereus_app_free(app);
    return code;
}
