/* examples/wrapper: a quota of bytes for each connection, and behind it the rate limit. A wrapper has state of its own for
 * every connection, sees each packet before the framework does, and says what becomes of it.
 *
 *     wrapper [--listen URL] [settings, see --help]
 */
#include <stdio.h>

#include <cereus/acceptor.h>
#include <cereus/cereus.h>

enum { QUOTA = 10000 };

typedef struct used {
    size_t bytes; /* zero when the connection opens */
} used;

static cereus_verdict on_packet(cereus_conn *conn, void *state, cereus_packet *packet, void *user)
{
    (void)user;
    used *u = state;
    if (packet->type != CEREUS_PACKET_DATA)
        return CEREUS_PASS;
    if (u->bytes + packet->len > QUOTA)
        return cereus_conn_refuse(conn, "QUOTA-1", "too many bytes for one connection");
    u->bytes += packet->len;
    return CEREUS_PASS;
}

static const cereus_wrapper quota = {.state_len = sizeof(used), .packet = on_packet};

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)ctx;
    *out = in;
    return CEREUS_OK;
}

static const cereus_method room[] = {CEREUS_RAW_REQUEST("echo", echo)};

int main(int argc, char **argv)
{
    cereus_error err = {0};
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "wrapper", .frontend = true});
    if (cereus_app_add_wrapper(app, &quota, NULL) || cereus_app_add_rate_limit(app) ||
        cereus_app_listen(app, "tcp://127.0.0.1:3254", &err) ||
        cereus_app_register(app, "room", room, CEREUS_COUNT(room), NULL, &err)) {
        fprintf(stderr, "wrapper: %s\n", err.msg);
        return 1;
    }
    return cereus_app_main(app, argc, argv);
}
