/* clients/c/test/talk.c: a program of a game, for tests with real servers: connects, has a few bodies echoed, closes.
 * Says each state and why, and what became of the echoes.
 *
 *     talk URL [--ca FILE] [--name NAME] [--insecure] [--len BYTES] [--again]      --again: reconnect, once
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cereus/client.h>

enum { ECHOES = 3 };

typedef struct talk {
    char *body;
    size_t len;
    int answered, wrong;
} talk;

static void on_reply(cereus_client *client, const cereus_client_reply *reply, void *user)
{
    talk *t = user;
    t->wrong +=
        reply->status != CEREUS_OK || reply->body.len != t->len || memcmp(reply->body.data, t->body, t->len) != 0;
    if (++t->answered == ECHOES) {
        printf("%d of %d echoes are right\n", ECHOES - t->wrong, ECHOES);
        cereus_client_close(client);
    }
}

static void on_state(cereus_client *client, cereus_client_state state, const cereus_error *why, void *user)
{
    talk *t = user;
    printf("%s%s%s\n", cereus_client_state_name(state), why->status ? ": " : "", why->msg);
    fflush(stdout);
    for (int i = 0; state == CEREUS_CLIENT_CONNECTED && i < ECHOES; i++)
        if (cereus_client_request(client, "test.echo", (cereus_slice){(uint8_t *)t->body, t->len}, 20000, on_reply, t))
            t->wrong++;
}

int main(int argc, char **argv)
{
    cereus_client_options options = {.connect_timeout_ms = 5000, .send_max = 64 * 1024 * 1024};
    talk t = {.len = 100};
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--insecure") == 0) {
            options.insecure = true;
        } else if (strcmp(argv[i], "--again") == 0) {
            options.reconnect = true;
            options.reconnect_base_ms = options.reconnect_tries_max = 1;
        } else if (strcmp(argv[i], "--ca") == 0) {
            options.ca_file = argv[++i];
        } else if (strcmp(argv[i], "--name") == 0) {
            options.server_name = argv[++i];
        } else if (strcmp(argv[i], "--len") == 0) {
            t.len = strtoul(argv[++i], NULL, 10);
        }
    }
    t.body = malloc(t.len + 1);
    for (size_t i = 0; t.body && i < t.len; i++)
        t.body[i] = (char)(i * 7);
    const cereus_client_callbacks on = {.on_state = on_state};
    cereus_client *client = NULL;
    cereus_error err;
    if (argc < 2 || !t.body || cereus_client_new(&options, &on, &t, &client, &err) ||
        cereus_client_connect(client, argv[1], &err)) {
        printf("%s\n", client ? err.msg : "cannot begin");
        cereus_client_free(client);
        free(t.body);
        return 1;
    }
    while (cereus_client_poll(client, -1))
        ;
    cereus_client_free(client);
    free(t.body);
    return t.answered == ECHOES && !t.wrong ? 0 : 1;
}
