/* The SIGBUS guard. The handler runs at any moment in any thread, so it takes no lock, allocates nothing, and calls
 * only sigaction, mmap, pthread_self and raise. Registry entries are never freed, only reused, because a handler may be
 * reading them. */
#define _GNU_SOURCE
#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct cosx_mapping {
    _Atomic uintptr_t start; /* 0: free */
    _Atomic uintptr_t end;
    atomic_int lost;
    struct cosx_mapping *next; /* set before the entry is published, then constant */
};

/* The handlers that we replaced by ours, oldest first. There are several if others kept replacing ours. */
#define LEVELS 8

static _Atomic(struct cosx_mapping *) registry;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous[LEVELS];
static atomic_int levels;
static _Atomic uintptr_t chaining; /* the thread that runs a previous handler, and which handler */
static atomic_int level;
static uintptr_t page_mask;

static void on_sigbus(int number, siginfo_t *info, void *context);

static int is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_sigbus;
}

static int same_handler(const struct sigaction *a, const struct sigaction *b)
{
    return (a->sa_flags & SA_SIGINFO) == (b->sa_flags & SA_SIGINFO) && a->sa_handler == b->sa_handler;
}

/* A fault repeats when its handler returns, so setting the default action is enough. A signal that was sent does not
 * repeat. */
static void die(int number, const siginfo_t *info)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
    if (info->si_code <= 0)
        raise(number);
}

/* For a fault outside our mappings: does what would happen without us. A handler such as faulthandler's reports,
 * restores the handler that it replaced (which may be ours) and raises again. Then we call the next older handler. */
static void chain(int number, siginfo_t *info, void *context)
{
    const uintptr_t self = (uintptr_t)pthread_self();
    const int again = atomic_load(&chaining) == self;
    const int mine = (again ? atomic_load(&level) : atomic_load(&levels)) - 1;
    if (mine < 0) {
        die(number, info);
        return;
    }
    const struct sigaction *action = &previous[mine];
    if (!(action->sa_flags & SA_SIGINFO)) {
        if (action->sa_handler == SIG_IGN && info->si_code <= 0)
            return;
        if (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN) {
            die(number, info); /* a fault cannot be ignored */
            return;
        }
    }
    atomic_store(&level, mine);
    atomic_store(&chaining, self);
    if (action->sa_flags & SA_SIGINFO)
        action->sa_sigaction(number, info, context);
    else
        action->sa_handler(number);
    if (!again)
        atomic_store(&chaining, 0);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    const int saved_errno = errno;
    const uintptr_t address = (uintptr_t)info->si_addr;
    struct cosx_mapping *m = info->si_code > 0 ? atomic_load(&registry) : NULL; /* > 0: a fault, with an address */
    for (; m; m = m->next) {
        const uintptr_t start = atomic_load(&m->start), end = atomic_load(&m->end);
        if (start && address >= start && address < end) {
            /* Replace all pages from the lost one on: one mapping instead of thousands. */
            void *page = (void *)(address & page_mask);
            atomic_store(&m->lost, 1);
            if (mmap(page, end - (uintptr_t)page, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == page) {
                errno = saved_errno;
                return;
            }
            break;
        }
    }
    chain(number, info, context);
    errno = saved_errno;
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

static int put_on_top(void)
{
    struct sigaction current, ours = {.sa_sigaction = on_sigbus};
    if (sigaction(SIGBUS, NULL, &current))
        return -1;
    if (is_ours(&current))
        return 0;
    if (page_mask == 0) {
        page_mask = ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
        pthread_atfork(before_fork, after_fork, after_fork);
    }
    int count = atomic_load(&levels);
    if (count == 0 || !same_handler(&current, &previous[count - 1])) {
        if (count == LEVELS)
            count--; /* keep the oldest ones, which were there before ours */
        previous[count] = current;
        atomic_store(&levels, count + 1);
    }
    sigemptyset(&ours.sa_mask);
    /* NODEFER: a handler in the chain may raise again and expects that signal at once. */
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    return sigaction(SIGBUS, &ours, NULL);
}

int cosx_guard_install(void)
{
    struct sigaction current;
    if (sigaction(SIGBUS, NULL, &current) == 0 && is_ours(&current))
        return 0;
    pthread_mutex_lock(&lock);
    int result = put_on_top();
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
