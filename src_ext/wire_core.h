/* Inside the wire. All of this runs in the I/O thread unless said otherwise. */
#ifndef WIRE_CORE_H
#define WIRE_CORE_H

#include "wire.h"
#include "wire_http1.h"

#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdatomic.h>

#define WIRE_SPANS 128                    /* slots of a connection's output */
#define WIRE_QUEUE_BYTES (1024 * 1024)    /* output made ready ahead of the socket */
#define WIRE_TURN_BYTES (4 * 1024 * 1024) /* sent for one connection before the next has its turn */
#define WIRE_READ_BYTES (128 * 1024)
#define WIRE_GATHER_BYTES (256 * 1024)    /* copied together for one write over TLS */
#define WIRE_STEP_BYTES (1024 * 1024)     /* pages are mapped and dropped in such steps */
#define WIRE_FEW 16                       /* requests under way that may hold more pages mapped */
#define WIRE_CONTINUE_SECONDS 1.0         /* how long a 100 is waited for */
#define WIRE_TICK_SECONDS 0.1
#define WIRE_TRICKLE_BYTES 1024          /* what has to move in a request's time-out, if it is not the end */
#define WIRE_BACKLOG_BYTES (4 * 1024 * 1024) /* of WIRE_BODY events before a connection is no longer read */

typedef struct wire_piece {
    struct wire_piece *next;
    const char *data;
    size_t length;
    int mapped;
    size_t populated, dropped; /* for mapped data: pages mapped up to, dropped up to */
} wire_piece;

/* A run of bytes on its way out. */
typedef struct {
    const char *data;
    size_t length;
    wire_request *request; /* whose memory it is; may be NULL */
    wire_piece *piece;     /* of the request's body */
    size_t at;             /* where in the piece */
    char *owned;           /* freed when it is out */
    char small[16];        /* what short runs are kept in */
} wire_span;

struct wire_request {
    void *owner;
    wire_connection *connection;
    wire_request *previous, *next; /* of the connection */
    char *head;
    size_t head_length;
    int is_head, expects_continue;
    int64_t length;
    double stall_seconds;
    size_t max_answer_bytes;
    int pass_body_on;
    /* the body */
    wire_piece *pieces, *last_piece, *piece; /* all; the one being taken */
    size_t taken;                            /* of `piece` */
    int complete;                            /* no more pieces come */
    int sending_done;                        /* head and body are out, or on their way for good */
    int cut;                                 /* some of it was taken from the output queue unsent */
    uint64_t queued, sent, reported;         /* bytes of the body */
    uint64_t credited;                       /* HTTP/2: what the peer has used of it, by its WINDOW_UPDATEs */
    unsigned spans;                          /* in the output queue */
    int begun;                               /* some of it was written to the socket */
    uint64_t out_until;                      /* where its last byte lies in what the connection has written */
    int fed;                                 /* pieces come while it is under way */
    int wanted;                              /* they were asked for */
    int deferred;                            /* HTTP/2: nghttp2 waits for a piece */
    int hold;                                /* waiting for a 100 */
    double hold_until;
    double last_activity;
    size_t trickle;                          /* bytes that moved since then */
    int32_t stream_id;
    /* the answer */
    int result, status, reusable, done, released;
    int stream_open; /* HTTP/2: nghttp2 still knows the request */
    int interims;    /* HTTP/2: 1xx responses since the body last moved, and the bytes of their headers */
    size_t interim_bytes;
    int head_complete, answer_complete;
    int finish_when_out; /* HTTP/2: the stream is closed, the end of the body is still in the queue */
    char *headers;
    size_t headers_length, headers_capacity;
    char *body;
    size_t body_length, body_capacity;
    size_t backlog; /* bytes in WIRE_BODY events that the caller has not used yet */
    char why[160];
};

struct wire_connection {
    void *owner;
    wire_engine *engine;
    wire_connection *previous, *next; /* of the engine */
    wire_connection *next_dead;
    int fd, http2, dead, leaving;
    const wire_tls_ops *ops;
    void *tls;
    int writable, want_read_to_write, want_write_to_read;
    int ready;     /* in the engine's list of those with more to do */
    wire_connection *next_ready;
    int paused;    /* not read: the caller is behind */
    int hung_up;   /* the peer sends no more than what is waiting */
    int write_broken;
    int unread;    /* input may be waiting although no event will say so */
    int throttled; /* the rate limit holds it back: it stands in the engine's queue */
    wire_connection *next_throttled;
    wire_request *requests;
    unsigned request_count;
    double last_read;
    char why[200];
    /* output */
    wire_span spans[WIRE_SPANS];
    unsigned first, count;
    size_t queued;
    uint64_t written, acknowledged; /* bytes given to the socket; of those, what the peer's system has confirmed */
    /* HTTP/1.1 */
    wire_h1_parser parser;
    wire_request *current;
    /* HTTP/2 */
    nghttp2_session *session;
    int settings_seen;
    uint32_t streams_told;
    double blocked_since, told_stalled;
    int blocked;
};

typedef struct wire_command {
    struct wire_command *next;
    int kind;
    wire_connection *connection;
    wire_request *request;
    wire_piece *piece;
    size_t bytes;
    int last;
} wire_command;

struct wire_engine {
    pthread_mutex_t lock;
    wire_command *commands, **commands_end; /* under `lock` */
    wire_event *published, **published_end; /* under `lock` */
    atomic_int stopping;
    int wake_fd, notify_fd, epoll_fd;
    wire_event *events, **events_end;       /* not published yet */
    wire_connection *connections, *ready, **ready_end, *dead;
    wire_rate *rate;
    wire_connection *throttled, **throttled_end, *has_turn; /* whom the rate limit holds back, longest first */
    double throttled_until;
    double now, next_tick;
    unsigned active; /* requests under way */
    char *input, *gather;
};

/* wire_engine.c */
double wire_now(void);
void wire_emit(wire_engine *engine, int kind, void *owner, int64_t number, char *data);
void wire_make_ready(wire_connection *connection);
/* How many of `want` bytes the rate limit lets the connection send now. 0: it has been put in the queue. */
size_t wire_allowed(wire_connection *connection, size_t want);
void wire_leave_queue(wire_connection *connection);

/* wire_request.c: a request's body and answer */
int wire_set_header(wire_request *request, const char *name, size_t name_length, const char *value, size_t value_length);
void wire_clear_answer(wire_request *request);
/* Takes a piece of the answer's body; returns 0, or -1 when it is longer than allowed. */
int wire_take_body(wire_request *request, const char *data, size_t length);
/* The request has its result. It is released when none of its body is in a queue. */
void wire_finish(wire_request *request, int result, const char *why);
/* Whether an answer that is complete may count: a success does not before the whole body is out. */
int wire_answer_counts(const wire_request *request);
void wire_release(wire_request *request);
void wire_report_sent(wire_request *request);
/* The body goes on with a piece that is not there yet: the caller hears so, once. */
void wire_want(wire_request *request);
/* `bytes` of the request have moved, either way. A trickle is no sign of life: a peer that lets a byte pass now and then
 * would hold the caller as long as it likes. */
void wire_moved(wire_request *request, size_t bytes);
/* Whether it is the caller who is slow: it was asked for the body, and nothing but that is missing. */
int wire_caller_is_late(wire_request *request);
void wire_attach(wire_connection *connection, wire_request *request);
void wire_map_pages(wire_piece *piece, size_t at, size_t length);
/* Whether some of these bytes are beyond the end of their file. */
int wire_pages_are_lost(const wire_piece *piece, size_t at, size_t length);
/* Drop what was mapped before `up_to`, if it has come to `step` bytes or is the end. */
void wire_drop_pages(wire_piece *piece, size_t up_to, size_t step);
/* The piece that the body goes on with, or NULL: none yet, or none any more (`complete`). */
wire_piece *wire_next_piece(wire_request *request);

/* wire_output.c: a connection's output queue */
wire_span *wire_push(wire_connection *connection, const char *data, size_t length);
int wire_push_copy(wire_connection *connection, const char *data, size_t length); /* -1: no memory */
void wire_push_body(wire_connection *connection, wire_request *request, wire_piece *piece, size_t at, size_t length);
/* Write what is queued. 1: all out. 0: the socket is full, or the turn is over. -1: the connection is dead. */
int wire_flush(wire_connection *connection, size_t *budget);
void wire_drop_output(wire_connection *connection);
/* The run pushed last is of this request, although not of its body. */
void wire_push_belongs(wire_connection *connection, wire_request *request);

/* wire_connection.c */
void wire_connection_read(wire_connection *connection);
void wire_connection_write(wire_connection *connection);
/* End the connection; requests on it end with `result`. */
void wire_kill(wire_connection *connection, int result, const char *why);
/* It takes no more requests; those on it go on. */
void wire_leave(wire_connection *connection);
void wire_connection_submit(wire_connection *connection, wire_request *request);
void wire_connection_cancel(wire_connection *connection, wire_request *request);
void wire_connection_tick(wire_connection *connection, double now);
void wire_connection_start(wire_engine *engine, wire_connection *connection);

/* wire_h1.c */
void wire_h1_submit(wire_connection *connection, wire_request *request);
void wire_h1_produce(wire_connection *connection);
void wire_h1_input(wire_connection *connection, const char *data, size_t length);
void wire_h1_input_end(wire_connection *connection, int clean, const char *why);

/* wire_h2.c */
int wire_h2_start(wire_connection *connection);
void wire_h2_free(wire_connection *connection);
void wire_h2_submit(wire_connection *connection, wire_request *request);
void wire_h2_resume(wire_connection *connection, wire_request *request);
void wire_h2_end(wire_connection *connection, wire_request *request, int result);
void wire_h2_produce(wire_connection *connection);
void wire_h2_input(wire_connection *connection, const char *data, size_t length);
void wire_h2_tick(wire_connection *connection, double now);
/* Whether the request has something to send, and nothing but the connection's full output holds it back. */
int wire_h2_waits_for_room(const wire_connection *connection, const wire_request *request);

/* wire_rate.c: how many of `want` bytes may go now; 0: none */
size_t wire_rate_take(wire_rate *rate, double now, size_t want);
/* In how many seconds something may go; 0: now. */
double wire_rate_wait(wire_rate *rate, double now);
void wire_rate_give_back(wire_rate *rate, size_t bytes);

#endif
