/* Heads of requests that differ in path, Content-MD5, Content-Length and signature alone. */
#ifndef COSX_REQUEST_HEADS_H
#define COSX_REQUEST_HEADS_H

#include <stddef.h>
#include <stdint.h>

#include "sha1.h"

typedef struct {
    const char *data;
    size_t length;
} cosx_piece;

typedef struct {
    /* The head: method, the escaped path, `after_path`, the headers of the body, `after_body`, the signature, `end`. */
    cosx_piece method, after_path, after_body, end;
    /* What is signed: `signed_method`, the path, `signed_before`, the headers of the body, `signed_rest`. */
    cosx_piece signed_method, signed_before, signed_rest;
    /* What is before its digest in the text to sign. Empty: nothing is signed. */
    cosx_piece to_sign;
    cosx_sha1 inner, outer; /* of the HMAC; they have taken the key */
} cosx_request_heads;

/* The HMAC's states for a key of up to 64 bytes. */
void cosx_request_heads_key(cosx_request_heads *, const uint8_t *key, size_t length);
/* The most bytes of a head for a path of so many bytes. */
size_t cosx_request_heads_room(const cosx_request_heads *, size_t path_length);
/* Writes the head of a request for `path`, and returns its length. `md5` is that of a body of `body_length` bytes; NULL:
 * there is no body. */
size_t cosx_request_heads_write(
    const cosx_request_heads *, const char *path, size_t path_length, const uint8_t *md5, uint64_t body_length, char *out
);

#endif
