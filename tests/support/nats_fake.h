/* tests/support/nats_fake.h: a NATS server that does what the test says and when it says so, for faults that a real one has by
 * chance only. It has one connection at a time. */
#ifndef TEST_NATS_FAKE_H
#define TEST_NATS_FAKE_H

#include <pthread.h>
#include <stdatomic.h>

#include "nats_raw.h"

typedef struct fake_nats {
    int listener; /* -1: none */
    uint16_t port;
    char url[40];
    FILE *in, *out;
    struct {
        char subject[200];
        unsigned sid;
    } subs[16];
    size_t sub_count;
    pthread_t thread;
    void (*then)(struct fake_nats *f);
    atomic_bool done;
} fake_nats;

/** Nobody else can connect until fake_listen(). */
static inline void fake_deafen(fake_nats *f)
{
    if (f->listener >= 0)
        close(f->listener);
    f->listener = -1;
}

/** On the port that it had before, if any. */
static inline void fake_listen(fake_nats *f)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int on = 1, room = 64 << 10; /* that does not grow by itself */
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(f->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(f->listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(f->listener, 10), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&in, &len), 0);
    f->port = ntohs(in.sin_port);
}

static inline void fake_open(fake_nats *f)
{
    *f = (fake_nats){.port = test_nats_port()};
    fake_listen(f);
    snprintf(f->url, sizeof f->url, "nats://127.0.0.1:%u", f->port);
}

/** The connection is lost. */
static inline void fake_cut(fake_nats *f)
{
    fclose(f->in);
    fclose(f->out);
    f->in = f->out = NULL;
    f->sub_count = 0;
}

static inline void fake_close(fake_nats *f)
{
    if (f->in)
        fake_cut(f);
    fake_deafen(f);
}

static inline void fake_line(fake_nats *f, char line[1000])
{
    if (!fgets(line, 1000, f->in))
        fail_msg("the fake NATS server heard nothing");
}

/** The next message that is published, its payload unread; subscriptions are kept, pings answered. */
static inline void fake_next_head(fake_nats *f, raw_message *ret)
{
    char line[1000];
    for (;;) {
        unsigned sid;
        *ret = (raw_message){0};
        fake_line(f, line);
        if (strncmp(line, "PING", 4) == 0)
            fputs("PONG\r\n", f->out), fflush(f->out);
        else if (strncmp(line, "SUB ", 4) == 0) {
            assert_true(f->sub_count < 16);
            assert_int_equal(sscanf(line, "SUB %199s %u", f->subs[f->sub_count].subject, &sid), 2);
            f->subs[f->sub_count++].sid = sid;
        } else if (strncmp(line, "PUB ", 4) == 0 || strncmp(line, "HPUB ", 5) == 0)
            break;
    }
    if (sscanf(line, "PUB %299s %299s %zu", ret->subject, ret->reply, &ret->len) != 3) {
        ret->reply[0] = '\0';
        assert_int_equal(sscanf(line, "PUB %299s %zu", ret->subject, &ret->len), 2);
    }
}

static inline void fake_next(fake_nats *f, raw_message *ret)
{
    fake_next_head(f, ret);
    assert_true(ret->len + 2 <= sizeof ret->payload);
    assert_int_equal(fread(ret->payload, 1, ret->len + 2, f->in), ret->len + 2);
}

static inline bool fake_is_echo(const raw_message *m)
{
    return strncmp(m->subject, "_INBOX.", 7) == 0;
}

/** Of the one who has subscribed to @p subject alone, if there is one. */
static inline unsigned fake_sid(const fake_nats *f, const char *subject)
{
    unsigned sid = 0;
    for (size_t i = 0; i < f->sub_count; i++) {
        size_t len = strlen(f->subs[i].subject);
        if (strcmp(f->subs[i].subject, subject) == 0)
            return f->subs[i].sid;
        if (f->subs[i].subject[len - 1] == '*' && strncmp(f->subs[i].subject, subject, len - 1) == 0)
            sid = f->subs[i].sid;
    }
    if (!sid)
        fail_msg("nobody has subscribed to %s", subject);
    return sid;
}

static inline void fake_deliver(fake_nats *f, const char *subject, const char *reply, const void *data, size_t len)
{
    fprintf(f->out, "MSG %s %u %s %zu\r\n", subject, fake_sid(f, subject), reply, len);
    fwrite(data, 1, len, f->out);
    fputs("\r\n", f->out);
    fflush(f->out);
}

static inline void fake_echo(fake_nats *f, const raw_message *m)
{
    assert_true(fake_is_echo(m));
    fake_deliver(f, m->subject, "", m->payload, m->len);
}

/** Skip what comes until the next echo. How many messages that was. */
static inline size_t fake_next_echo(fake_nats *f, raw_message *ret)
{
    for (size_t skipped = 0;; skipped++) {
        fake_next_head(f, ret);
        for (size_t i = 0; i < ret->len + 2; i++)
            assert_int_not_equal(getc_unlocked(f->in), EOF);
        if (fake_is_echo(ret) && ret->len == 0)
            return skipped;
    }
}

/** Say that nobody hears the request with this address for its answer. */
static inline void fake_refuse(fake_nats *f, const char *inbox)
{
    fprintf(f->out, "HMSG %s %u 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", inbox, fake_sid(f, inbox));
    fflush(f->out);
}

static inline void fake_say(fake_nats *f, bool lame)
{
    fprintf(f->out,
            "INFO "
            "{\"server_id\":\"FAKE\",\"version\":\"2.9.0\",\"proto\":1,\"headers\":true,\"max_payload\":1048576,"
            "\"ldm\":%s}\r\n",
            lame ? "true" : "false");
    fflush(f->out);
}

/** Say that it will stop. */
static inline void fake_say_lame(fake_nats *f)
{
    fake_deafen(f);
    fake_say(f, true);
}

/** Take a connection, and answer what the library wants to hear before it is content. */
static inline void fake_accept(fake_nats *f)
{
    char line[1000];
    int fd = accept(f->listener, NULL, NULL);
    assert_true(fd >= 0);
    struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    f->in = fdopen(fd, "r");
    f->out = fdopen(dup(fd), "w");
    fake_say(f, false);
    do
        fake_line(f, line);
    while (strncmp(line, "PING", 4) != 0);
    fputs("PONG\r\n", f->out);
    fflush(f->out);
}

static inline void fake_echo_first(fake_nats *f)
{
    raw_message m;
    fake_next(f, &m);
    fake_echo(f, &m);
}

static inline void fake_cut_at_first(fake_nats *f)
{
    raw_message m;
    fake_next(f, &m);
    assert_true(fake_is_echo(&m));
    fake_cut(f);
}

static inline void *fake_run(void *fake)
{
    fake_nats *f = fake;
    fake_accept(f);
    if (f->then)
        f->then(f);
    atomic_store(&f->done, true);
    return NULL;
}

/** On a thread: take a connection, then @p then (may be NULL), while the caller is busy until fake_join(). */
static inline void fake_begin(fake_nats *f, void (*then)(fake_nats *f))
{
    f->then = then;
    atomic_store(&f->done, false);
    assert_int_equal(pthread_create(&f->thread, NULL, fake_run, f), 0);
}

static inline void fake_join(fake_nats *f)
{
    pthread_join(f->thread, NULL);
}

#endif
