/* tests/support/nats_raw.h: a client of NATS that has no library: it sends and hears what it is told to, byte for byte. */
#ifndef TEST_NATS_RAW_H
#define TEST_NATS_RAW_H

#include "nats.h"

#include "cluster/protocol.h"

enum { PAYLOAD_MAX = 20000 };

typedef struct raw_message {
    char subject[300], reply[300];
    uint8_t payload[PAYLOAD_MAX];
    size_t len;
} raw_message;

typedef struct raw_client {
    FILE *in, *out;
    unsigned subs;
} raw_client;

static inline raw_client *raw_open(uint16_t port)
{
    raw_client *r = calloc(1, sizeof *r);
    int fd = test_connect(port);
    assert_true(fd >= 0);
    struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    r->in = fdopen(fd, "r");
    r->out = fdopen(dup(fd), "w");
    fputs("CONNECT {\"verbose\":false,\"pedantic\":false}\r\n", r->out);
    return r;
}

static inline void raw_close(raw_client *r)
{
    fclose(r->in);
    fclose(r->out);
    free(r);
}

static inline void raw_publish(raw_client *r, const char *subject, const char *reply, const uint8_t *data, size_t len)
{
    fprintf(r->out, "PUB %s %s %zu\r\n", subject, reply, len);
    fwrite(data, 1, len, r->out);
    fputs("\r\n", r->out);
    fflush(r->out);
}

static inline void raw_subscribe(raw_client *r, const char *subject)
{
    char line[500];
    fprintf(r->out, "SUB %s %u\r\nPING\r\n", subject, ++r->subs);
    fflush(r->out);
    do
        assert_non_null(fgets(line, sizeof line, r->in));
    while (strncmp(line, "PONG", 4) != 0); /* INFO comes first */
}

static inline void raw_next(raw_client *r, raw_message *ret)
{
    char line[700];
    for (;;) {
        if (!fgets(line, sizeof line, r->in))
            fail_msg("the raw client heard nothing");
        if (strncmp(line, "MSG ", 4) == 0)
            break;
        if (strncmp(line, "PING", 4) == 0)
            fputs("PONG\r\n", r->out), fflush(r->out);
    }
    if (sscanf(line, "MSG %299s %*s %299s %zu", ret->subject, ret->reply, &ret->len) != 3)
        assert_int_equal(sscanf(line, "MSG %299s %*s %zu", ret->subject, &ret->len), 2);
    assert_true(ret->len + 2 <= sizeof ret->payload);
    assert_int_equal(fread(ret->payload, 1, ret->len + 2, r->in), ret->len + 2);
}

/** All that NATS had for us before this is here when it returns. */
static inline void raw_flush(raw_client *r)
{
    fputs("PING\r\n", r->out);
    fflush(r->out);
}

/** Is the next line a message, and not the answer to raw_flush()? */
static inline bool raw_has_more(raw_client *r)
{
    char line[700];
    assert_non_null(fgets(line, sizeof line, r->in));
    return strncmp(line, "PONG", 4) != 0;
}

/** The next one whose subject begins with @p prefix. */
static inline void raw_find(raw_client *r, const char *prefix, raw_message *ret)
{
    do
        raw_next(r, ret);
    while (strncmp(ret->subject, prefix, strlen(prefix)) != 0);
}

/** A message of some session that a frontend of ours forwards. */
static inline crs_bytes raw_request_of(const char *route, const char *body)
{
    crs_bytes bytes;
    crs_bytes_init(&bytes, 10000);
    crs_request req = {.has_session = true,
                       .has_msg = true,
                       .session_id = 1,
                       .uid = cereus_slice_str("alice"),
                       .msg_id = 1,
                       .route = cereus_slice_str(route),
                       .body = cereus_slice_str(body),
                       .frontend_id = cereus_slice_str("gate-1"),
                       .metadata = cereus_slice_str("{}"),
                       .extension = CRS_PEER_IS_CEREUS | CRS_PEER_HEARS};
    assert_int_equal(crs_request_encode(&req, &bytes), CEREUS_OK);
    return bytes;
}

#endif
