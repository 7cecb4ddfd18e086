/* tests/unit/dispatch/test_registry.c */
#include "test.h"

#include "dispatch/registry.h"

static crs_registry r;
static cereus_error err;

static int setup(void **state)
{
    err = (cereus_error){0};
    return crs_registry_init(&r, "game") != CEREUS_OK;
}

static int teardown(void **state)
{
    crs_registry_fini(&r);
    return 0;
}

static cereus_status general(cereus_ctx *ctx, const cereus_value *in, cereus_value *out, void *user)
{
    return CEREUS_OK;
}

static cereus_status raw(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return CEREUS_OK;
}

static cereus_status json(cereus_ctx *ctx, const struct json_t *in, struct json_t **out)
{
    return CEREUS_OK;
}

static cereus_status add(const char *name, const cereus_method *methods, size_t count,
                         const cereus_service_options *opt)
{
    err = (cereus_error){0};
    return crs_registry_add(&r, name, methods, count, opt, &err);
}

static void expect_refusal(const char *name, cereus_method m, cereus_status st, const char *text)
{
    assert_int_equal(add(name, &m, 1, NULL), st);
    assert_int_equal(err.status, st);
    assert_string_equal(err.msg, text);
    assert_null(crs_registry_service(&r, name ? name : ""));
}

static const crs_method *find(const char *route)
{
    return crs_registry_find(&r, cereus_slice_str(route));
}

static void a_method_is_found_by_its_short_and_its_full_route(void **state)
{
    const cereus_method methods[] = {CEREUS_RAW_REQUEST("join", raw), CEREUS_JSON_NOTIFY("leave", json)};
    assert_int_equal(add("room", methods, 2, NULL), CEREUS_OK);
    const crs_method *join = find("room.join");
    assert_non_null(join);
    assert_ptr_equal(find("game.room.join"), join);
    assert_string_equal(join->route, "game.room.join");
    assert_string_equal(find("room.leave")->decl.name, "leave");
    assert_null(find("room.Join"));
    assert_null(find("room"));
    assert_null(find(""));
    assert_null(find("other.room.join"));
    assert_null(find("room.join."));
}

static void services_take_homes_in_turn(void **state)
{
    const cereus_method m = CEREUS_RAW_REQUEST("m", raw);
    assert_int_equal(add("a", &m, 1, NULL), CEREUS_OK);
    assert_int_equal(add("b", &m, 1, NULL), CEREUS_OK);
    assert_int_equal(crs_registry_service(&r, "a")->home_loop, 0);
    assert_int_equal(crs_registry_service(&r, "b")->home_loop, 1);
    assert_null(crs_registry_service(&r, "c"));
}

static void a_service_needs_a_name(void **state)
{
    const char *const bad[] = {"", "a.b", "a b", "a\tb", "a\nb", "\x7f", "\xff"};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        char text[100];
        snprintf(text, sizeof text, "a service needs a name without dots and blanks, not \"%s\"", bad[i]);
        expect_refusal(bad[i], (cereus_method)CEREUS_RAW_REQUEST("m", raw), CEREUS_E_INVALID, text);
    }
    expect_refusal(NULL, (cereus_method)CEREUS_RAW_REQUEST("m", raw), CEREUS_E_INVALID,
                   "a service needs a name without dots and blanks, not \"\"");
    const cereus_method m = CEREUS_RAW_REQUEST("\xc3\xa9", raw);
    assert_int_equal(add("sal\xc3\xb3n", &m, 1, NULL), CEREUS_OK);
}

static void a_method_needs_a_name(void **state)
{
    const char *const bad[] = {NULL, "", "a.b", " ", "a\rb", "\xc3"};
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++)
        expect_refusal("s", (cereus_method)CEREUS_RAW_REQUEST(bad[i], raw), CEREUS_E_INVALID,
                       "service \"s\": method number 1 needs a name without dots and blanks");
}

static void a_method_needs_exactly_one_function(void **state)
{
    const char *text = "service \"s\": method \"m\": set exactly one of fn, raw, json";
    expect_refusal("s", (cereus_method){.name = "m"}, CEREUS_E_INVALID, text);
    expect_refusal("s", (cereus_method){.name = "m", .in = CEREUS_RAW, .out = CEREUS_RAW, .raw = raw, .fn = general},
                   CEREUS_E_INVALID, text);
    expect_refusal("s", (cereus_method){.name = "m", .in = CEREUS_RAW, .out = CEREUS_RAW, .raw = raw, .json = json},
                   CEREUS_E_INVALID, text);
}

static void functions_and_shapes_must_fit(void **state)
{
    const char *raws = "service \"s\": method \"m\": a raw function takes CEREUS_RAW and gives CEREUS_RAW or nothing";
    const char *jsons =
        "service \"s\": method \"m\": a json function takes CEREUS_JSON and gives CEREUS_JSON or nothing";
    for (int in = CEREUS_NOTHING; in <= CEREUS_JSON; in++) {
        for (int out = CEREUS_NOTHING; out <= CEREUS_JSON; out++) {
            if (in != CEREUS_RAW || (out != CEREUS_RAW && out != CEREUS_NOTHING))
                expect_refusal("s", (cereus_method){.name = "m", .in = in, .out = out, .raw = raw}, CEREUS_E_INVALID,
                               raws);
            if (in != CEREUS_JSON || (out != CEREUS_JSON && out != CEREUS_NOTHING))
                expect_refusal("s", (cereus_method){.name = "m", .in = in, .out = out, .json = json}, CEREUS_E_INVALID,
                               jsons);
        }
    }
}

static void messages_need_descriptors(void **state)
{
    expect_refusal("s", (cereus_method){.name = "m", .in = CEREUS_MESSAGE, .fn = general}, CEREUS_E_INVALID,
                   "service \"s\": method \"m\": in is CEREUS_MESSAGE, so in_type must be its descriptor");
    expect_refusal("s", (cereus_method){.name = "m", .out = CEREUS_MESSAGE, .fn = general}, CEREUS_E_INVALID,
                   "service \"s\": method \"m\": out is CEREUS_MESSAGE, so out_type must be its descriptor");
    expect_refusal("s", (cereus_method){.name = "m", .out = (cereus_shape)4, .fn = general}, CEREUS_E_INVALID,
                   "service \"s\": method \"m\": in and out must be a cereus_shape");
}

static void a_service_needs_methods(void **state)
{
    assert_int_equal(add("s", NULL, 0, NULL), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "service \"s\" has no methods: give cereus_app_register() a table of them");
}

static void a_key_home_needs_a_key_function(void **state)
{
    const cereus_method m = CEREUS_RAW_REQUEST("m", raw);
    const cereus_service_options opt = {.home = CEREUS_HOME_KEY};
    assert_int_equal(add("s", &m, 1, &opt), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "service \"s\": CEREUS_HOME_KEY needs a key function");
}

static void names_are_taken_once(void **state)
{
    const cereus_method twice[] = {CEREUS_RAW_REQUEST("m", raw), CEREUS_RAW_REQUEST("n", raw),
                                   CEREUS_RAW_REQUEST("m", raw)};
    assert_int_equal(add("s", twice, 3, NULL), CEREUS_E_EXISTS);
    assert_string_equal(err.msg, "service \"s\": method \"m\" stands in the table twice, remove or rename one");
    assert_null(find("s.m"));
    assert_int_equal(add("s", twice, 2, NULL), CEREUS_OK);
    assert_int_equal(add("s", twice, 1, NULL), CEREUS_E_EXISTS);
    assert_string_equal(err.msg, "service \"s\" is registered already: give this one another name, or both one table");
    assert_non_null(find("s.n"));
}

static void a_route_that_no_message_can_carry_is_refused(void **state)
{
    char name[260];
    memset(name, 'x', sizeof name);
    name[255 - strlen("game.") - strlen(".m")] = '\0';
    const cereus_method fits = CEREUS_RAW_REQUEST("m", raw), over = CEREUS_RAW_REQUEST("mm", raw);
    assert_int_equal(add(name, &over, 1, NULL), CEREUS_E_INVALID);
    assert_non_null(strstr(err.msg, "has 256 bytes, a route may have 255"));
    assert_int_equal(add(name, &fits, 1, NULL), CEREUS_OK);
}

static void out_of_memory_registers_nothing(void **state)
{
    const cereus_method methods[] = {CEREUS_RAW_REQUEST("a", raw), CEREUS_RAW_REQUEST("b", raw)};
    cereus_status st = CEREUS_E_NOMEM;
    for (int n = 1; st != CEREUS_OK; n++) {
        assert_true(n < 100);
        crs_alloc_fail_at(n);
        st = add("s", methods, 2, NULL);
        crs_alloc_fail_at(0);
        if (st) {
            assert_int_equal(st, CEREUS_E_NOMEM);
            assert_string_equal(err.msg, "service \"s\": out of memory");
            assert_null(crs_registry_service(&r, "s"));
            assert_null(find("s.a"));
            assert_null(find("game.s.b"));
        }
    }
    assert_non_null(find("s.b"));
}

static void expect_fault(const char *route, crs_route_fault fault, const char *type)
{
    cereus_slice got;
    uint8_t *copy = test_copy(route, strlen(route));
    assert_int_equal(crs_registry_explain(&r, cereus_slice_of(copy, strlen(route)), &got), fault);
    assert_int_equal(got.len, strlen(type));
    assert_memory_equal(got.len ? got.data : (const uint8_t *)"", type, got.len);
    free(copy);
}

static void a_route_that_is_not_found_is_explained(void **state)
{
    expect_fault("", CRS_ROUTE_EMPTY_FIELD, "");
    expect_fault(".", CRS_ROUTE_EMPTY_FIELD, "");
    expect_fault("a.", CRS_ROUTE_EMPTY_FIELD, "");
    expect_fault("a. \t", CRS_ROUTE_EMPTY_FIELD, "");
    expect_fault("a.b.c.", CRS_ROUTE_EMPTY_FIELD, "");
    expect_fault("a", CRS_ROUTE_INVALID, "");
    expect_fault("a.b.c.d", CRS_ROUTE_INVALID, "");
    expect_fault("a.b", CRS_ROUTE_UNKNOWN, "");
    expect_fault("game.a.b", CRS_ROUTE_UNKNOWN, "game");
    expect_fault("other.a.b", CRS_ROUTE_FOREIGN, "other");
}

static void hooks_keep_their_order(void **state)
{
    crs_hook *list = NULL;
    int a, b, c;
    assert_int_equal(crs_hook_add(&list, false, NULL, (void (*)(void))raw, &a), CEREUS_OK);
    assert_int_equal(crs_hook_add(&list, false, "b", (void (*)(void))raw, &b), CEREUS_OK);
    assert_int_equal(crs_hook_add(&list, true, NULL, (void (*)(void))raw, &c), CEREUS_OK);
    assert_ptr_equal(list->user, &c);
    assert_ptr_equal(list->next->user, &a);
    assert_ptr_equal(list->next->next->user, &b);
    assert_string_equal(list->next->next->name, "b");
    crs_hook_free_all(&list);
    assert_null(list);
    for (int n = 1; n <= 2; n++) {
        crs_alloc_fail_at(n);
        assert_int_equal(crs_hook_add(&list, false, "b", (void (*)(void))raw, NULL), CEREUS_E_NOMEM);
        crs_alloc_fail_at(0);
        assert_null(list);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

TEST_MAIN(TEST(a_method_is_found_by_its_short_and_its_full_route), TEST(services_take_homes_in_turn),
          TEST(a_service_needs_a_name), TEST(a_method_needs_a_name), TEST(a_method_needs_exactly_one_function),
          TEST(functions_and_shapes_must_fit), TEST(messages_need_descriptors), TEST(a_service_needs_methods),
          TEST(a_key_home_needs_a_key_function), TEST(names_are_taken_once),
          TEST(a_route_that_no_message_can_carry_is_refused), TEST(out_of_memory_registers_nothing),
          TEST(a_route_that_is_not_found_is_explained), TEST(hooks_keep_their_order))
