/* The data of the wire: requests, connections and the I/O thread, which all of its files share.
 * Has no functions. The I/O thread owns all of it, except where a comment says otherwise. */
#ifndef WIRE_STATE_H
#define WIRE_STATE_H

#include "wire.h"
#include "wire_parser.h"

#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#define WIRE_SPANS 128                    /* slots of a connection's output */
#define WIRE_QUEUE_BYTES (1024 * 1024)    /* output queued ahead of the socket */
#define WIRE_TURN_BYTES (4 * 1024 * 1024) /* sent for one connection before the next one has its turn */
#define WIRE_READ_BYTES (512 * 1024)      /* also the block of a file that is written at once */
#define WIRE_SPARE_BLOCKS 16
#define WIRE_GATHER_BYTES (256 * 1024)    /* the most that is copied together for one write over TLS */
#define WIRE_STEP_BYTES (1024 * 1024)     /* pages are mapped and dropped in steps of this size */
#define WIRE_FILE_BYTES (64 * 1024)       /* shorter runs of a mapped file are sent from its mapping, many in one call */
#define WIRE_FEW 16                       /* up to so many active requests may keep twice as many pages mapped */
#define WIRE_CONTINUE_SECONDS 1.0         /* how long to wait for a 100 response */
#define WIRE_TICK_SECONDS 0.1
#define WIRE_TRICKLE_BYTES 1024          /* so many bytes in one timeout are progress; fewer are not */
#define WIRE_BACKLOG_BYTES (4 * 1024 * 1024) /* of WIRE_BODY events; above this the connection is not read */

typedef struct wire_piece {
    struct wire_piece *next;
    const char *data;
    size_t length;
    int mapped;
    size_t populated, dropped; /* mapped data: the offsets up to which pages are mapped and dropped */
    int fd;                    /* mapped data: the file, for sendfile; -1: only its mapping is sent */
    off_t offset;              /* of `data` in the file */
    int lost;                  /* sendfile has found the end of the file */
} wire_piece;

/* A run of bytes in the output queue. */
typedef struct {
    const char *data;
    size_t length;
    wire_request *request; /* the request that it belongs to; may be NULL */
    wire_piece *piece;     /* of the request body; may be NULL */
    size_t at;             /* the offset in the piece */
    int whole;             /* long enough for a call of sendfile */
    char *owned;           /* freed after the run was written */
    char small[16];        /* holds a short run */
} wire_span;

/* The place of a response body, and how far it is filled. */
typedef struct {
    wire_range range;
    int accepted;
    uint64_t received, left; /* bytes of the range that are there; that are to come with this response */
    uint64_t reported;
    uint64_t crc64;
    char *block;             /* collects what is written at once; NULL: nothing waits */
    size_t held;             /* bytes in it that are not in the file yet */
    double seconds;          /* spent in writing since the last tick */
    int error;
    const char *why;
    char etag[];
} wire_sink;

/* Blocks for sinks that none of them uses. */
typedef struct {
    char *blocks[WIRE_SPARE_BLOCKS];
    unsigned count;
} wire_spare_blocks;

struct wire_request {
    void *owner;
    wire_connection *connection;
    wire_request *previous, *next; /* of the connection */
    char *head;
    size_t head_length;
    int is_head, expects_continue;
    int64_t length;
    double stall_seconds;
    size_t max_response_bytes;
    int pass_body_on;
    /* the body */
    wire_piece *pieces, *last_piece, *piece; /* the list; `piece` is the one that is being queued */
    size_t taken;                            /* bytes of `piece` that were queued */
    int complete;                            /* no more pieces follow */
    int sending_done;                        /* head and body are all sent or queued */
    int cut;                                 /* some of it was removed from the output queue unsent */
    uint64_t queued, sent, reported;         /* bytes of the body */
    uint64_t credited;                       /* HTTP/2: body bytes that the peer has consumed (WINDOW_UPDATE) */
    unsigned spans;                          /* runs in the output queue */
    int begun;                               /* some of it was written to the socket */
    uint64_t out_until;                      /* its last byte's position in the connection's output */
    int unreported;                          /* nobody wants to know what was sent */
    int fed;                                 /* pieces are added after the request was submitted */
    int wanted;                              /* WIRE_WANTED was emitted */
    int deferred;                            /* HTTP/2: nghttp2 waits for a piece */
    int hold;                                /* the body waits for a 100 response */
    double hold_until;
    double last_activity;
    size_t trickle;                          /* bytes that moved since then */
    int32_t stream_id;
    /* the response */
    int result, status, reusable, done, released;
    int stream_open; /* HTTP/2: nghttp2 has the request as the stream's user data */
    int interims;    /* HTTP/2: 1xx responses since the body last moved, and the bytes of their headers */
    size_t interim_bytes;
    int head_complete, response_complete;
    int finish_when_out; /* HTTP/2: the stream is closed, the end of the body is still in the output queue */
    char *headers;
    size_t headers_length, headers_capacity;
    char *body;
    size_t body_length, body_capacity;
    wire_sink *sink; /* NULL: the body is collected or passed on */
    size_t backlog; /* bytes in WIRE_BODY events that the caller has not consumed yet */
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
    int ready;     /* in the list of connections with more to do */
    wire_connection *next_ready;
    int paused;    /* not read until the caller has consumed its backlog */
    int hung_up;   /* the peer sends nothing more than what already arrived */
    int write_broken;
    int corked;
    int unread;    /* input may be waiting without an event of epoll */
    int throttled; /* in the queue of connections that wait for the rate limit */
    int wrote_first; /* in its last turn */
    wire_connection *next_throttled;
    wire_request *requests;
    unsigned request_count;
    double last_read;
    char why[200];
    /* output */
    wire_span spans[WIRE_SPANS];
    unsigned first, count;
    size_t queued;
    uint64_t written, acknowledged; /* bytes written to the socket; of these, bytes that the peer's TCP acknowledged */
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
    int owed;                               /* under `lock`: whether it has to be woken for a command that is there */
    wire_event *published, **published_end; /* under `lock` */
    atomic_int stopping;
    int wake_fd, notify_fd, epoll_fd;
    wire_event *events, **events_end;       /* not yet published */
    wire_connection *connections, *ready, **ready_end, *dead;
    wire_rate *rate;
    wire_connection *throttled, **throttled_end, *has_turn; /* those that wait for the rate limit, longest first */
    double throttled_until;
    double now, next_tick;
    unsigned active; /* requests that are not done */
    uint64_t unacknowledged; /* what the last WIRE_UNACKNOWLEDGED said */
    char *input, *gather, *scratch;
    wire_spare_blocks spare;
};

#endif
