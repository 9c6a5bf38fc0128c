/* TLS without the GIL. Python's ssl module makes the session and does the handshake. After that this file reads and
 * writes, with the functions of the OpenSSL that the module is linked with. It looks them up at run time, so the build
 * needs no OpenSSL. If a function is missing (another TLS library, or a static one), wire.pyx drives the session
 * through Python. */
#define _GNU_SOURCE
#include "wire_tls.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Constants of OpenSSL's stable interface. */
enum { ERROR_SSL = 1, ERROR_WANT_READ = 2, ERROR_WANT_WRITE = 3, ERROR_SYSCALL = 5, ERROR_ZERO_RETURN = 6 };
#define IGNORE_UNEXPECTED_EOF 0x80
#define LIBRARY_SSL 20
#define CTRL_CLEAR_MODE 78
#define MODE_RELEASE_BUFFERS 0x10L
/* A read ends with a record if the records are whole ones of TLS 1.3 (content and 22 bytes). OpenSSL reads what is
 * missing of the last record with a call of its own. It leaves 3 bytes unused, so that the content is aligned. */
#define READ_AHEAD_BYTES (8 * (WIRE_RECORD_BYTES + 22) + 3)
#define REASON_UNEXPECTED_EOF 294

static struct {
    int (*read)(void *ssl, void *buffer, size_t length, size_t *done);
    int (*write)(void *ssl, const void *data, size_t length, size_t *done);
    int (*get_error)(const void *ssl, int result);
    int (*get_fd)(const void *ssl);
    uint64_t (*clear_options)(void *ssl, uint64_t options);
    long (*ctrl)(void *ssl, int command, long number, void *pointer);
    void (*set_read_ahead)(void *ssl, int yes);
    void (*set_buffer_length)(void *ssl, size_t length);
    int (*set_alpn_protos)(void *ssl, const unsigned char *protocols, unsigned length);
    int (*set_ciphersuites)(void *ssl, const char *names);
    unsigned long (*peek_error)(void);
    void (*clear_errors)(void);
    const char *(*reason)(unsigned long error);
} openssl;

static void *library;

static int find(void *function, const char *name)
{
    return wire_tls_seal_find(library, function, name);
}

/* -- the end of the process: OpenSSL frees its tables in an exit handler, but I/O threads run on --------------- */

static atomic_int inside, inside_through_python, ended;
enum { WAIT_STEPS = 5000, WAIT_STEPS_PYTHON = 200 };
#define WAIT_STEP_NANOSECONDS 1000000

int wire_tls_enter(int through_python)
{
    atomic_int *count = through_python ? &inside_through_python : &inside;
    atomic_fetch_add(count, 1);
    if (!atomic_load(&ended))
        return 1;
    atomic_fetch_sub(count, 1);
    while (!through_python)
        pause(); /* until the process has ended */
    return 0; /* the caller has the GIL, which another exit handler may need */
}

void wire_tls_leave(int through_python)
{
    atomic_fetch_sub(through_python ? &inside_through_python : &inside, 1);
}

/* A call of OpenSSL does not block, so it returns soon. A thread that drives a session through Python then waits for the
 * GIL, which nobody gives after the interpreter has ended: it never leaves, and a short wait has to do. */
static void end(void)
{
    struct timespec step = {.tv_nsec = WAIT_STEP_NANOSECONDS};
    atomic_store(&ended, 1);
    for (int n = 0; n < WAIT_STEPS; n++) {
        int waits = atomic_load(&inside) || (n < WAIT_STEPS_PYTHON && atomic_load(&inside_through_python));
        if (!waits)
            return;
        nanosleep(&step, NULL);
    }
}

static void after_fork(void)
{
    atomic_store(&inside, 0); /* the I/O threads of the parent do not exist here */
    atomic_store(&inside_through_python, 0);
}

static void prepare_end(void)
{
    atexit(end);
    pthread_atfork(NULL, NULL, after_fork);
}

/* Exit handlers run in reverse order. There is a session, so OpenSSL has registered its own before. */
void wire_tls_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_end);
}

int wire_tls_load(const char *module, unsigned long version)
{
    unsigned long (*version_of)(void);
    if (library)
        return 0;
    if (!(library = dlopen(module, RTLD_NOW | RTLD_NOLOAD)))
        return -1;
    if (find(&version_of, "OpenSSL_version_num") && version_of() == version && find(&openssl.read, "SSL_read_ex") &&
        find(&openssl.write, "SSL_write_ex") && find(&openssl.get_error, "SSL_get_error") &&
        find(&openssl.get_fd, "SSL_get_fd") && find(&openssl.clear_options, "SSL_clear_options") &&
        find(&openssl.set_alpn_protos, "SSL_set_alpn_protos") &&
        find(&openssl.set_ciphersuites, "SSL_set_ciphersuites") && find(&openssl.peek_error, "ERR_peek_last_error") &&
        find(&openssl.ctrl, "SSL_ctrl") && find(&openssl.set_read_ahead, "SSL_set_read_ahead") &&
        find(&openssl.set_buffer_length, "SSL_set_default_read_buffer_len") &&
        find(&openssl.clear_errors, "ERR_clear_error") && find(&openssl.reason, "ERR_reason_error_string")) {
        wire_tls_seal_load(library, version);
        return 0;
    }
    dlclose(library);
    library = NULL;
    return -1;
}

int wire_tls_usable(void *session, int fd)
{
    return library && openssl.get_fd(session) == fd;
}

int wire_tls_offer(void *session, const unsigned char *protocols, unsigned length, int seals)
{
    if (seals)
        wire_tls_seal_prepare(session);
    return openssl.set_alpn_protos(session, protocols, length) ? -1 : 0;
}

void wire_tls_prefer(void *session, const char *suites)
{
    if (openssl.set_ciphersuites(session, suites) != 1)
        openssl.clear_errors(); /* the session keeps those of its context */
}

/* The meaning of a call that moved no bytes. */
static ssize_t failed(void *session, int result, char *why, size_t why_size)
{
    int saved = errno;
    unsigned long error;
    const char *reason;
    switch (openssl.get_error(session, result)) {
    case ERROR_WANT_READ:
        return WIRE_IO_WANT_READ;
    case ERROR_WANT_WRITE:
        return WIRE_IO_WANT_WRITE;
    case ERROR_ZERO_RETURN:
        return WIRE_IO_END;
    case ERROR_SYSCALL:
        if (!saved)
            return WIRE_IO_CUT; /* OpenSSL 1.1.1: an end without close_notify */
        snprintf(why, why_size, "%s", strerror(saved));
        return WIRE_IO_ERROR;
    default:
        error = openssl.peek_error();
        if ((error >> 23 & 0xff) == LIBRARY_SSL && (error & 0x7fffff) == REASON_UNEXPECTED_EOF)
            return WIRE_IO_CUT;
        reason = openssl.reason(error);
        snprintf(why, why_size, "%s", reason ? reason : "a fault of TLS");
        return WIRE_IO_ERROR;
    }
}

static ssize_t tls_read(void *session, void *buffer, size_t length, char *why, size_t why_size)
{
    size_t done = 0;
    wire_tls_enter(0);
    openssl.clear_errors();
    errno = 0;
    int result = openssl.read(session, buffer, length, &done);
    ssize_t n = result > 0 ? (ssize_t)done : failed(session, result, why, why_size);
    wire_tls_leave(0);
    return n;
}

static ssize_t write_records(void *session, const void *data, size_t length, char *why, size_t why_size)
{
    size_t done = 0;
    openssl.clear_errors();
    errno = 0;
    /* One record in each call. Python's ssl disables partial writes, so a longer write that has to wait must be
     * repeated with all of its bytes, and none of them would count as sent until then. */
    while (done < length) {
        size_t n = 0, part = length - done < WIRE_RECORD_BYTES ? length - done : WIRE_RECORD_BYTES;
        int result = openssl.write(session, (const char *)data + done, part, &n);
        if (result <= 0)
            return done ? (ssize_t)done : failed(session, result, why, why_size);
        done += n;
    }
    return (ssize_t)done;
}

static ssize_t tls_write(void *session, const void *data, size_t length, char *scratch, char *why, size_t why_size)
{
    (void)scratch;
    wire_tls_enter(0);
    ssize_t n = write_records(session, data, length, why, why_size);
    wire_tls_leave(0);
    return n;
}

static ssize_t sealed_read(void *sealed, void *buffer, size_t length, char *why, size_t why_size)
{
    ssize_t n = tls_read(wire_tls_seal_session(sealed), buffer, length, why, why_size);
    wire_tls_enter(0);
    wire_tls_seal_heed(sealed);
    wire_tls_leave(0);
    return n;
}

static ssize_t sealed_write(void *sealed, const void *data, size_t length, char *scratch, char *why, size_t why_size)
{
    wire_tls_enter(0);
    ssize_t n = wire_tls_seal_write(sealed, data, length, scratch, why, why_size);
    wire_tls_leave(0);
    return n;
}

static const wire_tls_ops OPS = {.read = tls_read, .write = tls_write};
static const wire_tls_ops SEALED = {.read = sealed_read, .write = sealed_write};

const wire_tls_ops *wire_tls_take(void **taken)
{
    void *session = *taken;
    /* Python accepts an end without close_notify as a normal end. A body that lasts until the end could then be cut. */
    openssl.clear_options(session, IGNORE_UNEXPECTED_EOF);
    /* Without this, OpenSSL makes two calls of read() for each record of 16 KiB. Python lets it free the buffer each time
     * that it is empty. */
    openssl.ctrl(session, CTRL_CLEAR_MODE, MODE_RELEASE_BUFFERS, NULL);
    openssl.set_buffer_length(session, READ_AHEAD_BYTES);
    openssl.set_read_ahead(session, 1);
    void *sealed = wire_tls_seal_take(session);
    if (!sealed)
        return &OPS;
    *taken = sealed;
    return &SEALED;
}
