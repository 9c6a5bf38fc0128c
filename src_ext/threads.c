/* Runs several workers at once. The threads live as long as one call, so a fork between calls has none of them.
 * Starting a thread costs tens of microseconds; a round takes milliseconds. */
#include <pthread.h>
#include <signal.h>

#include "lanes.h"

#define MAX_THREADS 256

struct task {
    pthread_t thread;
    cosx_worker *worker;
    uint64_t budget, done;
};

static void *run(void *argument)
{
    struct task *task = argument;
    task->done = cosx_worker_run(task->worker, task->budget);
    return NULL;
}

uint64_t cosx_workers_run(cosx_worker *const *workers, unsigned count, uint64_t budget)
{
    struct task tasks[MAX_THREADS];
    unsigned started = 0;
    sigset_t all, before;
    if (count > MAX_THREADS)
        count = MAX_THREADS;
    if (count > 1) {
        /* The interpreter's main thread handles signals. A fault of this thread (SIGBUS) must reach its handler. */
        sigfillset(&all);
        sigdelset(&all, SIGBUS);
        sigdelset(&all, SIGSEGV);
        sigdelset(&all, SIGFPE);
        sigdelset(&all, SIGILL);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        for (unsigned i = 1; i < count; i++) {
            struct task *task = &tasks[started];
            task->worker = workers[i];
            task->budget = budget / count + 1;
            if (pthread_create(&task->thread, NULL, run, task))
                break; /* no more threads: continue with those that run; later calls try again */
            started++;
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    uint64_t done = cosx_worker_run(workers[0], started ? budget / count + 1 : budget);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(tasks[i].thread, NULL);
        done += tasks[i].done;
    }
    return done;
}
