/* module/timers.c: timers of the game on the loops of their homes.
 *
 *     add (any thread) ── under mu: a slot, onto the home's `news` ──> mail ──> home loop: arms the alarm
 *     alarm ──> (condition asked) ──> task on a fiber: under mu, stopped? ──> fn ──> over, or armed anew all the while
 *     stop (any thread) ── under mu: the slot is free, `stopped`, onto `news` ──> mail ──> home loop: frees it
 *
 * Whether a call may begin is decided under mu right before it begins, so that none begins after a stop has returned.
 * A timer is freed by its home loop, when it is stopped and neither runs nor waits for a fiber; before the start and after
 * the stop, by whoever removes it.
 */
#include "module/timers.h"

#include <pthread.h>

#include "dispatch/context.h"

enum {
    CLOCK_LOOK_MS = 60 * 1000,       /* how long a clock that was set goes unnoticed */
    CLOCK_BACK_MS = 3 * 3600 * 1000, /* set back by more: what comes next is asked anew */
    SLOTS_FIRST = 64,
    NEWS_A_TURN = 1024, /* news that a loop reads before it does other work */
};

typedef struct entry {
    crs_list link;          /* guarded by mu: on `all` */
    struct entry *next_new; /* guarded by mu: on its home's news */
    bool in_news;           /* guarded by mu */
    bool stopped;           /* guarded by mu: no call may begin */
    crs_app_timers *timers;
    crs_timer_spec spec;
    const crs_service *service; /* NULL: the first loop */
    cereus_timer_id id;
    crs_dispatch *d; /* its home; set at the start, or when it is made after that */

    /* loop */
    crs_timer alarm;
    uint64_t due_us;   /* of loop time: the next one's, where alarms are kept in rhythm */
    int64_t cron_due;  /* Unix seconds */
    int64_t looked_ms; /* Unix time when that was looked at */
    int64_t left;      /* calls; -1: for ever */
    bool busy;         /* a call runs, or waits for a fiber */
    crs_mail mail;     /* while it waits */
} entry;

typedef struct home {
    crs_mail wake;
    crs_app_timers *timers;
    bool awake;  /* guarded by mu: `wake` is on its way */
    entry *news; /* guarded by mu: to be armed, or to be freed */
    entry *read; /* loop: of those, what it still has to do */
} home;

typedef struct slot {
    entry *timer;  /* NULL: free */
    uint32_t next; /* free: the next free one, index + 1 */
    uint32_t generation;
} slot;

typedef enum timers_state { SETUP, RUNNING, STOPPED } timers_state;

struct crs_app_timers {
    crs_core *core;
    uint64_t tick_ms; /* set by start() */
    crs_log_limiter failures;
    pthread_mutex_t mu;
    timers_state state;            /* guarded by mu */
    slot *slots;                   /* guarded by mu */
    size_t slot_count, count, max; /* guarded by mu */
    size_t ended;                  /* guarded by mu: have no slot any more, but are not yet freed by their home */
    uint32_t free_slot;            /* guarded by mu: index + 1 */
    uint64_t refused;              /* guarded by mu: to be counted on the first loop */
    crs_list all;                  /* guarded by mu */
    home homes[CRS_LOOPS_MAX];
};

/* ---- the table ---- */

crs_app_timers *crs_app_timers_new(crs_core *core)
{
    crs_app_timers *t = crs_zalloc(sizeof *t);
    if (!t)
        return NULL;
    t->core = core;
    t->max = SIZE_MAX;
    pthread_mutex_init(&t->mu, NULL);
    crs_list_init(&t->all);
    for (size_t i = 0; i < CRS_LOOPS_MAX; i++)
        t->homes[i].timers = t;
    return t;
}

crs_app_timers *crs_app_timers_free(crs_app_timers *t)
{
    crs_list *link;
    if (!t)
        return NULL;
    while ((link = crs_list_pop(&t->all)))
        crs_free(CRS_CONTAINER(link, entry, link));
    pthread_mutex_destroy(&t->mu);
    crs_free(t->slots);
    crs_free(t);
    return NULL;
}

size_t crs_app_timers_count(crs_app_timers *t)
{
    pthread_mutex_lock(&t->mu);
    size_t count = t->count;
    pthread_mutex_unlock(&t->mu);
    return count;
}

void crs_app_timers_set_max(crs_app_timers *t, size_t max)
{
    pthread_mutex_lock(&t->mu);
    t->max = max;
    pthread_mutex_unlock(&t->mu);
}

static bool grow_locked(crs_app_timers *t)
{
    size_t count = t->slot_count ? 2 * t->slot_count : SLOTS_FIRST;
    if (count > UINT32_MAX / 2)
        return false;
    slot *slots = crs_realloc(t->slots, count * sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = count; i-- > t->slot_count;) {
        slots[i] = (slot){.next = t->free_slot};
        t->free_slot = (uint32_t)i + 1;
    }
    t->slots = slots;
    t->slot_count = count;
    return true;
}

static cereus_timer_id take_slot_locked(crs_app_timers *t, entry *e)
{
    if (!t->free_slot && !grow_locked(t))
        return 0;
    uint32_t index = t->free_slot - 1;
    slot *s = &t->slots[index];
    t->free_slot = s->next;
    s->timer = e;
    s->generation++;
    t->count++;
    return (uint64_t)s->generation << 32 | (index + 1);
}

static slot *find_locked(crs_app_timers *t, cereus_timer_id id)
{
    uint32_t index = (uint32_t)id - 1;
    if (index >= t->slot_count)
        return NULL;
    slot *s = &t->slots[index];
    return s->timer && s->generation == id >> 32 ? s : NULL;
}

static void free_slot_locked(crs_app_timers *t, slot *s)
{
    s->timer = NULL;
    t->count--;
    if (s->generation == UINT32_MAX)
        return; /* used up: its ids would come again */
    s->next = t->free_slot;
    t->free_slot = (uint32_t)(s - t->slots) + 1;
}

/* ---- homes ---- */

static void read_news(crs_loop *loop, crs_mail *mail);

/** The home of @p index has news. */
static void wake_locked(crs_app_timers *t, uint32_t index)
{
    home *h = &t->homes[index];
    if (h->awake)
        return;
    h->awake = true;
    h->wake.run = read_news;
    crs_loop_post_reserved(t->core->loops[index]->loop, &h->wake);
}

/** The time of its home, in which it begins. */
static void settle_locked(entry *e, crs_dispatch *d)
{
    e->d = d;
    e->due_us = crs_loop_clock_us(d->loop);
}

/** Tell the home loop of @p e to arm or to free it. */
static void tell_home_locked(entry *e)
{
    crs_app_timers *t = e->timers;
    uint32_t index = e->d->loop->index;
    if (!e->in_news) {
        e->in_news = true;
        e->next_new = t->homes[index].news;
        t->homes[index].news = e;
    }
    wake_locked(t, index);
}

static crs_dispatch *home_of(const crs_app_timers *t, const crs_service *s)
{
    return t->core->loops[crs_service_loop(s) % t->core->loop_count];
}

void crs_app_timers_start(crs_app_timers *t, uint64_t tick_ms)
{
    t->tick_ms = tick_ms;
    pthread_mutex_lock(&t->mu);
    t->state = RUNNING;
    for (crs_list *l = t->all.next; l != &t->all; l = l->next) {
        entry *e = CRS_CONTAINER(l, entry, link);
        settle_locked(e, home_of(t, e->service));
        tell_home_locked(e);
    }
    if (t->refused)
        wake_locked(t, 0);
    pthread_mutex_unlock(&t->mu);
}

void crs_app_timers_stop(crs_app_timers *t)
{
    pthread_mutex_lock(&t->mu);
    t->state = STOPPED;
    pthread_mutex_unlock(&t->mu);
}

/* ---- on the home loop ---- */

/** It has ended or was stopped, and nothing of it runs. */
static void release(entry *e)
{
    crs_app_timers *t = e->timers;
    crs_loop_timer_stop(e->d->loop, &e->alarm);
    pthread_mutex_lock(&t->mu);
    slot *s = find_locked(t, e->id);
    if (s) {
        free_slot_locked(t, s);
        t->ended++;
    }
    bool still_in_news = e->in_news; /* stopped just now: whoever reads the news frees it */
    e->stopped = true;
    if (!still_in_news) {
        crs_list_remove(&e->link);
        t->ended--;
    }
    pthread_mutex_unlock(&t->mu);
    if (!still_in_news)
        crs_free(e);
}

static void on_alarm(crs_timer *alarm);

static void give_up(entry *e, const char *why)
{
    crs_log_error(e->d->core->log, "a timer has ended", CRS_STR("why", why));
    e->left = 0;
    if (!e->busy)
        release(e);
}

/** Set the alarm for the next time. False: it has given up, and may be gone. */
static bool arm(entry *e)
{
    crs_loop *loop = e->d->loop;
    uint64_t period_us = e->spec.interval_ms * 1000, delay_us;
    switch (e->spec.kind) {
    case CRS_TIMER_WHEN:
        period_us = e->timers->tick_ms * 1000;
        /* fall through */
    case CRS_TIMER_EVERY:
        e->due_us += period_us;
        if (e->due_us < loop->now_us) /* what was missed is left out, the rhythm stays */
            e->due_us += (loop->now_us - e->due_us + period_us - 1) / period_us * period_us;
        break;
    case CRS_TIMER_CRON: {
        int64_t now_ms = crs_loop_unix_now_ms(loop);
        if (e->cron_due * 1000 <= now_ms || now_ms < e->looked_ms - CLOCK_BACK_MS) {
            e->looked_ms = now_ms;
            if (crs_cron_next(&e->spec.cron, now_ms / 1000, &e->cron_due)) {
                give_up(e, "its expression names no further time");
                return false;
            }
        }
        e->looked_ms = CRS_MAX(e->looked_ms, now_ms);
        delay_us = (uint64_t)CRS_MIN(e->cron_due * 1000 - now_ms, (int64_t)CLOCK_LOOK_MS) * 1000;
        e->due_us = loop->now_us + delay_us;
        break;
    }
    }
    if (crs_timer_start(&loop->timers, &e->alarm, e->due_us)) {
        give_up(e, "out of memory");
        return false;
    }
    return true;
}

/** May a call begin? */
static bool may_call(entry *e)
{
    crs_app_timers *t = e->timers;
    pthread_mutex_lock(&t->mu);
    bool may = !e->stopped && t->state == RUNNING;
    pthread_mutex_unlock(&t->mu);
    return may;
}

static void run(crs_fiber *fiber, void *arg)
{
    entry *e = arg;
    crs_app_timers *t = e->timers;
    if (may_call(e)) {
        cereus_ctx ctx;
        crs_ctx_init(&ctx, e->d, fiber, "timer");
        cereus_status st = e->spec.fn(&ctx, e->spec.user);
        if (st && !(st == CEREUS_E_CANCELLED && crs_fiber_cancelled(fiber))) {
            crs_error_view view = crs_ctx_error_view(&ctx, st);
            CRS_COUNT(&e->d->loop->counters, timer_failures);
            crs_log_limited(e->d->core->log, CEREUS_LOG_ERROR, &t->failures, "timer failed",
                            CRS_STR("service", e->service ? e->service->name : ""), CRS_SLICE("code", view.code),
                            CRS_SLICE("msg", view.msg));
        }
        crs_ctx_fini(&ctx);
    }
    e->busy = false;
    pthread_mutex_lock(&t->mu);
    bool over = e->left == 0 || e->stopped;
    pthread_mutex_unlock(&t->mu);
    if (over)
        release(e);
}

static void begin(crs_loop *loop, crs_mail *mail)
{
    CRS_UNUSED(loop);
    entry *e = CRS_CONTAINER(mail, entry, mail);
    cereus_status st = crs_fiber_start(e->d->fibers, "timer", run, e);
    CRS_ASSERT(st == CEREUS_OK);
}

/** Is it time for a call, now that the alarm rang? */
static bool is_due(entry *e)
{
    if (e->spec.kind == CRS_TIMER_EVERY)
        return true;
    int64_t now_ms = crs_loop_unix_now_ms(e->d->loop);
    return e->spec.kind == CRS_TIMER_WHEN ? e->spec.check(now_ms, e->spec.user) : e->cron_due * 1000 <= now_ms;
}

static void on_alarm(crs_timer *alarm)
{
    entry *e = CRS_CONTAINER(alarm, entry, alarm);
    if (!may_call(e))
        return; /* stopped: the news of that are under way */
    bool due = is_due(e), call = due && !e->busy;
    if (due && e->busy)
        CRS_COUNT(&e->d->loop->counters, timer_overruns);
    if (call && e->left > 0)
        e->left--;
    if (call)
        e->busy = true;
    if (e->left != 0 && !arm(e) && !call)
        return;
    if (!call)
        return;
    e->mail.run = begin;
    crs_dispatch_when_fiber(e->d, &e->mail); /* last: it may free the entry */
}

static void read_news(crs_loop *loop, crs_mail *mail)
{
    home *h = CRS_CONTAINER(mail, home, wake);
    crs_app_timers *t = h->timers;
    pthread_mutex_lock(&t->mu);
    if (!h->read) {
        h->read = h->news;
        h->news = NULL;
    }
    pthread_mutex_unlock(&t->mu);
    for (int i = 0; i < NEWS_A_TURN && h->read; i++) { /* the rest waits: nobody may hold this loop with news */
        entry *e = h->read;
        h->read = e->next_new; /* ours as long as the entry is in the news */
        pthread_mutex_lock(&t->mu);
        e->in_news = false;
        bool stopped = e->stopped, running = t->state == RUNNING;
        pthread_mutex_unlock(&t->mu);
        if (stopped) {
            if (!e->busy) /* else its call frees it */
                release(e);
        } else if (running) {
            crs_timer_init(&e->alarm, on_alarm);
            arm(e);
        }
    }
    pthread_mutex_lock(&t->mu);
    h->awake = false;
    if (h->news || h->read)
        wake_locked(t, loop->index);
    uint64_t refused = loop->index == 0 ? t->refused : 0;
    t->refused -= refused;
    pthread_mutex_unlock(&t->mu);
    if (refused)
        CRS_COUNT_N(&loop->counters, timers_refused, refused);
}

/* ---- from any thread ---- */

static cereus_status insert_locked(crs_app_timers *t, entry *e, cereus_error *err)
{
    if (t->state == STOPPED)
        return crs_fail(err, CEREUS_E_STATE, "timer: the app has stopped");
    if (t->count >= t->max || t->ended >= t->max) {
        t->refused++;
        if (t->state == RUNNING)
            wake_locked(t, 0);
        return crs_fail(err, CEREUS_E_FULL, "timer: there are %zu already (cereus.timers.max)",
                        CRS_MAX(t->count, t->ended));
    }
    e->id = take_slot_locked(t, e);
    if (!e->id)
        return crs_fail(err, CEREUS_E_NOMEM, "timer: out of memory");
    crs_list_push(&t->all, &e->link);
    if (t->state == RUNNING) {
        settle_locked(e, home_of(t, e->service));
        tell_home_locked(e);
    }
    return CEREUS_OK;
}

cereus_status crs_app_timers_add(crs_app_timers *t, const crs_timer_spec *spec, cereus_timer_id *ret_id,
                                 cereus_error *err)
{
    const crs_service *service = NULL;
    if (spec->service && *spec->service && !(service = crs_registry_service(&t->core->registry, spec->service)))
        return crs_fail(err, CEREUS_E_NOT_FOUND, "timer: there is no service \"%s\"", spec->service);
    entry *e = crs_zalloc(sizeof *e);
    if (!e)
        return crs_fail(err, CEREUS_E_NOMEM, "timer: out of memory");
    e->timers = t;
    e->spec = *spec;
    e->spec.service = NULL; /* the caller's */
    e->service = service;
    e->left = spec->count;
    crs_list_init(&e->link);
    pthread_mutex_lock(&t->mu);
    cereus_status st = insert_locked(t, e, err);
    cereus_timer_id id = e->id; /* once the lock is free, it may be over */
    pthread_mutex_unlock(&t->mu);
    if (st)
        crs_free(e);
    else if (ret_id)
        *ret_id = id;
    return st;
}

cereus_status crs_app_timers_remove(crs_app_timers *t, cereus_timer_id id)
{
    entry *mine = NULL;
    pthread_mutex_lock(&t->mu);
    slot *s = find_locked(t, id);
    cereus_status st = s ? CEREUS_OK : CEREUS_E_GONE;
    if (s) {
        entry *e = s->timer;
        free_slot_locked(t, s);
        e->stopped = true;
        if (t->state == RUNNING) {
            t->ended++;
            tell_home_locked(e);
        } else if (t->state == SETUP) {
            crs_list_remove(&e->link);
            mine = e;
        } /* after the stop: loops may still look at it; it goes with the table */
    }
    pthread_mutex_unlock(&t->mu);
    crs_free(mine);
    return st;
}
