/* tests/unit/cluster/test_custom_engine.c: engines of a game's own (cereus/engine.h) under real apps, in threads, two loops each: a
 * hub within the test's process. The test says where messages come in and what becomes of them, keeps them, makes them up, and
 * lets every function of an engine fail. */
#include "test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cereus/cereus.h>
#include <cereus/test.h>

enum {
    LOOPS = 2,
    NODES_MAX = 16,
    HEAD_MIN = 20,
    LOOP_AT = 1,
    ID_AT = 11,
    KIND_REQUEST = 1,
    KIND_RESPONSE,
    KIND_PUSH,
    KIND_KICK,
    KIND_BOUND
};

/* ---- the hub ---- */

typedef enum item_kind { MESSAGE, BROKEN, ENDED, LOOK } item_kind; /* LOOK: is it in the loop's list? */

typedef struct item {
    struct item *next;
    item_kind kind;
    size_t len;
    uint8_t bytes[]; /* a message, or an id with its NUL */
} item;

typedef struct part {
    struct node *node;
    cereus_rpc_link *link;
    cereus_loop *loop;
    cereus_watch *watch;
    int fd;      /* wakes the loop */
    item *first; /* guarded by hub.mu, as the next */
    item **end;
    bool open;
    atomic_uint looked, found; /* how often */
} part;

/** What goes wrong, and how; set before the start. */
typedef struct faults {
    cereus_status discovery_open, join, rpc_open, start, serve;
    unsigned start_loop; /* where start fails */
    const char *text;
} faults;

typedef struct node {
    const char *id;
    cereus_discovery *discovery; /* guarded by hub.mu, as the next */
    const cereus_server *self;
    bool listed;
    bool keeps; /* what it sends is kept for the test, not delivered */
    item *kept;
    cereus_status send_fails;
    unsigned fails_left;
    part parts[LOOPS];
    size_t part_count;
    faults faults;
    atomic_bool disconnected;
    atomic_uint opened, closed, started, stopped, left, gone;
    void (*on_open)(struct node *n); /* on top of what open does */
    void (*on_close)(struct node *n);
} node;

static struct {
    pthread_mutex_t mu;
    node *nodes[NODES_MAX];
    size_t node_count;
    unsigned to_loop; /* where messages come in */
    bool by_hand;     /* the test makes the lists */
} hub = {.mu = PTHREAD_MUTEX_INITIALIZER};

static void post_locked(part *p, item_kind kind, const void *data, size_t len)
{
    item *i = malloc(sizeof *i + len + 1);
    assert_non_null(i);
    *i = (item){.kind = kind, .len = len};
    if (len)
        memcpy(i->bytes, data, len);
    i->bytes[len] = '\0';
    *p->end = i;
    p->end = &i->next;
    eventfd_write(p->fd, 1);
}

/** Something comes in at loop @p loop of @p n. Thread: any. */
static void post(node *n, unsigned loop, item_kind kind, const void *data, size_t len)
{
    pthread_mutex_lock(&hub.mu);
    if (n->parts[loop].open)
        post_locked(&n->parts[loop], kind, data, len);
    pthread_mutex_unlock(&hub.mu);
}

static void tell_all_locked(void)
{
    cereus_server list[NODES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < hub.node_count; i++) {
        if (hub.nodes[i]->listed)
            list[count++] = *hub.nodes[i]->self;
    }
    for (size_t i = 0; i < hub.node_count; i++) {
        if (hub.nodes[i]->discovery)
            cereus_test_check(cereus_discovery_set_list(hub.nodes[i]->discovery, list, count) == CEREUS_OK);
    }
}

static cereus_status refuse(const node *n, cereus_status st, cereus_error *err)
{
    if (st && n->faults.text)
        snprintf(err->msg, sizeof err->msg, "%s", n->faults.text);
    return st;
}

static cereus_status hub_discovery_open(cereus_discovery *discovery, const cereus_server *self, void *user,
                                        void **ret_state, cereus_error *err)
{
    node *n = user;
    if (n->faults.discovery_open)
        return refuse(n, n->faults.discovery_open, err);
    pthread_mutex_lock(&hub.mu);
    n->discovery = discovery;
    n->self = self;
    pthread_mutex_unlock(&hub.mu);
    n->opened++;
    *ret_state = n;
    if (n->on_open)
        n->on_open(n);
    return CEREUS_OK;
}

static cereus_status hub_join(void *state, cereus_ctx *ctx, cereus_error *err)
{
    node *n = state;
    CEREUS_TRY(cereus_sleep(ctx, 1)); /* it may yield */
    if (n->faults.join)
        return refuse(n, n->faults.join, err);
    pthread_mutex_lock(&hub.mu);
    n->listed = true;
    if (!hub.by_hand)
        tell_all_locked();
    pthread_mutex_unlock(&hub.mu);
    return CEREUS_OK;
}

static void hub_leave(void *state, cereus_ctx *ctx)
{
    node *n = state;
    pthread_mutex_lock(&hub.mu);
    n->listed = false;
    if (!hub.by_hand)
        tell_all_locked();
    pthread_mutex_unlock(&hub.mu);
    n->left++;
    cereus_test_check(cereus_sleep(ctx, 1) == CEREUS_OK); /* nor is it cancelled at the stop */
}

static void hub_discovery_close(void *state)
{
    node *n = state;
    if (n->on_close)
        n->on_close(n);
    pthread_mutex_lock(&hub.mu);
    n->discovery = NULL;
    n->self = NULL;
    n->listed = false;
    pthread_mutex_unlock(&hub.mu);
    n->closed++;
}

static const cereus_discovery_engine hub_discovery = {
    .open = hub_discovery_open, .join = hub_join, .leave = hub_leave, .close = hub_discovery_close};

static cereus_status hub_rpc_open(const cereus_server *self, void *user, void **ret_state, cereus_error *err)
{
    node *n = user;
    cereus_test_check(strcmp(self->id, n->id) == 0);
    if (n->faults.rpc_open)
        return refuse(n, n->faults.rpc_open, err);
    n->opened++;
    *ret_state = n;
    return CEREUS_OK;
}

static cereus_status hub_start(void *state, cereus_loop *loop, cereus_rpc_link *link, void **ret_part,
                               cereus_error *err)
{
    node *n = state;
    if (n->faults.start && cereus_loop_index(loop) == n->faults.start_loop)
        return refuse(n, n->faults.start, err);
    part *p = &n->parts[n->part_count++];
    cereus_test_check(cereus_loop_index(loop) == n->part_count - 1);
    *p = (part){.node = n, .link = link, .loop = loop, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .end = &p->first};
    n->started++;
    *ret_part = p;
    return CEREUS_OK;
}

static void on_wake(int fd, int events, void *user)
{
    part *p = user;
    eventfd_t count;
    eventfd_read(fd, &count);
    for (;;) {
        pthread_mutex_lock(&hub.mu);
        item *i = p->first;
        if (i && !(p->first = i->next))
            p->end = &p->first;
        pthread_mutex_unlock(&hub.mu);
        if (!i)
            return;
        uint8_t *exact = malloc(i->len ? i->len : 1); /* so that a sanitizer sees one byte too many */
        memcpy(exact, i->bytes, i->len);
        if (i->kind == MESSAGE)
            cereus_rpc_link_receive(p->link, cereus_slice_of(exact, i->len));
        else if (i->kind == BROKEN)
            cereus_rpc_link_broken(p->link, (const char *)i->bytes);
        else if (i->kind == ENDED)
            cereus_rpc_link_ended(p->link, (const char *)i->bytes);
        else {
            p->found += cereus_rpc_link_server(p->link, (const char *)i->bytes) != NULL;
            p->looked++;
        }
        free(exact);
        free(i);
    }
}

static cereus_status hub_serve(void *of, cereus_error *err)
{
    part *p = of;
    if (p->node->faults.serve)
        return refuse(p->node, p->node->faults.serve, err);
    pthread_mutex_lock(&hub.mu);
    p->open = true;
    pthread_mutex_unlock(&hub.mu);
    return cereus_loop_watch(p->loop, p->fd, CEREUS_FD_READABLE, on_wake, p, &p->watch);
}

static node *find_locked(const char *id)
{
    for (size_t i = hub.node_count; i-- > 0;) {
        if (strcmp(hub.nodes[i]->id, id) == 0 && hub.nodes[i]->part_count && hub.nodes[i]->parts[0].open)
            return hub.nodes[i];
    }
    return NULL;
}

static void keep_locked(node *n, cereus_slice message)
{
    item *i = malloc(sizeof *i + message.len), **at = &n->kept;
    cereus_test_check(i);
    *i = (item){.len = message.len};
    memcpy(i->bytes, message.data, message.len);
    while (*at)
        at = &(*at)->next;
    *at = i;
}

static cereus_status hub_send(void *of, const char *server_id, cereus_slice message)
{
    part *p = of;
    node *n = p->node;
    cereus_test_check(message.len <= CEREUS_RPC_MESSAGE_MAX);
    const cereus_server *s = cereus_rpc_link_server(p->link, server_id);
    cereus_test_check(!s || strcmp(s->id, server_id) == 0);
    pthread_mutex_lock(&hub.mu);
    node *to = find_locked(server_id);
    cereus_status st = to ? CEREUS_OK : CEREUS_E_UNAVAILABLE;
    if (n->fails_left) {
        n->fails_left--;
        st = n->send_fails;
    } else if (n->keeps) {
        st = CEREUS_OK;
        keep_locked(n, message);
    } else if (to) {
        post_locked(&to->parts[hub.to_loop], MESSAGE, message.data, message.len);
    }
    pthread_mutex_unlock(&hub.mu);
    return st;
}

static void hub_gone(void *of, const char *server_id)
{
    ((part *)of)->node->gone++;
}

static void hub_stop(void *of)
{
    part *p = of;
    pthread_mutex_lock(&hub.mu);
    p->open = false;
    item *left = p->first;
    p->first = NULL;
    pthread_mutex_unlock(&hub.mu);
    for (item *next; left; left = next) {
        next = left->next;
        free(left);
    }
    cereus_watch_stop(p->watch);
    close(p->fd);
    p->node->stopped++;
}

static bool hub_connected(void *state)
{
    return !((node *)state)->disconnected;
}

static void hub_rpc_close(void *state)
{
    ((node *)state)->closed++;
}

static const cereus_rpc_engine hub_rpc = {.open = hub_rpc_open,
                                          .start = hub_start,
                                          .serve = hub_serve,
                                          .send = hub_send,
                                          .gone = hub_gone,
                                          .stop = hub_stop,
                                          .connected = hub_connected,
                                          .close = hub_rpc_close};

/** What @p n has sent and the test was given, the oldest, once there is one. Ownership: gives. */
static item *take_kept(node *n)
{
    for (int i = 0; i < 10000 * CEREUS_TEST_WAIT_S; i++) {
        pthread_mutex_lock(&hub.mu);
        item *kept = n->kept;
        if (kept)
            n->kept = kept->next;
        pthread_mutex_unlock(&hub.mu);
        if (kept)
            return kept;
        usleep(100); /* the test has no gate in there */
    }
    fail_msg("%s sends nothing", n->id);
    return NULL;
}

static void set_keeps(node *n, bool keeps)
{
    pthread_mutex_lock(&hub.mu);
    n->keeps = keeps;
    pthread_mutex_unlock(&hub.mu);
}

static void let_fail(node *n, cereus_status st, unsigned times)
{
    pthread_mutex_lock(&hub.mu);
    n->send_fails = st;
    n->fails_left = times;
    pthread_mutex_unlock(&hub.mu);
}

static void list_by_hand(node *to, node *const *nodes, size_t count)
{
    cereus_server list[NODES_MAX];
    pthread_mutex_lock(&hub.mu);
    for (size_t i = 0; i < count; i++)
        list[i] = *nodes[i]->self;
    assert_int_equal(cereus_discovery_set_list(to->discovery, list, count), CEREUS_OK);
    pthread_mutex_unlock(&hub.mu);
}

/* ---- the game ---- */

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return CEREUS_OK;
}

static cereus_status bind_it(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return cereus_session_bind(ctx, cereus_ctx_session(ctx), (const char *)in.data);
}

static cereus_status push(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    *out = in;
    return cereus_session_push(ctx, cereus_ctx_session(ctx), "onPush", cereus_raw(in));
}

/** A push that is a message of its own. */
static cereus_status tell_alice(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    static const char *const uids[] = {"alice"};
    *out = in;
    return cereus_push_to_users(ctx, "onPush", cereus_raw(in), uids, 1, "front", NULL, NULL);
}

static const cereus_method room_methods[] = {CEREUS_RAW_REQUEST("echo", echo), CEREUS_RAW_REQUEST("bind", bind_it),
                                             CEREUS_RAW_REQUEST("push", push), CEREUS_RAW_REQUEST("tell", tell_alice)};

/** How many servers of a type there are. */
static cereus_status members(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    const cereus_server *const *servers;
    *out =
        cereus_slice_str(cereus_ctx_printf(ctx, "%zu", cereus_servers_by_type(ctx, (const char *)in.data, &servers)));
    return CEREUS_OK;
}

static const cereus_method front_methods[] = {CEREUS_RAW_REQUEST("members", members)};
static const cereus_service_options on_session = {.home = CEREUS_HOME_SESSION};

static node *node_new(const char *id)
{
    node *n = calloc(1, sizeof *n);
    assert_non_null(n);
    n->id = id;
    pthread_mutex_lock(&hub.mu);
    hub.nodes[hub.node_count++] = n;
    pthread_mutex_unlock(&hub.mu);
    return n;
}

static cereus_test_app *server_new(const char *type, node *n)
{
    bool frontend = strcmp(type, "front") == 0;
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = type, .frontend = frontend});
    cereus_test_app *t = cereus_test_new(app, CEREUS_TEST_SOCKETS);
    cereus_error err = {0};
    assert_int_equal(cereus_app_add_discovery(app, "hub", &hub_discovery, n, &err), CEREUS_OK);
    assert_int_equal(cereus_app_add_rpc(app, "hub", &hub_rpc, n, &err), CEREUS_OK); /* a name for each kind */
    const cereus_method *methods = frontend ? front_methods : room_methods;
    assert_int_equal(cereus_app_register(app, "x", methods,
                                         frontend ? CEREUS_COUNT(front_methods) : CEREUS_COUNT(room_methods),
                                         &on_session, &err),
                     CEREUS_OK);
    cereus_test_set(t, "cereus.id", n->id);
    cereus_test_set(t, "cereus.cluster", "hub");
    cereus_test_set(t, "cereus.cluster.rpc", "hub");
    cereus_test_set(t, "cereus.loops", "2");
    cereus_test_set(t, "pitaya.cluster.rpc.client.nats.requesttimeout", "10m"); /* no test waits for that */
    return t;
}

static cereus_test_app *server_start(const char *type, node *n)
{
    cereus_test_app *t = server_new(type, n);
    cereus_test_start(t);
    return t;
}

/** Both loops of @p n know, or do not know any more, of the server with @p id. */
static void await_listed(node *n, const char *id, bool listed)
{
    for (unsigned loop = 0; loop < LOOPS; loop++) {
        part *p = &n->parts[loop];
        for (bool is = !listed; is != listed;) {
            unsigned looked = p->looked, found = p->found;
            post(n, loop, LOOK, id, strlen(id));
            while (p->looked == looked)
                usleep(100);
            is = p->found != found;
        }
    }
}

static void await_members(cereus_test_client *c, const char *type, const char *count)
{
    for (int tries = 0; strcmp(cereus_test_call(c, "front.x.members", type), count) != 0; tries++)
        assert_in_range(tries, 0, 100000);
}

static int hub_begin(void **state)
{
    hub.node_count = 0;
    hub.to_loop = 0;
    hub.by_hand = false;
    return 0;
}

/** After its apps: each engine that was opened has been closed, each part that was started stopped. */
static int hub_end(void **state)
{
    for (size_t i = 0; i < hub.node_count; i++) {
        node *n = hub.nodes[i];
        assert_int_equal(n->opened, n->closed);
        assert_int_equal(n->started, n->stopped);
        for (item *next; n->kept; n->kept = next) {
            next = n->kept->next;
            free(n->kept);
        }
        free(n);
    }
    return 0;
}

static uint64_t counter(cereus_test_app *t, const char *name)
{
    return cereus_app_counter(cereus_test_get_app(t), name);
}

/* ---- names ---- */

static void engines_are_added_by_a_name_of_their_own(void **state)
{
    static const struct {
        const char *name;
        cereus_status status;
        const char *text;
    } names[] = {
        {"", CEREUS_E_INVALID, "discovery \"\": a name is lower-case letters, digits and -, at most 32"},
        {"Hub", CEREUS_E_INVALID, "discovery \"Hub\": a name is lower-case letters, digits and -, at most 32"},
        {"a b", CEREUS_E_INVALID, "discovery \"a b\": a name is lower-case letters, digits and -, at most 32"},
        {"a23456789012345678901234567890123", CEREUS_E_INVALID, NULL},
        {"a2345678901234567890123456789012", CEREUS_OK, NULL},
        {"auto", CEREUS_E_EXISTS, "discovery \"auto\": this name is taken"},
        {"none", CEREUS_E_EXISTS, NULL},
        {"local", CEREUS_E_EXISTS, NULL},
        {"etcd", CEREUS_E_EXISTS, NULL},
        {"nats", CEREUS_OK, NULL}, /* an rpc engine is called that, no discovery */
        {"hub-2", CEREUS_OK, NULL},
        {"hub-2", CEREUS_E_EXISTS, "discovery \"hub-2\": this name is taken"},
    };
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "room"});
    cereus_error err = {0};
    for (size_t i = 0; i < CEREUS_COUNT(names); i++) {
        assert_int_equal(cereus_app_add_discovery(app, names[i].name, &hub_discovery, NULL, &err), names[i].status);
        if (names[i].text)
            assert_string_equal(err.msg, names[i].text);
    }
    assert_int_equal(cereus_app_add_rpc(app, "hub-2", &hub_rpc, NULL, &err), CEREUS_OK);
    assert_int_equal(cereus_app_add_rpc(app, "hub-2", &hub_rpc, NULL, &err), CEREUS_E_EXISTS);
    assert_string_equal(err.msg, "rpc engine \"hub-2\": this name is taken");
    assert_int_equal(cereus_app_add_rpc(app, "nats", &hub_rpc, NULL, NULL), CEREUS_E_EXISTS);
    assert_int_equal(cereus_app_add_rpc(app, "grpc", &hub_rpc, NULL, NULL), CEREUS_E_EXISTS); /* it will come */
    cereus_app_free(app);
}

static void engines_lack_no_function(void **state)
{
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "room"});
    cereus_error err = {0};
    for (int i = 0; i < 3; i++) {
        cereus_discovery_engine d = hub_discovery;
        d.open = i == 0 ? NULL : d.open;
        d.join = i == 1 ? NULL : d.join;
        d.leave = i == 2 ? NULL : d.leave;
        assert_int_equal(cereus_app_add_discovery(app, "mine", &d, NULL, &err), CEREUS_E_INVALID);
        assert_string_equal(err.msg, "discovery \"mine\": needs the functions open, join and leave");
    }
    for (int i = 0; i < 4; i++) {
        cereus_rpc_engine r = hub_rpc;
        r.open = i == 0 ? NULL : r.open;
        r.start = i == 1 ? NULL : r.start;
        r.send = i == 2 ? NULL : r.send;
        r.stop = i == 3 ? NULL : r.stop;
        assert_int_equal(cereus_app_add_rpc(app, "mine", &r, NULL, &err), CEREUS_E_INVALID);
        assert_string_equal(err.msg, "rpc engine \"mine\": needs the functions open, start, send and stop");
    }
    cereus_app_free(app);
}

static void a_running_app_takes_no_engine_and_an_unknown_one_ends_the_start(void **state)
{
    cereus_error err = {0};
    cereus_test_app *t = server_start("room", node_new("room-1"));
    assert_int_equal(cereus_app_add_discovery(cereus_test_get_app(t), "late", &hub_discovery, NULL, &err),
                     CEREUS_E_STATE);
    assert_int_equal(cereus_app_add_rpc(cereus_test_get_app(t), "late", &hub_rpc, NULL, &err), CEREUS_E_STATE);
    cereus_test_end(t);
    t = server_new("room", node_new("room-2"));
    cereus_test_set(t, "cereus.cluster", "hubb");
    assert_string_equal(cereus_test_start_fails(t, CEREUS_E_UNSUPPORTED),
                        "cereus.cluster: there is no engine called \"hubb\"");
    cereus_test_end(t);
    t = server_new("room", node_new("room-3"));
    cereus_test_set(t, "cereus.cluster.rpc", "hubb");
    assert_string_equal(cereus_test_start_fails(t, CEREUS_E_UNSUPPORTED),
                        "cereus.cluster.rpc: there is no engine called \"hubb\"");
    cereus_test_end(t);
}

/* ---- starts that fail ---- */

static void a_function_that_fails_ends_the_start_in_its_words(void **state)
{
    static const struct {
        faults faults;
        const char *text;
        unsigned started, left;
    } cases[] = {
        {{.discovery_open = CEREUS_E_EXISTS, .text = "somebody is called so"},
         "discovery \"hub\": somebody is called so",
         0,
         0},
        {{.discovery_open = CEREUS_E_NOMEM}, "discovery \"hub\": out of memory", 0, 0}, /* it said nothing */
        {{.rpc_open = CEREUS_E_IO, .text = "no port"}, "rpc engine \"hub\": no port", 0, 0},
        {{.rpc_open = CEREUS_E_IO}, "rpc engine \"hub\": an operating system call failed", 0, 0},
        {{.start = CEREUS_E_IO, .text = "no port"}, "rpc engine \"hub\": no port", 0, 0},
        {{.start = CEREUS_E_IO, .start_loop = 1, .text = "no port"}, "rpc engine \"hub\": no port", 1, 0},
        {{.serve = CEREUS_E_IO, .text = "no port"}, "cluster \"room\": rpc engine \"hub\": no port", 2, 0},
        {{.serve = CEREUS_E_IO}, "cluster \"room\": rpc engine \"hub\": an operating system call failed", 2, 0},
        {{.join = CEREUS_E_UNAVAILABLE, .text = "nobody hears us"},
         "cluster \"room\": discovery \"hub\": nobody hears us",
         2,
         1},
        {{.join = CEREUS_E_UNAVAILABLE},
         "cluster \"room\": discovery \"hub\": a server or engine cannot be reached",
         2,
         1},
    };
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        node *n = node_new("room-1");
        n->faults = cases[i].faults;
        cereus_test_app *t = server_new("room", n);
        cereus_error err = {0};
        cereus_status st = cereus_app_start(cereus_test_get_app(t), &err);
        assert_int_not_equal(st, CEREUS_OK);
        assert_string_equal(err.msg, cases[i].text);
        assert_int_equal(n->started, cases[i].started);
        assert_int_equal(n->left, cases[i].left);
        cereus_test_end(t);
    }
}

/* ---- messages ---- */

static void answers_find_the_loop_that_asked(void **state)
{
    node *front_node = node_new("front-1"), *room_node = node_new("room-1");
    cereus_test_app *room = server_start("room", room_node), *front = server_start("front", front_node);
    cereus_test_client *players[8];
    for (size_t i = 0; i < CEREUS_COUNT(players); i++)
        players[i] = cereus_test_connect(front, CEREUS_TEST_TCP);
    for (unsigned loop = 0; loop < LOOPS; loop++) { /* for each player one of the two is another than its own */
        pthread_mutex_lock(&hub.mu);
        hub.to_loop = loop;
        pthread_mutex_unlock(&hub.mu);
        uint64_t requests[CEREUS_COUNT(players)][20];
        char text[30];
        for (size_t i = 0; i < CEREUS_COUNT(players); i++) {
            for (size_t k = 0; k < 20; k++) {
                snprintf(text, sizeof text, "%zu of %zu", k, i);
                requests[i][k] = cereus_test_request(players[i], "room.x.echo", k ? text : "");
            }
        }
        for (size_t i = 0; i < CEREUS_COUNT(players); i++) {
            for (size_t k = 0; k < 20; k++) {
                snprintf(text, sizeof text, "%zu of %zu", k, i);
                assert_string_equal(cereus_test_await(players[i], requests[i][k])->body, k ? text : "");
            }
        }
        for (size_t i = 0; i < CEREUS_COUNT(players); i++) {
            snprintf(text, sizeof text, "player-%zu", i);
            if (loop == 0)
                assert_string_equal(cereus_test_call(players[i], "room.x.bind", text), text);
            uint64_t request = cereus_test_request(players[i], "room.x.push", text);
            cereus_test_expect_push(players[i], "onPush", text);
            assert_string_equal(cereus_test_await(players[i], request)->body, text);
        }
    }
    assert_int_equal(counter(front, "rpc_late_replies"), 0);
    assert_int_equal(counter(front, "rpc_garbage") + counter(room, "rpc_garbage"), 0);
    cereus_test_end(front);
    cereus_test_end(room);
}

static void end_way(node *n, item_kind kind, const char *id)
{
    for (unsigned loop = 0; loop < LOOPS; loop++)
        post(n, loop, kind, id, strlen(id));
}

static void an_answer_to_an_earlier_life_is_dropped_and_counted(void **state)
{
    node *room_node = node_new("room-1"), *old_node = node_new("front-1");
    cereus_test_app *room = server_start("room", room_node), *front = server_start("front", old_node);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    set_keeps(room_node, true);
    cereus_test_request(c, "room.x.echo", "old");
    cereus_test_settle(front);
    item *old = take_kept(room_node);
    end_way(old_node, BROKEN, "room-1"); /* so that its end waits for no answer */
    cereus_test_end(front);

    node *new_node = node_new("front-1");
    front = server_start("front", new_node);
    uint64_t request = 0;
    item *fresh = NULL;
    for (bool same = false; !same;) { /* until a player is on that loop: the call has the number of the old one */
        free(fresh);
        c = cereus_test_connect(front, CEREUS_TEST_TCP);
        request = cereus_test_request(c, "room.x.echo", "new");
        cereus_test_settle(front);
        fresh = take_kept(room_node);
        same = memcmp(fresh->bytes + LOOP_AT, old->bytes + LOOP_AT, 2) == 0 &&
               memcmp(fresh->bytes + ID_AT, old->bytes + ID_AT, 8) == 0;
    }
    assert_int_equal(old->bytes[0], KIND_RESPONSE);
    assert_int_equal(fresh->bytes[0], KIND_RESPONSE);
    assert_memory_not_equal(fresh->bytes, old->bytes, HEAD_MIN); /* its life */
    for (unsigned loop = 0; loop < LOOPS; loop++)
        post(new_node, loop, MESSAGE, old->bytes, old->len);
    cereus_test_expect_counter(front, "rpc_late_replies", 2);
    post(new_node, 0, MESSAGE, fresh->bytes, fresh->len);
    assert_string_equal(cereus_test_await(c, request)->body, "new");
    post(new_node, 1, MESSAGE, fresh->bytes, fresh->len); /* once more */
    cereus_test_expect_counter(front, "rpc_late_replies", 3);
    assert_int_equal(counter(front, "rpc_garbage"), 0);
    end_way(new_node, BROKEN, "room-1"); /* the other players' */
    free(old);
    free(fresh);
    cereus_test_end(front);
    cereus_test_end(room);
}

static size_t head_len(const item *i)
{
    return HEAD_MIN + (size_t)i->bytes[HEAD_MIN - 1];
}

static void garbage_is_counted_and_ignored(void **state)
{
    node *front_node = node_new("front-1"), *room_node = node_new("room-1");
    cereus_test_app *room = server_start("room", room_node), *front = server_start("front", front_node);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    uint64_t expected = 0;
    assert_string_equal(cereus_test_call(c, "room.x.bind", "alice"), "alice");
    set_keeps(front_node, true);
    uint64_t request = cereus_test_request(c, "room.x.tell", "hello");
    cereus_test_settle(front);
    item *call = take_kept(front_node);
    set_keeps(room_node, true);
    post(room_node, 1, MESSAGE, call->bytes, call->len);
    item *hello = take_kept(room_node), *answer = take_kept(room_node);
    if (hello->bytes[0] != KIND_PUSH) { /* either may be first */
        item *first = hello;
        hello = answer;
        answer = first;
    }
    assert_int_equal(call->bytes[0], KIND_REQUEST);
    assert_int_equal(hello->bytes[0], KIND_PUSH);
    assert_int_equal(answer->bytes[0], KIND_RESPONSE);
    set_keeps(room_node, false);
    set_keeps(front_node, false);

    item *all[] = {call, hello, answer};
    for (size_t i = 0; i < CEREUS_COUNT(all); i++) {
        for (size_t len = 0; len < head_len(all[i]); len++, expected++)
            post(front_node, len % LOOPS, MESSAGE, all[i]->bytes, len);
    }
    for (unsigned kind = 0; kind < 256; kind++) { /* kinds that there are not */
        if (kind >= KIND_REQUEST && kind <= KIND_BOUND)
            continue;
        hello->bytes[0] = (uint8_t)kind;
        post(front_node, kind % LOOPS, MESSAGE, hello->bytes, hello->len);
        expected++;
    }
    hello->bytes[0] = KIND_PUSH;
    size_t body_len = strlen("hello");
    for (size_t len = head_len(hello); len < hello->len - body_len; len++, expected++)
        post(front_node, len % LOOPS, MESSAGE, hello->bytes, len);
    uint8_t loop_was = answer->bytes[1];
    answer->bytes[1] = LOOPS; /* it asks for a loop that there is not */
    post(front_node, 0, MESSAGE, answer->bytes, answer->len);
    answer->bytes[1] = answer->bytes[2] = 0xff;
    post(front_node, 1, MESSAGE, answer->bytes, answer->len);
    answer->bytes[1] = loop_was;
    answer->bytes[2] = 0;
    expected += 2;
    cereus_test_expect_counter(front, "rpc_garbage", expected);

    post(front_node, 1, MESSAGE, hello->bytes, hello->len); /* and what is none of that arrives */
    cereus_test_expect_push(c, "onPush", "hello");
    post(front_node, 0, MESSAGE, answer->bytes, answer->len);
    assert_string_equal(cereus_test_await(c, request)->body, "hello");
    assert_string_equal(cereus_test_call(c, "room.x.echo", "still there"), "still there");
    assert_int_equal(counter(front, "rpc_garbage"), expected);
    assert_int_equal(counter(front, "rpc_late_replies"), 0);
    assert_non_null(cereus_test_logged(front, "another server sent garbage"));
    for (size_t i = 0; i < CEREUS_COUNT(all); i++)
        free(all[i]);
    cereus_test_end(front);
    cereus_test_end(room);
}

static void requests_that_are_cut_or_changed_end_nobody(void **state)
{
    node *front_node = node_new("front-1"), *room_node = node_new("room-1");
    cereus_test_app *room = server_start("room", room_node), *front = server_start("front", front_node);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    set_keeps(front_node, true);
    uint64_t request = cereus_test_request(c, "room.x.echo", "hello");
    cereus_test_settle(front);
    item *call = take_kept(front_node);
    set_keeps(front_node, false);
    set_keeps(room_node, true); /* whatever it answers to that */
    for (size_t len = head_len(call); len < call->len; len++)
        post(room_node, len % LOOPS, MESSAGE, call->bytes, len);
    for (size_t at = 0; at < call->len; at++) {
        uint8_t was = call->bytes[at];
        for (unsigned k = 1; k < 256; k = 2 * k + 1) {
            call->bytes[at] = (uint8_t)(was ^ k);
            post(room_node, k % LOOPS, MESSAGE, call->bytes, call->len);
        }
        call->bytes[at] = was;
    }
    for (unsigned loop = 0; loop < LOOPS; loop++) /* the last of each loop, so all before have been looked at */
        post(room_node, loop, MESSAGE, "", 0);
    cereus_test_expect_counter(room, "rpc_garbage", 2);
    memset(call->bytes + 1, 0xee, HEAD_MIN - 2); /* the number of a call that can be told from those */
    post(room_node, 0, MESSAGE, call->bytes, call->len);
    for (bool found = false; !found;) {
        item *answer = take_kept(room_node);
        found = answer->len > HEAD_MIN && answer->bytes[0] == KIND_RESPONSE &&
                memcmp(answer->bytes + 1, call->bytes + 1, HEAD_MIN - 2) == 0;
        free(answer);
    }
    end_way(front_node, BROKEN, "room-1");
    assert_string_equal(cereus_test_await(c, request)->msg, "the server has gone");
    free(call);
    cereus_test_end(front);
    cereus_test_end(room);
}

/* ---- what send says ---- */

static void what_send_says_is_what_the_caller_hears(void **state)
{
    static const struct {
        cereus_status status;
        const char *code, *msg;
    } cases[] = {
        {CEREUS_E_UNAVAILABLE, "PIT-500", "rpc client has no connection to the chosen server"},
        {CEREUS_E_TOO_LONG, "PIT-000", "nats: maximum payload exceeded"}, /* in Pitaya's words */
        {CEREUS_E_FULL, "PIT-500", "a bounded queue is full"},
        {CEREUS_E_NOMEM, "PIT-500", "out of memory"},
    };
    node *front_node = node_new("front-1"), *room_node = node_new("room-1");
    cereus_test_app *room = server_start("room", room_node), *front = server_start("front", front_node);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        let_fail(front_node, cases[i].status, 1);
        uint64_t request = cereus_test_request(c, "room.x.echo", "x");
        const cereus_test_event *e = cereus_test_await(c, request);
        assert_int_equal(e->kind, CEREUS_TEST_ERROR);
        assert_string_equal(e->code, cases[i].code);
        assert_string_equal(e->msg, cases[i].msg);
        assert_string_equal(cereus_test_call(c, "room.x.echo", "y"), "y");
    }
    assert_int_equal(counter(front, "rpc_outbox_full"), 1);
    cereus_test_end(front);
    cereus_test_end(room);
}

static void an_answer_that_cannot_be_sent_is_counted(void **state)
{
    node *front_node = node_new("front-1"), *room_node = node_new("room-1");
    cereus_test_app *room = server_start("room", room_node), *front = server_start("front", front_node);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    static const cereus_status lost[] = {CEREUS_E_UNAVAILABLE, CEREUS_E_FULL, CEREUS_E_NOMEM};
    for (size_t i = 0; i < CEREUS_COUNT(lost); i++) {
        let_fail(room_node, lost[i], 1);
        uint64_t request = cereus_test_request(c, "room.x.echo", "x");
        cereus_test_settle(front);
        cereus_test_expect_counter(room, "rpc_replies_lost", i + 1);
        for (unsigned loop = 0; loop < LOOPS; loop++)
            post(front_node, loop, BROKEN, "room-1", strlen("room-1"));
        const cereus_test_event *e = cereus_test_await(c, request);
        assert_string_equal(e->msg, "the server has gone");
    }
    let_fail(room_node, CEREUS_E_TOO_LONG, 1); /* then an error goes in its place */
    const cereus_test_event *e = cereus_test_call_fails(c, "room.x.echo", "x", "PIT-500");
    assert_string_equal(e->msg, "the reply is longer than servers may send");
    assert_int_equal(counter(room, "rpc_replies_lost"), CEREUS_COUNT(lost));
    cereus_test_end(front);
    cereus_test_end(room);
}

/* ---- ways that end ---- */

static void a_broken_way_ends_the_calls_on_it(void **state)
{
    node *front_node = node_new("front-1"), *room_node = node_new("room-1");
    cereus_test_app *room = server_start("room", room_node), *front = server_start("front", front_node);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    set_keeps(front_node, true);
    uint64_t requests[3];
    for (int i = 0; i < 3; i++)
        requests[i] = cereus_test_request(c, "room.x.echo", "x");
    cereus_test_settle(front);
    free(take_kept(front_node));
    end_way(front_node, BROKEN, "room-2"); /* another's */
    end_way(front_node, ENDED, "room-1");  /* it has not left */
    end_way(front_node, BROKEN, "room-1");
    assert_string_equal(cereus_test_await(c, requests[0])->msg, "the server has gone");
    set_keeps(front_node, false);
    end_way(front_node, BROKEN, "room-1"); /* the others wait in the lane until they know that it is one of ours */
    for (int i = 1; i < 3; i++)
        cereus_test_await(c, requests[i]);
    assert_string_equal(cereus_test_call(c, "room.x.echo", "again"), "again");
    cereus_test_end(front);
    cereus_test_end(room);
}

static void calls_to_who_has_left_are_answered_or_end_with_the_way(void **state)
{
    hub.by_hand = true;
    node *front_node = node_new("front-1"), *old_node = node_new("room-1"), *other_node = node_new("room-2");
    cereus_test_app *old = server_start("room", old_node), *other = server_start("room", other_node),
                    *front = server_start("front", front_node);
    cereus_test_client *c[2] = {cereus_test_connect(front, CEREUS_TEST_TCP),
                                cereus_test_connect(front, CEREUS_TEST_TCP)};
    list_by_hand(old_node, &front_node, 1);
    for (int round = 0; round < 2; round++) {
        node *both[] = {front_node, old_node};
        list_by_hand(front_node, both, 2);
        await_listed(front_node, "room-1", true);
        set_keeps(front_node, true);
        uint64_t requests[2];
        item *calls[2];
        for (int i = 0; i < 2; i++) {
            requests[i] = cereus_test_request(c[i], "room.x.echo", i ? "one" : "none");
            cereus_test_settle(front);
            calls[i] = take_kept(front_node);
        }
        set_keeps(front_node, false);
        unsigned gone = front_node->gone;
        list_by_hand(front_node, &front_node, 1);
        await_listed(front_node, "room-1", false);
        assert_int_equal(front_node->gone, gone + LOOPS);
        list_by_hand(front_node, both, 2); /* it comes back under its id */
        await_listed(front_node, "room-1", true);
        post(old_node, 0, MESSAGE, calls[1]->bytes, calls[1]->len); /* what was asked before is still answered */
        assert_string_equal(cereus_test_await(c[1], requests[1])->body, "one");
        end_way(front_node, BROKEN, "room-1"); /* the new way, on which nothing is out */
        end_way(front_node, ENDED, "room-2");
        assert_string_equal(cereus_test_call(c[1], "room.x.echo", "new"), "new");
        assert_false(cereus_test_answered(c[0], requests[0]));
        end_way(front_node, ENDED, "room-1");
        assert_string_equal(cereus_test_await(c[0], requests[0])->msg, "the server has gone");
        end_way(front_node, ENDED, "room-1");
        for (int i = 0; i < 2; i++)
            free(calls[i]);
    }
    cereus_test_end(front);
    cereus_test_end(other);
    cereus_test_end(old);
}

/* ---- lists ---- */

static void a_list_is_checked_and_we_are_always_in_it(void **state)
{
    hub.by_hand = true;
    node *front_node = node_new("front-1");
    cereus_test_app *front = server_start("front", front_node);
    cereus_test_client *c = cereus_test_connect(front, CEREUS_TEST_TCP);
    char long_name[300];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    char *long_text = calloc(1, (64 << 10) + 1);
    assert_non_null(long_text);
    memset(long_text, 'x', 64 << 10);
    assert_string_equal(cereus_test_call(c, "front.x.members", "front"), "1"); /* nobody has told us anything */
    const cereus_server list[] = {
        {.id = "room-1", .type = "room"},
        {.id = "room-1", .type = "room", .hostname = "the later counts"},
        {.id = "room-2", .type = "room", .metadata = "{\"a\":\"b\"}"},
        {.id = "", .type = "room"},
        {.type = "room"},
        {.id = "room-3"},
        {.id = "a/b", .type = "room"},
        {.id = "a b", .type = "room"},
        {.id = "a\nb", .type = "room"},
        {.id = long_name, .type = "room"},
        {.id = "room-4", .type = "room", .metadata = "no JSON"},
        {.id = "room-5", .type = "room", .metadata = "[]"},
        {.id = "room-6", .type = "room", .metadata = "{\"a\":{\"b\":\"c\"}}"},
        {.id = "room-7", .type = "room", .hostname = "\xff"},
        {.id = "room-\xc3", .type = "room"},
        {.id = "room-9", .type = "room", .hostname = long_text},
        {0},
    };
    assert_int_equal(cereus_discovery_set_list(front_node->discovery, list, CEREUS_COUNT(list)), CEREUS_OK);
    await_members(c, "room", "2");
    assert_string_equal(cereus_test_call(c, "front.x.members", "front"), "1");
    assert_int_equal(counter(front, "discovery_entries_refused"), 14);
    free(long_text);
    assert_int_equal(cereus_discovery_set_list(front_node->discovery, NULL, 0), CEREUS_OK);
    await_members(c, "room", "0");
    assert_string_equal(cereus_test_call(c, "front.x.members", "front"), "1");
    assert_int_equal(cereus_discovery_set_list(front_node->discovery, list, SIZE_MAX / 8), CEREUS_E_NOMEM);
    cereus_test_end(front);
}

static void tell_early(node *n)
{
    const cereus_server room = {.id = "room-1", .type = "room"};
    cereus_test_check(cereus_discovery_set_list(n->discovery, &room, 1) == CEREUS_OK);
}

static void a_list_that_was_told_before_the_loops_ran_counts(void **state)
{
    hub.by_hand = true;
    node *n = node_new("front-1");
    n->on_open = tell_early;
    cereus_test_app *t = server_start("front", n);
    cereus_test_client *c = cereus_test_connect(t, CEREUS_TEST_TCP);
    await_members(c, "room", "1"); /* the other loop hears it a moment later */
    cereus_test_end(t);
}

typedef struct teller {
    pthread_t thread;
    atomic_bool ended;
    atomic_uint rounds;
    cereus_discovery *discovery;
} teller;

static teller tellers[2];

static void *tell(void *user)
{
    teller *t = user;
    char ids[20][20];
    cereus_server list[20];
    for (unsigned round = 0; !t->ended; round++) {
        size_t count = round % CEREUS_COUNT(list);
        for (size_t i = 0; i < count; i++) {
            snprintf(ids[i], sizeof ids[i], "room-%u", (unsigned)(round / 2 + i));
            list[i] = (cereus_server){.id = ids[i], .type = "room"};
        }
        if (cereus_discovery_set_list(t->discovery, list, count))
            abort();
        cereus_discovery_set_ready(t->discovery, round % 3 == 0);
        t->rounds++;
        if (round % 8 == 0)
            usleep(100); /* leave the loops some room */
    }
    return NULL;
}

static void begin_telling(node *n)
{
    for (size_t i = 0; i < CEREUS_COUNT(tellers); i++) {
        tellers[i].ended = false;
        tellers[i].rounds = 0;
        tellers[i].discovery = n->discovery;
        cereus_test_check(pthread_create(&tellers[i].thread, NULL, tell, &tellers[i]) == 0);
    }
}

static void end_telling(node *n)
{
    for (size_t i = 0; i < CEREUS_COUNT(tellers); i++) {
        tellers[i].ended = true;
        pthread_join(tellers[i].thread, NULL);
    }
}

static void lists_come_from_any_thread_while_the_app_starts_runs_and_stops(void **state)
{
    hub.by_hand = true;
    for (int i = 0; i < 6; i++) {
        node *n = node_new("front-1");
        n->on_open = begin_telling;
        n->on_close = end_telling;
        n->faults.join = i == 4 ? CEREUS_E_IO : CEREUS_OK; /* also while a start is undone */
        cereus_test_app *t = server_new("front", n);
        static const char text[] = "cluster \"front\": discovery \"hub\": an operating system call failed";
        if (i == 4)
            assert_string_equal(cereus_test_start_fails(t, CEREUS_E_FAILED), text);
        else
            cereus_test_start(t);
        unsigned begin = tellers[0].rounds;
        for (int k = 0; k < 10 && i != 4; k++) {
            cereus_test_client *c = cereus_test_connect(t, CEREUS_TEST_TCP);
            cereus_test_call(c, "front.x.members", "room");
            cereus_app_is_ready(cereus_test_get_app(t));
        }
        while (i % 2 && i != 4 && tellers[0].rounds < begin + 200)
            usleep(100);
        cereus_test_end(t);
    }
}

static void ready_is_what_both_engines_say(void **state)
{
    node *n = node_new("room-1");
    cereus_test_app *t = server_new("room", n);
    cereus_app *app = cereus_test_get_app(t);
    assert_false(cereus_app_is_ready(app));
    cereus_test_start(t);
    assert_true(cereus_app_is_ready(app));
    cereus_discovery_set_ready(n->discovery, false);
    assert_false(cereus_app_is_ready(app));
    cereus_discovery_set_ready(n->discovery, true);
    assert_true(cereus_app_is_ready(app));
    n->disconnected = true;
    assert_false(cereus_app_is_ready(app));
    n->disconnected = false;
    assert_true(cereus_app_is_ready(app));
    cereus_test_end(t);
}

#define HUB_TEST(f) cmocka_unit_test_setup_teardown(f, hub_begin, hub_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(engines_are_added_by_a_name_of_their_own),
        cmocka_unit_test(engines_lack_no_function),
        HUB_TEST(a_running_app_takes_no_engine_and_an_unknown_one_ends_the_start),
        HUB_TEST(a_function_that_fails_ends_the_start_in_its_words),
        HUB_TEST(answers_find_the_loop_that_asked),
        HUB_TEST(an_answer_to_an_earlier_life_is_dropped_and_counted),
        HUB_TEST(garbage_is_counted_and_ignored),
        HUB_TEST(requests_that_are_cut_or_changed_end_nobody),
        HUB_TEST(what_send_says_is_what_the_caller_hears),
        HUB_TEST(an_answer_that_cannot_be_sent_is_counted),
        HUB_TEST(a_broken_way_ends_the_calls_on_it),
        HUB_TEST(calls_to_who_has_left_are_answered_or_end_with_the_way),
        HUB_TEST(a_list_is_checked_and_we_are_always_in_it),
        HUB_TEST(a_list_that_was_told_before_the_loops_ran_counts),
        HUB_TEST(lists_come_from_any_thread_while_the_app_starts_runs_and_stops),
        HUB_TEST(ready_is_what_both_engines_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
