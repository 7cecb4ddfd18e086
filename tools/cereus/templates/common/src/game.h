/* src/game.h: the game as main() runs it and as its tests play it. */
#ifndef GAME_H
#define GAME_H

#include <cereus/cereus.h>

/** The app with all services, not started; NULL: @p err says why. */
cereus_app *game_new(cereus_error *err);

#endif
