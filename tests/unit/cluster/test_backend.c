/* tests/unit/cluster/test_backend.c: which server gets a message, what a backend can and cannot do with a session that is another
 * server's, and what its remotes are told. Several apps in one process, by the local engines.
 */
#include "cluster.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

enum { ROOMS = 3 };

static cereus_test_app *rooms[ROOMS], *gate;
static cereus_test_leash *leash;   /* of the first room */
static cereus_test_client *player; /* of the gate */

/* ---- the rooms ---- */

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status id(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = cereus_slice_str(cereus_app_id(cereus_ctx_app(ctx)));
    return CEREUS_OK;
}

static cereus_status bind_it(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), (const char *)in.data));
    *out = cereus_slice_str(cereus_session_uid(cereus_ctx_session(ctx)));
    return CEREUS_OK;
}

static void never(cereus_ctx *ctx, void *user)
{
    cereus_test_check(!"a close callback of a backend is called");
}

/** The error that doing @p what with the session comes to. */
static cereus_status try_it(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *what = (const char *)in.data;
    cereus_session *s = cereus_ctx_session(ctx);
    if (strcmp(what, "close") == 0)
        return cereus_session_close(ctx, s);
    if (strcmp(what, "onclose") == 0)
        return cereus_session_on_close(ctx, s, never, NULL);
    if (strcmp(what, "kick") == 0)
        return cereus_session_kick(ctx, s);
    return cereus_fail(ctx, NULL, "no such verb");
}

static cereus_status look(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_session *s = cereus_ctx_session(ctx);
    *out = cereus_slice_str(
        cereus_ctx_printf(ctx, "remote %d, found %d, id %d, n %d, f %g, t %s", cereus_session_is_remote(s),
                          cereus_session_from_uid(ctx, (const char *)in.data) != NULL, cereus_session_get_id(s) != 0,
                          (int)cereus_session_get_int(ctx, s, "n"), cereus_session_get_double(ctx, s, "f"),
                          cereus_session_get_text(ctx, s, "t")));
    return CEREUS_OK;
}

enum { PUSHES = 300 };

static cereus_status push_many(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    for (int i = 0; i < PUSHES; i++) {
        cereus_value value = cereus_text(cereus_ctx_printf(ctx, "%d", i));
        CEREUS_TRY(cereus_session_push(ctx, cereus_ctx_session(ctx), "onNumber", value));
    }
    return CEREUS_OK;
}

static cereus_status hold(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = cereus_slice_str("held");
    return cereus_test_leash_hold(leash, ctx);
}

static const cereus_method methods[] = {CEREUS_RAW_REQUEST("echo", echo),    CEREUS_RAW_REQUEST("id", id),
                                        CEREUS_RAW_REQUEST("bind", bind_it), CEREUS_RAW_REQUEST("try", try_it),
                                        CEREUS_RAW_REQUEST("look", look),    CEREUS_RAW_NOTIFY("push", push_many),
                                        CEREUS_RAW_REQUEST("hold", hold)};

static atomic_int before_binds, after_binds;

static cereus_status count_bind(cereus_ctx *ctx, void *user)
{
    atomic_fetch_add((atomic_int *)user, 1);
    return strcmp(cereus_session_uid(cereus_ctx_session(ctx)), "mallory") ? CEREUS_OK
                                                                          : cereus_fail(ctx, "ROOM-1", "not you");
}

/* ---- their remotes ---- */

/** Milliseconds left here, and in a call back to the gate. */
static cereus_status patience(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_slice there;
    cereus_test_check(cereus_ctx_session(ctx) == NULL);
    cereus_test_check(cereus_ctx_time_left(ctx) <= 20000 + 10); /* a moment more, so that the caller hears its own */
    cereus_ctx_set_deadline(ctx, 9000);
    unsigned long long here = cereus_ctx_time_left(ctx);
    CEREUS_TRY(cereus_rpc_raw(ctx, "connector.back.patience", in, &there, NULL));
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%llu %s", here, (const char *)there.data));
    return CEREUS_OK;
}

static const cereus_method remotes[] = {CEREUS_RAW_REQUEST("id", id), CEREUS_RAW_REQUEST("patience", patience)};

/* ---- the gate ---- */

static cereus_status call(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_rpc_raw(ctx, (const char *)in.data, cereus_slice_str(""), out,
                          &(cereus_rpc_options){.timeout_ms = 20000});
}

static cereus_status set_data(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    json_t *data = json_pack("{s:i, s:f, s:s}", "n", 7, "f", 2.5, "t", "text");
    *out = in;
    return cereus_session_set_data(ctx, cereus_ctx_session(ctx), data);
}

static cereus_status members(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const cereus_server *const *servers;
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%zu", cereus_servers_by_type(ctx, NULL, &servers)));
    return CEREUS_OK;
}

static const cereus_method gate_methods[] = {CEREUS_RAW_REQUEST("call", call), CEREUS_RAW_REQUEST("set", set_data),
                                             CEREUS_RAW_REQUEST("members", members),
                                             CEREUS_RAW_REQUEST("bind", bind_it), CEREUS_RAW_REQUEST("look", look)};

static cereus_status time_left(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    unsigned long long left = cereus_ctx_time_left(ctx);
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%llu", left));
    return CEREUS_OK;
}

static const cereus_method gate_remotes[] = {CEREUS_RAW_REQUEST("patience", time_left)};

/** The body says which server: its number, "none", "silent", or the text of the error. */
static cereus_status by_number(cereus_session *session, cereus_slice route, cereus_slice body,
                               const cereus_server *const *servers, size_t server_count, size_t *ret_pick, void *user,
                               cereus_error *err)
{
    cereus_slice wanted = cereus_slice_str("room.x.id");
    cereus_test_check(!cereus_session_is_remote(session) && cereus_session_get_id(session) != 0);
    cereus_test_check(strcmp(cereus_session_uid(session), "alice") == 0);
    cereus_test_check(route.len == wanted.len && memcmp(route.data, wanted.data, route.len) == 0);
    cereus_test_check(server_count == ROOMS);
    for (size_t i = 0; i < server_count; i++)
        cereus_test_check(strcmp(servers[i]->type, "room") == 0);
    char text[40];
    snprintf(text, sizeof text, "%.*s", (int)body.len, (const char *)body.data);
    if (strcmp(text, "none") == 0)
        return CEREUS_OK;
    if (strcmp(text, "silent") == 0)
        return CEREUS_E_NOT_FOUND;
    for (size_t i = 0; i < server_count; i++) {
        if (strcmp(servers[i]->id + strlen("room-"), text) == 0) {
            *ret_pick = i;
            return CEREUS_OK;
        }
    }
    snprintf(err->msg, sizeof err->msg, "there is no room %s", text);
    return err->status = CEREUS_E_FAILED;
}

static cereus_status no_more(cereus_session *session, cereus_slice route, cereus_slice body,
                             const cereus_server *const *servers, size_t server_count, size_t *ret_pick, void *user,
                             cereus_error *err)
{
    cereus_test_check(!"the function that was replaced is asked");
    return CEREUS_E_FAILED;
}

/* ---- the world ---- */

static cereus_test_app *member(const char *type, int number)
{
    char name[20];
    snprintf(name, sizeof name, "%s-%d", type, number);
    cereus_test_app *t = test_member(type, name, strcmp(type, "connector") == 0);
    cereus_test_set(t, "cereus.loops", "2");
    return t;
}

static void start_rooms(int count, const char *requests_max)
{
    for (int i = 0; i < count; i++) {
        rooms[i] = member("room", i);
        cereus_app *app = cereus_test_get_app(rooms[i]);
        cereus_error err;
        assert_int_equal(cereus_app_register(app, "x", methods, CEREUS_COUNT(methods), NULL, &err), CEREUS_OK);
        assert_int_equal(cereus_app_register_remote(app, "x", remotes, CEREUS_COUNT(remotes), NULL, &err), CEREUS_OK);
        assert_int_equal(cereus_app_on_session_bind(app, count_bind, &before_binds), CEREUS_OK);
        assert_int_equal(cereus_app_on_after_session_bind(app, count_bind, &after_binds), CEREUS_OK);
        if (requests_max) {
            cereus_test_set(rooms[i], "cereus.cluster.requests.max", requests_max);
            cereus_test_set(rooms[i], "cereus.loops", "1"); /* the bound is a loop's */
        }
        if (i == 0)
            leash = cereus_test_leash_new(rooms[i]);
        cereus_test_start(rooms[i]);
    }
}

static cereus_test_app *start_gate(int number, bool routed)
{
    cereus_test_app *t = member("connector", number);
    cereus_app *app = cereus_test_get_app(t);
    cereus_error err;
    assert_int_equal(cereus_app_register(app, "y", gate_methods, CEREUS_COUNT(gate_methods), NULL, &err), CEREUS_OK);
    assert_int_equal(cereus_app_register_remote(app, "back", gate_remotes, 1, NULL, &err), CEREUS_OK);
    if (routed) {
        assert_int_equal(cereus_app_add_route(app, "room", no_more, NULL), CEREUS_OK);
        assert_int_equal(cereus_app_add_route(app, "castle", no_more, NULL), CEREUS_OK);
        assert_int_equal(cereus_app_add_route(app, "room", by_number, NULL), CEREUS_OK);
    }
    cereus_test_start(t);
    if (routed)
        assert_int_equal(cereus_app_add_route(app, "room", no_more, NULL), CEREUS_E_STATE);
    return t;
}

/** Until all loops of @p t know so many servers. */
static void await_members(cereus_test_app *t, const char *count)
{
    for (int i = 0; i < 4; i++) { /* on both loops */
        cereus_test_client *c = cereus_test_connect(t, CEREUS_TEST_TCP);
        while (strcmp(cereus_test_call(c, "connector.y.members", ""), count) != 0)
            usleep(1000); /* it is another process that looks at a file, or could be */
        cereus_test_hang_up(c);
    }
}

static void open_world(int count, bool routed, const char *requests_max)
{
    start_rooms(count, requests_max);
    gate = start_gate(1, routed);
    player = cereus_test_connect(gate, CEREUS_TEST_TCP);
}

static int make_dir(void **state)
{
    atomic_store(&before_binds, 0);
    atomic_store(&after_binds, 0);
    return test_make_dir(state);
}

static int end_all(void **state)
{
    gate = cereus_test_end(gate);
    for (int i = 0; i < ROOMS; i++)
        rooms[i] = cereus_test_end(rooms[i]);
    return test_remove_dir(state);
}

/* ---- which server ---- */

static void a_routing_function_picks_and_the_last_one_added_counts(void **state)
{
    open_world(ROOMS, true, NULL);
    cereus_test_call(player, "connector.y.bind", "alice");
    for (int i = 0; i < 20; i++) {
        char number[10], wanted[20];
        snprintf(number, sizeof number, "%d", i % ROOMS);
        snprintf(wanted, sizeof wanted, "room-%d", i % ROOMS);
        assert_string_equal(cereus_test_call(player, "room.x.id", number), wanted);
    }
}

static void a_routing_function_that_picks_nobody_is_an_error_of_the_message(void **state)
{
    open_world(ROOMS, true, NULL);
    cereus_test_call(player, "connector.y.bind", "alice");
    const cereus_test_event *e = cereus_test_call_fails(player, "room.x.id", "17", "PIT-500");
    assert_string_equal(e->msg, "there is no room 17");
    e = cereus_test_call_fails(player, "room.x.id", "silent", "PIT-500");
    assert_string_equal(e->msg, "not found");
    e = cereus_test_call_fails(player, "room.x.id", "none", "PIT-500");
    assert_string_equal(e->msg, "the routing function picked no server");
    assert_string_equal(cereus_test_call(player, "room.x.id", "1"), "room-1");
    e = cereus_test_call_fails(player, "castle.x.id", "", "PIT-500"); /* its function is not asked in vain */
    assert_string_equal(e->msg, "no servers available of this type");
}

/** Each of three gets a third of 1500. A hundred more, or less, comes once in millions of runs. */
static void without_one_each_server_is_as_likely(void **state)
{
    static const struct {
        const char *route, *body;
        int times;
    } rows[] = {{"room.x.id", "", 1500}, {"connector.y.call", "room.x.id", 1500}};
    open_world(ROOMS, false, NULL);
    for (size_t r = 0; r < CEREUS_COUNT(rows); r++) {
        int got[ROOMS] = {0};
        for (int i = 0; i < rows[r].times; i++)
            got[cereus_test_call(player, rows[r].route, rows[r].body)[strlen("room-")] - '0']++;
        for (int i = 0; i < ROOMS; i++)
            assert_in_range(got[i], rows[r].times / ROOMS - 100, rows[r].times / ROOMS + 100);
    }
}

/* ---- sessions of another server ---- */

static void what_a_backend_cannot_do_is_told(void **state)
{
    open_world(1, false, NULL);
    const cereus_test_event *e = cereus_test_call_fails(player, "room.x.try", "close", "PIT-000");
    assert_string_equal(e->msg, "a backend cannot close a session, kick it");
    e = cereus_test_call_fails(player, "room.x.try", "onclose", "PIT-000");
    assert_string_equal(e->msg, "onclose callbacks are not allowed on backend servers");
    e = cereus_test_call_fails(player, "room.x.try", "kick", "PIT-000");
    assert_string_equal(e->msg, "you have to bind an UID to the session to do that");
    cereus_test_expect_sessions(gate, 1);
}

static void users_are_found_on_their_own_server_only(void **state)
{
    open_world(1, false, NULL);
    cereus_test_app *other = start_gate(2, false);
    await_members(gate, "3");
    cereus_test_client *stranger = cereus_test_connect(other, CEREUS_TEST_TCP);
    cereus_test_call(player, "connector.y.bind", "alice");
    cereus_test_call(player, "connector.y.set", "");
    assert_string_equal(cereus_test_call(player, "connector.y.look", "alice"),
                        "remote 0, found 1, id 1, n 7, f 2.5, t text");
    assert_string_equal(cereus_test_call(player, "room.x.look", "alice"),
                        "remote 1, found 0, id 0, n 7, f 2.5, t text");
    assert_string_equal(cereus_test_call(stranger, "connector.y.look", "alice"),
                        "remote 0, found 0, id 1, n 0, f 0, t ");
    cereus_test_end(other);
}

static void callbacks_of_a_backend_are_called_around_its_binds(void **state)
{
    open_world(1, false, NULL);
    const cereus_test_event *e = cereus_test_call_fails(player, "room.x.bind", "mallory", "ROOM-1");
    assert_string_equal(e->msg, "not you");
    assert_string_equal(cereus_test_call(player, "room.x.bind", "alice"), "alice");
    assert_int_equal(atomic_load(&before_binds), 2);
    assert_int_equal(atomic_load(&after_binds), 1);
}

static void pushes_of_a_backend_keep_their_order(void **state)
{
    open_world(1, false, NULL);
    cereus_test_call(player, "room.x.bind", "alice");
    cereus_test_notify(player, "room.x.push", "");
    for (int i = 0; i < PUSHES; i++) {
        char number[10];
        snprintf(number, sizeof number, "%d", i);
        cereus_test_expect_push(player, "onNumber", number);
    }
}

/* ---- limits, patience, ends ---- */

static void a_nested_call_has_the_time_that_is_left(void **state)
{
    open_world(1, false, NULL);
    unsigned long long room, back;
    assert_int_equal(sscanf(cereus_test_call(player, "connector.y.call", "room.x.patience"), "%llu %llu", &room, &back),
                     2);
    assert_in_range(back, 5000, room + 10); /* neither the default nor the whole of it again */
}

static void requests_beyond_the_limit_are_refused_at_once(void **state)
{
    open_world(1, false, "2");
    cereus_test_client *held[2];
    uint64_t requests[2];
    for (int i = 0; i < 2; i++) {
        held[i] = cereus_test_connect(gate, CEREUS_TEST_TCP);
        requests[i] = cereus_test_request(held[i], "room.x.hold", "");
        cereus_test_settle(gate);
    }
    cereus_test_leash_await(leash, 2);
    const cereus_test_event *e = cereus_test_call_fails(player, "room.x.echo", "x", "PIT-500");
    assert_string_equal(e->msg, "the server is overloaded");
    assert_int_equal(cereus_app_counter(cereus_test_get_app(rooms[0]), "rpc_refused"), 1);
    cereus_test_leash_release(leash);
    for (int i = 0; i < 2; i++)
        assert_string_equal(cereus_test_await(held[i], requests[i])->body, "held");
    assert_string_equal(cereus_test_call(player, "room.x.echo", "x"), "x");
}

static void *let_go(void *arg)
{
    while (cereus_app_is_ready(arg)) /* until its stop has begun */
        usleep(1000);
    cereus_test_leash_release(leash);
    return NULL;
}

static void a_frontend_that_stops_waits_for_the_answers_of_others(void **state)
{
    open_world(1, false, NULL);
    pthread_t thread;
    uint64_t request = cereus_test_request(player, "room.x.hold", "");
    cereus_test_settle(gate);
    cereus_test_leash_await(leash, 1);
    assert_int_equal(pthread_create(&thread, NULL, let_go, cereus_test_get_app(gate)), 0);
    cereus_test_stop(gate);
    pthread_join(thread, NULL);
    assert_string_equal(cereus_test_await(player, request)->body, "held");
    cereus_test_expect_closed(player);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, end_all)

TEST_MAIN(TEST(a_routing_function_picks_and_the_last_one_added_counts),
          TEST(a_routing_function_that_picks_nobody_is_an_error_of_the_message),
          TEST(without_one_each_server_is_as_likely), TEST(what_a_backend_cannot_do_is_told),
          TEST(users_are_found_on_their_own_server_only), TEST(callbacks_of_a_backend_are_called_around_its_binds),
          TEST(pushes_of_a_backend_keep_their_order), TEST(a_nested_call_has_the_time_that_is_left),
          TEST(requests_beyond_the_limit_are_refused_at_once),
          TEST(a_frontend_that_stops_waits_for_the_answers_of_others))
