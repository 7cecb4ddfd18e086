/* examples/cluster/room.c: the chat itself, a backend: players never connect to it, connectors send on what they ask. Start
 * as many as you like; each has the rooms that place.h gives it.
 *
 * What a room server knows of a room is a group of names, and that is only a copy: where a player sits is written in his
 * session, which the connector keeps. Whenever the copy may be wrong, it is made anew by asking the connectors. So a room
 * server may be killed: the next message for one of its rooms reaches another server, which has never heard of the room,
 * asks, and goes on.
 *
 *     room [settings, see --help]
 */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include <cereus/cereus.h>

#include "cluster.cereus.h"
#include "place.h"

enum { NAME_MAX_LEN = 32, MESSAGE_MAX_LEN = 2000, LOOK_EVERY_MS = 500, ASK_TIMEOUT_MS = 1000 };

/* The group whose members are the names of the rooms that we have. */
static const char rooms[] = "rooms";

static const char *group_of(cereus_ctx *ctx, const char *room)
{
    return cereus_ctx_printf(ctx, "room:%s", room);
}

/* ---- telling everybody ---- */

/** Push to everybody in the group, whichever connector they are at. */
static cereus_status tell(cereus_ctx *ctx, const char *group, const char *route, json_t *value)
{
    return cereus_group_broadcast(ctx, "connector", group, route, cereus_json(cereus_ctx_keep(ctx, value)));
}

static cereus_status push_members(cereus_ctx *ctx, const char *group)
{
    const char *const *uids;
    size_t count;
    CEREUS_TRY(cereus_group_members(ctx, group, &uids, &count));
    json_t *members = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(members, json_string(uids[i]));
    return tell(ctx, group, "onMembers", json_pack("{s:o}", "members", members));
}

/* ---- what we know of a room ---- */

static void close_if_empty(cereus_ctx *ctx, const char *room)
{
    const char *group = group_of(ctx, room);
    size_t count;
    if (cereus_group_count(ctx, group, &count) != CEREUS_OK || count > 0)
        return;
    cereus_group_delete(ctx, group);
    cereus_group_remove(ctx, rooms, room);
}

/** Ask the connectors who is in @p room, and make its group so. A connector that does not answer may have anybody: then
 * nobody is taken out. Those who join meanwhile stay. */
static cereus_status look(cereus_ctx *ctx, const char *room)
{
    const char *group = group_of(ctx, room);
    const char *const *before = NULL;
    const cereus_server *const *connectors;
    size_t before_count = 0, count = cereus_servers_by_type(ctx, "connector", &connectors);
    json_t *there = cereus_ctx_keep(ctx, json_object());
    bool all_answered = true;
    cereus_group_members(ctx, group, &before, &before_count);

    Cluster__Room which = CLUSTER__ROOM__INIT;
    which.name = (char *)room; /* protobuf-c's strings are not const; it is only read */
    for (size_t i = 0; i < count; i++) {
        Cluster__Crowd *crowd;
        cereus_rpc_options options = {.server_id = connectors[i]->id, .timeout_ms = ASK_TIMEOUT_MS};
        if (cluster_crowds_of_rpc(ctx, &options, &which, &crowd)) {
            all_answered = false;
            continue;
        }
        for (size_t j = 0; j < crowd->n_names; j++)
            json_object_set_new(there, crowd->names[j], json_true());
    }

    cereus_status st = cereus_group_create(ctx, group);
    if (st && st != CEREUS_E_EXISTS)
        return st;
    cereus_group_add(ctx, rooms, room);
    for (size_t i = 0; all_answered && i < before_count; i++) {
        if (!json_object_get(there, before[i]))
            cereus_group_remove(ctx, group, before[i]);
    }
    const char *name;
    json_t *value;
    json_object_foreach(there, name, value) cereus_group_add(ctx, group, name);
    return CEREUS_OK;
}

static cereus_status open_room(cereus_ctx *ctx, const char *room)
{
    size_t count;
    return cereus_group_count(ctx, group_of(ctx, room), &count) == CEREUS_OK ? CEREUS_OK : look(ctx, room);
}

/** The group of the room that the session sits in. To a server that has just got the room, all of them are new. */
static cereus_status my_group(cereus_ctx *ctx, const char **ret_group)
{
    cereus_session *s = cereus_ctx_session(ctx);
    const char *name = cereus_session_uid(s), *room = cereus_session_get_text(ctx, s, "room");
    if (!*name || !*room)
        return CEREUS_E_NOT_BOUND;
    CEREUS_TRY(open_room(ctx, room));
    *ret_group = group_of(ctx, room);
    cereus_group_add(ctx, *ret_group, name); /* as a rule there already, which is fine */
    return CEREUS_OK;
}

/** Servers have come or gone: give away the rooms that are another's now, look again who is in the others. */
static cereus_status look_around(cereus_ctx *ctx, void *user)
{
    static uint64_t seen;
    (void)user;
    const char *self = cereus_app_id(cereus_ctx_app(ctx));
    const cereus_server *const *servers;
    const char *const *names;
    uint64_t sum = 0;
    size_t count = cereus_servers_by_type(ctx, NULL, &servers), name_count;
    for (size_t i = 0; i < count; i++)
        sum += place_score(servers[i]->id, "");
    if (sum == seen)
        return CEREUS_OK;
    seen = sum;
    CEREUS_TRY(cereus_group_members(ctx, rooms, &names, &name_count));
    for (size_t i = 0; i < name_count; i++) {
        count = cereus_servers_by_type(ctx, "room", &servers);
        if (count > 0 && strcmp(servers[place_of(names[i], servers, count)]->id, self) != 0) {
            cereus_group_delete(ctx, group_of(ctx, names[i]));
            cereus_group_remove(ctx, rooms, names[i]);
            continue;
        }
        CEREUS_TRY(look(ctx, names[i]));
        push_members(ctx, group_of(ctx, names[i]));
        close_if_empty(ctx, names[i]);
    }
    return CEREUS_OK;
}

/** Remote `room.seats.changed`: a connector says that somebody has left. */
static cereus_status changed(cereus_ctx *ctx, const Cluster__Room *room)
{
    CEREUS_TRY(look(ctx, room->name));
    push_members(ctx, group_of(ctx, room->name));
    close_if_empty(ctx, room->name);
    return CEREUS_OK;
}

static const cluster_seats_service seats = {.changed = changed};

/* ---- what pages ask ---- */

static const char *text_of(const json_t *in, const char *key)
{
    const char *text = json_string_value(json_object_get(in, key));
    return text ? text : "";
}

/** Bind the session to its name, and write its seat into it, where it outlives us. */
static cereus_status sit(cereus_ctx *ctx, cereus_session *s, const char *name, const char *room)
{
    if (strcmp(cereus_session_uid(s), name) != 0)
        CEREUS_TRY(cereus_session_bind(ctx, s, name));
    CEREUS_TRY(cereus_session_set(ctx, s, "room", json_string(room)));
    return cereus_session_push_to_front(ctx, s);
}

/** "New user: Ada, visit 2, served by room-1"; without the visit when the metagame is away. */
static void announce(cereus_ctx *ctx, const char *group, const char *name)
{
    Cluster__Player player = CLUSTER__PLAYER__INIT;
    player.name = (char *)name;
    Cluster__Greeting *greeting;
    const char *visit = "";
    cereus_rpc_options options = {.timeout_ms = ASK_TIMEOUT_MS};
    if (cluster_players_greet_rpc(ctx, &options, &player, &greeting) == CEREUS_OK)
        visit = cereus_ctx_printf(ctx, ", visit %d", (int)greeting->visits);
    const char *self = cereus_app_id(cereus_ctx_app(ctx));
    json_t *content = json_sprintf("New user: %s%s, served by %s", name, visit, self);
    tell(ctx, group, "onNewUser", json_pack("{s:o}", "content", content));
}

static cereus_status come_in(cereus_ctx *ctx, cereus_session *s, const char *name, const char *room, const char *group)
{
    CEREUS_TRY(open_room(ctx, room));
    if (cereus_group_add(ctx, group, name) == CEREUS_E_EXISTS) {
        CEREUS_TRY(look(ctx, room)); /* perhaps his connector has died, and he with it */
        if (cereus_group_add(ctx, group, name) == CEREUS_E_EXISTS)
            return cereus_fail(ctx, "CHAT-409", "somebody here is called %s already", name);
    }
    cereus_status st = sit(ctx, s, name, room);
    if (st) {
        cereus_group_remove(ctx, group, name);
        close_if_empty(ctx, room);
        return st;
    }
    cereus_group_add(ctx, group, name); /* again: who looked meanwhile did not find him */
    return CEREUS_OK;
}

static cereus_status join(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    cereus_session *s = cereus_ctx_session(ctx);
    const char *name = text_of(in, "name"), *room = text_of(in, "room");
    const char *sits = cereus_session_get_text(ctx, s, "room");
    if (!*name || strlen(name) > NAME_MAX_LEN || !*room || strlen(room) > NAME_MAX_LEN)
        return cereus_fail(ctx, "CHAT-400", "the names of people and rooms have 1 to %d letters", NAME_MAX_LEN);
    if (*sits && (strcmp(sits, room) != 0 || strcmp(cereus_session_uid(s), name) != 0))
        return cereus_fail(ctx, "CHAT-409", "you are in %s already, as %s", sits, cereus_session_uid(s));
    const char *group = group_of(ctx, room);
    if (*sits) { /* asked again */
        CEREUS_TRY(my_group(ctx, &group));
    } else {
        CEREUS_TRY(come_in(ctx, s, name, room, group));
        push_members(ctx, group);
        announce(ctx, group, name);
    }
    *out = json_pack("{s:i, s:s}", "code", 0, "result", "success");
    return CEREUS_OK;
}

static cereus_status message(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    (void)out; /* a notify */
    const char *content = text_of(in, "content"), *group;
    CEREUS_TRY(my_group(ctx, &group));
    if (!*content || strlen(content) > MESSAGE_MAX_LEN)
        return cereus_fail(ctx, "CHAT-400", "a message has 1 to %d letters", MESSAGE_MAX_LEN);
    const char *name = cereus_session_uid(cereus_ctx_session(ctx)); /* never what the client says it is called */
    return tell(ctx, group, "onMessage", json_pack("{s:s, s:s}", "name", name, "content", content));
}

static cereus_status kick(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    const char *name = text_of(in, "name"), *group;
    bool there = false;
    CEREUS_TRY(my_group(ctx, &group));
    if (!*name || cereus_group_contains(ctx, group, name, &there) != CEREUS_OK || !there)
        return cereus_fail(ctx, "CHAT-404", "nobody here is called %s", name);
    CEREUS_TRY(cereus_kick_users(ctx, &name, 1, "connector", NULL, NULL));
    *out = json_pack("{s:i}", "code", 0);
    return CEREUS_OK;
}

static cereus_status ping(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)ctx;
    *out = in;
    return CEREUS_OK;
}

static const cereus_method room_methods[] = {
    CEREUS_JSON_REQUEST("join", join),
    CEREUS_JSON_NOTIFY("message", message),
    CEREUS_JSON_REQUEST("kick", kick),
    CEREUS_RAW_REQUEST("ping", ping),
};

static void open_list(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_group_create(ctx, rooms);
}

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
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "room", .cluster = true});
    if (cereus_app_register(app, "room", room_methods, CEREUS_COUNT(room_methods), NULL, &err) ||
        cluster_seats_register_remote(app, &seats, NULL, &err) ||
        cereus_timer_every(app, "room", LOOK_EVERY_MS, look_around, NULL, NULL, &err)) {
        fprintf(stderr, "room: %s\n", err.msg);
        return 1;
    }
    cereus_app_spawn(app, "room", open_list, NULL);
    cereus_app_on_started(app, on_started, NULL);
    return cereus_app_main(app, argc, argv);
}
