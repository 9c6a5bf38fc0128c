/* A connection: the part that both protocols share. */
#define _GNU_SOURCE
#include "wire_connection.h"

#include "wire_close.h"
#include "wire_h1.h"
#include "wire_h2.h"
#include "wire_output.h"
#include "wire_rate.h"
#include "wire_request.h"
#include "wire_schedule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/sockios.h>
#endif

#define READS_PER_TURN 16

wire_connection *wire_connection_new(void *owner, int fd, int http2, const wire_tls_ops *ops, void *tls)
{
    wire_connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->owner = owner;
    c->fd = fd;
    c->http2 = http2;
    c->ops = ops;
    c->tls = tls;
    wire_parser_init(&c->parser);
    return c;
}

void wire_connection_free(wire_connection *c)
{
    wire_h2_free(c);
    wire_parser_free(&c->parser);
    free(c);
}

const char *wire_connection_why(const wire_connection *c)
{
    return c->why;
}

void wire_connection_start(wire_io_thread *io, wire_connection *c)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    c->io = io;
    c->next = io->connections;
    if (c->next)
        c->next->previous = c;
    io->connections = c;
    c->last_read = c->blocked_since = io->now;
    c->writable = 1;
    wire_parser_reset(&c->parser, 0);
    if (epoll_ctl(io->epoll_fd, EPOLL_CTL_ADD, c->fd, &event)) {
        wire_close_now(c, WIRE_UNSENT, strerror(errno));
        return;
    }
    if (c->http2 && wire_h2_start(c)) {
        wire_close_now(c, WIRE_UNSENT, "out of memory");
        return;
    }
    c->unread = c->ops != NULL; /* the handshake may have read more than itself */
    wire_schedule_ready(c);
}

void wire_connection_submit(wire_connection *c, wire_request *r)
{
    r->fed = !r->complete;
    if (c->dead || c->leaving || c->write_broken || (!c->http2 && c->current)) {
        r->connection = c;
        wire_request_attach(c, r);
        wire_request_finish(r, WIRE_UNSENT, c->why);
        return;
    }
    wire_request_attach(c, r);
    if (r->expects_continue) {
        r->hold = 1;
        r->hold_until = c->io->now + WIRE_CONTINUE_SECONDS;
    }
    if (c->io->active == 1)
        c->io->next_tick = c->io->now + WIRE_TICK_SECONDS;
    if (c->http2)
        wire_h2_submit(c, r);
    else
        wire_h1_submit(c, r);
    wire_schedule_ready(c);
}

void wire_connection_cancel(wire_connection *c, wire_request *r)
{
    if (c->http2)
        wire_h2_end(c, r, WIRE_CANCELLED);
    else
        wire_close_now(c, WIRE_CANCELLED, ""); /* HTTP/1.1 has no other way to end a request */
}

static void input_end(wire_connection *c, int clean, const char *why)
{
    if (c->http2)
        wire_close_now(c, WIRE_BROKEN, why);
    else
        wire_h1_input_end(c, clean, why);
}

static ssize_t read_some(wire_connection *c, char *into, size_t room, char *why, size_t why_size)
{
    if (c->ops)
        return c->ops->read(c->tls, into, room, why, why_size);
    ssize_t n;
    do
        n = recv(c->fd, into, room, 0);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return WIRE_IO_WANT_READ;
    snprintf(why, why_size, "%s", strerror(errno));
    return WIRE_IO_ERROR;
}

/* With TLS a read returns one record. For a body that goes to its place, this reads until `room` is full, so that it is
 * written in large blocks. `*after` is what the read returned that ended this, or 1. */
static ssize_t fill(wire_connection *c, char *into, size_t room, ssize_t *after, char *why, size_t why_size)
{
    size_t done = 0;
    *after = 1;
    do {
        ssize_t n = read_some(c, into + done, room - done, why, why_size);
        if (n <= 0) {
            *after = n;
            return done ? (ssize_t)done : n;
        }
        done += (size_t)n;
    } while (c->ops && done < room);
    return (ssize_t)done;
}

/* A read has returned no bytes. */
static void nothing_read(wire_connection *c, ssize_t n, const char *why)
{
    if (n == WIRE_IO_WANT_READ) {
        if (c->write_broken)
            input_end(c, 0, c->why);
    } else if (n == WIRE_IO_WANT_WRITE) {
        c->want_write_to_read = 1;
    } else if (n == WIRE_IO_END) {
        input_end(c, 1, "the server closed the connection");
    } else {
        /* The server's reason is more precise than our failed write: in TLS 1.3 a refused certificate shows only now. */
        if (c->write_broken && n == WIRE_IO_ERROR && why[0])
            c->why[0] = 0;
        input_end(c, 0, n == WIRE_IO_CUT ? "the server closed the connection" : why);
    }
}

/* Whether what the connection receives counts for the rate limit: the content of objects, and what comes with it. */
static int is_metered(const wire_connection *c)
{
    if (!c->io->rate)
        return 0;
    for (const wire_request *r = c->requests; r; r = r->next)
        if (!r->done && (r->sink || r->pass_body_on))
            return 1;
    return 0;
}

void wire_connection_read(wire_connection *c)
{
    char why[160] = "";
    c->unread = 0;
    for (int turn = 0; turn < READS_PER_TURN; turn++) {
        size_t room = WIRE_READ_BYTES;
        ssize_t n, after = 1;
        if (c->dead)
            return;
        if (c->paused)
            return; /* `used` makes it ready again */
        c->want_write_to_read = 0;
        char *place = c->http2 ? NULL : wire_h1_body_room(c, &room), *input = place ? place : c->io->input;
        int metered = is_metered(c);
        if (metered && (c->throttled || !(room = wire_schedule_allowed(c, room)))) {
            c->unread = 1; /* it is read when it has its turn; meanwhile the server cannot send more */
            return;
        }
        n = place ? fill(c, input, room, &after, why, sizeof why) : read_some(c, input, room, why, sizeof why);
        if (metered && (n < 0 || (size_t)n < room))
            wire_rate_give_back(c->io->rate, room - (n > 0 ? (size_t)n : 0));
        if (n <= 0) {
            nothing_read(c, n, why);
            return;
        }
        c->last_read = c->io->now;
        if (c->http2)
            wire_h2_input(c, input, (size_t)n);
        else if (place)
            wire_h1_body(c, (size_t)n);
        else
            wire_h1_input(c, input, (size_t)n);
        if (after <= 0) {
            if (!c->dead)
                nothing_read(c, after, why);
            return;
        }
        if (!c->ops && (size_t)n < room && !c->hung_up)
            return; /* the socket is empty */
    }
    c->unread = 1;
    wire_schedule_ready(c);
}

void wire_connection_write(wire_connection *c)
{
    size_t budget = WIRE_TURN_BYTES;
    while (!c->dead && c->writable && !c->throttled && !c->write_broken) {
        if (c->http2)
            wire_h2_produce(c);
        else
            wire_h1_produce(c);
        if (c->dead || !c->count)
            return;
        wire_flush_result result = wire_output_flush(c, &budget);
        if (result == WIRE_FLUSH_LOST) {
            wire_close_lost_file(c);
            return;
        }
        if (result == WIRE_FLUSH_BROKEN) {
            /* The server may have responded before it closed: read what has arrived first. */
            c->write_broken = 1;
            c->hung_up = 1;
            wire_output_drop(c);
            wire_connection_read(c);
            return;
        }
        if (c->want_read_to_write) {
            c->want_read_to_write = 0;
            return;
        }
        if (result == WIRE_FLUSH_WAITS && c->writable && !c->throttled) {
            wire_schedule_ready(c); /* its turn is over */
            return;
        }
    }
}

/* How many bytes the peer's TCP has acknowledged since the last call. The socket's buffer holds a megabyte or more. A
 * slow peer takes it long after we wrote it, and that is progress. A closed window acknowledges nothing. With TLS the
 * overhead of the records counts as not acknowledged until all of it is. */
static size_t newly_acknowledged(wire_connection *c)
{
    int unconfirmed;
    if (c->acknowledged == c->written || ioctl(c->fd, SIOCOUTQ, &unconfirmed) || unconfirmed < 0)
        return 0;
    uint64_t now = c->written > (uint64_t)unconfirmed ? c->written - (uint64_t)unconfirmed : 0;
    if (now <= c->acknowledged)
        return 0;
    size_t more = (size_t)(now - c->acknowledged);
    c->acknowledged = now;
    return more;
}

uint64_t wire_connection_unacknowledged(const wire_connection *c)
{
    uint64_t bodies = 0, out = c->written - c->acknowledged;
    for (const wire_request *r = c->requests; r; r = r->next)
        if (!r->done)
            bodies += r->sent;
    return out < bodies ? out : bodies; /* heads, frame heads and records are in flight too */
}

double wire_connection_disk_seconds(wire_connection *c)
{
    double seconds = 0;
    for (wire_request *r = c->requests; r; r = r->next) {
        if (!r->sink)
            continue;
        seconds += r->sink->seconds;
        r->sink->seconds = 0;
    }
    return seconds;
}

/* Whether acknowledged bytes are progress of this request: some of it was in the socket, or waits behind such bytes. */
static int is_on_its_way(const wire_connection *c, const wire_request *r, uint64_t confirmed_before)
{
    return r->out_until > confirmed_before || r->spans || (c->http2 && wire_h2_waits_for_room(c, r));
}

void wire_connection_tick(wire_connection *c, double now, double disk_seconds)
{
    uint64_t confirmed_before = c->acknowledged;
    size_t confirmed = newly_acknowledged(c);
    for (wire_request *next, *r = c->requests; r; r = next) {
        next = r->next;
        if (r->done)
            continue;
        wire_request_report(r);
        r->last_activity += disk_seconds;
        if (confirmed && is_on_its_way(c, r, confirmed_before))
            wire_request_moved(r, confirmed);
        if (r->hold && now >= r->hold_until) {
            r->hold = 0;
            if (c->http2)
                wire_h2_resume(c, r);
            wire_schedule_ready(c);
        }
        if (c->throttled || c->paused || wire_request_caller_is_late(r)) {
            r->last_activity = now; /* the server is not the cause */
        } else if (now - r->last_activity > r->stall_seconds) {
            int silent = now - c->last_read > r->stall_seconds;
            if (!c->http2 || (silent && c->request_count == 1)) {
                wire_close_now(c, WIRE_TIMEOUT, "");
                return;
            }
            if (silent)
                wire_close_gracefully(c); /* other requests may have longer timeouts */
            wire_h2_end(c, r, WIRE_TIMEOUT);
        }
    }
    if (c->http2)
        wire_h2_tick(c, now);
}
