/* tests/unit/dispatch/test_serializer.c: a serializer of the game's own, as clients meet it over sockets: greetings are
 * "NAME*COUNT", errors "CODE!MSG!KEY=VALUE". */
#include "game.h"

#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>

#include "dispatch/greet.pb-c.h"

/* ---- the serializer ---- */

static cereus_status refuse(cereus_error *err, cereus_status status, const char *why)
{
    *err = (cereus_error){.status = status};
    snprintf(err->msg, sizeof err->msg, "%s", why);
    return status;
}

static cereus_status stars_decode(const ProtobufCMessageDescriptor *type, cereus_slice body, cereus_alloc_fn *alloc,
                                  void *allocator, ProtobufCMessage **ret_msg, cereus_error *err)
{
    CHECK(type == &test__greeting__descriptor);
    const uint8_t *star = body.len ? memchr(body.data, '*', body.len) : NULL;
    if (!star)
        return refuse(err, CEREUS_E_MALFORMED, "a greeting needs a star");
    size_t name_len = (size_t)(star - body.data), rest = body.len - name_len - 1;
    Test__Greeting *greeting = alloc(allocator, sizeof *greeting);
    char *name = alloc(allocator, body.len + 1);
    if (!greeting || !name)
        return CEREUS_E_NOMEM;
    protobuf_c_message_init(type, greeting);
    memcpy(name, body.data, body.len);
    name[name_len] = '\0';
    name[name_len + 1 + rest] = '\0';
    greeting->name = name;
    greeting->count = atoi(name + name_len + 1);
    *ret_msg = &greeting->base;
    return CEREUS_OK;
}

static cereus_status stars_encode(const ProtobufCMessage *msg, cereus_write_fn *write, void *writer, cereus_error *err)
{
    CHECK(msg->descriptor == &test__greeting__descriptor);
    const Test__Greeting *greeting = (const Test__Greeting *)msg;
    char count[16];
    if (greeting->count < 0)
        return refuse(err, CEREUS_E_INVALID, "nobody is greeted less than never");
    CEREUS_TRY(write(writer, greeting->name, strlen(greeting->name)));
    CEREUS_TRY(write(writer, "*", 1));
    return write(writer, count, (size_t)snprintf(count, sizeof count, "%d", greeting->count));
}

static cereus_status stars_encode_error(cereus_slice code, cereus_slice msg, const cereus_slice *meta_keys,
                                        const cereus_slice *meta_values, size_t meta_count, cereus_write_fn *write,
                                        void *writer)
{
    CEREUS_TRY(write(writer, code.data, code.len));
    CEREUS_TRY(write(writer, "!", 1));
    CEREUS_TRY(write(writer, msg.data, msg.len));
    for (size_t i = 0; i < meta_count; i++) {
        CEREUS_TRY(write(writer, "!", 1));
        CEREUS_TRY(write(writer, meta_keys[i].data, meta_keys[i].len));
        CEREUS_TRY(write(writer, "=", 1));
        CEREUS_TRY(write(writer, meta_values[i].data, meta_values[i].len));
    }
    return CEREUS_OK;
}

static const cereus_serializer stars = {
    .name = "stars", .decode = stars_decode, .encode = stars_encode, .encode_error = stars_encode_error};

/* ---- the game ---- */

static cereus_status greet(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    const Test__Greeting *req = (const Test__Greeting *)in->message;
    Test__Greeting *reply = (Test__Greeting *)out->message;
    reply->name = cereus_ctx_printf(ctx, "hello %s", req->name);
    reply->count = req->count + 1;
    CEREUS_TRY(cereus_session_push(ctx, cereus_ctx_session(ctx), "on.greet", cereus_message(in->message)));
    return CEREUS_OK;
}

static cereus_status never(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    Test__Greeting push = TEST__GREETING__INIT;
    push.count = -1;
    CHECK(cereus_session_push(ctx, cereus_ctx_session(ctx), "on.greet", cereus_message(&push.base)) ==
          CEREUS_E_INVALID);
    ((Test__Greeting *)out->message)->count = -1;
    return CEREUS_OK;
}

static cereus_status turn_away(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_fail(ctx, "G-1", "no %s here", text_of(in));
    return cereus_fail_meta(ctx, "where", "door");
}

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status echo_json(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    *out = json_deep_copy(in);
    return CEREUS_OK;
}

static game *stars_game(void)
{
    static const cereus_method methods[] = {
        {.name = "greet",
         .in = CEREUS_MESSAGE,
         .out = CEREUS_MESSAGE,
         .in_type = &test__greeting__descriptor,
         .out_type = &test__greeting__descriptor,
         .fn = greet},
        {.name = "never", .out = CEREUS_MESSAGE, .out_type = &test__greeting__descriptor, .fn = never},
        CEREUS_RAW_REQUEST("fail", turn_away),
        CEREUS_RAW_REQUEST("echo", echo),
        CEREUS_JSON_REQUEST("json", echo_json),
    };
    game *g = game_new(2);
    assert_int_equal(cereus_app_set_serializer(g->app, &stars), CEREUS_OK);
    GAME_SERVE(g, "door", methods, NULL);
    game_start(g);
    return g;
}

static void expect_error(client *c, const char *route, const char *body, const char *want)
{
    client_request(c, route, body);
    event e = client_next(c);
    assert_int_equal(e.kind, EVENT_ERROR);
    assert_string_equal(e.body, want);
}

/* ---- tests ---- */

static void the_handshake_announces_its_name(void **state)
{
    static const char hello[] = "\1\0\0\2{}";
    game *g = stars_game();
    cereus_test_client *raw = cereus_test_dial(g->t, CEREUS_TEST_TCP);
    cereus_test_send(raw, hello, sizeof hello - 1);
    const uint8_t *head = cereus_test_read(raw, 4);
    size_t len = (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    json_t *answer = json_loadb((const char *)cereus_test_read(raw, len), len, 0, NULL);
    assert_non_null(answer);
    assert_string_equal(json_string_value(json_object_get(json_object_get(answer, "sys"), "serializer")), "stars");
    json_decref(answer);
    game_end(g);
}

static void messages_and_errors_are_said_in_it(void **state)
{
    game *g = stars_game();
    for (int transport = GAME_TCP; transport <= GAME_WS; transport++) {
        for (unsigned loop = 0; loop < 2; loop++) {
            client *c = client_connect_on(g, transport, loop);
            uint64_t id = client_request(c, "door.greet", "ann*41");
            client_expect_push(c, "on.greet", "ann*41");
            client_expect_response(c, id, "hello ann*42");
            expect_error(c, "door.greet", "ann", "PIT-400!a greeting needs a star");
            expect_error(c, "door.fail", "cat", "G-1!no cat here!where=door");
            expect_error(c, "door.none", "", "PIT-404!pitaya/handler: game.door.none not found");
            expect_error(c, "door.never", "", "PIT-000!nobody is greeted less than never");
        }
    }
    game_end(g);
}

static void bytes_and_json_are_left_alone(void **state)
{
    game *g = stars_game();
    client *c = client_connect(g, GAME_WS);
    assert_string_equal(client_call(c, "door.echo", "no star"), "no star");
    assert_string_equal(client_call(c, "door.json", "{\"a\": 1}"), "{\"a\":1}");
    game_end(g);
}

TEST_MAIN(cmocka_unit_test(the_handshake_announces_its_name), cmocka_unit_test(messages_and_errors_are_said_in_it),
          cmocka_unit_test(bytes_and_json_are_left_alone))
