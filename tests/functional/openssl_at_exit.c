/* Makes each call of OpenSSL in another thread than the first take long (NAP_MS). If such a call runs after the exit
 * handlers of OpenSSL, the process ends with code 70. Loaded with LD_PRELOAD, so its destructor runs last. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_int napping;
atomic_int naps; /* the test reads it */

static void nap(long milliseconds)
{
    struct timespec time = {.tv_nsec = milliseconds * 1000000};
    nanosleep(&time, NULL);
}

/* OpenSSL calls this when it looks at a thread's errors, so in each read and each write. */
int pthread_once(pthread_once_t *once, void (*function)(void))
{
    static int (*original)(pthread_once_t *, void (*)(void));
    const char *milliseconds;
    if (!original)
        original = (int (*)(pthread_once_t *, void (*)(void)))dlsym(RTLD_NEXT, "pthread_once");
    if (syscall(SYS_gettid) != getpid() && (milliseconds = getenv("NAP_MS"))) {
        atomic_fetch_add(&napping, 1);
        atomic_fetch_add(&naps, 1);
        nap(atol(milliseconds));
        atomic_fetch_sub(&napping, 1);
    }
    return original(once, function);
}

__attribute__((destructor)) static void last(void)
{
    if (!getenv("NAP_MS"))
        return;
    int before = atomic_load(&naps), now = atomic_load(&napping);
    nap(100);
    if (now || atomic_load(&naps) != before)
        _exit(70);
}
