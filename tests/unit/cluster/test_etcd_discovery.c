/* tests/unit/cluster/test_etcd_discovery.c: the engine against a real etcd: what it writes, what it makes of what others
 * write, and what it does when the lease, the watch or etcd itself goes. */
#include "../ext/etcd_world.h"

#include <cereus/config.h>

#include "cluster/discovery/discovery.h"

typedef struct server {
    world *w;
    cereus_config *config;
    cereus_server self;
    crs_discovery *d;
    crs_servers *list;
    cereus_status st;
    cereus_error err;
    char text[2048];
    size_t lists;
    bool done; /* what runs on a fiber */
} server;

/* ---- a server ---- */

static void keep_list(server *s, crs_servers *list)
{
    assert_non_null(list);
    crs_servers_unref(s->list);
    s->list = list;
}

static bool on_list(void *user, crs_server *const *servers, size_t n)
{
    ((server *)user)->lists++;
    keep_list(user, crs_servers_new(servers, n));
    return true;
}

static void on_put(void *user, crs_server *one)
{
    keep_list(user, crs_servers_changed(((server *)user)->list, one, NULL));
}

static void on_gone(void *user, const char *id)
{
    keep_list(user, crs_servers_changed(((server *)user)->list, NULL, id));
}

static const crs_discovery_events events = {.on_list = on_list, .on_put = on_put, .on_gone = on_gone};

static void set(server *s, const char *key, const char *value)
{
    cereus_error err;
    assert_int_equal(cereus_config_set(s->config, key, value, &err), CEREUS_OK);
}

static server make(world *w, const char *type, const char *id, bool frontend)
{
    server s = {.w = w,
                .config = cereus_config_new(),
                .self = {.id = id, .type = type, .hostname = "host", .frontend = frontend, .metadata = "{}"}};
    set(&s, "pitaya.cluster.sd.etcd.endpoints", w->server.endpoint);
    set(&s, "pitaya.cluster.sd.etcd.shutdown.delay", "0s");
    set(&s, "pitaya.cluster.sd.etcd.grantlease.retryinterval", "50ms");
    return s;
}

static void run_start(crs_fiber *fiber, void *arg)
{
    server *s = arg;
    s->st = crs_discovery_start(s->d, fiber, &s->err);
    s->done = true;
    test_real_nudge(&s->w->t);
}

static void run_leave(crs_fiber *fiber, void *arg)
{
    server *s = arg;
    crs_discovery_leave(s->d, fiber);
    s->done = true;
    test_real_nudge(&s->w->t);
}

static void on_own_fiber(server *s, crs_fiber_fn *fn)
{
    s->done = false;
    assert_int_equal(crs_fiber_start(s->w->t.fibers, "server", fn, s), CEREUS_OK);
    TEST_UNTIL(&s->w->t, s->done);
}

static void try_start(server *s)
{
    crs_discovery_options opt = {.self = &s->self, .config = s->config, .events = &events, .user = s};
    assert_int_equal(crs_discovery_claim(crs_discovery_engine("etcd"), &opt, &s->d, &s->err), CEREUS_OK);
    on_own_fiber(s, run_start);
}

static void start(server *s)
{
    try_start(s);
    if (s->st)
        fail_msg("%s", s->err.msg);
    assert_true(crs_discovery_ready(s->d));
}

/** As a crash: nobody is told. */
static void drop(server *s)
{
    crs_discovery_close(s->d);
    s->d = crs_discovery_free(s->d);
    s->list = crs_servers_unref(s->list);
    s->config = cereus_config_free(s->config);
}

static void leave(server *s)
{
    on_own_fiber(s, run_leave);
    assert_false(crs_discovery_ready(s->d));
    drop(s);
}

static const char *listed(server *s)
{
    size_t len = 0;
    s->text[0] = '\0';
    for (size_t i = 0; s->list && i < crs_servers_count(s->list); i++) {
        const cereus_server *v = crs_server_view(crs_servers_at(s->list, i));
        len += (size_t)snprintf(s->text + len, sizeof s->text - len, "%s/%s%s%s ", v->type, v->id,
                                strcmp(v->metadata, "{}") == 0 ? "" : "=",
                                strcmp(v->metadata, "{}") == 0 ? "" : v->metadata);
    }
    return s->text;
}

#define LISTS(s, wanted) (strcmp(listed(s), wanted) == 0)

static int64_t delete_key(world *w, const char *key, bool prefix)
{
    answer a = call(w, (crs_etcd_op){.kind = CRS_ETCD_DELETE, .key = str(key), .prefix = prefix});
    assert_int_equal(a.status, CEREUS_OK);
    return a.result.count;
}

typedef struct found {
    char value[1024];
    int64_t lease, revision, version;
} found;

static found *get_to;
static const char *get_key;

static void run_get(world *w, crs_fiber *fiber)
{
    const crs_etcd_result *r = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str(get_key)});
    if (!r->kv_count)
        return;
    snprintf(get_to->value, sizeof get_to->value, "%.*s", (int)r->kvs->value.len, (const char *)r->kvs->value.data);
    get_to->lease = r->kvs->lease;
    get_to->revision = r->kvs->mod_revision;
    get_to->version = r->kvs->version;
}

static found get(world *w, const char *key)
{
    found f = {0};
    get_to = &f;
    get_key = key;
    on_fiber(w, run_get);
    return f;
}

static int64_t ttl_of(world *w, int64_t lease)
{
    answer a = call(w, (crs_etcd_op){.kind = CRS_ETCD_TIME_TO_LIVE, .lease = lease});
    assert_int_equal(a.status, CEREUS_OK);
    return a.result.granted_ttl_s;
}

#define ENTRY(id, type, meta, front) \
    "{\"id\":\"" id "\",\"type\":\"" type "\",\"metadata\":" meta ",\"frontend\":" front ",\"hostname\":\"host\"}"

/* ---- what it writes ---- */

/* etcd-register-backend, -frontend, etcd-ttl, etcd-shutdown */
static void a_server_registers_as_pitayas_does(void **state)
{
    world w;
    world_open(&w);
    server room = make(&w, "room", "be-1", false), gate = make(&w, "connector", "fe-1", true);
    start(&room);
    found f = get(&w, "pitaya/servers/room/be-1");
    assert_string_equal(f.value, ENTRY("be-1", "room", "{}", "false"));
    assert_int_equal(ttl_of(&w, f.lease), 60);
    assert_string_equal(listed(&room), "room/be-1 ");
    start(&gate);
    assert_string_equal(get(&w, "pitaya/servers/connector/fe-1").value, ENTRY("fe-1", "connector", "{}", "true"));
    assert_string_equal(listed(&gate), "connector/fe-1 room/be-1 "); /* known when the start is over */
    TEST_UNTIL(&w.t, LISTS(&room, "connector/fe-1 room/be-1 "));
    leave(&gate); /* the lease is revoked: the key is gone at once */
    assert_int_equal(count(&w, "pitaya/servers/connector/", true), 0);
    TEST_UNTIL(&w.t, LISTS(&room, "room/be-1 "));
    leave(&room);
    assert_int_equal(count(&w, "", true), 0);
    world_close(&w);
}

static void prefix_ttl_and_metadata_are_its_own(void **state) /* etcd-prefix, etcd-metadata, etcd-ttl */
{
    world w;
    world_open(&w);
    server one = make(&w, "room", "be-p", false);
    one.self.metadata = "{\"zone\":\"eu-1\",\"a<b>&c\":\"h\xc3\xa9llo <b>&\xe2\x80\xa8\",\"build\":\"1.2.3\"}";
    set(&one, "pitaya.cluster.sd.etcd.prefix", "mygame/prod/");
    set(&one, "pitaya.cluster.sd.etcd.heartbeat.ttl", "7900ms");
    start(&one);
    found f = get(&w, "mygame/prod/servers/room/be-p");
    assert_string_equal(f.value, ENTRY("be-p", "room",
                                       "{\"a\\u003cb\\u003e\\u0026c\":\"h\xc3\xa9llo \\u003cb\\u003e\\u0026\\u2028\","
                                       "\"build\":\"1.2.3\",\"zone\":\"eu-1\"}",
                                       "false"));
    assert_int_equal(ttl_of(&w, f.lease), 7);
    assert_int_equal(count(&w, "", true), 1);
    leave(&one);
    world_close(&w);
}

static void a_user_logs_in(void **state) /* etcd-auth */
{
    world w;
    world_open(&w);
    static const char *const steps[][2] = {
        {"/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"secret\"}"},
        {"/v3/auth/role/add", "{\"name\":\"root\"}"},
        {"/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}"},
        {"/v3/auth/enable", "{}"},
    };
    for (size_t i = 0; i < CEREUS_COUNT(steps); i++)
        assert_int_equal(test_etcd_post(&w.server, steps[i][0], steps[i][1]), 200);
    server one = make(&w, "room", "be-auth", false);
    set(&one, "pitaya.cluster.sd.etcd.dialtimeout", "2s");
    try_start(&one);
    assert_int_not_equal(one.st, CEREUS_OK);
    drop(&one);
    one = make(&w, "room", "be-auth", false);
    set(&one, "pitaya.cluster.sd.etcd.user", "root");
    set(&one, "pitaya.cluster.sd.etcd.pass", "secret");
    start(&one);
    leave(&one);
    world_close(&w);
}

static void without_etcd_the_start_fails_and_says_where_it_looked(void **state)
{
    world w;
    world_open(&w);
    server one = make(&w, "room", "be-1", false);
    test_etcd_kill(&w.server);
    set(&one, "pitaya.cluster.sd.etcd.dialtimeout", "300ms");
    try_start(&one);
    assert_int_equal(one.st, CEREUS_E_UNAVAILABLE);
    assert_ptr_equal(strstr(one.err.msg, "pitaya.cluster.sd.etcd.endpoints: etcd "), one.err.msg);
    assert_non_null(strstr(one.err.msg, w.server.endpoint));
    assert_null(strchr(one.err.msg, '\n'));
    on_own_fiber(&one, run_leave); /* has nothing to do */
    drop(&one);
    world_close(&w);
}

static void the_second_endpoint_is_tried_when_the_first_is_dead(void **state)
{
    world w;
    world_open(&w);
    server one = make(&w, "room", "be-1", false);
    char list[80];
    snprintf(list, sizeof list, "127.0.0.1:%u,%s", test_free_port(), w.server.endpoint);
    set(&one, "pitaya.cluster.sd.etcd.endpoints", list);
    start(&one);
    leave(&one);
    world_close(&w);
}

/* ---- what others write ---- */

static void entries_of_others_are_read_as_pitaya_reads_them(void **state) /* etcd-foreign-entries */
{
    world w;
    world_open(&w);
    server gate = make(&w, "connector", "fe-1", true);
    set(&gate, "pitaya.cluster.sd.etcd.syncservers.interval", "1h");
    put(&w, "pitaya/servers/room/c-0", ENTRY("c-0", "room", "{}", "false"), 0); /* is there before */
    put(&w, "pitaya/servers/room/c-5", "hello", 0);
    start(&gate);
    assert_string_equal(listed(&gate), "connector/fe-1 room/c-0 ");
    put(&w, "pitaya/servers/room/c-1", ENTRY("c-1", "room", "{\"lang\":\"c\"}", "false"), 0);
    TEST_UNTIL(&w.t, LISTS(&gate, "connector/fe-1 room/c-0 room/c-1={\"lang\":\"c\"} "));
    /* a known id is taken over again, which Pitaya leaves out */
    put(&w, "pitaya/servers/room/c-1", ENTRY("c-1", "room", "{\"lang\":\"changed\"}", "false"), 0);
    TEST_UNTIL(&w.t, LISTS(&gate, "connector/fe-1 room/c-0 room/c-1={\"lang\":\"changed\"} "));
    delete_key(&w, "pitaya/servers/room/c-1", false);
    put(&w, "pitaya/servers/room/c-2", "{\"id\":\"c-2\",\"type\":\"room\",\"extra\":{\"x\":1}}", 0);
    put(&w, "pitaya/servers/room/c-3",
        "{\"ID\":\"c-3\",\"Type\":\"room\",\"Metadata\":{\"a\":\"b\"},\"Frontend\":true,\"Hostname\":\"H\"}", 0);
    put(&w, "pitaya/servers/room/c-4", ENTRY("other", "shop", "{}", "false"), 0);
    put(&w, "pitaya/servers/room/c-5", ENTRY("c-5", "room", "{\"n\":1}", "false"), 0);
    put(&w, "pitaya/servers/room/c-6", "hello", 0);
    put(&w, "pitaya/servers/room/c/7", ENTRY("c-7", "room", "{}", "false"), 0);
    put(&w, "pitaya/servers/c-8", ENTRY("c-8", "room", "{}", "false"), 0);
    put(&w, "pitaya/servers/room/last", ENTRY("last", "room", "{}", "false"), 0);
    TEST_UNTIL(&w.t, strstr(listed(&gate), "last"));
    assert_string_equal(listed(&gate), "connector/fe-1 room/c-0 room/c-2 room/c-3={\"a\":\"b\"} room/last shop/other ");
    assert_int_equal(COUNTED(&w, discovery_entries_refused), 5);
    delete_key(&w, "pitaya/servers/room/", true); /* deletion goes by the id in the key: "other" stays until a resync */
    TEST_UNTIL(&w.t, LISTS(&gate, "connector/fe-1 shop/other "));
    leave(&gate);
    world_close(&w);
}

static void a_blacklist_hides_types_but_never_ones_own(void **state) /* etcd-blacklist, -documented-key */
{
    world w;
    world_open(&w);
    put(&w, "pitaya/servers/room/be-1", ENTRY("be-1", "room", "{}", "false"), 0);
    server a = make(&w, "connector", "fe-bl", true), b = make(&w, "connector", "fe-bl2", true);
    set(&a, "pitaya.cluster.sd.etcd.servertypesblacklist", "room,connector");
    set(&b, "pitaya.cluster.sd.etcd.servertypeblacklist", "room");
    start(&a);
    start(&b);
    TEST_UNTIL(&w.t, LISTS(&a, "connector/fe-bl connector/fe-bl2 "));
    assert_string_equal(listed(&b), "connector/fe-bl connector/fe-bl2 room/be-1 ");
    leave(&a);
    leave(&b);
    world_close(&w);
}

static void a_resync_repairs_what_the_watch_cannot(void **state) /* etcd-resync */
{
    world w;
    world_open(&w);
    server gate = make(&w, "connector", "fe-1", true);
    set(&gate, "pitaya.cluster.sd.etcd.syncservers.interval", "50ms");
    set(&gate, "pitaya.cluster.sd.etcd.syncservers.parallelism", "2");
    start(&gate);
    put(&w, "pitaya/servers/room/c-4", ENTRY("other", "shop", "{}", "false"), 0);
    TEST_UNTIL(&w.t, LISTS(&gate, "connector/fe-1 ")); /* its id is not among the keys */
    for (char key[] = "pitaya/servers/room/r-0"; key[22] <= '9'; key[22]++) {
        char value[] = ENTRY("r-0", "room", "{}", "false");
        value[9] = key[22];
        put(&w, key, value, 0);
    }
    TEST_UNTIL(&w.t, crs_servers_count(gate.list) == 11);
    uint64_t before = COUNTED(&w, discovery_resyncs);
    TEST_UNTIL(&w.t, COUNTED(&w, discovery_resyncs) >= before + 3);
    assert_int_equal(crs_servers_count(gate.list), 11);
    assert_null(strstr(listed(&gate), "other"));
    leave(&gate);
    world_close(&w);
}

/* ---- what goes wrong ---- */

static void a_crashed_server_is_gone_when_its_lease_ends(void **state)
{
    world w;
    world_open(&w);
    server gate = make(&w, "connector", "fe-1", true), room = make(&w, "room", "be-1", false);
    set(&room, "pitaya.cluster.sd.etcd.heartbeat.ttl", "1s");
    start(&gate);
    start(&room);
    TEST_UNTIL(&w.t, LISTS(&gate, "connector/fe-1 room/be-1 "));
    drop(&room);
    TEST_UNTIL(&w.t, LISTS(&gate, "connector/fe-1 "));
    leave(&gate);
    world_close(&w);
}

static void one_that_comes_back_takes_its_key_over(void **state)
{
    world w;
    world_open(&w);
    server old = make(&w, "room", "be-1", false), new = make(&w, "room", "be-1", false);
    start(&old);
    int64_t lease = get(&w, "pitaya/servers/room/be-1").lease;
    drop(&old);
    new.self.metadata = "{\"v\":\"2\"}";
    start(&new);
    found f = get(&w, "pitaya/servers/room/be-1");
    assert_int_not_equal(f.lease, lease);
    assert_string_equal(f.value, ENTRY("be-1", "room", "{\"v\":\"2\"}", "false"));
    leave(&new);
    assert_int_equal(count(&w, "", true), 0);
    world_close(&w);
}

static void a_lease_revoked_by_another_is_replaced(void **state) /* etcd-lease-lost */
{
    world w;
    world_open(&w);
    server room = make(&w, "room", "be-lost", false), gate = make(&w, "connector", "fe-1", true);
    set(&room, "pitaya.cluster.sd.etcd.heartbeat.ttl", "3s");
    start(&gate);
    start(&room);
    for (int i = 0; i < 3; i++) {
        found f = get(&w, "pitaya/servers/room/be-lost");
        uint64_t before = COUNTED(&w, discovery_registrations);
        assert_int_equal(call(&w, (crs_etcd_op){.kind = CRS_ETCD_REVOKE, .lease = f.lease}).status, CEREUS_OK);
        TEST_UNTIL(&w.t, COUNTED(&w, discovery_registrations) > before);
        found again = get(&w, "pitaya/servers/room/be-lost");
        assert_int_not_equal(again.lease, f.lease);
        assert_string_equal(again.value, f.value);
        assert_int_equal(ttl_of(&w, again.lease), 3);
    }
    TEST_UNTIL(&w.t, LISTS(&gate, "connector/fe-1 room/be-lost ") && crs_discovery_ready(room.d));
    leave(&room);
    leave(&gate);
    world_close(&w);
}

static void a_key_that_another_deleted_is_put_again(void **state)
{
    world w;
    world_open(&w);
    server room = make(&w, "room", "be-1", false);
    start(&room);
    int64_t lease = get(&w, "pitaya/servers/room/be-1").lease;
    delete_key(&w, "pitaya/servers/", true);
    TEST_UNTIL(&w.t, COUNTED(&w, discovery_registrations) == 2);
    assert_int_equal(get(&w, "pitaya/servers/room/be-1").lease, lease);
    assert_string_equal(listed(&room), "room/be-1 ");
    leave(&room);
    world_close(&w);
}

static void etcd_may_restart_and_the_list_stays(void **state)
{
    world w;
    world_open(&w);
    server room = make(&w, "room", "be-1", false), gate = make(&w, "connector", "fe-1", true);
    start(&room);
    start(&gate);
    test_etcd_kill(&w.server);
    TEST_UNTIL(&w.t, !crs_discovery_ready(gate.d) && !crs_discovery_ready(room.d));
    assert_string_equal(listed(&gate), "connector/fe-1 room/be-1 ");
    assert_true(test_etcd_run(&w.server));
    TEST_UNTIL(&w.t, crs_discovery_ready(gate.d) && crs_discovery_ready(room.d));
    assert_string_equal(listed(&gate), "connector/fe-1 room/be-1 ");
    leave(&room);
    TEST_UNTIL(&w.t, LISTS(&gate, "connector/fe-1 "));
    leave(&gate);
    world_close(&w);
}

static void etcd_may_lose_everything_and_all_register_again(void **state)
{
    world w;
    world_open(&w);
    server room = make(&w, "room", "be-1", false), gate = make(&w, "connector", "fe-1", true);
    for (int i = 0; i < 20; i++)
        put(&w, "pitaya/servers/old/o", ENTRY("o", "old", "{}", "false"), 0); /* the revision is far ahead */
    set(&room, "pitaya.cluster.sd.etcd.heartbeat.ttl", "1s");
    set(&gate, "pitaya.cluster.sd.etcd.heartbeat.ttl", "1s");
    start(&room);
    start(&gate);
    test_etcd_kill(&w.server);
    char member[80];
    snprintf(member, sizeof member, "%s/member", w.server.dir);
    nftw(member, test_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    assert_true(test_etcd_run(&w.server));
    TEST_UNTIL(&w.t, LISTS(&gate, "connector/fe-1 room/be-1 ") && LISTS(&room, "connector/fe-1 room/be-1 ") &&
                         crs_discovery_ready(gate.d) && crs_discovery_ready(room.d));
    assert_int_equal(count(&w, "pitaya/servers/", true), 2);
    put(&w, "pitaya/servers/shop/s", ENTRY("s", "shop", "{}", "false"), 0); /* the watch is where etcd is now */
    TEST_UNTIL(&w.t, LISTS(&gate, "connector/fe-1 room/be-1 shop/s "));
    leave(&room);
    leave(&gate);
    world_close(&w);
}

static void an_etcd_that_hangs_costs_the_lease_not_the_list(void **state)
{
    world w;
    world_open(&w);
    server room = make(&w, "room", "be-1", false);
    set(&room, "pitaya.cluster.sd.etcd.heartbeat.ttl", "1s");
    put(&w, "pitaya/servers/shop/s", ENTRY("s", "shop", "{}", "false"), 0);
    start(&room);
    pause_server(&w);
    TEST_UNTIL(&w.t, COUNTED(&w, etcd_leases_lost) == 1);
    assert_false(crs_discovery_ready(room.d));
    assert_string_equal(listed(&room), "room/be-1 shop/s ");
    kill(w.server.pid, SIGCONT);
    TEST_UNTIL(&w.t, crs_discovery_ready(room.d));
    assert_int_equal(count(&w, "pitaya/servers/room/be-1", false), 1);
    leave(&room);
    world_close(&w);
}

static void a_compaction_while_away_is_made_good_by_reading_all(void **state)
{
    world w;
    world_open(&w);
    server gate = make(&w, "connector", "fe-1", true);
    put(&w, "pitaya/servers/room/gone", ENTRY("gone", "room", "{}", "false"), 0);
    start(&gate);
    int64_t revision = get(&w, "pitaya/servers/connector/fe-1").revision;
    size_t lists = gate.lists;
    test_etcd_kill(&w.server);
    TEST_UNTIL(&w.t, !crs_discovery_ready(gate.d));
    assert_true(test_etcd_run(&w.server));
    /* by the gateway, before our engine is back: "gone" goes, "new" comes, and how is forgotten */
    test_etcd_post_until_ok(&w.server, "/v3/kv/deleterange", "{\"key\":\"cGl0YXlhL3NlcnZlcnMvcm9vbS9nb25l\"}");
    static const char put_new[] = "{\"key\":\"cGl0YXlhL3NlcnZlcnMvcm9vbS9uZXc=\",\"value\":"
                                  "\"eyJpZCI6Im5ldyIsInR5cGUiOiJyb29tIn0=\"}";
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/put", put_new), 200);
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/put", put_new), 200);
    char json[64];
    snprintf(json, sizeof json, "{\"revision\":\"%lld\",\"physical\":true}", (long long)revision + 3);
    assert_int_equal(test_etcd_post(&w.server, "/v3/kv/compaction", json), 200);
    TEST_UNTIL(&w.t, LISTS(&gate, "connector/fe-1 room/new "));
    assert_int_equal(COUNTED(&w, etcd_watches_compacted), 1);
    assert_int_equal(gate.lists, lists + 1);
    leave(&gate);
    world_close(&w);
}

static void a_start_can_be_cancelled(void **state)
{
    world w;
    world_open(&w);
    server one = make(&w, "room", "be-1", false);
    pause_server(&w);
    crs_discovery_options opt = {.self = &one.self, .config = one.config, .events = &events, .user = &one};
    assert_int_equal(crs_discovery_claim(crs_discovery_engine("etcd"), &opt, &one.d, &one.err), CEREUS_OK);
    assert_int_equal(crs_fiber_start(w.t.fibers, "server", run_start, &one), CEREUS_OK);
    crs_fibers_cancel_all(w.t.fibers);
    TEST_UNTIL(&w.t, one.done);
    assert_int_equal(one.st, CEREUS_E_CANCELLED);
    drop(&one);
    kill(w.server.pid, SIGCONT);
    world_close(&w);
}

TEST_MAIN(cmocka_unit_test(a_server_registers_as_pitayas_does), cmocka_unit_test(prefix_ttl_and_metadata_are_its_own),
          cmocka_unit_test(a_user_logs_in), cmocka_unit_test(without_etcd_the_start_fails_and_says_where_it_looked),
          cmocka_unit_test(the_second_endpoint_is_tried_when_the_first_is_dead),
          cmocka_unit_test(entries_of_others_are_read_as_pitaya_reads_them),
          cmocka_unit_test(a_blacklist_hides_types_but_never_ones_own),
          cmocka_unit_test(a_resync_repairs_what_the_watch_cannot),
          cmocka_unit_test(a_crashed_server_is_gone_when_its_lease_ends),
          cmocka_unit_test(one_that_comes_back_takes_its_key_over),
          cmocka_unit_test(a_lease_revoked_by_another_is_replaced),
          cmocka_unit_test(a_key_that_another_deleted_is_put_again),
          cmocka_unit_test(etcd_may_restart_and_the_list_stays),
          cmocka_unit_test(etcd_may_lose_everything_and_all_register_again),
          cmocka_unit_test(an_etcd_that_hangs_costs_the_lease_not_the_list),
          cmocka_unit_test(a_compaction_while_away_is_made_good_by_reading_all),
          cmocka_unit_test(a_start_can_be_cancelled))
