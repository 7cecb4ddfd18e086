/* tests/unit/cluster/test_order.c: many sessions, two frontends, three backends, all in this process, so that a handler can compare
 * what it gets with what any other has got: the messages of a session keep their order from end to end, and of those who bind
 * one uid at once at most one keeps it. */
#include "cluster.h"

#include <stdatomic.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SESSIONS = 40, MESSAGES = 200 };
#else
enum { SESSIONS = 200, MESSAGES = 2000 };
#endif
enum { FRONTENDS = 2, BACKENDS = 3, PLAYERS = 300, USERS = 50 };

static cereus_test_app *fronts[FRONTENDS], *backs[BACKENDS];
static atomic_int seen[SESSIONS];   /* the last number of each session */
static atomic_int inside[SESSIONS]; /* handlers at work for it */

/** "SESSION NUMBER": the next of its session, wherever the one before was, and nobody else is at it. */
static cereus_status take(cereus_ctx *ctx, cereus_slice in)
{
    int session, number;
    cereus_test_check(sscanf((const char *)in.data, "%d %d", &session, &number) == 2);
    cereus_test_check(atomic_fetch_add(&inside[session], 1) == 0);
    int before = atomic_load(&seen[session]);
    if (before != number - 1)
        cereus_test_fail("session %d: %d came after %d", session, number, before);
    if (number % 97 == 0)
        CEREUS_TRY(cereus_sleep(ctx, 1));
    atomic_store(&seen[session], number);
    atomic_fetch_sub(&inside[session], 1);
    return CEREUS_OK;
}

static cereus_status tell(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return take(ctx, in);
}

static cereus_status ask(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return take(ctx, in);
}

static cereus_status bind(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = cereus_slice_str("bound");
    return cereus_session_bind(ctx, cereus_ctx_session(ctx), (const char *)in.data);
}

/** For each of the users a 1 when it is connected here. */
static cereus_status held(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    static const char zeros[USERS + 1] = {0};
    char *text = cereus_ctx_strdup(ctx, cereus_slice_of(zeros, USERS));
    for (int i = 0; i < USERS; i++)
        text[i] = cereus_session_from_uid(ctx, cereus_ctx_printf(ctx, "user-%d", i)) ? '1' : '0';
    *out = cereus_slice_of(text, USERS);
    return CEREUS_OK;
}

static cereus_status members(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const cereus_server *const *servers;
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%zu", cereus_servers_by_type(ctx, NULL, &servers)));
    return CEREUS_OK;
}

static const cereus_method methods[] = {CEREUS_RAW_NOTIFY("tell", tell), CEREUS_RAW_REQUEST("ask", ask),
                                        CEREUS_RAW_REQUEST("bind", bind), CEREUS_RAW_REQUEST("held", held),
                                        CEREUS_RAW_REQUEST("members", members)};

static cereus_test_app *start(const char *type, int number)
{
    char id[20];
    cereus_error err;
    snprintf(id, sizeof id, "%s-%d", type, number);
    cereus_test_app *t = test_member(type, id, strcmp(type, "connector") == 0);
    cereus_test_set(t, "cereus.loops", "2");
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.requesttimeout",
                    "30s"); /* it is order that is asked, not speed */
    assert_int_equal(cereus_app_register(cereus_test_get_app(t), "x", methods, CEREUS_COUNT(methods), NULL, &err),
                     CEREUS_OK);
    cereus_test_start(t);
    return t;
}

static int start_all(void **state)
{
    assert_int_equal(test_make_dir(state), 0);
    for (int i = 0; i < BACKENDS; i++)
        backs[i] = start("room", i);
    for (int i = 0; i < FRONTENDS; i++)
        fronts[i] = start("connector", i);
    for (int i = 0; i < FRONTENDS; i++) {
        for (int k = 0; k < 4; k++) { /* on both loops */
            cereus_test_client *c = cereus_test_connect(fronts[i], CEREUS_TEST_TCP);
            while (strcmp(cereus_test_call(c, "connector.x.members", ""), "5") != 0)
                usleep(1000); /* it is another process that looks at a file, or could be */
            cereus_test_hang_up(c);
        }
    }
    return 0;
}

static int end_all(void **state)
{
    for (int i = 0; i < FRONTENDS; i++)
        fronts[i] = cereus_test_end(fronts[i]);
    for (int i = 0; i < BACKENDS; i++)
        backs[i] = cereus_test_end(backs[i]);
    return test_remove_dir(state);
}

static void messages_of_a_session_keep_their_order_from_end_to_end(void **state)
{
    static cereus_test_client *clients[SESSIONS];
    static uint64_t last[SESSIONS];
    char text[40];
    for (int s = 0; s < SESSIONS; s++)
        clients[s] = cereus_test_connect(fronts[s % FRONTENDS], s % 4 < 2 ? CEREUS_TEST_TCP : CEREUS_TEST_WS);
    for (int n = 1; n <= MESSAGES; n++) {
        for (int s = 0; s < SESSIONS; s++) {
            snprintf(text, sizeof text, "%d %d", s, n);
            if (n == MESSAGES || n % 50 == 0)
                last[s] = cereus_test_request(clients[s], "room.x.ask", text);
            else
                cereus_test_notify(clients[s], "room.x.tell", text);
        }
        if (n % 50 == 0) { /* the replies, in the order of the requests */
            for (int f = 0; f < FRONTENDS; f++)
                cereus_test_settle(fronts[f]);
            for (int s = 0; s < SESSIONS; s++) {
                const cereus_test_event *e = cereus_test_next(clients[s]);
                snprintf(text, sizeof text, "%d %d", s, n);
                assert_int_equal(e->kind, CEREUS_TEST_REPLY);
                assert_int_equal(e->request, last[s]);
                assert_string_equal(e->body, text);
            }
        }
    }
    for (int s = 0; s < SESSIONS; s++)
        assert_int_equal(atomic_load(&seen[s]), MESSAGES);
    uint64_t served = 0;
    for (int b = 0; b < BACKENDS; b++) {
        uint64_t here = cereus_app_counter(cereus_test_get_app(backs[b]), "rpc_served");
        assert_true(here > 0); /* all of them took part */
        served += here;
    }
    assert_true(served >= (uint64_t)SESSIONS * MESSAGES);
}

static void of_those_who_bind_one_uid_at_most_one_keeps_it(void **state)
{
    static cereus_test_client *players[PLAYERS];
    char uid[20];
    srand(20260101);
    cereus_test_client *lookers[FRONTENDS];
    for (int f = 0; f < FRONTENDS; f++)
        lookers[f] = cereus_test_connect(fronts[f], CEREUS_TEST_TCP);
    for (int i = 0; i < PLAYERS; i++)
        players[i] = cereus_test_connect(fronts[rand() % FRONTENDS], CEREUS_TEST_TCP);
    for (int i = 0; i < PLAYERS; i++) {
        snprintf(uid, sizeof uid, "user-%d", rand() % USERS);
        cereus_test_request(players[i], rand() % 2 ? "connector.x.bind" : "room.x.bind", uid);
        if (i % 60 == 59) {
            for (int f = 0; f < FRONTENDS; f++)
                cereus_test_settle(fronts[f]);
        }
    }
    int bound = 0;
    for (int i = 0; i < PLAYERS; i++) {
        const cereus_test_event *e = cereus_test_next(players[i]); /* its answer, or it has lost already */
        bound += e->kind == CEREUS_TEST_REPLY;
        assert_true(e->kind != CEREUS_TEST_PUSH);
    }
    assert_in_range(bound, 1, PLAYERS);
    int both = 1;
    for (int tries = 0; both && tries < 3000; tries++) { /* the kicks have been sent, but who knows when they arrive */
        const char *a = cereus_test_call(lookers[0], "connector.x.held", ""),
                   *b = cereus_test_call(lookers[1], "connector.x.held", "");
        both = 0;
        for (int u = 0; u < USERS; u++)
            both += a[u] == '1' && b[u] == '1';
        if (both)
            usleep(1000);
    }
    assert_int_equal(both, 0);
}

#define WITH_ALL(test) cmocka_unit_test_setup_teardown(test, start_all, end_all)

TEST_MAIN(WITH_ALL(messages_of_a_session_keep_their_order_from_end_to_end),
          WITH_ALL(of_those_who_bind_one_uid_at_most_one_keeps_it))
