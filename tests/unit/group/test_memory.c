/* tests/unit/group/test_memory.c: groups as handlers use them, from two loops. */
#include "game.h"

static const char *const routes[] = {"here.do", "far.do"};
static gate closed = GATE_INIT;

static bool starts_with(cereus_ctx *ctx, const char *uid, void *user)
{
    return uid[0] == *(const char *)user;
}

/** "verb group rest" */
static cereus_status act(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    char *verb = (char *)text_of(in), *group = strchr(verb, ' '), *rest = NULL;
    CHECK(group);
    *group++ = '\0';
    if ((rest = strchr(group, ' ')))
        *rest++ = '\0';
    *out = cereus_slice_str("ok");
#define VERB(name) if (strcmp(verb, name) == 0)
    VERB("bind") return cereus_session_bind(ctx, cereus_ctx_session(ctx), group);
    VERB("create") return cereus_group_create(ctx, group);
    VERB("ttl") return cereus_group_create_ttl(ctx, group, strtoull(rest, NULL, 10));
    VERB("renew") return cereus_group_renew_ttl(ctx, group);
    VERB("delete") return cereus_group_delete(ctx, group);
    VERB("add") return cereus_group_add(ctx, group, rest);
    VERB("remove") return cereus_group_remove(ctx, group, rest);
    VERB("clear") return cereus_group_remove_all(ctx, group);
    VERB("contains")
    {
        bool is = false;
        CEREUS_TRY(cereus_group_contains(ctx, group, rest, &is));
        return reply_text(out, is ? "yes" : "no");
    }
    VERB("count")
    {
        size_t count = 99;
        CEREUS_TRY(cereus_group_count(ctx, group, &count));
        return reply_text(out, cereus_ctx_printf(ctx, "%zu", count));
    }
    VERB("members")
    {
        const char *const *uids = NULL;
        size_t count = 99;
        char *text = cereus_ctx_printf(ctx, "%s", "");
        CEREUS_TRY(cereus_group_members(ctx, group, &uids, &count));
        CHECK(uids);
        for (size_t i = 0; i < count; i++)
            text = cereus_ctx_printf(ctx, "%s[%s]", text, uids[i]);
        return reply_text(out, text);
    }
    VERB("cast") return cereus_group_broadcast(ctx, NULL, group, "on.cast", cereus_text(rest));
    VERB("castjson")
    {
        json_t *json = cereus_ctx_keep(ctx, json_pack("{s:s}", "said", rest));
        return cereus_group_broadcast(ctx, "game", group, "on.cast", cereus_json(json));
    }
    VERB("castaway") return cereus_group_broadcast(ctx, "elsewhere", group, "on.cast", cereus_text(rest));
    VERB("castlong")
    {
        char route[300];
        memset(route, 'r', sizeof route);
        route[299] = '\0';
        return cereus_group_broadcast(ctx, NULL, group, route, cereus_text("x"));
    }
    VERB("multi") return cereus_group_multicast(ctx, "", group, "on.multi", cereus_text(rest), starts_with, rest);
    CHECK(!"a verb that it knows");
    return CEREUS_OK;
}

static void on_close(cereus_ctx *ctx, void *user)
{
    gate_pass(&closed);
}

static const cereus_method methods[] = {CEREUS_RAW_REQUEST("do", act)};

static game *groups_game(void)
{
    static const cereus_service_options on_session = {.home = CEREUS_HOME_SESSION};
    game *g = game_new(2);
    GAME_SERVE(g, "far", methods, NULL); /* at home on loop 1 */
    GAME_SERVE(g, "here", methods, &on_session);
    assert_int_equal(cereus_app_on_session_close(g->app, on_close, NULL), CEREUS_OK);
    gate_reset(&closed);
    return g;
}

static void every_failure_has_its_text(void **state)
{
    game *g = groups_game();
    game_start(g);
    client *c = client_connect_on(g, GAME_TCP, 0);
    const char *const not_found = "PIT-000|group not found";
    for (size_t i = 0; i < 2; i++) {
        const char *r = routes[i];
        const char *const on_missing[] = {"renew no",      "delete no", "add no u",   "remove no u", "clear no",
                                          "contains no u", "count no",  "members no", "cast no x",   "multi no x"};
        for (size_t k = 0; k < CEREUS_COUNT(on_missing); k++)
            assert_string_equal(client_fail(c, r, on_missing[k]), not_found);
        assert_string_equal(client_fail(c, r, "create "), "PIT-000|a group needs a name");
        client_call(c, r, "create g");
        assert_string_equal(client_fail(c, r, "create g"), "PIT-000|group already exists");
        assert_string_equal(client_fail(c, r, "ttl g 1000"), "PIT-000|group already exists");
        assert_string_equal(client_fail(c, r, "renew g"), "PIT-000|memory group TTL not found");
        assert_string_equal(client_fail(c, r, "add g "), "PIT-000|empty uid");
        assert_string_equal(client_fail(c, r, "contains g "), "PIT-000|empty uid");
        assert_string_equal(client_fail(c, r, "add no "), "PIT-000|empty uid");
        client_call(c, r, "add g u");
        assert_string_equal(client_fail(c, r, "add g u"), "PIT-000|member already exists in group");
        assert_string_equal(client_fail(c, r, "remove g v"), "PIT-000|member not found in the group");
        assert_string_equal(client_fail(c, r, "cast g x"),
                            "PIT-000|failed to push message to users, check array with failed uids");
        assert_string_equal(client_fail(c, r, "castlong g x"), "PIT-400|longer than the limit");
        client_call(c, r, "delete g");
        assert_string_equal(client_fail(c, r, "count g"), not_found);
    }
    game_end(g);
}

static void members_come_and_go(void **state)
{
    game *g = groups_game();
    game_start(g);
    client *c = client_connect_on(g, GAME_TCP, 0);
    client_call(c, "here.do", "create g");
    assert_string_equal(client_call(c, "far.do", "members g"), "");
    assert_string_equal(client_call(c, "far.do", "count g"), "0");
    client_call(c, "far.do", "cast g nobody"); /* nobody is no failure */
    char text[64];
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "add g u%d", i);
        client_call(c, routes[i % 2], text);
    }
    assert_string_equal(client_call(c, "here.do", "count g"), "100");
    for (int i = 0; i < 98; i++) {
        snprintf(text, sizeof text, "remove g u%d", (i * 37) % 98);
        client_call(c, routes[i % 2], text);
    }
    const char *left = client_call(c, "here.do", "members g");
    assert_int_equal(strlen(left), strlen("[u98][u99]"));
    assert_non_null(strstr(left, "[u98]"));
    assert_non_null(strstr(left, "[u99]"));
    assert_string_equal(client_call(c, "far.do", "contains g u98"), "yes");
    assert_string_equal(client_call(c, "far.do", "contains g u0"), "no");
    client_call(c, "far.do", "clear g");
    assert_string_equal(client_call(c, "here.do", "count g"), "0");
    client_call(c, "here.do", "add g u98");
    client_call(c, "here.do", "add g uid with blanks");
    assert_string_equal(client_call(c, "far.do", "contains g uid with blanks"), "yes");
    game_end(g); /* with its members */
}

static void names_are_whole(void **state)
{
    static const char *const names[] = {"x", "x/uids", "x/uids/y", "/x", "x/", "X", "\xc3\xa9", "groups/x"};
    game *g = groups_game();
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    char text[64];
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        snprintf(text, sizeof text, "create %s", names[i]);
        client_call(c, "here.do", text);
        snprintf(text, sizeof text, "count %s", names[i]);
        assert_string_equal(client_call(c, "here.do", text), "0");
        snprintf(text, sizeof text, "add %s y", names[i]);
        client_call(c, "here.do", text);
    }
    client_call(c, "here.do", "delete x");
    assert_string_equal(client_call(c, "here.do", "members x/uids"), "[y]"); /* F-56 */
    assert_string_equal(client_call(c, "here.do", "members x/uids/y"), "[y]");
    game_end(g);
}

static void a_group_expires_unless_it_is_renewed(void **state)
{
    game *g = groups_game();
    game_set(g, "pitaya.groups.memory.tickduration", "5ms");
    game_start(g);
    client *c = client_connect_on(g, GAME_TCP, 0);
    client_call(c, "here.do", "create stays");
    client_call(c, "here.do", "ttl long 18446744073709551615"); /* must not wrap around */
    client_call(c, "here.do", "ttl kept 60000");
    client_call(c, "far.do", "renew kept");
    char text[64];
    for (int i = 0; i < 50; i++) {
        snprintf(text, sizeof text, "ttl short%d 1", i);
        client_call(c, routes[i % 2], text);
    }
    for (int i = 0; i < 50; i++) { /* requests until the tick has come: the only sign that it has */
        snprintf(text, sizeof text, "count short%d", i);
        for (int tries = 0;; tries++) {
            client_request(c, "far.do", text);
            event e = client_next(c);
            if (e.kind == EVENT_ERROR) {
                assert_string_equal(client_error_text(c, e), "PIT-000|group not found");
                break;
            }
            assert_true(tries < 1000000);
        }
    }
    client_call(c, "here.do", "count stays");
    client_call(c, "here.do", "count long");
    client_call(c, "here.do", "count kept");
    game_end(g);
}

enum { MEMBERS = 8 };

static void connect_members(game *g, client **clients)
{
    for (int i = 0; i < MEMBERS; i++) {
        char text[64];
        clients[i] = client_connect_on(g, i % 2 ? GAME_WS : GAME_TCP, (unsigned)i / 2 % 2);
        snprintf(text, sizeof text, "bind %c%d", i % 4 < 2 ? 'a' : 'b', i);
        client_call(clients[i], routes[i % 2], text);
        snprintf(text, sizeof text, "add g %c%d", i % 4 < 2 ? 'a' : 'b', i);
        client_call(clients[i], routes[i % 2], text);
    }
}

static void a_broadcast_reaches_all_loops_and_transports(void **state)
{
    game *g = groups_game();
    game_start(g);
    client *c = client_connect_on(g, GAME_TCP, 0), *clients[MEMBERS];
    client_call(c, "here.do", "create g");
    connect_members(g, clients);
    for (size_t i = 0; i < 2; i++) {
        uint64_t pushes = cereus_app_counter(g->app, "pushes");
        client_call(c, routes[i], "cast g hello");
        client_call(c, routes[i], "castjson g json");
        client_call(c, routes[i], "multi g a");
        for (int k = 0; k < MEMBERS; k++) {
            client_expect_push(clients[k], "on.cast", "hello");
            client_expect_push(clients[k], "on.cast", "{\"said\":\"json\"}");
            if (k % 4 < 2)
                client_expect_push(clients[k], "on.multi", "a");
        }
        game_await_counter(g, "pushes", pushes + MEMBERS * 2 + MEMBERS / 2);
        assert_string_equal(client_fail(c, routes[i], "castaway g lost"),
                            "PIT-000|failed to push message to users, check array with failed uids");
    }
    uint64_t pushes = cereus_app_counter(g->app, "pushes");
    assert_int_equal(pushes, 2 * (MEMBERS * 2 + MEMBERS / 2));
    game_end(g);
}

static void a_member_that_has_left_is_a_failure_and_the_others_are_reached(void **state)
{
    const char *const some_failed = "PIT-000|failed to push message to users, check array with failed uids";
    game *g = groups_game();
    game_start(g);
    client *c = client_connect_on(g, GAME_TCP, 0), *clients[MEMBERS];
    client_call(c, "here.do", "create g");
    connect_members(g, clients);
    game_await_sessions(g, MEMBERS + 1);
    client_call(c, "here.do", "cast g 1");
    gate_reset(&closed);
    client_close(clients[0]); /* lived on loop 0 */
    client_close(clients[2]); /* on loop 1 */
    gate_await(&closed, 2);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(client_fail(c, routes[i], "cast g 2"), some_failed);
    clients[0] = client_connect(g, GAME_WS);
    clients[2] = client_connect(g, GAME_TCP);
    client_call(clients[0], "here.do", "bind a0"); /* back again, as other sessions */
    client_call(clients[2], "here.do", "bind b2");
    for (size_t i = 0; i < 2; i++)
        client_call(c, routes[i], "cast g 3");
    for (int k = 0; k < MEMBERS; k++) {
        if (k != 0 && k != 2) {
            client_expect_push(clients[k], "on.cast", "1");
            client_expect_push(clients[k], "on.cast", "2");
            client_expect_push(clients[k], "on.cast", "2");
        }
        client_expect_push(clients[k], "on.cast", "3");
        client_expect_push(clients[k], "on.cast", "3");
    }
    assert_string_equal(client_call(c, "here.do", "count g"), "8"); /* closing is not leaving */
    game_end(g);
}

static cereus_status join_then_fail(cereus_ctx *ctx, void *user)
{
    const char *uid = cereus_session_uid(cereus_ctx_session(ctx));
    if (strcmp(uid, "first") != 0)
        return CEREUS_OK;
    CHECK(cereus_group_add(ctx, "g", uid) == CEREUS_OK);
    return cereus_fail(ctx, "A-1", "not you");
}

static void a_member_is_a_uid_not_the_session_that_had_it(void **state)
{
    game *g = groups_game();
    assert_int_equal(cereus_app_on_after_session_bind(g->app, join_then_fail, NULL), CEREUS_OK);
    game_start(g);
    client *c = client_connect_on(g, GAME_TCP, 0);
    client_call(c, "here.do", "create g");
    assert_string_equal(client_fail(c, "here.do", "bind first"), "A-1|not you");
    client_call(c, "here.do", "bind second");
    for (size_t i = 0; i < 2; i++) /* not to the session: it is another user now */
        assert_string_equal(client_fail(c, routes[i], "cast g for first only"),
                            "PIT-000|failed to push message to users, check array with failed uids");
    game_end(g);
}

TEST_MAIN(cmocka_unit_test(every_failure_has_its_text), cmocka_unit_test(members_come_and_go),
          cmocka_unit_test(names_are_whole), cmocka_unit_test(a_group_expires_unless_it_is_renewed),
          cmocka_unit_test(a_broadcast_reaches_all_loops_and_transports),
          cmocka_unit_test(a_member_that_has_left_is_a_failure_and_the_others_are_reached),
          cmocka_unit_test(a_member_is_a_uid_not_the_session_that_had_it))
