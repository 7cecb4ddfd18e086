/* tests/unit/dispatch/test_descriptors.c */
#include "test.h"

#include <zlib.h>

#include "base/buf.h"
#include "dispatch/descriptors.h"

static crs_descriptors *d;
static cereus_error err;

static int setup(void **state)
{
    err = (cereus_error){0};
    d = crs_descriptors_new();
    return d == NULL;
}

static int teardown(void **state)
{
    d = crs_descriptors_free(d);
    return 0;
}

/* -- sets made by hand: all parts are shorter than 128 bytes -- */

static size_t put(uint8_t *out, uint8_t number, const void *bytes, size_t len)
{
    assert_in_range(len, 0, 127);
    out[0] = (uint8_t)(number << 3 | 2);
    out[1] = (uint8_t)len;
    memcpy(out + 2, bytes, len);
    return len + 2;
}

typedef struct part {
    uint8_t bytes[128];
    size_t len;
} part;

/* A set of one file with two messages, the second inside of the first. */
static part make_set(const char *file, const char *package, const char *message, const char *inner)
{
    part i = {0}, m = {0}, f = {0}, set = {0};
    i.len = put(i.bytes, 1, inner, strlen(inner));
    m.len = put(m.bytes, 1, message, strlen(message));
    m.len += put(m.bytes + m.len, 3, i.bytes, i.len);
    f.len = put(f.bytes, 1, file, strlen(file));
    if (*package)
        f.len += put(f.bytes + f.len, 2, package, strlen(package));
    f.len += put(f.bytes + f.len, 4, m.bytes, m.len);
    set.len = put(set.bytes, 1, f.bytes, f.len);
    return set;
}

static cereus_status add(const part *set)
{
    uint8_t *copy = test_copy(set->bytes, set->len);
    err = (cereus_error){0};
    cereus_status st = crs_descriptors_add(d, cereus_slice_of(copy, set->len), &err);
    free(copy);
    assert_int_equal(err.status, st);
    return st;
}

static cereus_status find(const char *name, cereus_slice *ret)
{
    uint8_t *copy = test_copy(name, strlen(name));
    err = (cereus_error){0};
    cereus_status st = crs_descriptors_find(d, cereus_slice_of(copy, strlen(name)), ret, &err);
    free(copy);
    return st;
}

static void expect_file(const char *name, const part *set)
{
    uint8_t plain[4096];
    cereus_slice gzip;
    assert_int_equal(find(name, &gzip), CEREUS_OK);
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)gzip.data,
                  .avail_in = (uInt)gzip.len,
                  .next_out = plain,
                  .avail_out = sizeof plain};
    assert_int_equal(inflateInit2(&z, MAX_WBITS + 16), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    inflateEnd(&z);
    assert_int_equal(z.total_out, set->len - 2);
    assert_memory_equal(plain, set->bytes + 2, set->len - 2);
}

static void expect_unknown(const char *name)
{
    cereus_slice gzip = {0};
    assert_int_equal(find(name, &gzip), CEREUS_E_NOT_FOUND);
    assert_string_equal(err.msg, "failed to get protobuf message descriptor");
    assert_null(gzip.data);
}

static void a_file_is_found_by_its_name_and_by_those_of_its_messages(void **state)
{
    part set = make_set("chat.proto", "chat", "Room", "User");
    assert_int_equal(add(&set), CEREUS_OK);
    expect_file("chat.proto", &set);
    expect_file("chat.Room", &set);
    expect_file("chat.Room.User", &set);
    const char *const unknown[] = {"", "Room", "chat", "chat.User", "chat.Room.", ".chat.Room", "chat.Rooms", "types."};
    for (size_t i = 0; i < CEREUS_COUNT(unknown); i++)
        expect_unknown(unknown[i]);
}

static void a_file_without_a_package_is_found_by_bare_names(void **state)
{
    part set = make_set("x.proto", "", "Alone", "In");
    assert_int_equal(add(&set), CEREUS_OK);
    expect_file("Alone", &set);
    expect_file("Alone.In", &set);
}

static void pitayas_own_types_are_known(void **state)
{
    const char *const names[] = {
        "protos.Doc",    "protos.ProtoNames", "protos.ProtoDescriptors", "protos.Error",   "protos.Error.MetadataEntry",
        "error.proto",   "protos.Session",    "protos.Response",         "protos.KickMsg", "protos.KickAnswer",
        "protos.DocMsg", "protos.Push"};
    cereus_slice gzip;
    for (size_t i = 0; i < CEREUS_COUNT(names); i++)
        assert_int_equal(find(names[i], &gzip), CEREUS_OK);
}

static void a_game_may_bring_its_own_copy_of_them(void **state)
{
    part set = make_set("doc.proto", "protos", "Doc", "More");
    assert_int_equal(add(&set), CEREUS_OK);
    expect_file("protos.Doc", &set);
}

static void types_stands_for_google_protobuf(void **state)
{
    part set = make_set("google/protobuf/empty.proto", "google.protobuf", "Empty", "In");
    assert_int_equal(add(&set), CEREUS_OK);
    expect_file("types.Empty", &set);
    expect_file("google.protobuf.Empty", &set);
    char name[2000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    memcpy(name, "types.", 6);
    expect_unknown(name);
}

static void the_same_file_twice_is_fine_another_one_is_not(void **state)
{
    part set = make_set("chat.proto", "chat", "Room", "User");
    part changed = make_set("chat.proto", "chat", "Hall", "User");
    part taken = make_set("other.proto", "chat", "Room", "Guest");
    assert_int_equal(add(&set), CEREUS_OK);
    assert_int_equal(add(&set), CEREUS_OK);
    assert_int_equal(add(&changed), CEREUS_E_EXISTS);
    assert_string_equal(err.msg, "descriptors of chat.proto: chat.proto is known from chat.proto already");
    assert_int_equal(add(&taken), CEREUS_E_EXISTS);
    assert_string_equal(err.msg, "descriptors of other.proto: chat.Room is known from chat.proto already");
    expect_unknown("other.proto"); /* nothing of it was taken */
    expect_file("chat.Room", &set);
}

static void what_is_no_set_is_refused(void **state)
{
    part set = make_set("chat.proto", "chat", "Room", "User");
    for (size_t len = 0; len < set.len; len++) {
        part cut = set;
        cut.len = len;
        assert_int_equal(add(&cut), CEREUS_E_MALFORMED);
    }
    part nameless = {.bytes = {0x0a, 0}, .len = 2};
    assert_int_equal(add(&nameless), CEREUS_E_MALFORMED);
    assert_string_equal(err.msg, "descriptors: a file without a name; give what `protoc --descriptor_set_out` writes");
    expect_unknown("chat.Room");
}

static void any_changed_byte_is_taken_or_refused(void **state)
{
    part set = make_set("chat.proto", "chat", "Room", "User");
    for (size_t i = 0; i < set.len; i++) {
        for (unsigned value = 0; value < 256; value += 5) {
            part changed = set;
            changed.bytes[i] = (uint8_t)value;
            teardown(state);
            assert_int_equal(setup(state), 0);
            cereus_status st = add(&changed);
            assert_true(st == CEREUS_OK || st == CEREUS_E_MALFORMED || st == CEREUS_E_EXISTS);
        }
    }
}

static void out_of_memory_leaves_the_table_as_it_was(void **state)
{
    part set = make_set("chat.proto", "chat", "Room", "User");
    for (size_t n = 1;; n++) {
        crs_alloc_fail_at(n);
        cereus_status st = add(&set);
        crs_alloc_fail_at(0);
        if (st == CEREUS_OK)
            break;
        assert_int_equal(st, CEREUS_E_NOMEM);
        expect_unknown("chat.Room");
        expect_unknown("chat.proto");
        assert_in_range(n, 1, 100);
    }
    expect_file("chat.Room", &set);
}

#define WITH_TABLE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
TEST_MAIN(WITH_TABLE(a_file_is_found_by_its_name_and_by_those_of_its_messages),
          WITH_TABLE(a_file_without_a_package_is_found_by_bare_names), WITH_TABLE(pitayas_own_types_are_known),
          WITH_TABLE(a_game_may_bring_its_own_copy_of_them), WITH_TABLE(types_stands_for_google_protobuf),
          WITH_TABLE(the_same_file_twice_is_fine_another_one_is_not), WITH_TABLE(what_is_no_set_is_refused),
          WITH_TABLE(any_changed_byte_is_taken_or_refused), WITH_TABLE(out_of_memory_leaves_the_table_as_it_was))
