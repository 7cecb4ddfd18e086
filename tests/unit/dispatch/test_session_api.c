/* tests/unit/dispatch/test_session_api.c: what handlers on any loop can do with sessions. Each client lives on loop 0;
 * the service "here" runs beside its session, "far" on loop 1, and most tests do everything through both. */
#include "game.h"

#include "loop/loop.h"

/* ---- what happened, in order ---- */

static pthread_mutex_t notes_mu = PTHREAD_MUTEX_INITIALIZER;
static char notes[8192]; /* guarded by notes_mu */
static gate noted = GATE_INIT, closed_all = GATE_INIT;

static void note(const char *fmt, ...) CEREUS_PRINTF(1, 2);
static void note(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    pthread_mutex_lock(&notes_mu);
    size_t len = strlen(notes);
    CHECK(len + 200 < sizeof notes);
    if (len)
        notes[len++] = ' ';
    vsnprintf(notes + len, sizeof notes - len, fmt, args);
    pthread_mutex_unlock(&notes_mu);
    va_end(args);
    gate_pass(&noted);
}

static void forget_notes(void)
{
    pthread_mutex_lock(&notes_mu);
    notes[0] = '\0';
    pthread_mutex_unlock(&notes_mu);
    gate_reset(&noted);
    gate_reset(&closed_all);
}

static void expect_notes(size_t count, const char *want)
{
    gate_await(&noted, count);
    pthread_mutex_lock(&notes_mu);
    char got[sizeof notes];
    memcpy(got, notes, sizeof notes);
    pthread_mutex_unlock(&notes_mu);
    assert_string_equal(got, want);
    forget_notes();
}

/* ---- one handler that does what it is told: "verb argument rest" ---- */

static leash hold;

static void on_close(cereus_ctx *ctx, void *user)
{
    note("%s:%s", (const char *)user, cereus_session_uid(cereus_ctx_session(ctx)));
}

static cereus_status give_text(cereus_ctx *ctx, cereus_slice *out, const char *text)
{
    char *copy = cereus_ctx_strdup(ctx, cereus_slice_str(text));
    CHECK(copy);
    *out = cereus_slice_str(copy);
    return CEREUS_OK;
}

static cereus_status give_json(cereus_ctx *ctx, cereus_slice *out, const json_t *json)
{
    if (!json)
        return give_text(ctx, out, "none");
    char *text = json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    CHECK(text);
    cereus_status st = give_text(ctx, out, text);
    free(text);
    return st;
}

static cereus_status act(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_session *s = cereus_ctx_session(ctx);
    char *verb = (char *)text_of(in), *arg = strchr(verb, ' '), *rest = NULL;
    char number[64];
    *out = cereus_slice_str("ok");
    if (arg)
        *arg++ = '\0';
    else
        arg = verb + strlen(verb);
    if (*arg == '#') { /* "#ID ..." acts on another session */
        char *end;
        s = cereus_session_from_id(ctx, strtoull(arg + 1, &end, 10));
        arg = *end ? end + 1 : end;
    }
    if ((rest = strchr(arg, ' ')) != NULL && strcmp(verb, "setdata") != 0)
        *rest++ = '\0';
#define VERB(name) if (strcmp(verb, name) == 0)
    VERB("bind") return cereus_session_bind(ctx, s, arg);
    VERB("uid") return give_text(ctx, out, cereus_session_uid(s));
    VERB("addr") return give_text(ctx, out, cereus_session_remote_addr(s));
    VERB("find")
    {
        cereus_session *found = cereus_session_from_uid(ctx, arg);
        snprintf(number, sizeof number, "%llu", found ? (unsigned long long)cereus_session_get_id(found) : 0);
        return give_text(ctx, out, number);
    }
    VERB("push") return cereus_session_push(ctx, s, arg, cereus_text(rest ? rest : ""));
    VERB("push3")
    {
        for (int i = 1; i <= 3; i++) {
            snprintf(number, sizeof number, "%d", i);
            CEREUS_TRY(cereus_session_push(ctx, s, "on.push", cereus_text(number)));
        }
        return CEREUS_OK;
    }
    VERB("pushjson")
    {
        json_t *json = cereus_ctx_keep(ctx, json_pack("{s:i}", "a", 1));
        return cereus_session_push(ctx, s, "on.json", cereus_json(json));
    }
    VERB("pushlong")
    {
        char route[257];
        memset(route, 'r', 256);
        route[256] = '\0';
        cereus_status st = cereus_session_push(ctx, s, route, cereus_text("x"));
        CHECK(st == CEREUS_E_TOO_LONG);
        route[255] = '\0';
        return cereus_session_push(ctx, s, route, cereus_text("x"));
    }
    VERB("pushhuge")
    {
        size_t len = (1u << 24) + 1;
        uint8_t *data = cereus_ctx_alloc(ctx, len);
        CHECK(data);
        return cereus_session_push(ctx, s, "on.huge", cereus_raw(cereus_slice_of(data, len)));
    }
    VERB("pushempty")
    {
        cereus_value v = {.shape = CEREUS_NOTHING};
        return cereus_session_push(ctx, s, "on.empty", v);
    }
    VERB("kick") return cereus_session_kick(ctx, s);
    VERB("close") return cereus_session_close(ctx, s);
    VERB("closetwice")
    {
        CHECK(cereus_session_close(ctx, s) == CEREUS_OK);
        CHECK(cereus_session_close(ctx, s) == CEREUS_E_GONE);
        CHECK(cereus_session_kick(ctx, s) == CEREUS_E_GONE);
        CHECK(cereus_session_bind(ctx, s, "late") == CEREUS_E_GONE);
        CHECK(cereus_session_on_close(ctx, s, on_close, (void *)"never") == CEREUS_E_GONE);
        CHECK(cereus_session_set(ctx, s, "k", json_true()) == CEREUS_E_GONE);
        CHECK(cereus_session_set_data(ctx, s, json_object()) == CEREUS_E_GONE);
        CHECK(cereus_session_remove(ctx, s, "k") == CEREUS_E_GONE);
        CHECK(!cereus_session_get(ctx, s, "k") && !cereus_session_data(ctx, s) && !cereus_session_handshake(ctx, s));
        CHECK(cereus_session_get_int(ctx, s, "k") == 0 && strcmp(cereus_session_get_text(ctx, s, "k"), "") == 0);
        note("closed");
        return CEREUS_OK;
    }
    VERB("onclose")
    {
        static const char *const names[] = {"own1", "own2", "own3"};
        return cereus_session_on_close(ctx, s, on_close, (void *)(uintptr_t)names[atoi(arg) - 1]);
    }
    VERB("set") return cereus_session_set(ctx, s, arg, json_loads(rest, JSON_DECODE_ANY, NULL));
    VERB("setnull") return cereus_session_set(ctx, s, arg, NULL);
    VERB("get") return give_json(ctx, out, cereus_session_get(ctx, s, arg));
    VERB("int")
    {
        snprintf(number, sizeof number, "%lld", (long long)cereus_session_get_int(ctx, s, arg));
        return give_text(ctx, out, number);
    }
    VERB("double")
    {
        snprintf(number, sizeof number, "%g", cereus_session_get_double(ctx, s, arg));
        return give_text(ctx, out, number);
    }
    VERB("text") return give_text(ctx, out, cereus_session_get_text(ctx, s, arg));
    VERB("del") return cereus_session_remove(ctx, s, arg);
    VERB("data") return give_json(ctx, out, cereus_session_data(ctx, s));
    VERB("setdata") return cereus_session_set_data(ctx, s, json_loads(arg, JSON_DECODE_ANY, NULL));
    VERB("hs") return give_json(ctx, out, cereus_session_handshake(ctx, s));
    CHECK(!"a verb that it knows");
    return CEREUS_OK;
}

static const cereus_method methods[] = {CEREUS_RAW_REQUEST("do", act)};
static const char *const routes[] = {"here.do", "far.do"};

static void on_global_close(cereus_ctx *ctx, void *user)
{
    cereus_session *s = cereus_ctx_session(ctx);
    note("%s:%s", (const char *)user, cereus_session_uid(s));
    if (strcmp(user, "last") == 0)
        gate_pass(&closed_all);
}

static cereus_status on_bind(cereus_ctx *ctx, void *user)
{
    cereus_session *s = cereus_ctx_session(ctx);
    const char *uid = cereus_session_uid(s);
    cereus_session *found = cereus_session_from_uid(ctx, uid);
    bool mine = found && cereus_session_get_id(found) == cereus_session_get_id(s);
    CHECK(crs_loop_current->index == crs_session_id_loop(cereus_session_get_id(s)));
    CHECK(mine == (strncmp(user, "after", 5) == 0)); /* findable only when it has been bound */
    note("%s", (const char *)user);
    if (strstr(uid, "hold") && strcmp(user, strstr(uid, "after") ? "after1" : "bind1") == 0) {
        cereus_status st = leash_hold(&hold, ctx);
        note("released");
        return st;
    }
    if (strstr(uid, "wait"))
        CHECK(cereus_sleep(ctx, 1) == CEREUS_OK);
    if (strncmp(uid, user, strlen(user)) == 0)
        return cereus_fail(ctx, "V-1", "%s says no", (const char *)user);
    return CEREUS_OK;
}

static game *sessions_game(void)
{
    static const cereus_service_options on_session = {.home = CEREUS_HOME_SESSION};
    game *g = game_new(2);
    GAME_SERVE(g, "far", methods, NULL); /* kit's was the first: this is at home on loop 1 */
    GAME_SERVE(g, "here", methods, &on_session);
    forget_notes();
    return g;
}

static void add_bind_hooks(game *g)
{
    assert_int_equal(cereus_app_on_session_bind(g->app, on_bind, (void *)"bind1"), CEREUS_OK);
    assert_int_equal(cereus_app_on_session_bind(g->app, on_bind, (void *)"bind2"), CEREUS_OK);
    assert_int_equal(cereus_app_on_after_session_bind(g->app, on_bind, (void *)"after1"), CEREUS_OK);
    assert_int_equal(cereus_app_on_after_session_bind(g->app, on_bind, (void *)"after2"), CEREUS_OK);
}

static void add_close_hooks(game *g)
{
    assert_int_equal(cereus_app_on_session_close(g->app, on_global_close, (void *)"first"), CEREUS_OK);
    assert_int_equal(cereus_app_on_session_close(g->app, on_global_close, (void *)"last"), CEREUS_OK);
}

/* ---- bind ---- */

static void bind_checks_the_uid(void **state)
{
    game *g = sessions_game();
    game_start(g);
    for (size_t i = 0; i < 2; i++) {
        client *c = client_connect_on(g, GAME_TCP, 0);
        char text[300] = "bind ";
        assert_string_equal(client_call(c, routes[i], "uid"), "");
        assert_string_equal(client_fail(c, routes[i], text), "PIT-000|illegal uid");
        memset(text + 5, 'u', 256);
        text[261] = '\0';
        assert_string_equal(client_fail(c, routes[i], text), "PIT-000|illegal uid");
        text[260] = '\0';
        client_call(c, routes[i], text);
        assert_string_equal(client_call(c, routes[0], "uid"), text + 5);
        assert_string_equal(client_call(c, routes[1], "uid"), text + 5);
        assert_string_equal(client_fail(c, routes[i], text), "PIT-000|session is already bound to an uid");
        assert_string_equal(client_fail(c, routes[i], "bind other"), "PIT-000|session is already bound to an uid");
        client_close(c);
        game_await_sessions(g, 0);
    }
    assert_int_equal(cereus_app_counter(g->app, "binds"), 2);
    game_end(g);
}

static void bind_calls_back_before_and_after_the_uid_can_be_found(void **state)
{
    game *g = sessions_game();
    add_bind_hooks(g);
    game_start(g);
    const char *const uids[] = {"alice", "wait-bob"};
    for (size_t i = 0; i < 4; i++) {
        client *c = client_connect_on(g, GAME_TCP, 0);
        char text[64];
        snprintf(text, sizeof text, "bind %s", uids[i / 2]);
        client_call(c, routes[i % 2], text);
        expect_notes(4, "bind1 bind2 after1 after2");
        snprintf(text, sizeof text, "find %s", uids[i / 2]);
        assert_int_equal(strtoull(client_call(c, routes[i % 2], text), NULL, 10), client_session(c));
    }
    game_end(g);
}

static void a_failing_callback_takes_the_uid_back(void **state)
{
    game *g = sessions_game();
    add_bind_hooks(g);
    game_start(g);
    static const struct {
        const char *who, *notes;
        size_t count;
    } failing[] = {{"bind1", "bind1", 1},
                   {"bind2", "bind1 bind2", 2},
                   {"after1", "bind1 bind2 after1", 3},
                   {"after2", "bind1 bind2 after1 after2", 4}};
    for (size_t route = 0; route < 2; route++) {
        client *c = client_connect_on(g, GAME_WS, 0);
        for (size_t i = 0; i < CEREUS_COUNT(failing); i++) {
            char text[64], want[64];
            snprintf(text, sizeof text, "bind %s%s", failing[i].who, i % 2 ? "" : "-wait");
            snprintf(want, sizeof want, "V-1|%s says no", failing[i].who);
            assert_string_equal(client_fail(c, routes[route], text), want);
            expect_notes(failing[i].count, failing[i].notes);
            assert_string_equal(client_call(c, "here.do", "uid"), "");
            assert_string_equal(client_call(c, "far.do", "uid"), "");
            snprintf(text, sizeof text, "find %s%s", failing[i].who, i % 2 ? "" : "-wait");
            assert_string_equal(client_call(c, routes[route], text), "0");
        }
        client_call(c, routes[route], "bind good"); /* as if nothing had been */
        assert_string_equal(client_call(c, "here.do", "uid"), "good");
        expect_notes(4, "bind1 bind2 after1 after2");
        client_close(c);
        game_await_sessions(g, 0);
    }
    game_end(g);
}

static void a_second_login_replaces_the_first(void **state)
{
    game *g = sessions_game();
    add_close_hooks(g);
    game_start(g);
    for (unsigned old_loop = 0; old_loop < 2; old_loop++) {
        for (size_t route = 0; route < 2; route++) {
            client *old = client_connect_on(g, GAME_TCP, old_loop), *c = client_connect_on(g, GAME_WS, 0);
            game_await_sessions(g, 2);
            client_call(old, routes[route], "bind twin");
            client_call(old, routes[route], "onclose 1");
            forget_notes(); /* of the connections that came to the wrong loop */
            client_call(c, routes[route], "bind twin");
            client_expect_closed(old); /* without a kick */
            expect_notes(3, "own1:twin first:twin last:twin");
            assert_int_equal(strtoull(client_call(c, "far.do", "find twin"), NULL, 10), client_session(c));
            game_await_sessions(g, 1);
            client_close(c);
            client_close(old);
            expect_notes(2, "first:twin last:twin");
            game_await_sessions(g, 0);
        }
    }
    game_end(g);
}

static void a_session_that_ends_while_it_is_bound_is_not_bound(void **state)
{
    game *g = sessions_game();
    add_bind_hooks(g);
    add_close_hooks(g);
    game_start(g);
    static const char *const uids[] = {"hold", "hold-after"};
    for (size_t i = 0; i < 4; i++) {
        client *c = client_connect_on(g, GAME_TCP, 0), *other = client_connect_on(g, GAME_TCP, 0);
        game_await_sessions(g, 2);
        leash_init(&hold);
        forget_notes();
        char text[64];
        snprintf(text, sizeof text, "bind %s", uids[i / 2]);
        client_request(c, routes[i % 2], text);
        gate_await(&noted, i / 2 ? 3 : 1);
        client_close(c);
        gate_await(&closed_all, 1);
        leash_release(&hold);
        expect_notes(i / 2 ? 6 : 4, i / 2 ? "bind1 bind2 after1 first:hold-after last:hold-after released"
                                          : "bind1 first:hold last:hold released");
        snprintf(text, sizeof text, "find %s", uids[i / 2]);
        assert_string_equal(client_call(other, "here.do", text), "0");
        assert_string_equal(client_call(other, "far.do", text), "0");
        client_close(other);
        game_await_sessions(g, 0);
        leash_fini(&hold);
    }
    game_end(g);
}

static void a_session_that_has_ended_answers_that_it_is_gone(void **state)
{
    game *g = sessions_game();
    add_close_hooks(g);
    game_start(g);
    client *c = client_connect_on(g, GAME_TCP, 0), *gone[2];
    const char *const pipe = "PIT-499|broken low-level pipe";
    for (unsigned loop = 0; loop < 2; loop++) {
        gone[loop] = client_connect_on(g, GAME_TCP, loop);
        cereus_session_id id = client_session(gone[loop]);
        forget_notes();
        client_close(gone[loop]);
        gate_await(&closed_all, 1);
        for (size_t i = 0; i < 2; i++) {
            char text[64];
#define ABOUT(verb, rest) (snprintf(text, sizeof text, verb " #%llu " rest, (unsigned long long)id), text)
            assert_string_equal(client_fail(c, routes[i], ABOUT("bind", "late")), pipe);
            assert_string_equal(client_fail(c, routes[i], ABOUT("kick", "")), pipe);
            assert_string_equal(client_fail(c, routes[i], ABOUT("close", "")), pipe);
            assert_string_equal(client_fail(c, routes[i], ABOUT("set", "k 1")), pipe);
            assert_string_equal(client_call(c, routes[i], ABOUT("get", "k")), "none");
            assert_string_equal(client_call(c, routes[i], ABOUT("uid", "")), "");
            assert_string_equal(client_call(c, routes[i], ABOUT("addr", "")), "");
            assert_string_equal(client_call(c, routes[i], ABOUT("hs", "")), "none");
            assert_string_equal(client_fail(c, routes[i], ABOUT("onclose", "1")), pipe);
            assert_string_equal(client_call(c, routes[i], "find late"), "0");
        }
    }
    assert_string_equal(client_fail(c, "here.do", "kick #0 "), pipe);
    assert_string_equal(client_fail(c, "here.do", "kick #18446744073709551615 "), pipe); /* no such loop */
    assert_string_equal(client_fail(c, "here.do", "push #0 r x"), pipe);
    client_call(c, "far.do", "push #0 r x"); /* sent to loop 0, which drops it */
    game_end(g);
}

/* ---- close callbacks ---- */

static void close_callbacks_run_once_whatever_ends_the_session(void **state)
{
    enum { BY_CLIENT, BY_KICK, BY_CLOSE, BY_REPLACEMENT, BY_GARBAGE, BY_BAD_MESSAGE, BY_SHUTDOWN, CAUSES };
    for (int cause = 0; cause < CAUSES; cause++) {
        for (size_t route = 0; route < 2; route++) {
            game *g = sessions_game();
            add_close_hooks(g);
            game_start(g);
            client *other = client_connect(g, GAME_TCP), *c = client_connect_on(g, GAME_WS, 0);
            client_call(c, routes[route], "bind eve");
            client_call(c, routes[route], "onclose 2");
            client_call(c, routes[route], "onclose 1");
            client_call(c, routes[route], "onclose 2"); /* no deduplication: F-55 */
            game_await_sessions(g, 2);
            forget_notes();
            switch (cause) {
            case BY_CLIENT:
                client_shut(c);
                break;
            case BY_KICK:
                client_request(c, routes[route], "kick");
                client_expect_kick(c);
                break;
            case BY_CLOSE:
                client_request(c, routes[route], "close");
                break;
            case BY_REPLACEMENT:
                client_call(other, routes[route], "bind eve");
                break;
            case BY_GARBAGE:
                client_send_bytes(c, "\x82\x84\0\0\0\0\x63\0\0\0", 10);
                break;
            case BY_BAD_MESSAGE:
                client_send_packet(c, 4, "\x0e", 1);
                break;
            case BY_SHUTDOWN:
                client_close(other);
                game_await_sessions(g, 1);
                gate_await(&closed_all, 1);
                forget_notes();
                client_listen(c);
                game_stop(g);
                break;
            }
            client_expect_closed(c);
            expect_notes(5, "own2:eve own1:eve own2:eve first:eve last:eve");
            if (cause != BY_SHUTDOWN)
                client_close(other);
            game_end(g);
            expect_notes(cause == BY_SHUTDOWN ? 0 : 2, cause == BY_SHUTDOWN      ? ""
                                                       : cause == BY_REPLACEMENT ? "first:eve last:eve"
                                                                                 : "first: last:");
        }
    }
}

static void close_callbacks_run_for_the_silent_too(void **state)
{
    game *g = sessions_game();
    add_close_hooks(g);
    game_set(g, "cereus.handshake.timeout", "30ms");
    game_set(g, "pitaya.heartbeat.interval", "200ms");
    game_start(g);
    client *c = client_dial(g, GAME_TCP);
    client_expect_closed(c);
    expect_notes(2, "first: last:");
    assert_int_equal(cereus_app_counter(g->app, "handshake_timeouts"), 1);
    c = client_connect(g, GAME_TCP);
    client_call(c, "here.do", "bind sleepy");
    client_expect_closed(c); /* it hears heartbeats and does not answer */
    expect_notes(2, "first:sleepy last:sleepy");
    assert_int_equal(cereus_app_counter(g->app, "heartbeat_timeouts"), 1);
    game_end(g);
}

static void callback_that_tries_everything(cereus_ctx *ctx, void *user)
{
    cereus_session *s = cereus_ctx_session(ctx);
    CHECK(strcmp(cereus_ctx_route(ctx), "session close") == 0);
    CHECK(strcmp(cereus_session_uid(s), "dora") == 0);
    CHECK(strncmp(cereus_session_remote_addr(s), "127.0.0.1:", 10) == 0);
    CHECK(cereus_session_get_int(ctx, s, "score") == 7);
    CHECK(cereus_session_handshake(ctx, s));
    CHECK(!cereus_session_from_uid(ctx, "dora"));
    CHECK(cereus_session_kick(ctx, s) == CEREUS_E_GONE);
    CHECK(cereus_session_close(ctx, s) == CEREUS_E_GONE);
    CHECK(cereus_session_bind(ctx, s, "again") == CEREUS_E_GONE);
    CHECK(cereus_session_push(ctx, s, "r", cereus_text("x")) == CEREUS_E_GONE);
    CHECK(cereus_session_on_close(ctx, s, on_close, (void *)"never") == CEREUS_E_GONE);
    cereus_session *by_id = cereus_session_from_id(ctx, cereus_session_get_id(s));
    CHECK(cereus_session_kick(ctx, by_id) == CEREUS_E_GONE);
    CHECK(cereus_session_push(ctx, by_id, "r", cereus_text("x")) == CEREUS_E_GONE);
    CHECK(cereus_session_set(ctx, s, "score", json_integer(8)) == CEREUS_OK); /* for those that follow */
    CHECK(cereus_session_get_int(ctx, s, "score") == 8);
    CHECK(cereus_session_set(ctx, s, "score", json_integer(7)) == CEREUS_OK);
    cereus_yield(ctx);
    CHECK(strcmp(cereus_session_uid(s), "dora") == 0);
    note("tried");
}

static void close_callbacks_may_do_anything_with_the_session(void **state)
{
    static const char *const ends[] = {"kick", "close"};
    for (size_t i = 0; i < 4; i++) {
        game *g = sessions_game();
        assert_int_equal(cereus_app_on_session_close(g->app, callback_that_tries_everything, NULL), CEREUS_OK);
        assert_int_equal(cereus_app_on_session_close(g->app, callback_that_tries_everything, NULL), CEREUS_OK);
        game_start(g);
        client *c = client_connect(g, GAME_TCP);
        client_call(c, "here.do", "bind dora");
        client_call(c, "here.do", "set score 7");
        client_request(c, routes[i % 2], ends[i / 2]);
        if (i / 2 == 0)
            client_expect_kick(c);
        client_expect_closed(c);
        expect_notes(2, "tried tried");
        game_end(g);
    }
}

static void a_handler_outlives_its_session(void **state)
{
    game *g = sessions_game();
    game_start(g);
    for (unsigned i = 0; i < 4; i++) {
        client *c = client_connect_on(g, GAME_TCP, i % 2);
        client_request(c, routes[i / 2], "closetwice");
        client_expect_closed(c);
        expect_notes(1, "closed");
    }
    game_end(g);
}

/* ---- data ---- */

static void session_data_is_json_that_converts(void **state)
{
    game *g = sessions_game();
    game_start(g);
    for (size_t i = 0; i < 2; i++) {
        client *c = client_connect_on(g, GAME_TCP, 0);
        const char *r = routes[i], *o = routes[1 - i];
        assert_string_equal(client_call(c, r, "data"), "{\"ipversion\":\"ipv4\"}");
        assert_string_equal(client_call(c, r, "text ipversion"), "ipv4");
        assert_string_equal(client_call(c, r, "get none"), "none");
        client_call(c, r, "set score 5");
        assert_string_equal(client_call(c, o, "get score"), "5");
        assert_string_equal(client_call(c, o, "int score"), "5");
        assert_string_equal(client_call(c, o, "double score"), "5");
        assert_string_equal(client_call(c, o, "text score"), "");
        client_call(c, r, "set score 7.9");
        assert_string_equal(client_call(c, o, "int score"), "7");
        assert_string_equal(client_call(c, o, "double score"), "7.9");
        client_call(c, r, "set score 1e300");
        assert_string_equal(client_call(c, o, "int score"), "0");
        client_call(c, r, "set score -9223372036854775808");
        assert_string_equal(client_call(c, o, "int score"), "-9223372036854775808");
        client_call(c, r, "set name {\"a\":[1,true,null]}");
        assert_string_equal(client_call(c, o, "get name"), "{\"a\":[1,true,null]}");
        assert_string_equal(client_call(c, o, "int name"), "0");
        client_call(c, r, "del score");
        client_call(c, r, "del score");
        assert_string_equal(client_call(c, o, "get score"), "none");
        client_call(c, r, "setdata {\"x\": 1, \"y\": \"two\"}");
        assert_string_equal(client_call(c, o, "data"), "{\"x\":1,\"y\":\"two\"}");
        assert_string_equal(client_fail(c, r, "setdata [1]"), "PIT-000|argument or setting that makes no sense");
        assert_string_equal(client_fail(c, r, "setdata nonsense"), "PIT-000|argument or setting that makes no sense");
        assert_string_equal(client_fail(c, r, "setnull x"), "PIT-000|argument or setting that makes no sense");
        assert_string_equal(client_call(c, o, "data"), "{\"x\":1,\"y\":\"two\"}");
        client_call(c, r, "setdata {}");
        assert_string_equal(client_call(c, o, "data"), "{}");
        client_send_handshake(c, "{}"); /* data survives another handshake */
    }
    game_end(g);
}

static void a_handler_sees_the_handshake_and_the_address(void **state)
{
    game *g = sessions_game();
    game_start(g);
    client *c = client_dial(g, GAME_WS);
    assert_int_equal(client_handshake(c, "{\"sys\":{\"platform\":\"mac\",\"libVersion\":\"1\"},\"user\":{\"age\":3}}"),
                     200);
    client_ack(c);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(client_call(c, routes[i], "hs"),
                            "{\"sys\":{\"clientBuildNumber\":\"\",\"clientVersion\":\"\",\"libVersion\":\"1\","
                            "\"platform\":\"mac\"},\"user\":{\"age\":3}}");
        const char *addr = client_call(c, routes[i], "addr");
        assert_int_equal(strncmp(addr, "127.0.0.1:", 10), 0);
        assert_true(atoi(addr + 10) > 0);
    }
    game_end(g);
}

static cereus_status validate(const struct json_t *handshake, void *user)
{
    const json_t *sys = json_object_get(handshake, "sys"), *users = json_object_get(handshake, "user");
    CHECK(json_is_object(sys) && json_is_string(json_object_get(sys, "platform")));
    note("%s", (const char *)user);
    const char *refuse = json_string_value(json_object_get(users, "refuse"));
    return refuse && strcmp(refuse, user) == 0 ? CEREUS_E_INVALID : CEREUS_OK;
}

static void validators_decide_about_handshakes(void **state)
{
    game *g = sessions_game();
    assert_int_equal(cereus_app_add_handshake_validator(g->app, "a", validate, (void *)"old"), CEREUS_OK);
    assert_int_equal(cereus_app_add_handshake_validator(g->app, "b", validate, (void *)"two"), CEREUS_OK);
    assert_int_equal(cereus_app_add_handshake_validator(g->app, "a", validate, (void *)"one"), CEREUS_OK);
    game_start(g);
    assert_int_equal(cereus_app_add_handshake_validator(g->app, "c", validate, (void *)"x"), CEREUS_E_STATE);
    client *c = client_dial(g, GAME_TCP);
    assert_int_equal(client_handshake(c, "{}"), 200);
    expect_notes(2, "one two");
    client_ack(c);
    assert_string_equal(client_call(c, "here.do", "uid"), "");
    assert_int_equal(client_handshake(c, "{\"user\":{\"refuse\":\"two\"}}"), 400); /* also a later one */
    expect_notes(2, "one two");
    client_expect_closed(c);
    c = client_dial(g, GAME_WS);
    assert_int_equal(client_handshake(c, "{\"user\":{\"refuse\":\"one\"}}"), 400);
    expect_notes(1, "one");
    client_expect_closed(c);
    c = client_dial(g, GAME_TCP);
    assert_int_equal(client_handshake(c, "[]"), 400);
    client_expect_closed(c);
    assert_int_equal(cereus_app_counter(g->app, "handshakes_refused"), 3);
    c = client_dial(g, GAME_TCP);
    client_ack(c); /* F-10: nobody comes in past the validators */
    client_request(c, "here.do", "uid");
    client_expect_closed(c);
    game_end(g);
    assert_int_equal(gate_count(&noted), 0);
}

/* ---- loops without a fiber left ---- */

static gate tight_passed = GATE_INIT;
static leash tight_leash;

/** "uid" is bound at once, "!uid" when it is let, "" not at all. */
static cereus_status bind_tight(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uid = text_of(in);
    if (*uid == '!' || !*uid) {
        gate_pass(&tight_passed);
        CEREUS_TRY(leash_hold(&tight_leash, ctx));
    }
    if (*uid)
        CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), uid));
    return give_text(ctx, out, "done");
}

static cereus_status wait_when_slow(cereus_ctx *ctx, void *user)
{
    if (strcmp(cereus_session_uid(cereus_ctx_session(ctx)), "slow") != 0)
        return CEREUS_OK;
    gate_pass(&tight_passed);
    return leash_hold(&tight_leash, ctx);
}

static const cereus_method tight_methods[] = {CEREUS_RAW_REQUEST("bind", bind_tight)};

static void loops_whose_fibers_all_bind_on_each_other_go_on(void **state)
{
    game *g = game_new(2);
    GAME_SERVE(g, "far", tight_methods, NULL);  /* at home on loop 1 */
    GAME_SERVE(g, "near", tight_methods, NULL); /* on loop 0 */
    game_set(g, "cereus.fibers.max", "1");
    game_start(g);
    leash_init(&tight_leash);
    gate_reset(&tight_passed);
    client *a = client_connect_on(g, GAME_TCP, 0), *b = client_connect_on(g, GAME_TCP, 1);
    uint64_t a_id = client_request(a, "far.bind", "!a"), b_id = client_request(b, "near.bind", "!b");
    gate_await(&tight_passed, 2);
    leash_release(&tight_leash);
    client_expect_response(a, a_id, "done");
    client_expect_response(b, b_id, "done");
    leash_fini(&tight_leash);
    game_end(g);
}

static void a_bind_for_which_no_fiber_is_left_fails_and_does_not_wait(void **state)
{
    game *g = game_new(3);
    GAME_SERVE(g, "one", tight_methods, NULL);
    GAME_SERVE(g, "two", tight_methods, NULL);
    GAME_SERVE(g, "zero", tight_methods, NULL);
    assert_int_equal(cereus_app_on_session_bind(g->app, wait_when_slow, NULL), CEREUS_OK);
    game_set(g, "cereus.fibers.max", "1"); /* and one in reserve */
    game_start(g);
    leash_init(&tight_leash);
    gate_reset(&tight_passed);
    client *holder = client_connect_on(g, GAME_TCP, 0), *slow = client_connect_on(g, GAME_TCP, 0),
           *late = client_connect_on(g, GAME_TCP, 0);
    uint64_t held = client_request(holder, "zero.bind", "");
    gate_await(&tight_passed, 1);
    uint64_t slow_id = client_request(slow, "one.bind", "slow");
    gate_await(&tight_passed, 2);
    assert_string_equal(client_fail(late, "two.bind", "late"), "PIT-500|a bounded queue is full");
    leash_release(&tight_leash);
    client_expect_response(holder, held, "done");
    client_expect_response(slow, slow_id, "done");
    assert_string_equal(client_call(late, "two.bind", "late"), "done");
    leash_fini(&tight_leash);
    game_end(g);
}

/* ---- pushes, kicks, closes ---- */

static void pushes_leave_before_the_response(void **state)
{
    game *g = sessions_game();
    game_start(g);
    for (size_t i = 0; i < 4; i++) {
        client *c = client_connect_on(g, i / 2 ? GAME_WS : GAME_TCP, 0);
        const char *r = routes[i % 2];
        uint64_t id = client_request(c, r, "push3");
        client_expect_push(c, "on.push", "1");
        client_expect_push(c, "on.push", "2");
        client_expect_push(c, "on.push", "3");
        client_expect_response(c, id, "ok");
        id = client_request(c, r, "pushjson");
        client_expect_push(c, "on.json", "{\"a\":1}");
        client_expect_response(c, id, "ok");
        id = client_request(c, r, "push x");
        client_expect_push(c, "x", "");
        client_expect_response(c, id, "ok");
        id = client_request(c, r, "pushlong");
        event e = client_next(c);
        assert_int_equal(e.kind, EVENT_PUSH);
        assert_int_equal(strlen(e.route), 255);
        client_expect_response(c, id, "ok");
        assert_string_equal(client_fail(c, r, "pushhuge"), "PIT-400|longer than the limit");
        id = client_request(c, r, "pushempty");
        client_expect_push(c, "on.empty", "");
        client_expect_response(c, id, "ok");
        assert_string_equal(client_call(c, r, "uid"), "");
    }
    game_end(g);
}

static void kick_and_close_leave_after_what_was_said(void **state)
{
    game *g = sessions_game();
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    for (unsigned i = 0; i < 8; i++) {
        client *victim = client_connect_on(g, i % 4 / 2 ? GAME_WS : GAME_TCP, i / 4);
        char text[64];
        unsigned long long id = client_session(victim);
        for (int n = 0; n < 3; n++) {
            snprintf(text, sizeof text, "push #%llu r %d", id, n);
            client_call(c, routes[i % 2], text);
        }
        snprintf(text, sizeof text, "%s #%llu", i % 3 ? "kick" : "close", id);
        client_call(c, routes[i % 2], text);
        client_expect_push(victim, "r", "0");
        client_expect_push(victim, "r", "1");
        client_expect_push(victim, "r", "2");
        if (i % 3)
            client_expect_kick(victim);
        client_expect_closed(victim);
        client_close(victim);
    }
    game_end(g);
}

TEST_MAIN(cmocka_unit_test(bind_checks_the_uid),
          cmocka_unit_test(bind_calls_back_before_and_after_the_uid_can_be_found),
          cmocka_unit_test(a_failing_callback_takes_the_uid_back), cmocka_unit_test(a_second_login_replaces_the_first),
          cmocka_unit_test(a_session_that_ends_while_it_is_bound_is_not_bound),
          cmocka_unit_test(loops_whose_fibers_all_bind_on_each_other_go_on),
          cmocka_unit_test(a_bind_for_which_no_fiber_is_left_fails_and_does_not_wait),
          cmocka_unit_test(a_session_that_has_ended_answers_that_it_is_gone),
          cmocka_unit_test(close_callbacks_run_once_whatever_ends_the_session),
          cmocka_unit_test(close_callbacks_run_for_the_silent_too),
          cmocka_unit_test(close_callbacks_may_do_anything_with_the_session),
          cmocka_unit_test(a_handler_outlives_its_session), cmocka_unit_test(session_data_is_json_that_converts),
          cmocka_unit_test(a_handler_sees_the_handshake_and_the_address),
          cmocka_unit_test(validators_decide_about_handshakes), cmocka_unit_test(pushes_leave_before_the_response),
          cmocka_unit_test(kick_and_close_leave_after_what_was_said))
