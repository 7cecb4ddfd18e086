/* tests/unit/dispatch/test_docs.c: DOCS_GOLDEN names the folder of the expected texts; DOCS_UPDATE=1 writes them. */
#include "test.h"

#include <cereus/docs.h>

#include "dispatch/docs.h"

#include "shapes.pb-c.h"

static crs_registry r;

static int setup(void **state)
{
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

static cereus_status json(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    return CEREUS_OK;
}

static void add(const char *name, const cereus_method *methods, size_t count)
{
    cereus_error err = {0};
    if (crs_registry_add(&r, name, methods, count, NULL, &err))
        fail_msg("%s", err.msg);
}

static cereus_method typed(const char *name, const ProtobufCMessageDescriptor *in,
                           const ProtobufCMessageDescriptor *out)
{
    return (cereus_method){.name = name,
                           .in = in ? CEREUS_MESSAGE : CEREUS_NOTHING,
                           .in_type = in,
                           .out = out ? CEREUS_MESSAGE : CEREUS_NOTHING,
                           .out_type = out,
                           .fn = general};
}

static void expect_golden_with(const crs_registry *remotes, const char *name, bool type_names)
{
    char path[4096], expected[1 << 16];
    snprintf(path, sizeof path, "%s/%s", getenv("DOCS_GOLDEN"), name);
    json_t *docs = crs_docs_json(&r, remotes, type_names);
    assert_non_null(docs);
    char *text = json_dumps(docs, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(docs);
    if (getenv("DOCS_UPDATE")) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fprintf(f, "%s\n", text);
        fclose(f);
    } else {
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        size_t len = fread(expected, 1, sizeof expected - 1, f);
        fclose(f);
        expected[len ? len - 1 : 0] = '\0'; /* the newline at the end */
        assert_string_equal(text, expected);
    }
    free(text);
}

static void expect_golden(const char *name, bool type_names)
{
    expect_golden_with(NULL, name, type_names);
}

static void add_everything(void)
{
    const cereus_method methods[] = {
        typed("buy", &shop__v1__shapes__descriptor, &shop__v1__shapes__inner__descriptor),
        typed("fire", &shop__v1__shapes__inner__descriptor, NULL),
        typed("list", NULL, &shop__v1__shapes__inner__descriptor),
        CEREUS_RAW_REQUEST("echo", raw),
        CEREUS_RAW_NOTIFY("note", raw),
        CEREUS_JSON_REQUEST("value", json),
        {.name = "half", .in = CEREUS_RAW, .out = CEREUS_JSON, .fn = general},
    };
    add("shop", methods, CEREUS_COUNT(methods));
}

static void every_shape_is_described_as_pitaya_does(void **state)
{
    add_everything();
    expect_golden("shapes.json", false);
}

static void with_type_names_each_message_is_wrapped_in_its_name(void **state)
{
    add_everything();
    expect_golden("shapes_names.json", true);
}

static void types_inside_themselves_are_named(void **state)
{
    const cereus_method methods[] = {
        typed("grow", &shop__v1__tree__descriptor, &shop__v1__ping__descriptor),
        typed("ping", &shop__v1__pong__descriptor, NULL),
    };
    add("tree", methods, CEREUS_COUNT(methods));
    expect_golden("recursive.json", false);
    expect_golden("recursive_names.json", true);
}

static void types_that_unfold_to_very_many_are_cut_short(void **state)
{
    const cereus_method method = typed("deep", &shop__v1__d01__descriptor, &shop__v1__d01__descriptor);
    add("d", &method, 1);
    json_t *docs = crs_docs_json(&r, NULL, true);
    char *text = json_dumps(docs, JSON_COMPACT);
    assert_in_range(strlen(text), 1000, 1 << 20);
    assert_non_null(strstr(text, "\"*shop.v1.D17\""));
    free(text);
    json_decref(docs);
}

static void no_services_are_two_empty_objects(void **state)
{
    json_t *docs = crs_docs_json(&r, NULL, true);
    char *text = json_dumps(docs, JSON_COMPACT);
    assert_string_equal(text, "{\"handlers\":{},\"remotes\":{}}");
    free(text);
    json_decref(docs);
}

static void remotes_are_listed_beside_the_handlers(void **state)
{
    crs_registry remotes;
    assert_int_equal(crs_registry_init(&remotes, "game"), CEREUS_OK);
    const cereus_method far[] = {typed("ping", &shop__v1__ping__descriptor, NULL), CEREUS_RAW_REQUEST("kick", raw)};
    const cereus_method sys[] = {CEREUS_RAW_REQUEST("bindsession", raw), CEREUS_RAW_REQUEST("pushsession", raw),
                                 CEREUS_RAW_REQUEST("kick", raw), CEREUS_RAW_REQUEST("stats", raw)};
    cereus_error err;
    assert_int_equal(crs_registry_add(&remotes, "far", far, CEREUS_COUNT(far), NULL, &err), CEREUS_OK);
    assert_int_equal(crs_registry_add(&remotes, "sys", sys, CEREUS_COUNT(sys), NULL, &err), CEREUS_OK);
    const cereus_method mine = CEREUS_RAW_REQUEST("kick", raw); /* of a handler nothing is known but its own types */
    add("sys", &mine, 1);
    expect_golden_with(&remotes, "remotes.json", false);
    expect_golden_with(&remotes, "remotes_names.json", true);
    crs_registry_fini(&remotes);
}

static void the_text_is_made_only_for_a_registry_with_the_route(void **state)
{
    char *text = NULL;
    add_everything();
    assert_int_equal(crs_docs_text(&r, NULL, true, &text), CEREUS_OK);
    assert_null(text);
    const cereus_method methods[] = {cereus_docs_method("docs"), cereus_descriptors_method("protos")};
    add("tools", methods, CEREUS_COUNT(methods));
    assert_int_equal(crs_docs_text(&r, NULL, true, &text), CEREUS_OK);
    assert_non_null(strstr(text,
                           "\"game.tools.docs\":{\"input\":null,\"output\":[{\"*protos.Doc\":{\"doc\":\"string\"}},"
                           "\"error\"]}"));
    crs_free(text);
}

static void without_memory_there_is_no_text(void **state)
{
    const cereus_method method = cereus_docs_method("docs");
    add("tools", &method, 1);
    char *text = NULL;
    crs_alloc_fail_at(1);
    assert_int_equal(crs_docs_text(&r, NULL, true, &text), CEREUS_E_NOMEM);
    crs_alloc_fail_at(0);
    assert_null(text);
}

#define IN_REGISTRY(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
TEST_MAIN(IN_REGISTRY(every_shape_is_described_as_pitaya_does),
          IN_REGISTRY(with_type_names_each_message_is_wrapped_in_its_name),
          IN_REGISTRY(types_inside_themselves_are_named), IN_REGISTRY(types_that_unfold_to_very_many_are_cut_short),
          IN_REGISTRY(no_services_are_two_empty_objects), IN_REGISTRY(remotes_are_listed_beside_the_handlers),
          IN_REGISTRY(the_text_is_made_only_for_a_registry_with_the_route),
          IN_REGISTRY(without_memory_there_is_no_text))
