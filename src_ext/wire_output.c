/* A connection's output: runs of bytes from heads, frames and bodies, written with few system calls and copies.
 *
 * Plain: long runs of a file by sendfile, which neither copies nor maps them; many other runs in one sendmsg. The kernel
 * reads the file's pages when they leave, so a file that changes meanwhile is sent with other bytes than were hashed. Then
 * the server's check of Content-MD5 and the digests of its response show it, as with a mapping. TLS: runs of a record or more directly from the body. Shorter runs (frame heads, the ends of
 * bodies) are copied together, so that no record is short. */
#define _GNU_SOURCE
#include "wire_output.h"

#include "wire_pages.h"
#include "wire_rate.h"
#include "wire_request.h"
#include "wire_schedule.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define VECTORS 64

static wire_span *slot(wire_connection *c)
{
    wire_span *s = &c->spans[(c->first + c->count) % WIRE_SPANS];
    s->request = NULL;
    s->piece = NULL;
    s->owned = NULL;
    c->count++;
    return s;
}

wire_span *wire_output_push(wire_connection *c, const char *data, size_t length)
{
    wire_span *s = slot(c);
    s->data = data;
    s->length = length;
    c->queued += length;
    return s;
}

int wire_output_push_copy(wire_connection *c, const char *data, size_t length)
{
    char *owned = NULL;
    if (length > sizeof c->spans[0].small && !(owned = malloc(length)))
        return -1;
    wire_span *s = wire_output_push(c, NULL, length);
    s->owned = owned;
    s->data = memcpy(owned ? owned : s->small, data, length);
    return 0;
}

void wire_output_push_body(wire_connection *c, wire_request *r, wire_piece *piece, size_t at, size_t length)
{
    wire_span *s = wire_output_push(c, piece->data + at, length);
    s->request = r;
    s->piece = piece;
    s->at = at;
    s->whole = length >= WIRE_FILE_BYTES;
    r->spans++;
    r->queued += length;
}

void wire_output_push_belongs(wire_connection *c, wire_request *r)
{
    c->spans[(c->first + c->count - 1) % WIRE_SPANS].request = r;
    r->spans++;
}

static void drop_span(wire_connection *c, wire_span *s)
{
    wire_request *r = s->request;
    free(s->owned);
    s->owned = NULL;
    c->first = (c->first + 1) % WIRE_SPANS;
    c->count--;
    if (r) {
        r->spans--;
        wire_request_release(r);
    }
}

void wire_output_drop(wire_connection *c)
{
    while (c->count) {
        wire_span *s = &c->spans[c->first];
        if (s->request)
            s->request->cut = 1;
        drop_span(c, s);
    }
    c->queued = 0;
}

/* Whether the request has nothing to send beyond what is queued. */
static int is_all(const wire_request *r)
{
    return r->sending_done || (r->length >= 0 && r->sent == (uint64_t)r->length);
}

/* Removes `length` bytes from the queue, after they were written. */
static void advance(wire_connection *c, size_t length)
{
    c->queued -= length;
    c->written += length;
    while (length) {
        wire_span *s = &c->spans[c->first];
        size_t n = length < s->length ? length : s->length;
        s->data += n;
        s->length -= n;
        length -= n;
        if (s->request) {
            s->request->begun = 1;
            s->request->out_until = c->written;
            wire_request_moved(s->request, n);
        }
        if (s->piece) {
            s->at += n;
            s->request->sent += n;
            wire_pages_drop(s->piece, s->at, c->io->active > WIRE_FEW ? WIRE_STEP_BYTES : 2 * WIRE_STEP_BYTES);
            if (s->request->fed && s->at == s->piece->length)
                wire_request_report(s->request); /* the caller waits for this before it feeds more */
        }
        if (s->length == 0) {
            if (s->request && s->request->spans == 1 && is_all(s->request))
                s->request->last_activity = c->io->now;
            drop_span(c, s);
        }
    }
}

static int is_sent_from_file(const wire_span *s)
{
    return s->piece && s->piece->fd >= 0 && s->whole;
}

/* The errors of sendfile that are the socket's. Any other one is the file's, and the mapping shows what it means. */
static int is_of_socket(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == EPIPE || error == ECONNRESET ||
           error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH || error == ENETDOWN ||
           error == ENOTCONN || error == ECONNABORTED || error == ECONNREFUSED || error == ENETRESET;
}

static ssize_t write_file(wire_span *s, int to, size_t limit)
{
    wire_piece *piece = s->piece;
    off_t from = piece->offset + (off_t)s->at;
    ssize_t n = sendfile(to, piece->fd, &from, s->length < limit ? s->length : limit);
    if (n == 0) {
        piece->lost = 1;
        errno = EFAULT;
        return -1;
    }
    if (n < 0 && !is_of_socket(errno)) {
        piece->fd = -1;
        errno = EINTR;
    }
    return n;
}

static ssize_t write_plain(wire_connection *c, size_t limit)
{
    if (is_sent_from_file(&c->spans[c->first]))
        return write_file(&c->spans[c->first], c->fd, limit);
    int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    struct iovec vectors[VECTORS];
    size_t count = 0, total = 0;
    for (unsigned i = 0; i < c->count && count < VECTORS && total < limit; i++) {
        wire_span *s = &c->spans[(c->first + i) % WIRE_SPANS];
        size_t n = s->length < limit - total ? s->length : limit - total;
        if (is_sent_from_file(s)) {
            flags |= MSG_MORE; /* the head and the body in one packet */
            break;
        }
        if (s->piece)
            wire_pages_map(s->piece, s->at, n);
        vectors[count++] = (struct iovec){(void *)s->data, n};
        total += n;
    }
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = count};
    return sendmsg(c->fd, &message, flags);
}

/* Returns the bytes for the next write over TLS: one long run, or short runs that are copied together to whole
 * records. */
static const char *next_records(wire_connection *c, size_t limit, size_t *length)
{
    wire_span *s = &c->spans[c->first];
    if (s->length >= WIRE_RECORD_BYTES || c->count == 1) {
        size_t n = s->length < limit ? s->length : limit;
        if (n > WIRE_GATHER_BYTES)
            n = WIRE_GATHER_BYTES;
        if (c->count > 1 && n > WIRE_RECORD_BYTES)
            n -= n % WIRE_RECORD_BYTES; /* the rest is copied together with the next run */
        if (s->piece)
            wire_pages_map(s->piece, s->at, n);
        *length = n;
        return s->data;
    }
    size_t total = 0;
    char *gather = c->io->gather;
    if (limit > WIRE_GATHER_BYTES)
        limit = WIRE_GATHER_BYTES;
    for (unsigned i = 0; i < c->count && total < limit; i++) {
        s = &c->spans[(c->first + i) % WIRE_SPANS];
        size_t n = s->length < limit - total ? s->length : limit - total;
        if (s->length >= 4 * WIRE_RECORD_BYTES && total) {
            /* A long run follows: fill the record from it; the rest of the run is written without a copy. */
            size_t rest = WIRE_RECORD_BYTES - total % WIRE_RECORD_BYTES;
            n = rest < n ? rest : n;
            limit = total + n;
        }
        if (s->piece)
            wire_pages_map(s->piece, s->at, n);
        memcpy(gather + total, s->data, n);
        total += n;
    }
    *length = total;
    return gather;
}

static ssize_t write_tls(wire_connection *c, size_t limit)
{
    size_t length;
    const char *data = next_records(c, limit, &length);
    ssize_t n = c->ops->write(c->tls, data, length, c->io->scratch, c->why, sizeof c->why);
    if (n > 0)
        return n;
    if (n == WIRE_IO_WANT_WRITE || n == WIRE_IO_WANT_READ) {
        c->want_read_to_write = n == WIRE_IO_WANT_READ;
        errno = EAGAIN;
    } else {
        errno = EPIPE;
    }
    return -1;
}

/* The socket takes no more for now. One request would keep up to 4 MiB mapped until it does. */
static void drop_pages(wire_connection *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        wire_span *s = &c->spans[(c->first + i) % WIRE_SPANS];
        if (s->piece)
            wire_pages_drop_all(s->piece, s->at);
    }
}

/* OpenSSL calls write() for each record of 16 KiB, and each would leave as a packet of its own. While the socket is
 * corked, the kernel joins them to packets of up to 64 KiB. */
static void cork(wire_connection *c, int on)
{
    if (c->corked != on && !setsockopt(c->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on))
        c->corked = on;
}

static wire_flush_result flush(wire_connection *c, size_t *budget)
{
    wire_rate *rate = c->io->rate;
    while (c->count) {
        size_t limit = *budget;
        if (limit < WIRE_RECORD_BYTES)
            return WIRE_FLUSH_WAITS; /* no short record at the end of a turn */
        if (rate) {
            limit = wire_schedule_allowed(c, c->queued < limit ? c->queued : limit);
            if (!limit) {
                for (wire_request *r = c->requests; r; r = r->next)
                    r->last_activity = c->io->now; /* the rate limit is the cause, not the server */
                return WIRE_FLUSH_WAITS;
            }
        }
        ssize_t n = c->ops ? write_tls(c, limit) : write_plain(c, limit);
        if (rate && (n < 0 || (size_t)n < limit))
            wire_rate_give_back(rate, limit - (n > 0 ? (size_t)n : 0));
        if (n > 0) {
            *budget = (size_t)n < *budget ? *budget - (size_t)n : 0;
            advance(c, (size_t)n);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            c->writable = 0;
            if (c->io->active > WIRE_FEW)
                drop_pages(c);
            return WIRE_FLUSH_WAITS;
        }
        if (n < 0 && errno == EFAULT)
            return WIRE_FLUSH_LOST;
        if (!c->why[0])
            snprintf(c->why, sizeof c->why, "%s", strerror(errno));
        return WIRE_FLUSH_BROKEN;
    }
    return WIRE_FLUSH_ALL;
}

wire_flush_result wire_output_flush(wire_connection *c, size_t *budget)
{
    if (c->ops && c->queued > 2 * WIRE_RECORD_BYTES)
        cork(c, 1);
    wire_flush_result result = flush(c, budget);
    if (c->corked)
        cork(c, 0);
    return result;
}
