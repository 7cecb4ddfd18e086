/* tests/unit/cluster/test_users.c: users wherever they are: groups, pushes and kicks of a backend and of a frontend for players
 * of two frontends; and what of a handler's result no message can carry. */
#include "cluster.h"

#include <cereus/group.h>
#include <cereus/remote.h>

static cereus_test_app *back, *one, *two;
static cereus_test_client *alice, *bob, *carol; /* alice and carol on the first, bob on the second */

static const char *text_of(cereus_slice in)
{
    return (const char *)in.data;
}

static bool not_bob(cereus_ctx *ctx, const char *uid, void *user)
{
    return strcmp(uid, "bob") != 0;
}

/** "cast TYPE", "multi TYPE", "push TYPE", "kick TYPE", to alice, bob and carol; TYPE "-": none. */
static cereus_status act(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    static const char *const uids[] = {"alice", "bob", "carol"};
    const char *verb = text_of(in), *type = strchr(verb, ' ') + 1, *failed[3] = {0};
    size_t failed_count = 99;
    cereus_status st = cereus_group_create(ctx, "all");
    if (!st) {
        for (size_t i = 0; i < 3; i++)
            CEREUS_TRY(cereus_group_add(ctx, "all", uids[i]));
    }
    if (strcmp(type, "-") == 0)
        type = NULL;
    *out = cereus_slice_str("done");
    if (verb[0] == 'c')
        return cereus_group_broadcast(ctx, type, "all", "onCast", cereus_text("hello"));
    if (verb[0] == 'm')
        return cereus_group_multicast(ctx, type, "all", "onCast", cereus_text("hello"), not_bob, NULL);
    if (verb[0] == 'p')
        st = cereus_push_to_users(ctx, "onCast", cereus_text("hello"), uids, 3, type, failed, &failed_count);
    else
        st = cereus_kick_users(ctx, uids, 3, type, failed, &failed_count);
    if (st) {
        cereus_test_check(failed_count == 3 && strcmp(failed[0], "alice") == 0 && strcmp(failed[2], "carol") == 0);
        return st;
    }
    cereus_test_check(failed_count == 0);
    return CEREUS_OK;
}

static cereus_status bind(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = cereus_slice_str("bound");
    return cereus_session_bind(ctx, cereus_ctx_session(ctx), text_of(in));
}

static cereus_status members(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const cereus_server *const *servers;
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%zu", cereus_servers_by_type(ctx, NULL, &servers)));
    return CEREUS_OK;
}

static cereus_status too_long(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    enum { LEN = 18 << 20 };
    static uint8_t bytes[LEN]; /* not from the ctx, which would not give so much */
    *out = cereus_slice_of(bytes, LEN);
    return CEREUS_OK;
}

static cereus_status bad_text(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail_bytes(ctx, "ROOM-9", cereus_slice_of("\xff\xfe", 2));
}

static const cereus_method methods[] = {CEREUS_RAW_REQUEST("act", act), CEREUS_RAW_REQUEST("bind", bind),
                                        CEREUS_RAW_REQUEST("members", members), CEREUS_RAW_REQUEST("toolong", too_long),
                                        CEREUS_RAW_REQUEST("badtext", bad_text)};

static cereus_test_app *start(const char *type, const char *id)
{
    cereus_error err;
    cereus_test_app *t = test_member(type, id, strcmp(type, "connector") == 0);
    cereus_app *app = cereus_test_get_app(t);
    cereus_test_set(t, "cereus.loops", "2");
    assert_int_equal(cereus_app_register(app, type, methods, CEREUS_COUNT(methods), NULL, &err), CEREUS_OK);
    cereus_test_start(t);
    return t;
}

static int start_all(void **state)
{
    assert_int_equal(test_make_dir(state), 0);
    back = start("room", "room-1");
    one = start("connector", "gate-1");
    two = start("connector", "gate-2");
    alice = cereus_test_connect(one, CEREUS_TEST_TCP);
    carol = cereus_test_connect(one, CEREUS_TEST_WS);
    bob = cereus_test_connect(two, CEREUS_TEST_TCP);
    while (strcmp(cereus_test_call(alice, "connector.connector.members", ""), "3") != 0 ||
           strcmp(cereus_test_call(alice, "room.room.members", ""), "3") != 0 ||
           strcmp(cereus_test_call(bob, "connector.connector.members", ""), "3") != 0)
        usleep(1000); /* for another process to see a file */
    cereus_test_call(alice, "connector.connector.bind", "alice");
    cereus_test_call(bob, "connector.connector.bind", "bob");
    cereus_test_call(carol, "room.room.bind", "carol");
    return 0;
}

static int end_all(void **state)
{
    one = cereus_test_end(one);
    two = cereus_test_end(two);
    back = cereus_test_end(back);
    return test_remove_dir(state);
}

/** A request that is on its way, also while the test waits for what players of other apps hear. */
static uint64_t send_for(cereus_test_app *t, cereus_test_client *c, const char *route, const char *body)
{
    uint64_t request = cereus_test_request(c, route, body);
    cereus_test_settle(t);
    return request;
}

static void expect_hello(bool to_bob)
{
    cereus_test_expect_push(alice, "onCast", "hello");
    cereus_test_expect_push(carol, "onCast", "hello");
    if (to_bob)
        cereus_test_expect_push(bob, "onCast", "hello");
}

static void done(cereus_test_client *c, uint64_t request)
{
    assert_string_equal(cereus_test_await(c, request)->body, "done");
}

static void a_group_of_a_backend_reaches_its_members_everywhere(void **state)
{
    uint64_t request = send_for(two, bob, "room.room.act", "cast connector");
    expect_hello(true);
    done(bob, request);
    request = send_for(two, bob, "room.room.act", "multi connector");
    expect_hello(false);
    done(bob, request); /* and no push before it, which await() would not skip */
}

static void a_group_of_a_frontend_reaches_those_of_the_others_too(void **state)
{
    uint64_t request = send_for(two, bob, "connector.connector.act", "cast -");
    expect_hello(true);
    done(bob, request);
    request = send_for(one, alice, "connector.connector.act", "cast connector");
    expect_hello(true);
    done(alice, request);
    request = send_for(one, alice, "connector.connector.act", "multi -");
    expect_hello(false);
    done(alice, request);
}

static void pushes_to_users_take_the_same_way(void **state)
{
    uint64_t request = send_for(two, bob, "room.room.act", "push connector");
    expect_hello(true);
    done(bob, request);
    request = send_for(one, alice, "connector.connector.act", "push -");
    expect_hello(true);
    done(alice, request);
    request = send_for(one, alice, "connector.connector.act", "push tavern"); /* nobody can tell that none is there */
    done(alice, request);
}

static void a_backend_must_say_where_users_are(void **state)
{
    static const char *const verbs[] = {"cast -", "multi -", "push -", "kick -"};
    for (size_t i = 0; i < CEREUS_COUNT(verbs); i++) {
        const cereus_test_event *e = cereus_test_call_fails(alice, "room.room.act", verbs[i], "PIT-000");
        assert_string_equal(e->msg,
                            "for using SendPushToUsers from a backend server you have to specify a valid frontendType");
    }
}

static void kicks_reach_users_everywhere(void **state)
{
    cereus_test_client *other = cereus_test_connect(two, CEREUS_TEST_TCP);
    assert_string_equal(cereus_test_call(other, "room.room.act", "kick connector"), "done");
    cereus_test_expect_kick(alice);
    cereus_test_expect_kick(bob);
    cereus_test_expect_kick(carol);
}

static void what_no_message_can_carry_is_an_error(void **state)
{
    cereus_test_call_fails(alice, "room.room.toolong", "", "PIT-500");
    cereus_test_call_fails(alice, "room.room.badtext", "", "ROOM-9");
    cereus_test_call_fails(alice, "room.room.act2", "", "PIT-404");
    cereus_test_client *other = cereus_test_connect(one, CEREUS_TEST_TCP);
    const cereus_test_event *e = cereus_test_call_fails(other, "connector.connector.bind", "\xff", "PIT-000");
    assert_string_equal(e->msg, "illegal uid");
    assert_string_equal(cereus_test_call(other, "connector.connector.bind", "dora"), "bound");
}

#define WITH_ALL(test) cmocka_unit_test_setup_teardown(test, start_all, end_all)

TEST_MAIN(WITH_ALL(a_group_of_a_backend_reaches_its_members_everywhere),
          WITH_ALL(a_group_of_a_frontend_reaches_those_of_the_others_too), WITH_ALL(pushes_to_users_take_the_same_way),
          WITH_ALL(a_backend_must_say_where_users_are), WITH_ALL(kicks_reach_users_everywhere),
          WITH_ALL(what_no_message_can_carry_is_an_error))
