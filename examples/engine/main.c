/* examples/engine: servers that find and reach one another by means of the game's own. hostfile.c is a discovery, a text file that
 * lists who is there; tcp.c is an rpc engine, messages over TCP. Take either as a start for yours.
 *
 * The game: players roll dice at a table, and all see it. They connect to a `front`; the table is at a `room`.
 *
 *     engine room --id room-1
 *     engine front --id gate-1 --listen tcp://127.0.0.1:3260
 *     cereus repl      connect 127.0.0.1:3260
 *                      request room.table.join ada
 *                      request room.table.roll
 *
 * All servers of one file are one cluster: `--set hostfile.path=/shared/hosts`, on several machines also
 * `--set tcp.listen=10.0.0.1:0`. Look into the file while you start, stop and kill them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostfile.h"
#include "tcp.h"

enum { SIDES = 6 };

/** ask: the player's name. From now on every roll is pushed to them. */
static cereus_status join(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *name = cereus_ctx_printf(ctx, "%.*s", (int)in.len, (const char *)in.data);
    cereus_status st = cereus_session_bind(ctx, cereus_ctx_session(ctx), name);
    if (st && st != CEREUS_E_BOUND) /* by a room that has gone since */
        return st;
    st = cereus_group_add(ctx, "table", cereus_session_uid(cereus_ctx_session(ctx)));
    if (st && st != CEREUS_E_EXISTS)
        return st;
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "welcome to %s", cereus_app_id(cereus_ctx_app(ctx))));
    return CEREUS_OK;
}

static cereus_status roll(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)in;
    const char *name = cereus_session_uid(cereus_ctx_session(ctx));
    if (!*name)
        return cereus_fail(ctx, "DICE-1", "join the table first");
    const char *eyes = cereus_ctx_printf(ctx, "%u", 1 + arc4random_uniform(SIDES));
    CEREUS_TRY(cereus_group_broadcast(ctx, "front", "table", "onRoll",
                                      cereus_text(cereus_ctx_printf(ctx, "%s rolls %s", name, eyes))));
    *out = cereus_slice_str(eyes);
    return CEREUS_OK;
}

static const cereus_method table[] = {CEREUS_RAW_REQUEST("join", join), CEREUS_RAW_REQUEST("roll", roll)};

static void set_table(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_group_create(ctx, "table");
}

int main(int argc, char **argv)
{
    cereus_error err = {0};
    bool front = argc > 1 && strcmp(argv[1], "front") == 0;
    if (!front && (argc < 2 || strcmp(argv[1], "room") != 0)) {
        fprintf(stderr, "engine front|room [settings, see engine room --help]\n");
        return 2;
    }
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = argv[1], .frontend = front});
    static tcp_setup tcp;
    static hostfile_setup hostfile;
    tcp.app = app;
    hostfile = (hostfile_setup){.app = app, .address = tcp.address};
    cereus_config *cfg = cereus_app_config(app);
    if (cereus_app_add_discovery(app, "hostfile", &hostfile_engine, &hostfile, &err) ||
        cereus_app_add_rpc(app, "tcp", &tcp_engine, &tcp, &err) ||
        cereus_config_set(cfg, "cereus.cluster", "hostfile", &err) ||
        cereus_config_set(cfg, "cereus.cluster.rpc", "tcp", &err) ||
        (front && cereus_app_listen(app, "tcp://127.0.0.1:3260", &err)) ||
        (!front && cereus_app_register(app, "table", table, CEREUS_COUNT(table), NULL, &err))) {
        fprintf(stderr, "engine: %s\n", err.msg);
        return 1;
    }
    if (!front)
        cereus_app_spawn(app, "table", set_table, NULL);
    return cereus_app_main(app, argc - 1, argv + 1); /* without the word that was ours */
}
