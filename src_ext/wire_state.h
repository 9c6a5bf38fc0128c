/* The data of the wire: requests, connections and the I/O thread, which all of its files share.
 * Has no functions. The I/O thread owns all of it, except where a comment says otherwise. */
#ifndef WIRE_STATE_H
#define WIRE_STATE_H

#include "wire.h"
#include "wire_parser.h"

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
    wire_io_thread *io;
    wire_connection *previous, *next; /* of the I/O thread */
    wire_connection *next_dead;
    int fd, http2, dead, leaving;
    const wire_tls_ops *ops;
    void *tls;
    int writable, want_read_to_write, want_write_to_read;
    int ready;     /* in the I/O thread's list of those with more to do */
    wire_connection *next_ready;
    int paused;    /* not read: the caller is behind */
    int hung_up;   /* the peer sends no more than what is waiting */
    int write_broken;
    int unread;    /* input may be waiting although no event will say so */
    int throttled; /* the rate limit holds it back: it stands in the I/O thread's queue */
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
    wire_parser parser;
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

struct wire_io_thread {
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

#endif
