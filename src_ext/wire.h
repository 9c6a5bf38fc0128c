/* The wire: connections served by an I/O thread that needs no GIL.
 *
 * The caller (one thread at a time) posts commands; the I/O thread posts events and makes `notify_fd` readable. Who owns
 * what: a connection and a request belong to the I/O thread from `wire_engine_add` / `wire_engine_submit` until the
 * caller has taken the event WIRE_CLOSED / WIRE_RELEASED; then to the caller, who frees them. What a request points at
 * (its body) stays valid until WIRE_RELEASED.
 *
 * Times are seconds of CLOCK_MONOTONIC, lengths bytes. */
#ifndef WIRE_H
#define WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct wire_engine wire_engine;
typedef struct wire_connection wire_connection;
typedef struct wire_request wire_request;
typedef struct wire_rate wire_rate;

#define WIRE_RECORD_BYTES (16 * 1024) /* the largest TLS record */

/* How a TLS session is driven; `tls` is the session. `read` and `write` return the number of bytes, or one of these. */
enum { WIRE_IO_END = 0, WIRE_IO_WANT_READ = -1, WIRE_IO_WANT_WRITE = -2, WIRE_IO_ERROR = -3, WIRE_IO_CUT = -4 };
typedef struct {
    ssize_t (*read)(void *tls, void *buffer, size_t length, char *why, size_t why_size);
    ssize_t (*write)(void *tls, const void *data, size_t length, char *why, size_t why_size);
} wire_tls_ops;
/* Use the OpenSSL that `module` (the file of Python's _ssl), of this version, is linked with. -1 where it cannot be. */
int wire_tls_load(const char *module, unsigned long version);
/* Whether `session` is one of that OpenSSL's, over `fd`. */
int wire_tls_usable(void *session, int fd);
/* Before the handshake: the protocols for ALPN, in their form on the wire. -1: no memory. */
int wire_tls_offer(void *session, const unsigned char *protocols, unsigned length);
/* Drive the session without the GIL, from now on. */
const wire_tls_ops *wire_tls_take(void *session);

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

/* -- engine ------------------------------------------------------------------------------------------------------ */
/* NULL with errno. `rate` may be NULL, and may be shared by engines. */
wire_engine *wire_engine_new(wire_rate *rate);
void wire_engine_free(wire_engine *engine); /* after `wire_engine_run` has returned */
void wire_engine_run(wire_engine *engine);  /* the I/O thread's life */
void wire_engine_stop(wire_engine *engine); /* ends it; all requests and connections end */
/* After `wire_engine_run` has returned: closes its descriptors. It may then only be freed, and what belongs to it. */
void wire_engine_release(wire_engine *engine);
int wire_engine_notify_fd(const wire_engine *engine); /* -1 once they are closed */
/* All events so far, oldest first. */
wire_event *wire_engine_events(wire_engine *engine);
void wire_event_free(wire_event *event);

/* -- connections --------------------------------------------------------------------------------------------------- */
/* `fd` is connected and non-blocking, and is closed by the engine unless `tls` owns it (`ops` not NULL). `http2` says
 * which protocol it speaks. */
wire_connection *wire_connection_new(void *owner, int fd, int http2, const wire_tls_ops *ops, void *tls);
void wire_connection_free(wire_connection *connection);
/* In place of `free` where commands for it may still be on their way. */
void wire_engine_free_connection(wire_engine *engine, wire_connection *connection);
void wire_engine_free_request(wire_engine *engine, wire_request *request);
const char *wire_connection_why(const wire_connection *connection); /* why it closed; empty where in order */
/* -1: no memory, nothing was begun. `close`, `cancel` and the frees leave things as they are then. */
int wire_engine_add(wire_engine *engine, wire_connection *connection);
void wire_engine_close(wire_engine *engine, wire_connection *connection);

/* -- requests ------------------------------------------------------------------------------------------------------ */
/* `head` is the HTTP/1.1 form, with the empty line at its end; it is copied. `length` is the body's, -1 for chunks.
 * NULL with errno EINVAL where the head is not well-formed. */
wire_request *wire_request_new(void *owner, const char *head, size_t head_length, int64_t length, double stall_seconds,
                               size_t max_answer_bytes, int pass_body_on);
void wire_request_free(wire_request *request);
/* Add a piece to the body, before the request is submitted (later: `wire_engine_feed`). `mapped`: it lies in the mapping
 * of a file, whose pages are brought in ahead of the sending and dropped behind it. Returns -1 with errno ENOMEM. */
int wire_request_piece(wire_request *request, const char *data, size_t length, int mapped);
void wire_request_last_piece(wire_request *request); /* no more pieces come; before it is submitted */
int wire_engine_submit(wire_engine *engine, wire_connection *connection, wire_request *request);
int wire_engine_feed(wire_engine *engine, wire_request *request, const char *data, size_t length, int last);
void wire_engine_cancel(wire_engine *engine, wire_request *request);
/* `bytes` of WIRE_BODY events were used up: the sender may go on. */
int wire_engine_used(wire_engine *engine, wire_request *request, size_t bytes);

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
