/* The wire's interface for its caller: connections that are served by an I/O thread, without the GIL.
 *
 * The caller (one thread at a time) posts commands. The I/O thread posts events and makes `notify_fd` readable.
 *
 * Ownership: the I/O thread owns a connection from `wire_io_thread_add` until the caller takes the event WIRE_CLOSED,
 * and a request from `wire_io_thread_submit` until the caller takes WIRE_RELEASED. After that the caller frees them.
 * The memory that a request points at (its body) stays valid until WIRE_RELEASED.
 *
 * Times are seconds of CLOCK_MONOTONIC, lengths are bytes. */
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
    WIRE_OK,        /* there is a response */
    WIRE_UNSENT,    /* the server has not acted on it: any request may be sent again */
    WIRE_BROKEN,    /* the connection ended; `why` has the reason */
    WIRE_TIMEOUT,   /* the server made no progress */
    WIRE_MALFORMED, /* the response is not HTTP; `why` has the reason */
    WIRE_CANCELLED,
    WIRE_LOST,      /* the file that holds the body was cut */
    WIRE_TOO_LONG,  /* the response is longer than `max_response_bytes` */
    WIRE_NEEDS_H1,  /* the server requires HTTP/1.1; it has not acted on the request */
    WIRE_UNWANTED,  /* a success, but not the range that was asked for: status and headers are there, no body was read */
    WIRE_UNWRITABLE /* the body cannot be written to its place; `why` has the reason */
};

enum {
    WIRE_SENT,     /* `number` bytes of the body were sent since the last such event */
    WIRE_WANTED,   /* the connection can take the body; the caller has to feed it */
    WIRE_BODY,     /* `data`, `number`: a piece of the response body (owned by the event) */
    WIRE_RECEIVED, /* `number` bytes of the response body went to their place since the last such event */
    WIRE_DONE,     /* the request has ended: call `wire_request_response` */
    WIRE_RELEASED, /* the I/O thread no longer uses the request or its body */
    WIRE_SETTINGS, /* connection: the peer allows `number` streams at a time */
    WIRE_LEAVING,  /* connection: takes no more requests (GOAWAY) */
    WIRE_STALLED,  /* connection: flow control blocks the bodies, or the peer has sent no SETTINGS */
    WIRE_CLOSED,   /* connection: closed */
    WIRE_UNACKNOWLEDGED /* I/O thread (no owner): `number` bytes of request bodies are written to sockets but not yet
                         * acknowledged. Follows the WIRE_SENT events of the same moment. */
};

typedef struct wire_event {
    struct wire_event *next;
    int kind;
    void *owner; /* of the request or of the connection; NULL for WIRE_UNACKNOWLEDGED */
    int64_t number;
    char *data;
} wire_event;

/* -- I/O thread-------------------------------------------------------------------------------------------------- */
/* Returns NULL with errno. `rate` may be NULL; several I/O threads may share it. */
wire_io_thread *wire_io_thread_new(wire_rate *rate);
void wire_io_thread_free(wire_io_thread *io); /* after `wire_io_thread_run` has returned */
void wire_io_thread_run(wire_io_thread *io);  /* the thread's function: returns after `wire_io_thread_stop` */
void wire_io_thread_stop(wire_io_thread *io); /* ends the thread, all requests and all connections */
/* After `wire_io_thread_run` has returned: closes the descriptors. After that only the frees may be called. */
void wire_io_thread_release(wire_io_thread *io);
int wire_io_thread_notify_fd(const wire_io_thread *io); /* -1 after `wire_io_thread_release` */
/* Returns all events so far, oldest first. The caller frees them. */
wire_event *wire_io_thread_events(wire_io_thread *io);
void wire_event_free(wire_event *event);

/* -- connections --------------------------------------------------------------------------------------------------- */
/* `fd` is connected and non-blocking. The I/O thread closes it, unless `tls` owns it (`ops` is not NULL). `http2`: the
 * connection speaks HTTP/2, else HTTP/1.1. */
wire_connection *wire_connection_new(void *owner, int fd, int http2, const wire_tls_ops *ops, void *tls);
void wire_connection_free(wire_connection *connection);
/* Call these instead of `…_free` if commands for it may still be in the queue. */
void wire_io_thread_free_connection(wire_io_thread *io, wire_connection *connection);
void wire_io_thread_free_request(wire_io_thread *io, wire_request *request);
const char *wire_connection_why(const wire_connection *connection); /* why it closed; empty if it closed normally */
/* Functions that return -1 had no memory and did nothing. Without memory, `close`, `cancel` and the frees do
 * nothing. */
int wire_io_thread_add(wire_io_thread *io, wire_connection *connection);
void wire_io_thread_close(wire_io_thread *io, wire_connection *connection);

/* -- requests ------------------------------------------------------------------------------------------------------ */
/* `head` is the HTTP/1.1 form with the empty line at its end; it is copied. `length` is the body's, -1 for chunked.
 * Returns NULL with errno; EINVAL if the head is malformed. */
wire_request *wire_request_new(void *owner, const char *head, size_t head_length, int64_t length, double stall_seconds,
                               size_t max_response_bytes, int pass_body_on);
void wire_request_free(wire_request *request);
/* Adds a piece to the body, before the request is submitted (after that: `wire_io_thread_feed`). `mapped`: the piece
 * lies in a mapped file. The I/O thread maps its pages before it sends them and drops them afterwards. -1: errno is
 * ENOMEM. */
int wire_request_piece(wire_request *request, const char *data, size_t length, int mapped);
/* The piece that was added last lies in this file too, from `offset` on. Over a plain connection it is sent from there.
 * The descriptor stays open until WIRE_RELEASED. */
void wire_request_file(wire_request *request, int fd, int64_t offset);
void wire_request_last_piece(wire_request *request); /* no more pieces follow; before the request is submitted */
void wire_request_unreported(wire_request *request); /* no WIRE_SENT; before the request is submitted */
/* Where the body of a successful response goes: `length` bytes of the object from `first` on. Only bytes of that range are
 * written there. Those of any other response are collected as if there were no place. */
typedef uint64_t (*wire_crc64_function)(uint64_t crc, const uint8_t *data, size_t size);
typedef struct {
    uint64_t first, length;
    uint64_t received; /* these are there already, and the request asks for what follows them */
    uint64_t crc64_so_far; /* of the bytes that are there */
    int ranged;        /* the request has a Range */
    int shorter;       /* the object may end before the range does */
    char *memory;      /* the place of `first`; NULL: a file */
    int fd;
    uint64_t offset;   /* of `first` in the file */
    int sparse;        /* the range is a hole of the file: zeros need not be written */
    int counts_at_end; /* WIRE_DONE says what was received since the last WIRE_RECEIVED; for many short bodies */
    const char *etag;  /* what the response has to name; empty: anything; copied */
    wire_crc64_function crc64;
} wire_range;
/* Before the request is submitted. Memory and file stay valid until WIRE_DONE. -1: errno is ENOMEM. */
int wire_request_receive(wire_request *request, const wire_range *range);
/* `quietly`: a sleeping thread is not woken before `wire_io_thread_announce`, or before another command. */
int wire_io_thread_submit(wire_io_thread *io, wire_connection *connection, wire_request *request, int quietly);
void wire_io_thread_announce(wire_io_thread *io);
int wire_io_thread_feed(wire_io_thread *io, wire_request *request, const char *data, size_t length, int last);
void wire_io_thread_cancel(wire_io_thread *io, wire_request *request);
/* The caller has consumed `bytes` of WIRE_BODY events, so the I/O thread may read on. */
int wire_io_thread_used(wire_io_thread *io, wire_request *request, size_t bytes);

typedef struct {
    int result;
    int status;
    int reusable;           /* HTTP/1.1: the connection can take the next request */
    int body_begun;         /* whether any of the request body was taken, or requested by WIRE_WANTED */
    const char *headers;    /* name NUL value NUL … */
    size_t headers_length;
    const char *body;
    size_t body_length;
    const char *why;
    /* with `wire_request_receive` */
    uint64_t received, crc64; /* how much of the range is there, and its CRC64, also after an error */
    int accepted;             /* the response is the range that was asked for */
    int error;                /* WIRE_UNWRITABLE: errno */
} wire_response;
void wire_request_response(const wire_request *request, wire_response *response);

/* -- rate ---------------------------------------------------------------------------------------------------------- */
wire_rate *wire_rate_new(double bytes_per_second);
void wire_rate_free(wire_rate *rate);

#endif
