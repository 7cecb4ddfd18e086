/* tests/unit/cluster/test_local_rpc.c: servers of one machine over real sockets, all on one loop that the test turns; and a
 * peer that does not keep to the protocol, or does not read, which the test plays itself. */
#include "loop.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cluster/rpc/rpc_impl.h"

enum { REQUEST_MAX = 1 << 20, HEAD = 13 };

static test_loop world;
static crs_log quiet;
static char dir[64];

/** Until no side has anything more to say: what one writes at its turn's end, the other reads in a later one. */
static void settle(void)
{
    for (int i = 0; i < 8; i++)
        test_settle(&world);
}

/** For what takes many turns to arrive: 64 KiB are read in each. */
static void settle_long(void)
{
    for (int i = 0; i < 100; i++)
        settle();
}

typedef struct peer {
    cereus_server self;
    crs_rpc *rpc;
    crs_rpc_link *link;
    size_t requests, pushes, uids, kicks, binds;
    bool mute; /* keeps the requests unanswered */
    cereus_slice answer;
    char last[100];
    char reply_to[10][64];
    size_t reply_to_len;
} peer;

static void on_request(void *user, crs_rpc_link *link, cereus_slice request, cereus_slice reply_to)
{
    peer *p = user;
    snprintf(p->last, sizeof p->last, "%.*s", (int)CRS_MIN(request.len, (size_t)50), (const char *)request.data);
    if (p->requests < 10 && reply_to.len <= sizeof p->reply_to[0]) {
        memcpy(p->reply_to[p->requests], reply_to.data, reply_to.len);
        p->reply_to_len = reply_to.len;
    }
    p->requests++;
    if (!p->mute)
        crs_rpc_reply(link, reply_to, p->answer.data ? p->answer : request);
}

static void on_push(void *user, cereus_slice route, cereus_slice data, const cereus_slice *uids, size_t count)
{
    peer *p = user;
    p->pushes++;
    p->uids += count;
    snprintf(p->last, sizeof p->last, "%.*s %.*s %.*s", (int)route.len, (const char *)route.data, (int)data.len,
             (const char *)data.data, (int)uids[count - 1].len, (const char *)uids[count - 1].data);
}

static void on_kick(void *user, cereus_slice uid)
{
    peer *p = user;
    p->kicks++;
    snprintf(p->last, sizeof p->last, "%.*s", (int)uid.len, (const char *)uid.data);
}

static void on_bound(void *user, const crs_bind_msg *bind)
{
    peer *p = user;
    p->binds++;
    snprintf(p->last, sizeof p->last, "%.*s %.*s", (int)bind->uid.len, (const char *)bind->uid.data,
             (int)bind->frontend_id.len, (const char *)bind->frontend_id.data);
}

static const crs_rpc_events events = {
    .on_request = on_request, .on_push = on_push, .on_kick = on_kick, .on_bound = on_bound};

static void join(peer *p, const char *type, const char *id)
{
    cereus_error err;
    memset(p, 0, sizeof *p);
    p->self = (cereus_server){
        .id = id, .type = type, .frontend = strcmp(type, "connector") == 0, .metadata = "{}", .hostname = "host"};
    crs_rpc_options opt = {.self = &p->self, .log = &quiet, .request_max = REQUEST_MAX, .dir = dir};
    assert_int_equal(crs_rpc_new(&crs_rpc_local, &opt, &p->rpc, &err), CEREUS_OK);
    assert_int_equal(crs_rpc_open(p->rpc, world.loop, &events, p, &p->link, &err), CEREUS_OK);
    assert_int_equal(crs_rpc_serve(p->link, &err), CEREUS_OK);
}

static void leave(peer *p)
{
    p->link = crs_rpc_close(p->link);
    settle();
    p->rpc = crs_rpc_free(p->rpc);
}

static int setup(void **state)
{
    strcpy(dir, "/tmp/cereus-test-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    test_loop_open(&world);
    world.loop->log = &quiet;
    crs_log_init(&quiet, &(crs_log_options){.level = CEREUS_LOG_ERROR});
    return 0;
}

static int teardown(void **state)
{
    test_loop_close(&world);
    return rmdir(dir); /* fails when something is left behind */
}

typedef struct call {
    crs_rpc_call rpc;
    size_t done;
    cereus_status status;
    char text[100];
    size_t len;
} call;

static void done(crs_rpc_call *rpc, cereus_status st, cereus_slice response, const char *why)
{
    call *c = CRS_CONTAINER(rpc, call, rpc);
    c->done++;
    c->status = st;
    c->len = response.len;
    snprintf(c->text, sizeof c->text, "%.*s", st ? 90 : (int)CRS_MIN(response.len, (size_t)90),
             st             ? why
             : response.len ? (const char *)response.data
                            : "");
}

static cereus_status ask(peer *from, const char *id, cereus_slice request, call *c)
{
    cereus_server to = {.id = id, .type = "room"};
    *c = (call){.rpc = {.done = done}};
    return crs_rpc_send(from->link, &to, request, 5000, &c->rpc);
}

static crs_servers *list_of(peer *const *peers, size_t count)
{
    crs_server *all[10];
    for (size_t i = 0; i < count; i++) {
        char *text = crs_server_text(&peers[i]->self);
        assert_int_equal(crs_server_parse(cereus_slice_str(text), &all[i]), CEREUS_OK);
        crs_free(text);
    }
    crs_servers *list = crs_servers_new(all, count);
    for (size_t i = 0; i < count; i++)
        crs_server_unref(all[i]);
    return list;
}

static uint64_t counter(crs_counter which)
{
    return atomic_load(&world.loop->counters.v[which]);
}

/* ---- among servers ---- */

static void requests_are_answered_in_any_number_over_one_connection(void **state)
{
    peer a, b;
    static call calls[500];
    char text[20];
    join(&a, "connector", "gate-1");
    join(&b, "room", "room-1");
    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof text, "hello %d", i);
        assert_int_equal(ask(&a, "room-1", cereus_slice_str(text), &calls[i]), CEREUS_OK);
    }
    assert_int_equal(calls[0].done, 0);
    settle();
    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof text, "hello %d", i);
        assert_int_equal(calls[i].done, 1);
        assert_string_equal(calls[i].text, text);
    }
    leave(&a);
    leave(&b);
}

static void the_longest_message_arrives_with_others_right_behind_it(void **state)
{
    peer a, b;
    call calls[40], refused;
    uint8_t *big = calloc(1, REQUEST_MAX + 1);
    join(&a, "connector", "gate-1");
    join(&b, "room", "room-1");
    b.answer = cereus_slice_str("got it");
    for (int i = 0; i < 40; i++) /* whatever part of it is read with what follows */
        assert_int_equal(ask(&a, "room-1", cereus_slice_of(big, i % 4 ? 9000 : REQUEST_MAX), &calls[i]), CEREUS_OK);
    assert_int_equal(ask(&a, "room-1", cereus_slice_of(big, REQUEST_MAX + 1), &refused), CEREUS_E_TOO_LONG);
    settle_long();
    for (int i = 0; i < 40; i++)
        assert_string_equal(calls[i].text, "got it");
    assert_int_equal(b.requests, 40);
    assert_int_equal(counter(CRS_COUNTER_rpc_garbage), 0);
    b.answer = cereus_slice_of(big, REQUEST_MAX + 1);
    assert_int_equal(ask(&a, "room-1", cereus_slice_str("x"), &calls[0]), CEREUS_OK);
    settle();
    assert_int_equal(calls[0].status, CEREUS_OK); /* an error of the remote's: its text is the protocol's */
    assert_non_null(strstr(calls[0].text, "PIT-500"));
    free(big);
    leave(&a);
    leave(&b);
}

static void who_is_not_there_cannot_be_called(void **state)
{
    peer a;
    call c;
    join(&a, "connector", "gate-1");
    assert_int_equal(ask(&a, "room-7", cereus_slice_str("x"), &c), CEREUS_OK);
    assert_int_equal(c.done, 0);
    settle();
    assert_int_equal(c.status, CEREUS_E_UNAVAILABLE);
    assert_string_equal(c.text, "rpc client has no connection to the chosen server");
    leave(&a);
}

static void the_end_of_a_server_ends_what_it_was_asked(void **state)
{
    peer a, b;
    call calls[3];
    join(&a, "connector", "gate-1");
    join(&b, "room", "room-1");
    b.mute = true;
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(&a, "room-1", cereus_slice_str("x"), &calls[i]), CEREUS_OK);
    settle();
    assert_int_equal(b.requests, 3);
    crs_rpc_reply(b.link, cereus_slice_of(b.reply_to[1], b.reply_to_len), cereus_slice_str("the second"));
    leave(&b);
    settle();
    assert_string_equal(calls[1].text, "the second");
    assert_int_equal(calls[0].status, CEREUS_E_UNAVAILABLE);
    assert_string_equal(calls[0].text, "the server has gone");
    assert_int_equal(calls[2].status, CEREUS_E_UNAVAILABLE);
    leave(&a);
}

static void a_reply_to_a_connection_that_has_ended_reaches_nobody(void **state)
{
    peer a, b;
    call c;
    join(&a, "connector", "gate-1");
    join(&b, "room", "room-1");
    b.mute = true;
    assert_int_equal(ask(&a, "room-1", cereus_slice_str("x"), &c), CEREUS_OK);
    settle();
    leave(&a);
    assert_int_equal(c.status, CEREUS_E_CANCELLED);
    settle();
    join(&a, "connector", "gate-1"); /* another one, in the same place */
    assert_int_equal(ask(&a, "room-1", cereus_slice_str("x"), &c), CEREUS_OK);
    settle();
    crs_rpc_reply(b.link, cereus_slice_of(b.reply_to[0], b.reply_to_len), cereus_slice_str("too late"));
    crs_rpc_reply(b.link, cereus_slice_of(b.reply_to[0], b.reply_to_len - 1), cereus_slice_str("nonsense"));
    settle();
    assert_int_equal(c.done, 0);
    assert_int_equal(counter(CRS_COUNTER_rpc_replies_lost), 2);
    leave(&a);
    leave(&b);
}

static void who_comes_back_under_its_name_is_called_and_not_the_old_one(void **state)
{
    peer a, old, new;
    call first, second;
    join(&a, "connector", "gate-1");
    join(&old, "room", "room-1");
    old.mute = true;
    assert_int_equal(ask(&a, "room-1", cereus_slice_str("for the old one"), &first), CEREUS_OK);
    settle();
    join(&new, "room", "room-1"); /* the old one still ends what it has */
    crs_rpc_server_gone(a.link, "room-1");
    assert_int_equal(ask(&a, "room-1", cereus_slice_str("for the new one"), &second), CEREUS_OK);
    settle();
    assert_string_equal(second.text, "for the new one");
    assert_int_equal(new.requests, 1);
    crs_rpc_reply(old.link, cereus_slice_of(old.reply_to[0], old.reply_to_len), cereus_slice_str("from the old one"));
    settle();
    assert_string_equal(first.text, "from the old one");
    leave(&old); /* leaves the socket of the new one alone */
    call third;
    crs_rpc_server_gone(a.link, "room-1");
    assert_int_equal(ask(&a, "room-1", cereus_slice_str("again"), &third), CEREUS_OK);
    settle();
    assert_string_equal(third.text, "again");
    leave(&new);
    leave(&a);
}

static void who_has_left_knows_when_nobody_can_call_it_any_more(void **state)
{
    peer a, b;
    call c;
    join(&a, "connector", "gate-1");
    join(&b, "room", "room-1");
    b.mute = true;
    assert_false(crs_rpc_has_callers(b.link));
    assert_int_equal(ask(&a, "room-1", cereus_slice_str("x"), &c), CEREUS_OK);
    settle();
    assert_true(crs_rpc_has_callers(b.link) && !crs_rpc_has_callers(a.link));
    crs_rpc_server_gone(a.link, "room-1"); /* a has seen that it leaves, but waits for its answer */
    settle();
    assert_true(crs_rpc_has_callers(b.link));
    crs_rpc_reply(b.link, cereus_slice_of(b.reply_to[0], b.reply_to_len), cereus_slice_str("the last"));
    settle();
    assert_string_equal(c.text, "the last");
    assert_false(crs_rpc_has_callers(b.link));
    leave(&a);
    leave(&b);
}

static void a_socket_that_a_crash_left_behind_is_removed(void **state)
{
    peer a, b;
    char path[128];
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/room-9.sock", dir);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    close(fd);
    snprintf(path, sizeof path, "%s/gate-1.sock", dir);
    assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0); /* and a file with our own name */
    join(&b, "room", "room-1");
    join(&a, "connector", "gate-1");
    struct stat st;
    assert_int_equal(stat(addr.sun_path, &st), -1);
    call c;
    assert_int_equal(ask(&a, "room-1", cereus_slice_str("x"), &c), CEREUS_OK);
    settle();
    assert_string_equal(c.text, "x");
    leave(&a);
    leave(&b);
}

static void pushes_kicks_and_binds_reach_the_frontends_of_their_type(void **state)
{
    peer back, one, two, other;
    join(&back, "room", "room-1");
    join(&one, "connector", "gate-1");
    join(&two, "connector", "gate-2");
    join(&other, "room", "room-2");
    peer *all[] = {&back, &one, &two, &other};
    crs_servers *list = list_of(all, 4);
    cereus_slice uids[] = {cereus_slice_str("alice"), cereus_slice_str("bob")};
    assert_int_equal(
        crs_rpc_push(back.link, "connector", list, cereus_slice_str("onX"), cereus_slice_str("hi"), uids, 2),
        CEREUS_OK);
    settle();
    assert_string_equal(one.last, "onX hi bob");
    assert_string_equal(two.last, "onX hi bob");
    assert_int_equal(one.pushes + one.uids, 3); /* one message for both */
    assert_int_equal(back.pushes + other.pushes, 0);
    assert_int_equal(crs_rpc_kick(back.link, "connector", list, uids[0]), CEREUS_OK);
    settle();
    assert_string_equal(one.last, "alice");
    assert_int_equal(one.kicks + two.kicks, 2);
    crs_bind_msg bind = {.uid = uids[1], .frontend_id = cereus_slice_str("gate-1")};
    assert_int_equal(crs_rpc_announce(one.link, list, &bind), CEREUS_OK);
    settle();
    assert_string_equal(two.last, "bob gate-1");
    assert_int_equal(two.binds, 1);
    assert_int_equal(one.binds + back.binds, 0);
    crs_servers_unref(list);
    leave(&two); /* one of them goes: the others are reached all the same */
    peer *rest[] = {&back, &one, &two};
    list = list_of(rest, 3);
    assert_int_equal(
        crs_rpc_push(back.link, "connector", list, cereus_slice_str("onX"), cereus_slice_str("hi"), uids, 1),
        CEREUS_OK);
    settle();
    assert_int_equal(one.pushes, 2);
    crs_servers_unref(list);
    leave(&one);
    leave(&back);
    leave(&other);
}

static void a_push_to_very_many_users_goes_in_parts(void **state)
{
    enum { COUNT = 100000 };
    peer back, one;
    join(&back, "room", "room-1");
    join(&one, "connector", "gate-1");
    peer *all[] = {&back, &one};
    crs_servers *list = list_of(all, 2);
    cereus_slice *uids = malloc(COUNT * sizeof *uids);
    for (size_t i = 0; i < COUNT; i++)
        uids[i] = cereus_slice_str("a-user-of-some-length");
    uids[COUNT - 1] = cereus_slice_str("the-last");
    assert_int_equal(
        crs_rpc_push(back.link, "connector", list, cereus_slice_str("onX"), cereus_slice_str("hi"), uids, COUNT),
        CEREUS_OK); /* more than a message may have */
    settle_long();
    assert_int_equal(one.uids, COUNT);
    assert_in_range(one.pushes, 2, 10);
    assert_string_equal(one.last, "onX hi the-last");
    free(uids);
    crs_servers_unref(list);
    leave(&one);
    leave(&back);
}

/* ---- against a peer that the test plays ---- */

static int dial(const char *id)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/%s.sock", dir, id);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

static int listen_as(const char *id, char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/%s.sock", dir, id);
    strcpy(path, addr.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void garbage_ends_its_connection_and_nothing_else(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"\x08\0\0\0\1\0\0\0\0\0\0\0\0", 13},                 /* shorter than a head */
        {"\xff\xff\xff\xff\1\0\0\0\0\0\0\0\0", 13},           /* 4 GiB */
        {"\x0a\0\x10\0\1\0\0\0\0\0\0\0\0", 13},               /* one byte more than the longest */
        {"\x09\0\0\0\0\0\0\0\0\0\0\0\0", 13},                 /* no such kind */
        {"\x09\0\0\0\x63\0\0\0\0\0\0\0\0", 13},               /* nor that */
        {"\x09\0\0\0\3\0\0\0\0\0\0\0\0", 13},                 /* a push without a count */
        {"\x0d\0\0\0\3\0\0\0\0\0\0\0\0\xff\xff\xff\xff", 17}, /* of 2^32 uids */
        {"\x0f\0\0\0\3\0\0\0\0\0\0\0\0\1\0\0\0\5\0", 19},     /* whose uid ends behind it */
        {"\x0f\0\0\0\3\0\0\0\0\0\0\0\0\1\0\0\0\0\0", 19},     /* without a route */
        {"\x0a\0\0\0\5\0\0\0\0\0\0\0\0\xff", 14},             /* a bind that is no protobuf */
        {"GET / HTTP/1.1\r\n\r\n", 18},
    };
    peer a, b;
    join(&a, "connector", "gate-1");
    join(&b, "room", "room-1");
    for (size_t i = 0; i < CEREUS_COUNT(cases); i++) {
        int fd = dial("room-1");
        assert_int_equal(write(fd, cases[i].bytes, cases[i].len), (ssize_t)cases[i].len);
        settle();
        if (!is_closed(fd))
            fail_msg("case %zu: the connection is still open", i);
        close(fd);
    }
    assert_int_equal(counter(CRS_COUNTER_rpc_garbage), CEREUS_COUNT(cases));
    assert_int_equal(b.pushes + b.binds + b.requests, 0);
    int fd = dial("room-1"); /* replies to nobody, a reply to somebody else's call */
    assert_int_equal(write(fd, "\x09\0\0\0\2\0\0\0\0\1\0\0\0", 13), 13);
    settle();
    assert_false(is_closed(fd));
    assert_int_equal(counter(CRS_COUNTER_rpc_late_replies), 1);
    close(fd);
    call c;
    assert_int_equal(ask(&a, "room-1", cereus_slice_str("x"), &c), CEREUS_OK);
    settle();
    assert_string_equal(c.text, "x");
    leave(&a);
    leave(&b);
}

static void frames_may_come_in_any_parts(void **state)
{
    peer b;
    join(&b, "room", "room-1");
    int fd = dial("room-1");
    static const char frame[] = "\x0e\0\0\0\1\7\0\0\0\0\0\0\0hello";
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 18; i++) {
            assert_int_equal(b.requests, (size_t)round);
            assert_int_equal(write(fd, frame + i, 1), 1);
            settle();
        }
        assert_string_equal(b.last, "hello");
        char answer[18];
        assert_int_equal(recv(fd, answer, sizeof answer, MSG_DONTWAIT), 18);
        assert_memory_equal(answer, "\x0e\0\0\0\2\7\0\0\0\0\0\0\0hello", 18);
    }
    assert_int_equal(write(fd, frame, 15), 15); /* half of one, and gone */
    close(fd);
    settle();
    assert_int_equal(b.requests, 3);
    leave(&b);
}

static void what_a_peer_said_before_it_went_is_heard(void **state)
{
    peer a;
    call calls[2];
    char path[128], buf[256];
    join(&a, "connector", "gate-1");
    int listening = listen_as("room-x", path);
    assert_int_equal(ask(&a, "room-x", cereus_slice_str("one"), &calls[0]), CEREUS_OK);
    settle();
    int fd = accept(listening, NULL, NULL);
    assert_int_equal(recv(fd, buf, HEAD + 3, 0), HEAD + 3);
    assert_int_equal(ask(&a, "room-x", cereus_slice_str("two"), &calls[1]), CEREUS_OK);
    settle(); /* the second lies in its socket, unread */
    buf[4] = 2;
    assert_int_equal(write(fd, buf, HEAD + 3), HEAD + 3);
    close(fd); /* so this is a reset, and not an end */
    settle();
    assert_int_equal(calls[0].status, CEREUS_OK);
    assert_string_equal(calls[0].text, "one");
    assert_int_equal(calls[1].status, CEREUS_E_UNAVAILABLE);
    close(listening);
    unlink(path);
    leave(&a);
}

static void for_a_peer_that_does_not_read_only_so_much_waits(void **state)
{
    enum { COUNT = 70 };
    static call calls[COUNT];
    peer a, b;
    char path[128];
    join(&a, "connector", "gate-1");
    join(&b, "room", "room-1");
    int listening = listen_as("room-x", path);
    uint8_t *big = calloc(1, REQUEST_MAX);
    int taken = 0;
    for (int i = 0; i < COUNT; i++) {
        cereus_status st = ask(&a, "room-x", cereus_slice_of(big, REQUEST_MAX - 20), &calls[i]);
        if (st) {
            assert_int_equal(st, CEREUS_E_FULL);
            continue;
        }
        taken++;
        settle();
    }
    assert_in_range(taken, 63, 65); /* 64 MiB, and what the kernel keeps */
    assert_int_equal(counter(CRS_COUNTER_rpc_outbox_full), COUNT - taken);
    call c;
    assert_int_equal(ask(&a, "room-1", cereus_slice_str("x"), &c), CEREUS_OK); /* others are not kept waiting */
    settle();
    assert_string_equal(c.text, "x");
    test_pass(&world, 5000);
    for (int i = 0; i < taken; i++)
        assert_int_equal(calls[i].status, CEREUS_E_TIMEOUT);
    close(listening);
    unlink(path);
    free(big);
    leave(&a);
    leave(&b);
}

/** What it waits for may never come: a push has no answer, and a call may end by its deadline. */
static void who_leaves_is_hung_up_on_when_nothing_is_out_to_it(void **state)
{
    enum { PUSHES = 8 };
    peer a,
        x = {.self = {.id = "front-x", .type = "connector", .frontend = true, .metadata = "{}", .hostname = "host"}};
    call c;
    char path[128], byte;
    join(&a, "connector", "gate-1");
    int listening = listen_as("front-x", path);
    uint8_t *big = calloc(1, REQUEST_MAX);
    crs_servers *list = list_of((peer *[]){&a, &x}, 2);
    cereus_slice uid = cereus_slice_str("ada");
    for (int i = 0; i < PUSHES; i++) /* more than the kernel keeps */
        assert_int_equal(crs_rpc_push(a.link, "connector", list, cereus_slice_str("r"),
                                      cereus_slice_of(big, REQUEST_MAX - 100), &uid, 1),
                         CEREUS_OK);
    settle();
    int fd = accept(listening, NULL, NULL);
    crs_rpc_server_gone(a.link, "front-x");
    settle();
    size_t got = 0;
    ssize_t n;
    while ((n = recv(fd, big, REQUEST_MAX, MSG_DONTWAIT)) > 0) {
        got += (size_t)n;
        settle();
    }
    assert_int_equal(n, 0); /* the end, and not before all has come */
    assert_in_range(got, PUSHES * (REQUEST_MAX - 100), PUSHES * REQUEST_MAX);
    close(fd);

    assert_int_equal(ask(&a, "front-x", cereus_slice_str("x"), &c), CEREUS_OK);
    settle();
    fd = accept(listening, NULL, NULL);
    assert_int_equal(recv(fd, big, REQUEST_MAX, MSG_DONTWAIT), HEAD + 1);
    crs_rpc_server_gone(a.link, "front-x");
    settle();
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    test_pass(&world, 5000);
    settle();
    assert_int_equal(c.status, CEREUS_E_TIMEOUT);
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
    close(fd);
    close(listening);
    unlink(path);
    free(big);
    crs_servers_unref(list);
    leave(&a);
}

/** One that is always a little behind must not fill it by and by. */
static void a_peer_that_reads_slowly_is_served_for_ever(void **state)
{
    enum { ROUNDS = 300 };
    peer a;
    char path[128];
    join(&a, "connector", "gate-1");
    int listening = listen_as("room-x", path);
    uint8_t *big = calloc(1, REQUEST_MAX);
    static call calls[ROUNDS];
    int fd = -1;
    size_t behind = 0;
    for (int i = 0; i < ROUNDS; i++) {
        cereus_status st = ask(&a, "room-x", cereus_slice_of(big, REQUEST_MAX - HEAD), &calls[i]);
        if (st)
            fail_msg("round %d: %s", i, cereus_status_text(st));
        behind += REQUEST_MAX;
        settle();
        if (fd < 0)
            fd = accept(listening, NULL, NULL);
        while (behind > 4 * REQUEST_MAX) {
            ssize_t n = recv(fd, big, CRS_MIN((size_t)REQUEST_MAX, behind - 4 * REQUEST_MAX), MSG_DONTWAIT);
            assert_true(n > 0);
            behind -= (size_t)n;
            settle();
        }
    }
    close(fd);
    settle();
    for (int i = 0; i < ROUNDS; i++)
        assert_int_equal(calls[i].done, 1);
    close(listening);
    unlink(path);
    free(big);
    leave(&a);
}

static void without_descriptors_accepting_pauses_and_goes_on_later(void **state)
{
    peer a, b;
    call c;
    struct rlimit was, few;
    join(&a, "connector", "gate-1");
    join(&b, "room", "room-1");
    settle(); /* it has looked whether the other lives */
    assert_int_equal(ask(&a, "room-1", cereus_slice_str("x"), &c), CEREUS_OK); /* connects at once */
    getrlimit(RLIMIT_NOFILE, &was);
    few = was;
    few.rlim_cur = 0; /* no descriptor is low enough */
    setrlimit(RLIMIT_NOFILE, &few);
    settle();
    settle();
    setrlimit(RLIMIT_NOFILE, &was);
    assert_int_equal(counter(CRS_COUNTER_accept_errors), 1); /* it is not tried in every turn */
    assert_int_equal(c.done, 0);
    test_pass(&world, 100);
    settle();
    assert_string_equal(c.text, "x");
    leave(&a);
    leave(&b);
}

static void a_directory_with_a_name_too_long_is_refused(void **state)
{
    cereus_error err;
    crs_rpc *rpc = NULL;
    char name[200];
    memset(name, 'x', sizeof name);
    name[120] = '\0';
    cereus_server self = {.id = "a", .type = "b"};
    crs_rpc_options opt = {.self = &self, .request_max = REQUEST_MAX, .dir = name};
    assert_int_equal(crs_rpc_new(&crs_rpc_local, &opt, &rpc, &err), CEREUS_E_TOO_LONG);
    assert_non_null(strstr(err.msg, "at most 60 characters"));
    opt.dir = "/tmp/cereus-test-that-is-not-there";
    assert_int_equal(crs_rpc_new(&crs_rpc_local, &opt, &rpc, &err), CEREUS_E_IO);
    assert_null(rpc);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

TEST_MAIN(IN_WORLD(requests_are_answered_in_any_number_over_one_connection),
          IN_WORLD(the_longest_message_arrives_with_others_right_behind_it),
          IN_WORLD(who_is_not_there_cannot_be_called), IN_WORLD(the_end_of_a_server_ends_what_it_was_asked),
          IN_WORLD(a_reply_to_a_connection_that_has_ended_reaches_nobody),
          IN_WORLD(who_comes_back_under_its_name_is_called_and_not_the_old_one),
          IN_WORLD(who_has_left_knows_when_nobody_can_call_it_any_more),
          IN_WORLD(a_socket_that_a_crash_left_behind_is_removed),
          IN_WORLD(pushes_kicks_and_binds_reach_the_frontends_of_their_type),
          IN_WORLD(a_push_to_very_many_users_goes_in_parts), IN_WORLD(garbage_ends_its_connection_and_nothing_else),
          IN_WORLD(frames_may_come_in_any_parts), IN_WORLD(what_a_peer_said_before_it_went_is_heard),
          IN_WORLD(for_a_peer_that_does_not_read_only_so_much_waits),
          IN_WORLD(who_leaves_is_hung_up_on_when_nothing_is_out_to_it),
          IN_WORLD(a_peer_that_reads_slowly_is_served_for_ever),
          IN_WORLD(without_descriptors_accepting_pauses_and_goes_on_later),
          IN_WORLD(a_directory_with_a_name_too_long_is_refused))
