/* test/test_game.c: the game, played without threads, sockets or waiting; see the manual page cereus_test.h(3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cereus/test.h>

#include "game.h"

static cereus_test_app *t;

static int set_up(void **state)
{
    (void)state;
    t = cereus_test_new(game_new(NULL), CEREUS_TEST_MEMORY);
    cereus_test_set(t, "game.greeting", "well met");
    cereus_test_start(t);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    t = cereus_test_end(t);
    return 0;
}

static void all_hear_who_joins(void **state)
{
    (void)state;
    cereus_test_client *ada = cereus_test_connect(t, CEREUS_TEST_TCP);
    cereus_test_client *bob = cereus_test_connect(t, CEREUS_TEST_WS);
    cereus_test_expect_json(cereus_test_call_json(ada, "room.join", "{s:s}", "name", "ada"), "{s:s}", "greeting",
                            "well met");
    cereus_test_expect_push_json(ada, "onJoin", "{s:s}", "name", "ada");
    cereus_test_call_json(bob, "room.join", "{s:s}", "name", "bob");
    cereus_test_expect_push_json(ada, "onJoin", "{s:s}", "name", "bob");
}

static void a_player_needs_a_name(void **state)
{
    (void)state;
    cereus_test_client *nobody = cereus_test_connect(t, CEREUS_TEST_TCP);
    cereus_test_call_fails(nobody, "room.join", "{}", "ROOM-400");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_hear_who_joins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_player_needs_a_name, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
