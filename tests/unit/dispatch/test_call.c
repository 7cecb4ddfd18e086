/* tests/unit/dispatch/test_call.c: messages on their way through handlers, as clients see it. */
#include "game.h"

#include <jansson.h>

#include "dispatch/call.h"
#include "dispatch/greet.pb-c.h"
#include "loop/loop.h"

static const cereus_service_options on_session = {.home = CEREUS_HOME_SESSION};

/* ---- handlers ---- */

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status route_of(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return reply_text(out, cereus_ctx_route(ctx));
}

static gate heard = GATE_INIT;
static char heard_text[64];

static cereus_status hear(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CHECK(!out && in.len < sizeof heard_text);
    strcpy(heard_text, text_of(in));
    gate_pass(&heard);
    return cereus_fail(ctx, "X", "nobody is told about a notify's errors");
}

static cereus_status give_nothing(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CHECK(!out->data);
    return CEREUS_OK;
}

static cereus_status give_empty(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return reply_text(out, "");
}

static cereus_status json_echo(cereus_ctx *ctx, const struct json_t *in, struct json_t **out)
{
    *out = json_pack("{s:O}", "got", in);
    return CEREUS_OK;
}

static cereus_status json_nothing(cereus_ctx *ctx, const struct json_t *in, struct json_t **out)
{
    return CEREUS_OK;
}

static cereus_status json_then_fail(cereus_ctx *ctx, const struct json_t *in, struct json_t **out)
{
    *out = json_object(); /* given away, also when the handler fails */
    return cereus_fail(ctx, "J-1", "after the reply was made");
}

static cereus_status greet(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    const Test__Greeting *req = (const Test__Greeting *)in->message;
    Test__Greeting *reply = (Test__Greeting *)out->message;
    reply->name = cereus_ctx_printf(ctx, "%s, %s", (const char *)user, req->name);
    reply->count = req->count + 1;
    return CEREUS_OK;
}

static cereus_status no_argument(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    CHECK(in->shape == CEREUS_NOTHING && !in->raw.data && !in->message && !in->json);
    out->raw = cereus_slice_str("fine");
    return CEREUS_OK;
}

static cereus_status unset_shape(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    out->shape = CEREUS_NOTHING;
    return CEREUS_OK;
}

#define TYPED(route, function, text)                                                                          \
    {                                                                                                         \
        .name = (route), .in = CEREUS_MESSAGE, .out = CEREUS_MESSAGE, .in_type = &test__greeting__descriptor, \
        .out_type = &test__greeting__descriptor, .fn = (function), .user = (void *)(text)                     \
    }

static const cereus_method shapes[] = {
    CEREUS_RAW_REQUEST("echo", echo),
    CEREUS_RAW_REQUEST("route", route_of),
    CEREUS_RAW_NOTIFY("hear", hear),
    CEREUS_RAW_REQUEST("nothing", give_nothing),
    CEREUS_RAW_REQUEST("empty", give_empty),
    CEREUS_JSON_REQUEST("json", json_echo),
    CEREUS_JSON_REQUEST("jsonnull", json_nothing),
    CEREUS_JSON_REQUEST("jsonfail", json_then_fail),
    TYPED("greet", greet, "hello"),
    {.name = "noarg", .in = CEREUS_NOTHING, .out = CEREUS_RAW, .fn = no_argument},
    {.name = "unset", .in = CEREUS_NOTHING, .out = CEREUS_JSON, .fn = unset_shape},
};

static game *shapes_game(void)
{
    game *g = game_new(1);
    GAME_SERVE(g, "m", shapes, NULL);
    return g;
}

/* ---- routes and kinds ---- */

static void a_route_has_two_or_three_parts(void **state)
{
    game *g = shapes_game();
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    assert_string_equal(client_call(c, "m.route", ""), "game.m.route");
    assert_string_equal(client_call(c, "game.m.route", ""), "game.m.route");
    assert_string_equal(client_fail(c, "m.none", ""), "PIT-404|pitaya/handler: game.m.none not found");
    assert_string_equal(client_fail(c, "game.m.none", ""), "PIT-404|pitaya/handler: game.m.none not found");
    assert_string_equal(client_fail(c, "x.route", ""), "PIT-404|pitaya/handler: game.x.route not found");
    assert_string_equal(client_fail(c, "other.m.route", ""), "PIT-500|no servers available of this type");
    assert_string_equal(client_fail(c, "m", ""), "PIT-400|invalid route");
    assert_string_equal(client_fail(c, "a.b.c.d", ""), "PIT-400|invalid route");
    assert_string_equal(client_fail(c, "", ""), "PIT-400|route field can not be empty");
    assert_string_equal(client_fail(c, "m.", ""), "PIT-400|route field can not be empty");
    assert_int_equal(cereus_app_counter(g->app, "route_not_found"), 8);
    char longest[256];
    memset(longest, 'x', 255);
    longest[1] = '.';
    longest[255] = '\0';
    char want[400];
    snprintf(want, sizeof want, "PIT-404|pitaya/handler: game.%s not found", longest);
    assert_string_equal(client_fail(c, longest, ""), want);
    game_end(g);
}

static void kinds_of_messages_meet_kinds_of_handlers(void **state)
{
    game *g = shapes_game();
    game_start(g);
    client *c = client_connect(g, GAME_WS);
    gate_reset(&heard);
    assert_string_equal(client_fail(c, "m.hear", "x"), "PIT-400|tried to request a notify route");
    assert_int_equal(gate_count(&heard), 0);
    client_notify(c, "m.hear", "by notify");
    gate_await(&heard, 1);
    assert_string_equal(heard_text, "by notify");
    client_notify(c, "m.echo", "its result is thrown away");
    client_notify(c, "m.json", "its result too"); /* and its error */
    client_notify(c, "m.json", "{}");
    client_notify(c, "m.nothing", "");
    client_notify(c, "m.none", "nobody is told");
    client_notify(c, "", "");
    client_request_id(c, 0, "m.echo", "no id, no answer");
    client_request_id(c, 0, "m.none", "");
    client_request_id(c, 0, "m.hear", "");
    assert_string_equal(client_call(c, "m.echo", "the next thing said"), "the next thing said");
    uint64_t ids[] = {1, 127, 128, 1u << 31, UINT64_MAX};
    for (size_t i = 0; i < CEREUS_COUNT(ids); i++) {
        client_request_id(c, ids[i], "m.echo", "id");
        client_expect_response(c, ids[i], "id");
    }
    game_end(g);
}

/* ---- shapes ---- */

static void bodies_have_shapes(void **state)
{
    game *g = shapes_game();
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    assert_int_equal(client_call_bytes(c, "m.echo", "a\0b", 3).len, 3);
    assert_string_equal(client_call(c, "m.echo", ""), "");
    assert_string_equal(client_call(c, "m.empty", "x"), "");
    assert_string_equal(client_call(c, "m.json", "[1,2]"), "{\"got\":[1,2]}");
    assert_string_equal(client_call(c, "m.json", "null"), "{\"got\":null}");
    assert_string_equal(client_call(c, "m.json", "\"a\\u0000b\""), "{\"got\":\"a\\u0000b\"}");
    assert_string_equal(client_call(c, "m.greet", "{\"name\":\"Bo\",\"count\":4}"),
                        "{\"name\":\"hello, Bo\",\"count\":5}");
    assert_string_equal(client_call(c, "m.noarg", "not even JSON"), "fine");
    game_end(g);
}

static void messages_are_protobuf_where_that_is_set(void **state)
{
    game *g = shapes_game();
    game_set(g, "pitaya.serializertype", "2");
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    Test__Greeting req = TEST__GREETING__INIT;
    req.name = (char *)"Bo";
    req.count = 4;
    uint8_t bytes[32];
    size_t len = test__greeting__pack(&req, bytes);
    event e = client_call_bytes(c, "m.greet", bytes, len);
    Test__Greeting *reply = test__greeting__unpack(NULL, e.len, (const uint8_t *)e.body);
    assert_non_null(reply);
    assert_string_equal(reply->name, "hello, Bo");
    assert_int_equal(reply->count, 5);
    test__greeting__free_unpacked(reply, NULL);
    assert_string_equal(client_call(c, "m.json", "[1]"), "{\"got\":[1]}"); /* JSON whatever the serializer */
    client_request(c, "m.greet", "\xff");
    assert_int_equal(client_next(c).kind, EVENT_ERROR);
    game_end(g);
}

static void a_request_needs_a_reply(void **state)
{
    game *g = shapes_game();
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    const char *const routes[] = {"m.nothing", "m.jsonnull", "m.unset"};
    for (size_t i = 0; i < CEREUS_COUNT(routes); i++)
        assert_string_equal(client_fail(c, routes[i], "{}"), "PIT-000|reply must not be null");
    assert_string_equal(client_fail(c, "m.jsonfail", "{}"), "J-1|after the reply was made");
    char deep[129]; /* the reply is one level deeper than can be said: an error, not a success (F-43) */
    memset(deep, '[', 64);
    memset(deep + 64, ']', 64);
    deep[128] = '\0';
    assert_string_equal(client_fail(c, "m.json", deep), "PIT-000|json: nested deeper than 64");
    assert_int_equal(cereus_app_counter(g->app, "handler_failures"), 5);
    assert_int_equal(cereus_app_counter(g->app, "errors_sent"), 5);
    game_end(g);
}

static void a_body_that_does_not_decode_is_a_bad_request(void **state)
{
    game *g = shapes_game();
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    const char *const bad[] = {"", "{", "[1,]", "{}x", "\xff", "nul", "'a'"};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        assert_int_equal(strncmp(client_fail(c, "m.json", bad[i]), "PIT-400|", 8), 0);
        assert_int_equal(strncmp(client_fail(c, "m.greet", bad[i]), "PIT-400|", 8), 0);
    }
    assert_int_equal(strncmp(client_fail(c, "m.greet", "{\"count\":\"x\"}"), "PIT-400|", 8), 0);
    assert_int_equal(cereus_app_counter(g->app, "bad_bodies"), 2 * CEREUS_COUNT(bad) + 1);

    char deep[200];
    memset(deep, '[', 64);
    memset(deep + 64, ']', 64);
    deep[128] = '\0';
    assert_int_equal(strncmp(client_fail(c, "m.json", deep), "PIT-000|", 8), 0); /* read, but its echo is too deep */
    memset(deep, '[', 65);
    memset(deep + 65, ']', 65);
    deep[130] = '\0';
    assert_string_equal(client_fail(c, "m.json", deep), "PIT-400|json: nested too deep (offset 0)");
    char *million = malloc(1000001);
    memset(million, '{', 1000000);
    million[1000000] = '\0';
    assert_int_equal(strncmp(client_fail(c, "m.json", million), "PIT-400|", 8), 0);
    assert_int_equal(strncmp(client_fail(c, "m.greet", million), "PIT-400|", 8), 0);
    free(million);
    assert_string_equal(client_call(c, "m.json", "\"[[[[{{{{\""), "{\"got\":\"[[[[{{{{\"}");
    game_end(g);
}

/* ---- errors ---- */

static cereus_status fail_as_told(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const char *how = text_of(in);
    *out = cereus_slice_str("not sent");
    CHECK(!cereus_ctx_error_code(ctx) && !cereus_ctx_error_msg(ctx));
    if (strcmp(how, "code") == 0)
        return cereus_fail(ctx, "RH-404", "no room %d", 7);
    if (strcmp(how, "none") == 0) {
        CHECK(cereus_fail(ctx, NULL, "plain") == CEREUS_E_FAILED);
        CHECK(strcmp(cereus_ctx_error_code(ctx), "PIT-000") == 0);
        return CEREUS_E_FAILED;
    }
    if (strcmp(how, "empty") == 0)
        return cereus_fail(ctx, "", "%s", "");
    if (strcmp(how, "bytes") == 0)
        return cereus_fail_bytes(ctx, "B-1", cereus_slice_of("a\0\xff", 3));
    if (strcmp(how, "nobytes") == 0)
        return cereus_fail_bytes(ctx, "B-2", cereus_slice_of(NULL, 0));
    if (strcmp(how, "meta") == 0) {
        cereus_fail(ctx, "M-1", "with metadata");
        cereus_fail_meta(ctx, "a", "1");
        cereus_fail_meta(ctx, "b", "2");
        return cereus_fail_meta(ctx, "a", "3");
    }
    if (strcmp(how, "framework's") == 0) {
        cereus_session_bind(ctx, cereus_ctx_session(ctx), "");
        return cereus_fail_meta(ctx, "a", "1");
    }
    if (strcmp(how, "manymeta") == 0) {
        cereus_fail(ctx, "M-2", "more than there is room for");
        for (int i = 0; i < 100; i++)
            cereus_fail_meta(ctx, cereus_ctx_printf(ctx, "k%d", i), "v");
        return CEREUS_E_FAILED;
    }
    if (strcmp(how, "twice") == 0) {
        cereus_fail(ctx, "T-1", "first");
        cereus_fail_meta(ctx, "gone", "with it");
        return cereus_fail(ctx, "T-2", "the last one counts");
    }
    if (strcmp(how, "stored, other returned") == 0) {
        cereus_fail(ctx, "S-1", "not this");
        return CEREUS_E_TIMEOUT;
    }
    if (strcmp(how, "forgotten") == 0)
        return CEREUS_E_FAILED; /* without cereus_fail() */
    return (cereus_status)atoi(how);
}

static const char *whole_error(client *c, const char *how)
{
    client_request(c, "e.fail", how);
    event e = client_next(c);
    assert_int_equal(e.kind, EVENT_ERROR);
    return e.body;
}

static void errors_carry_code_message_and_metadata(void **state)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("fail", fail_as_told)};
    game *g = game_new(2);
    GAME_SERVE(g, "e", methods, &(cereus_service_options){.home = CEREUS_HOME_ONE}); /* on loop 1: after kit's */
    game_start(g);
    for (unsigned loop = 0; loop < 2; loop++) {
        client *c = client_connect_on(g, GAME_TCP, loop);
        assert_string_equal(whole_error(c, "code"), "{\"code\":\"RH-404\",\"msg\":\"no room 7\"}");
        assert_string_equal(whole_error(c, "none"), "{\"code\":\"PIT-000\",\"msg\":\"plain\"}");
        assert_string_equal(client_fail(c, "e.fail", "empty"), "|");
        assert_non_null(strstr(whole_error(c, "bytes"), "\"code\":\"B-1\""));
        assert_string_equal(client_fail(c, "e.fail", "nobytes"), "B-2|");
        assert_string_equal(whole_error(c, "meta"), "{\"code\":\"M-1\",\"msg\":\"with metadata\",\"metadata\":{\"a\":"
                                                    "\"3\",\"b\":\"2\"}}");
        assert_string_equal(whole_error(c, "framework's"),
                            "{\"code\":\"PIT-000\",\"msg\":\"illegal uid\",\"metadata\":{\"a\":\"1\"}}");
        json_t *many = json_loads(whole_error(c, "manymeta"), 0, NULL);
        assert_int_equal(json_object_size(json_object_get(many, "metadata")), 32);
        json_decref(many);
        assert_string_equal(whole_error(c, "twice"), "{\"code\":\"T-2\",\"msg\":\"the last one counts\"}");
        assert_string_equal(client_fail(c, "e.fail", "stored, other returned"), "PIT-408|deadline exceeded");
        assert_string_equal(client_fail(c, "e.fail", "forgotten"), "PIT-000|the game's own error, kept in the context");
        for (int st = CEREUS_E_FAILED; st <= CEREUS_E_UNAVAILABLE; st++) {
            char number[8], want[200];
            snprintf(number, sizeof number, "%d", st);
            snprintf(want, sizeof want, "%s|%s", cereus_status_code(st), cereus_status_text(st));
            assert_string_equal(client_fail(c, "e.fail", number), want);
        }
    }
    game_end(g);
}

/* ---- pipelines ---- */

static cereus_status say(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    if (strstr(text_of(in), "FAIL"))
        return cereus_fail(ctx, "H-1", "%s", text_of(in));
    return reply_text(out, cereus_ctx_printf(ctx, "%sH", text_of(in)));
}

static atomic_int hooks_run;

static cereus_status before(cereus_ctx *ctx, cereus_value *in, void *user)
{
    atomic_fetch_add(&hooks_run, 1);
    if (in->shape != CEREUS_RAW)
        return CEREUS_OK;
    if (strstr((const char *)in->raw.data, "stop") && strcmp(user, "2") == 0)
        return cereus_fail(ctx, "B-1", "stopped by %s", (const char *)user);
    char *text = cereus_ctx_printf(ctx, "%s%s", (const char *)in->raw.data, (const char *)user);
    in->raw = cereus_slice_str(text);
    return strstr(text, "wait") ? cereus_yield(ctx) : CEREUS_OK;
}

static cereus_status after(cereus_ctx *ctx, cereus_value *out, cereus_status status, void *user)
{
    atomic_fetch_add(&hooks_run, 1);
    if (strcmp(user, "a") == 0 && status == CEREUS_E_FAILED && strstr(cereus_ctx_error_msg(ctx), "mend")) {
        CHECK(strcmp(cereus_ctx_error_code(ctx), "H-1") == 0);
        out->raw = cereus_slice_str("mended");
        return CEREUS_OK;
    }
    if (status)
        return status;
    const char *text = (const char *)out->raw.data;
    if (strcmp(user, "b") == 0 && strstr(text, "break"))
        return cereus_fail(ctx, "A-1", "broken by b");
    if (out->shape == CEREUS_RAW && text)
        out->raw = cereus_slice_str(cereus_ctx_printf(ctx, "%s%s", text, (const char *)user));
    return CEREUS_OK;
}

static void pipelines_surround_handlers_in_their_order(void **state)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("say", say), CEREUS_RAW_NOTIFY("hear", hear),
                                            CEREUS_JSON_REQUEST("json", json_echo)};
    game *g = game_new(2);
    GAME_SERVE(g, "p", methods, NULL);
    assert_int_equal(cereus_app_before(g->app, before, (void *)"2"), CEREUS_OK);
    assert_int_equal(cereus_app_before(g->app, before, (void *)"3"), CEREUS_OK);
    assert_int_equal(cereus_app_before_first(g->app, before, (void *)"1"), CEREUS_OK);
    assert_int_equal(cereus_app_after(g->app, after, (void *)"b"), CEREUS_OK);
    assert_int_equal(cereus_app_after(g->app, after, (void *)"c"), CEREUS_OK);
    assert_int_equal(cereus_app_after_first(g->app, after, (void *)"a"), CEREUS_OK);
    game_start(g);
    assert_int_equal(cereus_app_before(g->app, before, NULL), CEREUS_E_STATE);
    assert_int_equal(cereus_app_after_first(g->app, after, NULL), CEREUS_E_STATE);
    client *c = client_connect(g, GAME_TCP);
    assert_string_equal(client_call(c, "p.say", "x"), "x123Habc");
    assert_string_equal(client_call(c, "p.say", "wait"), "wait123Habc");
    atomic_store(&hooks_run, 0);
    assert_string_equal(client_fail(c, "p.say", "stop"), "B-1|stopped by 2");
    assert_int_equal(atomic_load(&hooks_run), 2); /* neither the third nor any after-function */
    assert_string_equal(client_fail(c, "p.say", "FAIL"), "H-1|FAIL123");
    assert_int_equal(atomic_load(&hooks_run), 2 + 6);
    assert_string_equal(client_call(c, "p.say", "FAIL but mend"), "mendedbc");
    assert_string_equal(client_fail(c, "p.say", "break"), "A-1|broken by b");
    atomic_store(&hooks_run, 0);
    assert_string_equal(client_fail(c, "p.none", ""), "PIT-404|pitaya/handler: game.p.none not found");
    assert_string_equal(client_fail(c, "p.hear", ""), "PIT-400|tried to request a notify route");
    client_fail(c, "p.json", "{");
    assert_int_equal(atomic_load(&hooks_run), 0);
    gate_reset(&heard);
    client_notify(c, "p.hear", "x");
    gate_await(&heard, 1);
    assert_string_equal(heard_text, "x123");
    game_end(g);
}

/* ---- limits ---- */

static cereus_status alloc_much(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    size_t got = 0;
    while (cereus_ctx_alloc(ctx, 1000))
        got += 1000;
    CHECK(!cereus_ctx_printf(ctx, "%1000d", 1));
    static char text[32]; /* one client at a time */
    snprintf(text, sizeof text, "%zu", got);
    return reply_text(out, text);
}

static void a_request_has_limited_memory(void **state)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("alloc", alloc_much)};
    game *g = shapes_game();
    GAME_SERVE(g, "a", methods, NULL);
    game_set(g, "cereus.request.memory", "65536");
    game_set(g, "cereus.inbox.bytes", "16MiB");
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    for (int i = 0; i < 3; i++) {
        int got = atoi(client_call(c, "a.alloc", ""));
        assert_in_range(got, 32 * 1024, 65536);
    }
    const char *refusal = "PIT-500|the request needs more memory than cereus.request.memory";
    char *large = malloc(100001);
    memset(large, 'x', 100000);
    large[100000] = '\0';
    assert_string_equal(client_fail(c, "m.echo", large), refusal);
    memcpy(large, "{\"name\":\"", 9);
    memcpy(large + 99998, "\"}", 2);
    assert_string_equal(client_fail(c, "m.greet", large), refusal);
    large[0] = '[';
    for (size_t i = 1; i < 60000; i += 3)
        memcpy(large + i, "[],", 3);
    memcpy(large + 60001, "1]", 3); /* 60 KB of text, megabytes of values */
    large[60000] = ' ';
    assert_string_equal(client_fail(c, "m.json", large), refusal);
    assert_string_equal(client_call(c, "m.json", "\"[[[[,,,,{{{{\\\"::::\""), "{\"got\":\"[[[[,,,,{{{{\\\"::::\"}");
    assert_string_equal(client_call(c, "m.echo", "small ones go on"), "small ones go on");
    free(large);
    game_end(g);
}

static cereus_status reply_of_len(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    size_t len = strtoull(text_of(in), NULL, 10);
    uint8_t *data = cereus_ctx_alloc(ctx, len);
    if (!data)
        return CEREUS_E_NOMEM;
    *out = cereus_slice_of(data, len);
    return CEREUS_OK;
}

static void a_reply_that_fits_no_packet_becomes_an_error(void **state)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("len", reply_of_len)};
    game *g = game_new(2);
    GAME_SERVE(g, "here", methods, &on_session);
    GAME_SERVE(g, "one", methods, NULL);
    GAME_SERVE(g, "two", methods, NULL);
    game_start(g);
    client *c = client_connect(g, GAME_TCP);
    const char *const routes[] = {"here.len", "one.len", "two.len"};
    for (size_t i = 0; i < CEREUS_COUNT(routes); i++) {
        const char *said = client_fail(c, routes[i], "16777216");
        assert_true(strcmp(said, "PIT-500|the reply does not fit a packet") == 0);
        assert_int_equal(client_call_bytes(c, routes[i], "16777000", 8).len, 16777000);
    }
    game_end(g);
}

/* ---- homes ---- */

static unsigned one_count; /* of a service with one home: no lock, no atomic */
static unsigned one_loop = UINT32_MAX;

static cereus_status count_one(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    if (one_loop == UINT32_MAX)
        one_loop = crs_loop_current->index;
    CHECK(one_loop == crs_loop_current->index);
    unsigned was = one_count;
    one_count = was + 1;
    return reply_text(out, "counted");
}

static cereus_status loop_here(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return reply_text(out, cereus_ctx_printf(ctx, "%u", crs_loop_current->index));
}

static void a_service_with_one_home_needs_no_lock(void **state)
{
    enum { CLIENTS = 40, EACH = GAME_SCALE(200, 50) };
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("count", count_one)};
    game *g = game_new(4);
    GAME_SERVE(g, "c", methods, NULL);
    game_start(g);
    client *clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = client_connect(g, i % 2 ? GAME_WS : GAME_TCP);
    for (int n = 0; n < EACH; n++) {
        for (int i = 0; i < CLIENTS; i++)
            client_request(clients[i], "c.count", "");
    }
    for (int i = 0; i < CLIENTS; i++) {
        for (int n = 0; n < EACH; n++)
            client_expect_response(clients[i], (uint64_t)n + 1, "counted");
    }
    game_end(g);
    assert_int_equal(one_count, CLIENTS * EACH);
}

static void a_service_at_home_with_the_session_runs_there(void **state)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("loop", loop_here)};
    game *g = game_new(4);
    GAME_SERVE(g, "s", methods, &on_session);
    game_start(g);
    for (unsigned loop = 0; loop < 4; loop++) {
        client *c = client_connect_on(g, loop % 2 ? GAME_WS : GAME_TCP, loop);
        assert_int_equal(atoi(client_call(c, "s.loop", "")), (int)loop);
    }
    game_end(g);
}

static int key_user;

static uint64_t room_key(cereus_session *session, const char *method, cereus_slice body, void *user)
{
    CHECK(user == &key_user && strcmp(method, "enter") == 0);
    CHECK(strcmp(cereus_session_uid(session), "") == 0 && cereus_session_get_id(session) != 0);
    CHECK(strncmp(cereus_session_remote_addr(session), "127.0.0.1:", 10) == 0);
    return body.len ? body.data[0] : 0;
}

static struct {
    unsigned count; /* of the room's own loop only */
    unsigned loop;
} rooms[256];

static cereus_status enter(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    unsigned room = in.data[0];
    if (rooms[room].count++ == 0)
        rooms[room].loop = crs_loop_current->index;
    CHECK(rooms[room].loop == crs_loop_current->index);
    return reply_text(out, cereus_ctx_printf(ctx, "%u", crs_loop_current->index));
}

static void a_key_always_leads_to_the_same_loop(void **state)
{
    enum { CLIENTS = 12, ROOMS = 64 };
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("enter", enter)};
    game *g = game_new(4);
    static const cereus_service_options by_room = {.home = CEREUS_HOME_KEY, .key = room_key, .key_user = &key_user};
    GAME_SERVE(g, "k", methods, &by_room);
    game_start(g);
    client *clients[CLIENTS];
    unsigned used = 0;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_connect(g, GAME_TCP);
        for (int room = 1; room <= ROOMS; room++)
            client_request(clients[i], "k.enter", (char[]){(char)room, '\0'});
    }
    for (int i = 0; i < CLIENTS; i++) {
        for (int room = 1; room <= ROOMS; room++) {
            event e = client_next(clients[i]);
            assert_int_equal(e.kind, EVENT_RESPONSE);
            used |= 1u << atoi(e.body);
        }
    }
    game_end(g);
    assert_int_equal(used, 0xf); /* all loops have rooms */
    for (int room = 1; room <= ROOMS; room++)
        assert_int_equal(rooms[room].count, CLIENTS);
}

/* ---- order ---- */

enum { ORDER_SESSIONS = GAME_SCALE(1000, 100), ORDER_MESSAGES = GAME_SCALE(1000, 200), ORDER_BATCH = 50 };

/* Per session: written by its messages one after the other, so without any lock. */
static uint32_t order_next[ORDER_SESSIONS];
static bool order_busy[ORDER_SESSIONS];
static atomic_uint inversions, overlaps;

static void number_arrives(cereus_ctx *ctx, cereus_slice in)
{
    uint32_t message[2];
    CHECK(in.len == sizeof message);
    memcpy(message, in.data, sizeof message);
    uint32_t session = message[0], number = message[1];
    CHECK(session < ORDER_SESSIONS);
    if (order_busy[session])
        atomic_fetch_add(&overlaps, 1);
    order_busy[session] = true;
    if (number != order_next[session])
        atomic_fetch_add(&inversions, 1);
    if (number % 7 == 3)
        CHECK(cereus_yield(ctx) == CEREUS_OK);
    if (number % 199 == 5)
        CHECK(cereus_sleep(ctx, 1) == CEREUS_OK);
    order_next[session] = number + 1;
    order_busy[session] = false;
}

static cereus_status number_request(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    number_arrives(ctx, in);
    *out = in;
    return CEREUS_OK;
}

static cereus_status number_notify(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    number_arrives(ctx, in);
    return CEREUS_OK;
}

static void run_order(const cereus_service_options *home)
{
    static const cereus_method methods[] = {CEREUS_RAW_REQUEST("ask", number_request),
                                            CEREUS_RAW_NOTIFY("tell", number_notify)};
    game *g = game_new(2);
    GAME_SERVE(g, "o", methods, home);
    game_start(g);
    memset(order_next, 0, sizeof order_next);
    static client *clients[ORDER_SESSIONS];
    for (uint32_t s = 0; s < ORDER_SESSIONS; s++)
        clients[s] = client_connect(g, s % 3 ? GAME_TCP : GAME_WS);
    for (uint32_t from = 0; from < ORDER_MESSAGES; from += ORDER_BATCH) {
        for (uint32_t s = 0; s < ORDER_SESSIONS; s++) {
            client_cork(clients[s]);
            for (uint32_t n = from; n < from + ORDER_BATCH; n++) {
                uint32_t message[2] = {s, n};
                if (n % 2)
                    client_request_bytes(clients[s], "o.ask", message, sizeof message);
                else
                    client_notify_bytes(clients[s], "o.tell", message, sizeof message);
            }
            client_uncork(clients[s]);
        }
        for (uint32_t s = 0; s < ORDER_SESSIONS; s++) {
            for (uint32_t n = from; n < from + ORDER_BATCH; n++) {
                if (n % 2 == 0)
                    continue;
                event e = client_next(clients[s]);
                uint32_t message[2] = {0};
                assert_int_equal(e.kind, EVENT_RESPONSE);
                assert_int_equal(e.len, sizeof message);
                memcpy(message, e.body, sizeof message);
                assert_int_equal(e.id, n / 2 + 1);
                assert_int_equal(message[0], s);
                assert_int_equal(message[1], n);
            }
        }
    }
    game_end(g);
    assert_int_equal(atomic_load(&inversions), 0);
    assert_int_equal(atomic_load(&overlaps), 0);
    for (uint32_t s = 0; s < ORDER_SESSIONS; s++)
        assert_int_equal(order_next[s], ORDER_MESSAGES);
}

static void messages_of_a_session_are_handled_in_order_on_its_loop(void **state)
{
    run_order(&on_session);
}

static void messages_of_a_session_are_handled_in_order_on_one_home(void **state)
{
    run_order(NULL);
}

static leash slow_leash;

static cereus_status slow(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    gate_pass(&heard);
    cereus_status st = leash_hold(&slow_leash, ctx);
    if (out)
        *out = in;
    return st;
}

static const cereus_method lane_methods[] = {
    CEREUS_RAW_REQUEST("slow", slow),
    CEREUS_RAW_REQUEST("next", echo),
    {.name = "fast", .in = CEREUS_RAW, .out = CEREUS_RAW, .raw = echo, .flags = CEREUS_CONCURRENT},
    {.name = "slowfast", .in = CEREUS_RAW, .out = CEREUS_RAW, .raw = slow, .flags = CEREUS_CONCURRENT},
    CEREUS_RAW_NOTIFY("tell", hear),
};

static void concurrent_routes_overtake_and_refusals_do_not(void **state)
{
    game *g = game_new(2);
    GAME_SERVE(g, "here", lane_methods, &on_session);
    GAME_SERVE(g, "one", lane_methods, NULL);
    game_start(g);
    const char *const services[] = {"here", "one"};
    for (unsigned i = 0; i < 4; i++) {
        char slow_route[32], next[32], fast[32], slowfast[32], tell[32];
        const char *s = services[i % 2];
        snprintf(slow_route, sizeof slow_route, "%s.slow", s);
        snprintf(next, sizeof next, "%s.next", s);
        snprintf(fast, sizeof fast, "%s.fast", s);
        snprintf(slowfast, sizeof slowfast, "%s.slowfast", s);
        snprintf(tell, sizeof tell, "%s.tell", s);
        client *c = client_connect_on(g, GAME_TCP, i / 2);
        leash_init(&slow_leash);
        gate_reset(&heard);
        uint64_t a = client_request(c, slow_route, "a");
        gate_await(&heard, 1);
        uint64_t b = client_request(c, next, "b");
        uint64_t refused = client_request(c, "nobody.knows", "");
        uint64_t wrong = client_request(c, tell, "");
        uint64_t d = client_request(c, slowfast, "d");
        gate_await(&heard, 2); /* it runs beside the first */
        uint64_t e = client_request(c, fast, "e");
        client_expect_response(c, e, "e");
        leash_release(&slow_leash);
        bool seen_d = false;
        for (int n = 0; n < 5; n++) { /* d keeps no order with the others, a, b and the refusals do among themselves */
            event got = client_next(c);
            if (!seen_d && got.id == d) {
                seen_d = true;
                continue;
            }
            uint64_t want[] = {a, b, refused, wrong};
            assert_int_equal(got.id, want[n - seen_d]);
        }
        leash_fini(&slow_leash);
    }
    game_end(g);
}

static void the_ordering_of_pitaya_lets_messages_overlap(void **state)
{
    game *g = game_new(2);
    GAME_SERVE(g, "one", lane_methods, NULL);
    game_set(g, "cereus.session.ordering", "pitaya");
    game_start(g);
    for (unsigned loop = 0; loop < 2; loop++) {
        client *c = client_connect_on(g, GAME_WS, loop);
        leash_init(&slow_leash);
        gate_reset(&heard);
        uint64_t a = client_request(c, "one.slow", "a");
        uint64_t b = client_request(c, "one.slow", "b");
        gate_await(&heard, 2);
        assert_string_equal(client_call(c, "one.next", "overtakes"), "overtakes");
        assert_string_equal(client_fail(c, "one.none", ""), "PIT-404|pitaya/handler: game.one.none not found");
        leash_release(&slow_leash);
        uint64_t first = client_next(c).id, second = client_next(c).id;
        assert_true((first == a && second == b) || (first == b && second == a));
        leash_fini(&slow_leash);
    }
    game_end(g);
}

/* ---- pressure ---- */

static size_t told; /* on the session's loop */

static cereus_status tell(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    CHECK(strtoull(text_of(in), NULL, 10) == told);
    told++;
    return CEREUS_OK;
}

static cereus_status how_many(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return reply_text(out, cereus_ctx_printf(ctx, "%zu", told));
}

static const cereus_method inbox_methods[] = {CEREUS_RAW_REQUEST("slow", slow), CEREUS_RAW_NOTIFY("tell", tell),
                                              CEREUS_RAW_REQUEST("many", how_many)};

static void run_inbox(const char *key, const char *value, uint64_t dispatched_max)
{
    enum { TOLD = 500 };
    game *g = game_new(1);
    GAME_SERVE(g, "i", inbox_methods, &on_session);
    game_set(g, key, value);
    game_start(g);
    leash_init(&slow_leash);
    gate_reset(&heard);
    told = 0;
    client *c = client_connect(g, GAME_TCP), *other = client_connect(g, GAME_TCP);
    uint64_t id = client_request(c, "i.slow", "x");
    gate_await(&heard, 1);
    for (int i = 0; i < TOLD; i++) {
        char text[256];
        snprintf(text, sizeof text, "%-255d", i);
        client_notify(c, "i.tell", text);
    }
    uint64_t last = client_request(c, "i.many", "");
    game_await_counter(g, "inbox_full", 1);
    assert_string_equal(client_call(other, "i.many", ""), "0"); /* others are served */
    assert_true(cereus_app_counter(g->app, "notifies") <= dispatched_max);
    leash_release(&slow_leash);
    client_expect_response(c, id, "x");
    client_expect_response(c, last, "500");
    leash_fini(&slow_leash);
    game_end(g);
}

static void a_full_inbox_stops_reading_and_loses_nothing(void **state)
{
    run_inbox("cereus.inbox.messages", "1", 1);
    run_inbox("cereus.inbox.messages", "8", 8);
    run_inbox("cereus.inbox.bytes", "1KiB", 5);
}

/** Push to the session that @p in names until its outbox is full. */
static cereus_status flood(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_session *s = cereus_session_from_id(ctx, strtoull(text_of(in), NULL, 10));
    cereus_value much = cereus_raw(cereus_slice_of(cereus_ctx_alloc(ctx, 60000), 60000));
    cereus_status st;
    while ((st = cereus_session_push(ctx, s, "much", much)) == CEREUS_OK)
        cereus_yield(ctx);
    CHECK(st == CEREUS_E_FULL);
    return reply_text(out, "full");
}

static void messages_that_wait_for_the_client_to_read_are_not_overtaken(void **state)
{
    static const cereus_method flood_methods[] = {CEREUS_RAW_REQUEST("flood", flood)};
    game *g = game_new(1);
    GAME_SERVE(g, "here", lane_methods, &on_session);
    GAME_SERVE(g, "f", flood_methods, NULL);
    game_set(g, "cereus.outbox.bytes", "4KiB");
    game_set(g, "cereus.outbox.policy", "drop");
    game_start(g);
    leash_init(&slow_leash);
    gate_reset(&heard);
    client *c = client_connect(g, GAME_TCP), *other = client_connect(g, GAME_TCP);
    char id[32];
    snprintf(id, sizeof id, "%llu", (unsigned long long)client_session(c));
    uint64_t slow_id = client_request(c, "here.slow", "slow");
    gate_await(&heard, 1);
    uint64_t requests = cereus_app_counter(g->app, "requests");
    uint64_t first = client_request(c, "here.next", "first");
    game_await_counter(g, "requests", requests + 1); /* it is in the lane */
    assert_string_equal(client_call(other, "f.flood", id), "full");
    requests = cereus_app_counter(g->app, "requests");
    uint64_t responses = cereus_app_counter(g->app, "responses");
    leash_release(&slow_leash);
    game_await_counter(g, "responses", responses + 1); /* nothing runs, and the next may not before the client reads */
    uint64_t second = client_request(c, "here.next", "second"), none = client_request(c, "here.none", "");
    game_await_counter(g, "requests", requests + 1);
    event e;
    do
        e = client_next(c);
    while (e.kind == EVENT_PUSH);
    assert_int_equal(e.id, slow_id);
    client_expect_response(c, first, "first");
    client_expect_response(c, second, "second");
    assert_int_equal(client_next(c).id, none);
    leash_fini(&slow_leash);
    game_end(g);
}

static void messages_wait_when_all_fibers_are_in_use(void **state)
{
    enum { CLIENTS = 20, EACH = 10 };
    game *g = game_new(2);
    GAME_SERVE(g, "here", lane_methods, &on_session);
    GAME_SERVE(g, "one", lane_methods, NULL);
    game_set(g, "cereus.fibers.max", "2");
    game_start(g);
    leash_init(&slow_leash);
    gate_reset(&heard);
    client *holders[4], *clients[CLIENTS];
    uint64_t held[4];
    for (unsigned i = 0; i < 4; i++)
        holders[i] = client_connect_on(g, GAME_TCP, i % 2);
    for (unsigned i = 0; i < 4; i++)
        held[i] = client_request(holders[i], "here.slow", "");
    gate_await(&heard, 4); /* both loops have no fiber left */
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = client_dial(g, i % 2 ? GAME_TCP : GAME_WS);
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(client_handshake(clients[i], "{}"), 200); /* this needs no fiber */
        client_ack(clients[i]);
        for (int n = 0; n < EACH; n++)
            client_request(clients[i], n % 2 ? "one.next" : "here.next", "x");
    }
    game_await_counter(g, "fibers_exhausted", CLIENTS);
    leash_release(&slow_leash);
    for (int i = 0; i < CLIENTS; i++) {
        for (int n = 0; n < EACH; n++)
            client_expect_response(clients[i], (uint64_t)n + 1, "x");
    }
    for (int i = 0; i < 4; i++)
        client_expect_response(holders[i], held[i], "");
    leash_fini(&slow_leash);
    game_end(g);
}

/* ---- a full mailbox ---- */

static gate hog_runs = GATE_INIT, hog_may_go = GATE_INIT;

static cereus_status hog(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    gate_pass(&hog_runs);
    while (gate_count(&hog_may_go) == 0) {
    }
    return CEREUS_OK;
}

static void do_nothing(cereus_ctx *ctx, void *user)
{
}

static void calls_to_a_loop_with_a_full_mailbox_are_refused_one_by_one(void **state)
{
    enum { WAITING = 5000 };
    static const cereus_method far[] = {CEREUS_RAW_NOTIFY("hog", hog), CEREUS_RAW_REQUEST("echo", echo)};
    game *g = game_new(2);
    GAME_SERVE(g, "far", far, NULL); /* lives on loop 1 */
    GAME_SERVE(g, "here", lane_methods, &on_session);
    game_set(g, "cereus.mailbox.capacity", "64");
    game_set(g, "cereus.inbox.messages", "65536");
    game_set(g, "cereus.inbox.bytes", "1GiB");
    game_set(g, "cereus.outbox.bytes", "1GiB");
    game_start(g);
    leash_init(&slow_leash);
    gate_reset(&heard);
    client *c = client_connect_on(g, GAME_TCP, 0), *hogger = client_connect_on(g, GAME_TCP, 0);
    client_notify(hogger, "far.hog", "");
    gate_await(&hog_runs, 1);
    uint64_t slow_id = client_request(c, "here.slow", "x");
    gate_await(&heard, 1);
    uint64_t requests = cereus_app_counter(g->app, "requests");
    for (int i = 0; i < WAITING; i++)
        client_request(c, "far.echo", "");
    game_await_counter(g, "requests", requests + WAITING);
    while (cereus_app_spawn(g->app, "far", do_nothing, NULL) == CEREUS_OK) {
    }
    leash_release(&slow_leash);
    client_expect_response(c, slow_id, "x");
    for (int i = 0; i < WAITING; i++) {
        event e = client_next(c);
        assert_int_equal(e.kind, EVENT_ERROR);
        assert_int_equal(e.id, slow_id + 1 + (uint64_t)i);
        assert_string_equal(client_error_text(c, e), "PIT-500|a bounded queue is full");
    }
    gate_pass(&hog_may_go);
    leash_fini(&slow_leash);
    game_end(g);
}

static void json_is_read_as_go_reads_it(void **state)
{
    static const struct {
        const char *text, *read; /* NULL: refused */
    } cases[] = {
        {"{\"a\":\"b\"}", "{\"a\":\"b\"}"},
        {"{\"a\":\"\\ud83d\"}", "{\"a\":\"\xef\xbf\xbd\"}"},
        {"{\"a\":\"\\ud83dx\\ud83d\\ude00\"}", "{\"a\":\"\xef\xbf\xbdx\xf0\x9f\x98\x80\"}"},
        {"{\"a\":\"\\\\ud83d\\udc00\"}", "{\"a\":\"\\\\ud83d\xef\xbf\xbd\"}"},
        {"{\"\xff\":\"\xe2\x82\"}", "{\"\xef\xbf\xbd\":\"\xef\xbf\xbd\xef\xbf\xbd\"}"},
        {"{\"a\\u0000b\":1}", "{\"a\xef\xbf\xbd"
                              "b\":1}"},
        {"{\"a\":\xff}", NULL},
        {"{\"a\":\"\\ud8\"}", NULL},
        {"{\"a\":\"\\", NULL},
        {"\xff", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        json_error_t err;
        json_t *json = crs_json_parse_as_go(cereus_slice_str(cases[i].text), 0, &err);
        char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
        if (cases[i].read)
            assert_string_equal(text ? text : "(refused)", cases[i].read);
        else
            assert_null(text);
        free(text);
        json_decref(json);
    }
}

TEST_MAIN(cmocka_unit_test(json_is_read_as_go_reads_it), cmocka_unit_test(a_route_has_two_or_three_parts),
          cmocka_unit_test(kinds_of_messages_meet_kinds_of_handlers), cmocka_unit_test(bodies_have_shapes),
          cmocka_unit_test(messages_are_protobuf_where_that_is_set), cmocka_unit_test(a_request_needs_a_reply),
          cmocka_unit_test(a_body_that_does_not_decode_is_a_bad_request),
          cmocka_unit_test(errors_carry_code_message_and_metadata),
          cmocka_unit_test(pipelines_surround_handlers_in_their_order), cmocka_unit_test(a_request_has_limited_memory),
          cmocka_unit_test(a_reply_that_fits_no_packet_becomes_an_error),
          cmocka_unit_test(a_service_with_one_home_needs_no_lock),
          cmocka_unit_test(a_service_at_home_with_the_session_runs_there),
          cmocka_unit_test(a_key_always_leads_to_the_same_loop),
          cmocka_unit_test(messages_of_a_session_are_handled_in_order_on_its_loop),
          cmocka_unit_test(messages_of_a_session_are_handled_in_order_on_one_home),
          cmocka_unit_test(concurrent_routes_overtake_and_refusals_do_not),
          cmocka_unit_test(the_ordering_of_pitaya_lets_messages_overlap),
          cmocka_unit_test(a_full_inbox_stops_reading_and_loses_nothing),
          cmocka_unit_test(messages_that_wait_for_the_client_to_read_are_not_overtaken),
          cmocka_unit_test(messages_wait_when_all_fibers_are_in_use),
          cmocka_unit_test(calls_to_a_loop_with_a_full_mailbox_are_refused_one_by_one))
