/* tests/conformance/ws-echo: echoes text and binary messages over WebSocket, for the Autobahn cases (autobahn.py), on the
 * server's own receiver, connections and listeners; only the packets are left out.
 *
 *     ws-echo --listen HOST:PORT
 *
 * Port 0 is any. When it accepts it prints `READY ws=HOST:PORT`; it ends on SIGTERM with 0. As RFC 6455 8.1 wants, and
 * unlike a game's listener, it refuses text that is not UTF-8.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "transport/conn.h"
#include "transport/tcp.h"

enum {
    EXIT_USAGE = 2,
    MESSAGE_MAX = 32 << 20, /* the longest of the cases has 16 MiB */
    QUEUED_MAX = 64 << 20,  /* of a peer that does not read what it is sent; then it is not heard either */
};

typedef struct echo {
    crs_log log;
    crs_loop *loop;
    crs_transport *transport;
    crs_listener *listener;
    crs_list peers; /* peer.link */
    uv_signal_t term;
} echo;

/* -- one connection -- */

typedef struct peer {
    crs_conn *conn;
    crs_list link;
} peer;

static void forget(peer *p)
{
    crs_list_remove(&p->link);
    free(p);
}

static void hang_up(peer *p)
{
    crs_conn_close(p->conn, false);
    forget(p);
}

static crs_input on_message(void *owner, uint8_t opcode, uint8_t *data, size_t len)
{
    peer *p = owner;
    uint8_t *room = crs_conn_reserve_message(p->conn, opcode, len);
    if (!room) {
        fprintf(stderr, "ws-echo: no memory for a message of %zu bytes\n", len);
        hang_up(p);
        return CRS_INPUT_MORE;
    }
    if (len)
        memcpy(room, data, len);
    return crs_conn_out_len(p->conn) > QUEUED_MAX ? CRS_INPUT_PAUSE : CRS_INPUT_MORE;
}

static void on_blocked(void *owner)
{
    CRS_UNUSED(owner);
}

static void on_drained(void *owner)
{
    crs_conn_resume(((peer *)owner)->conn);
}

static void on_end(void *owner, crs_conn_end why)
{
    CRS_UNUSED(why);
    forget(owner);
}

static const crs_conn_ops peer_ops = {
    .on_message = on_message, .on_blocked = on_blocked, .on_drained = on_drained, .on_end = on_end};

static void on_open(crs_conn *conn, void *user)
{
    echo *e = user;
    peer *p = malloc(sizeof *p);
    if (!p) {
        crs_conn_close(conn, false);
        return;
    }
    p->conn = conn;
    crs_list_push(&e->peers, &p->link);
    crs_conn_set_owner(conn, &peer_ops, p);
}

/* -- all of them -- */

static void on_term(uv_signal_t *handle, int number)
{
    CRS_UNUSED(number);
    echo *e = handle->data;
    uv_close((uv_handle_t *)handle, NULL);
    crs_loop_stop(e->loop);
}

static cereus_status open_listener(echo *e, const char *scheme, const char *host_port, cereus_error *err)
{
    char url[256];
    crs_endpoint endpoint;
    int claim;
    snprintf(url, sizeof url, "%s://%s", scheme, host_port);
    CEREUS_TRY(crs_endpoint_parse(url, &endpoint, err));
    CEREUS_TRY(crs_endpoint_claim(&endpoint, &claim, err));
    cereus_status st = crs_listener_new(e->transport, &endpoint, &e->listener, err);
    close(claim);
    if (!st)
        printf("READY %s=%s\n", scheme, strstr(endpoint.text, "://") + 3);
    fflush(stdout);
    return st;
}

static cereus_status start(echo *e, cereus_error *err)
{
    crs_log_init(&e->log, &(crs_log_options){.level = CEREUS_LOG_WARN});
    crs_list_init(&e->peers);
    crs_loop_options loop_opt = {.mailbox_capacity = 1, .log = &e->log};
    crs_transport_options opt = {.packet_max = MESSAGE_MAX,
                                 .opening_timeout_ms = 10000,
                                 .flush_timeout_ms = 10000,
                                 .check_utf8 = true,
                                 .on_open = on_open,
                                 .on_open_user = e};
    CEREUS_TRY(crs_loop_new(&loop_opt, &e->loop, err));
    crs_loop_enter(e->loop);
    CEREUS_TRY(crs_transport_new(e->loop, &opt, &e->transport, err));
    uv_signal_init(&e->loop->uv, &e->term);
    e->term.data = e;
    uv_signal_start(&e->term, on_term, SIGTERM);
    return CEREUS_OK;
}

static void stop(echo *e)
{
    crs_list *l;
    crs_listener_free(e->listener);
    while ((l = crs_list_pop(&e->peers)))
        hang_up(CRS_CONTAINER(l, peer, link));
    crs_transport_abort_unowned(e->transport);
    while (crs_transport_count(e->transport) > 0)
        crs_loop_turn(e->loop);
    crs_transport_free(e->transport);
    crs_loop_free(e->loop);
    crs_loop_enter(NULL);
}

int main(int argc, char **argv)
{
    static echo e;
    cereus_error err;
    if (argc != 3 || strcmp(argv[1], "--listen") != 0) {
        fprintf(stderr, "usage: ws-echo --listen HOST:PORT\n");
        return EXIT_USAGE;
    }
    if (start(&e, &err) || open_listener(&e, "ws", argv[2], &err)) {
        fprintf(stderr, "ws-echo: %s\n", err.msg);
        return EXIT_FAILURE;
    }
    crs_loop_run(e.loop);
    stop(&e);
    return EXIT_SUCCESS;
}
