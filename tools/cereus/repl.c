/* tools/cereus/repl.c: `cereus repl`: commands in, what the server says out. One loop polls the input and the client's
 * fd, so pushes show at once. Two ways to run:
 *   - by hand, when standard input is a terminal: a prompt, a history file, Tab, errors are only shown;
 *   - from a file or a pipe: the next line is read when the answer to the last one is there, the first error ends the
 *     program with exit code 1. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cereus/client.h>

#include <jansson.h>

#include "api.h"
#include "base/arena.h"
#include "base/clock.h"
#include "commands.h"
#include "edit.h"
#include "serialize/serializer.h"
#include "text.h"

#include "doc.pb-c.h"

enum {
    LINE_MAX_LEN = 16 * 1024 * 1024, /* a body that no packet holds is refused by the client */
    CONNECT_TIMEOUT_MS = 5000,
    HISTORY_MAX = 1000, /* lines remembered for `history`; the file keeps all */
    ROUTE_MAX = 255,
    QUESTIONS_MAX = 5000, /* for descriptors, after one connect; no server needs as many */
    PUSH_TYPES_MAX = 256,
};

#define PROMPT ">>> "

/* What an address alone may be, in the order in which Pitaya's client tries. */
static const struct {
    const char *begin;
    bool tls;
} schemes[] = {{"wss://", true}, {"ws://", false}, {"tls://", true}, {"tcp://", false}};

/* What sethandshake changes. Owned strings, NULL: the default. */
typedef struct hello {
    char *platform, *lib_version, *build_number, *version, *user;
} hello;

/* `push ROUTE TYPE` */
typedef struct push_type {
    char *route, *type;
} push_type;

typedef struct repl {
    cereus_client *client;  /* NULL before the first connect */
    const char *docs_route; /* of --docs; NULL: none */
    crs_api *api;           /* what the server has told; NULL: nothing */
    bool loading;           /* it is being asked */
    bool singly;            /* it did not know one of several names */
    unsigned questions;
    push_type push_types[PUSH_TYPES_MAX];
    size_t push_type_count;
    crs_edit edit;
    bool editing; /* the terminal hands over keys */
    hello hello;
    char *address;          /* HOST:PORT that is tried with one scheme after the other; NULL: connect named a URL */
    size_t scheme;          /* the one being tried with it */
    char *url;              /* the one being connected to */
    size_t waiting;         /* requests without an answer */
    uint64_t wait_until_ms; /* `wait`; 0: not waiting */
    bool connecting;
    bool pretty, hex;
    bool verify;    /* the server's certificate; else any will do */
    bool by_hand;   /* a person types */
    bool from_file; /* -f */
    bool prompt_shown;
    bool quit, failed;
    bool leaving; /* what happens now interests nobody */
    int in;       /* fd of the commands */
    bool in_ended;
    crs_bytes lines; /* read, not yet run */
    FILE *history;   /* NULL: none */
    char *past[HISTORY_MAX];
    size_t past_count; /* ever; the slot of line n is n % HISTORY_MAX */
} repl;

/* -- output: one line at a time, never in the middle of the prompt -- */

static void begin_output(repl *r)
{
    if (r->prompt_shown)
        fputs("\r\033[K", stdout);
    r->prompt_shown = false;
}

CEREUS_PRINTF(2, 3) static void say(repl *r, const char *fmt, ...)
{
    begin_output(r);
    va_list args;
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

/* By hand an error is something to read; in a file it is the end. */
CEREUS_PRINTF(2, 3) static void fail(repl *r, const char *fmt, ...)
{
    begin_output(r);
    va_list args;
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
    if (!r->by_hand)
        r->failed = r->quit = true;
}

static void show_body(const repl *r, cereus_slice body)
{
    if (r->hex) {
        for (size_t i = 0; i < body.len; i++)
            printf("%02x", body.data[i]);
        return;
    }
    json_t *value = r->pretty ? json_loadb((const char *)body.data, body.len, JSON_DECODE_ANY, NULL) : NULL;
    char *text = value ? json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY) : NULL;
    crs_text_show(stdout, text ? cereus_slice_str(text) : body, 0, false);
    free(text);
    json_decref(value);
}

/* A text of the server in a line of ours. */
static void show_word(const char *text)
{
    crs_text_show(stdout, cereus_slice_str(text), 0, true);
}

/* -- callbacks of the client -- */

/* Are bodies translated between JSON and Protobuf? */
static bool translates(const repl *r)
{
    return r->api && !r->hex && strcmp(cereus_client_serializer(r->client), "protobuf") == 0;
}

/* Show a body of the server as JSON if its type is known; one that does not fit its type as it is. */
static void show_typed(repl *r, const char *route, crs_api_body which, cereus_slice body)
{
    crs_bytes json;
    cereus_error err = {0};
    crs_bytes_init(&json, 4 * (size_t)LINE_MAX_LEN);
    bool typed = translates(r) && crs_api_decode(r->api, route, which, body, &json, &err) == CEREUS_OK;
    show_body(r, typed ? crs_bytes_slice(&json) : body);
    putchar('\n');
    crs_bytes_fini(&json);
    if (err.status)
        fail(r, "this is not what the documentation says: %s", err.msg);
}

static void on_push(cereus_client *c, cereus_slice route, cereus_slice body, void *user)
{
    repl *r = user;
    begin_output(r);
    fputs("push ", stdout);
    crs_text_show(stdout, route, 0, true);
    fputs(" -> ", stdout);
    show_typed(r, (const char *)route.data, CRS_API_PUSH, body);
}

/* A request that waits for its answer. */
typedef struct asked {
    repl *r;
    char route[ROUTE_MAX + 1];
} asked;

static void on_reply(cereus_client *c, const cereus_client_reply *reply, void *user)
{
    asked a = *(asked *)user;
    repl *r = a.r;
    crs_free(user);
    r->waiting--;
    if (r->leaving)
        return;
    begin_output(r);
    if (reply->status == CEREUS_OK) {
        fputs(r->from_file ? "sv-> " : "sv->", stdout);
        show_typed(r, a.route, CRS_API_REPLY, reply->body);
        return;
    }
    fputs("error ", stdout);
    show_word(reply->code);
    fputs(": ", stdout);
    show_word(reply->msg);
    for (size_t i = 0; i < reply->metadata_count; i++) {
        putchar(' ');
        show_word(reply->metadata[i].key);
        putchar('=');
        show_word(reply->metadata[i].value);
    }
    fail(r, "%s", "");
}

/* -- reading the documentation, after the connect -- */

static void fail_docs(repl *r, const char *what, const cereus_client_reply *reply)
{
    r->loading = false;
    begin_output(r);
    printf("cannot read the %s: ", what);
    show_word(*reply->code ? reply->code : cereus_status_text(reply->status));
    fputs(": ", stdout);
    show_word(reply->msg);
    fail(r, "%s", "");
}

static void on_descriptors(cereus_client *c, const cereus_client_reply *reply, void *user);

/* Ask for the descriptors that are missing; if there is nothing to ask, all is known. */
static void ask_descriptors(repl *r)
{
    const char *route = r->api ? crs_api_descriptors_route(r->api) : NULL;
    crs_bytes body;
    bool any = false;
    r->loading = false;
    if (!route || r->hex || strcmp(cereus_client_serializer(r->client), "protobuf") != 0)
        return;
    if (r->questions++ == QUESTIONS_MAX) {
        fail(r, "cannot read the descriptors: they never end");
        return;
    }
    crs_bytes_init(&body, LINE_MAX_LEN);
    cereus_status st = CEREUS_OK;
    if (r->singly)
        st = crs_api_ask_singly(r->api, &body, &any);
    if (!st && !any) {
        r->singly = false;
        st = crs_api_ask(r->api, &body, &any);
    }
    if (!st && any)
        st = cereus_client_request(r->client, route, crs_bytes_slice(&body), 0, on_descriptors, r);
    r->loading = !st && any;
    crs_bytes_fini(&body);
    if (st)
        fail(r, "cannot read the descriptors: %s", cereus_status_text(st));
}

static void on_descriptors(cereus_client *c, const cereus_client_reply *reply, void *user)
{
    repl *r = user;
    cereus_error err = {0};
    if (r->leaving)
        return;
    if (reply->status == CEREUS_E_FAILED) {
        /* of a type that it has no descriptor for, bodies are shown and sent as they are */
        r->singly = true;
        ask_descriptors(r);
        return;
    }
    if (reply->status) {
        fail_docs(r, "descriptors", reply);
        return;
    }
    if (crs_api_learn(r->api, reply->body, &err)) {
        r->loading = false;
        fail(r, "cannot read the descriptors: %s", err.msg);
        return;
    }
    ask_descriptors(r);
}

/* protos.Doc, in the serializer of the server. */
static cereus_status read_docs(repl *r, cereus_slice body, cereus_error *err)
{
    const cereus_serializer *s = crs_serializer_find(cereus_client_serializer(r->client));
    crs_arena arena;
    ProtobufCMessage *msg = NULL;
    if (!s)
        return crs_fail(err, CEREUS_E_UNSUPPORTED, "this server's serializer is not known here");
    crs_arena_init(&arena, 4 * (size_t)LINE_MAX_LEN);
    cereus_status st = s->decode(&protos__doc__descriptor, body, crs_arena_take, &arena, &msg, err);
    const Protos__Doc *doc = (const Protos__Doc *)msg;
    if (!st)
        st = crs_api_new(cereus_slice_str(doc->doc ? doc->doc : ""), &r->api, err);
    crs_arena_fini(&arena);
    return st;
}

static void on_docs(cereus_client *c, const cereus_client_reply *reply, void *user)
{
    repl *r = user;
    cereus_error err = {0};
    if (r->leaving)
        return;
    if (reply->status) {
        fail_docs(r, "documentation", reply);
        return;
    }
    r->api = crs_api_free(r->api);
    cereus_status st = read_docs(r, reply->body, &err);
    for (size_t i = 0; !st && i < r->push_type_count; i++)
        st = crs_api_set_push(r->api, r->push_types[i].route, r->push_types[i].type);
    if (st) {
        r->loading = false;
        fail(r, "cannot read the documentation: %s", *err.msg ? err.msg : cereus_status_text(st));
        return;
    }
    r->questions = 0;
    r->singly = false;
    ask_descriptors(r);
}

static void ask_docs(repl *r)
{
    cereus_status st = cereus_client_request(r->client, r->docs_route, cereus_slice_of("", 0), 0, on_docs, r);
    r->loading = !st;
    if (st)
        fail(r, "cannot read the documentation: %s", cereus_status_text(st));
}

static void on_kick(cereus_client *c, void *user)
{
    say(user, "kicked");
}

/* Try the address with the next scheme. Returns false when there is none, or it cannot even begin: then @p err is new. */
static bool try_scheme(repl *r, cereus_error *err)
{
    while (r->scheme < CEREUS_COUNT(schemes)) {
        const char *begin = schemes[r->scheme].begin;
        bool tls = schemes[r->scheme++].tls;
        if (r->verify && !tls) /* a peer that breaks TLS off must not lead around what is to be checked */
            continue;
        char *url = crs_malloc(strlen(begin) + strlen(r->address) + 1);
        if (!url) {
            snprintf(err->msg, sizeof err->msg, "out of memory");
            return false;
        }
        sprintf(url, "%s%s", begin, r->address);
        crs_free(r->url);
        r->url = url;
        cereus_status st = cereus_client_connect(r->client, url, err);
        if (st != CEREUS_E_UNSUPPORTED || r->verify) /* without OpenSSL the other schemes are left */
            return st == CEREUS_OK;
    }
    return false;
}

static void on_state(cereus_client *c, cereus_client_state state, const cereus_error *why, void *user)
{
    repl *r = user;
    if (r->leaving)
        return;
    if (state == CEREUS_CLIENT_CONNECTED) {
        r->connecting = false;
        crs_free(r->address);
        r->address = NULL;
        say(r, "connected to %s, serializer %s, heartbeat %g s", r->url, cereus_client_serializer(c),
            (double)cereus_client_heartbeat_ms(c) / 1000);
        if (r->docs_route)
            ask_docs(r);
        return;
    }
    if (state != CEREUS_CLIENT_CLOSED && state != CEREUS_CLIENT_KICKED)
        return;
    cereus_error err = *why;
    /* somebody is there, but speaks something else: most servers just close on what they do not understand */
    if (r->connecting && r->address && why->status != CEREUS_E_UNAVAILABLE && why->status != CEREUS_E_FAILED &&
        try_scheme(r, &err))
        return;
    bool was_connecting = r->connecting;
    r->connecting = r->loading = false;
    r->wait_until_ms = 0; /* nothing comes any more */
    if (was_connecting)
        fail(r, "cannot connect: %s", err.msg);
    else if (why->status && state == CEREUS_CLIENT_CLOSED)
        fail(r, "disconnected: %s", why->msg);
    else
        say(r, "disconnected");
}

/* -- commands: `rest` is the line behind the command's name, without blanks around it -- */

static bool connected(const repl *r)
{
    return r->client && cereus_client_current_state(r->client) == CEREUS_CLIENT_CONNECTED;
}

/* The first word of *rest, which then begins with the second. */
static char *take_word(char **rest)
{
    char *word = *rest;
    size_t len = strcspn(word, " \t");
    *rest = word + len;
    if (**rest)
        *(*rest)++ = '\0';
    *rest += strspn(*rest, " \t");
    return word;
}

static void run_connect(repl *r, char *rest)
{
    if (connected(r)) {
        fail(r, "already connected");
        return;
    }
    if (!*rest) {
        fail(r, "usage: connect HOST:PORT | tcp://HOST:PORT | tls://HOST:PORT | ws://HOST:PORT/PATH | wss://HOST/PATH");
        return;
    }
    const cereus_client_options options = {.platform = r->hello.platform ? r->hello.platform : "repl",
                                           .lib_version = r->hello.lib_version,
                                           .client_build_number = r->hello.build_number ? r->hello.build_number : "20",
                                           .client_version = r->hello.version ? r->hello.version : "1.0.0",
                                           .user_json = r->hello.user ? r->hello.user : "{\"client\":\"repl\"}",
                                           .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                           .insecure = !r->verify};
    const cereus_client_callbacks on = {.on_state = on_state, .on_push = on_push, .on_kick = on_kick};
    cereus_error err;
    r->client = cereus_client_free(r->client);
    if (cereus_client_new(&options, &on, r, &r->client, &err)) {
        fail(r, "cannot connect: %s", err.msg);
        return;
    }
    bool is_url = strstr(rest, "://");
    crs_free(r->address);
    crs_free(r->url);
    r->address = is_url ? NULL : crs_strdup(rest);
    r->url = is_url ? crs_strdup(rest) : NULL;
    if (!r->url && !r->address) {
        fail(r, "out of memory");
        return;
    }
    r->connecting = true;
    r->scheme = 0;
    if (is_url ? cereus_client_connect(r->client, r->url, &err) != CEREUS_OK : !try_scheme(r, &err)) {
        r->connecting = false;
        fail(r, "cannot connect: %s", err.msg);
    }
}

static void run_disconnect(repl *r, char *rest)
{
    if (!connected(r))
        fail(r, "not connected");
    else
        cereus_client_close(r->client);
}

static void send_line(repl *r, char *rest, bool is_request)
{
    if (!connected(r)) {
        fail(r, "not connected");
        return;
    }
    const char *route = take_word(&rest);
    if (!*route) {
        fail(r, "usage: %s ROUTE [BODY]", is_request ? "request" : "notify");
        return;
    }
    crs_bytes bytes;
    crs_bytes_init(&bytes, LINE_MAX_LEN);
    cereus_slice body = cereus_slice_str(rest);
    size_t at = 0;
    cereus_error err = {0};
    asked *a = NULL;
    cereus_status st = r->hex          ? crs_text_unhex(body, &bytes, &at)
                       : translates(r) ? crs_api_encode(r->api, route, body, &bytes, &err)
                                       : CEREUS_OK;
    if (r->hex || translates(r))
        body = crs_bytes_slice(&bytes);
    if (!st && is_request && !(a = crs_zalloc(sizeof *a)))
        st = CEREUS_E_NOMEM;
    if (a) {
        a->r = r;
        snprintf(a->route, sizeof a->route, "%s", route);
    }
    if (!st)
        st = is_request ? cereus_client_request(r->client, route, body, 0, on_reply, a)
                        : cereus_client_notify(r->client, route, body);
    if (st) {
        crs_free(a);
        fail(r, "cannot send: %s", *err.msg ? err.msg : cereus_status_text(st));
    } else if (is_request) {
        r->waiting++;
    }
    crs_bytes_fini(&bytes);
}

static void run_request(repl *r, char *rest)
{
    send_line(r, rest, true);
}

static void run_notify(repl *r, char *rest)
{
    send_line(r, rest, false);
}

static void run_push(repl *r, char *rest)
{
    if (!r->docs_route) { /* for old scripts */
        say(r, "push is not needed without --docs: all pushes are shown as they come");
        return;
    }
    const char *route = take_word(&rest), *type = take_word(&rest);
    if (!*route || !*type || *rest) {
        fail(r, "usage: push ROUTE TYPE");
        return;
    }
    if (r->push_type_count == PUSH_TYPES_MAX) {
        fail(r, "more than %d types of pushes", PUSH_TYPES_MAX);
        return;
    }
    push_type *p = &r->push_types[r->push_type_count++];
    *p = (push_type){.route = crs_strdup(route), .type = crs_strdup(type)};
    if (!p->route || !p->type || (r->api && crs_api_set_push(r->api, route, type))) {
        fail(r, "out of memory");
        return;
    }
    if (connected(r))
        ask_descriptors(r);
}

static void run_routes(repl *r, char *rest)
{
    const char *route;
    if (!r->api)
        fail(r, r->docs_route ? "not connected yet" : "the routes are not known: start with --docs ROUTE");
    for (size_t i = 0; r->api && (route = crs_api_route(r->api, i)); i++) {
        begin_output(r);
        show_word(route);
        putchar('\n');
    }
}

static bool set_text(char **field, const char *text)
{
    char *copy = crs_strdup(text);
    if (!copy)
        return false;
    crs_free(*field);
    *field = copy;
    return true;
}

/* A whole handshake, {"sys":{...},"user":{...}}; members that are missing keep their value. */
static bool set_handshake(hello *h, json_t *root)
{
    const struct {
        const char *name;
        char **field;
    } members[] = {{"platform", &h->platform},
                   {"libVersion", &h->lib_version},
                   {"clientBuildNumber", &h->build_number},
                   {"clientVersion", &h->version}};
    json_t *sys = json_object_get(root, "sys"), *user = json_object_get(root, "user");
    if (!json_is_object(root) || (user && !json_is_object(user)))
        return false;
    for (size_t i = 0; i < CEREUS_COUNT(members); i++) {
        json_t *value = json_object_get(sys, members[i].name);
        if (value && (!json_is_string(value) || !set_text(members[i].field, json_string_value(value))))
            return false;
    }
    char *text = user ? json_dumps(user, JSON_COMPACT) : NULL;
    bool ok = !user || (text && set_text(&h->user, text));
    free(text);
    return ok;
}

static void run_sethandshake(repl *r, char *rest)
{
    if (connected(r)) {
        fail(r, "use this command before connect");
        return;
    }
    bool ok;
    if (*rest == '{') {
        json_t *root = json_loads(rest, 0, NULL);
        ok = set_handshake(&r->hello, root);
        json_decref(root);
    } else {
        const char *field = take_word(&rest);
        ok = *rest && (strcmp(field, "version") == 0       ? set_text(&r->hello.version, rest)
                       : strcmp(field, "platform") == 0    ? set_text(&r->hello.platform, rest)
                       : strcmp(field, "buildNumber") == 0 ? set_text(&r->hello.build_number, rest)
                                                           : false);
    }
    if (!ok)
        fail(r, "usage: sethandshake {\"sys\":{...},\"user\":{...}} | version TEXT | platform TEXT | buildNumber TEXT");
}

static void run_wait(repl *r, char *rest)
{
    char *end;
    unsigned long ms = strtoul(rest, &end, 10);
    if (*rest < '0' || *rest > '9' || *end || ms > 3600 * 1000)
        fail(r, "usage: wait MILLISECONDS, at most an hour");
    else
        r->wait_until_ms = crs_clock_ms(CLOCK_MONOTONIC) + ms;
}

static void run_history(repl *r, char *rest)
{
    size_t first = r->past_count > HISTORY_MAX ? r->past_count - HISTORY_MAX : 0;
    for (size_t i = first; i < r->past_count; i++)
        say(r, "%5zu  %s", i + 1, r->past[i % HISTORY_MAX]);
}

static void run_clear(repl *r, char *rest)
{
    if (r->by_hand)
        fputs("\033[H\033[2J", stdout);
}

static void run_exit(repl *r, char *rest)
{
    r->quit = true;
}

static void run_help(repl *r, char *rest);

static const struct {
    const char *name, *arguments, *text;
    void (*run)(repl *r, char *rest);
} commands[] = {
    {"connect", "HOST:PORT | URL", "connect; an address alone is tried as wss, ws, tls, tcp", run_connect},
    {"request", "ROUTE [BODY]", "send a request, show the answer; BODY is the rest of the line", run_request},
    {"notify", "ROUTE [BODY]", "send a notify", run_notify},
    {"sethandshake", "JSON | FIELD VALUE", "what connect says of itself; FIELD is version, platform, buildNumber",
     run_sethandshake},
    {"disconnect", "", "close the connection", run_disconnect},
    {"wait", "MILLISECONDS", "show what comes for a while, or until disconnected", run_wait},
    {"push", "ROUTE TYPE", "with --docs: what pushes on a route are, so that they can be shown", run_push},
    {"routes", "", "with --docs: list the server's routes", run_routes},
    {"history", "", "list the commands so far", run_history},
    {"clear", "", "clear the screen", run_clear},
    {"help", "", "print this", run_help},
    {"exit", "", "leave", run_exit},
};

static void run_help(repl *r, char *rest)
{
    for (size_t i = 0; i < CEREUS_COUNT(commands); i++)
        say(r, "  %-12s %-18s %s", commands[i].name, commands[i].arguments, commands[i].text);
}

/* -- lines -- */

static void remember(repl *r, const char *line)
{
    char **slot = &r->past[r->past_count % HISTORY_MAX];
    crs_free(*slot);
    *slot = crs_strdup(line);
    if (*slot)
        r->past_count++;
    crs_edit_remember(&r->edit, line);
    if (r->history) {
        fprintf(r->history, "%s\n", line);
        fflush(r->history); /* another REPL may run beside this one */
    }
}

static void run_line(repl *r, char *line)
{
    line += strspn(line, " \t");
    size_t len = strlen(line);
    while (len && strchr(" \t\r", line[len - 1]))
        line[--len] = '\0';
    if (!len || *line == '#')
        return;
    remember(r, line);
    const char *name = take_word(&line);
    for (size_t i = 0; i < CEREUS_COUNT(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            commands[i].run(r, line);
            return;
        }
    }
    fail(r, "command not found: %s", name);
}

/* May the next command not run yet? */
static bool busy(const repl *r)
{
    /* by hand only connect is waited for: the next command hardly means anything before */
    return r->connecting || r->loading || r->wait_until_ms || (!r->by_hand && r->waiting);
}

static void run_lines(repl *r)
{
    while (!busy(r) && !r->quit) {
        char *text = (char *)r->lines.data;
        char *end = r->lines.len ? memchr(text, '\n', r->lines.len) : NULL;
        if (!end) {
            if (!r->in_ended)
                return;
            if (r->lines.len == 0 || crs_bytes_append_byte(&r->lines, '\n')) {
                r->quit = true;
                return;
            }
            continue; /* the last line had no end */
        }
        *end = '\0';
        run_line(r, text);
        size_t used = (size_t)(end + 1 - text);
        memmove(r->lines.data, r->lines.data + used, r->lines.len - used);
        r->lines.len -= used;
    }
}

static void complete_line(cereus_slice before, crs_candidates *ret, void *user)
{
    const repl *r = user;
    const char *names[CEREUS_COUNT(commands) + 1];
    for (size_t i = 0; i < CEREUS_COUNT(commands); i++)
        names[i] = commands[i].name;
    names[CEREUS_COUNT(commands)] = NULL;
    crs_api_complete(r->api, names, before, ret);
}

static void feed_keys(repl *r, const uint8_t *keys, size_t count)
{
    for (size_t i = 0; i < count && !r->in_ended; i++) {
        switch (crs_edit_feed(&r->edit, keys[i])) {
        case CRS_EDIT_NOTHING:
            break;
        case CRS_EDIT_END:
            r->in_ended = true;
            break;
        case CRS_EDIT_LINE:
            r->prompt_shown = false;
            if (crs_bytes_append(&r->lines, r->edit.line.data, r->edit.line.len) ||
                crs_bytes_append_byte(&r->lines, '\n')) {
                r->quit = r->failed = true;
                say(r, "a line is too long");
            }
            crs_edit_clear(&r->edit);
        }
    }
}

static void read_input(repl *r)
{
    uint8_t part[4096];
    ssize_t n = read(r->in, part, sizeof part);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        r->in_ended = true;
        if (n < 0)
            fail(r, "cannot read commands: %s", strerror(errno));
    } else if (r->editing) {
        feed_keys(r, part, (size_t)n);
        return;
    } else if (crs_bytes_append(&r->lines, part, (size_t)n)) {
        r->quit = r->failed = true;
        say(r, "a line is too long");
    }
    r->prompt_shown = false; /* the terminal has moved on to a new line */
}

/* Milliseconds until something is due without the network; -1: nothing. */
static int timeout_ms(const repl *r)
{
    int due = r->client ? cereus_client_timeout_ms(r->client) : -1;
    if (!r->wait_until_ms)
        return due;
    uint64_t now = crs_clock_ms(CLOCK_MONOTONIC);
    int left = r->wait_until_ms > now ? (int)(r->wait_until_ms - now) : 0;
    return due < 0 || left < due ? left : due;
}

static void run_loop(repl *r)
{
    while (!r->quit) {
        run_lines(r);
        if (r->quit)
            break;
        if (r->by_hand && !busy(r) && !r->prompt_shown) {
            if (r->editing)
                crs_edit_show(&r->edit);
            else
                fputs(PROMPT, stdout);
            r->prompt_shown = true;
        }
        fflush(stdout);
        struct pollfd p[2] = {{.fd = busy(r) || r->in_ended ? -1 : r->in, .events = POLLIN}, {.fd = -1}};
        if (r->client) {
            p[1].fd = cereus_client_fd(r->client);
            p[1].events = cereus_client_events(r->client);
        }
        if (poll(p, 2, timeout_ms(r)) < 0)
            p[0].revents = p[1].revents = 0; /* a signal that was handled */
        if (r->client)
            cereus_client_step(r->client, p[1].revents);
        if (r->wait_until_ms && r->wait_until_ms <= crs_clock_ms(CLOCK_MONOTONIC))
            r->wait_until_ms = 0;
        if (p[0].revents)
            read_input(r);
    }
    begin_output(r);
    r->leaving = true;
    if (r->client)
        cereus_client_close(r->client); /* sends what the last command has queued */
    fflush(stdout);
}

/* -- start and end -- */

const char crs_usage_repl[] =
    "usage: cereus repl [options]\n\n"
    "  -f, --filename FILE  run the commands in FILE, wait for each answer, stop at the first error with exit\n"
    "                       code 1; `-` is standard input\n"
    "  -d, --docs ROUTE     read the routes from the server's documentation; Tab completes them and the fields of\n"
    "                       bodies, and with a Protobuf server bodies are given and shown as JSON\n"
    "  -v, --verify         check the certificates of servers, and try an address alone with wss:// and tls:// only;\n"
    "                       else any certificate will do\n"
    "  -p, --pretty         lay out JSON over several lines\n"
    "  -x, --hex            bodies are given and shown as hex digits\n\n"
    "Commands come from standard input; from a pipe as with -f. `help` lists them. History is kept in\n"
    "$PITAYACLI_HISTORY_PATH or ~/.pitayacli_history.\n";

static int usage(FILE *out)
{
    fputs(crs_usage_repl, out);
    return out == stdout ? 0 : 2;
}

/* Opened only for a person. A history that cannot be kept is no reason not to start. */
static FILE *open_history(crs_edit *edit)
{
    const char *path = getenv("PITAYACLI_HISTORY_PATH"), *home = getenv("HOME");
    char at_home[4096];
    if (!path || !*path) {
        int n = home ? snprintf(at_home, sizeof at_home, "%s/.pitayacli_history", home) : -1;
        if (n < 0 || (size_t)n >= sizeof at_home)
            return NULL;
        path = at_home;
    }
    FILE *old = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t len; old && (len = getline(&line, &cap, old)) > 0;) {
        line[len - 1] = line[len - 1] == '\n' ? '\0' : line[len - 1];
        if (crs_text_is_plain(cereus_slice_str(line))) /* it is shown again */
            crs_edit_remember(edit, line);
    }
    free(line);
    if (old)
        fclose(old);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600); /* requests may hold passwords */
    FILE *file = fd < 0 ? NULL : fdopen(fd, "a");
    if (fd >= 0 && !file)
        close(fd);
    return file;
}

static void repl_fini(repl *r)
{
    cereus_client_free(r->client);
    crs_edit_restore();
    crs_edit_fini(&r->edit);
    crs_api_free(r->api);
    for (size_t i = 0; i < r->push_type_count; i++) {
        crs_free(r->push_types[i].route);
        crs_free(r->push_types[i].type);
    }
    char *const texts[] = {r->hello.platform,
                           r->hello.lib_version,
                           r->hello.build_number,
                           r->hello.version,
                           r->hello.user,
                           r->address,
                           r->url};
    for (size_t i = 0; i < CEREUS_COUNT(texts); i++)
        crs_free(texts[i]);
    for (size_t i = 0; i < HISTORY_MAX; i++)
        crs_free(r->past[i]);
    if (r->history)
        fclose(r->history);
    if (r->in > STDIN_FILENO)
        close(r->in);
    crs_bytes_fini(&r->lines);
}

int crs_cmd_repl(int argc, char **argv)
{
    static const struct option options[] = {{"filename", required_argument, NULL, 'f'},
                                            {"pretty", no_argument, NULL, 'p'},
                                            {"hex", no_argument, NULL, 'x'},
                                            {"docs", required_argument, NULL, 'd'},
                                            {"verify", no_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    static repl r; /* static for its size */
    r = (repl){.in = STDIN_FILENO};
    crs_bytes_init(&r.lines, LINE_MAX_LEN);
    const char *file = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "f:pxd:vh", options, NULL)) != -1) {
        switch (option) {
        case 'f':
            file = optarg;
            break;
        case 'p':
            r.pretty = true;
            break;
        case 'x':
            r.hex = true;
            break;
        case 'd':
            r.docs_route = optarg;
            break;
        case 'v':
            r.verify = true;
            break;
        case 'h':
            return usage(stdout);
        default:
            return usage(stderr);
        }
    }
    if (optind != argc)
        return usage(stderr);
    if (file && strcmp(file, "-") != 0)
        r.in = open(file, O_RDONLY | O_CLOEXEC);
    if (r.in < 0) {
        fprintf(stderr, "cereus repl: %s: %s\n", file, strerror(errno));
        return 2;
    }
    r.from_file = file;
    r.by_hand = !file && isatty(STDIN_FILENO);
    crs_edit_init(&r.edit, PROMPT);
    r.edit.complete = complete_line;
    r.edit.user = &r;
    if (r.by_hand) {
        r.history = open_history(&r.edit);
        r.editing = crs_edit_take_terminal();
    }
    run_loop(&r);
    int code = r.failed ? 1 : 0;
    repl_fini(&r);
    return code;
}
