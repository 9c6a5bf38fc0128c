/* The SIGBUS guard. The handler runs at any moment in any thread, so it takes no lock, allocates nothing, and calls
 * only sigaction, mmap, gettid and raise. Registry entries are never freed, only reused: a handler may be looking. */
#define _GNU_SOURCE
#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct cosx_mapping {
    _Atomic uintptr_t start; /* 0: free */
    _Atomic uintptr_t end;
    atomic_int lost;
    struct cosx_mapping *next; /* set before the entry is published, then constant */
};

static _Atomic(struct cosx_mapping *) registry;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous;
static atomic_long chaining; /* the thread that is inside the previous handler */

static void on_sigbus(int number, siginfo_t *info, void *context);

static int in_our_hands(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_sigbus;
}

/* The first handler is called again when the fault repeats, so the default action needs no more than being set; a
 * signal that somebody sent does not repeat. */
static void die(int number, const siginfo_t *info)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
    if (info->si_code <= 0)
        raise(number);
}

static void chain(int number, siginfo_t *info, void *context)
{
    long self = syscall(SYS_gettid);
    /* A handler such as faulthandler's reports, puts back the handler before it (us) and raises again: once is enough. */
    if (atomic_load(&chaining) == self) {
        die(number, info);
        return;
    }
    if (!(previous.sa_flags & SA_SIGINFO)) {
        if (previous.sa_handler == SIG_IGN && info->si_code <= 0)
            return;
        if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
            die(number, info);
            return;
        }
    }
    atomic_store(&chaining, self);
    if (previous.sa_flags & SA_SIGINFO)
        previous.sa_sigaction(number, info, context);
    else
        previous.sa_handler(number);
    atomic_store(&chaining, 0);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    uintptr_t address = (uintptr_t)info->si_addr;
    if (info->si_code > 0) {
        for (struct cosx_mapping *m = atomic_load(&registry); m; m = m->next) {
            uintptr_t start = atomic_load(&m->start), end = atomic_load(&m->end);
            if (start == 0 || address < start || address >= end)
                continue;
            /* All that follows the lost page goes with it: one mapping in place of thousands. */
            uintptr_t page = address & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
            atomic_store(&m->lost, 1);
            void *zeros = mmap((void *)page, end - page, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (zeros == MAP_FAILED)
                break;
            errno = saved_errno;
            return;
        }
    }
    chain(number, info, context);
    errno = saved_errno;
}

int cosx_guard_install(void)
{
    struct sigaction current, ours = {.sa_sigaction = on_sigbus};
    if (sigaction(SIGBUS, NULL, &current))
        return -1;
    if (in_our_hands(&current))
        return 0;
    pthread_mutex_lock(&lock);
    int result = sigaction(SIGBUS, NULL, &current);
    if (result == 0 && !in_our_hands(&current)) {
        previous = current;
        sigemptyset(&ours.sa_mask);
        /* NODEFER: a handler in the chain may raise again and expect to be left at once. */
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        result = sigaction(SIGBUS, &ours, NULL);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

cosx_mapping *cosx_guard_add(void *address, size_t size)
{
    struct cosx_mapping *m;
    pthread_mutex_lock(&lock);
    for (m = atomic_load(&registry); m; m = m->next)
        if (atomic_load(&m->start) == 0)
            break;
    int fresh = m == NULL;
    if (fresh)
        m = calloc(1, sizeof *m);
    if (m) {
        atomic_store(&m->lost, 0);
        atomic_store(&m->end, (uintptr_t)address + size);
        atomic_store(&m->start, (uintptr_t)address);
        if (fresh) {
            m->next = atomic_load(&registry);
            atomic_store(&registry, m);
        }
    }
    pthread_mutex_unlock(&lock);
    return m;
}

void cosx_guard_remove(cosx_mapping *m)
{
    pthread_mutex_lock(&lock);
    atomic_store(&m->start, 0);
    pthread_mutex_unlock(&lock);
}

int cosx_guard_lost(const cosx_mapping *m)
{
    return atomic_load(&m->lost);
}
