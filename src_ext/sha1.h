/* SHA-1 (FIPS 180-4), for the signatures of COS. One block at a time; a signature hashes five or six. */
#ifndef COSX_SHA1_H
#define COSX_SHA1_H

#include <stddef.h>
#include <stdint.h>

#define COSX_SHA1_BYTES 20
#define COSX_SHA1_BLOCK 64

typedef struct {
    uint32_t state[5];
    uint64_t length; /* bytes so far */
    uint8_t rest[COSX_SHA1_BLOCK];
} cosx_sha1;

/* Whether the instructions of x86-64 for SHA-1 are used: if they are wanted and the processor has them. Not at first. */
int cosx_sha1_use_instructions(int wanted);
void cosx_sha1_begin(cosx_sha1 *);
void cosx_sha1_add(cosx_sha1 *, const void *data, size_t length);
/* After it, the state can only begin anew. */
void cosx_sha1_end(cosx_sha1 *, uint8_t digest[COSX_SHA1_BYTES]);

#endif
