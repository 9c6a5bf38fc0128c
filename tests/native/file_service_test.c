/* The file service without Python: many services that are used, blocked and freed at any moment. Built with sanitizers
 * by .ci/deep/file_service.sh. A digest function that waits simulates a file system that hangs. */
#define _GNU_SOURCE
#include "file_service.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHORT = 500, LONG = 2000, DIGEST_ABOVE = 1000, MAX_BYTES = 10000, CALLERS = 4 };

static char folder[] = "/tmp/cosxfer-files-XXXXXX";
static char short_file[64], long_file[64];
static atomic_int held, inside, threads_alive;

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
            abort(); \
        } \
    } while (0)

static void digest(const uint8_t *data, uint64_t size, uint8_t md5[16], uint64_t *crc64)
{
    atomic_fetch_add(&inside, 1);
    while (atomic_load(&held))
        usleep(100);
    atomic_fetch_sub(&inside, 1);
    memset(md5, data[0], 16);
    *crc64 = size;
}

static void write_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "w");
    CHECK(file);
    for (size_t i = 0; i < size; i++)
        fputc('a', file);
    CHECK(!fclose(file));
}

/* Of a name that is taken the first time only, below a folder. */
static cosx_file_request *write_request(unsigned number)
{
    static atomic_uint count;
    char path[80], temporary[80], content[SHORT];
    memset(content, 'w', sizeof content);
    snprintf(path, sizeof path, "%s/written-%u", folder, number);
    snprintf(temporary, sizeof temporary, "%s/part-%u", folder, atomic_fetch_add(&count, 1));
    return cosx_file_service_write_request(path, temporary, strlen(folder), content, sizeof content, 1, 5, number);
}

static void remove_written(void)
{
    DIR *open = opendir(folder);
    CHECK(open);
    for (struct dirent *entry; (entry = readdir(open));) {
        char path[320];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            CHECK(!unlink(path));
    }
    closedir(open);
}

static void ask(cosx_file_service *service, unsigned number)
{
    const char *paths[] = {short_file, long_file, "/nowhere", folder};
    cosx_file_request *request =
        number % 8 == 7 ? write_request(number)
                        : cosx_file_service_request(paths[number % 4], number % 3 ? MAX_BYTES : 0, (double)number);
    CHECK(request && !cosx_file_service_submit(service, request, 0));
}

static unsigned check_outcomes(cosx_file_request *request)
{
    unsigned count = 0;
    for (cosx_file_request *next; request; request = next, count++) {
        next = request->next;
        int is_short = !strcmp(request->path, short_file), is_long = !strcmp(request->path, long_file);
        int missing = !strcmp(request->path, "/nowhere");
        if (request->temporary) {
            CHECK(!request->error || request->error == COSX_NEW_FILE_OTHER);
        } else if (!request->max_bytes) {
            CHECK(!!request->error == missing);
        } else {
            CHECK(!!request->content == (is_short || is_long));
            CHECK(request->has_digest == is_long);
            CHECK(!is_long || (request->crc64 == LONG && request->md5[15] == 'a'));
            CHECK(!request->content || request->identity.size == (is_short ? SHORT : LONG));
        }
        cosx_file_service_free_request(request);
    }
    return count;
}

static unsigned await_outcomes(cosx_file_service *service, unsigned count)
{
    unsigned done = 0;
    struct pollfd poll_for = {.fd = cosx_file_service_descriptor(service), .events = POLLIN};
    while (done < count) {
        CHECK(poll(&poll_for, 1, 30000) == 1);
        done += check_outcomes(cosx_file_service_collect(service, 5));
    }
    return done;
}

static void round_of(unsigned seed)
{
    cosx_file_service *service = cosx_file_service_new(digest, DIGEST_ABOVE);
    CHECK(service);
    unsigned asked = seed % 40, done = 0;
    for (unsigned i = 0; i < asked; i++) {
        ask(service, i + seed);
        if (i % 7 == seed % 7)
            cosx_file_service_set_width(service, 1 + seed % 5);
        if (i % 11 == 0)
            done += check_outcomes(cosx_file_service_collect(service, 3));
        CHECK(cosx_file_service_oldest(service) < (double)(asked + seed));
    }
    if (seed % 2)
        CHECK(done + await_outcomes(service, asked - done) == asked);
    if (seed % 3 == 0)
        cosx_file_service_set_width(service, 1);
    cosx_file_service_free(service);
}

static void *caller(void *argument)
{
    unsigned rounds = *(unsigned *)argument, first = (unsigned)atomic_fetch_add(&threads_alive, 1);
    for (unsigned i = 0; i < rounds; i++)
        round_of(first * 1000 + i);
    return NULL;
}

/* Some threads hang while the service is freed, and others continue. */
static void hang(unsigned count)
{
    cosx_file_service *service = cosx_file_service_new(digest, DIGEST_ABOVE);
    CHECK(service);
    atomic_store(&held, 1);
    for (unsigned i = 0; i < count; i++)
        CHECK(!cosx_file_service_submit(service, cosx_file_service_request(long_file, MAX_BYTES, 0), 1));
    cosx_file_service_set_width(service, count);
    while (atomic_load(&inside) < (int)count)
        usleep(100);
    CHECK(cosx_file_service_threads(service) == count && cosx_file_service_oldest(service) < 0);
    for (unsigned i = 0; i < 8; i++)
        ask(service, 0);
    cosx_file_service_set_width(service, count + 1);
    CHECK(await_outcomes(service, 8) == 8);
    ask(service, 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        cosx_file_service_free(service); /* must not wait for a lock */
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && !status);
    cosx_file_service_free(service);
    atomic_store(&held, 0);
    while (atomic_load(&inside))
        usleep(100);
}

int main(int count, char **arguments)
{
    unsigned rounds = count > 1 ? (unsigned)atoi(arguments[1]) : 100;
    CHECK(mkdtemp(folder));
    snprintf(short_file, sizeof short_file, "%s/short", folder);
    snprintf(long_file, sizeof long_file, "%s/long", folder);
    write_file(short_file, SHORT);
    write_file(long_file, LONG);
    pthread_t callers[CALLERS];
    for (unsigned i = 0; i < CALLERS; i++)
        CHECK(!pthread_create(&callers[i], NULL, caller, &rounds));
    for (unsigned i = 0; i < CALLERS; i++)
        pthread_join(callers[i], NULL);
    for (unsigned i = 1; i <= 31; i += 10)
        hang(i);
    usleep(100000); /* detached threads free the rest */
    unlink(short_file);
    unlink(long_file);
    remove_written();
    CHECK(!rmdir(folder));
    printf("ok: %u rounds\n", rounds * CALLERS);
}
