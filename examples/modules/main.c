/* examples/modules: a server that does not stop in the middle of a match. A session module counts the matches, a binary
 * module runs a program beside the server, timers end matches that nobody ends and greet every hour.
 *
 *     modules --session.drain.enabled=true [--listen URL] [settings, see --help]
 *
 * Start a match (`request match.start {}`), send the server SIGTERM, and it waits for `match.end`.
 */
#include <stdatomic.h>
#include <stdio.h>

#include <jansson.h>

#include <cereus/cereus.h>

enum { LONGEST_MATCH_MS = 3600 * 1000 };

/* Matches live on the home of their service; modules run on the first loop and ask from there. */
static atomic_int matches;
static atomic_bool draining;

/* ---- the service ---- */

static void end_match(cereus_ctx *ctx, void *user)
{
    (void)user;
    atomic_fetch_sub(&matches, 1);
    cereus_log_info(ctx, "a match has ended, %d go on", atomic_load(&matches));
}

static cereus_status on_timeout(cereus_ctx *ctx, void *user)
{
    end_match(ctx, user);
    return CEREUS_OK;
}

static cereus_status start(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    (void)in;
    cereus_session *s = cereus_ctx_session(ctx);
    cereus_timer_id timer;
    cereus_error err;
    if (atomic_load(&draining))
        return cereus_fail(ctx, "MATCH-503", "this server is about to stop, try another");
    if (cereus_session_get_int(ctx, s, "timer"))
        return cereus_fail(ctx, "MATCH-409", "you play already");
    if (cereus_timer_after(cereus_ctx_app(ctx), "match", LONGEST_MATCH_MS, on_timeout, NULL, &timer, &err))
        return cereus_fail(ctx, NULL, "%s", err.msg);
    atomic_fetch_add(&matches, 1);
    CEREUS_TRY(cereus_session_set(ctx, s, "timer", json_integer((json_int_t)timer)));
    *out = json_pack("{s:i}", "matches", atomic_load(&matches));
    return CEREUS_OK;
}

static cereus_status end(cereus_ctx *ctx, const json_t *in, json_t **out)
{
    (void)in;
    cereus_session *s = cereus_ctx_session(ctx);
    cereus_timer_id timer = (cereus_timer_id)cereus_session_get_int(ctx, s, "timer");
    if (cereus_timer_stop(cereus_ctx_app(ctx), timer) != CEREUS_OK) /* the last word on who ends it */
        return cereus_fail(ctx, "MATCH-404", "you do not play");
    end_match(ctx, NULL);
    CEREUS_TRY(cereus_session_set(ctx, s, "timer", json_integer(0)));
    *out = json_pack("{s:i}", "matches", atomic_load(&matches));
    return CEREUS_OK;
}

static const cereus_method match[] = {CEREUS_JSON_REQUEST("start", start), CEREUS_JSON_REQUEST("end", end)};

/* ---- the modules ---- */

static void start_draining(cereus_ctx *ctx, void *user)
{
    (void)ctx;
    (void)user;
    atomic_store(&draining, true);
}

static int64_t count_matches(cereus_ctx *ctx, void *user)
{
    (void)ctx;
    (void)user;
    return atomic_load(&matches);
}

static const cereus_module match_module = {.start_draining = start_draining, .session_count = count_matches};

static void on_bell_end(cereus_app *app, const cereus_binary_end *bell, void *user)
{
    (void)app;
    (void)user;
    if (!bell->stopping)
        fprintf(stderr, "modules: the bell broke, code %d signal %d\n", bell->exit_code, bell->signal);
}

static cereus_status greet(cereus_ctx *ctx, void *user)
{
    (void)user;
    cereus_log_info(ctx, "a full hour, %d matches", atomic_load(&matches));
    return CEREUS_OK;
}

int main(int argc, char **argv)
{
    cereus_error err = {0};
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = "modules", .frontend = true});
    cereus_binary_options bell = {
        .path = MODULES_DIR "/bell.sh", .restart = CEREUS_RESTART_ON_FAILURE, .on_end = on_bell_end};
    if (cereus_app_listen(app, "tcp://127.0.0.1:3252", &err) ||
        cereus_app_register(app, "match", match, CEREUS_COUNT(match), NULL, &err) ||
        cereus_app_add_module(app, "matches", &match_module, NULL, &err) ||
        cereus_app_add_binary(app, "bell", &bell, &err) ||
        cereus_timer_cron(app, "match", "0 * * * *", greet, NULL, NULL, &err)) {
        fprintf(stderr, "modules: %s\n", err.msg);
        return 1;
    }
    return cereus_app_main(app, argc, argv);
}
