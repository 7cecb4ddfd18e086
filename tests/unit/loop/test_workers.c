/* tests/unit/loop/test_workers.c */
#include "loop.h"

#include <pthread.h>

#include "loop/workers.h"

/* What the workers do is held up by a gate, so that the queue fills as the test wants. */
typedef struct world {
    crs_loop *loop;
    crs_workers *workers;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool open;     /* guarded by mu */
    int at_gate;   /* guarded by mu: jobs that began */
    int done, all; /* loop */
    atomic_int worked;
} world;

typedef struct task {
    crs_job job;
    world *w;
} task;

static void world_open(world *w, size_t threads, size_t queue_max)
{
    memset(w, 0, sizeof *w);
    pthread_mutex_init(&w->mu, NULL);
    pthread_cond_init(&w->changed, NULL);
    cereus_error err;
    assert_int_equal(crs_loop_new(&(crs_loop_options){.mailbox_capacity = 1}, &w->loop, &err), CEREUS_OK);
    assert_int_equal(crs_workers_new(threads, queue_max, &w->workers, &err), CEREUS_OK);
}

static void world_close(world *w)
{
    w->workers = crs_workers_free(w->workers);
    w->loop = crs_loop_free(w->loop);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mu);
}

static void open_gate(world *w)
{
    pthread_mutex_lock(&w->mu);
    w->open = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mu);
}

static void wait_at_gate(world *w, int jobs)
{
    pthread_mutex_lock(&w->mu);
    while (w->at_gate < jobs)
        pthread_cond_wait(&w->changed, &w->mu);
    pthread_mutex_unlock(&w->mu);
}

static void work(void *user)
{
    world *w = user;
    pthread_mutex_lock(&w->mu);
    w->at_gate++;
    pthread_cond_broadcast(&w->changed);
    while (!w->open)
        pthread_cond_wait(&w->changed, &w->mu);
    pthread_mutex_unlock(&w->mu);
    atomic_fetch_add(&w->worked, 1);
}

static void on_done(crs_loop *loop, crs_mail *mail)
{
    task *t = CRS_CONTAINER(CRS_CONTAINER(mail, crs_job, done), task, job);
    assert_true(crs_loop_is_current(loop));
    if (++t->w->done == t->w->all)
        crs_loop_stop(loop);
}

static cereus_status submit(world *w, task *t)
{
    *t = (task){.w = w, .job = {.done = {.run = on_done}, .loop = w->loop, .work = work, .user = w}};
    return crs_workers_submit(w->workers, &t->job);
}

static void jobs_run_beside_one_another_and_report_to_their_loop(void **state)
{
    world w;
    world_open(&w, 3, 100);
    task tasks[20];
    w.all = 20;
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(submit(&w, &tasks[i]), CEREUS_OK);
    wait_at_gate(&w, 3); /* as many as there are threads */
    open_gate(&w);
    crs_loop_run(w.loop);
    assert_int_equal(w.done, 20);
    assert_int_equal(w.worked, 20);
    world_close(&w);
}

static void a_full_queue_refuses_and_leaves_the_job_to_the_caller(void **state)
{
    world w;
    world_open(&w, 1, 2);
    task tasks[4];
    assert_int_equal(submit(&w, &tasks[0]), CEREUS_OK);
    wait_at_gate(&w, 1);
    assert_int_equal(submit(&w, &tasks[1]), CEREUS_OK);
    assert_int_equal(submit(&w, &tasks[2]), CEREUS_OK);
    assert_int_equal(submit(&w, &tasks[3]), CEREUS_E_FULL);
    w.all = 3;
    open_gate(&w);
    crs_loop_run(w.loop);
    w.all = 4;
    assert_int_equal(submit(&w, &tasks[3]), CEREUS_OK);
    crs_loop_run(w.loop);
    assert_int_equal(w.worked, 4);
    world_close(&w);
}

static void free_runs_what_waits_and_its_mail_reaches_the_loop(void **state)
{
    world w;
    world_open(&w, 2, 100);
    task tasks[10];
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(submit(&w, &tasks[i]), CEREUS_OK);
    open_gate(&w);
    world_close(&w);
    assert_int_equal(w.worked, 10);
    assert_int_equal(w.done, 10);
}

static void without_threads_jobs_run_when_the_caller_says_so(void **state)
{
    world w;
    world_open(&w, 0, 3);
    open_gate(&w);
    w.all = 3;
    task tasks[4];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(submit(&w, &tasks[i]), CEREUS_OK);
    assert_int_equal(submit(&w, &tasks[3]), CEREUS_E_FULL);
    assert_int_equal(w.worked, 0);
    assert_true(crs_workers_run_waiting(w.workers));
    assert_int_equal(w.worked, 3);
    assert_int_equal(w.done, 0); /* that is the loop's business */
    crs_loop_run(w.loop);
    assert_int_equal(w.done, 3);
    assert_false(crs_workers_run_waiting(w.workers));
    assert_int_equal(submit(&w, &tasks[3]), CEREUS_OK); /* the end of the pool runs it */
    world_close(&w);
    assert_int_equal(w.worked, 4);
    assert_int_equal(w.done, 4);
}

static void a_pool_that_was_never_used_ends_too_and_new_fails_without_memory(void **state)
{
    world w;
    world_open(&w, 4, 1);
    world_close(&w);
    crs_workers *workers = NULL;
    cereus_error err = {0};
    crs_alloc_fail_at(1);
    assert_int_equal(crs_workers_new(1, 1, &workers, &err), CEREUS_E_NOMEM);
    assert_int_equal(err.status, CEREUS_E_NOMEM);
    assert_null(workers);
    assert_null(crs_workers_free(NULL));
}

TEST_MAIN(cmocka_unit_test(jobs_run_beside_one_another_and_report_to_their_loop),
          cmocka_unit_test(a_full_queue_refuses_and_leaves_the_job_to_the_caller),
          cmocka_unit_test(free_runs_what_waits_and_its_mail_reaches_the_loop),
          cmocka_unit_test(without_threads_jobs_run_when_the_caller_says_so),
          cmocka_unit_test(a_pool_that_was_never_used_ends_too_and_new_fails_without_memory))
