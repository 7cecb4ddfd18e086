/* loop/timer.c: a binary heap that tells each timer its place, so that stopping needs no search. */
#include "loop/timer.h"

void crs_timers_init(crs_timers *t)
{
    *t = (crs_timers){0};
}

void crs_timers_fini(crs_timers *t)
{
    crs_free(t->heap);
    crs_timers_init(t);
}

uint64_t crs_timers_next_us(const crs_timers *t)
{
    return t->count ? t->heap[0]->due_us : UINT64_MAX;
}

static void place(crs_timers *t, size_t i, crs_timer *timer)
{
    t->heap[i] = timer;
    timer->slot = i + 1;
}

static void sift_up(crs_timers *t, size_t i, crs_timer *timer)
{
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (t->heap[parent]->due_us <= timer->due_us)
            break;
        place(t, i, t->heap[parent]);
        i = parent;
    }
    place(t, i, timer);
}

static void sift_down(crs_timers *t, size_t i, crs_timer *timer)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->count)
            break;
        if (child + 1 < t->count && t->heap[child + 1]->due_us < t->heap[child]->due_us)
            child++;
        if (timer->due_us <= t->heap[child]->due_us)
            break;
        place(t, i, t->heap[child]);
        i = child;
    }
    place(t, i, timer);
}

cereus_status crs_timer_start(crs_timers *t, crs_timer *timer, uint64_t due_us)
{
    if (timer->slot) {
        size_t i = timer->slot - 1;
        bool later = due_us > timer->due_us;
        timer->due_us = due_us;
        if (later)
            sift_down(t, i, timer);
        else
            sift_up(t, i, timer);
        return CEREUS_OK;
    }
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        crs_timer **heap = crs_realloc(t->heap, cap * sizeof *heap);
        if (!heap)
            return CEREUS_E_NOMEM;
        t->heap = heap;
        t->cap = cap;
    }
    timer->due_us = due_us;
    sift_up(t, t->count++, timer);
    return CEREUS_OK;
}

void crs_timer_stop(crs_timers *t, crs_timer *timer)
{
    if (!timer->slot)
        return;
    size_t i = timer->slot - 1;
    timer->slot = 0;
    crs_timer *last = t->heap[--t->count];
    if (last == timer)
        return;
    if (last->due_us < timer->due_us)
        sift_up(t, i, last);
    else
        sift_down(t, i, last);
}

void crs_timers_run(crs_timers *t, uint64_t now_us)
{
    /* at most as many calls as timers run now: one that restarts itself for "now" cannot keep this from returning */
    for (size_t budget = t->count; budget > 0 && t->count && t->heap[0]->due_us <= now_us; budget--) {
        crs_timer *timer = t->heap[0];
        crs_timer_stop(t, timer);
        timer->fn(timer);
    }
}
