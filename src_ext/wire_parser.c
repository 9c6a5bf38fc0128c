#include "wire_parser.h"

#include <stdlib.h>
#include <string.h>

enum { IN_HEAD, IN_LENGTH, IN_UNTIL_CLOSE, IN_CHUNK_LINE, IN_CHUNK_LF, IN_CHUNK, IN_CHUNK_CR, IN_CHUNK_END_LF,
       IN_TRAILER, DONE, BROKEN };

#define MAX_CHUNK_LINE 1024
#define MAX_FIELDS 512

static const char TCHAR[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,
    ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

int wire_parser_is_token_char(unsigned char c)
{
    return TCHAR[c];
}

void wire_parser_init(wire_parser *p)
{
    memset(p, 0, sizeof *p);
}

void wire_parser_reset(wire_parser *p, int request_is_head)
{
    p->status = p->minor = p->keep_alive = p->interims = p->chunked = p->until_close = p->digits = p->seen = 0;
    p->why = NULL;
    p->body = NULL;
    p->field_count = p->body_length = p->head_length = p->line_length = p->trailer_length = 0;
    p->interim_length = 0;
    p->left = 0;
    p->state = IN_HEAD;
    p->no_body = request_is_head;
}

void wire_parser_free(wire_parser *p)
{
    free(p->head);
    free(p->fields);
    memset(p, 0, sizeof *p);
}

int wire_parser_begun(const wire_parser *p)
{
    return p->state != IN_HEAD || p->head_length > 0 || p->interims > 0;
}

static wire_parser_event broken(wire_parser *p, const char *why)
{
    p->state = BROKEN;
    p->why = why;
    return WIRE_PARSER_ERROR;
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int same(const char *text, size_t length, const char *word)
{
    if (length != strlen(word))
        return 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != word[i])
            return 0;
    }
    return 1;
}

/* Whether a comma-separated list holds `word`. */
static int lists(const char *text, size_t length, const char *word)
{
    size_t start = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i < length && text[i] != ',')
            continue;
        size_t a = start, b = i;
        while (a < b && (text[a] == ' ' || text[a] == '\t'))
            a++;
        while (b > a && (text[b - 1] == ' ' || text[b - 1] == '\t'))
            b--;
        if (same(text + a, b - a, word))
            return 1;
        start = i + 1;
    }
    return 0;
}

static const char *status_line(wire_parser *p, size_t end)
{
    const char *h = p->head;
    if (end < 12 || memcmp(h, "HTTP/1.", 7) || (h[7] != '0' && h[7] != '1') || h[8] != ' ')
        return "the response does not begin with HTTP/1.1";
    if (h[9] < '1' || h[9] > '5' || !is_digit(h[10]) || !is_digit(h[11]))
        return "the status is not a number from 100 to 599";
    if (end > 12 && h[12] != ' ')
        return "the status line is malformed";
    for (size_t i = 13; i < end; i++)
        if (((unsigned char)h[i] < 0x20 && h[i] != '\t') || h[i] == 0x7f)
            return "there is a control character in the status line";
    p->minor = h[7] - '0';
    p->status = (h[9] - '0') * 100 + (h[10] - '0') * 10 + (h[11] - '0');
    return NULL;
}

static const char *add_field(wire_parser *p, size_t start, size_t end)
{
    char *h = p->head;
    size_t colon = start;
    if (p->field_count >= MAX_FIELDS)
        return "the response has too many headers";
    if (h[start] == ' ' || h[start] == '\t')
        return "a header is folded over two lines";
    while (colon < end && TCHAR[(unsigned char)h[colon]]) {
        if (h[colon] >= 'A' && h[colon] <= 'Z')
            h[colon] |= 0x20;
        colon++;
    }
    if (colon == start || colon == end || h[colon] != ':')
        return "a header's name is malformed";
    size_t a = colon + 1, b = end;
    while (a < b && (h[a] == ' ' || h[a] == '\t'))
        a++;
    while (b > a && (h[b - 1] == ' ' || h[b - 1] == '\t'))
        b--;
    for (size_t i = a; i < b; i++)
        if (((unsigned char)h[i] < 0x20 && h[i] != '\t') || h[i] == 0x7f)
            return "there is a control character in a header";
    if (p->field_count == p->fields_capacity) {
        size_t capacity = p->fields_capacity ? p->fields_capacity * 2 : 32;
        wire_parser_field *fields = realloc(p->fields, capacity * sizeof *fields);
        if (!fields)
            return "out of memory";
        p->fields = fields;
        p->fields_capacity = capacity;
    }
    p->fields[p->field_count++] = (wire_parser_field){start, colon - start, a, b - a};
    return NULL;
}

/* Reads the length of the body and the state of the connection from the headers. */
static const char *framing(wire_parser *p)
{
    int has_length = 0, close = 0, keep = 0;
    uint64_t length = 0;
    p->chunked = p->until_close = 0;
    for (size_t i = 0; i < p->field_count; i++) {
        const wire_parser_field *f = &p->fields[i];
        const char *name = p->head + f->name, *value = p->head + f->value;
        if (same(name, f->name_length, "content-length")) {
            uint64_t n = 0;
            if (f->value_length == 0 || f->value_length > 18)
                return "Content-Length is not a number";
            for (size_t k = 0; k < f->value_length; k++) {
                if (!is_digit(value[k]))
                    return "Content-Length is not a number";
                n = n * 10 + (uint64_t)(value[k] - '0');
            }
            if (has_length && n != length)
                return "there are two different Content-Lengths";
            has_length = 1;
            length = n;
        } else if (same(name, f->name_length, "transfer-encoding")) {
            if (p->chunked || !same(value, f->value_length, "chunked"))
                return "the Transfer-Encoding is not plain chunked";
            p->chunked = 1;
        } else if (same(name, f->name_length, "connection")) {
            close |= lists(value, f->value_length, "close");
            keep |= lists(value, f->value_length, "keep-alive");
        }
    }
    if (p->chunked && (has_length || p->minor == 0))
        return "the response has chunks and a Content-Length, or is HTTP/1.0";
    p->keep_alive = !close && (p->minor == 1 || keep);
    if (p->status < 200 || p->status == 204 || p->status == 304 || p->no_body) {
        p->chunked = 0;
        p->left = 0;
        p->state = DONE;
    } else if (p->chunked) {
        p->state = IN_CHUNK_LINE;
        p->line_length = 0;
        p->digits = 0;
        p->left = 0;
    } else if (has_length) {
        p->left = length;
        p->state = length ? IN_LENGTH : DONE;
    } else {
        p->until_close = 1;
        p->keep_alive = 0;
        p->state = IN_UNTIL_CLOSE;
    }
    return NULL;
}

static const char *parse_head(wire_parser *p)
{
    size_t at = 0, end = p->head_length - 2; /* without the CRLF of the empty line */
    int first = 1;
    p->field_count = 0;
    while (at < end) {
        const char *why, *cr = memchr(p->head + at, '\r', p->head_length - at);
        size_t stop = (size_t)(cr - p->head); /* there is a CR, because the head ends in CRLFCRLF */
        if (p->head[stop + 1] != '\n')
            return "there is a CR without its LF";
        if (memchr(p->head + at, '\n', stop - at))
            return "a line ends in LF alone";
        why = first ? status_line(p, stop) : add_field(p, at, stop);
        if (why)
            return why;
        first = 0;
        at = stop + 2;
    }
    return first ? "the response does not begin with HTTP/1.1" : framing(p);
}

/* Collects input up to and including CRLFCRLF. Returns 1 if it is complete, 0 if more is needed, -1 for an error. */
static int collect_head(wire_parser *p, const char *data, size_t length, size_t *used)
{
    static const char END[4] = "\r\n\r\n";
    size_t i = 0;
    int seen = p->seen;
    while (i < length && seen < 4) {
        if (seen == 0) { /* the common case, with memchr for speed */
            const char *cr = memchr(data + i, '\r', length - i);
            if (!cr) {
                i = length;
                break;
            }
            i = (size_t)(cr - data);
        }
        seen = data[i] == END[seen] ? seen + 1 : data[i] == '\r';
        i++;
    }
    *used = i;
    p->seen = seen;
    if (p->head_length + i > WIRE_MAX_HEAD_BYTES) {
        broken(p, "the head is longer than 64 KiB");
        return -1;
    }
    if (p->head_length + i > p->head_capacity) {
        size_t capacity = p->head_capacity ? p->head_capacity : 1024;
        while (capacity < p->head_length + i)
            capacity *= 2;
        char *head = realloc(p->head, capacity);
        if (!head) {
            broken(p, "out of memory");
            return -1;
        }
        p->head = head;
        p->head_capacity = capacity;
    }
    memcpy(p->head + p->head_length, data, i);
    p->head_length += i;
    /* Report input that is not HTTP at once, not after 64 KiB or a timeout. */
    size_t start = p->head_length < 5 ? p->head_length : 5;
    if (memcmp(p->head, "HTTP/", start)) {
        /* A TLS port responds to plain HTTP with a TLS record that holds an alert. */
        int alert = p->head[0] == 0x15 && (p->head_length < 2 || p->head[1] == 3);
        broken(p, alert ? "the response is a TLS alert" : "the response does not begin with HTTP/1.1");
        return -1;
    }
    return seen == 4;
}

static wire_parser_event head_event(wire_parser *p)
{
    const char *why = parse_head(p);
    if (why)
        return broken(p, why);
    if (p->status >= 200)
        return WIRE_PARSER_HEAD;
    if (p->status == 101)
        return broken(p, "the server switched protocols without being asked");
    p->interim_length += p->head_length;
    if (++p->interims > WIRE_MAX_INTERIM || p->interim_length > WIRE_MAX_HEAD_BYTES)
        return broken(p, "there is no end of interim responses");
    p->state = IN_HEAD;
    p->head_length = 0;
    p->seen = 0;
    return WIRE_PARSER_INTERIM;
}

/* Takes one byte of the line "size[;extension]CRLF". */
static const char *chunk_line(wire_parser *p, char c)
{
    int digit;
    if (++p->line_length > MAX_CHUNK_LINE)
        return "a chunk's line is too long";
    if (p->digits >= 0 && (digit = hex(c)) >= 0) {
        if (++p->digits > 15)
            return "a chunk's size is too large";
        p->left = p->left * 16 + (uint64_t)digit;
        return NULL;
    }
    if (p->digits == 0)
        return "a chunk has no size";
    if (c == '\r') {
        p->state = IN_CHUNK_LF;
        return NULL;
    }
    if (p->digits > 0 && c != ';' && c != ' ' && c != '\t')
        return "a chunk's size is malformed";
    if (((unsigned char)c < 0x20 && c != '\t') || c == 0x7f)
        return "there is a control character in a chunk's line";
    p->digits = -1; /* in the extension */
    return NULL;
}

/* Takes one byte of the trailer section. Trailers are checked for their form and dropped. */
static const char *trailer(wire_parser *p, char c)
{
    if (++p->trailer_length > WIRE_MAX_HEAD_BYTES)
        return "the trailers are longer than 64 KiB";
    if (p->seen == 1) {
        if (c != '\n')
            return "there is a CR without its LF";
        if (p->line_length == 0)
            p->state = DONE;
        p->line_length = 0;
        p->seen = 0;
        return NULL;
    }
    if (c == '\r') {
        p->seen = 1;
        return NULL;
    }
    if (((unsigned char)c < 0x20 && c != '\t') || c == 0x7f)
        return "there is a control character in a trailer";
    if (p->line_length++ == 0 && !TCHAR[(unsigned char)c])
        return "a trailer is malformed";
    return NULL;
}

wire_parser_event wire_parser_feed(wire_parser *p, const char *data, size_t length, size_t *used)
{
    size_t i = 0;
    const char *why = NULL;
    *used = 0;
    while (p->state != DONE) {
        if (p->state == BROKEN)
            return WIRE_PARSER_ERROR;
        if (i == length) {
            *used = i;
            return WIRE_PARSER_MORE;
        }
        switch (p->state) {
        case IN_HEAD: {
            size_t taken;
            int complete = collect_head(p, data + i, length - i, &taken);
            i += taken;
            *used = i;
            if (complete < 0)
                return WIRE_PARSER_ERROR;
            if (complete)
                return head_event(p);
            break;
        }
        case IN_LENGTH:
        case IN_UNTIL_CLOSE:
        case IN_CHUNK: {
            size_t n = length - i;
            if (p->state != IN_UNTIL_CLOSE) {
                if (n > p->left)
                    n = (size_t)p->left;
                p->left -= n;
                if (p->left == 0)
                    p->state = p->state == IN_CHUNK ? IN_CHUNK_CR : DONE;
            }
            p->body = data + i;
            p->body_length = n;
            *used = i + n;
            return WIRE_PARSER_BODY;
        }
        case IN_CHUNK_LINE:
            why = chunk_line(p, data[i++]);
            break;
        case IN_CHUNK_LF:
            if (data[i++] != '\n')
                why = "there is a CR without its LF";
            p->line_length = 0;
            p->digits = 0;
            p->seen = 0;
            p->state = p->left ? IN_CHUNK : IN_TRAILER;
            break;
        case IN_CHUNK_CR:
            if (data[i++] != '\r')
                why = "a chunk is longer than its size";
            p->state = IN_CHUNK_END_LF;
            break;
        case IN_CHUNK_END_LF:
            if (data[i++] != '\n')
                why = "there is a CR without its LF";
            p->state = IN_CHUNK_LINE;
            break;
        case IN_TRAILER:
            why = trailer(p, data[i++]);
            break;
        }
        if (why) {
            *used = i;
            return broken(p, why);
        }
    }
    *used = i;
    return WIRE_PARSER_END;
}

uint64_t wire_parser_body_left(const wire_parser *p)
{
    return p->state == IN_LENGTH ? p->left : 0;
}

void wire_parser_body_taken(wire_parser *p, uint64_t length)
{
    p->left -= length;
    if (!p->left)
        p->state = DONE;
}

wire_parser_event wire_parser_eof(wire_parser *p)
{
    if (p->state == IN_UNTIL_CLOSE || p->state == DONE) {
        p->state = DONE;
        return WIRE_PARSER_END;
    }
    if (p->state == BROKEN)
        return WIRE_PARSER_ERROR;
    return broken(p, "the response was cut short");
}
