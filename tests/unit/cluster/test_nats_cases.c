/* tests/unit/cluster/test_nats_cases.c: the recorded traffic of Pitaya's clusters (tests/vectors/cluster), over a real NATS
 * server. A raw NATS client plays the other side: it sends what Pitaya sent and compares the answers, and it hears what our
 * servers publish. TEST_VECTORS names the folder. */
#include "cluster.h"
#include "nats_raw.h"
#include "vectors.h"

#include <cereus/remote.h>
#include <fcntl.h>

#include "cluster/protocol.h"

static test_nats nats;

/* ---- recordings ---- */

/** The @p nth publish to a subject that begins with @p prefix. NULL: none. */
static json_t *publish_of(json_t *file, const char *prefix, int nth)
{
    size_t i;
    json_t *event;
    json_array_foreach(json_object_get(file, "events"), i, event)
    {
        if (strcmp(vector_text(event, "via"), "nats") == 0 && strcmp(vector_text(event, "op"), "PUB") == 0 &&
            strncmp(vector_text(event, "subject"), prefix, strlen(prefix)) == 0 && nth-- == 0)
            return event;
    }
    return NULL;
}

static size_t bytes_of(const json_t *event, uint8_t out[PAYLOAD_MAX])
{
    vector_bytes bytes = vector_hex(vector_text(event, "payload_hex"));
    assert_in_range(bytes.len, 0, PAYLOAD_MAX);
    memcpy(out, bytes.data, bytes.len);
    free(bytes.data);
    return bytes.len;
}

/* ---- the servers ---- */

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status note(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return CEREUS_OK;
}

static cereus_status bind_it(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CEREUS_TRY(cereus_session_bind(ctx, cereus_ctx_session(ctx), (const char *)in.data));
    *out = cereus_slice_str("bound");
    return CEREUS_OK;
}

static cereus_status push_users(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uids[] = {"alice", "bob"};
    CEREUS_TRY(cereus_push_to_users(ctx, "onEvent", cereus_text("hello"), uids, 2, "connector", NULL, NULL));
    *out = cereus_slice_str("pushed");
    return CEREUS_OK;
}

static cereus_status kick_users(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uids[] = {"alice", "carol"};
    CEREUS_TRY(cereus_kick_users(ctx, uids, 2, "connector", NULL, NULL));
    *out = cereus_slice_str("kicked");
    return CEREUS_OK;
}

static const cereus_method handlers[] = {
    CEREUS_RAW_REQUEST("echo", echo),
    CEREUS_RAW_NOTIFY("note", note),
    CEREUS_RAW_REQUEST("bind", bind_it),
    CEREUS_RAW_REQUEST("pushusers", push_users),
    CEREUS_RAW_REQUEST("kickusers", kick_users),
};

/** peer.Say: text and n + 1. */
static cereus_status say(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    uint8_t *reply = cereus_ctx_alloc(ctx, in.len + 20);
    size_t text_len = 0, at = 0;
    uint64_t n = 0;
    while (at < in.len) {
        unsigned tag = in.data[at++];
        if (tag == 0x0a) {
            text_len = 2 + in.data[at];
            memcpy(reply, in.data + at - 1, text_len);
            at += text_len - 1;
        } else { /* varints: n, and what is unknown */
            uint64_t value = 0;
            int shift = 0;
            bool length = (tag & 7) == 2;
            while (tag >= 0x80 && (in.data[at++] & 0x80)) {
            }
            if (tag >= 0x80)
                length = true;
            do
                value |= (uint64_t)(in.data[at] & 0x7f) << shift, shift += 7;
            while (in.data[at++] & 0x80);
            if (length)
                at += value;
            else
                n = value;
        }
    }
    n++;
    if (n) {
        reply[text_len++] = 0x10;
        for (; n >= 0x80; n >>= 7)
            reply[text_len++] = (uint8_t)(n | 0x80);
        reply[text_len++] = (uint8_t)n;
    }
    *out = cereus_slice_of(reply, text_len);
    return CEREUS_OK;
}

static const cereus_method remotes[] = {CEREUS_RAW_REQUEST("say", say)};

static cereus_test_app *start_server(const char *type, const char *id, bool frontend)
{
    cereus_test_app *t = test_member(type, id, frontend);
    cereus_error err = {0};
    cereus_app *app = cereus_test_get_app(t);
    cereus_test_set(t, "cereus.cluster.rpc", "nats");
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.connect", nats.url);
    assert_int_equal(cereus_app_register(app, "room", handlers, CEREUS_COUNT(handlers), NULL, &err), CEREUS_OK);
    assert_int_equal(cereus_app_register_remote(app, "room", remotes, CEREUS_COUNT(remotes), NULL, &err), CEREUS_OK);
    cereus_test_start(t);
    return t;
}

static int set_up(void **state)
{
    test_nats_open(&nats);
    return test_make_dir(state);
}

static int tear_down(void **state)
{
    test_nats_kill(&nats);
    return test_remove_dir(state);
}

/* ---- what Pitaya sends ---- */

static void recorded_requests_are_answered_as_recorded(void **state)
{
    static const char *const names[] = {
        "sys-request-echo",
        "sys-request-first",
        "sys-request-binary",
        "sys-request-long",
        "sys-message-id",
        "sys-notify",
        "sys-notify-on-request",
        "sys-error-not-found",
        "sys-notify-not-found",
        "sys-error-request-on-notify",
        "sys-error-service-not-found",
        "raw-sys-notify-with-id",
        "raw-user-minimal",
        "raw-user-notify",
        "raw-user-session",
        "raw-msg-reply",
        "raw-metadata-none",
        "raw-metadata-empty-object",
        "raw-rpctype-unknown",
        "raw-route-one-part",
        "raw-route-two-parts",
        "raw-route-four-parts",
        "raw-route-empty",
        "raw-route-empty-part",
        "raw-route-other-type",
        "rpc-first",
        "rpc-to",
        "rpc-nil-arg",
        "rpc-from-frontend",
        "rpc-same-context-twice",
        "rpc-error-not-found",
    };
    cereus_test_app *back = start_server("room", "be-1", false);
    raw_client *raw = raw_open(nats.port);
    raw_subscribe(raw, "answers.*");
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        uint8_t bytes[PAYLOAD_MAX], want[PAYLOAD_MAX];
        char reply[40];
        raw_message got;
        json_t *file = vectors_cluster(names[i]), *request = publish_of(file, "pitaya/servers/room/be-1", 0);
        assert_non_null(request);
        json_t *answer = publish_of(file, vector_text(request, "reply"), 0);
        assert_non_null(answer);
        size_t len = bytes_of(request, bytes), want_len = bytes_of(answer, want);
        snprintf(reply, sizeof reply, "answers.%zu", i);
        raw_publish(raw, vector_text(request, "subject"), reply, bytes, len);
        raw_next(raw, &got);
        if (got.len != want_len || memcmp(got.payload, want, want_len) != 0)
            fail_msg("%s: another answer than recorded: %.*s", names[i], (int)got.len, (const char *)got.payload);
        assert_string_equal(got.subject, reply);
        json_decref(file);
    }
    raw_close(raw);
    cereus_test_end(back);
}

static void what_is_no_request_is_dropped(void **state)
{
    static const char *const names[] = {"raw-garbage", "raw-empty", "raw-no-msg", "raw-bad-utf8-route",
                                        "raw-user-minimal"};
    cereus_test_app *back = start_server("room", "be-1", false);
    raw_client *raw = raw_open(nats.port);
    raw_subscribe(raw, "answers.*");
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        uint8_t bytes[PAYLOAD_MAX];
        char reply[40];
        json_t *file = vectors_cluster(names[i]), *request = publish_of(file, "pitaya/servers/room/be-1", 0);
        snprintf(reply, sizeof reply, "answers.%s", names[i]);
        raw_publish(raw, vector_text(request, "subject"), reply, bytes, bytes_of(request, bytes));
        json_decref(file);
    }
    raw_message got;
    raw_next(raw, &got);
    assert_string_equal(got.subject, "answers.raw-user-minimal"); /* the only one that is answered */
    raw_close(raw);
    cereus_test_end(back);
}

static void recorded_pushes_kicks_and_binds_reach_the_player(void **state)
{
    cereus_test_app *front = start_server("connector", "fe-1", true);
    raw_client *raw = raw_open(nats.port);
    uint8_t bytes[PAYLOAD_MAX];
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_call(c, "connector.room.bind", "alice");
    static const char *const silent[] = {"raw-push-other-uid", "raw-push-garbage", "raw-bindings-own",
                                         "raw-bindings-other-user"};
    for (size_t i = 0; i < CEREUS_COUNT(silent); i++) {
        json_t *file = vectors_cluster(silent[i]), *event = publish_of(file, "pitaya/connector/", 0);
        raw_publish(raw, vector_text(event, "subject"), "", bytes, bytes_of(event, bytes));
        json_decref(file);
    }
    json_t *file = vectors_cluster("push-to-users"), *event = publish_of(file, "pitaya/connector/user/alice/push", 0);
    raw_publish(raw, vector_text(event, "subject"), "", bytes, bytes_of(event, bytes));
    cereus_test_expect_push(c, "onEvent", "hello");
    json_decref(file);
    static const char *const ends[] = {"raw-kick", "raw-bindings-kick"};
    for (size_t i = 0; i < CEREUS_COUNT(ends); i++) {
        file = vectors_cluster(ends[i]);
        event = publish_of(file, "pitaya/connector/", 0);
        raw_publish(raw, vector_text(event, "subject"), "", bytes, bytes_of(event, bytes));
        cereus_test_expect_kick(c);
        json_decref(file);
        c = cereus_test_connect(front, CEREUS_TEST_TCP);
        cereus_test_call(c, "connector.room.bind", "alice");
    }
    raw_close(raw);
    cereus_test_end(front);
}

/* ---- what we send ---- */

/** Our request as Pitaya would have sent it: without our extension, with the recorded numbers and the recorded context. */
static void expect_request(const char *name, const raw_message *got, json_t *recorded)
{
    uint8_t want[PAYLOAD_MAX];
    size_t want_len = bytes_of(recorded, want);
    crs_request ours, theirs;
    json_error_t err;
    assert_int_equal(crs_request_decode(cereus_slice_of(got->payload, got->len), &ours), CEREUS_OK);
    assert_int_equal(crs_request_decode(cereus_slice_of(want, want_len), &theirs), CEREUS_OK);
    json_t *mine = json_loadb((const char *)ours.metadata.data, ours.metadata.len, 0, &err),
           *other = json_loadb((const char *)theirs.metadata.data, theirs.metadata.len, 0, &err);
    const char *const masked[] = {"request.id", "req-start-time"};
    assert_int_equal(json_string_length(json_object_get(mine, "request.id")), 22);
    assert_true(json_integer_value(json_object_get(mine, "req-start-time")) > INT64_C(1500000000000000000));
    for (size_t i = 0; i < CEREUS_COUNT(masked); i++)
        json_object_set(mine, masked[i], json_object_get(other, masked[i]));
    if (!json_equal(mine, other))
        fail_msg("%s: another context: %.*s", name, (int)ours.metadata.len, (const char *)ours.metadata.data);
    json_decref(mine);
    json_decref(other);
    assert_int_equal(ours.metadata.len, theirs.metadata.len); /* and in Go's form */
    ours.metadata = theirs.metadata;
    ours.session_id = theirs.session_id;
    ours.msg_id = theirs.msg_id ? theirs.msg_id : ours.msg_id;
    ours.extension = 0;
    crs_bytes again;
    crs_bytes_init(&again, 100000);
    assert_int_equal(crs_request_encode(&ours, &again), CEREUS_OK);
    if (again.len != want_len || memcmp(again.data, want, want_len) != 0)
        fail_msg("%s: another request than recorded", name);
    crs_bytes_fini(&again);
}

static void messages_of_players_travel_as_recorded(void **state)
{
    static const char *const names[] = {"sys-request-echo", "sys-request-first", "sys-request-binary",
                                        "sys-request-long", "sys-request-empty", "sys-message-id"};
    cereus_test_app *back = start_server("room", "be-1", false), *front = start_server("connector", "fe-1", true);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    raw_client *raw = raw_open(nats.port);
    raw_message got;
    raw_subscribe(raw, "pitaya/servers/room/be-1");
    raw_subscribe(raw, "pitaya/connector/bindings");
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        json_t *file = vectors_cluster(names[i]), *request = publish_of(file, "pitaya/servers/room/be-1", 0);
        uint8_t want[PAYLOAD_MAX];
        crs_request theirs;
        assert_int_equal(crs_request_decode(cereus_slice_of(want, bytes_of(request, want)), &theirs), CEREUS_OK);
        cereus_test_request_bytes(c, "room.room.echo", theirs.body);
        cereus_test_settle(front);
        raw_next(raw, &got);
        assert_string_equal(got.subject, vector_text(request, "subject"));
        expect_request(names[i], &got, request);
        json_decref(file);
    }
    json_t *file = vectors_cluster("sys-notify"), *request = publish_of(file, "pitaya/servers/room/be-1", 0);
    crs_request theirs;
    uint8_t want[PAYLOAD_MAX];
    assert_int_equal(crs_request_decode(cereus_slice_of(want, bytes_of(request, want)), &theirs), CEREUS_OK);
    cereus_test_notify_bytes(c, "room.room.note", theirs.body);
    cereus_test_settle(front);
    raw_next(raw, &got);
    expect_request("sys-notify", &got, request);
    json_decref(file);

    file = vectors_cluster("bind-from-frontend");
    json_t *bind_event = publish_of(file, "pitaya/connector/bindings", 0);
    cereus_test_request(c, "connector.room.bind", "bob");
    cereus_test_settle(front);
    raw_find(raw, "pitaya/connector/bindings", &got);
    size_t len = bytes_of(bind_event, want);
    assert_true(got.len > len && got.payload[len] == (15 << 3)); /* behind what Pitaya says: when that was */
    assert_memory_equal(got.payload, want, len);
    json_decref(file);
    raw_close(raw);
    cereus_test_end(front);
    cereus_test_end(back);
}

static void pushes_and_kicks_travel_as_recorded(void **state)
{
    cereus_test_app *back = start_server("room", "be-1", false), *front = start_server("connector", "fe-1", true);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    raw_client *raw = raw_open(nats.port);
    raw_message got;
    uint8_t want[PAYLOAD_MAX];
    static const struct {
        const char *name, *route, *subjects[2];
    } rows[] = {{"push-to-users",
                 "room.room.pushusers",
                 {"pitaya/connector/user/alice/push", "pitaya/connector/user/bob/push"}},
                {"kick-users",
                 "room.room.kickusers",
                 {"pitaya/connector/user/alice/kick", "pitaya/connector/user/carol/kick"}}};
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        for (size_t k = 0; k < 2; k++)
            raw_subscribe(raw, rows[i].subjects[k]);
    }
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        json_t *file = vectors_cluster(rows[i].name);
        cereus_test_call(c, rows[i].route, "");
        for (int k = 0; k < 2; k++) {
            json_t *event = publish_of(file, rows[i].subjects[k], 0);
            raw_next(raw, &got);
            assert_string_equal(got.subject, rows[i].subjects[k]);
            assert_int_equal(got.len, bytes_of(event, want));
            assert_memory_equal(got.payload, want, got.len);
        }
        json_decref(file);
    }
    raw_close(raw);
    cereus_test_end(front);
    cereus_test_end(back);
}

/* ---- among our own, and not ---- */

/** A server that is only a file with a lock, as local discovery has them. */
static int join_by_file(const char *id, const char *text)
{
    char made[128], path[128];
    snprintf(made, sizeof made, "%s/%s.new", test_dir, id);
    snprintf(path, sizeof path, "%s/%s.json", test_dir, id);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(made, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(rename(made, path), 0);
    return fd;
}

static void leave_by_file(const char *id, int fd)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s.json", test_dir, id);
    unlink(path);
    close(fd);
}

static cereus_status cast(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *uids[] = {"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"};
    CEREUS_TRY(cereus_push_to_users(ctx, "onCast", cereus_raw(in), uids, CEREUS_COUNT(uids), "connector", NULL, NULL));
    *out = in;
    return CEREUS_OK;
}

static const cereus_method casts[] = {CEREUS_RAW_REQUEST("cast", cast)};

static void many_users_are_one_message_to_each_frontend_of_ours(void **state)
{
    cereus_test_app *back = test_member("room", "be-1", false), *front = start_server("connector", "fe-1", true);
    cereus_test_set(back, "cereus.cluster.rpc", "nats");
    cereus_test_set(back, "cereus.log.level", "info");
    cereus_test_set(back, "pitaya.cluster.rpc.client.nats.connect", nats.url);
    assert_int_equal(cereus_app_register(cereus_test_get_app(back), "room", casts, 1, NULL, &(cereus_error){0}),
                     CEREUS_OK);
    cereus_test_start(back);
    cereus_test_client *alice = cereus_test_connect(front, CEREUS_TEST_TCP),
                       *carol = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_call(alice, "connector.room.bind", "alice");
    cereus_test_call(carol, "connector.room.bind", "carol");
    raw_client *raw = raw_open(nats.port);
    raw_message got;
    raw_subscribe(raw, "pitaya/servers/connector/fe-1");
    raw_subscribe(raw, "pitaya/connector/user/dave/push");
    for (int i = 0; i < 3; i++) {
        cereus_test_call(alice, "room.room.cast", "hello");
        cereus_test_expect_push(alice, "onCast", "hello");
        cereus_test_expect_push(carol, "onCast", "hello");
        raw_next(raw, &got);
        assert_string_equal(got.subject, "pitaya/servers/connector/fe-1");
        assert_memory_equal(got.payload, "\x78\x10\x08\0\0\0\x05\0alice", 13);
    }
    /* one that may be a Go server: each user gets a message of their own, once */
    int fd = join_by_file("go-1", "{\"id\":\"go-1\",\"type\":\"connector\",\"frontend\":true}");
    cereus_test_expect_log(back, "server joined*id=go-1");
    cereus_test_call(alice, "room.room.cast", "hi");
    cereus_test_expect_push(alice, "onCast", "hi");
    cereus_test_expect_push(carol, "onCast", "hi");
    raw_next(raw, &got);
    assert_string_equal(got.subject, "pitaya/connector/user/dave/push");
    leave_by_file("go-1", fd);
    raw_close(raw);
    cereus_test_end(front);
    cereus_test_end(back);
}

static void order_holds_towards_servers_that_are_not_ours_too(void **state)
{
    int fd = join_by_file("go-2", "{\"id\":\"go-2\",\"type\":\"castle\"}");
    raw_client *raw = raw_open(nats.port);
    raw_message got;
    crs_request req;
    raw_subscribe(raw, "pitaya/servers/castle/go-2");
    cereus_test_app *front = start_server("connector", "fe-1", true);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    enum { COUNT = 20 };
    uint64_t ids[COUNT];
    char text[8];
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof text, "%d", i);
        ids[i] = cereus_test_request(c, "castle.gate.open", text);
    }
    cereus_test_settle(front);
    for (int i = 0; i < COUNT;
         i++) { /* it would run them as they come: so the next comes when the one before is answered */
        snprintf(text, sizeof text, "%d", i);
        raw_next(raw, &got);
        assert_int_equal(crs_request_decode(cereus_slice_of(got.payload, got.len), &req), CEREUS_OK);
        assert_true(crs_slice_eq(req.body, cereus_slice_str(text)));
        raw_flush(raw); /* what had been sent by now would be here */
        assert_false(raw_has_more(raw));
        raw_publish(raw, got.reply, "", (const uint8_t *)"\x0a\x02ok", 4);
        assert_string_equal(cereus_test_await(c, ids[i])->body, "ok");
    }
    leave_by_file("go-2", fd);
    raw_close(raw);
    cereus_test_end(front);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

TEST_MAIN(TEST(recorded_requests_are_answered_as_recorded), TEST(what_is_no_request_is_dropped),
          TEST(recorded_pushes_kicks_and_binds_reach_the_player), TEST(messages_of_players_travel_as_recorded),
          TEST(pushes_and_kicks_travel_as_recorded), TEST(many_users_are_one_message_to_each_frontend_of_ours),
          TEST(order_holds_towards_servers_that_are_not_ours_too))
