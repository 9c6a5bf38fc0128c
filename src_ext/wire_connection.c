/* A connection: what both protocols share. */
#define _GNU_SOURCE
#include "wire_core.h"

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
    wire_h1_init(&c->parser);
    return c;
}

void wire_connection_free(wire_connection *c)
{
    wire_h2_free(c);
    wire_h1_free(&c->parser);
    free(c);
}

const char *wire_connection_why(const wire_connection *c)
{
    return c->why;
}

void wire_connection_start(wire_engine *e, wire_connection *c)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    c->engine = e;
    c->next = e->connections;
    if (c->next)
        c->next->previous = c;
    e->connections = c;
    c->last_read = c->blocked_since = e->now;
    c->writable = 1;
    wire_h1_reset(&c->parser, 0);
    if (epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, c->fd, &event)) {
        wire_kill(c, WIRE_UNSENT, strerror(errno));
        return;
    }
    if (c->http2 && wire_h2_start(c)) {
        wire_kill(c, WIRE_UNSENT, "out of memory");
        return;
    }
    c->unread = c->ops != NULL; /* the handshake may have read more than itself */
    wire_make_ready(c);
}

void wire_kill(wire_connection *c, int result, const char *why)
{
    wire_engine *e = c->engine;
    if (c->dead)
        return;
    c->dead = 1;
    if (why && !c->why[0])
        snprintf(c->why, sizeof c->why, "%s", why);
    wire_leave_queue(c);
    wire_drop_output(c);
    for (wire_request *next, *r = c->requests; r; r = next) {
        next = r->next;
        r->stream_open = 0;
        if (result != WIRE_CANCELLED && wire_answer_counts(r))
            wire_finish(r, WIRE_OK, NULL);
        wire_finish(r, !r->begun && (result == WIRE_BROKEN || result == WIRE_MALFORMED) ? WIRE_UNSENT : result, c->why);
    }
    c->current = NULL;
    epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    if (!c->ops)
        close(c->fd);
    if (c->previous)
        c->previous->next = c->next;
    else
        e->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    c->next_dead = e->dead;
    e->dead = c;
}

void wire_connection_submit(wire_connection *c, wire_request *r)
{
    r->fed = !r->complete;
    if (c->dead || c->leaving || c->write_broken || (!c->http2 && c->current)) {
        r->connection = c;
        wire_attach(c, r);
        wire_finish(r, WIRE_UNSENT, c->why);
        return;
    }
    wire_attach(c, r);
    if (r->expects_continue) {
        r->hold = 1;
        r->hold_until = c->engine->now + WIRE_CONTINUE_SECONDS;
    }
    if (c->engine->active == 1)
        c->engine->next_tick = c->engine->now + WIRE_TICK_SECONDS;
    if (c->http2)
        wire_h2_submit(c, r);
    else
        wire_h1_submit(c, r);
    wire_make_ready(c);
}

void wire_connection_cancel(wire_connection *c, wire_request *r)
{
    if (c->http2)
        wire_h2_end(c, r, WIRE_CANCELLED);
    else
        wire_kill(c, WIRE_CANCELLED, ""); /* HTTP/1.1 has no other way to end an exchange */
}

static void input_end(wire_connection *c, int clean, const char *why)
{
    if (c->http2)
        wire_kill(c, WIRE_BROKEN, why);
    else
        wire_h1_input_end(c, clean, why);
}

void wire_connection_read(wire_connection *c)
{
    char *input = c->engine->input, why[160] = "";
    c->unread = 0;
    for (int turn = 0; turn < READS_PER_TURN; turn++) {
        ssize_t n;
        if (c->dead)
            return;
        if (c->paused)
            return; /* `used` comes back to it */
        c->want_write_to_read = 0;
        if (c->ops) {
            n = c->ops->read(c->tls, input, WIRE_READ_BYTES, why, sizeof why);
        } else {
            n = recv(c->fd, input, WIRE_READ_BYTES, 0);
            if (n < 0)
                n = errno == EAGAIN || errno == EWOULDBLOCK ? WIRE_IO_WANT_READ : WIRE_IO_ERROR;
            if (n == WIRE_IO_ERROR) {
                if (errno == EINTR)
                    continue;
                snprintf(why, sizeof why, "%s", strerror(errno));
            }
        }
        if (n > 0) {
            c->last_read = c->engine->now;
            if (c->http2)
                wire_h2_input(c, input, (size_t)n);
            else
                wire_h1_input(c, input, (size_t)n);
            if (!c->ops && n < WIRE_READ_BYTES && !c->hung_up)
                return; /* all that there was */
            continue;
        }
        if (n == WIRE_IO_WANT_READ) {
            if (c->write_broken)
                input_end(c, 0, c->why);
            return;
        }
        if (n == WIRE_IO_WANT_WRITE) {
            c->want_write_to_read = 1;
        } else if (n == WIRE_IO_END) {
            input_end(c, 1, "the server closed the connection");
        } else {
            /* Why the server ended it says more than that our writing failed: TLS 1.3 refuses a certificate so late. */
            if (c->write_broken && n == WIRE_IO_ERROR && why[0])
                c->why[0] = 0;
            input_end(c, 0, n == WIRE_IO_CUT ? "the server closed the connection" : why);
        }
        return;
    }
    c->unread = 1;
    wire_make_ready(c);
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
        int result = wire_flush(c, &budget);
        if (c->dead)
            return;
        if (result < 0) {
            /* The server may have answered before it closed: what has arrived is read first. */
            c->write_broken = 1;
            c->hung_up = 1;
            wire_drop_output(c);
            wire_connection_read(c);
            return;
        }
        if (c->want_read_to_write) {
            c->want_read_to_write = 0;
            return;
        }
        if (result == 0 && c->writable && !c->throttled) {
            wire_make_ready(c); /* its turn is over */
            return;
        }
    }
}

void wire_leave(wire_connection *c)
{
    if (!c->leaving)
        wire_emit(c->engine, WIRE_LEAVING, c->owner, 0, NULL);
    c->leaving = 1;
}

/* How many more bytes the peer's system has confirmed since the last look. A megabyte or more lies in the socket's buffer:
 * a slow peer takes it long after we have written it, and that is progress. A window that stays shut confirms nothing.
 * With TLS the records' overhead is counted as unconfirmed, until all of it is confirmed. */
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

/* Whether what the peer confirms brings the request further: some of it was on its way, or waits behind that. */
static int is_on_its_way(const wire_connection *c, const wire_request *r, uint64_t confirmed_before)
{
    return r->out_until > confirmed_before || r->spans || (c->http2 && wire_h2_waits_for_room(c, r));
}

void wire_connection_tick(wire_connection *c, double now)
{
    uint64_t confirmed_before = c->acknowledged;
    size_t confirmed = newly_acknowledged(c);
    for (wire_request *next, *r = c->requests; r; r = next) {
        next = r->next;
        if (r->done)
            continue;
        wire_report_sent(r);
        if (confirmed && is_on_its_way(c, r, confirmed_before))
            wire_moved(r, confirmed);
        if (r->hold && now >= r->hold_until) {
            r->hold = 0;
            if (c->http2)
                wire_h2_resume(c, r);
            wire_make_ready(c);
        }
        if (c->throttled || c->paused || wire_caller_is_late(r)) {
            r->last_activity = now; /* not the server's fault */
        } else if (now - r->last_activity > r->stall_seconds) {
            int silent = now - c->last_read > r->stall_seconds;
            if (!c->http2 || (silent && c->request_count == 1)) {
                wire_kill(c, WIRE_TIMEOUT, "");
                return;
            }
            if (silent)
                wire_leave(c); /* the others may have more patience */
            wire_h2_end(c, r, WIRE_TIMEOUT);
        }
    }
    if (c->http2)
        wire_h2_tick(c, now);
}
