/* tests/unit/dispatch/test_rules.c: field rules, as clients see them and as they are refused at registration. */
#include "game.h"

#include <math.h>

#include "dispatch/player.pb-c.h"
#include "dispatch/rules.h"

#define BROKEN(path, field, tag) \
    "PIT-000|Key: '" path "' Error:Field validation for '" field "' failed on the '" tag "' tag"
#define AND(path, field, tag) "\nKey: '" path "' Error:Field validation for '" field "' failed on the '" tag "' tag"

static gate handled = GATE_INIT;

static cereus_status take(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    gate_pass(&handled);
    *out = cereus_text("taken");
    return CEREUS_OK;
}

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status json_echo(cereus_ctx *ctx, const struct json_t *in, struct json_t **out)
{
    *out = json_pack("{s:O}", "got", in);
    return CEREUS_OK;
}

static const cereus_method methods[] = {
    {.name = "player", .in = CEREUS_MESSAGE, .in_type = &arena__v1__player__descriptor, .out = CEREUS_RAW, .fn = take},
    {.name = "free", .in = CEREUS_MESSAGE, .in_type = &arena__v1__free__descriptor, .out = CEREUS_RAW, .fn = take},
    {.name = "note", .in = CEREUS_MESSAGE, .in_type = &arena__v1__player__descriptor, .fn = take},
    {.name = "nothing", .out = CEREUS_RAW, .fn = take},
    CEREUS_RAW_REQUEST("raw", echo),
    CEREUS_JSON_REQUEST("json", json_echo),
};

static game *g;
static client *c;

static void add_rules(const ProtobufCMessageDescriptor *type, const cereus_rule *rules, size_t count)
{
    cereus_error err = {0};
    if (cereus_app_add_rules(g->app, type, rules, count, &err))
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    gate_reset(&handled);
    g = game_new(1);
    GAME_SERVE(g, "m", methods, NULL);
    return 0;
}

static int teardown(void **state)
{
    game_end(g);
    return 0;
}

static void start(bool enabled)
{
    game_set(g, "pitaya.defaultpipelines.structvalidation.enabled", enabled ? "true" : "false");
    game_start(g);
    c = client_connect(g, GAME_TCP);
}

static void start_with(const cereus_rule *rules, size_t count)
{
    add_rules(&arena__v1__player__descriptor, rules, count);
    start(true);
}

static void passes(const char *json)
{
    assert_string_equal(client_call(c, "m.player", json), "taken");
}

static void breaks(const char *json, const char *error)
{
    size_t before = gate_count(&handled);
    assert_string_equal(client_fail(c, "m.player", json), error);
    assert_int_equal(gate_count(&handled), before);
}

static void the_rules_of_pitayas_demo_are_told_in_its_words(void **state)
{
    static const cereus_rule rules[] = {
        {"email", CEREUS_RULE_EMAIL, 0, NULL},
        {"soft_currency", CEREUS_RULE_GTE, 0, NULL},
        {"soft_currency", CEREUS_RULE_LTE, 1000, NULL},
    };
    start_with(rules, CEREUS_COUNT(rules));
    passes("{\"email\":\"bo@example.org\",\"soft_currency\":1000}");
    passes("{\"email\":\"bo@example.org\"}");
    breaks("{\"email\":\"bo\",\"soft_currency\":10}", BROKEN("Player.Email", "Email", "email"));
    breaks("{\"email\":\"bo@example.org\",\"soft_currency\":1001}",
           BROKEN("Player.SoftCurrency", "SoftCurrency", "lte"));
    breaks("{\"soft_currency\":-1}",
           BROKEN("Player.Email", "Email", "email") AND("Player.SoftCurrency", "SoftCurrency", "gte"));
    assert_int_equal(cereus_app_counter(g->app, "rules_broken"), 3);
}

static void switched_off_nothing_is_checked(void **state)
{
    static const cereus_rule rule = {"email", CEREUS_RULE_EMAIL, 0, NULL};
    add_rules(&arena__v1__player__descriptor, &rule, 1);
    start(false);
    passes("{\"email\":\"bo\"}");
}

static void raw_json_and_no_argument_are_left_alone_and_so_are_types_without_rules(void **state)
{
    static const cereus_rule rule = {"name", CEREUS_RULE_REQUIRED, 0, NULL};
    start_with(&rule, 1);
    assert_string_equal(client_call(c, "m.raw", "anything"), "anything");
    assert_string_equal(client_call(c, "m.raw", ""), "");
    assert_string_equal(client_call(c, "m.json", "[1]"), "{\"got\":[1]}");
    assert_string_equal(client_call(c, "m.nothing", ""), "taken");
    assert_string_equal(client_call(c, "m.free", "{}"), "taken");
    breaks("{}", BROKEN("Player.Name", "Name", "required"));
}

static void a_notify_that_breaks_a_rule_is_dropped(void **state)
{
    static const cereus_rule rule = {"name", CEREUS_RULE_REQUIRED, 0, NULL};
    start_with(&rule, 1);
    client_notify(c, "m.note", "{}");
    game_await_counter(g, "rules_broken", 1);
    assert_int_equal(gate_count(&handled), 0);
    client_notify(c, "m.note", "{\"name\":\"Bo\"}");
    gate_await(&handled, 1);
}

static cereus_status give_a_name(cereus_ctx *ctx, cereus_value *in, void *user)
{
    ((Arena__V1__Player *)in->message)->name = cereus_ctx_strdup(ctx, cereus_slice_str("given"));
    return CEREUS_OK;
}

static void rules_come_before_all_before_functions(void **state)
{
    static const cereus_rule rule = {"name", CEREUS_RULE_REQUIRED, 0, NULL};
    assert_int_equal(cereus_app_before_first(g->app, give_a_name, NULL), CEREUS_OK);
    start_with(&rule, 1);
    breaks("{}", BROKEN("Player.Name", "Name", "required"));
}

static void required_wants_something_of_every_kind(void **state)
{
    static const cereus_rule rules[] = {
        {"name", CEREUS_RULE_REQUIRED, 0, NULL},   {"big", CEREUS_RULE_REQUIRED, 0, NULL},
        {"ratio", CEREUS_RULE_REQUIRED, 0, NULL},  {"score", CEREUS_RULE_REQUIRED, 0, NULL},
        {"agreed", CEREUS_RULE_REQUIRED, 0, NULL}, {"side", CEREUS_RULE_REQUIRED, 0, NULL},
        {"blob", CEREUS_RULE_REQUIRED, 0, NULL},   {"numbers", CEREUS_RULE_REQUIRED, 0, NULL},
        {"best", CEREUS_RULE_REQUIRED, 0, NULL},   {"by_name", CEREUS_RULE_REQUIRED, 0, NULL},
        {"nick", CEREUS_RULE_REQUIRED, 0, NULL},
    };
    start_with(rules, CEREUS_COUNT(rules));
    passes("{\"name\":\"x\",\"big\":1,\"ratio\":0.5,\"score\":-1,\"agreed\":true,\"side\":1,\"blob\":\"eA==\","
           "\"numbers\":[0],"
           "\"best\":{},\"by_name\":{\"a\":{}},\"nick\":\"n\"}");
    breaks("{\"thing\":{}}",
           BROKEN("Player.Name", "Name", "required") AND("Player.Big", "Big", "required")
               AND("Player.Ratio", "Ratio", "required") AND("Player.Score", "Score", "required")
                   AND("Player.Agreed", "Agreed", "required") AND("Player.Side", "Side", "required")
                       AND("Player.Blob", "Blob", "required") AND("Player.Numbers", "Numbers", "required")
                           AND("Player.Best", "Best", "required") AND("Player.ByName", "ByName", "required")
                               AND("Player.Nick", "Nick", "required"));
}

static void numbers_are_compared_exactly(void **state)
{
    static const cereus_rule rules[] = {
        {"big", CEREUS_RULE_GT, -9007199254740992.0, NULL},
        {"big", CEREUS_RULE_LT, 9007199254740992.0, NULL},
        {"u32", CEREUS_RULE_GT, 0, NULL},
        {"u32", CEREUS_RULE_LTE, 4294967295.0, NULL},
        {"u64", CEREUS_RULE_GTE, 5, NULL},
        {"ratio", CEREUS_RULE_LT, 0.5, NULL},
        {"score", CEREUS_RULE_GT, 0.25, NULL},
    };
    start_with(rules, CEREUS_COUNT(rules));
    passes("{\"big\":9007199254740991,\"u32\":4294967295,\"u64\":18446744073709551615,\"ratio\":0.25,\"score\":0.5}");
    passes("{\"big\":-9007199254740991,\"u32\":1,\"u64\":5,\"ratio\":-1,\"score\":1e300}");
    breaks("{\"big\":9007199254740992,\"u32\":0,\"u64\":4,\"ratio\":0.5,\"score\":0.25}",
           BROKEN("Player.Big", "Big", "lt") AND("Player.U32", "U32", "gt") AND("Player.U64", "U64", "gte")
               AND("Player.Ratio", "Ratio", "lt") AND("Player.Score", "Score", "gt"));
    breaks("{\"big\":-9223372036854775808,\"u32\":1,\"u64\":5,\"score\":1}", BROKEN("Player.Big", "Big", "gt"));
}

static void nan_keeps_no_limit(void **state)
{
    static const cereus_rule rules[] = {{"score", CEREUS_RULE_LTE, 1, NULL}, {"ratio", CEREUS_RULE_GTE, -1, NULL}};
    game_set(g, "pitaya.serializertype", "2");
    start_with(rules, CEREUS_COUNT(rules));
    Arena__V1__Player p = ARENA__V1__PLAYER__INIT;
    uint8_t bytes[64];
    p.score = (double)NAN;
    p.ratio = NAN;
    client_request_bytes(c, "m.player", bytes, arena__v1__player__pack(&p, bytes));
    event e = client_next(c);
    assert_int_equal(e.kind, EVENT_ERROR);
    assert_non_null(strstr(e.body, "'Player.Ratio' Error:Field validation for 'Ratio' failed on the 'gte' tag\n"));
    assert_non_null(strstr(e.body, "'Player.Score' Error:Field validation for 'Score' failed on the 'lte' tag"));
}

static void lengths_are_characters_bytes_and_elements(void **state)
{
    static const cereus_rule rules[] = {
        {"name", CEREUS_RULE_MIN, 2, NULL},    {"name", CEREUS_RULE_MAX, 3, NULL},
        {"blob", CEREUS_RULE_MAX, 2, NULL},    {"numbers", CEREUS_RULE_MIN, 1, NULL},
        {"by_name", CEREUS_RULE_MAX, 1, NULL},
    };
    start_with(rules, CEREUS_COUNT(rules));
    passes(
        "{\"name\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\",\"blob\":\"eHg=\",\"numbers\":[1],\"by_name\":{\"a\":{}}}");
    breaks("{\"name\":\"abcd\",\"blob\":\"eHh4\",\"by_name\":{\"a\":{},\"b\":{}}}",
           BROKEN("Player.Name", "Name", "max") AND("Player.Blob", "Blob", "max")
               AND("Player.Numbers", "Numbers", "min") AND("Player.ByName", "ByName", "max"));
    breaks("{\"name\":\"\xf0\x9f\x98\x80\",\"numbers\":[1]}", BROKEN("Player.Name", "Name", "min"));
}

static void omitempty_lets_nothing_pass(void **state)
{
    static const cereus_rule rules[] = {
        {"email", CEREUS_RULE_OMITEMPTY, 0, NULL},
        {"email", CEREUS_RULE_EMAIL, 0, NULL},
        {"u32", CEREUS_RULE_OMITEMPTY, 0, NULL},
        {"u32", CEREUS_RULE_GTE, 10, NULL},
    };
    start_with(rules, CEREUS_COUNT(rules));
    passes("{}");
    passes("{\"email\":\"a@b.c\",\"u32\":10}");
    breaks("{\"email\":\"b.c\",\"u32\":9}", BROKEN("Player.Email", "Email", "email") AND("Player.U32", "U32", "gte"));
}

static void patterns_are_tried_on_texts_of_a_bounded_length(void **state)
{
    static const cereus_rule rules[] = {
        {"name", CEREUS_RULE_PATTERN, 0, "^[a-z]+$"},
        {"email", CEREUS_RULE_OMITEMPTY, 0, NULL},
        {"email", CEREUS_RULE_EMAIL, 0, NULL},
    };
    char body[3 * CEREUS_RULE_TEXT_MAX], name[CEREUS_RULE_TEXT_MAX + 2];
    start_with(rules, CEREUS_COUNT(rules));
    passes("{\"name\":\"bo\"}");
    breaks("{\"name\":\"Bo\"}", BROKEN("Player.Name", "Name", "pattern"));
    memset(name, 'a', sizeof name);
    name[CEREUS_RULE_TEXT_MAX] = '\0';
    snprintf(body, sizeof body, "{\"name\":\"%s\"}", name);
    passes(body);
    snprintf(body, sizeof body, "{\"name\":\"%sa\"}", name);
    breaks(body, BROKEN("Player.Name", "Name", "pattern"));
    snprintf(body, sizeof body, "{\"name\":\"a\",\"email\":\"a@b.%s\"}", name);
    breaks(body, BROKEN("Player.Email", "Email", "email"));
}

static void messages_inside_are_checked_wherever_they_are(void **state)
{
    static const cereus_rule item = {"amount", CEREUS_RULE_LTE, 9, NULL};
    add_rules(&arena__v1__item__descriptor, &item, 1);
    start(true);
    passes("{\"best\":{\"amount\":9},\"items\":[{},{\"amount\":1}],\"thing\":{}}");
    passes("{\"nick\":\"aaaaaaaaaaaaaaaaaaaaaaaa\"}"); /* the union holds a text, not a message */
    breaks("{\"best\":{\"amount\":10},\"items\":[{},{\"amount\":11}],\"by_name\":{\"key one\":{\"amount\":12}},"
           "\"by_number\":{\"-7\":{\"amount\":13}},\"friend\":{\"friend\":{\"best\":{\"amount\":14}}},\"thing\":{"
           "\"amount\":15}}",
           BROKEN("Player.Best.Amount", "Amount", "lte") AND("Player.Items[1].Amount", "Amount", "lte")
               AND("Player.ByName[key one].Amount", "Amount", "lte") AND("Player.ByNumber[-7].Amount", "Amount", "lte")
                   AND("Player.Friend.Friend.Best.Amount", "Amount", "lte")
                       AND("Player.Thing.Amount", "Amount", "lte"));
}

static void nesting_to_the_codecs_limit_is_checked(void **state)
{
    static const cereus_rule rules[] = {{"name", CEREUS_RULE_REQUIRED, 0, NULL},
                                        {"name", CEREUS_RULE_PATTERN, 0, "^(a|b)*$"}};
    char body[4096] = "", *at = body;
    start_with(rules, CEREUS_COUNT(rules));
    enum { DEPTH = 63 };
    for (int i = 0; i < DEPTH; i++)
        at = stpcpy(at, "{\"name\":\"ab\",\"friend\":");
    at = stpcpy(at, "{\"name\":\"c\"}");
    for (int i = 0; i < DEPTH; i++)
        at = stpcpy(at, "}");
    const char *text = client_fail(c, "m.player", body);
    assert_memory_equal(text, "PIT-000|Key: 'Player.Friend.", 28);
    assert_non_null(strstr(text, ".Friend.Fri")); /* the path is cut */
}

static void of_very_many_failures_the_first_are_told(void **state)
{
    static const cereus_rule item = {"label", CEREUS_RULE_REQUIRED, 0, NULL};
    char body[4096] = "{\"items\":[{}";
    add_rules(&arena__v1__item__descriptor, &item, 1);
    start(true);
    for (int i = 0; i < 500; i++)
        strcat(body, ",{}");
    strcat(body, "]}");
    const char *text = client_fail(c, "m.player", body);
    assert_non_null(strstr(text, "'Player.Items[15].Label'"));
    assert_null(strstr(text, "'Player.Items[16].Label'"));
}

static void what_all_patterns_of_a_message_cost_is_bounded(void **state)
{
    static const cereus_rule item = {"label", CEREUS_RULE_PATTERN, 0, "^(x?){200}x*$"};
    enum { ITEMS = 100, LEN = 1000 }; /* 40 million steps */
    char *body = malloc(ITEMS * (LEN + 20) + 100), *at = stpcpy(body, "{\"items\":[");
    add_rules(&arena__v1__item__descriptor, &item, 1);
    start(true);
    for (int i = 0; i < ITEMS; i++) {
        at = stpcpy(at, i ? ",{\"label\":\"" : "{\"label\":\"");
        memset(at, 'x', LEN);
        at = stpcpy(at + LEN, "\"}");
    }
    strcpy(at, "]}");
    const char *text = client_fail(c, "m.player", body);
    assert_null(strstr(text, "Items[0]"));
    assert_non_null(strstr(text, "failed on the 'pattern' tag"));
    free(body);
}

/* -- registration -- */

static void expect_refused(const cereus_rule *rules, size_t count, const char *why)
{
    cereus_error err = {0};
    assert_int_equal(cereus_app_add_rules(g->app, &arena__v1__player__descriptor, rules, count, &err),
                     CEREUS_E_INVALID);
    assert_int_equal(err.status, CEREUS_E_INVALID);
    assert_string_equal(err.msg, why);
}

static void rules_that_make_no_sense_are_refused(void **state)
{
#define IN(field) "rules of arena.v1.Player: field \"" field "\": rule "
    static const struct {
        cereus_rule rules[2];
        const char *why;
    } cases[] = {
        {{{"nome", CEREUS_RULE_REQUIRED, 0, NULL}}, "rules of arena.v1.Player: it has no field \"nome\""},
        {{{"name", CEREUS_RULE_GTE, 1, NULL}}, IN("name") "gte: only for a single number; min and max are for lengths"},
        {{{"numbers", CEREUS_RULE_LT, 1, NULL}},
         IN("numbers") "lt: only for a single number; min and max are for lengths"},
        {{{"big", CEREUS_RULE_MIN, 1, NULL}},
         IN("big") "min: only strings, bytes, repeated fields and maps have a length"},
        {{{"name", CEREUS_RULE_MAX, -1, NULL}}, IN("name") "max: a length is a whole number from 0 to 4294967295"},
        {{{"name", CEREUS_RULE_MAX, 1.5, NULL}}, IN("name") "max: a length is a whole number from 0 to 4294967295"},
        {{{"big", CEREUS_RULE_GT, 0.5, NULL}},
         IN("big") "gt: the limit of a whole number is one itself, at most 2^53 away from 0"},
        {{{"big", CEREUS_RULE_GT, 1e17, NULL}},
         IN("big") "gt: the limit of a whole number is one itself, at most 2^53 away from 0"},
        {{{"score", CEREUS_RULE_GT, INFINITY, NULL}}, IN("score") "gt: the limit is not a finite number"},
        {{{"blob", CEREUS_RULE_EMAIL, 0, NULL}}, IN("blob") "email: only for a single string"},
        {{{"best", CEREUS_RULE_PATTERN, 0, "x"}}, IN("best") "pattern: only for a single string"},
        {{{"name", CEREUS_RULE_PATTERN, 0, ""}}, IN("name") "pattern: it is empty"},
        {{{"name", CEREUS_RULE_PATTERN, 0, NULL}}, IN("name") "pattern: it is empty"},
        {{{"name", CEREUS_RULE_PATTERN, 0, "a("}},
         "rules of arena.v1.Player: field \"name\": rule: pattern \"a(\": at byte 3: a ( is never closed"},
        {{{"u32", CEREUS_RULE_LT, 0, NULL}}, IN("u32") "lt: no value can keep it and the others"},
        {{{"u32", CEREUS_RULE_GT, 4294967295.0, NULL}}, IN("u32") "gt: no value can keep it and the others"},
        {{{"soft_currency", CEREUS_RULE_GTE, 3e9, NULL}},
         IN("soft_currency") "gte: no value can keep it and the others"},
        {{{"big", CEREUS_RULE_GT, 1, NULL}, {"big", CEREUS_RULE_LT, 2, NULL}},
         IN("big") "lt: no value can keep it and the others"},
        {{{"score", CEREUS_RULE_GTE, 1, NULL}, {"score", CEREUS_RULE_LT, 1, NULL}},
         IN("score") "lt: no value can keep it and the others"},
        {{{"name", CEREUS_RULE_MIN, 3, NULL}, {"name", CEREUS_RULE_MAX, 2, NULL}},
         IN("name") "max: no value can keep it and the others"},
        {{{"name", CEREUS_RULE_MIN, 3, NULL}, {"name", CEREUS_RULE_MIN, 3, NULL}}, IN("name") "min: it is there twice"},
        {{{"name", CEREUS_RULE_OMITEMPTY, 0, NULL}, {"name", CEREUS_RULE_REQUIRED, 0, NULL}},
         IN("name") "required: required and omitempty contradict each other"},
        {{{"name", (cereus_rule_kind)99, 0, NULL}}, IN("name") "?: no such rule"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++)
        expect_refused(cases[i].rules, cases[i].rules[1].field ? 2 : 1, cases[i].why);
    static const cereus_rule apart[] = {{"name", CEREUS_RULE_REQUIRED, 0, NULL},
                                        {"big", CEREUS_RULE_REQUIRED, 0, NULL},
                                        {"name", CEREUS_RULE_EMAIL, 0, NULL}};
    expect_refused(apart, 3, "rules of arena.v1.Player: those of field \"name\" must stand together");
}

static void bounds_that_leave_something_are_fine(void **state)
{
    static const cereus_rule rules[] = {
        {"big", CEREUS_RULE_GT, 1, NULL},   {"big", CEREUS_RULE_LT, 3, NULL},   {"score", CEREUS_RULE_GT, 1, NULL},
        {"score", CEREUS_RULE_LT, 2, NULL}, {"u32", CEREUS_RULE_GTE, 7, NULL},  {"u32", CEREUS_RULE_LTE, 7, NULL},
        {"name", CEREUS_RULE_MIN, 2, NULL}, {"name", CEREUS_RULE_MAX, 2, NULL}, {"u64", CEREUS_RULE_GTE, 0, NULL},
    };
    add_rules(&arena__v1__player__descriptor, rules, CEREUS_COUNT(rules));
}

static void the_same_rules_again_are_fine_others_are_not(void **state)
{
    static const cereus_rule rule = {"name", CEREUS_RULE_PATTERN, 0, "a"},
                             other = {"name", CEREUS_RULE_PATTERN, 0, "b"};
    cereus_error err = {0};
    add_rules(&arena__v1__player__descriptor, &rule, 1);
    add_rules(&arena__v1__player__descriptor, &rule, 1);
    assert_int_equal(cereus_app_add_rules(g->app, &arena__v1__player__descriptor, &other, 1, &err), CEREUS_E_EXISTS);
    assert_string_equal(err.msg, "rules of arena.v1.Player: it has others already");
    start(true);
    assert_int_equal(cereus_app_add_rules(g->app, &arena__v1__free__descriptor, &rule, 1, &err), CEREUS_E_STATE);
}

static void out_of_memory_is_told(void **state)
{
    static const cereus_rule rules[] = {{"name", CEREUS_RULE_PATTERN, 0, "a"}, {"big", CEREUS_RULE_GT, 0, NULL}};
    bool added = false;
    for (size_t n = 1; n < 200; n++) {
        crs_rules *r = crs_rules_new();
        assert_non_null(r);
        crs_alloc_fail_at(n);
        cereus_status st = crs_rules_add(r, &arena__v1__player__descriptor, rules, 2, NULL);
        if (!st)
            st = crs_rules_prepare(r, &arena__v1__player__descriptor);
        crs_alloc_fail_at(0);
        assert_true(st == CEREUS_OK || st == CEREUS_E_NOMEM);
        crs_rules_free(r);
        if (st == CEREUS_OK) {
            added = true;
            break;
        }
    }
    assert_true(added);
}

/* -- names and addresses -- */

static void names_become_those_of_go(void **state)
{
    static const char *const names[][2] = {
        {"name", "Name"},
        {"tries_left", "TriesLeft"},
        {"a_1b_c", "A_1BC"},
        {"HTTPReq2x", "HTTPReq2X"},
        {"_x", "XX"},
        {"camelCase", "CamelCase"},
        {"a__b", "A_B"},
        {"x_", "X_"},
        {"Room.User", "Room_User"},
        {"Room.user", "RoomUser"},
        {"inner_type", "InnerType"},
        {"foo_Bar", "Foo_Bar"},
        {"Room._x", "Room_XX"},
    };
    char out[32];
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        crs_rules_go_name(names[i][0], out, sizeof out);
        assert_string_equal(out, names[i][1]);
    }
    crs_rules_go_name("abcdef", out, 4);
    assert_string_equal(out, "Abc");
}

static void addresses_are_told_from_other_texts(void **state)
{
    static const char *const good[] = {
        "a@b.c",
        "first.last+tag@sub.example.org",
        "x!#$%&'*+-/=?^_`{|}~@e.org",
        "\"a b\\\"@ c\"@e.org",
        "\xc3\xa9@b.c",
        "a@\xc3\xa9.\xc3\xa9",
        "a@1.b1-1.org",
        "a@b.org.",
    };
    static const char *const bad[] = {
        "",         "a",          "@",          "a@",          "@b.c",   "a@b",    "a@b..c",  ".a@b.c",    "a.@b.c",
        "a..b@c.d", "a b@c.d",    "a@b.c1",     "a@-b.c",      "a@b-.c", "a@b.c-", "a@b c.d", "a@@b.c",    "a@b.c\n",
        "\"a@b.c",  "a\"b\"@c.d", "\"\"\"@b.c", "\"a\\\"@b.c", "a@b.",   "a@.",    "a@.b",    "a\x01@b.c",
    };
    for (size_t i = 0; i < CEREUS_COUNT(good); i++) {
        if (!crs_rules_is_email(cereus_slice_str(good[i])))
            fail_msg("%s is one", good[i]);
    }
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        uint8_t *copy = test_copy(bad[i], strlen(bad[i]));
        if (crs_rules_is_email(cereus_slice_of(copy, strlen(bad[i]))))
            fail_msg("%s is none", bad[i]);
        free(copy);
    }
}

#define IN_GAME(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
TEST_MAIN(IN_GAME(the_rules_of_pitayas_demo_are_told_in_its_words), IN_GAME(switched_off_nothing_is_checked),
          IN_GAME(raw_json_and_no_argument_are_left_alone_and_so_are_types_without_rules),
          IN_GAME(a_notify_that_breaks_a_rule_is_dropped), IN_GAME(rules_come_before_all_before_functions),
          IN_GAME(required_wants_something_of_every_kind), IN_GAME(numbers_are_compared_exactly),
          IN_GAME(nan_keeps_no_limit), IN_GAME(lengths_are_characters_bytes_and_elements),
          IN_GAME(omitempty_lets_nothing_pass), IN_GAME(patterns_are_tried_on_texts_of_a_bounded_length),
          IN_GAME(messages_inside_are_checked_wherever_they_are), IN_GAME(nesting_to_the_codecs_limit_is_checked),
          IN_GAME(of_very_many_failures_the_first_are_told), IN_GAME(what_all_patterns_of_a_message_cost_is_bounded),
          IN_GAME(rules_that_make_no_sense_are_refused), IN_GAME(bounds_that_leave_something_are_fine),
          IN_GAME(the_same_rules_again_are_fine_others_are_not), cmocka_unit_test(out_of_memory_is_told),
          cmocka_unit_test(names_become_those_of_go), cmocka_unit_test(addresses_are_told_from_other_texts))
