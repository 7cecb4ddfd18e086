/* tests/unit/config/test_setting.c */
#include "test.h"

#include "config/config_priv.h"

static void setting_splits_text_at_commas_and_keeps_it_as_written(void **state)
{
    static const struct {
        const char *text;
        size_t count;
        const char *first, *last;
    } rows[] = {
        {"", 0, NULL, NULL},      {" ", 0, NULL, NULL},       {",", 0, NULL, NULL}, {", \t,,", 0, NULL, NULL},
        {"a", 1, "a", "a"},       {" a\t", 1, "a", "a"},      {"a,b", 2, "a", "b"}, {",a,,b,", 2, "a", "b"},
        {"a b", 1, "a b", "a b"}, {"a , b , c", 3, "a", "c"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        uint8_t *text = test_copy(rows[i].text, strlen(rows[i].text) + 1);
        crs_setting *s;
        assert_int_equal(crs_setting_new(&(crs_raw){.text = (char *)text}, "here", CRS_RANK_FILE, &s), CEREUS_OK);
        free(text);
        assert_string_equal(s->text, rows[i].text);
        assert_string_equal(s->source, "here");
        assert_int_equal(s->item_count, rows[i].count);
        assert_null(s->items[rows[i].count]);
        if (rows[i].count) {
            assert_string_equal(s->items[0], rows[i].first);
            assert_string_equal(s->items[rows[i].count - 1], rows[i].last);
        }
        assert_null(crs_setting_free(s));
    }
}

static void setting_joins_a_list_with_commas_and_keeps_its_items(void **state)
{
    static const char *const items[] = {"a, b", "", "c"};
    static const char *const texts[] = {"", "a, b", "a, b,", "a, b,,c"};
    for (size_t count = 0; count <= 3; count++) {
        crs_setting *s;
        crs_raw raw = {.items = items, .item_count = count};
        assert_int_equal(crs_setting_new(&raw, "here", CRS_RANK_FILE, &s), CEREUS_OK);
        assert_string_equal(s->text, texts[count]);
        assert_int_equal(s->item_count, count);
        for (size_t i = 0; i < count; i++)
            assert_string_equal(s->items[i], items[i]);
        assert_null(s->items[count]);
        crs_setting_free(s);
    }
}

static void setting_survives_a_failing_allocation(void **state)
{
    for (size_t nth = 1; nth <= 4; nth++) {
        crs_setting *s = NULL;
        crs_alloc_fail_at(nth);
        assert_int_equal(crs_setting_new(&(crs_raw){.text = "a,b"}, "here", CRS_RANK_FILE, &s), CEREUS_E_NOMEM);
        crs_alloc_fail_at(0);
        assert_null(s);
    }
    assert_null(crs_setting_free(NULL));
}

TEST_MAIN(cmocka_unit_test(setting_splits_text_at_commas_and_keeps_it_as_written),
          cmocka_unit_test(setting_joins_a_list_with_commas_and_keeps_its_items),
          cmocka_unit_test(setting_survives_a_failing_allocation))
