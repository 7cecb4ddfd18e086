/* tests/conformance/ws-echo: echoes text and binary messages over WebSocket, for the Autobahn cases (autobahn.py), on the
 * server's own receiver, connections and listeners; only the packets are left out.
 *
 *     ws-echo [--listen HOST:PORT] [--wss HOST:PORT --cert FILE --key FILE]
 *
 * Port 0 is any. When it accepts it prints `READY ws=HOST:PORT wss=HOST:PORT`, those asked for; it ends on SIGTERM with 0.
 * As RFC 6455 8.1 wants, and unlike a game's listener, it refuses text that is not UTF-8.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "transport/conn.h"
#include "transport/tcp.h"
#include "transport/tls.h"

enum {
    EXIT_USAGE = 2,
    MESSAGE_MAX = 32 << 20, /* the longest of the cases has 16 MiB */
    QUEUED_MAX = 64 << 20,  /* of a peer that does not read what it is sent; then it is not heard either */
};

typedef struct echo {
    crs_log log;
    crs_loop *loop;
    crs_transport *transport;
    crs_listener *listeners[2];
    size_t listener_count;
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
    cereus_status st = crs_listener_new(e->transport, &endpoint, &e->listeners[e->listener_count], err);
    close(claim);
    if (st)
        return st;
    printf("%s %s=%s", e->listener_count++ ? "" : "READY", scheme, strstr(endpoint.text, "://") + 3);
    return CEREUS_OK;
}

static cereus_status use_certificate(echo *e, const char *cert, const char *key, cereus_error *err)
{
    crs_tls *tls;
    CEREUS_TRY(crs_tls_new(cert, key, &tls, err));
    return crs_transport_set_tls(e->transport, tls);
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
    while (e->listener_count)
        crs_listener_free(e->listeners[--e->listener_count]);
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
    cereus_error err = {0};
    const char *flags[] = {"--listen", "--wss", "--cert", "--key"}, *values[CEREUS_COUNT(flags)] = {0};
    bool usage = argc % 2 == 0;
    for (int i = 1; i + 1 < argc && !usage; i += 2) {
        size_t f = 0;
        while (f < CEREUS_COUNT(flags) && strcmp(argv[i], flags[f]) != 0)
            f++;
        usage = f == CEREUS_COUNT(flags);
        if (!usage)
            values[f] = argv[i + 1];
    }
    const char *ws = values[0], *wss = values[1], *cert = values[2], *key = values[3];
    if (usage || (!ws && !wss) || !wss != !cert || !wss != !key) {
        fprintf(stderr, "usage: ws-echo [--listen HOST:PORT] [--wss HOST:PORT --cert FILE --key FILE]\n");
        return EXIT_USAGE;
    }
    cereus_status st = start(&e, &err);
    if (!st && wss)
        st = use_certificate(&e, cert, key, &err);
    if (!st && ws)
        st = open_listener(&e, "ws", ws, &err);
    if (!st && wss)
        st = open_listener(&e, "wss", wss, &err);
    if (st) {
        fprintf(stderr, "ws-echo: %s\n", *err.msg ? err.msg : cereus_status_text(st));
        return EXIT_FAILURE;
    }
    printf("\n");
    fflush(stdout);
    crs_loop_run(e.loop);
    stop(&e);
    return EXIT_SUCCESS;
}
