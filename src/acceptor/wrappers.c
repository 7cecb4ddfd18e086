/* acceptor/wrappers.c: each packet goes through the wrappers in the order added, until one of them keeps it. */
#include "acceptor/wrappers.h"

#include <stdio.h>

enum { STATE_ALIGN = 16 };

static cereus_conn *public_conn(crs_conn *conn)
{
    return (cereus_conn *)conn; /* to wrappers it is only a name */
}

static crs_conn *conn_of(const cereus_conn *conn)
{
    return (crs_conn *)conn;
}

static void *state_of(const crs_wrapper_entry *e, void *state)
{
    return e->wrapper.state_len ? (uint8_t *)state + e->state_at : NULL;
}

static void on_open(crs_conn *conn, void *state, void *user)
{
    crs_wrappers *w = user;
    for (crs_wrapper_entry *e = w->entries; e < w->entries + w->count; e++) {
        if (e->wrapper.open)
            e->wrapper.open(public_conn(conn), state_of(e, state), e->user);
    }
}

static cereus_verdict on_packet(crs_conn *conn, void *state, cereus_packet *packet, void *user)
{
    crs_wrappers *w = user;
    for (crs_wrapper_entry *e = w->entries; e < w->entries + w->count; e++) {
        if (!e->wrapper.packet)
            continue;
        cereus_verdict verdict = e->wrapper.packet(public_conn(conn), state_of(e, state), packet, e->user);
        if (verdict != CEREUS_PASS)
            return verdict;
    }
    return CEREUS_PASS;
}

static void on_close(crs_conn *conn, void *state, void *user)
{
    crs_wrappers *w = user;
    for (crs_wrapper_entry *e = w->entries + w->count; e-- > w->entries;) {
        if (e->wrapper.close)
            e->wrapper.close(public_conn(conn), state_of(e, state), e->user);
    }
}

void crs_wrappers_init(crs_wrappers *w)
{
    *w = (crs_wrappers){0};
}

void crs_wrappers_fini(crs_wrappers *w)
{
    crs_free(w->entries);
    crs_wrappers_init(w);
}

cereus_status crs_wrappers_add(crs_wrappers *w, const cereus_wrapper *wrapper, void *user, bool first)
{
    crs_wrapper_entry *entries = crs_realloc(w->entries, (w->count + 1) * sizeof *entries);
    if (!entries)
        return CEREUS_E_NOMEM;
    w->entries = entries;
    size_t at = first ? 0 : w->count;
    memmove(entries + at + 1, entries + at, (w->count - at) * sizeof *entries);
    entries[at] = (crs_wrapper_entry){.wrapper = *wrapper, .user = user};
    w->count++;
    return CEREUS_OK;
}

const crs_filter *crs_wrappers_filter(crs_wrappers *w)
{
    if (w->count == 0)
        return NULL;
    size_t len = 0;
    for (size_t i = 0; i < w->count; i++) {
        w->entries[i].state_at = len;
        len += (w->entries[i].wrapper.state_len + STATE_ALIGN - 1) / STATE_ALIGN * STATE_ALIGN;
    }
    w->filter = (crs_filter){.state_len = len, .open = on_open, .packet = on_packet, .close = on_close, .user = w};
    return &w->filter;
}

/* ---- what wrappers may ask ---- */

cereus_verdict cereus_conn_refuse(cereus_conn *conn, const char *code, const char *msg)
{
    crs_conn_set_refusal(conn_of(conn), (crs_refusal){.code = code, .msg = msg});
    return CEREUS_REFUSE;
}

const char *cereus_conn_remote_addr(const cereus_conn *conn, char *out, size_t cap)
{
    char text[CRS_PEER_TEXT_MAX];
    snprintf(out, cap, "%s", crs_peer_text(crs_conn_peer(conn_of(conn)), text));
    return out;
}

uint64_t cereus_conn_now_us(const cereus_conn *conn)
{
    return crs_transport_loop(crs_conn_transport(conn_of(conn)))->now_us;
}
