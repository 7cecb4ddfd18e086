/* ext/etcd_watch.c: watches. All share one stream; etcd confirms them in the order asked and names them by numbers of its
 * own, which are void when the stream ends.
 *
 *    start() ──> idle ──create request──> asked ──created──> live ──canceled──> ended
 *                  └────────── the stream ended ───┴───────────┘
 *
 * Where a watch goes on is kept in `next`. It moves by events and progress notices only, not by the `created` answer, whose
 * header is ahead of events that are still on their way; and not before the last piece of an answer that comes in pieces.
 */
#include "ext/etcd_priv.h"

typedef enum watch_state { WATCH_IDLE, WATCH_ASKED, WATCH_LIVE } watch_state;

struct crs_etcd_watch {
    crs_list link;  /* on `watches`, until stopped */
    crs_list asked; /* on `watches_asked` while asked */
    crs_etcd *etcd;
    crs_etcd_watch_ops ops;
    void *user;
    watch_state state;
    int64_t id;      /* etcd's, while live */
    int64_t next;    /* the first revision not seen; 0: not known yet, from now on */
    int64_t highest; /* seen in the pieces of an answer so far */
    bool stopped;    /* freed when it is not `asked` and not `busy` any more */
    bool busy;       /* in its callback */
    bool renewed;    /* asked again with a new token */
    uint8_t *key, *end;
    size_t key_len, end_len;
};

static void open_stream(crs_etcd *etcd);

static void free_watch(crs_etcd_watch *watch)
{
    if (!watch->stopped || watch->busy || watch->state == WATCH_ASKED)
        return;
    crs_list_remove(&watch->asked);
    crs_free(watch->key);
    crs_free(watch->end);
    crs_free(watch);
}

/** It is told nothing any more. */
static void remove_watch(crs_etcd_watch *watch)
{
    crs_etcd *etcd = watch->etcd;
    watch->stopped = true;
    crs_list_remove(&watch->link);
    if (--etcd->watch_count == 0) { /* the stream goes, and all that was asked on it */
        crs_loop_timer_stop(etcd->loop, &etcd->watch_stream.retry);
        etcd->watch_stream.call = crs_grpc_cancel(etcd->watch_stream.call);
        for (crs_list *link; (link = crs_list_pop(&etcd->watches_asked));) {
            crs_etcd_watch *asked = CRS_CONTAINER(link, crs_etcd_watch, asked);
            asked->state = WATCH_IDLE;
            if (asked != watch)
                free_watch(asked);
        }
    }
}

/** The stream cannot take more: give it up, all go on on the next. */
static void restart_stream(crs_etcd *etcd);

static void create(crs_etcd_watch *watch)
{
    crs_etcd *etcd = watch->etcd;
    CrsEtcd__WatchCreateRequest request = CRS_ETCD__WATCH_CREATE_REQUEST__INIT;
    CrsEtcd__WatchRequest outer = CRS_ETCD__WATCH_REQUEST__INIT;
    request.key = (ProtobufCBinaryData){.data = watch->key, .len = watch->key_len};
    request.range_end = (ProtobufCBinaryData){.data = watch->end, .len = watch->end_len};
    request.start_revision = watch->next;
    request.progress_notify = true;
    request.fragment = true;
    outer.request_union_case = CRS_ETCD__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    outer.create_request = &request;
    if (crs_grpc_stream_send(etcd->watch_stream.call, &outer.base) != CEREUS_OK) {
        restart_stream(etcd);
        return;
    }
    watch->state = WATCH_ASKED;
    watch->highest = 0;
    crs_list_push(&etcd->watches_asked, &watch->asked);
}

static void cancel(crs_etcd *etcd, int64_t id)
{
    CrsEtcd__WatchCancelRequest request = CRS_ETCD__WATCH_CANCEL_REQUEST__INIT;
    CrsEtcd__WatchRequest outer = CRS_ETCD__WATCH_REQUEST__INIT;
    request.watch_id = id;
    outer.request_union_case = CRS_ETCD__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
    outer.cancel_request = &request;
    if (crs_grpc_stream_send(etcd->watch_stream.call, &outer.base) != CEREUS_OK)
        restart_stream(etcd);
}

/** Nothing is asked and nothing is live any more. */
static void forget_stream(crs_etcd *etcd)
{
    for (crs_list *link; (link = crs_list_pop(&etcd->watches_asked));) {
        crs_etcd_watch *watch = CRS_CONTAINER(link, crs_etcd_watch, asked);
        watch->state = WATCH_IDLE;
        free_watch(watch);
    }
    for (crs_list *link = etcd->watches.next; link != &etcd->watches; link = link->next)
        CRS_CONTAINER(link, crs_etcd_watch, link)->state = WATCH_IDLE;
}

static void retry_later(crs_etcd *etcd, uint32_t delay_ms)
{
    if (etcd->watch_count && crs_loop_timer_start(etcd->loop, &etcd->watch_stream.retry, delay_ms) != CEREUS_OK)
        crs_grpc_channel_rotate(etcd->channel, "out of memory"); /* and again when the next watch starts */
}

static void restart_stream(crs_etcd *etcd)
{
    etcd->watch_stream.call = crs_grpc_cancel(etcd->watch_stream.call);
    forget_stream(etcd);
    retry_later(etcd, 100);
}

/* ---- what etcd says ---- */

static void ended(crs_etcd_watch *watch, int64_t compact_revision, const char *reason)
{
    crs_etcd *etcd = watch->etcd;
    crs_etcd_watch_ops ops = watch->ops;
    void *user = watch->user;
    remove_watch(watch);
    free_watch(watch);
    if (compact_revision) {
        CRS_COUNT(&etcd->loop->counters, etcd_watches_compacted);
        ops.compacted(compact_revision, user);
        return;
    }
    cereus_error err;
    crs_fail(&err, CEREUS_E_INVALID, "etcd %s: the watch is refused: %.200s", crs_grpc_channel_endpoint(etcd->channel),
             *reason ? reason : "no reason given");
    ops.failed(&err, user);
}

static void on_canceled(crs_etcd_watch *watch, const CrsEtcd__WatchResponse *r)
{
    crs_etcd *etcd = watch->etcd;
    watch->state = WATCH_IDLE;
    if (watch->stopped) {
        free_watch(watch);
    } else if (r->compact_revision == 0 && etcd->user && !watch->renewed) {
        /* old members call a token that they do not know "permission denied" here */
        watch->renewed = true;
        crs_etcd_authenticate(etcd);
        restart_stream(etcd);
    } else {
        ended(watch, r->compact_revision, r->cancel_reason);
    }
}

static void on_created(crs_etcd *etcd, const CrsEtcd__WatchResponse *r)
{
    crs_list *link = crs_list_pop(&etcd->watches_asked);
    if (!link)
        return; /* it confirms what nobody asked */
    crs_etcd_watch *watch = CRS_CONTAINER(link, crs_etcd_watch, asked);
    if (r->canceled) {
        on_canceled(watch, r);
        return;
    }
    watch->state = WATCH_LIVE;
    watch->id = r->watch_id;
    watch->renewed = false;
    if (watch->stopped) { /* while it was asked */
        cancel(etcd, watch->id);
        watch->state = WATCH_IDLE;
        free_watch(watch);
    } else if (watch->next == 0 && r->header) {
        watch->next = r->header->revision + 1; /* "from now on" is from here, also on the next connection */
    }
}

static void on_events(crs_etcd_watch *watch, const CrsEtcd__WatchResponse *r)
{
    int64_t first = watch->next;
    watch->busy = true;
    for (size_t i = 0; i < r->n_events && !watch->stopped; i++) {
        const CrsEtcd__Event *e = r->events[i];
        if (!e->kv || e->kv->mod_revision < first)
            continue; /* seen before the connection was lost */
        crs_etcd_event event = {.deleted = e->type == CRS_ETCD__EVENT__EVENT_TYPE__DELETE};
        crs_etcd_kv_of(e->kv, &event.kv);
        watch->highest = CRS_MAX(watch->highest, e->kv->mod_revision);
        watch->ops.event(&event, watch->user);
    }
    watch->busy = false;
    if (watch->stopped) {
        free_watch(watch);
        return;
    }
    if (r->n_events == 0 && !r->fragment && r->header)
        watch->highest =
            CRS_MAX(watch->highest, r->header->revision); /* a progress notice: nothing up to there is missing */
    if (!r->fragment && watch->highest >= watch->next) {
        watch->next = watch->highest + 1;
        watch->highest = 0;
    }
}

static void on_message(cereus_slice message, void *user)
{
    crs_etcd *etcd = user;
    crs_etcd_enter(etcd);
    crs_arena arena;
    crs_arena_init(&arena, CRS_ETCD_RESULT_MAX);
    const CrsEtcd__WatchResponse *r = crs_etcd_unpack(&arena, &crs_etcd__watch_response__descriptor, message);
    if (!r) {
        crs_log_error(etcd->loop->log, "a watch answer does not decode, or is too large",
                      CRS_STR("endpoint", crs_grpc_channel_endpoint(etcd->channel)), CRS_UINT("len", message.len));
        restart_stream(etcd);
    } else if (r->created) {
        on_created(etcd, r);
    } else {
        crs_list *link = etcd->watches.next;
        crs_etcd_watch *watch = NULL;
        for (; link != &etcd->watches && !watch; link = link->next) {
            crs_etcd_watch *w = CRS_CONTAINER(link, crs_etcd_watch, link);
            if (w->state == WATCH_LIVE && w->id == r->watch_id)
                watch = w;
        }
        if (watch && r->canceled)
            on_canceled(watch, r);
        else if (watch)
            on_events(watch, r);
    }
    crs_arena_fini(&arena);
    crs_etcd_leave(etcd);
}

static void on_stream_end(const crs_grpc_result *result, void *user)
{
    crs_etcd *etcd = user;
    etcd->watch_stream.call = NULL;
    if (etcd->closed)
        return;
    forget_stream(etcd);
    retry_later(etcd, crs_etcd_stream_ended(etcd, result));
}

static void open_stream(crs_etcd *etcd)
{
    crs_grpc_ask stream = {.path = "/etcdserverpb.Watch/Watch", .wait = true};
    cereus_error err;
    if (etcd->watch_stream.call || etcd->watch_count == 0)
        return;
    if (crs_grpc_stream_open(etcd->channel, &stream, on_message, on_stream_end, etcd, &etcd->watch_stream.call, &err) !=
        CEREUS_OK) {
        retry_later(etcd, 100);
        return;
    }
    for (crs_list *link = etcd->watches.next; link != &etcd->watches && etcd->watch_stream.call; link = link->next)
        create(CRS_CONTAINER(link, crs_etcd_watch, link));
}

static void on_retry(crs_timer *timer)
{
    crs_etcd *etcd = CRS_CONTAINER(timer, crs_etcd, watch_stream.retry);
    CRS_COUNT(&etcd->loop->counters, etcd_watches_resumed);
    open_stream(etcd);
}

/* ---- the watch ---- */

cereus_status crs_etcd_watch_start(crs_etcd *etcd, const crs_etcd_watch_options *opt, const crs_etcd_watch_ops *ops,
                                   void *user, crs_etcd_watch **ret_watch, cereus_error *err)
{
    crs_loop_assert_current(etcd->loop);
    CRS_ASSERT(!etcd->closed && ops->event && ops->compacted && ops->failed);
    if (etcd->watch_count >= CRS_ETCD_WATCHES_MAX)
        return crs_fail(err, CEREUS_E_FULL, "etcd: more than %d watches", CRS_ETCD_WATCHES_MAX);
    crs_etcd_watch *watch = crs_zalloc(sizeof *watch);
    if (!watch || !(watch->key = crs_malloc(opt->key.len + 1)) ||
        (opt->prefix && !(watch->end = crs_malloc(opt->key.len + 1)))) {
        if (watch)
            crs_free(watch->key);
        crs_free(watch);
        return crs_fail(err, CEREUS_E_NOMEM, "etcd: out of memory");
    }
    watch->key[0] = 0; /* an empty prefix begins with the smallest key */
    watch->key_len = opt->prefix && opt->key.len == 0 ? 1 : opt->key.len;
    if (opt->key.len)
        memcpy(watch->key, opt->key.data, opt->key.len);
    if (opt->prefix)
        watch->end_len = crs_etcd_range_end(opt->key, watch->end).len;
    watch->etcd = etcd;
    watch->ops = *ops;
    watch->user = user;
    watch->next = opt->from_revision;
    crs_list_init(&watch->link);
    crs_list_init(&watch->asked);
    crs_list_push(&etcd->watches, &watch->link);
    etcd->watch_count++;
    if (etcd->watch_stream.call)
        create(watch);
    else if (!crs_timer_running(&etcd->watch_stream.retry))
        open_stream(etcd);
    if (ret_watch)
        *ret_watch = watch;
    return CEREUS_OK;
}

crs_etcd_watch *crs_etcd_watch_stop(crs_etcd_watch *watch)
{
    if (!watch)
        return NULL;
    crs_etcd *etcd = watch->etcd;
    crs_loop_assert_current(etcd->loop);
    CRS_ASSERT(!watch->stopped);
    watch_state was = watch->state;
    remove_watch(watch);
    if (was == WATCH_LIVE) {
        watch->state = WATCH_IDLE;
        if (etcd->watch_stream.call)
            cancel(etcd, watch->id);
    }
    free_watch(watch);
    return NULL;
}

void crs_etcd_watches_init(crs_etcd *etcd)
{
    crs_list_init(&etcd->watches);
    crs_list_init(&etcd->watches_asked);
    crs_timer_init(&etcd->watch_stream.retry, on_retry);
}

void crs_etcd_watches_fini(crs_etcd *etcd)
{
    while (!crs_list_empty(&etcd->watches))
        crs_etcd_watch_stop(CRS_CONTAINER(etcd->watches.next, crs_etcd_watch, link));
}
