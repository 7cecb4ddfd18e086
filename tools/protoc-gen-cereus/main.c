/* tools/protoc-gen-cereus/main.c: the plug-in that protoc starts for --cereus_out. A request comes on standard input, the
 * answer leaves on standard output. What is wrong with a .proto is part of the answer; what keeps us from answering goes
 * to standard error, and the exit code is 1.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "protogen.h"

enum { BLOCK = 64 << 10, REQUEST_LEN_MAX = 64 << 20, RESPONSE_LEN_MAX = 256 << 20 };

static cereus_status read_all(int fd, crs_bytes *in, cereus_error *err)
{
    for (;;) {
        cereus_status st = crs_bytes_reserve(in, BLOCK);
        if (st)
            return crs_fail(err, st, "the request of protoc is longer than there is room for");
        ssize_t got = read(fd, in->data + in->len, BLOCK);
        if (got == 0)
            return CEREUS_OK;
        if (got > 0)
            in->len += (size_t)got;
        else if (errno != EINTR)
            return crs_fail(err, CEREUS_E_IO, "standard input: %s", strerror(errno));
    }
}

static cereus_status write_all(int fd, cereus_slice out, cereus_error *err)
{
    while (out.len) {
        ssize_t put = write(fd, out.data, out.len);
        if (put < 0 && errno != EINTR)
            return crs_fail(err, CEREUS_E_IO, "standard output: %s", strerror(errno));
        if (put > 0)
            out = cereus_slice_of(out.data + put, out.len - (size_t)put);
    }
    return CEREUS_OK;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        fprintf(stderr,
                "usage: protoc --cereus_out=DIR --c_out=DIR FILE.proto\n"
                "protoc starts %s by itself. docs/guide/protobuf.md explains what it makes.\n",
                argv[0]);
        return 2;
    }
    crs_bytes in, out;
    cereus_error err = {0};
    crs_bytes_init(&in, REQUEST_LEN_MAX);
    crs_bytes_init(&out, RESPONSE_LEN_MAX);
    cereus_status st = read_all(STDIN_FILENO, &in, &err);
    if (!st)
        st = crs_protogen(crs_bytes_slice(&in), &out, &err);
    if (!st)
        st = write_all(STDOUT_FILENO, crs_bytes_slice(&out), &err);
    if (st)
        fprintf(stderr, "protoc-gen-cereus: %s\n", err.msg);
    crs_bytes_fini(&in);
    crs_bytes_fini(&out);
    return st ? 1 : 0;
}
