/* tests/fuzz/fuzz_rpc.h: a server that answers what it is asked with the question, for the targets of rpc engines. */
#ifndef FUZZ_RPC_H
#define FUZZ_RPC_H

#include "fuzz.h"

#include "cluster/rpc/rpc_impl.h"

enum { REQUEST_MAX = 16 << 10 };

static size_t asked;

static int64_t stands_still(clockid_t clock, void *user)
{
    CRS_UNUSED(clock);
    CRS_UNUSED(user);
    return 5000;
}

static void on_request(void *user, crs_rpc_link *link, cereus_slice request, cereus_slice reply_to)
{
    CRS_UNUSED(user);
    FUZZ_CHECK(request.len <= REQUEST_MAX);
    asked++;
    crs_rpc_reply(link, reply_to, request);
}

static void on_push(void *user, cereus_slice route, cereus_slice data, const cereus_slice *uids, size_t count)
{
    CRS_UNUSED(user);
    size_t sum = route.len + data.len;
    for (size_t i = 0; i < count; i++)
        sum += uids[i].len;
    FUZZ_CHECK(sum <= REQUEST_MAX);
}

static void on_kick(void *user, cereus_slice uid)
{
    CRS_UNUSED(user);
    FUZZ_CHECK(uid.len <= REQUEST_MAX);
}

static void on_bound(void *user, const crs_bind_msg *bind)
{
    CRS_UNUSED(user);
    FUZZ_CHECK(bind->uid.len + bind->frontend_id.len <= REQUEST_MAX);
}

static const crs_rpc_events events = {
    .on_request = on_request, .on_push = on_push, .on_kick = on_kick, .on_bound = on_bound};
static const cereus_server self = {.id = "fuzzed", .type = "room"};

#endif
