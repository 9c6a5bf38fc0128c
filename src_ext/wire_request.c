/* A request: the pieces of its body, its response, and its end. */
#define _GNU_SOURCE
#include "wire_request.h"

#include "wire_mailbox.h"
#include "wire_pages.h"
#include "wire_schedule.h"
#include "wire_sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The head contains headers of the user. A stray CR or LF in one of them would be another header or another request. */
static int head_is_well_formed(const char *head, size_t length)
{
    if (length < 4 || memcmp(head + length - 4, "\r\n\r\n", 4) || memchr(head, 0, length))
        return 0;
    const char *end = head + length - 2;
    for (const char *line = head; line < end;) {
        const char *lf = memchr(line, '\n', (size_t)(end - line));
        const char *cr = memchr(line, '\r', (size_t)(end - line));
        if (!lf || cr != lf - 1 || cr == line)
            return 0;
        if (line != head) {
            const char *colon = line;
            while (wire_parser_is_token_char((unsigned char)*colon))
                colon++;
            if (colon == line || *colon != ':')
                return 0;
        }
        line = lf + 1;
    }
    return 1;
}

static int has_continue(const char *head, size_t length)
{
    const char *at = head, *end = head + length;
    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        at++;
        if ((size_t)(end - at) > 7 && !strncasecmp(at, "expect:", 7))
            return 1;
    }
    return 0;
}

wire_request *wire_request_new(void *owner, const char *head, size_t head_length, int64_t length, double stall_seconds,
                               size_t max_response_bytes, int pass_body_on)
{
    if (!head_is_well_formed(head, head_length)) {
        errno = EINVAL;
        return NULL;
    }
    wire_request *r = calloc(1, sizeof *r);
    char *copy = r ? malloc(head_length) : NULL;
    if (!copy) {
        free(r);
        errno = ENOMEM;
        return NULL;
    }
    memcpy(copy, head, head_length);
    r->owner = owner;
    r->head = copy;
    r->head_length = head_length;
    r->is_head = head_length > 5 && !memcmp(head, "HEAD ", 5);
    r->expects_continue = length != 0 && has_continue(head, head_length);
    r->length = length;
    r->stall_seconds = stall_seconds;
    r->max_response_bytes = max_response_bytes;
    r->pass_body_on = pass_body_on;
    return r;
}

void wire_request_free(wire_request *r)
{
    while (r->pieces) {
        wire_piece *next = r->pieces->next;
        free(r->pieces);
        r->pieces = next;
    }
    free(r->head);
    free(r->headers);
    free(r->body);
    if (r->sink)
        free(r->sink->block);
    free(r->sink);
    free(r);
}

int wire_request_receive(wire_request *r, const wire_range *range)
{
    size_t length = strlen(range->etag) + 1;
    wire_sink *sink = calloc(1, sizeof *sink + length);
    if (!sink) {
        errno = ENOMEM;
        return -1;
    }
    sink->range = *range;
    sink->range.etag = memcpy(sink->etag, range->etag, length);
    sink->received = sink->reported = range->received;
    sink->crc64 = range->crc64_so_far;
    free(r->sink);
    r->sink = sink;
    return 0;
}

int wire_request_piece(wire_request *r, const char *data, size_t length, int mapped)
{
    wire_piece *piece = calloc(1, sizeof *piece);
    if (!piece) {
        errno = ENOMEM;
        return -1;
    }
    *piece = (wire_piece){.data = data, .length = length, .mapped = mapped, .fd = -1};
    if (r->last_piece)
        r->last_piece->next = piece;
    else
        r->pieces = piece;
    r->last_piece = piece;
    return 0;
}

void wire_request_file(wire_request *r, int fd, int64_t offset)
{
    r->last_piece->fd = fd;
    r->last_piece->offset = (off_t)offset;
}

void wire_request_last_piece(wire_request *r)
{
    r->complete = 1;
}

wire_piece *wire_request_next_piece(wire_request *r)
{
    for (;;) {
        wire_piece *next = r->piece ? r->piece : r->pieces;
        if (r->piece && r->taken >= r->piece->length) {
            next = r->piece->next;
            if (!next)
                return NULL;
            r->taken = 0;
        }
        if (!next)
            return NULL;
        r->piece = next;
        if (r->taken < next->length)
            return next;
    }
}

/* -- the response -------------------------------------------------------------------------------------------------- */

static int append(char **buffer, size_t *length, size_t *capacity, const char *data, size_t n)
{
    if (*length + n > *capacity) {
        size_t wanted = *capacity ? *capacity : 512;
        while (wanted < *length + n)
            wanted *= 2;
        char *grown = realloc(*buffer, wanted);
        if (!grown)
            return -1;
        *buffer = grown;
        *capacity = wanted;
    }
    memcpy(*buffer + *length, data, n);
    *length += n;
    return 0;
}

int wire_request_set_header(wire_request *r, const char *name, size_t name_length, const char *value,
                            size_t value_length)
{
    if (r->headers_length + name_length + value_length + 2 > 2 * WIRE_MAX_HEAD_BYTES)
        return -1;
    return append(&r->headers, &r->headers_length, &r->headers_capacity, name, name_length) ||
           append(&r->headers, &r->headers_length, &r->headers_capacity, "", 1) ||
           append(&r->headers, &r->headers_length, &r->headers_capacity, value, value_length) ||
           append(&r->headers, &r->headers_length, &r->headers_capacity, "", 1)
               ? -1
               : 0;
}

void wire_request_clear_response(wire_request *r)
{
    r->status = 0;
    r->headers_length = 0;
}

int wire_request_take_head(wire_request *r)
{
    if (!r->sink || r->done || r->status < 200 || r->status >= 300)
        return 0;
    return wire_sink_accept(r->sink, r->status, r->headers, r->headers_length) ? 0 : WIRE_UNWANTED;
}

int wire_request_is_receiving(const wire_request *r)
{
    return r->sink && r->sink->accepted && !r->done;
}

const char *wire_request_body_problem(const wire_request *r)
{
    return r->sink && r->sink->why ? r->sink->why : "";
}

int wire_request_take_body(wire_request *r, const char *data, size_t length)
{
    if (r->done || !length)
        return 0;
    wire_request_moved(r, length);
    if (r->sink && r->sink->accepted)
        return wire_sink_take(r->sink, data, length);
    if (r->pass_body_on && r->status >= 200 && r->status < 300) {
        char *copy = malloc(length);
        if (!copy)
            return WIRE_TOO_LONG;
        memcpy(copy, data, length);
        r->backlog += length;
        if (r->backlog > WIRE_BACKLOG_BYTES)
            r->connection->paused = 1;
        wire_mailbox_emit(r->connection->io, WIRE_BODY, r->owner, (int64_t)length, copy);
        return 0;
    }
    if (r->body_length + length > r->max_response_bytes)
        return WIRE_TOO_LONG;
    return append(&r->body, &r->body_length, &r->body_capacity, data, length) ? WIRE_TOO_LONG : 0;
}

void wire_request_response(const wire_request *r, wire_response *response)
{
    *response = (wire_response){
        .result = r->result,
        .status = r->status,
        .reusable = r->reusable,
        .body_begun = r->queued > 0 || r->wanted,
        .headers = r->headers,
        .headers_length = r->headers_length,
        .body = r->body,
        .body_length = r->body_length,
        .why = r->why,
    };
    if (r->sink) {
        response->received = r->sink->received;
        response->crc64 = r->sink->crc64;
        response->accepted = r->sink->accepted;
        response->error = r->sink->error;
    }
}

/* -- its end ------------------------------------------------------------------------------------------------------- */

void wire_request_unreported(wire_request *r)
{
    r->unreported = 1;
}

void wire_request_report(wire_request *r)
{
    wire_sink *s = r->sink;
    if (r->sent != r->reported && !r->unreported)
        wire_mailbox_emit(r->connection->io, WIRE_SENT, r->owner, (int64_t)(r->sent - r->reported), NULL);
    r->reported = r->sent;
    uint64_t arrived = s ? wire_sink_arrived(s) : 0;
    if (s && arrived != s->reported)
        wire_mailbox_emit(r->connection->io, WIRE_RECEIVED, r->owner, (int64_t)(arrived - s->reported), NULL);
    if (s)
        s->reported = arrived;
}

void wire_request_want(wire_request *r)
{
    if (r->wanted)
        return;
    r->wanted = 1;
    wire_mailbox_emit(r->connection->io, WIRE_WANTED, r->owner, 0, NULL);
}

void wire_request_moved(wire_request *r, size_t bytes)
{
    r->trickle += bytes;
    if (r->trickle < WIRE_TRICKLE_BYTES)
        return;
    r->trickle = 0;
    r->interims = 0; /* a body ends at some time, so it also bounds the interim responses that come with it */
    r->interim_bytes = 0;
    r->last_activity = r->connection->io->now;
}

int wire_request_caller_is_late(wire_request *r)
{
    return r->wanted && !r->complete && !r->sending_done && !r->spans && r->status < 300 && !wire_request_next_piece(r);
}

void wire_request_attach(wire_connection *c, wire_request *r)
{
    r->connection = c;
    r->previous = NULL;
    r->next = c->requests;
    if (r->next)
        r->next->previous = r;
    c->requests = r;
    c->request_count++;
    c->io->active++;
    r->last_activity = c->io->now;
}

int wire_request_response_counts(const wire_request *r)
{
    /* HTTP/1.1 with a length: the server has the whole body, even if the caller has not yet said that it was all. */
    int whole = r->sending_done ||
                (!r->connection->http2 && r->length >= 0 && r->queued == (uint64_t)r->length);
    return r->response_complete && (r->status >= 300 || (whole && !r->cut && !r->spans));
}

void wire_request_finish(wire_request *r, int result, const char *why)
{
    wire_connection *c = r->connection;
    if (r->sink && !r->done)
        wire_sink_end(r->sink, &c->io->spare);
    if (result == WIRE_OK && !wire_request_response_counts(r)) {
        result = WIRE_BROKEN;
        why = "the server responded before it received the whole body";
    } else if (result == WIRE_OK && r->sink && r->sink->accepted && r->sink->left) {
        result = WIRE_MALFORMED;
        why = "the body is shorter than its range";
    }
    if (!r->done) {
        r->done = 1;
        r->result = result;
        if (why) {
            strncpy(r->why, why, sizeof r->why - 1);
            r->why[sizeof r->why - 1] = 0;
        }
        if (!r->sink || !r->sink->range.counts_at_end)
            wire_request_report(r);
        if (c->paused && !c->dead) {
            /* The caller may keep the body for a long time. The next request must not wait for that. */
            c->paused = 0;
            c->unread = 1;
            wire_schedule_ready(c);
        }
        c->request_count--;
        c->io->active--;
        wire_mailbox_emit(c->io, WIRE_DONE, r->owner, 0, NULL);
    }
    wire_request_release(r);
}

void wire_request_release(wire_request *r)
{
    if (r->finish_when_out && !r->done && !r->spans && !r->cut) {
        wire_request_finish(r, WIRE_OK, NULL); /* calls this function again */
        return;
    }
    if (!r->done || r->released || r->spans || r->stream_open)
        return;
    r->released = 1;
    for (wire_piece *piece = r->pieces; piece; piece = piece->next)
        wire_pages_drop(piece, piece->length, 0);
    if (r->previous)
        r->previous->next = r->next;
    else
        r->connection->requests = r->next;
    if (r->next)
        r->next->previous = r->previous;
    wire_mailbox_emit(r->connection->io, WIRE_RELEASED, r->owner, 0, NULL);
}
