/* tests/fuzz/fuzz_cluster_frames.c: bytes on the socket of a server of one machine, written in two parts: it takes them or ends the
 * connection, and serves the next all the same. */
#include "fuzz_rpc.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SIZE_LIMIT = 32 << 10 };

static char dir[] = "/tmp/cereus-fuzz-XXXXXX";
static crs_log quiet;
static crs_loop *loop;
static crs_rpc *rpc;
static crs_rpc_link *server;

static void end(void)
{
    crs_rpc_close(server);
    for (int i = 0; i < 5; i++)
        crs_loop_turn(loop);
    crs_loop_free(loop);
    crs_loop_enter(NULL);
    crs_rpc_free(rpc);
    rmdir(dir);
}

static void begin(void)
{
    cereus_error err;
    FUZZ_CHECK(mkdtemp(dir));
    crs_log_init(&quiet, &(crs_log_options){.level = CEREUS_LOG_ERROR});
    crs_loop_options loop_opt = {.mailbox_capacity = 100, .log = &quiet, .clock = stands_still};
    FUZZ_CHECK(crs_loop_new(&loop_opt, &loop, &err) == CEREUS_OK);
    crs_loop_enter(loop);
    crs_rpc_options opt = {.self = &self, .log = &quiet, .request_max = REQUEST_MAX, .dir = dir};
    FUZZ_CHECK(crs_rpc_new(&crs_rpc_local, &opt, &rpc, &err) == CEREUS_OK);
    FUZZ_CHECK(crs_rpc_open(rpc, loop, &events, NULL, &server, &err) == CEREUS_OK);
    FUZZ_CHECK(crs_rpc_serve(server, &err) == CEREUS_OK);
    atexit(end);
}

static void turns(void)
{
    for (int i = 0; i < 5; i++)
        crs_loop_turn(loop);
}

static int dial(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/fuzzed.sock", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    FUZZ_CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > SIZE_LIMIT)
        return 0;
    if (!loop)
        begin();
    int fd = dial();
    size_t first = size ? data[0] % size : 0;
    if (send(fd, data, first, MSG_NOSIGNAL) == (ssize_t)first) {
        turns();
        ssize_t n = send(fd, data + first, size - first, MSG_NOSIGNAL); /* unless it has hung up */
        FUZZ_CHECK(n <= (ssize_t)size);
    }
    turns();
    close(fd);
    turns();
    static const uint8_t request[] = {11, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 'h', 'i'};
    uint8_t answer[sizeof request];
    size_t before = asked;
    fd = dial();
    FUZZ_CHECK(write(fd, request, sizeof request) == (ssize_t)sizeof request);
    turns();
    FUZZ_CHECK(asked == before + 1);
    FUZZ_CHECK(recv(fd, answer, sizeof answer, MSG_DONTWAIT) == (ssize_t)sizeof answer);
    FUZZ_CHECK(answer[4] == 2 && memcmp(answer + 5, request + 5, sizeof answer - 5) == 0);
    close(fd);
    turns();
    return 0;
}
