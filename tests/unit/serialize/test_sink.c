/* Where encoders write. */
#include "test.h"

#include "serialize/sink.h"

static cereus_status append(void *writer, const void *data, size_t len)
{
    return crs_bytes_append(writer, data, len);
}

/* Write pieces of many lengths; the sum arrives whatever the target. */
static void write_pieces(crs_sink *s)
{
    static char piece[3000];
    for (size_t len = 0; len < sizeof piece; len += 1 + len / 3) {
        memset(piece, 'a' + (int)(len % 26), len);
        crs_sink_put(s, piece, len);
        crs_sink_byte(s, '|');
        assert_true(crs_sink_room(s, CRS_SINK_BLOCK));
        memcpy(s->at, "room", 4);
        s->at += 4;
    }
}

static void both_targets_get_the_same(void **state)
{
    crs_bytes direct, written;
    crs_bytes_init(&direct, 1 << 20);
    crs_bytes_init(&written, 1 << 20);
    crs_sink s;
    uint8_t block[CRS_SINK_BLOCK];
    crs_sink_init_bytes(&s, &direct, NULL);
    write_pieces(&s);
    assert_int_equal(crs_sink_finish(&s), CEREUS_OK);
    crs_sink_init_write(&s, block, append, &written, NULL);
    write_pieces(&s);
    assert_int_equal(crs_sink_finish(&s), CEREUS_OK);
    assert_true(crs_slice_eq(crs_bytes_slice(&direct), crs_bytes_slice(&written)));
    crs_bytes_fini(&direct);
    crs_bytes_fini(&written);
}

static void the_first_failure_stays(void **state)
{
    crs_bytes small;
    cereus_error err;
    crs_bytes_init(&small, 10);
    crs_sink s;
    crs_sink_init_bytes(&s, &small, &err);
    crs_sink_put(&s, "0123456789", 10);
    assert_int_equal(s.status, CEREUS_OK);
    crs_sink_byte(&s, 'x');
    crs_sink_fail(&s, CEREUS_E_INVALID, "another");
    assert_false(crs_sink_room(&s, 1));
    crs_sink_put(&s, "more", 4);
    assert_int_equal(crs_sink_finish(&s), CEREUS_E_TOO_LONG);
    assert_string_equal(err.msg, "the encoded message cannot be written: longer than the limit");
    crs_bytes_fini(&small);
}

TEST_MAIN(cmocka_unit_test(both_targets_get_the_same), cmocka_unit_test(the_first_failure_stays))
