/* tests/unit/dispatch/test_push.c: pushes and kicks to users by uid, and everything at once from everywhere. */
#include "game.h"

#include "loop/loop.h"

static const char *const routes[] = {"here.do", "far.do"};

/** "verb type uid uid ...": the failed uids as "[a][b]", or the error that came with them. */
static cereus_status act(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uids[16], *failed[16], *words[18];
    size_t count = 0, failed_count = 99;
    for (char *word = strtok((char *)text_of(in), " "); word; word = strtok(NULL, " "))
        words[count++] = word;
    CHECK(count >= 2);
    const char *type = strcmp(words[1], "-") == 0 ? NULL : words[1];
    for (size_t i = 2; i < count; i++)
        uids[i - 2] = words[i];
    cereus_status st;
    if (strcmp(words[0], "bind") == 0)
        st = cereus_session_bind(ctx, cereus_ctx_session(ctx), words[1]);
    else if (strcmp(words[0], "push") == 0)
        st = cereus_push_to_users(ctx, "on.all", cereus_text("x"), uids, count - 2, type, failed, &failed_count);
    else if (strcmp(words[0], "blindpush") == 0)
        st = cereus_push_to_users(ctx, "on.all", cereus_text("x"), uids, count - 2, type, NULL, NULL);
    else
        st = cereus_kick_users(ctx, uids, count - 2, type, failed, &failed_count);
    char *text = cereus_ctx_printf(ctx, "%s", "");
    if (st == CEREUS_OK) {
        CHECK(failed_count == 0 || failed_count == 99);
        return reply_text(out, "ok");
    }
    for (size_t i = 0; failed_count != 99 && i < failed_count; i++)
        text = cereus_ctx_printf(ctx, "%s[%s]", text, failed[i]);
    return reply_text(out, cereus_ctx_printf(ctx, "%s%s", text, cereus_ctx_error_msg(ctx)));
}

static const cereus_method methods[] = {CEREUS_RAW_REQUEST("do", act)};
static const cereus_service_options on_session = {.home = CEREUS_HOME_SESSION};

static game *push_game(void)
{
    game *g = game_new(2);
    GAME_SERVE(g, "far", methods, NULL); /* at home on loop 1 */
    GAME_SERVE(g, "here", methods, &on_session);
    return g;
}

static void users_are_pushed_to_and_kicked_wherever_they_are(void **state)
{
    game *g = push_game();
    game_start(g);
    const char *const push_failed = "failed to push message to users, check array with failed uids";
    const char *const kick_failed = "failed to kick users, check array with failed uids";
    char want[200];
    for (size_t i = 0; i < 2; i++) {
        client *c = client_connect_on(g, GAME_TCP, 0), *a = client_connect_on(g, GAME_WS, 0),
               *b = client_connect_on(g, GAME_TCP, 1);
        client_call(a, routes[i], "bind a");
        client_call(b, routes[i], "bind b");
        assert_string_equal(client_call(c, routes[i], "push - a b"), "ok");
        assert_string_equal(client_call(c, routes[i], "push game b a b"), "ok");
        assert_string_equal(client_call(c, routes[i], "blindpush - a"), "ok");
        assert_string_equal(client_call(c, routes[i], "push -"), "ok"); /* nobody is no failure */
        snprintf(want, sizeof want, "[x][y]%s", push_failed);
        assert_string_equal(client_call(c, routes[i], "push - x a y b"), want);
        assert_string_equal(client_call(c, routes[i], "blindpush - x"), push_failed);
        snprintf(want, sizeof want, "[a][b]%s", push_failed);
        assert_string_equal(client_call(c, routes[i], "push other a b"), want);
        for (int n = 0; n < 4; n++)
            client_expect_push(a, "on.all", "x");
        for (int n = 0; n < 4; n++)
            client_expect_push(b, "on.all", "x");
        snprintf(want, sizeof want, "[x]%s", kick_failed);
        assert_string_equal(client_call(c, routes[i], "kick other a x b"), want);
        client_expect_kick(a);
        client_expect_kick(b);
        client_expect_closed(a);
        client_expect_closed(b);
        snprintf(want, sizeof want, "[a][b]%s", kick_failed);
        assert_string_equal(client_call(c, routes[i], "kick - a b"), want);
        client_close(c);
        game_await_sessions(g, 0);
    }
    game_end(g);
}

/* ---- values that are none ---- */

static bool everybody(cereus_ctx *ctx, const char *uid, void *user)
{
    return true;
}

static cereus_status push_nothing(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_session *s = cereus_ctx_session(ctx);
    const char *const uids[] = {"u"}, *failed[1];
    size_t failed_count = 99;
    cereus_session_bind(ctx, s, "u");
    cereus_group_create(ctx, "g");
    cereus_group_add(ctx, "g", "u");
    const cereus_value none[] = {cereus_json(NULL), cereus_message(NULL)};
    for (size_t i = 0; i < CEREUS_COUNT(none); i++) {
        CHECK(cereus_session_push(ctx, s, "on", none[i]) == CEREUS_E_INVALID);
        CHECK(strcmp(cereus_ctx_error_msg(ctx), "the value to push is NULL") == 0);
        CHECK(cereus_push_to_users(ctx, "on", none[i], uids, 1, NULL, failed, &failed_count) == CEREUS_E_INVALID);
        CHECK(failed_count == 99);
        CHECK(cereus_group_broadcast(ctx, NULL, "g", "on", none[i]) == CEREUS_E_INVALID);
        CHECK(cereus_group_multicast(ctx, NULL, "g", "on", none[i], everybody, NULL) == CEREUS_E_INVALID);
    }
    return reply_text(out, "nothing pushed");
}

static void a_push_of_nothing_fails_and_pushes_nothing(void **state)
{
    static const cereus_method nothing[] = {CEREUS_RAW_REQUEST("do", push_nothing)};
    game *g = game_new(2);
    GAME_SERVE(g, "far", nothing, NULL);
    GAME_SERVE(g, "one", nothing, NULL); /* at home on loop 1 */
    game_start(g);
    for (unsigned loop = 0; loop < 2; loop++) {
        client *c = client_connect_on(g, GAME_TCP, loop);
        assert_string_equal(client_call(c, "far.do", ""), "nothing pushed");
        assert_string_equal(client_call(c, "one.do", ""), "nothing pushed");
        client_close(c);
        game_await_sessions(g, 0);
    }
    game_end(g);
}

/* ---- everything at once ---- */

enum { CHURN_STEPS = GAME_SCALE(4000, 1000), CHURN_CLIENTS = 24, CHURN_USERS = 12, CHURN_GROUPS = 3 };

static atomic_size_t closes;

static void on_own_close(cereus_ctx *ctx, void *user)
{
    cereus_session *s = cereus_ctx_session(ctx);
    CHECK(cereus_session_kick(ctx, s) == CEREUS_E_GONE);
    cereus_session_set(ctx, s, "own", json_true());
}

static void on_any_close(cereus_ctx *ctx, void *user)
{
    cereus_session *s = cereus_ctx_session(ctx);
    const char *uid = cereus_session_uid(s);
    CHECK(cereus_session_push(ctx, s, "late", cereus_text("x")) == CEREUS_E_GONE);
    CHECK(!cereus_session_get(ctx, s, "closed")); /* once */
    CHECK(cereus_session_set(ctx, s, "closed", json_true()) == CEREUS_OK);
    if (*uid)
        cereus_group_remove(ctx, "g0", uid);
    cereus_group_broadcast(ctx, NULL, "g0", "on.left", cereus_text(uid));
    cereus_yield(ctx);
    atomic_fetch_add(&closes, 1);
}

static cereus_status slow_bind(cereus_ctx *ctx, void *user)
{
    const char *uid = cereus_session_uid(cereus_ctx_session(ctx));
    if (uid[0] && uid[1] % 3 == 0)
        cereus_yield(ctx);
    return uid[0] && uid[1] % 5 == 0 ? cereus_fail(ctx, "NO", "not today") : CEREUS_OK;
}

static uint32_t dice(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/** One step, as the numbers want it: body is a seed. */
static cereus_status churn(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    uint32_t seed = (uint32_t)strtoul(text_of(in), NULL, 10);
    cereus_session *s = cereus_ctx_session(ctx);
    char *uid = cereus_ctx_printf(ctx, "u%c", 'a' + (int)(dice(&seed) % CHURN_USERS));
    char *group = cereus_ctx_printf(ctx, "g%u", dice(&seed) % CHURN_GROUPS);
    const char *const uids[] = {uid, "ua", "ub", "uc", "nobody"};
    if (dice(&seed) % 3 == 0) {
        cereus_session *other = cereus_session_from_uid(ctx, uid);
        s = other ? other : s;
    }
    switch (dice(&seed) % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        cereus_session_bind(ctx, s, uid);
        break;
    case 4:
        cereus_session_kick(ctx, s);
        break;
    case 5:
        cereus_session_close(ctx, s);
        break;
    case 6:
        cereus_session_push(ctx, s, "on.one", cereus_text(uid));
        break;
    case 7:
        cereus_push_to_users(ctx, "on.some", cereus_text(uid), uids, CEREUS_COUNT(uids), NULL, NULL, NULL);
        break;
    case 8:
        cereus_kick_users(ctx, uids, 1 + dice(&seed) % 2, NULL, NULL, NULL);
        break;
    case 9:
        cereus_group_add(ctx, group, uid);
        break;
    case 10:
        cereus_group_remove(ctx, group, uid);
        break;
    case 11:
        cereus_group_broadcast(ctx, NULL, group, "on.group", cereus_json(cereus_ctx_keep(ctx, json_string(uid))));
        break;
    case 12:
        cereus_session_on_close(ctx, s, on_own_close, NULL);
        break;
    case 13:
        cereus_session_set(ctx, s, uid, json_integer(1));
        cereus_session_get(ctx, s, uid);
        cereus_session_data(ctx, s);
        break;
    case 14:
        cereus_session_uid(s);
        cereus_session_remote_addr(s);
        cereus_session_handshake(ctx, s);
        break;
    default:
        cereus_sleep(ctx, dice(&seed) % 2);
    }
    return reply_text(out, "ok");
}

static void make_groups(cereus_ctx *ctx, void *user)
{
    for (unsigned i = 0; i < CHURN_GROUPS; i++)
        CHECK(cereus_group_create(ctx, cereus_ctx_printf(ctx, "g%u", i)) == CEREUS_OK);
}

static void sessions_end_once_whatever_happens_at_once(void **state)
{
    static const cereus_method churn_methods[] = {
        CEREUS_RAW_REQUEST("do", churn),
        {.name = "beside", .in = CEREUS_RAW, .out = CEREUS_RAW, .raw = churn, .flags = CEREUS_CONCURRENT},
    };
    static const char *const where[] = {"here.do", "one.do", "two.do", "three.beside", "here.beside"};
    for (unsigned loops = 2; loops <= 4; loops += 2) {
        game *g = game_new(loops);
        GAME_SERVE(g, "one", churn_methods, NULL);
        GAME_SERVE(g, "two", churn_methods, NULL);
        GAME_SERVE(g, "three", churn_methods, NULL);
        GAME_SERVE(g, "here", churn_methods, &on_session);
        assert_int_equal(cereus_app_on_session_close(g->app, on_any_close, NULL), CEREUS_OK);
        assert_int_equal(cereus_app_on_session_bind(g->app, slow_bind, NULL), CEREUS_OK);
        assert_int_equal(cereus_app_on_after_session_bind(g->app, slow_bind, NULL), CEREUS_OK);
        assert_int_equal(cereus_app_spawn(g->app, NULL, make_groups, NULL), CEREUS_OK);
        game_start(g);
        atomic_store(&closes, 0);
        client *clients[CHURN_CLIENTS] = {0};
        uint32_t seed = 20260609 + loops;
        for (int step = 0; step < CHURN_STEPS; step++) {
            client **c = &clients[dice(&seed) % CHURN_CLIENTS];
            if (!*c)
                *c = client_connect(g, dice(&seed) % 2 ? GAME_WS : GAME_TCP);
            char text[16];
            for (uint32_t n = dice(&seed) % 4; n > 0; n--) {
                snprintf(text, sizeof text, "%u", dice(&seed));
                client_request(*c, where[dice(&seed) % CEREUS_COUNT(where)], text);
            }
            if (dice(&seed) % 8 == 0) {
                snprintf(text, sizeof text, "%u", dice(&seed));
                uint64_t id = client_request(*c, where[dice(&seed) % 4], text);
                event e;
                do
                    e = client_next(*c);
                while (e.kind != EVENT_CLOSED && e.id != id);
                if (e.kind == EVENT_CLOSED) {
                    client_close(*c);
                    *c = NULL;
                }
            } else if (dice(&seed) % 64 == 0) {
                client_close(*c);
                *c = NULL;
            }
        }
        for (int i = 0; i < CHURN_CLIENTS; i++) {
            if (clients[i])
                client_close(clients[i]);
        }
        game_await_sessions(g, 0);
        uint64_t opened = cereus_app_counter(g->app, "sessions_opened");
        game_await_counter(g, "sessions_closed", opened); /* counted when the session has been taken off the table */
        assert_int_equal(cereus_app_counter(g->app, "sessions_closed"), opened);
        game_end(g);
        assert_int_equal(atomic_load(&closes), opened);
    }
}

TEST_MAIN(cmocka_unit_test(users_are_pushed_to_and_kicked_wherever_they_are),
          cmocka_unit_test(a_push_of_nothing_fails_and_pushes_nothing),
          cmocka_unit_test(sessions_end_once_whatever_happens_at_once))
