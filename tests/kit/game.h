/* tests/kit/game.h: a small game to test with the kit: rooms, chat, rounds that end by time. */
#ifndef KIT_GAME_H
#define KIT_GAME_H

#include <cereus/cereus.h>
#include <jansson.h>

/** The game's app, not started: what its main() would hand to cereus_app_main(). */
cereus_app *game_new(void);

#endif
