/* What descriptors say. */
#include "codec.h"

#include "serialize/fields.h"

static void maps_are_told_from_other_messages(void **state)
{
    static const char *const maps[] = {"labels", "places", "votes_by_side"};
    for (size_t i = 0; i < kitchen__sink__descriptor.n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &kitchen__sink__descriptor.fields[i];
        bool is_map = false;
        for (size_t k = 0; k < CEREUS_COUNT(maps); k++)
            is_map = is_map || strcmp(f->name, maps[k]) == 0;
        assert_int_equal(crs_field_is_map(&kitchen__sink__descriptor, f), is_map);
    }
}

static void sorting_a_map_keeps_the_last_of_equal_keys(void **state)
{
    enum { MOST = 9 };
    Kitchen__Sink__LabelsEntry entries[MOST];
    ProtobufCMessage *list[MOST], *scratch[2 * MOST], **sorted;
    static const char *const keys[] = {"a", "b", "c"};
    for (size_t count = 0; count <= MOST; count++) {
        uint32_t rounds = count < 7 ? 729 : 2187; /* all ways to choose keys, or many */
        for (uint32_t round = 0; round < rounds; round++) {
            uint32_t choice = round * 7;
            const char *last[3] = {NULL, NULL, NULL};
            size_t different = 0;
            for (size_t i = 0; i < count; i++, choice /= 3) {
                kitchen__sink__labels_entry__init(&entries[i]);
                entries[i].key = (char *)keys[choice % 3];
                entries[i].value = (char *)&entries[i];
                list[i] = &entries[i].base;
                different += !last[choice % 3];
                last[choice % 3] = entries[i].value;
            }
            size_t kept = crs_map_sort(list, count, scratch, &sorted);
            assert_int_equal(kept, different);
            assert_true(crs_map_is_sorted(sorted, kept));
            for (size_t i = 0; i < kept; i++) {
                const Kitchen__Sink__LabelsEntry *entry = (const Kitchen__Sink__LabelsEntry *)sorted[i];
                assert_ptr_equal(entry->value, last[entry->key[0] - 'a']);
            }
        }
    }
}

static void integers_have_their_decimal_text(void **state)
{
    static const uint64_t numbers[] = {0, 9, 10, 99, 100, 101, 12345, 4294967295u, UINT64_MAX};
    char text[24], want[24];
    for (size_t i = 0; i < CEREUS_COUNT(numbers); i++) {
        text[crs_text_u64(text, numbers[i])] = '\0';
        snprintf(want, sizeof want, "%llu", (unsigned long long)numbers[i]);
        assert_string_equal(text, want);
        text[crs_text_i64(text, (int64_t)numbers[i])] = '\0';
        snprintf(want, sizeof want, "%lld", (long long)numbers[i]);
        assert_string_equal(text, want);
    }
    text[crs_text_i64(text, INT64_MIN)] = '\0';
    assert_string_equal(text, "-9223372036854775808");
}

TEST_MAIN(TEST(maps_are_told_from_other_messages), TEST(sorting_a_map_keeps_the_last_of_equal_keys),
          TEST(integers_have_their_decimal_text))
