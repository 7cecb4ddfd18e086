/* examples/engine/tcp.h: servers reach one another over TCP. */
#ifndef ENGINE_TCP_H
#define ENGINE_TCP_H

#include <cereus/cereus.h>

/** The user of cereus_app_add_rpc(). Lives as long as the app. */
typedef struct tcp_setup {
    cereus_app *app;
    char address[32]; /* set by open(): where others reach us, for their metadata "tcp" */
} tcp_setup;

extern const cereus_rpc_engine tcp_engine;

#endif
