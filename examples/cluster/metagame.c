/* examples/cluster/metagame.c: what is known of players beyond a room, here how often they have come. Only servers talk to
 * it. A real one would keep this in a database; ours starts from nothing when it is started again, and rooms do without it
 * while it is away.
 *
 *     metagame [settings, see --help]
 */
#include <stdio.h>

#include <jansson.h>

#include <cereus/cereus.h>

#include "cluster.cereus.h"

enum { PLAYERS_MAX = 100000 };

/* A service's code runs on one loop unless it asks for more, so its state needs no lock. */
static json_t *visits;

/** Remote `metagame.players.greet`. */
static cereus_status greet(cereus_ctx *ctx, const Cluster__Player *player, Cluster__Greeting *greeting)
{
    json_int_t count = json_integer_value(json_object_get(visits, player->name)) + 1;
    if (count == 1 && json_object_size(visits) >= PLAYERS_MAX)
        return cereus_fail(ctx, "META-507", "no room for another name");
    if (json_object_set_new(visits, player->name, json_integer(count)) != 0)
        return CEREUS_E_NOMEM;
    greeting->visits = (int32_t)count;
    return CEREUS_OK;
}

static const cluster_players_service players = {.greet = greet};

/** For who has started us: others can find us now. */
static void on_started(cereus_app *app, void *user)
{
    (void)user;
    printf("READY id=%s\n", cereus_app_id(app));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    cereus_error err = {0};
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "metagame", .cluster = true});
    if (cluster_players_register_remote(app, &players, NULL, &err)) {
        fprintf(stderr, "metagame: %s\n", err.msg);
        return 1;
    }
    visits = json_object();
    cereus_app_on_started(app, on_started, NULL);
    int code = cereus_app_main(app, argc, argv);
    json_decref(visits);
    return code;
}
