/* src/main.c: makes the game and runs it. Settings come from files, the environment and flags; see --help. */
#include <stdio.h>

#include "game.h"

int main(int argc, char **argv)
{
    cereus_error err = {0};
    cereus_app *app = game_new(&err);
    if (!app) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    return cereus_app_main(app, argc, argv); /* start, signals, exit code */
}
