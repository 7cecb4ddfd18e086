/* tests/simulation/game.c */
#include "game.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

world w;

void fault(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "seed %" PRIu64 ": ", w.seed);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    w.broken = true;
}

static server *here(cereus_ctx *ctx)
{
    return cereus_app_user(cereus_ctx_app(ctx));
}

/* ---- what is noted ---- */

typedef struct order {
    unsigned conn, op;
    char uid[8];
} order;

static order read_order(cereus_slice body)
{
    char text[64] = {0};
    order o = {0};
    memcpy(text, body.data, body.len < sizeof text ? body.len : sizeof text - 1);
    if (sscanf(text, "%u %u %7s", &o.conn, &o.op, o.uid) < 2 || o.conn >= CONNS_MAX || o.op >= OPS_MAX)
        fault("a body came that nobody sent: \"%s\"", text);
    return o;
}

static session_note *note_of(const server *at, cereus_session_id id)
{
    for (unsigned i = 0; i < w.session_count; i++) {
        if (w.sessions[i].at == at && w.sessions[i].id == id)
            return &w.sessions[i];
    }
    session_note *n = &w.sessions[w.session_count < SESSIONS_MAX - 1 ? w.session_count++ : w.session_count];
    *n = (session_note){.at = at, .id = id};
    return n;
}

/** Messages of one connection begin in the order sent, and the next when the one before has ended. */
static order begin(cereus_ctx *ctx, cereus_slice body)
{
    const server *s = here(ctx);
    order o = read_order(body);
    unsigned *last = &w.last_op[o.conn][s->index];
    if (o.op <= *last)
        fault("%s: operation %u of connection %u after %u", s->id, o.op, o.conn, *last);
    *last = o.op;
    if (w.running[o.conn][s->index])
        fault("%s: operation %u of connection %u while another of its runs", s->id, o.op, o.conn);
    w.running[o.conn][s->index] = true;
    if (w.ops[o.op].ran++)
        fault("%s: operation %u of connection %u was done already", s->id, o.op, o.conn);
    return o;
}

static cereus_status end(cereus_ctx *ctx, const order *o, cereus_status st)
{
    w.running[o->conn][here(ctx)->index] = false;
    return st;
}

/* ---- room ---- */

static cereus_status play(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    order o = begin(ctx, in);
    cereus_status st = o.op % 3 ? CEREUS_OK : cereus_sleep(ctx, o.op % 40);
    *out = in;
    return end(ctx, &o, st);
}

static cereus_status book(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    return cereus_rpc_raw(ctx, "ledger.book.add", in, out, NULL);
}

static cereus_status buy(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    order o = begin(ctx, in);
    return end(ctx, &o, book(ctx, in, out));
}

static cereus_status login(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    order o = begin(ctx, in);
    *out = in;
    return end(ctx, &o, cereus_session_bind(ctx, cereus_ctx_session(ctx), o.uid));
}

static cereus_status say(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    order o = begin(ctx, in);
    const char *uids[] = {cereus_ctx_printf(ctx, "u%u", o.op % USERS),
                          cereus_ctx_printf(ctx, "u%u", (o.op + 1) % USERS)};
    cereus_status st =
        cereus_push_to_users(ctx, "onSay", cereus_raw(in), uids, CEREUS_COUNT(uids), "connector", NULL, NULL);
    *out = in;
    return end(ctx, &o, st);
}

static cereus_status kick(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    order o = begin(ctx, in);
    const char *uids[] = {o.uid};
    *out = in;
    return end(ctx, &o, cereus_kick_users(ctx, uids, 1, "connector", NULL, NULL));
}

static const cereus_method table[] = {CEREUS_RAW_REQUEST("play", play), CEREUS_RAW_REQUEST("buy", buy),
                                      CEREUS_RAW_REQUEST("login", login), CEREUS_RAW_REQUEST("say", say),
                                      CEREUS_RAW_REQUEST("kick", kick)};

/* ---- ledger ---- */

static cereus_status add(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    order o = read_order(in);
    if (w.ops[o.op].booked++)
        fault("%s: operation %u was booked already", here(ctx)->id, o.op);
    *out = in;
    return o.op % 2 ? CEREUS_OK : cereus_sleep(ctx, o.op % 30);
}

static const cereus_method book_methods[] = {CEREUS_RAW_REQUEST("add", add)};

/* ---- connector ---- */

static cereus_status enter(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    order o = read_order(in);
    *out = in;
    note_of(here(ctx), cereus_session_get_id(cereus_ctx_session(ctx)));
    return cereus_session_bind(ctx, cereus_ctx_session(ctx), o.uid);
}

static const cereus_method gate[] = {CEREUS_RAW_REQUEST("enter", enter), CEREUS_RAW_REQUEST("buy", book)};

static void on_close(cereus_ctx *ctx, void *user)
{
    const server *s = user;
    if (note_of(s, cereus_session_get_id(cereus_ctx_session(ctx)))->closed++)
        fault("%s: the end of a session was told twice", s->id);
}

void game_check_closes(const server *s)
{
    for (unsigned i = 0; i < w.session_count; i++) {
        if (w.sessions[i].at == s && w.sessions[i].closed != 1)
            fault("%s: the end of a session was told %u times", s->id, w.sessions[i].closed);
    }
}

/** By what a player says first, so that each stays with one room as long as no room comes or goes. */
static cereus_status to_room(cereus_session *session, cereus_slice route, cereus_slice body,
                             const cereus_server *const *servers, size_t count, size_t *ret_pick, void *user,
                             cereus_error *err)
{
    (void)session;
    (void)route;
    (void)servers;
    (void)user;
    (void)err;
    *ret_pick = read_order(body).conn % count;
    return CEREUS_OK;
}

static void must(cereus_status st)
{
    if (st)
        abort();
}

cereus_app *game_new(server *s)
{
    bool frontend = strcmp(s->type, "connector") == 0;
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = s->type, .frontend = frontend, .cluster = true});
    cereus_service_options own = {.home = CEREUS_HOME_SESSION};
    cereus_app_set_user(app, s);
    if (frontend) {
        must(cereus_app_register(app, "gate", gate, CEREUS_COUNT(gate), &own, NULL));
        must(cereus_app_on_session_close(app, on_close, s));
        if (w.seed % 2)
            must(cereus_app_add_route(app, "room", to_room, NULL));
    } else if (strcmp(s->type, "room") == 0) {
        must(cereus_app_register(app, "table", table, CEREUS_COUNT(table), NULL, NULL));
    } else {
        must(cereus_app_register_remote(app, "book", book_methods, CEREUS_COUNT(book_methods), NULL, NULL));
    }
    must(cereus_config_set(cereus_app_config(app), "cereus.id", s->id, NULL));
    must(cereus_config_set(cereus_app_config(app), "cereus.loops", w.seed % 3 == 0 ? "2" : "1", NULL));
    return app;
}
