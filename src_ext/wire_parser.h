/* A strict parser of HTTP/1.1 responses (RFC 9112), fed as bytes arrive. It does no I/O and keeps no pointer to its
 * input. Calls no other file of the wire.
 *
 * It refuses ambiguous input: a bare LF, a folded header, a blank before a colon, two lengths, a length beside chunks.
 * Each of them has been used to make two parties see different messages. */
#ifndef WIRE_PARSER_H
#define WIRE_PARSER_H

#include <stddef.h>
#include <stdint.h>

#define WIRE_MAX_HEAD_BYTES (64 * 1024)
#define WIRE_MAX_INTERIM 32 /* 1xx responses to one request; together at most WIRE_MAX_HEAD_BYTES long */

typedef enum {
    WIRE_PARSER_MORE,    /* all input was used, more is needed */
    WIRE_PARSER_INTERIM, /* the head of a 1xx response is complete; `status` */
    WIRE_PARSER_HEAD,    /* the head of the final response is complete */
    WIRE_PARSER_BODY,    /* `body`, `body_length`: the next piece of the body, inside the input */
    WIRE_PARSER_END,     /* the response is complete */
    WIRE_PARSER_ERROR    /* `why` has the reason; the parser takes no more input */
} wire_parser_event;

/* Offsets of a header in `head`. Names are in lower case there. */
typedef struct {
    uint32_t name, name_length, value, value_length;
} wire_parser_field;

typedef struct {
    /* results */
    int status;
    int minor;        /* HTTP/1.<minor> */
    int keep_alive;   /* the connection may carry another request */
    const char *why;  /* a literal */
    char *head;       /* the current head, owned */
    wire_parser_field *fields;
    size_t field_count;
    const char *body;
    size_t body_length;
    /* state */
    int state;
    int no_body;      /* the request was a HEAD */
    int interims;
    size_t interim_length; /* of all their heads */
    int chunked, until_close;
    uint64_t left;    /* bytes left of the body or of the chunk */
    size_t head_length, head_capacity, fields_capacity;
    size_t line_length; /* of the current chunk line or trailer line */
    size_t trailer_length;
    int digits;
    int seen;         /* how many bytes of CRLFCRLF were seen */
} wire_parser;

void wire_parser_init(wire_parser *parser);
/* Prepares for the response to the next request. Keeps the buffers. */
void wire_parser_reset(wire_parser *parser, int request_is_head);
void wire_parser_free(wire_parser *parser);

/* Parses `data` and sets `*used` to the number of bytes taken. Call it again with the rest until it returns MORE, END
 * or ERROR. */
wire_parser_event wire_parser_feed(wire_parser *parser, const char *data, size_t length, size_t *used);
/* How many bytes of the body come next whatever they are: 0 in the head, in chunks, and if the length is not known. */
uint64_t wire_parser_body_left(const wire_parser *parser);
/* `length` of these bytes were taken without the parser. */
void wire_parser_body_taken(wire_parser *parser, uint64_t length);
/* The peer closed the connection: END if that ends the body, otherwise ERROR. */
wire_parser_event wire_parser_eof(wire_parser *parser);
/* Whether any byte of the current response has arrived. */
int wire_parser_begun(const wire_parser *parser);

/* Whether `c` is allowed in a header name or a method (RFC 9110, tchar). */
int wire_parser_is_token_char(unsigned char c);

#endif
