/* clients/c/test/alone.c: the library as a game sees it: public headers, one library, no event loop. Nobody listens on
 * port 1 of this machine, so that is what the client must say. */
#include <stdio.h>
#include <string.h>

#include <cereus/client.h>

static void on_state(cereus_client *client, cereus_client_state state, const cereus_error *why, void *user)
{
    printf("%s %s\n", cereus_client_state_name(state), why->msg);
    *(cereus_client_state *)user = state;
}

int main(void)
{
    const cereus_client_callbacks on = {.on_state = on_state};
    cereus_client_state state = CEREUS_CLIENT_IDLE;
    cereus_client *client;
    cereus_error err;
    if (cereus_client_new(NULL, &on, &state, &client, &err) ||
        cereus_client_connect(client, "tcp://127.0.0.1:1", &err)) {
        printf("%s\n", err.msg);
        return 1;
    }
    while (cereus_client_poll(client, -1))
        ;
    bool right = state == CEREUS_CLIENT_CLOSED && strstr(cereus_client_why(client)->msg, "127.0.0.1 port 1");
    cereus_client_free(client);
    return right ? 0 : 1;
}
