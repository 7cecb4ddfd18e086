/* tests/unit/group/test_etcd.c: groups in a real etcd: the recorded traffic of Pitaya's, one after another as it was recorded,
 * with the keys that each left; and what etcd's absence costs. */
#include "../ext/etcd_world.h"
#include "vectors.h"

#include <cereus/cereus.h>
#include <cereus/test.h>

typedef struct job {
    const char *operation; /* of the vector */
    const json_t *arguments;
    cereus_status st;
    json_t *result; /* as the vector's */
} job;

static const char *arg(const job *j, const char *name)
{
    const char *text = json_string_value(json_object_get(j->arguments, name));
    return text ? text : "";
}

static void do_job(cereus_ctx *ctx, void *user)
{
    job *j = user;
    const char *group = arg(j, "group"), *uid = arg(j, "uid"), *op = strchr(j->operation, '/') + 1;
    const char *const *uids = NULL;
    size_t n = 0;
    bool is = false;
    json_t *info = NULL;
    if (strcmp(op, "create") == 0)
        j->st = cereus_group_create(ctx, group);
    else if (strcmp(op, "createttl") == 0)
        j->st = cereus_group_create_ttl(ctx, group, (uint64_t)json_integer_value(json_object_get(j->arguments, "ms")));
    else if (strcmp(op, "add") == 0)
        j->st = cereus_group_add(ctx, group, uid);
    else if (strcmp(op, "remove") == 0)
        j->st = cereus_group_remove(ctx, group, uid);
    else if (strcmp(op, "removeall") == 0)
        j->st = cereus_group_remove_all(ctx, group);
    else if (strcmp(op, "delete") == 0)
        j->st = cereus_group_delete(ctx, group);
    else if (strcmp(op, "renew") == 0)
        j->st = cereus_group_renew_ttl(ctx, group);
    else if (strcmp(op, "broadcast") == 0)
        j->st = cereus_group_broadcast(ctx, NULL, group, arg(j, "route"), cereus_text("x"));
    else if (strcmp(op, "contains") == 0 && !(j->st = cereus_group_contains(ctx, group, uid, &is)))
        info = json_boolean(is);
    else if (strcmp(op, "count") == 0 && !(j->st = cereus_group_count(ctx, group, &n)))
        info = json_integer((json_int_t)n);
    else if (strcmp(op, "members") == 0 && !(j->st = cereus_group_members(ctx, group, &uids, &n))) {
        info = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(info, json_string(uids[i]));
    }
    j->result = j->st ? json_pack("{s:b,s:s}", "ok", 0, "err", cereus_ctx_error_msg(ctx)) : json_pack("{s:b}", "ok", 1);
    if (info)
        json_object_set_new(j->result, "info", info);
}

static cereus_test_app *start(world *w)
{
    cereus_test_app *t = cereus_test_new(cereus_app_new(&(cereus_app_options){.type = "connector", .frontend = true}),
                                         CEREUS_TEST_SOCKETS);
    cereus_test_set(t, "cereus.groups", "etcd");
    cereus_test_set(t, "pitaya.groups.etcd.endpoints", w->server.endpoint);
    cereus_test_set(t, "cereus.log.level", "error");
    cereus_test_start(t);
    crs_loop_enter(w->t.loop); /* the start was at home on the app's */
    return t;
}

static json_t *run(cereus_test_app *t, const char *operation, const json_t *arguments)
{
    job j = {.operation = operation, .arguments = arguments};
    cereus_test_run(t, NULL, do_job, &j);
    return j.result;
}

/** "key=ttl " of all keys of groups; those of the group of a second or two are left out. */
static char kept[2048];

static bool lasts(const char *key)
{
    return !strstr(key, "party-short");
}

static void read_keys(world *w, crs_fiber *fiber)
{
    const crs_etcd_result *r =
        await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_RANGE, .key = str("pitaya/groups/"), .prefix = true});
    size_t len = 0;
    kept[0] = '\0';
    for (size_t i = 0; i < r->kv_count; i++) {
        char key[200];
        snprintf(key, sizeof key, "%.*s", (int)r->kvs[i].key.len, (const char *)r->kvs[i].key.data);
        assert_int_equal(r->kvs[i].value.len, 0);
        if (lasts(key)) {
            int64_t ttl = 0;
            if (r->kvs[i].lease)
                ttl = await(w, fiber, (crs_etcd_op){.kind = CRS_ETCD_TIME_TO_LIVE, .lease = r->kvs[i].lease})
                          ->granted_ttl_s;
            len += (size_t)snprintf(kept + len, sizeof kept - len, "%s=%d ", key, (int)ttl);
        }
    }
}

static void replay(world *w, cereus_test_app *t, const char *name)
{
    char file[80], wanted[2048] = "";
    size_t i, len = 0;
    json_t *event, *dump, *key, *result = NULL;
    snprintf(file, sizeof file, "group-%s", name);
    json_t *vector = vectors_cluster(file);
    json_array_foreach(json_object_get(vector, "events"), i, event)
    {
        const char *op = json_string_value(json_object_get(event, "op"));
        if (strcmp(op, "control") == 0) {
            result =
                run(t, json_string_value(json_object_get(event, "operation")), json_object_get(event, "arguments"));
        } else if (strcmp(op, "control result") == 0) {
            json_t *expected = json_object_get(event, "result");
            if (json_is_null(json_object_get(expected, "info")))
                json_object_del(expected, "info");
            if (!json_equal(result, expected))
                fail_msg("%s: %s, not %s", name, json_dumps(result, 0), json_dumps(expected, 0));
            json_decref(result);
        }
    }
    json_array_foreach(json_object_get(vector, "dumps"), i, dump)
    {
        json_array_foreach(json_object_get(dump, "keys"), i, key)
        {
            const char *text = json_string_value(json_object_get(key, "key"));
            if (lasts(text))
                len += (size_t)snprintf(wanted + len, sizeof wanted - len, "%s=%d ", text,
                                        (int)json_integer_value(json_object_get(key, "lease_granted_ttl")));
        }
        break;
    }
    crs_loop_enter(w->t.loop);
    crs_loop_update_now(w->t.loop);
    on_fiber(w, read_keys);
    if (strcmp(kept, wanted) != 0)
        fail_msg("%s: etcd has %s, not %s", name, kept, wanted);
    json_decref(vector);
}

static void calls_do_and_say_what_pitayas_do(void **state)
{
    static const char *const names[] = {"create",           "create-again",       "add",           "add-again",
                                        "add-empty",        "renew-no-lease",     "remove-absent", "add-second",
                                        "members",          "contains",           "contains-not",  "count",
                                        "remove",           "remove-all",         "delete",        "add-absent",
                                        "renew-absent",     "members-absent",     "count-absent",  "delete-absent",
                                        "broadcast-absent", "create-ttl",         "add-ttl",       "renew",
                                        "create-ttl-again", "create-ttl-fraction"};
    world w;
    world_open(&w);
    cereus_test_app *t = start(&w);
    for (size_t i = 0; i < CEREUS_COUNT(names); i++)
        replay(&w, t, names[i]);
    TEST_UNTIL(&w.t, count(&w, "pitaya/groups/party-short", false) == 0); /* its time is over */
    put(&w, "pitaya/groups/party-ttl/uids/ghost", "", 0);                 /* as by a Pitaya server: case group-slash */
    replay(&w, t, "slash-members");
    cereus_test_end(t);
    crs_loop_enter(w.t.loop);
    world_close(&w);
}

static void a_name_that_would_be_a_member_is_refused(void **state)
{
    world w;
    world_open(&w);
    cereus_test_app *t = start(&w);
    static const char *const operations[] = {"group/create", "group/delete", "group/members", "group/count",
                                             "group/add"};
    static const char *const names[] = {"a/uids/b", "a/uids"}; /* the second one's members would be the first one's */
    for (size_t i = 0; i < CEREUS_COUNT(names) * CEREUS_COUNT(operations); i++) {
        json_t *arguments = json_pack("{s:s,s:s}", "group", names[i % 2], "uid", "u");
        json_t *result = run(t, operations[i / 2], arguments);
        assert_string_equal(json_string_value(json_object_get(result, "err")),
                            "a group's name may not have \"/uids/\" in it");
        json_decref(result);
        json_decref(arguments);
    }
    assert_int_equal(count(&w, "", true), 0);
    cereus_test_end(t);
    crs_loop_enter(w.t.loop);
    world_close(&w);
}

static void an_etcd_that_hangs_costs_the_transactions_time(void **state)
{
    world w;
    world_open(&w);
    cereus_test_app *t = cereus_test_new(cereus_app_new(&(cereus_app_options){.type = "connector", .frontend = true}),
                                         CEREUS_TEST_SOCKETS);
    cereus_test_set(t, "cereus.groups", "etcd");
    cereus_test_set(t, "pitaya.groups.etcd.endpoints", w.server.endpoint);
    cereus_test_set(t, "pitaya.groups.etcd.transactiontimeout", "200ms");
    cereus_test_set(t, "cereus.log.level", "error");
    cereus_test_start(t);
    crs_loop_enter(w.t.loop);
    json_t *arguments = json_pack("{s:s}", "group", "g"), *result;
    pause_server(&w);
    result = run(t, "group/create", arguments);
    assert_ptr_equal(strstr(json_string_value(json_object_get(result, "err")), "etcd "),
                     json_string_value(json_object_get(result, "err")));
    json_decref(result);
    kill(w.server.pid, SIGCONT);
    do { /* its client connects again */
        result = run(t, "group/members", arguments);
        const char *err = json_string_value(json_object_get(result, "err"));
        bool there = !err || strcmp(err, "group not found") == 0;
        json_decref(result);
        if (there)
            break;
    } while (true);
    json_decref(arguments);
    cereus_test_end(t);
    crs_loop_enter(w.t.loop);
    world_close(&w);
}

TEST_MAIN(cmocka_unit_test(calls_do_and_say_what_pitayas_do),
          cmocka_unit_test(a_name_that_would_be_a_member_is_refused),
          cmocka_unit_test(an_etcd_that_hangs_costs_the_transactions_time))
