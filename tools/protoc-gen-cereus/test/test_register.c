/* tools/protoc-gen-cereus/test/test_register.c: what the generated registration refuses. */
#include "test.h"

#include <cereus/cereus.h>

#include "chat.cereus.h"
#include "names.cereus.h"
#include "sub/other.cereus.h"

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
    assert_string_equal(err.msg, "service \"room\" has no methods: give cereus_app_register() a table of them");
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

static void expect_known(cereus_app *app, const char *name, bool known)
{
    cereus_slice gzip;
    cereus_error err = {0};
    assert_int_equal(cereus_app_descriptor(app, name, &gzip, &err), known ? CEREUS_OK : CEREUS_E_NOT_FOUND);
}

static void registering_a_service_tells_what_its_messages_are(void **state)
{
    static const my_chat_app_v1_options_service one = {.fire = fire};
    const cereus_service_options options = {.home = CEREUS_HOME_ONE};
    cereus_error err = {0};
    expect_known(*state, "my.chatApp_v1.foo_bar", false);
    assert_int_equal(my_chat_app_v1_options_register(*state, &one, &options, &err), CEREUS_OK);
    expect_known(*state, "my.chatApp_v1.foo_bar", true);
    expect_known(*state, "my.chatApp_v1.HTTPReq2x.inner_M", true);
    expect_known(*state, "other.v2.Query.Answer", true); /* of another file */
    expect_known(*state, "google.protobuf.Empty", true);
    expect_known(*state, "cereus.MethodOptions", false); /* only options need it */
}

static void files_may_be_told_of_again_and_without_a_service(void **state)
{
    static const my_chat_app_v1_options_service one = {.fire = fire};
    const cereus_service_options options = {.home = CEREUS_HOME_ONE};
    cereus_error err = {0};
    assert_int_equal(chat_proto_describe(*state, &err), CEREUS_OK);
    assert_int_equal(sub_other_proto_describe(*state, &err), CEREUS_OK);
    assert_int_equal(sub_other_proto_describe(*state, &err), CEREUS_OK);
    assert_int_equal(my_chat_app_v1_options_register(*state, &one, &options, &err), CEREUS_OK);
    expect_known(*state, "chat.NewUser", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_service_needs_at_least_one_handler, make_app, free_app),
        cmocka_unit_test_setup_teardown(one_handler_is_enough, make_app, free_app),
        cmocka_unit_test_setup_teardown(the_home_of_the_proto_counts_unless_options_are_given, make_app, free_app),
        cmocka_unit_test_setup_teardown(registering_a_service_tells_what_its_messages_are, make_app, free_app),
        cmocka_unit_test_setup_teardown(files_may_be_told_of_again_and_without_a_service, make_app, free_app),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
