/* fiber/fiber.c: stacks, the switch and the ready list.
 *
 * Stacks come from slabs of SLAB_STACKS that are mapped when needed; only touched pages cost memory. The lowest page of
 * a stack is a guard: MADV_GUARD_INSTALL where the kernel has it (no mapping is split), else mprotect. The library is
 * built with -fstack-clash-protection, so a large frame cannot step over the guard.
 *
 * A stack keeps its context between two functions: the entry function loops, so starting a fiber again is one switch.
 * Every switch is announced to ASan and TSan, in the order that their headers ask for.
 */
#include "fiber/fiber.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define CRS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CRS_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define CRS_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define CRS_TSAN 1
#endif
#ifdef CRS_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CRS_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

/* Boost.Context's C entry points (libboost_context, not declared in any C header of it) */
typedef void *fcontext_t;
typedef struct transfer {
    fcontext_t fctx;
    void *data;
} transfer;
extern transfer jump_fcontext(fcontext_t to, void *data);
extern fcontext_t make_fcontext(void *stack_top, size_t size, void (*fn)(transfer));

enum { SLAB_STACKS = 64, GUARD_LEN = 4096, STACK_MIN = 16 * 1024 };

typedef enum fiber_state { FIBER_FREE, FIBER_READY, FIBER_RUNNING, FIBER_PARKED } fiber_state;

struct crs_fiber {
    crs_list link;      /* on `ready`, or on the pool's `alive` */
    crs_fibers *fibers; /* set once */
    fcontext_t ctx;     /* where it goes on */
    fcontext_t back;    /* the loop's stack, while running */
    crs_fiber_fn *fn;
    void *arg;
    const char *name;
    uint64_t tag;
    crs_timer timer;     /* the deadline of a wait */
    cereus_status woken; /* what wait() returns */
    fiber_state state;
    bool cancelled;
    bool uninterrupted; /* parked where only wake() helps */
    crs_fiber *free_next;
    crs_list alive; /* on the pool's list while not free */
    crs_arena arena;
    uint8_t *stack; /* lowest byte, the guard's */
#ifdef CRS_ASAN
    void *fake_stack;
#endif
#ifdef CRS_TSAN
    void *tsan;
#endif
};

typedef struct slab {
    uint8_t *base;
    crs_fiber fibers[SLAB_STACKS];
} slab;

struct crs_fibers {
    crs_loop *loop;
    size_t stack_len;
    size_t max;     /* alive at once, of those that are started the usual way */
    size_t max_all; /* and with the reserve */
    size_t arena_max;
    size_t alive_count;
    crs_fiber *current;   /* running now */
    crs_fiber *free_list; /* last used first: warm pages */
    crs_list ready;
    crs_list alive;
    bool cancelling;
    crs_fibers_activity activity;
    const char *held_name;  /* of the last one that ran since `held_since_us` */
    uint64_t held_since_us; /* as the loop's clock showed it */
    uint32_t held_count;    /* so many ran since then */
    uint32_t careful;       /* so often, look at the clock between two fibers */
    crs_fiber_hold *holds;  /* CRS_HOLDS_MAX; NULL: there was none yet */
    size_t hold_count;
    slab **slabs;
    size_t slab_count;
    size_t made; /* stacks taken from slabs so far */
#ifdef CRS_ASAN
    const void *loop_stack;
    size_t loop_stack_len;
    void *loop_fake_stack;
#endif
#ifdef CRS_TSAN
    void *loop_tsan;
#endif
};

static _Thread_local crs_fibers *watched; /* whose stacks the overflow handler of this thread knows */

/* ---- the switch ---- */

/** jump_fcontext() does not return, but jumps. A call of it would be one without its return, and from then on the processor
 * would guess wrongly where each function around it returns to, on both stacks: so it is entered by a jump, too. */
static inline __attribute__((always_inline)) fcontext_t jump(fcontext_t to, void *data)
{
#if defined(__x86_64__) && !defined(__AVX512F__) && !defined(CRS_ASAN) && !defined(CRS_TSAN)
    fcontext_t from;
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\t" /* past the red zone */
                     "lea 1f(%%rip), %%rcx\n\t"
                     "push %%rcx\n\t"
                     "jmp jump_fcontext@PLT\n"
                     "1:\n\t"
                     "lea 128(%%rsp), %%rsp"
                     : "=a"(from), "+D"(to), "+S"(data)
                     :
                     : "rcx", "rdx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
    return from;
#else
    return jump_fcontext(to, data).fctx;
#endif
}

static void entered_fiber(crs_fiber *f)
{
#ifdef CRS_ASAN
    __sanitizer_finish_switch_fiber(f->fake_stack, &f->fibers->loop_stack, &f->fibers->loop_stack_len);
#endif
    CRS_UNUSED(f);
}

static inline __attribute__((always_inline)) void switch_to_loop(crs_fiber *f)
{
#ifdef CRS_ASAN
    __sanitizer_start_switch_fiber(&f->fake_stack, f->fibers->loop_stack, f->fibers->loop_stack_len);
#endif
#ifdef CRS_TSAN
    __tsan_switch_to_fiber(f->fibers->loop_tsan, 0);
#endif
    f->back = jump(f->back, NULL);
    entered_fiber(f);
}

static void fiber_main(transfer from)
{
    crs_fiber *f = from.data;
    f->back = from.fctx;
    entered_fiber(f);
    for (;;) {
        f->fn(f, f->arg);
        f->state = FIBER_FREE;
        switch_to_loop(f);
    }
}

/* ---- what holds the loop ----
 *
 * The loop looks at its clock before each socket and at the end of each turn. What passed between two looks was spent by
 * the fibers that ran meanwhile: mostly one, and the time is its own. Where it was long and there were several, the next
 * ones are told apart by looks in between, which cost something, but only a server that has such handlers. */

enum { CAREFUL_RUNS = 10000 };

/** The place for one called @p name: its own, a free one, or that of the one with the shortest; NULL: none is due. */
static crs_fiber_hold *find_hold(crs_fibers *fibers, const char *name, uint64_t held_us)
{
    crs_fiber_hold *least = NULL;
    for (size_t i = 0; i < fibers->hold_count; i++) {
        crs_fiber_hold *h = &fibers->holds[i];
        if (strncmp(h->name, name, sizeof h->name - 1) == 0)
            return h;
        if (!least || h->max_us < least->max_us)
            least = h;
    }
    if (fibers->hold_count < CRS_HOLDS_MAX)
        least = &fibers->holds[fibers->hold_count++];
    else if (least->max_us > held_us)
        return NULL;
    *least = (crs_fiber_hold){0};
    snprintf(least->name, sizeof least->name, "%s", name);
    return least;
}

static void add_hold(crs_fibers *fibers, uint64_t held_us)
{
    if (!fibers->holds && !(fibers->holds = crs_zalloc(CRS_HOLDS_MAX * sizeof *fibers->holds)))
        return;
    bool shared = fibers->held_count > 1;
    if (shared)
        fibers->careful = CAREFUL_RUNS;
    crs_fiber_hold *h = find_hold(fibers, fibers->held_name, held_us);
    if (!h)
        return;
    h->count++;
    h->total_us += held_us;
    if (held_us > h->max_us) {
        h->max_us = held_us;
        h->tag = atomic_load_explicit(&fibers->activity.tag, memory_order_relaxed);
        h->shared = shared;
    }
}

/** The loop has looked at its clock since. */
static void end_hold(crs_fibers *fibers)
{
    uint64_t now_us = fibers->loop->now_us;
    if (CRS_UNLIKELY(now_us - fibers->held_since_us >= CRS_HOLD_MIN_US) && fibers->held_count)
        add_hold(fibers, now_us - fibers->held_since_us);
    fibers->held_since_us = now_us;
    fibers->held_count = 0;
}

static inline void begin_hold(crs_fibers *fibers, const char *name)
{
    if (CRS_UNLIKELY(fibers->careful) && fibers->held_count) {
        fibers->careful--;
        crs_loop_update_now(fibers->loop);
    }
    if (fibers->loop->now_us != fibers->held_since_us)
        end_hold(fibers);
    fibers->held_name = name;
    fibers->held_count++;
}

void crs_fibers_end_turn(crs_fibers *fibers)
{
    if (!fibers->held_count)
        return;
    crs_loop_update_now(fibers->loop);
    end_hold(fibers);
}

const crs_fiber_hold *crs_fibers_holds(const crs_fibers *fibers, size_t *ret_count)
{
    *ret_count = fibers->hold_count;
    return fibers->holds;
}

size_t crs_fibers_made(const crs_fibers *fibers, size_t *ret_stack_len)
{
    *ret_stack_len = fibers->stack_len;
    return fibers->made;
}

/** Run @p f until it parks or ends. On the loop's stack only. */
static void resume(crs_fiber *f)
{
    crs_fibers *fibers = f->fibers;
    CRS_ASSERT(!fibers->current);
    begin_hold(fibers, f->name);
    fibers->current = f;
    f->state = FIBER_RUNNING;
    atomic_store_explicit(&fibers->activity.tag, f->tag, memory_order_relaxed);
    atomic_store_explicit(&fibers->activity.name, f->name, memory_order_relaxed);
    atomic_store_explicit(&fibers->activity.resumes,
                          atomic_load_explicit(&fibers->activity.resumes, memory_order_relaxed) + 1,
                          memory_order_relaxed);
#ifdef CRS_ASAN
    __sanitizer_start_switch_fiber(&fibers->loop_fake_stack, f->stack + GUARD_LEN, fibers->stack_len - GUARD_LEN);
#endif
#ifdef CRS_TSAN
    fibers->loop_tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(f->tsan, 0);
#endif
    f->ctx = jump(f->ctx, f);
#ifdef CRS_ASAN
    __sanitizer_finish_switch_fiber(fibers->loop_fake_stack, NULL, NULL);
#endif
    fibers->current = NULL;
    atomic_store_explicit(&fibers->activity.name, NULL, memory_order_relaxed);
    if (f->state != FIBER_FREE)
        return;
    crs_arena_reset(&f->arena);
    crs_list_remove(&f->alive);
    fibers->alive_count--;
    f->free_next = fibers->free_list;
    fibers->free_list = f;
}

/** To be resumed at the end of the turn. */
static void make_ready(crs_fiber *f)
{
    f->state = FIBER_READY;
    crs_list_push(&f->fibers->ready, &f->link);
    crs_loop_again(f->fibers->loop);
}

/* ---- the pool ---- */

static bool run_ready(void *user)
{
    crs_fibers *fibers = user;
    if (fibers->held_count)
        end_hold(fibers); /* what ran on sockets and mail: the loop has looked at its clock behind them */
    crs_list batch; /* those ready now: one that keeps making others ready must not keep the loop from its sockets */
    if (crs_list_empty(&fibers->ready))
        return false;
    batch = fibers->ready;
    batch.next->prev = &batch;
    batch.prev->next = &batch;
    crs_list_init(&fibers->ready);
    crs_list *link;
    while ((link = crs_list_pop(&batch)))
        resume(CRS_CONTAINER(link, crs_fiber, link));
    return !crs_list_empty(&fibers->ready);
}

cereus_status crs_fibers_new(crs_loop *loop, const crs_fibers_options *opt, crs_fibers **ret_fibers, cereus_error *err)
{
    crs_fibers *fibers = crs_zalloc(sizeof *fibers);
    size_t max_all = opt->max + opt->reserve;
    size_t slabs = (max_all + SLAB_STACKS - 1) / SLAB_STACKS;
    slab **table = crs_zalloc(slabs * sizeof *table);
    if (!fibers || !table) {
        crs_free(fibers);
        crs_free(table);
        return crs_fail(err, CEREUS_E_NOMEM, "fibers: out of memory");
    }
    fibers->loop = loop;
    fibers->slabs = table;
    fibers->max = opt->max;
    fibers->max_all = max_all;
    fibers->arena_max = opt->arena_max;
    fibers->stack_len = CRS_MAX((opt->stack_len + 4095) & ~(size_t)4095, (size_t)STACK_MIN);
    crs_list_init(&fibers->ready);
    crs_list_init(&fibers->alive);
    crs_loop_add_hook(loop, run_ready, fibers);
    *ret_fibers = fibers;
    return CEREUS_OK;
}

crs_fibers *crs_fibers_free(crs_fibers *fibers)
{
    if (!fibers)
        return NULL;
    CRS_ASSERT(fibers->alive_count == 0);
    if (watched == fibers)
        watched = NULL;
    for (size_t i = 0; i < fibers->made; i++) {
        crs_fiber *f = &fibers->slabs[i / SLAB_STACKS]->fibers[i % SLAB_STACKS];
        crs_arena_fini(&f->arena);
#ifdef CRS_TSAN
        __tsan_destroy_fiber(f->tsan);
#endif
    }
    for (size_t i = 0; i < fibers->slab_count; i++) {
        munmap(fibers->slabs[i]->base, SLAB_STACKS * fibers->stack_len);
        crs_free(fibers->slabs[i]);
    }
    crs_free(fibers->slabs);
    crs_free(fibers->holds);
    crs_free(fibers);
    return NULL;
}

static bool add_slab(crs_fibers *fibers)
{
    slab *s = crs_zalloc(sizeof *s);
    if (!s)
        return false;
    size_t len = SLAB_STACKS * fibers->stack_len;
    s->base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (s->base == MAP_FAILED) {
        crs_free(s);
        return false;
    }
    madvise(s->base, len, MADV_NOHUGEPAGE); /* else one touched page may become two megabytes */
    fibers->slabs[fibers->slab_count++] = s;
    return true;
}

static crs_fiber *make_fiber(crs_fibers *fibers)
{
    if (fibers->made == fibers->max_all)
        return NULL;
    if (fibers->made == fibers->slab_count * SLAB_STACKS && !add_slab(fibers))
        return NULL;
    slab *s = fibers->slabs[fibers->made / SLAB_STACKS];
    size_t i = fibers->made % SLAB_STACKS;
    uint8_t *stack = s->base + i * fibers->stack_len;
    if (madvise(stack, GUARD_LEN, MADV_GUARD_INSTALL) != 0 && mprotect(stack, GUARD_LEN, PROT_NONE) != 0)
        return NULL; /* out of mappings (vm.max_map_count): better too few fibers than one without a guard */
    fibers->made++;
    crs_fiber *f = &s->fibers[i];
    f->fibers = fibers;
    f->stack = stack;
    f->ctx = make_fcontext(stack + fibers->stack_len, fibers->stack_len - GUARD_LEN, fiber_main);
    crs_list_init(&f->link);
    crs_list_init(&f->alive);
    crs_arena_init(&f->arena, fibers->arena_max);
#ifdef CRS_TSAN
    f->tsan = __tsan_create_fiber(0);
#endif
    return f;
}

size_t crs_fibers_alive(const crs_fibers *fibers)
{
    return fibers->alive_count;
}

bool crs_fibers_available(crs_fibers *fibers)
{
    if (fibers->alive_count >= fibers->max)
        return false;
    if (!fibers->free_list) {
        crs_fiber *f = make_fiber(fibers);
        if (!f)
            return false;
        f->free_next = NULL;
        fibers->free_list = f;
    }
    return true;
}

void crs_fiber_set_name(crs_fiber *fiber, const char *name)
{
    fiber->name = name;
    if (fiber->fibers->current == fiber)
        atomic_store_explicit(&fiber->fibers->activity.name, name, memory_order_relaxed);
}

void crs_fiber_set_tag(crs_fiber *fiber, uint64_t tag)
{
    fiber->tag = tag;
    if (fiber->fibers->current == fiber)
        atomic_store_explicit(&fiber->fibers->activity.tag, tag, memory_order_relaxed);
}

crs_fibers_activity *crs_fibers_watch(crs_fibers *fibers)
{
    return &fibers->activity;
}

bool crs_fiber_flagged(const crs_fiber *fiber)
{
    const crs_fibers_activity *a = &fiber->fibers->activity;
    return atomic_load_explicit(&a->flagged, memory_order_relaxed) ==
           atomic_load_explicit(&a->resumes, memory_order_relaxed);
}

static void on_deadline(crs_timer *timer)
{
    crs_fiber_wake(CRS_CONTAINER(timer, crs_fiber, timer), CEREUS_E_TIMEOUT);
}

cereus_status crs_fiber_start(crs_fibers *fibers, const char *name, crs_fiber_fn *fn, void *arg)
{
    return fibers->alive_count < fibers->max ? crs_fiber_start_reserved(fibers, name, fn, arg) : CEREUS_E_FULL;
}

cereus_status crs_fiber_start_reserved(crs_fibers *fibers, const char *name, crs_fiber_fn *fn, void *arg)
{
    crs_loop_assert_current(fibers->loop);
    crs_fiber *f = fibers->free_list;
    if (f)
        fibers->free_list = f->free_next;
    else if (!(f = make_fiber(fibers)))
        return CEREUS_E_FULL;
    f->fn = fn;
    f->arg = arg;
    f->name = name;
    f->tag = 0;
    f->cancelled = fibers->cancelling;
    f->uninterrupted = false;
    crs_timer_init(&f->timer, on_deadline);
    crs_list_push(&fibers->alive, &f->alive);
    fibers->alive_count++;
    if (fibers->current) {
        make_ready(f);
    } else {
        resume(f);
    }
    return CEREUS_OK;
}

crs_fiber *crs_fiber_current(const crs_fibers *fibers)
{
    return fibers->current;
}

crs_arena *crs_fiber_arena(crs_fiber *fiber)
{
    return &fiber->arena;
}

crs_loop *crs_fiber_loop(const crs_fiber *fiber)
{
    return fiber->fibers->loop;
}

crs_fibers *crs_fiber_pool(const crs_fiber *fiber)
{
    return fiber->fibers;
}

/* ---- waiting ---- */

static cereus_status park(crs_fiber *f)
{
    CRS_ASSERT(f->fibers->current == f);
    f->state = FIBER_PARKED;
    switch_to_loop(f);
    return f->woken;
}

cereus_status crs_fiber_wait(crs_fiber *fiber, uint64_t deadline_us)
{
    crs_loop *loop = fiber->fibers->loop;
    if (fiber->cancelled)
        return CEREUS_E_CANCELLED;
    if (deadline_us != UINT64_MAX) {
        if (deadline_us <= loop->now_us)
            deadline_us = loop->now_us; /* at the end of this turn: a wait always lets the others have theirs */
        CEREUS_TRY(crs_timer_start(&loop->timers, &fiber->timer, deadline_us));
    }
    return park(fiber);
}

cereus_status crs_fiber_wait_uninterrupted(crs_fiber *fiber)
{
    fiber->uninterrupted = true;
    cereus_status st = park(fiber);
    fiber->uninterrupted = false;
    return st;
}

void crs_fiber_wake(crs_fiber *fiber, cereus_status status)
{
    crs_loop_assert_current(fiber->fibers->loop);
    if (fiber->state != FIBER_PARKED)
        return;
    crs_loop_timer_stop(fiber->fibers->loop, &fiber->timer);
    fiber->woken = status;
    make_ready(fiber);
}

void crs_fiber_cancel(crs_fiber *fiber)
{
    fiber->cancelled = true;
    if (!fiber->uninterrupted)
        crs_fiber_wake(fiber, CEREUS_E_CANCELLED);
}

bool crs_fiber_cancelled(const crs_fiber *fiber)
{
    return fiber->cancelled;
}

void crs_fibers_cancel_all(crs_fibers *fibers)
{
    crs_loop_assert_current(fibers->loop);
    fibers->cancelling = true;
    for (crs_list *l = fibers->alive.next; l != &fibers->alive; l = l->next)
        crs_fiber_cancel(CRS_CONTAINER(l, crs_fiber, alive));
}

void crs_fibers_cancel_none(crs_fibers *fibers)
{
    crs_loop_assert_current(fibers->loop);
    fibers->cancelling = false;
}

/* ---- stack overflow ---- */

#ifndef CRS_ASAN /* which reports overflows itself, with a trace */
static void on_fault(int sig, siginfo_t *info, void *ucontext)
{
    CRS_UNUSED(ucontext);
    crs_fibers *fibers = watched;
    uint8_t *at = info->si_addr;
    for (size_t i = 0; fibers && i < fibers->slab_count; i++) {
        slab *s = fibers->slabs[i];
        if (at < s->base || at >= s->base + SLAB_STACKS * fibers->stack_len)
            continue;
        size_t slot = (size_t)(at - s->base) / fibers->stack_len;
        if ((size_t)(at - s->base) % fibers->stack_len >= GUARD_LEN)
            break;
        const char *name = s->fibers[slot].name;
        char msg[300];
        int n =
            snprintf(msg, sizeof msg,
                     "cereus: stack overflow on the fiber of %.150s: its stack has %zu bytes (cereus.fibers.stack)\n",
                     name ? name : "?", fibers->stack_len - GUARD_LEN);
        if (n > 0 && write(STDERR_FILENO, msg, (size_t)n) < 0)
            break;
    }
    signal(sig, SIG_DFL); /* the access faults again and dumps core on the right stack */
}
#endif

void crs_fibers_catch_overflow(void)
{
#ifndef CRS_ASAN
    static _Thread_local uint8_t alt_stack[32 * 1024];
    stack_t ss = {.ss_sp = alt_stack, .ss_size = sizeof alt_stack};
    sigaltstack(&ss, NULL);
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
#endif
}

void crs_fibers_watch_overflow(crs_fibers *fibers)
{
    watched = fibers;
}
