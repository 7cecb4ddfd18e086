/* tests/unit/cluster/test_cluster.c: several apps in one process, a run directory of their own, real sockets: what players and
 * game code of a cluster see. With TEST_RPC=nats the servers speak over a NATS server of the test's own. */
#include "cluster.h"
#include "nats.h"

#include <cereus/remote.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cluster/cluster_priv.h"

static const char *nats_url; /* NULL: the servers speak by local sockets */

static cereus_test_app *member(const char *type, const char *id, bool frontend)
{
    cereus_test_app *t = test_member(type, id, frontend);
    if (nats_url) {
        cereus_test_set(t, "cereus.cluster.rpc", "nats");
        cereus_test_set(t, "pitaya.cluster.rpc.client.nats.connect", nats_url);
    }
    return t;
}

/* ---- the room ---- */

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status who(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_session *s = cereus_ctx_session(ctx);
    json_t *data = cereus_session_data(ctx, s);
    char *text = json_dumps(data, JSON_SORT_KEYS | JSON_COMPACT);
    *out =
        cereus_slice_str(cereus_ctx_printf(ctx, "%d %s %s", cereus_session_is_remote(s), cereus_session_uid(s), text));
    free(text);
    return CEREUS_OK;
}

static cereus_status fails(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_log_warn(ctx, "no such room");
    cereus_fail(ctx, "ROOM-7", "no such room");
    return cereus_fail_meta(ctx, "room", "blue");
}

static cereus_status bind_it(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), (const char *)in.data));
    *out = cereus_slice_str("bound");
    return CEREUS_OK;
}

static cereus_status keep(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_session *s = cereus_ctx_session(ctx);
    CEREUS_TRY(cereus_session_set(ctx, s, "seat", json_integer(atoi((const char *)in.data))));
    CEREUS_TRY(cereus_session_push_to_front(ctx, s));
    *out = cereus_slice_str("kept");
    return CEREUS_OK;
}

static cereus_status push(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_session_push(ctx, cereus_ctx_session(ctx), "onPush", cereus_raw(in)));
    *out = cereus_slice_str("pushed");
    return CEREUS_OK;
}

static cereus_status chatter(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    for (int i = 0; i < 3; i++) {
        const char *text = cereus_ctx_printf(ctx, "%.*s %d", (int)in.len, (const char *)in.data, i);
        CEREUS_TRY(cereus_session_push(ctx, cereus_ctx_session(ctx), "onChatter", cereus_text(text)));
        if (i == 1)
            CEREUS_TRY(cereus_yield(ctx));
    }
    *out = in;
    return CEREUS_OK;
}

static cereus_status farewell(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(chatter(ctx, in, out));
    return cereus_session_kick(ctx, cereus_ctx_session(ctx));
}

static cereus_status kick(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_session_kick(ctx, cereus_ctx_session(ctx)));
    *out = cereus_slice_str("kicked");
    return CEREUS_OK;
}

static cereus_status tell(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uids[] = {(const char *)in.data};
    CEREUS_TRY(cereus_push_to_users(ctx, "onTell", cereus_text("hello"), uids, 1, "connector", NULL, NULL));
    *out = cereus_slice_str("told");
    return CEREUS_OK;
}

static cereus_status slow(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_sleep(ctx, (uint64_t)atoi((const char *)in.data)));
    *out = in;
    return CEREUS_OK;
}

static const cereus_method room[] = {
    CEREUS_RAW_REQUEST("echo", echo),         CEREUS_RAW_REQUEST("who", who),
    CEREUS_RAW_REQUEST("fails", fails),       CEREUS_RAW_REQUEST("bind", bind_it),
    CEREUS_RAW_REQUEST("keep", keep),         CEREUS_RAW_REQUEST("push", push),
    CEREUS_RAW_REQUEST("kick", kick),         CEREUS_RAW_REQUEST("tell", tell),
    CEREUS_RAW_REQUEST("slow", slow),         CEREUS_RAW_REQUEST("chatter", chatter),
    CEREUS_RAW_REQUEST("farewell", farewell),
};

static cereus_status plus_one(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%d", atoi((const char *)in.data) + 1));
    return CEREUS_OK;
}

static cereus_status remote_fails(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_fail(ctx, "FAR-1", "far away");
}

static const cereus_method math[] = {CEREUS_RAW_REQUEST("plusone", plus_one), CEREUS_RAW_REQUEST("fails", remote_fails),
                                     CEREUS_RAW_REQUEST("slow", slow)};

static cereus_test_app *start_room(const char *id)
{
    cereus_test_app *t = member("room", id, false);
    cereus_error err = {0};
    cereus_app *app = cereus_test_get_app(t);
    assert_int_equal(cereus_app_register(app, "room", room, CEREUS_COUNT(room), NULL, &err), CEREUS_OK);
    assert_int_equal(cereus_app_register_remote(app, "math", math, CEREUS_COUNT(math), NULL, &err), CEREUS_OK);
    cereus_test_start(t);
    return t;
}

/* ---- the connector ---- */

static cereus_status call(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_slice first = cereus_slice_str("41");
    CEREUS_TRY(cereus_rpc_raw(ctx, (const char *)in.data, first, out, NULL));
    return CEREUS_OK;
}

/** By a server's id, with the patience that the context propagates. */
static cereus_status call_hurriedly(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_rpc_options to = {.server_id = "room-1"};
    CEREUS_TRY(cereus_ctx_propagate(ctx, "reqTimeout", json_string((const char *)in.data)));
    return cereus_rpc_raw(ctx, "room.math.slow", cereus_slice_of("3000", 5), out, &to);
}

static cereus_status call_all(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_rpc_call calls[20];
    int sum = 0;
    for (int i = 0; i < 20; i++)
        calls[i] =
            (cereus_rpc_call){.route = "room.math.plusone", .in = cereus_slice_str(cereus_ctx_printf(ctx, "%d", i))};
    CEREUS_TRY(cereus_rpc_all(ctx, calls, 20));
    for (int i = 0; i < 20; i++)
        sum += atoi((const char *)calls[i].reply.data);
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%d", sum));
    return CEREUS_OK;
}

static cereus_status members(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const cereus_server *const *servers;
    size_t count = cereus_servers_by_type(ctx, (const char *)in.data, &servers);
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%zu", count));
    return CEREUS_OK;
}

/* The JSON text of what room.docs.docs answers to a protos.DocMsg. */
static cereus_status call_docs(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_slice reply;
    CEREUS_TRY(cereus_rpc_raw(ctx, "room.docs.docs", in, &reply, NULL));
    size_t at = 1; /* field 1, its length, the text */
    while (at < reply.len && reply.data[at] & 0x80)
        at++;
    *out = cereus_slice_of(reply.data + at + 1, reply.len - at - 1);
    return CEREUS_OK;
}

/** Another frontend says that "bob" was bound there, at the time given. */
static cereus_status hear(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const crs_bind_msg bind = {.uid = cereus_slice_str("bob"),
                               .frontend_id = cereus_slice_str("gate-9"),
                               .at_us = strtoull((const char *)in.data, NULL, 10)};
    crs_cluster_events.on_bound(crs_cluster_here(ctx->dispatch), &bind);
    *out = cereus_slice_str("heard");
    return CEREUS_OK;
}

static const cereus_method gate_methods[] = {
    CEREUS_RAW_REQUEST("hear", hear),       CEREUS_RAW_REQUEST("calldocs", call_docs),
    CEREUS_RAW_REQUEST("call", call),       CEREUS_RAW_REQUEST("callall", call_all),
    CEREUS_RAW_REQUEST("members", members), CEREUS_RAW_REQUEST("who", who),
    CEREUS_RAW_REQUEST("bind", bind_it),    CEREUS_RAW_REQUEST("hurry", call_hurriedly)};

static cereus_test_app *start_connector(const char *id)
{
    cereus_test_app *t = member("connector", id, true);
    cereus_error err = {0};
    assert_int_equal(
        cereus_app_register(cereus_test_get_app(t), "gate", gate_methods, CEREUS_COUNT(gate_methods), NULL, &err),
        CEREUS_OK);
    cereus_test_start(t);
    return t;
}

/* ---- what players see ---- */

static void messages_for_another_type_are_forwarded_and_answered(void **state)
{
    cereus_test_app *back = start_room("room-1"), *front = start_connector("gate-1");
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    assert_string_equal(cereus_test_call(c, "room.room.echo", "hello"), "hello");
    assert_string_equal(cereus_test_call(c, "room.room.echo", ""), "");
    assert_string_equal(cereus_test_call(c, "room.room.who", ""), "1  {\"ipversion\":\"ipv4\"}");
    const cereus_test_event *e = cereus_test_call_fails(c, "room.room.fails", "", "ROOM-7");
    assert_string_equal(e->msg, "no such room");
    assert_string_equal(cereus_test_meta(e, "room"), "blue");
    assert_non_null(cereus_test_logged(back, "no such room\" route=room.room.fails request=*uid="));
    e = cereus_test_call_fails(c, "room.room.nothing", "", "PIT-404");
    assert_string_equal(e->msg, "pitaya/handler: room.room.nothing not found");
    e = cereus_test_call_fails(c, "castle.room.echo", "", "PIT-500");
    assert_string_equal(e->msg, "no servers available of this type");
    cereus_test_end(front);
    cereus_test_end(back);
}

static void a_backend_does_with_a_session_what_its_frontend_would(void **state)
{
    cereus_test_app *back = start_room("room-1"), *front = start_connector("gate-1");
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_WS);
    const cereus_test_event *e = cereus_test_call_fails(c, "room.room.push", "x", "PIT-000");
    assert_string_equal(e->msg, "you have to bind an UID to the session to do that");
    assert_string_equal(cereus_test_call(c, "room.room.bind", "alice"), "bound");
    e = cereus_test_call_fails(c, "room.room.bind", "alice", "PIT-000");
    assert_string_equal(e->msg, "session is already bound to an uid");
    assert_string_equal(cereus_test_call(c, "room.room.keep", "7"), "kept");
    assert_string_equal(cereus_test_call(c, "room.room.who", ""), "1 alice {\"ipversion\":\"ipv4\",\"seat\":7}");
    assert_string_equal(cereus_test_call(c, "connector.gate.who", ""), "0 alice {\"ipversion\":\"ipv4\",\"seat\":7}");
    uint64_t request = cereus_test_request(c, "room.room.push", "news");
    cereus_test_expect_push(c, "onPush", "news");
    assert_string_equal(cereus_test_await(c, request)->body, "pushed");
    request = cereus_test_request(c, "room.room.tell", "alice");
    cereus_test_expect_push(c, "onTell", "hello");
    assert_string_equal(cereus_test_await(c, request)->body, "told");
    cereus_test_request(c, "room.room.kick", "");
    cereus_test_expect_kick(c);
    cereus_test_end(front);
    cereus_test_end(back);
}

static void remotes_are_called_and_their_errors_come_back(void **state)
{
    cereus_test_app *back = start_room("room-1"), *front = start_connector("gate-1");
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    assert_string_equal(cereus_test_call(c, "connector.gate.call", "room.math.plusone"), "42");
    assert_string_equal(cereus_test_call(c, "connector.gate.callall", ""), "210");
    const cereus_test_event *e = cereus_test_call_fails(c, "connector.gate.call", "room.math.fails", "FAR-1");
    assert_string_equal(e->msg, "far away");
    e = cereus_test_call_fails(c, "connector.gate.call", "room.math.none", "PIT-404");
    assert_string_equal(e->msg, "route not found");
    assert_string_equal(cereus_test_meta(e, "route"), "math.none");
    e = cereus_test_call_fails(c, "connector.gate.call", "castle.math.none", "PIT-500");
    e = cereus_test_call_fails(c, "connector.gate.call", "connector.gate.call", "PIT-000");
    assert_non_null(strstr(e->msg, "may be processed locally"));
    e = cereus_test_call_fails(c, "connector.gate.call", "math.plusone", "PIT-000");
    assert_non_null(strstr(e->msg, "no server type chosen"));
    cereus_test_call_fails(c, "room.math.plusone", "1", "PIT-404");                /* clients cannot reach remotes */
    cereus_test_call_fails(c, "connector.gate.call", "room.room.echo", "PIT-404"); /* nor servers handlers */
    cereus_test_end(front);
    cereus_test_end(back);
}

typedef struct outcome {
    cereus_test_gate *told;
    atomic_size_t ok;
    char last[64], code[32];
} outcome;

static void on_answer(cereus_ctx *ctx, cereus_status st, cereus_slice reply, void *user)
{
    outcome *o = user;
    if (st == CEREUS_OK)
        atomic_fetch_add(&o->ok, 1);
    else
        snprintf(o->code, sizeof o->code, "%s", cereus_ctx_error_code(ctx));
    snprintf(o->last, sizeof o->last, "%.*s", (int)reply.len, (const char *)reply.data);
    cereus_test_gate_pass(o->told);
}

static cereus_status guard(cereus_ctx *ctx, cereus_value *in, void *user)
{
    bool refused = in->shape == CEREUS_RAW && in->raw.len && in->raw.data[0] == '4';
    return refused ? cereus_fail(ctx, "GUARD-1", "no fours") : CEREUS_OK;
}

static cereus_status amend(cereus_ctx *ctx, cereus_value *out, cereus_status st, void *user)
{
    if (st == CEREUS_OK)
        *out = cereus_text("amended");
    return st;
}

static void remotes_have_pipelines_of_their_own(void **state)
{
    cereus_test_app *back = member("room", "room-1", false), *front = start_connector("gate-1");
    cereus_app *app = cereus_test_get_app(back);
    cereus_error err = {0};
    assert_int_equal(cereus_app_register(app, "room", room, CEREUS_COUNT(room), NULL, &err), CEREUS_OK);
    assert_int_equal(cereus_app_register_remote(app, "math", math, CEREUS_COUNT(math), NULL, &err), CEREUS_OK);
    assert_int_equal(cereus_app_before_remote(app, guard, NULL), CEREUS_OK);
    assert_int_equal(cereus_app_after_remote(app, amend, NULL), CEREUS_OK);
    cereus_test_start(back);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    while (strcmp(cereus_test_call(c, "connector.gate.members", "room"), "1") != 0) {
    }
    const cereus_test_event *e = cereus_test_call_fails(c, "connector.gate.call", "room.math.plusone", "PIT-500");
    assert_string_equal(e->msg, "no fours"); /* its own code is not told */
    cereus_rpc_options to = {.server_id = "room-1"};
    outcome o = {.told = cereus_test_gate_new(front)};
    app = cereus_test_get_app(front);
    assert_int_equal(cereus_app_rpc(app, NULL, "room.math.plusone", cereus_slice_of("1", 2), &to, on_answer, &o),
                     CEREUS_OK);
    cereus_test_gate_await(o.told, 1);
    assert_string_equal(o.last, "amended");
    assert_int_equal(cereus_app_rpc(app, NULL, "room.math.fails", cereus_slice_of("1", 2), &to, on_answer, &o),
                     CEREUS_OK);
    cereus_test_gate_await(o.told, 2);
    assert_string_equal(o.code, "FAR-1");                                 /* an after-function's is */
    assert_string_equal(cereus_test_call(c, "room.room.echo", "4"), "4"); /* handlers are not remotes */
    /* to a server by its id, the route's type is of no matter; and patience is as short as one likes */
    to.timeout_ms = 30000;
    assert_int_equal(cereus_app_rpc(app, NULL, "castle.math.plusone", cereus_slice_of("1", 2), &to, on_answer, &o),
                     CEREUS_OK);
    cereus_test_gate_await(o.told, 3);
    assert_string_equal(o.last, "amended");
    cereus_test_end(front);
    cereus_test_end(back);
}

static void a_call_to_a_server_by_its_id_waits_as_long_as_the_context_says(void **state)
{
    cereus_test_app *back = start_room("room-1"), *front = start_connector("gate-1");
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    while (strcmp(cereus_test_call(c, "connector.gate.members", "room"), "1") != 0) {
    }
    cereus_test_call_fails(c, "connector.gate.hurry", "100ms", "PIT-408"); /* without it five seconds would do */
    assert_string_equal(cereus_test_call(c, "connector.gate.hurry", "60s"), "3000");
    cereus_test_end(front);
    cereus_test_end(back);
}

static void any_frontend_leads_to_the_documentation_of_any_type(void **state)
{
    cereus_test_app *back = member("room", "room-1", false);
    cereus_app *app = cereus_test_get_app(back);
    cereus_error err = {0};
    assert_int_equal(cereus_app_register_docs(app, "docs", &err), CEREUS_OK);
    assert_int_equal(cereus_app_register_remote(app, "math", math, CEREUS_COUNT(math), NULL, &err), CEREUS_OK);
    cereus_test_start(back);
    cereus_test_app *front = start_connector("gate-1"); /* knows the room from its start on */
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    const char *doc = cereus_test_call(c, "room.docs.docs", "");
    assert_non_null(strstr(doc, "room.docs.protos"));
    assert_non_null(strstr(doc, "room.math.plusone"));
    assert_non_null(strstr(doc, "room.sys.kick"));
    assert_non_null(strstr(doc, "*protos.KickAnswer"));
    assert_null(strstr(doc, "connector."));
    /* Pitaya's command line client then asks for all these at once, and gives up when one is unknown */
    const char *names =
        "{\"name\":[\"protos.Doc\",\"protos.ProtoNames\",\"protos.ProtoDescriptors\",\"protos.Session\","
        "\"protos.Response\",\"protos.Error\",\"protos.KickMsg\",\"protos.KickAnswer\"]}";
    assert_non_null(strstr(cereus_test_call(c, "room.docs.protos", names), "\"desc\""));
    cereus_test_end(front);
    cereus_test_end(back);
}

static void servers_ask_one_another_for_their_documentation(void **state)
{
    cereus_test_app *back = member("room", "room-1", false);
    cereus_error err = {0};
    assert_int_equal(cereus_app_register_docs_remote(cereus_test_get_app(back), "docs", &err), CEREUS_OK);
    cereus_test_start(back);
    cereus_test_app *front = start_connector("gate-1");
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    /* the bytes that Pitaya sends, cases docs-remote and docs-remote-types */
    const char *doc = cereus_test_call(c, "connector.gate.calldocs", "");
    assert_non_null(strstr(doc,
                           "\"room.docs.docs\":{\"input\":{\"getProtos\":\"bool\"},\"output\":[{\"doc\":\"string\"},"
                           "\"error\"]}"));
    assert_null(strstr(doc, "*protos"));
    doc = cereus_test_call(c, "connector.gate.calldocs", "\b\1");
    assert_non_null(strstr(doc, "\"room.docs.docs\":{\"input\":{\"*protos.DocMsg\":{\"getProtos\":\"bool\"}},"
                                "\"output\":[{\"*protos.Doc\":{\"doc\":\"string\"}},\"error\"]}"));
    assert_non_null(strstr(doc, "\"room.docs.descriptor\":{\"input\":{\"*protos.ProtoNames\":{\"name\":[\"string\"]}},"
                                "\"output\":[{\"*protos.ProtoDescriptors\":{\"desc\":[\"[]byte\"]}},\"error\"]}"));
    cereus_test_call_fails(c, "room.docs.docs", "", "PIT-404"); /* not for clients */
    cereus_test_end(front);
    cereus_test_end(back);
}

static void a_bind_elsewhere_ends_the_older_session(void **state)
{
    cereus_test_app *one = start_connector("gate-1"), *two = start_connector("gate-2");
    cereus_test_client *old = cereus_test_connect(one, CEREUS_TEST_TCP),
                       *new = cereus_test_connect(two, CEREUS_TEST_TCP);
    while (strcmp(cereus_test_call(old, "connector.gate.members", "connector"), "2") != 0) {
    }
    assert_string_equal(cereus_test_call(old, "connector.gate.bind", "bob"), "bound");
    assert_string_equal(cereus_test_call(new, "connector.gate.bind", "bob"), "bound");
    cereus_test_expect_kick(old);
    assert_string_equal(cereus_test_call(new, "connector.gate.who", ""), "0 bob {\"ipversion\":\"ipv4\"}");
    cereus_test_end(one);
    cereus_test_end(two);
}

/** The word of an older bind may arrive after a newer one was made here. */
static void the_newer_session_stays_whatever_is_heard_late(void **state)
{
    cereus_test_app *gate = start_connector("gate-1");
    cereus_test_client *c = cereus_test_connect(gate, CEREUS_TEST_TCP),
                       *other = cereus_test_connect(gate, CEREUS_TEST_TCP);
    assert_string_equal(cereus_test_call(c, "connector.gate.bind", "bob"), "bound");
    assert_string_equal(cereus_test_call(other, "connector.gate.hear", "1000000"), "heard");
    assert_string_equal(cereus_test_call(c, "connector.gate.who", ""), "0 bob {\"ipversion\":\"ipv4\"}");
    assert_string_equal(cereus_test_call(other, "connector.gate.hear", "99999999999000000"), "heard");
    cereus_test_expect_kick(c);
    assert_string_equal(cereus_test_call(other, "connector.gate.bind", "bob"), "bound");
    cereus_test_request(other, "connector.gate.hear", "0"); /* Pitaya does not say when */
    cereus_test_expect_kick(other);
    cereus_test_end(gate);
}

static void messages_of_a_session_keep_their_order_on_the_way(void **state)
{
    enum { COUNT = 300 };
    cereus_test_app *back = start_room("room-1"), *front = start_connector("gate-1");
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    uint64_t ids[COUNT];
    char text[20];
    cereus_test_call(c, "room.room.echo", "first"); /* they know each other now */
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof text, "%d", i % 7 == 0 ? 2 : 0);
        ids[i] = cereus_test_request(c, i % 3 ? "room.room.slow" : "room.room.echo", text);
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof text, "%d", i % 7 == 0 ? 2 : 0);
        const cereus_test_event *e = cereus_test_next(c);
        assert_int_equal(e->kind, CEREUS_TEST_REPLY);
        assert_int_equal(e->request, ids[i]);
        assert_string_equal(e->body, text);
    }
    cereus_test_end(front);
    cereus_test_end(back);
}

static void pushes_and_answers_come_in_the_order_made(void **state)
{
    enum { COUNT = 200 };
    cereus_test_app *back = start_room("room-1"), *front = start_connector("gate-1");
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    char text[20];
    assert_string_equal(cereus_test_call(c, "room.room.bind", "alice"), "bound");
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof text, "%d", i);
        cereus_test_request(c, "room.room.chatter", text);
    }
    for (int i = 0; i < COUNT; i++) {
        for (int k = 0; k < 3; k++) {
            const cereus_test_event *e = cereus_test_next(c);
            snprintf(text, sizeof text, "%d %d", i, k);
            assert_int_equal(e->kind, CEREUS_TEST_PUSH);
            assert_string_equal(e->body, text);
        }
        assert_int_equal(cereus_test_next(c)->kind, CEREUS_TEST_REPLY);
    }
    cereus_test_request(c, "room.room.farewell", "bye");
    for (int k = 0; k < 3; k++)
        assert_int_equal(cereus_test_next(c)->kind, CEREUS_TEST_PUSH);
    cereus_test_expect_kick(c);
    cereus_test_end(front);
    cereus_test_end(back);
}

static void a_server_that_stops_answers_what_it_has_and_leaves(void **state)
{
    cereus_test_app *back = start_room("room-1"), *front = start_connector("gate-1");
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_call(c, "room.room.echo", "x");
    uint64_t request = cereus_test_request(c, "room.room.slow", "100");
    cereus_test_settle(front);
    while (cereus_app_counter(cereus_test_get_app(back), "rpc_served") < 2)
        usleep(1000);
    cereus_test_end(back);
    assert_string_equal(cereus_test_await(c, request)->body, "100");
    const cereus_test_event *e = cereus_test_call_fails(c, "room.room.echo", "x", "PIT-500");
    assert_string_equal(e->msg, "no servers available of this type");
    back = start_room("room-2");
    while (strcmp(cereus_test_call(c, "connector.gate.members", "room"), "1") != 0) {
    }
    assert_string_equal(cereus_test_call(c, "room.room.echo", "again"), "again");
    cereus_test_end(front);
    cereus_test_end(back);
}

static void two_servers_with_one_id_are_one_too_many(void **state)
{
    cereus_test_app *one = start_room("room-1"), *two = member("room", "room-1", false);
    const char *why = cereus_test_start_fails(two, CEREUS_E_EXISTS);
    assert_non_null(strstr(why, "a server with the id \"room-1\" runs already on this machine"));
    cereus_test_end(two);
    cereus_test_end(one);
}

static void servers_may_come_and_go_while_others_look(void **state)
{
    cereus_test_app *one = start_room("room-1"), *two = start_room("room-2");
    for (int i = 0; i < 60; i++) { /* its file must not be taken for a dead one's, by those who see it being made */
        cereus_test_app *guest = start_room("guest");
        cereus_test_end(guest);
    }
    cereus_test_end(one);
    cereus_test_end(two);
}

/* ---- from outside ---- */

static void *call_from_a_thread(void *user)
{
    cereus_app *app = cereus_test_get_app(((void **)user)[0]);
    for (int i = 0; i < 50; i++) {
        char number[4] = {(char)('0' + i % 10)};
        assert_int_equal(cereus_app_rpc(app, "gate", "room.math.plusone", cereus_slice_of(number, 2), NULL, on_answer,
                                        ((void **)user)[1]),
                         CEREUS_OK);
    }
    return NULL;
}

static void threads_of_the_game_call_without_waiting(void **state)
{
    cereus_test_app *back = start_room("room-1"), *front = member("connector", "gate-1", true);
    cereus_app *app = cereus_test_get_app(front);
    outcome o = {.told = cereus_test_gate_new(front)};
    cereus_slice one = cereus_slice_of("1", 2);
    assert_int_equal(cereus_app_rpc(app, NULL, "room.math.plusone", one, NULL, on_answer, &o), CEREUS_E_STATE);
    assert_int_equal(
        cereus_app_register(app, "gate", gate_methods, CEREUS_COUNT(gate_methods), NULL, &(cereus_error){0}),
        CEREUS_OK);
    cereus_test_start(front);
    assert_int_equal(cereus_app_rpc(app, "no", "room.math.plusone", one, NULL, on_answer, &o), CEREUS_E_NOT_FOUND);
    char route[] = "room.math.plusone", id[] = "room-1", in[] = "41";
    cereus_rpc_options to = {.server_id = id};
    assert_int_equal(cereus_app_rpc(app, NULL, route, cereus_slice_of(in, 3), &to, on_answer, &o), CEREUS_OK);
    memset(route, 'x', sizeof route); /* all is copied */
    memset(id, 'x', sizeof id);
    memset(in, 'x', sizeof in);
    cereus_test_gate_await(o.told, 1);
    assert_string_equal(o.last, "42");
    assert_int_equal(cereus_app_rpc(app, NULL, "room.math.fails", one, NULL, on_answer, &o), CEREUS_OK);
    cereus_test_gate_await(o.told, 2);
    assert_string_equal(o.code, "FAR-1");
    pthread_t threads[2];
    void *user[] = {front, &o};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_from_a_thread, user), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cereus_test_gate_await(o.told, 102);
    assert_int_equal(atomic_load(&o.ok), 101);
    assert_int_equal(cereus_app_rpc(app, NULL, "room.math.plusone", one, NULL, on_answer, &o), CEREUS_OK);
    cereus_test_stop(front); /* answered or refused, but told */
    assert_int_equal(cereus_test_gate_count(o.told), 103);
    assert_int_equal(cereus_app_rpc(app, NULL, "room.math.plusone", one, NULL, on_answer, &o), CEREUS_E_STATE);
    cereus_test_end(front);
    cereus_test_end(back);
}

typedef struct heard_servers {
    pthread_mutex_t mu;
    char text[200]; /* guarded by mu */
} heard_servers;

static void on_server(cereus_app *app, const cereus_server *server, bool joined, void *user)
{
    heard_servers *h = user;
    pthread_mutex_lock(&h->mu);
    size_t len = strlen(h->text);
    snprintf(h->text + len, sizeof h->text - len, "%c%s ", joined ? '+' : '-', server->id);
    pthread_mutex_unlock(&h->mu);
}

static void await_heard(heard_servers *h, const char *text)
{
    for (int i = 0; i < 3000; i++) {
        pthread_mutex_lock(&h->mu);
        bool same = strcmp(h->text, text) == 0;
        pthread_mutex_unlock(&h->mu);
        if (same)
            return;
        poll(NULL, 0, 10);
    }
    fail_msg("\"%s\" and not \"%s\"", h->text, text);
}

static void the_game_hears_who_joins_and_leaves(void **state)
{
    heard_servers h = {.mu = PTHREAD_MUTEX_INITIALIZER};
    cereus_test_app *one = start_room("room-1"), *front = member("connector", "gate-1", true);
    assert_int_equal(cereus_app_on_server(cereus_test_get_app(front), on_server, &h), CEREUS_OK);
    assert_int_equal(cereus_app_register(cereus_test_get_app(front), "gate", gate_methods, CEREUS_COUNT(gate_methods),
                                         NULL, &(cereus_error){0}),
                     CEREUS_OK);
    cereus_test_start(front);
    assert_int_equal(cereus_app_on_server(cereus_test_get_app(front), on_server, &h), CEREUS_E_STATE);
    await_heard(&h, "+room-1 ");
    cereus_test_app *two = start_room("room-2");
    await_heard(&h, "+room-1 +room-2 ");
    cereus_test_end(one);
    await_heard(&h, "+room-1 +room-2 -room-1 ");
    cereus_test_end(two);
    cereus_test_end(front);
}

/* ---- routes by what the session knows ---- */

static cereus_status sit(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return cereus_session_set(ctx, cereus_ctx_session(ctx), "room", json_string((const char *)in.data));
}

static const cereus_method seats[] = {CEREUS_RAW_REQUEST("sit", sit)};

static cereus_status by_data(cereus_session *session, cereus_slice route, cereus_slice body,
                             const cereus_server *const *servers, size_t count, size_t *ret_pick, void *user,
                             cereus_error *err)
{
    const char *wanted = json_string_value(cereus_session_peek(session, "room"));
    if (!wanted) {
        snprintf(err->msg, sizeof err->msg, "take a seat first");
        return err->status = CEREUS_E_INVALID;
    }
    assert_ptr_equal(json_object_get(cereus_session_peek(session, NULL), "room"), cereus_session_peek(session, "room"));
    for (*ret_pick = 0; *ret_pick < count && strcmp(servers[*ret_pick]->id, wanted) != 0; (*ret_pick)++) {
    }
    return CEREUS_OK;
}

static void a_route_may_depend_on_the_sessions_data(void **state)
{
    cereus_test_app *one = start_room("room-1"), *two = start_room("room-2");
    cereus_test_app *front = member("connector", "gate-1", true);
    cereus_app *app = cereus_test_get_app(front);
    assert_int_equal(cereus_app_add_route(app, "room", by_data, NULL), CEREUS_OK);
    assert_int_equal(cereus_app_register(app, "seat", seats, CEREUS_COUNT(seats), NULL, &(cereus_error){0}), CEREUS_OK);
    cereus_test_start(front);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    const cereus_test_event *e = cereus_test_call_fails(c, "room.room.echo", "x", "PIT-500");
    assert_string_equal(e->msg, "take a seat first");
    for (int i = 0; i < 6; i++) {
        cereus_test_call(c, "connector.seat.sit", i % 2 ? "room-1" : "room-2");
        cereus_test_call(c, "room.room.echo", "x");
    }
    assert_int_equal(cereus_app_counter(cereus_test_get_app(one), "rpc_served"), 3);
    assert_int_equal(cereus_app_counter(cereus_test_get_app(two), "rpc_served"), 3);
    cereus_test_end(front);
    cereus_test_end(two);
    cereus_test_end(one);
}

static test_nats nats;

static int start_nats(void **state)
{
    const char *rpc = getenv("TEST_RPC");
    if (rpc && strcmp(rpc, "nats") == 0) {
        test_nats_open(&nats);
        nats_url = nats.url;
    }
    return 0;
}

static int stop_nats(void **state)
{
    test_nats_kill(&nats);
    return 0;
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, test_make_dir, test_remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {IN_DIR(messages_for_another_type_are_forwarded_and_answered),
                                       IN_DIR(a_backend_does_with_a_session_what_its_frontend_would),
                                       IN_DIR(remotes_are_called_and_their_errors_come_back),
                                       IN_DIR(remotes_have_pipelines_of_their_own),
                                       IN_DIR(a_call_to_a_server_by_its_id_waits_as_long_as_the_context_says),
                                       IN_DIR(any_frontend_leads_to_the_documentation_of_any_type),
                                       IN_DIR(servers_ask_one_another_for_their_documentation),
                                       IN_DIR(a_bind_elsewhere_ends_the_older_session),
                                       IN_DIR(the_newer_session_stays_whatever_is_heard_late),
                                       IN_DIR(messages_of_a_session_keep_their_order_on_the_way),
                                       IN_DIR(pushes_and_answers_come_in_the_order_made),
                                       IN_DIR(a_server_that_stops_answers_what_it_has_and_leaves),
                                       IN_DIR(two_servers_with_one_id_are_one_too_many),
                                       IN_DIR(servers_may_come_and_go_while_others_look),
                                       IN_DIR(threads_of_the_game_call_without_waiting),
                                       IN_DIR(the_game_hears_who_joins_and_leaves),
                                       IN_DIR(a_route_may_depend_on_the_sessions_data)};
    return cmocka_run_group_tests(tests, start_nats, stop_nats);
}
