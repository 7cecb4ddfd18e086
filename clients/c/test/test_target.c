/* clients/c/test/test_target.c: names that need a resolver are not looked up here. */
#include "test.h"

#include "target.h"

static void url_is_taken_apart(void **state)
{
    crs_client_target t;
    assert_int_equal(crs_client_target_find("tcp://127.0.0.1:3250", &t, NULL), CEREUS_OK);
    assert_false(t.websocket);
    assert_int_equal(t.port, 3250);
    assert_string_equal(t.host, "127.0.0.1");
    assert_int_equal(t.address_count, 1);
    assert_int_equal(t.addresses[0].addr.v4.sin_family, AF_INET);
    assert_int_equal(ntohs(t.addresses[0].addr.v4.sin_port), 3250);
    assert_int_equal(ntohl(t.addresses[0].addr.v4.sin_addr.s_addr), INADDR_LOOPBACK);

    assert_int_equal(crs_client_target_find("ws://[::1]:99/a/b?c=d#e", &t, NULL), CEREUS_OK);
    assert_true(t.websocket);
    assert_string_equal(t.host, "::1");
    assert_string_equal(t.authority, "[::1]:99");
    assert_string_equal(t.path, "/a/b?c=d");
    assert_int_equal(t.addresses[0].addr.v6.sin6_family, AF_INET6);
    assert_int_equal(ntohs(t.addresses[0].addr.v6.sin6_port), 99);

    assert_int_equal(crs_client_target_find("ws://localhost?q", &t, NULL), CEREUS_OK);
    assert_int_equal(t.port, 80);
    assert_string_equal(t.path, "/?q");
    assert_string_equal(t.authority, "localhost");
    assert_int_equal(t.address_count, 2);
    assert_int_equal(crs_client_target_find("tcp://[::1]:1/", &t, NULL), CEREUS_OK);

    assert_int_equal(crs_client_target_find("tls://127.0.0.1:7", &t, NULL), CEREUS_OK);
    assert_true(t.tls && !t.websocket);
    assert_int_equal(t.port, 7);
    assert_int_equal(crs_client_target_find("wss://127.0.0.1/p", &t, NULL), CEREUS_OK);
    assert_true(t.tls && t.websocket);
    assert_int_equal(t.port, 443);
    assert_string_equal(t.authority, "127.0.0.1");
    assert_string_equal(t.path, "/p");
}

static void url_that_makes_no_sense_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "localhost:1",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:123456",
        "tcp://127.0.0.1:1x",
        "tcp://127.0.0.1:1/path",
        "tcp://:1",
        "tcp://[::1:1",
        "tcp://[::1]1",
        "tcp://[]:1",
        "tls://127.0.0.1",
        "tls://127.0.0.1:1/path",
        "wss://user@127.0.0.1/",
        "ws://a b/",
        "ws://user@127.0.0.1/",
        "ws://127.0.0.1/a b",
        "ws://127.0.0.1/a\r\nX: y",
        "ws://127.0.0.1:/",
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        crs_client_target t;
        cereus_error err = {0};
        char *copy = (char *)test_copy(bad[i], strlen(bad[i]) + 1);
        assert_int_equal(crs_client_target_find(copy, &t, &err), CEREUS_E_INVALID);
        assert_int_equal(err.status, CEREUS_E_INVALID);
        free(copy);
    }
    char path[2000] = "ws://127.0.0.1/";
    memset(path + strlen(path), 'p', 1500);
    crs_client_target t;
    assert_int_equal(crs_client_target_find(path, &t, NULL), CEREUS_E_INVALID);
    assert_int_equal(crs_client_target_find("ftp://127.0.0.1:1", &t, NULL), CEREUS_E_UNSUPPORTED);
}

TEST_MAIN(cmocka_unit_test(url_is_taken_apart), cmocka_unit_test(url_that_makes_no_sense_is_refused))
