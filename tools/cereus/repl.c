/* tools/cereus/repl.c: `cereus repl`: commands in, what the server says out. One loop polls the input and the client's
 * fd, so pushes show at once. Two ways to run:
 *   - by hand, when standard input is a terminal: a prompt, a history file, errors are only shown;
 *   - from a file or a pipe: the next line is read when the answer to the last one is there, the first error ends the
 *     program with exit code 1. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cereus/client.h>

#include <jansson.h>

#include "commands.h"
#include "text.h"

enum {
    LINE_MAX_LEN = 16 * 1024 * 1024, /* a body that no packet holds is refused by the client */
    CONNECT_TIMEOUT_MS = 5000,
    HISTORY_MAX = 1000, /* lines remembered for `history`; the file keeps all */
};

#define PROMPT ">>> "

/* What sethandshake changes. Owned strings, NULL: the default. */
typedef struct hello {
    char *platform, *lib_version, *build_number, *version, *user;
} hello;

typedef struct repl {
    cereus_client *client; /* NULL before the first connect */
    hello hello;
    char *address;          /* HOST:PORT whose tcp:// is to be tried when ws:// has failed; NULL: it is not */
    char *url;              /* the one being connected to */
    size_t waiting;         /* requests without an answer */
    uint64_t wait_until_ms; /* `wait`; 0: not waiting */
    bool connecting;
    bool pretty, hex;
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

static void on_push(cereus_client *c, cereus_slice route, cereus_slice body, void *user)
{
    repl *r = user;
    begin_output(r);
    fputs("push ", stdout);
    crs_text_show(stdout, route, 0, true);
    fputs(" -> ", stdout);
    show_body(r, body);
    putchar('\n');
}

static void on_reply(cereus_client *c, const cereus_client_reply *reply, void *user)
{
    repl *r = user;
    r->waiting--;
    if (r->leaving)
        return;
    begin_output(r);
    if (reply->status == CEREUS_OK) {
        fputs(r->from_file ? "sv-> " : "sv->", stdout);
        show_body(r, reply->body);
        putchar('\n');
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

static void on_kick(cereus_client *c, void *user)
{
    say(user, "kicked");
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
        return;
    }
    if (state != CEREUS_CLIENT_CLOSED && state != CEREUS_CLIENT_KICKED)
        return;
    if (r->connecting && r->address && why->status != CEREUS_E_UNAVAILABLE && why->status != CEREUS_E_FAILED) {
        /* somebody is there, but is no WebSocket server: a plain TCP listener just closes on the upgrade request */
        char *url = crs_malloc(strlen(r->address) + 7);
        if (url) {
            sprintf(url, "tcp://%s", r->address);
            crs_free(r->url);
            r->url = url;
        }
        crs_free(r->address);
        r->address = NULL;
        cereus_error err;
        if (url && cereus_client_connect(c, url, &err) == CEREUS_OK)
            return;
    }
    bool was_connecting = r->connecting;
    r->connecting = false;
    r->wait_until_ms = 0; /* nothing comes any more */
    if (was_connecting)
        fail(r, "cannot connect: %s", why->msg);
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
        fail(r, "usage: connect HOST:PORT | tcp://HOST:PORT | ws://HOST:PORT/PATH");
        return;
    }
    const cereus_client_options options = {.platform = r->hello.platform ? r->hello.platform : "repl",
                                           .lib_version = r->hello.lib_version,
                                           .client_build_number = r->hello.build_number ? r->hello.build_number : "20",
                                           .client_version = r->hello.version ? r->hello.version : "1.0.0",
                                           .user_json = r->hello.user ? r->hello.user : "{\"client\":\"repl\"}",
                                           .connect_timeout_ms = CONNECT_TIMEOUT_MS};
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
    r->url = crs_malloc(strlen(rest) + 6);
    if (!r->url || (!is_url && !r->address)) {
        fail(r, "out of memory");
        return;
    }
    sprintf(r->url, "%s%s", is_url ? "" : "ws://", rest);
    r->connecting = true;
    if (cereus_client_connect(r->client, r->url, &err)) {
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
    cereus_status st = r->hex ? crs_text_unhex(body, &bytes, &at) : CEREUS_OK;
    if (r->hex)
        body = crs_bytes_slice(&bytes);
    if (!st)
        st = is_request ? cereus_client_request(r->client, route, body, 0, on_reply, r)
                        : cereus_client_notify(r->client, route, body);
    if (st)
        fail(r, "cannot send: %s", cereus_status_text(st));
    else if (is_request)
        r->waiting++;
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
    /* Pitaya's needs it to know the message type of a push; here pushes are shown as they come */
    say(r, "push is not needed: all pushes are shown");
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

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void run_wait(repl *r, char *rest)
{
    char *end;
    unsigned long ms = strtoul(rest, &end, 10);
    if (*rest < '0' || *rest > '9' || *end || ms > 3600 * 1000)
        fail(r, "usage: wait MILLISECONDS, at most an hour");
    else
        r->wait_until_ms = now_ms() + ms;
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
    {"connect", "HOST:PORT | URL", "connect; without tcp:// or ws:// tries WebSocket, then TCP", run_connect},
    {"request", "ROUTE [BODY]", "send a request, show the answer; BODY is the rest of the line", run_request},
    {"notify", "ROUTE [BODY]", "send a notify", run_notify},
    {"sethandshake", "JSON | FIELD VALUE", "what connect says of itself; FIELD is version, platform, buildNumber",
     run_sethandshake},
    {"disconnect", "", "close the connection", run_disconnect},
    {"wait", "MILLISECONDS", "show what comes for a while, or until disconnected", run_wait},
    {"push", "ROUTE TYPE", "accepted for old scripts; all pushes are shown anyway", run_push},
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
    return r->connecting || r->wait_until_ms || (!r->by_hand && r->waiting);
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
    uint64_t now = now_ms();
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
        if (r->wait_until_ms && r->wait_until_ms <= now_ms())
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
static FILE *open_history(void)
{
    const char *path = getenv("PITAYACLI_HISTORY_PATH"), *home = getenv("HOME");
    char at_home[4096];
    if (!path || !*path) {
        int n = home ? snprintf(at_home, sizeof at_home, "%s/.pitayacli_history", home) : -1;
        if (n < 0 || (size_t)n >= sizeof at_home)
            return NULL;
        path = at_home;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600); /* requests may hold passwords */
    FILE *file = fd < 0 ? NULL : fdopen(fd, "a");
    if (fd >= 0 && !file)
        close(fd);
    return file;
}

static void repl_fini(repl *r)
{
    cereus_client_free(r->client);
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
    static const struct option options[] = {
        {"filename", required_argument, NULL, 'f'}, {"pretty", no_argument, NULL, 'p'}, {"hex", no_argument, NULL, 'x'},
        {"docs", required_argument, NULL, 'd'},     {"help", no_argument, NULL, 'h'},   {0}};
    static repl r; /* static for its size */
    r = (repl){.in = STDIN_FILENO};
    crs_bytes_init(&r.lines, LINE_MAX_LEN);
    const char *file = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "f:pxd:h", options, NULL)) != -1) {
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
            fputs("cereus repl: descriptors are not read from a docs route; give Protobuf bodies with --hex\n", stderr);
            return 2;
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
    if (r.by_hand)
        r.history = open_history();
    run_loop(&r);
    int code = r.failed ? 1 : 0;
    repl_fini(&r);
    return code;
}
