/* tests/unit/cluster/test_servers.c: what servers say of themselves, and the lists of them. */
#include "test.h"

#include "cluster/servers.h"

static cereus_status parse(const char *text, crs_server **ret)
{
    uint8_t *exact = test_copy(text, strlen(text));
    cereus_status st = crs_server_parse(cereus_slice_of(exact, strlen(text)), ret);
    free(exact);
    return st;
}

static crs_server *server(const char *type, const char *id)
{
    char text[400];
    crs_server *s;
    snprintf(text, sizeof text, "{\"id\":\"%s\",\"type\":\"%s\"}", id, type);
    assert_int_equal(parse(text, &s), CEREUS_OK);
    return s;
}

static void all_that_a_server_says_is_kept_and_told_again(void **state)
{
    static const char text[] =
        "{\"id\":\"room-1\",\"type\":\"room\",\"metadata\":{\"a\":\"1\",\"lang\":\"\\u003cc\\u003e\"},"
        "\"frontend\":true,\"hostname\":\"host\",\"draining\":true}";
    crs_server *s;
    assert_int_equal(parse(text, &s), CEREUS_OK);
    const cereus_server *v = crs_server_view(s);
    assert_true(v->draining);
    assert_string_equal(v->id, "room-1");
    assert_string_equal(v->type, "room");
    assert_string_equal(v->hostname, "host");
    assert_true(v->frontend);
    char *again = crs_server_text(v);
    assert_string_equal(again, text);
    crs_free(again);
    crs_server_unref(s);
}

static void names_of_members_have_no_case(void **state)
{
    crs_server *s;
    assert_int_equal(parse("{\"ID\":\"c-3\",\"Type\":\"room\",\"Metadata\":{\"A\":\"b\"},\"Frontend\":true,"
                           "\"Hostname\":\"H\",\"extra\":{\"x\":[1]}}",
                           &s),
                     CEREUS_OK);
    assert_string_equal(crs_server_view(s)->id, "c-3");
    assert_string_equal(crs_server_view(s)->metadata, "{\"A\":\"b\"}");
    assert_string_equal(crs_server_view(s)->hostname, "H");
    assert_true(crs_server_view(s)->frontend);
    crs_server_unref(s);
    assert_int_equal(parse("{\"ID\":\"wrong\",\"id\":\"right\",\"type\":\"room\"}", &s), CEREUS_OK);
    assert_string_equal(crs_server_view(s)->id, "right");
    crs_server_unref(s);
}

static void what_is_missing_is_empty(void **state)
{
    crs_server *s;
    assert_int_equal(parse("{\"id\":\"a\",\"type\":\"b\",\"metadata\":null}", &s), CEREUS_OK);
    assert_string_equal(crs_server_view(s)->metadata, "{}");
    assert_string_equal(crs_server_view(s)->hostname, "");
    assert_false(crs_server_view(s)->frontend);
    crs_server_unref(s);
}

static void what_cannot_be_a_server_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "hello",
                                        "[]",
                                        "null",
                                        "{}",
                                        "{\"id\":\"a\"}",
                                        "{\"type\":\"a\"}",
                                        "{\"id\":\"a\",\"type\":\"b\"",
                                        "{\"id\":\"a\",\"type\":\"b\"}x",
                                        "{\"id\":1,\"type\":\"b\"}",
                                        "{\"id\":\"\",\"type\":\"b\"}",
                                        "{\"id\":\"a/b\",\"type\":\"b\"}",
                                        "{\"id\":\"a\",\"type\":\"b/c\"}",
                                        "{\"id\":\"a b\",\"type\":\"b\"}",
                                        "{\"id\":\"..\",\"type\":\"b\"}",
                                        "{\"id\":\".\",\"type\":\"b\"}",
                                        "{\"id\":\"a\\n\",\"type\":\"b\"}",
                                        "{\"id\":\"a\\u0000b\",\"type\":\"b\"}",
                                        "{\"id\":\"a\",\"type\":\"b\",\"hostname\":\"h\\u0000\"}",
                                        "{\"id\":\"a\",\"type\":\"b\",\"metadata\":{\"n\":1}}",
                                        "{\"id\":\"a\",\"type\":\"b\",\"metadata\":[]}",
                                        "{\"id\":\"a\",\"type\":\"b\",\"frontend\":\"yes\"}",
                                        "{\"id\":\"a\",\"type\":\"b\",\"draining\":1}",
                                        "{\"id\":\"a\",\"type\":\"b\",\"hostname\":7}",
                                        "{\"id\":\"\xff\",\"type\":\"b\"}"};
    crs_server *s = NULL;
    for (size_t i = 0; i < CEREUS_COUNT(texts); i++) {
        if (parse(texts[i], &s) != CEREUS_E_MALFORMED)
            fail_msg("taken: %s", texts[i]);
        assert_null(s);
    }
    char name[400], text[600];
    memset(name, 'n', sizeof name);
    name[CRS_SERVER_NAME_MAX + 1] = '\0';
    snprintf(text, sizeof text, "{\"id\":\"%s\",\"type\":\"b\"}", name);
    assert_int_equal(parse(text, &s), CEREUS_E_MALFORMED);
    name[CRS_SERVER_NAME_MAX] = '\0';
    snprintf(text, sizeof text, "{\"id\":\"%s\",\"type\":\"b\"}", name);
    assert_int_equal(parse(text, &s), CEREUS_OK);
    crs_server_unref(s);
}

static void who_drains_is_behind_the_others_and_gets_nothing_new(void **state)
{
    static const char *const texts[] = {
        "{\"id\":\"a\",\"type\":\"room\",\"draining\":true}", "{\"id\":\"b\",\"type\":\"room\",\"draining\":false}",
        "{\"id\":\"c\",\"type\":\"room\",\"draining\":true}", "{\"id\":\"d\",\"type\":\"shop\"}"};
    crs_server *all[4];
    size_t count;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(parse(texts[i], &all[i]), CEREUS_OK);
    cereus_slice room = cereus_slice_str("room");
    crs_servers *list = crs_servers_new(all, 4);
    size_t first = crs_servers_of_type(list, room, &count);
    assert_int_equal(count, 3);
    assert_ptr_equal(crs_servers_at(list, first), all[1]);
    assert_int_equal(crs_servers_open(list, room, &count), first);
    assert_int_equal(count, 1);
    crs_servers_open(list, cereus_slice_str("shop"), &count);
    assert_int_equal(count, 1);
    crs_servers_open(list, cereus_slice_str("none"), &count);
    assert_int_equal(count, 0);
    crs_servers *less = crs_servers_changed(list, NULL, "b"); /* better one that drains than none */
    crs_servers_open(less, room, &count);
    assert_int_equal(count, 2);
    crs_servers_unref(less);
    crs_servers_unref(list);
    for (size_t i = 0; i < 4; i++)
        crs_server_unref(all[i]);
}

static void depths_that_a_fiber_has_no_stack_for_are_refused(void **state)
{
    static char text[5000];
    size_t len = (size_t)sprintf(text, "{\"id\":\"a\",\"type\":\"b\",\"x\":");
    for (size_t i = 0; i < 4000; i++)
        text[len++] = i < 2000 ? '[' : ']';
    text[len] = '}';
    crs_server *s = NULL;
    assert_int_equal(parse(text, &s), CEREUS_E_MALFORMED);
}

static void each_prefix_and_each_changed_byte_is_taken_or_refused(void **state)
{
    static const char text[] =
        "{\"id\":\"r\",\"type\":\"t\",\"metadata\":{\"a\":\"1\"},\"frontend\":false,\"hostname\":\"h\"}";
    for (size_t i = 0; i < 2 * strlen(text); i++) {
        size_t len = i < strlen(text) ? i : strlen(text);
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t *exact = test_copy(text, len);
            crs_server *s = NULL;
            if (i >= strlen(text))
                exact[i - strlen(text)] ^= (uint8_t)(1u << bit);
            if (crs_server_parse(cereus_slice_of(exact, len), &s) == CEREUS_OK) {
                char *again = crs_server_text(crs_server_view(s));
                assert_non_null(again);
                crs_free(again);
            }
            crs_server_unref(s);
            free(exact);
        }
    }
}

static void check_sorted(const crs_servers *list)
{
    for (size_t i = 1; i < crs_servers_count(list); i++) {
        const cereus_server *a = crs_server_view(crs_servers_at(list, i - 1)),
                            *b = crs_server_view(crs_servers_at(list, i));
        int order = strcmp(a->type, b->type);
        assert_true(order < 0 || (order == 0 && strcmp(a->id, b->id) < 0));
    }
}

static void servers_are_found_by_id_and_by_type(void **state)
{
    static const char *const types[] = {"a", "room", "rooms", "roo", "z"};
    crs_server *all[50];
    for (size_t i = 0; i < 50; i++) {
        char id[20];
        snprintf(id, sizeof id, "s-%zu", (i * 37) % 50);
        all[i] = server(types[i % 5], id);
    }
    crs_servers *list = crs_servers_new(all, 50);
    assert_int_equal(crs_servers_count(list), 50);
    check_sorted(list);
    for (size_t t = 0; t < 5; t++) {
        size_t count, first = crs_servers_of_type(list, cereus_slice_str(types[t]), &count);
        assert_int_equal(count, 10);
        for (size_t i = first; i < first + count; i++)
            assert_string_equal(crs_server_view(crs_servers_at(list, i))->type, types[t]);
    }
    static const char *const none[] = {"", "ro", "roomsy", "zz", "A"};
    for (size_t t = 0; t < CEREUS_COUNT(none); t++) {
        size_t count;
        crs_servers_of_type(list, cereus_slice_str(none[t]), &count);
        assert_int_equal(count, 0);
    }
    assert_ptr_equal(crs_servers_by_id(list, cereus_slice_str("s-37")), all[1]);
    assert_null(crs_servers_by_id(list, cereus_slice_str("s-50")));
    for (size_t i = 0; i < 50; i++)
        crs_server_unref(all[i]); /* the list has its own */
    check_sorted(list);
    crs_servers_unref(list);
}

static void of_two_with_one_id_the_later_counts(void **state)
{
    crs_server *all[] = {server("a", "x"), server("b", "y"), server("c", "x"), server("d", "x")};
    crs_servers *list = crs_servers_new(all, 4);
    assert_int_equal(crs_servers_count(list), 2);
    assert_ptr_equal(crs_servers_by_id(list, cereus_slice_str("x")), all[3]);
    check_sorted(list);
    crs_servers_unref(list);
    for (size_t i = 0; i < 4; i++)
        crs_server_unref(all[i]);
}

static void a_changed_list_leaves_the_old_one_as_it_was(void **state)
{
    crs_server *a = server("room", "a"), *b = server("room", "b"), *a2 = server("castle", "a");
    crs_servers *none = crs_servers_new(NULL, 0), *one = crs_servers_changed(none, a, NULL),
                *two = crs_servers_changed(one, b, NULL), *moved = crs_servers_changed(two, a2, NULL),
                *gone = crs_servers_changed(moved, NULL, "b"), *same = crs_servers_changed(gone, NULL, "nobody");
    size_t count;
    assert_int_equal(crs_servers_count(none), 0);
    assert_int_equal(crs_servers_count(one), 1);
    assert_int_equal(crs_servers_count(two), 2);
    assert_int_equal(crs_servers_count(moved), 2);
    assert_ptr_equal(crs_servers_by_id(two, cereus_slice_str("a")), a);
    assert_ptr_equal(crs_servers_by_id(moved, cereus_slice_str("a")), a2);
    crs_servers_of_type(moved, cereus_slice_str("room"), &count);
    assert_int_equal(count, 1);
    assert_int_equal(crs_servers_count(gone), 1);
    assert_int_equal(crs_servers_count(same), 1);
    crs_servers *lists[] = {none, one, two, moved, gone, same};
    for (size_t i = 0; i < CEREUS_COUNT(lists); i++)
        crs_servers_unref(lists[i]);
    crs_server_unref(a);
    crs_server_unref(b);
    crs_server_unref(a2);
}

TEST_MAIN(cmocka_unit_test(all_that_a_server_says_is_kept_and_told_again),
          cmocka_unit_test(names_of_members_have_no_case), cmocka_unit_test(what_is_missing_is_empty),
          cmocka_unit_test(what_cannot_be_a_server_is_refused),
          cmocka_unit_test(who_drains_is_behind_the_others_and_gets_nothing_new),
          cmocka_unit_test(depths_that_a_fiber_has_no_stack_for_are_refused),
          cmocka_unit_test(each_prefix_and_each_changed_byte_is_taken_or_refused),
          cmocka_unit_test(servers_are_found_by_id_and_by_type), cmocka_unit_test(of_two_with_one_id_the_later_counts),
          cmocka_unit_test(a_changed_list_leaves_the_old_one_as_it_was))
