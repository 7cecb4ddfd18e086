/* tests/stress/shutdown_server: what a crowd talks to while it is told to stop. Takes the settings that every server takes;
 * prints `READY tcp=HOST:PORT ws=HOST:PORT`, and at the end `END opened=N closed=N answered=N replied=N dropped=N`:
 * sessions, how often their close callback ran, requests that a handler came to an end with, and what became of the
 * answers.
 */
#include <cereus/cereus.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static atomic_size_t closed, answered, opened, replied, dropped;

static cereus_status echo(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    (void)ctx;
    *out = in;
    atomic_fetch_add(&answered, 1);
    return CEREUS_OK;
}

/** Ends early, with an error, when the server stops. */
static cereus_status nap(cereus_ctx *ctx, cereus_slice in, cereus_slice *out)
{
    cereus_status st = cereus_sleep(ctx, 20);
    *out = in;
    atomic_fetch_add(&answered, 1);
    return st;
}

/** Counters are gone with the loops, so each callback looks at them; the last one sees all. */
static void keep_largest(cereus_ctx *ctx, const char *counter, atomic_size_t *at)
{
    size_t now = (size_t)cereus_app_counter(cereus_ctx_app(ctx), counter), was = atomic_load(at);
    while (now > was && !atomic_compare_exchange_weak(at, &was, now)) {
    }
}

static void on_close(cereus_ctx *ctx, void *user)
{
    (void)user;
    keep_largest(ctx, "sessions_opened", &opened);
    keep_largest(ctx, "responses", &replied);
    keep_largest(ctx, "replies_dropped", &dropped);
    atomic_fetch_add(&closed, 1);
}

static void on_started(cereus_app *app, void *user)
{
    (void)user;
    printf("READY tcp=%s ws=%s\n", strstr(cereus_app_address(app, 0), "://") + 3,
           strstr(cereus_app_address(app, 1), "://") + 3);
    fflush(stdout);
}

static const cereus_method methods[] = {CEREUS_RAW_REQUEST("echo", echo), CEREUS_RAW_REQUEST("nap", nap)};

int main(int argc, char **argv)
{
    static const cereus_service_options at_session = {.home = CEREUS_HOME_SESSION};
    cereus_error err = {0};
    cereus_app *app = cereus_app_new(&(cereus_app_options){.frontend = true});
    if (!app || cereus_app_listen(app, "tcp://127.0.0.1:0", &err) || cereus_app_listen(app, "ws://127.0.0.1:0", &err) ||
        cereus_app_register(app, "here", methods, CEREUS_COUNT(methods), &at_session, &err) ||
        cereus_app_register(app, "one", methods, CEREUS_COUNT(methods), NULL, &err) ||
        cereus_app_on_session_close(app, on_close, NULL)) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    cereus_app_on_started(app, on_started, NULL);
    int code = cereus_app_main(app, argc, argv);
    printf("END opened=%zu closed=%zu answered=%zu replied=%zu dropped=%zu\n", atomic_load(&opened),
           atomic_load(&closed), atomic_load(&answered), atomic_load(&replied), atomic_load(&dropped));
    return code;
}
