#define _GNU_SOURCE
#include "file_service.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { STACK_BYTES = 512 * 1024, TOLD_AT = 16 };

typedef struct {
    cosx_file_request *first, **end;
    unsigned count;
} queue;

struct cosx_file_service {
    pthread_mutex_t lock; /* for all that follows, apart from what never changes */
    pthread_cond_t changed;
    queue waiting, done;
    unsigned width, threads, idle;
    unsigned notifying; /* threads that write to `descriptor`, without the lock */
    unsigned owed;      /* sleeping threads that `cosx_file_service_announce` wakes */
    int told;           /* the descriptor is readable, or is about to be */
    int closed;         /* the caller has freed the service; the last thread frees its memory */
    int descriptor;
    cosx_digest_function digest;
    int64_t digest_above;
    pid_t process;
};

/* -- requests ------------------------------------------------------------------------------------------------------ */

static void push(queue *to, cosx_file_request *request)
{
    request->next = NULL;
    *to->end = request;
    to->end = &request->next;
    to->count++;
}

static cosx_file_request *pop(queue *from)
{
    cosx_file_request *request = from->first;
    from->first = request->next;
    if (!from->first)
        from->end = &from->first;
    from->count--;
    request->next = NULL;
    return request;
}

static void clear(queue *of)
{
    while (of->first)
        cosx_file_service_free_request(pop(of));
}

cosx_file_request *cosx_file_service_request(const char *path, int64_t max_bytes, double since)
{
    size_t length = strlen(path) + 1;
    cosx_file_request *request = malloc(sizeof *request + length);
    if (!request)
        return NULL;
    *request = (cosx_file_request){.max_bytes = max_bytes, .since = since};
    memcpy(request->path, path, length);
    return request;
}

cosx_file_request *cosx_file_service_write_request(const char *path, const char *temporary, size_t root,
                                                   const void *content, size_t size, int has_time, int64_t modified,
                                                   double since)
{
    size_t length = strlen(path) + 1, other = strlen(temporary) + 1;
    cosx_file_request *request = malloc(sizeof *request + length + other);
    char *copy = malloc(size ? size : 1);
    if (!request || !copy) {
        free(request);
        free(copy);
        return NULL;
    }
    *request = (cosx_file_request){.since = since, .temporary = request->path + length, .size = size, .root = root,
                                   .has_time = has_time, .modified = modified, .content = copy};
    if (size)
        memcpy(copy, content, size);
    memcpy(request->path, path, length);
    memcpy(request->path + length, temporary, other);
    return request;
}

void cosx_file_service_free_request(cosx_file_request *request)
{
    free(request->content);
    free(request->folder);
    free(request);
}

/* Without the lock. */
static void run(const cosx_file_service *service, cosx_file_request *request)
{
    if (request->temporary) {
        request->error =
            request->root && !cosx_new_file_folders(request->path, request->root)
                ? COSX_NEW_FILE_OTHER
                : cosx_new_file_write(request->temporary, request->path, request->content, request->size,
                                      request->has_time, request->modified);
        return;
    }
    if (!request->max_bytes) {
        request->error = cosx_small_file_identify(request->path, &request->identity);
        return;
    }
    /* The folder first: without it, a later check could not find the file. */
    if (request->path[0] != '/' && !(request->folder = getcwd(NULL, 0)))
        return;
    request->content = cosx_small_file_read(request->path, request->max_bytes, &request->identity);
    if (request->content && request->identity.size > service->digest_above) {
        service->digest((uint8_t *)request->content, request->identity.size, request->md5, &request->crc64);
        request->has_digest = 1;
    }
}

/* -- threads ------------------------------------------------------------------------------------------------------- */

static void destroy(cosx_file_service *service)
{
    pthread_cond_destroy(&service->changed);
    pthread_mutex_destroy(&service->lock);
    free(service);
}

/* Under the lock. Closes the descriptor, unless a thread is about to write to it. */
static void close_descriptor(cosx_file_service *service)
{
    if (service->notifying || service->descriptor < 0)
        return;
    close(service->descriptor);
    service->descriptor = -1;
}

/* Under the lock, which it releases meanwhile: the caller would wake up and wait for it. */
static void notify(cosx_file_service *service)
{
    int descriptor = service->descriptor;
    uint64_t one = 1;
    service->told = 1;
    service->notifying++;
    pthread_mutex_unlock(&service->lock);
    while (write(descriptor, &one, sizeof one) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&service->lock);
    service->notifying--;
    if (service->closed)
        close_descriptor(service);
}

/* Under the lock. Whether there is a request to take; waits for one, unless this thread is surplus. */
static int await_request(cosx_file_service *service)
{
    while (!service->closed && !service->waiting.count && service->threads <= service->width) {
        service->idle++;
        pthread_cond_wait(&service->changed, &service->lock);
        service->idle--;
    }
    return !service->closed && service->waiting.count;
}

static void *work(void *argument)
{
    cosx_file_service *service = argument;
    pthread_setname_np(pthread_self(), "cosxfer-files");
    pthread_mutex_lock(&service->lock);
    while (await_request(service)) {
        cosx_file_request *request = pop(&service->waiting);
        pthread_mutex_unlock(&service->lock);
        run(service, request);
        pthread_mutex_lock(&service->lock);
        if (service->closed) {
            cosx_file_service_free_request(request);
            break;
        }
        push(&service->done, request);
        /* The caller's turns cost more than the files, so it gets several at a time. */
        if (!service->told && (!service->waiting.count || service->done.count >= TOLD_AT))
            notify(service);
    }
    service->threads--;
    int last = service->closed && !service->threads;
    pthread_mutex_unlock(&service->lock);
    if (last)
        destroy(service);
    return NULL;
}

/* All but faults. The interpreter's main thread handles the others. */
static sigset_t signals_to_block(void)
{
    static const int FAULTS[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGABRT};
    sigset_t signals;
    sigfillset(&signals);
    for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++)
        sigdelset(&signals, FAULTS[i]);
    return signals;
}

/* Under the lock. 0 or errno. */
static int start_thread(cosx_file_service *service)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t blocked = signals_to_block(), before;
    int error = pthread_attr_init(&attributes);
    if (error)
        return error;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &blocked, &before); /* the thread inherits it */
    error = pthread_create(&thread, &attributes, work, service);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    service->threads += !error;
    return error;
}

/* -- the caller's side --------------------------------------------------------------------------------------------- */

cosx_file_service *cosx_file_service_new(cosx_digest_function digest, int64_t digest_above)
{
    cosx_file_service *service = calloc(1, sizeof *service);
    if (!service)
        return NULL;
    service->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (service->descriptor < 0) {
        free(service);
        return NULL;
    }
    pthread_mutex_init(&service->lock, NULL);
    pthread_cond_init(&service->changed, NULL);
    service->waiting.end = &service->waiting.first;
    service->done.end = &service->done.first;
    service->width = 1;
    service->digest = digest;
    service->digest_above = digest_above;
    service->process = getpid();
    return service;
}

void cosx_file_service_free(cosx_file_service *service)
{
    if (service->process != getpid())
        return;
    pthread_mutex_lock(&service->lock);
    service->closed = 1;
    clear(&service->waiting);
    clear(&service->done);
    close_descriptor(service);
    pthread_cond_broadcast(&service->changed);
    int last = !service->threads;
    pthread_mutex_unlock(&service->lock);
    if (last)
        destroy(service);
}

int cosx_file_service_descriptor(const cosx_file_service *service)
{
    return service->descriptor;
}

int cosx_file_service_submit(cosx_file_service *service, cosx_file_request *request, int quietly)
{
    int error = 0;
    pthread_mutex_lock(&service->lock);
    if (!service->threads)
        error = start_thread(service);
    /* A thread was signalled for each request that waits. */
    int wake = !error && service->waiting.count < service->idle;
    if (!error)
        push(&service->waiting, request);
    if (wake && quietly) {
        service->owed++;
        wake = 0;
    }
    pthread_mutex_unlock(&service->lock);
    if (wake)
        pthread_cond_signal(&service->changed);
    return error;
}

void cosx_file_service_announce(cosx_file_service *service)
{
    pthread_mutex_lock(&service->lock);
    unsigned owed = service->owed;
    service->owed = 0;
    pthread_mutex_unlock(&service->lock);
    while (owed--)
        pthread_cond_signal(&service->changed);
}

cosx_file_request *cosx_file_service_collect(cosx_file_service *service, unsigned most)
{
    queue taken = {.end = &taken.first};
    uint64_t count;
    pthread_mutex_lock(&service->lock);
    if (service->done.count <= most) {
        service->told = 0;
        while (read(service->descriptor, &count, sizeof count) < 0 && errno == EINTR)
            ;
    }
    while (service->done.count && taken.count < most)
        push(&taken, pop(&service->done));
    pthread_mutex_unlock(&service->lock);
    return taken.first;
}

double cosx_file_service_oldest(cosx_file_service *service)
{
    pthread_mutex_lock(&service->lock);
    double since = service->waiting.count ? service->waiting.first->since : -1;
    pthread_mutex_unlock(&service->lock);
    return since;
}

void cosx_file_service_set_width(cosx_file_service *service, unsigned width)
{
    pthread_mutex_lock(&service->lock);
    service->width = width;
    for (unsigned count = service->waiting.count; count && service->threads < width; count--)
        if (start_thread(service))
            break; /* those that there are go on */
    pthread_mutex_unlock(&service->lock);
}

unsigned cosx_file_service_threads(cosx_file_service *service)
{
    pthread_mutex_lock(&service->lock);
    unsigned threads = service->threads;
    pthread_mutex_unlock(&service->lock);
    return threads;
}

unsigned cosx_file_service_done(cosx_file_service *service)
{
    pthread_mutex_lock(&service->lock);
    unsigned done = service->done.count;
    pthread_mutex_unlock(&service->lock);
    return done;
}
