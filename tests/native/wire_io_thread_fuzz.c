/* Simulates a server and a caller for one connection of the I/O thread. The input is a list of steps (see `play`): what the
 * server writes, reads and closes, and what the caller submits, feeds and cancels. For any steps, each request ends with
 * exactly one DONE and one RELEASED, and the connection with one CLOSED. A success means that the whole body was sent. The
 * bytes sent are those of the requests. No descriptor and no memory leaks. The clock is fake: it jumps while all wait.
 *
 * .ci/deep/wire_guided.sh builds it for libFuzzer, or with wire_fuzz_main.c if there is no clang. */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUESTS 8
#define BODY_BYTES 400000
#define OUT_BYTES (4 << 20)
#define STALL_SECONDS 2.5
#define MAX_RESPONSE_BYTES 5000

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                                         \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* -- time: the I/O thread's sources are compiled to call these -------------------------------------------------------------- */
#undef clock_gettime
#undef epoll_wait
int real_clock_gettime(clockid_t, struct timespec *) __asm__("clock_gettime");
int real_epoll_wait(int, struct epoll_event *, int, int) __asm__("epoll_wait");
int fuzz_clock_gettime(clockid_t clock, struct timespec *t);
int fuzz_epoll_wait(int fd, struct epoll_event *events, int count, int timeout);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static atomic_long jumped_ms;
static atomic_int time_passes, waits;

int fuzz_clock_gettime(clockid_t clock, struct timespec *t)
{
    int result = real_clock_gettime(clock, t);
    long ms = atomic_load(&jumped_ms);
    t->tv_sec += ms / 1000;
    t->tv_nsec += ms % 1000 * 1000000;
    return result;
}

int fuzz_epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
{
    int found = real_epoll_wait(fd, events, count, 0);
    if (found || !timeout)
        return found;
    atomic_fetch_add(&waits, 1);
    if (timeout < 0)
        return real_epoll_wait(fd, events, count, timeout);
    for (;;) {
        if ((found = real_epoll_wait(fd, events, count, 1)))
            return found;
        if (atomic_load(&time_passes)) {
            atomic_fetch_add(&jumped_ms, 1500);
            return 0;
        }
    }
}

/* -- one run ------------------------------------------------------------------------------------------------------------ */
typedef struct {
    wire_request *request;
    int64_t length, fed; /* length of the body; -1: chunked */
    int plain, wanted, complete, done, released, result, answered_status, reusable, taken;
    int64_t sent;
    int whole, passes_on;
} ask;

static struct {
    const uint8_t *at, *end;
    wire_io_thread *io;
    wire_connection *connection;
    pthread_t thread;
    int server, client; /* with a TLS session, we close `client`; then it is -1 */
    int http2, closed, shut;
    ask asks[REQUESTS];
    int count;
    /* HTTP/1.1: the requests that may have been sent, in order. HTTP/2: the current frame */
    char *expected;
    size_t expected_length, received;
    uint8_t head[24];
    size_t head_length, preface, frame_left;
    int32_t frame_stream;
    int frame_type;
    size_t stream_bytes[2 * REQUESTS + 2];
    /* the TLS session */
    uint64_t chance;
    int rough, unclean;
} run;

static const char *body;

static void make_body(void)
{
    int fd = memfd_create("body", MFD_CLOEXEC);
    CHECK(fd >= 0 && !ftruncate(fd, BODY_BYTES));
    char *writable = mmap(NULL, BODY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(writable != MAP_FAILED);
    for (size_t i = 0; i < BODY_BYTES; i++)
        writable[i] = (char)(i * 31 + (i >> 8) * 7);
    body = mmap(NULL, BODY_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(body != MAP_FAILED);
    close(fd);
}

static unsigned byte(void)
{
    return run.at < run.end ? *run.at++ : 0;
}

static unsigned chance(unsigned below)
{
    run.chance ^= run.chance << 13;
    run.chance ^= run.chance >> 7;
    run.chance ^= run.chance << 17;
    return (unsigned)(run.chance >> 11) % below;
}

static ssize_t session_read(void *tls, void *buffer, size_t length, char *why, size_t why_size)
{
    (void)tls;
    if (run.rough && length > 16)
        length = 1 + chance(16);
    if (run.rough > 1 && chance(64) == 0)
        return WIRE_IO_WANT_WRITE;
    ssize_t n = recv(run.client, buffer, length, 0);
    if (n > 0)
        return n;
    if (n == 0)
        return run.unclean ? WIRE_IO_CUT : WIRE_IO_END;
    if (errno == EAGAIN)
        return WIRE_IO_WANT_READ;
    snprintf(why, why_size, "%s", strerror(errno));
    return WIRE_IO_ERROR;
}

static ssize_t session_write(void *tls, const void *data, size_t length, char *scratch, char *why, size_t why_size)
{
    (void)tls, (void)scratch;
    if (run.rough && length > 1)
        length = 1 + chance((unsigned)length);
    if (run.rough > 1 && chance(64) == 0)
        return WIRE_IO_WANT_READ;
    ssize_t n = send(run.client, data, length, MSG_NOSIGNAL);
    if (n >= 0)
        return n;
    if (errno == EAGAIN)
        return WIRE_IO_WANT_WRITE;
    snprintf(why, why_size, "%s", strerror(errno));
    return WIRE_IO_ERROR;
}

static const wire_tls_ops SESSION = {session_read, session_write};

static void *serve(void *io)
{
    wire_io_thread_run(io);
    return NULL;
}

/* -- the caller ----------------------------------------------------------------------------------------------------------- */

static void expect(const char *data, size_t length)
{
    CHECK(run.expected_length + length <= OUT_BYTES);
    memcpy(run.expected + run.expected_length, data, length);
    run.expected_length += length;
}

static void expect_piece(const ask *a, size_t at, size_t length)
{
    char line[20];
    if (run.http2)
        return;
    if (a->length < 0)
        expect(line, (size_t)snprintf(line, sizeof line, "%zx\r\n", length));
    expect(body + at, length);
    if (a->length < 0)
        expect("\r\n", 2);
}

static int busy(void)
{
    for (int i = 0; i < run.count; i++)
        if (!run.asks[i].done)
            return 1;
    return 0;
}

static void submit(unsigned kind, unsigned size)
{
    static const int SIZES[] = {0, 1, 9, 1000, 16384, 65535, 65536, BODY_BYTES};
    static const char *const METHODS[] = {"PUT", "GET", "HEAD", "PUT"};
    /* The caller's duty: over HTTP/1.1, one request at a time, and none after a request that was not sent. */
    if (run.count == REQUESTS || run.closed || (!run.http2 && run.count && !run.asks[run.count - 1].reusable))
        return;
    ask *a = &run.asks[run.count++];
    const char *method = METHODS[kind & 3];
    int bodyless = (kind & 3) == 1 || (kind & 3) == 2, chunks = (kind & 4) && !bodyless;
    int64_t total = bodyless ? 0 : SIZES[size % 8];
    char head[200];
    *a = (ask){.length = chunks ? -1 : total, .plain = 1, .passes_on = (kind & 64) != 0};
    size_t n = (size_t)snprintf(head, sizeof head, "%s /%d HTTP/1.1\r\nHost: a\r\n", method, run.count);
    if (chunks)
        n += (size_t)snprintf(head + n, sizeof head - n, "transfer-encoding: chunked\r\n");
    else
        n += (size_t)snprintf(head + n, sizeof head - n, "content-length: %lld\r\n", (long long)total);
    n += (size_t)snprintf(head + n, sizeof head - n, "%s\r\n", (kind & 8) && total ? "expect: 100-continue\r\n" : "");
    a->request = wire_request_new(a, head, n, a->length, STALL_SECONDS, MAX_RESPONSE_BYTES, a->passes_on);
    CHECK(a->request);
    a->fed = 0;
    if (!run.http2)
        expect(head, n);
    a->whole = !(kind & 16) && !chunks;
    if (a->whole) {
        if (total)
            CHECK(!wire_request_piece(a->request, body, (size_t)total, (kind & 32) != 0));
        wire_request_last_piece(a->request);
        expect_piece(a, 0, (size_t)total);
        a->complete = 1;
        a->fed = total;
    }
    CHECK(!wire_io_thread_submit(run.io, run.connection, a->request, 1));
    wire_io_thread_announce(run.io);
}

static void feed(ask *a, size_t length)
{
    size_t room = (size_t)((a->length < 0 ? BODY_BYTES : a->length) - a->fed);
    if (length > room)
        length = room;
    if (a->released || a->complete || !length)
        return;
    a->plain = 0;
    expect_piece(a, (size_t)a->fed, length);
    CHECK(!wire_io_thread_feed(run.io, a->request, body + a->fed, length, 0));
    a->fed += (int64_t)length;
}

static void feed_end(ask *a)
{
    if (a->released || a->complete)
        return;
    if (a->length > a->fed)
        feed(a, (size_t)(a->length - a->fed));
    a->plain = 0;
    a->complete = 1;
    if (a->length < 0 && !run.http2)
        expect("0\r\n\r\n", 5);
    CHECK(!wire_io_thread_feed(run.io, a->request, NULL, 0, 1));
}

static void done(ask *a)
{
    wire_response answer;
    CHECK(!a->done);
    a->done = 1;
    wire_request_response(a->request, &answer);
    a->result = answer.result;
    a->reusable = answer.reusable;
    CHECK(answer.result >= WIRE_OK && answer.result <= WIRE_NEEDS_H1 && answer.why);
    CHECK(answer.body_length <= MAX_RESPONSE_BYTES);
    for (size_t at = 0, names = 0; at < answer.headers_length; at += strlen(answer.headers + at) + 1, names++)
        CHECK(memchr(answer.headers + at, 0, answer.headers_length - at));
    if (answer.result != WIRE_OK)
        return;
    CHECK(answer.status >= 200 && answer.status <= 999);
    if (answer.status < 300) {
        /* A success counts after the whole body was sent. Over HTTP/1.1 its length shows this before the caller does. */
        CHECK(a->complete || (a->length == a->fed && (a->length == 0 || !run.http2)));
        CHECK(a->sent == a->fed);
        CHECK(!answer.reusable || !run.http2);
    }
}

/* Body bytes that were sent for the requests that are not done. */
static int64_t in_flight(void)
{
    int64_t bytes = 0;
    for (int i = 0; i < run.count; i++)
        if (!run.asks[i].done)
            bytes += run.asks[i].sent;
    return bytes;
}

/* Take the events; returns whether there were any. */
static int drain(void)
{
    wire_event *event = wire_io_thread_events(run.io);
    int any = event != NULL;
    while (event) {
        wire_event *next = event->next;
        ask *a = event->owner;
        if (event->kind <= WIRE_RELEASED)
            CHECK(a >= run.asks && a < run.asks + run.count && !a->released);
        else if (event->kind != WIRE_UNACKNOWLEDGED)
            CHECK(event->owner == &run && !run.closed);
        switch (event->kind) {
        case WIRE_SENT:
            CHECK(event->number > 0);
            a->sent += event->number;
            CHECK(a->sent <= a->fed);
            break;
        case WIRE_WANTED:
            CHECK(!a->whole && !a->wanted);
            a->wanted = 1;
            break;
        case WIRE_BODY:
            CHECK(a->passes_on && event->number > 0);
            a->plain = 0;
            CHECK(!wire_io_thread_used(run.io, a->request, (size_t)event->number));
            break;
        case WIRE_DONE:
            done(a);
            break;
        case WIRE_RELEASED:
            CHECK(a->done);
            a->released = 1;
            break;
        case WIRE_UNACKNOWLEDGED:
            CHECK(!event->owner && event->number >= 0 && event->number <= in_flight());
            break;
        case WIRE_CLOSED:
            run.closed = 1;
            if (run.client >= 0)
                close(run.client);
            run.client = -1;
            break;
        }
        wire_event_free(event);
        event = next;
    }
    return any;
}

/* -- the server ------------------------------------------------------------------------------------------------------------ */

static void take_http2(const uint8_t *data, size_t length)
{
    static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    while (length) {
        if (run.preface < 24) {
            CHECK(*data == (uint8_t)PREFACE[run.preface]);
            run.preface++, data++, length--;
        } else if (run.frame_left) {
            size_t n = length < run.frame_left ? length : run.frame_left;
            if (run.frame_type == 0) {
                size_t *at = &run.stream_bytes[run.frame_stream];
                CHECK(*at + n <= BODY_BYTES && !memcmp(data, body + *at, n));
                *at += n;
            }
            data += n, length -= n, run.frame_left -= n;
        } else {
            run.head[run.head_length++] = *data++, length--;
            if (run.head_length < 9)
                continue;
            const uint8_t *h = run.head;
            run.head_length = 0;
            run.frame_left = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
            run.frame_type = h[3];
            run.frame_stream = (int32_t)((uint32_t)h[5] << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8]);
            CHECK(run.frame_type <= 9);
            CHECK(run.frame_type != 0 || (run.frame_stream > 0 && run.frame_stream < 2 * REQUESTS));
        }
    }
}

/* Reads up to `most` bytes from the client. Returns their number. */
static size_t take(size_t most)
{
    static uint8_t buffer[65536];
    size_t total = 0;
    while (total < most) {
        ssize_t n = recv(run.server, buffer, most - total < sizeof buffer ? most - total : sizeof buffer, MSG_DONTWAIT);
        if (n <= 0)
            break;
        if (run.http2) {
            take_http2(buffer, (size_t)n);
        } else {
            CHECK(run.received + (size_t)n <= run.expected_length);
            CHECK(!memcmp(run.expected + run.received, buffer, (size_t)n));
        }
        run.received += (size_t)n;
        total += (size_t)n;
    }
    return total;
}

static void say(const void *data, size_t length)
{
    while (length && run.server >= 0 && !run.shut) {
        ssize_t n = send(run.server, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0)
            return; /* the client has closed or does not read, so these bytes are lost */
        data = (const char *)data + n;
        length -= (size_t)n;
    }
}

static void say_frame(unsigned type, unsigned flags, uint32_t stream, const uint8_t *payload, size_t length)
{
    uint8_t head[9] = {(uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length, (uint8_t)type, (uint8_t)flags,
                       (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
    say(head, sizeof head);
    say(payload, length);
}

/* Waits until the client has read everything, or does not read any more. */
static void settle(void)
{
    int unread = 1, before = atomic_load(&waits);
    for (int i = 0; i < 300 && run.server >= 0 && !ioctl(run.server, SIOCOUTQ, &unread) && unread; i++)
        sched_yield();
    for (int i = 0; i < 300 && atomic_load(&waits) == before; i++)
        sched_yield();
}

static void let_time_pass(void)
{
    long before = atomic_load(&jumped_ms);
    atomic_store(&time_passes, 1);
    for (int i = 0; i < 20 && atomic_load(&jumped_ms) == before && busy(); i++) {
        struct pollfd fd = {.fd = wire_io_thread_notify_fd(run.io), .events = POLLIN};
        if (poll(&fd, 1, 1))
            drain();
    }
    atomic_store(&time_passes, 0);
}

static void leave(void)
{
    if (run.server >= 0)
        close(run.server);
    run.server = -1;
}

static const char *const ANSWERS[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nt: v\r\n\r\n",
    "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n",
};

static void play(void)
{
    /* Complete HTTP/2 headers: 200; 100; 403; 200 with a field. */
    static const uint8_t BLOCKS[][12] = {{1, 0x88}, {5, 0x48, 3, '1', '0', '0'}, {5, 0x48, 3, '4', '0', '3'},
                                         {8, 0x88, 0, 1, 'a', 2, 'b', 'c', 0x88}};
    static const uint8_t BIG[16384];
    switch (byte() % 18) {
    case 0: { /* any bytes */
        size_t n = byte();
        if (n > (size_t)(run.end - run.at))
            n = (size_t)(run.end - run.at);
        say(run.at, n);
        run.at += n;
        break;
    }
    case 1: { /* a frame */
        unsigned type = byte(), flags = byte(), stream = byte(), n = byte();
        if (n > (size_t)(run.end - run.at))
            n = (unsigned)(run.end - run.at);
        say_frame(type, flags, stream & 15, run.at, n);
        run.at += n;
        break;
    }
    case 2: /* a response, or headers */
        if (run.http2) {
            unsigned which = byte();
            const uint8_t *block = BLOCKS[which & 3];
            say_frame(1, which & 16 ? 5 : 4, (which >> 1 & 14) / 4 | 1, block + 1, block[0]);
        } else {
            const char *answer = ANSWERS[byte() % 8];
            say(answer, strlen(answer));
        }
        break;
    case 3: { /* settings, and their acknowledgement */
        uint8_t settings[6] = {0, (uint8_t)(byte() % 8), 0, 0, 0, 0};
        unsigned value = byte();
        settings[2] = value & 128 ? 0x7f : 0;
        settings[3] = value & 64 ? 0xff : 0;
        settings[4] = value & 32 ? 0xff : 0;
        settings[5] = (uint8_t)(value & 31);
        if (settings[1])
            say_frame(4, 0, 0, settings, 6);
        else
            say_frame(4, value & 1, 0, NULL, 0);
        break;
    }
    case 4: { /* WINDOW_UPDATE */
        unsigned stream = byte();
        uint8_t more[4] = {0, (uint8_t)(byte() & 15), (uint8_t)byte(), 1};
        say_frame(8, 0, stream & 15, more, 4);
        break;
    }
    case 5: /* a long body */
        if (run.http2)
            say_frame(0, byte() & 1, byte() & 15, BIG, sizeof BIG);
        else
            say(BIG, sizeof BIG);
        break;
    case 6:
        take(1 + byte() * 64u);
        break;
    case 7:
        take(OUT_BYTES);
        break;
    case 8:
        if (run.server >= 0)
            shutdown(run.server, SHUT_WR);
        run.shut = 1;
        break;
    case 9:
        if (byte() & 1)
            leave();
        break;
    case 10:
        settle();
        break;
    case 11:
        let_time_pass();
        break;
    case 12: {
        unsigned kind = byte();
        submit(kind, byte());
        break;
    }
    case 13: {
        unsigned which = byte();
        if (run.count)
            feed(&run.asks[which % (unsigned)run.count], 1 + byte() * 999u);
        break;
    }
    case 14:
        if (run.count)
            feed_end(&run.asks[byte() % (unsigned)run.count]);
        break;
    case 15:
        if (run.count) {
            ask *a = &run.asks[byte() % (unsigned)run.count];
            if (!a->done) {
                a->plain = 0;
                wire_io_thread_cancel(run.io, a->request);
            }
        }
        break;
    case 16:
        if (!run.closed && byte() & 1)
            wire_io_thread_close(run.io, run.connection);
        break;
    case 17:
        settle();
        drain();
        break;
    }
}

/* A body that is never requested is never fed. Such a request must end too. */
static void feed_wanted(void)
{
    for (int i = 0; i < run.count; i++)
        if (run.asks[i].wanted)
            feed_end(&run.asks[i]);
}

/* Runs until the requests have ended. The server only reads, and time passes. */
static void finish(int stopping)
{
    struct pollfd fd = {.fd = wire_io_thread_notify_fd(run.io), .events = POLLIN};
    if (!stopping)
        feed_wanted();
    atomic_store(&time_passes, 1);
    for (int round = 0; busy() && !stopping; round++) {
        CHECK(round < 20000);
        if (run.server >= 0)
            take(OUT_BYTES);
        poll(&fd, 1, 1);
        drain();
        feed_wanted();
    }
    atomic_store(&time_passes, 0);
    if (!run.closed && !stopping)
        wire_io_thread_close(run.io, run.connection);
    for (int round = 0; !run.closed && !stopping; round++) {
        CHECK(round < 20000);
        poll(&fd, 1, 1);
        drain();
    }
    wire_io_thread_stop(run.io);
    pthread_join(run.thread, NULL);
    drain();
    CHECK(run.closed);
    for (int i = 0; i < run.count; i++)
        CHECK(run.asks[i].done && run.asks[i].released);
    if (run.server >= 0)
        take(OUT_BYTES); /* check the remaining output too */
}

static int lowest_free_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int pair[2], free_before = lowest_free_descriptor();
    char *expected = run.expected ? run.expected : malloc(OUT_BYTES);
    if (size < 4 || size > 4096) {
        run.expected = expected;
        return 0;
    }
    if (!body)
        make_body();
    memset(&run, 0, sizeof run);
    run.expected = expected;
    run.at = data;
    run.end = data + size;
    unsigned mode = byte(), manner = byte();
    run.http2 = mode & 1;
    run.rough = manner & 3;
    run.unclean = (manner & 4) != 0;
    run.chance = 88172645463325252u ^ ((uint64_t)manner << 40);
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
    run.server = pair[1];
    if (mode & 4) {
        int little = 4096;
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
    }
    wire_rate *rate = mode & 8 ? wire_rate_new(5e5) : NULL;
    run.client = mode & 2 ? pair[0] : -1;
    run.io = wire_io_thread_new(rate);
    CHECK(run.io);
    run.connection = wire_connection_new(&run, pair[0], run.http2, mode & 2 ? &SESSION : NULL, mode & 2 ? &run : NULL);
    CHECK(run.connection && !wire_io_thread_add(run.io, run.connection));
    CHECK(!pthread_create(&run.thread, NULL, serve, run.io));
    if (run.http2 && !(mode & 16))
        say_frame(4, 0, 0, NULL, 0);
    while (run.at < run.end)
        play();
    if (mode & 32)
        leave();
    finish(mode & 64);
    leave();
    for (int i = 0; i < run.count; i++) {
        if (run.asks[i].plain)
            wire_request_free(run.asks[i].request);
        else
            wire_io_thread_free_request(run.io, run.asks[i].request);
    }
    wire_io_thread_free_connection(run.io, run.connection);
    wire_io_thread_free(run.io);
    wire_rate_free(rate);
    CHECK(lowest_free_descriptor() == free_before);
    return 0;
}
