/* examples/cluster/connector.c: where players connect. It keeps their sessions and knows nothing of the chat: what a page
 * asks of `room.room.join` travels to the room server that the room's name picks, and what room servers push comes back
 * here. It also serves the page.
 *
 *     connector [--listen ws://HOST:PORT] [--set chat.http=HOST:PORT] [settings, see --help]
 */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include <cereus/cereus.h>

#include "chat/web.h"
#include "cluster.cereus.h"
#include "place.h"

/* ---- which room server gets a message: the one that has the room which the message names ---- */

static cereus_status to_the_room(cereus_session *session, cereus_slice route, cereus_slice body,
                                 const cereus_server *const *servers, size_t server_count, size_t *ret_pick, void *user,
                                 cereus_error *err)
{
    (void)session, (void)route, (void)user, (void)err;
    json_t *json = json_loadb((const char *)body.data, body.len, 0, NULL);
    const char *room = json_string_value(json_object_get(json, "room"));
    *ret_pick = place_of(room ? room : "", servers, server_count);
    json_decref(json);
    return CEREUS_OK;
}

/* ---- who is here: a group of the uids that this connector has ---- */

static void open_list(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_group_create(ctx, "here");
}

/** A room server has bound a session of ours to a name. */
static cereus_status on_bound(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_group_add(ctx, "here", cereus_session_uid(cereus_ctx_session(ctx)));
    return CEREUS_OK;
}

/** Somebody has gone; the room shall look again who is there. */
static void on_close(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_session *s = cereus_ctx_session(ctx);
    const char *name = cereus_session_uid(s), *room = cereus_session_get_text(ctx, s, "room");
    const cereus_server *const *servers;
    size_t count = cereus_servers_by_type(ctx, "room", &servers);
    if (!cereus_session_from_uid(ctx, name)) /* else another session has the name by now */
        cereus_group_remove(ctx, "here", name);
    if (!*room || count == 0)
        return;
    Cluster__Room which = CLUSTER__ROOM__INIT;
    which.name = (char *)room; /* protobuf-c's strings are not const; it is only read */
    cereus_rpc_options options = {.server_id = servers[place_of(room, servers, count)]->id};
    cluster_seats_changed_rpc(ctx, &options, &which);
}

/** Remote `connector.crowd.of`: the players that we have for a room. The session of each remembers where it sits. */
static cereus_status crowd_of(cereus_ctx *ctx, const Cluster__Room *room, Cluster__Crowd *crowd)
{
    const char *const *uids;
    size_t count;
    CEREUS_TRY(cereus_group_members(ctx, "here", &uids, &count));
    crowd->names = cereus_ctx_alloc(ctx, count * sizeof *crowd->names + 1);
    for (size_t i = 0; crowd->names && i < count; i++) {
        cereus_session *s = cereus_session_from_uid(ctx, uids[i]);
        if (s && strcmp(cereus_session_get_text(ctx, s, "room"), room->name) == 0)
            crowd->names[crowd->n_names++] = (char *)uids[i];
    }
    return crowd->names ? CEREUS_OK : CEREUS_E_NOMEM;
}

static const cluster_crowds_service crowds = {.of = crowd_of};

/* ---- the page ---- */

static void on_started(cereus_app *app, void *user)
{
    (void)user;
    const char *ws = cereus_app_address(app, 0) + strlen("ws://");
    const char *http = cereus_config_get_text(cereus_app_config(app), "chat.http");
    char query[64], url[128];
    snprintf(query, sizeof query, "port=%s&type=room", strrchr(ws, ':') + 1);
    if (!web_start(http ? http : "127.0.0.1:8080", query, url, sizeof url)) {
        fprintf(stderr, "connector: cannot serve the page at %s: choose another --set chat.http=HOST:PORT\n",
                http ? http : "127.0.0.1:8080");
        cereus_app_shutdown(app);
        return;
    }
    printf("READY ws=%s http=%s\n", ws, url);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    cereus_error err = {0};
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "connector", .frontend = true, .cluster = true});
    if (cereus_app_listen(app, "ws://127.0.0.1:3250", &err) ||
        cluster_crowds_register_remote(app, &crowds, NULL, &err)) {
        fprintf(stderr, "connector: %s\n", err.msg);
        return 1;
    }
    cereus_app_add_route(app, "room", to_the_room, NULL);
    cereus_app_on_after_session_bind(app, on_bound, NULL);
    cereus_app_on_session_close(app, on_close, NULL);
    cereus_app_spawn(app, "", open_list, NULL);
    cereus_app_on_started(app, on_started, NULL);
    int code = cereus_app_main(app, argc, argv);
    web_stop();
    return code;
}
