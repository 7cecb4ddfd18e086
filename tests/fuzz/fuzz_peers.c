/* tests/fuzz/fuzz_peers.c: what an engine of a game's own hands on (cereus_rpc_link_receive()), while a call is out: it is taken,
 * answered to whoever it says, or counted as garbage; the call ends with its own answer only. The first byte says on which of two
 * loops it comes in; an answer for the other goes on to there. */
#include "fuzz_rpc.h"

#include "dispatch/core.h"

enum { SIZE_LIMIT = 32 << 10, HEAD_MIN = 20, LOOPS = 2 };

static crs_log quiet;
static crs_loop *loops[LOOPS];
static crs_rpc *rpc;
static crs_rpc_link *links[LOOPS];
static cereus_rpc_link *public_links[LOOPS];
static crs_core core = {.loop_count = LOOPS};
static crs_dispatch dispatches[LOOPS];
static uint8_t sent[HEAD_MIN + 255 + REQUEST_MAX]; /* what was sent last */
static size_t sent_len, sent_count;

static cereus_status engine_open(const cereus_server *of, void *user, void **ret_state, cereus_error *err)
{
    CRS_UNUSED(user);
    CRS_UNUSED(err);
    FUZZ_CHECK(of == &self);
    *ret_state = NULL;
    return CEREUS_OK;
}

static cereus_status engine_start(void *state, cereus_loop *loop, cereus_rpc_link *link, void **ret_part,
                                  cereus_error *err)
{
    CRS_UNUSED(state);
    CRS_UNUSED(loop);
    CRS_UNUSED(ret_part);
    CRS_UNUSED(err);
    static size_t count;
    public_links[count++] = link;
    return CEREUS_OK;
}

static cereus_status engine_send(void *part, const char *server_id, cereus_slice message)
{
    CRS_UNUSED(part);
    FUZZ_CHECK(strlen(server_id) < 256);
    FUZZ_CHECK(message.len >= HEAD_MIN && message.len <= sizeof sent);
    memcpy(sent, message.data, message.len);
    sent_len = message.len;
    sent_count++;
    return message.len % 7 == 0 ? CEREUS_E_UNAVAILABLE : CEREUS_OK;
}

static void engine_stop(void *part)
{
    CRS_UNUSED(part);
}

static const cereus_rpc_engine engine = {
    .open = engine_open, .start = engine_start, .send = engine_send, .stop = engine_stop};

static void turn(size_t i)
{
    crs_loop_enter(loops[i]);
    for (int k = 0; k < 3; k++)
        crs_loop_turn(loops[i]);
    crs_loop_enter(NULL);
}

static void end(void)
{
    for (size_t i = 0; i < LOOPS; i++) {
        crs_loop_enter(loops[i]);
        crs_rpc_close(links[i]);
        crs_loop_turn(loops[i]);
        crs_loop_free(loops[i]);
        crs_loop_enter(NULL);
    }
    crs_rpc_free(rpc);
}

static void begin(void)
{
    cereus_error err;
    crs_log_init(&quiet, &(crs_log_options){.level = CEREUS_LOG_ERROR});
    crs_rpc_options opt = {.self = &self,
                           .log = &quiet,
                           .request_max = REQUEST_MAX,
                           .engine = &engine,
                           .engine_name = "fuzz",
                           .core = &core};
    FUZZ_CHECK(crs_rpc_new(&crs_rpc_custom, &opt, &rpc, &err) == CEREUS_OK);
    for (uint32_t i = 0; i < LOOPS; i++) {
        crs_loop_options loop_opt = {.index = i, .mailbox_capacity = 100, .log = &quiet, .clock = stands_still};
        FUZZ_CHECK(crs_loop_new(&loop_opt, &loops[i], &err) == CEREUS_OK);
        crs_loop_enter(loops[i]);
        dispatches[i] = (crs_dispatch){.core = &core, .loop = loops[i]};
        core.loops[i] = &dispatches[i];
        FUZZ_CHECK(crs_rpc_open(rpc, loops[i], &events, NULL, &links[i], &err) == CEREUS_OK);
        FUZZ_CHECK(crs_rpc_serve(links[i], &err) == CEREUS_OK);
        crs_loop_enter(NULL);
    }
    atexit(end);
}

static size_t ended;
static cereus_status end_status;

static void on_done(crs_rpc_call *call, cereus_status st, cereus_slice response, const char *why)
{
    CRS_UNUSED(call);
    FUZZ_CHECK(!st || why);
    FUZZ_CHECK(response.len <= REQUEST_MAX);
    end_status = st;
    ended++;
}

static uint64_t count_of(crs_counter which)
{
    return atomic_load(&loops[0]->counters.v[which]) + atomic_load(&loops[1]->counters.v[which]);
}

static void receive(size_t i, const uint8_t *data, size_t size)
{
    crs_loop_enter(loops[i]);
    cereus_rpc_link_receive(public_links[i], cereus_slice_of(data, size));
    crs_loop_enter(NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > SIZE_LIMIT)
        return 0;
    if (!rpc)
        begin();
    size_t at = data[0] % LOOPS;
    crs_rpc_call call = {.done = on_done};
    const cereus_server to = {.id = "other", .type = "room"};
    crs_loop_enter(loops[0]);
    ended = 0;
    FUZZ_CHECK(crs_rpc_send(links[0], &to, cereus_slice_str("question"), 5000, &call) == CEREUS_OK);
    crs_loop_enter(NULL);
    FUZZ_CHECK(sent[0] == 1);
    uint8_t question[HEAD_MIN + 6 + 8];
    FUZZ_CHECK(sent_len == sizeof question);
    memcpy(question, sent, sizeof question);

    uint64_t garbage = count_of(CRS_COUNTER_rpc_garbage);
    size_t asked_before = asked, sent_before = sent_count;
    receive(at, data + 1, size - 1);
    turn(0);
    turn(1);
    garbage = count_of(CRS_COUNTER_rpc_garbage) - garbage;
    FUZZ_CHECK(garbage <= 1);
    FUZZ_CHECK(!garbage || (asked == asked_before && sent_count == sent_before)); /* of that nothing is done */
    FUZZ_CHECK(asked - asked_before <= 1);
    FUZZ_CHECK(!ended || (size > HEAD_MIN && data[1] == 2 && memcmp(data + 2, question + 1, HEAD_MIN - 2) == 0));

    question[0] = 2; /* the answer, on the other loop */
    receive(1 - at, question, sizeof question);
    turn(0);
    FUZZ_CHECK(ended == 1 && end_status == CEREUS_OK); /* once, by whichever was first */
    return 0;
}
