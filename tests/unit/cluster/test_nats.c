/* tests/unit/cluster/test_nats.c: servers over a NATS server that dies, stops, says goodbye and comes back. What they say to
 * one another is in test_cluster.c, over NATS too, and in test_nats_cases.c. */
#include "cluster.h"
#include "nats_fake.h"

#include <poll.h>
#include <sched.h>

#include <cereus/remote.h>

#include "cluster/protocol.h"

enum { LOOPS = 2 };

static test_nats nats;
static atomic_uint finished; /* slow handlers that have */

static bool tls; /* to NATS */

static void restart_nats(char *path, const char *config)
{
    snprintf(path, 80, "%s/nats.conf", test_dir);
    FILE *f = fopen(path, "w");
    if (tls)
        fprintf(f, "tls {cert_file: \"%s/server.crt\", key_file: \"%s/server.key\"}\n", getenv("TEST_TLS"),
                getenv("TEST_TLS"));
    fputs(config, f);
    fclose(f);
    test_nats_kill(&nats);
    nats.config = path;
    assert_true(test_nats_run(&nats));
}

static cereus_test_app *member(const char *type, const char *id, bool frontend)
{
    cereus_test_app *t = test_member(type, id, frontend);
    cereus_test_set(t, "cereus.loops", "2");
    cereus_test_set(t, "cereus.cluster.rpc", "nats");
    cereus_test_set(t, "cereus.log.level", "info");
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.connect", nats.url);
    if (tls) {
        char ca[400];
        snprintf(ca, sizeof ca, "%s/server.crt", getenv("TEST_TLS"));
        cereus_test_set(t, "cereus.cluster.rpc.nats.tls.ca", ca);
    }
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.reconnectwait", "20ms");
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.reconnectjitter", "5ms");
    return t;
}

static int set_up(void **state)
{
    atomic_store(&finished, 0);
    static char config[80];
    test_nats_open(&nats);
    if (test_make_dir(state))
        return -1;
    if (tls) {
        restart_nats(config, "");
        snprintf(nats.url, sizeof nats.url, "tls://127.0.0.1:%u", nats.port);
    }
    return 0;
}

static int tear_down(void **state)
{
    char config[80];
    test_nats_kill(&nats);
    snprintf(config, sizeof config, "%s/nats.conf", test_dir);
    unlink(config);
    return test_remove_dir(state);
}

/* ---- the servers ---- */

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status slow(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_sleep(ctx, (uint64_t)atoi((const char *)in.data)));
    atomic_fetch_add(&finished, 1);
    *out = in;
    return CEREUS_OK;
}

static cereus_status bind_it(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), (const char *)in.data));
    *out = cereus_slice_str("bound");
    return CEREUS_OK;
}

static cereus_status tell(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uids[] = {(const char *)in.data};
    CEREUS_TRY(cereus_push_to_users(ctx, "onTell", cereus_text("hello"), uids, 1, "connector", NULL, NULL));
    *out = cereus_slice_str("told");
    return CEREUS_OK;
}

/** Many pushes at once. */
static cereus_status flood(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uids[] = {(const char *)in.data};
    for (int i = 0; i < 200; i++)
        CEREUS_TRY(cereus_push_to_users(ctx, "onTell", cereus_text("hello"), uids, 1, "connector", NULL, NULL));
    *out = cereus_slice_str("flooded");
    return CEREUS_OK;
}

static cereus_status large(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    size_t len = 1100000;
    char *body = cereus_ctx_alloc(ctx, len);
    memset(body, 'x', len);
    *out = cereus_slice_of(body, len);
    return CEREUS_OK;
}

/** Push to somebody elsewhere until there is no room for it; how often that went. */
static cereus_status drown(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    enum { LEN = 1000000 };
    static const uint8_t bytes[LEN];
    const char *uids[] = {"bob"};
    cereus_value value = cereus_raw(cereus_slice_of(bytes, LEN));
    int sent = 0;
    while (cereus_push_to_users(ctx, "onTell", value, uids, 1, "tavern", NULL, NULL) == CEREUS_OK && sent < 100) {
        sent++;
        CEREUS_TRY(cereus_yield(ctx)); /* what a turn made goes out at its end */
    }
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%d", sent));
    return CEREUS_OK;
}

/** Push to, and kick, a user that there may be and one that NATS could not tell from others. */
static cereus_status reach(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uids[] = {"nobody", (const char *)in.data}, *failed[2] = {0};
    size_t count = 0;
    cereus_status st = cereus_push_to_users(ctx, "onTell", cereus_text("hello"), uids, 2, "connector", failed, &count);
    cereus_test_check(st == CEREUS_E_FAILED && count == 1 && strcmp(failed[0], uids[1]) == 0);
    st = cereus_kick_users(ctx, uids, 2, "connector", failed, &count);
    cereus_test_check(st == CEREUS_E_FAILED && count == 1 && strcmp(failed[0], uids[1]) == 0);
    *out = cereus_slice_str("one failed");
    return CEREUS_OK;
}

static const cereus_method room[] = {
    CEREUS_RAW_REQUEST("drown", drown),  CEREUS_RAW_REQUEST("echo", echo),   CEREUS_RAW_REQUEST("slow", slow),
    CEREUS_RAW_REQUEST("bind", bind_it), CEREUS_RAW_REQUEST("tell", tell),   CEREUS_RAW_REQUEST("flood", flood),
    CEREUS_RAW_REQUEST("large", large),  CEREUS_RAW_REQUEST("reach", reach),
};

static cereus_test_app *make_server(const char *type, const char *id, bool frontend)
{
    cereus_test_app *t = member(type, id, frontend);
    cereus_error err = {0};
    assert_int_equal(cereus_app_register(cereus_test_get_app(t), "room", room, CEREUS_COUNT(room), NULL, &err),
                     CEREUS_OK);
    return t;
}

static cereus_test_app *start_server(const char *type, const char *id, bool frontend)
{
    cereus_test_app *t = make_server(type, id, frontend);
    cereus_test_start(t);
    return t;
}

static uint64_t counter(cereus_test_app *t, const char *name)
{
    return cereus_app_counter(cereus_test_get_app(t), name);
}

static void await_counter(cereus_test_app *t, const char *name, uint64_t value)
{
    while (counter(t, name) < value)
        usleep(1000);
}

static void await_ready(cereus_test_app *t, bool ready)
{
    while (cereus_app_is_ready(cereus_test_get_app(t)) != ready)
        usleep(1000);
}

/* ---- starting ---- */

static void a_start_without_nats_names_the_key(void **state)
{
    cereus_test_app *t = make_server("room", "room-1", false);
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.maxreconnectionretries", "2");
    test_nats_kill(&nats);
    const char *why = cereus_test_start_fails(t, CEREUS_E_UNAVAILABLE);
    assert_non_null(strstr(why, "pitaya.cluster.rpc.client.nats.connect: NATS cannot be reached"));
    cereus_test_expect_log(t, "NATS cannot be reached, trying again");
    cereus_test_end(t);
}

static void a_signal_ends_the_wait_for_nats(void **state)
{
    cereus_test_app *t = make_server("room", "room-1", false);
    sigset_t term, was;
    int got;
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.maxreconnectionretries", "1000000");
    test_nats_kill(&nats);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, &was); /* as an app does that is run */
    raise(SIGTERM);
    cereus_test_start_fails(t, CEREUS_E_UNAVAILABLE);
    assert_int_equal(sigwait(&term, &got), 0);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    cereus_test_end(t);
}

static void the_servers_key_counts_where_the_clients_is_not_set(void **state)
{
    cereus_test_app *t = test_member("room", "room-1", false);
    cereus_test_set(t, "cereus.cluster.rpc", "nats");
    cereus_test_set(t, "pitaya.cluster.rpc.server.nats.connect", nats.url);
    cereus_test_start(t);
    await_ready(t, true);
    cereus_test_end(t);
}

/** NATS again, with such settings; @p path is where they stand from now on. */
static void a_password_is_needed_and_never_shown(void **state)
{
    char config[80], url[80];
    restart_nats(config, "authorization: {user: game, password: sesame}\n");
    cereus_test_app *wrong = make_server("room", "room-1", false), *right = make_server("room", "room-1", false);
    snprintf(url, sizeof url, "nats://game:simsalabim@127.0.0.1:%u", nats.port);
    cereus_test_set(wrong, "pitaya.cluster.rpc.client.nats.connect", url);
    cereus_test_set(wrong, "pitaya.cluster.rpc.client.nats.maxreconnectionretries", "1");
    const char *why = cereus_test_start_fails(wrong, CEREUS_E_UNAVAILABLE);
    assert_non_null(strstr(why, "Authorization Violation"));
    assert_null(strstr(why, "simsalabim"));
    assert_null(cereus_test_logged(wrong, "simsalabim"));
    cereus_test_end(wrong);
    snprintf(url, sizeof url, "nats://game:sesame@127.0.0.1:%u", nats.port);
    cereus_test_set(right, "pitaya.cluster.rpc.client.nats.connect", url);
    cereus_test_start(right);
    await_ready(right, true);
    cereus_test_end(right);
}

static void what_is_no_url_of_nats_is_refused(void **state)
{
    static const struct {
        const char *url, *why;
    } rows[] = {{"ws://127.0.0.1:80", "ws:// is not supported, use nats:// or tls://"},
                {" , ", "is empty, give the URL of a NATS server"}};
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        cereus_test_app *t = make_server("room", "room-1", false);
        cereus_test_set(t, "pitaya.cluster.rpc.client.nats.connect", rows[i].url);
        const char *why = cereus_test_start_fails(t, CEREUS_E_INVALID);
        assert_non_null(strstr(why, rows[i].why));
        cereus_test_end(t);
    }
}

/* ---- limits ---- */

static void a_listed_server_that_nobody_hears_is_told_in_pitayas_words(void **state)
{
    cereus_test_app *deaf = make_server("room", "room-1", false), *front;
    cereus_test_set(deaf, "cereus.cluster.rpc", "local"); /* it registers, and subscribes to nothing */
    cereus_test_start(deaf);
    front = start_server("connector", "gate-1", true);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    const cereus_test_event *e = cereus_test_call_fails(c, "room.room.echo", "x", "PIT-000");
    assert_string_equal(e->msg, "nats: no responders available for request");
    cereus_test_end(front);
    cereus_test_end(deaf);
}

static void bodies_longer_than_nats_takes_are_refused(void **state)
{
    cereus_test_app *back = start_server("room", "room-1", false), *front = start_server("connector", "gate-1", true);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    size_t len = 1100000;
    char *body = calloc(1, len + 1);
    memset(body, 'x', len);
    const cereus_test_event *e = cereus_test_call_fails(c, "room.room.echo", body, "PIT-000");
    assert_string_equal(e->msg, "nats: maximum payload exceeded");
    e = cereus_test_call_fails(c, "room.room.large", "", "PIT-500");
    assert_string_equal(e->msg, "the reply is longer than servers may send");
    assert_string_equal(cereus_test_call(c, "room.room.echo", "still here"), "still here");
    free(body);
    cereus_test_end(front);
    cereus_test_end(back);
}

/** "COUNT": a long push to that many users, with long names. */
static cereus_status tell_many(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uids[100];
    size_t count = strtoul((const char *)in.data, NULL, 10);
    for (size_t i = 0; i < count; i++)
        uids[i] = cereus_ctx_printf(ctx, "user-%0200zu", i);
    char *text = cereus_ctx_alloc(ctx, 4001);
    memset(text, 'x', 4000);
    *out = cereus_slice_str("told");
    return cereus_push_to_users(ctx, "onTell", cereus_text(text), uids, count, "connector", NULL, NULL);
}

static void a_push_to_many_is_no_longer_than_nats_takes(void **state)
{
    enum { USERS = 40 };
    static const cereus_method telling[] = {CEREUS_RAW_REQUEST("many", tell_many)};
    char config[80], uid[300], text[4001] = {0};
    cereus_error err = {0};
    cereus_test_client *clients[USERS];
    restart_nats(config, "max_payload: 8KB\n");
    cereus_test_app *back = make_server("room", "room-1", false), *front = start_server("connector", "gate-1", true);
    assert_int_equal(cereus_app_register(cereus_test_get_app(back), "long", telling, 1, NULL, &err), CEREUS_OK);
    cereus_test_start(back);
    for (size_t i = 0; i < USERS; i++) {
        clients[i] = cereus_test_connect(front, CEREUS_TEST_TCP);
        snprintf(uid, sizeof uid, "user-%0200zu", i);
        cereus_test_call(clients[i], "connector.room.bind", uid);
    }
    cereus_test_call(clients[0], "room.room.echo", "x"); /* now it is known to be one of ours */
    uint64_t request = cereus_test_request(clients[0], "room.long.many", "40");
    assert_string_equal(cereus_test_await(clients[0], request)->body, "told");
    memset(text, 'x', sizeof text - 1);
    for (size_t i = 0; i < USERS; i++)
        cereus_test_expect_push(clients[i], "onTell", text);
    cereus_test_end(front);
    cereus_test_end(back);
}

static void uids_that_would_be_other_subjects_are_refused(void **state)
{
    cereus_test_app *front = start_server("connector", "gate-1", true);
    static const char *const bad[] = {"a b", "a\tb", "a\r\nPUB x 0", "a..b", "a.*.b", "a.>.b", "*", ">", "a.>", "\xff"};
    static const char *const good[] = {"a.b", ".a.", "a*b", "J\xc3\xb6rg", "a/b"};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
        const cereus_test_event *e = cereus_test_call_fails(c, "connector.room.bind", bad[i], "PIT-000");
        assert_string_equal(e->msg, "illegal uid");
        if ((uint8_t)bad[i][0] != 0xff)
            assert_string_equal(cereus_test_call(c, "connector.room.reach", bad[i]), "one failed");
        cereus_test_hang_up(c);
    }
    for (size_t i = 0; i < CEREUS_COUNT(good); i++)
        cereus_test_call(cereus_test_connect(front, CEREUS_TEST_TCP), "connector.room.bind", good[i]);
    cereus_test_end(front);
}

static void pushes_that_a_loop_has_no_room_for_are_counted(void **state)
{
    cereus_test_app *back = start_server("room", "room-1", false), *front = make_server("connector", "gate-1", true);
    cereus_test_set(front, "pitaya.cluster.rpc.server.nats.buffer.push", "1");
    cereus_test_start(front);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP),
                       *other = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_call(c, "connector.room.bind", "alice");
    while (counter(front, "nats_dropped") == 0)
        assert_string_equal(cereus_test_call(other, "room.room.flood", "alice"), "flooded");
    assert_true(counter(front, "nats_slow_consumers") > 0);
    cereus_test_expect_log(front, "pushes and kicks from NATS were dropped");
    cereus_test_end(front);
    cereus_test_end(back);
}

/* ---- a NATS server that goes ---- */

static void nats_may_be_killed_and_come_back(void **state)
{
    cereus_test_app *back = start_server("room", "room-1", false), *front = start_server("connector", "gate-1", true);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP),
                       *late = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_call(c, "connector.room.bind", "alice");
    for (uint64_t round = 1; round <= 3; round++) {
        test_nats_kill(&nats);
        await_counter(front, "nats_disconnects", round * LOOPS);
        await_counter(back, "nats_disconnects", round * LOOPS);
        await_ready(front, false);
        const cereus_test_event *e = cereus_test_call_fails(c, "room.room.echo", "x", "PIT-500");
        assert_string_equal(e->msg, "NATS is away, and with it the way to other servers");
        if (round == 1) /* it is subscribed to when that is possible */
            assert_string_equal(cereus_test_call(late, "connector.room.bind", "bob"), "bound");
        assert_true(test_nats_run(&nats));
        await_ready(front, true);
        await_ready(back, true);
        assert_string_equal(cereus_test_call(c, "room.room.echo", "again"), "again");
        uint64_t request = cereus_test_request(c, "room.room.tell", "alice");
        cereus_test_expect_push(c, "onTell", "hello");
        cereus_test_await(c, request);
        cereus_test_call(c, "room.room.tell", "bob");
        cereus_test_expect_push(late, "onTell", "hello");
    }
    assert_int_equal(counter(front, "nats_reconnects"), 3 * LOOPS);
    assert_non_null(cereus_test_logged(front, "the connection to NATS is lost"));
    assert_non_null(cereus_test_logged(front, "the connection to NATS is back"));
    cereus_test_end(front);
    cereus_test_end(back);
}

/** The library gives the connection up then. */
static void nats_may_refuse_the_password_for_a_while(void **state)
{
    static const char right[] = "authorization: {user: game, password: sesame}\n",
                      wrong[] = "authorization: {user: game, password: mended}\n";
    char config[80], url[80];
    restart_nats(config, right);
    snprintf(url, sizeof url, "nats://game:sesame@127.0.0.1:%u", nats.port);
    cereus_test_app *back = make_server("room", "room-1", false), *front = make_server("connector", "gate-1", true);
    cereus_test_set(back, "pitaya.cluster.rpc.client.nats.connect", url);
    cereus_test_set(front, "pitaya.cluster.rpc.client.nats.connect", url);
    cereus_test_start(back);
    cereus_test_start(front);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP),
                       *late = cereus_test_connect(front, CEREUS_TEST_TCP),
                       *gone = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_call(c, "connector.room.bind", "alice");
    cereus_test_call(gone, "connector.room.bind", "carol");
    for (uint64_t round = 1; round <= 2; round++) {
        restart_nats(config, wrong);
        await_counter(front, "nats_closed", round * LOOPS);
        await_counter(back, "nats_closed", round * LOOPS);
        const cereus_test_event *e = cereus_test_call_fails(c, "room.room.echo", "x", "PIT-500");
        assert_string_equal(e->msg, "NATS is away, and with it the way to other servers");
        if (round == 1) {
            cereus_test_hang_up(gone); /* its subscriptions are not made again */
            assert_string_equal(cereus_test_call(late, "connector.room.bind", "bob"), "bound");
        }
        restart_nats(config, right);
        await_ready(front, true);
        await_ready(back, true);
        assert_string_equal(cereus_test_call(c, "room.room.echo", "again"), "again");
        cereus_test_call(late, "room.room.tell", "alice");
        cereus_test_expect_push(c, "onTell", "hello");
        cereus_test_call(c, "room.room.tell", "bob");
        cereus_test_expect_push(late, "onTell", "hello");
    }
    assert_non_null(cereus_test_logged(front, "NATS has refused us"));
    assert_null(cereus_test_logged(front, "sesame"));
    restart_nats(config, wrong);
    await_counter(front, "nats_closed", 3 * LOOPS);
    cereus_test_end(front); /* they stop although it still refuses them */
    cereus_test_end(back);
}

static void an_answer_waits_for_nats(void **state)
{
    cereus_test_app *back = make_server("room", "room-1", false), *front;
    /* who waits for the answer is back first, also on a busy machine */
    cereus_test_set(back, "pitaya.cluster.rpc.client.nats.reconnectwait", "3s");
    cereus_test_start(back);
    front = make_server("connector", "gate-1", true);
    cereus_test_set(front, "pitaya.cluster.rpc.client.nats.requesttimeout", "30s");
    cereus_test_start(front);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    uint64_t request = cereus_test_request(c, "room.room.slow", "200");
    cereus_test_settle(front);
    await_counter(back, "rpc_served", 1);
    test_nats_kill(&nats);
    while (atomic_load(&finished) == 0)
        usleep(1000);
    assert_true(test_nats_run(&nats));
    assert_string_equal(cereus_test_await(c, request)->body, "200");
    cereus_test_end(front);
    cereus_test_end(back);
}

static void servers_stop_although_nats_is_away(void **state)
{
    cereus_test_app *back = start_server("room", "room-1", false), *front = start_server("connector", "gate-1", true);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_call(c, "connector.room.bind", "alice");
    test_nats_kill(&nats);
    await_ready(front, false);
    cereus_test_hang_up(c); /* its subscriptions cannot be given back now */
    cereus_test_end(front);
    cereus_test_end(back);
}

/* ---- a request for a server that stops ---- */

static const char here[] = "pitaya/servers/room/room-1";

static void raw_forward(raw_client *r, const char *route, const char *body, const char *reply)
{
    crs_bytes bytes = raw_request_of(route, body);
    raw_publish(r, here, reply, bytes.data, bytes.len);
    crs_bytes_fini(&bytes);
}

typedef struct last_words {
    raw_client *raw;
    crs_response answer;
    raw_message m;
} last_words;

/** A server that has not seen us leave sends a message while the service shuts down. */
static cereus_status hear_of_late_messages(cereus_ctx *ctx, void *user)
{
    last_words *w = user;
    raw_forward(w->raw, "room.last.count", "x", "late");
    struct pollfd p = {.fd = fileno(w->raw->in), .events = POLLIN};
    while (poll(&p, 1, 0) == 0)
        CEREUS_TRY(cereus_sleep(ctx, 1));
    raw_find(w->raw, "late", &w->m);
    return crs_response_decode(cereus_slice_of(w->m.payload, w->m.len), &w->answer);
}

static cereus_status count_it(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    atomic_fetch_add(&finished, 1);
    *out = in;
    return CEREUS_OK;
}

static void nothing_runs_beside_the_last_words_of_a_service(void **state)
{
    static const cereus_method last[] = {CEREUS_RAW_REQUEST("count", count_it)};
    last_words w = {.raw = raw_open(nats.port)};
    cereus_error err = {0};
    cereus_service_options opt = {.shutdown = hear_of_late_messages, .user = &w};
    cereus_test_app *back = member("room", "room-1", false);
    assert_int_equal(cereus_app_register(cereus_test_get_app(back), "last", last, 1, &opt, &err), CEREUS_OK);
    cereus_test_start(back);
    raw_subscribe(w.raw, "late");
    raw_forward(w.raw, "room.last.count", "x", "late");
    raw_find(w.raw, "late", &w.m);
    assert_int_equal(crs_response_decode(cereus_slice_of(w.m.payload, w.m.len), &w.answer), CEREUS_OK);
    assert_false(w.answer.failed);
    cereus_test_stop(back);
    assert_true(w.answer.failed);
    assert_memory_equal(w.answer.error.code.data, "PIT-500", 7);
    assert_memory_equal(w.answer.error.msg.data, "the server is stopping", 22);
    assert_int_equal(atomic_load(&finished), 1);
    cereus_test_end(back);
    raw_close(w.raw);
}

/* ---- a NATS server that does as it is told ---- */

static cereus_test_app *start_behind(fake_nats *f, cereus_test_app *t)
{
    fake_open(f);
    cereus_test_set(t, "cereus.loops", "1");
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.connect", f->url);
    fake_begin(f, fake_echo_first); /* before it joins it asks whether its subscriptions hold */
    cereus_test_start(t);
    fake_join(f);
    return t;
}

static cereus_test_app *start_deaf(const char *type, const char *id)
{
    cereus_test_app *t = member(type, id, strcmp(type, "connector") == 0);
    cereus_test_set(t, "cereus.cluster.rpc", "local"); /* it registers, and subscribes to nothing */
    cereus_test_start(t);
    return t;
}

static atomic_uint step; /* that handlers wait for */

/** Push when told to, answer when told to. */
static cereus_status push_and_answer(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    while (atomic_load(&step) < 1)
        CEREUS_TRY(cereus_sleep(ctx, 1));
    CEREUS_TRY(cereus_session_push(ctx, cereus_ctx_session(ctx), "onTell", cereus_text("first")));
    atomic_fetch_add(&finished, 1);
    while (atomic_load(&step) < 2)
        CEREUS_TRY(cereus_sleep(ctx, 1));
    atomic_fetch_add(&finished, 1);
    *out = cereus_slice_str("then");
    return CEREUS_OK;
}

static void await_finished(unsigned count)
{
    while (atomic_load(&finished) < count)
        usleep(1000);
}

static void an_answer_never_overtakes_a_push_that_waited(void **state)
{
    static const cereus_method two[] = {CEREUS_RAW_REQUEST("steps", push_and_answer)};
    fake_nats f;
    raw_message m, echo;
    cereus_slice rest;
    crs_response answer;
    cereus_error err = {0};
    cereus_test_app *back = member("room", "room-1", false);
    atomic_store(&step, 0);
    assert_int_equal(cereus_app_register(cereus_test_get_app(back), "two", two, 1, NULL, &err), CEREUS_OK);
    cereus_test_app *front = start_deaf("connector", "gate-1");
    start_behind(&f, back);
    crs_bytes bytes = raw_request_of("room.two.steps", "x");
    fake_deliver(&f, here, "answers", bytes.data, bytes.len);
    crs_bytes_fini(&bytes);
    await_counter(back, "rpc_served", 1);
    fake_cut(&f);
    await_counter(back, "nats_disconnects", 1);
    atomic_store(&step, 1);
    await_finished(1); /* pushed: it waits */
    fake_accept(&f);
    fake_next(&f, &echo); /* connected, and not told yet that it is */
    atomic_store(&step, 2);
    await_finished(2);
    cereus_test_settle(back);
    fake_echo(&f, &echo);
    fake_next(&f, &m);
    assert_string_equal(m.subject, "answers");
    assert_true(crs_has_mark(cereus_slice_of(m.payload, m.len), CRS_PEER_AHEAD, &rest));
    fake_next(&f, &m);
    assert_int_equal(crs_response_decode(cereus_slice_of(m.payload, m.len), &answer), CEREUS_OK);
    assert_memory_equal(answer.data.data, "then", 4);
    fake_cut(&f);
    await_counter(back, "nats_disconnects", 2);
    cereus_test_end(back);
    cereus_test_end(front);
    fake_close(&f);
}

static cereus_status ask(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    char *type = cereus_ctx_strdup(ctx, in), *time = strchr(type, ' ');
    *time++ = '\0';
    cereus_rpc_options opt = {.timeout_ms = strtoull(time, NULL, 10)};
    return cereus_rpc_raw(ctx, cereus_ctx_printf(ctx, "%s.x.y", type), cereus_slice_str("x"), out, &opt);
}

static void a_late_refusal_is_not_taken_for_another_calls(void **state)
{
    static const cereus_method asking[] = {CEREUS_RAW_REQUEST("ask", ask)};
    static const uint8_t yes[] = {0x0a, 3, 'y', 'e', 's'}; /* protos.Response */
    fake_nats f;
    raw_message late, m;
    cereus_error err = {0};
    cereus_test_app *tavern = start_deaf("tavern", "tavern-1"), *shop = start_deaf("shop", "shop-1"),
                    *front = member("connector", "gate-1", true);
    assert_int_equal(cereus_app_register(cereus_test_get_app(front), "x", asking, 1, NULL, &err), CEREUS_OK);
    start_behind(&f, front);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_call_fails(c, "connector.x.ask", "tavern 1", "PIT-408");
    fake_next(&f, &late);
    uint64_t request = cereus_test_request(c, "connector.x.ask", "shop 60000");
    cereus_test_settle(front);
    fake_next(&f, &m);
    fake_refuse(&f, late.reply);
    raw_message echo;
    fake_next(&f, &echo); /* who hears? */
    fake_echo(&f, &echo);
    fake_next(&f, &echo);
    assert_string_equal(echo.subject, "pitaya/servers/shop/shop-1");
    fake_next(&f, &echo);
    fake_echo(&f, &echo);
    fake_deliver(&f, m.reply, "", yes, sizeof yes);
    assert_string_equal(cereus_test_await(c, request)->body, "yes");

    request = cereus_test_request(c, "connector.x.ask", "tavern 60000"); /* no refusal of another call can come now */
    cereus_test_settle(front);
    fake_next(&f, &m);
    fake_refuse(&f, m.reply);
    const cereus_test_event *e = cereus_test_await(c, request);
    assert_string_equal(e->msg, "nats: no responders available for request");
    fake_cut(&f);
    await_counter(front, "nats_disconnects", 1);
    cereus_test_end(front);
    cereus_test_end(shop);
    cereus_test_end(tavern);
    fake_close(&f);
}

static void a_session_of_a_uid_with_a_nul_is_refused(void **state)
{
    raw_message m;
    crs_response answer;
    raw_client *raw = raw_open(nats.port);
    cereus_test_app *back = start_server("room", "room-1", false);
    crs_bytes bytes = raw_request_of("room.room.echo", "x");
    uint8_t *uid = memmem(bytes.data, bytes.len, "alice", 5);
    uid[2] = 0;
    raw_subscribe(raw, "late");
    raw_publish(raw, here, "late", bytes.data, bytes.len);
    raw_find(raw, "late", &m);
    assert_int_equal(crs_response_decode(cereus_slice_of(m.payload, m.len), &answer), CEREUS_OK);
    assert_true(answer.failed);
    assert_memory_equal(answer.error.code.data, "PIT-500", 7);
    crs_bytes_fini(&bytes);
    raw_close(raw);
    cereus_test_end(back);
}

static void a_question_who_hears_is_no_request(void **state)
{
    static const uint8_t probe[] = {0x1a, 0};
    raw_message m;
    raw_client *raw = raw_open(nats.port);
    cereus_test_app *back = start_server("room", "room-1", false);
    raw_subscribe(raw, "late");
    raw_publish(raw, here, "x.00000000ffffffff", probe, sizeof probe);
    raw_forward(raw, "room.room.echo", "x", "late");
    raw_find(raw, "late", &m);
    assert_int_equal(counter(back, "rpc_served"), 1);
    assert_int_equal(counter(back, "rpc_refused"), 0);
    raw_close(raw);
    cereus_test_end(back);
}

/* ---- a NATS server that stalls ---- */

static void nats_that_hangs_holds_nothing_but_its_messages(void **state)
{
    enum { COUNT = 50 };
    cereus_test_app *back = start_server("room", "room-1", false), *front = start_server("connector", "gate-1", true);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP),
                       *local = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_call(c, "room.room.echo", "x");
    cereus_test_call(c, "room.room.echo", "x"); /* from here on they follow one another without waiting */
    uint64_t before = counter(front, "rpc_requests");
    uint64_t ids[COUNT];
    test_nats_signal(&nats, SIGSTOP);
    for (int i = 0; i < COUNT; i++) {
        char text[20];
        snprintf(text, sizeof text, "%d", i);
        ids[i] = cereus_test_request(c, "room.room.echo", text);
    }
    cereus_test_settle(front);
    await_counter(front, "rpc_requests", before + 1);
    for (int i = 0; i < 100; i++)
        assert_string_equal(cereus_test_call(local, "connector.room.echo", "meanwhile"), "meanwhile");
    test_nats_signal(&nats, SIGCONT);
    for (int i = 0; i < COUNT; i++) {
        const cereus_test_event *e = cereus_test_next(c);
        assert_int_equal(e->request, ids[i]);
        assert_int_equal(atoi(e->body), i);
    }
    assert_int_equal(counter(front, "nats_disconnects"), 0);
    cereus_test_end(front);
    cereus_test_end(back);
}

static void what_has_not_left_when_nats_dies_fails_at_once(void **state)
{
    enum { COUNT = 40 };
    size_t len = 1000000; /* far more in all than sockets hold */
    char *body = calloc(1, len + 1);
    memset(body, 'x', len);
    cereus_test_app *back = start_server("room", "room-1", false), *front = make_server("connector", "gate-1", true);
    cereus_test_set(front, "cereus.loops", "1");
    cereus_test_set(front, "pitaya.cluster.rpc.client.nats.requesttimeout", "1h");
    cereus_test_set(front, "cereus.shutdown.timeout", "400ms");
    cereus_test_start(front);
    cereus_test_client *last = cereus_test_connect(front, CEREUS_TEST_TCP);
    test_nats_signal(&nats, SIGSTOP);
    for (uint64_t i = 0; i < COUNT; i++) {
        cereus_test_request(cereus_test_connect(front, CEREUS_TEST_TCP), "room.room.echo", body);
        while (counter(front, "rpc_requests") <= i)
            cereus_test_settle(front);
    }
    uint64_t request = cereus_test_request(last, "room.room.echo", "x");
    while (counter(front, "rpc_requests") <= COUNT)
        cereus_test_settle(front);
    test_nats_kill(&nats);
    const cereus_test_event *e = cereus_test_await(last, request);
    assert_int_equal(e->kind, CEREUS_TEST_ERROR);
    assert_string_equal(e->code, "PIT-500");
    assert_string_equal(e->msg, "NATS is away, and with it the way to other servers");
    assert_true(counter(front, "forward_failures") < COUNT); /* what has left may be handled */
    free(body);
    cereus_test_end(front);
    cereus_test_end(back);
}

static void for_nats_that_reads_nothing_only_so_much_waits(void **state)
{
    cereus_test_app *front = start_server("connector", "gate-1", true);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    test_nats_signal(&nats, SIGSTOP);
    int sent = atoi(cereus_test_call(c, "connector.room.drown", ""));
    assert_in_range(sent, 60, 99); /* 64 MiB, and what the kernel takes */
    assert_int_equal(counter(front, "nats_outbox_full"), 1);
    test_nats_signal(&nats, SIGCONT);
    while (atoi(cereus_test_call(c, "connector.room.drown", "")) < 100) {
    } /* until it has taken what waited */
    cereus_test_end(front);
}

static void a_lame_duck_is_left_for_its_successor(void **state)
{
    char config[80];
    restart_nats(config, "lame_duck_grace_period: \"50ms\"\nlame_duck_duration: \"30s\"\n");
    cereus_test_app *back = start_server("room", "room-1", false), *front = start_server("connector", "gate-1", true);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_call(c, "connector.room.bind", "alice");
    test_nats duck = nats;
    test_nats_signal(&duck, SIGUSR2); /* what nats-server --signal ldm sends */
    await_counter(front, "nats_lame_ducks", LOOPS);
    assert_true(test_nats_run(&nats)); /* the duck does not listen any more */
    await_counter(front, "nats_reconnects", LOOPS);
    await_counter(back, "nats_reconnects", LOOPS);
    waitpid(duck.pid, NULL, 0);
    assert_string_equal(cereus_test_call(c, "room.room.echo", "moved"), "moved");
    cereus_test_request(c, "room.room.tell", "alice");
    cereus_test_expect_push(c, "onTell", "hello");
    cereus_test_end(front);
    cereus_test_end(back);
}

/* ---- order ---- */

static void many_sessions_keep_their_order(void **state)
{
    enum { SESSIONS = 200, MESSAGES = 200, ROUND = 20 };
    cereus_test_app *back = start_server("room", "room-1", false), *front = start_server("connector", "gate-1", true);
    cereus_test_client *clients[SESSIONS];
    char text[20];
    for (int s = 0; s < SESSIONS; s++)
        clients[s] = cereus_test_connect(front, CEREUS_TEST_TCP);
    for (int first = 0; first < MESSAGES; first += ROUND) {
        for (int s = 0; s < SESSIONS; s++) {
            for (int i = first; i < first + ROUND; i++) {
                snprintf(text, sizeof text, "%d", i);
                cereus_test_request(clients[s], "room.room.echo", text);
            }
        }
        for (int s = 0; s < SESSIONS; s++) {
            for (int i = first; i < first + ROUND; i++) {
                const cereus_test_event *e = cereus_test_next(clients[s]);
                assert_int_equal(e->kind, CEREUS_TEST_REPLY);
                assert_int_equal(atoi(e->body), i);
            }
        }
    }
    cereus_test_end(front);
    cereus_test_end(back);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {TEST(a_start_without_nats_names_the_key),
                                       TEST(a_signal_ends_the_wait_for_nats),
                                       TEST(a_password_is_needed_and_never_shown),
                                       TEST(the_servers_key_counts_where_the_clients_is_not_set),
                                       TEST(what_is_no_url_of_nats_is_refused),
                                       TEST(a_listed_server_that_nobody_hears_is_told_in_pitayas_words),
                                       TEST(bodies_longer_than_nats_takes_are_refused),
                                       TEST(uids_that_would_be_other_subjects_are_refused),
                                       TEST(pushes_that_a_loop_has_no_room_for_are_counted),
                                       TEST(nats_may_be_killed_and_come_back),
                                       TEST(nats_may_refuse_the_password_for_a_while),
                                       TEST(an_answer_waits_for_nats),
                                       TEST(servers_stop_although_nats_is_away),
                                       TEST(nothing_runs_beside_the_last_words_of_a_service),
                                       TEST(an_answer_never_overtakes_a_push_that_waited),
                                       TEST(a_late_refusal_is_not_taken_for_another_calls),
                                       TEST(a_question_who_hears_is_no_request),
                                       TEST(a_session_of_a_uid_with_a_nul_is_refused),
                                       TEST(a_push_to_many_is_no_longer_than_nats_takes),
                                       TEST(nats_that_hangs_holds_nothing_but_its_messages),
                                       TEST(what_has_not_left_when_nats_dies_fails_at_once),
                                       TEST(for_nats_that_reads_nothing_only_so_much_waits),
                                       TEST(a_lame_duck_is_left_for_its_successor),
                                       TEST(many_sessions_keep_their_order)};
    /* TEST_NATS=tls: those of what happens on the way there */
    const struct CMUnitTest on_the_way[] = {TEST(nats_may_be_killed_and_come_back),
                                            TEST(an_answer_waits_for_nats),
                                            TEST(servers_stop_although_nats_is_away),
                                            TEST(nats_that_hangs_holds_nothing_but_its_messages),
                                            TEST(what_has_not_left_when_nats_dies_fails_at_once),
                                            TEST(for_nats_that_reads_nothing_only_so_much_waits),
                                            TEST(a_lame_duck_is_left_for_its_successor),
                                            TEST(many_sessions_keep_their_order)};
    tls = getenv("TEST_NATS") && strcmp(getenv("TEST_NATS"), "tls") == 0;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (tls)
        return cmocka_run_group_tests_name("tests over tls", on_the_way, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
