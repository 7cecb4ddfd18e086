/* ext/etcd.c: the client, its authentication, and its calls. */
#include "ext/etcd_priv.h"

enum {
    AUTH_TIMEOUT_MS = 5000, /* etcd takes 100 ms of processor time for a password */
    AUTH_RETRY_MS = 2000,
    STREAM_RETRY_MS = 500,
};

/* ---- memory ---- */

static void arena_free(void *arena, void *ptr)
{
    CRS_UNUSED(arena); /* all at once */
    CRS_UNUSED(ptr);
}

void *crs_etcd_unpack(crs_arena *arena, const ProtobufCMessageDescriptor *type, cereus_slice bytes)
{
    ProtobufCAllocator allocator = {.alloc = crs_arena_take, .free = arena_free, .allocator_data = arena};
    return protobuf_c_message_unpack(type, &allocator, bytes.len, bytes.data);
}

ProtobufCBinaryData crs_etcd_range_end(cereus_slice prefix, uint8_t *end_buf)
{
    size_t len = prefix.len;
    if (len)
        memcpy(end_buf, prefix.data, len);
    while (len > 0 && end_buf[len - 1] == 0xff)
        len--;
    if (len == 0) { /* no key is behind all of them; etcd writes that as one zero byte */
        end_buf[0] = 0;
        return (ProtobufCBinaryData){.data = end_buf, .len = 1};
    }
    end_buf[len - 1]++;
    return (ProtobufCBinaryData){.data = end_buf, .len = len};
}

void crs_etcd_kv_of(const CrsEtcd__KeyValue *from, crs_etcd_kv *to)
{
    *to =
        (crs_etcd_kv){.key = cereus_slice_of(from->key.len ? (const void *)from->key.data : "", from->key.len),
                      .value = cereus_slice_of(from->value.len ? (const void *)from->value.data : "", from->value.len),
                      .create_revision = from->create_revision,
                      .mod_revision = from->mod_revision,
                      .version = from->version,
                      .lease = from->lease};
}

/* ---- the client ---- */

void crs_etcd_leave(crs_etcd *etcd)
{
    if (--etcd->depth || !etcd->closed)
        return;
    crs_free(etcd->user);
    if (etcd->password)
        explicit_bzero(etcd->password, strlen(etcd->password));
    crs_free(etcd->password);
    crs_free(etcd);
}

static void say_state(crs_etcd *etcd, bool ready, const cereus_error *why)
{
    if (etcd->on_state && !etcd->closed)
        etcd->on_state(ready, why, etcd->state_user);
}

/** Does it name the token? Then it is got again. */
static bool token_refused(const char *reason)
{
    return strstr(reason, "invalid auth token") || strstr(reason, "revision of auth store is old") ||
           strstr(reason, "user name is empty"); /* no token: authentication was enabled meanwhile */
}

static void on_auth_retry(crs_timer *timer)
{
    crs_etcd_authenticate(CRS_CONTAINER(timer, crs_etcd, auth_retry));
}

static void auth_failed(crs_etcd *etcd, const cereus_error *err)
{
    static crs_log_limiter limiter;
    CRS_COUNT(&etcd->loop->counters, etcd_auth_failures);
    crs_log_limited(etcd->loop->log, CEREUS_LOG_ERROR, &limiter, "etcd does not know this user and password",
                    CRS_STR("user", etcd->user), CRS_ERR(err));
    crs_grpc_channel_hold(etcd->channel, err);
    if (crs_loop_timer_start(etcd->loop, &etcd->auth_retry, AUTH_RETRY_MS) != CEREUS_OK)
        crs_grpc_channel_rotate(etcd->channel, "out of memory"); /* comes back here when it is connected again */
}

static void on_authenticated(const crs_grpc_result *result, void *user)
{
    crs_etcd *etcd = user;
    etcd->authenticating = NULL;
    if (etcd->closed || result->status == CEREUS_E_CANCELLED)
        return;
    crs_etcd_enter(etcd);
    if (result->code == CRS_GRPC_FAILED_PRECONDITION) { /* authentication is not enabled there */
        crs_grpc_channel_release(etcd->channel);
        say_state(etcd, true, NULL);
    } else if (result->status) {
        if (result->from_peer || crs_grpc_channel_connected(etcd->channel))
            auth_failed(etcd, result->err); /* else it begins again when there is a connection */
    } else {
        cereus_error err;
        crs_arena arena;
        crs_arena_init(&arena, 64 * 1024);
        CrsEtcd__AuthenticateResponse *r =
            crs_etcd_unpack(&arena, &crs_etcd__authenticate_response__descriptor, result->reply);
        cereus_status st = r ? crs_grpc_channel_set_metadata(etcd->channel, "token", r->token) : CEREUS_E_MALFORMED;
        crs_arena_fini(&arena);
        if (st) {
            crs_fail(&err, st, "etcd %s: the token: %s", crs_grpc_channel_endpoint(etcd->channel),
                     cereus_status_text(st));
            auth_failed(etcd, &err);
        } else {
            CRS_COUNT(&etcd->loop->counters, etcd_authentications);
            crs_grpc_channel_release(etcd->channel);
            say_state(etcd, true, NULL);
        }
    }
    crs_etcd_leave(etcd);
}

void crs_etcd_authenticate(crs_etcd *etcd)
{
    if (etcd->authenticating)
        return;
    crs_loop_timer_stop(etcd->loop, &etcd->auth_retry);
    crs_grpc_channel_hold(etcd->channel, NULL);
    cereus_status st = crs_grpc_channel_set_metadata(etcd->channel, "token", NULL);
    CRS_ASSERT(st == CEREUS_OK); /* taking one away cannot fail */
    CrsEtcd__AuthenticateRequest request = CRS_ETCD__AUTHENTICATE_REQUEST__INIT;
    request.name = etcd->user;
    request.password = etcd->password;
    crs_grpc_ask ask = {.path = "/etcdserverpb.Auth/Authenticate",
                        .request = &request.base,
                        .timeout_ms = AUTH_TIMEOUT_MS,
                        .ahead = true};
    cereus_error err;
    if (crs_grpc_call_start(etcd->channel, &ask, on_authenticated, etcd, &etcd->authenticating, &err) != CEREUS_OK &&
        crs_grpc_channel_connected(etcd->channel))
        auth_failed(etcd, &err);
}

static void on_state(bool ready, const cereus_error *why, void *user)
{
    crs_etcd *etcd = user;
    crs_etcd_enter(etcd);
    if (!ready) {
        etcd->authenticating = crs_grpc_cancel(etcd->authenticating);
        crs_loop_timer_stop(etcd->loop, &etcd->auth_retry);
        say_state(etcd, false, why);
    } else if (etcd->user) {
        crs_etcd_authenticate(etcd); /* tokens may not outlive the member that gave them */
    } else {
        say_state(etcd, true, NULL);
    }
    crs_etcd_leave(etcd);
}

static bool on_refused(const crs_grpc_result *result, void *user)
{
    crs_etcd *etcd = user;
    if (!etcd->user || !result->from_peer || !token_refused(result->err->msg))
        return false;
    crs_etcd_authenticate(etcd);
    return true;
}

uint32_t crs_etcd_stream_ended(crs_etcd *etcd, const crs_grpc_result *result)
{
    if (!result->from_peer)
        return 0; /* the channel makes its own pauses */
    if (result->status == CEREUS_E_UNAVAILABLE && strstr(result->err->msg, "no leader") && etcd->endpoint_count > 1)
        crs_grpc_channel_rotate(etcd->channel, "this member has no leader");
    else if (etcd->user && result->status && token_refused(result->err->msg))
        crs_etcd_authenticate(etcd);
    return STREAM_RETRY_MS;
}

cereus_status crs_etcd_open(crs_loop *loop, const crs_etcd_options *opt, crs_etcd **ret_etcd, cereus_error *err)
{
    if (!opt->user != !opt->password)
        return crs_fail(err, CEREUS_E_INVALID,
                        "etcd: a user needs a password and a password a user: set both or neither");
    crs_etcd *etcd = crs_zalloc(sizeof *etcd);
    if (!etcd)
        return crs_fail(err, CEREUS_E_NOMEM, "etcd: out of memory");
    etcd->loop = loop;
    etcd->endpoint_count = opt->endpoint_count;
    etcd->on_state = opt->on_state;
    etcd->state_user = opt->state_user;
    etcd->depth = 1;
    crs_timer_init(&etcd->auth_retry, on_auth_retry);
    crs_etcd_leases_init(etcd);
    crs_etcd_watches_init(etcd);
    crs_grpc_options channel = {.name = "etcd",
                                .endpoints = opt->endpoints,
                                .endpoint_count = opt->endpoint_count,
                                .tls = opt->tls,
                                .dial_timeout_ms = opt->dial_timeout_ms,
                                .keepalive_ms = opt->keepalive_ms,
                                .keepalive_timeout_ms = opt->keepalive_timeout_ms,
                                .gated = opt->user != NULL,
                                .on_state = on_state,
                                .on_refused = on_refused,
                                .user = etcd};
    cereus_status st;
    if (opt->user && (!(etcd->user = crs_strdup(opt->user)) || !(etcd->password = crs_strdup(opt->password)))) {
        st = crs_fail(err, CEREUS_E_NOMEM, "etcd: out of memory");
    } else if (!(st = crs_grpc_channel_open(loop, &channel, &etcd->channel, err))) {
        st = crs_grpc_channel_set_metadata(etcd->channel, "hasleader",
                                           "true"); /* no answers of a member that was cut off */
        if (st)
            crs_fail(err, st, "etcd: out of memory");
    }
    if (st)
        crs_etcd_close(etcd);
    else
        *ret_etcd = etcd;
    crs_etcd_leave(etcd);
    return st;
}

crs_etcd *crs_etcd_close(crs_etcd *etcd)
{
    if (!etcd)
        return NULL;
    CRS_ASSERT(!etcd->closed);
    crs_etcd_enter(etcd);
    crs_loop_timer_stop(etcd->loop, &etcd->auth_retry);
    crs_etcd_leases_fini(etcd);
    crs_etcd_watches_fini(etcd);
    etcd->closed = true;
    etcd->channel = crs_grpc_channel_close(etcd->channel);
    crs_etcd_leave(etcd);
    return NULL;
}

bool crs_etcd_ready(const crs_etcd *etcd)
{
    return crs_grpc_channel_ready(etcd->channel);
}

/* ---- requests ---- */

/** The messages of one request, on the stack of whoever makes it. */
typedef union request {
    ProtobufCMessage base;
    CrsEtcd__RangeRequest range;
    CrsEtcd__PutRequest put;
    CrsEtcd__DeleteRangeRequest del;
    CrsEtcd__TxnRequest txn;
    CrsEtcd__LeaseGrantRequest grant;
    CrsEtcd__LeaseRevokeRequest revoke;
    CrsEtcd__LeaseTimeToLiveRequest time_to_live;
    CrsEtcd__LeaseKeepAliveRequest keep_alive;
} request;

static const struct {
    const char *path;
    const ProtobufCMessageDescriptor *reply;
} methods[] = {
    [CRS_ETCD_RANGE] = {"/etcdserverpb.KV/Range", &crs_etcd__range_response__descriptor},
    [CRS_ETCD_PUT] = {"/etcdserverpb.KV/Put", &crs_etcd__put_response__descriptor},
    [CRS_ETCD_DELETE] = {"/etcdserverpb.KV/DeleteRange", &crs_etcd__delete_range_response__descriptor},
    [CRS_ETCD_TXN] = {"/etcdserverpb.KV/Txn", &crs_etcd__txn_response__descriptor},
    [CRS_ETCD_GRANT] = {"/etcdserverpb.Lease/LeaseGrant", &crs_etcd__lease_grant_response__descriptor},
    [CRS_ETCD_REVOKE] = {"/etcdserverpb.Lease/LeaseRevoke", &crs_etcd__lease_revoke_response__descriptor},
    [CRS_ETCD_TIME_TO_LIVE] = {"/etcdserverpb.Lease/LeaseTimeToLive",
                               &crs_etcd__lease_time_to_live_response__descriptor},
    [CRS_ETCD_KEEP_ALIVE] = {"/etcdserverpb.Lease/LeaseKeepAlive", &crs_etcd__lease_keep_alive_response__descriptor},
};

/** The end of the range, in @p arena; false: out of memory. */
static bool end_of(crs_arena *arena, const crs_etcd_op *op, ProtobufCBinaryData *ret_key, ProtobufCBinaryData *ret_end)
{
    static uint8_t zero[1];
    *ret_key = crs_etcd_bytes(op->key);
    if (!op->prefix)
        return true;
    uint8_t *buf = crs_arena_alloc(arena, op->key.len + 1);
    if (!buf)
        return false;
    *ret_end = crs_etcd_range_end(op->key, buf);
    if (op->key.len == 0) /* from the smallest key that there can be */
        *ret_key = (ProtobufCBinaryData){.data = zero, .len = 1};
    return true;
}

static bool fill_txn(crs_arena *arena, const crs_etcd_op *op, CrsEtcd__TxnRequest *txn);

static bool fill(crs_arena *arena, const crs_etcd_op *op, request *r)
{
    switch (op->kind) {
    case CRS_ETCD_RANGE:
        crs_etcd__range_request__init(&r->range);
        r->range.limit = op->limit;
        r->range.revision = op->revision;
        r->range.keys_only = op->keys_only;
        r->range.count_only = op->count_only;
        r->range.serializable = op->serializable;
        return end_of(arena, op, &r->range.key, &r->range.range_end);
    case CRS_ETCD_PUT:
        crs_etcd__put_request__init(&r->put);
        r->put.key = crs_etcd_bytes(op->key);
        r->put.value = crs_etcd_bytes(op->value);
        r->put.lease = op->lease;
        return true;
    case CRS_ETCD_DELETE:
        crs_etcd__delete_range_request__init(&r->del);
        return end_of(arena, op, &r->del.key, &r->del.range_end);
    case CRS_ETCD_TXN:
        return fill_txn(arena, op, &r->txn);
    case CRS_ETCD_GRANT:
        crs_etcd__lease_grant_request__init(&r->grant);
        r->grant.ttl = op->ttl_s;
        return true;
    case CRS_ETCD_REVOKE:
        crs_etcd__lease_revoke_request__init(&r->revoke);
        r->revoke.id = op->lease;
        return true;
    case CRS_ETCD_TIME_TO_LIVE:
        crs_etcd__lease_time_to_live_request__init(&r->time_to_live);
        r->time_to_live.id = op->lease;
        return true;
    case CRS_ETCD_KEEP_ALIVE:
        crs_etcd__lease_keep_alive_request__init(&r->keep_alive);
        r->keep_alive.id = op->lease;
        return true;
    }
    CRS_ASSERT(!"a kind of crs_etcd_op");
    return false;
}

static bool fill_ops(crs_arena *arena, const crs_etcd_op *ops, size_t count, CrsEtcd__RequestOp ***ret_ops,
                     size_t *ret_count)
{
    CRS_ASSERT(count <= CRS_ETCD_TXN_OPS_MAX);
    CrsEtcd__RequestOp **list = crs_arena_alloc(arena, count * sizeof *list);
    for (size_t i = 0; list && i < count; i++) {
        CRS_ASSERT(ops[i].kind >= CRS_ETCD_RANGE && ops[i].kind <= CRS_ETCD_DELETE);
        request *r = crs_arena_alloc(arena, sizeof *r);
        list[i] = crs_arena_alloc(arena, sizeof *list[i]);
        if (!r || !list[i] || !fill(arena, &ops[i], r))
            return false;
        crs_etcd__request_op__init(list[i]);
        list[i]->request_case = (CrsEtcd__RequestOp__RequestCase)ops[i].kind; /* numbered alike */
        list[i]->request_range = &r->range;                                   /* a union of pointers */
    }
    *ret_ops = list;
    *ret_count = count;
    return list != NULL;
}

static bool fill_txn(crs_arena *arena, const crs_etcd_op *op, CrsEtcd__TxnRequest *txn)
{
    crs_etcd__txn_request__init(txn);
    CRS_ASSERT(op->compare_count <= CRS_ETCD_TXN_OPS_MAX);
    CrsEtcd__Compare **compares = crs_arena_alloc(arena, op->compare_count * sizeof *compares);
    for (size_t i = 0; compares && i < op->compare_count; i++) {
        const crs_etcd_compare *from = &op->compares[i];
        CrsEtcd__Compare *to = compares[i] = crs_arena_alloc(arena, sizeof *to);
        if (!to)
            return false;
        crs_etcd__compare__init(to);
        to->key = crs_etcd_bytes(from->key);
        to->target = (CrsEtcd__Compare__CompareTarget)from->target;
        to->result = (CrsEtcd__Compare__CompareResult)from->relation;
        to->target_union_case = (CrsEtcd__Compare__TargetUnionCase)(from->target + 4); /* in the same order */
        if (from->target == CRS_ETCD_VALUE)
            to->value = crs_etcd_bytes(from->value);
        else
            to->version = from->number; /* a union of numbers */
    }
    txn->compare = compares;
    txn->n_compare = op->compare_count;
    return compares && fill_ops(arena, op->then_ops, op->then_count, &txn->success, &txn->n_success) &&
           fill_ops(arena, op->else_ops, op->else_count, &txn->failure, &txn->n_failure);
}

/* ---- results ---- */

static int64_t revision_of(const CrsEtcd__ResponseHeader *header)
{
    return header ? header->revision : 0;
}

static bool read_range(crs_arena *arena, const CrsEtcd__RangeResponse *from, crs_etcd_result *to)
{
    crs_etcd_kv *kvs = crs_arena_alloc(arena, from->n_kvs * sizeof *kvs);
    for (size_t i = 0; kvs && i < from->n_kvs; i++)
        crs_etcd_kv_of(from->kvs[i], &kvs[i]);
    to->kind = CRS_ETCD_RANGE;
    to->revision = revision_of(from->header);
    to->kvs = kvs;
    to->kv_count = from->n_kvs;
    to->count = from->count;
    to->more = from->more;
    return kvs != NULL;
}

static bool read_txn(crs_arena *arena, const CrsEtcd__TxnResponse *from, crs_etcd_result *to)
{
    crs_etcd_result *results = crs_arena_zalloc(arena, from->n_responses * sizeof *results);
    to->revision = revision_of(from->header);
    to->succeeded = from->succeeded;
    to->results = results;
    to->result_count = from->n_responses;
    for (size_t i = 0; results && i < from->n_responses; i++) {
        const CrsEtcd__ResponseOp *op = from->responses[i];
        results[i].revision = to->revision;
        if (op->response_case == CRS_ETCD__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
            if (!read_range(arena, op->response_range, &results[i]))
                return false;
            results[i].revision = to->revision;
        } else if (op->response_case == CRS_ETCD__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE) {
            results[i].kind = CRS_ETCD_DELETE;
            results[i].count = op->response_delete_range->deleted;
        } else {
            results[i].kind = CRS_ETCD_PUT;
        }
    }
    return results != NULL;
}

/** @return CEREUS_OK; CEREUS_E_NOMEM; CEREUS_E_NOT_FOUND: no such lease; CEREUS_E_FAILED: *ret_why says what */
static cereus_status read_result(crs_arena *arena, crs_etcd_kind kind, const void *message, crs_etcd_result *to,
                                 const char **ret_why)
{
    to->kind = kind;
    switch (kind) {
    case CRS_ETCD_RANGE:
        return read_range(arena, message, to) ? CEREUS_OK : CEREUS_E_NOMEM;
    case CRS_ETCD_PUT:
        to->revision = revision_of(((const CrsEtcd__PutResponse *)message)->header);
        return CEREUS_OK;
    case CRS_ETCD_DELETE: {
        const CrsEtcd__DeleteRangeResponse *r = message;
        to->revision = revision_of(r->header);
        to->count = r->deleted;
        return CEREUS_OK;
    }
    case CRS_ETCD_TXN:
        return read_txn(arena, message, to) ? CEREUS_OK : CEREUS_E_NOMEM;
    case CRS_ETCD_GRANT: {
        const CrsEtcd__LeaseGrantResponse *r = message;
        to->revision = revision_of(r->header);
        to->lease = r->id;
        to->ttl_s = r->ttl;
        *ret_why = r->error;
        return *r->error ? CEREUS_E_FAILED : CEREUS_OK;
    }
    case CRS_ETCD_REVOKE:
        to->revision = revision_of(((const CrsEtcd__LeaseRevokeResponse *)message)->header);
        return CEREUS_OK;
    case CRS_ETCD_TIME_TO_LIVE: {
        const CrsEtcd__LeaseTimeToLiveResponse *r = message;
        to->revision = revision_of(r->header);
        to->lease = r->id;
        to->ttl_s = r->ttl;
        to->granted_ttl_s = r->grantedttl;
        return CEREUS_OK;
    }
    case CRS_ETCD_KEEP_ALIVE: {
        const CrsEtcd__LeaseKeepAliveResponse *r = message;
        to->revision = revision_of(r->header);
        to->lease = r->id;
        to->ttl_s = r->ttl;
        return r->ttl > 0 ? CEREUS_OK : CEREUS_E_NOT_FOUND;
    }
    }
    return CEREUS_E_FAILED;
}

/* ---- calls ---- */

typedef struct pending {
    crs_etcd *etcd;
    crs_grpc_call *call;
    crs_etcd_kind kind;
    crs_etcd_done_fn *done;
    void *user;
    crs_arena *arena; /* of the caller; NULL: one for as long as `done` runs */
} pending;

static void on_done(const crs_grpc_result *answer, void *user)
{
    pending *p = user;
    crs_etcd *etcd = p->etcd;
    crs_etcd_enter(etcd);
    crs_arena own;
    crs_arena *arena = p->arena ? p->arena : &own;
    crs_arena_init(&own, CRS_ETCD_RESULT_MAX);
    cereus_status st = answer->status;
    cereus_error err = {.status = st};
    crs_etcd_result *result = NULL;
    if (st) {
        err = *answer->err;
        if (answer->from_peer && st == CEREUS_E_UNAVAILABLE)
            crs_etcd_stream_ended(etcd, answer); /* no leader here? */
    } else {
        const char *why = NULL;
        void *message = crs_etcd_unpack(arena, methods[p->kind].reply, answer->reply);
        result = crs_arena_zalloc(arena, sizeof *result);
        st = !message ? CEREUS_E_MALFORMED
             : result ? read_result(arena, p->kind, message, result, &why)
                      : CEREUS_E_NOMEM;
        if (st)
            crs_fail(&err, st, "etcd %s: %s", crs_grpc_channel_endpoint(etcd->channel),
                     st == CEREUS_E_NOT_FOUND   ? "requested lease not found"
                     : st == CEREUS_E_MALFORMED ? "an answer that does not decode, or is too large"
                     : why                      ? why
                                                : "out of memory");
    }
    p->done(st, st ? NULL : result, st ? &err : NULL, p->user);
    crs_arena_fini(&own);
    crs_free(p);
    crs_etcd_leave(etcd);
}

static cereus_status begin(crs_etcd *etcd, const crs_etcd_op *op, uint32_t timeout_ms, crs_etcd_done_fn *done,
                           void *user, crs_arena *arena, pending **ret_pending, cereus_error *err)
{
    CRS_ASSERT(!etcd->closed);
    pending *p = crs_malloc(sizeof *p);
    crs_arena scratch;
    crs_arena_init(&scratch, 1 << 20);
    request r;
    cereus_status st = CEREUS_E_NOMEM;
    if (p && fill(&scratch, op, &r)) {
        *p = (pending){.etcd = etcd, .kind = op->kind, .done = done, .user = user, .arena = arena};
        crs_grpc_ask ask = {.path = methods[op->kind].path,
                            .request = &r.base,
                            .timeout_ms = timeout_ms ? timeout_ms : CRS_ETCD_TIMEOUT_MS,
                            .wait = true};
        st = crs_grpc_call_start(etcd->channel, &ask, on_done, p, &p->call, err);
    } else {
        crs_fail(err, st, "etcd: out of memory");
    }
    crs_arena_fini(&scratch);
    if (st)
        crs_free(p);
    else if (ret_pending)
        *ret_pending = p;
    return st;
}

cereus_status crs_etcd_start(crs_etcd *etcd, const crs_etcd_op *op, uint32_t timeout_ms, crs_etcd_done_fn *done,
                             void *user, cereus_error *err)
{
    return begin(etcd, op, timeout_ms, done, user, NULL, NULL, err);
}

typedef struct awaited {
    crs_fiber *fiber;
    const crs_etcd_result *result;
    cereus_error *err;
    cereus_status status;
    bool done;
} awaited;

static void on_awaited(cereus_status status, const crs_etcd_result *result, const cereus_error *err, void *user)
{
    awaited *a = user;
    a->done = true;
    a->status = status;
    a->result = result;
    if (status && a->err)
        *a->err = *err;
    crs_fiber_wake(a->fiber, CEREUS_OK);
}

cereus_status crs_etcd_await(crs_fiber *fiber, crs_etcd *etcd, const crs_etcd_op *op, uint32_t timeout_ms,
                             crs_arena *arena, const crs_etcd_result **ret_result, cereus_error *err)
{
    awaited a = {.fiber = fiber, .err = err};
    pending *p;
    CEREUS_TRY(begin(etcd, op, timeout_ms, on_awaited, &a, arena, &p, err));
    cereus_status st = CEREUS_OK;
    while (!a.done && !st)
        st = crs_fiber_wait(fiber, UINT64_MAX);
    if (!a.done) {
        crs_grpc_cancel(p->call);
        crs_free(p);
        return crs_fail(err, st, "etcd: %s", cereus_status_text(st));
    }
    if (!a.status && ret_result)
        *ret_result = a.result;
    return a.status;
}
