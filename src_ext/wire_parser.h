/* A strict parser of HTTP/1.1 answers (RFC 9112), fed as bytes arrive. It does no I/O and keeps no pointer into what it
 * was fed. What is ambiguous is refused rather than guessed: a bare LF, a folded header, a blank before a colon, two
 * lengths, a length beside chunks: each has been a way to make two parties see different messages. */
#ifndef WIRE_PARSER_H
#define WIRE_PARSER_H

#include <stddef.h>
#include <stdint.h>

#define WIRE_MAX_HEAD_BYTES (64 * 1024)
#define WIRE_MAX_INTERIM 32 /* 1xx answers to one request; all of them are no longer than one head may be */

typedef enum {
    WIRE_PARSER_MORE,    /* all input was used, more is needed */
    WIRE_PARSER_INTERIM, /* a 1xx answer ended; `status` says which */
    WIRE_PARSER_HEAD,    /* the final answer's head is complete */
    WIRE_PARSER_BODY,    /* `body`, `body_length`: the next piece of the body, inside the input */
    WIRE_PARSER_END,     /* the answer is complete */
    WIRE_PARSER_ERROR    /* `why` says what is wrong; nothing more can be read */
} wire_parser_event;

/* Where a header lies in `head`. Names are lower case there. */
typedef struct {
    uint32_t name, name_length, value, value_length;
} wire_parser_field;

typedef struct {
    /* results */
    int status;
    int minor;        /* HTTP/1.<minor> */
    int keep_alive;   /* whether the connection may carry another request */
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
    uint64_t left;    /* of the body, or of the chunk */
    size_t head_length, head_capacity, fields_capacity;
    size_t line_length; /* of the chunk line or trailer line under way */
    size_t trailer_length;
    int digits;
    int seen;         /* the last bytes of what ends a head */
} wire_parser;

void wire_parser_init(wire_parser *parser);
/* Make ready for the answer to the next request. Keeps the memory. */
void wire_parser_reset(wire_parser *parser, int request_is_head);
void wire_parser_free(wire_parser *parser);

/* Read from `data`; `*used` becomes how much was taken. To be called again with the rest until it says MORE or END. */
wire_parser_event wire_parser_feed(wire_parser *parser, const char *data, size_t length, size_t *used);
/* The peer closed: END where a body without a length ends so, otherwise ERROR. */
wire_parser_event wire_parser_eof(wire_parser *parser);
/* Whether anything of the current answer has arrived. */
int wire_parser_begun(const wire_parser *parser);

/* Whether `c` may be in a header's name or a method (RFC 9110, tchar). */
int wire_parser_is_token_char(unsigned char c);

#endif
