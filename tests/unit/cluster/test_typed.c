/* tests/unit/cluster/test_typed.c: remotes from a .proto: one server has them, another calls them with the functions that
 * protoc-gen-cereus made. */
#include "cluster.h"

#include "seats.cereus.h"

static char taken[64];

static cereus_status on_take(cereus_ctx *ctx, const Room__Wish *req, Room__Seat *reply)
{
    if (req->row == 0)
        return cereus_fail(ctx, "SEAT-1", "no such row");
    snprintf(taken, sizeof taken, "%s in row %d", req->who, req->row);
    reply->name = cereus_ctx_printf(ctx, "%s", taken);
    return CEREUS_OK;
}

static cereus_status on_free(cereus_ctx *ctx, const Room__Wish *req)
{
    if (strcmp(req->who, "nobody") == 0)
        return cereus_fail(ctx, "SEAT-2", "nobody sits there");
    strcpy(taken, "free");
    return CEREUS_OK;
}

static cereus_status on_last(cereus_ctx *ctx, Room__Seat *reply)
{
    reply->name = cereus_ctx_printf(ctx, "%s", taken);
    return CEREUS_OK;
}

static const room_seats_service seats = {.take = on_take, .free = on_free, .last = on_last};

/** "VERB WHO ROW" */
static cereus_status ask(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    char verb[10], who[20];
    Room__Wish wish = ROOM__WISH__INIT;
    Room__Seat *seat = NULL;
    cereus_test_check(sscanf((const char *)in.data, "%9s %19s %d", verb, who, &wish.row) == 3);
    wish.who = who;
    *out = cereus_slice_str("done");
    if (strcmp(verb, "free") == 0)
        return room_seats_free_rpc(ctx, NULL, &wish);
    if (strcmp(verb, "take") == 0)
        CEREUS_TRY(room_seats_take_rpc(ctx, &(cereus_rpc_options){.server_id = "room-1"}, &wish, &seat));
    else
        CEREUS_TRY(room_seats_last_rpc(ctx, NULL, &seat));
    *out = cereus_slice_str(seat->name);
    return CEREUS_OK;
}

static const cereus_method methods[] = {CEREUS_RAW_REQUEST("ask", ask)};

static void remotes_of_a_proto_are_called_by_their_types(void **state)
{
    cereus_error err;
    assert_int_equal(test_make_dir(state), 0);
    cereus_test_app *back = test_member("room", "room-1", false), *front = test_member("connector", "gate-1", true);
    assert_int_equal(room_seats_register_remote(cereus_test_get_app(back), &seats, NULL, &err), CEREUS_OK);
    assert_int_equal(cereus_app_register(cereus_test_get_app(front), "gate", methods, 1, NULL, &err), CEREUS_OK);
    cereus_test_start(back);
    cereus_test_start(front);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    assert_string_equal(cereus_test_call(c, "connector.gate.ask", "take alice 7"), "alice in row 7");
    assert_string_equal(cereus_test_call(c, "connector.gate.ask", "last - 0"), "alice in row 7");
    assert_string_equal(cereus_test_call(c, "connector.gate.ask", "free alice 7"), "done");
    assert_string_equal(cereus_test_call(c, "connector.gate.ask", "last - 0"), "free");
    const cereus_test_event *e = cereus_test_call_fails(c, "connector.gate.ask", "take bob 0", "SEAT-1");
    assert_string_equal(e->msg, "no such row");
    e = cereus_test_call_fails(c, "connector.gate.ask", "free nobody 1", "SEAT-2");
    assert_string_equal(e->msg, "nobody sits there");
    cereus_test_call_fails(c, "room.seats.take", "", "PIT-404"); /* not for clients */
    cereus_test_end(front);
    cereus_test_end(back);
    assert_int_equal(test_remove_dir(state), 0);
}

TEST_MAIN(cmocka_unit_test(remotes_of_a_proto_are_called_by_their_types))
