/* The wire: connections served by an I/O thread that needs no GIL.
 *
 * The caller (one thread at a time) posts commands; the I/O thread posts events and makes `notify_fd` readable. Who owns
 * what: a connection and a request belong to the I/O thread from `wire_io_thread_add` / `wire_io_thread_submit` until the
 * caller has taken the event WIRE_CLOSED / WIRE_RELEASED; then to the caller, who frees them. What a request points at
 * (its body) stays valid until WIRE_RELEASED.
 *
 * Times are seconds of CLOCK_MONOTONIC, lengths bytes. */
#ifndef WIRE_H
#define WIRE_H

#include "wire_tls.h"

#include <stddef.h>
#include <stdint.h>

typedef struct wire_io_thread wire_io_thread;
typedef struct wire_connection wire_connection;
typedef struct wire_request wire_request;
typedef struct wire_rate wire_rate;

/* How a request ended. */
enum {
    WIRE_OK,        /* there is an answer */
    WIRE_UNSENT,    /* the server has not acted on it: it may be sent again, whatever it is */
    WIRE_BROKEN,    /* the connection ended; `why` */
    WIRE_TIMEOUT,   /* the server stopped talking */
    WIRE_MALFORMED, /* the answer is not HTTP; `why` */
    WIRE_CANCELLED,
    WIRE_LOST,      /* the file under the body was cut */
    WIRE_TOO_LONG,  /* the answer is longer than is collected */
    WIRE_NEEDS_H1   /* the server wants HTTP/1.1 for this; it has not acted on it */
};

enum {
    WIRE_SENT,     /* `number` bytes of the body went out since the last such event */
    WIRE_WANTED,   /* the connection takes the body, which is still to be fed */
    WIRE_BODY,     /* `data`, `number`: a piece of the answer's body (owned by the event) */
    WIRE_DONE,     /* the request has ended: read its fields */
    WIRE_RELEASED, /* nothing of the request is in use any more */
    WIRE_SETTINGS, /* connection: the peer allows `number` streams at a time */
    WIRE_LEAVING,  /* connection: takes no more requests (GOAWAY) */
    WIRE_STALLED,  /* connection: its flow control holds the bodies back, or the peer has not said its settings */
    WIRE_CLOSED    /* connection: gone */
};

typedef struct wire_event {
    struct wire_event *next;
    int kind;
    void *owner; /* of the request or of the connection */
    int64_t number;
    char *data;
} wire_event;

/* -- I/O thread-------------------------------------------------------------------------------------------------- */
/* NULL with errno. `rate` may be NULL, and may be shared by I/O threads. */
wire_io_thread *wire_io_thread_new(wire_rate *rate);
void wire_io_thread_free(wire_io_thread *io); /* after `wire_io_thread_run` has returned */
void wire_io_thread_run(wire_io_thread *io);  /* the I/O thread's life */
void wire_io_thread_stop(wire_io_thread *io); /* ends it; all requests and connections end */
/* After `wire_io_thread_run` has returned: closes its descriptors. It may then only be freed, and what belongs to it. */
void wire_io_thread_release(wire_io_thread *io);
int wire_io_thread_notify_fd(const wire_io_thread *io); /* -1 once they are closed */
/* All events so far, oldest first. */
wire_event *wire_io_thread_events(wire_io_thread *io);
void wire_event_free(wire_event *event);

/* -- connections --------------------------------------------------------------------------------------------------- */
/* `fd` is connected and non-blocking, and is closed by the I/O thread unless `tls` owns it (`ops` not NULL). `http2` says
 * which protocol it speaks. */
wire_connection *wire_connection_new(void *owner, int fd, int http2, const wire_tls_ops *ops, void *tls);
void wire_connection_free(wire_connection *connection);
/* In place of `free` where commands for it may still be on their way. */
void wire_io_thread_free_connection(wire_io_thread *io, wire_connection *connection);
void wire_io_thread_free_request(wire_io_thread *io, wire_request *request);
const char *wire_connection_why(const wire_connection *connection); /* why it closed; empty where in order */
/* -1: no memory, nothing was begun. `close`, `cancel` and the frees leave things as they are then. */
int wire_io_thread_add(wire_io_thread *io, wire_connection *connection);
void wire_io_thread_close(wire_io_thread *io, wire_connection *connection);

/* -- requests ------------------------------------------------------------------------------------------------------ */
/* `head` is the HTTP/1.1 form, with the empty line at its end; it is copied. `length` is the body's, -1 for chunks.
 * NULL with errno EINVAL where the head is not well-formed. */
wire_request *wire_request_new(void *owner, const char *head, size_t head_length, int64_t length, double stall_seconds,
                               size_t max_answer_bytes, int pass_body_on);
void wire_request_free(wire_request *request);
/* Add a piece to the body, before the request is submitted (later: `wire_io_thread_feed`). `mapped`: it lies in the mapping
 * of a file, whose pages are brought in ahead of the sending and dropped behind it. Returns -1 with errno ENOMEM. */
int wire_request_piece(wire_request *request, const char *data, size_t length, int mapped);
void wire_request_last_piece(wire_request *request); /* no more pieces come; before it is submitted */
int wire_io_thread_submit(wire_io_thread *io, wire_connection *connection, wire_request *request);
int wire_io_thread_feed(wire_io_thread *io, wire_request *request, const char *data, size_t length, int last);
void wire_io_thread_cancel(wire_io_thread *io, wire_request *request);
/* `bytes` of WIRE_BODY events were used up: the sender may go on. */
int wire_io_thread_used(wire_io_thread *io, wire_request *request, size_t bytes);

typedef struct {
    int result;
    int status;
    int reusable;           /* HTTP/1.1: the connection is free for the next request */
    int body_begun;         /* whether any of the request's body was taken, or asked for by WIRE_WANTED */
    const char *headers;    /* name NUL value NUL … */
    size_t headers_length;
    const char *body;
    size_t body_length;
    const char *why;
} wire_answer;
void wire_request_answer(const wire_request *request, wire_answer *answer);

/* -- rate ------------------------------------------------------------------------------------------------------------ */
wire_rate *wire_rate_new(double bytes_per_second);
void wire_rate_free(wire_rate *rate);

#endif
