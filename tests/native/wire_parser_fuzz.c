/* Fuzzes the HTTP/1.1 parser with damaged responses, whole and in random pieces. Both ways must give the same result, all
 * pieces must lie inside the input, and the sanitizers must stay silent. Usage: wire_parser_fuzz ROUNDS SEED, or built with
 * -DGUIDED as libFuzzer's target: an input is a byte (1: the response to a HEAD) and a response. */
#include "wire_parser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;
static unsigned chance(unsigned below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 11) % below;
}

typedef struct {
    int end; /* the last event */
    int status;
    size_t body, events;
    uint64_t digest;
} story;

static void note(story *s, const void *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        s->digest = (s->digest ^ ((const unsigned char *)data)[i]) * 1099511628211u;
}

static story tell(wire_parser *p, const char *input, size_t length, int whole, int head)
{
    story s = {.digest = 1469598103934665603u};
    size_t at = 0;
    wire_parser_reset(p, head);
    while (s.end != WIRE_PARSER_END && s.end != WIRE_PARSER_ERROR) {
        size_t n = whole ? length - at : 1 + chance(7), used;
        if (n > length - at)
            n = length - at;
        char *copy = malloc(n ? n : 1); /* of exactly this size, so that the sanitizer sees a read past the end */
        memcpy(copy, input + at, n);
        wire_parser_event event = wire_parser_feed(p, copy, n, &used);
        if (used > n)
            abort();
        if (event == WIRE_PARSER_BODY) {
            if (p->body < copy || p->body + p->body_length > copy + n)
                abort();
            note(&s, p->body, p->body_length);
            s.body += p->body_length;
        } else if (event == WIRE_PARSER_HEAD) {
            for (size_t i = 0; i < p->field_count; i++) {
                note(&s, p->head + p->fields[i].name, p->fields[i].name_length);
                note(&s, p->head + p->fields[i].value, p->fields[i].value_length);
            }
        }
        if (event != WIRE_PARSER_MORE && event != WIRE_PARSER_BODY)
            s.events++;
        free(copy);
        at += used;
        s.end = event;
        if (event == WIRE_PARSER_MORE && at == length)
            s.end = wire_parser_eof(p);
    }
    s.status = p->status;
    return s;
}

/* An error may come before or after the data in front of it, so only whether there is an error is compared. */
static int agree(const story *whole, const story *pieces)
{
    return whole->end == pieces->end &&
           (whole->end != WIRE_PARSER_END || (whole->status == pieces->status && whole->body == pieces->body &&
                                          whole->digest == pieces->digest));
}

#ifdef GUIDED

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wire_parser parser;
    if (!size)
        return 0;
    state = 88172645463325252u + size;
    wire_parser_init(&parser);
    story whole = tell(&parser, (const char *)data + 1, size - 1, 1, data[0] & 1);
    story pieces = tell(&parser, (const char *)data + 1, size - 1, 0, data[0] & 1);
    wire_parser_free(&parser);
    if (!agree(&whole, &pieces))
        abort();
    return 0;
}

#else

static const char *const SEEDS[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\nhello",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nt: v\r\n\r\n",
    "HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nConnection: a, close\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 503 Slow Down\r\ncontent-length: 3\r\ncontent-length: 3\r\nRetry-After: 1\r\n\r\nabc",
};
static const char *const PIECES[] = {"\r\n", "\n", "\r", "\r\n\r\n", ":", " ", "content-length: 1\r\n", "0\r\n\r\n",
    "transfer-encoding: chunked\r\n", "HTTP/1.1 ", "ffffffffffffffff", "99999999999999999999", "\t", "\x00", "\x7f", ";"};

int main(int count, char **arguments)
{
    unsigned long rounds = count > 1 ? strtoul(arguments[1], NULL, 10) : 100000;
    state = count > 2 ? strtoull(arguments[2], NULL, 10) | 1 : 88172645463325252u;
    unsigned long complete = 0;
    wire_parser parser;
    wire_parser_init(&parser);
    for (unsigned long round = 0; round < rounds; round++) {
        char input[4096];
        size_t length = 0;
        for (unsigned part = 0; part < 1 + chance(2); part++) {
            const char *seed = SEEDS[chance(sizeof SEEDS / sizeof *SEEDS)];
            memcpy(input + length, seed, strlen(seed));
            length += strlen(seed);
        }
        for (unsigned change = chance(5); change; change--) {
            size_t at = chance((unsigned)length);
            const char *piece = PIECES[chance(sizeof PIECES / sizeof *PIECES)];
            size_t n = *piece ? strlen(piece) : 1;
            switch (chance(4)) {
            case 0:
                input[at] = (char)chance(256);
                break;
            case 1:
                memmove(input + at + n, input + at, length - at);
                memcpy(input + at, piece, n);
                length += n;
                break;
            case 2:
                n = 1 + chance(8);
                if (n > length - at)
                    n = length - at;
                memmove(input + at, input + at + n, length - at - n);
                length -= n;
                break;
            default:
                length = at;
            }
            if (!length)
                length = 1;
        }
        int head = chance(8) == 0;
        story whole = tell(&parser, input, length, 1, head), pieces = tell(&parser, input, length, 0, head);
        if (!agree(&whole, &pieces)) {
            fprintf(stderr, "round %lu: whole %d, pieces %d: %.*s\n", round, whole.end, pieces.end, (int)length, input);
            return 1;
        }
        complete += whole.end == WIRE_PARSER_END;
    }
    wire_parser_free(&parser);
    printf("ok: %lu answers, %lu of them whole\n", rounds, complete);
    return 0;
}

#endif
