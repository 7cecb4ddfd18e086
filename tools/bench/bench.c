/* tools/bench/bench.c: the command line of the load generator, and its report. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>

#include "bench.h"
#include "load.h"

enum { BODY_MAX = 16 * 1024 * 1024 - 512 }; /* leaves room for id and route in a packet */

const char crs_usage_bench[] =
    "usage: cereus bench --addr tcp|tls|ws|wss://HOST:PORT [--route ROUTE] [options]\n"
    "\n"
    "Makes requests as fast as the server answers them (or at --rate) and reports rate and latency. Over TLS any\n"
    "certificate will do.\n"
    "\n"
    "  --connections N        connections (default 1)\n"
    "  --depth D              requests outstanding on each (default 1; with --rate 1024)\n"
    "  --duration S           measure for S seconds (default 5)\n"
    "  --requests N           measure N requests instead\n"
    "  --warmup S             seconds before measuring (default 0.5)\n"
    "  --body TEXT | --body-file FILE | --size N\n"
    "                         what the requests carry (default: 128 bytes of text)\n"
    "  --rate R               open loop: R requests/s in total on a fixed schedule; latency counts from when a\n"
    "                         request was due\n"
    "  --notify               bursts of D notifies, each with a request of --fence behind it\n"
    "  --fence ROUTE          (default bench.echo.raw)\n"
    "  --broadcast K          K extra connections ask for --route with D requests outstanding each; counts the\n"
    "                         pushes that the others receive\n"
    "  --idle                 open the connections, hold them for --duration, report memory with --server-pid\n"
    "  --connect-rate         connect, shake hands, close; --connections at a time\n"
    "  --join ROUTE           request made once per connection after the handshake\n"
    "  --background N --background-route ROUTE\n"
    "                         N more connections ask for ROUTE meanwhile, one request at a time each\n"
    "  --server-pid PID       report CPU time of that process per operation; may be given more than once\n"
    "  --compress             expect compressed bodies\n"
    "  --check                every response must bring back the request's body\n"
    "  --pin CPU              run on that CPU only\n"
    "\n"
    "The last line of output is one JSON object. Exits with 1 if anything went wrong.\n";

typedef struct arguments {
    crs_bench_options run;
    char host[300], server_name[300];
    uint8_t *body;
    int pin_cpu; /* -1: anywhere */
} arguments;

/* ---- options ---- */

static int bad(const char *option, const char *value, const char *why)
{
    fprintf(stderr, "cereus bench: --%s %s: %s\n", option, value, why);
    return 2;
}

static bool parse_number(const char *text, double min, double max, double *ret)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (errno || end == text || *end || !(v >= min && v <= max))
        return false;
    *ret = v;
    return true;
}

static bool parse_count(const char *text, uint64_t max, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || *text < '0' || *text > '9' || *end || v > max)
        return false;
    *ret = v;
    return true;
}

static bool set_body(arguments *args, const void *data, size_t len)
{
    crs_free(args->body);
    args->body = crs_malloc(len + 1);
    if (!args->body)
        return false;
    if (len)
        memcpy(args->body, data, len);
    args->run.body = cereus_slice_of(args->body, len);
    return true;
}

/* Text that compresses as text does. */
static bool set_body_len(arguments *args, size_t len)
{
    static const char text[] =
        "{\"name\":\"player-000042\",\"id\":123456,\"text\":\"the quick brown fox jumps over the lazy dog\"}";
    crs_free(args->body);
    args->body = crs_malloc(len + 1);
    for (size_t i = 0; args->body && i < len; i++)
        args->body[i] = (uint8_t)text[i % (sizeof text - 1)];
    args->run.body = cereus_slice_of(args->body, len);
    return args->body;
}

static bool read_body(arguments *args, const char *path)
{
    FILE *f = fopen(path, "rbe");
    uint8_t *data = f ? crs_malloc(BODY_MAX + 1) : NULL;
    size_t len = data ? fread(data, 1, BODY_MAX + 1, f) : 0;
    bool ok = data && !ferror(f) && len <= BODY_MAX && set_body(args, data, len);
    crs_free(data);
    if (f)
        fclose(f);
    return ok;
}

static bool parse_addr(arguments *args, const char *text)
{
    crs_bench_options *run = &args->run;
    static const struct {
        const char *begin;
        bool ws, tls;
    } schemes[] = {{"tcp://", false, false}, {"tls://", false, true}, {"ws://", true, false}, {"wss://", true, true}};
    size_t scheme = 0;
    while (scheme < CEREUS_COUNT(schemes) && strncmp(text, schemes[scheme].begin, strlen(schemes[scheme].begin)) != 0)
        scheme++;
    if (scheme == CEREUS_COUNT(schemes))
        return false;
    run->ws = schemes[scheme].ws;
    run->tls = schemes[scheme].tls;
    text += strlen(schemes[scheme].begin);
    size_t len = strcspn(text, "/");
    const char *colon = memrchr(text, ':', len);
    if (!colon || len >= sizeof args->host)
        return false;
    memcpy(args->host, text, len);
    args->host[len] = '\0';
    run->host = args->host;

    char *name = args->server_name, *port = name + (colon - text) + 1;
    memcpy(name, args->host, len + 1);
    port[-1] = '\0';
    bool is_v6 = name[0] == '[' && colon > text && colon[-1] == ']';
    if (is_v6)
        port[-2] = '\0';
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    run->server_name = name + is_v6;
    if (getaddrinfo(name + is_v6, port, &hints, &found) != 0)
        return false;
    memcpy(&run->addr, found->ai_addr, found->ai_addrlen);
    run->addr_len = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

enum {
    OPT_ADDR = 256,
    OPT_ROUTE,
    OPT_BODY,
    OPT_BODY_FILE,
    OPT_SIZE,
    OPT_CONNECTIONS,
    OPT_DEPTH,
    OPT_DURATION,
    OPT_REQUESTS,
    OPT_WARMUP,
    OPT_RATE,
    OPT_NOTIFY,
    OPT_FENCE,
    OPT_BROADCAST,
    OPT_IDLE,
    OPT_CONNECT_RATE,
    OPT_JOIN,
    OPT_BACKGROUND,
    OPT_BACKGROUND_ROUTE,
    OPT_SERVER_PID,
    OPT_COMPRESS,
    OPT_CHECK,
    OPT_PIN,
    OPT_HELP,
};

static const struct option options[] = {
    {"addr", required_argument, NULL, OPT_ADDR},
    {"route", required_argument, NULL, OPT_ROUTE},
    {"body", required_argument, NULL, OPT_BODY},
    {"body-file", required_argument, NULL, OPT_BODY_FILE},
    {"size", required_argument, NULL, OPT_SIZE},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"depth", required_argument, NULL, OPT_DEPTH},
    {"duration", required_argument, NULL, OPT_DURATION},
    {"requests", required_argument, NULL, OPT_REQUESTS},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"rate", required_argument, NULL, OPT_RATE},
    {"notify", no_argument, NULL, OPT_NOTIFY},
    {"fence", required_argument, NULL, OPT_FENCE},
    {"broadcast", required_argument, NULL, OPT_BROADCAST},
    {"idle", no_argument, NULL, OPT_IDLE},
    {"connect-rate", no_argument, NULL, OPT_CONNECT_RATE},
    {"join", required_argument, NULL, OPT_JOIN},
    {"background", required_argument, NULL, OPT_BACKGROUND},
    {"background-route", required_argument, NULL, OPT_BACKGROUND_ROUTE},
    {"server-pid", required_argument, NULL, OPT_SERVER_PID},
    {"compress", no_argument, NULL, OPT_COMPRESS},
    {"check", no_argument, NULL, OPT_CHECK},
    {"pin", required_argument, NULL, OPT_PIN},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static int set_mode(crs_bench_options *run, crs_bench_mode mode)
{
    if (run->mode != CRS_BENCH_CLOSED_LOOP && run->mode != mode) {
        fprintf(stderr, "cereus bench: only one of --rate, --notify, --broadcast, --idle, --connect-rate\n");
        return 2;
    }
    run->mode = mode;
    return 0;
}

/* @return 0, or the exit code */
static int parse_option(arguments *args, int option, const char *name, const char *value)
{
    crs_bench_options *run = &args->run;
    double number = 0;
    uint64_t count = 0;
    switch (option) {
    case OPT_ADDR:
        return parse_addr(args, value) ? 0 : bad(name, value, "not tcp://HOST:PORT, tls://, ws:// or wss://");
    case OPT_ROUTE:
        run->route = value;
        return 0;
    case OPT_FENCE:
        run->fence_route = value;
        return 0;
    case OPT_JOIN:
        run->join_route = value;
        return 0;
    case OPT_BACKGROUND_ROUTE:
        run->background_route = value;
        return 0;
    case OPT_BODY:
        return set_body(args, value, strlen(value)) ? 0 : bad(name, "", "out of memory");
    case OPT_BODY_FILE:
        return read_body(args, value) ? 0 : bad(name, value, "cannot be read, or does not fit a packet");
    case OPT_COMPRESS:
        run->compress = true;
        return 0;
    case OPT_CHECK:
        run->check = true;
        return 0;
    case OPT_NOTIFY:
        return set_mode(run, CRS_BENCH_NOTIFY);
    case OPT_IDLE:
        return set_mode(run, CRS_BENCH_IDLE);
    case OPT_CONNECT_RATE:
        return set_mode(run, CRS_BENCH_CONNECT);
    case OPT_RATE:
        if (!parse_number(value, 1e-3, 1e9, &run->rate))
            return bad(name, value, "not a number of requests/s");
        return set_mode(run, CRS_BENCH_OPEN_LOOP);
    case OPT_DURATION:
    case OPT_WARMUP:
        if (!parse_number(value, 0, 1e6, &number))
            return bad(name, value, "not a number of seconds");
        *(option == OPT_DURATION ? &run->duration_ns : &run->warmup_ns) = (uint64_t)(number * 1e9);
        return 0;
    default:
        break;
    }
    uint64_t max = option == OPT_SIZE ? BODY_MAX : option == OPT_REQUESTS ? UINT64_MAX : CRS_BENCH_CONNECTIONS_MAX;
    if (option == OPT_DEPTH)
        max = CRS_BENCH_DEPTH_MAX;
    else if (option == OPT_PIN)
        max = CPU_SETSIZE - 1;
    else if (option == OPT_SERVER_PID)
        max = INT32_MAX;
    if (!parse_count(value, max, &count))
        return bad(name, value, "not a whole number, or too large");
    switch (option) {
    case OPT_SIZE:
        return set_body_len(args, count) ? 0 : bad(name, value, "out of memory");
    case OPT_CONNECTIONS:
        run->connection_count = count;
        return 0;
    case OPT_DEPTH:
        run->depth = (uint32_t)count;
        return 0;
    case OPT_REQUESTS:
        run->request_count = count;
        return 0;
    case OPT_BACKGROUND:
        run->background_count = count;
        return 0;
    case OPT_PIN:
        args->pin_cpu = (int)count;
        return 0;
    case OPT_SERVER_PID:
        if (run->pid_count == CRS_BENCH_PROCESSES_MAX)
            return bad(name, value, "too many processes");
        run->pids[run->pid_count++] = (pid_t)count;
        return 0;
    case OPT_BROADCAST:
        run->sender_count = count;
        return set_mode(run, CRS_BENCH_BROADCAST);
    default:
        return 2;
    }
}

static int parse_arguments(arguments *args, int argc, char **argv)
{
    crs_bench_options *run = &args->run;
    int option, which = 0, code = 0;
    if (!set_body_len(args, 128))
        return bad("size", "128", "out of memory");
    optind = 1;
    while (code == 0 && (option = getopt_long(argc, argv, "", options, &which)) != -1) {
        if (option == OPT_HELP) {
            fputs(crs_usage_bench, stdout);
            return -1;
        }
        code = option == '?' ? 2 : parse_option(args, option, options[which].name, optarg);
    }
    bool needs_route = run->mode != CRS_BENCH_IDLE && run->mode != CRS_BENCH_CONNECT;
    if (code == 0 && (optind != argc || !run->host || (needs_route && !run->route))) {
        fputs(crs_usage_bench, stderr);
        code = 2;
    }
    if (run->depth == 0)
        run->depth = run->mode == CRS_BENCH_OPEN_LOOP ? 1024 : 1;
    return code;
}

/* ---- report ---- */

static const char *const mode_names[] = {
    [CRS_BENCH_CLOSED_LOOP] = "closed_loop", [CRS_BENCH_OPEN_LOOP] = "open_loop", [CRS_BENCH_NOTIFY] = "notify",
    [CRS_BENCH_BROADCAST] = "broadcast",     [CRS_BENCH_IDLE] = "idle",           [CRS_BENCH_CONNECT] = "connect",
};

static const char *const error_names[] = {
#define CRS_BENCH_ERROR_NAME(name, text) #name,
    CRS_BENCH_ERROR_TABLE(CRS_BENCH_ERROR_NAME)
#undef CRS_BENCH_ERROR_NAME
};

static const char *const error_texts[] = {
#define CRS_BENCH_ERROR_TEXT(name, text) text,
    CRS_BENCH_ERROR_TABLE(CRS_BENCH_ERROR_TEXT)
#undef CRS_BENCH_ERROR_TEXT
};

typedef struct figures {
    double ops_per_s, pushes_per_s, background_ops_per_s;
    double p50_us, p90_us, p99_us, p999_us, max_us, mean_us;
    double server_cpu_us, push_server_cpu_us, client_load, rss_per_connection;
} figures;

static figures figures_of(const crs_bench_result *r)
{
    double seconds = r->elapsed_ns ? (double)r->elapsed_ns / 1e9 : 1, ops = r->op_count ? (double)r->op_count : 1;
    const crs_hist *h = &r->latency_ns;
    return (figures){
        .ops_per_s = (double)r->op_count / seconds,
        .pushes_per_s = (double)r->push_count / seconds,
        .background_ops_per_s = (double)r->background_count / seconds,
        .p50_us = (double)crs_hist_quantile(h, 0.5) / 1e3,
        .p90_us = (double)crs_hist_quantile(h, 0.9) / 1e3,
        .p99_us = (double)crs_hist_quantile(h, 0.99) / 1e3,
        .p999_us = (double)crs_hist_quantile(h, 0.999) / 1e3,
        .max_us = (double)h->max / 1e3,
        .mean_us = h->count ? (double)h->sum / (double)h->count / 1e3 : 0,
        .server_cpu_us = (double)r->server_cpu_ns / 1e3 / ops,
        .push_server_cpu_us = r->push_count ? (double)r->server_cpu_ns / 1e3 / (double)r->push_count : 0,
        .client_load = (double)r->client_cpu_ns / 1e9 / seconds,
        .rss_per_connection = r->rss_connections ? (double)r->rss_growth / (double)r->rss_connections : 0,
    };
}

static void print_table(const crs_bench_options *run, const crs_bench_result *r, const figures *f)
{
    const char *noun = run->mode == CRS_BENCH_NOTIFY      ? "notifies"
                       : run->mode == CRS_BENCH_BROADCAST ? "broadcasts"
                       : run->mode == CRS_BENCH_CONNECT   ? "connects"
                                                          : "requests";
    if (run->mode == CRS_BENCH_IDLE) {
        printf("connections      %12" PRIu64 "\n", r->op_count);
        if (run->pid_count)
            printf("server memory    %12.1f bytes per connection\n", f->rss_per_connection);
    } else {
        printf("%-16s %12" PRIu64 " in %.3f s = %.0f/s\n", noun, r->op_count, (double)r->elapsed_ns / 1e9,
               f->ops_per_s);
        printf("latency, us      %12.1f p50 %.1f p90 %.1f p99 %.1f p99.9 %.1f max\n", f->p50_us, f->p90_us, f->p99_us,
               f->p999_us, f->max_us);
        if (run->mode == CRS_BENCH_BROADCAST)
            printf("pushes           %12" PRIu64 " = %.0f/s\n", r->push_count, f->pushes_per_s);
        if (run->background_count)
            printf("background       %12" PRIu64 " requests = %.0f/s\n", r->background_count, f->background_ops_per_s);
        if (run->pid_count)
            printf("server CPU       %12.3f us per operation\n", f->server_cpu_us);
        printf("generator        %12.0f %% of a CPU\n", f->client_load * 100);
    }
    for (size_t i = 0; i < CRS_BENCH_ERROR_COUNT; i++)
        if (r->errors[i])
            printf("ERRORS           %12" PRIu64 " %s\n", r->errors[i], error_texts[i]);
    if (r->error_count)
        printf("first error      %s\n", r->first_error);
}

static void print_json(const crs_bench_options *run, const crs_bench_result *r, const figures *f)
{
    printf("{\"mode\":\"%s\",\"ops\":%" PRIu64 ",\"samples\":%" PRIu64, mode_names[run->mode], r->op_count,
           r->latency_ns.count);
    printf(",\"seconds\":%.6f,\"ops_per_s\":%.1f", (double)r->elapsed_ns / 1e9, f->ops_per_s);
    printf(",\"p50_us\":%.2f,\"p90_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f,\"max_us\":%.2f,\"mean_us\":%.2f",
           f->p50_us, f->p90_us, f->p99_us, f->p999_us, f->max_us, f->mean_us);
    printf(",\"server_cpu_us\":%.4f,\"push_server_cpu_us\":%.4f,\"client_load\":%.3f", f->server_cpu_us,
           f->push_server_cpu_us, f->client_load);
    printf(",\"pushes\":%" PRIu64 ",\"pushes_per_s\":%.1f,\"background_ops_per_s\":%.1f", r->push_count,
           f->pushes_per_s, f->background_ops_per_s);
    printf(",\"rss_per_connection\":%.1f,\"errors\":%" PRIu64 ",\"error_kinds\":{", f->rss_per_connection,
           r->error_count);
    const char *comma = "";
    for (size_t i = 0; i < CRS_BENCH_ERROR_COUNT; i++) {
        if (r->errors[i] == 0)
            continue;
        printf("%s\"%s\":%" PRIu64, comma, error_names[i], r->errors[i]);
        comma = ",";
    }
    printf("}}\n");
}

static bool pin_to(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}

int crs_cmd_bench(int argc, char **argv)
{
    arguments args = {.run = {.connection_count = 1,
                              .duration_ns = 5000000000ull,
                              .warmup_ns = 500000000,
                              .fence_route = "bench.echo.raw"},
                      .pin_cpu = -1};
    crs_bench_result *result = crs_malloc(sizeof *result);
    cereus_error err = {0};
    int code = result ? parse_arguments(&args, argc, argv) : 1;
    if (code == 0 && args.pin_cpu >= 0 && !pin_to(args.pin_cpu)) {
        fprintf(stderr, "cereus bench: --pin %d: %s\n", args.pin_cpu, strerror(errno));
        code = 2;
    }
    if (code == 0) {
        cereus_status st = crs_bench_run(&args.run, result, &err);
        if (st) {
            fprintf(stderr, "cereus bench: %s\n", err.msg);
            code = st == CEREUS_E_INVALID ? 2 : 1;
        } else {
            figures f = figures_of(result);
            print_table(&args.run, result, &f);
            print_json(&args.run, result, &f);
            bool is_empty = result->op_count == 0 && result->latency_ns.count == 0;
            code = result->error_count || is_empty;
        }
    }
    crs_free(args.body);
    crs_free(result);
    return code < 0 ? 0 : code;
}
