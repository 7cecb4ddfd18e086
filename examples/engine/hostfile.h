/* examples/engine/hostfile.h: servers find one another in a text file. */
#ifndef ENGINE_HOSTFILE_H
#define ENGINE_HOSTFILE_H

#include <cereus/cereus.h>

/** The user of cereus_app_add_discovery(). Lives as long as the app. */
typedef struct hostfile_setup {
    cereus_app *app;
    const char *address; /* what our line says of where we are; looked at by join() */
} hostfile_setup;

extern const cereus_discovery_engine hostfile_engine;

#endif
