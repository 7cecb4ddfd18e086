/* tests/unit/cluster/test_etcd_cluster.c: apps that find one another through etcd and call one another over local sockets. */
#include "cluster.h"
#include "etcd.h"

static test_etcd etcd;

static cereus_test_app *member(const char *type, const char *id, bool frontend)
{
    cereus_test_app *t = test_member(type, id, frontend);
    cereus_test_set(t, "cereus.cluster", "etcd");
    cereus_test_set(t, "cereus.cluster.rpc", "local");
    cereus_test_set(t, "cereus.log.level", "error");
    cereus_test_set(t, "pitaya.cluster.sd.etcd.endpoints", etcd.endpoint);
    cereus_test_set(t, "pitaya.cluster.sd.etcd.shutdown.delay", "10ms");
    return t;
}

static int open_world(void **state)
{
    test_etcd_open(&etcd, NULL);
    return test_make_dir(state);
}

static int close_world(void **state)
{
    test_etcd_close(&etcd);
    nftw(test_dir, test_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static const cereus_method room[] = {CEREUS_RAW_REQUEST("echo", echo)};

static cereus_status who(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const cereus_server *s = cereus_server_by_id(ctx, (const char *)in.data);
    const char *zone = s ? cereus_server_metadata(ctx, s, "zone") : NULL;
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%s %s", s ? s->type : "none", zone ? zone : ""));
    return CEREUS_OK;
}

static const cereus_method gate[] = {CEREUS_RAW_REQUEST("who", who)};

static cereus_test_app *start_room(const char *id)
{
    cereus_test_app *t = member("room", id, false);
    cereus_error err;
    assert_int_equal(cereus_app_register(cereus_test_get_app(t), "room", room, 1, NULL, &err), CEREUS_OK);
    assert_int_equal(cereus_app_set_metadata(cereus_test_get_app(t), "zone", "eu-1"), CEREUS_OK);
    cereus_test_start(t);
    return t;
}

static cereus_test_app *start_connector(const char *id)
{
    cereus_test_app *t = member("connector", id, true);
    cereus_error err;
    assert_int_equal(cereus_app_register(cereus_test_get_app(t), "gate", gate, 1, NULL, &err), CEREUS_OK);
    cereus_test_start(t);
    return t;
}

static void who_is_told_where_etcd_is_goes_there(void **state)
{
    cereus_test_app *named = start_room("room-1"), *t = test_member("connector", "gate-1", true);
    cereus_error err;
    assert_int_equal(cereus_app_register(cereus_test_get_app(t), "gate", gate, 1, NULL, &err), CEREUS_OK);
    cereus_test_set(t, "cereus.cluster.rpc", "local");
    cereus_test_set(t, "pitaya.cluster.sd.etcd.endpoints", etcd.endpoint);
    cereus_test_start(t);
    cereus_test_client *c = cereus_test_connect(t, CEREUS_TEST_TCP);
    assert_string_equal(cereus_test_call(c, "connector.gate.who", "room-1"), "room eu-1");
    cereus_test_end(t);
    cereus_test_end(named);
}

static void messages_reach_servers_that_etcd_names(void **state)
{
    cereus_test_app *back = start_room("room-1"), *front = start_connector("gate-1");
    assert_true(cereus_app_is_ready(cereus_test_get_app(front)));
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    assert_string_equal(cereus_test_call(c, "room.room.echo", "hello"), "hello");
    assert_string_equal(cereus_test_call(c, "connector.gate.who", "room-1"), "room eu-1");
    cereus_test_end(back);
    while (strcmp(cereus_test_call(c, "connector.gate.who", "room-1"), "none ") != 0)
        ;
    const cereus_test_event *e = cereus_test_call_fails(c, "room.room.echo", "x", "PIT-500");
    assert_string_equal(e->msg, "no servers available of this type");
    back = start_room("room-2");
    while (strcmp(cereus_test_call(c, "connector.gate.who", "room-2"), "room eu-1") != 0)
        ;
    assert_string_equal(cereus_test_call(c, "room.room.echo", "again"), "again");
    cereus_test_end(front);
    cereus_test_end(back);
}

static void messages_go_on_while_etcd_is_away(void **state)
{
    cereus_test_app *back = start_room("room-1"), *front = start_connector("gate-1");
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    test_etcd_kill(&etcd);
    while (cereus_app_is_ready(cereus_test_get_app(front)))
        usleep(1000);
    assert_string_equal(cereus_test_call(c, "room.room.echo", "hello"), "hello");
    assert_true(test_etcd_run(&etcd));
    while (!cereus_app_is_ready(cereus_test_get_app(front)))
        usleep(1000);
    assert_string_equal(cereus_test_call(c, "room.room.echo", "hello"), "hello");
    cereus_test_end(front);
    cereus_test_end(back);
}

static void a_start_without_etcd_fails_with_the_key_to_mend(void **state)
{
    cereus_test_app *t = member("room", "room-1", false);
    test_etcd_kill(&etcd);
    cereus_test_set(t, "pitaya.cluster.sd.etcd.dialtimeout", "200ms");
    const char *why = cereus_test_start_fails(t, CEREUS_E_FAILED);
    assert_non_null(strstr(why, "pitaya.cluster.sd.etcd.endpoints: etcd 127.0.0.1:"));
    cereus_test_end(t);
}

static void a_server_stops_also_when_etcd_is_away(void **state)
{
    cereus_test_app *t = member("room", "room-1", false);
    cereus_test_set(t, "pitaya.cluster.sd.etcd.revoke.timeout", "200ms");
    cereus_test_start(t);
    test_etcd_kill(&etcd);
    cereus_test_end(t);
}

TEST_MAIN(cmocka_unit_test_setup_teardown(messages_reach_servers_that_etcd_names, open_world, close_world),
          cmocka_unit_test_setup_teardown(who_is_told_where_etcd_is_goes_there, open_world, close_world),
          cmocka_unit_test_setup_teardown(messages_go_on_while_etcd_is_away, open_world, close_world),
          cmocka_unit_test_setup_teardown(a_start_without_etcd_fails_with_the_key_to_mend, open_world, close_world),
          cmocka_unit_test_setup_teardown(a_server_stops_also_when_etcd_is_away, open_world, close_world))
