/* tests/bench/rawnats.c: the limit of the bench's rows over NATS: request and reply through a NATS server with nothing else
 * in between.
 *
 *     rawnats PORT OUTSTANDING SECONDS
 *
 * Two connections of one thread: one publishes requests of 128 bytes and keeps OUTSTANDING of them under way, the other sends
 * each body back to the subject that the request names. One read and one write per turn and connection. Prints the requests
 * that were answered and the CPU time of this process, for what the NATS server itself takes see its pid.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 128, BUF = 1024 * 1024, OUTSTANDING_MAX = 2000 };

typedef struct conn {
    int fd;
    size_t in_len, out_len;
    char in[BUF], out[BUF];
} conn;

static conn asks, answers;
static uint64_t replied;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void flush(conn *c)
{
    for (size_t at = 0; at < c->out_len;) {
        ssize_t n = send(c->fd, c->out + at, c->out_len - at, MSG_NOSIGNAL);
        if (n <= 0)
            fail("send");
        at += (size_t)n;
    }
    c->out_len = 0;
}

static void put(conn *c, const char *text, size_t len)
{
    if (c->out_len + len > BUF)
        flush(c);
    memcpy(c->out + c->out_len, text, len);
    c->out_len += len;
}

static void fill(conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, BUF - 1 - c->in_len, 0);
    if (n <= 0)
        fail("recv");
    c->in_len += (size_t)n;
    c->in[c->in_len] = '\0';
}

static void open_conn(conn *c, int port, const char *subscribe)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(0x7f000001)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    put(c, subscribe, strlen(subscribe));
    flush(c);
    while (!strstr(c->in, "PONG\r\n")) /* the server has the subscription */
        fill(c);
    c->in_len = 0;
}

static void ask(unsigned slot)
{
    static char body[SIZE + 2];
    char head[64];
    if (!body[0]) {
        memset(body, 'x', SIZE);
        memcpy(body + SIZE, "\r\n", 2);
    }
    put(&asks, head, (size_t)snprintf(head, sizeof head, "PUB echo to.%u %d\r\n", slot, SIZE));
    put(&asks, body, sizeof body);
}

/* What the server sends: `MSG subject sid [reply] size`, the body; PING now and then. */
static void on_message(conn *c, char *line, const char *body)
{
    char subject[64], third[64], fourth[64];
    int words = sscanf(line, "MSG %63s %*s %63s %63s", subject, third, fourth);
    if (words == 3) {
        char head[96];
        put(c, head, (size_t)snprintf(head, sizeof head, "PUB %s %d\r\n", third, SIZE));
        put(c, body, SIZE + 2);
    } else if (words == 2) {
        replied++;
        ask((unsigned)atoi(subject + 3));
    } else {
        fprintf(stderr, "rawnats: %s\n", line);
        exit(1);
    }
}

static void take(conn *c)
{
    fill(c);
    size_t at = 0;
    for (char *end; (end = memchr(c->in + at, '\n', c->in_len - at));) {
        char *line = c->in + at;
        size_t next = (size_t)(end - c->in) + 1;
        bool is_ping = strncmp(line, "PING", 4) == 0;
        if (!is_ping && c->in_len - next < SIZE + 2)
            break;
        *end = '\0';
        if (is_ping)
            put(c, "PONG\r\n", 6);
        else
            on_message(c, line, end + 1);
        at = is_ping ? next : next + SIZE + 2;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

int main(int argc, char **argv)
{
    int outstanding = argc == 4 ? atoi(argv[2]) : 0;
    if (outstanding < 1 || outstanding > OUTSTANDING_MAX) {
        fprintf(stderr, "usage: rawnats PORT OUTSTANDING SECONDS\n");
        return 2;
    }
    open_conn(&answers, atoi(argv[1]), "CONNECT {\"verbose\":false}\r\nSUB echo 1\r\nPING\r\n");
    open_conn(&asks, atoi(argv[1]), "CONNECT {\"verbose\":false}\r\nSUB to.* 1\r\nPING\r\n");
    for (unsigned slot = 0; slot < (unsigned)outstanding; slot++)
        ask(slot);
    flush(&asks);
    double began = seconds(CLOCK_MONOTONIC), length = atof(argv[3]);
    while (seconds(CLOCK_MONOTONIC) - began < length) {
        struct pollfd fds[] = {{.fd = asks.fd, .events = POLLIN}, {.fd = answers.fd, .events = POLLIN}};
        if (poll(fds, 2, 1000) < 1)
            fail("nothing arrives");
        if (fds[0].revents)
            take(&asks);
        if (fds[1].revents)
            take(&answers);
        flush(&asks);
        flush(&answers);
    }
    printf("{\"replied\": %llu, \"seconds\": %.6f, \"cpu_s\": %.6f}\n", (unsigned long long)replied,
           seconds(CLOCK_MONOTONIC) - began, seconds(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
