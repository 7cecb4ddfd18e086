/* tools/cereus/top.c: `cereus top`: the servers of this machine, live. It finds them as they find one another, by the files in
 * the run directory, and asks each over its socket for `sys.stats`, as a server would; it is not one, so nobody sees it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cereus/config.h>
#include <jansson.h>

#include "base/clock.h"
#include "cluster/discovery/discovery.h"
#include "cluster/protocol.h"
#include "cluster/rpc/local_frame.h"
#include "cluster/servers.h"
#include "commands.h"
#include "config/config.h"

const char crs_usage_top[] = "usage: cereus top [options]    the servers of this machine: sessions, rates, queues\n\n"
                             "  --dir DIR      where they meet; default: as for servers, cereus.cluster.dir\n"
                             "  --every MS     time between two looks, which rates are taken from (1000)\n"
                             "  --once         print one table and end; the exit code is 1 when there is no server\n\n"
                             "Only servers of the `local` engines are found. Ctrl-C ends it.\n";

enum { ANSWER_MAX = 1 << 20, ANSWER_S = 2, SAMPLES_MAX = 1024 };

/** What a server said. */
typedef struct sample {
    char id[CRS_SERVER_NAME_MAX + 1];
    json_t *stats; /* NULL: no answer */
    uint64_t at_us;
} sample;

/* ---- who is there ---- */

/** The server that a file describes, if it lives: then somebody holds its lock. */
static crs_server *look_at(int dir_fd, const char *name)
{
    static char text[64 * 1024];
    crs_server *server = NULL;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return NULL;
    ssize_t n = read(fd, text, sizeof text);
    bool lives = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    if (!lives || n <= 0 || crs_server_parse(cereus_slice_of(text, (size_t)n), &server) != CEREUS_OK)
        return NULL;
    return server;
}

/** By type and id. NULL: the directory cannot be read, or memory ran out. */
static crs_servers *find_servers(const char *dir)
{
    static crs_server *all[SAMPLES_MAX];
    size_t count = 0;
    DIR *d = opendir(dir);
    struct dirent *entry;
    while (d && count < SAMPLES_MAX && (entry = readdir(d))) {
        size_t len = strlen(entry->d_name);
        if (len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0 && (all[count] = look_at(dirfd(d), entry->d_name)))
            count++;
    }
    if (d)
        closedir(d);
    crs_servers *list = crs_servers_new(all, count);
    while (count)
        crs_server_unref(all[--count]);
    return list;
}

/* ---- asking one ---- */

static int connect_to(const char *dir, const char *id)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = ANSWER_S};
    int n = snprintf(addr.sun_path, sizeof addr.sun_path, "%s/%s.sock", dir, id);
    int fd = n > 0 && (size_t)n < sizeof addr.sun_path ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool send_question(int fd)
{
    crs_bytes out;
    crs_request req = {.type = CRS_RPC_USER,
                       .has_msg = true,
                       .route = cereus_slice_str("sys.stats"),
                       .metadata = cereus_slice_str("{}")};
    uint8_t head[CRS_LOCAL_HEAD_LEN] = {0};
    crs_bytes_init(&out, 4096);
    bool ok = crs_bytes_append(&out, head, sizeof head) == CEREUS_OK && crs_request_encode(&req, &out) == CEREUS_OK;
    if (ok)
        crs_local_put_head(out.data, CRS_PEER_REQUEST, 1, out.len - CRS_LOCAL_HEAD_LEN);
    ok = ok && send(fd, out.data, out.len, MSG_NOSIGNAL) == (ssize_t)out.len;
    crs_bytes_fini(&out);
    return ok;
}

static json_t *read_answer(int fd)
{
    uint8_t head[CRS_LOCAL_HEAD_LEN];
    crs_response res;
    if (recv(fd, head, sizeof head, MSG_WAITALL) != (ssize_t)sizeof head || head[4] != CRS_PEER_RESPONSE)
        return NULL;
    size_t len = (size_t)crs_get_le(head, 4);
    if (len < CRS_LOCAL_HEAD_LEN - 4 || len > ANSWER_MAX)
        return NULL;
    len -= CRS_LOCAL_HEAD_LEN - 4;
    uint8_t *bytes = malloc(len + 1);
    json_t *stats = NULL;
    if (bytes && recv(fd, bytes, len, MSG_WAITALL) == (ssize_t)len &&
        crs_response_decode(cereus_slice_of(bytes, len), &res) == CEREUS_OK && !res.failed)
        stats = json_loadb((const char *)res.data.data, res.data.len, 0, NULL);
    free(bytes);
    return stats;
}

static sample ask(const char *dir, const char *id)
{
    sample s = {.at_us = crs_clock_us(CLOCK_MONOTONIC)};
    snprintf(s.id, sizeof s.id, "%s", id);
    int fd = connect_to(dir, id);
    if (fd >= 0 && send_question(fd))
        s.stats = read_answer(fd);
    if (fd >= 0)
        close(fd);
    return s;
}

/* ---- the table ---- */

static json_int_t number(const json_t *stats, const char *key)
{
    return json_integer_value(json_object_get(stats, key));
}

static json_int_t counter(const json_t *stats, const char *key)
{
    return number(json_object_get(stats, "counters"), key);
}

/** How often a second, of two counters together; b may be NULL. */
static double rate(const sample *before, const sample *now, const char *a, const char *b)
{
    if (!before || !before->stats || now->at_us <= before->at_us)
        return 0;
    json_int_t was = counter(before->stats, a) + (b ? counter(before->stats, b) : 0);
    json_int_t is = counter(now->stats, a) + (b ? counter(now->stats, b) : 0);
    return is < was ? 0 : (double)(is - was) * 1e6 / (double)(now->at_us - before->at_us); /* it began anew */
}

static const sample *find(const sample *samples, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(samples[i].id, id) == 0)
            return &samples[i];
    }
    return NULL;
}

static void print_head(const char *dir, size_t count)
{
    printf("%zu servers in %s\n\n", count, dir);
    printf("%-14s %-20.20s %7s %5s %8s %8s %8s %8s %8s %7s %6s %6s  %s\n", "TYPE", "ID", "PID", "LOOPS", "SESSIONS",
           "IN/s", "FWD/s", "RPC/s", "PUSH/s", "ERR/s", "LANES", "OUT", "ENGINES");
}

static void print_row(const cereus_server *server, const sample *before, const sample *now)
{
    const json_t *stats = now->stats;
    printf("%-14.14s %-20.20s ", server->type, server->id);
    if (!stats) {
        puts("no answer");
        return;
    }
    const char *discovery = json_string_value(json_object_get(stats, "discovery"));
    const char *rpc = json_string_value(json_object_get(stats, "rpc"));
    bool ready = json_is_true(json_object_get(stats, "ready"));
    printf("%7lld %5lld %8lld %8.0f %8.0f %8.0f %8.0f %7.0f %6lld %6lld  %s/%s %s\n", (long long)number(stats, "pid"),
           (long long)number(stats, "loops"), (long long)number(stats, "sessions"),
           rate(before, now, "requests", "notifies"), rate(before, now, "forwarded", NULL),
           rate(before, now, "rpc_served", NULL), rate(before, now, "pushes", NULL),
           rate(before, now, "errors_sent", "handler_failures"), (long long)number(stats, "lanes"),
           (long long)number(stats, "forwarding"), discovery ? discovery : "?", rpc ? rpc : "?",
           ready ? "ready" : "not ready");
}

/** One look at all of them, into @p samples. Prints when @p show. Returns how many there are. */
static size_t look(const char *dir, const sample *before, size_t before_count, sample *samples, bool show)
{
    crs_servers *list = find_servers(dir);
    size_t count = list ? crs_servers_count(list) : 0;
    for (size_t i = 0; i < count; i++)
        samples[i] = ask(dir, crs_server_view(crs_servers_at(list, i))->id);
    if (show && isatty(STDOUT_FILENO))
        fputs("\033[H\033[J", stdout);
    if (show)
        print_head(dir, count);
    for (size_t i = 0; show && i < count; i++)
        print_row(crs_server_view(crs_servers_at(list, i)), find(before, before_count, samples[i].id), &samples[i]);
    fflush(stdout);
    crs_servers_unref(list);
    return count;
}

static int run(const char *dir, long every_ms, bool once)
{
    static sample samples[2][SAMPLES_MAX];
    size_t counts[2] = {look(dir, NULL, 0, samples[0], false), 0};
    struct timespec pause = {.tv_sec = every_ms / 1000, .tv_nsec = every_ms % 1000 * 1000000};
    for (int now = 1;; now = 1 - now) {
        nanosleep(&pause, NULL);
        counts[now] = look(dir, samples[1 - now], counts[1 - now], samples[now], true);
        for (size_t i = 0; i < counts[1 - now]; i++)
            json_decref(samples[1 - now][i].stats);
        if (!once)
            continue;
        for (size_t i = 0; i < counts[now]; i++)
            json_decref(samples[now][i].stats);
        return counts[now] ? 0 : 1;
    }
}

static int usage(FILE *out)
{
    fputs(crs_usage_top, out);
    return out == stdout ? 0 : 2;
}

int crs_cmd_top(int argc, char **argv)
{
    const char *dir = NULL;
    long every_ms = 1000;
    bool once = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return usage(stdout);
        if (strcmp(argv[i], "--once") == 0)
            once = true;
        else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc)
            dir = argv[++i];
        else if (strcmp(argv[i], "--every") == 0 && i + 1 < argc)
            every_ms = strtol(argv[++i], NULL, 10);
        else
            return usage(stderr);
    }
    if (every_ms < 1 || every_ms > 3600000) {
        fputs("cereus top: --every takes 1 to 3600000 milliseconds\n", stderr);
        return 2;
    }
    cereus_config *cfg = cereus_config_new();
    cereus_error err = {0};
    char room[300];
    if (!cfg || cereus_config_load_env(cfg, NULL, &err) != CEREUS_OK) {
        fprintf(stderr, "cereus top: %s\n", cfg ? err.msg : "out of memory");
        cereus_config_free(cfg);
        return 1;
    }
    int code =
        run(dir ? dir : crs_local_dir(crs_config_text(cfg, CRS_KEY_CLUSTER_DIR), room, sizeof room), every_ms, once);
    cereus_config_free(cfg);
    return code;
}
