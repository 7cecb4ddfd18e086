/* tools/bench/load.c: what is asked when, and what is counted. A run is: open all connections, warm up, measure,
 * report.
 *
 * Closed loop: a connection makes its next request when one of its slots is answered, so the server sets the pace;
 * requests that are due together leave in one write. Open loop: request k is due at start + k / rate, on connection k
 * mod N, and its latency counts from then on, also when it could not be made in time because too many were outstanding:
 * a server that stops for a while is charged for everything that should have happened meanwhile (no coordinated
 * omission). A broadcast is over when its sender has the answer and every member has its push; so at most senders *
 * depth are under way, and a server that acknowledges at once gains nothing from it.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "load_priv.h"
#include "proc.h"

enum {
    EVENTS_MAX = 256,
    OPENING_MAX = 64,      /* connections being opened at a time */
    READ_CAP = 256 * 1024, /* grows when a packet needs more */
    PART_MAX = 17 * 1024 * 1024,
    OUT_MAX = 64 * 1024 * 1024, /* of what a server that does not read leaves with us */
    PACKETS_MAX = 256 * 1024 * 1024,
    SETUP_MAX = 17 * 1024 * 1024,
    INFLATED_MAX = 64 * 1024 * 1024,
    RSS_BASE_CONNECTIONS =
        100, /* opened before memory is first looked at: what the first ones cost once does not count */
};

static const uint64_t SECOND_NS = 1000000000, STALL_NS = 5 * 1000000000ull, DRAIN_NS = 2 * 1000000000ull,
                      TURN_NS = 100 * 1000000;

static const char handshake[] = "{\"sys\":{\"platform\":\"linux\",\"libVersion\":\"" CEREUS_VERSION
                                "\",\"clientBuildNumber\":\"1\",\"clientVersion\":\"1.0.0\"},\"user\":{}}";

/* ---- errors ---- */

void crs_load_error(crs_load *load, crs_bench_error kind, cereus_slice detail)
{
    crs_bench_result *r = load->result;
    r->errors[kind]++;
    if (r->error_count++ > 0)
        return;
    size_t len = CRS_MIN(detail.len, sizeof r->first_error - 1);
    for (size_t i = 0; i < len; i++) /* bytes of a peer: keep terminals and the JSON line safe */
        r->first_error[i] = (char)(detail.data[i] < ' ' || detail.data[i] > '~' ? '.' : detail.data[i]);
    r->first_error[len] = '\0';
}

void crs_load_drop(crs_load *load, crs_peer *peer, crs_bench_error kind, const char *detail)
{
    if (peer->state == CRS_PEER_CLOSED)
        return;
    crs_load_error(load, kind, cereus_slice_str(detail));
    crs_peer_close(load, peer);
}

/* ---- plans: requests made once ---- */

static void plan_fini(crs_plan *plan)
{
    crs_bytes_fini(&plan->packets);
    crs_free(plan->offsets);
}

/* @param notify_count  notifies of @p notify_route in front of each request; they carry the body then */
static cereus_status plan_init(crs_load *load, crs_plan *plan, uint32_t depth, const char *route, cereus_slice body,
                               uint32_t notify_count, const char *notify_route)
{
    crs_bytes_init(&plan->packets, PACKETS_MAX);
    plan->depth = depth;
    plan->ops_per_answer = notify_count ? notify_count : 1;
    plan->issue_left = UINT64_MAX;
    plan->offsets = crs_malloc((depth + 1) * sizeof plan->offsets[0]);
    if (!plan->offsets)
        return CEREUS_E_NOMEM;
    const crs_message notify = {.type = CRS_MESSAGE_NOTIFY, .route = cereus_slice_str(notify_route), .body = body};
    for (uint32_t slot = 0; slot < depth; slot++) {
        plan->offsets[slot] = plan->packets.len;
        for (uint32_t i = 0; i < notify_count; i++)
            CEREUS_TRY(crs_bench_put_message(load->opt->ws, &notify, &plan->packets));
        const crs_message request = {.type = CRS_MESSAGE_REQUEST,
                                     .id = slot + 1,
                                     .route = cereus_slice_str(route),
                                     .body = notify_count ? cereus_slice_of("", 0) : body};
        CEREUS_TRY(crs_bench_put_message(load->opt->ws, &request, &plan->packets));
    }
    plan->offsets[depth] = plan->packets.len;
    return CEREUS_OK;
}

/* Would a server that compresses send @p body compressed? */
static bool body_shrinks(crs_load *load, cereus_slice body)
{
    if (body.len < 2)
        return false;
    uint8_t *out = crs_malloc(body.len);
    bool shrinks = out && crs_zlib_deflate(load->zlib, body, out, body.len - 1) > 0;
    crs_free(out);
    return shrinks;
}

static cereus_status make_plans(crs_load *load)
{
    const crs_bench_options *opt = load->opt;
    cereus_slice nothing = cereus_slice_of("", 0);
    if (opt->background_count)
        CEREUS_TRY(plan_init(load, &load->background_plan, 1, opt->background_route, opt->body, 0, NULL));
    crs_plan *plan = &load->main_plan;
    switch (opt->mode) {
    case CRS_BENCH_CLOSED_LOOP:
    case CRS_BENCH_OPEN_LOOP:
        CEREUS_TRY(plan_init(load, plan, opt->depth, opt->route, opt->body, 0, NULL));
        plan->expect_compressed = opt->compress && body_shrinks(load, opt->body);
        if (opt->check || opt->compress)
            plan->body_wanted = opt->body;
        return CEREUS_OK;
    case CRS_BENCH_NOTIFY:
        CEREUS_TRY(plan_init(load, plan, 1, opt->fence_route, opt->body, opt->depth, opt->route));
        plan->body_wanted = opt->check ? nothing : (cereus_slice){0};
        return CEREUS_OK;
    case CRS_BENCH_BROADCAST:
        return plan_init(load, plan, opt->depth, opt->route, opt->body, 0, NULL);
    case CRS_BENCH_IDLE:
    case CRS_BENCH_CONNECT:
        break;
    }
    return CEREUS_OK;
}

static cereus_status make_setup(crs_load *load)
{
    const crs_bench_options *opt = load->opt;
    crs_bytes *out = &load->setup;
    crs_bytes_init(out, SETUP_MAX);
    if (opt->ws)
        CEREUS_TRY(crs_bench_put_upgrade(opt->host, out));
    load->setup_handshake = out->len;
    CEREUS_TRY(crs_bench_put_packet(opt->ws, CRS_PACKET_HANDSHAKE, cereus_slice_str(handshake), out));
    load->setup_ack = out->len;
    CEREUS_TRY(crs_bench_put_packet(opt->ws, CRS_PACKET_HANDSHAKE_ACK, cereus_slice_of("", 0), out));
    load->setup_join = out->len;
    const crs_message join = {.type = CRS_MESSAGE_REQUEST,
                              .id = 1,
                              .route = cereus_slice_str(opt->join_route),
                              .body = opt->mode == CRS_BENCH_IDLE ? opt->body : cereus_slice_of("", 0)};
    if (opt->join_route)
        CEREUS_TRY(crs_bench_put_message(opt->ws, &join, out));
    load->setup_end = out->len;
    return CEREUS_OK;
}

/* ---- peers ---- */

static cereus_status peer_init(crs_peer *peer, crs_plan *plan, uint32_t index)
{
    peer->fd = -1;
    peer->plan = plan;
    peer->index = index;
    peer->op_index = index;
    crs_bytes_init(&peer->part, PART_MAX);
    crs_bytes_init(&peer->out, OUT_MAX);
    if (plan->depth == 0)
        return CEREUS_OK;
    peer->start_ns = crs_zalloc(plan->depth * sizeof peer->start_ns[0]);
    peer->free_slots = crs_malloc(plan->depth * sizeof peer->free_slots[0]);
    if (!peer->start_ns || !peer->free_slots)
        return CEREUS_E_NOMEM;
    peer->free_count = plan->depth;
    for (uint32_t i = 0; i < plan->depth; i++)
        peer->free_slots[i] = (uint16_t)(plan->depth - 1 - i); /* taken from the end: the first request has id 1 */
    return CEREUS_OK;
}

static cereus_status make_peers(crs_load *load)
{
    const crs_bench_options *opt = load->opt;
    size_t sender_count = opt->mode == CRS_BENCH_BROADCAST ? opt->sender_count : 0;
    load->peer_count = opt->connection_count + sender_count + opt->background_count;
    load->peers = crs_zalloc(load->peer_count * sizeof load->peers[0]);
    load->again = crs_malloc(load->peer_count * sizeof(crs_peer *));
    if (!load->peers || !load->again)
        return CEREUS_E_NOMEM;
    load->main_first = sender_count ? opt->connection_count : 0;
    load->main_count = sender_count ? sender_count : opt->connection_count;
    for (size_t i = 0; i < load->peer_count; i++) {
        bool is_main = i >= load->main_first && i - load->main_first < load->main_count;
        crs_plan *plan = is_main ? &load->main_plan : &load->silent_plan;
        if (i >= opt->connection_count + sender_count)
            plan = &load->background_plan;
        CEREUS_TRY(peer_init(&load->peers[i], plan, is_main ? (uint32_t)(i - load->main_first) : 0));
    }
    return CEREUS_OK;
}

static void reopen(crs_load *load)
{
    while (load->again_count) {
        crs_peer *peer = load->again[--load->again_count];
        load->closed_count--;
        crs_peer_open(load, peer);
    }
}

void crs_load_on_ready(crs_load *load, crs_peer *peer)
{
    peer->state = CRS_PEER_READY;
    load->opening_count--;
    load->ready_count++;
    if (load->opt->mode != CRS_BENCH_CONNECT)
        return;
    crs_peer_flush(load, peer); /* the ack */
    if (peer->state == CRS_PEER_CLOSED)
        return;
    if (load->measuring) {
        load->result->op_count++;
        crs_hist_add(&load->result->latency_ns, crs_bench_now_ns() - peer->connect_ns);
    }
    crs_peer_close(load, peer);
    if (load->measuring && load->main_plan.issue_left && --load->main_plan.issue_left == 0)
        load->stopping = true;
    if (!load->stopping)
        load->again[load->again_count++] = peer;
}

/* ---- asking ---- */

/* When request @p op of the schedule is due. */
static uint64_t due_ns(const crs_load *load, uint64_t op)
{
    return load->start_ns + (uint64_t)((double)op * load->period_ns);
}

static bool may_broadcast(const crs_load *load)
{
    const crs_bench_options *opt = load->opt;
    uint64_t under_way_max = opt->sender_count * opt->depth, issued = load->main_plan.issued;
    return issued < under_way_max ||
           load->broadcast_pushes >= (issued - under_way_max + 1) * (uint64_t)opt->connection_count;
}

/* May @p peer make a request now? @param ret_start_ns  from when on its latency counts */
static bool may_issue(crs_load *load, const crs_peer *peer, uint64_t *ret_start_ns)
{
    *ret_start_ns = load->now_ns;
    if (peer->free_count == 0 || peer->plan->issue_left == 0)
        return false;
    if (peer->plan != &load->main_plan)
        return true;
    if (load->opt->mode == CRS_BENCH_BROADCAST)
        return may_broadcast(load);
    if (load->opt->mode != CRS_BENCH_OPEN_LOOP)
        return true;
    *ret_start_ns = due_ns(load, peer->op_index);
    return *ret_start_ns <= load->now_ns && *ret_start_ns < load->end_ns;
}

void crs_load_issue(crs_load *load, crs_peer *peer)
{
    crs_plan *plan = peer->plan;
    uint64_t start_ns;
    while (!load->stopping && load->start_ns && may_issue(load, peer, &start_ns)) {
        uint16_t slot = peer->free_slots[peer->free_count - 1];
        size_t from = plan->offsets[slot], len = plan->offsets[slot + 1] - from;
        if (crs_bytes_append(&load->tx, plan->packets.data + from, len)) {
            crs_load_drop(load, peer, CRS_BENCH_ERROR_closed, "out of memory");
            return;
        }
        peer->free_count--;
        peer->start_ns[slot] = start_ns;
        peer->op_index += load->main_count;
        plan->issue_left--;
        plan->issued++;
        plan->outstanding++;
    }
}

static void issue_and_flush(crs_load *load, crs_peer *peer)
{
    if (peer->state != CRS_PEER_READY)
        return;
    crs_load_issue(load, peer);
    crs_peer_flush(load, peer);
}

/* What is due by the clock, or because pushes have arrived: neither comes as an event of the peer that asks. */
static void issue_due(crs_load *load)
{
    if (load->opt->mode == CRS_BENCH_BROADCAST) {
        for (size_t i = 0; i < load->main_count && may_broadcast(load); i++)
            issue_and_flush(load, &load->peers[load->main_first + i]);
    } else if (load->opt->mode == CRS_BENCH_OPEN_LOOP) {
        for (; due_ns(load, load->next_op) <= load->now_ns; load->next_op++)
            issue_and_flush(load, &load->peers[load->main_first + load->next_op % load->main_count]);
    }
}

/* ---- answers ---- */

static bool body_is_wanted(crs_load *load, crs_peer *peer, const crs_message *msg)
{
    const crs_plan *plan = peer->plan;
    cereus_slice body = msg->body;
    if (msg->compressed) {
        if (peer->saw_compressed && !load->opt->check)
            return true;
        load->inflated.len = 0;
        load->inflated.max = INFLATED_MAX;
        if (crs_zlib_inflate(load->zlib, body, &load->inflated))
            return false;
        body = crs_bytes_slice(&load->inflated);
        peer->saw_compressed = true;
    }
    return crs_slice_eq(body, plan->body_wanted);
}

static void count_answer(crs_load *load, uint64_t start_ns, uint32_t ops)
{
    crs_bench_result *r = load->result;
    bool is_open_loop = load->opt->mode == CRS_BENCH_OPEN_LOOP;
    if (load->measuring)
        r->op_count += ops;
    /* on a schedule it counts what was due in the window, whenever the answer comes */
    if (is_open_loop ? start_ns >= load->end_ns - load->opt->duration_ns : load->measuring)
        crs_hist_add(&r->latency_ns, load->now_ns - start_ns);
}

static void on_response(crs_load *load, crs_peer *peer, const crs_message *msg)
{
    crs_plan *plan = peer->plan;
    uint64_t slot = msg->id - 1, start_ns;
    if (slot >= plan->depth || (start_ns = peer->start_ns[slot]) == 0) {
        crs_load_error(load, CRS_BENCH_ERROR_unknown_id, msg->body);
        return;
    }
    peer->start_ns[slot] = 0;
    peer->free_slots[peer->free_count++] = (uint16_t)slot;
    plan->outstanding--;
    plan->answered++;
    if (msg->error)
        crs_load_error(load, CRS_BENCH_ERROR_refused, msg->body);
    else if (plan == &load->main_plan && msg->compressed != plan->expect_compressed)
        crs_load_error(load, CRS_BENCH_ERROR_compression, cereus_slice_str(msg->compressed ? "compressed" : "plain"));
    else if (plan->body_wanted.data && !body_is_wanted(load, peer, msg))
        crs_load_error(load, CRS_BENCH_ERROR_mismatch, msg->body);
    else if (plan == &load->main_plan)
        count_answer(load, start_ns, plan->ops_per_answer);
    else if (load->measuring)
        load->result->background_count++;
}

void crs_load_on_message(crs_load *load, crs_peer *peer, const crs_message *msg)
{
    if (msg->type == CRS_MESSAGE_RESPONSE) {
        on_response(load, peer, msg);
    } else if (msg->type != CRS_MESSAGE_PUSH) {
        crs_load_drop(load, peer, CRS_BENCH_ERROR_malformed, "a message that servers do not send");
    } else {
        load->broadcast_pushes++;
        load->result->push_count += load->measuring;
        if (load->opt->check && !msg->compressed && !crs_slice_eq(msg->body, load->opt->body))
            crs_load_error(load, CRS_BENCH_ERROR_mismatch, msg->body);
    }
}

/* ---- the loop ---- */

static cereus_status turn(crs_load *load, uint64_t wait_ns, cereus_error *err)
{
    struct epoll_event events[EVENTS_MAX];
    struct timespec wait = {.tv_sec = (time_t)(wait_ns / SECOND_NS), .tv_nsec = (long)(wait_ns % SECOND_NS)};
    int count = epoll_pwait2(load->epoll, events, EVENTS_MAX, &wait, NULL);
    if (count < 0 && errno != EINTR)
        return crs_fail(err, CEREUS_E_IO, "epoll_pwait2: %s", strerror(errno));
    load->now_ns = crs_bench_now_ns();
    if (count > 0)
        load->progress_ns = load->now_ns;
    for (int i = 0; i < count; i++) {
        crs_peer_on_event(load, events[i].data.ptr, events[i].events);
        load->now_ns = crs_bench_now_ns();
    }
    reopen(load);
    if (load->start_ns)
        issue_due(load);
    return CEREUS_OK;
}

static bool is_stalled(crs_load *load)
{
    if (load->now_ns - load->progress_ns < STALL_NS)
        return false;
    crs_load_error(load, CRS_BENCH_ERROR_stalled, cereus_slice_str("no answer"));
    return true;
}

/* Open connections until @p count of all have been tried. @return CEREUS_E_UNAVAILABLE: none is open */
static cereus_status open_peers(crs_load *load, size_t count, cereus_error *err)
{
    load->now_ns = load->progress_ns = crs_bench_now_ns();
    while (load->ready_count + load->closed_count < count && !is_stalled(load)) {
        while (load->next_to_open < count && load->opening_count < OPENING_MAX)
            crs_peer_open(load, &load->peers[load->next_to_open++]);
        CEREUS_TRY(turn(load, TURN_NS, err));
    }
    if (load->ready_count == 0)
        return crs_fail(err, CEREUS_E_UNAVAILABLE, "%s: no connection: %s", load->opt->host, load->result->first_error);
    return CEREUS_OK;
}

static uint64_t server_cpu_ns(const crs_load *load)
{
    uint64_t sum_ns = 0, one_ns;
    for (size_t i = 0; i < load->opt->pid_count; i++)
        if (crs_proc_cpu_ns(load->opt->pids[i], &one_ns))
            sum_ns += one_ns;
    return sum_ns;
}

static int64_t server_rss(const crs_load *load)
{
    uint64_t sum = 0, one;
    for (size_t i = 0; i < load->opt->pid_count; i++)
        if (crs_proc_rss(load->opt->pids[i], &one))
            sum += one;
    return (int64_t)sum;
}

static cereus_status run_for(crs_load *load, uint64_t duration_ns, cereus_error *err)
{
    load->now_ns = crs_bench_now_ns();
    uint64_t end_ns = load->now_ns + duration_ns;
    while (load->now_ns < end_ns)
        CEREUS_TRY(turn(load, CRS_MIN(end_ns - load->now_ns, TURN_NS), err));
    return CEREUS_OK;
}

static cereus_status hold_idle(crs_load *load, cereus_error *err)
{
    size_t base = CRS_MIN(load->peer_count / 2, (size_t)RSS_BASE_CONNECTIONS);
    if (base)
        CEREUS_TRY(open_peers(load, base, err));
    int64_t rss_before = server_rss(load);
    CEREUS_TRY(open_peers(load, load->peer_count, err));
    CEREUS_TRY(run_for(load, load->opt->duration_ns, err));
    load->result->rss_growth = server_rss(load) - rss_before;
    load->result->rss_connections = load->ready_count - base;
    load->result->op_count = load->ready_count;
    load->result->elapsed_ns = load->opt->duration_ns;
    return CEREUS_OK;
}

/* How long the loop may sleep. */
static uint64_t until_next_ns(const crs_load *load)
{
    uint64_t wake_ns = CRS_MIN(load->end_ns, load->now_ns + TURN_NS);
    if (load->opt->mode == CRS_BENCH_OPEN_LOOP)
        wake_ns = CRS_MIN(wake_ns, due_ns(load, load->next_op));
    return wake_ns > load->now_ns ? wake_ns - load->now_ns : 0;
}

static bool is_over(crs_load *load)
{
    const crs_plan *plan = &load->main_plan;
    if (load->opt->request_count && load->opt->mode != CRS_BENCH_CONNECT)
        return plan->issue_left == 0 && plan->outstanding == 0;
    return load->stopping || load->now_ns >= load->end_ns;
}

static cereus_status run_until_over(crs_load *load, cereus_error *err)
{
    while (!is_over(load) && load->closed_count < load->peer_count && !is_stalled(load))
        CEREUS_TRY(turn(load, until_next_ns(load), err));
    return CEREUS_OK;
}

/* Answers to what was due before the end still count, if they come soon. */
static cereus_status drain(crs_load *load, cereus_error *err)
{
    uint64_t give_up_ns = load->now_ns + DRAIN_NS;
    load->stopping = true;
    while (load->main_plan.outstanding && load->now_ns < give_up_ns && load->closed_count < load->peer_count)
        CEREUS_TRY(turn(load, TURN_NS, err));
    uint64_t due_count = (uint64_t)((double)(load->end_ns - load->start_ns) / load->period_ns);
    /* rounding may put the last of the schedule on either side of its end */
    for (uint64_t answered = load->main_plan.answered; answered + 1 < due_count; answered++)
        crs_load_error(load, CRS_BENCH_ERROR_unanswered, cereus_slice_str("too slow for the rate"));
    return CEREUS_OK;
}

static uint64_t own_cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * SECOND_NS + (uint64_t)ts.tv_nsec;
}

/* Fill every free slot that may be filled: at the beginning, and where a limit has just been lifted. */
static void issue_all(crs_load *load)
{
    for (size_t i = 0; i < load->peer_count && load->opt->mode != CRS_BENCH_OPEN_LOOP; i++)
        issue_and_flush(load, &load->peers[i]);
}

static void open_window(crs_load *load)
{
    const crs_bench_options *opt = load->opt;
    uint64_t under_way = load->main_plan.outstanding, wanted = opt->request_count;
    if (opt->mode == CRS_BENCH_NOTIFY)
        wanted = (wanted + opt->depth - 1) / opt->depth; /* they come in bursts */
    if (opt->request_count)
        load->main_plan.issue_left = wanted > under_way ? wanted - under_way : 0;
    else if (opt->mode != CRS_BENCH_OPEN_LOOP)
        load->end_ns = crs_bench_now_ns() + opt->duration_ns;
    load->measuring = true;
}

static cereus_status ask_and_measure(crs_load *load, cereus_error *err)
{
    const crs_bench_options *opt = load->opt;
    crs_bench_result *r = load->result;
    if (opt->mode != CRS_BENCH_CONNECT)
        CEREUS_TRY(open_peers(load, load->peer_count, err));
    load->progress_ns = load->start_ns = load->now_ns = crs_bench_now_ns();
    if (opt->mode == CRS_BENCH_OPEN_LOOP)
        load->end_ns = load->start_ns + opt->warmup_ns + opt->duration_ns;
    while (load->next_to_open < load->peer_count)
        crs_peer_open(load, &load->peers[load->next_to_open++]);
    if (opt->warmup_ns) {
        issue_all(load);
        CEREUS_TRY(run_for(load, opt->warmup_ns, err));
    }

    open_window(load);
    uint64_t server_before = server_cpu_ns(load), own_before = own_cpu_ns(), from_ns = crs_bench_now_ns();
    issue_all(load);
    CEREUS_TRY(run_until_over(load, err));
    load->measuring = false;
    r->elapsed_ns = crs_bench_now_ns() - from_ns;
    r->server_cpu_ns = server_cpu_ns(load) - server_before;
    r->client_cpu_ns = own_cpu_ns() - own_before;
    return opt->mode == CRS_BENCH_OPEN_LOOP ? drain(load, err) : CEREUS_OK;
}

/* ---- begin and end ---- */

static cereus_status check_options(const crs_bench_options *opt, cereus_error *err)
{
    if (opt->connection_count < 1 || opt->connection_count > CRS_BENCH_CONNECTIONS_MAX)
        return crs_fail(err, CEREUS_E_INVALID, "connections: 1 to %d", CRS_BENCH_CONNECTIONS_MAX);
    if (opt->sender_count > CRS_BENCH_CONNECTIONS_MAX || opt->background_count > CRS_BENCH_CONNECTIONS_MAX)
        return crs_fail(err, CEREUS_E_INVALID, "senders, background connections: at most %d",
                        CRS_BENCH_CONNECTIONS_MAX);
    if (opt->depth < 1 || opt->depth > CRS_BENCH_DEPTH_MAX)
        return crs_fail(err, CEREUS_E_INVALID, "depth: 1 to %d", CRS_BENCH_DEPTH_MAX);
    if (opt->mode == CRS_BENCH_OPEN_LOOP && !(opt->rate > 0 && opt->rate <= 1e9))
        return crs_fail(err, CEREUS_E_INVALID, "rate: above 0, at most 10^9 requests/s");
    if (opt->mode == CRS_BENCH_OPEN_LOOP && opt->request_count)
        return crs_fail(err, CEREUS_E_INVALID, "a rate goes with a duration, not with a number of requests");
    if (opt->mode == CRS_BENCH_BROADCAST && opt->sender_count < 1)
        return crs_fail(err, CEREUS_E_INVALID, "broadcast: at least one sender");
    if (opt->background_count && !opt->background_route)
        return crs_fail(err, CEREUS_E_INVALID, "background connections need a route");
    return CEREUS_OK;
}

static void raise_file_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files); /* if not, the connections that are too many are counted as errors */
    }
}

static cereus_status load_init(crs_load *load, cereus_error *err)
{
    /* a load generator needs no identity of who it loads, and tests have certificates of their own */
    const crs_tls_client_options tls = {
        .server_name = load->opt->server_name, .insecure = true, .any_protocol = true, .read_ahead = true};
    if (load->opt->tls)
        CEREUS_TRY(crs_tls_client_new(&tls, &load->tls, err));
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->epoll < 0)
        return crs_fail(err, CEREUS_E_IO, "epoll_create1: %s", strerror(errno));
    load->read_cap = READ_CAP;
    load->read_buf = crs_malloc(load->read_cap);
    load->zlib = crs_zlib_new(-1);
    if (!load->read_buf || !load->zlib)
        return crs_fail(err, CEREUS_E_NOMEM, "buffers");
    crs_bytes_init(&load->inflated, INFLATED_MAX);
    crs_bytes_init(&load->tx, PACKETS_MAX);
    const struct sockaddr_in *addr = (const struct sockaddr_in *)&load->opt->addr;
    load->is_loopback = addr->sin_family == AF_INET && ntohl(addr->sin_addr.s_addr) >> 24 == 127;
    if (load->opt->mode == CRS_BENCH_OPEN_LOOP)
        load->period_ns = (double)SECOND_NS / load->opt->rate;
    cereus_status st = make_setup(load);
    if (!st)
        st = make_plans(load);
    if (!st)
        st = make_peers(load);
    return st ? crs_fail(err, st, "route, body or number of connections") : CEREUS_OK;
}

static void load_fini(crs_load *load)
{
    for (size_t i = 0; load->peers && i < load->peer_count; i++) {
        crs_peer *peer = &load->peers[i];
        if (peer->fd >= 0 && peer->state != CRS_PEER_NONE)
            crs_peer_close(load, peer);
        crs_free(peer->start_ns);
        crs_free(peer->free_slots);
    }
    crs_free(load->peers);
    crs_free(load->again);
    plan_fini(&load->main_plan);
    plan_fini(&load->background_plan);
    crs_bytes_fini(&load->setup);
    crs_bytes_fini(&load->tx);
    crs_bytes_fini(&load->inflated);
    crs_zlib_free(load->zlib);
    crs_free(load->read_buf);
    crs_tls_client_free(load->tls);
    if (load->epoll >= 0)
        close(load->epoll);
}

cereus_status crs_bench_run(const crs_bench_options *opt, crs_bench_result *ret_result, cereus_error *err)
{
    CEREUS_TRY(check_options(opt, err));
    raise_file_limit();
    prctl(PR_SET_TIMERSLACK, 1); /* a schedule of 50 us steps is not kept with 50 us of slack */
    memset(ret_result, 0, sizeof *ret_result);
    crs_load load = {.opt = opt, .result = ret_result, .epoll = -1, .end_ns = UINT64_MAX};
    cereus_status st = load_init(&load, err);
    if (!st)
        st = opt->mode == CRS_BENCH_IDLE ? hold_idle(&load, err) : ask_and_measure(&load, err);
    load_fini(&load);
    return st;
}
