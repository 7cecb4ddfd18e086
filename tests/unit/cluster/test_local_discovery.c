/* tests/unit/cluster/test_local_discovery.c: servers of one machine find one another by files: those that come and go, that
 * crash, and what else may lie in the directory. Other servers are files that the test itself locks, or processes that it
 * kills; the loop's clock is the test's, inotify is the system's. */
#include "loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/discovery/discovery_impl.h"
#include "fiber/fiber.h"

static char dir[64];

/** One who takes part. */
typedef struct member {
    test_loop loop;
    crs_fibers *fibers;
    crs_log log;
    cereus_server self;
    crs_discovery *d;
    crs_servers *list;
    size_t lists;
    bool deaf; /* does not take them */
    cereus_status started;
    cereus_error err;
} member;

static bool on_list(void *user, crs_server *const *servers, size_t count)
{
    member *m = user;
    m->list = (crs_servers_unref(m->list), crs_servers_new(servers, count));
    m->lists++;
    return !m->deaf;
}

static const crs_discovery_events events = {.on_list = on_list};

static cereus_status claim(member *m, const char *id)
{
    m->self = (cereus_server){.id = id, .type = "room", .hostname = "host", .metadata = "{\"of\":\"test\"}"};
    crs_discovery_options opt = {.self = &m->self, .log = &m->log, .dir = dir, .events = &events, .user = m};
    return crs_discovery_claim(&crs_discovery_local, &opt, &m->d, &m->err);
}

static void run_start(crs_fiber *fiber, void *arg)
{
    member *m = arg;
    m->started = crs_discovery_start(m->d, fiber, &m->err);
}

static void run_leave(crs_fiber *fiber, void *arg)
{
    crs_discovery_leave(((member *)arg)->d, fiber);
}

static void on_fiber(member *m, crs_fiber_fn *fn)
{
    crs_loop_enter(m->loop.loop);
    assert_int_equal(crs_fiber_start(m->fibers, "test", fn, m), CEREUS_OK);
    test_settle(&m->loop);
}

static void join(member *m, const char *id)
{
    *m = (member){0};
    crs_log_init(&m->log, &(crs_log_options){.level = CEREUS_LOG_ERROR});
    crs_loop *before = crs_loop_enter(NULL);
    test_loop_open(&m->loop);
    assert_int_equal(
        crs_fibers_new(m->loop.loop, &(crs_fibers_options){.max = 4, .stack_len = 64 * 1024}, &m->fibers, &m->err),
        CEREUS_OK);
    assert_int_equal(claim(m, id), CEREUS_OK);
    assert_false(crs_discovery_ready(m->d));
    on_fiber(m, run_start);
    assert_int_equal(m->started, CEREUS_OK);
    assert_true(crs_discovery_ready(m->d));
    crs_loop_enter(before);
}

static void leave(member *m)
{
    on_fiber(m, run_leave);
    assert_false(crs_discovery_ready(m->d));
}

static void end(member *m)
{
    crs_loop_enter(m->loop.loop);
    crs_discovery_close(m->d);
    crs_fibers_free(m->fibers);
    test_loop_close(&m->loop);
    m->d = crs_discovery_free(m->d);
    m->list = crs_servers_unref(m->list);
}

/** Turn until @p m has a list with @p count servers; the kernel has 20 seconds to tell. */
static void await_count(member *m, size_t count)
{
    crs_loop_enter(m->loop.loop);
    for (int i = 0; i < 2000; i++) {
        test_settle(&m->loop);
        if (crs_servers_count(m->list) == count)
            return;
        struct pollfd p = {.fd = uv_backend_fd(&m->loop.loop->uv), .events = POLLIN};
        if (poll(&p, 1, 10) == 0)
            test_pass(&m->loop, 20); /* nothing more is told: the second look */
    }
    fail_msg("%zu servers, and not %zu", crs_servers_count(m->list), count);
}

static void pass(member *m, int64_t ms)
{
    crs_loop_enter(m->loop.loop);
    test_pass(&m->loop, ms);
}

static bool exists(const char *name)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return lstat(path, &st) == 0;
}

static void put_file(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/** A server that is only a file with a lock. Close the descriptor and it has crashed. */
static int fake_server(const char *id, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s.json", dir, id);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd;
    struct stat mine, there;
    do { /* as a server does: whoever looks may remove it before it is locked */
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    } while (fstat(fd, &mine) != 0 || stat(path, &there) != 0 || mine.st_ino != there.st_ino);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static int setup(void **state)
{
    strcpy(dir, "/tmp/cereus-test-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    return rmdir(dir); /* fails when something is left behind */
}

static void servers_see_one_another_come_and_go(void **state)
{
    member a, b;
    join(&a, "room-1");
    await_count(&a, 1);
    join(&b, "room-2");
    await_count(&b, 2);
    await_count(&a, 2);
    const cereus_server *s = crs_server_view(crs_servers_by_id(a.list, cereus_slice_str("room-2")));
    assert_string_equal(s->type, "room");
    assert_string_equal(s->hostname, "host");
    assert_string_equal(s->metadata, "{\"of\":\"test\"}");
    leave(&b);
    await_count(&a, 1);
    end(&b);
    await_count(&a, 1);
    leave(&a);
    end(&a);
}

static void a_crash_is_seen_at_once(void **state)
{
    member a;
    int told[2];
    join(&a, "room-1");
    assert_int_equal(pipe(told), 0);
    for (int round = 0; round < 10; round++) {
        char byte;
        pid_t pid = fork();
        if (pid == 0) {
            member b;
            join(&b, "room-2");
            if (write(told[1], "x", 1) != 1)
                _exit(1);
            for (;;)
                pause();
        }
        assert_true(pid > 0);
        assert_int_equal(read(told[0], &byte, 1), 1);
        await_count(&a, 2);
        assert_int_equal(kill(pid, SIGKILL), 0);
        await_count(&a, 1);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_false(exists("room-2.json"));
    }
    close(told[0]);
    close(told[1]);
    leave(&a);
    end(&a);
}

static void an_id_is_one_servers_at_a_time(void **state)
{
    member a, b = {0}, c;
    join(&a, "room-1");
    assert_int_equal(claim(&b, "room-1"), CEREUS_E_EXISTS);
    assert_non_null(strstr(b.err.msg, "a server with the id \"room-1\" runs already on this machine"));
    leave(&a);
    join(&c, "room-1"); /* the old one still ends what it has */
    end(&a);
    assert_true(exists("room-1.json")); /* and leaves the new one's file alone */
    await_count(&c, 1);
    leave(&c);
    end(&c);
}

static void what_the_dead_have_left_is_removed_and_nothing_else(void **state)
{
    member a;
    put_file("dead.json", "{\"id\":\"dead\",\"type\":\"room\"}");
    put_file("junk.json", "\x01\x02{{{");
    put_file("empty.json", "");
    put_file("README", "{\"id\":\"readme\",\"type\":\"room\"}");
    put_file(".json", "hidden");
    put_file("room-1.json",
             "of a former life, and longer than what is written now, by far: .............................");
    int fd = fake_server("locked-junk", "not JSON at all");
    join(&a, "room-1");
    await_count(&a, 1);
    assert_false(exists("dead.json") || exists("junk.json") || exists("empty.json"));
    assert_true(exists("README") && exists("locked-junk.json"));
    int other = fake_server("room-2", "{\"id\":\"room-2\",\"type\":\"room\"}");
    await_count(&a, 2);
    close(fd);
    close(other);
    await_count(&a, 1);
    assert_false(exists("locked-junk.json") || exists("room-2.json"));
    leave(&a);
    end(&a);
    char path[128];
    snprintf(path, sizeof path, "%s/README", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/.json", dir);
    unlink(path);
}

static void a_hundred_servers_come_and_go(void **state)
{
    enum { COUNT = 100 };
    member a;
    int fds[COUNT];
    char id[20], text[100];
    join(&a, "room-1");
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            snprintf(id, sizeof id, "many-%d", i);
            snprintf(text, sizeof text, "{\"id\":\"%s\",\"type\":\"t%d\"}", id, i % 3);
            fds[i] = fake_server(id, text);
            if (i % 10 == 0)
                pass(&a, 0);
        }
        await_count(&a, 1 + COUNT);
        for (int i = 0; i < COUNT; i += 2)
            close(fds[i]);
        await_count(&a, 1 + COUNT / 2);
        for (int i = 0; i < COUNT; i++)
            assert_int_equal(!crs_servers_by_id(a.list, cereus_slice_str((snprintf(id, sizeof id, "many-%d", i), id))),
                             i % 2 == 0);
        for (int i = 1; i < COUNT; i += 2)
            close(fds[i]);
        await_count(&a, 1);
    }
    leave(&a);
    end(&a);
}

static void what_is_not_told_is_seen_by_the_second_look(void **state)
{
    member a;
    int fd = fake_server("room-2", "{\"id\":\"room-2\",\"type\":\"room\"}");
    join(&a, "room-1");
    await_count(&a, 2);
    pass(&a, 100); /* all that was told is seen, and looked at again */
    struct flock unlock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &unlock), 0); /* no event comes of that */
    pass(&a, 4000);
    assert_int_equal(crs_servers_count(a.list), 2);
    pass(&a, 1000);
    assert_int_equal(crs_servers_count(a.list), 1);
    close(fd);
    leave(&a);
    end(&a);
}

static void an_unchanged_list_is_told_once_unless_it_was_not_taken(void **state)
{
    member a;
    int fd = fake_server("room-2", "{\"id\":\"room-2\",\"type\":\"room\"}");
    join(&a, "room-1");
    await_count(&a, 2);
    pass(&a, 100);
    size_t lists = a.lists;
    for (int i = 0; i < 10; i++)
        pass(&a, 5000);
    assert_int_equal(a.lists, lists);
    a.deaf = true;
    static const char changed[] = "{\"id\":\"room-2\",\"type\":\"shop\"}";
    assert_int_equal(pwrite(fd, changed, strlen(changed), 0), strlen(changed));
    pass(&a, 5000);
    assert_true(a.lists > lists);
    lists = a.lists;
    a.deaf = false;
    pass(&a, 5000);
    assert_int_equal(a.lists, lists + 1);
    pass(&a, 5000);
    assert_int_equal(a.lists, lists + 1);
    assert_string_equal(crs_server_view(crs_servers_by_id(a.list, cereus_slice_str("room-2")))->type, "shop");
    close(fd);
    leave(&a);
    end(&a);
}

static void refused(const char *text)
{
    member a = {0};
    assert_int_equal(claim(&a, "room-1"), CEREUS_E_IO);
    if (!strstr(a.err.msg, text))
        fail_msg("%s", a.err.msg);
    assert_null(a.d);
}

static void directories_of_others_are_refused(void **state)
{
    char own[64];
    strcpy(own, dir);
    assert_int_equal(chmod(dir, 0777), 0);
    refused("others may write to it: choose a directory of your own");
    assert_int_equal(chmod(dir, 0700), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(dir, 1, 1), 0);
        refused("belongs to another user");
        assert_int_equal(chown(dir, 0, 0), 0);
        char link[80];
        snprintf(link, sizeof link, "%s-link", own);
        assert_int_equal(symlink(own, link), 0);
        assert_int_equal(lchown(link, 1, 1), 0);
        strcpy(dir, link);
        refused("belongs to another user");
        assert_int_equal(unlink(link), 0);
    } else {
        strcpy(dir, "/usr");
        refused("belongs to another user");
    }
    strcpy(dir, "/dev/null");
    refused("/dev/null");
    strcpy(dir, own);
    char path[128];
    snprintf(path, sizeof path, "%s/room-1.json", dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    refused("room-1.json");
    assert_int_equal(unlink(path), 0);
}

static void a_directory_is_made_for_its_owner_alone(void **state)
{
    char own[64];
    struct stat st;
    member a;
    strcpy(own, dir);
    snprintf(dir, sizeof dir, "%s/x/y", own);
    join(&a, "room-1");
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    leave(&a);
    end(&a);
    assert_int_equal(rmdir(dir), 0);
    snprintf(dir, sizeof dir, "%s/x", own);
    assert_int_equal(rmdir(dir), 0);
    strcpy(dir, own);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

TEST_MAIN(IN_DIR(servers_see_one_another_come_and_go), IN_DIR(a_crash_is_seen_at_once),
          IN_DIR(an_id_is_one_servers_at_a_time), IN_DIR(what_the_dead_have_left_is_removed_and_nothing_else),
          IN_DIR(a_hundred_servers_come_and_go), IN_DIR(what_is_not_told_is_seen_by_the_second_look),
          IN_DIR(an_unchanged_list_is_told_once_unless_it_was_not_taken), IN_DIR(directories_of_others_are_refused),
          IN_DIR(a_directory_is_made_for_its_owner_alone))
