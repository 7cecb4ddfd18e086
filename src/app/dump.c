/* app/dump.c: asks, waits a moment, writes. What is bounded: one dump at a time, its lines by the number of loops and the
 * TOP of each list, a loop's work per turn by SLICE sessions. */
#include "app/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "app/app_priv.h"
#include "base/thread.h"

enum {
    SLICE = 2048,  /* sessions looked at per turn of a loop */
    WAIT_MS = 300, /* for the loops; then they are said to be busy */
    TOP = 10,
    COUNTERS_PER_LINE = 16,
};

typedef struct answer {
    bool given;
    crs_dump_loop found;
} answer;

struct crs_dump { /* all of it guarded by app->mu */
    pthread_t thread;
    bool to_join; /* there is or was a thread */
    bool running; /* it has not said its last word */
    answer answers[CRS_LOOPS_MAX];
    crs_fiber_hold holds[CRS_HOLDS_MAX];
    size_t hold_count;
    size_t method_count;
    crs_call_stats calls[]; /* by the methods' index, of all loops */
};

/* ---- on the loops ---- */

static void look_at_session(const crs_agent *agent, crs_dump_loop *found)
{
    found->sessions++;
    found->bound += agent->uid != NULL;
    found->handshaking += agent->state != CRS_AGENT_WORKING;
    found->clogged += crs_agent_clogged(agent);
    found->running += agent->running + agent->concurrent;
    found->lane_messages += agent->lane_count;
    found->lane_bytes += agent->lane_bytes;
    if (agent->conn) {
        found->paused += crs_conn_paused(agent->conn);
        found->outbox_bytes += crs_conn_out_len(agent->conn);
    }
}

static void look_at_loop(const crs_dispatch *d, crs_dump_loop *found)
{
    size_t stack_len;
    found->connections = crs_transport_count(d->transport);
    found->closing = d->closing;
    found->fibers = crs_fibers_alive(d->fibers);
    found->fibers_made = crs_fibers_made(d->fibers, &stack_len);
    found->fiber_stack_len = stack_len;
    for (const crs_mail *m = d->waiting; m; m = m->next)
        found->waiting_for_fiber++;
}

static void add_calls_locked(crs_dump *dump, const crs_dispatch *d)
{
    for (size_t i = 0; d->stats && i < dump->method_count; i++) {
        crs_call_stats *sum = &dump->calls[i];
        sum->calls += d->stats[i].calls;
        sum->waited += d->stats[i].waited;
        sum->total_us += d->stats[i].total_us;
        sum->max_us = CRS_MAX(sum->max_us, d->stats[i].max_us);
    }
}

static crs_fiber_hold *place_for_hold_locked(crs_dump *dump, const crs_fiber_hold *h)
{
    crs_fiber_hold *least = NULL;
    for (size_t i = 0; i < dump->hold_count; i++) {
        if (strcmp(dump->holds[i].name, h->name) == 0)
            return &dump->holds[i];
        if (!least || dump->holds[i].max_us < least->max_us)
            least = &dump->holds[i];
    }
    if (dump->hold_count < CRS_HOLDS_MAX)
        least = &dump->holds[dump->hold_count++];
    else if (least->max_us > h->max_us)
        return NULL;
    *least = (crs_fiber_hold){0};
    memcpy(least->name, h->name, sizeof least->name);
    return least;
}

static void add_holds_locked(crs_dump *dump, const crs_dispatch *d)
{
    size_t count;
    const crs_fiber_hold *holds = crs_fibers_holds(d->fibers, &count);
    for (size_t i = 0; i < count; i++) {
        crs_fiber_hold *sum = place_for_hold_locked(dump, &holds[i]);
        if (!sum)
            continue;
        sum->count += holds[i].count;
        sum->total_us += holds[i].total_us;
        if (holds[i].max_us > sum->max_us) {
            sum->max_us = holds[i].max_us;
            sum->tag = holds[i].tag;
            sum->shared = holds[i].shared;
        }
    }
}

/** One slice of the sessions; behind the last one, the rest and the answer. */
static void walk_on(crs_loop *loop, crs_mail *mail)
{
    crs_app_loop *l = CRS_CONTAINER(mail, crs_app_loop, walk.mail);
    crs_dump_walk *walk = &l->walk;
    cereus_app *app = l->app;
    pthread_mutex_lock(&app->mu);
    bool closed = app->dumps_closed;
    if (closed)
        walk->away = false;
    pthread_mutex_unlock(&app->mu);
    if (closed)
        return;
    const crs_session_table *table = crs_frontend_sessions(l->dispatch.frontend);
    uint32_t end = CRS_MIN(table->used, walk->next_slot + SLICE);
    for (; walk->next_slot < end; walk->next_slot++) {
        if (table->slots[walk->next_slot].agent)
            look_at_session(table->slots[walk->next_slot].agent, &walk->found);
    }
    if (walk->next_slot < table->used) { /* the others have their turn */
        crs_loop_post_reserved(loop, mail);
        return;
    }
    look_at_loop(&l->dispatch, &walk->found);
    pthread_mutex_lock(&app->mu);
    add_calls_locked(app->dump, &l->dispatch);
    add_holds_locked(app->dump, &l->dispatch);
    app->dump->answers[loop->index] = (answer){.given = true, .found = walk->found};
    walk->away = false;
    pthread_cond_broadcast(&app->changed);
    pthread_mutex_unlock(&app->mu);
}

/* ---- the lines ---- */

/* Somebody asked: it is written whatever the level is. */
static void say(cereus_app *app, const char *msg, const crs_field *fields, size_t count)
{
    int level = atomic_load_explicit(&app->log.level, memory_order_relaxed);
    crs_log_write(&app->log, (cereus_log_level)CRS_MAX((int)CEREUS_LOG_INFO, level), msg, fields, count);
}

#define SAY(app, msg, ...)                                          \
    do {                                                            \
        const crs_field say_fields_[] = {__VA_ARGS__};              \
        say((app), "" msg, say_fields_, CEREUS_COUNT(say_fields_)); \
    } while (0)

static void say_server(cereus_app *app)
{
    size_t busy = 0, waiting = crs_workers_waiting(app->core.workers, &busy);
    SAY(app, "state of the server", CRS_STR("type", app->type), CRS_STR("id", cereus_app_id(app)),
        CRS_DUR_MS("uptime", crs_app_now_ms(app) - app->started_ms),
        CRS_UINT("sessions", cereus_app_session_count(app)), CRS_UINT("groups", crs_groups_count(app->groups)),
        CRS_UINT("loops", app->core.loop_count), CRS_UINT("offload_running", busy),
        CRS_UINT("offload_waiting", waiting));
}

static void say_loop(cereus_app *app, uint32_t index, const crs_dump_loop *f)
{
    SAY(app, "state of a loop", CRS_UINT("loop", index), CRS_UINT("sessions", f->sessions), CRS_UINT("bound", f->bound),
        CRS_UINT("handshaking", f->handshaking), CRS_UINT("paused", f->paused), CRS_UINT("clogged", f->clogged),
        CRS_UINT("connections", f->connections), CRS_UINT("closing", f->closing), CRS_UINT("running", f->running),
        CRS_UINT("inbox_messages", f->lane_messages), CRS_UINT("inbox_bytes", f->lane_bytes),
        CRS_UINT("outbox_bytes", f->outbox_bytes), CRS_UINT("waiting_for_fiber", f->waiting_for_fiber),
        CRS_UINT("fibers", f->fibers), CRS_UINT("fibers_free", f->fibers_made - f->fibers),
        CRS_UINT("mail", atomic_load_explicit(&app->core.loops[index]->loop->mail_count, memory_order_relaxed)));
}

/* What can be seen from outside. */
static void say_busy_loop(cereus_app *app, uint32_t index)
{
    crs_dispatch *d = app->core.loops[index];
    crs_fibers_activity *a = crs_fibers_watch(d->fibers);
    const char *name = atomic_load_explicit(&a->name, memory_order_relaxed);
    uint64_t session = name ? atomic_load_explicit(&a->tag, memory_order_relaxed) : 0;
    size_t sessions = atomic_load_explicit(&crs_frontend_sessions(d->frontend)->count, memory_order_relaxed);
    SAY(app, "state of a loop: busy, it did not answer", CRS_UINT("loop", index), CRS_STR("route", name ? name : ""),
        CRS_UINT("session", session), CRS_UINT("sessions", sessions),
        CRS_UINT("mail", atomic_load_explicit(&d->loop->mail_count, memory_order_relaxed)));
}

static const crs_method *method_at(const cereus_app *app, size_t index)
{
    for (const crs_service *s = app->core.registry.services; s; s = s->next) {
        if (s->method_count && index >= s->methods[0].index && index - s->methods[0].index < s->method_count)
            return &s->methods[index - s->methods[0].index];
    }
    return NULL;
}

static void say_call(cereus_app *app, size_t index, const crs_call_stats *s)
{
    const crs_method *m = method_at(app, index);
    SAY(app, "slow handler", CRS_STR("route", m ? m->route : ""), CRS_UINT("longest_us", s->max_us),
        CRS_UINT("calls", s->calls), CRS_UINT("waited", s->waited),
        CRS_UINT("mean_us", s->calls ? s->total_us / s->calls : 0));
}

static void say_hold(cereus_app *app, const crs_fiber_hold *h)
{
    SAY(app, "handler held its loop", CRS_STR("route", h->name), CRS_UINT("longest_us", h->max_us),
        CRS_UINT("times", h->count), CRS_UINT("total_us", h->total_us), CRS_UINT("session", h->tag),
        CRS_BOOL("with_others", h->shared));
}

static void say_memory(cereus_app *app, const answer *answers)
{
    char text[128] = "";
    unsigned long long resident_pages = 0;
    uint64_t stacks = 0, stack_bytes = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) <= 0 || sscanf(text, "%*u %llu", &resident_pages) != 1)
            resident_pages = 0;
        close(fd);
    }
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        stacks += answers[i].found.fibers_made;
        stack_bytes += answers[i].found.fibers_made * answers[i].found.fiber_stack_len;
    }
    struct mallinfo2 heap = mallinfo2();
    SAY(app, "state of memory", CRS_UINT("resident", resident_pages * (uint64_t)sysconf(_SC_PAGESIZE)),
        CRS_UINT("heap_used", heap.uordblks + heap.hblkhd), CRS_UINT("heap_free", heap.fordblks),
        CRS_UINT("fiber_stacks", stacks), CRS_UINT("fiber_stacks_virtual", stack_bytes));
}

static void say_counters(cereus_app *app)
{
    crs_field fields[COUNTERS_PER_LINE];
    size_t count = 0;
    for (size_t c = 0; crs_counter_name(c); c++) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < app->core.loop_count; i++)
            sum += crs_counter_read(&app->core.loops[i]->loop->counters, (crs_counter)c);
        if (sum)
            fields[count++] = (crs_field){.key = crs_counter_name(c), .kind = CRS_FIELD_UINT, .unum = sum};
        if (count == COUNTERS_PER_LINE) {
            say(app, "counters", fields, count);
            count = 0;
        }
    }
    if (count)
        say(app, "counters", fields, count);
}

/* ---- the thread ---- */

typedef struct snapshot {
    answer answers[CRS_LOOPS_MAX];
    crs_fiber_hold holds[TOP];
    size_t hold_count;
    crs_call_stats calls[TOP];
    size_t call_index[TOP];
    size_t call_count;
} snapshot;

/* Where an entry of @p value belongs among the @p count largest so far; TOP: nowhere. */
static size_t rank_of(uint64_t value, size_t count, const uint64_t *values)
{
    size_t at = 0;
    while (at < count && values[at] >= value)
        at++;
    return at;
}

static void pick_locked(const crs_dump *dump, snapshot *snap)
{
    uint64_t longest[TOP];
    memcpy(snap->answers, dump->answers, sizeof snap->answers);
    for (size_t i = 0; i < dump->method_count; i++) {
        size_t at = rank_of(dump->calls[i].max_us, snap->call_count, longest);
        if (dump->calls[i].max_us == 0 || at == TOP)
            continue;
        size_t kept = CRS_MIN(snap->call_count, (size_t)TOP - 1) - at;
        memmove(longest + at + 1, longest + at, kept * sizeof *longest);
        memmove(snap->calls + at + 1, snap->calls + at, kept * sizeof *snap->calls);
        memmove(snap->call_index + at + 1, snap->call_index + at, kept * sizeof *snap->call_index);
        longest[at] = dump->calls[i].max_us;
        snap->calls[at] = dump->calls[i];
        snap->call_index[at] = i;
        snap->call_count = CRS_MIN(snap->call_count + 1, (size_t)TOP);
    }
    for (size_t i = 0; i < dump->hold_count; i++) {
        size_t at = rank_of(dump->holds[i].max_us, snap->hold_count, longest);
        if (at == TOP)
            continue;
        size_t kept = CRS_MIN(snap->hold_count, (size_t)TOP - 1) - at;
        memmove(longest + at + 1, longest + at, kept * sizeof *longest);
        memmove(snap->holds + at + 1, snap->holds + at, kept * sizeof *snap->holds);
        longest[at] = dump->holds[i].max_us;
        snap->holds[at] = dump->holds[i];
        snap->hold_count = CRS_MIN(snap->hold_count + 1, (size_t)TOP);
    }
}

/** Send the loops off, those that are not still on the walk of a dump before. */
static void ask(cereus_app *app, crs_dump *dump)
{
    bool post[CRS_LOOPS_MAX] = {false};
    pthread_mutex_lock(&app->mu);
    memset(dump->answers, 0, sizeof dump->answers);
    memset(dump->calls, 0, dump->method_count * sizeof *dump->calls);
    dump->hold_count = 0;
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        crs_dump_walk *walk = &app->loops[i].walk;
        if (walk->away)
            continue;
        walk->away = post[i] = true;
        walk->next_slot = 0;
        walk->found = (crs_dump_loop){0};
        walk->mail.run = walk_on;
    }
    pthread_mutex_unlock(&app->mu);
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        if (post[i])
            crs_loop_post_reserved(app->loops[i].loop, &app->loops[i].walk.mail);
    }
}

static void await_answers_locked(cereus_app *app, const crs_dump *dump)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    bool late = false;
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        while (!late && !dump->answers[i].given && !app->dumps_closed)
            late = pthread_cond_timedwait(&app->changed, &app->mu, &until) == ETIMEDOUT;
    }
}

static void *dump_main(void *arg)
{
    cereus_app *app = arg;
    crs_dump *dump = app->dump; /* stays while this thread is to be joined */
    snapshot snap = {0};
    ask(app, dump);
    pthread_mutex_lock(&app->mu);
    await_answers_locked(app, dump);
    pick_locked(dump, &snap);
    pthread_mutex_unlock(&app->mu);

    say_server(app);
    for (uint32_t i = 0; i < app->core.loop_count; i++) {
        if (snap.answers[i].given)
            say_loop(app, i, &snap.answers[i].found);
        else
            say_busy_loop(app, i);
    }
    say_memory(app, snap.answers);
    say_counters(app);
    for (size_t i = 0; i < snap.call_count; i++)
        say_call(app, snap.call_index[i], &snap.calls[i]);
    for (size_t i = 0; i < snap.hold_count; i++)
        say_hold(app, &snap.holds[i]);

    pthread_mutex_lock(&app->mu);
    dump->running = false;
    pthread_mutex_unlock(&app->mu);
    return NULL;
}

static void start_thread_locked(cereus_app *app)
{
    crs_dump *dump = app->dump;
    if (dump->to_join)
        pthread_join(dump->thread, NULL); /* it has said its last word */
    dump->to_join = dump->running = crs_thread_start(&dump->thread, dump_main, app);
}

void cereus_app_dump(cereus_app *app)
{
    size_t methods = app->core.registry.method_count; /* constant once the app runs */
    crs_dump *fresh = crs_zalloc(sizeof *fresh + methods * sizeof fresh->calls[0]);
    bool failed = !fresh;
    pthread_mutex_lock(&app->mu);
    if (fresh && !app->dump && app->loops_up && !app->dumps_closed) {
        fresh->method_count = methods;
        app->dump = fresh;
        fresh = NULL;
    }
    if (app->dump && app->loops_up && !app->dump->running && !app->dumps_closed) {
        start_thread_locked(app);
        failed = !app->dump->running;
    }
    pthread_mutex_unlock(&app->mu);
    crs_free(fresh);
    if (failed)
        crs_log_error(&app->log, "no dump of the state: out of memory or threads");
}

void crs_dump_close(cereus_app *app)
{
    pthread_mutex_lock(&app->mu);
    crs_dump *dump = app->dump;
    app->dumps_closed = true; /* from now on nobody starts a thread */
    pthread_cond_broadcast(&app->changed);
    pthread_mutex_unlock(&app->mu);
    if (dump && dump->to_join)
        pthread_join(dump->thread, NULL);
}

void crs_dump_free(cereus_app *app)
{
    pthread_mutex_lock(&app->mu);
    crs_dump *dump = app->dump;
    app->dump = NULL;
    app->dumps_closed = false;
    pthread_mutex_unlock(&app->mu);
    crs_free(dump);
}
