/* HTTP/1.1 on a connection: one request and its response at a time. */
#include "wire_h1.h"

#include "wire_close.h"
#include "wire_output.h"
#include "wire_request.h"
#include "wire_sink.h"

#include <stdio.h>
#include <string.h>

void wire_h1_submit(wire_connection *c, wire_request *r)
{
    c->current = r;
    wire_parser_reset(&c->parser, r->is_head);
    wire_span *s = wire_output_push(c, r->head, r->head_length);
    s->request = r;
    r->spans++;
}

static void end(wire_connection *c, size_t rest);

static void queue_body(wire_connection *c, wire_request *r)
{
    while (!r->hold && !r->sending_done && !r->done && c->count < WIRE_SPANS - 4 && c->queued < WIRE_QUEUE_BYTES) {
        wire_piece *piece = wire_request_next_piece(r);
        if (!piece) {
            if (!r->complete) {
                if (r->begun)
                    wire_request_want(r);
                return;
            }
            if (r->length < 0)
                wire_output_push(c, "0\r\n\r\n", 5), wire_output_push_belongs(c, r);
            r->sending_done = 1;
            return;
        }
        size_t length = piece->length - r->taken;
        if (r->length < 0) {
            char line[16]; /* fits into a span's `small`, so no allocation can fail */
            if (length > 0xfffffff)
                length = 0xfffffff;
            wire_output_push_copy(c, line, (size_t)snprintf(line, sizeof line, "%zx\r\n", length));
        }
        wire_output_push_body(c, r, piece, r->taken, length);
        if (r->length < 0)
            wire_output_push(c, "\r\n", 2);
        r->taken += length;
    }
}

void wire_h1_produce(wire_connection *c)
{
    wire_request *r = c->current;
    if (!r)
        return;
    queue_body(c, r);
    if (r->response_complete && r->sending_done && !c->count)
        end(c, 0); /* the response was complete; only the rest of the body was missing */
}

static int take_head(wire_request *r, const wire_parser *p)
{
    r->status = p->status;
    r->last_activity = r->connection->io->now;
    for (size_t i = 0; i < p->field_count; i++) {
        const wire_parser_field *f = &p->fields[i];
        if (wire_request_set_header(r, p->head + f->name, f->name_length, p->head + f->value, f->value_length))
            return -1;
    }
    return 0;
}

/* The response is complete; `rest` bytes of input follow it. */
static void end(wire_connection *c, size_t rest)
{
    wire_request *r = c->current;
    int reusable = c->parser.keep_alive && r->sending_done && c->count == 0 && rest == 0 && !c->leaving &&
                   !c->write_broken && !c->hung_up;
    c->current = NULL;
    r->reusable = reusable;
    r->response_complete = 1;
    wire_parser_reset(&c->parser, 0);
    /* A response before the end of the body is valid. The server would take the rest of the body for a request. */
    if (!reusable)
        wire_output_drop(c);
    wire_request_finish(r, WIRE_OK, NULL);
    if (!reusable)
        wire_close_now(c, WIRE_BROKEN, "");
}

void wire_h1_input(wire_connection *c, const char *data, size_t length)
{
    wire_request *r = c->current;
    /* Before a byte of the request was sent, this cannot be its response: it is left over, or a 408 for the idle
     * time. */
    if (!r || r->response_complete || !r->begun) {
        wire_close_now(c, WIRE_BROKEN, "the server sent something that was not asked for");
        return;
    }
    for (;;) {
        size_t used;
        int result;
        wire_parser_event event = wire_parser_feed(&c->parser, data, length, &used);
        data += used;
        length -= used;
        switch (event) {
        case WIRE_PARSER_MORE:
            return;
        case WIRE_PARSER_INTERIM:
            if (c->parser.status == 100)
                r->hold = 0;
            break;
        case WIRE_PARSER_HEAD:
            if (take_head(r, &c->parser)) {
                wire_close_now(c, WIRE_TOO_LONG, "");
                return;
            }
            if ((result = wire_request_take_head(r))) {
                wire_close_now(c, result, "");
                return;
            }
            if (r->status >= 300) {
                /* Do not ask for left pieces here: the last chunk may be what is missing. */
                if (!r->sending_done || c->count)
                    c->leaving = 1;
                r->sending_done = 1;
            }
            break;
        case WIRE_PARSER_BODY:
            if ((result = wire_request_take_body(r, c->parser.body, c->parser.body_length))) {
                wire_close_now(c, result, wire_request_body_problem(r));
                return;
            }
            break;
        case WIRE_PARSER_END:
            r->response_complete = 1;
            /* A success before the end of the body: it is valid after the server has received the rest. */
            if (r->status < 300 && !length && !r->hold && (!r->sending_done || c->count))
                return;
            end(c, length);
            return;
        case WIRE_PARSER_ERROR:
            wire_close_now(c, WIRE_MALFORMED, c->parser.why);
            return;
        }
    }
}

char *wire_h1_body_room(wire_connection *c, size_t *room)
{
    wire_request *r = c->current;
    uint64_t left = wire_parser_body_left(&c->parser);
    if (!r || !left || !wire_request_is_receiving(r) || left > wire_sink_left(r->sink))
        return NULL;
    char *place = wire_sink_place(r->sink, &c->io->spare, room);
    if (place && left < *room)
        *room = (size_t)left;
    return place;
}

void wire_h1_body(wire_connection *c, size_t length)
{
    wire_request *r = c->current;
    wire_request_moved(r, length);
    int result = wire_sink_placed(r->sink, length, length == wire_parser_body_left(&c->parser));
    if (result) {
        wire_close_now(c, result, wire_request_body_problem(r));
        return;
    }
    wire_parser_body_taken(&c->parser, length);
    if (!wire_parser_body_left(&c->parser))
        wire_h1_input(c, "", 0);
}

void wire_h1_input_end(wire_connection *c, int clean, const char *why)
{
    wire_request *r = c->current;
    /* A body that ends with the connection is complete only if the connection closed normally: with TLS, by
     * close_notify. */
    if (r && !r->response_complete && clean && wire_parser_begun(&c->parser) &&
        wire_parser_eof(&c->parser) == WIRE_PARSER_END) {
        end(c, 0);
        return;
    }
    if (r && !r->response_complete && wire_parser_begun(&c->parser))
        wire_close_now(c, WIRE_MALFORMED, "the response was cut short");
    else
        wire_close_now(c, WIRE_BROKEN, why);
}
