/* tests/unit/ext/test_etcd_connect.c: an etcd that stops, dies, comes late; users; TLS. */
#include "etcd_world.h"

static void a_stopped_etcd_is_noticed_and_found_again(void **state)
{
    world w;
    memset(&w, 0, sizeof w);
    test_real_loop_open(&w.t);
    test_etcd_open(&w.server, NULL);
    world_connect(&w, (crs_etcd_options){.keepalive_ms = 500, .keepalive_timeout_ms = 300, .dial_timeout_ms = 500});
    seen s = {0};
    watch(&w, &s, "s/", put(&w, "x", "", 0) + 1);
    put(&w, "s/1", "", 0);
    TEST_UNTIL(&w.t, s.events == 1);
    pause_server(&w);
    TEST_UNTIL(&w.t, !w.ready); /* its kernel still takes bytes, and new connections */
    answer a = call_for(&w, &(crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")}, 700);
    assert_int_equal(a.status, CEREUS_E_UNAVAILABLE); /* it was never made */
    assert_non_null(strstr(a.err.msg, w.server.endpoint));
    kill(w.server.pid, SIGCONT);
    TEST_UNTIL(&w.t, w.ready);
    put(&w, "s/2", "", 0);
    TEST_UNTIL(&w.t, s.events == 2);
    assert_string_equal(s.text, "+s/1= +s/2= ");
    world_close(&w);
}

static void a_call_that_etcd_does_not_answer_times_out(void **state)
{
    world w;
    world_open(&w);
    put(&w, "x", "", 0);
    pause_server(&w);
    answer a = call_for(&w, &(crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")}, 200);
    assert_int_equal(a.status, CEREUS_E_TIMEOUT);
    assert_non_null(strstr(a.err.msg, w.server.endpoint));
    world_close(&w);
}

static void calls_wait_for_an_etcd_that_is_not_there_yet_and_say_so_when_it_never_comes(void **state)
{
    world w;
    world_open(&w);
    put(&w, "x", "1", 0);
    test_etcd_kill(&w.server);
    answer a = call_for(&w, &(crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")}, 300);
    assert_int_equal(a.status, CEREUS_E_UNAVAILABLE);
    assert_non_null(strstr(a.err.msg, w.server.endpoint));
    TEST_UNTIL(&w.t, !w.ready);
    answer late = {0};
    crs_etcd_op op = {.kind = CRS_ETCD_RANGE, .key = str("x")};
    assert_int_equal(crs_etcd_start(w.etcd, &op, 50000, on_answer, &late, &w.err), CEREUS_OK);
    assert_true(test_etcd_run(&w.server));
    TEST_UNTIL(&w.t, late.done);
    assert_int_equal(late.status, CEREUS_OK);
    assert_int_equal(late.result.kv_count, 1);
    world_close(&w);
}

static void an_endpoint_that_is_down_is_passed_over(void **state)
{
    world w;
    memset(&w, 0, sizeof w);
    test_real_loop_open(&w.t);
    test_etcd_open(&w.server, NULL);
    char dead[2][32];
    snprintf(dead[0], sizeof dead[0], "127.0.0.1:%u", test_free_port());
    snprintf(dead[1], sizeof dead[1], "localhost:%u", test_free_port()); /* a name to resolve */
    const char *endpoints[] = {dead[0], dead[1], w.server.endpoint};
    world_connect(&w, (crs_etcd_options){.endpoints = endpoints, .endpoint_count = 3});
    put(&w, "x", "", 0);
    assert_true(COUNTED(&w, grpc_connect_failures) >= 2);
    test_etcd_kill(&w.server);
    TEST_UNTIL(&w.t, !w.ready);
    assert_true(test_etcd_run(&w.server));
    TEST_UNTIL(&w.t, w.ready); /* it went round */
    assert_int_equal(count(&w, "x", false), 1);
    world_close(&w);
}

/* ---- three members ---- */

static void open_cluster(test_etcd *members)
{
    char cluster[200] = "";
    for (size_t i = 0; i < 3; i++) {
        test_etcd *m = &members[i];
        *m = (test_etcd){.dir = "/tmp/cereus-etcd-XXXXXX"};
        assert_non_null(mkdtemp(m->dir));
        m->port = test_free_port();
        m->peer_port = test_free_port();
        snprintf(m->endpoint, sizeof m->endpoint, "127.0.0.1:%u", m->port);
        snprintf(m->name, sizeof m->name, "m%zu", i);
        snprintf(cluster + strlen(cluster), sizeof cluster - strlen(cluster), "%s%s=http://127.0.0.1:%u", i ? "," : "",
                 m->name, m->peer_port);
    }
    for (size_t i = 0; i < 3; i++) {
        memcpy(members[i].cluster, cluster, sizeof cluster);
        assert_true(test_etcd_run(&members[i]));
    }
}

static void a_cluster_is_used_while_two_of_three_live_and_found_again_after(void **state)
{
    world w;
    test_etcd members[3];
    memset(&w, 0, sizeof w);
    test_real_loop_open(&w.t);
    open_cluster(members);
    const char *endpoints[] = {members[0].endpoint, members[1].endpoint, members[2].endpoint};
    world_connect(&w, (crs_etcd_options){.endpoints = endpoints, .endpoint_count = 3});
    crs_etcd_op op = {.kind = CRS_ETCD_PUT, .key = str("x"), .value = str("")};
    answer a;
    do
        a = call_for(&w, &op, 10000); /* until they have found their leader */
    while (a.status);
    seen s = {0};
    watch(&w, &s, "s/", a.result.revision + 1);
    op.key = str("s/1");
    while (call_for(&w, &op, 10000).status)
        ;
    TEST_UNTIL(&w.t, s.events >= 1);
    size_t before = s.events;

    test_etcd_kill(&members[0]); /* the one in use, most likely */
    op.key = str("s/2");
    while (call_for(&w, &op, 10000).status)
        ;
    TEST_UNTIL(&w.t, s.events > before);
    before = s.events;

    test_etcd_kill(&members[1]); /* what is left has no leader */
    a = call_for(&w, &op, 3000);
    assert_true(a.status == CEREUS_E_UNAVAILABLE || a.status == CEREUS_E_TIMEOUT);
    assert_non_null(strstr(a.err.msg, "etcd 127.0.0.1:"));
    assert_true(test_etcd_run(&members[0]));
    op.key = str("s/3");
    while (call_for(&w, &op, 10000).status)
        ;
    TEST_UNTIL(&w.t, strstr(s.text, "+s/3="));
    w.etcd = crs_etcd_close(w.etcd);
    test_real_loop_close(&w.t);
    for (size_t i = 0; i < 3; i++)
        test_etcd_close(&members[i]);
}

/* ---- authentication ---- */

static void enable_auth(test_etcd *server)
{
    static const char *const posts[][2] = {
        {"/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"secret\"}"},
        {"/v3/auth/role/add", "{\"name\":\"root\"}"},
        {"/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}"},
        {"/v3/auth/user/add", "{\"name\":\"guest\",\"password\":\"guest\"}"},
        {"/v3/auth/enable", "{}"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(posts); i++)
        assert_int_equal(test_etcd_post(server, posts[i][0], posts[i][1]), 200);
}

static void user_and_password_are_shown_and_shown_again_after_a_restart(void **state)
{
    world w;
    memset(&w, 0, sizeof w);
    test_real_loop_open(&w.t);
    test_etcd_open(&w.server, NULL);
    world_connect(&w, (crs_etcd_options){.user = "root", .password = "secret"});
    put(&w, "before", "", 0); /* authentication is not enabled yet */
    assert_int_equal(COUNTED(&w, etcd_authentications), 0);
    enable_auth(&w.server);
    seen s = {0};
    watch(&w, &s, "s/", put(&w, "x", "", 0) + 1); /* without a token it is refused, so one is got */
    assert_int_equal(COUNTED(&w, etcd_authentications), 1);
    put(&w, "s/1", "", 0);
    TEST_UNTIL(&w.t, s.events == 1);
    test_etcd_kill(&w.server); /* tokens are in its memory only */
    TEST_UNTIL(&w.t, !w.ready);
    assert_true(test_etcd_run(&w.server));
    TEST_UNTIL(&w.t, w.ready);
    put(&w, "s/2", "", 0);
    TEST_UNTIL(&w.t, s.events == 2);
    assert_true(COUNTED(&w, etcd_authentications) >= 2);
    assert_int_equal(COUNTED(&w, etcd_auth_failures), 0);
    world_close(&w);
}

static void a_wrong_password_is_named_and_no_permission_too(void **state)
{
    world w;
    memset(&w, 0, sizeof w);
    test_real_loop_open(&w.t);
    test_etcd_open(&w.server, NULL);
    enable_auth(&w.server);
    world_connect(&w, (crs_etcd_options){.user = "root", .password = "wrong"});
    answer a;
    do { /* until etcd has said no: it takes its time over a password */
        a = call_for(&w, &(crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")}, 500);
        assert_int_equal(a.status, CEREUS_E_UNAVAILABLE);
    } while (!strstr(a.err.msg, "invalid user ID or password"));
    assert_true(COUNTED(&w, etcd_auth_failures) >= 1);
    assert_false(crs_etcd_ready(w.etcd));
    w.etcd = crs_etcd_close(w.etcd);
    world_connect(&w, (crs_etcd_options){.user = "guest", .password = "guest"});
    a = call(&w, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")});
    assert_int_equal(a.status, CEREUS_E_INVALID);
    assert_non_null(strstr(a.err.msg, "permission denied"));
    seen s = {0};
    watch(&w, &s, "s/", 1);
    TEST_UNTIL(&w.t, s.failed);
    assert_non_null(strstr(s.err.msg, "permission denied"));
    world_close(&w);
}

/* ---- TLS ---- */

static void tls_is_spoken_and_checked(void **state)
{
    const char *dir = getenv("TEST_TLS");
    char files[4][300];
    assert_non_null(dir);
    static const char *const names[] = {"server.crt", "server.key", "other.crt", "other.key"};
    for (size_t i = 0; i < 4; i++)
        snprintf(files[i], sizeof files[i], "%s/%s", dir, names[i]);
    const char *server_tls[] = {files[0], files[0], files[1]};

    world w;
    memset(&w, 0, sizeof w);
    test_real_loop_open(&w.t);
    test_etcd_open(&w.server, server_tls);
    crs_tls_client_options tls = {.ca_file = files[0], .cert_file = files[0], .key_file = files[1]};
    world_connect(&w, (crs_etcd_options){.tls = &tls});
    put(&w, "x", "", 0);
    uint8_t *zeros = calloc(1, 1 << 20);
    answer a =
        call(&w, (crs_etcd_op){.kind = CRS_ETCD_PUT, .key = str("big"), .value = cereus_slice_of(zeros, 1 << 20)});
    assert_int_equal(a.status, CEREUS_OK);
    free(zeros);
    seen s = {0};
    watch(&w, &s, "big", 1);
    TEST_UNTIL(&w.t, s.events == 1);
    w.etcd = crs_etcd_close(w.etcd);

    struct {
        crs_tls_client_options tls;
        const char *says;
    } bad[] = {
        {{.ca_file = files[2], .cert_file = files[0], .key_file = files[1]}, "certificate is not accepted"},
        {{.ca_file = files[0], .cert_file = files[0], .key_file = files[1], .server_name = "elsewhere.example"},
         "server name"},
        {{.ca_file = files[0]},
         NULL}, /* it wants a certificate of ours; how the refusal looks depends on who is first */
    };
    for (size_t i = 0; i < CEREUS_COUNT(bad); i++) {
        world_connect(&w, (crs_etcd_options){.tls = &bad[i].tls});
        a = call_for(&w, &(crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("x")}, 1500);
        assert_int_equal(a.status, CEREUS_E_UNAVAILABLE);
        if (bad[i].says)
            assert_non_null(strstr(a.err.msg, bad[i].says));
        w.etcd = crs_etcd_close(w.etcd);
    }
    const char *endpoints[] = {w.server.endpoint};
    crs_etcd_options opt = {.endpoints = endpoints, .endpoint_count = 1};
    opt.tls = &(crs_tls_client_options){.ca_file = "/nowhere/ca.pem"};
    assert_int_equal(crs_etcd_open(w.t.loop, &opt, &w.etcd, &w.err), CEREUS_E_INVALID);
    assert_non_null(strstr(w.err.msg, "/nowhere/ca.pem"));
    opt.tls = &(crs_tls_client_options){.ca_file = files[0], .cert_file = files[0], .key_file = files[3]};
    assert_int_equal(crs_etcd_open(w.t.loop, &opt, &w.etcd, &w.err), CEREUS_E_INVALID);
    assert_non_null(strstr(w.err.msg, "other.key"));
    opt.tls = &(crs_tls_client_options){.ca_file = files[0], .cert_file = files[0]};
    assert_int_equal(crs_etcd_open(w.t.loop, &opt, &w.etcd, &w.err), CEREUS_E_INVALID);
    world_close(&w);
}

TEST_MAIN(cmocka_unit_test(a_stopped_etcd_is_noticed_and_found_again),
          cmocka_unit_test(a_call_that_etcd_does_not_answer_times_out),
          cmocka_unit_test(calls_wait_for_an_etcd_that_is_not_there_yet_and_say_so_when_it_never_comes),
          cmocka_unit_test(an_endpoint_that_is_down_is_passed_over),
          cmocka_unit_test(a_cluster_is_used_while_two_of_three_live_and_found_again_after),
          cmocka_unit_test(user_and_password_are_shown_and_shown_again_after_a_restart),
          cmocka_unit_test(a_wrong_password_is_named_and_no_permission_too),
          cmocka_unit_test(tls_is_spoken_and_checked))
