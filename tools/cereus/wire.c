/* tools/cereus/wire.c: `cereus wire`: bytes of the client protocol in, one line a packet out. The library decodes; this
 * adds names, and where exactly something is wrong, which the library has no use for. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "commands.h"
#include "text.h"
#include "wire/compress.h"
#include "wire/message.h"
#include "wire/packet.h"

enum {
    INPUT_MAX = 256 * 1024 * 1024,
    PLAIN_MAX = 64 * 1024 * 1024, /* an inflated body */
    SHOWN_MAX = 256,              /* of a body, unless --full */
    ID_LEN_MAX = 10,
};

typedef struct explainer {
    crs_bytes in;
    crs_bytes plain; /* the body being shown, inflated */
    crs_zlib *zlib;
    crs_route_dict *dict;
    size_t shown_max; /* 0: no limit */
} explainer;

const char crs_usage_wire[] =
    "usage: cereus wire [options] HEX...    explain bytes given as hex digits\n"
    "       cereus wire [options] -         the same from standard input\n"
    "       cereus wire [options] --raw FILE\n\n"
    "  --dict ROUTE=CODE,...   routes by code; a handshake answer among the bytes adds its own\n"
    "  --full                  show whole bodies\n"
    "  --raw FILE              bytes as they are, `-` for standard input\n\n"
    "One line a packet: offset, type, length of its data, contents. A line with `error:` names the offset of\n"
    "what breaks the protocol, and makes the exit code 1.\n";

static int usage(FILE *out)
{
    fputs(crs_usage_wire, out);
    return out == stdout ? 0 : 2;
}

static int fault(size_t offset, const char *what)
{
    printf("%-8zu error: %s\n", offset, what);
    return 1;
}

/* -- messages -- */

/* Where is the mistake in a message that the decoder refuses? Offset in `in`. */
static const char *locate_fault(cereus_slice in, size_t *ret_offset)
{
    *ret_offset = 0;
    if (in.len < 2)
        return "a message has at least 2 bytes";
    unsigned type = in.data[0] >> 1 & 7;
    if (type > CRS_MESSAGE_PUSH)
        return "message type is not request, notify, response or push";
    size_t at = 1;
    if (type == CRS_MESSAGE_REQUEST || type == CRS_MESSAGE_RESPONSE) {
        while (at < in.len && in.data[at] >= 0x80 && at < ID_LEN_MAX)
            at++;
        *ret_offset = at;
        if (at == in.len)
            return "message ends inside its id";
        if (at == ID_LEN_MAX && in.data[at] > 1)
            return "id is over 64 bits";
        at++;
    }
    *ret_offset = at;
    if (in.data[0] & CRS_MESSAGE_FLAG_ROUTE_CODE)
        return "message ends inside its route code";
    return at == in.len ? "message ends before its route" : "message ends inside its route";
}

/* Offset of the route in a sound message that has one. */
static size_t route_offset(cereus_slice in)
{
    size_t at = 1;
    if ((in.data[0] >> 1 & 7) == CRS_MESSAGE_REQUEST) {
        while (in.data[at] >= 0x80)
            at++;
        at++;
    }
    return at;
}

static int show_body(explainer *x, cereus_slice body, bool compressed, size_t offset)
{
    if (!compressed) {
        if (body.len) {
            printf(" body %zu ", body.len);
            crs_text_show(stdout, body, x->shown_max, true);
        }
        putchar('\n');
        return 0;
    }
    x->plain.len = 0;
    cereus_status st = crs_zlib_inflate(x->zlib, body, &x->plain);
    if (st) {
        putchar('\n');
        return fault(offset, st == CEREUS_E_TOO_LONG ? "body inflates to more than 64 MiB" : "body does not inflate");
    }
    printf(" body %zu inflates to %zu ", body.len, x->plain.len);
    crs_text_show(stdout, crs_bytes_slice(&x->plain), x->shown_max, true);
    putchar('\n');
    return 0;
}

static int explain_message(explainer *x, cereus_slice in, size_t offset)
{
    crs_message msg;
    cereus_status st = crs_message_decode(in, x->dict, &msg);
    unsigned code = 0;
    bool unknown_code = st == CEREUS_E_NOT_FOUND;
    if (unknown_code) {
        /* sound but for the code: decode once more with a route of no length in the code's place */
        size_t at = route_offset(in);
        code = (unsigned)in.data[at] << 8 | in.data[at + 1];
        uint8_t copy[1 + ID_LEN_MAX + 1];
        memcpy(copy, in.data, at);
        copy[0] &= (uint8_t)~CRS_MESSAGE_FLAG_ROUTE_CODE;
        copy[at] = 0;
        st = crs_message_decode(cereus_slice_of(copy, at + 1), NULL, &msg);
        msg.body = cereus_slice_of(in.data + at + 2, in.len - at - 2);
    }
    if (st) {
        size_t at;
        const char *what = locate_fault(in, &at);
        putchar('\n');
        return fault(offset + at, what);
    }
    printf(" flags %02x %s%s", in.data[0], msg.error ? "error " : "", crs_message_type_name(msg.type));
    if (msg.type == CRS_MESSAGE_REQUEST || msg.type == CRS_MESSAGE_RESPONSE)
        printf(" id %llu", (unsigned long long)msg.id);
    if (unknown_code) {
        printf(" route code %u", code);
    } else if (msg.type != CRS_MESSAGE_RESPONSE) {
        printf(" route ");
        crs_text_show(stdout, msg.route, 0, true);
        uint16_t known;
        if (in.data[0] & CRS_MESSAGE_FLAG_ROUTE_CODE && crs_route_dict_code(x->dict, msg.route, &known))
            printf(" (code %u)", known);
    }
    return show_body(x, msg.body, msg.compressed, offset + (size_t)(msg.body.data - in.data));
}

/* -- packets -- */

/* Later packets may use the dictionary of this answer. What is wrong in it is left out: this tool explains. */
static void learn_dict(explainer *x, cereus_slice json)
{
    json_t *root = json_loadb((const char *)json.data, json.len, 0, NULL);
    const char *route;
    json_t *code;
    json_object_foreach(json_object_get(json_object_get(root, "sys"), "dict"), route, code)
    {
        json_int_t value = json_is_integer(code) ? json_integer_value(code) : -1;
        if (value < 0 || value > UINT16_MAX)
            continue;
        cereus_status st = crs_route_dict_add(x->dict, cereus_slice_str(route), (uint16_t)value, NULL);
        CRS_UNUSED(st);
    }
    json_decref(root);
}

static int explain_handshake(explainer *x, cereus_slice body, size_t offset)
{
    /* protocol.md 3.3: nothing marks a compressed answer, but JSON never begins with zlib's first byte */
    bool compressed = body.len && body.data[0] == 0x78;
    int code = show_body(x, body, compressed, offset);
    if (code == 0)
        learn_dict(x, compressed ? crs_bytes_slice(&x->plain) : body);
    return code;
}

static int explain_packet(explainer *x, const crs_packet *packet, size_t offset)
{
    printf("%-8zu %-13s %zu", offset, crs_packet_type_name(packet->type), packet->body.len);
    offset += CRS_PACKET_HEAD_LEN;
    if (packet->type == CRS_PACKET_DATA)
        return explain_message(x, packet->body, offset);
    if (packet->type == CRS_PACKET_HANDSHAKE)
        return explain_handshake(x, packet->body, offset);
    return show_body(x, packet->body, false, offset);
}

static int explain(explainer *x)
{
    cereus_slice in = crs_bytes_slice(&x->in);
    int code = 0;
    for (size_t at = 0; at < in.len;) {
        crs_packet packet;
        size_t used;
        cereus_slice rest = cereus_slice_of(in.data + at, in.len - at);
        cereus_status st = crs_packet_decode(rest, CRS_PACKET_BODY_MAX, &packet, &used);
        if (st == CEREUS_E_AGAIN) {
            char what[100];
            if (rest.len < CRS_PACKET_HEAD_LEN)
                snprintf(what, sizeof what, "packet ends inside its head, after %zu of 4 bytes", rest.len);
            else
                snprintf(what, sizeof what, "%s packet ends after %zu of %u bytes",
                         crs_packet_type_name((crs_packet_type)rest.data[0]), rest.len - CRS_PACKET_HEAD_LEN,
                         crs_get_u24(rest.data + 1));
            return fault(at, what);
        }
        if (st) {
            char what[100];
            snprintf(what, sizeof what, "packet type %u, not 1 to 5", rest.data[0]);
            return fault(at, what);
        }
        /* a bad message does not hide the packets behind it */
        code |= explain_packet(x, &packet, at);
        at += used;
    }
    return code;
}

/* -- options and input -- */

static int complain(const char *what, const char *detail)
{
    fprintf(stderr, "cereus wire: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
    return 2;
}

static int take_dict(explainer *x, char *list)
{
    for (char *item = strtok(list, ","); item; item = strtok(NULL, ",")) {
        char *equals = strrchr(item, '='), *end = NULL;
        long code = equals ? strtol(equals + 1, &end, 10) : -1;
        if (!equals || end == equals + 1 || *end || code < 0 || code > UINT16_MAX)
            return complain("--dict takes ROUTE=CODE,..., codes 0 to 65535", item);
        cereus_error err;
        if (crs_route_dict_add(x->dict, cereus_slice_of(item, (size_t)(equals - item)), (uint16_t)code, &err))
            return complain("--dict", err.msg);
    }
    return 0;
}

static int read_file(const char *name, crs_bytes *out)
{
    int fd = strcmp(name, "-") == 0 ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
    cereus_status st = fd < 0 ? CEREUS_E_IO : crs_text_read_all(fd, out);
    int error = errno;
    if (fd > STDIN_FILENO)
        close(fd);
    return st ? complain(name, st == CEREUS_E_IO ? strerror(error) : cereus_status_text(st)) : 0;
}

static int take_hex(explainer *x, cereus_slice text)
{
    size_t at = 0;
    cereus_status st = crs_text_unhex(text, &x->in, &at);
    if (st == CEREUS_E_MALFORMED) {
        char what[60];
        snprintf(what, sizeof what, "not a pair of hex digits, at character %zu", at);
        return complain(what, NULL);
    }
    return st ? complain("input", cereus_status_text(st)) : 0;
}

/* Digits of one byte may be in two arguments: people break lines anywhere. */
static int take_arguments(explainer *x, int argc, char **argv)
{
    crs_bytes text;
    crs_bytes_init(&text, INPUT_MAX);
    int code = 0;
    for (int i = 0; i < argc && !code; i++) {
        if (strcmp(argv[i], "-") == 0)
            code = read_file(argv[i], &text);
        else if (crs_bytes_append_str(&text, argv[i]))
            code = complain("input", "too long");
    }
    if (!code)
        code = take_hex(x, crs_bytes_slice(&text));
    crs_bytes_fini(&text);
    return code;
}

static int run(explainer *x, int argc, char **argv)
{
    static const struct option options[] = {{"dict", required_argument, NULL, 'd'},
                                            {"full", no_argument, NULL, 'f'},
                                            {"raw", required_argument, NULL, 'r'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *raw = NULL;
    int code = 0, option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'd':
            code = take_dict(x, optarg);
            if (code)
                return code;
            break;
        case 'f':
            x->shown_max = 0;
            break;
        case 'r':
            raw = optarg;
            break;
        case 'h':
            return usage(stdout);
        default:
            return usage(stderr);
        }
    }
    if (raw ? optind != argc : optind == argc)
        return usage(stderr);
    code = raw ? read_file(raw, &x->in) : take_arguments(x, argc - optind, argv + optind);
    return code ? code : explain(x);
}

int crs_cmd_wire(int argc, char **argv)
{
    explainer x = {.zlib = crs_zlib_new(-1), .dict = crs_route_dict_new(), .shown_max = SHOWN_MAX};
    crs_bytes_init(&x.in, INPUT_MAX);
    crs_bytes_init(&x.plain, PLAIN_MAX);
    int code = x.zlib && x.dict ? run(&x, argc, argv) : complain("out of memory", NULL);
    crs_bytes_fini(&x.in);
    crs_bytes_fini(&x.plain);
    crs_zlib_free(x.zlib);
    crs_route_dict_free(x.dict);
    return code;
}
