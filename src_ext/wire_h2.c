/* HTTP/2 on a connection, over nghttp2, which keeps the state of the protocol. DATA frames are not copied into its
 * buffers: the frame heads and the runs of the body go directly into the output queue. */
#include "wire_h2.h"

#include "wire_close.h"
#include "wire_mailbox.h"
#include "wire_output.h"
#include "wire_request.h"
#include "wire_schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define OUR_WINDOW_BYTES (1024 * 1024)             /* of each stream, for responses */
#define OUR_CONNECTION_WINDOW_BYTES (4 * 1024 * 1024)
#define FRAME_BYTES (1024 * 1024)                  /* longest DATA frame, if the peer accepts it */
#define MAX_HEADER_BLOCK_BYTES (16 * 1024 * 1024)  /* of a request; the server decides how much it accepts */
#define STALLED_SECONDS 0.25                       /* blocked, or without SETTINGS, for so long: emit WIRE_STALLED */

static wire_request *of_stream(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

/* -- output -------------------------------------------------------------------------------------------------------- */

static int full(const wire_connection *c, unsigned slots)
{
    return c->count + slots > WIRE_SPANS || c->queued >= WIRE_QUEUE_BYTES;
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t length, int flags, void *user)
{
    wire_connection *c = user;
    (void)session;
    (void)flags;
    if (full(c, 1))
        return NGHTTP2_ERR_WOULDBLOCK;
    return wire_output_push_copy(c, (const char *)data, length) ? NGHTTP2_ERR_CALLBACK_FAILURE : (ssize_t)length;
}

/* Sends at once what the windows allow, even if it is little. We tried to wait for more: with windows of 64 KiB there
 * were a quarter fewer frames, but not more bytes per second of CPU time, and sometimes a pause. */
static ssize_t frame_length(nghttp2_session *session, uint8_t type, int32_t stream_id, int32_t connection_window,
                            int32_t stream_window, uint32_t max_frame, void *user)
{
    int32_t length = connection_window < stream_window ? connection_window : stream_window;
    (void)session;
    (void)type;
    (void)stream_id;
    (void)user;
    if (length > (int32_t)max_frame)
        length = (int32_t)max_frame;
    return length > FRAME_BYTES ? FRAME_BYTES : length;
}

static ssize_t on_read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t length,
                            uint32_t *flags, nghttp2_data_source *source, void *user)
{
    wire_request *r = source->ptr;
    const wire_connection *c = user;
    (void)session;
    (void)stream_id;
    (void)buffer;
    if (!c->settings_seen) {
        /* The peer's SETTINGS are on their way. Some servers reset streams that exceed a window we cannot know yet. */
        r->deferred = 1;
        return NGHTTP2_ERR_DEFERRED;
    }
    wire_piece *piece = r->hold ? NULL : wire_request_next_piece(r);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (!piece) {
        if (r->hold || !r->complete) {
            if (!r->hold)
                wire_request_want(r);
            r->deferred = 1;
            return NGHTTP2_ERR_DEFERRED;
        }
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        return 0;
    }
    size_t left = piece->length - r->taken;
    if (length >= left) {
        length = left;
        if (r->complete && !piece->next)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)length;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                        nghttp2_data_source *source, void *user)
{
    wire_connection *c = user;
    wire_request *r = source->ptr;
    (void)session;
    if (full(c, 2))
        return NGHTTP2_ERR_WOULDBLOCK;
    wire_output_push_copy(c, (const char *)head, 9);
    if (length) {
        wire_output_push_body(c, r, r->piece, r->taken, length);
        r->taken += length;
    } else {
        wire_output_push_belongs(c, r);
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        r->sending_done = 1;
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    if (frame->hd.type == NGHTTP2_HEADERS) {
        wire_request *r = of_stream(session, frame->hd.stream_id);
        if (r)
            wire_output_push_belongs(user, r); /* its head is the last run; writing it sets `begun` */
    }
    return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
    (void)error;
    (void)user;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        wire_request *r = frame->headers.cat == NGHTTP2_HCAT_REQUEST ? of_stream(session, frame->hd.stream_id) : NULL;
        if (r) {
            r->stream_open = 0;
            wire_request_finish(r, WIRE_UNSENT, "the server takes no more requests on this connection");
        }
    }
    return 0;
}

/* -- input --------------------------------------------------------------------------------------------------------- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    wire_request *r = of_stream(session, frame->hd.stream_id);
    (void)user;
    if (r && !r->done && r->status < 200)
        wire_request_clear_response(r); /* of an interim response */
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
                     const uint8_t *value, size_t value_length, uint8_t flags, void *user)
{
    wire_request *r = of_stream(session, frame->hd.stream_id);
    (void)user;
    (void)flags;
    if (!r || r->done || frame->hd.type != NGHTTP2_HEADERS || r->response_complete)
        return 0;
    if (name_length == 7 && !memcmp(name, ":status", 7)) {
        r->status = 0;
        for (size_t i = 0; i < value_length && i < 3; i++)
            r->status = r->status * 10 + (value[i] - '0'); /* nghttp2 has checked that there are three digits */
        if (r->status >= 100 && r->status < 600)
            return 0;
        wire_request_finish(r, WIRE_MALFORMED, "the status is not a number from 100 to 599");
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    /* The second header block of a final response is its trailers, which are ignored. */
    if (name[0] == ':' || frame->headers.cat == NGHTTP2_HCAT_PUSH_RESPONSE || r->head_complete)
        return 0;
    if (!wire_request_set_header(r, (const char *)name, name_length, (const char *)value, value_length))
        return 0;
    wire_request_finish(r, WIRE_MALFORMED, "the head is longer than 128 KiB");
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t length,
                   void *user)
{
    wire_request *r = of_stream(session, stream_id);
    (void)flags;
    (void)user;
    int result = r ? wire_request_take_body(r, (const char *)data, length) : 0;
    if (result) {
        wire_request_finish(r, result, wire_request_body_problem(r));
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_CANCEL);
    }
    return 0;
}

static void response_complete(nghttp2_session *session, wire_request *r)
{
    int early = !r->sending_done || r->spans;
    r->response_complete = 1;
    if (early && r->status < 300 && !r->hold)
        return; /* a success: the server still needs the rest; the request ends with the stream */
    if (early) /* refused: the server does not need the rest of the body */
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_NO_ERROR);
    wire_request_finish(r, WIRE_OK, NULL);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    wire_connection *c = user;
    wire_request *r;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        r = of_stream(session, frame->hd.stream_id);
        if (!r)
            break;
        if (frame->hd.type == NGHTTP2_HEADERS && r->status >= 200 && !r->head_complete) {
            r->head_complete = 1;
            r->last_activity = c->io->now;
            if (wire_request_take_head(r)) {
                wire_request_finish(r, WIRE_UNWANTED, "");
                nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_CANCEL);
                break;
            }
        }
        if (frame->hd.type == NGHTTP2_HEADERS && r->status < 200 && !r->done) {
            r->interim_bytes += r->headers_length;
            if (++r->interims > WIRE_MAX_INTERIM || r->interim_bytes > WIRE_MAX_HEAD_BYTES) {
                wire_request_finish(r, WIRE_MALFORMED, "there is no end of interim responses");
                nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_CANCEL);
                break;
            }
        }
        if (r->hold && r->status == 100) {
            r->hold = 0;
            wire_h2_resume(c, r);
        }
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && !r->done)
            response_complete(session, r);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        if (frame->hd.stream_id && (r = of_stream(session, frame->hd.stream_id))) {
            /* The peer has consumed so much of the body. An increment beyond what was sent means nothing. */
            uint64_t used = (uint64_t)frame->window_update.window_size_increment, got = r->sent - r->credited;
            used = used < got ? used : got;
            r->credited += used;
            wire_request_moved(r, (size_t)used);
        }
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
            uint32_t streams = nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
            if (!c->settings_seen || streams != c->streams_told)
                wire_mailbox_emit(c->io, WIRE_SETTINGS, c->owner, streams, NULL);
            c->streams_told = streams;
            if (!c->settings_seen) {
                c->settings_seen = 1;
                for (r = c->requests; r; r = r->next)
                    wire_h2_resume(c, r);
            }
        }
        break;
    case NGHTTP2_GOAWAY:
        wire_close_gracefully(c);
        if (frame->goaway.error_code != NGHTTP2_NO_ERROR && !c->why[0])
            snprintf(c->why, sizeof c->why, "the server ended the connection: %s %.*s",
                     nghttp2_http2_strerror(frame->goaway.error_code),
                     (int)(frame->goaway.opaque_data_len < 80 ? frame->goaway.opaque_data_len : 80),
                     (const char *)frame->goaway.opaque_data);
        break;
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error, void *user)
{
    wire_request *r = of_stream(session, stream_id);
    char why[120];
    (void)user;
    if (!r)
        return 0;
    nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    r->stream_open = 0;
    if (r->done || wire_request_response_counts(r)) {
        wire_request_finish(r, WIRE_OK, NULL);
    } else if (r->response_complete && r->sending_done && !r->cut) {
        r->finish_when_out = 1;
    } else if (error == NGHTTP2_REFUSED_STREAM && !r->status) {
        wire_request_finish(r, WIRE_UNSENT, "the server refused the stream");
    } else if (error == NGHTTP2_HTTP_1_1_REQUIRED && !r->status) {
        wire_request_finish(r, WIRE_NEEDS_H1, "the server requires HTTP/1.1");
    } else {
        snprintf(why, sizeof why, "the server reset the stream: %s", nghttp2_http2_strerror(error));
        wire_request_finish(r, error == NGHTTP2_PROTOCOL_ERROR ? WIRE_MALFORMED : WIRE_BROKEN, why);
    }
    return 0;
}

/* -- the session --------------------------------------------------------------------------------------------------- */

int wire_h2_start(wire_connection *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    if (nghttp2_session_callbacks_new(&callbacks))
        return -1;
    if (nghttp2_option_new(&option)) {
        nghttp2_session_callbacks_del(callbacks);
        return -1;
    }
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, frame_length);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_option_set_max_reserved_remote_streams(option, 0);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_send_header_block_length(option, MAX_HEADER_BLOCK_BYTES);
    int failed = nghttp2_session_client_new2(&c->session, callbacks, c, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    if (failed)
        return -1;
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, OUR_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, WIRE_MAX_HEAD_BYTES},
    };
    return nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings) ||
           nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, OUR_CONNECTION_WINDOW_BYTES);
}

void wire_h2_free(wire_connection *c)
{
    nghttp2_session_del(c->session);
    c->session = NULL;
}

/* Headers that differ in each request or are secret stay out of the compression table. */
static const char *const NOT_INDEXED[] = {"authorization", "content-md5", "content-length", "x-cos-security-token", NULL};
/* Headers about an HTTP/1.1 connection must not be sent (RFC 9113, 8.2.2). */
static const char *const NOT_SENT[] = {"connection", "transfer-encoding", "keep-alive", "proxy-connection", "upgrade",
                                       "te", NULL};

static int is_one_of(const char *const *names, const char *name, size_t length)
{
    for (; *names; names++)
        if (**names == *name && strlen(*names) == length && !memcmp(name, *names, length))
            return 1;
    return 0;
}

#define FEW_HEADERS 128

static nghttp2_nv pair(const char *name, size_t name_length, const char *value, size_t value_length, int flags)
{
    return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, name_length, value_length, (uint8_t)flags};
}

/* Turns the HTTP/1.1 form of the head (checked by `wire_request_new`) into the fields of a HEADERS frame. There are at
 * most 3 fields more than lines. */
static size_t fields_of(wire_connection *c, char *head, size_t length, nghttp2_nv *fields)
{
    char *end = head + length - 2, *line = memchr(head, '\n', length), *first_end = line - 1;
    char *space = memchr(head, ' ', (size_t)(first_end - head));
    char *target = space ? space + 1 : first_end, *target_end = first_end;
    size_t count = 4;
    for (char *p = target; p < first_end; p++)
        if (*p == ' ')
            target_end = p;
    fields[0] = pair(":method", 7, head, (size_t)((space ? space : first_end) - head), 0);
    fields[1] = pair(":scheme", 7, c->ops ? "https" : "http", c->ops ? 5 : 4, 0);
    fields[2] = pair(":authority", 10, "", 0, 0);
    fields[3] = pair(":path", 5, target, (size_t)(target_end - target), NGHTTP2_NV_FLAG_NO_INDEX);
    for (line++; line < end;) {
        char *lf = memchr(line, '\n', (size_t)(end - line)), *colon = memchr(line, ':', (size_t)(lf - line));
        char *value = colon + 1, *stop = lf - 1;
        size_t name_length = (size_t)(colon - line);
        for (char *p = line; p < colon; p++)
            if (*p >= 'A' && *p <= 'Z')
                *p |= 0x20;
        while (value < stop && (*value == ' ' || *value == '\t'))
            value++;
        while (stop > value && (stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        if (name_length == 4 && !memcmp(line, "host", 4))
            fields[2] = pair(":authority", 10, value, (size_t)(stop - value), 0);
        else if (!is_one_of(NOT_SENT, line, name_length))
            fields[count++] = pair(line, name_length, value, (size_t)(stop - value),
                                   is_one_of(NOT_INDEXED, line, name_length) ? NGHTTP2_NV_FLAG_NO_INDEX : 0);
        line = lf + 1;
    }
    return count;
}

void wire_h2_submit(wire_connection *c, wire_request *r)
{
    nghttp2_nv few[FEW_HEADERS], *fields = few;
    nghttp2_data_provider body = {.source.ptr = r, .read_callback = on_read_body};
    size_t lines = 0;
    for (size_t i = 0; i < r->head_length; i++)
        lines += r->head[i] == '\n';
    if (lines + 3 > FEW_HEADERS && !(fields = malloc((lines + 3) * sizeof *fields))) {
        wire_request_finish(r, WIRE_UNSENT, "out of memory");
        return;
    }
    size_t count = fields_of(c, r->head, r->head_length, fields);
    int has_body = r->length != 0;
    if (!has_body)
        r->sending_done = 1;
    int32_t id = nghttp2_submit_request(c->session, NULL, fields, count, has_body ? &body : NULL, r);
    if (fields != few)
        free(fields);
    if (id < 0) {
        wire_request_finish(r, WIRE_UNSENT, nghttp2_strerror(id));
        return;
    }
    r->stream_id = id;
    r->stream_open = 1;
}

void wire_h2_resume(wire_connection *c, wire_request *r)
{
    if (r->deferred && r->stream_open) {
        r->deferred = 0;
        nghttp2_session_resume_data(c->session, r->stream_id);
    }
}

void wire_h2_end(wire_connection *c, wire_request *r, int result)
{
    if (r->stream_open)
        nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_CANCEL);
    wire_request_finish(r, result, "");
    wire_schedule_ready(c);
}

static int has_unsent_body(const wire_connection *c)
{
    for (wire_request *r = c->requests; r; r = r->next)
        if (!r->done && !r->sending_done && !r->deferred && r->begun)
            return 1;
    return 0;
}

void wire_h2_produce(wire_connection *c)
{
    double now = c->io->now;
    unsigned before = c->count;
    if (c->queued >= WIRE_QUEUE_BYTES / 2)
        return; /* refill in large steps */
    int error = nghttp2_session_send(c->session);
    if (error) {
        wire_close_now(c, WIRE_BROKEN, nghttp2_strerror(error));
        return;
    }
    if (c->count > before || !has_unsent_body(c)) {
        c->blocked = 0;
    } else if (!c->blocked && !c->count) {
        c->blocked = 1;
        c->blocked_since = now;
    }
    if (!c->count && !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session))
        wire_close_now(c, WIRE_BROKEN, "the server closed the connection");
}

void wire_h2_input(wire_connection *c, const char *data, size_t length)
{
    ssize_t used = nghttp2_session_mem_recv(c->session, (const uint8_t *)data, length);
    if (used < 0) {
        char why[160];
        snprintf(why, sizeof why, "the response is not HTTP/2: %s", nghttp2_strerror((int)used));
        wire_close_now(c, WIRE_MALFORMED, why);
        return;
    }
    wire_schedule_ready(c);
}

int wire_h2_waits_for_room(const wire_connection *c, const wire_request *r)
{
    if (!c->count || r->sending_done || r->deferred || r->hold || !r->stream_open)
        return 0;
    return !r->begun || (nghttp2_session_get_stream_remote_window_size(c->session, r->stream_id) > 0 &&
                         nghttp2_session_get_remote_window_size(c->session) > 0);
}

void wire_h2_tick(wire_connection *c, double now)
{
    if (c->throttled)
        c->blocked_since = now; /* we may have sent it nothing yet */
    if ((c->blocked || !c->settings_seen) && now - c->blocked_since > STALLED_SECONDS && now - c->told_stalled > 1.0) {
        c->told_stalled = now;
        wire_mailbox_emit(c->io, WIRE_STALLED, c->owner, 0, NULL);
    }
}
