/* tests/unit/base/test_sha1.c: the examples of RFC 3174 and RFC 4648, and the lengths around a block's end. */
#include "test.h"

#include "base/sha1.h"

static void assert_sha1(const char *text, size_t repeat, const char *hex)
{
    size_t len = strlen(text);
    uint8_t *in = malloc(len * repeat + 1);
    uint8_t digest[CRS_SHA1_LEN];
    char got[2 * CRS_SHA1_LEN + 1];
    for (size_t i = 0; i < repeat; i++)
        memcpy(in + i * len, text, len);
    crs_sha1(cereus_slice_of(in, len * repeat), digest);
    for (size_t i = 0; i < CRS_SHA1_LEN; i++)
        snprintf(got + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(got, hex);
    free(in);
}

static void sha1_gives_the_digests_of_the_rfc(void **state)
{
    assert_sha1("abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    assert_sha1("a", 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    assert_sha1("0123456701234567012345670123456701234567012345670123456701234567", 10,
                "dea356a2cddd90c7a7ecedc5ebb563934f460452");
    assert_sha1("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

static void sha1_pads_right_around_the_end_of_a_block(void **state)
{
    assert_sha1("a", 55, "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    assert_sha1("a", 56, "c2db330f6083854c99d4b5bfb6e8f29f201be699");
    assert_sha1("a", 63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
    assert_sha1("a", 64, "0098ba824b5c16427bd7a1122a5a442a25ec644d");
}

static void base64_pads_as_the_rfc_says(void **state)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < CEREUS_COUNT(rows); i++) {
        char out[16] = {0};
        crs_base64(cereus_slice_str(rows[i][0]), out);
        assert_string_equal(out, rows[i][1]);
    }
}

TEST_MAIN(cmocka_unit_test(sha1_gives_the_digests_of_the_rfc),
          cmocka_unit_test(sha1_pads_right_around_the_end_of_a_block), cmocka_unit_test(base64_pads_as_the_rfc_says))
