/* tools/protoc-gen-cereus/test/test_register.c: what the generated registration refuses. */
#include "test.h"

#include <cereus/cereus.h>

#include "chat.cereus.h"
#include "names.cereus.h"

static cereus_status message(cereus_ctx *ctx, const Chat__UserMessage *req)
{
    return CEREUS_OK;
}

static cereus_status fire(cereus_ctx *ctx, const My__ChatAppV1__FooBar *req)
{
    return CEREUS_OK;
}

static int make_app(void **state)
{
    *state = cereus_app_new(NULL);
    return *state ? 0 : -1;
}

static int free_app(void **state)
{
    cereus_app_free(*state);
    return 0;
}

static void a_service_needs_at_least_one_handler(void **state)
{
    static const chat_room_service none = {0};
    cereus_error err = {0};
    assert_int_equal(chat_room_register(*state, &none, NULL, &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "service \"room\" has no methods");
}

static void one_handler_is_enough(void **state)
{
    static const chat_room_service one = {.message = message};
    cereus_error err = {0};
    assert_int_equal(chat_room_register(*state, &one, NULL, &err), CEREUS_OK);
    assert_int_equal(chat_room_register(*state, &one, NULL, &err), CEREUS_E_EXISTS);
}

static void the_home_of_the_proto_counts_unless_options_are_given(void **state)
{
    static const my_chat_app_v1_options_service one = {.fire = fire};
    cereus_error err = {0};
    assert_int_equal(my_chat_app_v1_options_register(*state, &one, NULL, &err), CEREUS_E_INVALID);
    assert_string_equal(err.msg, "service \"opt\": CEREUS_HOME_KEY needs a key function");
    assert_int_equal(
        my_chat_app_v1_options_register(*state, &one, &(cereus_service_options){.home = CEREUS_HOME_ONE}, &err),
        CEREUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_service_needs_at_least_one_handler, make_app, free_app),
        cmocka_unit_test_setup_teardown(one_handler_is_enough, make_app, free_app),
        cmocka_unit_test_setup_teardown(the_home_of_the_proto_counts_unless_options_are_given, make_app, free_app),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
