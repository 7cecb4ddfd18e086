/* ext/etcd_lease.c: leases that are kept alive. All share one stream; each has a timer, which asks at a third of its time.
 *
 * A lease is taken as good until its time has passed since the last question that was answered was *asked*: etcd counts
 * from when it got the question, which is later.
 */
#include "ext/etcd_priv.h"

struct crs_etcd_lease {
    crs_list link;
    crs_etcd *etcd;
    int64_t id;
    uint64_t ttl_ms;
    uint64_t expires_ms;
    uint64_t asked_ms; /* the oldest question that waits for its answer; 0: none */
    crs_timer timer;
    crs_etcd_lost_fn *lost;
    void *user;
};

static void open_stream(crs_etcd *etcd);

static void remove_lease(crs_etcd_lease *lease)
{
    crs_etcd *etcd = lease->etcd;
    crs_loop_timer_stop(etcd->loop, &lease->timer);
    crs_list_remove(&lease->link);
    crs_free(lease);
    if (--etcd->lease_count == 0) {
        crs_loop_timer_stop(etcd->loop, &etcd->lease_stream.retry);
        etcd->lease_stream.call = crs_grpc_cancel(etcd->lease_stream.call);
    }
}

static void lost(crs_etcd_lease *lease, const char *why)
{
    crs_etcd *etcd = lease->etcd;
    crs_etcd_lost_fn *fn = lease->lost;
    void *user = lease->user;
    cereus_error err;
    crs_fail(&err, CEREUS_E_GONE, "etcd %s: lease %llx is lost: %s", crs_grpc_channel_endpoint(etcd->channel),
             (unsigned long long)lease->id, why);
    CRS_COUNT(&etcd->loop->counters, etcd_leases_lost);
    crs_log_warn(etcd->loop->log, "lease lost", CRS_ERR(&err));
    remove_lease(lease);
    fn(&err, user);
}

static void ask(crs_etcd_lease *lease)
{
    crs_etcd *etcd = lease->etcd;
    if (!etcd->lease_stream.call) {
        if (!crs_timer_running(&etcd->lease_stream.retry))
            open_stream(etcd); /* which asks for all */
        return;
    }
    CrsEtcd__LeaseKeepAliveRequest request = CRS_ETCD__LEASE_KEEP_ALIVE_REQUEST__INIT;
    request.id = lease->id;
    if (crs_grpc_stream_send(etcd->lease_stream.call, &request.base) == CEREUS_OK && !lease->asked_ms)
        lease->asked_ms = etcd->loop->now_ms;
}

static void on_tick(crs_timer *timer)
{
    crs_etcd_lease *lease = CRS_CONTAINER(timer, crs_etcd_lease, timer);
    crs_etcd *etcd = lease->etcd;
    uint64_t now = etcd->loop->now_ms;
    crs_etcd_enter(etcd);
    if (now >= lease->expires_ms) {
        lost(lease, "etcd did not answer for its whole time to live");
    } else {
        ask(lease);
        uint64_t pause = CRS_MIN(lease->ttl_ms / 3, lease->expires_ms - now);
        if (crs_loop_timer_start(etcd->loop, timer, pause) != CEREUS_OK)
            lost(lease, "out of memory");
    }
    crs_etcd_leave(etcd);
}

static void on_answer(cereus_slice message, void *user)
{
    crs_etcd *etcd = user;
    crs_arena arena;
    crs_arena_init(&arena, 64 * 1024);
    CrsEtcd__LeaseKeepAliveResponse *r =
        crs_etcd_unpack(&arena, &crs_etcd__lease_keep_alive_response__descriptor, message);
    int64_t id = r ? r->id : 0, ttl_s = r ? r->ttl : 0;
    crs_arena_fini(&arena);
    crs_list *link = etcd->leases.next;
    while (link != &etcd->leases && CRS_CONTAINER(link, crs_etcd_lease, link)->id != id)
        link = link->next;
    if (!r || link == &etcd->leases)
        return; /* dropped meanwhile */
    crs_etcd_lease *lease = CRS_CONTAINER(link, crs_etcd_lease, link);
    crs_etcd_enter(etcd);
    if (ttl_s <= 0) {
        lost(lease, "etcd does not know it any more");
    } else if (lease->asked_ms) {
        lease->ttl_ms = CRS_MIN((uint64_t)ttl_s, UINT32_MAX) * 1000;
        lease->expires_ms = lease->asked_ms + lease->ttl_ms;
        lease->asked_ms = 0;
    }
    crs_etcd_leave(etcd);
}

static void retry_later(crs_etcd *etcd, uint32_t delay_ms)
{
    if (etcd->lease_count && crs_loop_timer_start(etcd->loop, &etcd->lease_stream.retry, delay_ms) != CEREUS_OK)
        return; /* then with the next tick of a lease */
}

static void on_stream_end(const crs_grpc_result *result, void *user)
{
    crs_etcd *etcd = user;
    etcd->lease_stream.call = NULL;
    if (etcd->closed)
        return;
    for (crs_list *link = etcd->leases.next; link != &etcd->leases; link = link->next)
        CRS_CONTAINER(link, crs_etcd_lease, link)->asked_ms = 0;
    retry_later(etcd, crs_etcd_stream_ended(etcd, result));
}

static void open_stream(crs_etcd *etcd)
{
    crs_grpc_ask stream = {.path = "/etcdserverpb.Lease/LeaseKeepAlive", .wait = true};
    cereus_error err;
    if (etcd->lease_stream.call || etcd->lease_count == 0)
        return;
    if (crs_grpc_stream_open(etcd->channel, &stream, on_answer, on_stream_end, etcd, &etcd->lease_stream.call, &err) !=
        CEREUS_OK)
        return; /* the next tick of a lease tries again */
    for (crs_list *link = etcd->leases.next; link != &etcd->leases; link = link->next)
        ask(CRS_CONTAINER(link, crs_etcd_lease, link));
}

static void on_retry(crs_timer *timer)
{
    open_stream(CRS_CONTAINER(timer, crs_etcd, lease_stream.retry));
}

cereus_status crs_etcd_lease_keep(crs_etcd *etcd, int64_t id, int64_t ttl_s, crs_etcd_lost_fn *lost_fn, void *user,
                                  crs_etcd_lease **ret_lease, cereus_error *err)
{
    crs_loop_assert_current(etcd->loop);
    CRS_ASSERT(!etcd->closed && id && ttl_s > 0);
    if (etcd->lease_count >= CRS_ETCD_LEASES_MAX)
        return crs_fail(err, CEREUS_E_FULL, "etcd: more than %d leases are to be kept alive", CRS_ETCD_LEASES_MAX);
    crs_etcd_lease *lease = crs_zalloc(sizeof *lease);
    if (!lease)
        return crs_fail(err, CEREUS_E_NOMEM, "etcd: out of memory");
    lease->etcd = etcd;
    lease->id = id;
    lease->ttl_ms = CRS_MIN((uint64_t)ttl_s, UINT32_MAX) * 1000;
    lease->expires_ms = etcd->loop->now_ms + lease->ttl_ms;
    lease->lost = lost_fn;
    lease->user = user;
    crs_timer_init(&lease->timer, on_tick);
    if (crs_loop_timer_start(etcd->loop, &lease->timer, lease->ttl_ms / 3) != CEREUS_OK) {
        crs_free(lease);
        return crs_fail(err, CEREUS_E_NOMEM, "etcd: out of memory");
    }
    crs_list_init(&lease->link);
    crs_list_push(&etcd->leases, &lease->link);
    etcd->lease_count++;
    if (etcd->lease_stream.call)
        ask(lease);
    else if (!crs_timer_running(&etcd->lease_stream.retry))
        open_stream(etcd);
    if (ret_lease)
        *ret_lease = lease;
    return CEREUS_OK;
}

crs_etcd_lease *crs_etcd_lease_drop(crs_etcd_lease *lease)
{
    if (lease) {
        crs_loop_assert_current(lease->etcd->loop);
        remove_lease(lease);
    }
    return NULL;
}

void crs_etcd_leases_init(crs_etcd *etcd)
{
    crs_list_init(&etcd->leases);
    crs_timer_init(&etcd->lease_stream.retry, on_retry);
}

void crs_etcd_leases_fini(crs_etcd *etcd)
{
    while (!crs_list_empty(&etcd->leases))
        remove_lease(CRS_CONTAINER(etcd->leases.next, crs_etcd_lease, link));
}
