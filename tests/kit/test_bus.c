/* tests/kit/test_bus.c: what the bus promises to tests: what is late is late, what is cut is lost, who has crashed is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <cereus/cereus.h>
#include <cereus/test_bus.h>

static cereus_test_bus *bus;
static cereus_test_app *front, *room;

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = cereus_slice_str(
        cereus_ctx_printf(ctx, "%s says %.*s", cereus_app_id(cereus_ctx_app(ctx)), (int)in.len, (const char *)in.data));
    return CEREUS_OK;
}

static cereus_status members(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const cereus_server *const *list;
    (void)in;
    *out = cereus_slice_str(cereus_ctx_printf(ctx, "%zu", cereus_servers_by_type(ctx, NULL, &list)));
    return CEREUS_OK;
}

static const cereus_method room_methods[] = {CEREUS_RAW_REQUEST("echo", echo)};
static const cereus_method gate_methods[] = {CEREUS_RAW_REQUEST("members", members)};

static cereus_test_app *make(const char *type, const char *id)
{
    bool frontend = strcmp(type, "gate") == 0;
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = type, .frontend = frontend, .cluster = true});
    assert_int_equal(frontend ? cereus_app_register(app, "gate", gate_methods, 1, NULL, NULL)
                              : cereus_app_register(app, "room", room_methods, 1, NULL, NULL),
                     CEREUS_OK);
    cereus_test_app *t = front ? cereus_test_new_beside(app, front) : cereus_test_new(app, CEREUS_TEST_MEMORY);
    cereus_test_set(t, "cereus.id", id);
    cereus_test_bus_join(bus, t);
    return t;
}

static int open_bus(void **state)
{
    (void)state;
    bus = cereus_test_bus_new(7);
    front = NULL;
    front = make("gate", "gate-1");
    room = make("room", "room-1");
    cereus_test_start(front);
    cereus_test_start(room);
    return 0;
}

static int close_bus(void **state)
{
    (void)state;
    cereus_test_end(room);
    cereus_test_end(front);
    bus = cereus_test_bus_free(bus);
    return 0;
}

static void servers_on_it_find_and_call_one_another(void **state)
{
    (void)state;
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_WS);
    assert_string_equal(cereus_test_call(c, "gate.gate.members", ""), "2");
    assert_string_equal(cereus_test_call(c, "room.room.echo", "hi"), "room-1 says hi");
    assert_true(cereus_app_is_ready(cereus_test_get_app(front)));
    cereus_test_app *twin = make("room", "room-1");
    assert_non_null(strstr(cereus_test_start_fails(twin, CEREUS_E_EXISTS), "\"room-1\" is on the bus already"));
    cereus_test_end(twin);
    assert_string_equal(cereus_test_call(c, "room.room.echo", "hi"), "room-1 says hi");
}

static void what_is_late_comes_late_and_in_order(void **state)
{
    (void)state;
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_bus_set(bus, &(cereus_test_faults){.delay_ms = 100});
    uint64_t r = cereus_test_request(c, "room.room.echo", "hi");
    cereus_test_advance(front, 199);
    assert_false(cereus_test_answered(c, r));
    cereus_test_advance(front, 1);
    assert_true(cereus_test_answered(c, r));
    cereus_test_bus_set(bus, &(cereus_test_faults){.jitter_ms = 1000});
    uint64_t first = cereus_test_request(c, "room.room.echo", "0");
    for (int i = 1; i < 20; i++)
        cereus_test_request(c, "room.room.echo", "1");
    for (int i = 0; i < 2500; i++) {
        cereus_test_advance(front, 1);
        for (uint64_t k = first + 1; k < first + 20; k++)
            assert_true(!cereus_test_answered(c, k) || cereus_test_answered(c, k - 1));
    }
    assert_true(cereus_test_answered(c, first + 19));
}

static void what_is_cut_is_lost_and_the_list_knows_of_it_when_the_lease_is_over(void **state)
{
    (void)state;
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_bus_set(bus, &(cereus_test_faults){.lease_ms = 3000});
    cereus_test_bus_cut(bus, "gate-1", "room-1");
    uint64_t r = cereus_test_request(c, "room.room.echo", "hi");
    cereus_test_advance(front, 4999);
    assert_false(cereus_test_answered(c, r));
    cereus_test_advance(front, 1);
    assert_string_equal(cereus_test_await(c, r)->code, "PIT-408");
    assert_string_equal(cereus_test_call(c, "gate.gate.members", ""), "2"); /* both can see the list */
    cereus_test_bus_mend(bus, "room-1", "gate-1");
    assert_string_equal(cereus_test_call(c, "room.room.echo", "hi"), "room-1 says hi");
    cereus_test_bus_cut(bus, "room-1", NULL);
    assert_false(cereus_app_is_ready(cereus_test_get_app(room)));
    cereus_test_advance(front, 2999);
    assert_string_equal(cereus_test_call(c, "gate.gate.members", ""), "2");
    cereus_test_advance(front, 1);
    assert_string_equal(cereus_test_call(c, "gate.gate.members", ""), "1");
    cereus_test_call_fails(c, "room.room.echo", "hi", "PIT-500");
    cereus_test_bus_mend_all(bus);
    cereus_test_settle(front); /* they hear of one another */
    assert_string_equal(cereus_test_call(c, "room.room.echo", "hi"), "room-1 says hi");
    assert_true(cereus_app_is_ready(cereus_test_get_app(room)));
}

static void who_is_paused_stands_still_and_has_missed_nothing(void **state)
{
    (void)state;
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_bus_pause(bus, room, true);
    uint64_t r = cereus_test_request(c, "room.room.echo", "hi");
    cereus_test_advance(front, 3000);
    assert_false(cereus_test_answered(c, r));
    cereus_test_bus_pause(bus, room, false);
    assert_string_equal(cereus_test_await(c, r)->body, "room-1 says hi");
    cereus_test_bus_pause(bus, front, true);
    cereus_test_advance(front, 1000000); /* no heartbeat is missed by who stands still, too */
    cereus_test_bus_pause(bus, front, false);
    assert_string_equal(cereus_test_call(c, "room.room.echo", "hi"), "room-1 says hi");
}

static void who_crashes_is_gone_and_another_may_take_its_id(void **state)
{
    (void)state;
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    cereus_test_bus_set(bus, &(cereus_test_faults){.delay_ms = 10, .lease_ms = 1000});
    uint64_t r = cereus_test_request(c, "room.room.echo", "hi");
    cereus_test_settle(front);
    cereus_test_bus_crash(bus, room);
    cereus_test_advance(front, 20); /* the way to it breaks: no need to wait for the deadline */
    assert_string_equal(cereus_test_await(c, r)->code, "PIT-500");
    cereus_test_app *next = make("room", "room-1");
    cereus_test_start(next);
    r = cereus_test_request(c, "room.room.echo", "you");
    cereus_test_advance(front, 20);
    assert_string_equal(cereus_test_await(c, r)->body, "room-1 says you");
    cereus_test_bus_crash(bus, front);
    cereus_test_expect_closed(c);
    cereus_test_end(next);
}

static void chance_is_the_seeds(void **state)
{
    (void)state;
    uint64_t traces[3];
    for (int i = 0; i < 3; i++) {
        close_bus(NULL);
        open_bus(NULL);
        cereus_test_bus_set(bus, &(cereus_test_faults){.jitter_ms = 100, .lost_ppm = 300000});
        cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
        for (int k = 0; k < 20; k++)
            cereus_test_request(c, "room.room.echo", i < 2 ? "same" : "else");
        cereus_test_advance(front, 10000);
        traces[i] = cereus_test_bus_trace(bus);
    }
    assert_true(traces[0] == traces[1]);
    assert_true(traces[0] != traces[2]);
}

#define BUS_TEST(f) cmocka_unit_test_setup_teardown(f, open_bus, close_bus)

int main(void)
{
    const struct CMUnitTest tests[] = {BUS_TEST(servers_on_it_find_and_call_one_another),
                                       BUS_TEST(what_is_late_comes_late_and_in_order),
                                       BUS_TEST(what_is_cut_is_lost_and_the_list_knows_of_it_when_the_lease_is_over),
                                       BUS_TEST(who_is_paused_stands_still_and_has_missed_nothing),
                                       BUS_TEST(who_crashes_is_gone_and_another_may_take_its_id),
                                       BUS_TEST(chance_is_the_seeds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
