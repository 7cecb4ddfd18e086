/* loop/loop.c: a libuv loop with a mailbox, our timers over one timerfd, and hooks at the end of each turn (a
 * uv_prepare, which runs after everything that a turn did and right before the loop sleeps). */
#include "loop/loop.h"

#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

_Thread_local crs_loop *crs_loop_current;

crs_loop *crs_loop_enter(crs_loop *loop)
{
    crs_loop *was = crs_loop_current;
    crs_loop_current = loop;
    return was;
}

static void drain_mail(crs_loop *loop)
{
    /* acquire: pairs with the release in push_mail(), the item's content is complete */
    crs_mail *newest = atomic_exchange_explicit(&loop->mail, NULL, memory_order_acquire);
    crs_mail *oldest = NULL;
    while (newest) { /* turn the stack around: first posted, first run */
        crs_mail *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        crs_mail *next = oldest->next; /* run() may free the item */
        atomic_fetch_sub_explicit(&loop->mail_count, 1, memory_order_relaxed);
        oldest->run(loop, oldest);
        oldest = next;
    }
    uint64_t refused = atomic_exchange_explicit(&loop->refused, 0, memory_order_relaxed);
    if (refused)
        CRS_COUNT_N(&loop->counters, mailbox_full, refused);
}

static void on_wake(uv_async_t *handle)
{
    crs_loop *loop = handle->data;
    crs_loop_update_now(loop);
    drain_mail(loop);
}

static void set_alarm(crs_loop *loop, uint64_t due_us)
{
    struct itimerspec when = {0};
    loop->timer_due_us = due_us;
    loop->timer_rang = false; /* setting it takes that back */
    if (due_us != UINT64_MAX) {
        when.it_value.tv_sec = (time_t)(due_us / 1000000);
        when.it_value.tv_nsec = (long)(due_us % 1000000 * 1000) + 1; /* never 0, which would stop it */
    }
    int rc = timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    CRS_ASSERT(rc == 0);
}

static void on_timer(uv_poll_t *handle, int status, int events)
{
    CRS_UNUSED(status);
    CRS_UNUSED(events);
    crs_loop *loop = handle->data;
    crs_loop_update_now(loop);
    crs_timers_run(&loop->timers, loop->now_us);
    loop->timer_rang = true;
}

/** One that is set too early is left alone: it rings for nothing once, and most timers are moved away before. */
static void arm_timer(crs_loop *loop)
{
    uint64_t next = crs_timers_next_us(&loop->timers);
    if (loop->clock) /* crs_loop_turn() looks at it */
        return;
    if (next < loop->timer_due_us || loop->timer_rang)
        set_alarm(loop, next);
}

static void on_idle(uv_idle_t *handle)
{
    CRS_UNUSED(handle); /* an active idle handle keeps the poll from sleeping: that is all it is for */
}

/** Whether there are some for the next turn. */
static bool run_deferred(crs_loop *loop)
{
    crs_list due;
    crs_list_init(&due);
    if (!crs_list_empty(&loop->deferred)) {
        crs_list_push(loop->deferred.next, &due); /* the whole ring, with `due` in place of the loop's head */
        crs_list_remove(&loop->deferred);
    }
    for (crs_list *link; (link = crs_list_pop(&due));) {
        crs_deferred *deferred = CRS_CONTAINER(link, crs_deferred, link);
        deferred->fn(deferred);
    }
    return !crs_list_empty(&loop->deferred);
}

static void on_prepare(uv_prepare_t *handle)
{
    crs_loop *loop = handle->data;
    bool more = false;
    loop->again = false;
    for (size_t i = 0; i < loop->hook_count; i++)
        more |= loop->hooks[i].fn(loop->hooks[i].user);
    more |= run_deferred(loop);
    more |= loop->again;
    if (more != (bool)uv_is_active((uv_handle_t *)&loop->idle)) {
        if (more)
            uv_idle_start(&loop->idle, on_idle);
        else
            uv_idle_stop(&loop->idle);
    }
    arm_timer(loop);
}

cereus_status crs_loop_new(const crs_loop_options *opt, crs_loop **ret_loop, cereus_error *err)
{
    crs_loop *loop = crs_zalloc(sizeof *loop);
    uint8_t *read_buf = crs_malloc(CRS_READ_BUFFER_LEN);
    if (!loop || !read_buf) {
        crs_free(loop);
        crs_free(read_buf);
        return crs_fail(err, CEREUS_E_NOMEM, "loop: out of memory");
    }
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int rc = loop->timer_fd < 0 ? uv_translate_sys_error(errno) : uv_loop_init(&loop->uv);
    if (rc) {
        if (loop->timer_fd >= 0)
            close(loop->timer_fd);
        crs_free(loop);
        crs_free(read_buf);
        return crs_fail(err, CEREUS_E_IO, "loop: %s (more file descriptors needed? see ulimit -n)", uv_strerror(rc));
    }
    loop->read_buf = read_buf;
    loop->log = opt->log;
    loop->clock = opt->clock;
    loop->clock_user = opt->clock_user;
    loop->index = opt->index;
    loop->random = opt->seed;
    if (!loop->random && getrandom(&loop->random, sizeof loop->random, 0) != (ssize_t)sizeof loop->random)
        loop->random = uv_hrtime();
    loop->mail_capacity = opt->mailbox_capacity;
    loop->timer_due_us = UINT64_MAX;
    crs_timers_init(&loop->timers);
    crs_list_init(&loop->deferred);
    loop->wake.data = loop->timer.data = loop->prepare.data = loop->idle.data = loop;
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_prepare_start(&loop->prepare, on_prepare);
    crs_loop_update_now(loop);
    loop->unix_base_ms = (uint64_t)crs_loop_unix_now_ms(loop) - loop->now_ms;
    rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (!rc)
        rc = uv_poll_init(&loop->uv, &loop->timer, loop->timer_fd);
    if (!rc)
        rc = uv_poll_start(&loop->timer, UV_READABLE, on_timer);
    if (rc) {
        crs_loop_free(loop);
        return crs_fail(err, CEREUS_E_IO, "loop: %s", uv_strerror(rc));
    }
    *ret_loop = loop;
    return CEREUS_OK;
}

static void close_handle(uv_handle_t *handle, void *user)
{
    CRS_UNUSED(user);
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

crs_loop *crs_loop_free(crs_loop *loop)
{
    if (!loop)
        return NULL;
    crs_loop *was = crs_loop_enter(loop);
    while (atomic_load_explicit(&loop->mail, memory_order_relaxed)) /* mail may post more */
        drain_mail(loop);
    uv_walk(&loop->uv, close_handle, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT); /* close callbacks */
    int rc = uv_loop_close(&loop->uv);
    CRS_ASSERT(rc == 0);
    crs_loop_enter(was == loop ? NULL : was);
    close(loop->timer_fd);
    crs_timers_fini(&loop->timers);
    crs_free(loop->read_buf);
    crs_free(loop);
    return NULL;
}

uint64_t crs_loop_random(crs_loop *loop, uint64_t bound)
{
    loop->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = loop->random;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % bound;
}

void crs_loop_run(crs_loop *loop)
{
    crs_loop *was = crs_loop_enter(loop);
    loop->stopping = false;
    crs_loop_update_now(loop);
    while (!loop->stopping) {
        uv_run(&loop->uv, UV_RUN_ONCE);
        crs_loop_update_now(loop);
    }
    crs_loop_enter(was);
}

void crs_loop_turn(crs_loop *loop)
{
    crs_loop_assert_current(loop);
    crs_loop_update_now(loop);
    crs_timers_run(&loop->timers, loop->now_us);
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    crs_loop_update_now(loop);
}

void crs_loop_stop(crs_loop *loop)
{
    crs_loop_assert_current(loop);
    loop->stopping = true;
    uv_stop(&loop->uv);
}

void crs_loop_add_hook(crs_loop *loop, crs_turn_fn *fn, void *user)
{
    CRS_ASSERT(loop->hook_count < CRS_TURN_HOOKS_MAX);
    loop->hooks[loop->hook_count].fn = fn;
    loop->hooks[loop->hook_count++].user = user;
}

static bool no_hook(void *user)
{
    CRS_UNUSED(user);
    return false;
}

void crs_loop_remove_hook(crs_loop *loop, crs_turn_fn *fn, void *user)
{
    for (size_t i = 0; i < loop->hook_count; i++) {
        if (loop->hooks[i].fn == fn && loop->hooks[i].user == user) {
            loop->hooks[i].fn = no_hook; /* the turn may be among them: none moves */
            return;
        }
    }
}

void crs_loop_defer(crs_loop *loop, crs_deferred *deferred)
{
    crs_loop_assert_current(loop);
    if (crs_list_empty(&deferred->link))
        crs_list_push(&loop->deferred, &deferred->link);
}

static void push_mail(crs_loop *loop, crs_mail *mail)
{
    crs_mail *head = atomic_load_explicit(&loop->mail, memory_order_relaxed);
    do {
        mail->next = head;
        /* release: pairs with the acquire in drain_mail() */
    } while (
        !atomic_compare_exchange_weak_explicit(&loop->mail, &head, mail, memory_order_release, memory_order_relaxed));
    if (!head)
        uv_async_send(&loop->wake); /* only the first of a batch has to wake the loop */
}

cereus_status crs_loop_post(crs_loop *loop, crs_mail *mail)
{
    if (atomic_fetch_add_explicit(&loop->mail_count, 1, memory_order_relaxed) >= loop->mail_capacity) {
        atomic_fetch_sub_explicit(&loop->mail_count, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&loop->refused, 1, memory_order_relaxed);
        return CEREUS_E_FULL;
    }
    push_mail(loop, mail);
    return CEREUS_OK;
}

void crs_loop_post_reserved(crs_loop *loop, crs_mail *mail)
{
    atomic_fetch_add_explicit(&loop->mail_count, 1, memory_order_relaxed);
    push_mail(loop, mail);
}

cereus_status crs_loop_timer_start(crs_loop *loop, crs_timer *timer, uint64_t delay_ms)
{
    crs_loop_assert_current(loop);
    return crs_timer_start(&loop->timers, timer, loop->now_us + delay_ms * 1000);
}

cereus_status crs_loop_timer_start_at(crs_loop *loop, crs_timer *timer, uint64_t due_ms)
{
    crs_loop_assert_current(loop);
    return crs_timer_start(&loop->timers, timer, due_ms < UINT64_MAX / 1000 ? due_ms * 1000 : UINT64_MAX);
}

void crs_loop_timer_stop(crs_loop *loop, crs_timer *timer)
{
    crs_timer_stop(&loop->timers, timer);
}
