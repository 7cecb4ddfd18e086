/* clients/c/test/test_upgrade.c: the example of RFC 6455 1.3, and what may go wrong with it. */
#include "test.h"

#include "upgrade.h"

static const char key[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const char good[] = "HTTP/1.1 101 Switching Protocols\r\n"
                           "upgrade: WebSocket\r\n"
                           "Connection: keep-alive , Upgrade\r\n"
                           "Date: today\r\n"
                           "Sec-WebSocket-Accept:s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                           "\r\n";

static void key_is_base64(void **state)
{
    char out[CRS_WS_KEY_LEN];
    crs_client_upgrade_key((const uint8_t *)"the sample nonce", out);
    assert_memory_equal(out, key, sizeof out);
}

static void request_is_an_upgrade(void **state)
{
    crs_bytes out;
    crs_bytes_init(&out, 1000);
    assert_int_equal(crs_client_upgrade_request("/x?y", "h:1", key, &out), CEREUS_OK);
    crs_ws_upgrade upgrade;
    size_t used;
    assert_int_equal(crs_http_head_parse(crs_bytes_slice(&out), 1000, &upgrade, &used), CEREUS_OK);
    assert_int_equal(upgrade.answer, CRS_WS_ACCEPT);
    assert_memory_equal(upgrade.key, key, sizeof upgrade.key);
    assert_int_equal(used, out.len);
    crs_bytes_fini(&out);
}

static void answer_is_awaited_to_its_end(void **state)
{
    size_t used;
    for (size_t len = 0; len < sizeof good - 1; len++) {
        uint8_t *part = test_copy(good, len);
        assert_int_equal(crs_client_upgrade_answer(cereus_slice_of(part, len), key, &used, NULL), CEREUS_E_AGAIN);
        free(part);
    }
    uint8_t *whole = test_copy(good, sizeof good);
    assert_int_equal(crs_client_upgrade_answer(cereus_slice_of(whole, sizeof good), key, &used, NULL), CEREUS_OK);
    assert_int_equal(used, sizeof good - 1);
    free(whole);
}

static void answer_with_any_changed_byte_is_safe(void **state)
{
    uint8_t *text = test_copy(good, sizeof good - 1);
    for (size_t at = 0; at < sizeof good - 1; at++) {
        for (int value = 0; value < 256; value++) {
            size_t used;
            text[at] = (uint8_t)value;
            cereus_status st = crs_client_upgrade_answer(cereus_slice_of(text, sizeof good - 1), key, &used, NULL);
            assert_true(st != CEREUS_OK || used <= sizeof good - 1);
        }
        text[at] = (uint8_t)good[at];
    }
    free(text);
}

static void answer_that_is_not_ours_is_refused(void **state)
{
    static const struct {
        const char *text;
        cereus_status status;
    } cases[] = {
        {"HTTP/2", CEREUS_E_AGAIN},
        {"HTTP/2 101 x\r\n\r\n", CEREUS_E_MALFORMED},
        {"HTTP/1.1 1x1 x\r\n\r\n", CEREUS_E_MALFORMED},
        {"HTTP/1.1 101\r\n\r\n", CEREUS_E_MALFORMED},
        {"HTTP/1.1 302 Elsewhere\r\n\r\n", CEREUS_E_FAILED},
        {"HTTP/1.1 502 Bad\r\n\r\n", CEREUS_E_UNAVAILABLE},
        {"HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
         "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
         CEREUS_E_MALFORMED},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Accept: "
         "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
         CEREUS_E_MALFORMED},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: x\r\n"
         "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
         CEREUS_E_MALFORMED},
        {"HTTP/1.1 101 x\r\nno colon\r\n\r\n", CEREUS_E_MALFORMED},
    };
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        size_t used, len = strlen(cases[i].text);
        uint8_t *text = test_copy(cases[i].text, len);
        assert_int_equal(crs_client_upgrade_answer(cereus_slice_of(text, len), key, &used, NULL), cases[i].status);
        free(text);
    }
    uint8_t *endless = malloc(CRS_CLIENT_UPGRADE_HEAD_MAX);
    assert_non_null(endless);
    memset(endless, 'x', CRS_CLIENT_UPGRADE_HEAD_MAX);
    memcpy(endless, good, sizeof good - 3); /* all but the empty line */
    size_t used;
    assert_int_equal(crs_client_upgrade_answer(cereus_slice_of(endless, CRS_CLIENT_UPGRADE_HEAD_MAX), key, &used, NULL),
                     CEREUS_E_MALFORMED);
    free(endless);
}

TEST_MAIN(cmocka_unit_test(key_is_base64), cmocka_unit_test(request_is_an_upgrade),
          cmocka_unit_test(answer_is_awaited_to_its_end), cmocka_unit_test(answer_with_any_changed_byte_is_safe),
          cmocka_unit_test(answer_that_is_not_ours_is_refused))
